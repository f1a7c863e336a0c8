"""Rules that remember each item: what they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Rule
from workbench.errors import check_number
from workbench.streams import Role

Weights = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ItemRule(Rule):
    """A rule with a state for each of the I items.

    reversion: share of the way back to its first estimate that an item goes in every step without feedback on it, in
    [0, 1]: above 0, an item that was once judged useless is tried again.
    """

    reversion: Lanes = 0.0

    memory = "item"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("reversion", self.reversion, 0, 1)


def draw_by_weight(weight: Weights, draw: Draw, count: int) -> Items:
    """(R, count) distinct items, one after another in proportion to weight (R, I) in [0, 1]; weight 0 comes last."""
    out = np.empty((len(weight), count), np.int64)
    kernels.weighted(np.ascontiguousarray(weight, np.float32), *draw.luck(Role.SCORE), out)
    return out


def take_best(score: Weights, draw: Draw, count: int) -> Items:
    """(R, count) the items with the largest score (R, I); ties for the last places are drawn at random."""
    out = np.empty((len(score), count), np.int64)
    kernels.top(np.ascontiguousarray(score), *draw.luck(Role.SCORE), out)
    return out


def random_items(draw: Draw, count: int, role: Role = Role.CANDIDATE) -> Items:
    """(R, count) distinct items of the pool, uniformly."""
    size = len(draw.pool)
    out = np.empty((len(draw.seeds), count), np.int64)
    everything = np.arange(size)
    kernels.from_arms(np.ones((len(out), 1)), everything, np.array([0, size]), *draw.luck(role), out)
    return out


def with_counts(
    successes: NDArray[np.float32], attempts: NDArray[np.float32], feedback: Feedback
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Copies of (R, I) sums of rewards and of rollouts, with this feedback added; repeated items count each time."""
    s, n = successes.copy(), attempts.copy()
    kernels.add_to(s, feedback.items, feedback.successes.astype(np.float32))
    kernels.add_to(n, feedback.items, feedback.rollouts.astype(np.float32))
    return s, n


def answered(feedback: Feedback, size: int) -> NDArray[np.bool_]:
    """(R, I) items with feedback."""
    mask = np.zeros((len(feedback.items), size), bool)
    lanes = np.broadcast_to(np.arange(len(mask))[:, None], feedback.items.shape)
    there = feedback.rollouts > 0
    mask[lanes[there], feedback.items[there]] = True
    return mask


__all__ = ["Floats", "ItemRule", "answered", "draw_by_weight", "random_items", "take_best", "with_counts"]
