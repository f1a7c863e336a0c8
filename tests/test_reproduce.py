"""sims/reproduce.py: a real run forecast, and published findings held against the learner family."""

import math
import sys

import family
import forecast
import numpy as np
import pandas as pd
import paper_findings
import pytest
import reproduce
import table1
from fitting import CONTROLS, FREE, GRID, STEP, Model, beta_binomial, fit, log_likelihood
from published import EXTRA, STABLE_SHARE, TABLE1
from visits import BINS, VisitLog, read_log

from workbench.controllers import AdaRFT, Controller, Uniform
from workbench.errors import InputError
from workbench.learners import SimLearner
from workbench.pool import Pool
from workbench.presets import make_law

N = 4


def log_of(counts, attempts=N):
    counts = np.array(counts)
    return VisitLog(np.arange(len(counts)), counts, attempts, 0)


TINY = log_of([[0, 1, 2, 2], [3, 4, 4, 2], [1, 0, 3, 4], [2, 2, 1, 3]])
B = np.array([1.5, -1.0, 0.2, -0.4])
VALUES = {"rho": 0.04, "scatter": 0.12, "kappa": 0.3, "forgetting": 0.05, "gamma": 0.7, "length": 0.8, "floor": 0.1,
          "ceiling": 0.9}  # fmt: skip


def parameters(model):
    """Named parameters of a model with the values above where they are free."""
    return model.parameters(model.centre) | {name: VALUES[name] for name in model.free}


# ---- likelihood ------------------------------------------------------------------------------------------------


def plain_exposure(name, counts, p):
    """x before each visit, item by item: sums over items in plain Python."""
    items, visits = counts.shape
    x, out = [0.0] * items, []
    for t in range(visits):
        out.append(list(x))
        signal = []
        for i in range(items):
            k = int(counts[i, t])
            v = math.sqrt(k * (N - k)) / N / 0.5 if name == "grpo" else k * (N - k) / (N * (N - 1)) / 0.25
            signal.append(v ** p["gamma"])
        gain = []
        for j in range(items):
            if name == "tabular":
                gain.append(signal[j])
            elif name == "kernel":
                near = (math.exp(-abs(B[i] - B[j]) / p["length"]) * signal[i] for i in range(items))
                gain.append(sum(near) / items)
            else:
                gain.append(sum(signal) / items)
        x = [xj + p["kappa"] * g - p["forgetting"] * xj for xj, g in zip(x, gain, strict=True)]
    return out


def plain_beta_binomial(k, n, p, rho):
    a, b = p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho

    def log_beta(x, y):
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    return math.comb(n, k) * math.exp(log_beta(a + k, b + n - k) - log_beta(a, b))


def plain_log_likelihood(name, counts, p, prior):
    x, total = plain_exposure(name, counts, p), 0.0
    move = p["scatter"] ** 2 / STEP**2
    for i in range(len(counts)):
        weight = list(prior)
        for t in range(counts.shape[1]):
            if t:
                moved = [0.0] * len(GRID)
                for g, w in enumerate(weight):
                    moved[g] += (1 - move) * w
                    moved[max(g - 1, 0)] += move / 2 * w
                    moved[min(g + 1, len(GRID) - 1)] += move / 2 * w
                weight = moved
            for g, u in enumerate(GRID):
                sigma = 1 / (1 + math.exp(-(u + x[t][i])))
                chance = p["floor"] + (p["ceiling"] - p["floor"]) * sigma
                weight[g] *= plain_beta_binomial(int(counts[i, t]), N, chance, p["rho"])
        total += math.log(sum(weight))
    return total


@pytest.mark.parametrize("name", [*FREE, *CONTROLS])
def test_the_teacher_forced_likelihood_equals_a_plain_one(name):
    model = Model(name, B)
    p = parameters(model)
    prior = np.exp(-(GRID**2) / 4)
    prior /= prior.sum()
    plain = plain_log_likelihood(name, TINY.counts, p, prior)
    assert log_likelihood(model, TINY, p, prior) == pytest.approx(plain, abs=2e-3)  # x is interpolated


def test_beta_binomial_sums_to_one_and_is_binomial_without_over_dispersion():
    p = np.array([0.02, 0.5, 0.97])
    assert beta_binomial(p, 0.1, 8).sum(axis=1) == pytest.approx(1)
    binomial = [[math.comb(8, k) * q**k * (1 - q) ** (8 - k) for k in range(9)] for q in p]
    assert beta_binomial(p, 1e-9, 8) == pytest.approx(np.array(binomial), rel=1e-5)


