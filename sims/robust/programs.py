"""The programs of a robustness study, run by the same engine as every study, and what they keep as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.progress import progress_bar
from workbench.study.program import Program, compute
from workbench.study.store import CellStore

Floats = NDArray[np.float64]


def curves_of(programs: Sequence[Program], folder: Path, jobs: int, what: str) -> list[dict[str, NDArray[Any]]]:
    """Of each program, what it keeps as (E, R) and `step` (E,); runs that are in the folder are not run again."""
    store = CellStore(folder)
    store.sweep_up()
    wanted = Counter(key for program in programs for key in program.keys)

    def lacking(missing: set[str]) -> list[Program]:
        return [program for program in programs if not missing.isdisjoint(program.keys)]

    with progress_bar(wanted.total(), what, "run") as bar:
        records = compute(wanted, lacking, store, jobs, bar.at, bar.line)
    columns = {name: records.frame[name].to_numpy() for name in {"step"}.union(*(p.keep or () for p in programs))}
    found = []
    for program in programs:
        rows = records.rows(program.keys).T  # (E, R)
        series = {name: columns[name][rows] for name in program.keep or ()}
        found.append(series | {"step": columns["step"][rows[:, 0]].astype(np.float64)})
    return found
