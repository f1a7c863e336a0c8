"""cite(): the BibTeX of what a study used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from workbench.controllers.gate import Gate
from workbench.controllers.rule import Rule
from workbench.display import Report
from workbench.errors import InputError, shown
from workbench.learners import Law, Signal
from workbench.references import REFERENCES, Reference
from workbench.registry import GATES, LAWS, RULES, SIGNALS

STATISTICS = "2108.13264"  # interquartile means and the bootstrap over seeds
PACKAGES = ("numpy", "numba", "scipy", "pandas", "matplotlib")


def cite(*parts: Any) -> str:
    """BibTeX of the workbench, of what `parts` come from, of the statistics and of the packages, each entry once.

    parts: names or objects of rules, gates, learners and signals, such as "adarft", "uniform+dapo", wb.GRPO(); a study
    or its result gives those that it ran. The papers are those that the classes' docstrings name as their source: one
    of yours with `Source: ... arXiv 2501.01234` has an entry that says to be completed where we do not know the paper.
    Raises InputError for a name that nothing has.
    """
    title = f"A Neutral Workbench for Curricula in Reinforcement Finetuning, version {version('curriculum-workbench')}"
    found = [Reference("curriculum_workbench", "{The curriculum-workbench authors}", title, 2026)]
    used = [one for part in parts for one in _objects(part)]
    for one in used:
        found += references_of(type(one))
        if isinstance(getattr(one, "signal", None), Signal):
            found += references_of(type(one.signal))
    packages = (*PACKAGES, "sklearn") if any(type(one).__name__ == "ALPGMM" for one in used) else PACKAGES
    found += [known for known in REFERENCES if known.eprint == STATISTICS or known.package in packages]
    return Report("\n\n".join(dict.fromkeys(one.bibtex() for one in found)) + "\n")


def references_of(cls: type) -> list[Reference]:
    """The papers that the `Source:` paragraph of a class, or else of its base, names, as REFERENCES lists them."""
    text = next((own for base in cls.__mro__ if "Source:" in (own := base.__dict__.get("__doc__") or "")), "")
    source = " ".join(re.split(r"\n\s*\n|Differs:", text.partition("Source:")[2])[0].split())
    prints = re.findall(r"arXiv:? ?(\d{4}\.\d{4,5})", source)
    known = [one for one in REFERENCES if one.eprint in prints or (one.found and one.found in source)]
    lacking = [number for number in prints if number not in {one.eprint for one in known}]
    return [*known, *(Reference(f"arxiv_{number.replace('.', '_')}", "{authors to be completed}",
                                f"arXiv {number}, title to be completed", 2000 + int(number[:2]), eprint=number)
                      for number in lacking)]  # fmt: skip


def _objects(part: Any) -> Iterator[Any]:
    if isinstance(part, (Rule, Gate, Law, Signal)):
        yield part
    elif isinstance(part, str):
        yield from _named(part)
    elif hasattr(part, "arms"):  # a study
        for arm in part.arms:
            yield from (arm.made_rule, *arm.made_gates, arm.made_law)
    elif hasattr(part, "study"):  # its result
        yield from _objects(part.study)
    else:
        raise InputError(f"parts: must be names or objects of rules, gates, learners or signals, or a study, got "
                         f"{shown(part)}")  # fmt: skip


def _named(name: str) -> Iterator[Any]:
    if name in SIGNALS:
        yield SIGNALS[name]
    elif name in LAWS:
        yield LAWS[name]
    elif all(one in RULES or one in GATES for one in name.split("+")):
        for one in name.split("+"):
            yield RULES[one] if one in RULES else GATES[one]
    else:
        raise InputError(f"parts: must be names of rules, gates, learners or signals, got {shown(name)}")
