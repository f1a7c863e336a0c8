"""The balanced filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.gate import Gate, NoState
from workbench.controllers.rule import Feedback, Lanes, Look, per_lane
from workbench.errors import InputError, check_number
from workbench.pool import Pool


@dataclass(frozen=True)
class BalancedFilter(Gate):
    """Groups of middling difficulty, low <= p <= high with p the group's mean reward; draw more for the others.

    low, high: bounds of p in [0, 1], low <= high; the paper's lie symmetric about 1/2.
    Source: balanced online difficulty filtering, Bae et al. 2025, arXiv 2504.03380.
    Differs: the defaults are ours, the paper compares several bounds; it refills the batch group by group while others
    are still generated, here whole batches are drawn.
    """

    name = "balanced"
    look = Look("#882255", (0, (6, 1.5, 1, 1.5)), "H")
    strokes = (11.0, 1.0, 3.0, 1.0)

    low: Lanes = 0.25
    high: Lanes = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("low", self.low, 0, 1)
        check_number("high", self.high, 0, 1)
        if np.any(np.asarray(self.low) > np.asarray(self.high)):
            raise InputError(f"low, high: must have low <= high, got {self.low!r} and {self.high!r}")

    def init(self, pool: Pool, lanes: int) -> NoState:
        per_lane("low", self.low, lanes), per_lane("high", self.high, lanes)
        return NoState()

    def admit(self, state: NoState, feedback: Feedback) -> tuple[NDArray[np.bool_], NoState]:
        low, high = (per_lane(name, getattr(self, name), len(feedback.items))[:, None] for name in ("low", "high"))
        return (low <= feedback.means) & (feedback.means <= high), state
