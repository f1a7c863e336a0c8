"""DUMP: an upper confidence bound on the advantages of each arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.arms import ArmRule, advantage_scale, by_arm, softmax
from workbench.controllers.rule import Draw, Feedback, Floats, Lanes, Look, per_lane
from workbench.errors import LARGEST, MOST_WINDOW, SMALLEST, InputError, check_choice, check_count, check_number
from workbench.kernels.compiling import Array, compiled
from workbench.pool import Pool


class DumpState(NamedTuple):
    recent: NDArray[np.float32]  # (R, K, window) the arm's last |A|, a ring buffer; 0 in empty places
    place: NDArray[np.int32]  # (R, K) place of the next value
    filled: NDArray[np.int32]  # (R, K) number of values
    rollouts: Floats  # (R, K) n, all so far


@dataclass(frozen=True)
class DUMP(ArmRule):
    """A bandit over arms: the mean |A| of the last rollouts plus a bonus for arms with few rollouts.

    L_k = mean of the arm's last `window` values of |A|, 0 before the first
    UCB_k = L_k + weight sqrt(2 ln(N + 1) / (n_k + 1)),   n_k: its rollouts so far, N = sum_k n_k
    P(k) = exp(UCB_k / tau) / sum_j exp(UCB_j / tau); items are uniform inside an arm

    window: values of |A|, one per rollout, 1 to 10000. weight: of the bonus, 0 to 1e6. tau: temperature in units of
    |A|, 1e-6 to 1e6.
    advantage: "grpo", A = (r - mean) / std of the group, or "mean", A = r - mean.
    reversion: share of the remembered |A| and of n_k forgotten in every step without feedback on the arm.
    Source: Wang, Cui, Li, Wan, Zhao 2025, arXiv 2504.09710; defaults of its released code.
    Differs: the released code fills its windows with rewards of validation answers; here, as the paper says, they are
    advantages of the groups trained on. Arms are difficulty bins unless `by` says otherwise.
    """

    name = "dump"
    look = Look("#332288", (0, (2, 1)), "s")

    window: int = 300
    tau: Lanes = 0.1
    weight: Lanes = 1.0
    advantage: str = "grpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("window", self.window, 1, MOST_WINDOW)
        check_number("tau", self.tau, SMALLEST, LARGEST)
        check_number("weight", self.weight, 0, LARGEST)
        check_choice("advantage", self.advantage, ("grpo", "mean"))

    def init(self, pool: Pool, lanes: int) -> DumpState:
        for name in ("tau", "weight", "reversion"):
            per_lane(name, getattr(self, name), lanes)
        shape = lanes, len(self.arms(pool))
        none = np.zeros(shape, np.int32)
        return DumpState(np.zeros((*shape, self.window), np.float32), none, none, np.zeros(shape))

    def bounds(self, state: DumpState) -> Floats:
        """(R, K) UCB."""
        learnability = state.recent.sum(axis=2) / np.maximum(state.filled, 1)
        weight = per_lane("weight", self.weight, len(state.rollouts))[:, None]
        total = state.rollouts.sum(axis=1, keepdims=True)
        return np.asarray(learnability + weight * np.sqrt(2 * np.log(total + 1) / (state.rollouts + 1)))

    def shares(self, state: DumpState, draw: Draw) -> Floats:
        return softmax(self.bounds(state), per_lane("tau", self.tau, len(state.rollouts)))

    def update(self, state: DumpState, feedback: Feedback) -> DumpState:
        recent, place, filled = state.recent.copy(), state.place.copy(), state.filled.copy()
        rollouts = state.rollouts.copy()
        arm = self.arms(feedback.pool).of_item[feedback.items]
        scale = advantage_scale(feedback, self.advantage)
        push_advantages(feedback.rewards, feedback.counts, feedback.means, scale, arm, place, filled, recent)
        kernels.add_to(rollouts, arm, feedback.rollouts.astype(np.float64))
        if np.any(self.reversion):
            kept = 1 - per_lane("reversion", self.reversion, len(arm))[:, None]
            kept = np.where(rollouts > state.rollouts, 1.0, kept)
            rollouts *= kept
            recent *= kept[:, :, None].astype(np.float32)
        return DumpState(recent, place, filled, rollouts)

    def check_state(self, state: DumpState, pool: Pool) -> None:
        at, filled = state.place, state.filled
        if not ((at >= 0) & (at < self.window) & (filled >= 0) & (filled <= self.window)).all():
            raise InputError(f"state.rule: must be places in [0, {self.window}) and counts up to it, got others")

    def metrics(self, state: DumpState) -> dict[str, Floats]:
        return by_arm("ucb", self.bounds(state))


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def push_advantages(
    rewards: Array, counts: Array, mean: Array, scale: Array, arm: Array, place: Array, filled: Array, recent: Array
) -> None:
    """Put each rollout's |reward - mean| scale into the ring of its group's arm, in place, in order of the batch.

    recent (R, K, W): the last W values of each arm; place (R, K): where the next one goes; filled (R, K): how many
    there are, up to W. arm, mean, scale (R, B).
    """
    lanes, batch, group = rewards.shape
    window = recent.shape[2]
    for r in range(lanes):
        for i in range(batch):
            k, n = arm[r, i], counts[r, i] if counts.size else group
            ring, at = recent[r, k], place[r, k]
            for g in range(n):
                ring[at] = abs(rewards[r, i, g] - mean[r, i]) * scale[r, i]
                at = at + 1 if at + 1 < window else 0
            place[r, k] = at
            filled[r, k] = min(filled[r, k] + n, window)
