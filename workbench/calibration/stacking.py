"""Weights between laws by how well they predict what they were not fitted to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.streams import Role, generator

Floats = NDArray[np.float64]
STEPS, SETTLED = 500, 1e-6
BAGS = 200


def stacked(log_density: Floats, shares: Floats | None = None) -> Floats:
    """(L,) weights that sum to 1 and maximise sum_j s_j ln sum_l w_l exp(log_density_jl).

    log_density: (J, L), of J points by L models. shares: (J,) s, which sum to 1; by default all alike. The objective is
    concave; each step w_l <- w_l sum_j s_j (share of model l in point j) raises it (EM for the weights of a mixture).
    Source: stacking of predictive distributions, Yao, Vehtari, Simpson & Gelman 2018. Differs: the points are the later
    groups of the log, item by item, not left-out ones.
    """
    share = np.full(len(log_density), 1 / len(log_density)) if shares is None else shares
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    weights = np.full(log_density.shape[1], 1 / log_density.shape[1])
    for _ in range(STEPS):
        moved = weights * ((share / (density @ weights)) @ density)
        done = np.abs(moved - weights).max() < SETTLED
        weights = moved
        if done:
            break
    return weights


def bagged(log_density: Floats, seed: int = 0) -> Floats:
    """(L,) the mean of `stacked` over BAGS Bayesian bootstraps of the points (Rubin 1981).

    The optimum on few points gives all weight to the luckiest of models that predict alike; the mean shares it.
    Source: bagging, Breiman 1996. Differs: weights of the points are Dirichlet(1, .., 1), not resampled counts.
    """
    rng = generator(seed, Role.BOOTSTRAP, 1)
    points = len(log_density)
    return np.asarray(np.mean([stacked(log_density, rng.dirichlet(np.ones(points))) for _ in range(BAGS)], axis=0))


def behind(log_density: Floats) -> tuple[Floats, Floats]:
    """(L,) by how much the summed log density of each model is below the best one's, and its standard error.

    Points are independent: the error of a sum of J differences is sqrt(J) times their standard deviation.
    """
    best = int(log_density.sum(axis=0).argmax())
    less = log_density[:, [best]] - log_density
    spread = less.std(axis=0, ddof=1) if len(less) > 1 else np.full(less.shape[1], np.nan)
    return less.sum(axis=0), np.sqrt(len(less)) * spread
