"""The page of a figure: size, legend, labels, files."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from workbench.controllers.rule import Look
from workbench.errors import InputError, check_kind, shown
from workbench.figures.looks import _style, controller_looks
from workbench.files import check_path, write_whole

PAGE_WIDTH, PAGE_HEIGHT = 7.2, 9.4  # inches of text on a page
MAX_PANELS, MAX_LINES, MAX_ROWS = 60, 40, 160  # more cannot be read in one figure


def save(figure: Figure, stem: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write stem.pdf and stem.png (300 dpi) and return their paths. Equal figures give equal bytes.

    An error leaves the files as they were: each is written whole or not at all.
    """
    check_kind("figure", figure, Figure, "a Figure such as learning_curves(curves) gives")
    stem = check_path("stem", stem)
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


LETTER = 0.063  # mean width of an 8 pt letter, inches


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


EMBED: Any = {"pdf.fonttype": 42, "ps.fonttype": 42}  # TrueType, whatever the caller has set


class Picture(Figure):
    """A matplotlib figure that a notebook shows when it is the last value of a cell, without pyplot.

    `figure.savefig("figure.pdf")` embeds TrueType fonts, as `figures.save` does: journals refuse Type 3.
    """

    def savefig(self, *arguments: Any, **options: Any) -> None:
        with mpl.rc_context(EMBED):
            super().savefig(*arguments, **options)

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
    """Lay out once, under STYLE, and keep it: each further draw would move texts by a fraction of a pixel."""
    for text in figure.findobj(Text):
        text.set_fontfeatures(["-liga"])  # ligatures would add a second subset of the font to a PDF
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _size(look: Look, points: float) -> float:
    return 1.5 * points if look.marker == "*" else points  # a star covers less of its square


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
    """Columns of the legend: as many as fit, spread evenly over the lines needed."""
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
    """Width of a cell for the longest line, inches."""
    return 0.12 + LETTER * max(len(line) for text in texts for line in text.split("\n"))


def _shorten(labels: Collection[str], width: int, lines: int = 1) -> dict[str, str]:
    """Label -> at most `lines` lines of about `width` letters; different labels stay different.

    A label that is too long loses first the settings that all labels with the same first word share, then its middle.
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
