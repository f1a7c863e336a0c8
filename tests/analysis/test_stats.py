"""Statistics against their textbook definitions.

Every expected value comes from hand arithmetic, brute-force enumeration, a published table, or scipy; none
from the code under test. Coverage and false-positive rates are measured by simulation at fixed seeds.
"""

from itertools import combinations, product

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analysis import stats
from workbench.errors import InputError
from workbench.streams import Role, generator

quick = settings(max_examples=60, deadline=None)
counts = st.integers(-20, 20)


def same(first, second):
    return (first.value, first.low, first.high) == (second.value, second.low, second.high)


def difference(x, y, axis=0):
    """Difference of interquartile means, written with scipy."""
    return scipy.stats.trim_mean(x, 0.25, axis=axis) - scipy.stats.trim_mean(y, 0.25, axis=axis)


def difference_of_means(x, y, axis=0):
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


# --- interquartile mean -----------------------------------------------------------------------------------


def test_iqm_of_a_textbook_example_ignores_the_outlier():
    assert stats.iqm([1, 2, 3, 4, 5, 6, 7, 100]) == 4.5


@pytest.mark.parametrize("size", range(1, 14))
def test_iqm_agrees_with_the_trimmed_mean_of_scipy_at_every_size(size):
    x = np.random.default_rng(size).normal(size=size)
    assert stats.iqm(x) == pytest.approx(scipy.stats.trim_mean(x, 0.25), rel=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_iqm_works_along_any_axis(axis):
    x = np.random.default_rng(0).normal(size=(5, 8, 11))
    np.testing.assert_allclose(stats.iqm(x, axis=axis), scipy.stats.trim_mean(x, 0.25, axis=axis), rtol=1e-12)


def test_iqm_leaves_its_input_alone():
    x = np.array([3.0, 1.0, 2.0, 5.0])
    stats.iqm(x)
    assert x.tolist() == [3.0, 1.0, 2.0, 5.0]


# --- bootstrap interval -----------------------------------------------------------------------------------


def test_interval_value_is_the_statistic_of_the_pooled_scores():
    x = np.random.default_rng(1).normal(size=(9, 4))
    assert stats.interval(x).value == pytest.approx(scipy.stats.trim_mean(x.ravel(), 0.25), rel=1e-12)
    assert stats.interval(x, statistic=np.mean).value == pytest.approx(x.mean(), rel=1e-12)
    assert stats.interval(x[:, 0], statistic=np.median).value == pytest.approx(np.median(x[:, 0]), rel=1e-12)


def test_interval_brackets_its_value_and_widens_with_the_level():
    x = np.random.default_rng(2).normal(size=12)
    widths = []
    for level in (0.5, 0.8, 0.95, 0.99):
        estimate = stats.interval(x, level=level)
        assert estimate.low < estimate.value < estimate.high
        widths.append(estimate.high - estimate.low)
    assert (np.diff(widths) > 0).all()


def test_interval_of_equal_scores_has_no_width():
    for scores in (np.full(8, 0.25), np.full((8, 3), 0.25)):
        estimate = stats.interval(scores)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.25, 0.25, 0.25), abs=1e-12)


@pytest.mark.parametrize("scores", [[0.25], [[0.2, 0.3, 0.25]]])
def test_one_run_has_a_value_and_no_interval(scores):
    estimate = stats.interval(scores, statistic=np.mean)
    assert estimate.value == pytest.approx(0.25)
    assert np.isnan([estimate.low, estimate.high]).all()


def test_interval_follows_a_change_of_units():
    x = np.random.default_rng(3).normal(size=10)
    plain, scaled = stats.interval(x), stats.interval(40.0 * x - 7.0)
    for field in ("value", "low", "high"):
        assert getattr(scaled, field) == pytest.approx(40.0 * getattr(plain, field) - 7.0, rel=1e-9)


def test_interval_of_a_large_sample_matches_the_normal_theory():
    x = np.random.default_rng(4).normal(size=400)
    estimate = stats.interval(x, statistic=np.mean, resamples=4000)
    half = 1.96 * x.std(ddof=1) / np.sqrt(400)
    assert (estimate.low, estimate.high) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.1 * half)


def test_one_task_as_a_column_is_the_same_as_a_vector():
    x = np.random.default_rng(5).normal(size=10)
    assert same(stats.interval(x), stats.interval(x[:, None]))


def test_differences_between_tasks_do_not_widen_the_interval_of_the_mean():
    x = np.random.default_rng(6).normal(size=(10, 5))
    offsets = 100.0 * np.arange(5)
    plain = stats.interval(x, statistic=np.mean)
    shifted = stats.interval(x + offsets, statistic=np.mean)
    assert shifted.high - shifted.low == pytest.approx(plain.high - plain.low, rel=1e-6)
    # 50 scores with unit noise: 2 * 1.96 / sqrt(50) = .55, whatever the remedy for small N adds
    assert 0.35 < shifted.high - shifted.low < 0.9


