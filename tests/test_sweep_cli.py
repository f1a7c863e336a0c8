"""The sweep as a user meets it: the command, its files, its words, and what it survives."""

import contextlib
import io
import json
import os
import re
import resource
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench.presets import LAWS, RULES

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "sims" / "sweep.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
DEADLINE = 120  # seconds, for anything a test waits for

# 24 cells of 0.1 s or so, each a chunk of its own, because a step of one cell fills the rollouts of a chunk.
STUDY = shlex.split(
    "--pools items.csv --learners scalar --controllers filter,adarft --set adarft.eta=5,50 --set scalar.kappa=0.02,0.1 "
    "--seeds 3 --steps 20 --batch 32 --rollouts 4096 --eval-every 10 --out study"
)
CELLS, RECORDS = 24, 3
FIGURES = ["learning_curves", "target_difficulty", "speedup", "heat_map"]
TABLES = ["curves.parquet", "manifest.json", "runs.parquet", "summary.csv"]
FILES = {*TABLES, *(f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "png"))}
SMALL = shlex.split(
    "--pools items.csv --learners scalar --controllers adarft --seeds 2 --steps 4 --batch 8 --rollouts 4 "
    "--eval-every 2 --jobs 1 --out study"
)


def write_items(folder):
    """96 items; 3 rows repeat the prompt of an earlier one, 2 of them with another difficulty."""
    frame = pd.DataFrame({"prompt": [f"What is {i} + {i}?" for i in range(96)], "difficulty": np.linspace(0, 100, 96)})
    frame.loc[[50, 60, 70], "prompt"] = frame["prompt"][[5, 6, 6]].to_numpy()
    frame.loc[70, "difficulty"] = frame["difficulty"][6]
    frame.to_csv(folder / "items.csv", index=False)
    return folder


