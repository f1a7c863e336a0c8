"""How objects show themselves: one line of text, and a small table in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from html import escape
from typing import Any

import numpy as np


def brief(settings: Any) -> str:
    """A dataclass of settings as its class and the values that are not defaults; those per lane as a range."""
    told = []
    for item in fields(settings):
        value = getattr(settings, item.name)
        default = item.default if item.default_factory is MISSING else item.default_factory()
        if isinstance(value, np.ndarray) and value.size:
            told.append(f"{item.name}={value.min()} to {value.max()} in {value.size} lanes"
                        if value.dtype.kind in "iuf" else f"{item.name}=array of shape {value.shape}")  # fmt: skip
        elif default is MISSING or (value is not default and value != default):
            told.append(f"{item.name}={value!r}")
    return f"{type(settings).__name__}({', '.join(told)})"


def seeds_told(seeds: Any) -> str:
    """Seeds (R,) in a few words."""
    known = np.unique(seeds)
    lanes = "" if len(seeds) == 1 else f" in {len(seeds)} lanes"
    return (f"seed {known[0]}" if len(known) == 1 else f"{len(known)} seeds, {known[0]} to {known[-1]},") + lanes


def as_html(title: str, rows: Mapping[str, Any]) -> str:
    """A table of two columns under a title."""
    left = "style='text-align:left'"
    lines = (f"<th {left}>{escape(str(name))}</th><td {left}>{escape(str(value))}</td>" for name, value in rows.items())
    cells = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<strong>{escape(title)}</strong><table>{cells}</table>"


class Report(str):
    """Text for a person: a notebook shows its lines as they are."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
