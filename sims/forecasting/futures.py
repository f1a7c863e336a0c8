"""Simulated futures of a run after the visits fitted to: of fitted learners, and of the baselines.

A forecast is a set of D futures: parameters from their posterior, what each item's logit has beside the law's from its
distribution given the log, then update by update counts drawn, the learner fed with them, items drifting on. A baseline
is the same with its own chances p. Both take the error that items of like difficulty share (discrepancy.py); so all are
scored alike.
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
from sims.forecasting.learners import Fitted
from sims.forecasting.visits import BINS, Groups, VisitLog, batches
from workbench.calibration.evidence import Groups as Tried
from workbench.calibration.evidence import draw_last
from workbench.calibration.replay import logits
from workbench.difficulty.counts import log_sequence
from workbench.lanes import Floats
from workbench.streams import Role, generator

BASELINES = ("persistence", "running mean", "logistic curve")


class Visit(NamedTuple):
    """D simulated futures of the G groups of one visit: chances p (D, G), over-dispersion rho (D,), counts (D, G)."""

    groups: Groups
    p: Floats
    rho: Floats
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is forecast: the visits after `past` up to `until`, draws and seed.

    log: says of a visit that it has which items were tried and how often; nothing of their successes is read after
    `past`. shared: the error that items share in each future; none while it is being judged.
    """

    log: VisitLog
    past: int
    until: int
    draws: int
    seed: int
    shared: Shared | None = None

    @property
    def horizon(self) -> range:
        """The visits to forecast, counted from 1."""
        return range(self.past + 1, self.until + 1)

    def shift(self, visit: int, items: NDArray[np.int64]) -> Any:
        """(D, G) what items of like difficulty share at a visit, logits; 0: nothing."""
        return 0.0 if self.shared is None else self.shared.omega[:, items] * np.log(visit / self.past)

    def shared_variance(self, visit: int, before: NDArray[np.int64]) -> Any:
        """(D, G) variance that it has gained since the items' visits before; 0: nothing."""
        if self.shared is None:
            return 0.0
        return self.shared.size**2 * (np.log(visit / self.past) ** 2 - np.log(before / self.past) ** 2)

    def luck(self, visit: int, groups: int) -> Floats:
        """(D, G) uniforms that decide a visit's counts."""
        return generator(self.seed, Role.ROLLOUT, visit).random((self.draws, groups))


def draw_counts(p: Floats, rho: Floats, n: NDArray[np.int64], luck: Floats) -> NDArray[np.int64]:
    """(D, G) counts of n (G,) attempts by uniforms."""
    counts = np.empty(p.shape, np.int64)
    passes.draw_counts(p, rho, n, luck, counts)
    return counts


def futures(name: str, fitted: Fitted | None, task: Task, bins: NDArray[np.int64]) -> Iterator[Visit]:
    """Visit by visit; a baseline by its name where nothing is fitted."""
    return baseline(name, task, bins) if fitted is None else simulate(fitted, task)


def simulate(fitted: Fitted, task: Task) -> Iterator[Visit]:
    """Futures of a fitted learner, visit by visit."""
    space, replay = fitted.fit.space, fitted.replay
    items, lanes = len(replay.pool), task.draws
    rng = generator(task.seed, Role.POSTERIOR)
    points = fitted.fit.points[np.resize(rng.permutation(len(fitted.fit.points)), lanes)]
    law = space.law_at(points)
    given = space.observation(points, law)
    low, high = given.floor[:, None], given.ceiling[:, None]
    u = draw_last(Tried(replay.log), space.zeta(points, replay), given, 0, rng.random((lanes, items)))
    learner, home = replay.learner(law, lanes, 0), space.mean(points)[:, None] - replay.first(law, lanes)
    now, moved, before = 0, np.zeros(items, np.int64), np.full(items, task.past)
    for visit in task.horizon:
        groups = task.log.plan(visit)
        p, counts = np.empty((lanes, len(groups.item))), np.empty((lanes, len(groups.item)), np.int64)
        luck, walk = task.luck(visit, len(groups.item)), generator(task.seed, Role.NOISE, visit)
        steps = walk.standard_normal(p.shape)
        for part in batches(len(groups.item), visit, task.seed):
            mine, n = groups.item[part], groups.attempts[part]
            walked = given.drift[:, None] ** 2 * (now - moved[mine]) - task.shared_variance(visit, before[mine])
            u[:, mine] += np.sqrt(np.maximum(walked, 0.0)) * steps[:, part]
            moved[mine], before[mine] = now, visit
            tried = np.broadcast_to(mine, (lanes, len(mine)))
            z = logits(learner, tried) + home[:, mine] + u[:, mine] + task.shift(visit, mine)
            p[:, part] = low + (high - low) * expit(z)
            counts[:, part] = draw_counts(p[:, part], given.rho, n, luck[:, part])
            rewards = (np.arange(n.max()) < counts[:, part, None]).astype(np.float32)
            learner.learn(tried, rewards, None, None if (n == n[0]).all() else np.broadcast_to(n, tried.shape))
            now += 1
        yield Visit(groups, p, given.rho, counts)


