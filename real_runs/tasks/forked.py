"""Work with other people's code in a fork of this process, which ends without harm to ours: bounded time and memory."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

CHUNK = 2**16  # bytes read at a time


class OutOfTime(RuntimeError):
    """The work took too long; the process that did it is gone."""


class Gone(RuntimeError):
    """The process that did the work ended before it was done."""


def in_fork(work: Callable[[], Any], seconds: float, memory: int) -> Any:
    """What `work` returns, as JSON gives it back, computed by a fork of this process.

    seconds: until it is given up. memory: bytes that it may take beside what this process has. The work should compute
    in Python alone: a fork has none of this process's threads. Raises OutOfTime, and Gone where the fork ends early.
    """
    receiving, sending = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer releases of Python warn of threads
        child = os.fork()
    if child == 0:
        _serve(work, sending, seconds, memory)
    os.close(sending)
    try:
        data = _read(receiving, time.monotonic() + seconds)
    finally:
        os.close(receiving)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    try:
        return json.loads(data)
    except ValueError:
        raise Gone("it ended before it was done") from None


def limit_memory(most: int) -> None:
    """Bound the address space of this process, as far as the system allows; one without that is left as it is."""
    with suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _serve(work: Callable[[], Any], sending: int, seconds: float, memory: int) -> NoReturn:
    """The fork: send what the work returns, and end at once whatever happens, without running or flushing ours."""
    try:
        gc.disable()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the parent ends this process
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 2 * seconds)  # should the parent be gone
        if taken := _address_space():
            limit_memory(taken + memory)
        with os.fdopen(sending, "wb") as file:
            file.write(json.dumps(work()).encode())
    finally:
        os._exit(0)


def _address_space() -> int:
    """Bytes of this process's address space; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _read(receiving: int, end: float) -> bytes:
    """All that comes until the other end closes; OutOfTime where that is after `end` on the monotonic clock."""
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([receiving], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise OutOfTime("it takes longer")
        part = os.read(receiving, CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)