def test_differences_between_tasks_do_not_widen_the_interval_of_the_iqm():
    x = np.random.default_rng(7).normal(size=(12, 4)) + 100.0 * np.arange(4)
    estimate = stats.interval(x)  # the middle half is tasks 1 and 2: 24 scores, 2 * 1.96 / sqrt(24) = .80
    assert 0.5 < estimate.high - estimate.low < 1.3


def test_tasks_are_resampled_independently_of_one_another():
    # The second task is the first with its sign flipped: resampled jointly, the mean would never move.
    x = np.random.default_rng(8).normal(size=20)
    estimate = stats.interval(np.stack([x, -x], axis=1), statistic=np.mean)
    assert estimate.high - estimate.low > 0.3


def test_interval_covers_the_iqm_of_skewed_scores_at_few_runs():
    """97.5 % at N = 8 in the docstring; the interquartile mean of the exponential law is 2 int_(1/4)^(3/4) quantile."""
    truth = 2 * scipy.integrate.quad(scipy.stats.expon.ppf, 0.25, 0.75)[0]
    scores = generator(0, Role.DESIGN, 8).exponential(size=(1000, 8))
    estimates = [stats.interval(x, resamples=1000, seed=i) for i, x in enumerate(scores)]
    assert abs(covered(estimates, truth) - 0.975) < 4 * np.sqrt(0.975 * 0.025 / 1000)


def covered(estimates, truth):
    return np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])


COVERAGE = [(8, 0.90, 0.99), (32, 0.92, 0.98)]  # runs, accepted range of a nominal 95 %


@pytest.mark.parametrize(("runs", "least", "most"), COVERAGE)
def test_interval_covers_the_iqm_of_normal_scores(runs, least, most):
    scores = np.random.default_rng(10).normal(size=(800, runs))
    estimates = [stats.interval(x, resamples=500, seed=i) for i, x in enumerate(scores)]
    assert least <= covered(estimates, 0.0) <= most


@pytest.mark.parametrize(("runs", "least", "most"), COVERAGE)
def test_interval_covers_the_mean_over_unequal_tasks(runs, least, most):
    scores = np.random.default_rng(11).normal(size=(500, runs, 3)) + np.array([-5.0, 0.0, 5.0])
    estimates = [stats.interval(x, statistic=np.mean, resamples=500, seed=i) for i, x in enumerate(scores)]
    assert least <= covered(estimates, 0.0) <= most


@pytest.mark.parametrize(("runs", "least", "most"), COVERAGE)
@pytest.mark.parametrize("statistic", [difference, difference_of_means])
def test_paired_interval_covers_a_difference(statistic, runs, least, most):
    rng = np.random.default_rng(12)
    shared = rng.normal(size=(500, runs))  # luck common to both arms
    x = 1.0 + shared + 0.5 * rng.normal(size=(500, runs))
    y = shared + 0.5 * rng.normal(size=(500, runs))
    estimates = [stats.paired_interval(x[i], y[i], statistic=statistic, resamples=400, seed=i) for i in range(len(x))]
    assert least <= covered(estimates, 1.0) <= most


def test_paired_interval_resamples_both_arms_with_the_same_seeds():
    rng = np.random.default_rng(13)
    y = 10.0 * rng.normal(size=16)
    constant_gain = stats.paired_interval(y + 1.0, y, statistic=difference_of_means)
    assert (constant_gain.low, constant_gain.high) == pytest.approx((1.0, 1.0), abs=1e-9)
    unpaired = stats.paired_interval(y + 1.0, rng.permutation(y), statistic=difference_of_means)
    assert unpaired.high - unpaired.low > 1.0


def test_paired_interval_value_is_the_statistic_and_lies_inside():
    rng = np.random.default_rng(14)
    x, y = rng.normal(size=(2, 12))
    estimate = stats.paired_interval(x, y, statistic=difference)
    assert estimate.value == pytest.approx(difference(x, y), rel=1e-12)
    assert estimate.low < estimate.value < estimate.high


# --- probability of improvement ---------------------------------------------------------------------------


def test_probability_of_improvement_by_hand():
    # pairs: 1<2, 1<2, 2=2, 2=2, 3>2, 3>2  ->  (2 + 2/2) / 6
    assert stats.probability_of_improvement([1, 2, 3], [2, 2]) == 0.5
    assert stats.probability_of_improvement([2, 3], [0, 1]) == 1.0
    assert stats.probability_of_improvement([0, 1], [2, 3]) == 0.0
    # pairs: 4>1, 4>3, 4<5, 2>1, 2<3, 2<5
    assert stats.probability_of_improvement([4, 2], [1, 3, 5]) == 0.5


@quick
@given(st.lists(counts, min_size=1, max_size=12), st.lists(counts, min_size=1, max_size=12))
def test_probability_of_improvement_is_the_mann_whitney_statistic(x, y):
    u = scipy.stats.mannwhitneyu(x, y, method="asymptotic").statistic
    assert stats.probability_of_improvement(x, y) == pytest.approx(u / (len(x) * len(y)), abs=1e-12)
    swapped = stats.probability_of_improvement(y, x)
    assert stats.probability_of_improvement(x, y) + swapped == pytest.approx(1.0, abs=1e-12)


