"""The one engine: array programs, and the runner that keeps what they find."""

from __future__ import annotations

import itertools
import pickle
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.controllers import Controller, Gate, Rule, ShortBatch, StepPerCall
from workbench.delivery import BATCH
from workbench.errors import InputError, check_count
from workbench.learners import Law, SimLearner
from workbench.loop import train_within
from workbench.pool import Pool
from workbench.study.execute import execute, refuse_unguarded_script
from workbench.study.identity import array_digest, as_text, cell_key, content_of, source_file
from workbench.study.store import CellStore, Records, together

MOST_IN_THREADS = 2  # jobs: more would wait for Python's lock, which each holds for a fifth of its time


@dataclass(frozen=True, eq=False)
class Program:
    """R runs as the lanes of one array program.

    pool, law, rule, gates: hyper-parameters are numbers or (R,) arrays. seeds: (R,).
    steps: updates. batch: items per update. rollouts: per item. eval_every: steps between records.
    budget: what all runs spend alike, as in `Study`. keep: the columns of the record that are kept; all if None.
    b: (I,) true difficulties in logits where the labels do not give them.
    known_keys: the keys of the lanes where the caller has them already. lag, delivery: as in `train`.
    """

    pool: Pool
    law: Law
    rule: Rule
    gates: tuple[Gate, ...]
    seeds: NDArray[Any]
    steps: int
    batch: int
    rollouts: int
    eval_every: int
    budget: str = "steps"
    keep: tuple[str, ...] | None = None
    b: ArrayLike | None = None
    known_keys: Sequence[str] | None = None
    lag: int = 0
    delivery: str = BATCH

    @cached_property
    def keys(self) -> Sequence[str]:
        """(R,) what identifies the result of each lane: SHA-256 of all that it depends on, the code included.

        A lane has the key of the same run in any other program, alone or beside other lanes.
        """
        if self.known_keys is not None:
            return self.known_keys
        shape = shape_of(self.steps, self.batch, self.rollouts, self.eval_every, self.budget, self.keep, self.b,
                         self.lag, self.delivery)  # fmt: skip
        one = not any(_lane_fields(part) for part in (self.law, self.rule, *self.gates))
        content = partial(content_of, self.law, self.rule, self.gates, self.pool, shape)
        texts = [as_text(content())] * len(self.seeds) if one else [as_text(content(r)) for r in range(len(self.seeds))]
        return [cell_key(text, int(seed)) for text, seed in zip(texts, self.seeds, strict=True)]

    def run(self, after_step: Callable[[int, Any], object] | None = None) -> dict[str, Any]:
        """Columns of equal length, a row per record and lane: `cell` (the lane's key), step and what is kept.

        Lanes with the same key are there once. after_step: as in `train`.
        """
        with _without_warnings():
            return self._run(after_step)

    def _run(self, after_step: Callable[[int, Any], object] | None) -> dict[str, Any]:
        seeds = np.asarray(self.seeds)
        controller = Controller(self.rule, self.pool, self.gates, seed=seeds)
        learner = SimLearner(self.law, self.pool, seeds, b=self.b)
        record = train_within(self, controller, learner, after_step)
        columns = record.columns()
        if self.keep is not None:
            columns = {name: columns[name] for name in ("step", *self.keep)}
        code = {key: number for number, key in enumerate(dict.fromkeys(self.keys))}
        lanes = np.tile([code[key] for key in self.keys], len(record.steps))
        if len(code) < len(seeds):
            first = np.unique([code[key] for key in self.keys], return_index=True)[1]
            rows = np.isin(np.tile(np.arange(len(seeds)), len(record.steps)), first)
            columns, lanes = {name: column[rows] for name, column in columns.items()}, lanes[rows]
        return columns | {"cell": pd.Categorical.from_codes(lanes, categories=pd.Index(list(code)))}

    def __getstate__(self) -> dict[str, Any]:
        """Without the pool: `compute` sends each pool to a worker process once, not with every program."""
        _ = self.keys  # found here, once
        return {name: value for name, value in self.__dict__.items() if name != "pool"}


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Leave out what the tables count (ShortBatch) or what was asked for (StepPerCall), in all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortBatch)
        warnings.simplefilter("ignore", StepPerCall)
        yield


def shape_of(
    steps: int,
    batch: int,
    rollouts: int,
    eval_every: int,
    budget: str,
    keep: tuple[str, ...] | None = None,
    b: ArrayLike | None = None,
    lag: int = 0,
    delivery: str = BATCH,
) -> dict[str, Any]:
    """What the result of a run depends on beside its parts, for `content_of`."""
    shape: dict[str, Any] = {
        "steps": int(steps), "batch": int(batch), "rollouts": int(rollouts), "eval_every": int(eval_every),
        "budget": budget, "lag": int(lag), "delivery": delivery,
    }  # fmt: skip
    if keep is not None:
        shape["keep"] = list(keep)
    if b is not None:
        shape["b"] = array_digest(np.asarray(b, np.float64))
    return shape


def _lane_fields(part: Any) -> list[str]:
    """The hyper-parameters of a part, and of parts inside it, that are arrays."""
    names = []
    for item in fields(part):
        value = getattr(part, item.name)
        names += _lane_fields(value) if is_dataclass(value) else [item.name] * isinstance(value, np.ndarray)
    return names


