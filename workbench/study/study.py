"""Sweeps: cells to lanes to processes to records."""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from typing import Any

import numba
import numpy as np
import pandas as pd

from workbench.controllers import Controller, ShortBatch
from workbench.errors import InputError, check_choice, check_count, shown
from workbench.learners import KernelTransfer, Law, SimLearner
from workbench.learners.learner import lengths
from workbench.loop import train_within
from workbench.pool import Pool
from workbench.registry import BASELINE, GATES, LAWS, RULES, Parts, make_controller, make_law, parts_of, per_lane_field
from workbench.study.design import Point, plain
from workbench.study.execute import execute
from workbench.study.identity import code_digest, describe, versions_of
from workbench.study.store import CellStore

BUDGETS = ("steps", "rollouts", "tokens")
FEW_SEEDS = 3  # of rules and learners that fit a model as they go
ITEMS_IN_MEMORY = 8_000_000  # items x lanes of a chunk, in rules and learners that keep a number for each
ROLLOUTS_IN_CACHE = 131_072  # per step and chunk: enough to hide the cost of Python, few enough to stay in cache


@dataclass(frozen=True)
class Arm:
    """What is compared: a controller and a law on a pool, with the swept settings that apply to them, by full name."""

    pool: str
    law: str
    law_settings: tuple[tuple[str, Any], ...]
    rule: str  # the controller without settings: RULE, GATE or RULE+GATE
    rule_settings: tuple[tuple[str, Any], ...]

    @property
    def learner(self) -> str:
        return label_of(self.law, self.law_settings)

    @property
    def controller(self) -> str:
        return label_of(self.rule, self.rule_settings)

    @property
    def settings(self) -> Point:
        """The swept settings of this arm, by their full names."""
        return dict(self.law_settings + self.rule_settings)

    def make_law(self) -> Law:
        return make_law(self.law, {name.split(".")[1]: value for name, value in self.law_settings})

    def make_controller(self, horizon: int) -> Parts:
        return make_controller(self.rule, dict(self.rule_settings), horizon)


@dataclass(frozen=True)
class Cell:
    """One run. `key`: SHA-256 of all that its result depends on, the code and what runs the code included."""

    arm: Arm
    seed: int
    key: str