@pytest.mark.parametrize("name", list(FREE))
def test_an_update_is_that_of_the_workbench_learner(name):
    """Whole-pool batches with the logged rewards: the SimLearner's logits move as the fitted law's x."""
    model = Model(name, B)
    p = parameters(model)
    own = {field: p[field] for field in ("kappa", "forgetting", "gamma")} | {"theta0": 0.0, "label_noise": 0.0}
    if name == "kernel":
        own["length"] = p["length"]
    if name == "tabular":
        own["kappa"] = p["kappa"] * len(B)
    if name == "guess":  # the fitted law takes the skill's share of the gradient for 1, as it is without them
        own |= {"floor": 0.0, "ceiling": 1.0}
    learner = SimLearner(make_law(name, own), Pool(np.full(len(B), 50.0)), b=B)
    for t in range(TINY.visits):
        rewards = (np.arange(N) < TINY.counts[:, t, None]).astype(np.float32)
        learner.learn(np.arange(len(B)), rewards)
    own_offset = learner.state.offset[0, : len(B)] if learner.state.offset.size else 0.0  # then come held-out items
    logits = learner.state.theta + own_offset
    expected = np.broadcast_to(model.exposure(TINY, p)[-1], len(B))
    assert np.broadcast_to(logits, len(B)) == pytest.approx(expected, rel=1e-4)


def test_futures_advance_as_the_log_does():
    """advance() on columns of draws = exposure() on the log, for every law."""
    for name in (*FREE, *CONTROLS):
        model = Model(name, B)
        vectors = np.stack([model.centre, model.centre + 0.3])
        p = model.parameters(vectors)
        x = np.zeros((2, len(B) if name in ("tabular", "kernel") else 1))
        for t in range(TINY.visits):
            x = model.advance(x, np.stack([TINY.counts[:, t]] * 2), N, p)
        for d in range(2):
            expected = model.exposure(TINY, model.parameters(vectors[d]))[-1]
            assert x[d] == pytest.approx(expected, rel=1e-12), name


# ---- fit and forecast on simulated logs ------------------------------------------------------------------------

TRUTH = {"kappa": 0.25, "forgetting": 0.02, "rho": 0.03, "scatter": 0.1}


def simulated_log(items=500, visits=20, n=8, seed=5):
    """A log of the scalar learner with the plain signal v / v_ref, by its equations."""
    rng = np.random.Generator(np.random.Philox(seed))
    u, x, counts = rng.normal(-0.5, 2, items), 0.0, np.empty((items, visits), int)
    for t in range(visits):
        p = np.clip(1 / (1 + np.exp(-(u + x))), 1e-6, 1 - 1e-6)
        size = 1 / TRUTH["rho"] - 1
        counts[:, t] = rng.binomial(n, rng.beta(p * size, (1 - p) * size))
        k = counts[:, t]
        x += TRUTH["kappa"] * np.mean(k * (n - k) / (n * (n - 1)) / 0.25) - TRUTH["forgetting"] * x
        u = u + TRUTH["scatter"] * rng.standard_normal(items)
    return log_of(counts, n)


@pytest.fixture(scope="module")
def simulated():
    return simulated_log()


def test_the_fit_recovers_what_made_the_log(simulated):
    """Gains per visit within three standard errors; kappa' at a given gamma is what such a log identifies."""
    fitted = fit(Model("scalar", np.zeros(500)), simulated)
    p, sd = fitted.model.parameters(fitted.vector), np.sqrt(np.diag(fitted.covariance))
    error = dict(zip(fitted.model.free, sd, strict=True))
    for name in ("rho", "scatter"):
        assert abs(math.log(p[name] / TRUTH[name])) < 3 * error[name] + 0.1, name
    x = fitted.model.exposure(simulated, p)[:, 0]
    true = fitted.model.exposure(simulated, p | {"gamma": 1.0} | {k: TRUTH[k] for k in ("kappa", "forgetting")})[:, 0]
    assert true[-1] > 1, "it learned something"
    assert x == pytest.approx(true, abs=0.15)
    assert error["kappa"] < 0.5, "and the log narrows the prior of 1.5"


