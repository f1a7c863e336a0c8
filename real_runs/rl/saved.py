"""The state of a learner as it is saved: tensors by name, and counters. What is read is checked before it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from workbench.errors import InputError, check_count, shown

COUNTERS = ("updates", "steps", "turn", "faults", "tokens")
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of Adam, for each parameter
LARGEST_COUNT = 2**63 - 1

Moments = dict[int, dict[str, Tensor]]  # by the parameter's place in the optimiser, then by the name of the moment


def on_host(tensor: Tensor) -> Tensor:
    """A copy in main memory: the one that a checkpoint is written from."""
    return tensor.detach().to("cpu", copy=True)


def named(prefix: str, mine: Iterable[tuple[str, Tensor]], state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors `prefix.name` of a state, by name. Raises InputError where one is not like mine in shape and type."""
    return {name: _like(f"{prefix}.{name}", tensor, state) for name, tensor in mine}


def counters(state: Mapping[str, Any], steps_per_update: int) -> dict[str, int]:
    """COUNTERS of a state, in [0, 2^63 - 1], with no more steps than its updates have.

    Raises InputError for others, and for a state of an earlier version, which did not count steps, without moments
    after an update.
    """
    if "steps" not in state:
        step = state.get("adam.0.step")
        if step is None and state.get("updates") != 0:
            raise InputError("state.adam: must be there after an update, got none in a state of an earlier version")
        state = {**state, "steps": 0 if step is None else int(_like("adam.0.step", torch.zeros(()), state))}
    found = {name: check_count(f"state.{name}", state.get(name), 0, LARGEST_COUNT) for name in COUNTERS}
    if found["steps"] > (most := found["updates"] * steps_per_update):
        raise InputError(f"state.steps: must be in [0, {most}], got {found['steps']}")
    return found


def moments(state: Mapping[str, Any], parameters: list[Tensor], steps: int) -> Moments:
    """Adam's moments of all parameters after so many steps; none before the first.

    Raises InputError for moments of other parameters, of some only, of other steps, or with squares below 0.
    """
    found: Moments = {}
    known = {f"adam.{index}.{name}": (index, name) for index in range(len(parameters)) for name in MOMENTS}
    for key in (key for key in state if key.startswith("adam.")):
        if key not in known:
            raise InputError(f"state.{shown(key)}: must be a moment of one of {len(parameters)} parameters")
        index, name = known[key]
        like = torch.zeros(()) if name == "step" else parameters[index]
        found.setdefault(index, {})[name] = _like(key, like, state).clone()
    whole, expected = sum(len(own) == len(MOMENTS) for own in found.values()), len(parameters) if steps else 0
    if whole != expected or len(found) != expected:
        whose = f"{expected} parameters after {steps} steps"
        raise InputError(f"state.adam: must have {', '.join(MOMENTS)} of {whose}, got those of {whole}")
    if odd := {float(own["step"]) for own in found.values()} - {float(steps)}:
        raise InputError(f"state.adam: must have step {steps} for all parameters, got {shown(odd)}")
    if any((own["exp_avg_sq"] < 0).any() for own in found.values()):
        raise InputError("state.adam: must have exp_avg_sq >= 0, got less")
    return found


def _like(name: str, mine: Tensor, state: Mapping[str, Any]) -> Tensor:
    """The tensor of that name, which must have the shape and type of mine, and finite numbers."""
    given = state.get(name)
    if not isinstance(given, Tensor) or given.shape != mine.shape:
        got = tuple(given.shape) if isinstance(given, Tensor) else "nothing"
        raise InputError(f"state.{name}: must have shape {tuple(mine.shape)}, got {got}")
    if given.dtype != mine.dtype:
        raise InputError(f"state.{name}: must be of type {mine.dtype}, got {given.dtype}")
    if not torch.isfinite(given).all():
        odd = int((~torch.isfinite(given)).sum())
        raise InputError(f"state.{name}: must be finite, got {odd} numbers that are not")
    return given
