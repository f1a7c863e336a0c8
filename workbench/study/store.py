"""Records of finished cells on disk, checked when read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workbench.files import parquet_bytes, parquet_table, write_whole


class CellStore:
    """Finished cells of a sweep, in files named by the SHA-256 of their content.

    A file that does not hash to its name is truncated or corrupt: it is named, removed, and its cells are computed
    again. Writers never touch each other's files, and a killed writer leaves at most a `.part-*` file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, records: pd.DataFrame | Mapping[str, Any]) -> None:
        """Keep the records of finished cells, columns of equal length: `cell`, and others with one entry per record."""
        table = pa.table({name: pa.array(column) for name, column in records.items()})
        # written often, read once: speed before size
        data = parquet_bytes(table, compression="none", use_dictionary=["cell"], write_statistics=False)
        write_whole(self.folder / f"{hashlib.sha256(data).hexdigest()}.parquet", data)

    def read(self, wanted: set[str]) -> tuple[pd.DataFrame, list[str]]:
        """Records of the wanted cells, each once, and a line for each damaged file. `cell` is categorical."""
        parts: list[pa.Table] = []
        damaged, found = [], set[str]()
        for path in sorted(self.folder.glob("[!.]*.parquet")):  # not the drafts of other writers
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != path.stem:
                damaged.append(f"damaged result file {path}: its cells will be computed again")
                path.unlink()
                continue
            table = parquet_table(data, read_dictionary=["cell"])
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
        return frame, damaged

    def sweep_up(self) -> None:
        """Remove what killed writers left. Only for the holder of the folder's lock."""
        for path in self.folder.glob(".part-*"):
            path.unlink(missing_ok=True)


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