def test_probability_of_improvement_is_averaged_over_tasks():
    rng = np.random.default_rng(15)
    x, y = rng.integers(0, 5, size=(7, 3)), rng.integers(0, 5, size=(9, 3))
    u = scipy.stats.mannwhitneyu(x, y, axis=0, method="asymptotic").statistic
    assert stats.probability_of_improvement(x, y) == pytest.approx(np.mean(u / (7 * 9)), abs=1e-12)


# --- sign-flip test ---------------------------------------------------------------------------------------


def sign_flip_by_enumeration(differences):
    """Share of the 2^N sign patterns with |sum| at least the observed one, in exact integers."""
    patterns = product((-1, 1), repeat=len(differences))
    sums = [sum(sign * d for sign, d in zip(pattern, differences, strict=True)) for pattern in patterns]
    return np.mean([abs(total) >= abs(sum(differences)) for total in sums])


@quick
@given(st.lists(counts, min_size=1, max_size=8), st.sampled_from([1.0, 0.1, 1 / 3, 1e-6, 1e6]))
def test_sign_flip_equals_brute_force_at_any_scale(differences, scale):
    # Scaling turns exact ties between patterns into ties up to rounding: they must still count.
    p = stats.sign_flip_test(scale * np.array(differences))
    assert p == pytest.approx(sign_flip_by_enumeration(differences), abs=1e-12)


@pytest.mark.parametrize(("runs", "smallest"), [(1, 1.0), (5, 0.0625), (6, 0.03125), (16, 2.0**-15)])
def test_sign_flip_smallest_p_is_two_over_two_to_the_n(runs, smallest):
    gains = np.random.default_rng(runs).uniform(0.1, 1.0, size=runs)
    assert stats.sign_flip_test(gains) == pytest.approx(smallest, rel=1e-12)
    assert stats.sign_flip_test(-gains) == pytest.approx(smallest, rel=1e-12)


def test_sign_flip_of_no_difference_is_one():
    assert stats.sign_flip_test(np.zeros(6)) == 1.0
    assert stats.sign_flip_test(np.zeros(20)) == 1.0


@quick
@given(st.lists(st.floats(-10, 10).map(lambda v: round(v, 3)), min_size=2, max_size=8))
def test_sign_flip_is_the_paired_permutation_test_of_scipy(differences):
    d = np.array(differences)
    peer = scipy.stats.permutation_test(
        (d, np.zeros(len(d))), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
        n_resamples=np.inf, alternative="two-sided", vectorized=True,
    )  # fmt: skip
    assert stats.sign_flip_test(d) == pytest.approx(peer.pvalue, abs=1e-12)


def test_sign_flip_up_to_sixteen_runs_needs_no_random_numbers():
    differences = np.random.default_rng(16).normal(0.4, 1.0, size=16)
    p = stats.sign_flip_test(differences, seed=0)
    assert p == stats.sign_flip_test(differences, seed=1, resamples=10)


def test_sign_flip_by_monte_carlo_approaches_the_exact_value():
    differences = np.random.default_rng(26).normal(0.45, 1.0, size=17)
    signs = 1 - 2 * ((np.arange(2**17)[:, None] >> np.arange(17)) & 1)
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert 0.01 < exact < 0.5  # away from the ends, where the comparison says something
    p = [stats.sign_flip_test(differences, seed=seed) for seed in range(4)]
    error = np.sqrt(exact * (1 - exact) / 10_000)
    assert np.abs(np.array(p) - exact).max() < 5 * error
    assert len(set(p)) > 1
    assert p[0] == stats.sign_flip_test(differences, seed=0)


def test_sign_flip_by_monte_carlo_never_reports_zero():
    # exact: 2 / 2^40, so no drawn pattern matches and p = (1 + 0) / (1 + resamples)
    assert stats.sign_flip_test(np.ones(40), resamples=999) == pytest.approx(1 / 1000, rel=1e-12)


@pytest.mark.parametrize(
    ("runs", "repeats", "attainable"),
    [(8, 1500, 12 / 256), (20, 500, 0.05)],  # the largest exact level <= .05 at N = 8; Monte Carlo at N = 20
)
def test_sign_flip_keeps_its_false_positive_rate(runs, repeats, attainable):
    null = np.random.default_rng(18).normal(size=(repeats, runs))
    p = np.array([stats.sign_flip_test(d, resamples=999, seed=i) for i, d in enumerate(null)])
    assert abs(np.mean(p <= 0.05) - attainable) < 4 * np.sqrt(0.05 * 0.95 / repeats)
    assert abs(p.mean() - 0.5) < 4 / np.sqrt(12 * repeats)  # uniform under the null


# --- Holm -------------------------------------------------------------------------------------------------

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def test_holm_on_a_textbook_example():
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, made monotone
    np.testing.assert_allclose(stats.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], rtol=1e-12)
    np.testing.assert_allclose(stats.holm([0.5, 0.6]), [1.0, 1.0])
    np.testing.assert_allclose(stats.holm([0.2]), [0.2])


