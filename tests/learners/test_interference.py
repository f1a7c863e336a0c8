"""Local gain that is paid for elsewhere, against its equation on dense matrices and against ScalarIRT."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import InputError

POOL = wb.Pool(np.linspace(0, 100, 60))
LENGTHS = np.array([0.2, 0.5, 3.0])
LOCAL = np.array([0.3, 1.0, 2.5])


def batches(learner, updates, size=8):
    """Train on random batches; the batches and their rewards."""
    rng = np.random.default_rng(5)
    for _ in range(updates):
        items = np.tile(rng.choice(len(POOL), size, replace=False), (learner.lanes, 1))
        rewards = learner.attempt(items)
        learner.learn(items, rewards)
        yield items[0], rewards


def test_skill_follows_the_equation_on_dense_matrices():
    law = wb.Interference(kappa=0.3, locality=LOCAL, length=LENGTHS, forgetting=0.02, label_noise=0.0)
    learner = wb.SimLearner(law, POOL, seed=3, lanes=3)
    b = learner._bank.b[0].astype(np.float64)  # the pool's items, then the held-out ones
    gaps = np.abs(b[: len(POOL), None] - b)
    z = np.zeros((3, len(b)))
    for items, rewards in batches(learner, 12):
        k = rewards.sum(axis=2)
        signal = k * (8 - k) / 56 / 0.25
        for lane in range(3):
            near = np.exp(-gaps / LENGTHS[lane])
            kernel = 1 + LOCAL[lane] * (near / near[:, : len(POOL)].mean(axis=1, keepdims=True) - 1)
            z[lane] += 0.3 / 8 * signal[lane] @ kernel[items] - 0.02 * z[lane]
    got = learner.state.theta[:, None] - (-1.5) + learner.state.offset
    np.testing.assert_allclose(got, z, atol=1e-6)
    assert np.abs(z).max() > 0.5


def test_without_locality_it_is_the_scalar_learner():
    shared = {"kappa": 0.2, "floor": 0.1, "ceiling": 0.9, "forgetting": 0.01}
    one, other = (wb.SimLearner(law, POOL, seed=2, lanes=2) for law in
                  (wb.Interference(locality=0.0, **shared), wb.ScalarIRT(**shared)))  # fmt: skip
    for (_, mine), (_, theirs) in zip(batches(one, 20), batches(other, 20), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(one.evaluate(), other.evaluate())


@given(st.floats(0, 3), st.floats(0.05, 5), st.integers(0, 59))
def test_every_group_teaches_the_pool_the_same_in_sum(locality, length, item):
    learner = wb.SimLearner(wb.Interference(kappa=1.0, locality=locality, length=length, label_noise=0.0), POOL)
    half = np.array([[1, 1, 1, 1, 0, 0, 0, 0]], np.float32)
    learner.learn([item], half)
    gained = learner.state.theta + 1.5 + learner.state.offset[0, : len(POOL)]
    np.testing.assert_allclose(gained.mean(), 4 * 4 / 56 / 0.25, rtol=1e-5)


@pytest.mark.parametrize(("locality", "sign"), [(0.5, 1), (2.0, -1)])
def test_above_one_the_items_far_away_lose(locality, sign):
    learner = wb.SimLearner(wb.Interference(kappa=0.2, locality=locality, label_noise=0.0), POOL)
    before = learner.success(np.arange(60))
    learner.learn([5], np.array([[1, 1, 1, 1, 0, 0, 0, 0]], np.float32))
    change = learner.success(np.arange(60)) - before
    assert change[5] > 0
    assert np.sign(change[50]) == sign


@pytest.mark.parametrize(
    ("settings", "domain"),
    [({"locality": -0.1}, r"locality: must be a number in \[0, 1e6\]"),
     ({"length": 0.0}, r"length: must be a number in \[1e-6, 1e6\]"),
     ({"floor": 0.5, "ceiling": 0.4}, "floor, ceiling: must have floor < ceiling")],
)  # fmt: skip
def test_settings_outside_their_domain_are_refused(settings, domain):
    with pytest.raises(InputError, match=f"^{domain}"):
        wb.Interference(**settings)
