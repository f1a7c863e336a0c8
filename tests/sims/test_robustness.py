"""sims/robustness.py: which findings survive other learners, what the speed-up depends on, where the loop swings."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import call
from scipy.stats import spearmanr

import workbench.study.identity
from sims import robustness
from sims.paper import family
from sims.robust import matrix, sensitivity, stability
from sims.robust.matrix import Areas, Matrix, judge
from workbench.commands import SAME_AGAIN
from workbench.errors import InputError
from workbench.learners import SimLearner
from workbench.pool import Pool
from workbench.registry import LAWS

ROOT = Path(__file__).parents[2]


def command(monkeypatch, capsys, *words):
    """Exit status, what is printed, errors: without the progress bar."""
    status, out, err = call(robustness, monkeypatch, capsys, *words)
    return status, out, "\n".join(line for line in err.splitlines() if line.strip() and "%|" not in line)


def tables(folder):
    """Name -> bytes of every table and figure."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*.*")}


# ---- the family ------------------------------------------------------------------------------------------------


def test_every_learner_has_priors_that_its_law_takes_and_a_kind():
    assert family.FAMILY.keys() <= LAWS.keys()
    assert sorted(family.KEYED) == sorted(family.FAMILY)
    kinds = [kind for kind, _ in groupby(member.structure for member in family.FAMILY.values())]
    assert len(kinds) == len(set(kinds)), "learners of a kind stand side by side"
    pool = Pool.synthetic("uniform", 60)
    for name, member in family.FAMILY.items():
        values = family.draw_values(name, 64, 3)
        assert values.keys() == member.priors.keys()
        for field, (low, high, _) in member.priors.items():
            assert low <= values[field].min() < values[field].max() <= high
        law = family.draw_group_law(name, 64, 3, 16)
        start = SimLearner(law, pool, np.arange(64)).evaluate()
        assert np.isfinite(start).any()


def test_kappa_of_learners_that_count_visits_goes_with_the_batch():
    for name, factor in (("tabular", 1 / 8), ("grid", 8.0), ("scalar", 1.0)):
        whole, part = (family.draw_group_law(name, 4, 0, batch).kappa for batch in (1024, 128))
        assert part == pytest.approx(whole * factor)


# ---- the matrix ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("holds", "reverse", "verdict", "supported", "contradicted"),
    [
        ({"scalar": 0.8, "kernel": 1.0}, {"scalar": 0, "kernel": 0}, "survives", "one skill; item space", ""),
        ({"scalar": 0.8, "kernel": 0.79}, {"scalar": 0, "kernel": 0}, "artefact of one learner", "one skill", ""),
        ({"scalar": 1.0, "grpo": 1.0}, {"scalar": 0, "grpo": 0}, "artefact of one learner", "one skill", ""),
        ({"scalar": 1, "kernel": 1, "chain": 0.2}, {"scalar": 0, "kernel": 0, "chain": 0.8}, "contested",
         "one skill; item space", "chain"),
        ({"scalar": 1, "kernel": 1, "chain": 0.2}, {"scalar": 0, "kernel": 0, "chain": 0.79}, "survives",
         "one skill; item space", ""),
        ({"scalar": 0.7, "kernel": 0.1}, {"scalar": 0.1, "kernel": 0.9}, "not found", "", "kernel"),
        ({"scalar": 0, "natural": 0}, {"scalar": 0, "natural": 0}, "not found", "", ""),
        ({"tabular": 1, "kernel": 0, "grid": 1}, {"tabular": 0, "kernel": 1, "grid": 0}, "contested",
         "item space; locked cells", "kernel"),
    ],
)  # fmt: skip
def test_verdicts(holds, reverse, verdict, supported, contradicted):
    assert judge(holds, reverse) == {"verdict": verdict, "supported_by": supported, "contradicted_by": contradicted}


