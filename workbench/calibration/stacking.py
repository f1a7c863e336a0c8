"""Weights between laws by how well they predict what they were not fitted to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]
STEPS, SETTLED = 2000, 1e-9


def stacked(log_density: Floats) -> Floats:
    """(L,) weights that sum to 1 and maximise sum_j ln sum_l w_l exp(log_density_jl).

    log_density: (J, L), of J points by L models. The objective is concave; each step w_l <- w_l mean_j of the share
    of model l in point j raises it (an EM step for the weights of a mixture).
    Source: stacking of predictive distributions, Yao, Vehtari, Simpson & Gelman 2018. Differs: the points are the later
    groups of the log, item by item, not left-out ones.
    """
    weights = np.full(log_density.shape[1], 1 / log_density.shape[1])
    for _ in range(STEPS):
        with np.errstate(divide="ignore"):
            joint = log_density + np.log(weights)
        moved = np.exp(joint - logsumexp(joint, axis=1, keepdims=True)).mean(axis=0)
        done = np.abs(moved - weights).max() < SETTLED
        weights = moved
        if done:
            break
    return weights


def behind(log_density: Floats) -> tuple[Floats, Floats]:
    """(L,) by how much the summed log density of each model is below the best one's, and its standard error.

    Points are independent: the error of a sum of J differences is sqrt(J) times their standard deviation.
    """
    best = int(log_density.sum(axis=0).argmax())
    less = log_density[:, [best]] - log_density
    spread = less.std(axis=0, ddof=1) if len(less) > 1 else np.full(less.shape[1], np.nan)
    return less.sum(axis=0), np.sqrt(len(less)) * spread
