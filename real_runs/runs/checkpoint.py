"""Checkpoints of a run: one safetensors file each, named by step and content, whole or not there at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError

from workbench.files import write_whole

KEPT = 2  # should the last be damaged, there is the one before
Checkpoint = tuple[int, dict[str, Any], dict[str, Any]]


def save(folder: Path, step: int, state: dict[str, Any], notes: dict[str, Any]) -> None:
    """Keep arrays, tensors, numbers and names (`state`) and JSON values (`notes`); older checkpoints go."""
    arrays, plain = {}, {}
    for name, value in state.items():
        if isinstance(value, (torch.Tensor, np.ndarray)):
            array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
            arrays[name] = np.array(array, order="C")
        else:
            plain[name] = value
    data = safetensors.numpy.save(arrays, {"plain": json.dumps(plain), "notes": json.dumps(notes)})
    digest = hashlib.sha256(data).hexdigest()[:16]
    write_whole(folder / f"step-{step:06d}-{digest}.safetensors", data)
    for path in _newest_first(folder)[KEPT:]:
        path.unlink(missing_ok=True)


def load(folder: Path, warn: Callable[[str], object]) -> Checkpoint | None:
    """Step, state and notes of the last sound checkpoint, None if there is none; `warn` is told of damaged ones."""
    for path in _newest_first(folder):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest()[:16] != path.stem.rsplit("-", 1)[-1]:
            warn(f"damaged checkpoint {path}: the one before it is used")
            path.unlink()
            continue
        try:
            state: dict[str, Any] = dict(safetensors.numpy.load(data))
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        except (SafetensorError, ValueError, KeyError) as error:
            warn(f"checkpoint {path} is of another kind: the one before it is used ({error})")
            continue
        step = int(path.stem.split("-")[1])
        return step, state | json.loads(header["plain"]), json.loads(header["notes"])
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)
