"""Pools as tables, and files of them: .parquet, .jsonl and .csv.

A table has one row per item: the columns of `COLUMNS`, the payload columns `prompt` and `answer` by their names, and
any other payload column X as `payload.X`. In a .parquet or .csv file a column that the format would not give back
as it is (nested prompts in .csv, values of several types) is written as X.json, each cell a JSON text.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import InputError, shown
from workbench.extras import MissingExtra
from workbench.files import parquet_bytes
from workbench.pool.columns import COLUMNS
from workbench.pool.layouts import (
    IDS,
    JSON,
    KNOWN,
    PAYLOAD,
    PERCENT,
    RATE,
    ROLES,
    TEXTS,
    Understood,
    check_mapping,
    decoded,
    plain,
    split_mapping,
    understand,
    understood_cells,
)
from workbench.tables.cells import read_csv
from workbench.tables.formats import Table, from_arrow, read_table

if TYPE_CHECKING:
    import pandas as pd

    from workbench.pool.items import Pool


def table_of(pool: Pool) -> dict[str, Any]:
    """The columns of a pool under the names they have in a table."""
    known = {name: getattr(pool, name) for name in COLUMNS if getattr(pool, name) is not None}
    payload = {name if name in TEXTS else PAYLOAD + name: values for name, values in (pool.payload or {}).items()}
    return known | payload


def frame_of(pool: Pool) -> pd.DataFrame:
    """A pandas table of `table_of`; features are one array per row."""
    import pandas as pd

    columns = {name: _cells(values) for name, values in table_of(pool).items()}
    # as objects: pandas would make NaN of None in a column of text
    return pd.DataFrame({name: pd.Series(cells, dtype=cells.dtype) for name, cells in columns.items()})


def read(source: str | os.PathLike[str], mapping: Mapping[str, str]) -> Understood:
    """The arguments of `Pool` that a file, folder or data set gives. Raises InputError that names the source."""
    named, path = dict(check_mapping(mapping)), str(source)
    if isinstance(source, str):
        path, inside = split_mapping(source)
        named = inside | named
    asked = {*named.values(), *(column.split(".")[0] for column in named.values())}
    table = read_table(path, "pool", lambda name: name in asked or _may_matter(name))
    try:
        return understand(decoded(table), named)
    except MissingExtra:
        raise
    except InputError as error:
        raise InputError(f"{path[:300]}: {error}") from None


def _may_matter(name: str) -> bool:
    """Whether a column of a .parquet file is read."""
    name = name.removesuffix(JSON)
    nested = "extra_info", "reward_model"
    known = {*ROLES, *IDS, *nested, "step", *PERCENT, *(name for names in KNOWN.values() for name in names)}
    return name in known or name.startswith((PAYLOAD, *(f"{n}." for n in nested))) or RATE.fullmatch(name) is not None


def file_bytes(pool: Pool, suffix: str) -> bytes:
    """What a pool file of this kind holds. Raises InputError for another kind, and for a payload without JSON form."""
    if suffix not in WRITERS:
        raise InputError(f"pool file: must end in .parquet, .jsonl or .csv, got '{suffix}'")
    table = table_of(pool)
    if not pool.labelled:
        table["difficulty"] = [None if np.isnan(value) else value for value in pool.difficulty.tolist()]
    for name in table.keys() - COLUMNS.keys():
        table[name] = [plain(value) for value in table[name]]
        for row, value in enumerate(table[name]):
            if not _has_json_form(value):
                domain = "text, numbers, or lists and mappings of them"
                raise InputError(f"{name}: must be {domain} to be saved, got {shown(value)} at row {row}")
    return WRITERS[suffix](table)


def _has_json_form(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _has_json_form(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(map(_has_json_form, value))
    return value is None or isinstance(value, (str, int, float))


def _cells(values: Any) -> Any:
    """A column of a pandas table whose cells are the values, of their own types."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return values
    cells = np.empty(len(values), dtype=object)
    cells[:] = [*values] if not isinstance(values, np.ndarray) else None
    if isinstance(values, np.ndarray):
        for row in range(len(values)):
            cells[row] = values[row]
    return cells


def _listed(values: Any) -> list[Any]:
    listed: list[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    return listed


def _encoded(table: Mapping[str, Any], written: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The columns as a format takes them: as they are where it gives them back unchanged, else as JSON texts.

    written: (name, values) -> the values that come back; a ValueError or TypeError means that they cannot be written.
    """
    out = {}
    for name, values in table.items():
        if name in COLUMNS and COLUMNS[name].what != "labels" and np.ndim(values) == 1:
            out[name] = values
            continue
        try:
            same = not name.endswith(JSON) and _as_json(_listed(written(name, values))) == _as_json(_listed(values))
        except (ValueError, TypeError, OverflowError):
            same = False
        out[name if same else name + JSON] = values if same else [json.dumps(value) for value in _listed(values)]
    return out


def _as_json(values: list[Any]) -> str:
    return json.dumps(values, sort_keys=True)


# ---------------------------------------------------------------------------------------------------------- Parquet


def _write_parquet(table: dict[str, Any]) -> bytes:
    import pyarrow as pa

    arrow = _encoded(table, lambda name, values: from_arrow(_to_arrow(values)))
    return parquet_bytes(pa.table({name: _to_arrow(values) for name, values in arrow.items()}), compression="zstd")


def _to_arrow(values: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim == 2:
        ends = np.arange(len(values) + 1, dtype=np.int64) * values.shape[1]
        return pa.chunked_array([pa.LargeListArray.from_arrays(ends, values.ravel())])
    array = pa.array(values.tolist() if isinstance(values, np.ndarray) and values.dtype.kind in "UO" else values)
    return pa.chunked_array([array])


# ------------------------------------------------------------------------------------------------------- JSON lines


def _write_jsonl(table: dict[str, Any]) -> bytes:
    rows = zip(*(_listed(values) for values in table.values()), strict=True)
    return "".join(json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in rows).encode()


# -------------------------------------------------------------------------------------------------------------- CSV


def _write_csv(table: dict[str, Any]) -> bytes:
    return _csv_bytes(_encoded(table, _as_read))


def _csv_bytes(table: Mapping[str, Any]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(_listed(values) for values in table.values()), strict=True))
    return text.getvalue().encode()


def _as_read(name: str, values: Any) -> list[Any]:
    """The cells of a column as they come back from a .csv file."""
    table = Table(read_csv(_csv_bytes({name: values}), name), frozenset({name}))
    return list(understood_cells(table, name))


WRITERS = {".parquet": _write_parquet, ".jsonl": _write_jsonl, ".csv": _write_csv}