@quick
@given(p_values)
def test_holm_is_the_closure_of_bonferroni(p):
    # The definition it abbreviates: p_i is the worst Bonferroni p of all sets of hypotheses that hold i.
    family = range(len(p))
    subsets = [s for size in family for s in combinations(family, size + 1)]
    expected = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in family]
    np.testing.assert_allclose(stats.holm(p), expected, rtol=1e-12)


@quick
@given(p_values, st.randoms(use_true_random=False))
def test_holm_is_monotone_clipped_and_permutation_equivariant(p, random):
    p = np.array(p)
    adjusted = np.asarray(stats.holm(p))
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * p + 1e-12)).all()  # never above Bonferroni
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    order = np.array(random.sample(range(len(p)), len(p)))
    np.testing.assert_array_equal(stats.holm(p[order]), adjusted[order])


def test_holm_passes_nan_through_without_counting_it():
    adjusted = stats.holm([0.01, np.nan, 0.04, 0.03, np.nan, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, np.nan, 0.06, 0.06, np.nan, 0.02], rtol=1e-12)
    assert np.isnan(stats.holm([np.nan, np.nan])).all()


# --- Kaplan-Meier -----------------------------------------------------------------------------------------

# Weeks in remission, acute leukaemia (Freireich et al. 1963, in Gehan 1965): 6-mercaptopurine and placebo.
MERCAPTOPURINE = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35.0])
RELAPSED = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
PLACEBO = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23.0])
ALL = np.ones(21, dtype=bool)

censored_data = st.lists(st.tuples(st.integers(1, 15), st.booleans()), min_size=1, max_size=20)


def survival_at(times, reached, when):
    """Read the returned step function, right-continuous and 1 before its first step."""
    t, s = stats.kaplan_meier(times, reached)
    return np.concatenate([[1.0], s])[np.searchsorted(t, when, side="right")]


def test_kaplan_meier_on_the_remission_data():
    weeks = [5, 6, 7, 9, 10, 13, 16, 22, 23, 35]
    published = [1.0, 0.857, 0.807, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448, 0.448]
    np.testing.assert_allclose(survival_at(MERCAPTOPURINE, RELAPSED, weeks), published, atol=5e-4)
    # the exact fractions: 21 at risk with 3 relapses, then 17 (one censored at 6) with 1, then 15 with 1
    by_hand = np.cumprod([18 / 21, 16 / 17, 14 / 15])
    np.testing.assert_allclose(survival_at(MERCAPTOPURINE, RELAPSED, [6, 7, 10]), by_hand, rtol=1e-12)


def test_kaplan_meier_does_not_depend_on_the_order_of_the_runs():
    order = np.random.default_rng(19).permutation(21)
    when = np.arange(40)
    shuffled = survival_at(MERCAPTOPURINE[order], RELAPSED[order], when)
    np.testing.assert_allclose(shuffled, survival_at(MERCAPTOPURINE, RELAPSED, when), rtol=1e-12)


@quick
@given(censored_data)
def test_kaplan_meier_agrees_with_scipy(data):
    times, reached = np.array([t for t, _ in data], dtype=float), np.array([r for _, r in data])
    expected = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(times, ~reached)).sf
    when = np.arange(0, 17)
    np.testing.assert_allclose(survival_at(times, reached, when), expected.evaluate(when), atol=1e-12)


def test_kaplan_meier_without_a_single_crossing_stays_at_one():
    assert survival_at(np.full(5, 100.0), np.zeros(5, dtype=bool), [0, 50, 100, 200]).tolist() == [1.0] * 4


@quick
@given(censored_data, st.integers(1, 20))
def test_restricted_mean_is_the_area_under_the_curve(data, horizon):
    times, reached = np.array([t for t, _ in data], dtype=float), np.array([r for _, r in data])
    survival = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(times, ~reached)).sf
    # whole-number times: S is constant on [k, k+1), so the area is a plain sum
    area = survival.evaluate(np.arange(horizon)).sum()
    assert stats.restricted_mean(times, reached, horizon) == pytest.approx(area, rel=1e-9)


def test_restricted_mean_on_the_remission_data():
    # width times height between relapses; R's survival package prints 23.29 and 8.67 with rmean = 35
    width = np.diff([0, 6, 7, 10, 13, 16, 22, 23, 35])
    height = np.cumprod([1, 18 / 21, 16 / 17, 14 / 15, 11 / 12, 10 / 11, 6 / 7, 5 / 6])
    area = stats.restricted_mean(MERCAPTOPURINE, RELAPSED, 35)
    assert area == pytest.approx(width @ height, rel=1e-12)
    assert area == pytest.approx(23.29, abs=0.005)
    assert stats.restricted_mean(PLACEBO, ALL, 35) == pytest.approx(182 / 21, rel=1e-12)


@pytest.mark.parametrize("horizon", [3.5, 50.0, 100.0])
def test_restricted_mean_is_a_plain_mean_without_early_censoring(horizon):
    true_times = np.random.default_rng(20).exponential(60.0, size=40)
    times, reached = np.minimum(true_times, 100.0), true_times < 100.0  # the runs end at step 100
    assert 0 < reached.sum() < 40
    expected = np.minimum(true_times, horizon).mean()
    assert stats.restricted_mean(times, reached, horizon) == pytest.approx(expected, rel=1e-12)


