"""A learner driven by a log: it learns from the logged rewards, and its chances before each update are read off.

The learner is the `SimLearner` of any study; its lanes are points in the space of parameters. There is no second copy
of a law. Signals that use a success probability or a critic's value take the law's own.
Source: teacher forcing, Williams & Zipser 1989; for learning laws ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.calibration.log import Counts, Log
from workbench.lanes import Floats, per_lane
from workbench.learners import Law, SimLearner
from workbench.learners.learner import difficulty_to_logit
from workbench.pool import GRID, Pool

SATURATED = 1e-7  # a chance is at least this far from the floor and the ceiling


class Update(NamedTuple):
    """One update of a run: the rows of its groups in the log, and what `learn` takes."""

    rows: NDArray[np.int64]
    items: NDArray[np.int64]  # (B,)
    rewards: NDArray[np.float32]  # (B, G): successes first
    counts: NDArray[np.int64] | None  # (B,) where they differ
    admitted: NDArray[np.bool_] | None
    times: int  # updates it stands for: itself and the missing ones after it


@dataclass(frozen=True)
class Replay:
    """A log, and the pool that its items are positions in. b: (I,) difficulties in logits that the law sees. looks: M
    groups of attempts of which nothing is learned, each made before the update `step`, or after the last one. core: as
    in `SimLearner`."""

    log: Log
    pool: Pool
    b: Floats
    looks: Counts | None = None
    core: int | None = None

    @cached_property
    def _updates(self) -> list[list[Update]]:
        """By run."""
        return [self._of_run(number) for number in range(len(self.log.runs))]

    def _of_run(self, number: int) -> list[Update]:
        log = self.log
        mine = np.flatnonzero(log.run == number)
        steps, begin = np.unique(log.step[mine], return_index=True)
        ends, following = np.append(begin[1:], len(mine)), np.append(steps[1:], steps[-1] + 1)
        out = []
        for step, low, high, after in zip(steps, begin, ends, following, strict=True):
            rows = mine[low:high]
            n, k, ok = log.attempts[rows], log.successes[rows], log.admitted[rows]
            rewards = (np.arange(n.max()) < k[:, None]).astype(np.float32)
            out.append(Update(rows, log.item[rows], rewards, None if (n == n[0]).all() else n,
                              None if ok.all() else ok, int(after - step)))  # fmt: skip
        return out

    def zeta(self, law: Law, lanes: int) -> Floats:
        """(D, N) logit of each group's chance before its update, less what floor and ceiling do; with looks (D, N + M),
        theirs behind."""
        out = np.empty((lanes, len(self.log) + (0 if self.looks is None else len(self.looks.step))))
        for number, run in enumerate(self._updates):
            self._drive(law, lanes, run, out, self._looked(number))
        return out

    def _looked(self, run: int) -> dict[int, NDArray[np.int64]]:
        """Rows of the looks of a run by the update before which they were made."""
        if self.looks is None:
            return {}
        mine = np.flatnonzero(self.looks.run == run)
        return {int(step): mine[self.looks.step[mine] == step] for step in np.unique(self.looks.step[mine])}

    def gained(self, law: Law, lanes: int) -> Floats:
        """(D, N) zeta of each group less that of its item before any update: what the law has added."""
        return self.zeta(law, lanes) - self.first(law, lanes)[:, self.log.item]

    def first(self, law: Law, lanes: int) -> Floats:
        """(D, I) zeta of every item before any update."""
        return logits(self.learner(law, lanes, -1), np.arange(len(self.pool))[None])

    def learner(self, law: Law, lanes: int, run: int) -> SimLearner:
        """The learner after the last update of a run; before any update for run -1."""
        return self._drive(law, lanes, [] if run < 0 else self._updates[run], None)

    def _drive(
        self, law: Law, lanes: int, run: list[Update], out: Floats | None,
        looked: Mapping[int, NDArray[np.int64]] = MappingProxyType({}),
    ) -> SimLearner:  # fmt: skip
        learner, step = SimLearner(law, self.pool, seed=0, lanes=lanes, b=self.b, core=self.core), 1

        def look() -> None:
            if out is not None and self.looks is not None and step in looked:
                out[:, len(self.log) + looked[step]] = logits(learner, self.looks.item[looked[step]][None])

        for update in run:
            shape = (lanes, *update.items.shape)
            items = np.broadcast_to(update.items, shape)
            if out is not None:
                out[:, update.rows] = logits(learner, items)
            rewards = np.broadcast_to(update.rewards, (lanes, *update.rewards.shape))
            rest = [
                None if value is None else np.broadcast_to(value, shape) for value in (update.admitted, update.counts)
            ]
            for _ in range(update.times):
                look()
                learner.learn(items, rewards, *rest)
                step += 1
        look()
        return learner


def logits(learner: SimLearner, items: NDArray[np.int64]) -> Floats:
    """(D, B) zeta of items (D, B), or (1, B) in every lane: logit of the chance, less what floor and ceiling do."""
    _, floor, ceiling = learner.law.curve()
    low, high = (per_lane(name, v, learner.lanes)[:, None] for name, v in (("floor", floor), ("ceiling", ceiling)))
    chance = learner.success(np.broadcast_to(items, (learner.lanes, items.shape[1])))
    share = np.clip((chance - low) / (high - low), SATURATED, 1 - SATURATED)
    return np.asarray(np.log(share) - np.log1p(-share))


def difficulty_of(pool: Pool) -> Floats | None:
    """(I,) logits from the labels, with those of items without a label 0; None where no item has a label."""
    known = ~np.isnan(pool.difficulty)
    if not known.any():
        return None
    b = np.zeros(len(pool))
    attempts: Any = GRID if pool.attempts is None else pool.attempts[known]
    b[known] = difficulty_to_logit(pool.difficulty[known], attempts)
    return b


def known_pool(pool: Pool) -> Pool:
    """The pool as a simulated learner takes it, which is given difficulties beside the pool."""
    known = pool.without_payload()
    if known.labelled:
        return known
    d = np.where(np.isnan(pool.difficulty), 50.0, pool.difficulty)
    return Pool(d, ids=pool.ids, category=pool.category, level=pool.level, name=pool.name)
