"""The compiled ways of choosing: best scores, draws by weight, arms, exploration, Beta draws."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import workbench as wb
from workbench import kernels, testing
from workbench.controllers import items as choose
from workbench.streams import Role

ROLE, CLOCK = int(Role.SCORE), 5


def keys(lanes):
    return np.arange(lanes, dtype=np.uint64)


def top(score, count, lanes=None, clock=CLOCK):
    """(R, count) by kernels.top; one row of scores is given to all `lanes`."""
    score = np.asarray(score)
    score = np.ascontiguousarray(np.broadcast_to(score, (lanes or len(score), score.shape[-1])))
    out = np.empty((len(score), count), np.int64)
    kernels.top(score, keys(len(score)), ROLE, clock, out)
    return out


def weighted(weight, count, lanes=1, clock=CLOCK):
    """(lanes, count) by kernels.weighted, the same weights in every lane."""
    weight = np.asarray(weight, np.float32)
    out = np.empty((lanes, count), np.int64)
    kernels.weighted(np.ascontiguousarray(np.broadcast_to(weight, (lanes, weight.size))), keys(lanes), ROLE, clock, out)
    return out


def from_arms(share, sizes, count, lanes=1, clock=CLOCK):
    """(lanes, count) by kernels.from_arms; arm k holds the next sizes[k] positions."""
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    share = np.ascontiguousarray(np.broadcast_to(np.asarray(share, float), (lanes, len(sizes))))
    out = np.empty((lanes, count), np.int64)
    kernels.from_arms(share, np.arange(start[-1]), start, keys(lanes), ROLE, clock, out)
    return out


def explore(items, share, size, clock=CLOCK):
    items = np.array(items, np.int64)
    lanes = len(items)
    kernels.explore(items, np.broadcast_to(np.asarray(share, float), (lanes,)).copy(), size, keys(lanes), ROLE, clock)
    return items


def beta(a, b, count, lanes=1, clock=CLOCK):
    a, b = (np.ascontiguousarray(np.broadcast_to(np.asarray(x, float), (lanes, count))) for x in (a, b))
    out = np.empty((lanes, count))
    kernels.beta_draws(a, b, keys(lanes), ROLE, clock, out)
    return out


def fits(outcomes, law):
    """p-value of a chi-square test of a list of outcomes against {outcome: probability}."""
    counts = dict.fromkeys(law, 0)
    for outcome in outcomes:
        assert outcome in counts, f"{outcome} has probability 0"
        counts[outcome] += 1
    expected = np.array(list(law.values()))
    assert expected.sum() == pytest.approx(1)
    if len(law) == 1:
        return 1.0
    return stats.chisquare(list(counts.values()), expected / expected.sum() * len(outcomes)).pvalue


def sets(rows):
    return [tuple(sorted(row)) for row in rows.tolist()]


def law_of_sets(weights, count):
    """{set: probability} of `count` draws one after another without replacement, in proportion to weights."""
    law = {}
    for order in itertools.permutations(range(len(weights)), count):
        probability, left = 1.0, sum(weights)
        for item in order:
            probability *= weights[item] / left if left > 0 else 0.0
            left -= weights[item]
        key = tuple(sorted(order))
        law[key] = law.get(key, 0.0) + probability
    return {key: p for key, p in law.items() if p > 0}


# --- the best scores


@settings(deadline=None, max_examples=150)
@given(
    score=st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 0.5, 3.0, np.inf]), min_size=1, max_size=40),
    data=st.data(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_top_takes_the_largest_scores(score, data, dtype):
    score = np.array(score, dtype)
    count = data.draw(st.integers(1, len(score)))
    for row in top(score, count, lanes=2):
        assert len(set(row.tolist())) == count
        np.testing.assert_array_equal(np.sort(score[row]), np.sort(score)[len(score) - count :])


SHAPES = {  # of pools larger than the sample of 2,048 from which a bar is guessed
    "rising": lambda i: i,
    "falling": lambda i: -i,
    "every second is low": lambda i: np.where(i % 2, 1.0 + i, -1.0 - i),
    "every second is high": lambda i: np.where(i % 2, -1.0 - i, 1.0 + i),
    "a few levels": lambda i: i % 7,
    "all alike": lambda i: 0 * i,
    "one stands out": lambda i: i == 3_001,
    "nobody but few": lambda i: np.where(i % 1_000 == 1, i, -np.inf),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("count", [1, 3, 256, 4_095, 4_096])
def test_top_is_right_however_scores_lie_in_a_large_pool(shape, count):
    score = np.asarray(shape(np.arange(4_096)), np.float32)
    (row,) = top(score, count, lanes=1)
    assert len(set(row.tolist())) == count
    np.testing.assert_array_equal(np.sort(score[row]), np.sort(score)[len(score) - count :])


def test_top_gives_every_set_of_items_that_tie_for_the_last_places_the_same_chance():
    score = [0.5, 0.9, 0.5, 0.1, 0.5, 0.5, 0.7]
    law = {tuple(sorted((1, 6, *pair))): 1 / 6 for pair in itertools.combinations((0, 2, 4, 5), 2)}
    assert fits(sets(top(score, 4, lanes=6_000)), law) > 1e-3


def test_top_gives_every_tied_item_of_a_large_pool_the_same_chance():
    size, count, lanes = 5_000, 500, 200
    seen = np.bincount(top(np.zeros(size, np.float32), count, lanes=lanes).ravel(), minlength=size)
    statistic = stats.chisquare(seen).statistic * (size - 1) / (size - count)
    assert 1e-3 < stats.chi2.sf(statistic, size - 1) < 1 - 1e-3


def test_items_that_nobody_wants_fill_the_last_places_of_top_at_random():
    score = [-np.inf, 1.0, -np.inf, -np.inf, 2.0]
    law = {tuple(sorted((1, 4, other))): 1 / 3 for other in (0, 2, 3)}
    assert fits(sets(top(score, 3, lanes=3_000)), law) > 1e-3


def test_ties_of_top_are_fair_over_the_steps_of_one_run():
    drawn = [tuple(sorted(top(np.zeros(5), 2, lanes=1, clock=step)[0].tolist())) for step in range(3_000)]
    assert fits(drawn, dict.fromkeys(itertools.combinations(range(5), 2), 0.1)) > 1e-3


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_a_lane_of_top_does_not_depend_on_the_other_lanes(seed, count):
    score = np.random.default_rng(seed).integers(0, 4, (4, 30)).astype(np.float32)
    together = top(score, count)
    for lane in range(4):
        alone = np.empty((1, count), np.int64)
        kernels.top(score[lane : lane + 1].copy(), keys(4)[lane : lane + 1], ROLE, CLOCK, alone)
        np.testing.assert_array_equal(together[lane], alone[0])


# --- draws by weight


def test_a_single_draw_has_the_probabilities_of_the_weights_and_never_takes_weight_0():
    weight = np.array([0.4, 0.0, 0.1, 1.0, 0.5, 0.01])
    law = dict(enumerate(weight / weight.sum()))
    drawn = weighted(weight, 1, lanes=40_000)[:, 0].tolist()
    assert 1 not in drawn
    del law[1]
    assert fits(drawn, law) > 1e-3


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_batch_is_drawn_one_item_after_another_without_replacement(count):
    weight = [0.9, 0.3, 0.05, 0.6, 0.15]
    assert fits(sets(weighted(weight, count, lanes=20_000)), law_of_sets(weight, count)) > 1e-3


def test_items_of_weight_0_come_last_and_at_random():
    weight = [0.0, 0.2, 0.0, 0.0, 1.0, 0.0]
    law = {tuple(sorted((1, 4, *pair))): 1 / 6 for pair in itertools.combinations((0, 2, 3, 5), 2)}
    assert fits(sets(weighted(weight, 4, lanes=6_000)), law) > 1e-3


def test_where_no_item_has_weight_every_batch_is_equally_likely():
    law = dict.fromkeys(itertools.combinations(range(5), 2), 0.1)
    assert fits(sets(weighted(np.zeros(5), 2, lanes=5_000)), law) > 1e-3


@settings(deadline=None, max_examples=100)
@given(weight=st.lists(st.sampled_from([0.0, 1e-20, 1e-3, 0.5, 1.0]), min_size=1, max_size=30), data=st.data())
def test_a_batch_by_weight_has_distinct_items_and_those_of_weight_0_only_when_the_others_are_used_up(weight, data):
    count = data.draw(st.integers(1, len(weight)))
    (row,) = weighted(weight, count).tolist()
    assert len(set(row)) == count
    positive = sum(w > 0 for w in weight)
    assert sum(weight[item] > 0 for item in row) == min(count, positive)


@pytest.mark.parametrize("size", [7, 3_000])
def test_the_whole_pool_by_weight_is_every_item_once(size):
    weight = np.where(np.arange(size) % 3, np.linspace(0.01, 1, size), 0.0)
    (row,) = weighted(weight, size)
    assert sorted(row.tolist()) == list(range(size))


@pytest.mark.parametrize("count", [1, 40, 2_047, 2_048, 2_060])
def test_weights_that_the_sample_for_the_bar_misses_are_found(count):
    # every second item has weight 0, and the sample of 2,048 of 4,096 looks at just these
    weight = np.where(np.arange(4_096) % 2, 0.3, 0.0)
    for row in weighted(weight, count, lanes=3):
        assert len(set(row.tolist())) == count
        assert (row % 2).sum() == min(count, 2_048)


def test_one_heavy_item_among_thousands_of_light_ones_is_drawn_as_often_as_it_should():
    weight = np.full(5_000, 1e-4)
    weight[2_501] = 0.5  # half of all weight
    drawn = weighted(weight, 1, lanes=2_000)[:, 0]
    assert stats.binomtest(int((drawn == 2_501).sum()), 2_000, 0.5).pvalue > 1e-3


def test_a_large_pool_of_two_weights_gives_the_mixture_of_draws_without_replacement():
    # 5,000 items of weight 1, 5,000 of weight 0.1, B = 256: exponential clocks, cut where 256 have rung.
    cut = optimize.brentq(lambda t: 5_000 * (1 - np.exp(-t)) + 5_000 * (1 - np.exp(-0.1 * t)) - 256, 0, 1)
    heavy = 5_000 * (1 - np.exp(-cut))
    weight = np.where(np.arange(10_000) % 2, 1.0, 0.1)
    seen = (weighted(weight, 256, lanes=300) % 2).sum(axis=1)
    assert stats.ttest_1samp(seen, heavy).pvalue > 1e-3
    assert seen.var() < 256 * (heavy / 256) * (1 - heavy / 256) * 1.5


def test_every_item_of_a_large_pool_of_equal_weights_has_the_same_chance():
    size, count, lanes = 5_000, 500, 200
    seen = np.bincount(weighted(np.full(size, 0.25), count, lanes=lanes).ravel(), minlength=size)
    statistic = stats.chisquare(seen).statistic * (size - 1) / (size - count)
    assert 1e-3 < stats.chi2.sf(statistic, size - 1) < 1 - 1e-3


def test_only_the_proportions_of_the_weights_matter():
    weight = np.random.default_rng(0).uniform(0, 1, 3_000).astype(np.float32)
    whole = weighted(weight, 50, lanes=3)
    np.testing.assert_array_equal(whole, weighted(weight * np.float32(2.0**-20), 50, lanes=3))


def test_very_small_weights_keep_their_proportions():
    drawn = weighted([1e-20, 3e-20, 0.0], 1, lanes=4_000)[:, 0].tolist()
    assert fits(drawn, {0: 0.25, 1: 0.75}) > 1e-3


def test_draws_by_weight_of_neighbouring_steps_are_independent():
    first, second = (weighted([0.5, 0.3, 0.2], 1, lanes=6_000, clock=step)[:, 0] for step in (8, 9))
    table = np.zeros((3, 3))
    np.add.at(table, (first, second), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


# --- arms


def law_of_arms(share, sizes, count):
    """{items per arm: probability} of `count` draws of an arm; used-up arms leave, and in the end sizes decide."""
    law = {}

    def go(taken, probability):
        if sum(taken) == count:
            law[taken] = law.get(taken, 0.0) + probability
            return
        left = [s if taken[k] < sizes[k] else 0.0 for k, s in enumerate(share)]
        if sum(left) == 0:
            left = [sizes[k] - taken[k] for k in range(len(sizes))]
        for k, weight in enumerate(left):
            if weight > 0:
                go((*taken[:k], taken[k] + 1, *taken[k + 1 :]), probability * weight / sum(left))

    go((0,) * len(sizes), 1.0)
    return law


def arm_counts(rows, sizes):
    edge = np.concatenate([[0], np.cumsum(sizes)])
    arm = np.searchsorted(edge, rows, side="right") - 1
    return [tuple(int((row == k).sum()) for k in range(len(sizes))) for row in arm]


@pytest.mark.parametrize(
    ("share", "sizes", "count"),
    [
        ([0.2, 0.5, 0.3], [9, 9, 9], 1),
        ([0.2, 0.5, 0.3], [9, 9, 9], 4),
        ([0.7, 0.2, 0.1], [1, 2, 9], 4),  # arms run out and the others share what is left
        ([1.0, 0.0, 0.0], [2, 3, 6], 5),  # what has share is used up: sizes decide
        ([0.0, 0.0, 0.0], [2, 3, 6], 3),
        ([0.5, 0.0, 0.5], [1, 5, 1], 4),
        ([0.3, 0.7, 0.0], [0, 4, 4], 3),  # an arm without items cannot be drawn
        ([0.01, 0.04, 0.05], [9, 9, 9], 2),  # shares need not sum to 1
    ],
)
def test_arms_are_drawn_by_share_slot_by_slot_until_they_are_used_up(share, sizes, count):
    rows = from_arms(share, sizes, count, lanes=20_000)
    assert all(len(set(row)) == count for row in rows[:500].tolist())
    assert fits(arm_counts(rows, sizes), law_of_arms(share, sizes, count)) > 1e-3


def test_every_subset_of_an_arm_is_equally_likely():
    rows = from_arms([0.0, 1.0], [3, 6], 3, lanes=6_000)
    law = dict.fromkeys(itertools.combinations(range(3, 9), 3), 1 / 20)
    assert fits(sets(rows), law) > 1e-3


def test_where_all_shares_are_zero_every_batch_is_equally_likely():
    law = dict.fromkeys(itertools.combinations(range(5), 2), 0.1)
    assert fits(sets(from_arms([0.0, 0.0], [2, 3], 2, lanes=5_000)), law) > 1e-3


def test_what_an_arm_gives_does_not_depend_on_how_often_it_was_drawn():
    # Given that arm 0 of 5 items gives one or two, item 0 is among them with probability 1/5 or 2/5.
    rows = from_arms([0.5, 0.5], [5, 5], 3, lanes=12_000)
    mine = np.array([c[0] for c in arm_counts(rows, [5, 5])])
    for count in (1, 2, 3):
        hit = (rows[mine == count] == 0).any(axis=1)
        assert stats.binomtest(int(hit.sum()), hit.size, count / 5).pvalue > 1e-3


def test_long_arms_give_every_item_the_same_chance():
    size, count, lanes = 3_000, 300, 300
    seen = np.bincount(from_arms([1.0], [size], count, lanes=lanes).ravel(), minlength=size)
    statistic = stats.chisquare(seen).statistic * (size - 1) / (size - count)
    assert 1e-3 < stats.chi2.sf(statistic, size - 1) < 1 - 1e-3


@settings(deadline=None, max_examples=100)
@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(sum), data=st.data())
def test_arms_give_as_many_distinct_items_as_asked_for(sizes, data):
    share = data.draw(st.lists(st.sampled_from([0.0, 0.1, 0.9]), min_size=len(sizes), max_size=len(sizes)))
    count = data.draw(st.integers(1, sum(sizes)))
    (row,) = from_arms(share, sizes, count).tolist()
    assert len(set(row)) == count
    assert all(0 <= item < sum(sizes) for item in row)
    wanted = sum(size for size, s in zip(sizes, share, strict=True) if s > 0)
    held = arm_counts(np.array([row]), sizes)[0]
    assert sum(n for n, s in zip(held, share, strict=True) if s > 0) == min(count, wanted)


def test_arms_of_any_order_of_positions_give_their_own_items():
    pool = wb.Pool(difficulty=[95.0, 5.0, 55.0, 6.0, 96.0, 50.0])
    arms = pool.arms()
    share = np.zeros((50, len(arms)))
    share[:, list(arms.names).index(9)] = 1.0
    out = np.empty((50, 2), np.int64)
    kernels.from_arms(share, arms.order, arms.start, keys(50), ROLE, CLOCK, out)
    assert {tuple(sorted(row)) for row in out.tolist()} == {(0, 4)}


# --- exploration


def test_no_exploration_leaves_a_batch_as_it_is():
    batch = np.array([[4, 1, 7]] * 3)
    np.testing.assert_array_equal(explore(batch, 0.0, 10), batch)


def test_as_many_slots_explore_as_the_share_says():
    batch = np.tile(np.arange(4), (10_000, 1))
    changed = (explore(batch, 0.3, 5_000) != batch).sum(axis=1)
    assert fits(changed.tolist(), dict(enumerate(stats.binom.pmf(range(5), 4, 0.3)))) > 1e-3


def test_a_newcomer_is_any_item_outside_the_batch():
    batch = np.full((8_000, 1), 3)
    new = explore(batch, 1.0, 9)[:, 0]
    assert fits(new.tolist(), {item: 1 / 8 for item in range(9) if item != 3}) > 1e-3


def test_newcomers_of_a_large_pool_are_uniform():
    size = 500
    batch = np.tile(np.arange(20), (2_000, 1))
    new = explore(batch, 0.5, size)
    assert all(len(set(row)) == 20 for row in new.tolist())
    seen = np.bincount(new[new != batch], minlength=size)
    assert stats.chisquare(seen[20:]).pvalue > 1e-3


def test_each_lane_explores_by_its_own_share():
    batch = np.tile(np.arange(50), (3, 1))
    changed = (explore(batch, [0.0, 0.5, 1.0], 5_000) != batch).sum(axis=1)
    assert changed[0] == 0
    assert 10 < changed[1] < 40
    assert changed[2] == 50


@settings(deadline=None, max_examples=100)
@given(size=st.integers(1, 80), data=st.data(), share=st.sampled_from([0.2, 0.9, 1.0]))
def test_exploration_keeps_items_distinct_and_in_the_pool_and_the_whole_pool_as_it_is(size, data, share):
    count = data.draw(st.integers(1, size))
    batch = np.random.default_rng(0).permutation(size)[:count][None]
    (row,) = explore(batch, share, size).tolist()
    assert len(set(row)) == count
    assert all(0 <= item < size for item in row)
    if count == size:
        assert row == batch[0].tolist()


def test_no_item_starves_where_a_rule_explores():
    # A rule that always takes the same two of 30 items, with 10 % exploration, covers the pool.
    pool = wb.Pool(difficulty=np.linspace(0, 100, 30))
    controller = wb.Controller(wb.FrozenTarget(target=0.0, ties="first", floor=0.1), pool, seed=0)
    drawn = np.array([controller.next_batch(2) for _ in range(3_000)])
    seen = np.bincount(drawn.ravel(), minlength=30)
    assert (seen > 0).all()
    assert stats.chisquare(seen[2:]).pvalue > 1e-3
    assert stats.binomtest(int(seen[2:].sum()), 6_000, 0.1).pvalue > 1e-3


# --- Beta draws


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, 1), (0.5, 0.5), (2, 5), (1, 3), (0.1, 3), (0.3, 0.2), (50, 50), (2_000, 300), (17, 0.4), (1, 0.99)],
)
def test_beta_draws_have_the_beta_distribution(a, b):
    drawn = beta(a, b, 400, lanes=50).ravel()
    assert stats.kstest(drawn, stats.beta(a, b).cdf).pvalue > 1e-3


def test_beta_draws_are_in_the_unit_interval_even_where_nearly_all_mass_is_at_its_ends():
    drawn = beta(1e-3, 1e-3, 2_000, lanes=5)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert stats.binomtest(int((drawn > 0.5).sum()), drawn.size, 0.5).pvalue > 1e-3


def test_each_beta_draw_has_its_own_shapes():
    a = np.tile([0.5, 3.0, 40.0, 1.0], (8_000, 1))
    b = np.tile([2.0, 1.0, 60.0, 1.0], (8_000, 1))
    drawn = beta(a, b, 4, lanes=8_000)
    for entry in range(4):
        law = stats.beta(a[0, entry], b[0, entry])
        assert stats.kstest(drawn[:, entry], law.cdf).pvalue > 1e-3


def test_beta_draws_of_neighbouring_entries_lanes_and_steps_are_independent():
    here, later = (beta(2.0, 3.0, 200, lanes=100, clock=step) for step in (3, 4))
    pairs = [(here[:, :-1], here[:, 1:]), (here[:-1], here[1:]), (here, later), (here[:, :100], here[:, 100:])]
    for one, other in pairs:
        assert stats.spearmanr(one.ravel(), other.ravel()).pvalue > 1e-3


def test_a_beta_draw_does_not_depend_on_the_other_lanes():
    together = beta(0.7, 2.0, 30, lanes=4)
    alone = np.empty((1, 30))
    kernels.beta_draws(np.full((1, 30), 0.7), np.full((1, 30), 2.0), keys(4)[2:3], ROLE, CLOCK, alone)
    np.testing.assert_array_equal(together[2], alone[0])


def test_a_larger_first_shape_gives_larger_draws():
    means = [beta(a, 4.0, 2_000)[0].mean() for a in (0.5, 2.0, 8.0)]
    assert means == pytest.approx([a / (a + 4) for a in (0.5, 2.0, 8.0)], abs=0.02)


# --- what rules build on these


def test_random_items_are_a_uniform_subset_of_the_pool():
    pool = wb.Pool(difficulty=np.linspace(0, 100, 6))
    rows = choose.random_items(testing.draw(pool, seed=np.arange(6_000)), 2)
    assert fits(sets(rows), dict.fromkeys(itertools.combinations(range(6), 2), 1 / 15)) > 1e-3


def test_candidates_tell_nothing_of_a_draw_by_weight_in_the_same_step():
    pool = wb.Pool(difficulty=np.linspace(0, 100, 4))
    draw = testing.draw(pool, step=7, seed=np.arange(8_000))
    candidate = choose.random_items(draw, 1)[:, 0]
    drawn = choose.draw_by_weight(np.full((8_000, 4), 0.5, np.float32), draw, 1)[:, 0]
    table = np.zeros((4, 4))
    np.add.at(table, (candidate, drawn), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_a_refill_of_a_batch_has_luck_of_its_own():
    pool = wb.Pool(difficulty=np.linspace(0, 100, 4))
    score = np.zeros((4_000, 4), np.float32)
    first, second = (
        choose.take_best(score, testing.draw(pool, step=7, seed=np.arange(4_000), turn=turn), 1)[:, 0]
        for turn in (0, 1)
    )
    table = np.zeros((4, 4))
    np.add.at(table, (first, second), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_counts_add_up_where_an_item_comes_twice_and_groups_differ_in_size():
    pool = wb.Pool(difficulty=np.linspace(0, 100, 4))
    rewards = [[1, 1, 0, 1], [0.5, 0.5, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    told = testing.feedback(pool, [2, 0, 2, 1], rewards, counts=[4, 2, 1, 0])
    before = np.array([[1, 0, 2, 0]], np.float32)
    successes, attempts = choose.with_counts(before, 2 * before, told)
    np.testing.assert_allclose(successes, [[1 + 1, 0, 2 + 3 + 1, 0]])
    np.testing.assert_allclose(attempts, [[2 + 2, 0, 4 + 4 + 1, 0]])
    np.testing.assert_array_equal(before, [[1, 0, 2, 0]])
    np.testing.assert_array_equal(choose.answered(told, 4), [[True, False, True, False]])
