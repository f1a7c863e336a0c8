"""The controller around a rule: lanes, refusals, resume, feedback of every kind, metrics by hand.

What every rule must keep, whichever it is, is in test_conformance.py.
"""

import warnings
from dataclasses import dataclass
from math import tanh
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.controllers.gate import ShortBatch
from workbench.errors import InputError
from workbench.loop import SERIES
from workbench.testing.tools import through_files

RULES = {
    "adarft": wb.AdaRFT(),
    "adarft-first": wb.AdaRFT(ties="first", eta=20.0),
    "uniform": wb.Uniform(),
    "filter": wb.OfflineFilter(),
    "band": wb.MiddleBand(low=20.0, high=80.0),
    "frozen": wb.FrozenTarget(target=60.0),
    "linear": wb.LinearSchedule(horizon=6),
    "sorted": wb.SortedEasyToHard(horizon=6),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
TENS = np.arange(0.0, 101.0, 10.0)  # position i has difficulty 10 i
SEEDS = (3, 0, 11)


def coarse_pool(size=90):
    """Difficulties on a coarse grid: every choice is among ties."""
    return wb.Pool(difficulty=np.arange(size) % 9 * 12.5)


def rewards_for(pool, items, seed, step, rollouts=4):
    """Rewards of a run: a pure function of the lane's seed, the step and the items."""
    luck = np.random.default_rng((seed, step)).random((len(items), rollouts))
    return (luck > pool.difficulty[items][:, None] / 100).astype(np.float32)


def drive(controller, pool, seeds, steps, count=8):
    """Draws and answers `steps` batches; what was seen as (items, admitted, metrics) per step."""
    seen = []
    for _ in range(steps):
        step = controller.step
        items = controller.next_batch(count)
        lanes = items if items.ndim == 2 else items[None]
        rewards = np.array([rewards_for(pool, lane, seed, step) for lane, seed in zip(lanes, seeds, strict=True)])
        admitted = controller.observe(items, rewards if items.ndim == 2 else rewards[0])
        seen.append((items, admitted, controller.metrics()))
    return seen


def assert_same(one, other, lane=None):
    """Two histories agree bit for bit; `lane` picks a lane of the first."""
    pick = (lambda x: x) if lane is None else (lambda x: np.asarray(x)[lane])
    assert len(one) == len(other)
    for (items, admitted, metrics), (items2, admitted2, metrics2) in zip(one, other, strict=True):
        np.testing.assert_array_equal(pick(items), items2)
        np.testing.assert_array_equal(pick(admitted), admitted2)
        assert set(metrics) == set(metrics2)
        for key in metrics:
            value = metrics[key] if np.ndim(metrics[key]) == 0 else pick(metrics[key])
            np.testing.assert_array_equal(value, metrics2[key], err_msg=key)


# --- shapes and lanes


@each_rule
def test_a_single_run_has_no_lane_axis_anywhere(rule):
    pool = coarse_pool()
    controller = wb.Controller(rule, pool, seed=1)
    items = controller.next_batch(8)
    assert items.shape == (8,)
    assert items.dtype == np.int64
    admitted = controller.observe(items, np.ones((8, 4), dtype=np.float32))
    assert admitted.shape == (8,)
    assert admitted.dtype == bool
    assert admitted.all()
    for key, value in controller.metrics().items():
        assert np.ndim(value) == 0, key
        float(value)


@each_rule
def test_lanes_put_their_axis_first_everywhere(rule):
    controller = wb.Controller(rule, coarse_pool(), seed=SEEDS)
    items = controller.next_batch(8)
    assert items.shape == (3, 8)
    assert items.dtype == np.int64
    admitted = controller.observe(items, np.ones((3, 8, 4), dtype=np.float32))
    assert admitted.shape == (3, 8)
    assert admitted.dtype == bool
    assert admitted.all()
    for key, value in controller.metrics().items():
        assert np.shape(value) in ((), (3,)), key
    assert np.shape(controller.metrics()["mean_reward"]) == (3,)


def test_one_lane_still_has_a_lane_axis():
    controller = wb.Controller(wb.AdaRFT(), coarse_pool(), seed=0, lanes=1)
    items = controller.next_batch(8)
    assert items.shape == (1, 8)
    assert controller.observe(items, np.ones((1, 8))).shape == (1, 8)


@each_rule
def test_lanes_of_one_seed_share_their_random_numbers(rule):
    pool = coarse_pool()
    seen = drive(wb.Controller(rule, pool, seed=5, lanes=3), pool, [5, 5, 5], steps=5)
    alone = drive(wb.Controller(rule, pool, seed=5), pool, [5], steps=5)
    for lane in range(3):
        assert_same(seen, alone, lane)


@settings(deadline=None, max_examples=80)
@given(
    failures=st.lists(st.integers(1, 127), min_size=1, max_size=50),
    name=st.sampled_from(["adarft", "adarft-first", "uniform", "frozen", "linear", "sorted"]),
    seed=st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_every_batch_holds_as_many_distinct_items_of_the_pool_as_were_asked_for(failures, name, seed, data):
    pool = wb.Pool(difficulty=np.array(failures) / 128 * 100)
    controller = wb.Controller(RULES[name], pool, seed=seed)
    for _ in range(5):
        count = data.draw(st.integers(1, len(pool)))
        items = controller.next_batch(count)
        assert items.shape == (count,)
        assert len(set(items.tolist())) == count
        assert items.min() >= 0
        assert items.max() < len(pool)
        reward = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
        controller.observe(items, np.full(count, reward))


@each_rule
def test_the_batch_may_be_the_whole_pool(rule):
    pool = wb.Pool(difficulty=np.linspace(30, 70, 7))
    controller = wb.Controller(rule, pool)
    for _ in range(3):
        items = controller.next_batch(7)
        assert sorted(items.tolist()) == list(range(7))
        controller.observe(items, np.ones(7))


# --- refusals


def refused(field, call):
    with pytest.raises(InputError) as caught:
        call()
    line = str(caught.value)
    assert line.startswith(field)
    assert "\n" not in line
    return line


@each_rule
def test_a_batch_larger_than_the_pool_is_refused(rule):
    controller = wb.Controller(rule, wb.Pool(difficulty=[40.0, 50.0, 60.0]))
    with pytest.raises(InputError) as caught:
        controller.next_batch(4)
    assert "4" in str(caught.value)
    assert "3" in str(caught.value)
    assert len(controller.next_batch(3)) == 3


@pytest.mark.parametrize("count", [0, -1, 2.5])
def test_a_batch_of_no_whole_number_of_items_is_refused(count):
    with pytest.raises(InputError) as caught:
        wb.Controller(wb.AdaRFT(), coarse_pool()).next_batch(count)
    assert str(count) in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.01, 1.01, -1.0, 5.0])