def made_up(areas, learners, controllers, pool="uniform"):
    """A matrix of one pool with these areas: (learner, controller) -> one number per draw."""
    draws = len(next(iter(areas.values())))
    study = Matrix([Pool.synthetic(pool, 50)], learners, controllers, draws, 10, 5, 2, "steps", 0)
    area = {(pool, *key): np.array(values, float) for key, values in areas.items()}
    return study, Areas(area, {key: np.full(draws, 100.0 if key[2] == "uniform" else 150.0) for key in area})


def test_a_difference_within_the_margin_is_no_win():
    gains = [0.0019, 0.0021, 0.003, 0.01, -0.0021]
    study, areas = made_up(
        {("scalar", "uniform"): [0.5] * 5, ("scalar", "adarft"): 0.5 + np.array(gains)}, ["scalar"],
        ["uniform", "adarft"],
    )  # fmt: skip
    row = matrix.matrix_table(study, areas, 0.002).iloc[1]
    assert (row["share_better"], row["share_worse"], row["rollouts"]) == (0.6, 0.2, 1.5)
    assert row["difference"] == pytest.approx(0.0021)
    assert row["lower80"] == pytest.approx(-0.0021 + 0.4 * 0.004)  # the tenth percentile of five: 0.4 of the way
    beats, loses = matrix.findings_table(study, areas, 0.002).to_dict("records")
    assert (beats["claim"], beats["share_scalar"], beats["verdict"]) == ("beats", 0.6, "not found")
    assert (loses["claim"], loses["share_scalar"]) == ("loses to", 0.2)


def test_adarft_is_held_against_its_rivals_too():
    names = ["uniform", "adarft", "filter"]
    level = {(learner, name): [0.5, 0.6] for learner in ("scalar", "kernel") for name in names}
    level["scalar", "adarft"] = level["kernel", "adarft"] = [0.6, 0.7]
    level["kernel", "filter"] = [0.8, 0.8]
    study, areas = made_up(level, ["scalar", "kernel"], names)
    found = matrix.findings_table(study, areas, 0.002).set_index(["controller", "claim", "against"])["verdict"]
    assert found["adarft", "beats", "uniform"] == "survives"
    assert found["adarft", "loses to", "uniform"] == "not found"
    assert found["adarft", "beats", "filter"] == "contested"
    assert found["adarft", "loses to", "filter"] == "contested"
    assert found["filter", "beats", "uniform"] == "artefact of one learner"


def test_rank_correlation_is_scipys():
    luck = np.random.Generator(np.random.Philox(5))
    x, y = luck.normal(size=(20, 9)), np.round(luck.normal(size=(20, 9)), 1)  # ties in y
    expected = [spearmanr(one, other).statistic for one, other in zip(x, y, strict=True)]
    assert matrix.rank_correlation(x, y) == pytest.approx(expected, abs=1e-12)
    level = matrix.rank_correlation(x[:1], np.full((1, 9), 0.3) + 1e-13 * np.arange(9))
    assert np.isnan(level).all(), "a learner that is level ranks nothing"


def test_rankings_of_learners_are_compared_with_intervals_over_draws():
    luck = np.random.Generator(np.random.Philox(6))
    names = ["uniform", "adarft", "filter", "linear", "frozen"]
    order = dict(zip(names, [1, 2, 3, 4, 5], strict=True))
    areas = {("scalar", name): [k / 10] * 40 for name, k in order.items()}
    areas |= {("grpo", name): np.full(40, k / 10) for name, k in zip(names, [5, 4, 3, 2, 1], strict=True)}
    areas |= {("kernel", name): k / 10 + luck.normal(0, 0.5, 40) for name, k in order.items()}
    study, areas = made_up(areas, ["scalar", "grpo", "kernel"], names)
    table = matrix.spearman_table(study, areas, 0.002).set_index(["learner", "other"])
    assert tuple(table.loc[("scalar", "grpo"), ["rho", "low", "high"]]) == (-1, -1, -1)
    means = [areas.area["uniform", "kernel", name].mean() for name in names]
    row = table.loc[("scalar", "kernel")]
    assert row["rho"] == pytest.approx(spearmanr([1, 2, 3, 4, 5], means).statistic)
    assert row["low"] < row["rho"] <= row["high"]
    assert row["high"] - row["low"] > 0.2


