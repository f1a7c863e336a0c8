"""Bandits over arms: SEC (arXiv 2505.14970) and DUMP (arXiv 2504.09710), by hand and against plain Python."""

import math
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import workbench as wb
from workbench.controllers.rules.dump import DUMP
from workbench.controllers.rules.sec import SEC
from workbench.errors import InputError
from workbench.testing import draw, feedback

HALF = (1, 1, 0, 0)  # 4 rollouts, p = 1/2: every |A| is 1 after division by the group's std
QUARTER = (1, 0, 0, 0)  # p = 1/4: mean |A| = 2 sqrt(3/16) = 0.8660
ALL, NONE = (1, 1, 1, 1), (0, 0, 0, 0)  # silent: |A| = 0
ROOT = math.sqrt(3) / 2
EACH = 10  # items per arm

groups_of_four = st.lists(st.sampled_from([0, 1]), min_size=4, max_size=4)


def level_pool(arms=3, each=EACH):
    """Arm k holds the positions k each .. (k + 1) each - 1."""
    return wb.Pool(
        difficulty=np.repeat(np.linspace(0, 100, arms), each),
        level=np.repeat(np.arange(arms), each),
        category=np.repeat([f"c{k}" for k in range(arms)], each),
    )


def answer(rule, state, pool, *groups, step=1):
    """The state after a batch of (arm, rewards) groups, each of another item."""
    items = [arm * EACH + i % EACH for i, (arm, _) in enumerate(groups)]
    return rule.update(state, feedback(pool, items, [list(rewards) for _, rewards in groups], step))


def gaps(rule, state, pool, temperature):
    """Each arm's score above that of the last arm, read back from the shares of a softmax (K,)."""
    logs = np.log(rule.shares(state, draw(pool))[0])
    return temperature * (logs - logs[-1])


def drawn_arms(rule, state, pool, lanes, step=0):
    """(R,) arm of the one item that each lane draws from the same state."""
    many = type(state)(*(np.repeat(part, lanes, axis=0) for part in state))
    items, _ = rule.select(many, draw(pool, step, np.arange(lanes)), 1)
    return pool.arms(rule.by, rule.bins).of_item[items[:, 0]]


# --- SEC


def test_sec_two_batches_worked_by_hand():
    pool, rule = level_pool(), SEC(by="level", lr=0.5, tau=0.2)
    state = rule.init(pool, 1)
    np.testing.assert_allclose(rule.shares(state, draw(pool)), [[1 / 3, 1 / 3, 1 / 3]])
    # Arm 0: a half-right group and a silent one, r = (1 + 0) / 2. Arm 1: r = 0.866. Arm 2: nothing.
    state = answer(rule, state, pool, (0, HALF), (0, ALL), (1, QUARTER))
    q = [0.25, 0.5 * ROOT, 0.0]
    weight = np.exp(np.array(q) / 0.2)
    np.testing.assert_allclose(rule.shares(state, draw(pool))[0], weight / weight.sum(), rtol=1e-6)
    # Arm 0 alone: Q_0 = 0.25 + 0.5 (0.866 - 0.25) = 0.558; the others stay.
    state = answer(rule, state, pool, (0, QUARTER), step=2)
    np.testing.assert_allclose(gaps(rule, state, pool, 0.2), [0.25 + 0.5 * (ROOT - 0.25), 0.5 * ROOT, 0], atol=1e-6)


@pytest.mark.parametrize(("advantage", "value"), [("grpo", ROOT), ("mean", 0.375)])
def test_sec_rewards_an_arm_by_its_absolute_advantage_with_or_without_the_std(advantage, value):
    # p = 1/4: the centred rewards are 3/4 and three times 1/4, 0.375 in the mean.
    pool, rule = level_pool(), SEC(by="level", lr=1.0, tau=1.0, advantage=advantage)
    state = answer(rule, rule.init(pool, 1), pool, (0, QUARTER))
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0), [value, 0, 0], atol=1e-6)


def test_sec_takes_partial_credit_as_it_is():
    # 0, 1/2, 1, 1/2: mean 1/2, mean deviation 1/4, std sqrt(1/8): mean |A| = sqrt(1/2).
    pool, rule = level_pool(), SEC(by="level", lr=1.0, tau=1.0)
    state = answer(rule, rule.init(pool, 1), pool, (1, (0, 0.5, 1, 0.5)))
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0), [0, math.sqrt(0.5), 0], atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(size=st.integers(2, 12), data=st.data())
def test_sec_sees_two_root_p_one_minus_p_for_any_group_of_right_and_wrong(size, data):
    right = data.draw(st.integers(0, size))
    pool, rule = level_pool(), SEC(by="level", lr=1.0, tau=1.0)
    state = answer(rule, rule.init(pool, 1), pool, (0, [1] * right + [0] * (size - right)))
    p = right / size
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0)[0], 2 * math.sqrt(p * (1 - p)), atol=1e-6)


