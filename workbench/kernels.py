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
def _unit_row(key, role, step, out):
    """out (blocks, 4) = uniforms of one stream."""
    for block in range(out.shape[0]):
        a, b, c, d = _philox(u64(block), u64(0), u64(step), u64(role), key)
        out[block, 0], out[block, 1], out[block, 2], out[block, 3] = _unit32(a), _unit32(b), _unit32(c), _unit32(d)


@njit(nogil=True, cache=True)
def fill_uniforms(keys, role, step, out):
    row = np.empty(((out.shape[1] + 3) // 4, 4), np.float32)
    for r in range(out.shape[0]):
        _unit_row(keys[r], role, step, row)
        out[r] = row.reshape(row.size)[: out.shape[1]]


@njit(inline="always")
def _unit53_row(key, role, step, out):
    """out (blocks, 2) = float64 uniforms with 53 bits, two words each."""
    for block in range(out.shape[0]):
        a, b, c, d = _philox(u64(block), u64(0), u64(step), u64(role), key)
        out[block, 0] = f64(i64((a << u64(21)) ^ (b >> u64(11)))) * _TWO_M53
        out[block, 1] = f64(i64((c << u64(21)) ^ (d >> u64(11)))) * _TWO_M53


# --------------------------------------------------------------------------------------------- choosing items


@njit(nogil=True, cache=True)
def nearest(sorted_d, order, run_start, run_end, target, random_ties, keys, role, step, taken, out):
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
    for r in range(out.shape[0]):
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
            _unit53_row(keys[r], role, step, pairs[: (few + 1) // 2])
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
def repeats(items, before, size):
    """(R,) share of a batch that was also in the batch before."""
    share = np.empty(items.shape[0])
    stamp = np.full(size, -1, np.int64)
    for r in range(items.shape[0]):
        for item in before[r]:
            stamp[item] = r
        same = 0
        for item in items[r]:
            same += i64(stamp[item] == r)
        share[r] = same / items.shape[1]
    return share


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz"})
def reward_stats(rewards, mean, silent):
    """Mean reward and share of all-equal groups per lane of rewards (R, B, G); False if one is not in [0, 1]."""
    lanes, batch, group = rewards.shape
    bad = 0
    for r in range(lanes):
        flat = rewards[r].reshape(batch * group)
        total = f64(0)
        for i in range(flat.size):
            bad += 1 - i64((flat[i] >= f32(0)) & (flat[i] <= f32(1)))
            total += flat[i]
        mean[r] = total / flat.size
        silent[r] = np.nan  # a single rollout has nobody to agree with
        if group > 1:
            equal = 0
            for i in range(batch):
                same = 1
                for g in range(1, group):
                    same &= i64(rewards[r, i, g] == rewards[r, i, 0])
                equal += same
            silent[r] = equal / batch
    return bad == 0


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
def _success_row(items, delta, offset, theta, a, floor, ceiling, p):
    """p[i] = floor + (ceiling - floor) sigma(a (theta + offset_i - b_i)) for one lane's items.

    In Rasch's multiplicative form, sigma = 1 / (1 + delta_i xi_i) with delta = e^(a b) and xi = e^(-a (theta +
    offset)): difficulties do not change, so their exponential is looked up. `saturated` keeps all factors finite.
    """
    n = items.size
    xi = f32(np.exp(saturated(-a * theta)))
    for i in range(n):
        p[i] = xi * delta[u64(items[i])]
    if offset.size:
        for i in range(n):
            p[i] = p[i] * _exp32(f32(-a * offset[u64(items[i])]))
    low, span = f32(floor), f32(ceiling - floor)
    for i in range(n):
        p[i] = low + span / (f32(1) + p[i])


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def success(items, delta, row, offset, theta, a, floor, ceiling, out):
    """out (R, B): true success probabilities of the items (R, B), or of the same items (1, B) in every lane."""
    for r in range(out.shape[0]):
        _success_row(items[r % items.shape[0]], delta[row[r]], offset[r], theta[r], a[r], floor[r], ceiling[r], out[r])


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
def attempt(items, size, delta, row, offset, theta, a, floor, ceiling, keys, role, step, chance, rewards):
    """chance (R, B) = success probabilities; rewards (R, B, G) = [U < chance], U = entry slot * G + rollout of the
    stream (seed, role, step). False, with the rest undone, at a lane with a position outside the pool."""
    lanes, batch, group = rewards.shape
    blocks = np.empty(((batch * group + 3) // 4, 4), np.float32)
    u = blocks.reshape(blocks.size)[: batch * group].reshape(batch, group)
    for r in range(lanes):
        bad = 0
        for i in range(batch):
            bad += i64(u64(items[r, i]) >= u64(size))
        if bad:
            return False
        p = chance[r]
        _success_row(items[r], delta[row[r]], offset[r], theta[r], a[r], floor[r], ceiling[r], p)
        _unit_row(keys[r], role, step, blocks)
        out = rewards[r]
        if group == 1:  # a loop of its own, which vectorises over the batch
            for i in range(batch):
                out[i, 0] = f32(1) if u[i, 0] < p[i] else f32(0)
        else:
            for i in range(batch):
                for g in range(group):
                    out[i, g] = f32(1) if u[i, g] < p[i] else f32(0)
    return True


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def item_signals(rewards, admitted, chance, floor, ceiling, table, uses_p, power, out, weight, mean, hits):
    """Each group's effective signal, (v / reference)^gamma times the skill's share D of the reward gradient.

    v = table[r, 0, k] + table[r, 1, k] p + table[r, 2, k] p^2, already divided by the reference; k = successes,
    p = chance (R, B). Where signals do not depend on p (uses_p False) the table holds v^gamma itself.
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
        if group == 1:  # one rollout: a choice between two polynomials, without look-ups
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
def spread_transfer(items, signals, gain_self, gain_near, decay, decay_row, rank, by_rank, row, forgetting, offset):
    """One step of the per-item skill offsets (R, J), in place.

    offset_j <- (1 - forgetting) offset_j + gain_self sum_{i = j} S_i + gain_near sum_i exp(-|b_i - b_j| / l) S_i.
    The exponential kernel over sorted b is two running sums, one up and one down: decay[j] is the kernel between
    neighbours of rank j - 1 and j, so the cost is O(J), not O(B J).
    """
    width = offset.shape[1]
    source = np.zeros(width)
    up = np.zeros(width)
    for r in range(items.shape[0]):
        z = offset[r]
        if forgetting[r] != 0.0:
            keep = 1.0 - forgetting[r]
            for j in range(width):
                z[j] *= keep
        if gain_self[r] != 0.0:
            for i in range(items.shape[1]):
                z[items[r, i]] += gain_self[r] * signals[r, i]
        if gain_near[r] != 0.0:
            d = decay[decay_row[r]]
            place, back = rank[row[r]], by_rank[row[r]]
            source[:] = 0.0
            for i in range(items.shape[1]):
                source[place[items[r, i]]] += signals[r, i]
            rising, falling = 0.0, 0.0
            for j in range(width):  # both directions in one loop: their chains of additions overlap
                rising = rising * d[j] + source[j]
                up[j] = rising
            for j in range(width - 1, -1, -1):
                z[back[j]] += gain_near[r] * (up[j] + falling)
                falling = (falling + source[j]) * d[j]
