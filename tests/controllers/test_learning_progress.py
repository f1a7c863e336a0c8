"""Learning progress (Kanitscheider et al. 2021, arXiv 2106.14876): by hand, and against a plain-Python reference.

fast and slow averages of an arm's success, reweighted towards the rare; the gap between them, standardised and
squashed, is what an arm is drawn by; an arm without any success gets nothing but its share of the uniform part.
"""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

import workbench as wb
from workbench.controllers.rules.progress import LearningProgress
from workbench.errors import InputError
from workbench.testing import draw, feedback

EACH = 10


def level_pool(arms=3):
    return wb.Pool(difficulty=np.repeat(np.linspace(0, 100, arms), EACH), level=np.repeat(np.arange(arms), EACH))


def answer(rule, state, pool, scores, step):
    """The state after a batch in which each arm of `scores` (arm -> success) gave one group of two rollouts."""
    rewards = [[min(2 * s, 1.0), max(2 * s - 1.0, 0.0)] for s in scores.values()]
    lanes = len(state[0])
    items, groups = np.tile([arm * EACH for arm in scores], (lanes, 1)), np.tile(rewards, (lanes, 1, 1))
    return rule.update(state, feedback(pool, items, groups, step, seed=np.arange(lanes)))


def teach(rule, pool, *history, lanes=1):
    state = rule.init(pool, lanes)
    for step, scores in enumerate(history, 1):
        state = answer(rule, state, pool, scores, step)
    return state


def reweighted(p, theta):
    return p * (1 - theta) / (p + theta * (1 - 2 * p)) if p > 0 else 0.0


def expected(history, arms, ema=0.1, theta=0.1, uniform=0.25):
    """Shares after batches of scores of which the first are all 0: any start of the averages is then the same."""
    fast, slow = [0.0] * arms, [0.0] * arms
    for scores in history:
        for arm, success in scores.items():
            fast[arm] += ema * (success - fast[arm])
            slow[arm] += ema * (fast[arm] - slow[arm])
    progress = [abs(reweighted(f, theta) - reweighted(s, theta)) for f, s in zip(fast, slow, strict=True)]
    alive = [k for k in range(arms) if fast[k] > 0] or list(range(arms))
    lp = np.array([progress[k] for k in alive])
    z = (lp - lp.mean()) / (lp.std() if lp.std() > 1e-12 else 1.0)
    weight = 1 / (1 + np.exp(-z))
    share = np.full(arms, uniform / arms)
    share[alive] += (1 - uniform) * weight / weight.sum()
    return share


def shares(rule, pool, *history):
    return rule.shares(teach(rule, pool, *history), draw(pool, len(history)))[0]


def test_before_any_feedback_all_arms_are_alike():
    pool, rule = level_pool(4), LearningProgress(by="level")
    np.testing.assert_allclose(rule.shares(rule.init(pool, 1), draw(pool))[0], np.full(4, 0.25))


def test_two_batches_worked_by_hand():
    # ema 1/2, theta 0.1. Arm 0: fast 1/2, slow 1/4, reweighted 0.9 and 0.75: progress 0.15.
    # Arm 1: fast 1/4, slow 1/8: 0.75 and 0.5625: progress 0.1875. z = -1 and 1.
    pool, rule = level_pool(2), LearningProgress(by="level", ema=0.5, uniform=0.0)
    got = shares(rule, pool, {0: 0, 1: 0}, {0: 1.0, 1: 0.5})
    low, high = 1 / (1 + math.e), 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(got, [low / (low + high), high / (low + high)], rtol=1e-5)


def test_the_uniform_part_is_mixed_in():
    # As above, and a quarter of the weight to both alike.
    pool, rule = level_pool(2), LearningProgress(by="level", ema=0.5)
    low = 1 / (1 + math.e)
    got = shares(rule, pool, {0: 0, 1: 0}, {0: 1.0, 1: 0.5})
    np.testing.assert_allclose(got, [0.75 * low + 0.125, 0.75 * (1 - low) + 0.125], rtol=1e-5)


