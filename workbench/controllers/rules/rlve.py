"""RLVE: a window of levels that moves up when its highest level is mastered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workbench.controllers.arms import ORDERED, ArmRule
from workbench.controllers.rule import SOLID, Draw, Feedback, Floats, Items, Lanes, Look, per_lane
from workbench.errors import MOST, InputError, check_choice, check_number
from workbench.pool import Pool


class LevelState(NamedTuple):
    level: Items  # (R,) h
    prompts: Items  # (R,) groups at h since the last check
    rollouts: Items  # (R,) of these groups
    successes: Floats  # (R,) sum of their rewards


@dataclass(frozen=True)
class RLVE(ArmRule):
    """A level adapter: a window of the levels k = 0 (easiest) to K - 1, whose upper end h rises with accuracy.

    P(k) = 1 / (number of levels in the window) for h - width < k <= h, otherwise 0; items are uniform inside a level.
    Once `least` groups at level h are answered: h <- h + 1 if their mean reward >= tau; then the count starts again.
    h is never lowered.

    start: h before the first batch, a whole number in [0, K - 1]. width: levels in the window, a whole number, 1 to
    1e9. tau: accuracy in [0, 1]. least: groups, a whole number, 1 to 1e9.
    by: "difficulty" or "level", whose arms come in order. reversion: must be 0, as nothing is estimated.
    Levels with fewer items than they are asked for are filled up from the others.
    Source: Zeng et al. 2025, arXiv 2511.07317; defaults of its released code.
    Differs: there each of many environments has its own h and generates ever harder problems; here one pool is one
    environment, and h stays at its hardest level.
    """

    name = "rlve"
    look = Look("#E69F00", SOLID, "v")

    start: Lanes = 0
    width: Lanes = 4
    tau: Lanes = 0.9
    least: Lanes = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("by", self.by, ORDERED)
        check_number("reversion", self.reversion, 0, 0)
        check_number("start", self.start, 0, MOST, whole=True)
        check_number("width", self.width, 1, MOST, whole=True)
        check_number("tau", self.tau, 0, 1)
        check_number("least", self.least, 1, MOST, whole=True)

    def init(self, pool: Pool, lanes: int) -> LevelState:
        for name in ("width", "tau", "least", "reversion"):
            per_lane(name, getattr(self, name), lanes)
        start, last = per_lane("start", self.start, lanes), len(self.arms(pool)) - 1
        if start.max() > last:
            raise InputError(f"start: must be a whole number in [0, {last}] on pool '{pool.name}', got {start.max():g}")
        none = np.zeros(lanes, np.int64)
        return LevelState(start.astype(np.int64), none, none, np.zeros(lanes))

    def shares(self, state: LevelState, draw: Draw) -> Floats:
        level, top = np.arange(len(self.arms(draw.pool))), state.level[:, None]
        inside = (level <= top) & (level > top - per_lane("width", self.width, len(top))[:, None])
        return np.asarray(inside / inside.sum(axis=1, keepdims=True))

    def update(self, state: LevelState, feedback: Feedback) -> LevelState:
        lanes, arms = len(state.level), self.arms(feedback.pool)
        at_top = arms.of_item[feedback.items] == state.level[:, None]
        prompts = state.prompts + (at_top & (feedback.rollouts > 0)).sum(axis=1)
        rollouts = state.rollouts + np.where(at_top, feedback.rollouts, 0).sum(axis=1)
        successes = state.successes + np.where(at_top, feedback.successes, 0.0).sum(axis=1)
        tau, least = (per_lane(name, getattr(self, name), lanes) for name in ("tau", "least"))
        due = prompts >= least
        rise = due & (successes / np.maximum(rollouts, 1) >= tau)
        level = np.minimum(state.level + rise, len(arms) - 1)
        return LevelState(level, *(np.where(due, 0, count) for count in (prompts, rollouts, successes)))

    @property
    def per_call(self) -> bool:
        return True

    def check_state(self, state: LevelState, pool: Pool) -> None:
        levels = len(self.arms(pool))
        if not ((state.level >= 0) & (state.level < levels)).all():
            raise InputError(f"state.rule.level: must be levels in [0, {levels}), got {state.level}")

    def metrics(self, state: LevelState) -> dict[str, Floats]:
        return {"level": state.level.astype(np.float64)}