def start(folder, *options, **how):
    """The command in a process group of its own, in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(SCRIPT), *STUDY, *options],
        cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **how,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=DEADLINE)
    return SimpleNamespace(code=process.returncode, out=out, err=err)


def run(folder, *options, **how):
    return finish(start(folder, *options, **how))


def said(result):
    """Lines on stderr, without the progress bar."""
    return [line for line in re.split(r"[\r\n]+", result.err) if line and not line.startswith("sweep:")]


def wait_until(true):
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def cell_files(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "study" / "cells").glob("*.parquet")}


def records_per_cell(folder):
    return Counter(cell for path in cell_files(folder) for cell in pd.read_parquet(path)["cell"])


def contents(folder):
    """Final files of the study -> bytes; a name that ought not to be there is there too."""
    return {path.name: path.read_bytes() for path in (folder / "study").iterdir() if path.is_file()}


def tree(folder):
    """Every file and folder of the study but the cells, whose files may be cut otherwise."""
    return sorted(path.name for path in (folder / "study").iterdir())


# ---- the undisturbed run; another one knocks at its folder meanwhile


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = write_items(tmp_path_factory.mktemp("undisturbed"))
    first = start(folder, "--jobs", "1")
    wait_until(lambda: cell_files(folder))
    os.kill(first.pid, signal.SIGSTOP)  # the first is in the middle of its work for as long as the second needs
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "study").rglob("*")}
    second = run(folder, "--jobs", "1")
    untouched = before == {path.name: path.stat().st_mtime_ns for path in (folder / "study").rglob("*")}
    os.kill(first.pid, signal.SIGCONT)
    result = finish(first)
    return SimpleNamespace(folder=folder, out=folder / "study", result=result, second=second, untouched=untouched)


def test_a_sweep_ends_well_and_leaves_these_files_and_no_others(undisturbed):
    assert undisturbed.result.code == 0, undisturbed.result.err
    assert tree(undisturbed.folder) == sorted([".lock", "cells", *FILES])
    assert contents(undisturbed.folder).pop(".lock") == b""
    assert records_per_cell(undisturbed.folder).values() == {RECORDS} or set(
        records_per_cell(undisturbed.folder).values()
    ) == {RECORDS}
    assert len(records_per_cell(undisturbed.folder)) == CELLS


def test_a_second_sweep_into_the_same_folder_is_refused_and_harms_nothing(undisturbed):
    assert undisturbed.second.code == 2
    (line,) = (line for line in said(undisturbed.second) if not line.startswith("items:"))
    assert line.startswith("error: --out: must be free, but another sweep is writing to 'study'")
    assert undisturbed.second.out == ""
    assert undisturbed.untouched
    assert undisturbed.result.code == 0


def test_the_tables_have_the_columns_of_the_contract_and_a_row_for_everything(undisturbed):
    keys = ["pool", "learner", "controller", "law", "rule", "adarft.eta", "scalar.kappa"]
    deciles = [f"success_{stratum}" for stratum in range(10)]
    curves = pd.read_parquet(undisturbed.out / "curves.parquet")
    assert list(curves.columns) == [
        *keys, "seed", "step", "rollouts", "success", *deciles, "target", "reward", "batch_difficulty",
        "silent_share", "coverage",
    ]  # fmt: skip
    assert len(curves) == CELLS * RECORDS
    runs = pd.read_parquet(undisturbed.out / "runs.parquet")
    assert list(runs.columns) == [
        *keys, "seed", "threshold", "steps_to_threshold", "reached", "rollouts_to_threshold", "auc", "final",
        "silent_share", "coverage",
    ]  # fmt: skip
    assert len(runs) == CELLS
    summary = pd.read_csv(undisturbed.out / "summary.csv")
    estimates = ["steps", "speedup", "auc", "auc_gain", "final"]
    assert set(summary.columns) == {
        *keys, *(name + end for name in estimates for end in ("", "_low", "_high")), "seeds", "threshold", "censored",
        "rollouts", "p", "p_holm", "improvement", "silent_share", "coverage", "verdict",
    }  # fmt: skip
    assert list(summary[["learner", "controller"]].itertuples(index=False, name=None)) == [
        (f"scalar kappa={kappa}", controller)
        for kappa in ("0.02", "0.1")
        for controller in ("uniform", "filter", "adarft eta=5", "adarft eta=50")
    ]
    assert set(summary["pool"]) == {"items"}
    assert (summary["seeds"] == 3).all()
    assert summary.set_index("controller")["adarft.eta"].dropna().to_dict() == {"adarft eta=5": 5, "adarft eta=50": 50}
    assert summary["scalar.kappa"].tolist() == [0.02] * 4 + [0.1] * 4


def test_the_summary_is_that_of_the_runs_and_the_runs_those_of_the_curves(undisturbed):
    curves = pd.read_parquet(undisturbed.out / "curves.parquet")
    runs = pd.read_parquet(undisturbed.out / "runs.parquet")
    last = curves[curves["step"] == 20].reset_index(drop=True)
    assert runs["final"].to_numpy() == pytest.approx(last["success"].to_numpy())
    summary = pd.read_csv(undisturbed.out / "summary.csv")
    mean = runs.groupby(["learner", "controller"], sort=False)["steps_to_threshold"].mean()
    assert summary["steps"].to_numpy() == pytest.approx(mean.to_numpy(), rel=1e-5)


def test_the_manifest_says_what_ran_on_what(undisturbed):
    told = json.loads((undisturbed.out / "manifest.json").read_text())
    for name, value in {"seeds": 3, "steps": 20, "batch": 32, "rollouts": 4096, "eval_every": 10}.items():
        assert told[name] == value
    assert told["threshold"] == 0.8
    (pool,) = told["pools"]
    assert (pool["name"], pool["items"]) == ("items", 96)
    assert len(told["arms"]) == 8
    arm = told["arms"][-1]
    assert arm["rule"] | {"class": "AdaRFT", "eta": 50.0, "beta": 0.5, "alpha": 2.0, "ties": "random"} == arm["rule"]
    assert arm["law"] | {"class": "ScalarIRT", "kappa": 0.1, "gamma": 1.0, "forgetting": 0.0} == arm["law"]
    assert arm["law"]["signal"]["class"] == "RLOO"
    assert told["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["versions"]["numpy"] == np.__version__
    assert {"scipy", "pandas", "matplotlib", "pyarrow", "numba"} <= told["versions"].keys()
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert (told["git_commit"] or "").removesuffix("+changes") == head


def test_every_figure_is_there_for_paper_and_screen(undisturbed):
    for name in FIGURES:
        pdf = (undisturbed.out / f"{name}.pdf").read_bytes()
        png = (undisturbed.out / f"{name}.png").read_bytes()
        assert pdf.startswith(b"%PDF-")
        assert pdf.rstrip().endswith(b"%%EOF")
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert png.endswith(b"IEND\xaeB`\x82")


def test_the_printed_table_is_the_summary(undisturbed):
    lines = undisturbed.result.out.splitlines()
    summary = pd.read_csv(undisturbed.out / "summary.csv")
    for learner, block in summary.groupby("learner"):
        (at,) = (i for i, line in enumerate(lines) if line.startswith(f"items / {learner}  ("))
        assert f"{block['threshold'].iloc[0]:.3f}" in lines[at]
        for word in ("controller", "steps to threshold", "censored", "rollouts", "speed-up", "area", "final"):
            assert word in lines[at + 1]
        for word in ("silent", "covered", "against uniform"):
            assert word in lines[at + 1]
        for line, row in zip(lines[at + 2 :], block.to_dict("records"), strict=False):
            assert line.startswith(f"  {row['controller']} ")
            for number in (f"{row['steps']:.0f} [", f"{row['censored']}/3", f"{row['auc']:.3f}", f"{row['final']:.3f}"):
                assert number in line
            assert row["verdict"] in line
            if row["verdict"] != "baseline":
                assert f"{row['speedup']:.2f} [" in line
    assert "AdaRFT" in undisturbed.result.out
    assert "study: runs.parquet curves.parquet summary.csv manifest.json" in lines[-1]
    assert all(name in lines[-1] for name in FIGURES)


def test_progress_goes_to_stderr_and_the_table_to_stdout(undisturbed):
    assert f"{CELLS}/{CELLS}" in undisturbed.result.err
    assert "run/s" in undisturbed.result.err
    assert "run/s" not in undisturbed.result.out
    assert "steps to threshold" not in undisturbed.result.err


def test_rows_that_repeat_a_prompt_are_counted_not_hidden(undisturbed):
    (line,) = said(undisturbed.result)
    assert line.startswith("items: 3 of 96 rows repeat an earlier prompt, 2 of them with another difficulty")


# ---- killed


def alive(group):
    """Processes of a process group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, process_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state != "Z":
                found.append(path.parent.name)
    return found