def test_sec_counts_only_the_rollouts_that_were_made():
    pool, rule = level_pool(), SEC(by="level", lr=1.0, tau=1.0)
    rewards = [[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]  # of which 2, 0 and 4 rollouts count
    state = rule.update(rule.init(pool, 1), feedback(pool, [0, 10, 20], rewards, counts=[2, 0, 4]))
    # Arm 0: one of two right, |A| = 1. Arm 1: no feedback. Arm 2: two of four.
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0), [0, -1, 0], atol=1e-6)


def test_sec_an_item_answered_twice_counts_twice():
    pool, rule = level_pool(), SEC(by="level", lr=1.0, tau=1.0)
    state = rule.update(rule.init(pool, 1), feedback(pool, [0, 0, 1], [HALF, HALF, ALL]))
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0)[0], 2 / 3, atol=1e-6)


def test_sec_a_high_start_tries_every_arm_before_it_comes_back_to_one():
    pool, rule = level_pool(), SEC(by="level", lr=1.0, tau=0.01, start=2.0)
    state, seen = rule.init(pool, 1), []
    for step in range(3):
        arm = int(np.argmax(rule.shares(state, draw(pool, step))[0]))
        seen.append(arm)
        state = answer(rule, state, pool, (arm, HALF), step=step + 1)
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("by", ["level", "category"])
def test_sec_draws_arms_as_often_as_their_shares_and_items_uniformly_inside(by):
    pool, rule = level_pool(), SEC(by=by, lr=0.5, tau=0.5)
    state = answer(rule, rule.init(pool, 1), pool, (0, HALF), (1, QUARTER), (2, NONE))
    share = rule.shares(state, draw(pool))[0]
    lanes = 6_000
    arms = drawn_arms(rule, state, pool, lanes)
    assert stats.chisquare(np.bincount(arms, minlength=3), share * lanes).pvalue > 1e-3
    many = type(state)(np.repeat(state[0], lanes, axis=0))
    items, _ = rule.select(many, draw(pool, 1, np.arange(lanes)), 1)
    expected = np.repeat(share / EACH, EACH) * lanes
    assert stats.chisquare(np.bincount(items[:, 0], minlength=30), expected).pvalue > 1e-3


def test_sec_gives_the_rest_to_other_arms_when_one_is_used_up():
    pool, rule = level_pool(), SEC(by="level", lr=1.0, tau=0.001)
    state = answer(rule, rule.init(pool, 1), pool, (1, HALF))  # all the weight on arm 1, of 10 items
    items, _ = rule.select(state, draw(pool), 15)
    assert len(set(items[0].tolist())) == 15
    assert set(range(10, 20)) <= set(items[0].tolist())


def test_sec_hyper_parameters_may_differ_between_lanes():
    pool = level_pool()
    together = SEC(by="level", lr=np.array([0.5, 1.0]), tau=np.array([0.2, 1.0]), start=np.array([0.0, 0.5]))
    items = np.array([[0, 10], [0, 10]])
    state = together.update(
        together.init(pool, 2), feedback(pool, items, np.tile([HALF, NONE], (2, 1, 1)), seed=[0, 1])
    )
    both = together.shares(state, draw(pool, seed=[0, 1]))
    for lane, rule in enumerate([SEC(by="level", lr=0.5, tau=0.2), SEC(by="level", lr=1.0, tau=1.0, start=0.5)]):
        alone = answer(rule, rule.init(pool, 1), pool, (0, HALF), (1, NONE))
        np.testing.assert_array_equal(both[lane], rule.shares(alone, draw(pool))[0])


def test_sec_difficulty_bins_need_no_column():
    pool = wb.Pool(difficulty=[0.0, 4.0, 55.0, 99.0, 100.0])
    rule = SEC(lr=1.0, tau=1.0)  # ten bins, of which three hold items: 0-10, 50-60, 90-100
    state = rule.update(rule.init(pool, 1), feedback(pool, [4], [HALF]))
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0), [-1, -1, 0], atol=1e-6)


# --- reversion: the starvation self-lock of marin-community/marin #8765


