"""Difficulty of items from pass counts, and the beta-binomial law of counts.

One law and one convention, here and in `sims/`: k successes of n attempts at an item whose pass rate is drawn from
Beta(alpha, beta). Its mean is p = alpha / (alpha + beta), the correlation of two attempts at one item is
rho = 1 / (alpha + beta + 1), and phi = rho / (1 - rho) = 1 / (alpha + beta). At rho = 0 it is the binomial.

    P(k) = C(n, k) B(alpha + k, beta + n - k) / B(alpha, beta)                                      (Skellam 1948)

`log_sequence` leaves out C(n, k): it is the likelihood of the attempts one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, expit, gammaln

from workbench.errors import InputError, check_count, check_flag, check_one_number
from workbench.kernels.binomial import chance_of_next, chance_of_none
from workbench.lanes import distinct_rows
from workbench.pool.columns import numbers

Floats = NDArray[np.float64]
GRID, NEGLIGIBLE = 31, 14.0  # points a side of the population's grid; nats below its peak that are left out


def count_chances(p: ArrayLike, rho: Any, n: int) -> Floats:
    """(..., n + 1): beta-binomial chances of k = 0..n successes of n.

    p: (...) mean pass rates in [0, 1], taken as at least 1e-9 and at most 1 - 1e-9. rho: correlation in [0, 1), one
    number or (...).
    """
    phi = np.asarray(rho) / (1 - np.asarray(rho))
    p = np.clip(p, 1e-9, 1 - 1e-9)
    out = np.empty((*p.shape, n + 1))
    none: Any = chance_of_none
    following: Any = chance_of_next
    out[..., 0] = none.py_func(p, phi, n)
    for k in range(n):
        out[..., k + 1] = following.py_func(out[..., k], k, p, phi, n)
    return out


def log_sequence(successes: ArrayLike, attempts: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Floats:
    """Log chance of a sequence of attempts with that many successes: ln B(alpha + k, beta + n - k) - ln B(alpha, beta).

    Arrays of shapes that broadcast; alpha, beta > 0.
    """
    k, n = np.asarray(successes), np.asarray(attempts)
    return np.asarray(betaln(alpha + k, beta + n - k) - betaln(alpha, beta))


def from_counts(
    successes: ArrayLike, attempts: ArrayLike, level: float = 0.95, shrink: bool = False
) -> tuple[Floats, Floats, Floats]:
    """Difficulty d = 100 (1 - s / n) with an interval: (d, low, high), (I,) each in [0, 100].

    successes, attempts: (I,) whole numbers, 0 <= s <= n and n >= 1; either may be one number for all items. level: of
    the interval, in (0, 1).

    The interval is the equal-tailed one of the posterior Beta(s + 1/2, n - s + 1/2) of the pass rate (Jeffreys; Brown,
    Cai & DasGupta 2001). It ends at 100 for items never solved and at 0 for items always solved.

    shrink: the posterior is Beta(s + alpha, n - s + beta), averaged over the posterior of alpha and beta given all
    items (`population`), and d is 100 (1 - its mean). With few attempts, extreme counts move towards the other items.
    The interval is that of the Beta with the same mean and variance (Morris 1983). It includes the uncertainty of alpha
    and beta, so that few items shrink little and keep wide intervals.

    Raises InputError for counts out of their domain, and for shrink with a single item.
    """
    s, n = _counts(successes, attempts)
    check_one_number("level", level, 0, 1, open_low=True, open_high=True)
    check_flag("shrink", shrink)
    from scipy.stats import beta as beta_law

    alpha, beta = _shrunk(s, n) if shrink else (s + 0.5, n - s + 0.5)
    tail = (1 - level) / 2
    low, high = (beta_law.ppf(q, alpha, beta) for q in (tail, 1 - tail))
    if not shrink:
        low, high = np.where(s == 0, 0.0, low), np.where(s == n, 1.0, high)
    rate = alpha / (alpha + beta) if shrink else s / n
    return 100 * (1 - rate), 100 * (1 - high), 100 * (1 - low)


def _shrunk(s: NDArray[np.int64], n: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Beta (I,) with the mean and variance of each item's pass rate, a mixture of Beta(s + alpha, n - s + beta)."""
    alpha, beta, weight = population(s, n)
    pairs, of_item = distinct_rows(np.stack([s, n], axis=1))
    right, tries = pairs.T
    mean, square = np.zeros((2, len(pairs)))
    for a, b, w in zip(alpha, beta, weight, strict=True):
        total = tries + a + b
        rate = (right + a) / total
        mean += w * rate
        square += w * rate * (right + a + 1) / (total + 1)
    size = mean * (1 - mean) / (square - mean**2) - 1
    return (mean * size)[of_item], ((1 - mean) * size)[of_item]


def beta_binomial(successes: ArrayLike, attempts: ArrayLike) -> tuple[float, float]:
    """alpha, beta > 0 of the Beta distribution of the items' pass rates, at the posterior means of its mean and rho.

    The posterior is that of `population`. With many items the values are close to those of maximum likelihood, which
    may be infinite for few items.
    """
    alpha, beta, weight = population(successes, attempts)
    mean, rho = weight @ (alpha / (alpha + beta)), weight @ (1 / (alpha + beta + 1))
    return float(mean * (1 / rho - 1)), float((1 - mean) * (1 / rho - 1))


