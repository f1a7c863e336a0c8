"""The compiled inner loops: one pass over lanes (simulated runs), one over the batch.

Every lane is computed by the same instructions whatever the number of lanes, so results do not depend on how
lanes are grouped. Arithmetic is float32 where 24 bits are enough (success probabilities, uniforms) and float64
where small steps add up. Loops are kept apart (gather, logistic, draw) because the compiler vectorises them so.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

f32, f64, u32, u64, i32, i64 = np.float32, np.float64, np.uint32, np.uint64, np.int32, np.int64

_M0, _M1 = u64(0xD2511F53), u64(0xCD9E8D57)  # Philox multipliers
_W0, _W1 = u64(0x9E3779B9), u64(0xBB67AE85)  # Weyl key increments
_LOW32, _SHIFT32 = u64(0xFFFFFFFF), u64(32)
_TWO_M24 = f32(2.0**-24)
_TWO_M53 = f64(2.0**-53)
LARGEST_LOGIT = 80.0


# ---------------------------------------------------------------------------------------------- random numbers


@njit(inline="always")
def _philox(c0, c1, c2, c3, key):
    """Philox4x32-10: four 32-bit words, held in uint64 so that the products are exact and vectorise.

    Words are cut to 32 bits where they are multiplied: a vector multiplication does that without an instruction.
    """
    k0, k1 = key & _LOW32, key >> _SHIFT32
    for _ in range(10):
        p0, p1 = _M0 * (c0 & _LOW32), _M1 * (c2 & _LOW32)
        c0, c2 = (p1 >> _SHIFT32) ^ c1 ^ k0, (p0 >> _SHIFT32) ^ c3 ^ k1
        c1, c3 = p1, p0
        k0, k1 = k0 + _W0, k1 + _W1
    return c0 & _LOW32, c1 & _LOW32, c2 & _LOW32, c3 & _LOW32


@njit(inline="always")
def _unit32(word):
    return f32(i32(word >> u64(8))) * _TWO_M24


@njit(inline="always")
def _other_seed(keys, r):
    """Whether lane r has another seed than the lane before it. Lanes of one seed share their luck: it is drawn once."""
    return r == 0 or keys[r] != keys[r - 1]


@njit(inline="always")
def _unit_row(key, role, clock, out):
    """out (blocks, 4) = uniforms of one stream."""
    for block in range(out.shape[0]):
        a, b, c, d = _philox(u64(block), u64(clock) >> _SHIFT32, u64(clock), u64(role), key)
        out[block, 0], out[block, 1], out[block, 2], out[block, 3] = _unit32(a), _unit32(b), _unit32(c), _unit32(d)


@njit(nogil=True, cache=True)
def fill_uniforms(keys, role, clock, out):
    row = np.empty(((out.shape[1] + 3) // 4, 4), np.float32)
    for r in range(out.shape[0]):
        if _other_seed(keys, r):
            _unit_row(keys[r], role, clock, row)
        out[r] = row.reshape(row.size)[: out.shape[1]]


@njit(inline="always")
def _unit53_row(key, role, clock, out):
    """out (blocks, 2) = float64 uniforms with 53 bits, two words each."""
    for block in range(out.shape[0]):
        a, b, c, d = _philox(u64(block), u64(clock) >> _SHIFT32, u64(clock), u64(role), key)
        out[block, 0] = f64(i64((a << u64(21)) ^ (b >> u64(11)))) * _TWO_M53
        out[block, 1] = f64(i64((c << u64(21)) ^ (d >> u64(11)))) * _TWO_M53


# --------------------------------------------------------------------------------------------- choosing items


@njit(nogil=True, cache=True)
def nearest(sorted_d, order, run_start, run_end, target, random_ties, keys, role, clock, taken, out):
    """out[r] = positions of the B items nearest target[r], in O(log I + B).

    The nearest B items are a window [lo, lo + B) of the sorted pool: lo is the first with
    target - d[lo] <= d[lo + B] - target. Only items at exactly the window's largest distance can be exchanged;
    they are the ties: whole runs of equal difficulty at the window's left and right ends.
    taken: scratch bits, one for each item of the two longest runs, all 0 before and after.
    """
    size, batch = len(sorted_d), out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    luck = pairs.reshape(pairs.size)
    picks = np.empty(batch, np.int64)
    rest = np.empty(batch + 1, np.int64)
    known = 0  # pairs drawn so far for the lanes of this seed
    for r in range(out.shape[0]):
        known = 0 if _other_seed(keys, r) else known
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
                _unit53_row(keys[r], role, clock, pairs[:known])
            for draw in range(few):
                top = tied - few + draw
                pick = i64(luck[draw] * (top + 1))
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
                taken[: (tied >> 6) + 1] = u64(0)
                row[inner:] = rest[:need]


@njit(nogil=True, cache=True)
def nearest_unused(
    sorted_d, order, run_start, run_end, target, random_ties, keys, role, clock, used, left, ties, out
):
    """out[r] = the B items nearest target[r] among those that are not used, by rank, and left[r] of them remain.

    used (R, I), left (R,): updated in place. Where fewer than B are left, all of them, and the nearest others of a new
    round, for which only these others are used. Ties as in `nearest`. ties: scratch, room for the two longest runs.
    """
    size, batch = len(sorted_d), out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    luck, late = pairs.reshape(pairs.size), np.empty(batch, np.int64)
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
                _unit53_row(keys[r], role, clock, pairs[: (need + 1) // 2])
            i, j = 0, easier
            for draw in range(need):
                if need == tied:
                    rank = ties[draw]
                elif random_ties:  # the first steps of a Fisher-Yates shuffle
                    other = draw + i64(luck[draw] * (tied - draw))
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


@njit(nogil=True, cache=True)
def window(order, lo, out):
    """out[r] = the B items from rank lo[r] on."""
    for r in range(out.shape[0]):
        ranks = order[lo[r] : lo[r] + out.shape[1]]
        for i in range(out.shape[1]):
            out[r, i] = ranks[i]


@njit(nogil=True, cache=True)
def reshuffle(deck, cursor, epoch, size, batch, keys, role):
    """Start a new epoch, in place, in each lane with fewer than `batch` items left: Fisher-Yates, step = epoch."""
    pairs = np.empty((deck.shape[1] // 2 + 1, 2))
    luck = pairs.reshape(pairs.size)
    for r in range(deck.shape[0]):
        if cursor[r] + batch <= size[r]:
            continue
        cursor[r], epoch[r] = 0, epoch[r] + 1
        row = deck[r]
        _unit53_row(keys[r], role, epoch[r], pairs[: (size[r] + 1) // 2])
        for i in range(size[r] - 1, 0, -1):
            j = i64(luck[i] * (i + 1))
            row[i], row[j] = row[j], row[i]


@njit(nogil=True, cache=True)
def deal(deck, cursor, out):
    """out[r] = the next B items of the lane's shuffled epoch."""
    for r in range(out.shape[0]):
        cards = deck[r, cursor[r] : cursor[r] + out.shape[1]]
        for i in range(out.shape[1]):
            out[r, i] = cards[i]


# ------------------------------------------------------------------------------------------- watching a batch


@njit(nogil=True, cache=True)
def positions_valid(items, size):
    """Whether all positions are in [0, size)."""
    flat = items.ravel()
    bad = 0
    for i in range(flat.size):
        bad += i64(flat[i] < 0) | i64(flat[i] >= size)
    return bad == 0


@njit(nogil=True, cache=True)
def watch(items, difficulty, seen, total):
    """Set each item's bit in seen (R, ceil(I / 64)); total (R,) = sum of the batch's difficulties, whole numbers.

    False, with the rest undone, at a lane with a position outside the pool: a rule may be somebody's first try.
    """
    size = u64(difficulty.size)
    for r in range(items.shape[0]):
        bad = 0
        for i in range(items.shape[1]):
            bad += i64(u64(items[r, i]) >= size)
        if bad:
            return False
        bits, whole = seen[r], i64(0)
        for i in range(items.shape[1]):  # whole numbers add in one cycle: both in one loop
            item = u64(items[r, i])
            bits[item >> u64(6)] |= u64(1) << (item & u64(63))
            whole += difficulty[item]
        total[r] = whole
    return True


@njit(nogil=True, cache=True)
def add_known(total, count, values):
    """total, count (K, R) += values (K, R) and 1, where these are numbers."""
    for k in range(values.shape[0]):
        for r in range(values.shape[1]):
            if not np.isnan(values[k, r]):
                total[k, r] += values[k, r]
                count[k, r] += 1.0


