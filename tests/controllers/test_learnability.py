"""Rules that seek p (1 - p): SFL, which probes for it, and ProCuRL, which draws by it."""


import numpy as np
import pytest
from scipy import stats
from steps import batch, half, pool_of, told

import workbench as wb
from workbench import testing
from workbench.controllers.rules.procurl import ProCuRL
from workbench.controllers.rules.sfl import SFL
from workbench.errors import InputError

# --- SFL: the probe


def probed(rule, pool, success, lanes=1, step=0, state=None):
    """The state after a probe in which item i has success[i] of 8 rollouts right."""
    state = rule.init(pool, lanes) if state is None else state
    probe = rule.probe(state, testing.draw(pool, step, np.arange(lanes)))
    rewards = np.array([[half(success[item]) for item in lane] for lane in probe.items])
    return told(rule, state, pool, probe.items, rewards, step=step, probe=True)


def test_a_probe_is_due_at_the_start_and_then_once_a_period():
    rule, pool = SFL(period=5, candidates=4, keep=2), pool_of(10)
    state = rule.init(pool, 1)
    due = [rule.probe(state, testing.draw(pool, step)) is not None for step in range(16)]
    assert [step for step in range(16) if due[step]] == [0, 5, 10, 15]


def test_a_probe_asks_for_random_distinct_candidates_and_their_rollouts():
    rule, pool, lanes = SFL(candidates=6, rollouts=5, keep=2), pool_of(20), 2_000
    probe = rule.probe(rule.init(pool, lanes), testing.draw(pool, 0, np.arange(lanes)))
    assert probe.rollouts == 5
    assert probe.items.shape == (lanes, 6)
    assert all(len(set(row)) == 6 for row in probe.items.tolist())
    counts = np.bincount(probe.items.ravel(), minlength=20)
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 19 / 14, 19) > 1e-3


def test_probes_of_other_periods_look_at_other_candidates():
    rule, pool = SFL(period=5, candidates=6, keep=2), pool_of(100)
    state = rule.init(pool, 1)
    one, later = (set(rule.probe(state, testing.draw(pool, step)).items[0].tolist()) for step in (0, 5))
    assert one != later


def test_more_candidates_than_items_are_all_items():
    rule, pool = SFL(candidates=1_000, keep=100), pool_of(7)
    probe = rule.probe(rule.init(pool, 1), testing.draw(pool))
    assert sorted(probe.items[0].tolist()) == list(range(7))


# --- SFL: the batch

SUCCESS = [8, 0, 4, 8, 3, 0, 1, 8, 0, 7]  # p (1 - p) in 64ths: 0 0 16 0 15 0 7 0 0 7: best three 2, 4 and 6 or 9


def test_before_the_first_probe_a_batch_is_uniform():
    rule, pool, lanes = SFL(keep=2), pool_of(8), 4_000
    counts = np.bincount(batch(rule, rule.init(pool, lanes), pool, 2).ravel(), minlength=8)
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 7 / 6, 7) > 1e-3


def test_the_items_with_the_largest_p_times_1_minus_p_are_kept():
    rule, pool = SFL(candidates=10, keep=2, fresh=0.0), pool_of(10)
    state = probed(rule, pool, SUCCESS, lanes=50)
    assert {tuple(sorted(row)) for row in batch(rule, state, pool, 2).tolist()} == {(2, 4)}


def test_items_that_tie_for_the_last_place_of_the_buffer_are_kept_as_often():
    rule, pool, lanes = SFL(candidates=10, keep=3, fresh=0.0), pool_of(10), 2_000
    state = probed(rule, pool, SUCCESS, lanes)
    items = batch(rule, state, pool, 3)
    assert all({2, 4} < set(row) for row in items.tolist())
    six, nine = ((items == item).any(axis=1).sum() for item in (6, 9))
    assert six + nine == lanes
    assert stats.binomtest(int(six), lanes, 0.5).pvalue > 1e-3


def test_half_a_batch_is_from_the_buffer_uniformly_and_half_is_fresh():
    rule, pool, lanes = SFL(candidates=40, keep=5, fresh=0.5), pool_of(40), 3_000
    success = [4 if item < 5 else 8 for item in range(40)]
    items = batch(rule, probed(rule, pool, success, lanes), pool, 6)
    kept = (items < 5).sum(axis=1)
    assert kept.min() >= 3
    assert kept.mean() < 3 + 3 * 2 / 37 + 0.05  # a fresh item is in the buffer by chance only
    counts = np.bincount(items.ravel(), minlength=40)
    assert stats.chi2.sf(stats.chisquare(counts[:5]).statistic, 4) > 1e-3  # less spread than independent draws have
    assert stats.chisquare(counts[5:]).pvalue > 1e-3


