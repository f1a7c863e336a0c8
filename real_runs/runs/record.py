"""What a real run writes: steps.csv, evals.csv, rollouts.parquet, samples.json and manifest.json, each whole or not at
all."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from real_runs.runs.samples import SAMPLES, as_bytes, check_samples, chosen, joined
from real_runs.tasks.task import FULL
from workbench.errors import InputError, check_one_number, shown
from workbench.files import to_parquet, write_whole

STEP_COLUMNS = (
    "step", "reward", "target_difficulty", "difficulty_mean", "difficulty_min", "difficulty_max",
    "zero_variance_share", "kl", "entropy", "policy_loss", "value_loss", "grad_norm", "rollouts", "tokens", "batches",
    "admitted", "faults", "coverage", "seconds_generate", "seconds_update", "seconds_controller",
    "logp_gap_mean", "logp_gap_max", "cut_share", "trained_share",
)  # fmt: skip  # new ones at the end: checkpoints of earlier versions lack them
EVAL_COLUMNS = ("step", "stratum", "success", "n", "readable")  # likewise
GROUP_COLUMNS = {"step": "i", "item": "i", "successes": "f", "attempts": "i", "admitted": "b"}  # name: kind of number
COLUMNS = {"steps": STEP_COLUMNS, "evals": EVAL_COLUMNS, "groups": tuple(GROUP_COLUMNS)}
WHOLE = ("step", "rollouts", "tokens", "batches", "admitted", "faults", "stratum", "n", "item", "attempts")  # in any
FILES = ("steps.csv", "evals.csv", "rollouts.parquet")
MANIFEST = "manifest.json"  # written last


class RunRecord:
    """Rows of a run so far; part of its checkpoints, so a resumed run's files are those of an undisturbed one."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.evals: list[dict[str, float]] = []
        self.groups: list[np.ndarray] = []  # rows of step, item, successes, attempts, admitted
        self.seconds = 0.0
        self.samples: list[dict[str, Any]] = []  # completions to read, see `samples`
        self.signal: dict[str, float] | None = None  # of groups drawn before the first update, see `signal`

    def add_step(self, row: dict[str, float]) -> None:
        """row: as `watch.Timed.row` gives it."""
        self.steps.append({name: float(row[name]) for name in STEP_COLUMNS})

    def add_evaluation(
        self, step: int, success: np.ndarray, counts: np.ndarray, readable: np.ndarray | None = None
    ) -> None:
        """success (S,), counts (S,) problems of each stratum; strata without problems have no row.

        readable: (S,) share of completions that have an answer, right or wrong; None where no reader looks for one.
        """
        for stratum in np.flatnonzero(counts):
            share = math.nan if readable is None else readable[stratum]
            row = (step, stratum, success[stratum], counts[stratum], share)
            self.evals.append({name: float(value) for name, value in zip(EVAL_COLUMNS, row, strict=True)})

    def add_samples(self, step: int, heldout: Any, completions: list[str], right: np.ndarray) -> None:
        """heldout: the problems that were evaluated (`learner.HeldOut`). completions, right: (E,) of each."""
        now = chosen(step, heldout.stratum, right, heldout.prompts, completions, heldout.answers)
        self.samples = joined(self.samples, now)

    def add_groups(
        self, step: int, items: np.ndarray, rewards: np.ndarray, admitted: np.ndarray, sizes: np.ndarray
    ) -> None:
        columns = (np.full(len(items), step), items, (rewards >= FULL).sum(1), sizes, admitted)
        self.groups.append(np.stack([np.asarray(column, np.float64) for column in columns], axis=1))

    @property
    def success(self) -> dict[int, float]:
        """Mean held-out success by step, all strata weighted equally."""
        means = pd.DataFrame(self.evals).groupby("step")["success"].mean()
        return dict(zip(means.index.to_numpy(np.int64).tolist(), means.to_numpy(np.float64).tolist(), strict=True))

    # ------------------------------------------------------------------------------------------------ files

    def write(self, out: Path, manifest: dict[str, Any]) -> None:
        """Write the files, and at last the manifest with their digests."""
        whole = {name: np.int64 for name in STEP_COLUMNS if name in WHOLE}
        steps = pd.DataFrame(self.steps, columns=list(STEP_COLUMNS)).astype(whole)
        evals = pd.DataFrame(self.evals, columns=list(EVAL_COLUMNS))
        evals = evals.astype({"step": np.int64, "stratum": np.int64, "n": np.int64})
        groups = np.concatenate(self.groups) if self.groups else np.empty((0, 5))
        table = pd.DataFrame(groups, columns=list(GROUP_COLUMNS))
        table = table.astype({"step": np.int64, "item": np.int64, "attempts": np.int64, "admitted": bool})
        csv = (frame.to_csv(index=False, float_format="%.7g").encode() for frame in (steps, evals))
        files = dict(zip(FILES, (*csv, to_parquet(table)), strict=True))
        for name, data in files.items():
            write_whole(out / name, data)
        write_whole(out / SAMPLES, as_bytes(self.samples))
        manifest = manifest | {"samples": hashlib.sha256(as_bytes(self.samples)).hexdigest()}
        manifest = manifest | {"files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}
        write_whole(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    # ---------------------------------------------------------------------------------------------- checkpoint

    def state_dict(self) -> dict[str, Any]:
        groups = np.concatenate(self.groups) if self.groups else np.empty((0, 5))
        steps = np.array([[row[name] for name in STEP_COLUMNS] for row in self.steps]).reshape(-1, len(STEP_COLUMNS))
        evals = np.array([list(row.values()) for row in self.evals]).reshape(-1, len(EVAL_COLUMNS))
        state: dict[str, Any] = {"steps": steps, "evals": evals, "groups": groups, "seconds": np.array(self.seconds),
                                 "samples": self.samples}  # fmt: skip
        return state if self.signal is None else state | {f"signal.{name}": x for name, x in self.signal.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`, of an earlier version, too. Raises InputError for anything else."""
        for name, columns in COLUMNS.items():
            width, rows = len(columns), np.asarray(state.get(name))
            if rows.ndim != 2 or rows.shape[1] > width or rows.dtype != np.float64:
                raise InputError(f"record.{name}: must be numbers in at most {width} columns, got {shown(rows)}")
            whole = [column for column, kind in enumerate(columns[: rows.shape[1]]) if kind in WHOLE]
            if not (np.isfinite(rows[:, whole]) & (rows[:, whole] >= 0)).all():
                raise InputError(f"record.{name}: must be >= 0 in {', '.join(WHOLE)}, got {shown(rows)}")
        check_one_number("record.seconds", state.get("seconds"), 0)
        blank = dict.fromkeys(STEP_COLUMNS, math.nan)
        self.steps = [blank | dict(zip(STEP_COLUMNS, map(float, row), strict=False)) for row in state["steps"]]
        unread = dict.fromkeys(EVAL_COLUMNS, math.nan)
        self.evals = [unread | dict(zip(EVAL_COLUMNS, map(float, row), strict=False)) for row in state["evals"]]
        self.groups = [state["groups"]] if len(state["groups"]) else []
        self.seconds = float(state["seconds"])
        self.samples = check_samples("record.samples", state.get("samples", []))  # earlier versions kept none
        signal = {key.partition(".")[2]: value for key, value in state.items() if key.startswith("signal.")}
        self.signal = signal or None
