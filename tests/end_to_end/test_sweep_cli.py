"""The sweep as a user meets it: the command, its files, its words, and what it survives."""

import contextlib
import io
import json
import os
import re
import resource
import runpy
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from workbench import figures
from workbench.analysis.ranking import OVERALL
from workbench.analysis.tables import COSTS, summary_table
from workbench.pool import PRESETS
from workbench.registry import GATES, LAWS, RULES
from workbench.study.study import BUDGETS, ROLLOUTS_IN_CACHE

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "sims" / "sweep.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
DEADLINE = 120  # seconds, for anything a test waits for

# 24 cells, each a chunk of its own because one step of it fills the rollouts of a chunk, and slow enough to be killed.
ROLLOUTS = ROLLOUTS_IN_CACHE // 32
STUDY = shlex.split(
    "--pools items.csv --learners scalar --controllers filter,adarft --set adarft.eta=5,50 "
    f"--seeds 6 --steps 30 --batch 32 --rollouts {ROLLOUTS} --eval-every 15 --out study"
)
CELLS, RECORDS = 24, 3
FIGURES = ["learning_curves", "target_difficulty", "speedup"]
TABLES = ["curves.parquet", "manifest.json", "ranking.csv", "runs.parquet", "summary.csv"]
FILES = {*TABLES, "report.html", *(f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "png"))}
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
    frame[["difficulty"]].assign(level=np.arange(96) // 24).to_csv(folder / "levels.csv", index=False)
    return folder


def start(folder, *options, env=ENVIRONMENT, preexec_fn=None):
    """The command in a process group of its own, in `folder`, as from a terminal."""

    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell ignores it for what it runs behind itself
        if preexec_fn:
            preexec_fn()

    return subprocess.Popen(
        [sys.executable, "-W", "error", str(SCRIPT), *STUDY, *options],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=prepare,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=DEADLINE)
    return SimpleNamespace(code=process.returncode, out=out, err=err)


def run(folder, *options, **how):
    return finish(start(folder, *options, **how))


def said(result):
    """Lines on stderr, without the progress bar, notes about pools, and that of seeds it takes."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", result.err)]
    known = ("sweep:", "--seeds ", "pool '")
    return [line for line in lines if line and not line.startswith(known) and "repeat an earlier prompt" not in line]


def wait_until(true):
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def cell_files(folder):
    """Files of finished cells -> when they were written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "study" / "cells").glob("[!.]*.parquet")}


def records_per_cell(folder):
    return Counter(cell for path in cell_files(folder) for cell in pd.read_parquet(path)["cell"])


def contents(folder):
    """Final files of the study -> bytes; a name that ought not to be there is there too."""
    found = {path.name: path.read_bytes() for path in (folder / "study").iterdir() if path.is_file()}
    found.pop(".made.json", None)  # it names the files of cells, which may be cut otherwise
    return found


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
    assert tree(undisturbed.folder) == sorted([".lock", ".made.json", "cells", *FILES])
    assert contents(undisturbed.folder).pop(".lock") == b""
    assert sorted(records_per_cell(undisturbed.folder).values()) == [RECORDS] * CELLS


def test_a_second_sweep_into_the_same_folder_is_refused_and_harms_nothing(undisturbed):
    assert undisturbed.second.code == 2
    (line,) = said(undisturbed.second)
    assert line.startswith("error: --out: must be free, but another process is writing to 'study'")
    assert undisturbed.second.out == ""
    assert undisturbed.untouched
    assert undisturbed.result.code == 0


def test_the_tables_have_the_columns_of_the_contract_and_a_row_for_everything(undisturbed):
    keys = ["pool", "learner", "controller", "law", "rule", "adarft.eta"]
    deciles = [f"success_{stratum}" for stratum in range(10)]
    curves = pd.read_parquet(undisturbed.out / "curves.parquet")
    assert list(curves.columns) == [
        *keys, "seed", "step", "rollouts", "success", *deciles, "target", "reward", "batch_difficulty",
        "silent_share", "coverage", "trained", "probed", "tokens", "forwards", "short", "label_rollouts",
    ]  # fmt: skip
    assert len(curves) == CELLS * RECORDS
    runs = pd.read_parquet(undisturbed.out / "runs.parquet")
    assert list(runs.columns) == [
        *keys, "seed", "threshold", "steps_to_threshold", "reached", "rollouts_to_threshold", "auc", "final",
        "silent_share", "coverage", *COSTS,
    ]  # fmt: skip
    assert len(runs) == CELLS
    summary = pd.read_csv(undisturbed.out / "summary.csv")
    estimates = ["steps", "speedup", "auc", "auc_gain", "final"]
    assert set(summary.columns) == {
        *keys, *(name + end for name in estimates for end in ("", "_low", "_high")), "seeds", "threshold", "censored",
        "rollouts", "rollouts_saved", "p", "p_holm", "improvement", "silent_share", "coverage", "verdict",
        *(f"mean_{name}" for name in COSTS),
    }  # fmt: skip
    assert summary["controller"].tolist() == ["uniform", "filter", "adarft eta=5", "adarft eta=50"]
    assert set(summary["pool"]) == {"items"}
    assert set(summary["learner"]) == {"scalar"}
    assert (summary["seeds"] == 6).all()
    assert summary.set_index("controller")["adarft.eta"].dropna().to_dict() == {"adarft eta=5": 5, "adarft eta=50": 50}
    ranking = pd.read_csv(undisturbed.out / "ranking.csv")
    assert list(ranking.columns) == [
        "learner", "controller", "place", "mean_rank", "mean_rank_low", "mean_rank_high", "worst_rank", "mean_regret",
        "mean_regret_low", "mean_regret_high", "worst_regret", "seeds_to_separate",
    ]  # fmt: skip
    assert list(ranking["learner"]) == ["scalar"] * 4 + [OVERALL] * 4
    assert set(ranking["controller"]) == set(summary["controller"])


