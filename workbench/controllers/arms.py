"""Parts that rules over a few groups of items share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Rule
from workbench.errors import check_choice, check_count, check_number
from workbench.pool import Arms, Pool
from workbench.streams import Role

BY = ("difficulty", "category", "level")
ORDERED = ("difficulty", "level")  # by which arms come from easy to hard


@dataclass(frozen=True, kw_only=True)
class ArmRule(Rule):
    """A rule over K arms, groups of items that do not overlap.

    by: "difficulty", whose arms are `bins` bins of equal width, or the pool's column "category" or "level".
    bins: number of difficulty bins, >= 1; empty ones are left out.
    reversion: share of the way back to its first estimate that an arm goes in every step without feedback on it, in
    [0, 1]: above 0, an arm that was once judged useless is tried again.
    """

    by: str = "difficulty"
    bins: int = 10
    reversion: Lanes = 0.0

    memory = "arm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("by", self.by, BY)
        check_count("bins", self.bins)
        check_number("reversion", self.reversion, 0, 1)

    @property
    def per_call(self) -> bool:
        return bool(np.any(self.reversion))

    @property
    def labels(self) -> bool:
        return self.by == "difficulty"

    def arms(self, pool: Pool) -> Arms:
        return pool.arms(self.by, self.bins)

    def shares(self, state: Any, draw: Draw) -> Floats:
        """(R, K) probability of each arm for the next batch; each lane sums to 1."""
        raise NotImplementedError

    def select(self, state: Any, draw: Draw, count: int) -> tuple[Items, Any]:
        return self.draw_items(self.shares(state, draw), draw, count), state

    def draw_items(self, share: Floats, draw: Draw, count: int) -> Items:
        """(R, count) distinct items: each slot draws an arm from share (R, K), each arm gives random items."""
        arms = self.arms(draw.pool)
        out = np.empty((len(share), count), np.int64)
        kernels.from_arms(np.ascontiguousarray(share), arms.order, arms.start, *draw.stream(Role.ARM), out)
        return out


def arm_means(arms: Arms, feedback: Feedback, values: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """(R, K) mean of the groups' values (R, B) in each arm, 0 where there are none; (R, K) how many there are."""
    of_group, answered = arms.of_item[feedback.items], feedback.rollouts > 0
    total, groups = np.zeros((2, len(values), len(arms)))
    kernels.add_to(total, of_group, np.where(answered, values, 0.0))
    kernels.add_to(groups, of_group, answered.astype(np.float64))
    return total / np.maximum(groups, 1), groups.astype(np.int64)


def softmax(values: Floats, temperature: Floats) -> Floats:
    """(R, K) exp(values / temperature), each lane normalised to sum 1; temperature (R,)."""
    scaled = values / temperature[:, None]
    weight = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def absolute_advantage(feedback: Feedback, kind: str) -> Floats:
    """(R, B) mean |A| of each group's rollouts. kind: as in `advantage_scale`."""
    size = np.empty(feedback.items.shape)
    kernels.absolute_advantage(feedback.rewards, feedback.counts, feedback.means, advantage_scale(feedback, kind), size)
    return size


def advantage_scale(feedback: Feedback, kind: str) -> Floats:
    """(R, B) by what reward - mean is multiplied: 1 / std for "grpo", 0 in silent groups; 1 for "mean"."""
    if kind == "mean":
        return np.ones(feedback.items.shape)
    return np.divide(1.0, feedback.stds, out=np.zeros(feedback.items.shape), where=feedback.stds > 0)


def by_arm(name: str, values: Floats) -> dict[str, Floats]:
    """Values (R, K) as one metric for each arm."""
    return {f"{name}_{arm}": column for arm, column in enumerate(values.T)}
