"""Which further log would tell learners apart: scores of futures by hand, laws that are one and the same, refusals."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from sims.sbc import POOL, simulated, space_of
from workbench.calibration.calibrate import calibrate
from workbench.calibration.candidates import Candidate
from workbench.calibration.evidence import Groups, log_evidence
from workbench.calibration.log import Log
from workbench.calibration.replay import Replay, difficulty_of
from workbench.calibration.separation import Known, separation
from workbench.errors import InputError

QUICK = {"learners": ["scalar", "tabular"], "enough": 20.0, "progress": False}
UNIFORM = Candidate.of("uniform", 5)


@pytest.fixture(scope="module")
def log():
    """Of a scalar learner: 12 updates x 6 items x 4 attempts, and 8 updates of another run."""
    _, (log,) = simulated(space_of("scalar"), 1, 3)
    again = log.step <= 8
    both = [np.concatenate([getattr(log, name), getattr(log, name)[again]])
            for name in ("step", "item", "successes", "attempts")]  # fmt: skip
    return Log(*both, np.repeat(["a", "b"], [len(log), again.sum()]), items=log.items)


@pytest.fixture(scope="module", params=[True, False], ids=["labels", "no labels"])
def fit(log, request):
    return calibrate(log, POOL if request.param else None, **QUICK)


def known(fit, name, points):
    b = difficulty_of(fit.pool)
    pool = fit.pool if b is not None else wb.Pool(np.full(len(fit.pool), 50.0))
    return Known(fit.laws[name], points, Replay(fit.log, pool, np.zeros(len(pool)) if b is None else b), 0)


@pytest.mark.parametrize("name", ["scalar", "tabular"])
def test_a_future_has_the_score_of_the_longer_log_less_that_of_the_log(fit, name):
    law = known(fit, name, fit.laws[name].points[:3])
    seen = law.imagined(UNIFORM, fit.pool, 4, 5, 6, np.arange(3, dtype=np.uint64))
    one = known(fit, name, fit.laws[name].points[7:8])
    space, log = fit.laws[name].space, fit.log
    for r, found in enumerate(one.log_score(seen)):
        ahead = [np.repeat(log.updates + 1 + np.arange(4), 5), seen.items[:, r].ravel(), seen.successes[:, r].ravel(),
                 np.full(20, 6), np.full(20, "a")]  # fmt: skip
        now = [log.step, log.item, log.successes, log.attempts, np.array(log.runs)[log.run]]
        longer = Log(*(np.concatenate(pair) for pair in zip(now, ahead, strict=True)), items=log.items)
        scores = [log_evidence(Groups(of), space.zeta(one.points, replace(one.replay, log=of)), one.given, 99).sum()
                  for of in (longer, log)]  # fmt: skip
        assert found == pytest.approx(scores[0] - scores[1], abs=2e-3)


def test_futures_are_drawn_from_the_distribution_that_scores_them(fit):
    """The mean of p_b(y) / p_a(y) over y from p_a is 1: skill, items' difficulties, drift and correlation alike."""
    space, count = fit.laws["scalar"].space, 600
    middle = fit.laws["scalar"].points.mean(axis=0)
    other = middle + 0.5 * fit.laws["scalar"].points.std(axis=0)
    right = known(fit, "scalar", np.tile(middle, (count, 1)))
    seen = right.imagined(UNIFORM, fit.pool, 4, 6, 5, np.arange(count, dtype=np.uint64))
    a, b = (known(fit, "scalar", point[None]).log_score(seen) for point in (middle, other))
    ratio = np.exp(b - a)
    assert space.name == "scalar"
    assert ratio.std() > 0.05  # the two differ
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(count)


def test_a_law_and_its_copy_are_not_told_apart_and_two_laws_are_by_more_updates(fit):
    twins = replace(fit, laws={"one": fit.laws["scalar"], "two": fit.laws["scalar"]})
    same = separation(twins, steps=6, futures=16)
    assert (np.abs(same["nats"]) < 4 * same["se"] + 0.1).all()
    assert abs(same["bits"][0]) < 0.15
    short, long = (separation(fit, steps=steps, futures=80) for steps in (2, 80))
    assert list(long["right"]) == list(long["other"][::-1])
    assert long["nats"].sum() > short["nats"].sum()
    assert long["nats"].sum() > 2 * np.sqrt((long["se"] ** 2).sum())
    assert -0.15 < long["bits"][0] <= 1


def test_the_same_call_gives_the_same_and_rules_have_rows(fit):
    rules = ("uniform", "mopps")
    first, again = (fit.separation(steps=5, rules=rules, futures=3, draws=8) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert list(first["rule"]) == ["uniform"] * 2 + ["mopps"] * 2
    assert first["nats"][0] != first["nats"][2]
    pd.testing.assert_frame_equal(first[:2], fit.separation(steps=5, futures=3, draws=8))


def test_the_report_says_which_updates_would_tell_learners_apart_that_the_log_cannot(log):
    fit = calibrate(log, POOL, **QUICK)
    as_good = fit.laws["scalar"].predictive
    as_good = as_good + np.random.default_rng(0).normal(0, 0.01, len(as_good))
    fit = replace(fit, laws=fit.laws | {"tabular": replace(fit.laws["tabular"], predictive=as_good)})
    best = fit.table.loc[fit.table["behind"] == 0, "learner"].item()
    other = "tabular" if best == "scalar" else "scalar"
    assert fit.unknown[0].startswith(f"The log cannot tell {best} from {other}")
    table = fit.separation(rules=["uniform", "adarft eta=5"], learners=[best, other])
    said = fit.unknown[1]
    assert said in fit.report()
    assert said.startswith(f"5 more updates are expected to tell {best} from {other}: of uniform by ")
    (_, first), (_, second) = table["nats"].groupby(table["rule"], sort=False)
    for rule, (one, two) in (("uniform", first), ("adarft eta=5", second)):
        assert f"of {rule} by {one:.1f} nats where {best} is right and {two:.1f} where {other} is" in said


@pytest.mark.parametrize(("given", "said"), [
    ({"rules": "uniform"}, "rules: must be a list of names of controllers, got 'uniform'"),
    ({"rules": ["zzz"]}, "'zzz'"), ({"rules": ["dapo"]}, "without gates that the pool does for, got 'dapo': it has"),
    ({"steps": 0}, "steps: must be"), ({"futures": 1}, "futures: must be"), ({"draws": 1}, "draws: must be"),
    ({"seed": -1}, "seed: must be"), ({"learners": ["scalar"]}, "learners: must be two that were fitted"),
    ({"learners": ["scalar", "scalar"]}, "learners: must be two"), ({"learners": ["scalar", "kernel"]}, "'kernel'"),
])  # fmt: skip
def test_wrong_settings_are_refused(fit, given, said):
    with pytest.raises(InputError) as error:
        fit.separation(**given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_rules_that_read_labels_and_fits_of_one_learner_are_refused(log):
    fit = calibrate(log, None, ["scalar"], enough=20.0, progress=False)
    with pytest.raises(InputError, match=r"^learners: must be two that were fitted \(scalar\)"):
        fit.separation()
    two = replace(fit, laws={"one": fit.laws["scalar"], "two": fit.laws["scalar"]})
    with pytest.raises(InputError, match=r"^rules: must be controllers without gates that the pool does for, got 'ada"):
        separation(two, rules=["adarft"])