def population(successes: ArrayLike, attempts: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Posterior of the Beta(alpha, beta) of the items' pass rates: alpha, beta and their weights, (K,) each.

    The likelihood of the counts is beta-binomial (Griffiths 1973). Its maximum often has alpha + beta infinite, as if
    items with similar counts were known to be equal. Therefore a prior: the mean and rho are independent and uniform on
    (0, 1). The prior is weak. The weight of the other items against one attempt at an item, 1 - rho, has a prior median
    of 1/2, as under Jeffreys' alpha + beta = 1. With 1,000 items of 8 attempts the prior moves d by 0.02 where pass
    rates have an sd of 0.2, and by 0.2 at an sd of 0.07. The weights are on a grid in the logits of mean and rho, which
    is narrowed to the region of non-negligible weight. Raises InputError for counts out of their domain and for fewer
    than 2 items.
    """
    s, n = _counts(successes, attempts)
    if s.size < 2:
        raise InputError(f"successes: must be of at least 2 items to shrink to each other, got {s.size}")
    distinct = [np.unique(of, return_counts=True) for of in (s, n - s, n)]
    box = np.array([[-20.0, 20.0], [-14.0, 14.0]])  # alpha + beta in (1e-6, 1e6)
    for _ in range(20):
        sides = np.linspace(box[:, 0], box[:, 1], GRID, axis=1)
        mean, rho = expit(sides[0])[:, None], expit(sides[1])
        size = expit(-sides[1]) / rho
        alpha, beta = mean * size, expit(-sides[0])[:, None] * size
        log_weight = np.log(mean) + np.log1p(-mean) + np.log(rho) + np.log(expit(-sides[1]))
        for sign, shape, (values, times) in zip((1, 1, -1), (alpha, beta, size), distinct, strict=True):
            for value, many in zip(values, times, strict=True):
                log_weight += sign * many * (gammaln(shape + value) - gammaln(shape))  # `log_sequence`, summed
        log_weight -= log_weight.max()
        there = np.nonzero(log_weight > -NEGLIGIBLE)
        spacing = sides[:, 1] - sides[:, 0]
        narrow = np.array([[sides[k, at.min()], sides[k, at.max()]] for k, at in enumerate(there)])
        narrow += spacing[:, None] * np.array([-2, 2])
        narrow = np.clip(narrow, box[:, :1], box[:, 1:])
        if ((narrow[:, 1] - narrow[:, 0]) > 0.6 * (box[:, 1] - box[:, 0])).all():
            break
        box = narrow
    weight = np.exp(log_weight[there])
    return alpha[there], beta[there], weight / weight.sum()


def share_within(successes: ArrayLike, attempts: ArrayLike, fewer: int, margin: float = 0.05) -> float:
    """Expected share of items whose pass rate over `fewer` of their attempts is within `margin` of that over all.

    Successes among m of n attempts, drawn without replacement, are hypergeometric, so that the share is exact.
    Compare Shi et al. 2025, arXiv 2504.05520, figure 1a: of 128 attempts, over 90 % at 64 and about 80 % at 40.
    """
    from scipy.stats import hypergeom

    s, n = _counts(successes, attempts)
    check_count("fewer", fewer, 1, int(n.min()))
    check_one_number("margin", margin, 0, 1)
    low, high = np.ceil((s / n - margin) * fewer - 1e-9), np.floor((s / n + margin) * fewer + 1e-9)
    inside = hypergeom.cdf(high, n, s, fewer) - hypergeom.cdf(low - 1, n, s, fewer)
    return float(inside.mean())


def attempts_needed(successes: ArrayLike, attempts: ArrayLike, share: float, margin: float = 0.05) -> int:
    """The fewest attempts m at which, and beyond which, `share_within` is at least `share`."""
    _, n = _counts(successes, attempts)
    check_one_number("share", share, 0, 1)
    most = int(n.min())
    enough = [share_within(successes, attempts, m, margin) >= share for m in range(1, most + 1)]
    if not enough[-1]:
        raise InputError(f"share: must be reached by all {most} attempts, got {share}")
    return 1 + max((m + 1 for m in range(most) if not enough[m]), default=0)


def _counts(successes: ArrayLike, attempts: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Successes and attempts as (I,); either may be one number for all. InputError for other shapes and values."""
    s, n = (numbers(name, np.array([values]) if np.isscalar(values) else values, "whole numbers")
            for name, values in (("successes", successes), ("attempts", attempts)))  # fmt: skip
    if s.ndim != 1 or n.ndim != 1 or s.size == 0 or n.size == 0 or (s.size != n.size and 1 not in (s.size, n.size)):
        got = f"got shapes {s.shape} and {n.shape}"
        raise InputError(f"successes, attempts: must be whole numbers, one per item, {got}")
    s, n = np.broadcast_arrays(s, n)
    wrong = np.flatnonzero(~((n >= 1) & (s >= 0) & (s <= n) & (n < 2.0**53) & (s == np.floor(s)) & (n == np.floor(n))))
    if wrong.size:
        row = wrong[0]
        got = f"{s[row]:g} of {n[row]:g} at row {row}"
        raise InputError(f"successes: must be whole numbers in [0, attempts] with attempts >= 1, got {got}")
    return s.astype(np.int64), n.astype(np.int64)