@dataclass(frozen=True)
class Study:
    """What to run: every pool x learner x controller x point of the design x seed.

    pools: Pool objects. learners, controllers: names in `presets` (a rule, a gate, RULE+GATE); the baseline `uniform`
    always runs. points: settings per design point, {"adarft.eta": 5.0, "scalar.kappa": 0.05}; equal cells run once.
    seeds: seeds 0 .. seeds - 1, shared by all arms; rules and learners with a model to fit run on the first 3.
    steps: updates. batch: items per update. rollouts: per item. eval_every: steps between records.
    budget: what all runs spend alike. "steps": updates; "rollouts": steps x batch x rollouts attempts, those of
    rejected groups and probes included; "tokens": what as many attempts at random items of the pool would take. With
    the last two, a step of the tables is that share of the budget, and curves are interpolated onto it.
    Raises InputError before any work.
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
    budget: str = "steps"

    def __post_init__(self) -> None:
        for name in ("seeds", "steps", "batch", "rollouts", "eval_every"):
            check_count(name, getattr(self, name))
        check_choice("budget", self.budget, BUDGETS)
        for name in self.controllers:
            parts_of(name)
        for name in self.learners:
            if name not in LAWS:
                raise InputError(f"learners: must be among {', '.join(LAWS)}, got '{name}'")
        for option, names in (("controllers", self.controllers), ("learners", self.learners)):
            if not names or len(set(names)) < len(names):
                raise InputError(f"{option}: must be one or more different names, got {', '.join(names) or 'none'}")
        self._check_pools()
        self._check_points()
        self._try_arms()

    def __getstate__(self) -> dict[str, Any]:
        """What goes to the workers: not the thousands of cells, of which they get their chunks."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def _check_pools(self) -> None:
        object.__setattr__(self, "pools", [pool.without_payload() for pool in self.pools])  # workers need no prompts
        names = [pool.name for pool in self.pools]
        if not names or len(set(names)) < len(names):
            raise InputError(f"pools: must be one or more pools with different names, got {', '.join(names) or 'none'}")

    def _check_points(self) -> None:
        if not self.points:
            raise InputError("points: must be at least one dict of settings, {} for none, got none")
        object.__setattr__(self, "points", [{name: plain(name, v) for name, v in p.items()} for p in self.points])
        for parameter in {name: None for point in self.points for name in point}:
            owner = parameter.split(".")[0]
            if "." not in parameter:
                raise InputError(f"points: must name parameters as owner.parameter, got '{parameter}'")
            parts = [part for name in self.controllers for part in parts_of(name)]
            if owner not in (*self.learners, *parts):
                running = ", ".join(dict.fromkeys((*parts, *self.learners)))
                raise InputError(f"set: '{parameter}' must belong to a controller or learner that runs ({running})")
            values = dict.fromkeys(point.get(parameter) for point in self.points)
            if owner == BASELINE and len(values) > 1:
                raise InputError(f"{parameter}: must be one value, for there is one baseline, got {shown([*values])}")

    def _try_arms(self) -> None:
        """Make every rule and law, and draw one batch: what cannot run says so now."""
        tried = set[tuple[Any, ...]]()
        for arm in self.arms:
            law = arm.make_law()
            law.check_packages()
            if not law.signal.exact:
                law.signal.check_rollouts(self.rollouts)
            if self.budget == "tokens" and not lengths(law, self._pool(arm.pool)).any():
                raise InputError(f"budget: must not be tokens where attempts have none, got learner '{arm.learner}'")
            if (arm.pool, arm.rule, arm.rule_settings) not in tried:
                tried.add((arm.pool, arm.rule, arm.rule_settings))
                rule, gates = arm.make_controller(self.steps)
                for gate in gates:
                    gate.check_rollouts(self.rollouts)
                Controller(rule, self._pool(arm.pool), gates).next_batch(self.batch)

    def _pool(self, name: str) -> Pool:
        return next(pool for pool in self.pools if pool.name == name)

    @cached_property
    def arms(self) -> list[Arm]:
        """Every distinct arm, in the order of the lists."""
        rules = [BASELINE, *(name for name in self.controllers if name != BASELINE)]
        arms: dict[Arm, None] = {}
        for pool, law, rule, point in itertools.product(self.pools, self.learners, rules, self.points):
            arms[Arm(pool.name, law, _settings(point, [law]), rule, _settings(point, parts_of(rule)))] = None
        return list(arms)

    def seeds_of(self, arm: Arm) -> int:
        """Number of seeds: fewer for rules and learners that fit a model as they go."""
        slow = RULES[parts_of(arm.rule)[0]].fits_model or LAWS[arm.law].trains_model
        return min(self.seeds, FEW_SEEDS) if slow else self.seeds

    @property
    def packages(self) -> dict[str, str]:
        """Versions of the packages that only some rules and learners compute with, for those that run."""
        rules = [RULES[parts_of(name)[0]] for name in self.controllers]
        return versions_of(*rules, *(LAWS[name] for name in self.learners))

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell, arm by arm, in the order of the final tables."""
        digests = {pool.name: pool.digest for pool in self.pools}
        shared = {name: getattr(self, name) for name in ("steps", "batch", "rollouts", "eval_every", "budget")}
        cells = []
        for arm in self.arms:
            rule, gates = arm.make_controller(self.steps)
            config = shared | versions_of(rule, LAWS[arm.law]) | {
                "code": code_digest(),
                "numpy": np.__version__,
                "numba": numba.__version__,
                "machine": platform.machine(),
                "pool": digests[arm.pool],
                "law": describe(arm.make_law()),
                "rule": describe(rule),
                "gates": [describe(gate) for gate in gates],
            }
            text = json.dumps(config, sort_keys=True)
            for seed in range(self.seeds_of(arm)):
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
        for chunk in execute(partial(_keep_chunk, self, store), _chunks(self, todo), jobs):
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
        labels = {arm: self.label_rollouts(arm) for arm in self.arms}
        bought = pd.Series([labels[arm] for arm in arms], name="label_rollouts").iloc[index].reset_index(drop=True)
        return pd.concat([table, frame.drop(columns="cell"), bought], axis=1)

    def label_rollouts(self, arm: Arm) -> float:
        """Attempts behind the difficulty labels that the arm's rule reads; NaN if the pool does not say.

        The pool does not say what the pass rates of other reference models cost either.
        """
        rule = arm.make_controller(self.steps)[0]
        if {"weak_rate", "strong_rate"} & set(rule.needs):
            return np.nan
        if not rule.labels:
            return 0.0
        attempts = self._pool(arm.pool).attempts
        return np.nan if attempts is None else float(attempts.sum())


def _settings(point: Point, owners: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in point.items() if name.split(".")[0] in owners)


def label_of(name: str, settings: tuple[tuple[str, Any], ...]) -> str:
    """Name and settings; a number in short form only where that is exact, so that labels differ where arms do."""

    def short(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else f"{value}"

    alone = "+" not in name
    return " ".join([name, *(f"{key.split('.')[1] if alone else key}={short(value)}" for key, value in settings)])


def _chunks(study: Study, cells: list[Cell]) -> list[list[Cell]]:
    """Cells in chunks that can run as lanes of one program: same pool, classes and names; only numbers differ."""

    def shape(settings: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        return tuple((name, None if _of_lane(name) else value) for name, value in settings)

    def program(cell: Cell) -> tuple[Any, ...]:
        arm = cell.arm
        return arm.pool, arm.law, shape(arm.law_settings), arm.rule, shape(arm.rule_settings)

    largest = max(len(pool) for pool in study.pools)
    lanes = max(1, min(ROLLOUTS_IN_CACHE // (study.batch * study.rollouts), ITEMS_IN_MEMORY // largest))
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.seed):  # lanes of one seed share their item difficulties
        groups.setdefault(program(cell), []).append(cell)
    chunks = [list(chunk) for group in groups.values() for chunk in _split(group, lanes)]
    return sorted(chunks, key=lambda chunk: -_slowness(chunk[0].arm))  # slowest first: no process is left with them


def _slowness(arm: Arm) -> int:
    if RULES[parts_of(arm.rule)[0]].fits_model:
        return 3
    law = LAWS[arm.law]
    return 2 if law.trains_model else int(isinstance(law, KernelTransfer))


def _split(cells: list[Cell], size: int) -> Iterator[list[Cell]]:
    """Chunks of nearly equal length, at most `size`."""
    count = -(-len(cells) // size)
    for part in np.array_split(np.arange(len(cells)), count):
        yield [cells[index] for index in part]


def _keep_chunk(study: Study, store: CellStore, chunk: list[Cell]) -> None:
    store.add(run_chunk(study, chunk))


def run_chunk(study: Study, chunk: list[Cell]) -> dict[str, Any]:
    """Train the cells of a chunk as lanes; the columns of their records, and `cell`."""
    first = chunk[0].arm
    pool = study._pool(first.pool)
    together = replace(
        first,
        law_settings=_lanes_of([cell.arm.law_settings for cell in chunk]),
        rule_settings=_lanes_of([cell.arm.rule_settings for cell in chunk]),
    )
    rule, gates = together.make_controller(study.steps)
    seeds = np.array([cell.seed for cell in chunk], np.uint64)
    controller, learner = Controller(rule, pool, gates, seed=seeds), SimLearner(together.make_law(), pool, seeds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortBatch)  # the tables count them
        record = train_within(study, controller, learner)
    lanes = np.tile(np.arange(len(chunk)), len(record.steps))
    cells = pd.Categorical.from_codes(lanes, categories=pd.Index([cell.key for cell in chunk]))
    return record.columns() | {"cell": cells}


def _lanes_of(settings: list[tuple[tuple[str, Any], ...]]) -> tuple[tuple[str, Any], ...]:
    """Settings of each lane -> one array for each number that may differ; the others are the same in all lanes."""
    columns = zip(*settings, strict=True)  # of pairs (name, value), one from each lane
    return tuple(
        (lanes[0][0], np.array([value for _, value in lanes], np.float64) if _of_lane(lanes[0][0]) else lanes[0][1])
        for lanes in columns
    )


def _of_lane(name: str) -> bool:
    """Whether a setting, by its full name, may differ between the lanes of one program."""
    owner, field = name.split(".")
    presets: dict[str, Any] = {**RULES, **GATES, **LAWS}
    return per_lane_field(presets[owner], field)
