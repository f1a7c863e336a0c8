"""Schedules by level: E2H Reasoner (arXiv 2506.06632) in its four forms, and stages by rank (Kimi k1.5, 2501.12599)."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import workbench as wb
from workbench.controllers.rules.e2h import E2H
from workbench.controllers.rules.staged import Staged
from workbench.errors import InputError
from workbench.testing import draw, feedback

EACH = 25
SCHEDULES = ("gaussian", "cosine", "balanced", "classic")


def level_pool(levels=4, each=EACH):
    return wb.Pool(
        difficulty=np.repeat(np.linspace(0, 100, levels), each),
        level=np.repeat(np.arange(levels) + 1, each),
        category=np.repeat([f"c{k}" for k in range(levels)], each),
    )


def share(rule, step, levels=4):
    pool = level_pool(levels)
    return rule.shares(rule.init(pool, 1), draw(pool, step))[0]


def batch(rule, pool, step, count, seed=0):
    return rule.select(rule.init(pool, np.size(seed)), draw(pool, step, seed), count)[0]


# --- E2H, gaussian: centre (t/T)^beta (K - 1), mixed with a floor of 2 / (K (K + 1))


def test_gaussian_at_the_start_the_middle_and_the_end_worked_by_hand():
    # K = 4, beta = width = 1/2: floor 0.1, which leaves 0.6 for the bell, exp(-2 (k - mu)^2).
    rule = E2H(by="level", horizon=4)
    for step, mu in [(0, 0.0), (1, 1.5), (4, 3.0)]:  # (1/4)^(1/2) 3 = 1.5
        bell = np.exp(-2 * (np.arange(4) - mu) ** 2)
        np.testing.assert_allclose(share(rule, step), 0.1 + 0.6 * bell / bell.sum(), rtol=1e-6)
    np.testing.assert_allclose(share(rule, 1), [0.105396, 0.394604, 0.394604, 0.105396], atol=1e-5)


def test_the_default_is_the_example_of_the_released_readme_and_the_configuration_is_cosine():
    # divelab/E2H-Reasoning, 381e500: gaussian, mu_exp 0.5, sigma 0.5 in README.md, cosine in grpo.yaml.
    rule = E2H()
    assert (rule.schedule, rule.beta, rule.width, rule.min_prob) == ("gaussian", 0.5, 0.5, True)
    # Half way, K = 3: gaussian mu = 2^(-1/2) 2 = 1.4142, floor 1/6; cosine gives all alike.
    bell = [math.exp(-2 * (k - math.sqrt(2)) ** 2) for k in range(3)]
    gaussian = [1 / 6 + b / sum(bell) / 2 for b in bell]
    np.testing.assert_allclose(share(E2H(by="level", horizon=10), 5, 3), gaussian, atol=1e-9)
    np.testing.assert_allclose(share(E2H(by="level", schedule="cosine", horizon=10), 5, 3), [1 / 3] * 3)


@settings(deadline=None, max_examples=60)
@given(
    levels=st.integers(1, 8),
    horizon=st.integers(1, 50),
    step=st.integers(0, 80),
    beta=st.floats(0.1, 3),
    width=st.floats(0.2, 3),
    min_prob=st.booleans(),
)
def test_gaussian_agrees_with_its_equation(levels, horizon, step, beta, width, min_prob):
    mu = min(step / horizon, 1) ** beta * (levels - 1)
    bell = [math.exp(-((k - mu) ** 2) / (2 * width**2)) for k in range(levels)]
    floor = 2 / (levels * (levels + 1)) if min_prob else 0
    expected = [floor + (1 - levels * floor) * b / sum(bell) for b in bell]
    rule = E2H(by="level", horizon=horizon, beta=beta, width=width, min_prob=min_prob)
    np.testing.assert_allclose(share(rule, step, levels), expected, atol=1e-6)


def test_gaussian_a_narrow_bell_between_two_levels_still_sums_to_one():
    rule = E2H(by="level", horizon=2, beta=1.0, width=0.01, min_prob=False)  # mu = 1.5: exp(-1250) on both sides
    np.testing.assert_allclose(share(rule, 1), [0, 0.5, 0.5, 0], atol=1e-9)


# --- E2H, cosine: from a falling ramp to a rising one


def test_cosine_at_the_start_the_quarter_the_middle_and_the_end_worked_by_hand():
    rule, down, up = E2H(by="level", schedule="cosine", horizon=4), np.array([4, 3, 2, 1]), np.array([1, 2, 3, 4])
    np.testing.assert_allclose(share(rule, 0), down / 10)
    early = (1 + math.sqrt(0.5)) / 2  # weight of the falling ramp at t = T/4
    np.testing.assert_allclose(share(rule, 1), early * down / 10 + (1 - early) * up / 10)
    np.testing.assert_allclose(share(rule, 2), np.full(4, 0.25))
    np.testing.assert_allclose(share(rule, 4), up / 10)


@settings(deadline=None, max_examples=40)
@given(levels=st.integers(1, 9), horizon=st.integers(1, 40), step=st.integers(0, 60))
def test_cosine_agrees_with_its_equation_and_never_falls_under_its_floor(levels, horizon, step):
    total = levels * (levels + 1) / 2
    early = 0.5 * (1 + math.cos(math.pi * min(step / horizon, 1)))
    expected = [(early * (levels - k) + (1 - early) * (k + 1)) / total for k in range(levels)]
    got = share(E2H(by="level", schedule="cosine", horizon=horizon), step, levels)
    np.testing.assert_allclose(got, expected, atol=1e-9)
    assert got.min() >= 2 / (levels * (levels + 1)) - 1e-9


# --- E2H, balanced and classic


@pytest.mark.parametrize("step", [0, 3, 100])
def test_balanced_is_always_the_same_for_every_level(step):
    np.testing.assert_allclose(share(E2H(by="level", schedule="balanced", horizon=4), step), np.full(4, 0.25))


def test_classic_takes_one_level_after_the_other():
    rule = E2H(by="level", schedule="classic", horizon=10)  # floor(4 t / 10), at most 3
    levels = [int(np.argmax(share(rule, step))) for step in range(14)]
    assert levels == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3]
    np.testing.assert_allclose([share(rule, step).max() for step in range(14)], 1)


@pytest.mark.parametrize(("horizon", "levels"), [(3, 3), (49, 7), (10, 10), (100, 10), (6, 3)])
def test_classic_changes_level_on_the_very_step_for_any_horizon(horizon, levels):
    # In floating point 3 * (1/3) may fall short of 1: whole numbers must decide.
    rule = E2H(by="level", schedule="classic", horizon=horizon)
    for step in range(horizon + 1):
        assert int(np.argmax(share(rule, step, levels))) == min(step * levels // horizon, levels - 1)


# --- E2H, all


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_after_the_horizon_the_last_shares_stay(schedule):
    rule = E2H(by="level", schedule=schedule, horizon=5)
    for step in (6, 50, 10_000):
        np.testing.assert_array_equal(share(rule, step), share(rule, 5))


@pytest.mark.parametrize("schedule", ["gaussian", "cosine", "classic"])
def test_the_mean_level_rises_from_the_easy_end_to_the_hard_end(schedule):
    rule = E2H(by="level", schedule=schedule, horizon=20)
    mean = np.array([share(rule, step) @ np.arange(4) for step in range(21)])
    assert (np.diff(mean) >= -1e-12).all()
    np.testing.assert_allclose(mean[0], 3 - mean[-1], atol=1e-9)  # the two ends mirror each other
    assert mean[0] < 1.5 < mean[-1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_single_level_gets_everything(schedule):
    np.testing.assert_allclose(share(E2H(by="level", schedule=schedule), 7, levels=1), [1.0])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rewards_change_nothing(schedule):
    pool, rule = level_pool(), E2H(by="level", schedule=schedule, horizon=4)
    state = rule.init(pool, 1)
    after = rule.update(state, feedback(pool, [0, 30], [[1, 0], [0, 0]]))
    np.testing.assert_array_equal(rule.shares(after, draw(pool, 2)), rule.shares(state, draw(pool, 2)))


def test_batches_hold_levels_as_often_as_the_shares_and_items_uniformly():
    pool, rule, lanes = level_pool(), E2H(by="level", horizon=4), 8_000
    items = batch(rule, pool, 1, 1, np.arange(lanes))[:, 0]
    expected = np.repeat(share(rule, 1), EACH) / EACH * lanes
    assert stats.chisquare(np.bincount(items // EACH), expected.reshape(4, EACH).sum(axis=1)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(items, minlength=100), expected).pvalue > 1e-3


def test_a_refill_draws_other_items_of_the_same_levels():
    pool, rule = level_pool(), E2H(by="level", schedule="classic", horizon=4)
    state = rule.init(pool, 1)
    one, two = (rule.select(state, draw(pool, 1, turn=turn), 8)[0][0] for turn in (0, 1))
    assert set(one // EACH) == set(two // EACH) == {1}
    assert set(one.tolist()) != set(two.tolist())


def test_levels_are_sorted_by_value_not_by_appearance():
    pool = wb.Pool(difficulty=[50.0] * 6, level=[9, 9, 2, 2, 5, 5])
    rule = E2H(by="level", schedule="classic", horizon=3)
    drawn = [set(batch(rule, pool, step, 2)[0].tolist()) for step in range(3)]
    assert drawn == [{2, 3}, {4, 5}, {0, 1}]


def test_by_difficulty_the_bins_that_hold_items_are_the_levels():
    pool = wb.Pool(difficulty=[95.0, 91.0, 3.0, 8.0, 44.0, 41.0])
    rule = E2H(schedule="classic", horizon=3)
    drawn = [set(batch(rule, pool, step, 2)[0].tolist()) for step in range(3)]
    assert drawn == [{2, 3}, {4, 5}, {0, 1}]


def test_by_category_is_refused_for_categories_have_no_order():
    with pytest.raises(InputError, match=r"^by: .*category"):
        E2H(by="category")


def test_hyper_parameters_may_differ_between_lanes():
    pool = level_pool()
    values = {"horizon": (4.0, 10.0), "beta": (0.5, 1.5), "width": (0.5, 2.0)}
    together = E2H(by="level", **{name: np.array(pair) for name, pair in values.items()})
    for step in (0, 3, 7, 20):
        both = together.shares(together.init(pool, 2), draw(pool, step, [0, 1]))
        for lane in range(2):
            alone = E2H(by="level", **{name: pair[lane] for name, pair in values.items()})
            np.testing.assert_array_equal(both[lane], share(alone, step))


# --- stages by rank


def allowed(rule, pool, step, count=1, lanes=400):
    """Every position drawn by many lanes at one step."""
    return set(batch(rule, pool, step, count, np.arange(lanes)).ravel().tolist())


def test_three_stages_of_twelve_items_worked_by_hand():
    pool = wb.Pool(difficulty=np.arange(12.0)[::-1])  # the easiest is the last
    rule = Staged(stages=3, horizon=6)  # floor(3 s / 6): two steps each
    parts = [set(range(8, 12)), set(range(4, 8)), set(range(4))]
    for step, stage in enumerate([0, 0, 1, 1, 2, 2, 2, 2]):
        assert allowed(rule, pool, step) == parts[stage]


def test_cumulative_stages_keep_what_came_before():
    pool = wb.Pool(difficulty=np.arange(12.0))
    rule = Staged(stages=3, horizon=3, cumulative=True)
    for step, size in enumerate([4, 8, 12, 12]):
        assert allowed(rule, pool, step) == set(range(size))


def test_the_curriculum_of_kimi_is_two_stages():
    pool = wb.Pool(difficulty=np.arange(10.0))
    rule = Staged(stages=2, horizon=100)
    assert allowed(rule, pool, 0) == allowed(rule, pool, 49) == set(range(5))
    assert allowed(rule, pool, 50) == allowed(rule, pool, 1_000) == set(range(5, 10))


@pytest.mark.parametrize("cumulative", [False, True])
def test_a_batch_is_uniform_within_its_stage(cumulative):
    pool = wb.Pool(difficulty=np.arange(30.0))
    items = batch(Staged(stages=3, horizon=3, cumulative=cumulative), pool, 1, 4, np.arange(4_000))
    low, high = (0, 20) if cumulative else (10, 20)
    count = np.bincount(items.ravel(), minlength=30)
    assert count[:low].sum() == count[high:].sum() == 0
    # Four of n without replacement: the counts vary by (n - 4)/(n - 1) of what independent draws would.
    size = high - low
    statistic = stats.chisquare(count[low:high]).statistic * (size - 1) / (size - 4)
    assert stats.chi2.sf(statistic, size - 1) > 1e-3


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 40), stages=st.integers(1, 8), horizon=st.integers(1, 12), step=st.integers(0, 15))
def test_stages_are_runs_of_ranks_of_nearly_equal_size_that_cover_the_pool(size, stages, horizon, step):
    stages = min(stages, size)
    pool = wb.Pool(difficulty=np.arange(float(size)))
    parts = [allowed(Staged(stages=stages, horizon=stages), pool, stage, lanes=600) for stage in range(stages)]
    assert sorted(set().union(*parts)) == list(range(size))
    assert sum(len(part) for part in parts) == size
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(max(a) < min(b) for a, b in itertools.pairwise(parts))
    now = min(step * stages // horizon, stages - 1)
    assert allowed(Staged(stages=stages, horizon=horizon), pool, step, lanes=30) <= parts[now]


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 30), stages=st.integers(1, 10), cumulative=st.booleans(), data=st.data())
def test_neighbours_in_rank_fill_up_a_stage_that_is_smaller_than_the_batch(size, stages, cumulative, data):
    count, stage = data.draw(st.integers(1, size)), data.draw(st.integers(0, stages - 1))
    pool = wb.Pool(difficulty=np.arange(float(size)))
    rule = Staged(stages=stages, horizon=stages, cumulative=cumulative)
    items = batch(rule, pool, stage, count)[0]
    assert len(set(items.tolist())) == count
    if stages > size:
        return
    part = allowed(rule, pool, stage, lanes=600)
    if count < len(part):
        assert set(items.tolist()) <= part
        return
    assert part <= set(items.tolist())
    missing = count - len(part)
    assert min(items) >= min(part) - missing
    assert max(items) <= max(part) + missing


def test_every_item_of_a_stage_has_its_turn_whatever_the_rewards():
    pool = wb.Pool(difficulty=np.arange(20.0))
    controller, seen = wb.Controller(Staged(stages=2, horizon=60), pool), set()
    for _ in range(30):
        items = controller.next_batch(4)
        controller.observe(items, np.zeros(4))
        seen |= set(items.tolist())
    assert seen == set(range(10))


def test_the_horizon_may_differ_between_lanes():
    pool = wb.Pool(difficulty=np.arange(12.0))
    rule = Staged(stages=3, horizon=np.array([3.0, 30.0]))
    items = batch(rule, pool, 2, 4, [0, 1])
    assert set(items[0].tolist()) == set(range(8, 12))
    assert set(items[1].tolist()) == set(range(4))


# --- refusals


@pytest.mark.parametrize(
    ("rule", "field", "value"),
    [
        (E2H, "schedule", "linear"),
        (E2H, "horizon", 0),
        (E2H, "beta", -1.0),
        (E2H, "beta", math.nan),
        (E2H, "width", 0.0),
        (E2H, "width", math.inf),
        (Staged, "stages", 0),
        (Staged, "stages", 2.5),
        (Staged, "horizon", 0),
    ],
)
def test_a_hyper_parameter_out_of_its_range_is_refused_with_its_domain_and_value(rule, field, value):
    with pytest.raises(InputError) as caught:
        rule(**{field: value})
    assert str(caught.value).startswith(f"{field}: must be ")
    assert str(value) in str(caught.value)
