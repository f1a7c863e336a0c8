"""Scorers that may hang, crash or eat the memory: each in a process of its own, which ends without harm to ours."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import Any

from real_runs.tasks.forked import limit_memory
from workbench.errors import shown

SCORING_SECONDS = 5.0  # for one answer
START_SECONDS = 120.0  # for a scorer's process to import its package
SCORING_BYTES = 4 * 2**30  # address space of that process: a tower of powers meets it before the machine's memory
LONGEST = 100_000  # characters of a completion, from its end, that a scorer is given


class ScoringError(RuntimeError):
    """A completion could not be scored."""


class ScoringTimeout(ScoringError):
    """It took too long; the process that tried is gone."""


class NoScore(ScoringError):
    """What a scorer returned is no number in [0, 1]. returned: how it is shown."""

    def __init__(self, returned: str, scorer: str) -> None:
        super().__init__(f"score: must be a number in [0, 1], got {returned} from {scorer}")
        self.returned = returned


class Isolated:
    """Calls a scorer in a process of its own, started at the first call and again after one that took too long.

    factory: "module:function", called there with `arguments`; it returns the scorer. For a scorer that is a function
    itself, it is real_runs.tasks.isolated:function_of with the function's "module:function". seconds: for one call.
    Calls from several threads take turns; after a fork each process has a scorer of its own. Raises ScoringError where
    the scorer raised or ended, NoScore where it returned no number in [0, 1], ScoringTimeout where it was too slow.
    """

    def __init__(self, factory: str, *arguments: str, seconds: float = SCORING_SECONDS) -> None:
        self.factory, self.arguments, self.seconds = factory, arguments, seconds
        self._lock, self._owner = threading.Lock(), 0
        self._connection: Connection | None = None
        self._stop: Callable[[], object] = lambda: None

    def __call__(self, completion: str, answer: str) -> float:
        with self._lock:
            self._start()
            score = self._ask(json.dumps([completion[-LONGEST:], answer, self.seconds]), self.seconds)
        if not 0.0 <= score <= 1.0:
            raise NoScore(f"{score:g}", self.factory)
        return score

    def start(self) -> None:
        """Start the process unless it runs; ScoringError where it does not come up with its scorer."""
        with self._lock:
            self._start()

    def _start(self) -> None:
        if self._connection is not None and self._owner == os.getpid():
            return
        mine, theirs = multiprocessing.Pipe()
        code = "import sys; from real_runs.tasks.isolated import serve; serve(int(sys.argv[1]), *sys.argv[2:])"
        command = [sys.executable, "-c", code, str(theirs.fileno()), self.factory, *self.arguments]
        path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
        nothing = subprocess.DEVNULL
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=nothing, stdout=nothing, stderr=nothing,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        theirs.close()
        self._connection, self._owner = mine, os.getpid()
        self._stop = weakref.finalize(self, _end, process, mine, self._owner)
        self._ask(None, START_SECONDS)

    def _ask(self, message: str | None, seconds: float) -> float:
        """The answer to a message (None: to being started); the process is ended unless it answers in time."""
        connection = self._connection
        assert connection is not None
        try:
            if message is not None:
                connection.send_bytes(message.encode())
            if not connection.poll(seconds):
                raise ScoringTimeout(f"score: must take at most {seconds:g} seconds, got none from {self.factory}")
            reply = json.loads(connection.recv_bytes())
        except BaseException as error:  # an interrupt too: its answer must not be taken for the next call's
            self._connection = None
            self._stop()
            if isinstance(error, (EOFError, OSError)):
                raise ScoringError(f"score: must be a number in [0, 1], but {self.factory} ended") from None
            raise
        if isinstance(reply, list):
            raise NoScore(reply[0], self.factory)
        if isinstance(reply, str):
            raise ScoringError(f"score: must be a number in [0, 1], but {self.factory} raised {reply}")
        return float(reply)


def function_of(spec: str) -> Callable[[str, str], float]:
    """The function that package.module:function names, as it is: a factory for `Isolated`."""
    module, _, name = spec.partition(":")
    found: Callable[[str, str], float] = attrgetter(name)(import_module(module))
    return found


def _end(process: subprocess.Popen[bytes], connection: Connection, owner: int) -> None:
    connection.close()
    if os.getpid() == owner:  # otherwise the process is the parent's
        process.kill()
        process.wait()


def _scored(score: Callable[[str, str], float], completion: str, answer: str) -> float | list[str]:
    """The score; in a list how it is shown where it is no number. Text is none, whatever it says."""
    returned: Any = score(completion, answer)
    with suppress(TypeError, ValueError):
        if not isinstance(returned, (str, bytes)):
            return float(returned)
    return [shown(returned)]


def serve(descriptor: int, factory: str, *arguments: str) -> None:
    """Main loop of the scorer's process: it answers requests until the connection closes."""
    limit_memory(SCORING_BYTES)
    connection = Connection(descriptor)
    module, _, function = factory.partition(":")
    score: Any = None

    def reply_to(attempt: Callable[[], float | list[str]]) -> None:
        try:
            reply: float | list[str] | str = attempt()
        except Exception as error:
            reply = f"{type(error).__name__}: {str(error)[:200]}"
        connection.send_bytes(json.dumps(reply).encode())

    def build() -> float:
        nonlocal score
        score = getattr(import_module(module), function)(*arguments)
        return 0.0

    reply_to(build)
    while True:
        try:
            completion, answer, seconds = json.loads(connection.recv_bytes())
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, 2 * seconds)  # ends us should the one who asked be gone
        reply_to(partial(_scored, score, completion, answer))
        signal.setitimer(signal.ITIMER_REAL, 0)
