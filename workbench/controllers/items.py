"""Parts that rules with a memory of each item share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Rule
from workbench.errors import InputError, check_number, shown
from workbench.pool import Pool
from workbench.streams import Role

Weights = NDArray[np.float32]
NONE_YET = np.zeros((1, 1), np.float32)  # counts of items before their first rollout


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

    @property
    def per_call(self) -> bool:
        return bool(np.any(self.reversion))


# ------------------------------------------------------------------------------------------------ choosing items


def draw_by_weight(weight: Weights, draw: Draw, count: int) -> Items:
    """(R, count) distinct items, one after another in proportion to weight (R, I) in [0, 1]; weight 0 comes last."""
    out = np.empty((len(weight), count), np.int64)
    kernels.weighted(np.ascontiguousarray(weight, np.float32), *draw.stream(Role.SCORE), out)
    return out


def boltzmann(value: Weights) -> Weights:
    """(R, I) exp(value - the lane's largest value), which is in proportion to exp(value) and at most 1.

    Where that is below e^-60 it is e^-60: such items are drawn after all others.
    """
    out = np.empty(value.shape, np.float32)
    kernels.boltzmann(np.ascontiguousarray(value, np.float32), out)
    return out


def take_best(score: Weights, draw: Draw, count: int) -> Items:
    """(R, count) the columns with the largest score (R, I); ties for the last places are drawn at random."""
    out = np.empty((len(score), count), np.int64)
    kernels.top(np.ascontiguousarray(score, np.float32), *draw.stream(Role.SCORE), out)
    return out


def best_of(items: Items, score: Floats, draw: Draw, count: int) -> Items:
    """(R, count) of the items (R, C), those with the largest score (R, C); ties as in `take_best`."""
    return np.take_along_axis(items, take_best(score.astype(np.float32), draw, count), axis=1)


def random_items(draw: Draw, count: int, role: Role = Role.CANDIDATE) -> Items:
    """(R, count) distinct items of the pool, uniformly."""
    out = np.empty((len(draw.seeds), count), np.int64)
    kernels.subset(len(draw.pool), *draw.stream(role), out)
    return out


def posterior_draws(a: Weights, b: Weights, items: Items, draw: Draw) -> Floats:
    """(R, C) for each of the items (R, C) a success probability drawn from its Beta(a, b), a and b (R, I)."""
    out = np.empty(items.shape)
    successes, failures = (np.take_along_axis(count, items, axis=1).astype(np.float64) for count in (a, b))
    kernels.beta_draws(successes, failures, *draw.stream(Role.POSTERIOR), out)
    return out


Deck = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]  # (R, I) order, (R,) cursor, (R,) epoch


def new_deck(pool: Pool, lanes: int) -> Deck:
    """Before the first epoch, whose order is drawn when it begins."""
    order = np.array(np.broadcast_to(np.arange(len(pool), dtype=np.int32), (lanes, len(pool))))
    return order, np.full(lanes, len(pool)), np.full(lanes, -1)


def deal_some(
    deck: Deck, kind: NDArray[np.int8], origin: int, keep: Weights, draw: Draw, count: int
) -> tuple[Items, Deck, NDArray[np.int64]]:
    """(R, count) the next items of epochs in random order that stay, the deck after them, and (R,) how many were looked
    at for them.

    An item of kind k, kind (R, I), stays with probability keep (R, K) in column k + origin, each time it is looked at.
    An epoch that ends within a batch is followed by the next. At least `count` items must be able to stay.
    """
    order, cursor, epoch = deck[0], deck[1].copy(), deck[2].copy()
    looked, dealt = np.zeros((2, len(order)), np.int64)
    out = np.empty((len(order), count), np.int64)
    size = np.full(len(order), order.shape[1])
    while True:
        kernels.deal_some(order, cursor, looked, dealt, kind, origin, keep, *draw.stream(Role.SKIP), out)
        short = dealt < count
        if not short.any():
            return out, (order, cursor, epoch), looked
        order = order.copy() if order is deck[0] else order
        # a lane is reshuffled where its cursor + 1 is beyond the size given: only those that are short
        kernels.reshuffle(order, cursor, epoch, np.where(short, size, size + 1), 1, draw.seeds, int(Role.SHUFFLE))


def exchanged(drawn: NDArray[np.bool_], selected: Items, items: Items) -> NDArray[np.bool_]:
    """Marks (R, I) of the items drawn, after the batch `selected` (R, B) became `items` (R, B)."""
    marks = drawn.copy()
    np.put_along_axis(marks, selected, False, axis=1)
    np.put_along_axis(marks, items, True, axis=1)
    return marks


def put_back(deck: Deck, size: NDArray[np.int64], selected: Items, items: Items) -> Deck:
    """The deck after the batch `selected` (R, B) became `items` (R, B): items that left the batch are dealt next,
    those that entered it count as dealt in this epoch. size (R,): items of an epoch."""
    order, cursor, epoch = deck[0].copy(), deck[1].copy(), deck[2]
    kernels.put_back(order, cursor, size, selected, items)
    return order, cursor, epoch


# ------------------------------------------------------------------------------------------ estimates


class RateState(NamedTuple):
    rate: NDArray[np.float32]  # (R, I) mean reward so far; the first estimate before the first rollout
    rollouts: NDArray[np.float32]  # (R, I) how many it is the mean of


def with_rates(state: RateState, feedback: Feedback) -> RateState:
    """The state with this feedback added; repeated items count each time."""
    rate, rollouts = state.rate.copy(), state.rollouts.copy()
    kernels.add_rates(rate, rollouts, feedback.items, feedback.means, feedback.rollouts)
    return RateState(rate, rollouts)


def reverted_rates(state: RateState, first: Weights, share: Floats, feedback: Feedback) -> RateState:
    """The state after items without feedback have gone `share` (R,) of the way to the rate `first` (R or 1, I or 1).

    They forget the same share of their rollouts, so that the next rewards count for more.
    """
    return RateState(reverted(state.rate, first, share, feedback), reverted(state.rollouts, NONE_YET, share, feedback))


def with_counts(successes: Weights, attempts: Weights, feedback: Feedback) -> tuple[Weights, Weights]:
    """Copies of (R, I) sums of rewards and of rollouts, with this feedback added; repeated items count each time."""
    s, n = successes.copy(), attempts.copy()
    kernels.add_to(s, feedback.items, feedback.successes.astype(np.float32))
    kernels.add_to(n, feedback.items, feedback.rollouts.astype(np.float32))
    return s, n


def posterior_metrics(a: Weights, b: Weights) -> dict[str, Floats]:
    """predicted_success: mean over the pool of the means of Beta(a, b); evidence: mean of a + b."""
    count = a + b
    predicted, evidence = (a / count).mean(axis=1), count.mean(axis=1)
    return {"predicted_success": predicted.astype(np.float64), "evidence": evidence.astype(np.float64)}


def check_posterior(a: Weights, b: Weights) -> None:
    """InputError unless all of a loaded state's Beta(a, b) exist."""
    for name, value in (("a", a), ("b", b)):
        if not (np.isfinite(value) & (value > 0)).all():
            raise InputError(f"state.rule.{name}: must be finite numbers > 0, got {shown(value)}")


def reverted(value: Weights, first: Weights, share: Floats, feedback: Feedback) -> Weights:
    """value (R, I) after `share` (R,) of the way to `first` (R or 1, I or 1), apart from items with feedback."""
    back = value + share[:, None].astype(np.float32) * (first - value)
    return np.where(answered(feedback, value.shape[1]), value, back)


def answered(feedback: Feedback, size: int) -> NDArray[np.bool_]:
    """(R, I) items with feedback."""
    mask = np.zeros((len(feedback.items), size), bool)
    lanes = np.broadcast_to(np.arange(len(mask))[:, None], feedback.items.shape)
    there = feedback.rollouts > 0
    mask[lanes[there], feedback.items[there]] = True
    return mask


__all__ = [
    "NONE_YET",
    "Deck",
    "Floats",
    "ItemRule",
    "RateState",
    "Weights",
    "answered",
    "best_of",
    "boltzmann",
    "check_posterior",
    "deal_some",
    "draw_by_weight",
    "exchanged",
    "new_deck",
    "posterior_draws",
    "posterior_metrics",
    "put_back",
    "random_items",
    "reverted",
    "reverted_rates",
    "take_best",
    "with_counts",
    "with_rates",
]