@pytest.fixture(scope="module")
def killed(undisturbed, tmp_path_factory):
    """The same command, killed at three moments and then left alone."""
    folder = write_items(tmp_path_factory.mktemp("killed"))
    steps = []

    def start_and_kill(when, kill, jobs):
        process = start(folder, "--jobs", jobs)
        wait_until(lambda: when() or process.poll() is not None)
        kill(process.pid, signal.SIGKILL)
        assert process.wait(DEADLINE) == -signal.SIGKILL, "it ended before it could be killed"
        if Path("/proc/self/stat").exists():
            wait_until(lambda: not alive(process.pid))
        process.stdout.close()
        process.stderr.close()
        steps.append(SimpleNamespace(cells=cell_files(folder), names=set(tree(folder))))

    def drawing():
        here = set(tree(folder)) if (folder / "study").exists() else set()
        return here >= set(TABLES) and any(n.startswith(".") and n != ".lock" for n in here)

    start_and_kill(lambda: cell_files(folder), os.kill, "1")
    start_and_kill(lambda: len(cell_files(folder)) > len(steps[0].cells) + 3, os.kill, "2")  # only the parent
    start_and_kill(drawing, os.killpg, "2")
    result = run(folder, "--jobs", "2")
    return SimpleNamespace(folder=folder, steps=steps, result=result)


def test_after_kill_9_the_same_command_ends_with_the_files_of_an_undisturbed_run(killed, undisturbed):
    assert killed.result.code == 0, killed.result.err
    assert contents(killed.folder) == contents(undisturbed.folder)
    assert killed.result.out == undisturbed.result.out


