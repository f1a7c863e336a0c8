"""The likelihood of a log given what a law adds to each group's logit, with the items' difficulties integrated out.

    z_it = zeta_it + u_it,    p_it = floor + (ceiling - floor) sigma(z_it)
    k_it ~ BetaBinomial(n_it, p_it, rho)                                       (workbench.kernels.binomial)
    u_i0 ~ Normal(0, spread^2),    u_i,t+1 = u_it + Normal(0, drift^2)

zeta is the logit that a learning law gives the item before the update (calibration.replay); u is what the label of the
item leaves open, the same in all runs at the start. u lives on a grid, so a backward pass over an item's groups sums it
out (a hidden Markov model); the drift is a walk to neighbouring grid points with the variance of the normal. Against a
fine grid, logs with 16 attempts per group or fewer err by about .001 nats per item, .03 at most; those with 128
attempts of hardly any correlation, which tell u more closely than the grid is fine, by .3 at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workbench.calibration.log import Counts, Log
from workbench.kernels.compiling import Array, compiled, inlined

Floats = NDArray[np.float64]
STEP = 0.25  # logits between grid points
GRID = STEP * (np.arange(63) - 31.0)  # (U,), within 8 logits of the label
FINE = 10  # parts of a grid step between which chances are interpolated
FURTHEST = 20.0  # logits: zeta beyond this counts as this, all chances being 0 or 1 there
LONGEST = int(2 * FURTHEST / STEP) + len(GRID) + 1  # grid steps from the lowest z to the highest
RARELY = 4  # groups after which a pass is scaled, lest it underflow
TINY = 1e-300
UNMOVED = 1e-6  # variance of a walk, grid steps squared, that is not walked
WIDEST = 64.0  # the most that is walked at once: two logits
NARROW = 0.6 * STEP  # spread below which a normal's values on the grid have too small a variance


@dataclass(frozen=True)
class Observation:
    """The nuisance parameters, (D,) each: correlation rho of a group's attempts; spread and drift of u, logits; floor
    and ceiling of the response curve."""

    rho: Floats
    spread: Floats
    drift: Floats
    floor: Floats
    ceiling: Floats


@dataclass(frozen=True)
class Groups:
    """The groups of a log, sorted by item, run and update, as the passes take them."""

    log: Log | Counts

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """(N,) rows of the log in this order."""
        return np.lexsort((self.log.step, self.log.run, self.log.item))

    @cached_property
    def items(self) -> NDArray[np.int64]:
        """(J,) the items that were tried."""
        return np.unique(self.log.item)

    @cached_property
    def start(self) -> NDArray[np.int64]:
        """(J + 1,) where each of these items begins."""
        return np.searchsorted(self.log.item[self.order], np.append(self.items, self.items[-1] + 1)).astype(np.int64)

    @cached_property
    def since(self) -> NDArray[np.int64]:
        """(N,) updates since the item's group before, or since the start of the run: the drift between."""
        item, run, step = (values[self.order] for values in (self.log.item, self.log.run, self.log.step))
        same = np.zeros(len(step), bool)
        same[1:] = (item[1:] == item[:-1]) & (run[1:] == run[:-1])
        before = np.where(same, np.roll(step, 1), 1)
        return np.asarray(step - before)

    @cached_property
    def first(self) -> NDArray[np.bool_]:
        """(N,) whether a group is the item's first in its run."""
        item, run = (values[self.order] for values in (self.log.item, self.log.run))
        new = np.ones(len(item), bool)
        new[1:] = (item[1:] != item[:-1]) | (run[1:] != run[:-1])
        return new

    @cached_property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The distinct counts, (P, 2) attempts and successes by attempts, and (N,) which of them each group has."""
        pairs = self.log.attempts[self.order] * (int(self.log.attempts.max()) + 1) + self.log.successes[self.order]
        distinct, which = np.unique(pairs, return_inverse=True)
        base = int(self.log.attempts.max()) + 1
        return np.stack([distinct // base, distinct % base], axis=1), which.astype(np.int64)


def log_evidence(groups: Groups, zeta: Floats, given: Observation, until: int) -> Floats:
    """(D, J) log likelihood of each item's groups up to update `until`.

    zeta: (D, N) in the order of the log.
    """
    pairs, which = groups.counts
    out = np.empty((len(zeta), len(groups.items)))
    kept = groups.log.step[groups.order] <= until
    backward(np.ascontiguousarray(zeta[:, groups.order]), groups.start, groups.since, groups.first, kept, pairs, which,
             given.rho, given.spread, given.drift, given.floor, given.ceiling, out)  # fmt: skip
    return out


def draw_last(groups: Groups, zeta: Floats, given: Observation, run: int, uniform: Floats) -> Floats:
    """(D, J) a draw of u at the end of a run, or at the start (run -1), given all groups. uniform: (D, J) in [0, 1)."""
    pairs, which = groups.counts
    out = np.empty((len(zeta), len(groups.items)), np.int64)
    mine = groups.log.run[groups.order] == run
    last = int(groups.log.step[groups.log.run == run].max(initial=0))
    forward(np.ascontiguousarray(zeta[:, groups.order]), groups.start, groups.since, groups.first, mine,
            groups.log.step[groups.order], last, pairs, which, given.rho, given.spread, given.drift, given.floor,
            given.ceiling, uniform, out)  # fmt: skip
    return np.asarray(GRID[out])


# -------------------------------------------------------------------------------------------------- compiled loops


@inlined
def _place(zeta: float) -> float:
    """The column of a table, and the part of the way to the next, of the grid's first point at a logit zeta."""
    return (min(max(zeta, -FURTHEST), FURTHEST) + FURTHEST) / STEP


