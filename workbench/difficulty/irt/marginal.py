"""Marginal maximum likelihood: 1PL, 2PL, 3PL."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, logit

from workbench.difficulty.irt.core import _Core
from workbench.difficulty.irt.grid import COARSE, NEGLIGIBLE, _Grid, _moments, _posterior
from workbench.difficulty.irt.responses import Floats

GUESSING = (5.0, 17.0)  # Beta prior on c of the 3PL, as for five options in BILOG; without one c is hardly identified
MOST_PARAMETERS = 2000  # of which the exact information matrix is made; beyond, see `_Information`
STEEPEST, FARTHEST = 10.0, 30.0  # |a| and |d| beyond which an estimate has run away


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
    runaway = problem.runaway(x)
    if a.sum() < 0:  # -a with -theta is the same model: the more able are those who solve more
        turn = np.array([-1.0, 1.0, 1.0])
        a, covariance = -a, covariance * np.outer(turn, turn)
    return _Core(a, d, c, covariance, problem.log_likelihood(x), x.size, converged, iterations, runaway=runaway)


@dataclass(frozen=True)
class _Information:
    """Information of many items: blocks + sum_v sign_v columns_v columns_v'.

    blocks: (I, k, k) of each item. columns: (I, k, V) of what the items share. sign: (V,) -1 for a column whose outer
    product is subtracted, +1 for one whose outer product is added. With many items, a person's scores vary with ability
    alone, so there are one or two columns per person, and they are subtracted (Louis 1982).
    """

    blocks: Floats
    columns: Floats
    sign: Floats

    @classmethod
    def less(cls, blocks: Floats, columns: Floats) -> _Information:
        """blocks - columns columns'."""
        return cls(blocks, columns, np.full(columns.shape[2], -1.0))

    @cached_property
    def _scaled(self) -> Floats:
        """(I, k, V) blocks^-1 columns."""
        return np.asarray(np.linalg.solve(self.blocks, self.columns))

    @cached_property
    def _inner(self) -> Floats:
        """(V, V) diag(sign) + columns' blocks^-1 columns, which Woodbury's identity inverts."""
        return np.asarray(np.einsum("ikv,ikw->vw", self.columns, self._scaled, optimize=True) + np.diag(self.sign))

    def solve(self, right: Floats) -> Floats:
        """(I, k) by Woodbury's identity. Raises LinAlgError where the matrix is not positive definite.

        With subtracted columns only, it is so where blocks and -`_inner` are; where a column is added (Rasch), it is
        by what it stands for, as a conditional likelihood has no negative information.
        """
        np.linalg.cholesky(self.blocks)
        if (self.sign < 0).all():
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

    def runaway(self, x: Floats) -> NDArray[np.bool_]:
        """(I,) items that have run away to infinite slope or intercept."""
        a, d, _ = self.unpacked(x)
        return ~((np.abs(a) < STEEPEST) & (np.abs(d) < FARTHEST))

    def inside(self, x: Floats) -> bool:
        return not self.runaway(x).any()

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
        and few persons, the scale would otherwise converge slowly (Liu, Rubin & Wu 1998).
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

        Louis 1982: minus the expected second derivatives of the complete-data likelihood, less the posterior variance
        of its score. Beyond MOST_PARAMETERS, only the part of that variance that is linear or quadratic in ability.
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
        bow = z**2 - 1 - skew * z  # the quadratic part: half of the remaining uncertainty of the scale
        bow /= np.sqrt((weight * bow**2).sum(axis=1, keepdims=True))
        columns = [
            [self.s * (along @ j.T) - self.n * (along @ (p * j).T) for along in (weight * z, weight * bow)]
            for j in per_item
        ]  # (k, 2, P, I)
        return _Information.less(blocks, np.array(columns).reshape(k, -1, items).transpose(2, 0, 1)), gradient

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
        """The Newton step. Raises LinAlgError where the information is not positive definite, far from a maximum."""
        if isinstance(information, _Information):
            if self.model == "1pl":
                variance, slope, rest = self._common(information)
                step = variance * (score[:, 0].sum() - slope @ score[:, 1])
                return np.concatenate([[step], rest.solve(score[:, 1:])[:, 0] - slope * step])
            return information.solve(score).T.ravel()
        return np.asarray(cho_solve(cho_factor(information, check_finite=False), score))

    def _common(self, information: _Information) -> tuple[float, Floats, _Information]:
        """Of the 1PL: variance of the common a, -cov(d, a) / var(a) (I,), and the information on d with a known."""
        rest = _Information.less(information.blocks[:, 1:, 1:], information.columns[:, 1:])
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


def _newton(information: Floats | _Information, gradient: Floats) -> Floats:
    if isinstance(information, _Information):
        return information.solve(gradient[:, None])[:, 0]
    return np.asarray(cho_solve(cho_factor(information, check_finite=False), gradient))
