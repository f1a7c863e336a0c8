"""A learner driven by a log, against the same learner stepped by hand."""

import numpy as np
import pytest

import workbench as wb
from workbench.calibration.calibrate import chosen
from workbench.calibration.log import Log
from workbench.calibration.replay import Replay, difficulty_of, known_pool
from workbench.learners.learner import difficulty_to_logit

ITEMS = 12
POOL = wb.Pool(np.linspace(5, 95, ITEMS))
B = difficulty_of(POOL)
LAWS = ("scalar", "kernel", "tabular", "skills", "grpo", "guess", "natural", "mixed")


def law_of(name):
    return chosen([name])[name]


def made(seed=0, runs=1, steps=8, batch=4, attempts=6, equal=True):
    """Groups: (run, step, item, successes, attempts, admitted)."""
    rng = np.random.default_rng(seed)
    groups = []
    for run in range(runs):
        for step in range(1, steps + 1):
            for item in sorted(rng.choice(ITEMS, batch, replace=False).tolist()):
                n = attempts if equal else int(rng.integers(2, attempts + 1))
                groups.append((run, step, item, int(rng.integers(0, n + 1)), n, bool(rng.random() < 0.7)))
    return groups


def log_of(groups, admitted=False):
    run, step, item, k, n, ok = map(np.array, zip(*groups, strict=True))
    return Log(step, item, k, n, run, ok if admitted else None, items=[str(i) for i in range(ITEMS)])


def by_hand(law, groups, admitted=False):
    """Chances of the groups before each update, by a learner of one lane; updates without groups repeat the last."""
    chances = []
    for run in dict.fromkeys(group[0] for group in groups):
        learner, last = wb.SimLearner(law, POOL, b=B), None
        for step in range(1, max(g[1] for g in groups if g[0] == run) + 1):
            mine = [g for g in groups if g[:2] == (run, step)]
            if mine:
                items = np.array([g[2] for g in mine])
                rewards = np.zeros((len(mine), max(g[4] for g in mine)), np.float32)
                for row, g in enumerate(mine):
                    rewards[row, : g[3]] = 1
                ok = [g[5] for g in mine] if admitted else None
                last = items, rewards, ok, [g[4] for g in mine] if len({g[4] for g in mine}) > 1 else None
                chances.extend(learner.success(items).tolist())
            learner.learn(*last)
    return np.array(chances)


def told(law, groups, admitted=False):
    """The same by a replay, from zeta back to chances."""
    zeta = Replay(log_of(groups, admitted), POOL, B).zeta(law, 3)
    np.testing.assert_array_equal(zeta[0], zeta[2])
    _, floor, ceiling = law.curve()
    return floor + (ceiling - floor) / (1 + np.exp(-zeta[0]))


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("name", LAWS)
def test_chances_are_those_of_a_learner_stepped_by_hand(name, equal):
    groups = made(equal=equal)
    np.testing.assert_allclose(told(law_of(name), groups), by_hand(law_of(name), groups), atol=2e-6)


@pytest.mark.parametrize("name", ["scalar", "tabular"])
def test_every_run_starts_afresh(name):
    groups = made(runs=3, steps=5)
    found = told(law_of(name), groups)
    np.testing.assert_allclose(found, by_hand(law_of(name), groups), atol=2e-6)
    first = [found[[g[0] == run and g[1] == 1 for g in groups]].sum() for run in range(3)]
    fresh = wb.SimLearner(law_of(name), POOL, b=B).success(np.arange(ITEMS))
    assert first == pytest.approx([sum(fresh[g[2]] for g in groups if g[:2] == (run, 1)) for run in range(3)])


@pytest.mark.parametrize("name", ["scalar", "kernel"])
def test_an_update_that_is_missing_repeats_the_one_before(name):
    groups = [g for g in made(steps=10) if g[1] not in (3, 4, 8)]
    np.testing.assert_allclose(told(law_of(name), groups), by_hand(law_of(name), groups), atol=2e-6)
    assert log_of(groups).missing == 3


@pytest.mark.parametrize("name", ["scalar", "kernel", "tabular"])
def test_groups_that_were_not_admitted_teach_nothing(name):
    groups = made(seed=3)
    found = told(law_of(name), groups, admitted=True)
    np.testing.assert_allclose(found, by_hand(law_of(name), groups, admitted=True), atol=2e-6)
    assert np.abs(found - told(law_of(name), groups)).max() > 1e-4


def test_the_learner_after_a_run_has_learned_from_its_last_update():
    groups = made(runs=2)
    replay = Replay(log_of(groups), POOL, B)
    for run in (0, 1):
        hand = wb.SimLearner(wb.ScalarIRT(), POOL, b=B)
        for step in range(1, 9):
            mine = [g for g in groups if g[:2] == (run, step)]
            hand.learn([g[2] for g in mine], (np.arange(6) < [[g[3]] for g in mine]).astype(np.float32))
        assert replay.learner(wb.ScalarIRT(), 2, run).state.theta == pytest.approx([hand.state.theta[0]] * 2)


def test_zeta_is_finite_where_chances_are_saturated():
    law = wb.ScalarIRT(theta0=60.0)
    assert np.isfinite(Replay(log_of(made()), POOL, B).zeta(law, 1)).all()


@pytest.mark.parametrize("name", ["scalar", "kernel", "tabular", "skills", "guess"])
def test_lanes_with_difficulties_of_their_own_are_learners_of_one_lane(name):
    """b of shape (R, I): what futures give each draw of the items."""
    rng, law = np.random.default_rng(0), law_of(name)
    b = B + rng.normal(0, 1, (3, ITEMS))
    items = np.stack([rng.choice(ITEMS, 4, replace=False) for _ in range(3)])
    rewards = (rng.random((3, 4, 6)) < 0.5).astype(np.float32)
    together = wb.SimLearner(law, POOL, seed=np.arange(3), b=b)
    together.learn(items, rewards)
    seen = together.success(np.tile(np.arange(ITEMS), (3, 1)))
    for lane in range(3):
        alone = wb.SimLearner(law, POOL, seed=lane, b=b[lane])
        alone.learn(items[lane], rewards[lane])
        np.testing.assert_array_equal(seen[lane], alone.success(np.arange(ITEMS)))
        assert alone.evaluate() == pytest.approx(together.evaluate()[lane])


def test_items_without_a_label_have_a_difficulty_of_0():
    pool = wb.Pool([10.0, np.nan, 90.0])
    np.testing.assert_allclose(difficulty_of(pool), [difficulty_to_logit(10.0), 0.0, difficulty_to_logit(90.0)])
    assert difficulty_of(wb.Pool([np.nan, np.nan])) is None
    assert known_pool(pool).labelled


def test_the_label_counts_as_the_attempts_that_made_it():
    pool = wb.Pool([100.0, np.nan, 50.0], successes=[0, 1, 4], attempts=[8, 8, 8])
    assert difficulty_of(pool)[0] == pytest.approx(np.log(8.5 / 0.5))
