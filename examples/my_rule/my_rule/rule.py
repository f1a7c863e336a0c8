"""A rule: train on the items that are solved half of the time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.controllers import Draw, Feedback, Look, Rule
from workbench.controllers.items import RateState, take_best, with_rates
from workbench.controllers.rule import SOLID, Items, Lanes, per_lane
from workbench.errors import check_number
from workbench.pool import Pool


@dataclass(frozen=True)
class NearHalf(Rule):
    """The items whose mean reward so far is nearest to `middle`; items without rollouts count as `middle`.

    middle: mean reward to look for, in [0, 1].
    Source: an example, of no paper.
    """

    middle: Lanes = 0.5

    name = "near-half"
    look = Look("#000000", SOLID, "P")
    memory = "item"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("middle", self.middle, 0, 1)

    def init(self, pool: Pool, lanes: int) -> RateState:
        shape = lanes, len(pool)
        rate = np.broadcast_to(per_lane("middle", self.middle, lanes)[:, None], shape).astype(np.float32)
        return RateState(rate, np.zeros(shape, np.float32))

    def select(self, state: RateState, draw: Draw, count: int) -> tuple[Items, RateState]:
        middle = per_lane("middle", self.middle, len(state.rate))[:, None].astype(np.float32)
        return take_best(-np.abs(state.rate - middle), draw, count), state

    def update(self, state: RateState, feedback: Feedback) -> RateState:
        return with_rates(state, feedback)
