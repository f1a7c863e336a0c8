"""Laws for rules."""

from __future__ import annotations

import contextlib
import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.controller import Controller
from workbench.controllers.gate import ShortBatch
from workbench.controllers.gates.dapo import DynamicSampling
from workbench.controllers.rule import MOST_ROLLOUTS, Draw, Feedback, Items, Probe, Rule
from workbench.errors import InputError, shown
from workbench.learners import ScalarIRT, SimLearner
from workbench.loop import Record, train
from workbench.pool import Pool
from workbench.registry import RULES
from workbench.testing.tools import (
    BATCH,
    BYTES_PER_ITEM,
    ROLLOUTS,
    SEEDS,
    STEPS,
    TWINS,
    Answer,
    Check,
    Twice,
    arrays,
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
    lane,
    law_of,
    mixed,
    neighbours,
    refusal,
    run,
    same_numbers,
    shapes,
    side_by_side,
    through_files,
    without_ties,
)

RULE_LAWS: dict[str, Check] = {}
_law = law_of(RULE_LAWS)

VIEWS = ("shares", "weights", "scores")  # methods that describe the next draw
OPTIONAL = ("category", "level", "features", "weak_rate", "strong_rate", "successes")


def check_rule(rule: Rule, pool: Pool | None = None) -> None:
    """AssertionError that names every law the rule breaks, and how.

    rule: with one number per hyper-parameter. pool: at least 16 items, with the columns it needs.
    """
    if not isinstance(rule, Rule):
        raise InputError(f"rule: must be a Rule such as AdaRFT(), got {shown(rule)}")
    check_all(RULE_LAWS, rule, pool)


# ------------------------------------------------------------------------------------------------------- return values


@_law
def gives_positions(rule: Rule, pool: Pool) -> None:
    """select gives (R, count) distinct int64 positions in the pool, for one lane and for several."""
    for seeds in (SEEDS[:1], SEEDS):
        items, _ = rule.select(rule.init(pool, len(seeds)), draw(pool, 0, seeds), BATCH)
        ensure_batch(items, len(seeds), BATCH, len(pool))


@_law
def gives_as_many_as_asked(rule: Rule, pool: Pool) -> None:
    """Asked for k items it gives k distinct ones, be it 1, a batch or the pool, whatever came before."""
    for name, answer in histories(pool).items():
        state = rule.init(pool, len(SEEDS))
        for step in range(STEPS):
            with during(f"{name}, step {step}"):
                for count in (1, BATCH, len(pool)):
                    _ask(rule, state, draw(pool, step, SEEDS, turn=step % 2), count)
                moment, count = draw(pool, step, SEEDS), (BATCH, 1, len(pool))[step % 3]
                items, state = _ask(rule, state, moment, count) or rule.select(state, moment, BATCH)
                rewards = answer(SEEDS, step, items, ROLLOUTS)
                state = rule.update(state, feedback(pool, items, rewards, step + 1, SEEDS))


def _ask(rule: Rule, state: Any, moment: Draw, count: int) -> tuple[Items, Any] | None:
    """A valid batch and the state after it; None if the rule refuses one that is more than it keeps of the pool."""
    answer: tuple[Items, Any] | None = None

    def select() -> None:
        nonlocal answer
        answer = rule.select(state, moment, count)

    line = refusal(select)
    allowed = count > BATCH and (line or "").startswith("batch:")
    ensure(line is None or allowed, f"asked for {count} of {len(moment.pool)} items it says '{line}'")
    if answer is not None:
        ensure_batch(answer[0], len(moment.seeds), count, len(moment.pool))
    return answer