@njit(nogil=True, cache=True)
def repeats(items, before, size):
    """(R,) share of a batch that was also in the batch before, where -1 is no item."""
    share = np.empty(items.shape[0])
    stamp = np.full(size, -1, np.int64)
    for r in range(items.shape[0]):
        for item in before[r]:
            if item >= 0:
                stamp[item] = r
        same = 0
        for item in items[r]:
            same += i64(stamp[item] == r)
        share[r] = same / items.shape[1]
    return share


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz"})
def reward_stats(rewards, counts, mean, silent):
    """Mean reward and share of all-equal groups per lane of rewards (R, B, G); False if one is not in [0, 1].

    counts (R, B): rollouts of each group, (0, 0) if all have G. Groups of one have nobody to agree with and are left
    out of the share; both are NaN where there is nothing to average.
    """
    lanes, batch, group = rewards.shape
    bad = 0
    for r in range(lanes):
        flat = rewards[r].reshape(batch * group)
        total = f64(0)
        for i in range(flat.size):
            bad += 1 - i64((flat[i] >= f32(0)) & (flat[i] <= f32(1)))
            total += flat[i]
        silent[r] = np.nan
        if counts.size:
            spent, equal, groups = i64(0), 0, 0
            for i in range(batch):
                n = counts[r, i]
                spent += n
                if n > 1:
                    groups += 1
                    same = 1
                    for g in range(1, n):
                        same &= i64(rewards[r, i, g] == rewards[r, i, 0])
                    equal += same
                for g in range(n, group):
                    bad += i64(rewards[r, i, g] != f32(0))
            mean[r] = total / spent if spent else np.nan
            silent[r] = equal / groups if groups else np.nan
            continue
        mean[r] = total / flat.size
        if group > 1:
            equal = 0
            for i in range(batch):
                same = 1
                for g in range(1, group):
                    same &= i64(rewards[r, i, g] == rewards[r, i, 0])
                equal += same
            silent[r] = equal / batch
    return bad == 0


@njit(nogil=True, cache=True)
def group_moments(rewards, counts, total, mean, std):
    """Sum, mean and standard deviation (R, B) of each group's rewards; 0 without rollouts. counts as in `reward_stats`.

    Sums are exact, so a group whose rewards are all equal has a std of exactly 0.
    """
    lanes, batch, group = rewards.shape
    for r in range(lanes):
        one, t, m, s = rewards[r], total[r], mean[r], std[r]
        t[:], s[:] = 0.0, 0.0
        if counts.size:
            for i in range(batch):
                n = counts[r, i]
                for g in range(n):
                    t[i] += one[i, g]
                m[i] = t[i] / max(n, 1)
                for g in range(n):
                    s[i] += (one[i, g] - m[i]) ** 2
                s[i] = np.sqrt(s[i] / max(n, 1))
            continue
        for g in range(group):  # the batch inside: these loops vectorise
            for i in range(batch):
                t[i] += one[i, g]
        for i in range(batch):
            m[i] = t[i] / group
        for g in range(group):
            for i in range(batch):
                s[i] += (one[i, g] - m[i]) ** 2
        for i in range(batch):
            s[i] = np.sqrt(s[i] / group)


@njit(nogil=True, cache=True)
def absolute_advantage(rewards, counts, mean, scale, out):
    """out (R, B): mean of |reward - mean| scale over each group's rollouts, 0 without; mean, scale (R, B)."""
    lanes, batch, group = rewards.shape
    for r in range(lanes):
        one, m, row = rewards[r], mean[r], out[r]
        row[:] = 0.0
        if counts.size:
            for i in range(batch):
                for g in range(counts[r, i]):
                    row[i] += abs(one[i, g] - m[i])
                row[i] *= scale[r, i] / max(counts[r, i], 1)
            continue
        for g in range(group):
            for i in range(batch):
                row[i] += abs(one[i, g] - m[i])
        for i in range(batch):
            row[i] *= scale[r, i] / group


# ------------------------------------------------------------------------------------- choosing by score or arm


@njit(inline="always")
def _bar(values, k, sample):
    """A value that about 2 k + 16 of `values`, and seldom fewer than k, are at most: from a sample of them.

    Quickly cuts what is looked at to find the k smallest; infinite where the sample cannot tell.
    """
    size, probes = values.size, sample.size
    stride = size // probes
    for j in range(probes):
        sample[j] = values[j * stride]
    rank = ((2 * k + 16) * probes) // size + 3
    if rank >= probes:
        return np.inf
    return np.partition(sample, rank)[rank]


