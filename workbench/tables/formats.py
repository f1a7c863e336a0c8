"""Files as columns: .parquet, .csv, .tsv, .json, .jsonl, each of the texts as .gz too; folders of shards; data sets.

Columns are lists or arrays of as many rows. Cells of .csv and .tsv are text as it stands in the file. A cell without a
value is None, in text files "".
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.errors import InputError, shown, shown_path
from workbench.extras import MissingExtra, named_extra
from workbench.files import parquet_table

HUB = "hf:"  # what the name of a data set begins with
KINDS = ".parquet, .csv, .tsv, .json or .jsonl, each of the texts as .gz too"
SOURCES = f"a file ({KINDS}), a folder of such files, or {HUB}NAME of a data set"


class Table(NamedTuple):
    """Columns by name, as many rows in each.

    text: those whose cells are text because the file has no types. kind: the ending of the file, "" for other tables.
    """

    columns: dict[str, Any]
    text: frozenset[str] = frozenset()
    kind: str = ""

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def is_table(name: str) -> bool:
    """Whether a text names a table: a data set, a file with a known ending, or a folder that is there."""
    return name.startswith(HUB) or kind_of(Path(name)) in READERS or (os.sep in name and os.path.isdir(name))


def is_source(name: str) -> bool:
    """Whether a text is meant to name a table: it has an ending or a folder, too."""
    return is_table(name) or os.sep in name or Path(name).suffix != ""


def read_table(source: str | Path, what: str = "file", wanted: Callable[[str], bool] | None = None) -> Table:
    """The table of a file, of a folder of shards (one kind of file, by name), or of the data set hf:NAME.

    hf:NAME/CONFIG@SPLIT: the split is by default train. what: names the source in errors. wanted: which columns of a
    .parquet file are read. Raises InputError, in one line, where it cannot be read, and MissingExtra.
    """
    if str(source).startswith(HUB):
        return _data_set(str(source).removeprefix(HUB), what)
    if not isinstance(source, (str, Path)):
        raise InputError(f"{what}: must be {SOURCES}, got {shown(source)}")
    path = Path(source)
    try:
        if os.path.isdir(path):
            return _shards(path, what, wanted)
        return _file(path, what, wanted)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{what}: must be {SOURCES} that can be read, got {shown_path(path)} ({reason})") from None
    except ValueError as error:  # a NUL in the path
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what}: must be {SOURCES}, got {shown_path(source)} ({error})") from None


def kind_of(path: Path) -> str:
    """The ending that says how a file is read, without .gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        return suffixes[-2] if len(suffixes) == 2 and suffixes[-2] != ".parquet" else ""
    return suffixes[-1] if suffixes else ""


