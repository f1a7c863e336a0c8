"""sims/reproduce.py real-run: learners fitted to a log, forecasts, their bands and scores."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import call
from scipy.stats import betabinom

from sims import reproduce
from sims.forecasting import forecast
from sims.forecasting.discrepancy import GRID, Discrepancy, Errors, Shared, origins
from sims.forecasting.futures import Task, Visit, growth, simulate, together
from sims.forecasting.learners import CONTROLS, Fitted, Past, law_of
from sims.forecasting.visits import BATCH, BINS, Groups, VisitLog, batches, log_of, read_log
from workbench.calibration.calibrate import LEARNERS
from workbench.calibration.evidence import GRID as U
from workbench.calibration.evidence import STEP
from workbench.calibration.fit import LawFit
from workbench.errors import InputError
from workbench.learners import SimLearner
from workbench.pool import Pool

TINY = [[0, 1, 2, 2], [3, 4, 4, 2], [1, 0, 3, 4], [2, 2, 1, 3]]  # items x visits, of 4
MISSING = -1  # in a table of counts: the item has no group at the visit


def visit_log(counts, attempts=4):
    """A log from a table of counts, items x visits; attempts: one number, or a table."""
    counts = np.array(counts)
    item, visit = np.nonzero(counts != MISSING)
    order = np.lexsort((item, visit))
    n = np.broadcast_to(attempts, counts.shape)
    item, visit = item[order], visit[order]
    return VisitLog(np.arange(len(counts)), item, visit + 1, counts[item, visit], n[item, visit].copy(), 0)


def sigma(z):
    return 1 / (1 + np.exp(-z))


# ---- logs of visits ---------------------------------------------------------------------------------------------

HOLES = [[1, 2, MISSING, 4, 0, 3], [MISSING, MISSING, 2, 2, 2, 2], [0, 0, 0, 0, 0, 4], [4, MISSING, 4, 4, 4, 4]]


def test_a_log_with_holes_says_which_groups_a_visit_has():
    log = visit_log(HOLES)
    assert log.visits == 6
    assert [log.at(visit).item.tolist() for visit in (1, 2, 3)] == [[0, 2, 3], [0, 2], [1, 2, 3]]
    assert log.at(3).successes.tolist() == [2, 0, 4]
    assert log.totals[0].tolist() == [10, 8, 4, 20]
    assert log.totals[1].tolist() == [20, 16, 24, 20]
    assert log.until(3).last.successes.tolist()[:1] == [2], "the first item was not there at the third visit"
    assert log.last.successes.tolist() == [3, 2, 4, 4]


def test_items_that_no_fitted_visit_tried_are_left_out():
    log = visit_log(HOLES)
    tried = log.tried_until(2)
    assert tried.items.tolist() == [0, 2, 3]
    assert tried.visits == 6
    assert tried.at(3).item.tolist() == [1, 2], "numbered anew"
    assert tried.at(3).successes.tolist() == [0, 4]


def test_a_visit_is_planned_as_logged_and_after_the_log_with_all_items():
    log = visit_log(HOLES, attempts=[[8] * 6, [6] * 6, [8] * 6, [6, 8, 8, 8, 8, 8]])
    logged, later = log.plan(2), log.plan(7)
    assert logged.item.tolist() == [0, 2]
    assert logged.successes.tolist() == [0, 0], "what is forecast is not told"
    assert log.plan(1).attempts.tolist() == [8, 8, 6]
    assert later.item.tolist() == [0, 1, 2, 3]
    assert later.attempts.tolist() == [8] * 4


def test_bins_are_those_of_an_item_s_first_visits():
    counts = np.array([[0] * 6, [1, 1, 1, 1, 0, 4], [2] * 6, [4] * 6])  # rates .0, .2, .5, 1 over five visits
    assert [BINS[k] for k in visit_log(counts).bins(6)] == ["0.0-0.2", "0.0-0.2", "0.4-0.6", "0.8-1.0"]
    late = [[MISSING, 4, 4, 0, 0, 0], [4, 0, 0, 0, 0, 0]]  # rates .4 and .2 over five visits of their own
    assert [BINS[k] for k in visit_log(late).bins(6)] == ["0.2-0.4", "0.0-0.2"]
    assert [BINS[k] for k in visit_log(late).bins(2)] == ["0.8-1.0", "0.4-0.6"]


@pytest.mark.parametrize(("groups", "sizes"), [(127, [127]), (128, [128]), (129, [64, 65]), (300, [100, 100, 100])])
def test_a_visit_is_updates_of_at_most_a_batch_in_an_order_that_is_drawn(groups, sizes):
    parts = batches(groups, visit=2, seed=0)
    assert sorted(map(len, parts)) == sizes
    order = np.concatenate(parts)
    assert sorted(order) == list(range(groups))
    assert list(order) != list(range(groups))
    assert list(order) != list(np.concatenate(batches(groups, visit=3, seed=0)))
    np.testing.assert_array_equal(order, np.concatenate(batches(groups, visit=2, seed=0)))


def test_the_log_by_updates_has_every_group_in_an_update_of_its_visit():
    rng = np.random.default_rng(0)
    counts = np.where(rng.random((300, 4)) < 0.3, MISSING, rng.integers(0, 5, (300, 4)))
    log = visit_log(counts)
    found = log_of(log, seed=3)
    assert found.missing == 0
    per_visit = [-(-len(log.at(visit).item) // BATCH) for visit in range(1, 5)]
    assert found.updates == sum(per_visit)
    visit = 1 + np.searchsorted(np.cumsum(per_visit), found.step)
    told = {(i, v): k for i, v, k in zip(found.item, visit, found.successes, strict=True)}
    assert told == {(i, v): k for i, v, k in zip(log.item, log.visit, log.successes, strict=True)}
    assert np.bincount(found.step)[1:].max() <= BATCH


# ---- forecasts of known learners --------------------------------------------------------------------------------

VALUES = {"theta0": -0.4, "kappa": 0.5, "forgetting": 0.05, "mean": 0.3, "rho": 0.04, "spread": 1.2, "drift": 0.3}


def known(name, counts, **values):
    """A learner whose parameters are known: fitted to a log of items x visits."""
    task = Past(visit_log(counts)).task(name)
    priors = task.space.priors
    values = VALUES | values
    natural = {key: values.get(key, prior.centre) for key, prior in priors.items()}
    scale = {"log": np.log, "logit": lambda p: np.log(p / (1 - p)), "plain": float}
    point = np.array([scale[prior.scale](natural[key]) for key, prior in priors.items()])
    return Fitted(task, LawFit(task.space, np.tile(point, (8, 1)), np.zeros(len(counts)), 0.0, 8.0)), natural


@pytest.mark.parametrize("name", ["scalar", "kernel", "mixed", "skills", "trend"])
def test_a_forecast_goes_on_from_what_the_counts_say_of_each_item(name):
    """Chances at the next visit: u given all counts on a grid, a step of its walk, and what the law has added."""
    counts, lanes = np.array(TINY), 4000
    fitted, own = known(name, counts)
    task = Task(visit_log(counts), 4, 5, lanes, 0)
    visit = next(simulate(fitted, task))
    learner = SimLearner(fitted.fit.space.law_at(fitted.fit.points[:1]), Pool(np.full(4, 50.0)), b=fitted.task.b)
    everyone, added = np.arange(4), []
    for t in range(5):
        p = learner.success(everyone).astype(float)
        added.append(np.log(p / (1 - p)))
        if t < 4:
            learner.learn(everyone, (np.arange(4) < counts[:, t, None]).astype(np.float32))
    mean = own["mean" if "mean" in own else "theta0"]
    walk = np.exp(-((U[:, None] - U) ** 2) / (2 * own["drift"] ** 2))
    walk /= walk.sum(axis=0)
    prior = np.exp(-(U**2) / (2 * own["spread"] ** 2))
    for i in range(4):
        weight = prior / prior.sum()
        for t in range(5):
            if t:
                weight = walk @ weight
            chance = sigma(U + mean + added[t][i] - added[0][i])
            if t < 4:
                size = 1 / own["rho"] - 1
                weight = weight * betabinom.pmf(counts[i, t], 4, chance * size, (1 - chance) * size)
        expected = np.sum(weight * chance) / np.sum(weight)
        error = visit.p[:, i].std() / math.sqrt(lanes)
        assert abs(visit.p[:, i].mean() - expected) < 4 * error + 0.004, i  # the grid's walk has steps
    assert STEP == 0.25


def test_a_forecast_learns_from_the_counts_it_draws():
    """Two visits of a learner without drift: all gain what the signals of the drawn counts say."""
    fitted, own = known("scalar", TINY, drift=1e-6, forgetting=1e-9, kappa=0.8)
    task = Task(visit_log(TINY), 4, 6, 50, 0)
    first, second = simulate(fitted, task)
    k = first.counts
    gamma = own["gamma"]
    signal = np.where((k > 0) & (k < 4), (k * (4 - k) / 12 / 0.25) ** gamma, 0.0).mean(axis=1)
    moved = np.log(second.p / (1 - second.p)) - np.log(first.p / (1 - first.p))
    assert moved == pytest.approx(np.broadcast_to(0.8 * signal[:, None], moved.shape), abs=2e-3)
    assert np.ptp(signal) > 0.1


def test_an_item_drifts_by_its_updates_whether_tried_or_not():
    """A visit without it: the walk of an item goes on, and is drawn when it is tried again."""
    counts = np.array([[2, 1, MISSING, 2], [2, 2, 2, 2], [1, 3, 2, 2]])
    fitted, _ = known("still", counts[:, :2], drift=0.4)
    seen = visit_log(counts[:, :2])
    spread = []
    for logged in (counts, np.where(counts == MISSING, 0, counts)):
        task = Task(visit_log(logged), 2, 4, 3000, 0)
        assert task.log.until(2).totals[0].tolist() == seen.totals[0].tolist()
        *_, last = simulate(fitted, task)
        spread.append(np.log(last.p[:, 0] / (1 - last.p[:, 0])).std())
    assert spread[0] == pytest.approx(spread[1], rel=0.06)


def test_controls_gain_nothing_or_the_same_from_every_group():
    assert set(CONTROLS) == {"still", "trend"}
    for name, wanted in (("still", 0.0), ("trend", 0.5)):
        fitted, own = known(name, TINY, drift=1e-6)
        assert list(own) == [*CONTROLS[name], "rho", "spread", "drift"]
        first, second = simulate(fitted, Task(visit_log(TINY), 4, 6, 30, 0))
        moved = np.log(second.p / (1 - second.p)) - np.log(first.p / (1 - first.p))
        assert moved == pytest.approx(np.full_like(moved, wanted), abs=2e-3)


def test_futures_of_several_learners_are_one_set():
    groups = Groups(np.arange(2), np.zeros(2, int), np.full(2, 4))
    parts = [Visit(groups, np.full((d, 2), p), np.full(d, p), np.full((d, 2), d)) for d, p in ((2, 0.1), (3, 0.4))]
    (both,) = together([iter([part]) for part in parts])
    assert both.p[:, 0].tolist() == [0.1, 0.1, 0.4, 0.4, 0.4]
    assert both.rho.tolist() == [0.1, 0.1, 0.4, 0.4, 0.4]
    assert both.counts[:, 1].tolist() == [2, 2, 3, 3, 3]


# ---- fit and forecast on simulated logs -------------------------------------------------------------------------

TRUTH = {"kappa": 0.25, "forgetting": 0.02, "rho": 0.03, "drift": 0.1}  # per visit


def test_learners_of_a_mixture_have_luck_of_their_own(simulated):
    """Of one learner twice, the two halves of the futures differ; the same call gives the same."""
    log = visit_log(simulated[:60], 8)
    whole = forecast.Origin.after(log.until(6), 6, 0)
    part = forecast.Forecast("natural", whole, whole.fit("natural", enough=20.0), Discrepancy.judged([]))
    task, halves = Task(log, 6, 8, 20, 0), np.array([0.5, 0.5])
    for visit, again in zip(*(forecast.stacked({"a": part, "b": part}, halves, task) for _ in range(2)), strict=True):
        assert (visit.p[:10] != visit.p[10:]).mean() > 0.9
        assert (visit.counts[:10] != visit.counts[10:]).any()
        np.testing.assert_array_equal(visit.counts, again.counts)


def simulated_counts(items=500, visits=20, n=8, seed=5):
    """Counts of the scalar learner with the plain signal v / v_ref, an update per visit, by its equations."""
    rng = np.random.Generator(np.random.Philox(seed))
    u, x, counts = rng.normal(-0.5, 2, items), 0.0, np.empty((items, visits), int)
    for t in range(visits):
        p = np.clip(sigma(u + x), 1e-6, 1 - 1e-6)
        size = 1 / TRUTH["rho"] - 1
        counts[:, t] = rng.binomial(n, rng.beta(p * size, (1 - p) * size))
        k = counts[:, t]
        x += TRUTH["kappa"] * np.mean(k * (n - k) / (n * (n - 1)) / 0.25) - TRUTH["forgetting"] * x
        u = u + TRUTH["drift"] * rng.standard_normal(items)
    return counts


def thinned(counts, seed=1, n=8):
    """A third of the groups missing, and of the others as many attempts as luck has it, from 2 on."""
    rng = np.random.default_rng(seed)
    attempts = rng.integers(2, n + 1, counts.shape)
    kept = rng.hypergeometric(counts, n - counts, attempts)
    return visit_log(np.where(rng.random(counts.shape) < 1 / 3, MISSING, kept), attempts)


@pytest.fixture(scope="module")
def simulated():
    return simulated_counts()


@pytest.mark.parametrize("balanced", [True, False])
def test_the_fit_recovers_what_made_the_log(simulated, balanced):
    """What such a log identifies: the gain of a visit, the drift of a visit, and the correlation of attempts."""
    log = visit_log(simulated, 8) if balanced else thinned(simulated)
    fitted = Fitted.of(Past(log).task("scalar", enough=100.0))
    found = fitted.fit.natural
    per_visit = fitted.task.log.updates / log.visits
    for name, values in (("rho", found["rho"]), ("drift", found["drift"] * math.sqrt(per_visit))):
        middle, sd = np.log(values).mean(), np.log(values).std()
        assert abs(middle - math.log(TRUTH[name])) < 3 * sd + 0.1, name
    gained = fitted.replay.learner(fitted.fit.space.law_at(fitted.fit.points), len(fitted.fit.points), 0).state.theta
    gained = gained - found["theta0"]
    x = 0.0
    for counts in simulated.T:
        x += TRUTH["kappa"] * np.mean(counts * (8 - counts) / 56 / 0.25) - TRUTH["forgetting"] * x
    assert x > 1, "it learned something"
    assert abs(gained.mean() - x) < 3 * gained.std() + 0.05
    assert gained.std() < 0.3


TRUE_KAPPA = {"kernel": 0.1, "tabular": 30.0, "skills": 0.5}


def counts_of_law(name, items=400, visits=15, n=8, seed=3, kappa=None, bent=0.0):
    """Counts of any law, by its own learner; bent: sd of what items of like difficulty gain per factor e of visits."""
    rng = np.random.Generator(np.random.Philox(seed))
    u = rng.normal(-0.3, 1.8, items)
    law = replace(law_of(name), kappa=kappa or TRUE_KAPPA.get(name, 0.08), theta0=0.0, label_noise=0.0)
    if name in ("kernel", "mixed"):  # at half a logit, places read off the counts are too rough to tell it from kappa
        law = replace(law, length=2.0)
    learner = SimLearner(law, Pool(np.full(items, 50.0)), b=-u)
    grid = np.arange(-8, 8.1, 0.5)
    field = np.linalg.cholesky(np.exp(-np.abs(grid[:, None] - grid) / 3)) @ rng.standard_normal(len(grid))
    omega, counts, first = bent * np.interp(-u, grid, field), np.empty((items, visits), int), None
    for t in range(visits):
        p = np.clip(learner.success(np.arange(items)).astype(float), 1e-6, 1 - 1e-6)
        zeta = np.log(p / (1 - p))
        first = zeta if first is None else first
        chance = np.clip(sigma(u + zeta - first + omega * np.log(t + 1)), 1e-6, 1 - 1e-6)
        size = 1 / 0.02 - 1
        counts[:, t] = rng.binomial(n, np.clip(rng.beta(chance * size, (1 - chance) * size), 0, 1))
        for part in np.array_split(rng.permutation(items), -(-items // BATCH)):
            learner.learn(part, (np.arange(n) < counts[part, t, None]).astype(np.float32))
        u = u + 0.05 * rng.standard_normal(items)
    return counts, law.kappa


@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "guess"])
def test_each_learner_finds_the_kappa_of_its_own_log(name):
    """All others free. Distances come from the same log, and cost little."""
    counts, kappa = counts_of_law(name)
    fitted = Fitted.of(Past(visit_log(counts, 8)).task(name, enough=60.0))
    found = np.log(fitted.fit.natural["kappa"])
    assert abs(found.mean() - math.log(kappa)) < 3 * found.std() + 0.15
    assert fitted.fit.narrowing["kappa"] < 0.6, "the log says more than the prior"


@pytest.mark.parametrize("balanced", [True, False])
def test_forecasts_of_a_simulated_run_cover_it_and_beat_the_baselines(simulated, balanced):
    log = visit_log(simulated[:250], 8) if balanced else thinned(simulated[:250])
    tables = forecast.run(log, 10, 20, ["scalar"], draws=60, enough=40)
    scores = tables.scores.set_index("learner")
    assert scores.loc["scalar", "beats_all"] == "clearly"
    assert 0.76 < scores.loc["scalar", "coverage_groups"] < 0.84
    assert scores.loc["scalar", "coverage_bins"] > 0.6
    assert scores.loc["scalar", "log_score"] > scores.loc["still", "log_score"]
    assert scores.loc["persistence", "over_persistence"] == 0
    assert scores.loc["persistence", "beats_all"] == "baseline"
    assert scores.loc["stacked", "log_score"] == pytest.approx(scores.loc["scalar", "log_score"]), "the only learner"


def test_weights_are_those_of_what_each_predicts():
    """A log of tabular: what is not trained stays, and the laws with one skill say otherwise."""
    rng = np.random.default_rng(3)
    counts, _ = counts_of_law("tabular", items=240)
    counts = np.where(rng.random(counts.shape) < 0.3, MISSING, counts)
    tables = forecast.run(visit_log(counts, 8), 12, 15, ["natural", "tabular"], draws=40, enough=40)
    weights = tables.weights.set_index("learner")["weight"]
    assert weights.sum() == pytest.approx(1)
    assert weights["tabular"] > 0.6


def test_growth_is_the_slope_of_a_logistic_curve():
    visits = np.arange(1, 21)
    p = sigma(-1 + 0.07 * visits)
    for n in (np.full(20, 10_000), np.where(visits % 3, 10_000, 0)):  # visits without a group say nothing
        slope, se = growth(n * p, n)
        assert slope == pytest.approx(0.07, rel=1e-4)
        assert 0 < se < 0.01


def test_errors_of_a_mean_are_over_items():
    rng = np.random.default_rng(0)
    item = np.repeat(np.arange(40), 5)
    differences = np.repeat(rng.standard_normal(40), 5)
    assert forecast.standard_error(item, differences) == pytest.approx(differences[::5].std(ddof=1) / math.sqrt(40))
    assert math.isnan(forecast.standard_error(np.zeros(3, int), np.arange(3.0)))
    uneven = np.array([0, 0, 0, 1])  # sums -1.5 and 1.5 about the mean: the root of 2 (2.25 + 2.25), over 4
    assert forecast.standard_error(uneven, np.array([0.0, 0.0, 0.0, 2.0])) == pytest.approx(3 / 4)


# ---- what items share -------------------------------------------------------------------------------------------


def test_bands_cover_a_run_that_departs_from_the_law():
    """Logs of the natural law, bent by difficulty: about 80 % of visits x bins inside; far fewer without the errors."""
    inside, plain = [], []
    for seed in range(6):
        counts, _ = counts_of_law("natural", items=250, visits=18, seed=seed, kappa=0.04, bent=0.6)
        log = visit_log(counts, 8)
        seen = log.until(9)
        whole, *earlier = (forecast.Origin.after(seen, visit, seed) for visit in (9, *origins(9)))
        task = Task(log, 9, log.visits, 100, seed)
        part = forecast.Forecast.of("natural", whole, earlier, enough=40)
        for futures, share in ((part.futures(task), inside), (simulate(part.fitted, task), plain)):
            rows = pd.DataFrame(forecast.assess("natural", futures, task, whole.bins).rows)
            joined = rows[rows["bin"] != "all"].merge(forecast.observed_table(log, whole.bins), on=["visit", "bin"])
            share.append(joined["observed"].between(joined["lower80"], joined["upper80"]).mean())
    assert 0.68 < np.mean(inside) < 0.92
    assert np.mean(plain) < np.mean(inside) - 0.15


def test_the_size_of_the_shared_error_is_found():
    rng = np.random.Generator(np.random.Philox(2))
    moved = np.abs(rng.standard_normal((30, len(GRID)))) / len(GRID)
    kernel = np.exp(-np.abs(GRID[:, None] - GRID) / 3)
    for size in (0.1, 0.5):
        errors = []
        for _ in range(40):
            omega = size * np.linalg.cholesky(kernel) @ rng.standard_normal(len(GRID))
            rates = 0.01 * rng.standard_normal((200, 30))
            errors.append(Errors(moved @ omega + 0.01 * rng.standard_normal(30), rates, moved))
        judged = [Discrepancy.judged([one]).row()["estimate"] for one in errors]
        assert np.median(judged) == pytest.approx(size, rel=0.3)


def test_without_earlier_visits_the_prior_speaks():
    assert origins(15) == [5, 7, 10]
    assert origins(3) == [2]
    assert origins(2) == []
    row = Discrepancy.judged([]).row()
    assert row["estimate"] == pytest.approx(0.2, rel=0.1)
    assert row["upper80"] / row["lower80"] == pytest.approx(math.exp(2 * 1.2816), rel=0.15)


def test_the_shared_error_moves_no_mean_and_no_group():
    """Pairs of opposite sign; the drift gives up as much variance as is shared."""
    shared = Discrepancy(np.eye(31)[20]).draw(np.array([1.5, -1.0, 0.2, -0.4]), 2000, 0)
    assert shared.omega.sum(axis=0) == pytest.approx(0, abs=1e-9)
    assert shared.omega.std(axis=0) == pytest.approx(shared.size[0, 0], rel=0.1)
    task, everyone = Task(visit_log(TINY), 4, 10, 2000, 0, shared), np.arange(4)
    total = sum(task.shared_variance(visit, np.full(4, visit - 1)) for visit in task.horizon)
    assert total == pytest.approx(np.broadcast_to((shared.size * math.log(10 / 4)) ** 2, (2000, 4)))
    assert task.shift(10, everyone) == pytest.approx(shared.omega * math.log(10 / 4))
    assert task.shared_variance(10, np.array([4, 9]))[0, 0] == pytest.approx(total[0, 0]), "as much after a pause"


def test_a_group_is_as_uncertain_with_the_shared_error_as_without():
    fitted, _ = known("still", TINY, drift=0.5)
    task = Task(visit_log(TINY), 4, 12, 4000, 0)
    size = np.full((4000, 1), 0.3)
    omega = size * np.where(np.arange(4000) % 2, 1, -1)[:, None] * np.ones(4)
    spread = []
    for one in (task, replace(task, shared=Shared(omega, size))):
        *_, last = simulate(fitted, one)
        spread.append(np.log(last.p / (1 - last.p)).std(axis=0))
    assert spread[0] == pytest.approx(spread[1], rel=0.06)


@pytest.mark.parametrize("learners", [["natural"], ["kernel", "skills"]])
def test_no_forecast_reads_a_held_out_visit(simulated, learners):
    small = simulated[:60, :10]
    changed = small.copy()
    changed[:, 6:] = 8 - changed[:, 6:]
    a, b = (forecast.run(visit_log(of, 8), 6, 12, learners, draws=20, enough=20) for of in (small, changed))
    for table in ("forecast", "parameters", "items", "weights"):
        pd.testing.assert_frame_equal(getattr(a, table), getattr(b, table), check_exact=True)
    assert not a.scores.equals(b.scores)


def test_the_table_in_the_results_says_what_their_scores_say():
    folder = Path(__file__).parents[2] / "sims" / "results"
    scores = pd.read_csv(folder / "real-run" / "scores.csv").set_index("learner")
    _, below = (folder / "README.md").read_text().split("| | log score per group", 1)
    shown = [[cell.strip() for cell in row.strip("|").split("|")] for row in below.split("\n\n")[0].splitlines()[2:]]
    assert {row[0].split(" (")[0] for row in shown} == set(scores.index)
    for name, log_score, over_best, over_trend, coverage, rmse, _ in shown:
        row = scores.loc[name.split(" (")[0]]
        said = [float(text) for text in (log_score, coverage, rmse, *over_best.split(" ± "), *over_trend.split(" ± "))]
        meant = [row["log_score"], row["coverage_bins"], row["rmse_bins"]]
        meant += [row["over_logistic_curve"], row["se_over_best"]][: 1 + over_best.count("±")]
        meant += [row["over_trend"], row["se_over_trend"]][: 1 + over_trend.count("±")]
        digits = [4, 2, 3] + [4] * (len(said) - 3)
        assert said == [pytest.approx(value, abs=0.51 * 10.0**-d) for value, d in zip(meant, digits, strict=True)], name


# ---- the command ------------------------------------------------------------------------------------------------

FORECAST = ["learner", "visit", "bin", "mean_pass_rate", "lower80", "upper80", "zero_variance_share",
            "all_wrong_share", "all_right_share"]  # fmt: skip
TABLES = ("forecast.csv", "scores.csv", "parameters.csv", "items.csv", "weights.csv", "forecast.pdf", "forecast.png")


def as_csv(log, path):
    table = pd.DataFrame({"item": [f"q{i}" for i in log.item], "visit": log.visit - 1, "successes": log.successes,
                          "attempts": log.attempts})  # fmt: skip
    table.to_csv(path, index=False)
    return path


@pytest.fixture
def csv(tmp_path):
    return as_csv(visit_log(simulated_counts(40, 8), 8), tmp_path / "log.csv")


def test_a_real_run_leaves_its_tables_and_figure_the_same_every_time(csv, tmp_path, monkeypatch, capsys):
    words = ["real-run", "--log", csv, "--fit-until", 5, "--forecast-until", 9, "--learners", "natural", "--draws", 10]
    for name in ("a", "b"):
        status, out, _ = call(reproduce, monkeypatch, capsys, *words, "--out", tmp_path / name)
        assert status == 0
        assert "beats all three baselines" in out
    table = pd.read_csv(tmp_path / "a" / "forecast.csv")
    assert list(table.columns) == FORECAST
    assert set(table["visit"]) == {6, 7, 8, 9}
    assert set(table["learner"]) == {"natural", "stacked", "still", "trend", *forecast.BASELINES}
    assert "all" in set(table["bin"])
    assert set(table["bin"]) <= {"all", *BINS}
    assert (table["lower80"] <= table["upper80"]).all()
    parts = table["all_wrong_share"] + table["all_right_share"]
    assert table["zero_variance_share"].to_numpy() == pytest.approx(parts.to_numpy(), abs=1e-5)
    scores = pd.read_csv(tmp_path / "a" / "scores.csv")
    assert {"log_score", "over_persistence", "over_running_mean", "over_logistic_curve"} <= set(scores.columns)
    assert list(scores.columns) == list(forecast.SCORES)
    for name in TABLES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_an_unbalanced_log_goes_through(tmp_path, monkeypatch, capsys):
    """A third of the groups missing, 2 to 8 attempts, an item that comes late, and one that comes too late."""
    log = thinned(simulated_counts(60, 12))
    late = ((log.item == 3) & (log.visit < 5)) | ((log.item == 4) & (log.visit <= 8))
    path = as_csv(log._take(~late), tmp_path / "log.csv")
    words = ["--fit-until", 8, "--forecast-until", 14, "--learners", "scalar,kernel,skills", "--draws", 40]
    status, out, _ = call(reproduce, monkeypatch, capsys, "real-run", "--log", path, *words, "--out", tmp_path / "out")
    assert status == 0
    assert "1 item that no visit up to 8 tried is left out." in out
    items = pd.read_csv(tmp_path / "out" / "items.csv")
    assert "q3" in set(items["item"])
    assert "q4" not in set(items["item"])
    scores = pd.read_csv(tmp_path / "out" / "scores.csv").set_index("learner")
    assert np.isfinite(scores["log_score"]).all()
    assert scores.loc["scalar", "log_score"] > scores.loc["persistence", "log_score"]
    held = (log.visit > 8) & (log.item != 4)
    flat = -np.log(log.attempts[held] + 1.0).mean()  # every count as likely as any other
    assert scores.loc["scalar", "log_score"] > flat + 0.2
    assert set(pd.read_csv(tmp_path / "out" / "forecast.csv")["visit"]) == set(range(9, 15))


def with_cell(column, row, value):
    """A change of a log: this value in that cell."""
    def change(log):
        log[column] = log[column].astype(object)
        log.loc[row, column] = value
        return log

    return change


def test_a_row_without_an_item_is_no_item(csv):
    with_cell("item", 5, None)(pd.read_csv(csv)).to_csv(csv, index=False)
    with pytest.raises(InputError, match=r"^item: must be given in every row, got none at row 5$"):
        read_log(csv)


def test_a_log_without_held_out_visits_leaves_a_table_of_scores_with_heads_only(csv, tmp_path, monkeypatch, capsys):
    words = ["--fit-until", 8, "--forecast-until", 9, "--learners", "natural", "--draws", 4]
    status, out, _ = call(reproduce, monkeypatch, capsys, "real-run", "--log", csv, *words, "--out", tmp_path / "out")
    assert status == 0
    assert "forecast without scores" in out
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert scores.empty
    assert list(scores.columns) == list(forecast.SCORES)


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda t: t.drop(columns="attempts"), [], "--log: must have the columns item, visit, successes,"),
        (lambda t: t.assign(successes=9), [], "successes: must be in [0, attempts], got 9 of 8 at row 0"),
        (lambda t: t.assign(successes="x"), [], "successes: must be a whole number in [0, 1e9], got x at row 0"),
        (with_cell("item", 0, None), [], "item: must be given in every row, got none at row 0"),
        (with_cell("visit", 3, None), [], "visit: must be given in every row, got none at row 3"),
        (with_cell("successes", 3, None), [], "successes: must be given in every row, got none at row 3"),
        (with_cell("attempts", 3, None), [], "attempts: must be given in every row, got none at row 3"),
        (with_cell("visit", 3, 2.5), [], "visit: must be a whole number in [0, 1e9], got 2.5 at row 3"),
        (with_cell("successes", 3, 0.5), [], "successes: must be a whole number in [0, 1e9], got 0.5 at row 3"),
        (with_cell("successes", 3, 1e300), [], "successes: must be a whole number in [0, 1e9], got 1e+300"),
        (with_cell("attempts", 3, 8.5), [], "attempts: must be a whole number in [1, 1e9], got 8.5 at row 3"),
        (lambda t: t.assign(attempts=0, successes=0), [], "attempts: must be a whole number in [1, 1e9], got 0"),
        (lambda t: t.assign(attempts=1, successes=0), [], "attempts: must be >= 2 for all groups, got 1 at row 0"),
        (lambda t: t.assign(visit=0), [], "visit: must give an item one row for each visit, got visit 0 of item q0"),
        (lambda t: t[t["visit"] != 4], [], "visit: must have a row for every visit 0 to 7, got none for 4"),
        (lambda t: t.iloc[:0], [], "--log: must have a row per group, got none"),
        (lambda t: t, ["--fit-until", 9], "--fit-until: must be a whole number in [2, 8], got 9"),
        (lambda t: t, ["--forecast-until", 5], "--forecast-until: must be a whole number in [6, 10000], got 5"),
        (lambda t: t, ["--learners", "narrow"], "--learners: must be one of scalar"),
        (lambda t: t, ["--learners", "policy"], "--learners: must be one of scalar"),
        (lambda t: t, ["--draws", "1"], "--draws: must be a whole number in [2, 100000], got 1"),
        (lambda t: t, ["--seed", "-1"], "--seed: must be a whole number in [0, 4294967295], got -1"),
        (lambda t: t, ["--draws", "many"], "--draws: must be a whole number in [2, 100000], got 'many'"),
    ],
)
def test_bad_input_is_one_line(csv, tmp_path, monkeypatch, capsys, change, words, said):
    change(pd.read_csv(csv)).to_csv(csv, index=False)
    given = ["real-run", "--log", csv, "--fit-until", 5, "--forecast-until", 9, "--out", tmp_path / "out", *words]
    status, out, err = call(reproduce, monkeypatch, capsys, *given)
    assert (status, out) == (2, "")
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_log_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"--log: must be a \.csv file of item, visit, successes, attempts, got"):
        read_log(tmp_path / "none.csv")