def together(parts: list[Iterator[Visit]]) -> Iterator[Visit]:
    """The futures of several learners as one set."""
    for visits in zip(*parts, strict=True):
        p, rho, counts = (np.concatenate([visit[place] for visit in visits]) for place in (1, 2, 3))
        yield Visit(visits[0].groups, p, rho, counts)


def beta_prior(successes: Floats, attempts: NDArray[np.int64]) -> tuple[float, float]:
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
    past = task.log.until(task.past)
    successes, attempts = past.totals
    middle = np.bincount(past.item, past.visit * past.attempts, len(past.items)) / attempts  # when its attempts were
    if name == "persistence":
        _, successes, attempts = past.last
    a, b = beta_prior(successes.astype(np.float64), attempts.astype(np.float64))
    alpha, beta = a + successes, b + attempts - successes
    rng = generator(task.seed, Role.POSTERIOR)
    p = np.clip(rng.beta(alpha, beta, size=(task.draws, len(alpha))), 1e-9, 1 - 1e-9)
    slope = np.zeros((task.draws, len(BINS)))
    if name == "logistic curve":
        for k in np.unique(bins):
            mine = bins[past.item] == k
            right, tried = (np.bincount(past.visit[mine], of[mine], past.visits + 1)[1:].astype(np.float64)
                            for of in (past.successes, past.attempts))  # fmt: skip
            rate, se = growth(right, tried)
            slope[:, k] = rate + se * rng.standard_normal(task.draws)
    for visit in task.horizon:
        groups = task.log.plan(visit)
        mine = groups.item
        moved = expit(logit(p[:, mine]) + slope[:, bins[mine]] * (visit - middle[mine]) + task.shift(visit, mine))
        rho = np.full(task.draws, 1e-6)
        yield Visit(groups, moved, rho, draw_counts(moved, rho, groups.attempts, task.luck(visit, len(mine))))


def growth(successes: Floats, attempts: Floats) -> tuple[float, float]:
    """Slope r per visit of sigma(c + r visit) through a bin's successes, and its standard error (over-dispersed)."""
    visits = np.arange(1, len(successes) + 1.0)
    design = np.stack([np.ones_like(visits), visits - visits.mean()], axis=1)
    theta = np.array([logit(np.clip(successes.sum() / attempts.sum(), 1e-4, 1 - 1e-4)), 0.0])
    for _ in range(50):  # Newton
        p = expit(design @ theta)
        weight = attempts * p * (1 - p)
        theta = theta + np.linalg.solve(design.T @ (weight[:, None] * design) + 1e-6 * np.eye(2),
                                        design.T @ (successes - attempts * p))  # fmt: skip
    p = expit(design @ theta)
    weight, tried = attempts * p * (1 - p), attempts > 0
    spread = np.sum((successes - attempts * p)[tried] ** 2 / weight[tried]) / max(1, tried.sum() - 2)
    cover = np.linalg.inv(design.T @ (weight[:, None] * design) + 1e-6 * np.eye(2))
    return float(theta[1]), float(np.sqrt(max(1.0, spread) * cover[1, 1]))
