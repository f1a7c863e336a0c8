"""Chunks of work, in worker processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from workbench.errors import WorkerError, shown

T = TypeVar("T")
NO_GUARD = 87  # exit status of a worker process whose import of the script would start the work once more
GUARD = (
    "worker processes import the script that starts them: put what it runs under `if __name__ == \"__main__\":`, "
    "or use jobs=1"
)


def refuse_unguarded_script() -> None:
    """End this process if it is a worker that is only importing the script; `execute` reports it in one line."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself finds out
        os._exit(NO_GUARD)


def execute(work: Callable[[T], object], chunks: Sequence[T], jobs: int) -> Iterator[T]:
    """Do `work` on every chunk, in worker processes if there are several of both; yields each chunk when it is done.

    work: goes to each worker once, a chunk to one of them, so both must pickle; what they find out they keep on disk.
    Raises WorkerError if a worker process dies, and where the script is no file that workers could import. After an
    error or Ctrl-C the workers are ended, and no other process.
    """
    if jobs == 1 or len(chunks) <= 1:
        for chunk in chunks:
            work(chunk)
            yield chunk
        return
    main = sys.modules["__main__"]
    script = main.__dict__.get("__file__")
    if script and main.__spec__ is None and not os.path.isfile(script):  # read from standard input
        got = f"got {shown(script)}: put it into a file, or use jobs=1"
        raise WorkerError(f"worker processes import the script that starts them, {got}")
    jobs = min(jobs, len(chunks))
    context = multiprocessing.get_context("spawn")
    desk = context.Queue()  # as an argument, `work` would hold up the next process until this one had read it
    desk.cancel_join_thread()  # a worker that died may have left its copy
    for _ in range(jobs):
        desk.put(work)
    started: dict[int, multiprocessing.process.BaseProcess] = {}  # workers by process id
    try:
        with ProcessPoolExecutor(jobs, context, _start_worker, (desk,)) as workers:
            waiting = iter(enumerate(chunks))
            running: set[Future[int]] = set()

            def submit(number: int, chunk: T) -> None:
                running.add(workers.submit(_work, number, chunk))
                started.update(workers._processes or {})  # it starts them as they are needed

            try:
                for number, chunk in itertools.islice(waiting, 2 * jobs):  # a short queue: interruption loses little
                    submit(number, chunk)
                while running:
                    finished, unfinished = wait(running, return_when=FIRST_COMPLETED)
                    running = unfinished
                    for number, chunk in itertools.islice(waiting, len(finished)):
                        submit(number, chunk)
                    for future in finished:
                        yield chunks[future.result()]
            except BrokenProcessPool:
                raise
            except BaseException:  # an error, Ctrl-C: waiting for the other workers helps nobody
                workers.shutdown(wait=False, cancel_futures=True)
                for worker in started.values():
                    worker.terminate()
                for worker in started.values():
                    worker.join()
                    while worker.is_alive():  # the executor's thread took its exit status, and stores it in a moment
                        time.sleep(0.001)
                raise
    except BrokenProcessPool:
        if any(worker.exitcode == NO_GUARD for worker in started.values()):
            raise WorkerError(GUARD) from None
        raise WorkerError("a worker process died (out of memory?)") from None


_job: Callable[[Any], object] | None = None  # a worker's own, set once when it starts


def _start_worker(desk: multiprocessing.Queue[Callable[[Any], object]]) -> None:
    """Leave Ctrl-C to the parent, and end when a killed parent can't say so."""
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    _job = desk.get()


def _work(number: int, chunk: Any) -> int:
    assert _job is not None
    _job(chunk)
    return number
