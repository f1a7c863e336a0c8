"""Response tables as rows of text, and what the texts mean: names, answers, counts."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.difficulty.counts import Floats
from workbench.errors import InputError, bound, few, shown
from workbench.tables.cells import Row, check_once, rows_of, text_of, trimmed
from workbench.tables.formats import READERS, kind_of_content, told_in_one_line, unpacked

ROLES = {
    "person": ("person", "person_id", "subject_id", "user_id", "student_id", "model", "id", "__index_level_0__"),
    "item": ("item", "item_id", "question_id", "problem_id"),
    "resp": ("resp", "response", "correct"),
    "successes": ("successes",),
    "attempts": ("attempts",),
}  # of the columns of a long table, and the names that each goes by, the first one there counts
LONG = "person, item and resp, or person, item, successes and attempts"
TRUE, FALSE, MISSING = ("true", "t"), ("false", "f"), ("", "na", "nan", "n/a", "#n/a", "<na>", "null", "none", ".")
ANSWERS = "0, 1, TRUE, FALSE or missing (blank, NA, nan)"
WRONG = -1.0  # in place of an answer
FILE = "UTF-8 text (csv, tsv, jsonl) or Parquet, gzip or not"
PY_IRT = '{"subject_id": .., "responses": {item: answer, ..}}'
MOST_CELLS = 10**8  # persons times items: 0.8 GB for each of a few arrays


@dataclass(frozen=True)
class Rows:
    """Cells as the file has them, as text. wide: it is known not to be long, and whether it names persons."""

    names: list[str]
    rows: list[list[str]]
    wide: bool = False


def read_rows(path: Path) -> Rows:
    """The rows of a file, whose content says how it is read. Raises InputError in one line."""
    with told_in_one_line("responses", FILE, path):
        data = unpacked(path.read_bytes())
        kind = kind_of_content(data)
        if kind == ".csv":
            table = _from_cells(text_of(data))
        else:
            columns = READERS[kind](data, "responses", exact=True)
            table = _from_py_irt(columns) if kind == ".json" and "responses" in columns else _from_columns(columns)
        if not table.rows:
            raise InputError("responses: must have rows below the header, got none")
        check_once("columns", table.names, "column")
    return table


def _from_cells(text: str) -> Rows:
    """Rows with a header, with one that lacks the name of a column of names, or without."""
    names, *rows = [row for row in rows_of(text) if len(row) > 1 or row[0].strip()] or [Row()]
    header: list[str] = names
    if rows and {len(row) for row in rows} == {len(names) + 1}:  # R gives no name to row names, spreadsheets to nothing
        header = ["", *names] if any(row[-1].strip() for row in rows) else [*names, ""]
    header, below = trimmed(header, rows, "responses")
    if not below or _is_header(header, below):
        return Rows(header, below)
    warnings.warn("the first row is read as answers: items are called by their columns, from 1 on", stacklevel=4)
    return Rows([str(column + 1) for column in range(len(header))], [header, *below])


def _is_header(first: list[str], rows: list[list[str]]) -> bool:
    """Whether the first row has names. They come once each, so that numbers that repeat are no names."""
    if column_of(first, "person") is not None:
        return True
    if not first[0].strip() and any(as_answer(row[0]) == WRONG for row in rows):
        return True  # a person has a name, a column of names need not have one
    cells = first if _is_value(first[0]) else first[1:]
    if not cells or not all(_is_value(cell) for cell in cells):
        return True
    if len(set(cells)) < len(cells):
        return False
    if all(as_answer(cell) != WRONG for cell in cells):
        raise InputError(
            f"responses: must have a first row that can be told from answers, got {few(first)}: put a row of names "
            "above it, or give the items other names"
        )
    return True


def _is_value(text: str) -> bool:
    return as_answer(text) != WRONG or re.fullmatch(r"[-+]?\d+([.,]\d*)?", text.strip()) is not None


def _from_columns(columns: dict[str, Any]) -> Rows:
    return Rows(list(columns), [list(map(_text, row)) for row in zip(*columns.values(), strict=True)])


def _from_py_irt(columns: dict[str, Any]) -> Rows:
    people, answers = columns.get("subject_id"), columns["responses"]
    for row, given in enumerate(answers):
        if people is None or not isinstance(given, dict):
            got = shown({name: values[row] for name, values in columns.items() if values[row] is not None})
            raise InputError(f"responses: must be {PY_IRT} in each row, got {got} in row {row + 1}")
    items = list(dict.fromkeys(item for given in answers for item in given))
    check_size(len(answers), len(items))
    pairs = zip(people or [], answers, strict=True)
    rows = [[_text(who), *(_text(given.get(item)) for item in items)] for who, given in pairs]
    return Rows(["person", *items], rows, wide=True)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


# ---- what texts mean ----------------------------------------------------------------------------------------


def column_of(names: list[str], role: str) -> int | None:
    """The column that has this role, by its name."""
    known = [name.strip().lower() for name in names]
    return next((known.index(name) for name in ROLES[role] if name in known), None)


def as_answer(text: str) -> float:
    """1 or 0; nan where the answer is missing, `WRONG` for any other text."""
    plain = text.strip().lower()
    if plain in MISSING:
        return np.nan
    if plain in TRUE or plain in FALSE:
        return float(plain in TRUE)
    number = re.fullmatch(r"([01])([.,]0*)?", plain)
    return float(number[1]) if number else WRONG


def as_answers(rows: list[list[str]]) -> Floats:
    """(rows, columns)"""
    known = {text: as_answer(text) for text in {text for row in rows for text in row}}
    return np.array([np.fromiter((known[text] for text in row), float, len(row)) for row in rows])


def as_whole(text: str) -> float:
    """The whole number that a text is, nan for any other."""
    return float(text.replace(",", ".")) if re.fullmatch(r"\d{1,15}([.,]0*)?", text.strip()) else np.nan


# ---- checks that name the place -----------------------------------------------------------------------------


def check_size(persons: float, items: int) -> None:
    """Raise InputError before a table is made that the memory may not hold."""
    if persons * items > MOST_CELLS:
        raise InputError(
            f"persons, items: must be at most {bound(MOST_CELLS)} cells, persons times items, "
            f"got {persons:.0f} x {items}"
        )


def check_named(field: str, names: list[str], column: str) -> None:
    """Raise InputError where a name is blank."""
    for row, name in enumerate(names, 1):
        if not name.strip():
            raise InputError(f"{field}: must have a name, got {shown(name)} in row {row}, column {shown(column)}")


def check_answers(table: Rows, answers: Floats, columns: list[int], field: str = "responses") -> None:
    """Raise InputError where a cell of these columns is no answer."""
    wrong = np.argwhere(answers[:, columns] == WRONG)
    if wrong.size:
        row, column = wrong[0][0], columns[wrong[0][1]]
        long = field == "responses" and (answers[:, column] == WRONG).all()
        hint = f": a long table has the columns {LONG}" if long else ""
        got = f"got {shown(table.rows[row][column])} in row {row + 1}, column {shown(table.names[column])}"
        raise InputError(f"{field}: must be {ANSWERS}, {got}{hint}")
