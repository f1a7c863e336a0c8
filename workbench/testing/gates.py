"""Laws for gates."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.controller import Controller
from workbench.controllers.gate import Gate, ShortBatch
from workbench.controllers.rules.uniform import Uniform
from workbench.errors import InputError, shown
from workbench.lanes import Floats, Items
from workbench.learners import ScalarIRT, SimLearner
from workbench.loop import Record, train
from workbench.pool import Pool
from workbench.registry import GATES
from workbench.testing.tools import (
    BATCH,
    BYTES_PER_ITEM,
    SEEDS,
    STEPS,
    Answer,
    Check,
    Twice,
    bytes_per_item,
    check_all,
    cut,
    draw,
    during,
    ensure,
    ensure_arrays,
    ensure_batch,
    ensure_one_source,
    ensure_refuses_bad_settings,
    ensure_same,
    feedback,
    global_random_state,
    histories,
    law_of,
    mixed,
    neighbours,
    shapes,
    side_by_side,
    through_files,
)

GATE_LAWS: dict[str, Check] = {}
_law = law_of(GATE_LAWS)

ROLLOUTS, CAP = 8, 3


def check_gate(gate: Gate, pool: Pool | None = None) -> None:
    """AssertionError that names every law the gate breaks, and how.

    gate: with one number per hyper-parameter, for groups of 8 rollouts. pool: at least 16 items.
    """
    if not isinstance(gate, Gate):
        raise InputError(f"gate: must be a Gate such as DynamicSampling(), got {shown(gate)}")
    check_all(GATE_LAWS, gate, pool)


# ------------------------------------------------------------------------------------------------------ return values


@_law
def gives_masks(gate: Gate, pool: Pool) -> None:
    """admit and screen give booleans (R, B) for any rewards, and for groups of unequal size."""
    unequal = np.arange(len(SEEDS) * BATCH).reshape(len(SEEDS), BATCH) % (ROLLOUTS + 1)
    for name, answer in histories(pool).items():
        state = gate.init(pool, len(SEEDS))
        for step, items in enumerate(_batches(pool)):
            with during(f"{name}, step {step}"):
                rewards, counts = answer(SEEDS, step, items, ROLLOUTS), unequal if step % 2 else None
                told = feedback(pool, items, cut(rewards, counts), step + 1, SEEDS, counts)
                mask, state = gate.admit(state, told)
                _ensure_mask(mask, items, "admit")
                if gate.screening:
                    first = feedback(pool, items, rewards[:, :, : gate.screening], step + 1, SEEDS)
                    _ensure_mask(gate.screen(first), items, "screen")
                for metric, value in gate.metrics(state).items():
                    ensure(np.shape(value) == (len(SEEDS),), f"metrics: {metric} must be (R,), got {np.shape(value)}")


def _ensure_mask(mask: Any, items: Items, who: str) -> None:
    ensure(isinstance(mask, np.ndarray), f"{who} gave a {type(mask).__name__}, not an array")
    good = mask.dtype == bool and mask.shape == items.shape
    ensure(good, f"{who} gave {mask.dtype} of shape {mask.shape}, not booleans of shape {items.shape}")


def _batches(pool: Pool, steps: int = STEPS) -> list[Items]:
    """A walk through the pool, another in each lane."""
    start = BATCH * np.arange(steps)[:, None, None] + 5 * np.arange(len(SEEDS))[:, None]
    return list((start + np.arange(BATCH)) % len(pool))


@_law
def refills_with_distinct_items(gate: Gate, pool: Pool) -> None:
    """refill gives distinct int64 positions of the shape that the rule proposed."""
    state = gate.init(pool, len(SEEDS))
    for step, items in enumerate(_batches(pool)):
        told = feedback(pool, items, mixed(pool)(SEEDS, step, items, ROLLOUTS), step + 1, SEEDS)
        _, state = gate.admit(state, told)
        proposed = (items + BATCH) % len(pool)
        refilled, state = gate.refill(state, draw(pool, step, SEEDS, turn=1), proposed)
        ensure_batch(refilled, len(SEEDS), BATCH, len(pool), "refill")


@_law
def is_pure(gate: Gate, pool: Pool) -> None:
    """No method changes its arguments, and a second call returns the same."""
    twice: Any = Twice(gate)
    state = gate.init(pool, len(SEEDS))
    for step, items in enumerate(_batches(pool)):
        rewards = mixed(pool)(SEEDS, step, items, ROLLOUTS)
        if gate.screening:
            twice.screen(feedback(pool, items, rewards[:, :, : gate.screening], step + 1, SEEDS))
        _, state = twice.admit(state, feedback(pool, items, rewards, step + 1, SEEDS))
        _, state = twice.refill(state, draw(pool, step, SEEDS, turn=1), items)
        twice.metrics(state)


@_law
def leaves_global_random_state_alone(gate: Gate, pool: Pool) -> None:
    """The global random states of NumPy and Python do not move."""
    before = global_random_state()
    _updates(gate, pool)
    ensure_same(before, global_random_state(), "the global random state before and after a run")


# ------------------------------------------------------------------------------------------------------- in the loop


@_law
def stops_at_its_cap(gate: Gate, pool: Pool) -> None:
    """On silent groups alone training ends: at most max_batches per update, and ShortBatch if they are rejected."""
    gate = replace(gate, max_batches=CAP)
    for reward in (0.0, 1.0):
        with during(f"all rewards {reward:g}"):
            learner: Any = _Books(_Silent(reward), CAP)
            controller = Controller(Uniform(), pool, [gate], seed=SEEDS)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                train(controller, learner, STEPS // 4, BATCH, ROLLOUTS)
            warned = sum(issubclass(warning.category, ShortBatch) for warning in caught)
            ensure(warned == bool(learner.short.any()), f"{warned} warnings, {learner.short} short updates")


class _Silent:
    """A learner whose rewards are all the same."""

    def __init__(self, reward: float) -> None:
        self.reward = reward

    def attempt(self, items: Items, rollouts: int = 8, counts: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        return cut(np.full((*items.shape, rollouts), self.reward, np.float32), counts)

    def extend(self, items: Items, rollouts: int, counts: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.attempt(items, rollouts, counts)

    def learn(self, *_: Any) -> None:
        pass

    def evaluate(self) -> Floats:
        return np.zeros((len(SEEDS), 1))


class _Books:
    """A learner with lanes whose rollouts are counted as they are generated and trained on."""

    def __init__(self, learner: Any, cap: int) -> None:
        self.learner, self.cap = learner, cap
        self.generated, self.trained, self.short = np.zeros((3, len(SEEDS)), np.int64)
        self.batches = 0  # since the last update

    def attempt(self, items: Items, rollouts: int = 8, counts: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        self.batches += 1
        ensure(self.batches <= self.cap, f"more than {self.cap} batches for one update")
        self.generated += BATCH * rollouts if counts is None else counts.sum(axis=1)
        given: NDArray[np.float32] = self.learner.attempt(items, rollouts, counts)
        return given

    def extend(self, items: Items, rollouts: int, counts: NDArray[np.int64]) -> NDArray[np.float32]:
        self.generated += counts.sum(axis=1)
        given: NDArray[np.float32] = self.learner.extend(items, rollouts, counts)
        return given

    def learn(
        self, items: Items, rewards: Any, admitted: NDArray[np.bool_], counts: NDArray[np.int64] | None = None
    ) -> None:
        groups = admitted.sum(axis=1)
        ensure((groups <= BATCH).all(), f"an update on {groups} groups, where {BATCH} were asked for")
        self.trained += (admitted * (ROLLOUTS if counts is None else counts)).sum(axis=1)
        self.short += groups < BATCH
        self.batches = 0
        self.learner.learn(items, rewards, admitted, counts)

    def evaluate(self) -> Any:
        return self.learner.evaluate()


@_law
def counts_add_up(gate: Gate, pool: Pool) -> None:
    """Rollouts generated, trained on and missing in short updates are counted as a learner sees them."""
    gate = replace(gate, max_batches=CAP)
    learner = _Books(SimLearner(ScalarIRT(theta0=0.0), pool, SEEDS), CAP)
    record = _trained(gate, learner, pool, SEEDS)
    counted = {"generated": record.rollouts[-1], "trained": record.trained[-1], "short": record.short[-1]}
    for name, value in counted.items():
        booked = getattr(learner, name)
        ensure((value == booked).all(), f"{name}: the record has {value}, the learner {booked}")


def _trained(gate: Gate, learner: Any, pool: Pool, seeds: NDArray[np.uint64]) -> Record:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortBatch)
        controller = Controller(Uniform(), pool, [gate], seed=seeds)
        return train(controller, learner, STEPS // 2, BATCH, ROLLOUTS, eval_every=1)


@_law
def lanes_are_single_runs(gate: Gate, pool: Pool) -> None:
    """R lanes are R independent single runs, bit for bit, also with hyper-parameters of their own."""
    gate = replace(gate, max_batches=CAP)
    gates = neighbours(gate, pool)
    for mine, together in (([gate] * len(SEEDS), gate), (gates, side_by_side(gates))):
        record = _trained(together, _learner(pool, SEEDS), pool, SEEDS)
        for r in range(len(SEEDS)):
            seed = SEEDS[r : r + 1]
            alone = _trained(mine[r], _learner(pool, seed), pool, seed)
            what = f"of lane {r} and of {mine[r]}"
            series = {name: values[:, r : r + 1] for name, values in record.series.items()}
            ensure_same(series, alone.series, f"series {what}")
            ensure_same(record.rollouts[:, r : r + 1], alone.rollouts, f"rollouts {what}")
            ensure_same(record.success[:, r : r + 1], alone.success, f"success {what}")


def _learner(pool: Pool, seeds: NDArray[np.uint64]) -> SimLearner:
    return SimLearner(ScalarIRT(theta0=0.0), pool, seeds)


@_law
def resumes_bit_for_bit(gate: Gate, pool: Pool) -> None:
    """A run saved and loaded before every batch and its rewards, refills too, continues bit for bit."""

    def reloaded(controller: Controller) -> Controller:
        fresh = Controller(Uniform(), pool, [replace(gate, max_batches=CAP)], seed=SEEDS)
        fresh.load_state_dict(through_files(controller.state_dict()))
        return fresh

    whole, pieces = _updates(gate, pool), _updates(gate, pool, reloaded)
    ensure_same(whole, pieces, "a run in one go and one through files")


def _updates(
    gate: Gate, pool: Pool, between: Callable[[Controller], Controller] = lambda controller: controller
) -> list[Any]:
    """Items, admitted groups and metrics of every batch in a run of a few updates, as `train` makes them."""
    answer: Answer = mixed(pool)
    controller = Controller(Uniform(), pool, [replace(gate, max_batches=CAP)], seed=SEEDS)
    seen = []
    for _ in range(STEPS // 2):
        missing = np.full(len(SEEDS), BATCH)
        for turn in range(CAP):
            needy = missing > 0
            controller = between(controller)
            items = np.array(controller.next_batch(BATCH, refill=needy if turn else False))
            controller = between(controller)
            rewards = answer(SEEDS, CAP * controller.step + turn, items, ROLLOUTS)
            counts = np.where(needy[:, None], ROLLOUTS, 0) * np.ones_like(items)
            if first := controller.screening:
                kept = controller.screen(items, rewards[:, :, :first])
                counts = np.where(kept, counts, np.minimum(counts, first))
            admitted = controller.observe(items, cut(rewards, counts), counts)
            seen.append((items, np.array(admitted), controller.metrics()))
            missing -= admitted.sum(axis=1)
            if not (missing > 0).any():
                break
    return seen


# --------------------------------------------------------------------------------------------- state and declarations


@_law
def state_is_small_arrays(gate: Gate, pool: Pool) -> None:
    """The state is a NamedTuple of arrays (R, ..) of fixed shape; a lane grows by at most 64 bytes per item."""
    state = gate.init(pool, len(SEEDS))
    ensure_arrays(state, len(SEEDS))
    expected = shapes(state)
    for step, items in enumerate(_batches(pool)):
        told = feedback(pool, items, mixed(pool)(SEEDS, step, items, ROLLOUTS), step + 1, SEEDS)
        _, state = gate.admit(state, told)
        ensure(shapes(state) == expected, f"shapes of the state change from {expected} to {shapes(state)}")
        _, state = gate.refill(state, draw(pool, step, SEEDS, turn=1), items)
        ensure(shapes(state) == expected, f"shapes of the state change from {expected} to {shapes(state)}")
    growth = bytes_per_item(gate, pool)
    ensure(growth <= BYTES_PER_ITEM, f"a lane grows by {growth:g} bytes per item of the pool")


@_law
def refuses_bad_settings(gate: Gate, pool: Pool) -> None:
    """NaN, unknown names and arrays of another length than the lanes are refused in one line that names the field."""
    ensure_refuses_bad_settings(gate, pool)


@_law
def names_its_source(gate: Gate, pool: Pool) -> None:
    """The docstring has one `Source:` line, which no other gate has."""
    ensure_one_source(gate, list(GATES.values()))
