"""The record of a finished run, read again: taken for finished only where it is whole and as it was written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from real_runs.runs.record import EVAL_COLUMNS, FILES, GROUP_COLUMNS, MANIFEST, STEP_COLUMNS
from real_runs.runs.run import Run
from real_runs.runs.samples import read_samples
from workbench.errors import shown
from workbench.files import DamagedFile, read_whole
from workbench.tables.written import check_rows, damaged, read_columns, read_json, read_numbers

LATER = {"steps.csv": 4, "evals.csv": 1}  # the last columns of a file that records of earlier versions may lack
STRATA = 10
MOST_SECONDS = 1e12
OBJECTS = ("run", "rule", "pool", "model", "versions")  # of a manifest


@dataclass(frozen=True)
class Finished:
    """manifest: JSON values. steps: a row per update. evals: a row per evaluation and stratum. groups: a row per group
    of completions. samples: completions to read, none of a run of an earlier version."""

    manifest: dict[str, Any]
    steps: pd.DataFrame
    evals: pd.DataFrame
    groups: pd.DataFrame
    samples: list[dict[str, Any]]


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run that ended in `folder`, None where none did. Raises DamagedFile where it has odd values."""
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return None
    manifest = read_json(path)
    for name in OBJECTS:
        _check(path, manifest, name, isinstance(manifest.get(name), dict))
    seconds, events, code = manifest.get("seconds"), manifest.get("events"), manifest.get("code", {})
    number = seconds if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) else -1
    _check(path, manifest, "seconds", 0 <= number < MOST_SECONDS)
    _check(path, manifest, "events", isinstance(events, list) and all(isinstance(event, str) for event in events))
    _check(path, manifest, "status", manifest.get("status") in ("complete", "diverged"))
    _check(path, manifest, "machine", isinstance(manifest.get("machine"), str))
    _check(path, manifest, "code", isinstance(code, dict) and all(isinstance(one, str) for one in code.values()))
    files = manifest.get("files")
    _check(path, manifest, "files", files is None or (isinstance(files, dict) and files.keys() == set(FILES)))
    return manifest


def read_finished(folder: Path, manifest: dict[str, Any], run: Run) -> Finished:
    """The record of `run`, whose manifest was read from `folder`.

    Its files are those that the manifest has the digests of. Records of earlier versions have none: their tables are
    those of a run that went to its end, with as many groups in rollouts.parquet as steps.csv says. Raises DamagedFile.
    """
    found = {name: read_whole(folder / name) for name in FILES}
    for name, digest in (manifest.get("files") or {}).items():
        if digest_of(found[name]) != digest:
            raise DamagedFile(f"{folder / name}: must be the file that {MANIFEST} has the digest of, got another")
    steps = _steps(folder / "steps.csv", found["steps.csv"], run)
    evals = _evals(folder / "evals.csv", found["evals.csv"])
    if evals["step"].iloc[0] != 0 or evals["step"].iloc[-1] != len(steps):
        raise damaged(folder / "evals.csv", f"evaluations from step 0 to step {len(steps)}")
    path = folder / "rollouts.parquet"
    groups = read_columns(path, GROUP_COLUMNS, found[path.name])
    admitted = np.bincount(groups["step"].clip(0, len(steps) + 1), groups["admitted"], minlength=len(steps) + 2)
    if not np.array_equal(admitted, [0, *steps["admitted"], 0]):
        raise damaged(path, "as many admitted groups of each step as steps.csv has")
    return Finished(manifest, steps, evals, groups, read_samples(folder, manifest, digest_of))


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check(path: Path, manifest: Mapping[str, Any], name: str, right: bool) -> None:
    if not right:
        raise damaged(path, f"{name} as it was written, got {shown(manifest.get(name))}")


def _columns(path: Path, columns: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that every version wrote, and those that came later."""
    first = len(columns) - LATER[path.name]
    return columns[:first], columns[first:]


def _steps(path: Path, data: bytes, run: Run) -> pd.DataFrame:
    """A row per update, to the end of the run's budget."""
    steps = read_numbers(path, *_columns(path, STEP_COLUMNS), data)
    check_rows(path, steps["step"], steps["step"] == np.arange(1, len(steps) + 1), "the steps 1, 2, 3 ..")
    for name in ("rollouts", "tokens"):
        check_rows(path, steps[name], (steps[name] >= 0) & (steps[name].diff().fillna(0) >= 0), "counts that grow")
    for name in ("admitted", "seconds_generate", "seconds_update"):
        check_rows(path, steps[name], (steps[name] >= 0) & np.isfinite(steps[name]), "numbers >= 0")
    unit = run.budget.partition(":")[0]
    spent = steps["step" if unit == "steps" else unit].max() if len(steps) else 0
    if spent < run.allowed and len(steps) < run.most_updates:
        raise damaged(path, f"rows until {run.allowed} {unit} are spent, got {spent} after {len(steps)} of them")
    return steps


def _evals(path: Path, data: bytes) -> pd.DataFrame:
    """A row per evaluation and stratum: the same strata each time."""
    evals = read_numbers(path, *_columns(path, EVAL_COLUMNS), data)
    check_rows(path, evals["stratum"], evals["stratum"].isin(range(STRATA)), f"whole numbers below {STRATA}")
    check_rows(path, evals["success"], evals["success"].between(0, 1), "shares in [0, 1]")
    check_rows(path, evals["n"], (evals["n"] >= 1) & np.isfinite(evals["n"]), "numbers >= 1")
    check_rows(path, evals["step"], evals["step"].diff().fillna(0) >= 0, "steps in their order")
    strata = evals["stratum"].unique()
    times = len(evals) // max(1, len(strata))
    if not times or not np.array_equal(evals["stratum"], np.tile(strata, times)):
        raise damaged(path, "a row of each stratum for each step")
    if evals.groupby("step").size().nunique() > 1 or evals["step"].nunique() != times:
        raise damaged(path, "a row of each stratum for each step")
    return evals
