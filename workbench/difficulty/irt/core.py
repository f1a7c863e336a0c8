"""What every estimate of item parameters gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.difficulty.irt.responses import Floats


@dataclass
class _Core:
    """Estimates for the items that are not extreme. covariance: (I, 3, 3), of (a, d, c) of each item.

    runaway: (I,) items whose estimates had no end where the fit stopped.
    """

    a: Floats
    d: Floats
    c: Floats
    covariance: Floats
    log_likelihood: float
    parameters: int
    converged: bool
    iterations: int
    theta_mean: float = 0.0
    theta_sd: float = 1.0
    runaway: NDArray[np.bool_] | bool = False
