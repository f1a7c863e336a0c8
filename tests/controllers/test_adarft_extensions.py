"""Extensions of AdaRFT, ours and labelled so: a bell around the target, and rounds through the whole pool."""

import itertools
import math
from math import tanh

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import workbench as wb
from workbench.controllers.rules.adarft import AdaRFT, AdaRFTCovering, AdaRFTGaussian
from workbench.errors import InputError
from workbench.testing import draw, feedback

TENS = np.arange(0.0, 101.0, 10.0)  # position i has difficulty 10 i
EXTENSIONS = (AdaRFTGaussian, AdaRFTCovering)


def batch(rule, pool, count, seed=0, step=0):
    return rule.select(rule.init(pool, np.size(seed)), draw(pool, step, seed), count)[0]


# --- what they share with AdaRFT


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_target_moves_as_in_algorithm_1(extension):
    pool, rule = wb.Pool(difficulty=TENS), extension(start=50.0)
    state = rule.init(pool, 3)
    rewards = np.array([[[1, 1, 1, 1]], [[0, 0, 1, 0]], [[1, 0, 1, 0]]])
    state = rule.update(state, feedback(pool, [[0], [1], [2]], rewards, seed=[0, 1, 2]))
    moved = [50 + 50 * tanh(1), 50 - 50 * tanh(0.5), 50]
    np.testing.assert_allclose(rule.metrics(state)["target_difficulty"], moved)
    state = rule.update(state, feedback(pool, [[0], [1], [2]], np.ones((3, 1, 4)), step=2, seed=[0, 1, 2]))
    assert rule.metrics(state)["target_difficulty"][0] == 100.0  # clipped
    assert rule.metrics(state)["at_bound"].tolist() == [1, 0, 1 if 50 + 50 * tanh(1) >= 100 else 0]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_they_have_the_defaults_of_algorithm_1_and_say_that_they_are_extensions(extension):
    rule, original = extension(), AdaRFT()
    for name in ("beta", "alpha", "eta", "start", "low", "high"):
        assert getattr(rule, name) == getattr(original, name)
    assert "xtension" in extension.__doc__


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_change_of_the_target_acts_on_the_very_next_batch(extension):
    pool = wb.Pool(difficulty=np.linspace(0, 100, 500))
    controller = wb.Controller(extension(), pool)
    controller.observe(controller.next_batch(10), np.ones(10))
    controller.observe(controller.next_batch(10), np.ones(10))
    target = controller.metrics()["target_difficulty"]
    assert target == pytest.approx(100 * tanh(1))
    assert abs(pool.difficulty[controller.next_batch(10)].mean() - target) < 20


# --- Gaussian: P(i) proportional to exp(-(d_i - T)^2 / (2 width^2))


def test_gaussian_one_item_is_drawn_in_proportion_to_the_bell():
    pool, lanes = wb.Pool(difficulty=TENS), 20_000
    items = batch(AdaRFTGaussian(start=40.0, width=15.0), pool, 1, np.arange(lanes))[:, 0]
    weight = np.exp(-((TENS - 40) ** 2) / (2 * 15.0**2))
    assert stats.chisquare(np.bincount(items, minlength=11), weight / weight.sum() * lanes).pvalue > 1e-3


def test_gaussian_two_items_are_drawn_one_after_the_other_in_proportion_to_the_bell():
    # Without replacement: P({i, j}) = p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j).
    d, lanes = np.array([30.0, 45.0, 50.0, 70.0]), 20_000
    items = batch(AdaRFTGaussian(start=50.0, width=10.0), wb.Pool(difficulty=d), 2, np.arange(lanes))
    p = np.exp(-((d - 50) ** 2) / 200)
    p /= p.sum()
    pairs = list(itertools.combinations(range(4), 2))
    expected = [p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j])) for i, j in pairs]
    seen = dict.fromkeys(pairs, 0)
    for pair in np.sort(items, axis=1).tolist():
        seen[tuple(pair)] += 1
    assert stats.chisquare(list(seen.values()), np.array(expected) * lanes).pvalue > 1e-3


@pytest.mark.parametrize("count", [2, 3, 4])
def test_gaussian_items_of_one_difficulty_are_each_drawn_by_their_own_weight(count):
    # Six items at three difficulties, in the order that one draw after another without replacement gives them.
    d, lanes = np.array([50.0, 70.0, 50.0, 60.0, 50.0, 60.0]), 20_000
    items = batch(AdaRFTGaussian(start=50.0, width=10.0), wb.Pool(difficulty=d), count, np.arange(lanes))
    weight = np.exp(-((d - 50) ** 2) / 200)
    chance = dict.fromkeys(itertools.combinations(range(6), count), 0.0)
    for order in itertools.permutations(range(6), count):
        p, left = 1.0, weight.sum()
        for item in order:
            p, left = p * weight[item] / left, left - weight[item]
        chance[tuple(sorted(order))] += p
    seen = dict.fromkeys(chance, 0)
    for lane in np.sort(items, axis=1).tolist():
        seen[tuple(lane)] += 1
    assert stats.chisquare(list(seen.values()), np.array(list(chance.values())) * lanes).pvalue > 1e-3


