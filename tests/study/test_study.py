"""Studies: which cells they have, that each is an ordinary single run, and that how they are computed never shows."""

import dataclasses
import itertools
import json
import math
import re
import subprocess
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import trim_mean

import workbench as wb
import workbench.study.study
from workbench.analysis.report import report
from workbench.analysis.tables import runs_table, summary_table
from workbench.errors import InputError
from workbench.loop import SERIES
from workbench.registry import LAWS, RULES
from workbench.streams import Role, generator
from workbench.study.commit import git_commit
from workbench.study.design import grid_points, space_filling_points
from workbench.study.identity import describe
from workbench.study.program import _in_threads
from workbench.study.store import CellStore
from workbench.study.study import Study, label_of

POOL = wb.Pool.synthetic("uniform", size=150)
SIZES = {"seeds": 2, "steps": 5, "batch": 12, "rollouts": 4, "eval_every": 2}
RECORDS = 4  # steps 0, 2, 4, 5


def study(learners=("scalar",), controllers=("adarft",), points=({},), pools=(POOL,), **sizes):
    return Study(list(pools), list(learners), list(controllers), list(points), **(SIZES | sizes))


@pytest.fixture
def curves(tmp_path, monkeypatch):
    """Function that computes a study from nothing and gives its curves; `lanes`: at most so many per chunk."""
    folders = (tmp_path / str(n) for n in itertools.count())

    def compute(what, lanes=None):
        with monkeypatch.context() as patch:
            if lanes is not None:
                patch.setattr(workbench.study.study, "ROLLOUTS_IN_CACHE", lanes * what.batch * what.rollouts)
            return what.compute(CellStore(next(folders)))

    return compute


def same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def rows_of(table, arm):
    mine = (table["pool"] == arm.pool) & (table["learner"] == arm.learner) & (table["controller"] == arm.controller)
    return table[mine].reset_index(drop=True)


# ---- how a cell is computed never shows

