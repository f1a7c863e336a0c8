"""How well a fitted model describes the responses."""

from __future__ import annotations

import numpy as np

from workbench.difficulty.counts import log_sequence
from workbench.difficulty.irt.estimates import Fit, check_pair
from workbench.difficulty.irt.responses import Floats, Responses


def item_fit(fit: Fit, responses: Responses) -> dict[str, Floats]:
    """Mean squares of standardised residuals per item, (I,) each: `outfit`, and `infit`, weighted by information.

    z = (s - n p) / sqrt(n p (1 - p)) at the EAP abilities. Both are 1 on average where data and model agree. Source:
    Wright & Masters 1982. theta is estimated from the same responses, so that few items give values below 1.
    """
    check_pair(fit, responses)
    n, p = responses.attempts, fit.probability(fit.theta)
    spread = n * p * (1 - p)
    square = (responses.successes - n * p) ** 2
    answered = n > 0
    infit = square.sum(axis=0) / spread.sum(axis=0)
    outfit = np.divide(square, spread, out=np.zeros_like(square), where=answered).sum(axis=0) / answered.sum(axis=0)
    return {"infit": infit, "outfit": outfit}


def overdispersion(fit: Fit, responses: Responses) -> float:
    """rho in [0, 1) of a beta-binomial around the fitted p, by maximum likelihood at the EAP abilities.

    The variance of a count is n p (1 - p) (1 + (n - 1) rho). 0 for 0/1 data, which say nothing about it.
    """
    check_pair(fit, responses)
    from scipy.optimize import minimize_scalar

    s, n, p = responses.successes, responses.attempts, np.clip(fit.probability(fit.theta), 1e-6, 1 - 1e-6)
    several = n > 1
    if not several.any():
        return 0.0

    def loss(rho: float) -> float:
        size = 1 / rho - 1
        return -float(log_sequence(s[several], n[several], p[several] * size, (1 - p[several]) * size).sum())

    best = minimize_scalar(loss, bounds=(1e-6, 0.99), method="bounded")
    return float(best.x) if best.x > 1e-4 else 0.0
