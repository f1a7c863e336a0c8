"""What is saved, with which odds, against curves made by hand; what the report and the files say."""

import json

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.calibration.advice import Advice, _area, reached, saving
from workbench.calibration.candidates import Candidate
from workbench.calibration.fit import Fit, LawFit
from workbench.calibration.log import Log
from workbench.calibration.priors import Space
from workbench.errors import InputError
from workbench.registry import make_controller

X = np.array([0.0, 100.0, 200.0])
POOL = wb.Pool(np.linspace(5, 95, 12))


def test_a_level_is_reached_between_records():
    y = np.array([0.2, 0.4, 0.5])
    assert reached(X, y, 0.3) == pytest.approx(50)
    assert reached(X, y, 0.2) == reached(X, y, 0.1) == 0
    assert reached(X, y, 0.45) == pytest.approx(150)
    assert reached(X, y, 0.51) == np.inf
    assert reached(X, np.array([0.2, 0.6, 0.5]), 0.5) == pytest.approx(75)  # the first time


def test_saving_is_the_share_of_the_baselines_rollouts():
    base = np.array([0.2, 0.3, 0.4])
    assert saving(X, base, X, np.array([0.2, 0.4, 0.5])) == pytest.approx(0.5)
    assert saving(X, base, X, base) == pytest.approx(0.0)
    assert saving(X, base, 2 * X, np.array([0.2, 0.3, 0.4])) == pytest.approx(-1.0)  # twice the rollouts
    below = np.array([0.2, 0.25, 0.3])  # ends where the baseline is at 100
    assert saving(X, base, X, below) == pytest.approx(1 - 200 / 100)
    assert saving(X, base, X, np.array([0.2, 0.1, 0.1])) == -9.0
    assert np.isnan(saving(X, np.array([0.2, 0.2, 0.204]), X, base))


def test_an_area_is_the_mean_up_to_the_horizon():
    assert _area(X, np.array([0.0, 1.0, 1.0]), 200) == pytest.approx(0.75)
    assert _area(X, np.array([0.0, 1.0, 1.0]), 100) == pytest.approx(0.5)
    assert _area(X, np.array([0.0, 1.0, 1.0]), 50) == pytest.approx(0.25)
    assert _area(X, np.array([0.0, 1.0, 1.0]), 400) == pytest.approx(0.875)  # level after the last


def fit_of(weights=(("scalar", 2.0), ("natural", 1.0))):
    """A fit whose weights go by these log densities."""
    rng = np.random.default_rng(0)
    log = Log(np.repeat(np.arange(12), 2), np.arange(24) % 12, np.arange(24) % 9, np.full(24, 8))
    laws = {}
    for name, density in weights:
        space = Space(wb.ScalarIRT(), 12, 12, True)
        points = space.points(rng.standard_normal((64, len(space.priors))))
        laws[name] = LawFit(space, points, np.full(12, density), -10.0, 200.0)
    return Fit(log.on(POOL), POOL, 8, laws, {})


def advice_of(*ends, futures=10, **more):
    """Candidates uniform, adarft, filter whose success goes in two records to ends[c] (R,)."""
    specs = ("uniform", "adarft eta=5", "filter")[: len(ends)]
    candidates = tuple(Candidate.of(spec, 20) for spec in specs)
    success = np.stack([np.linspace(0.2, np.broadcast_to(end, futures), 3) for end in ends])
    rollouts = np.broadcast_to(X[:, None], success.shape)
    return Advice(fit_of(), candidates, np.array([0, 10, 20]), success, rollouts, np.zeros(success.shape),
                  np.array(["scalar"] * futures),
                  more.pop("left_out", {}), **more)  # fmt: skip


def test_the_candidate_with_the_largest_gain_is_advised_where_there_is_little_doubt():
    advice = advice_of(0.4, np.array([0.6] * 9 + [0.35]), 0.45)
    np.testing.assert_allclose(advice.gain[1, [0, 9]], [0.1, -0.025])
    np.testing.assert_allclose(advice.saved[1, [0, 9]], [0.5, 1 - 200 / 150])
    assert advice.no_better.tolist() == [1.0, 0.1, 0.0]
    assert advice.advised == "adarft eta=5"
    row = advice.table.set_index("controller").loc["adarft eta=5"]
    assert (row["best"], row["no_better"]) == (0.9, 0.1)
    assert row["saved"] == pytest.approx(0.5)
    report = advice.report()
    assert "Use adarft eta=5: to the success that uniform has after 20 updates (200 rollouts) it saves 50 %" in report
    assert "Chance that it is the best of the 3 tried: 0.90; that it is no better than uniform: 0.10." in report


