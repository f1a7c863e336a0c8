"""Pools as tables and as files: .parquet, .jsonl and .csv.

A table has one row per item: the columns of `COLUMNS`, the payload columns `prompt` and `answer` by their names, and
any other payload column X as `payload.X`. In a .parquet or .csv file a column that the format would not give back
as it is (nested prompts in .csv, values of several types) is written as X.json, each cell a JSON text.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import InputError, shown
from workbench.extras import MissingExtra, named_extra
from workbench.files import parquet_bytes, parquet_table
from workbench.pool.columns import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from workbench.pool.items import Pool

TEXTS = ("prompt", "answer")  # payload columns that keep their names in a table
PAYLOAD, JSON = "payload.", ".json"
IDS = ("ids", "id", "prompt_id", "item")  # columns whose values name the item of a row
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")  # 007 is text
NUMBER = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*")
LABEL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[-+]?[0-9]+)?")  # as Python writes numbers


class Unlabelled(InputError):
    """A table of items has no difficulty labels."""


def table_of(pool: Pool) -> dict[str, Any]:
    """The columns of a pool under the names they have in a table."""
    known = {name: getattr(pool, name) for name in COLUMNS if getattr(pool, name) is not None}
    payload = {name if name in TEXTS else PAYLOAD + name: values for name, values in (pool.payload or {}).items()}
    return known | payload


def columns_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Pool` that a table gives; Unlabelled where it has no difficulty."""
    columns = dict(table)
    for parent, child in (("extra_info", "difficulty"), ("reward_model", "ground_truth")):  # the released AdaRFT rows
        rows = columns.get(parent)
        if rows is not None and all(isinstance(row, Mapping) for row in rows):
            values = [row.get(child) for row in rows]
            if any(value is not None for value in values):
                columns[f"{parent}.{child}"] = values
    out = {name: columns[name] for name in COLUMNS if name in columns}
    if "ids" not in out and "id" in columns:
        out["ids"] = columns["id"]
    if "features" in out:
        out["features"] = _stacked(out["features"])
    if "difficulty" not in out and "extra_info.difficulty" in columns:
        out["difficulty"] = columns["extra_info.difficulty"]
    payload = {name: columns[name] for name in TEXTS if name in columns}
    if "answer" not in payload and "reward_model.ground_truth" in columns:
        payload["answer"] = columns["reward_model.ground_truth"]
    payload |= {name.removeprefix(PAYLOAD): columns[name] for name in columns if str(name).startswith(PAYLOAD)}
    out["payload"] = {name: [plain(value) for value in values] for name, values in payload.items()} or None
    if "difficulty" not in out and not {"successes", "attempts"} <= out.keys():
        raise Unlabelled(
            "difficulty: must be a column 'difficulty' or 'extra_info.difficulty', or 'successes' and 'attempts'; "
            f"the columns are {', '.join(map(str, table))}"
        )
    return out


def frame_of(pool: Pool) -> pd.DataFrame:
    """A pandas table of `table_of`; features are one array per row."""
    import pandas as pd

    columns = {name: _cells(values) for name, values in table_of(pool).items()}
    # as objects: pandas would make NaN of None in a column of text
    return pd.DataFrame({name: pd.Series(cells, dtype=cells.dtype) for name, cells in columns.items()})


def read_table(path: Path) -> dict[str, Any]:
    """The columns of a pool file. Raises InputError for a file that cannot be read, with the reason."""
    if path.suffix not in READERS:
        raise InputError(f"pool file: must end in .parquet, .jsonl or .csv, got '{path}'")
    if not path.is_file():
        raise InputError(f"pool file: must be a file that exists, got '{path}'")
    try:
        with named_extra():
            return READERS[path.suffix](path.read_bytes())
    except MissingExtra:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"pool file: must be a readable {path.suffix} file, got '{path}' ({reason})") from None


def file_bytes(pool: Pool, suffix: str) -> bytes:
    """What a pool file of this kind holds. Raises InputError for another kind, and for a payload without JSON form."""
    if suffix not in WRITERS:
        raise InputError(f"pool file: must end in .parquet, .jsonl or .csv, got '{suffix}'")
    table = table_of(pool)
    for name in table.keys() - COLUMNS.keys():
        table[name] = [plain(value) for value in table[name]]
        for row, value in enumerate(table[name]):
            if not _has_json_form(value):
                domain = "text, numbers, or lists and mappings of them"
                raise InputError(f"{name}: must be {domain} to be saved, got {shown(value)} at row {row}")
    return WRITERS[suffix](table)


def plain(value: Any) -> Any:
    """A payload value in Python's own types: arrays are lists."""
    if isinstance(value, np.ndarray):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value


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


