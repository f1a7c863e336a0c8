"""What the code says of itself: the table of rules and gates, and what packages export.

    python -m workbench.listing             print the table
    python -m workbench.listing PAGE.md     put it between the marks of a file
    python -m workbench.listing --write     that, and the lists of exported rules, gates and laws
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.commands import Parser, exit_status
from workbench.errors import InputError, shown_path
from workbench.files import write_whole
from workbench.registry import GATES, LAWS, RULES

MADE = "Made by python -m workbench.listing --write"
PACKAGES: list[tuple[str, str, Mapping[str, Any]]] = [
    ("controllers/rules", f"Curriculum rules, one file per published rule. {MADE}", RULES),
    ("controllers/gates", f"Gates, one file per published gate. {MADE}", GATES),
    ("learners/laws", f"Laws of learning, one file per law. {MADE}", LAWS),
]
PAGE = Path("docs", "reference", "catalog.md")
START, END = "<!-- catalog: python -m workbench.listing --write -->", "<!-- end of catalog -->"


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


def exports() -> dict[str, str]:
    """What the classes' metadata say of the package itself: path below workbench/ -> the whole text of that file.

    The packages of rules, gates and laws export each registered class. In __init__.pyi only the lines of those classes
    are made; the others stay as they are.
    """
    here = Path(__file__).parent
    stub = (here / "__init__.pyi").read_text(encoding="utf-8").splitlines()
    written, made, lines = {}, set[str](), list[str]()
    for folder, about, presets in PACKAGES:
        classes = {type(preset).__name__: type(preset).__module__ for preset in presets.values()}
        by_module: dict[str, list[str]] = {}
        for name in sorted(classes, key=lambda name: (name.upper() != name, name)):  # as the linter sorts them
            by_module.setdefault(classes[name], []).append(name)
        imports = [f"from {module} import {', '.join(by_module[module])}" for module in sorted(by_module)]
        names = sorted(classes, key=lambda name: (name.upper() != name, name))
        text = [f'"""{about}"""', "", *imports, "", "__all__ = [", *(f'    "{name}",' for name in names), "]", ""]
        written[f"{folder}/__init__.py"] = "\n".join(text)
        made |= classes.keys()
        lines += [f"from .{folder.replace('/', '.')} import {name} as {name}" for name in names]
    kept = [line for line in stub if line.startswith("from ") and line.rpartition(" ")[2] not in made]
    others = [line for line in stub if not line.startswith("from ")]  # after the imports, such as __version__
    written["__init__.pyi"] = "\n".join([*sorted([*kept, *lines], key=_as_sorted), *others]) + "\n"
    return written


def _as_sorted(line: str) -> tuple[str, bool, str]:
    """Where the linter puts an import: by module, constants before classes before functions."""
    module, name = line.split()[1], line.split()[3]
    return module, name.upper() != name, ("0" if name[0].isupper() else "1") + name


def parser() -> Parser:
    about = "The table of rules and gates, from their docstrings. Without a file it is printed."
    p = Parser(prog="python -m workbench.listing", allow_abbrev=False, description=about)
    p.add_argument("file", nargs="?", help="a page: the table is put between its marks")
    p.add_argument("--write", action="store_true",
                   help="put it into docs/reference/catalog.md, and write the lists of exports")  # fmt: skip
    return p


def main(arguments: list[str] | None = None) -> int:
    """Print the table, put it between the marks of a file, or --write all that the code makes of its own metadata."""
    options = parser().parse_args(arguments)
    return exit_status(lambda: write(options.file, options.write))


def write(file: str | None, everything: bool) -> None:
    """Print the table where neither is given. Raises InputError for a file that is not there or has no marks."""
    here = Path(__file__).parent
    if everything and file is not None:
        raise InputError(f"file: must not be given with --write, which writes {PAGE}, got {shown_path(file)}")
    if everything:
        for name, made in exports().items():
            write_whole(here / name, made.encode())
        put_into(here.parent / PAGE)
    elif file is not None:
        put_into(Path(file))
    else:
        print(markdown())


def put_into(path: Path) -> None:
    """Put the table between the marks of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"file: must be a text file that can be read, got {shown_path(path)} ({reason})") from None
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise InputError(f"file: must hold the lines '{START}' and '{END}', got {shown_path(path)}")
    write_whole(path, f"{before}{START}\n{markdown()}\n{END}{after}".encode())


if __name__ == "__main__":
    sys.exit(main())
