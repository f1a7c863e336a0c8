"""A hub that cannot be reached is asked once, one that falls silent is left: a line, which says what to do."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import types
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
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
def answering(status, first=None):
    """An address where every question gets this status, the first for a file another one: to be asked again at once."""
    statuses = [status] if first is None else [first, status]

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def do_GET(self):
            self.send_response(statuses.pop(0))
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"body")

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


@contextlib.contextmanager
def stopping(count=100):
    """An address that begins to send each file, and stops after so many bytes; and the files it was asked for."""
    asked, over = [], threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            for name, value in (("ETag", '"one"'), ("X-Repo-Commit", "0" * 40), ("Content-Length", 10 * count)):
                self.send_header(name, str(value))
            self.end_headers()

        def do_GET(self):
            if self.path.startswith("/api/"):
                self.send_error(404)
                return
            asked.append(self.path)
            self.do_HEAD()
            self.wfile.write(b"{" * count)
            self.wfile.flush()
            over.wait()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            over.set()
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
        with asked_once() as hub:
            assert hub.silence.startswith(f"{address} cannot be reached: ")
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
        with asked_once() as hub:
            assert offline() == (bool(reason), bool(reason))
    assert hub.silence == (reason and f"{address} cannot be reached: {reason}; {CURE[:-1]}")


def test_another_module_that_is_called_datasets_is_left_alone(asking, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("datasets"))
    monkeypatch.delitem(sys.modules, "datasets.config")
    with nobody() as address:
        asking(address)
        with asked_once() as hub:
            assert hub.silence


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


@pytest.mark.parametrize("name", COMMANDS)
def test_a_hub_that_stops_in_the_midst_of_a_file_is_one_line_within_half_a_minute(name, tmp_path):
    """Three times as long as packages wait for a byte, by default 10 seconds, here 1; and the try that it ends in."""
    words, start = COMMANDS[name]
    with stopping() as (address, asked):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"),
                                    "HF_HUB_DOWNLOAD_TIMEOUT": "1"}  # fmt: skip
        environment.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run([sys.executable, *words, "--out", tmp_path / "out"], cwd=ROOT, env=environment,
                              capture_output=True, text=True, timeout=MOST_SECONDS)  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    reason = re.escape(f"error: {start}{address} cannot be reached: ") + "it fell silent for [3456] seconds; "
    assert re.fullmatch(f"{reason}{re.escape(CURE)}\n", done.stderr)
    assert asked == asked[:1] * len(asked)
    assert 2 <= len(asked) <= 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("progress", "tries"), [(100, 6), (101, 3)])
def test_tries_that_bring_something_go_on(asking, monkeypatch, tmp_path, progress, tries):
    """Of 6 that the package makes. Its 100 bytes of each try are a part of the file that is kept, or are not."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get

    monkeypatch.setattr("workbench.hub.PROGRESS", progress)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)  # between its tries
    with stopping() as (address, asked), open(tmp_path / "file", "wb") as file:
        asking(address)
        with asked_once() as hub, pytest.raises(Exception, match=r"timed out|offline"):
            http_get(f"{address}/file", file)
    assert (len(asked), hub.silence != "") == (tries, tries < 6)


@pytest.fixture
def hasty(monkeypatch):
    """A hub that is silent for 0.15 seconds is asked no more; packages wait a fifth as long between their tries."""
    from huggingface_hub import constants

    sleep = time.sleep
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: sleep(seconds / 5))


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_says_when_to_ask_again_is_not_silent(asking, hasty, status):
    """A second later than it says, which is here 0.2 seconds."""
    from huggingface_hub.utils import http_stream_backoff

    with answering(200, first=status) as address:
        asking(address)
        with asked_once() as hub, http_stream_backoff("GET", f"{address}/file", timeout=9) as response:
            assert (response.status_code, hub.silence) == (200, "")


def unread(client, address):
    with client.stream("GET", address, timeout=9):
        pass


def begun(client, address):
    with client.stream("GET", address, timeout=9) as response:
        next(response.iter_bytes(1))


def whole(client, address):
    client.head(address, timeout=9)


@pytest.mark.parametrize("way", [unread, begun, whole])
def test_an_answer_is_one_however_much_of_it_is_read_and_by_whom(asking, hasty, way):
    from huggingface_hub import get_session, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def reading():
        client = default_client_factory()
        if way is whole:
            client.event_hooks["response"].append(lambda response: response.read())
        return client

    set_client_factory(reading)
    try:
        with stopping() as (address, _):
            asking(address)
            with asked_once() as hub:
                way(get_session(), f"{address}/file")
                time.sleep(1)
                way(get_session(), f"{address}/file")
        assert hub.silence == ""
        assert get_session().event_hooks["request"] == default_client_factory().event_hooks["request"]
    finally:
        set_client_factory(default_client_factory)


def test_a_client_that_is_made_anew_counts_too(asking, hasty, tmp_path):
    """As huggingface_hub makes one where the last could not connect."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import http_backoff

    with stopping() as (address, asked), nobody() as empty, open(tmp_path / "file", "wb") as file:
        asking(address)
        with asked_once() as hub:
            with pytest.raises(Exception, match="refused"):
                http_backoff("HEAD", empty, max_retries=0)
            with pytest.raises(Exception, match=r"offline"):
                http_get(f"{address}/file", file)
    assert hub.silence
    assert len(asked) <= 1


def test_an_answer_to_another_thread_may_come_at_any_point_of_a_question(asking):
    from huggingface_hub import get_session

    def step(frame, event, _):
        if frame.f_code is not ask.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            points.append(frame.f_lasti)
            if len(points) == at:
                client.head(address, timeout=9)  # is not traced
        return step

    with answering(200) as address:
        asking(address)
        with asked_once() as hub:
            client = get_session()
            ask, request = client.event_hooks["request"][0], client.build_request("GET", address)
            for at in range(1, 31):
                points, tracer = [], sys.gettrace()
                ask(request)
                sys.settrace(step)
                try:
                    ask(request)
                finally:
                    sys.settrace(tracer)
                assert len(points) > at
    assert hub.silence == ""


@pytest.mark.parametrize(("method", "path"), [("HEAD", "file"), ("GET", "api/")])  # whole, refused
def test_a_file_that_stops_is_no_silence_while_others_come(asking, monkeypatch, method, path):
    """The third try begins after 0.5 seconds, 0.25 after another file came; 0.45 are silence."""
    from huggingface_hub import constants, get_session

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.15)
    with stopping() as (address, asked):
        asking(address)
        with asked_once() as hub:
            for _ in range(3):
                with get_session().stream("GET", f"{address}/file", timeout=0.25) as response:
                    get_session().request(method, f"{address}/{path}", timeout=9)
                    with pytest.raises(Exception, match="timed out"):
                        response.read()
    assert (len(asked), hub.silence) == (3, "")


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