@_law
def stands_any_history(rule: Rule, pool: Pool) -> None:
    """All right, all wrong, partial credit, few answers or one item: weights and metrics stay sound, batches valid."""
    for name, answer in histories(pool).items():
        for answered in (BATCH, 1):
            with during(f"{name}, {answered} answers per batch"):
                _ensure_sound_walk(rule, pool, answer, BATCH, answered)
    one = pool.take([np.argmin(np.abs(pool.difficulty - 50))])
    if (refusal(partial(_walk_through, rule, one)) or "").startswith("batch:"):
        return  # not an item that it keeps
    for name in ("all right", "all wrong"):
        with during(f"{name}, one item"):
            _ensure_sound_walk(rule, one, histories(one)[name], 1, 1)


def _ensure_sound_walk(rule: Rule, pool: Pool, answer: Answer, batch: int, answered: int) -> None:
    holes = _holes(rule.init(pool, len(SEEDS)))
    for moment in walk(rule, pool, answer, batch=batch, answered=answered):
        ensure_batch(moment.items, len(SEEDS), batch, len(pool))
        _ensure_sound(rule, moment.after, moment.draw)
        for leaf, count in _holes(moment.after).items():
            ensure(count <= holes[leaf], f"step {moment.draw.step}: {leaf} of the state has become NaN")


def _holes(state: Any) -> dict[str, int]:
    """How many NaNs each leaf has: some may stand for 'not known yet'."""
    return {name: int(np.isnan(leaf).sum()) for name, leaf in arrays(state).items() if leaf.dtype.kind == "f"}


def _ensure_sound(rule: Rule, state: Any, moment: Draw) -> None:
    """AssertionError unless the views of the rule's next draw, and its metrics, are numbers of the right kind."""
    lanes, size = len(moment.seeds), len(moment.pool)
    for name, values in _views(rule, state, moment).items():
        ensure(values.ndim == 2 and len(values) == lanes, f"{name} must be ({lanes}, ..), got shape {values.shape}")
        ensure(np.isfinite(values).all(), f"{name} must be finite, got {values[~np.isfinite(values)][:1]}")
        ensure(name == "scores" or (values >= 0).all(), f"{name} must be >= 0, got {values.min()}")
        ensure(name == "shares" or values.shape[1] == size, f"{name} must be (R, {size}), got {values.shape}")
        if name == "shares":
            total = values.sum(axis=1)
            ensure(np.allclose(total, 1, rtol=0, atol=1e-6), f"shares must sum to 1, got {total}")
    for name, value in rule.metrics(state).items():
        ensure(np.shape(value) == (lanes,), f"metrics: {name} must be ({lanes},), got shape {np.shape(value)}")
        ensure(not np.isinf(value).any(), f"metrics: {name} must be finite or NaN, got {value}")
        inside = name != "target_difficulty" or not ((value < 0) | (value > 100)).any()
        ensure(inside, f"metrics: {name} must be in [0, 100], got {value}")


def _views(rule: Rule, state: Any, moment: Draw) -> dict[str, NDArray[Any]]:
    """The views of a rule's next draw; of all items where a view takes candidates."""
    everything = np.arange(len(moment.pool))[None].repeat(len(moment.seeds), axis=0)
    found = {}
    for name in VIEWS:
        view = getattr(rule, name, None)
        if view is not None:
            asked = (state, moment, everything)[: len(inspect.signature(view).parameters)]
            with contextlib.suppress(NotImplementedError):  # an arm rule that draws in another way
                found[name] = np.asarray(view(*asked))
    return found


# ------------------------------------------------------------------------------------------- purity and random streams


@_law
def is_pure(rule: Rule, pool: Pool) -> None:
    """No method changes its arguments, and a second call returns the same."""
    twice: Any = Twice(rule)
    for moment in walk(twice, pool, mixed(pool)):
        twice.allocate(moment.chosen, moment.draw, moment.items, ROLLOUTS)
        twice.metrics(moment.after)
        _views(twice, moment.after, moment.draw)


@_law
def same_seed_same_run(rule: Rule, pool: Pool) -> None:
    """The same seed gives the same run."""
    one, again = (run(Controller(replace(rule), pool, seed=SEEDS), mixed(pool)) for _ in range(2))
    ensure_same(one, again, "two runs of the same seeds")


