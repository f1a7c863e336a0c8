"""Files written whole or not at all, one writer per folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, shown

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LOCK = ".lock"
NAME_BYTES = 255  # of a file or a folder, on any usual disk


class StorageError(OSError):
    """The disk refused: says which file and why; nothing half-written is left."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: to a temporary file `.part-*` beside it, flushed, then renamed over it.

    Its mode is 0o666 less the process's umask, as `open` gives a new file. Raises StorageError where the disk refuses.
    """
    write_parts(path, [data])


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """The same for content in parts, which are not joined in memory."""
    temporary = path.parent / f".part-{secrets.token_hex(8)}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def to_parquet(frame: pd.DataFrame) -> bytes:
    """A table as Parquet bytes; the same table gives the same bytes."""
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)  # threads cost more than they save here
    return parquet_bytes(table, compression="zstd")


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    """An Arrow table as Parquet bytes. options: of `pyarrow.parquet.write_table`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue().to_pybytes())


def parquet_table(data: bytes, kept: Callable[[list[str]], list[str]] | None = None, **options: Any) -> pa.Table:
    """The Arrow table of Parquet bytes. kept: of its columns' names, those to read; options: of `ParquetFile`.

    Read by this thread alone: a thread of Arrow that frees `data` while the interpreter ends aborts the process.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, **options) as file:
        columns = kept(file.schema_arrow.names) if kept else None
        return file.read(columns, use_threads=False)


def check_folder(field: str, value: Any) -> Path:
    """`value` as a path, or InputError unless it is the name or path of a folder; an empty one is refused.

    An empty name would be the current folder, and its files might be written over.
    """
    return check_path(field, value, "a folder")


def check_path(field: str, value: Any, what: str = "a file") -> Path:
    """`value` as a path, or InputError unless it is the name or path of `what` that a disk can hold."""
    name = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{field}: must be {what}, got {shown(value)}")
    try:
        long = any(len(os.fsencode(part)) > NAME_BYTES for part in Path(name).parts)
    except UnicodeEncodeError:
        long = True
    if "\0" in name or long:
        raise InputError(f"{field}: must be {what}, whose name has at most {NAME_BYTES} bytes, got {shown(value)}")
    return Path(name)


@contextlib.contextmanager
def only_writer(folder: Path, field: str = "--out") -> Iterator[None]:
    """Hold a folder for this process; InputError, named by `field`, if another holds it or it cannot be written.

    The system frees it when the holder dies.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "a+")  # noqa: SIM115
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{field}: must be a folder that can be written, got '{folder}' ({reason})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{field}: must be free, but another process is writing to '{folder}'") from None
        for path in folder.glob(".part-*"):
            path.unlink(missing_ok=True)
        yield
