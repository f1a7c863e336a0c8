"""Curriculum rules: hyper-parameters, and pure methods on an explicit state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.errors import InputError, check_number
from workbench.lanes import ByValue, Floats, Items, Lanes, per_lane
from workbench.pool import Pool
from workbench.streams import Role, clock

__all__ = [
    "SOLID",
    "Dashes",
    "Draw",
    "Feedback",
    "Floats",
    "Items",
    "Lanes",
    "Look",
    "Probe",
    "Rule",
    "per_lane",
    "require",
]


MOST_ROLLOUTS = 4  # times the average that one item may be given where a rule allocates rollouts
MOST_PROBED = 10_000  # rollouts of each item of a probe


@dataclass(frozen=True)
class Draw:
    """The arguments of a selection: all that a rule may look at beside its state.

    pool: the items. seeds: (R,) of the lanes. step: batches drawn so far, not counting refills. turn: refills of this
    batch so far.
    """

    pool: Pool
    seeds: NDArray[np.uint64]
    step: int
    turn: int = 0

    def stream(self, role: Role) -> tuple[NDArray[np.uint64], int, int]:
        """Seeds, role and clock: the key of the random streams of this draw, as compiled loops take it."""
        return self.seeds, int(role), clock(self.step, self.turn)


@dataclass(frozen=True)
class Feedback:
    """Rewards of some items. Groups may differ in size, and some items of a batch may have no rewards.

    items: (R, B) positions. rewards: (R, B, G) in [0, 1]. mean_reward: (R,) over all rollouts. pool, seeds: as in
    `Draw`; step: batches drawn so far, this one included. counts: (R, B) rollouts of each group: its rewards
    come first, and zeros follow; (0, 0) if all have G. probe: whether these items were requested by the rule through
    `Rule.probe`, and not trained on. batch: items of the batch drawn last, of which these may be some; 0 if not known.
    """

    items: Items
    rewards: NDArray[np.float32]
    mean_reward: Floats
    pool: Pool
    seeds: NDArray[np.uint64]
    step: int
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    probe: bool = False
    batch: int = 0

    @property
    def share(self) -> Floats:
        """(R,) groups with rollouts over those of the batch drawn last; 1 where that is not known."""
        if not self.batch:
            return np.ones(len(self.items))
        return np.asarray((self.rollouts > 0).sum(axis=1) / self.batch)

    @property
    def rollouts(self) -> NDArray[np.int64]:
        """(R, B) rollouts of each group; 0 where there is no feedback."""
        return self.counts if self.counts.size else np.full(self.items.shape, self.rewards.shape[2])

    @property
    def successes(self) -> Floats:
        """(R, B) sum of each group's rewards."""
        return self._moments[0]

    @property
    def means(self) -> Floats:
        """(R, B) mean reward of each group."""
        return self._moments[1]

    @property
    def stds(self) -> Floats:
        """(R, B) population standard deviation of each group's rewards."""
        return self._moments[2]

    @cached_property
    def _moments(self) -> tuple[Floats, Floats, Floats]:
        total, mean, std = np.empty((3, *self.items.shape))
        kernels.group_moments(self.rewards, self.counts, total, mean, std)
        return total, mean, std


Dashes: TypeAlias = tuple[float, tuple[float, ...]]  # as matplotlib takes them: offset, lengths in line widths
SOLID: Dashes = (0, ())


@dataclass(frozen=True)
class Look:
    """How figures draw a rule or a gate. color: hexadecimal. dashes: of its line. marker: a marker of matplotlib."""

    color: str
    dashes: Dashes
    marker: str


class Probe(NamedTuple):
    """Items to try without training on them: positions (R, P) and rollouts of each."""

    items: Items
    rollouts: int