@inlined
def _table(pairs: Array, zeta: Array, rho: float, floor: float, ceiling: float, out: Array) -> None:
    """out (P, FINE, LONGEST): chances of the counts at the logits -FURTHEST + GRID[0] + STEP (j + f / FINE).

    Without the binomial coefficient, which no parameter changes, and only of the columns that the logits zeta need.
    """
    phi = rho / (1 - rho)
    columns = range(int(_place(zeta.min())), int(_place(zeta.max())) + len(GRID) + 1)
    for f in range(FINE):
        for j in columns:
            z = GRID[0] - FURTHEST + STEP * (j + f / FINE)
            p = floor + (ceiling - floor) / (1 + np.exp(-z))
            p = min(max(p, 1e-9), 1 - 1e-9)
            done, mass, k = 0, 0.0, 0
            for at in range(len(pairs)):
                n, want = pairs[at, 0], pairs[at, 1]
                if n != done:
                    done, mass, k = n, 0.0, 0
                    for i in range(n):
                        mass += np.log((1 - p + i * phi) / (1 + i * phi))
                while k < want:
                    mass += np.log((p + k * phi) / (1 - p + (n - k - 1) * phi))
                    k += 1
                out[at, f, j] = np.exp(mass)


@inlined
def _drift(f: Array, other: Array, variance: float) -> None:
    """f after a walk of that variance, in grid steps squared, at most WIDEST; the ends reflect."""
    variance = min(variance, WIDEST)
    times = int(np.ceil(2 * variance))
    half = variance / times / 2 if times else 0.0
    last = f.size - 1
    for _ in range(times):
        for u in range(1, last):
            other[u] = f[u] + half * (f[u - 1] - 2 * f[u] + f[u + 1])
        other[0] = f[0] + half * (f[1] - f[0])
        other[last] = f[last] + half * (f[last - 1] - f[last])
        for u in range(len(f)):
            f[u] = other[u]


@inlined
def _emit(f: Array, table: Array, zeta: float) -> None:
    """f times the chance of a count at zeta + u."""
    place = _place(zeta)
    j = int(place)
    part = (place - j) * FINE
    low = int(part)
    part -= low
    below = table[low, j : j + f.size]
    above = table[low + 1, j : j + f.size] if low + 1 < FINE else table[0, j + 1 : j + 1 + f.size]
    for u in range(f.size):
        f[u] *= below[u] + part * (above[u] - below[u])


