"""Prioritized sampling: items are drawn in proportion to their failure rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.controllers.items import (
    NONE_YET,
    ItemRule,
    RateState,
    Weights,
    draw_by_weight,
    reverted_rates,
    with_rates,
)
from workbench.controllers.rule import SOLID, Draw, Feedback, Floats, Items, Look, per_lane
from workbench.pool import Pool


@dataclass(frozen=True)
class Prioritized(ItemRule):
    """P(i) proportional to 1 - s_i, s_i the item's success rate over its rollouts so far; 0 before the first.

    Source: prioritized sampling of Kimi k1.5, Kimi Team 2025, arXiv 2501.12599, section 2.3.3.
    Differs: the paper gives neither the window of s_i nor its start. A batch holds no item twice: its items are drawn
    one after another from those left; solved ones (s_i = 1) come last.
    """

    name = "prioritized"
    look = Look("#117733", SOLID, "D")

    def init(self, pool: Pool, lanes: int) -> RateState:
        per_lane("reversion", self.reversion, lanes)
        return RateState(*np.zeros((2, lanes, len(pool)), np.float32))

    def weights(self, state: RateState, draw: Draw) -> Weights:
        """(R, I) 1 - s_i."""
        return np.asarray(1 - state.rate)

    def select(self, state: RateState, draw: Draw, count: int) -> tuple[Items, RateState]:
        return draw_by_weight(self.weights(state, draw), draw, count), state

    def update(self, state: RateState, feedback: Feedback) -> RateState:
        state, share = with_rates(state, feedback), per_lane("reversion", self.reversion, len(state.rate))
        return reverted_rates(state, NONE_YET, share, feedback) if share.any() else state

    def metrics(self, state: RateState) -> dict[str, Floats]:
        return {"tracked_success": state.rate.mean(axis=1).astype(np.float64)}
