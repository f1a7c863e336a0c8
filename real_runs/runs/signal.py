"""Which groups can teach: those whose completions do not all have the same reward.

In a group of equal rewards all group-relative advantages are 0 (GRPO, RLOO).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.analysis.stats import Estimate
from workbench.difficulty.counts import from_counts, log_sequence, population
from workbench.errors import InputError, check_count
from workbench.streams import Role, generator

LEAST_SHARE = 0.02  # of groups that can teach: with fewer a run is refused
ENOUGH = 3  # mixed groups after which no more are drawn
MOST_GROUPS = round(ENOUGH / LEAST_SHARE)  # drawn at most: with fewer than ENOUGH mixed among them the share is less
SAMPLES = 3  # completions that are shown
ANYWAY = "--anyway"  # the option that starts where there is next to nothing to learn from
Floats = NDArray[np.float64]


def mixed_chance(successes: ArrayLike, attempts: ArrayLike, rollouts: int) -> Floats:
    """(I,) chance that a group of G completions of an item has both successes and failures.

    successes, attempts: (I,) s of n. For G <= n it is the share of the subsets of G of the n attempts that are mixed,

        1 - [C(s, G) + C(n - s, G)] / C(n, G).

    Any G attempts are a group, so that its mean is 1 - p^G - (1 - p)^G, whatever p: it is unbiased (a U-statistic,
    Hoeffding 1948; the number of successes among the G is hypergeometric). For G > n no unbiased estimate exists, as
    p^G is no polynomial of degree n: it is the mean of 1 - p^G - (1 - p)^G over the posterior of Jeffreys' prior, p ~
    Beta(s + 1/2, n - s + 1/2).
    """
    from scipy.stats import hypergeom

    check_count("rollouts", rollouts)
    s, n = np.broadcast_arrays(np.asarray(successes), np.asarray(attempts))
    chance = _mixed_of_beta(s + 0.5, n - s + 0.5, rollouts)
    known = n >= rollouts
    same = hypergeom.pmf(rollouts, n[known], s[known], rollouts) + hypergeom.pmf(0, n[known], s[known], rollouts)
    chance[known] = 1.0 - same
    return np.clip(chance, 0.0, 1.0)  # of rounding


def _mixed_of_beta(alpha: Floats, beta: Floats, rollouts: int) -> Floats:
    """1 - E[p^G] - E[(1 - p)^G] for p ~ Beta(alpha, beta)."""
    all_right, none_right = (np.exp(log_sequence(k, rollouts, alpha, beta)) for k in (rollouts, 0))
    return np.asarray(1.0 - all_right - none_right)


def all_silent_chance(mixed: Floats, batch: int) -> float:
    """Chance that no group of a batch is mixed; the batch is B of I different items, each subset as likely as another.

    mixed: (I,) chances of the items, q = 1 - mixed. With e_k the mean of the products of k of the first i values of q,

        e_k(i) = ((i - k) e_k(i - 1) + k q_i e_(k - 1)(i - 1)) / i,

    the answer is e_B(I): the elementary symmetric polynomial over its number of terms.
    """
    check_count("batch", batch, 1, len(mixed))
    k = np.arange(batch + 1)
    mean = np.zeros(batch + 1)
    mean[0] = 1.0
    for i, silent in enumerate(1.0 - mixed, 1):
        mean[1:] = (np.maximum(i - k[1:], 0) * mean[1:] + np.minimum(k[1:], i) * silent * mean[:-1]) / i
    return float(mean[batch])


@dataclass(frozen=True)
class Spectrum:
    """Success and silence of some items, each with its 95 % interval for further items of the kind.

    The intervals are quantiles of the posterior of the items' Beta law (`counts.population`), for few items and where
    no attempt succeeds, too. One item has those of its own attempts, and none for silence.
    """

    items: int
    success: Estimate
    silent: Estimate

    @classmethod
    def of(cls, successes: NDArray[np.int64], attempts: NDArray[np.int64], rollouts: int) -> Spectrum:
        """successes, attempts: (I,). silent: share of groups of `rollouts` completions that are not mixed."""
        rate, silent = successes.sum() / attempts.sum(), 1.0 - mixed_chance(successes, attempts, rollouts).mean()
        if len(successes) == 1:
            _, low, high = (100.0 - found[0] for found in from_counts(successes, attempts))
            return cls(1, Estimate(rate, high / 100, low / 100), Estimate(silent, np.nan, np.nan))
        alpha, beta, weight = population(successes, attempts)
        success = _interval(alpha / (alpha + beta), weight, rate)
        return cls(len(successes), success, _interval(1.0 - _mixed_of_beta(alpha, beta, rollouts), weight, silent))


def _interval(values: Floats, weight: Floats, estimate: float) -> Estimate:
    """An estimate with the quantiles .025 and .975 of a weighted sample, or itself where it lies beyond them."""
    order = np.argsort(values)
    low, high = np.interp([0.025, 0.975], np.cumsum(weight[order]), values[order])
    return Estimate(float(estimate), min(float(low), float(estimate)), max(float(high), float(estimate)))


# --------------------------------------------------------------------------------------------------- before a run


@dataclass(frozen=True)
class Signal:
    """Groups that were drawn before the first update. mixed: of `groups`; reward: mean of their completions."""

    groups: int
    mixed: int
    rollouts: int
    reward: float

    def __str__(self) -> str:
        return f"groups that can teach: {self.mixed} of {self.groups} of {self.rollouts} completions mixed"


def look(learner: Any, batch: int, rollouts: int, say: Callable[[str], object]) -> Signal:
    """Draw groups uniformly from the learner's pool, `batch` at a time, until ENOUGH are mixed or MOST_GROUPS drawn.

    say: gets a line for each of SAMPLES completions, escaped, and one that tells the share of mixed groups. The random
    numbers have a role of their own, and no counter of the learner moves: the run is the same as without.
    """
    groups = mixed = 0
    rewards: list[float] = []
    while mixed < ENOUGH and groups < MOST_GROUPS:
        size = min(batch, MOST_GROUPS - groups)
        items = generator(learner.seed, Role.SIGNAL, groups).integers(len(learner.pool), size=size)
        scores, texts = learner.show(items, rollouts, groups)
        for k in range(min(size, SAMPLES - groups)):
            item, score, text = items[k], scores[k, 0], texts[k * rollouts]
            prompt = learner.pool.payload["prompt"][item]
            say(f"step    0  reward {score:.2f}  {prompt[-60:]!r} -> {text[:160]!r}")
        mixed += int((scores != scores[:, :1]).any(axis=1).sum())
        groups += size
        rewards += scores.mean(axis=1).tolist()
    found = Signal(groups, mixed, rollouts, float(np.mean(rewards)))
    say(str(found))
    return found


def check_signal(signal: Signal, say: Callable[[str], object], anyway: bool) -> None:
    """InputError where fewer than LEAST_SHARE of the groups could be mixed; with `anyway` a line."""
    if signal.mixed >= ENOUGH:
        return
    other = "easier" if signal.reward < 0.5 else "harder"
    line = (
        f"--pool: must have problems of which at least {100 * LEAST_SHARE:g} % give mixed groups, as others teach "
        f"nothing, got {signal.mixed} of {signal.groups} groups of {signal.rollouts} completions (mean reward "
        f"{signal.reward:.3f}); measure.py shows success by level: take {other} problems, examples in the prompt "
        f"(--shots) or another place for the answer (--answer)"
    )
    if not anyway:
        raise InputError(f"{line}, or start with {ANYWAY}")
    say(line)
