"""RLVE's level adapter (Zeng et al. 2025, arXiv 2511.07317): uniform over the last levels, one up once mastered."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import workbench as wb
from workbench.controllers.rules.rlve import RLVE
from workbench.errors import InputError
from workbench.testing import draw, feedback

EACH = 20


def level_pool(levels=6):
    """Level k holds the positions 20 k .. 20 k + 19."""
    return wb.Pool(
        difficulty=np.repeat(np.linspace(0, 100, levels), EACH),
        level=np.repeat(np.arange(levels), EACH),
        category=np.repeat([f"c{k}" for k in range(levels)], EACH),
    )


def answer(rule, state, pool, groups, step=1):
    """The state after a batch of (level, right of 4 rollouts) groups."""
    items = [level * EACH + i % EACH for i, (level, _) in enumerate(groups)]
    return rule.update(state, feedback(pool, items, [[1] * right + [0] * (4 - right) for _, right in groups], step))


def shares(rule, state, pool, step=0):
    return rule.shares(state, draw(pool, step))[0]


def top(rule, state, pool):
    """The highest level that is drawn."""
    return int(np.flatnonzero(shares(rule, state, pool))[-1])


def uniform_over(levels, count=6):
    return np.isin(np.arange(count), levels) / len(levels)


def test_five_checks_worked_by_hand():
    pool, rule = level_pool(), RLVE(by="level", width=2, tau=0.75, least=3)
    state = rule.init(pool, 1)
    trace = [
        # groups of the batch as (level, right of 4), then the levels drawn from
        ([(0, 4), (0, 4)], [0]),  # two prompts: too few to check
        ([(0, 1)], [0, 1]),  # three prompts, 9 of 12 right = 0.75: up
        ([(0, 4)] * 8, [0, 1]),  # prompts below the top do not count
        ([(1, 4), (1, 2), (1, 2)], [0, 1]),  # 8 of 12: stays, counters start afresh
        ([(1, 4), (0, 0), (1, 4)], [0, 1]),  # two prompts since
        ([(1, 3)], [1, 2]),  # 11 of 12: up, and level 0 leaves the window
        ([(2, 4)] * 20, [2, 3]),  # one level per check, however many prompts
    ]
    assert shares(rule, state, pool).tolist() == [1, 0, 0, 0, 0, 0]
    for step, (groups, levels) in enumerate(trace, 1):
        state = answer(rule, state, pool, groups, step)
        np.testing.assert_allclose(shares(rule, state, pool, step), uniform_over(levels))


def test_the_published_defaults():
    rule = RLVE()
    assert (rule.start, rule.width, rule.tau, rule.least) == (0, 4, 0.9, 8)
    pool, rule = level_pool(), RLVE(by="level")
    state = rule.init(pool, 1)
    for level in range(5):
        np.testing.assert_allclose(shares(rule, state, pool), uniform_over(range(max(level - 3, 0), level + 1)))
        state = answer(rule, state, pool, [(level, 4)] * 7)
        assert top(rule, state, pool) == level
        state = answer(rule, state, pool, [(level, 1)])  # 29 of 32 right: 0.906
        assert top(rule, state, pool) == level + 1


def test_accuracy_at_the_threshold_is_enough_and_just_below_it_is_not():
    pool, rule = level_pool(), RLVE(by="level", tau=0.75, least=2)
    for right, level in [(3, 1), (2, 0)]:
        assert top(rule, answer(rule, rule.init(pool, 1), pool, [(0, 3), (0, right)]), pool) == level


def test_the_level_is_never_lowered():
    pool, rule = level_pool(), RLVE(by="level", least=1)
    state = answer(rule, rule.init(pool, 1), pool, [(0, 4)])
    for step in range(2, 30):
        state = answer(rule, state, pool, [(1, 0), (0, 0)], step)
    assert top(rule, state, pool) == 1


def test_a_failed_check_forgets_its_prompts():
    # 2 of 4 right fail the check; without a fresh start the next 4 of 4 would be 6 of 8 = 0.75 and fail too.
    pool, rule = level_pool(), RLVE(by="level", tau=0.9, least=1)
    state = answer(rule, rule.init(pool, 1), pool, [(0, 2)])
    assert top(rule, state, pool) == 0
    assert top(rule, answer(rule, state, pool, [(0, 4)], 2), pool) == 1


def test_the_hardest_level_is_the_end():
    pool, rule = level_pool(2), RLVE(by="level", least=1)
    state = rule.init(pool, 1)
    for step in range(1, 5):
        state = answer(rule, state, pool, [(min(step - 1, 1), 4)], step)
    np.testing.assert_allclose(shares(rule, state, pool), [0.5, 0.5])


@pytest.mark.parametrize(("start", "levels"), [(0, [0]), (2, [0, 1, 2]), (4, [2, 3, 4])])
def test_it_begins_with_the_window_under_its_start(start, levels):
    pool, rule = level_pool(), RLVE(by="level", start=start, width=3)
    np.testing.assert_allclose(shares(rule, rule.init(pool, 1), pool), uniform_over(levels))


def test_levels_count_alike_however_many_items_they_hold():
    pool = wb.Pool(difficulty=np.zeros(100), level=[0] * 90 + [1] * 10)
    rule = RLVE(by="level", start=1)
    np.testing.assert_allclose(rule.shares(rule.init(pool, 1), draw(pool))[0], [0.5, 0.5])
    items, _ = rule.select(rule.init(pool, 4_000), draw(pool, 0, np.arange(4_000)), 1)
    assert stats.binomtest(int((items >= 90).sum()), 4_000, 0.5).pvalue > 1e-3


def test_a_level_is_uniform_inside():
    pool, lanes = level_pool(), 6_000
    rule = RLVE(by="level", start=1)
    items, _ = rule.select(rule.init(pool, lanes), draw(pool, 0, np.arange(lanes)), 1)
    assert items.max() < 2 * EACH
    assert stats.chisquare(np.bincount(items[:, 0], minlength=2 * EACH)).pvalue > 1e-3


def test_prompts_without_rollouts_do_not_count_and_groups_may_differ_in_size():
    pool, rule = level_pool(), RLVE(by="level", tau=0.9, least=2)
    rewards = [[1, 1, 1, 1], [0, 0, 0, 0]]
    state = rule.update(rule.init(pool, 1), feedback(pool, [0, 1], rewards, counts=[4, 0]))
    assert top(rule, state, pool) == 0  # one prompt of two
    assert top(rule, answer(rule, state, pool, [(0, 4)], 2), pool) == 1


def test_partial_credit_counts_as_it_is():
    pool, rule = level_pool(), RLVE(by="level", tau=0.6, least=1)
    for credit, level in [(0.65, 1), (0.55, 0)]:
        state = rule.update(rule.init(pool, 1), feedback(pool, [0], [[credit] * 4]))
        assert top(rule, state, pool) == level


@settings(deadline=None, max_examples=60)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=8), min_size=1, max_size=12
    ),
    width=st.integers(1, 5),
    tau=st.sampled_from([0.3, 0.5, 0.75, 0.9]),
    least=st.integers(1, 6),
)
def test_it_agrees_with_a_plain_loop(batches, width, tau, least):
    pool, rule = level_pool(), RLVE(by="level", width=width, tau=tau, least=least)
    state, level, right, prompts = rule.init(pool, 1), 0, 0, 0
    for step, below in enumerate(batches, 1):
        groups = [(max(level - down, 0), hits) for down, hits in below]
        state = answer(rule, state, pool, groups, step)
        at_top = [hits for k, hits in groups if k == level]
        right, prompts = right + sum(at_top), prompts + len(at_top)
        if prompts >= least:
            level += right / (4 * prompts) >= tau and level < 5
            right = prompts = 0
        np.testing.assert_allclose(
            shares(rule, state, pool, step), uniform_over(range(max(level - width + 1, 0), level + 1))
        )


def test_levels_are_sorted_by_value_and_difficulty_bins_serve_as_levels():
    pool = wb.Pool(difficulty=[95.0, 5.0, 50.0], level=[7, 1, 3])
    for rule in (RLVE(by="level", least=1, width=1), RLVE(least=1, width=1)):
        controller, seen = wb.Controller(rule, pool), []
        for _ in range(4):
            items = controller.next_batch(1)
            seen += items.tolist()
            controller.observe(items, np.ones((1, 4)))
        assert seen == [1, 2, 0, 0]


def test_the_threshold_may_differ_between_lanes():
    pool, rule = level_pool(), RLVE(by="level", tau=np.array([0.5, 0.9]), least=1, width=1)
    state = rule.update(rule.init(pool, 2), feedback(pool, [[0], [0]], np.tile([1, 1, 1, 0], (2, 1, 1)), seed=[0, 1]))
    np.testing.assert_allclose(rule.shares(state, draw(pool, 1, [0, 1])), [uniform_over([1]), uniform_over([0])])


def test_the_state_that_was_given_stays_as_it_was():
    pool, rule = level_pool(), RLVE(by="level", least=1)
    state = rule.init(pool, 1)
    answer(rule, state, pool, [(0, 4)])
    assert top(rule, state, pool) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("start", -1), ("width", 0), ("tau", -0.1), ("tau", 1.1), ("tau", math.nan), ("least", 0), ("reversion", 2.0)],
)
def test_a_hyper_parameter_out_of_its_range_is_refused_with_its_domain_and_value(field, value):
    with pytest.raises(InputError) as caught:
        RLVE(**{field: value})
    assert str(caught.value).startswith(f"{field}: must be ")
    assert str(value) in str(caught.value)


def test_levels_need_an_order():
    with pytest.raises(InputError, match="by"):
        wb.Controller(RLVE(by="category"), level_pool())


def test_a_start_above_the_hardest_level_is_no_trouble_or_is_refused():
    rule = RLVE(by="level", start=10, width=2)
    try:
        state = rule.init(level_pool(3), 1)
    except InputError as error:
        assert "start" in str(error)  # noqa: PT017
    else:
        np.testing.assert_allclose(rule.shares(state, draw(level_pool(3))).sum(), 1)