def test_the_slow_average_follows_the_fast_one():
    # fast 1/2, 3/4, 7/8; slow 1/4, 1/2, 11/16: the gap of arm 0 narrows while arm 1 has only begun.
    pool, rule = level_pool(2), LearningProgress(by="level", ema=0.5, uniform=0.0)
    history = [{0: 0, 1: 0}, {0: 1, 1: 0}, {0: 1, 1: 0}, {0: 1, 1: 0.5}]
    np.testing.assert_allclose(shares(rule, pool, *history), expected(history, 2, ema=0.5, uniform=0.0), rtol=1e-5)
    assert abs(reweighted(7 / 8, 0.1) - reweighted(11 / 16, 0.1)) < 0.75 - 0.5625


@settings(deadline=None, max_examples=60)
@given(
    batches=st.lists(
        st.dictionaries(st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=4),
        min_size=1,
        max_size=15,
    ),
    ema=st.floats(0.05, 0.9),
    theta=st.floats(0.05, 0.5),
    uniform=st.floats(0, 1),
)
@example(batches=[{0: 0.5, 1: 0.5, 2: 0.5}] * 2, ema=0.05, theta=0.3359375, uniform=0.0)  # equal but for rounding
def test_it_agrees_with_the_reference(batches, ema, theta, uniform):
    pool, rule = level_pool(4), LearningProgress(by="level", ema=ema, theta=theta, uniform=uniform)
    history = [dict.fromkeys(range(4), 0.0), *batches]
    np.testing.assert_allclose(shares(rule, pool, *history), expected(history, 4, ema, theta, uniform), atol=2e-3)


def test_an_arm_without_any_success_gets_its_part_of_the_uniform_share_and_no_more():
    pool, rule = level_pool(4), LearningProgress(by="level", uniform=0.2)
    history = [dict.fromkeys(range(4), 0.0), {0: 1.0, 1: 0.5, 2: 0.0, 3: 0.0}]
    got = shares(rule, pool, *history)
    np.testing.assert_allclose(got[2:], [0.05, 0.05], atol=1e-9)
    np.testing.assert_allclose(got, expected(history, 4, uniform=0.2), atol=1e-6)


def test_where_no_arm_has_had_a_success_all_are_alike():
    pool, rule = level_pool(4), LearningProgress(by="level", uniform=0.0)
    np.testing.assert_allclose(shares(rule, pool, dict.fromkeys(range(4), 0.0)), np.full(4, 0.25))


def test_forgetting_is_progress_too():
    pool, rule = level_pool(2), LearningProgress(by="level", ema=0.3, uniform=0.0)
    steady = [{0: 0.0, 1: 0.0}, *([{0: 0.5, 1: 0.5}] * 40)]
    before, after = shares(rule, pool, *steady), shares(rule, pool, *steady, {0: 0.0, 1: 0.5})
    np.testing.assert_allclose(before, [0.5, 0.5], atol=1e-6)
    assert after[0] > 0.7


def test_an_arm_at_rest_keeps_its_averages():
    # The released online version counts an arm without episodes as failing.
    pool, rule = level_pool(2), LearningProgress(by="level", ema=0.5, uniform=0.0)
    begun = [{0: 0, 1: 0}, {0: 1, 1: 0.5}]
    still = shares(rule, pool, *begun, {1: 0.25})
    np.testing.assert_allclose(still, expected([*begun, {1: 0.25}], 2, ema=0.5, uniform=0.0), rtol=1e-5)


def test_success_is_the_mean_over_the_groups_of_the_arm_in_the_batch():
    pool, rule = level_pool(2), LearningProgress(by="level", ema=0.5, uniform=0.0)
    state = teach(rule, pool, {0: 0, 1: 0})
    groups = [[1, 1], [1, 1], [0.5, 0.5], [0, 0]]
    state = rule.update(state, feedback(pool, [0, 1, 10, 11], groups, 2))
    history = [{0: 0, 1: 0}, {0: 1.0, 1: 0.25}]
    np.testing.assert_allclose(
        rule.shares(state, draw(pool, 2))[0], expected(history, 2, ema=0.5, uniform=0.0), rtol=1e-5
    )