def test_a_reward_outside_zero_to_one_is_refused_with_its_value(bad):
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    items = controller.next_batch(4)
    line = refused("rewards", lambda: controller.observe(items, np.array([0.0, 1.0, bad, 1.0])))
    assert float(line.rpartition("got ")[2]) == pytest.approx(bad, nan_ok=True)
    refused("rewards", lambda: controller.observe(items, np.array([[0.0, 1.0]] * 3 + [[bad, 0.0]])))


@pytest.mark.parametrize("shape", [(), (3,), (5,), (4, 0), (3, 8), (8, 4), (4, 2, 2), (1, 4)])
def test_rewards_of_another_shape_than_the_items_are_refused(shape):
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    items = controller.next_batch(4)
    refused("rewards", lambda: controller.observe(items, np.zeros(shape)))


@pytest.mark.parametrize("shape", [(8,), (8, 4), (2, 8), (3, 7), (3, 8, 0), (3, 8, 2, 2)])
def test_rewards_of_another_shape_than_the_lanes_are_refused(shape):
    controller = wb.Controller(wb.AdaRFT(), coarse_pool(), seed=SEEDS)
    items = controller.next_batch(8)
    refused("rewards", lambda: controller.observe(items, np.zeros(shape)))


def test_items_without_their_lane_axis_are_refused():
    controller = wb.Controller(wb.AdaRFT(), coarse_pool(), seed=SEEDS)
    items = controller.next_batch(8)
    refused("items", lambda: controller.observe(items[0], np.zeros((3, 8))))


def test_items_with_a_lane_axis_are_refused_by_a_single_run():
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    items = controller.next_batch(8)
    refused("items", lambda: controller.observe(items[None], np.zeros((1, 8))))


@pytest.mark.parametrize("bad", [-1, 90, 10**9])
def test_positions_outside_the_pool_are_refused(bad):
    controller = wb.Controller(wb.AdaRFT(), coarse_pool(90))
    controller.next_batch(3)
    assert str(bad) in refused("items", lambda: controller.observe(np.array([0, bad, 2]), np.zeros(3)))


@pytest.mark.parametrize("items", [[0.0, 1.0, 2.0], [0.5, 1.0, 2.0], [True, False, True], ["0", "1", "2"]])
def test_positions_that_are_no_integers_are_refused(items):
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    controller.next_batch(3)
    refused("items", lambda: controller.observe(np.array(items), np.zeros(3)))


def test_feedback_on_no_items_is_refused():
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    controller.next_batch(3)
    refused("items", lambda: controller.observe(np.zeros(0, dtype=np.int64), np.zeros(0)))


def test_a_refused_observation_changes_nothing():
    pool = coarse_pool()
    controller, twin = (wb.Controller(wb.AdaRFT(), pool, seed=2) for _ in range(2))
    items = controller.next_batch(4)
    twin.next_batch(4)
    with pytest.raises(InputError):
        controller.observe(items, np.array([1.0, 1.0, 1.0, np.nan]))
    with pytest.raises(InputError):
        controller.observe(items + len(pool), np.ones(4))
    assert_same(drive(controller, pool, [2], 5), drive(twin, pool, [2], 5))