def times_drawn(rule, pool, steps=150, late=30):
    """How often arm 0 is drawn in a closed loop: it is silent for the first `late` steps and then teaches well."""
    controller = wb.Controller(rule, pool)
    arm_of, count = pool.arms(rule.by, rule.bins).of_item, []
    for step in range(steps):
        items = controller.next_batch(4)
        count.append(int((arm_of[items] == 0).sum()))
        waking = step >= late
        rewards = [HALF if arm_of[i] == 1 or (waking and arm_of[i] == 0) else NONE for i in items.tolist()]
        controller.observe(items, np.array(rewards, np.float32))
    return count


@pytest.mark.parametrize("start", [1.0, 2.0])
def test_trap_self_lock_an_arm_judged_useless_is_measured_again_with_reversion_only(start):
    pool = level_pool()
    locked = times_drawn(SEC(by="level", lr=0.5, tau=0.02, start=start), pool)
    free = times_drawn(SEC(by="level", lr=0.5, tau=0.02, start=start, reversion=0.05), pool)
    assert sum(locked[:10]) > 0  # the arm was tried at first
    assert sum(locked[30:]) == 0  # and never again, though it would teach now
    assert sum(free[30:]) > 20


def test_sec_reversion_takes_an_arm_without_feedback_its_share_of_the_way_back():
    pool, rule = level_pool(), SEC(by="level", lr=1.0, tau=1.0, start=0.8, reversion=0.25)
    state = answer(rule, rule.init(pool, 1), pool, (0, NONE), (1, HALF))
    # Q = 0, 1 and 0.8; then arm 0 has feedback again, and arm 1 goes from 1 to 0.95, then to 0.9125.
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0), [-0.8, 0.2, 0], atol=1e-6)
    state = answer(rule, state, pool, (0, NONE), step=2)
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0), [-0.8, 0.15, 0], atol=1e-6)
    state = answer(rule, state, pool, (0, NONE), step=3)
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0), [-0.8, 0.1125, 0], atol=1e-6)
    state = answer(rule, state, pool, (1, NONE), step=4)  # arm 0 is on its way: 0 + 0.25 * 0.8
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0), [-0.6, -0.8, 0], atol=1e-6)


# --- DUMP: score = L + weight sqrt(2 ln(N + 1) / (n + 1)), L the mean of the last |A| of the arm, n its rollouts


def bonus(total, own):
    return math.sqrt(2 * math.log(total + 1) / (own + 1))


def absolute_advantages(rewards):
    """|A| of each rollout of a group, by its population std."""
    mean = sum(rewards) / len(rewards)
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))
    return [abs(r - mean) / std if std > 0 else 0.0 for r in rewards]


def test_dump_starts_with_equal_shares():
    pool, rule = level_pool(4), DUMP(by="level")
    np.testing.assert_allclose(rule.shares(rule.init(pool, 1), draw(pool)), np.full((1, 4), 0.25))


def test_dump_three_batches_worked_by_hand():
    pool, rule = level_pool(), DUMP(by="level")  # window 300, tau 0.1, weight 1
    state = answer(rule, rule.init(pool, 1), pool, (0, HALF), (0, ALL), (1, QUARTER))
    # Groups of four: N = 12, n = 8, 4, 0, L = 0.5, 0.866, 0
    score = np.array([0.5 + bonus(12, 8), ROOT + bonus(12, 4), bonus(12, 0)])
    np.testing.assert_allclose(gaps(rule, state, pool, 0.1), score - score[-1], atol=1e-5)
    state = answer(rule, state, pool, (2, HALF), (2, HALF), step=2)  # N = 20, n = 8, 4, 8
    score = np.array([0.5 + bonus(20, 8), ROOT + bonus(20, 4), 1 + bonus(20, 8)])
    weight = np.exp(score / 0.1)
    np.testing.assert_allclose(rule.shares(state, draw(pool))[0], weight / weight.sum(), rtol=1e-5)
    state = answer(rule, state, pool, (2, NONE), step=3)  # N = 24, L_2 = 2/3
    score = np.array([0.5 + bonus(24, 8), ROOT + bonus(24, 4), 2 / 3 + bonus(24, 12)])
    np.testing.assert_allclose(gaps(rule, state, pool, 0.1), score - score[-1], atol=1e-5)