def test_groups_without_rollouts_tell_nothing():
    pool, rule = level_pool(2), LearningProgress(by="level", ema=0.5, uniform=0.0)
    state = teach(rule, pool, {0: 0, 1: 0}, {0: 1, 1: 0.5})
    partly = rule.update(state, feedback(pool, [0, 10], [[0, 0], [1, 0]], 3, counts=[0, 2]))
    alone = rule.update(state, feedback(pool, [10], [[1, 0]], 3))
    np.testing.assert_array_equal(rule.shares(partly, draw(pool, 3)), rule.shares(alone, draw(pool, 3)))


def test_arms_never_touched_do_no_harm():
    pool, rule = level_pool(4), LearningProgress(by="level")
    state = teach(rule, pool, {1: 0.5}, {1: 1.0})
    got = rule.shares(state, draw(pool, 2))[0]
    assert np.isfinite(got).all()
    assert got.min() >= 0.25 / 4 - 1e-9
    np.testing.assert_allclose(got.sum(), 1)


def test_arms_are_drawn_as_often_as_their_shares():
    pool, rule, lanes = level_pool(), LearningProgress(by="level", ema=0.5), 6_000
    state = teach(rule, pool, dict.fromkeys(range(3), 0.0), {0: 1.0, 1: 0.5, 2: 0.25}, lanes=lanes)
    items, _ = rule.select(state, draw(pool, 2, np.arange(lanes)), 1)
    share = rule.shares(state, draw(pool, 2, np.arange(lanes)))[0]
    assert stats.chisquare(np.bincount(items[:, 0] // EACH, minlength=3), share * lanes).pvalue > 1e-3


def test_with_no_uniform_part_an_arm_without_success_is_never_drawn_and_the_uniform_part_brings_it_back():
    pool = level_pool(2)
    history = [{0: 0, 1: 0}, {0: 0, 1: 1}, {1: 0.5}]
    for uniform, seen in [(0.0, 0), (0.25, 1)]:
        rule = LearningProgress(by="level", uniform=uniform)
        state = teach(rule, pool, *history, lanes=300)
        items, _ = rule.select(state, draw(pool, 3, np.arange(300)), 1)
        assert (items < EACH).any() == bool(seen)


def test_reversion_brings_an_arm_without_feedback_back_to_where_it_began():
    pool = level_pool(3)
    history = [{0: 0, 1: 0, 2: 0}, {0: 1, 1: 0.5, 2: 0.25}]
    kept, back = (LearningProgress(by="level", ema=0.5, uniform=0.0, reversion=r) for r in (0.0, 1.0))
    before = shares(kept, pool, *history)
    assert before[0] > 0
    # Nothing new is known of arms 1 and 2 either way; arm 0 has been given up at reversion 1.
    np.testing.assert_allclose(
        shares(kept, pool, *history, {1: 0.5, 2: 0.25}),
        expected([*history, {1: 0.5, 2: 0.25}], 3, ema=0.5, uniform=0.0),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        shares(back, pool, *history, {1: 0.5, 2: 0.25}),
        expected([history[0], {1: 0.5, 2: 0.25}, {1: 0.5, 2: 0.25}], 3, ema=0.5, uniform=0.0),
        rtol=1e-5,
    )


def test_hyper_parameters_may_differ_between_lanes():
    pool, history = level_pool(2), [{0: 0, 1: 0}, {0: 1, 1: 0.5}, {0: 0.5, 1: 0.75}]
    values = {"ema": (0.1, 0.6), "theta": (0.1, 0.4), "uniform": (0.25, 0.0)}
    together = LearningProgress(by="level", **{name: np.array(pair) for name, pair in values.items()})
    both = together.shares(teach(together, pool, *history, lanes=2), draw(pool, 3, [0, 1]))
    for lane in range(2):
        alone = LearningProgress(by="level", **{name: pair[lane] for name, pair in values.items()})
        np.testing.assert_array_equal(both[lane], shares(alone, pool, *history))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ema", -0.1),
        ("ema", 1.5),
        ("ema", math.nan),
        ("theta", -0.1),
        ("theta", 1.5),
        ("uniform", -0.1),
        ("uniform", 1.1),
    ],
)
def test_a_hyper_parameter_out_of_its_range_is_refused_with_its_domain_and_value(field, value):
    with pytest.raises(InputError) as caught:
        LearningProgress(**{field: value})
    assert str(caught.value).startswith(f"{field}: must be ")
    assert str(value) in str(caught.value)
