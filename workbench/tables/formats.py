"""Files as columns: .parquet, .csv, .tsv, .json, .jsonl, each of the texts as .gz too; folders of shards; data sets.

Columns are lists or arrays of as many rows. Cells of .csv and .tsv are text as it stands in the file. A cell without a
value is None, in text files "".
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.errors import InputError, few, shown, shown_path
from workbench.extras import MissingExtra, named_extra
from workbench.files import parquet_table
from workbench.hub import Hub, asked_once
from workbench.tables.cells import check_once, read_csv, read_tsv, text_of
from workbench.tables.records import read_json, read_jsonl

HUB = "hf:"  # what the name of a data set begins with
KINDS = ".parquet, .csv, .tsv, .json or .jsonl, each of the texts as .gz too"
SOURCES = f"a file ({KINDS}), a folder of such files, or {HUB}NAME of a data set"


class Table(NamedTuple):
    """Columns by name, as many rows in each.

    text: those whose cells are text because the file has no types. kind: the ending of the file, "" for other tables.
    gaps: in words, the columns that some shards of a folder lack.
    """

    columns: dict[str, Any]
    text: frozenset[str] = frozenset()
    kind: str = ""
    gaps: tuple[str, ...] = ()

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

    A column that some shards lack has no values there, and `gaps` says so. hf:NAME/CONFIG@SPLIT: the split is by
    default train. what: names the source in errors. wanted: which columns of a .parquet file are read. Raises
    InputError, in one line, where it cannot be read, and MissingExtra.
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


def kind_of_content(data: bytes) -> str:
    """The ending of such content, by what it begins with: .parquet, .json (lines, too) or .csv."""
    if data[:4] == b"PAR1":
        return ".parquet"
    return ".json" if text_of(data).lstrip()[:1] in ("{", "[") else ".csv"


def unpacked(data: bytes, packed: bool | None = None) -> bytes:
    """The content of bytes that are gzip; packed: whether they are, by default told from how they begin."""
    return gzip.decompress(data) if packed or (packed is None and data[:2] == b"\x1f\x8b") else data


@contextmanager
def told_in_one_line(what: str, domain: str, path: Path) -> Iterator[None]:
    """What reading a file raises as an InputError that says which file, in one line."""
    if not os.path.isfile(path):
        raise InputError(f"{what}: must be a file that exists, got {shown_path(path)}")
    try:
        with named_extra():
            yield
    except MissingExtra:
        raise
    except InputError as error:
        raise InputError(f"{error}, in {shown_path(path)}") from None
    except (OSError, ValueError, EOFError, zlib.error, RecursionError, MemoryError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{what}: must be {domain}, got {shown_path(path)} ({reason})") from None


def _file(path: Path, what: str, wanted: Callable[[str], bool] | None) -> Table:
    kind = kind_of(path)
    if kind not in READERS:
        raise InputError(f"{what}: must be {SOURCES}, got {shown_path(path)}")
    with told_in_one_line(what, f"a readable {kind} file", path):
        columns = READERS[kind](unpacked(path.read_bytes(), path.suffix.lower() == ".gz"), what, wanted=wanted)
    return Table(columns, frozenset(columns if kind in (".csv", ".tsv") else ()), kind)


def _shards(folder: Path, what: str, wanted: Callable[[str], bool] | None) -> Table:
    """The files of a folder, of one kind, one after another. A column that some lack has no values in their rows."""
    shown_files = (path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    paths = sorted(path for path in shown_files if kind_of(path) in READERS)
    kinds = {kind_of(path) for path in paths}
    if len(kinds) != 1:
        got = ", ".join(sorted(kinds)) or "none"
        where = shown_path(folder)
        raise InputError(f"{what}: must be a folder with files of one kind ({KINDS}), got {got} in {where}")
    tables = {path: _file(path, what, wanted) for path in paths}
    names = list(dict.fromkeys(name for table in tables.values() for name in table.columns))
    lacking = {name: [path for path in paths if name not in tables[path].columns] for name in names}
    for path, table in tables.items():
        if len(paths) > 1 and all(len(lacking[name]) == len(paths) - 1 for name in table.columns):
            got = f"got only {few(list(table.columns))} in {shown_path(path)}"
            raise InputError(f"{what}: must be files that share columns, {got}")
    gaps = []
    for name, without in lacking.items():
        rows = sum(tables[path].rows for path in without)
        gaps += [f"no {name} in {few([path.name for path in without], 3)}, {rows:,} rows"] if without else []
    first = tables[paths[0]]
    columns = {name: _joined([_or_empty(table, name) for table in tables.values()]) for name in names}
    return Table(columns, frozenset(names if first.text else ()), first.kind, tuple(gaps))


def _or_empty(table: Table, name: str) -> Any:
    """A column, or as many cells without a value."""
    return table.columns.get(name, ["" if table.text else None] * table.rows)


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
    with nullcontext(Hub()) if os.path.exists(path) else asked_once() as hub:
        try:
            rows = datasets.load_dataset(path, config, split=split or "train")
        except Exception as error:  # `datasets` raises many kinds, some with pages of text
            reason = hub.silence or str(error).strip().split("\n")[0][:200]
            got = shown_path(HUB + name)
            raise InputError(f"{what}: must be a data set that can be loaded, got {got} ({reason})") from None
    return Table({column: from_arrow(rows.data[column]) for column in rows.column_names})


# ---------------------------------------------------------------------------------------------------------- Parquet


def read_parquet(
    data: bytes, what: str, exact: bool = False, wanted: Callable[[str], bool] | None = None
) -> dict[str, Any]:
    """Columns of Parquet bytes; `wanted` chooses among their names, all where it chooses none.

    exact: values are Python's own of the file's types, not numbers in arrays.
    """

    def kept(names: list[str]) -> list[str]:
        check_once("columns", names, "column")
        return [name for name in names if wanted(name)] or names if wanted else names

    table = parquet_table(data, kept)
    return {name: table[name].to_pylist() if exact else from_arrow(table[name]) for name in table.column_names}


def from_arrow(column: Any) -> Any:
    """A column of an Arrow table: an array of numbers, (I,) or (I, F), or a list. Decimals of too many digits stay."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_decimal(kind):
        exact, column, kind = column.to_pylist(), column.cast(pa.float64()), pa.float64()
        pairs = zip(exact, column.to_pylist(), strict=True)
        if any(value is not None and value != Decimal(repr(rounded)) for value, rounded in pairs):
            return exact
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy() if not column.null_count or pa.types.is_floating(kind) else column.to_pylist()
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_floating(kind.value_type):
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        flat = pc.list_flatten(column)
        if len(lengths) == 1 and lengths[0] and not flat.null_count:
            return flat.to_numpy().reshape(len(column), lengths[0])
    return column.to_pylist()


# (bytes, what names them in errors, exact=, wanted=) -> columns
READERS: Mapping[str, Callable[..., dict[str, Any]]] = {
    ".parquet": read_parquet, ".csv": read_csv, ".tsv": read_tsv, ".json": read_json,
    ".jsonl": read_jsonl, ".ndjson": read_jsonl,
}  # fmt: skip
