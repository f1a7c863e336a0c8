"""JSON as columns: lists of objects, objects of columns, and lines of objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from workbench.errors import InputError, bound, shown
from workbench.tables.cells import check_once, text_of

MOST_CELLS = 10**8  # rows times names: 0.8 GB


class Written(float):
    """A number whose text in the file is another than Python's: 1.50, 0.00001, or more digits than a float has."""

    text: str

    def __new__(cls, text: str | float) -> Written:
        number = super().__new__(cls, text)
        number.text = str(text)
        return number


def read_jsonl(data: bytes, what: str, exact: bool = False, **_: Any) -> dict[str, Any]:
    """One JSON object per line; a name that an object lacks is None there. exact: numbers stay the text they are."""
    load, rows = _decoder(exact), []
    for number, line in enumerate(text_of(data).split("\n"), 1):
        try:
            rows += [load(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise _no_json(what, line, number, error) from None
        except InputError as error:
            raise InputError(f"{error} in line {number}") from None
    return _of_rows(rows, what)


def read_json(data: bytes, what: str, exact: bool = False, **how: Any) -> dict[str, Any]:
    """A list of objects, an object of columns (lists, or pandas' objects by row), or one such list under one name.

    Lines of objects are taken, too: some tools name them .json.
    """
    text = text_of(data).strip()
    try:
        found = _decoder(exact)(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return read_jsonl(data, what, exact, **how)
        lines = text.split("\n")
        raise _no_json(what, lines[error.lineno - 1], error.lineno, error) from None
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        if len(lists) == 1 and lists[0] and all(isinstance(row, dict) for row in lists[0]):
            return _of_rows(lists[0], what)
        if len(found) == 1 or not found or not all(isinstance(value, (list, dict)) for value in found.values()):
            return _of_rows([found], what)
        columns = {name: list(value.values()) if isinstance(value, dict) else value for name, value in found.items()}
        sizes = {name: len(values) for name, values in columns.items()}
        if len(set(sizes.values())) > 1:
            got = ", ".join(f"{name}: {size}" for name, size in sizes.items())
            raise InputError(f"columns: must have as many rows each, got {got}")
        return columns
    return _of_rows(found if isinstance(found, list) else [found], what)


def _decoder(exact: bool) -> Callable[[str], Any]:
    as_text: dict[str, Any] = {"parse_int": str, "parse_float": str, "parse_constant": str}
    how = as_text if exact else {"parse_float": _number}
    return json.JSONDecoder(object_pairs_hook=checked_object, **how).decode


def _number(text: str) -> float:
    number = float(text)
    return number if repr(number) == text else Written(text)


def checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; InputError where a name comes twice, of which `json` would keep the last."""
    check_once("columns", [name for name, _ in pairs], "key", " of an object")
    return dict(pairs)


def _no_json(what: str, line: str, number: int, error: json.JSONDecodeError) -> InputError:
    got = f"got {shown(line)} in line {number} ({error.msg})"
    return InputError(f"{what}: must have a JSON object in each line, {got}")


def _of_rows(rows: list[Any], what: str) -> dict[str, Any]:
    if not rows:
        raise InputError(f"{what}: must have rows below the header, got none")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{what}: must be a JSON object in each row, got {shown(row)} in row {number}")
    names = dict.fromkeys(name for row in rows for name in row)
    if len(rows) * len(names) > MOST_CELLS:
        most = bound(MOST_CELLS)
        raise InputError(f"{what}: must be at most {most} cells, got {len(rows)} rows of {len(names)} names")
    return {name: [row.get(name) for row in rows] for name in names}
