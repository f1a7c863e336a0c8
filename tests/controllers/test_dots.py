"""DOTS: probes of random reference items, rates predicted from features, and the draw near the target."""

import numpy as np
import pytest
from scipy import stats
from steps import batch, told

import workbench as wb
from workbench import testing
from workbench.controllers.rules.dots import DOTS
from workbench.errors import InputError


def clusters(*sizes, width=4, noise=0.05):
    """A pool whose features are one-hot with a little noise, and each item's cluster."""
    which = np.repeat(np.arange(len(sizes)), sizes)
    features = 3.0 * np.eye(max(width, len(sizes)))[which]
    features = features + noise * np.random.default_rng(0).standard_normal(features.shape)
    return wb.Pool(difficulty=np.linspace(0, 100, len(which)), features=features), which


def probed(rule, pool, rates, lanes=1, step=0, state=None):
    """The state after a probe in which every rollout of item i earns rates[i]."""
    state = rule.init(pool, lanes) if state is None else state
    probe = rule.probe(state, testing.draw(pool, step, np.arange(lanes)))
    rewards = np.repeat(np.asarray(rates)[probe.items][:, :, None], probe.rollouts, axis=2)
    return told(rule, state, pool, probe.items, rewards, step=step, probe=True)


# --- the probe


def test_a_probe_is_due_at_the_start_and_then_once_a_period():
    rule, (pool, _) = DOTS(reference=4, every=3), clusters(10, 10)
    state = rule.init(pool, 1)
    due = [rule.probe(state, testing.draw(pool, step)) is not None for step in range(10)]
    assert [step for step in range(10) if due[step]] == [0, 3, 6, 9]


def test_the_defaults_are_those_of_the_released_code():
    rule = DOTS()
    assert (rule.reference, rule.rollouts, rule.every, rule.alpha, rule.tau) == (256, 8, 2, 0.5, 1e-3)


def test_a_probe_asks_for_random_distinct_reference_items():
    (pool, _), lanes = clusters(10, 10), 2_000
    rule = DOTS(reference=5, rollouts=3)
    probe = rule.probe(rule.init(pool, lanes), testing.draw(pool, 0, np.arange(lanes)))
    assert probe.rollouts == 3
    assert probe.items.shape == (lanes, 5)
    assert all(len(set(row)) == 5 for row in probe.items.tolist())
    counts = np.bincount(probe.items.ravel(), minlength=20)
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 19 / 15, 19) > 1e-3


def test_more_reference_items_than_there_are_are_all_of_them():
    rule, (pool, _) = DOTS(reference=256), clusters(3, 4)
    probe = rule.probe(rule.init(pool, 1), testing.draw(pool))
    assert sorted(probe.items[0].tolist()) == list(range(7))


# --- the draw


def test_before_the_first_probe_a_batch_is_uniform():
    rule, (pool, _), lanes = DOTS(reference=4), clusters(4, 4), 4_000
    counts = np.bincount(batch(rule, rule.init(pool, lanes), pool, 2).ravel(), minlength=8)
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 7 / 6, 7) > 1e-3


@pytest.mark.parametrize(("alpha", "nearest"), [(0.5, 1), (0.05, 0), (0.95, 2)])
def test_a_batch_is_of_the_items_that_look_like_those_whose_rate_is_nearest_to_alpha(alpha, nearest):
    pool, which = clusters(30, 30, 30)
    rule = DOTS(reference=30, alpha=alpha)
    state = probed(rule, pool, np.array([0.0, 0.5, 1.0])[which], lanes=5)
    assert set(which[batch(rule, state, pool, 8)].ravel().tolist()) == {nearest}


def test_items_that_were_no_reference_are_judged_by_their_features_alone():
    # Eight reference items of 200; among them all clusters with near certainty, and the batch holds other items.
    pool, which = clusters(100, 100)
    rule = DOTS(reference=16)
    state = rule.init(pool, 1)
    probe = rule.probe(state, testing.draw(pool))
    state = probed(rule, pool, np.array([0.5, 1.0])[which])
    items = batch(rule, state, pool, 40)[0]
    assert set(which[items].tolist()) == {0}
    assert len(set(items.tolist()) - set(probe.items[0].tolist())) >= 24


def test_the_next_probe_overrules_the_last():
    pool, which = clusters(40, 40)
    rule = DOTS(reference=40, every=2)
    state = probed(rule, pool, np.array([0.5, 1.0])[which])
    assert set(which[batch(rule, state, pool, 8)][0].tolist()) == {0}
    for step in (2, 4, 6):
        state = probed(rule, pool, np.array([0.0, 0.5])[which], step=step, state=state)
    assert set(which[batch(rule, state, pool, 8, step=6)][0].tolist()) == {1}


