"""Gates: which finished groups are trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.errors import check_count


class Gate:
    """Looks at the rewards of finished groups and admits or rejects each.

    max_batches: how many batches `train` may draw for one update until as many groups are admitted as it wants.
    """

    max_batches: int = 1

    def admit(self, rewards: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(R, B) which groups of rewards (R, B, G) to train on."""
        raise NotImplementedError


@dataclass(frozen=True)
class DynamicSampling(Gate):
    """Groups whose rewards are all equal have no gradient: leave them out and draw more until the batch is full.

    max_batches: batches drawn for one update at most; then it is trained on what was admitted.
    Source: DAPO, Yu et al. 2025, arXiv 2503.14476, equation 11; max_batches of its recipe.
    Differs: a batch that stays short is trained on, where the recipe ends the run.
    """

    max_batches: int = 10

    def __post_init__(self) -> None:
        check_count("max_batches", self.max_batches)

    def admit(self, rewards: NDArray[np.float32]) -> NDArray[np.bool_]:
        return np.asarray((rewards != rewards[:, :, :1]).any(axis=2))
