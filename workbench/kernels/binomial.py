"""Beta-binomial chances, one count after another: k successes of n attempts whose pass rates vary around p.

    P(k) = C(n, k) prod_(j<k) (p + j phi) prod_(j<n-k) (1 - p + j phi) / prod_(j<n) (1 + j phi),   phi = rho / (1 - rho)

rho is the correlation of two attempts at one item; rho = 0 gives the binomial distribution.
Source: Skellam 1948, in the parametrisation of Griffiths 1973.
"""

from __future__ import annotations

from typing import Any

from workbench.kernels.compiling import inlined


@inlined
def chance_of_none(p: Any, phi: Any, n: int) -> Any:
    """P(0): the product of (1 - p + j phi) / (1 + j phi) over j < n."""
    chance = p * 0 + 1.0
    for j in range(n):
        chance = chance * ((1 - p + j * phi) / (1 + j * phi))
    return chance


@inlined
def chance_of_next(chance: Any, k: Any, p: Any, phi: Any, n: int) -> Any:
    """P(k + 1) from P(k)."""
    return chance * (n - k) / (k + 1) * (p + k * phi) / (1 - p + (n - k - 1) * phi)