def test_gaussian_exposes_the_weights_it_draws_by():
    pool, rule = wb.Pool(difficulty=TENS), AdaRFTGaussian(start=50.0, width=10.0)
    weight = rule.weights(rule.init(pool, 2), draw(pool, seed=[0, 1]))
    assert weight.shape == (2, 11)
    expected = np.exp(-((TENS - 50) ** 2) / 200)
    np.testing.assert_allclose(weight / weight.max(axis=1, keepdims=True), np.tile(expected, (2, 1)), rtol=1e-4)


def test_gaussian_far_from_every_item_still_prefers_the_nearest():
    # exp(-1800) and exp(-2450) are both 0 in floating point; their ratio is what counts.
    pool = wb.Pool(difficulty=[60.0, 70.0, 70.0, 70.0])
    items = batch(AdaRFTGaussian(start=0.0, width=1.0), pool, 1, np.arange(300))
    assert (items == 0).all()


def test_gaussian_a_narrow_bell_takes_the_nearest_items():
    pool = wb.Pool(difficulty=TENS)
    items = batch(AdaRFTGaussian(start=52.0, width=0.8), pool, 3, np.arange(50))
    for lane in items:
        assert set(lane.tolist()) == {4, 5, 6}


def test_gaussian_a_wide_bell_is_uniform():
    pool, lanes = wb.Pool(difficulty=TENS), 11_000
    items = batch(AdaRFTGaussian(width=1e6), pool, 1, np.arange(lanes))
    assert stats.chisquare(np.bincount(items[:, 0], minlength=11)).pvalue > 1e-3


def test_gaussian_a_batch_is_distinct_items_and_may_be_the_whole_pool():
    pool = wb.Pool(difficulty=TENS)
    for lane in batch(AdaRFTGaussian(width=1.0), pool, 11, np.arange(20)):
        assert sorted(lane.tolist()) == list(range(11))


def test_trap_adarft_gaussian_a_target_that_stays_does_not_serve_the_same_items_again():
    pool = wb.Pool.synthetic("uniform", size=2_000)
    controller = wb.Controller(AdaRFTGaussian(start=50.0), pool)
    first = controller.next_batch(64)
    controller.observe(first, np.tile([0.0, 1.0], 32))  # R = beta: T stays
    assert len(set(first.tolist()) & set(controller.next_batch(64).tolist())) < 16


def test_gaussian_the_width_may_differ_between_lanes():
    pool, widths = wb.Pool(difficulty=TENS), np.array([1.0, 30.0])
    both = batch(AdaRFTGaussian(start=50.0, width=widths), pool, 4, [7, 8])
    for lane in range(2):
        alone = batch(AdaRFTGaussian(start=50.0, width=float(widths[lane])), pool, 4, [7 + lane])
        np.testing.assert_array_equal(both[lane], alone[0])


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf])
def test_gaussian_a_width_that_is_no_positive_number_is_refused(width):
    with pytest.raises(InputError) as caught:
        AdaRFTGaussian(width=width)
    assert str(caught.value).startswith("width: must be ")
    assert str(width) in str(caught.value)


# --- covering: the nearest among what this round has not had


def test_covering_eight_batches_worked_by_hand():
    # Eleven items, batches of three, T held at 0: rounds of 11, so the fourth batch ends one and begins the next.
    rule, pool = AdaRFTCovering(eta=0.0, ties="first"), wb.Pool(difficulty=TENS)
    state, drawn = rule.init(pool, 1), []
    for step in range(8):
        items, state = rule.select(state, draw(pool, step), 3)
        drawn.append(set(items[0].tolist()))
    assert drawn == [
        {0, 1, 2},
        {3, 4, 5},
        {6, 7, 8},
        {9, 10, 0},  # the two that are left, and the nearest of a new round
        {1, 2, 3},
        {4, 5, 6},
        {7, 8, 9},
        {10, 0, 1},
    ]


