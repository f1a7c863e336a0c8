"""Chunks of work, in worker processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from workbench.errors import WorkerError

T = TypeVar("T")


def execute(work: Callable[[T], object], chunks: Sequence[T], jobs: int) -> Iterator[T]:
    """Do `work` on every chunk, in worker processes if there are several of both; yields each chunk when it is done.

    work: goes to each worker once, a chunk to one of them, so both must pickle; what they find out they keep on disk.
    Raises WorkerError if a worker process dies.
    """
    if jobs == 1 or len(chunks) <= 1:
        for chunk in chunks:
            work(chunk)
            yield chunk
        return
    jobs = min(jobs, len(chunks))
    context = multiprocessing.get_context("spawn")
    desk = context.Queue()  # as an argument, `work` would hold up the next process until this one had read it
    desk.cancel_join_thread()  # a worker that died may have left its copy
    for _ in range(jobs):
        desk.put(work)
    with ProcessPoolExecutor(jobs, context, _start_worker, (desk,)) as workers:
        waiting = iter(enumerate(chunks))
        running: set[Future[int]] = set()
        try:
            for number, chunk in itertools.islice(waiting, 2 * jobs):  # a short queue: interruption loses little
                running.add(workers.submit(_work, number, chunk))
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for number, chunk in itertools.islice(waiting, len(finished)):
                    running.add(workers.submit(_work, number, chunk))
                for future in finished:
                    yield chunks[future.result()]
        except BrokenProcessPool:
            raise WorkerError("a worker process died (out of memory?)") from None
        except BaseException:  # an error, Ctrl-C: waiting for the other workers helps nobody
            workers.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


_job: Callable[[Any], object] | None = None  # a worker's own, set once when it starts


def _start_worker(desk: multiprocessing.Queue[Callable[[Any], object]]) -> None:
    """Leave Ctrl-C to the parent, and end when a killed parent can't say so."""
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