def test_restricted_mean_of_runs_that_never_cross_is_the_horizon():
    assert stats.restricted_mean(np.full(5, 100.0), np.zeros(5, dtype=bool), 100.0) == pytest.approx(100.0)


def test_median_time_on_the_remission_data():
    assert stats.median_time(MERCAPTOPURINE, RELAPSED) == 23
    assert stats.median_time(PLACEBO, ALL) == 8


@pytest.mark.parametrize("runs", range(1, 41))
def test_median_time_is_the_first_time_when_half_have_crossed(runs):
    # S falls by 1/N at each of 1..N: it is first <= 1/2 at ceil(N/2), also where the product rounds above 1/2
    times = np.arange(1.0, runs + 1)
    assert stats.median_time(times, np.ones(runs, dtype=bool)) == (runs + 1) // 2


def test_median_time_is_infinite_when_most_runs_never_cross():
    times = np.array([10.0, 20.0, 100.0, 100.0, 100.0])
    assert stats.median_time(times, times < 100) == np.inf


# --- steps to threshold -----------------------------------------------------------------------------------

STEPS = np.array([0, 5, 10, 20])


def first_crossing(steps, curve, threshold):
    """The plain loop: first record at or above the threshold, then back along its line."""
    for e, value in enumerate(curve):
        if value >= threshold:
            if e == 0:
                return float(steps[0]), True
            share = (threshold - curve[e - 1]) / (value - curve[e - 1])
            return steps[e - 1] + share * (steps[e] - steps[e - 1]), True
    return float(steps[-1]), False


@pytest.mark.parametrize(
    ("curve", "threshold", "time", "reached"),
    [
        ([0.1, 0.2, 0.4, 0.8], 0.3, 7.5, True),  # half way between records
        ([0.1, 0.2, 0.4, 0.8], 0.5, 12.5, True),  # a quarter of a longer gap
        ([0.1, 0.2, 0.4, 0.8], 0.4, 10.0, True),  # exactly at a record
        ([0.1, 0.2, 0.4, 0.8], 0.8, 20.0, True),  # at the very last record: reached, not censored
        ([0.1, 0.2, 0.4, 0.8], 0.1, 0.0, True),  # already there at step 0
        ([0.9, 0.2, 0.4, 0.8], 0.5, 0.0, True),  # there at step 0, then lost
        ([0.0, 0.6, 0.0, 0.6], 0.3, 2.5, True),  # the first of two crossings
        ([0.0, 0.5, 0.5, 0.5], 0.5, 5.0, True),  # a plateau at the threshold
        ([0.1, 0.2, 0.4, 0.8], 0.9, 20.0, False),  # never: censored at the last step
    ],
)
def test_steps_to_threshold_by_hand(curve, threshold, time, reached):
    crossing = stats.steps_to_threshold(STEPS, np.array(curve), threshold)
    assert np.shape(crossing.time) == np.shape(crossing.reached) == ()
    assert float(crossing.time) == pytest.approx(time, abs=1e-12)
    assert bool(crossing.reached) is reached


@quick
@given(st.lists(st.tuples(*[st.integers(0, 10)] * 4), min_size=1, max_size=6), st.integers(0, 11))
def test_steps_to_threshold_equals_the_plain_loop(rows, threshold):
    crossing = stats.steps_to_threshold(STEPS, np.array(rows) / 10, threshold / 10)
    expected = [first_crossing(STEPS, np.array(row) / 10, threshold / 10) for row in rows]
    np.testing.assert_allclose(crossing.time, [time for time, _ in expected], atol=1e-9)
    assert np.asarray(crossing.reached).tolist() == [reached for _, reached in expected]


def test_steps_to_threshold_keeps_leading_axes():
    curves = np.random.default_rng(21).uniform(size=(3, 2, 4))
    crossing = stats.steps_to_threshold(STEPS, curves, 0.7)
    assert crossing.time.shape == crossing.reached.shape == (3, 2)
    for index in np.ndindex(3, 2):
        time, reached = first_crossing(STEPS, curves[index], 0.7)
        assert (crossing.time[index], crossing.reached[index]) == (pytest.approx(time), reached)


def test_each_curve_may_have_a_threshold_of_its_own():
    curves = np.random.default_rng(30).uniform(size=(3, 2, 4))
    levels = np.random.default_rng(31).uniform(size=(3, 2))
    crossing = stats.steps_to_threshold(STEPS, curves, levels)
    for index in np.ndindex(3, 2):
        time, reached = first_crossing(STEPS, curves[index], levels[index])
        assert (crossing.time[index], crossing.reached[index]) == (pytest.approx(time), reached)


# --- area under the curve ---------------------------------------------------------------------------------


def test_area_is_the_mean_height_of_trapezoids_by_hand():
    # 5 (.1 + .2) / 2 + 5 (.2 + .4) / 2 + 10 (.4 + .8) / 2 = .75 + 1.5 + 6 over 20 steps
    assert stats.area(STEPS, [0.1, 0.2, 0.4, 0.8]) == pytest.approx(8.25 / 20, rel=1e-12)


