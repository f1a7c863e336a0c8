"""What a report consists of: arms, figures of panels, tables of rows, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbench.controllers.rule import Look

MOST_ROWS = 1000  # of one table of a page, and arms whose settings it has; files beside it hold all
FILTERS = ("pool", "learner")


class Arm(NamedTuple):
    """A curriculum that can be switched on and off. shown: whether it is on when the page opens."""

    name: str
    look: Look
    shown: bool = True


@dataclass(frozen=True)
class Panel:
    """One picture of a figure. title: over it. columns: name -> values, of equal lengths, which its figure draws.

    where: the values of FILTERS that it shows; a filter that it does not name never hides it.
    """

    title: str
    columns: Mapping[str, Sequence[Any]]
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A figure: a specification of Vega-Lite, drawn for each panel with that panel's data as `rows`.

    alt: what is in it, from its data, for those who do not see it.
    """

    name: str
    title: str
    caption: str
    alt: str
    spec: Mapping[str, Any]
    panels: Sequence[Panel]
    wide: bool = False

    def alone(self) -> Figure:
        """The same with room for one panel."""
        return replace(self, wide=True)


class Cell(NamedTuple):
    """text: as it is shown. sort: the number or text by which rows are sorted."""

    text: str
    sort: Any


@dataclass(frozen=True)
class Row:
    """cells: the first is the head of the row. arm: the name of the arm, None for a row that is of none."""

    cells: Sequence[Cell]
    arm: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)


class Head(NamedTuple):
    """Of a column. meaning: one sentence that says what it holds."""

    text: str
    meaning: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """left_out: rows that are too many for a page, and `file`, which holds them all."""

    name: str
    title: str
    caption: str
    heads: Sequence[Head]
    rows: Sequence[Row]
    left_out: int = 0
    file: str = ""


class Shown(NamedTuple):
    """How a column of a table of pandas stands in a page. form: of its numbers; interval: whether [low, high] follows.

    share: whether it is written in per cent.
    """

    head: Head
    form: str = ""
    interval: bool = False


def table_of(
    frame: pd.DataFrame,
    name: str,
    title: str,
    caption: str,
    columns: Mapping[str, Shown],
    file: str = "",
    arm: str | None = "controller",
    everywhere: str = "",
) -> Table:
    """A table of a page from a table of pandas. columns: which, in this order, and how; those that it lacks are not
    shown. arm: the column that names the arm, None for none. everywhere: what stands for all values of a filter."""
    there = {key: shown for key, shown in columns.items() if key in frame}
    rows = []
    for record in frame.head(MOST_ROWS).to_dict("records"):
        cells = [Cell(cell_text(record, key, shown), record[key]) for key, shown in there.items()]
        where = {key: str(record[key]) for key in FILTERS if key in record and record[key] != everywhere}
        rows.append(Row(cells, str(record[arm]) if arm in record else None, where))
    heads = [shown.head._replace(numeric=bool(shown.form)) for shown in there.values()]
    return Table(name, title, caption, heads, rows, max(len(frame) - MOST_ROWS, 0), file)


def cell_text(record: Mapping[Any, Any], key: str, shown: Shown) -> str:
    """A value as text: "" where it is not known, 1.88 [1.79, 1.96] with an interval."""
    value = record[key]
    if not shown.form:
        return "" if value is None or value != value else str(value)
    return number_text(value, shown.form) if not shown.interval else interval_text(record, key, shown.form)


def number_text(value: Any, form: str) -> str:
    """A number as text, "" where it is not known, ∞ where there is none so large."""
    if value is None or np.isnan(value):
        return ""
    return format(value, form) if np.isfinite(value) else "∞"


def interval_text(record: Mapping[Any, Any], key: str, form: str) -> str:
    """A number with its interval in brackets, without one where it has none."""
    value, low, high = (record[f"{key}{end}"] for end in ("", "_low", "_high"))
    if np.isnan(value) or np.isnan(low):
        return number_text(value, form)
    return f"{number_text(value, form)} [{number_text(low, form)}, {number_text(high, form)}]"


@dataclass(frozen=True)
class Sample:
    """What a model wrote. level: of difficulty. when: in training. right: whether it has full reward."""

    arm: str
    level: str
    when: str
    right: bool
    prompt: str
    completion: str
    answer: str = ""
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return "right" if self.right else "wrong"


