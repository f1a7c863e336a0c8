"""Where controllers stand: their ranks over learners, and what they gain over a baseline seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from workbench.analysis import stats
from workbench.analysis.frame import ARM, baseline_rows, check_numbers, check_table, ordered_runs
from workbench.analysis.ranking import OVERALL
from workbench.controllers.rule import Look
from workbench.errors import InputError, check_text
from workbench.figures.checks import _check_readable
from workbench.figures.forest import Rows
from workbench.figures.looks import controller_looks
from workbench.figures.marks import _present, _size
from workbench.figures.page import MAX_PANELS, MAX_ROWS, PAGE_WIDTH, Options, Page, drawn
from workbench.figures.style import _scale
from workbench.figures.words import _arms_told, _count, _letters, _number, _plain, _sentence
from workbench.registry import BASELINE


@drawn
def ranking_plot(table: pd.DataFrame, looks: Mapping[str, Look] | None = None, **options: Unpack[Options]) -> Figure:
    """Mean rank of each controller over pools and learners with its 95 % interval, the best on top; ties share a place.

    table: as `ranking_table` gives it. The place stands at the right, with = where it is shared; grey strokes are the
    mean ranks on single learners. looks: as for `learning_curves`. options: see `figures.Options`.
    Raises InputError for missing columns, a controller twice, and a table in which none ran with every learner.
    """
    page = Page(**options)
    numbers = ["mean_rank", "mean_rank_low", "mean_rank_high", "place"]
    table = check_table(table, "table", ["learner", "controller", *numbers], one_row_per=["learner", "controller"])
    check_numbers(table, "table", numbers)
    overall = table[table["learner"] == OVERALL].sort_values(["place", "mean_rank"], kind="stable")
    if overall.empty:
        raise InputError(f"table: must have rows of {OVERALL!r}, as ranking_table gives them, got none")
    single = table[(table["learner"] != OVERALL) & table["controller"].isin(overall["controller"])]
    looks = _present(overall, controller_looks(overall) if looks is None else looks)
    names = list(overall["controller"])
    page.check_used(names)
    _check_readable("table", "controllers", len(names), MAX_ROWS)
    width = page.inches(5.0)
    panels = page.panels(1, 1, width, (1.25 + 0.19 * len(names)) * _scale(), "a ranking")
    ax = panels.axes[0, 0]
    shown = page.names(names, min(26, _letters(0.36 * width)))
    ax.set_yticks(range(len(names)), [shown[name] for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    shared = overall["place"].duplicated(keep=False)
    for y, (row, tie) in enumerate(zip(overall.to_dict("records"), shared, strict=True)):
        look = looks[row["controller"]]
        own = single.loc[single["controller"] == row["controller"], "mean_rank"]
        ax.plot(own, np.full(len(own), y), linestyle="none", marker="|", markersize=6, color="0.6", zorder=1.5)
        ax.plot([row["mean_rank_low"], row["mean_rank_high"]], [y, y], color=look.color, linewidth=1.2)
        ax.plot(row["mean_rank"], y, label=row["controller"], linestyle="none", marker=look.marker, color=look.color,
                markersize=_size(look, 4.5), markeredgewidth=0)  # fmt: skip
        place = f"{row['place']:g}{'=' if tie else ''}"
        ax.annotate(place, (1.02, y), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    what = "mean rank over pools and learners (1 best)"
    ax.set_xlabel(what)
    keys = [Line2D([], [], color="0.3", marker="o", markersize=4.5, linewidth=1.2),
            Line2D([], [], color="0.6", marker="|", markersize=6, linestyle="none")]  # fmt: skip
    texts = ["all learners, 95 % interval over seeds", f"single learners ({single['learner'].nunique()})"]
    there = 1 if single.empty else 2
    panels.legend(keys[:there], [_plain(text) for text in texts[:there]], "place at the right, = where it is shared")
    told = [f"{row['controller']} {_number(row['mean_rank'], 1)} [{_number(row['mean_rank_low'], 1)}, "
            f"{_number(row['mean_rank_high'], 1)}], place {row['place']:g}{' shared' if tie else ''}"
            for row, tie in zip(overall.to_dict("records"), shared, strict=True)]  # fmt: skip
    return panels.done(_sentence([f"{what}, 95 % interval over seeds", *told]))


@drawn
def paired_differences(
    runs: pd.DataFrame,
    value: str = "auc",
    baseline: str = BASELINE,
    looks: Mapping[str, Look] | None = None,
    **options: Unpack[Options],
) -> Figure:
    """What each controller has over the baseline on the same seed: a dot per seed, their mean and its 95 % interval.

    runs: as `runs_table` gives them. value: a column of numbers, such as "auc" or "final"; panels and rows are those of
    `speedup_forest`. The interval is a bootstrap over pairs (`stats.paired_interval`); a run whose value is NaN, or
    whose seed the baseline lacks, is left out. looks, options: as there.
    Raises InputError for missing columns, a run twice, a table without the baseline or without another controller.
    """
    page = Page(**options)
    check_text("value", value)
    runs = ordered_runs(runs, [value])
    check_numbers(runs, "runs", [value])
    is_base = baseline_rows(runs, baseline)
    pairs = runs[~is_base].merge(runs[is_base], on=["pool", "learner", "seed"], suffixes=("", "_base"))
    pairs = pairs.assign(gain=pairs[value] - pairs[f"{value}_base"])
    pairs = pairs[np.isfinite(pairs["gain"])]
    if pairs.empty:
        raise InputError(f"runs: must have a controller beside {baseline} on the same seeds, got none")
    looks = _present(pairs, controller_looks(runs) if looks is None else looks)
    rows, pools = Rows.of(pairs, looks, baseline), list(pairs["pool"].unique())
    page.check_used(looks, [baseline], learners=rows.learners, pools=pools)
    _check_readable("runs", "rows of learners and their controllers", len(rows.rows), MAX_ROWS)
    _check_readable("runs", "pools", len(pools), MAX_PANELS)
    width = page.inches(max(PAGE_WIDTH if len(pools) > 1 else 5.0, 1.6 + 1.4 * len(pools)))
    panels, of_pool = rows.panels(page, pools, width, 1.2 * _scale())
    for ax in of_pool.values():
        ax.axvline(0.0, color="0.4", linewidth=0.8, zorder=1)
        ax.xaxis.set_major_locator(MaxNLocator(rows.ticks(width, panels) - 1))
    told = []
    for key, arm in pairs.groupby(ARM, sort=False, observed=True):
        pool, learner, name = key
        ax, y, look = of_pool[pool], rows.rows.index((learner, name)), looks[name]
        gains = arm["gain"].to_numpy(np.float64)
        found = stats.paired_interval(arm[value].to_numpy(np.float64), arm[f"{value}_base"].to_numpy(np.float64), _mean)
        ax.plot(gains, np.full(len(gains), y), linestyle="none", marker="o", markersize=2.5, markeredgewidth=0,
                color=look.color, alpha=0.4, zorder=1.8)  # fmt: skip
        ax.plot([found.low, found.high], [y, y], color=look.color, linewidth=1.2, solid_capstyle="butt")
        ax.plot(found.value, y, label=name, linestyle="none", marker=look.marker, markersize=_size(look, 4.5),
                color=look.color, markeredgecolor="white", markeredgewidth=0.4)  # fmt: skip
        told.append({"pool": pool, "learner": learner, "controller": name, "value": found.value, "low": found.low,
                     "high": found.high, "seeds": len(gains)})  # fmt: skip
    table = pd.DataFrame(told)
    what = {"auc": "area under held-out success", "final": "held-out success at the end"}.get(value, value)
    panels.along(page.around(f"{what}, less that of {{baseline}} on the same seed", baseline))
    keys = [Line2D([], [], color="0.3", marker="o", markersize=4.5, linewidth=1.2),
            Line2D([], [], color="0.3", alpha=0.4, marker="o", markersize=2.5, linestyle="none")]  # fmt: skip
    said = ["mean and 95 % bootstrap interval", "a seed"]
    panels.legend(keys, [_plain(text) for text in said], f"paired over {_count(table['seeds'], 'seed')}", 2)
    heading = f"{what}, less that of {baseline} on the same seed, {said[0]} over {_count(table['seeds'], 'seed')}"
    return panels.done(_sentence([heading, *_arms_told(table, "value", "low", "high", 3)]))


def _mean(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray((x - y).mean(axis=axis))