@quick
@given(st.lists(st.tuples(*[st.integers(0, 10)] * 4), min_size=1, max_size=6))
def test_area_is_scipys_trapezoid_over_the_length_of_the_run(rows):
    curves = np.array(rows) / 10
    expected = scipy.integrate.trapezoid(curves, STEPS, axis=1) / 20
    np.testing.assert_allclose(stats.area(STEPS, curves), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(stats.area(STEPS, curves.T, axis=0), expected, rtol=1e-12, atol=1e-12)


def test_area_of_a_level_curve_is_its_height_wherever_the_run_begins():
    assert stats.area([100, 150, 160], np.full(3, 0.3)) == pytest.approx(0.3, rel=1e-12)


def test_area_is_the_same_in_other_units_of_time_and_for_a_curve_cut_in_two():
    rng = np.random.default_rng(32)
    steps, curve = np.sort(rng.uniform(0, 50, 9)), rng.uniform(size=9)
    whole = stats.area(steps, curve)
    assert stats.area(8 * steps + 100, curve) == pytest.approx(whole, rel=1e-9)
    first, last = stats.area(steps[:5], curve[:5]), stats.area(steps[4:], curve[4:])
    spans = steps[4] - steps[0], steps[8] - steps[4]
    assert whole == pytest.approx((spans[0] * first + spans[1] * last) / sum(spans), rel=1e-9)


# --- how many seeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("comparisons", [1, 2, 7, 28, 144])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_seeds_needed_are_the_fewest_with_which_a_test_can_be_significant(comparisons, level):
    """By the test and the adjustment themselves: all differences of one sign, in every comparison."""

    def smallest(seeds):
        return stats.holm([stats.sign_flip_test(np.arange(1.0, seeds + 1))] * comparisons)[0]

    needed = stats.seeds_needed(comparisons, level)
    assert smallest(needed) <= 1 - level < smallest(needed - 1)


def test_seeds_needed_for_known_numbers_of_comparisons():
    assert [stats.seeds_needed(m) for m in (0, 1, 2, 6, 7, 28, 144)] == [1, 6, 7, 8, 9, 11, 13]


# --- speed-up ---------------------------------------------------------------------------------------------


def crossing(times, horizon=100.0):
    times = np.asarray(times, dtype=float)
    return stats.Crossing(time=np.minimum(times, horizon), reached=times < horizon)


def test_speedup_is_the_ratio_of_restricted_means():
    base, other = crossing([40, 80, 200, 60, 300, 90]), crossing([20, 30, 50, 25, 150, 35])
    # censored at 100: (40 + 80 + 100 + 60 + 100 + 90) / (20 + 30 + 50 + 25 + 100 + 35) = 470 / 260
    estimate = stats.speedup(base, other, 100.0)
    assert estimate.value == pytest.approx(470 / 260, rel=1e-12)
    assert 1.0 < estimate.low < estimate.value < estimate.high
    assert stats.speedup(other, base, 100.0).value == pytest.approx(260 / 470, rel=1e-12)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_speedup_pairs_the_seeds(factor):
    # Same factor in every seed: the ratio is known exactly although the times spread widely.
    times = np.random.default_rng(22).uniform(5.0, 45.0, size=10)
    estimate = stats.speedup(crossing(factor * times), crossing(times), 100.0)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((factor,) * 3, rel=1e-9)


def test_speedup_over_an_arm_that_is_there_at_step_zero_is_infinite():
    late, instant = crossing([40, 80, 60, 50]), crossing([0, 0, 0, 0])
    assert stats.speedup(late, instant, 100.0).value == np.inf
    assert stats.speedup(instant, late, 100.0).value == 0.0


def test_speedup_interval_matches_a_plain_bootstrap_under_early_censoring():
    rng = np.random.default_rng(27)
    arms = []
    for mean in (60.0, 30.0):
        times, ends = rng.exponential(mean, size=60), rng.uniform(20.0, 150.0, size=60)
        arms.append(stats.Crossing(time=np.minimum(times, ends), reached=times < ends))
    seeds = rng.integers(60, size=(1500, 60))
    base, other = [np.array([stats.restricted_mean(a.time[s], a.reached[s], 100.0) for s in seeds]) for a in arms]
    low, high = np.quantile(base / other, [0.025, 0.975])
    estimate = stats.speedup(*arms, 100.0)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.12 * (high - low))


def test_speedup_interval_covers_the_true_ratio():
    rng = np.random.default_rng(23)
    base, other = rng.gamma(9.0, 40 / 9, size=(400, 16)), rng.gamma(9.0, 20 / 9, size=(400, 16))
    truth = 2.0  # means 40 and 20; fewer than 1 in 10,000 times lies beyond the horizon of 200
    estimates = [
        stats.speedup(crossing(b, 200.0), crossing(o, 200.0), 200.0, resamples=300, seed=i)
        for i, (b, o) in enumerate(zip(base, other, strict=True))
    ]
    assert 0.90 <= covered(estimates, truth) <= 0.99


# --- many arms at once ------------------------------------------------------------------------------------


