"""What success costs: the arms that no other beats at the same price or less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from workbench.analysis.frame import ARM, check_numbers, check_table
from workbench.controllers.rule import Look
from workbench.errors import InputError, check_choice
from workbench.figures.checks import _check_readable
from workbench.figures.curves import _places
from workbench.figures.marks import _legend_columns, _present, _size
from workbench.figures.page import MAX_LINES, MAX_PANELS, PAGE_HEIGHT, PAGE_WIDTH, Options, Page, drawn
from workbench.figures.style import _scale
from workbench.figures.words import _letters, _number, _plain, _sentence

UNITS = ("rollouts", "tokens")
SUCCESS = {"final": "held-out success at the end", "auc": "held-out success, mean over training"}
LABELS = "mean_label_rollouts"
SPREAD = 8.0  # largest over smallest cost from which the axis is logarithmic


@drawn
def cost_frontier(
    summary: pd.DataFrame,
    cost: str = "rollouts",
    success: str = "final",
    looks: Mapping[str, Look] | None = None,
    **options: Unpack[Options],
) -> Figure:
    """Success of each arm over what its runs cost, labels included, and the frontier of those that nothing dominates.

    summary: as `summary_table` gives it. cost: "rollouts", generated in training and for the labels that a rule reads,
    or "tokens", where labels are counted at the run's own tokens per rollout. success: "final" or "auc"; whiskers are
    its intervals. Panels per learner and pool as in `learning_curves`; marks of dominated arms are hollow. An arm is
    dominated if another has at least its success for at most its cost, and is better in one of them.
    looks, options: as there. Raises InputError for missing columns, an arm twice, and a table without such costs.
    """
    check_choice("cost", cost, UNITS)
    check_choice("success", success, tuple(SUCCESS))
    page = Page(**options)
    ends = [success, f"{success}_low", f"{success}_high"]
    spent = ["mean_rollouts"] if cost == "rollouts" else ["mean_tokens", "mean_rollouts"]
    table = check_table(summary, "summary", [*ARM, *ends, *spent], one_row_per=ARM)
    check_numbers(table, "summary", [*ends, *spent, *([LABELS] if LABELS in table else [])])
    table = table.assign(_cost=cost_of(table, cost))
    table = table[np.isfinite(table["_cost"]) & np.isfinite(table[success].astype(float))]
    if table.empty:
        raise InputError(f"summary: must have an arm with its {cost} and its success, got none")
    looks = _present(table, looks)
    learners, pools = list(table["learner"].unique()), list(table["pool"].unique())
    page.check_used(looks, learners=learners, pools=pools)
    _check_readable("summary", "pairs of learner and pool", len(learners) * len(pools), MAX_PANELS)
    _check_readable("summary", "controllers", len(looks), MAX_LINES)

    width = page.inches(PAGE_WIDTH if len(pools) > 1 else 4.6)
    names = page.names(looks, min(34, _letters((width if len(looks) < 5 else width / 2) - 0.55 * _scale())))
    columns = _legend_columns(list(names.values()), width)
    where = _places(learners, pools, None if page.fixed else width)
    rows, across = 1 + max(row for row, _ in where), 1 + max(column for _, column in where)
    around = (1.0 + 0.17 * -(-len(looks) // columns)) * _scale()
    panel = max(1.3 * _scale(), min(2.4, (PAGE_HEIGHT - around) / rows, 0.8 * width / across))
    panels = page.panels(rows, across, width, around + panel * rows, f"{len(learners)} learners and {len(pools)} pools",
                         sharex=True, sharey=True)  # fmt: skip
    room = width if page.fixed else (width - 0.9 * _scale()) / across
    of_learner = page.places("learner", learners, looks, _letters(room))
    of_pool = page.places("pool", pools, looks, _letters(room))
    told = []
    for (i, j), (learner, pool) in where.items():
        ax = panels.axes[i, j]
        block = table[(table["learner"] == learner) & (table["pool"] == pool)]
        beyond = undominated(block["_cost"].to_numpy(), block[success].to_numpy(np.float64))
        best = block[beyond].sort_values(["_cost", success])
        ax.step(best["_cost"], best[success], where="post", color="0.6", linewidth=1.0, zorder=1)
        for row, free in zip(block.to_dict("records"), beyond, strict=True):
            look = looks[row["controller"]]
            ax.plot([row["_cost"]] * 2, [row[ends[1]], row[ends[2]]], color=look.color, linewidth=1.0, zorder=1.5)
            ax.plot(row["_cost"], row[success], label=row["controller"], linestyle="none", marker=look.marker,
                    markersize=_size(look, 5), markeredgecolor=look.color,
                    markerfacecolor=look.color if free else "white")  # fmt: skip
        both = [of_learner[learner] if len(learners) > 1 else "", of_pool[pool] if len(pools) > 1 else ""]
        panels.name(i, j, "\n".join(filter(None, both)) or of_pool[pool])
        place = ", ".join(str(part) for part in (pool, learner) if part)
        told.append(f"{place}: the frontier is " + ", ".join(
            f"{row['controller']} {_number(row[success])} for {row['_cost']:,.0f}" for row in best.to_dict("records")))
    for gap in sorted(set(np.ndindex(rows, across)) - set(where)):
        panels.hide(*gap)
    wide = table["_cost"].max() > SPREAD * max(table["_cost"].min(), 1e-9)
    for ax in [panels.axes[0, 0]] if panels.figure is not None else panels.axes.flat:
        if wide:
            ax.set_xscale("log")
            decades = table["_cost"].max() > 30 * max(table["_cost"].min(), 1e-9)
            ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 3.0)))
            ax.xaxis.set_major_formatter(EngFormatter(sep=""))
            ax.xaxis.set_minor_locator(NullLocator())
        else:
            ax.xaxis.set_major_locator(MaxNLocator(max(1, min(5, int(_letters(room) / 7)))))
            ax.xaxis.set_major_formatter(EngFormatter(sep=""))
            ax.set_xlim(left=min(ax.get_xlim()[0], 0.9 * table["_cost"].min()))
    what = f"{cost} of a run, labels included"
    panels.along(what, SUCCESS[success])
    keys: list[Any] = [Line2D([], [], linestyle="none", marker=look.marker, markersize=_size(look, 5), color=look.color)
                       for look in looks.values()]  # fmt: skip
    panels.legend(keys, list(names.values()), _plain("hollow: dominated; whiskers: 95 % interval"), columns)
    return panels.done(_sentence([f"{SUCCESS[success]} over {what}", *told]))


def cost_of(summary: pd.DataFrame, cost: str = "rollouts") -> pd.Series[float]:
    """What a run of each arm costs, labels included, in `cost`, one of UNITS."""
    price = summary[f"mean_{cost}"].astype(float)
    if LABELS not in summary:
        return price
    each = 1.0 if cost == "rollouts" else summary["mean_tokens"] / summary["mean_rollouts"]
    return price + summary[LABELS].fillna(0).astype(float) * each


def undominated(cost: Any, success: Any) -> Any:
    """(A,) whether no other arm has at least the success for at most the cost, and more of one of them."""
    no_worse = (cost[None] <= cost[:, None]) & (success[None] >= success[:, None])
    better = (cost[None] < cost[:, None]) | (success[None] > success[:, None])
    return ~(no_worse & better).any(axis=1)
