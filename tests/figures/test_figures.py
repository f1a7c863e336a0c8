"""Figures: what is drawn equals the plain pandas expression, looks hold across figures, files are whole."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.collections import LineCollection
from matplotlib.colors import rgb_to_hsv, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

import workbench as wb
from workbench import figures
from workbench import registry as presets
from workbench.analysis.tables import COLUMNS, COST_COLUMNS
from workbench.errors import InputError
from workbench.registry import unit_of

RULES = ("uniform", "linear", "adarft")
KEY = ["pool", "learner", "controller"]


def make_curves(pools=("easy", "hard"), learners=("scalar", "grpo"), controllers=RULES, seeds=5) -> pd.DataFrame:
    """Noisy curves; a rule is the first word of its controller; only linear and adarft have a target."""
    rng = np.random.default_rng(0)
    steps = np.arange(0, 101, 20)
    rows = []
    for pool, learner, name, seed in itertools.product(pools, learners, controllers, range(seeds)):
        rule = name.split()[0]
        success = rng.uniform(0.2, 0.3) + 0.005 * steps * rng.uniform(0.5, 1.0)
        target = steps * rng.uniform(0.8, 1.0) if rule in ("linear", "adarft") else np.full(len(steps), np.nan)
        keys = {"pool": pool, "learner": learner, "controller": name, "rule": rule, "seed": seed}
        rows.append(pd.DataFrame(keys | {"step": steps, "success": success, "target": target}))
    return pd.concat(rows, ignore_index=True)


def make_summary(pools=("easy", "hard"), learners=("scalar", "grpo"), controllers=RULES) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for pool, learner, name in itertools.product(pools, learners, controllers):
        base = name == "uniform"
        speedup = np.nan if base else np.exp(rng.normal(0.2, 0.4))
        rows.append(
            {"pool": pool, "learner": learner, "controller": name, "rule": name.split()[0], "seeds": 8}
            | {"threshold": 0.5, "censored": 0, "verdict": "baseline" if base else "better"}
            | {"speedup": speedup, "speedup_low": speedup * 0.8, "speedup_high": speedup * 1.3}
        )
    return pd.DataFrame(rows)


def make_grid(pools=("easy",), etas=(5.0, 50.0, 500.0), kappas=(0.01, 0.1)) -> pd.DataFrame:
    """A sweep over adarft.eta and scalar.kappa with its uniform rows, whose eta is NaN."""
    parts = []
    for eta, kappa in itertools.product(etas, kappas):
        part = make_summary(pools, [f"scalar kappa={kappa:g}"], ["uniform", f"adarft eta={eta:g}"])
        parts.append(
            part.assign(**{"adarft.eta": np.where(part["rule"] == "adarft", eta, np.nan), "scalar.kappa": kappa})
        )
    table = pd.concat(parts, ignore_index=True)
    speedup = np.where(table["rule"] == "adarft", 1 + np.arange(len(table)) / 10, np.nan)
    return table.assign(speedup=speedup, speedup_low=speedup - 0.05, speedup_high=speedup + 0.05)


SIX = ["scalar kappa=0.02", "grpo", "natural", "guess floor=0.25", "kernel length=1 transfer_all=0.1", "tabular"]
FOUR = ["skew-difficult", "uniform", "skew-easy", "hard-extreme"]
SEVEN = list(figures.LOOKS)[:7]  # the rules of the default study
ONE_PANEL = {"pools": ["easy"], "learners": ["scalar"]}


def legend_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def lines(figure: Figure) -> dict[str, list]:
    """Controller -> its labelled lines, over all panels in order."""
    found: dict[str, list] = {}
    for ax in figure.axes:
        for line in ax.get_lines():
            if not line.get_label().startswith("_"):
                found.setdefault(line.get_label(), []).append(line)
    return found


# ---- curves ------------------------------------------------------------------------------------------------


def test_one_line_per_controller_and_panel_holding_the_mean_over_seeds():
    curves = make_curves()
    figure = figures.learning_curves(curves)
    assert {name: len(found) for name, found in lines(figure).items()} == dict.fromkeys(RULES, 4)
    panels = itertools.product(["scalar", "grpo"], ["easy", "hard"])  # rows are learners, columns pools
    for ax, (learner, pool) in zip(figure.axes, panels, strict=True):
        for line in ax.get_lines():
            rows = curves[(curves[KEY] == [pool, learner, line.get_label()]).all(axis=1)]
            expected = rows.groupby("step")["success"].mean()
            np.testing.assert_array_equal(line.get_xdata(), expected.index)
            np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)


def test_band_is_the_t_interval_of_the_mean():
    curves = make_curves(**ONE_PANEL, controllers=["adarft"])
    runs = curves.pivot(index="step", columns="seed", values="success").to_numpy()  # (steps, seeds)
    low, high = scipy.stats.t.interval(0.95, 4, runs.mean(1), scipy.stats.sem(runs, axis=1))
    outline = figures.learning_curves(curves).axes[0].collections[0].get_paths()[0].vertices
    for step, a, b in zip(np.unique(curves["step"]), low, high, strict=True):
        at_step = outline[outline[:, 0] == step, 1]
        assert at_step.min() == pytest.approx(a, rel=1e-9)
        assert at_step.max() == pytest.approx(b, rel=1e-9)


def test_missing_values_leave_the_mean_and_its_seed_count():
    curves = make_curves(**ONE_PANEL, controllers=["adarft"])
    curves.loc[(curves["seed"] == 0) & (curves["step"] == 20), "success"] = np.nan
    band = figures.mean_and_band(curves, "success").set_index("step")
    rest = curves.query("step == 20 and seed > 0")["success"]
    low, high = scipy.stats.t.interval(0.95, 3, rest.mean(), scipy.stats.sem(rest))
    assert band.loc[20, ["mean", "low", "high", "seeds"]].tolist() == pytest.approx([rest.mean(), low, high, 4])
    assert band.loc[40, "seeds"] == 5


def test_one_seed_has_a_mean_but_no_band():
    figure = figures.learning_curves(make_curves(seeds=1))
    assert all(not ax.collections for ax in figure.axes)
    assert figure.legends[0].get_title().get_text() == "mean over 1 seed"


def test_the_axis_stays_in_the_domain_though_bands_of_two_seeds_do_not():
    curves = make_curves(**ONE_PANEL, seeds=2)
    assert figures.mean_and_band(curves, "success")["high"].max() > 1.1
    low, high = figures.learning_curves(curves).axes[0].get_ylim()
    assert -0.05 < low < high < 1.05
    low, high = figures.target_trajectories(curves).axes[0].get_ylim()
    assert low < 0 < 100 < high


def test_titles_axis_labels_and_legend_are_there():
    figure = figures.learning_curves(make_curves())
    assert [ax.get_title() for ax in figure.axes] == ["easy", "hard", "", ""]
    assert [ax.get_ylabel() for ax in figure.axes] == ["", "scalar", "", "grpo"]
    assert figure.get_supxlabel() == "training step"
    assert figure.get_supylabel() == "held-out success (mean over difficulty deciles)"
    assert legend_texts(figure) == list(RULES)
    assert figure.legends[0].get_title().get_text() == "mean and 95 % interval (t) over 5 seeds"
    drawn = figures.learning_curves(make_curves(), over="draw")
    assert drawn.legends[0].get_title().get_text() == "mean and 95 % interval (t) over 5 draws"


def test_legend_tells_when_arms_have_different_numbers_of_seeds():
    curves = make_curves()
    figure = figures.learning_curves(curves[(curves["rule"] != "linear") | (curves["seed"] < 3)])
    assert figure.legends[0].get_title().get_text().endswith("over 3 to 5 seeds")


def test_a_panel_without_runs_says_so():
    curves = make_curves()
    figure = figures.learning_curves(curves[(curves["pool"] == "easy") | (curves["learner"] == "grpo")])
    assert [text.get_text() for text in figure.axes[1].texts] == ["no runs"]
    assert not figure.axes[1].get_lines()


def test_only_controllers_with_a_target_have_a_trajectory():
    curves = make_curves()
    figure = figures.target_trajectories(curves)
    assert legend_texts(figure) == ["linear", "adarft"]
    expected = (
        curves.query("pool == 'easy' and learner == 'scalar' and rule == 'adarft'").groupby("step")["target"].mean()
    )
    np.testing.assert_allclose(lines(figure)["adarft"][0].get_ydata(), expected, rtol=1e-12)
    with pytest.raises(InputError, match="must have a controller with a finite target, got none"):
        figures.target_trajectories(make_curves(controllers=["uniform"]))


# ---- looks -------------------------------------------------------------------------------------------------


def test_no_two_rules_of_the_default_study_share_a_colour_dashes_or_a_marker():
    looks = [figures.LOOKS[name] for name in (*SEVEN, "dapo")]
    for part in ("color", "dashes", "marker"):
        assert len({getattr(look, part) for look in looks}) == len(looks)


def test_looks_of_rules_and_gates_that_ship_are_told_apart():
    """A rule without a look is drawn by its name; those that have one differ in dashes and marker within a colour."""
    assert set(figures.LOOKS) <= {*presets.RULES, *presets.GATES}
    for (name, one), (other, two) in itertools.combinations(figures.LOOKS.items(), 2):
        if one.color == two.color:
            assert one.dashes != two.dashes, (name, other)
            assert one.marker != two.marker, (name, other)
    sharing = [look.color for look in figures.LOOKS.values()]
    assert max(map(sharing.count, sharing)) <= 4
    shown = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"}  # Okabe and Ito
    shown |= {"#332288", "#117733", "#44AA99", "#999933", "#CC6677", "#882255"}  # Tol, muted
    assert set(sharing) <= shown


def test_looks_that_are_in_print_do_not_change():
    assert {name: (look.color, look.dashes[1], look.marker) for name, look in figures.LOOKS.items()}.items() >= {
        "uniform": ("#000000", (4, 1.5), "o"),
        "filter": ("#E69F00", (6, 1.5, 1, 1.5), "s"),
        "band": ("#56B4E9", (2, 1), "^"),
        "linear": ("#009E73", (8, 2), "v"),
        "sorted": ("#CC79A7", (6, 1.2, 1, 1.2, 1, 1.2), "D"),
        "frozen": ("#0072B2", (1, 1), "p"),
        "adarft": ("#D55E00", (), "*"),
        "dapo": ("#882255", (3, 1, 1, 1), "P"),
    }.items()


def test_a_rule_behind_gates_keeps_its_colour_and_marker_in_other_dashes():
    gates = ["+".join(some) for n in (1, 2) for some in itertools.permutations(presets.GATES, n)]
    for rule in (*presets.RULES, "mixing"):
        behind = [figures.rule_look(f"{rule}+{some}") for some in gates]
        alone = figures.rule_look(rule)
        assert {(look.color, look.marker) for look in behind} == {(alone.color, alone.marker)}
        assert len({look.dashes for look in [alone, *behind]}) == 1 + len(gates)
    behind = ["", *(f"+{some}" for some in gates)]
    everyone = [figures.rule_look(f"{rule}{some}") for rule in presets.RULES for some in behind]
    assert len(set(everyone)) == len(everyone)
    both = figures.rule_look("dapo+vcrl")
    assert (both.color, both.marker) == (figures.LOOKS["dapo"].color, figures.LOOKS["dapo"].marker)
    assert both != figures.LOOKS["dapo"]


def test_gates_stand_after_their_rule_in_the_legend_and_variants_of_both_differ():
    names = ["adarft+dapo adarft.eta=5", "adarft+dapo adarft.eta=50", "dapo", "adarft eta=5", "adarft eta=50", "plr"]
    table = pd.DataFrame({"controller": names, "rule": [name.split()[0] for name in names]})
    looks = figures.controller_looks(table)
    assert list(looks) == [names[3], names[4], names[0], names[1], "plr", "dapo"]
    assert len(set(looks.values())) == len(names)
    assert looks["adarft eta=5"].color == looks["adarft+dapo adarft.eta=5"].color


def test_no_unknown_rule_looks_like_one_that_ships():
    others = itertools.product(figures.OTHER_COLORS, figures.OTHER_DASHES, figures.OTHER_MARKERS)
    assert not {figures.Look(*parts) for parts in others} & set(figures.LOOKS.values())


def test_a_rule_looks_the_same_in_every_figure():
    curves = make_curves(**ONE_PANEL, controllers=[*RULES, "mine"])
    summary = make_summary(**ONE_PANEL, controllers=[*RULES, "mine"])
    plots = [
        figures.learning_curves(curves),
        figures.learning_curves(curves[curves["rule"] == "mine"]),
        figures.target_trajectories(curves),
        figures.speedup_forest(summary),
    ]
    for name in [*RULES, "mine"]:
        drawn = [line for plot in plots for line in lines(plot).get(name, [])]
        want = figures.rule_look(name)
        assert drawn
        assert {line.get_marker() for line in drawn} == {want.marker}
        colors = {
            to_hex(line.get_markeredgecolor() if line.get_linestyle() == "None" else line.get_color()) for line in drawn
        }
        assert colors == {want.color.lower()}


def test_arms_keep_their_look_in_tables_without_their_rules():
    """As a ranking is, or a table of one's own."""
    names = ["uniform", "adarft eta=5", "adarft eta=50", "adarft+dapo eta=5", "mine x"]
    rules = ["uniform", "adarft", "adarft", "adarft+dapo", "mine x"]
    table = pd.DataFrame({"controller": names, "rule": rules})
    assert figures.controller_looks(table.drop(columns="rule")) == figures.controller_looks(table)


