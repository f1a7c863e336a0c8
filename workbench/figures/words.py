"""Names and numbers as figures show them: shortened, wrapped, counted."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.text import Text

from workbench.analysis.latex import latex_escaped
from workbench.figures.style import LETTER, _letter, _scale


def _plain(text: str) -> str:
    """A text that is shown as it stands: not read as mathematics, nor as LaTeX where that sets the text."""
    return latex_escaped(text) if mpl.rcParams["text.usetex"] else text.replace("$", r"\$")


def _count(numbers: pd.Series[int], noun: str) -> str:
    """ "8 seeds", or "5 to 8 seeds" where not all have as many."""
    low, high = int(numbers.min()), int(numbers.max())
    return (f"{low}" if low == high else f"{low} to {high}") + f" {noun}{'' if high == 1 else 's'}"


def _letters(inches: float) -> int:
    """How many letters stand in so many inches."""
    return max(1, int(inches / _letter() + 1e-9))


def _width(texts: Sequence[str]) -> float:
    """Width of a cell for the longest line, inches."""
    return 0.12 * _scale() + _letter() * max(len(line) for text in texts for line in text.split("\n"))


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
            text = text if len(text) <= room else text.removesuffix(" …")
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


def _folded(text: str, pixels: float, like: Text) -> str:
    """The text in lines of about that width in the size of `like`, of axes in somebody else's figure; mathematics stays
    as it is."""
    if "$" in text.replace(r"\$", ""):
        return text
    inches = pixels / like.get_figure(root=True).dpi  # type: ignore[union-attr]
    letters = max(8, int(1.1 * inches / (LETTER * float(like.get_fontsize()) / 8)))
    return "\n".join(textwrap.fill(line, letters, break_long_words=False) for line in text.split("\n"))


def _fitted(text: Text, room: float) -> float | None:
    """Break a text into more lines where it is longer than `room` pixels, along its direction. None where it stays as
    it was, otherwise by how many pixels it takes more height."""
    before = text.get_text()
    upright = text.get_rotation() % 180 == 90
    letters = max(map(len, before.split("\n")), default=0)
    if not before or room <= 0 or _extent(text, upright) <= room:
        return None
    height = _extent(text, True)
    while letters > 4 and _extent(text, upright) > room:
        letters = max(4, min(letters - 1, int(letters * room / _extent(text, upright))))
        lines = [textwrap.wrap(line, letters, break_long_words=False, break_on_hyphens=False) or [""]
                 for line in before.split("\n")]  # fmt: skip
        text.set_text("\n".join(part for line in lines for part in line))
    if text.get_text() == before:
        return None
    return 0.0 if upright else _extent(text, True) - height


def _extent(text: Text, upright: bool) -> float:
    box = text.get_window_extent()
    return float(box.height if upright else box.width)


def _number(value: float, decimals: int = 2) -> str:
    """A number as a sentence has it."""
    return "unknown" if not np.isfinite(value) else f"{value:z.{decimals}f}"  # z: no minus sign before 0.0


def _sentence(parts: Sequence[Any]) -> str:
    """One sentence of clauses."""
    return "; ".join(str(part) for part in parts if part) + "."


def _arms_told(table: pd.DataFrame, value: str, low: str, high: str, decimals: int = 2, most: int = 12) -> list[str]:
    """What a sentence says of arms: all of a few; of many the highest and the lowest of each pool and learner."""
    blocks = table.groupby(["pool", "learner"], observed=True, sort=False)
    told = []
    for (pool, learner), block in list(blocks)[:most]:
        known = block[np.isfinite(block[value].astype(float))].sort_values(value, ascending=False, kind="stable")
        if len(known) > 2 and len(table) > most:
            known = known.iloc[[0, -1]]
        arms = [
            f"{row['controller']} {_number(row[value], decimals)}"
            + (f" [{_number(row[low], decimals)}, {_number(row[high], decimals)}]" if np.isfinite(row[low]) else "")
            for row in known.to_dict("records")
        ]
        where = ", ".join(filter(None, map(str, (pool, learner))))
        told.append(f"{where}: " * bool(where) + (", ".join(arms) or "no number"))
    left = len(blocks) - most
    return [*told, f"and {left} more panels"] if left > 0 else told
