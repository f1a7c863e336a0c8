"""A hub that cannot be reached ends a command within seconds, in one line that says what to do."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.hub import SECONDS

pytest.importorskip("datasets")
pytest.importorskip("transformers")
ROOT = Path(__file__).parents[2]
LOADING = 40  # seconds for the packages themselves, on a busy machine
CURE = "give a folder with its files, fetched elsewhere, or the address of a mirror in HF_ENDPOINT)"
COMMANDS = {
    "model": (["real_runs/train.py", "--model", "someone/model", "--steps", "1"],
              "model: must be a complete transformers model, got 'someone/model' ("),
    "pool": (["sims/sweep.py", "--tiny", "--pools", "hf:someone/set"],
             "pool: must be a data set that can be loaded, got 'hf:someone/set' ("),
}  # fmt: skip


@contextlib.contextmanager
def nobody():
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def silent():
    """An address where somebody listens, and never answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(50)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("hub", [nobody, silent])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_hub_out_of_reach_is_one_line_within_seconds(name, hub, tmp_path):
    words, start = COMMANDS[name]
    with hub() as address:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf")}
        environment.pop("HF_HUB_OFFLINE", None)
        begun = time.monotonic()
        done = subprocess.run([sys.executable, *words, "--out", tmp_path / "out"], cwd=ROOT, env=environment,
                              capture_output=True, text=True, timeout=10 * LOADING)  # fmt: skip
    assert time.monotonic() - begun < LOADING + SECONDS
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {start}{address} cannot be reached: ")
    assert done.stderr.endswith(f"; {CURE}\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_was_fetched_before_is_taken_where_the_hub_cannot_be_reached(tmp_path):
    base, kept = ROOT / "real_runs" / "base" / "tiny-llama", tmp_path / "hf" / "hub" / "models--someone--model"
    shutil.copytree(base, kept / "snapshots" / ("0" * 40))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0" * 40)
    digests = []
    for source in ("someone/model", str(base)):
        words = f"from real_runs.rl.models import load; print(load('{source}').digest())"
        with nobody() as address:
            environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": address,
                                        "HF_HOME": str(tmp_path / "hf")}  # fmt: skip
            done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, env=environment, capture_output=True,
                                  text=True, timeout=LOADING)  # fmt: skip
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout)
    assert digests[0] == digests[1] != ""