def test_a_learner_for_which_no_order_matters_supports_no_claim_about_order(tmp_path):
    rules = ["uniform", "adarft", "sorted"]
    study = Matrix([Pool.synthetic("uniform", 80)], ["natural"], rules, 3, 8, 8, 4, "steps", 0)
    areas = matrix.run(study, tmp_path, 1)
    assert (areas.gain("uniform", "natural", "adarft") == 0).all()
    assert set(matrix.findings_table(study, areas, 0.0)["verdict"]) == {"not found"}
    assert np.isnan(matrix.rank_correlation(*[np.array([[1.0, 1.0, 1.0]])] * 2)).all()


def test_a_draw_does_not_depend_on_how_many_there_are(tmp_path):
    """R lanes are R single runs, and draws of one rule and another are paired."""
    study = Matrix([Pool.synthetic("uniform", 80)], ["scalar"], ["uniform", "adarft"], 4, 6, 8, 4, "rollouts", 0)
    many = {key[2]: program for key, program in study.programs()}
    frame = many["adarft"].run()
    law = many["adarft"].law
    alone = replace(many["adarft"], law=replace(law, **{n: getattr(law, n)[2:3] for n in ("theta0", "kappa", "a",
                    "label_noise")}), seeds=many["adarft"].seeds[2:3])  # fmt: skip
    assert np.array_equal(frame["success"].reshape(-1, 4)[:, 2], alone.run()["success"])
    assert alone.keys == many["adarft"].keys[2:3]
    assert np.array_equal(many["uniform"].law.kappa, law.kappa)
    assert not set(many["uniform"].keys) & set(many["adarft"].keys)


def test_a_slow_rule_has_the_first_draws_and_is_compared_on_these(tmp_path):
    """alp-gmm refits mixtures as it goes: three draws, which are the first three of everybody else."""
    rules = ["uniform", "adarft", "alp-gmm"]
    study = Matrix([Pool.synthetic("uniform", 80)], ["scalar", "kernel"], rules, 5, 4, 8, 4, "steps", 0)
    few = Matrix(study.pools, study.learners, rules, 3, 4, 8, 4, "steps", 0)
    areas, fewer = matrix.run(study, tmp_path / "5", 1), matrix.run(few, tmp_path / "3", 1)
    slow, uniform = (areas.area["uniform", "scalar", name] for name in ("alp-gmm", "uniform"))
    assert (len(slow), len(uniform)) == (3, 5)
    assert np.array_equal(slow - uniform[:3], areas.gain("uniform", "scalar", "alp-gmm"))
    table = matrix.matrix_table(study, areas, 0.0).set_index(["learner", "controller"])
    assert table["draws"].unstack().to_dict("list") == {"uniform": [5, 5], "adarft": [5, 5], "alp-gmm": [3, 3]}
    without = Matrix(study.pools, study.learners, rules[:2], 5, 4, 8, 4, "steps", 0)
    pd.testing.assert_frame_equal(matrix.spearman_table(study, areas, 0.0), matrix.spearman_table(without, areas, 0.0))
    assert "5 draws (3 for alp-gmm)" in matrix.report(
        study, matrix.spearman_table(study, areas, 0.0), matrix.findings_table(study, areas, 0.0), 0.0
    )
    assert few.told_draws == "3 draws"
    seeds = {key: program.seeds for key, program in study.programs()}
    assert np.array_equal(seeds["uniform", "scalar", "alp-gmm"], seeds["uniform", "scalar", "uniform"][:3])
    assert fewer.area["uniform", "scalar", "alp-gmm"].shape == (3,)


def test_studies_of_other_seeds_share_no_run():
    first, second = (
        dict(Matrix([Pool.synthetic("uniform", 80)], ["scalar"], ["uniform"], 4, 6, 8, 4, "steps", seed).programs())
        for seed in (0, 1)
    )
    (one,), (other,) = first.values(), second.values()
    assert not set(one.seeds.tolist()) & set(other.seeds.tolist())
    assert not set(one.law.kappa) & set(other.law.kappa)


