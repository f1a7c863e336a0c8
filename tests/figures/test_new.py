"""Figures of levels, ranks, costs and pairs: what is drawn is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figures.test_figures import FOUR, ONE_PANEL, RULES, make_curves
from figures.test_page import costs_of, ranks_of, runs_of, with_levels
from matplotlib.colors import to_hex

from workbench import figures
from workbench.analysis import stats
from workbench.analysis.ranking import OVERALL
from workbench.errors import InputError


def points(ax) -> dict[str, tuple[float, float]]:
    return {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.get_lines()
            if not line.get_label().startswith("_")}  # fmt: skip


# ---- levels ------------------------------------------------------------------------------------------------


def test_a_panel_shows_the_mean_over_seeds_of_each_level_and_step():
    curves = with_levels(make_curves(**ONE_PANEL))
    figure = figures.success_by_level(curves)
    assert [ax.get_title() for ax in figure.axes[:3]] == list(RULES)
    for ax, name in zip(figure.axes, RULES, strict=False):
        own = curves[curves["controller"] == name]
        expected = own.groupby("step")[[f"success_{level}" for level in range(10)]].mean().T
        np.testing.assert_allclose(ax.collections[0].get_array(), expected, rtol=1e-12)
        assert ax.collections[0].norm.vmin == 0
        assert ax.collections[0].norm.vmax == 1
    first, last = curves[(curves["controller"] == "adarft") & curves["step"].isin([0, 100])].groupby("step")["success"]
    said = f"level 0 {first[1].mean():.2f} to {last[1].mean():.2f}, level 5 "
    assert f"adarft on easy, scalar: {said}" in figure.alt


def test_levels_without_a_number_are_left_out_and_cells_without_one_are_grey():
    curves = with_levels(make_curves(**ONE_PANEL)).assign(success_3=np.nan)
    curves.loc[curves["controller"] == "adarft", "success_4"] = np.nan
    figure = figures.success_by_level(curves)
    adarft = figure.axes[2].collections[0].get_array()
    assert adarft.shape[0] == 9
    assert adarft.mask[3].all()
    assert not adarft.mask[4].any()
    assert figure.axes[0].get_yticklabels()[2].get_text() == "5"  # every second of 0 1 2 4 5 ..


def test_uneven_steps_have_cells_around_them():
    curves = with_levels(make_curves(**ONE_PANEL))
    figure = figures.success_by_level(curves[curves["step"].isin([0, 20, 100])])
    edges = figure.axes[0].collections[0].get_coordinates()[0, :, 0]
    assert edges.tolist() == [-10, 10, 60, 140]


@pytest.mark.parametrize("curves", [make_curves(), make_curves().assign(success_0=np.nan)])
def test_a_table_without_levels_is_refused(curves):
    with pytest.raises(InputError, match=r"^curves: must have success per level in columns success_0, success_1, ..."):
        figures.success_by_level(curves)
    with pytest.raises(InputError, match=r"^curves: must be a pandas table"):
        figures.success_by_level(5)


# ---- ranking -----------------------------------------------------------------------------------------------


def test_controllers_stand_at_their_mean_rank_the_best_on_top_with_strokes_of_single_learners():
    table = ranks_of(list(RULES))
    overall = table[table["learner"] == OVERALL].sort_values("mean_rank")
    figure = figures.ranking_plot(table)
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == list(overall["controller"])
    assert points(ax) == {row["controller"]: (row["mean_rank"], y)
                          for y, row in enumerate(overall.to_dict("records"))}  # fmt: skip
    plain = [line.get_xdata() for line in ax.get_lines() if line.get_marker() == "None"]
    whiskers = [ends for ends in plain if len(ends) == 2]
    np.testing.assert_allclose(whiskers, overall[["mean_rank_low", "mean_rank_high"]])
    strokes = [sorted(line.get_xdata()) for line in ax.get_lines() if line.get_marker() == "|"]
    single = table[table["learner"] != OVERALL]
    assert strokes == [sorted(single.loc[single["controller"] == name, "mean_rank"]) for name in overall["controller"]]


def test_shared_places_are_marked():
    table = pd.DataFrame({"learner": OVERALL, "controller": ["a", "b", "c"], "mean_rank": [1.5, 1.5, 3.0],
                          "mean_rank_low": 1.0, "mean_rank_high": 3.0, "place": [1, 1, 3]})  # fmt: skip
    figure = figures.ranking_plot(table)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1=", "1=", "3"]
    assert "a 1.5 [1.0, 3.0], place 1 shared; b 1.5 [1.0, 3.0], place 1 shared; c 3.0" in figure.alt
    assert len(figure.legends[0].get_texts()) == 1
    with pytest.raises(InputError, match=r"^table: must have rows of 'all learners', as ranking_table gives them"):
        figures.ranking_plot(table.assign(learner="scalar"))


# ---- frontier ----------------------------------------------------------------------------------------------


def arms(**columns) -> pd.DataFrame:
    names = ["uniform", "adarft", "filter", "sec"]
    table = pd.DataFrame({"pool": "p", "learner": "l", "controller": names, "rule": names} | columns)
    return table.assign(final_low=table["final"] - 0.1, final_high=table["final"] + 0.1)


def test_costs_include_labels_and_what_is_dominated_is_hollow():
    table = arms(mean_rollouts=[100.0, 100, 100, 120], mean_label_rollouts=[0.0, 50, np.nan, 0],
                 mean_tokens=[1000.0, 2000, 1000, 1200], final=[0.5, 0.7, 0.5, 0.6])  # fmt: skip
    ax = figures.cost_frontier(table).axes[0]
    assert points(ax) == {"uniform": (100, 0.5), "adarft": (150, 0.7), "filter": (100, 0.5), "sec": (120, 0.6)}
    tokens = figures.cost_frontier(table, "tokens").axes[0]
    assert points(tokens)["adarft"] == (2000 + 50 * 20, 0.7)
    worse = figures.cost_frontier(table.assign(final=[0.5, 0.7, 0.4, 0.5])).axes[0]
    hollow = {line.get_label() for line in worse.get_lines()
              if not line.get_label().startswith("_") and to_hex(line.get_markerfacecolor()) == "#ffffff"}  # fmt: skip
    assert hollow == {"filter", "sec"}
    (step,) = (line for line in worse.get_lines() if line.get_drawstyle() == "steps-post")
    assert step.get_xydata().tolist() == [[100, 0.5], [150, 0.7]]


def test_the_frontier_says_who_is_on_it_and_needs_costs():
    table = arms(mean_rollouts=[100.0, 200, 300, 400], final=[0.5, 0.7, 0.6, 0.4])
    figure = figures.cost_frontier(table)
    assert figure.alt == ("held-out success at the end over rollouts of a run, labels included; p, l: the frontier is "
                          "uniform 0.50 for 100, adarft 0.70 for 200.")  # fmt: skip
    assert figures.cost_frontier(table.assign(mean_rollouts=[1.0, 10, 100, 1000])).axes[0].get_xscale() == "log"
    for call, said in (
        (lambda: figures.cost_frontier(table, "tokens"), "summary: must have the column 'mean_tokens'"),
        (lambda: figures.cost_frontier(table, "hours"), "cost: must be one of rollouts, tokens, got 'hours'"),
        (lambda: figures.cost_frontier(table, success="luck"), "success: must be one of final, auc, got 'luck'"),
        (lambda: figures.cost_frontier(table.assign(mean_rollouts=np.nan)), "an arm with its rollouts and its success"),
    ):
        with pytest.raises(InputError, match=said):
            call()


def test_panels_of_the_frontier_are_of_pools_and_learners():
    figure = figures.cost_frontier(costs_of(FOUR[:2], ["a", "b"], list(RULES)))
    assert [ax.get_title() for ax in figure.axes] == ["a\nskew-difficult", "a\nuniform", "b\nskew-difficult",
                                                      "b\nuniform"]  # fmt: skip


# ---- pairs -------------------------------------------------------------------------------------------------


def test_pairs_are_of_the_same_seed_with_their_mean_and_its_interval():
    runs = runs_of(["easy"], ["scalar"], list(RULES), seeds=5)
    runs = runs[(runs["controller"] != "linear") | (runs["seed"] != 2)].sample(frac=1, random_state=0)
    (ax,) = figures.paired_differences(runs).axes
    wide = runs.pivot(index="seed", columns="controller", values="auc")
    for y, name in enumerate(["linear", "adarft"], start=1):
        both = wide[[name, "uniform"]].dropna()
        gains = both[name] - both["uniform"]
        dots = next(line for line in ax.get_lines() if len(line.get_xdata()) == len(gains)
                    and set(line.get_ydata()) == {y} and line.get_marker() == "o" and line.get_alpha())  # fmt: skip
        np.testing.assert_allclose(sorted(dots.get_xdata()), sorted(gains))
        found = stats.paired_interval(both[name].to_numpy(), both["uniform"].to_numpy(),
                                      lambda x, y, axis: (x - y).mean(axis))  # fmt: skip
        assert points(ax)[name] == pytest.approx((gains.mean(), y))
        assert any(list(line.get_xdata()) == [found.low, found.high] for line in ax.get_lines())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["scalar", "linear", "adarft"]


def test_pairs_need_a_baseline_and_another_controller():
    runs = runs_of(["easy"], ["scalar"], list(RULES))
    assert "linear" not in points(figures.paired_differences(runs, baseline="linear").axes[0])
    for call, said in (
        (lambda: figures.paired_differences(runs, baseline="sec"), "baseline: must be a controller or rule of the"),
        (lambda: figures.paired_differences(runs[runs["rule"] == "uniform"]), "a controller beside uniform on the"),
        (lambda: figures.paired_differences(runs, "luck"), "runs: must have the column 'luck'"),
    ):
        with pytest.raises(InputError, match=said):
            call()


# ---- calibration -------------------------------------------------------------------------------------------

AGREE = pd.DataFrame({"predicted": [0.2, 0.8], "observed": [0.25, 0.7], "observed_low": [0.1, 0.6],
                      "observed_high": [0.4, 0.8], "groups": [30, 40]})  # fmt: skip


def test_predictions_stand_over_the_diagonal_with_the_intervals_that_are_known():
    figure = figures.calibration_plot(AGREE)
    drawn = [line.get_xydata().tolist() for line in figure.axes[0].get_lines()]
    assert [[0, 0], [1, 1]] in drawn
    assert [[0.2, 0.25]] in drawn
    assert [[0.8, 0.6], [0.8, 0.8]] in drawn
    assert figure.legends[0].get_title().get_text() == "70 groups in 2 bins\n95 % interval of the observed"
    assert figure.alt == ("predicted and observed success with 95 % intervals of the observed; 0.20 predicted, 0.25 "
                          "observed [0.10, 0.40]; 0.80 predicted, 0.70 observed [0.60, 0.80]; the largest gap is "
                          "0.10.")  # fmt: skip


def test_predictions_of_controllers_have_their_looks_and_both_intervals():
    table = AGREE.drop(columns="groups").assign(controller=["uniform", "adarft"], predicted_low=0.1, predicted_high=0.9)
    figure = figures.calibration_plot(table, labels={"adarft": "AdaRFT"})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["as predicted", "uniform", "AdaRFT"]
    assert {line.get_label(): line.get_marker() for line in figure.axes[0].get_lines()
            if not line.get_label().startswith("_")} == {"uniform": "o", "adarft": "*"}  # fmt: skip
    assert figure.legends[0].get_title().get_text() == "95 % interval of the observed, 80 % of the predicted"


@pytest.mark.parametrize("table", [AGREE.assign(predicted=2.0), AGREE.assign(observed=np.nan), AGREE[:0],
                                   AGREE.drop(columns="observed"), AGREE.assign(predicted="a"), 5])  # fmt: skip
def test_tables_without_shares_are_refused(table):
    with pytest.raises(InputError, match=r"^table: must") as caught:
        figures.calibration_plot(table)
    assert "\n" not in str(caught.value)
