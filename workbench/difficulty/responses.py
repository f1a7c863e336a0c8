"""Response tables in files: long and wide ones, and rows that stand for several persons."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.difficulty import irt
from workbench.difficulty.answers import (
    ANSWERS,
    LONG,
    ROLES,
    WRONG,
    Rows,
    as_answer,
    as_answers,
    as_whole,
    check_answers,
    check_named,
    check_size,
    column_of,
    read_rows,
)
from workbench.difficulty.counts import Floats
from workbench.errors import InputError, few, shown
from workbench.files import check_path
from workbench.tables.cells import check_once

WEIGHTS = ("freq", "frequency", "count", "counts", "weight", "weights")


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
    table = read_rows(check_path("responses", path))
    roles = {} if table.wide else {name: at for name in ROLES if (at := column_of(table.names, name)) is not None}
    if len(roles) >= 2 and {"item", "successes", "attempts"} & roles.keys():
        if weights is not None:
            got = f"got {shown(weights)} for a long one, which has successes and attempts"
            raise InputError(f"weights: must be a column of a wide table, {got}")
        return _answered(*_long(table, roles))
    return _answered(*_wide(table, weights))


def _long(table: Rows, roles: dict[str, int]) -> tuple[Floats, Floats, list[str], list[str]]:
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
        check_named(role, names, table.names[roles[role]])
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
    check_size(len(persons), len(items))
    s, n = np.zeros((2, len(persons), len(items)))
    s[at], n[at] = _counted(table, *(roles[role] for role in counts))
    return s, n, list(persons), list(items)


def _counted(table: Rows, successes: int, attempts: int | None = None) -> tuple[Floats, Floats]:
    """Successes and attempts of each row of a long table, 0 of 0 where they are missing."""
    if attempts is None:
        given = as_answers([[row[successes]] for row in table.rows])
        check_answers(Rows([table.names[successes]], [[row[successes]] for row in table.rows]), given, [0], "resp")
        return (given == 1)[:, 0].astype(float), (~np.isnan(given))[:, 0].astype(float)
    cells = [(row[successes].strip(), row[attempts].strip()) for row in table.rows]
    counts = np.array([[as_whole(text) for text in pair] for pair in cells])
    empty = np.array([all(np.isnan(as_answer(text)) for text in pair) for pair in cells])
    wrong = ~empty & ~((counts[:, 0] >= 0) & (counts[:, 0] <= counts[:, 1]))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"successes: must be whole numbers in [0, attempts], got {shown(cells[row][0])} of {shown(cells[row][1])} "
            f"in row {row + 1}, column {shown(table.names[successes])}"
        )
    counts[empty] = 0
    return counts[:, 0], counts[:, 1]


def _wide(table: Rows, weights: str | None) -> tuple[Floats, Floats, list[str], list[str]]:
    table, times = _weighted(table, weights)
    check_size(len(table.rows), len(table.names))
    answers, rows = as_answers(table.rows), len(table.rows)
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
    check_answers(table, answers, items)
    answers, times = answers[:rows, items], times[:rows]
    if weights is not None:
        persons = [f"{person}.{k + 1}" for person, many in zip(persons, times, strict=True) for k in range(many)]
        check_once("person", persons, "row")
        answers = np.repeat(answers, times, axis=0)
    names = [table.names[column] for column in items]
    return (answers == 1).astype(float), (~np.isnan(answers)).astype(float), persons, names


def _persons(rows: list[list[str]], at: int, names: list[str]) -> list[str]:
    persons = [row[at] for row in rows]
    check_named("person", persons, names[at])
    named = column_of(names, "person") is not None
    guess = "" if named else f"a first column that names nobody has only {ANSWERS}; "
    place = f", column {shown(names[at])}: {guess}a long table has the columns {LONG}"
    check_once("person", persons, "row", place)
    return persons


def _naming(table: Rows, answers: Floats) -> int | None:
    """The column of a wide table that names the persons, None where they have no names. Warns where it is a guess."""
    called = column_of(table.names, "person")
    if called is not None or table.wide:
        return called
    item = column_of(table.names, "item")
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


def _weighted(table: Rows, weights: str | None) -> tuple[Rows, NDArray[np.int64]]:
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
    counts = [as_whole(row[at]) for row in table.rows]
    wrong = np.flatnonzero(np.isnan(counts))
    if wrong.size:
        row = int(wrong[0])
        got = f"got {shown(table.rows[row][at])} in row {row + 1}, column {shown(weights)}"
        raise InputError(f"weights: must be whole numbers >= 0 of at most 15 digits, {got}")
    rest = Rows(table.names[:at] + table.names[at + 1 :], [row[:at] + row[at + 1 :] for row in table.rows])
    if not sum(counts):
        raise InputError(f"weights: must have one >= 1, got 0 in all rows of column {shown(weights)}")
    rest = _spelt(rest)
    check_size(sum(counts), len(rest.names))
    return rest, np.array(counts, np.int64)


def _spelt(table: Rows) -> Rows:
    """A table of one column of patterns, 01101, with a column for each item."""
    patterns = [row[0].strip() for row in table.rows if row]
    widths = [len(pattern) for pattern in patterns]
    if len(table.names) != 1 or max(widths) < 2 or not all(re.fullmatch("[01]+", pattern) for pattern in patterns):
        return table
    odd = next((row for row, width in enumerate(widths) if width != widths[0]), None)
    if odd is not None:
        got = f"got {shown(patterns[odd])} in row {odd + 1}, column {shown(table.names[0])}"
        raise InputError(f"responses: must be patterns of one length, {widths[0]} as in row 1, {got}")
    return Rows([str(item + 1) for item in range(widths[0])], [list(pattern) for pattern in patterns], wide=True)


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


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