def test_another_release_of_a_package_that_a_program_computes_with_makes_it_another(monkeypatch):
    def keys():
        learners, rules = ["scalar", "policy"], ["uniform", "alp-gmm"]
        study = Matrix([Pool.synthetic("uniform", 80)], learners, rules, 2, 6, 8, 4, "steps", 0)
        return {key[1:]: tuple(program.keys) for key, program in study.programs()}

    where = workbench.study.identity
    before, known = keys(), where.version
    for package, moved in (
        ("torch", {("policy", "uniform"), ("policy", "alp-gmm")}),
        ("scikit-learn", {("scalar", "alp-gmm"), ("policy", "alp-gmm")}),
    ):
        monkeypatch.setattr(where, "version", lambda name, new=package: "0" if name == new else known(name))
        after = keys()
        assert {key for key in before if before[key] != after[key]} == moved


# ---- sensitivity -----------------------------------------------------------------------------------------------


def test_sobol_indices_of_the_ishigami_function():
    """f = sin x1 + 7 sin^2 x2 + 0.1 x3^4 sin x1 on (-pi, pi)^3. Source: Ishigami & Homma 1990; closed form."""
    names = ["x1", "x2", "x3"]
    x = np.pi * (2 * sensitivity.sobol_design(names, 4096, 0) - 1)
    y = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    table = sensitivity.sobol_indices(names, y, 0)
    assert len(x) == 4096 * 5
    assert table["S1"].tolist() == pytest.approx([0.3139, 0.4424, 0], abs=0.02)
    assert table["ST"].tolist() == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.02)
    for name, truth in (("S1", [0.3139, 0.4424, 0]), ("ST", [0.5576, 0.4424, 0.2437])):
        assert (table[f"{name}_low"] - 0.01 < truth).all()
        assert (table[f"{name}_high"] + 0.01 > truth).all()


def test_morris_effects_of_a_linear_function_are_its_coefficients():
    names = ["a", "b", "c", "d"]
    unit = sensitivity.morris_design(names, 12, 0)
    assert unit.shape == (12 * 5, 4)
    linear = sensitivity.morris_indices(names, unit, unit @ [2.0, -1.0, 0.0, 0.05], 0)
    assert linear["mu_star"].tolist() == pytest.approx([2, 1, 0, 0.05], abs=1e-9)
    assert linear["mu"].tolist() == pytest.approx([2, -1, 0, 0.05], abs=1e-9)
    assert linear["sigma"].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-9)
    assert sensitivity.kept(linear) == ["a", "b"]  # .05 is below a tenth of 2
    product = sensitivity.morris_indices(names, unit, unit[:, 0] * unit[:, 1], 0)
    assert (product["sigma"][:2] > 0.1).all()


def test_designs_are_the_same_every_time_and_leave_numpys_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for make in (lambda seed: sensitivity.morris_design(["a", "b"], 4, seed),
                 lambda seed: sensitivity.sobol_design(["a", "b"], 8, seed)):  # fmt: skip
        assert np.array_equal(make(1), make(1))
        assert not np.array_equal(make(1), make(2))
    table = [sensitivity.sobol_indices(["a", "b"], np.arange(32.0) ** 1.5, 4) for _ in range(2)]
    pd.testing.assert_frame_equal(*table)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_responses_of_curves_worked_out_by_hand():
    """Uniform rises evenly from .2 to 1: 80 % of its gain, .84, at step 80. Twice as fast: 40, an area .2 more."""
    steps = np.arange(0.0, 101.0, 10.0)
    plain = 0.2 + 0.8 * steps / 100
    fast, never, level = np.minimum(0.2 + 1.6 * steps / 100, 1.0), np.full(11, 0.2), plain
    ours = np.array([[fast, never], [level, level]])
    outcome = sensitivity.compare(steps, np.broadcast_to(plain, ours.shape), ours)
    expected = [[math.log(2), math.log(80 / 100)], [0, 0]]
    assert outcome.responses["log_speedup"] == pytest.approx(np.array(expected))
    assert outcome.responses["area_gain"] == pytest.approx(np.array([[0.2, -0.4], [0, 0]]))
    gains = [[math.log(0.6 / 0.4), math.log(0.001 / 0.4)], [0, 0]]  # nothing gained counts as .001
    assert outcome.responses["log_gain"] == pytest.approx(np.array(gains))
    assert outcome.censored == 0.25
    assert outcome.leads == "log_gain"
    assert outcome._replace(censored=0.05).leads == "log_speedup"
    flat = sensitivity.compare(steps, np.full((1, 2, 11), 0.3), np.full((1, 2, 11), 0.3))
    assert all((values == 0).all() for values in flat.responses.values())


