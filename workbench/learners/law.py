"""Learning laws, and the items they work on.

Most laws share one item response model and one update form (kernel form of policy gradient between items):

    p_j = floor + (ceiling - floor) sigma(a z_j),   z_j = theta + offset_j - b_j      (IRT, in logits)
    z_j <- z_j + kappa / B sum_i K_ji S_i           S_i = (v_i / v_ref)^gamma,  v_i the signal of item i's group

v_ref is the expected signal at p = 1/2, so that kappa is the step in logits per update of items solved half of the
time. Laws differ in K, the transfer between items, and in what decays. Those with another response model override
`chance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench.errors import LARGEST, LOGITS, MOST, MOST_STEPS, InputError, check_number
from workbench.lanes import ByValue, Floats, Lanes
from workbench.learners.signals import RLOO, Signal
from workbench.pool import Pool
from workbench.streams import Role, generator

Chances = NDArray[np.float32]
Presets: TypeAlias = Mapping[str, Mapping[str, Any]]
UNSOLVABLE = 1000.0  # logits: the true difficulty of items that are never solved


class LearnerState(NamedTuple):
    theta: Floats  # (R,) common skill, logits
    value: Floats  # (R,) the critic's V
    offset: Floats  # (R, J) skill on top of theta per item, logits; (R, 0) in laws without


@dataclass(frozen=True)
class ItemBank:
    """True item parameters of J items: the first I are the pool's, the others are held out.

    b: (U, J) float32 difficulties in logits, one row per distinct draw; row: (R,) each lane's row of b.
    pool: of the first I items. core: the first items of the pool that are ever drawn, by default all; the others are
    only looked at, and laws that speak of the pool as a whole mean the core.
    """

    b: NDArray[np.float32]
    row: NDArray[np.int64]
    pool: Pool
    core: int

    @property
    def pool_size(self) -> int:
        return len(self.pool)


class Groups(NamedTuple):
    """The groups of rollouts themselves, for a law that learns from each."""

    rewards: NDArray[np.float32]  # (R, B, G) 0 or 1
    counts: NDArray[np.int64]  # (R, B) rollouts of each group; (0, 0) if all have G
    admitted: NDArray[np.bool_]  # (R, B); (0, 0) if all are
    fresh: Floats  # (R, B) share of each group's signal that repetition leaves; (0, 0) if all are 1
    chance: NDArray[np.float32]  # (R, B) success probabilities as training sees them
    seeds: NDArray[np.uint64]  # (R,)
    update: int  # updates before this one


class Gradient(NamedTuple):
    """A batch as the law sees it."""

    items: NDArray[np.int64]  # (R, B) positions
    signals: NDArray[np.float32]  # (R, B) S, 0 where not admitted; (0, B) for a law that needs the mean only
    weight: Floats  # (R,) 1 / number of admitted groups, 0 if none
    mean: Floats  # (R,) mean of S over the admitted groups
    noise: Floats  # (R,) standard normals
    groups: Groups


@dataclass(frozen=True)
class Law(ByValue):
    """Hyper-parameters shared by all laws; each a number or an (R,) array over lanes.

    theta0: skill before training, logits, -1000 to 1000, relative to the model that made the difficulty labels (which
    has 0).
    kappa: logits per update at p = 1/2, 0 to 1e9. gamma: signal exponent in [0, 1]; 1 = plain policy gradient,
    1/2 = std-normalised or whitened advantages, 0 = natural gradient (0^0 = 1).
    warm_up: w, updates, 0 to 1e7: the step of update t = 1, 2 .. is kappa min(1, t / (w + 1)): a learning rate that
    rises.
    adam: share, [0, 1], to which an optimiser cancels the size of gradients: the step is divided by rms^adam, with rms
    the root mean square of the mean signals of all updates so far. 0: no such optimiser; 1: as in Adam (Kingma and Ba
    2015, arXiv 1412.6980) without momentum and with a long memory. Batches with much signal then teach hardly more.
    forgetting: share of the gained skill lost per update, [0, 1].
    label_noise: sd in logits of an item's true difficulty around its label, 0 to 1000: labels come from another model.
    gap: logits by which items with b > 0 are harder than labelled, 0 to 1000: a hole in the spectrum of difficulty.
    unlearnable: share of the pool that is never solved, [0, 1): broken answers, or beyond the model.
    false_negative, false_positive: chances that the verifier misses a right answer and lets a wrong one pass, [0, 0.5];
    training sees p' = false_positive + (1 - false_positive - false_negative) p, `evaluate` the true p.
    repeat_decay: r, 0 to 1e6. The signal of an item's group is multiplied by e^(-r visits): repeated prompts teach
    less.
    redundancy: r, share, [0, 1], of a step that is lost where all items of a batch are equally difficult: the step is
    multiplied by 1 - r max(0, 1 - sd of b in the batch / sd of b in the pool). On real runs narrow batches teach less
    than their signal says (`real_runs/results/forecasts`).
    tokens_easy, tokens_hard: tokens of one attempt at difficulty 0 and 100, linear in between, >= 0; the defaults are
    what Shi et al. 2025, arXiv 2504.05520, report for easy and hard problems.
    The defaults are judgement until calibrated on real logs; compare orderings, not absolute steps.
    """

    theta0: Lanes = -1.5
    kappa: Lanes = 0.02
    gamma: Lanes = 1.0
    forgetting: Lanes = 0.0
    label_noise: Lanes = 0.7
    gap: Lanes = 0.0
    unlearnable: Lanes = 0.0
    false_negative: Lanes = 0.0
    false_positive: Lanes = 0.0
    repeat_decay: Lanes = 0.0
    warm_up: Lanes = 0
    adam: Lanes = 0.0
    redundancy: Lanes = 0.0
    tokens_easy: float = 200.0
    tokens_hard: float = 2000.0
    signal: Signal = field(default_factory=RLOO)

    # Names that command lines and tables know, each with the hyper-parameters in which it differs from the defaults.
    presets: ClassVar[Presets] = {}
    units: ClassVar[Mapping[str, str]] = {  # of hyper-parameters that have one; a law adds its own
        "theta0": "logits", "kappa": "logits per update at p = 1/2", "forgetting": "share per update",
        "label_noise": "logits",
    }  # fmt: skip
    heldout: ClassVar[bool] = True  # whether skill carries over to items that are never trained on
    per_item: ClassVar[bool] = True  # whether the update needs each item's signal, not only their mean
    trains_model: ClassVar[bool] = False  # whether it trains a model of its own: slow, so a sweep takes few seeds
    packages: ClassVar[tuple[str, ...]] = ()  # packages it needs beside NumPy and Numba

    def __post_init__(self) -> None:
        check_number("theta0", self.theta0, -LOGITS, LOGITS)
        check_number("kappa", self.kappa, 0, MOST)
        check_number("gamma", self.gamma, 0, 1)
        check_number("forgetting", self.forgetting, 0, 1)
        check_number("label_noise", self.label_noise, 0, LOGITS)
        check_number("gap", self.gap, 0, LOGITS)
        check_number("unlearnable", self.unlearnable, 0, 1, open_high=True)
        check_number("false_negative", self.false_negative, 0, 0.5)
        check_number("false_positive", self.false_positive, 0, 0.5)
        check_number("repeat_decay", self.repeat_decay, 0, LARGEST)
        check_number("warm_up", self.warm_up, 0, MOST_STEPS)
        check_number("adam", self.adam, 0, 1)
        check_number("redundancy", self.redundancy, 0, 1)
        check_number("tokens_easy", self.tokens_easy, 0, 2**31)
        check_number("tokens_hard", self.tokens_hard, 0, 2**31)
        if not isinstance(self.signal, Signal):
            raise InputError(f"signal: must be a Signal such as RLOO(), got {self.signal!r}")

    def check_packages(self) -> None:
        """InputError unless the `packages` are installed; nothing is imported."""
        for name in self.packages:
            if find_spec(name) is None:
                raise InputError(
                    f"{type(self).__name__}: must have {name}, which is not installed; "
                    "the extra `real` brings it: pip install 'curriculum-workbench[real]'"
                )

    def curve(self) -> tuple[Lanes, Lanes, Lanes]:
        """Slope a, floor and ceiling of the response curve."""
        return 1.0, 0.0, 1.0

    def start(self, theta0: Floats, bank: ItemBank) -> Any:
        """The state before training, theta0 (R,): a NamedTuple of arrays with the lanes first, one of them `value`.

        `LearnerState` where the response model is the one above.
        """
        raise NotImplementedError

    def chance(self, state: Any, items: NDArray[np.int64], bank: ItemBank, cache: dict[str, Any]) -> Chances | None:
        """(R, B) true success probabilities of the items (R, B), or of the same items (1, B) in every lane.

        None: by the response model above, in a compiled loop.
        """
        return None

    def advance(self, state: Any, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> Any:
        """The state after one update. `state.offset` may be changed in place; `cache`: what depends on the bank."""
        raise NotImplementedError


@dataclass(frozen=True)
class BoundedLaw(Law):
    """A law with the common response model, in which success lies between a floor and a ceiling.

    floor c: success by guessing, [0, 1); not the exploration share `floor` of a rule. ceiling u: best success, (c, 1].
    The signal of rewards is multiplied by D = (u - c) P (1 - P) / (p (1 - p)), P = (p - c) / (u - c): the share of
    the reward gradient that is skill; 1 for c = 0, u = 1.
    """

    floor: Lanes = 0.0
    ceiling: Lanes = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("floor", self.floor, 0, 1, open_high=True)
        check_number("ceiling", self.ceiling, 0, 1, open_low=True)
        if np.any(np.asarray(self.floor) >= np.asarray(self.ceiling)):
            raise InputError(f"floor, ceiling: must have floor < ceiling, got {self.floor!r} and {self.ceiling!r}")

    def curve(self) -> tuple[Lanes, Lanes, Lanes]:
        return 1.0, self.floor, self.ceiling


def topic_of(bank: ItemBank, topics: int) -> NDArray[np.int64]:
    """(J,) topic of each item, a number in [0, topics), the same for every seed.

    By the pool's column category, in the order of its names and starting again after `topics` of them; without that
    column, drawn in equal shares over the core. The other items take turns over the topics that there are.
    """
    if bank.pool.category is None:
        own = generator(0, Role.TOPIC).permutation(bank.core) % topics
    else:
        own = bank.pool.arms("category").of_item % topics
    present = np.unique(own)
    unseen = present[np.arange(bank.b.shape[1] - len(own)) % len(present)]
    return np.concatenate([own, unseen]).astype(np.int64)


def level_of(bank: ItemBank, levels: int) -> NDArray[np.int64]:
    """(U, J) true difficulty in levels of equal width, floor(levels sigma(b)); -1 for items that are never solved."""
    level = np.minimum(levels * sigma(bank.b.astype(np.float64)), levels - 1).astype(np.int64)
    return np.where(bank.b == UNSOLVABLE, -1, level)


def sigma(z: Any) -> Floats:
    """1 / (1 + e^-z), for any z."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * np.asarray(z, dtype=np.float64)))


def decay_to(start: Lanes, theta: Floats, forgetting: Lanes) -> Floats:
    """Loss of skill in one update, forgetting (theta - start)."""
    return np.asarray(forgetting * (theta - start))
