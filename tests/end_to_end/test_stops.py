"""Stops at any moment end a command with one line, while its packages load too; what it started ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "sweep": ("sims/sweep.py", "--pools", "uniform", "--seeds", "64", "--steps", "5000"),
    "robustness": ("sims/robustness.py", "matrix", "--draws", "500"),
    "difficulty": ("-m", "workbench.difficulty", "--model", "3pl"),
    "train": ("real_runs/train.py", "--steps", "5000"),
    "compare": ("real_runs/compare.py", "--steps", "5000", "--task", "sums", "--pools", "", "--controllers", "uniform"),
}
STATUS = {signal.SIGINT: (130, "stopped"), signal.SIGTERM: (143, "stopped by SIGTERM"),
          signal.SIGHUP: (129, "stopped by SIGHUP")}  # fmt: skip


@pytest.fixture
def started(tmp_path):
    """started(name, ...): one of the commands, which ends with the test."""
    begun = []
    yield lambda name, **how: begun.append(_started(name, tmp_path, **how)) or begun[-1]
    for process in begun:
        process.kill()
        process.communicate()


def _started(name, tmp_path, **how):
    out = ["--out", str(tmp_path / "out")]
    if name == "difficulty":  # so many answers that the fit takes longer than any delay
        table = tmp_path / "answers.csv"
        answers = np.random.default_rng(0).integers(0, 2, (3000, 200))
        np.savetxt(table, answers, "%d", ",", header=",".join(f"q{i}" for i in range(200)), comments="")
        out.append(str(table))
    return subprocess.Popen(
        [sys.executable, *COMMANDS[name], *out], cwd=ROOT, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True, **how,
    )  # fmt: skip


def catches(process):
    """Whether SIGTERM is caught by now: from then on a stop must be one line."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize(
    ("number", "delay"),
    [(signal.SIGINT, 0.0), (signal.SIGINT, 0.3), (signal.SIGINT, 1.5), (signal.SIGTERM, 0.3), (signal.SIGHUP, 1.5)],
)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_stop_is_one_line_at_any_moment(name, delay, number, started):
    process = started(name, stdin=subprocess.PIPE)
    end = time.monotonic() + 60
    while not catches(process):
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    status, line = STATUS[number]
    assert process.returncode == status, said
    assert "Traceback" not in said
    lines = [text for text in said.replace("\r", "\n").splitlines() if text.startswith("stopped")]
    assert len(lines) == 1, said
    assert lines[0].split(";")[0] == line


TURNED = """
from workbench.stops import stop_in_one_line, work_begins
stop_in_one_line(__name__)
work_begins()
import time
print("ready", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    pass
raise ImportError("as C code says of an import that a stop cut off")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_c_code_made_another_error_of_is_that_stop(tmp_path, number):
    (tmp_path / "turned.py").write_text(TURNED)
    process = subprocess.Popen([sys.executable, str(tmp_path / "turned.py")], cwd=ROOT, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    status, line = STATUS[number]
    assert (process.returncode, said) == (status, line + "\n")


SWALLOWS = """
from workbench.stops import stop_in_one_line, work_begins
stop_in_one_line(__name__)
work_begins()
import ctypes, time
callback = ctypes.CFUNCTYPE(None)(lambda: time.sleep(0.5))
class Finalizer:
    def __del__(self):
        time.sleep(0.5)
print("ready", flush=True)
for _ in range(3):
    callback()
    Finalizer()
while True:
    time.sleep(0.001)
"""


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("delay", [0.2, 0.7])
def test_a_stop_in_a_callback_or_a_finalizer_is_not_lost(delay, number):
    """Both swallow what is raised in them: numba's compiler calls back while it writes its cache."""
    with subprocess.Popen([sys.executable, "-c", SWALLOWS], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(number)
        try:
            said = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    assert (process.returncode, said.strip()) == STATUS[number]


ENDS = """
from workbench.stops import stop_in_one_line, work_begins
stop_in_one_line(__name__)
work_begins()
import os, time
class Last:
    def __del__(self, write=os.write, sleep=time.sleep):  # while the interpreter takes itself down
        write(1, b"ready\\n")
        sleep(0.3)
import sys
sys.modules["last"] = Last()
"""


@pytest.mark.parametrize("number", STATUS)
def test_a_stop_after_the_last_of_the_work_leaves_it_done(number):
    """Python gives signals their default meaning again before it is gone: one would end it without a line."""
    with subprocess.Popen([sys.executable, "-c", ENDS], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
    assert (process.returncode, said) == (0, "")


def test_a_signal_that_is_ignored_stays_so(started):
    process = started("difficulty", stdin=subprocess.PIPE,
                      preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # fmt: skip
    while not catches(process):
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid):
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal() and _parent(p) == pid]


def _parent(path):
    try:
        return int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return -1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_runs_end_with_the_comparison_that_started_them(number, started):
    """Only the parent gets the signal."""
    process = started("compare", stdin=subprocess.DEVNULL)
    end = time.monotonic() + 120
    runs = []
    while not (runs := [pid for pid in children(process.pid) if alive(pid)]):
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(number)
    process.communicate(timeout=120)
    while any(map(alive, runs)):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_command_takes_stops_before_it_has_loaded_anything_heavy():
    """Until then a stop is Python's own traceback."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import workbench.stops; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code, str(ROOT)], text=True, capture_output=True, check=True
    )
    assert not {"typing", "re", "ast", "threading", "lazy_loader", "importlib.util"} & set(ran.stdout.split())
