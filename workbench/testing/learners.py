"""Laws for learners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, shown
from workbench.lanes import Items
from workbench.pool import Pool
from workbench.testing.tools import (
    BATCH,
    ROLLOUTS,
    SEEDS,
    STEPS,
    TWINS,
    Check,
    check_all,
    copied,
    ensure,
    ensure_same,
    global_random_state,
    lane,
    law_of,
    through_files,
)

LEARNER_LAWS: dict[str, Check] = {}
_law = law_of(LEARNER_LAWS)

Make: TypeAlias = Callable[[Pool, ArrayLike], Any]
"""make(pool, seed): a new learner of 0/1 rewards; R lanes for (R,) seeds."""


def check_learner(make: Make, pool: Pool | None = None) -> None:
    """AssertionError that names every law that the learners break, and how.

    make: gives a new learner from a pool and a seed, or (R,) seeds for R lanes; such as partial(SimLearner, Tabular()).
    It does all that `train` may ask of a learner, and its skill changes by learning alone: one with noise of its own is
    checked with that at 0.
    """
    if not callable(make):
        raise InputError(f"make: must be what makes a learner from a pool and a seed, got {shown(make)}")
    check_all(LEARNER_LAWS, make, pool)


def _items(pool: Pool, step: int, lanes: int = len(SEEDS)) -> Items:
    """(R, B) distinct positions, the same in all lanes; every fourth batch comes again."""
    spread = len(pool) // BATCH
    return ((step % 4 + spread * np.arange(BATCH)) % len(pool))[None].repeat(lanes, axis=0)


def _study(
    make: Make, pool: Pool, seeds: NDArray[np.uint64] = SEEDS, between: Callable[[Any], Any] = lambda learner: learner
) -> list[dict[str, Any]]:
    """Rewards and success of a few updates with lanes; some admit a part of the groups, some have unequal ones.

    between: gives the learner that goes on, before every attempt and before learning from it.
    """
    learner, seen = make(pool, seeds), []
    for step in range(STEPS // 2):
        items = _items(pool, step, len(seeds))
        admitted = np.ones(items.shape, bool)
        admitted[:, : BATCH // 2] = step % 3 > 0
        learner = between(learner)
        if step % 2:
            counts = np.broadcast_to((np.arange(BATCH) + step) % (ROLLOUTS + 1), items.shape)
            rewards = learner.attempt(items, ROLLOUTS, counts)
            learner = between(learner)
            learner.learn(items, rewards, admitted & (counts > 0), counts)
        else:
            rewards = learner.attempt(items, ROLLOUTS)
            learner = between(learner)
            learner.learn(items, rewards, admitted)
        seen.append({"rewards": rewards, "success": learner.evaluate()})
    return seen


# --------------------------------------------------------------------------------------------------------- attempts


@_law
def attempts_are_right_or_wrong(make: Make, pool: Pool) -> None:
    """attempt gives float32 0 and 1, (B, G) for one seed and (R, B, G) for several."""
    single, lanes = make(pool, 5), make(pool, SEEDS)
    for step in range(STEPS):
        _ensure_rewards(single.attempt(_items(pool, step)[0], ROLLOUTS), (BATCH, ROLLOUTS))
        _ensure_rewards(lanes.attempt(_items(pool, step), ROLLOUTS), (len(SEEDS), BATCH, ROLLOUTS))


def _ensure_rewards(rewards: Any, shape: tuple[int, ...]) -> None:
    ensure(isinstance(rewards, np.ndarray), f"rewards must be an array, got a {type(rewards).__name__}")
    good = rewards.dtype == np.float32 and rewards.shape == shape
    ensure(good, f"rewards must be float32 {shape}, got {rewards.dtype} {rewards.shape}")
    odd = rewards[(rewards != 0) & (rewards != 1)]
    ensure(not odd.size, f"rewards must be 0 or 1, got {odd[:1]}")


@_law
def counts_end_a_group(make: Make, pool: Pool) -> None:
    """Where groups are of unequal size, rewards after the end of a group are 0."""
    counts = np.arange(len(SEEDS) * BATCH).reshape(len(SEEDS), BATCH) % (ROLLOUTS + 1)
    learner = make(pool, SEEDS)
    for step in range(STEPS):
        rewards = learner.attempt(_items(pool, step), ROLLOUTS, counts)
        _ensure_rewards(rewards, (len(SEEDS), BATCH, ROLLOUTS))
        beyond = rewards[np.arange(ROLLOUTS) >= counts[:, :, None]]
        ensure(not beyond.any(), f"{beyond.sum():g} rewards after the end of their group")


@_law
def probes_and_extends(make: Make, pool: Pool) -> None:
    """probe and extend give rewards like attempt, from other random streams, and change no skill."""
    learner = make(pool, SEEDS)
    before, alike = learner.evaluate(), 0
    for step in range(STEPS):
        items = _items(pool, step)
        first = learner.attempt(items, ROLLOUTS)
        for more in (learner.extend(items, ROLLOUTS, np.full(items.shape, ROLLOUTS)), learner.probe(items, ROLLOUTS)):
            _ensure_rewards(more, (len(SEEDS), BATCH, ROLLOUTS))
            alike += np.array_equal(first, more)
    ensure(alike < STEPS, "attempt, extend and probe give the same rewards again and again")
    ensure_same(before, learner.evaluate(), "success before and after attempts")


@_law
def same_seed_same_run(make: Make, pool: Pool) -> None:
    """The same seed gives the same run: all random numbers come from it."""
    one, again = (_study(make, pool) for _ in range(2))
    ensure_same(one, again, "two runs of the same seeds")


@_law
def another_seed_another_run(make: Make, pool: Pool) -> None:
    """Another seed gives other rewards."""
    rewards = [[step["rewards"] for step in _study(make, pool, np.array([seed], np.uint64))] for seed in range(3)]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        ensure(not np.array_equal(rewards[one], rewards[other]), f"seeds {one} and {other} gave the same rewards")


@_law
def leaves_global_random_state_alone(make: Make, pool: Pool) -> None:
    """The global random states of NumPy and Python do not move."""
    before = global_random_state()
    _study(make, pool)
    ensure_same(before, global_random_state(), "the global random state before and after a run")


# --------------------------------------------------------------------------------------------------------- learning


@_law
def learns_alike(make: Make, pool: Pool) -> None:
    """The skill after an update depends on the state and the batch alone, and the batch is not changed."""
    results = []
    for _ in range(2):
        learner = make(pool, SEEDS)
        for step in range(STEPS // 2):
            items = _items(pool, step)
            rewards = np.broadcast_to(np.arange(ROLLOUTS) % 2, (*items.shape, ROLLOUTS)).astype(np.float32)
            batch = (items, rewards, np.ones(items.shape, bool))
            kept = copied(batch)
            learner.learn(*batch)
            ensure_same(kept, batch, "learn changes the batch it is given")
        results.append(learner.evaluate())
    ensure_same(results[0], results[1], "success after the same updates")


@_law
def order_does_not_matter(make: Make, pool: Pool) -> None:
    """The order of the items in a batch does not matter."""
    straight, shuffled = make(pool, SEEDS), make(pool, SEEDS)
    order = np.roll(np.arange(BATCH)[::-1], 3)
    for step in range(STEPS // 2):
        items, admitted = _items(pool, step), (np.arange(BATCH) % 4 > 0)[None].repeat(len(SEEDS), axis=0)
        rewards = straight.attempt(items, ROLLOUTS)
        straight.learn(items, rewards, admitted)
        shuffled.learn(*(np.ascontiguousarray(part[:, order]) for part in (items, rewards, admitted)))
    one, other = straight.evaluate(), shuffled.evaluate()
    ensure(np.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True), f"success {one} and, shuffled, {other}")


@_law
def nothing_admitted_nothing_gained(make: Make, pool: Pool) -> None:
    """From the start, an update that admits no group leaves the skill as it is."""
    learner = make(pool, SEEDS)
    before = np.array(learner.evaluate())
    items = _items(pool, 0)
    learner.learn(items, learner.attempt(items, ROLLOUTS), np.zeros(items.shape, bool))
    ensure_same(before, learner.evaluate(), "success before and after an update on nothing")


@_law
def rejected_groups_teach_nothing(make: Make, pool: Pool) -> None:
    """Rewards of groups that were not admitted make no difference to skill."""
    learners = [make(pool, SEEDS) for _ in range(2)]
    items = _items(pool, 0)
    admitted = (np.arange(BATCH) % 2 > 0)[None].repeat(len(SEEDS), axis=0)
    rewards = learners[0].attempt(items, ROLLOUTS)
    half_right = np.arange(ROLLOUTS, dtype=np.float32) % 2
    for learner, rejected in zip(learners, (np.zeros_like(half_right), half_right), strict=True):
        learner.learn(items, np.where(admitted[:, :, None], rewards, rejected), admitted)
    one, other = (learner.evaluate() for learner in learners)
    ensure_same(one, other, "success after other rewards of rejected groups")


@_law
def evaluates_without_a_trace(make: Make, pool: Pool) -> None:
    """evaluate gives success in [0, 1] by stratum, (S,) or (R, S), NaN in empty ones, and changes nothing."""
    single = np.asarray(make(pool, 5).evaluate())
    ensure(single.ndim == 1, f"success must be (S,) for one seed, got shape {single.shape}")

    def ask(learner: Any) -> Any:
        success = learner.evaluate()
        ensure(success.shape == (len(SEEDS), len(single)), f"success must be (R, S), got shape {success.shape}")
        filled = np.isfinite(success).any(axis=0)
        inside = (success[:, filled] >= 0) & (success[:, filled] <= 1)
        ensure(filled.any() and inside.all(), f"success must be in [0, 1], got {success}")
        ensure_same(success, learner.evaluate(), "success asked twice")
        return learner

    ensure_same(_study(make, pool), _study(make, pool, between=ask), "a run and one that was evaluated more often")


# ------------------------------------------------------------------------------------------------- lanes and resume


@_law
def lanes_are_single_runs(make: Make, pool: Pool) -> None:
    """R lanes are R independent single runs, bit for bit."""
    together = _study(make, pool, TWINS)
    for r in range(len(TWINS)):
        alone = _study(make, pool, TWINS[r : r + 1])
        ensure_same(lane(together, r), alone, f"lane {r} and a single run")


@_law
def resumes_bit_for_bit(make: Make, pool: Pool) -> None:
    """A run saved and loaded at every step, also between attempts and learning, continues bit for bit."""

    def reloaded(learner: Any) -> Any:
        fresh = make(pool, SEEDS)
        fresh.load_state_dict(through_files(learner.state_dict()))
        return fresh

    whole, pieces = _study(make, pool), _study(make, pool, between=reloaded)
    ensure_same(whole, pieces, "a run in one go and one through files")
