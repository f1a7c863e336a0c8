"""Predictions beside what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from workbench.analysis.frame import check_numbers, check_table
from workbench.controllers.rule import Look
from workbench.errors import InputError
from workbench.figures.checks import _check_readable
from workbench.figures.curves import ROUND
from workbench.figures.marks import _legend_columns, _line_key, _present, _size
from workbench.figures.page import MAX_ROWS, Options, Page, drawn
from workbench.figures.style import _scale
from workbench.figures.words import _letters, _number, _plain, _sentence

WIDTH = 3.6  # inches


@drawn
def calibration_plot(
    table: pd.DataFrame, looks: Mapping[str, Look] | None = None, **options: Unpack[Options]
) -> Figure:
    """Predicted against observed success with intervals, and the diagonal on which they agree.

    table: as `Fit.foretold` gives it for the later groups of a log, or `Advice.foretold` for runs that followed the
    advice: `predicted` and `observed` in [0, 1], with their ends such as `observed_low` where they are known. With a
    column `controller` each has its look and a place in the legend. looks: as for `learning_curves`. options: see
    `figures.Options`.
    Raises InputError for missing columns, and for a table without a pair of numbers in [0, 1].
    """
    page = Page(**options)
    table = check_table(table, "table", ["predicted", "observed"])
    ends = [f"{name}_{end}" for name in ("predicted", "observed") for end in ("low", "high")]
    table = table.assign(**{name: np.nan for name in ends if name not in table})
    check_numbers(table, "table", ["predicted", "observed", *ends])
    both = table[["predicted", "observed"]].to_numpy(np.float64)
    table = table[np.isfinite(both).all(axis=1)]
    if table.empty or not ((both >= 0) & (both <= 1))[np.isfinite(both)].all():
        raise InputError("table: must have shares in [0, 1] in 'predicted' and 'observed', got "
                         f"{'none' if table.empty else both[~((both >= 0) & (both <= 1))][0]}")  # fmt: skip
    _check_readable("table", "rows", len(table), MAX_ROWS)
    named = "controller" in table
    looks = _present(table, looks) if named else {}
    page.check_used(looks or [""])
    width = page.inches(WIDTH)
    names = page.names(looks, min(34, _letters((width if len(looks) < 5 else width / 2) - 0.75 * _scale())))
    columns = _legend_columns([*names.values(), "as predicted"], width)
    height = 0.85 * width + (0.45 + 0.17 * -(-(len(looks) + 1) // columns)) * _scale()
    panels = page.panels(1, 1, width, height, "a calibration")
    ax = panels.axes[0, 0]
    ax.plot([0, 1], [0, 1], color="0.5", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    for row in table.to_dict("records"):
        look = looks[row["controller"]] if named else Look("#0072B2", (0, ()), "o")
        x, y = row["predicted"], row["observed"]
        ax.plot([row["predicted_low"], row["predicted_high"]], [y, y], color=look.color, linewidth=1.0)
        ax.plot([x, x], [row["observed_low"], row["observed_high"]], color=look.color, linewidth=1.0)
        ax.plot(x, y, linestyle="none", marker=look.marker, markersize=_size(look, 4.5), color=look.color,
                markeredgewidth=0, **({"label": row["controller"]} if named else {}))  # fmt: skip
    numbers = table[["predicted", "observed", *ends]].to_numpy(np.float64)
    low, high = float(np.nanmin(numbers)) - 0.03, float(np.nanmax(numbers)) + 0.03
    for axis, limit in ((ax.xaxis, ax.set_xlim), (ax.yaxis, ax.set_ylim)):
        axis.set_major_locator(MaxNLocator(5, steps=ROUND))
        limit(low, high)
    ax.set_xlabel("predicted success")
    ax.set_ylabel("observed success")
    keys: list[Any] = [Line2D([], [], color="0.5", linewidth=0.8, linestyle=(0, (4, 2)))]
    keys += [_line_key(Look(look.color, (0, ()), look.marker)) for look in looks.values()]
    known = [f"{int(table['groups'].sum()):,} groups in {len(table)} bins"] if "groups" in table else []
    foreseen = ", 80 % of the predicted" if np.isfinite(table["predicted_low"].astype(float)).any() else ""
    title = _plain("\n".join([*known, f"95 % interval of the observed{foreseen}"]))
    panels.legend(keys, ["as predicted", *names.values()], title, columns)
    gap = (table["observed"] - table["predicted"]).abs()
    told = []
    for row in table.to_dict("records"):
        ends_told = f" [{_number(row['observed_low'])}, {_number(row['observed_high'])}]"
        name = f"{row['controller']} " if named else ""
        ends_told = ends_told if np.isfinite(row["observed_low"]) else ""
        told.append(f"{name}{_number(row['predicted'])} predicted, {_number(row['observed'])} observed{ends_told}")
    return panels.done(_sentence(["predicted and observed success with 95 % intervals of the observed", *told,
                                  f"the largest gap is {_number(gap.max())}"]))  # fmt: skip
