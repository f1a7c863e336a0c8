"""Prioritized level replay: ranks, staleness and new items, by hand and by frequency."""

import numpy as np
import pytest
from scipy import stats
from steps import half, pool_of, select, told

import workbench as wb
from workbench import testing
from workbench.controllers.rules.plr import PLR
from workbench.errors import InputError


def seen(rule, pool, rewards, lanes=1):
    """The state after the whole pool was one batch, with these rewards (I, G)."""
    items, state = select(rule, rule.init(pool, lanes), pool, len(pool), 0)
    return told(rule, state, pool, items, np.asarray(rewards, np.float32)[items], step=1)


def drawn(rule, state, pool, step=1):
    items, _ = select(rule, state, pool, 1, step)
    return np.bincount(items[:, 0], minlength=len(pool))


# --- ranks

# Mean absolute deviations of groups of 8 with k right, 2 k (8 - k) / 64: .5, .375, .21875, 0 for k = 4, 2, 1, 8.
GROUPS = [half(2), half(8), half(4), half(1)]
RANKS = np.array([2.0, 4.0, 1.0, 3.0])


@pytest.mark.parametrize("beta", [1.0, 0.5, 3.0])
def test_an_item_is_drawn_by_the_rank_of_its_mean_absolute_deviation(beta):
    rule, pool, lanes = PLR(beta=beta, staleness=0.0), pool_of(4), 10_000
    law = RANKS ** (-1 / beta)
    counts = drawn(rule, seen(rule, pool, GROUPS, lanes), pool)
    assert stats.chisquare(counts, law / law.sum() * lanes).pvalue > 1e-3


def test_trap_plr_defaults_are_those_of_the_paper():
    # The released code's argparse has softmax with temperature 1 and no staleness; the paper ranks, 0.1 and 0.1.
    rule, pool, lanes = PLR(), pool_of(4), 4_000
    assert (rule.beta, rule.staleness) == (0.1, 0.1)
    law = RANKS**-10.0
    law /= law.sum()
    counts = drawn(PLR(staleness=0.0), seen(rule, pool, GROUPS, lanes), pool)
    assert stats.binomtest(int(counts[2]), lanes, law[2]).pvalue > 1e-3


def test_the_score_is_that_of_the_last_group():
    rule, pool, lanes = PLR(beta=1.0, staleness=0.0), pool_of(4), 10_000
    state = told(rule, seen(rule, pool, GROUPS, lanes), pool, [1, 2], [half(4), half(8)], step=2)
    law = 1 / np.array([2.0, 1.0, 4.0, 3.0])  # item 1 is now first, item 2 last
    assert stats.chisquare(drawn(rule, state, pool, 2), law / law.sum() * lanes).pvalue > 1e-3


def test_partial_rewards_have_deviations_too():
    # Mean absolute deviations .2, .5, 0 and .05.
    rule, pool, lanes = PLR(beta=1.0, staleness=0.0), pool_of(4), 8_000
    rewards = [[0.3, 0.7, 0.3, 0.7], [0, 1, 0, 1], [0.6] * 4, [0.5, 0.6, 0.5, 0.6]]
    law = 1 / np.array([2.0, 1.0, 4.0, 3.0])
    counts = drawn(rule, seen(rule, pool, rewards, lanes), pool)
    assert stats.chisquare(counts, law / law.sum() * lanes).pvalue > 1e-3


def test_items_of_one_score_share_what_their_ranks_are_worth():
    # Items 0 and 2 both .5, 1 and 3 both 0: ranks 1 and 2 together, 3 and 4 together.
    rule, pool, lanes = PLR(beta=1.0, staleness=0.0), pool_of(4), 6_000
    counts = drawn(rule, seen(rule, pool, [half(4), half(8), half(4), half(0)], lanes), pool)
    law = (1 + 1 / 2) / (1 + 1 / 2 + 1 / 3 + 1 / 4)
    assert stats.binomtest(int(counts[[0, 2]].sum()), lanes, law).pvalue > 1e-3


def test_single_rollouts_have_no_deviation_and_do_no_harm():
    rule, pool = PLR(), pool_of(5)
    state = seen(rule, pool, [[1.0], [0.0], [1.0], [1.0], [0.0]], 50)
    for step in range(1, 4):
        items, state = select(rule, state, pool, 3, step)
        state = told(rule, state, pool, items, np.ones((50, 3, 1)), step=step + 1)


