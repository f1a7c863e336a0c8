"""Pools with the difficulty distributions of the sets released with AdaRFT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.streams import Role, generator

GRID = 128  # attempts per item behind the released difficulties: d = 100 (1 - successes / 128)


def synthetic_columns(name: str, size: int, seed: int) -> dict[str, Any]:
    """The columns of `Pool.synthetic`."""
    bins = PRESETS[name]
    rng = generator(seed, Role.POOL)
    shares = np.array([count for _, count in bins], dtype=np.float64)
    failures = [rng.choice(levels, n) for (levels, _), n in zip(bins, _apportion(shares, size), strict=True)]
    k = rng.permutation(np.concatenate(failures))  # position says nothing about difficulty
    b = np.log((k + 0.5) / (GRID - k + 0.5))
    weak, strong = (rng.binomial(16, 1 / (1 + np.exp(b - skill))) / 16 for skill in (-1.0, 1.0))
    return {
        "difficulty": 100.0 * k / GRID,
        "level": np.minimum(10 * k // GRID, 9),
        "successes": GRID - k,
        "attempts": np.full(size, GRID),
        "features": b[:, None] + rng.standard_normal((size, 8)),
        "weak_rate": weak,
        "strong_rate": strong,
    }


def _bins(deciles: Sequence[int], never_failed: int = 0, always_failed: int = 0) -> list[tuple[NDArray[np.int64], int]]:
    """(grid levels, count) of the ten deciles, with the items at d = 0 and d = 100 counted apart."""
    k = np.arange(GRID + 1)  # failures of 128
    decile = np.minimum(10 * k // GRID, 9)
    bins = [(k[:1], never_failed), (k[-1:], always_failed)]
    for index, count in enumerate(deciles):
        inside = k[(decile == index) & (k > 0) & (k < GRID)]
        bins.append((inside, count - never_failed * (index == 0) - always_failed * (index == 9)))
    return [(levels, count) for levels, count in bins if count > 0]


# Counts per decile of the released files (arXiv 2504.05520, section 4.2, and its public data files).
PRESETS: dict[str, list[tuple[NDArray[np.int64], int]]] = {
    # the last decile of skew-difficult is split so that the median is the published 93.0 (k = 119)
    "skew-difficult": [
        *_bins([128, 247, 289, 369, 382, 467, 635, 803, 1215, 2647], 0, 2647),
        (np.arange(116, 119), 462),
        (np.arange(119, 128), 5460 - 2647 - 462),
    ],
    "uniform": _bins([978, 995, 1027, 950, 1011, 1028, 1016, 1004, 999, 992], 203, 0),
    "skew-easy": _bins([3408, 1712, 1100, 917, 672, 601, 539, 462, 369, 220], 711, 0),
    # the files end at d = 14.8 (k = 19) and start at d = 97.7 (k = 125)
    "easy-extreme": [(np.array([0]), 1216), (np.arange(1, 13), 5910 - 1216), (np.arange(13, 20), 1880)],
    "hard-extreme": [(np.array([128]), 6279), (np.arange(125, 128), 9262 - 6279)],
    "narrow": [(np.arange(52, 77), 1)],
}


def _apportion(shares: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Whole numbers that sum to `size` in the proportions of `shares` (largest remainder)."""
    exact = shares * size / shares.sum()
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: size - counts.sum()]] += 1
    return counts
