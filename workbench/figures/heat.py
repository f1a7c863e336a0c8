"""A value over two swept hyper-parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from workbench.analysis.frame import ARM, check_table
from workbench.analysis.tables import COLUMNS, COST_COLUMNS, baseline_name
from workbench.errors import InputError, check_flag, check_text
from workbench.figures.marks import _log_ticks, _no_number
from workbench.figures.page import PAGE_WIDTH, Options, Page, drawn
from workbench.figures.panels import Panels
from workbench.figures.style import _letter, _scale
from workbench.figures.words import _count, _letters, _number, _plain, _sentence, _width
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


NARROW = 4.5  # inches of a page on which the colour bar stands below


@drawn
def heat_map(
    summary: pd.DataFrame, x: str, y: str, value: str = "speedup", average: bool = False, **options: Unpack[Options]
) -> Figure:
    """`value` over two columns of summary: annotated cells where they form a grid, coloured points elsewhere.

    summary: as `summary_table` gives it, in any order of rows. x, y: two of its columns, such as "adarft.eta" or
    "pool". value: a numeric column. Rows without an x or a y (uniform, under "adarft.eta") are left out. Several rows
    in one cell are an error unless `average`: then a cell is the mean of its rows (geometric for ratios) with their
    range, and one NaN makes the cell NaN. options: see `figures.Options`; labels name entries of x and y, too. Numbers
    that do not fit into the cells are left out: first the intervals, then all.
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
    base = baseline_name(summary) or "the baseline"
    how = Value.of(value, "{baseline}")
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
    page = Page(**options)
    page.check_used(across, up, [base], *([f"{c} {t}" for t in _texts(some)] for c, some in ((x, across), (y, up))))
    if _is_numeric(cells[x]) and _is_numeric(cells[y]) and len(cells) < 0.5 * len(across) * len(up):
        panels, image, note = _points(page, cells, x, y, how, entry, interval)
    else:
        panels, image, note = _grid(page, cells, x, y, across, up, how, entry, interval)
    panels.note(_plain(note))
    ax = panels.axes[0, 0]
    ax.set(xlabel=_plain(_with_unit(x, " ")), ylabel=_plain(_with_unit(y, "\n")))
    below = {"location": "bottom"} if _narrow(page) else {}
    bar = ax.figure.colorbar(image, ax=ax, label=page.around(how.label, base), **below)
    if how.log:
        _log_ticks(bar.ax.xaxis if below else bar.ax.yaxis, image.norm.vmin, image.norm.vmax)
    return panels.done(_told(cells, x, y, how, entry).replace("{baseline}", base))


def _narrow(page: Page) -> bool:
    return page.inches(2 * NARROW) < NARROW


