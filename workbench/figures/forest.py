"""Speed-ups with their intervals, a row per controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from workbench.analysis.frame import ARM, check_numbers, check_table
from workbench.analysis.tables import COLUMNS, baseline_name
from workbench.controllers.rule import Look
from workbench.errors import InputError
from workbench.figures.checks import _check_readable
from workbench.figures.looks import controller_looks
from workbench.figures.marks import _log_limits, _log_ticks, _no_number, _present, _size
from workbench.figures.page import MAX_PANELS, MAX_ROWS, NARROWEST, PAGE_WIDTH, Options, Page, drawn
from workbench.figures.panels import Panels
from workbench.figures.style import _letter, _scale
from workbench.figures.words import _arms_told, _count, _letters, _plain, _sentence

FOREST_KEY = {  # where the true speed-up lies when runs ended before the threshold; None: all runs reached it
    None: "all seeds reached the threshold",
    1: "some seeds of {baseline} fell short: a lower bound",
    -1: "some seeds of the rule fell short: an upper bound",
    0: "some seeds of both fell short",
}


@drawn
def speedup_forest(
    summary: pd.DataFrame, looks: Mapping[str, Look] | None = None, **options: Unpack[Options]
) -> Figure:
    """Speed-up over the baseline with its 95 % interval: a panel per pool, rows of controllers grouped by learner.

    summary: as `summary_table` gives it, in any order of rows, with the row of the baseline. looks: as for
    `learning_curves`. options: see `figures.Options`.
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
    page = Page(**options)
    rows = Rows.of(table, looks, name_of_base)
    pools = list(table["pool"].unique())
    page.check_used(looks, [name_of_base], learners=rows.learners, pools=pools)
    _check_readable("summary", "rows of learners and their controllers", len(rows.rows), MAX_ROWS)
    _check_readable("summary", "pools", len(pools), MAX_PANELS)
    width = page.inches(max(PAGE_WIDTH if len(pools) > 1 else 5.0, 1.6 + 1.4 * len(pools)))
    panels, of_pool = rows.panels(page, pools, width, 1.35 * _scale())
    limits = _log_limits(table[["speedup", "speedup_low", "speedup_high"]].to_numpy(dtype=float))
    for ax in of_pool.values():
        ax.set_xscale("log", base=2)
        ax.set_xlim(limits)
        _log_ticks(ax.xaxis, *limits, most=rows.ticks(width, panels))
        ax.axvline(1.0, color="0.4", linewidth=0.8, zorder=1)

    marks: set[int | None] = set()
    for row in table.to_dict("records"):
        ax, y = of_pool[row["pool"]], rows.rows.index((row["learner"], row["controller"]))
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
            beyond = offset_copy(ax.transData, fig=ax.get_figure(root=True), x=5.5 * bound, units="points")
            arrow: Any = {"marker": _arrow(bound), "markersize": 5, "markeredgewidth": 0}
            ax.plot(tip, y, **arrow, color=look.color, transform=beyond, clip_on=False)
        ax.plot(
            value, y, label=row["controller"], linestyle="none", marker=look.marker,
            markersize=_size(look, 4.5), markeredgecolor=look.color,
            markerfacecolor=look.color if bound is None else "white",
        )  # fmt: skip

    thresholds = table["threshold"].dropna().unique()
    reach = f"success {thresholds[0]:.3g}" if len(thresholds) == 1 else "the success threshold"
    what = COLUMNS["speedup"].label
    panels.along(page.around(f"{what} (×, ratio of mean steps to {reach}; log scale)", name_of_base))
    seen = [mark for mark in FOREST_KEY if mark in marks]
    title = f"point and 95 % bootstrap interval over {_count(table['seeds'], 'seed')}"
    columns_of_key = 2 if len(pools) > 1 and len(seen) > 1 else 1
    said = [page.around(FOREST_KEY[mark], name_of_base) for mark in seen]
    panels.legend([_mark_key(mark) for mark in seen], said, _plain(title), columns_of_key)
    told = _arms_told(table, "speedup", "speedup_low", "speedup_high")
    heading = f"{what.format(baseline=name_of_base)}, ratio of mean steps to {reach}, {title}"
    return panels.done(_sentence([heading, *told]))


