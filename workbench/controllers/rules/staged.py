"""Stages: parts of the pool, cut by difficulty, that are trained on one after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from workbench.controllers.rule import SOLID, Draw, Floats, Items, Lanes, Look, Rule, per_lane
from workbench.errors import MOST_STEPS, check_count, check_flag, check_number
from workbench.kernels.choose import few_of
from workbench.kernels.compiling import Array, compiled
from workbench.kernels.philox import other_seed, unit53_row
from workbench.pool import Pool
from workbench.streams import Role


class StageState(NamedTuple):
    stage: Items  # (R,) of the last batch, from 0


@dataclass(frozen=True)
class Staged(Rule):
    """The pool in order of difficulty, cut into parts of nearly equal size; each stage draws uniformly from its part.

    stage(s) = min(floor(s n / horizon), n - 1),   s = batches drawn so far, from 0; n = stages
    part j = the ranks from floor(j I / n) up to floor((j + 1) I / n), exclusive

    stages: n >= 1. horizon: steps of the whole schedule, 1 to 1e7, set as in LinearSchedule; the last stage goes on
    after it.
    cumulative: draw from all parts up to the stage's own, so that earlier ones are not forgotten.
    Items are distinct within a batch. A part smaller than a batch is filled up with its neighbours in rank.
    Source: staged curricula; with 2 stages, easier items first and harder ones after, the curriculum of Kimi k1.5,
    Kimi Team 2025, arXiv 2501.12599, section 2.3.3; cumulative ones as in Bengio et al. 2009.
    Differs: Kimi k1.5 gives neither the cut nor the step at which it changes over; here equal sizes and equal times.
    """

    name = "staged"
    look = Look("#CC79A7", SOLID, "s")
    units: ClassVar[Mapping[str, str]] = {"horizon": "steps"}

    stages: int = 3
    horizon: Lanes = 100
    cumulative: bool = False

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("stages", self.stages)
        check_number("horizon", self.horizon, 1, MOST_STEPS)
        check_flag("cumulative", self.cumulative)

    def init(self, pool: Pool, lanes: int) -> StageState:
        per_lane("horizon", self.horizon, lanes)
        return StageState(np.zeros(lanes, np.int64))

    def select(self, state: StageState, draw: Draw, count: int) -> tuple[Items, StageState]:
        size, lanes = len(draw.pool), len(draw.seeds)
        passed = np.floor(draw.step * self.stages / per_lane("horizon", self.horizon, lanes))
        stage = np.minimum(passed, self.stages - 1).astype(np.int64)
        low = np.zeros_like(stage) if self.cumulative else stage * size // self.stages
        high = (stage + 1) * size // self.stages
        short = np.maximum(count - (high - low), 0)
        low = np.clip(low - short // 2, 0, size - np.maximum(high - low, count))
        high = np.maximum(high, low + count)
        out = np.empty((lanes, count), np.int64)
        from_ranks(draw.pool.order, low, high, *draw.stream(Role.ARM), out)
        return out, StageState(stage)

    def metrics(self, state: StageState) -> dict[str, Floats]:
        return {"stage": state.stage.astype(np.float64)}


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def from_ranks(order: Array, low: Array, high: Array, keys: Array, role: int, clock: int, out: Array) -> None:
    """out[r] = B distinct items, uniformly from order[low[r]:high[r]]."""
    batch = out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    uniform = pairs.reshape(pairs.size)
    picks, bits = np.empty(batch, np.int64), np.zeros((order.size >> 6) + 1, np.uint64)
    for r in range(out.shape[0]):
        if other_seed(keys, r):
            unit53_row(keys[r], role, clock, pairs)
        for draw in range(few_of(high[r] - low[r], batch, uniform, bits, picks)):
            out[r, draw] = order[low[r] + picks[draw]]
