"""Commands where the terminal has another encoding, streams are closed, folders are missing and clocks jump."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from workbench.progress import make_bar, progress_bar

ROOT = Path(__file__).parents[2]
DIFFICULTY = (sys.executable, "-m", "workbench.difficulty", "answers.csv", "--model", "1pl", "--out", "out")
SWEEP = (sys.executable, f"{ROOT}/sims/sweep.py", "--tiny", "--seeds", "2", "--steps", "4", "--batch", "16",
         "--controllers", "uniform,adarft", "--jobs", "1", "--out", "out")  # fmt: skip
TERMINALS = {
    "ascii": {"PYTHONIOENCODING": "ascii"}, "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "POSIX": {"LC_ALL": "POSIX", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}  # fmt: skip
CLOSED = {"output": ">&-", "errors": "2>&-", "all": "<&- >&- 2>&-"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    able = draw.normal(0, 1.5, (300, 1)) > draw.logistic(0, 1, (300, 4)) + np.array([-1.0, 0.0, 0.5, 1.0])
    rows = "".join(",".join(map(str, row)) + "\n" for row in able.astype(int))
    Path("answers.csv").write_text(f"leicht–×,schön ±,ж,d\n{rows}", encoding="utf-8")
    return tmp_path


def run(command, without=(), **environment):
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        command, env=kept | {"PYTHONPATH": str(ROOT)} | environment, capture_output=True, encoding="utf-8",
        errors="replace", timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("name", TERMINALS)
def test_what_a_terminal_cannot_show_is_escaped(name, folder):
    done = run(DIFFICULTY, **TERMINALS[name])
    assert (done.returncode, done.stderr) == (0, "")
    assert {"ascii": r"leicht\u2013\xd7", "latin-1": r"leicht\u2013", "POSIX": "leicht"}[name] in done.stdout
    assert "leicht–×" in Path("out/items.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_report_that_nobody_reads_is_no_trouble_to_tell(buffered, folder):
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": buffered}
    with subprocess.Popen(DIFFICULTY, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True) as process:
        os.close(writing)
        said = process.stderr.read()
    assert (process.returncode, said) == (128 + signal.SIGPIPE, "")
    assert Path("out/items.csv").is_file()


@pytest.mark.parametrize("name", CLOSED)
def test_closed_streams_lead_nowhere_and_not_into_files(name, folder):
    line = " ".join(f"'{word}'" for word in DIFFICULTY)
    done = run(["sh", "-c", f"{line} {CLOSED[name]}"])
    assert done.returncode == 0, done.stderr
    assert ("leicht" in done.stdout) == (name == "errors")
    assert done.stderr == ""
    assert Path("out/items.csv").read_text(encoding="utf-8").startswith("item,a,b")
    bad = run(["sh", "-c", f"{line} --model 9pl {CLOSED[name]}"])
    assert bad.returncode == 2
    assert ("--model: must be one of" in bad.stderr) == (name == "output")
    assert bad.stdout == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no full disk to write to")
def test_a_report_that_a_full_disk_does_not_take_is_one_line(folder):
    with open("/dev/full", "w") as full:
        done = subprocess.run(DIFFICULTY, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=full,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 28] No space left on device\n"


KERNEL = """
import workbench as wb
print(wb.Controller(wb.AdaRFT(), wb.Pool.synthetic("uniform", 64)).next_batch(4).size)
"""


def test_a_numba_cache_that_nobody_can_write_is_no_hindrance(folder):
    Path("file").write_text("")
    done = run([sys.executable, "-W", "ignore::RuntimeWarning", "-c", KERNEL], NUMBA_CACHE_DIR="file/below")
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


def test_a_sweep_needs_nothing_of_a_user(folder):
    """No home, no folder for temporary files, no letters beyond ASCII."""
    done = run(SWEEP, without=("HOME", "LANG", "LC_ALL"), TMPDIR="/nowhere/tmp", **TERMINALS["ascii"])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "uniform" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize("jump", [-1e6, 1e6, float("nan")])
def test_a_clock_that_jumps_ends_no_progress_bar(jump, monkeypatch, capsys):
    now = [1e9]

    def clock():
        now[0] += jump
        return now[0]

    monkeypatch.setattr(time, "time", clock)
    monkeypatch.setattr("tqdm.std.time", clock)
    with progress_bar(10, "study", "run") as told:
        for done in range(1, 11):
            told.at(done, 10)
        told.line("a line")
    assert "a line" in capsys.readouterr().err


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_the_seconds_of_a_bar_are_those_that_pass_while_the_clock_is_set(jump, monkeypatch, capsys):
    set_by = [0.0]
    now = time.time
    monkeypatch.setattr("tqdm.std.time", lambda: now() + set_by[0])
    with make_bar(total=10, mininterval=0.0) as bar:
        bar.update(1)
        set_by[0] = jump
        time.sleep(0.01)
        bar.update(1)
        assert 0.01 <= bar.format_dict["elapsed"] < 60
        assert 0 < bar.format_dict["rate"] < 1000
    assert "-" not in capsys.readouterr().err.replace("\r", "")
