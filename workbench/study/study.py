"""Studies: what to run by names or objects, as cells, as array programs, as tables."""

from __future__ import annotations

import atexit
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from workbench.controllers import Controller, Gate, Rule
from workbench.delivery import BATCH, check_delivery
from workbench.display import as_html
from workbench.errors import (
    MOST_STEPS,
    InputError,
    bound,
    check_attempts,
    check_choice,
    check_count,
    check_number,
    shown,
)
from workbench.files import check_folder, only_writer
from workbench.labels import Settings, label_of, preset_of, settings_beside
from workbench.learners import KernelTransfer, Law
from workbench.learners.learner import lengths
from workbench.pool import PRESETS, Pool
from workbench.pool.layouts import split_mapping
from workbench.progress import progress_bar
from workbench.registry import (
    BASELINE,
    Parts,
    find_law,
    make_controller,
    make_law,
    make_rule,
    name_of,
    owner_and_field,
    parts_of,
    per_lane_field,
)
from workbench.study.design import Point, plain
from workbench.study.execute import refuse_unguarded_script
from workbench.study.identity import as_text, cell_key, content_of, describe, versions_of
from workbench.study.program import Program, compute, shape_of
from workbench.study.shards import Shard
from workbench.study.store import CellStore, Records
from workbench.tables.formats import SOURCES, is_source

if TYPE_CHECKING:
    from workbench.study.result import Result

AnyPool: TypeAlias = Pool | str | os.PathLike[str]
AnyLearner: TypeAlias = str | Law
AnyController: TypeAlias = str | Rule | Gate | tuple[Rule | Gate, ...]

BUDGETS = ("steps", "rollouts", "tokens")
MOST_RECORDS = 10**8  # of all runs of a study: each takes a few hundred bytes
FEW_SEEDS = 3  # of rules and learners that fit a model as they go
ITEMS_IN_MEMORY = 8_000_000  # items x lanes of a program, in rules and learners that keep a number for each
PROGRAMS_PER_WORKER = 4  # so that none is left waiting for the last
RUN = "run"  # owner of the settings that belong to neither a controller nor a learner: run.lag, run.delivery
ROLLOUTS_IN_CACHE = 131_072  # per step and program: enough to hide the cost of Python, few enough to stay in cache


@dataclass(frozen=True, eq=False)
class Arm:
    """What is compared: a controller and a learner on a pool.

    pool, learner, controller: labels, different for different arms. law, rule: the same without swept settings; a
    rule with gates is RULE+GATE. settings: the settings that apply, by their full names, of those swept in points or
    different between objects.
    made_law, made_rule, made_gates: the objects. lag, delivery: as in `train`.
    """

    pool: str
    learner: str
    controller: str
    law: str
    rule: str
    settings: Point
    made_law: Law
    made_rule: Rule
    made_gates: tuple[Gate, ...]
    lag: int = 0
    delivery: str = BATCH

    @property
    def parts(self) -> tuple[Law | Rule | Gate, ...]:
        return self.made_law, self.made_rule, *self.made_gates

    def plain_settings(self) -> Point:
        """Every setting of its parts that is a number or a name, by its full name."""
        named = [(name_of(part), part) for part in self.parts]
        told = {f"{name}.{item.name}": getattr(part, item.name) for name, part in named for item in fields(part)}
        return {name: value for name, value in told.items() if isinstance(value, (bool, int, float, str))}


@dataclass(frozen=True)
class Cell:
    """One run. `key`: SHA-256 of all that its result depends on, the code and what runs the code included."""

    arm: Arm
    seed: int
    key: str


@dataclass(frozen=True, eq=False)
class Choice:
    """A learner or a controller of a study.

    name: its label without swept settings. kind: the name without any settings, for tables. owners: the names whose
    settings of a point apply; none for an object, which has its settings. make: the parts with such settings.
    objects: the parts that were given as objects.
    """

    name: str
    kind: str
    owners: tuple[str, ...]
    make: Callable[[dict[str, Any]], Any]
    objects: tuple[Law | Rule | Gate, ...] = ()


