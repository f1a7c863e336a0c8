"""sims/advise.py: from a log to advice, in files; what is wrong is one line; a killed call goes on."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from commands import call

import workbench as wb
from sims import advise

ROOT = Path(__file__).parents[2]
FILES = ("advice.json", "controller.json", "table.csv", "report.txt", "fit.txt", "fit.json")
PAGE = "report.html"
QUICK = ("--learners", "scalar,natural", "--candidates", "uniform,filter,adarft eta=5,mopps", "--steps", 12,
         "--batch", 8, "--rollouts", 4, "--lanes", 8, "--jobs", 1)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A log of a scalar learner, 14 updates x 8 items x 6 attempts, and a pool with labels."""
    path = tmp_path_factory.mktemp("advise")
    pool = wb.Pool(np.linspace(10, 90, 24), ids=[f"q{i}" for i in range(24)])
    pool.save(path / "pool.csv")
    rng, learner = np.random.default_rng(0), wb.SimLearner(wb.ScalarIRT(kappa=0.15, label_noise=0.3), pool, seed=1)
    rows = ["step,item,successes,attempts"]
    for step in range(1, 15):
        items = rng.choice(24, 8, replace=False)
        rewards = learner.attempt(items, 6)
        learner.learn(items, rewards)
        rows += [f"{step},q{i},{int(k)},6" for i, k in zip(items, rewards.sum(axis=1), strict=True)]
    (path / "log.csv").write_text("\n".join(rows) + "\n")
    return path


def words(folder, out, *more):
    return ["--log", folder / "log.csv", "--pool", folder / "pool.csv", *QUICK, "--out", out, *more]


