"""Item response models fitted to responses: Rasch by conditional, 1PL, 2PL and 3PL by marginal likelihood.

    P(theta) = c + (1 - c) sigma(a theta + d),   b = -d / a,   theta ~ N(0, 1), no constant D          (Birnbaum 1968)

A response is a number of successes out of a number of attempts, so 0/1 tables and pass counts are one thing; 0 attempts
is a missing cell. Likelihoods are of the attempts one by one, without binomial coefficients. Marginal likelihood
integrates theta out on a grid (Bock & Aitkin 1981) as fine as the sharpest posterior: expectation-maximisation, each
M-step a vectorised Fisher scoring over items, with the mean and sd of theta free and then absorbed by the items (Liu,
Rubin & Wu 1998), sped up by squared extrapolation (Varadhan & Roland 2008), then Newton steps with the observed
information (Louis 1982), which gives the standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, logsumexp

from workbench.errors import InputError, check_choice

Floats = NDArray[np.float64]
MODELS = ("rasch", "1pl", "2pl", "3pl")
REACH, SPACING = 6.0, 0.2  # of the coarsest grid of abilities, in sds
WHOLE = 200  # points up to which a grid is not thinned to where persons are
GUESSING = (5.0, 17.0)  # Beta prior on c of the 3PL, as for five options in BILOG; without one c is hardly identified
MOST_PARAMETERS = 2000  # of which the exact information matrix is made; beyond, see `_Information`
NEGLIGIBLE = 1e-12  # posterior weight of a node
NOWHERE = 1e6  # sds of ability: a b beyond, or not known to this, is rounding error over a slope of nothing
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
        if s.size == 0:
            raise InputError(f"persons, items: must be at least 1 each, got {s.shape[0]} and {s.shape[1]}")
        wrong = np.argwhere(~((s >= 0) & (s <= n) & (n < np.inf) & (s == np.floor(s)) & (n == np.floor(n))))
        if wrong.size:
            p, i = wrong[0]
            raise InputError(
                f"successes: must be whole numbers in [0, attempts], got {s[p, i]:g} of {n[p, i]:g} for person "
                f"'{self.persons[p]}', item '{self.items[i]}'"
            )
        for what, names, empty in (("items", self.items, n.sum(axis=0) == 0), ("persons", self.persons, n.sum(1) == 0)):
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

    The a of the marginal models sum to something positive, as the sign of ability is free.

    theta, theta_se: (P,) posterior means (EAP) and sds. log_likelihood: marginal; conditional for "rasch".
    theta_mean, theta_sd: of the ability distribution: 0 and 1, estimated for "rasch", whose b sum to 0.
    extreme: (I,) items that nobody or everybody solved, left out of the fit: their a is the median |a| of the others
    and their b is where the model expects (s + 1/2) / (n + 1) right (Haldane-Anscombe).
    flat: (I,) items whose success does not vary with ability as far as the data say: a is within its standard error of
    0, and b not known to the sd of ability; see `_difficulty`. Believe se_b: it may be a hundred times b.
    converged: whether the likelihood has its maximum here, some item (the 1PL: any) is not flat, and b is of use (with
    its standard error below `NOWHERE`). Without a maximum all estimates are NaN; without use, b is.

    One person: ability is the origin, 0 with sd 0, and a = 1; see `_alone`. bic counts persons, or, for one, attempts.
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


def fit(responses: Responses, model: str) -> Fit:
    """Fit one of MODELS. Raises InputError where nothing can be estimated; `converged` says whether it ended well."""
    check_choice("model", model, MODELS)
    if len(responses.persons) == 1:
        return _alone(responses, model)
    extreme = responses.extreme
    if (~extreme).sum() < 2:
        raise InputError(
            f"items: must be at least 2 that some and not all attempts solve, got {(~extreme).sum()} of {len(extreme)}"
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
        responses.extreme & False, theta_sd=0.0, sample=int(n.sum()),
    )  # fmt: skip


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


# ---------------------------------------------------------------------------------------------- grid of abilities


@dataclass(frozen=True)
class _Grid:
    """Standard abilities z = spacing * place, on which a posterior is a sum: exact to exp(-2 pi^2 (sd / spacing)^2)."""

    spacing: float
    place: NDArray[np.int64]

    @property
    def nodes(self) -> Floats:
        return np.asarray(self.spacing * self.place, dtype=np.float64)

    @property
    def log_prior(self) -> Floats:
        return np.asarray(np.log(self.spacing / np.sqrt(2 * np.pi)) - self.nodes**2 / 2, dtype=np.float64)

    def refined(self, weight: Floats) -> _Grid:
        """A grid at most 8 times finer for the posteriors (P, Q); the same one where it resolves and holds them all."""
        mean, sd = _moments(weight, self.nodes)
        sharpest = max(float(sd.min()), self.spacing / 8)
        spacing = self.spacing if sharpest > 0.9 * self.spacing else sharpest
        most = int(REACH / spacing)
        every = np.arange(-most, most + 1)
        if every.size > WHOLE:
            reach = self.spacing + 10 * sd
            begin, end = (np.clip((mean + side * reach) / spacing, -most, most) for side in (-1, 1))
            edges = np.zeros(every.size + 1)
            np.add.at(edges, np.floor(begin).astype(int) + most, 1)
            np.add.at(edges, np.ceil(end).astype(int) + most + 1, -1)
            every = every[np.cumsum(edges)[:-1] > 0]
        if spacing < self.spacing:
            return _Grid(spacing, every)
        needed = np.clip(np.rint((mean + np.outer([-6, 6], sd)) / spacing), -most, most)
        return self if np.isin(needed, self.place).all() else _Grid(spacing, every)


COARSE = _Grid(SPACING, np.arange(-round(REACH / SPACING), round(REACH / SPACING) + 1))


def _moments(weight: Floats, nodes: Floats) -> tuple[Floats, Floats]:
    """Means and sds (P,) of the posteriors."""
    mean = weight @ nodes
    return mean, np.asarray(np.sqrt(np.maximum(weight @ nodes**2 - mean**2, 0.0)))


# -------------------------------------------------------------------------------------------- marginal likelihood


def _marginal(s: Floats, n: Floats, model: str) -> _Core:
    """Maximum marginal likelihood of 1PL (one a for all), 2PL or 3PL (c with the prior `GUESSING`)."""
    problem = _Marginal(s, n, model, COARSE)
    x, iterations = _climb(problem, problem.start(), most=20, tolerance=1e-2)
    while problem.inside(x) and (grid := problem.grid.refined(problem.posterior(x)[1])) is not problem.grid:
        problem = _Marginal(s, n, model, grid)
        x, steps = _climb(problem, x, most=20, tolerance=1e-2)
        iterations += steps
    x, steps = _climb(problem, x)
    iterations += steps
    converged, covariance = False, np.full((s.shape[1], 3, 3), np.nan)
    for _ in range(20 if problem.inside(x) else 0):  # Newton: quadratic at the end, and it proves the maximum
        iterations += 1
        try:
            information, score = problem.information(x)
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
    if a.sum() < 0:  # -a with -theta is the same model: the more able are those who solve more
        turn = np.array([-1.0, 1.0, 1.0])
        a, covariance = -a, covariance * np.outer(turn, turn)
    return _Core(a, d, c, covariance, problem.log_likelihood(x), x.size, converged, iterations)


@dataclass(frozen=True)
class _Information:
    """Information of many items, blocks - columns columns': (I, k, k) of each item and (I, k, V) of what they share.

    Where items are many, a person's scores vary with ability alone: a column or two each.
    """

    blocks: Floats
    columns: Floats
    added: bool = False  # the last column is added, not subtracted

    @cached_property
    def _scaled(self) -> Floats:
        return np.asarray(np.linalg.solve(self.blocks, self.columns))

    @cached_property
    def _inner(self) -> Floats:
        inner = np.einsum("ikv,ikw->vw", self.columns, self._scaled, optimize=True) - np.eye(self.columns.shape[2])
        if self.added:
            inner[-1, -1] += 2.0
        return np.asarray(inner)

    def solve(self, right: Floats) -> Floats:
        """(I, k) by Woodbury's identity. Raises LinAlgError where the matrix is not positive definite."""
        np.linalg.cholesky(self.blocks)
        if not self.added:
            np.linalg.cholesky(-self._inner)
        plain = np.linalg.solve(self.blocks, right[:, :, None])[:, :, 0]
        shared = np.einsum("ikv,ik->v", self._scaled, right)
        return np.asarray(plain - self._scaled @ np.linalg.solve(self._inner, shared))

    def inverse_blocks(self) -> Floats:
        """(I, k, k) of the inverse."""
        items, k, shared = self._scaled.shape
        half = np.linalg.solve(self._inner, self._scaled.reshape(items * k, shared).T).T.reshape(items, k, shared)
        return np.asarray(np.linalg.inv(self.blocks) - self._scaled @ half.transpose(0, 2, 1))


