"""Records on disk: written whole or not at all, checked when read, one writer per folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workbench.errors import InputError

LOCK = ".lock"


class StorageError(OSError):
    """The disk refused: says which file and why; nothing half-written is left."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: to a temporary file beside it, flushed, then renamed over it."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def to_parquet(frame: pd.DataFrame) -> bytes:
    """A table as Parquet bytes; the same table gives the same bytes."""
    table = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)  # threads cost more than they save here
    return _parquet(table, compression="zstd")


def _parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue().to_pybytes())


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
        data = _parquet(table, compression="none", use_dictionary=["cell"], write_statistics=False)
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


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; InputError if another holds it. The system frees it when the holder dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "a+")  # noqa: SIM115
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--out: must be a folder that can be written, got '{folder}' ({reason})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"--out: must be free, but another sweep is writing to '{folder}'") from None
        for path in folder.glob(".part-*"):
            path.unlink(missing_ok=True)
        yield
