"""Text in cells, .csv and .tsv: which separator stands between them, and rows of one length."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

from workbench.errors import InputError, shown

SEPARATORS, SAMPLE = "\t;,", 50  # the rows by which a separator is chosen
MOST_CELL = 2**31 - 1  # characters: features and long prompts go beyond the usual 2^17


class Row(list[str]):
    """The cells of a row, and the line of the file that it ends in."""

    __slots__ = ("line",)
    line: int


def text_of(data: bytes) -> str:
    """UTF-8 bytes as text, without a byte order mark. Raises ValueError for others."""
    text = data.decode("utf-8-sig")
    if "\0" in text:
        raise ValueError("a zero byte")
    return text


def read_csv(data: bytes, what: str, **_: Any) -> dict[str, list[str]]:
    """Columns of text. Cells are apart by the separator that gives the most of the first rows the header's length."""
    return _columns(rows_of(text_of(data)), what)


def read_tsv(data: bytes, what: str, **_: Any) -> dict[str, list[str]]:
    """Columns of text, apart by tabs."""
    return _columns(rows_of(text_of(data), "\t"), what)


def _columns(rows: list[Row], what: str) -> dict[str, list[str]]:
    if not rows:
        raise InputError(f"{what}: must have rows below the header, got none")
    names, below = trimmed(rows[0], rows[1:], what)
    check_once("columns", names, "column")
    cells = zip(*below, strict=True) if below else ([] for _ in names)
    return {name: list(column) for name, column in zip(names, cells, strict=True)}


def rows_of(text: str, separator: str = "") -> list[Row]:
    """The rows that are not empty. Raises ValueError for quotes that are not closed or not in their place."""
    limit = csv.field_size_limit(MOST_CELL)
    try:
        return list(_rows(text, separator or _separator(text)))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    finally:
        csv.field_size_limit(limit)


def _separator(text: str) -> str:
    """The one that gives the most of the first rows the length of the first one, or one cell more; else a comma."""

    def agreeing(separator: str) -> int:
        try:
            first, *others = [len(row) for row in islice(_rows(text, separator), SAMPLE)] or [0]
        except csv.Error:  # quotes that stand in the middle of a cell
            return 0
        return sum(width - first in (0, 1) for width in others) + 1 if first > 1 else 0

    best = max(SEPARATORS, key=agreeing)
    return best if agreeing(best) else ","


def _rows(text: str, separator: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    for cells in reader:
        if cells:
            row = Row(cells)
            row.line = reader.line_num
            yield row


def trimmed(names: list[str], rows: list[Row], what: str) -> tuple[list[str], list[list[str]]]:
    """A header and rows of its length, or InputError; without last columns that have neither name nor value."""
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            got = f"got {len(row)} in row {number}, line {row.line}"
            raise InputError(f"{what}: must have {len(names)} cells in each row, {got}")
    width = len(names)
    while width > 1 and not names[width - 1].strip() and not any(row[width - 1].strip() for row in rows):
        width -= 1
    return names[:width], [row[:width] for row in rows] if width < len(names) else [*rows]


def check_once(field: str, names: list[str], kind: str, hint: str = "") -> None:
    """Raise InputError where a name comes twice; kind: of what the names are."""
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if name in seen:
            raise InputError(f"{field}: must come once each, got {shown(name)} again in {kind} {number}{hint}")
        seen.add(name)
