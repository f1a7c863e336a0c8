"""Response tables in files."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.difficulty import irt
from workbench.difficulty.counts import Floats
from workbench.errors import InputError, few, shown, shown_path
from workbench.extras import named_extra
from workbench.files import parquet_table

ROLES = {
    "person": ("person", "person_id", "subject_id", "user_id", "student_id", "model", "id", "__index_level_0__"),
    "item": ("item", "item_id", "question_id", "problem_id"),
    "resp": ("resp", "response", "correct"),
    "successes": ("successes",),
    "attempts": ("attempts",),
}  # of the columns of a long table, and the names that each goes by, the first one there counts
WEIGHTS = ("freq", "frequency", "count", "counts", "weight", "weights")
LONG = "person, item and resp, or person, item, successes and attempts"
TRUE, FALSE, MISSING = ("true", "t"), ("false", "f"), ("", "na", "nan", "n/a", "#n/a", "<na>", "null", "none", ".")
ANSWERS = "0, 1, TRUE, FALSE or missing (blank, NA, nan)"
WRONG = -1.0  # in place of an answer
SEPARATORS, SAMPLE = "\t;,", 50  # the rows by which a separator is chosen
MOST_CELLS = 10**8  # persons times items: 0.8 GB for each of a few arrays


@dataclass(frozen=True)
class _Table:
    """Cells as the file has them, as text. wide: it is known not to be long, and whether it names persons."""

    names: list[str]
    rows: list[list[str]]
    wide: bool = False


def read_responses(path: str | Path, weights: str | None = None) -> irt.Responses:
    """Responses from a file: separated by tabs, semicolons or commas, JSON lines, or Parquet; gzip or not.

    An answer is 1, TRUE, 0 or FALSE (1.0 and 0.0 count, and so do small letters) or missing: blank, NA, nan, null.
    Wide: a row per person, a column per item. Persons are named by a column `person` (or another of `ROLES`), or by the
    first column if it has no name or holds anything but answers. Otherwise they are called by their rows, from 1 on.
    Warns where that is a guess. Without a header, items are called by their columns, from 1 on.
    Long: the columns person, item and resp, or person, item, successes and attempts, or other names of `ROLES`, in any
    order, with one row per person and item. Warns of columns that are not read.
    Lines {"subject_id": .., "responses": {item: answer, ..}} are py-irt's.

    weights: a column of a wide table that says how many persons gave the answers of a row; persons are then called
    ROW.1, ROW.2, .. A table may have, beside it, one column of patterns such as 01101.

    Persons and items without an answer are left out, with a warning. Raises InputError for any other file.
    """
    table = _read(Path(path))
    if not table.rows:
        raise InputError(f"responses: must have rows below the header, got none in {shown_path(path)}")
    _once("columns", table.names, kind="column")
    roles = {} if table.wide else {role: at for role in ROLES if (at := _role(table.names, role)) is not None}
    if len(roles) >= 2 and {"item", "successes", "attempts"} & roles.keys():
        if weights is not None:
            got = f"got {shown(weights)} for a long one, which has successes and attempts"
            raise InputError(f"weights: must be a column of a wide table, {got}")
        return _answered(*_long(table, roles))
    return _answered(*_wide(table, weights))


# ---- from bytes to rows of text -----------------------------------------------------------------------------


def _read(path: Path) -> _Table:
    if not os.path.isfile(path):
        raise InputError(f"responses: must be a file that exists, got {shown_path(path)}")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        if data[:4] == b"PAR1":
            return _from_parquet(data)
        text = data.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("a zero byte")
        start = text.lstrip()[:1]
        return _from_json(text) if start in ("{", "[") else _from_cells(text)
    except InputError:
        raise
    except (ValueError, OSError, EOFError, RecursionError, csv.Error, zlib.error) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"responses: must be UTF-8 text (csv, tsv, jsonl) or Parquet, gzip or not, got '{path}' ({reason})"
        ) from None


def _from_cells(text: str) -> _Table:
    """Cells apart by the separator that gives the most of the first rows the length of the first one."""

    def agreeing(separator: str) -> int:
        try:
            first, *others = [len(row) for row in islice(_cells(text, separator), SAMPLE)] or [0]
        except csv.Error:  # a row without this separator may be too long for one cell
            return 0
        return sum(width - first in (0, 1) for width in others) + 1 if first > 1 else 0

    rows = list(_cells(text, max(SEPARATORS, key=agreeing)))
    names, *rows = rows or [[]]
    if rows and {len(row) for row in rows} == {len(names) + 1}:  # R gives no name to row names, spreadsheets to nothing
        names = ["", *names] if any(row[-1].strip() for row in rows) else [*names, ""]
    for number, row in enumerate([names, *rows]):
        if len(row) != len(names):
            got = f"got {len(row)} in row {number}"
            raise InputError(f"responses: must have {len(names)} cells in each row, {got}")
    while len(names) > 1 and not names[-1].strip() and not any(row[-1].strip() for row in rows):
        names, rows = names[:-1], [row[:-1] for row in rows]
    if not rows or _is_header(names, rows):
        return _Table(names, rows)
    warnings.warn("the first row is read as answers: items are called by their columns, from 1 on", stacklevel=4)
    return _Table([str(column + 1) for column in range(len(names))], [names, *rows])


def _cells(text: str, separator: str) -> Iterable[list[str]]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return (row for row in rows if len(row) > 1 or "".join(row).strip())


def _is_header(first: list[str], rows: list[list[str]]) -> bool:
    """Whether the first row has names. They come once each, so that numbers that repeat are no names."""
    if _role(first, "person") is not None:
        return True
    if not first[0].strip() and any(_answer(row[0]) == WRONG for row in rows):
        return True  # a person has a name, a column of names need not have one
    cells = first if _is_value(first[0]) else first[1:]
    if not cells or not all(_is_value(cell) for cell in cells):
        return True
    if len(set(cells)) < len(cells):
        return False
    if all(_answer(cell) != WRONG for cell in cells):
        raise InputError(
            f"responses: must have a first row that can be told from answers, got {few(first)}: put a row of names "
            "above it, or give the items other names"
        )
    return True


def _is_value(text: str) -> bool:
    return _answer(text) != WRONG or re.fullmatch(r"[-+]?\d+([.,]\d*)?", text.strip()) is not None


def _from_json(text: str) -> _Table:
    """A record per line, or a list of them; numbers stay the text that they are."""
    load = json.JSONDecoder(object_pairs_hook=_record, parse_int=str, parse_float=str, parse_constant=str).decode
    whole = text.lstrip().startswith("[")
    records: list[Any] = []
    for number, line in enumerate([text.strip()] if whole else text.split("\n"), 1):
        try:
            records += load(line) if whole else [load(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise InputError(
                f"responses: must have a JSON object in each line, got {shown(line)} in line {number} ({error.msg})"
            ) from None
        except InputError as error:
            raise InputError(f"{error} of line {number}") from None
    py_irt = any(isinstance(record, dict) and "responses" in record for record in records)
    shape = '{"subject_id": .., "responses": {item: answer, ..}}' if py_irt else "a JSON object"
    for number, record in enumerate(records, 1):
        right = isinstance(record, dict)
        if py_irt:
            right = right and "subject_id" in record and isinstance(record.get("responses"), dict)
        if not right:
            raise InputError(f"responses: must be {shape} in each row, got {shown(record)} in row {number}")
    if py_irt:
        persons = [_text(record["subject_id"]) for record in records]
        records = [record["responses"] for record in records]
    names = list(dict.fromkeys(name for record in records for name in record))
    _check_size(len(records), len(names))
    rows = [[_text(record.get(name)) for name in names] for record in records]
    if py_irt:
        names, rows = ["person", *names], [[person, *row] for person, row in zip(persons, rows, strict=True)]
    return _Table(names, rows, wide=py_irt)


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _once("columns", [name for name, _ in pairs], kind="key")
    return dict(pairs)


def _from_parquet(data: bytes) -> _Table:
    with named_extra():
        table = parquet_table(data)
    columns = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    return _Table(table.column_names, [list(row) for row in zip(*columns, strict=True)])


def _text(value: Any) -> str:
    return "" if value is None else str(value)


# ---- from rows of text to answers ---------------------------------------------------------------------------


def _role(names: list[str], role: str) -> int | None:
    """The column that has this role, by its name."""
    known = [name.strip().lower() for name in names]
    return next((known.index(name) for name in ROLES[role] if name in known), None)


def _answer(text: str) -> float:
    """1 or 0; nan where the answer is missing, `WRONG` for any other text."""
    plain = text.strip().lower()
    if plain in MISSING:
        return np.nan
    if plain in TRUE or plain in FALSE:
        return float(plain in TRUE)
    number = re.fullmatch(r"([01])([.,]0*)?", plain)
    return float(number[1]) if number else WRONG


def _answers(rows: list[list[str]]) -> Floats:
    """(rows, columns)"""
    known = {text: _answer(text) for text in {text for row in rows for text in row}}
    return np.array([np.fromiter((known[text] for text in row), float, len(row)) for row in rows])


def _long(table: _Table, roles: dict[str, int]) -> tuple[Floats, Floats, list[str], list[str]]:
    counts = ["successes", "attempts"] if {"successes", "attempts"} & roles.keys() else ["resp"]
    lacking = [role for role in ("person", "item", *counts) if role not in roles]
    if lacking:
        raise InputError(
            f"columns: must be {LONG} for a long table, got no {' and no '.join(lacking)} among {few(table.names)}"
        )
    read = {roles[role] for role in ("person", "item", *counts)}
    unread = [name for column, name in enumerate(table.names) if column not in read]
    if unread:
        warnings.warn(f"not read: {_many(len(unread), 'column')}, {few(unread)}", stacklevel=3)
    who, what = ([row[roles[role]] for row in table.rows] for role in ("person", "item"))
    for role, names in (("person", who), ("item", what)):
        _named(role, names, table.names[roles[role]])
    row_of: dict[tuple[str, str], int] = {}
    for number, pair in enumerate(zip(who, what, strict=True), 1):
        if pair in row_of:
            raise InputError(
                f"person, item: must come once each, got person {shown(pair[0])}, item {shown(pair[1])} again in row "
                f"{number} (first in row {row_of[pair]}): several attempts are one row with successes and attempts"
            )
        row_of[pair] = number
    persons, items = ({name: k for k, name in enumerate(dict.fromkeys(names))} for names in (who, what))
    at = [persons[name] for name in who], [items[name] for name in what]
    _check_size(len(persons), len(items))
    s, n = np.zeros((2, len(persons), len(items)))
    s[at], n[at] = _counted(table, *(roles[role] for role in counts))
    return s, n, list(persons), list(items)


def _counted(table: _Table, successes: int, attempts: int | None = None) -> tuple[Floats, Floats]:
    """Successes and attempts of each row of a long table, 0 of 0 where they are missing."""
    if attempts is None:
        given = _answers([[row[successes]] for row in table.rows])
        _allowed(_Table([table.names[successes]], [[row[successes]] for row in table.rows]), given, [0], "resp")
        return (given == 1)[:, 0].astype(float), (~np.isnan(given))[:, 0].astype(float)
    cells = [(row[successes].strip(), row[attempts].strip()) for row in table.rows]
    counts = np.array([[_whole(text) for text in pair] for pair in cells])
    empty = np.array([all(np.isnan(_answer(text)) for text in pair) for pair in cells])
    wrong = ~empty & ~((counts[:, 0] >= 0) & (counts[:, 0] <= counts[:, 1]))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"successes: must be whole numbers in [0, attempts], got {shown(cells[row][0])} of {shown(cells[row][1])} "
            f"in row {row + 1}, column {shown(table.names[successes])}"
        )
    counts[empty] = 0
    return counts[:, 0], counts[:, 1]


def _whole(text: str) -> float:
    """The whole number that a text is, nan for any other."""
    return float(text.replace(",", ".")) if re.fullmatch(r"\d{1,15}([.,]0*)?", text.strip()) else np.nan


def _wide(table: _Table, weights: str | None) -> tuple[Floats, Floats, list[str], list[str]]:
    table, times = _weighted(table, weights)
    _check_size(len(table.rows), len(table.names))
    answers, rows = _answers(table.rows), len(table.rows)
    at = _naming(table, answers) if table.names else None
    items = [column for column in range(len(table.names)) if column != at]
    if not items:
        raise InputError(
            f"columns: must have at least one item beside the person, got only {few(table.names)}: cells are apart by "
            "commas, semicolons or tabs"
        )
    persons = [str(row + 1) for row in range(rows)]
    if at is not None:
        while rows and not "".join(table.rows[rows - 1]).strip():  # below the table, as of spreadsheets
            rows -= 1
        persons = _persons(table.rows[:rows], at, table.names)
    _allowed(table, answers, items)
    answers, times = answers[:rows, items], times[:rows]
    if weights is not None:
        persons = [f"{person}.{k + 1}" for person, many in zip(persons, times, strict=True) for k in range(many)]
        _once("person", persons)
        answers = np.repeat(answers, times, axis=0)
    names = [table.names[column] for column in items]
    return (answers == 1).astype(float), (~np.isnan(answers)).astype(float), persons, names


def _persons(rows: list[list[str]], at: int, names: list[str]) -> list[str]:
    persons = [row[at] for row in rows]
    _named("person", persons, names[at])
    guess = f": a first column that names nobody has only {ANSWERS}; a long table has the columns {LONG}"
    place = f", column {shown(names[at])}"
    _once("person", persons, place if _role(names, "person") is not None else place + guess)
    return persons


def _naming(table: _Table, answers: Floats) -> int | None:
    """The column of a wide table that names the persons, None where they have no names. Warns where it is a guess."""
    called = _role(table.names, "person")
    if called is not None or table.wide:
        return called
    item = _role(table.names, "item")
    if item is not None and (answers[:, item] == WRONG).any():
        raise InputError(
            f"columns: must be persons or items of answers in a wide table, got {shown(table.names[item])} with a row "
            f"per item: exchange rows and columns; a long table has the columns {LONG}"
        )
    name, first = table.names[0], [row[0].strip() for row in table.rows]
    given = np.isin(answers[:, 0], (0, 1))
    named = bool((answers[:, 0] == WRONG).any())
    if not name.strip():
        return 0 if any(first) else None
    if given.any() and len(set(first)) == len(first):
        warnings.warn(
            f"the first column, {shown(name)}, is read as {'names of persons' if named else 'an item'}: call it person "
            "if it has names, and have 0, 1 and blank in it if not",
            stacklevel=4,
        )
    return 0 if named else None


def _weighted(table: _Table, weights: str | None) -> tuple[_Table, NDArray[np.int64]]:
    """The table without the column of weights, and how many persons each row stands for."""
    if weights is None:
        for name in table.names if not table.wide else ():
            if name.strip().lower() in WEIGHTS:
                raise InputError(
                    f"columns: must be items or persons, got {shown(name)}: if it says how many persons a row stands "
                    f"for, --weights {name} reads it so; if it is an item, give it another name"
                )
        return table, np.ones(len(table.rows), np.int64)
    if weights not in table.names:
        raise InputError(f"weights: must be a column of the table, got {shown(weights)}, not among {few(table.names)}")
    at = table.names.index(weights)
    counts = [_whole(row[at]) for row in table.rows]
    wrong = np.flatnonzero(np.isnan(counts))
    if wrong.size:
        row = int(wrong[0])
        got = f"got {shown(table.rows[row][at])} in row {row + 1}, column {shown(weights)}"
        raise InputError(f"weights: must be whole numbers >= 0, {got}")
    rest = _Table(table.names[:at] + table.names[at + 1 :], [row[:at] + row[at + 1 :] for row in table.rows])
    if not sum(counts):
        raise InputError(f"weights: must have one >= 1, got 0 in all rows of column {shown(weights)}")
    rest = _spelt(rest)
    _check_size(sum(counts), len(rest.names))
    return rest, np.array(counts, np.int64)


def _spelt(table: _Table) -> _Table:
    """A table of one column of patterns, 01101, with a column for each item."""
    patterns = [row[0].strip() for row in table.rows if row]
    widths = [len(pattern) for pattern in patterns]
    if len(table.names) != 1 or max(widths) < 2 or not all(re.fullmatch("[01]+", pattern) for pattern in patterns):
        return table
    odd = next((row for row, width in enumerate(widths) if width != widths[0]), None)
    if odd is not None:
        got = f"got {shown(patterns[odd])} in row {odd + 1}, column {shown(table.names[0])}"
        raise InputError(f"responses: must be patterns of one length, {widths[0]} as in row 1, {got}")
    return _Table([str(item + 1) for item in range(widths[0])], [list(pattern) for pattern in patterns], wide=True)


def _answered(s: Floats, n: Floats, persons: list[str], items: list[str]) -> irt.Responses:
    """The table without persons and items that have no answer: a warning counts them and names the first."""
    who, what = np.flatnonzero(n.any(axis=1)), np.flatnonzero(n.any(axis=0))
    if not who.size:
        raise InputError(f"responses: must have at least one that is not missing, got none for {few(items)}")
    for kind, names, has in (("person", persons, who), ("item", items, what)):
        lost = np.delete(np.arange(len(names)), has)
        if lost.size:
            first = f"the first is {shown(names[lost[0]])}"
            warnings.warn(f"left out: {_many(lost.size, kind)} without an answer, {first}", stacklevel=3)
    kept = np.ix_(who, what)
    return irt.Responses(s[kept], n[kept], [persons[k] for k in who], [items[k] for k in what])


# ---- checks that name the place -----------------------------------------------------------------------------


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _check_size(persons: float, items: int) -> None:
    """Raise InputError before a table is made that the memory may not hold."""
    if persons * items > MOST_CELLS:
        raise InputError(
            f"persons, items: must be at most {MOST_CELLS} cells, persons times items, got {persons:.0f} x {items}"
        )


def _once(field: str, names: list[str], hint: str = "", kind: str = "row") -> None:
    """Raise InputError where a name comes twice."""
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if name in seen:
            raise InputError(f"{field}: must come once each, got {shown(name)} again in {kind} {number}{hint}")
        seen.add(name)


def _named(field: str, names: list[str], column: str) -> None:
    """Raise InputError where a name is blank."""
    for row, name in enumerate(names, 1):
        if not name.strip():
            raise InputError(f"{field}: must have a name, got {shown(name)} in row {row}, column {shown(column)}")


def _allowed(table: _Table, answers: Floats, columns: list[int], field: str = "responses") -> None:
    """Raise InputError where a cell of these columns is no answer."""
    wrong = np.argwhere(answers[:, columns] == WRONG)
    if wrong.size:
        row, column = wrong[0][0], columns[wrong[0][1]]
        long = field == "responses" and (answers[:, column] == WRONG).all()
        hint = f": a long table has the columns {LONG}" if long else ""
        got = f"got {shown(table.rows[row][column])} in row {row + 1}, column {shown(table.names[column])}"
        raise InputError(f"{field}: must be {ANSWERS}, {got}{hint}")
