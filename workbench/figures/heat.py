"""A value over two swept hyper-parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from workbench.analysis.frame import ARM, check_table
from workbench.analysis.tables import COLUMNS, COST_COLUMNS, baseline_name
from workbench.errors import InputError, check_flag, check_text
from workbench.figures.looks import _style
from workbench.figures.page import (
    LETTER,
    PAGE_WIDTH,
    _count,
    _figure,
    _laid_out,
    _log_ticks,
    _no_number,
    _shorten,
    _width,
)
from workbench.registry import unit_of


@dataclass(frozen=True)
class Value:
    """How a summary column is shown: name with unit, and the value that means "no effect", if it has one."""

    label: str
    centre: float | None = None
    log: bool = False

    @classmethod
    def of(cls, column: str, baseline: str) -> Value:
        """As the table of summary columns has it; another column is shown by its name alone."""
        known = (COLUMNS | COST_COLUMNS).get(column)
        if known is None:
            return cls(column)
        return cls(known.axis(baseline), known.centre, known.ratio)

    def shown(self, v: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values have a place on the colour scale."""
        return np.isfinite(v) & ((v > 0) | (not self.log))

    def norm(self, v: NDArray[np.float64]) -> Normalize:
        """Symmetric about no effect, in ratios or in differences; without a centre, the data's range."""
        v = v[self.shown(v)]
        if self.centre is None:
            return Normalize(v.min(), v.max()) if v.size else Normalize(0, 1)
        if self.log:
            half = max(np.abs(np.log2(v / self.centre)).max(initial=0.0), 0.05)
            return LogNorm(self.centre * 2.0**-half, self.centre * 2.0**half)
        half = max(np.abs(v - self.centre).max(initial=0.0), 1e-3)
        return Normalize(self.centre - half, self.centre + half)


@_style()
def heat_map(summary: pd.DataFrame, x: str, y: str, value: str = "speedup", average: bool = False) -> Figure:
    """`value` over two columns of summary: annotated cells where they form a grid, coloured points elsewhere.

    summary: as `summary_table` gives it, in any order of rows. x, y: two of its columns, such as "adarft.eta" or
    "pool". value: a numeric column. Rows without an x or a y (uniform, under "adarft.eta") are left out. Several rows
    in one cell are an error unless `average`: then a cell is the mean of its rows (geometric for ratios) with their
    range, and one NaN makes the cell NaN.
    Raises InputError for missing columns, no rows with both x and y, and a value that is no number.
    """
    for name, column in (("x", x), ("y", y), ("value", value)):
        check_text(name, column)
    check_flag("average", average)
    summary = check_table(summary, "summary", [x, y, value])
    if x == y:
        raise InputError(f"y: must be another column than x, got {y!r} for both")
    if not _is_numeric(summary[value]):
        raise InputError(f"value: must be a numeric column of summary, got {value!r}")
    how = Value.of(value, baseline_name(summary) or "the baseline")
    average = average and bool(summary.dropna(subset=[x, y]).duplicated([x, y]).any())
    cells = _cells(summary, x, y, value, how, average)
    entry, interval = "value", "95 % interval"
    if average:
        mean = "geometric mean" if how.log else "mean"
        entry, interval = f"{mean} over {_count(cells['rows'], 'summary row')}", "range"
    elif "seeds" in summary:
        interval += f" over {_count(summary.dropna(subset=[x, y])['seeds'], 'seed')}"
    across, up = _levels(cells[x]), _levels(cells[y])
    if not _is_numeric(cells[y]):
        up.reverse()  # names from the top down, numbers from the bottom up
    if _is_numeric(cells[x]) and _is_numeric(cells[y]) and len(cells) < 0.5 * len(across) * len(up):
        figure, image, note = _points(cells, x, y, how, entry, interval)
    else:
        figure, image, note = _grid(cells, x, y, across, up, how, entry, interval)
    figure.suptitle(note)
    figure.axes[0].set(xlabel=_with_unit(x, " "), ylabel=_with_unit(y, "\n"))
    bar = figure.colorbar(image, ax=figure.axes[0], label=how.label)
    if how.log:
        _log_ticks(bar.ax.yaxis, image.norm.vmin, image.norm.vmax)
    return _laid_out(figure)