def test_an_unknown_rule_gets_its_look_from_its_name_alone():
    assert figures.rule_look("mine") == figures.Look("#CC6677", (0, (5, 1.5, 1.5, 1.5)), "d")  # sha256 begins 3f d3 05
    assert figures.rule_look("mine") != figures.rule_look("mixing")


def test_variants_share_hue_and_marker_from_light_to_dark_in_order_of_their_numbers():
    names = ["adarft eta=500", "adarft", "adarft eta=5", "uniform", "adarft eta=10", "zeta", "beta"]
    looks = figures.controller_looks(make_curves(controllers=names, seeds=1))
    assert list(looks) == ["uniform", "adarft", "adarft eta=5", "adarft eta=10", "adarft eta=500", "beta", "zeta"]
    assert looks["adarft"] == figures.LOOKS["adarft"]
    variants = [looks[f"adarft eta={eta}"] for eta in (5, 10, 500)]
    rgb = np.array([to_rgb(look.color) for look in variants])
    assert (np.diff(rgb.sum(1)) < 0).all()
    np.testing.assert_allclose(rgb_to_hsv(rgb)[:, 0], rgb_to_hsv(to_rgb(figures.COLORS["adarft"]))[0], atol=0.01)
    assert {look.marker for look in variants} == {"*"}
    assert len({look.dashes for look in variants}) == 3


