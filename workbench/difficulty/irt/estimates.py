"""Item response models fitted to responses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from workbench.difficulty.irt.conditional import _conditional
from workbench.difficulty.irt.core import _Core
from workbench.difficulty.irt.grid import COARSE, _moments, _settled
from workbench.difficulty.irt.marginal import _marginal
from workbench.difficulty.irt.responses import Floats, Responses, apart, check_responses, extremes
from workbench.errors import InputError, check_choice, check_kind

MODELS = ("rasch", "1pl", "2pl", "3pl")
NOWHERE = 1e6  # sds of ability: difficulties larger or less certain than this come from dividing by a slope of zero


@dataclass(frozen=True)
class Fit:
    """Estimates of a model with standard errors.

    a, b, c, se_a, se_b, se_c: (I,) slopes, difficulties (in sds of ability) and guessing in [0, 1). A parameter that
    the model fixes has standard error 0. The sign of ability is free: the a of the marginal models have a positive sum.
    theta, theta_se: (P,) posterior means (EAP) and sds of ability.
    log_likelihood: marginal; conditional for "rasch".
    theta_mean, theta_sd: of the ability distribution. They are 0 and 1, but estimated for "rasch", whose b sum to 0.
    extreme: (I,) items that nobody or everybody solved. They are left out of the fit. Their a is the median |a| of the
    others, and their b is where the model expects the success rate (s + 1/2) / (n + 1) (Haldane-Anscombe).
    flat: (I,) items whose success does not vary with ability as far as the data show: a is within its standard error
    of 0, and se_b is not below 1 (`_difficulty`). se_b may then be a hundred times b.
    runaway: (I,) items whose estimates have no end where the fit did not converge. For "rasch" these are the items that
    the answers do not compare with the largest set of the others (`conditional._sets`), and for the other models those
    whose slope or intercept grew beyond bounds. None may be found.
    converged: whether the likelihood has a maximum here, at least one item discriminates (1PL: the common slope does),
    and |b| and the standard error of b are below `NOWHERE`. Without a maximum all estimates are NaN; without the rest,
    b and se_b are.
    sample: persons, or attempts where there is one person. `bic` counts these.

    With one person, ability is the origin (0 with sd 0) and a = 1 (`_alone`).
    """

    model: str
    a: Floats
    b: Floats
    c: Floats
    se_a: Floats
    se_b: Floats
    se_c: Floats
    theta: Floats
    theta_se: Floats
    log_likelihood: float
    parameters: int
    converged: bool
    iterations: int
    extreme: NDArray[np.bool_]
    flat: NDArray[np.bool_]
    runaway: NDArray[np.bool_]
    theta_mean: float = 0.0
    theta_sd: float = 1.0
    sample: int = 0

    @property
    def aic(self) -> float:
        return 2 * self.parameters - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        return float(self.parameters * np.log(self.sample) - 2 * self.log_likelihood)

    def probability(self, theta: Floats) -> Floats:
        """(P, I) success probabilities at theta (P,)."""
        return np.asarray(self.c + (1 - self.c) * expit(self.a * (theta[:, None] - self.b)))


def check_pair(fit: Fit, responses: Responses) -> None:
    """Raise InputError unless it is a fit of as many items and persons as the responses have."""
    check_kind("fit", fit, Fit, "a Fit such as irt.fit(responses, '2pl') gives")
    check_responses(responses)
    if (len(fit.theta), len(fit.b)) != responses.attempts.shape:
        sizes = f"{responses.attempts.shape}, got one of {(len(fit.theta), len(fit.b))}"
        raise InputError(f"fit: must be of these responses, persons x items {sizes}")


def fit(responses: Responses, model: str) -> Fit:
    """Fit one of MODELS to responses. `Fit.converged` says whether there are estimates.

    Raises InputError for another model, for fewer than 2 items that some and not all attempts solve, for one person
    with a model other than rasch and 1pl, and for rasch where groups of persons share no item (`apart`).
    """
    check_responses(responses)
    check_choice("model", model, MODELS)
    if len(responses.persons) == 1:
        return _alone(responses, model)
    extreme = responses.extreme
    if (~extreme).sum() < 2:
        got = f"got {(~extreme).sum()} of {len(extreme)}" + (f" ({extremes(responses)})" if extreme.any() else "")
        raise InputError(f"items: must be at least 2 that some and not all attempts solve, {got}")
    groups = apart(responses) if model == "rasch" else ""
    if groups:
        raise InputError(
            f"persons: must share items, all with all by way of others, for rasch, got {groups}: fit each group alone, "
            "or 1pl, which takes abilities of all groups to have the same distribution"
        )
    answered = (responses.attempts[:, ~extreme].sum(axis=1) > 0).nonzero()[0]
    s, n = (table[answered][:, ~extreme] for table in (responses.successes, responses.attempts))
    core = _conditional(s, n) if model == "rasch" else _marginal(s, n, model)
    return _completed(core, model, responses) if core.converged else _unfinished(core, model, responses)


def _alone(responses: Responses, model: str) -> Fit:
    """One person of ability 0 with several attempts per item: b = ln((n - s + 1/2) / (s + 1/2)), item by item.

    se = sqrt(1 / (s + 1/2) + 1 / (n - s + 1/2)): both finite for items never or always solved.
    Source: Haldane 1956; Anscombe 1956 (the half); Woolf 1955, Gart & Zweifel 1967 (the variance).
    """
    if model not in ("rasch", "1pl"):
        raise InputError(f"persons: must be at least 2 for {model} (rasch and 1pl take one), got 1")
    s, n = responses.successes[0], responses.attempts[0]
    right, wrong = s + 0.5, n - s + 0.5
    b, se = np.log(wrong / right), np.sqrt(1 / right + 1 / wrong)
    zero, value = np.zeros(len(b)), float((-s * np.logaddexp(0, b) - (n - s) * np.logaddexp(0, -b)).sum())
    return Fit(
        model, zero + 1, b, zero, zero, se, zero, np.zeros(1), np.zeros(1), value, len(b), True, 0, responses.extreme,
        responses.extreme & False, responses.extreme & False, theta_sd=0.0, sample=int(n.sum()),
    )  # fmt: skip


def _unfinished(core: _Core, model: str, responses: Responses) -> Fit:
    """A fit without a maximum: its last point is not an estimate, so estimates are NaN."""
    person, item = (np.full(size, np.nan) for size in responses.attempts.shape)
    runaway = responses.extreme & False
    runaway[~responses.extreme] = core.runaway
    return Fit(
        model, item, item, item, item, item, item, person, person, core.log_likelihood, core.parameters, False,
        core.iterations, responses.extreme, responses.extreme & False, runaway, np.nan, np.nan, len(person),
    )  # fmt: skip


def _completed(core: _Core, model: str, responses: Responses) -> Fit:
    """Standard errors by the delta method, extreme items, and the persons' posterior means and sds."""
    extreme, s, n = responses.extreme, responses.successes, responses.attempts
    keep, mean, sd = ~extreme, core.theta_mean, core.theta_sd
    a, d, b, c, se_a, se_b, se_c = np.full((7, len(extreme)), np.nan)
    flat = np.zeros(len(extreme), bool)
    se_a[keep] = np.sqrt(core.covariance[:, 0, 0])
    se_c[keep] = core.c * (1 - core.c) * np.sqrt(core.covariance[:, 2, 2])
    a[keep], d[keep], c[keep] = core.a, core.d, core.c
    flat[keep], b[keep], se_b[keep] = _difficulty(core)
    lost = keep & ~((np.abs(b) < NOWHERE) & (se_b < NOWHERE))
    if flat[keep].all() or (model == "1pl" and flat.any()):  # no item discriminates, or the common slope does not
        lost = keep
    b[lost], se_b[lost] = np.nan, np.nan
    steep = keep & ~flat
    if extreme.any() and steep.any():
        slope, floor = float(np.median(np.abs(a[steep]))), float(np.median(c[steep]))
        a[extreme], c[extreme], se_a[extreme], se_c[extreme] = slope, floor, 0.0, 0.0
        b[extreme], se_b[extreme] = _extreme(
            s[:, extreme].sum(axis=0), n[:, extreme].sum(axis=0), slope, floor, mean + sd * COARSE.nodes
        )
        d[extreme] = -slope * b[extreme]
    known = np.isfinite(d)
    grid, weight = _settled(s[:, known], n[:, known], a[known] * sd, a[known] * mean + d[known], c[known])
    theta, theta_se = _moments(weight, mean + sd * grid.nodes)
    return Fit(
        model, a, b, c, se_a, se_b, se_c, theta, theta_se, core.log_likelihood, core.parameters, not lost.any(),
        core.iterations, extreme, flat, extreme & False, mean, sd, len(theta),
    )  # fmt: skip


