"""A hub that cannot be reached is asked once, and ends a command in one line that says what to do."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from workbench.hub import asked_once

pytest.importorskip("datasets")
pytest.importorskip("transformers")
ROOT = Path(__file__).parents[2]
MOST_SECONDS = 400  # what takes so long hangs
CURE = "give a folder with its files, fetched elsewhere, or the address of a mirror in HF_ENDPOINT)"
COMMANDS = {
    "model": (["real_runs/train.py", "--model", "someone/model", "--steps", "1"],
              "model: must be a complete transformers model, got 'someone/model' ("),
    "pool": (["sims/sweep.py", "--tiny", "--pools", "hf:someone/set"],
             "pool: must be a data set that can be loaded, got 'hf:someone/set' ("),
}  # fmt: skip


@pytest.fixture(autouse=True)
def directly(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextlib.contextmanager
def nobody():
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def silent():
    """An address where somebody listens, and never answers: it must have been asked once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(50)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        taken.setblocking(False)
        taken.accept()[0].close()
        with pytest.raises(BlockingIOError):
            taken.accept()


@contextlib.contextmanager
def answering(status):
    """An address where every question gets this status."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def asking(monkeypatch):
    """asking(address): from here on this process asks a hub at this address."""
    import datasets.config
    from huggingface_hub import constants

    for place in (constants, datasets.config):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", False)
    return lambda address: monkeypatch.setattr(constants, "ENDPOINT", address)


def offline():
    """Whether huggingface_hub and datasets ask nobody."""
    import datasets.config
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE


def test_packages_ask_nobody_until_what_is_loaded_is_refused(asking):
    def refused(address):
        with asked_once() as silence:
            assert silence.startswith(f"{address} cannot be reached: ")
            assert offline() == (True, True)
            raise KeyError

    with nobody() as address:
        asking(address)
        with pytest.raises(KeyError):
            refused(address)
    assert offline() == (False, False)


@pytest.mark.parametrize(("status", "reason"), [(200, ""), (401, ""), (404, ""), (503, "status 503")])
def test_any_answer_is_one_but_that_of_a_proxy_alone(asking, status, reason):
    with answering(status) as address:
        asking(address)
        with asked_once() as silence:
            assert offline() == (bool(reason), bool(reason))
    assert silence == (reason and f"{address} cannot be reached: {reason}; {CURE[:-1]}")


def test_another_module_that_is_called_datasets_is_left_alone(asking, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("datasets"))
    monkeypatch.delitem(sys.modules, "datasets.config")
    with nobody() as address:
        asking(address)
        with asked_once() as silence:
            assert silence


@pytest.mark.parametrize("hub", [nobody, silent])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_hub_out_of_reach_is_one_line(name, hub, tmp_path):
    words, start = COMMANDS[name]
    with hub() as address:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf")}
        environment.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run([sys.executable, *words, "--out", tmp_path / "out"], cwd=ROOT, env=environment,
                              capture_output=True, text=True, timeout=MOST_SECONDS)  # fmt: skip
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
                                  text=True, timeout=MOST_SECONDS)  # fmt: skip
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout)
    assert digests[0] == digests[1] != ""
