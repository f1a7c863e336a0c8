"""Lanes: independent runs side by side in one array program, and what may come in at their doors.

A controller or a learner has R lanes. With one seed and no number of lanes it is "single": users see no lane axis,
the code inside always has one.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench import kernels
from workbench.errors import InputError, check_count, shown
from workbench.streams import seed_array

Floats: TypeAlias = NDArray[np.float64]
Items: TypeAlias = NDArray[np.int64]
Lanes: TypeAlias = float | Floats  # a hyper-parameter: one number, or one per lane


def per_lane(field: str, value: Lanes, lanes: int) -> Floats:
    """A hyper-parameter as (R,) float64; InputError if it is an array of another length."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim and array.shape != (lanes,):
        raise InputError(f"{field}: must be one number or {lanes} numbers, one per lane, got shape {array.shape}")
    return np.array(np.broadcast_to(array, (lanes,)))  # a copy: ours to keep, and writable like all others


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
        seeds = np.repeat(seeds, check_count("lanes", lanes))
    if lanes is not None and lanes != len(seeds):
        raise InputError(f"lanes: must equal the number of seeds, {len(seeds)}, got {lanes}")
    if len(seeds) == 0:
        raise InputError("seed: must be at least one whole number, got none")
    return seeds, np.ndim(seed) == 0 and lanes is None


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written: whoever gets it back unchanged need not check it again."""
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
    array = np.asarray(items)
    shape = "(B,)" if single else f"({lanes}, B)"
    if array.ndim != (1 if single else 2) or array.size == 0 or (not single and len(array) != lanes):
        raise InputError(f"items: must have shape {shape} with B >= 1, got {array.shape}")
    if array.dtype.kind not in "iu":
        raise InputError(f"items: must be whole numbers, positions in the pool, got {array.dtype}")
    positions = np.ascontiguousarray(array, dtype=np.int64)
    return positions[None] if single else positions


def check_rewards(rewards: ArrayLike, shape: tuple[int, ...], single: bool) -> NDArray[np.float32]:
    """Rewards as (R, B, G) float32; InputError if the shape does not fit the items (R, B)."""
    array = np.asarray(rewards)
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
    array = np.asarray(counts)
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
    """InputError unless a state dict has my fields and, apart from `free` ones, my shapes."""
    if given.keys() != mine.keys():
        odd = sorted(given.keys() ^ mine.keys())
        raise InputError(f"state: must have the fields {', '.join(sorted(mine))}; differs in {', '.join(odd)}")
    for name, value in mine.items():
        if name not in free and np.shape(given[name]) != np.shape(value):
            raise InputError(f"state.{name}: must have shape {np.shape(value)}, got {np.shape(given[name])}")
