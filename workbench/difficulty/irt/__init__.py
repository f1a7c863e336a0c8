"""Item response models fitted to responses: Rasch by conditional, 1PL, 2PL and 3PL by marginal likelihood.

    P(theta) = c + (1 - c) sigma(a theta + d),   b = -d / a,   theta ~ N(0, 1), no constant D          (Birnbaum 1968)

A response is a number of successes out of a number of attempts, so 0/1 tables and pass counts are one thing; 0 attempts
is a missing cell. Likelihoods are of the attempts one by one, without binomial coefficients. Marginal likelihood
integrates theta out on a grid (Bock & Aitkin 1981) as fine as the sharpest posterior: expectation-maximisation, each
M-step a vectorised Fisher scoring over items, with the mean and sd of theta free and then absorbed by the items (Liu,
Rubin & Wu 1998), sped up by squared extrapolation (Varadhan & Roland 2008), then Newton steps with the observed
information (Louis 1982), which gives the standard errors.
"""

from workbench.difficulty.irt.checks import item_fit, overdispersion
from workbench.difficulty.irt.estimates import MODELS, NOWHERE, Fit, fit
from workbench.difficulty.irt.persons import map_theta
from workbench.difficulty.irt.responses import Responses

__all__ = ["MODELS", "NOWHERE", "Fit", "Responses", "fit", "item_fit", "map_theta", "overdispersion"]