def test_nothing_that_a_killed_sweep_was_writing_stays_behind(killed, undisturbed):
    assert tree(killed.folder) == tree(undisturbed.folder)
    assert not [path for path in (killed.folder / "study").rglob("*") if path.name.startswith(".part-")]


def test_a_killed_sweep_had_kept_some_cells_and_not_all(killed):
    counts = [len(step.cells) for step in killed.steps]
    assert 0 < counts[0] < counts[1] < CELLS
    assert not killed.steps[0].names & FILES
    assert not killed.steps[1].names & FILES


def test_finished_cells_are_not_computed_again(killed):
    now = cell_files(killed.folder)
    for step in killed.steps:
        assert step.cells.items() <= now.items()
    assert set(records_per_cell(killed.folder).values()) == {RECORDS}


def test_no_worker_outlives_its_killed_parent(killed):
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc to look for processes in")
    assert len(killed.steps) == 3  # the fixture waited after each kill until none was left


# ---- damaged files and a full disk


def limited(size):
    """For a process that must not grow a file beyond `size` bytes, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.fixture(scope="module")
def starved(undisturbed, tmp_path_factory):
    """Two cell files damaged, no final files; then no room for a cell, no room for a figure, and room."""
    folder = write_items(tmp_path_factory.mktemp("starved"))
    shutil.copytree(undisturbed.folder / "study" / "cells", folder / "study" / "cells")
    cut, flipped, *kept = sorted(cell_files(folder))
    cut.write_bytes(cut.read_bytes()[:-100])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 4
    flipped.write_bytes(data)
    (folder / "study" / ".part-left").write_text("half")
    (folder / "study" / "cells" / ".part-left.parquet").write_text("half")
    before = cell_files(folder)
    record = SimpleNamespace(folder=folder, damaged=[cut, flipped], kept={path: before[path] for path in kept})
    record.no_cell = run(folder, "--jobs", "2", preexec_fn=limited(4_000))
    record.names_no_cell = {path.name for path in (folder / "study").rglob("*")}
    record.no_figure = run(folder, "--jobs", "1", preexec_fn=limited(36_000))
    record.names_no_figure = set(tree(folder))
    record.whole = {name: data for name, data in contents(folder).items() if name in FILES}
    record.enough = run(folder, "--jobs", "1")
    return record


def test_a_damaged_cell_file_is_named_and_never_read(starved):
    for path in starved.damaged:
        (line,) = (line for line in said(starved.no_cell) if path.name in line)
        assert "damaged" in line
    assert not any(path.name in starved.enough.err for path in starved.damaged)


def test_a_full_disk_ends_with_one_clear_line_and_no_half_written_file(starved):
    assert starved.no_cell.code == 1
    *_, line = said(starved.no_cell)
    assert re.match(r"error: cannot write study/cells/\w+\.parquet: File too large; .*run the same command again", line)
    assert "Traceback" not in starved.no_cell.err
    assert starved.no_cell.out == ""
    assert starved.names_no_cell == {".lock", "cells", *(path.name for path in starved.kept)}


def test_a_disk_that_fills_up_while_figures_are_drawn_ends_the_same_way(starved, undisturbed):
    assert starved.no_figure.code == 1
    assert "Traceback" not in starved.no_figure.err
    *_, line = said(starved.no_figure)
    assert re.match(r"error: cannot write study/\w+\.(png|pdf): File too large; .*run the same command again", line)
    assert set(TABLES) <= starved.names_no_figure <= {".lock", "cells", *FILES}
    assert starved.whole.items() <= contents(undisturbed.folder).items()


def test_with_room_again_the_same_command_ends_with_the_same_files(starved, undisturbed):
    assert starved.enough.code == 0, starved.enough.err
    assert contents(starved.folder) == contents(undisturbed.folder)
    assert tree(starved.folder) == tree(undisturbed.folder)
    assert starved.enough.out == undisturbed.result.out


def test_damage_and_a_full_disk_cost_only_the_damaged_cells(starved):
    assert starved.kept.items() <= cell_files(starved.folder).items()
    assert set(records_per_cell(starved.folder).values()) == {RECORDS}
    assert len(records_per_cell(starved.folder)) == CELLS


# ---- other studies; the script runs in this process, as `python sims/sweep.py` would


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Function that runs the script with the small study and these options in an empty folder."""
    write_items(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def command(*options):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *SMALL, *options])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        summary = tmp_path / "study" / "summary.csv"
        return SimpleNamespace(
            code=ended.value.code or 0, out=out.getvalue(), err=err.getvalue(), folder=tmp_path,
            summary=pd.read_csv(summary) if summary.exists() else None,
        )  # fmt: skip

    return command


