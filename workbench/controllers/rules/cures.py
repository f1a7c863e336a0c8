"""CurES: items and numbers of rollouts by the expected size of their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.items import NONE_YET, ItemRule, Weights, boltzmann, draw_by_weight, reverted, with_counts
from workbench.controllers.rule import MOST_ROLLOUTS, Draw, Feedback, Floats, Items, Lanes, Look, per_lane
from workbench.errors import LARGEST, SMALLEST, InputError, check_choice, check_number, shown
from workbench.kernels.compiling import Array, compiled, i64
from workbench.pool import Pool

RATES = ("posterior", "share")


class CountState(NamedTuple):
    successes: NDArray[np.float32]  # (R, I) sums of rewards
    attempts: NDArray[np.float32]  # (R, I) rollouts


@dataclass(frozen=True)
class CurES(ItemRule):
    """Curriculum by gradient analysis: which items, and how many rollouts of each.

    P(i) proportional to exp(sqrt(p_i (1 - p_i)) / tau);   n_i = N sigma_i / sum_j sigma_j over the items drawn

    p_i: mean of the posterior Beta(1 + successes, 1 + failures) of the item's success rate, 1/2 before its first
    rollout. sigma_i: std of the item's policy gradient, here sqrt(p_i (1 - p_i)). N = B x rollouts.
    tau: temperature, 1e-6 to 1e6. adaptive: False gives all items the same rollouts.
    allocate_by: the p_i of sigma_i, "posterior": the mean above; "share": successes / rollouts, the paper's and the
    released code's, so that an item that was always or never solved gets no rollouts, and then stays so. P(i) takes the
    posterior mean in both, as they do.
    reversion: share of an item's counts forgotten in every step without feedback on it, in [0, 1].
    n_i are whole numbers that add up to N, at most 4 x rollouts and, with "posterior", at least 2. With "share", what
    the mixed items cannot take goes to the others alike.

    Source: Zeng et al. 2025, arXiv 2510.01037, sections 4.1 (which items) and 4.2 (rollouts); tau is an argument of its
    code.
    Differs: sigma_i takes the gradients of right and wrong answers for equally large, where the paper measures them: in
    its code sigma_i^2 = p (1 - p)^2 g+^2 + p^2 (1 - p) g-^2 - p^2 (1 - p)^2 (g+ - g-)^2, here g+ = g- = 1. No sweep of
    the pool before training: unseen items have the largest weight, and p_i = 1/2. The paper starts its estimates anew
    on each of 15 parts of its data; here reversion forgets. Its released sampler divides by (successes + 1) / 0.01
    instead of tau, which is uniform in effect. A batch holds no item twice. The default of `allocate_by` and the bounds
    of n_i are ours. The code rounds each n_i by itself, here they add up to N by largest remainder.
    """

    name = "cures"
    look = Look("#999933", (0, (4, 1.5)), "*")

    tau: Lanes = 0.1
    adaptive: bool = True
    allocate_by: str = "posterior"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("tau", self.tau, SMALLEST, LARGEST)
        if not isinstance(self.adaptive, bool):
            raise InputError(f"adaptive: must be True or False, got {shown(self.adaptive)}")
        check_choice("allocate_by", self.allocate_by, RATES)

    def init(self, pool: Pool, lanes: int) -> CountState:
        for name in ("tau", "reversion"):
            per_lane(name, getattr(self, name), lanes)
        return CountState(*np.zeros((2, lanes, len(pool)), np.float32))

    def weights(self, state: CountState, draw: Draw) -> Weights:
        """(R, I) exp(sqrt(p (1 - p)) / tau) over the lane's largest."""
        warmth = 1 / per_lane("tau", self.tau, len(state.attempts))[:, None]
        return boltzmann(_std(state.successes, state.attempts) * warmth.astype(np.float32))

    def select(self, state: CountState, draw: Draw, count: int) -> tuple[Items, CountState]:
        return draw_by_weight(self.weights(state, draw), draw, count), state

    def allocate(self, state: CountState, draw: Draw, items: Items, rollouts: int) -> NDArray[np.int64] | None:
        """(R, B) n_i; None where they are the same for all: not adaptive, or fewer than 2 rollouts."""
        if not self.adaptive or rollouts < 2:
            return None
        successes, attempts = (np.take_along_axis(x, items, axis=1) for x in state)
        counts, most, total = np.empty(items.shape, np.int64), MOST_ROLLOUTS * rollouts, rollouts * items.shape[1]
        if self.allocate_by == "posterior":
            share_out(_std(successes, attempts).astype(np.float64), 2, most, total, counts)
        else:
            share_out(_spread(successes, attempts, most, total), 0, most, total, counts)
        return counts

    def update(self, state: CountState, feedback: Feedback) -> CountState:
        counts = with_counts(*state, feedback)
        share = per_lane("reversion", self.reversion, len(state.attempts))
        if share.any():
            return CountState(*(reverted(count, NONE_YET, share, feedback) for count in counts))
        return CountState(*counts)

    def metrics(self, state: CountState) -> dict[str, Floats]:
        rate = ((state.successes + 1) / (state.attempts + 2)).mean(axis=1)
        return {"predicted_success": rate.astype(np.float64)}


def _std(successes: Weights, attempts: Weights) -> Weights:
    """sqrt(p (1 - p)), p the posterior mean."""
    p = (successes + 1) / (attempts + 2)
    return np.sqrt(p * (1 - p))


def _spread(successes: Weights, attempts: Weights, most: int, total: int) -> Floats:
    """(R, B) sqrt(p (1 - p)), p the share of successes, 1/2 before the first rollout.

    Where the items above 0 cannot take `total` with `most` each, the others have a small number in place of 0.
    """
    untried = attempts <= 0
    p = np.where(untried, 0.5, successes / np.where(untried, 1, attempts)).astype(np.float64)
    sigma = np.sqrt((p * (1 - p)).clip(0))
    short = np.count_nonzero(sigma, axis=1) * most < total
    return np.where(short[:, None] & (sigma == 0), 1e-9, sigma)


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def share_out(weight: Array, low: int, high: int, total: int, out: Array) -> None:
    """out[r] = whole numbers from low to high that add up to `total`, in proportion to weight (R, B) as far as can be.

    Weight 0 gets `low`.
    clip(c w, low, high) with the c at which they add up, by bisection; then rounded by largest remainder.
    """
    batch = out.shape[1]
    rest = np.empty(batch)
    for r in range(out.shape[0]):
        w, least = weight[r], np.inf
        for i in range(batch):
            least = min(least, w[i]) if w[i] > 0.0 else least
        small, large = 0.0, high / least
        for _ in range(60):
            c = 0.5 * (small + large)
            amount = 0.0
            for i in range(batch):
                amount += min(max(c * w[i], low), high)
            if amount < total:
                small = c
            else:
                large = c
        given = 0
        for i in range(batch):
            exact = min(max(large * w[i], low), high)
            out[r, i] = i64(exact + 1e-9)
            rest[i] = out[r, i] - exact
            given += out[r, i]
        order = np.argsort(rest, kind="mergesort")
        for i in range(total - given):
            out[r, order[i]] += 1
