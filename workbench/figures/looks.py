"""What controllers look like in every figure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from workbench.analysis.frame import check_table
from workbench.controllers.rule import SOLID, Dashes, Look
from workbench.errors import InputError, check_text
from workbench.registry import GATES, RULES

# Of the rules and gates of ours; colours of Okabe & Ito (2008) without their yellow, which vanishes on white, and of
# Tol's muted scheme.
LOOKS: dict[str, Look] = {name: preset.look for name, preset in (RULES | GATES).items() if preset.look is not None}
COLORS = {rule: look.color for rule, look in LOOKS.items()}
# RULE+GATE is drawn as the rule, its dashes those of the gates in turn; each starts with the longest of all strokes.
GATE_DASHES = {name: gate.strokes for name, gate in GATES.items()}
# Rules without a look: those of Tol's muted colours that stay clear of Okabe-Ito, solid or in dashes of their own.
OTHER_COLORS = ("#332288", "#661100", "#999933", "#CC6677", "#117733", "#44AA99")
OTHER_DASHES: tuple[Dashes, ...] = (SOLID, (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
OTHER_MARKERS = ("d", "h", "X", "8", "H")


def rule_look(rule: str) -> Look:
    """The look of RULE, GATE or RULE+GATE, from its name alone."""
    check_text("rule", rule)
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

    table: any table with `controller` and, where it is known, `rule`; else "RULE name=value" is taken to be of RULE.
    A rule in one form has the rule's look. Variants keep its hue and marker, run by number from light to dark and
    take turns in dashes; one without settings ("adarft" beside "adarft eta=5") keeps the rule's look. Lightness
    counts the variants in this table: where tables show different ones, pass one table's looks to each figure.
    """
    table = check_table(table, "table", ["controller"])
    table = table if "rule" in table else table.assign(rule=table["controller"].map(_rule_of))
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


def _rule_of(label: str) -> str:
    """The rule of an arm by its label, which settings may follow."""
    found = re.fullmatch(r"(\S+)(?: [\w.]+=\S+)+", label)
    return found[1] if found else label


def _shade(color: str, shade: float) -> str:
    """Mix with white (shade < 0) or black (shade > 0); the hue stays."""
    end = 1.0 if shade < 0 else 0.0
    return to_hex(tuple((1 - abs(shade)) * np.array(to_rgb(color)) + abs(shade) * end))


def _by_number(label: str) -> list[tuple[float, str]]:
    """Sort key with eta=5 before eta=50, and 1e-3 before 0.02."""
    parts = re.split(r"(-?\d+\.?\d*(?:e[-+]?\d+)?)", label)  # text, number, text, number, ...
    return [(float(part), "") if i % 2 else (0.0, part) for i, part in enumerate(parts)]
