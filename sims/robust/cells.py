"""Array programs whose records are kept: what robustness.py runs, one file per program, so that a stop costs little."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from workbench.controllers import Controller, Gate, Rule, ShortBatch
from workbench.learners import Law, SimLearner
from workbench.loop import train_within
from workbench.pool import Pool
from workbench.study.execute import execute
from workbench.study.identity import code_digest, describe, versions_of
from workbench.study.store import CellStore

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Program:
    """R runs as lanes: one pool, law and rule, each with numbers or (R,) arrays; seeds (R,).

    budget: what all runs spend alike, as in `sweep.Study`. keep: the columns of the records that are kept.
    b: (I,) true difficulties where the labels are not them.
    """

    pool: Pool
    law: Law
    rule: Rule
    gates: tuple[Gate, ...]
    seeds: NDArray[np.int64]
    steps: int
    batch: int
    rollouts: int
    eval_every: int
    budget: str = "steps"
    keep: tuple[str, ...] = ("success", "rollouts")
    b: Floats | None = None

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that the records depend on, the code included."""
        content = {
            "code": code_digest(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "machine": platform.machine(),
            "packages": versions_of(self.law, self.rule),
            "pool": self.pool.digest,
            "parts": [describe(part) for part in (self.law, self.rule, *self.gates)],
            "numbers": [self.seeds, self.b, self.steps, self.batch, self.rollouts, self.eval_every, self.budget,
                        self.keep],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=_digest).encode()).hexdigest()[:32]

    def run(self) -> pd.DataFrame:
        """A row per record and lane, records first: cell (the key), step, and what is kept."""
        controller = Controller(self.rule, self.pool, self.gates, seed=self.seeds)
        learner = SimLearner(self.law, self.pool, self.seeds, b=self.b)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShortBatch)  # fewer groups than asked for are part of what a gate does
            record = train_within(self, controller, learner)
        frame = record.to_frame()[["step", *self.keep]]
        return frame.assign(cell=pd.Categorical.from_codes(np.zeros(len(frame), np.int8), [self.key]))


def _digest(value: Any) -> Any:
    array = np.ascontiguousarray(value)
    return [array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest()]


def keep(store: CellStore, program: Program) -> None:
    store.add(program.run())


def compute(programs: Sequence[Program], folder: Path, jobs: int, what: str) -> list[dict[str, NDArray[Any]]]:
    """Of each program, what it keeps as (E, R) and `step` (E,); those that are in the folder are not run again."""
    store = CellStore(folder)
    store.sweep_up()
    wanted = {program.key for program in programs}
    kept, damaged = store.read(wanted)
    for line in damaged:
        print(line, file=sys.stderr)
    have = set(kept["cell"].cat.categories)
    todo = list({program.key: program for program in programs if program.key not in have}.values())
    with tqdm(total=len(wanted), initial=len(wanted) - len(todo), desc=what, unit="cell", smoothing=0.1) as bar:
        for _ in execute(partial(keep, store), todo, jobs):
            bar.update()
    frame = store.read(wanted)[0] if todo else kept
    tables = dict(list(frame.groupby("cell", observed=True)))
    return [_by_record(tables[program.key], program) for program in programs]


def _by_record(table: pd.DataFrame, program: Program) -> dict[str, NDArray[Any]]:
    lanes = len(program.seeds)
    series = {name: table[name].to_numpy().reshape(-1, lanes) for name in program.keep}
    return series | {"step": table["step"].to_numpy()[::lanes].astype(np.float64)}
