"""Records to estimates with intervals: N seeds (runs), T tasks, E records per curve, M comparisons.

A sweep compares curricula on few seeds, with runs that may never reach the threshold. Hence a robust mean (IQM),
intervals that keep their coverage at N = 8, tests on paired seeds, and times to threshold that include censored runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.analysis.resampling import (
    FloatArray,
    Statistic,
    bootstrap,
    expanded_percentile,
    reduced,
    resampled,
    resampled_middle,
    sign_flips,
)
from workbench.errors import InputError, as_array, as_numbers, check_count, check_number, shown

BoolArray = NDArray[np.bool_]
Runs: TypeAlias = tuple[FloatArray, BoolArray]  # times to a threshold (N,), and whether it was reached


class Estimate(NamedTuple):
    """A statistic and the ends of its confidence interval, in the statistic's unit."""

    value: float
    low: float
    high: float


class Estimates(NamedTuple):
    """The same of A arms: arrays (A,)."""

    value: FloatArray
    low: FloatArray
    high: FloatArray

    def of(self, arm: int) -> Estimate:
        """The estimate of one arm."""
        return Estimate(float(self.value[arm]), float(self.low[arm]), float(self.high[arm]))


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
    middle = _middle(ordered.shape[axis])
    return ordered.take(range(middle.start, middle.stop), axis=axis).mean(axis=axis)


def _middle(count: int) -> slice:
    """The places, among n ordered values, of those that the interquartile mean keeps."""
    cut = count // 4
    return slice(cut, count - cut)


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
    return _estimates(values.reshape(1, len(values), -1), statistic, level, resamples, seed).of(0)


