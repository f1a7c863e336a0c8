"""What a batch teaches lies near it, and may be paid for elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from workbench.errors import LARGEST, SMALLEST, check_number
from workbench.lanes import Floats, Lanes, per_lane
from workbench.learners.law import BoundedLaw, Gradient, ItemBank, LearnerState, Presets, decay_to
from workbench.learners.laws.kernel import sorted_bank, spread_transfer


@dataclass(frozen=True)
class Interference(BoundedLaw):
    """Local gain: each group teaches the pool the same in sum, but near its own difficulty more, elsewhere less.

    z_j <- z_j + kappa / B sum_i K_ij S_i - forgetting (z_j - z_j at the start)
    K_ij = 1 + locality (k_ij / mean_j k_ij - 1),   k_ij = exp(-|b_i - b_j| / length),   the mean over the pool
    p = c + (u - c) sigma(z)

    The mean of K_ij over the pool is 1 for every i: batches that are spread over the pool teach as in ScalarIRT, and
    what a narrow batch teaches near it is missing elsewhere.
    locality: no unit, 0 to 1e6. 0: ScalarIRT with a = 1; in (0, 1): less elsewhere; 1: nothing far away; above 1: loss
    far away. length: logits, 1e-6 to 1e6. floor c: success by guessing, [0, 1). ceiling u: best success, (c, 1].
    Source: ours. A neural tangent kernel between items (Jacot et al. 2018, arXiv 1806.07572), reduced to difficulty as
    in KernelTransfer, with the sum of each row held fixed. Why: on real runs (`real_runs/results/forecasts`) narrow
    batches lose strata that uniform batches keep.
    """

    presets: ClassVar[Presets] = {"interference": {}}
    units: ClassVar[Mapping[str, str]] = {"length": "logits"}

    locality: Lanes = 1.5
    length: Lanes = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("locality", self.locality, 0, LARGEST)
        check_number("length", self.length, SMALLEST, LARGEST)

    def start(self, theta0: Floats, bank: ItemBank) -> LearnerState:
        lanes = len(theta0)
        return LearnerState(theta0, np.full(lanes, 0.5), np.zeros((lanes, bank.b.shape[1])))

    def advance(self, state: LearnerState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> LearnerState:
        lanes = len(state.theta)
        if not cache:
            cache.update(sorted_bank(bank, per_lane("length", self.length, lanes), topics=1))
            cache["mean"] = self._mean_kernel(bank, lanes, cache)
        step = per_lane("locality", self.kappa * gradient.weight * self.locality, lanes)
        signals = gradient.signals / np.take_along_axis(cache["mean"], gradient.items, axis=1).astype(np.float32)
        forgetting = per_lane("forgetting", self.forgetting, lanes)
        self._spread(gradient.items, signals, step, bank, cache, forgetting, state.offset)
        shared = self.kappa * (1 - np.asarray(self.locality)) * gradient.mean
        return state._replace(theta=state.theta + shared - decay_to(self.theta0, state.theta, self.forgetting))

    def _mean_kernel(self, bank: ItemBank, lanes: int, cache: dict[str, Any]) -> Floats:
        """(R, C) mean over the pool's core of k_ij, for the items i of the core, which alone are drawn."""
        size = bank.core
        items = np.broadcast_to(np.arange(size), (lanes, size))
        total = np.zeros((lanes, bank.b.shape[1]))
        ones, zeros = np.ones(items.shape, np.float32), np.zeros(lanes)
        self._spread(items, ones, np.ones(lanes), bank, cache, zeros, total)
        return total[:, :size] / size

    def _spread(
        self, items: Any, signals: Any, step: Floats, bank: ItemBank, cache: dict[str, Any], forgetting: Floats,
        offset: Floats,
    ) -> None:  # fmt: skip
        """offset_j <- (1 - forgetting) offset_j + step sum_i k_ij signal_i, in place."""
        zeros = np.zeros(len(step))
        spread_transfer(items, signals, zeros, step, zeros, cache["decay"], cache["topic_decay"], cache["decay_row"],
                        cache["rank"], cache["by_rank"], cache["topic"], bank.row, forgetting, offset)  # fmt: skip
