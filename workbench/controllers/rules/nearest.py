"""The batch nearest a target difficulty, and the schedules that use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from workbench.controllers.rule import Draw, Floats, Items, Lanes, Look, Rule, per_lane
from workbench.errors import MOST_STEPS, check_choice, check_number
from workbench.kernels.compiling import Array, compiled, i64, u64
from workbench.kernels.philox import other_seed, unit53_row
from workbench.pool import Pool
from workbench.streams import Role

TIES = ("random", "first")


def nearest(draw: Draw, target: Floats, count: int, ties: str) -> Items:
    """(R, count): the `count` items with the smallest |d_i - target| over the whole pool, in no particular order.

    ties: items at exactly the largest distance are drawn at random ("random") or by lowest position ("first").
    O(log I + count) per lane.
    """
    pool = draw.pool
    target = np.ascontiguousarray(target).view()
    target.flags.writeable = False  # one kind of array for all rules: the loop is compiled once
    out = np.empty((len(target), count), np.int64)
    taken = np.zeros(2 * pool.longest_run // 64 + 1, np.uint64)
    nearest_items(*pool.index, target, ties == "random", *draw.stream(Role.TIES), taken, out)
    return out


class TargetState(NamedTuple):
    target: Floats  # (R,) difficulty the next batch is drawn at


@dataclass(frozen=True)
class FrozenTarget(Rule):
    """The B items nearest a fixed target: AdaRFT without its adaptation (eta = 0), to isolate what that adds.

    target: difficulty in [0, 100]. ties: as in `nearest`.
    Source: ours, the control that arXiv 2504.05520 leaves out: its Algorithm 1 with eta = 0.
    """

    name = "frozen"
    look = Look("#0072B2", (0, (1, 1)), "p")
    units: ClassVar[Mapping[str, str]] = {"target": "difficulty points"}

    target: Lanes = 50.0
    ties: str = "random"

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("target", self.target, 0, 100)
        check_choice("ties", self.ties, TIES)

    def init(self, pool: Pool, lanes: int) -> TargetState:
        return TargetState(per_lane("target", self.target, lanes))

    def select(self, state: TargetState, draw: Draw, count: int) -> tuple[Items, TargetState]:
        return nearest(draw, state.target, count, self.ties), state

    def metrics(self, state: TargetState) -> dict[str, Floats]:
        return {"target_difficulty": state.target}


@dataclass(frozen=True)
class LinearSchedule(Rule):
    """Fixed linear curriculum: T(s) = start + (end - start) min(s / horizon, 1), the B items nearest T(s).

    s: batches drawn so far, from 0. start, end: difficulty in [0, 100]. horizon: steps until `end`, 1 to 1e7. It is
    not taken from the run: `train` leaves it as it is, Study and the command lines set it to their steps unless it is
    given.
    Source: the "fixed curriculum" baseline of Shi et al. 2025, arXiv 2504.05520, section 4.3.
    Differs: the paper says items that match T(s), not how many or which; here the nearest B, as in Algorithm 1.
    """

    name = "linear"
    look = Look("#009E73", (0, (8, 2)), "v")
    units: ClassVar[Mapping[str, str]] = {"start": "difficulty points", "end": "difficulty points", "horizon": "steps"}

    start: Lanes = 0.0
    end: Lanes = 100.0
    horizon: Lanes = 100
    ties: str = "random"

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("start", self.start, 0, 100)
        check_number("end", self.end, 0, 100)
        check_number("horizon", self.horizon, 1, MOST_STEPS)
        check_choice("ties", self.ties, TIES)

    def init(self, pool: Pool, lanes: int) -> TargetState:
        per_lane("end", self.end, lanes), per_lane("horizon", self.horizon, lanes)
        return TargetState(per_lane("start", self.start, lanes))

    def select(self, state: TargetState, draw: Draw, count: int) -> tuple[Items, TargetState]:
        progress = np.minimum(draw.step / np.asarray(self.horizon, dtype=np.float64), 1.0)
        target = np.broadcast_to(self.start + (self.end - self.start) * progress, state.target.shape)
        target = np.ascontiguousarray(target)
        return nearest(draw, target, count, self.ties), TargetState(target)

    def metrics(self, state: TargetState) -> dict[str, Floats]:
        return {"target_difficulty": state.target}


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def nearest_items(
    sorted_d: Array, order: Array, run_start: Array, run_end: Array, target: Array, random_ties: bool, keys: Array,
    role: int, clock: int, taken: Array, out: Array,
) -> None:
    """out[r] = positions of the B items nearest target[r], in O(log I + B).

    The nearest B items are a window [lo, lo + B) of the sorted pool: lo is the first with
    target - d[lo] <= d[lo + B] - target. Only items at exactly the window's largest distance can be exchanged;
    they are the ties: whole runs of equal difficulty at the window's left and right ends.
    taken: scratch bits, one for each item of the two longest runs, all 0 before and after.
    """
    size, batch = len(sorted_d), out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    uniform = pairs.reshape(pairs.size)
    picks = np.empty(batch, np.int64)
    rest = np.empty(batch + 1, np.int64)
    known = 0  # pairs drawn so far for the lanes of this seed
    for r in range(out.shape[0]):
        known = 0 if other_seed(keys, r) else known
        t = target[r]
        lo, high = i64(0), i64(size - batch)
        while lo < high:
            mid = (lo + high) // 2
            if t - sorted_d[mid] > sorted_d[mid + batch] - t:
                lo = mid + 1
            else:
                high = mid
        hi = lo + batch - 1
        radius = max(abs(sorted_d[lo] - t), abs(sorted_d[hi] - t))
        # an item just right of the window can be as far as its left end (never the reverse, by the choice of lo)
        edge = hi + 1 if hi + 1 < size and abs(sorted_d[hi + 1] - t) == radius else hi
        # [ls, le) and [rs, re): tied runs at either end; what lies between them is nearer and always taken
        ls, le, rs, re = lo, lo, hi + 1, hi + 1
        if abs(sorted_d[lo] - t) == radius:
            ls, le = run_start[lo], run_end[lo]
        if abs(sorted_d[edge] - t) == radius and sorted_d[edge] != sorted_d[lo]:
            rs, re = run_start[edge], run_end[edge]
        if le > rs:
            rs = re = le
        inner = rs - le
        tied = (le - ls) + (re - rs)
        need = batch - inner
        row = out[r]
        nearer = order[le:rs]
        for i in range(inner):
            row[i] = nearer[i]
        n = inner
        if need == tied:
            for i in range(ls, le):
                row[n] = order[i]
                n += 1
            for i in range(rs, re):
                row[n] = order[i]
                n += 1
        elif not random_ties:  # lowest positions first: merge the two runs, each sorted by position
            i, j = ls, rs
            for _ in range(need):
                if j >= re or (i < le and order[i] < order[j]):
                    row[n] = order[i]
                    i += 1
                else:
                    row[n] = order[j]
                    j += 1
                n += 1
        else:  # Floyd's algorithm: a uniform subset of the tied items, those to take or those to leave
            few = min(need, tied - need)
            if known < (few + 1) // 2:
                known = (few + 1) // 2
                unit53_row(keys[r], role, clock, pairs[:known])
            for draw in range(few):
                top = tied - few + draw
                pick = i64(uniform[draw] * (top + 1))
                again = i64((taken[u64(pick) >> u64(6)] >> (u64(pick) & u64(63))) & u64(1))
                pick += again * (top - pick)
                taken[u64(pick) >> u64(6)] |= u64(1) << (u64(pick) & u64(63))
                picks[draw] = pick
            if few == need:
                for draw in range(few):
                    pick = picks[draw]
                    taken[u64(pick) >> u64(6)] = u64(0)
                    row[n + draw] = order[ls + pick] if pick < le - ls else order[rs + pick - (le - ls)]
            else:
                n = 0
                for tie in range(tied):
                    rest[n] = order[ls + tie] if tie < le - ls else order[rs + tie - (le - ls)]
                    n += 1 - i64((taken[u64(tie) >> u64(6)] >> (u64(tie) & u64(63))) & u64(1))
                for word in range((tied >> 6) + 1):  # a slice set to another compiles seconds of code for its errors
                    taken[word] = u64(0)
                for i in range(need):
                    row[inner + i] = rest[i]
