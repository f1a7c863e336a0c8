"""Sweep tables -> figures that can go into a paper as they are.

Every figure gives a rule the same look (`LOOKS`: Okabe-Ito colour, line style, marker), prints no text below
8 pt, and says on itself what its bands and whiskers are. Only matplotlib's object interface is used, so there
is no pyplot state; the caller's rcParams neither change nor steer a saved figure. A figure is laid out when it is
made: `figure.set_layout_engine("constrained")` makes room for what is added later.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray
from scipy.special import stdtrit

from workbench.errors import InputError
from workbench.study.store import write_whole

PAGE_WIDTH, PAGE_HEIGHT = 7.2, 9.4  # inches of text on a page
MAX_PANELS, MAX_LINES, MAX_ROWS = 60, 40, 160  # nobody can read a figure with more
KEYS = ["pool", "learner", "controller"]

STYLE: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters, so the same bytes, everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.labelsize": 8,
    "figure.titlesize": 8,
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
    "pdf.fonttype": 42,  # TrueType: editable, and accepted where Type 3 is refused
}


@contextmanager
def _style() -> Iterator[None]:
    """matplotlib's defaults plus STYLE, whatever the caller has set; the caller's settings come back."""
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


LOOKS = {  # colours of Okabe & Ito (2008) without their yellow, which vanishes on white, and of Tol's muted scheme
    "uniform": Look("#000000", (0, (4, 1.5)), "o"),
    "filter": Look("#E69F00", (0, (6, 1.5, 1, 1.5)), "s"),
    "band": Look("#56B4E9", (0, (2, 1)), "^"),
    "linear": Look("#009E73", (0, (8, 2)), "v"),
    "sorted": Look("#CC79A7", (0, (6, 1.2, 1, 1.2, 1, 1.2)), "D"),
    "frozen": Look("#0072B2", (0, (1, 1)), "p"),
    "adarft": Look("#D55E00", SOLID, "*"),
    "adarft-gaussian": Look("#D55E00", (0, (2, 1)), "X"),
    "adarft-covering": Look("#D55E00", (0, (6, 1.5, 1, 1.5)), "h"),
    "staged": Look("#CC79A7", SOLID, "s"),
    "e2h": Look("#009E73", (0, (1, 1)), "d"),
    "rlve": Look("#E69F00", SOLID, "v"),
    "sec": Look("#332288", SOLID, "o"),
    "dump": Look("#332288", (0, (2, 1)), "s"),
    "tscl": Look("#332288", (0, (8, 2)), "^"),
    "progress": Look("#0072B2", SOLID, "H"),
    "prioritized": Look("#117733", SOLID, "D"),
    "mopps": Look("#117733", (0, (4, 1.5)), "p"),
    "bots": Look("#117733", (0, (3, 1, 1, 1)), "8"),
    "sfl": Look("#CC6677", SOLID, "^"),
    "procurl": Look("#CC6677", (0, (4, 1.5)), "d"),
    "plr": Look("#CC6677", (0, (1, 1)), "o"),
    "greso": Look("#999933", SOLID, "P"),
    "cures": Look("#999933", (0, (4, 1.5)), "*"),
    "mastered": Look("#999933", (0, (2, 1)), "v"),
    "alp-gmm": Look("#44AA99", SOLID, "p"),
    "dots": Look("#44AA99", (0, (1, 1)), "s"),
    "pcl": Look("#44AA99", (0, (4, 1.5)), "X"),
    "dapo": Look("#882255", (0, (3, 1, 1, 1)), "P"),
    "balanced": Look("#882255", (0, (6, 1.5, 1, 1.5)), "H"),
    "vcrl": Look("#882255", (0, (8, 2)), "8"),
    "speed": Look("#882255", (0, (1, 1)), "D"),
}
COLORS = {rule: look.color for rule, look in LOOKS.items()}

# RULE+GATE is drawn as the rule, its dashes those of the gates in turn; each starts with the longest of all strokes.
GATE_DASHES = {"dapo": (11.0, 1.0), "balanced": (11.0, 1.0, 3.0, 1.0), "vcrl": (11.0, 1.0, 1.0, 1.0),
               "speed": (11.0, 1.0, 1.0, 1.0, 1.0, 1.0)}  # fmt: skip

# Rules without a row above: those of Tol's muted colours that stay clear of Okabe-Ito, in dashes of their own or solid.
OTHER_COLORS = ("#332288", "#661100", "#999933", "#CC6677", "#117733", "#44AA99")
OTHER_DASHES: tuple[Dashes, ...] = (SOLID, (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
OTHER_MARKERS = ("d", "h", "X", "8", "H")


def rule_look(rule: str) -> Look:
    """The look of RULE, GATE or RULE+GATE, from its name alone."""
    if rule in LOOKS:
        return LOOKS[rule]
    if dashes := _gate_dashes(rule):
        return replace(rule_look(rule.split("+")[0]), dashes=(0, dashes))
    digest = hashlib.sha256(rule.encode()).digest()  # hash() differs from process to process
    return Look(
        OTHER_COLORS[digest[0] % len(OTHER_COLORS)],
        OTHER_DASHES[digest[1] % len(OTHER_DASHES)],
        OTHER_MARKERS[digest[2] % len(OTHER_MARKERS)],
    )


def _gate_dashes(rule: str) -> tuple[float, ...]:
    """The dashes of the gates behind RULE+GATE; () if there is none, or one without a row."""
    gates = rule.split("+")[1:]
    return tuple(length for gate in gates for length in GATE_DASHES[gate]) if {*gates} <= {*GATE_DASHES} else ()


def controller_looks(table: pd.DataFrame) -> dict[str, Look]:
    """Controller label -> look, in legend order: as in LOOKS, each before itself with gates, then others by name.

    A rule in one form has the rule's look. Variants keep its hue and marker, run by number from light to dark and
    take turns in dashes; one without settings ("adarft" beside "adarft eta=5") keeps the rule's look. Lightness
    counts the variants in this table: where tables show different ones, pass one table's looks to each figure.
    """
    _require(table, "table", ["controller", "rule"])
    pairs = table[["controller", "rule"]].drop_duplicates()
    twice = pairs["controller"][pairs["controller"].duplicated()]
    if len(twice):
        raise InputError(f"controller: must belong to one rule, got {twice.iloc[0]!r} under several")
    known = list(LOOKS)
    looks: dict[str, Look] = {}

    def place(rule: str) -> tuple[int, str]:
        first = rule.split("+")[0]
        return known.index(first) if first in LOOKS else len(known), rule

    for rule in sorted(pairs["rule"].unique(), key=place):
        labels = sorted(pairs["controller"][pairs["rule"] == rule], key=_by_number)
        look = rule_look(rule)
        variants = [label for label in labels if label != rule] if len(labels) > 1 else []
        looks |= {label: look for label in labels if label not in variants}
        for i, shade in enumerate(np.linspace(-0.45, 0.55, len(variants))):
            dashes = OTHER_DASHES[i % len(OTHER_DASHES)][1] + _gate_dashes(rule)
            looks[variants[i]] = replace(look, color=_shade(look.color, shade), dashes=(0, dashes))
    return looks


def _shade(color: str, shade: float) -> str:
    """Mix with white (shade < 0) or black (shade > 0); the hue stays."""
    end = 1.0 if shade < 0 else 0.0
    return to_hex(tuple((1 - abs(shade)) * np.array(to_rgb(color)) + abs(shade) * end))


def _by_number(label: str) -> list[tuple[float, str]]:
    """Sort key with eta=5 before eta=50, and 1e-3 before 0.02."""
    parts = re.split(r"(-?\d+\.?\d*(?:e[-+]?\d+)?)", label)  # text, number, text, number, ...
    return [(float(part), "") if i % 2 else (0.0, part) for i, part in enumerate(parts)]


# ---- learning curves and target difficulty -----------------------------------------------------------------


def learning_curves(curves: pd.DataFrame, looks: Mapping[str, Look] | None = None, over: str = "seed") -> Figure:
    """Held-out success over training: a row of panels per learner, a column per pool, a line per rule.

    over: what the column `seed` counts, where that is more than luck.
    """
    return _panels(curves, "success", "held-out success (mean over difficulty deciles)", (0, 1), looks, over)


def target_trajectories(curves: pd.DataFrame, looks: Mapping[str, Look] | None = None) -> Figure:
    """Target difficulty over training, panels as in learning_curves, for the rules that have a target."""
    _require(curves, "curves", ["controller", "rule", "target"])
    has_target = np.isfinite(curves["target"]).groupby(curves["controller"], observed=True).transform("any")
    if not has_target.any():
        raise InputError("curves: must have a controller with a finite target, got none")
    return _panels(curves[has_target], "target", "target difficulty (0 easiest, 100 hardest)", (0, 100), looks)


def mean_and_band(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over seeds and its 95 % t interval, mean +- t(.975, n - 1) sd / sqrt(n), per learner, ..., step.

    Columns: pool, learner, controller, step, mean, low, high, seeds (n). One seed has no interval: NaN.
    """
    _require(curves, "curves", [*KEYS, "seed", "step", column], one_row_per=[*KEYS, "seed", "step"])
    band = curves.groupby([*KEYS, "step"], observed=True)[column].agg(["mean", "sem", "count"]).reset_index()
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

    lines = dict(list(band.groupby(KEYS, observed=True)))
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
    axes[0, 0].set_ylim(max(low, domain[0] - margin), min(high, domain[1] + margin))  # bands of few seeds overshoot
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
    every = max(1, len(step) // 3)  # few markers, and those of different lines at different steps
    ax.plot(
        step, mean, label=name, color=look.color, linestyle=look.dashes, linewidth=1.2, marker=look.marker,
        markersize=_size(look, 3.2), markeredgewidth=0, markevery=(int(shift * every), every),
    )  # fmt: skip


# ---- speed-up ----------------------------------------------------------------------------------------------

FOREST_KEY = {  # where the true speed-up lies when runs were cut off before the threshold: None = none were
    None: "all seeds reached the threshold",
    1: "some seeds of uniform fell short: a lower bound",
    -1: "some seeds of the rule fell short: an upper bound",
    0: "some seeds of both fell short",
}


@_style()
def speedup_forest(summary: pd.DataFrame, looks: Mapping[str, Look] | None = None) -> Figure:
    """Speed-up over uniform with its 95 % interval: a panel per pool, rows of controllers grouped by learner.

    A run that never reached the threshold counts with its last step, so the mean time comes out too short.
    Marks are hollow where that happened, and an arrow points to where the true speed-up lies: up when it
    happened to uniform, down when it happened to the controller, unknown (no arrow) when to both.
    """
    columns = ["rule", "speedup", "speedup_low", "speedup_high", "censored", "verdict", "seeds", "threshold"]
    _require(summary, "summary", [*KEYS, *columns], one_row_per=KEYS)
    baseline = summary["verdict"] == "baseline"
    base, table = summary[baseline], summary[~baseline]
    if table.empty:
        raise InputError("summary: must have a controller beside the baseline, got none")
    base_censored = dict(zip(zip(base["pool"], base["learner"], strict=True), base["censored"], strict=True))
    looks = _present(table, controller_looks(summary) if looks is None else looks)
    pools, learners = list(table["pool"].unique()), list(table["learner"].unique())
    rows: list[tuple[str, str]] = []  # (learner, controller) from the top; (learner, "") is its heading
    for learner in learners:
        present = set(table["controller"][table["learner"] == learner])
        rows += [(learner, ""), *((learner, name) for name in looks if name in present)]
    _check_readable("summary", "rows of learners and their controllers", len(rows), MAX_ROWS)
    _check_readable("summary", "pools", len(pools), MAX_PANELS)

    width = max(PAGE_WIDTH if len(pools) > 1 else 5.0, 1.6 + 1.4 * len(pools))
    figure = _figure(width, 1.35 + 0.17 * len(rows))
    axes = figure.subplots(1, len(pools), sharex=True, sharey=True, squeeze=False)[0]
    limits = _log_limits(table[["speedup", "speedup_low", "speedup_high"]].to_numpy(dtype=float))
    pool_label, heading, label = _shorten(pools, 24), _shorten(learners, 26), _shorten(looks, 26)
    for pool, ax in zip(pools, axes, strict=True):
        ax.set_title(pool_label[pool])
        ax.set_xscale("log", base=2)
        ax.set_xlim(limits)
        _log_ticks(ax.xaxis, *limits)
        ax.axvline(1.0, color="0.4", linewidth=0.8, zorder=1)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        for y, (_, name) in enumerate(rows):  # a guide for the eye in each row, a rule above each learner
            if name or y:
                at, color = (y, "0.93") if name else (y - 0.5, "0.7")
                ax.axhline(at, color=color, linewidth=0.5, zorder=0.5)
    axes[0].set_yticks(range(len(rows)), [label[name] if name else heading[learner] for learner, name in rows])
    for text, (_, name) in zip(axes[0].get_yticklabels(), rows, strict=True):
        text.set_color("0.35" if name else "black")
    axes[0].set_ylim(len(rows) - 0.4, -0.6)

    marks: set[int | None] = set()
    for row in table.to_dict("records"):
        ax, y = axes[pools.index(row["pool"])], rows.index((row["learner"], row["controller"]))
        look, value = looks[row["controller"]], float(row["speedup"])
        if not (np.isfinite(value) and value > 0):
            _no_number(ax, 1.0, y, value)
            continue
        cut, base_cut = row["censored"] > 0, base_censored.get((row["pool"], row["learner"]), 0) > 0
        bound = int(base_cut) - int(cut) if cut or base_cut else None
        marks.add(bound)
        ends = np.clip([row["speedup_low"], row["speedup_high"]], *limits)  # NaN stays NaN: no whisker
        ax.plot(ends, [y, y], color=look.color, linewidth=1.2, solid_capstyle="butt")
        if bound:  # beyond the whisker, and clear of the point where there is hardly a whisker
            tip = float(np.nan_to_num(ends[(bound + 1) // 2], nan=value))
            beyond = offset_copy(ax.transData, fig=figure, x=5.5 * bound, units="points")
            arrow = {"marker": _arrow(bound), "markersize": 5, "markeredgewidth": 0}
            ax.plot(tip, y, **arrow, color=look.color, transform=beyond, clip_on=False)
        ax.plot(
            value, y, label=row["controller"], linestyle="none", marker=look.marker,
            markersize=_size(look, 4.5), markeredgecolor=look.color,
            markerfacecolor=look.color if bound is None else "white",
        )  # fmt: skip

    thresholds = table["threshold"].dropna().unique()
    reach = f"success {thresholds[0]:.3g}" if len(thresholds) == 1 else "the success threshold"
    figure.supxlabel(f"speed-up over uniform (×, ratio of mean steps to {reach}; log scale)")
    seen = [mark for mark in FOREST_KEY if mark in marks]
    title = f"point and 95 % bootstrap interval over {_count(table['seeds'], 'seed')}"
    columns_of_key = 2 if len(pools) > 1 and len(seen) > 1 else 1
    _legend(figure, [_mark_key(m) for m in seen], [FOREST_KEY[m] for m in seen], columns_of_key, title)
    return _laid_out(figure)


def _arrow(bound: int) -> str:
    return ">" if bound > 0 else "<"


def _mark_key(bound: int | None) -> tuple[Line2D, ...]:
    face = "0.3" if bound is None else "white"
    point = Line2D([], [], linestyle="none", marker="o", markersize=4.5, color="0.3", markerfacecolor=face)
    if not bound:
        return (point,)
    arrow = Line2D([], [], linestyle="none", marker=_arrow(bound), markersize=5, color="0.3", markeredgewidth=0)
    return (point, arrow) if bound > 0 else (arrow, point)


# ---- two swept parameters ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """How a summary column is shown: name with unit, and the value that means "no effect", if it has one."""

    label: str
    centre: float | None = None
    log: bool = False

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
UNITS = {  # of a swept parameter, by its name after the dot; those without an entry have no unit
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
def heat_map(summary: pd.DataFrame, x: str, y: str, value: str = "speedup", average: bool = False) -> Figure:
    """`value` over two columns of summary: annotated cells where they form a grid, coloured points elsewhere.

    Rows without an x or a y (uniform, under "adarft.eta") are left out. Several rows in one cell are an error
    unless `average`: then a cell is the mean of its rows (geometric for ratios) with their range, and one NaN
    makes the cell NaN.
    """
    _require(summary, "summary", [x, y, value])
    if x == y:
        raise InputError(f"y: must be another column than x, got {y!r} for both")
    if not _is_numeric(summary[value]):
        raise InputError(f"value: must be a numeric column of summary, got {value!r}")
    how = VALUES.get(value, Value(value))
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
        up.reverse()  # names read from the top, numbers rise
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
        keys = [c for c in table.columns if (c in KEYS or "." in c) and c not in (x, y)]
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
        text = f"{value:z.{decimals}f}"  # z: no minus before 0.00
        if np.isfinite(low) and np.isfinite(high):
            text += f"\n[{low:z.{decimals}f}{between}{high:z.{decimals}f}]"
        texts.append(text.replace("-", "\N{MINUS SIGN}"))
    return texts


def _points(cells: pd.DataFrame, x: str, y: str, how: Value, entry: str, interval: str) -> tuple[Figure, Any, str]:
    """A scattered design: nothing is known between the points, so nothing is drawn there."""
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
            axis.set_major_formatter(FuncFormatter(lambda a, _: f"{a:g}"))  # 10^2 has too small a 2
            axis.set_minor_formatter(NullFormatter())
    note = f"{len(cells)} design points" + (f", each the {entry}" if entry != "value" else "")
    return figure, image, note + (f"\nblack edge: {interval} excludes {how.centre:g}" if clear.any() else "")


def _log_like(v: NDArray[np.float64]) -> bool:
    """Whether a design spread its points over magnitudes: the median is nearer to the geometric middle."""
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
    unit = UNITS.get(column.rsplit(".", 1)[-1]) if "." in column else None
    return f"{column}{between}({unit})" if unit else column


# ---- files -------------------------------------------------------------------------------------------------


def save(figure: Figure, stem: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write stem.pdf and stem.png (300 dpi): same figure, same bytes; an error leaves no half file."""
    stem = Path(stem)
    paths = (stem.with_name(stem.name + ".pdf"), stem.with_name(stem.name + ".png"))
    undated: dict[str, Any] = {"metadata": {"CreationDate": None, "Producer": None, "Creator": None}}
    crisp: dict[str, Any] = {"dpi": 300, "metadata": {"Software": None}, "pil_kwargs": {"compress_level": 3}}
    drawn = []
    with _style():
        for path, how in zip(paths, (undated, crisp), strict=True):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=path.suffix[1:], **how)
            drawn.append(buffer.getvalue())
    for path, data in zip(paths, drawn, strict=True):
        write_whole(path, data)
    return paths


# ---- shared pieces -----------------------------------------------------------------------------------------

LETTER = 0.063  # inches an 8 pt letter takes, on average


def _require(table: pd.DataFrame, name: str, columns: Sequence[str], one_row_per: Sequence[str] | None = None) -> None:
    for column in columns:
        if column not in table.columns:
            got = ", ".join(map(str, table.columns))
            raise InputError(f"{name}: must have the column {column!r}, got {got}")
    if table.empty:
        raise InputError(f"{name}: must have rows, got none")
    if one_row_per and table.duplicated(list(one_row_per)).any():
        twice = table[table.duplicated(list(one_row_per))].iloc[0]
        got = ", ".join(f"{c}={twice[c]}" for c in one_row_per)
        raise InputError(f"{name}: must have one row per {', '.join(one_row_per)}, got several with {got}")


def _check_readable(table: str, things: str, count: int, most: int) -> None:
    if count > most:
        raise InputError(f"{table}: must have at most {most} {things} to be readable, got {count}")


def _present(table: pd.DataFrame, looks: Mapping[str, Look] | None) -> dict[str, Look]:
    """The looks of the controllers in this table, in legend order."""
    looks = controller_looks(table) if looks is None else looks
    present = list(table["controller"].unique())
    for name in present:
        if name not in looks:
            raise InputError(f"looks: must have every controller of the table, got none for {name!r}")
    return {name: look for name, look in looks.items() if name in present}


class Picture(Figure):
    """A matplotlib figure that a notebook shows when it is the last value of a cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with _style():
            self.savefig(buffer, format="png")
        return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    figure = Picture(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _laid_out(figure: Figure) -> Figure:
    """Lay out once, under our style, and keep that: each further draw would move things by a hair."""
    for text in figure.findobj(Text):
        text.set_fontfeatures(["-liga"])  # a ligature or two would cost the PDF a second subset of the font
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _size(look: Look, points: float) -> float:
    return 1.5 * points if look.marker == "*" else points  # a star fills less of its square


def _line_key(look: Look) -> Line2D:
    return Line2D(
        [], [], color=look.color, linestyle=look.dashes, linewidth=1.2, marker=look.marker,
        markersize=_size(look, 4), markeredgewidth=0,
    )  # fmt: skip


def _legend(figure: Figure, handles: Sequence[Any], labels: list[str], columns: int, title: str) -> None:
    """Above the panels: matplotlib would print a legend below them over the axis label."""
    figure.legend(
        handles, labels, title=title, loc="outside upper center", ncols=columns, handlelength=3.2,
        columnspacing=1.4, borderaxespad=0.1, labelspacing=0.35,
        handler_map={tuple: HandlerTuple(ndivide=None)},
    )  # fmt: skip


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """As many as fit, then spread evenly over the lines they need."""
    most = max(1, int(width / (LETTER * max(map(len, labels)) + 0.65)))  # 0.65 in for line and gap
    return -(-len(labels) // -(-len(labels) // most))


def _no_number(ax: Axes, x: float, y: float, value: float, box: bool = True) -> None:
    text = "n/a" if np.isnan(value) else "∞" if value > 0 else f"{value:g}"
    background = {"facecolor": "white", "edgecolor": "none", "pad": 0.8} if box else None
    ax.text(x, y, text, ha="center", va="center", color="0.35", bbox=background)


def _count(numbers: pd.Series[int], noun: str) -> str:
    """ "8 seeds", or "5 to 8 seeds" where not all have as many."""
    low, high = int(numbers.min()), int(numbers.max())
    return (f"{low}" if low == high else f"{low} to {high}") + f" {noun}{'' if high == 1 else 's'}"


def _width(texts: Sequence[str]) -> float:
    """Inches a cell needs for the longest line."""
    return 0.12 + LETTER * max(len(line) for text in texts for line in text.split("\n"))


def _shorten(labels: Collection[str], width: int, lines: int = 1) -> dict[str, str]:
    """Label -> at most `lines` lines of about `width` letters; different labels stay different.

    A label that is too long loses the settings shared by all that begin with the same word; then its middle.
    """
    cut: dict[str, str] = {}
    for label in labels:
        text, room = label, width * lines
        if len(text) > room:
            first, *settings = label.split()
            kin = [set(other.split()[1:]) for other in labels if other.split()[:1] == [first]]
            own = [word for word in settings if word not in set.intersection(*kin)]
            text = " ".join([first, *own, "…"]) if own and len(own) < len(settings) else label
        if len(text) > room:
            text = f"{text[: room - room // 3 - 1]}…{text[-(room // 3) :]}"
        twins = sum(text == other.partition(" #")[0] for other in cut.values())
        cut[label] = f"{text} #{twins + 1}" if twins else text
    return {label: _wrap(text, width, lines) for label, text in cut.items()}


def _wrap(text: str, width: int, lines: int) -> str:
    """Break at the last space or hyphen that fits; cut a word that has none."""
    out: list[str] = []
    while len(text) > width and len(out) < lines - 1:
        at = max(text.rfind(" ", 0, width + 1), text.rfind("-", 0, width) + 1)
        at = at if at > 0 else width
        out.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return "\n".join([*out, text])


def _log_limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Limits of a log axis around 1 and all finite positive values, with a margin."""
    logs = np.log2(values[np.isfinite(values) & (values > 0)])
    low, high = logs.min(initial=-0.15), logs.max(initial=0.15)
    margin = 0.08 * (high - low)
    return float(2 ** (low - margin)), float(2 ** (high + margin))


def _log_ticks(axis: Any, low: float, high: float) -> None:
    """At most five ticks at powers of 2 and, in narrow ranges, round numbers between them."""
    for parts, step in ((8, 1), (4, 1), (2, 1), (1, 1), (1, 2), (1, 3), (1, 4), (1, 8), (1, 16), (1, 64)):
        powers = 2.0 ** (step * np.arange(-1024 // step + 1, 1023 // step))
        ticks = np.outer(powers, 1 + np.arange(parts) / parts).ravel()
        ticks = ticks[(ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))]
        if len(ticks) <= 5:
            break
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda a, _: f"{a:.3g}"))
