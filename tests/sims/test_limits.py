"""docs/explanation/limits.md: each way the simulator misleads, on a few paired seeds; and that all are there."""

import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from sims import limits
from workbench.controllers import AdaRFT, Controller, Uniform
from workbench.learners import RLOO, SimLearner
from workbench.loop import train
from workbench.pool import Pool
from workbench.registry import LAWS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "limits.md").read_text()
SEEDS = np.arange(4)


@cache
def found(study):
    return pd.DataFrame(study(SEEDS))


def values(study, panel, series=None, x=None):
    """(seeds,) of a panel, in order of seeds."""
    table = found(study)
    keep = table["panel"] == panel
    for name, value in (("series", series), ("x", x)):
        if value is not None:
            keep &= table[name] == value
    own = table[keep]
    assert list(own["seed"]) == list(SEEDS), (panel, series, x)
    return own["value"].to_numpy()


# ---- 1 to 13 ---------------------------------------------------------------------------------------------------


def test_a_gain_that_the_law_assumes_is_gone_without_it():
    def lead(x):
        return values(limits.circularity, "lead by learner", x=x)

    for name in LAWS:
        if name == "natural":
            assert (lead(name) == 0).all()
        elif name in ("policy", "adam"):  # a real optimiser cancels what more signal would gain
            assert (lead(name) < 0).all()
        else:
            assert (lead(name) > 0).all(), name
    for name in ("grid", "tracing"):
        assert (lead(name) < 0.5 * lead("scalar")).all(), name
    sampled, exact = (
        [values(limits.circularity, "lead by gamma", series, gamma) for gamma in (0.0, 0.1, 0.25, 0.5, 1.0)]
        for series in ("groups of 8", "exact signal")
    )
    assert (sampled[0] == 0).all()
    assert (exact[0] == 0).all()
    assert (np.diff(exact, axis=0) > 0).all(), "smoothly: more with every gamma"
    assert (sampled[1] > 0.9 * sampled[-1]).all(), "silent groups are silent at any gamma > 0"


def test_untrained_items_learn_only_where_skill_is_shared():
    def gain(law, difficulty):
        return values(limits.coverage, "gain by difficulty", law, difficulty)

    for far in (5, 15, 85, 95):
        assert (gain("scalar", far) > gain("kernel", far)).all()
        assert (gain("kernel", far) > 0).all()
        assert (gain("tabular", far) == 0).all()
    assert (gain("tabular", 55) > 0).all()


def test_no_learner_has_a_format_to_learn():
    """The paper: reward .4 to .6 on easy items at first. And tasks that a 3B model failed before RL on others."""
    findings = pd.read_csv(ROOT / "sims" / "results" / "extremes" / "findings.csv")
    easy = findings[findings["finding"].str.startswith("easy only: reward .4 to .6")]
    assert len(easy) >= 5
    assert (easy["verdict"] == "no").all()
    assert (easy["lower80"] > 0.6).all()
    gains = pd.read_csv(ROOT / "sims" / "results" / "transfer" / "transfer.csv").set_index(["trained", "tested"])
    assert gains.loc[("games", "cognition"), "gain"] > 1
    assert abs(gains.loc[("games", "cognition"), "gain_able"]) < 0.1


def test_wrong_verdicts_shrink_the_lead_and_move_the_target():
    for series in ("wrong passes", "right fails"):
        leads = [values(limits.verifier, "lead by verifier error", series, rate) for rate in (0.0, 0.1, 0.2, 0.3)]
        assert (np.diff(leads, axis=0) < 0).all(), series
    pool = limits.pool_of("uniform")
    learner = SimLearner(replace(LAWS["scalar"], false_positive=0.3), pool, SEEDS, len(SEEDS))
    controller = Controller(AdaRFT(), pool, seed=SEEDS, lanes=len(SEEDS))
    record = train(controller, learner, 60, limits.BATCH)
    items = controller.next_batch(limits.BATCH)
    assert record.reward[-4:].mean() == pytest.approx(0.5, abs=0.03)
    assert learner.success(items).mean() == pytest.approx((0.5 - 0.3) / 0.7, abs=0.06)


