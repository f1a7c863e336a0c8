"""Files that this project wrote, when it reads them again: DamagedFile where one is not as it was written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from workbench.errors import few, shown, shown_path
from workbench.files import DamagedFile, parquet_table, read_whole
from workbench.tables.cells import read_csv
from workbench.tables.records import checked_object

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


def read_json(path: Path) -> dict[str, Any]:
    """The object that a .json file holds. Raises DamagedFile for anything else, names that come twice included."""
    found = _parsed(path, read_whole(path), lambda data: json.loads(data.decode(), object_pairs_hook=checked_object))
    if not isinstance(found, dict):
        raise damaged(path, f"a JSON object, got {shown(found)}")
    return found


def read_numbers(
    path: Path, needed: Sequence[str], known: Sequence[str] = (), data: bytes | None = None
) -> pd.DataFrame:
    """The numbers of a .csv file; an empty cell is NaN.

    needed: columns that are there in this order; known: those that may follow. data: what the file holds, where it has
    been read. Raises DamagedFile for other columns, rows of other lengths, and cells that are no numbers.
    """
    import pandas as pd

    def parse(data: bytes) -> pd.DataFrame:
        names = list(read_csv(data, "file"))
        check_columns(path, names, needed, known)
        return pd.read_csv(io.BytesIO(data), index_col=False)

    frame = _parsed(path, read_whole(path) if data is None else data, parse)
    if frame.empty:
        raise damaged(path, "a row at least, got none")
    for name in frame:
        if frame[name].dtype.kind not in "iuf":
            raise damaged(path, f"numbers in column {name}, got {shown(frame[name].iloc[0])}")
    return frame


def read_columns(path: Path, kinds: dict[str, str], data: bytes | None = None) -> pd.DataFrame:
    """A .parquet file with just these columns. kinds: of each the kinds of its values that are allowed, as of NumPy."""
    table = _parsed(path, read_whole(path) if data is None else data, parquet_table)
    check_columns(path, table.column_names, list(kinds))
    frame: pd.DataFrame = table.to_pandas()
    for name, kind in kinds.items():
        if frame[name].dtype.kind not in kind:
            raise damaged(path, f"columns as they were written, got {name} of type {frame[name].dtype}")
    return frame


def check_columns(path: Path, names: Sequence[str], needed: Sequence[str], known: Sequence[str] = ()) -> None:
    """DamagedFile unless the first columns are those needed, in their order, and the others are known."""
    if list(names[: len(needed)]) != list(needed) or len(set(names)) < len(names):
        raise damaged(path, f"the columns {few(list(needed))}, got {few(list(names))}")
    if odd := set(names[len(needed) :]) - set(known):
        raise damaged(path, f"no other columns than it was written with, got {few(sorted(odd))}")


def check_rows(path: Path, column: Any, right: Any, domain: str) -> None:
    """DamagedFile that names the first value of a column that is not right (a mask)."""
    wrong = np.flatnonzero(~np.asarray(right))
    if wrong.size:
        raise damaged(path, f"{domain} in column {column.name}, got {column.iloc[wrong[0]]} in row {wrong[0]}")


def damaged(path: Path, domain: str) -> DamagedFile:
    """The error of a file that is not what it must be."""
    return DamagedFile(f"{shown_path(path)}: must have {domain}")


def _parsed(path: Path, data: bytes, parse: Callable[[bytes], T]) -> T:
    """What a file's bytes say; DamagedFile where they cannot be read."""
    try:
        return parse(data)
    except DamagedFile:
        raise
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DamagedFile(f"{shown_path(path)}: must be readable as it was written ({reason})") from None
