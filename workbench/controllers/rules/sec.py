"""SEC: a bandit over groups of items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workbench.controllers.arms import ArmRule, absolute_advantage, arm_means, by_arm, softmax
from workbench.controllers.rule import SOLID, Draw, Feedback, Floats, Lanes, Look, per_lane
from workbench.errors import LARGEST, SMALLEST, check_choice, check_number
from workbench.pool import Pool


class BanditState(NamedTuple):
    value: Floats  # (R, K) Q


@dataclass(frozen=True)
class SEC(ArmRule):
    """Self-evolving curriculum: a bandit over arms, rewarded by the mean |A| there.

    r_k = mean of |A| over the arm's rollouts in this batch,   Q_k <- Q_k + lr (r_k - Q_k)
    P(k) = exp(Q_k / tau) / sum_j exp(Q_j / tau); items are uniform inside an arm

    lr: step of Q, the paper's alpha, in [0, 1]. tau: temperature in units of |A|, 1e-6 to 1e6. advantage: "grpo"
    divides by the group's std, so that |A| = 2 sqrt(p (1 - p)) for rewards of 0 and 1; "mean" does not,
    |A| = 2 p (1 - p).
    start: Q before the first batch, 0 to 1e6; above the largest reward of an arm, every arm is tried first.
    Source: Chen et al. 2025, arXiv 2505.14970, equations 3 to 6.
    Differs: lr and tau, which the paper tunes per task, are ours; its Q starts at 0. Arms are difficulty bins unless
    `by` says otherwise. Arms without feedback keep their Q unless there is reversion.
    """

    name = "sec"
    look = Look("#332288", SOLID, "o")

    lr: Lanes = 0.5
    tau: Lanes = 0.2
    advantage: str = "grpo"
    start: Lanes = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("lr", self.lr, 0, 1)
        check_number("tau", self.tau, SMALLEST, LARGEST)
        check_choice("advantage", self.advantage, ("grpo", "mean"))
        check_number("start", self.start, 0, LARGEST)

    def init(self, pool: Pool, lanes: int) -> BanditState:
        for name in ("lr", "tau", "reversion"):
            per_lane(name, getattr(self, name), lanes)
        return BanditState(np.repeat(per_lane("start", self.start, lanes)[:, None], len(self.arms(pool)), axis=1))

    def shares(self, state: BanditState, draw: Draw) -> Floats:
        return softmax(state.value, per_lane("tau", self.tau, len(state.value)))

    @property
    def per_call(self) -> bool:
        return True

    def update(self, state: BanditState, feedback: Feedback) -> BanditState:
        lanes = len(state.value)
        earned, groups = arm_means(self.arms(feedback.pool), feedback, absolute_advantage(feedback, self.advantage))
        lr, back = (per_lane(name, getattr(self, name), lanes)[:, None] for name in ("lr", "reversion"))
        start = per_lane("start", self.start, lanes)[:, None]
        seen, unseen = state.value + lr * (earned - state.value), state.value + back * (start - state.value)
        return BanditState(np.where(groups > 0, seen, unseen))

    def metrics(self, state: BanditState) -> dict[str, Floats]:
        return by_arm("value", state.value)
