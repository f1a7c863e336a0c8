"""The batch nearest a target difficulty, and the schedules made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workbench import kernels
from workbench.controllers.rule import Draw, Floats, Items, Lanes, Rule, per_lane
from workbench.errors import check_choice, check_number
from workbench.pool import Pool
from workbench.streams import Role

TIES = ("random", "first")


def nearest(draw: Draw, target: Floats, count: int, ties: str) -> Items:
    """(R, count): the `count` items with the smallest |d_i - target| over the whole pool, in no particular order.

    ties: items at exactly the largest distance are drawn at random ("random") or by lowest position ("first").
    O(log I + count) per lane.
    """
    pool = draw.pool
    out = np.empty((len(target), count), np.int64)
    taken = np.zeros(2 * pool.longest_run // 64 + 1, np.uint64)
    kernels.nearest(*pool.index, target, ties == "random", *draw.luck(Role.TIES), taken, out)
    return out


class TargetState(NamedTuple):
    target: Floats  # (R,) difficulty the next batch is drawn at


@dataclass(frozen=True)
class FrozenTarget(Rule):
    """The B items nearest a fixed target: AdaRFT without its adaptation (eta = 0), to isolate what that adds.

    target: difficulty in [0, 100]. ties: as in `nearest`.
    Source: ours, the control that arXiv 2504.05520 leaves out: its Algorithm 1 with eta = 0.
    """

    target: Lanes = 50.0
    ties: str = "random"

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("target", self.target, 0, 100)
        check_choice("ties", self.ties, TIES)

    def init(self, pool: Pool, lanes: int) -> TargetState:
        return TargetState(per_lane("target", self.target, lanes))

    def select(self, state: TargetState, draw: Draw, count: int) -> tuple[Items, TargetState]:
        return nearest(draw, state.target, count, self.ties), state

    def metrics(self, state: TargetState) -> dict[str, Floats]:
        return {"target_difficulty": state.target}


@dataclass(frozen=True)
class LinearSchedule(Rule):
    """Fixed linear curriculum: T(s) = start + (end - start) min(s / horizon, 1), the B items nearest T(s).

    s: batches drawn so far, from 0. start, end: difficulty in [0, 100]. horizon: steps until `end`, >= 1.
    Source: the "fixed curriculum" baseline of Shi et al. 2025, arXiv 2504.05520, section 4.3.
    Differs: the paper says items that match T(s), not how many or which; here the nearest B, as in Algorithm 1.
    """

    start: Lanes = 0.0
    end: Lanes = 100.0
    horizon: Lanes = 100
    ties: str = "random"

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("start", self.start, 0, 100)
        check_number("end", self.end, 0, 100)
        check_number("horizon", self.horizon, 1)
        check_choice("ties", self.ties, TIES)

    def init(self, pool: Pool, lanes: int) -> TargetState:
        per_lane("end", self.end, lanes), per_lane("horizon", self.horizon, lanes)
        return TargetState(per_lane("start", self.start, lanes))

    def select(self, state: TargetState, draw: Draw, count: int) -> tuple[Items, TargetState]:
        progress = np.minimum(draw.step / np.asarray(self.horizon, dtype=np.float64), 1.0)
        target = np.broadcast_to(self.start + (self.end - self.start) * progress, state.target.shape)
        target = np.ascontiguousarray(target)
        return nearest(draw, target, count, self.ties), TargetState(target)

    def metrics(self, state: TargetState) -> dict[str, Floats]:
        return {"target_difficulty": state.target}
