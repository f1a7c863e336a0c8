"""train(): the one loop, the same for simulated learners and real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.controller import Controller
from workbench.errors import InputError, check_count
from workbench.lanes import Floats, Items

if TYPE_CHECKING:
    import pandas as pd


class Learner(Protocol):
    """Anything that attempts items, learns from their rewards, can be evaluated, and can be saved."""

    def attempt(self, items: Items, rollouts: int = 8) -> NDArray[np.float32]: ...
    def learn(self, items: Items, rewards: NDArray[np.float32], admitted: NDArray[np.bool_]) -> None: ...
    def evaluate(self) -> Floats: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


# Series of a record: name -> unit. reward, silent_share and batch_difficulty are means since the record before.
SERIES = {
    "target": "difficulty 0-100",
    "reward": "share",
    "batch_difficulty": "difficulty 0-100",
    "silent_share": "share of groups",
    "coverage": "share of pool",
}


@dataclass(frozen=True, eq=False)
class Record:
    """What happened: E records of R lanes, S difficulty strata.

    steps, rollouts: (E,) training steps and rollouts per lane so far; the first is the state before training.
    seeds: (R,). success: (E, R, S) held-out success per stratum. series: the names in SERIES -> (E, R), also as
    attributes; NaN where there is nothing to report (a rule without target, no step yet, single rollouts).
    names: pool, learner and controller, and the law and rule behind them.
    """

    steps: NDArray[np.int64]
    rollouts: NDArray[np.int64]
    seeds: NDArray[np.uint64]
    success: Floats
    series: dict[str, Floats]
    names: dict[str, str]

    def __getattr__(self, name: str) -> Floats:
        if name in SERIES and "series" in self.__dict__:
            return self.series[name]
        raise AttributeError(name)

    @property
    def mean_success(self) -> Floats:
        """(E, R) mean over the strata that have items, all weighted equally."""
        filled = np.isfinite(self.success).any(axis=(0, 1))
        return np.asarray(self.success[:, :, filled].mean(axis=2))

    def to_frame(self) -> pd.DataFrame:
        """Tidy table, a row per record and lane: names, seed, step, rollouts, success, success_0.., the series."""
        import pandas as pd

        records, lanes = self.success.shape[:2]
        columns: dict[str, Any] = dict(self.names)
        columns |= {
            "seed": np.tile(self.seeds, records),
            "step": np.repeat(self.steps, lanes),
            "rollouts": np.repeat(self.rollouts, lanes),
            "success": self.mean_success.ravel(),
        }
        for stratum in range(self.success.shape[2]):
            columns[f"success_{stratum}"] = self.success[:, :, stratum].ravel()
        return pd.DataFrame(columns | {name: self.series[name].ravel() for name in SERIES})


def train(
    controller: Controller,
    learner: Learner,
    steps: int,
    batch: int = 256,
    rollouts: int = 8,
    eval_every: int = 5,
    start: int = 0,
    after_step: Callable[[int, Floats | None], object] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> Record:
    """Train `learner` on the batches `controller` picks, and record what happens.

    steps: updates, >= 1. batch: items per step. rollouts: attempts per item. eval_every: steps between records, >= 1.
    Where gates reject groups, further batches are drawn until `batch` groups are admitted or the gates' max_batches
    are drawn; the step then trains on the first `batch` admitted ones, or on fewer.
    Controller and learner keep their state: calling again continues where they are; with start = the updates they have
    behind them, 0 <= start <= steps, it runs the rest up to `steps`, and the state at the start is not recorded again.
    after_step: called with the step and, where one was recorded, the success just evaluated, else None; also with 0.
    until: asked after each update; the one after which it is true is the last.
    Raises InputError for a setting out of its domain and for a learner with another number of lanes.
    """
    check_count("steps", steps)
    check_count("eval_every", eval_every)
    check_count("start", start, 0)
    if start > steps:
        raise InputError(f"start: must be <= steps, {steps}, got {start}")
    lanes = controller.lanes
    if getattr(learner, "lanes", lanes) != lanes:
        raise InputError(f"learner: must have {lanes} lanes like the controller, got {getattr(learner, 'lanes', 1)}")
    if controller.max_batches > 1 and lanes > 1:
        raise InputError(f"gates: must not draw further batches where there are lanes, got {lanes} lanes")
    log = _Log(lanes)
    before = 0 if start or controller.max_batches > 1 else controller.step  # a plain second call counts on
    tell = after_step or (lambda step, success: None)
    if start == 0:
        tell(0, log.record(before, controller, learner))
    for step in range(start + 1, steps + 1):
        learner.learn(*_admitted_batch(controller, learner, batch, rollouts, log))
        last = step == steps or until()
        due = step % eval_every == 0 or last
        tell(step, log.record(before + step, controller, learner) if due else None)
        if last:
            break
    learner_name, rule_name = type(getattr(learner, "law", learner)).__name__, type(controller.rule).__name__
    names = {"pool": controller.pool.name, "learner": learner_name, "controller": rule_name}
    return log.finish(controller.seeds, names | {"law": learner_name, "rule": rule_name})


def _admitted_batch(
    controller: Controller, learner: Learner, batch: int, rollouts: int, log: _Log
) -> tuple[Items, NDArray[np.float32], NDArray[np.bool_]]:
    """Items, rewards and admission of one update: one batch, or as many as the gates need."""
    drawn = []
    for _ in range(controller.max_batches):
        items = controller.next_batch(batch)
        rewards = learner.attempt(items, rollouts)
        drawn.append((items, rewards, controller.observe(items, rewards)))
        log.watch(controller)
        if controller.max_batches == 1:
            return drawn[0]
        if sum(admitted.sum() for _, _, admitted in drawn) >= batch:
            break
    of_items = drawn[0][0].ndim - 1  # 0, or 1 where there is a lane axis before it
    items, rewards, admitted = (np.concatenate(parts, axis=of_items) for parts in zip(*drawn, strict=True))
    return items, rewards, admitted & (np.cumsum(admitted, axis=of_items) <= batch)


class _Log:
    """Means between records, and the records."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._sums = tuple(np.zeros(lanes) for _ in range(3))  # of what `batch_summary` gives
        self._count = 0
        self._rows: list[tuple[int, int, Floats, Floats]] = []

    def watch(self, controller: Controller) -> None:
        for total, value in zip(self._sums, controller.batch_summary(), strict=True):
            total += value
        self._count += 1

    def record(self, step: int, controller: Controller, learner: Learner) -> Floats:
        with np.errstate(invalid="ignore"):  # before the first step there is nothing to average: 0 / 0
            reward, silent, difficulty = (total / self._count for total in self._sums)
        series = np.stack([controller.target(), reward, difficulty, silent, controller.coverage()])
        success = np.asarray(learner.evaluate(), dtype=np.float64).reshape(self._lanes, -1)
        self._rows.append((step, controller.rollouts, success, series))
        self._sums, self._count = tuple(np.zeros(self._lanes) for _ in range(3)), 0
        return success

    def finish(self, seeds: NDArray[np.uint64], names: dict[str, str]) -> Record:
        steps, rollouts, success, series = zip(*self._rows, strict=True)
        table = np.stack(series, axis=1)  # (series, E, R)
        curves = dict(zip(SERIES, table, strict=True))
        return Record(np.array(steps), np.array(rollouts), seeds.copy(), np.stack(success), curves, names)
