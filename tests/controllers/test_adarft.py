"""AdaRFT (arXiv 2504.05520, Algorithm 1): by hand, against an independent sort, and in closed loop."""

import itertools
from math import atanh, tanh
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import expit

import workbench as wb
from workbench.controllers import Draw, Feedback

RELEASED = Path(__file__).resolve().parents[3] / "shared" / "data" / "deepscaler"
TENS = np.arange(0.0, 101.0, 10.0)  # position i has difficulty 10 i

grids = st.lists(st.integers(0, 128), min_size=1, max_size=60).map(lambda ks: np.array(ks) / 128 * 100)
targets = st.one_of(st.floats(0, 100), st.integers(0, 128).map(lambda k: k / 128 * 100))


def nearest(difficulty, target, count):
    """The reference of this file: a full sort by (|d - T|, position)."""
    return np.lexsort((np.arange(len(difficulty)), np.abs(difficulty - target)))[:count]


def select(rule, pool, count, seeds=(0,), step=0):
    state = rule.init(pool, len(seeds))
    items, _ = rule.select(state, Draw(pool, np.array(seeds, dtype=np.uint64), step), count)
    return items


def target_of(controller):
    return controller.metrics()["target_difficulty"]


def after(rule, state, mean_reward):
    """The shipped update, given lanes that saw these mean rewards on one item each."""
    mean = np.atleast_1d(np.asarray(mean_reward, dtype=np.float64))
    pool, items = wb.Pool(difficulty=TENS), np.zeros((mean.size, 1), dtype=np.int64)
    seeds = np.zeros(mean.size, dtype=np.uint64)
    rewards = mean[:, None, None].astype(np.float32)  # rounded: the mean goes in beside them
    return rule.update(state, Feedback(items, rewards, mean, pool, seeds, step=1))


def run(rule, reward_of_target, steps, lanes=1):
    """T over steps (steps + 1, lanes) when the mean reward is a function of (step, T) alone."""
    pool = wb.Pool(difficulty=TENS)
    state = rule.init(pool, lanes)
    path = [rule.metrics(state)["target_difficulty"]]
    for step in range(steps):
        state = after(rule, state, reward_of_target(step, path[-1]))
        path.append(rule.metrics(state)["target_difficulty"])
    return np.array(path)


def moved(mean_reward, **hyper):
    """One update's change of T from the middle of the scale."""
    path = run(wb.AdaRFT(start=50.0, **hyper), lambda step, target: np.full_like(target, mean_reward), 1)
    return float(path[1, 0] - path[0, 0])


# --- Algorithm 1 by hand


def test_seven_steps_of_algorithm_1_worked_by_hand():
    # Items at 0, 10, ..., 100, batches of 3, defaults beta .5, alpha 2, eta 50, T = 0 at first.
    # A perfect batch moves T by 50 tanh(1) = 38.08, two right of three by 50 tanh(1/3) = 16.08.
    perfect, third = 50 * tanh(1), 50 * tanh(1 / 3)
    trace = [
        # batch (positions), rewards of its items in ascending position, T after
        ({0, 1, 2}, (1, 1, 1), perfect),  # 0 + 38.08
        ({3, 4, 5}, (1, 1, 0), perfect + third),  # 38.08 + 16.08 = 54.16
        ({4, 5, 6}, (1, 0, 0), perfect),  # 54.16 - 16.08
        ({3, 4, 5}, (1, 1, 1), 2 * perfect),  # 76.16
        ({7, 8, 9}, (1, 1, 1), 100.0),  # 114.2 is clipped
        ({8, 9, 10}, (0, 0, 0), 100 - perfect),  # 61.92
        ({5, 6, 7}, (0, 0, 0), 100 - 2 * perfect),  # 23.84
        ({1, 2, 3}, (0, 0, 0), 0.0),  # -14.24 is clipped
        ({0, 1, 2}, (1, 0, 0), 0.0),
    ]
    controller = wb.Controller(wb.AdaRFT(ties="first"), wb.Pool(difficulty=TENS))
    assert target_of(controller) == 0.0
    for batch, rewards, target in trace:
        items = controller.next_batch(3)
        assert set(items.tolist()) == batch
        reward_of = dict(zip(sorted(batch), rewards, strict=True))
        controller.observe(items, np.array([reward_of[i] for i in items.tolist()], dtype=np.float32))
        assert target_of(controller) == pytest.approx(target, abs=1e-9)


