"""What the results of a sweep were made from: a command whose results are all there is recognised, as make does.

The record is a file beside the results. It holds what they depend on (the command line, the code, the commit, Python,
the installed packages, the files of the pools), the SHA-256 of each file of the results, the files of cells, and what
was printed. Everything is read and compared, nothing is taken for its time or its size; one difference, and all is
made again. No package but NumPy is loaded for that.

Not recorded, and so always made again: parts of a study (--shard), pools from a hub, and rules, gates and learners of
other packages or files.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import InputError
from workbench.files import DamagedFile, only_writer, open_regular, set_aside, write_whole
from workbench.study.commit import git_commit
from workbench.tables.written import read_json

RECORD = ".made.json"
CELLS = "cells"  # the folder of finished cells, files named by the SHA-256 of their content
OUT = "results/sweep"  # where results go when --out is not given
ROOT = Path(__file__).parents[2]
CODE = ("workbench", "sims/comparison", "sims/sweep.py")
AGAIN = "(all of it was there, made by this command from the same code and pools; nothing was computed)"


class Kept(NamedTuple):
    """What a command said: notes on standard error, the report on standard output."""

    notes: list[str]
    printed: str


def basis(arguments: Sequence[str]) -> dict[str, Any]:
    """What the results of a command depend on, apart from pools and commit, as plain JSON values."""
    return {
        "arguments": list(arguments),
        "code": code_digest(),
        "python": sys.version,
        "machine": platform.machine(),
        "packages": packages_digest(),
    }


def code_digest() -> str:
    """SHA-256 over the name and the content of each file of the code, templates and style sheets included.

    Where one cannot be read, a text that never comes twice.
    """
    try:
        return _digest([path for name in CODE for path in _beneath(ROOT / name)], ROOT)
    except (DamagedFile, OSError) as error:
        return f"{error} {secrets.token_hex(8)}"


def packages_digest() -> str:
    """SHA-256 over the names and versions of the installed packages, and the entry points that they have."""
    found = hashlib.sha256()
    for folder in map(Path, dict.fromkeys(sys.path)):
        for path in sorted((*folder.glob("*.dist-info"), *folder.glob("*.egg-info"))):
            found.update(f"{path.name}\n".encode())
            with suppress(OSError):  # most have none
                found.update((path / "entry_points.txt").read_bytes())
    return found.hexdigest()


def pools_digests(sources: Iterable[str]) -> dict[str, str] | None:
    """SHA-256 of each file or folder of a pool; None where one is neither, or cannot be read."""
    try:
        return {source: _digest(_of_source(Path(source)), Path(source)) for source in sources}
    except (DamagedFile, OSError, ValueError):
        return None


def kept(made_from: Mapping[str, Any]) -> Kept | None:
    """What the command said when it made the results that are there; None unless all of them are, from the same."""
    folder = Path(_out(made_from["arguments"]))
    if not os.path.isfile(folder / RECORD):  # False also for a name that is too long
        return None
    with suppress(InputError, OSError, ValueError, KeyError, TypeError, AttributeError), only_writer(folder):
        record = _read(folder / RECORD)
        if (
            record["basis"] == dict(made_from)
            and record["pools"] == pools_digests(record["pools"])
            and record["commit"] == git_commit()
            and all(_file_digest(folder / name) == digest for name, digest in record["files"].items())
            and not any(os.path.lexists(folder / name) for name in record["others"])
            and record["cells"] == _cells(folder)
            and all(_file_digest(folder / CELLS / name) == Path(name).stem for name in record["cells"])
        ):
            return Kept(list(map(str, record["notes"])), str(record["printed"]))
    return None


def tell_again(said: Kept) -> None:
    """Say what was said then."""
    for line in said.notes:
        print(line, file=sys.stderr)
    print(f"{said.printed}\n{AGAIN}")


def forget(folder: Path) -> None:
    """Remove the record, before the first of the results is written anew."""
    set_aside(folder / RECORD)


def keep(
    folder: Path,
    made_from: Mapping[str, Any],
    pools: Mapping[str, str] | None,
    files: Iterable[str],
    others: Iterable[str],
    said: Kept,
) -> None:
    """Record the results in a folder. Its holder calls this when they are all written.

    made_from, pools: as `basis` and `pools_digests` gave them before anything was read. files: names of the results.
    others: names of files that a sweep may leave and this one did not: one that is there later is of another. Nothing
    is recorded where pools is None, or where code or pools have changed since.
    Raises StorageError where the disk refuses, DamagedFile where one of the files is gone.
    """
    if pools is None or dict(made_from) != basis(made_from["arguments"]) or pools != pools_digests(pools):
        return
    content = {
        "basis": dict(made_from), "pools": dict(pools),
        "commit": read_json(folder / "manifest.json")["git_commit"],
        "files": {name: _file_digest(folder / name) for name in files}, "others": sorted(others),
        "cells": _cells(folder), "notes": said.notes, "printed": said.printed,
    }  # fmt: skip
    text = json.dumps(content)
    whole = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "content": text}
    write_whole(folder / RECORD, json.dumps(whole).encode())


def _read(path: Path) -> Any:
    """The content of a record. ValueError where it is not as it was written."""
    whole = read_json(path)
    if hashlib.sha256(whole["content"].encode()).hexdigest() != whole["sha256"]:
        raise ValueError(path)
    return json.loads(whole["content"])


def _out(arguments: Sequence[str]) -> str:
    """The folder that a command line names. For one that is wrong, any: no results were made by that."""
    for place in reversed(range(len(arguments))):
        name, equals, value = arguments[place].partition("=")
        if name == "--out" and (equals or place + 1 < len(arguments)):
            return value if equals else arguments[place + 1]
    return OUT


def _cells(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / CELLS).glob("[!.]*.parquet"))


def _file_digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(files: Iterable[Path], above: Path) -> str:
    """SHA-256 over files with their names beneath a folder."""
    found = hashlib.sha256()
    for path in files:
        found.update(f"{path.relative_to(above)} {_file_digest(path)}\n".encode(errors="surrogateescape"))
    return found.hexdigest()


def _beneath(place: Path) -> list[Path]:
    """The file, or all files beneath the folder, but caches and hidden ones."""
    if not place.is_dir():
        return [place]
    found: list[Path] = []
    for folder, inner, names in os.walk(place):
        inner[:] = sorted(name for name in inner if name != "__pycache__" and not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    return found


def _of_source(place: Path) -> list[Path]:
    """The file, or the files in the folder, that a pool is read from."""
    return sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
