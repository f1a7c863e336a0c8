"""Records to estimates with intervals: N seeds (runs), T tasks, E records per curve, M comparisons.

A sweep compares curricula on few seeds, with runs that may never reach the threshold. Hence a robust mean (IQM),
intervals that keep their coverage at N = 8, tests on paired seeds, and times to threshold that include censored runs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from workbench.errors import InputError, as_array, as_numbers, check_count, check_number, shown
from workbench.streams import Role, generator

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Statistic = Callable[..., Any]  # statistic(x, axis=-1), paired statistic(x, y, axis=-1): reduces that axis

EXACT_UP_TO = 16  # differences; 2^15 sign patterns up to symmetry
BLOCK = 2**16  # resampled numbers held at once: 512 KiB, which fit in the cache


class Estimate(NamedTuple):
    """A statistic and the ends of its confidence interval, in the statistic's unit."""

    value: float
    low: float
    high: float


class Crossing(NamedTuple):
    """When curves reached a threshold: time (...) in steps; reached (...), False = censored at `time`."""

    time: FloatArray
    reached: BoolArray


# -- means -----------------------------------------------------------------------------------------


def iqm(x: ArrayLike, axis: int = 0) -> Any:
    """Interquartile mean along `axis`: the mean without the lowest and the highest floor(n / 4) of n values.

    Robust to outlying runs like the median, nearly as precise as the mean. Equals scipy.stats.trim_mean(x, 0.25).
    Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice".
    """
    values = _finite("x", x, dimensions=None)
    ordered = np.sort(values, axis=_axis(axis, values))
    count = ordered.shape[axis]
    cut = count // 4
    return ordered.take(range(cut, count - cut), axis=axis).mean(axis=axis)


# -- intervals -------------------------------------------------------------------------------------