@pytest.mark.parametrize("beta", [0.1, 1.0, 5.0])
def test_in_a_large_pool_a_batch_by_rank_is_a_draw_without_replacement(beta):
    # Against an independent one: the 64 largest of log weight + Gumbel noise. 2,000 scores, all different.
    rule, pool, lanes = PLR(beta=beta, staleness=0.0), pool_of(2_000), 200
    order = np.random.default_rng(0).permutation(2_000)  # order[i]: the rank of item i, from 0
    half_gap = 0.5 * (1 - order / 2_000)
    rewards = np.stack([0.5 - half_gap, 0.5 + half_gap], axis=1)
    state = told(rule, rule.init(pool, lanes), pool, np.arange(2_000), rewards)
    items, _ = select(rule, state, pool, 64, 1)
    ranks = order[items] + 1
    noise = np.random.default_rng(1).gumbel(size=(lanes, 2_000)) - np.log(np.arange(1, 2_001)) / beta
    expected = np.argsort(-noise, axis=1)[:, :64] + 1
    for of_batch in (np.median, np.max, np.min, np.mean):
        mine, theirs = of_batch(ranks, axis=1), of_batch(expected, axis=1)
        assert stats.mannwhitneyu(mine, theirs).pvalue > 1e-3 if np.ptp([mine, theirs]) else True


def test_in_a_large_pool_staleness_decides_in_proportion():
    # 1,000 items: seen 9, 3 and 1 batches ago (in thirds, nearly): shares of single draws 9 : 3 : 1.
    rule, pool, lanes = PLR(staleness=1.0), pool_of(999), 6_000
    state = rule.init(pool, 1)
    for part, step in enumerate((1, 7, 9)):
        state = told(rule, state, pool, np.arange(333) + 333 * part, [half(4)] * 333, step=step)
    wide = type(state)(*(np.repeat(part, lanes, axis=0) for part in state))
    counts = drawn(rule, wide, pool, 10).reshape(3, 333).sum(axis=1)
    assert stats.chisquare(counts, np.array([9, 3, 1]) / 13 * lanes).pvalue > 1e-3


def test_the_weights_it_shows_are_these_probabilities():
    rule, pool = PLR(beta=1.0, staleness=0.25), pool_of(6)
    state = told(rule, rule.init(pool, 1), pool, [0, 1, 2, 3], GROUPS, step=1)
    by_rank = (1 / RANKS) / (1 / RANKS).sum()
    weights = rule.weights(state, testing.draw(pool, 1))[0]  # nothing is stale yet, and items 4 and 5 are new
    np.testing.assert_allclose(weights / weights.sum(), [*by_rank, 0, 0], rtol=1e-5)
    state = told(rule, state, pool, [1, 2], [GROUPS[1], GROUPS[2]], step=3)  # items 0 and 3 wait since step 1
    weights = rule.weights(state, testing.draw(pool, 4))[0]
    waits = np.array([3, 1, 1, 3]) / 8
    np.testing.assert_allclose(weights / weights.sum(), [*(0.75 * by_rank + 0.25 * waits), 0, 0], rtol=1e-5)


# --- staleness


def test_with_staleness_alone_an_item_is_drawn_in_proportion_to_the_time_since_its_last_draw():
    # Single items until all three are seen, then P_C is proportional to the batches since: by hand from the record.
    rule, pool = PLR(staleness=1.0, fresh=1.0), pool_of(3)
    state, last = rule.init(pool, 1), {}
    for step in range(3):
        items, state = select(rule, state, pool, 1, step)
        last[int(items[0, 0])] = step
        state = told(rule, state, pool, items, [half(4)], step=step + 1)
    assert len(last) == 3  # with fresh = 1 every draw is a new item
    wide = type(state)(*(np.repeat(part, 6_000, axis=0) for part in state))
    counts = drawn(rule, wide, pool, 3)
    stale = np.array([2 - last[item] for item in range(3)], float)  # 2, 1 and 0: the last one drawn is not stale
    assert counts[stale == 0].sum() == 0
    assert stats.chisquare(counts[stale > 0], (stale / stale.sum())[stale > 0] * 6_000).pvalue > 1e-3


