"""Lanes: independent runs side by side in one array program, and validation of their inputs.

A controller or a learner has R lanes. With one seed and no number of lanes it is "single": its inputs and outputs have
no lane axis; the code inside always has one.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench import kernels
from workbench.errors import InputError, as_array, check_count, shown
from workbench.streams import seed_array

SAVED_AS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}  # kinds of NumPy: of a state's value, and of one that is taken
MOST_LANES = 2**24  # runs side by side: each has a state of its own

Floats: TypeAlias = NDArray[np.float64]
Items: TypeAlias = NDArray[np.int64]
Lanes: TypeAlias = float | Floats  # a hyper-parameter: one number, or one per lane


_lane_fields: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()  # studies of many arms ask often


def lane_fields(kind: type) -> tuple[str, ...]:
    """Hyper-parameters of a rule, gate or law that may be an array over lanes, in order.

    A field is one where NumPy arrays belong to its type: `Lanes`, `lanes.Lanes`, `float | NDArray[np.float64]`, with
    or without `from __future__ import annotations`.
    """
    if kind not in _lane_fields:
        names = (field.name for field in fields(kind))
        _lane_fields[kind] = tuple(name for name in names if np.ndarray in _members(_annotation(kind, name)))
    return _lane_fields[kind]


def _annotation(kind: type, field: str) -> Any:
    """The type of a dataclass field; a text is read in the module of the class that wrote it."""
    for base in kind.__mro__:
        written = inspect.get_annotations(base).get(field)
        if isinstance(written, str):
            names = {"Lanes": Lanes} | vars(sys.modules[base.__module__])  # it may be imported for type checkers only
            try:
                return eval(written, names)
            except (NameError, AttributeError):  # another type that only type checkers see
                return None
        if written is not None:
            return written
    return None


def _members(annotation: Any) -> set[Any]:
    """The classes of a union, without their parameters."""
    return {typing.get_origin(member) or member for member in typing.get_args(annotation) or (annotation,)}


class ByValue:
    """Equality and hash of frozen dataclasses whose fields may hold arrays: of one class, with equal values.

    Arrays are equal in type, shape and bytes. Subclasses that define neither get both, in place of those that
    `dataclass` would write, which compare tuples of fields and fail on arrays.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__eq__" not in vars(cls) and "__hash__" not in vars(cls):
            cls.__eq__ = ByValue.__eq__  # type: ignore[method-assign]
            cls.__hash__ = ByValue.__hash__  # type: ignore[method-assign]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(_key(self) == _key(other))

    def __hash__(self) -> int:
        return hash(_key(self))


def _key(value: Any) -> Any:
    """A hashable value that equal fields share."""
    if isinstance(value, ByValue):
        return type(value), *(_key(getattr(value, field.name)) for field in fields(value) if field.compare)  # type: ignore[arg-type]
    if isinstance(value, np.ndarray):
        return np.ndarray, value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return tuple(_key(part) for part in value)
    return value


def per_lane(field: str, value: Lanes, lanes: int) -> Floats:
    """A hyper-parameter as (R,) float64; InputError if it is an array of another length."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim and array.shape != (lanes,):
        raise InputError(f"{field}: must be one number or {lanes} numbers, one per lane, got shape {array.shape}")
    return np.array(np.broadcast_to(array, (lanes,)))  # a copy, writable like all others


def distinct_rows(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The distinct rows of (R, K), sorted by the first column, then the next; and (R,) which of them each row is.

    np.unique(axis=0) compares records, and NumPy makes a TypeError of a Ctrl-C that falls into that.
    """
    order = np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))
    ordered, new, which = rows[order], np.ones(len(rows), bool), np.empty(len(rows), np.int64)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    which[order] = np.cumsum(new) - 1
    return ordered[new], which


