"""What a curriculum rule is: hyper-parameters, and pure methods on an explicit state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.lanes import Floats, Items, Lanes, per_lane
from workbench.pool import Pool

__all__ = ["Draw", "Feedback", "Floats", "Items", "Lanes", "Rule", "per_lane"]


@dataclass(frozen=True)
class Draw:
    """What a rule may look at when it selects: the pool, the lanes' seeds (R,), and batches drawn so far."""

    pool: Pool
    seeds: NDArray[np.uint64]
    step: int


@dataclass(frozen=True)
class Feedback:
    """What came of a batch: positions (R, B), rewards (R, B, G) in [0, 1] and their mean (R,) over all rollouts."""

    items: Items
    rewards: NDArray[np.float32]
    mean_reward: Floats


class Rule:
    """A curriculum rule: a frozen dataclass of hyper-parameters, each a number or an (R,) array over lanes.

    The state is a NamedTuple of arrays with a leading lane axis. No method changes the state it is given, so
    resume, lanes and tests need no support from the rule.
    """

    def init(self, pool: Pool, lanes: int) -> Any:
        """The state before the first batch."""
        raise NotImplementedError

    def select(self, state: Any, draw: Draw, count: int) -> tuple[Items, Any]:
        """`count` distinct positions per lane, (R, count), and the state after the draw."""
        raise NotImplementedError

    def update(self, state: Any, feedback: Feedback) -> Any:
        """The state after rewards; unchanged in rules that do not listen to them."""
        return state

    def check_state(self, state: Any, pool: Pool) -> None:
        """InputError if a state that was loaded cannot be this rule's on this pool (shapes are checked already)."""

    def metrics(self, state: Any) -> dict[str, Floats]:
        """Numbers worth logging, (R,) each."""
        return {}
