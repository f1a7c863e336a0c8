"""L1: one skill for everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from workbench.errors import LARGEST, check_number
from workbench.lanes import Lanes
from workbench.learners.law import BoundedLaw, Gradient, ItemBank, LearnerState, Presets, decay_to
from workbench.learners.signals import GRPO


@dataclass(frozen=True)
class ScalarIRT(BoundedLaw):
    """Scalar skill: learning on one item helps with all others equally.

    p = c + (u - c) P,  P = sigma(a (theta - b))                                     (four-parameter logistic)
    theta <- theta + kappa a A mean_i S_i D_i - forgetting (theta - theta0) + noise xi,   xi ~ N(0, 1)
    D = (u - c) P (1 - P) / (p (1 - p)): the share of the reward gradient that is skill; 1 for c = 0, u = 1.
    A = 1 - anchor a (theta - theta0): the pull of a penalty anchor x KL(policy || start) on the same gradient,
    which stops skill at a (theta - theta0) = 1 / anchor.

    a: discrimination, 1/logit, in (0, 8]; at 8 an item is nearly a step.
    floor c: success by guessing, [0, 1); not the exploration share `floor` of a rule. ceiling u: best success, (c, 1].
    noise: sd of optimiser noise, logits per update, 0 to 1e6, up to 0.02 in use; 0 by default, seeds differ enough.
    anchor: weight beta_KL of the KL penalty against the start, no unit, 0 to 1e6; 0.001 to 0.3 in use, and 0 by
    default, as in most recent recipes.
    It over-rates easy items, which teach hard ones in full.
    Source: response curve of Barton and Lord 1981 (3PL: Birnbaum 1968); the update is the policy gradient of theta.
    Differs: the anchor pulls in proportion to the sampled signal, so silent groups do not pull; its mean is exact.
    """

    presets: ClassVar[Presets] = {
        "scalar": {},  # plain policy gradient
        "grpo": {"signal": GRPO()},  # std-normalised advantages
        "natural": {"gamma": 0.0},  # natural gradient: no schedule can matter
        "adam": {"adam": 1.0},  # an optimiser that cancels the size of gradients
        "guess": {"floor": 0.25, "ceiling": 0.9},  # four-option answers, imperfect verifier
    }

    a: Lanes = 1.0
    noise: Lanes = 0.0
    anchor: Lanes = 0.0

    per_item = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("a", self.a, 0, 8, open_low=True)
        check_number("noise", self.noise, 0, LARGEST)
        check_number("anchor", self.anchor, 0, LARGEST)

    def curve(self) -> tuple[Lanes, Lanes, Lanes]:
        return self.a, self.floor, self.ceiling

    def start(self, theta0: Any, bank: ItemBank) -> LearnerState:
        return LearnerState(theta0, np.full(len(theta0), 0.5), np.empty((len(theta0), 0)))

    def advance(self, state: LearnerState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> LearnerState:
        anchored = 1.0 - self.anchor * self.a * (state.theta - self.theta0)
        gain = self.kappa * self.a * gradient.mean * anchored
        theta = state.theta + gain - decay_to(self.theta0, state.theta, self.forgetting) + self.noise * gradient.noise
        return state._replace(theta=theta)
