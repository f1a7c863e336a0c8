"""What TRL's checkpoints lack: the controller's state, and the generations that an update is in the midst of.

In a checkpoint's folder: curriculum.safetensors, and generation-RANK.safetensors of each process where the checkpoint
lies between two generations. Arrays and JSON, nothing that is executed when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays
from safetensors.torch import save as save_tensors

from workbench.errors import InputError, shown, shown_path
from workbench.files import open_regular, read_whole, write_whole

CURRICULUM = "curriculum.safetensors"
UNREADABLE = (SafetensorError, ValueError, KeyError, TypeError, RecursionError, OSError)


def write_curriculum(folder: Path, state: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
    """state: of the controller. notes: JSON values."""
    arrays = {name: np.ascontiguousarray(value) for name, value in state.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in state.items() if name not in arrays}
    header = {"plain": json.dumps(plain), "notes": json.dumps(notes)}
    write_whole(folder / CURRICULUM, save_arrays(arrays, header))


def read_curriculum(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """State and notes. Raises InputError where the file is missing or another."""
    tensors, header = _read(folder / CURRICULUM, "np")
    plain, notes = (_object(folder / CURRICULUM, header, name) for name in ("plain", "notes"))
    return tensors | plain, notes


def last_whole(run: Path) -> Path | None:
    """The latest checkpoint in a run's folder that was written to its end, None without one: a process may have been
    killed while it wrote. TRL writes trainer_state.json last."""

    def ended(path: Path) -> bool:
        try:
            return isinstance(json.loads(read_whole(path / "trainer_state.json")), dict)
        except (OSError, ValueError, RecursionError):
            return False

    steps = {int(step): path for path in run.glob("checkpoint-*") if (step := path.name.split("-")[-1]).isdecimal()}
    return next((steps[step] for step in sorted(steps, reverse=True) if ended(steps[step])), None)


def write_block(folder: Path, rank: int, block: list[dict[str, Any]], notes: Mapping[str, Any]) -> None:
    """block: tensors of each micro-batch."""
    tensors = {f"{index}.{name}": value.detach().cpu().clone().contiguous() for index, batch in enumerate(block)
               for name, value in batch.items() if value is not None}  # fmt: skip
    write_whole(_path(folder, rank), save_tensors(tensors, {"notes": json.dumps(notes)}))


def read_block(folder: Path, rank: int, count: int, notes: Mapping[str, Any], device: str) -> list[dict[str, Any]]:
    """The micro-batches, `count`, on a device. Raises InputError unless the file was written with these notes."""
    path = _path(folder, rank)
    tensors, header = _read(path, "pt")
    found = _object(path, header, "notes")
    block: list[dict[str, Any]] = [{} for _ in range(count)]
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        if not index.isdecimal() or int(index) >= count:
            raise InputError(f"{shown_path(path)}: must hold {count} micro-batches, got {shown(key)}")
        block[int(index)][name] = value.to(device)
    if found != json.loads(json.dumps(notes)) or not all(block):
        raise InputError(f"{shown_path(path)}: must be of the same checkpoint as {CURRICULUM}, got {shown(found)}")
    return block


def _path(folder: Path, rank: int) -> Path:
    return folder / f"generation-{rank}.safetensors"


def _read(path: Path, framework: str) -> tuple[dict[str, Any], dict[str, str]]:
    open_regular(path).close()
    try:
        with safe_open(str(path), framework) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{shown_path(path)}: must be as a steered trainer wrote it ({reason})") from None


def _object(path: Path, header: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        found = json.loads(header[name])
    except UNREADABLE:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{shown_path(path)}: must be as a steered trainer wrote it, with {name} in its header")
    return found
