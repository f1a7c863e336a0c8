"""Dropping mastered items: which are dropped, when they come back, and uniform epochs over the rest."""

import numpy as np
import pytest
from scipy import stats
from steps import pool_of, select, told

import workbench as wb
from workbench.controllers.rules.mastered import DropMastered
from workbench.errors import InputError


def batches(rule, state, pool, count, steps, start=1):
    """(R, steps * count) of `steps` batches in a row, without feedback."""
    drawn = []
    for step in range(start, start + steps):
        items, state = select(rule, state, pool, count, step)
        drawn.append(items)
    return np.concatenate(drawn, axis=1), state


def half(successes, of=10):
    return [1.0] * successes + [0.0] * (of - successes)


# --- what is dropped


def test_trap_polaris_what_is_solved_is_really_dropped():
    # The released script that drops easy data loops over a name that is never defined.
    rule, pool = DropMastered(), pool_of(8)
    state = told(rule, rule.init(pool, 5), pool, [2, 5], [half(10), half(10)])
    drawn, _ = batches(rule, state, pool, 3, 10)
    assert set(drawn.ravel().tolist()) == {0, 1, 3, 4, 6, 7}


@pytest.mark.parametrize(("successes", "dropped"), [(8, False), (9, True), (10, True)])
def test_the_threshold_itself_is_mastered(successes, dropped):
    rule, pool = DropMastered(threshold=0.9), pool_of(6)
    state = told(rule, rule.init(pool, 1), pool, [1], [half(successes)])
    drawn, _ = batches(rule, state, pool, 2, 6)
    assert (1 not in drawn) == dropped


def test_partial_rewards_are_held_against_the_threshold_by_their_mean():
    rule, pool = DropMastered(threshold=0.75), pool_of(6)
    state = told(rule, rule.init(pool, 1), pool, [0, 1], [[0.5, 1.0, 1.0, 0.75], [0.5, 0.5, 1.0, 0.75]])
    drawn, _ = batches(rule, state, pool, 2, 6)
    assert 0 not in drawn
    assert 1 in drawn


def test_groups_of_other_sizes_are_judged_by_their_own_rollouts():
    rule, pool = DropMastered(), pool_of(6)
    rewards = [half(2, 8), half(4, 8), half(0, 8)]
    state = told(rule, rule.init(pool, 1), pool, [0, 1, 2], rewards, counts=[2, 8, 0])
    drawn, _ = batches(rule, state, pool, 2, 9)
    assert set(drawn[0].tolist()) == {1, 2, 3, 4, 5}


def test_single_rollouts_are_judged_too():
    rule, pool = DropMastered(), pool_of(6)
    state = told(rule, rule.init(pool, 1), pool, [0, 1], [[1.0], [0.0]])
    drawn, _ = batches(rule, state, pool, 2, 6)
    assert 0 not in drawn
    assert 1 in drawn


def test_the_last_group_decides_by_default_and_all_rollouts_with_history():
    # 0 of 10, then 10 of 10: the last group is perfect, the history is half.
    pool = pool_of(6)
    for memory_of, dropped in [("group", True), ("history", False)]:
        rule = DropMastered(memory_of=memory_of)
        state = told(rule, rule.init(pool, 1), pool, [3], [half(0)])
        state = told(rule, state, pool, [3], [half(10)], step=2)
        drawn, _ = batches(rule, state, pool, 2, 6, start=2)
        assert (3 not in drawn) == dropped
    # 8 of 10, then 10 of 10: 18 of 20 is mastered by history.
    rule = DropMastered(memory_of="history")
    state = told(rule, rule.init(pool, 1), pool, [3], [half(8)])
    assert 3 in batches(rule, state, pool, 2, 6)[0]
    state = told(rule, state, pool, [3], [half(10)], step=2)
    assert 3 not in batches(rule, state, pool, 2, 6, start=2)[0]


# --- by stages: beside ChenxinAn-fdu/POLARIS, 9e4fda2, drop_easy_data.py: mean over the visits of a stage, > 0.9