@pytest.mark.parametrize("seed", [-1, 1.5, "one", 2**64, [0, -1], []])
def test_a_seed_that_is_no_64_bit_integer_is_refused(seed):
    refused("seed", lambda: wb.Controller(wb.AdaRFT(), coarse_pool(), seed=seed))


@pytest.mark.parametrize("lanes", [0, -2, 1.5])
def test_a_number_of_lanes_below_one_is_refused(lanes):
    assert str(lanes) in refused("lanes", lambda: wb.Controller(wb.AdaRFT(), coarse_pool(), lanes=lanes))


def test_seeds_that_disagree_with_the_lanes_are_refused():
    with pytest.raises(InputError, match=r"^(seed|lanes): "):
        wb.Controller(wb.AdaRFT(), coarse_pool(), seed=[1, 2, 3], lanes=2)


# --- what is the caller's


@each_rule
def test_observe_does_not_write_into_what_it_was_given(rule):
    controller = wb.Controller(rule, coarse_pool())
    items = controller.next_batch(8)
    rewards = np.linspace(0, 1, 8)
    kept, given_rewards = items.copy(), rewards.copy()
    controller.observe(items, rewards)
    controller.next_batch(8)
    np.testing.assert_array_equal(items, kept)
    np.testing.assert_array_equal(rewards, given_rewards)


def test_a_caller_that_shuffles_the_batch_in_place_does_no_harm():
    pool = coarse_pool()
    controller, twin = (wb.Controller(wb.AdaRFT(), pool, seed=2) for _ in range(2))
    items = controller.next_batch(8)
    if items.flags.writeable:
        items[:] = 0
    twin.next_batch(8)
    np.testing.assert_array_equal(controller.next_batch(8), twin.next_batch(8))
    assert controller.metrics()["overlap"] == twin.metrics()["overlap"]


# --- state


@pytest.mark.parametrize("rule", [wb.AdaRFT(), wb.Uniform()], ids=["adarft", "uniform"])
@pytest.mark.parametrize("seeds", [(6,), SEEDS], ids=["single", "lanes"])
def test_a_run_resumed_from_its_files_goes_on_bit_for_bit(rule, seeds):
    pool = coarse_pool()
    seed = seeds[0] if len(seeds) == 1 else seeds
    whole = drive(wb.Controller(rule, pool, seed=seed), pool, seeds, steps=20)
    first = wb.Controller(rule, pool, seed=seed)
    begun = drive(first, pool, seeds, steps=9)
    second = wb.Controller(rule, pool, seed=seed)
    second.load_state_dict(through_files(first.state_dict()))
    assert second.step == first.step
    assert_same(whole, begun + drive(second, pool, seeds, steps=11))


def test_a_run_resumed_between_a_batch_and_its_rewards_is_not_late():
    pool, rule = coarse_pool(), wb.AdaRFT()
    first = wb.Controller(rule, pool, seed=6)
    drive(first, pool, [6], steps=4)
    items = first.next_batch(8)
    second = wb.Controller(rule, pool, seed=6)
    second.load_state_dict(through_files(first.state_dict()))
    for controller in (first, second):
        controller.observe(items, rewards_for(pool, items, 6, 4))
    assert second.metrics()["late_feedback"] == first.metrics()["late_feedback"] == 0
    assert_same(drive(first, pool, [6], 5), drive(second, pool, [6], 5))


@each_rule
def test_a_state_once_taken_does_not_move_with_the_run(rule):
    pool = coarse_pool()
    controller = wb.Controller(rule, pool, seed=6)
    drive(controller, pool, [6], steps=3)
    taken = controller.state_dict()
    expected = drive(controller, pool, [6], steps=5)
    late = wb.Controller(rule, pool, seed=6)
    late.load_state_dict(taken)
    assert_same(expected, drive(late, pool, [6], steps=5))
    # Nor does the run move with the state that was loaded.
    fresh = wb.Controller(rule, pool, seed=6)
    fresh.load_state_dict(taken)
    assert_same(expected, drive(fresh, pool, [6], steps=5))


def test_adarft_resumes_at_its_target_not_at_its_start():
    first = wb.Controller(wb.AdaRFT(), coarse_pool())
    first.observe(first.next_batch(8), np.ones(8))
    second = wb.Controller(wb.AdaRFT(), coarse_pool())
    second.load_state_dict(through_files(first.state_dict()))
    assert second.metrics()["target_difficulty"] == pytest.approx(50 * tanh(1))


def test_a_state_of_another_run_shape_is_refused():
    state = wb.Controller(wb.AdaRFT(), coarse_pool(), seed=SEEDS).state_dict()
    with pytest.raises(InputError):
        wb.Controller(wb.AdaRFT(), coarse_pool(), seed=0).load_state_dict(state)
    with pytest.raises(InputError):
        wb.Controller(wb.AdaRFT(), coarse_pool(12), seed=SEEDS).load_state_dict(state)
    with pytest.raises(InputError):
        wb.Controller(wb.AdaRFT(), coarse_pool(), seed=SEEDS).load_state_dict({})