@settings(deadline=None, max_examples=100)
@given(
    beta=st.floats(0, 1),
    alpha=st.floats(0.1, 10),
    eta=st.floats(0.1, 100),
    start=st.floats(0, 100),
    mean=st.floats(0, 1),
)
def test_the_target_moves_by_eta_tanh_alpha_r_minus_beta_and_is_clipped(beta, alpha, eta, start, mean):
    rule = wb.AdaRFT(beta=beta, alpha=alpha, eta=eta, start=start, low=0.0, high=100.0)
    target = run(rule, lambda step, t: np.full_like(t, mean), 1)[1, 0]
    assert target == pytest.approx(min(max(start + eta * tanh(alpha * (mean - beta)), 0.0), 100.0), abs=1e-9)


def test_the_bounds_clip_the_target_and_at_bound_tells():
    rule = wb.AdaRFT(start=50.0, low=20.0, high=70.0)
    pool = wb.Pool(difficulty=TENS)
    state = rule.init(pool, 3)
    assert rule.metrics(state)["at_bound"].tolist() == [0, 0, 0]
    state = after(rule, state, [1.0, 0.0, 0.5])
    assert rule.metrics(state)["target_difficulty"].tolist() == [70.0, 20.0, 50.0]
    assert rule.metrics(state)["at_bound"].tolist() == [1, 1, 0]


@pytest.mark.parametrize(("beta", "up", "down"), [(0.5, 38.08, -38.08), (0.2, 46.08, -19.00), (0.8, 19.00, -46.08)])
def test_the_largest_moves_are_those_of_an_all_right_and_an_all_wrong_batch(beta, up, down):
    assert moved(1.0, beta=beta) == pytest.approx(up, abs=0.005)
    assert moved(0.0, beta=beta) == pytest.approx(down, abs=0.005)


def test_the_target_needs_three_perfect_batches_from_the_easiest_to_the_hardest():
    path = run(wb.AdaRFT(), lambda step, t: np.ones_like(t), 3)[:, 0]
    assert path[2] < 100.0
    assert path[3] == 100.0


def test_the_target_rests_where_the_reward_equals_beta():
    assert moved(0.5) == 0.0
    assert moved(0.25, beta=0.25) == 0.0


def test_the_local_slope_of_the_update_is_eta_times_alpha():
    h = 1e-6
    assert (moved(0.5 + h) - moved(0.5 - h)) / (2 * h) == pytest.approx(50 * 2, rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(means=st.lists(st.floats(0, 1), min_size=2, max_size=20), eta=st.floats(0, 50))
def test_the_target_rises_with_the_reward_and_never_moves_further_than_eta(means, eta):
    rule = wb.AdaRFT(eta=eta, start=50.0)
    path = run(rule, lambda step, t: np.sort(means), 1, lanes=len(means))
    assert (np.diff(path[1]) >= -1e-9).all()
    assert np.abs(path[1] - path[0]).max() <= eta + 1e-9


def test_the_mean_reward_is_taken_over_all_rollouts_of_the_batch():
    controller = wb.Controller(wb.AdaRFT(start=50.0), wb.Pool(difficulty=TENS))
    rewards = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float32)
    controller.observe(controller.next_batch(3), rewards)
    assert target_of(controller) == pytest.approx(50 + 50 * tanh(2 * (6 / 12 - 0.5)))
    controller.observe(controller.next_batch(2), rewards[:2])
    assert target_of(controller) == pytest.approx(50 + 50 * tanh(2 * (5 / 8 - 0.5)))


# --- selection


@settings(deadline=None, max_examples=200)
@given(d=grids, target=targets, data=st.data(), ties=st.sampled_from(["first", "random"]))
def test_a_batch_is_the_nearest_items_to_the_target(d, target, data, ties):
    count = data.draw(st.integers(1, len(d)))
    rule = wb.AdaRFT(start=target, ties=ties)
    items = select(rule, wb.Pool(difficulty=d), count, seeds=(0, 1))
    assert items.shape == (2, count)
    assert items.dtype == np.int64
    expected = np.abs(d - target)[nearest(d, target, count)]
    for lane in items:
        assert len(set(lane.tolist())) == count
        np.testing.assert_array_equal(np.sort(np.abs(d[lane] - target)), expected)


