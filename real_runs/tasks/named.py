"""Tasks by name."""

from __future__ import annotations

from pathlib import Path

from real_runs.tasks.families import FAMILIES, LIMITS, _family_stream
from real_runs.tasks.files import PromptFile
from real_runs.tasks.gym import _gym_task
from real_runs.tasks.mathematics import MathScorer
from real_runs.tasks.task import LONG_LIMIT, Generated, Task
from workbench.errors import InputError, shown


def make_task(spec: str) -> Task:
    """A task by name: a family, reasoning-gym:NAME, file:PATH, or a path that ends in .parquet, .jsonl or .csv."""
    kind, colon, rest = spec.partition(":")
    if spec in FAMILIES:
        family = FAMILIES[spec]
        return Task(spec, LIMITS[spec], family.score, Generated(spec, family.levels, _family_stream(family)))
    if colon and kind == "reasoning-gym":
        return _gym_task(rest)
    named = bool(colon) and kind == "file"
    if named or Path(spec).suffix in (".parquet", ".jsonl", ".csv"):
        return Task(spec, LONG_LIMIT, MathScorer(), PromptFile.load(rest if named else spec))
    choices = f"{', '.join(FAMILIES)}, reasoning-gym:NAME, or a .parquet, .jsonl or .csv file"
    raise InputError(f"task: must be {choices}, got {shown(spec)}")
