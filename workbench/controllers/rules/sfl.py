"""SFL: probe many items from time to time, and train on those of middling success."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.items import random_items, take_best
from workbench.controllers.rule import (
    MOST_PROBED,
    SOLID,
    Draw,
    Feedback,
    Floats,
    Items,
    Lanes,
    Look,
    Probe,
    Rule,
    per_lane,
)
from workbench.errors import InputError, check_count, check_number
from workbench.kernels.choose import pick
from workbench.kernels.compiling import Array, compiled
from workbench.kernels.philox import other_seed, unit53_row
from workbench.pool import Pool
from workbench.streams import Role


class BufferState(NamedTuple):
    kept: Items  # (R, K) positions, by falling learnability; the first `held` are valid
    learnability: Floats  # (R, K) p (1 - p) of each when it was probed
    held: NDArray[np.int64]  # (R,)


@dataclass(frozen=True)
class SFL(Rule):
    """Sampling for learnability.

    Every `period` steps `candidates` random items are tried `rollouts` times each, without training on them; the `keep`
    with the largest learnability p (1 - p), p = their mean reward, replace those kept before. Of each batch
    round((1 - fresh) B) items are random ones of these, the others random ones of the pool.

    period: steps, >= 1. candidates, keep: items, >= 1, at most the pool. rollouts: 2 to 10000. fresh: share in [0, 1].
    Source: Rutherford et al. 2024, arXiv 2408.15099; half of a batch fresh and 100 kept as in its code. For language
    models LILO, Foster et al. 2025, arXiv 2502.12272, keeps the most learnable of each batch of candidates: period=1.
    Differs: counts are those of one probe of this pool, where the paper generates levels and plays 5,000 to 25,000.
    Items that tie for the last places are drawn at random. A batch holds no item twice: where fewer items are kept than
    its share, random items of the pool fill it up. LILO trains on the rollouts it selects by; a probe here is not
    trained on.
    """

    name = "sfl"
    look = Look("#CC6677", SOLID, "^")

    period: int = 50
    candidates: int = 1000
    rollouts: int = 8
    keep: int = 100
    fresh: Lanes = 0.5

    memory = "item"
    extra = "probe rollouts"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("period", self.period)
        check_count("candidates", self.candidates)
        check_count("rollouts", self.rollouts, 2, MOST_PROBED)
        check_count("keep", self.keep)
        check_number("fresh", self.fresh, 0, 1)

    def init(self, pool: Pool, lanes: int) -> BufferState:
        per_lane("fresh", self.fresh, lanes)
        shape = lanes, min(self.keep, self.candidates, len(pool))
        return BufferState(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(lanes, np.int64))

    def probe(self, state: BufferState, draw: Draw) -> Probe | None:
        if draw.step % self.period:
            return None
        return Probe(random_items(draw, min(self.candidates, len(draw.pool))), self.rollouts)

    def select(self, state: BufferState, draw: Draw, count: int) -> tuple[Items, BufferState]:
        part = np.floor((1 - per_lane("fresh", self.fresh, len(state.held))) * count + 0.5).astype(np.int64)
        out = np.empty((len(state.held), count), np.int64)
        size, stream = len(draw.pool), draw.stream(Role.ARM)
        from_few(state.kept, state.held, np.minimum(part, state.held), size, *stream, out)
        return out, state

    def update(self, state: BufferState, feedback: Feedback) -> BufferState:
        if not feedback.probe:
            return state
        learnability = np.where(feedback.rollouts > 0, feedback.means * (1 - feedback.means), -1.0)
        draw = Draw(feedback.pool, feedback.seeds, feedback.step)
        best = take_best(learnability.astype(np.float32), draw, min(state.kept.shape[1], learnability.shape[1]))
        order = np.argsort(-np.take_along_axis(learnability, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        kept, score = np.zeros_like(state.kept), np.zeros_like(state.learnability)
        kept[:, : best.shape[1]] = np.take_along_axis(feedback.items, best, axis=1)
        score[:, : best.shape[1]] = np.take_along_axis(learnability, best, axis=1)
        held = (score[:, : best.shape[1]] >= 0).sum(axis=1)
        return BufferState(kept, np.maximum(score, 0.0), held)

    def check_state(self, state: BufferState, pool: Pool) -> None:
        kept, _, held = state
        if not ((kept >= 0) & (kept < len(pool))).all() or not ((held >= 0) & (held <= kept.shape[1])).all():
            raise InputError(f"state.rule: must be positions in [0, {len(pool)}) and how many count, got others")

    def metrics(self, state: BufferState) -> dict[str, Floats]:
        total = np.where(np.arange(state.kept.shape[1]) < state.held[:, None], state.learnability, 0.0).sum(axis=1)
        mean = np.divide(total, state.held, out=np.full(len(total), np.nan), where=state.held > 0)
        return {"kept": state.held.astype(np.float64), "kept_learnability": mean}


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def from_few(few: Array, held: Array, need: Array, size: int, keys: Array, role: int, clock: int, out: Array) -> None:
    """out[r] = need[r] random ones of few[r, :held[r]], then random others of the pool's `size` items; all distinct."""
    batch = out.shape[1]
    pairs = np.empty(((batch + 1) // 2, 2))
    uniform = pairs.reshape(pairs.size)
    bits = np.zeros((size >> 6) + 1, np.uint64)
    for r in range(out.shape[0]):
        row, n = out[r], need[r]
        if other_seed(keys, r):
            unit53_row(keys[r], role, clock, pairs)
        pick(held[r], n, uniform[:n], bits, row[:n])
        for i in range(n):
            row[i] = few[r, row[i]]
        pick(size - n, batch - n, uniform[n:], bits, row[n:])
        before = np.sort(row[:n]) - np.arange(n)  # how many of the others come before each of these
        for i in range(n, batch):  # from a number among the others to a position in the pool
            row[i] += np.searchsorted(before, row[i], side="right")