def test_a_state_of_other_hyper_parameters_or_seeds_is_refused_in_one_line():
    pool = coarse_pool()
    controller = wb.Controller(wb.AdaRFT(eta=np.array([5.0, 50.0])), pool, [wb.SPEED()], seed=[1, 2])
    state = through_files(controller.state_dict())
    wb.Controller(wb.AdaRFT(eta=np.array([5, 50])), pool, [wb.SPEED()], seed=[1, 2]).load_state_dict(state)
    for rule, gate, seed, said in (
        (wb.AdaRFT(), wb.SPEED(), [1, 2], r"state\.rule\.eta: must be this controller's, 50\.0, got \[5\.0, 50\.0\]"),
        (wb.AdaRFT(eta=np.array([5.0, 50.0]), beta=0.4), wb.SPEED(), [1, 2], r"state\.rule\.beta: .* 0\.4, got 0\.5"),
        (wb.AdaRFT(eta=np.array([5.0, 50.0])), wb.SPEED(max_batches=2), [1, 2], r"state\.gate0\.max_batches: "),
        (wb.AdaRFT(eta=np.array([5.0, 50.0])), wb.SPEED(), [1, 3], r"state\.seeds: .*, \[1, 3\], got \[1, 2\]"),
    ):
        with pytest.raises(InputError, match=rf"^{said}") as caught:
            wb.Controller(rule, pool, [gate], seed=seed).load_state_dict(state)
        assert "\n" not in str(caught.value)


def test_a_state_of_a_pool_of_another_size_is_refused_whatever_the_sizes():
    for size in (89, 91, 12, 900):
        state = wb.Controller(wb.AdaRFT(), coarse_pool(90), seed=SEEDS).state_dict()
        with pytest.raises(InputError):
            wb.Controller(wb.AdaRFT(), coarse_pool(size), seed=SEEDS).load_state_dict(state)


# --- late, repeated, partial feedback


def test_feedback_on_the_batch_last_drawn_is_not_late():
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    for _ in range(3):
        controller.observe(controller.next_batch(4), np.ones(4))
    assert controller.metrics()["late_feedback"] == 0


def test_late_feedback_is_used_and_counted():
    controller = wb.Controller(wb.AdaRFT(ties="first"), wb.Pool(difficulty=TENS))
    first = controller.next_batch(3)
    controller.observe(first, np.ones(3))
    second, third = controller.next_batch(3), controller.next_batch(3)
    assert set(second.tolist()) == set(third.tolist()) == {3, 4, 5}
    # Drawn before the last two and other items than they are: late, and still moves the target.
    controller.observe(first, np.zeros(3))
    assert controller.metrics()["late_feedback"] == 1
    assert controller.metrics()["target_difficulty"] == 0.0
    controller.observe(third, np.ones(3))
    assert controller.metrics()["late_feedback"] == 1
    assert controller.metrics()["target_difficulty"] == pytest.approx(50 * tanh(1))


def test_answers_that_come_out_of_order_are_all_used():
    pool = coarse_pool()
    controller = wb.Controller(wb.Uniform(), pool)
    drawn = [controller.next_batch(6) for _ in range(4)]
    for items in (drawn[2], drawn[0], drawn[3], drawn[1]):
        controller.observe(items, np.ones(6))
    assert controller.metrics()["late_feedback"] == 3


def test_repeated_feedback_is_used_again():
    controller = wb.Controller(wb.AdaRFT(start=50.0), wb.Pool(difficulty=TENS))
    items = controller.next_batch(3)
    for times in (1, 2, 3):
        admitted = controller.observe(items, np.array([1.0, 1.0, 0.0]))
        assert admitted.all()
        moved = times * 50 * tanh(2 * (2 / 3 - 0.5))
        assert controller.metrics()["target_difficulty"] == pytest.approx(min(50 + moved, 100), abs=1e-5)


def test_partial_feedback_is_used_for_what_it_holds():
    controller = wb.Controller(wb.AdaRFT(start=50.0), wb.Pool(difficulty=TENS))
    items = controller.next_batch(5)
    assert controller.observe(items[:2], np.ones(2)).shape == (2,)
    assert controller.metrics()["target_difficulty"] == pytest.approx(50 + 50 * tanh(1))
    assert controller.metrics()["mean_reward"] == 1.0
    assert len(controller.next_batch(5)) == 5


def test_feedback_before_any_batch_is_accepted():
    controller = wb.Controller(wb.AdaRFT(), wb.Pool(difficulty=TENS))
    assert controller.observe(np.array([0, 1]), np.ones(2)).all()
    assert controller.metrics()["target_difficulty"] == pytest.approx(50 * tanh(1))
    assert controller.metrics()["late_feedback"] == 1


@settings(deadline=None, max_examples=40)
@given(order=st.permutations(range(8)), seed=st.integers(0, 1000))
def test_the_order_in_which_a_batch_is_answered_does_not_matter(order, seed):
    pool = coarse_pool()
    straight, shuffled = (wb.Controller(wb.AdaRFT(start=40.0), pool, seed=seed) for _ in range(2))
    items = straight.next_batch(8)
    np.testing.assert_array_equal(items, shuffled.next_batch(8))
    rewards = rewards_for(pool, items, seed, 0)
    straight.observe(items, rewards)
    shuffled.observe(items[order], rewards[order])
    np.testing.assert_array_equal(straight.next_batch(8), shuffled.next_batch(8))


