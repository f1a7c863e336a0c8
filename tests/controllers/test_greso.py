"""GRESO: skip probabilities from streaks of silent groups, their tuning, and epochs in random order."""

import numpy as np
import pytest
from scipy import stats
from steps import pool_of, select, told

import workbench as wb
from workbench.controllers.rules.greso import GRESO
from workbench.errors import InputError

EASY, HARD, MIXED = [1.0] * 4, [0.0] * 4, [1.0, 0.0, 1.0, 0.0]


def chance_of_the_first(rule, history, lanes=8_000):
    """How often item 0 is the first of the next epoch of two items, of which the other is never skipped.

    It comes first in the order with 1/2, and then is kept with its keep probability q: the share is q / 2, and if it
    is skipped the other one is drawn.
    """
    pool = pool_of(2)
    state = rule.init(pool, lanes)
    for step, rewards in enumerate(history):
        state = told(rule, state, pool, [0, 1], [rewards, MIXED], step=step + 1)
    items, _ = select(rule, state, pool, 1, len(history))
    return int((items[:, 0] == 0).sum()), lanes


# --- skipping


@pytest.mark.parametrize(
    ("history", "keep"),
    [
        ([MIXED], 1.0),
        ([EASY], 0.5),
        ([HARD], 0.5),
        ([EASY, EASY], 0.25),
        ([HARD, HARD, HARD], 0.125),
        ([EASY, MIXED], 1.0),  # the streak is broken
        ([EASY, EASY, MIXED, EASY], 0.5),
        ([EASY, HARD], 0.5),  # a streak is of one kind
        ([EASY] * 12, 0.01),  # .5^12 < .01: the least keep probability
        ([[0.1] * 4, [0.1] * 4], 0.25),  # silent, if not for nothing: the released reward pays .1 for the format
        ([[0.1] * 4, [0.0] * 4], 0.25),
        ([[0.98, 1.0, 0.98, 1.0]], 1.0),  # these differ, and so there is something to learn
    ],
    ids=["mixed", "easy", "hard", "2 easy", "3 hard", "broken", "broken, easy", "turned", "12 easy", "2 format",
         "format, hard", "nearly right"],
)  # fmt: skip
def test_an_item_is_kept_with_p_to_the_power_of_its_silent_streak(history, keep):
    hits, lanes = chance_of_the_first(GRESO(), history)
    assert stats.binomtest(hits, lanes, keep / 2).pvalue > 1e-3


def test_easy_and_hard_items_have_probabilities_of_their_own():
    for history, keep in [([EASY, EASY], 0.81), ([HARD, HARD], 0.04)]:
        hits, lanes = chance_of_the_first(GRESO(easy=0.9, hard=0.2), history)
        assert stats.binomtest(hits, lanes, keep / 2).pvalue > 1e-3


def test_the_least_keep_probability_can_be_set():
    hits, lanes = chance_of_the_first(GRESO(least=0.3), [HARD] * 6)
    assert stats.binomtest(hits, lanes, 0.15).pvalue > 1e-3


def test_a_group_without_rollouts_neither_lengthens_nor_breaks_a_streak():
    pool, rule, lanes = pool_of(2), GRESO(), 8_000
    state = told(rule, rule.init(pool, lanes), pool, [0, 1], [HARD, MIXED])
    state = told(rule, state, pool, [0, 1], [[0.0] * 4, MIXED], counts=[0, 4], step=2)
    items, _ = select(rule, state, pool, 1, 2)
    assert stats.binomtest(int((items == 0).sum()), lanes, 0.25).pvalue > 1e-3


def test_single_rollouts_say_nothing_of_silence():
    # A group of one has nobody to agree with: it neither makes a streak nor breaks one.
    pool, rule, lanes = pool_of(2), GRESO(), 6_000
    state = rule.init(pool, lanes)
    for step in range(3):
        state = told(rule, state, pool, [0], [[1.0]], step=step + 1)
    items, _ = select(rule, state, pool, 1, 3)
    assert stats.binomtest(int((items == 0).sum()), lanes, 0.5).pvalue > 1e-3
    state = told(rule, rule.init(pool, lanes), pool, [0], [HARD])
    items, _ = select(rule, told(rule, state, pool, [0], [[1.0]], step=2), pool, 1, 3)
    assert stats.binomtest(int((items == 0).sum()), lanes, 0.25).pvalue > 1e-3