def intervals(
    scores: ArrayLike, statistic: Statistic = iqm, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimates:
    """`interval` of each of A arms, scores (A, N), without tasks: the same numbers, drawn once for all."""
    values = _finite("scores", scores, dimensions=(2,))
    return _estimates(values[:, :, None], statistic, level, resamples, seed)


def _estimates(values: FloatArray, statistic: Statistic, level: float, resamples: int, seed: int) -> Estimates:
    """Of values (A, N, T)."""
    arms, runs, tasks = values.shape
    replicates = _replicates(values, statistic, resamples, seed)
    value = np.array([statistic(arm, axis=-1) for arm in values.reshape(arms, -1)], np.float64)
    return Estimates(value, *expanded_percentile(replicates, runs, tasks, level))


def _replicates(values: FloatArray, statistic: Statistic, resamples: int, seed: int) -> FloatArray:
    """(A, resamples) of the statistic of values (A, N, T)."""
    if statistic is iqm:
        return resampled_middle(values, _middle(values[0].size), resamples, seed)
    return resampled(values, statistic, resamples, seed)


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
        return reduced(statistic, first.take(seeds), second.take(seeds))

    replicates = bootstrap(replicate, (len(first),), resamples, seed)
    low, high = expanded_percentile(replicates, len(first), 1, level)
    return Estimate(float(statistic(first, second, axis=-1)), float(low), float(high))


def arms_with_gains(
    arms: ArrayLike, base: ArrayLike, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[Estimates, Estimates]:
    """IQM of each arm, and its gain over the base, iqm(arm) - iqm(base), both with intervals.

    arms: (A, N), base: (N,), on the same N seeds. The numbers are those of `interval` and of `paired_interval`, from
    one set of resamples: seeds are drawn, each with the runs of all arms and of the base.
    """
    values, own = _finite("arms", arms, dimensions=(2,)), _finite("base", base)
    if values.shape[1] != len(own):
        got = f"{values.shape[1]} and {len(own)}"
        raise InputError(f"arms, base: must be paired, one value per seed in each, got {got}")
    replicates = _replicates(np.vstack([values, own])[:, :, None], iqm, resamples, seed)
    value = iqm(values, axis=-1)
    mean = Estimates(value, *expanded_percentile(replicates[:-1], len(own), 1, level))
    gain = Estimates(value - iqm(own), *expanded_percentile(replicates[:-1] - replicates[-1], len(own), 1, level))
    return mean, gain


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
    return float(sign_flips(_finite("differences", differences)[None], resamples, seed)[0])


def sign_flip_tests(differences: ArrayLike, resamples: int = 10_000, seed: int = 0) -> FloatArray:
    """(A,) p of `sign_flip_test` for each of A arms, differences (A, N): the same numbers, drawn once for all."""
    return sign_flips(_finite("differences", differences, dimensions=(2,)), resamples, seed)


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
    return _speedups(slow, [fast], horizon, level, resamples, seed).of(0)


def speedups(
    base: Crossing, others: Crossing, horizon: float, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimates:
    """`speedup` of each of A arms over a base: others with time and reached (A, N); the numbers are the same."""
    check_number("horizon", horizon, 0.0, open_low=True)
    slow = _crossings("base", base)
    times, reached = _pair("others", others)
    arms, booleans = _finite("others", times, dimensions=(2,)), as_array("others", reached, "booleans, one per time")
    if booleans.shape != arms.shape or arms.shape[1] != len(slow[0]):
        got = f"{len(slow[0])} runs, times {arms.shape} and reached {booleans.shape}"
        raise InputError(f"base, others: must be paired, one run per seed in each, got {got}")
    fast = [_runs(*arm) for arm in zip(arms, booleans, strict=True)]
    return _speedups(slow, fast, horizon, level, resamples, seed)


def _speedups(slow: Runs, fast: Sequence[Runs], horizon: float, level: float, resamples: int, seed: int) -> Estimates:
    count = len(slow[0])

    def ratios(weights: FloatArray) -> Any:
        mean = _area(*_survival(*slow, weights), horizon)
        with np.errstate(divide="ignore", invalid="ignore"):  # no time: inf or NaN, as documented
            return np.stack([mean / _area(*_survival(*runs, weights), horizon) for runs in fast])

    def replicate(seeds: NDArray[np.int64]) -> Any:
        cells = seeds * len(seeds) + np.arange(len(seeds))[:, None]
        return ratios(np.bincount(cells.ravel(), minlength=seeds.size).reshape(count, -1).astype(np.float64))

    replicates = bootstrap(replicate, (count,), resamples, seed)
    return Estimates(ratios(np.ones(count)), *expanded_percentile(replicates, count, 1, level))


def _survival(
    times: FloatArray, reached: BoolArray, weights: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Sorted times (N,) and S just after each (N, ...), run i taken weights[i, ...] times, whole numbers.

    Bootstrap counts as weights: one sort serves all resamples. Run by run, tied crossings multiply to
    1 - d / n.
    """
    order = np.lexsort((~reached, times))  # at equal times crossings come before censored runs
    crossed = np.ones(len(times)) if weights is None else weights.take(order, axis=0)
    under_way = crossed.copy()
    _accumulate(np.add, under_way[::-1])
    np.maximum(under_way, 1.0, out=under_way)
    crossed[~reached[order]] = 0.0
    survival = np.subtract(1.0, np.divide(crossed, under_way, out=crossed), out=crossed)
    _accumulate(np.multiply, survival)
    return times[order], survival


def _accumulate(operate: np.ufunc, rows: FloatArray) -> None:
    """operate.accumulate(rows, axis=0), in place: of long rows one row at a time, which the processor does faster."""
    if rows.ndim == 1 or len(rows) > rows.shape[1]:
        operate.accumulate(rows, axis=0, out=rows)
        return
    for above, row in pairwise(rows):
        operate(above, row, out=row)


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


def _runs(times: ArrayLike, reached: ArrayLike) -> Runs:
    """Times (N,) >= 0 and reached (N,) bool, checked."""
    t, r = _finite("times", times), as_array("reached", reached, "booleans, one per time")
    if (t < 0).any():
        raise InputError(f"times: must be >= 0, got {t.min():g}")
    if r.dtype != np.bool_ or r.shape != t.shape:
        raise InputError(f"reached: must be {len(t)} booleans, one per time, got {r.dtype} of shape {r.shape}")
    return t, r


def _crossings(field: str, value: Any) -> Runs:
    """The runs of a Crossing, checked."""
    return _runs(*_pair(field, value))


def _pair(field: str, value: Any) -> tuple[Any, Any]:
    """The two parts of a Crossing."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise InputError(f"{field}: must be a Crossing, times and whether they were reached, got {shown(value)}")
    return value
