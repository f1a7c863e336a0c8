"""Figures of a calibration: how learners compare on the later part of a log, and what curricula would save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.analysis.frame import check_numbers, check_table
from workbench.errors import InputError
from workbench.figures.checks import _check_readable
from workbench.figures.looks import _style
from workbench.figures.page import MAX_ROWS, _figure, _laid_out, _shorten

WIDTH = 5.0  # inches
FEW_DEFINED = "uniform gains too little for a share to be defined"


@_style()
def law_weights(table: pd.DataFrame) -> Figure:
    """How far each learner is behind the best in predicting the later groups of a log, with two standard errors.

    table: as `Fit.table` gives it. The weight of each learner stands at the right.
    Raises InputError for missing columns and a learner that comes twice.
    """
    table = check_table(table, "table", ["learner", "weight", "behind", "se"], one_row_per=["learner"])
    check_numbers(table, "table", ["weight", "behind", "se"])
    _check_readable("table", "learners", len(table), MAX_ROWS)
    figure = _figure(WIDTH, 0.9 + 0.22 * len(table))
    ax = figure.subplots()
    _rows(ax, list(table["learner"]))
    beside: Any = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
    for y, row in enumerate(table.to_dict("records")):
        error = 2 * np.nan_to_num(row["se"])
        ax.errorbar(-row["behind"], y, xerr=error, color="0.2", marker="o", markersize=4, linewidth=1.2)
        ax.annotate(f"{row['weight']:.2f}", (1.02, y), **beside)
    ax.annotate("weight", (1.02, -0.9), **beside)
    ax.axvline(0.0, color="0.4", linewidth=0.8, zorder=1)
    ax.set_xlabel("log score of the later groups, less the best learner's (nats, ± 2 standard errors)")
    return _laid_out(figure)


@_style()
def advice_forest(table: pd.DataFrame) -> Figure:
    """What each curriculum saves of uniform's rollouts, and gains in area, with 80 % intervals over futures.

    table: as `Advice.table` gives it. Where no share is defined, the left panel says so.
    Raises InputError for missing columns and a controller that comes twice.
    """
    numbers = [f"{name}{end}" for name in ("saved", "gain") for end in ("", "_low", "_high")]
    table = check_table(table, "table", ["controller", *numbers], one_row_per=["controller"])
    check_numbers(table, "table", numbers)
    if table.empty:
        raise InputError("table: must have a controller, got none")
    _check_readable("table", "controllers", len(table), MAX_ROWS)
    figure = _figure(7.2, 0.9 + 0.2 * len(table))
    left, right = figure.subplots(1, 2, sharey=True)
    _rows(left, list(table["controller"]))
    for ax, name, scale in ((left, "saved", 100.0), (right, "gain", 1.0)):
        values = table[[name, f"{name}_low", f"{name}_high"]].to_numpy(float) * scale
        for y, (middle, low, high) in enumerate(values):
            ax.plot([low, high], [y, y], color="0.2", linewidth=1.2, solid_capstyle="butt")
            ax.plot(middle, y, color="0.2", marker="o", markersize=4)
        ax.axvline(0.0, color="0.4", linewidth=0.8, zorder=1)
        ax.tick_params(axis="y", length=0)
        ax.grid(visible=False, axis="y")
        if np.isnan(values).all():
            ax.text(0.5, 0.5, FEW_DEFINED, transform=ax.transAxes, ha="center", wrap=True)
    left.set_xlabel("rollouts saved to reach uniform's end (%)")
    right.set_xlabel("gain in area under success")
    figure.suptitle("median and 80 % interval over futures")
    return _laid_out(figure)


def _rows(ax: Axes, names: Sequence[Any]) -> None:
    short = _shorten([str(name) for name in names], 26)
    ax.set_yticks(range(len(names)), [short[str(name)] for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
