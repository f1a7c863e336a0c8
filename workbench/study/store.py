"""Records of finished cells on disk, checked when read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workbench.files import parquet_bytes, write_whole


class CellStore:
    """Finished cells of a sweep, in files named by the SHA-256 of their content.

    A file that does not hash to its name is truncated or corrupt: it is named, removed, and its cells are computed
    again. Writers never touch each other's files, so a killed one leaves at worst an unnamed temporary file.
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
            table = pq.read_table(pa.BufferReader(data), read_dictionary=["cell"])
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
