"""What narrow batches lose: the equation, its estimate from forecasts, and its way through advice."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.calibration.discrepancy import OF_REAL_RUNS, Discrepancy, exposed, random_effects
from workbench.calibration.futures import Steered
from workbench.errors import InputError
from workbench.learners.learner import narrowness

FORECASTS = Path(__file__).parents[2] / "real_runs" / "results" / "forecasts"
# Colditz et al. 1994, JAMA 271, table 1: cases and others with BCG vaccine, cases and others without.
BCG = np.array([
    [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
    [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232], [17, 1699, 65, 1600],
    [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825],
])  # fmt: skip


def test_what_is_lost_is_the_share_of_the_gain_that_narrow_batches_made():
    success = np.array([[0.2, 0.5], [0.3, 0.4], [0.6, 0.1]])  # 3 records, 2 futures
    narrowness = np.array([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]])
    np.testing.assert_allclose(exposed(success, narrowness), [[0, 0], [0.05, 0], [0.4, 0]])


def test_draws_have_their_mean_and_deviation_and_follow_the_seed():
    law = Discrepancy(0.4, 0.2)
    drawn = law.draws(40_000, seed=3)
    assert drawn.mean() == pytest.approx(0.4, abs=0.005)
    assert drawn.std() == pytest.approx(0.2, abs=0.005)
    np.testing.assert_array_equal(drawn, law.draws(40_000, seed=3))
    assert not np.array_equal(drawn, law.draws(40_000, seed=4))
    np.testing.assert_array_equal(Discrepancy(0.4, 0).draws(3, 0), [0.4] * 3)


def test_random_effects_of_the_bcg_trials():
    """By hand DerSimonian and Laird give .309; the equation of Paule and Mandel holds at .318."""
    a, b, c, d = BCG.T.astype(float)
    ratio = np.log(a / (a + b) / (c / (c + d)))
    variance = 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)
    mean, between, error = random_effects(ratio, variance)
    assert (mean, between, np.sqrt(error)) == pytest.approx((-0.7150, 0.3181, 0.1809), abs=1e-4)
    weight = 1 / (variance + between)
    assert (weight * (ratio - mean) ** 2).sum() == pytest.approx(len(BCG) - 1)


def test_estimates_that_differ_by_less_than_their_errors_have_no_variance_between():
    mean, between, error = random_effects(np.array([0.1, 0.3]), np.array([1.0, 1.0]))
    assert (mean, between, error) == pytest.approx((0.2, 0.0, 0.5))


def table_of(shares, exposures=(0.1, 0.05, 0.0), sd=0.01, real_se=0.0):
    """Forecasts that miss by exactly share x exposed."""
    rows = [
        {"setting": name, "arm": f"arm {k}", "forecast": 0.02, "forecast_sd": sd, "exposed": x, "real_se": real_se,
         "real": 0.02 - share * x}
        for name, share in shares.items() for k, x in enumerate(exposures)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_share_is_found_again():
    found = Discrepancy.of(table_of({"a": 0.3, "b": 0.5}))
    own = 0.01**2 / (0.1**2 + 0.05**2)  # squared error of one setting's share
    assert found.mean == pytest.approx(0.4)
    between = 0.02 - own  # two values with the variance .02, less the error of each
    assert found.sd == pytest.approx(np.sqrt(between + 0.02 / 2))


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(InputError, match=r"table: must have at least two settings, got 1"):
        Discrepancy.of(table_of({"a": 0.3}))
    with pytest.raises(InputError, match=r"table: must have a narrow arm in every setting, got none in a"):
        Discrepancy.of(table_of({"a": 0.3, "b": 0.5}, exposures=(0.0, 0.0)))
    with pytest.raises(InputError, match=r"sd: must .*\[0, 2\].* got -1"):
        Discrepancy(0.4, -1)


def test_the_default_is_that_of_the_committed_table():
    found = Discrepancy.of(pd.read_csv(FORECASTS / "discrepancy.csv"))
    assert (OF_REAL_RUNS.mean, OF_REAL_RUNS.sd) == (round(found.mean, 2), round(found.sd, 2))


@pytest.fixture(scope="module")
def fit():
    """Of a simulated uniform log."""
    pool = wb.Pool(np.linspace(2, 98, 120))
    learner, rng = wb.SimLearner(wb.ScalarIRT(kappa=0.1, label_noise=0.0), pool, seed=1), np.random.default_rng(2)
    rows = []
    for step in range(20):
        items = rng.choice(len(pool), 12, replace=False)
        rewards = learner.attempt(items, 8)
        learner.learn(items, rewards)
        rows += [(step, int(item), int(k), 8) for item, k in zip(items, rewards.sum(axis=1), strict=True)]
    frame = pd.DataFrame(rows, columns=["step", "item", "successes", "attempts"])
    return wb.calibrate(wb.Log.from_frame(frame), pool, ["scalar"], enough=20.0, progress=False)


def test_narrow_curricula_lose_and_uniform_hardly_does(fit, tmp_path):
    settings = {"candidates": ["adarft eta=5", "filter"], "lanes": 16, "progress": False, "out": tmp_path}
    alone = wb.advise(fit, 20, 12, 8, discrepancy=None, **settings)
    known = Discrepancy(0.5, 0.0)
    advice = wb.advise(fit, 20, 12, 8, discrepancy=known, **settings)
    uniform, narrow = alone.narrowness[:2, -1].mean(axis=1)
    assert uniform < 0.2 < 0.6 < narrow  # one record per update: the mean over all batches
    assert (alone.narrowness[:, 0] == 0).all()
    gained = np.maximum(0, alone.success - alone.success[:, :1])
    np.testing.assert_allclose(advice.success, alone.success - 0.5 * alone.narrowness * gained)
    np.testing.assert_array_equal(alone.less(known).success, advice.success)
    assert advice.gain[1].mean() < alone.gain[1].mean() - 0.005
    assert "Batches of one difficulty lose 0.50 +- 0.00 of the gain" in advice.report()
    assert "Narrow batches gain all that the learners give them" in alone.report()
    default = wb.advise(fit, 20, 12, 8, **settings)
    np.testing.assert_array_equal(default.success, alone.less(OF_REAL_RUNS).success)


def test_narrowness_is_one_less_the_share_of_the_pools_spread():
    b = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    items = np.array([[0, 4, 2], [1, 2, 3]])
    spread, everywhere = np.full(2, b.std()), np.ones((2, 3), bool)
    expected = [max(0, 1 - np.std(b[row]) / np.std(b)) for row in items]
    np.testing.assert_allclose(narrowness(b[items], everywhere, spread), expected)
    there = np.array([[True, False, True], [True, True, True]])
    assert narrowness(b[items], there, spread)[0] == pytest.approx(1 - np.std(b[[0, 2]]) / np.std(b))
    np.testing.assert_array_equal(narrowness(np.zeros((2, 3)), everywhere, np.zeros(2)), [0, 0])  # a pool of one kind


@pytest.mark.parametrize("labelled", [True, False])
def test_futures_measure_batches_by_labels_or_by_what_was_drawn(fit, labelled):
    """A learner that takes the pool in pairs; the definition by hand."""
    drawn = np.arange(8.0).reshape(2, 4) ** 2
    labels = np.array([0.0, 1.0, 3.0, 9.0])
    pool = wb.Pool(np.linspace(10, 90, 4))
    learner = wb.SimLearner(wb.ScalarIRT(), pool, seed=[0, 1])
    known = labels[None] if labelled else drawn
    steered, other = Steered(learner, pool, known), wb.SimLearner(wb.ScalarIRT(), pool, seed=[0, 1])
    total = np.zeros(2)
    for pair in ([[0, 1], [2, 3]], [[1, 3], [0, 2]]):
        items = np.array(pair)
        rewards = steered.attempt(items, 8)
        steered.learn(items, rewards)
        other.learn(items, other.attempt(items, 8))
        rows = np.broadcast_to(known, (2, 4))
        total += [max(0, 1 - np.std(row[at]) / np.std(row)) for row, at in zip(rows, items, strict=True)]
    np.testing.assert_allclose(steered.narrow, total)
    np.testing.assert_array_equal(steered.success(items), other.success(items))  # it learns as ever