def _difficulty(core: _Core) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """Which items are flat, b = -d / a, and its standard error by the delta method; (I,) each.

    Flat: |a| is at most its standard error, and the standard error of b is not below 1 sd of ability. A ratio whose
    denominator may be 0 has the whole line as its confidence set (Fieller 1954), here at one standard error. The first
    condition alone is not enough: a very steep slope has a large standard error too, and a precise b. Both standard
    errors fall with more data, so that a small a, of either sign, counts as soon as it differs from 0.
    """
    a, d = core.a, core.d
    se_a = np.sqrt(core.covariance[:, 0, 0])
    with np.errstate(all="ignore"):  # a may be 0
        b = -d / a
        along = np.stack([-b, -np.ones(len(a)), np.zeros(len(a))], axis=1)  # a times the slope of b by (a, d, logit c)
        se_b = np.sqrt(np.einsum("ij,ijk,ik->i", along, core.covariance, along)) / np.abs(a)
        flat = (np.abs(a) <= se_a) & ~(se_b < 1.0)
    return flat, b, se_b


def _extreme(right: Floats, tries: Floats, a: float, c: float, theta: Floats) -> tuple[Floats, Floats]:
    """b where the ability distribution expects (s + 1/2) / (n + 1) right, and 1 / (slope sqrt(n q (1 - q))).

    right, tries: (E,) successes and attempts. theta: abilities at the nodes of the coarse grid. The expected rate at a
    given b lies between the rates of the lowest and of the highest ability, which gives the bracket for b.
    """
    from scipy.optimize import brentq

    prior = np.exp(COARSE.log_prior)
    prior /= prior.sum()
    floor = 0.5 / (tries + 1)  # below the guessing there is no b
    rise = np.maximum(((right + 0.5) / (tries + 1) - c) / (1 - c), floor)
    rate = c + (1 - c) * rise
    low, high = theta[0] - logit(rise) / a - 1, theta[-1] - logit(rise) / a + 1
    b, slope = np.empty((2, len(rise)))
    for k, share in enumerate(rise):
        b[k] = brentq(lambda b, share=share: float(prior @ expit(a * (theta - b))) - share, low[k], high[k])
        met = expit(a * (theta - b[k]))
        slope[k] = a * (1 - c) * (prior @ (met * (1 - met)))
    return b, np.sqrt(rate * (1 - rate) / tries) / slope