@_law
def another_seed_another_run(rule: Rule, pool: Pool) -> None:
    """Another seed gives another run, or all seeds give the same if nothing is drawn at random."""
    runs = _runs_of_seeds(rule, pool, same_numbers(mixed(pool)))
    different = len({tuple(one.ravel().tolist()) for one in runs})
    ensure(different in (1, len(runs)), f"{len(runs)} seeds and the same rewards gave {different} runs")


def _runs_of_seeds(rule: Rule, pool: Pool, answer: Answer) -> NDArray[np.int64]:
    """(seeds, steps, B) items drawn by different seeds."""
    seen = run(Controller(rule, pool, seed=np.arange(4)), answer)
    return np.stack([step["items"] for step in seen], axis=1)


@_law
def leaves_global_random_state_alone(rule: Rule, pool: Pool) -> None:
    """The global random states of NumPy and Python do not move."""
    before = global_random_state()
    run(Controller(rule, pool, seed=SEEDS), mixed(pool))
    ensure_same(before, global_random_state(), "the global random state before and after a run")


@_law
def relabelling_relabels(rule: Rule, pool: Pool) -> None:
    """Relabelling the items relabels choices and weights, where these do not depend on the seed."""
    pool = without_ties(pool)
    labels = np.roll(np.arange(len(pool))[::-1], 7)  # item labels[j] is now at position j
    relabelled, answer = pool.take(labels), same_numbers(mixed(pool))
    picked = _runs_of_seeds(rule, pool, answer)
    again = labels[_runs_of_seeds(rule, relabelled, lambda s, step, items, n: answer(s, step, labels[items], n))]
    one, other = np.sort(picked, axis=2), np.sort(again, axis=2)
    if (one == one[:1]).all() and (other == other[:1]).all():
        for step in range(STEPS):
            ensure_same(one[0, step], other[0, step], f"step {step}: picks before and after relabelling")
    _ensure_weights_relabel(rule, pool, relabelled, labels)


def _ensure_weights_relabel(rule: Rule, pool: Pool, relabelled: Pool, labels: NDArray[np.int64]) -> None:
    position, answer = np.argsort(labels), same_numbers(mixed(pool))
    mine, theirs = rule.init(pool, len(SEEDS)), rule.init(relabelled, len(SEEDS))
    for step in range(STEPS):
        items = np.roll(np.arange(len(pool)), 5 * step)[None, :BATCH].repeat(len(SEEDS), axis=0)
        rewards = answer(SEEDS, step, items, ROLLOUTS)
        mine = rule.update(mine, feedback(pool, items, rewards, step + 1, SEEDS))
        theirs = rule.update(theirs, feedback(relabelled, position[items], rewards, step + 1, SEEDS))
        here = _views(rule, mine, draw(pool, step + 1, SEEDS))
        there = _views(rule, theirs, draw(relabelled, step + 1, SEEDS))
        for name, values in here.items():
            expected = values if name == "shares" else values[:, labels]
            if (values == values[:1]).all():
                alike = np.allclose(there[name], expected, rtol=1e-3, atol=1e-6)
                ensure(alike, f"step {step}: {name} before and after relabelling differ")