class _Marginal:
    """The marginal likelihood in free parameters: a (or its common value), d, and logit c, stacked (k, I) or less."""

    def __init__(self, s: Floats, n: Floats, model: str, grid: _Grid) -> None:
        self.s, self.n, self.model, self.grid = s, n, model, grid
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
        return _posterior(self.s, self.n, *self.unpacked(x), self.grid)

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
        """One expectation-maximisation step: Fisher scoring of every item on its expected counts.

        The mean and sd of theta are estimated as well, then made 0 and 1 again by moving the items: with many items
        and few persons, the scale would else creep (Liu, Rubin & Wu 1998).
        """
        _, weight = self.posterior(x)
        right, tries = self.s.T @ weight, self.n.T @ weight  # (I, Q)
        for _ in range(2):
            gradient, information = self._scoring(x, right, tries)
            x = x + np.clip(self._solve_blocks(gradient, information), -1.0, 1.0)
        share, nodes = weight.mean(axis=0), self.grid.nodes
        mean = share @ nodes
        slopes = 1 if self.model == "1pl" else self.items
        a, d = x[:slopes], x[slopes : slopes + self.items]
        return np.concatenate([a * np.sqrt(share @ (nodes - mean) ** 2), d + a * mean, x[slopes + self.items :]])

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
        rise = expit(a[:, None] * self.grid.nodes + d[:, None])
        p = np.clip(c[:, None] + (1 - c[:, None]) * rise, 1e-12, 1 - 1e-12)
        by_d = (1 - c[:, None]) * rise * (1 - rise)
        slopes = [by_d * self.grid.nodes, by_d]
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

    def information(self, x: Floats) -> tuple[Floats | _Information, Floats]:
        """Observed information and score of the objective, in the order of x; of many items, the score is (I, k).

        Louis 1982: minus the expected second derivatives of the complete data, less the posterior variance of its
        score. Beyond MOST_PARAMETERS, of that variance what is linear or quadratic in ability.
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
        theta, sd = _moments(weight, self.grid.nodes)
        z = (self.grid.nodes - theta[:, None]) / sd[:, None]
        skew = (weight * z**3).sum(axis=1, keepdims=True)
        bow = z**2 - 1 - skew * z  # what is quadratic in ability: half of what is left to know about the scale
        bow /= np.sqrt((weight * bow**2).sum(axis=1, keepdims=True))
        columns = [
            [self.s * (along @ j.T) - self.n * (along @ (p * j).T) for along in (weight * z, weight * bow)]
            for j in per_item
        ]  # (k, 2, P, I)
        return _Information(blocks, np.array(columns).reshape(k, -1, items).transpose(2, 0, 1)), gradient

    def _joint(
        self, x: Floats, blocks: Floats, p: Floats, per_item: Floats, weight: Floats, gradient: Floats
    ) -> tuple[Floats, Floats]:
        k, items = blocks.shape[1], self.items
        size = k * items
        mean, square = np.zeros((len(self.s), size)), np.zeros((size, size))
        for q in range(self.grid.place.size):
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
        rise = expit(a[:, None] * self.grid.nodes + d[:, None])
        bell = rise * (1 - rise)
        by_dd = (1 - c[:, None]) * bell * (1 - 2 * rise)
        out = np.zeros((k, k, *rise.shape))
        nodes = self.grid.nodes
        out[0, 0], out[0, 1], out[1, 0], out[1, 1] = by_dd * nodes**2, by_dd * nodes, by_dd * nodes, by_dd
        if k == 3:
            dc = (c * (1 - c))[:, None]
            out[2, 2] = dc * (1 - 2 * c[:, None]) * (1 - rise)
            out[1, 2] = out[2, 1] = -dc * bell
            out[0, 2] = out[2, 0] = -dc * bell * nodes
        return out

    def solve(self, information: Floats | _Information, score: Floats) -> Floats:
        """The Newton step. Raises LinAlgError where the information is not positive definite: no maximum is near."""
        if isinstance(information, _Information):
            if self.model == "1pl":
                variance, slope, rest = self._common(information)
                step = variance * (score[:, 0].sum() - slope @ score[:, 1])
                return np.concatenate([[step], rest.solve(score[:, 1:])[:, 0] - slope * step])
            return information.solve(score).T.ravel()
        np.linalg.cholesky(information)
        return np.asarray(np.linalg.solve(information, score))

    def _common(self, information: _Information) -> tuple[float, Floats, _Information]:
        """Of the 1PL: variance of the one a, -cov(d, a) / var(a) (I,), and the information on d for a known."""
        rest = _Information(information.blocks[:, 1:, 1:], information.columns[:, 1:])
        together = information.columns[:, 0].sum(axis=0)
        border = information.blocks[:, 0, 1] - information.columns[:, 1] @ together
        slope = rest.solve(border[:, None])[:, 0]
        left = information.blocks[:, 0, 0].sum() - together @ together - border @ slope
        if left <= 0:
            raise np.linalg.LinAlgError("not positive definite")
        return 1 / left, slope, rest

    def covariance(self, information: Floats | _Information) -> Floats:
        """(I, 3, 3) of (a, d, c) of each item."""
        items, k = self.items, 3 if self.model == "3pl" else 2
        out, at = np.zeros((items, 3, 3)), np.arange(items)
        if isinstance(information, _Information):
            if self.model == "1pl":
                variance, slope, rest = self._common(information)
                out[:, 0, 0], out[:, 0, 1], out[:, 1, 0] = variance, -slope * variance, -slope * variance
                out[:, 1, 1] = rest.inverse_blocks()[:, 0, 0] + slope**2 * variance
            else:
                out[:, :k, :k] = information.inverse_blocks()
            return out
        whole = np.linalg.inv(information)
        place = [np.zeros(items, int), 1 + at] if self.model == "1pl" else [j * items + at for j in range(k)]
        for j in range(k):
            for m in range(k):
                out[:, j, m] = whole[place[j], place[m]]
        return out


def _climb(problem: _Marginal, x: Floats, most: int = 500, tolerance: float = 1e-5) -> tuple[Floats, int]:
    """EM steps with squared extrapolation until a step moves no parameter by more than `tolerance`."""
    best, steps = problem.objective(x), 0
    while steps < most and problem.inside(x):
        first = problem.step(x)
        second = problem.step(first)
        steps += 2
        r, v = first - x, second - 2 * first + x
        if np.abs(second - first).max() < tolerance:
            return second, steps
        length = -float(np.linalg.norm(r)) / max(float(np.linalg.norm(v)), 1e-12)
        leap = x - 2 * length * r + length**2 * v if length < -1 else second
        leap = leap if problem.inside(leap) else second
        for candidate in (leap, second):
            value = problem.objective(candidate)
            if value >= best - 1e-9 * abs(best):
                break
        x, best = candidate, value
    return x, steps


# ----------------------------------------------------------------------------------------- conditional likelihood


def _conditional(s: Floats, n: Floats) -> _Core:
    """Rasch by conditional maximum likelihood (Andersen 1972): given the score, ability drops out; b sum to 0.

    P(pattern | score r) = exp(-sum u b) / gamma_r(e^-b), gamma the elementary symmetric functions. Persons with some
    missing items are conditioned on the items they have; several attempts at an item count as as many items of its b.
    """
    groups = _equals(s, n) if _comparable(s, n) else []
    b = -logit((s.sum(axis=0) + 0.5) / (n.sum(axis=0) + 1))
    b -= b.mean()
    converged, iterations, items = False, 0, s.shape[1]
    value, covariance, mean, sd = np.nan, np.full((items, 3, 3), np.nan), 0.0, 1.0
    for _ in range(50 if groups else 0):
        iterations += 1
        value, gradient, information = _conditional_parts(b, groups)
        try:
            step = _newton(information, gradient)
        except np.linalg.LinAlgError:  # comparable, but by chances that rounding loses
            break
        step -= step.mean()
        if np.abs(step).max() < 1e-8:
            converged = bool(np.abs(b).max() < FARTHEST)
            break
        b = b + step * min(1.0, 2.0 / np.abs(step).max())
    if converged:
        if isinstance(information, _Information):
            variance = information.inverse_blocks()[:, 0, 0]
        else:
            variance = np.diag(np.linalg.inv(information))
        covariance = np.zeros((items, 3, 3))
        covariance[:, 1, 1] = variance - 1 / items  # 11' / I is its own inverse on what it was added for
        mean, sd = _ability(s, n, b)
    ones = np.ones(items)
    return _Core(ones, -b, 0 * ones, covariance, value, items - 1, converged, iterations, mean, sd)


def _comparable(s: Floats, n: Floats) -> bool:
    """Whether the conditional likelihood has a maximum at finite b, the only one (Fischer 1981).

    It has unless the items fall into two sets such that nobody who solved one of the first failed one of the second:
    any more distance between the sets fits as well or better. That is, unless the graph with an edge from each item
    solved to each failed, by the same person, falls into several strong components.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    persons, items = s.shape
    (winner, solved), (loser, failed) = np.nonzero(s > 0), np.nonzero(s < n)
    begin, end = np.append(solved, items + loser), np.append(items + winner, failed)  # item -> person -> item
    graph = coo_array((np.ones(len(begin), bool), (begin, end)), shape=(items + persons,) * 2)
    component = connected_components(graph, connection="strong")[1][:items]
    return bool((component == component[0]).all())


