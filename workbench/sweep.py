"""Sweeps: cells to lanes to processes to records.

A cell is one run: pool, learner, controller, seed. Cells that differ only in numbers (seed and hyper-parameters)
become lanes of one array program; chunks of lanes go to worker processes; each finished chunk is kept on disk at
once. A cell's result depends on nothing but the cell, so neither chunks, nor processes, nor interruptions show.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd

from workbench.controllers import Controller
from workbench.errors import InputError, check_count, check_number, shown
from workbench.learners import KernelTransfer, SimLearner
from workbench.loop import train
from workbench.pool import Pool
from workbench.presets import LAWS, RULES, make_law, make_rule
from workbench.store import CellStore
from workbench.streams import Role, generator

BASELINE = "uniform"
ITEMS_IN_MEMORY = 8_000_000  # items x lanes of a chunk, in rules and learners that keep a number for each
ROLLOUTS_IN_CACHE = 131_072  # per step and chunk: enough to hide the cost of Python, few enough to stay in cache

Point = dict[str, Any]  # swept parameter, e.g. "adarft.eta" -> its value


class WorkerError(RuntimeError):
    """A worker process died; what was finished is kept."""


@dataclass(frozen=True)
class Arm:
    """What is compared: a rule and a law on a pool, with the swept settings that apply to them."""

    pool: str
    law: str
    law_settings: tuple[tuple[str, Any], ...]
    rule: str
    rule_settings: tuple[tuple[str, Any], ...]

    @property
    def learner(self) -> str:
        return _label(self.law, self.law_settings)

    @property
    def controller(self) -> str:
        return _label(self.rule, self.rule_settings)

    @property
    def settings(self) -> Point:
        """The swept settings of this arm, by their full names."""
        mine = [(self.law, self.law_settings), (self.rule, self.rule_settings)]
        return {f"{name}.{key}": value for name, settings in mine for key, value in settings}


@dataclass(frozen=True)
class Cell:
    """One run. `key`: SHA-256 of all that its result depends on, the code and what runs the code included."""

    arm: Arm
    seed: int
    key: str


@dataclass(frozen=True)
class Study:
    """What to run: every pool x learner x controller x point of the design x seed.

    pools: Pool objects. learners, controllers: names in `presets`; the baseline `uniform` always runs.
    points: settings per design point, {"adarft.eta": 5.0, "scalar.kappa": 0.05}; equal cells run once.
    seeds: seeds 0 .. seeds - 1, shared by all arms. steps: updates. batch: items per update. rollouts: per item.
    eval_every: steps between records. Raises InputError before any work.
    """

    pools: Sequence[Pool]
    learners: Sequence[str]
    controllers: Sequence[str]
    points: Sequence[Point] = field(default_factory=lambda: [{}])
    seeds: int = 16
    steps: int = 200
    batch: int = 256
    rollouts: int = 8
    eval_every: int = 5

    def __post_init__(self) -> None:
        for name in ("seeds", "steps", "batch", "rollouts", "eval_every"):
            check_count(name, getattr(self, name))
        for option, names, known in (
            ("controllers", self.controllers, RULES),
            ("learners", self.learners, LAWS),
        ):
            for name in names:
                if name not in known:
                    raise InputError(f"{option}: must be among {', '.join(known)}, got '{name}'")
            if not names or len(set(names)) < len(names):
                raise InputError(f"{option}: must be one or more different names, got {', '.join(names) or 'none'}")
        object.__setattr__(self, "pools", [pool.without_payload() for pool in self.pools])  # workers need no prompts
        names = [pool.name for pool in self.pools]
        if not names or len(set(names)) < len(names):
            raise InputError(f"pools: must be one or more pools with different names, got {', '.join(names) or 'none'}")
        if not self.points:
            raise InputError("points: must be at least one dict of settings, {} for none, got none")
        object.__setattr__(self, "points", [{name: plain(name, v) for name, v in p.items()} for p in self.points])
        for parameter in {name: None for point in self.points for name in point}:
            owner = parameter.split(".")[0]
            if "." not in parameter:
                raise InputError(f"points: must name parameters as owner.parameter, got '{parameter}'")
            if owner not in (*self.learners, *self.controllers):
                running = ", ".join((*self.controllers, *self.learners))
                raise InputError(f"set: '{parameter}' must belong to a controller or learner that runs ({running})")
        tried = set[tuple[Any, ...]]()
        for arm in self.arms:
            law = make_law(arm.law, dict(arm.law_settings))
            if not law.signal.exact:
                law.signal.check_rollouts(self.rollouts)
            if (arm.pool, arm.rule, arm.rule_settings) not in tried:
                tried.add((arm.pool, arm.rule, arm.rule_settings))
                rule = make_rule(arm.rule, dict(arm.rule_settings), self.steps)
                Controller(rule, self._pool(arm.pool)).next_batch(self.batch)

    def _pool(self, name: str) -> Pool:
        return next(pool for pool in self.pools if pool.name == name)

    @cached_property
    def arms(self) -> list[Arm]:
        """Every distinct arm, in the order of the lists."""
        rules = [BASELINE, *(name for name in self.controllers if name != BASELINE)]
        arms: dict[Arm, None] = {}
        for pool, law, rule, point in itertools.product(self.pools, self.learners, rules, self.points):
            arms[Arm(pool.name, law, _settings(point, law), rule, _settings(point, rule))] = None
        return list(arms)

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell, arm by arm, in the order of the final tables."""
        digests = {pool.name: pool.digest for pool in self.pools}
        shared = {name: getattr(self, name) for name in ("steps", "batch", "rollouts", "eval_every")}
        cells = []
        for arm in self.arms:
            config = shared | {
                "code": code_digest(),
                "numpy": np.__version__,
                "numba": numba.__version__,
                "machine": platform.machine(),
                "pool": digests[arm.pool],
                "law": describe(make_law(arm.law, dict(arm.law_settings))),
                "rule": describe(make_rule(arm.rule, dict(arm.rule_settings), self.steps)),
            }
            text = json.dumps(config, sort_keys=True)
            for seed in range(self.seeds):
                key = hashlib.sha256(f"{text} seed {seed}".encode()).hexdigest()[:32]
                cells.append(Cell(arm, seed, key))
        return cells

    def run(
        self,
        store: CellStore,
        jobs: int = 1,
        progress: Callable[[int, int], None] = lambda done, total: None,
        warn: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> pd.DataFrame:
        """Compute the cells that `store` lacks and return the curves of all, in the order of `cells`.

        jobs: worker processes. progress: called with (cells done, cells in all). warn: told of damaged files.
        Raises StorageError if the disk refuses, WorkerError if a worker process dies.
        """
        check_count("jobs", jobs)
        total = len(self.cells)
        twins = Counter(cell.key for cell in self.cells)  # equal cells under several names run once
        kept, damaged = store.read(set(twins))
        for line in damaged:
            warn(line)
        have = set(kept["cell"].cat.categories)
        todo = list({cell.key: cell for cell in self.cells if cell.key not in have}.values())
        done = total - sum(twins[cell.key] for cell in todo)
        progress(done, total)
        for chunk in _execute(self, _chunks(self, todo), store, jobs):
            done += sum(twins[cell.key] for cell in chunk)
            progress(done, total)
        frame = store.read(set(twins))[0] if todo else kept
        return self._tidy(frame)

    def _tidy(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Stored records -> the curves table: keys of each cell in front, canonical order."""
        stored = frame["cell"].cat
        rows = np.lexsort((frame["step"].to_numpy(), stored.codes.to_numpy()))  # cell by cell, step by step
        codes = stored.codes.to_numpy()[rows]
        start = dict(zip(stored.categories, np.searchsorted(codes, np.arange(len(stored.categories))), strict=True))
        records = int((codes == codes[0]).sum())
        blocks = [rows[start[cell.key] : start[cell.key] + records] for cell in self.cells]
        frame = frame.iloc[np.concatenate(blocks)].reset_index(drop=True)
        index = np.repeat(np.arange(len(self.cells)), records)
        swept = list(dict.fromkeys(name for point in self.points for name in point))
        arms = [cell.arm for cell in self.cells]
        keys: dict[str, list[Any]] = {
            "pool": [arm.pool for arm in arms],
            "learner": [arm.learner for arm in arms],
            "controller": [arm.controller for arm in arms],
            "law": [arm.law for arm in arms],
            "rule": [arm.rule for arm in arms],
        }
        for name in swept:
            values = [arm.settings.get(name) for arm in arms]
            text = any(isinstance(value, str) for value in values)
            keys[name] = values if text else [np.nan if value is None else value for value in values]
        table = pd.DataFrame(keys).iloc[index].reset_index(drop=True)
        return pd.concat([table, frame.drop(columns="cell")], axis=1)


# ------------------------------------------------------------------------------------------------------ designs


def plain(name: str, value: Any) -> Any:
    """A setting as a plain number or name: what fits in a label, a table and a manifest."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputError(f"points: must set {name} to a number or a name, got {shown(value)}")
    return value


def grid_points(choices: dict[str, list[Any]]) -> list[Point]:
    """Every combination of the values of each parameter."""
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def space_filling_points(ranges: dict[str, tuple[float, float, bool]], design: str, points: int) -> list[Point]:
    """`points` settings spread over ranges (low, high, logarithmic): scrambled Sobol or Latin hypercube.

    Sobol needs a power of two to keep its balance. Source: Owen 1998; McKay, Beckman & Conover 1979; scipy.stats.qmc.
    """
    from scipy.stats import qmc

    check_count("points", points)
    if design == "sobol" and points & (points - 1):
        raise InputError(f"points: must be a power of two for a sobol design, got {points}")
    engine = {"sobol": qmc.Sobol, "lhs": qmc.LatinHypercube}[design]
    for name, (low, high, logarithmic) in ranges.items():
        check_number(f"set {name}", np.array([low, high]))
        if low >= high or (logarithmic and low <= 0):
            raise InputError(f"set {name}: must be low:high with low < high, low > 0 for log, got {low:g}:{high:g}")
    seed = int(generator(0, Role.DESIGN).integers(2**63))  # scipy wants a generator that it can split
    unit = engine(len(ranges), rng=np.random.default_rng(seed)).random(points)
    columns = {}
    for column, (name, (low, high, logarithmic)) in zip(unit.T, ranges.items(), strict=True):
        values = low * (high / low) ** column if logarithmic else low + (high - low) * column
        columns[name] = [float(f"{value:.6g}") for value in values]  # short labels, still distinct
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# -------------------------------------------------------------------------------------------- identity of a cell


@cache
def code_digest() -> str:
    """SHA-256 over the source of everything a cell's result depends on: results of other code are not reused."""
    root = Path(__file__).parent
    sources = ["streams.py", "lanes.py", "kernels.py", "pool.py", "loop.py", "controllers", "learners"]
    digest = hashlib.sha256()
    for name in sources:
        path = root / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def describe(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as plain JSON values, with its class name."""
    values = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        values[item.name] = describe(value) if hasattr(value, "__dataclass_fields__") else value
    return {"class": type(settings).__name__} | values


def _settings(point: Point, owner: str) -> tuple[tuple[str, Any], ...]:
    return tuple((name.split(".", 1)[1], value) for name, value in point.items() if name.split(".")[0] == owner)


def _label(name: str, settings: tuple[tuple[str, Any], ...]) -> str:
    """Name and settings; a number in short form only where that is exact, so that labels differ where arms do."""

    def short(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else f"{value}"

    return " ".join([name, *(f"{key}={short(value)}" for key, value in settings)])


# ------------------------------------------------------------------------------------------- chunks and workers


def _chunks(study: Study, cells: list[Cell]) -> list[list[Cell]]:
    """Cells in chunks that can run as lanes of one program: same pool, classes and names; only numbers differ."""

    def shape(settings: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        return tuple((name, value if isinstance(value, str) else None) for name, value in settings)

    def program(cell: Cell) -> tuple[Any, ...]:
        arm = cell.arm
        return arm.pool, arm.law, shape(arm.law_settings), arm.rule, shape(arm.rule_settings)

    largest = max(len(pool) for pool in study.pools)
    lanes = max(1, min(ROLLOUTS_IN_CACHE // (study.batch * study.rollouts), ITEMS_IN_MEMORY // largest))
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.seed):  # lanes of one seed share their item difficulties
        groups.setdefault(program(cell), []).append(cell)
    chunks = [list(chunk) for group in groups.values() for chunk in _split(group, lanes)]
    return sorted(chunks, key=lambda chunk: not isinstance(LAWS[chunk[0].arm.law], KernelTransfer))  # slowest first


def _split(cells: list[Cell], size: int) -> Iterator[list[Cell]]:
    """Chunks of nearly equal length, at most `size`."""
    count = -(-len(cells) // size)
    for part in np.array_split(np.arange(len(cells)), count):
        yield [cells[index] for index in part]


def _execute(study: Study, chunks: list[list[Cell]], store: CellStore, jobs: int) -> Iterator[list[Cell]]:
    """Run the chunks; yields each when it is finished and stored."""
    if jobs == 1 or len(chunks) <= 1:
        for chunk in chunks:
            store.add(run_chunk(study, chunk))
            yield chunk
        return
    with ProcessPoolExecutor(
        min(jobs, len(chunks)), multiprocessing.get_context("spawn"), _start_worker, (study, store)
    ) as workers:
        waiting = iter(chunks)
        running: set[Future[list[Cell]]] = set()
        try:
            for chunk in itertools.islice(waiting, 2 * jobs):  # a short queue: little is lost on interruption
                running.add(workers.submit(_work, chunk))
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for chunk in itertools.islice(waiting, len(finished)):
                    running.add(workers.submit(_work, chunk))
                for future in finished:
                    yield future.result()
        except BrokenProcessPool:
            raise WorkerError("a worker process died (out of memory?)") from None
        except BaseException:  # an error, Ctrl-C: waiting for the other workers helps nobody
            workers.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def run_chunk(study: Study, chunk: list[Cell]) -> pd.DataFrame:
    """Train the cells of a chunk as lanes; their records, with a `cell` column."""
    first = chunk[0].arm
    pool = study._pool(first.pool)
    law = make_law(first.law, _lanes_of([dict(cell.arm.law_settings) for cell in chunk]))
    rule = make_rule(first.rule, _lanes_of([dict(cell.arm.rule_settings) for cell in chunk]), study.steps)
    seeds = np.array([cell.seed for cell in chunk], np.uint64)
    record = train(
        Controller(rule, pool, seed=seeds),
        SimLearner(law, pool, seeds),
        study.steps,
        study.batch,
        study.rollouts,
        study.eval_every,
    )
    frame = record.to_frame().drop(columns=list(record.names))  # the study has names of its own
    lanes = np.tile(np.arange(len(chunk)), len(record.steps))
    cells = pd.Categorical.from_codes(lanes, categories=pd.Index([cell.key for cell in chunk]))
    return frame.assign(cell=cells)


def _lanes_of(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Settings of each lane -> one array per number; names are the same in all lanes."""
    columns = {name: [lane[name] for lane in settings] for name in settings[0]}
    return {
        name: values[0] if isinstance(values[0], str) else np.array(values, np.float64)
        for name, values in columns.items()
    }


_job: tuple[Study, CellStore] | None = None  # a worker's own, set once when it starts


def _start_worker(study: Study, store: CellStore) -> None:
    """Leave Ctrl-C to the parent, and end when a killed parent can't say so."""
    global _job
    _job = study, store
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(chunk: list[Cell]) -> list[Cell]:
    assert _job is not None
    study, store = _job
    store.add(run_chunk(study, chunk))
    return chunk


def git_commit() -> str | None:
    """The commit of the code, with "+changes" if files differ from it; None outside a checkout."""
    import subprocess

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    return None
