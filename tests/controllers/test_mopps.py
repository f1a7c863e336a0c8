"""MoPPS: decayed Beta posteriors by hand, Thompson draws against numerical integration, candidates and bands."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from steps import pool_of, told

import workbench as wb
from workbench import testing
from workbench.controllers.rules.mopps import MoPPS
from workbench.errors import InputError


def posterior(state):
    """(R, I) both shapes of the Beta posteriors."""
    return np.asarray(state.a, float), np.asarray(state.b, float)


def known(rule, pool, rates, lanes=1, rollouts=4_000):
    """The state after so many rollouts of each item that its rate is certain."""
    rewards = np.repeat(np.asarray(rates, float)[:, None], rollouts, axis=1)
    return told(rule, rule.init(pool, lanes), pool, np.arange(len(rates)), rewards)


def drawn(rule, state, pool, count, step=1):
    items, _ = rule.select(state, testing.draw(pool, step, np.arange(len(state[0]))), count)
    assert items.shape == (len(state[0]), count)
    assert all(len(set(row)) == count for row in items[:200].tolist())
    return items


def reference(history, decay, prior, size):
    """Posterior after a list of {item: (successes, rollouts)}, in plain Python."""
    a, b = [prior] * size, [prior] * size
    for answers in history:
        for item, (k, n) in answers.items():
            if n:
                a[item] = decay * a[item] + (1 - decay) * prior + k
                b[item] = decay * b[item] + (1 - decay) * prior + n - k
    return np.array(a), np.array(b)


# --- the posterior


def test_two_updates_of_one_item_by_hand():
    # lambda = 1/2, prior (1, 1). 3 of 4: a = .5 + .5 + 3, b = .5 + .5 + 1. Then 4 of 4: a = 2 + .5 + 4, b = 1 + .5.
    rule, pool = MoPPS(decay=0.5), pool_of(3)
    state = told(rule, rule.init(pool, 1), pool, [1], [[1, 0, 1, 1]])
    a, b = posterior(state)
    np.testing.assert_allclose([a[0], b[0]], [[1, 4, 1], [1, 2, 1]])
    a, b = posterior(told(rule, state, pool, [1], [[1, 1, 1, 1]], step=2))
    np.testing.assert_allclose([a[0], b[0]], [[1, 6.5, 1], [1, 1.5, 1]])


def test_the_defaults_are_those_of_the_released_scripts_for_countdown_and_geometry():
    # thu-rllab/MoPPS, a883f51, recipe/ours: ts_ratio=8, bandit_decay_ratio=0.5; target 0.5 and prior (1, 1).
    rule = MoPPS()
    assert (rule.candidates, rule.decay, rule.target, rule.prior, rule.band) == (8, 0.5, 0.5, 1.0, None)


def test_the_setting_of_the_released_math_scripts_forgets_nothing():
    # ts_ratio=16 and decay 1: 3 of 4 and 4 of 4 add up to Beta(1 + 7, 1 + 1).
    rule, pool = MoPPS(decay=1.0, candidates=16), pool_of(3)
    state = told(rule, rule.init(pool, 1), pool, [1], [[1, 0, 1, 1]])
    a, b = posterior(told(rule, state, pool, [1], [[1, 1, 1, 1]], step=2))
    np.testing.assert_allclose([a[0], b[0]], [[1, 8, 1], [1, 2, 1]])


@settings(deadline=None, max_examples=60)
@given(
    history=st.lists(
        st.dictionaries(st.integers(0, 4), st.tuples(st.integers(0, 8), st.integers(1, 8)), min_size=1), max_size=5
    ),
    decay=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    prior=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_the_posterior_is_the_decayed_count_of_successes_and_failures(history, decay, prior):
    history = [{item: (min(k, n), n) for item, (k, n) in answers.items()} for answers in history]
    rule, pool = MoPPS(decay=decay, prior=prior), pool_of(5)
    state = rule.init(pool, 1)
    for answers in history:
        items, counts = list(answers), [n for _, n in answers.values()]
        rewards = [[1.0] * k + [0.0] * (8 - k) for k, _ in answers.values()]
        state = told(rule, state, pool, items, rewards, counts)
    np.testing.assert_allclose([x[0] for x in posterior(state)], reference(history, decay, prior, 5), rtol=1e-5)


def test_an_item_without_feedback_keeps_its_posterior():
    rule, pool = MoPPS(decay=0.5), pool_of(3)
    state = told(rule, rule.init(pool, 1), pool, [0], [[1, 1, 1, 0]])
    before = posterior(state)
    after = posterior(told(rule, state, pool, [0, 1], [[0, 0, 0, 0], [1, 1, 0, 0]], counts=[0, 4]))
    np.testing.assert_allclose(after[0][0], [before[0][0, 0], 3, 1])
    np.testing.assert_allclose(after[1][0], [before[1][0, 0], 3, 1])


def test_trap_mopps_posterior_survives_single_rollouts():
    # The released code writes `a if n > 1 else 8` without brackets: with one rollout the posterior becomes 8.
    rule, pool = MoPPS(decay=0.5), pool_of(3)
    state = rule.init(pool, 1)
    for reward in (1.0, 0.0, 1.0):
        state = told(rule, state, pool, [1], [[reward]])
    # a: 1 -> 2 -> 1.5 -> 2.25; b: 1 -> 1 -> 2 -> 1.5
    a, b = posterior(state)
    np.testing.assert_allclose([a[0], b[0]], [[1, 2.25, 1], [1, 1.5, 1]])


def test_trap_mopps_takes_pools_of_any_size():
    # The released code's number of items is the constant 40,315.
    for size in (1, 2, 50_000):
        pool, rule = pool_of(size), MoPPS()
        assert posterior(rule.init(pool, 2))[0].shape == (2, size)
        state = told(rule, rule.init(pool, 2), pool, [size - 1], [[1, 1]])
        assert drawn(rule, state, pool, 1).max() < size


def test_partial_rewards_are_partial_successes():
    rule, pool = MoPPS(decay=1.0), pool_of(2)
    a, b = posterior(told(rule, rule.init(pool, 1), pool, [0], [[0.25, 0.5, 1.0, 0.0]]))
    np.testing.assert_allclose([a[0, 0], b[0, 0]], [1 + 1.75, 1 + 2.25])


def test_an_item_that_is_answered_twice_in_one_batch_counts_both_times():
    rule, pool = MoPPS(decay=1.0), pool_of(3)
    a, b = posterior(told(rule, rule.init(pool, 1), pool, [2, 0, 2], [[1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]))
    np.testing.assert_allclose([a[0], b[0]], [[1, 1, 5], [5, 1, 5]])


def test_lanes_may_have_their_own_decay_and_prior():
    rule, pool = MoPPS(decay=np.array([0.0, 1.0]), prior=np.array([1.0, 2.0])), pool_of(2)
    state = rule.init(pool, 2)
    for _ in range(2):
        state = told(rule, state, pool, [0], [[1, 1, 1, 0]])
    a, b = posterior(state)
    np.testing.assert_allclose(a, [[4, 1], [8, 2]])
    np.testing.assert_allclose(b, [[2, 1], [4, 2]])


# --- the choice


def chance_that_the_first_is_nearer(one, other, target):
    """P(|x - t| < |y - t|), x ~ Beta(one), y ~ Beta(other)."""
    x, y = stats.beta(*one), stats.beta(*other)

    def nearer(v):
        radius = abs(v - target)
        return x.pdf(v) * (1 - y.cdf(target + radius) + y.cdf(target - radius))

    return integrate.quad(nearer, 0, 1, points=[target], limit=200)[0]


@pytest.mark.parametrize("target", [0.5, 0.2])
@pytest.mark.parametrize(
    ("k", "n"), [((2, 7), (4, 8)), ((0, 4), (8, 8)), ((4, 1), (8, 8))], ids=["middle", "ends", "known and hard"]
)
def test_the_nearer_of_two_thompson_draws_is_taken_as_often_as_the_posteriors_say(target, k, n):
    pool, rule, lanes = pool_of(2), MoPPS(target=target, decay=1.0), 8_000
    rewards = [[1.0] * k[i] + [0.0] * (8 - k[i]) for i in range(2)]
    state = told(rule, rule.init(pool, lanes), pool, [0, 1], rewards, counts=list(n))
    shapes = [(1 + k[i], 1 + n[i] - k[i]) for i in range(2)]
    first = int((drawn(rule, state, pool, 1)[:, 0] == 0).sum())
    assert stats.binomtest(first, lanes, chance_that_the_first_is_nearer(*shapes, target)).pvalue > 1e-3


def test_an_unseen_item_is_tried_as_often_as_a_uniform_draw_beats_a_known_one():
    # The known item is at .45: a uniform draw is nearer to .5 with probability .1.
    pool, lanes = pool_of(2), 6_000
    rule = MoPPS(decay=1.0)
    state = told(rule, rule.init(pool, lanes), pool, [0], np.full((1, 4_000), 0.45))
    tried = int((drawn(rule, state, pool, 1)[:, 0] == 1).sum())
    assert stats.binomtest(tried, lanes, 0.1).pvalue > 1e-3


def test_known_items_are_taken_in_order_of_their_distance_to_the_target():
    pool, rule = pool_of(6), MoPPS(target=0.6, decay=1.0)
    state = known(rule, pool, [0.1, 0.55, 0.98, 0.7, 0.35, 0.61])
    for count, expected in [(1, {5}), (2, {5, 1}), (3, {5, 1, 3}), (4, {5, 1, 3, 4})]:
        assert set(drawn(rule, state, pool, count)[0].tolist()) == expected


def test_the_batch_is_the_best_of_random_candidates():
    # One item at the target, nine far away; 2 candidates for a batch of one: the good one is among them with 2/10.
    pool, lanes = pool_of(10), 5_000
    rule = MoPPS(candidates=2, decay=1.0)
    state = known(rule, pool, [0.5] + [0.99] * 9, lanes, 500)
    items = drawn(rule, state, pool, 1)[:, 0]
    assert stats.binomtest(int((items == 0).sum()), lanes, 0.2).pvalue > 1e-3
    assert stats.chisquare(np.bincount(items, minlength=10)[1:]).pvalue > 1e-3


def test_more_candidates_than_items_are_all_items():
    pool, rule = pool_of(10), MoPPS(candidates=8, decay=1.0)
    state = known(rule, pool, [0.5, 0.5] + [0.01] * 8, 50, 500)
    assert {tuple(sorted(row)) for row in drawn(rule, state, pool, 2).tolist()} == {(0, 1)}


def test_one_candidate_per_place_is_a_uniform_batch():
    pool, lanes, rule = pool_of(5), 5_000, MoPPS(candidates=1, decay=1.0)
    state = known(rule, pool, [0.5, 0.9, 0.1, 0.3, 1.0], lanes, 200)
    counts = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for row in drawn(rule, state, pool, 2).tolist():
        counts[tuple(sorted(row))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_at_first_every_item_has_the_same_chance():
    pool, lanes, rule = pool_of(20), 4_000, MoPPS()
    items = drawn(rule, rule.init(pool, lanes), pool, 2)
    counts = np.bincount(items.ravel(), minlength=20)
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 19 / 18, 19) > 1e-3


def test_within_a_band_all_items_are_alike_and_beyond_it_the_nearest_bound_decides():
    pool, lanes = pool_of(5), 3_000
    rule = MoPPS(band=(0.3, 0.7), decay=1.0)
    state = known(rule, pool, [0.05, 0.35, 0.5, 0.65, 0.8], lanes, 2_000)
    one = drawn(rule, state, pool, 1)[:, 0]
    counts = np.bincount(one, minlength=5)
    assert counts[[0, 4]].sum() == 0
    assert stats.chisquare(counts[1:4]).pvalue > 1e-3
    assert {tuple(sorted(row)) for row in drawn(rule, state, pool, 3).tolist()} == {(1, 2, 3)}
    assert {tuple(sorted(row)) for row in drawn(rule, state, pool, 4).tolist()} == {(1, 2, 3, 4)}


def test_the_whole_pool_as_a_batch_is_every_item_once():
    pool, rule = pool_of(7), MoPPS()
    assert sorted(drawn(rule, rule.init(pool, 1), pool, 7)[0].tolist()) == list(range(7))


def test_draws_are_fresh_in_every_step_and_repeatable():
    pool, rule = pool_of(50), MoPPS()
    state = rule.init(pool, 1)
    one, again, later = (drawn(rule, state, pool, 5, step)[0].tolist() for step in (3, 3, 4))
    assert one == again
    assert one != later


def test_a_learned_item_makes_way_and_the_mean_reward_goes_to_the_target():
    # Items of fixed rates 0 to 1: the batch's mean rate settles near 1/2, well inside the spread of the pool.
    pool, rule = pool_of(200), MoPPS(decay=1.0)
    rates, controller, rng = np.linspace(0, 1, 200), wb.Controller(rule, pool, seed=3), np.random.default_rng(0)
    distance = []
    for _ in range(150):
        items = controller.next_batch(16)
        controller.observe(items, (rng.random((16, 8)) < rates[items][:, None]).astype(np.float32))
        distance.append(np.abs(rates[items] - 0.5).mean())
    assert np.mean(distance[-20:]) < 0.1 < 0.2 < distance[0]


def test_with_a_floor_an_item_that_was_judged_useless_is_tried_again():
    pool = pool_of(10)
    controller = wb.Controller(MoPPS(decay=1.0, floor=0.2), pool, seed=0)
    controller.observe(np.arange(5), np.zeros((5, 500)))
    controller.observe(np.arange(5, 10), np.full((5, 500), 0.5))
    seen = {item for _ in range(200) for item in controller.next_batch(3).tolist()}
    assert seen == set(range(10))


# --- refusals


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", -0.1),
        ("target", 1.1),
        ("decay", -0.1),
        ("decay", 1.5),
        ("decay", np.nan),
        ("prior", 0.0),
        ("prior", -1.0),
        ("candidates", 0),
        ("candidates", 2.5),
        ("band", (0.7, 0.3)),
        ("band", (-0.1, 0.5)),
        ("band", (0.5, 1.5)),
    ],
)
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=rf"^{field}\b.*must "):
        MoPPS(**{field: value})


def test_a_hyper_parameter_for_another_number_of_lanes_is_refused():
    with pytest.raises(InputError, match=r"^decay: must be one number or 3"):
        MoPPS(decay=np.array([0.5, 0.6])).init(pool_of(4), 3)