def test_the_last_batch_answered_in_another_order_or_in_part_is_not_late():
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    items = controller.next_batch(8)
    controller.observe(items[::-1].copy(), np.ones(8))
    assert controller.metrics()["late_feedback"] == 0
    items = controller.next_batch(8)
    controller.observe(items[:3].copy(), np.ones(3))
    assert controller.metrics()["late_feedback"] == 0


# --- metrics by hand

KEYS = {
    "step",
    "mean_reward",
    "batch_difficulty_mean",
    "batch_difficulty_min",
    "batch_difficulty_max",
    "coverage",
    "overlap",
    "silent_share",
    "late_feedback",
}


@each_rule
def test_every_rule_reports_the_common_metrics(rule):
    controller = wb.Controller(rule, coarse_pool())
    controller.observe(controller.next_batch(8), np.ones((8, 2)))
    assert set(controller.metrics()) >= KEYS


def test_adarft_reports_its_target_and_whether_it_is_at_a_bound():
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    assert set(controller.metrics()) >= KEYS | {"target_difficulty", "at_bound"}


def test_metrics_of_three_steps_worked_by_hand():
    # Items at 0, 25, 50, 75, 100, batches of two, two rollouts each.
    controller = wb.Controller(wb.AdaRFT(ties="first"), wb.Pool(difficulty=[0.0, 25.0, 50.0, 75.0, 100.0]))
    assert controller.metrics()["at_bound"] == 1

    # T = 0: items 0 and 1. Rewards 1 1, 1 0: mean 3/4, one group of two is silent.
    items = controller.next_batch(2)
    assert sorted(items.tolist()) == [0, 1]
    controller.observe(items, np.array([[1.0, 1.0], [1.0, 0.0]]))
    seen = controller.metrics()
    assert (seen["batch_difficulty_mean"], seen["batch_difficulty_min"], seen["batch_difficulty_max"]) == (
        12.5,
        0,
        25,
    )
    assert (seen["step"], seen["mean_reward"], seen["silent_share"]) == (1, 0.75, 0.5)
    assert seen["coverage"] == 2 / 5
    assert seen["target_difficulty"] == pytest.approx(50 * tanh(2 * (0.75 - 0.5)))  # 23.1
    assert seen["at_bound"] == 0

    # T = 23.1: 25 and 0 again. All right: every group is silent.
    items = controller.next_batch(2)
    assert sorted(items.tolist()) == [0, 1]
    controller.observe(items, np.ones((2, 2)))
    seen = controller.metrics()
    assert (seen["step"], seen["mean_reward"], seen["silent_share"]) == (2, 1.0, 1.0)
    assert (seen["coverage"], seen["overlap"]) == (2 / 5, 1.0)
    assert seen["target_difficulty"] == pytest.approx(50 * tanh(0.5) + 50 * tanh(1))  # 61.2

    # T = 61.2: 50 and 75, both new. All wrong.
    items = controller.next_batch(2)
    assert sorted(items.tolist()) == [2, 3]
    controller.observe(items, np.zeros((2, 2)))
    seen = controller.metrics()
    assert (seen["batch_difficulty_mean"], seen["batch_difficulty_min"], seen["batch_difficulty_max"]) == (
        62.5,
        50,
        75,
    )
    assert (seen["step"], seen["mean_reward"], seen["silent_share"]) == (3, 0.0, 1.0)
    assert (seen["coverage"], seen["overlap"]) == (4 / 5, 0.0)
    assert seen["target_difficulty"] == pytest.approx(50 * tanh(0.5))
    assert seen["late_feedback"] == 0

    # T = 23.1 and a batch of three: 0 and 25 return, 50 stays.
    assert sorted(controller.next_batch(3).tolist()) == [0, 1, 2]
    seen = controller.metrics()
    assert seen["overlap"] == pytest.approx(1 / 3)
    assert seen["coverage"] == 4 / 5
    assert controller.step == 4


def test_one_rollout_per_item_has_no_silent_share():
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    controller.observe(controller.next_batch(4), np.ones(4))
    assert np.isnan(controller.metrics()["silent_share"])
    controller.observe(controller.next_batch(4), np.ones((4, 1)))
    assert np.isnan(controller.metrics()["silent_share"])


def test_partial_credit_is_silent_only_when_all_rollouts_agree():
    controller = wb.Controller(wb.AdaRFT(), coarse_pool())
    controller.observe(controller.next_batch(2), np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.25]]))
    assert controller.metrics()["silent_share"] == 0.5
    assert controller.metrics()["mean_reward"] == pytest.approx(2.75 / 6)


