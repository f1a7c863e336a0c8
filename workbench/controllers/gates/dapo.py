"""DAPO's dynamic sampling: silent groups are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.gate import Gate, NoState
from workbench.controllers.rule import Feedback, Look


@dataclass(frozen=True)
class DynamicSampling(Gate):
    """Groups whose rewards are all equal have no gradient: leave them out and draw more until the batch is full.

    max_batches: 10, as in its recipe.
    Source: DAPO, Yu et al. 2025, arXiv 2503.14476, equation 11.
    Differs: a batch that stays short is trained on, where the recipe ends the run. A group of one rollout, which a rule
    may allocate, counts as silent and is rejected; the recipe keeps it. Equal rewards are silent whatever they are; the
    recipe asks for a standard deviation above 0, which rounding makes of three times 0.1.
    """

    name = "dapo"
    look = Look("#882255", (0, (3, 1, 1, 1)), "P")
    strokes = (11.0, 1.0)

    def admit(self, state: NoState, feedback: Feedback) -> tuple[NDArray[np.bool_], NoState]:
        return feedback.stds > 0, state