@inlined
def _normal(spread: float, out: Array) -> None:
    """The chances of a normal of this spread on the grid: three points with its variance where it is NARROW."""
    if spread < NARROW:
        out[:] = 0.0
        middle, beside = out.size // 2, 0.5 * (spread / STEP) ** 2
        out[middle - 1] = out[middle + 1] = beside
        out[middle] = 1 - 2 * beside
        return
    total = 0.0
    for u in range(len(out)):
        out[u] = np.exp(-0.5 * (GRID[u] / spread) ** 2)
        total += out[u]
    for u in range(len(out)):
        out[u] /= total


@inlined
def _scaled(f: Array) -> float:
    """f divided by its sum; the log of that."""
    total = TINY
    for u in range(f.size):
        total += f[u]
    for u in range(f.size):
        f[u] /= total
    return float(np.log(total))


@compiled(error_model="numpy", fastmath={"reassoc"})
def backward(
    zeta: Array,
    start: Array,
    since: Array,
    first: Array,
    kept: Array,
    pairs: Array,
    which: Array,
    rho: Array,
    spread: Array,
    drift: Array,
    floor: Array,
    ceiling: Array,
    out: Array,
) -> None:
    """out (D, J): log of the sum over u_0 of its prior times the chance of the kept groups given u_0."""
    size = len(GRID)
    f, other, both, prior = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    table = np.empty((len(pairs), FINE, LONGEST))
    for d in range(len(out)):
        _table(pairs, zeta[d], rho[d], floor[d], ceiling[d], table)
        _normal(spread[d], prior)
        walk = (drift[d] / STEP) ** 2
        for i in range(len(start) - 1):
            both[:] = prior
            f[:] = 1.0
            scale, unscaled, flat = 0.0, 0, True  # flat: f is 1 everywhere, which no walk changes
            for g in range(start[i + 1] - 1, start[i] - 1, -1):
                if kept[g]:
                    _emit(f, table[which[g]], zeta[d, g])
                    unscaled += 1
                    flat = False
                    if unscaled == RARELY:
                        scale += _scaled(f)
                        unscaled = 0
                if walk * since[g] > UNMOVED and not flat:
                    _drift(f, other, walk * since[g])
                if first[g]:
                    for u in range(size):
                        both[u] *= f[u]
                        f[u] = 1.0
                    flat = True
                    if g > start[i]:  # another run follows
                        scale += _scaled(both)
                    unscaled = 0
            out[d, i] = scale + _scaled(both)


@compiled(error_model="numpy")
def forward(
    zeta: Array,
    start: Array,
    since: Array,
    first: Array,
    mine: Array,
    step: Array,
    last: int,
    pairs: Array,
    which: Array,
    rho: Array,
    spread: Array,
    drift: Array,
    floor: Array,
    ceiling: Array,
    uniform: Array,
    out: Array,
) -> None:
    """out (D, J): a grid point of u at update `last` of the run whose groups are `mine`, drawn given all groups."""
    size = len(GRID)
    f, other, both, prior = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    table = np.empty((len(pairs), FINE, LONGEST))
    for d in range(len(out)):
        _table(pairs, zeta[d], rho[d], floor[d], ceiling[d], table)
        _normal(spread[d], prior)
        walk = (drift[d] / STEP) ** 2
        for i in range(len(start) - 1):
            both[:] = prior
            f[:] = 1.0
            for g in range(start[i + 1] - 1, start[i] - 1, -1):  # what the other runs say of u at the start
                if mine[g]:
                    continue
                _emit(f, table[which[g]], zeta[d, g])
                _drift(f, other, walk * since[g])
                _scaled(f)
                if first[g]:
                    for u in range(size):
                        both[u] *= f[u]
                        f[u] = 1.0
                    _scaled(both)
            seen = 1
            for g in range(start[i], start[i + 1]):
                if mine[g]:
                    _drift(both, other, walk * (step[g] - seen))
                    seen = step[g]
                    _emit(both, table[which[g]], zeta[d, g])
                    _scaled(both)
            _drift(both, other, walk * (last + 1 - seen))
            left, out[d, i] = uniform[d, i] * both.sum(), size - 1
            for u in range(size):
                left -= both[u]
                if left < 0:
                    out[d, i] = u
                    break
