"""Records of finished cells on disk, checked when read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workbench.files import (
    DamagedFile,
    parquet_bytes,
    parquet_table,
    read_whole,
    remove_drafts,
    set_aside,
    write_whole,
)


class CellStore:
    """Finished cells of a sweep, in files named by the SHA-256 of their content.

    A file that does not hash to its name is truncated or corrupt: it is named, removed, and its cells are computed
    again. So is one that is no table of records, or of another form than most of those that are wanted. Writers never
    touch each other's files, and a killed writer leaves at most a `.part-*` file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, records: pd.DataFrame | Mapping[str, Any]) -> None:
        """Keep the records of finished cells, columns of equal length: `cell`, and others with one entry per record."""
        table = pa.table({name: pa.array(column, from_pandas=False) for name, column in records.items()})
        # written often, read once: speed before size
        data = parquet_bytes(table, compression="none", use_dictionary=["cell"], write_statistics=False)
        write_whole(self.folder / f"{hashlib.sha256(data).hexdigest()}.parquet", data)

    def read(self, wanted: set[str]) -> tuple[pd.DataFrame, list[str]]:
        """Records of the wanted cells, each once, and a line for each damaged file. `cell` is categorical."""
        damaged, tables = [], dict[Path, pa.Table]()

        def give_up(path: Path, reason: object) -> None:
            damaged.append(f"damaged result file {path}: its cells will be computed again ({reason})")
            set_aside(path)

        for path in sorted(self.folder.glob("[!.]*.parquet")):  # not the drafts of other writers
            try:
                table = _table(path)
            except DamagedFile as error:
                give_up(path, error)
                continue
            if wanted.intersection(table["cell"].unique().to_pylist()):
                tables[path] = table
        forms = Counter(map(_form, tables.values()))
        parts, found = [], set[str]()
        for path, table in tables.items():
            if _form(table) != forms.most_common(1)[0][0]:
                give_up(path, "it must have the columns, and the records of each cell, that the others have")
                continue
            cells = set(table["cell"].unique().to_pylist())
            fresh = (cells & wanted) - found
            if fresh:
                if fresh != cells:
                    table = table.filter(pc.is_in(table["cell"].cast(pa.string()), pa.array(sorted(fresh))))
                parts.append(table)
                found |= fresh
        if not parts:
            return pd.DataFrame({"cell": pd.Categorical([])}), damaged
        frame: pd.DataFrame = pa.concat_tables(parts).unify_dictionaries().to_pandas()
        # a file from which only some cells are wanted still names the others
        return frame.assign(cell=frame["cell"].cat.remove_unused_categories()), damaged

    def sweep_up(self) -> None:
        """Remove what killed writers left. Only for the holder of the folder's lock."""
        remove_drafts(self.folder)


def _table(path: Path) -> pa.Table:
    """The records of a file, each of its cells with as many. Raises DamagedFile for anything else."""
    data = read_whole(path)
    if hashlib.sha256(data).hexdigest() != path.stem:
        raise DamagedFile("it must have the content that its name tells")
    try:
        table = parquet_table(data, read_dictionary=["cell"])
    except ValueError as error:
        raise DamagedFile(f"it must be a Parquet file, {error}") from None
    types = dict(zip(table.column_names, table.schema.types, strict=True))
    cell, step = types.pop("cell", None), types.get("step")
    if cell != pa.dictionary(pa.int32(), pa.string()) or step is None or not pa.types.is_integer(step):
        raise DamagedFile("it must have the columns cell, of text, and step, of whole numbers")
    numbers = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in types.values())
    if not numbers or len(types) + 1 < table.num_columns or any(column.null_count for column in table.columns):
        raise DamagedFile("it must have a number in each other column of every record")
    if len(pc.unique(pc.value_counts(table["cell"]).field("counts"))) != 1:
        raise DamagedFile("it must have as many records of each cell")
    return table


def _form(table: pa.Table) -> tuple[str, int]:
    """The columns with their types, and how many records a cell has."""
    return str(table.schema.remove_metadata()), len(table) // len(table["cell"].unique())


def together(parts: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The columns of several programs, which have no cell in common, as `CellStore.read` gives them.

    They are taken out of `parts` one by one, so that memory does not hold all of them twice.
    """
    cells = [part.pop("cell") for part in parts]
    before = np.cumsum([0, *(len(cell.categories) for cell in cells)])
    codes = np.concatenate([cell.codes + start for cell, start in zip(cells, before[:-1], strict=True)])
    names = [name for cell in cells for name in cell.categories]
    columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    return pd.DataFrame(columns, copy=False).assign(cell=pd.Categorical.from_codes(codes, pd.Index(names)))


class Records:
    """Records that were read from a store, found by the key of their cell."""

    def __init__(self, frame: pd.DataFrame) -> None:
        """frame: with the columns `cell`, categorical, and `step`."""
        self.frame = frame
        cell = frame["cell"].cat
        codes = cell.codes.to_numpy()
        self._rows = np.lexsort((frame["step"].to_numpy(), codes))  # cell by cell, step by step
        first = np.searchsorted(codes[self._rows], np.arange(len(cell.categories) + 1))
        self._first = dict(zip(cell.categories, first[:-1], strict=True))
        self._count = np.diff(first)

    def rows(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """(N, E) rows of the frame: the E records of each cell, which all have as many, in the order of steps."""
        records = int(self._count[0])
        start = np.array([self._first[key] for key in keys])
        return np.asarray(self._rows[start[:, None] + np.arange(records)])
