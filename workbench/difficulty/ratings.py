"""Difficulty of items from ratings."""

from __future__ import annotations

from numpy.typing import ArrayLike

from workbench.difficulty.counts import Floats
from workbench.errors import LARGEST, InputError, check_number, check_one_number
from workbench.pool.columns import numbers


def from_ratings(ratings: ArrayLike, low: float = 1, high: float = 5) -> Floats:
    """Difficulty 100 (r - low) / (high - low), of the shape of the ratings.

    ratings: r, of judges, in [low, high], low for the easiest. Raises InputError for ratings off the scale.
    """
    _check_scale(low, high)
    judged = numbers("ratings", ratings)
    check_number("ratings", judged.ravel(), low, high)
    return 100.0 * (judged - low) / (high - low)


def matching_eta(eta: float, low: float = 1, high: float = 5) -> float:
    """AdaRFT's step on the scale [low, high] that corresponds to the step `eta` on [0, 100]: eta (high - low) / 100.

    For its eta of 50 this is 2.0 on a scale from 1 to 5, where the paper uses 2.5. Raises InputError unless eta
    is in [0, 1e6].
    """
    check_one_number("eta", eta, 0, LARGEST)
    _check_scale(low, high)
    return eta * (high - low) / 100.0


def _check_scale(low: float, high: float) -> None:
    check_one_number("low", low)
    check_one_number("high", high)
    if low >= high:
        raise InputError(f"low, high: must have low < high, got {low} and {high}")