@settings(deadline=None, max_examples=200)
@given(d=grids, target=targets, data=st.data())
def test_ties_first_takes_the_lowest_positions_of_a_tie(d, target, data):
    count = data.draw(st.integers(1, len(d)))
    items = select(wb.AdaRFT(start=target, ties="first"), wb.Pool(difficulty=d), count)
    assert set(items[0].tolist()) == set(nearest(d, target, count).tolist())


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), target=st.floats(0, 100), count=st.integers(1, 30))
def test_relabelling_the_items_relabels_the_batch(seed, target, count):
    rng = np.random.default_rng(seed)
    d = rng.uniform(0, 100, 30)
    shuffled = rng.permutation(30)
    rule = wb.AdaRFT(start=target)
    straight = select(rule, wb.Pool(difficulty=d), count)[0]
    relabelled = select(rule, wb.Pool(difficulty=d[shuffled]), count)[0]
    assert set(straight.tolist()) == set(shuffled[relabelled].tolist())


def test_the_same_target_gives_the_same_batch_when_ties_go_to_the_first():
    pool = wb.Pool.synthetic("skew-difficult", size=2_000)
    controller = wb.Controller(wb.AdaRFT(start=60.0, ties="first"), pool)
    first = controller.next_batch(64)
    controller.observe(first, np.tile([0.0, 1.0], 32))
    assert set(first.tolist()) == set(controller.next_batch(64).tolist())


def test_the_same_target_gives_the_same_difficulties_and_other_items_when_ties_are_random():
    pool = wb.Pool.synthetic("skew-difficult", size=2_000)
    controller = wb.Controller(wb.AdaRFT(start=100.0), pool)
    first = controller.next_batch(64)
    controller.observe(first, np.tile([0.0, 1.0], 32))
    second = controller.next_batch(64)
    assert set(pool.difficulty[first]) == set(pool.difficulty[second]) == {100.0}
    assert set(first.tolist()) != set(second.tolist())


def test_a_change_of_the_target_shows_in_the_very_next_batch():
    pool = wb.Pool.synthetic("uniform", size=2_000)
    controller = wb.Controller(wb.AdaRFT(ties="first"), pool)
    for reward in [1.0, 1.0, 0.0, 1.0, 0.0, 0.0]:
        items = controller.next_batch(50)
        assert set(items.tolist()) == set(nearest(pool.difficulty, target_of(controller), 50).tolist())
        before = target_of(controller)
        controller.observe(items, np.full(50, reward, dtype=np.float32))
        assert target_of(controller) != before