def arms_of(count, runs, seed=0):
    """Arms (A, N) with ties within and between them, and one of equal runs."""
    values = np.random.default_rng(seed).normal(0.3, 0.1, size=(count, runs)).round(2)
    values[0] = 0.25
    return values


@pytest.mark.parametrize("runs", [1, 2, 5, 16, 17, 40], ids=lambda runs: f"{runs} runs")
def test_many_arms_have_the_numbers_that_each_has_alone(runs):
    arms, base = arms_of(4, runs), arms_of(2, runs, seed=1)[1]
    for statistic in (stats.iqm, np.mean):
        together = stats.intervals(arms, statistic, 0.9, resamples=1500, seed=3)
        alone = [stats.interval(arm, statistic, 0.9, resamples=1500, seed=3) for arm in arms]
        np.testing.assert_array_equal(np.transpose(together), alone)
    means, gains = stats.arms_with_gains(arms, base, 0.9, resamples=1500, seed=3)
    np.testing.assert_array_equal(np.transpose(means), [stats.interval(arm, level=0.9, resamples=1500, seed=3)
                                                        for arm in arms])  # fmt: skip
    alone = [stats.paired_interval(arm, base, iqm_difference, 0.9, resamples=1500, seed=3) for arm in arms]
    np.testing.assert_array_equal(np.transpose(gains), alone)
    tests = stats.sign_flip_tests(arms - base, resamples=3000, seed=3)
    assert tests.tolist() == [stats.sign_flip_test(arm - base, resamples=3000, seed=3) for arm in arms]


def iqm_difference(x, y, axis):
    return stats.iqm(x, axis) - stats.iqm(y, axis)


@pytest.mark.parametrize("runs", [1, 3, 12, 400], ids=lambda runs: f"{runs} runs")
def test_speedups_of_many_arms_are_those_of_each_alone(runs):
    luck = np.random.default_rng(5)
    times = luck.integers(0, 90, size=(4, runs)).astype(float)
    reached = luck.random((4, runs)) < 0.8
    base = stats.Crossing(times[0], reached[0])
    together = stats.speedups(base, stats.Crossing(times[1:], reached[1:]), 100.0, 0.9, resamples=200, seed=3)
    alone = [stats.speedup(base, stats.Crossing(*arm), 100.0, 0.9, resamples=200, seed=3)
             for arm in zip(times[1:], reached[1:], strict=True)]  # fmt: skip
    np.testing.assert_array_equal(np.transpose(together), alone)


def test_an_interval_is_that_of_resampled_values_written_out():
    """Draws from the keyed stream in one block, values resampled themselves, sorted by `iqm`."""
    scores = arms_of(2, 30)[1]
    rows = generator(7, Role.BOOTSTRAP).integers(30, size=(1000, 30, 1))
    replicates = np.sort(stats.iqm(scores[rows[:, :, 0]], axis=-1))
    found = stats.interval(scores, level=0.9, resamples=1000, seed=7)
    assert {found.low, found.high} <= set(replicates.tolist())
    tail = scipy.stats.norm.cdf(-np.sqrt(30 / 29) * scipy.stats.t(29).ppf(0.95))
    outside = int(tail * 1001) - 1
    assert (found.low, found.high) == (replicates[outside], replicates[-1 - outside])


# --- randomness -------------------------------------------------------------------------------------------

SAMPLE = np.random.default_rng(24).normal(0.3, 1.0, size=(2, 20))
RANDOM = {
    "interval": lambda seed: stats.interval(SAMPLE[0], seed=seed),
    "interval of tasks": lambda seed: stats.interval(SAMPLE.T, seed=seed),
    "paired": lambda seed: stats.paired_interval(*SAMPLE, statistic=difference_of_means, seed=seed),
    "speedup": lambda seed: stats.speedup(*map(crossing, 50 + SAMPLE), 100.0, seed=seed),
}


@pytest.mark.parametrize("name", RANDOM)
def test_same_seed_same_interval_and_another_seed_a_slightly_different_one(name):
    estimate = RANDOM[name]
    first, other = estimate(0), estimate(1)
    assert same(first, estimate(0))
    assert first.value == other.value
    assert (first.low, first.high) != (other.low, other.high)
    width = first.high - first.low
    assert (other.low, other.high) == pytest.approx((first.low, first.high), abs=0.25 * width)


@pytest.mark.parametrize("name", RANDOM)
def test_global_random_state_is_neither_read_nor_moved(name):
    legacy = np.random.mtrand._rand  # the generator behind the functions of np.random
    before = legacy.get_state()
    try:
        first = RANDOM[name](3)
        stats.sign_flip_test(SAMPLE[0], seed=3)
        after = legacy.get_state()
        np.testing.assert_array_equal(after[1], before[1])
        assert after[2:] == before[2:]
        legacy.seed(1)
        assert same(first, RANDOM[name](3))
    finally:
        legacy.set_state(before)


# --- bad input --------------------------------------------------------------------------------------------

GOOD = np.arange(8.0)
NAN = np.array([0.0, 1.0, np.nan, 3.0])
EMPTY = np.array([])
NEVER = np.zeros(8, dtype=bool)

