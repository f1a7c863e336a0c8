"""L3: skill that spreads to items of similar difficulty, and fades; L0, its limit without any spreading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench import kernels
from workbench.errors import check_number
from workbench.lanes import Floats, Lanes, per_lane
from workbench.learners.law import Gradient, ItemBank, Law, LearnerState, decay_to


@dataclass(frozen=True)
class KernelTransfer(Law):
    """Local transfer: training an item helps the items near it in true difficulty most.

    K_ij = transfer_all + transfer_near exp(-|b_i - b_j| / length) + transfer_self [i = j]
    z_j <- z_j + kappa / B sum_i K_ij S_i - forgetting (z_j - z_j at the start)

    transfer_all, transfer_near, transfer_self: >= 0, no unit. length: logits, > 0.
    transfer_all alone is ScalarIRT with a = 1; transfer_self alone is Tabular, both to the bit.
    Held-out items learn from their neighbours only.
    Source: ours, a neural tangent kernel between items (Jacot et al. 2018, arXiv 1806.07572) reduced to difficulty.
    """

    transfer_all: Lanes = 0.0
    transfer_near: Lanes = 1.0
    transfer_self: Lanes = 0.0
    length: Lanes = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("transfer_all", self.transfer_all, 0)
        check_number("transfer_near", self.transfer_near, 0)
        check_number("transfer_self", self.transfer_self, 0)
        check_number("length", self.length, 0, open_low=True)

    def start(self, theta0: Floats, bank: ItemBank) -> LearnerState:
        lanes = len(theta0)
        return LearnerState(theta0, np.full(lanes, 0.5), np.zeros((lanes, bank.b.shape[1])))

    def advance(self, state: LearnerState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> LearnerState:
        lanes = len(state.theta)
        if not cache:
            cache.update(_sorted_bank(bank, per_lane("length", self.length, lanes)))
        step = self.kappa * gradient.weight
        shared = self.kappa * self.transfer_all * gradient.mean
        kernels.spread_transfer(
            gradient.items,
            gradient.signals,
            per_lane("transfer_self", step * self.transfer_self, lanes),
            per_lane("transfer_near", step * self.transfer_near, lanes),
            cache["decay"],
            cache["decay_row"],
            cache["rank"],
            cache["by_rank"],
            bank.row,
            per_lane("forgetting", self.forgetting, lanes),
            state.offset,
        )
        return state._replace(theta=state.theta + shared - decay_to(self.theta0, state.theta, self.forgetting))


@dataclass(frozen=True)
class Tabular(KernelTransfer):
    """No transfer: z_i <- z_i + kappa / B S_i for the items of the batch, all others stay as they are.

    The lower bound on transfer. kappa is large because the mean over the batch gives each item only its 1/B.
    Held-out items would never change, so `evaluate` looks at the pool's own items.
    Source: softmax policy gradient on independent bandits (Mei et al. 2020, arXiv 2005.06392).
    """

    kappa: Lanes = 64.0
    transfer_near: Lanes = 0.0
    transfer_self: Lanes = 1.0

    heldout = False


def _sorted_bank(bank: ItemBank, length: Floats) -> dict[str, Any]:
    """Items by true difficulty: rank and its inverse (U, J), and the kernel between neighbours per (row, length)."""
    by_rank = np.argsort(bank.b, axis=1, kind="stable")
    rank = np.argsort(by_rank, axis=1, kind="stable")
    gaps = np.diff(np.take_along_axis(bank.b.astype(np.float64), by_rank, axis=1), axis=1, prepend=np.nan)
    pairs, decay_row = np.unique(np.stack([bank.row, length], axis=1), axis=0, return_inverse=True)
    decay = np.exp(-gaps[pairs[:, 0].astype(np.int64)] / pairs[:, 1:])
    decay[:, 0] = 0.0  # nothing comes from below the easiest item
    return {"decay": decay, "decay_row": decay_row.ravel(), "rank": rank, "by_rank": by_rank}