def _told(cells: pd.DataFrame, x: str, y: str, how: Value, entry: str) -> str:
    known = cells[np.isfinite(cells["value"].astype(float))]
    label = " ".join(how.label.split())
    ends = []
    for word, row in (("lowest", known["value"].argmin), ("highest", known["value"].argmax)) if len(known) else ():
        at = known.iloc[row()]
        ends.append(f"{word} {_number(at['value'])} at {x} {_texts([at[x]])[0]} and {y} {_texts([at[y]])[0]}")
    return _sentence([f"{label} ({entry}) over {x} and {y}, {len(cells)} cells", *(ends or ["no numbers"])])


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
    page: Page,
    cells: pd.DataFrame,
    x: str,
    y: str,
    across: list[Any],
    up: list[Any],
    how: Value,
    entry: str,
    interval: str,
) -> tuple[Panels, Any, str]:
    v = cells["value"].to_numpy(dtype=float)
    shown, norm = how.shown(v), how.norm(v)
    cmap = mpl.colormaps[_cmap(how)].with_extremes(bad="0.9")
    i, j = [up.index(a) for a in cells[y]], [across.index(a) for a in cells[x]]
    filled = np.full((len(up), len(across)), np.nan)
    filled[i, j] = np.where(shown, v, np.nan)

    annotate = filled.size <= 200
    given = page.inches(0.0)
    narrow = _narrow(page)
    arms_x, arms_y = (_texts(some) if c == "controller" else [] for c, some in ((x, across), (y, up)))
    names_y = page.places(y, _texts(up), arms_x, min(22, _letters(0.3 * given)) if given else 22)
    # labels and colour bar
    around = (0.3 if narrow else 1.45) * _scale() + _letter() * max(map(len, names_y.values()))
    texts = _annotations(cells, shown, ", ")
    if around + _width(texts) * len(across) > (given or PAGE_WIDTH):
        texts = _annotations(cells, shown, ",\n")
    names = [part for text in _texts(across) for part in re.split("[ -]", text)]
    cell_width = max(0.5, _width(texts), min(1.0, _width(names))) if annotate else 0.2
    if given:
        cell_width = max((given - around) / len(across), 0.01)
        if _width(texts) > cell_width:
            texts = [text.split("\n")[0] for text in texts]  # without intervals
        annotate = annotate and _width(texts) <= cell_width + 0.06 * _scale()  # half the room around a number
    cell_height = (0.16 + 0.13 * max(t.count("\n") + 1 for t in texts) if annotate else 0.2) * _scale()
    every = 1 if annotate else 3  # labels are wider than a bare cell
    letters = max(7, int(cell_width / _letter()))
    names_x = page.places(x, _texts(across), arms_y, letters, lines=3)
    longest = _letter() * (1 + max(len(part) for name in names_x.values() for part in name.split("\n")))
    turned = bool(given) and longest > cell_width and not _is_numeric(cells[x])
    if turned:
        names_x, every = page.places(x, _texts(across), arms_y, 16), max(1, int(np.ceil(0.13 * _scale() / cell_width)))
    elif given:
        every = max(1, int(np.ceil(longest / cell_width)))
    height = max(2.8, 1.2 + cell_height * len(up))
    if given:
        low = (_letter() * max(map(len, names_x.values())) if turned else 0.3) + (1.45 if narrow else 0.9) * _scale()
        height = max(2.2, low + max(cell_height, 0.2 * _scale()) * len(up))
    panels = page.panels(1, 1, page.inches(max(4.6, around + cell_width * len(across))), height, "a heat map")
    ax = panels.axes[0, 0]
    image = ax.pcolormesh(
        np.arange(len(across) + 1) - 0.5, np.arange(len(up) + 1) - 0.5, np.ma.masked_invalid(filled),
        norm=norm, cmap=cmap, edgecolors="white", linewidth=1.0,
    )  # fmt: skip
    below = shown & (v < how.centre) if how.centre is not None and not annotate else np.zeros(len(v), bool)
    strokes = [[(j[k] - 0.5, i[k] - 0.5), (j[k] + 0.5, i[k] + 0.5)] for k in np.flatnonzero(below)]
    ax.add_collection(LineCollection(strokes, colors="0.4", linewidths=0.8))
    for k in range(len(cells)):
        if not shown[k]:
            if annotate or cell_width > 0.3 * _scale():
                _no_number(ax, j[k], i[k], v[k], box=False)
        elif annotate:
            red, green, blue, _ = cmap(norm(v[k]))
            color = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.45 else "black"
            ax.text(j[k], i[k], _plain(texts[k]), ha="center", va="center", color=color, linespacing=1.1)
    turn = {"rotation": 90} if turned else {}
    ax.set_xticks(range(0, len(across), every), [names_x[t] for t in _texts(across)[::every]], **turn)
    ax.set_yticks(range(len(up)), [names_y[t] for t in _texts(up)])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if annotate and any("[" in text for text in texts):
        return panels, image, f"{entry} [{interval}]"
    stroke = [f"stroke: below {how.centre:g}"] if below.any() else []
    return panels, image, "; ".join([*[entry] * (entry != "value"), *stroke])


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


def _points(
    page: Page, cells: pd.DataFrame, x: str, y: str, how: Value, entry: str, interval: str
) -> tuple[Panels, Any, str]:
    """A scattered design: only the points are drawn, as the values between them are not known."""
    v, low, high, at_x, at_y = (cells[c].to_numpy(dtype=float) for c in ("value", "low", "high", x, y))
    shown = how.shown(v)
    width = page.inches(5.4)
    panels = page.panels(1, 1, width, max(2.8 * _scale(), 4.0 * width / 5.4), "a heat map")
    ax = panels.axes[0, 0]
    clear = np.zeros(len(v), bool) if how.centre is None else (low > how.centre) | (high < how.centre)
    below = np.zeros(len(v), bool) if how.centre is None else v < how.centre
    for marker, mine in (("v", shown & below), ("o", shown & ~below)):  # the sign without its colour
        image = ax.scatter(
            at_x[mine], at_y[mine], c=v[mine], norm=how.norm(v), cmap=_cmap(how), s=42, marker=marker,
            edgecolors=["black" if c else "0.7" for c in clear[mine]], linewidths=0.8,
        )  # fmt: skip
    if not page.usual:
        ax.margins(0.08)
    if not shown.all():
        ax.plot(at_x[~shown], at_y[~shown], "x", color="0.5", markersize=5, label="n/a")
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.1, handletextpad=0.1)
    for axis, at, set_scale in ((ax.xaxis, at_x, ax.set_xscale), (ax.yaxis, at_y, ax.set_yscale)):
        if _log_like(at):
            set_scale("log")
            axis.set_major_formatter(FuncFormatter(lambda a, _: f"{a:g}"))  # the exponent of 10^2 would be too small
            axis.set_minor_formatter(NullFormatter())
    note = f"{len(cells)} design points" + (f", each the {entry}" if entry != "value" else "")
    told = [f"black edge: {interval} excludes {how.centre:g}"] if clear.any() else []
    told += [f"triangle: below {how.centre:g}"] if (shown & below).any() else []
    return panels, image, "\n".join([note, "; ".join(told)] if told else [note])


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
