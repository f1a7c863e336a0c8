"""Simulated attempts: success probabilities, rewards, signals of groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.kernels.arithmetic import bits_to_float, exp32, saturated
from workbench.kernels.compiling import Array, compiled, f32, f64, i32, i64, inlined, u64
from workbench.kernels.philox import LOW32, SHIFT32, other_seed, unit_row


@inlined
def _ability(a: float, theta: float) -> Any:
    """xi = e^(-a theta), finite."""
    return f32(np.exp(saturated(-a * theta)))


@inlined
def _respond(items: Array, offset: Array, a: float, floor: float, ceiling: float, p: Array) -> None:
    """p[i], delta_i xi before, becomes floor + (ceiling - floor) sigma(a (theta + offset_i - b_i)) for a lane's items.

    In Rasch's multiplicative form, sigma = 1 / (1 + delta_i xi_i) with delta = e^(a b) and xi = e^(-a (theta +
    offset)): difficulties do not change, so their exponential is looked up. `saturated` keeps all factors finite.
    """
    if offset.size:
        for i in range(items.size):
            p[i] = p[i] * exp32(f32(-a * offset[u64(items[i])]))
    low, span = f32(floor), f32(ceiling - floor)
    for i in range(items.size):
        p[i] = low + span / (f32(1) + p[i])


@compiled(error_model="numpy", fastmath={"contract"})
def success(
    items: Array, delta: Array, row: Array, offset: Array, theta: Array, a: Array, floor: Array, ceiling: Array,
    out: Array,
) -> None:
    """out (R, B): true success probabilities of the items (R, B), or of the same items (1, B) in every lane."""
    for r in range(out.shape[0]):
        mine, p, of_item = items[r % items.shape[0]], out[r], delta[row[r]]
        xi = _ability(a[r], theta[r])
        for i in range(mine.size):
            p[i] = xi * of_item[u64(mine[i])]
        _respond(mine, offset[r], a[r], floor[r], ceiling[r], p)


@compiled
def slice_means(p: Array, starts: Array, counts: Array, out: Array) -> None:
    """out (R, S) = mean of p (R, E) over counts[s] entries from starts[s] on; NaN where there are none."""
    for r in range(p.shape[0]):
        for s in range(len(starts)):
            total = 0.0
            for x in p[r, starts[s] : starts[s] + counts[s]]:
                total += x
            out[r, s] = total / counts[s] if counts[s] else np.nan


@compiled(error_model="numpy", fastmath={"contract"})
def attempt(
    items: Array, counts: Array, packed: Array, row: Array, offset: Array, theta: Array, a: Array, floor: Array,
    ceiling: Array, keys: Array, role: int, clock: int, chance: Array, rewards: Array, tokens: Array,
) -> bool:
    """chance (R, B) = success probabilities; rewards (R, B, G) = [U < chance], U = entry slot * G + rollout of the
    stream (seed, role, clock). counts (R, B): rollouts of each group, 0 from there on; (0, 0) if all have G.
    packed (U, I): words with the bits of delta below and an item's tokens above, so that one look-up gives both.
    tokens (R,) += those spent. False at a lane with a position outside the pool; later lanes are then not computed."""
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
            p[i] = xi * bits_to_float(i32(words[i] & LOW32))
        if counts.size:
            for i in range(batch):
                spent += i64(words[i] >> SHIFT32) * counts[r, i]
        else:
            for i in range(batch):
                spent += i64(words[i] >> SHIFT32)
            spent *= group
        tokens[r] += spent
        _respond(mine, offset[r], a[r], floor[r], ceiling[r], p)
        if other_seed(keys, r):
            unit_row(keys[r], role, clock, blocks)
        _compare(u, p, counts, r, rewards[r])
    return True


@compiled
def draw_rewards(
    items: Array, counts: Array, length: Array, chance: Array, keys: Array, role: int, clock: int, rewards: Array,
    tokens: Array,
) -> None:
    """The same for success probabilities chance (R, B) that are known already; positions are not checked."""
    lanes, batch, group = rewards.shape
    blocks = np.empty(((batch * group + 3) // 4, 4), np.float32)
    u = blocks.reshape(blocks.size)[: batch * group].reshape(batch, group)
    for r in range(lanes):
        tokens[r] += _spent(items, counts, length, r, group)
        if other_seed(keys, r):
            unit_row(keys[r], role, clock, blocks)
        _compare(u, chance[r], counts, r, rewards[r])


@inlined
def _spent(items: Array, counts: Array, length: Array, r: int, group: int) -> Any:
    """Tokens of a lane's attempts."""
    total = i64(0)
    if counts.size:
        for i in range(items.shape[1]):
            total += length[u64(items[r, i])] * counts[r, i]
        return total
    for i in range(items.shape[1]):
        total += length[u64(items[r, i])]
    return total * group


@inlined
def _compare(u: Array, p: Array, counts: Array, r: int, out: Array) -> None:
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


@compiled(error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def item_signals(
    rewards: Array, counts: Array, admitted: Array, chance: Array, floor: Array, ceiling: Array, table: Array,
    uses_p: bool, power: Array, out: Array, weight: Array, mean: Array, hits: Array,
) -> bool:
    """Each group's effective signal, (v / reference)^gamma times the skill's share D of the reward gradient.

    v = table[r, 0, k] + table[r, 1, k] p + table[r, 2, k] p^2, already divided by the reference; k = successes,
    p = chance (R, B). Where signals do not depend on p (uses_p False) the table holds v^gamma itself. Where groups
    have `counts` (R, B) rollouts of their own, the table's last axis is n (G + 1) + k; otherwise counts is (0, 0).
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


@compiled
def look_up(items: Array, group: Array, row: Array, table: Array, out: Array) -> None:
    """out (R, B) = table[r, group of the item], table (R, K), group (U, J); 0 where the group is -1."""
    for r in range(out.shape[0]):
        mine, of = items[r % items.shape[0]], group[row[r]]
        for i in range(out.shape[1]):
            k = of[u64(mine[i])]
            out[r, i] = f32(table[r, max(k, 0)]) if k >= 0 else f32(0)


@compiled
def sum_signals(items: Array, signals: Array, group: Array, row: Array, out: Array) -> None:
    """out (R, K) = sum of the signals (R, B) over the items of each group, group (U, J); those of -1 are left out."""
    out[:] = 0.0
    for r in range(items.shape[0]):
        of = group[row[r]]
        for i in range(items.shape[1]):
            k = of[u64(items[r, i])]
            if k >= 0:
                out[r, k] += signals[r, i]
