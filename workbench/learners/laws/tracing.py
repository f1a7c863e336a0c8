"""L6: skills that are known or not, learned by practice whatever its rewards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.errors import MOST_SKILLS, InputError, check_count, check_number
from workbench.lanes import Floats, Lanes, per_lane
from workbench.learners.law import Chances, Gradient, ItemBank, Law, Presets, decay_to, level_of, sigma
from workbench.learners.signals import Signal, Visit


class TracingState(NamedTuple):
    known: Floats  # (R, K) share of the population that knows each skill, L
    value: Floats  # (R,) the critic's V


@dataclass(frozen=True)
class KnowledgeTracing(Law):
    """A population in which each member knows a skill or does not, and every rollout asks a member at random.

    p_i = L_k (1 - slip) + (1 - L_k) guess,   k the skill of item i
    1 - L_k <- (1 - L_k) (1 - learn)^(kappa n_k),   n_k the share of the batch on skill k
    So L = 1 - (1 - L_0) (1 - learn)^t after t = kappa times the sum of n_k; then forgetting (L_k - L_k at the start)
    is lost. Practice teaches whatever its rewards: no policy gradient, nothing spreads between skills, and the best
    schedule is the one that practises all.

    theta0: logits; L_k starts at sigma(theta0 - b_k), b_k in the middle of the skill's difficulties.
    kappa: chances to learn in an update with all of its batch on one skill, 0 to 1e9; 1 by default.
    skills: K, 1 to 256, levels of true difficulty, k = floor(K sigma(b)); 10 by default, as many as strata of
    difficulty.
    learn T: chance that a member who does not know a skill learns it, [0, 1]; 0.1 by default: with its tenth of the
    batch, half of those learn a skill in 66 updates.
    guess G: success without the skill, [0, 1). slip S: failure with it, [0, 1), G < 1 - S. 0.2 and 0.1 by default,
    within the limits 0.3 and 0.1 of Corbett and Anderson.
    gamma has no effect on visits; other signals scale them.
    Source: Bayesian knowledge tracing, Corbett & Anderson 1995, its transition and its success, over a population.
    """

    presets: ClassVar[Presets] = {"tracing": {}}  # known or not known; no policy gradient
    units: ClassVar[Mapping[str, str]] = {"kappa": "chances to learn per update"}

    kappa: Lanes = 1.0
    skills: int = 10
    learn: Lanes = 0.1
    guess: Lanes = 0.2
    slip: Lanes = 0.1
    signal: Signal = field(default_factory=Visit)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("skills", self.skills, 1, MOST_SKILLS)
        check_number("learn", self.learn, 0, 1)
        check_number("guess", self.guess, 0, 1, open_high=True)
        check_number("slip", self.slip, 0, 1, open_high=True)
        if np.any(np.asarray(self.guess) >= 1.0 - np.asarray(self.slip)):
            raise InputError(f"guess, slip: must have guess < 1 - slip, got {self.guess!r} and {self.slip!r}")

    def start(self, theta0: Floats, bank: ItemBank) -> TracingState:
        for name in ("learn", "guess", "slip"):
            per_lane(name, getattr(self, name), len(theta0))
        return TracingState(self._start(theta0), np.full(len(theta0), 0.5))

    def _start(self, theta0: Lanes) -> Floats:
        """(R, K) L_0."""
        middle = (np.arange(self.skills) + 0.5) / self.skills
        return sigma(np.reshape(theta0, (-1, 1)) - np.log(middle / (1.0 - middle)))

    def chance(self, state: TracingState, items: NDArray[np.int64], bank: ItemBank, cache: dict[str, Any]) -> Chances:
        if not cache:
            cache["skill"] = level_of(bank, self.skills)
        guess, slip = np.reshape(self.guess, (-1, 1)), np.reshape(self.slip, (-1, 1))
        p = np.empty((len(state.known), items.shape[1]), np.float32)
        kernels.look_up(items, cache["skill"], bank.row, state.known * (1.0 - slip) + (1.0 - state.known) * guess, p)
        return p

    def advance(self, state: TracingState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> TracingState:
        visits = np.empty_like(state.known)
        kernels.sum_signals(gradient.items, gradient.signals, cache["skill"], bank.row, visits)
        practice = np.reshape(self.kappa, (-1, 1)) * gradient.weight[:, None] * visits
        learned = (1.0 - state.known) * (1.0 - (1.0 - np.reshape(self.learn, (-1, 1))) ** practice)
        lost = decay_to(self._start(self.theta0), state.known, np.reshape(self.forgetting, (-1, 1)))
        return state._replace(known=state.known + learned - lost)
