"""Item response models fitted to responses: Rasch by conditional, 1PL, 2PL and 3PL by marginal likelihood.

    P(theta) = c + (1 - c) sigma(a theta + d),   b = -d / a,   theta ~ N(0, 1), no constant D          (Birnbaum 1968)

A response is a number of successes out of a number of attempts, so 0/1 tables and pass counts are one thing; 0 attempts
is a missing cell. Marginal likelihood integrates theta out on a fixed grid (Bock & Aitkin 1981): expectation-
maximisation, each M-step a vectorised Fisher scoring over items, sped up by squared extrapolation (Varadhan & Roland
2008), then Newton steps with the exact observed information (Louis 1982), which gives the standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import binom, expit, logit, logsumexp

from workbench.errors import InputError, check_choice

Floats = NDArray[np.float64]
MODELS = ("rasch", "1pl", "2pl", "3pl")
NODES = np.linspace(-6, 6, 61)
GUESSING = (5.0, 17.0)  # Beta prior on c of the 3PL, as for five options in BILOG; without one c is hardly identified
EXACT_PAIRS = 40  # items up to which conditional covariances are computed pair by pair
MOST_PARAMETERS = 2000  # of which the exact information matrix is made; beyond, item by item
NEGLIGIBLE = 1e-12  # posterior weight of a node
STEEPEST, FARTHEST = 10.0, 30.0  # |a| and |d| beyond which an estimate has run away


@dataclass(frozen=True)
class Responses:
    """Who solved what. successes, attempts: (P, I), whole numbers, 0 <= successes <= attempts, 0 attempts = missing."""

    successes: Floats
    attempts: Floats
    persons: list[str]
    items: list[str]

    def __post_init__(self) -> None:
        s, n = self.successes, self.attempts
        if s.shape != n.shape or s.shape != (len(self.persons), len(self.items)):
            raise InputError(f"responses: must be persons x items, got {s.shape} and {n.shape}")
        wrong = np.argwhere(~((n >= 0) & (s >= 0) & (s <= n) & (s == np.floor(s)) & (n == np.floor(n))))
        if wrong.size:
            p, i = wrong[0]
            raise InputError(
                f"successes: must be whole numbers in [0, attempts], got {s[p, i]:g} of {n[p, i]:g} for person "
                f"'{self.persons[p]}', item '{self.items[i]}'"
            )
        for what, names, empty in (("items", self.items, n.sum(axis=0) == 0), ("persons", self.persons, n.sum(1) == 0)):
            if len(names) < 2:
                raise InputError(f"{what}: must be at least 2, got {len(names)}")
            if empty.any():
                nobody = names[int(empty.argmax())]
                raise InputError(f"{what}: must have at least one response each, got none for '{nobody}'")

    @property
    def extreme(self) -> NDArray[np.bool_]:
        """(I,) items that nobody or everybody solved: likelihood is largest at b = +-infinity."""
        total = self.successes.sum(axis=0)
        return np.asarray((total == 0) | (total == self.attempts.sum(axis=0)))


@dataclass(frozen=True)
class Fit:
    """Estimates with standard errors (I,); an entry that the model fixes has standard error 0.

    theta, theta_se: (P,) posterior means (EAP) and sds. log_likelihood: marginal; conditional for "rasch".
    theta_mean, theta_sd: of the ability distribution: 0 and 1, estimated for "rasch", whose b sum to 0.
    extreme: (I,) items that nobody or everybody solved, left out of the fit: their a is the median of the others and
    their b is where the model expects (s + 1/2) / (n + 1) right (Haldane-Anscombe).
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
    theta_mean: float = 0.0
    theta_sd: float = 1.0
    persons: int = field(default=0)

    @property
    def aic(self) -> float:
        return 2 * self.parameters - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        return float(self.parameters * np.log(self.persons) - 2 * self.log_likelihood)

    def probability(self, theta: Floats) -> Floats:
        """(P, I) success probabilities at theta (P,)."""
        return np.asarray(self.c + (1 - self.c) * expit(self.a * (theta[:, None] - self.b)))


