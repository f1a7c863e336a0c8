"""Simulated futures of a run after the visits fitted to: of fitted learners, and of the baselines.

A forecast is a set of D futures: parameters from their Laplace posterior, u of every item from its filtered
distribution, then visit by visit counts drawn, the law fed with them, u drifting on. A baseline is the same with its
own chances p. Both take the error that items of like difficulty share (discrepancy.py); so all are scored alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from sims.forecasting import passes
from sims.forecasting.discrepancy import Shared
from sims.forecasting.fitting import GRID, STEP, Fit, Floats, chance, draw_last
from sims.forecasting.visits import BINS, VisitLog
from workbench.difficulty.counts import log_sequence
from workbench.streams import Role, generator

BASELINES = ("persistence", "running mean", "logistic curve")


class Visit(NamedTuple):
    """D simulated futures of one visit: chances p (D, I), over-dispersion rho (D,), counts drawn (D, I)."""

    p: Floats
    rho: Floats
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is forecast: the visits fitted to, the last visit forecast, draws and seed.

    shared: the error that items share in each future; none while it is being judged.
    """

    past: VisitLog
    until: int
    draws: int
    seed: int
    shared: Shared | None = None

    @property
    def horizon(self) -> range:
        """The visits to forecast, counted from 1."""
        return range(self.past.visits + 1, self.until + 1)

    def shift(self, visit: int) -> Any:
        """(D, I) what items of like difficulty share at a visit, logits; 0: nothing."""
        return 0.0 if self.shared is None else self.shared.omega * np.log(visit / self.past.visits)

    def shared_variance(self, visit: int) -> Any:
        """(D, 1) variance that a visit adds to it; 0: nothing."""
        if self.shared is None:
            return 0.0
        now, before = (np.log(t / self.past.visits) ** 2 for t in (visit, visit - 1))
        return self.shared.size**2 * (now - before)

    def draw_counts(self, visit: int, p: Floats, rho: Floats) -> NDArray[np.int64]:
        luck = generator(self.seed, Role.ROLLOUT, visit).random(p.shape)
        counts = np.empty(p.shape, np.int64)
        passes.draw_counts(p, rho, self.past.attempts, luck, counts)
        return counts


def futures(name: str, fitted: Fit | None, task: Task, bins: NDArray[np.int64]) -> Iterator[Visit]:
    """Visit by visit; a baseline by its name where nothing is fitted."""
    return baseline(name, task, bins) if fitted is None else simulate(fitted, task)


def simulate(fitted: Fit, task: Task) -> Iterator[Visit]:
    """Futures of a fitted learner, visit by visit."""
    model, n, items = fitted.model, task.past.attempts, len(task.past.items)
    law, rng = model.mechanism, generator(task.seed, Role.POSTERIOR)
    vectors = rng.multivariate_normal(fitted.vector, fitted.covariance, task.draws, method="eigh")
    p = model.parameters(vectors)
    states = model.states(task.past, p)
    added = model.added(states, p)
    state, home = states[-1], model.home(added)
    u = np.stack([
        draw_last(model, task.past, model.parameters(vector), x, fitted.prior, rng.random(items))
        for vector, x in zip(vectors, added - home[:, None], strict=True)
    ])  # fmt: skip
    for visit in task.horizon:
        half = np.clip((p["scatter"] ** 2 - task.shared_variance(visit)) / STEP**2, 0.0, 1.0) / 2
        luck = generator(task.seed, Role.NOISE, visit).random(u.shape)
        u += STEP * ((luck < half).astype(np.float64) - (luck > 1 - half))
        u = np.clip(u, GRID[0], GRID[-1])
        z = u + (law.added(state, p) - home)[:, law.column] + task.shift(visit)
        success, rho = chance(z, p), p["rho"][:, 0]
        counts = task.draw_counts(visit, success, rho)
        yield Visit(success, rho, counts)
        state = law.advance(state, model.signal(counts, n, p["gamma"]), p)


def beta_prior(successes: Floats, attempts: int) -> tuple[float, float]:
    """Most likely Beta(a, b) of the items' chances, given k of m for each."""

    def loss(v: Floats) -> float:
        a, b = np.exp(v)
        return -float(np.sum(log_sequence(successes, attempts, a, b)))

    a, b = np.exp(minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-6, 6)] * 2).x)
    return float(a), float(b)


def baseline(name: str, task: Task, bins: NDArray[np.int64]) -> Iterator[Visit]:
    """persistence: each item's chance stays what its last visit says, shrunk by a Beta prior fitted to that visit.

    running mean: the same from all visits fitted to. logistic curve: the running mean, moved in logits along a
    logistic curve of time, p = sigma(c + r visit), fitted to the mean pass rate of the item's bin.
    """
    past, n = task.past, task.past.attempts
    seen = past.counts[:, -1:] if name == "persistence" else past.counts
    successes, attempts = seen.sum(axis=1).astype(np.float64), n * seen.shape[1]
    a, b = beta_prior(successes, attempts)
    alpha, beta = a + successes, b + attempts - successes
    rng = generator(task.seed, Role.POSTERIOR)
    p = np.clip(rng.beta(alpha, beta, size=(task.draws, len(alpha))), 1e-9, 1 - 1e-9)
    slope = np.zeros((task.draws, len(BINS)))
    if name == "logistic curve":
        for k in np.unique(bins):
            rate, se = growth(past.counts[bins == k].sum(axis=0), n * int((bins == k).sum()))
            slope[:, k] = rate + se * rng.standard_normal(task.draws)
    middle = (past.visits + 1) / 2
    for visit in task.horizon:
        moved = expit(logit(p) + slope[:, bins] * (visit - middle) + task.shift(visit))
        rho = np.full(task.draws, 1e-6)
        yield Visit(moved, rho, task.draw_counts(visit, moved, rho))


def growth(successes: Floats, attempts: int) -> tuple[float, float]:
    """Slope r per visit of sigma(c + r visit) through the bin's successes, and its standard error (over-dispersed)."""
    visits = np.arange(1, len(successes) + 1.0)
    design = np.stack([np.ones_like(visits), visits - visits.mean()], axis=1)
    theta = np.array([logit(np.clip(successes.sum() / (attempts * len(visits)), 1e-4, 1 - 1e-4)), 0.0])
    for _ in range(50):  # Newton
        p = expit(design @ theta)
        weight = attempts * p * (1 - p)
        theta = theta + np.linalg.solve(design.T @ (weight[:, None] * design) + 1e-6 * np.eye(2),
                                        design.T @ (successes - attempts * p))  # fmt: skip
    p = expit(design @ theta)
    spread = float(np.sum((successes - attempts * p) ** 2 / (attempts * p * (1 - p))) / max(1, len(visits) - 2))
    cover = np.linalg.inv(design.T @ ((attempts * p * (1 - p))[:, None] * design) + 1e-6 * np.eye(2))
    return float(theta[1]), float(np.sqrt(max(1.0, spread) * cover[1, 1]))
