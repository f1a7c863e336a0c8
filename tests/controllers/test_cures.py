"""CurES: weights from posterior means by hand, frequencies, and rollouts in proportion to the gradient's deviation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from steps import pool_of, told

import workbench as wb
from workbench import testing
from workbench.controllers.rules.cures import CurES
from workbench.errors import InputError


def counted(rule, pool, history, lanes=1):
    """The state in which item i has history[i] = (successes, rollouts)."""
    longest = max(n for _, n in history)
    rewards = [[1.0] * k + [0.0] * (longest - k) for k, _ in history]
    return told(rule, rule.init(pool, lanes), pool, np.arange(len(history)), rewards, [n for _, n in history])


def logs(rule, state, pool):
    """(I,) log weights of the first lane, up to a constant."""
    weights = rule.weights(state, testing.draw(pool, seed=np.arange(len(state[0]))))[0].astype(float)
    assert (weights > 0).all()
    assert (weights <= 1 + 1e-6).all()
    return np.log(weights)


def deviation(successes, rollouts):
    p = (np.asarray(successes) + 1) / (np.asarray(rollouts) + 2)
    return np.sqrt(p * (1 - p))


# --- weights


def test_weights_are_exponentials_of_the_deviation_at_the_posterior_mean():
    # 4 of 8: p = 1/2, sqrt(p (1 - p)) = .5; 0 of 8: p = 1/10, .3; 8 of 8: .3; 1 of 3: 2/5, .4899; unseen: 1/2, .5.
    rule, pool = CurES(tau=0.1), pool_of(5)
    state = told(rule, rule.init(pool, 1), pool, [0, 1, 2], [[1, 0] * 4, [0] * 8, [1] * 8])
    state = told(rule, state, pool, [3], [[0, 1, 0]])
    got = logs(rule, state, pool)
    np.testing.assert_allclose(got - got[0], [0, -2, -2, 10 * (0.24**0.5 - 0.5), 0], atol=1e-4)


def test_trap_cures_weights_are_not_nearly_uniform():
    # The released code divides by (accepted + 1) / 0.01 >= 100: its exponent is at most .005.
    rule, pool = CurES(), pool_of(3)
    got = logs(rule, counted(rule, pool, [(50, 100), (100, 100), (0, 100)]), pool)
    assert got[0] - got[1] > 3
    assert got[0] - got[2] > 3
    assert got[1] == pytest.approx(got[2], abs=1e-4)  # and as much for hard items as for easy ones


def test_trap_cures_goes_on_for_more_than_ten_batches():
    # The released sampler says that its length is 10.
    pool = pool_of(40)
    controller = wb.Controller(CurES(), pool, seed=0)
    for _ in range(25):
        items = controller.next_batch(4)
        controller.observe(items, np.tile([1.0, 0.0], (4, 4)))
    assert controller.metrics()["coverage"] > 0.5


def test_the_posterior_counts_all_rollouts_so_far_and_partial_rewards_by_their_sum():
    rule, pool = CurES(), pool_of(2)
    state = told(rule, rule.init(pool, 1), pool, [0, 0], [[1, 1, 1, 1], [0.5, 0.25, 0.25, 0]])
    state = told(rule, state, pool, [0], [[1, 1, 0, 0]], counts=[3])
    got = logs(rule, state, pool)  # 7 of 11
    assert got[0] - got[1] == pytest.approx((deviation(7, 11) - 0.5) / 0.1, abs=1e-4)


def test_a_group_without_rollouts_tells_nothing():
    rule, pool = CurES(), pool_of(2)
    state = told(rule, rule.init(pool, 1), pool, [0, 1], [[0, 0], [1, 0]], counts=[0, 2])
    np.testing.assert_allclose(logs(rule, state, pool), logs(rule, state, pool)[1], atol=1e-5)


def test_items_are_drawn_by_these_weights():
    rule, pool, lanes = CurES(tau=0.2), pool_of(4), 10_000
    history = [(4, 8), (8, 8), (1, 8), (0, 30)]
    items, _ = rule.select(counted(rule, pool, history, lanes), testing.draw(pool, 1, range(lanes)), 1)
    law = np.exp(deviation(*zip(*history, strict=True)) / 0.2)
    assert stats.chisquare(np.bincount(items[:, 0], minlength=4), law / law.sum() * lanes).pvalue > 1e-3


def test_a_low_temperature_takes_the_best_first_and_the_others_after_all_of_them():
    rule, pool = CurES(tau=1e-5), pool_of(5)
    state = counted(rule, pool, [(8, 8), (4, 8), (0, 8), (3, 6), (1, 8)], lanes=20)
    items, _ = rule.select(state, testing.draw(pool, 1, range(20)), 2)
    assert {tuple(sorted(row)) for row in items.tolist()} == {(1, 3)}
    items, _ = rule.select(state, testing.draw(pool, 1, range(20)), 5)
    assert all(sorted(row) == list(range(5)) for row in items.tolist())


@pytest.mark.parametrize("steps", [1, 10])
def test_reversion_takes_the_posterior_of_an_item_without_feedback_its_share_of_the_way_back(steps):
    # 8 of 8 is Beta(9, 1), at first Beta(1, 1): after n steps without feedback Beta(1 + 8 * .9^n, 1).
    rule, pool = CurES(reversion=0.1), pool_of(3)
    state = counted(rule, pool, [(8, 8), (4, 8)])
    for _ in range(steps):
        state = told(rule, state, pool, [1], [[1, 0] * 4])
    a = 1 + 8 * 0.9**steps
    p = a / (a + 1)
    got = logs(rule, state, pool)
    assert got[0] - got[1] == pytest.approx((np.sqrt(p * (1 - p)) - 0.5) / 0.1, abs=1e-3)
    assert got[2] == pytest.approx(got[1], abs=1e-4)


# --- rollouts per item


def allocated(history, batch, rollouts, lanes=1, **settings_):
    """(R, B) rollouts of the items `batch`, given (successes, rollouts) of each item so far."""
    rule, pool = CurES(**settings_), pool_of(len(history))
    items = np.tile(batch, (lanes, 1))
    return rule.allocate(counted(rule, pool, history, lanes), testing.draw(pool, 1, range(lanes)), items, rollouts)


def test_items_that_are_alike_get_the_same_number():
    np.testing.assert_array_equal(allocated([(4, 8), (3, 6), (9, 18)], [0, 1, 2], 8), [[8, 8, 8]])


def test_rollouts_stand_as_the_deviations():
    # p = 1/2 and 1/10: .5 to .3, of 16: 10 and 6.
    np.testing.assert_array_equal(allocated([(4, 8), (0, 8)], [0, 1], 8), [[10, 6]])
    np.testing.assert_array_equal(allocated([(4, 8), (0, 8)], [1, 0], 8), [[6, 10]])


def test_what_does_not_divide_goes_to_the_largest_remainders():
    # .5, .5 and .3 of 24 rollouts: 9.23, 9.23 and 5.54.
    np.testing.assert_array_equal(allocated([(4, 8), (4, 8), (0, 8)], [0, 1, 2], 8), [[9, 9, 6]])


def test_an_item_gets_at_least_two_and_at_most_four_times_the_average():
    sure = (100_000, 100_000)  # deviation .003
    counts = allocated([(4, 8), *[sure] * 7], np.arange(8), 8)[0]
    assert counts.sum() == 64
    assert counts[0] == 32
    assert counts[1:].min() >= 2
    counts = allocated([*[(4, 8)] * 7, sure], np.arange(8), 8)[0]
    assert counts.sum() == 64
    assert counts[7] == 2
    assert set(counts[:7].tolist()) == {8, 9}


@settings(deadline=None, max_examples=100)
@given(
    history=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), min_size=1, max_size=20),
    rollouts=st.integers(2, 16),
)
def test_the_budget_is_spent_exactly_within_bounds_and_in_order_of_the_deviations(history, rollouts):
    history = [(min(k, n), n) for k, n in history]
    counts = allocated(history, np.arange(len(history)), rollouts)[0]
    assert counts.dtype == np.int64
    assert counts.sum() == len(history) * rollouts
    assert counts.min() >= 2
    assert counts.max() <= 4 * rollouts
    spread = deviation(*zip(*history, strict=True)).round(9)
    order = np.argsort(spread, kind="stable")
    for less, more in itertools.pairwise(order):
        if spread[less] < spread[more]:
            assert counts[less] <= counts[more]
        else:
            assert abs(counts[less] - counts[more]) <= 1


def test_two_rollouts_on_average_leave_no_choice():
    np.testing.assert_array_equal(allocated([(4, 8), (0, 8), (8, 8)], [0, 1, 2], 2), [[2, 2, 2]])


def test_single_rollouts_are_one_each_on_average():
    counts = allocated([(4, 8), (0, 8), (8, 8)], [0, 1, 2], 1)
    assert counts is None or (counts.sum() == 3 and counts.min() >= 0)


def test_lanes_allocate_by_their_own_history():
    rule, pool = CurES(), pool_of(2)
    rewards = np.array([[[1, 0] * 4, [0] * 8], [[0] * 8, [1, 0] * 4]], np.float32)
    told_ = testing.feedback(pool, [[0, 1], [0, 1]], rewards, 1, [0, 1])
    state = rule.update(rule.init(pool, 2), told_)
    counts = rule.allocate(state, testing.draw(pool, 1, [0, 1]), np.array([[0, 1], [0, 1]]), 8)
    np.testing.assert_array_equal(counts, [[10, 6], [6, 10]])


# --- rollouts by the raw share: beside ZexuSun/CurES, stage_0_init_difficulty_sample_size.py, init_sample_size

# There, with gradients of one size for right and wrong answers, sigma^2 = a b^2 + a^2 b = a b, a = right / all and
# b = 1 - a; the budget is shared out in proportion to sigma.


@pytest.mark.parametrize(
    ("allocate_by", "expected"),
    [("share", [0] * 4 + [16] * 4), ("posterior", [7] * 4 + [9] * 4)],
)
def test_four_items_always_solved_and_four_solved_by_half_worked_by_hand(allocate_by, expected):
    # share: 64 x .5 / 2 = 16. posterior: p = 5/6 and 1/2, sigma .373 and .5: 64 x .373 / 3.49 = 6.83, and 9.17.
    history = [(4, 4)] * 4 + [(2, 4)] * 4
    np.testing.assert_array_equal(allocated(history, np.arange(8), 8, allocate_by=allocate_by), [expected])


def test_shares_that_differ_worked_by_hand():
    # 0/4, 1/4, 2/4 and 3/4: sigma 0, .4330, .5, .4330, of 32: 0, 10.14, 11.71, 10.14.
    history = [(0, 4), (1, 4), (2, 4), (3, 4)]
    np.testing.assert_array_equal(allocated(history, np.arange(4), 8, allocate_by="share"), [[0, 10, 12, 10]])


def test_what_mixed_items_cannot_take_goes_to_the_others_alike():
    # One mixed item of eight may have 4 x 8 = 32 of 64; the other 32 are shared by seven: 5 or 4 each.
    counts = allocated([(2, 4)] + [(4, 4)] * 7, np.arange(8), 8, allocate_by="share")[0]
    assert counts[0] == 32
    assert sorted(counts[1:].tolist()) == [4, 4, 4, 5, 5, 5, 5]
    np.testing.assert_array_equal(allocated([(4, 4), (0, 4)], [0, 1], 8, allocate_by="share"), [[8, 8]])


def test_an_item_not_tried_yet_counts_as_solved_by_half():
    rule, pool = CurES(allocate_by="share"), pool_of(3)
    state = counted(rule, pool, [(2, 4), (4, 4)])
    counts = rule.allocate(state, testing.draw(pool, 1), np.array([[0, 1, 2]]), 8)
    np.testing.assert_array_equal(counts, [[12, 0, 12]])


def test_the_weights_are_by_the_posterior_in_both():
    pool, history = pool_of(3), [(4, 4), (2, 4), (0, 4)]
    one, other = (CurES(allocate_by=by) for by in ("posterior", "share"))
    np.testing.assert_array_equal(logs(one, counted(one, pool, history), pool),
                                  logs(other, counted(other, pool, history), pool))  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    history=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=20),
    rollouts=st.integers(2, 16),
)
def test_by_the_share_the_budget_is_spent_exactly_and_items_without_spread_come_last(history, rollouts):
    history = [(min(k, n), n) for k, n in history]
    counts = allocated(history, np.arange(len(history)), rollouts, allocate_by="share")[0]
    assert counts.sum() == len(history) * rollouts
    assert counts.min() >= 0
    assert counts.max() <= 4 * rollouts
    mixed = np.array([0 < k < n for k, n in history])
    if 4 * mixed.sum() >= len(history):
        assert counts[~mixed].sum() == 0
    elif mixed.any():
        assert (counts[mixed] == 4 * rollouts).all()


def test_without_adaptive_rollouts_all_items_get_the_same():
    assert allocated([(4, 8), (0, 8)], [0, 1], 8, adaptive=False) is None


@pytest.mark.parametrize(("field", "value"), [("tau", 0.0), ("tau", -1.0), ("tau", np.nan), ("reversion", 1.5)])
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        CurES(**{field: value})


def test_an_unknown_rate_is_refused():
    with pytest.raises(InputError, match=r"^allocate_by: must be one of posterior, share, got 'raw'"):
        CurES(allocate_by="raw")