def test_settings_that_are_names_are_crossed_too(sweep):
    result = sweep("--set", "adarft.ties=random,first", "--set", "scalar.signal=rloo,grpo")
    assert result.code == 0, result.err
    assert set(zip(result.summary["learner"], result.summary["controller"], strict=True)) == {
        (f"scalar signal={signal}", controller)
        for signal in ("rloo", "grpo")
        for controller in ("uniform", "adarft ties=random", "adarft ties=first")
    }
    assert set(result.summary["adarft.ties"].dropna()) == {"random", "first"}
    assert set(result.summary["scalar.signal"]) == {"rloo", "grpo"}
    assert (result.folder / "study" / "heat_map.pdf").exists()


@pytest.mark.parametrize("design", ["sobol", "lhs"])
def test_a_space_filling_design_stays_in_its_ranges(sweep, design):
    options = ["--design", design, "--points", "4", "--seeds", "1", "--steps", "2"]
    result = sweep(*options, "--set", "adarft.eta=5:50", "--set", "scalar.kappa=0.01:0.1:log")
    assert result.code == 0, result.err
    arms = result.summary[result.summary["rule"] == "adarft"]
    assert len(arms) == arms["adarft.eta"].nunique() == arms["scalar.kappa"].nunique() == 4
    assert arms["adarft.eta"].between(5, 50).all()
    assert arms["scalar.kappa"].between(0.01, 0.1).all()
    assert (result.folder / "study" / "heat_map.pdf").exists()
    points = json.loads((result.folder / "study" / "manifest.json").read_text())["points"]
    assert [point["adarft.eta"] for point in points] == pytest.approx(arms["adarft.eta"].tolist())


def test_tiny_is_a_slice_of_the_default_study_and_options_still_count(sweep):
    command = "--tiny --seeds 1 --steps 2 --batch 4 --rollouts 2"
    result = sweep(*shlex.split(command))
    assert result.code == 0, result.err
    assert set(result.summary["pool"]) == {"items"}
    told = json.loads((result.folder / "study" / "manifest.json").read_text())
    assert {name: told[name] for name in ("seeds", "steps", "batch", "rollouts")} == {
        "seeds": 1, "steps": 2, "batch": 4, "rollouts": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        "--controllers uniform",
        "--controllers filter,band",  # none of them has a target to draw
        "--controllers adarft,frozen --set adarft.eta=5,50 --set frozen.target=20,80",  # no arm has both
        f"--seeds 1 --steps 1 --set adarft.eta={','.join(map(str, range(1, 51)))}",  # more than a figure can show
    ],
    ids=["baseline alone", "no target", "unrelated parameters", "many settings"],
)
def test_a_figure_that_cannot_be_drawn_does_not_cost_the_table(sweep, options):
    result = sweep(*shlex.split(options))
    assert result.code == 0, said(result)
    assert "steps to threshold" in result.out
    assert set(TABLES) <= set(tree(result.folder))


def test_two_parameters_that_no_run_has_together_are_refused_before_any_work(sweep):
    result = sweep(
        "--controllers", "adarft,frozen", "--set", "adarft.eta=5,50", "--set", "frozen.target=20,80",
        "--heat", "adarft.eta,frozen.target",
    )  # fmt: skip
    assert result.code == 2
    assert not (result.folder / "study").exists()