def test_forecasts_of_a_simulated_run_cover_it_and_beat_the_baselines(simulated):
    tables = forecast.run(simulated, 10, 20, ["scalar"], draws=60)
    scores = tables.scores.set_index("learner")
    assert scores.loc["scalar", "beats_all"] == "clearly"
    assert 0.76 < scores.loc["scalar", "coverage_groups"] < 0.84
    assert scores.loc["scalar", "coverage_bins"] > 0.6
    assert scores.loc["scalar", "log_score"] > scores.loc["still", "log_score"]
    assert scores.loc["persistence", "over_persistence"] == 0
    assert scores.loc["persistence", "beats_all"] == "baseline"


def test_growth_is_the_slope_of_a_logistic_curve():
    visits = np.arange(1, 21)
    p = 1 / (1 + np.exp(-(-1 + 0.07 * visits)))
    slope, se = forecast.growth(10_000 * p, 10_000)
    assert slope == pytest.approx(0.07, rel=1e-4)
    assert 0 < se < 0.01


def test_bins_are_those_of_the_first_visits():
    counts = np.array([[0] * 6, [1, 1, 1, 1, 0, 4], [2] * 6, [4] * 6])  # rates .0, .2, .5, 1 over five visits
    assert [BINS[k] for k in log_of(counts).bins(6)] == ["0.0-0.2", "0.0-0.2", "0.4-0.6", "0.8-1.0"]


# ---- the command -----------------------------------------------------------------------------------------------

FORECAST = ["learner", "visit", "bin", "mean_pass_rate", "lower80", "upper80", "zero_variance_share",
            "all_wrong_share", "all_right_share"]  # fmt: skip


def run_command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["sims/reproduce.py", *map(str, words)])
    try:
        status = reproduce.main()
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture
def csv(tmp_path):
    log = simulated_log(40, 8)
    rows = [(f"q{i}", t, log.counts[i, t], 8) for i in range(40) for t in range(8)]
    path = tmp_path / "log.csv"
    pd.DataFrame(rows, columns=["item", "visit", "successes", "attempts"]).to_csv(path, index=False)
    return path


def test_a_real_run_leaves_its_tables_and_figure_the_same_every_time(csv, tmp_path, monkeypatch, capsys):
    words = ["real-run", "--log", csv, "--fit-until", 5, "--forecast-until", 9, "--learners", "natural", "--draws", 10]
    for name in ("a", "b"):
        status, out, _ = run_command(monkeypatch, capsys, *words, "--out", tmp_path / name)
        assert status == 0
        assert "beats all three baselines" in out
    table = pd.read_csv(tmp_path / "a" / "forecast.csv")
    assert list(table.columns[:9]) == FORECAST
    assert set(table["visit"]) == {6, 7, 8, 9}
    assert (table["log_visit"] == table["visit"] - 1).all(), "this log counts from 0"
    assert set(table["learner"]) == {"natural", "still", "trend", *forecast.BASELINES}
    assert "all" in set(table["bin"])
    assert set(table["bin"]) <= {"all", *BINS}
    assert (table["lower80"] <= table["upper80"]).all()
    parts = table["all_wrong_share"] + table["all_right_share"]
    assert table["zero_variance_share"].to_numpy() == pytest.approx(parts.to_numpy(), abs=1e-5)
    scores = pd.read_csv(tmp_path / "a" / "scores.csv")
    assert {"log_score", "over_persistence", "over_running_mean", "over_logistic_curve"} <= set(scores.columns)
    for name in ("forecast.csv", "scores.csv", "parameters.csv", "items.csv", "forecast.pdf", "forecast.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda t: t.drop(columns="attempts"), [], "--log: must have the columns item, visit, successes,"),
        (lambda t: t.assign(successes=9), [], "successes: must be in [0, attempts], got 9 of 8 at row 0"),
        (lambda t: t.assign(successes="x"), [], "successes: must be a whole number >= 0, got x at row 0"),
        (lambda t: t.iloc[1:], [], "visit: must give each of 40 items one row"),
        (lambda t: t.assign(attempts=t["visit"] + 8), [], "attempts: must be one number >= 2 for all groups"),
        (lambda t: t.iloc[:0], [], "--log: must have a row per group, got none"),
        (lambda t: t, ["--fit-until", 9], "--fit-until: must be a whole number in [2, 8], got 9"),
        (lambda t: t, ["--forecast-until", 5], "--forecast-until: must be a whole number >= 6, got 5"),
        (lambda t: t, ["--learners", "chain"], "--learners: must be one of scalar"),
        (lambda t: t, ["--draws", "1"], "--draws: must be a whole number >= 2, got 1"),
        (lambda t: t, ["--seed", "-1"], "--seed: must be a whole number >= 0, got -1"),
        (lambda t: t, ["--draws", "many"], "argument --draws"),
    ],
)
def test_bad_input_is_one_line(csv, tmp_path, monkeypatch, capsys, change, words, said):
    change(pd.read_csv(csv)).to_csv(csv, index=False)
    given = ["real-run", "--log", csv, "--fit-until", 5, "--forecast-until", 9, "--out", tmp_path / "out", *words]
    status, out, err = run_command(monkeypatch, capsys, *given)
    assert (status, out) == (2, "")
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_log_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"--log: must be a \.csv file of item, visit, successes, attempts, got"):
        read_log(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table1", "--fit-cells", "uniform/ppo,uniform/fixed,skew-easy/ppo"], "at most two different cells"),
        (["table1", "--fit-cells", "uniform/grpo"], "--fit-cells: must be one of skew-difficult/ppo"),
        (["extremes", "--learners", "tabular"], "--learners: must have another than tabular"),
        (["beta", "--learners", "scalar,scalar"], "--learners: must be different from each other"),
        (["gamma"], "invalid choice"),
    ],
)
def test_bad_studies_are_one_line(tmp_path, monkeypatch, capsys, words, said):
    status, _, err = run_command(monkeypatch, capsys, *words, *(["--out", tmp_path] if words[0] != "gamma" else []))
    assert status == 2
    assert said in err
    assert err.count("\n") == 1


