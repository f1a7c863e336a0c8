"""Curves over steps: held-out success and target difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import stdtrit

from workbench.analysis.frame import ARM, ordered_curves
from workbench.controllers.rule import Look
from workbench.errors import InputError, check_text
from workbench.figures.checks import _check_readable, _own_curves
from workbench.figures.marks import _legend_columns, _line_key, _present, _size
from workbench.figures.page import MAX_LINES, MAX_PANELS, NARROWEST, PAGE_HEIGHT, PAGE_WIDTH, Options, Page, drawn
from workbench.figures.style import _scale
from workbench.figures.words import _arms_told, _count, _letters, _plain, _sentence

ROUND = [1, 2, 2.5, 5, 10]  # numbers that ticks are multiples of


@drawn
def learning_curves(
    curves: pd.DataFrame, looks: Mapping[str, Look] | None = None, over: str = "seed", **options: Unpack[Options]
) -> Figure:
    """Held-out success over training: a row of panels per learner, a column per pool, a line per controller.

    curves: the frame of any Record, or several of them together, in any order of rows, with `pool`, `learner`,
    `controller`, `seed`, `step` and `success`. Of a table of your own, pool and learner may be missing, and the seed
    where each controller has one run. looks: how each controller is drawn; by default `controller_looks`.
    over: what the column `seed` counts, where that is more than random numbers. options: see `figures.Options`.
    Where a panel of that row would be too narrow, panels are set in more rows and say pool and learner in their title.
    Raises InputError for missing columns, gaps, a run twice, and more panels or lines than a reader can tell apart.
    """
    check_text("over", over)
    curves = _own_curves(curves, "success")
    ours = bool((curves["pool"].astype(str) != "").any())
    words = "held-out success (mean over difficulty deciles)" if ours else "held-out success"
    return _panels(Page(**options), curves, "success", words, (0, 1), looks, over)


@drawn
def target_trajectories(
    curves: pd.DataFrame, looks: Mapping[str, Look] | None = None, **options: Unpack[Options]
) -> Figure:
    """Target difficulty over training, panels as in `learning_curves`, for the controllers that have a target."""
    curves = ordered_curves(curves, ["target"], together=ARM)
    has_target = np.isfinite(curves["target"]).groupby(curves["controller"], observed=True).transform("any")
    if not has_target.any():
        raise InputError("curves: must have a controller with a finite target, got none")
    words = "target difficulty (0 easiest, 100 hardest)"
    return _panels(Page(**options), curves[has_target], "target", words, (0, 100), looks)


def mean_and_band(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over seeds and its 95 % t interval, mean +- t(.975, n - 1) sd / sqrt(n), per learner, ..., step.

    curves: as for `learning_curves`, with that column. Columns: pool, learner, controller, step, mean, low, high,
    seeds (n). NaN is left out of the mean and of n. One seed has no interval: NaN.
    """
    check_text("column", column)
    curves = ordered_curves(curves, [column], together=ARM)
    band = curves.groupby([*ARM, "step"], observed=True)[column].agg(["mean", "sem", "count"]).reset_index()
    n = band["count"].to_numpy(dtype=float)
    half = stdtrit(np.where(n > 1, n - 1, np.nan), 0.975) * band["sem"]
    band = band.assign(low=band["mean"] - half, high=band["mean"] + half)
    return band.drop(columns="sem").rename(columns={"count": "seeds"})


