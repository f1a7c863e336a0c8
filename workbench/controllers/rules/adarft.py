"""AdaRFT: the target difficulty follows the reward; and two variants that do not draw the same items repeatedly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.rule import SOLID, Draw, Feedback, Floats, Items, Lanes, Look, Rule, per_lane
from workbench.controllers.rules.nearest import TIES, TargetState, nearest
from workbench.errors import LARGEST, SMALLEST, InputError, check_choice, check_number
from workbench.kernels.arithmetic import inside
from workbench.kernels.choose import few_of
from workbench.kernels.compiling import Array, compiled, f64, i64, u64
from workbench.kernels.philox import SHIFT32, TWO_M53, other_seed, philox, unit53_row
from workbench.pool import Pool
from workbench.streams import Role


@dataclass(frozen=True)
class AdaRFT(Rule):
    """Adaptive curriculum reinforcement finetuning.

    batch = the B items with the smallest |d_i - T| over the whole pool (used items stay in)
    T <- clip(T + eta w tanh(alpha (R - beta)), low, high),   R = mean reward of the call over all its rollouts
    w = 1 (per="batch") or n / B (per="item"), n = groups with rewards in this call, B = items of a batch

    beta: target reward in [0, 1]. alpha: sensitivity per unit reward, 1e-6 to 1e6. eta: largest move in one step, 0 to
    1e6.
    start: T before the first batch. low, high: bounds of T, 0 <= low < high <= 100; start lies between them.
    ties: difficulties sit on a coarse grid, so many items are equally near; those at the largest distance that
    still fits are drawn at random ("random"), or by lowest position ("first": same T, same batch).
    per: what eta is the step of. "batch": a call of `observe`, which has all groups of a batch in the paper. "item":
    all groups of a batch, however many calls they come in; B calls of one group then move T as one call does, to first
    order in alpha (R - beta), and nothing changes where calls are whole batches.

    Source: Shi, Wu, Song, Zhou, Zhao 2025, arXiv 2504.05520, Algorithm 1; defaults of its Table 3.
    Differs: the paper is silent on ties; R is raw correctness as in Algorithm 1, where the released code can take
    the reward after its KL penalty; T acts on the very next batch, where the released loader prefetches; per="item" is
    ours, for hosts that answer group by group.
    """

    name = "adarft"
    look = Look("#D55E00", SOLID, "*")
    units: ClassVar[Mapping[str, str]] = {
        "eta": "difficulty points", "start": "difficulty points", "beta": "success rate",
    }  # fmt: skip

    beta: Lanes = 0.5
    alpha: Lanes = 2.0
    eta: Lanes = 50.0
    start: Lanes = 0.0
    low: Lanes = 0.0
    high: Lanes = 100.0
    ties: str = "random"
    per: str = "batch"

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("beta", self.beta, 0, 1)
        check_number("alpha", self.alpha, SMALLEST, LARGEST)
        check_number("eta", self.eta, 0, LARGEST)
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
        check_choice("per", self.per, ("batch", "item"))

    @property
    def per_call(self) -> bool:
        return self.per == "batch"

    def init(self, pool: Pool, lanes: int) -> TargetState:
        for name in ("beta", "alpha", "eta", "low", "high"):
            per_lane(name, getattr(self, name), lanes)
        return TargetState(per_lane("start", self.start, lanes))

    def select(self, state: TargetState, draw: Draw, count: int) -> tuple[Items, TargetState]:
        return nearest(draw, state.target, count, self.ties), state

    def update(self, state: TargetState, feedback: Feedback) -> TargetState:
        move = self.eta * np.tanh(self.alpha * (feedback.mean_reward - self.beta))
        if self.per == "item":
            move = move * feedback.share
        return state._replace(target=np.minimum(np.maximum(state.target + move, self.low), self.high))

    def check_state(self, state: Any, pool: Pool) -> None:
        check_number("state.rule.target", state.target)

    def metrics(self, state: TargetState) -> dict[str, Floats]:
        at_bound = (state.target <= self.low) | (state.target >= self.high)
        return {"target_difficulty": state.target, "at_bound": at_bound.astype(np.float64)}


@dataclass(frozen=True)
class AdaRFTGaussian(AdaRFT):
    """AdaRFT's target with a random batch around it: P(i) ~ exp(-(d_i - T)^2 / (2 width^2)), without replacement.

    width: in units of difficulty, 0.001 to 1e6. ties: must be "random", as nearness decides by chance only.
    Weights below 1e-300 of the largest, beyond some 37 widths, count as 0: such items come last, at random.
    Source: an extension, ours; weights like these are seen in practice around AdaRFT's target, arXiv 2504.05520.
    Differs: Algorithm 1 takes the B nearest items, so that a target that rests draws the same batch again.
    """

    name = "adarft-gaussian"
    look = Look("#D55E00", (0, (2, 1)), "X")

    width: Lanes = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("width", self.width, 1e-3, LARGEST)
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
        weighted_runs(weight, pool.order, start, pool.longest_run, *draw.stream(Role.SCORE), out)
        return out, state


class CoveringState(NamedTuple):
    target: Floats  # (R,) difficulty the next batch is drawn at
    used: NDArray[np.bool_]  # (R, I) by rank: drawn in this round through the pool
    left: NDArray[np.int64]  # (R,) items not used in this round


@dataclass(frozen=True)
class AdaRFTCovering(AdaRFT):
    """AdaRFT in rounds: the B items nearest T among those not used since the whole pool was last covered.

    When fewer than B are left, they are taken, and the nearest others of a new round: each round uses each item once.
    With floor > 0, an item drawn by exploration counts as used, and may be drawn by it a second time in a round; the
    item whose slot it took is still unused. `left_in_round` counts the unused items.
    Source: an extension, ours, of arXiv 2504.05520, whose Algorithm 1 takes the nearest items used or not.
    Differs: towards the end of a round its items lie further from T.
    """

    name = "adarft-covering"
    look = Look("#D55E00", (0, (6, 1.5, 1, 1.5)), "h")

    memory = "item"

    def init(self, pool: Pool, lanes: int) -> Any:
        target = super().init(pool, lanes).target
        return CoveringState(target, np.zeros((lanes, len(pool)), bool), np.full(lanes, len(pool)))

    def select(self, state: Any, draw: Draw, count: int) -> tuple[Items, Any]:
        pool, used, left = draw.pool, state.used.copy(), state.left.copy()
        out, ties = np.empty((len(left), count), np.int64), np.empty(2 * pool.longest_run + 1, np.int64)
        stream = draw.stream(Role.TIES)
        nearest_unused(*pool.index, state.target, self.ties == "random", *stream, used, left, ties, out)
        return out, CoveringState(state.target, used, left)

    def replaced(self, state: Any, draw: Draw, selected: Items, items: Items) -> Any:
        rank = np.empty(len(draw.pool), np.int64)
        rank[draw.pool.order] = np.arange(len(rank))
        used = state.used.copy()
        for mark, before, after in zip(used, selected, items, strict=True):
            mark[rank[np.setdiff1d(before, after)]] = False
            mark[rank[np.setdiff1d(after, before)]] = True
        return CoveringState(state.target, used, len(rank) - np.count_nonzero(used, axis=1))

    def check_state(self, state: Any, pool: Pool) -> None:
        super().check_state(state, pool)
        if not np.array_equal(state.left, len(pool) - np.count_nonzero(state.used, axis=1)):
            raise InputError(f"state.rule.left: must count the items not used, got {state.left}")

    def metrics(self, state: Any) -> dict[str, Floats]:
        return super().metrics(state) | {"left_in_round": state.left.astype(np.float64)}


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def nearest_unused(
    sorted_d: Array, order: Array, run_start: Array, run_end: Array, target: Array, random_ties: bool, keys: Array,
    role: int, clock: int, used: Array, left: Array, ties: Array, out: Array,
) -> None:
    """out[r] = the B items nearest target[r] among those that are not used, by rank, and left[r] of them remain.

    used (R, I), left (R,): updated in place. Where fewer than B are left, all of them, and the nearest others of a new
    round, for which only these others are used. Ties as in `nearest`. ties: scratch, room for the two longest runs.
    """
    size, batch = len(sorted_d), out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    uniform, late = pairs.reshape(pairs.size), np.empty(batch, np.int64)
    for r in range(out.shape[0]):
        row, mark, t = out[r], used[r], target[r]
        n = 0
        if left[r] < batch:  # the unused ones are taken, and the others are free again
            for rank in range(size):
                if not mark[rank]:
                    row[n], late[n] = order[rank], rank
                    n += 1
                mark[rank] = not mark[rank]
            left[r] = size + n
        leftovers = n
        above = i64(np.searchsorted(sorted_d, t))
        below = above - 1
        while n < batch:
            while below >= 0 and mark[below]:
                below -= 1
            while above < size and mark[above]:
                above += 1
            down = t - sorted_d[below] if below >= 0 else np.inf
            up = sorted_d[above] - t if above < size else np.inf
            tied = 0
            if below >= 0 and not up < down:
                for rank in range(run_start[below], below + 1):
                    ties[tied] = rank
                    tied += i64(not mark[rank])
                below = run_start[below] - 1
            easier = tied
            if above < size and not down < up:
                for rank in range(above, run_end[above]):
                    ties[tied] = rank
                    tied += i64(not mark[rank])
                above = run_end[above]
            need = min(tied, batch - n)
            if need < tied and random_ties:
                unit53_row(keys[r], role, clock, pairs[: (need + 1) // 2])
            i, j = 0, easier
            for draw in range(need):
                if need == tied:
                    rank = ties[draw]
                elif random_ties:  # the first steps of a Fisher-Yates shuffle
                    other = draw + i64(uniform[draw] * (tied - draw))
                    rank, ties[other] = ties[other], ties[draw]
                elif j >= tied or (i < easier and order[ties[i]] < order[ties[j]]):  # lowest positions first: a merge
                    rank = ties[i]
                    i += 1
                else:
                    rank = ties[j]
                    j += 1
                row[n], mark[rank] = order[rank], True
                n += 1
        for draw in range(leftovers):
            mark[late[draw]] = False
        left[r] -= batch


@compiled
def weighted_runs(
    weight: Array, order: Array, start: Array, longest: int, keys: Array, role: int, clock: int, out: Array
) -> None:
    """As `weighted`, for D runs of items of one weight: run k holds order[start[k]:start[k + 1]], weight (R, D) >= 0.

    Draws a run in proportion to n_k w_k, n_k its size, and accepts with the chance that the item is none of those
    taken; where many draws are in vain, n_k is brought up to date. O(D + B log D) per lane. longest: run.
    """
    lanes, runs = weight.shape
    batch = out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    uniform = pairs.reshape(pairs.size)
    sums, taken, before = np.empty(runs), np.zeros(runs, np.int32), np.zeros(runs, np.int32)
    chosen, picks, bits = np.empty(batch, np.int64), np.empty(batch, np.int64), np.zeros((longest >> 6) + 1, np.uint64)
    for r in range(lanes):
        n, draws, vain, patience, total = 0, 0, 0, 0, 0.0
        even = 0.0  # 1 once all items with a weight are taken
        while n < batch:
            if vain >= patience:
                total = 0.0
                for k in range(runs):
                    before[k] = taken[k]
                    total += (start[k + 1] - start[k] - taken[k]) * max(weight[r, k], even)
                    sums[k] = total
                vain, patience = 0, 16 + runs // 16
                if total == 0.0:
                    even, patience = 1.0, 0
                    continue
            a, b, c, _ = philox(u64(batch + draws), u64(clock) >> SHIFT32, u64(clock), u64(role), keys[r])
            draws += 1
            u = f64(i64((a << u64(21)) ^ (b >> u64(11)))) * TWO_M53 * total
            k, end = 0, runs - 1
            while k < end:  # the first sum above u
                middle = (k + end) // 2
                if sums[middle] > u:
                    end = middle
                else:
                    k = middle + 1
            size = start[k + 1] - start[k]
            if inside(c) * (size - before[k]) < size - taken[k]:
                chosen[n] = k
                taken[k] += 1
                n += 1
            else:
                vain += 1
        if other_seed(keys, r):
            unit53_row(keys[r], role, clock, pairs)
        n = 0
        for run in chosen:
            for draw in range(few_of(start[run + 1] - start[run], taken[run], uniform[n:], bits, picks)):
                out[r, n] = order[start[run] + picks[draw]]
                n += 1
            taken[run] = before[run] = 0