BAD = {
    "interval NaN": lambda: stats.interval(NAN),
    "interval infinite": lambda: stats.interval(np.array([0.0, 1.0, np.inf, 3.0])),
    "interval empty": lambda: stats.interval(EMPTY),
    "interval no tasks": lambda: stats.interval(np.empty((8, 0))),
    "interval three axes": lambda: stats.interval(np.zeros((4, 3, 2))),
    "interval no resamples": lambda: stats.interval(GOOD, resamples=0),
    **{f"interval level {v}": lambda v=v: stats.interval(GOOD, level=v) for v in (0, 1, -0.1, 95, np.nan)},
    "paired NaN": lambda: stats.paired_interval(NAN, NAN, statistic=difference_of_means),
    "paired empty": lambda: stats.paired_interval(EMPTY, EMPTY, statistic=difference_of_means),
    "paired lengths": lambda: stats.paired_interval(GOOD, GOOD[:5], statistic=difference_of_means),
    "paired level": lambda: stats.paired_interval(GOOD, GOOD, statistic=difference_of_means, level=2.0),
    "improvement NaN": lambda: stats.probability_of_improvement(NAN, GOOD),
    "improvement empty": lambda: stats.probability_of_improvement(GOOD, EMPTY),
    "improvement tasks differ": lambda: stats.probability_of_improvement(np.zeros((4, 2)), np.zeros((4, 3))),
    "sign flip NaN": lambda: stats.sign_flip_test(NAN),
    "sign flip empty": lambda: stats.sign_flip_test(EMPTY),
    "sign flip resamples": lambda: stats.sign_flip_test(np.arange(20.0), resamples=0),
    "intervals of one arm": lambda: stats.intervals(GOOD),
    "intervals NaN": lambda: stats.intervals(NAN[None]),
    "gains lengths": lambda: stats.arms_with_gains(np.zeros((2, 8)), GOOD[:5]),
    "gains of one arm": lambda: stats.arms_with_gains(GOOD, GOOD),
    "sign flips of one arm": lambda: stats.sign_flip_tests(GOOD),
    "speedups of no Crossing": lambda: stats.speedups(crossing(GOOD), GOOD, 100.0),
    "speedups of one arm": lambda: stats.speedups(crossing(GOOD), crossing(GOOD), 100.0),
    "speedups lengths": lambda: stats.speedups(
        crossing(GOOD), stats.Crossing(np.zeros((2, 5)), np.ones((2, 5), bool)), 100.0
    ),
    "holm above one": lambda: stats.holm([0.5, 1.2]),
    "holm negative": lambda: stats.holm([0.5, -0.1]),
    "seeds for part of a comparison": lambda: stats.seeds_needed(1.5),
    "seeds for fewer than none": lambda: stats.seeds_needed(-1),
    "seeds at no level": lambda: stats.seeds_needed(1, 1.0),
    "area of one record": lambda: stats.area([0], [0.5]),
    "area lengths": lambda: stats.area(STEPS, np.zeros(5)),
    "area NaN": lambda: stats.area(STEPS, np.array([0.1, np.nan, 0.3, 0.4])),
    "area steps stand still": lambda: stats.area([0, 5, 5, 20], np.zeros(4)),
    "area axis": lambda: stats.area(STEPS, np.zeros((4, 3)), axis=2),
    "thresholds lengths": lambda: stats.steps_to_threshold(STEPS, np.zeros((3, 4)), [0.1, 0.2]),
    "threshold NaN": lambda: stats.steps_to_threshold(STEPS, np.zeros(4), np.nan),
    "threshold curve NaN": lambda: stats.steps_to_threshold(STEPS, np.array([0.1, np.nan, 0.3, 0.4]), 0.2),
    "threshold lengths": lambda: stats.steps_to_threshold(STEPS, np.zeros(5), 0.5),
    "threshold no records": lambda: stats.steps_to_threshold(EMPTY, EMPTY, 0.5),
    "threshold steps fall": lambda: stats.steps_to_threshold([0, 10, 5, 20], np.zeros(4), 0.5),
    "survival NaN": lambda: stats.kaplan_meier(NAN, np.ones(4, dtype=bool)),
    "survival empty": lambda: stats.kaplan_meier(EMPTY, EMPTY.astype(bool)),
    "survival negative": lambda: stats.kaplan_meier(-GOOD - 1, NEVER),
    "survival lengths": lambda: stats.kaplan_meier(GOOD, NEVER[:5]),
    "restricted mean NaN horizon": lambda: stats.restricted_mean(GOOD, NEVER, np.nan),
    "restricted mean negative horizon": lambda: stats.restricted_mean(GOOD, NEVER, -1.0),
    "median empty": lambda: stats.median_time(EMPTY, EMPTY.astype(bool)),
    "speedup lengths": lambda: stats.speedup(crossing(GOOD), crossing(GOOD[:5]), 100.0),
    "speedup level": lambda: stats.speedup(crossing(GOOD + 1), crossing(GOOD + 2), 100.0, level=0.0),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(name):
    with pytest.raises(InputError) as caught:
        BAD[name]()
    message = str(caught.value)
    assert message
    assert "\n" not in message
