"""Checkpoints of a run: one safetensors file each, written whole or not at all.

A file is named by its step, by the run it belongs to and by its content: step-000120-<run>-<content>.safetensors. A
folder may hold checkpoints of several runs; each reads and removes its own only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from workbench.files import DamagedFile, open_regular, set_aside, write_parts

KEPT = 2  # of one run: if the last is damaged, the one before it is used
CHUNK = 2**24  # bytes read at a time for a digest
UNREADABLE = (SafetensorError, ValueError, KeyError, TypeError, RecursionError, OSError)
DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """step: updates done. state: arrays, tensors (of types that NumPy lacks), numbers and names. notes: JSON values.

    path: where it was read.
    """

    step: int
    state: dict[str, Any]
    notes: dict[str, Any]
    path: Path


def run_key(identity: Mapping[str, Any]) -> str:
    """12 hexadecimal digits that tell runs apart, from all that a run depends on (JSON values)."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def save(folder: Path, step: int, state: Mapping[str, Any], notes: Mapping[str, Any], run: str) -> None:
    """Write a checkpoint of `run` (`run_key`), and remove those of this run but the last KEPT.

    state: arrays, tensors of any type and device, numbers and names. notes: JSON values. Nothing is copied that is
    contiguous and in main memory already.
    """
    parts = _file_parts(state, notes)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_parts(folder / f"step-{step:06d}-{run}-{digest.hexdigest()[:16]}.safetensors", parts)
    for path in own(folder, run)[KEPT:]:
        path.unlink(missing_ok=True)


def load(folder: Path, run: str, warn: Callable[[str], object]) -> Checkpoint | None:
    """The last sound checkpoint of `run`, None if there is none; `warn` is told, in a line, of each damaged one.

    A checkpoint without a run in its name, as earlier versions wrote them, is told by `adopt`.
    """
    for path in own(folder, run):
        if not _is_sound(path):
            warn(f"damaged checkpoint {path}: the one before it is used")
            set_aside(path)
            continue
        try:
            return _read(path)
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:200]
            warn(f"checkpoint {path} is of another kind: the one before it is used ({reason})")
    return None


def own(folder: Path, run: str) -> list[Path]:
    """Checkpoints of `run`, the last first."""
    return sorted(folder.glob(f"step-*-{run}-*.safetensors"), key=_step, reverse=True)


def others(folder: Path, run: str) -> list[Path]:
    """Files of the folder that are named like checkpoints but are not of `run`, those of the last steps first."""
    mine = set(own(folder, run))
    return sorted((path for path in folder.glob("step-*") if path not in mine), key=_step, reverse=True)


def notes_of(path: Path) -> dict[str, Any] | None:
    """The notes of a sound checkpoint of any run; None for a file that is no checkpoint."""
    try:
        return _read_notes(path) if _is_sound(path) else None
    except UNREADABLE:
        return None


def adopt(folder: Path, run: str, is_mine: Callable[[dict[str, Any]], bool]) -> None:
    """Give the run's name to checkpoints that earlier versions wrote without one, if their notes say they are its."""
    for path in others(folder, run):
        if path.stem.count("-") == 2:
            notes = notes_of(path)
            if notes is not None and is_mine(notes):
                _, step, digest = path.stem.split("-")
                path.rename(folder / f"step-{step}-{run}-{digest}.safetensors")


def _step(path: Path) -> tuple[int, str]:
    text = path.name.split("-")[1].split(".")[0]
    return (int(text) if text.isdecimal() else -1), path.name


def _is_sound(path: Path) -> bool:
    """Whether it is a file that holds what its name says."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except (DamagedFile, OSError):
        return False
    return digest.hexdigest()[:16] == path.stem.rsplit("-", 1)[-1]


def _read_notes(path: Path) -> dict[str, Any]:
    with safe_open(str(path), "pt") as file:  # no pickle: a header of JSON and plain numbers
        return _object(file.metadata(), "notes")


def _read(path: Path) -> Checkpoint:
    with safe_open(str(path), "pt") as file:
        header = file.metadata()
        state = {name: _as_array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        return Checkpoint(_step(path)[0], state | _object(header, "plain"), _object(header, "notes"), path)


def _object(header: Mapping[str, str] | None, name: str) -> dict[str, Any]:
    """A JSON object of a file's header; ValueError where there is none."""
    found = json.loads((header or {})[name])
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no JSON object")
    return found


def _as_array(tensor: torch.Tensor) -> Any:
    """As NumPy has it; a tensor of a type that NumPy lacks stays one."""
    return tensor if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _file_parts(state: Mapping[str, Any], notes: Mapping[str, Any]) -> list[Any]:
    """The bytes of a safetensors file, in pieces: its header, then the memory of each array.

    https://huggingface.co/docs/safetensors: 8 bytes with the length of the header, a header of JSON, the data.
    """
    arrays = {name: value for name, value in state.items() if isinstance(value, (torch.Tensor, np.ndarray, np.generic))}
    plain = {name: value for name, value in state.items() if name not in arrays}
    header: dict[str, Any] = {"__metadata__": {"plain": json.dumps(plain), "notes": json.dumps(notes)}}
    parts, end = [], 0
    for name, kind, shape, data in sorted(_bytes_of(arrays), key=lambda entry: (-entry[3].itemsize, entry[0])):
        begin, end = end, end + data.nbytes
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
        parts.append(data.reshape(-1).view(np.uint8).data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # arrays start at multiples of their width
    return [len(text).to_bytes(8, "little") + text, *parts]


def _bytes_of(arrays: Mapping[str, Any]) -> Iterator[tuple[str, str, tuple[int, ...], Any]]:
    """Name, type, shape and memory of each array or tensor."""
    for name, value in arrays.items():
        if isinstance(value, torch.Tensor):
            tensor = value.detach().cpu().contiguous()
            kind = str(tensor.dtype).removeprefix("torch.")
            shape = tuple(tensor.shape)
            data = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
        else:
            data = np.asarray(value, order="C")
            kind, shape = data.dtype.name, data.shape
        yield name, DTYPES[kind], shape, np.ascontiguousarray(data)