def test_lanes_of_a_design_are_single_runs_on_common_seeds(tmp_path):
    """A point's responses are those it has alone; uniform runs once where points differ in the rule only."""
    pool = Pool.synthetic("uniform", 80)
    setting = sensitivity.Setting(pool, 3, 10, 8, 4, 0)
    points = {"theta0": np.array([-1.0, -1.0, 0.5]), "adarft.eta": np.array([10.0, 50.0, 50.0])}
    three = sensitivity.simulate(setting, "scalar", points, tmp_path / "a", 1, "three")
    for k in range(3):
        alone = {name: values[k : k + 1] for name, values in points.items()}
        one = sensitivity.simulate(setting, "scalar", alone, tmp_path / "b", 1, "one")
        for name, values in one.responses.items():
            assert np.array_equal(values[0], three.responses[name][k])
    only_rule = sensitivity.simulate(setting, "scalar", {"adarft.eta": np.array([10.0, 50.0])}, tmp_path / "c", 1, "x")
    assert only_rule.responses["area_gain"].shape == (2, 3)


def test_ranges_are_settings_of_the_laws_and_of_adarft():
    for learner in sensitivity.LEARNERS:
        ranges = sensitivity.parameters(learner)
        names = list(ranges)
        for corner in (0.0, 1.0):
            values = sensitivity.scaled(ranges, names, np.full((1, len(names)), corner))
            assert values["theta0"] == [ranges["theta0"][corner == 1.0]]
            setting = sensitivity.Setting(Pool.synthetic("uniform", 40), 2, 1, 4, 2, 0)
            sensitivity._programs(setting, learner, values, 1, sensitivity.AdaRFT())


def test_quarters_tell_which_way_a_parameter_works():
    unit = np.array([[0.1, 0.9], [0.2, 0.1], [0.3, 0.6], [0.99, 0.2], [1.0, 0.3]])
    response = np.array([1.0, 3.0, -1.0, -2.0, 0.0])
    ranges = {"a": (1.0, 5.0, ""), "b": (1.0, 16.0, "log")}
    table = sensitivity.quarters(ranges, ["a", "b"], unit, response)
    assert table["low"].tolist() == pytest.approx([1, 2, 3, 4, 1, 2, 4, 8])
    assert table["points"].tolist() == [2, 1, 0, 2, 2, 1, 1, 1]
    assert table["mean"].tolist() == pytest.approx([2, -1, np.nan, -1, 0.5, 0, -1, 1], nan_ok=True)
    assert table["share_positive"].tolist()[:2] == [1, 0]


def test_variance_of_seeds_and_points_is_told_apart():
    values = np.array([[0.0, 2.0], [10.0, 12.0]])  # means 1 and 11: variance 50; within each point 2
    outcome = sensitivity.Outcome({"log_gain": values}, 0.5)
    (row,) = sensitivity.variance(outcome, "morris")
    assert (row["variance_points"], row["variance_seeds"], row["noise_share"]) == (50, 2, 2 / 2 / 50)


# ---- stability -------------------------------------------------------------------------------------------------