@dataclass(frozen=True, kw_only=True)
class Rule(ByValue):
    """A curriculum rule: a frozen dataclass of hyper-parameters, each a number or an (R,) array over lanes.

    The state is a NamedTuple of arrays with a leading lane axis. No method changes the state it is given, so
    resume, lanes and tests need no support from the rule.

    floor: exploration, the share of a batch that is drawn uniformly from the pool instead, in [0, 1]; applied by the
    Controller after `select`: with floor > 0 no item of the pool can starve. A rule that remembers which items it drew
    hears of the exchange in `replaced`.
    """

    floor: Lanes = 0.0

    name: ClassVar[str] = ""  # what command lines, tables and legends call it; a class with its own name is registered
    look: ClassVar[Look | None] = None  # in figures; None: chosen by its name
    units: ClassVar[Mapping[str, str]] = {}  # of its own hyper-parameters, where they have one
    needs: ClassVar[tuple[str, ...]] = ()  # columns of the pool that it requires, as in `require`
    packages: ClassVar[tuple[str, ...]] = ()  # packages it needs beside NumPy and Numba
    memory: ClassVar[str] = "none"  # its state grows with: "none", "arm" or "item"
    extra: ClassVar[str] = "none"  # its costs beside the rollouts trained on
    fits_model: ClassVar[bool] = False  # whether it fits a model during the run, lane by lane: slow

    def __post_init__(self) -> None:
        check_number("floor", self.floor, 0, 1)

    @property
    def labels(self) -> bool:
        """Whether it reads difficulty labels, which cost rollouts before training."""
        return "difficulty" in self.needs

    @property
    def per_call(self) -> bool:
        """Whether a call of `update` is a step of its own: a call per group moves it otherwise than one per batch."""
        return False

    def init(self, pool: Pool, lanes: int) -> Any:
        """The state before the first batch; InputError if the pool lacks what the rule needs."""
        raise NotImplementedError

    def select(self, state: Any, draw: Draw, count: int) -> tuple[Items, Any]:
        """`count` distinct positions per lane, (R, count), and the state after the draw."""
        raise NotImplementedError

    def replaced(self, state: Any, draw: Draw, selected: Items, items: Items) -> Any:
        """The state after exploration changed the batch `selected` (R, B) to `items` (R, B).

        Called after `select` where floor > 0; unchanged in rules that do not remember draws. A gate's refill comes
        later: a rule counts the items that it proposed there, whether or not a replay bank took their slots.
        """
        return state

    def update(self, state: Any, feedback: Feedback) -> Any:
        """The state after rewards; unchanged in rules that ignore them."""
        return state

    def probe(self, state: Any, draw: Draw) -> Probe | None:
        """Items to try before the next batch is drawn, without training on them; None for most rules and steps."""
        return None

    def allocate(self, state: Any, draw: Draw, items: Items, rollouts: int) -> NDArray[np.int64] | None:
        """(R, B) rollouts of each drawn item, `rollouts` on average, at most MOST_ROLLOUTS times that; or None."""
        return None

    def check_state(self, state: Any, pool: Pool) -> None:
        """InputError if a state that was loaded cannot be this rule's on this pool (shapes are checked already)."""

    def metrics(self, state: Any) -> dict[str, Floats]:
        """Numbers worth logging, (R,) each."""
        return {}


HOW_TO_GET = {
    "category": "a text per item, such as its source or topic",
    "level": "a whole number per item, from the generator or a rating",
    "features": "an (I, F) array such as embeddings of the prompts",
    "weak_rate": "pass rates of a weak reference model, in [0, 1]",
    "strong_rate": "pass rates of a strong reference model, in [0, 1]",
    "successes": "pass counts of a reference model",
}


def require(rule: Rule, pool: Pool, *columns: str) -> None:
    """InputError unless the pool has the columns; says how to get the first that is missing."""
    for column in columns:
        if getattr(pool, column) is None:
            raise InputError(
                f"pool: must have the column {column} ({HOW_TO_GET[column]}) for {type(rule).__name__}, "
                f"but '{pool.name}' has none"
            )
