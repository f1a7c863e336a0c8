"""Results of parts of a calibration on disk, found by a key of all that they depend on."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from zipfile import BadZipFile

import numpy as np

from workbench.calibration.log import Log
from workbench.files import StorageError, check_folder, only_writer, read_whole, write_whole
from workbench.lanes import Floats
from workbench.progress import make_bar
from workbench.study.execute import execute
from workbench.study.identity import as_text


class Keyed(Protocol):
    """A task with the key of its result."""

    @property
    def key(self) -> str: ...


T = TypeVar("T")
Task = TypeVar("Task", bound=Keyed)


def key_of(content: Mapping[str, Any]) -> str:
    """SHA-256, shortened, of plain JSON values."""
    return hashlib.sha256(as_text(content).encode()).hexdigest()[:32]


@cache
def own_digest() -> str:
    """SHA-256 of the code of this package."""
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    ).hexdigest()


def digest(log: Log) -> str:
    """SHA-256 of the groups of a log."""
    found = hashlib.sha256()
    for name in ("run", "step", "item", "successes", "attempts", "admitted"):
        found.update(np.ascontiguousarray(getattr(log, name)).tobytes())
    return found.hexdigest()


def keep(folder: Path, key: str, arrays: Mapping[str, Any]) -> None:
    """Write arrays of numbers, whole or not at all. Raises StorageError where the disk refuses."""
    data = io.BytesIO()
    plain: dict[str, Any] = {name: np.asarray(value, np.float64) for name, value in arrays.items()}
    np.savez(data, **plain)
    write_whole(folder / f"{key}.npz", data.getvalue())


def kept(folder: Path, key: str, names: Sequence[str]) -> dict[str, Floats] | None:
    """The arrays of a key; None where they are not there or damaged, so that they are computed again."""
    try:
        with np.load(io.BytesIO(read_whole(folder / f"{key}.npz")), allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name], np.float64) for name in names}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def there(found: T | None, folder: Path, key: str) -> T:
    """What was found in a folder. Raises StorageError where a part that was written is not there any more."""
    if found is None:
        raise StorageError(f"{folder / key}.npz: must be there after it was written, got nothing that can be read")
    return found


def computed(
    tasks: Sequence[Task],
    known: Callable[[Path, Task], T | None],
    compute: Callable[[Path, Task], object],
    out: str | os.PathLike[str] | None,
    jobs: int,
    told: tuple[str, str] | None,
) -> list[T]:
    """What each task found, in their order: those that the folder lacks are computed and kept first.

    known: what a folder has of a task, or None. compute: finds it and keeps it there. out: the folder, a temporary one
    by default. jobs: worker processes. told: name and unit of a progress bar, None for no bar.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if out is None else check_folder("out", out)
        bar_or_none = nullcontext() if told is None else make_bar(total=len(tasks), desc=told[0], unit=told[1])
        with only_writer(folder, "out"), bar_or_none as bar:
            missing = [task for task in tasks if known(folder, task) is None]
            if bar is not None:
                bar.update(len(tasks) - len(missing))
            for _ in execute(partial(compute, folder), missing, jobs):
                if bar is not None:
                    bar.update()
            return [there(known(folder, task), folder, task.key) for task in tasks]