def test_looks_of_a_whole_table_hold_in_a_part_of_it():
    curves = make_curves(**ONE_PANEL, controllers=["uniform", "adarft eta=5", "adarft eta=50"], seeds=1)
    looks = figures.controller_looks(curves)
    part = figures.learning_curves(curves[curves["controller"] != "adarft eta=5"], looks)
    assert legend_texts(part) == ["uniform", "adarft eta=50"]
    assert lines(part)["adarft eta=50"][0].get_color() == looks["adarft eta=50"].color
    with pytest.raises(InputError, match="must have every controller of the table, got none for 'uniform'"):
        figures.learning_curves(curves, {"adarft eta=5": looks["adarft eta=5"]})


def test_long_labels_keep_what_tells_them_apart():
    settings = "adarft beta=0.5 alpha=2.0 eta={} start=0 low=0 high=100 ties=random"
    controllers = [settings.format(5), settings.format(50), "uniform"]
    figure = figures.learning_curves(make_curves(**ONE_PANEL, controllers=controllers, seeds=1))
    assert legend_texts(figure) == ["uniform", "adarft eta=5 …", "adarft eta=50 …"]
    clones = figures.learning_curves(
        make_curves(**ONE_PANEL, controllers=["x" * 60 + "a" + "y" * 60, "x" * 60 + "b" + "y" * 60], seeds=1)
    )
    first, second = legend_texts(clones)
    assert first != second
    assert max(len(first), len(second)) < 40