def test_a_buffer_smaller_than_its_part_of_the_batch_is_used_whole_and_the_rest_is_uniform():
    rule, pool, lanes = SFL(candidates=20, keep=2, fresh=0.0), pool_of(20), 1_500
    success = [4 if item < 2 else 0 for item in range(20)]
    items = batch(rule, probed(rule, pool, success, lanes), pool, 5)
    assert all({0, 1} < set(row) for row in items.tolist())
    counts = np.bincount(items.ravel(), minlength=20)[2:]
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 17 / 15, 17) > 1e-3


def test_with_everything_fresh_a_batch_is_uniform():
    rule, pool, lanes = SFL(candidates=10, keep=2, fresh=1.0), pool_of(10), 4_000
    counts = np.bincount(batch(rule, probed(rule, pool, SUCCESS, lanes), pool, 2).ravel(), minlength=10)
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 9 / 8, 9) > 1e-3


def test_a_new_probe_replaces_the_buffer():
    rule, pool = SFL(period=3, candidates=10, keep=2, fresh=0.0), pool_of(10)
    state = probed(rule, pool, SUCCESS, lanes=3)
    state = probed(rule, pool, [0, 4, 8, 8, 8, 4, 8, 8, 8, 8], lanes=3, step=3, state=state)
    assert {tuple(sorted(row)) for row in batch(rule, state, pool, 2, step=3).tolist()} == {(1, 5)}


def test_training_rewards_leave_the_buffer_as_it_is():
    rule, pool = SFL(candidates=10, keep=2, fresh=0.0), pool_of(10)
    state = probed(rule, pool, SUCCESS, lanes=3)
    for step in range(1, 6):
        state = told(rule, state, pool, [2, 4], [half(8), half(8)], step=step)
    assert {tuple(sorted(row)) for row in batch(rule, state, pool, 2).tolist()} == {(2, 4)}


def test_partial_rewards_are_rates():
    # Rates .5 (all rollouts at .5), .9 and .1 + something: p (1 - p) of .25, .09 and .16.
    rule, pool = SFL(candidates=3, keep=1, fresh=0.0), pool_of(3)
    rates = {0: 0.9, 1: 0.5, 2: 0.2}
    probe = rule.probe(rule.init(pool, 1), testing.draw(pool))
    rewards = np.array([[rates[item]] * 8 for item in probe.items[0].tolist()])
    state = told(rule, rule.init(pool, 1), pool, probe.items, rewards, probe=True)
    assert batch(rule, state, pool, 1).tolist() == [[1]]


def test_the_whole_pool_as_a_batch_is_every_item_once():
    rule, pool = SFL(candidates=10, keep=3), pool_of(10)
    assert sorted(batch(rule, probed(rule, pool, SUCCESS), pool, 10)[0].tolist()) == list(range(10))


def test_the_controller_asks_probes_tells_and_counts_them():
    pool = pool_of(30)
    controller = wb.Controller(SFL(period=2, candidates=10, rollouts=4, keep=3, fresh=0.0), pool, seed=0)
    for step in range(4):
        probe = controller.next_probe()
        assert (probe is not None) == (step % 2 == 0)
        if probe is not None:
            rates = np.where(probe.items == probe.items.min(), 0.5, 1.0)
            controller.observe_probe(probe, np.repeat(rates[:, None], 4, axis=1).astype(np.float32))
            easiest = probe.items.min()
        items = controller.next_batch(3)
        assert easiest in items
        controller.observe(items, np.ones((3, 4)))
    assert controller.metrics()["rollouts"] == 2 * 40 + 4 * 12


def test_no_item_starves_with_fresh_items_in_every_batch():
    pool, rule = pool_of(20), SFL(candidates=20, keep=3, fresh=0.5)
    state = probed(rule, pool, [4] * 3 + [0] * 17)
    seen = {item for step in range(200) for item in batch(rule, state, pool, 2, step)[0].tolist()}
    assert seen == set(range(20))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("period", 0),
        ("candidates", 0),
        ("rollouts", 0),
        ("keep", 0),
        ("fresh", -0.1),
        ("fresh", 1.1),
        ("period", 1.5),
    ],
)
def test_a_setting_of_sfl_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        SFL(**{field: value})


# --- ProCuRL


def logs(rule, state, pool):
    """(I,) log weights of the first lane, up to a constant."""
    weights = rule.weights(state, testing.draw(pool, seed=np.arange(len(state[0]))))[0].astype(float)
    assert (weights > 0).all()
    assert (weights <= 1 + 1e-6).all()
    return np.log(weights)


def test_weights_are_the_exponential_of_beta_times_success_times_room():
    # p = 2/4, 4/4, 1/4, 0/4 and unseen, ceiling 1: p (1 - p) = .25, 0, .1875, 0, and .25 for the optimistic 1/2.
    rule, pool = ProCuRL(), pool_of(5)
    state = told(rule, rule.init(pool, 1), pool, [0, 1, 2, 3], [half(2, 4), half(4, 4), half(1, 4), half(0, 4)])
    got = logs(rule, state, pool)
    np.testing.assert_allclose(got - got[0], 20 * (np.array([0.25, 0, 0.1875, 0, 0.25]) - 0.25), atol=1e-4)