def _file(path: Path, what: str, wanted: Callable[[str], bool] | None) -> Table:
    kind = kind_of(path)
    if kind not in READERS:
        raise InputError(f"{what}: must be {SOURCES}, got {shown_path(path)}")
    if not os.path.isfile(path):
        raise InputError(f"{what}: must be a file that exists, got {shown_path(path)}")
    data = path.read_bytes()
    try:
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
        with named_extra():
            columns = READERS[kind](data, wanted)
    except MissingExtra:
        raise
    except (OSError, ValueError, EOFError, zlib.error, RecursionError, MemoryError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{what}: must be a readable {kind} file, got {shown_path(path)} ({reason})") from None
    return Table(columns, frozenset(columns if kind in (".csv", ".tsv") else ()), kind)


def _shards(folder: Path, what: str, wanted: Callable[[str], bool] | None) -> Table:
    """The files of a folder, of one kind and with the same columns, one after another."""
    shown_files = (path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    paths = sorted(path for path in shown_files if kind_of(path) in READERS)
    kinds = {kind_of(path) for path in paths}
    if len(kinds) != 1:
        got = ", ".join(sorted(kinds)) or "none"
        where = shown_path(folder)
        raise InputError(f"{what}: must be a folder with files of one kind ({KINDS}), got {got} in {where}")
    tables = [_file(path, what, wanted) for path in paths]
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    for path, table in zip(paths, tables, strict=True):
        if odd := [name for name in names if name not in table.columns]:
            where = shown_path(path)
            raise InputError(f"{what}: must have the same columns in each file, got no {odd[0]!r} in {where}")
    return tables[0]._replace(columns={name: _joined([table.columns[name] for table in tables]) for name in names})


def _joined(parts: Sequence[Any]) -> Any:
    shapes = {part.shape[1:] if isinstance(part, np.ndarray) else None for part in parts}
    return np.concatenate(parts) if len(shapes) == 1 and None not in shapes else [v for part in parts for v in part]


def _data_set(name: str, what: str) -> Table:
    """A data set of the Hugging Face hub, or of a folder that `datasets` knows, by the package of that name."""
    name, _, split = name.partition("@")
    path, config = name, None
    if name.count("/") == 2 and not Path(name).exists():
        path, _, config = name.rpartition("/")
    try:
        import datasets
    except ModuleNotFoundError:
        raise InputError(f"{what}: needs the package datasets, which is not installed, for '{HUB}{name}'") from None
    try:
        rows = datasets.load_dataset(path, config, split=split or "train")
    except Exception as error:  # `datasets` raises many kinds, some with pages of text
        reason = str(error).strip().split("\n")[0][:200]
        got = shown_path(HUB + name)
        raise InputError(f"{what}: must be a data set that can be loaded, got {got} ({reason})") from None
    return Table({column: from_arrow(rows.data[column]) for column in rows.column_names})


# ---------------------------------------------------------------------------------------------------------- Parquet


def read_parquet(data: bytes, wanted: Callable[[str], bool] | None = None) -> dict[str, Any]:
    """Columns of Parquet bytes; `wanted` chooses among their names, all where it chooses none."""

    def kept(names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError(f"the column {next(n for n in names if names.count(n) > 1)!r} comes twice")
        return [name for name in names if wanted(name)] or names if wanted else names

    table = parquet_table(data, kept)
    return {name: from_arrow(table[name]) for name in table.column_names}


def from_arrow(column: Any) -> Any:
    """A column of an Arrow table: an array of numbers, (I,) or (I, F), or a list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy() if not column.null_count or pa.types.is_floating(kind) else column.to_pylist()
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_floating(kind.value_type):
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        flat = pc.list_flatten(column)
        if len(lengths) == 1 and lengths[0] and not flat.null_count:
            return flat.to_numpy().reshape(len(column), lengths[0])
    return column.to_pylist()


# ------------------------------------------------------------------------------------------------------------- JSON


def read_jsonl(data: bytes, _wanted: Any = None) -> dict[str, Any]:
    """One JSON object per line; a name that an object lacks is None there."""
    lines = [(number, line) for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1) if line.strip()]
    rows = []
    for number, line in lines:
        try:
            row = json.loads(line, object_pairs_hook=once)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} must be a JSON object, got {shown(row)}")
        rows.append(row)
    return _of_rows(rows)


def read_json(data: bytes, _wanted: Any = None) -> dict[str, Any]:
    """A list of objects, an object of columns (lists, or pandas' objects by row), or one such list under one name.

    Lines of objects are taken, too: some tools name them .json.
    """
    text = data.decode("utf-8-sig")
    try:
        found = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return read_jsonl(data)
        raise
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        if len(lists) == 1 and lists[0] and all(isinstance(row, dict) for row in lists[0]):
            return _of_rows(lists[0])
        if len(found) == 1 or not found or not all(isinstance(value, (list, dict)) for value in found.values()):
            return _of_rows([found])
        columns = {name: list(value.values()) if isinstance(value, dict) else value for name, value in found.items()}
        sizes = {name: len(values) for name, values in columns.items()}
        if len(set(sizes.values())) > 1:
            got = ", ".join(f"{name}: {size}" for name, size in sizes.items())
            raise ValueError(f"columns must have as many rows each, got {got}")
        return columns
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        odd = next((row for row in found if not isinstance(row, dict)), found) if isinstance(found, list) else found
        raise ValueError(f"it must hold a list of JSON objects, got {shown(odd)}")
    return _of_rows(found)


def _of_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    if not rows:
        raise ValueError("it has no lines")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; ValueError where a name comes twice, of which `json` would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} comes twice in an object")
    return found


# ----------------------------------------------------------------------------------------------------- text with cells


def read_csv(data: bytes, _wanted: Any = None) -> dict[str, list[str]]:
    """Columns of text. Cells are separated by commas, or by semicolons or tabs where the header has no comma."""
    text = data.decode("utf-8-sig")
    header = text.split("\n", 1)[0]
    return _cells(text, next((c for c in ",;\t" if c in header), ","))


def read_tsv(data: bytes, _wanted: Any = None) -> dict[str, list[str]]:
    """Columns of text, separated by tabs."""
    return _cells(data.decode("utf-8-sig"), "\t")


def _cells(text: str, delimiter: str) -> dict[str, list[str]]:
    limit = csv.field_size_limit(2**31 - 1)  # features and long prompts go beyond the usual 2^17 characters
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    finally:
        csv.field_size_limit(limit)
    if not lines:
        raise ValueError("it has no lines")
    (_, names), *rows = lines
    if len(set(names)) < len(names):
        raise ValueError(f"the column {next(n for n in names if names.count(n) > 1)!r} comes twice")
    for number, (line, row) in enumerate(rows):
        if len(row) != len(names):
            raise ValueError(f"row {number} (line {line}) has {len(row)} cells, the header {len(names)}")
    cells = zip(*(row for _, row in rows), strict=True) if rows else ([] for _ in names)
    return {name: list(column) for name, column in zip(names, cells, strict=True)}


READERS: Mapping[str, Callable[[bytes, Callable[[str], bool] | None], dict[str, Any]]] = {
    ".parquet": read_parquet, ".csv": read_csv, ".tsv": read_tsv, ".json": read_json,
    ".jsonl": read_jsonl, ".ndjson": read_jsonl,
}  # fmt: skip
