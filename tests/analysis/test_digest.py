"""The short report of a study with many arms: what it says is what the whole tables say, worked out by hand here."""

import functools
import re

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analysis import digest, stats
from workbench.analysis.tables import summary_table
from workbench.errors import InputError

STEPS, SEEDS = 20, 20
POOL = "skew-difficult / scalar"


@functools.cache
def result(settings):
    """A study of uniform and of AdaRFT at so many settings: a grid of eta and beta where they are many."""
    betas = [0.3, 0.5, 0.7, 0.9, 0.4] if settings % 5 == 0 else [0.5]
    etas = np.linspace(2, 90, settings // len(betas)).round(1).tolist()
    points = wb.grid_points({"adarft.eta": etas, "adarft.beta": betas})
    study = wb.Study(["skew-difficult"], ["scalar"], ["adarft"], points, seeds=SEEDS, steps=STEPS, batch=16, rollouts=4)
    return study.run(progress=False)


def rows_of(text):
    """The controllers whose rows a report prints, of the first pool and learner, and the lines after them."""
    lines = text.splitlines()
    (at,) = (n for n, line in enumerate(lines) if line.startswith(POOL))
    block = lines[at + 2 :]
    end = next(n for n, line in enumerate(block) if not re.match(r"  \S.*\d/\d+ ", line))
    return [re.split(r" {2,}", line.strip())[0] for line in block[:end]], block[end:]


def test_of_eleven_arms_each_is_printed_and_nothing_is_left_out():
    ten = result(10)
    text = str(ten.report())
    assert rows_of(text)[0] == ten.summary["controller"].tolist()
    assert len(ten.summary) == 11
    assert text == str(ten.report(full=True))
    assert not re.search("best of|level with the best|Effect of each|The whole table|more$", text)
    assert len(ten.ranking) == 2 * 11
    assert len(text.split("Ranking over")[1].splitlines()) > 11


@pytest.mark.parametrize("settings", [11, 250])
def test_of_many_arms_the_baseline_the_best_and_the_worst_are_printed_and_where_the_others_are(settings):
    many = result(settings)
    text = str(many.report())
    summary = many.summary.set_index("controller")
    best, worst = summary["auc"].idxmax(), summary["auc"].idxmin()
    printed, after = rows_of(text)
    assert printed == list(dict.fromkeys(["uniform", best, worst]))
    assert after[0] == f"  best of {settings + 1} by area: {best}; worst: {worst}"
    assert f"Of {settings + 1} arms, {len(printed)} are shown. The whole table: result.summary; " in text
    costs = text.split("Costs of a run on skew-difficult, mean over learners:\n")[1].splitlines()
    assert all(line.strip().startswith(name) for name, line in zip(printed, costs[1:], strict=False))
    assert costs[len(printed) + 1].startswith("generated, ")
    ranking = text.split("Ranking over")[1].splitlines()
    assert f"  ... {settings + 1 - 6} more" in ranking
    overall = many.ranking[many.ranking["learner"] == "all learners"]["controller"].tolist()
    for line, name in zip(ranking[2:], overall[:5], strict=False):
        assert f" {name} " in line
    assert f" {overall[-1]} " in ranking[8]
    assert len(text.splitlines()) < 60


@pytest.mark.parametrize("settings", [11, 250])
def test_the_whole_report_has_a_row_for_every_arm(settings):
    many = result(settings)
    text = str(many.report(full=True))
    assert rows_of(text)[0] == many.summary["controller"].tolist()
    assert "The whole table" not in text
    assert all(f" {name} " in text.split("Ranking over")[1] for name in many.summary["controller"])


@pytest.mark.parametrize("settings", [11, 250])
def test_level_with_the_best_is_what_its_paired_test_does_not_tell_apart(settings):
    many = result(settings)
    areas = many.runs.pivot(index="controller", columns="seed", values="auc")
    best = many.summary.set_index("controller")["auc"].idxmax()
    gains = (areas - areas.loc[best]).drop(index=best)
    p = [stats.sign_flip_test(gain, max(10_000, 100 * settings)) for gain in gains.to_numpy()]
    level = gains.index[(stats.holm(p) > 0.05) | (gains == 0).all(axis=1)]
    nearest = gains.loc[level].mean(axis=1).sort_values(ascending=False, kind="stable").index
    line = rows_of(str(many.report()))[1][1]
    assert line.startswith(f"  level with the best: {len(level)} of {settings}")
    assert 0 < len(level) < settings
    named = line.split(": ")[-1].split(" and ")[0].split(", ")
    means = gains.mean(axis=1)
    assert means[named].tolist() == means[nearest[: len(named)]].tolist()
    assert len(named) == min(5, len(level))
    assert (f" and {len(level) - 5} more" in line) == (len(level) > 5)


def test_effects_of_settings_are_those_of_plain_means_over_the_grid():
    many = result(250)
    table = digest.effects_table(many.runs)
    runs = many.runs[many.runs["rule"] == "adarft"]
    mean = runs.groupby("seed")["auc"].mean()
    assert table["setting"].tolist() == ["adarft.eta"] * 5 + ["adarft.beta"] * 5
    for row in table[5:].to_dict("records"):
        own = runs[runs["adarft.beta"] == float(row["values"])].groupby("seed")["auc"].mean()
        assert row["arms"] == 50
        assert row["area"] == pytest.approx(own.mean())
        apart = own - mean
        assert row["effect"] == pytest.approx(apart.mean())
        low, high = stats.interval(apart.to_numpy(), np.mean)[1:]
        assert (row["effect_low"], row["effect_high"]) == pytest.approx((low, high))
    etas = sorted(runs["adarft.eta"].unique())
    for row, part in zip(table[:5].to_dict("records"), np.array_split(etas, 5), strict=True):
        assert row["values"] == f"{part[0]:.4g} to {part[-1]:.4g}"
        own = runs[runs["adarft.eta"].isin(part)].groupby("seed")["auc"].mean()
        assert row["effect"] == pytest.approx((own - mean).mean())
        assert row["arms"] == 50
    assert table.groupby("setting")["effect"].mean().to_numpy() == pytest.approx(0, abs=1e-12)  # groups of as many
    shown = str(many.report()).split("Effect of each swept setting")[1]
    assert all(f"{row['effect']:+.4f} [{row['effect_low']:+.4f}, " in shown for row in table.to_dict("records"))


def test_a_setting_that_is_a_name_has_an_effect_for_each_name_and_other_arms_do_not_count():
    runs = pd.DataFrame([
        {"pool": "p", "learner": "l", "controller": f"a {ties}{seed // 10}", "adarft.ties": ties, "seed": seed % 10,
         "auc": 0.5 + 0.1 * (ties == "first") + 0.01 * (seed % 10)}
        for ties in ("random", "first") for seed in range(10)
    ] + [{"pool": "p", "learner": "l", "controller": "uniform", "adarft.ties": np.nan, "seed": seed, "auc": 0.1}
         for seed in range(10)])  # fmt: skip
    table = digest.effects_table(runs)
    assert table["values"].tolist() == ["random", "first"]
    assert table["effect"].tolist() == pytest.approx([-0.05, 0.05])
    assert table["effect_low"].tolist() == pytest.approx([-0.05, 0.05])  # what goes with a seed cancels


def test_too_few_seeds_to_tell_arms_from_the_best_are_said_so():
    many = result(11)
    runs = many.runs[many.runs["seed"] < 4]
    (lines,) = digest.level_lines(runs, summary_table(runs, STEPS)).values()
    assert lines[1] == "  too few seeds to tell 11 others from the best"
    assert len(lines) == 2


def test_a_full_that_is_no_flag_is_refused():
    with pytest.raises(InputError, match=r"^full: must be True or False, got 'yes'$"):
        result(10).report(full="yes")