def test_a_vector_of_rewards_equals_a_column_of_one_rollout():
    pool = coarse_pool()
    flat, column = (wb.Controller(wb.AdaRFT(), pool) for _ in range(2))
    rewards = np.array([1.0, 0.0, 1.0, 1.0])
    flat.observe(flat.next_batch(4), rewards)
    column.observe(column.next_batch(4), rewards[:, None])
    assert flat.metrics()["target_difficulty"] == column.metrics()["target_difficulty"]
    assert flat.metrics()["target_difficulty"] == pytest.approx(50 * tanh(2 * (0.75 - 0.5)))


def test_uniform_covers_the_whole_pool_in_one_epoch_and_never_overlaps_within_it():
    controller = wb.Controller(wb.Uniform(), coarse_pool(90))
    for k in range(1, 10):
        controller.next_batch(10)
        assert controller.metrics()["coverage"] == pytest.approx(10 * k / 90)
        if k > 1:
            assert controller.metrics()["overlap"] == 0


def test_the_step_counts_the_batches_drawn():
    controller = wb.Controller(wb.LinearSchedule(horizon=10), coarse_pool())
    assert controller.step == 0
    for k in range(1, 4):
        controller.next_batch(2)
        assert controller.step == k == controller.metrics()["step"]


# ---- what a rule, a state or a host may hand over


class Stray(wb.Rule):
    """A rule whose positions are what it was made with: somebody's first try."""

    def __init__(self, items):
        self.items = items

    def init(self, pool, lanes):
        return wb.Uniform().init(pool, lanes)

    def select(self, state, draw, count):
        return self.items, state


@pytest.mark.parametrize(
    "items",
    [*map(np.array, ([[0, 500]], [[-1, 0]], [[0, 2**62]], [[0.0, 1.0]], [0, 1])), [[0, 1]]],
    ids=["behind", "before", "far behind", "floats", "no lane axis", "a list"],
)
def test_positions_of_a_rule_are_checked_before_anything_is_written(items):
    controller = wb.Controller(Stray(items), wb.Pool.synthetic("uniform", size=500))
    expected = r"^Stray\.select: must return int64 positions in \[0, 500\) of shape \(1, 2\), got "
    with pytest.raises(InputError, match=expected):
        controller.next_batch(2)
    assert controller.metrics()["coverage"] == 0


class Kept(NamedTuple):
    seen: object


@dataclass(frozen=True)
class Keeps(wb.Uniform):
    """A rule whose state is what it was made with, and that is careless with it where it is told to be."""

    first: object = None
    careless: str = ""

    def init(self, pool, lanes):
        return self.first

    def select(self, state, draw, count):
        items = np.tile(np.arange(count), (len(draw.seeds), 1))
        return {"": (items, state), "items": items, "state": (items, None), "three": (items, state, 1)}[
            self.careless.partition("select ")[2]
        ]

    def update(self, state, feedback):
        return None if self.careless == "update" else state


OF_ARRAYS = "rule: must keep the state in a NamedTuple of arrays"
OF_ROWS = f"{OF_ARRAYS} of numbers with one row per lane (1, ...), but seen of Keeps.init is "


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (np.zeros((1, 3)), f"{OF_ARRAYS}, but Keeps.init returns array([[0., 0., 0.]])"),
        ({"seen": np.zeros(1)}, f"{OF_ARRAYS}, but Keeps.init returns {{'seen': array([0.])}}"),
        ((np.zeros(1),), f"{OF_ARRAYS}, but Keeps.init returns (array([0.]),)"),
        (None, f"{OF_ARRAYS}, but Keeps.init returns None"),
        (Kept([0]), f"{OF_ROWS}[0]"),
        (Kept(0.5), f"{OF_ROWS}0.5"),
        (Kept(np.zeros((3, 1))), f"{OF_ROWS}float64 of shape (3, 1)"),
        (Kept(np.array([{}])), f"{OF_ROWS}object of shape (1,)"),
    ],
)
def test_a_rule_whose_state_no_checkpoint_can_hold_is_refused_when_it_is_bound(first, said):
    with pytest.raises(InputError) as error:
        wb.Controller(Keeps(first), wb.Pool.synthetic("uniform", size=10))
    assert str(error.value) == said
    with pytest.raises(InputError, match=r"^rule: must keep the state"):
        wb.Study(["uniform"], ["scalar"], [Keeps(first)], seeds=2, steps=2).run(progress=False)


@pytest.mark.parametrize("careless", ["select items", "select state", "select three", "update"])
def test_a_rule_that_does_not_hand_back_its_state_is_refused_in_one_line(careless):
    method = careless.partition(" ")[0]
    controller = wb.Controller(Keeps(Kept(np.zeros(1)), careless), wb.Pool.synthetic("uniform", size=10))
    with pytest.raises(InputError, match=rf"^Keeps\.{method}: must return .* a Kept, got ") as error:
        controller.observe(controller.next_batch(2), np.ones(2))
    assert "\n" not in str(error.value)
    assert controller.state.seen.tolist() == [0.0]
    assert controller.step == (method == "update")


