"""Speed-ups with their intervals, a row per controller."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from workbench.analysis.frame import ARM, check_numbers, check_table
from workbench.analysis.tables import COLUMNS, baseline_name
from workbench.controllers.rule import Look
from workbench.errors import InputError
from workbench.figures.checks import _check_readable
from workbench.figures.looks import _style, controller_looks
from workbench.figures.page import (
    MAX_PANELS,
    MAX_ROWS,
    PAGE_WIDTH,
    _count,
    _figure,
    _laid_out,
    _legend,
    _log_limits,
    _log_ticks,
    _no_number,
    _present,
    _shorten,
    _size,
)

FOREST_KEY = {  # where the true speed-up lies when runs ended before the threshold; None: all runs reached it
    None: "all seeds reached the threshold",
    1: "some seeds of {baseline} fell short: a lower bound",
    -1: "some seeds of the rule fell short: an upper bound",
    0: "some seeds of both fell short",
}


@_style()
def speedup_forest(summary: pd.DataFrame, looks: Mapping[str, Look] | None = None) -> Figure:
    """Speed-up over the baseline with its 95 % interval: a panel per pool, rows of controllers grouped by learner.

    summary: as `summary_table` gives it, in any order of rows, with the row of the baseline. looks: as for
    `learning_curves`.
    A run that never reached the threshold counts with its last step, so the mean time comes out too short. Marks are
    hollow where that happened, and an arrow points to where the true speed-up lies: up when it happened to the
    baseline, down when it happened to the controller, unknown (no arrow) when to both.
    Raises InputError for missing columns, an arm twice, a table of the baseline only, and too many rows to read.
    """
    numbers = ["speedup", "speedup_low", "speedup_high", "censored", "seeds", "threshold"]
    summary = check_table(summary, "summary", [*ARM, *numbers, "verdict"], one_row_per=ARM)
    check_numbers(summary, "summary", numbers)
    name_of_base = baseline_name(summary) or "the baseline"
    baseline = summary["verdict"] == "baseline"
    base, table = summary[baseline], summary[~baseline]
    if table.empty:
        raise InputError("summary: must have a controller beside the baseline, got none")
    base_censored = dict(zip(zip(base["pool"], base["learner"], strict=True), base["censored"], strict=True))
    looks = _present(table, controller_looks(summary) if looks is None else looks)
    pools, learners = list(table["pool"].unique()), list(table["learner"].unique())
    rows: list[tuple[str, str]] = []  # (learner, controller) from the top; (learner, "") is a heading
    for learner in learners:
        present = set(table["controller"][table["learner"] == learner])
        rows += [(learner, ""), *((learner, name) for name in looks if name in present)]
    _check_readable("summary", "rows of learners and their controllers", len(rows), MAX_ROWS)
    _check_readable("summary", "pools", len(pools), MAX_PANELS)

    width = max(PAGE_WIDTH if len(pools) > 1 else 5.0, 1.6 + 1.4 * len(pools))
    figure = _figure(width, 1.35 + 0.17 * len(rows))
    axes = figure.subplots(1, len(pools), sharex=True, sharey=True, squeeze=False)[0]
    limits = _log_limits(table[["speedup", "speedup_low", "speedup_high"]].to_numpy(dtype=float))
    pool_label, heading, label = _shorten(pools, 24), _shorten(learners, 26), _shorten(looks, 26)
    for pool, ax in zip(pools, axes, strict=True):
        ax.set_title(pool_label[pool])
        ax.set_xscale("log", base=2)
        ax.set_xlim(limits)
        _log_ticks(ax.xaxis, *limits)
        ax.axvline(1.0, color="0.4", linewidth=0.8, zorder=1)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        for y, (_, name) in enumerate(rows):  # a faint line in each row, a darker one above each learner
            if name or y:
                at, color = (y, "0.93") if name else (y - 0.5, "0.7")
                ax.axhline(at, color=color, linewidth=0.5, zorder=0.5)
    axes[0].set_yticks(range(len(rows)), [label[name] if name else heading[learner] for learner, name in rows])
    for text, (_, name) in zip(axes[0].get_yticklabels(), rows, strict=True):
        text.set_color("0.35" if name else "black")
    axes[0].set_ylim(len(rows) - 0.4, -0.6)

    marks: set[int | None] = set()
    for row in table.to_dict("records"):
        ax, y = axes[pools.index(row["pool"])], rows.index((row["learner"], row["controller"]))
        look, value = looks[row["controller"]], float(row["speedup"])
        if not (np.isfinite(value) and value > 0):
            _no_number(ax, 1.0, y, value)
            continue
        cut, base_cut = row["censored"] > 0, base_censored.get((row["pool"], row["learner"]), 0) > 0
        bound = int(base_cut) - int(cut) if cut or base_cut else None
        marks.add(bound)
        ends = np.clip([row["speedup_low"], row["speedup_high"]], *limits)  # NaN stays NaN: no whisker
        ax.plot(ends, [y, y], color=look.color, linewidth=1.2, solid_capstyle="butt")
        if bound:  # beyond the whisker, or beside the point where the whisker is short
            tip = float(np.nan_to_num(ends[(bound + 1) // 2], nan=value))
            beyond = offset_copy(ax.transData, fig=figure, x=5.5 * bound, units="points")
            arrow = {"marker": _arrow(bound), "markersize": 5, "markeredgewidth": 0}
            ax.plot(tip, y, **arrow, color=look.color, transform=beyond, clip_on=False)
        ax.plot(
            value, y, label=row["controller"], linestyle="none", marker=look.marker,
            markersize=_size(look, 4.5), markeredgecolor=look.color,
            markerfacecolor=look.color if bound is None else "white",
        )  # fmt: skip

    thresholds = table["threshold"].dropna().unique()
    reach = f"success {thresholds[0]:.3g}" if len(thresholds) == 1 else "the success threshold"
    what = COLUMNS["speedup"].label.format(baseline=name_of_base)
    figure.supxlabel(f"{what} (×, ratio of mean steps to {reach}; log scale)")
    seen = [mark for mark in FOREST_KEY if mark in marks]
    title = f"point and 95 % bootstrap interval over {_count(table['seeds'], 'seed')}"
    columns_of_key = 2 if len(pools) > 1 and len(seen) > 1 else 1
    said = [FOREST_KEY[mark].format(baseline=name_of_base) for mark in seen]
    _legend(figure, [_mark_key(mark) for mark in seen], said, columns_of_key, title)
    return _laid_out(figure)


def _arrow(bound: int) -> str:
    return ">" if bound > 0 else "<"


def _mark_key(bound: int | None) -> tuple[Line2D, ...]:
    face = "0.3" if bound is None else "white"
    point = Line2D([], [], linestyle="none", marker="o", markersize=4.5, color="0.3", markerfacecolor=face)
    if not bound:
        return (point,)
    arrow = Line2D([], [], linestyle="none", marker=_arrow(bound), markersize=5, color="0.3", markeredgewidth=0)
    return (point, arrow) if bound > 0 else (arrow, point)
