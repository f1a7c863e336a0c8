"""The table of all rules and gates, from the code itself: python -m workbench.listing [README.md]"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.errors import InputError
from workbench.files import write_whole
from workbench.registry import GATES, RULES

START, END = "<!-- catalog: python -m workbench.listing README.md -->", "<!-- end of catalog -->"


def catalog() -> pd.DataFrame:
    """One row per rule and gate: what it needs, what it remembers, what it spends, and where it comes from.

    name: for `--controllers`. class: in `workbench`. kind: rule or gate. labels: whether it reads difficulty labels.
    needs: columns of the pool beside those. memory: what its state grows with. extra: what it spends besides the
    rollouts it trains on. source: from its docstring.
    """
    rows: list[dict[str, Any]] = []
    for name, rule in RULES.items():
        needs = ", ".join(column for column in rule.needs if column != "difficulty") or "-"
        rows.append(
            {"name": name, "class": type(rule).__name__, "kind": "rule", "labels": "yes" if rule.labels else "no"}
            | {"needs": needs, "memory": rule.memory, "extra": rule.extra, "source": source(type(rule))}
        )
    for name, gate in GATES.items():
        rows.append(
            {"name": name, "class": type(gate).__name__, "kind": "gate", "labels": "no", "needs": "-"}
            | {"memory": gate.memory, "extra": gate.extra, "source": source(type(gate))}
        )
    return pd.DataFrame(rows)


def source(of: type) -> str:
    """The `Source:` of a class's docstring, on one line."""
    text = inspect.cleandoc(of.__doc__ or "")
    found = re.search(r"^Source: (.*?)(?=^\S+:|\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise InputError(f"{of.__name__}: must have a line 'Source:' in its docstring, got none")
    return " ".join(found[1].split()).rstrip(".")


def markdown() -> str:
    """The catalog as a Markdown table."""
    table = catalog()
    lines = ["| `--controllers` | class | labels | needs | memory | extra cost | source |", "| --- " * 7 + "|"]
    for row in table.to_dict("records"):
        kind = " (gate)" if row["kind"] == "gate" else ""
        rest = [row[column] for column in ("labels", "needs", "memory", "extra", "source")]
        cells = [f"`{row['name']}`", f"`{row['class']}`{kind}", *rest]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the table, or put it between the marks of a file."""
    if not arguments:
        print(markdown())
        return 0
    path = Path(arguments[0])
    text = path.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        print(f"error: {path}: must hold the lines '{START}' and '{END}'", file=sys.stderr)
        return 2
    write_whole(path, f"{before}{START}\n{markdown()}\n{END}{after}".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
