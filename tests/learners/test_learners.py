"""Simulated learners against closed forms, plain formulas and a dense-matrix reference."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from math import asinh, exp, log, pi, sinh, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expit, lambertw, logit
from scipy.stats import binom

import workbench as wb
from workbench.learners import difficulty_to_logit
from workbench.streams import Role, uniforms

ROOT = Path(__file__).resolve().parents[2]
NEAR_P = 3e-6  # success probabilities are computed in float32

LAWS = {
    "tabular": wb.Tabular(),
    "tabular forgetting": wb.Tabular(forgetting=0.01, gamma=0.5),
    "scalar": wb.ScalarIRT(kappa=0.2),
    "scalar grpo": wb.ScalarIRT(kappa=0.2, signal=wb.GRPO()),
    "scalar natural": wb.ScalarIRT(kappa=0.2, gamma=0.0),
    "scalar success": wb.ScalarIRT(kappa=0.2, signal=wb.SuccessOnly()),
    "scalar critic": wb.ScalarIRT(kappa=0.2, gamma=0.7, signal=wb.Critic()),
    "scalar perfect critic": wb.ScalarIRT(kappa=0.2, signal=wb.Critic(perfect=True)),
    "scalar mean field": wb.ScalarIRT(kappa=0.2, gamma=0.5, signal=wb.RLOO(exact=True)),
    "guess": wb.ScalarIRT(kappa=0.2, a=1.3, floor=0.25, ceiling=0.9, forgetting=0.02, noise=0.03),
    "kernel": wb.KernelTransfer(kappa=0.5),
    "kernel full": wb.KernelTransfer(
        kappa=0.5, transfer_all=0.2, transfer_near=0.7, transfer_self=0.4, length=1.5, forgetting=0.02
    ),
    "kernel critic": wb.KernelTransfer(kappa=0.5, transfer_self=0.1, signal=wb.Critic(rate=0.3)),
}
every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())


def pool_of(size):
    """Items evenly spread over the difficulty scale, in no sorted order."""
    d = (np.arange(size) + 0.5) / size * 100
    return wb.Pool(difficulty=np.random.default_rng(1).permutation(d))


def learner_of(law, b, lanes=None, seed=0):
    """A learner whose items have exactly the true difficulties b (logits)."""
    return wb.SimLearner(law, wb.Pool(difficulty=np.full(len(b), 50.0)), seed=seed, lanes=lanes, b=np.asarray(b))


def exact(law):
    """The same law without label noise and in mean-field mode."""
    return replace(law, label_noise=0.0, signal=replace(law.signal, exact=True))


def skill(learner):
    return np.ravel(learner.state.theta).copy()


def zeros(learner_lanes, batch=1, rollouts=2):
    """Items and rewards for a mean-field update, which does not look at rewards."""
    lead = () if learner_lanes is None else (learner_lanes,)
    return np.zeros((*lead, batch), np.int64), np.zeros((*lead, batch, rollouts), np.float32)


def mixed(rng, shape):
    return rng.integers(0, 2, shape).astype(np.float32)


def step(learner, items, rollouts=4):
    rewards = learner.attempt(items, rollouts=rollouts)
    learner.learn(items, rewards)
    return rewards


def assert_same_state(one, other):
    for field in one.state._fields:
        assert np.array_equal(getattr(one.state, field), getattr(other.state, field)), field


def z_of(learner, size):
    """Logit of success of every item, through the public success()."""
    return logit(np.asarray(learner.success(np.arange(size)), np.float64))


# ------------------------------------------------------ one item: the closed forms of the mean-field dynamics
#
# dz/dt = kappa (p (1-p))^gamma and, for training on successes, dz/dt = kappa (1-p). A law's own kappa is the
# step at p = 1/2, so a time step dt of the equation is law.kappa = dt * reference^gamma.

FLOWS = {  # signal, gamma
    "gamma 1": (wb.RLOO(exact=True), 1.0),
    "gamma 1/2": (wb.RLOO(exact=True), 0.5),
    "log p": (wb.SuccessOnly(exact=True), 1.0),
    "natural": (wb.RLOO(exact=True), 0.0),
}
every_flow = pytest.mark.parametrize("flow", FLOWS)


def conserved(flow, z, t):
    """The constant of motion of each flow at kappa = 1."""
    return {
        "gamma 1": lambda: 2 * np.sinh(z) + 2 * z - t,
        "gamma 1/2": lambda: 4 * np.sinh(z / 2) - t,
        "log p": lambda: z + np.exp(z) - t,
        "natural": lambda: z - t,
    }[flow]()


def solution(flow, p0, t):
    """z(t) from z(0) = logit(p0) at kappa = 1."""
    z0 = log(p0 / (1 - p0))
    if flow == "gamma 1":
        return brentq(lambda z: 2 * sinh(z) + 2 * z - t - 2 * sinh(z0) - 2 * z0, -30, 30, xtol=1e-14)
    if flow == "gamma 1/2":
        return 2 * asinh(sinh(z0 / 2) + t / 4)
    if flow == "log p":
        c = z0 + exp(z0) + t
        return c - lambertw(exp(c)).real
    return z0 + t


def path(flow, p0, dt, steps, law=wb.ScalarIRT):
    """(steps + 1, R) skill of one item trained alone in Euler steps dt, one lane per entry of p0."""
    signal, gamma = FLOWS[flow]
    p0 = np.atleast_1d(p0)
    kappa = dt * signal.reference**gamma * np.ones(len(p0))
    learner = learner_of(
        law(theta0=logit(p0), kappa=kappa, gamma=gamma, label_noise=0.0, signal=signal), [0.0], lanes=len(p0)
    )
    items, rewards = zeros(len(p0))
    z = [skill(learner)]
    for _ in range(steps):
        learner.learn(items, rewards)
        z.append(skill(learner) if law is wb.ScalarIRT else logit(np.float64(learner.success(items)[:, 0])))
    return np.array(z)


@pytest.mark.parametrize(
    ("flow", "t", "p"),
    [
        ("gamma 1", 60, 0.9661007),
        ("gamma 1/2", 10, 0.6995465),
        ("log p", 10, 0.8441978),
        ("natural", 3, 0.5138867),
    ],
)
def test_success_from_five_percent_follows_the_closed_form_with_first_order_error(flow, t, p):
    assert expit(solution(flow, 0.05, t)) == pytest.approx(p, abs=6e-8)
    coarse, fine = (expit(path(flow, 0.05, t / steps, steps)[-1, 0]) for steps in (250, 500))
    assert 2 * fine - coarse == pytest.approx(p, abs=5e-6)  # what is left after the first-order error is tiny
    if flow == "natural":
        assert coarse == pytest.approx(p, abs=1e-7)  # a straight line: Euler makes no error
    else:
        assert (coarse - p) / (fine - p) == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("law", [wb.Tabular, wb.KernelTransfer])
@every_flow
def test_on_one_item_every_law_follows_the_same_closed_form(flow, law):
    z = path(flow, 0.05, 8 / 400, 400, law)[-1, 0]
    assert z == pytest.approx(path(flow, 0.05, 8 / 400, 400)[-1, 0], abs=2e-4)
    assert z == pytest.approx(solution(flow, 0.05, 8), abs=0.05)


@every_flow
def test_constant_of_motion_holds_along_the_path_up_to_first_order(flow):
    t_end = 20.0
    drift = []
    for steps in (400, 800):
        z = path(flow, 0.05, t_end / steps, steps)[:, 0]
        constant = conserved(flow, z, np.linspace(0, t_end, steps + 1))
        drift.append((constant - constant[0])[:: steps // 400])
    coarse, fine = drift
    scale = t_end  # the conserved quantity is a clock: its drift is an error of time
    assert np.abs(coarse).max() < 0.01 * scale
    assert np.abs(2 * fine - coarse).max() < 1e-3
    if flow != "natural":
        assert np.abs(coarse).max() / np.abs(fine).max() == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("flow", "plateau", "at_one_percent"),
    [
        ("gamma 1", lambda a: 2 * a + 2 * np.sinh(a), [13.283, 108.180, 1012.813]),
        ("gamma 1/2", lambda a: 4 * np.sinh(a / 2), [5.333, 19.699, 63.151]),
        ("log p", lambda a: 1 + a - np.exp(-a), [3.086, 5.585, 7.906]),
        ("natural", lambda a: a, [2.197, 4.595, 6.907]),
    ],
)
def test_time_to_even_odds_is_the_plateau_formula(flow, plateau, at_one_percent):
    p0 = np.array([0.1, 0.01, 0.001])
    expected = plateau(np.log((1 - p0) / p0))
    assert expected == pytest.approx(at_one_percent, abs=6e-4)
    measured = []
    for steps in (400, 800):
        z = path(flow, p0, expected / steps, int(1.1 * steps))
        first = np.argmax(z >= 0, axis=0)
        before, after = z[first - 1, range(3)], z[first, range(3)]
        measured.append((first - 1 - before / (after - before)) * expected / steps)
    coarse, fine = measured
    assert 2 * fine - coarse == pytest.approx(expected, rel=4e-4)
    assert fine == pytest.approx(expected, rel=6e-3)


def test_mean_field_grpo_is_mean_field_rloo_at_half_the_exponent():
    items, rewards = zeros(None)
    grpo = learner_of(wb.ScalarIRT(gamma=1.0, signal=wb.GRPO(exact=True)), [0.0])
    rloo = learner_of(wb.ScalarIRT(gamma=0.5, signal=wb.RLOO(exact=True)), [0.0])
    for _ in range(50):
        grpo.learn(items, rewards)
        rloo.learn(items, rewards)
    assert skill(grpo) == pytest.approx(skill(rloo), abs=1e-6)
    assert skill(grpo)[0] > -1.5 + 0.5


def test_mean_field_learning_does_not_look_at_the_rewards():
    law = wb.ScalarIRT(signal=wb.RLOO(exact=True))
    items = np.zeros(3, np.int64)
    right, wrong = learner_of(law, [0.0]), learner_of(law, [0.0])
    right.learn(items, np.ones((3, 2), np.float32))
    wrong.learn(items, np.zeros((3, 2), np.float32))
    assert_same_state(right, wrong)
    assert skill(right)[0] > -1.5


# --------------------------------------------------------------------------------------------- sampled groups

GROUP_SIGNALS = {  # signal, the value of a group with k successes of n at success probability p
    "rloo": (wb.RLOO(), lambda k, n, p: k * (n - k) / (n * (n - 1)), 0.25),
    "mean baseline": (wb.MeanBaseline(), lambda k, n, p: k * (n - k) / n**2, 0.25),
    "grpo": (wb.GRPO(), lambda k, n, p: np.sqrt(k * (n - k)) / n, 0.5),
    "success": (wb.SuccessOnly(), lambda k, n, p: (1 - p) * (k > 0), 0.5),
    "perfect critic": (
        wb.Critic(perfect=True),
        lambda k, n, p: (k * (1 - p) ** 2 + (n - k) * p**2) / n,
        0.25,
    ),
}


def power(x, gamma):
    """x^gamma with 0^0 = 1."""
    return np.asarray(x, np.float64) ** gamma


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", GROUP_SIGNALS)
def test_skill_gains_the_batch_mean_of_the_effective_signal(name, gamma):
    signal, value, reference = GROUP_SIGNALS[name]
    b = np.linspace(-3, 3, 50)
    learner = learner_of(wb.ScalarIRT(theta0=0.25, kappa=0.3, gamma=gamma, signal=signal), b)
    rewards = step(learner, np.arange(50), rollouts=6)
    k = rewards.sum(axis=1)
    gain = 0.3 * np.mean(power(value(k, 6, expit(0.25 - b)) / reference, gamma))
    assert skill(learner)[0] - 0.25 == pytest.approx(gain, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("n", [2, 8, 64])
@pytest.mark.parametrize("name", GROUP_SIGNALS)
def test_sampled_gain_agrees_with_its_exact_binomial_mean(name, n, gamma):
    signal, value, reference = GROUP_SIGNALS[name]
    groups, p = 20_000, 0.2
    learner = learner_of(wb.ScalarIRT(theta0=logit(p), kappa=1.0, gamma=gamma, signal=signal), [0.0], seed=7)
    step(learner, np.zeros(groups, np.int64), rollouts=n)
    k = np.arange(n + 1)
    effective, weight = power(value(k, n, p) / reference, gamma), binom.pmf(k, n, p)
    mean = np.sum(weight * effective)
    error = sqrt(np.sum(weight * (effective - mean) ** 2) / groups)
    assert skill(learner)[0] - logit(p) == pytest.approx(mean, abs=5 * error + 1e-5)


def test_half_power_of_sampled_groups_learns_less_than_the_half_power_of_their_mean():
    p, n = 0.05, 4
    sampled = learner_of(wb.ScalarIRT(theta0=logit(p), kappa=1.0, gamma=0.5), [0.0])
    field = learner_of(wb.ScalarIRT(theta0=logit(p), kappa=1.0, gamma=0.5, signal=wb.RLOO(exact=True)), [0.0])
    items = np.zeros(5000, np.int64)
    step(sampled, items, n)
    step(field, items, n)
    assert skill(field)[0] - logit(p) == pytest.approx(sqrt(p * (1 - p) / 0.25), rel=1e-5)
    assert skill(sampled)[0] - logit(p) < 0.8 * (skill(field)[0] - logit(p))  # silent groups


def test_critic_values_every_batch_with_what_it_learned_from_the_batches_before():
    learner = learner_of(wb.ScalarIRT(theta0=-1.0, kappa=0.1, signal=wb.Critic(rate=0.2)), [0.0])
    rng, items = np.random.default_rng(0), np.zeros(10, np.int64)
    value, theta = 0.5, -1.0
    for _ in range(4):
        assert np.ravel(learner.state.value)[0] == pytest.approx(value, abs=1e-6)
        rewards = mixed(rng, (10, 3))
        theta += 0.1 * np.mean((rewards - value) * (rewards - expit(theta))) / 0.25
        value += 0.2 * (rewards.mean() - value)
        learner.learn(items, rewards)
        assert skill(learner)[0] == pytest.approx(theta, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["success", "perfect critic"])
def test_single_rollouts_follow_the_same_formula(name, gamma):
    signal, value, reference = GROUP_SIGNALS[name]
    b = np.linspace(-3, 3, 50)
    law = wb.ScalarIRT(theta0=0.25, kappa=0.3, gamma=gamma, floor=0.2, signal=signal)
    learner = learner_of(law, b)
    k = step(learner, np.arange(50), rollouts=1)[:, 0]
    assert 0 < k.sum() < 50
    share = expit(0.25 - b)
    p = 0.2 + 0.8 * share
    gain = power(value(k, 1, p) / reference, gamma) * 0.8 * share * (1 - share) / (p * (1 - p))
    assert skill(learner)[0] - 0.25 == pytest.approx(0.3 * gain.mean(), rel=1e-4)
    for bad in (np.nan, 0.5, 2.0):
        with pytest.raises(wb.InputError, match=rf"rewards: .*got {bad}"):
            learner.learn(np.array([0, 1]), np.array([[1.0], [bad]], np.float32))


def test_critic_learns_from_a_single_rollout():
    learner = learner_of(wb.ScalarIRT(theta0=-1.0, kappa=0.1, signal=wb.Critic()), [0.0])
    learner.learn(np.zeros(2, np.int64), np.array([[1.0], [0.0]], np.float32))
    p = expit(-1.0)
    assert skill(learner)[0] == pytest.approx(-1 + 0.1 * (0.5 * (1 - p) + 0.5 * p) / 2 / 0.25, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("signal", [wb.RLOO(), wb.MeanBaseline(), wb.GRPO()], ids=lambda s: type(s).__name__)
def test_groups_all_right_or_all_wrong_teach_nothing(signal, gamma, value):
    for law in (wb.ScalarIRT, wb.Tabular, wb.KernelTransfer):
        learner = learner_of(law(gamma=gamma, kappa=1.0, signal=signal), [-1.0, 0.0, 1.0])
        before = learner.success(np.arange(3)).copy()
        learner.learn(np.arange(3), np.full((3, 4), value, np.float32))
        assert np.array_equal(learner.success(np.arange(3)), before)


@pytest.mark.parametrize("signal", [wb.Critic(perfect=True), wb.SuccessOnly(), wb.RLOO(exact=True)], ids=repr)
def test_rounding_at_extreme_success_probabilities_never_makes_skill_nan_or_fall(signal):
    b = np.linspace(-25, 25, 20_001)
    for gamma, reward in ((0.3, 0.0), (0.5, 0.0), (0.3, 1.0), (0.5, 1.0)):
        learner = learner_of(wb.ScalarIRT(theta0=0.0, kappa=1.0, gamma=gamma, signal=signal), b)
        learner.learn(np.arange(len(b)), np.full((len(b), 4), reward, np.float32))
        assert np.isfinite(skill(learner)[0])
        assert skill(learner)[0] >= 0


def test_natural_gradient_learns_the_same_from_every_group():
    learner = learner_of(wb.ScalarIRT(theta0=0.0, kappa=0.125, gamma=0.0), [-1.0, 0.0, 5.0])
    learner.learn(np.arange(3), np.array([[0, 0], [0, 1], [1, 1]], np.float32))
    assert skill(learner)[0] == 0.125


@every_law
def test_zero_gain_keeps_skill_where_it_is(law):
    law = replace(law, kappa=0.0, **({"noise": 0.0} if hasattr(law, "noise") else {}))
    pool = pool_of(30)
    learner = wb.SimLearner(law, pool, seed=3)
    before = learner.success(np.arange(30)).copy()
    for _ in range(5):
        step(learner, np.arange(10))
    assert np.array_equal(learner.success(np.arange(30)), before)


def test_only_admitted_groups_count_and_the_mean_is_over_them():
    rng = np.random.default_rng(2)
    rewards, admitted = mixed(rng, (8, 4)), np.array([1, 0, 0, 1, 1, 0, 1, 0], bool)
    b = np.linspace(-1, 1, 8)
    for law in (wb.ScalarIRT(kappa=0.5), wb.KernelTransfer(kappa=0.5), wb.Tabular(kappa=8.0)):
        masked, alone = learner_of(law, b), learner_of(law, b)
        masked.learn(np.arange(8), rewards, admitted)
        alone.learn(np.flatnonzero(admitted), rewards[admitted])
        z, expected = z_of(masked, 8), z_of(alone, 8)
        assert np.allclose(z, expected, atol=2e-5)
        assert np.max(np.abs(z - (-1.5 - b))) > 0.01


def test_admitting_all_groups_is_the_same_as_no_mask():
    rewards = mixed(np.random.default_rng(2), (8, 4))
    for law in (wb.ScalarIRT(), wb.KernelTransfer(), wb.Tabular()):
        masked, plain = learner_of(law, np.linspace(-1, 1, 8)), learner_of(law, np.linspace(-1, 1, 8))
        masked.learn(np.arange(8), rewards, np.ones(8, bool))
        plain.learn(np.arange(8), rewards)
        assert_same_state(masked, plain)


@pytest.mark.parametrize("law", [wb.ScalarIRT(), wb.KernelTransfer(), wb.Tabular(), wb.ScalarIRT(gamma=0.0)])
def test_admitting_no_group_gains_nothing(law):
    learner = learner_of(law, [-1.0, 0.0, 1.0])
    before = learner.success(np.arange(3)).copy()
    learner.learn(np.arange(3), np.array([[0, 1]] * 3, np.float32), np.zeros(3, bool))
    assert np.array_equal(learner.success(np.arange(3)), before)


def test_dropping_silent_groups_speeds_a_step_up_by_the_share_of_mixed_groups():
    p, n, groups = 0.1, 4, 40_000
    learner = learner_of(wb.ScalarIRT(theta0=logit(p), kappa=1.0), [0.0], seed=1)
    items = np.zeros(groups, np.int64)
    rewards = learner.attempt(items, rollouts=n)
    informative = (rewards.mean(axis=1) > 0) & (rewards.mean(axis=1) < 1)
    learner.learn(items, rewards, informative)
    expected = p * (1 - p) / 0.25 / (1 - p**n - (1 - p) ** n)
    assert skill(learner)[0] - logit(p) == pytest.approx(expected, rel=0.02)


# ----------------------------------------------------------------------------------------------- scalar skill


@pytest.mark.parametrize("a", [1.0, 1.5])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_on_matched_items_skill_grows_linearly_at_kappa_times_a(gamma, a):
    steps, kappa = 40, 0.05
    # item t is matched at step t only if skill grew linearly until then
    b = -1.5 + kappa * a * np.arange(steps)
    learner = learner_of(wb.ScalarIRT(theta0=-1.5, kappa=kappa, gamma=gamma, a=a, signal=wb.RLOO(exact=True)), b)
    for t in range(steps):
        assert learner.success(np.array([t]))[0] == pytest.approx(0.5, abs=NEAR_P)
        learner.learn(np.array([t]), np.zeros((1, 2), np.float32))
        assert skill(learner)[0] == pytest.approx(-1.5 + kappa * a * (t + 1), abs=1e-5)


@pytest.mark.parametrize(("beta", "gamma", "relative"), [(0.3, 1.0, 0.84), (0.7, 1.0, 0.84), (0.2, 0.5, 0.8)])
def test_items_at_success_beta_teach_in_proportion_to_their_variance(beta, gamma, relative):
    law = wb.ScalarIRT(theta0=0.0, kappa=0.1, gamma=gamma, signal=wb.RLOO(exact=True))
    learner = learner_of(law, [-logit(beta)])
    learner.learn(*zeros(None))
    assert skill(learner)[0] == pytest.approx(0.1 * relative, rel=1e-5)


WIDTH = 8.0
GRID = -WIDTH / 2 + WIDTH * (np.arange(4096) + 0.5) / 4096


def uniform_gain(theta, gamma, a=1.0, kappa=1.0, lo=GRID):
    """Mean-field gain of one update on all items of a uniform difficulty interval."""
    law = wb.ScalarIRT(theta0=theta, kappa=kappa, gamma=gamma, a=a, signal=wb.RLOO(exact=True))
    learner = learner_of(law, lo)
    learner.learn(np.arange(len(lo)), np.zeros((len(lo), 2), np.float32))
    return skill(learner)[0] - theta


@pytest.mark.parametrize("a", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("theta", [-3.0, 0.0, 3.5])
def test_gain_on_a_uniform_interval_is_the_exact_integral(theta, a):
    lo, hi = -WIDTH / 2, WIDTH / 2
    # kappa / W [sigma(a (theta - lo)) - sigma(a (theta - hi))] with kappa = 4 kappa'
    expected = 4 / WIDTH * (expit(a * (theta - lo)) - expit(a * (theta - hi)))
    assert uniform_gain(theta, 1.0, a) == pytest.approx(expected, rel=1e-5)


def test_speed_up_of_matched_over_uniform_items_at_the_centre_of_a_width_of_eight():
    assert 1 / uniform_gain(0.0, 1.0) == pytest.approx(2.075, abs=6e-4)
    assert 1 / uniform_gain(0.0, 0.5) == pytest.approx(1.537, abs=7e-4)
    assert 1 / uniform_gain(0.0, 0.0) == pytest.approx(1.0, abs=1e-6)
    half_power = quad(lambda z: sqrt(expit(z) * expit(-z)), -4, 4)[0]
    assert 1 / uniform_gain(0.0, 0.5) == pytest.approx(4 / half_power, rel=1e-5)


def test_speed_up_far_from_the_edges_grows_as_the_width_over_four_and_over_two_pi():
    wide = -40 + 80 * (np.arange(8192) + 0.5) / 8192
    assert 1 / uniform_gain(0.0, 1.0, lo=wide) == pytest.approx(80 / 4, rel=1e-4)
    # far tails: float32 p near 1 leaves few bits of 1 - p, and the root magnifies them
    assert 1 / uniform_gain(0.0, 0.5, lo=wide) == pytest.approx(80 / (2 * pi), rel=5e-4)


def test_discrimination_multiplies_the_gain():
    slow = learner_of(wb.ScalarIRT(theta0=0.0, a=0.5, signal=wb.RLOO(exact=True)), [0.0])
    fast = learner_of(wb.ScalarIRT(theta0=0.0, a=2.0, signal=wb.RLOO(exact=True)), [0.0])
    for learner in (slow, fast):
        learner.learn(*zeros(None))
    assert skill(slow)[0] == pytest.approx(0.02 * 0.5)
    assert skill(fast)[0] == pytest.approx(0.02 * 2.0)


# -------------------------------------------------------------------------------------- guessing and ceilings

bounded = settings(deadline=None, max_examples=40)
logits = st.floats(-8, 8)
floors = st.floats(0, 0.5)
ceilings = st.floats(0.6, 1)
slopes = st.floats(0.3, 2.5)


def success_of(theta, b, a=1.0, floor=0.0, ceiling=1.0):
    law = wb.ScalarIRT(theta0=theta, a=a, floor=floor, ceiling=ceiling)
    return np.asarray(learner_of(law, np.atleast_1d(b)).success(np.arange(np.size(b))), np.float64)


@bounded
@given(theta=logits, b=logits, a=slopes, floor=floors, ceiling=ceilings)
def test_success_is_the_four_parameter_logistic_within_floor_and_ceiling(theta, b, a, floor, ceiling):
    (p,) = success_of(theta, b, a, floor, ceiling)
    assert floor - NEAR_P <= p <= ceiling + NEAR_P
    assert p == pytest.approx(floor + (ceiling - floor) * expit(a * (theta - b)), abs=NEAR_P)


@bounded
@given(theta=logits, a=slopes, floor=floors, ceiling=ceilings)
def test_at_its_own_difficulty_success_is_halfway_between_floor_and_ceiling(theta, a, floor, ceiling):
    assert success_of(theta, theta, a, floor, ceiling)[0] == pytest.approx((floor + ceiling) / 2, abs=NEAR_P)


@bounded
@given(b=st.lists(logits, min_size=2, max_size=6), a=slopes, floor=floors, ceiling=ceilings)
def test_success_falls_with_difficulty_and_rises_with_skill(b, a, floor, ceiling):
    easy_to_hard = np.sort(b)
    p = success_of(0.0, easy_to_hard, a, floor, ceiling)
    assert np.all(np.diff(p) <= NEAR_P)
    assert np.all(success_of(0.5, easy_to_hard, a, floor, ceiling) >= p - NEAR_P)
    assert success_of(1.0, 0.0, a, floor, ceiling)[0] > success_of(-1.0, 0.0, a, floor, ceiling)[0]


def test_success_far_above_and_far_below_an_item_reaches_ceiling_and_floor():
    assert success_of(0.0, [-200.0, 200.0], floor=0.25, ceiling=0.875) == pytest.approx([0.875, 0.25], abs=NEAR_P)
    assert success_of(0.0, [-200.0, 200.0]) == pytest.approx([1.0, 0.0], abs=1e-30)


def gains_by_success(floor, ceiling, a=1.0, gamma=1.0):
    """(success, mean-field gain) of single items over a fine grid of difficulty, one lane per item."""
    b = np.linspace(-6, 6, 2401)
    law = wb.ScalarIRT(
        theta0=0.0, kappa=1.0, a=a, gamma=gamma, floor=floor, ceiling=ceiling, signal=wb.RLOO(exact=True)
    )
    learner = learner_of(law, b, lanes=len(b))
    items = np.arange(len(b))[:, None]
    p = np.float64(learner.success(items)[:, 0])
    learner.learn(items, np.zeros((len(b), 1, 2), np.float32))
    return b, p, skill(learner)


@pytest.mark.parametrize(
    ("floor", "ceiling", "best"), [(0.25, 1.0, 0.625), (0.0, 0.8, 0.4), (0.2, 0.9, 0.55), (0, 1, 0.5)]
)
def test_the_best_target_success_is_halfway_between_floor_and_ceiling(floor, ceiling, best):
    _, p, gain = gains_by_success(floor, ceiling)
    assert p[np.argmax(gain)] == pytest.approx(best, abs=2e-3)
    assert best == pytest.approx((floor + ceiling) / 2)


@pytest.mark.parametrize("a", [0.7, 1.0, 1.8])
@pytest.mark.parametrize(("floor", "ceiling"), [(0.25, 1.0), (0.0, 0.8), (0.2, 0.9)])
def test_only_the_skill_share_of_the_reward_gradient_teaches(floor, ceiling, a):
    b, _, gain = gains_by_success(floor, ceiling, a)
    share = expit(-a * b)
    # kappa a (p (1-p) / 0.25) D with D = (u-c) P (1-P) / (p (1-p)): the slope of success in skill
    expected = a * (ceiling - floor) * share * (1 - share) / 0.25
    assert np.allclose(gain, expected, rtol=2e-4, atol=2e-6)
    slope = (success_of(1e-2, b, a, floor, ceiling) - success_of(-1e-2, b, a, floor, ceiling)) / 2e-2
    assert np.allclose(gain, 4 * slope, atol=2e-3)


def test_the_skill_share_stays_outside_the_signals_exponent():
    b, p, gain = gains_by_success(0.25, 1.0, gamma=0.5)
    share = expit(-b)
    d = 0.75 * share * (1 - share) / (p * (1 - p))
    assert np.allclose(gain, np.sqrt(p * (1 - p) / 0.25) * d, rtol=1e-3, atol=1e-5)


def test_lucky_guesses_on_hopeless_items_look_learnable_and_teach_nothing():
    _, p, gain = gains_by_success(0.25, 1.0)
    assert p[-1] * (1 - p[-1]) > 0.18
    assert gain[-1] < 0.01


def test_sampled_guessing_learns_by_the_skill_share_too():
    b = np.linspace(-3, 3, 40)
    learner = learner_of(wb.ScalarIRT(theta0=0.0, kappa=0.1, a=1.4, floor=0.2, ceiling=0.9), b)
    k = step(learner, np.arange(40), rollouts=8).sum(axis=1)
    share = expit(-1.4 * b)
    p = 0.2 + 0.7 * share
    d = 0.7 * share * (1 - share) / (p * (1 - p))
    assert skill(learner)[0] == pytest.approx(0.1 * 1.4 * np.mean(k * (8 - k) / 56 / 0.25 * d), rel=1e-4)


# --------------------------------------------------------------------------------------- forgetting and noise


@pytest.mark.parametrize("forgetting", [0.05, 1.0])
def test_without_signal_skill_decays_to_its_start_by_one_minus_forgetting_per_update(forgetting):
    learner = learner_of(wb.ScalarIRT(theta0=-1.5, kappa=2.0, forgetting=forgetting), [0.0, 1.0])
    learner.learn(np.arange(2), np.array([[0, 1], [1, 0]], np.float32))
    gained = skill(learner)[0] + 1.5
    assert gained == pytest.approx(2.0 * (0.5 / 0.25), rel=1e-6)
    for t in range(1, 30):
        learner.learn(np.arange(2), np.zeros((2, 2), np.float32))
        assert skill(learner)[0] + 1.5 == pytest.approx(gained * (1 - forgetting) ** t, abs=1e-12)


@pytest.mark.parametrize("law", [wb.Tabular(kappa=4.0, forgetting=0.1), wb.KernelTransfer(kappa=4.0, forgetting=0.1)])
def test_every_item_forgets_even_when_it_is_not_trained(law):
    b = np.array([-1.0, 0.0, 1.0])
    learner = learner_of(law, b)
    learner.learn(np.array([0, 1]), np.array([[0, 1], [1, 0]], np.float32))
    gained = z_of(learner, 3) - (-1.5 - b)
    for t in range(1, 8):
        learner.learn(np.array([2]), np.zeros((1, 2), np.float32))
        assert z_of(learner, 3) - (-1.5 - b) == pytest.approx(gained * 0.9**t, abs=1e-4)


def test_optimiser_noise_is_a_random_walk_of_the_stated_size():
    lanes, steps, noise = 4000, 5, 0.02
    law = wb.ScalarIRT(theta0=0.0, kappa=0.0, noise=noise)
    learner = learner_of(law, [0.0], lanes=lanes, seed=np.arange(lanes))
    items, rewards = zeros(lanes)
    walk = [skill(learner)]
    for _ in range(steps):
        learner.learn(items, rewards)
        walk.append(skill(learner))
    moves = np.diff(walk, axis=0) / noise  # (steps, lanes) standard normals
    n = moves.size
    assert abs(moves.mean()) < 5 / sqrt(n)
    assert abs(moves.var() - 1) < 5 * sqrt(2 / n)
    assert abs(np.mean(moves**4) - 3) < 5 * sqrt(96 / n)
    assert abs(np.mean(moves[1:] * moves[:-1])) < 5 / sqrt(n)


def test_noise_is_the_same_luck_for_every_strength_and_every_batch():
    small = learner_of(wb.ScalarIRT(theta0=0.0, kappa=0.0, noise=0.01), [0.0, 1.0], seed=5)
    large = learner_of(wb.ScalarIRT(theta0=0.0, kappa=0.0, noise=0.03), [0.0, 1.0], seed=5)
    for _ in range(3):
        small.learn(np.array([0]), np.zeros((1, 2), np.float32))
        large.learn(np.array([1, 1]), np.ones((2, 2), np.float32))
    assert skill(large)[0] == pytest.approx(3 * skill(small)[0], rel=1e-12)
    assert skill(small)[0] != 0


# ------------------------------------------------------------------------------------------------- symmetries


def run_exact(law, b, items_per_step, seed=0):
    learner = learner_of(law, b, seed=seed)
    success = []
    for items in items_per_step:
        success.append(np.float64(learner.success(items)))
        learner.learn(items, np.zeros((len(items), 2), np.float32))
    return learner, np.array(success)


def random_batches(size, batch=6, steps=20, seed=4):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, size, batch) for _ in range(steps)]


@pytest.mark.parametrize("shift", [0.7, -13.0])
def test_shifting_skill_and_difficulties_together_changes_nothing(shift):
    b, batches = np.linspace(-2, 2, 15), random_batches(15)
    for law in (exact(LAWS["guess"]), exact(LAWS["kernel full"]), exact(wb.Tabular(kappa=3.0))):
        one, p = run_exact(law, b, batches)
        other, q = run_exact(replace(law, theta0=law.theta0 + shift), b + shift, batches)
        assert np.allclose(p, q, atol=2e-5)
        assert skill(other)[0] - shift == pytest.approx(skill(one)[0], abs=2e-5)


@pytest.mark.parametrize("c", [2.0, 0.37])
def test_rescaling_skill_difficulty_and_slope_with_gain_over_the_square_changes_nothing(c):
    b, batches = np.linspace(-2, 2, 15), random_batches(15)
    law = exact(wb.ScalarIRT(theta0=-1.5, kappa=0.3, a=1.2, floor=0.1, ceiling=0.95, forgetting=0.01))
    one, p = run_exact(law, b, batches)
    scaled = replace(law, theta0=-1.5 / c, kappa=0.3 / c**2, a=1.2 * c)
    other, q = run_exact(scaled, b / c, batches)
    assert np.allclose(p, q, atol=2e-6)
    assert skill(other)[0] * c == pytest.approx(skill(one)[0], abs=1e-5)


@every_law
def test_permuting_the_items_permutes_the_run(law):
    size = 25
    b, rng = np.linspace(-2, 2, size), np.random.default_rng(6)
    order = rng.permutation(size)  # item order[i] of the one pool is item i of the other
    one, other = learner_of(law, b, seed=9), learner_of(law, b[order], seed=9)
    for _ in range(10):
        items = rng.integers(0, size, 8)
        assert np.array_equal(step(one, order[items]), step(other, items))
    assert np.allclose(one.success(order), other.success(np.arange(size)), atol=NEAR_P)


def test_without_forgetting_no_item_ever_gets_worse():
    for name in ("tabular", "scalar", "scalar grpo", "scalar critic", "kernel"):
        learner = wb.SimLearner(LAWS[name], pool_of(40), seed=1)
        rng = np.random.default_rng(1)
        for _ in range(20):
            before = learner.success(np.arange(40)).copy()
            step(learner, rng.choice(40, 8, replace=False))
            assert np.all(learner.success(np.arange(40)) >= before), name


# --------------------------------------------------------------------------------------------------- transfer


@pytest.mark.parametrize("law", [wb.Tabular(), wb.KernelTransfer(kappa=8.0, transfer_near=0.0, transfer_self=1.0)])
def test_without_transfer_untrained_items_stay_exactly_where_they_were(law):
    learner = learner_of(law, np.linspace(-3, 0, 50), seed=2)
    before = learner.success(np.arange(50)).copy()
    for _ in range(20):
        step(learner, np.arange(10), rollouts=8)
    after = learner.success(np.arange(50))
    assert np.array_equal(after[10:], before[10:])
    assert np.all(after[:10] > before[:10])


def test_tabular_item_moves_by_kappa_over_the_batch_size_times_its_signal():
    b = np.array([-0.5, 0.0, 0.5, 1.0])
    learner = learner_of(wb.Tabular(theta0=0.0, kappa=2.0), b)
    rewards = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], np.float32)
    learner.learn(np.array([0, 1, 2]), rewards)
    signal = np.array([1 * 3 / (4 * 3), 2 * 2 / (4 * 3), 0.0]) / 0.25
    assert z_of(learner, 4) == pytest.approx(-b + np.array([*(2.0 / 3 * signal), 0.0]), abs=1e-5)


def run_sampled(learner, pool_size, steps=15, rollouts=4):
    rng = np.random.default_rng(8)
    return [step(learner, rng.choice(pool_size, 12, replace=False), rollouts).copy() for _ in range(steps)]


@pytest.mark.parametrize("forgetting", [0.0, 0.05])
@pytest.mark.parametrize("signal", [wb.RLOO(), wb.GRPO(), wb.Critic()], ids=lambda s: type(s).__name__)
def test_kernel_of_self_transfer_alone_is_the_tabular_learner_bit_for_bit(signal, forgetting):
    pool = pool_of(60)
    shared = {"theta0": -1.25, "kappa": 8.0, "label_noise": 0.4, "signal": signal, "forgetting": forgetting}
    kernel = wb.SimLearner(wb.KernelTransfer(transfer_self=1.0, transfer_near=0.0, **shared), pool, seed=11)
    tabular = wb.SimLearner(wb.Tabular(**shared), pool, seed=11)
    assert np.array_equal(run_sampled(kernel, 60), run_sampled(tabular, 60))
    assert np.array_equal(kernel.success(np.arange(60)), tabular.success(np.arange(60)))
    assert np.array_equal(kernel.state.theta, tabular.state.theta)
    assert np.array_equal(np.ravel(kernel.state.offset)[:60], np.ravel(tabular.state.offset)[:60])
    assert np.ptp(np.ravel(tabular.state.offset)[:60]) > 0.1


@pytest.mark.parametrize("forgetting", [0.0, 0.05])
@pytest.mark.parametrize("signal", [wb.RLOO(), wb.GRPO(), wb.Critic()], ids=lambda s: type(s).__name__)
def test_kernel_of_global_transfer_alone_is_the_scalar_learner_bit_for_bit(signal, forgetting):
    pool = pool_of(60)
    shared = {"theta0": -1.25, "kappa": 0.2, "label_noise": 0.4, "signal": signal, "forgetting": forgetting}
    kernel = wb.SimLearner(wb.KernelTransfer(transfer_all=1.0, transfer_near=0.0, **shared), pool, seed=11)
    scalar = wb.SimLearner(wb.ScalarIRT(a=1.0, **shared), pool, seed=11)
    assert np.array_equal(run_sampled(kernel, 60), run_sampled(scalar, 60))
    assert np.array_equal(kernel.state.theta, scalar.state.theta)
    assert np.array_equal(kernel.success(np.arange(60)), scalar.success(np.arange(60)))
    assert np.array_equal(kernel.evaluate(), scalar.evaluate())
    assert skill(scalar)[0] > -1.2


def heldout_difficulty():
    """(S, 32) labels of the held-out items: evenly spaced inside each decile."""
    return 10.0 * np.arange(10)[:, None] + 10.0 * (np.arange(32) + 0.5) / 32


def dense_kernel(law_of_lane, b_to, b_from, same_items):
    kernel = law_of_lane["transfer_all"] + law_of_lane["transfer_near"] * np.exp(
        -np.abs(b_to[:, None] - b_from[None, :]) / law_of_lane["length"]
    )
    return kernel + law_of_lane["transfer_self"] * np.eye(len(b_to)) if same_items else kernel


def test_kernel_lanes_side_by_side_are_each_the_lane_alone_bit_for_bit():
    """More lanes of one kernel than go abreast, then others: of another length, without transfer, of a topic each."""
    rng, pool = np.random.default_rng(0), wb.Pool.synthetic("uniform", 90)
    near = np.array([1.0, 0.5, 2.0, 0.0, 1.0, 1.0, 0.3, 0.7, 0.9, 0.0, 0.0])
    length, seeds = np.repeat([0.5, 1.0], [9, 2]), np.repeat([3, 4], [7, 4])
    for topics, cross in ((1, np.full(11, 0.3)), (3, np.repeat([1.0, 0.3], [6, 5]))):
        law = wb.KernelTransfer(transfer_near=near, length=length, forgetting=0.01, transfer_self=0.1, topics=topics,
                                cross_topic=cross, label_noise=0.5)  # fmt: skip
        together = wb.SimLearner(law, pool, seeds)
        alone = [wb.SimLearner(replace(law, transfer_near=near[r], length=length[r], cross_topic=cross[r]),
                               pool, seeds[r : r + 1]) for r in range(11)]  # fmt: skip
        for _ in range(3):
            items = np.stack([rng.permutation(90)[:16] for _ in range(11)])
            rewards = together.attempt(items, 4)
            together.learn(items, rewards)
            for r, one in enumerate(alone):
                assert np.array_equal(one.attempt(items[r : r + 1], 4), rewards[r : r + 1])
                one.learn(items[r : r + 1], rewards[r : r + 1])
        assert np.array_equal(together.state.offset, np.concatenate([one.state.offset for one in alone]))


def test_kernel_learner_is_the_dense_matrix_formula():
    size, batch, rollouts, kappa = 40, 12, 4, 0.8
    lanes = [
        {"transfer_all": 0.0, "transfer_near": 1.0, "transfer_self": 0.0, "length": 0.3, "forgetting": 0.0},
        {"transfer_all": 0.1, "transfer_near": 0.8, "transfer_self": 0.5, "length": 1.0, "forgetting": 0.03},
        {"transfer_all": 0.3, "transfer_near": 0.0, "transfer_self": 2.0, "length": 1.0, "forgetting": 0.1},
        {"transfer_all": 0.0, "transfer_near": 0.6, "transfer_self": 0.1, "length": 25.0, "forgetting": 0.01},
    ]
    pool = pool_of(size)
    law = wb.KernelTransfer(
        theta0=-1.0,
        kappa=kappa,
        label_noise=0.0,
        **{k: np.array([lane[k] for lane in lanes]) for k in lanes[0]},
    )
    learner = wb.SimLearner(law, pool, seed=np.array([5, 6, 7, 8]))
    b = difficulty_to_logit(pool.difficulty)
    b_heldout = difficulty_to_logit(heldout_difficulty()).ravel()
    z = np.tile(-1.0 - b, (4, 1))
    z_heldout = np.tile(-1.0 - b_heldout, (4, 1))
    rng = np.random.default_rng(3)
    for _ in range(25):
        items = rng.integers(0, size, (4, batch))  # with repeats inside a batch
        rewards = step(learner, items, rollouts)
        k = rewards.sum(axis=2)
        signal = k * (rollouts - k) / (rollouts * (rollouts - 1)) / 0.25
        for r, lane in enumerate(lanes):
            per_item = np.bincount(items[r], weights=signal[r], minlength=size)
            gain = kappa / batch * dense_kernel(lane, b, b, True) @ per_item
            gain_heldout = kappa / batch * dense_kernel(lane, b_heldout, b, False) @ per_item
            z[r] += gain - lane["forgetting"] * (z[r] - (-1.0 - b))
            z_heldout[r] += gain_heldout - lane["forgetting"] * (z_heldout[r] - (-1.0 - b_heldout))
    everything = np.tile(np.arange(size), (4, 1))
    assert np.allclose(learner.success(everything), expit(z), atol=1e-5)
    assert np.allclose(learner.evaluate(), expit(z_heldout).reshape(4, 10, 32).mean(axis=2), atol=1e-5)
    assert np.all(np.abs(z - (-1.0 - b)).max(axis=1) > 0.3)


def test_near_transfer_falls_by_e_per_length():
    b = np.array([0.0, 1.0, 2.0, -3.0])
    learner = learner_of(wb.KernelTransfer(theta0=0.0, kappa=1.0, length=2.0), b)
    learner.learn(np.array([0]), np.array([[0, 1]], np.float32))
    assert z_of(learner, 4) == pytest.approx(-b + 2.0 * np.exp([0, -0.5, -1.0, -1.5]), abs=1e-5)


# --------------------------------------------------------------------------------- items and their difficulty


def test_difficulty_to_logit_is_the_half_success_corrected_log_odds_of_failure():
    assert difficulty_to_logit(100.0) == pytest.approx(log(128.5 / 0.5))
    assert difficulty_to_logit(0.0) == pytest.approx(log(0.5 / 128.5))
    assert difficulty_to_logit(50.0) == pytest.approx(0.0)
    assert difficulty_to_logit(25.0, attempts=8) == pytest.approx(log(2.5 / 6.5))
    assert difficulty_to_logit(np.array([75.0]), attempts=np.array([4])) == pytest.approx([log(3.5 / 1.5)])


@given(d=st.floats(0, 100), attempts=st.integers(1, 1000))
def test_difficulty_to_logit_is_odd_around_fifty(d, attempts):
    other = difficulty_to_logit(100 - d, attempts)
    assert difficulty_to_logit(d, attempts) == pytest.approx(-other, abs=1e-6)


def test_true_difficulties_are_the_labels_logits_without_label_noise():
    pool = pool_of(30)
    learner = wb.SimLearner(wb.ScalarIRT(theta0=0.5, label_noise=0.0), pool)
    expected = expit(0.5 - difficulty_to_logit(pool.difficulty))
    assert np.allclose(learner.success(np.arange(30)), expected, atol=NEAR_P)


def test_true_difficulties_use_the_pools_own_number_of_attempts():
    pool = wb.Pool(difficulty=[100.0, 50.0], successes=[0, 2], attempts=[8, 4])
    learner = wb.SimLearner(wb.ScalarIRT(theta0=0.0, label_noise=0.0), pool)
    assert learner.success(np.arange(2)) == pytest.approx([expit(-log(8.5 / 0.5)), 0.5], abs=NEAR_P)


def true_b(noise, seed, size=10_000, law=wb.ScalarIRT):
    pool = wb.Pool(difficulty=np.full(size, 50.0))
    return -z_of(wb.SimLearner(law(theta0=0.0, label_noise=noise), pool, seed=seed), size)


def test_label_noise_is_gaussian_of_the_stated_size():
    b = true_b(0.7, seed=3)
    n = len(b)
    assert abs(b.mean()) < 5 * 0.7 / sqrt(n)
    assert abs((b / 0.7).var() - 1) < 5 * sqrt(2 / n)
    assert abs(np.mean((b / 0.7) ** 4) - 3) < 5 * sqrt(96 / n)
    assert abs(np.corrcoef(b[1:], b[:-1])[0, 1]) < 5 / sqrt(n)


@pytest.mark.parametrize("seed", [2**63, 2**64 - 3])
def test_neighbouring_large_seeds_have_their_own_label_noise(seed):
    here, there = true_b(0.7, seed, 100), true_b(0.7, seed + 1, 100)
    assert not np.any(np.isclose(here, there, atol=1e-6))


def test_label_noise_is_the_same_for_every_law_with_one_seed_and_differs_between_seeds():
    assert np.array_equal(true_b(0.7, 3, 100), true_b(0.7, 3, 100, law=wb.Tabular))
    assert np.array_equal(true_b(0.7, 3, 100), true_b(0.7, 3, 100, law=wb.KernelTransfer))
    assert np.allclose(true_b(0.7, 3, 100), 7 * true_b(0.1, 3, 100), atol=1e-4)
    assert not np.any(np.isclose(true_b(0.7, 3, 100), true_b(0.7, 4, 100), atol=1e-6))


# ------------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize(
    "law",
    [
        wb.ScalarIRT(theta0=0.3, label_noise=0.0),
        wb.ScalarIRT(theta0=-2.0, a=1.7, floor=0.2, ceiling=0.9, label_noise=0.0),
        wb.KernelTransfer(theta0=0.3, label_noise=0.0),
    ],
)
def test_evaluate_is_the_mean_success_on_32_evenly_spaced_heldout_items_per_decile(law):
    learner = wb.SimLearner(law, pool_of(20))
    a, c, u = getattr(law, "a", 1.0), getattr(law, "floor", 0.0), getattr(law, "ceiling", 1.0)
    p = c + (u - c) * expit(a * (law.theta0 - difficulty_to_logit(heldout_difficulty())))
    assert learner.evaluate().shape == (10,)
    assert np.allclose(learner.evaluate(), p.mean(axis=1), atol=NEAR_P)


def test_evaluate_neither_learns_nor_draws():
    for law in LAWS.values():
        watched, plain = (wb.SimLearner(law, pool_of(30), seed=4) for _ in range(2))
        for _ in range(3):
            first = watched.evaluate()
            assert np.array_equal(first, watched.evaluate(), equal_nan=True)
            assert np.array_equal(step(watched, np.arange(10)), step(plain, np.arange(10)))
        assert_same_state(watched, plain)


def test_evaluate_falls_from_easy_to_hard_deciles_and_rises_with_skill():
    learner = wb.SimLearner(wb.ScalarIRT(kappa=0.5, label_noise=0.0), pool_of(30))
    before = learner.evaluate()
    for _ in range(10):
        step(learner, np.arange(30))
    after = learner.evaluate()
    assert np.all(np.diff(before) < 0)
    assert np.all(after > before)


def test_heldout_label_noise_comes_from_the_seed():
    one, same, other = (wb.SimLearner(wb.ScalarIRT(), pool_of(20), seed=s).evaluate() for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_tabular_evaluates_its_own_training_items_and_says_nan_where_it_has_none():
    d = np.array([1.0, 4.0, 10.0, 55.0, 99.0, 100.0])
    learner = wb.SimLearner(wb.Tabular(theta0=0.0, label_noise=0.0), wb.Pool(difficulty=d))
    step(learner, np.array([0, 3]), rollouts=8)
    p = learner.success(np.arange(6))
    expected = np.full(10, np.nan)
    expected[[0, 1, 5, 9]] = [p[:2].mean(), p[2], p[3], p[4:].mean()]
    assert np.allclose(learner.evaluate(), expected, atol=NEAR_P, equal_nan=True)


# -------------------------------------------------------------------------------------- common random numbers


def test_a_reward_is_a_uniform_of_the_seeds_rollout_stream_below_success():
    learner = wb.SimLearner(wb.ScalarIRT(), pool_of(50), seed=21)
    for t in range(3):
        items = np.random.default_rng(t).integers(0, 50, 20)
        p = np.asarray(learner.success(items))
        luck = uniforms([21], Role.ROLLOUT, t, 20 * 8).reshape(20, 8)
        assert np.array_equal(step(learner, items, rollouts=8), (luck < p[:, None]).astype(np.float32))


def test_one_seed_is_the_same_luck_whatever_the_items():
    b = np.array([0.0, 0.0, 0.0, 1.5])
    learner = learner_of(wb.ScalarIRT(theta0=0.0, kappa=0.0), b, lanes=3)
    for _ in range(4):
        items = np.array([[0] * 50, [2] * 50, [3] * 50])
        even, also_even, hard = step(learner, items, rollouts=8)
        assert np.array_equal(even, also_even)
        assert np.all(hard <= even)
        assert hard.sum() < even.sum()


def test_one_seed_is_the_same_luck_whatever_the_law_and_its_past():
    b = np.zeros(6)
    skilled = learner_of(wb.ScalarIRT(theta0=0.8, kappa=0.5), b, seed=5)
    novice = learner_of(wb.Tabular(theta0=-0.8, kappa=0.0), b, seed=5)
    for t in range(5):
        better = step(skilled, np.full(40, t % 6))
        worse = step(novice, np.arange(40) % 6)
        assert np.all(better >= worse)
        assert better.sum() > worse.sum()


def test_luck_changes_from_step_to_step_and_from_seed_to_seed():
    items, law = np.zeros(100, np.int64), wb.ScalarIRT(theta0=0.0, kappa=0.0)
    one, same, other = (learner_of(law, [0.0], seed=s) for s in (0, 0, 1))
    first = step(one, items)
    assert np.array_equal(first, step(same, items))
    for rewards in (step(one, items), step(other, items)):
        agreement = np.mean(first == rewards)  # independent fair coins agree half of the time
        assert abs(agreement - 0.5) < 5 * 0.5 / sqrt(400)


def test_attempting_again_before_learning_is_fresh_luck_and_changes_no_skill():
    learner = wb.SimLearner(wb.ScalarIRT(theta0=0.0), pool_of(30), seed=2)
    before = learner.success(np.arange(30)).copy()
    first, second = learner.attempt(np.arange(30)), learner.attempt(np.arange(30))
    assert not np.array_equal(first, second)
    assert np.array_equal(learner.success(np.arange(30)), before)


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_mean_reward_is_the_success_probability(p):
    learner = learner_of(wb.ScalarIRT(theta0=logit(p)), [0.0], seed=8)
    rewards = learner.attempt(np.zeros(20_000, np.int64), rollouts=8)
    assert rewards.mean() == pytest.approx(p, abs=5 * sqrt(p * (1 - p) / rewards.size))
    groups = rewards.sum(axis=1)
    assert groups.var() == pytest.approx(8 * p * (1 - p), rel=0.06)  # rollouts of a group are independent


@pytest.mark.parametrize("rollouts", [1, 2, 3, 8, 13])
def test_attempt_returns_zeros_and_ones_of_the_shape_asked_for(rollouts):
    law = wb.ScalarIRT(theta0=0.0, signal=wb.Critic())  # takes single rollouts too
    single, lanes = wb.SimLearner(law, pool_of(30)), wb.SimLearner(law, pool_of(30), lanes=4)
    for rewards, shape in (
        (single.attempt(np.arange(7), rollouts=rollouts), (7, rollouts)),
        (lanes.attempt(np.tile(np.arange(7), (4, 1)), rollouts=rollouts), (4, 7, rollouts)),
    ):
        assert rewards.shape == shape
        assert rewards.dtype == np.float32
        assert set(np.unique(rewards)) <= {0.0, 1.0}


def test_the_global_numpy_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for law in LAWS.values():
        learner = wb.SimLearner(law, pool_of(30), seed=4)
        step(learner, np.arange(10))
        learner.evaluate()
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# ------------------------------------------------------------------------------------------------------ lanes


def run_lanes(law, pool, seeds, batches, lane_slice=slice(None)):
    learner = wb.SimLearner(law, pool, seed=np.asarray(seeds)[lane_slice])
    rewards = [step(learner, items[lane_slice]).copy() for items in batches]
    return learner, np.array(rewards)  # rewards (T, R, B, G)


def lane_batches(lanes, size, steps=8, batch=9):
    rng = np.random.default_rng(12)
    return [rng.integers(0, size, (lanes, batch)) for _ in range(steps)]


@every_law
def test_lanes_are_single_runs_bit_for_bit(law):
    seeds, pool = np.array([3, 1, 4, 15, 2**40 + 9]), pool_of(40)
    batches = lane_batches(5, 40)
    lanes, rewards = run_lanes(law, pool, seeds, batches)
    everything = np.arange(40)
    for r, seed in enumerate(seeds):
        single = wb.SimLearner(law, pool, seed=int(seed))
        for t, items in enumerate(batches):
            assert np.array_equal(step(single, items[r]), rewards[t, r])
        assert np.array_equal(single.success(everything), lanes.success(np.tile(everything, (5, 1)))[r])
        assert np.array_equal(single.evaluate(), lanes.evaluate()[r], equal_nan=True)
        assert np.array_equal(np.ravel(single.state.theta)[0], lanes.state.theta[r])
        assert single.updates == lanes.updates == 8


@every_law
def test_grouping_lanes_in_other_chunks_gives_identical_bits(law):
    seeds, pool, batches = np.arange(13), pool_of(40), lane_batches(13, 40)
    whole, rewards = run_lanes(law, pool, seeds, batches)
    for chunk in (slice(0, 4), slice(4, 9), slice(9, 13)):
        part, part_rewards = run_lanes(law, pool, seeds, batches, chunk)
        assert np.array_equal(part_rewards, rewards[:, chunk])
        assert np.array_equal(part.evaluate(), whole.evaluate()[chunk], equal_nan=True)
        for field in ("theta", "value"):
            assert np.array_equal(getattr(part.state, field), getattr(whole.state, field)[chunk])


def test_lanes_with_one_seed_share_items_and_luck():
    learner = wb.SimLearner(wb.ScalarIRT(), pool_of(40), seed=6, lanes=3)
    single = wb.SimLearner(wb.ScalarIRT(), pool_of(40), seed=6)
    items = np.arange(20)
    for _ in range(4):
        expected = step(single, items)
        assert np.array_equal(step(learner, np.tile(items, (3, 1))), np.tile(expected, (3, 1, 1)))
    assert np.array_equal(skill(learner), np.repeat(skill(single), 3))


LANE_FIELDS = {
    "scalar": (
        wb.ScalarIRT(kappa=0.1),
        {
            "theta0": [-1.0, 0.0, 0.5],
            "kappa": [0.0, 0.1, 0.3],
            "gamma": [0.0, 0.5, 1.0],
            "a": [0.5, 1.0, 2.0],
            "floor": [0.0, 0.1, 0.25],
            "ceiling": [0.8, 0.9, 1.0],
            "forgetting": [0.0, 0.01, 0.1],
            "noise": [0.0, 0.01, 0.02],
            "label_noise": [0.0, 0.4, 0.9],
        },
    ),
    "tabular": (
        wb.Tabular(),
        {
            "theta0": [-1.0, 0.0, 0.5],
            "kappa": [0.0, 8.0, 64.0],
            "gamma": [0.0, 0.5, 1.0],
            "forgetting": [0.0, 0.01, 0.1],
            "label_noise": [0.0, 0.4, 0.9],
        },
    ),
    "kernel": (
        wb.KernelTransfer(kappa=0.3),
        {
            "theta0": [-1.0, 0.0, 0.5],
            "kappa": [0.0, 0.3, 1.0],
            "gamma": [0.0, 0.5, 1.0],
            "transfer_all": [0.0, 0.1, 0.5],
            "transfer_near": [0.0, 0.5, 1.0],
            "transfer_self": [0.0, 1.0, 2.0],
            "length": [0.1, 1.0, 30.0],
            "forgetting": [0.0, 0.01, 0.1],
            "label_noise": [0.0, 0.4, 0.9],
        },
    ),
}


@pytest.mark.parametrize(
    ("law", "field", "values"),
    [(law, f, v) for law, fields in LANE_FIELDS.values() for f, v in fields.items()],
    ids=[f"{name}.{f}" for name, (_, fields) in LANE_FIELDS.items() for f in fields],
)
def test_a_hyper_parameter_may_differ_between_lanes(law, field, values):
    pool, batches = pool_of(30), lane_batches(3, 30, steps=4)
    lanes = wb.SimLearner(replace(law, **{field: np.array(values)}), pool, seed=5, lanes=3)
    rewards = [step(lanes, items).copy() for items in batches]
    for r, value in enumerate(values):
        single = wb.SimLearner(replace(law, **{field: value}), pool, seed=5)
        assert all(np.array_equal(step(single, items[r]), rewards[t][r]) for t, items in enumerate(batches))
        assert np.array_equal(single.evaluate(), lanes.evaluate()[r], equal_nan=True)
        assert skill(single)[0] == skill(lanes)[r]


# ---------------------------------------------------------------------------------------- saving and resuming


def through_disk(state, folder):
    """A state dict written as JSON plus npz without pickle, and read back."""
    plain, arrays = {}, {}

    def split(node, prefix):
        for key, value in node.items():
            name = f"{prefix}{key}"
            if isinstance(value, dict):
                split(value, f"{name}/")
            elif isinstance(value, np.ndarray):
                arrays[name] = value
            else:
                plain[name] = value

    split(state, "")
    (folder / "state.json").write_text(json.dumps(plain))
    np.savez(folder / "state.npz", **arrays)
    back = {}
    with np.load(folder / "state.npz", allow_pickle=False) as stored:
        for name, value in [*json.loads((folder / "state.json").read_text()).items(), *stored.items()]:
            *parents, leaf = name.split("/")
            node = back
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value
    return back


@pytest.mark.parametrize("lanes", [None, 3])
@every_law
def test_a_learner_resumes_bit_for_bit_from_its_state_on_disk(law, lanes, tmp_path):
    pool, seed = pool_of(40), 2**40 + 1
    batches = lane_batches(3, 40, steps=10)
    batches = [items[0] for items in batches] if lanes is None else batches
    straight = wb.SimLearner(law, pool, seed=seed, lanes=lanes)
    expected = [step(straight, items).copy() for items in batches]
    first = wb.SimLearner(law, pool, seed=seed, lanes=lanes)
    for items in batches[:5]:
        step(first, items)
    resumed = wb.SimLearner(law, pool, seed=seed, lanes=lanes)
    resumed.load_state_dict(through_disk(first.state_dict(), tmp_path))
    assert resumed.updates == first.updates
    for t in range(5, 10):
        assert np.array_equal(step(resumed, batches[t]), expected[t])
    assert_same_state(resumed, straight)
    assert np.array_equal(resumed.evaluate(), straight.evaluate(), equal_nan=True)


@pytest.mark.parametrize("name", ["guess", "kernel critic", "scalar mean field", "scalar success"])
def test_every_update_uses_the_skill_of_its_own_moment_whatever_was_attempted_before(name):
    items, other = np.arange(10), np.arange(10, 20)
    items.flags.writeable = other.flags.writeable = False  # as a controller may hand them over
    rewards = mixed(np.random.default_rng(0), (10, 4))
    eager, plain = (wb.SimLearner(LAWS[name], pool_of(40), seed=1) for _ in range(2))
    start = eager.state_dict()
    eager.attempt(items, rollouts=4)
    for learner in (eager, plain):
        learner.learn(items, rewards)
        learner.learn(items, rewards)  # skill has moved since the attempt
    assert_same_state(eager, plain)
    eager.attempt(items, rollouts=4)
    eager.attempt(other, rollouts=4)
    for learner in (eager, plain):
        learner.learn(items, rewards)  # not the items attempted last
    assert_same_state(eager, plain)
    eager.attempt(items, rollouts=4)
    eager.load_state_dict(start)  # another skill than at the attempt
    eager.learn(items, rewards)
    fresh = wb.SimLearner(LAWS[name], pool_of(40), seed=1)
    fresh.learn(items, rewards)
    assert_same_state(eager, fresh)


@every_law
def test_a_state_dict_is_a_copy_that_later_learning_does_not_touch(law, tmp_path):
    learner = wb.SimLearner(law, pool_of(40), seed=1)
    step(learner, np.arange(20))
    saved = learner.state_dict()
    kept = through_disk(saved, tmp_path)
    step(learner, np.arange(20))
    again = through_disk(saved, tmp_path)

    def same(x, y):
        if isinstance(x, dict):
            return x.keys() == y.keys() and all(same(x[key], y[key]) for key in x)
        return np.array_equal(x, y)

    assert same(kept, again)


def test_another_process_computes_the_same_bits():
    code = (
        "import numpy as np, workbench as wb\n"
        "pool = wb.Pool.synthetic('uniform', 200)\n"
        "learner = wb.SimLearner(wb.KernelTransfer(transfer_self=.3), pool, seed=3)\n"
        "for t in range(5):\n"
        "    items = np.arange(t, t + 20)\n"
        "    learner.learn(items, learner.attempt(items, rollouts=8))\n"
        "print(learner.success(np.arange(200)).tobytes().hex() + learner.evaluate().tobytes().hex())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "123"}
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    learner = wb.SimLearner(wb.KernelTransfer(transfer_self=0.3), wb.Pool.synthetic("uniform", 200), seed=3)
    for t in range(5):
        items = np.arange(t, t + 20)
        learner.learn(items, learner.attempt(items, rollouts=8))
    here = learner.success(np.arange(200)).tobytes().hex() + learner.evaluate().tobytes().hex()
    assert other.stdout.strip() == here


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("law", "field", "value"),
    [
        (law, field, value)
        for law, fields in [
            (
                wb.ScalarIRT,
                {
                    "theta0": [float("nan"), float("inf")],
                    "kappa": [-1.0, float("nan")],
                    "gamma": [-0.1],
                    "a": [0.0, -1.0],
                    "floor": [-0.1, 1.0],
                    "ceiling": [0.0, 1.1],
                    "forgetting": [-0.1, 1.1],
                    "noise": [-0.1],
                    "label_noise": [-0.1],
                },
            ),
            (
                wb.Tabular,
                {
                    "theta0": [float("nan")],
                    "kappa": [-1.0],
                    "gamma": [-0.1],
                    "forgetting": [-0.1, 1.1],
                    "label_noise": [-0.1],
                },
            ),
            (
                wb.KernelTransfer,
                {
                    "theta0": [float("inf")],
                    "kappa": [-1.0],
                    "gamma": [-0.1],
                    "transfer_near": [-0.1],
                    "transfer_self": [float("nan")],
                    "length": [0.0, -1.0],
                    "forgetting": [-0.1, 1.1],
                    "label_noise": [-0.1],
                },
            ),
        ]
        for field, values in fields.items()
        for value in values
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_a_law_refuses_a_hyper_parameter_out_of_range_and_says_what_it_wants(law, field, value):
    with pytest.raises(wb.InputError, match=rf"{field}.*must be .*got .*{str(value).strip('0')}") as caught:
        law(**{field: value})
    assert "\n" not in str(caught.value)


def test_a_law_refuses_a_ceiling_not_above_the_floor():
    with pytest.raises(wb.InputError, match=r"(floor|ceiling).*must .*got .*0.5"):
        wb.ScalarIRT(floor=0.5, ceiling=0.5)


def test_a_law_refuses_one_bad_lane_among_good_ones():
    with pytest.raises(wb.InputError, match=r"kappa: must be .*got -0.2"):
        wb.ScalarIRT(kappa=np.array([0.1, -0.2, 0.3]))


@pytest.mark.parametrize(
    ("items", "shown"),
    [([0, 30], "30"), ([-1, 0], "-1"), ([0.5, 1.0], "float"), ([[0, 1]], r"\(1, 2\)"), (3, r"\(\)")],
)
def test_positions_outside_the_pool_are_refused(items, shown):
    learner = wb.SimLearner(wb.ScalarIRT(), pool_of(30))
    with pytest.raises(wb.InputError, match=rf"items: must .*got .*{shown}"):
        learner.attempt(np.array(items))
    before = skill(learner)
    with pytest.raises(wb.InputError, match=rf"items: must .*got .*{shown}"):
        learner.learn(np.array(items), np.ones((2, 4), np.float32))
    assert np.array_equal(skill(learner), before)


@pytest.mark.parametrize(
    ("rewards", "shown"),
    [
        ([[0, np.nan], [1, 1]], "nan"),
        ([[0, 0.5], [1, 1]], "0.5"),
        ([[0, -1], [1, 1]], "-1"),
        ([[0, 1], [1, 2]], "2"),
        ([[0, 1]], r"\(1, 2\)"),
        ([[[0, 1], [1, 1]]], r"\(1, 2, 2\)"),
    ],
)
def test_rewards_other_than_zero_and_one_per_rollout_are_refused(rewards, shown):
    for law in (wb.ScalarIRT(), wb.Tabular(), wb.KernelTransfer(), wb.ScalarIRT(floor=0.2)):
        learner = wb.SimLearner(law, pool_of(30))
        before = learner.success(np.arange(30)).copy()
        with pytest.raises(wb.InputError, match=rf"rewards: .*got .*{shown}"):
            learner.learn(np.array([0, 1]), np.array(rewards, np.float32))
        assert np.array_equal(learner.success(np.arange(30)), before)
        assert learner.attempts == 0


@pytest.mark.parametrize("rollouts", [0, -1, 2.5])
def test_rollouts_must_be_a_positive_whole_number(rollouts):
    learner = wb.SimLearner(wb.ScalarIRT(), pool_of(30))
    with pytest.raises(wb.InputError, match=rf"rollouts: must be .*got {rollouts}"):
        learner.attempt(np.arange(3), rollouts=rollouts)


@pytest.mark.parametrize("signal", [wb.RLOO(), wb.MeanBaseline(), wb.GRPO()], ids=lambda s: type(s).__name__)
def test_one_rollout_is_refused_where_the_group_is_the_baseline(signal):
    learner = wb.SimLearner(wb.ScalarIRT(signal=signal), pool_of(30))
    with pytest.raises(wb.InputError, match=r"rollouts: must be .*2.*got 1"):
        learner.learn(np.arange(3), np.ones((3, 1), np.float32))


def test_a_mask_of_another_shape_is_refused():
    learner = wb.SimLearner(wb.ScalarIRT(), pool_of(30))
    with pytest.raises(wb.InputError, match=r"admitted: must .*got .*2"):
        learner.learn(np.arange(3), np.ones((3, 2), np.float32), np.ones(2, bool))


def test_lanes_seeds_and_true_difficulties_must_fit():
    pool = pool_of(30)
    with pytest.raises(wb.InputError, match=r"lanes: must .*got 0"):
        wb.SimLearner(wb.ScalarIRT(), pool, lanes=0)
    with pytest.raises(wb.InputError, match=r"seed: must .*got -1"):
        wb.SimLearner(wb.ScalarIRT(), pool, seed=-1)
    with pytest.raises(wb.InputError, match=r"lanes: must .*got"):
        wb.SimLearner(wb.ScalarIRT(), pool, seed=[1, 2, 3], lanes=2)
    with pytest.raises(wb.InputError, match=r"kappa: must .*got .*2"):
        wb.SimLearner(wb.ScalarIRT(kappa=np.array([0.1, 0.2])), pool, lanes=3)
    with pytest.raises(wb.InputError, match=r"b: must .*got"):
        wb.SimLearner(wb.ScalarIRT(), pool, b=np.zeros(29))
    with pytest.raises(wb.InputError, match=r"b: must .*got .*nan"):
        wb.SimLearner(wb.ScalarIRT(), pool, b=np.full(30, np.nan))


def test_items_without_the_lane_axis_are_refused_by_lanes():
    learner = wb.SimLearner(wb.ScalarIRT(), pool_of(30), lanes=3)
    with pytest.raises(wb.InputError, match=r"items: must .*got .*\(5,\)"):
        learner.attempt(np.arange(5))
    with pytest.raises(wb.InputError, match=r"items: must .*got .*\(2, 5\)"):
        learner.attempt(np.tile(np.arange(5), (2, 1)))


@pytest.mark.parametrize("d", [-1.0, 100.5, float("nan")])
def test_difficulty_to_logit_refuses_a_difficulty_off_the_scale(d):
    with pytest.raises(wb.InputError, match=r"difficulty: must be .*got"):
        difficulty_to_logit(d)


def test_a_state_of_another_shape_is_refused():
    pool = pool_of(30)
    three = wb.SimLearner(wb.ScalarIRT(), pool, lanes=3)
    with pytest.raises(wb.InputError, match="must"):
        three.load_state_dict(wb.SimLearner(wb.ScalarIRT(), pool, lanes=2).state_dict())
