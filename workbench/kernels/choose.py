"""Choosing items: subsets, weighted draws, the largest scores, epochs in random order."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.kernels.arithmetic import exp32, inside
from workbench.kernels.compiling import Array, compiled, f32, i64, inlined, u64
from workbench.kernels.philox import SHIFT32, other_seed, philox, unit32, unit53_row, unit_row


@compiled
def window(order: Array, lo: Array, out: Array) -> None:
    """out[r] = the B items from rank lo[r] on."""
    for r in range(out.shape[0]):
        ranks = order[lo[r] : lo[r] + out.shape[1]]
        for i in range(out.shape[1]):
            out[r, i] = ranks[i]


@compiled
def reshuffle(deck: Array, cursor: Array, epoch: Array, size: Array, batch: int, keys: Array, role: int) -> None:
    """Start a new epoch, in place, in each lane with fewer than `batch` items left: Fisher-Yates, step = epoch."""
    pairs = np.empty((deck.shape[1] // 2 + 1, 2))
    uniform = pairs.reshape(pairs.size)
    for r in range(deck.shape[0]):
        if cursor[r] + batch <= size[r]:
            continue
        cursor[r], epoch[r] = 0, epoch[r] + 1
        row = deck[r]
        unit53_row(keys[r], role, epoch[r], pairs[: (size[r] + 1) // 2])
        for i in range(size[r] - 1, 0, -1):
            j = i64(uniform[i] * (i + 1))
            row[i], row[j] = row[j], row[i]


@inlined
def _bar(values: Array, k: int, sample: Array) -> Any:
    """A value that about 2 k + 16 of `values`, and seldom fewer than k, are at most: from a sample of them.

    It bounds the candidates for the k smallest; infinite where the sample is too small for a bound.
    """
    size, probes = values.size, sample.size
    stride = size // probes
    for j in range(probes):
        sample[j] = values[j * stride]
    rank = ((2 * k + 16) * probes) // size + 3
    if rank >= probes:
        return np.inf
    return np.partition(sample, rank)[rank]


@compiled
def top(score: Array, keys: Array, role: int, clock: int, out: Array) -> None:
    """out[r] = the B items with the largest score (R, I); items that tie for the last places are drawn at random."""
    lanes, size = score.shape
    batch = out.shape[1]
    pairs = np.empty((batch // 2 + 1, 2))
    uniform = pairs.reshape(pairs.size)
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
            bar = np.inf  # the sample's bound was too low: take all
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
            unit53_row(keys[r], role, clock, pairs[: (need + 1) // 2])
            for j in range(need):  # the first steps of a Fisher-Yates shuffle
                other = j + i64(uniform[j] * (ties - j))
                place[j], place[other] = place[other], place[j]
        for j in range(need):
            out[r, n + j] = place[j]


@compiled
def weighted(weight: Array, keys: Array, role: int, clock: int, out: Array) -> None:
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
        if other_seed(keys, r):
            unit_row(keys[r], role, clock, blocks)
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
                if u[i] <= bar * w[i] or bar == np.inf:  # e >= u: no other item can be below the bar
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


@inlined
def _waiting(u: float, w: float) -> Any:
    """e / w with e = -ln(1 - u); for w = 0 above all others, in random order."""
    e = -np.log(f32(1) - u)
    return e / w if w > f32(0) else f32(1e30) * (f32(1) + e)


@compiled
def from_arms(share: Array, order: Array, start: Array, keys: Array, role: int, clock: int, out: Array) -> None:
    """out[r] = B distinct items: each slot draws an arm from share (R, K), each arm gives a random subset.

    Arm k holds order[start[k]:start[k + 1]]. An exhausted arm is no longer drawn. Where all others have share 0, they
    are drawn in proportion to the items they have left.
    """
    lanes, arms = share.shape
    batch = out.shape[1]
    blocks = np.empty((batch, 2))
    uniform = blocks.reshape(2 * batch)  # of the slots' arms, then of the arms' items
    size, left = start[1:] - start[:-1], np.empty(arms)
    taken, picks = np.empty(arms, np.int64), np.empty(batch, np.int64)
    bits = np.zeros((size.max() >> 6) + 1, np.uint64)
    for r in range(lanes):
        if other_seed(keys, r):
            unit53_row(keys[r], role, clock, blocks)
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
                below += i64(uniform[i] * total < bound)
            below = i64(batch) if k >= last else below  # rounding may leave the last bound short of the total
            below = i64(0) if last < 0 else below
            taken[k] = min(below - before, size[k])
            excess += below - before - taken[k]
            before = below
        if excess:
            redraw(excess, left, size, taken, batch, keys[r], role, clock)
        n = 0
        for k in range(arms):
            for draw in range(few_of(size[k], taken[k], uniform[batch + n :], bits, picks)):
                out[r, n] = order[start[k] + picks[draw]]
                n += 1


@compiled(cached=False)
def redraw(excess: int, left: Array, size: Array, taken: Array, block: int, key: Any, role: int, clock: int) -> None:
    """Draw other arms for slots whose arm is exhausted, one by one, from the shares of the others (see `from_arms`)."""
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
        word = philox(u64(block + slot), u64(clock) >> SHIFT32, u64(clock), u64(role), key)[0]
        u, arm = inside(word) * total, -1
        for k in range(left.size):
            if left[k] > 0.0:
                arm = k
                if u < left[k]:
                    break
                u -= left[k]
        taken[arm] += 1
        if spent:
            left[arm] -= 1.0


@inlined
def few_of(size: int, need: int, uniform: Array, bits: Array, picks: Array) -> int:
    """picks[:need] = a uniform subset of the numbers below size (Floyd's algorithm); returns need.

    bits: scratch, all 0 before and after.
    """
    for draw in range(need):
        last = size - need + draw
        pick = i64(uniform[draw] * (last + 1))
        if (bits[u64(pick) >> u64(6)] >> (u64(pick) & u64(63))) & u64(1):
            pick = last
        bits[u64(pick) >> u64(6)] |= u64(1) << (u64(pick) & u64(63))
        picks[draw] = pick
    for draw in range(need):
        bits[u64(picks[draw]) >> u64(6)] = u64(0)
    return need


@compiled
def explore(items: Array, share: Array, size: int, keys: Array, role: int, clock: int) -> None:
    """Replace each item of a batch (R, B), in place, with probability share (R,) by one of the others of the pool.

    The new item is uniform over those that are not in the batch (after three collisions: the next free one).
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
            a, b, c, d = philox(u64(i), u64(clock) >> SHIFT32, u64(clock), u64(role), keys[r])
            if unit32(a) < share[r]:
                new = i64(0)
                for word in (b, c, d):
                    new = i64((u64(word) * u64(size)) >> SHIFT32)
                    if not (bits[new >> 6] >> u64(new & 63)) & u64(1):
                        break
                while (bits[new >> 6] >> u64(new & 63)) & u64(1):
                    new = (new + 1) % size
                bits[row[i] >> 6] ^= u64(1) << u64(row[i] & 63)
                bits[new >> 6] |= u64(1) << u64(new & 63)
                row[i] = new
        for i in range(batch):
            bits[row[i] >> 6] = u64(0)


@compiled
def put_back(deck: Array, cursor: Array, size: Array, selected: Array, items: Array) -> None:
    """Update decks, in place, after a batch `selected` (R, B) was changed to `items` (R, B), each of distinct items.

    deck (R, I), cursor (R,): deck[r, :cursor[r]] are dealt, those up to size[r] are to come. Items that left the batch
    are to come again, before all others; those that entered it count as dealt if they were still to come.
    """
    place = np.empty(deck.shape[1], np.int64)
    kept = np.zeros((deck.shape[1] >> 6) + 1, np.uint64)
    for r in range(deck.shape[0]):
        row, at = deck[r], i64(cursor[r])
        for i in range(row.size):
            place[row[i]] = i
        for i in range(items.shape[1]):
            set_bit(kept, selected[r, i])
        for i in range(items.shape[1]):  # the first to come changes places with each that entered
            here = place[items[r, i]]
            if not has_bit(kept, items[r, i]) and at <= here < size[r]:
                row[here], row[at] = row[at], row[here]
                place[row[here]], place[row[at]] = here, at
                at += 1
        clear_bits(kept, selected[r])
        for i in range(items.shape[1]):
            set_bit(kept, items[r, i])
        for i in range(items.shape[1]):  # the last dealt changes places with each that left
            here = place[selected[r, i]]
            if not has_bit(kept, selected[r, i]) and here < at:
                at -= 1
                row[here], row[at] = row[at], row[here]
                place[row[here]], place[row[at]] = here, at
        clear_bits(kept, items[r])
        cursor[r] = at


@inlined
def has_bit(bits: Array, i: int) -> Any:
    return (bits[u64(i) >> u64(6)] >> (u64(i) & u64(63))) & u64(1)


@inlined
def set_bit(bits: Array, i: int) -> None:
    bits[u64(i) >> u64(6)] |= u64(1) << (u64(i) & u64(63))


@inlined
def clear_bits(bits: Array, members: Array) -> None:
    """All bits 0 again, given that these were the ones set."""
    for i in range(members.size):
        bits[u64(members[i]) >> u64(6)] = u64(0)


@inlined
def pick(size: int, need: int, uniform: Array, bits: Array, out: Array) -> None:
    """out[:need] = distinct whole numbers below size, each subset equally likely (Floyd's algorithm).

    uniform: (need,) in [0, 1). bits: scratch, one for each number, all 0 before and after.
    """
    for i in range(need):
        last = size - need + i
        pick = i64(uniform[i] * (last + 1))
        if has_bit(bits, pick):
            pick = last
        set_bit(bits, pick)
        out[i] = pick
    clear_bits(bits, out[:need])


@compiled
def subset(size: int, keys: Array, role: int, clock: int, out: Array) -> None:
    """out[r] = B distinct whole numbers below size, each subset equally likely."""
    batch = out.shape[1]
    pairs = np.empty(((batch + 1) // 2, 2))
    uniform = pairs.reshape(pairs.size)
    bits = np.zeros((size >> 6) + 1, np.uint64)
    for r in range(out.shape[0]):
        if other_seed(keys, r):
            unit53_row(keys[r], role, clock, pairs)
        pick(size, batch, uniform, bits, out[r])


@compiled
def deal_some(
    deck: Array, cursor: Array, looked: Array, dealt: Array, kind: Array, origin: int, keep: Array, keys: Array,
    role: int, clock: int, out: Array,
) -> None:
    """Deal, in place, until out[r] is full or the deck ends: a card of kind k is kept with probability keep[r, k].

    kind (R, I) whole numbers >= -origin, keep (R, K) by kind + origin. cursor: next card of the deck; looked: cards
    turned since the batch began; dealt: cards in out[r] so far, which do not enter it twice.
    """
    bits = np.zeros((deck.shape[1] >> 6) + 1, np.uint64)
    batch, size = out.shape[1], deck.shape[1]
    for r in range(deck.shape[0]):
        row, at, turned, n = out[r], cursor[r], looked[r], dealt[r]
        for i in range(n):
            set_bit(bits, row[i])
        while n < batch and at < size:
            card = deck[r, at]
            chance = keep[r, kind[r, card] + origin]
            stays = chance >= f32(1)
            if f32(0) < chance < f32(1):
                word, _, _, _ = philox(u64(turned), u64(clock) >> SHIFT32, u64(clock), u64(role), keys[r])
                stays = unit32(word) < chance
            if stays and not has_bit(bits, card):
                set_bit(bits, card)
                row[n] = card
                n += 1
            at += 1
            turned += 1
        clear_bits(bits, row[:n])
        cursor[r], looked[r], dealt[r] = at, turned, n


@compiled
def boltzmann(value: Array, out: Array) -> None:
    """out[r] = e^(value[r] - its largest), at least e^-60."""
    for r in range(value.shape[0]):
        row, mine = value[r], out[r]
        best = row[0]
        for i in range(row.size):
            best = max(best, row[i])
        for i in range(row.size):
            mine[i] = exp32(max(row[i] - best, f32(-60)))


@compiled
def beta_draws(a: Array, b: Array, keys: Array, role: int, clock: int, out: Array) -> None:
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
                w0, w1, w2, w3 = philox(block, u64(clock) >> SHIFT32, u64(clock), u64(role), keys[r])
                block += u64(count)
                radius = np.sqrt(-2.0 * np.log(inside(w0)))
                angle = 2.0 * np.pi * inside(w1)
                if x < 0.0:
                    x = _gamma_try(a[r, c], radius * np.cos(angle), inside(w2))
                if y < 0.0:
                    y = _gamma_try(b[r, c], radius * np.sin(angle), inside(w3))
            if a[r, c] < 1.0 or b[r, c] < 1.0:
                w0, w1, w2, w3 = philox(block, u64(clock) >> SHIFT32, u64(clock), u64(role), keys[r])
                log_x = np.log(x) + (np.log(inside(w0)) / a[r, c] if a[r, c] < 1.0 else 0.0)
                log_y = np.log(y) + (np.log(inside(w1)) / b[r, c] if b[r, c] < 1.0 else 0.0)
                out[r, c] = 1.0 / (1.0 + np.exp(min(log_y - log_x, 700.0)))
            else:
                out[r, c] = x / (x + y)


@inlined
def _gamma_try(shape: float, z: float, u: float) -> Any:
    """A Gamma draw (of shape + 1 where shape < 1) from a normal z, or -1 where u rejects it."""
    d = (shape if shape >= 1.0 else shape + 1.0) - 1.0 / 3.0
    v = 1.0 + z / np.sqrt(9.0 * d)
    if v <= 0.0:
        return -1.0
    v = v * v * v
    if u < 1.0 - 0.0331 * z * z * z * z or np.log(u) < 0.5 * z * z + d - d * v + d * np.log(v):
        return d * v
    return -1.0