def contents(out):
    return {name: (out / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def clean(folder, tmp_path_factory):
    """The files of an undisturbed call."""
    out = tmp_path_factory.mktemp("clean")
    assert advise.main([str(word) for word in words(folder, out)]) == 0
    return out


def test_a_log_becomes_advice_in_files(folder, clean, tmp_path, monkeypatch, capsys):
    status, printed, said = call(advise, monkeypatch, capsys, *words(folder, tmp_path))
    assert status == 0
    assert "groups: 112" in said
    assert printed.startswith("From the log: groups: 112")
    assert "Use " in printed or "Stay with uniform" in printed
    assert contents(tmp_path) == contents(clean)  # the same seed
    assert json.loads((clean / "fit.json").read_text())["laws"].keys() == {"scalar", "natural"}
    made = json.loads((clean / "controller.json").read_text())
    assert made["steps"] == 12
    page = (clean / PAGE).read_text()
    assert printed.splitlines()[2] in unescape(page)  # the advice
    assert shlex.join(["python", "sims/advise.py", "--log", str(folder / "log.csv")]) in unescape(page)
    assert PAGE in printed.splitlines()[-1]
    assert {path.suffix for path in clean.glob("*.*")} >= {".json", ".csv", ".txt", ".png"}


def test_a_killed_call_goes_on_to_the_same_files_whatever_the_jobs(folder, clean, tmp_path):
    line = [sys.executable, "sims/advise.py", *map(str, words(folder, tmp_path, "--jobs", 2))]
    process = subprocess.Popen(line, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    end = time.monotonic() + 300
    while not list(tmp_path.glob("parts/fits/*.npz")) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = next(iter(tmp_path.glob("parts/fits/*.npz")))
    first.write_bytes(first.read_bytes()[:100])  # and what is damaged is computed again
    assert advise.main([str(word) for word in words(folder, tmp_path)]) == 0
    assert contents(tmp_path) == contents(clean)


def test_a_pool_without_labels_leaves_out_the_candidates_that_read_them(folder, tmp_path, monkeypatch, capsys):
    line = ["--log", folder / "log.csv", *QUICK, "--out", tmp_path]
    status, printed, _ = call(advise, monkeypatch, capsys, *line)
    assert status == 0
    assert "adarft eta=5 was left out: " in printed
    assert json.loads((tmp_path / "advice.json").read_text())["left_out"].keys() >= {"adarft eta=5"}


def test_futures_with_a_lag_are_of_late_rewards_and_the_report_says_so(folder, clean, tmp_path, monkeypatch, capsys):
    shutil.copytree(clean / "parts" / "fits", tmp_path / "parts" / "fits")
    status, printed, _ = call(advise, monkeypatch, capsys, *words(folder, tmp_path, "--lag", 2))
    assert status == 0
    assert "In these futures the curriculum hears of rewards 2 batches late." in printed
    assert "and rewards that arrive group by group." in printed
    late, now = (json.loads((out / "advice.json").read_text()) for out in (tmp_path, clean))
    assert (late["lag"], now["lag"]) == (2, 0)
    assert "batches late" not in (clean / "report.txt").read_text()
    final = [{row["controller"]: row["final"] for row in advice["candidates"]} for advice in (late, now)]
    assert [final[0][name] == final[1][name] for name in ("uniform", "filter")] == [True, True]  # they hear nothing
    assert final[0]["mopps"] != final[1]["mopps"]


@pytest.mark.parametrize(("more", "said"), [
    (("--learners", "scalar,scalar"), "learners: must name each learner once"), (("--learners", "zzz"), "zzz"),
    (("--candidates", "uniform,zzz"), "candidates"), (("--candidates", "adarft eta"), "NAME setting=value"),
    (("--candidates", "adarft,adarft"), "candidates: must differ"),
    (("--candidates", ","), "--candidates: must be names"),
    (("--batch", 25), "batch: must be at most the 24 items of the pool, got 25"),
    (("--rollouts", 1), "rollouts: must be"),
    (("--steps", 1), "--steps: must be"), (("--lanes", 7), "--lanes: must be"), (("--seed", "x"), "seed: must be"),
    (("--success", "x"), "success: must be"), (("--order", "x"), "--order: must be one of"),
    (("--pool", "gone.csv"), "gone.csv"), (("--log", "gone.csv"), "gone.csv"),
    (("--labels-cost", -1), "labels_cost: must"), (("--lag", -1), "--lag: must be a whole number in [0, 10000]"),
    (("--lag", "x"), "--lag: must be a whole number in [0, 10000], got 'x'"),
])  # fmt: skip
def test_bad_input_is_one_line_before_work_begins(more, said, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("workbench.calibration.calibrate.Task.fit", None)  # it would not be called
    status, printed, error = call(advise, monkeypatch, capsys, *words(folder, tmp_path / "out", *more))
    assert (status, printed) == (2, "")
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert error.splitlines()[-1] == lines[0]
    assert said in lines[0]


@pytest.mark.parametrize(("text", "said"), [
    ("", "log"), ("step,item,reward\n1,q1,0.5\n", "must be 0 or 1"),
    ("step,item,reward\n1,q1,\n", "at least one value"),
    ("step,item,reward\n1,q1,1\n1,q1,1.5\n", "got 1.5 at row 1"), ("step,item,reward\n1,q1,-1\n", "got -1 at row 0"),
    ("step,item,reward\n1,q1,well done\n", "reward: must be numbers, or true and false, got 'well done'"),
    ("step,item,reward\n2,q1,1\n1,q1,0\n", "must not go down"),
    ("step,item,successes,attempts\n" + "1,q1,1,4\n2,q1,2,4\n" * 2, "run=COLUMN names the runs"),
    ("step,item,reward,split\n1,q1,1,algebra\n", "split: must be train, or eval"),
    ("step,item,reward,split\n1,q1,1,test\n", "split: must have rows of training"),
    ("step,item,successes,attempts\n1,q1,9,8\n", "successes"),
    ("\n".join(["step,item,reward", *(f"{s},{i},{s % 2}" for s in range(12) for i in ("q1", "x1", "x2", "x3", "x4"))]),
     "got 4 of 5 items that do not, such as 'x1', 'x2', 'x3'"),
    ("\n".join(["step,item,successes,attempts", *(f"{s},q{s},8,8" for s in range(12))]),
     "a group with successes and failures"),
    ("\n".join(["step,item,successes,attempts", *(f"{s},q{s},4,8" for s in range(9))]), "at least 10 updates, got 9"),
    ("\n".join(["step,item,successes,attempts", *(f"{s},q1,4,8" for s in range(12))]), "at least two items"),
])  # fmt: skip
def test_a_log_that_cannot_be_used_is_one_line(text, said, folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "log.csv").write_text(text)
    line = ["--log", tmp_path / "log.csv", "--pool", folder / "pool.csv", *QUICK, "--out", tmp_path / "out"]
    status, printed, error = call(advise, monkeypatch, capsys, *line)
    assert (status, printed) == (2, "")
    (last,) = (text for text in error.splitlines() if text.startswith("error: "))
    assert said in last
    with pytest.raises(wb.InputError) as refused:  # the other door
        wb.calibrate(tmp_path / "log.csv", wb.Pool.load(folder / "pool.csv"), ["scalar"], progress=False)
    assert f"error: {refused.value}" == last


def test_a_learner_or_a_candidate_twice_is_one_line_at_both_doors(folder):
    log, pool = wb.Log.load(folder / "log.csv"), wb.Pool.load(folder / "pool.csv")
    with pytest.raises(wb.InputError, match=r"^learners: must name each learner once, got 'scalar' twice$"):
        wb.calibrate(log, pool, ["scalar", "scalar"])
    fit = wb.calibrate(log, pool, ["scalar"], enough=20.0, progress=False)
    with pytest.raises(wb.InputError, match=r"^candidates: must differ, got uniform, adarft, adarft$"):
        wb.advise(fit, 12, 8, 4, ["adarft", "adarft"])


def test_a_log_of_a_steered_run_is_taken_and_the_report_says_what_it_is_given(folder, tmp_path, monkeypatch, capsys):
    pool, rows = wb.Pool.load(folder / "pool.csv"), ["step,item,reward"]
    learner = wb.SimLearner(wb.ScalarIRT(kappa=0.02, label_noise=0.3), pool, seed=1)
    controller = wb.Controller(wb.AdaRFT(eta=1.0), pool, seed=0)
    for step in range(1, 31):
        items = controller.next_batch(4)
        rewards = learner.attempt(items, 4)
        learner.learn(items, rewards)
        controller.observe(items, rewards)
        rows += [f"{step},q{i},{bool(r)}" for i, group in zip(items, rewards, strict=True) for r in group]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    line = ["--log", tmp_path / "log.csv", "--pool", folder / "pool.csv", *QUICK, "--out", tmp_path / "out"]
    status, printed, _ = call(advise, monkeypatch, capsys, *line)
    assert status == 0
    said = "items were tried more unevenly than by uniform sampling: what the log says is given the items that a rule"
    assert said in printed
    assert said in (tmp_path / "out" / "fit.txt").read_text()


def test_a_first_look_has_fewer_learners_and_candidates(folder, tmp_path):
    line = ["--log", folder / "log.csv", "--pool", folder / "pool.csv", "--tiny", "--batch", 8, "--jobs", 1]
    assert advise.main([str(word) for word in [*line, "--out", tmp_path]]) == 0
    found = json.loads((tmp_path / "advice.json").read_text())
    assert found["weights"].keys() == {"scalar", "natural", "tabular"}
    assert {row["controller"] for row in found["candidates"]} == {"uniform", "filter", "adarft", "mopps"}