def _cells(summary: pd.DataFrame, x: str, y: str, value: str, how: Value, average: bool) -> pd.DataFrame:
    """One row per (x, y): value, low, high, rows = how many summary rows it averages."""
    table = summary.dropna(subset=[x, y])
    if table.empty:
        raise InputError(f"summary: must have rows with both {x} and {y}, got none")
    groups = table.groupby([x, y], observed=True, sort=False)
    if average:

        def mean(v: pd.Series[float]) -> float:
            with np.errstate(divide="ignore"):
                a = np.log(v.to_numpy(dtype=float)) if how.log else v.to_numpy(dtype=float)
            return float(np.exp(a.mean()) if how.log else a.mean())

        return groups[value].agg(value=mean, low="min", high="max", rows="size").reset_index()
    if table.duplicated([x, y]).any():
        keys = [c for c in table.columns if (c in ARM or "." in c) and c not in (x, y)]
        varying = [c for c in keys if groups[c].nunique(dropna=False).gt(1).any()]
        raise InputError(
            f"summary: must have one row per {x} and {y} (select rows, or average=True), "
            f"got several that differ in {', '.join(varying) or 'no key'}"
        )
    low, high = table.get(f"{value}_low", np.nan), table.get(f"{value}_high", np.nan)
    return table[[x, y]].assign(value=table[value], low=low, high=high, rows=1)


def _grid(
    cells: pd.DataFrame,
    x: str,
    y: str,
    across: list[Any],
    up: list[Any],
    how: Value,
    entry: str,
    interval: str,
) -> tuple[Figure, Any, str]:
    v = cells["value"].to_numpy(dtype=float)
    shown, norm = how.shown(v), how.norm(v)
    cmap = mpl.colormaps[_cmap(how)].with_extremes(bad="0.9")
    i, j = [up.index(a) for a in cells[y]], [across.index(a) for a in cells[x]]
    filled = np.full((len(up), len(across)), np.nan)
    filled[i, j] = np.where(shown, v, np.nan)

    annotate = filled.size <= 200
    names_y = _shorten(_texts(up), 22)
    around = 2.0 + LETTER * max(map(len, names_y.values()))  # labels and colour bar
    texts = _annotations(cells, shown, ", ")
    if around + _width(texts) * len(across) > PAGE_WIDTH:
        texts = _annotations(cells, shown, ",\n")
    names = [part for text in _texts(across) for part in re.split("[ -]", text)]
    cell_width = max(0.5, _width(texts), min(1.0, _width(names))) if annotate else 0.2
    cell_height = 0.16 + 0.13 * max(t.count("\n") + 1 for t in texts) if annotate else 0.2
    figure = _figure(max(4.6, around + cell_width * len(across)), max(2.8, 1.2 + cell_height * len(up)))
    ax = figure.subplots()
    image = ax.pcolormesh(
        np.arange(len(across) + 1) - 0.5, np.arange(len(up) + 1) - 0.5, np.ma.masked_invalid(filled),
        norm=norm, cmap=cmap, edgecolors="white", linewidth=1.0,
    )  # fmt: skip
    for k in range(len(cells)):
        if not shown[k]:
            _no_number(ax, j[k], i[k], v[k], box=False)
        elif annotate:
            red, green, blue, _ = cmap(norm(v[k]))
            color = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.45 else "black"
            ax.text(j[k], i[k], texts[k], ha="center", va="center", color=color, linespacing=1.1)
    every = 1 if annotate else 3  # labels are wider than a bare cell
    names_x = _shorten(_texts(across), max(7, int(cell_width / LETTER)), lines=3)
    ax.set_xticks(range(0, len(across), every), [names_x[t] for t in _texts(across)[::every]])
    ax.set_yticks(range(len(up)), [names_y[t] for t in _texts(up)])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if annotate and any("[" in text for text in texts):
        return figure, image, f"{entry} [{interval}]"
    return figure, image, entry if entry != "value" else ""


