"""Curves over steps: held-out success and target difficulty."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import stdtrit

from workbench.analysis.frame import ARM, ordered_curves
from workbench.controllers.rule import Look
from workbench.errors import InputError, check_text
from workbench.figures.checks import _check_readable
from workbench.figures.looks import _style
from workbench.figures.page import (
    MAX_LINES,
    MAX_PANELS,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    _count,
    _figure,
    _laid_out,
    _legend,
    _legend_columns,
    _line_key,
    _present,
    _shorten,
    _size,
)


def learning_curves(curves: pd.DataFrame, looks: Mapping[str, Look] | None = None, over: str = "seed") -> Figure:
    """Held-out success over training: a row of panels per learner, a column per pool, a line per controller.

    curves: the frame of any Record, or several of them together, in any order of rows, with `pool`, `learner`,
    `controller`, `seed`, `step` and `success`. looks: how each controller is drawn; by default `controller_looks`.
    over: what the column `seed` counts, where that is more than random numbers.
    Raises InputError for missing columns, gaps, a run twice, and more panels or lines than a reader can tell apart.
    """
    check_text("over", over)
    return _panels(curves, "success", "held-out success (mean over difficulty deciles)", (0, 1), looks, over)


def target_trajectories(curves: pd.DataFrame, looks: Mapping[str, Look] | None = None) -> Figure:
    """Target difficulty over training, panels as in `learning_curves`, for the controllers that have a target."""
    curves = ordered_curves(curves, ["target"], together=ARM)
    has_target = np.isfinite(curves["target"]).groupby(curves["controller"], observed=True).transform("any")
    if not has_target.any():
        raise InputError("curves: must have a controller with a finite target, got none")
    return _panels(curves[has_target], "target", "target difficulty (0 easiest, 100 hardest)", (0, 100), looks)


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


@_style()
def _panels(
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
    _check_readable("curves", "pairs of learner and pool", len(learners) * len(pools), MAX_PANELS)
    _check_readable("curves", "controllers", len(looks), MAX_LINES)
    width = max(PAGE_WIDTH if len(pools) > 1 else 4.6, 1.7 * len(pools))
    names = _shorten(looks, 34)
    columns = _legend_columns(list(names.values()), width)
    around = 1.0 + 0.17 * -(-len(looks) // columns)  # legend, titles, axis label
    panel = min(2.4, max(1.2, (PAGE_HEIGHT - around) / len(learners)))
    figure = _figure(width, around + panel * len(learners))
    axes = figure.subplots(len(learners), len(pools), sharex=True, sharey=True, squeeze=False)

    lines = dict(list(band.groupby(ARM, observed=True)))
    row_label, column_label = _shorten(learners, 19, lines=2), _shorten(pools, 24)
    for i, learner in enumerate(learners):
        for j, pool in enumerate(pools):
            ax = axes[i, j]
            drawn = [name for name in looks if (pool, learner, name) in lines]
            for k, name in enumerate(drawn):
                _line(ax, lines[pool, learner, name], name, looks[name], shift=k / len(drawn))
            if not drawn:
                ax.text(0.5, 0.5, "no runs", transform=ax.transAxes, ha="center", va="center", color="0.4")
            if i == 0:
                ax.set_title(column_label[pool])
        axes[i, -1].yaxis.set_label_position("right")
        axes[i, -1].set_ylabel(row_label[learner], rotation=270, va="bottom", labelpad=3)
    round_numbers = [1, 2, 2.5, 5, 10]
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(5 if len(pools) < 4 else 4, steps=round_numbers, integer=True))
    axes[0, 0].yaxis.set_major_locator(MaxNLocator(5, steps=round_numbers))
    margin = 0.04 * (domain[1] - domain[0])
    low, high = axes[0, 0].get_ylim() if column == "success" else (domain[0] - margin, domain[1] + margin)
    axes[0, 0].set_ylim(max(low, domain[0] - margin), min(high, domain[1] + margin))  # bands may leave it
    figure.supxlabel("training step")
    figure.supylabel(ylabel)
    seeds = _count(band["seeds"], over)
    title = f"mean over {seeds}" if band["seeds"].max() == 1 else f"mean and 95 % interval (t) over {seeds}"
    _legend(figure, [_line_key(look) for look in looks.values()], list(names.values()), columns, title)
    return _laid_out(figure)


def _line(ax: Axes, band: pd.DataFrame, name: str, look: Look, shift: float) -> None:
    step, mean, low, high = (band[c].to_numpy(dtype=float) for c in ("step", "mean", "low", "high"))
    if np.isfinite(low).any():
        ax.fill_between(step, low, high, color=look.color, alpha=0.18, linewidth=0)
    every = max(1, len(step) // 3)  # few markers, at different steps for different lines
    ax.plot(
        step, mean, label=name, color=look.color, linestyle=look.dashes, linewidth=1.2, marker=look.marker,
        markersize=_size(look, 3.2), markeredgewidth=0, markevery=(int(shift * every), every),
    )  # fmt: skip