def test_the_tables_know_what_a_run_has_spent(undisturbed):
    runs = pd.read_parquet(undisturbed.out / "runs.parquet").set_index("controller")
    assert (runs[["rollouts", "trained"]] == 30 * 32 * ROLLOUTS).all(axis=None)
    assert (runs[["probed", "forwards", "short"]] == 0).all(axis=None)
    assert runs["tokens"].between(200 * 30 * 32 * ROLLOUTS, 2000 * 30 * 32 * ROLLOUTS).all()
    assert (runs.loc["uniform", "label_rollouts"] == 0).all()
    assert runs.loc[["filter", "adarft eta=5", "adarft eta=50"], "label_rollouts"].isna().all()  # a file without counts


def test_the_summary_is_that_of_the_runs_and_the_runs_those_of_the_curves(undisturbed):
    curves = pd.read_parquet(undisturbed.out / "curves.parquet")
    runs = pd.read_parquet(undisturbed.out / "runs.parquet")
    keys = ["pool", "learner", "controller", "seed"]
    last = curves[curves["step"] == 30].set_index(keys)["success"]
    assert runs.set_index(keys)["final"].to_dict() == last.to_dict()
    summary = pd.read_csv(undisturbed.out / "summary.csv")
    mean = runs.groupby(["learner", "controller"], sort=False)["steps_to_threshold"].mean()
    assert summary["steps"].to_numpy() == pytest.approx(mean.to_numpy(), rel=1e-5)


def test_the_manifest_says_what_ran_on_what(undisturbed):
    told = json.loads((undisturbed.out / "manifest.json").read_text())
    for name, value in {"seeds": 6, "steps": 30, "batch": 32, "rollouts": ROLLOUTS, "eval_every": 15}.items():
        assert told[name] == value
    assert told["threshold"] == 0.8
    (pool,) = told["pools"]
    assert (pool["name"], pool["items"]) == ("items", 96)
    assert len(told["arms"]) == 4
    arm = told["arms"][-1]
    assert arm["rule"] | {"class": "AdaRFT", "eta": 50.0, "beta": 0.5, "alpha": 2.0, "ties": "random"} == arm["rule"]
    assert arm["law"] | {"class": "ScalarIRT", "kappa": 0.02, "gamma": 1.0, "forgetting": 0.0} == arm["law"]
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


def test_the_figures_are_those_that_the_tables_give_anywhere(undisturbed, tmp_path):
    curves = pd.read_parquet(undisturbed.out / "curves.parquet")
    summary = summary_table(pd.read_parquet(undisturbed.out / "runs.parquet"), 30)
    figures.save(figures.learning_curves(curves), tmp_path / "learning_curves")
    figures.save(figures.target_trajectories(curves), tmp_path / "target_difficulty")
    figures.save(figures.speedup_forest(summary), tmp_path / "speedup")
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (undisturbed.out / path.name).read_bytes(), path.name
    assert len(list(tmp_path.iterdir())) == 2 * len(FIGURES)


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
            for number in (f"{row['steps']:.0f} [", f"{row['censored']}/6", f"{row['auc']:.3f}", f"{row['final']:.3f}"):
                assert number in line
            assert row["verdict"] in line
            if row["verdict"] != "baseline":
                assert f"{row['speedup']:.2f} [" in line
    assert "study: runs.parquet curves.parquet summary.csv ranking.csv manifest.json" in lines[-1]
    assert all(name in lines[-1] for name in FIGURES)


def test_the_printed_costs_and_ranking_are_those_of_the_tables(undisturbed):
    out = undisturbed.result.out
    summary = pd.read_csv(undisturbed.out / "summary.csv")
    lines = out.split("Costs of a run on items, mean over learners:\n")[1].splitlines()
    for line, row in zip(lines[1:], summary.to_dict("records"), strict=False):
        assert line.strip().startswith(row["controller"])
        assert line.count(f" {row['mean_rollouts']:,.0f} ") == 2  # generated, trained on
        assert ("not known" in line) == (row["controller"] != "uniform")
    ranking = pd.read_csv(undisturbed.out / "ranking.csv")
    lines = out.split("Ranking over learners and pools, by area under the curve:\n")[1].splitlines()
    overall = ranking[ranking["learner"] == OVERALL]
    assert overall["mean_rank"].is_monotonic_increasing
    for line, row in zip(lines[1:], overall.to_dict("records"), strict=False):
        assert re.match(rf" +{row['place']}=? +{re.escape(row['controller'])} +{row['mean_rank']:.1f} \[", line)
        assert f" {row['mean_regret']:.4f} [" in line
    first = ranking["controller"][ranking["learner"] == "scalar"].tolist()
    assert f"  scalar: {', '.join(first[:3])}; last: {first[-1]}" in lines
    assert out.index("Costs of a run") < out.index("Ranking over") < out.index("study: runs.parquet")


def test_progress_goes_to_stderr_and_the_table_to_stdout(undisturbed):
    assert f"{CELLS}/{CELLS}" in undisturbed.result.err
    assert "run/s" in undisturbed.result.err
    assert "run/s" not in undisturbed.result.out
    assert "steps to threshold" not in undisturbed.result.err


