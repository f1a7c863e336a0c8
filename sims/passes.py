"""The compiled loops of real-run: passes over visits and items, and what is drawn from them."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(inline="always")
def _drift(f, out, half):
    """One step of the walk: to each neighbour with chance `half`; the ends reflect. Symmetric."""
    last = len(f) - 1
    for u in range(1, last):
        out[u] = f[u] + half * (f[u - 1] - 2 * f[u] + f[u + 1])
    out[0] = f[0] + half * (f[1] - f[0])
    out[last] = f[last] + half * (f[last - 1] - f[last])


@njit(inline="always")
def _emit(f, low, high, part):
    """f *= chance of the count, interpolated between two rows of the table; returns the largest."""
    top = 0.0
    for u in range(len(f)):
        f[u] *= (1 - part) * low[u] + part * high[u]
        top = max(top, f[u])
    return top


@njit(cache=True, nogil=True)
def backward(table, counts, at, part, column, half, out, scale):
    """out (I, U): chance of an item's counts given u at its first visit, up to the factor e^scale (I,).

    table (O, n + 1, U): chances of a count at an offset x and u. column (I,): the items' columns of x. at, part
    (T, columns): x as a row of offsets, and the part of the way to the next.
    """
    moved = np.empty(out.shape[1])
    for i in range(len(out)):
        f, g = out[i], column[i]
        f[:] = 1.0
        scale[i] = 0.0
        for t in range(counts.shape[1] - 1, -1, -1):
            if t < counts.shape[1] - 1:
                _drift(f, moved, half)
                f[:] = moved
            k, a = counts[i, t], at[t, g]
            top = _emit(f, table[a, k], table[a + 1, k], part[t, g])
            for u in range(len(f)):
                f[u] /= top
            scale[i] += np.log(top)


@njit(cache=True, nogil=True)
def draw_last(table, counts, at, part, column, half, prior, luck, out):
    """out (I,): a grid point of u at the last visit, drawn given all counts."""
    f, moved = np.empty(len(prior)), np.empty(len(prior))
    for i in range(len(out)):
        g = column[i]
        f[:] = prior
        for t in range(counts.shape[1]):
            if t:
                _drift(f, moved, half)
                f[:] = moved
            k, a = counts[i, t], at[t, g]
            top = _emit(f, table[a, k], table[a + 1, k], part[t, g])
            for u in range(len(f)):
                f[u] /= top
        left, out[i] = luck[i] * f.sum(), len(f) - 1
        for u in range(len(f)):
            left -= f[u]
            if left < 0:
                out[i] = u
                break


@njit(cache=True, nogil=True)
def spread(signals, decay, order, out):
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


@njit(inline="always")
def _masses(p, phi, n, out):
    """out (n + 1): chances of k = 0..n successes, beta-binomial of mean p; phi = rho / (1 - rho)."""
    p = min(max(p, 1e-9), 1 - 1e-9)
    first = 1.0
    for j in range(n):
        first *= (1 - p + j * phi) / (1 + j * phi)
    out[0] = first
    for k in range(n):
        out[k + 1] = out[k] * (n - k) / (k + 1) * (p + k * phi) / (1 - p + (n - k - 1) * phi)


@njit(cache=True, nogil=True)
def draw_counts(p, rho, n, luck, out):
    """out (D, I): counts drawn by inversion; rho (D,)."""
    masses = np.empty(n + 1)
    for d in range(len(out)):
        phi = rho[d] / (1 - rho[d])
        for i in range(out.shape[1]):
            _masses(p[d, i], phi, n, masses)
            left, k = luck[d, i] - masses[0], 0
            while left >= 0 and k < n:
                k += 1
                left -= masses[k]
            out[d, i] = k


@njit(cache=True, nogil=True)
def mean_masses(p, rho, n, out):
    """out (I, n + 1): chances of each count, the mean over the draws p (D, I), rho (D,)."""
    masses = np.empty(n + 1)
    out[:] = 0.0
    for d in range(len(p)):
        phi = rho[d] / (1 - rho[d])
        for i in range(len(out)):
            _masses(p[d, i], phi, n, masses)
            for k in range(n + 1):
                out[i, k] += masses[k] / len(p)