def fit(responses: Responses, model: str) -> Fit:
    """Fit one of MODELS. Raises InputError where nothing can be estimated; `converged` says whether it ended well."""
    check_choice("model", model, MODELS)
    extreme = responses.extreme
    if (~extreme).sum() < 2:
        raise InputError(
            f"items: must be at least 2 that some and not all attempts solve, got {(~extreme).sum()} of {len(extreme)}"
        )
    answered = (responses.attempts[:, ~extreme].sum(axis=1) > 0).nonzero()[0]
    s, n = (table[answered][:, ~extreme] for table in (responses.successes, responses.attempts))
    core = _conditional(s, n) if model == "rasch" else _marginal(s, n, model)
    return _completed(core, model, responses)


@dataclass
class _Core:
    """What an estimator returns for the items that are not extreme; covariance of (a, d, c) per item, (I, 3, 3)."""

    a: Floats
    d: Floats
    c: Floats
    covariance: Floats
    log_likelihood: float
    parameters: int
    converged: bool
    iterations: int
    theta_mean: float = 0.0
    theta_sd: float = 1.0


# -------------------------------------------------------------------------------------------- marginal likelihood


def _marginal(s: Floats, n: Floats, model: str) -> _Core:
    """Maximum marginal likelihood of 1PL (one a for all), 2PL or 3PL (c with the prior `GUESSING`)."""
    problem = _Marginal(s, n, model)
    x = problem.start()
    x, iterations = _climb(problem, x)
    converged, covariance = False, np.full((s.shape[1], 3, 3), np.nan)
    for _ in range(20):  # Newton with the exact information: quadratic at the end, and it proves the maximum
        information, score = problem.information(x)
        iterations += 1
        try:
            step = problem.solve(information, score)
        except np.linalg.LinAlgError:
            break
        if np.abs(step).max() < 1e-6:
            converged = problem.inside(x)
            break
        here, scale = problem.objective(x), 1.0
        while scale > 1e-4 and not problem.objective(x + scale * step) > here - 1e-9 * abs(here):
            scale /= 2
        x = x + scale * step
    if converged:
        covariance = problem.covariance(information)
    a, d, c = problem.unpacked(x)
    return _Core(a, d, c, covariance, problem.log_likelihood(x), x.size, converged, iterations)


