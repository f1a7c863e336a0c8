"""Prioritized sampling: the more an item is failed, the more it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.items import ItemRule, Weights, answered, draw_by_weight, with_counts
from workbench.controllers.rule import Draw, Feedback, Items, per_lane
from workbench.pool import Pool


class CountState(NamedTuple):
    successes: NDArray[np.float32]  # (R, I) sums of rewards
    attempts: NDArray[np.float32]  # (R, I) rollouts


@dataclass(frozen=True)
class Prioritized(ItemRule):
    """P(i) proportional to 1 - s_i, s_i the item's success rate over its rollouts so far; 0 before the first.

    reversion: share of an item's successes and rollouts forgotten in every step without feedback on it.
    Source: prioritized sampling of Kimi k1.5, Kimi Team 2025, arXiv 2501.12599, section 2.3.3.
    Differs: the paper gives neither the window of s_i nor its start.
    """

    def init(self, pool: Pool, lanes: int) -> CountState:
        per_lane("reversion", self.reversion, lanes)
        return CountState(*np.zeros((2, lanes, len(pool)), np.float32))

    def weights(self, state: CountState, draw: Draw) -> Weights:
        """(R, I) 1 - s_i."""
        rate = state.successes / np.maximum(state.attempts, np.float32(1e-9))
        return np.asarray(1 - rate, np.float32)

    def select(self, state: CountState, draw: Draw, count: int) -> tuple[Items, CountState]:
        return draw_by_weight(self.weights(state, draw), draw, count), state

    def update(self, state: CountState, feedback: Feedback) -> CountState:
        successes, attempts = with_counts(state.successes, state.attempts, feedback)
        if np.any(self.reversion):
            kept = 1 - per_lane("reversion", self.reversion, len(successes))[:, None].astype(np.float32)
            kept = np.where(answered(feedback, successes.shape[1]), np.float32(1), kept)
            successes, attempts = successes * kept, attempts * kept
        return CountState(successes, attempts)
