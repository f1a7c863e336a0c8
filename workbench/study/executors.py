"""Programs on an executor of any package, on this machine or others: workers return columns, only this process writes.

Any `concurrent.futures.Executor` will do. By name: loky, ray, ray:HOST:PORT, dask:HOST:PORT.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from workbench.errors import InputError, WorkerError, shown
from workbench.extras import MissingExtra, named_extra
from workbench.pool import Pool
from workbench.study.identity import environment_of

if TYPE_CHECKING:
    from workbench.study.program import Program

PACKAGES = {"loky": "loky", "ray": "ray", "dask": "distributed"}
NAMES = "loky, ray, ray:HOST:PORT, dask:HOST:PORT or a concurrent.futures.Executor"
MOST_LOSSES = 3  # of workers with one program: then the program is at fault
AHEAD = 3  # programs in flight per worker: enough that none waits, few enough that a stop loses little
POOLS = 16  # that a worker remembers
PATIENCE = 10.0  # seconds for an address to answer


@dataclass
class Workers:
    """An executor; count: its workers, as far as known; lost: errors that say that a worker died; renew: an executor
    in place of one that is broken, None where there can be none."""

    executor: Executor
    count: int
    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)
    renew: Callable[[], Executor] | None = None


# ---- by name


def check_executor(given: Any, field: str = "executor") -> None:
    """InputError for an unknown name and an address that does not answer, MissingExtra where a package is missing."""
    if isinstance(given, Executor):
        return
    name, _, address = given.partition(":") if isinstance(given, str) else ("", "", "")
    if name not in PACKAGES or (name == "dask") > bool(address) or (name == "loky" and ":" in given):
        raise InputError(f"{field}: must be {NAMES}, got {shown(given)}")
    with named_extra():
        if find_spec(PACKAGES[name]) is None:
            raise MissingExtra(PACKAGES[name])
    if address:
        _check_answers(field, given, address)


def _check_answers(field: str, given: str, address: str) -> None:
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        host, port = parts.hostname, parts.port
        if not host or not port:
            raise ValueError("no host and port")
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except (OSError, ValueError) as error:
        raise InputError(f"{field}: must be an address, HOST:PORT, that answers within {PATIENCE:g} seconds, got "
                         f"{shown(given)} ({shown(str(error))})") from None  # fmt: skip


@contextmanager
def opened(given: str | Executor, jobs: int) -> Iterator[Workers]:
    """The workers of an executor that was checked. One given as an object is left open. jobs: how many to start, or to
    have work for where the executor does not tell how many it has."""
    if isinstance(given, Executor):
        told = getattr(given, "_max_workers", None)
        yield Workers(given, told if isinstance(told, int) and told > 0 else jobs)
        return
    name, _, address = given.partition(":")
    with {"loky": _loky, "ray": _ray, "dask": _dask}[name](address, jobs) as workers:
        yield workers


@contextmanager
def _loky(_: str, jobs: int) -> Iterator[Workers]:
    from loky import get_reusable_executor

    def make() -> Executor:
        executor: Executor = get_reusable_executor(max_workers=jobs, timeout=60)
        return executor

    try:
        yield Workers(make(), jobs, renew=make)
    finally:
        get_reusable_executor(max_workers=jobs).shutdown(wait=False, kill_workers=True)


@contextmanager
def _dask(address: str, jobs: int) -> Iterator[Workers]:
    from distributed import Client, KilledWorker

    try:
        client = Client(address if "//" in address else f"tcp://{address}", timeout=PATIENCE, set_as_default=False)
    except OSError as error:  # something listens there that is no scheduler
        raise InputError(f"executor: must be the address of a dask scheduler, got {shown(address)} ({error})") from None
    with client:
        threads = sum(client.nthreads().values())
        # the scheduler itself sends work of a lost worker to another, three times; then KilledWorker
        yield Workers(client.get_executor(pure=False), threads or jobs, (KilledWorker, CancelledError))


@contextmanager
def _ray(address: str, jobs: int) -> Iterator[Workers]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # its 30 are too few on a machine with other work
    import ray

    begun = not ray.is_initialized()
    if begun:
        where: dict[str, Any] = {"address": address} if address else {"num_cpus": jobs, "include_dashboard": False}
        try:
            ray.init(**where, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # of several classes, Exception itself among them
            raise WorkerError(f"Ray did not start ({str(error).splitlines()[0] if str(error) else error!r})") from None

    class OnRay(Executor):
        def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
            task = ray.remote(max_retries=0)(work)  # losses are counted here
            future: Future[Any] = task.remote(*arguments, **named).future()
            return future

    try:
        lost = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError)
        yield Workers(OnRay(), int(ray.cluster_resources().get("CPU", jobs)), lost)
    finally:
        if begun:
            ray.shutdown()


# ---- in a worker

_pools: dict[str, Pool] = {}  # those that came before, the latest last


def run_there(expected: Mapping[str, str], pool: Pool | str, packed: bytes) -> dict[str, Any] | None:
    """The columns of a program, in a worker; None if the pool of that digest must be sent first.

    expected: what the program was made with, as `environment_of` tells it. packed: the program, pickled without its
    pool. Raises WorkerError where code or packages here are other ones.
    """
    digest = pool if isinstance(pool, str) else pool.digest
    if not isinstance(pool, str):
        _pools.pop(digest, None)
        _pools[digest] = pool
        while len(_pools) > POOLS:
            del _pools[next(iter(_pools))]
    if digest not in _pools:
        return None
    program: Program = pickle.loads(packed)
    mine = environment_of(program.law, program.rule, *program.gates)
    for name in {**expected, **mine}:
        if expected.get(name) != mine.get(name):
            raise WorkerError(f"workers must have the code and packages of the process that sends them work: {name} is "
                              f"{mine.get(name)} there, {expected.get(name)} here")  # fmt: skip
    object.__setattr__(program, "pool", _pools[digest])
    return program.run()


# ---- in this process


@dataclass
class _Errand:
    program: Program
    with_pool: bool = False
    losses: int = 0
    packed: bytes = field(default=b"", repr=False)


def run_on(
    workers: Workers, programs: Sequence[Program], warn: Callable[[str], object]
) -> Iterator[tuple[Program, dict[str, Any]]]:
    """Each program with its columns, as they come. A pool is sent when a worker asks for it.

    What a lost worker had is sent again, and `warn` is told at the end how often. Raises WorkerError where a program
    loses its worker for the fourth time, or where all workers are gone. After an error or Ctrl-C nothing more starts.
    """
    waiting = deque(_Errand(program) for program in programs)
    running: dict[Future[Any], _Errand] = {}
    again = 0
    try:
        while waiting or running:
            while waiting and len(running) < AHEAD * workers.count:
                errand = waiting.popleft()
                try:
                    running[_submit(workers.executor, errand)] = errand
                except workers.lost as error:  # a broken executor refuses work
                    waiting.appendleft(errand)
                    if running:
                        break  # their futures tell the same
                    workers.executor = _renewed(workers, error)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                errand = running.pop(future)
                try:
                    columns = future.result()
                except workers.lost as error:
                    errand.losses += 1
                    again += 1
                    if errand.losses > MOST_LOSSES:
                        raise WorkerError(f"workers died with the same {len(errand.program.seeds)} runs "
                                          f"{errand.losses} times (out of memory?)") from error  # fmt: skip
                    if isinstance(error, BrokenExecutor) and not running:
                        workers.executor = _renewed(workers, error)
                    waiting.appendleft(errand)
                    continue
                if columns is None:
                    errand.with_pool = True
                    waiting.appendleft(errand)
                    continue
                yield errand.program, columns
    except BaseException:
        for future in running:
            future.cancel()
        raise
    finally:
        if again:
            warn(f"{again} chunks of runs were sent again, as their workers were lost")


def _submit(executor: Executor, errand: _Errand) -> Future[Any]:
    program = errand.program
    errand.packed = errand.packed or pickle.dumps(program)
    expected = environment_of(program.law, program.rule, *program.gates)
    return executor.submit(run_there, expected, program.pool if errand.with_pool else program.pool.digest,
                           errand.packed)  # fmt: skip


def _renewed(workers: Workers, error: BaseException) -> Executor:
    if workers.renew is None:
        raise WorkerError("the executor lost a worker and takes no more work (out of memory?)") from error
    with suppress(Exception):  # it is broken
        workers.executor.shutdown(wait=False)
    return workers.renew()
