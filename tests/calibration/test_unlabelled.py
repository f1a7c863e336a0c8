"""Logs whose items have no labels: the population's logits, and what the law adds to them."""

import numpy as np
import pytest
from scipy.special import expit

import workbench as wb
from sims.sbc import ITEMS, POOL, rank
from workbench.calibration.calibrate import Task, calibrate, chosen
from workbench.calibration.evidence import Groups, draw_last
from workbench.calibration.futures import draws_of
from workbench.calibration.log import Log
from workbench.calibration.priors import Space
from workbench.calibration.replay import Replay, difficulty_of, logits
from workbench.learners import SimLearner

B = difficulty_of(POOL)
SHIFTED, OTHERS = ("scalar", "guess", "kernel", "mixed", "tabular"), ("skills", "chain", "tracing")
UPDATES, BATCH, ATTEMPTS = 12, 8, 4


def unlabelled(name, free=None):
    return Space(chosen([name])[name], UPDATES, ITEMS, labelled=False, free=free)


def simulated(space, count, seed, b):
    """(count, P) points drawn from the prior, and a log of each: z = mean + what the law has added + u."""
    rng = np.random.default_rng(seed)
    points = space.points(rng.standard_normal((count, len(space.priors))))
    law = space.law_at(points)
    given, everyone = space.observation(points, law), np.arange(ITEMS)[None]
    learner = SimLearner(law, POOL, lanes=count, b=b)
    home = space.mean(points)[:, None] - logits(learner, everyone)
    u = given.spread[:, None] * rng.standard_normal((count, ITEMS))
    low, high, alpha = given.floor[:, None], given.ceiling[:, None], (1 / given.rho - 1)[:, None]
    rows = []
    for _ in range(UPDATES):
        items = rng.random((count, ITEMS)).argsort(axis=1)[:, :BATCH]
        z = np.take_along_axis(home + u + logits(learner, everyone), items, axis=1)
        p = low + (high - low) * expit(z)
        k = rng.binomial(ATTEMPTS, rng.beta(np.maximum(alpha * p, 1e-9), np.maximum(alpha * (1 - p), 1e-9)))
        learner.learn(items, (np.arange(ATTEMPTS) < k[..., None]).astype(np.float32))
        rows.append((items, k))
        u += given.drift[:, None] * rng.standard_normal(u.shape)
    steps, names = np.repeat(np.arange(UPDATES), BATCH), [str(i) for i in range(ITEMS)]
    logs = [Log(steps, np.concatenate([items[r] for items, _ in rows]), np.concatenate([k[r] for _, k in rows]),
                np.full(len(steps), ATTEMPTS), items=names) for r in range(count)]  # fmt: skip
    return points, logs


@pytest.mark.parametrize("name", SHIFTED + OTHERS)
def test_the_population_has_a_mean_of_its_own_where_theta0_does_more_than_shift(name):
    priors = unlabelled(name).priors
    assert ("mean" in priors) == (name in OTHERS)
    assert "mean" not in Space(chosen([name])[name], UPDATES, ITEMS, labelled=True).priors


@pytest.mark.parametrize("name", SHIFTED + OTHERS)
def test_an_item_s_logit_is_that_of_the_population_and_what_the_law_has_added(name):
    space = unlabelled(name)
    points, (log,) = simulated(space, 1, 3, B)
    law, replay = space.law_at(points), Replay(log, POOL, B)
    learner, everyone = SimLearner(law, POOL, lanes=1, b=B), np.arange(ITEMS)[None]
    first, wanted = logits(learner, everyone)[0], np.empty(len(log))
    for step in range(1, UPDATES + 1):
        rows = log.step == step
        wanted[rows] = (logits(learner, everyone)[0] - first)[log.item[rows]]
        learner.learn(log.item[None, rows], (np.arange(ATTEMPTS) < log.successes[None, rows, None]).astype(np.float32))
    mean = space.natural(points)["mean" if name in OTHERS else "theta0"]
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(space.zeta(points, replay)[0], mean + wanted, atol=1e-4)


def test_free_parameters_can_be_fewer():
    space = unlabelled("natural", free=("theta0",))
    assert list(space.priors) == ["theta0", "rho", "spread", "drift"]
    law = space.law_at(space.points(np.zeros((1, 4))))
    assert law.kappa == chosen(["natural"])["natural"].kappa


@pytest.mark.parametrize("name", ["natural", "chain"])
def test_ranks_of_parameters_drawn_from_the_prior_are_uniform_without_labels(name):
    """Simulation-based calibration, loosely: 16 tiny logs, where b tells the law where items lie."""
    space = unlabelled(name)
    points, logs = simulated(space, 16, 7, B)
    ranks = []
    for number, (point, log) in enumerate(zip(points, logs, strict=True)):
        task = Task(name, space, log, POOL, B, log.updates, number, 40.0)
        ranks.append(rank(point, task.fit().points))
    ranks = np.array(ranks)
    apart = (ranks.mean(axis=0) - 9.5) / np.sqrt((20**2 - 1) / 12 / len(ranks))
    assert np.abs(apart).max() < 3.5
    assert (ranks.std(axis=0) > 3.4).all()
    assert (ranks.std(axis=0) < 8.2).all()


def test_nothing_is_predicted_where_the_cut_is_the_last_update():
    space = unlabelled("natural")
    _, (log,) = simulated(space, 1, 5, B)
    fits = [Task("natural", space, log, POOL, B, cut, 0, 20.0).fit() for cut in (log.updates, 8)]
    assert np.isnan(fits[0].predictive).all()
    assert np.isfinite(fits[1].predictive).any()


@pytest.mark.parametrize("name", ["scalar", "skills"])
def test_futures_start_where_the_log_ends(name):
    """The simulated learner has, with the items' drawn difficulties, the chances that the posterior gives them."""
    _, (log,) = simulated(unlabelled(name), 1, 11, np.zeros(ITEMS))
    fit = calibrate(log, None, [name], enough=20.0, progress=False)
    (draws,) = draws_of(fit, 400, 0, "end", np.empty(0))
    space, items = draws.law.space, len(fit.pool)
    assert not space.labelled
    law = space.law_at(draws.points)
    learner = SimLearner(law, wb.Pool(np.full(items, 50.0)), draws.seeds, b=draws.b)
    learner.state = type(draws.state)(*(np.array(part) for part in draws.state))
    found = learner.success(np.tile(np.arange(items), (400, 1))).mean(axis=0)
    replay = Replay(fit.log, wb.Pool(np.full(items, 50.0)), np.zeros(items))
    zeta, groups = space.zeta(draws.points, replay), Groups(fit.log)
    tried, luck = groups.items, np.random.default_rng(0).random((400, len(groups.items)))
    u = draw_last(groups, zeta, space.observation(draws.points, law), 0, luck)
    after = (logits(replay.learner(law, 400, 0), np.arange(items)[None]) - replay.first(law, 400))[:, tried]
    _, floor, ceiling = (np.reshape(bound, (-1, 1)) for bound in law.curve())
    wanted = floor + (ceiling - floor) * expit(space.mean(draws.points)[:, None] + after + u)
    assert np.abs(found[tried] - wanted.mean(axis=0)).max() < 5 * (wanted.std(axis=0) / 20).max()