def after_stage(visits, rule=None, sizes=None, pool_size=6):
    """Whether item 1 is left out after a stage of four steps in which its groups had these successes of 20."""
    rule, pool = rule or DropMastered(0.9, memory_of="stage", strict=True, stage=4), pool_of(pool_size)
    state = rule.init(pool, 1)
    for step, successes in enumerate(visits, 1):
        count = None if sizes is None else [sizes[step - 1]]
        state = told(rule, state, pool, [1], [half(successes, 20)], counts=count, step=step)
    drawn, _ = batches(rule, state, pool, 2, 6, start=4)
    return 1 not in drawn


@pytest.mark.parametrize(
    ("visits", "dropped"),
    [
        ([18], False),  # .9 itself
        ([19], True),
        ([20, 16], False),  # mean .9
        ([20, 17], True),  # .925
        ([20, 20, 16], True),  # .933, though the last group is .8
        ([10, 20], False),  # .75, though the last group is perfect
        ([20, 20, 20, 12], False),  # .9
        ([20, 20, 20, 13], True),  # .9125
    ],
)
def test_polaris_drops_by_the_mean_over_the_visits_of_a_stage_strictly_above(visits, dropped):
    assert after_stage(visits) == dropped


def test_each_visit_of_a_stage_counts_once_whatever_its_size():
    # 20 of 20, then 1 of 2: mean .75 over visits, 21 of 22 over rollouts.
    rewards = [20, 1]
    assert not after_stage(rewards, sizes=[20, 2])
    assert after_stage(rewards, DropMastered(0.9, memory_of="history"), sizes=[20, 2])


def test_nothing_is_dropped_before_a_stage_ends_and_the_next_begins_with_no_memory():
    rule, pool = DropMastered(0.9, memory_of="stage", strict=True, stage=4), pool_of(4)
    state = told(rule, rule.init(pool, 1), pool, [1, 2], [half(10), half(5)])
    drawn, state = batches(rule, state, pool, 2, 3)  # steps 1 to 3: one epoch and a half
    assert 1 in drawn
    _, state = batches(rule, state, pool, 2, 1, start=4)
    state = told(rule, state, pool, [2], [half(10)], step=5)  # by its history, 15 of 20
    assert rule.metrics(state)["mastered"][0] == 0.25
    _, state = batches(rule, state, pool, 2, 4, start=5)
    assert np.flatnonzero(state.dropped[0]).tolist() == [1, 2]  # item 1 was not met, and stays away


@pytest.mark.parametrize("strict", [False, True])
def test_strict_is_whether_the_threshold_itself_is_left_in(strict):
    for memory_of in ("group", "history"):
        rule, pool = DropMastered(0.9, memory_of=memory_of, strict=strict), pool_of(6)
        state = told(rule, rule.init(pool, 1), pool, [1, 2], [half(9), half(10)])
        assert np.flatnonzero(state.dropped[0]).tolist() == ([2] if strict else [1, 2])


def test_an_item_mastered_in_the_middle_of_an_epoch_is_dropped_from_the_rest_of_it():
    rule, pool, lanes = DropMastered(), pool_of(12), 30
    items, state = select(rule, rule.init(pool, lanes), pool, 3, 0)
    waiting = np.array([sorted(set(range(12)) - set(row))[:4] for row in items.tolist()])
    state = told(rule, state, pool, waiting, np.ones((lanes, 4, 8)))
    drawn, _ = batches(rule, state, pool, 3, 8)
    for lane in range(lanes):
        assert not set(waiting[lane].tolist()) & set(drawn[lane].tolist())


# --- uniform epochs over the rest


def test_without_feedback_epochs_hold_every_item_once():
    rule, pool, lanes = DropMastered(), pool_of(12), 300
    drawn, _ = batches(rule, rule.init(pool, lanes), pool, 3, 8, start=0)
    for epoch in (drawn[:, :12], drawn[:, 12:]):
        assert all(sorted(row) == list(range(12)) for row in epoch.tolist())
    assert stats.chisquare(np.bincount(drawn[:, :3].ravel(), minlength=12)).pvalue > 1e-3


def test_the_rest_is_drawn_uniformly():
    rule, pool, lanes = DropMastered(), pool_of(9), 3_000
    state = told(rule, rule.init(pool, lanes), pool, [0, 4, 8], [half(10)] * 3)
    items, _ = select(rule, state, pool, 2, 1)
    counts = np.bincount(items.ravel(), minlength=9)
    left = [1, 2, 3, 5, 6, 7]
    assert counts[[0, 4, 8]].sum() == 0
    assert stats.chi2.sf(stats.chisquare(counts[left]).statistic * 5 / 4, 5) > 1e-3


