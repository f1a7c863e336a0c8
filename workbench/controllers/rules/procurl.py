"""ProCuRL: items in the zone of proximal development, neither mastered nor out of reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.controllers.items import (
    ItemRule,
    RateState,
    Weights,
    boltzmann,
    draw_by_weight,
    reverted_rates,
    with_rates,
)
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Look, per_lane
from workbench.errors import LARGEST, InputError, check_number, shown
from workbench.pool import Pool


@dataclass(frozen=True)
class ProCuRL(ItemRule):
    """Proximal curriculum: P(i) proportional to exp(beta PoS_i (ceiling - PoS_i)).

    PoS_i: the item's mean reward over its rollouts so far; before the first ceiling / 2, the most attractive value, or
    with use_labels the pool's pass rate.
    beta: 0 to 1e6; 0 is uniform. ceiling: the paper's PoS*, success that the best policy can reach, in (0, 1].
    Source: Tzannetos, Ribeiro, Kamalaruban, Singla 2023, arXiv 2304.12877, its practical variant; beta of its code.
    Differs: PoS comes from the rollouts trained on, where the paper evaluates all tasks again every so often (-env) or
    asks a critic (-val). The first estimate is ours. A batch holds no item twice: its items are drawn one after another
    from those left.
    """

    name = "procurl"
    look = Look("#CC6677", (0, (4, 1.5)), "d")

    beta: Lanes = 20.0
    ceiling: Lanes = 1.0
    use_labels: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("beta", self.beta, 0, LARGEST)
        check_number("ceiling", self.ceiling, 0, 1, open_low=True)
        if not isinstance(self.use_labels, bool):
            raise InputError(f"use_labels: must be True or False, got {shown(self.use_labels)}")

    @property
    def labels(self) -> bool:
        return self.use_labels

    def first(self, pool: Pool, lanes: int) -> Weights:
        """(1, I) or (R, 1) the estimate of PoS before the first rollout."""
        if self.use_labels:
            return pool.pass_rate[None].astype(np.float32)
        return (per_lane("ceiling", self.ceiling, lanes)[:, None] / 2).astype(np.float32)

    def init(self, pool: Pool, lanes: int) -> RateState:
        for name in ("beta", "ceiling", "reversion"):
            per_lane(name, getattr(self, name), lanes)
        rate = np.array(np.broadcast_to(self.first(pool, lanes), (lanes, len(pool))))
        return RateState(rate, np.zeros_like(rate))

    def weights(self, state: RateState, draw: Draw) -> Weights:
        """(R, I) exp(beta PoS (ceiling - PoS)) over the lane's largest."""
        lanes = len(state.rate)
        beta, ceiling = (per_lane(name, getattr(self, name), lanes)[:, None] for name in ("beta", "ceiling"))
        return boltzmann(beta.astype(np.float32) * state.rate * (ceiling.astype(np.float32) - state.rate))

    def select(self, state: RateState, draw: Draw, count: int) -> tuple[Items, RateState]:
        return draw_by_weight(self.weights(state, draw), draw, count), state

    def update(self, state: RateState, feedback: Feedback) -> RateState:
        state, share = with_rates(state, feedback), per_lane("reversion", self.reversion, len(state.rate))
        return reverted_rates(state, self.first(feedback.pool, len(share)), share, feedback) if share.any() else state

    def metrics(self, state: RateState) -> dict[str, Floats]:
        return {"predicted_success": state.rate.mean(axis=1).astype(np.float64)}
