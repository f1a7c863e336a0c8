"""Gates: which finished groups are trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.rule import Draw, Feedback, Floats, Items, Look
from workbench.errors import InputError, check_count
from workbench.lanes import ByValue
from workbench.pool import Pool


class ShortBatch(UserWarning):
    """Gates rejected so much that an update was made on fewer groups than asked for, or not at all."""


class NoState(NamedTuple):
    """The state of a rule or gate that remembers nothing."""


@dataclass(frozen=True, kw_only=True)
class Gate(ByValue):
    """Looks at the rewards of finished groups and admits or rejects each; like a rule, pure methods on a state.

    max_batches: largest number of batches that `train` draws for one update, at most 2^31. If they contain too few
    admitted groups, the update uses those there are, or is skipped if there are none.
    """

    max_batches: int = 10

    name: ClassVar[str] = ""  # this and `look` as in `Rule`
    look: ClassVar[Look | None] = None
    strokes: ClassVar[tuple[float, ...]] = ()  # dashes of the line of a rule behind this gate
    memory: ClassVar[str] = "none"  # as in `Rule`
    extra: ClassVar[str] = "rollouts of rejected groups"

    def __post_init__(self) -> None:
        check_count("max_batches", self.max_batches, 1, 2**31)

    @property
    def screening(self) -> int:
        """Rollouts of each group before `screen` decides which groups get the rest; 0: all groups get all."""
        return 0

    def check_rollouts(self, rollouts: int) -> None:
        """InputError if the gate cannot work with groups of so many rollouts."""
        if rollouts < 2:
            raise InputError(f"rollouts: must be >= 2 for gate {type(self).__name__}, got {rollouts}")

    def init(self, pool: Pool, lanes: int) -> Any:
        """The state before the first batch."""
        return NoState()

    def screen(self, feedback: Feedback) -> NDArray[np.bool_]:
        """(R, B) which groups get the rest of their rollouts, given their first ones."""
        raise NotImplementedError

    def admit(self, state: Any, feedback: Feedback) -> tuple[NDArray[np.bool_], Any]:
        """(R, B) which groups to train on, and the state after them."""
        raise NotImplementedError

    def refill(self, state: Any, draw: Draw, items: Items) -> tuple[Items, Any]:
        """The batch drawn to fill up an update, given the rule's proposal (R, B); the proposal unless overridden."""
        return items, state

    def check_state(self, state: Any, pool: Pool) -> None:
        """InputError if a state that was loaded cannot be this gate's on this pool (shapes are checked already)."""

    def metrics(self, state: Any) -> dict[str, Floats]:
        """Numbers worth logging, (R,) each."""
        return {}
