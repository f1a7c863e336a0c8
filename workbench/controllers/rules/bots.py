"""BOTS: posteriors of all items, from their rollouts or, without rollouts, from two reference models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.items import best_of, check_posterior, posterior_draws, posterior_metrics, random_items
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Look, Rule, per_lane, require
from workbench.errors import LARGEST, InputError, check_count, check_number, shown
from workbench.kernels.compiling import Array, compiled, f32
from workbench.pool import Pool

NO_GAP = 1e-6  # least difference of the references' mean pass rates that places the policy between them


class EvidenceState(NamedTuple):
    a: NDArray[np.float32]  # (R, I) success counts, the prior's included: success rate ~ Beta(a, b)
    b: NDArray[np.float32]  # (R, I) failure counts
    capability: Floats  # (R,) the policy's place between the references: 0 the weak, 1 the strong; NaN before feedback


@dataclass(frozen=True)
class BOTS(Rule):
    """Bayesian online task selection.

    belief:      p_i ~ Beta(a_i, b_i), Beta(1, 1) before the first feedback
    capability:  mu = (R - W) / (S - W), R, W, S = mean pass rate over the batch of the policy, the weak and the strong
                 reference;  c <- momentum c + (1 - momentum) mu, c = mu the first time
    evidence:    explicit counts s_i, f_i of items with feedback; for others pseudo counts s~ = pseudo p~, f~ = pseudo
                 (1 - p~) with p~_i = clip(c strong_i + (1 - c) weak_i, 0, 1)
    feedback:    a_i <- (1 - decay) a_i + decay + (1 - evidence) s_i + evidence s~_i,   b_i alike with f
    selection:   the B whose p_i, drawn from the belief, is nearest the target

    Items with feedback have s~ = s, so all of s counts; others have s = 0. target: success rate in [0, 1]. decay,
    evidence: the paper's lambda and rho in [0, 1]. pseudo: its rollouts per item, 0 to 1e6. momentum: in [0, 1].
    candidates: random items that are looked at, at least a batch; 0 looks at all. sample: False takes the belief's mean
    instead of a draw.

    Source: Shen et al. 2025, arXiv 2510.26374, its update rule and interpolation plug-in; defaults of its public code.
    Differs: the paper looks at all items, candidates=0. Successes are those of the rollouts there were, where the code
    scales them to `pseudo`. Where S = W over a batch, c stays.
    """

    name = "bots"
    look = Look("#117733", (0, (3, 1, 1, 1)), "8")
    units: ClassVar[Mapping[str, str]] = {"target": "success rate"}

    target: Lanes = 0.5
    decay: Lanes = 0.1
    evidence: Lanes = 0.1
    pseudo: Lanes = 16
    momentum: Lanes = 0.9
    candidates: int = 4096
    sample: bool = True

    needs = ("weak_rate", "strong_rate")
    memory = "item"
    extra = "pass rates of two reference models"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("target", "decay", "evidence", "momentum"):
            check_number(name, getattr(self, name), 0, 1)
        check_number("pseudo", self.pseudo, 0, LARGEST)
        check_count("candidates", self.candidates, 0)
        if not isinstance(self.sample, bool):
            raise InputError(f"sample: must be True or False, got {shown(self.sample)}")

    def init(self, pool: Pool, lanes: int) -> EvidenceState:
        require(self, pool, *self.needs)
        for name in ("target", "decay", "evidence", "pseudo", "momentum"):
            per_lane(name, getattr(self, name), lanes)
        a, b = np.ones((2, lanes, len(pool)), np.float32)
        return EvidenceState(a, b, np.full(lanes, np.nan))

    def scores(self, state: EvidenceState, draw: Draw, items: Items) -> Floats:
        """(R, C) minus the distance from the target of each candidate's success rate, drawn or expected."""
        if self.sample:
            p = posterior_draws(state.a, state.b, items, draw)
        else:
            a, b = (np.take_along_axis(x, items, axis=1).astype(np.float64) for x in (state.a, state.b))
            p = a / (a + b)
        return -np.abs(p - per_lane("target", self.target, len(p))[:, None])

    def select(self, state: EvidenceState, draw: Draw, count: int) -> tuple[Items, EvidenceState]:
        size = len(draw.pool)
        looked = min(max(self.candidates, count), size) if self.candidates else size
        items = random_items(draw, looked)
        return best_of(items, self.scores(state, draw, items), draw, count), state

    def update(self, state: EvidenceState, feedback: Feedback) -> EvidenceState:
        weak, strong = feedback.pool.weak_rate, feedback.pool.strong_rate
        assert weak is not None  # checked in `init`
        assert strong is not None
        lanes = len(state.capability)
        decay, evidence, pseudo, momentum = (
            per_lane(name, getattr(self, name), lanes) for name in ("decay", "evidence", "pseudo", "momentum")
        )
        there = feedback.rollouts > 0
        groups = np.maximum(there.sum(axis=1), 1)
        own, low, high = (
            np.where(there, rate, 0.0).sum(axis=1) / groups
            for rate in (feedback.means, weak[feedback.items], strong[feedback.items])
        )
        telling = np.abs(high - low) > NO_GAP
        mu = (own - low) / np.where(telling, high - low, 1.0)
        moved = np.where(np.isnan(state.capability), mu, momentum * state.capability + (1 - momentum) * mu)
        capability = np.where(telling, moved, state.capability)
        a, b = state.a.copy(), state.b.copy()
        groups_of = feedback.items, feedback.successes, feedback.rollouts
        fuse_evidence(a, b, weak, strong, capability, decay, evidence * pseudo, *groups_of)
        return EvidenceState(a, b, capability)

    @property
    def per_call(self) -> bool:
        return True

    def check_state(self, state: EvidenceState, pool: Pool) -> None:
        check_posterior(state.a, state.b)

    def metrics(self, state: EvidenceState) -> dict[str, Floats]:
        return posterior_metrics(state.a, state.b) | {"capability": state.capability}


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def fuse_evidence(
    a: Array, b: Array, weak: Array, strong: Array, capability: Array, decay: Array, pseudo: Array, items: Array,
    successes: Array, counts: Array,
) -> None:
    """a <- (1 - decay) a + decay + s and b <- (1 - decay) b + decay + f for all items, in place.

    s, f = successes and failures of an item with feedback; of others pseudo p and pseudo (1 - p) with
    p = clip(weak + capability (strong - weak), 0, 1), or 0 where the capability is NaN. A lane without feedback rests.
    a, b (R, I); weak, strong (I,); capability, decay, pseudo (R,); items, successes, counts (R, B).
    """
    batch = items.shape[1]
    old_a, old_b = np.empty(batch), np.empty(batch)
    for r in range(items.shape[0]):
        if counts[r].sum() == 0:
            continue
        mine_a, mine_b = a[r], b[r]
        for i in range(batch):
            old_a[i], old_b[i] = mine_a[items[r, i]], mine_b[items[r, i]]
        keep, back = f32(1.0 - decay[r]), f32(decay[r])
        known = not np.isnan(capability[r])
        skill, weight = f32(capability[r] if known else 0.0), f32(pseudo[r] if known else 0.0)
        for i in range(mine_a.size):
            low = f32(weak[i])
            p = min(max(low + skill * (f32(strong[i]) - low), f32(0)), f32(1))
            mine_a[i] = keep * mine_a[i] + back + weight * p
            mine_b[i] = keep * mine_b[i] + back + weight * (f32(1) - p)
        for i in range(batch):
            if counts[r, i] > 0:
                mine_a[items[r, i]] = (1.0 - decay[r]) * old_a[i] + decay[r]
                mine_b[items[r, i]] = (1.0 - decay[r]) * old_b[i] + decay[r]
        for i in range(batch):
            if counts[r, i] > 0:
                mine_a[items[r, i]] += successes[r, i]
                mine_b[items[r, i]] += counts[r, i] - successes[r, i]