def test_random_ties_make_every_set_of_tied_items_equally_likely_and_leave_no_nearer_item_out():
    # T = 50: two items at it, six at distance 10 on both sides of which a batch of 4 holds two, two far away.
    d = np.array([40.0, 0.0, 60.0, 50.0, 40.0, 60.0, 100.0, 40.0, 50.0, 60.0])
    tied = [0, 2, 4, 5, 7, 9]
    items = select(wb.AdaRFT(start=50.0), wb.Pool(difficulty=d), 4, seeds=range(6_000))
    counts = dict.fromkeys(itertools.combinations(tied, 2), 0)
    for lane in items:
        chosen = set(lane.tolist())
        assert {3, 8} <= chosen
        counts[tuple(sorted(chosen - {3, 8}))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_random_ties_are_fair_over_the_steps_of_one_run():
    d = np.full(6, 70.0)
    pool, rule = wb.Pool(difficulty=d), wb.AdaRFT(start=70.0)
    counts = dict.fromkeys(itertools.combinations(range(6), 2), 0)
    for step in range(3_000):
        counts[tuple(sorted(select(rule, pool, 2, step=step)[0].tolist()))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_random_ties_reach_every_item_of_a_long_tie():
    # 1,000 of 2,600 items with the same difficulty, 400 lanes: every item is in 1000/2600 of the batches.
    n, k, lanes = 2_600, 1_000, 400
    items = select(wb.AdaRFT(start=100.0), wb.Pool(difficulty=np.full(n, 100.0)), k, seeds=range(lanes))
    counts = np.bincount(items.ravel(), minlength=n)
    # Without replacement the counts vary by (n - k)/(n - 1) of what independent draws would.
    statistic = stats.chisquare(counts).statistic * (n - 1) / (n - k)
    assert 1e-3 < stats.chi2.sf(statistic, n - 1) < 1 - 1e-3


# --- the released pools

# Mean [lowest, highest] difficulty of the batch of 1,024 that a target yields.
BATCHES = {
    0: {"skew_difficult": (23.9, 0.8, 39.8), "skew_easy": (0.2, 0.0, 0.8), "uniform": (3.8, 0.0, 10.2)},
    25: {"skew_difficult": (26.9, 7.8, 42.2), "skew_easy": (24.8, 20.3, 29.7), "uniform": (24.9, 20.3, 29.7)},
    50: {
        "skew_difficult": (50.9, 38.3, 61.7),
        "skew_easy": (49.5, 42.2, 57.8),
        "uniform": (49.9, 44.5, 55.5),
    },
    75: {
        "skew_difficult": (75.5, 68.8, 81.2),
        "skew_easy": (74.3, 63.3, 86.7),
        "uniform": (75.1, 69.5, 80.5),
    },
    100: {
        "skew_difficult": (100.0, 100.0, 100.0),
        "skew_easy": (82.7, 70.3, 99.2),
        "uniform": (96.0, 89.8, 99.2),
    },
}


@pytest.mark.parametrize("ties", ["first", "random"])
@pytest.mark.parametrize("name", ["skew_difficult", "skew_easy", "uniform"])
def test_a_target_yields_the_published_batch_of_1024_on_the_released_pools(name, ties):
    path = RELEASED / f"{name}.parquet"
    if not path.exists():
        pytest.skip("the released AdaRFT files are not here")
    pool = wb.Pool.load(path)
    for target, table in BATCHES.items():
        d = pool.difficulty[select(wb.AdaRFT(start=float(target), ties=ties), pool, 1_024)[0]]
        mean, low, high = table[name]
        # A tie at the edge spans both sides of the target: who wins it moves the mean by under 0.1, and
        # random winners may all lie on one side, a step of the grid further in on the other.
        assert d.mean() == pytest.approx(mean, abs=0.1)
        edge = 0.05 if ties == "first" else 0.05 + 100 / 128
        assert [d.min(), d.max()] == pytest.approx([low, high], abs=edge)


# --- closed loop

# A learner of fixed skill whose success falls with the target: R = sigma(s (T0 - T)), s logits per unit of
# difficulty. Linearised about R = 1/2 an update multiplies the error by 1 - G, loop gain G = eta alpha s / 4.


def settled(s, start=60.0, steps=3_000):
    path = run(wb.AdaRFT(start=start), lambda step, t: expit(s * (50.0 - t)), steps)[-200:, 0]
    return expit(s * (50.0 - path))


def test_a_loop_gain_under_two_converges_to_reward_one_half():
    assert pytest.approx(1.975) == 50 * 2 * 0.079 / 4
    np.testing.assert_allclose(settled(0.079), 0.5, atol=1e-9)


@pytest.mark.parametrize(("s", "gain", "amplitude"), [(0.081, 2.025, 0.14), (0.12, 3.0, 0.73)])
def test_a_loop_gain_over_two_ends_in_a_limit_cycle_of_known_amplitude(s, gain, amplitude):
    assert 50 * 2 * s / 4 == pytest.approx(gain)
    rewards = settled(s)
    assert rewards.max() - rewards.min() == pytest.approx(amplitude, abs=0.005)
    np.testing.assert_allclose(rewards[2:], rewards[:-2], atol=1e-9)  # of period two
    assert ((rewards[1:] > 0.5) != (rewards[:-1] > 0.5)).all()


@pytest.mark.parametrize(("s", "sign"), [(0.02, 1), (0.06, -1)])
def test_a_loop_gain_under_one_approaches_without_and_one_over_it_with_overshoot(s, sign):
    error = run(wb.AdaRFT(start=50.01), lambda step, t: expit(s * (50.0 - t)), 6)[:, 0] - 50.0
    np.testing.assert_allclose(error[1:] / error[:-1], 1 - 25 * s, rtol=1e-3)
    assert (np.sign(error[1:] / error[:-1]) == sign).all()


def test_a_loop_gain_of_one_is_deadbeat():
    error = run(wb.AdaRFT(start=50.5), lambda step, t: expit(0.04 * (50.0 - t)), 1)[:, 0] - 50.0
    assert abs(error[1]) < 1e-3 * abs(error[0])


@pytest.mark.parametrize(("kappa", "reward"), [(0.5, 0.512495), (2.0, 0.549669), (8.0, 0.681260)])
def test_a_learner_that_improves_is_tracked_at_the_known_distance(kappa, reward):
    # The skill (in units of difficulty) moves by v = kappa R (1 - R) a step; T follows at the same speed once
    # kappa R (1 - R) = eta tanh(alpha (R - beta)).
    eta, alpha, beta, s = 5.0, 2.0, 0.5, 0.4
    rule = wb.AdaRFT(eta=eta, alpha=alpha, beta=beta, start=5.0)
    skill, seen = 5.0, []

    def learner(step, target):
        nonlocal skill
        mean = expit(s * (skill - target))
        seen.append(float(mean[0]))
        skill = skill + kappa * mean * (1 - mean)
        return mean

    path = run(rule, learner, 40)
    assert path.max() < 100.0
    assert seen[-1] == pytest.approx(reward, abs=1e-6)
    v = kappa * seen[-1] * (1 - seen[-1])
    assert seen[-1] == pytest.approx(beta + atanh(v / eta) / alpha, abs=1e-6)
    law = optimize.brentq(lambda r: kappa * r * (1 - r) - eta * tanh(alpha * (r - beta)), 0.5, 1)
    assert seen[-1] == pytest.approx(law, abs=1e-9)


def test_the_lock_is_lost_when_the_skill_outruns_the_largest_move():
    # v = 5 > eta tanh(alpha (1 - beta)) = 3.81: the lag grows by the difference, the reward goes to 1.
    rule = wb.AdaRFT(eta=5.0)
    path = run(rule, lambda step, t: expit(0.4 * (5.0 * step - t)), 21)[:, 0]
    lag = 5.0 * np.arange(22) - path
    assert lag[21] - lag[20] == pytest.approx(5 - 5 * tanh(1), abs=1e-3)


def test_reward_noise_gives_the_target_the_variance_and_autocorrelation_of_an_ar_1_process():
    # G = 1/2, 1,024 rollouts a step: Var T = (eta alpha)^2 p(1-p)/B / (G (2 - G)) = 3.255, lag-1 = 1 - G.
    s, gain, batch, lanes = 0.02, 0.5, 1_024, 64
    assert 50 * 2 * s / 4 == gain
    rng = np.random.default_rng(0)
    path = run(
        wb.AdaRFT(start=50.0),
        lambda step, t: rng.binomial(batch, expit(s * (50.0 - t))) / batch,
        1_050,
        lanes,
    )[50:]
    variance = (50 * 2) ** 2 * (0.25 / batch) / (gain * (2 - gain))
    assert variance == pytest.approx(3.255, abs=5e-4)
    error = path - 50.0
    assert error.mean() == pytest.approx(0.0, abs=0.1)
    assert (error**2).mean() == pytest.approx(variance, rel=0.1)
    assert (error[1:] * error[:-1]).mean() / (error**2).mean() == pytest.approx(1 - gain, rel=0.1)


def test_the_whole_controller_holds_the_reward_at_beta_on_a_learner_of_fixed_skill():
    # The same loop through next_batch and observe: rewards drawn per rollout, G = .5, on a dense pool.
    pool = wb.Pool(difficulty=np.linspace(0, 100, 5_001))
    controller = wb.Controller(wb.AdaRFT(), pool, seed=0)
    rng = np.random.default_rng(1)
    means = []
    for _ in range(120):
        items = controller.next_batch(128)
        p = expit(0.02 * (60.0 - pool.difficulty[items]))
        rewards = (rng.random((128, 8)) < p[:, None]).astype(np.float32)
        controller.observe(items, rewards)
        means.append(rewards.mean())
    assert np.mean(means[20:]) == pytest.approx(0.5, abs=0.01)
    assert target_of(controller) == pytest.approx(60.0, abs=10.0)