def test_dump_the_window_forgets_the_oldest_and_the_counts_do_not():
    pool, rule = level_pool(2), DUMP(by="level", window=12, tau=1.0)
    state = rule.init(pool, 1)
    left = [1, 1, 1, 2 / 3, 1 / 3, 0, 0]  # mean of the last twelve |A| of arm 0, three groups
    for step, mean in enumerate(left):
        state = answer(rule, state, pool, (0, HALF if step < 3 else ALL), (1, NONE), step=step + 1)
        np.testing.assert_allclose(gaps(rule, state, pool, 1.0)[0], mean, atol=1e-5)
    state = answer(rule, state, pool, (0, NONE), step=8)  # n = 32 and 28 of N = 60
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0)[0], bonus(60, 32) - bonus(60, 28), atol=1e-5)


@pytest.mark.parametrize(
    ("batch", "mean"),
    [
        ([HALF, ALL, NONE], 0.0),
        ([ALL, NONE, HALF], 4 / 6),
        ([HALF, ALL], 2 / 6),
        ([HALF] * 5, 1.0),
        ([NONE, QUARTER, (0, 0, 0, 1)], (2 / math.sqrt(3) + 3 / math.sqrt(3) + math.sqrt(3)) / 6),
    ],
)
def test_dump_a_batch_that_overfills_the_window_leaves_its_last_rollouts(batch, mean):
    # Six places, groups of four. |A| of a single success of four is sqrt(3), of each failure 1 / sqrt(3).
    pool, rule = level_pool(2), DUMP(by="level", window=6, tau=1.0, weight=0.0)
    state = answer(rule, rule.init(pool, 1), pool, *((0, group) for group in batch), (1, NONE))
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0)[0], mean, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 2), groups_of_four), min_size=1, max_size=6), min_size=1, max_size=8
    ),
    window=st.integers(1, 20),
    weight=st.floats(0, 2),
    tau=st.floats(0.05, 1),
)
def test_dump_agrees_with_a_deque_per_arm(batches, window, weight, tau):
    pool, rule = level_pool(), DUMP(by="level", window=window, weight=weight, tau=tau)
    state, recent, count = rule.init(pool, 1), [deque(maxlen=window) for _ in range(3)], [0, 0, 0]
    for step, batch in enumerate(batches):
        state = answer(rule, state, pool, *batch, step=step + 1)
        for arm, rewards in batch:
            recent[arm].extend(absolute_advantages(rewards))
            count[arm] += len(rewards)
        score = np.array(
            [sum(r) / max(len(r), 1) + weight * bonus(sum(count), n) for r, n in zip(recent, count, strict=True)]
        )
        expected = np.exp((score - score.max()) / tau)
        np.testing.assert_allclose(rule.shares(state, draw(pool))[0], expected / expected.sum(), atol=1e-4)


def test_dump_mean_advantage_leaves_out_the_std():
    pool, rule = level_pool(2), DUMP(by="level", tau=1.0, weight=0.0, advantage="mean")
    state = answer(rule, rule.init(pool, 1), pool, (0, QUARTER), (1, NONE))
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0)[0], 0.375, atol=1e-5)


def test_dump_an_arm_that_is_left_alone_gains_on_the_others():
    pool, rule = level_pool(), DUMP(by="level")
    state, shares = answer(rule, rule.init(pool, 1), pool, (0, HALF), (1, HALF), (2, HALF)), []
    for step in range(2, 12):
        state = answer(rule, state, pool, (0, HALF), (1, HALF), step=step)
        shares.append(rule.shares(state, draw(pool))[0, 2])
    assert (np.diff(shares) > 0).all()
    assert shares[-1] > 0.5


def test_dump_only_rollouts_that_were_made_are_samples():
    pool, rule = level_pool(), DUMP(by="level", tau=1.0)
    state = rule.update(
        rule.init(pool, 1), feedback(pool, [0, 10, 20], [HALF, NONE, [1, 0, 0, 0]], counts=[4, 0, 2])
    )
    # N = 6: arm 0 has four rollouts and arm 2 two, all with |A| = 1; arm 1 has none.
    score = np.array([1 + bonus(6, 4), bonus(6, 0), 1 + bonus(6, 2)])
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0), score - score[-1], atol=1e-5)


