"""VCRL: groups of large variance are trained on, and a replay bank of such items fills up the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.gate import Gate
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Look, per_lane
from workbench.errors import MOST_STEPS, InputError, check_count, check_number
from workbench.kernels.compiling import Array, compiled, i64, u64
from workbench.pool import Pool

MOST_BANK = 2**17  # places: all of them are there from the start, in every lane


class BankState(NamedTuple):
    items: Items  # (R, M) positions; -1 in empty places
    priority: Floats  # (R, M) P; -1 in empty places
    used: NDArray[np.int64]  # (R, M) update in which the item was added or drawn last
    replays: NDArray[np.int64]  # (R, M) times the item was drawn from the bank
    update: NDArray[np.int64]  # (R,) last update with feedback, from 1
    admitted: NDArray[np.int64]  # (R,) groups admitted in it so far


def relative_variance(feedback: Feedback) -> Floats:
    """(R, B) unbiased variance of each group's rewards over its largest possible value: in [0, 1].

    s^2 / s^2_max = (G sum r^2 - (sum r)^2) / floor(G^2 / 4); for k successes of G, k (G - k) / floor(G^2 / 4).
    0 for groups of one rollout or none.
    """
    rewards, group = feedback.rewards.astype(np.float64), feedback.rollouts
    spread = group * (rewards**2).sum(axis=2) - rewards.sum(axis=2) ** 2
    return np.asarray(np.maximum(spread, 0.0) / np.maximum(group**2 // 4, 1))


@dataclass(frozen=True)
class VCRL(Gate):
    """Variance-based curriculum: train on groups of large variance, and replay items that had it.

    p = s^2 / s^2_max, with s^2 = k (G - k) / (G (G - 1)) for k successes of G; a group is admitted if p >= kappa
    P = p for an admitted item, which is added to the replay bank; then P <- momentum P + (1 - momentum) t once in every
    update, t the updates since it was added or drawn. What an update lacks after its first batch is drawn from the
    bank, the
    largest P first, rolled out afresh and judged as any group: an item with p < kappa leaves the bank.

    threshold: kappa, in [0, 1]. early: kappa in the first `warmup` updates, 0 to 1e7. momentum: in [0, 1]. bank:
    places, 1 to 131072; a full bank drops the least P. replays: times an item may be drawn before it must come from
    the rule again, >= 1.
    Source: Jiang et al. 2025, arXiv 2509.19803; its settings 0.3 for 20 updates, then 0.8, momentum 0.9, 2 replays.
    Differs: the paper names neither the size of the bank nor what happens when it is empty: here the rule's choice
    fills up, and further batches follow until max_batches (2 comes nearest to the paper). Items of this very update are
    not drawn from the bank. For rewards between 0 and 1 the variance is theirs.
    """

    name = "vcrl"
    look = Look("#882255", (0, (8, 2)), "8")
    strokes = (11.0, 1.0, 1.0, 1.0)

    threshold: Lanes = 0.8
    early: Lanes = 0.3
    warmup: Lanes = 20
    momentum: Lanes = 0.9
    bank: int = 1024
    replays: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("threshold", "early", "momentum"):
            check_number(name, getattr(self, name), 0, 1)
        check_number("warmup", self.warmup, 0, MOST_STEPS)
        check_count("bank", self.bank, 1, MOST_BANK)
        check_count("replays", self.replays)

    def init(self, pool: Pool, lanes: int) -> BankState:
        for name in ("threshold", "early", "warmup", "momentum"):
            per_lane(name, getattr(self, name), lanes)
        places, none = (lanes, self.bank), np.zeros(lanes, np.int64)
        empty, zeros = np.full(places, -1, np.int64), np.zeros(places, np.int64)
        return BankState(empty, np.full(places, -1.0), zeros, zeros, none, none)

    def kappa(self, update: int, lanes: int) -> Floats:
        """(R,) least p of an admitted group in an update, counted from 1."""
        early = update <= per_lane("warmup", self.warmup, lanes)
        return np.where(early, per_lane("early", self.early, lanes), per_lane("threshold", self.threshold, lanes))

    def admit(self, state: BankState, feedback: Feedback) -> tuple[NDArray[np.bool_], BankState]:
        lanes, now, answered = len(feedback.items), feedback.step, feedback.rollouts > 0
        p = relative_variance(feedback)
        good = answered & (p >= self.kappa(now, lanes)[:, None])
        momentum = per_lane("momentum", self.momentum, lanes)[:, None]
        aged = momentum * state.priority + (1 - momentum) * (now - state.used)
        first = state.update != now  # feedback of this update
        priority = np.where(first[:, None] & (state.items >= 0), aged, state.priority)
        items, used, replays = state.items.copy(), state.used.copy(), state.replays.copy()
        value = np.where(answered, np.where(good, p, -1.0), np.nan)
        add_to_bank(items, priority, used, replays, feedback.items, value, now, self.replays, len(feedback.pool))
        admitted = np.where(first, 0, state.admitted) + good.sum(axis=1)
        return good, BankState(items, priority, used, replays, np.full(lanes, now), admitted)

    def refill(self, state: BankState, draw: Draw, items: Items) -> tuple[Items, BankState]:
        now, batch = draw.step + 1, items.shape[1]
        lacking = batch - np.where(state.update == now, state.admitted, 0)
        ready = (state.items >= 0) & (state.used < now)
        order = np.argsort(np.where(ready, -state.priority, np.inf), axis=1, kind="stable")
        rank = np.argsort(order, axis=1)
        drawn = ready & (rank < lacking[:, None])
        best = np.take_along_axis(np.where(drawn, state.items, -1), order, axis=1)
        out = np.empty_like(items)
        put_first(best, items, len(draw.pool), out)
        used, replays = np.where(drawn, now, state.used), state.replays + drawn
        return out, state._replace(used=used, replays=replays)

    def check_state(self, state: BankState, pool: Pool) -> None:
        if (state.items >= len(pool)).any() or not np.isfinite(state.priority).all():
            raise InputError(f"state.gate: must be positions < {len(pool)} with finite priorities, got others")

    def metrics(self, state: BankState) -> dict[str, Floats]:
        """bank: items in the replay bank."""
        return {"bank": (state.items >= 0).sum(axis=1).astype(np.float64)}


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def put_first(picks: Array, items: Array, size: int, out: Array) -> None:
    """out (R, B) = the picks (R, M) that are not negative, then those of items (R, B) that are not among them.

    Both are distinct, and there are at most B picks.
    """
    bits = np.zeros((size >> 6) + 1, np.uint64)
    for r in range(out.shape[0]):
        n = 0
        for item in picks[r]:
            if item >= 0:
                bits[item >> 6] |= u64(1) << u64(item & 63)
                out[r, n] = item
                n += 1
        picked = n
        for item in items[r]:
            if n < out.shape[1] and not (bits[item >> 6] >> u64(item & 63)) & u64(1):
                out[r, n] = item
                n += 1
        for i in range(picked):
            bits[out[r, i] >> 6] = u64(0)


@compiled
def add_to_bank(
    bank: Array, priority: Array, used: Array, replays: Array, items: Array, value: Array, now: int, limit: int,
    size: int,
) -> None:
    """Add items (R, B) to a bank of M places per lane, in place, with priority value (R, B) and the time `now`.

    value < 0: the item leaves the bank if it is there; NaN: nothing is known. bank (R, M): items, -1 for empty places,
    whose priority is -1. An item that is there already stays in its place, or leaves once it was replayed `limit`
    times; a new one takes the place of the least priority if its own is larger.
    """
    place = np.full(size, -1, np.int32)
    for r in range(bank.shape[0]):
        for m in range(bank.shape[1]):
            if bank[r, m] >= 0:
                place[bank[r, m]] = m
        least = -1  # the place of the least priority, -1 where it has to be looked for
        for i in range(items.shape[1]):
            item, mine = items[r, i], value[r, i]
            m = i64(place[item])
            if np.isnan(mine) or (m < 0 and mine < 0.0):
                continue
            if m >= 0 and (mine < 0.0 or replays[r, m] >= limit):
                bank[r, m], priority[r, m], place[item], least = -1, -1.0, -1, m
                continue
            if m < 0:
                if least < 0:
                    least = int(np.argmin(priority[r]))
                if priority[r, least] >= mine:
                    continue
                m = least
                if bank[r, m] >= 0:
                    place[bank[r, m]] = -1
                bank[r, m], replays[r, m], place[item] = item, 0, m
            priority[r, m], used[r, m], least = mine, now, -1
            if m + 1 < bank.shape[1] and bank[r, m + 1] < 0:
                least = m + 1  # nothing is less than an empty place
        for m in range(bank.shape[1]):
            if bank[r, m] >= 0:
                place[bank[r, m]] = -1
