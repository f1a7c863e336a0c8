"""The learner of several steps: closed forms of its optimum, plateaus and relay, and a plain reference."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit, logit

import workbench as wb

NEAR_P = 3e-6  # success probabilities are computed in float32
EXACT = wb.RLOO(exact=True)


def chains(lengths, longest):
    """True difficulties of items with these numbers of steps: the middle of each one's share of the scale."""
    return logit((np.asarray(lengths) - 0.5) / longest)


def learner_of(law, lengths, category=None, lanes=None, seed=0):
    pool = wb.Pool(difficulty=np.full(len(lengths), 50.0), category=category)
    return wb.SimLearner(law, pool, seed=seed, lanes=lanes, b=chains(lengths, law.longest))


def mean_field(learner, items):
    learner.learn(items, np.zeros((*items.shape, 2), np.float32))


def study(learner, items, rollouts=4):
    rewards = learner.attempt(items, rollouts=rollouts)
    learner.learn(items, rewards)
    return rewards


# --------------------------------------------------------------------------------------------------- what an item is


@settings(deadline=None, max_examples=30)
@given(length=st.integers(1, 12), eta=st.floats(-5, 5))
def test_a_chain_succeeds_where_every_step_does(length, eta):
    learner = learner_of(wb.Chain(theta0=eta, longest=12), [length])
    (p,) = learner.success(np.array([0]))
    assert p == pytest.approx(expit(eta) ** length, rel=3e-6, abs=1e-30)


def test_the_number_of_steps_rises_over_equal_shares_of_the_difficulty_scale():
    pool = wb.Pool(difficulty=np.array([0.0, 24.0, 26.0, 49.0, 51.0, 74.0, 76.0, 100.0]))
    learner = wb.SimLearner(wb.Chain(theta0=0.0, longest=4, label_noise=0.0), pool)
    steps = -np.log2(learner.success(np.arange(8)))
    assert steps == pytest.approx([1, 1, 2, 2, 3, 3, 4, 4], abs=1e-5)
    unseen = 1 + np.floor(4 * (np.arange(320) + 0.5) / 320)
    assert np.allclose(learner.evaluate(), (0.5**unseen).reshape(10, 32).mean(axis=1), atol=1e-2)
    assert np.all(np.diff(learner.evaluate()) <= 0)


def test_chains_of_one_step_are_the_scalar_learner_on_items_of_no_difficulty():
    items = np.arange(6)
    chain = learner_of(wb.Chain(theta0=-1.0, kappa=0.3, longest=1, forgetting=0.02), np.ones(6), seed=5)
    pool = wb.Pool(difficulty=np.full(6, 50.0))
    scalar = wb.SimLearner(wb.ScalarIRT(theta0=-1.0, kappa=0.3, forgetting=0.02), pool, seed=5, b=np.zeros(6))
    for _ in range(20):
        assert np.array_equal(study(chain, items), study(scalar, items))
    assert chain.state.eta[0, 0] == pytest.approx(scalar.state.theta[0], rel=1e-9)
    assert scalar.state.theta[0] > -0.5


# ------------------------------------------------------------------------------------------- where it learns fastest


@pytest.mark.parametrize(("length", "best"), [(1, 0.5), (2, 0.4444), (4, 0.4096), (8, 0.3897)])
def test_chains_of_L_steps_teach_most_at_L_over_L_plus_one_to_the_L(length, best):
    assert (length / (length + 1)) ** length == pytest.approx(best, abs=5e-5)
    eta = np.linspace(-3, 6, 4001)
    learner = learner_of(wb.Chain(theta0=eta, kappa=1.0, longest=8, signal=EXACT), [length], lanes=len(eta))
    items = np.zeros((len(eta), 1), np.int64)
    p = np.float64(learner.success(items)[:, 0])
    mean_field(learner, items)
    gain = learner.state.eta[:, 0] - eta
    s = expit(eta)
    assert np.allclose(gain, 4 * length * s**length * (1 - s), rtol=1e-4, atol=1e-9)  # dp / d eta
    assert p[np.argmax(gain)] == pytest.approx(best, abs=1e-3)


def test_sampled_groups_teach_the_policy_gradient_on_average():
    groups, eta, length = 40_000, 0.8, 3
    learner = learner_of(wb.Chain(theta0=eta, kappa=1.0, longest=3), [length], seed=7)
    study(learner, np.zeros(groups, np.int64), rollouts=8)
    s = expit(eta)
    assert learner.state.eta[0, 0] - eta == pytest.approx(4 * length * s**length * (1 - s), rel=0.02)


# ------------------------------------------------------------------------------------------------ plateaus and relay


def time_to(target, s0, length):
    """Time at kappa' = 1 from s0 until success s^L = target: ds = s (1 - s) d eta, d eta = L s^L (1 - s) dt."""
    return quad(lambda s: 1 / (length * s ** (length + 1) * (1 - s) ** 2), s0, target ** (1 / length), limit=200)[0]


def updates_to_half(law, lengths, batches, limit):
    """Updates until chains of `lengths`, one per lane, succeed half of the time; batches (R, B) of positions."""
    learner = learner_of(law, lengths, lanes=len(batches))
    reached = np.full(len(batches), limit)
    target = np.arange(len(batches))[:, None]
    for t in range(limit):
        done = learner.success(target)[:, 0] >= 0.5
        reached = np.where(done & (reached == limit), t, reached)
        if done.all():
            break
        mean_field(learner, batches)
    return reached