@njit(nogil=True, cache=True)
def top(score, keys, role, clock, out):
    """out[r] = the B items with the largest score (R, I); items that tie for the last places are drawn at random."""
    lanes, size = score.shape
    batch = out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    luck = pairs.reshape(pairs.size)
    cost, near, place = np.empty(size, score.dtype), np.empty(size, score.dtype), np.empty(size, np.int32)
    sample = np.empty(min(size, 2048), score.dtype)
    for r in range(lanes):
        for i in range(size):
            cost[i] = -score[r, i]
        bar = _bar(cost, batch, sample)
        kept = 0
        while True:
            kept = 0
            for i in range(size):
                near[kept], place[kept] = cost[i], i
                kept += i64(cost[i] <= bar)
            if kept >= batch:
                break
            bar = np.inf  # the sample misled: look at all
        last = np.partition(near[:kept], batch - 1)[batch - 1]
        n, ties = 0, 0
        for i in range(kept):  # those that tie move to the front of `place`
            item, mine = place[i], near[i]
            if mine < last:
                out[r, n] = item
                n += 1
            elif mine == last:
                place[ties] = item
                ties += 1
        need = batch - n
        if need < ties:
            _unit53_row(keys[r], role, clock, pairs[: (need + 1) // 2])
            for j in range(need):  # the first steps of a Fisher-Yates shuffle
                other = j + i64(luck[j] * (ties - j))
                place[j], place[other] = place[other], place[j]
        for j in range(need):
            out[r, n + j] = place[j]


@njit(nogil=True, cache=True)
def weighted(weight, keys, role, clock, out):
    """out[r] = B distinct items, drawn one after another with probabilities proportional to weight (R, I).

    Efraimidis and Spirakis 2006: the B smallest of e_i / w_i, e_i standard exponentials. Items of weight 0 come last,
    at random. Weights up to about 1 and, where not 0, above 1e-28.
    """
    lanes, size = weight.shape
    batch = out.shape[1]
    blocks = np.empty(((size + 3) // 4, 4), np.float32)
    u = blocks.reshape(blocks.size)[:size]
    near, place = np.empty(size, np.float32), np.empty(size, np.int32)
    probes = min(size, 2048)
    stride, rough = size // probes, np.empty(probes, np.float32)
    for r in range(lanes):
        if _other_seed(keys, r):
            _unit_row(keys[r], role, clock, blocks)
        w = weight[r]
        for j in range(probes):
            rough[j] = _waiting(u[j * stride], w[j * stride])
        rank = ((2 * batch + 16) * probes) // size + 3
        bar = f32(np.inf)
        if rank < probes:
            bar = np.partition(rough, rank)[rank]
        if bar >= f32(1e30):
            bar = f32(np.inf)
        kept = 0
        while True:
            kept = 0
            for i in range(size):
                if u[i] <= bar * w[i] or bar == np.inf:  # e >= u: nobody else can be below the bar
                    wait = _waiting(u[i], w[i])
                    near[kept], place[kept] = wait, i
                    kept += i64(wait <= bar)
            if kept >= batch:
                break
            bar = f32(np.inf)
        last = np.partition(near[:kept], batch - 1)[batch - 1]
        n = 0
        for i in range(kept):
            if near[i] < last:
                out[r, n] = place[i]
                n += 1
        for i in range(kept):
            if n < batch and near[i] == last:
                out[r, n] = place[i]
                n += 1


@njit(inline="always")
def _waiting(u, w):
    """e / w with e = -ln(1 - u); for w = 0 beyond all others, in random order."""
    e = -np.log(f32(1) - u)
    return e / w if w > f32(0) else f32(1e30) * (f32(1) + e)


@njit(nogil=True, cache=True)
def from_arms(share, order, start, keys, role, clock, out):
    """out[r] = B distinct items: each slot draws an arm from share (R, K), each arm gives a random subset.

    Arm k holds order[start[k]:start[k + 1]]. An arm that is used up leaves the draw; where all that remain have share
    0, they are drawn in proportion to the items they have left.
    """
    lanes, arms = share.shape
    batch = out.shape[1]
    blocks = np.empty((batch, 2))
    luck = blocks.reshape(2 * batch)  # of the slots' arms, then of the arms' items
    size, left = start[1:] - start[:-1], np.empty(arms)
    taken, picks = np.empty(arms, np.int64), np.empty(batch, np.int64)
    bits = np.zeros((size.max() >> 6) + 1, np.uint64)
    for r in range(lanes):
        if _other_seed(keys, r):
            _unit53_row(keys[r], role, clock, blocks)
        total, last = 0.0, -1
        for k in range(arms):
            left[k] = share[r, k] if size[k] else 0.0
            total += left[k]
            if left[k] > 0.0:
                last = k
        excess = i64(batch) if last < 0 else i64(0)
        bound, before = 0.0, i64(0)
        for k in range(arms):
            bound += left[k]
            below = i64(0)
            for i in range(batch):
                below += i64(luck[i] * total < bound)
            below = i64(batch) if k >= last else below  # rounding may leave the last bound short of the total
            below = i64(0) if last < 0 else below
            taken[k] = min(below - before, size[k])
            excess += below - before - taken[k]
            before = below
        if excess:
            _redraw(excess, left, size, taken, batch, keys[r], role, clock)
        n = 0
        for k in range(arms):
            for draw in range(_subset(size[k], taken[k], luck[batch + n :], bits, picks)):
                out[r, n] = order[start[k] + picks[draw]]
                n += 1


@njit
def _redraw(excess, left, size, taken, block, key, role, clock):
    """Draw other arms for slots whose arm is used up, one by one, from the shares of those left (see `from_arms`)."""
    spent = False  # whether sizes decide instead of shares
    for slot in range(excess):
        total = 0.0
        for k in range(left.size):
            if not spent and taken[k] == size[k]:
                left[k] = 0.0
            total += left[k]
        if total <= 1e-12 and not spent:
            spent = True
            left[:] = size - taken
            total = left.sum()
        word = _philox(u64(block + slot), u64(clock) >> _SHIFT32, u64(clock), u64(role), key)[0]
        u, arm = _inside(word) * total, -1
        for k in range(left.size):
            if left[k] > 0.0:
                arm = k
                if u < left[k]:
                    break
                u -= left[k]
        taken[arm] += 1
        if spent:
            left[arm] -= 1.0


@njit(inline="always")
def _subset(size, need, luck, bits, picks):
    """picks[:need] = a uniform subset of the numbers below size (Floyd's algorithm); returns need.

    bits: scratch, all 0 before and after.
    """
    for draw in range(need):
        last = size - need + draw
        pick = i64(luck[draw] * (last + 1))
        if (bits[u64(pick) >> u64(6)] >> (u64(pick) & u64(63))) & u64(1):
            pick = last
        bits[u64(pick) >> u64(6)] |= u64(1) << (u64(pick) & u64(63))
        picks[draw] = pick
    for draw in range(need):
        bits[u64(picks[draw]) >> u64(6)] = u64(0)
    return need


@njit(nogil=True, cache=True)
def weighted_runs(weight, order, start, longest, keys, role, clock, out):
    """As `weighted`, for D runs of items of one weight: run k holds order[start[k]:start[k + 1]], weight (R, D) >= 0.

    Draws a run in proportion to n_k w_k, n_k its size, and accepts with the chance that the item is none of those
    taken; where many draws are in vain, n_k is brought up to date. O(D + B log D) per lane. longest: run.
    """
    lanes, runs = weight.shape
    batch = out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    luck = pairs.reshape(pairs.size)
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
            a, b, c, _ = _philox(u64(batch + draws), u64(clock) >> _SHIFT32, u64(clock), u64(role), keys[r])
            draws += 1
            u = f64(i64((a << u64(21)) ^ (b >> u64(11)))) * _TWO_M53 * total
            k, end = 0, runs - 1
            while k < end:  # the first sum above u
                middle = (k + end) // 2
                if sums[middle] > u:
                    end = middle
                else:
                    k = middle + 1
            size = start[k + 1] - start[k]
            if _inside(c) * (size - before[k]) < size - taken[k]:
                chosen[n] = k
                taken[k] += 1
                n += 1
            else:
                vain += 1
        if _other_seed(keys, r):
            _unit53_row(keys[r], role, clock, pairs)
        n = 0
        for k in chosen:
            for draw in range(_subset(start[k + 1] - start[k], taken[k], luck[n:], bits, picks)):
                out[r, n] = order[start[k] + picks[draw]]
                n += 1
            taken[k] = before[k] = 0


@njit(nogil=True, cache=True)
def from_ranks(order, low, high, keys, role, clock, out):
    """out[r] = B distinct items, uniformly from order[low[r]:high[r]]."""
    batch = out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    luck = pairs.reshape(pairs.size)
    picks, bits = np.empty(batch, np.int64), np.zeros((order.size >> 6) + 1, np.uint64)
    for r in range(out.shape[0]):
        if _other_seed(keys, r):
            _unit53_row(keys[r], role, clock, pairs)
        for draw in range(_subset(high[r] - low[r], batch, luck, bits, picks)):
            out[r, draw] = order[low[r] + picks[draw]]


@njit(nogil=True, cache=True)
def explore(items, share, size, keys, role, clock):
    """Replace each item of a batch (R, B), in place, with probability share (R,) by one of the others of the pool.

    The newcomer is uniform over the items that are not in the batch (after three collisions: the next free one).
    """
    batch = items.shape[1]
    bits = np.zeros((size >> 6) + 1, np.uint64)
    for r in range(items.shape[0]):
        if share[r] <= 0.0 or batch >= size:
            continue
        row = items[r]
        for i in range(batch):
            bits[row[i] >> 6] |= u64(1) << u64(row[i] & 63)
        for i in range(batch):
            a, b, c, d = _philox(u64(i), u64(clock) >> _SHIFT32, u64(clock), u64(role), keys[r])
            if _unit32(a) < share[r]:
                new = i64(0)
                for word in (b, c, d):
                    new = i64((u64(word) * u64(size)) >> _SHIFT32)
                    if not (bits[new >> 6] >> u64(new & 63)) & u64(1):
                        break
                while (bits[new >> 6] >> u64(new & 63)) & u64(1):
                    new = (new + 1) % size
                bits[row[i] >> 6] ^= u64(1) << u64(row[i] & 63)
                bits[new >> 6] |= u64(1) << u64(new & 63)
                row[i] = new
        for i in range(batch):
            bits[row[i] >> 6] = u64(0)


@njit(nogil=True, cache=True)
def nearest_each(sorted_d, order, run_start, run_end, target, luck, out):
    """out[r, i] = the free item nearest target[r, i], one after another; with target NaN, any free item. All distinct.

    Of equally near items luck[r, i], in [0, 1), picks one. Where that of a NaN falls on items already taken, the next
    free one by rank is taken. The free items of a run of equal difficulty are deck[start + gone[start] : end].
    """
    size, batch = len(sorted_d), out.shape[1]
    deck, gone = np.arange(size), np.zeros(size, np.int64)
    touched = np.empty(2 * batch, np.int64)
    for r in range(out.shape[0]):
        for i in range(batch):
            t, u = target[r, i], luck[r, i]
            if np.isnan(t):
                slot = i64(u * size)
                start = i64(run_start[slot])
                while gone[start] == run_end[start] - start:
                    start = slot = i64(run_end[start]) % size
                slot = max(slot, start + gone[start])
            else:
                right = i64(np.searchsorted(sorted_d, t))  # where the nearest runs with free items start
                left = right - 1
                while left >= 0:
                    left = i64(run_start[left])
                    if gone[left] < run_end[left] - left:
                        break
                    left -= 1
                while right < size and gone[right] == run_end[right] - right:
                    right = i64(run_end[right])
                below = t - sorted_d[left] if left >= 0 else np.inf
                above = sorted_d[right] - t if right < size else np.inf
                on_left = run_end[left] - left - gone[left] if below <= above else 0
                on_right = run_end[right] - right - gone[right] if above <= below else 0
                pick = i64(u * (on_left + on_right))
                slot = left + gone[left] + pick if pick < on_left else right + gone[right] + pick - on_left
                start = i64(run_start[slot])
            first = start + gone[start]
            deck[first], deck[slot] = deck[slot], deck[first]
            touched[2 * i], touched[2 * i + 1] = first, slot
            gone[start] += 1
            out[r, i] = order[deck[first]]
        for slot in touched:
            deck[slot] = slot
            gone[run_start[slot]] = 0


@njit(nogil=True, cache=True)
def put_first(picks, items, size, out):
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


@njit(inline="always")
def _has(bits, i):
    return (bits[u64(i) >> u64(6)] >> (u64(i) & u64(63))) & u64(1)


@njit(inline="always")
def _set(bits, i):
    bits[u64(i) >> u64(6)] |= u64(1) << (u64(i) & u64(63))


@njit(inline="always")
def _clear(bits, members):
    """All bits 0 again, given that these were the ones set."""
    for i in range(members.size):
        bits[u64(members[i]) >> u64(6)] = u64(0)


@njit(inline="always")
def _unit53(high, low):
    """Two words as a float64 uniform in [0, 1)."""
    return f64(i64((high << u64(21)) ^ (low >> u64(11)))) * _TWO_M53


@njit(inline="always")
def _pick(size, need, luck, bits, out):
    """out[:need] = distinct whole numbers below size, each subset equally likely (Floyd), from luck (need,) in [0, 1).

    bits: scratch, one for each number, all 0 before and after.
    """
    for i in range(need):
        last = size - need + i
        pick = i64(luck[i] * (last + 1))
        if _has(bits, pick):
            pick = last
        _set(bits, pick)
        out[i] = pick
    _clear(bits, out[:need])


@njit(nogil=True, cache=True)
def subset(size, keys, role, clock, out):
    """out[r] = B distinct whole numbers below size, each subset equally likely."""
    batch = out.shape[1]
    pairs = np.empty(((batch + 1) // 2, 2))
    luck = pairs.reshape(pairs.size)
    bits = np.zeros((size >> 6) + 1, np.uint64)
    for r in range(out.shape[0]):
        if _other_seed(keys, r):
            _unit53_row(keys[r], role, clock, pairs)
        _pick(size, batch, luck, bits, out[r])


@njit(nogil=True, cache=True)
def from_few(few, held, need, size, keys, role, clock, out):
    """out[r] = need[r] random ones of few[r, :held[r]], then random others of the pool's `size` items; all distinct."""
    batch = out.shape[1]
    pairs = np.empty(((batch + 1) // 2, 2))
    luck = pairs.reshape(pairs.size)
    bits = np.zeros((size >> 6) + 1, np.uint64)
    for r in range(out.shape[0]):
        row, n = out[r], need[r]
        if _other_seed(keys, r):
            _unit53_row(keys[r], role, clock, pairs)
        _pick(held[r], n, luck[:n], bits, row[:n])
        for i in range(n):
            row[i] = few[r, row[i]]
        _pick(size - n, batch - n, luck[n:], bits, row[n:])
        before = np.sort(row[:n]) - np.arange(n)  # how many of the others come before each of these
        for i in range(n, batch):  # from a number among the others to a position in the pool
            row[i] += np.searchsorted(before, row[i], side="right")


@njit(nogil=True, cache=True)
def deal_some(deck, cursor, looked, dealt, kind, origin, keep, keys, role, clock, out):
    """Deal on, in place, until out[r] is full or the deck ends: a card of kind k stays with probability keep[r, k].

    kind (R, I) whole numbers >= -origin, keep (R, K) by kind + origin. cursor: next card of the deck; looked: cards
    turned since the batch began; dealt: cards in out[r] so far, which do not enter it twice.
    """
    bits = np.zeros((deck.shape[1] >> 6) + 1, np.uint64)
    batch, size = out.shape[1], deck.shape[1]
    for r in range(deck.shape[0]):
        row, at, turned, n = out[r], cursor[r], looked[r], dealt[r]
        for i in range(n):
            _set(bits, row[i])
        while n < batch and at < size:
            card = deck[r, at]
            chance = keep[r, kind[r, card] + origin]
            stays = chance >= f32(1)
            if f32(0) < chance < f32(1):
                word, _, _, _ = _philox(u64(turned), u64(clock) >> _SHIFT32, u64(clock), u64(role), keys[r])
                stays = _unit32(word) < chance
            if stays and not _has(bits, card):
                _set(bits, card)
                row[n] = card
                n += 1
            at += 1
            turned += 1
        _clear(bits, row[:n])
        cursor[r], looked[r], dealt[r] = at, turned, n


@njit(nogil=True, cache=True)
def boltzmann(value, out):
    """out[r] = e^(value[r] - its largest), at least e^-60."""
    for r in range(value.shape[0]):
        row, mine = value[r], out[r]
        best = row[0]
        for i in range(row.size):
            best = max(best, row[i])
        for i in range(row.size):
            mine[i] = _exp32(max(row[i] - best, f32(-60)))


@njit(inline="always")
def _words(block, stream):
    """The four words of a block of a stream (turn, step, role, seed)."""
    turn, step, role, key = stream
    return _philox(block, turn, step, role, key)


@njit(nogil=True, cache=True)
def replay(order, seen, score, last, step, fresh, stale, power, keys, role, clock, out):
    """out[r] = B distinct items: each slot gets a new one with probability fresh[r], else with probability stale[r] one
    in proportion to step - last[r, item], else one by its rank in score, in proportion to rank^-power[r].

    order[r, :seen[r]] = the items seen, by falling score (R, I); the new ones follow. Equal scores share their ranks at
    random. The slots by rank are filled first. Where new or seen items run out, the others step in.
    """
    lanes, size = order.shape
    batch = out.shape[1]
    bits, taken = np.zeros((size >> 6) + 1, np.uint64), np.zeros((size >> 6) + 1, np.uint64)
    luck, picks = np.empty(batch), np.empty(batch, np.int64)
    wait, rank = np.empty(2 * batch + 64), np.empty(2 * batch + 64, np.int64)
    turn = u64(clock) >> _SHIFT32
    for r in range(lanes):
        items, row, known, stream = order[r], out[r], seen[r], (turn, u64(clock), u64(role), keys[r])
        longest = _longest_wait(last[r], step)
        new, old = i64(0), i64(0)
        for i in range(batch):
            a, _, _, _ = _words(u64(i), stream)
            new += i64(_inside(a) < fresh[r])
        new = min(max(new, batch - known), size - known)
        for i in range(batch - new):
            _, b, _, _ = _words(u64(i), stream)
            old += i64(_inside(b) < stale[r] and longest > 0)
        block = u64(batch)
        ranks = _race(known, batch - new - old, power[r], wait, rank, block, stream)
        block += u64(known)
        n = 0
        while n < ranks.size:  # those that lie in one run of equal scores
            start, end = _run(items, score[r], known, ranks[n])
            few = n
            while few < ranks.size and ranks[few] < end:
                a, b, _, _ = _words(block + u64(few), stream)
                luck[few] = _unit53(a, b)
                few += 1
            _pick(end - start, few - n, luck[n:few], bits, picks)
            for i in range(few - n):
                row[n + i] = items[start + picks[i]]
            n = few
        block += u64(batch)
        for i in range(n):
            _set(taken, row[i])
        for i in range(old):
            row[n] = _by_staleness(items[:known], last[r], step, longest, taken, block + u64(64 * i), stream)
            _set(taken, row[n])
            n += 1
        _clear(taken, row[:n])
        for i in range(new):
            _, _, c, d = _words(u64(i), stream)
            luck[i] = _unit53(c, d)
        _pick(size - known, new, luck[:new], bits, picks)
        for i in range(new):
            row[n + i] = items[known + picks[i]]


@njit(inline="always")
def _longest_wait(last, step):
    """The largest step - last among items seen (last >= 0); 0 if there are none."""
    first = u32(0xFFFFFFFF)
    for i in range(last.size):
        first = min(first, u32(last[i]))  # -1 becomes the largest number
    return max(step - i64(first), 0) if first < u32(0x80000000) else 0


FASTEST = -22.9  # below log(-log(u)) for every u that _inside gives


@njit
def _race(size, count, power, wait, rank, block, stream):
    """`count` distinct ranks below size, rising, drawn one after another in proportion to (rank + 1)^-power.

    A race of exponentials as in `weighted`, but in logarithms, for powers may underflow, and only up to the rank from
    which on nobody can be among the first. wait, rank: scratch for more than `count`.
    """
    kept, bar, k = i64(0), np.inf, i64(0)
    while k < size and count > 0:
        handicap = power * np.log(f64(k + 1))
        if handicap + FASTEST > bar:
            break
        word, _, _, _ = _words(block + u64(k), stream)
        time = handicap + np.log(-np.log(_inside(word)))
        if time <= bar:
            wait[kept], rank[kept] = time, k
            kept += 1
        k += 1
        if kept == wait.size or (kept == count and bar == np.inf):
            kept, bar = _first(wait, rank, kept, count)
    if count > 0:
        kept, bar = _first(wait, rank, kept, count)
    return np.sort(rank[:kept])


@njit
def _first(wait, rank, kept, count):
    """Moves the `count` smallest of wait[:kept], with their ranks, to the front: how many, and the largest."""
    bar = np.partition(wait[:kept], count - 1)[count - 1]
    n = 0
    for i in range(kept):
        if wait[i] <= bar and n < count:
            wait[n], rank[n] = wait[i], rank[i]
            n += 1
    return n, bar


@njit
def _place(items, score, known, value, after):
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


@njit
def _run(items, score, known, rank):
    """The ranks [start, end) with the score of this rank."""
    value = score[items[rank]]
    return _place(items, score, known, value, False), _place(items, score, known, value, True)


@njit
def _by_staleness(items, last, step, longest, taken, block, stream):
    """One of the items that are not taken, in proportion to step - last, or evenly where that is 0 for all.

    By rejection, at most 62 times; then by one pass over all.
    """
    for attempt in range(62):
        a, b, c, _ = _words(block + u64(attempt), stream)
        item = items[i64(_unit53(a, b) * items.size)]
        if not _has(taken, item) and _inside(c) * longest < step - last[item]:
            return i64(item)
    total, even = 0.0, 0.0
    for i in range(items.size):
        if not _has(taken, items[i]):
            total += max(step - last[items[i]], 0)
            even += 1.0
    a, b, _, _ = _words(block + u64(62), stream)
    left = _unit53(a, b) * (total if total > 0.0 else even)
    choice = i64(-1)
    for i in range(items.size):
        weight = f64(max(step - last[items[i]], 0)) if total > 0.0 else 1.0
        if weight > 0.0 and not _has(taken, items[i]):
            choice = i64(items[i])
            left -= weight
            if left < 0.0:
                break
    return choice


# ------------------------------------------------------------------------------------- what is known of items


@njit(nogil=True, cache=True)
def add_to(total, items, values):
    """total[r, items[r, i]] += values[r, i], in place, one after another: an item may come twice."""
    for r in range(items.shape[0]):
        for i in range(items.shape[1]):
            total[r, items[r, i]] += values[r, i]


@njit(nogil=True, cache=True)
def lay_up(bank, priority, used, replays, items, value, now, limit, size):
    """Lay items (R, B) up in a bank of M places per lane, in place, with priority value (R, B) and the time `now`.

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
                    least = np.argmin(priority[r])
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


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def attend(x, references, values, sharpness, others, out):
    """out[i] = sum_k w_k values[k], w the softmax over k of -sharpness |x_i - y_k|^2 / 2: values at known points.

    x (N, F) float32, out (N,). references (F, K) float32: the points y, one per column. others: whether the points are
    x themselves and x_i is to be guessed from the others.
    """
    features, known = references.shape
    half, score = np.zeros(known, np.float32), np.empty(known, np.float32)
    for f in range(features):
        for k in range(known):
            half[k] += f32(0.5) * references[f, k] * references[f, k]
    for i in range(x.shape[0]):
        for k in range(known):
            score[k] = -half[k]  # |x_i|^2 is the same for all k
        for f in range(features):
            mine = x[i, f]
            for k in range(known):
                score[k] += mine * references[f, k]
        if others:
            score[i] = f32(-np.inf)
        most = f32(-np.inf)
        for k in range(known):
            most = max(most, score[k])
        for k in range(known):
            score[k] = _exp32(f32(sharpness) * (score[k] - most))
        if others:
            score[i] = f32(0)
        total, weight = f64(0), f64(0)
        for k in range(known):
            total += score[k] * values[k]
            weight += score[k]
        out[i] = total / weight


@njit(nogil=True, cache=True)
def push_advantages(rewards, counts, mean, scale, arm, place, filled, recent):
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


@njit(nogil=True, cache=True)
def beta_draws(a, b, keys, role, clock, out):
    """out (R, C): entry c of lane r is a draw from Beta(a, b), from the blocks c, c + C, c + 2 C, .. of its stream.

    x / (x + y) with x ~ Gamma(a), y ~ Gamma(b), by Marsaglia and Tsang 2000: d v^3 with d = shape - 1/3,
    v = 1 + z / sqrt(9 d), z normal. A shape below 1 is raised by 1, the draw multiplied by u^(1 / shape).
    """
    lanes, count = out.shape
    for r in range(lanes):
        for c in range(count):
            block = u64(c)
            x, y = -1.0, -1.0
            while x < 0.0 or y < 0.0:
                w0, w1, w2, w3 = _philox(block, u64(clock) >> _SHIFT32, u64(clock), u64(role), keys[r])
                block += u64(count)
                radius = np.sqrt(-2.0 * np.log(_inside(w0)))
                angle = 2.0 * np.pi * _inside(w1)
                if x < 0.0:
                    x = _gamma_try(a[r, c], radius * np.cos(angle), _inside(w2))
                if y < 0.0:
                    y = _gamma_try(b[r, c], radius * np.sin(angle), _inside(w3))
            if a[r, c] < 1.0 or b[r, c] < 1.0:
                w0, w1, w2, w3 = _philox(block, u64(clock) >> _SHIFT32, u64(clock), u64(role), keys[r])
                log_x = np.log(x) + (np.log(_inside(w0)) / a[r, c] if a[r, c] < 1.0 else 0.0)
                log_y = np.log(y) + (np.log(_inside(w1)) / b[r, c] if b[r, c] < 1.0 else 0.0)
                out[r, c] = 1.0 / (1.0 + np.exp(min(log_y - log_x, 700.0)))
            else:
                out[r, c] = x / (x + y)


@njit(nogil=True, cache=True)
def add_rates(rate, rollouts, items, means, counts):
    """Means of groups (R, B) of counts (R, B) rollouts enter the mean rewards rate (R, I) over `rollouts` (R, I).

    In place, one group after another: an item may come twice.
    """
    for r in range(items.shape[0]):
        for i in range(items.shape[1]):
            item, group = items[r, i], f64(counts[r, i])
            if group > 0.0:
                before = f64(rollouts[r, item])
                rate[r, item] = (f64(rate[r, item]) * before + means[r, i] * group) / (before + group)
                rollouts[r, item] = before + group


@njit(nogil=True, cache=True)
def add_decayed(a, b, items, successes, counts, decay, prior):
    """a <- decay a + (1 - decay) prior + k and b <- decay b + (1 - decay) prior + n - k, in place, group by group.

    a, b (R, I); k = successes, n = counts (R, B), 0 where there is no feedback; decay, prior (R,).
    """
    for r in range(items.shape[0]):
        back = (1.0 - decay[r]) * prior[r]
        for i in range(items.shape[1]):
            item, k, n = items[r, i], successes[r, i], counts[r, i]
            if n > 0:
                a[r, item] = decay[r] * a[r, item] + back + k
                b[r, item] = decay[r] * b[r, item] + back + (n - k)


@njit(nogil=True, cache=True)
def fuse_evidence(a, b, weak, strong, capability, decay, pseudo, items, successes, counts):
    """a <- (1 - decay) a + decay + s and b <- (1 - decay) b + decay + f for all items, in place.

    s, f = successes and failures of an item with feedback; of others pseudo p and pseudo (1 - p) with
    p = clip(weak + capability (strong - weak), 0, 1), or 0 where the capability is NaN. A lane without feedback rests.
    a, b (R, I); weak, strong (I,); capability, decay, pseudo (R,); items, successes, counts (R, B).
    """
    batch = items.shape[1]
    old_a, old_b = np.empty(batch), np.empty(batch)
    for r in range(items.shape[0]):
        if counts[r].sum() == 0:
            continue
        mine_a, mine_b = a[r], b[r]
        for i in range(batch):
            old_a[i], old_b[i] = mine_a[items[r, i]], mine_b[items[r, i]]
        keep, back = f32(1.0 - decay[r]), f32(decay[r])
        known = not np.isnan(capability[r])
        skill, weight = f32(capability[r] if known else 0.0), f32(pseudo[r] if known else 0.0)
        for i in range(mine_a.size):
            low = f32(weak[i])
            p = min(max(low + skill * (f32(strong[i]) - low), f32(0)), f32(1))
            mine_a[i] = keep * mine_a[i] + back + weight * p
            mine_b[i] = keep * mine_b[i] + back + weight * (f32(1) - p)
        for i in range(batch):
            if counts[r, i] > 0:
                mine_a[items[r, i]] = (1.0 - decay[r]) * old_a[i] + decay[r]
                mine_b[items[r, i]] = (1.0 - decay[r]) * old_b[i] + decay[r]
        for i in range(batch):
            if counts[r, i] > 0:
                mine_a[items[r, i]] += successes[r, i]
                mine_b[items[r, i]] += counts[r, i] - successes[r, i]


@njit(nogil=True, cache=True)
def share_out(weight, low, high, total, out):
    """out[r] = whole numbers from low to high that add up to `total`, in proportion to weight (R, B) as far as can be.

    clip(c w, low, high) with the c at which they add up, by bisection; then rounded by largest remainder.
    """
    batch = out.shape[1]
    rest = np.empty(batch)
    for r in range(out.shape[0]):
        w, least = weight[r], np.inf
        for i in range(batch):
            least = min(least, w[i])
        small, large = 0.0, high / least
        for _ in range(60):
            c = 0.5 * (small + large)
            amount = 0.0
            for i in range(batch):
                amount += min(max(c * w[i], low), high)
            if amount < total:
                small = c
            else:
                large = c
        given = 0
        for i in range(batch):
            exact = min(max(large * w[i], low), high)
            out[r, i] = i64(exact + 1e-9)
            rest[i] = out[r, i] - exact
            given += out[r, i]
        order = np.argsort(rest, kind="mergesort")
        for i in range(total - given):
            out[r, order[i]] += 1


@njit(nogil=True, cache=True)
def count_silent(streak, items, means, stds, counts):
    """How many of an item's last groups in a row were silent, streak (R, I) int8, in place: z if solved, -z if failed.

    Silent: std 0; solved if its mean is above 1/2, else failed. Any other group ends the row. At most 127.
    means, stds, counts (R, B): groups of fewer than 2 rollouts change nothing.
    """
    for r in range(items.shape[0]):
        for i in range(items.shape[1]):
            if counts[r, i] > 1:
                before, after = i64(streak[r, items[r, i]]), i64(0)
                if stds[r, i] == 0.0:
                    after = min(max(before, 0) + 1, 127) if means[r, i] > 0.5 else max(min(before, 0) - 1, -127)
                streak[r, items[r, i]] = after


@njit(nogil=True, cache=True)
def rerank(order, seen, old, score, last, items, values, counts, step, new_order, new_seen):
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
                if not _has(bits, item):
                    _set(bits, item)
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
        _clear(bits, changed[:n])


@njit(inline="always")
def _copy_unmarked(source, start, end, bits, target, n):
    """Copies source[start:end] without items whose bit is set to target[n:]; where it ends."""
    for i in range(start, end):
        if not _has(bits, source[i]):
            target[n] = source[i]
            n += 1
    return n


@njit(inline="always")
def _inside(word):
    """A word as a uniform in (0, 1)."""
    return (f64(i64(word)) + 0.5) * 2.0**-32


@njit(inline="always")
def _gamma_try(shape, z, u):
    """A Gamma draw (of shape + 1 where shape < 1) from a normal z, or -1 where u rejects it."""
    d = (shape if shape >= 1.0 else shape + 1.0) - 1.0 / 3.0
    v = 1.0 + z / np.sqrt(9.0 * d)
    if v <= 0.0:
        return -1.0
    v = v * v * v
    if u < 1.0 - 0.0331 * z * z * z * z or np.log(u) < 0.5 * z * z + d - d * v + d * np.log(v):
        return d * v
    return -1.0


# ------------------------------------------------------------------------------------------ simulated learners


@intrinsic
def _bits_to_float(_context, _word):
    """Reinterpret the bits of an int32 as float32."""

    def codegen(_ctx, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@njit(inline="always")
def saturated(logit):
    """A logit cut so that its exponential, and the exponential's inverse, are normal float32 numbers."""
    return min(max(logit, -LARGEST_LOGIT), LARGEST_LOGIT)


@njit(inline="always")
def _exp32(x):
    """e^x in float32, relative error below 2e-7: 2^k by its exponent bits times a degree-6 polynomial (Cephes)."""
    x = x if x < f32(80) else f32(80)
    x = x if x > f32(-80) else f32(-80)
    k = np.floor(x * f32(1.44269504) + f32(0.5))
    r = x - k * f32(0.693359375) - k * f32(-2.12194440e-4)  # x - k ln 2, ln 2 in two parts
    y = f32(1.9875691500e-4)
    y = y * r + f32(1.3981999507e-3)
    y = y * r + f32(8.3334519073e-3)
    y = y * r + f32(4.1665795894e-2)
    y = y * r + f32(1.6666665459e-1)
    y = y * r + f32(5.0000001201e-1)
    y = y * r * r + r + f32(1)
    return y * _bits_to_float((i32(k) + i32(127)) << i32(23))


@njit(inline="always")
def _ability(a, theta):
    """xi = e^(-a theta), finite."""
    return f32(np.exp(saturated(-a * theta)))


@njit(inline="always")
def _respond(items, offset, a, floor, ceiling, p):
    """p[i], delta_i xi before, becomes floor + (ceiling - floor) sigma(a (theta + offset_i - b_i)) for a lane's items.

    In Rasch's multiplicative form, sigma = 1 / (1 + delta_i xi_i) with delta = e^(a b) and xi = e^(-a (theta +
    offset)): difficulties do not change, so their exponential is looked up. `saturated` keeps all factors finite.
    """
    if offset.size:
        for i in range(items.size):
            p[i] = p[i] * _exp32(f32(-a * offset[u64(items[i])]))
    low, span = f32(floor), f32(ceiling - floor)
    for i in range(items.size):
        p[i] = low + span / (f32(1) + p[i])


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def success(items, delta, row, offset, theta, a, floor, ceiling, out):
    """out (R, B): true success probabilities of the items (R, B), or of the same items (1, B) in every lane."""
    for r in range(out.shape[0]):
        mine, p, of_item = items[r % items.shape[0]], out[r], delta[row[r]]
        xi = _ability(a[r], theta[r])
        for i in range(mine.size):
            p[i] = xi * of_item[u64(mine[i])]
        _respond(mine, offset[r], a[r], floor[r], ceiling[r], p)


@njit(nogil=True, cache=True)
def slice_means(p, starts, counts, out):
    """out (R, S) = mean of p (R, E) over counts[s] entries from starts[s] on; NaN where there are none."""
    for r in range(p.shape[0]):
        for s in range(len(starts)):
            total = 0.0
            for x in p[r, starts[s] : starts[s] + counts[s]]:
                total += x
            out[r, s] = total / counts[s] if counts[s] else np.nan


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def attempt(items, counts, packed, row, offset, theta, a, floor, ceiling, keys, role, clock, chance, rewards, tokens):
    """chance (R, B) = success probabilities; rewards (R, B, G) = [U < chance], U = entry slot * G + rollout of the
    stream (seed, role, clock). counts (R, B): rollouts of each group, 0 from there on; (0, 0) if all have G.
    packed (U, I): words with the bits of delta below and an item's tokens above, so that one look-up gives both.
    tokens (R,) += those spent. False, with the rest undone, at a lane with a position outside the pool."""
    lanes, batch, group = rewards.shape
    blocks = np.empty(((batch * group + 3) // 4, 4), np.float32)
    u = blocks.reshape(blocks.size)[: batch * group].reshape(batch, group)
    words, size = np.empty(batch, np.uint64), u64(packed.shape[1])
    for r in range(lanes):
        mine, p, of_item = items[r], chance[r], packed[row[r]]
        bad = 0
        for i in range(batch):
            bad += i64(u64(mine[i]) >= size)
        if bad:
            return False
        for i in range(batch):
            words[i] = of_item[u64(mine[i])]
        xi, spent = _ability(a[r], theta[r]), i64(0)
        for i in range(batch):
            p[i] = xi * _bits_to_float(i32(words[i] & _LOW32))
        if counts.size:
            for i in range(batch):
                spent += i64(words[i] >> _SHIFT32) * counts[r, i]
        else:
            for i in range(batch):
                spent += i64(words[i] >> _SHIFT32)
            spent *= group
        tokens[r] += spent
        _respond(mine, offset[r], a[r], floor[r], ceiling[r], p)
        if _other_seed(keys, r):
            _unit_row(keys[r], role, clock, blocks)
        _compare(u, p, counts, r, rewards[r])
    return True


@njit(nogil=True, cache=True)
def draw_rewards(items, counts, length, chance, keys, role, clock, rewards, tokens):
    """The same for success probabilities chance (R, B) that are known already; positions are not checked."""
    lanes, batch, group = rewards.shape
    blocks = np.empty(((batch * group + 3) // 4, 4), np.float32)
    u = blocks.reshape(blocks.size)[: batch * group].reshape(batch, group)
    for r in range(lanes):
        tokens[r] += _spent(items, counts, length, r, group)
        if _other_seed(keys, r):
            _unit_row(keys[r], role, clock, blocks)
        _compare(u, chance[r], counts, r, rewards[r])


@njit(inline="always")
def _spent(items, counts, length, r, group):
    """Tokens of a lane's attempts."""
    total = i64(0)
    if counts.size:
        for i in range(items.shape[1]):
            total += length[u64(items[r, i])] * counts[r, i]
        return total
    for i in range(items.shape[1]):
        total += length[u64(items[r, i])]
    return total * group


@njit(inline="always")
def _compare(u, p, counts, r, out):
    """out (B, G) = [u < p], 0 from counts[r] on."""
    batch, group = out.shape
    if group == 1:  # a loop of its own, which vectorises over the batch
        for i in range(batch):
            out[i, 0] = f32(1) if u[i, 0] < p[i] else f32(0)
    else:
        for i in range(batch):
            for g in range(group):
                out[i, g] = f32(1) if u[i, g] < p[i] else f32(0)
    if counts.size:
        for i in range(batch):
            out[i, counts[r, i] :] = f32(0)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def item_signals(rewards, counts, admitted, chance, floor, ceiling, table, uses_p, power, out, weight, mean, hits):
    """Each group's effective signal, (v / reference)^gamma times the skill's share D of the reward gradient.

    v = table[r, 0, k] + table[r, 1, k] p + table[r, 2, k] p^2, already divided by the reference; k = successes,
    p = chance (R, B). Where signals do not depend on p (uses_p False) the table holds v^gamma itself. Where groups
    have `counts` (R, B) rollouts of their own, the table's last axis is n (G + 1) + k, else counts is (0, 0).
    out (R, B): signals, 0 where not admitted; (0, B) if only their means are wanted. weight (R,): 1 / number of
    admitted groups, 0 if none. mean (R,): mean signal over these. hits (R,): successes of the lane. Returns False
    if a reward is neither 0 nor 1.
    """
    lanes, batch, group = rewards.shape
    k = np.empty(batch, np.int32)
    scratch = np.empty(batch, np.float32)
    for r in range(lanes):
        p = chance[r]
        shaped = floor[r] > 0.0 or ceiling[r] < 1.0
        signal = out[r] if out.shape[0] else scratch
        c0, c1, c2 = table[r, 0], table[r, 1], table[r, 2]
        bad, total = i32(0), f32(0)
        if group == 1 and not counts.size:  # one rollout: a choice between two polynomials, without look-ups
            flat = rewards[r].reshape(batch)
            wrong0, wrong1, wrong2, right0, right1, right2 = c0[0], c1[0], c2[0], c0[1], c1[1], c2[1]
            for i in range(batch):
                right = flat[i] == f32(1)
                bad += i32(not right) & i32(flat[i] != f32(0))
                total += flat[i]
                x0, x1, x2 = (right0 if right else wrong0), (right1 if right else wrong1), (right2 if right else wrong2)
                v = x0 + p[i] * (x1 + p[i] * x2)
                signal[i] = v if v > f32(0) else f32(0)
        else:
            flat = rewards[r].reshape(batch * group)
            for i in range(flat.size):
                bad += i32(flat[i] != f32(0)) & i32(flat[i] != f32(1))
                total += flat[i]
            if bad:
                return False  # before the sums of such rewards are used to look anything up
            for i in range(batch):
                successes = f32(0)
                for g in range(group):
                    successes += rewards[r, i, g]
                k[i] = i32(successes)
            if counts.size:
                for i in range(batch):
                    k[i] += i32(counts[r, i] * (group + 1))
            if uses_p:
                for i in range(batch):
                    j = u64(k[i])
                    v = c0[j] + p[i] * (c1[j] + p[i] * c2[j])
                    signal[i] = v if v > f32(0) else f32(0)
            else:
                for i in range(batch):
                    signal[i] = c0[u64(k[i])]
        if bad:
            return False
        hits[r] = i64(total)
        if uses_p and power[r] == 0.5:
            for i in range(batch):
                signal[i] = np.sqrt(signal[i])
        elif uses_p and power[r] != 1.0:
            for i in range(batch):
                signal[i] = f32(f64(signal[i]) ** power[r])
        if shaped:
            low, span = f32(floor[r]), f32(ceiling[r] - floor[r])
            for i in range(batch):
                share = (p[i] - low) / span
                spread = p[i] * (f32(1) - p[i])
                signal[i] = signal[i] * span * share * (f32(1) - share) / spread if spread > f32(0) else f32(0)
        count = batch
        if admitted.size:
            count = 0
            for i in range(batch):
                count += i64(admitted[r, i])
                signal[i] = signal[i] if admitted[r, i] else f32(0)
        weight[r] = 1.0 / count if count else 0.0
        strength = 0.0
        for i in range(batch):
            strength += signal[i]
        mean[r] = weight[r] * strength
    return True


@njit(nogil=True, cache=True)
def spread_transfer(
    items, signals, gain_self, gain_near, gain_topic,
    decay, topic_decay, decay_row, rank, by_rank, topic, row, forgetting, offset,
):
    """One step of the per-item skill offsets (R, J), in place.

    offset_j <- (1 - forgetting) offset_j + gain_self sum_{i = j} S_i + gain_near sum_i exp(-|b_i - b_j| / l) S_i
                + gain_topic sum of the same over the items i of the topic of j.
    The exponential kernel over sorted b is two running sums, one up and one down: decay[j] is the kernel between
    neighbours of rank j - 1 and j, so the cost is O(J), not O(B J). With topics, one more of each per topic:
    topic_decay[j] is the kernel between rank j and the next rank below of the same topic, topic (U, J) that of each
    rank; (0, 0) without topics.
    """
    width = offset.shape[1]
    source = np.zeros(width)
    up = np.zeros(width)
    own = np.zeros(topic.max() + 1 if topic.size else 0)
    for r in range(items.shape[0]):
        z = offset[r]
        if forgetting[r] != 0.0:
            keep = 1.0 - forgetting[r]
            for j in range(width):
                z[j] *= keep
        if gain_self[r] != 0.0:
            for i in range(items.shape[1]):
                z[items[r, i]] += gain_self[r] * signals[r, i]
        near, same = gain_near[r], gain_topic[r]
        if near == 0.0 and same == 0.0:
            continue
        d = decay[decay_row[r]]
        place, back = rank[row[r]], by_rank[row[r]]
        source[:] = 0.0
        for i in range(items.shape[1]):
            source[place[items[r, i]]] += signals[r, i]
        rising, falling = 0.0, 0.0
        if same == 0.0:
            for j in range(width):  # both directions in one loop: their chains of additions overlap
                rising = rising * d[j] + source[j]
                up[j] = rising
            for j in range(width - 1, -1, -1):
                z[back[j]] += near * (up[j] + falling)
                falling = (falling + source[j]) * d[j]
        else:
            e = topic_decay[decay_row[r]]
            of = topic[row[r]]
            own[:] = 0.0
            for j in range(width):
                k = of[j]
                rising = rising * d[j] + source[j]
                own[k] = own[k] * e[j] + source[j]
                up[j] = near * rising + same * own[k]
            own[:] = 0.0
            for j in range(width - 1, -1, -1):
                k = of[j]
                z[back[j]] += up[j] + near * falling + same * own[k]
                falling = (falling + source[j]) * d[j]
                own[k] = (own[k] + source[j]) * e[j]


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def skill_success(items, delta, row, skill, theta, out):
    """out (R, B) = sigma(theta_k - b_i), k = skill[i], in the multiplicative form of `_respond` and to its bits.

    items (R, B), or the same (1, B) in every lane; delta = e^b (U, J); skill (J,); theta (R, K).
    """
    xi = np.empty(theta.shape[1], np.float32)
    for r in range(out.shape[0]):
        mine, d, p = items[r % items.shape[0]], delta[row[r]], out[r]
        for k in range(xi.size):
            xi[k] = f32(np.exp(saturated(-theta[r, k])))
        for i in range(p.size):
            j = u64(mine[i])
            p[i] = xi[u64(skill[j])] * d[j]
        for i in range(p.size):
            p[i] = f32(1) / (f32(1) + p[i])


@njit(nogil=True, cache=True)
def look_up(items, group, row, table, out):
    """out (R, B) = table[r, group of the item], table (R, K), group (U, J); 0 where the group is -1."""
    for r in range(out.shape[0]):
        mine, of = items[r % items.shape[0]], group[row[r]]
        for i in range(out.shape[1]):
            k = of[u64(mine[i])]
            out[r, i] = f32(table[r, max(k, 0)]) if k >= 0 else f32(0)


@njit(nogil=True, cache=True)
def sum_signals(items, signals, group, row, out):
    """out (R, K) = sum of the signals (R, B) over the items of each group, group (U, J); those of -1 are left out."""
    out[:] = 0.0
    for r in range(items.shape[0]):
        of = group[row[r]]
        for i in range(items.shape[1]):
            k = of[u64(items[r, i])]
            if k >= 0:
                out[r, k] += signals[r, i]


@njit(nogil=True, cache=True)
def chain_logs(eta, longest, out):
    """out (R, K longest): log success of chains, entry c longest + L - 1 for L steps of kinds c, c + 1, ... mod K.

    eta (R, K): log-odds that a step of each kind succeeds.
    """
    kinds = eta.shape[1]
    step = np.empty(kinds)
    for r in range(eta.shape[0]):
        for k in range(kinds):
            step[k] = -np.log1p(np.exp(saturated(-eta[r, k])))
        for c in range(kinds):
            total = 0.0
            for j in range(longest):
                total += step[(c + j) % kinds]
                out[r, c * longest + j] = total


@njit(nogil=True, cache=True)
def chain_gain(total, logs, eta, longest, out):
    """out (R, K) = sum over chains of their total signal (R, K longest) x m_k (1 - s_k) / (1 - p).

    m_k of a chain's steps are of kind k, s_k = sigma(eta_k), p = e^logs is the chain's success.
    """
    kinds = eta.shape[1]
    for r in range(eta.shape[0]):
        out[r, :] = 0.0
        for c in range(kinds):
            for j in range(longest):
                signal = total[r, c * longest + j]
                if signal != 0.0:
                    signal /= -np.expm1(logs[r, c * longest + j])
                    for i in range(j + 1):
                        out[r, (c + i) % kinds] += signal
        for k in range(kinds):
            out[r, k] /= 1.0 + np.exp(saturated(eta[r, k]))


@njit(nogil=True, cache=True)
def answer_success(items, steps, length, solvable, row, log_right, out):
    """out (R, B) = e^(sum of log_right (R, C) over the contexts of the item's steps), 0 for items not solvable.

    steps (U, J, L) contexts, length (U, J) how many of them count, solvable (U, J).
    """
    for r in range(out.shape[0]):
        mine, u = items[r % items.shape[0]], row[r]
        for i in range(out.shape[1]):
            j = u64(mine[i])
            total = 0.0
            for t in range(length[u, j]):
                total += log_right[r, steps[u, j, t]]
            out[r, i] = f32(np.exp(total)) if solvable[u, j] else f32(0)


@njit(inline="always")
def _unit_block(block, turn, step, role, key, out):
    a, b, c, d = _philox(u64(block), u64(turn), u64(step), u64(role), key)
    out[0], out[1], out[2], out[3] = _unit32(a), _unit32(b), _unit32(c), _unit32(d)


@njit(nogil=True, cache=True)
def answer_weights(
    items, rewards, counts, up, down, steps, length, solvable, row, prob, right, missed, passed, keys, role, update, out
):
    """out (R, C, V) = sum of advantages over the tokens of the answers behind the rewards (R, B, G), by context.

    Given its reward an answer is right with its posterior probability, 1 or 0 if the verifier makes no errors; then its
    tokens are the right ones. The tokens of a wrong one are drawn from prob (R, C, V): where the first error is, which
    it is, and freely from there on. up, down (R, B): advantages of a success and of a failure; where both are 0,
    nothing is drawn. right (C,): the right tokens. missed, passed (R,): verifier errors. counts (R, B): rollouts of
    each group, (0, 0) if all have G.
    Uniforms: of the stream (seed, role, (update, item)), so that the order of items does not matter; entry 0: right or
    not, 1: where the first error is, 2 + t: the token of step t; groups of one item follow each other.
    """
    lanes, batch, group = rewards.shape
    tokens, longest = prob.shape[2], steps.shape[2]
    blocks = (longest + 5) // 4  # of four uniforms, for each rollout
    wrong, slip, stay = np.empty(longest + 1), np.empty(longest), np.empty(longest)
    errs = np.empty(prob.shape[1])
    before = np.empty(longest + 1)  # advantages of answers that are right up to there
    u = np.empty((blocks, 4), np.float32)
    luck = u.reshape(4 * blocks)
    earlier = np.zeros(steps.shape[1], np.int32)  # groups of each item so far
    out[:] = 0.0
    for r in range(lanes):
        chances, sums = prob[r], out[r]
        for c in range(errs.size):  # what is left to the wrong tokens; 1 - prob would lose digits
            errs[c] = 0.0
            for v in range(tokens):
                errs[c] += f64(chances[c, v]) if v != right[c] else 0.0
        imperfect = missed[r] > 0.0 or passed[r] > 0.0
        for i in range(batch):
            j = u64(items[r, i])
            first = u64(earlier[j]) * u64(group * blocks)
            earlier[j] += 1
            if up[r, i] == 0.0 and down[r, i] == 0.0:
                continue
            asked, many = steps[row[r], j], i64(length[row[r], j])
            can = solvable[row[r], j]
            wrong[many], before[many] = 0.0, 0.0
            for t in range(many - 1, -1, -1):  # wrong[t]: chance that not all tokens from t on are right
                c = u64(asked[t])
                stay[t], slip[t] = f64(chances[c, u64(right[c])]), errs[c]
                wrong[t] = slip[t] + stay[t] * wrong[t + 1]
                before[t] = 0.0
            for g in range(counts[r, i] if counts.size else group):
                rewarded = rewards[r, i, g] > 0
                advantage = up[r, i] if rewarded else down[r, i]
                if advantage == 0.0:
                    continue
                if rewarded and can and not imperfect:
                    before[many] += advantage
                    continue
                start = first + u64(g * blocks)
                _unit_block(start, j, update, role, keys[r], u[0])
                if imperfect or not can:
                    hit, false = (1.0 - missed[r], passed[r]) if rewarded else (missed[r], 1.0 - passed[r])
                    hit = (hit if can else false) * (1.0 - wrong[0])
                    if luck[0] * (hit + false * wrong[0]) < hit:
                        before[many] += advantage
                        continue
                error, left, reach = 0, luck[1] * wrong[0], 1.0
                for t in range(many):
                    if reach * slip[t] > 0.0:
                        error = t
                        left -= reach * slip[t]
                        if left < 0.0:
                            break
                    reach *= stay[t]
                before[error] += advantage
                for block in range(max((error + 2) // 4, 1), (many + 5) // 4):
                    _unit_block(start + u64(block), j, update, role, keys[r], u[block])
                for t in range(error, many):
                    c = u64(asked[t])
                    mine, y, given = chances[c], right[c], sums[c]
                    left = f64(luck[t + 2]) * (slip[t] if t == error else 1.0)
                    if t > error and left < f64(mine[u64(y)]):  # the likeliest
                        given[u64(y)] += advantage
                        continue
                    left -= f64(mine[u64(y)]) if t > error else 0.0
                    token = y
                    for v in range(tokens):
                        if v != y and mine[u64(v)] > 0:
                            token = v
                            left -= f64(mine[u64(v)])
                            if left < 0.0:
                                break
                    given[u64(token)] += advantage
            total = 0.0
            for t in range(many - 1, -1, -1):
                total += before[t + 1]
                if total != 0.0:
                    sums[asked[t], right[asked[t]]] += total
        for i in range(batch):
            earlier[u64(items[r, i])] = 0