def test_covering_follows_the_target_among_what_is_left():
    rule, pool = AdaRFTCovering(start=50.0, eta=50.0, ties="first"), wb.Pool(difficulty=TENS)
    state = rule.init(pool, 1)
    items, state = rule.select(state, draw(pool, 0), 3)
    assert set(items[0].tolist()) == {4, 5, 6}
    state = rule.update(state, feedback(pool, items, np.ones((1, 3, 1))))  # T = 88.08
    items, state = rule.select(state, draw(pool, 1), 3)
    assert set(items[0].tolist()) == {8, 9, 10}
    state = rule.update(state, feedback(pool, items, np.zeros((1, 3, 1)), step=2))  # T = 50
    items, state = rule.select(state, draw(pool, 2), 3)
    assert set(items[0].tolist()) == {2, 3, 7}


@settings(deadline=None, max_examples=80)
@given(
    failures=st.lists(st.integers(0, 16), min_size=1, max_size=25),
    targets=st.lists(st.floats(0, 100), min_size=1, max_size=12),
    ties=st.sampled_from(["first", "random"]),
    data=st.data(),
)
def test_covering_agrees_with_a_plain_set_of_used_items(failures, targets, ties, data):
    d = np.array(failures) / 16 * 100
    pool, count = wb.Pool(difficulty=d), data.draw(st.integers(1, len(d)))
    rule = AdaRFTCovering(ties=ties)
    state, used = rule.init(pool, 1), set()
    for step, target in enumerate(targets):
        state = state._replace(target=np.array([target]))
        items, state = rule.select(state, draw(pool, step), count)
        chosen = set(items[0].tolist())
        assert len(chosen) == count
        fresh = set(range(len(d))) - used
        if len(fresh) < count:  # the rest of this round, all of it, and the nearest of the next
            assert fresh <= chosen
            extra, fresh, used = chosen - fresh, set(range(len(d))) - fresh, set()
        else:
            extra = chosen
        nearest = sorted(abs(d[i] - target) for i in fresh)[: len(extra)]
        assert sorted(abs(d[i] - target) for i in extra) == nearest
        used |= extra


@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 30), data=st.data(), rewards=st.lists(st.floats(0, 1), min_size=30, max_size=30))
def test_covering_no_item_is_ever_used_two_times_more_than_another(size, data, rewards):
    count = data.draw(st.integers(1, size))
    controller = wb.Controller(AdaRFTCovering(), wb.Pool(difficulty=np.linspace(0, 100, size)))
    uses = np.zeros(size, int)
    for reward in rewards:
        items = controller.next_batch(count)
        controller.observe(items, np.full(count, reward))
        uses[items] += 1
        assert uses.max() - uses.min() <= 1


def test_trap_adarft_covering_a_target_at_its_bound_does_not_serve_the_same_items_again():
    # In the released code a T that is clipped at d_max draws the same batch for ever.
    pool = wb.Pool.synthetic("uniform", size=300)
    controller = wb.Controller(AdaRFTCovering(start=100.0), pool)
    drawn = []
    for _ in range(6):
        items = controller.next_batch(50)
        controller.observe(items, np.ones(50))
        drawn += items.tolist()
    assert sorted(drawn) == list(range(300))


def test_covering_random_ties_are_fair():
    pool, lanes = wb.Pool(difficulty=np.full(6, 70.0)), 3_000
    items = batch(AdaRFTCovering(start=70.0), pool, 2, np.arange(lanes))
    seen = dict.fromkeys(itertools.combinations(range(6), 2), 0)
    for pair in np.sort(items, axis=1).tolist():
        seen[tuple(pair)] += 1
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_covering_refills_go_on_with_the_round():
    pool = wb.Pool(difficulty=TENS)
    controller = wb.Controller(AdaRFTCovering(ties="first"), pool, [wb.DynamicSampling()])
    first = controller.next_batch(3)
    second = controller.next_batch(3, refill=True)
    assert set(first.tolist()) == {0, 1, 2}
    assert set(second.tolist()) == {3, 4, 5}


def test_covering_goes_on_with_its_round_after_a_resume():
    pool = wb.Pool(difficulty=TENS)
    one, two = (wb.Controller(AdaRFTCovering(ties="first"), pool) for _ in range(2))
    one.next_batch(3)
    two.load_state_dict(one.state_dict())
    assert set(two.next_batch(3).tolist()) == {3, 4, 5}


def test_covering_lanes_have_rounds_of_their_own():
    pool, rule = wb.Pool(difficulty=TENS), AdaRFTCovering(start=np.array([0.0, 100.0]), eta=0.0, ties="first")
    state = rule.init(pool, 2)
    first, state = rule.select(state, draw(pool, 0, [0, 1]), 4)
    second, state = rule.select(state, draw(pool, 1, [0, 1]), 4)
    assert [set(lane.tolist()) for lane in first] == [{0, 1, 2, 3}, {7, 8, 9, 10}]
    assert [set(lane.tolist()) for lane in second] == [{4, 5, 6, 7}, {3, 4, 5, 6}]