def interval(
    scores: ArrayLike, statistic: Statistic = iqm, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Confidence interval of statistic(all N * T scores): stratified, expanded percentile bootstrap.

    scores: (N,) or (N, T). Within each task the N runs are resampled independently of the other tasks, and
    the statistic is taken over the pooled N * T scores. Tasks are fixed: the interval speaks of new runs on
    the same tasks. Columns measured on one run (difficulty strata) are not independent: average them first.
    statistic(x, axis=-1) reduces the last axis of resampled scores, as iqm, numpy.mean and numpy.median do.

    The ends are the quantiles a and 1 - a of the resampled statistic,

        a = Phi(-sqrt(N / (N - 1)) t),    t = Student quantile (1 + level) / 2, T (N - 1) degrees of freedom.

    The plain percentile, a = (1 - level) / 2, is too narrow at few runs: a bootstrap's variance has divisor
    N, and it forgets that this variance is itself an estimate. Both respect bounds and monotone transforms.

    Measured coverage in % of 95 % intervals of (N,) scores, 4000 samples each (plain percentile in brackets):

        N                     5             8             16            32
        IQM, normal           94.2 (90.7)   96.8 (92.6)   96.6 (94.0)   95.9 (95.0)
        IQM, exponential      93.9 (90.1)   97.5 (93.4)   96.3 (93.5)   95.2 (93.9)
        IQM, Beta(1/2, 1/2)   94.2 (91.0)   96.9 (92.0)   96.5 (93.4)   95.8 (94.8)
        mean, normal          93.2 (84.3)   93.6 (87.8)   95.0 (92.1)   95.5 (94.1)
        mean, exponential     88.3 (78.9)   90.4 (83.6)   92.1 (89.0)   93.6 (92.5)
        mean, Beta(1/2, 1/2)  93.3 (86.5)   94.6 (90.0)   95.7 (92.7)   95.5 (94.4)

    The row "IQM, exponential" is of keyed streams (`streams.generator`), at N = 8 of 24,000 samples.
    IQM over T = 10 normal tasks of unequal means, 2000 samples: 95.0 (91.1) at N = 5, 95.3 (93.2) at N = 8.

    The rest of the gap for the mean of skewed scores is that of Student's t (90 % too at N = 8). In a smaller
    simulation a bootstrap-t won most of it back (94 %), but it needs a standard error in every resample, and
    that may be 0 at few runs; BCa stayed near the plain percentile (86 to 94 %). One run has no interval:
    low = high = NaN.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap" (expanded percentile); strata as
    in Agarwal et al. 2021.
    """
    values = _finite("scores", scores, dimensions=(1, 2))
    values = values.reshape(len(values), -1)
    runs, tasks = values.shape
    columns = np.arange(tasks)

    def replicate(rows: NDArray[np.int64]) -> Any:
        return statistic(values[rows, columns].reshape(len(rows), -1), axis=-1)

    replicates = _bootstrap(replicate, (runs, tasks), resamples, seed)
    return _expanded_percentile(float(statistic(values.ravel(), axis=-1)), replicates, runs, tasks, level)


def paired_interval(
    x: ArrayLike,
    y: ArrayLike,
    statistic: Statistic,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Confidence interval of statistic(x, y) for two arms x, y (N,) run on the same N seeds.

    Seeds are resampled, each with both of its runs, so that effects of the random numbers that both share cancel.
    The statistic gets resampled arms (resamples, N) and axis=-1, as lambda x, y, axis: iqm(x, axis) - iqm(y, axis).
    Interval as in `interval` with T = 1.
    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 8.
    """
    first, second = _finite("x", x), _finite("y", y)
    if len(first) != len(second):
        raise InputError(f"x, y: must be paired, one value per seed in each, got {len(first)} and {len(second)}")

    def replicate(seeds: NDArray[np.int64]) -> Any:
        return statistic(first[seeds], second[seeds], axis=-1)

    replicates = _bootstrap(replicate, (len(first),), resamples, seed)
    return _expanded_percentile(float(statistic(first, second, axis=-1)), replicates, len(first), 1, level)


def _bootstrap(
    replicate: Callable[[NDArray[np.int64]], Any], shape: tuple[int, ...], resamples: int, seed: int
) -> FloatArray:
    """(resamples,) of replicate(rows), rows (block, *shape) drawn with replacement from range(shape[0])."""
    check_count("resamples", resamples)
    random = generator(seed, Role.BOOTSTRAP)
    block = max(1, BLOCK // prod(shape))
    parts = []
    for done in range(0, resamples, block):
        rows = random.integers(shape[0], size=(min(block, resamples - done), *shape))
        parts.append(np.asarray(replicate(rows), np.float64))
        if parts[-1].shape != rows.shape[:1]:
            raise InputError(f"statistic: must reduce the axis it is given, {rows.shape[:1]}, got {parts[-1].shape}")
    return np.concatenate(parts)


def _expanded_percentile(value: float, replicates: FloatArray, runs: int, tasks: int, level: float) -> Estimate:
    """Ends of the interval; the equation is in the docstring of `interval`."""
    check_number("level", level, 0.0, 1.0, open_low=True, open_high=True)
    if runs == 1:  # zero degrees of freedom
        return Estimate(value, np.nan, np.nan)
    t = stdtrit(tasks * (runs - 1), (1.0 + level) / 2.0)
    tail = ndtr(-np.sqrt(runs / (runs - 1)) * t)
    # Order statistics, not interpolated: a ratio's replicates may be infinite.
    ordered = np.sort(replicates)
    outside = max(int(tail * (len(ordered) + 1)) - 1, 0)
    return Estimate(value, float(ordered[outside]), float(ordered[-1 - outside]))


# -- comparisons -----------------------------------------------------------------------------------


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """P(X > Y) + P(X = Y) / 2 = U / (N M) for a random run of arm x (N,) and one of arm y (M,).

    With tasks, x (N, T) and y (M, T): the mean over tasks.
    Source: Mann and Whitney 1947 (U); Agarwal et al. 2021 (mean over tasks).
    """
    first, second = _finite("x", x, dimensions=(1, 2)), _finite("y", y, dimensions=(1, 2))
    if first.shape[1:] != second.shape[1:]:
        raise InputError(f"x, y: must have the same tasks, got shapes {first.shape} and {second.shape}")

    def one_task(a: FloatArray, b: FloatArray) -> float:
        b = np.sort(b)
        below, up_to = np.searchsorted(b, a, side="left"), np.searchsorted(b, a, side="right")
        return float((below + up_to).mean() / (2 * len(b)))

    tasks = zip(first.reshape(len(first), -1).T, second.reshape(len(second), -1).T, strict=True)
    return float(np.mean([one_task(a, b) for a, b in tasks]))


def sign_flip_test(differences: ArrayLike, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of "paired differences (N,) are symmetric around 0": the share of sign patterns s with

        |mean(s * differences)| >= |mean(differences)|.

    All 2^N patterns up to N = 16, so p >= 2^(1 - N): 0.0625 at N = 5, 0.03125 at N = 6 (`seeds_needed`).
    Beyond that `resamples` random patterns, p = (1 + count) / (1 + resamples).
    Source: Fisher 1935, "The design of experiments", section 21; Phipson and Smyth 2010 (the 1 + ).
    """
    d = _finite("differences", differences)
    check_count("resamples", resamples)
    random = generator(seed, Role.SIGN_FLIP)
    observed = abs(d.sum()) - 1e-12 * np.abs(d).sum()  # patterns that tie up to rounding count
    if len(d) <= EXACT_UP_TO:
        sums = d[:1]  # the other sign of the first mirrors every pattern
        for difference in d[1:]:
            sums = np.concatenate([sums - difference, sums + difference])
        return float(np.mean(np.abs(sums) >= observed))
    count = 0
    block = max(1, BLOCK // len(d))
    for done in range(0, resamples, block):
        signs = 2.0 * random.integers(2, size=(min(block, resamples - done), len(d)), dtype=np.int8) - 1.0
        count += int(np.count_nonzero(np.abs(signs @ d) >= observed))
    return (1 + count) / (1 + resamples)


def holm(p: ArrayLike) -> FloatArray:
    """p (M,) adjusted so that rejecting where <= level keeps the chance of any false rejection <= level.

        adjusted_(i) = max over j <= i of min(1, (M - j + 1) p_(j)),    p_(1) <= ... <= p_(M).

    NaN (not tested) stays NaN and does not count in M.
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted = as_numbers("p", p).copy()
    tested = np.flatnonzero(~np.isnan(adjusted))
    if adjusted.ndim != 1:
        raise InputError(f"p: must have 1 axis, got shape {adjusted.shape}")
    if tested.size:
        for end in (adjusted[tested].min(), adjusted[tested].max()):
            check_number("p", end, 0.0, 1.0)
    order = tested[np.argsort(adjusted[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * adjusted[order]))
    return adjusted


def seeds_needed(comparisons: int, level: float = 0.95) -> int:
    """Fewest paired seeds N with which a sign-flip test can be significant after Holm over M comparisons:

        2^(1 - N) M <= 1 - level.

    With fewer, even a difference of one sign on every seed counts as chance. 6 for 1 comparison, 13 for 144.
    comparisons: M >= 0. level: in (0, 1). Raises InputError outside of them.
    """
    check_count("comparisons", comparisons, 0)
    check_number("level", level, 0.0, 1.0, open_low=True, open_high=True)
    seeds = 1
    while 2.0 ** (1 - seeds) * comparisons > 1 - level:
        seeds += 1
    return seeds


# -- curves ----------------------------------------------------------------------------------------


def area(steps: ArrayLike, success: ArrayLike, axis: int = -1) -> Any:
    """Area under curves over the length of the run: the mean height of success, in its own unit.

        area = sum over e of (s_(e+1) - s_e) (y_e + y_(e+1)) / 2  /  (s_E - s_1)

    steps: (E,), increasing, E >= 2. success: (..., E, ...) with its E records along `axis`; returns the other axes.
    The trapezoids are divided by last minus first step, so that a run recorded from step 100 on is not weighed down
    by the steps before. Raises InputError for fewer than two records, steps that do not increase, and NaN.
    """
    grid, y = _steps(steps), _finite("success", success, dimensions=None)
    if len(grid) < 2:
        raise InputError(f"steps: must be at least 2 records to have an area, got {len(grid)}")
    if y.shape[_axis(axis, y)] != len(grid):
        raise InputError(f"success: must have {len(grid)} records on axis {axis}, one per step, got shape {y.shape}")
    return np.trapezoid(y, grid, axis=axis) / (grid[-1] - grid[0])


# -- time to threshold -----------------------------------------------------------------------------


def steps_to_threshold(steps: ArrayLike, curves: ArrayLike, threshold: ArrayLike) -> Crossing:
    """First time, in steps, that each curve (..., E) is >= threshold, linear between records at `steps` (E,).

    threshold: one number, or one per curve (...). A curve that never gets there is right-censored: time = steps[-1],
    reached = False.
    """
    grid = _steps(steps)
    y = _finite("curves", curves, dimensions=None)
    if y.shape[-1:] != grid.shape:
        raise InputError(f"curves: must have {len(grid)} records on the last axis, one per step, got shape {y.shape}")
    level = as_numbers("threshold", threshold)
    if not np.isfinite(level).all():
        raise InputError(f"threshold: must be finite, got {level[~np.isfinite(level)].flat[0]}")
    if level.shape not in ((), y.shape[:-1]):
        raise InputError(f"threshold: must be one number or one per curve, {y.shape[:-1]}, got shape {level.shape}")
    above = y >= level[..., None]
    reached = above.any(axis=-1)
    after = above.argmax(axis=-1)  # record at or after the crossing
    before = np.maximum(after - 1, 0)
    y0 = np.take_along_axis(y, before[..., None], axis=-1)[..., 0]
    y1 = np.take_along_axis(y, after[..., None], axis=-1)[..., 0]
    between = reached & (after > 0)  # there y0 < threshold <= y1
    share = np.where(between, level - y0, 0.0) / np.where(between, y1 - y0, 1.0)
    time = grid[before] + share * (grid[after] - grid[before])
    return Crossing(np.where(reached, time, grid[-1]), np.asarray(reached))


def kaplan_meier(times: ArrayLike, reached: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Distinct times t and survival S(t) = P(threshold not reached by t) from N runs, some of them censored:

        S(t) = product over t_i <= t of 1 - d_i / n_i,    d_i crossings at t_i among n_i runs under way.

    times (N,) in steps; reached (N,), False where the run ended at `times` without crossing. S is 1 before
    t[0] and constant between times and after the last. A run censored at t_i counts as under way there.
    Source: Kaplan and Meier 1958, "Nonparametric estimation from incomplete observations".
    """
    t, survival = _survival(*_runs(times, reached))
    last_of_tie = np.append(t[1:] != t[:-1], True)
    return t[last_of_tie], survival[last_of_tie]


def restricted_mean(times: ArrayLike, reached: ArrayLike, horizon: float) -> float:
    """Mean of min(time to threshold, horizon) in steps: area under the Kaplan-Meier curve from 0 to horizon.

    With no run censored before the horizon this is the plain mean of min(times, horizon). Where the last run
    is censored earlier, S is taken as constant from there to the horizon.
    Source: Irwin 1949, "The standard error of an estimate of expectation of life"; Royston and Parmar 2013.
    """
    check_number("horizon", horizon, 0.0, open_low=True)
    return float(_area(*_survival(*_runs(times, reached)), horizon))


def median_time(times: ArrayLike, reached: ArrayLike) -> float:
    """Steps by which half of the runs reach the threshold: first t with S(t) <= 1/2, inf if S stays above."""
    t, survival = kaplan_meier(times, reached)
    half = survival <= 0.5 + 1e-12  # the product may miss 1/2 by rounding
    return float(t[half.argmax()]) if half.any() else np.inf


def speedup(
    base: Crossing, other: Crossing, horizon: float, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """How many times faster `other` reaches the threshold: restricted_mean(base) / restricted_mean(other).

    base, other: N runs each on the same N seeds, resampled jointly; interval as in `interval`. Censored runs
    count as the horizon, so that many of them draw the ratio towards 1 (exactly 1 if neither arm ever reaches
    it). An arm at the threshold at step 0 takes no time: the ratio is then inf, NaN if both arms are.

    Measured coverage of 95 % intervals, log-normal times with spread 30 to 80 % of the mean, correlation 0.6
    within a seed, 0 to 49 % censored: 92.7 to 94.4 % at N = 8, 94.2 to 95.4 % at N = 16.
    Source: Uno et al. 2014, "Moving beyond the hazard ratio in quantifying the between-group difference".
    """
    check_number("horizon", horizon, 0.0, open_low=True)
    slow, fast = _crossings("base", base), _crossings("other", other)
    count = len(slow[0])
    if len(fast[0]) != count:
        raise InputError(f"base, other: must be paired, one run per seed in each, got {count} and {len(fast[0])}")

    def ratio(weights: NDArray[np.int64]) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):  # no time: inf or NaN, as documented
            return _area(*_survival(*slow, weights), horizon) / _area(*_survival(*fast, weights), horizon)

    def replicate(seeds: NDArray[np.int64]) -> Any:
        cells = seeds * len(seeds) + np.arange(len(seeds))[:, None]
        return ratio(np.bincount(cells.ravel(), minlength=seeds.size).reshape(count, -1))

    replicates = _bootstrap(replicate, (count,), resamples, seed)
    return _expanded_percentile(float(ratio(np.ones(count, np.int64))), replicates, count, 1, level)


def _survival(
    times: FloatArray, reached: BoolArray, weights: NDArray[np.int64] | None = None
) -> tuple[FloatArray, FloatArray]:
    """Sorted times (N,) and S just after each (N, ...), run i taken weights[i, ...] times.

    Bootstrap counts as weights: one sort serves all resamples. Run by run, tied crossings multiply to
    1 - d / n.
    """
    order = np.lexsort((~reached, times))  # at equal times crossings come before censored runs
    w = np.ones(len(times), np.int64) if weights is None else weights[order]
    under_way = np.cumsum(w[::-1], axis=0)[::-1]
    crossed = (w.T * reached[order]).T
    return times[order], np.cumprod(1.0 - crossed / np.maximum(under_way, 1), axis=0, dtype=np.float64)


def _area(t: FloatArray, survival: FloatArray, horizon: float) -> Any:
    """Area under S from 0 to horizon: t (N,), survival (N, ...) -> (...)."""
    widths = np.diff(np.minimum(t, horizon), prepend=0.0, append=horizon)
    return widths[0] + widths[1:] @ survival


# -- input -----------------------------------------------------------------------------------------


def _finite(field: str, value: ArrayLike, dimensions: tuple[int, ...] | None = (1,)) -> FloatArray:
    """`value` as float64, or InputError unless it is not empty, all finite and of an allowed dimension."""
    x = as_numbers(field, value)
    if x.size == 0 or (x.ndim == 0 if dimensions is None else x.ndim not in dimensions):
        axes = "1 or more" if dimensions is None else " or ".join(map(str, dimensions))
        raise InputError(f"{field}: must have {axes} axes and no axis of length 0, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise InputError(f"{field}: must be finite, got {x[~np.isfinite(x)][0]}")
    return x


def _axis(axis: int, values: FloatArray) -> int:
    """The axis, or InputError unless the values have it."""
    return check_count("axis", axis, -values.ndim, values.ndim - 1)


def _steps(value: ArrayLike) -> FloatArray:
    """Steps (E,) as float64, or InputError unless they increase."""
    grid = _finite("steps", value)
    if (np.diff(grid) <= 0).any():
        e = int((np.diff(grid) <= 0).argmax())
        raise InputError(f"steps: must increase, got {grid[e]:g} before {grid[e + 1]:g}")
    return grid


def _runs(times: ArrayLike, reached: ArrayLike) -> tuple[FloatArray, BoolArray]:
    """Times (N,) >= 0 and reached (N,) bool, checked."""
    t, r = _finite("times", times), as_array("reached", reached, "booleans, one per time")
    if (t < 0).any():
        raise InputError(f"times: must be >= 0, got {t.min():g}")
    if r.dtype != np.bool_ or r.shape != t.shape:
        raise InputError(f"reached: must be {len(t)} booleans, one per time, got {r.dtype} of shape {r.shape}")
    return t, r


def _crossings(field: str, value: Any) -> tuple[FloatArray, BoolArray]:
    """The runs of a Crossing, checked."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise InputError(f"{field}: must be a Crossing, times and whether they were reached, got {shown(value)}")
    return _runs(*value)
