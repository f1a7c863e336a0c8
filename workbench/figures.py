"""Sweep tables -> figures that can go into a paper as they are.

Every figure gives a rule the same look (`LOOKS`: Okabe-Ito colour, line style, marker), prints no text below 8 pt, and
says on itself what its bands and whiskers are. Only matplotlib's object interface is used: no pyplot, and the
caller's rcParams neither steer a figure nor change.
"""

from __future__ import annotations

import colorsys
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from scipy.special import stdtrit

from workbench.errors import InputError

PAGE_WIDTH, PAGE_HEIGHT = 7.2, 9.4  # inches of text on a page
MAX_PANELS, MAX_ROWS = 60, 160  # beyond these nobody can read the figure
KEYS = ["pool", "learner", "controller"]

STYLE: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs, so the same bytes, everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.labelsize": 8.5,
    "figure.titlesize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # TrueType: editable, and accepted by publishers that refuse Type 3
}


@contextmanager
def _style() -> Iterator[None]:
    """matplotlib's defaults plus STYLE, whatever the caller has set; the caller's settings return afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


# ---- looks -------------------------------------------------------------------------------------------------

Dashes = tuple[float, tuple[float, ...]]
SOLID: Dashes = (0, ())


@dataclass(frozen=True)
class Look:
    color: str
    dashes: Dashes
    marker: str


LOOKS = {  # Okabe & Ito (2008), without their yellow, which vanishes on white
    "uniform": Look("#000000", (0, (4, 1.5)), "o"),
    "filter": Look("#E69F00", (0, (6, 1.5, 1, 1.5)), "s"),
    "band": Look("#56B4E9", (0, (2, 1)), "^"),
    "linear": Look("#009E73", (0, (8, 2)), "v"),
    "sorted": Look("#CC79A7", (0, (6, 1.2, 1, 1.2, 1, 1.2)), "D"),
    "frozen": Look("#0072B2", (0, (1, 1)), "P"),
    "adarft": Look("#D55E00", SOLID, "X"),
}
COLORS = {rule: look.color for rule, look in LOOKS.items()}

# Rules without a row above: Paul Tol's muted colours that stay clear of Okabe-Ito, and markers no known rule has.
OTHER_COLORS = ("#332288", "#882255", "#999933", "#CC6677", "#117733", "#44AA99")
OTHER_DASHES: tuple[Dashes, ...] = (SOLID, (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
OTHER_MARKERS = ("<", ">", "p", "*", "d", "h")


def rule_look(rule: str) -> Look:
    """The look of a rule, from its name alone."""
    if rule in LOOKS:
        return LOOKS[rule]
    digest = hashlib.sha256(rule.encode()).digest()  # hash() differs from process to process
    return Look(
        OTHER_COLORS[digest[0] % len(OTHER_COLORS)],
        OTHER_DASHES[digest[1] % len(OTHER_DASHES)],
        OTHER_MARKERS[digest[2] % len(OTHER_MARKERS)],
    )


def controller_looks(table: pd.DataFrame) -> dict[str, Look]:
    """Controller label -> look, in legend order: rules as in LOOKS, then others by name; variants by their numbers.

    A rule shown in one form has the rule's look. Variants keep its hue and marker and run from light to dark, each with
    its own dashes; a variant without settings ("adarft" beside "adarft eta=5") keeps the rule's look. Lightness counts the
    variants of this table: to hold it over tables that show different ones, pass one table's looks to every figure.
    """
    _require(table, "table", ["controller", "rule"])
    pairs = table[["controller", "rule"]].drop_duplicates()
    if pairs["controller"].duplicated().any():
        label = pairs["controller"][pairs["controller"].duplicated()].iloc[0]
        raise InputError(f"controller: must name one rule, got {label!r} for several")
    rule_of = dict(zip(pairs["controller"].astype(str), pairs["rule"].astype(str), strict=True))
    known = list(LOOKS)
    rules = sorted(set(rule_of.values()), key=lambda r: (known.index(r) if r in LOOKS else len(known), r))
    looks: dict[str, Look] = {}
    for rule in rules:
        labels = sorted((label for label in rule_of if rule_of[label] == rule), key=_natural)
        looks |= {label: rule_look(rule) for label in labels}
        variants = [label for label in labels if label != rule]
        if len(labels) > 1:
            hue, _, saturation = colorsys.rgb_to_hls(*to_rgb(rule_look(rule).color))
            for i, label in enumerate(variants):
                lightness = np.linspace(0.68, 0.24, len(variants))[i] if len(variants) > 1 else 0.68
                color = to_hex(colorsys.hls_to_rgb(hue, lightness, saturation))
                looks[label] = replace(rule_look(rule), color=color, dashes=OTHER_DASHES[i % len(OTHER_DASHES)])
    return looks


def _natural(label: str) -> list[tuple[int, float, str]]:
    """Sort key that puts eta=5 before eta=50, and 1e-3 before 0.02."""
    parts = re.split(r"(-?\d+\.?\d*(?:e[-+]?\d+)?)", label)
    return [(1, float(part), "") if i % 2 else (0, 0.0, part) for i, part in enumerate(parts)]


# ---- learning curves and target difficulty -----------------------------------------------------------------


def learning_curves(curves: pd.DataFrame, looks: Mapping[str, Look] | None = None) -> Figure:
    """Held-out success against training step: a row of panels per learner, a column per pool, a line per controller."""
    return _panels(curves, "success", "held-out success (mean over difficulty deciles)", looks)


def target_trajectories(curves: pd.DataFrame, looks: Mapping[str, Look] | None = None) -> Figure:
    """Target difficulty against training step, panels as in learning_curves, for the controllers that have a target."""
    _require(curves, "curves", ["controller", "rule", "target"])
    has_target = np.isfinite(curves["target"]).groupby(curves["controller"], observed=True).transform("any")
    if not has_target.any():
        raise InputError("curves: must have a controller with a finite target, got none")
    looks = controller_looks(curves) if looks is None else looks  # of all controllers, to match learning_curves
    figure = _panels(curves[has_target], "target", "target difficulty (0 easiest, 100 hardest)", looks)
    figure.axes[0].set(ylim=(-4, 104), yticks=(0, 25, 50, 75, 100))  # shared by all panels
    return figure


def mean_and_band(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over seeds and its 95 % t interval, mean +- t(.975, n - 1) sd / sqrt(n), by pool, learner, controller, step.

    Columns mean, low, high, seeds (n, without NaN); low and high are NaN for a single seed.
    """
    _require(curves, "curves", [*KEYS, "seed", "step", column], one_row_per=[*KEYS, "seed", "step"])
    band = curves.groupby([*KEYS, "step"], observed=True)[column].agg(["mean", "sem", "count"])
    n = band["count"].to_numpy(dtype=float)
    half = stdtrit(np.where(n > 1, n - 1, np.nan), 0.975) * band["sem"]
    band = band.assign(low=band["mean"] - half, high=band["mean"] + half).rename(columns={"count": "seeds"})
    return band.drop(columns="sem").reset_index()


