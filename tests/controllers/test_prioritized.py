"""Prioritized sampling, P(i) proportional to 1 - s_i: hand-worked weights, frequencies, and items that come back."""

import itertools

import numpy as np
import pytest
from scipy import stats

import workbench as wb
from workbench import testing
from workbench.controllers.rules.prioritized import Prioritized
from workbench.errors import InputError

POOL = wb.Pool(difficulty=np.linspace(0, 100, 5))


def told(rule, state, items, rewards, counts=None, pool=POOL):
    return rule.update(state, testing.feedback(pool, items, rewards, counts=counts))


def shares(rule, state):
    weights = rule.weights(state, testing.draw(POOL))[0]
    return weights / weights.sum()


def test_items_not_seen_yet_are_all_alike():
    np.testing.assert_allclose(shares(Prioritized(), Prioritized().init(POOL, 1)), 0.2)


def test_the_weight_of_an_item_is_its_failure_rate_so_far():
    # s = 3/4, 0/2, 1/4 (over two groups), 1; the last is not seen.
    rule = Prioritized()
    state = told(rule, rule.init(POOL, 1), [0, 1, 2, 3], [[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]],
                 counts=[4, 2, 2, 4])  # fmt: skip
    state = told(rule, state, [2], [[0, 0]])
    np.testing.assert_allclose(rule.weights(state, testing.draw(POOL)), [[0.25, 1.0, 0.75, 0.0, 1.0]], rtol=1e-6)


def test_partial_rewards_count_by_their_sum():
    rule = Prioritized()
    state = told(rule, rule.init(POOL, 1), [0, 0], [[0.5, 0.25], [0.0, 0.25]])
    assert rule.weights(state, testing.draw(POOL))[0, 0] == pytest.approx(1 - 1 / 4)


def test_an_item_without_rollouts_in_this_feedback_stays_as_it_is():
    rule = Prioritized()
    state = told(rule, rule.init(POOL, 1), [0, 1], [[1, 0], [1, 1]])
    later = told(rule, state, [0, 1], [[0, 0], [0, 0]], counts=[0, 2])
    np.testing.assert_allclose(rule.weights(later, testing.draw(POOL))[0, :2], [0.5, 0.5])


def test_items_are_drawn_in_proportion_to_their_failure_rates():
    rule, lanes = Prioritized(), 12_000
    seeds = np.arange(lanes)
    rewards = np.tile([[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]], (lanes, 1, 1))
    items = np.tile([0, 1, 2, 3], (lanes, 1))
    state = rule.update(rule.init(POOL, lanes), testing.feedback(POOL, items, rewards, seed=seeds))
    drawn, _ = rule.select(state, testing.draw(POOL, seed=seeds), 1)
    weight = np.array([0.25, 1.0, 0.5, 0.0, 1.0])
    counts = np.bincount(drawn[:, 0], minlength=5)
    assert counts[3] == 0
    seen = weight > 0
    assert stats.chisquare(counts[seen], (weight / weight.sum())[seen] * lanes).pvalue > 1e-3


def test_solved_items_fill_a_batch_only_when_the_others_are_used_up():
    rule, lanes = Prioritized(), 3_000
    seeds = np.arange(lanes)
    solved = testing.feedback(POOL, np.tile([0, 1, 2], (lanes, 1)), np.ones((lanes, 3, 4)), seed=seeds)
    state = rule.update(rule.init(POOL, lanes), solved)
    drawn, _ = rule.select(state, testing.draw(POOL, seed=seeds), 4)
    counts = dict.fromkeys(itertools.combinations((0, 1, 2), 2), 0)
    for row in drawn.tolist():
        assert {3, 4} < set(row)
        counts[tuple(sorted(set(row) - {3, 4}))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_without_reversion_an_item_once_solved_locks_itself_out():
    rule = Prioritized()
    state = told(rule, rule.init(POOL, 1), [0], [[1, 1, 1, 1]])
    for _ in range(50):
        state = told(rule, state, [1], [[1, 0]])
    assert rule.weights(state, testing.draw(POOL))[0, 0] == 0.0


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_reversion_takes_the_rate_of_an_item_without_feedback_its_share_of_the_way_back_to_the_first_estimate(steps):
    # The first estimate is s = 0: after n steps without feedback s = 0.9^n of what it was.
    rule = Prioritized(reversion=0.1)
    state = told(rule, rule.init(POOL, 1), [0, 2], [[1, 1, 1, 1], [1, 0, 0, 1]])
    for _ in range(steps):
        state = told(rule, state, [1], [[1, 0]])
    weights = rule.weights(state, testing.draw(POOL))[0]
    assert weights[0] == pytest.approx(1 - 0.9**steps, abs=1e-5)
    assert weights[2] == pytest.approx(1 - 0.5 * 0.9**steps, abs=1e-5)
    assert weights[1] == pytest.approx(0.5, abs=1e-5)
    assert weights[3] == 1.0


@pytest.mark.parametrize(("field", "value"), [("reversion", -0.1), ("reversion", 1.1), ("floor", 2.0)])
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        Prioritized(**{field: value})
