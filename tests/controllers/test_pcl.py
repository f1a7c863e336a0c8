"""PCL: a value model on features that learns online, and the candidates it thinks nearest to the threshold."""

import numpy as np
import pytest
from scipy import stats
from steps import select

import workbench as wb
from workbench import testing
from workbench.controllers.rules.pcl import PCL
from workbench.errors import InputError


def clusters(*sizes, scale=1.0):
    """A pool whose features are one-hot by cluster, and each item's cluster."""
    which = np.repeat(np.arange(len(sizes)), sizes)
    features = scale * np.eye(len(sizes))[which]
    return wb.Pool(difficulty=np.linspace(0, 100, len(which)), features=features), which


def taught(rule, pool, rates, steps=300, batch=32, lanes=1):
    """The state after so many batches of random items with exact rates."""
    state, rng = rule.init(pool, lanes), np.random.default_rng(0)
    for step in range(steps):
        items = np.tile(rng.choice(len(pool), batch, replace=False), (lanes, 1))
        rewards = np.repeat(rates[items][:, :, None], 4, axis=2)
        state = rule.update(state, testing.feedback(pool, items, rewards, step + 1, np.arange(lanes)))
    return state


@pytest.mark.parametrize(("tau", "nearest"), [(0.5, 1), (0.1, 0), (0.9, 2)])
def test_once_it_has_learned_a_batch_is_of_the_items_nearest_to_the_threshold(tau, nearest):
    pool, which = clusters(60, 60, 60)
    rule = PCL(tau=tau, candidates=8)
    state = taught(rule, pool, np.array([0.1, 0.5, 0.9])[which], lanes=4)
    items, _ = select(rule, state, pool, 8)  # of 64 candidates about 21 are of that cluster
    assert set(which[items].ravel().tolist()) == {nearest}


def test_items_that_look_alike_are_drawn_alike():
    pool = wb.Pool(difficulty=np.linspace(0, 100, 6), features=np.ones((6, 3)))
    rule, lanes = PCL(), 4_000
    state = rule.init(pool, lanes)
    rewards = np.tile([1.0, 0.0], (lanes, 6, 1))
    state = rule.update(state, testing.feedback(pool, np.tile(np.arange(6), (lanes, 1)), rewards, 1, np.arange(lanes)))
    counts = np.bincount(select(rule, state, pool, 1)[0][:, 0], minlength=6)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_one_candidate_per_place_is_a_uniform_batch_whatever_it_has_learned():
    pool, which = clusters(4, 4)
    rule, lanes = PCL(candidates=1), 3_000
    state = taught(rule, pool, np.array([0.5, 1.0])[which], steps=5, batch=4, lanes=lanes)
    counts = np.bincount(select(rule, state, pool, 2)[0].ravel(), minlength=8)
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 7 / 6, 7) > 1e-3


def test_predictions_are_counted_one_for_each_candidate():
    pool, _ = clusters(20, 20)
    rule = PCL(candidates=4)
    state = rule.init(pool, 2)
    for step in range(3):
        _, state = select(rule, state, pool, 5, step)
    np.testing.assert_array_equal(rule.metrics(state)["forwards"], [60, 60])
    _, state = select(rule, state, pool, 15, 3)  # 60 candidates would be more than there are
    np.testing.assert_array_equal(rule.metrics(state)["forwards"], [100, 100])


def test_the_threshold_is_met_in_a_closed_loop():
    # Rates follow a feature: the mean rate of a batch comes nearer to 1/2 than that of the pool, 0.77.
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 4, 400)
    pool = wb.Pool(difficulty=np.linspace(0, 100, 400), features=np.stack([x, x**2 / 4], axis=1))
    rates = 1 / (1 + np.exp(-x))
    controller, means = wb.Controller(PCL(candidates=8), pool, seed=0), []
    for _ in range(300):
        items = controller.next_batch(16)
        means.append(np.abs(rates[items] - 0.5).mean())
        controller.observe(items, (rng.random((16, 8)) < rates[items][:, None]).astype(np.float32))
    assert np.mean(means[-50:]) < 0.5 * np.abs(rates - 0.5).mean()


def test_it_follows_a_policy_that_changes():
    pool, which = clusters(60, 60)
    rule = PCL(candidates=8)
    state = taught(rule, pool, np.array([0.5, 1.0])[which])
    assert set(which[select(rule, state, pool, 8)[0]][0].tolist()) == {0}
    rng = np.random.default_rng(1)
    for step in range(300):
        items = rng.choice(120, 32, replace=False)
        rewards = np.repeat(np.array([0.0, 0.5])[which[items]][:, None], 4, axis=1)
        state = rule.update(state, testing.feedback(pool, items, rewards, step + 301))
    assert set(which[select(rule, state, pool, 8)[0]][0].tolist()) == {1}


def test_the_error_of_the_value_model_is_over_the_means_of_the_groups_and_falls():
    # V = 1/2 at first: misses of 0, -1/2 and 1/4 (of two rollouts, then of four), root mean square sqrt(.3125 / 3).
    pool, which = clusters(60, 60)
    rule = PCL()
    state = rule.update(
        rule.init(pool, 1),
        testing.feedback(
            pool, [0, 70, 80], [[1.0, 0.0, 0, 0], [1.0, 1.0, 0, 0], [0.5, 0.5, 0.0, 0.0]], counts=[2, 2, 4]
        ),
    )
    assert rule.metrics(state)["value_error"][0] == pytest.approx(np.sqrt(0.3125 / 3))
    state = taught(rule, pool, np.array([0.5, 1.0])[which])
    assert rule.metrics(state)["value_error"][0] < 0.05


def test_groups_without_rollouts_teach_nothing():
    pool, which = clusters(10, 10)
    rule = PCL()
    full = testing.feedback(pool, [0, 12], [[1.0, 0.0], [1.0, 1.0]])
    extra = testing.feedback(pool, [0, 12, 5], [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], counts=[2, 2, 0])
    one, other = (rule.update(rule.init(pool, 1), told) for told in (full, extra))
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(np.asarray(mine, float), np.asarray(theirs, float), rtol=1e-5, atol=1e-7)
    assert which.size == 20


@pytest.mark.parametrize("scale", [1e-3, 100.0])
def test_features_of_any_scale_do_no_harm(scale):
    pool, which = clusters(60, 60, scale=scale)
    rule = PCL(candidates=8)
    state = taught(rule, pool, np.array([0.5, 1.0])[which], steps=200)
    for part in state:
        assert np.isfinite(np.asarray(part, float)).all()
    select(rule, state, pool, 8)


def test_items_answered_twice_and_single_and_partial_rewards_are_taken():
    pool, _ = clusters(10, 10)
    rule = PCL()
    state = rule.init(pool, 1)
    state = rule.update(state, testing.feedback(pool, [3, 3, 15], [[1.0], [0.0], [0.25]]))
    select(rule, state, pool, 5)


def test_the_whole_pool_as_a_batch_is_every_item_once():
    pool, _ = clusters(3, 4)
    items, _ = select(PCL(), PCL().init(pool, 2), pool, 7)
    assert all(sorted(row) == list(range(7)) for row in items.tolist())


def test_a_pool_without_features_is_refused():
    with pytest.raises(InputError, match="features"):
        PCL().init(wb.Pool(difficulty=np.linspace(0, 100, 5)), 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("tau", -0.1), ("tau", 1.1), ("candidates", 0), ("candidates", 1.5), ("lr", -1.0), ("lr", np.nan)],
)
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        PCL(**{field: value})