@_law
def reads_no_labels_it_disowns(rule: Rule, pool: Pool) -> None:
    """A rule whose `labels` is False runs alike on a pool with other difficulties and without pass counts."""
    if rule.labels:
        return
    changed: dict[str, Any] = {"difficulty": 100 - pool.difficulty // 2}
    if "successes" not in rule.needs:
        changed |= {"successes": None, "attempts": None}
    one, other = (run(Controller(rule, p, seed=SEEDS), mixed(pool)) for p in (pool, replace(pool, **changed)))
    for step, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        ensure_same(mine["items"], theirs["items"], f"step {step}: items with the labels and with others")


# ------------------------------------------------------------------------------------------------- resume and lanes


@_law
def resumes_bit_for_bit(rule: Rule, pool: Pool) -> None:
    """A run saved and loaded at every step, also between a batch and its rewards, continues bit for bit."""

    def reloaded(controller: Controller) -> Controller:
        fresh = Controller(replace(rule), pool, seed=SEEDS)
        fresh.load_state_dict(through_files(controller.state_dict()))
        return fresh

    whole = run(Controller(replace(rule), pool, seed=SEEDS), mixed(pool))
    pieces = run(Controller(replace(rule), pool, seed=SEEDS), mixed(pool), between=reloaded)
    ensure_same(whole, pieces, "a run in one go and one through files")


@_law
def lanes_are_single_runs(rule: Rule, pool: Pool) -> None:
    """R lanes are R independent single runs, bit for bit."""
    _ensure_lanes_single([rule] * len(SEEDS), rule, pool, SEEDS)


@_law
def hyper_parameters_may_differ_between_lanes(rule: Rule, pool: Pool) -> None:
    """Lanes with hyper-parameters of their own are single runs with these, bit for bit."""
    rules = neighbours(rule, pool)
    _ensure_lanes_single(rules, side_by_side(rules), pool, TWINS)


def _ensure_lanes_single(rules: list[Any], together: Any, pool: Pool, seeds: NDArray[np.uint64]) -> None:
    seen = run(Controller(together, pool, seed=seeds), mixed(pool))
    for r, rule in enumerate(rules):
        alone = run(Controller(rule, pool, seed=seeds[r : r + 1]), mixed(pool))
        ensure_same(lane(seen, r), alone, f"lane {r} and {rule}")


@_law
def lanes_rest_while_others_refill(rule: Rule, pool: Pool) -> None:
    """Where some lanes rest while others refill their batch, each lane is a single run, bit for bit."""

    def trained(seeds: NDArray[np.uint64]) -> Record:
        controller = Controller(rule, pool, [DynamicSampling(max_batches=3)], seed=seeds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShortBatch)
            learner = SimLearner(ScalarIRT(theta0=0.0), pool, seeds)
            return train(controller, learner, STEPS // 2, BATCH, ROLLOUTS, eval_every=1)

    together = trained(SEEDS)
    for r in range(len(SEEDS)):
        alone = trained(SEEDS[r : r + 1])
        mine = {name: series[:, r : r + 1] for name, series in together.series.items()}
        ensure_same(mine, alone.series, f"series of lane {r} and of a single run")
        ensure_same(together.rollouts[:, r : r + 1], alone.rollouts, f"rollouts of lane {r} and of a single run")
        ensure_same(together.success[:, r : r + 1], alone.success, f"success of lane {r} and of a single run")


# ---------------------------------------------------------------------------------------------- feedback of any kind


@_law
def takes_any_feedback(rule: Rule, pool: Pool) -> None:
    """Late, repeated, partial, empty and unordered feedback is taken, and the next batch is valid."""
    controller, answer = Controller(rule, pool, seed=SEEDS), mixed(pool)
    lanes, size = len(SEEDS), (len(SEEDS), BATCH)
    unequal = np.arange(lanes * BATCH).reshape(size) % (ROLLOUTS + 1)
    none_in_first = np.full(size, ROLLOUTS)
    none_in_first[0] = 0

    def tell(items: Items, counts: NDArray[np.int64] | None = None, rollouts: int = ROLLOUTS) -> None:
        controller.observe(items, cut(answer(SEEDS, controller.step, items, rollouts), counts), counts)

    def out_of_order(items: Items) -> None:
        later, last = (np.array(controller.next_batch(BATCH)) for _ in range(2))
        for late in (last, items, later, items):
            tell(late)

    kinds: dict[str, Callable[[Items], None]] = {
        "before any batch": lambda items: tell(np.arange(3)[None].repeat(lanes, axis=0)),
        "out of order, late and repeated": out_of_order,
        "on some of the items": lambda items: tell(items[:, 2:5]),
        "on one item twice": lambda items: tell(items[:, [1, 0, 1]]),
        "of 0 to 4 rollouts": lambda items: tell(items, unequal),
        "of single rollouts": lambda items: tell(items, rollouts=1),
        "of no rollouts": lambda items: tell(items, np.zeros(size, np.int64)),
        "of no rollouts in one lane": lambda items: tell(items, none_in_first),
        "that never comes": lambda items: None,
    }
    items = np.empty((lanes, 0), np.int64)
    for _ in range(2):
        for name, kind in kinds.items():
            with during(f"feedback {name}"):
                kind(items)
                items = np.array(controller.next_batch(BATCH))
                ensure_batch(items, lanes, BATCH, len(pool))
                _ensure_sound(rule, controller.state, draw(pool, controller.step, SEEDS))


@_law
def no_rollouts_teach_nothing(rule: Rule, pool: Pool) -> None:
    """Groups without rollouts leave the state as if they had not been in the feedback."""
    answered = np.arange(BATCH) % 3 > 0
    for moment in walk(rule, pool, mixed(pool)):
        items, rewards, step = moment.items, moment.feedback.rewards, moment.feedback.step
        counts = np.where(answered, ROLLOUTS, 0)[None].repeat(len(SEEDS), axis=0)
        marked = feedback(pool, items, cut(rewards, counts), step, SEEDS, counts)
        left_out = feedback(pool, items[:, answered], rewards[:, answered], step, SEEDS)
        one, other = (arrays(rule.update(moment.chosen, told)) for told in (marked, left_out))
        for name, leaf in one.items():
            alike = np.allclose(leaf, other[name], rtol=1e-5, atol=1e-8, equal_nan=True)
            ensure(alike, f"step {step}: {name} hangs on groups of no rollouts")


@_law
def floor_reaches_every_item(rule: Rule, pool: Pool) -> None:
    """With floor > 0 every item is drawn, within steps in which chance would miss one in 1e-4 of all runs."""
    floor = 0.8
    steps = math.ceil(math.log(1e-4 / len(pool)) / math.log(1 - floor * BATCH / len(pool)))
    controller = Controller(replace(rule, floor=floor), pool, seed=SEEDS[:2])
    run(controller, mixed(pool), steps)
    missed = np.rint((1 - controller.coverage()) * len(pool)).astype(int)
    ensure(not missed.any(), f"{missed.max()} items were not drawn in {steps} batches of {BATCH} with floor={floor}")


# --------------------------------------------------------------------------------------------- state and declarations


@_law
def state_is_small_arrays(rule: Rule, pool: Pool) -> None:
    """The state is a NamedTuple of arrays (R, ..) of fixed shape; a lane grows by <= 64 bytes per item, or by none."""
    ensure_arrays(rule.init(pool, len(SEEDS)), len(SEEDS))
    expected = shapes(rule.init(pool, len(SEEDS)))
    for moment in walk(rule, pool, mixed(pool)):
        for state in (moment.chosen, moment.after):
            ensure(shapes(state) == expected, f"shapes of the state change from {expected} to {shapes(state)}")
    kinds = ("none", "arm", "item")
    ensure(rule.memory in kinds, f"memory must be one of {', '.join(kinds)}, got {rule.memory!r}")
    growth = bytes_per_item(rule, pool)
    allowed = BYTES_PER_ITEM if rule.memory == "item" else 0
    ensure(growth <= allowed, f"memory is {rule.memory!r}, but a lane grows by {growth:g} bytes per item of the pool")


@_law
def names_missing_columns(rule: Rule, pool: Pool) -> None:
    """A pool that lacks a column the rule cannot do without is refused in one line that names it."""
    for column in rule.needs:
        ensure(hasattr(pool, column), f"needs must name columns of a pool, got {column!r}")
    for column in OPTIONAL:
        gone: dict[str, Any] = {column: None} | ({"attempts": None} if column == "successes" else {})
        bare = replace(pool, **gone)
        with during(f"a pool without {column}"):
            line = refusal(lambda: _walk_through(rule, bare))  # noqa: B023
            ensure(line is not None or column not in rule.needs, "must be refused")
            ensure(line is None or column in line, f"the refusal must name the column, got '{line}'")


@_law
def says_what_it_spends(rule: Rule, pool: Pool) -> None:
    """Probes and allocations are valid, and `extra` tells of probes and of predictions ("forwards")."""
    forwards = np.zeros(len(SEEDS))
    for moment in walk(rule, pool, mixed(pool)):
        probe = moment.probe
        if probe is not None:
            ensure(rule.extra != "none", "it probes, but its `extra` is 'none'")
            ensure(probe.rollouts >= 1, f"rollouts of a probe must be >= 1, got {probe.rollouts}")
            ensure_batch(probe.items, len(SEEDS), probe.items.shape[-1], len(pool), "probe")
        counts = rule.allocate(moment.chosen, moment.draw, moment.items, ROLLOUTS)
        if counts is not None:
            most, total = MOST_ROLLOUTS * ROLLOUTS, BATCH * ROLLOUTS
            whole = counts.dtype.kind in "iu" and counts.shape == moment.items.shape
            ensure(whole, f"allocate must give whole numbers (R, B), got {counts.dtype} of shape {counts.shape}")
            ensure(((counts >= 0) & (counts <= most)).all(), f"allocate must give numbers in [0, {most}], got {counts}")
            given = counts.sum(axis=1)
            ensure((given == total).all(), f"allocate must give {total} rollouts, got {given}")
        spent = rule.metrics(moment.after).get("forwards", np.zeros(len(SEEDS)))
        ensure((spent >= forwards).all(), f"forwards must not fall, got {spent} after {forwards}")
        ensure(rule.extra != "none" or not spent.any(), "it counts forwards, but its `extra` is 'none'")
        forwards = spent


@_law
def refuses_bad_settings(rule: Rule, pool: Pool) -> None:
    """NaN, unknown names and arrays of another length than the lanes are refused in one line that names the field."""
    ensure_refuses_bad_settings(rule, pool)


@_law
def names_its_source(rule: Rule, pool: Pool) -> None:
    """The docstring has one `Source:` line, which no other rule has."""
    ensure_one_source(rule, list(RULES.values()))


# -------------------------------------------------------------------------------------------------------------- tools


class Moment(NamedTuple):
    """One step of a rule: its probe, draw, items and feedback, and its states."""

    probe: Probe | None
    draw: Draw
    items: Items
    chosen: Any  # state after select
    feedback: Feedback
    after: Any  # state after update


def walk(rule: Rule, pool: Pool, answer: Answer, batch: int = BATCH, answered: int | None = None) -> Iterator[Moment]:
    """Steps of a rule without a Controller. answered: how many items of each batch have feedback (default: all)."""
    state = rule.init(pool, len(SEEDS))
    for step in range(STEPS):
        moment = draw(pool, step, SEEDS)
        probe = rule.probe(state, moment)
        if probe is not None:
            rewards = answer(SEEDS, step, *probe)
            state = rule.update(state, feedback(pool, probe.items, rewards, step, SEEDS, probe=True))
        items, chosen = rule.select(state, moment, batch)
        rewards, counts = answer(SEEDS, step, items, ROLLOUTS), None
        if answered is not None and answered < batch:
            counts = np.where(np.arange(batch) < answered, ROLLOUTS, 0)[None].repeat(len(SEEDS), axis=0)
        told = feedback(pool, items, cut(rewards, counts), step + 1, SEEDS, counts)
        state = rule.update(chosen, told)
        yield Moment(probe, moment, items, chosen, told, state)


def _walk_through(rule: Rule, pool: Pool) -> None:
    for _ in walk(rule, pool, mixed(pool), min(BATCH, len(pool))):
        pass