def test_rows_that_repeat_a_prompt_are_counted_not_hidden(undisturbed):
    (line,) = (line for line in undisturbed.result.err.splitlines() if line.startswith("items: "))
    assert line.startswith("items: 3 of 96 rows repeat an earlier prompt, 2 of them with another difficulty")


# ---- killed, damaged, and out of disk


class Process(NamedTuple):
    number: int
    parent: int
    group: int
    command: str


def processes():
    """All that still run. None where the system has no /proc."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, group = path.read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                yield Process(int(path.parent.name), int(parent), int(group), path.with_name("cmdline").read_text())


def alive(group, *others):
    return any(process.group == group or process.number in others for process in processes())


def workers(parent):
    return [process.number for process in processes() if process.parent == parent and "spawn_main" in process.command]


def painters(parent):
    return [process.number for process in processes() if process.parent == parent and "painter.py" in process.command]


def largest_file(size):
    """For a process whose disk is full: no file may grow beyond `size` bytes."""
    return {
        "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        "env": ENVIRONMENT | {"PYTHONDONTWRITEBYTECODE": "1"},  # Python would leave a cut .pyc behind
    }


@pytest.fixture(scope="module")
def tormented(undisturbed, tmp_path_factory):
    """One command in one folder: three times killed, once stopped, once its workers and once its painter killed,
    two files damaged, twice no room, peace."""
    folder = write_items(tmp_path_factory.mktemp("tormented"))

    def look(result=None):
        return SimpleNamespace(result=result, cells=cell_files(folder), names=set(tree(folder)), files=contents(folder))

    def start_and_kill(when, kill, jobs):
        process = start(folder, "--jobs", jobs)
        wait_until(lambda: when() or process.poll() is not None)
        hired = painters(process.pid)
        kill(process.pid, signal.SIGKILL)
        assert process.wait(DEADLINE) == -signal.SIGKILL, "it ended before it could be killed"
        wait_until(lambda: not alive(process.pid, *hired))  # nobody outlives the parent, however that dies
        process.stdout.close()
        process.stderr.close()
        return look()

    def drawing():  # after the last table: a draft lies beside the files, or the first figure is there
        here = [path for path in (folder / "study").iterdir() if path.name not in (".lock", "cells")]
        new = [path.name for path in here if path.name.startswith(".") or written_since(path)]
        return "manifest.json" in new and any(name not in TABLES for name in new)

    def written_since(path):
        with contextlib.suppress(FileNotFoundError):  # a draft may have got its name meanwhile
            return path.stat().st_mtime_ns > manifest
        return False

    one = start_and_kill(lambda: cell_files(folder), os.kill, "1")
    two = start_and_kill(lambda: len(cell_files(folder)) > len(one.cells) + 2, os.kill, "2")  # the parent only
    no_worker = None
    if Path("/proc/self/stat").exists():
        process = start(folder, "--jobs", "3")  # two jobs are threads
        wait_until(lambda: len(cell_files(folder)) > len(two.cells) or process.poll() is not None)
        for worker in workers(process.pid):
            os.kill(worker, signal.SIGKILL)  # as a system that is short of memory does
        no_worker = finish(process)
    process = start(folder, "--jobs", "1")
    before = len(cell_files(folder))
    wait_until(lambda: len(cell_files(folder)) > before or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    stopped = look(finish(process))
    cut, flipped = sorted(two.cells)[:2]
    cut.write_bytes(cut.read_bytes()[:-100])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 4
    flipped.write_bytes(data)
    for left in ("study/.part-left", "study/cells/.part-left.parquet"):
        (folder / left).write_text("half")
    no_cell = look(run(folder, "--jobs", "2", **largest_file(4_000)))
    no_figure = look(run(folder, "--jobs", "1", **largest_file(36_000)))
    no_painter = None
    if Path("/proc/self/stat").exists():
        process = start(folder, "--jobs", "1")
        wait_until(lambda: painters(process.pid) or process.poll() is not None)
        for painter in painters(process.pid):
            os.kill(painter, signal.SIGKILL)
        no_painter = look(finish(process))
    manifest = (folder / "study" / "manifest.json").stat().st_mtime_ns
    three = start_and_kill(drawing, os.killpg, "1")
    end = look(run(folder, "--jobs", "1"))
    return SimpleNamespace(
        folder=folder, one=one, two=two, damaged=[cut, flipped], no_cell=no_cell, no_figure=no_figure, three=three,
        end=end, no_worker=no_worker, stopped=stopped, no_painter=no_painter,
    )  # fmt: skip


def test_after_all_that_the_same_command_ends_with_the_files_of_an_undisturbed_run(tormented, undisturbed):
    assert tormented.end.result.code == 0, tormented.end.result.err
    assert tormented.end.files == contents(undisturbed.folder)  # made by one process there, many by two here
    assert tormented.end.result.out == undisturbed.result.out


def test_nothing_that_a_killed_sweep_was_writing_stays_behind(tormented, undisturbed):
    assert tormented.end.names == set(tree(undisturbed.folder))
    assert not list((tormented.folder / "study").rglob(".part-*"))


def test_a_killed_sweep_keeps_what_was_finished(tormented):
    assert 0 < len(tormented.one.cells) < len(tormented.two.cells) < CELLS
    assert tormented.one.cells.items() <= tormented.two.cells.items()  # as they were, not written anew
    for killed in (tormented.one, tormented.two):
        assert killed.names == {".lock", "cells"}


def test_killed_workers_end_the_sweep_with_one_clear_line(tormented):
    if tormented.no_worker is None:
        pytest.skip("no /proc to find a worker in")
    assert tormented.no_worker.code == 1
    assert "Traceback" not in tormented.no_worker.err
    (line,) = said(tormented.no_worker)
    assert re.match("error: .*worker.* run the same command to go on", line)


def test_a_killed_painter_ends_the_sweep_with_one_clear_line_and_the_tables_are_there(tormented):
    if tormented.no_painter is None:
        pytest.skip("no /proc to find a painter in")
    assert tormented.no_painter.result.code == 1
    (line,) = said(tormented.no_painter.result)
    assert re.match("error: .*process that draws figures died.* run the same command to go on", line)
    assert {*TABLES} <= tormented.no_painter.names


def test_a_sweep_that_is_stopped_says_so_in_one_line_and_goes_on_later(tormented):
    assert tormented.stopped.result.code == 130
    assert said(tormented.stopped.result) == ["stopped; what was finished is kept, run the same command to go on"]
    assert tormented.two.cells.items() <= tormented.stopped.cells.items()
    assert tormented.stopped.names == {".lock", "cells"}


def test_only_cells_that_are_missing_or_damaged_are_computed(tormented):
    whole = {path: at for path, at in tormented.two.cells.items() if path not in tormented.damaged}
    for later in (tormented.no_cell, tormented.no_figure, tormented.three, tormented.end):
        assert whole.items() <= later.cells.items()
    assert tormented.no_figure.cells == tormented.three.cells == tormented.end.cells
    assert sorted(records_per_cell(tormented.folder).values()) == [RECORDS] * CELLS


def test_a_damaged_cell_file_is_named_on_a_line_of_its_own(tormented):
    lines = [line for line in said(tormented.no_cell.result) if line.startswith("damaged result file")]
    assert len(lines) == 2
    for path in tormented.damaged:
        assert any(path.name in line for line in lines)
    assert "damaged" not in tormented.no_figure.result.err


def test_a_full_disk_ends_with_one_clear_line_and_no_half_written_file(tormented):
    result = tormented.no_cell.result
    assert result.code == 1
    (line,) = (line for line in said(result) if not line.startswith("damaged"))
    assert re.match(r"error: cannot write study/cells/\w+\.parquet: File too large; .*the same command to go on", line)
    assert result.out == ""
    assert tormented.no_cell.cells.keys() >= tormented.two.cells.keys() - set(tormented.damaged)
    assert not tormented.no_cell.cells.keys() & set(tormented.damaged)
    assert tormented.no_cell.names == {".lock", "cells"}


def test_a_disk_that_fills_up_while_figures_are_drawn_ends_the_same_way(tormented, undisturbed):
    result = tormented.no_figure.result
    assert result.code == 1
    assert "Traceback" not in result.err
    (line,) = said(result)
    assert re.match(r"error: cannot write study/\w+\.(png|pdf): File too large; .*run the same command to go on", line)
    assert {".lock", "cells", *TABLES} <= tormented.no_figure.names <= {".lock", "cells", *FILES}
    assert tormented.no_figure.files.items() <= contents(undisturbed.folder).items()


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


@pytest.fixture
def nobody_paints(monkeypatch):
    """No process is started to draw: it would load for longer than a refusal takes."""
    from sims.comparison import painter

    monkeypatch.setattr(painter, "Painter", contextlib.nullcontext)


def test_settings_that_are_names_are_crossed_too_and_options_count_beside_tiny(sweep):
    result = sweep("--tiny", "--set", "adarft.ties=random,first", "--set", "scalar.signal=rloo,grpo")
    assert result.code == 0, result.err
    assert set(zip(result.summary["learner"], result.summary["controller"], strict=True)) == {
        (f"scalar signal={signal}", controller)
        for signal in ("rloo", "grpo")
        for controller in ("uniform", "adarft ties=random", "adarft ties=first")
    }
    assert set(result.summary["adarft.ties"].dropna()) == {"random", "first"}
    assert set(result.summary["scalar.signal"]) == {"rloo", "grpo"}
    assert (result.folder / "study" / "heat_map.pdf").exists()


def test_lags_and_deliveries_are_swept_as_settings_are(sweep):
    result = sweep("--tiny", "--steps", "6", "--controllers", "adarft", "--lag", "0,2", "--delivery", "batch,group")
    assert result.code == 0, result.err
    assert set(result.summary["controller"]) == {
        "uniform", *(f"adarft lag={lag} delivery={kind}" for lag in (0, 2) for kind in ("batch", "group"))
    }  # fmt: skip
    assert set(result.summary["run.lag"].dropna()) == {0, 2}
    assert (result.folder / "study" / "heat_map.pdf").exists()
    manifest = json.loads((result.folder / "study" / "manifest.json").read_text())
    assert (manifest["lag"], manifest["delivery"]) == ([0, 2], ["batch", "group"])
    assert manifest["arms"][-1]["lag"] == 2


@pytest.fixture
def painter(monkeypatch):
    from sims.comparison import painter

    return painter


def many_arms(learners, controllers):
    rows = [
        {"learner": f"l{i}", "law": f"l{i}", "controller": name, "rule": name, "auc": k / 100,
         "verdict": "baseline" if name == "uniform" else "better"}
        for i in range(learners) for k, name in enumerate(["uniform", *(f"r{c:02d}" for c in range(controllers - 1))])
    ]  # fmt: skip
    summary = pd.DataFrame(rows)
    return summary[["learner", "law", "controller", "rule"]].assign(target=1.0), summary


@pytest.mark.parametrize(("learners", "controllers", "curves", "rows"), [(4, 32, 12, 128), (10, 32, 12, 120)])
def test_figures_of_many_arms_show_the_baseline_and_the_best(painter, capsys, learners, controllers, curves, rows):
    chosen = painter.choose(*many_arms(learners, controllers), None)
    pictures = {picture.name: picture.arguments[0] for picture in chosen}
    shown = set(pictures["learning_curves"]["controller"])
    assert shown == {"uniform", *(f"r{c:02d}" for c in range(controllers - curves, controllers - 1))}
    assert len(pictures["speedup"]) == rows <= painter.MOST_ROWS
    assert "figures show uniform and the best rules by area; 20 are in the tables only" in capsys.readouterr().err


def test_figures_of_many_arms_show_the_rule_in_focus_whatever_its_place(painter):
    chosen = painter.choose(*many_arms(4, 32), None, "r00")
    shown = set(chosen[0].arguments[0]["controller"])
    assert shown == {"uniform", "r00", *(f"r{c:02d}" for c in range(21, 31))}
    (curves, *_), *_ = (picture.arguments for picture in painter.choose(*many_arms(4, 32), None, "r30"))
    assert set(curves["controller"]) == shown - {"r00"} | {"r20"}


def test_the_report_is_about_the_rule_that_leads_or_the_one_in_focus(sweep):
    options = ["--controllers", "frozen,linear,adarft+dapo", "--seeds", "7", "--steps", "8"]
    result = sweep(*options)
    assert result.code == 0, result.err
    ranking = pd.read_csv(result.folder / "study" / "ranking.csv").query("learner == 'all learners'")
    first = next(name for name in ranking["controller"] if name != "uniform")
    heads = [line for line in result.out.splitlines() if "does not win" in line or "wins everywhere here" in line]
    assert len(heads) == 1
    assert first in heads[0].split()
    other = next(name for name in ("linear", "frozen") if name != first)
    focused = sweep(*options, "--focus", other)
    assert focused.code == 0, focused.err
    (head,) = (line for line in focused.out.splitlines() if "does not win" in line or "wins everywhere here" in line)
    assert other in head.split()
    without = [text.replace(h, "") for text, h in ((result.out, heads[0]), (focused.out, head))]
    tables = [text.split("Costs of a run")[1] for text in without]
    assert tables[0] == tables[1], "the rest is the same"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--seeds 5", "--seeds 5: too few to show any difference from uniform; 1 comparison at 5 % takes 6"),
        ("--seeds 6", None),
        ("--seeds 6 --controllers adarft,band,linear,sorted,frozen --learners scalar,grpo",
         "--seeds 6: too few to show any difference from uniform; 10 comparisons at 5 % (Holm-adjusted) take 9"),
    ],
)  # fmt: skip
def test_a_sweep_says_before_it_runs_how_many_seeds_its_comparisons_take(sweep, options, line):
    result = sweep(*options.split())
    assert result.code == 0, result.err
    told = [text for text in re.split(r"[\r\n]+", result.err) if text.startswith("--seeds ")]
    assert told == ([line] if line else [])
    if line:
        assert result.err.index(line) < result.err.index("sweep:"), "before, not after"
        assert "too few seeds" in result.out
    assert ("too few seeds" in result.out) == bool(line)


def test_a_figure_that_nobody_could_read_is_left_out_and_the_others_are_drawn(painter, tmp_path):
    curves = pd.DataFrame({"controller": ["uniform"], "rule": ["uniform"]})
    unreadable, error = painter.attempt([painter.Picture("learning_curves", (curves,))], tmp_path)
    assert list(unreadable) == ["learning_curves"]
    assert error is None
    unreadable, error = painter.attempt([painter.Picture("learning_curves", ())], tmp_path)
    assert not unreadable
    assert isinstance(error, Exception)  # a fault is not an unreadable figure
    assert not list(tmp_path.iterdir())


def test_tiny_is_a_slice_of_the_default_study():
    grids = runpy.run_path(str(SCRIPT.parent / "comparison" / "grids.py"))
    tiny, whole = grids["TINY"], grids["DEFAULT"]
    assert tiny.keys() == whole.keys()
    for name in ("pools", "controllers", "learners"):
        assert tiny[name] == whole[name][: len(tiny[name])] != []
    for name in ("seeds", "steps", "batch", "rollouts"):
        assert 1 <= tiny[name] <= whole[name]
    assert whole["controllers"] == ["uniform", "filter", "band", "linear", "sorted", "frozen", "adarft"]
    assert set(whole["learners"]) <= set(LAWS)


def test_a_space_filling_design_stays_in_its_ranges(sweep):
    options = ["--design", "sobol", "--points", "4", "--seeds", "1", "--steps", "2"]
    result = sweep(*options, "--set", "adarft.eta=5:50", "--set", "scalar.kappa=0.01:0.1:log")
    assert result.code == 0, result.err
    arms = result.summary[result.summary["rule"] == "adarft"]
    assert len(arms) == arms["adarft.eta"].nunique() == arms["scalar.kappa"].nunique() == 4
    assert arms["adarft.eta"].between(5, 50).all()
    assert arms["scalar.kappa"].between(0.01, 0.1).all()
    assert (result.folder / "study" / "heat_map.pdf").exists()
    points = json.loads((result.folder / "study" / "manifest.json").read_text())["points"]
    assert [point["adarft.eta"] for point in points] == pytest.approx(arms["adarft.eta"].tolist())


def test_settings_of_gates_and_settings_that_are_true_or_false_are_crossed_too(sweep):
    result = sweep(
        "--controllers", "e2h,adarft+dapo", "--set", "dapo.max_batches=1,3", "--set", "e2h.min_prob=true,false",
        "--set", "e2h.schedule=gaussian", "--pools", "levels.csv",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.summary["controller"].tolist() == [
        "uniform", "e2h min_prob=True schedule=gaussian", "e2h min_prob=False schedule=gaussian",
        "adarft+dapo dapo.max_batches=1", "adarft+dapo dapo.max_batches=3",
    ]  # fmt: skip
    gated = result.summary.set_index("controller")
    assert gated["dapo.max_batches"].dropna().tolist() == [1, 3]
    assert gated.at["adarft+dapo dapo.max_batches=1", "mean_short"] > 0
    more, less = (gated.at[f"adarft+dapo dapo.max_batches={n}", "mean_rollouts"] for n in (3, 1))
    assert more > less == gated.at["uniform", "mean_rollouts"]
    arm = json.loads((result.folder / "study" / "manifest.json").read_text())["arms"][-1]
    assert (arm["rule"]["class"], arm["gates"]) == ("AdaRFT", [{"class": "DynamicSampling", "max_batches": 3}])
    assert said(result) == []  # short updates are in the table


def test_all_controllers_run_on_a_pool_of_a_preset(sweep):
    result = sweep("--pools", "narrow", "--controllers", "all", "--seeds", "4", "--rollouts", "6")
    assert result.code == 0, result.err
    assert result.summary["controller"].tolist() == [*RULES, *GATES]
    slow = result.summary["controller"].isin(["alp-gmm", "dots", "pcl"])
    assert (result.summary["seeds"] == np.where(slow, 3, 4)).all()
    assert "left out" not in result.err
    costs = result.summary.set_index("controller")
    labels = costs["mean_label_rollouts"]
    assert (labels[labels > 0] == 10_000 * 128).all()
    assert set(labels.index[labels > 0]) == {name for name, rule in RULES.items() if rule.labels}
    assert set(costs.index[costs["mean_probed"] > 0]) == {"sfl", "dots"}
    assert set(costs.index[costs["mean_forwards"] > 0]) == {"dots", "pcl"}
    assert set(costs.index[costs["mean_rollouts"] - costs["mean_probed"] > costs["mean_trained"]]) == {*GATES}
    assert len(pd.read_csv(result.folder / "study" / "ranking.csv")) == 2 * len(RULES | GATES)


def test_all_stands_for_every_pool_learner_and_controller_also_beside_names(monkeypatch):
    from sims.comparison import options

    def study_of(line):
        return options.make_study(options.parser().parse_args(line.split()))

    study = study_of("--pools uniform,all --learners tabular,all --controllers adarft")
    assert [pool.name for pool in study.pools] == list(dict.fromkeys(["uniform", *PRESETS]))
    assert study.learners == list(dict.fromkeys(["tabular", *LAWS]))
    study = study_of("--pools uniform --controllers adarft+dapo,all")
    assert study.controllers == ["adarft+dapo", *RULES, *GATES]


def test_all_controllers_leave_out_those_that_a_file_has_no_columns_for_and_say_which(sweep):
    result = sweep("--controllers", "all", "--seeds", "1", "--rollouts", "6")
    assert result.code == 0, result.err
    lacking = {"bots": "weak_rate", "dots": "features", "pcl": "features"}
    lines = [line for line in said(result) if "left out" in line]
    assert lines == said(result)[: len(lines)]
    left = {line.split()[0]: re.search(r"must have the column (\w+)", line)[1] for line in lines}
    assert left == lacking
    assert len(lines) == len(lacking)
    assert result.summary["controller"].tolist() == [name for name in (*RULES, *GATES) if name not in lacking]


def test_a_schedule_that_a_budget_cuts_or_outlasts_is_named(sweep):
    words = ["--controllers", "linear,sorted,adarft,linear+dapo", "--steps", "10", "--set", "sorted.horizon=7"]
    said = "Spread over 10 updates, whenever the budget is spent: the schedules of {}; set their horizon to fit."
    for budget, named in (("tokens", "linear, linear+dapo"), ("rollouts", "linear+dapo"), ("steps", None)):
        result = sweep(*words, "--budget", budget)
        told = [line for line in result.out.splitlines() if line.startswith("Spread over")]
        assert told == ([said.format(named)] if named else [])


def test_with_a_budget_of_rollouts_a_gated_rule_makes_fewer_updates(sweep):
    result = sweep("--controllers", "dapo", "--budget", "rollouts", "--steps", "20", "--eval-every", "5")
    assert result.code == 0, result.err
    spent = result.summary.set_index("controller")
    assert spent["mean_rollouts"].tolist() == [20 * 8 * 4] * 2
    assert spent.at["dapo", "mean_trained"] < spent.at["uniform", "mean_trained"] == 20 * 8 * 4
    assert json.loads((result.folder / "study" / "manifest.json").read_text())["budget"] == "rollouts"


@pytest.mark.parametrize(
    "options",
    [
        "--controllers uniform",
        "--controllers filter,band --set filter.low=0.1,0.2 --set band.low=20,30",  # no target; no common arm
        f"--seeds 1 --steps 1 --set adarft.eta={','.join(map(str, range(1, 51)))}",  # more than a figure can show
    ],
    ids=["baseline alone", "no target, no common setting", "many settings"],
)
def test_a_figure_that_cannot_be_drawn_does_not_cost_the_table(sweep, options):
    result = sweep(*shlex.split(options))
    assert result.code == 0, said(result)
    assert "steps to threshold" in result.out
    assert set(TABLES) <= set(tree(result.folder))


def test_what_goes_wrong_in_the_process_that_helps_to_draw_is_said_in_one_line(sweep, tmp_path):
    (tmp_path / "study" / "speedup.pdf").mkdir(parents=True)
    result = sweep()
    assert result.code == 1
    (line,) = said(result)
    assert re.match(r"error: cannot write study/speedup\.pdf: Is a directory; .*run the same command to go on", line)
    assert set(TABLES) <= set(tree(result.folder))


@pytest.mark.usefixtures("nobody_paints")
def test_two_parameters_that_no_run_has_together_are_refused_before_any_work(sweep):
    result = sweep(
        "--controllers", "adarft,frozen", "--set", "adarft.eta=5,50", "--set", "frozen.target=20,80",
        "--heat", "adarft.eta,frozen.target",
    )  # fmt: skip
    assert result.code == 2
    assert not (result.folder / "study").exists()


@pytest.mark.usefixtures("nobody_paints")
def test_help_explains_every_option_with_its_default(sweep):
    result = sweep("--help")
    assert result.code == 0
    text = " ".join(result.out.split("options:")[1].split())
    told = dict(re.findall(r" --([a-z-]+) (?:[A-Z,=]+ )?([^ -].*?)(?=(?: --[a-z-]+ [A-Z])|(?: --tiny)|$)", text))
    assert told.pop("help")
    assert told.pop("tiny")
    assert told.keys() == {
        "pools", "controllers", "learners", "seeds", "steps", "batch", "rollouts", "eval-every", "budget", "lag",
        "delivery", "set", "design", "points", "threshold", "heat", "focus", "jobs", "executor", "shard", "out",
    }  # fmt: skip
    assert all("(default: " in line or "; default: " in line for line in told.values())
    shown = set(re.findall(r"[\w-]+", " ".join(result.out.split()).replace("- ", "-")))  # help breaks at hyphens
    assert {*RULES, *GATES, *LAWS, "skew-difficult", "rloo", "all"} <= shown
    assert "RULE+GATE" in result.out
    for budget in BUDGETS:
        assert budget in told["budget"]


# ---- bad input

BAD_FILES = {
    "empty.csv": "difficulty\n",
    "nothing.csv": "",
    "empty.jsonl": "",
    "nan.csv": "id,difficulty\n0,\n" + "".join(f"{i},{i}\n" for i in range(1, 41)),
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
    ("--lag -1", "--lag", "whole number in [0, 10000]", "-1"),
    ("--lag 0,x", "--lag", "whole number in [0, 10000]", "'x'"),
    ("--lag 2,2", "--lag", "different from each other", "2, 2"),
    ("--delivery groups", "--delivery", "one of batch, group", "'groups'"),
    ("--delivery batch,", "--delivery", "names separated by commas", "'batch,'"),
    ("--controllers adarft+adarft", "controllers", "RULE+GATE, or package.module:Name", "'adarft+adarft'"),
    ("--controllers adarft+nope", "controllers", "a gate (dapo, balanced, vcrl, speed)", "'adarft+nope'"),
    ("--controllers speed", "rollouts", "> 4, the first ones of gate SPEED", "4"),
    ("--controllers dots", "pool", "must have the column features", "'items' has none"),
    ("--controllers dapo --set dapo.max_batches=0", "dapo.max_batches", "a whole number in [1, ", "0"),
    ("--controllers dapo --set dapo.max_batches=1.5", "dapo.max_batches", "a whole number in [1, ", "1.5"),
    ("--controllers e2h --set e2h.schedule=x", "e2h.schedule", "gaussian, cosine, balanced, classic", "'x'"),
    ("--controllers e2h --set e2h.min_prob=maybe", "--set e2h.min_prob", "one of true, false", "'maybe'"),
    ("--set dapo.max_batches=3", "'dapo.max_batches'", "by name (adarft, scalar, uniform)", ""),
    ("--controllers uniform --set uniform.floor=0,0.5", "uniform.floor", "one value", "[0.0, 0.5]"),
    ("--budget x", "--budget", "one of steps, rollouts, tokens", "'x'"),
    ("--learners foo", "learners", "scalar, grpo, natural, guess, kernel, tabular", "'foo'"),
    ("--learners scalar,", "--learners", "names separated by commas", "'scalar,'"),
    ("--foo 3", "--foo", "--help", "3"),
    ("--seeds", "--seeds", "must have a value", ""),
    ("--pools foo", "--pools", "skew-difficult, uniform", "'foo'"),
    ("--pools nowhere.parquet", "pool", "file that exists", "'nowhere.parquet'"),
    ("--pools pool.txt", "pool", ".parquet, .csv, .tsv, .json or .jsonl", "'pool.txt'"),
    ("--pools items.csv,items.csv", "--pools", "different", "items.csv, items.csv"),
    ("--pools empty.csv", "empty.csv: difficulty", ">= 1 items", "none"),
    ("--pools nothing.csv", "pool", "have rows below the header", "none, in 'nothing.csv'"),
    ("--pools empty.jsonl", "pool", "have rows below the header", "none, in 'empty.jsonl'"),
    ("--pools nan.csv", "pool", "a difficulty for every item", "none for 1 of 41"),
    ("--pools range.csv", "range.csv: difficulty", "[0, 100]", "101 at row 1"),
    ("--pools below.jsonl", "below.jsonl: difficulty", "[0, 100]", "-0.5 at row 1"),
    ("--pools words.csv", "words.csv: difficulty", "a number in every row", "'hard' at row 40"),
    ("--pools counts.csv", "counts.csv: successes", "must be", "many"),
    ("--pools column.csv", "column.csv: difficulty", "a column of a known name or a mapped one", "hardness"),
    ("--pools broken.jsonl", "pool", "a JSON object in each line", "in 'broken.jsonl'"),
    ("--pools broken.parquet", "pool", "readable .parquet", "'broken.parquet'"),
    ("--batch 97", "batch", "<= 96", "97"),
    ("--batch 90 --controllers filter", "batch", "<= 75, the items of pool 'items' that OfflineFilter", "90"),
    ("--batch 0", "--batch", "whole number >= 1", "got 0"),
    ("--seeds 0", "--seeds", "whole number >= 1", "got 0"),
    ("--seeds -1", "--seeds", "whole number >= 1", "got -1"),
    ("--seeds 1.5", "--seeds", "whole number >= 1", "'1.5'"),
    ("--steps x", "--steps", "whole number >= 1", "'x'"),
    ("--rollouts 0", "--rollouts", "whole number >= 1", "got 0"),
    ("--rollouts 1", "rollouts", ">= 2 for signal RLOO", "1"),
    ("--eval-every 0", "--eval-every", "whole number >= 1", "got 0"),
    ("--jobs 0", "--jobs", "whole number in [1, 1024]", "got 0"),
    ("--threshold 0", "--threshold", "(0, 1]", "0"),
    ("--threshold nan", "--threshold", "finite number", "'nan'"),
    ("--design foo", "--design", "grid, sobol, lhs", "'foo'"),
    ("--design sobol", "--set", "at least one range", "none"),
    ("--design sobol --points 6 --set adarft.eta=5:50", "points", "power of two", "6"),
    ("--design lhs --points 0 --set adarft.eta=5:50", "--points", "whole number >= 1", "got 0"),
    ("--design lhs --set adarft.eta=5,50", "--set adarft.eta", "LOW:HIGH", "'5,50'"),
    ("--design lhs --set adarft.eta=50:5", "set adarft.eta", "low < high", "50:5"),
    ("--design lhs --set adarft.eta=0:5:log", "set adarft.eta", "low > 0 for log", "0:5"),
    ("--design lhs --set adarft.beta=1.1:1.2", "adarft.beta", "[0, 1]", "1.1"),
    *((f"--set {text}", "--set", "NAME.PARAMETER=VALUES", f"'{text}'") for text in
      ("foo", "eta=5", "adarft.eta", "adarft.eta=", "adarft.=5", ".eta=5", "=5")),
    ("--set adarft.eta=5 --set adarft.eta=6", "--set", "each parameter once", "'adarft.eta=6'"),
    ("--set adarft.eta=5,", "--set adarft.eta", "finite number", "''"),
    ("--set adarft.eta=5:50", "--set adarft.eta", "a range LOW:HIGH needs --design sobol or lhs", "'5:50'"),
    ("--set adarft.eta=5:50:log", "--set adarft.eta", "a range LOW:HIGH needs --design sobol or lhs", "'5:50:log'"),
    ("--points 8", "--points", "must come with --design sobol or lhs", "'8' with a grid"),
    ("--set adarft.eta=inf", "--set adarft.eta", "finite number", "'inf'"),
    ("--set foo.eta=5", "--set", "uniform, filter", "'foo'"),
    ("--set adarft.foo=5", "adarft.foo", "beta, alpha, eta", "'foo'"),
    ("--set filter.low=0.2", "'filter.low'", "by name (adarft, scalar, uniform)", ""),
    ("--set adarft.eta=-1", "adarft.eta", "[0, 1e6]", "-1"),
    ("--set adarft.beta=0.5,1.5", "adarft.beta", "[0, 1]", "1.5"),
    ("--set adarft.ties=last", "adarft.ties", "random, first", "'last'"),
    ("--set adarft.low=60 --set adarft.high=50", "adarft.low", "low < high", "60"),
    ("--set scalar.signal=foo", "scalar.signal", "rloo, mean, grpo", "'foo'"),
    ("--set scalar.gamma=2", "scalar.gamma", "[0, 1]", "2"),
    ("--set adarft.eta=5,50 --heat adarft.eta,scalar.kappa", "--heat", "swept parameters (adarft.eta)", "scalar.kappa"),
    ("--focus band", "--focus", "a rule that runs beside uniform (adarft)", "'band'"),
    ("--focus uniform", "--focus", "a rule that runs beside uniform (adarft)", "'uniform'"),
    ("--out items.csv", "--out", "must be a folder", "'items.csv'"),
    ("--out items.csv/below", "--out", "must be a folder", "'items.csv/below'"),
    ("--out ''", "--out", "folder", "''"),
]  # fmt: skip


@pytest.mark.usefixtures("nobody_paints")
@pytest.mark.parametrize(("options", "field", "domain", "value"), BAD, ids=[case[0] for case in BAD])
def test_bad_input_gets_one_line_that_names_field_domain_and_value(sweep, tmp_path, options, field, domain, value):
    for name, text in BAD_FILES.items():
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    result = sweep(*shlex.split(options))
    assert result.code == 2
    assert len(said(result)) == 1, result.err
    (line,) = said(result)
    assert line.startswith("error: ")
    for part in (field, domain, value):
        assert part in line
    assert result.out == ""
    assert sorted(tmp_path.rglob("*")) == before