def straight(tmp_path, gains, eta=50.0, seeds=8, steps=300, batch=1024):
    setting = stability.Setting(3, seeds, steps, batch, (), 0)
    grid = pd.DataFrame({"eta": eta, "alpha": 2.0, "gain": gains})
    grid["slope"] = grid["gain"] / stability.loop_gain(grid["eta"], grid["alpha"], 1.0)
    return stability.run_straight(setting, grid, tmp_path, 1, "test")


def test_gain_and_amplitudes_as_derived():
    assert stability.loop_gain(50, 2, 0.04) == 1.0  # published settings where labels are pass rates, at d = 50
    assert stability.linear_variance(50, 2, 0.5, 1024) == pytest.approx(3.255, abs=5e-4)
    assert np.isinf(stability.linear_variance(50, 2, 2.0, 1024))
    assert stability.cycle_amplitude(50, 2, 0.079) == 0.0
    for slope, swing in ((0.081, 0.14), (0.12, 0.73)):  # of the reward, from one step to the next
        amplitude = stability.cycle_amplitude(50, 2, slope)
        assert math.tanh(slope * amplitude / 2) == pytest.approx(swing, abs=0.005)


def test_variance_and_autocorrelation_are_those_of_the_linear_loop(tmp_path):
    line = straight(tmp_path, [0.4, 0.8, 1.0, 1.4], eta=20.0, seeds=24, steps=600)
    theory = stability.linear_variance(20.0, 2.0, line["gain"], 1024)
    assert (line["rms"] ** 2).to_numpy() == pytest.approx(theory, rel=0.1)
    assert line["lag1"].to_numpy() == pytest.approx(1 - line["gain"].to_numpy(), abs=0.05)
    assert ((line["rms_low"] < line["rms"]) & (line["rms"] < line["rms_high"])).all()


def test_below_a_gain_of_two_swings_are_noise_and_above_they_are_the_loops_own(tmp_path):
    """Sixteen times the batch: a quarter of the noise. A swing of the loop stays as large as theory says."""
    few, many = (straight(tmp_path, [1.0, 1.5, 2.3, 2.8], batch=n, seeds=6) for n in (256, 4096))
    ratio = (few["rms"] / many["rms"]).to_numpy()
    assert ratio[:2] == pytest.approx(4, rel=0.15)
    assert ratio[2:] == pytest.approx(1, rel=0.05)
    amplitude = [stability.cycle_amplitude(*row) for row in many[["eta", "alpha", "slope"]].itertuples(index=False)]
    assert amplitude[:2] == [0, 0]
    assert many["rms"].to_numpy()[2:] == pytest.approx(amplitude[2:], rel=0.05)
    assert (many["lag1"][2:] < -0.98).all()


def test_the_slope_of_whole_batches_is_that_of_one_item_where_labels_are_dense():
    pool = Pool.synthetic("uniform")
    for half in (30.0, 50.0, 70.0):
        at, slope = stability.batch_slope(pool, math.log(half / (100 - half)), 256)
        assert at == pytest.approx(half, abs=1)
        assert slope == pytest.approx(100 / (half * (100 - half)), rel=0.15)
    wide = stability.batch_slope(pool, 0.0, 10_000)
    assert np.isnan(wide).all() or wide[1] == 0  # the whole pool whatever T
    hard = Pool.synthetic("hard-extreme")
    assert np.isnan(stability.batch_slope(hard, 0.0, 256)).all(), "no batch is solved half of the time"


# ---- the command -----------------------------------------------------------------------------------------------


def test_all_studies_in_one_command_and_the_matrix_alike_whatever_the_jobs(tmp_path, monkeypatch, capsys):
    status, out, err = command(monkeypatch, capsys, "all", "--tiny", "--jobs", 1, "--out", tmp_path)
    assert (status, err) == (0, "")
    found = {name: tables(tmp_path / name) for name in robustness.DEFAULTS}
    assert found["matrix"].keys() >= {"matrix.csv", "spearman.csv", "findings.csv", "matrix.png", "adarft.pdf"}
    assert found["sensitivity"].keys() >= {"morris.csv", "sobol.csv", "quarters.csv", "variance.csv", "sensitivity.png"}
    assert found["stability"].keys() >= {"map.csv", "line.csv", "pools.csv", "stability_map.png"}
    assert found["delivery"].keys() >= {"delivery.csv", "safety.csv", "delivery.png"}
    assert "beats uniform:" in out
    status, again, err = command(monkeypatch, capsys, "matrix", "--tiny", "--jobs", 2, "--out", tmp_path / "two")
    assert (status, err) == (0, "")
    assert out.startswith(again[: again.index(str(tmp_path))])
    assert tables(tmp_path / "two") == found["matrix"], "bit for bit"