# --- epochs


def test_without_history_an_epoch_holds_every_item_once_in_random_order():
    rule, pool, lanes = GRESO(), pool_of(12), 400
    state, drawn = rule.init(pool, lanes), []
    for step in range(8):
        items, state = select(rule, state, pool, 3, step)
        drawn.append(items)
    for epoch in (drawn[:4], drawn[4:]):
        assert all(sorted(lane) == list(range(12)) for lane in np.concatenate(epoch, axis=1).tolist())
    assert stats.chisquare(np.bincount(drawn[0].ravel(), minlength=12)).pvalue > 1e-3
    assert not np.array_equal(np.concatenate(drawn[:4], axis=1)[0], np.concatenate(drawn[4:], axis=1)[0])


def test_a_skipped_item_waits_for_the_next_epoch():
    # Of 400 items half have a streak of one: an epoch of single draws meets about 200 + 100 different ones.
    rule, pool, lanes = GRESO(), pool_of(400), 20
    state = told(rule, rule.init(pool, lanes), pool, np.arange(200), np.tile(HARD, (200, 1)))
    drawn = []
    for step in range(13):  # 260 < what an epoch keeps
        items, state = select(rule, state, pool, 20, step)
        drawn.append(items)
    epoch = np.concatenate(drawn, axis=1)
    assert all(len(set(lane)) == 260 for lane in epoch.tolist())
    streak = (epoch < 200).sum()
    assert stats.binomtest(int(streak), epoch.size, 1 / 3).pvalue > 1e-3


def test_a_batch_is_filled_even_where_nearly_everything_is_skipped():
    rule, pool = GRESO(), pool_of(20)
    state = rule.init(pool, 5)
    for step in range(30):
        state = told(rule, state, pool, np.arange(20), np.tile(EASY, (20, 1)), step=step + 1)
    for count in (1, 7, 20):
        select(rule, state, pool, count, 31)


def test_no_item_starves_while_the_least_keep_probability_is_positive():
    rule, pool = GRESO(least=0.05), pool_of(30)
    state, seen = rule.init(pool, 1), set()
    for step in range(20):
        state = told(rule, state, pool, np.arange(20), np.tile(HARD, (20, 1)), step=step + 1)
    for step in range(20, 420):
        items, state = select(rule, state, pool, 5, step)
        seen |= set(items[0].tolist())
    assert seen == set(range(30))


def test_an_item_that_is_solved_at_last_comes_back_every_epoch():
    rule, pool, lanes = GRESO(), pool_of(10), 10
    state = rule.init(pool, lanes)
    for step in range(10):
        state = told(rule, state, pool, [0], [HARD], step=step + 1)
    state = told(rule, state, pool, [0], [MIXED], step=11)
    drawn = []
    for step in range(11, 16):
        items, state = select(rule, state, pool, 2, step)
        drawn.append(items)
    assert all(0 in lane for lane in np.concatenate(drawn, axis=1).tolist())


# --- tuning


def probabilities(rule, state):
    """(easy, hard) of the first lane, as the rule logs them."""
    numbers = rule.metrics(state)
    return float(numbers["p_easy"][0]), float(numbers["p_hard"][0])