def _newton(information: Floats | _Information, gradient: Floats) -> Floats:
    if isinstance(information, _Information):
        return information.solve(gradient[:, None])[:, 0]
    np.linalg.cholesky(information)
    return np.asarray(np.linalg.solve(information, gradient))


def _equals(s: Floats, n: Floats) -> list[tuple[Floats, int, Floats]]:
    """Attempts (I,) and score of persons who share both, with the sum (I,) of their successes.

    Left out are those who solved nothing or everything: they say nothing about b.
    """
    total, tries = s.sum(axis=1), n.sum(axis=1)
    inner = (total > 0) & (total < tries)
    rows, first, of_person, count = np.unique(
        np.column_stack([n, total])[inner], axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(rows), s.shape[1]))
    np.add.at(sums, of_person.ravel(), s[inner])
    return [(rows[k], int(count[k]), sums[k]) for k in range(len(first))]


def _conditional_parts(
    b: Floats, groups: list[tuple[Floats, int, Floats]]
) -> tuple[float, Floats, Floats | _Information]:
    """Conditional log likelihood, its gradient by b, and its information plus 11' / I, as b sum to 0."""
    items, many = len(b), len(b) > MOST_PARAMETERS
    value, gradient = 0.0, np.zeros(items)
    information = np.ones((items, items)) / items if not many else np.zeros((0, 0))
    diagonal, columns = np.zeros(items), []
    for tries_and_score, count, solved in groups:
        n, score = tries_and_score[:-1], int(tries_and_score[-1])
        have = np.flatnonzero(n)
        log_gamma, share, mixed, weight = _given_score(b[have], n[have], score)
        expected = n[have] * share
        value -= float(solved @ b) + count * log_gamma
        gradient[have] += count * expected - solved[have]
        if many:
            spread = expected * (1 - share)
            column = np.zeros(items)
            column[have] = spread * np.sqrt(count / spread.sum())
            diagonal[have] += count * spread
            columns.append(column)
            continue
        pairs = (mixed.real * weight.real - mixed.imag * weight.imag) @ mixed.real.T
        pairs -= (mixed.real * weight.imag + mixed.imag * weight.real) @ mixed.imag.T  # P(both right | score)
        moment = np.outer(n[have], n[have]) * pairs - np.outer(expected, expected)
        moment[np.diag_indices(len(have))] += expected - n[have] * np.diag(pairs)
        information[np.ix_(have, have)] += count * moment
    if not many:
        return value, gradient, information
    columns.append(np.full(items, items**-0.5))
    return value, gradient, _Information(diagonal[:, None, None], np.array(columns).T[:, None], added=True)


