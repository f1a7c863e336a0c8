"""Batches that are drawn and not attempted yet: what makes feedback late."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.controllers.rule import MOST_ROLLOUTS, Items
from workbench.errors import InputError, shown

NOT_SHARED = -1  # in place of a count, where the rule gives all items the same rollouts


class Ahead:
    """K batches that wait, the oldest first; a Controller keeps them with its state.

    items: (R, K, B) positions. counts: (R, K, B) rollouts of each item as the rule shared them out when the batch was
    drawn, NOT_SHARED where it did not.
    """

    def __init__(self, lanes: int) -> None:
        self.items: NDArray[np.int64] = np.empty((lanes, 0, 0), np.int64)
        self.counts: NDArray[np.int64] = np.empty((lanes, 0, 0), np.int64)

    def __len__(self) -> int:
        return int(self.items.shape[1])

    def check(self, batch: int, rollouts: int) -> None:
        """InputError unless updates of so many items and rollouts can go on with what waits."""
        if len(self) and self.items.shape[2] != batch:
            raise InputError(f"batch: must be {self.items.shape[2]}, as in the batches drawn ahead, got {batch}")
        if self.counts.size and self.counts.max() > MOST_ROLLOUTS * rollouts:
            raise InputError(f"rollouts: must be those for which batches were drawn ahead, got {rollouts}")

    def put(self, items: Items, counts: NDArray[np.int64] | None) -> None:
        """Append a batch (B,) or (R, B), and its counts, None if the rule shares none out."""
        new = np.atleast_2d(items)[:, None]
        shared = np.full_like(new, NOT_SHARED) if counts is None else np.atleast_2d(counts)[:, None]
        waiting = len(self) > 0
        self.items = np.concatenate([self.items, new], axis=1) if waiting else new
        self.counts = np.concatenate([self.counts, shared], axis=1) if waiting else shared

    def take(self) -> tuple[Items, NDArray[np.int64] | None]:
        """The oldest batch (R, B) and its counts, None if the rule shared none out; it waits no longer."""
        items, counts = self.items[:, 0].copy(), self.counts[:, 0].copy()
        self.items, self.counts = self.items[:, 1:], self.counts[:, 1:]
        return items, None if (counts == NOT_SHARED).all() else counts

    def restore(self, items: ArrayLike, counts: ArrayLike) -> None:
        """Continue from arrays that `check_saved` found sound."""
        self.items, self.counts = np.array(items, np.int64), np.array(counts, np.int64)


def check_saved(items: Any, counts: Any, size: int, step: int) -> None:
    """InputError unless arrays of a state can be batches drawn ahead by a controller after `step` draws."""
    found, given = np.asarray(items), np.asarray(counts)
    if found.shape[1] > step or ((found < 0) | (found >= size)).any():
        raise InputError(f"state.ahead: must be up to {step} batches of positions in [0, {size}), got {shown(items)}")
    if given.shape != found.shape or (given < NOT_SHARED).any():
        raise InputError(f"state.ahead_counts: must be rollouts of each item of ahead, {found.shape}, or {NOT_SHARED}, "
                         f"got {shown(counts)}")  # fmt: skip