def test_trap_dump_learns_from_training_groups():
    # The released code feeds the arms from validation. Here what a controller observes moves them at once.
    pool = level_pool()
    controller = wb.Controller(DUMP(by="level", weight=0.0), pool)
    for _ in range(12):
        items = controller.next_batch(6)
        controller.observe(items, np.array([HALF if i // EACH == 2 else ALL for i in items.tolist()], np.float32))
    share = controller.rule.shares(controller.state, draw(pool))[0]
    assert share[2] > 0.99


def test_trap_dump_a_right_answer_needs_no_reward_of_three():
    # Its code counts a success from reward 3 on; here rewards lie in [0, 1] and one right of two is a mixed group.
    pool, rule = level_pool(2), DUMP(by="level", tau=1.0, weight=0.0)
    state = rule.update(rule.init(pool, 1), feedback(pool, [0, 10], [[1, 0], [1, 1]]))
    np.testing.assert_allclose(gaps(rule, state, pool, 1.0)[0], 1.0, atol=1e-5)


def test_dump_reversion_takes_the_advantage_of_an_arm_without_feedback_back_to_nothing():
    pool = level_pool()
    for back, left in [(0.0, 1.0), (1.0, 0.0)]:
        rule = DUMP(by="level", tau=1.0, weight=0.0, reversion=back)
        state = answer(rule, rule.init(pool, 1), pool, (0, HALF), (1, QUARTER))
        state = answer(rule, state, pool, (1, QUARTER), step=2)
        np.testing.assert_allclose(gaps(rule, state, pool, 1.0), [left, ROOT, 0], atol=1e-5)


def test_dump_draws_arms_as_often_as_their_shares():
    pool, rule = level_pool(), DUMP(by="level", tau=0.5)
    state = answer(rule, rule.init(pool, 1), pool, (0, HALF), (1, QUARTER), (2, NONE))
    arms, share = drawn_arms(rule, state, pool, 6_000), rule.shares(state, draw(pool))[0]
    assert stats.chisquare(np.bincount(arms, minlength=3), share * 6_000).pvalue > 1e-3


def test_dump_hyper_parameters_may_differ_between_lanes():
    pool = level_pool()
    together = DUMP(by="level", tau=np.array([0.1, 1.0]), weight=np.array([1.0, 0.25]))
    given_back = feedback(pool, [[0, 10], [0, 10]], np.tile([HALF, QUARTER], (2, 1, 1)), seed=[0, 1])
    both = together.shares(together.update(together.init(pool, 2), given_back), draw(pool, seed=[0, 1]))
    for lane, rule in enumerate([DUMP(by="level"), DUMP(by="level", tau=1.0, weight=0.25)]):
        alone = answer(rule, rule.init(pool, 1), pool, (0, HALF), (1, QUARTER))
        np.testing.assert_array_equal(both[lane], rule.shares(alone, draw(pool))[0])


# --- both


@pytest.mark.parametrize("rule", [SEC, DUMP])
def test_an_arm_column_that_the_pool_lacks_is_refused(rule):
    with pytest.raises(InputError, match="category"):
        wb.Controller(rule(by="category"), wb.Pool(difficulty=[10.0, 20.0]))


@pytest.mark.parametrize("rule", [SEC, DUMP])
def test_the_state_that_was_given_stays_as_it_was(rule):
    pool, rule = level_pool(), rule(by="level", reversion=0.5)
    state = answer(rule, rule.init(pool, 1), pool, (0, HALF))
    before = [np.copy(part) for part in state]
    answer(rule, state, pool, (1, HALF), step=2)
    for part, old in zip(state, before, strict=True):
        np.testing.assert_array_equal(part, old)


@pytest.mark.parametrize(
    ("rule", "field", "value"),
    [
        (SEC, "lr", -0.1),
        (SEC, "lr", 1.1),
        (SEC, "tau", 0.0),
        (SEC, "start", -1.0),
        (SEC, "advantage", "gae"),
        (SEC, "by", "topic"),
        (SEC, "bins", 0),
        (SEC, "reversion", 1.5),
        (DUMP, "window", 0),
        (DUMP, "window", 2.5),
        (DUMP, "tau", 0.0),
        (DUMP, "tau", math.nan),
        (DUMP, "weight", -1.0),
        (DUMP, "advantage", "gae"),
        (DUMP, "reversion", -0.5),
    ],
)
def test_a_hyper_parameter_out_of_its_range_is_refused_with_its_domain_and_value(rule, field, value):
    with pytest.raises(InputError) as caught:
        rule(**{field: value})
    assert str(caught.value).startswith(f"{field}: must be ")
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(("rule", "field"), [(SEC, "lr"), (SEC, "tau"), (DUMP, "tau"), (DUMP, "weight")])
def test_a_hyper_parameter_of_another_number_of_lanes_is_refused(rule, field):
    with pytest.raises(InputError, match=field):
        rule(by="level", **{field: np.array([0.5, 0.5, 0.5])}).init(level_pool(), 2)