def test_a_gate_whose_state_no_checkpoint_can_hold_is_refused_when_it_is_bound():
    class Loose(wb.DynamicSampling):
        def init(self, pool, lanes):
            return {}

    with pytest.raises(InputError, match=r"^gates: must keep the state in a NamedTuple of arrays, but Loose\.init ret"):
        wb.Controller(wb.Uniform(), wb.Pool.synthetic("uniform", size=10), Loose())


def test_a_state_of_another_rule_or_pool_is_refused():
    pool, other = wb.Pool.synthetic("uniform", size=500), wb.Pool.synthetic("narrow", size=500)
    state = wb.Controller(wb.Uniform(), pool).state_dict()
    with pytest.raises(InputError, match=r"^state\.rule: must be this controller's, MiddleBand, got Uniform$"):
        wb.Controller(wb.MiddleBand(), pool).load_state_dict(state)
    with pytest.raises(InputError, match=r"^state\.pool: "):
        wb.Controller(wb.Uniform(), other).load_state_dict(state)
    for name in ("rule", "gates", "pool"):
        with pytest.raises(InputError, match=rf"^state\.{name}: must be this controller's, ") as caught:
            wb.Controller(wb.Uniform(), pool).load_state_dict(state | {name: np.zeros((2, 2))})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["batch", "rule.deck", "rule.cursor"])
def test_a_state_that_points_outside_the_pool_is_refused(field):
    controller = wb.Controller(wb.Uniform(), wb.Pool.synthetic("uniform", size=500))
    controller.next_batch(8)
    state = controller.state_dict()
    state[field] = np.full_like(state[field], 10**6)
    with pytest.raises(InputError, match=r"^state\.(batch|rule): must be positions in \[0, 500\)"):
        controller.load_state_dict(state)


def test_a_batch_from_before_a_load_is_late():
    controller = wb.Controller(wb.Uniform(), wb.Pool.synthetic("uniform", size=500))
    older = controller.state_dict()
    items = controller.next_batch(8)
    controller.load_state_dict(older)
    controller.next_batch(8)
    controller.load_state_dict(older)
    controller.observe(items, np.ones(8))
    assert controller.metrics()["late_feedback"] == 1


def test_repeated_and_partial_feedback_is_taken_and_counted():
    controller = wb.Controller(wb.AdaRFT(), wb.Pool.synthetic("uniform", size=500))
    items = controller.next_batch(8)
    counts = []
    for part in (items, items, items[:3]):
        controller.observe(part, np.ones(len(part)))
        seen = controller.metrics()
        counts.append((seen["repeated_feedback"], seen["partial_feedback"], seen["late_feedback"]))
    assert counts == [(0, 0, 0), (1, 0, 0), (2, 1, 0)]
    assert controller.metrics()["target_difficulty"] == min(3 * 50 * np.tanh(2 * 0.5), 100)


def test_what_is_no_gate_is_refused():
    with pytest.raises(InputError, match=r"^gates: must be gates such as DynamicSampling\(\), got"):
        wb.Controller(wb.Uniform(), wb.Pool.synthetic("uniform", size=10), gates=(len,))


def test_dynamic_sampling_admits_groups_whose_rewards_differ():
    pool = wb.Pool.synthetic("uniform", size=10)
    controller = wb.Controller(wb.Uniform(), pool, [wb.DynamicSampling()])
    rewards = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 1], [0.5, 0.5, 0.25]])
    assert controller.observe(controller.next_batch(4), rewards).tolist() == [False, True, False, True]
    assert controller.rollouts.tolist() == [12]  # what was rejected was generated all the same


class MixedEverySecondBatch:
    """A learner whose groups are all silent in its odd attempts and all mixed in its even ones."""

    def __init__(self):
        self.attempts, self.learned = 0, []

    def attempt(self, items, rollouts=8):
        self.attempts += 1
        return np.tile(np.float32([0, self.attempts % 2 == 0]), (len(items), 1))

    def learn(self, items, rewards, admitted):
        self.learned.append((items, rewards, admitted))

    def evaluate(self):
        return np.zeros(1)


def test_a_gated_step_draws_until_the_batch_is_full_and_counts_what_it_generated():
    pool = wb.Pool.synthetic("uniform", size=50)
    learner, controller = MixedEverySecondBatch(), wb.Controller(wb.Uniform(), pool, [wb.DynamicSampling()])
    record = wb.train(controller, learner, 3, batch=4, rollouts=2, eval_every=1)
    assert record.steps.tolist() == [0, 1, 2, 3]
    assert record.rollouts.ravel().tolist() == [0, 16, 32, 48]
    assert record.trained.ravel().tolist() == [0, 8, 16, 24]
    assert record.short.ravel().tolist() == [0, 0, 0, 0]
    for items, rewards, admitted in learner.learned:
        assert items.shape == (8,)
        assert rewards.shape == (8, 2)
        assert admitted.tolist() == [False] * 4 + [True] * 4