def test_alone_a_chain_stays_flat_for_a_time_exponential_in_its_steps():
    s0, dt = 0.2, 0.25
    lengths = np.array([1, 2, 3, 4, 5])
    law = wb.Chain(theta0=logit(s0), kappa=dt / 4, longest=5, signal=EXACT)
    expected = np.array([time_to(0.5, s0, length) for length in lengths])
    measured = dt * updates_to_half(law, lengths, np.arange(5)[:, None], int(1.1 * expected.max() / dt))
    assert measured == pytest.approx(expected, rel=0.05)
    factor = measured[1:] / measured[:-1]
    assert np.all(np.diff(factor) > 0)  # each step more multiplies the time, for small s0 by (L / (L + 1))^2 / s0
    assert factor[-1] == pytest.approx((4 / 5) ** 2 / s0, rel=0.1)
    assert measured[-1] > 10 * measured[0]


def test_short_chains_in_the_batch_lead_to_long_ones():
    """With half of the batch chains of one step, no more than twice the time that these alone need."""
    s0, dt, length = 0.2, 0.05, 6
    law = wb.Chain(theta0=logit(s0), kappa=dt / 4, longest=length, signal=EXACT)
    until = 0.5 ** (1 / length)
    bound = 2 * time_to(until, s0, 1)
    alone = time_to(0.5, s0, length)
    relay = dt * updates_to_half(law, [length, 1], np.array([[0, 1]]), int(2 * bound / dt))[0]
    assert relay <= 1.02 * bound
    assert relay > time_to(until, s0, 1) / 2
    assert alone > 15 * relay


def test_sampled_batches_of_long_chains_are_silent_and_mixtures_are_not():
    law = wb.Chain(theta0=-1.5, kappa=1.0, longest=8)
    for lengths, learns in (([8] * 64, False), ([1, 3, 5, 8] * 16, True)):
        learner = learner_of(law, lengths, seed=2)
        for _ in range(60):
            study(learner, np.arange(64), rollouts=8)
        assert (learner.success(np.array([63]))[0] > 0.3) == learns


# ----------------------------------------------------------------------------------------------------- kinds of steps


def test_chains_of_several_kinds_follow_the_plain_formula():
    longest, kinds, size, batch = 5, 3, 30, 9
    rng = np.random.default_rng(2)
    lengths, first = rng.integers(1, longest + 1, size), rng.integers(0, kinds, size)
    kappa, forgetting = np.array([0.5, 0.2]), np.array([0.0, 0.03])
    law = wb.Chain(theta0=0.3, kappa=kappa, longest=longest, kinds=kinds, forgetting=forgetting)
    learner = learner_of(law, lengths, np.array(list("abc"))[first], seed=np.array([1, 2]))
    m = np.array([[sum((c + j) % kinds == k for j in range(n)) for k in range(kinds)]
                  for c, n in zip(first, lengths, strict=True)])  # fmt: skip
    eta = np.full((2, kinds), 0.3)
    for _ in range(20):
        items = rng.integers(0, size, (2, batch))
        p = np.prod(expit(eta)[:, None] ** m, axis=2)
        assert np.allclose(learner.success(items), np.take_along_axis(p, items, axis=1), atol=NEAR_P)
        k = study(learner, items).sum(axis=2)
        signal = k * (4 - k) / 12 / 0.25
        for r in range(2):
            push = signal[r, :, None] * m[items[r]] * (1 - expit(eta[r])) / (1 - p[r, items[r], None])
            eta[r] += kappa[r] * push.mean(axis=0) - forgetting[r] * (eta[r] - 0.3)
        assert np.allclose(learner.state.eta, eta, atol=1e-6)
    assert np.ptp(eta) > 0.1


def test_a_kind_of_step_that_no_item_of_the_batch_has_is_not_learned():
    law = wb.Chain(theta0=0.0, kappa=0.5, longest=4, kinds=4)
    learner = learner_of(law, [1, 2, 1, 1], np.array(list("abcd")))
    learner.learn(np.array([1]), np.float32([[0, 1]]))  # kinds b and c
    gain = learner.state.eta[0]
    assert np.array_equal(gain[[0, 3]], [0.0, 0.0])
    assert gain[1:3] == pytest.approx(0.5 * 2 * 0.5 / (1 - 0.25) * np.ones(2))


def test_certain_and_hopeless_steps_stay_finite():
    for eta in (-1000.0, -60.0, 60.0, 1000.0):
        learner = learner_of(wb.Chain(theta0=eta, kappa=1.0, longest=8, kinds=2), np.arange(1, 9))
        learner.learn(np.arange(8), np.tile(np.float32([0, 1]), (8, 1)))
        assert np.isfinite(learner.state.eta).all()
        p = learner.success(np.arange(8))
        assert np.all((p >= 0) & (p <= 1))


def test_without_forgetting_no_chain_ever_gets_worse():
    learner = learner_of(wb.Chain(theta0=0.0, kappa=0.5, longest=6, kinds=3), np.arange(24) % 6 + 1, seed=1)
    for t in range(20):
        before = learner.success(np.arange(24)).copy()
        study(learner, np.arange(t % 4, 24, 4))
        assert np.all(learner.success(np.arange(24)) >= before)


@pytest.mark.parametrize(("field", "bad"), [("longest", 0), ("longest", 1.5), ("kinds", 0), ("kinds", -1)])
def test_a_chain_refuses_numbers_of_steps_that_are_none(field, bad):
    with pytest.raises(wb.InputError, match=rf"{field}: must be a whole number in \[1, 1000\], got {bad}"):
        replace(wb.Chain(), **{field: bad})