def lane_seeds(seed: ArrayLike, lanes: int | None) -> tuple[NDArray[np.uint64], bool]:
    """Seeds (R,) and whether there is no lane axis: one seed and no `lanes`."""
    seeds = seed_array(seed)
    if np.ndim(seed) == 0 and lanes is not None:
        seeds = np.repeat(seeds, check_count("lanes", lanes, high=MOST_LANES))
    if lanes is not None and lanes != len(seeds):
        raise InputError(f"lanes: must equal the number of seeds, {len(seeds)}, got {lanes}")
    if len(seeds) == 0:
        raise InputError("seed: must be at least one whole number, got none")
    return seeds, np.ndim(seed) == 0 and lanes is None


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written: an input that is this very object need not be checked again."""
    view = array.view()
    view.flags.writeable = False
    return view


def check_items(items: ArrayLike, size: int, lanes: int, single: bool) -> Items:
    """Positions as (R, B) int64; InputError unless whole numbers in [0, size) of the right shape."""
    positions = shape_items(items, lanes, single)
    if not kernels.positions_valid(positions, size):
        raise_bad_position(positions, size)
    return positions


def raise_bad_position(positions: Items, size: int) -> None:
    bad = positions[(positions < 0) | (positions >= size)][0]
    raise InputError(f"items: must be whole numbers in [0, {size}), got {bad}")


def shape_items(items: ArrayLike, lanes: int, single: bool) -> Items:
    """Positions as (R, B) int64; InputError unless whole numbers of the right shape. Their range is not checked."""
    array = as_array("items", items, "whole numbers, positions in the pool")
    shape = "(B,)" if single else f"({lanes}, B)"
    if array.ndim != (1 if single else 2) or array.size == 0 or (not single and len(array) != lanes):
        raise InputError(f"items: must have shape {shape} with B >= 1, got {array.shape}")
    if array.dtype.kind not in "iu":
        raise InputError(f"items: must be whole numbers, positions in the pool, got {array.dtype}")
    positions = np.ascontiguousarray(array, dtype=np.int64)
    return positions[None] if single else positions


def check_rewards(rewards: ArrayLike, shape: tuple[int, ...], single: bool) -> NDArray[np.float32]:
    """Rewards as (R, B, G) float32; InputError if the shape does not fit the items (R, B)."""
    array = as_array("rewards", rewards, "numbers in [0, 1]")
    if array.dtype.kind not in "fiub":
        raise InputError(f"rewards: must be numbers in [0, 1], got {array.dtype}")
    want = shape[1:] if single else shape
    if array.shape[: len(want)] != want or array.ndim not in (len(want), len(want) + 1) or array.size == 0:
        raise InputError(f"rewards: must have shape {want} or {(*want, 'G')}, like the items, got {array.shape}")
    if array.dtype != np.float32:  # as they came: 1 + 1e-9 would be 1 in float32
        bad = array[~((array >= 0) & (array <= 1))]
        if bad.size:
            raise InputError(f"rewards: must be numbers in [0, 1], got {bad[0]}")
    return np.ascontiguousarray(array, dtype=np.float32).reshape(*shape, -1)


def check_counts(counts: ArrayLike | None, shape: tuple[int, ...], single: bool) -> NDArray[np.int64]:
    """Rollouts of each group as (R, B) int64 for rewards (R, B, G), (0, 0) where all have G; InputError otherwise."""
    if counts is None:
        return np.empty((0, 0), np.int64)
    array = as_array("counts", counts, "whole numbers, one per group")
    want = shape[1:2] if single else shape[:2]
    if array.dtype.kind not in "iu" or array.shape != want or not ((array >= 0) & (array <= shape[2])).all():
        raise InputError(f"counts: must be whole numbers in [0, {shape[2]}] of shape {want}, got {shown(counts)}")
    return np.ascontiguousarray(array, dtype=np.int64).reshape(shape[:2])


def raise_bad_reward(rewards: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
    bad = rewards[~((rewards >= 0) & (rewards <= 1))]
    if bad.size:
        raise InputError(f"rewards: must be numbers in [0, 1], got {bad[0]}")
    beyond = rewards[np.arange(rewards.shape[2]) >= counts[:, :, None]]
    raise InputError(f"rewards: must be 0 after the first counts of each group, got {beyond[beyond != 0][0]}")


def check_state(given: dict[str, Any], mine: dict[str, Any], free: set[str]) -> None:
    """InputError unless a state dict has my fields, kinds of numbers and shapes; `free` ones may be wider or not."""
    if not isinstance(given, Mapping):
        raise InputError(f"state: must be what state_dict returns, got {shown(given)}")
    if given.keys() != mine.keys():
        odd = sorted(given.keys() ^ mine.keys())
        raise InputError(f"state: must have the fields {', '.join(sorted(mine))}; differs in {', '.join(odd)}")
    for name, value in mine.items():
        if isinstance(value, str):
            continue
        expected, array = np.asarray(value), as_array(f"state.{name}", given[name], "numbers as they were saved")
        shapes = (array.shape[:1], expected.shape[:1]) if name in free else (array.shape, expected.shape)
        if shapes[0] != shapes[1] or array.ndim != expected.ndim:
            raise InputError(f"state.{name}: must have shape {expected.shape}, got {array.shape}")
        kinds = SAVED_AS[expected.dtype.kind] if array.size else "biuf"  # an empty list is one of floats
        if array.dtype.kind not in kinds or not _holds(expected.dtype, array):
            raise InputError(f"state.{name}: must be of type {expected.dtype}, got {array.dtype}")


def _holds(kind: np.dtype[Any], array: NDArray[Any]) -> bool:
    """Whether whole numbers are within the range of a type."""
    return kind.kind not in "iu" or bool((array >= np.iinfo(kind).min).all() and (array <= np.iinfo(kind).max).all())