@_style()
def _panels(curves: pd.DataFrame, column: str, ylabel: str, looks: Mapping[str, Look] | None) -> Figure:
    band = mean_and_band(curves, column)
    looks = _present(curves, looks)
    learners, pools = _names(curves, "learner"), _names(curves, "pool")
    if len(learners) * len(pools) > MAX_PANELS:
        raise InputError(
            f"curves: must have at most {MAX_PANELS} learner-pool pairs to be readable, got {len(learners) * len(pools)}"
        )
    width = max(PAGE_WIDTH if len(pools) > 1 else 4.6, 1.7 * len(pools))
    columns = _legend_columns(looks, width)
    around = 1.15 + 0.16 * -(-len(looks) // columns)  # titles, axis label, legend
    panel = min(2.4, max(1.2, (PAGE_HEIGHT - around) / len(learners)))
    figure = _figure(width, around + panel * len(learners))
    axes = figure.subplots(len(learners), len(pools), sharex=True, sharey=True, squeeze=False)
    cells = dict(list(band.groupby(KEYS, observed=True, sort=False)))
    row_label = _shorten(learners, 19, lines=2)
    column_label = _shorten(pools, 24)
    for i, learner in enumerate(learners):
        for j, pool in enumerate(pools):
            ax = axes[i, j]
            drawn = [name for name in looks if (pool, learner, name) in cells]
            for k, name in enumerate(drawn):
                _line(ax, cells[pool, learner, name], name, looks[name], offset=k / len(drawn))
            if not drawn:
                ax.text(0.5, 0.5, "no runs", transform=ax.transAxes, ha="center", va="center", color="0.5")
            if i == 0:
                ax.set_title(column_label[pool])
        axes[i, -1].yaxis.set_label_position("right")
        axes[i, -1].set_ylabel(row_label[learner], rotation=270, va="bottom", labelpad=3)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0, 0].yaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel("training step")
    figure.supylabel(ylabel)
    title = f"mean and 95 % interval (t) over {_count(band['seeds'], 'seed')}"
    _legend(figure, [_key(look) for look in looks.values()], list(_shorten(looks, 34).values()), columns, title)
    return figure


