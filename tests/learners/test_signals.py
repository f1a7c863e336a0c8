"""Exact laws of the signal of one finite group: k successes among n rollouts at success probability p."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

import workbench as wb

P = np.array([0.001, 0.01, 0.1, 0.25, 0.5, 0.7, 0.95, 0.999])
GROUP_SIZES = range(2, 65)
probabilities = st.floats(0.0, 1.0)
sizes = st.integers(2, 64)


def expectation(signal, n, p):
    """E over k ~ Binomial(n, p) of the group signal, as the plain sum."""
    k = np.arange(n + 1)
    return float(np.sum(binom.pmf(k, n, p) * signal.group(k, n, p)))


def silent_share(signal, n, p):
    """Probability that the group signal is exactly 0."""
    k = np.arange(n + 1)
    return float(np.sum(binom.pmf(k, n, p)[signal.group(k, n, p) == 0]))


def reinforce(rewards, advantages, p):
    """Policy gradient of a Bernoulli policy in its logit: score is 1 - p for a success, -p for a failure."""
    return float(np.mean(advantages * (rewards - p)))


def all_rewards(n):
    """One reward vector for every k in 0..n."""
    return [np.array([1.0] * k + [0.0] * (n - k)) for k in range(n + 1)]


# --------------------------------------------------------------- a signal is the policy gradient of its group


@pytest.mark.parametrize("n", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_rloo_is_the_gradient_with_the_other_rollouts_mean_as_baseline(n, p):
    for rewards in all_rewards(n):
        others = (rewards.sum() - rewards) / (n - 1)
        expected = reinforce(rewards, rewards - others, p)
        assert wb.RLOO().group(rewards.sum(), n, p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_mean_baseline_is_the_gradient_with_the_group_mean_as_baseline(n, p):
    for rewards in all_rewards(n):
        expected = reinforce(rewards, rewards - rewards.mean(), p)
        assert wb.MeanBaseline().group(rewards.sum(), n, p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_grpo_is_the_gradient_with_advantages_divided_by_the_population_std(n, p):
    for rewards in all_rewards(n):
        centred = rewards - rewards.mean()
        expected = reinforce(rewards, centred / rewards.std(), p) if rewards.std() > 0 else 0.0
        assert wb.GRPO().group(rewards.sum(), n, p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_success_only_is_the_mean_score_of_the_successes(n, p):
    for rewards in all_rewards(n):
        expected = np.mean(1 - p * np.ones(n)[rewards == 1]) if rewards.any() else 0.0
        assert wb.SuccessOnly().group(rewards.sum(), n, p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_perfect_critic_is_the_gradient_with_the_success_probability_as_baseline(n, p):
    for rewards in all_rewards(n):
        expected = reinforce(rewards, rewards - p, p)
        assert wb.Critic(perfect=True).group(rewards.sum(), n, p) == pytest.approx(expected, abs=1e-12)


# --------------------------------------------------------------------------------------- exact finite-n means


def test_rloo_is_unbiased_for_the_success_variance_at_every_group_size():
    for n, p in product(GROUP_SIZES, P):
        assert expectation(wb.RLOO(), n, p) == pytest.approx(p * (1 - p), rel=1e-10)


def test_mean_baseline_shrinks_the_success_variance_by_one_minus_one_over_n():
    for n, p in product(GROUP_SIZES, P):
        assert expectation(wb.MeanBaseline(), n, p) == pytest.approx(p * (1 - p) * (1 - 1 / n), rel=1e-10)


def test_grpo_mean_stays_below_jensens_bound_and_above_the_mean_baseline():
    for n, p in product(GROUP_SIZES, P):
        mean = expectation(wb.GRPO(), n, p)
        assert mean <= sqrt(p * (1 - p) * (1 - 1 / n)) + 1e-12
        assert mean >= 2 * expectation(wb.MeanBaseline(), n, p) - 1e-12  # sqrt(v) >= 2 v where v <= 1/4


def test_success_only_mean_is_the_failure_rate_times_the_chance_of_any_success():
    for n, p in product([1, *GROUP_SIZES], P):
        expected = (1 - p) * (1 - (1 - p) ** n)
        assert expectation(wb.SuccessOnly(), n, p) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("n", "p", "mean_baseline", "grpo", "silent"),
    [
        (2, 0.01, 0.00495, 0.0099, 0.9802),
        (2, 0.1, 0.045, 0.09, 0.82),
        (2, 0.5, 0.125, 0.25, 0.5),
        (4, 0.01, 0.00742, 0.0171, 0.9606),
        (4, 0.1, 0.0675, 0.15213, 0.6562),
        (4, 0.5, 0.1875, 0.40401, 0.125),
        (8, 0.01, 0.00866, 0.02583, 0.92274),
        (8, 0.1, 0.07875, 0.20949, 0.43047),
        (8, 0.5, 0.21875, 0.46391, 0.00781),
        (16, 0.01, 0.00928, 0.03696, 0.85146),
        (16, 0.1, 0.08438, 0.2563, 0.1853),
        (16, 0.5, 0.23438, 0.48353, 0.00003),
        (64, 0.01, 0.00975, 0.06669, 0.5256),
        (64, 0.1, 0.08859, 0.29293, 0.00118),
        (64, 0.5, 0.24609, 0.49605, 0.0),
    ],
)
def test_finite_group_table(n, p, mean_baseline, grpo, silent):
    assert expectation(wb.MeanBaseline(), n, p) == pytest.approx(mean_baseline, abs=6e-6)
    assert expectation(wb.GRPO(), n, p) == pytest.approx(grpo, abs=6e-6)
    assert silent_share(wb.GRPO(), n, p) == pytest.approx(silent, abs=6e-5)


def test_grpo_with_two_rollouts_is_twice_the_mean_baseline():
    k = np.arange(3)
    assert np.array_equal(wb.GRPO().group(k, 2, 0.3), 2 * wb.MeanBaseline().group(k, 2, 0.3))


def test_grpo_mean_of_rare_successes_is_p_times_root_n_minus_one_and_not_root_p():
    p = 1e-7
    for n in GROUP_SIZES:
        assert expectation(wb.GRPO(), n, p) == pytest.approx(p * sqrt(n - 1), rel=1e-4)


def test_grpo_mean_approaches_its_large_group_limit_as_groups_grow():
    gaps = [sqrt(0.3 * 0.7) - expectation(wb.GRPO(), n, 0.3) for n in (4, 16, 64, 1024)]
    assert np.all(np.diff(gaps) < 0)
    assert 0 < gaps[-1] < 1e-3


# ---------------------------------------------------------------------------------------------- silent groups


@pytest.mark.parametrize("signal", [wb.RLOO(), wb.MeanBaseline(), wb.GRPO()], ids=lambda s: type(s).__name__)
def test_exactly_the_unanimous_groups_are_silent(signal):
    for n, p in product(GROUP_SIZES, P):
        k = np.arange(n + 1)
        assert np.array_equal(signal.group(k, n, p) == 0, (k == 0) | (k == n))
        assert silent_share(signal, n, p) == pytest.approx(p**n + (1 - p) ** n, rel=1e-9)


@pytest.mark.parametrize("signal", [wb.RLOO(), wb.MeanBaseline(), wb.GRPO()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("n", [2, 4, 8, 16, 64])
def test_dynamic_sampling_divides_the_mean_signal_by_the_share_of_mixed_groups(signal, n):
    k = np.arange(n + 1)
    for p in P:
        given_mixed = binom.pmf(k, n, p) * ((k > 0) & (k < n))
        mixed = 1 - p**n - (1 - p) ** n
        mean_given_mixed = np.sum(given_mixed / given_mixed.sum() * signal.group(k, n, p))
        assert mean_given_mixed == pytest.approx(expectation(signal, n, p) / mixed, rel=1e-9)
        # it takes 1 / mixed groups to find one mixed group: the progress per rollout is what it was
        assert mean_given_mixed * mixed / n == pytest.approx(expectation(signal, n, p) / n, rel=1e-9)


def test_success_only_is_silent_only_without_any_success():
    assert np.array_equal(wb.SuccessOnly().group(np.arange(9), 8, 0.4) == 0, np.arange(9) == 0)


def test_a_perfect_critic_never_falls_silent_while_the_outcome_is_uncertain():
    assert np.all(wb.Critic(perfect=True).group(np.arange(9), 8, 0.4) > 0)


# ------------------------------------------------------------------------------------------------- the critic


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 0.73, 1.0])
@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_critic_is_unbiased_for_every_value(value, n):
    k = np.arange(n + 1)
    for p in P:
        mean = np.sum(binom.pmf(k, n, p) * wb.Critic().group(k, n, p, value))
        assert mean == pytest.approx(p * (1 - p), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 0.73, 1.0])
def test_critic_second_moment_of_one_rollout(value):
    for p in P:
        second = np.sum(binom.pmf([0, 1], 1, p) * wb.Critic().group(np.array([0, 1]), 1, p, value) ** 2)
        assert second == pytest.approx(p * (1 - value) ** 2 * (1 - p) ** 2 + (1 - p) * value**2 * p**2, rel=1e-9)


def test_a_perfect_critic_has_variance_p_times_one_minus_p_times_one_minus_two_p_squared():
    for p in P:
        v = wb.Critic(perfect=True).group(np.array([0, 1]), 1, p)
        weights = binom.pmf([0, 1], 1, p)
        mean = np.sum(weights * v)
        variance = np.sum(weights * (v - mean) ** 2)
        assert mean == pytest.approx(p * (1 - p), rel=1e-9)
        assert variance == pytest.approx(p * (1 - p) * (1 - 2 * p) ** 2, rel=1e-9, abs=1e-16)


def test_the_critic_of_least_variance_is_one_minus_p_and_has_none():
    for p in P:
        failure, success = wb.Critic().group(np.array([0, 1]), 1, p, 1 - p)
        assert failure == pytest.approx(success, rel=1e-12)


def test_a_wrong_critic_hears_unanimous_groups():
    critic = wb.Critic()
    assert critic.group(0, 4, 0.25, 0.5) == pytest.approx((0 - 0.5) * (0 - 0.25))
    assert critic.group(4, 4, 0.25, 0.5) == pytest.approx((1 - 0.5) * (1 - 0.25))


# -------------------------------------------------------------------------- large-n means and their reference


@pytest.mark.parametrize(
    ("signal", "formula"),
    [
        (wb.RLOO(), lambda p: p * (1 - p)),
        (wb.MeanBaseline(), lambda p: p * (1 - p)),
        (wb.Critic(), lambda p: p * (1 - p)),
        (wb.Critic(perfect=True), lambda p: p * (1 - p)),
        (wb.GRPO(), lambda p: np.sqrt(p * (1 - p))),
        (wb.SuccessOnly(), lambda p: 1 - p),
    ],
    ids=lambda x: type(x).__name__,
)
def test_expected_is_the_large_group_mean_and_the_reference_its_value_at_one_half(signal, formula):
    assert np.allclose(signal.expected(P), formula(P), rtol=1e-12)
    assert signal.reference == pytest.approx(formula(0.5))


@pytest.mark.parametrize(
    "signal", [wb.RLOO(), wb.MeanBaseline(), wb.GRPO(), wb.SuccessOnly()], ids=lambda s: type(s).__name__
)
def test_the_mean_of_a_very_large_group_is_expected(signal):
    assert expectation(signal, 20_000, 0.3) == pytest.approx(float(signal.expected(0.3)), rel=1e-4)


# ------------------------------------------------------------------------------------------------- properties


@given(n=sizes, p=probabilities)
def test_every_group_signal_is_finite_and_never_negative(n, p):
    k = np.arange(n + 1)
    for signal in (wb.RLOO(), wb.MeanBaseline(), wb.GRPO(), wb.SuccessOnly(), wb.Critic(perfect=True)):
        value = np.asarray(signal.group(k, n, p))
        assert value.shape == k.shape
        assert np.all(np.isfinite(value))
        assert np.all(value >= 0)


@given(n=sizes, p=probabilities)
def test_swapping_successes_and_failures_leaves_the_baseline_signals_unchanged(n, p):
    k = np.arange(n + 1)
    for signal in (wb.RLOO(), wb.MeanBaseline(), wb.GRPO()):
        assert np.array_equal(signal.group(k, n, p), signal.group(n - k, n, p))


@given(n=sizes, p=st.floats(1e-6, 1 - 1e-6))
def test_rloo_mean_is_the_success_variance(n, p):
    assert expectation(wb.RLOO(), n, p) == pytest.approx(p * (1 - p), rel=1e-8)


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("signal", [wb.RLOO(), wb.MeanBaseline(), wb.GRPO()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("n", [0, 1])
def test_a_baseline_from_the_group_needs_two_rollouts(signal, n):
    with pytest.raises(wb.InputError, match=rf"rollouts: must be .*2.*got {n}"):
        signal.group(0, n, 0.5)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_critic_refuses_a_rate_outside_zero_to_one(rate):
    with pytest.raises(wb.InputError, match=r"rate: must be .*got"):
        wb.Critic(rate=rate)