def test_a_study_lists_what_it_wrote_and_removes_what_it_did_not_write_this_time(tmp_path, monkeypatch, capsys):
    words = ["matrix", "--tiny", "--jobs", 1, "--draws", 2, "--out", tmp_path]
    (tmp_path / "notes.txt").write_text("ours")
    heads = []
    for more in ([], ["--learners", "scalar", "--controllers", "frozen"]):
        status, out, _ = command(monkeypatch, capsys, *words, *more)
        assert status == 0
        listed = out.splitlines()[-1].removeprefix(f"{tmp_path}: ").split()
        assert {*listed, "notes.txt"} == tables(tmp_path).keys()
        found = pd.read_csv(tmp_path / "spearman.csv")
        heads.append(list(found.columns))
    assert listed == ["findings.csv", "matrix.csv", "matrix.pdf", "matrix.png", "spearman.csv"]
    assert found.empty, "one learner agrees with no other"
    assert heads[0] == heads[1]


def test_finished_cells_are_kept_and_damaged_ones_named_and_computed_again(tmp_path, monkeypatch, capsys):
    words = ["matrix", "--tiny", "--jobs", 1, "--out", tmp_path]
    command(monkeypatch, capsys, *words)
    first, cells = tables(tmp_path), sorted((tmp_path / "cells").glob("*.parquet"))
    assert len(cells) == 6
    times = {path: path.stat().st_mtime_ns for path in cells}
    cells[0].write_bytes(cells[0].read_bytes()[:-50])
    status, _, err = command(monkeypatch, capsys, *words)
    assert status == 0
    why = "it must have the content that its name tells"
    assert err == f"damaged result file {cells[0]}: its cells will be computed again ({why})"
    assert {path: path.stat().st_mtime_ns for path in cells[1:]} == {path: times[path] for path in cells[1:]}
    assert tables(tmp_path) == first


PARTS = {
    "matrix": ("--learners", "scalar,kernel", "--pools", "uniform", "--controllers", "adarft,mopps,sec", "--draws",
               "16", "--steps", "60", "--batch", "64"),
    "sensitivity": ("--tiny", "--trajectories", "8", "--base", "32", "--seeds", "4", "--steps", "60"),
    "stability": ("--tiny", "--points", "7", "--steps", "400"),
}  # fmt: skip


