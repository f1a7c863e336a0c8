"""MoPPS: a posterior of each item's success rate, and Thompson sampling for the target rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.items import best_of, check_posterior, posterior_draws, posterior_metrics, random_items
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Look, Rule, per_lane
from workbench.errors import LARGEST, SMALLEST, InputError, check_count, check_number, shown
from workbench.kernels.compiling import Array, compiled
from workbench.pool import Pool


class PosteriorState(NamedTuple):
    a: NDArray[np.float32]  # (R, I) success counts, the prior's included: success rate ~ Beta(a, b)
    b: NDArray[np.float32]  # (R, I) failure counts


@dataclass(frozen=True)
class MoPPS(Rule):
    """Model predictive prompt selection.

    belief:     p_i ~ Beta(a_i, b_i), a_i = b_i = prior before the first feedback
    feedback:   a_i <- decay a_i + (1 - decay) prior + k,   b_i <- decay b_i + (1 - decay) prior + n - k
    selection:  candidates x B random items, a draw of p_i from each one's belief, the B nearest the target

    k: successes (sum of rewards) of an item's n rollouts; items without feedback keep their belief.
    target: success rate in [0, 1]. decay: the paper's lambda in [0, 1]; 1 never forgets. prior: 1e-6 to 1e6.
    candidates: >= 1, in batches; at most the pool.
    band: (low, high) success rates; then the B are random ones among those drawn inside, filled up with the nearest to
    it, and the target plays no part.

    Presets: its run scripts on Countdown and Geometry3k, MoPPS(); on MATH, MoPPS(decay=1.0, candidates=16).
    Source: Qu et al. 2025, arXiv 2507.04632, its posterior update with temporal discounting and its top-k selection;
    the band is the second way of its code, with (0.3, 0.7).
    Differs: its configuration, which the scripts change, has decay 1 and one batch of candidates. n is the group's own
    size, where the code takes the configured one and, if that is 1, sets a and b to 8.
    """

    name = "mopps"
    look = Look("#117733", (0, (4, 1.5)), "p")
    units: ClassVar[Mapping[str, str]] = {"target": "success rate"}

    target: Lanes = 0.5
    decay: Lanes = 0.5
    prior: Lanes = 1.0
    candidates: int = 8
    band: tuple[float, float] | None = None

    memory = "item"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("target", self.target, 0, 1)
        check_number("decay", self.decay, 0, 1)
        check_number("prior", self.prior, SMALLEST, LARGEST)
        check_count("candidates", self.candidates)
        if self.band is not None:
            if np.shape(self.band) != (2,):
                raise InputError(f"band: must be None or (low, high), two numbers in [0, 1], got {shown(self.band)}")
            for bound in self.band:
                check_number("band", bound, 0, 1)
            if self.band[0] > self.band[1]:
                raise InputError(f"band: must have low <= high, got {self.band!r}")

    def init(self, pool: Pool, lanes: int) -> PosteriorState:
        for name in ("target", "decay"):
            per_lane(name, getattr(self, name), lanes)
        prior = per_lane("prior", self.prior, lanes)[:, None].astype(np.float32)
        return PosteriorState(*(np.repeat(prior, len(pool), axis=1) for _ in range(2)))

    def scores(self, state: PosteriorState, draw: Draw, items: Items) -> Floats:
        """(R, C) minus the distance of each candidate's drawn success rate from the target, or from the band."""
        p = posterior_draws(state.a, state.b, items, draw)
        if self.band is None:
            return -np.abs(p - per_lane("target", self.target, len(p))[:, None])
        low, high = self.band
        return -np.maximum(np.maximum(low - p, p - high), 0.0)

    def select(self, state: PosteriorState, draw: Draw, count: int) -> tuple[Items, PosteriorState]:
        items = random_items(draw, min(self.candidates * count, len(draw.pool)))
        return best_of(items, self.scores(state, draw, items), draw, count), state

    def update(self, state: PosteriorState, feedback: Feedback) -> PosteriorState:
        a, b = state.a.copy(), state.b.copy()
        decay, prior = (per_lane(name, getattr(self, name), len(a)) for name in ("decay", "prior"))
        add_decayed(a, b, feedback.items, feedback.successes, feedback.rollouts, decay, prior)
        return PosteriorState(a, b)

    def check_state(self, state: PosteriorState, pool: Pool) -> None:
        check_posterior(*state)

    def metrics(self, state: PosteriorState) -> dict[str, Floats]:
        return posterior_metrics(*state)


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def add_decayed(a: Array, b: Array, items: Array, successes: Array, counts: Array, decay: Array, prior: Array) -> None:
    """a <- decay a + (1 - decay) prior + k and b <- decay b + (1 - decay) prior + n - k, in place, group by group.

    a, b (R, I); k = successes, n = counts (R, B), 0 where there is no feedback; decay, prior (R,).
    """
    for r in range(items.shape[0]):
        back = (1.0 - decay[r]) * prior[r]
        for i in range(items.shape[1]):
            item, k, n = items[r, i], successes[r, i], counts[r, i]
            if n > 0:
                a[r, item] = decay[r] * a[r, item] + back + k
                b[r, item] = decay[r] * b[r, item] + back + (n - k)
