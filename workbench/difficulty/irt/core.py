"""What every estimate of item parameters gives."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.difficulty.irt.responses import Floats


@dataclass
class _Core:
    """Estimates for the items that are not extreme. covariance: (I, 3, 3), of (a, d, c) of each item."""

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
