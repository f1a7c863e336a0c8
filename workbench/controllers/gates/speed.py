"""SPEED: a few rollouts of each item first, and the rest only if their rewards differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.gate import Gate, NoState
from workbench.controllers.rule import Feedback, Look
from workbench.errors import InputError, check_count


@dataclass(frozen=True)
class SPEED(Gate):
    """Selective prompting: an item whose first rollouts are all right or all wrong gets no more of them.

    phase 1: `first` rollouts of each item, p their mean reward; phase 2: the rest where 0 < p < 1; trained on: both

    first: rollouts of phase 1, >= 2 and fewer than those of a group. For rewards between 0 and 1, "0 < p < 1" reads
    "not all equal". An item that is screened out costs `first` rollouts, where dynamic sampling spends a whole group.
    Where a host generates whole groups at once, the gate decides by the first rewards of each and saves nothing.
    Source: Zhang, Arora, Mei, Zanette 2025, arXiv 2506.09016; first=4 as in its released script, with 20 more.
    Differs: the release joins phase 2 of one batch and phase 1 of the next in one call of the inference engine, and
    keeps screened items in a buffer for later updates, so that they are trained on with rollouts of an older policy;
    here both phases are of the same policy, further batches fill up an update, and surplus groups are not kept.
    """

    name = "speed"
    look = Look("#882255", (0, (1, 1)), "D")
    strokes = (11.0, 1.0, 1.0, 1.0, 1.0, 1.0)

    first: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("first", self.first, 2)

    @property
    def screening(self) -> int:
        return self.first

    def check_rollouts(self, rollouts: int) -> None:
        if rollouts <= self.first:
            raise InputError(f"rollouts: must be > {self.first}, the first ones of gate SPEED, got {rollouts}")

    def screen(self, feedback: Feedback) -> NDArray[np.bool_]:
        seen = feedback.rewards[:, :, : self.first]
        return np.asarray(seen.max(axis=2) > seen.min(axis=2))

    def admit(self, state: NoState, feedback: Feedback) -> tuple[NDArray[np.bool_], NoState]:
        return self.screen(feedback) & (feedback.rollouts > self.first), state