def test_items_that_look_alike_are_drawn_alike():
    pool = wb.Pool(difficulty=np.linspace(0, 100, 6), features=np.ones((6, 3)))
    rule, lanes = DOTS(reference=6), 3_000
    state = probed(rule, pool, np.linspace(0, 1, 6), lanes=lanes)
    counts = np.bincount(batch(rule, state, pool, 1)[:, 0], minlength=6)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_draw_is_the_exponential_of_the_distance_to_alpha():
    # Clusters of rates 1/2 and 1, told apart for certain: distances 0 and .5, tau .5, so weights 1 and 1/e.
    (pool, which), lanes = clusters(6, 6, noise=0.0), 6_000
    rule = DOTS(reference=12, tau=0.5)
    state = probed(rule, pool, np.array([0.5, 1.0])[which], lanes=lanes)
    near = int((which[batch(rule, state, pool, 1)] == 0).sum())
    assert stats.binomtest(near, lanes, 1 / (1 + np.exp(-1))).pvalue > 1e-3


def test_only_the_slope_of_the_calibration_is_bounded_below_worked_by_hand():
    # Two groups of six, of rates 1/4 and 3/4, all of them references. Standardised, the groups are sqrt(8) apart in two
    # features: with width^2 = 2 / ln 2 the other group's weight is e = 1/2. From the others, u = (5/4 + 9/4) / 8 = 7/16
    # and 9/16: slope 4, offset -3/2. Among all, u = (6/4 + 9/4) / 9 = 5/12 and 7/12: p = 1/6 and 5/6.
    pool = wb.Pool(difficulty=np.linspace(0, 100, 12), features=np.repeat([[1.0, 0.0], [0.0, 1.0]], 6, axis=0))
    rates = np.repeat([0.25, 0.75], 6)
    state = probed(DOTS(reference=12, width=np.sqrt(2 / np.log(2))), pool, rates)
    np.testing.assert_allclose(state.guess[0], np.repeat([1 / 6, 5 / 6], 6), atol=1e-5)
    # With a width that tells nothing apart, e = 1: u = 23/44 and 21/44, a falling line. The slope is 0, p the mean.
    state = probed(DOTS(reference=12, width=1e4), pool, rates)
    np.testing.assert_allclose(state.guess[0], 0.5, atol=1e-5)


def test_a_high_temperature_is_a_uniform_draw():
    (pool, which), lanes = clusters(4, 4), 4_000
    rule = DOTS(reference=8, tau=1e4)
    state = probed(rule, pool, np.array([0.5, 1.0])[which], lanes=lanes)
    counts = np.bincount(batch(rule, state, pool, 1)[:, 0], minlength=8)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_reference_items_that_all_fare_alike_leave_nothing_undefined(rate):
    pool, _ = clusters(10, 10)
    rule = DOTS(reference=12)
    state = probed(rule, pool, np.full(20, rate), lanes=3)
    batch(rule, state, pool, 5)
    for value in rule.metrics(state).values():
        assert np.isfinite(value).all()


def test_few_reference_items_or_a_pool_of_one_leave_nothing_undefined():
    pool, which = clusters(10, 10)
    rule = DOTS(reference=2)
    batch(rule, probed(rule, pool, np.array([0.5, 1.0])[which], lanes=10), pool, 5)
    alone = wb.Pool(difficulty=[50.0], features=[[1.0, 2.0]])
    assert batch(rule, rule.init(alone, 1), alone, 1).tolist() == [[0]]


def test_training_rewards_and_empty_groups_do_no_harm():
    pool, which = clusters(20, 20)
    rule = DOTS(reference=20)
    state = probed(rule, pool, np.array([0.5, 1.0])[which])
    items = batch(rule, state, pool, 4)
    state = rule.update(
        state, testing.feedback(pool, items, np.tile([1.0, 0.0, 0.0, 0.0], (4, 1)), counts=[4, 0, 4, 2])
    )
    assert set(which[batch(rule, state, pool, 8)][0].tolist()) == {0}


def test_on_a_pool_of_graded_items_batches_lie_nearer_to_the_target_than_uniform_ones():
    # Features are noisy views of the difficulty b, the truth is sigma(theta - b): 64 of 600 items are looked at.
    pool = wb.Pool.synthetic("uniform", size=600, seed=1)
    b = np.log((pool.difficulty + 0.4) / (100.4 - pool.difficulty))
    rates, rng = 1 / (1 + np.exp(b + 0.5)), np.random.default_rng(0)
    controller = wb.Controller(DOTS(reference=64), pool, seed=0)
    distance = []
    for _ in range(24):
        probe = controller.next_probe()
        if probe is not None:
            p = rates[probe.items][:, None]
            controller.observe_probe(probe, (rng.random((len(p), probe.rollouts)) < p).astype(np.float32))
        items = controller.next_batch(16)
        distance.append(np.abs(rates[items] - 0.5).mean())
        controller.observe(items, (rng.random((16, 8)) < rates[items][:, None]).astype(np.float32))
    assert np.mean(distance[4:]) < 0.6 * np.abs(rates - 0.5).mean()


def test_a_pool_without_features_is_refused():
    with pytest.raises(InputError, match="features"):
        DOTS().init(wb.Pool(difficulty=np.linspace(0, 100, 5)), 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference", 0),
        ("reference", 1),  # nothing to calibrate with
        ("rollouts", 0),
        ("every", 0),
        ("alpha", -0.1),
        ("alpha", 1.1),
        ("tau", 0.0),
        ("tau", -1.0),
    ],
)
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        DOTS(**{field: value})
