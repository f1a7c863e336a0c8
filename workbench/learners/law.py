"""What a learning law is, and the items it works on.

All laws share one item response model and one update form (kernel form of policy gradient between items):

    p_j = floor + (ceiling - floor) sigma(a z_j),   z_j = theta + offset_j - b_j      (IRT, in logits)
    z_j <- z_j + kappa / B sum_i K_ji S_i           S_i = (v_i / v_ref)^gamma,  v_i the signal of item i's group

kappa is the step in logits per update at p = 1/2 (kappa' = kappa v_ref^gamma of the derivations). They differ in
K, the transfer between items, and in what decays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError, check_number
from workbench.lanes import Floats, Lanes
from workbench.learners.signals import RLOO, Signal


class LearnerState(NamedTuple):
    theta: Floats  # (R,) common skill, logits
    value: Floats  # (R,) the critic's V
    offset: Floats  # (R, J) skill on top of theta per item, logits; (R, 0) in laws without


@dataclass(frozen=True)
class ItemBank:
    """True item parameters: J items, of which the first I are the pool's and the rest are held out.

    b: (U, J) float32 difficulties in logits, one row per distinct draw; row: (R,) each lane's row of b.
    """

    b: NDArray[np.float32]
    row: NDArray[np.int64]
    pool_size: int


class Gradient(NamedTuple):
    """A batch as the law sees it."""

    items: NDArray[np.int64]  # (R, B) positions
    signals: NDArray[np.float32]  # (R, B) S, 0 where not admitted; (0, B) for a law that needs the mean only
    weight: Floats  # (R,) 1 / number of admitted groups, 0 if none
    mean: Floats  # (R,) mean of S over the admitted groups
    noise: Floats  # (R,) standard normals


@dataclass(frozen=True)
class Law:
    """Hyper-parameters shared by all laws; each a number or an (R,) array over lanes.

    theta0: skill before training, logits, relative to the model that made the difficulty labels (which has 0).
    kappa: logits per update at p = 1/2, >= 0. gamma: signal exponent in [0, 1]; 1 = plain policy gradient,
    1/2 = std-normalised or whitened advantages, 0 = natural gradient (0^0 = 1).
    forgetting: share of the gained skill lost per update, [0, 1].
    label_noise: sd in logits of an item's true difficulty around its label, >= 0.
    The defaults are judgement until calibrated on real logs; compare orderings, not absolute steps.
    """

    theta0: Lanes = -1.5
    kappa: Lanes = 0.02
    gamma: Lanes = 1.0
    forgetting: Lanes = 0.0
    label_noise: Lanes = 0.7
    signal: Signal = field(default_factory=RLOO)

    heldout: ClassVar[bool] = True  # whether skill carries over to items that are never trained on
    per_item: ClassVar[bool] = True  # whether the update needs each item's signal, not only their mean

    def __post_init__(self) -> None:
        check_number("theta0", self.theta0)
        check_number("kappa", self.kappa, 0)
        check_number("gamma", self.gamma, 0, 1)
        check_number("forgetting", self.forgetting, 0, 1)
        check_number("label_noise", self.label_noise, 0)
        if not isinstance(self.signal, Signal):
            raise InputError(f"signal: must be a Signal such as RLOO(), got {self.signal!r}")

    def curve(self) -> tuple[Lanes, Lanes, Lanes]:
        """Slope a, floor and ceiling of the response curve."""
        return 1.0, 0.0, 1.0

    def start(self, theta0: Floats, bank: ItemBank) -> LearnerState:
        """The state before training, theta0 (R,)."""
        raise NotImplementedError

    def advance(self, state: LearnerState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> LearnerState:
        """The state after one update. `state.offset` is updated in place; `cache` keeps what depends on bank only."""
        raise NotImplementedError


def decay_to(start: Lanes, theta: Floats, forgetting: Lanes) -> Floats:
    """Loss of skill in one update, forgetting (theta - start)."""
    return np.asarray(forgetting * (theta - start))
