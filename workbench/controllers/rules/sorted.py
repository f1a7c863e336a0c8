"""Sorted easy-to-hard: one walk through the pool by rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from workbench import kernels
from workbench.controllers.rule import Draw, Floats, Items, Lanes, Look, Rule, per_lane
from workbench.errors import MOST_STEPS, check_number
from workbench.pool import Pool


class RankState(NamedTuple):
    horizon: Floats  # (R,)


@dataclass(frozen=True)
class SortedEasyToHard(Rule):
    """The pool in order of difficulty, once over the run: the B items from rank lo(s) on.

    lo(s) = round((I - B) min(s / (horizon - 1), 1)), s = batches drawn so far, from 0.
    horizon: steps until the hardest B items, 1 to 1e7, set as in LinearSchedule. Windows overlap where B x horizon is
    above I, and leave gaps where it is below.
    Equal steps in rank, where LinearSchedule takes equal steps in difficulty.
    Source: classic ordering (Bengio et al. 2009); for LLM finetuning the pre-sorted blends of e.g. arXiv 2512.20848.
    """

    name = "sorted"
    look = Look("#CC79A7", (0, (6, 1.2, 1, 1.2, 1, 1.2)), "D")
    units: ClassVar[Mapping[str, str]] = {"horizon": "steps"}

    horizon: Lanes = 100

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("horizon", self.horizon, 1, MOST_STEPS)

    def init(self, pool: Pool, lanes: int) -> RankState:
        return RankState(per_lane("horizon", self.horizon, lanes))

    def select(self, state: RankState, draw: Draw, count: int) -> tuple[Items, RankState]:
        progress = np.minimum(draw.step / np.maximum(state.horizon - 1, 1), 1.0)
        lo = np.rint((len(draw.pool) - count) * progress).astype(np.int64)
        out = np.empty((len(lo), count), np.int64)
        kernels.window(draw.pool.order, lo, out)
        return out, state
