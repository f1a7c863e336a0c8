"""sims/robustness.py delivery: what late feedback and feedback group by group cost, from runs to tables."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import call

import workbench as wb
from sims import robustness
from sims.paper import family
from sims.robust import delivery
from sims.robust.delivery import Delivery
from workbench.calibration.candidates import Candidate
from workbench.delivery import BATCH, DELIVERIES, GROUP
from workbench.registry import GATES, RULES
from workbench.streams import run_seeds

ROOT = Path(__file__).parents[2]
POOL = wb.Pool.synthetic("skew-difficult", 160)


def study(*controllers, learners=("scalar",), draws=3, steps=6, lags=(0, 2)):
    made = [Candidate.of(name, steps) for name in ("uniform", *controllers)]
    return Delivery(POOL, list(learners), made, draws, steps, 8, 6, 0, lags)


def command(monkeypatch, capsys, *words):
    status, out, err = call(robustness, monkeypatch, capsys, *words)
    return status, out, "\n".join(line for line in err.splitlines() if line.strip() and "%|" not in line)


# ---- tables from areas known by hand

BASE = np.array([0.30, 0.40, 0.50])
AREAS = {
    ("scalar", "uniform", 0, BATCH): BASE,
    ("scalar", "adarft", 0, BATCH): BASE + 0.1,
    ("scalar", "adarft", 2, BATCH): BASE + 0.1 - [0.001, 0.002, 0.003],
    ("scalar", "adarft", 0, GROUP): BASE + 0.1 - [0.029, 0.030, 0.031],
    ("scalar", "adarft", 2, GROUP): BASE + 0.1 - [0.0, 0.02, 0.04],
}


def test_the_change_of_an_arm_is_paired_with_its_own_prompt_run():
    table = delivery.delivery_table(study("adarft"), AREAS, 0.01).set_index(["controller", "lag", "delivery"])
    late = table.loc[("adarft", 2, BATCH)]
    assert late["change"] == pytest.approx(-0.002)
    half = 4.302653 * 0.001 / np.sqrt(3)  # t of two degrees of freedom
    assert (late["change_low"], late["change_high"]) == pytest.approx((-0.002 - half, -0.002 + half), abs=1e-7)
    assert (late["gain"], late["area"]) == pytest.approx((0.098, 0.498))
    assert table["verdict"].to_dict() == {
        ("uniform", 0, BATCH): "safe", ("adarft", 0, BATCH): "safe", ("adarft", 2, BATCH): "safe",
        ("adarft", 0, GROUP): "worse", ("adarft", 2, GROUP): "unclear",
    }  # fmt: skip
    assert table["hears"].to_list() == [False, True, True, True, True]
    assert table["per_call"].to_list() == [False, True, True, True, True]


def test_a_lag_is_safe_where_it_and_all_below_are_safe_in_every_learner():
    lags, none = (0, 1, 2), np.zeros(3)
    lost = {("scalar", 0): 0, ("scalar", 1): 0, ("scalar", 2): 0.05, ("kernel", 0): 0, ("kernel", 1): 0.05,
            ("kernel", 2): 0}  # fmt: skip
    areas = {(learner, "uniform", 0, BATCH): none for learner in ("scalar", "kernel")}
    for (learner, lag), loss in lost.items():
        areas[learner, "adarft", lag, BATCH] = BASE + 0.2 - (loss if learner == "scalar" else 0)
        areas[learner, "adarft", lag, GROUP] = BASE + 0.2 - loss - (0.03 if learner == "kernel" else 0)
    what = study("adarft", learners=("scalar", "kernel"), lags=lags)
    row = delivery.safety_table(what, delivery.delivery_table(what, areas, 0.01)).iloc[0]
    assert row["safe_batch"] == 1
    assert np.isnan(row["safe_group"])
    assert row["worst_batch_2"] == pytest.approx(-0.05)
    assert row["worst_group_0"] == pytest.approx(-0.03)
    assert row["gain"] == pytest.approx(0.6)
    assert row["keeps_batch"] == pytest.approx(0.575)


# ---- runs


def test_a_program_is_a_plain_run_with_that_delivery(tmp_path):
    what = study("adarft eta=5", "sec+dapo", learners=("kernel",))
    areas = delivery.run(what, tmp_path, 1)
    law = family.draw_group_law("kernel", 3, 0, 8)
    for one in what.late:
        for lag, kind in ((0, BATCH), (2, BATCH), (2, GROUP)):
            controller = wb.Controller(one.rule, POOL, one.gates, seed=run_seeds(0, 3))
            record = quiet(controller, law, lag, kind)
            np.testing.assert_array_equal(areas["kernel", one.label, lag, kind], record.area())


def quiet(controller, law, lag, kind, steps=6):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wb.StepPerCall)
        warnings.simplefilter("ignore", wb.ShortBatch)
        learner = wb.SimLearner(law, POOL, run_seeds(0, 3))
        return wb.train(controller, learner, steps, 8, 6, 5, lag=lag, delivery=kind)


def test_rules_that_hear_nothing_are_the_same_run_whenever_rewards_come():
    law = family.draw_group_law("scalar", 3, 0, 8)
    deaf = [name for name, rule in RULES.items() if not delivery.hears(Candidate.of(name, 6))]
    assert {"uniform", "linear", "sorted", "frozen"} <= set(deaf)
    assert not {"adarft", "sec", "mopps", "sfl", *GATES} & set(deaf)
    for name in deaf:
        one = Candidate.of(name, 6)
        areas = [quiet(wb.Controller(one.rule, POOL, seed=run_seeds(0, 3)), law, lag, kind).area()
                 for lag, kind in ((0, BATCH), (3, BATCH), (3, GROUP))]  # fmt: skip
        np.testing.assert_array_equal(areas[0], areas[1], err_msg=name)
        np.testing.assert_array_equal(areas[0], areas[2], err_msg=name)


def test_rules_and_gates_that_count_items_are_by_the_group_what_they_are_by_the_batch():
    law, made = family.draw_group_law("scalar", 3, 0, 8), [Candidate.of(name, 12) for name in (*RULES, *GATES)]
    counted = [one for one in made if delivery.hears(one) and delivery.counts_items(one)]
    assert {"mopps", "prioritized", "greso", "dapo", "balanced", "speed"} <= {one.label for one in counted}
    assert not {"adarft", "sec", "tscl", "vcrl", "pcl", "plr"} & {one.label for one in counted}
    for one in counted:
        for lag in (0, 2):
            areas = [quiet(wb.Controller(one.rule, POOL, one.gates, seed=run_seeds(0, 3)), law, lag, kind, 12).area()
                     for kind in DELIVERIES]  # fmt: skip
            np.testing.assert_array_equal(areas[0], areas[1], err_msg=one.label)


def test_every_rule_and_gate_runs_by_default_but_those_that_take_long():
    given = delivery.default_controllers()
    assert {*RULES, *GATES} - set(given) == set(delivery.SLOW)
    for name in given:
        assert Candidate.of(name, 10).label == name


# ---- the command


def test_the_command_writes_tables_and_figures_and_says_what_is_safe(tmp_path, monkeypatch, capsys):
    words = ["delivery", "--tiny", "--jobs", 1, "--out", tmp_path, "--draws", 2, "--steps", 6]
    status, out, err = command(monkeypatch, capsys, *words)
    assert (status, err) == (0, "")
    for name in ("delivery.csv", "safety.csv", "delivery.png", "adarft.pdf"):
        assert (tmp_path / name).stat().st_size
    table = pd.read_csv(tmp_path / "delivery.csv")
    expected = {("uniform", 0, BATCH), *((name, lag, kind) for name in ("adarft", "adarft per=item", "mopps", "dapo")
                                        for lag in delivery.LAGS for kind in DELIVERIES)}  # fmt: skip
    assert set(zip(table["controller"], table["lag"], table["delivery"], strict=True)) == expected
    assert (table.loc[(table["lag"] == 0) & (table["delivery"] == BATCH), "change"] == 0).all()
    assert "Hear nothing, and so do not change: uniform." in out
    assert any(line.startswith("adarft per=item") for line in out.splitlines())
    status, _, _ = command(monkeypatch, capsys, *words, "--controllers", "mopps")
    assert status == 0
    assert not (tmp_path / "adarft.png").exists()


def test_a_killed_study_goes_on_where_it_was(tmp_path):
    words = [sys.executable, ROOT / "sims" / "robustness.py", "delivery", "--tiny", "--steps", "60", "--jobs", "1",
             "--out", tmp_path]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}

    def start():
        return subprocess.Popen(list(map(str, words)), env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)  # fmt: skip

    process, cells = start(), tmp_path / "cells"
    while len(list(cells.glob("[!.]*.parquet"))) < 3 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    before = {path: path.stat().st_mtime_ns for path in cells.glob("[!.]*.parquet")}
    assert 3 <= len(before) < 31
    process = start()
    process.communicate()
    assert process.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    table = pd.read_csv(tmp_path / "delivery.csv")
    assert (len(table), table["ran"].sum()) == (41, 31)


@pytest.mark.parametrize(("words", "line"), [
    (["--controllers", "uniform"], "--controllers: must name one that hears of rewards, got uniform"),
    (["--controllers", "uniform,linear"], "--controllers: must name one that hears of rewards, got uniform, linear"),
    (["--controllers", "adarft,adarft"], "--controllers: must be different from each other, got adarft, adarft"),
    (["--controllers", "adarft eta"], "--controllers: must be NAME setting=value"),
    (["--controllers", "adarft per=group"], "adarft.per: must be one of batch, item, got 'group'"),
    (["--controllers", "speed", "--rollouts", "4"], "rollouts: must be > 4, the first ones of gate SPEED, got 4"),
    (["--learners", "scalar,magic"], "--learners: must be one of"),
    (["--draws", "1"], "--draws: must be a whole number in [2, 100000], got 1"),
    (["--pool", "nowhere"], "--pools: must be among"),
    (["--margin", "2"], "--margin: must be a number in [0, 1], got 2"),
    (["--batch", "0"], "--batch: must be a whole number in [1, 100000], got 0"),
])  # fmt: skip
def test_bad_input_is_one_line_before_any_work(tmp_path, monkeypatch, capsys, words, line):
    status, out, err = command(monkeypatch, capsys, "delivery", "--tiny", "--out", tmp_path / "x", *words)
    assert (status, out) == (2, "")
    assert line in err.splitlines()[-1]
    assert not (tmp_path / "x" / "cells").exists()