def _annotations(cells: pd.DataFrame, shown: NDArray[np.bool_], between: str) -> list[str]:
    """ "1.31\n[1.24, 1.38]", or "1.31" where there is no interval; as many decimals in every cell."""
    numbers = cells[["value", "low", "high"]].to_numpy(dtype=float)
    largest = np.abs(numbers[shown, 0]).max(initial=1e-9)
    decimals = int(np.clip(2 - np.floor(np.log10(largest)), 0, 3))
    texts = []
    for value, low, high in numbers:
        text = f"{value:z.{decimals}f}"  # z: no minus sign before 0.00
        if np.isfinite(low) and np.isfinite(high):
            text += f"\n[{low:z.{decimals}f}{between}{high:z.{decimals}f}]"
        texts.append(text.replace("-", "\N{MINUS SIGN}"))
    return texts


def _points(cells: pd.DataFrame, x: str, y: str, how: Value, entry: str, interval: str) -> tuple[Figure, Any, str]:
    """A scattered design: only the points are drawn, as the values between them are not known."""
    v, low, high, at_x, at_y = (cells[c].to_numpy(dtype=float) for c in ("value", "low", "high", x, y))
    shown = how.shown(v)
    figure = _figure(5.4, 4.0)
    ax = figure.subplots()
    clear = np.zeros(len(v), bool) if how.centre is None else (low > how.centre) | (high < how.centre)
    image = ax.scatter(
        at_x[shown], at_y[shown], c=v[shown], norm=how.norm(v), cmap=_cmap(how), s=42,
        edgecolors=["black" if c else "0.7" for c in clear[shown]], linewidths=0.8,
    )  # fmt: skip
    if not shown.all():
        ax.plot(at_x[~shown], at_y[~shown], "x", color="0.5", markersize=5, label="n/a")
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.1, handletextpad=0.1)
    for axis, at, set_scale in ((ax.xaxis, at_x, ax.set_xscale), (ax.yaxis, at_y, ax.set_yscale)):
        if _log_like(at):
            set_scale("log")
            axis.set_major_formatter(FuncFormatter(lambda a, _: f"{a:g}"))  # the exponent of 10^2 would be too small
            axis.set_minor_formatter(NullFormatter())
    note = f"{len(cells)} design points" + (f", each the {entry}" if entry != "value" else "")
    return figure, image, note + (f"\nblack edge: {interval} excludes {how.centre:g}" if clear.any() else "")


def _log_like(v: NDArray[np.float64]) -> bool:
    """Whether a design is spread over orders of magnitude: its median is nearer to the geometric middle."""
    low, high = v.min(), v.max()
    if low <= 0 or high < 10 * low:
        return False
    middle = np.log(np.median(v))
    return bool(abs(middle - np.log(low * high) / 2) < abs(middle - np.log((low + high) / 2)))


def _is_numeric(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _cmap(how: Value) -> str:
    return "cividis" if how.centre is None else "RdBu"  # both readable with any colour vision


def _levels(column: pd.Series[Any]) -> list[Any]:
    """Numbers in order; names in order of appearance."""
    values = list(column.unique())
    return sorted(values) if _is_numeric(column) else values


def _texts(values: Sequence[Any]) -> list[str]:
    return [f"{v:.4g}" if isinstance(v, (int, float, np.number)) else str(v) for v in values]


def _with_unit(column: str, between: str) -> str:
    unit = unit_of(column)
    return f"{column}{between}({unit})" if unit else column
