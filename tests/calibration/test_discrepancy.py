"""What narrow batches lose: the equation, its estimate from forecasts, and its way through advice."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from calibration.test_advice import advice_of

import workbench as wb
from workbench.calibration.candidates import Candidate
from workbench.calibration.discrepancy import OF_REAL_RUNS, Discrepancy, exposed, random_effects
from workbench.calibration.futures import Steered, Task, draws_of
from workbench.calibration.page import advice_page
from workbench.calibration.replay import difficulty_of
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


def paule_and_mandel(x, v):
    """As DerSimonian and Kacker (2007, Contemp. Clin. Trials 28) write it: Newton's steps from 0."""
    between = 0.0
    for _ in range(50):
        w = 1 / (v + between)
        mean = (w * x).sum() / w.sum()
        between = max(0.0, between + ((w * (x - mean) ** 2).sum() - len(x) + 1) / (w**2 * (x - mean) ** 2).sum())
    w = 1 / (v + between)
    return (w * x).sum() / w.sum(), between, 1 / w.sum()


@pytest.mark.parametrize("seed", range(8))
def test_random_effects_are_those_of_newtons_steps(seed):
    rng = np.random.default_rng(seed)
    x, v = rng.standard_normal(2 + seed) * 0.3, rng.uniform(0.001, 0.2, 2 + seed)
    assert random_effects(x, v) == pytest.approx(paule_and_mandel(x, v), abs=1e-9)


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
    with pytest.raises(InputError, match=r"table: must have a narrow arm in every setting, got none in 'a'"):
        Discrepancy.of(table_of({"a": 0.3, "b": 0.5}, exposures=(0.0, 0.0)))
    with pytest.raises(InputError, match=r"sd: must .*\[0, 2\].* got -1"):
        Discrepancy(0.4, -1)
    good = table_of({"a": 0.3, "b": 0.5})
    for column, value, said in (("real", 1.5, r"table: real: .*\[-1, 1\].* got 1.5"),
                                ("real_se", -0.1, r"table: real_se: .*\[0, 1\].* got -0.1"),
                                ("forecast_sd", 0.0, "table: must have forecast_sd or real_se above 0"),
                                ("setting", [*"aaabb", None], "table: must have a setting in every row"),
                                ("arm", "arm 0", "table: must have one row per setting, arm")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            Discrepancy.of(good.assign(**{column: value}))


def test_the_default_is_that_of_the_committed_table():
    """By weighted least squares through 0 in each setting, then random effects, each from its textbook."""
    table = pd.read_csv(FORECASTS / "discrepancy.csv")
    shares, errors = [], []
    for _, rows in table.groupby("setting"):
        sd = np.hypot(rows["forecast_sd"], rows["real_se"]).to_numpy()
        x, y = rows["exposed"].to_numpy() / sd, (rows["forecast"] - rows["real"]).to_numpy() / sd
        shares.append(np.linalg.lstsq(x[:, None], y, rcond=None)[0][0])
        errors.append(np.linalg.inv(x[None] @ x[:, None])[0, 0])
    mean, between, error = paule_and_mandel(np.array(shares), np.array(errors))
    found = Discrepancy.of(table)
    assert (found.mean, found.sd) == pytest.approx((mean, np.sqrt(between + error)))
    assert (OF_REAL_RUNS.mean, OF_REAL_RUNS.sd) == (round(mean, 2), round(np.sqrt(between + error), 2))


def test_numbers_of_any_type_are_floats():
    law = Discrepancy(np.float32(0.25), np.array(1))
    assert (type(law.mean), type(law.sd)) == (float, float)
    assert str(law) == "0.25 +- 1.00"


def narrow_advice():
    """Uniform that gains .3, and a narrow arm that gains .6, in 10 futures at 3 records."""
    advice = advice_of(0.5, 0.8)
    return replace(advice, narrowness=np.stack([np.zeros((3, 10)), np.full((3, 10), 0.5)]))


def test_less_by_hand():
    alone = narrow_advice()
    less = alone.less(Discrepancy(0.4, 0.0))
    np.testing.assert_allclose(less.success[0, :, 0], [0.2, 0.35, 0.5])  # narrowness 0
    np.testing.assert_allclose(less.success[1, :, 0], [0.2, 0.5 - 0.4 * 0.5 * 0.3, 0.8 - 0.4 * 0.5 * 0.6])
    # Mean of 0, .3, .6 by trapezoids is .3, of which uniform has half; .2 of the arm's is lost.
    np.testing.assert_allclose((alone.gain[1], less.gain[1]), np.outer([0.15, 0.3 * 0.8 - 0.15], np.ones(10)))
    np.testing.assert_allclose(alone.areas(alone.narrowness)[1], 0.5)
    # Uniform's end, .5, is reached where the arm has gained .3: of .6, and of .48.
    np.testing.assert_allclose((alone.saved[1], less.saved[1]), np.outer([1 - 3 / 6, 1 - 3 / 4.8], np.ones(10)))
    np.testing.assert_array_equal(alone.success[1, :, 0], [0.2, 0.5, 0.8])  # the given one is as it was
    shares = Discrepancy(0.3, 0.2).draws(10, 7)
    lost = alone.success - alone.less(Discrepancy(0.3, 0.2), 7).success
    np.testing.assert_allclose(lost[1, 2], 0.5 * 0.6 * shares)  # one share per future


def test_success_stays_between_0_and_1():
    alone = narrow_advice()
    assert alone.less(Discrepancy(-2, 0.0)).success[1, 2].max() == 1.0
    wide = replace(alone, narrowness=np.ones_like(alone.success))
    assert wide.less(Discrepancy(2, 0.0)).success[1, 2].min() == 0.0


def test_what_is_lost_is_lost_once_and_told(tmp_path):
    own = Discrepancy(0.3, 0.1)
    alone, less = narrow_advice(), narrow_advice().less(own)
    with pytest.raises(InputError, match=r"discrepancy: must be of futures by the laws alone, .*lost 0.30 \+- 0.10"):
        less.less(own)
    assert "Batches of one difficulty lose 0.30 +- 0.10 of the gain that the learners give them; wider" in less.report()
    assert "as in real runs of two small models" in alone.less(OF_REAL_RUNS).report()
    for advice, kept, shown in ((alone, None, "nothing"), (less, {"mean": 0.3, "sd": 0.1}, "0.30 +- 0.10")):
        advice.save(tmp_path, html=False)
        assert json.loads((tmp_path / "advice.json").read_text())["discrepancy"] == kept
        assert advice_page(advice).settings["lost by batches of one difficulty"] == shown
    with pytest.raises(InputError, match=r"series: must have the shape \(2, 3, 10\) of rollouts, got \(3, 10\)"):
        alone.areas(alone.success[0])


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


def test_an_update_without_a_group_is_no_batch():
    pool = wb.Pool(np.linspace(10, 90, 4))
    steered = Steered(wb.SimLearner(wb.ScalarIRT(), pool, seed=[0, 1]), pool, np.arange(4.0)[None])
    items = np.array([[0, 3], [1, 2]])
    for admitted in ([[True, True], [False, False]], [[False, False], [True, True]], [[True, True], [False, False]]):
        steered.learn(items, steered.attempt(items, 8), np.array(admitted))
    np.testing.assert_array_equal(steered.batches, [2, 1])
    np.testing.assert_allclose(steered.narrow, [0, 1 - 0.5 / np.std(range(4))])  # not 1 for what was not there


def test_items_without_a_label_count_by_what_was_drawn(fit, monkeypatch):
    """In a pool that is labelled in part; those with a label count by it."""
    seen = []

    class Seen(Steered):
        def __init__(self, learner, pool, difficulty):
            super().__init__(learner, pool, difficulty)
            seen.append(self.difficulty)

    monkeypatch.setattr("workbench.calibration.futures.Steered", Seen)
    labels = np.where(np.arange(120) % 3, fit.pool.difficulty, np.nan)
    partly = replace(fit, pool=wb.Pool(labels, ids=fit.pool.ids))
    (drawn,) = draws_of(partly, 8, 0, "end", np.empty(0))
    Task(Candidate.of("uniform", 2), drawn, partly.pool, np.arange(120), 2, 4, 2).futures()
    expected = np.where(np.isnan(labels), drawn.b, difficulty_of(fit.pool))
    np.testing.assert_array_equal(seen[0], expected)
