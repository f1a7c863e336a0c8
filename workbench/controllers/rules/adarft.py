"""AdaRFT: the target difficulty follows the reward; and two ways not to draw the same items again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Rule, per_lane
from workbench.controllers.rules.nearest import TIES, TargetState, nearest
from workbench.errors import InputError, check_choice, check_number
from workbench.pool import Pool
from workbench.streams import Role


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
        return state._replace(target=np.minimum(np.maximum(state.target + move, self.low), self.high))

    def metrics(self, state: TargetState) -> dict[str, Floats]:
        at_bound = (state.target <= self.low) | (state.target >= self.high)
        return {"target_difficulty": state.target, "at_bound": at_bound.astype(np.float64)}


@dataclass(frozen=True)
class AdaRFTGaussian(AdaRFT):
    """AdaRFT's target with a random batch around it: P(i) ~ exp(-(d_i - T)^2 / (2 width^2)), without replacement.

    width: in units of difficulty, >= 0.001. ties: must be "random", as nearness decides by chance only.
    Weights below 1e-300 of the largest, beyond some 37 widths, count as 0: such items come last, at random.
    Source: an extension, ours; weights like these are seen in practice around AdaRFT's target, arXiv 2504.05520.
    Differs: Algorithm 1 takes the B nearest items, so that a target that rests draws the same batch again.
    """

    width: Lanes = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("width", self.width, 1e-3)
        check_choice("ties", self.ties, ("random",))

    def init(self, pool: Pool, lanes: int) -> TargetState:
        per_lane("width", self.width, lanes)
        return super().init(pool, lanes)

    def weights(self, state: TargetState, draw: Draw) -> Floats:
        """(R, I) exp(-(d_i - T)^2 / (2 width^2))."""
        width = per_lane("width", self.width, len(state.target))[:, None]
        return np.asarray(np.exp((draw.pool.difficulty - state.target[:, None]) ** 2 / (-2 * width**2)))

    def select(self, state: TargetState, draw: Draw, count: int) -> tuple[Items, TargetState]:
        pool = draw.pool
        difficulty, start = pool.runs  # items of one difficulty have one weight
        weight = (difficulty - state.target[:, None]) ** 2
        weight -= weight.min(axis=1, keepdims=True)  # the largest weight is 1, however far the target is from all items
        weight /= -2 * per_lane("width", self.width, len(weight))[:, None] ** 2
        np.exp(weight, out=weight)
        out = np.empty((len(weight), count), np.int64)
        kernels.weighted_runs(weight, pool.order, start, pool.longest_run, *draw.luck(Role.SCORE), out)
        return out, state


class CoveringState(NamedTuple):
    target: Floats  # (R,) difficulty the next batch is drawn at
    used: NDArray[np.bool_]  # (R, I) by rank: drawn in this round through the pool
    left: NDArray[np.int64]  # (R,) items not used in this round


@dataclass(frozen=True)
class AdaRFTCovering(AdaRFT):
    """AdaRFT that comes round: the B items nearest T among those not used since the whole pool was last covered.

    When fewer than B are left, they are taken, and the nearest others of a new round: each round uses each item once.
    Source: an extension, ours, of arXiv 2504.05520, whose Algorithm 1 takes the nearest items used or not.
    Differs: the further a round has come, the further from T its items lie.
    """

    memory = "item"

    def init(self, pool: Pool, lanes: int) -> Any:
        target = super().init(pool, lanes).target
        return CoveringState(target, np.zeros((lanes, len(pool)), bool), np.full(lanes, len(pool)))

    def select(self, state: Any, draw: Draw, count: int) -> tuple[Items, Any]:
        pool, used, left = draw.pool, state.used.copy(), state.left.copy()
        out, ties = np.empty((len(left), count), np.int64), np.empty(2 * pool.longest_run + 1, np.int64)
        luck = draw.luck(Role.TIES)
        kernels.nearest_unused(*pool.index, state.target, self.ties == "random", *luck, used, left, ties, out)
        return out, CoveringState(state.target, used, left)

    def check_state(self, state: Any, pool: Pool) -> None:
        if not np.array_equal(state.left, len(pool) - np.count_nonzero(state.used, axis=1)):
            raise InputError(f"state.rule.left: must count the items not used, got {state.left}")

    def metrics(self, state: Any) -> dict[str, Floats]:
        return super().metrics(state) | {"left_in_round": state.left.astype(np.float64)}
