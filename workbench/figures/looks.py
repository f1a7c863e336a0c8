"""What controllers look like in every figure, and the style of text and lines."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from workbench.errors import InputError
from workbench.figures.checks import _require

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
