"""Files written whole or not at all, and read again only as regular files; one writer per folder."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, shown, shown_path

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LOCK = ".lock"
NAME_BYTES = 255  # of a file or a folder, on any usual disk
PATH_BYTES = 3900  # of a path, beneath which there is room for the names of files


class StorageError(OSError):
    """The disk refused: says which file and why; nothing half-written is left."""


class DamagedFile(InputError):
    """A file is not as this project wrote it: says which one and why. Not to be believed, but computed again."""


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


def open_regular(path: Path) -> io.BufferedReader:
    """A regular file, opened to read, or what a link to one leads to. Raises DamagedFile for anything else.

    A pipe that nobody writes to does not hold up the caller.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DamagedFile(f"{shown_path(path)}: must be a file that can be read ({error.strerror or error})") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DamagedFile(f"{shown_path(path)}: must be a regular file, got a folder, a pipe or a device")
    return os.fdopen(handle, "rb")


def read_whole(path: Path) -> bytes:
    """The content of a regular file (`open_regular`). Raises DamagedFile where it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise DamagedFile(f"{shown_path(path)}: must be a file that can be read ({error.strerror or error})") from None


def set_aside(path: Path) -> None:
    """Make room for a file that is computed again: what is there is removed, a folder gets another name.

    Raises StorageError where the disk refuses.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            path.rename(path.with_name(f".damaged-{secrets.token_hex(8)}"))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror or error}") from error


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

    Raises ValueError for bytes that are none. Read by this thread alone: a thread of Arrow that frees `data` while the
    interpreter ends aborts the process.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, **options) as file:
            columns = kept(file.schema_arrow.names) if kept else None
            return file.read(columns, use_threads=False)
    except (pa.ArrowException, OSError, KeyError) as error:  # KeyError: an option names a column that is not there
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def check_folder(field: str, value: Any) -> Path:
    """`value` as a path, or InputError unless it is the name or path of a folder, there or to be made.

    An empty name is refused: it would be the current folder, and its files might be written over.
    """
    path = check_path(field, value, "a folder")
    _check_above(field, path, path, "a folder")
    return path


def check_writable(field: str, folder: Path) -> None:
    """InputError unless a file can be written into a folder: to be asked before work, not after hours.

    Nothing is made or removed: commands side by side may check the same folder. The nearest folder that is there is
    tried, in which the writer will make the ones that are missing.
    """
    for near in (folder, *folder.parents):
        try:
            with tempfile.TemporaryFile(dir=near, prefix=".part-", buffering=0) as draft:
                draft.write(b"x")
            return
        except OSError as error:
            missing = isinstance(error, FileNotFoundError) and not os.path.lexists(near)  # a link may lead nowhere
            if not missing or near == near.parent:
                raise _unwritable(field, folder, error) from None


def missing_folders(folder: Path) -> list[Path]:
    """Of a folder and those above it, the ones that are not there, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders that are there and empty, in this order."""
    for path in folders:
        with contextlib.suppress(OSError):
            path.rmdir()


def _unwritable(field: str, folder: Path, error: OSError) -> InputError:
    got = f"{shown_path(folder)} ({error.strerror or error})"
    return InputError(f"{field}: must be a folder that can be written, got {got}")


def check_file(field: str, value: Any) -> Path:
    """`value` as a path, or InputError unless a file of this name or path is there or could be made."""
    path = check_path(field, value)
    if os.path.isdir(path):
        raise InputError(f"{field}: must be a file, got the folder {shown_path(path)}")
    if os.path.exists(path) and not os.path.isfile(path):  # which a file that is written whole would replace
        raise InputError(f"{field}: must be a file, got {shown_path(path)}, which is a pipe or a device")
    _check_above(field, path, path.parent, "a file")
    return path


def check_path(field: str, value: Any, what: str = "a file") -> Path:
    """`value` as a path, or InputError unless it is the name or path of `what` that a disk can hold."""
    name = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{field}: must be {what}, got {shown(value)}")
    try:
        longest = max((len(os.fsencode(part)) for part in Path(name).parts), default=0)
    except UnicodeEncodeError:
        longest = NAME_BYTES + 1
    if "\0" in name or longest > NAME_BYTES:
        raise InputError(f"{field}: must be {what}, whose name has at most {NAME_BYTES} bytes, got {shown(value)}")
    if len(os.fsencode(os.path.abspath(name))) > PATH_BYTES:
        raise InputError(f"{field}: must be {what}, whose path has at most {PATH_BYTES} bytes, got {shown(value)}")
    return Path(name)


def _check_above(field: str, path: Path, folder: Path, what: str) -> None:
    """InputError unless the nearest of a folder and those above it that is there is a folder."""
    near = next((one for one in (folder, *folder.parents) if os.path.lexists(one)), folder)
    if os.path.lexists(near) and not os.path.isdir(near):
        where = "a file" if near == path else f"beneath the file {shown_path(near)}"
        raise InputError(f"{field}: must be {what}, got {shown_path(path)}, which is {where}")


@contextlib.contextmanager
def only_writer(folder: Path, field: str = "--out", part: str = "") -> Iterator[None]:
    """Hold a folder for this process; InputError, named by `field`, if another holds it or it cannot be written.

    The system frees it when the holder dies. A folder that was made for work that bad input ended is removed.
    part: hold this part of the folder's work alone. Holders of other parts may be there, a holder of the whole may not.
    """
    try:
        made = missing_folders(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "a+")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(field, folder, error) from None
    with lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if part else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if not os.fstat(lock.fileno()).st_nlink:
                raise BlockingIOError  # a holder has removed it meanwhile
        except OSError:
            raise InputError(f"{field}: must be free, but another process is writing to {shown_path(folder)}") from None
        if part:
            with only_writer(folder / f"{LOCK}-{part}", field):
                yield
            return
        remove_drafts(folder)
        try:
            yield
        except InputError:
            if made and [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                remove_empty(made)
            raise


def remove_drafts(folder: Path) -> None:
    """Remove what killed writers left, and nothing that is no file of theirs."""
    for path in folder.glob(".part-*"):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
