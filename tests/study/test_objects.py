"""A study takes names, objects and files in one list, and gives one result with all that a paper needs."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analysis.latex import latex_escaped
from workbench.registry import LAWS, RULES
from workbench.study.design import grid_points
from workbench.study.study import Study

POOL = wb.Pool.synthetic("uniform", size=150)
SIZES = {"seeds": 2, "steps": 5, "batch": 12, "rollouts": 6, "eval_every": 2}


def study(**given):
    return Study(**({"pools": [POOL], "learners": ["scalar"], "controllers": ["adarft"]} | SIZES | given))


def run(what, **how):
    return what.run(progress=False, **how)


@pytest.fixture(scope="module")
def result():
    points = grid_points({"adarft.eta": [5.0, 50.0]})
    return run(study(learners=["scalar", "natural"], controllers=["adarft", "speed"], points=points, seeds=8))


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (5, 'must be a dict of lists such as {"adarft.eta": [5, 10]}, got 5'),
        ([{"adarft.eta": 5}], 'must be a dict of lists such as {"adarft.eta": [5, 10]}, got [{\'adarft.eta\': 5}]'),
        ({"adarft.eta": 5}, "must have a list of values for adarft.eta, got 5"),
        ({"scalar.signal": "rloo"}, "must have a list of values for scalar.signal, got 'rloo'"),
        ({1: [5]}, "must name parameters as owner.parameter, got 1"),
    ],
)
def test_a_grid_of_anything_but_lists_is_refused_in_one_line(choices, said):
    with pytest.raises(wb.InputError, match=f"^choices: {re.escape(said)}$"):
        wb.grid_points(choices)


def test_a_grid_takes_arrays_ranges_and_tuples():
    choices = {"adarft.eta": np.array([5.0, 10.0]), "dapo.max_batches": range(1, 3), "adarft.beta": (0.5,)}
    points = wb.grid_points(choices)
    assert [tuple(point.values()) for point in points] == [(5.0, 1, 0.5), (5.0, 2, 0.5), (10.0, 1, 0.5), (10.0, 2, 0.5)]


def test_a_setting_of_the_baseline_needs_no_uniform_in_the_list():
    arms = study(points=[{"uniform.floor": 0.5}]).arms
    assert [(arm.controller, arm.made_rule.floor) for arm in arms] == [("uniform floor=0.5", 0.5), ("adarft", 0.0)]
    made = study(controllers=[wb.AdaRFT()], points=[{"uniform.floor": 0.5}]).arms
    assert [arm.controller for arm in made] == ["uniform floor=0.5", "adarft"]


# ---- objects beside names


def test_names_and_objects_mix_and_labels_name_what_differs_from_the_preset():
    what = study(
        learners=["scalar", wb.ScalarIRT(kappa=0.5, signal=wb.GRPO()), wb.ScalarIRT(gamma=0.0)],
        controllers=["adarft", wb.AdaRFT(eta=10), (wb.AdaRFT(eta=0.1 + 0.2), wb.SPEED(max_batches=3)), wb.SPEED()],
    )
    controllers = ["uniform", "adarft", "adarft eta=10",
                   "adarft+speed adarft.eta=0.30000000000000004 speed.max_batches=3", "speed"]  # fmt: skip
    assert list(dict.fromkeys(arm.controller for arm in what.arms)) == controllers
    learners = ["scalar", "scalar kappa=0.5 signal=grpo", "natural"]
    assert list(dict.fromkeys(arm.learner for arm in what.arms)) == learners
    assert list(dict.fromkeys((arm.law, arm.rule) for arm in what.arms))[:4] == [
        ("scalar", "uniform"), ("scalar", "adarft"), ("scalar", "adarft+speed"), ("scalar", "speed"),
    ]  # fmt: skip


def test_objects_have_the_cells_of_the_same_settings_by_name():
    points = grid_points({"adarft.eta": [10.0], "scalar.kappa": [0.5], "speed.max_batches": [3]})
    named = study(learners=["scalar"], controllers=["adarft", "adarft+speed"], points=points)
    made = study(
        learners=[wb.ScalarIRT(kappa=0.5)],
        controllers=[wb.AdaRFT(eta=10), (wb.AdaRFT(eta=10.0), wb.SPEED(max_batches=3))],
    )
    assert [cell.key for cell in named.cells] == [cell.key for cell in made.cells]
    one, two = run(named).curves, run(made).curves
    pd.testing.assert_frame_equal(one[one.columns[8:]], two[two.columns[5:]], check_exact=True)


def test_every_preset_as_an_object_is_the_arm_of_its_name():
    rules = {name: rule for name, rule in RULES.items() if not hasattr(rule, "horizon") and not rule.needs}
    assert [arm.controller for arm in study(controllers=list(rules.values())).arms] == list(
        dict.fromkeys(["uniform", *rules])
    )
    learners = {name: law for name, law in LAWS.items() if name != "policy"}
    arms = study(learners=list(learners.values())).arms
    assert list(dict.fromkeys(arm.learner for arm in arms)) == list(learners)


def test_a_schedule_given_as_an_object_keeps_its_horizon_and_says_so():
    (arm,) = study(controllers=[wb.LinearSchedule()]).arms[1:]
    assert (arm.controller, arm.made_rule.horizon) == ("linear horizon=100", 100)
    (arm,) = study(controllers=["linear"]).arms[1:]
    assert (arm.controller, arm.made_rule.horizon) == ("linear", 5)


def test_lanes_of_objects_are_single_runs():
    etas = [5.0, 10.0, 20.0]
    table = run(study(controllers=[wb.AdaRFT(eta=eta) for eta in etas])).curves
    for eta in etas:
        for seed in range(2):
            record = wb.train(wb.Controller(wb.AdaRFT(eta=eta), POOL, seed=seed),
                              wb.SimLearner(wb.ScalarIRT(), POOL, seed=seed), 5, 12, 6, 2)  # fmt: skip
            mine = table[(table["controller"] == f"adarft eta={eta:g}") & (table["seed"] == seed)]
            assert np.array_equal(mine["success"], record.mean_success[:, 0])


@dataclass(frozen=True)
class Backwards(wb.Uniform):
    """The items of the pool, from its end."""

    jump: int = 1

    def select(self, state, draw, count):
        start = draw.step * self.jump
        items = (len(draw.pool) - 1 - start - np.arange(count)) % len(draw.pool)
        return np.tile(items, (len(draw.seeds), 1)), state


def test_a_rule_of_ones_own_runs_beside_names_and_is_uniforms_rival():
    what = study(controllers=["adarft", Backwards(), Backwards(jump=3)])
    own = f"{Backwards.__module__}:Backwards"
    assert [arm.controller for arm in what.arms] == ["uniform", "adarft", own, f"{own} jump=3"]
    summary = run(what).summary.set_index("controller")
    assert summary.loc[own, "rule"] == own
    assert summary.loc["uniform", "verdict"] == "baseline"


def test_another_uniform_than_the_baseline_is_an_arm_of_its_own():
    result = run(study(controllers=[wb.Uniform(floor=0.5), "adarft"]))
    summary = result.summary.set_index("controller")
    assert summary["rule"].to_dict() == {name: name for name in ("uniform", "uniform floor=0.5", "adarft")}
    assert (summary["verdict"] == "baseline").to_dict() == {
        "uniform": True, "uniform floor=0.5": False, "adarft": False,
    }  # fmt: skip


def test_pools_come_as_objects_presets_and_files(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("difficulty\n" + "\n".join(map(str, range(100))) + "\n")
    what = study(pools=["narrow", POOL, file])
    assert [pool.name for pool in what.pools] == ["narrow", "uniform", "mine"]
    assert [pool.name for pool in study(pools=str(file)).pools] == ["mine"]
    assert [arm.controller for arm in study(pools=POOL, learners="scalar", controllers=wb.AdaRFT()).arms] == [
        "uniform", "adarft",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"controllers": [wb.AdaRFT]}, r"controllers: must be names, rules such as AdaRFT\(\), .*, got the class "
         r"AdaRFT, write AdaRFT\(\)$"),
        ({"controllers": [(wb.AdaRFT, wb.SPEED())]}, r"controllers: must be names, .*, got the class AdaRFT, write "),
        ({"controllers": [wb.ScalarIRT()]}, r"controllers: must be names, rules .*, got ScalarIRT\("),
        ({"controllers": [3]}, r"controllers: must be names, .*, got 3"),
        ({"controllers": 3}, r"controllers: must be a list, got 3"),
        ({"controllers": [(wb.SPEED(), wb.AdaRFT())]}, r"^controllers: must be one rule first, then gates, in a tuple "
         r"\(AdaRFT\(\), DynamicSampling\(\)\), got \(a gate, a rule\)$"),
        ({"controllers": [(wb.AdaRFT(), wb.AdaRFT(eta=2))]}, r"must be one rule first, .*, got \(a rule, a rule\)$"),
        ({"controllers": [(wb.AdaRFT(), 3)]}, r"must be one rule first, .*, got \(a rule, 3\)$"),
        ({"controllers": [()]}, r"must be one rule first, .*, got \(\)$"),
        ({"controllers": [("adarft", "dapo")]}, r"^controllers: must be objects in a tuple, one rule first, then "
         r"gates; names are written 'adarft\+dapo', or are entries of their own .*, got \('adarft', 'dapo'\)$"),
        ({"controllers": [(wb.AdaRFT(), "speed")]}, r"names are written 'adarft\+speed', .*, got \(a rule, 'speed'\)$"),
        ({"controllers": "all"}, r"^controllers: must be one name per entry of a list .*, got 'all'$"),
        ({"learners": "scalar,natural"}, r"^learners: must be one name per entry of a list .*, got 'scalar,natural'$"),
        ({"pools": ["uniform,narrow"]}, r"^pools: must be one name per entry of a list .*, got 'uniform,narrow'$"),
        ({"pools": [POOL, POOL]}, r"^pools: .* different names \(dataclasses\.replace\(pool, name=\.\.\.\) renames "
         r"one\), got uniform, uniform$"),
        ({"controllers": ["adarft", wb.AdaRFT()]}, r"controllers: .* different names, got adarft, adarft"),
        ({"controllers": [wb.AdaRFT(eta=np.array([1.0, 2.0]))]}, r"controllers: .* AdaRFT with eta of shape \(2,\)"),
        ({"learners": [wb.ScalarIRT]}, r"learners: must be names or laws such as ScalarIRT\(\), got the class "
         r"ScalarIRT, write ScalarIRT\(\)$"),
        ({"learners": [wb.AdaRFT()]}, r"learners: must be names or laws .*, got AdaRFT\("),
        ({"pools": [1.0]}, r"pools: must be Pool objects, presets \(.*\), or .*, got 1\.0"),
        ({"pools": ["nowhere"]}, r"pools: must be Pool objects, presets .*, got 'nowhere'"),
        ({"points": 3}, r"points: must be a list, got 3"),
        ({"points": ["adarft.eta"]}, r"points: must be dicts of settings, got 'adarft\.eta'"),
        ({"controllers": [wb.AdaRFT()], "points": [{"adarft.eta": 5.0}]}, r"'adarft\.eta' must belong to a controller"),
        ({"seeds": "many"}, r"seeds: must be a whole number >= 1, got 'many'"),
        ({"budget": 3}, r"budget: must be one of steps, rollouts, tokens, got 3"),
    ],
)
def test_wrong_types_end_in_one_line_like_wrong_values(given, said):
    with pytest.raises(wb.InputError) as caught:
        study(**given)
    assert re.search(said, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"jobs": 0}, "jobs: must be a whole number >= 1, got 0"),
        ({"jobs": "2"}, "jobs: must be a whole number >= 1, got '2'"),
        ({"out": ""}, "out: must be a folder, got ''"),
        ({"out": 5}, "out: must be a folder, got 5"),
        ({"out": [Path("a")]}, r"out: must be a folder, got \[PosixPath\('a'\)\]"),
        ({"progress": 3}, "progress: must be True, False, None or a function, got 3"),
        ({"threshold": 0}, r"threshold: must be a number in \(0, 1\], got 0"),
    ],
)
def test_a_run_that_cannot_start_says_so_in_one_line(how, said):
    with pytest.raises(wb.InputError, match=f"^{said}"):
        study().run(**({"progress": False} | how))


# ---- the result


def test_a_study_run_again_in_one_process_is_only_read(monkeypatch):
    what = study(seeds=3)
    first = run(what).curves
    monkeypatch.setattr(wb.study.program.Program, "run", None)
    pd.testing.assert_frame_equal(run(study(seeds=3)).curves, first, check_exact=True)


def test_a_folder_keeps_the_cells_and_has_one_writer(tmp_path, monkeypatch):
    first = run(study(), out=tmp_path / "out").curves
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "cells"}
    monkeypatch.setattr(wb.study.program.Program, "run", None)
    pd.testing.assert_frame_equal(run(study(), out=str(tmp_path / "out")).curves, first, check_exact=True)
    with wb.files.only_writer(tmp_path / "out"), pytest.raises(wb.InputError, match=r"^out: must be free, "):
        run(study(), out=tmp_path / "out")


def test_progress_is_a_bar_a_function_or_silent(capsys, tmp_path):
    study().run(out=tmp_path / "one")
    assert "4/4" in capsys.readouterr().err
    seen = []
    study().run(out=tmp_path / "two", progress=lambda done, total: seen.append((done, total)))
    assert (seen[0], seen[-1]) == ((0, 4), (4, 4))
    study().run(out=tmp_path / "three", progress=False)
    assert capsys.readouterr().err == ""


def test_a_result_has_the_tables_that_the_functions_of_analysis_make(result):
    runs = wb.analysis.tables.runs_table(result.curves, 0.8)
    pd.testing.assert_frame_equal(result.runs, runs)
    pd.testing.assert_frame_equal(result.summary, wb.analysis.tables.summary_table(runs, 5))
    pd.testing.assert_frame_equal(result.ranking, wb.analysis.ranking.ranking_table(runs))
    text = repr(result.report())
    assert text.startswith("\nuniform / scalar")
    assert "\\n" not in text


def test_a_report_is_about_a_controller_by_its_label(result):
    base = str(result.report("adarft"))
    assert "best of 2 settings" in base
    for label in ("adarft eta=5", "adarft eta=50"):
        text = str(result.report(focus=label))
        told = [line for line in text.splitlines() if line.startswith("  uniform / ") and "adarft" in line]
        assert told == [line for line in told if f"/ {label}:" in line]
        assert "best of" not in text
        assert f"{label}: " in text
    for wrong in ("nope", 5, ["adarft"]):
        with pytest.raises(wb.InputError, match=r"^focus: must be a rule or controller .*adarft eta=50.*, got "):
            result.report(focus=wrong)


def test_a_report_of_unequal_rollouts_names_the_budget_as_an_option_and_in_python(result):
    assert 'see the costs, or budget="rollouts" (--budget rollouts).' in str(result.report())


def test_a_saved_result_is_read_back_as_it_was(result, tmp_path):
    assert set(result.save(tmp_path / "mine")) == {path.name for path in (tmp_path / "mine").iterdir()}
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "mine" / "curves.parquet"), result.curves)
    told = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    assert [arm["controller"] for arm in told["arms"]] == [arm.controller for arm in result.study.arms]
    assert told["arms"][1]["rule"]["eta"] == 5.0


@pytest.mark.parametrize("folder", ["", " ", 5, None, b"mine"])
def test_a_result_is_not_saved_into_what_is_no_folder(result, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(wb.InputError, match=f"^folder: must be a folder, got {re.escape(repr(folder))}$"):
        result.save(folder)
    assert list(tmp_path.iterdir()) == []


def test_the_latex_table_has_an_escaped_row_per_arm_between_rules(result):
    lines = result.to_latex().splitlines()
    assert lines[0] == r"\begin{tabular}{lllrlrlrl}"
    assert [line for line in lines if "rule" in line and "&" not in line] == [r"\toprule", r"\midrule", r"\bottomrule"]
    rows = [line.removesuffix(r" \\").split(" & ") for line in lines if line.endswith(r" \\")]
    assert {len(row) for row in rows} == {9}
    assert lines[-2] == r"% needs \usepackage{booktabs}"
    assert [row[2] for row in rows[1:]] == list(result.summary["controller"])
    assert latex_escaped(r"50 % of a_b & {c} ~ \d^2 #1 $") == (
        r"50 \% of a\_b \& \{c\} \textasciitilde{} \textbackslash{}d\textasciicircum{}2 \#1 \$"
    )


def test_the_markdown_table_and_the_page_have_a_row_per_arm(result):
    lines = result.to_markdown().splitlines()
    assert len(lines) == 2 + len(result.summary)
    assert {line.count("|") for line in lines} == {10}
    assert result._repr_html_().count("<tr") == 1 + len(result.summary)
    assert "adarft eta=50" in repr(result)
    page = result.study._repr_html_()
    for told in ("uniform (150 items)", "scalar, natural", "adarft, speed", "64, of 8 arms", "5 of 12 items x 6"):
        assert told in page
    assert repr(result.study) == (
        "Study of 8 arms, 64 runs (pools: uniform, learners: scalar, natural, controllers: adarft, speed; 2 points; "
        "8 seeds; 5 updates of 12 x 6)"
    )


@pytest.mark.parametrize("kind", [None, "curves", "targets", "speedup"])
def test_every_kind_of_figure_is_drawn(result, kind):
    assert result.plot(kind).axes


def test_a_heat_map_is_of_the_first_two_swept_parameters():
    points = grid_points({"adarft.eta": [5.0, 50.0], "adarft.beta": [0.3, 0.7]})
    figure = run(study(points=points)).plot("heat")
    assert "eta" in figure.axes[0].get_xlabel() + figure.get_supxlabel()
    with pytest.raises(wb.InputError, match=r"kind: must be one of curves, .*heat, levels, .*, got 'x'"):
        run(study()).plot("x")


def test_a_figure_has_the_name_of_the_function_that_draws_it_too(result):
    for name in ("learning_curves", "target_trajectories", "target_difficulty", "speedup_forest"):
        assert result.plot(name).axes
    with pytest.raises(wb.InputError, match=r"^kind: must be one of .*, got \['curves'\]"):
        result.plot(["curves"])


@pytest.mark.parametrize("points", [
    [{}], [{"adarft.eta": 5.0}, {"adarft.eta": 50.0}], grid_points({"adarft.eta": [5.0, 50.0], "adarft.beta": [0.5]}),
    [{"adarft.eta": 5.0}, {"adarft.eta": 50.0}, {"speed.max_batches": 2}, {"speed.max_batches": 3}],
])  # fmt: skip
def test_a_heat_map_without_two_swept_settings_says_what_it_needs_and_what_is_swept(points):
    result = run(study(controllers=["adarft", "speed"], points=points))
    swept = ", ".join(dict.fromkeys(name for point in points for name in point if name != "adarft.beta")) or "none"
    with pytest.raises(wb.InputError, match=rf"^heat: must have x and y, or two settings .*, got {swept} swept$"):
        result.plot("heat")


def test_a_heat_map_of_one_swept_setting_takes_a_column_beside_it(result):
    assert result.plot("heat", y="learner").axes[0].get_xlabel().startswith("adarft.eta")
    assert result.plot("heat_map", x="learner", y="adarft.eta").axes
    with pytest.raises(wb.InputError, match="must have the column 'nope'"):
        result.plot("heat", x="nope")


def test_settings_in_which_objects_differ_are_columns_as_those_of_lanes_are():
    etas, betas = (5.0, 10.0), (0.3, 0.7)
    rules = [wb.AdaRFT(eta=eta, beta=beta) for eta in etas for beta in betas]
    result = run(study(controllers=[*rules, (wb.AdaRFT(eta=5, beta=0.3), wb.SPEED()), "frozen"]))
    lanes = wb.Controller(wb.AdaRFT(eta=np.array(etas)), POOL, seed=np.zeros(2, np.uint64))
    record = wb.train(lanes, wb.SimLearner(wb.ScalarIRT(), POOL, seed=np.zeros(2, np.uint64)), 5, 12, 6, 2)
    assert "adarft.eta" in record.to_frame()
    summary = result.summary.set_index("controller")
    assert [name for name in summary if "." in name] == ["adarft.beta", "adarft.eta"]
    assert summary.loc["adarft beta=0.7 eta=10", ["adarft.eta", "adarft.beta"]].tolist() == [10.0, 0.7]
    assert summary.loc["adarft+speed adarft.beta=0.3 adarft.eta=5", "adarft.eta"] == 5.0
    assert summary.loc[["uniform", "frozen"], "adarft.eta"].isna().all()
    assert set(result.curves["adarft.eta"].dropna()) == set(etas)
    assert result.plot("heat").axes


def test_an_object_beside_its_name_has_a_column_and_alone_has_none():
    assert not [name for name in run(study(controllers=[wb.AdaRFT(eta=7)])).curves if "." in name]
    summary = run(study(controllers=["adarft", wb.AdaRFT(eta=7)], learners=[wb.ScalarIRT(), wb.ScalarIRT(kappa=0.5)],
                        points=[{"adarft.beta": 0.4}])).summary  # fmt: skip
    assert [name for name in summary if "." in name] == ["adarft.beta", "scalar.kappa", "adarft.eta"]
    eta = summary.groupby("controller")["adarft.eta"].unique().map(list)
    assert (eta["adarft beta=0.4"], eta["adarft eta=7"]) == ([wb.AdaRFT().eta], [7.0])
    assert np.isnan(eta["uniform"]).all()