# ---- the runner


def compute(
    wanted: Mapping[str, int],
    compile_programs: Callable[[set[str]], Iterable[Program]],
    store: CellStore,
    jobs: int = 1,
    progress: Callable[[int, int], object] = lambda done, total: None,
    warn: Callable[[str], object] = lambda line: print(line, file=sys.stderr),
    executor: str | Executor | None = None,
) -> Records:
    """The records of the wanted cells: those that the store lacks are computed and kept first.

    wanted: keys of cells, each with the number of cells that `progress` counts for it. compile_programs: given the
    keys that are missing, the programs that compute them. jobs: worker processes; two are threads of this one unless
    a program fits a model: they have nothing to load, and each holds Python's lock for a fifth of its time at most.
    progress: called with (cells done, cells in all). warn: called with a line for each damaged file.
    executor: computes the programs in place of worker processes of ours, see `workbench.study.executors`; only this
    process then writes.
    Raises StorageError if the disk refuses, WorkerError if a worker process dies, InputError if a program cannot be
    sent to one.
    """
    check_count("jobs", jobs)
    if jobs > 1:
        refuse_unguarded_script()
    kept, damaged = store.read(set(wanted))
    for line in damaged:
        warn(line)
    missing = set(wanted) - set(kept["cell"].cat.categories)
    total = sum(wanted.values())
    done = total - sum(wanted[key] for key in missing)
    progress(done, total)
    if not missing:
        return Records(kept)
    programs = list(compile_programs(missing))
    parts: list[dict[str, Any] | None] = []
    for program, columns in _computed(programs, store, jobs, warn, executor):
        parts.append(None if len(kept) else columns)
        fresh = missing.intersection(program.keys)
        missing -= fresh
        done += sum(wanted[key] for key in fresh)
        progress(done, total)
    at_hand = [columns for columns in parts if columns is not None]
    found = Counter(key for columns in at_hand for key in columns["cell"].categories)
    return Records(together(at_hand) if found == Counter(set(wanted)) else store.read(set(wanted))[0])


def _computed(
    programs: list[Program], store: CellStore, jobs: int, warn: Callable[[str], object], executor: str | Executor | None
) -> Iterator[tuple[Program, dict[str, Any] | None]]:
    """Each program when its records are kept, with its columns, or None where a worker process kept them."""
    if executor is not None:
        from workbench.study.executors import opened, run_on

        check_portable(programs, "executor: must be none")
        with opened(executor, jobs) as workers:
            for program, columns in run_on(workers, programs, warn):
                store.add(columns)
                yield program, columns
        return
    if jobs == 1 or len(programs) == 1:
        for program in programs:
            columns = program.run()
            store.add(columns)
            yield program, columns
        return
    most = 1 if any(p.rule.fits_model or p.law.trains_model for p in programs) else MOST_IN_THREADS
    if jobs <= most:
        for program, columns in _in_threads(programs, jobs):
            store.add(columns)
            yield program, columns
        return
    check_portable(programs, f"jobs: must be {'1' if most == 1 else f'<= {most}'}")
    pools = list({id(program.pool): program.pool for program in programs}.values())
    place = {id(pool): number for number, pool in enumerate(pools)}
    tasks = [(place[id(program.pool)], program) for program in programs]
    for _, program in execute(partial(_keep, store, pools), tasks, jobs):
        yield program, None


def _in_threads(programs: Sequence[Program], jobs: int) -> Iterator[tuple[Program, dict[str, Any]]]:
    """Each program with its columns, as they come, from threads of this process.

    After an error or Ctrl-C the others end with their step.
    """
    ended = threading.Event()

    def check(step: int, success: Any) -> None:
        if ended.is_set():
            raise CancelledError

    waiting = iter(programs)
    with _without_warnings(), ThreadPoolExecutor(jobs) as threads:
        try:
            running = {threads.submit(p._run, check): p for p in itertools.islice(waiting, 2 * jobs)}
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    program = running.pop(future)
                    running |= {threads.submit(p._run, check): p for p in itertools.islice(waiting, 1)}
                    yield program, future.result()
        except BaseException:
            ended.set()
            threads.shutdown(cancel_futures=True)
            raise


def _keep(store: CellStore, pools: list[Pool], task: tuple[int, Program]) -> None:
    place, program = task
    object.__setattr__(program, "pool", pools[place])  # it travelled without
    store.add(program.run())


def check_portable(programs: Iterable[Program], domain: str) -> None:
    """InputError unless a worker process can load the classes of the programs; domain: what then must be."""
    tried = set[type]()
    for program in programs:
        for part in (program.law, program.rule, *program.gates):
            cls = type(part)
            if cls in tried:
                continue
            tried.add(cls)
            if source_file(cls) is None:
                raise InputError(f"{domain} for {cls.__qualname__}, a class defined in a notebook or at a "
                                 "prompt; define it in a file to use worker processes")  # fmt: skip
            try:
                pickle.dumps(part)
            except Exception as error:  # whatever its own methods raise
                raise InputError(f"{domain} for {cls.__qualname__}, which cannot be sent to a worker process "
                                 f"({error})") from None  # fmt: skip