def test_rank_and_staleness_mix_as_the_coefficient_says():
    # Scores make item 0 first of three for certain (beta small); staleness as above.
    rule, pool = PLR(beta=0.01, staleness=0.4, fresh=1.0), pool_of(3)
    state, last = rule.init(pool, 1), {}
    for step in range(3):
        items, state = select(rule, state, pool, 1, step)
        item = int(items[0, 0])
        last[item] = step
        state = told(rule, state, pool, items, [half(4 if item == 0 else item)], step=step + 1)
    wide = type(state)(*(np.repeat(part, 8_000, axis=0) for part in state))
    counts = drawn(rule, wide, pool, 3)
    stale = np.array([2 - last[item] for item in range(3)], float)
    law = 0.6 * np.array([1.0, 0, 0]) + 0.4 * stale / 3
    assert counts[law == 0].sum() == 0
    assert stats.chisquare(counts[law > 0], law[law > 0] * 8_000).pvalue > 1e-3


def test_where_nothing_is_stale_ranks_decide():
    rule, pool, lanes = PLR(beta=1.0, staleness=0.5), pool_of(4), 8_000
    counts = drawn(rule, seen(rule, pool, GROUPS, lanes), pool)
    law = 1 / RANKS
    assert stats.chisquare(counts, law / law.sum() * lanes).pvalue > 1e-3


def test_staleness_saves_an_item_of_the_lowest_rank_from_starving():
    pool, rates = pool_of(30), np.where(np.arange(30) < 3, 0.5, 1.0)
    shares = {}
    for staleness in (0.0, 0.3):
        controller = wb.Controller(PLR(staleness=staleness), pool, seed=2)
        counts = np.zeros(30)
        for _ in range(400):
            items = controller.next_batch(2)
            counts[items] += 1
            controller.observe(items, (np.arange(8) / 8 < rates[items][:, None]).astype(np.float32))
        shares[staleness] = counts[3:].min()
    assert shares[0.0] <= 3  # seen once as new items, then hardly ever
    assert shares[0.3] >= 4


# --- new items


def test_the_first_batches_are_new_items():
    rule, pool = PLR(fresh=0.0), pool_of(10)
    items, _ = select(rule, rule.init(pool, 300), pool, 4, 0)
    counts = np.bincount(items.ravel(), minlength=10)
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 9 / 6, 9) > 1e-3


def test_with_only_fresh_items_the_pool_is_covered_without_repeats():
    rule, pool = PLR(fresh=1.0), pool_of(12)
    state, met = rule.init(pool, 20), []
    for step in range(4):
        items, state = select(rule, state, pool, 3, step)
        met.append(items)
        state = told(rule, state, pool, items, np.tile(half(4), (20, 3, 1)), step=step + 1)
    for lane in np.concatenate(met, axis=1).tolist():
        assert sorted(lane) == list(range(12))


def half_seen(rule, pool, lanes):
    """Items 0 to 4 were seen, 5 to 9 not."""
    return told(rule, rule.init(pool, lanes), pool, np.arange(5), [half(4)] * 5, step=1)


@pytest.mark.parametrize("fresh", [0.0, 0.2, 0.5, 1.0])
def test_an_item_is_new_with_the_probability_asked_for_until_all_are_seen(fresh):
    rule, pool, lanes = PLR(fresh=fresh, staleness=0.0), pool_of(10), 6_000
    counts = drawn(rule, half_seen(rule, pool, lanes), pool, 1)
    new = int(counts[5:].sum())
    if fresh in (0.0, 1.0):
        assert new == fresh * lanes
    else:
        assert stats.binomtest(new, lanes, fresh).pvalue > 1e-3
    if fresh > 0:
        assert stats.chisquare(counts[5:]).pvalue > 1e-3  # each new item as likely


def test_each_place_of_a_batch_is_new_with_that_probability():
    rule, pool, lanes = PLR(fresh=0.3, staleness=0.0), pool_of(10), 6_000
    items, _ = select(rule, half_seen(rule, pool, lanes), pool, 4, 1)
    new = (items >= 5).sum()
    # four places each: mean 4 * .3, however the places are dealt out
    assert abs(new / lanes - 1.2) < 4 * np.sqrt(4 * 0.3 * 0.7 / lanes)


def test_too_few_of_one_kind_are_made_up_by_the_other():
    rule, pool = PLR(fresh=0.0), pool_of(10)
    items, _ = select(rule, half_seen(rule, pool, 100), pool, 8, 1)
    assert all(set(range(5)) < set(row) for row in items.tolist())
    items, _ = select(PLR(fresh=1.0), half_seen(rule, pool, 100), pool, 8, 1)
    assert all(set(range(5, 10)) < set(row) for row in items.tolist())


