"""ALP-GMM: where reward changes, items are drawn; a share stays uniform; nothing breaks where nothing changes."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from steps import pool_of, select
from threadpoolctl import threadpool_limits

import workbench as wb
from workbench import testing
from workbench.controllers.rules.alp_gmm import ALPGMM, fit_mixture
from workbench.errors import InputError


def taught(rule, pool, rewards, steps, batch=25, lanes=1):
    """The state after `steps` batches of random items; rewards(items, step) gives their rates (B,)."""
    state, rng = rule.init(pool, lanes), np.random.default_rng(0)
    for step in range(steps):
        items = rng.choice(len(pool), batch, replace=False)
        groups = np.repeat(np.asarray(rewards(items, step), float)[:, None], 2, axis=1)
        told = testing.feedback(
            pool, np.tile(items, (lanes, 1)), np.tile(groups, (lanes, 1, 1)), step + 1, np.arange(lanes)
        )
        state = rule.update(state, told)
    return state


def progress(low, high):
    """Rates that jump between 0 and 1 where low <= d <= high, and stay at 1/2 elsewhere."""

    def rates(items, step):
        d = items / 199 * 100
        return np.where((low <= d) & (d <= high), float(step % 2), 0.5)

    return rates


def share_inside(rule, state, pool, low, high, step, count=20):
    d = pool.difficulty[select(rule, state, pool, count, step)[0]]
    return ((low <= d) & (d <= high)).mean()


def test_the_defaults_are_those_of_the_released_code():
    rule = ALPGMM()
    assert (rule.window, rule.buffer, rule.random) == (250, 500, 0.2)
    assert tuple(rule.components) == (2, 10)


def test_until_the_first_fit_items_are_uniform():
    rule, pool, lanes = ALPGMM(window=100), pool_of(20), 3_000
    state = rule.init(pool, lanes)
    counts = np.bincount(select(rule, state, pool, 2, 0)[0].ravel(), minlength=20)
    assert stats.chi2.sf(stats.chisquare(counts).statistic * 19 / 18, 19) > 1e-3


def test_learning_progress_is_the_change_since_the_nearest_earlier_task_by_hand():
    # Difficulties 0, 10, .. 100, one item at a time. 20: nothing earlier. 30 after 20: .9 - .2. 80: nearest is 30:
    # 1 - .9. 20 again: .5 - .2. 20 once more: against the latest of equally near ones, .5 - .5. 70: nearest is 80.
    rule, pool = ALPGMM(), pool_of(11)
    state = rule.init(pool, 1)
    episodes = [(2, 0.2, 0.0), (3, 0.9, 0.7), (8, 1.0, 0.1), (2, 0.5, 0.3), (2, 0.5, 0.0), (7, 0.25, 0.75)]
    for step, (item, reward, _) in enumerate(episodes):
        state = rule.update(state, testing.feedback(pool, [item], [[reward] * 4], step + 1))
    np.testing.assert_allclose(state.alp[0, -6:], [alp for *_, alp in episodes], atol=1e-6)
    np.testing.assert_allclose(state.task[0, -6:], [0.2, 0.3, 0.8, 0.2, 0.2, 0.7])


def test_while_five_or_fewer_episodes_are_stored_progress_is_0_as_in_the_released_code():
    # flowersteam/TeachMyAgent, ce15344, alp_gmm.py: compared where len(alp_knn) > 5. One item, rewards 0, 1, 0, ..:
    # every change is 1; the seventh episode is the first with six before it.
    pool, rewards = pool_of(11), [0.0, 1.0] * 4
    for start, expected in [(5, [0] * 6 + [1, 1]), (0, [0] + [1] * 7)]:
        rule = ALPGMM(start=start)
        state = rule.init(pool, 1)
        for step, reward in enumerate(rewards):
            state = rule.update(state, testing.feedback(pool, [4], [[reward] * 4], step + 1))
        np.testing.assert_array_equal(state.alp[0, -8:], expected)


def test_episodes_of_one_batch_are_stored_together():
    # Three and three episodes: the third batch is the first with six stored.
    rule, pool = ALPGMM(start=5), pool_of(11)
    state = rule.init(pool, 1)
    for step, reward in enumerate([0.0, 1.0, 0.0]):
        state = rule.update(state, testing.feedback(pool, [4, 5, 6], [[reward] * 4] * 3, step + 1))
    np.testing.assert_array_equal(state.alp[0, -9:], [0] * 6 + [1] * 3)


def test_only_so_many_earlier_tasks_are_remembered():
    rule, pool = ALPGMM(buffer=2), pool_of(11)
    state = rule.init(pool, 1)
    for step, (item, reward) in enumerate([(2, 0.0), (8, 0.3), (9, 0.3), (2, 1.0)]):
        state = rule.update(state, testing.feedback(pool, [item], [[reward] * 4], step + 1))
    assert state.alp[0, -1] == pytest.approx(0.7)  # against 80, not against the forgotten 20


def mixed(rule, pool, level, centre, spread, lanes):
    """A state with this mixture in use."""
    state = rule.init(pool, lanes)
    parts = {"level": level, "centre": centre, "spread": spread}
    wide = {name: np.zeros_like(state.level) for name in parts}
    for name, values in parts.items():
        wide[name][:, : len(values)] = values
    return state._replace(**wide, gaussians=np.full(lanes, len(level)))


def test_a_gaussian_is_chosen_in_proportion_to_its_mean_progress():
    rule, pool, lanes = ALPGMM(random=0.0), pool_of(200), 4_000
    state = mixed(rule, pool, [0.1, 0.3], [0.2, 0.8], [0.01, 0.01], lanes)
    items, _ = select(rule, state, pool, 1, 5)
    hard = pool.difficulty[items[:, 0]] > 50
    assert stats.binomtest(int(hard.sum()), lanes, 0.75).pvalue > 1e-3


def test_tasks_of_a_gaussian_have_its_mean_and_deviation():
    rule, pool, lanes = ALPGMM(random=0.0), pool_of(5_001), 4_000
    state = mixed(rule, pool, [0.4], [0.5], [0.1], lanes)
    d = pool.difficulty[select(rule, state, pool, 1, 5)[0][:, 0]]
    assert stats.kstest(d, stats.norm(50, 10).cdf).pvalue > 1e-3


def test_random_places_are_uniform_over_items_and_as_many_as_asked_for():
    rule, pool, lanes = ALPGMM(random=0.2), pool_of(201), 4_000
    state = mixed(rule, pool, [0.4], [0.0], [0.0], lanes)  # all others take the easiest item
    items, _ = select(rule, state, pool, 1, 5)
    away = items[items > 0]
    assert stats.binomtest(away.size, lanes, 0.2 * 200 / 201).pvalue > 1e-3
    assert stats.chisquare(np.bincount((away - 1) // 20, minlength=10)).pvalue > 1e-3


@pytest.mark.parametrize("centre", [0.0, 0.312, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 40, 60])
def test_places_that_want_the_same_task_take_the_nearest_items(centre, count):
    pool = wb.Pool(difficulty=np.repeat(np.linspace(0, 100, 20), 3))
    rule = ALPGMM(random=0.0)
    items, _ = select(rule, mixed(rule, pool, [0.4], [centre], [0.0], 3), pool, count, 5)
    distance = np.abs(pool.difficulty - 100 * centre)
    for row in items:
        np.testing.assert_allclose(np.sort(distance[row]), np.sort(distance)[:count], atol=1e-9)


def test_of_equally_near_items_any_is_taken():
    pool = wb.Pool(difficulty=[10.0, 40.0, 60.0, 40.0, 90.0])
    rule, lanes = ALPGMM(random=0.0), 6_000
    items, _ = select(rule, mixed(rule, pool, [0.4], [0.4], [0.0], lanes), pool, 1, 5)
    counts = np.bincount(items[:, 0], minlength=5)
    assert counts[[0, 2, 4]].sum() == 0
    assert stats.chisquare(counts[[1, 3]]).pvalue > 1e-3


@pytest.mark.parametrize(("low", "high"), [(60, 80), (10, 30)])
def test_most_items_are_drawn_where_reward_changes(low, high):
    rule, pool = ALPGMM(window=250, buffer=500), pool_of(200)
    state = taught(rule, pool, progress(low, high), 20)
    inside = np.mean([share_inside(rule, state, pool, low - 5, high + 5, step) for step in range(20, 30)])
    assert inside > 0.6  # uniform: 0.3


def test_a_share_of_the_places_stays_uniform():
    # Of the range 0 to 40, where nothing changes, a uniform half of the batch takes 40 % in.
    rule, pool = ALPGMM(random=0.5), pool_of(200)
    state = taught(rule, pool, progress(70, 90), 20)
    still = np.mean([share_inside(rule, state, pool, 0, 40, step) for step in range(20, 60)])
    assert 0.12 < still < 0.32


def test_with_all_places_random_nothing_is_learned():
    rule, pool = ALPGMM(random=1.0), pool_of(200)
    state = taught(rule, pool, progress(70, 90), 20)
    drawn = np.concatenate([select(rule, state, pool, 20, step)[0][0] for step in range(20, 220)])
    assert stats.chisquare(np.bincount(drawn // 20, minlength=10)).pvalue > 1e-3


def test_interest_moves_on_with_the_progress():
    rule, pool = ALPGMM(window=250, buffer=500), pool_of(200)
    early, late = progress(10, 30), progress(70, 90)
    state = taught(rule, pool, lambda items, step: (early if step < 20 else late)(items, step), 60)
    inside = np.mean([share_inside(rule, state, pool, 65, 95, step) for step in range(60, 70)])
    assert inside > 0.5


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_where_nothing_changes_batches_still_come(rate):
    rule, pool = ALPGMM(), pool_of(200)
    state = taught(rule, pool, lambda items, step: np.full(len(items), rate), 20)
    for step in range(20, 23):
        select(rule, state, pool, 20, step)


def test_a_pool_of_one_difficulty_still_gives_batches():
    pool = wb.Pool(difficulty=np.full(50, 40.0))
    rule = ALPGMM(window=50, buffer=100)
    state = taught(rule, pool, lambda items, step: (items + step) % 2, 8)
    select(rule, state, pool, 20, 9)


def test_the_whole_pool_as_a_batch_is_every_item_once():
    rule, pool = ALPGMM(window=100, buffer=200), pool_of(200)
    state = taught(rule, pool, progress(60, 80), 10)
    items, _ = select(rule, state, pool, 200, 11)
    assert sorted(items[0].tolist()) == list(range(200))


def test_groups_without_rollouts_single_rollouts_and_repeats_do_no_harm():
    rule, pool = ALPGMM(window=20, buffer=40), pool_of(30)
    state = rule.init(pool, 1)
    for step in range(10):
        told = testing.feedback(
            pool, [1, 1, 2, 3, 4], [[1.0], [0.0], [0.5], [1.0], [0.0]], step + 1, counts=[1, 1, 1, 0, 1]
        )
        state = rule.update(state, told)
    select(rule, state, pool, 10, 11)


def test_the_same_seed_gives_the_same_draws_and_another_seed_others():
    pool = pool_of(200)
    rule = ALPGMM(window=100, buffer=200)
    state = taught(rule, pool, progress(60, 80), 10, lanes=2)
    one, _ = select(rule, state, pool, 20, 11)
    again, _ = select(rule, taught(rule, pool, progress(60, 80), 10, lanes=2), pool, 20, 11)
    np.testing.assert_array_equal(one, again)
    assert set(one[0].tolist()) != set(one[1].tolist())


def test_the_global_generator_of_numpy_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    rule, pool = ALPGMM(window=50, buffer=100), pool_of(200)
    select(rule, taught(rule, pool, progress(60, 80), 4), pool, 20, 5)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_no_item_starves():
    rule, pool = ALPGMM(window=100, buffer=200), pool_of(200)
    state = taught(rule, pool, progress(60, 80), 10)
    seen = {item for step in range(11, 400) for item in select(rule, state, pool, 20, step)[0][0].tolist()}
    assert seen == set(range(200))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("window", 0),
        ("window", 2.5),
        ("buffer", 0),
        ("random", -0.1),
        ("random", 1.1),
        ("components", (0, 3)),
        ("components", (5, 2)),
        ("start", -1),
        ("start", 500),  # the buffer never holds more
    ],
)
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=rf"^{field}\b.*must "):
        ALPGMM(**{field: value})


def windows():
    """(250, 2) pairs of task and progress: scattered, in clusters, without progress, of few difficulties."""
    rng = np.random.default_rng(0)
    task = rng.random(250)
    clusters = np.clip(rng.normal([[0.2, 0.6]], 0.05, (250, 2)), 0, 1)
    return {
        "scattered": np.stack([task, rng.random(250)], axis=1),
        "clusters": np.where(rng.random((250, 1)) < 0.5, clusters, 1 - clusters),
        "a peak": np.stack([task, np.exp(-50 * (task - 0.4) ** 2) * rng.random(250)], axis=1),
        "no progress": np.stack([task, np.zeros(250)], axis=1),
        "few difficulties": np.stack([rng.integers(0, 3, 250) / 4, rng.integers(0, 9, 250) / 8], axis=1),
        "one pair": np.tile([0.5, 0.0], (250, 1)),
    }


@pytest.mark.parametrize("case", windows())
@pytest.mark.parametrize("components", [(2, 10), (1, 1)])
def test_mixtures_are_those_of_scikit_learn(case, components):
    pairs = windows()[case]
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = [GaussianMixture(k, random_state=7).fit(pairs) for k in range(components[0], components[1] + 1)]
    best = min(fits, key=lambda fit: fit.aic(pairs))
    level, centre, spread = fit_mixture(pairs, components, 7)
    assert level == pytest.approx(best.means_[:, 1], abs=1e-9)
    assert centre == pytest.approx(best.means_[:, 0], abs=1e-9)
    assert spread == pytest.approx(np.sqrt(best.covariances_[:, 0, 0]), abs=1e-9)
