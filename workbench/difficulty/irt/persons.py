"""Abilities of persons."""

from __future__ import annotations

import numpy as np

from workbench.difficulty.irt.estimates import Fit, check_pair
from workbench.difficulty.irt.responses import Floats, Responses


def map_theta(fit: Fit, responses: Responses) -> Floats:
    """(P,) posterior modes of ability (MAP), by Newton's method from the posterior means (EAP)."""
    check_pair(fit, responses)
    s, n, theta = responses.successes, responses.attempts, fit.theta.copy()
    for _ in range(50):
        p = fit.probability(theta)
        rise = (p - fit.c) / (1 - fit.c)
        slope = fit.a * (1 - fit.c) * rise * (1 - rise)
        score = ((s - n * p) / (p * (1 - p)) * slope).sum(axis=1) - (theta - fit.theta_mean) / fit.theta_sd**2
        information = (n * slope**2 / (p * (1 - p))).sum(axis=1) + 1 / fit.theta_sd**2
        step = np.clip(score / information, -1.0, 1.0)
        theta += step
        if np.abs(step).max() < 1e-9:
            break
    return theta