def test_a_gate_that_is_never_satisfied_stops_at_its_cap_and_trains_on_what_it_has():
    pool = wb.Pool.synthetic("uniform", size=50)
    controller = wb.Controller(wb.Uniform(), pool, [wb.DynamicSampling(max_batches=3)])
    learner = wb.SimLearner(wb.ScalarIRT(theta0=-60.0), pool)  # never right: all groups are silent
    before = learner.state.theta.copy()
    with pytest.warns(ShortBatch, match="DynamicSampling: 3 batches gave fewer groups than .* at step 1") as caught:
        record = wb.train(controller, learner, 2, batch=4, rollouts=2)
    assert len(caught) == 1
    assert controller.step == 2
    assert controller.batches.tolist() == [6]
    assert record.rollouts.ravel().tolist() == [0, 48]
    assert record.trained.ravel().tolist() == [0, 0]
    assert record.short.ravel().tolist() == [0, 2]
    assert learner.updates == 2
    assert np.array_equal(learner.state.theta, before)


def test_a_gated_step_trains_on_no_more_groups_than_a_batch():
    pool = wb.Pool.synthetic("uniform", size=500)
    controller = wb.Controller(wb.Uniform(), pool, [wb.DynamicSampling()])
    sizes = []

    class Watched(wb.SimLearner):
        def learn(self, items, rewards, admitted=None):
            sizes.append(int(admitted.sum()))
            super().learn(items, rewards, admitted)

    wb.train(controller, Watched(wb.ScalarIRT(), pool), 5, batch=16, rollouts=4)
    assert sizes == [16] * 5
    assert controller.step == 5
    assert controller.batches > 5


def test_metrics_of_gated_lanes_are_those_of_single_runs():
    pool = wb.Pool.synthetic("uniform", size=300)

    def record(seed):
        controller = wb.Controller(wb.AdaRFT(), pool, [wb.DynamicSampling(max_batches=6)], seed=seed)
        learner = wb.SimLearner(wb.KernelTransfer(theta0=-1.0), pool, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShortBatch)
            return wb.train(controller, learner, 12, batch=16, rollouts=4, eval_every=2), controller.metrics()

    together, metrics = record(np.array(SEEDS))
    assert (together.rollouts != together.rollouts[:, :1]).any()  # the lanes did not draw alike
    for lane, seed in enumerate(SEEDS):
        alone, mine = record(seed)
        assert np.array_equal(together.success[:, lane], alone.success[:, 0])
        assert np.array_equal(together.rollouts[:, lane], alone.rollouts[:, 0])
        for name in SERIES:
            assert np.array_equal(together.series[name][:, lane], alone.series[name][:, 0], equal_nan=True), name
        for name, value in mine.items():
            assert np.array_equal(np.atleast_1d(metrics[name])[-1 if np.ndim(metrics[name]) == 0 else lane], value,
                                  equal_nan=True), name  # fmt: skip


@pytest.mark.parametrize("before", [0, 3, 12], ids=["first batch", "after a smaller one", "after a larger one"])
def test_a_lane_may_rest_while_another_refills_a_batch_of_a_new_size(before):
    pool = wb.Pool.synthetic("uniform", size=100)

    def drawn(seed):
        controller = wb.Controller(wb.Uniform(), pool, [wb.DynamicSampling()], seed=seed)
        if before:
            controller.observe(controller.next_batch(before), np.zeros((len(seed), before, 2)))
        return controller, controller.next_batch(8)

    controller, items = drawn([1, 2])
    rests, again = controller.next_batch(8, refill=np.array([False, True]))
    assert rests.tolist() == items[0].tolist()
    assert not set(again.tolist()) & set(items[1].tolist())
    alone, _ = drawn([1])
    refilled, _ = drawn([2])
    refilled.next_batch(8, refill=True)
    one, other = alone.metrics(), refilled.metrics()
    for name, value in controller.metrics().items():
        if np.ndim(value):
            assert value.tolist() == [one[name][0], other[name][0]] or np.isnan(value).all(), name
    copy = wb.Controller(wb.Uniform(), pool, [wb.DynamicSampling()], seed=[1, 2])
    copy.load_state_dict(through_files(controller.state_dict()))
    assert copy.metrics()["overlap"].tolist() == controller.metrics()["overlap"].tolist()


@pytest.mark.parametrize("gates", [[], [wb.DynamicSampling()]], ids=["no gate", "gate"])
def test_groups_without_rollouts_are_not_trained_on(gates):
    controller = wb.Controller(wb.Uniform(), coarse_pool(), gates)
    items = controller.next_batch(3)
    rewards = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    assert controller.observe(items, rewards, counts=np.array([2, 0, 2])).tolist() == [True, False, True]


def test_lists_of_hyper_parameters_are_refused_when_the_rule_is_made():
    with pytest.raises(InputError, match=r"^start: .*NumPy array"):
        wb.LinearSchedule(start=[0.0, 10.0])


def test_a_reward_just_above_one_is_refused():
    controller = wb.Controller(wb.Uniform(), wb.Pool.synthetic("uniform", size=10))
    items = controller.next_batch(2)
    with pytest.raises(InputError, match=r"^rewards: must be numbers in \[0, 1\], got 1\.000000001$"):
        controller.observe(items, np.array([0.5, 1 + 1e-9]))