def _panels(
    page: Page,
    curves: pd.DataFrame,
    column: str,
    ylabel: str,
    domain: tuple[int, int],
    looks: Mapping[str, Look] | None,
    over: str = "seed",
) -> Figure:
    curves = ordered_curves(curves, [column], together=ARM)
    band = mean_and_band(curves, column)
    looks = _present(curves, looks)
    learners, pools = list(curves["learner"].unique()), list(curves["pool"].unique())
    page.check_used(looks, learners=learners, pools=pools)
    _check_readable("curves", "pairs of learner and pool", len(learners) * len(pools), MAX_PANELS)
    _check_readable("curves", "controllers", len(looks), MAX_LINES)
    width = page.inches(max(PAGE_WIDTH if len(pools) > 1 else 4.6, 1.7 * len(pools)))
    room = (width / 2 if not page.usual and len(looks) > 4 else width) - 0.75 * _scale()
    names = page.names(looks, min(34, _letters(room)))
    columns = _legend_columns(list(names.values()), width)
    around = (1.0 + 0.17 * -(-len(looks) // columns)) * _scale()  # legend, titles, axis label
    where = _places(learners, pools, None if page.fixed else width)
    rows, across = 1 + max(row for row, _ in where), 1 + max(column for _, column in where)
    panel = min(2.4, max(1.2, (PAGE_HEIGHT - around) / rows))
    if not page.usual:
        panel = min(panel, max(1.15, 0.85 * width / across))
    what = f"{len(learners)} learners and {len(pools)} pools"
    panels = page.panels(rows, across, width, around + panel * rows, what, sharex=True, sharey=True)

    lines = dict(list(band.groupby(ARM, observed=True)))
    drawn_panel = width if page.fixed else (width - 0.9 * _scale()) / across
    grid = len(where) == rows * across and across == len(pools)
    row_label = page.places("learner", learners, looks, 19 if grid else _letters(drawn_panel), lines=2)
    column_label = page.places("pool", pools, looks, min(24, _letters(drawn_panel)))
    margin = 0.04 * (domain[1] - domain[0])
    for (i, j), (learner, pool) in where.items():
        ax = panels.axes[i, j]
        shown = [name for name in looks if (pool, learner, name) in lines]
        for k, name in enumerate(shown):
            _line(ax, lines[pool, learner, name], name, looks[name], k / len(shown))
        if not shown:
            ax.text(0.5, 0.5, "no runs", transform=ax.transAxes, ha="center", va="center", color="0.4")
        both = [row_label[learner] if len(learners) > 1 else "", column_label[pool]]
        if not grid:
            panels.name(i, j, "\n".join(part for part in both if part))
        elif i == 0:
            panels.name(i, j, column_label[pool])
        if grid and j == across - 1 and not panels.single:
            ax.yaxis.set_label_position("right")
            ax.set_ylabel(row_label[learner], rotation=270, va="bottom", labelpad=3)
    for gap in sorted(set(np.ndindex(rows, across)) - set(where)):
        panels.hide(*gap)
    first = panels.axes[0, 0]
    low, high = first.get_ylim() if column == "success" else (domain[0] - margin, domain[1] + margin)
    limits = max(low, domain[0] - margin), min(high, domain[1] + margin)  # bands may leave it
    digits = len(f"{curves['step'].max():g}")
    most = min(5 if len(pools) < 4 else 4, max(1, int(_letters(drawn_panel) / (digits + 2.5))))
    for ax in [first] if panels.figure is not None else panels.axes.flat:
        ax.xaxis.set_major_locator(MaxNLocator(most, steps=ROUND, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
        ax.set_ylim(limits, auto=True)
    for ax in panels.axes.flat:
        ax.relim()  # a line that is added later stays in range, whatever the bands do
    panels.along("training step", ylabel)
    seeds = _count(band["seeds"], over)
    said = f"mean over {seeds}" if band["seeds"].max() == 1 else f"mean and 95 % interval (t) over {seeds}"
    panels.legend([_line_key(look) for look in looks.values()], list(names.values()), _plain(said), columns)
    return panels.done(_told(band, ylabel, said))


def _places(learners: list[Any], pools: list[Any], width: float | None) -> dict[tuple[int, int], tuple[Any, Any]]:
    """Row and column of each panel -> learner and pool: a grid or, in so many inches, as many to a row as can be read.
    """
    pairs = [(learner, pool) for learner in learners for pool in pools]
    across = len(pools)
    if width is not None:
        across = min(across, max(1, int((width - 0.55 * _scale()) / (NARROWEST + 0.2 * _scale()))))
    return {(k // across, k % across): pair for k, pair in enumerate(pairs)}


def _told(band: pd.DataFrame, ylabel: str, said: str) -> str:
    last = band.groupby(ARM, observed=True, sort=False).tail(1)
    steps = f"step {last['step'].min():g}" if last["step"].nunique() == 1 else "the last step"
    return _sentence([f"{ylabel} at {steps}, {said}", *_arms_told(last, "mean", "low", "high")])


def _line(ax: Axes, band: pd.DataFrame, name: str, look: Look, shift: float) -> None:
    step, mean, low, high = (band[c].to_numpy(dtype=float) for c in ("step", "mean", "low", "high"))
    if np.isfinite(low).any():
        ends = (np.ma.masked_invalid(end) for end in (low, high))
        area = FillBetweenPolyCollection("x", step, *ends, color=look.color, alpha=0.18, linewidth=0)
        ax.add_collection(area, autolim=False)
        ax.update_datalim([(x, y) for end in (low, high) for x, y in zip(step, end, strict=True) if np.isfinite(y)])
    every = max(1, len(step) // 3)  # few markers, at different steps for different lines
    ax.plot(
        step, mean, label=name, color=look.color, linestyle=look.dashes, linewidth=1.2, marker=look.marker,
        markersize=_size(look, 3.2), markeredgewidth=0, markevery=(int(shift * every), every),
    )  # fmt: skip
