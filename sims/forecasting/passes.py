"""The compiled loops of real-run: passes over visits and items, and what is drawn from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.kernels.binomial import chance_of_next, chance_of_none
from workbench.kernels.compiling import Array, compiled, inlined

RARELY = 4  # visits after which a pass is scaled, lest it underflow where a law errs by many logits


@inlined
def _drift(f: Array, out: Array, half: float) -> None:
    """One step of the walk: to each neighbour with chance `half`; the ends reflect. Symmetric."""
    last = len(f) - 1
    for u in range(1, last):
        out[u] = f[u] + half * (f[u - 1] - 2 * f[u] + f[u + 1])
    out[0] = f[0] + half * (f[1] - f[0])
    out[last] = f[last] + half * (f[last - 1] - f[last])


@inlined
def _emit(f: Array, low: Array, high: Array, part: float, out: Array) -> None:
    """out = f times the chance of the count, interpolated between two rows of the table."""
    for u in range(len(f)):
        out[u] = f[u] * (low[u] + part * (high[u] - low[u]))


@inlined
def _scale(f: Array) -> Any:
    """Divide by the largest; returns it."""
    top: float = f.max()
    for u in range(len(f)):
        f[u] /= top
    return top


@compiled(error_model="numpy")
def backward(
    table: Array, counts: Array, at: Array, part: Array, column: Array, half: float, out: Array, scale: Array
) -> None:
    """out (I, U): chance of an item's counts given u at its first visit, up to the factor e^scale (I,).

    table (O, n + 1, U): chances of a count at an offset x and u. column (I,): the items' columns of x. at, part
    (T, columns): x as a row of offsets, and the part of the way to the next.
    """
    f, moved = np.empty(out.shape[1]), np.empty(out.shape[1])
    for i in range(len(out)):
        g = column[i]
        moved[:] = 1.0
        scale[i] = 0.0
        for t in range(counts.shape[1] - 1, -1, -1):
            k, a = counts[i, t], at[t, g]
            _emit(moved, table[a, k], table[a + 1, k], part[t, g], f)
            if t % RARELY == 0:
                scale[i] += np.log(_scale(f))
            if t:
                _drift(f, moved, half)
        out[i] = f


@compiled(error_model="numpy")
def draw_last(
    table: Array, counts: Array, at: Array, part: Array, column: Array, half: float, prior: Array, uniform: Array,
    out: Array,
) -> None:
    """out (I,): a grid point of u at the last visit, drawn given all counts."""
    f, moved = np.empty(len(prior)), np.empty(len(prior))
    for i in range(len(out)):
        g = column[i]
        moved[:] = prior
        for t in range(counts.shape[1]):
            if t:
                _drift(f, moved, half)
            k, a = counts[i, t], at[t, g]
            _emit(moved, table[a, k], table[a + 1, k], part[t, g], f)
            if t % RARELY == 0:
                _scale(f)
        left, out[i] = uniform[i] * f.sum(), len(f) - 1
        for u in range(len(f)):
            left -= f[u]
            if left < 0:
                out[i] = u
                break


@compiled(error_model="numpy")
def spread(signals: Array, decay: Array, order: Array, out: Array) -> None:
    """out (D, I) = 1 / I sum_i K_ji signals_i, K the product of `decay` (D, I - 1) between neighbours in `order`."""
    size = len(order)
    for d in range(len(out)):
        near = 0.0
        for i in range(size):
            own = signals[d, order[i]]
            near = near * decay[d, i - 1] + own if i else own
            out[d, order[i]] = near
        near = 0.0
        for i in range(size - 2, -1, -1):
            near = decay[d, i] * (near + signals[d, order[i + 1]])
            out[d, order[i]] += near
        for i in range(size):
            out[d, i] /= size


@compiled(error_model="numpy")
def draw_counts(p: Array, rho: Array, n: int, uniform: Array, out: Array) -> None:
    """out (D, I): counts drawn by inversion; rho (D,)."""
    for d in range(len(out)):
        phi = rho[d] / (1 - rho[d])
        for i in range(out.shape[1]):
            q = min(max(p[d, i], 1e-9), 1 - 1e-9)
            mass, k = chance_of_none(q, phi, n), 0
            left = uniform[d, i] - mass
            while left >= 0 and k < n:
                mass = chance_of_next(mass, k, q, phi, n)
                left -= mass
                k += 1
            out[d, i] = k


@compiled(error_model="numpy")
def mean_masses(p: Array, rho: Array, n: int, out: Array) -> None:
    """out (I, n + 1): chances of each count, the mean over the draws p (D, I), rho (D,)."""
    out[:] = 0.0
    for d in range(len(p)):
        phi = rho[d] / (1 - rho[d])
        for i in range(len(out)):
            q = min(max(p[d, i], 1e-9), 1 - 1e-9)
            mass = chance_of_none(q, phi, n)
            out[i, 0] += mass / len(p)
            for k in range(n):
                mass = chance_of_next(mass, k, q, phi, n)
                out[i, k + 1] += mass / len(p)