# ---- forest ------------------------------------------------------------------------------------------------


def test_forest_puts_point_and_whisker_of_each_controller_in_its_row():
    summary = make_summary()
    figure = figures.speedup_forest(summary)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["scalar", "linear", "adarft", "grpo", "linear", "adarft"]  # uniform is the line at 1
    assert [ax.get_title() for ax in figure.axes] == ["easy", "hard"]
    for ax, pool in zip(figure.axes, ["easy", "hard"], strict=True):
        assert ax.get_xscale() == "log"
        assert ax.xaxis.get_transform().base == 2
        assert any(list(line.get_xdata()) == [1, 1] for line in ax.get_lines())
        points = {line.get_ydata()[0]: line for line in ax.get_lines() if line.get_label() in RULES}
        whiskers = {line.get_ydata()[0]: line for line in ax.get_lines() if line.get_solid_capstyle() == "butt"}
        for y, (learner, name) in enumerate(itertools.product(["scalar", "grpo"], ["", "linear", "adarft"])):
            if name:
                row = summary[(summary[KEY] == [pool, learner, name]).all(axis=1)].iloc[0]
                assert points[y].get_xdata() == [row["speedup"]]
                np.testing.assert_allclose(whiskers[y].get_xdata(), [row["speedup_low"], row["speedup_high"]])
        assert len(points) == len(whiskers) == 4
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the first row is on top


def test_forest_names_threshold_interval_and_seeds():
    figure = figures.speedup_forest(make_summary())
    assert figure.get_supxlabel() == "speed-up over uniform (×, ratio of mean steps to success 0.5; log scale)"
    assert figure.legends[0].get_title().get_text() == "point and 95 % bootstrap interval over 8 seeds"
    mixed = make_summary()
    mixed["threshold"] = np.where(mixed["pool"] == "easy", 0.5, 0.4)
    assert "ratio of mean steps to the success threshold" in figures.speedup_forest(mixed).get_supxlabel()


@pytest.mark.parametrize(
    ("own", "base", "hollow", "arrow", "text"),
    [
        (0, 0, False, None, "all seeds reached the threshold"),
        (3, 0, True, "<", "some seeds of the rule fell short: an upper bound"),
        (0, 2, True, ">", "some seeds of uniform fell short: a lower bound"),
        (3, 2, True, None, "some seeds of both fell short"),
    ],
)
def test_censoring_is_marked_with_the_way_it_biases(own, base, hollow, arrow, text):
    summary = make_summary(**ONE_PANEL, controllers=["uniform", "adarft"])
    figure = figures.speedup_forest(summary.assign(censored=[base, own]))
    point = lines(figure)["adarft"][0]
    assert (to_hex(point.get_markerfacecolor()) == "#ffffff") == hollow
    assert to_hex(point.get_markeredgecolor()) == figures.COLORS["adarft"].lower()
    arrows = [line.get_marker() for line in figure.axes[0].get_lines() if line.get_marker() in ("<", ">")]
    assert arrows == ([arrow] if arrow else [])
    assert legend_texts(figure) == [text]


@pytest.mark.parametrize(("value", "text"), [(np.nan, "n/a"), (np.inf, "∞"), (0.0, "0")])
def test_a_speedup_without_a_place_on_the_axis_is_text(value, text):
    summary = make_summary(**ONE_PANEL)
    columns = ["speedup", "speedup_low", "speedup_high"]
    summary.loc[summary["rule"] == "adarft", columns] = value
    ax = figures.speedup_forest(summary).axes[0]
    assert [(t.get_text(), t.get_position()) for t in ax.texts] == [(text, (1.0, 2))]
    assert "adarft" not in {line.get_label() for line in ax.get_lines()}


def test_a_point_without_interval_has_no_whisker():
    summary = make_summary(**ONE_PANEL, controllers=["uniform", "adarft"])
    figure = figures.speedup_forest(summary.assign(speedup_low=np.nan, speedup_high=np.nan))
    whisker = next(line for line in figure.axes[0].get_lines() if line.get_solid_capstyle() == "butt")
    assert np.isnan(whisker.get_xdata()).all()
    assert len(lines(figure)["adarft"]) == 1


# ---- heat map ----------------------------------------------------------------------------------------------