def test_uniform_is_advised_where_more_than_a_tenth_of_the_futures_is_no_better():
    assert advice_of(0.4, np.array([0.6] * 8 + [0.35] * 2)).advised == "uniform"
    advice = advice_of(0.4, np.array([0.6] * 6 + [0.3] * 4))
    assert advice.advised == "uniform"
    said = "the best of the others, is no better in 40% of futures; a change is advised up to 10%."
    assert f"Stay with uniform: adarft eta=5, {said}" in advice.report()
    assert advice_of(0.4, 0.3).advised == "uniform"
    assert "Stay with uniform: nothing tried is better." in advice_of(0.4, 0.3).report()


def test_advice_to_leave_uniform_says_what_no_log_shows_and_advice_to_stay_does_not():
    line = "A log does not show what a model unlearns of problems that it no longer meets."
    assert line in advice_of(0.4, 0.6).report()
    assert line not in advice_of(0.4, 0.3).report()


def test_labels_cost_is_told_beside_what_is_saved():
    advice = advice_of(0.4, 0.6, labels_cost=300)
    assert "Its labels cost 300 rollouts, 3.0 times what it saves once." in advice.report()


def test_a_future_in_which_uniform_gains_nothing_defines_no_share():
    advice = advice_of(0.2, 0.4)
    assert np.isnan(advice.saved).all()
    assert "not defined: uniform gains too little" in advice.report()
    assert advice.advised == "adarft eta=5"


def test_files_are_plain_json_and_the_controller_is_read_back(tmp_path):
    advice = advice_of(0.4, 0.6, 0.5, left_out={"dapo": "no reason"})
    advice.save(tmp_path)

    def refuse(word):
        raise ValueError(word)

    kept = json.loads((tmp_path / "advice.json").read_text(), parse_constant=refuse)
    assert kept["advised"] == "adarft eta=5"
    assert [row["controller"] for row in kept["candidates"]] == advice.table["controller"].tolist()
    assert next(row for row in kept["candidates"] if row["controller"] == "uniform")["no_better"] is None
    made = json.loads((tmp_path / "controller.json").read_text())
    rule, gates = make_controller(made["controller"], made["settings"], horizon=made["steps"])
    assert (rule, tuple(gates)) == (advice.candidates[1].rule, advice.candidates[1].gates)
    assert advice.controller(seed=3).rule == rule
    assert (tmp_path / "report.txt").read_text() == advice.report() + "\n"
    assert "dapo was left out: no reason." in advice.report()
    assert (tmp_path / "report.html").read_text() == advice.report_html()


@pytest.mark.parametrize(("spec", "said"), [
    ("zzz", "candidates"), ("", "candidates: must be names of controllers"), (5, "candidates: must be names"),
    ("adarft eta", "candidates: must be NAME setting=value, each setting once, got 'adarft eta'"),
    ("adarft zzz=1", "zzz"),
    ("adarft eta=x", "eta"),
])  # fmt: skip
def test_an_unknown_candidate_or_setting_is_refused(spec, said):
    with pytest.raises(InputError) as error:
        Candidate.of(spec, 20)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_candidate_that_needs_labels_says_so_of_a_pool_without():
    unlabelled = wb.Pool([np.nan] * 12)
    assert "difficulty" in Candidate.of("adarft", 20).lacks(unlabelled)
    assert Candidate.of("uniform", 20).lacks(unlabelled) == ""
    assert Candidate.of("adarft", 20).lacks(POOL) == ""


def test_what_was_foretold_stands_beside_what_runs_reached():
    advice = advice_of(np.linspace(0.4, 0.6, 11), np.linspace(0.6, 0.8, 11), futures=11)
    curves = pd.DataFrame({"controller": ["adarft eta=5"] * 4 + ["mine"], "seed": [0, 0, 1, 1, 0],
                           "step": [20, 0, 0, 20, 20], "success": [0.6, 0.2, 0.2, 0.7, 0.9]})  # fmt: skip
    (row,) = advice.foretold(curves).to_dict("records")
    assert (row["controller"], row["runs"]) == ("adarft eta=5", 2)
    assert [row[name] for name in ("predicted", "predicted_low", "predicted_high", "observed")] == pytest.approx(
        [0.7, 0.62, 0.78, 0.65])  # fmt: skip
    assert row["observed_low"] < 0.65 < row["observed_high"]
    assert "adarft eta=5 0.70 predicted, 0.65 observed" in advice.plot("calibration", curves=curves).alt
    with pytest.raises(InputError, match=r"^curves: must have a run of a candidate \(uniform, adarft eta=5\), got"):
        advice.foretold(curves[curves["controller"] == "mine"])