def _line(ax: Axes, band: pd.DataFrame, name: str, look: Look, offset: float) -> None:
    steps, mean, low, high = (band[c].to_numpy(dtype=float) for c in ("step", "mean", "low", "high"))
    if np.isfinite(low).any():
        ax.fill_between(steps, low, high, color=look.color, alpha=0.18, linewidth=0)
    every = max(1, len(steps) // 3)  # few markers, and those of different lines at different steps
    ax.plot(
        steps, mean, label=name, color=look.color, linestyle=look.dashes, linewidth=1.2,
        marker=look.marker, markersize=3.2, markeredgewidth=0, markevery=(int(offset * every), every),
    )  # fmt: skip


# ---- speed-up ----------------------------------------------------------------------------------------------


@_style()
def speedup_forest(summary: pd.DataFrame, looks: Mapping[str, Look] | None = None) -> Figure:
    """Speed-up over uniform with its 95 % interval: a panel per pool, a group of rows per learner, a row per controller.

    A run that never reached the threshold counts with the last step, so its mean time is too short. Marks are hollow
    where that happened; an arrow says which way the true speed-up then lies: higher when only uniform was cut off,
    lower when only the controller was, unknown (no arrow) when both were.
    """
    columns = ["rule", "speedup", "speedup_low", "speedup_high", "censored", "verdict", "seeds", "threshold"]
    _require(summary, "summary", [*KEYS, *columns], one_row_per=KEYS)
    baseline = summary["verdict"] == "baseline"
    base_censored = dict(zip(_pairs(summary[baseline]), summary["censored"][baseline], strict=True))
    table = summary[~baseline]
    if table.empty:
        raise InputError("summary: must have a controller beside the baseline, got none")
    looks = _present(table, controller_looks(summary) if looks is None else looks)
    pools, learners = _names(table, "pool"), _names(table, "learner")

    height_of: dict[tuple[str, str], int] = {}  # (learner, controller) -> row; (learner, "") is its heading
    for learner in learners:
        present = set(table["controller"][table["learner"] == learner])
        for name in ["", *(name for name in looks if name in present)]:
            height_of[learner, name] = len(height_of)
    if len(height_of) > MAX_ROWS or len(pools) > MAX_PANELS:
        raise InputError(
            f"summary: must have at most {MAX_ROWS} rows of learners and controllers and {MAX_PANELS} pools to be "
            f"readable, got {len(height_of)} and {len(pools)}"
        )

    width = max(PAGE_WIDTH if len(pools) > 1 else 5.0, 1.5 + 1.4 * len(pools))
    figure = _figure(width, 1.5 + 0.165 * len(height_of))
    axes = figure.subplots(1, len(pools), sharex=True, sharey=True, squeeze=False)[0]
    panel = dict(zip(pools, axes, strict=True))
    limits = _log2_limits(table[["speedup", "speedup_low", "speedup_high"]].to_numpy(dtype=float))
    marks: set[int | None] = set()
    for row in table.to_dict("records"):
        ax, look = panel[row["pool"]], looks[row["controller"]]
        y = height_of[row["learner"], row["controller"]]
        value = float(row["speedup"])
        if not (np.isfinite(value) and value > 0):
            _not_a_number(ax, 1.0, y, value)
            continue
        cut, base_cut = row["censored"] > 0, base_censored.get((row["pool"], row["learner"]), 0) > 0
        direction = int(base_cut) - int(cut) if cut or base_cut else None
        marks.add(direction)
        ends = np.clip([row["speedup_low"], row["speedup_high"]], *limits)  # NaN stays NaN: no whisker
        ax.plot(ends, [y, y], color=look.color, linewidth=1.2, solid_capstyle="butt", label=f"whisker {row['controller']}")
        if direction:  # at the whisker's end, or at the point when there is no whisker
            tip = np.nan_to_num(ends[(direction + 1) // 2], nan=value)
            ax.plot([tip], [y], marker=_arrow(direction), color=look.color, markersize=5, markeredgewidth=0, clip_on=False)
        ax.plot(
            [value], [y], label=row["controller"], linestyle="none", marker=look.marker, markersize=4.5,
            markeredgecolor=look.color, markerfacecolor=look.color if direction is None else "white",
        )  # fmt: skip

    label = _shorten(looks, 26)
    heading = _shorten(learners, 30)
    axes[0].set_yticks(
        list(height_of.values()), [label[name] if name else heading[learner] for learner, name in height_of]
    )
    for text, (_, name) in zip(axes[0].get_yticklabels(), height_of, strict=True):
        text.set_fontweight("normal" if name else "bold")
    axes[0].set_ylim(len(height_of) - 0.4, -0.6)
    ticks = _log2_ticks(*limits)
    for pool, ax in panel.items():
        ax.set_title(_shorten(pools, 24)[pool])
        ax.set_xscale("log", base=2)
        ax.set_xlim(limits)
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}"))
        ax.axvline(1.0, color="0.35", linewidth=0.8, zorder=1)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        for (_, name), y in height_of.items():
            if not name and y:
                ax.axhline(y - 0.5, color="0.8", linewidth=0.6)
    thresholds = table["threshold"].dropna().unique()
    reach = f"success {thresholds[0]:.3g}" if len(thresholds) == 1 else "the success threshold"
    figure.supxlabel(f"speed-up over uniform (×, ratio of mean steps to {reach}; log scale)")
    handles, texts = _forest_key(marks)
    title = f"point and 95 % bootstrap interval over {_count(table['seeds'], 'seed')}"
    _legend(figure, handles, texts, 2 if len(pools) > 1 else 1, title)
    return figure


def _arrow(direction: int) -> str:
    return ">" if direction > 0 else "<"


def _forest_key(marks: set[int | None]) -> tuple[list[Line2D], list[str]]:
    """Legend entries for the marks that occur: None = nothing censored, else the way the true speed-up lies."""
    text = {
        None: "every seed reached the threshold",
        0: "hollow: seeds of both never reached it",
        1: "hollow and arrow right: only seeds of uniform did not (true value higher)",
        -1: "hollow and arrow left: only seeds of the rule did not (true value lower)",
    }
    seen = [mark for mark in text if mark in marks]
    face = {None: "0.3"}
    dot = {"color": "0.3", "linestyle": "none", "markersize": 4.5}
    handles = [
        Line2D([], [], marker=_arrow(m) if m else "o", markerfacecolor=face.get(m, "white"), **dot)  # type: ignore[arg-type]
        for m in seen
    ]
    return handles, [text[m] for m in seen]


# ---- two swept parameters ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """How a summary column is shown: its name with unit, and the value that means "no effect", if it has one."""

    label: str
    centre: float | None = None
    log: bool = False


VALUES = {
    "speedup": Value("speed-up over uniform\n(×, ratio of mean steps to threshold)", 1.0, log=True),
    "auc": Value("held-out success, mean over training (IQM)"),
    "auc_gain": Value("gain over uniform in held-out success,\nmean over training", 0.0),
    "improvement": Value("probability of improvement over uniform", 0.5),
    "final": Value("held-out success after the last step"),
    "steps": Value("steps to threshold (restricted mean)"),
    "rollouts": Value("rollouts to threshold"),
    "p": Value("sign-flip p-value"),
    "p_holm": Value("sign-flip p-value, Holm-adjusted"),
    "silent_share": Value("share of groups without signal"),
    "coverage": Value("share of the pool seen"),
}
UNITS = {  # of a swept parameter, by its name after the dot; parameters without an entry have no unit
    "eta": "difficulty points",
    "start": "difficulty points",
    "end": "difficulty points",
    "target": "difficulty points",
    "beta": "success rate",
    "horizon": "steps",
    "kappa": "logits per update at p = 1/2",
    "forgetting": "share per update",
    "theta0": "logits",
    "length": "logits",
    "label_noise": "logits",
}


@_style()
def heat_map(summary: pd.DataFrame, x: str, y: str, value: str = "speedup", *, average: bool = False) -> Figure:
    """`value` over two columns of the summary: annotated cells where they form a grid, coloured points elsewhere.

    Rows without an x or a y (uniform, under "adarft.eta") are left out. Other columns that vary inside a cell are an
    error unless `average`: then a cell is the mean of its rows (geometric for ratios) and brackets hold their range.
    """
    _require(summary, "summary", [x, y, value])
    if x == y:
        raise InputError(f"y: must be another column than x, got {y!r} for both")
    if not pd.api.types.is_numeric_dtype(summary[value]):
        raise InputError(f"value: must be a numeric column of summary, got {value!r}")
    how = VALUES.get(value, Value(value))
    cells = _cells(summary, x, y, value, how.log, average)
    across, up = list(np.sort(cells[x].unique())), list(np.sort(cells[y].unique()))
    numeric = all(pd.api.types.is_numeric_dtype(cells[c]) for c in (x, y))
    is_grid = not numeric or len(cells) >= 0.5 * len(across) * len(up)
    norm = _norm(cells["value"].to_numpy(dtype=float), how)
    cmap = mpl.colormaps["cividis" if how.centre is None else "RdBu"].with_extremes(bad="0.9")

    annotate = is_grid and len(across) * len(up) <= 200
    cell_width, cell_height = (0.84, 0.42) if annotate else (0.2, 0.2)
    width, height = (cell_width * len(across) + 2.6, cell_height * len(up) + 1.3) if is_grid else (5.4, 4.0)
    figure = _figure(max(4.6, width), max(2.8, height))
    ax = figure.subplots()
    ax.grid(visible=False)
    if is_grid:
        image: Any = _grid(ax, cells, x, y, across, up, norm, cmap, annotate)
    else:
        image = _points(ax, cells, x, y, norm, cmap)
    ax.set_xlabel(_with_unit(x))
    ax.set_ylabel(_with_unit(y))
    bar = figure.colorbar(image, ax=ax, label=how.label)
    bar.outline.set_linewidth(0.6)
    if how.log:
        bar.ax.yaxis.set_major_locator(FixedLocator(_log2_ticks(float(norm.vmin or 1), float(norm.vmax or 1))))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
    figure.suptitle(_heat_map_note(cells, how, average, annotate, is_grid))
    return figure


def _cells(summary: pd.DataFrame, x: str, y: str, value: str, log: bool, average: bool) -> pd.DataFrame:
    """One row per (x, y): value, low, high, and rows = how many were averaged."""
    table = summary.dropna(subset=[x, y])
    if table.empty:
        raise InputError(f"summary: must have rows with both {x} and {y}, got none")
    groups = table.groupby([x, y], observed=True)
    if not average:
        if table.duplicated([x, y]).any():
            keys = [c for c in table.columns if (c in KEYS or "." in c) and c not in (x, y)]
            varying = [c for c in keys if groups[c].nunique(dropna=False).gt(1).any()]
            raise InputError(
                f"summary: must have one row per {x} and {y} (select rows, or pass average=True), "
                f"got several that differ in {', '.join(varying) or 'no key'}"
            )
        low, high = (table[f"{value}_{end}"] if f"{value}_{end}" in table else np.nan for end in ("low", "high"))
        return table[[x, y]].assign(value=table[value], low=low, high=high, rows=1).reset_index(drop=True)

    def mean(v: pd.Series[float]) -> float:
        a = v.to_numpy(dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.exp(np.log(a).mean()) if log else a.mean())  # one NaN makes the cell NaN

    return groups[value].agg(value=mean, low="min", high="max", rows="size").reset_index()


def _norm(values: np.ndarray[Any, np.dtype[np.float64]], how: Value) -> Normalize:
    """Symmetric about the value that means no effect, in ratio or in difference; else the data's range."""
    v = values[np.isfinite(values) & ((values > 0) | (not how.log))]
    if how.centre is None:
        return Normalize(v.min(), v.max()) if v.size else Normalize(0, 1)
    if how.log:
        half = max(np.abs(np.log2(v / how.centre)).max(initial=0.0), 0.05)
        return LogNorm(how.centre * 2.0**-half, how.centre * 2.0**half)
    half = max(np.abs(v - how.centre).max(initial=0.0), 1e-3)
    return Normalize(how.centre - half, how.centre + half)


def _grid(
    ax: Axes, cells: pd.DataFrame, x: str, y: str, across: list[Any], up: list[Any], norm: Normalize, cmap: Any,
    annotate: bool,
) -> Any:  # fmt: skip
    filled = np.full((len(up), len(across)), np.nan)
    for cell in cells.to_dict("records"):
        i, j, value = up.index(cell[y]), across.index(cell[x]), float(cell["value"])
        shown = np.isfinite(value) and (value > 0 or not isinstance(norm, LogNorm))
        filled[i, j] = value if shown else np.nan
        if not shown:
            _not_a_number(ax, j, i, value, box=False)
        elif annotate:
            text = f"{value:.3g}"
            if np.isfinite(cell["low"]) and np.isfinite(cell["high"]):
                text += f"\n[{cell['low']:.3g}, {cell['high']:.3g}]"
            red, green, blue, _ = cmap(norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            ax.text(j, i, text, ha="center", va="center", color="white" if dark else "black", linespacing=1.1)
    image = ax.pcolormesh(
        np.arange(len(across) + 1) - 0.5, np.arange(len(up) + 1) - 0.5, np.ma.masked_invalid(filled),
        norm=norm, cmap=cmap, edgecolors="white", linewidth=1.0,
    )  # fmt: skip
    every = 1 if annotate else max(1, -(-max(len(across), len(up)) // 12))
    names_x, names_y = _shorten(_ticks(across), 12, lines=3), _shorten(_ticks(up), 22)
    ax.set_xticks(range(0, len(across), every), [names_x[t] for t in _ticks(across)[::every]])
    ax.set_yticks(range(0, len(up), every), [names_y[t] for t in _ticks(up)[::every]])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def _points(ax: Axes, cells: pd.DataFrame, x: str, y: str, norm: Normalize, cmap: Any) -> Any:
    """A scattered design: nothing is known between the points, so nothing is drawn there."""
    value = cells["value"].to_numpy(dtype=float)
    shown = np.isfinite(value) & ((value > 0) | (not isinstance(norm, LogNorm)))
    at_x, at_y = cells[x].to_numpy(dtype=float), cells[y].to_numpy(dtype=float)
    image = ax.scatter(
        at_x[shown], at_y[shown], c=value[shown], norm=norm, cmap=cmap, s=42, edgecolors="0.3", linewidths=0.5
    )
    ax.plot(at_x[~shown], at_y[~shown], linestyle="none", marker="x", color="0.5", markersize=5, label="n/a")
    if not shown.all():
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, handletextpad=0.2)
    if _log_like(at_x):
        ax.set_xscale("log")
    if _log_like(at_y):
        ax.set_yscale("log")
    return image


def _log_like(v: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether a design spread its points over orders of magnitude: the median is nearer the geometric middle."""
    low, high = v.min(), v.max()
    if low <= 0 or high < 10 * low:
        return False
    middle = np.log(np.median(v))
    return bool(abs(middle - np.log(low * high) / 2) < abs(middle - np.log((low + high) / 2)))


def _heat_map_note(cells: pd.DataFrame, how: Value, average: bool, annotate: bool, is_grid: bool) -> str:
    if average:
        mean = "geometric mean" if how.log else "mean"
        return f"{mean} over {_count(cells['rows'], 'summary row')}" + (" [their range]" if annotate else "")
    if annotate and np.isfinite(cells["low"].to_numpy(dtype=float)).any():
        return "value [95 % interval]"
    return f"{len(cells)} design points" if not is_grid else ""


def _ticks(values: Sequence[Any]) -> list[str]:
    return [v if isinstance(v, str) else f"{v:.4g}" for v in values]


def _with_unit(column: str) -> str:
    unit = UNITS.get(column.rsplit(".", 1)[-1]) if "." in column else None
    return f"{column} ({unit})" if unit else column


# ---- files -------------------------------------------------------------------------------------------------


def save(figure: Figure, stem: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write stem.pdf and stem.png (300 dpi). The same figure gives the same bytes; a failure leaves no half file."""
    stem = Path(stem)
    paths = (stem.with_name(stem.name + ".pdf"), stem.with_name(stem.name + ".png"))
    stem.parent.mkdir(parents=True, exist_ok=True)
    with _style(), tempfile.TemporaryDirectory(prefix=f".{stem.name}-", dir=stem.parent) as folder:
        drafts = (Path(folder, "figure.pdf"), Path(folder, "figure.png"))
        figure.savefig(drafts[0], metadata={"CreationDate": None, "Producer": None, "Creator": None})
        figure.savefig(drafts[1], dpi=300, metadata={"Software": None})
        for draft, path in zip(drafts, paths, strict=True):  # same file system, so each replacement is atomic
            os.replace(draft, path)
    return paths


# ---- shared pieces -----------------------------------------------------------------------------------------


def _require(
    table: pd.DataFrame, name: str, columns: Sequence[str], one_row_per: Sequence[str] | None = None
) -> None:
    for column in columns:
        if column not in table.columns:
            raise InputError(f"{name}: must have the column {column!r}, got {', '.join(map(str, table.columns))}")
    if table.empty:
        raise InputError(f"{name}: must have rows, got none")
    if one_row_per and table.duplicated(list(one_row_per)).any():
        twice = table[table.duplicated(list(one_row_per))].iloc[0]
        got = ", ".join(f"{c}={twice[c]}" for c in one_row_per)
        raise InputError(f"{name}: must have one row per {', '.join(one_row_per)}, got several with {got}")


def _present(table: pd.DataFrame, looks: Mapping[str, Look] | None) -> dict[str, Look]:
    """The looks of the controllers in this table, in legend order."""
    looks = controller_looks(table) if looks is None else looks
    present = _names(table, "controller")
    for name in present:
        if name not in looks:
            raise InputError(f"looks: must have every controller of the table, got none for {name!r}")
    return {name: look for name, look in looks.items() if name in present}


def _names(table: pd.DataFrame, column: str) -> list[str]:
    """Distinct values in order of appearance: the order in which the researcher listed them."""
    return list(table[column].unique())


def _pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table["pool"], table["learner"], strict=True))


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _key(look: Look) -> Line2D:
    return Line2D(
        [], [], color=look.color, linestyle=look.dashes, linewidth=1.2, marker=look.marker, markersize=4, markeredgewidth=0
    )


def _legend(figure: Figure, handles: Sequence[Line2D], labels: Sequence[str], columns: int, title: str) -> None:
    figure.legend(
        handles, labels, title=title, loc="outside lower center", ncols=columns, handlelength=3.2, columnspacing=1.4,
        borderaxespad=0.2, labelspacing=0.35,
    )  # fmt: skip


def _legend_columns(looks: Mapping[str, Look], width: float) -> int:
    longest = max(map(len, _shorten(looks, 34).values()))
    return max(1, min(len(looks), int(width * 72 / (4.9 * longest + 45))))  # 4.9 pt a letter, 45 pt for the line


def _not_a_number(ax: Axes, x: float, y: float, value: float, box: bool = True) -> None:
    text = "n/a" if np.isnan(value) else "∞" if value > 0 else f"{value:g}"
    background = {"facecolor": "white", "edgecolor": "none", "pad": 0.8} if box else None
    ax.text(x, y, text, ha="center", va="center", color="0.35", bbox=background)


def _count(numbers: pd.Series[int], noun: str) -> str:
    """ "8 seeds", or "5 to 8 seeds" where lines or cells have different numbers of them."""
    low, high = int(numbers.min()), int(numbers.max())
    return (f"{low}" if low == high else f"{low} to {high}") + f" {noun}{'' if high == 1 else 's'}"


def _shorten(labels: Sequence[str] | Mapping[str, Any], width: int, lines: int = 1) -> dict[str, str]:
    """Label -> at most `lines` lines of about `width` letters, the middle cut out; different labels stay different."""
    short: dict[str, str] = {}
    for label in labels:
        text, room = label, width * lines
        if len(text) > room:
            text = f"{text[: room - room // 3 - 1]}…{text[-(room // 3) :]}"
        text = _wrap(text, width, lines)
        twins = sum(text == other.split(" #")[0] for other in short.values())
        short[label] = f"{text} #{twins + 1}" if twins else text
    return short


def _wrap(text: str, width: int, lines: int) -> str:
    """Break at spaces or hyphens nearest the width; a word that has none is cut."""
    out: list[str] = []
    while len(text) > width and len(out) < lines - 1:
        at = max(text.rfind(" ", 0, width + 1), text.rfind("-", 0, width) + 1)
        at = at if at > 0 else width
        out.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return "\n".join([*out, text])


def _log2_limits(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """Limits of a log axis around 1 and all finite positive values, with a margin."""
    logs = np.log2(values[np.isfinite(values) & (values > 0)])
    low, high = min(logs.min(initial=0.0), -0.15), max(logs.max(initial=0.0), 0.15)
    margin = 0.06 * (high - low)
    return float(2 ** (low - margin)), float(2 ** (high + margin))


def _log2_ticks(low: float, high: float) -> list[float]:
    """At most five powers of 2, or of a root of 2 where the range is less than two doublings; 1 is always one."""
    first, last = np.log2(low), np.log2(high)
    for step in (0.125, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16):
        exponents = step * np.arange(np.ceil(first / step - 1e-9), np.floor(last / step + 1e-9) + 1)
        if len(exponents) <= 5:
            break
    return [float(e) for e in 2.0**exponents]
