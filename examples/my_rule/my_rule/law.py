"""A law: one skill, whose gains shrink as it grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import check_number
from workbench.lanes import Floats, Lanes
from workbench.learners import Law
from workbench.learners.law import Gradient, ItemBank, LearnerState


@dataclass(frozen=True)
class Saturating(Law):
    """theta <- theta + kappa exp(-(theta - theta0) / room) mean_i S_i

    room: logits over which gains shrink by the factor e, > 0.
    Source: an example, of no paper.
    """

    room: Lanes = 2.0

    per_item = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("room", self.room, 0, open_low=True)

    def start(self, theta0: Floats, bank: ItemBank) -> LearnerState:
        return LearnerState(theta0, np.full(len(theta0), 0.5), np.empty((len(theta0), 0)))

    def advance(self, state: LearnerState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> LearnerState:
        slower = np.exp(-(state.theta - self.theta0) / self.room)
        return state._replace(theta=state.theta + self.kappa * slower * gradient.mean)