# ---- published findings ----------------------------------------------------------------------------------------


def test_published_numbers_are_those_of_the_paper():
    """arXiv 2504.05520 v4, Table 1, Math-1.5B: accuracy, seconds per step, extra steps; extra % = steps / 60."""
    table = """
        skew-difficult adarft 40.48 122.24 0 0        skew-difficult ppo 37.41 132.95 43 71.7
        skew-difficult filter 37.22 128.20 49 81.7    skew-difficult fixed 37.22 130.91 16 26.7
        uniform adarft 41.11 121.31 0 0               uniform ppo 37.20 126.82 34 56.7
        uniform filter 37.87 126.35 52 86.7           uniform fixed 37.27 126.40 48 80.0
        skew-easy adarft 39.18 120.52 0 0             skew-easy ppo 38.46 121.15 16 26.7
        skew-easy filter 38.15 115.12 21 35.0         skew-easy fixed 38.09 121.99 35 58.3
    """
    printed = table.split()
    rows = [printed[i : i + 6] for i in range(0, len(printed), 6)]
    read = {(pool, method): (float(a), float(s), int(e)) for pool, method, a, s, e, _ in rows}
    assert read == {(pool, method): row for pool, block in TABLE1.items() for method, row in block.items()}
    for pool, method, _, _, extra, percent in rows:
        assert float(percent) == pytest.approx(100 * int(extra) / 60, abs=0.05), (pool, method)
    assert len(EXTRA) == 9
    assert STABLE_SHARE == {40: 0.8, 64: 0.9}


def test_extra_steps_are_counted_from_the_step_to_match():
    steps = np.array([0.0, 5, 10, 15])
    curves = np.array([[0.1, 0.2, 0.4, 0.5], [0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.5, 0.5]])
    extra = family.extra_steps(steps, curves, np.array([0.3, 0.3, 0.3]), 5)
    assert extra == pytest.approx([2.5, 10, -5])  # half way from 5 to 10; never; at once


def test_smoothing_keeps_three_tenths_of_the_past():
    assert family.smoothed(np.array([[1.0, 0.0, 0.0]])) == pytest.approx(np.array([[1, 0.3, 0.09]]))


def test_draws_near_the_fitted_cells_weigh_most_and_do_not_score_them():
    cells = list(EXTRA)
    rows = [{"learner": "x", "cell": cell, "draw": d, "extra_steps": EXTRA[cell] + miss}
            for cell in cells for d, miss in enumerate((0.0, 15.0, 300.0))]  # fmt: skip
    predicted = pd.DataFrame(rows)
    weight = table1.weights(predicted, cells[:2])
    assert weight == pytest.approx(np.array([1, math.exp(-1), 0]) / (1 + math.exp(-1)))
    assert table1.weights(predicted, []) == pytest.approx([1 / 3] * 3)
    table, scores = table1.compare(predicted, cells[:2])
    assert list(scores["cells"]) == [9, 7]
    assert list(scores["signs"]) == [1, 1]
    assert scores["tau"].to_numpy() == pytest.approx(1)
    assert set(table.loc[~table["held_out"], "cell"]) == set(cells[:2])


