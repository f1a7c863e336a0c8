"""Difficulty of items from ratings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from workbench.errors import InputError, check_number

if TYPE_CHECKING:
    pass
from workbench.difficulty.counts import Floats


def from_ratings(ratings: ArrayLike, low: float = 1, high: float = 5) -> Floats:
    """Difficulty 100 (r - low) / (high - low) of judges' ratings r on a scale from low (easiest) to high."""
    check_number("low, high", np.array([low, high]))
    if low >= high:
        raise InputError(f"low, high: must have low < high, got {low} and {high}")
    check_number("ratings", np.ravel(ratings), low, high)
    return 100.0 * (np.asarray(ratings, dtype=np.float64) - low) / (high - low)


def matching_eta(eta: float, low: float = 1, high: float = 5) -> float:
    """AdaRFT's step on the raw scale [low, high] that moves as far, in share of the scale, as `eta` does on [0, 100].

    eta (high - low) / 100. The paper takes 2.5 on 1 to 5 where this gives 2.0 for its 50.
    """
    check_number("eta", eta, 0)
    return eta * (high - low) / 100.0
