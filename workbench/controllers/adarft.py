"""AdaRFT: the target difficulty follows the reward."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.controllers.nearest import TIES, TargetState, nearest
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Rule, per_lane
from workbench.errors import InputError, check_choice, check_number
from workbench.pool import Pool


@dataclass(frozen=True)
class AdaRFT(Rule):
    """Adaptive curriculum reinforcement finetuning.

    batch = the B items with the smallest |d_i - T| over the whole pool (used items stay in)
    T <- clip(T + eta tanh(alpha (R - beta)), low, high),   R = mean reward of the batch over all its rollouts

    beta: target reward in [0, 1]. alpha: sensitivity per unit reward, > 0. eta: largest move in one step, >= 0.
    start: T before the first batch. low, high: bounds of T, 0 <= low < high <= 100; start lies between them.
    ties: difficulties sit on a coarse grid, so many items are equally near; those at the largest distance that
    still fits are drawn at random ("random"), or by lowest position ("first": same T, same batch).

    Source: Shi, Wu, Song, Zhou, Zhao 2025, arXiv 2504.05520, Algorithm 1; defaults of its Table 3.
    Differs: the paper is silent on ties; R is raw correctness as in Algorithm 1, where the released code can take
    the reward after its KL penalty; T acts on the very next batch, where the released loader prefetches.
    """

    beta: Lanes = 0.5
    alpha: Lanes = 2.0
    eta: Lanes = 50.0
    start: Lanes = 0.0
    low: Lanes = 0.0
    high: Lanes = 100.0
    ties: str = "random"

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("beta", self.beta, 0, 1)
        check_number("alpha", self.alpha, 0, open_low=True)
        check_number("eta", self.eta, 0)
        check_number("low", self.low, 0, 100)
        check_number("high", self.high, 0, 100)
        if np.any(np.asarray(self.low) >= np.asarray(self.high)):
            raise InputError(f"low, high: must have low < high, got {self.low!r} and {self.high!r}")
        check_number("start", self.start, 0, 100)
        low, high, start = np.broadcast_arrays(self.low, self.high, self.start)
        outside = np.flatnonzero((start < low) | (start > high))
        if outside.size:
            lane = outside[0]
            raise InputError(
                f"start: must be a number in [low, high] = [{low.flat[lane]:g}, {high.flat[lane]:g}], "
                f"got {start.flat[lane]:g}"
            )
        check_choice("ties", self.ties, TIES)

    def init(self, pool: Pool, lanes: int) -> TargetState:
        for name in ("beta", "alpha", "eta", "low", "high"):
            per_lane(name, getattr(self, name), lanes)
        return TargetState(per_lane("start", self.start, lanes))

    def select(self, state: TargetState, draw: Draw, count: int) -> tuple[Items, TargetState]:
        return nearest(draw, state.target, count, self.ties), state

    def update(self, state: TargetState, feedback: Feedback) -> TargetState:
        move = self.eta * np.tanh(self.alpha * (feedback.mean_reward - self.beta))
        return TargetState(np.minimum(np.maximum(state.target + move, self.low), self.high))

    def metrics(self, state: TargetState) -> dict[str, Floats]:
        at_bound = (state.target <= self.low) | (state.target >= self.high)
        return {"target_difficulty": state.target, "at_bound": at_bound.astype(np.float64)}