def test_an_item_whose_group_never_came_back_does_no_harm():
    rule, pool = PLR(), pool_of(6)
    items, state = select(rule, rule.init(pool, 40), pool, 3, 0)
    state = told(rule, state, pool, items, np.tile(half(4), (40, 3, 1)), counts=[8, 0, 8], step=1)
    for step in range(1, 6):
        items, state = select(rule, state, pool, 3, step)
        state = told(rule, state, pool, items, np.tile(half(3), (40, 3, 1)), step=step + 1)
    for part in state:
        assert np.isfinite(np.asarray(part, float)).all()


def test_the_whole_pool_as_a_batch_is_every_item_once():
    rule, pool = PLR(), pool_of(6)
    state = seen(rule, pool, [half(k) for k in range(6)], 3)
    items, _ = select(rule, state, pool, 6, 1)
    assert all(sorted(row) == list(range(6)) for row in items.tolist())


# --- the schedule of new items: beside facebookresearch/level-replay, ccecf45, level_sampler.py and arguments.py


def seen_of_twenty(rule, seen, lanes=1):
    """The state after the first `seen` of 20 items had feedback."""
    pool = pool_of(20)
    state = rule.init(pool, lanes)
    return pool, told(rule, state, pool, np.arange(seen), [half(4)] * seen) if seen else state


PROPORTIONATE = [(0, 1.0), (5, 0.75), (10, 0.5), (15, 0.25), (19, 0.05), (20, 0.0)]


@pytest.mark.parametrize(("seen", "chance"), PROPORTIONATE)
def test_the_papers_annealing_is_one_minus_the_share_seen(seen, chance):
    # The released code with rho = 0: it replays where a uniform number is below seen / all. nu is not read.
    for fresh in (0.0, 0.5, 1.0):
        rule = PLR(schedule="proportionate", fresh=fresh)
        _, state = seen_of_twenty(rule, seen)
        np.testing.assert_allclose(rule.chance_of_new(state), [chance], atol=1e-12)


@pytest.mark.parametrize(("seen", "chance"), PROPORTIONATE)
def test_single_items_are_new_as_often_as_the_annealing_says(seen, chance):
    rule, lanes = PLR(schedule="proportionate"), 6_000
    pool, state = seen_of_twenty(rule, seen, lanes)
    new = int((select(rule, state, pool, 1, 2)[0] >= seen).sum())
    assert new == chance * lanes if chance in (0, 1) else stats.binomtest(new, lanes, chance).pvalue > 1e-3


@pytest.mark.parametrize("schedule", ["fixed", "proportionate"])
def test_the_released_default_replays_nothing_until_all_are_seen(schedule):
    # rho = 1, the default of the released arguments, in either schedule.
    rule = PLR(schedule=schedule, replay_from=1.0, fresh=0.1)
    got = [rule.chance_of_new(seen_of_twenty(rule, seen)[1])[0] for seen in (0, 5, 10, 15, 19)]
    assert got == [1.0] * 5
    pool, state = seen_of_twenty(rule, 15, 500)
    assert (select(rule, state, pool, 5, 2)[0] >= 15).all()


def test_replays_begin_at_the_share_itself():
    # rho = 0.2, the default of the released class: 3 of 20 are below it, 4 of 20 are not.
    fixed, annealed = PLR(replay_from=0.2), PLR(replay_from=0.2, schedule="proportionate")
    assert [fixed.chance_of_new(seen_of_twenty(fixed, seen)[1])[0] for seen in (3, 4, 5)] == [1.0, 0.5, 0.5]
    got = [annealed.chance_of_new(seen_of_twenty(annealed, seen)[1])[0] for seen in (3, 4, 5)]
    np.testing.assert_allclose(got, [1.0, 0.8, 0.75])


def test_by_default_the_chance_of_a_new_item_is_constant():
    rule = PLR()
    assert [rule.chance_of_new(seen_of_twenty(rule, seen)[1])[0] for seen in (0, 5, 19)] == [0.5] * 3


def test_lanes_may_begin_to_replay_at_different_shares():
    rule = PLR(schedule="proportionate", replay_from=np.array([0.0, 0.6]))
    _, state = seen_of_twenty(rule, 10, 2)
    np.testing.assert_allclose(rule.chance_of_new(state), [0.5, 1.0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("score", "gae"),
        ("schedule", "linear"),
        ("replay_from", -0.1),
        ("replay_from", 1.1),
        ("beta", 0.0),
        ("beta", -1.0),
        ("staleness", -0.1),
        ("staleness", 1.1),
        ("fresh", -0.1),
        ("fresh", 1.1),
    ],
)
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        PLR(**{field: value})
