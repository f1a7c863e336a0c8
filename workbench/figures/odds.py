"""Figures of a calibration: how learners compare on the later part of a log, and what curricula would save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbench.analysis.frame import check_numbers, check_table
from workbench.errors import InputError
from workbench.figures.checks import _check_readable
from workbench.figures.page import MAX_ROWS, Options, Page, drawn
from workbench.figures.style import _scale
from workbench.figures.words import _letters, _number, _plain, _sentence

WIDTH = 5.0  # inches
FEW_DEFINED = "uniform gains too little for a share to be defined"


@drawn
def law_weights(table: pd.DataFrame, **options: Unpack[Options]) -> Figure:
    """How far each learner is behind the best in predicting the later groups of a log, with two standard errors.

    table: as `Fit.table` gives it. The weight of each learner stands at the right. options: see
    `figures.Options`.
    Raises InputError for missing columns and a learner that comes twice.
    """
    table = check_table(table, "table", ["learner", "weight", "behind", "se"], one_row_per=["learner"])
    check_numbers(table, "table", ["weight", "behind", "se"])
    table = _plain_numbers(table, ["weight", "behind", "se"])
    _check_readable("table", "learners", len(table), MAX_ROWS)
    page = Page(**options)
    page.check_used(table["learner"])
    width = page.inches(WIDTH)
    panels = page.panels(1, 1, width, (0.9 + 0.22 * len(table)) * _scale(), "learners")
    ax = panels.axes[0, 0]
    _rows(ax, page, list(table["learner"]), width)
    panels.note("")
    beside: Any = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
    for y, row in enumerate(table.to_dict("records")):
        error = 2 * np.nan_to_num(row["se"])
        ax.errorbar(-row["behind"], y, xerr=error, color="0.2", marker="o", markersize=4, linewidth=1.2)
        ax.annotate(f"{row['weight']:.2f}", (1.02, y), **beside)
    ax.annotate("weight", (1.02, -0.9), **beside)
    ax.axvline(0.0, color="0.4", linewidth=0.8, zorder=1)
    what = "log score of the later groups, less the best learner's (nats, ± 2 standard errors)"
    ax.set_xlabel(_plain(what))
    told = [f"{row['learner']} {_number(-row['behind'], 1)} ± {_number(2 * row['se'], 1)}, weight {row['weight']:.2f}"
            for row in table.to_dict("records")]  # fmt: skip
    return panels.done(_sentence([what, *told]))


@drawn
def advice_forest(table: pd.DataFrame, **options: Unpack[Options]) -> Figure:
    """What each curriculum saves of uniform's rollouts, and gains in area, with 80 % intervals over futures.

    table: as `Advice.table` gives it. Where no share is defined, the left panel says so. options: see
    `figures.Options`.
    Raises InputError for missing columns and a controller that comes twice.
    """
    numbers = [f"{name}{end}" for name in ("saved", "gain") for end in ("", "_low", "_high")]
    table = check_table(table, "table", ["controller", *numbers], one_row_per=["controller"])
    check_numbers(table, "table", numbers)
    table = _plain_numbers(table, numbers)
    if table.empty:
        raise InputError("table: must have a controller, got none")
    _check_readable("table", "controllers", len(table), MAX_ROWS)
    page = Page(**options)
    page.check_used(table["controller"])
    width = page.inches(7.2)
    panels = page.panels(1, 2, width, (0.9 + 0.2 * len(table)) * _scale(), "what is saved and gained", sharey=True)
    left, right = panels.axes[0]
    _rows(left, page, list(table["controller"]), width)
    if panels.figure is None:
        right.set_yticks(range(len(table)), [""] * len(table))
        right.set_ylim(len(table) - 0.4, -0.6)
    for ax, name, scale in ((left, "saved", 100.0), (right, "gain", 1.0)):
        values = table[[name, f"{name}_low", f"{name}_high"]].to_numpy(float) * scale
        for y, (middle, low, high) in enumerate(values):
            ax.plot([low, high], [y, y], color="0.2", linewidth=1.2, solid_capstyle="butt")
            ax.plot(middle, y, color="0.2", marker="o", markersize=4)
        ax.axvline(0.0, color="0.4", linewidth=0.8, zorder=1)
        ax.tick_params(axis="y", length=0)
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(max(1, min(4, int(_letters(width) / 28)))))
        if np.isnan(values).all():
            ax.text(0.5, 0.5, FEW_DEFINED, transform=ax.transAxes, ha="center", wrap=True)
    left.set_xlabel(_plain("rollouts saved to reach uniform's end (%)"))
    right.set_xlabel("gain in area under success")
    what = "median and 80 % interval over futures"
    panels.note(_plain(what))
    told = [f"{row['controller']} saves {_told(row, 'saved', 100, 0)} % and gains {_told(row, 'gain', 1, 3)}"
            for row in table.to_dict("records")]  # fmt: skip
    return panels.done(_sentence([f"rollouts saved to reach uniform's end, and gain in area, {what}", *told]))


def _plain_numbers(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with these columns as floats, NaN where a nullable column has nothing."""
    return table.assign(**{name: table[name].to_numpy(np.float64, na_value=np.nan) for name in columns})


def _told(row: dict[Any, Any], name: str, scale: float, decimals: int) -> str:
    middle, low, high = (_number(row[f"{name}{end}"] * scale, decimals) for end in ("", "_low", "_high"))
    return f"{middle} [{low}, {high}]"


def _rows(ax: Axes, page: Page, names: Sequence[Any], width: float) -> None:
    short = page.names(names, min(26, _letters(0.34 * width)))
    ax.set_yticks(range(len(names)), [short[name] for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
