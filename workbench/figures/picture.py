"""A figure of ours: shown by notebooks, saved with TrueType fonts and a sentence that says what it shows."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.errors import check_kind
from workbench.figures.style import _settings, _style
from workbench.files import check_path, write_whole

ALT_KEY = {"pdf": "Subject", "png": "Description", "svg": "Description"}  # where a format keeps what a figure shows


class _Layout(Protocol):
    def renew(self) -> None: ...


class Picture(Figure):
    """A matplotlib figure that a notebook shows when it is the last value of a cell, without pyplot.

    `figure.savefig("figure.pdf")` embeds TrueType fonts, as `figures.save` does: journals refuse Type 3. `alt` is a
    sentence with the figure's numbers, for those who do not see it; PDF, PNG and SVG files and notebooks carry it.
    A line that is added later, or another size, has the figure laid out again before it is drawn.
    """

    alt: str = ""
    _rc: Any = None
    _layout_of: _Layout | None = None

    def draw(self, renderer: Any) -> None:
        if self._layout_of is not None:
            with _style(self._rc):
                self._layout_of.renew()
        super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        kind = options.get("format") or (Path(fname).suffix[1:] if isinstance(fname, (str, os.PathLike)) else "png")
        key = ALT_KEY.get(str(kind).lower())
        if self.alt and key:
            options["metadata"] = {key: self.alt} | (options.get("metadata") or {})
        with mpl.rc_context(self._rc):
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with _style(self._rc):
            self.savefig(buffer, format="png")
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        """The picture with its alternative text, as Jupyter asks for them."""
        image = base64.b64encode(self._repr_png_()).decode()
        return {"image/png": image, "text/plain": self.alt or repr(self)}, {"image/png": {"alt": self.alt}}


def _figure(width: float, height: float) -> Picture:
    figure = Picture(figsize=(width, height), dpi=150, layout="constrained")
    figure._rc = _settings()
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, stem: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write stem.pdf and stem.png (300 dpi) and return their paths. Equal figures give equal bytes.

    figure: one of ours, or any of matplotlib: TrueType fonts are embedded in both.
    An error leaves the files as they were: each is written whole or not at all.
    """
    check_kind("figure", figure, Figure, "a Figure such as learning_curves(curves) gives")
    stem = check_path("stem", stem)
    paths = (stem.with_name(stem.name + ".pdf"), stem.with_name(stem.name + ".png"))
    undated: dict[str, Any] = {"metadata": {"CreationDate": None, "Producer": None, "Creator": None}}
    crisp: dict[str, Any] = {"dpi": 300, "metadata": {"Software": None}, "pil_kwargs": {"compress_level": 3}}
    drawn = []
    with _style(getattr(figure, "_rc", None)):
        for path, how in zip(paths, (undated, crisp), strict=True):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=path.suffix[1:], **how)
            drawn.append(buffer.getvalue())
    for path, data in zip(paths, drawn, strict=True):
        write_whole(path, data)
    return paths