def test_heat_map_is_the_pivot_with_value_and_interval_in_each_cell():
    summary = make_grid()
    figure = figures.heat_map(summary, "adarft.eta", "scalar.kappa")
    ax, mesh = figure.axes[0], figure.axes[0].collections[0]
    pivot = summary.dropna(subset="adarft.eta").pivot(index="scalar.kappa", columns="adarft.eta", values="speedup")
    np.testing.assert_array_equal(mesh.get_array(), pivot)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["5", "50", "500"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.01", "0.1"]
    texts = {t.get_position(): t.get_text() for t in ax.texts}
    assert texts[0, 0] == "1.10\n[1.05, 1.15]"
    assert texts[2, 1] == f"{pivot.loc[0.1, 500]:.2f}\n[2.05, 2.15]"
    assert ax.get_xlabel() == "adarft.eta (difficulty points)"
    assert ax.get_ylabel() == "scalar.kappa\n(logits per update at p = 1/2)"
    assert figure.axes[1].get_ylabel().startswith("speed-up over uniform\n(×")
    assert figure.get_suptitle() == "value [95 % interval over 8 seeds]"


def test_the_bar_of_a_heat_map_has_the_label_of_a_baseline_that_is_no_row():
    bar = figures.heat_map(make_grid(), "adarft.eta", "scalar.kappa", labels={"uniform": "All alike"}).axes[1]
    assert "All alike" in bar.get_ylabel()


def test_speedup_colours_are_symmetric_in_ratio_about_one():
    mesh = figures.heat_map(make_grid(), "adarft.eta", "scalar.kappa").axes[0].collections[0]
    assert mesh.norm(1.0) == pytest.approx(0.5)
    assert mesh.norm(1 / 1.7) == pytest.approx(1 - mesh.norm(1.7))
    gain = make_grid().assign(auc_gain=lambda t: t["speedup"] - 1.2)
    mesh = figures.heat_map(gain, "adarft.eta", "scalar.kappa", "auc_gain").axes[0].collections[0]
    assert mesh.norm(0.0) == pytest.approx(0.5)


def test_cells_without_numbers_have_a_stroke_where_they_are_below_no_effect():
    """A scale with two dark ends says nothing in greyscale."""
    etas, kappas = np.arange(1.0, 22), np.arange(1.0, 12) / 100
    rows = [{"adarft.eta": eta, "scalar.kappa": kappa, "speedup": eta / 10.5} for kappa in kappas for eta in etas]
    table = pd.DataFrame(rows).assign(pool="easy")
    figure = figures.heat_map(table, "adarft.eta", "scalar.kappa")
    (strokes,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    below = table[table["speedup"] < 1]
    assert len(strokes.get_segments()) == len(below) == 10 * len(kappas)
    x, y = strokes.get_segments()[0].mean(axis=0)
    assert (etas[int(x)], kappas[int(y)]) == tuple(below.iloc[0][["adarft.eta", "scalar.kappa"]])
    assert figure.get_suptitle() == "stroke: below 1"
    numbered = figures.heat_map(make_grid().assign(speedup=0.5), "adarft.eta", "scalar.kappa")
    assert not any(c.get_segments() for c in numbered.axes[0].collections if isinstance(c, LineCollection))


def test_a_nan_cell_says_so_and_an_absent_cell_stays_empty():
    summary = make_grid()
    here = (summary["adarft.eta"] == 50) & (summary["scalar.kappa"] == 0.1)
    summary.loc[here, ["speedup", "speedup_low", "speedup_high"]] = np.nan
    ax = figures.heat_map(summary, "adarft.eta", "scalar.kappa").axes[0]
    assert {t.get_position(): t.get_text() for t in ax.texts}[1, 1] == "n/a"
    assert ax.collections[0].get_array().mask[1, 1]
    assert len(figures.heat_map(summary[~here], "adarft.eta", "scalar.kappa").axes[0].texts) == 5


@pytest.mark.parametrize("value", ["speedup", "auc_gain", "steps"])
def test_a_map_without_any_number_is_all_n_a(value):
    figure = figures.heat_map(make_grid().assign(**{value: np.nan}), "adarft.eta", "scalar.kappa", value)
    assert [t.get_text() for t in figure.axes[0].texts] == ["n/a"] * 6


def test_other_keys_are_averaged_only_when_asked():
    summary = make_grid(pools=["easy", "hard"])
    with pytest.raises(InputError, match=r"select rows, or average=True\), got several that differ in pool$"):
        figures.heat_map(summary, "adarft.eta", "scalar.kappa")
    figure = figures.heat_map(summary, "adarft.eta", "scalar.kappa", average=True)
    cell = summary.query("`adarft.eta` == 5 and `scalar.kappa` == 0.01")["speedup"]
    text = {t.get_position(): t.get_text() for t in figure.axes[0].texts}[0, 0]
    assert text == f"{scipy.stats.gmean(cell):.2f}\n[{cell.min():.2f}, {cell.max():.2f}]"
    assert figure.get_suptitle() == "geometric mean over 2 summary rows [range]"
    single = figures.heat_map(make_grid(), "adarft.eta", "scalar.kappa", average=True)
    assert single.get_suptitle() == "value [95 % interval over 8 seeds]"  # nothing to average: intervals stay


def test_names_make_a_grid_in_order_of_appearance_from_the_top():
    summary = make_summary(pools=["z", "a"])
    figure = figures.heat_map(summary[summary["rule"] == "adarft"], "pool", "learner")
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["z", "a"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["grpo", "scalar"]  # bottom to top


@pytest.mark.parametrize(
    ("full", "unit"),
    [("adarft.eta", "difficulty points"), ("adarft-covering.eta", "difficulty points"), ("adarft.beta", "success rate"),
     ("plr.beta", None), ("mopps.target", "success rate"), ("greso.target", None), ("sec.start", None),
     ("scalar.kappa", "logits per update at p = 1/2"), ("policy.kappa", "learning rate"), ("grid.theta0", "logits"),
     ("nobody.eta", None), ("pool", None), ("pkg.missing:Rule.eta", None)],
)  # fmt: skip
def test_a_unit_is_that_of_the_class_that_has_the_hyper_parameter(full, unit):
    assert unit_of(full) == unit


def test_a_scattered_design_is_drawn_as_points():
    unit = scipy.stats.qmc.Sobol(2, rng=0).random(16)
    design = pd.DataFrame({"adarft.eta": 5 * 100 ** unit[:, 0], "scalar.kappa": 0.05 * unit[:, 1]})
    design = design.assign(speedup=np.linspace(0.8, 2.0, 16), pool="easy")
    design = design.assign(speedup_low=design["speedup"] - 0.1, speedup_high=design["speedup"] + 0.1)
    design.loc[3, "speedup"] = np.nan
    figure = figures.heat_map(design, "adarft.eta", "scalar.kappa")
    ax = figure.axes[0]
    rest = design.drop(index=3)
    below = rest["speedup"] < 1
    triangles, discs = ax.collections[:2]
    assert len(triangles.get_paths()[0].vertices) == 4  # a closed triangle: the sign without its colour
    assert len(discs.get_paths()[0].vertices) > 4
    for points, mine in ((triangles, rest[below]), (discs, rest[~below])):
        np.testing.assert_allclose(points.get_offsets(), mine[["adarft.eta", "scalar.kappa"]])
        np.testing.assert_allclose(points.get_array(), mine["speedup"])
        assert points.norm(1.0) == pytest.approx(0.5)
        clear = (mine["speedup_low"] > 1) | (mine["speedup_high"] < 1)
        assert [to_hex(c) == "#000000" for c in points.get_edgecolors()] == clear.tolist()
    (missing,) = (line for line in ax.get_lines() if line.get_label() == "n/a")
    assert missing.get_xdata() == [design.loc[3, "adarft.eta"]]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert figure.get_suptitle() == "16 design points\nblack edge: 95 % interval excludes 1; triangle: below 1"


# ---- errors ------------------------------------------------------------------------------------------------


def grid(**change: str) -> Figure:
    return figures.heat_map(make_grid(), **({"x": "adarft.eta", "y": "scalar.kappa"} | change))


MANY = [f"name {i}" for i in range(41)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.learning_curves(make_curves().drop(columns="seed")), "curves: must have the column 'seed'"),
        (lambda: figures.target_trajectories(make_curves().drop(columns="target")), "the column 'target'"),
        (lambda: figures.learning_curves(make_curves()[:0]), "curves: must have rows, got none"),
        (lambda: figures.learning_curves(None), "curves: must be a pandas table, such as .*, got None"),
        (lambda: figures.target_trajectories([1, 2]), r"curves: must be a pandas table, such as .*, got \[1, 2\]"),
        (lambda: figures.speedup_forest({"speedup": 1.0}), "summary: must be a pandas table, such as .*, got {'speed"),
        (lambda: figures.heat_map("summary.csv", "pool", "learner"), "summary: must be a pandas table, .*, got 'summa"),
        (lambda: figures.controller_looks(3), "table: must be a pandas table, such as .*, got 3"),
        (
            lambda: figures.learning_curves(make_curves()[["controller", "step", "success"]]),
            "curves: must have the column 'seed' where a controller has several runs, got several rows of controller=",
        ),
        (
            lambda: figures.learning_curves(make_curves()[["controller", "step"]]),
            "curves: must have the column 'success', got controller, step$",
        ),
        (
            lambda: figures.target_trajectories(make_curves()[["controller", "step", "success"]]),
            "curves: must have the columns pool, learner, seed, target, got controller, step, success$",
        ),
        (
            lambda: figures.speedup_forest(make_curves()[["controller", "step", "success"]]),
            "summary: must have the columns pool, learner, speedup, .*, got controller, step, success$",
        ),
        (lambda: figures.learning_curves(make_curves().assign(success="high")), "numbers in 'success', got 'high'"),
        (lambda: figures.speedup_forest(make_summary().assign(speedup="2")), "must have numbers in 'speedup', got '2'"),
        (
            lambda: figures.learning_curves(make_curves(**ONE_PANEL).drop(index=[1])),
            "curves: must have a row for each step of a run, the same for all runs of one pool, learner, controller, "
            "got none at step 20 of pool=easy, learner=scalar, controller=uniform, seed=0",
        ),
        (
            lambda: figures.learning_curves(pd.concat([make_curves()] * 2)),
            "one row per pool, learner, controller, seed",
        ),
        (lambda: figures.learning_curves(make_curves(learners=MANY, seeds=1)), "at most 60 pairs .*, got 82"),
        (lambda: figures.learning_curves(make_curves(controllers=MANY, seeds=1)), "at most 40 controllers .*, got 41"),
        (lambda: figures.controller_looks(make_curves().assign(controller="x")), "belong to one rule, got 'x'"),
        (lambda: figures.speedup_forest(make_summary().drop(columns="censored")), "summary: must have the column"),
        (lambda: figures.speedup_forest(make_summary(controllers=["uniform"])), "a controller beside the baseline"),
        (lambda: figures.speedup_forest(pd.concat([make_summary()] * 2)), "one row per pool, learner, controller"),
        (
            lambda: figures.speedup_forest(make_summary(learners=MANY, controllers=SEVEN)),
            "at most 160 rows .*, got 287",
        ),
        (lambda: grid(x="adarft.beta"), "summary: must have the column 'adarft.beta'"),
        (lambda: grid(value="luck"), "summary: must have the column 'luck'"),
        (lambda: grid(value="verdict"), "value: must be a numeric column of summary, got 'verdict'"),
        (lambda: grid(y="adarft.eta"), "y: must be another column than x, got 'adarft.eta' for both"),
        (
            lambda: figures.heat_map(make_grid()[:1], "adarft.eta", "pool"),
            "rows with both adarft.eta and pool, got none",
        ),
    ],
)
def test_bad_tables_are_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# ---- layout ------------------------------------------------------------------------------------------------


def printed_texts(figure: Figure) -> list[Text]:
    """Every text the page shows."""
    ticks = all_ticks(figure)
    texts = [text for text in figure.findobj(Text) if ticks.get(text, text.get_visible())]
    return [text for text in texts if text.get_text().strip()]


def all_ticks(figure: Figure) -> dict[Text, bool]:
    """Tick label -> whether its tick lies inside the axis; matplotlib keeps others without drawing them."""
    found = {}
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            inside = low <= tick.get_loc() <= high
            found |= {tick.label1: inside and tick.label1.get_visible(), tick.label2: False}
    return found


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.learning_curves(make_curves(FOUR, SIX, SEVEN, seeds=2)),
        lambda: figures.learning_curves(make_curves(FOUR[:1], SIX[:1], SEVEN, seeds=2)),
        lambda: figures.speedup_forest(make_summary(FOUR, SIX, SEVEN).assign(censored=[0, 0, 1, 2] * 42)),
        lambda: figures.heat_map(make_grid(etas=(5, 10, 20, 50, 100, 200, 500)), "adarft.eta", "scalar.kappa"),
        lambda: figures.heat_map(make_summary(FOUR, SIX, ["adarft"]), "pool", "learner"),
    ],
    ids=["curves 6x4", "curves 1x1", "forest 6x4", "heat map", "heat map of names"],
)
def test_texts_are_8_points_inside_the_page_and_clear_of_each_other(draw):
    figure = draw()
    width, height = figure.get_size_inches()
    assert width <= figures.PAGE_WIDTH
    assert height <= figures.PAGE_HEIGHT + 0.01
    texts = printed_texts(figure)
    assert len(texts) > 10
    assert min(text.get_fontsize() for text in texts) >= 8
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, f"{text.get_text()!r} is cut"
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, f"{text.get_text()!r} is cut"
    for (a, box_a), (b, box_b) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        across = min(box_a.x1, box_b.x1) - max(box_a.x0, box_b.x0)
        up = min(box_a.y1, box_b.y1) - max(box_a.y0, box_b.y0)
        assert min(across, up) <= 1.0, f"{a.get_text()!r} overlaps {b.get_text()!r}"  # pixels at 150 dpi


