"""Rewards of a trainer, as a controller takes them: one number in [0, 1] per completion, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError, as_numbers, check_one_number, shown
from workbench.lanes import Floats

ToUnit: TypeAlias = tuple[float, float] | Callable[[Floats], Any] | None
ROUNDING = 1e-6  # beyond 0 and 1, of weighted sums in single precision


def check_to_unit(to_unit: ToUnit) -> None:
    """InputError unless it is None, a function, or two numbers low < high."""
    if to_unit is None or callable(to_unit):
        return
    ends: Any = to_unit
    if not isinstance(ends, (tuple, list)) or len(ends) != 2:
        raise InputError(f"to_unit: must be (low, high), a function of rewards, or None, got {shown(to_unit)}")
    for end in ends:
        check_one_number("to_unit", end)
    if not ends[0] < ends[1]:
        raise InputError(f"to_unit: must be (low, high) with low < high, got {shown(to_unit)}")


def unit_rewards(per_function: NDArray[Any], weights: NDArray[Any], to_unit: ToUnit) -> Floats:
    """(N,) in [0, 1], NaN where no function gave a reward: sum over functions of weight x reward, then `to_unit`.

    per_function: (N, F), NaN where a function gave none. weights: (F,). InputError for rewards out of [0, 1] then.
    """
    rewards: Floats = np.nansum(per_function.astype(np.float64) * weights.astype(np.float64), axis=1)
    known = ~np.isnan(per_function).all(axis=1)
    rewards[~known] = np.nan
    if known.any():
        rewards[known] = _mapped(rewards[known], to_unit)
    return rewards


def _mapped(rewards: Floats, to_unit: ToUnit) -> Floats:
    if to_unit is None:
        values = rewards
    elif callable(to_unit):
        values = as_numbers("to_unit", to_unit(rewards.copy()), "a function to numbers in [0, 1]")
        if values.shape != rewards.shape:
            raise InputError(f"to_unit: must give a number per reward, {rewards.shape}, got shape {values.shape}")
    else:
        values = (rewards - to_unit[0]) / (to_unit[1] - to_unit[0])
    bad = ~((values >= -ROUNDING) & (values <= 1 + ROUNDING))
    if bad.any():
        raise InputError(f"rewards: must be in [0, 1] for the controller, or to_unit=(low, high) must say what is 0 "
                         f"and what is 1, got {rewards[bad][0]:g} with to_unit={shown(to_unit)}")  # fmt: skip
    return np.asarray(np.clip(values, 0.0, 1.0))


def as_groups(rewards: Floats, groups: int) -> tuple[Floats, NDArray[np.int64] | None]:
    """(B, G) rewards, and (B,) how many of each group are known, those first; None where all are."""
    table = rewards.reshape(groups, -1)
    known = ~np.isnan(table)
    if known.all():
        return table, None
    order = np.argsort(~known, axis=1, kind="stable")
    return np.take_along_axis(np.where(known, table, 0.0), order, axis=1), known.sum(axis=1)


def as_answer(rewards: Sequence[float], rollouts: int, to_unit: ToUnit) -> tuple[Floats, int]:
    """What `Queue.answer` takes: (G,) rewards in [0, 1], the known ones first and 0 after them, and how many are known.

    rewards: of at most `rollouts` completions; NaN is one without a reward. InputError for more.
    """
    if len(rewards) > rollouts:
        raise InputError(f"rollouts: must be those of a group, got {rollouts} where the host gave {len(rewards)}")
    given = np.full(rollouts, np.nan)
    given[: len(rewards)] = rewards
    table, counts = as_groups(unit_rewards(given[:, None], np.ones(1), to_unit), 1)
    return table[0], rollouts if counts is None else int(counts[0])
