"""Response tables in files."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.difficulty import irt
from workbench.difficulty.counts import Floats
from workbench.errors import InputError, shown

if TYPE_CHECKING:
    import pandas as pd

LONG = ("person", "item", "successes", "attempts")
SOLVED, FAILED = ("1", "1.0"), ("0", "0.0")  # as a wide table has them


def read_responses(path: Path) -> irt.Responses:
    """Responses from a .csv: wide (a row per person, a column per item of 0, 1 or blank) or long.

    Wide: the first column names the persons if it is called person, has no name, or holds anything but 0, 1 and blank.
    Otherwise it is an item, and persons are called by their rows, from 1 on. Warns where that is a guess.
    Long: the columns person, item, successes, attempts, in any order, with one row per person and item.
    Raises InputError for any other file.
    """
    import pandas as pd

    if path.suffix != ".csv" or not path.is_file():
        raise InputError(f"responses: must be a .csv file that exists, got '{path}'")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (ValueError, OSError, csv.Error) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"responses: must be a readable .csv file, got '{path}' ({reason})") from None
    again = [name for k, name in enumerate(names) if name in names[:k]] if len(set(names)) < len(names) else []
    if again:
        raise InputError(f"columns: must come once each, got '{again[0]}' again")
    if not rows:
        raise InputError(f"responses: must have rows below the header, got none in '{path}'")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            got = f"got {len(row)} in row {number + 1}"
            raise InputError(f"responses: must have {len(names)} cells in each row, {got}")
    table = pd.DataFrame(rows, columns=names, dtype=str)
    named = set(LONG) & set(table.columns)
    if set(table.columns) == set(LONG):
        return _long(table)
    if len(named) >= 2:
        odd = sorted(set(table.columns) ^ set(LONG))
        raise InputError(f"columns: must be {', '.join(LONG)} for a long table, differs in {', '.join(map(str, odd))}")
    return _wide(table)


def _long(table: pd.DataFrame) -> irt.Responses:
    twice = table.duplicated(["person", "item"])
    if twice.any():
        row = table[twice].iloc[0]
        raise InputError(
            f"person, item: must come once each, got person '{row['person']}', item '{row['item']}' again "
            f"({int(twice.sum())} such rows)"
        )
    persons, items = list(dict.fromkeys(table["person"])), list(dict.fromkeys(table["item"]))
    at = (
        table["person"].map({name: k for k, name in enumerate(persons)}).to_numpy(),
        table["item"].map({name: k for k, name in enumerate(items)}).to_numpy(),
    )
    s, n = np.zeros((2, len(persons), len(items)))
    s[at], n[at] = _numbers(table["successes"], "successes"), _numbers(table["attempts"], "attempts")
    return irt.Responses(s, n, persons, items)


def _wide(table: pd.DataFrame) -> irt.Responses:
    cells = table.apply(lambda column: column.str.strip()).to_numpy()
    allowed = np.isin(cells, (*SOLVED, *FAILED, ""))
    items, persons = table.columns.tolist(), [str(row + 1) for row in range(len(table))]
    first, called = cells[:, 0], items[0].strip().lower() in ("", "person")
    answers = allowed[:, 0] & (first != "")
    named = called or not allowed[:, 0].all() or not answers.any()
    if not called and answers.any() and len(set(first)) == len(first):
        warnings.warn(f"the first column, {shown(items[0])}, is read as {'names of persons' if named else 'an item'}: "
                      "call it person if it has names, and have 0, 1 and blank in it if not", stacklevel=3)  # fmt: skip
    if named:
        persons, items, cells, allowed = table.iloc[:, 0].tolist(), items[1:], cells[:, 1:], allowed[:, 1:]
    if not items:
        raise InputError(f"columns: must have at least one item beside the person, got only {shown(table.columns[0])}")
    if len(set(persons)) < len(persons):
        again = next(name for k, name in enumerate(persons) if name in persons[:k])
        raise InputError(
            f"person: must come once each in the first column, unless an item is there (0, 1, blank), "
            f"got '{again}' again"
        )
    if not allowed.all():
        p, i = np.argwhere(~allowed)[0]
        where = f"person '{persons[p]}', item '{items[i]}'"
        raise InputError(f"responses: must be 0, 1 or blank, got '{cells[p, i]}' for {where}")
    return irt.Responses(np.isin(cells, SOLVED).astype(float), (cells != "").astype(float), persons, items)


def _numbers(column: pd.Series[Any], name: str) -> Floats:
    try:
        return np.array([float(text) for text in column])
    except ValueError:
        bad = next(text for text in column if not _is_number(text))
        raise InputError(f"{name}: must be whole numbers, got '{bad}'") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
