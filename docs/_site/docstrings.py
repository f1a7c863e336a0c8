"""Docstrings as this project writes them, to reStructuredText.

A docstring has a summary, equations, the meaning of fields (`eta: largest move. start: T before it.`), and lines that
begin with `Source:`, `Differs:`, `Presets:` or `Raises`. Each becomes what a reader of a page expects: a sentence, a
block of equations, a list of definitions, a paragraph with its word in bold. Names in backticks become code.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

WORDS = ("Source", "Differs", "Presets")
FIELD = re.compile(r"(?:^|(?<=[.;]) )([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*)((?: [A-Za-z](?:\*|_\w+)?)?): ")
EQUATION = re.compile(r"<-|^ {2,}\S|\S {2,}\S|^[\w()\[\]|~*+/. {}<>=-]{1,60} = |^P\(|proportional to")
SPECIAL = re.compile(r"([*|\\]|(?<=\w)_(?!\w)|`)")


def process(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's hook: change the lines of one docstring."""
    lines[:] = restructured("\n".join(lines), known_names(of)).splitlines()


def process_signature(
    app: Any, what: str, name: str, of: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Sphinx's hook: types by their short names, as the code writes them."""
    return shortened(signature), shortened(returns)


def shortened(types: str | None) -> str | None:
    """`~numpy.ndarray[tuple[Any, ...], dtype[float64]]` and forward references -> `NDArray[float64]` and names."""
    if types is None:
        return None
    text = re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", types)
    text = re.sub(r"~?(?:numpy|typing)\.(?:\w+\.)*(\w+)", r"\1", text)
    text = re.sub(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[([\w.]+)\]\]", r"NDArray[\1]", text)
    return text.replace("<factory>", "...")


def known_names(of: Any) -> set[str]:
    """Names whose meaning a docstring may give: parameters, fields, attributes."""
    try:
        parameters = set(inspect.signature(of).parameters)
    except (TypeError, ValueError):
        parameters = set()
    return parameters | (set(dir(of)) if inspect.isclass(of) else set())


def restructured(text: str, known: set[str]) -> str:
    """The reStructuredText of a docstring. known: names that may begin a row of a list of fields."""
    parts = [part.strip("\n") for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip()]
    pieces = [piece for n, part in enumerate(parts) for piece in of_paragraph(part, known, first=n == 0)]
    return "\n\n".join(pieces) + "\n"


def of_paragraph(part: str, known: set[str], first: bool) -> Iterator[str]:
    """Pieces of one paragraph: it is cut before each line that begins a field or a word of ours."""
    for segment in cut(part, known):
        head = segment[0]
        if is_field(head, known):
            yield "\n".join(fields(" ".join(line.strip() for line in segment), known))
        elif not first and head.split(":")[0] not in WORDS and is_equation(segment):
            yield "::\n\n" + "\n".join(f"    {line}" for line in segment)
        else:
            word, colon, rest = " ".join(line.strip() for line in segment).partition(": ")
            yield f"**{word}**: {prose(rest)}" if word in WORDS and colon else prose(f"{word}{colon}{rest}")


def cut(part: str, known: set[str]) -> Iterator[list[str]]:
    """Lines of a paragraph in groups: one begins at every field, word of ours, and change to equations."""
    group: list[str] = []
    for line in part.splitlines():
        starts = is_field(line, known) or line.split(":")[0] in WORDS or line.startswith("Raises ")
        if group and (starts or (is_equation([line]) and not is_field(group[0], known) and not is_equation(group))):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def named(text: str, known: set[str]) -> list[re.Match[str]]:
    """Where fields begin in a text."""
    return [found for found in FIELD.finditer(text) if set(found[1].split(", ")) <= known]


def is_field(line: str, known: set[str]) -> bool:
    found = named(line, known)
    return bool(found) and found[0].start(1) == 0


def is_equation(lines: list[str]) -> bool:
    """Whether lines are meant as they stand: an arrow, an equals sign near the start, or columns of spaces."""
    return bool(EQUATION.search(lines[0])) or all(line.startswith(" ") for line in lines)


def fields(text: str, known: set[str]) -> Iterator[str]:
    """`a: one. b, c: two.` as the entries of a list of definitions."""
    found = named(text, known)
    for here, after in zip(found, [*found[1:], None], strict=True):
        meaning = text[here.end() : after.start() if after else None].strip()
        yield f"``{here[1] + here[2]}``\n    {prose(meaning.removesuffix(';'))}"


def prose(text: str) -> str:
    """Text whose marks are its own, but for names in backticks."""
    pieces = re.split(r"(`[^`\n]+`)", text)
    return "".join(f"\\ {piece}\\ " if n % 2 else escaped(piece) for n, piece in enumerate(pieces))


def escaped(text: str) -> str:
    return SPECIAL.sub(r"\\\1", text)
