"""One file of HTML from the parts of a report: nothing in it is fetched, and nothing but its own script can run.

Figures are drawn by Vega-Lite. Of what draws in a browser from one file it was the best on four counts, measured with
the releases of November 2026: size of its script (Vega with Vega-Lite and Vega-Embed .90 MB; Bokeh with tables 1.95 MB;
Lets-Plot 2.9 MB; Plotly 4.8 MB of the 5 MB that a report may take), SVG with roles and descriptions (Bokeh draws on a
canvas), no `eval` (with the interpreter that comes in the bundle; callbacks of Bokeh need it), and colours that a style
sheet can change for dark screens and paper. Its script comes from the package vl-convert-python (`bundle.py`).
No table library comes as light in a Python package (DataTables in itables: .62 MB): `page.js` sorts and filters.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from workbench.controllers.rule import Look
from workbench.errors import InputError
from workbench.extras import named_extra
from workbench.reports.bundle import vega
from workbench.reports.parts import FILTERS, Arm, Figure, Panel, Row, Sample, Table
from workbench.reports.text import json_inside, visible

MOST_BYTES = 5_000_000
SAMPLE_FILTERS = ("level", "when", "verdict")


def polygon(corners: int, turned: float = 0.0, inner: float = 1.0) -> str:
    """A path of SVG around 0, the first corner on top. turned: degrees. inner: radius of every second corner."""
    turns = np.deg2rad(turned + 360 * np.arange(corners) / corners)
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return "M" + "L".join(f"{r * np.sin(a):.2f},{-r * np.cos(a):.2f}" for r, a in zip(radii, turns, strict=True)) + "Z"


MARKS = {  # marker of matplotlib: the same as a path of SVG
    "o": "M0.85,0A0.85,0.85,0,1,1,-0.85,0A0.85,0.85,0,1,1,0.85,0Z", "s": polygon(4, 45), "D": polygon(4),
    "d": "M0,-1L0.6,0L0,1L-0.6,0Z", "^": polygon(3), "v": polygon(3, 180), "<": polygon(3, 270), ">": polygon(3, 90),
    "P": "M-0.3,-1H0.3V-0.3H1V0.3H0.3V1H-0.3V0.3H-1V-0.3H-0.3Z", "X": polygon(8, 45, 0.4), "*": polygon(10, 0, 0.4),
    "p": polygon(5), "h": polygon(6), "H": polygon(6, 30), "8": polygon(8, 22.5),
    "+": "M-1,0H1M0,-1V1", "x": "M-0.8,-0.8L0.8,0.8M-0.8,0.8L0.8,-0.8",
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """A report.

    title: one line. asked, answer: sentences, the first of `answer` being the answer itself. doubts: where it may
    mislead, a sequence being a line and what belongs under it. settings: name -> value. again: lines of a shell or of
    Python that make it again. versions: of packages.
    """

    title: str
    asked: Sequence[str]
    answer: Sequence[str]
    doubts: Sequence[str | Sequence[str]] = ()
    arms: Sequence[Arm] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    samples: Sequence[Sample] = ()
    samples_told: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    again: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    text: str = ""

    def html(self) -> str:
        """The page as one file. Raises InputError where it is larger than MOST_BYTES."""
        arms = [arm.name for arm in self.arms]
        filters = {name: self._values(name) for name in FILTERS}
        own = {name: list(dict.fromkeys(getattr(one, name) for one in self.samples)) for name in SAMPLE_FILTERS}
        data = {"arms": arms, "off": [i for i, arm in enumerate(self.arms) if not arm.shown],
                "figures": {figure.name: figure_data(figure, filters) for figure in self.figures}}  # fmt: skip
        style = resource("page.css") + arm_styles(self.arms)
        scripts = [vega(), resource("page.js")]
        html: str = template().render(
            page=self, arms=arms, filters={name: values for name, values in filters.items() if len(values) > 1},
            place={name: {value: i for i, value in enumerate(values)} for name, values in (filters | own).items()},
            own={name: values for name, values in own.items() if len(values) > 1},
            arm_place={name: i for i, name in enumerate(arms)}, swatches=[swatch(arm.look) for arm in self.arms],
            style=style, scripts=scripts, data=json_inside(data), policy=policy(style, scripts),
        )  # fmt: skip
        if len(html.encode()) > MOST_BYTES:
            raise InputError(f"report: must be at most {MOST_BYTES:,} bytes, got {len(html.encode()):,}: compare less")
        return html

    def _values(self, name: str) -> list[str]:
        """The values of a filter, in the order in which tables and figures have them."""
        parts: list[Row | Panel | Sample] = [
            *(row for table in self.tables for row in table.rows),
            *(panel for figure in self.figures for panel in figure.panels), *self.samples,
        ]  # fmt: skip
        return list(dict.fromkeys(part.where[name] for part in parts if name in part.where))


@cache
def resource(name: str) -> str:
    """A file that lies beside this one."""
    return files("workbench.reports").joinpath(name).read_text(encoding="utf-8")


@cache
def template() -> Any:
    """The template of pages: every text that goes into it is escaped."""
    with named_extra():
        import jinja2

    def shown(value: Any) -> Any:
        return visible(value) if type(value) is str else value

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=shown, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(resource("page.html"))


def policy(style: str, scripts: Sequence[str]) -> str:
    """A policy under which nothing is fetched or sent, and nothing runs but these very scripts."""
    known = " ".join(f"'sha256-{digest(script)}'" for script in scripts)
    return (f"default-src 'none'; script-src {known}; style-src 'sha256-{digest(style)}'; img-src data:; "
            "connect-src 'none'; form-action 'none'; base-uri 'none'")  # fmt: skip


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def figure_data(figure: Figure, filters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the script draws: the specification once, and the data and place of each panel."""
    return {
        "spec": figure.spec,
        "panels": [
            {"rows": dict(panel.columns), "title": panel.title,
             "where": {name: filters[name].index(value) for name, value in panel.where.items()}}
            for panel in figure.panels
        ],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------- looks


def strokes(look: Look) -> list[float]:
    """Lengths of stroke and gap, in pixels; none for a solid line."""
    return [2.0 * float(length) for length in look.dashes[1] or ()]


def swatch(look: Look) -> dict[str, str]:
    """The dashes of the line in a legend, and the shape of its mark."""
    return {"dashes": " ".join(f"{length:g}" for length in strokes(look)), "mark": MARKS.get(look.marker, MARKS["o"])}


def arm_styles(arms: Sequence[Arm]) -> str:
    """The colours of the arms as variables of the style sheet: on paper and light screens, and on dark ones."""
    light = "".join(f"--arm-{i}:{arm.look.color};" for i, arm in enumerate(arms))
    dark = "".join(f"--arm-{i}:{on_dark(arm.look.color)};" for i, arm in enumerate(arms))
    own = "".join(f".arm-{i}{{--arm:var(--arm-{i})}}" for i in range(len(arms)))
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{own}"


def on_dark(color: str) -> str:
    """A colour as light as a dark page asks for: mixed with white until its relative luminance (WCAG 2) is .3.

    Against the page (luminance about .01) that is a contrast of 5.8 to 1; figures need 3.
    """
    rgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    for share in (i / 20 for i in range(21)):
        mixed = [channel + share * (1 - channel) for channel in rgb]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mixed]
        if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] >= 0.3:
            break
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in mixed)
