"""Marks, keys and axes that several figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from workbench.controllers.rule import Look
from workbench.errors import InputError, shown
from workbench.figures.looks import controller_looks
from workbench.figures.style import _letter, _scale
from workbench.figures.words import _plain


def _present(table: pd.DataFrame, looks: Mapping[str, Look] | None) -> dict[str, Look]:
    """The looks of the controllers in this table, in legend order."""
    given: Any = controller_looks(table) if looks is None else looks
    if not isinstance(given, Mapping) or not all(isinstance(look, Look) for look in given.values()):
        raise InputError(f"looks: must map controllers to Look, as controller_looks(table) does, got {shown(given)}")
    present = list(table["controller"].unique())
    for name in present:
        if name not in given:
            raise InputError(f"looks: must have every controller of the table, got none for {name!r}")
    return {name: look for name, look in given.items() if name in present}


def _size(look: Look, points: float) -> float:
    return 1.5 * points if look.marker == "*" else points  # a star covers less of its square


def _line_key(look: Look) -> Line2D:
    return Line2D(
        [], [], color=look.color, linestyle=look.dashes, linewidth=1.2, marker=look.marker,
        markersize=_size(look, 4), markeredgewidth=0,
    )  # fmt: skip


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """Columns of the legend: as many as fit, spread evenly over the lines needed."""
    room = _letter() * max(map(len, labels)) + 0.65 * _scale()  # 0.65 in for line and gap
    most = max(2 if len(labels) > 4 else 1, int(width / room))  # `Panels` takes fewer where two do not fit
    return -(-len(labels) // -(-len(labels) // most))


def _no_number(ax: Axes, x: float, y: float, value: float, box: bool = True) -> None:
    text = "n/a" if np.isnan(value) else "∞" if value > 0 else f"{value:g}"
    background = {"facecolor": "white", "edgecolor": "none", "pad": 0.8} if box else None
    ax.text(x, y, _plain(text), ha="center", va="center", color="0.35", bbox=background)


def _log_limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Limits of a log axis around 1 and all finite positive values, with a margin."""
    logs = np.log2(values[np.isfinite(values) & (values > 0)])
    low, high = logs.min(initial=-0.15), logs.max(initial=0.15)
    margin = 0.08 * (high - low)
    return float(2 ** (low - margin)), float(2 ** (high + margin))


def _log_ticks(axis: Any, low: float, high: float, most: int = 5) -> None:
    """At most that many ticks at powers of 2 and, in narrow ranges, round numbers between them."""
    for parts, step in ((8, 1), (4, 1), (2, 1), (1, 1), (1, 2), (1, 3), (1, 4), (1, 8), (1, 16), (1, 64)):
        powers = 2.0 ** (step * np.arange(-1024 // step + 1, 1023 // step))
        ticks = np.outer(powers, 1 + np.arange(parts) / parts).ravel()
        ticks = ticks[(ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))]
        if len(ticks) <= most:
            break
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda a, _: f"{a:.3g}"))