def started(part, out):
    """A part of the study in a process of its own."""
    words = [sys.executable, ROOT / "sims" / "robustness.py", part, *PARTS[part], "--jobs", "1", "--out", out]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(list(map(str, words)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """whole(part): the folder of one that nothing stopped, and what it printed."""
    made = {}

    def of(part):
        if part not in made:
            out = tmp_path_factory.mktemp(part) / "whole"
            process = started(part, out)
            made[part] = out, process.communicate()[0]
            assert process.returncode == 0
        return made[part]

    return of


@pytest.mark.parametrize(("part", "number"), [
    ("matrix", signal.SIGKILL), ("sensitivity", signal.SIGKILL), ("sensitivity", signal.SIGINT),
    ("stability", signal.SIGKILL), ("stability", signal.SIGTERM),
])  # fmt: skip
def test_a_stopped_study_keeps_what_is_done_and_goes_on_to_the_same_tables(part, number, tmp_path, whole):
    process, cells = started(part, tmp_path / "out"), tmp_path / "out" / "cells"
    deadline = time.monotonic() + 60
    while len(list(cells.glob("[!.]*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(number)
    said = process.communicate()[1]
    if number == signal.SIGKILL:
        assert process.returncode == -number, "it ended before it could be killed"
    else:
        assert process.returncode == 128 + number, "it ended before it could be stopped"
        lines = [line for line in said.replace("\r", "\n").splitlines() if line.strip() and "%|" not in line]
        stopped = "stopped" if number == signal.SIGINT else "stopped by SIGTERM"
        assert lines == [f"{stopped}; {SAME_AGAIN}"]
    before = {path: path.stat().st_mtime_ns for path in cells.glob("[!.]*.parquet")}
    assert len(before) >= 2
    process = started(part, tmp_path / "out")
    printed, _ = process.communicate()
    assert process.returncode == 0
    other, wanted = whole(part)
    assert printed.replace(str(tmp_path / "out"), "") == wanted.replace(str(other), "")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(cells.glob("[!.]*.parquet"))) > len(before)
    assert tables(tmp_path / "out") == tables(other)
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["matrix", "--learners", "scalar,magic"], "--learners: must be one of"),
        (["matrix", "--learners", "scalar,scalar"], "--learners: must be different"),
        (["matrix", "--learners", "scalar,"], "--learners: must be names"),
        (["matrix", "--controllers", "magic"], "controllers: must be a rule"),
        (["matrix", "--controllers", "uniform"], "--controllers: must name another than uniform"),
        (["matrix", "--controllers", "adarft,adarft"], "--controllers: must be different"),
        (["matrix", "--pools", "nowhere"], "--pools: must be among"),
        (["matrix", "--pools", "nowhere.csv"], "pool: must be a file"),
        (["matrix", "--draws", "1"], "--draws: must be a whole number in [2, 100000], got 1"),
        (["matrix", "--draws", "many"], "--draws: must be a whole number in [2, 100000], got 'many'"),
        (["matrix", "--rollouts", "1"], "rollouts: must be >= 2"),
        (["matrix", "--margin", "-1"], "--margin: must be a number in [0, 1], got -1"),
        (["matrix", "--budget", "money"], "--budget: must be one of steps, rollouts, tokens, got 'money'"),
        (["matrix", "--jobs", "0"], "--jobs: must be a whole number in [1, 1024], got 0"),
        (["matrix", "--seed", "-1"], "--seed: must be a whole number in [0, 4294967295], got -1"),
        (["matrix", "--out", ""], "--out: must be a folder, got ''"),
        (["sensitivity", "--learners", "tabular"], "--learners: must be one of scalar"),
        (["sensitivity", "--base", "12"], "--base: must be a power of two, got 12"),
        (["sensitivity", "--seeds", "1"], "--seeds: must be a whole number in [2, 10000], got 1"),
        (["sensitivity", "--pool", "nowhere"], "--pools: must be among"),
        (["stability", "--points", "2"], "--points: must be a whole number in [3, 1000], got 2"),
        (["stability", "--batch", "20000"], "--batch: must be a whole number in [1, 10000], got 20000"),
        (["stability", "--draws", "3"], "options: must be among those that --help lists"),
        (["nothing"], "STUDY: must be one of 'matrix'"),
        (["all", "--seed", "-1"], "--seed: must be a whole number"),
    ],
)
def test_bad_input_is_one_line_before_any_work(words, error, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(monkeypatch, capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {error}")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_salib_the_sensitivity_study_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "SALib.analyze.morris", None)
    status, _, err = command(monkeypatch, capsys, "sensitivity", "--tiny", "--out", tmp_path / "out")
    assert status == 2
    assert err.startswith("error: SALib: must be installed")
    assert not (tmp_path / "out").exists()


def test_one_writer_per_folder(tmp_path, monkeypatch, capsys):
    from workbench.files import only_writer

    with only_writer(tmp_path):
        status, _, err = command(monkeypatch, capsys, "matrix", "--tiny", "--out", tmp_path)
    assert (status, "must be free" in err) == (2, True)
    with pytest.raises(InputError), only_writer(tmp_path), only_writer(tmp_path):
        pass
