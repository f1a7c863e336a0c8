"""PLR: replay items by the rank of their learning signal, and by how long they have not been seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.arms import absolute_advantage
from workbench.controllers.items import Weights
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Look, Rule, per_lane
from workbench.errors import LARGEST, SMALLEST, InputError, check_choice, check_number
from workbench.kernels.arithmetic import FASTEST, inside
from workbench.kernels.choose import clear_bits, has_bit, pick, set_bit
from workbench.kernels.compiling import Array, Stream, compiled, f64, i64, inlined, u32, u64
from workbench.kernels.philox import SHIFT32, unit53, words
from workbench.pool import Pool
from workbench.streams import Role

SCORES = ("l1",)
SCHEDULES = ("fixed", "proportionate")


class ReplayState(NamedTuple):
    score: NDArray[np.float32]  # (R, I) S of items seen, 0 of others
    last: NDArray[np.int32]  # (R, I) batches drawn when the item's latest feedback came; -1 before the first
    order: NDArray[np.int32]  # (R, I) items by falling score, then those not seen yet
    seen: NDArray[np.int64]  # (R,) items with feedback


@dataclass(frozen=True)
class PLR(Rule):
    """Prioritized level replay.

    each slot:  with probability P_new a random item not seen yet, if there are any; otherwise one of those seen:
    P(i) = (1 - staleness) P_S(i) + staleness P_C(i)
    P_S(i) proportional to rank(S_i)^(-1 / beta), rank 1 = the largest score;   P_C(i) proportional to c - C_i

    S_i: score of the item's latest group, "l1": mean |r - mean r|, here for the value loss |GAE| of the paper, since
    the group's mean plays the critic. c: batches drawn; C_i: those drawn when i was last seen.
    schedule: "fixed", P_new = fresh; "proportionate", P_new = 1 - seen / all.
    replay_from: share of the pool in [0, 1]; while seen / all is below it, P_new = 1 in both schedules.
    beta: temperature, 1e-6 to 1e6. staleness: the paper's rho in [0, 1]. fresh: nu in [0, 1], not read by
    "proportionate".

    Presets: the paper's annealing, PLR(schedule="proportionate"); the schedule that the released code has unless told
    otherwise, PLR(schedule="proportionate", replay_from=1.0), which draws new items until all are seen.
    Source: Jiang, Grefenstette, Rocktaeschel 2021, arXiv 2010.03934, its prioritization by rank and by staleness; beta
    and staleness as in its Procgen runs.
    Differs: the defaults of `schedule`, `fresh` and `replay_from` together are ours. The released code calls
    `replay_from` rho, with default 1. seen / all is that at the start of a batch. A batch holds no item twice. Each
    slot chooses between new, score and staleness as above; then score slots are filled, each from the items left, then
    staleness slots, then new ones. Equal scores, which are frequent for groups of few rollouts, share their ranks at
    random. Items are seen when their feedback comes.
    """

    name = "plr"
    look = Look("#CC6677", (0, (1, 1)), "o")

    score: str = "l1"
    beta: Lanes = 0.1
    staleness: Lanes = 0.1
    fresh: Lanes = 0.5
    schedule: str = "fixed"
    replay_from: Lanes = 0.0

    memory = "item"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("score", self.score, SCORES)
        check_number("beta", self.beta, SMALLEST, LARGEST)
        check_number("staleness", self.staleness, 0, 1)
        check_number("fresh", self.fresh, 0, 1)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_number("replay_from", self.replay_from, 0, 1)

    def init(self, pool: Pool, lanes: int) -> ReplayState:
        for name in ("beta", "staleness", "fresh", "replay_from"):
            per_lane(name, getattr(self, name), lanes)
        shape = lanes, len(pool)
        order = np.array(np.broadcast_to(np.arange(len(pool), dtype=np.int32), shape))
        return ReplayState(np.zeros(shape, np.float32), np.full(shape, -1, np.int32), order, np.zeros(lanes, np.int64))

    def weights(self, state: ReplayState, draw: Draw) -> Weights:
        """(R, I) P(i) among the items seen, equal scores sharing the weight of their ranks; 0 for the others."""
        lanes = len(state.seen)
        power = 1 / per_lane("beta", self.beta, lanes)
        share = per_lane("staleness", self.staleness, lanes)
        out = np.zeros(state.score.shape, np.float32)
        for r, known in enumerate(state.seen):
            if known:
                items = state.order[r, :known]
                by_rank = np.arange(1, known + 1) ** -power[r]
                _, run, length = np.unique(-state.score[r, items], return_inverse=True, return_counts=True)
                by_score = (np.bincount(run, by_rank) / length)[run] / by_rank.sum()
                wait = np.maximum(draw.step - state.last[r, items], 0)
                mixed = (1 - share[r]) * by_score + share[r] * wait / wait.sum() if wait.any() else by_score
                out[r, items] = mixed
        return out

    def chance_of_new(self, state: ReplayState) -> Floats:
        """(R,) P_new, with which a slot takes an item not seen yet."""
        lanes, size = state.score.shape
        share = state.seen / size
        chance = 1 - share if self.schedule == "proportionate" else per_lane("fresh", self.fresh, lanes)
        return np.where(share < per_lane("replay_from", self.replay_from, lanes), 1.0, chance)

    def select(self, state: ReplayState, draw: Draw, count: int) -> tuple[Items, ReplayState]:
        lanes = len(state.seen)
        stale, beta = (per_lane(name, getattr(self, name), lanes) for name in ("staleness", "beta"))
        out = np.empty((lanes, count), np.int64)
        known = state.order, state.seen, state.score, state.last
        replay(*known, draw.step, self.chance_of_new(state), stale, 1 / beta, *draw.stream(Role.SCORE), out)
        return out, state

    def update(self, state: ReplayState, feedback: Feedback) -> ReplayState:
        score, last = state.score.copy(), state.last.copy()
        order, seen = np.empty_like(state.order), np.empty_like(state.seen)
        values = absolute_advantage(feedback, "mean").astype(np.float32)
        groups = feedback.items, values, feedback.rollouts
        rerank(state.order, state.seen, state.score, score, last, *groups, feedback.step, order, seen)
        return ReplayState(score, last, order, seen)

    def check_state(self, state: ReplayState, pool: Pool) -> None:
        known = np.take_along_axis(state.last, state.order.clip(0, len(pool) - 1), axis=1) >= 0
        sound = (np.sort(state.order, axis=1) == np.arange(len(pool))).all()
        sound &= (known == (np.arange(len(pool)) < state.seen[:, None])).all()
        if not sound:
            raise InputError("state.rule: must order all positions of the pool, those seen first, got another order")

    def metrics(self, state: ReplayState) -> dict[str, Floats]:
        total = state.score.sum(axis=1).astype(np.float64)
        mean = np.divide(total, state.seen, out=np.full(len(total), np.nan), where=state.seen > 0)
        return {"seen": state.seen / state.score.shape[1], "mean_score": mean}


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def replay(
    order: Array, seen: Array, score: Array, last: Array, step: int, fresh: Array, stale: Array, power: Array,
    keys: Array, role: int, clock: int, out: Array,
) -> None:
    """out[r] = B distinct items: each slot gets a new one with probability fresh[r]; otherwise, with probability
    stale[r], one in proportion to step - last[r, item]; otherwise one in proportion to rank^-power[r], by its rank in
    score.

    order[r, :seen[r]] = the items seen, by falling score (R, I); the new ones follow. Equal scores share their ranks at
    random. The slots by rank are filled first. Where new or seen items run out, the others step in.
    """
    lanes, size = order.shape
    batch = out.shape[1]
    bits, taken = np.zeros((size >> 6) + 1, np.uint64), np.zeros((size >> 6) + 1, np.uint64)
    uniform, picks = np.empty(batch), np.empty(batch, np.int64)
    wait, rank = np.empty(2 * batch + 64), np.empty(2 * batch + 64, np.int64)
    turn = u64(clock) >> SHIFT32
    for r in range(lanes):
        items, row, known, stream = order[r], out[r], seen[r], (turn, u64(clock), u64(role), keys[r])
        longest = _longest_wait(last[r], step)
        new, old = i64(0), i64(0)
        for i in range(batch):
            a, _, _, _ = words(u64(i), stream)
            new += i64(inside(a) < fresh[r])
        new = min(max(new, batch - known), size - known)
        for i in range(batch - new):
            _, b, _, _ = words(u64(i), stream)
            old += i64(inside(b) < stale[r] and longest > 0)
        block = u64(batch)
        ranks = _race(known, batch - new - old, power[r], wait, rank, block, stream)
        block += u64(known)
        n = 0
        while n < ranks.size:  # those that lie in one run of equal scores
            start, end = _run(items, score[r], known, ranks[n])
            few = n
            while few < ranks.size and ranks[few] < end:
                a, b, _, _ = words(block + u64(few), stream)
                uniform[few] = unit53(a, b)
                few += 1
            pick(end - start, few - n, uniform[n:few], bits, picks)
            for i in range(few - n):
                row[n + i] = items[start + picks[i]]
            n = few
        block += u64(batch)
        for i in range(n):
            set_bit(taken, row[i])
        for i in range(old):
            row[n] = _by_staleness(items[:known], last[r], step, longest, taken, block + u64(64 * i), stream)
            set_bit(taken, row[n])
            n += 1
        clear_bits(taken, row[:n])
        for i in range(new):
            _, _, c, d = words(u64(i), stream)
            uniform[i] = unit53(c, d)
        pick(size - known, new, uniform[:new], bits, picks)
        for i in range(new):
            row[n + i] = items[known + picks[i]]


@inlined
def _longest_wait(last: Array, step: int) -> int:
    """The largest step - last among items seen (last >= 0); 0 if there are none."""
    first = u32(0xFFFFFFFF)
    for i in range(last.size):
        first = min(first, u32(last[i]))  # -1 becomes the largest number
    return max(step - i64(first), 0) if first < u32(0x80000000) else 0


@compiled(cached=False)
def _race(size: int, count: int, power: float, wait: Array, rank: Array, block: Any, stream: Stream) -> Array:
    """`count` distinct ranks below size, rising, drawn one after another in proportion to (rank + 1)^-power.

    A race of exponentials as in `weighted`, but in logarithms, for powers may underflow, and only up to the rank from
    which on no item can be among the first. wait, rank: scratch for more than `count`.
    """
    kept, bar, k = i64(0), np.inf, i64(0)
    while k < size and count > 0:
        handicap = power * np.log(f64(k + 1))
        if handicap + FASTEST > bar:
            break
        word, _, _, _ = words(block + u64(k), stream)
        time = handicap + np.log(-np.log(inside(word)))
        if time <= bar:
            wait[kept], rank[kept] = time, k
            kept += 1
        k += 1
        if kept == wait.size or (kept == count and bar == np.inf):
            kept, bar = _first(wait, rank, kept, count)
    if count > 0:
        kept, bar = _first(wait, rank, kept, count)
    return np.sort(rank[:kept])


@compiled(cached=False)
def _first(wait: Array, rank: Array, kept: Array, count: int) -> tuple[int, float]:
    """Moves the `count` smallest of wait[:kept], with their ranks, to the front: how many, and the largest."""
    bar = np.partition(wait[:kept], count - 1)[count - 1]
    n = 0
    for i in range(kept):
        if wait[i] <= bar and n < count:
            wait[n], rank[n] = wait[i], rank[i]
            n += 1
    return n, bar


@compiled(cached=False)
def _place(items: Array, score: Array, known: int, value: float, after: bool) -> Any:
    """How many of items[:known], by falling score, have a score above value, or (after) at least value."""
    low, high = i64(0), i64(known)
    while low < high:
        middle = (low + high) // 2
        here = score[items[middle]]
        if here > value or (after and here == value):
            low = middle + 1
        else:
            high = middle
    return low


@compiled(cached=False)
def _run(items: Array, score: Array, known: int, rank: int) -> tuple[int, int]:
    """The ranks [start, end) with the score of this rank."""
    value = score[items[rank]]
    return _place(items, score, known, value, False), _place(items, score, known, value, True)


@compiled(cached=False)
def _by_staleness(items: Array, last: Array, step: int, longest: int, taken: Array, block: Any, stream: Stream) -> Any:
    """One of the items that are not taken, in proportion to step - last, or evenly where that is 0 for all.

    By rejection, at most 62 times; then by one pass over all.
    """
    for attempt in range(62):
        a, b, c, _ = words(block + u64(attempt), stream)
        item = items[i64(unit53(a, b) * items.size)]
        if not has_bit(taken, item) and inside(c) * longest < step - last[item]:
            return i64(item)
    total, even = 0.0, 0.0
    for i in range(items.size):
        if not has_bit(taken, items[i]):
            total += max(step - last[items[i]], 0)
            even += 1.0
    a, b, _, _ = words(block + u64(62), stream)
    left = unit53(a, b) * (total if total > 0.0 else even)
    choice = i64(-1)
    for i in range(items.size):
        weight = f64(max(step - last[items[i]], 0)) if total > 0.0 else 1.0
        if weight > 0.0 and not has_bit(taken, items[i]):
            choice = i64(items[i])
            left -= weight
            if left < 0.0:
                break
    return choice


@compiled
def rerank(
    order: Array, seen: Array, old: Array, score: Array, last: Array, items: Array, values: Array, counts: Array,
    step: int, new_order: Array, new_seen: Array,
) -> None:
    """The items seen, by falling score, after feedback.

    order[r, :seen[r]] = those seen before, by falling old score (R, I); the others follow. values (R, B): scores of the
    groups, an item's last one counts; counts (R, B): 0 where there is no feedback. score, last (R, I): copies that get
    the new scores and `step`. new_order, new_seen: order and seen for these.
    """
    size, batch = order.shape[1], items.shape[1]
    bits = np.zeros((size >> 6) + 1, np.uint64)
    changed, fresh = np.empty(batch, np.int64), np.empty(batch, score.dtype)
    for r in range(items.shape[0]):
        known, n = seen[r], 0
        new_seen[r] = known
        for i in range(batch):
            if counts[r, i] > 0:
                item = items[r, i]
                score[r, item] = values[r, i]
                if not has_bit(bits, item):
                    set_bit(bits, item)
                    changed[n] = item
                    n += 1
                    new_seen[r] += i64(last[r, item] < 0)
                    last[r, item] = step
        for i in range(n):
            fresh[i] = -score[r, changed[i]]
        by_score = np.argsort(fresh[:n])
        m, at = 0, 0  # merge the changed items, by falling score, into the others
        for i in range(n):
            item = changed[by_score[i]]
            end = _place(order[r], old[r], known, score[r, item], True)
            m = _copy_unmarked(order[r], at, end, bits, new_order[r], m)
            new_order[r, m] = item
            m, at = m + 1, end
        m = _copy_unmarked(order[r], at, size, bits, new_order[r], m)
        clear_bits(bits, changed[:n])


@inlined
def _copy_unmarked(source: Array, start: int, end: int, bits: Array, target: Array, n: int) -> int:
    """Copies source[start:end] without items whose bit is set to target[n:]; where it ends."""
    for i in range(start, end):
        if not has_bit(bits, source[i]):
            target[n] = source[i]
            n += 1
    return n