def _stacked(features: Any) -> Any:
    """Features as lists where each cell of a column is an array."""
    return list(features) if isinstance(features, np.ndarray) and features.dtype == object else features


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


def _decoded(table: dict[str, Any]) -> dict[str, Any]:
    """The columns with JSON texts read."""
    return {
        name.removesuffix(JSON): [json.loads(text) for text in values] if name.endswith(JSON) else values
        for name, values in table.items()
    }


# ---------------------------------------------------------------------------------------------------------- Parquet


def _write_parquet(table: dict[str, Any]) -> bytes:
    import pyarrow as pa

    arrow = _encoded(table, lambda name, values: _from_arrow(_to_arrow(values)))
    return parquet_bytes(pa.table({name: _to_arrow(values) for name, values in arrow.items()}), compression="zstd")


def _to_arrow(values: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim == 2:
        ends = np.arange(len(values) + 1, dtype=np.int64) * values.shape[1]
        return pa.chunked_array([pa.LargeListArray.from_arrays(ends, values.ravel())])
    array = pa.array(values.tolist() if isinstance(values, np.ndarray) and values.dtype.kind in "UO" else values)
    return pa.chunked_array([array])


def _from_arrow(column: Any) -> Any:
    """A column of an Arrow table: an array of numbers, (I,) or (I, F), or a list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy()
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_floating(kind.value_type):
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        flat = pc.list_flatten(column)
        if len(lengths) == 1 and lengths[0] and not flat.null_count:
            return flat.to_numpy().reshape(len(column), lengths[0])
    return column.to_pylist()


def _read_parquet(data: bytes) -> dict[str, Any]:
    wanted = {*COLUMNS, *TEXTS, *IDS, "extra_info", "reward_model", "step"}

    def kept(names: list[str]) -> list[str]:
        known = [n for n in names if n.removesuffix(JSON) in wanted or n.startswith((PAYLOAD, "extra_info."))]
        return known or names

    table = parquet_table(data, kept)
    return _decoded({name: _from_arrow(table[name]) for name in table.column_names})


# ------------------------------------------------------------------------------------------------------- JSON lines


def _write_jsonl(table: dict[str, Any]) -> bytes:
    rows = zip(*(_listed(values) for values in table.values()), strict=True)
    return "".join(json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in rows).encode()


def _read_jsonl(data: bytes) -> dict[str, Any]:
    rows = [json.loads(line) for line in data.decode("utf-8-sig").split("\n") if line.strip()]
    odd = [row for row in rows if not isinstance(row, dict)]
    if odd or not rows:
        raise ValueError(f"every line must be a JSON object, got {odd[0]!r}" if odd else "it has no lines")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


# -------------------------------------------------------------------------------------------------------------- CSV


def _write_csv(table: dict[str, Any]) -> bytes:
    return _csv_bytes(_encoded(table, lambda name, values: _csv_columns(_csv_bytes({name: values}))[name]))


def _csv_bytes(table: Mapping[str, Any]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(_listed(values) for values in table.values()), strict=True))
    return text.getvalue().encode()


def _csv_columns(data: bytes) -> dict[str, Any]:
    """Columns of text, but of numbers, or True and False, where a column of `COLUMNS` holds nothing else."""
    limit = csv.field_size_limit(2**31 - 1)  # features and long prompts go beyond the usual 2^17 characters
    try:
        lines = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    finally:
        csv.field_size_limit(limit)
    if not lines:
        raise ValueError("it has no lines")
    names, *rows = lines
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"the column {next(n for n in names if names.count(n) > 1)!r} comes twice")
    cells = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
    return {name: _inferred(name, list(column)) for name, column in cells.items()}


def _inferred(name: str, cells: list[str]) -> list[Any]:
    """The cells as numbers or truth values where a column can hold them and all cells are such; no value if empty."""
    if name not in COLUMNS and name not in IDS and not name.startswith("extra_info."):
        return cells
    numeric = name.startswith("extra_info.") or (name in COLUMNS and COLUMNS[name].what != "labels")
    number = NUMBER if numeric else LABEL
    if all(cell in ("True", "False") for cell in cells):
        return [cell == "True" for cell in cells]
    if all(WHOLE_NUMBER.fullmatch(cell) for cell in cells):
        return [int(cell) for cell in cells]
    if all(number.fullmatch(cell) or not cell for cell in cells):
        return [float(cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def _read_csv(data: bytes) -> dict[str, Any]:
    return _decoded(_csv_columns(data))


READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".csv": _read_csv}
WRITERS = {".parquet": _write_parquet, ".jsonl": _write_jsonl, ".csv": _write_csv}