def test_on_a_real_model_fewer_silent_groups_were_not_faster_learning():
    for task in ("reverse", "skills"):
        table = pd.read_csv(ROOT / "real_runs" / "results" / task / "summary.csv").set_index(["controller", "pool"])
        ours, plain = table.loc["adarft"], table.loc["uniform"]
        assert len(ours) == 3
        assert (ours["silent_share"] < plain["silent_share"] / 3).all()
        assert (ours["auc"] <= plain["auc"]).all()


def test_an_adaptive_optimiser_turns_the_lead_round():
    def of(panel, series):
        return values(limits.optimiser, panel, series, "skew-difficult")

    assert (of("lead by optimiser", "adam") < -0.01).all()
    assert (of("lead by optimiser", "sgd") > 0.03).all()
    assert (of("silent groups by pool", "adarft") < of("silent groups by pool", "uniform") / 3).all()


def test_wrong_labels_shrink_the_lead():
    def leads(rule):
        return np.array([values(limits.label_noise, "lead by label noise", rule, sd) for sd in (0.0, 0.7, 1.5, 3.0)])

    assert (np.diff(leads("adarft"), axis=0) < 0).all()
    assert (leads("adarft")[-1] < 0.25 * leads("adarft")[0]).all()
    over_frozen = leads("adarft") - leads("frozen")
    assert (over_frozen[0] > 0.02).all()
    assert (np.abs(over_frozen[-1]) < 0.01).all()


def test_only_without_a_common_skill_does_the_order_of_items_change():
    pool = Pool.synthetic("uniform", 400)
    items = np.arange(len(pool))
    for name in ("scalar", "kernel", "tabular", "skills"):
        learner = SimLearner(replace(LAWS[name], label_noise=0.0), pool, 1)
        before = learner.success(items)
        train(Controller(AdaRFT(), pool, seed=1), learner, 60, limits.BATCH)
        kept = spearmanr(before, learner.success(items)).statistic
        assert (kept > 1 - 1e-9) == (name == "scalar"), (name, kept)


def test_a_small_pool_turns_the_lead_round_once_repeats_teach_less():
    for rule in ("adarft", "frozen"):
        assert (values(limits.repetition, "lead by repeat decay", rule, 0.0) > 0).all()
        assert (values(limits.repetition, "lead by repeat decay", rule, 0.2) < 0).all()


def test_items_that_are_never_solved_cost_the_lead():
    leads = [values(limits.ceiling, "lead by unlearnable", "adarft", share) for share in (0.0, 0.1, 0.2, 0.3)]
    assert (np.diff(leads, axis=0) < 0).all()


def test_below_a_ceiling_of_a_half_the_target_sinks_to_the_easiest_items():
    for best in (0.4, 0.5):
        assert (values(limits.ceiling, "target by ceiling", "adarft", best) == 0).all()
    assert (values(limits.ceiling, "target by ceiling", "adarft", 0.8) > 50).all()


def test_pace_changes_the_clock_and_not_the_ratio():
    def times(rule, kappa):
        return values(limits.time_unit, "steps by kappa", rule, kappa)

    slow, fast = 0.005, 0.08
    for rule in ("uniform", "adarft"):
        assert times(rule, slow) / times(rule, fast) == pytest.approx(np.full(len(SEEDS), 16), rel=0.06)
    ratio = [times("uniform", kappa) / times("adarft", kappa) for kappa in (slow, fast)]
    assert ratio[0] == pytest.approx(ratio[1], rel=0.06)
    assert (ratio[0] > 3).all()


def test_the_final_score_forgets_a_lead_that_the_area_keeps():
    def leads(series, steps):
        return values(limits.saturation, "lead by length", series, steps)

    assert (leads("final", 1600) < leads("final", 200) / 5).all()
    assert (leads("area", 1600) > leads("area", 200) / 2).all()
    assert (leads("final", 100) > leads("area", 100)).all(), "the order of the two turns round"
    assert (leads("final", 1600) < leads("area", 1600)).all()


def test_exact_signals_hide_silent_groups():
    sampled, exact = (values(limits.saturation, "silent groups", s, 200) for s in ("groups of 4", "exact signal"))
    assert (sampled > 0).all()
    assert (exact > 5 * sampled).all()


def test_the_best_of_many_settings_was_lucky():
    def gain(series, x):
        return values(limits.choice, "gain of the chosen", series, x)

    assert (gain("a seed each", "as chosen") > gain("a seed each", "fresh seeds")).all()
    optimism = {s: (gain(s, "as chosen") - gain(s, "fresh seeds")).mean() for s in ("a seed each", "one seed for all")}
    assert optimism["one seed for all"] < optimism["a seed each"] / 5


