"""For tests of rules, gates and learners, ours and other people's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from workbench.controllers.rule import Draw, Feedback
from workbench.pool import Pool


def draw(pool: Pool, step: int = 0, seed: ArrayLike = 0, turn: int = 0) -> Draw:
    """What a Controller hands to `select`; one lane per seed."""
    return Draw(pool, np.atleast_1d(np.asarray(seed, np.uint64)), step, turn)


def feedback(
    pool: Pool, items: ArrayLike, rewards: ArrayLike, step: int = 1, seed: ArrayLike = 0, counts: Any = None
) -> Feedback:
    """What a Controller hands to `update`: items (B,) or (R, B), rewards (B, G) or (R, B, G), counts like items."""
    seeds = np.atleast_1d(np.asarray(seed, np.uint64))
    positions = np.atleast_2d(np.asarray(items, np.int64))
    groups = np.asarray(rewards, np.float32).reshape(*positions.shape, -1)
    sizes = np.empty((0, 0), np.int64) if counts is None else np.asarray(counts, np.int64).reshape(positions.shape)
    spent = sizes.sum(axis=1) if sizes.size else groups[0].size
    mean = groups.sum(axis=(1, 2), dtype=np.float64) / spent
    return Feedback(positions, groups, mean, pool, seeds, step, sizes)
