"""Learners fitted to simulated logs: ranks of known parameters, refusals, and what a killed call leaves."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from sims.sbc import POOL, UPDATES, rank, simulated, space_of, task_of, uniformity
from workbench.calibration import calibrate as module
from workbench.calibration.calibrate import calibrate, check_log, chosen, placed
from workbench.calibration.evidence import Groups, log_evidence
from workbench.calibration.log import Log
from workbench.calibration.replay import Replay, difficulty_of
from workbench.calibration.stacking import bagged, stacked
from workbench.errors import InputError

QUICK = {"learners": ["scalar", "tabular"], "enough": 20.0, "progress": False}


@pytest.fixture(scope="module")
def log():
    """Of a scalar learner that gains two logits: 30 updates x 6 items x 8 attempts."""
    rng = np.random.default_rng(2)
    learner = wb.SimLearner(wb.ScalarIRT(theta0=-1.0, kappa=0.12, label_noise=0.0), POOL, b=difficulty_of(POOL))
    rows = []
    for step in range(30):
        items = rng.choice(len(POOL), 6, replace=False)
        rewards = (rng.random((6, 8)) < learner.success(items)[:, None]).astype(np.float32)
        learner.learn(items, rewards)
        rows += [(step, item, int(k), 8) for item, k in zip(items.tolist(), rewards.sum(axis=1), strict=True)]
    step, item, k, n = zip(*rows, strict=True)
    return Log(step, item, k, n)


@pytest.fixture(scope="module")
def fit(log):
    return calibrate(log, POOL, **QUICK)


def test_ranks_of_parameters_drawn_from_the_prior_are_uniform():
    """Simulation-based calibration, loosely: 24 tiny logs. The study is `sims/sbc.py`."""
    space = space_of("scalar")
    points, logs = simulated(space, 24, 5)
    ranks = np.array([rank(point, task_of("scalar", space, log, enough=40.0, seed=number).fit().points)
                      for number, (point, log) in enumerate(zip(points, logs, strict=True))])  # fmt: skip
    apart = (ranks.mean(axis=0) - 9.5) / np.sqrt((20**2 - 1) / 12 / len(ranks))
    assert np.abs(apart).max() < 3.5
    assert (ranks.std(axis=0) > 3.4).all()
    assert (ranks.std(axis=0) < 8.2).all()


def test_a_test_of_uniformity_sees_ranks_that_are_not():
    rng = np.random.default_rng(0)
    even, narrow = rng.integers(0, 20, (200, 1)), rng.integers(6, 14, (200, 1))
    assert uniformity(even)[0] > 0.01
    assert uniformity(narrow)[0] < 1e-6


def test_the_parameters_of_the_simulation_are_in_wide_intervals(fit):
    found = fit.laws["scalar"].natural
    for name, true in (("theta0", -1.0), ("kappa", 0.12)):
        low, high = np.quantile(found[name], [0.005, 0.995])
        assert low < true < high
    assert fit.weights["scalar"] > 0.7  # tabular says that items which are not tried gain nothing
    assert fit.laws["scalar"].narrowing["kappa"] < 0.8


def test_weights_are_by_the_later_groups(fit, log):
    assert fit.cut == 20
    later = np.isin(np.unique(log.item), log.item[log.step > 20])
    for law in fit.laws.values():
        np.testing.assert_array_equal(np.isfinite(law.predictive), later)
    both = np.stack([law.predictive[later] for law in fit.laws.values()], axis=1)
    np.testing.assert_allclose(list(fit.weights.values()), bagged(both))
    np.testing.assert_allclose(list(fit.weights.values()), stacked(both), atol=0.05)  # so clear a log: luck is small
    table = fit.table.set_index("learner")
    assert table.loc["scalar", "behind"] == 0
    groups = (log.step > 20).sum()
    assert table.loc["tabular", "log_score"] == pytest.approx(both[:, 1].sum() / groups)


def test_the_same_seed_gives_the_same_fit_whatever_the_number_of_jobs(fit, log):
    again = calibrate(log, POOL, **QUICK, jobs=2)
    for name, law in fit.laws.items():
        np.testing.assert_array_equal(law.points, again.laws[name].points)
        np.testing.assert_array_equal(law.predictive, again.laws[name].predictive)
    other = calibrate(log, POOL, **(QUICK | {"learners": ["scalar"]}), seed=1)
    assert not np.array_equal(other.laws["scalar"].points, fit.laws["scalar"].points)


def test_what_is_kept_is_not_fitted_again_and_what_is_damaged_is(log, tmp_path, monkeypatch):
    settings = QUICK | {"learners": ["scalar"], "out": tmp_path}
    first = calibrate(log, POOL, **settings)
    (part,) = tmp_path.glob("*.npz")
    written, times = part.read_bytes(), []
    fitted = module.Task.fit
    monkeypatch.setattr(module.Task, "fit", lambda task: times.append(task.name) or fitted(task))
    again = calibrate(log, POOL, **settings)
    assert times == []
    np.testing.assert_array_equal(first.laws["scalar"].points, again.laws["scalar"].points)
    damages = (b"", written[: len(written) // 2], b"no archive")
    for damaged in damages:
        part.write_bytes(damaged)
        calibrate(log, POOL, **settings)
        assert part.read_bytes() == written
    assert times == ["scalar"] * len(damages)


@pytest.mark.parametrize(("change", "said"), [
    (lambda log: Log(log.step, log.item, np.where(log.successes > 3, 8, 0), log.attempts),
     "log: must have a group with successes and failures, got none"),
    (lambda log: log.until(9), "log: must have at least 10 updates, got 9"),
    (lambda log: Log(np.arange(12), ["a"] * 12, [4] * 12, [8] * 12), "log: must have at least two items, got one"),
])  # fmt: skip
def test_a_log_that_says_nothing_is_refused(change, said, log):
    with pytest.raises(InputError) as error:
        check_log(change(log))
    assert said in str(error.value)
    with pytest.raises(InputError) as error:
        calibrate(change(log), None, **QUICK)
    assert said in str(error.value)


@pytest.mark.parametrize(("given", "said"), [
    ({"learners": ["scalar", "scalar"]}, "learners: must name each learner once, got 'scalar' twice"),
    ({"learners": ["scalar", wb.ScalarIRT()]}, "got 'scalar' twice"),
    ({"learners": ["zzz"]}, "'zzz'"), ({"learners": "scalar"}, "learners: must be a list of names or laws"),
    ({"learners": []}, "learners: must be a list"), ({"enough": 5}, "enough: must be"), ({"jobs": 0}, "jobs: must be"),
    ({"seed": -1}, "seed: must be"), ({"progress": 1}, "progress: must be"), ({"pool": 5}, "pool: must be"),
    ({"pool": wb.Pool([10.0, 20.0])}, "item: must name an item of pool"),
])  # fmt: skip
def test_wrong_settings_are_refused(given, said, log):
    with pytest.raises(InputError) as error:
        calibrate(log, **({"pool": POOL} | QUICK | given))
    assert said in str(error.value)


def test_laws_that_must_know_where_items_lie_are_left_out_where_nothing_is_labelled(log):
    fit = calibrate(log, None, ["scalar", "kernel"], enough=20.0, progress=False)
    assert list(fit.laws) == ["scalar"]
    assert fit.reasons == {"kernel": "it needs to know where items lie, and no item has a difficulty"}
    assert any(line.startswith("kernel was left out: it needs") for line in fit.unknown)
    with pytest.raises(InputError, match=r"^learners: must have one that can be fitted, got kernel: it needs"):
        calibrate(log, None, ["kernel"], enough=20.0, progress=False)


def test_draws_and_files_of_a_fit(fit, tmp_path):
    draws = fit.draws("scalar")
    assert list(draws) == list(space_of("scalar").priors)
    assert len(draws) == module.DRAWS
    with pytest.raises(InputError, match=r"^learner: must be one of scalar, tabular"):
        fit.draws("kernel")
    saved = json.loads(fit.save(tmp_path / "fit.json").read_text())
    assert saved["cut"] == 20
    assert saved["laws"]["scalar"]["draws"]["kappa"] == draws["kappa"].tolist()
    with pytest.raises(InputError, match=r"^path: must end in \.json"):
        fit.save(tmp_path / "fit.txt")
    assert "Learners fitted to updates 1 to 30" in fit.report()


def test_the_prior_has_its_density_and_its_draws():
    space = space_of("guess")
    z = np.random.default_rng(0).standard_normal((2000, len(space.priors)))
    points = space.points(z)
    sd = np.array([prior.sd for prior in space.priors.values()])
    wanted = -0.5 * (z**2).sum(axis=1) - np.log(sd).sum() - z.shape[1] / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(space.log_prior(points), wanted)
    law = space.law_at(points)
    assert (law.floor < law.ceiling).all()
    assert law.label_noise == 0.0
    assert np.median(space.natural(points)["kappa"]) == pytest.approx(2.0 / UPDATES, rel=0.1)
    assert chosen(["guess"]).keys() == {"guess"}


@pytest.mark.parametrize("name", ["scalar", "tabular", "interference", "skills"])
def test_the_likelihood_is_a_number_however_far_out_a_point_lies(name):
    """The proposals of the sampler have heavy tails."""
    space = space_of(name)
    _, (log,) = simulated(space, 1, 3)
    task = task_of(name, space, log)
    z = np.random.default_rng(0).standard_t(1, (300, len(space.priors))) * 3
    points = space.points(np.clip(z, -40, 40))
    law = space.law_at(points)
    replay, groups = Replay(log, POOL, task.b), Groups(log)
    got = log_evidence(groups, space.zeta(points, replay), space.observation(points, law), log.updates)
    assert not np.isnan(got).any()
    assert (got < np.inf).all()


def test_a_log_with_a_known_warm_up_is_fitted_by_laws_with_it():
    space = replace(space_of("scalar"), warm_up=10)
    _, (log,) = simulated(space, 1, 11)
    fit = wb.calibrate(log, POOL, ["scalar"], warm_up=10, enough=20, progress=False)
    assert fit.laws["scalar"].space.warm_up == 10
    assert fit.laws["scalar"].space.law_at(fit.laws["scalar"].points).warm_up == 10
    with pytest.raises(InputError, match=r"^warm_up: must be"):
        wb.calibrate(log, POOL, ["scalar"], warm_up=-1)


def test_items_of_a_log_without_a_pool_have_no_difficulty(log):
    joined, pool = placed(log, None)
    assert np.isnan(pool.difficulty).all()
    assert len(pool) == len(log.items)
    assert joined.item.tolist() == log.item.tolist()


# ---- what a fit foretells ----------------------------------------------------------------------------------


def test_later_groups_are_foretold_in_bins_of_their_chance_with_what_was_observed(fit):
    table, log = fit.foretold(bins=4), fit.log
    later = log.step > fit.cut
    assert table["groups"].sum() == later.sum()
    assert table["predicted"].is_monotonic_increasing
    attempts = table["groups"] * 8
    assert (table["observed"] * attempts).sum() == pytest.approx(log.successes[later].sum())
    assert ((table["observed_low"] <= table["observed"]) & (table["observed"] <= table["observed_high"])).all()
    pd.testing.assert_frame_equal(table, fit.foretold(bins=4))
    assert not table.equals(fit.foretold(bins=4, seed=1))
    (whole,) = fit.foretold(bins=1).to_dict("records")
    share = log.successes[later] / 8
    errors = [(share[log.item[later] == item] - share.mean()).sum() for item in np.unique(log.item[later])]
    half = 1.959964 * np.sqrt(np.square(errors).sum() * len(errors) / (len(errors) - 1)) / len(share)
    assert whole["observed_high"] == pytest.approx(min(1.0, share.mean() + half))


def test_a_fit_foretells_what_comes_and_a_wrong_one_does_not(fit):
    def gap(of):
        (row,) = of.foretold(bins=1).to_dict("records")
        return row["predicted"] - row["observed"]

    assert abs(gap(fit)) < 0.06
    wrong = {name: replace(law, points=law.points - 6 * (np.array(list(law.space.priors)) == "theta0"))
             for name, law in fit.laws.items()}  # fmt: skip
    assert gap(replace(fit, laws=wrong)) < -0.1


@pytest.mark.parametrize("given", [{"bins": 0}, {"draws": 0}, {"seed": -1}, {"bins": "ten"}])
def test_other_settings_of_what_is_foretold_are_refused(fit, given):
    with pytest.raises(InputError, match=f"^{next(iter(given))}: must"):
        fit.foretold(**given)


def test_a_fit_draws_its_calibration(fit):
    table, figure = fit.foretold(), fit.plot("calibration", width="column")
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    np.testing.assert_allclose([(line.get_xdata()[0], line.get_ydata()[0]) for line in marks],
                               table[["predicted", "observed"]])  # fmt: skip
    assert f"{table['predicted'][0]:.2f} predicted, {table['observed'][0]:.2f} observed" in figure.alt
    with pytest.raises(InputError, match=r"^kind: must be one of weights, calibration, got 'odds'"):
        fit.plot("odds")