def test_over_whole_epochs_the_rest_comes_up_equally_often():
    rule, pool = DropMastered(), pool_of(9)
    state = told(rule, rule.init(pool, 1), pool, [0, 4, 8], [half(10)] * 3)
    _, state = batches(rule, state, pool, 3, 3)  # the epoch that was begun may still end
    drawn, _ = batches(rule, state, pool, 3, 20, start=4)
    counts = np.bincount(drawn[0], minlength=9)
    assert counts[[0, 4, 8]].sum() == 0
    assert np.ptp(counts[[1, 2, 3, 5, 6, 7]]) <= 2


# --- coming back


def test_what_is_dropped_stays_away_unless_asked_otherwise():
    rule, pool = DropMastered(back=0), pool_of(6)
    state = told(rule, rule.init(pool, 1), pool, [1], [half(10)])
    assert 1 not in batches(rule, state, pool, 2, 300)[0]


def test_an_item_comes_back_after_so_many_steps():
    rule, pool = DropMastered(back=6), pool_of(4)
    state = rule.init(pool, 20)
    for step in range(3):  # steps 0, 1 and 2 without news
        _, state = select(rule, state, pool, 2, step)
    state = told(rule, state, pool, [1], [half(10)], step=3)
    away, state = batches(rule, state, pool, 2, 5, start=3)  # steps 3 to 7
    assert not (away == 1).any()
    later, _ = batches(rule, state, pool, 2, 6, start=8)  # by step 9 at the latest it is back, within an epoch or two
    assert (later == 1).any(axis=1).all()


def test_an_item_that_is_failed_again_is_no_longer_mastered():
    # Late feedback on a dropped item counts: its last group is now below the threshold.
    rule, pool = DropMastered(), pool_of(6)
    state = told(rule, rule.init(pool, 3), pool, [1], [half(10)])
    state = told(rule, state, pool, [1], [half(3)], step=2)
    assert (batches(rule, state, pool, 2, 9, start=2)[0] == 1).any(axis=1).all()


def test_where_too_few_remain_the_longest_dropped_come_back():
    rule, pool = DropMastered(), pool_of(5)
    state = rule.init(pool, 1)
    for step, item in enumerate([2, 0, 4, 1]):
        state = told(rule, state, pool, [item], [half(10)], step=step + 1)
    # one item, 3, is left: a batch of two brings back 2, one of three also 0.
    assert set(select(rule, state, pool, 2, 5)[0][0].tolist()) == {3, 2}
    assert set(select(rule, state, pool, 3, 5)[0][0].tolist()) == {3, 2, 0}


def test_a_larger_reserve_can_be_asked_for():
    # least = 2: with batches of two at least four items are in play.
    rule, pool = DropMastered(least=2.0), pool_of(6)
    state = rule.init(pool, 1)
    for step, item in enumerate([2, 0, 4, 1]):
        state = told(rule, state, pool, [item], [half(10)], step=step + 1)
    drawn, _ = batches(rule, state, pool, 2, 20, start=5)
    assert set(drawn[0].tolist()) == {3, 5, 2, 0}


def test_a_pool_that_is_all_mastered_still_gives_batches():
    rule, pool = DropMastered(), pool_of(6)
    state = told(rule, rule.init(pool, 4), pool, np.arange(6), [half(10)] * 6)
    for count in (1, 4, 6):
        select(rule, state, pool, count, 1)


def test_in_a_closed_loop_effort_moves_to_what_is_not_mastered():
    pool, successes = pool_of(60), np.repeat([8, 3], 30)
    controller = wb.Controller(DropMastered(), pool, seed=0)
    counts = np.zeros(60)
    for _ in range(60):
        items = controller.next_batch(6)
        counts[items] += 1
        controller.observe(items, (np.arange(8) < successes[items][:, None]).astype(np.float32))
    assert counts[:30].max() == 1  # in the first epoch
    assert counts[30:].min() >= 10  # 330 places are left for 30 items


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", -0.1),
        ("threshold", 1.1),
        ("memory_of", "batch"),
        ("back", -1),
        ("back", 1.5),
        ("strict", 1),
        ("stage", 0),
        ("least", -1.0),
    ],
)
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        DropMastered(**{field: value})