EXACT = ["rloo-exact", "grpo-exact", "success-exact"]
CASES = {  # learners, controllers, points that differ in every number that a lane can have of its own
    "every rule": (
        ["scalar"],
        list(RULES),
        [
            {
                "adarft.eta": eta, "adarft.beta": beta, "adarft.alpha": alpha, "adarft.start": start,
                "adarft.low": low, "adarft.high": high, "adarft.ties": ties, "filter.low": low / 200, "band.low": low,
                "linear.horizon": alpha + 2, "linear.end": high, "linear.ties": ties, "sorted.horizon": 2 + alpha,
                "frozen.target": start, "frozen.ties": ties,
            }
            for eta, beta, alpha, start, low, high, ties in [
                (50.0, 0.5, 2.0, 10.0, 0.0, 100.0, "random"),
                (5.0, 0.3, 1.0, 40.0, 20.0, 80.0, "first"),
                (0.0, 0.7, 3.0, 30.0, 5.0, 90.0, "random"),
                (20.0, 0.5, 0.5, 35.0, 10.0, 95.0, "random"),
            ]
        ],
    ),
    "every law": (list(LAWS), ["adarft", "frozen"], [{}]),
    "every signal": (
        ["scalar"],
        ["adarft"],
        [
            {"scalar.signal": signal, "scalar.gamma": 0.5}
            for signal in ("rloo", "mean", "grpo", "success", "critic", "critic-perfect", *EXACT)
        ],
    ),
    "one skill": (
        ["scalar"],
        ["adarft"],
        [
            {
                "scalar.theta0": theta0, "scalar.kappa": kappa, "scalar.gamma": gamma, "scalar.a": a,
                "scalar.floor": floor, "scalar.ceiling": ceiling, "scalar.forgetting": forgetting,
                "scalar.noise": noise, "scalar.label_noise": label_noise,
            }
            for theta0, kappa, gamma, a, floor, ceiling, forgetting, noise, label_noise in [
                (-1.5, 0.1, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.7),
                (-1.0, 0.5, 0.5, 1.3, 0.25, 0.9, 0.05, 0.0, 0.7),
                (-1.5, 0.1, 0.0, 1.0, 0.0, 0.9, 0.0, 0.1, 0.0),
                (-2.0, 0.0, 1.0, 0.7, 0.1, 1.0, 0.01, 0.2, 0.3),
            ]
        ],
    ),
    "skill per item": (
        ["kernel", "tabular"],
        ["adarft"],
        [
            {
                "kernel.kappa": kappa, "kernel.gamma": gamma, "kernel.transfer_all": everywhere,
                "kernel.transfer_near": near, "kernel.transfer_self": own, "kernel.length": length,
                "kernel.forgetting": forgetting, "kernel.label_noise": label_noise, "tabular.kappa": 100 * kappa,
                "tabular.gamma": gamma, "tabular.forgetting": forgetting, "tabular.label_noise": label_noise,
            }
            for kappa, gamma, everywhere, near, own, length, forgetting, label_noise in [
                (0.1, 1.0, 0.0, 1.0, 0.0, 0.5, 0.01, 0.7),
                (0.5, 0.5, 0.2, 1.0, 0.0, 2.0, 0.0, 0.7),
                (0.3, 0.0, 0.0, 0.0, 3.0, 1.0, 0.0, 0.0),
                (0.2, 1.0, 0.1, 0.5, 1.0, 0.3, 0.1, 0.3),
            ]
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_cell_is_the_same_alone_in_a_chunk_and_as_a_plain_single_run(curves, case):
    what = study(*CASES[case])
    together = curves(what)
    same(curves(what, lanes=1), together)
    for index, cell in enumerate(what.cells):
        law, rule, *gates = cell.arm.parts
        record = wb.train(
            wb.Controller(rule, POOL, gates, seed=cell.seed), wb.SimLearner(law, POOL, seed=cell.seed),
            what.steps, what.batch, what.rollouts, what.eval_every,
        ).to_frame().drop(columns=["pool", "learner", "controller", "law", "rule"])  # fmt: skip
        mine = together.iloc[index * RECORDS : (index + 1) * RECORDS]
        same(mine[list(record.columns)].reset_index(drop=True), record)


GATED = ["dapo", "balanced", "vcrl", "speed", "adarft+dapo", "adarft+speed", "mopps+balanced+vcrl"]
GATE_POINTS = [  # numbers that may differ between lanes, and a count that may not
    {"adarft.eta": eta, "balanced.low": low, "dapo.max_batches": batches}
    for eta, low, batches in [(5.0, 0.1, 1), (50.0, 0.3, 1), (20.0, 0.1, 4)]
]
SPENDING = ["dapo", "adarft+speed", "sorted", "sfl", "cures", "dots"]  # rejected groups, probes, groups of many sizes
SPENT = {
    "gates": (GATED, GATE_POINTS, {"rollouts": 6}),
    "a budget of rollouts": (SPENDING, [{}], {"rollouts": 6, "budget": "rollouts"}),
    "a budget of tokens": (SPENDING, [{}], {"rollouts": 6, "budget": "tokens"}),
}


@pytest.mark.parametrize("case", SPENT)
def test_what_a_cell_spends_does_not_depend_on_chunks_or_processes(curves, tmp_path, case):
    controllers, points, sizes = SPENT[case]
    what = study(["scalar"], controllers, points, **sizes)
    together = curves(what)
    same(curves(what, lanes=1), together)
    same(what.compute(CellStore(tmp_path / "threads"), jobs=2), together)
    same(what.compute(CellStore(tmp_path / "processes"), jobs=3), together)


def test_a_stop_or_an_error_ends_the_other_threads_with_their_step(tmp_path):
    what = study(["scalar", "kernel"], ["adarft"], steps=100_000)
    programs = what._programs({cell.key for cell in what.cells}, workers=2)
    started, before = time.monotonic(), threading.active_count()
    work = _in_threads([replace(programs[0], steps=2), *programs], jobs=2)
    assert len(next(work)[1]["step"])
    with pytest.raises(KeyboardInterrupt):
        work.throw(KeyboardInterrupt())
    assert threading.active_count() == before
    assert time.monotonic() - started < 30
    with pytest.raises(InputError, match="batch: must be <="):
        list(_in_threads([replace(programs[0], batch=10**6), *programs], jobs=2))
    assert threading.active_count() == before


def test_a_gated_cell_is_a_plain_single_run(curves):
    what = study(["scalar"], GATED, GATE_POINTS, rollouts=6)
    together = curves(what)
    assert {"adarft+dapo adarft.eta=5 dapo.max_batches=1", "dapo max_batches=4"} <= set(together["controller"])
    for index, cell in enumerate(what.cells):
        law, rule, *gates = cell.arm.parts
        controller = wb.Controller(rule, POOL, gates, seed=cell.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wb.ShortBatch)
            record = wb.train(
                controller, wb.SimLearner(law, POOL, seed=cell.seed), what.steps, what.batch,
                what.rollouts, what.eval_every,
            )  # fmt: skip
        mine = together.iloc[index * RECORDS : (index + 1) * RECORDS]
        frame = record.to_frame().drop(columns=["pool", "learner", "controller", "law", "rule"])
        same(mine[list(frame.columns)].reset_index(drop=True), frame)
    spent = together[together["step"] == 5].groupby("controller")[["rollouts", "trained"]].mean()
    assert (spent["rollouts"] > spent["trained"]).drop("uniform").all()
    assert spent.at["dapo max_batches=4", "rollouts"] > spent.at["dapo max_batches=1", "rollouts"]
    assert together["short"].max() > 0  # counted, and not warned of


# ---- budgets


def test_with_a_budget_of_rollouts_every_run_spends_it_and_records_at_the_same_shares_of_it(curves):
    what = study(["scalar", "tabular"], SPENDING, rollouts=6, steps=20, batch=8, eval_every=5, budget="rollouts")
    table = curves(what)
    cost = 8 * 6
    assert table.groupby(["learner", "controller", "seed"])["step"].unique().map(list).tolist() == [
        [0, 5, 10, 15, 20]
    ] * len(what.cells)
    assert (table["rollouts"] - table["step"] * cost).abs().max() <= cost
    assert table["success"].notna().all()
    by_rule = table[table["step"] == 20].groupby("controller")[["trained", "probed"]].mean()
    assert by_rule.at["uniform", "trained"] == by_rule.at["sorted", "trained"] == 20 * cost
    assert (by_rule.loc[["dapo", "adarft+speed", "sfl", "dots"], "trained"] < 20 * cost).all()
    assert (by_rule["probed"] > 0).to_dict() == {name: name in ("sfl", "dots") for name in by_rule.index}


def test_budgets_change_nothing_for_a_run_that_spends_as_much_as_uniform(curves):
    columns = ["success", "target", "reward", "coverage", "rollouts", "trained", "tokens"]
    by_steps, by_rollouts = (curves(study(steps=6, budget=budget)) for budget in ("steps", "rollouts"))
    one, two = by_steps[columns].astype(float), by_rollouts[columns].astype(float)
    pd.testing.assert_frame_equal(one, two, rtol=1e-12)


def test_a_run_with_a_budget_is_the_longer_run_read_at_what_it_had_spent(curves):
    what = study(controllers=["dapo"], seeds=1, rollouts=6, steps=20, batch=8, eval_every=1, budget="rollouts")
    mine = curves(what).query("controller == 'dapo'")
    whole = curves(study(controllers=["dapo"], seeds=1, rollouts=6, steps=160, batch=8, eval_every=1))
    whole = whole.query("controller == 'dapo'")
    for column in ("success", "coverage", "trained", "tokens"):
        known = np.interp(mine["step"] * 48, whole["rollouts"], whole[column])
        assert mine[column].to_numpy() == pytest.approx(known)


def test_with_a_budget_of_tokens_rules_of_easy_items_make_more_updates(curves):
    points = [{"frozen.target": target} for target in (0.0, 100.0)]
    what = study(["scalar"], ["frozen"], points, steps=20, batch=8, eval_every=5, budget="tokens")
    table = curves(what)
    learner = wb.SimLearner(wb.ScalarIRT(), POOL, seed=0)
    cost = 8 * 4 * learner.mean_length
    assert table["tokens"].to_numpy() == pytest.approx(table["step"].to_numpy() * cost)
    ends = table[table["step"] == 20].groupby("controller")["rollouts"].mean()
    assert ends["frozen target=0"] > 1.5 * ends["uniform"] > 2 * ends["frozen target=100"]
    assert ends["uniform"] == pytest.approx(20 * 8 * 4, rel=0.1)


def test_a_run_that_cannot_spend_its_budget_stays_as_it_ended(curves, monkeypatch):
    monkeypatch.setattr(workbench.loop, "LONGEST", 1)
    table = curves(study(controllers=["speed"], rollouts=6, budget="tokens", points=[{"scalar.tokens_hard": 0.0}]))
    assert table["step"].unique().tolist() == [0, 2, 4, 5]
    assert table["success"].notna().all()


# ---- rules that fit a model, and what labels cost


def test_rules_that_fit_a_model_run_on_three_seeds_and_meet_uniform_on_those(curves):
    slow = [name for name, rule in RULES.items() if rule.fits_model]
    assert slow == ["alp-gmm", "dots", "pcl"]
    what = study(["scalar"], [*slow, "adarft"], [{"dots.reference": 8}], seeds=5, steps=4, batch=8)
    table = curves(what)
    seeds = table.groupby("rule")["seed"].unique().map(list).to_dict()
    assert seeds == {rule: list(range(3 if rule in slow else 5)) for rule in ("uniform", "adarft", *slow)}
    runs = runs_table(table)
    summary = summary_table(runs, what.steps).set_index("rule")
    assert summary["seeds"].to_dict() == {"uniform": 5, "adarft": 5} | dict.fromkeys(slow, 3)
    area = runs.pivot(index="seed", columns="rule", values="auc")
    for name in slow:
        gain = trim_mean(area[name][:3], 0.25) - trim_mean(area["uniform"][:3], 0.25)
        assert summary.at[name, "auc_gain"] == pytest.approx(gain)
        assert summary.at[name, "p"] >= 2 / 2**3
        assert summary.at[name, "verdict"] == "too few seeds"
    same(table[table["rule"] == "dots"].reset_index(drop=True), curves(
        study(["scalar"], ["dots"], [{"dots.reference": 8}], seeds=3, steps=4, batch=8)
    ).query("rule == 'dots'").reset_index(drop=True))  # fmt: skip


def test_labels_cost_the_attempts_behind_them_and_only_rules_that_read_them_pay(curves):
    point = {"procurl.use_labels": True}
    what = study(["scalar"], ["adarft", "adarft+dapo", "dapo", "mopps", "greso", "procurl"], [{}, point], rollouts=6)
    bought = curves(what).groupby("controller")["label_rollouts"].agg(["min", "max"])
    assert (bought["min"] == bought["max"]).all()
    free = ["uniform", "dapo", "mopps", "greso", "procurl"]
    paid = ["adarft", "adarft+dapo", "procurl use_labels=True"]
    assert bought["max"].to_dict() == dict.fromkeys(free, 0.0) | dict.fromkeys(paid, 150 * 128)
    by_rating = wb.Pool(np.linspace(0, 100, 150), name="rated")  # labels without counts
    table = curves(study(["scalar"], ["adarft"], pools=[by_rating]))
    assert table["label_rollouts"].isna().groupby(table["rule"]).agg(["all", "any"]).to_dict("index") == {
        "uniform": {"all": False, "any": False}, "adarft": {"all": True, "any": True},
    }  # fmt: skip
    runs = runs_table(table)
    text = report(runs, summary_table(runs, 5), 5)
    costs = text.split("Costs of a run on rated")[1].splitlines()
    (line,) = (line for line in costs if line.split()[:1] == ["adarft"])
    assert "not known" in line
    (line,) = (line for line in costs if line.split()[:1] == ["uniform"])
    assert "not known" not in line


def test_results_do_not_depend_on_the_order_of_anything(curves):
    other = wb.Pool.synthetic("narrow", size=100)
    points = grid_points({"adarft.eta": [5.0, 50.0], "kernel.kappa": [0.1, 0.2]})
    what = study(["scalar", "kernel"], ["filter", "adarft"], points, pools=[POOL, other], seeds=3)
    turned = study(["kernel", "scalar"], ["adarft", "filter"], points[::-1], pools=[other, POOL], seeds=3)
    one, two = curves(what), curves(turned, lanes=4)
    keys = ["pool", "learner", "controller", "seed", "step"]
    same(one.sort_values(keys, ignore_index=True), two.sort_values(keys, ignore_index=True)[list(one.columns)])


def test_points_may_set_different_parameters(curves):
    points = [{}, {"adarft.eta": 5.0}, {"adarft.beta": 0.2}, {"adarft.eta": 5.0, "adarft.beta": 0.2}]
    mixed = curves(study(points=points))
    for point in points[1:]:
        (arm,) = (arm for arm in study(points=[point]).arms if arm.rule == "adarft")
        alone = rows_of(curves(study(points=[point])), arm)
        same(rows_of(mixed, arm)[["success", "target", "reward"]], alone[["success", "target", "reward"]])


# ---- which cells a study has


def test_uniform_always_runs_first_for_every_pool_and_learner():
    other = wb.Pool.synthetic("narrow", size=100)
    arms = study(["scalar", "kernel"], ["adarft", "filter"], pools=[POOL, other]).arms
    assert [(arm.pool, arm.learner, arm.controller) for arm in arms] == list(
        itertools.product(["uniform", "narrow"], ["scalar", "kernel"], ["uniform", "adarft", "filter"])
    )
    assert [arm.rule for arm in study(controllers=["filter", "uniform"]).arms] == ["uniform", "filter"]


def test_every_arm_runs_on_the_same_seeds(curves):
    table = curves(study(controllers=["adarft", "band"], seeds=3))
    seeds = table.groupby("controller")["seed"].unique().map(list)
    assert seeds.to_dict() == {"uniform": [0, 1, 2], "adarft": [0, 1, 2], "band": [0, 1, 2]}


def test_grids_cross_rules_and_learners_and_equal_cells_run_once(curves):
    points = grid_points({"adarft.eta": [5.0, 50.0], "scalar.kappa": [0.02, 0.05]})
    what = study(["scalar", "natural"], ["filter", "adarft"], points)
    kappas, etas = ["kappa=0.02", "kappa=0.05"], ["adarft eta=5", "adarft eta=50"]
    wanted = {(f"scalar {kappa}", rule) for kappa in kappas for rule in ("uniform", "filter", *etas)}
    wanted |= {("natural", rule) for rule in ("uniform", "filter", *etas)}
    assert {(arm.learner, arm.controller) for arm in what.arms} == wanted
    assert len(what.arms) == len(wanted)
    assert len({cell.key for cell in what.cells}) == len(what.cells) == 2 * len(wanted)
    table = curves(what)
    assert len(table) == RECORDS * len(what.cells)
    assert not table.duplicated(["pool", "learner", "controller", "seed", "step"]).any()


def test_curves_have_the_columns_of_the_contract(curves):
    points = grid_points({"adarft.eta": [5.0], "scalar.signal": ["rloo", "grpo"]})
    table = curves(study(["scalar", "natural"], ["adarft"], points))
    deciles = [f"success_{stratum}" for stratum in range(10)]
    assert list(table.columns) == [
        "pool", "learner", "controller", "law", "rule", "adarft.eta", "scalar.signal", "seed", "step", "rollouts",
        "success", *deciles, *SERIES, "label_rollouts",
    ]  # fmt: skip
    assert table["success"].to_numpy() == pytest.approx(table[deciles].mean(axis=1).to_numpy())
    assert (table["rollouts"] == table["step"] * 12 * 4).all()
    assert (table["trained"] == table["rollouts"]).all()
    assert (table[["probed", "forwards", "short"]] == 0).all(axis=None)
    assert (table["tokens"] >= 200 * table["rollouts"]).all()  # of the easiest items
    assert (table["tokens"] <= 2000 * table["rollouts"]).all()
    assert table["step"].unique().tolist() == [0, 2, 4, 5]
    eta = table.groupby("rule")["adarft.eta"].unique()
    assert eta["adarft"].tolist() == [5.0]
    assert np.isnan(eta["uniform"]).all()  # it does not apply there
    assert table["scalar.signal"][table["law"] == "natural"].isna().all()
    assert set(table["scalar.signal"][table["law"] == "scalar"]) == {"rloo", "grpo"}


def test_labels_name_the_rule_or_learner_and_its_swept_settings():
    point = {"adarft.eta": 12.5, "adarft.ties": "first", "scalar.kappa": 0.05}
    (arm,) = (arm for arm in study(points=[point]).arms if arm.rule == "adarft")
    assert (arm.controller, arm.learner) == ("adarft eta=12.5 ties=first", "scalar kappa=0.05")
    assert arm.settings == point
    assert [(arm.controller, arm.learner) for arm in study().arms][-1] == ("adarft", "scalar")


@settings(deadline=None)
@given(value=st.floats(1e-6, 1e6), steps=st.integers(1, 5))
def test_different_settings_never_share_a_label(value, steps):
    other = value
    for _ in range(steps):
        other = math.nextafter(other, math.inf)
    one, two = (label_of("adarft", (("adarft.eta", eta),)) for eta in (value, other))
    assert one != two


@pytest.mark.parametrize("twins", ["learners", "signals", "pools"])
def test_cells_that_are_equal_under_two_names_run_once_and_show_under_both(tmp_path, twins):
    learners, points, pools = ["scalar"], [{}], [POOL]
    if twins == "learners":
        learners, points = ["scalar", "natural"], grid_points({"scalar.gamma": [0.0, 1.0]})
    elif twins == "signals":
        learners, points = ["grpo", "scalar"], grid_points({"scalar.signal": ["rloo", "grpo"]})
    else:
        pools = [POOL, dataclasses.replace(POOL, name="copy")]
    what = study(learners, ["adarft"], points, pools)
    seen = []
    table = what.compute(CellStore(tmp_path), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    for arm in what.arms:
        assert len(rows_of(table, arm)) == 2 * RECORDS, arm
    computed = pd.concat(pd.read_parquet(path)["cell"].astype(str) for path in tmp_path.glob("*.parquet"))
    assert (computed.value_counts() == RECORDS).all()


def test_a_cell_has_another_key_where_anything_differs_that_its_result_depends_on():
    harder = wb.Pool(np.minimum(POOL.difficulty + 1, 100), name="uniform")
    counted = wb.Pool(POOL.difficulty, name="uniform")  # labels as from 128 attempts, but no counts known
    variants = [
        study(), study(steps=6), study(batch=13), study(rollouts=5), study(eval_every=3), study(pools=[harder]),
        study(pools=[counted]), study(["grpo"]), study(points=[{"scalar.kappa": 0.03}]),
        study(controllers=["band"]), study(points=[{"adarft.eta": 49.0}]), study(budget="rollouts"),
        study(budget="tokens"), study(controllers=["adarft+dapo"]), study(controllers=["dapo"]),
        study(lag=1), study(delivery="group"),
    ]  # fmt: skip
    keys = [what.cells[-1].key for what in variants]
    assert len(set(keys)) == len(keys)
    assert len({cell.key for cell in study(seeds=5).cells}) == 10
    prompted = dataclasses.replace(POOL, payload={"prompt": [str(i) for i in range(150)]})
    assert study(pools=[prompted]).cells[-1].key == study().cells[-1].key  # a simulation reads no prompt


def test_workers_do_not_carry_prompts():
    prompted = dataclasses.replace(POOL, payload={"prompt": ["?"] * 150})
    assert all(pool.payload is None for pool in study(pools=[prompted]).pools)


# ---- designs


def test_grid_points_are_every_combination():
    points = grid_points({"adarft.eta": [5.0, 50.0], "scalar.signal": ["rloo", "grpo", "mean"]})
    assert [tuple(point.values()) for point in points] == [
        (5.0, "rloo"), (5.0, "grpo"), (5.0, "mean"), (50.0, "rloo"), (50.0, "grpo"), (50.0, "mean"),
    ]  # fmt: skip
    assert grid_points({}) == [{}]


RANGES = {"adarft.eta": (5.0, 80.0, False), "scalar.kappa": (0.001, 0.1, True)}


@pytest.mark.parametrize(("design", "points"), [("sobol", 32), ("lhs", 32), ("lhs", 7), ("sobol", 1)])
def test_space_filling_designs_put_one_point_in_each_slice_of_each_range(design, points):
    made = space_filling_points(RANGES, design, points)
    assert len(made) == points
    for name, (low, high, logarithmic) in RANGES.items():
        value = np.array([point[name] for point in made])
        assert value.min() >= low
        assert value.max() <= high
        unit = np.log(value / low) / np.log(high / low) if logarithmic else (value - low) / (high - low)
        assert sorted(np.floor(unit * points).astype(int)) == list(range(points))


@pytest.mark.parametrize(("points", "dimensions"), [(1, 1), (7, 2), (64, 5)])
def test_a_latin_hypercube_is_scipys(points, dimensions):
    from scipy.stats import qmc

    given = {f"scalar.x{k}": (0.0, 1.0, False) for k in range(dimensions)}
    found = [list(point.values()) for point in space_filling_points(given, "lhs", points)]
    seed = int(generator(0, Role.DESIGN).integers(2**63))
    theirs = qmc.LatinHypercube(dimensions, rng=np.random.default_rng(seed)).random(points)
    assert_allclose(found, theirs, rtol=1e-5)  # settings have six digits


@pytest.mark.parametrize("design", ["sobol", "lhs"])
def test_space_filling_designs_are_reproducible_and_touch_no_global_random_state(design):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert space_filling_points(RANGES, design, 8) == space_filling_points(RANGES, design, 8)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("ranges", "design", "points", "said"),
    [
        ({"adarft.eta": (5.0, 80.0, False)}, "sobol", 6, r"points: must be a power of two .* got 6"),
        ({"adarft.eta": (5.0, 80.0, False)}, "lhs", 0, r"points: must be a whole number .*1.*, got 0"),
        ({"adarft.eta": (80.0, 5.0, False)}, "lhs", 4, r"adarft\.eta: must be low:high with low < high.* got 80:5"),
        ({"adarft.eta": (5.0, 5.0, False)}, "sobol", 4, r"adarft\.eta: .* got 5:5"),
        ({"scalar.kappa": (0.0, 1.0, True)}, "lhs", 4, r"scalar\.kappa: .* low > 0 for log, got 0:1"),
        ({"scalar.kappa": (0.1, math.inf, False)}, "lhs", 4, r"scalar\.kappa: must be a finite number, got inf"),
    ],
)
def test_a_design_that_cannot_be_made_is_refused(ranges, design, points, said):
    with pytest.raises(InputError, match=said):
        space_filling_points(ranges, design, points)


# ---- what is kept


def test_a_study_with_more_seeds_computes_only_the_new_ones(tmp_path, curves):
    store = CellStore(tmp_path / "cells")
    study(seeds=2).compute(store)
    old = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    seen = []
    table = study(seeds=3).compute(store, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (4, 6)
    assert seen[-1] == (6, 6)
    assert {path: path.stat().st_mtime_ns for path in old} == old
    fresh = [pd.read_parquet(path) for path in store.folder.iterdir() if path not in old]
    assert set(pd.concat(fresh)["cell"]) == {cell.key for cell in study(seeds=3).cells if cell.seed == 2}
    same(table, curves(study(seeds=3)))


def test_a_finished_study_is_only_read(tmp_path):
    store = CellStore(tmp_path)
    first = study().compute(store)
    old = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    seen = []
    same(study().compute(store, progress=lambda *at: seen.append(at)), first)
    assert seen == [(4, 4)]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == old


def test_progress_counts_cells_up_to_all_of_them(tmp_path):
    seen = []
    what = study(["scalar", "kernel"], list(RULES))
    what.compute(CellStore(tmp_path), progress=lambda done, total: seen.append((done, total)))
    done = [at for at, _ in seen]
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (0, len(what.cells))
    assert {total for _, total in seen} == {len(what.cells)}
    assert len(done) > 10  # not only at the end


def test_a_damaged_file_is_named_and_its_cells_computed_again(tmp_path, capsys):
    store = CellStore(tmp_path)
    whole = study().compute(store)
    hurt = next(path for path in tmp_path.iterdir())
    hurt.write_bytes(hurt.read_bytes()[:-1])
    same(study().compute(store), whole)
    assert str(hurt) in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} >= {hurt.name}  # back, with the same content


def test_the_order_of_a_table_is_that_of_the_cells_whatever_the_order_of_the_files(curves):
    what = study(["scalar", "tabular"], ["adarft", "band"])
    table = curves(what, lanes=1)
    wanted = [(cell.arm.learner, cell.arm.controller, cell.seed, s) for cell in what.cells for s in (0, 2, 4, 5)]
    assert list(table[["learner", "controller", "seed", "step"]].itertuples(index=False, name=None)) == wanted


# ---- refused before any work


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"controllers": ["foo"]}, r"controllers: must be a rule \(uniform, .*\), a gate \(dapo.*, got 'foo'"),
        ({"controllers": ["adarft+adarft"]}, r"controllers: must be .* RULE\+GATE, .*, got 'adarft\+adarft'"),
        ({"controllers": ["adarft+nope"]}, r"controllers: .* got 'adarft\+nope'"),
        ({"controllers": ["dapo+adarft"]}, r"controllers: .* got 'dapo\+adarft'"),
        ({"controllers": ["adarft+dapo+dapo"]}, r"controllers: .* got 'adarft\+dapo\+dapo'"),
        ({"controllers": ["adarft+"]}, r"controllers: .* got 'adarft\+'"),
        ({"controllers": ["speed"]}, r"rollouts: must be > 4, the first ones of gate SPEED, got 4"),
        ({"controllers": ["dapo"], "points": [{"dapo.max_batches": 0}]}, r"dapo\.max_batches: must be .*, got 0"),
        ({"controllers": ["e2h"], "points": [{"e2h.schedule": "x"}]}, r"e2h\.schedule: must be one of .*, got 'x'"),
        ({"controllers": ["uniform"], "points": [{}, {"uniform.floor": 0.5}]}, r"uniform\.floor: must be one value"),
        ({"lag": -1}, r"lag: must be a whole number in \[0, 10000\], got -1"),
        ({"lag": [0, 2.5]}, r"lag: must be a whole number in \[0, 10000\], got 2\.5"),
        ({"lag": [1, 1]}, r"lag: must be one or more different values, got \[1, 1\]"),
        ({"lag": []}, r"lag: must be one or more different values, got \[\]"),
        ({"delivery": "x"}, r"delivery: must be one of batch, group, got 'x'"),
        ({"delivery": ["batch", None]}, r"delivery: must be one of batch, group, got None"),
        ({"budget": "x"}, r"budget: must be one of steps, rollouts, tokens, got 'x'"),
        ({"controllers": []}, r"controllers: must be one or more different names, got none"),
        ({"controllers": ["adarft", "adarft"]}, r"controllers: .* different names, got adarft, adarft"),
        ({"learners": ["foo"]}, r"learners: must be a Law \(scalar, .*policy\) or package\.module:Name, got 'foo'"),
        ({"learners": []}, r"learners: must be one or more different names, got none"),
        ({"pools": []}, r"pools: must be one or more pools with different names, got none"),
        ({"pools": [POOL, POOL]}, r"pools: .* different names .*, got uniform, uniform"),
        ({"points": []}, r"points: must be .*, got "),
        ({"points": [{"eta": 5.0}]}, r"'eta'"),
        ({"points": [{"adarft": 5.0}]}, r"'adarft'"),
        ({"points": [{"filter.low": 0.2}]}, r"^points \(--set\): 'filter\.low' must belong to a controller"),
        ({"points": [{1: 5}]}, r"^points: must name parameters as owner\.parameter, got 1$"),
        ({"points": [{None: 5}]}, r"^points: must name parameters as owner\.parameter, got None$"),
        ({"points": [{"adarft.foo": 1.0}]}, r"adarft\.foo: must be a hyper-parameter of adarft \(floor, .*got 'foo'"),
        ({"points": [{"adarft.eta": -1.0}]}, r"adarft\.eta: must be a number in \[0, 1e6\], got -1"),
        ({"points": [{}, {"adarft.beta": 1.5}]}, r"adarft\.beta: must be a number in \[0, 1\], got 1\.5"),
        ({"points": [{"adarft.ties": "last"}]}, r"adarft\.ties: must be one of random, first, got 'last'"),
        ({"points": [{"scalar.signal": "x"}]}, r"scalar\.signal: must be one of rloo, .*, got 'x'"),
        ({"points": [{"scalar.gamma": 2.0}]}, r"scalar\.gamma: must be a number in \[0, 1\], got 2"),
        ({"seeds": 0}, r"seeds: must be a whole number >= 1, got 0"),
        ({"steps": 0}, r"steps: must be a whole number in \[1, 1e7\], got 0"),
        ({"steps": 2.5}, r"steps: must be a whole number in \[1, 1e7\], got 2\.5"),
        ({"eval_every": 0}, r"eval_every: must be a whole number >= 1, got 0"),
        ({"batch": 0}, r"batch: must be a whole number >= 1, got 0"),
        ({"batch": 151}, r"batch: must be <= 150, the items of pool 'uniform', got 151"),
        ({"rollouts": 1}, r"rollouts: must be >= 2 .*, got 1"),
        ({"budget": "tokens", "points": [{"scalar.tokens_easy": 0.0, "scalar.tokens_hard": 0.2}]},
         r"budget: must not be tokens where attempts have none, got learner 'scalar tokens_easy=0 tokens_hard=0\.2'"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_study_that_cannot_run_is_refused_when_it_is_made(change, said):
    with pytest.raises(InputError) as caught:
        study(**change)
    assert re.search(said, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("package", "moved"),
    [
        ("torch", {("uniform", "policy"), ("alp-gmm", "policy")}),
        ("scikit-learn", {("alp-gmm", "policy"), ("alp-gmm", "scalar")}),
    ],
)
def test_another_release_of_a_package_that_a_cell_computes_with_makes_it_another_cell(monkeypatch, package, moved):
    def keys():
        return {(cell.arm.rule, cell.arm.law): cell.key for cell in study(["policy", "scalar"], ["alp-gmm"]).cells}

    before, known = keys(), workbench.study.identity.version
    monkeypatch.setattr(workbench.study.identity, "version", lambda name: "0.0" if name == package else known(name))
    after = keys()
    assert {arm for arm in before if before[arm] != after[arm]} == moved
    assert study(["policy"], ["alp-gmm"]).packages[package] == "0.0"
    assert study().packages == {}


def test_a_number_of_jobs_below_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="jobs: must be a whole number >= 1, got 0"):
        study().compute(CellStore(tmp_path), jobs=0)


# ---- where the code comes from


def test_the_commit_is_the_one_that_is_checked_out():
    root = Path(workbench.study.study.__file__).parents[2]
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        pytest.skip("not a git checkout")
    assert git_commit() in (head.stdout.strip(), f"{head.stdout.strip()}+changes")


def test_a_study_is_plain_settings():
    """What the manifest says of a law and a rule is JSON and has every hyper-parameter."""
    for preset in (*LAWS.values(), *RULES.values()):
        told = json.loads(json.dumps(describe(preset)))
        assert told["class"] == type(preset).__name__
        assert {field.name for field in dataclasses.fields(preset)} == told.keys() - {"class"}


# ---- late feedback


def test_lags_and_deliveries_are_arms_of_their_own_and_their_cells_plain_runs(curves):
    what = study(controllers=["adarft", "sec+dapo", "uniform"], points=[{"adarft.eta": 5.0}, {"adarft.eta": 50.0}],
                 lag=[0, 2], delivery=["batch", "group"])  # fmt: skip
    names = [arm.controller for arm in what.arms]
    assert names == [
        "uniform",
        *(f"adarft eta={eta} lag={lag} delivery={kind}" for eta in (5, 50) for lag in (0, 2)
          for kind in ("batch", "group")),
        *(f"sec+dapo run.lag={lag} run.delivery={kind}" for lag in (0, 2) for kind in ("batch", "group")),
    ]  # fmt: skip
    together = curves(what)
    same(curves(what, lanes=1), together)
    assert together["run.lag"].isna().sum() == 2 * RECORDS
    assert set(together["run.lag"].dropna()) == {0.0, 2.0}
    for index, cell in enumerate(what.cells):
        law, rule, *gates = cell.arm.parts
        mine = together.iloc[index * RECORDS : (index + 1) * RECORDS]
        asked = cell.arm.settings.get("run.lag", 0), cell.arm.settings.get("run.delivery", "batch")
        assert (cell.arm.lag, cell.arm.delivery) == asked
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wb.StepPerCall)
            warnings.simplefilter("ignore", wb.ShortBatch)
            record = wb.train(
                wb.Controller(rule, POOL, gates, seed=cell.seed), wb.SimLearner(law, POOL, seed=cell.seed),
                what.steps, what.batch, what.rollouts, what.eval_every, lag=asked[0], delivery=asked[1],
            ).to_frame().drop(columns=["pool", "learner", "controller", "law", "rule"])  # fmt: skip
        same(mine[list(record.columns)].reset_index(drop=True), record)
    summary = summary_table(runs_table(together, 0.8), what.steps)
    assert set(summary["run.delivery"].dropna()) == {"batch", "group"}


def test_one_lag_is_no_setting_and_part_of_the_identity(curves):
    late, by_group = study(lag=3), study(delivery="group")
    assert [arm.controller for arm in late.arms] == ["uniform", "adarft"]
    assert repr(study()).endswith("12 x 4)")
    assert repr(late).endswith("12 x 4; lag 3)")
    assert repr(study(lag=[0, 1], delivery="group")).endswith("12 x 4; lag 0, 1 by the group)")
    assert len({what.cells[-1].key for what in (study(), late, by_group, study(lag=3, delivery="group"))}) == 4
    assert study(lag=0, delivery="batch").cells[-1].key == study(lag=[0]).cells[-1].key == study().cells[-1].key
    table, now = curves(late), curves(study())
    assert "run.lag" not in table.columns
    ours, theirs = (t[t["controller"] == "uniform"]["success"].to_numpy() for t in (table, now))
    np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(table["success"], now["success"])
    with_budget = curves(study(controllers=["dapo"], budget="rollouts", lag=2))
    assert with_budget["rollouts"].max() <= 5 * 12 * 4
