"""Success by difficulty level over training."""

from __future__ import annotations

import re
from typing import Any, Unpack

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbench.analysis.frame import ARM, check_numbers, check_table, ordered_curves
from workbench.controllers.rule import Look
from workbench.errors import InputError
from workbench.figures.checks import _check_readable, _own_curves
from workbench.figures.curves import ROUND
from workbench.figures.marks import _present
from workbench.figures.page import MAX_PANELS, PAGE_HEIGHT, PAGE_WIDTH, Options, Page, drawn
from workbench.figures.style import _scale
from workbench.figures.words import _count, _letters, _number, _sentence

PANEL = 0.85  # inches that a panel takes at least


@drawn
def success_by_level(curves: pd.DataFrame, looks: dict[str, Look] | None = None, **options: Unpack[Options]) -> Figure:
    """Held-out success of each difficulty level over training: a panel per arm, a row per level, the easiest below.

    curves: the frame of any Record, or of real runs, with `success_0`, `success_1`, ... per level; the mean over seeds
    is shown. A level without a number in an arm stays grey. looks: gives the order of the arms. options: see
    `figures.Options`.
    Raises InputError for a table without such columns, gaps, a run twice, and more panels than a reader can compare.
    """
    page = Page(**options)
    levels = levels_of(check_table(curves, "curves", []))
    if not levels:
        raise InputError("curves: must have success per level in columns success_0, success_1, ..., got none")
    curves = ordered_curves(_own_curves(curves, levels[0]), levels, together=ARM)
    check_numbers(curves, "curves", levels)
    order = list(_present(curves, looks))
    means = curves.groupby([*ARM, "step"], observed=True, sort=False)[levels].mean()
    seeds = curves.groupby(ARM, observed=True)["seed"].nunique()
    arms = sorted(dict.fromkeys(zip(*(curves[key] for key in ARM), strict=True)), key=lambda arm: order.index(arm[2]))
    learners, pools = list(curves["learner"].unique()), list(curves["pool"].unique())
    arms.sort(key=lambda arm: (learners.index(arm[1]), pools.index(arm[0])))
    page.check_used(order, learners=learners, pools=pools)
    _check_readable("curves", "arms", len(arms), MAX_PANELS)

    width = page.inches(min(PAGE_WIDTH, 1.1 + 1.6 * len(arms)))
    narrow = width < 4.5  # the colour bar then stands above
    beside = (0.6 if narrow else 1.1) * _scale()  # of names, numbers and the bar
    fit = max(1, int((width - beside) / (PANEL * _scale())))
    rows = -(-len(arms) // (len(arms) if page.fixed else min(fit, len(arms))))
    across = -(-len(arms) // rows)
    room = width if page.fixed else (width - beside) / across
    several = len(learners) > 1 or len(pools) > 1
    letters = _letters(0.7 * room)  # letters of names are wide
    title = page.names(order, letters, lines=2)
    of_learner, of_pool = (page.places(*one, order, letters) for one in (("learner", learners), ("pool", pools)))
    names = (0.55 if several else 0.3) * _scale()
    high = max(1.0, min(1.6, 0.1 * len(levels) + 0.3)) * _scale()
    high = max(0.7 * _scale(), min(high, (PAGE_HEIGHT - 0.7 * _scale()) / rows - names))
    height = 0.7 * _scale() + rows * (high + names)
    panels = page.panels(rows, across, width, height, f"{len(arms)} arms", sharex=True, sharey=True)
    image: Any = None
    for k, arm in enumerate(arms):
        ax, table = panels.axes[k // across, k % across], means.loc[arm]
        steps = table.index.to_numpy(np.float64)
        image = ax.pcolormesh(_edges(steps), np.arange(len(levels) + 1) - 0.5, np.ma.masked_invalid(table.T.to_numpy()),
                              vmin=0, vmax=1, cmap="cividis")  # fmt: skip
        ax.set_facecolor("0.85")
        ax.grid(visible=False)
        where = [of_learner[arm[1]] if len(learners) > 1 else "", of_pool[arm[0]] if len(pools) > 1 else ""]
        panels.name(k // across, k % across, "\n".join([title[arm[2]], *filter(None, where)]))
        digits = len(f"{steps.max():g}")
        most = max(1, min(5, int(_letters(room) / (digits + 2.5))))
        ax.xaxis.set_major_locator(MaxNLocator(most, steps=ROUND, integer=True))
        every = max(1, -(-len(levels) // 5))
        numbers = [level.removeprefix("success_") for level in levels]
        ax.set_yticks(range(0, len(levels), every), numbers[::every])
    for k in range(len(arms), rows * across):
        panels.hide(k // across, k % across)
    panels.along("training step", "difficulty level (0 easiest)")
    said = f"held-out success, mean over {_count(seeds, 'seed')}"
    host = panels.figure if panels.figure is not None else panels.axes.flat[0].figure
    below: Any = {"location": "top"} if panels.figure is not None and narrow else {}
    bar: Any = host.colorbar(image, ax=list(panels.axes.flat), label=said, aspect=25, **below)
    bar.outline.set_visible(False)
    panels.heading()
    return panels.done(_sentence([f"{said}, by difficulty level from the start to the end",
                                  *(_told(arm, means.loc[arm], levels) for arm in arms)]))  # fmt: skip


def levels_of(curves: pd.DataFrame) -> list[str]:
    """The columns of levels, the easiest first, without those that hold no number."""
    names = [name for name in map(str, curves.columns) if re.fullmatch(r"success_\d+", name)]
    known = [name for name in names if curves[name].notna().any()]
    return sorted(known, key=lambda name: int(name.removeprefix("success_")))


def _edges(steps: Any) -> Any:
    """(E + 1,) where the cells of (E,) steps begin and end."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - middle[0]], middle, [2 * steps[-1] - middle[-1]]])


def _told(arm: tuple[Any, ...], table: pd.DataFrame, levels: list[str]) -> str:
    some = dict.fromkeys((levels[0], levels[len(levels) // 2], levels[-1]))
    ends = [f"level {level.removeprefix('success_')} {_number(table[level].iloc[0])} to "
            f"{_number(table[level].iloc[-1])}" for level in some]  # fmt: skip
    return f"{' on '.join(filter(None, [str(arm[2]), ', '.join(filter(None, map(str, arm[:2])))]))}: {', '.join(ends)}"
