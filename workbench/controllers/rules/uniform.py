"""Shuffled epochs over the whole pool or over a fixed part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.items import put_back
from workbench.controllers.rule import Draw, Items, Lanes, Look, Rule, per_lane
from workbench.errors import InputError, check_number
from workbench.kernels.compiling import Array, compiled
from workbench.pool import Pool
from workbench.streams import Role


class DeckState(NamedTuple):
    deck: NDArray[np.int32]  # (R, I) the lane's items in this epoch's order; only the first `size` count
    size: NDArray[np.int64]  # (R,)
    cursor: NDArray[np.int64]  # (R,) items dealt in this epoch
    epoch: NDArray[np.int64]  # (R,) from 0; -1 before the first


@dataclass(frozen=True)
class Uniform(Rule):
    """Every item equally often: epochs in a fresh random order, as a shuffling data loader deals them.

    The rest of an epoch that no longer fills a batch is dropped, so no item comes twice in a batch. With floor > 0, an
    item drawn by exploration counts as dealt in this epoch, and the one whose slot it took is dealt in the next batch.
    Source: the standard baseline; uniform shuffling in Shi et al. 2025, arXiv 2504.05520, section 4.3.
    """

    name = "uniform"
    look = Look("#000000", (0, (4, 1.5)), "o")

    memory = "item"

    def keeps(self, pool: Pool, lanes: int) -> NDArray[np.bool_]:
        """(R, I) or (1, I): the items this rule ever deals."""
        return np.ones((1, len(pool)), dtype=bool)

    def init(self, pool: Pool, lanes: int) -> DeckState:
        kept = self.keeps(pool, lanes)
        deck = np.broadcast_to(np.argsort(~kept, axis=1, kind="stable"), (lanes, len(pool))).astype(np.int32)
        size = np.broadcast_to(kept.sum(axis=1), lanes).copy()
        return DeckState(deck, size, size.copy(), np.full(lanes, -1))

    def select(self, state: DeckState, draw: Draw, count: int) -> tuple[Items, DeckState]:
        deck, size, cursor, epoch = state
        if size.min() < count:
            raise InputError(
                f"batch: must be <= {size.min()}, the items of pool '{draw.pool.name}' that {self!r} keeps, got {count}"
            )
        if (cursor + count > size).any():
            deck, cursor, epoch = deck.copy(), cursor.copy(), epoch.copy()
            kernels.reshuffle(deck, cursor, epoch, size, count, draw.seeds, int(Role.SHUFFLE))
        out = np.empty((len(deck), count), np.int64)
        deal(deck, cursor, out)
        return out, DeckState(deck, size, cursor + count, epoch)

    def replaced(self, state: DeckState, draw: Draw, selected: Items, items: Items) -> DeckState:
        deck, cursor, epoch = put_back((state.deck, state.cursor, state.epoch), state.size, selected, items)
        return DeckState(deck, state.size, cursor, epoch)

    def check_state(self, state: DeckState, pool: Pool) -> None:
        deck, size, cursor, _ = state
        sound = (deck >= 0).all() and (deck < len(pool)).all()
        sound &= (size <= len(pool)).all() and (cursor >= 0).all() and (cursor <= size).all()
        if not sound:
            raise InputError(f"state.rule: must be positions in [0, {len(pool)}) and a cursor in [0, size], got others")


@dataclass(frozen=True)
class OfflineFilter(Uniform):
    """Drop what a reference model solves too rarely or too often, then shuffle: keep low < pass rate < high.

    low, high: pass rates in [0, 1]. The rates are the pool's; their price is the attempts behind them.
    Source: the "filtered data" baseline of Shi et al. 2025, arXiv 2504.05520, section 4.3 (<= 10 %, >= 90 %).
    Differs: the paper filters by 40 attempts of the model to be trained; here by the pool's own pass rates.
    """

    name = "filter"
    look = Look("#E69F00", (0, (6, 1.5, 1, 1.5)), "s")

    low: Lanes = 0.1
    high: Lanes = 0.9

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("low", self.low, 0, 1)
        check_number("high", self.high, 0, 1)
        if np.any(np.asarray(self.low) >= np.asarray(self.high)):
            raise InputError(f"low, high: must have low < high, got {self.low!r} and {self.high!r}")

    def keeps(self, pool: Pool, lanes: int) -> NDArray[np.bool_]:
        low, high = per_lane("low", self.low, lanes)[:, None], per_lane("high", self.high, lanes)[:, None]
        return (low < pool.pass_rate) & (pool.pass_rate < high)


@dataclass(frozen=True)
class MiddleBand(Uniform):
    """Random among items of middling difficulty, low <= d <= high: is "not too easy, not too hard" enough?

    low, high: difficulty in [0, 100].
    Source: the control that arXiv 2504.05520 leaves out; ours.
    """

    name = "band"
    look = Look("#56B4E9", (0, (2, 1)), "^")

    low: Lanes = 25.0
    high: Lanes = 75.0

    needs = ("difficulty",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("low", self.low, 0, 100)
        check_number("high", self.high, 0, 100)
        if np.any(np.asarray(self.low) > np.asarray(self.high)):
            raise InputError(f"low, high: must have low <= high, got {self.low!r} and {self.high!r}")

    def keeps(self, pool: Pool, lanes: int) -> NDArray[np.bool_]:
        low, high = per_lane("low", self.low, lanes)[:, None], per_lane("high", self.high, lanes)[:, None]
        return (low <= pool.difficulty) & (pool.difficulty <= high)


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def deal(deck: Array, cursor: Array, out: Array) -> None:
    """out[r] = the next B items of the lane's shuffled epoch."""
    for r in range(out.shape[0]):
        cards = deck[r, cursor[r] : cursor[r] + out.shape[1]]
        for i in range(out.shape[1]):
            out[r, i] = cards[i]
