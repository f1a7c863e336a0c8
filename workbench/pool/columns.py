"""The columns of a pool: which there are, and what may be in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.errors import NO_ARRAY, InputError, holds_masked, shown

Floats = NDArray[np.float64]


LABELS = (str, int, float, np.integer, np.floating)  # what an entry of a column of labels may be


class Kind(NamedTuple):
    """What a column holds. what: numbers, counts, or labels, which are numbers or text."""

    what: str
    low: float = -np.inf
    high: float = np.inf
    axes: int = 1


# The only list of columns: checks, `Pool.take`, `Pool.to_frame`, files and the digest go by it.
COLUMNS: dict[str, Kind] = {
    "difficulty": Kind("numbers", 0, 100),
    "ids": Kind("labels"),
    "category": Kind("labels"),
    "level": Kind("labels"),
    "successes": Kind("counts"),
    "attempts": Kind("counts"),
    "features": Kind("numbers", axes=2),
    "weak_rate": Kind("numbers", 0, 1),
    "strong_rate": Kind("numbers", 0, 1),
}


def checked_columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """Every column of `COLUMNS` as an array of ours, None where there is none but difficulty.

    That comes from counts, or is NaN: no label. Raises InputError with the column, its domain, and the first value out
    of it, and where no column says how many items there are.
    """
    payload = {f"payload.{name}": values for name, values in (given.get("payload") or {}).items()}
    named = {**{name: given[name] for name in COLUMNS}, **payload}
    main = next((name for name, values in named.items() if values is not None), "")
    if not main:
        raise InputError("difficulty: must be one number in [0, 100] per item, or another column be given, got none")
    size = len(_column(main, named[main]))
    if not size:
        raise InputError(f"{main}: must have a row for each of >= 1 items, got none")
    out: dict[str, Any] = dict.fromkeys(COLUMNS)
    for name, kind in COLUMNS.items():
        if (values := given[name]) is not None:
            check_length(name, values, size, main)
            out[name] = labels(name, values) if kind.what == "labels" else _checked_numbers(name, values, kind)
    _check_counts(out["successes"], out["attempts"])
    if out["difficulty"] is None:
        counted = out["successes"] is not None
        out["difficulty"] = 100.0 * (1.0 - out["successes"] / out["attempts"]) if counted else np.full(size, np.nan)
    return out


def checked_payload(payload: Any, size: int) -> dict[str, list[Any]] | None:
    """The payload as lists of ours; InputError unless it maps names to columns of `size` rows."""
    if payload is None:
        return None
    if not isinstance(payload, Mapping):
        raise InputError(f"payload: must map column names to columns, got a {type(payload).__name__}")
    for name, values in payload.items():
        if not isinstance(name, str) or not name:
            raise InputError(f"payload: must have text for the names of its columns, got {shown(name)}")
        check_length(f"payload.{name}", values, size)
    return {name: list(values) for name, values in payload.items()}


def check_length(name: str, values: Any, size: int, main: str = "difficulty") -> None:
    rows = len(_column(name, values))
    if rows != size:
        raise InputError(f"{name}: must have {size} rows like {main}, got {rows}")


def numbers(name: str, values: Any, domain: str = "numbers") -> Floats:
    """Values of a column as float64, a copy. InputError names the first entry that is no number.

    Text, booleans, dates, complex numbers, masked arrays and arrays of objects are no numbers.
    """
    _column(name, values)
    array = _array(name, values, domain)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: must be {domain}, got {_first_odd(values)}")
    return np.array(array, dtype=np.float64)


def counts(name: str, values: Any) -> NDArray[np.int64]:
    """Values as int64, a copy; InputError unless whole numbers (as floats too: tables with gaps hold floats)."""
    array = numbers(name, values, "whole numbers >= 0")
    bad = np.asarray(~((array >= 0) & (array < 2.0**53) & (array == np.floor(array))))
    if bad.any():
        raise InputError(f"{name}: must be whole numbers >= 0, got {array[bad][0]:g}{_at_row(bad)}")
    return array.astype(np.int64)


def labels(name: str, values: Any) -> NDArray[Any]:
    """Labels (I,) as a copy: whole or finite numbers, or text; for `category` True and False as well."""
    domain = "text or numbers" if name != "category" else "text, numbers, or True and False"
    array = np.array(_array(name, values, domain))
    if array.ndim != 1:
        raise InputError(f"{name}: must be one label per item, got shape {array.shape}")
    if array.dtype.kind == "O":
        for row, value in enumerate(array):
            if not isinstance(value, LABELS) or value != value or (isinstance(value, bool) and name != "category"):
                raise InputError(f"{name}: must be {domain} in every row, got {shown(value)} at row {row}")
        if all(isinstance(value, str) for value in array):
            text = array.astype(str)
            array = text if text.tolist() == array.tolist() else array  # NumPy cuts trailing NULs
    if array.dtype.kind not in ("iufUOb" if name == "category" else "iufUO"):
        raise InputError(f"{name}: must be {domain}, got {shown(array[0])} at row 0")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = ~np.isfinite(array)
        raise InputError(f"{name}: must be {domain} in every row, got {array[bad][0]}{_at_row(bad)}")
    return array


def _checked_numbers(name: str, values: Any, kind: Kind) -> NDArray[Any]:
    if kind.what == "counts":
        array: NDArray[Any] = counts(name, values)
        if array.ndim != 1:
            raise InputError(f"{name}: must be one whole number per item, got shape {array.shape}")
        return array
    domain = "finite numbers" if np.isinf(kind.high) else f"numbers in [{kind.low:g}, {kind.high:g}]"
    array = numbers(name, values, domain)
    if array.ndim != kind.axes or array.size == 0:
        shape = "one per item" if kind.axes == 1 else "of shape (I, F), as many in each row"
        raise InputError(f"{name}: must be {domain}, {shape}, for >= 1 items, got shape {array.shape}")
    bad = ~(np.isfinite(array) & (array >= kind.low) & (array <= kind.high))
    if name == "difficulty":
        bad &= ~np.isnan(array)  # no label
    if bad.any():
        bad_rows = bad.reshape(len(bad), -1).any(axis=1)
        raise InputError(
            f"{name}: must be {domain}, got {array[bad][0]}{_at_row(bad_rows)} "
            f"({bad_rows.sum()} of {len(array)} rows are out)"
        )
    return array


def _check_counts(successes: NDArray[Any] | None, attempts: NDArray[Any] | None) -> None:
    if (successes is None) != (attempts is None):
        raise InputError("successes, attempts: must be given together, got only one of them")
    if successes is None or attempts is None:
        return
    wrong = np.flatnonzero(~((attempts >= 1) & (successes <= attempts)))
    if wrong.size:
        row = wrong[0]
        raise InputError(
            f"successes: must be in [0, attempts] with attempts >= 1, got {successes[row]} of {attempts[row]} "
            f"at row {row}"
        )


def _column(name: str, values: Any) -> Sequence[Any]:
    """The values, if they have rows; InputError otherwise."""
    try:
        len(values)
        single = not getattr(values, "ndim", 1)
    except TypeError:  # a class, a sparse matrix
        single = True
    if single or isinstance(values, (str, bytes, Mapping, set)):
        raise InputError(f"{name}: must be a column, one entry per item, got {shown(values)}")
    rows: Sequence[Any] = values
    return rows


def _array(name: str, values: Any, domain: str) -> NDArray[Any]:
    """Values as an array; of objects where a list holds text or truth values beside others, which NumPy converts."""
    try:
        if holds_masked(values):
            raise InputError(f"{name}: must be {domain} in every row, got a masked array: fill it or drop its rows")
        if isinstance(values, np.ndarray):
            return values
        kinds = _kinds(values) if isinstance(values, (list, tuple)) else set()
        return np.asarray(values, dtype=object if len(kinds) > 1 and kinds & {bool, str} else None)
    except InputError:
        raise
    except NO_ARRAY:
        raise InputError(f"{name}: must be {domain}, as many in each row, got {shown(values)}") from None


def _kinds(values: Sequence[Any]) -> set[type]:
    """Which of True and False, text and other things a list, or a list of lists, holds."""
    kinds: set[type] = set()
    for kind in set(map(type, values)):
        if issubclass(kind, (list, tuple)):
            kinds |= {inner for value in values if isinstance(value, kind) for inner in _kinds(value)}
        else:
            kinds.add(bool if issubclass(kind, (bool, np.bool_)) else str if issubclass(kind, str) else object)
    return kinds


def _first_odd(values: Any) -> str:
    """The first entry that is no number, and its row, in words. Among texts, the first that says no number."""
    if len(values) and all(isinstance(value, str) for value in values):
        row = next((row for row, value in enumerate(values) if not _says_number(value)), 0)
        return f"{shown(str(values[row]))} at row {row}"
    for row, value in enumerate(values):
        entries = np.asarray(value, dtype=object).ravel() if isinstance(value, (list, tuple, np.ndarray)) else [value]
        for entry in entries:
            if isinstance(entry, (bool, np.bool_)) or not isinstance(entry, (int, float, np.integer, np.floating)):
                return f"{shown(entry)} at row {row}"
    return f"numbers as objects, {shown(values)}"


def _says_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _at_row(bad: Any) -> str:
    return f" at row {np.argmax(bad)}"