@dataclass(frozen=True, eq=False)
class Study:
    """What to run: every pool x learner x controller x point of the design x seed.

    pools: Pool objects, names of presets or paths of files. learners: names or laws. controllers: names (a rule, a
    gate, RULE+GATE), rules, gates, or tuples of a rule and gates; the baseline `uniform` always runs. Names and
    objects mix. An object keeps its settings; its label names those that differ from the preset's: "adarft eta=10".
    A schedule given as an object keeps its own horizon (LinearSchedule() has 100), by name it gets the study's steps.
    points: settings per design point, {"adarft.eta": 5.0, "scalar.kappa": 0.05}, for what was given by name; equal
    cells run once.
    seeds: seeds 0 .. seeds - 1, shared by all arms; rules and learners with a model to fit run on the first 3.
    steps: updates. batch: items per update. rollouts: per item. eval_every: steps between records.
    budget: what all runs spend alike. "steps": updates; "rollouts": steps x batch x rollouts attempts, those of
    rejected groups and probes included; "tokens": what as many attempts at random items of the pool would take. With
    the last two, a step of the tables is that share of the budget, and curves are interpolated onto it.
    lag, delivery: when rules hear of rewards, as in `train`: batches >= 0, and "batch" or "group". A list of them makes
    arms of their own for every controller but the baseline, which hears nothing; the settings are run.lag and
    run.delivery.
    Raises InputError before any work.
    """

    pools: Sequence[AnyPool]
    learners: Sequence[AnyLearner]
    controllers: Sequence[AnyController]
    points: Sequence[Point] = field(default_factory=lambda: [{}])
    seeds: int = 16
    steps: int = 200
    batch: int = 256
    rollouts: int = 8
    eval_every: int = 5
    budget: str = "steps"
    lag: int | Sequence[int] = 0
    delivery: str | Sequence[str] = BATCH

    def __post_init__(self) -> None:
        for name in ("seeds", "batch", "rollouts", "eval_every"):
            check_count(name, getattr(self, name))
        check_count("steps", self.steps, 1, MOST_STEPS)
        check_attempts(self.batch, self.rollouts)
        check_choice("budget", self.budget, BUDGETS)
        for option in ("lag", "delivery"):
            given = listed(option, getattr(self, option), (str, bool, int, float))
            for value in given:
                check_delivery(**{"lag": 0, "delivery": BATCH, option: value})
            if not given or len(set(given)) < len(given):
                raise InputError(f"{option}: must be one or more different values, got {shown(given)}")
            object.__setattr__(self, option, given)
        for option, single in (("controllers", (str, Rule, Gate)), ("learners", (str, Law)),
                               ("pools", (str, os.PathLike, Pool)), ("points", (Mapping,))):  # fmt: skip
            object.__setattr__(self, option, listed(option, getattr(self, option), single))
        for option, choices in (("controllers", self._controllers), ("learners", self._learners)):
            check_names(option, [choice.name for choice in choices], "names")
        # worker processes need no prompts
        object.__setattr__(self, "pools", [as_pool(pool).without_payload() for pool in self.pools])
        check_names("pools", [pool.name for pool in self._pools], "pools with")
        self._check_points()
        self._check_size()
        self._try_arms()

    def __getstate__(self) -> dict[str, Any]:
        """The settings, without what is derived from them."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __repr__(self) -> str:
        names = {"pools": [pool.name for pool in self._pools], "learners": [one.name for one in self._learners],
                 "controllers": [one.name for one in self._controllers]}  # fmt: skip
        listing = ", ".join(f"{option}: {', '.join(values)}" for option, values in names.items())
        swept = f"; {len(self.points)} points" if len(self.points) > 1 else ""
        late = f"; {self._told_delivery}" if self._told_delivery else ""
        return (f"Study of {len(self.arms)} arms, {len(self.cells)} runs ({listing}{swept}; {self.seeds} seeds; "
                f"{self.steps} updates of {self.batch} x {self.rollouts}{late})")  # fmt: skip

    def _repr_html_(self) -> str:
        runs = f"{len(self.cells)}, of {len(self.arms)} arms with up to {self.seeds} seeds each"
        swept = {"points": len(self.points)} if len(self.points) > 1 else {}
        told = {
            "pools": ", ".join(f"{pool.name} ({len(pool)} items)" for pool in self._pools),
            "learners": ", ".join(one.name for one in self._learners),
            "controllers": ", ".join(one.name for one in self._controllers),
            **swept,
            "runs": runs,
            "updates": f"{self.steps} of {self.batch} items x {self.rollouts} rollouts",
            "budget": self.budget,
        } | ({"feedback": self._told_delivery} if self._told_delivery else {})
        return as_html("Study", told)

    @property
    def _told_delivery(self) -> str:
        """When rules hear of rewards; empty where it is at once and by the batch."""
        late = f"lag {', '.join(map(str, self._lags))}" if self._lags != [0] else ""
        parts = f"by the {' and by the '.join(self._kinds)}" if self._kinds != [BATCH] else ""
        return " ".join(filter(None, (late, parts)))

    @property
    def _lags(self) -> list[int]:
        return listed("lag", self.lag, (int,))

    @property
    def _kinds(self) -> list[str]:
        return listed("delivery", self.delivery, (str,))

    @property
    def deliveries(self) -> list[tuple[int, str, Settings]]:
        """Each (lag, delivery), and the settings that tell it from the others."""
        several = {f"{RUN}.lag": len(self._lags) > 1, f"{RUN}.delivery": len(self._kinds) > 1}
        return [
            (lag, kind, tuple(pair for pair in zip(several, (lag, kind), strict=True) if several[pair[0]]))
            for lag, kind in itertools.product(self._lags, self._kinds)
        ]

    @property
    def _pools(self) -> list[Pool]:
        return [pool for pool in self.pools if isinstance(pool, Pool)]

    @cached_property
    def _learners(self) -> list[Choice]:
        return [learner_choice(given) for given in self.learners]

    @cached_property
    def _controllers(self) -> list[Choice]:
        return [controller_choice(given, self.steps) for given in self.controllers]

    def _check_points(self) -> None:
        if not self.points:
            raise InputError("points: must be at least one dict of settings, {} for none, got none")
        for point in self.points:
            if not isinstance(point, Mapping):
                raise InputError(f"points: must be dicts of settings, got {shown(point)}")
            for name in point:
                if not isinstance(name, str):
                    raise InputError(f"points: must name parameters as owner.parameter, got {shown(name)}")
        object.__setattr__(self, "points", [{name: plain(name, v) for name, v in p.items()} for p in self.points])
        parts = [owner for choice in (*self._controllers, *self._learners) for owner in choice.owners]
        parts.append(BASELINE)  # it always runs
        for parameter in {name: None for point in self.points for name in point}:
            owner, _ = owner_and_field(parameter)
            if not owner:
                raise InputError(f"points: must name parameters as owner.parameter, got '{parameter}'")
            if owner not in parts:
                running = ", ".join(dict.fromkeys(parts))
                raise InputError(f"points (--set): '{parameter}' must belong to a controller or learner that runs and "
                                 f"was given by name ({running}), got {shown(owner)}")  # fmt: skip
            values = dict.fromkeys(point.get(parameter) for point in self.points)
            if owner == BASELINE and len(values) > 1:
                raise InputError(f"{parameter}: must be one value, for there is one baseline, got {shown([*values])}")

    def _check_size(self) -> None:
        """InputError where memory could not hold what all runs record."""
        runs = len(self._pools) * len(self._learners) * (len(self._controllers) + 1) * len(self.points) * self.seeds
        runs *= len(self.deliveries)
        rows = runs * (self.steps // self.eval_every + 1)
        if rows > MOST_RECORDS:
            raise InputError(f"seeds, steps and points: must give <= {bound(MOST_RECORDS)} records, what memory holds, "
                             f"in {runs} runs (a record every eval_every updates), got {rows}")  # fmt: skip

    def _try_arms(self) -> None:
        """Make every rule and law, and draw one batch: what cannot run says so now."""
        tried = set[tuple[str, str]]()
        for arm in self.arms:
            arm.made_law.check_packages()
            if not arm.made_law.signal.exact:
                arm.made_law.signal.check_rollouts(self.rollouts)
            pool = self._pool(arm.pool)
            if self.budget == "tokens" and not lengths(arm.made_law, pool).any():
                raise InputError(f"budget: must not be tokens where attempts have none, got learner '{arm.learner}'")
            if (arm.pool, arm.controller) not in tried:
                tried.add((arm.pool, arm.controller))
                for gate in arm.made_gates:
                    gate.check_rollouts(self.rollouts)
                Controller(arm.made_rule, pool, arm.made_gates).next_batch(self.batch)

    def _pool(self, name: str) -> Pool:
        return next(pool for pool in self._pools if pool.name == name)

    @cached_property
    def arms(self) -> list[Arm]:
        """Every distinct arm, in the order of the lists."""
        baseline = controller_choice(BASELINE, self.steps)
        controllers = [baseline, *(choice for choice in self._controllers if choice.name != BASELINE)]
        arms: dict[tuple[str, str, str], Arm] = {}
        for pool, learner, controller, point, (lag, delivery, of_run) in itertools.product(
            self._pools, self._learners, controllers, self.points, self.deliveries
        ):
            of_law, of_rule = _applying(point, learner.owners), _applying(point, controller.owners)
            own = of_rule if controller.kind == BASELINE else of_rule + of_run
            labels = pool.name, label_of(learner.name, of_law), label_of(controller.name, own)
            if labels not in arms:
                rule, gates = controller.make(dict(of_rule))
                law = learner.make(dict(of_law))
                arms[labels] = Arm(*labels, learner.kind, controller.kind, dict(of_law + own), law, rule,
                                   tuple(gates), lag, delivery)  # fmt: skip
        return self._with_settings_of_objects(list(arms.values()))

    def _with_settings_of_objects(self, arms: list[Arm]) -> list[Arm]:
        """The arms, with the settings in which objects differ from others of their name, as lanes of a Record have."""
        owners = {name_of(part) for choice in (*self._controllers, *self._learners) for part in choice.objects}
        if not owners:
            return arms
        told = [
            {name: value for name, value in arm.plain_settings().items() if owner_and_field(name)[0] in owners}
            for arm in arms
        ]
        values: dict[str, set[Any]] = {}
        for settings in told:
            for name, value in settings.items():
                values.setdefault(name, set()).add(value)
        varying = {name for name, some in values.items() if len(some) > 1}
        return [
            replace(arm, settings={name: value for name, value in settings.items() if name in varying} | arm.settings)
            for arm, settings in zip(arms, told, strict=True)
        ]

    def seeds_of(self, arm: Arm) -> int:
        """Number of seeds: fewer for rules and learners that fit a model as they go."""
        slow = arm.made_rule.fits_model or arm.made_law.trains_model
        return min(self.seeds, FEW_SEEDS) if slow else self.seeds

    @property
    def packages(self) -> dict[str, str]:
        """Versions of the packages that only some rules and learners compute with, for those that run."""
        return versions_of(*(part for arm in self.arms for part in (arm.made_rule, arm.made_law)))

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell, arm by arm, in the order of the final tables."""
        cells = []
        for arm in self.arms:
            shape = shape_of(self.steps, self.batch, self.rollouts, self.eval_every, self.budget,
                             lag=arm.lag, delivery=arm.delivery)  # fmt: skip
            text = as_text(content_of(arm.made_law, arm.made_rule, arm.made_gates, self._pool(arm.pool), shape))
            cells += [Cell(arm, seed, cell_key(text, seed)) for seed in range(self.seeds_of(arm))]
        return cells

    # ------------------------------------------------------------------------------------------- running

    def run(
        self,
        out: str | os.PathLike[str] | None = None,
        jobs: int = 1,
        progress: bool | Callable[[int, int], object] | None = None,
        threshold: float = 0.8,
        executor: str | Executor | None = None,
    ) -> Result:
        """Compute what is not there yet and return the result.

        out: folder for finished cells, the same as that of sims/sweep.py: the study goes on where it was when it is run
        again. Without it they are kept until this process ends. jobs: worker processes; two are threads of this one,
        unless rules or learners fit a model. progress: None or True shows a bar, False shows nothing, a function is
        called with (cells done, cells in all).
        threshold: success to reach, as a share in (0, 1] of the gain that uniform makes over the run.
        executor: what computes in place of worker processes of ours: a `concurrent.futures.Executor` (of loky, dask,
        mpi4py, ...) or "loky", "ray", "ray:HOST:PORT", "dask:HOST:PORT" (extra `scale`); jobs is then how many workers
        to start, or to have work for. Results are the same to the last bit.
        Raises InputError for bad input, StorageError if the disk refuses, WorkerError if a worker process dies.
        """
        from workbench.study.result import Result  # what analyses a study loads after what runs it

        if jobs != 1:
            check_count("jobs", jobs)
            refuse_unguarded_script()
        if executor is not None:
            from workbench.study.executors import check_executor

            check_executor(executor)
        if not (progress is None or isinstance(progress, bool) or callable(progress)):
            raise InputError(f"progress: must be True, False, None or a function, got {shown(progress)}")
        folder = None if out is None else check_folder("out", out)
        check_number("threshold", threshold, 0, 1, open_low=True)
        if folder is None:
            curves = self._shown(CellStore(_temporary_folder()), jobs, progress, executor)
        else:
            try:
                with only_writer(folder):
                    store = CellStore(folder / "cells")
                    store.sweep_up()
                    curves = self._shown(store, jobs, progress, executor)
            except InputError as error:
                raise InputError(str(error).removeprefix("--")) from None
        return Result(self, curves, threshold)

    def _shown(
        self,
        store: CellStore,
        jobs: int,
        progress: bool | Callable[[int, int], object] | None,
        executor: str | Executor | None,
    ) -> pd.DataFrame:
        if progress is None or progress is True:
            with progress_bar(len(self.cells), "study", "run") as bar:
                return self.compute(store, jobs, bar.at, bar.line, executor)
        return self.compute(store, jobs, progress or (lambda done, total: None), executor=executor)

    def compute(
        self,
        store: CellStore,
        jobs: int = 1,
        progress: Callable[[int, int], object] = lambda done, total: None,
        warn: Callable[[str], object] | None = None,
        executor: str | Executor | None = None,
    ) -> pd.DataFrame:
        """Compute the cells that `store` lacks and return the curves of all, in the order of `cells`.

        jobs: worker processes. progress: called with (cells done, cells in all). warn: told of damaged files.
        executor: as in `run`.
        Raises StorageError if the disk refuses, WorkerError if a worker process dies.
        """
        return self._tidy(self._filled(store, jobs, progress, warn, executor))

    def compute_shard(
        self,
        store: CellStore,
        shard: Shard,
        jobs: int = 1,
        progress: Callable[[int, int], object] = lambda done, total: None,
        warn: Callable[[str], object] | None = None,
        executor: str | Executor | None = None,
    ) -> int:
        """Compute the cells of one part of the study that `store` lacks, as `compute` does; returns how many it has."""
        records = self._filled(store, jobs, progress, warn, executor, shard)
        return int(records.frame["cell"].nunique())

    def collect(self, store: CellStore, warn: Callable[[str], object] | None = None) -> pd.DataFrame:
        """The curves of all cells, which `store` has. Raises InputError, with their number, where it lacks some."""
        kept, damaged = store.read({cell.key for cell in self.cells})
        for line in damaged:
            (warn or print)(line)
        found = set(kept["cell"].cat.categories) if len(kept) else set()
        missing = sum(cell.key not in found for cell in self.cells)
        if missing:
            raise InputError(f"store: must have all {len(self.cells)} runs, got {missing} that are missing: run the "
                             "shards again, each goes on where it was")  # fmt: skip
        return self._tidy(Records(kept))

    def _filled(
        self,
        store: CellStore,
        jobs: int,
        progress: Callable[[int, int], object],
        warn: Callable[[str], object] | None,
        executor: str | Executor | None,
        shard: Shard | None = None,
    ) -> Records:
        """The records of all cells, or of those of a shard: those that the store lacks are computed first."""
        wanted = Counter(cell.key for cell in self.cells)  # equal cells under several names run once
        if shard is not None:
            wanted = Counter({key: wanted[key] for key in shard.take(list(wanted))})
        told = {} if warn is None else {"warn": warn}
        programs = partial(self._programs, workers=jobs)
        return compute(wanted, programs, store, jobs, progress, **told, executor=executor)

    def _programs(self, missing: set[str], workers: int = 1) -> list[Program]:
        """The missing cells as lanes of programs: same pool, classes and names; only numbers differ.

        workers: how many compute them; each gets several programs, as far as there are cells.
        """

        def unlike(arm: Arm) -> str:
            """Equal for arms whose runs can be lanes of one program."""
            pool = self._pool(arm.pool)
            shape = {"pool": pool.name, "classes": [id(type(part)) for part in arm.parts],
                     "lag": arm.lag, "delivery": arm.delivery}  # fmt: skip
            return as_text(shape | {"parts": [describe(part, lambda value: None) for part in arm.parts]})

        largest = max(len(pool) for pool in self._pools)
        lanes = max(1, min(ROLLOUTS_IN_CACHE // (self.batch * self.rollouts), ITEMS_IN_MEMORY // largest))
        if workers > 1:
            lanes = min(lanes, -(-len(missing) // (PROGRAMS_PER_WORKER * workers)))
        program_of = {id(arm): unlike(arm) for arm in self.arms}
        todo = {cell.key: cell for cell in self.cells if cell.key in missing}
        groups: dict[str, list[Cell]] = {}
        for cell in sorted(todo.values(), key=lambda cell: cell.seed):  # lanes of one seed share item difficulties
            groups.setdefault(program_of[id(cell.arm)], []).append(cell)
        chunks = [chunk for group in groups.values() for chunk in _split(group, lanes)]
        slowest_first = sorted(chunks, key=lambda chunk: -_slowness(chunk[0].arm))  # no process is left with them
        return [self._program(chunk) for chunk in slowest_first]

    def _program(self, cells: list[Cell]) -> Program:
        law, rule, *gates = (
            side_by_side(parts) for parts in zip(*(cell.arm.parts for cell in cells), strict=True)
        )
        shape = self.steps, self.batch, self.rollouts, self.eval_every, self.budget
        seeds = np.array([cell.seed for cell in cells], np.uint64)
        keys = [cell.key for cell in cells]
        arm = cells[0].arm
        return Program(self._pool(arm.pool), law, rule, tuple(gates), seeds, *shape, known_keys=keys,
                       lag=arm.lag, delivery=arm.delivery)  # fmt: skip

    def _tidy(self, records: Records) -> pd.DataFrame:
        """Stored records -> the curves table: keys of each cell in front, canonical order."""
        rows = records.rows([cell.key for cell in self.cells])
        frame = records.frame.iloc[rows.ravel()].reset_index(drop=True)
        index = np.repeat(np.arange(len(self.cells)), rows.shape[1])
        swept = list(dict.fromkeys(name for settings in (*self.points, *(arm.settings for arm in self.arms))
                                   for name in settings))  # fmt: skip
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
        labels = {id(arm): self.label_rollouts(arm) for arm in self.arms}
        bought = pd.Series([labels[id(arm)] for arm in arms], name="label_rollouts").iloc[index]
        return pd.concat([table, frame.drop(columns="cell"), bought.reset_index(drop=True)], axis=1)

    def label_rollouts(self, arm: Arm) -> float:
        """Attempts behind the difficulty labels that the arm's rule reads; NaN if the pool does not say.

        The pool does not say what the pass rates of other reference models cost either.
        """
        if {"weak_rate", "strong_rate"} & set(arm.made_rule.needs):
            return np.nan
        if not arm.made_rule.labels:
            return 0.0
        attempts = self._pool(arm.pool).attempts
        return np.nan if attempts is None else float(attempts.sum())


@cache
def _temporary_folder() -> Path:
    """Where finished cells of studies without a folder are kept: a study run again is only read.

    The folder is removed when this process ends.
    """
    folder = TemporaryDirectory(prefix="workbench-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


# ---- what a study is given


def listed(option: str, given: Any, single: tuple[type, ...]) -> list[Any]:
    """What was given as a list; one element stands for a list of it."""
    if isinstance(given, single):
        return [given]
    try:
        return list(given)
    except TypeError:
        raise InputError(f"{option}: must be a list, got {shown(given)}") from None


def check_names(option: str, names: list[str], what: str) -> None:
    if not names or len(set(names)) < len(names):
        inside = "different names" if what == "names" else f"{what} different names"
        how = " (dataclasses.replace(pool, name=...) renames one)" if option == "pools" and names else ""
        raise InputError(f"{option}: must be one or more {inside}{how}, got {', '.join(names) or 'none'}")


def as_pool(given: Any) -> Pool:
    """A pool from an object, the name of a preset, or the path of a file."""
    if isinstance(given, Pool):
        return given
    if isinstance(given, str) and given in PRESETS:
        return Pool.synthetic(given)
    if isinstance(given, str) and not os.path.exists(path := split_mapping(given)[0]):
        check_one_name("pools", path)
    if isinstance(given, os.PathLike) or (isinstance(given, str) and is_source(given)):
        return Pool.load(given)
    raise InputError(f"pools: must be Pool objects, presets ({', '.join(PRESETS)}), or {SOURCES}, got {shown(given)}")


def learner_choice(given: Any) -> Choice:
    if isinstance(given, str):
        check_one_name("learners", given)
        find_law(given)

        def make(settings: dict[str, Any]) -> Law:
            return make_law(given, {owner_and_field(name)[1]: value for name, value in settings.items()})

        return Choice(given, given, (given,), make)
    if not isinstance(given, Law):
        raise InputError(f"learners: must be names or laws such as ScalarIRT(), got {_told(given)}")
    check_single("learners", given)
    kind = name_of(given)
    label = label_of(kind, settings_beside(preset_of(given, kind), given, kind))
    return Choice(label, kind, (), lambda settings: given, (given,))


def controller_choice(given: Any, horizon: int) -> Choice:
    """horizon: what fills that of schedules given by name."""
    if isinstance(given, str):
        check_one_name("controllers", given)
        return Choice(given, given, parts_of(given), lambda settings: make_controller(given, settings, horizon))
    parts = given if isinstance(given, tuple) else (given,)
    rules = [part for part in parts if isinstance(part, Rule)]
    gates = [part for part in parts if isinstance(part, Gate)]
    wrong = next((part for part in parts if not isinstance(part, (Rule, Gate))), None)
    if isinstance(given, tuple) and any(isinstance(part, str) for part in parts):
        written = "+".join(part if isinstance(part, str) else name_of(part) if isinstance(part, (Rule, Gate)) else "..."
                           for part in parts)  # fmt: skip
        raise InputError("controllers: must be objects in a tuple, one rule first, then gates; names are written "
                         f"{shown(written)}, or are entries of their own in the list, got {_told(given)}")  # fmt: skip
    if wrong is not None and (not isinstance(given, tuple) or isinstance(wrong, type)):
        raise InputError("controllers: must be names, rules such as AdaRFT(), gates such as DynamicSampling() or "
                         f"tuples of one rule and gates, got {_told(wrong)}")  # fmt: skip
    if not parts or len(rules) + len(gates) < len(parts) or len(rules) > 1 or (rules and parts[0] is not rules[0]):
        raise InputError("controllers: must be one rule first, then gates, in a tuple (AdaRFT(), DynamicSampling()), "
                         f"got {_told(given)}")  # fmt: skip
    for part in parts:
        check_single("controllers", part)
    rule = rules[0] if rules else make_rule(BASELINE)
    kinds = [name_of(part) for part in parts]
    kind = "+".join(kinds)
    beside: Settings = ()
    for part, name in zip(parts, kinds, strict=True):
        beside += settings_beside(preset_of(part, name, horizon), part, name)
    label = label_of(kind, beside)
    made: Parts = rule, gates
    kind = label if kind == BASELINE else kind  # one arm is the baseline
    return Choice(label, kind, (), lambda settings: made, parts)


def check_one_name(option: str, given: str) -> None:
    """InputError for a text that only the command line takes: several names, or all of them."""
    if "," in given or given == "all":
        raise InputError(f"{option}: must be one name per entry of a list (a,b and all are for the command line), "
                         f"got {shown(given)}")  # fmt: skip


def _told(given: Any) -> str:
    """What was given, for an error: a class says how its object is written, a tuple what its parts are."""
    if isinstance(given, type):
        return f"the class {given.__name__}, write {given.__name__}()"
    if isinstance(given, tuple):
        kinds = ("a rule" if isinstance(part, Rule) else "a gate" if isinstance(part, Gate) else shown(part)
                 for part in given)  # fmt: skip
        return f"({', '.join(kinds)})"
    return shown(given)


def check_single(option: str, part: Any) -> None:
    """InputError if a hyper-parameter has a number per lane: a study makes the lanes."""
    for item in fields(part):
        value = getattr(part, item.name)
        if isinstance(value, np.ndarray) and per_lane_field(part, item.name):
            raise InputError(f"{option}: must have one number per hyper-parameter (give an object for each setting, or "
                             f"points), got {type(part).__name__} with {item.name} of shape {value.shape}")  # fmt: skip


def _applying(point: Point, owners: Sequence[str]) -> Settings:
    return tuple((name, value) for name, value in point.items() if owner_and_field(name)[0] in owners)


# ---- cells as lanes


def side_by_side(parts: Sequence[Any]) -> Any:
    """One part for many lanes: an array for each hyper-parameter that may differ between lanes and does."""
    first, arrays = parts[0], {}
    if all(part is first for part in parts):
        return first
    for item in fields(first):
        values = [getattr(part, item.name) for part in parts]
        if per_lane_field(first, item.name) and any(value != values[0] for value in values):
            arrays[item.name] = np.array(values, np.float64)
    return replace(first, **arrays) if arrays else first


def _slowness(arm: Arm) -> int:
    if arm.made_rule.fits_model:
        return 3
    return 2 if arm.made_law.trains_model else int(isinstance(arm.made_law, KernelTransfer))


def _split(cells: list[Cell], size: int) -> Iterator[list[Cell]]:
    """Chunks of nearly equal length, at most `size`."""
    count = -(-len(cells) // size)
    for part in np.array_split(np.arange(len(cells)), count):
        yield [cells[index] for index in part]
