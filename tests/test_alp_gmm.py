"""ALP-GMM: where reward changes, items are drawn; a share stays uniform; nothing breaks where nothing changes."""

import numpy as np
import pytest
from scipy import stats

import workbench as wb
from workbench import testing
from workbench.controllers.alp_gmm import ALPGMM
from workbench.errors import InputError


def pool_of(size):
    return wb.Pool(difficulty=np.linspace(0, 100, size))


def select(rule, state, pool, count, step):
    lanes = len(state[0])
    items, state = rule.select(state, testing.draw(pool, step, np.arange(lanes)), count)
    assert items.shape == (lanes, count)
    assert all(len(set(row)) == count for row in items.tolist())
    return items, state


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
    ],
)
def test_a_hyper_parameter_out_of_its_domain_is_refused(field, value):
    with pytest.raises(InputError, match=rf"^{field}\b.*must "):
        ALPGMM(**{field: value})
