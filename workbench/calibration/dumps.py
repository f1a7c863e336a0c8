"""Dumps of trainers that are more than a table of completions: prime-rl's episodes, and what TRL logs twice."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import InputError, shown, shown_path
from workbench.tables.formats import Table

TRAINING, HELDOUT = "train", "heldout"
EPISODES = "traces.jsonl"
STEP = re.compile(r"step_(\d+)")


# ------------------------------------------------------------------------------------------------------- prime-rl


def prime_folder(path: str | os.PathLike[str]) -> Path | None:
    """The folder of steps in the output of a run of prime-rl, or the path itself where it is one; None for others."""
    for folder in (Path(path), Path(path) / "rollouts"):
        if any((step / kind).is_dir() for _, step in _steps(folder) for kind in ("train", "eval")):
            return folder
    return None


def _steps(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    found = [(path, match) for path in folder.iterdir() if (match := STEP.fullmatch(path.name)) and path.is_dir()]
    return sorted((int(match[1]), path) for path, match in found)


def of_prime(folder: Path) -> tuple[Table, list[str]]:
    """A row per trace of the episodes in step_N/{train,eval}/{all,effective}/traces.jsonl, and notes.

    `all` has every episode; `effective` has those that were trained on, by default without groups whose rewards are
    all alike. So groups are taken from `all`. Their step is the first that trained on them, or else that of their last
    episode. A group is admitted where it was trained on, or its rewards are alike. Traces with an error, or of an agent
    that is not trained, are left out.
    Columns: step, reward (the weighted sum), admitted, split, id and prompt (where all tasks have one), idx (the task's
    in its environment, whose name stands before it where there are several), and scores by the names of rewards.
    Source: prime-rl 559b447 (21 Aug 2026), monitors/file.py, orchestrator.py and train_sink.py; records as
    `Episode.to_record` of verifiers 0.4.0 writes them.
    """
    rows: list[dict[str, Any]] = []
    trained: dict[str, int] = {}
    left = unfinished = 0
    for step, path in _steps(folder):
        for record in _records(path / "train" / "effective"):
            trained.setdefault(_group(record), step)
        for kind, split in (("train", TRAINING), ("eval", HELDOUT)):
            for record in _records(path / kind / "all"):
                unfinished += not record.get("traces")
                for trace in record.get("traces") or ():
                    if trace.get("ok", True) and _at(trace, "agent", "trainable") is not False:
                        rows.append(_row(record, trace) | {"step": step, "split": split})
                    else:
                        left += 1
    if not any(row["split"] == TRAINING for row in rows):
        raise InputError(f"log: must have traces in step_N/train/all/{EPISODES}, got none in {shown_path(folder)}")
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    for group, members in groups.items():
        step = trained.get(group, max(row["step"] for row in members))
        admitted = group in trained or len({row["reward"] for row in members}) == 1
        for row in members:
            row |= {"step": step, "admitted": admitted}
    notes = ["episodes of prime-rl"]
    notes += [f"{left:,} traces with an error, or of an agent that is not trained, are left out"] * (left > 0)
    notes += [f"{unfinished:,} episodes without a trace"] * (unfinished > 0)
    return Table(_columns(rows)), notes


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    several = len({row["env"] for row in rows}) > 1
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in ("step", "reward", "admitted", "split")}
    columns["idx"] = [f"{row['env']}:{row['idx']}" if several else row["idx"] for row in rows]
    columns |= {name: [row[name] for row in rows] for name in ("id", "prompt") if all(row[name] for row in rows)}
    scores = dict.fromkeys(name for row in rows for name in row["scores"] if name not in columns)
    return columns | {name: [row["scores"].get(name) for row in rows] for name in scores}


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """The episodes of a file. A last line that was cut off, in a run that was killed or goes on, is left out."""
    path = folder / EPISODES
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()] if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):
                return
            record = None
        if not isinstance(record, dict):
            got = f"got {shown(line.decode(errors='replace'))} in line {number} of {shown_path(path)}"
            raise InputError(f"log: must have an episode of prime-rl in each line, {got}")
        yield record


def _group(record: dict[str, Any]) -> str:
    return str(_at(record, "group", "id") or record.get("id"))


def _row(record: dict[str, Any], trace: dict[str, Any]) -> dict[str, Any]:
    data = _at(trace, "task", "data") or _at(record, "task", "data") or {}
    given = {name: reward for name, reward in (trace.get("rewards") or {}).items() if reward is not None}
    total = sum(reward["score"] * reward.get("weight", 1.0) for reward in given.values()) if given else None
    return {"group": _group(record), "env": _at(record, "env", "name") or _at(record, "env", "id"), "reward": total,
            "idx": data.get("idx"), "id": data.get("id"), "prompt": data.get("prompt"),
            "scores": {name: reward["score"] for name, reward in given.items()}}  # fmt: skip


def _at(record: Any, *names: str) -> Any:
    for name in names:
        record = record.get(name) if isinstance(record, dict) else None
    return record


# ------------------------------------------------------------------------------------------------------------ TRL


def counted_once(table: Table) -> tuple[Table, list[str]]:
    """The completions of TRL with each generation once, evaluations marked in a column split, and notes.

    TRL logs the last generation after every optimiser step, again where `steps_per_generation` is above the
    accumulation steps, or with several iterations. Steps with the very rows of the step before are left out, and steps
    are counted in generations, because one generation is one batch of groups. An evaluation replaces the completions
    that were logged at its step, without a mark. It is told from training by its prompts: the one list of prompts, in
    its order, that comes again with other completions, at multiples of some number of steps.
    Source: `GRPOTrainer.log` of TRL 1.16.
    """
    steps = np.array([int(value) for value in table.columns["step"]])
    rows = {int(step): np.flatnonzero(steps == step) for step in np.unique(steps)}
    texts = {name: [str(value) for value in table.columns[name]] for name in ("prompt", "completion")}
    prompts = {step: tuple(texts["prompt"][row] for row in at) for step, at in rows.items()}
    content = {step: (prompts[step], tuple(texts["completion"][row] for row in at)) for step, at in rows.items()}
    looks = _evaluations(prompts, content)
    training = [step for step in rows if step not in looks]
    firsts = [step for step, before in zip(training, [None, *training], strict=False)
              if before is None or content[step] != content[before]]  # fmt: skip
    if not looks and len(firsts) == len(training):
        return table, []
    unit = int(np.gcd.reduce(np.diff(firsts))) if len(firsts) > 1 and len(firsts) < len(training) else 1
    kept = np.sort(np.concatenate([rows[step] for step in [*firsts, *looks]]))
    columns = {name: [values[row] for row in kept] for name, values in table.columns.items()}
    columns["step"] = ((steps[kept] - firsts[0]) // unit + 1).tolist()
    columns["split"] = [HELDOUT if int(step) in looks else TRAINING for step in steps[kept]]
    notes = [f"{len(training) - len(firsts):,} of {len(training):,} logged steps repeat the generation before and are "
             f"left out; an update is a generation of {unit} steps"] * (len(firsts) < len(training))  # fmt: skip
    notes += [f"at {len(looks):,} steps an evaluation replaced the completions"] * (len(looks) > 0)
    return table._replace(columns=columns), notes


def _evaluations(prompts: dict[int, tuple[str, ...]], content: dict[int, Any]) -> set[int]:
    """The steps of the one list of prompts that comes again with other completions, if it comes periodically."""
    steps: dict[tuple[str, ...], list[int]] = {}
    for step, of in prompts.items():
        steps.setdefault(of, []).append(step)
    again = [at for of, at in steps.items() if len({content[step] for step in at}) > 1 and len(set(of)) > 1]
    if len(again) != 1 or len(steps) == 1:
        return set()
    (at,) = again
    return set(at) if not np.any(np.mod(at, np.gcd.reduce(np.diff(at)))) else set()