def test_a_choice_on_one_learner_is_not_the_best_on_another():
    for learner in ("on kernel", "on chain"):
        chosen = values(limits.choice, "gain of the chosen", "one seed for all", learner)
        best = values(limits.choice, "gain of the chosen", "best there is", learner)
        assert (chosen < best).all()
    assert (chosen < 0.75 * best).all(), "chain"


def test_on_other_topics_a_lead_shrinks_and_can_turn_into_a_loss():
    def leads(topics, entry):
        return values(limits.topic_shift, "lead by topic", topics, entry)

    for entry in (1.0, 0.6, 0.3, 0.0, -0.2):
        assert (leads("topics of the pool", entry) > 0).all()
    assert (leads("new topics", 0.3) < 0.6 * leads("topics of the pool", 0.3)).all()
    assert leads("new topics", 0.0) == pytest.approx(np.zeros(len(SEEDS)), abs=1e-6)
    assert (leads("new topics", -0.2) < 0).all()


def test_a_power_law_of_practice_is_a_mean_over_exponential_learners():
    mean, parts = limits.populations(400, 60)
    t = np.arange(61)
    assert mean == pytest.approx((1 + t / 20) ** -2.0, abs=2e-3)
    assert parts == pytest.approx(parts[:, 1:2] ** t, rel=1e-4, abs=1e-9)


# ---- the page --------------------------------------------------------------------------------------------------


def test_the_page_has_all_thirteen_points_and_each_shows_a_test_that_exists():
    heads = re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)
    assert heads == [str(n) for n in range(1, 14)]
    here = set(re.findall(r"^def (test_\w+)", Path(__file__).read_text(), re.MULTILINE))
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:14]:
        named = re.findall(r"`(test_\w+)`", part)
        assert named, part.splitlines()[0]
        assert set(named) <= here, part.splitlines()[0]


def test_figures_are_there_and_small_and_every_panel_belongs_to_a_point():
    images = re.findall(r"^!\[.+\]\((.+)\)$", PAGE, re.MULTILINE)
    assert images == [f"{name}.png" for name in limits.FIGURES]
    for image in images:
        picture = (ROOT / "docs" / "explanation" / image).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 150_000
    table = pd.read_csv(ROOT / "docs" / "explanation" / "limits.csv")
    shown = {panel.name for panels in limits.FIGURES.values() for panel in panels}
    assert shown <= set(table["panel"])
    points = {panel.point for panels in limits.FIGURES.values() for panel in panels}
    assert points == {*range(1, 14)} - {3, 13}


def test_the_committed_table_is_what_the_command_finds():
    table = pd.read_csv(ROOT / "docs" / "explanation" / "limits.csv")
    own = table[table["panel"] == "gain by difficulty"]
    again = limits.summary(pd.DataFrame(limits.coverage(np.arange(16))))
    assert own["mean"].to_numpy() == pytest.approx(again["mean"].to_numpy(), rel=1e-2, abs=1e-3)
    assert own["low"].to_numpy() == pytest.approx(again["low"].to_numpy(), rel=1e-2, abs=1e-3)


def test_a_lead_is_paired_and_positive_where_it_should_be():
    """The numbers behind every panel: the same as two runs by hand; and the exact signal has no luck in it."""
    law, pool = LAWS["scalar"], limits.pool_of("skew-difficult", 300)
    ours, plain = (limits.run(law, rule, pool, [3], 20) for rule in (AdaRFT(), Uniform()))
    by_hand = np.trapezoid(ours.mean_success[:, 0] - plain.mean_success[:, 0], ours.steps) / 20
    assert limits.lead(law, pool, [1, 3], steps=20)[1] == pytest.approx(by_hand)
    exact = replace(law, signal=RLOO(exact=True), label_noise=0.0)
    twice = limits.run(exact, Uniform(), Pool(np.full(100, 50.0)), [1, 2], 20).mean_success
    assert (twice[:, 0] == twice[:, 1]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "1"], "--seeds: must be a whole number in [2, 10000], got 1"),
        (["--out", ""], "--out: must be a folder, got ''"),
    ],
)
def test_bad_options_are_one_line(words, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sims/limits.py", *words])
    assert limits.main() == 2
    assert capsys.readouterr().err == f"error: {said}\n"