def test_a_lower_ceiling_moves_the_peak_to_half_of_it():
    # ceiling .8: .5 * .3 = .15, 1 * -.2, .4 * .4 = .16 for an item at .4 and for unseen ones.
    rule, pool = ProCuRL(beta=10.0, ceiling=0.8), pool_of(4)
    rewards = [half(5, 10), half(10, 10), half(4, 10)]
    got = logs(rule, told(rule, rule.init(pool, 1), pool, [0, 1, 2], rewards), pool)
    np.testing.assert_allclose(got - got[3], 10 * (np.array([0.15, -0.2, 0.16, 0.16]) - 0.16), atol=1e-4)


def test_success_is_over_all_rollouts_so_far():
    rule, pool = ProCuRL(beta=8.0), pool_of(2)
    state = told(rule, rule.init(pool, 1), pool, [0, 0], [half(4, 4), [0.5, 0.5, 0, 0]])
    state = told(rule, state, pool, [0], [half(1, 4)], counts=[2])  # 6 of 10
    got = logs(rule, state, pool)
    assert got[0] - got[1] == pytest.approx(8 * (0.24 - 0.25), abs=1e-4)


def test_labels_are_the_first_guess_where_they_are_used():
    pool = wb.Pool(difficulty=[50.0, 90.0, 0.0])  # pass rates .5, .1 and 1
    rule = ProCuRL(use_labels=True)
    got = logs(rule, rule.init(pool, 1), pool)
    np.testing.assert_allclose(got - got[0], 20 * (np.array([0.25, 0.09, 0.0]) - 0.25), atol=1e-4)
    seen = logs(rule, told(rule, rule.init(pool, 1), pool, [1], [half(4, 8)]), pool)
    assert seen[1] == pytest.approx(seen[0], abs=1e-4)


def test_items_are_drawn_by_these_weights():
    rule, pool, lanes = ProCuRL(beta=6.0), pool_of(4), 10_000
    rewards = [half(4), half(8), half(1), half(2)]
    state = told(rule, rule.init(pool, lanes), pool, [0, 1, 2, 3], rewards)
    p = np.array([4, 8, 1, 2]) / 8
    law = np.exp(6 * p * (1 - p))
    items = batch(rule, state, pool, 1)[:, 0]
    assert stats.chisquare(np.bincount(items, minlength=4), law / law.sum() * lanes).pvalue > 1e-3


def test_no_temperature_is_a_uniform_draw():
    rule, pool, lanes = ProCuRL(beta=0.0), pool_of(4), 4_000
    state = told(rule, rule.init(pool, lanes), pool, [0, 1], [half(8), half(4)])
    items = batch(rule, state, pool, 1)[:, 0]
    assert stats.chisquare(np.bincount(items, minlength=4)).pvalue > 1e-3


def test_reversion_takes_an_item_without_feedback_its_share_of_the_way_back():
    # p = 1, first estimate 1/2: after 7 steps without feedback p = .5 + .5 * .9^7.
    rule, pool = ProCuRL(reversion=0.1), pool_of(3)
    state = told(rule, rule.init(pool, 1), pool, [0, 1], [half(8), half(4)])
    for _ in range(7):
        state = told(rule, state, pool, [1], [half(4)])
    got, p = logs(rule, state, pool), 0.5 + 0.5 * 0.9**7
    assert got[0] - got[1] == pytest.approx(20 * (p * (1 - p) - 0.25), abs=1e-3)
    assert got[2] == pytest.approx(got[1], abs=1e-4)


def test_an_item_that_was_solved_at_first_is_still_drawn_at_times():
    # exp(20 (0 - .25)) = 1/148: seldom but not never.
    rule, pool, lanes = ProCuRL(), pool_of(2), 20_000
    state = told(rule, rule.init(pool, lanes), pool, [0, 1], [half(8), half(4)])
    hits = int((batch(rule, state, pool, 1) == 0).sum())
    assert stats.binomtest(hits, lanes, 1 / (1 + np.exp(5))).pvalue > 1e-3


def test_a_steep_preference_takes_the_best_first_and_the_others_after_all_of_them():
    rule, pool = ProCuRL(beta=1e6), pool_of(6)
    state = told(rule, rule.init(pool, 20), pool, np.arange(6), [half(k) for k in (8, 4, 0, 4, 1, 4)])
    assert {tuple(sorted(row)) for row in batch(rule, state, pool, 3).tolist()} == {(1, 3, 5)}
    assert np.isfinite(rule.weights(state, testing.draw(pool, seed=range(20)))).all()
    batch(rule, state, pool, 6)


@pytest.mark.parametrize(
    ("field", "value"),
    [("beta", -1.0), ("beta", np.inf), ("ceiling", 0.0), ("ceiling", 1.5), ("reversion", 2.0)],
)
def test_a_setting_of_procurl_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=f"^{field}: must be "):
        ProCuRL(**{field: value})
