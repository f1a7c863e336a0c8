"""Futures of a logged run: a candidate's curriculum from the last state of the log, under draws of a fitted law."""

from __future__ import annotations

import hashlib
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
from workbench.calibration.store import digest, keep, kept, key_of, own_digest
from workbench.controllers import Controller, ShortBatch
from workbench.lanes import Floats
from workbench.learners import SimLearner
from workbench.loop import train
from workbench.pool import Pool
from workbench.streams import Role, generator, run_seeds
from workbench.study.identity import code_digest, describe, sources_of

LEAST = 0.01  # weight below which a law has no futures
RECORDS = 40  # records of a future


@dataclass(frozen=True)
class Task:
    """Futures of one candidate under one law. points: (R, P), a row per future; u: (R, I) what labels leave open."""

    candidate: Candidate
    law: LawFit
    name: str
    points: Floats
    u: Floats
    seeds: NDArray[np.uint64]
    replay: Replay
    pool: Pool
    run: int
    steps: int
    batch: int
    rollouts: int

    @cached_property
    def key(self) -> str:
        """SHA-256, shortened, of all that the futures depend on, the code included."""
        parts = (self.candidate.rule, *self.candidate.gates, self.law.space.law)
        content = {"parts": [describe(part) for part in parts], "sources": sources_of(*parts), "code": code_digest(),
                   "own": own_digest(), "pool": self.pool.digest, "log": digest(self.replay.log),
                   "arrays": [hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()
                              for a in (self.points, self.u, self.seeds, self.replay.b)],
                   "shape": [self.run, self.steps, self.batch, self.rollouts]}  # fmt: skip
        return key_of(content)

    def futures(self) -> dict[str, NDArray[Any]]:
        """steps (E,), success (E, R) mean over the pool's items, and rollouts (E, R) spent."""
        lanes, law = len(self.points), self.law.space.law_at(self.points)
        before = self.replay.learner(law, lanes, self.run)
        a = np.broadcast_to(np.asarray(law.curve()[0], np.float64), lanes)[:, None]
        learner = SimLearner(law, known_pool(self.pool), self.seeds, b=self.replay.b - self.u / a)
        learner.state = before.state  # the skill of the logged run, on the items as they were drawn
        learner.visits = before.visits
        controller = Controller(self.candidate.rule, self.pool, self.candidate.gates, seed=self.seeds)
        found, everything = [], np.arange(len(self.pool))

        def look(step: int, success: Floats | None) -> None:
            if success is not None:
                found.append(learner.success(np.broadcast_to(everything, (lanes, len(everything)))).mean(axis=1))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShortBatch)
            record = train(controller, Steered(learner, self.pool), self.steps, self.batch, self.rollouts,
                           max(1, self.steps // RECORDS), after_step=look)  # fmt: skip
        return {
            "steps": record.steps,
            "success": np.array(found, np.float64),
            "rollouts": record.rollouts.astype(float),
        }


class Steered:
    """A learner on a pool whose items need no label: the one that the controller has."""

    def __init__(self, learner: SimLearner, pool: Pool) -> None:
        self.learner, self.pool = learner, pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self.learner, name)


def tasks_of(one: Candidate, fit: Fit, steps: int, batch: int, rollouts: int, lanes: int, seed: int) -> list[Task]:
    """The futures of a candidate, law by law; the same draws for every candidate."""
    pool, log = fit.pool, fit.log
    b = difficulty_of(pool)
    replay = Replay(log, known_pool(pool), np.zeros(len(pool)) if b is None else b)
    run = int(log.run[np.argmax(log.step)])
    names = [name for name, weight in fit.weights.items() if weight >= LEAST]
    share = np.array([fit.weights[name] for name in names])
    counts = np.maximum(np.rint(lanes * share / share.sum()).astype(int), 1)
    seeds, out, begin = run_seeds(seed, int(counts.sum())), [], 0
    for name, count in zip(names, counts, strict=True):
        law = fit.laws[name]
        rng = generator(seed, Role.POSTERIOR, begin)
        points = law.points[np.resize(rng.permutation(len(law.points)), count)]  # again from the first where few
        u = open_difficulty(law, points, replay, len(pool), run, rng)
        mine = seeds[begin : begin + count]
        out.append(Task(one, law, name, points, u, mine, replay, pool, run, steps, batch, rollouts))
        begin += count
    return out


def open_difficulty(
    law: LawFit, points: Floats, replay: Replay, items: int, run: int, rng: np.random.Generator
) -> Floats:
    """(R, I) u of each item at the end of a run: given the log for items that were tried, else from its prior."""
    settings = law.space.law_at(points)
    given, groups = law.space.observation(points, settings), Groups(replay.log)
    wide = np.sqrt(given.spread**2 + replay.log.updates * given.drift**2)[:, None]
    u = wide * rng.standard_normal((len(points), items))
    zeta = replay.zeta(settings, len(points))
    u[:, groups.items] = draw_last(groups, zeta, given, run, rng.random((len(points), len(groups.items))))
    return u


def simulate_and_keep(folder: Path, task: Task) -> None:
    keep(folder, task.key, task.futures())


def known_futures(folder: Path, task: Task) -> dict[str, Floats] | None:
    """The futures of a task from the folder; None where they are not there or damaged."""
    found = kept(folder, task.key, ("success", "rollouts"))
    right = found is not None and all(value.shape[1:] == (len(task.points),) for value in found.values())
    return found if right else None