def test_the_prefetched_rule_draws_each_epoch_at_the_target_it_began_with():
    pool = Pool.synthetic("uniform", 400)

    def batches(rule, steps):
        controller, out = Controller(rule, pool), []
        for _ in range(steps):
            items = controller.next_batch(32)
            out.append(tuple(sorted(items)))
            controller.observe(items, (pool.difficulty[items] < 60).astype(np.float32))
        return out

    ahead = batches(paper_findings.PrefetchedAdaRFT(ahead=5), 15)
    for epoch in range(3):
        assert len(set(ahead[5 * epoch : 5 * epoch + 5])) == 1
    assert ahead[0] != ahead[5], "the second epoch is drawn where five batches of successes drove T: at 100"
    assert ahead[0] == ahead[10], "and five of failures drove it back to 0"
    assert batches(paper_findings.PrefetchedAdaRFT(ahead=1), 15) == batches(AdaRFT(ties="first"), 15)


def test_labels_from_part_of_the_attempts_are_as_stable_as_hypergeometric_draws_are():
    pool = Pool(np.full(20_000, 50.0))  # 64 of 128 right; the sd of the rate from 64 is .0444
    sd = math.sqrt(0.25 / 64 * (128 - 64) / 127)
    z = (3.5 / 64) / sd  # counts within 3.2 of 32: up to 3, with half a count of continuity
    expected = math.erf(z / math.sqrt(2))
    assert paper_findings.stability(pool, 64, 2, 0).mean() == pytest.approx(expected, abs=0.01)


def test_ratings_correlate_with_the_solve_rate_as_published():
    b = np.random.Generator(np.random.Philox(1)).normal(0, 2, 20_000)
    rating = paper_findings.judged(b, 0)
    assert set(rating) <= set(np.arange(0, 101, 12.5))
    assert np.corrcoef(rating, 1 / (1 + np.exp(b)))[0, 1] == pytest.approx(-0.32, abs=0.03)


def test_priors_are_drawn_the_same_for_every_arm_and_stay_in_range():
    law = family.draw_law("kernel", 64, 3)
    assert np.array_equal(law.kappa, family.draw_law("kernel", 64, 3).kappa)
    for name, (low, high, _) in family.FAMILY["kernel"].priors.items():
        values = getattr(law, name)
        assert values.shape == (64,)
        assert low <= values.min() < values.max() <= high


def test_where_order_cannot_matter_no_finding_about_order_holds():
    """The natural gradient learns alike from every batch: all gains are 0, and a verdict must say no."""
    pool = Pool.synthetic("uniform")
    law = family.draw_law("natural", 3, 0)
    plain, ours = (family.run(law, rule, pool, 10, 3, 0) for rule in (Uniform(), AdaRFT()))
    row = family.finding("natural", "x", "yes", family.area(ours) > family.area(plain), family.area(ours))
    assert (row["share_of_draws"], row["verdict"]) == (0, "no")
    assert [family.verdict(share) for share in (0.0, 0.2, 0.5, 0.8, 1.0)] == ["no", "no", "open", "yes", "yes"]


def test_a_study_of_the_paper_leaves_findings_and_a_figure(tmp_path, monkeypatch, capsys):
    words = ["extremes", "--learners", "scalar", "--draws", 3, "--out", tmp_path]
    status, out, _ = run_command(monkeypatch, capsys, *words)
    assert status == 0
    assert "adarft beats uniform (area)  (published: yes)" in out
    table = pd.read_csv(tmp_path / "findings.csv")
    assert set(table["verdict"]) <= {"yes", "no", "open"}
    assert (tmp_path / "extremes.pdf").exists()
    assert (tmp_path / "extremes.png").exists()


def test_table1_says_what_it_was_fitted_on(tmp_path, monkeypatch, capsys):
    words = ["table1", "--learners", "scalar", "--draws", 2, "--out", tmp_path, "--fit-cells", "uniform/ppo"]
    status, out, _ = run_command(monkeypatch, capsys, *words)
    assert status == 0
    assert "skew-difficult/filter" in out
    assert list(pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)["fitted_on"]) == ["none", "uniform/ppo"]
    assert len(pd.read_csv(tmp_path / "cells.csv")) == 18
