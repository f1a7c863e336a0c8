"""Teacher-student curriculum learning (Matiisen et al. 2017, arXiv 1707.00183): four estimators, two policies.

An arm earns the change of its score, the mean reward of its groups in a batch. The estimates are read back from the
shares of a Boltzmann policy: Q_k - Q_j = tau ln(P_k / P_j).
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import workbench as wb
from workbench.controllers.rules.tscl import TSCL
from workbench.errors import InputError
from workbench.testing import draw, feedback

ESTIMATORS = ("online", "naive", "window", "sampling", "mean")
EACH = 10


def level_pool(arms=3):
    """Arm k holds the positions 10 k .. 10 k + 9."""
    return wb.Pool(difficulty=np.repeat(np.linspace(0, 100, arms), EACH), level=np.repeat(np.arange(arms), EACH))


def answer(rule, state, pool, scores, step):
    """The state after a batch in which each arm of `scores` (arm -> score) gave one group of two rollouts.

    A score is the mean of a group: 2 s is split into rewards of at most 1.
    """
    rewards = [[min(2 * s, 1.0), max(2 * s - 1.0, 0.0)] for s in scores.values()]
    items = [arm * EACH for arm in scores]
    lanes = len(state[0])
    batch = np.tile(items, (lanes, 1)), np.tile(rewards, (lanes, 1, 1))
    return rule.update(state, feedback(pool, *batch, step, seed=np.arange(lanes)))


def teach(rule, pool, *history, lanes=1):
    """The state after batches of scores, steps from 1."""
    state = rule.init(pool, lanes)
    for step, scores in enumerate(history, 1):
        state = answer(rule, state, pool, scores, step)
    return state


def estimates(rule, state, pool, step=0):
    """(K,) Q of each arm above that of the last arm."""
    logs = np.log(rule.shares(state, draw(pool, step))[0])
    return rule.tau * (logs - logs[-1])


def drawn(rule, state, pool, step=0):
    """How often each arm is drawn, one item per lane."""
    lanes = len(state[0])
    items, _ = rule.select(state, draw(pool, step, np.arange(lanes)), 1)
    return np.bincount(items[:, 0] // EACH, minlength=len(pool) // EACH)


def by_softmax(estimator, **hyper):
    return TSCL(by="level", estimator=estimator, policy="boltzmann", **({"tau": 1.0} | hyper))


# --- estimators by hand. All arms score 0 first, so that a first score means no change by any reading.


def test_online_five_batches_worked_by_hand():
    pool, rule = level_pool(), by_softmax("online", lr=0.5)
    state = teach(rule, pool, {0: 0, 1: 0, 2: 0})
    np.testing.assert_allclose(estimates(rule, state, pool), [0, 0, 0], atol=1e-6)
    trace = [
        # scores of the batch, then Q: Q += (change - Q) / 2 where there was a score
        ({0: 1.0, 1: 0.5, 2: 0.0}, [0.5, 0.25, 0.0]),
        ({0: 0.5, 2: 0.0}, [0.0, 0.25, 0.0]),  # 0.5 + (-0.5 - 0.5) / 2; arm 1 rests
        ({1: 0.5, 2: 0.0}, [0.0, 0.125, 0.0]),  # no change since its last score, two batches ago
        ({0: 0.75, 1: 0.0, 2: 0.0}, [0.125, -0.1875, 0.0]),  # changes +0.25 and -0.5
    ]
    for step, (scores, q) in enumerate(trace, 2):
        state = answer(rule, state, pool, scores, step)
        np.testing.assert_allclose(estimates(rule, state, pool), q, atol=1e-6)


def test_the_score_of_an_arm_is_the_mean_over_its_groups():
    pool, rule = level_pool(2), by_softmax("online", lr=1.0)
    state = teach(rule, pool, {0: 0, 1: 0})
    state = rule.update(state, feedback(pool, [0, 1, 2, 10], [[1, 1], [1, 0], [0, 0], [0, 0]], 2))
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 0.5, atol=1e-6)


def test_groups_without_rollouts_are_no_score():
    pool, rule = level_pool(2), by_softmax("online", lr=1.0)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 0.5, 1: 0.0})
    state = rule.update(state, feedback(pool, [0, 1, 10], [[0, 0], [0, 0], [0, 0]], 3, counts=[0, 0, 2]))
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 0.5, atol=1e-6)  # as if arm 0 had not been there


def test_naive_keeps_its_policy_for_a_period_and_then_fits_a_slope():
    pool, rule = level_pool(2), by_softmax("naive", lr=0.5, period=3)
    # Three tries with scores 0, 1/2, 1: slope 1/2, Q = 1/4. Then 1, 1, 1: slope 0, Q = 1/8.
    scores = [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    after = [0.0, 0.0, 0.25, 0.25, 0.25, 0.125]
    state = rule.init(pool, 1)
    for step, (score, q) in enumerate(zip(scores, after, strict=True), 1):
        state = answer(rule, state, pool, {0: score, 1: 0.0}, step)
        np.testing.assert_allclose(estimates(rule, state, pool)[0], q, atol=1e-6)


def test_naive_fits_by_least_squares():
    pool, rule = level_pool(2), by_softmax("naive", lr=1.0, period=4)
    scores = [0.0, 0.75, 0.25, 1.0]
    state = teach(rule, pool, *({0: s, 1: 0.0} for s in scores))
    np.testing.assert_allclose(estimates(rule, state, pool)[0], np.polyfit(range(4), scores, 1)[0], atol=1e-6)


def test_naive_starts_each_period_with_no_memory_of_the_scores_before():
    pool, rule = level_pool(2), by_softmax("naive", lr=1.0, period=2)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 1, 1: 0}, {0: 0.5, 1: 0}, {0: 0.25, 1: 0})
    np.testing.assert_allclose(estimates(rule, state, pool)[0], -0.25, atol=1e-6)


def test_naive_an_arm_that_rests_within_a_period_has_the_slope_of_its_own_tries_in_it():
    pool, rule = level_pool(2), by_softmax("naive", lr=1.0, period=3)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 1, 1: 0}, {0: 1, 1: 0}, {0: 0.5, 1: 0}, {0: 0.25, 1: 0}, {1: 0})
    np.testing.assert_allclose(estimates(rule, state, pool)[0], -0.25, atol=1e-6)


def test_window_is_the_slope_of_score_over_time():
    pool, rule = level_pool(2), by_softmax("window")
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 0.5, 1: 0}, {1: 0}, {0: 0.5, 1: 0})
    # Arm 0 at steps 1, 2 and 4 with 0, 1/2, 1/2: sum of (t - 7/3) y is 2/3, of (t - 7/3)^2 is 14/3.
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 1 / 7, atol=1e-5)


def test_window_forgets_what_is_older():
    pool, rule = level_pool(2), by_softmax("window", window=2)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 1, 1: 0})
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 1.0, atol=1e-5)
    state = answer(rule, state, pool, {0: 0.75, 1: 0}, 3)
    np.testing.assert_allclose(estimates(rule, state, pool)[0], -0.25, atol=1e-5)
    for step in (4, 5, 6):
        state = answer(rule, state, pool, {1: 0}, step)
    state = answer(rule, state, pool, {0: 0.25, 1: 0}, 7)  # a fall by 1/2 over four steps
    np.testing.assert_allclose(estimates(rule, state, pool)[0], -0.125, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    window=st.integers(2, 6),
    scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=2, max_size=12),
    waits=st.lists(st.integers(1, 4), min_size=12, max_size=12),
)
def test_window_agrees_with_a_least_squares_line(window, scores, waits):
    pool, rule = level_pool(2), by_softmax("window", window=window)
    state, times, step = rule.init(pool, 1), [], 0
    for score, wait in zip(scores, waits, strict=False):
        for _ in range(wait - 1):  # arm 0 rests
            step += 1
            state = answer(rule, state, pool, {1: 0.0}, step)
        step += 1
        state = answer(rule, state, pool, {0: score, 1: 0.0}, step)
        times.append(step)
    slope = np.polyfit(times[-window:], scores[-window:], 1)[0]
    np.testing.assert_allclose(estimates(rule, state, pool)[0], slope, atol=1e-4)


def test_window_far_into_a_run_is_as_exact_as_at_its_start():
    # Times near 10^6 need care: in float32 their squares have lost the last steps.
    pool, rule = level_pool(2), by_softmax("window", window=4)
    state, start = rule.init(pool, 1), 1_000_000
    for step, score in enumerate([0.0, 0.25, 0.5, 0.75]):
        state = answer(rule, state, pool, {0: score, 1: 0.0}, start + step)
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 0.25, atol=1e-4)


SAMPLED = [
    # Changes: arm 0 always +0.1; arm 1 +0.3 and 0 in turn; arm 2 none. The first batch leaves the window of 4.
    {0: 0.0, 1: 0.0, 2: 0.0},
    {0: 0.1, 1: 0.3, 2: 0.0},
    {0: 0.2, 1: 0.3, 2: 0.0},
    {0: 0.3, 1: 0.6, 2: 0.0},
    {0: 0.4, 1: 0.6, 2: 0.0},
]


def test_sampling_takes_the_arm_whose_remembered_change_drawn_at_random_is_largest():
    # Arm 1 draws 0.3 half of the time and wins, 0 half of the time and loses to arm 0.
    pool, lanes = level_pool(), 4_000
    rule = TSCL(by="level", estimator="sampling", epsilon=0.0, window=4)
    state = teach(rule, pool, *SAMPLED, lanes=lanes)
    share = rule.shares(state, draw(pool, 5, np.arange(lanes)))
    np.testing.assert_allclose(share.sum(axis=1), 1)
    np.testing.assert_allclose(share.mean(axis=0), [0.5, 0.5, 0], atol=0.03)
    count = drawn(rule, state, pool, 5)
    assert count[2] == 0
    assert stats.chisquare(count[:2]).pvalue > 1e-3


def test_sampling_draws_anew_at_every_step():
    pool = level_pool()
    rule = TSCL(by="level", estimator="sampling", epsilon=0.0, window=4)
    state = teach(rule, pool, *SAMPLED)
    first = [int(rule.select(state, draw(pool, step), 1)[0][0, 0]) // EACH for step in range(5, 405)]
    assert stats.chisquare(np.bincount(first, minlength=3)[:2]).pvalue > 1e-3
    pairs = np.zeros((2, 2))
    np.add.at(pairs, (first[:-1], first[1:]), 1)
    assert stats.chi2_contingency(pairs).pvalue > 1e-3  # no step tells of the next


def test_sampling_forgets_changes_that_are_older_than_its_window():
    pool = level_pool(2)
    rule = TSCL(by="level", estimator="sampling", epsilon=0.0, window=2)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 1, 1: 0.1}, {0: 1, 1: 0.2}, {0: 1, 1: 0.3}, lanes=200)
    assert drawn(rule, state, pool, 4).tolist() == [0, 200]  # the leap of arm 0 is forgotten


# --- absolute: forgetting counts as much as learning


@pytest.mark.parametrize(
    ("estimator", "hyper"),
    [
        ("online", {"lr": 1.0}),
        ("naive", {"lr": 1.0, "period": 2}),
        ("window", {"window": 2}),
        ("sampling", {"window": 2}),
        ("mean", {"window": 2}),
    ],
)
def test_absolute_comes_back_to_what_is_being_forgotten(estimator, hyper):
    # The last changes are -0.4 for arm 0 and +0.1 for arm 1; none for arm 2.
    pool = level_pool()
    history = [{0: 0, 1: 0, 2: 0}, {0: 0.8, 1: 0.1, 2: 0}, {0: 0.4, 1: 0.2, 2: 0}, {0: 0, 1: 0.3, 2: 0}]
    for absolute, best in [(False, 1), (True, 0)]:
        rule = TSCL(by="level", estimator=estimator, absolute=absolute, epsilon=0.0, **hyper)
        share = rule.shares(teach(rule, pool, *history), draw(pool, 4))[0]
        np.testing.assert_allclose(share, np.eye(3)[best])


def test_absolute_takes_the_size_of_the_estimate_not_of_each_change():
    # Changes +1/2 and -1/2 in turn at lr 1/2: Q = 1/4, -1/8, 3/16, ..., while the changes stay at 1/2 in size.
    pool, rule = level_pool(2), by_softmax("online", lr=0.5, absolute=True)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 0.5, 1: 0}, {0: 0, 1: 0})
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 0.125, atol=1e-6)


# --- policies


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.6, 1.0])
def test_egreedy_gives_all_but_epsilon_to_the_best_arm_and_epsilon_to_all_alike(epsilon):
    pool = level_pool()
    rule = TSCL(by="level", epsilon=epsilon)
    state = teach(rule, pool, {0: 0, 1: 0, 2: 0}, {0: 0.2, 1: 0.4, 2: 0.1})
    share = rule.shares(state, draw(pool, 2))[0]
    np.testing.assert_allclose(share, [epsilon / 3, 1 - epsilon + epsilon / 3, epsilon / 3], atol=1e-9)


def test_egreedy_draws_arms_as_often_as_its_shares_say():
    pool, lanes = level_pool(), 6_000
    rule = TSCL(by="level", epsilon=0.3)
    state = teach(rule, pool, {0: 0, 1: 0, 2: 0}, {0: 0.2, 1: 0.4, 2: 0.1}, lanes=lanes)
    assert stats.chisquare(drawn(rule, state, pool, 2), np.array([0.1, 0.8, 0.1]) * lanes).pvalue > 1e-3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_egreedy_breaks_ties_at_random(estimator):
    pool, lanes = level_pool(), 6_000
    rule = TSCL(by="level", estimator=estimator, epsilon=0.0)
    assert stats.chisquare(drawn(rule, rule.init(pool, lanes), pool)).pvalue > 1e-3


def test_egreedy_breaks_a_tie_between_the_best_only():
    pool, lanes = level_pool(), 2_000
    rule = TSCL(by="level", epsilon=0.0)
    state = teach(rule, pool, {0: 0, 1: 0, 2: 0}, {0: 0.5, 1: 0.5, 2: 0}, lanes=lanes)
    count = drawn(rule, state, pool, 2)
    assert count[2] == 0
    assert stats.chisquare(count[:2]).pvalue > 1e-3


def test_boltzmann_is_the_softmax_of_the_estimates():
    pool, rule = level_pool(), TSCL(by="level", policy="boltzmann", lr=0.5, tau=0.25)
    state = teach(rule, pool, {0: 0, 1: 0, 2: 0}, {0: 1.0, 1: 0.5, 2: 0})
    weight = np.exp(np.array([0.5, 0.25, 0.0]) / 0.25)
    np.testing.assert_allclose(rule.shares(state, draw(pool, 2))[0], weight / weight.sum(), rtol=1e-6)


def test_boltzmann_at_the_published_temperature_neither_overflows_nor_loses_the_best_arm():
    pool, rule = level_pool(), TSCL(by="level", policy="boltzmann", lr=1.0)
    assert rule.tau == 4e-4
    state = teach(rule, pool, {0: 0, 1: 0, 2: 0}, {0: 0.5, 1: 1.0, 2: 0}, {0: 0, 1: 0.5, 2: 0.5})
    np.testing.assert_allclose(rule.shares(state, draw(pool, 3))[0], [0, 0, 1], atol=1e-9)


def test_the_published_defaults():
    rule = TSCL()
    assert (rule.epsilon, rule.tau, rule.lr, rule.window, rule.absolute) == (0.1, 4e-4, 0.1, 10, False)


def test_the_released_default_is_thompson_sampling_and_ours_the_papers_first_algorithm():
    # tambetm/TSCL, ec41eea, addition_rnn_teacher.py: --teacher sampling --policy thompson --epsilon 0.1. Arms that
    # change by .1, .2 and 0 each time: the second is best whatever is drawn, .9 + .1 / 3.
    assert (TSCL().estimator, TSCL().policy) == ("online", "egreedy")
    pool, rule = level_pool(), TSCL(by="level", estimator="sampling")
    state = teach(rule, pool, {0: 0.1, 1: 0.2, 2: 0}, {0: 0.2, 1: 0.4, 2: 0}, {0: 0.3, 1: 0.6, 2: 0})
    np.testing.assert_allclose(rule.shares(state, draw(pool, 3))[0], [0.1 / 3, 0.9 + 0.1 / 3, 0.1 / 3], atol=1e-7)


def test_the_mean_of_the_remembered_changes_by_hand():
    # Changes of arm 0: 0, .5, -.25; of arm 1: .25, .25, 0; arm 2 has none yet: Q = 1. The last two: .125 and .125.
    pool, history = level_pool(), ({0: 0.0, 1: 0.25}, {0: 0.5, 1: 0.5}, {0: 0.25, 1: 0.5})
    for window, q in [(10, [0.25 / 3, 0.5 / 3]), (2, [0.125, 0.125])]:
        rule = by_softmax("mean", window=window)
        np.testing.assert_allclose(estimates(rule, teach(rule, pool, *history), pool)[:2], np.array(q) - 1, atol=1e-6)


# --- traps


@pytest.mark.parametrize("policy", ["egreedy", "boltzmann"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@settings(deadline=None, max_examples=15)
@given(
    batches=st.lists(
        st.dictionaries(st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=2),
        min_size=1,
        max_size=14,
    ),
    absolute=st.booleans(),
    reversion=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_trap_tscl_untouched_arms_are_not_nan(estimator, policy, batches, absolute, reversion):
    pool = level_pool(5)  # arm 4 is never touched
    rule = TSCL(
        by="level", estimator=estimator, policy=policy, absolute=absolute, reversion=reversion, period=3, window=3
    )
    state = rule.init(pool, 1)
    for step, scores in enumerate(batches, 1):
        state = answer(rule, state, pool, scores, step)
        share = rule.shares(state, draw(pool, step))
        assert np.isfinite(share).all()
        assert (share >= 0).all()
        np.testing.assert_allclose(share.sum(), 1)
        items, state = rule.select(state, draw(pool, step), 12)
        assert len(set(items[0].tolist())) == 12


def test_trap_tscl_a_change_is_since_the_last_score_of_the_arm_not_since_the_last_batch():
    # The released code loses the score of an arm that rests one batch: NaN, then a change of 0.
    pool, rule = level_pool(2), by_softmax("online", lr=1.0)
    state = teach(rule, pool, {0: 0, 1: 0}, {1: 0}, {1: 0}, {0: 0.5, 1: 0})
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 0.5, atol=1e-6)


def test_trap_tscl_an_arm_at_rest_keeps_its_estimate():
    # In the released code the 0 that stands for NaN pulls its Q towards 0.
    pool, rule = level_pool(2), by_softmax("online", lr=0.5)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 1, 1: 0}, {1: 0}, {1: 0}, {1: 0})
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 0.5, atol=1e-6)


# --- reversion


def test_reversion_takes_an_arm_at_rest_its_share_of_the_way_back():
    pool, rule = level_pool(2), by_softmax("online", lr=0.5, reversion=0.25)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 1, 1: 0}, {1: 0})
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 0.5 * 0.75, atol=1e-6)
    state = answer(rule, state, pool, {1: 0}, 4)
    np.testing.assert_allclose(estimates(rule, state, pool)[0], 0.5 * 0.75**2, atol=1e-6)


@pytest.mark.parametrize(("reversion", "comes_back"), [(0.0, False), (0.2, True)])
def test_trap_self_lock_a_greedy_teacher_comes_back_to_a_bad_arm_with_reversion_only(reversion, comes_back):
    # Arm 0 fell from 1 to 0: Q_0 = -0.25. Arm 1 swings between 0.4 and 0, its Q between 0.27 and -0.13: with no
    # reversion it stays above for ever.
    pool = level_pool(2)
    rule = TSCL(by="level", lr=0.5, epsilon=0.0, reversion=reversion)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 1, 1: 0}, {0: 0, 1: 0})
    chosen, score = [], 0.0
    for step in range(3, 40):
        items, state = rule.select(state, draw(pool, step), 1)
        arm = int(items[0, 0]) // EACH
        chosen.append(arm)
        if arm == 1:
            score = 0.4 - score
        state = answer(rule, state, pool, {arm: score if arm else 0.0}, step + 1)
    assert chosen[0] == 1
    assert (0 in chosen) is comes_back


# --- lanes and refusals


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_hyper_parameters_may_differ_between_lanes(estimator):
    pool, history = level_pool(2), [{0: 0, 1: 0}, {0: 1, 1: 0}, {0: 0.5, 1: 0.25}, {0: 0.75, 1: 0.5}]
    lr, tau = np.array([0.1, 0.5]), np.array([0.5, 1.0])
    shared = {"by": "level", "estimator": estimator, "policy": "boltzmann", "period": 2, "window": 3}
    together = TSCL(lr=lr, tau=tau, **shared)
    both = together.shares(teach(together, pool, *history, lanes=2), draw(pool, 4, [0, 1]))
    for lane in range(2):
        rule = TSCL(lr=float(lr[lane]), tau=float(tau[lane]), **shared)
        alone = rule.shares(teach(rule, pool, *history), draw(pool, 4, [lane]))
        np.testing.assert_array_equal(both[lane], alone[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("estimator", "median"),
        ("policy", "ucb"),
        ("lr", -0.1),
        ("lr", 1.5),
        ("window", 0),
        ("window", 2.5),
        ("epsilon", -0.1),
        ("epsilon", 1.1),
        ("tau", 0.0),
        ("tau", math.nan),
        ("period", 0),
        ("reversion", 2.0),
    ],
)
def test_a_hyper_parameter_out_of_its_range_is_refused_with_its_domain_and_value(field, value):
    with pytest.raises(InputError) as caught:
        TSCL(**{field: value})
    assert str(caught.value).startswith(f"{field}: must be ")
    assert str(value) in str(caught.value)