def _given_score(b: Floats, n: Floats, score: int) -> tuple[float, Floats, Floats, Floats]:
    """ln gamma_r, P(u = 1 | r) (I,), and g (I, T), w (T,) complex, with P(u_i = u_j = 1 | r) = Re sum_t w g_i g_j.

    At any ability the score is a sum of independent attempts, whose law is the Fourier sum of its characteristic
    function phi (Hong 2013); at the ability that expects r, few terms count. Conditional on r, ability drops out.
    Terms are left out only where Bernstein's bound puts them, and aliases of r, below 1e-14.
    """
    theta = 0.0
    for _ in range(200):
        p = expit(theta - b)
        step = (score - n @ p) / (n @ (p * (1 - p)))
        theta += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-10:
            break
    p = expit(theta - b)
    variance = float(n @ (p * (1 - p)))
    period = int(min(11 + np.sqrt(121 + 66 * variance), n.sum())) | 1  # odd: t = pi, where a term may vanish, is out
    angle = 2 * np.pi * np.arange((period + 1) // 2) / period
    angle = angle[variance * (1 - np.cos(angle)) < 33]
    right, p = np.exp(1j * angle), p[:, None]
    real, imaginary = 1 - p + p * right.real, p * right.imag  # of 1 - p + p e^it
    square = real**2 + imaginary**2
    phi = np.exp(n @ np.log(square) / 2 + 1j * (n @ np.arctan2(imaginary, real) - angle * score))
    law = phi * np.where(angle == 0, 1.0, 2.0)
    total = law.sum().real
    mixed = np.empty(square.shape, np.complex128)  # p e^it / (1 - p + p e^it)
    mixed.real, mixed.imag = p * (right.real * real + right.imag * imaginary) / square, (1 - p) * imaginary / square
    weight = law / total
    log_gamma = np.log(total / period) + n @ np.logaddexp(0.0, theta - b) - theta * score
    return float(log_gamma), (mixed @ weight).real, mixed, weight


# --------------------------------------------------------------------------------------------- persons and items


def _ability(s: Floats, n: Floats, b: Floats) -> tuple[float, float]:
    """Mean and sd of a normal ability distribution, items (Rasch) given: expectation-maximisation."""
    mean, sd, grid = 0.0, 1.0, COARSE
    one, zero = np.ones(len(b)), np.zeros(len(b))
    for _ in range(500):
        grid, weight = _settled(s, n, one * sd, mean - b, zero, grid)
        share = weight.mean(axis=0)
        centre = float(share @ grid.nodes)
        width = max(float(np.sqrt(share @ (grid.nodes - centre) ** 2)), 1e-3)
        mean, sd = mean + sd * centre, sd * width
        if max(abs(sd * centre / width), abs(sd - sd / width)) < 1e-8:
            break
    return mean, sd


def _settled(s: Floats, n: Floats, a: Floats, d: Floats, c: Floats, grid: _Grid = COARSE) -> tuple[_Grid, Floats]:
    """A grid that resolves the posteriors of all persons, and their weights (P, Q)."""
    while True:
        _, weight = _posterior(s, n, a, d, c, grid)
        finer = grid.refined(weight)
        if finer is grid:
            return grid, weight
        grid = finer


def _posterior(s: Floats, n: Floats, a: Floats, d: Floats, c: Floats, grid: _Grid) -> tuple[Floats, Floats]:
    """Log marginal likelihood (P,) and weights (P, Q) of the nodes, with a standard normal prior."""
    z = a[:, None] * grid.nodes + d[:, None]
    log_wrong = np.log1p(-c)[:, None] - np.maximum(z, 0) - np.log(1 + np.exp(-np.abs(z)))  # ln (1 - P), (I, Q)
    if c.any():
        log_right = np.log(np.clip(-np.expm1(log_wrong), 1e-300, 1.0))
        joint = s @ log_right + (n - s) @ log_wrong
    else:
        joint = np.outer(s @ a, grid.nodes) + (s @ d)[:, None] + n @ log_wrong
    joint += grid.log_prior
    total = logsumexp(joint, axis=1)
    return total, np.exp(joint - total[:, None])


def _unfinished(core: _Core, model: str, responses: Responses) -> Fit:
    """A fit without a maximum: where it stopped is no estimate of anything."""
    person, item = (np.full(size, np.nan) for size in responses.attempts.shape)
    return Fit(
        model, item, item, item, item, item, item, person, person, core.log_likelihood, core.parameters, False,
        core.iterations, responses.extreme, responses.extreme & False, np.nan, np.nan, len(person),
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
    if flat[keep].all() or (model == "1pl" and flat.any()):  # no item tells who is able; or their one slope does not
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
        core.iterations, extreme, flat, mean, sd, len(theta),
    )  # fmt: skip


def _difficulty(core: _Core) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """Which items are flat, b = -d / a, and its standard error by the delta method; (I,) each.

    Flat: a is within its standard error of 0, and b, by its own, is not known to the sd of ability. A ratio whose
    denominator may be 0 has the whole line as its confidence set (Fieller 1954), here at one standard error: b might
    be anything, on either side. The first alone would not do: a steep slope is known as badly, with a well known b.
    Both errors fall with more data, so a small a, negative or not, is valid as soon as it is told from 0.
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

    right, tries: (E,). theta: the abilities at the coarse grid. What is expected at a b lies between the chances of
    the lowest and the highest of them, so b lies between where these are met.
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