class Rows:
    """The rows of a forest from the top: (learner, controller), and (learner, "") for the heading of a learner."""

    def __init__(
        self, learners: list[Any], rows: list[tuple[Any, str]], looks: Mapping[str, Look], baseline: str
    ) -> None:
        self.learners, self.rows, self.looks, self.arms = learners, rows, looks, [*looks, baseline]

    @classmethod
    def of(cls, table: pd.DataFrame, looks: Mapping[str, Look], baseline: str) -> Rows:
        learners = list(table["learner"].unique())
        rows: list[tuple[Any, str]] = []
        for learner in learners:
            present = set(table["controller"][table["learner"] == learner])
            rows += [(learner, ""), *((learner, name) for name in looks if name in present)]
        return cls(learners, rows, looks, baseline)

    def panels(self, page: Page, pools: list[Any], width: float, around: float) -> tuple[Panels, dict[Any, Axes]]:
        """A panel per pool, beside each other as long as they are wide enough, with names and lines of the rows."""
        letters = min(26, _letters(0.34 * width))
        fit = max(1, int((width - _letters_wide(letters)) / NARROWEST))
        across = len(pools) if len(pools) <= fit or page.usual or page.fixed else fit
        down = -(-len(pools) // across)
        height = around + 0.17 * _scale() * len(self.rows) * down + 0.4 * (down - 1)
        what = f"{len(pools)} pools"
        panels = page.panels(down, across, width, height, what, sharex=True, sharey=True)
        of_pool = dict(zip(pools, panels.axes.flat, strict=False))
        for k in range(len(pools), down * across):
            panels.hide(k // across, k % across)
        room = width if page.fixed else (width - _letters_wide(letters)) / across
        title = page.places("pool", pools, self.arms, min(24, max(8, _letters(room))))
        heading, label = page.places("learner", self.learners, self.arms, letters), page.names(self.looks, letters)
        for k, (pool, ax) in enumerate(of_pool.items()):
            panels.name(k // across, k % across, title[pool])
            ax.grid(visible=False, axis="y")
            ax.tick_params(axis="y", length=0)
            ax.spines["left"].set_visible(False)
            for y, (_, name) in enumerate(self.rows):  # a faint line in each row, a darker one above each learner
                if name or y:
                    at, color = (y, "0.93") if name else (y - 0.5, "0.7")
                    ax.axhline(at, color=color, linewidth=0.5, zorder=0.5)
        first = [panels.axes[0, 0]] if panels.figure is not None else list(panels.axes[:, 0])
        texts = [label[name] if name else heading[learner] for learner, name in self.rows]
        for ax in first:
            ax.set_yticks(range(len(self.rows)), texts)
            ax.set_ylim(len(self.rows) - 0.4, -0.6)
        for ax in panels.axes[:, 0]:
            for text, (_, name) in zip(ax.get_yticklabels(), self.rows, strict=True):
                text.set_color("0.35" if name else "black")
        if panels.figure is None:
            for ax in panels.axes[:, 1:].flat:
                ax.set_yticks(range(len(self.rows)), [""] * len(self.rows))
                ax.set_ylim(len(self.rows) - 0.4, -0.6)
        return panels, of_pool

    def ticks(self, width: float, panels: Panels) -> int:
        """How many numbers stand side by side under a panel."""
        if panels.page.usual:
            return 5
        longest = max(len(str(name)) for row in self.rows for name in row)
        room = width - _letters_wide(min(26, _letters(0.34 * width), longest))
        room = width if panels.page.fixed else room / panels.axes.shape[1]
        return max(2, min(5, int(_letters(room) / 6)))


def _letters_wide(letters: int) -> float:
    return letters * _letter() + 0.1


def _arrow(bound: int) -> str:
    return ">" if bound > 0 else "<"


def _mark_key(bound: int | None) -> tuple[Line2D, ...]:
    face = "0.3" if bound is None else "white"
    point = Line2D([], [], linestyle="none", marker="o", markersize=4.5, color="0.3", markerfacecolor=face)
    if not bound:
        return (point,)
    arrow = Line2D([], [], linestyle="none", marker=_arrow(bound), markersize=5, color="0.3", markeredgewidth=0)
    return (point, arrow) if bound > 0 else (arrow, point)
