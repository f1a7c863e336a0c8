"""The door of analysis: the frame of any Record goes from training to tables, text and figures as it comes."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench import figures
from workbench.analysis.frame import described, ordered_curves
from workbench.analysis.ranking import OVERALL, ranking_lines, ranking_table
from workbench.analysis.report import report
from workbench.analysis.tables import costs_table, leading_rule, rivals_table, runs_table, summary_table
from workbench.errors import InputError

ROOT = Path(__file__).parents[2]
SEEDS = np.array([7, 3, 11, 5])
STEPS = 12  # recorded at 0, 5, 10, 12: the last comes early


def run(rule, pool, seeds=SEEDS, **how):
    controller = wb.Controller(rule, pool, seed=seeds, lanes=len(seeds), **how)
    learner = wb.SimLearner(wb.ScalarIRT(kappa=0.1), pool, seeds, len(seeds))
    return wb.train(controller, learner, STEPS, batch=32, rollouts=4)


@pytest.fixture(scope="module")
def records():
    pool = wb.Pool.synthetic("skew-difficult", 200)
    return [run(rule, pool) for rule in (wb.Uniform(), wb.AdaRFT(), wb.MiddleBand())]


@pytest.fixture(scope="module")
def frame(records):
    return pd.concat([record.to_frame() for record in records], ignore_index=True)


def by_hand(record):
    """Seed -> area of its lane: trapezoids, one by one, over the length of the run."""
    areas = {}
    for lane, seed in enumerate(record.seeds.tolist()):
        y, s = record.mean_success[:, lane], record.steps
        areas[seed] = sum((s[e + 1] - s[e]) * (y[e] + y[e + 1]) / 2 for e in range(len(s) - 1)) / (s[-1] - s[0])
    return areas


def names(frame):
    """The controllers, in the order they were trained in: uniform, adarft, band, by whatever names."""
    return list(dict.fromkeys(frame["controller"]))


def test_lanes_go_from_training_to_tables_text_and_figures(records, frame):
    base, ours, _ = names(frame)
    runs = runs_table(frame, baseline=base)
    for record, controller in zip(records, names(frame), strict=True):
        own = runs[runs["controller"] == controller].set_index("seed")
        areas = by_hand(record)
        assert own.index.tolist() == sorted(areas)
        assert own["auc"].to_dict() == pytest.approx(areas, rel=1e-12)
        assert own["final"].to_numpy() == pytest.approx(record.mean_success[-1][np.argsort(SEEDS)])
        assert own["coverage"].to_numpy() == pytest.approx(record.coverage[-1][np.argsort(SEEDS)])
        assert own["rollouts"].tolist() == [STEPS * 32 * 4] * 4
    summary = summary_table(runs, STEPS, baseline=base)
    assert summary["verdict"].tolist()[0] == "baseline"
    mine = summary.set_index("controller").loc[ours]
    assert mine["auc"] == pytest.approx(np.sort(list(by_hand(records[1]).values()))[1:3].mean())
    gain = np.array([by_hand(records[1])[seed] - by_hand(records[0])[seed] for seed in SEEDS.tolist()])
    rivals = rivals_table(runs, rule=runs["rule"][runs["controller"] == ours].iloc[0]).set_index("rival")
    assert rivals.at[base, "auc_gain"] == pytest.approx(-gain.mean())
    text = report(runs, summary, STEPS)
    assert "nan" not in text
    assert f"  {ours} " in text
    assert f"against {base}" in text
    ranking = ranking_table(runs, baseline=base)
    assert set(ranking["controller"]) == set(names(frame))
    assert "Best three by learner:" in ranking_lines(ranking)
    assert len(costs_table(summary)) == 3
    figures.learning_curves(frame)
    figures.target_trajectories(frame)
    figures.speedup_forest(summary)


def test_lanes_of_settings_are_arms_of_their_own():
    """Two settings of two parameters on one seed each: what tells them apart goes with them into every table."""
    pool = wb.Pool.synthetic("skew-difficult", 200)
    eta, seeds = np.array([5.0, 50.0, 5.0, 50.0]), np.array([0, 0, 1, 1])
    swept = run(wb.AdaRFT(eta=eta), pool, seeds)
    frame = pd.concat([swept.to_frame(), run(wb.Uniform(), pool, np.array([0, 1])).to_frame()], ignore_index=True)
    runs = runs_table(frame)
    assert list(dict.fromkeys(runs["controller"])) == ["adarft eta=5", "adarft eta=50", "uniform"]
    areas = {}
    for lane in range(4):
        y, s = swept.mean_success[:, lane], swept.steps
        area = sum((s[e + 1] - s[e]) * (y[e] + y[e + 1]) / 2 for e in range(len(s) - 1)) / (s[-1] - s[0])
        areas[f"adarft eta={eta[lane]:g}", int(seeds[lane])] = area
    own = runs[runs["rule"] == "adarft"].set_index(["controller", "seed"])["auc"]
    assert own.to_dict() == pytest.approx(areas, rel=1e-12)
    summary = summary_table(runs, STEPS)
    assert summary.set_index("controller")["adarft.eta"].dropna().to_dict() == {"adarft eta=5": 5, "adarft eta=50": 50}
    assert "(best of 2 settings" in report(runs, summary, STEPS) or "Too few seeds" in report(runs, summary, STEPS)
    assert len(figures.learning_curves(frame).legends[0].get_texts()) == 3
    figures.heat_map(summary, "adarft.eta", "learner", "auc")
    alike = frame.assign(controller=frame["rule"])
    with pytest.raises(InputError, match=r"one row per .*, controller, seed, step, got several with .*adarft"):
        runs_table(alike)


def test_the_order_of_rows_and_columns_makes_no_difference(frame):
    base = names(frame)[0]
    want = runs_table(frame, baseline=base)
    rng = np.random.default_rng(0)
    keys = ["controller", "seed"]
    for _ in range(3):
        mixed = frame.iloc[rng.permutation(len(frame))]
        mixed = mixed[rng.permutation(mixed.columns)].assign(note="mine", **{"number ": 1.0})
        got = runs_table(mixed, baseline=base)
        pd.testing.assert_frame_equal(
            got.sort_values(keys, ignore_index=True)[list(want.columns)], want.sort_values(keys, ignore_index=True)
        )
        band = figures.mean_and_band(mixed, "success").sort_values(["controller", "step"], ignore_index=True)
        plain = figures.mean_and_band(frame, "success").sort_values(["controller", "step"], ignore_index=True)
        pd.testing.assert_frame_equal(band, plain)


def test_tables_of_runs_may_come_in_any_order_too(frame):
    base = names(frame)[0]
    runs = runs_table(frame, baseline=base)
    mixed = runs.iloc[np.random.default_rng(1).permutation(len(runs))]
    keys = ["controller"]
    for make in (
        lambda table: summary_table(table, STEPS, baseline=base),
        lambda table: rivals_table(table, "AdaRFT" if "AdaRFT" in set(table["rule"]) else "adarft")
        .drop(columns="controller").rename(columns={"rival": "controller"}),
        lambda table: ranking_table(table, baseline=base).query("learner == @OVERALL", local_dict={"OVERALL": OVERALL}),
    ):  # fmt: skip
        one, other = (make(table).sort_values(keys, ignore_index=True) for table in (runs, mixed))
        pd.testing.assert_frame_equal(one, other)
    assert leading_rule(runs, base) == leading_rule(mixed, base)


def test_a_single_run_has_areas_and_is_compared_with_nothing():
    pool = wb.Pool.synthetic("narrow", 100)
    record = wb.train(wb.Controller(wb.AdaRFT(), pool), wb.SimLearner(wb.ScalarIRT(), pool), STEPS, batch=8)
    runs = runs_table(record.to_frame(), baseline=None)
    assert runs["auc"].tolist() == pytest.approx(list(by_hand(record).values()))
    assert runs[["threshold", "steps_to_threshold"]].isna().all(axis=None)
    summary = summary_table(runs, STEPS, baseline=None)
    assert summary["verdict"].tolist() == ["no baseline"]
    assert summary[["speedup", "p", "p_holm", "improvement", "rollouts_saved"]].isna().all(axis=None)
    text = report(runs, summary, STEPS)
    assert "no threshold: no baseline" in text
    for word in ("censored", "never reached", "steps to threshold", "speed-up"):
        assert word not in text
    assert "area" in text
    assert "against" not in text
    assert "nan" not in text


def test_a_table_without_its_baseline_is_refused_in_a_line_that_names_what_there_is(frame):
    for rule in ("frozen", "unifrom"):
        with pytest.raises(InputError, match=rf"^baseline: must be a controller or rule .*, got '{rule}'$") as caught:
            runs_table(frame, baseline=rule)
        for name in dict.fromkeys(frame["rule"]):
            assert name in str(caught.value)


def test_class_names_of_old_frames_are_taken_and_asked_for():
    table = synthetic(controllers=["Uniform", "AdaRFT"])
    with pytest.raises(InputError, match=r"\(Uniform, AdaRFT\), or None for none, got 'uniform'$"):
        runs_table(table)
    runs = runs_table(table, baseline="Uniform")
    assert "against Uniform" in report(runs, summary_table(runs, 20, baseline="Uniform"), 20)


@pytest.mark.parametrize("task", ["reverse", "skills"])
def test_the_tables_of_real_runs_come_out_as_they_were_committed(task):
    """Digit by digit, also from rows in another order; costs of later versions are not in them."""
    folder = ROOT / "real_runs" / "results" / task
    curves = pd.read_parquet(folder / "curves.parquet")
    share = json.loads((folder / "manifest.json").read_text())["threshold"]
    for table in (curves, curves.sort_values(["step", "seed"], kind="stable")):
        runs = runs_table(table, share)
        summary = summary_table(runs, int(curves["step"].max()))
        for made, name in ((runs, "runs"), (summary, "summary")):
            kept = pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
            shown = pd.read_csv(text_of(made), dtype=str, keep_default_na=False)
            both = [column for column in kept.columns if column in shown.columns]
            assert len(both) >= 14
            keys = ["pool", "controller", *(["seed"] if name == "runs" else [])]
            kept, shown = (t.sort_values(keys, ignore_index=True)[both] for t in (kept, shown))
            pd.testing.assert_frame_equal(shown, kept)


def text_of(table):
    import io

    return io.StringIO(table.to_csv(index=False, float_format="%.6g"))


# ---- refusals -----------------------------------------------------------------------------------------------


def synthetic(controllers=("uniform", "adarft"), pools=("p", "q"), seeds=3, steps=(0, 10, 20)):
    rows = [
        {"pool": pool, "learner": "scalar", "controller": name, "law": "scalar", "rule": name.split()[0], "seed": seed,
         "step": step, "rollouts": 8 * step, "success": 0.2 + 0.01 * step + 0.001 * seed, "silent_share": 0.1,
         "coverage": 0.2, "target": 50.0}
        for pool, name, seed, step in itertools.product(pools, controllers, range(seeds), steps)
    ]  # fmt: skip
    return pd.DataFrame(rows)


TABLE = synthetic()
GAP = TABLE.drop(index=TABLE.query("pool == 'q' and controller == 'adarft' and seed == 1 and step == 10").index)
SHORT = TABLE[~((TABLE["controller"] == "adarft") & (TABLE["step"] == 20))]

CURVES = {
    "no table": ({"step": [0]}, "curves: must be a pandas table, such as Record.to_frame() gives, got {'step': [0]}"),
    "a column": (TABLE.drop(columns="seed"), "curves: must have the column 'seed', got pool, learner, controller, law"),
    "columns": (TABLE[["controller", "step", "success"]],
                "curves: must have the columns pool, learner, seed, got controller, step, success"),
    "no rows": (TABLE[:0], "curves: must have rows, got none"),
    "twice": (pd.concat([TABLE, TABLE[4:5]]), "curves: must have one row per pool, learner, controller, seed, step, "
              "got several with pool=p, learner=scalar, controller=uniform, seed=1, step=10"),
    "gap": (GAP, "curves: must have a row for each step of a run, the same for all runs of one pool, learner, got none "
            "at step 10 of pool=q, learner=scalar, controller=adarft, seed=1"),
    "short arm": (SHORT, "curves: must have a row for each step of a run, the same for all runs of one pool, learner, "
                  "got none at step 20 of pool=p, learner=scalar, controller=adarft, seed=0"),
    "one step": (TABLE[TABLE["step"] == 0], "curves: must have at least 2 steps of each run, got only 0"),
    "words": (TABLE.assign(success="high"), "curves: must have numbers in 'success', got 'high'"),
    "words for steps": (TABLE.assign(step="first"), "curves: must have numbers in 'step', got 'first'"),
    "no number": (TABLE.assign(success=TABLE["success"].where(TABLE["step"] < 20)),
                  "curves: must have finite numbers in 'success', got nan at pool=p, learner=scalar, "
                  "controller=uniform, seed=0, step=20"),
    "blank": (TABLE.assign(pool=TABLE["pool"].where(TABLE["pool"] == "p")),
              "curves: must have a name in every row of 'pool', got a blank in row 18"),
    "settings": (TABLE.assign(**{"adarft.eta": np.where(TABLE["seed"] == 0, 5.0, 50.0)}),
                 "adarft.eta: must be one value per arm, so that its runs are alike, got several in pool=p, "
                 "learner=scalar, controller=uniform"),
    "no baseline here": (TABLE[(TABLE["pool"] == "p") | (TABLE["controller"] == "adarft")],
                         "baseline: must have run on every pool and learner, got no uniform on q / scalar"),
    "two baselines": (synthetic(["uniform floor=0.1", "uniform floor=0.2"]),
                      "baseline: must be one controller on each pool and learner, got uniform floor=0.1, "
                      "uniform floor=0.2"),
}  # fmt: skip


@pytest.mark.parametrize("name", CURVES)
def test_curves_that_say_nothing_sure_are_refused_in_one_line(name):
    table, said = CURVES[name]
    with pytest.raises(InputError) as caught:
        runs_table(table)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


RUNS = runs_table(TABLE)


@pytest.mark.parametrize("of", [lambda t: summary_table(t, 20), ranking_table, rivals_table, leading_rule])
@pytest.mark.parametrize(
    ("table", "said"),
    [
        (RUNS.drop(columns="auc"), "runs: must have the column 'auc', got pool"),
        (pd.concat([RUNS, RUNS[:1]]), "runs: must have one row per pool, learner, controller, seed, got several with"),
        (None, "runs: must be a pandas table, such as Record.to_frame() gives, got None"),
        (RUNS[:0], "runs: must have rows, got none"),
    ],
)
def test_runs_that_say_nothing_sure_are_refused_in_one_line(of, table, said):
    with pytest.raises(InputError) as caught:
        of(table)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_tables_are_left_as_they_are():
    curves, runs = TABLE.iloc[::-1].copy(), RUNS.iloc[::-1].copy()
    copies = curves.copy(), runs.copy()
    runs_table(curves)
    summary_table(runs, 20)
    ranking_table(runs)
    rivals_table(runs)
    pd.testing.assert_frame_equal(curves, copies[0])
    pd.testing.assert_frame_equal(runs, copies[1])


def test_kinds_are_the_names_where_a_table_has_none():
    """A log of another trainer, with the least there is."""
    least = TABLE[["pool", "learner", "controller", "seed", "step", "success"]]
    runs = runs_table(least)
    assert runs["rule"].tolist() == runs["controller"].tolist()
    assert runs["auc"].tolist() == pytest.approx(RUNS["auc"].tolist())
    assert runs[["silent_share", "coverage", "rollouts_to_threshold"]].isna().all(axis=None)
    text = report(runs, summary_table(runs, 20), 20)
    assert "nan" not in text


def test_what_describes_an_arm_stays_with_it_and_what_does_not_goes():
    table = TABLE.assign(**{"adarft.eta": TABLE["controller"].map({"uniform": np.nan, "adarft": 5.0})})
    table.insert(0, "budget", "steps")
    table.insert(0, "row", np.arange(len(table)))
    curves = ordered_curves(table)
    assert described(curves) == ["budget", "pool", "learner", "controller", "law", "rule", "adarft.eta"]
    assert list(runs_table(table).columns[:7]) == described(curves)


def test_names_may_be_categories_or_numbers():
    table = TABLE.astype({"pool": "category", "controller": "category"})[TABLE["pool"] == "q"]
    assert runs_table(table)["auc"].tolist() == pytest.approx(RUNS.query("pool == 'q'")["auc"].tolist())
    summary = summary_table(runs_table(table), 20)
    assert len(summary) == 2
    figures.learning_curves(table)