def second_epoch(rule, pool):
    """A state in which the second epoch has begun, with nothing silent so far in any feedback."""
    state = rule.init(pool, 1)
    for step in range(len(pool) // 4 + 1):
        _, state = select(rule, state, pool, 4, step)
    return state


def test_the_first_epoch_tunes_nothing():
    rule, pool = GRESO(), pool_of(12)
    state = rule.init(pool, 1)
    for step in range(3):  # of the epoch's batches
        _, state = select(rule, state, pool, 4, step)
        assert probabilities(rule, state) == pytest.approx((0.5, 0.5))
        state = told(rule, state, pool, [0, 1, 2, 3], [EASY, HARD, HARD, HARD], step=step + 1)


# Target .25: a third of it, 1/12, may be easy, two thirds, 1/6, hard. At or above the target p falls, else it rises.
@pytest.mark.parametrize(
    ("groups", "easy", "hard"),
    [
        ([MIXED] * 12, 0.51, 0.51),
        ([EASY] * 6 + [MIXED] * 6, 0.49, 0.51),
        ([HARD] * 6 + [MIXED] * 6, 0.51, 0.49),
        ([EASY] * 2 + [HARD] * 3 + [MIXED] * 7, 0.49, 0.49),
        ([HARD] * 1 + [MIXED] * 11, 0.51, 0.51),  # 1/12 hard is below 1/6
        ([EASY] * 2 + [MIXED] * 10, 0.49, 0.51),  # 2/12 easy is above 1/12
    ],
)
def test_each_probability_moves_a_step_to_hold_its_share_of_silent_groups(groups, easy, hard):
    rule, pool = GRESO(), pool_of(12)
    state = second_epoch(rule, pool)
    _, state = select(rule, told(rule, state, pool, np.arange(12), groups, step=4), pool, 2, 4)
    assert probabilities(rule, state) == pytest.approx((easy, hard))


def test_the_share_of_silent_groups_is_over_all_feedback_of_a_step():
    # A refill: 3 of 6 hard in the first answer, none of 18 in the second: 3 / 24 is below 1/6.
    rule, pool = GRESO(), pool_of(24)
    state = second_epoch(rule, pool)
    state = told(rule, state, pool, np.arange(6), [HARD] * 3 + [MIXED] * 3, step=7)
    state = told(rule, state, pool, np.arange(6, 24), [MIXED] * 18, step=7)
    _, state = select(rule, state, pool, 2, 7)
    assert probabilities(rule, state) == pytest.approx((0.51, 0.51))


def test_without_news_nothing_moves():
    rule, pool = GRESO(), pool_of(12)
    state = second_epoch(rule, pool)
    for step in range(4, 8):
        _, state = select(rule, state, pool, 2, step)
    assert probabilities(rule, state) == pytest.approx((0.5, 0.5))


def test_the_probabilities_stay_within_5_and_95_percent():
    rule, pool = GRESO(step=0.1), pool_of(12)
    low = high = second_epoch(rule, pool)
    for step in range(5, 25):
        _, low = select(rule, told(rule, low, pool, np.arange(12), [EASY] * 6 + [HARD] * 6, step=step), pool, 2, step)
        _, high = select(rule, told(rule, high, pool, np.arange(12), [MIXED] * 12, step=step), pool, 2, step)
    assert probabilities(rule, low) == pytest.approx((0.05, 0.05))
    assert probabilities(rule, high) == pytest.approx((0.95, 0.95))


def test_in_a_closed_loop_easy_and_hard_items_are_rolled_out_less_than_mixed_ones():
    pool = pool_of(300)
    rates = np.repeat([0.0, 0.5, 1.0], 100)
    controller, rng = wb.Controller(GRESO(), pool, seed=0), np.random.default_rng(0)
    counts = np.zeros(300)
    for _ in range(200):
        items = controller.next_batch(15)
        counts[items] += 1
        controller.observe(items, (rng.random((15, 8)) < rates[items][:, None]).astype(np.float32))
    wrong, mixed, right = counts.reshape(3, 100).mean(axis=1)
    assert mixed > 2 * wrong
    assert mixed > 2 * right
    assert counts.min() > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("easy", -0.1),
        ("easy", 1.1),
        ("hard", 1.1),
        ("hard", np.nan),
        ("target", -0.1),
        ("target", 1.1),
        ("step", -0.01),
        ("least", -0.1),
        ("least", 1.1),
    ],
)
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        GRESO(**{field: value})
