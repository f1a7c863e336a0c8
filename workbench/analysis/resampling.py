"""Resamples and sign patterns of many arms at once: A arms of N seeds each, drawn once and shared by all of them.

An arm of N seeds gets the same draws alone and beside others, so that a table of many arms holds what each of them has
by itself. Arms are worked on one after the other within a block of draws that fits in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from workbench.errors import InputError, check_count, check_number
from workbench.streams import Role, generator

FloatArray = NDArray[np.float64]
Statistic = Callable[..., Any]  # statistic(x, axis=-1), paired statistic(x, y, axis=-1): reduces that axis

EXACT_UP_TO = 16  # differences; 2^15 sign patterns up to symmetry
BLOCK = 2**16  # resampled numbers held at once: 512 KiB, which fit in the cache


def bootstrap(
    replicate: Callable[[NDArray[np.int64]], Any], shape: tuple[int, ...], resamples: int, seed: int
) -> FloatArray:
    """(..., resamples) of replicate(rows), rows (block, *shape) drawn with replacement from range(shape[0]).

    replicate(rows): (..., block), with the same leading axes for each block, such as one for arms.
    """
    check_count("resamples", resamples)
    random = generator(seed, Role.BOOTSTRAP)
    block = max(1, BLOCK // prod(shape))
    parts = []
    for done in range(0, resamples, block):
        rows = random.integers(shape[0], size=(min(block, resamples - done), *shape))
        parts.append(np.asarray(replicate(rows), np.float64))
    return np.concatenate(parts, axis=-1)


def resampled(values: FloatArray, statistic: Statistic, resamples: int, seed: int) -> FloatArray:
    """(A, resamples) of the statistic over resamples of values (A, N, T): N runs, within each of T tasks by itself."""
    arms, runs, tasks = values.shape
    flat = values.reshape(arms, -1)

    def replicate(rows: NDArray[np.int64]) -> FloatArray:
        cells = (rows * tasks + np.arange(tasks)).reshape(len(rows), -1)
        return np.stack([reduced(statistic, arm.take(cells)) for arm in flat])

    return bootstrap(replicate, (runs, tasks), resamples, seed)


def resampled_middle(values: FloatArray, middle: slice, resamples: int, seed: int) -> FloatArray:
    """(A, resamples) of the mean of the ordered values in `middle`, over resamples of values (A, N, T) as `resampled`.

    Places among the ordered values are drawn and sorted instead of the values: whole numbers sort several times as
    fast, and the sum is that of the same values in the same order.
    """
    arms, runs, tasks = values.shape
    flat = values.reshape(arms, -1)
    order = np.argsort(flat, axis=1, kind="stable")
    places = np.empty(order.shape, np.uint32)
    np.put_along_axis(places, order, np.arange(order.shape[1], dtype=np.uint32)[None], axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)

    def replicate(rows: NDArray[np.int64]) -> FloatArray:
        cells = (rows * tasks + np.arange(tasks)).reshape(len(rows), -1)
        drawn = (np.sort(arm.take(cells), axis=-1)[:, middle] for arm in places)
        return np.stack([values.take(place).mean(axis=-1) for values, place in zip(ordered, drawn, strict=True)])

    return bootstrap(replicate, (runs, tasks), resamples, seed)


def reduced(statistic: Statistic, *samples: FloatArray) -> Any:
    """(block,) of the statistic over the last axis of samples (block, n); InputError if it does not reduce it."""
    found = np.asarray(statistic(*samples, axis=-1), np.float64)
    if found.shape != samples[0].shape[:1]:
        raise InputError(f"statistic: must reduce the axis it is given, {samples[0].shape[:1]}, got {found.shape}")
    return found


def expanded_percentile(
    replicates: FloatArray, runs: int, tasks: int, level: float
) -> tuple[FloatArray, FloatArray]:
    """Low and high (...) of replicates (..., resamples); the equation is in the docstring of `stats.interval`."""
    check_number("level", level, 0.0, 1.0, open_low=True, open_high=True)
    if runs == 1:  # zero degrees of freedom
        none = np.full(replicates.shape[:-1], np.nan)
        return none, none
    t = stdtrit(tasks * (runs - 1), (1.0 + level) / 2.0)
    tail = ndtr(-np.sqrt(runs / (runs - 1)) * t)
    # Order statistics, not interpolated: a ratio's replicates may be infinite.
    ordered = np.sort(replicates, axis=-1)
    outside = max(int(tail * (ordered.shape[-1] + 1)) - 1, 0)
    return ordered[..., outside], ordered[..., -1 - outside]


def sign_flips(differences: FloatArray, resamples: int, seed: int) -> FloatArray:
    """(A,) p-values of differences (A, N); the equation is in the docstring of `stats.sign_flip_test`."""
    check_count("resamples", resamples)
    random = generator(seed, Role.SIGN_FLIP)
    arms, runs = differences.shape
    # patterns that tie up to rounding count
    observed = np.abs(differences.sum(axis=1)) - 1e-12 * np.abs(differences).sum(axis=1)
    if runs <= EXACT_UP_TO:
        return np.array([_all_signs(d, least) for d, least in zip(differences, observed, strict=True)])
    count = np.zeros(arms, np.int64)
    block = max(1, BLOCK // runs)
    for done in range(0, resamples, block):
        signs = 2.0 * random.integers(2, size=(min(block, resamples - done), runs), dtype=np.int8) - 1.0
        sums = (signs @ d for d in differences)
        count += [np.count_nonzero(np.abs(s) >= least) for s, least in zip(sums, observed, strict=True)]
    return np.asarray((1 + count) / (1 + resamples))


def _all_signs(d: FloatArray, observed: float) -> float:
    sums = d[:1]  # the other sign of the first mirrors every pattern
    for difference in d[1:]:
        sums = np.concatenate([sums - difference, sums + difference])
    return float(np.mean(np.abs(sums) >= observed))
