"""Difficulty of items from ratings."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from workbench.difficulty.counts import Floats
from workbench.errors import InputError, check_number


def from_ratings(ratings: ArrayLike, low: float = 1, high: float = 5) -> Floats:
    """Difficulty 100 (r - low) / (high - low), of the shape of the ratings.

    ratings: r, of judges, in [low, high], low for the easiest. Raises InputError for ratings off the scale.
    """
    check_number("low, high", np.array([low, high]))
    if low >= high:
        raise InputError(f"low, high: must have low < high, got {low} and {high}")
    check_number("ratings", np.ravel(ratings), low, high)
    return 100.0 * (np.asarray(ratings, dtype=np.float64) - low) / (high - low)


def matching_eta(eta: float, low: float = 1, high: float = 5) -> float:
    """AdaRFT's step on the scale [low, high] that corresponds to the step `eta` on [0, 100]: eta (high - low) / 100.

    For its eta of 50 this is 2.0 on a scale from 1 to 5, where the paper uses 2.5. Raises InputError for eta < 0.
    """
    check_number("eta", eta, 0)
    return eta * (high - low) / 100.0