def test_help_explains_every_option_with_its_default(sweep):
    result = sweep("--help")
    assert result.code == 0
    text = " ".join(result.out.split("options:")[1].split())
    told = dict(re.findall(r" --([a-z-]+) (?:[A-Z,=]+ )?([^ -].*?)(?=(?: --[a-z-]+ [A-Z])|(?: --tiny)|$)", text))
    assert told.keys() == {
        "pools", "controllers", "learners", "seeds", "steps", "batch", "rollouts", "eval-every", "set", "design",
        "points", "threshold", "heat", "jobs", "out", "tiny",
    }  # fmt: skip
    assert all("(default: " in line or "; default: " in line for option, line in told.items() if option != "tiny")
    for name in (*RULES, *LAWS, "skew-difficult", "rloo"):
        assert name in result.out


# ---- bad input

BAD_FILES = {
    "empty.csv": "difficulty\n",
    "nothing.csv": "",
    "empty.jsonl": "",
    "nan.csv": "id,difficulty\n1,10\n2,\n",
    "range.csv": "difficulty\n10\n101\n",
    "below.jsonl": '{"difficulty": 5}\n{"difficulty": -0.5}\n',
    "words.csv": "difficulty\n" + "10\n" * 40 + "hard\n" + "20\n" * 40,
    "counts.csv": "difficulty,successes,attempts\n" + "10,many,128\n" * 40,
    "column.csv": "hardness\n10\n",
    "broken.jsonl": '{"difficulty": 5\n',
    "broken.parquet": "this is no parquet file",
    "pool.txt": "difficulty\n10\n",
}
BAD = [  # options, then what the line must name: field, domain, value
    ("--controllers foo", "controllers", "uniform, filter, band, linear, sorted, frozen, adarft", "'foo'"),
    ("--controllers adarft,adarft", "controllers", "different names", "adarft, adarft"),
    ("--controllers ''", "--controllers", "names separated by commas", "''"),
    ("--learners foo", "learners", "scalar, grpo, natural, guess, kernel, tabular", "'foo'"),
    ("--learners scalar,", "--learners", "names separated by commas", "'scalar,'"),
    ("--foo 3", "--foo", "--help", "3"),
    ("--seeds", "--seeds", "expected one argument", ""),
    ("--pools foo", "--pools", "skew-difficult, uniform", "'foo'"),
    ("--pools nowhere.parquet", "pool file", "file that exists", "'nowhere.parquet'"),
    ("--pools pool.txt", "pool file", ".parquet, .jsonl or .csv", "'pool.txt'"),
    ("--pools items.csv,items.csv", "pools", "different names", "items, items"),
    ("--pools empty.csv", "empty.csv: difficulty", ">= 1 items", "(0,)"),
    ("--pools nothing.csv", "pool file", "readable .csv", "'nothing.csv'"),
    ("--pools empty.jsonl", "empty.jsonl", "difficulty", ""),
    ("--pools nan.csv", "nan.csv: difficulty", "[0, 100]", "nan at row 1"),
    ("--pools range.csv", "range.csv: difficulty", "[0, 100]", "101.0 at row 1"),
    ("--pools below.jsonl", "below.jsonl: difficulty", "[0, 100]", "-0.5 at row 1"),
    ("--pools words.csv", "words.csv: difficulty", "[0, 100]", "hard"),
    ("--pools counts.csv", "counts.csv: successes", "attempts", "many"),
    ("--pools column.csv", "column.csv: difficulty", "'difficulty' or 'extra_info.difficulty'", "hardness"),
    ("--pools broken.jsonl", "pool file", "readable .jsonl", "'broken.jsonl'"),
    ("--pools broken.parquet", "pool file", "readable .parquet", "'broken.parquet'"),
    ("--batch 97", "batch", "<= 96", "97"),
    ("--batch 90 --controllers filter", "batch", "<= 76, the items of pool 'items' that OfflineFilter", "90"),
    ("--batch 0", "--batch", "whole number >= 1", "'0'"),
    ("--seeds 0", "--seeds", "whole number >= 1", "'0'"),
    ("--seeds -1", "--seeds", "whole number >= 1", "'-1'"),
    ("--seeds 1.5", "--seeds", "whole number >= 1", "'1.5'"),
    ("--steps x", "--steps", "whole number >= 1", "'x'"),
    ("--rollouts 0", "--rollouts", "whole number >= 1", "'0'"),
    ("--rollouts 1", "rollouts", ">= 2 for signal RLOO", "1"),
    ("--eval-every 0", "--eval-every", "whole number >= 1", "'0'"),
    ("--jobs 0", "--jobs", "whole number >= 1", "'0'"),
    ("--threshold 0", "--threshold", "(0, 1]", "0"),
    ("--threshold nan", "--threshold", "finite number", "'nan'"),
    ("--design foo", "--design", "grid, sobol, lhs", "'foo'"),
    ("--design sobol", "--set", "at least one range", "none"),
    ("--design sobol --points 6 --set adarft.eta=5:50", "points", "power of two", "6"),
    ("--design lhs --points 0 --set adarft.eta=5:50", "--points", "whole number >= 1", "'0'"),
    ("--design lhs --set adarft.eta=5,50", "--set adarft.eta", "LOW:HIGH", "'5,50'"),
    ("--design lhs --set adarft.eta=50:5", "set adarft.eta", "low < high", "50:5"),
    ("--design lhs --set adarft.eta=0:5:log", "set adarft.eta", "low > 0 for log", "0:5"),
    ("--design lhs --set adarft.beta=1.1:1.2", "adarft.beta", "[0, 1]", "1.1"),
    *((f"--set {text}", "--set", "NAME.PARAMETER=VALUES", f"'{text}'") for text in
      ("foo", "eta=5", "adarft.eta", "adarft.eta=", "adarft.=5", ".eta=5", "=5")),
    ("--set adarft.eta=5 --set adarft.eta=6", "--set", "each parameter once", "'adarft.eta=6'"),
    ("--set adarft.eta=5,", "--set adarft.eta", "finite number", "''"),
    ("--set adarft.eta=5:50", "--set adarft.eta", "finite number", "'5:50'"),
    ("--set adarft.eta=inf", "--set adarft.eta", "finite number", "'inf'"),
    ("--set foo.eta=5", "--set", "uniform, filter", "'foo'"),
    ("--set adarft.foo=5", "adarft.foo", "beta, alpha, eta", "'foo'"),
    ("--set filter.low=0.2", "'filter.low'", "controller or learner that runs (adarft, scalar)", ""),
    ("--set adarft.eta=-1", "adarft.eta", ">= 0", "-1"),
    ("--set adarft.beta=0.5,1.5", "adarft.beta", "[0, 1]", "1.5"),
    ("--set adarft.ties=last", "adarft.ties", "random, first", "'last'"),
    ("--set adarft.low=60 --set adarft.high=50", "adarft.low", "low < high", "60"),
    ("--set scalar.signal=foo", "scalar.signal", "rloo, mean, grpo", "'foo'"),
    ("--set scalar.gamma=2", "scalar.gamma", "[0, 1]", "2"),
    ("--set adarft.eta=5,50 --heat adarft.eta,scalar.kappa", "--heat", "swept parameters (adarft.eta)", "scalar.kappa"),
    ("--out items.csv", "--out", "folder that can be written", "'items.csv'"),
    ("--out items.csv/below", "--out", "folder that can be written", "'items.csv/below'"),
    ("--out ''", "--out", "folder", "''"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "field", "domain", "value"), BAD, ids=[case[0] for case in BAD])
def test_bad_input_gets_one_line_that_names_field_domain_and_value(sweep, tmp_path, options, field, domain, value):
    for name, text in BAD_FILES.items():
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    result = sweep(*shlex.split(options))
    lines = [line for line in result.err.splitlines() if not line.startswith("items: 3 of 96 rows")]
    assert result.code == 2
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: ")
    for part in (field, domain, value):
        assert part in lines[0]
    assert result.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_input_ends_the_real_process_with_status_2_and_one_line(tmp_path):
    write_items(tmp_path)
    result = run(tmp_path, "--pools", "narrow", "--set", "adarft.beta=2")
    assert result.code == 2
    assert result.err == "error: adarft.beta: must be a number in [0, 1], got 2.0\n"
    assert result.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["items.csv"]
