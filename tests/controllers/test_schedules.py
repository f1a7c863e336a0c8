"""The baselines a curriculum is compared with: uniform epochs, filters, fixed targets and easy-to-hard."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import workbench as wb
from workbench.controllers import Draw
from workbench.errors import InputError

TENS = np.arange(0.0, 101.0, 10.0)  # position i has difficulty 10 i


def batches(rule, pool, count, steps, seed=0):
    """The batches (steps, count) of a controller that never hears a reward."""
    controller = wb.Controller(rule, pool, seed=seed)
    return np.array([controller.next_batch(count) for _ in range(steps)])


def lane_batches(rule, pool, count, steps, seeds):
    """The batches (steps, R, count) of many lanes, straight from the rule."""
    keys = np.array(seeds, dtype=np.uint64)
    state, drawn = rule.init(pool, len(keys)), []
    for step in range(steps):
        items, state = rule.select(state, Draw(pool, keys, step), count)
        drawn.append(items)
    return np.array(drawn)


def allowed(rule, difficulty, **columns):
    """Every position that ever comes up over three epochs of single items."""
    pool = wb.Pool(difficulty=difficulty, **columns)
    return set(batches(rule, pool, 1, 3 * len(pool)).ravel().tolist())


# --- uniform epochs


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 40), data=st.data(), seed=st.integers(0, 2**32))
def test_an_epoch_holds_every_item_once_but_for_the_remainder_which_is_dropped(size, data, seed):
    count = data.draw(st.integers(1, size))
    per_epoch = size // count
    drawn = batches(wb.Uniform(), wb.Pool(difficulty=np.full(size, 50.0)), count, 3 * per_epoch, seed)
    for epoch in drawn.reshape(3, per_epoch * count):
        assert len(set(epoch.tolist())) == per_epoch * count
        assert set(epoch.tolist()) <= set(range(size))


def test_an_epoch_that_the_batch_divides_holds_every_item_exactly_once():
    drawn = batches(wb.Uniform(), wb.Pool(difficulty=np.linspace(0, 100, 12)), 4, 9)
    for epoch in drawn.reshape(3, 12):
        assert sorted(epoch.tolist()) == list(range(12))


def test_the_dropped_remainder_is_another_one_each_epoch():
    # 10 items in batches of 3: one is left out of each epoch, every one of them about as often.
    epochs = batches(wb.Uniform(), wb.Pool(difficulty=np.full(10, 50.0)), 3, 3 * 2_000).reshape(2_000, 9)
    left_out = 45 - epochs.sum(axis=1)
    assert stats.chisquare(np.bincount(left_out, minlength=10)).pvalue > 1e-3


def test_every_epoch_has_a_fresh_order():
    epochs = batches(wb.Uniform(), wb.Pool(difficulty=np.full(50, 50.0)), 10, 5 * 6).reshape(6, 50)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6


def test_other_seeds_have_other_orders_and_the_same_seed_the_same():
    pool = wb.Pool(difficulty=np.full(50, 50.0))
    one, again, other, zero = (batches(wb.Uniform(), pool, 10, 10, seed) for seed in (3, 3, 4, 0))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (one != zero).any()


def test_every_order_of_an_epoch_is_equally_likely():
    pool = wb.Pool(difficulty=np.full(4, 50.0))
    orders = lane_batches(wb.Uniform(), pool, 1, 4, range(6_000))[:, :, 0].T
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for order in orders.tolist():
        counts[tuple(order)] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_the_order_of_an_epoch_tells_nothing_of_the_next():
    pool = wb.Pool(difficulty=np.full(4, 50.0))
    orders = lane_batches(wb.Uniform(), pool, 1, 8, range(6_000))[:, :, 0].T
    table = np.zeros((4, 4))
    np.add.at(table, (orders[:, 0], orders[:, 4]), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3
    assert stats.chisquare(table.sum(axis=0)).pvalue > 1e-3


def test_uniform_takes_no_notice_of_difficulty_or_reward():
    flat, spread = (wb.Pool(difficulty=d) for d in (np.full(20, 50.0), np.linspace(0, 100, 20)))
    expected = batches(wb.Uniform(), flat, 4, 10, seed=9)
    controller, drawn = wb.Controller(wb.Uniform(), spread, seed=9), []
    for _ in range(10):
        items = controller.next_batch(4)
        controller.observe(items, np.ones(4))
        drawn.append(items)
    np.testing.assert_array_equal(expected, drawn)


# --- filters


def test_the_offline_filter_drops_pass_rates_up_to_a_tenth_and_from_nine_tenths():
    d = [90.0, 80.0, 50.0, 20.0, 10.0, 0.0, 100.0]
    assert allowed(wb.OfflineFilter(), d) == {1, 2, 3}


def test_the_offline_filter_counts_the_attempts_where_it_has_them():
    counts = {"successes": [0, 1, 2, 5, 8, 9, 10], "attempts": [10] * 7}
    assert allowed(wb.OfflineFilter(), np.full(7, 50.0), **counts) == {2, 3, 4}


def test_the_offline_filter_keeps_what_lies_strictly_between_its_bounds():
    d = [75.0, 74.0, 50.0, 26.0, 25.0]
    assert allowed(wb.OfflineFilter(low=0.25, high=0.75), d) == {1, 2, 3}


def test_the_offline_filter_goes_through_what_it_keeps_in_uniform_epochs():
    d = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    drawn = batches(wb.OfflineFilter(), wb.Pool(difficulty=d), 2, 8)
    for epoch in drawn.reshape(4, 4):
        assert sorted(epoch.tolist()) == [1, 2, 3, 4]


def test_the_middle_band_keeps_its_two_ends():
    assert allowed(wb.MiddleBand(), [24.9, 25.0, 50.0, 75.0, 75.1, 0.0, 100.0]) == {1, 2, 3}
    assert allowed(wb.MiddleBand(low=0.0, high=10.0), TENS) == {0, 1}


def test_the_middle_band_goes_through_what_it_keeps_in_uniform_epochs():
    drawn = batches(wb.MiddleBand(low=30.0, high=80.0), wb.Pool(difficulty=TENS), 3, 8)
    for epoch in drawn.reshape(4, 6):
        assert sorted(epoch.tolist()) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("rule", [wb.OfflineFilter(), wb.MiddleBand()])
def test_a_filter_that_keeps_less_than_a_batch_is_refused(rule):
    with pytest.raises(InputError):
        wb.Controller(rule, wb.Pool(difficulty=[0.0, 50.0, 60.0, 100.0, 99.0])).next_batch(3)


@pytest.mark.parametrize("rule", [wb.OfflineFilter(), wb.MiddleBand()])
def test_a_filter_that_keeps_nothing_is_refused(rule):
    with pytest.raises(InputError):
        wb.Controller(rule, wb.Pool(difficulty=[0.0, 100.0])).next_batch(1)


# --- targets that no reward moves


def test_the_frozen_target_stays_whatever_the_rewards_are():
    controller = wb.Controller(wb.FrozenTarget(target=32.0, ties="first"), wb.Pool(difficulty=TENS))
    for reward in (1.0, 0.0, 1.0):
        items = controller.next_batch(3)
        assert set(items.tolist()) == {2, 3, 4}  # 20, 30 and 40 are nearest to 32
        controller.observe(items, np.full(3, reward))
        assert controller.metrics()["target_difficulty"] == 32.0


def test_the_frozen_target_is_adarft_with_no_step():
    pool = wb.Pool.synthetic("skew-easy", size=500)
    frozen = batches(wb.FrozenTarget(target=50.0, ties="first"), pool, 32, 4)
    still = batches(wb.AdaRFT(start=50.0, eta=0.0, ties="first"), pool, 32, 4)
    np.testing.assert_array_equal(np.sort(frozen), np.sort(still))


def test_the_linear_schedule_walks_from_start_to_end_and_stays():
    # T(s) = 0, 25, 50, 75, 100, 100: the three items nearest to each, positions first.
    rule = wb.LinearSchedule(start=0.0, end=100.0, horizon=4, ties="first")
    drawn = batches(rule, wb.Pool(difficulty=TENS), 3, 6)
    expected = [{0, 1, 2}, {1, 2, 3}, {4, 5, 6}, {6, 7, 8}, {8, 9, 10}, {8, 9, 10}]
    assert [set(batch) for batch in drawn.tolist()] == expected


def test_the_linear_schedule_can_walk_down():
    rule = wb.LinearSchedule(start=90.0, end=10.0, horizon=2, ties="first")
    drawn = batches(rule, wb.Pool(difficulty=TENS), 1, 4)
    assert drawn[:, 0].tolist() == [9, 5, 1, 1]


@settings(deadline=None, max_examples=60)
@given(start=st.floats(0, 100), end=st.floats(0, 100), horizon=st.integers(1, 20), step=st.integers(0, 40))
def test_the_linear_schedule_takes_the_items_nearest_to_its_line(start, end, horizon, step):
    rule = wb.LinearSchedule(start=start, end=end, horizon=horizon)
    pool = wb.Pool(difficulty=np.linspace(0, 100, 30))
    state = rule.init(pool, 1)
    items, _ = rule.select(state, Draw(pool, np.zeros(1, dtype=np.uint64), step), 7)
    target = start + (end - start) * min(step / horizon, 1)
    distance = np.abs(pool.difficulty - target)
    np.testing.assert_allclose(np.sort(distance[items[0]]), np.sort(distance)[:7], atol=1e-9)


# --- sorted, easy to hard


def test_sorted_easy_to_hard_slides_its_window_of_ranks():
    # 10 items, batches of 4, horizon 4: windows from rank round(6 s / 3) = 0, 2, 4, 6, and 6 from then on.
    rule = wb.SortedEasyToHard(horizon=4)
    drawn = batches(rule, wb.Pool(difficulty=TENS[:10]), 4, 6)
    assert [sorted(batch) for batch in drawn.tolist()] == [
        [0, 1, 2, 3],
        [2, 3, 4, 5],
        [4, 5, 6, 7],
        [6, 7, 8, 9],
        [6, 7, 8, 9],
        [6, 7, 8, 9],
    ]


def test_sorted_easy_to_hard_goes_by_rank_not_by_position():
    rule = wb.SortedEasyToHard(horizon=3)
    drawn = batches(rule, wb.Pool(difficulty=[80.0, 10.0, 50.0, 0.0, 100.0]), 1, 4)
    assert drawn[:, 0].tolist() == [3, 2, 4, 4]


@settings(deadline=None, max_examples=60)
@given(
    failures=st.lists(st.integers(0, 128), min_size=1, max_size=60),
    horizon=st.integers(2, 12),
    data=st.data(),
)
def test_sorted_easy_to_hard_never_gets_easier_and_runs_from_the_easiest_to_the_hardest(failures, horizon, data):
    d = np.array(failures) / 128 * 100
    count = data.draw(st.integers(1, len(d)))
    drawn = batches(wb.SortedEasyToHard(horizon=horizon), wb.Pool(difficulty=d), count, horizon + 3)
    assert all(len(set(batch)) == count for batch in drawn.tolist())
    # Sums of multiples of 100/128 are exact, so a plain comparison is fair.
    assert (np.diff(d[drawn].sum(axis=1)) >= 0).all()
    ranked = np.sort(d)
    np.testing.assert_array_equal(np.sort(d[drawn[0]]), ranked[:count])
    np.testing.assert_array_equal(np.sort(d[drawn[horizon - 1]]), ranked[len(d) - count :])
    np.testing.assert_array_equal(np.sort(d[drawn[-1]]), ranked[len(d) - count :])


# --- hyper-parameters out of range


@pytest.mark.parametrize(
    ("rule", "field", "value"),
    [
        (wb.AdaRFT, "beta", -0.1),
        (wb.AdaRFT, "beta", 1.5),
        (wb.AdaRFT, "beta", math.nan),
        (wb.AdaRFT, "alpha", -1.0),
        (wb.AdaRFT, "alpha", math.inf),
        (wb.AdaRFT, "eta", -1.0),
        (wb.AdaRFT, "eta", math.nan),
        (wb.AdaRFT, "eta", "50"),
        (wb.AdaRFT, "beta", None),
        (wb.AdaRFT, "start", math.nan),
        (wb.AdaRFT, "low", math.nan),
        (wb.AdaRFT, "high", math.inf),
        (wb.AdaRFT, "ties", "nearest"),
        (wb.OfflineFilter, "low", -0.1),
        (wb.OfflineFilter, "high", 1.1),
        (wb.OfflineFilter, "high", math.nan),
        (wb.MiddleBand, "low", math.nan),
        (wb.MiddleBand, "high", 101.0),
        (wb.FrozenTarget, "target", math.nan),
        (wb.FrozenTarget, "ties", 3),
        (wb.LinearSchedule, "start", math.nan),
        (wb.LinearSchedule, "end", math.inf),
        (wb.LinearSchedule, "horizon", 0),
        (wb.LinearSchedule, "horizon", -3),
        (wb.LinearSchedule, "ties", "last"),
        (wb.SortedEasyToHard, "horizon", 0),
        (wb.SortedEasyToHard, "horizon", -1),
    ],
)
def test_a_hyper_parameter_out_of_its_range_is_refused_with_its_domain_and_value(rule, field, value):
    with pytest.raises(InputError) as caught:
        rule(**{field: value})
    line = str(caught.value)
    assert line.startswith(f"{field}: must be ")
    assert str(value) in line
    assert "\n" not in line


@pytest.mark.parametrize("value", [-1.0, np.float64(-1), np.float32(-1), np.array(-1.0), np.array([2.0, -1.0])])
def test_the_refusal_reads_as_field_domain_value(value):
    with pytest.raises(InputError) as caught:
        wb.AdaRFT(eta=value)
    assert str(caught.value) == "eta: must be a number in [0, 1e6], got -1.0"


@pytest.mark.parametrize("rule", [wb.AdaRFT, wb.OfflineFilter, wb.MiddleBand])
def test_bounds_in_the_wrong_order_are_refused(rule):
    low, high = (0.8, 0.2) if rule is wb.OfflineFilter else (80.0, 20.0)
    with pytest.raises(InputError, match=r"low|high"):
        rule(low=low, high=high)


def test_the_start_of_each_lane_is_held_against_the_bounds_of_that_lane():
    low, high = np.array([0.0, 60.0]), np.array([40.0, 100.0])
    wb.AdaRFT(start=np.array([0.0, 60.0]), low=low, high=high)
    with pytest.raises(InputError, match=r"^start: .*60"):
        wb.AdaRFT(start=np.array([60.0, 60.0]), low=low, high=high)


def test_one_bad_lane_of_a_hyper_parameter_is_refused():
    with pytest.raises(InputError, match=r"^eta: .*-3"):
        wb.AdaRFT(eta=np.array([50.0, -3.0, 20.0]))


def test_a_hyper_parameter_of_another_number_of_lanes_is_refused():
    with pytest.raises(InputError, match="eta"):
        wb.Controller(wb.AdaRFT(eta=np.array([50.0, 20.0])), wb.Pool(difficulty=TENS), seed=0, lanes=3)


def test_a_rule_is_frozen():
    with pytest.raises(AttributeError):
        wb.AdaRFT().eta = 3.0