class _Marginal:
    """The marginal likelihood in free parameters: a (or its common value), d, and logit c, stacked (k, I) or less."""

    def __init__(self, s: Floats, n: Floats, model: str) -> None:
        self.s, self.n, self.model = s, n, model
        self.items = s.shape[1]

    def start(self) -> Floats:
        rate = (self.s.sum(axis=0) + 0.5) / (self.n.sum(axis=0) + 1)
        d = 1.2 * logit(rate)  # the spread of theta flattens the curve of the mean
        if self.model == "1pl":
            return np.concatenate([[1.0], d])
        if self.model == "2pl":
            return np.concatenate([np.ones(self.items), d])
        return np.concatenate([np.ones(self.items), d - 0.5, np.full(self.items, logit(0.15))])

    def unpacked(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        if self.model == "1pl":
            return np.full(self.items, x[0]), x[1:], np.zeros(self.items)
        a, d = x[: self.items], x[self.items : 2 * self.items]
        return a, d, expit(x[2 * self.items :]) if self.model == "3pl" else np.zeros(self.items)

    def inside(self, x: Floats) -> bool:
        """Whether no item has run away to infinite slope or intercept."""
        a, d, _ = self.unpacked(x)
        return bool((np.abs(a) < STEEPEST).all() and (np.abs(d) < FARTHEST).all())

    def posterior(self, x: Floats) -> tuple[Floats, Floats]:
        """Log marginal likelihood of each person (P,) and posterior weights (P, Q) of the nodes."""
        return _posterior(self.s, self.n, *self.unpacked(x), NODES)

    def log_likelihood(self, x: Floats) -> float:
        return float(self.posterior(x)[0].sum())

    def objective(self, x: Floats) -> float:
        """Log likelihood and, for the 3PL, log prior of c."""
        return self.log_likelihood(x) + self._prior(x)[0]

    def _prior(self, x: Floats) -> tuple[float, Floats, Floats]:
        """Log Beta prior of c in the parameter logit c, its gradient and minus its second derivative, (I,) each."""
        if self.model != "3pl":
            return 0.0, np.zeros(0), np.zeros(0)
        alpha, beta = GUESSING
        c = expit(x[2 * self.items :])
        value = float(((alpha - 1) * np.log(c) + (beta - 1) * np.log1p(-c)).sum())
        return value, (alpha - 1) * (1 - c) - (beta - 1) * c, (alpha + beta - 2) * c * (1 - c)

    def step(self, x: Floats) -> Floats:
        """One expectation-maximisation step: Fisher scoring of every item on its expected counts."""
        _, weight = self.posterior(x)
        right, tries = self.s.T @ weight, self.n.T @ weight  # (I, Q)
        for _ in range(2):
            gradient, information = self._scoring(x, right, tries)
            x = x + np.clip(self._solve_blocks(gradient, information), -1.0, 1.0)
        return x

    def _scoring(self, x: Floats, right: Floats, tries: Floats) -> tuple[Floats, Floats]:
        """Gradient (I, k) and expected information (I, k, k) of the complete-data likelihood in (a, d, logit c)."""
        p, slopes = self._curve(x)
        residual = (right - tries * p) / (p * (1 - p))  # (I, Q)
        gradient = np.einsum("iq,kiq->ik", residual, slopes)
        information = np.einsum("iq,kiq,liq->ikl", tries / (p * (1 - p)), slopes, slopes)
        if self.model == "3pl":
            _, slope, curvature = self._prior(x)
            gradient[:, 2] += slope
            information[:, 2, 2] += curvature
        return gradient, information

    def _curve(self, x: Floats) -> tuple[Floats, Floats]:
        """P (I, Q) and its derivatives (k, I, Q) by a, d and, for the 3PL, logit c."""
        a, d, c = self.unpacked(x)
        rise = expit(a[:, None] * NODES + d[:, None])
        p = np.clip(c[:, None] + (1 - c[:, None]) * rise, 1e-12, 1 - 1e-12)
        by_d = (1 - c[:, None]) * rise * (1 - rise)
        slopes = [by_d * NODES, by_d]
        if self.model == "3pl":
            slopes.append((c * (1 - c))[:, None] * (1 - rise))
        return p, np.array(slopes)

    def _solve_blocks(self, gradient: Floats, information: Floats) -> Floats:
        k = information.shape[1]
        if self.model == "1pl":  # one a for all: eliminate each item's d
            b, c = information[:, 0, 1], information[:, 1, 1]
            step_a = (gradient[:, 0] - b / c * gradient[:, 1]).sum() / (information[:, 0, 0] - b**2 / c).sum()
            return np.concatenate([[step_a], (gradient[:, 1] - b * step_a) / c])
        ridge = 1e-9 * np.trace(information, axis1=1, axis2=2)[:, None, None] * np.eye(k)
        return np.linalg.solve(information + ridge, gradient[:, :, None])[:, :, 0].T.ravel()

    def information(self, x: Floats) -> tuple[Floats, Floats]:
        """Observed information and score of the objective.

        Louis 1982: minus the expected second derivatives of the complete data, less the posterior variance of its
        score. Full matrix up to MOST_PARAMETERS; beyond, one block per item, (I, k, k), without what items share.
        """
        p, slopes = self._curve(x)
        _, weight = self.posterior(x)
        right, tries = self.s.T @ weight, self.n.T @ weight
        k, items = len(slopes), self.items
        gradient, _ = self._scoring(x, right, tries)
        residual = (right - tries * p) / (p * (1 - p))
        bend = right / p**2 + (tries - right) / (1 - p) ** 2
        blocks = np.einsum("iq,kiq,liq->ikl", bend, slopes, slopes)
        blocks -= np.einsum("iq,kliq->ikl", residual, self._curvature(x, k))
        if self.model == "3pl":
            blocks[:, 2, 2] += self._prior(x)[2]
        per_item = slopes / (p * (1 - p))  # (k, I, Q): the score is (u - n P) times this
        if k * items <= MOST_PARAMETERS:
            return self._joint(x, blocks, p, per_item, weight, gradient)
        mean, square = np.zeros((len(self.s), items, k)), np.zeros((items, k, k))
        for q in range(NODES.size):
            who = weight[:, q] > NEGLIGIBLE
            off = self.s[who] - self.n[who] * p[:, q]  # (P', I)
            score = off[:, :, None] * per_item[:, :, q].T  # (P', I, k)
            mean[who] += weight[who, q, None, None] * score
            square += np.einsum("p,pik,pil->ikl", weight[who, q], score, score)
        return blocks - square + np.einsum("pik,pil->ikl", mean, mean), gradient

    def _joint(
        self, x: Floats, blocks: Floats, p: Floats, per_item: Floats, weight: Floats, gradient: Floats
    ) -> tuple[Floats, Floats]:
        k, items = blocks.shape[1], self.items
        size = k * items
        mean, square = np.zeros((len(self.s), size)), np.zeros((size, size))
        for q in range(NODES.size):
            who = weight[:, q] > NEGLIGIBLE  # with many items a person is at few nodes
            off = self.s[who] - self.n[who] * p[:, q]
            score = np.concatenate([off * per_item[j, :, q] for j in range(k)], axis=1)  # (P', k I)
            mean[who] += weight[who, q, None] * score
            square += (weight[who, q, None] * score).T @ score
        information = -square + mean.T @ mean
        at = np.arange(items)
        for j in range(k):
            for m in range(k):
                information[j * items + at, m * items + at] += blocks[:, j, m]
        score_sum = gradient.T.ravel()
        if self.model == "1pl":  # the items' a are one parameter
            first = np.r_[0, items:size]  # sums over the rows, then the columns, of all a
            information = np.add.reduceat(np.add.reduceat(information, first, axis=0), first, axis=1)
            return information, np.add.reduceat(score_sum, first)
        return information, score_sum

    def _curvature(self, x: Floats, k: int) -> Floats:
        """(k, k, I, Q) second derivatives of P by a, d, logit c."""
        a, d, c = self.unpacked(x)
        rise = expit(a[:, None] * NODES + d[:, None])
        bell = rise * (1 - rise)
        by_dd = (1 - c[:, None]) * bell * (1 - 2 * rise)
        out = np.zeros((k, k, *rise.shape))
        out[0, 0], out[0, 1], out[1, 0], out[1, 1] = by_dd * NODES**2, by_dd * NODES, by_dd * NODES, by_dd
        if k == 3:
            dc = (c * (1 - c))[:, None]
            out[2, 2] = dc * (1 - 2 * c[:, None]) * (1 - rise)
            out[1, 2] = out[2, 1] = -dc * bell
            out[0, 2] = out[2, 0] = -dc * bell * NODES
        return out

    def solve(self, information: Floats, score: Floats) -> Floats:
        """The Newton step. Raises LinAlgError where the information is not positive definite: no maximum is near."""
        np.linalg.cholesky(information)
        if information.ndim == 2:
            return np.asarray(np.linalg.solve(information, score))
        if self.model == "1pl":
            return self._solve_blocks(score, information)
        return np.asarray(np.linalg.solve(information, score[:, :, None])[:, :, 0].T.ravel())

    def covariance(self, information: Floats) -> Floats:
        """(I, 3, 3) of (a, d, c) of each item."""
        items, k = self.items, 3 if self.model == "3pl" else 2
        out, at = np.zeros((items, 3, 3)), np.arange(items)
        if information.ndim == 2:
            whole = np.linalg.inv(information)
            place = [np.zeros(items, int), 1 + at] if self.model == "1pl" else [j * items + at for j in range(k)]
            for j in range(k):
                for m in range(k):
                    out[:, j, m] = whole[place[j], place[m]]
            return out
        out[:, :k, :k] = np.linalg.inv(information)
        return out


def _climb(problem: _Marginal, x: Floats, most: int = 500, tolerance: float = 1e-5) -> tuple[Floats, int]:
    """EM steps with squared extrapolation until a step moves no parameter by more than `tolerance`."""
    best, steps = problem.objective(x), 0
    while steps < most:
        first = problem.step(x)
        second = problem.step(first)
        steps += 2
        r, v = first - x, second - 2 * first + x
        if np.abs(second - first).max() < tolerance:
            return second, steps
        length = -float(np.linalg.norm(r)) / max(float(np.linalg.norm(v)), 1e-12)
        leap = x - 2 * length * r + length**2 * v if length < -1 else second
        for candidate in (leap, second):
            value = problem.objective(candidate)
            if value >= best - 1e-9 * abs(best):
                break
        x, best = candidate, value
    return x, steps


def _log_curves(a: Floats, d: Floats, c: Floats, nodes: Floats = NODES) -> tuple[Floats, Floats]:
    """ln P and ln (1 - P), (I, Q) each."""
    z = a[:, None] * nodes + d[:, None]
    log_wrong = np.log1p(-c)[:, None] - np.logaddexp(0.0, z)
    if not c.any():
        return -np.logaddexp(0.0, -z), log_wrong
    return np.log(np.clip(-np.expm1(log_wrong), 1e-300, 1.0)), log_wrong


# ----------------------------------------------------------------------------------------- conditional likelihood


def _conditional(s: Floats, n: Floats) -> _Core:
    """Rasch by conditional maximum likelihood (Andersen 1972): given the score, ability drops out; b sum to 0.

    P(pattern | score r) = exp(-sum u b) / gamma_r(e^-b), gamma the elementary symmetric functions. Persons with some
    missing items are conditioned on the items they have; several attempts at an item count as as many items of its b.
    """
    groups = _patterns(n)
    b = -logit((s.sum(axis=0) + 0.5) / (n.sum(axis=0) + 1))
    b -= b.mean()
    converged, iterations, items = False, 0, s.shape[1]
    value = -np.inf
    for _ in range(100):
        iterations += 1
        value, gradient, information = _conditional_parts(b, s, n, groups)
        bordered = information + np.ones((items, items)) / items  # b sum to 0
        step = np.linalg.solve(bordered, gradient)
        step -= step.mean()
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        b = b + step
        if np.abs(step).max() < 1e-8:
            converged = bool(np.abs(b).max() < FARTHEST)
            break
    covariance = np.zeros((items, 3, 3))
    centre = np.eye(items) - 1 / items
    covariance[:, 1, 1] = np.diag(centre @ np.linalg.pinv(information) @ centre)
    mean, sd = _ability(s, n, b)
    ones = np.ones(items)
    return _Core(ones, -b, 0 * ones, covariance, value, items - 1, converged, iterations, mean, sd)


def _patterns(n: Floats) -> list[tuple[Floats, NDArray[np.int64]]]:
    """Distinct rows of attempts, each with the persons that have it."""
    rows, of_person = np.unique(n, axis=0, return_inverse=True)
    return [(row, np.flatnonzero(of_person.ravel() == k)) for k, row in enumerate(rows)]


def _conditional_parts(
    b: Floats, s: Floats, n: Floats, groups: list[tuple[Floats, NDArray[np.int64]]]
) -> tuple[float, Floats, Floats]:
    """Conditional log likelihood, its gradient by b, and its information."""
    items = len(b)
    value, gradient, information = 0.0, np.zeros(items), np.zeros((items, items))
    for tries, members in groups:
        have = np.flatnonzero(tries)
        columns = np.repeat(have, tries[have].astype(int))  # an item attempted m times is m columns
        total = s[members].sum(axis=1).astype(int)
        inner = (total > 0) & (total < len(columns))  # others say nothing about b
        if not inner.any():
            continue
        mine, scores = members[inner], total[inner]
        counts = np.bincount(scores, minlength=len(columns) + 1)
        log_gamma, share, covariance = _symmetric(-b[columns], np.flatnonzero(counts))
        weight = counts[np.flatnonzero(counts)]
        choices = float(np.log(binom(tries[None, have], s[np.ix_(mine, have)])).sum())
        value += float(-(s[mine] @ b).sum() - weight @ log_gamma + choices)
        expected = weight @ share
        moments = np.tensordot(weight, covariance, axes=1)
        fold = np.zeros((len(columns), items))
        fold[np.arange(len(columns)), columns] = 1.0
        gradient += -s[mine].sum(axis=0) + expected @ fold
        information += fold.T @ moments @ fold
    return value, gradient, information


def _symmetric(log_e: Floats, scores: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """ln gamma_r (S,), P(u_i = 1 | r) (S, L) and the covariance of (u_i, u_j) given r (S, L, L), for r in `scores`.

    gamma without item i is the convolution of the gammas before and after it; sums of positive terms only, in logs.
    Covariances are exact up to EXACT_PAIRS items; beyond, as of independent items given their sum, off by O(1 / L).
    """
    count = len(log_e)
    before, after = _running_gamma(log_e), _running_gamma(log_e[::-1])[::-1]  # before[i]: of items 0 .. i - 1
    whole = before[-1][scores]
    share = np.empty((len(scores), count))
    for i in range(count):
        head, tail = before[i], after[i + 1]
        for row, r in enumerate(scores):
            low, high = max(0, r - len(tail)), min(r - 1, len(head) - 1)
            take = np.arange(low, high + 1)
            share[row, i] = np.exp(log_e[i] + logsumexp(head[take] + tail[r - 1 - take]) - whole[row])
    spread = share * (1 - share)
    if count > EXACT_PAIRS:
        total = spread.sum(axis=1)[:, None, None]
        return whole, share, spread[:, :, None] * np.eye(count) - spread[:, :, None] * spread[:, None, :] / total
    covariance = spread[:, :, None] * np.eye(count)
    for i in range(count):
        for j in range(i):
            both = np.append(_running_gamma(np.delete(log_e, [i, j]))[-1], [-np.inf, -np.inf])
            pair = np.exp(log_e[i] + log_e[j] + np.where(scores >= 2, both[scores - 2], -np.inf) - whole)
            covariance[:, i, j] = covariance[:, j, i] = pair - share[:, i] * share[:, j]
    return whole, share, covariance


def _running_gamma(log_e: Floats) -> list[Floats]:
    """ln of the elementary symmetric functions gamma_0 .. gamma_k of the first k terms, for k = 0 .. L."""
    running = [np.zeros(1)]
    for term in log_e:
        last = running[-1]
        running.append(np.logaddexp(np.append(last, -np.inf), np.append(-np.inf, term + last)))
    return running


# --------------------------------------------------------------------------------------------- persons and items


def _ability(s: Floats, n: Floats, b: Floats) -> tuple[float, float]:
    """Mean and sd of a normal ability distribution, items (Rasch) given: expectation-maximisation."""
    mean, sd = 0.0, 1.0
    for _ in range(500):
        nodes = mean + sd * NODES
        _, weight = _posterior(s, n, np.ones(len(b)), -b, np.zeros(len(b)), nodes)
        centre = float((weight @ nodes).mean())
        width = float(np.sqrt((weight @ nodes**2).mean() - centre**2))
        moved = max(abs(centre - mean), abs(width - sd))
        mean, sd = centre, max(width, 1e-3)
        if moved < 1e-8:
            break
    return mean, sd


def _posterior(s: Floats, n: Floats, a: Floats, d: Floats, c: Floats, nodes: Floats) -> tuple[Floats, Floats]:
    """Log marginal likelihood (P,) and weights (P, Q) of nodes that carry a standard normal prior."""
    log_right, log_wrong = _log_curves(a, d, c, nodes)
    prior = -(NODES**2) / 2
    joint = s @ log_right + (n - s) @ log_wrong + prior - logsumexp(prior)
    total = logsumexp(joint, axis=1)
    return total, np.exp(joint - total[:, None])


def _completed(core: _Core, model: str, responses: Responses) -> Fit:
    """Standard errors by the delta method, extreme items, and the persons' posterior means and sds."""
    extreme, s, n = responses.extreme, responses.successes, responses.attempts
    items = len(extreme)
    a, b, c, se_a, se_b, se_c = np.zeros((6, items))
    keep = ~extreme
    a[keep], c[keep], b[keep] = core.a, core.c, -core.d / core.a
    jacobian = np.stack([core.d / core.a**2, -1 / core.a, np.zeros(len(core.a))], axis=1)  # of b by (a, d, logit c)
    with np.errstate(invalid="ignore"):  # no covariance where the fit did not converge
        se_a[keep] = np.sqrt(core.covariance[:, 0, 0])
        se_b[keep] = np.sqrt(np.einsum("ij,ijk,ik->i", jacobian, core.covariance, jacobian))
        se_c[keep] = core.c * (1 - core.c) * np.sqrt(core.covariance[:, 2, 2])
    nodes = core.theta_mean + core.theta_sd * NODES
    if extreme.any():
        a[extreme], c[extreme] = np.median(core.a), np.median(core.c)
        b[extreme], se_b[extreme] = _extreme(s[:, extreme], n[:, extreme], np.median(core.a), np.median(core.c), nodes)
    _, weight = _posterior(s, n, a, -a * b, c, nodes)
    theta = weight @ nodes
    theta_se = np.sqrt(np.maximum(weight @ nodes**2 - theta**2, 0.0))
    return Fit(
        model, a, b, c, se_a, se_b, se_c, theta, theta_se, core.log_likelihood, core.parameters, core.converged,
        core.iterations, extreme, core.theta_mean, core.theta_sd, len(theta),
    )  # fmt: skip


def _extreme(s: Floats, n: Floats, a: float, c: float, nodes: Floats) -> tuple[Floats, Floats]:
    """b where the ability distribution expects (s + 1/2) / (n + 1) right, and 1 / (slope sqrt(n q (1 - q)))."""
    from scipy.optimize import brentq

    prior = np.exp(-(NODES**2) / 2)
    prior /= prior.sum()

    def expected(b: float) -> float:
        return float(prior @ (c + (1 - c) * expit(a * (nodes - b))))

    found, errors = [], []
    for right, tries in zip(s.sum(axis=0), n.sum(axis=0), strict=True):
        rate = (right + 0.5) / (tries + 1)
        rate = max(rate, c + (1 - c) * 0.5 / (tries + 1))  # below the floor there is no b
        b = float(brentq(lambda b, rate=rate: expected(b) - rate, -60.0, 60.0))
        slope = (expected(b - 1e-4) - expected(b + 1e-4)) / 2e-4
        found.append(b)
        errors.append(np.sqrt(rate * (1 - rate) / tries) / slope)
    return np.array(found), np.array(errors)


def map_theta(fit: Fit, responses: Responses) -> Floats:
    """(P,) posterior modes of ability (MAP), where EAP takes means: Newton from the EAP."""
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


def item_fit(fit: Fit, responses: Responses) -> dict[str, Floats]:
    """Mean-square fit per item, (I,) each, 1 where data and model agree: infit, weighted by information, and outfit.

    z = (s - n p) / sqrt(n p (1 - p)) at the EAP abilities. Source: Wright & Masters 1982. Responses were used to find
    theta, so values below 1 are usual for few items.
    """
    n, p = responses.attempts, fit.probability(fit.theta)
    spread = n * p * (1 - p)
    square = (responses.successes - n * p) ** 2
    answered = n > 0
    infit = square.sum(axis=0) / spread.sum(axis=0)
    outfit = np.divide(square, spread, out=np.zeros_like(square), where=answered).sum(axis=0) / answered.sum(axis=0)
    return {"infit": infit, "outfit": outfit}


def overdispersion(fit: Fit, responses: Responses) -> float:
    """rho in [0, 1) of a beta-binomial around the fitted p: variance n p (1 - p) (1 + (n - 1) rho); 0 for 0/1 data.

    Maximum likelihood at the EAP abilities.
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import betabinom

    s, n, p = responses.successes, responses.attempts, np.clip(fit.probability(fit.theta), 1e-6, 1 - 1e-6)
    several = n > 1
    if not several.any():
        return 0.0

    def loss(rho: float) -> float:
        size = 1 / rho - 1
        return -float(betabinom.logpmf(s[several], n[several], p[several] * size, (1 - p[several]) * size).sum())

    best = minimize_scalar(loss, bounds=(1e-6, 0.99), method="bounded")
    return float(best.x) if best.x > 1e-4 else 0.0
