"""A batch and its rewards: checks of positions, statistics of rewards, sums by item."""

from __future__ import annotations

import numpy as np

from workbench.kernels.compiling import Array, compiled, f32, f64, i64, u64


@compiled
def positions_valid(items: Array, size: int) -> bool:
    """Whether all positions are in [0, size)."""
    flat = items.ravel()
    bad = 0
    for i in range(flat.size):
        bad += i64(flat[i] < 0) | i64(flat[i] >= size)
    return bad == 0


@compiled
def watch(items: Array, difficulty: Array, seen: Array, total: Array) -> bool:
    """Set each item's bit in seen (R, ceil(I / 64)); total (R,) = sum of the batch's difficulties, whole numbers.

    False at a lane with a position outside the pool, which a faulty rule may give; later lanes are then not updated.
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


@compiled
def add_known(total: Array, count: Array, values: Array) -> None:
    """total, count (K, R) += values (K, R) and 1, where these are numbers."""
    for k in range(values.shape[0]):
        for r in range(values.shape[1]):
            if not np.isnan(values[k, r]):
                total[k, r] += values[k, r]
                count[k, r] += 1.0


@compiled
def repeats(items: Array, before: Array, size: int) -> Array:
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


@compiled(fastmath={"reassoc", "nsz"})
def reward_stats(rewards: Array, counts: Array, mean: Array, silent: Array) -> bool:
    """Mean reward and share of all-equal groups per lane of rewards (R, B, G); False if one is not in [0, 1].

    counts (R, B): rollouts of each group, (0, 0) if all have G. Groups of one are left out of the share; mean and share
    are NaN where there is nothing to average.
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


@compiled
def group_moments(rewards: Array, counts: Array, total: Array, mean: Array, std: Array) -> None:
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


@compiled
def absolute_advantage(rewards: Array, counts: Array, mean: Array, scale: Array, out: Array) -> None:
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


@compiled
def add_to(total: Array, items: Array, values: Array) -> None:
    """total[r, items[r, i]] += values[r, i], in place, one after another: an item may come twice."""
    for r in range(items.shape[0]):
        for i in range(items.shape[1]):
            total[r, items[r, i]] += values[r, i]


@compiled
def add_rates(rate: Array, rollouts: Array, items: Array, means: Array, counts: Array) -> None:
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