# ---- files -------------------------------------------------------------------------------------------------


def test_equal_tables_give_equal_bytes_whatever_the_caller_set(tmp_path):
    for name, rc in (
        ("a", {}),
        ("b", {"font.size": 20, "axes.facecolor": "red", "pdf.fonttype": 3, "savefig.dpi": 50}),
    ):
        with mpl.rc_context(rc):
            figures.save(figures.learning_curves(make_curves(**ONE_PANEL)), tmp_path / name)
    for kind in ("pdf", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert b"CreationDate" not in pdf
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf  # TrueType, embedded


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.learning_curves(make_curves(**ONE_PANEL)),
        lambda: figures.target_trajectories(make_curves(**ONE_PANEL)),
        lambda: figures.speedup_forest(make_summary(**ONE_PANEL)),
        lambda: figures.heat_map(make_grid(), "adarft.eta", "scalar.kappa"),
    ],
    ids=["curves", "targets", "forest", "heat map"],
)
def test_savefig_embeds_truetype_whatever_the_caller_set(draw, tmp_path):
    """The pattern of the gallery; matplotlib's default is Type 3, which journals refuse."""
    with mpl.rc_context({"pdf.fonttype": 3, "ps.fonttype": 3}):
        figure = draw()
        figure.savefig(tmp_path / "x.pdf")
        figure.savefig(tmp_path / "x.eps")
        assert (mpl.rcParams["pdf.fonttype"], mpl.rcParams["ps.fonttype"]) == (3, 3), "the caller's settings come back"
    pdf, eps = (tmp_path / "x.pdf").read_bytes(), (tmp_path / "x.eps").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf
    assert b"/FontType 42" in eps
    assert b"/FontType 3" not in eps


