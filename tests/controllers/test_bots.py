"""BOTS: posteriors from explicit and interpolated evidence by hand, Thompson draws, and what a resume keeps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from steps import told

import workbench as wb
from workbench import testing
from workbench.controllers.rules.bots import BOTS
from workbench.errors import InputError

WEAK, STRONG = np.array([0.2, 0.4, 0.0, 0.1]), np.array([0.6, 0.8, 1.0, 0.5])


def pool_of(weak=WEAK, strong=STRONG):
    return wb.Pool(difficulty=np.linspace(0, 100, len(weak)), weak_rate=weak, strong_rate=strong)


def posterior(state):
    """(R, I) both shapes of the Beta posteriors."""
    return np.asarray(state.a, float), np.asarray(state.b, float)


def interpolated(pool, capability):
    return np.clip(pool.weak_rate + capability * (pool.strong_rate - pool.weak_rate), 0, 1)


def half(successes, of):
    return [1.0] * successes + [0.0] * (of - successes)


# --- evidence


def test_items_that_are_not_tried_get_pseudo_counts_from_the_interpolated_rate():
    # Means .5 and .7 against weak .2, .4 and strong .6, .8: capability (.6 - .3) / (.7 - .3) = 3/4. Rates of items 2
    # and 3: 0 + 3/4 = .75 and .1 + .4 * 3/4 = .4. a = .9 + .1 + .1 * 16 * rate, b with 1 - rate.
    rule, pool = BOTS(decay=0.1, evidence=0.1, pseudo=16), pool_of()
    state = told(rule, rule.init(pool, 1), pool, [0, 1], [half(5, 10), half(7, 10)])
    a, b = posterior(state)
    np.testing.assert_allclose(a[0, 2:], [1 + 1.6 * 0.75, 1 + 1.6 * 0.4], rtol=1e-4)
    np.testing.assert_allclose(b[0, 2:], [1 + 1.6 * 0.25, 1 + 1.6 * 0.6], rtol=1e-4)


def test_the_capability_is_a_moving_average_that_starts_at_its_first_estimate():
    # First 3/4 as above; then item 2 fails always: (0 - 0) / (1 - 0) = 0, so .9 * .75 + .1 * 0 = .675.
    rule, pool = BOTS(decay=0.1, evidence=0.1, pseudo=16, momentum=0.9), pool_of()
    state = told(rule, rule.init(pool, 1), pool, [0, 1], [half(5, 10), half(7, 10)])
    before = posterior(state)
    a, b = posterior(told(rule, state, pool, [2], [half(0, 10)], step=2))
    rate = interpolated(pool, 0.675)
    for item in (0, 1, 3):
        assert a[0, item] == pytest.approx(0.9 * before[0][0, item] + 0.1 + 1.6 * rate[item], rel=1e-4)
        assert b[0, item] == pytest.approx(0.9 * before[1][0, item] + 0.1 + 1.6 * (1 - rate[item]), rel=1e-4)


@pytest.mark.parametrize(("reward", "rates"), [(1.0, [1.0, 1.0]), (0.0, [0.0, 0.0])])
def test_interpolated_rates_are_cut_to_the_unit_interval(reward, rates):
    # Item 3 (weak .4, strong .5) at 1 or 0: capability 6 or -4; items 0 and 1 would go to 2.9, 1.8 and -1.1, -.2.
    pool, rule = pool_of([0.5, 0.6, 0.2, 0.4], [0.9, 0.8, 0.4, 0.5]), BOTS(decay=0.1, evidence=0.1, pseudo=16)
    a, b = posterior(told(rule, rule.init(pool, 1), pool, [3], [[reward] * 8]))
    np.testing.assert_allclose(a[0, :2], 1 + 1.6 * np.array(rates), rtol=1e-4)
    np.testing.assert_allclose(b[0, :2], 1 + 1.6 * (1 - np.array(rates)), rtol=1e-4)


def test_an_item_that_is_tried_gets_the_evidence_of_its_own_rewards():
    # Its own rate stands in for the interpolated one: (1 - rho) s + rho s = s, here 3 of 8 and 8 of 8.
    rule, pool = BOTS(decay=0.1, evidence=0.1, pseudo=16), pool_of()
    state = told(rule, rule.init(pool, 1), pool, [0, 1], [half(3, 8), half(8, 8)])
    a, b = posterior(state)
    np.testing.assert_allclose([a[0, :2], b[0, :2]], [[4, 9], [6, 1]], rtol=1e-5)
    a, b = posterior(told(rule, state, pool, [0], [half(2, 8)], step=2))
    np.testing.assert_allclose([a[0, 0], b[0, 0]], [0.9 * 4 + 0.1 + 2, 0.9 * 6 + 0.1 + 6], rtol=1e-5)


def test_with_no_weight_for_implicit_evidence_bots_counts_what_it_sees():
    # rho = 0: a <- (1 - lambda) a + lambda + k for items tried, and back to the prior for the others.
    rule, pool = BOTS(decay=0.2, evidence=0.0), pool_of()
    state = told(rule, rule.init(pool, 1), pool, [0], [half(6, 8)])
    a, b = posterior(state)
    np.testing.assert_allclose([a[0], b[0]], [[7, 1, 1, 1], [3, 1, 1, 1]], rtol=1e-5)
    a, b = posterior(told(rule, state, pool, [1], [half(1, 8)]))
    np.testing.assert_allclose([a[0], b[0]], [[5.8, 2, 1, 1], [2.6, 8, 1, 1]], rtol=1e-5)


def test_without_forgetting_and_implicit_evidence_counts_just_add_up():
    rule, pool = BOTS(decay=0.0, evidence=0.0), pool_of()
    state = rule.init(pool, 1)
    for k in (3, 5, 8):
        state = told(rule, state, pool, [2], [half(k, 8)])
    a, b = posterior(state)
    np.testing.assert_allclose([a[0, 2], b[0, 2]], [17, 9], rtol=1e-5)


def test_the_posterior_of_an_item_that_is_never_tried_settles_where_pseudo_counts_and_forgetting_balance():
    # a = (1 - lambda) a + lambda + rho m p: a* = 1 + rho m p / lambda = 1 + 16 p for lambda = rho = .1, m = 16.
    rule, pool = BOTS(decay=0.1, evidence=0.1, pseudo=16), pool_of()
    state = rule.init(pool, 1)
    for step in range(200):
        state = told(rule, state, pool, [0, 1], [half(5, 10), half(7, 10)], step=step + 1)
    a, b = posterior(state)
    np.testing.assert_allclose(a[0, 2:], 1 + 16 * np.array([0.75, 0.4]), rtol=1e-3)
    np.testing.assert_allclose(b[0, 2:], 1 + 16 * np.array([0.25, 0.6]), rtol=1e-3)


@settings(deadline=None, max_examples=50)
@given(
    means=st.lists(st.integers(0, 8), min_size=1, max_size=4),
    momentum=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    decay=st.sampled_from([0.0, 0.1, 1.0]),
    evidence=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_pseudo_counts_follow_the_equation_for_any_history(means, momentum, decay, evidence):
    # Item 0 is tried in every step, item 1 never.
    rule, pool = BOTS(decay=decay, evidence=evidence, pseudo=10, momentum=momentum), pool_of()
    state, a, b, capability = rule.init(pool, 1), 1.0, 1.0, None
    for k in means:
        state = told(rule, state, pool, [0], [half(k, 8)])
        estimate = (k / 8 - 0.2) / (0.6 - 0.2)
        capability = estimate if capability is None else momentum * capability + (1 - momentum) * estimate
        rate = np.clip(0.4 + 0.4 * capability, 0, 1)
        a = (1 - decay) * a + decay + evidence * 10 * rate
        b = (1 - decay) * b + decay + evidence * 10 * (1 - rate)
    got = posterior(state)
    np.testing.assert_allclose([got[0][0, 1], got[1][0, 1]], [a, b], rtol=1e-3)


def test_a_group_without_rollouts_is_like_an_item_that_was_not_tried():
    rule, pool = BOTS(), pool_of()
    with_empty = told(rule, rule.init(pool, 1), pool, [0, 2], [half(5, 10), half(0, 10)], counts=[10, 0])
    without = told(rule, rule.init(pool, 1), pool, [0], [half(5, 10)])
    np.testing.assert_allclose(posterior(with_empty), posterior(without), rtol=1e-6)


def test_partial_rewards_are_partial_successes():
    rule, pool = BOTS(decay=0.0, evidence=0.0), pool_of()
    a, b = posterior(told(rule, rule.init(pool, 1), pool, [0], [[0.25, 0.5, 0.75, 0.0]]))
    np.testing.assert_allclose([a[0, 0], b[0, 0]], [2.5, 3.5], rtol=1e-5)


def test_an_item_that_is_answered_twice_counts_both_times():
    rule, pool = BOTS(decay=0.0, evidence=0.0), pool_of()
    a, b = posterior(told(rule, rule.init(pool, 1), pool, [1, 1, 0], [half(3, 4), half(1, 4), half(4, 4)]))
    np.testing.assert_allclose([a[0], b[0]], [[5, 5, 1, 1], [1, 5, 1, 1]], rtol=1e-5)


def test_reference_models_that_agree_on_a_batch_give_no_infinity():
    pool, rule = pool_of([0.5, 0.2, 0.1], [0.5, 0.9, 0.8]), BOTS()
    state = rule.init(pool, 1)
    for reward in (1.0, 0.0):
        state = told(rule, state, pool, [0], [[reward] * 4])
        for shape in posterior(state):
            assert np.isfinite(shape).all()
            assert (shape > 0).all()
    rule.select(state, testing.draw(pool), 2)


def test_trap_bots_posteriors_survive_a_resume():
    # In the released code of an earlier version state_dict() is empty: a resumed run starts from the prior.
    pool = pool_of(np.linspace(0, 0.4, 30), np.linspace(0.5, 1.0, 30))

    def run(controller, steps):
        seen = []
        for _ in range(steps):
            items = controller.next_batch(4)
            luck = np.random.default_rng(controller.step).random((4, 8))
            controller.observe(items, (luck < pool.strong_rate[items][:, None]).astype(np.float32))
            seen.append(items.tolist())
        return seen

    whole = wb.Controller(BOTS(), pool, seed=1)
    first = run(whole, 10)
    resumed = wb.Controller(BOTS(), pool, seed=1)
    resumed.load_state_dict(whole.state_dict())
    assert posterior(resumed.state)[0].max() > 3  # it is not the prior
    np.testing.assert_array_equal(posterior(resumed.state), posterior(whole.state))
    assert run(resumed, 10) == run(whole, 10)
    assert first


# --- the choice


def test_without_sampling_the_items_whose_posterior_mean_is_nearest_are_taken():
    rule, pool = BOTS(sample=False, evidence=0.0, decay=0.0, candidates=0, target=0.5), pool_of()
    rewards = [half(9, 10), half(5, 10), half(2, 10), half(6, 10)]
    state = told(rule, rule.init(pool, 3), pool, [0, 1, 2, 3], rewards)
    for count, expected in [(1, {1}), (2, {1, 3}), (3, {1, 3, 2})]:
        items, _ = rule.select(state, testing.draw(pool, seed=range(3)), count)
        assert [set(row) for row in items.tolist()] == [expected] * 3


def test_sampling_takes_the_nearer_of_two_thompson_draws_as_often_as_the_posteriors_say():
    pool, lanes, target = pool_of([0.1, 0.2], [0.8, 0.9]), 8_000, 0.4
    rule = BOTS(evidence=0.0, decay=0.0, target=target)
    state = told(rule, rule.init(pool, lanes), pool, [0, 1], [half(2, 8), half(5, 8)])
    x, y = stats.beta(3, 7), stats.beta(6, 4)

    def nearer(v):
        radius = abs(v - target)
        return x.pdf(v) * (1 - y.cdf(target + radius) + y.cdf(target - radius))

    law = integrate.quad(nearer, 0, 1, points=[target])[0]
    items, _ = rule.select(state, testing.draw(pool, seed=range(lanes)), 1)
    assert stats.binomtest(int((items[:, 0] == 0).sum()), lanes, law).pvalue > 1e-3


@pytest.mark.parametrize(("candidates", "share"), [(5, 0.5), (0, 1.0), (4_096, 1.0)])
def test_a_batch_is_the_best_of_so_many_random_candidates_and_0_means_all(candidates, share):
    pool = pool_of(np.full(10, 0.1), np.full(10, 0.9))
    rule, lanes = BOTS(candidates=candidates, sample=False, evidence=0.0, decay=0.0), 3_000
    rewards = np.zeros((10, 20))
    rewards[0, :10] = 1.0  # item 0 alone is at the target
    state = told(rule, rule.init(pool, lanes), pool, np.arange(10), rewards)
    items, _ = rule.select(state, testing.draw(pool, seed=range(lanes)), 1)
    hits = int((items[:, 0] == 0).sum())
    assert hits == lanes if share == 1 else stats.binomtest(hits, lanes, share).pvalue > 1e-3


def test_fewer_candidates_than_a_batch_still_fill_it():
    pool = pool_of(np.full(10, 0.1), np.full(10, 0.9))
    rule = BOTS(candidates=3)
    items, _ = rule.select(rule.init(pool, 2), testing.draw(pool, seed=range(2)), 6)
    assert all(len(set(row)) == 6 for row in items.tolist())


def test_implicit_evidence_brings_items_that_were_never_tried_nearer_to_what_they_are():
    # A model halfway between the references: untried items' means approach (weak + strong) / 2.
    weak, strong = np.linspace(0, 0.5, 40), np.linspace(0.3, 1.0, 40)
    pool, rule = pool_of(weak, strong), BOTS()
    truth, state, tried = (weak + strong) / 2, rule.init(pool, 1), np.arange(0, 40, 4)
    for step in range(60):
        rewards = np.repeat(truth[tried][:, None], 8, axis=1)
        state = told(rule, state, pool, tried, rewards, step=step + 1)
    a, b = posterior(state)
    error = np.abs(a / (a + b) - truth)[0]
    assert np.delete(error, tried).max() < 0.06


# --- refusals


@pytest.mark.parametrize("missing", ["weak_rate", "strong_rate"])
def test_a_pool_without_both_reference_rates_is_refused(missing):
    columns = {"weak_rate": WEAK, "strong_rate": STRONG}
    del columns[missing]
    with pytest.raises(InputError, match=missing):
        BOTS().init(wb.Pool(difficulty=np.zeros(4), **columns), 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", 1.2),
        ("decay", -0.1),
        ("decay", 1.1),
        ("evidence", -0.1),
        ("evidence", 1.1),
        ("pseudo", -1.0),
        ("momentum", 1.5),
        ("momentum", np.nan),
        ("candidates", -1),
    ],
)
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        BOTS(**{field: value})
