"""Futures of a logged run: a candidate's curriculum from the last state of the log, under draws of a fitted law."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.calibration.candidates import Candidate
from workbench.calibration.evidence import Groups, draw_last
from workbench.calibration.fit import Fit, LawFit
from workbench.calibration.replay import Replay, difficulty_of, known_pool
from workbench.calibration.store import keep, kept, key_of, own_digest
from workbench.controllers import Controller, ShortBatch
from workbench.lanes import Floats
from workbench.learners import SimLearner
from workbench.learners.learner import narrowness
from workbench.loop import train
from workbench.pool import Pool
from workbench.streams import Role, generator, run_seeds
from workbench.study.identity import array_digest, code_digest, describe, sources_of

LEAST = 0.01  # weight below which a law has no futures
RECORDS = 40  # records of a future
SERIES = ("success", "rollouts", "narrowness")  # of a future, (E, R) each


@dataclass(frozen=True)
class Draws:
    """R draws of one law given a log.

    points: (R, P) on the parameters' scales. b: (R, J) true difficulties in logits, of the pool's items and of those
    that are only looked at. seeds: (R,) of the futures. state, signal_squares, updates: the learner's at their start.
    """

    name: str
    law: LawFit
    points: Floats
    b: Floats
    seeds: NDArray[np.uint64]
    state: Any
    signal_squares: Floats
    updates: int


@dataclass(frozen=True)
class Task:
    """Futures of one candidate under one law. looked: positions of the items whose mean success is recorded. lag: as in
    `train`."""

    candidate: Candidate
    draws: Draws
    pool: Pool
    looked: NDArray[np.int64]
    steps: int
    batch: int
    rollouts: int
    lag: int = 0

    @cached_property
    def key(self) -> str:
        """SHA-256, shortened, of all that the futures depend on, the code included."""
        draws = self.draws
        parts = (self.candidate.rule, *self.candidate.gates, draws.law.space.law)
        arrays = (draws.points, draws.b, draws.seeds, self.looked, draws.signal_squares, *draws.state)
        content = {"parts": [describe(part) for part in parts], "sources": sources_of(*parts), "code": code_digest(),
                   "own": own_digest(), "pool": self.pool.digest,
                   "shape": [draws.updates, self.steps, self.batch, self.rollouts, self.lag],
                   "arrays": [array_digest(array) for array in arrays]}  # fmt: skip
        return key_of(content)

    def futures(self) -> dict[str, NDArray[Any]]:
        """steps (E,), success (E, R) mean over the items that are looked at, rollouts (E, R) spent, and narrowness
        (E, R), the mean of `narrowness` over the batches so far, by the items' labels, or by what was drawn for those
        that have none; 0 before the first."""
        draws, lanes = self.draws, len(self.draws.points)
        law = draws.law.space.law_at(draws.points)
        pool = longer(known_pool(self.pool), draws.b.shape[1])
        learner = SimLearner(law, pool, draws.seeds, b=draws.b, core=len(self.pool))
        learner.state = type(draws.state)(*(np.array(part) for part in draws.state))
        learner.signal_squares, learner.updates = draws.signal_squares.copy(), draws.updates
        controller = Controller(self.candidate.rule, self.pool, self.candidate.gates, seed=draws.seeds)
        labels, known, found, narrow = difficulty_of(self.pool), draws.b[:, : len(self.pool)], [], []
        if labels is not None:
            known = np.where(np.isnan(self.pool.difficulty), known, labels)
        steered = Steered(learner, self.pool, known)

        def look(step: int, success: Floats | None) -> None:
            if success is not None:
                narrow.append(steered.narrow / np.maximum(1, steered.batches))
                found.append(learner.success(np.broadcast_to(self.looked, (lanes, len(self.looked)))).mean(axis=1))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShortBatch)
            record = train(controller, steered, self.steps, self.batch, self.rollouts,
                           max(1, self.steps // RECORDS), after_step=look, lag=self.lag)  # fmt: skip
        return {"steps": record.steps, "success": np.array(found), "rollouts": record.rollouts,
                "narrowness": np.array(narrow)}  # fmt: skip


def longer(pool: Pool, size: int) -> Pool:
    """The pool with further items up to a size, for a learner that is given their difficulties."""
    more = size - len(pool)
    if not more:
        return pool
    categories = None if pool.category is None else np.resize(pool.category, size)
    return Pool(np.append(pool.difficulty, np.full(more, 50.0)), category=categories, name=pool.name)


class Steered:
    """A learner on a pool whose items need no label: the one that the controller has.

    difficulty: (R, I) or (1, I) in logits, of the pool's items: labels, or what was drawn where they have none.
    narrow: (R,) sum of the `narrowness` of the batches learned from. batches: (R,) how many these are; those of which
    no group was admitted are none.
    """

    def __init__(self, learner: SimLearner, pool: Pool, difficulty: Floats) -> None:
        self.learner, self.pool = learner, pool
        self.difficulty = np.broadcast_to(difficulty, (learner.lanes, len(pool)))
        self.spread = self.difficulty.std(axis=1)
        self.narrow, self.batches = np.zeros(learner.lanes), np.zeros(learner.lanes, np.int64)

    def learn(self, items: Any, rewards: Any, admitted: Any = None, counts: Any = None) -> None:
        there = np.ones(items.shape, bool) if admitted is None else np.asarray(admitted, bool)
        some = there.any(axis=1)
        self.narrow += some * narrowness(np.take_along_axis(self.difficulty, items, axis=1), there, self.spread)
        self.batches += some
        self.learner.learn(items, rewards, admitted, counts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.learner, name)


def draws_of(fit: Fit, lanes: int, seed: int, origin: str, probe: Floats) -> list[Draws]:
    """Draws of each law, as many as its weight says.

    origin: "end" of the longest logged run, or "start", the model before any update. probe: (H,) difficulties in logits
    of items that are only looked at.
    """
    pool, log, size = fit.pool, fit.log, len(fit.pool) + len(probe)
    labels = difficulty_of(pool)
    b = np.append(np.zeros(len(pool)) if labels is None else labels, probe)
    replay = Replay(log, longer(known_pool(pool), size), b, core=len(pool))
    run = int(log.run[np.argmax(log.step)]) if origin == "end" else -1
    names = [name for name, weight in fit.weights.items() if weight >= LEAST]
    share = np.array([fit.weights[name] for name in names])
    counts = np.maximum(np.rint(lanes * share / share.sum()).astype(int), 1)
    seeds, out, begin = run_seeds(seed, int(counts.sum())), [], 0
    for name, count in zip(names, counts, strict=True):
        law, rng = fit.laws[name], generator(seed, Role.POSTERIOR, begin)
        points = law.points[np.resize(rng.permutation(len(law.points)), count)]  # again from the first where few
        settings = law.space.law_at(points)
        a, theta0 = (np.broadcast_to(np.asarray(v, np.float64), count)[:, None]
                     for v in (settings.curve()[0], settings.theta0))  # fmt: skip
        u = open_difficulty(law, points, replay, size, run, rng)
        true = b - u / a if law.space.labelled else theta0 - (law.space.mean(points)[:, None] + u) / a
        last = replay.learner(settings, count, run)
        mine = seeds[begin : begin + count]
        out.append(Draws(name, law, points, true, mine, last.state, last.signal_squares, last.updates))
        begin += count
    return out


def open_difficulty(
    law: LawFit, points: Floats, replay: Replay, items: int, run: int, rng: np.random.Generator
) -> Floats:
    """(R, J) u of each item at the end of a run, or at the start (run -1).

    Items that were tried have it given the log, the others from its prior.
    """
    settings = law.space.law_at(points)
    given, groups = law.space.observation(points, settings), Groups(replay.log)
    walked = replay.log.updates if run >= 0 else 0
    wide = np.sqrt(given.spread**2 + walked * given.drift**2)[:, None]
    u = wide * rng.standard_normal((len(points), items))
    zeta, uniform = law.space.zeta(points, replay), rng.random((len(points), len(groups.items)))
    u[:, groups.items] = draw_last(groups, zeta, given, run, uniform)
    return u


def simulate_and_keep(folder: Path, task: Task) -> None:
    keep(folder, task.key, task.futures())


def known_futures(folder: Path, task: Task) -> dict[str, Floats] | None:
    """The futures of a task from the folder; None where they are not there or damaged."""
    found = kept(folder, task.key, SERIES)
    right = found is not None and all(value.shape[1:] == (len(task.draws.points),) for value in found.values())
    return found if right else None