def test_what_the_home_page_draws_embeds_truetype(tmp_path, monkeypatch):
    """Its own line, word for word, but for the names of the files."""
    page = (Path(__file__).parents[2] / "docs" / "gallery.md").read_text()
    code = next(line for line in page.splitlines() if "savefig(" in line).split('"')[1]
    make_curves(**ONE_PANEL).to_parquet(tmp_path / "curves.parquet")
    monkeypatch.chdir(tmp_path)
    code = re.sub(r"'[^']*curves\.parquet'", "'curves.parquet'", code)
    code = re.sub(r"savefig\('[^']*'\)", "savefig('x.pdf')", code)
    exec(code, {})
    pdf = (tmp_path / "x.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf


def test_another_process_gives_the_same_bytes_and_never_loads_pyplot(tmp_path):
    figure = figures.speedup_forest(make_summary(controllers=[*RULES, "mine"]))
    figures.save(figure, tmp_path / "here")
    program = (
        "import sys; sys.path.insert(0, 'tests/figures'); import test_figures as t; from workbench import figures\n"
        "figure = figures.speedup_forest(t.make_summary(controllers=[*t.RULES, 'mine']))\n"
        f"figures.save(figure, {str(tmp_path / 'there')!r}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    env = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2], env=env)
    for kind in ("pdf", "png"):
        assert (tmp_path / f"here.{kind}").read_bytes() == (tmp_path / f"there.{kind}").read_bytes()


def test_saving_twice_gives_the_same_bytes_under_any_stem(tmp_path):
    figure = figures.heat_map(make_grid(), "adarft.eta", "scalar.kappa")
    first = figures.save(figure, tmp_path / "new folder" / "eta=0.5")
    assert first == (tmp_path / "new folder" / "eta=0.5.pdf", tmp_path / "new folder" / "eta=0.5.png")
    before = [path.read_bytes() for path in first]
    assert [path.read_bytes() for path in figures.save(figure, str(tmp_path / "new folder" / "eta=0.5"))] == before
    assert sorted(path.name for path in (tmp_path / "new folder").iterdir()) == ["eta=0.5.pdf", "eta=0.5.png"]


def test_a_failed_save_leaves_the_old_files_and_nothing_else(tmp_path, monkeypatch):
    figure = figures.heat_map(make_grid(), "adarft.eta", "scalar.kappa")
    (tmp_path / "f.pdf").write_text("old")
    write = Figure.savefig

    def fail_on_png(self: Figure, file: object, **options: object) -> None:
        write(self, file, **options)
        if options["format"] == "png":
            raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail_on_png)
    with pytest.raises(OSError, match="disk full"):
        figures.save(figure, tmp_path / "f")
    assert [path.name for path in tmp_path.iterdir()] == ["f.pdf"]
    assert (tmp_path / "f.pdf").read_text() == "old"


def settings() -> dict[str, object]:
    return {key: mpl.rcParams[key] for key in mpl.rcParams if not key.startswith("backend")}  # reading that one sets it


def test_the_callers_settings_are_untouched_also_by_an_error(tmp_path):
    with mpl.rc_context({"font.size": 13, "lines.linewidth": 7}):
        before = settings()
        figures.save(figures.learning_curves(make_curves(**ONE_PANEL)), tmp_path / "f")
        with pytest.raises(InputError):
            figures.heat_map(make_grid(), "adarft.eta", "nowhere")
        assert settings() == before


def test_tables_are_not_changed():
    curves, summary, grid = make_curves(), make_summary(), make_grid()
    copies = [table.copy() for table in (curves, summary, grid)]
    figures.target_trajectories(curves)
    figures.speedup_forest(summary)
    figures.heat_map(grid, "adarft.eta", "scalar.kappa")
    for table, copy in zip((curves, summary, grid), copies, strict=True):
        pd.testing.assert_frame_equal(table, copy)


def test_a_notebook_shows_a_figure_without_pyplot():
    figure = figures.learning_curves(make_curves(**ONE_PANEL))
    assert figure._repr_png_().startswith(b"\x89PNG")  # the method that Jupyter looks for


def test_a_table_of_another_baseline_says_which_it_is():
    summary = make_summary(**ONE_PANEL, controllers=["linear", "adarft"])
    summary["verdict"] = np.where(summary["controller"] == "linear", "baseline", "better")
    summary.loc[summary["controller"] == "linear", ["speedup", "speedup_low", "speedup_high"]] = np.nan
    figure = figures.speedup_forest(summary.assign(censored=[2, 0]))
    assert figure.get_supxlabel().startswith("speed-up over linear (×")
    assert legend_texts(figure) == ["some seeds of linear fell short: a lower bound"]
    heat = figures.heat_map(summary[summary["controller"] == "adarft"], "pool", "learner")
    assert heat.axes[1].get_ylabel().startswith("speed-up over the baseline\n(×")
    heat = figures.heat_map(summary, "pool", "controller", "speedup")
    assert heat.axes[1].get_ylabel().startswith("speed-up over linear\n(×")


@pytest.mark.parametrize("column", COLUMNS | COST_COLUMNS)
def test_every_column_of_the_summary_has_a_map_with_its_words(column):
    figure = figures.heat_map(make_grid().assign(**{column: 0.5}), "adarft.eta", "scalar.kappa", column)
    label = figure.axes[1].get_ylabel()
    known = (COLUMNS | COST_COLUMNS)[column]
    assert label.startswith(known.label.format(baseline="uniform"))
    assert known.unit in label
    assert "{" not in label


def test_a_record_draws_without_more_ado():
    pool = wb.Pool.synthetic("narrow", size=100)
    record = wb.train(wb.Controller(wb.AdaRFT(), pool), wb.SimLearner(wb.ScalarIRT(), pool), steps=10, batch=8)
    figure = figures.learning_curves(record.to_frame())
    assert legend_texts(figure) == ["adarft"]
