"""The compiled loops of real-run: counts drawn, and their chances."""

from __future__ import annotations

from workbench.kernels.binomial import chance_of_next, chance_of_none
from workbench.kernels.compiling import Array, compiled


@compiled(error_model="numpy")
def draw_counts(p: Array, rho: Array, n: Array, uniform: Array, out: Array) -> None:
    """out (D, G): counts of n (G,) attempts drawn by inversion; rho (D,)."""
    for d in range(len(out)):
        phi = rho[d] / (1 - rho[d])
        for i in range(out.shape[1]):
            q = min(max(p[d, i], 1e-9), 1 - 1e-9)
            mass, k = chance_of_none(q, phi, n[i]), 0
            left = uniform[d, i] - mass
            while left >= 0 and k < n[i]:
                mass = chance_of_next(mass, k, q, phi, n[i])
                left -= mass
                k += 1
            out[d, i] = k


@compiled(error_model="numpy")
def mean_masses(p: Array, rho: Array, n: Array, out: Array) -> None:
    """out (G, most + 1): chances of each count of n (G,) attempts, the mean over the draws p (D, G), rho (D,)."""
    out[:] = 0.0
    for d in range(len(p)):
        phi = rho[d] / (1 - rho[d])
        for i in range(len(out)):
            q = min(max(p[d, i], 1e-9), 1 - 1e-9)
            mass = chance_of_none(q, phi, n[i])
            out[i, 0] += mass / len(p)
            for k in range(n[i]):
                mass = chance_of_next(mass, k, q, phi, n[i])
                out[i, k + 1] += mass / len(p)
