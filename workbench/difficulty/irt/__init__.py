"""Item response models fitted to responses: Rasch by conditional, 1PL, 2PL and 3PL by marginal likelihood.

    P(theta) = c + (1 - c) sigma(a theta + d),   b = -d / a,   theta ~ N(0, 1), no constant D          (Birnbaum 1968)

A response is a number of successes out of a number of attempts: a 0/1 table has 1 attempt per cell, and 0 attempts are
a missing cell. Likelihoods are those of the attempts one by one, without binomial coefficients.

Marginal likelihood integrates theta out on a grid (Bock & Aitkin 1981) that is as fine as the narrowest posterior. It
is maximised by expectation-maximisation. Each M-step is a Fisher scoring of all items; the mean and sd of theta are
free in it and are then absorbed by the items (Liu, Rubin & Wu 1998). Squared extrapolation speeds it up (Varadhan &
Roland 2008). Newton steps with the observed information (Louis 1982) finish it and give the standard errors.
"""

from workbench.difficulty.irt.checks import item_fit, overdispersion
from workbench.difficulty.irt.estimates import MODELS, NOWHERE, Fit, fit
from workbench.difficulty.irt.persons import map_theta
from workbench.difficulty.irt.responses import Responses, apart, extremes

__all__ = [
    "MODELS", "NOWHERE", "Fit", "Responses", "apart", "extremes", "fit", "item_fit", "map_theta", "overdispersion",
]  # fmt: skip
