"""Parts of a study that processes on different machines compute on their own, over one folder on a disk they share."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from workbench.errors import InputError, bound, shown

T = TypeVar("T")
MOST_SHARDS = 100_000
# What schedulers tell a job of an array: its index, and the first, the last and the step of all indices.
ARRAYS = {
    "Slurm": ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"),
    "Grid Engine": ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
    "LSF": ("LSB_JOBINDEX", "", "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"),
}


@dataclass(frozen=True)
class Shard:
    """The number-th of `of` parts, 1 <= number <= of."""

    number: int
    of: int

    @classmethod
    def read(cls, text: Any, field: str = "shard", environ: Mapping[str, str] = os.environ) -> Shard:
        """From "I/N", or from the variables of a scheduler's array job for "array". InputError for anything else."""
        if text == "array":
            return cls._of_array(field, environ)
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text) if isinstance(text, str) else None
        number, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= of <= MOST_SHARDS:
            most = bound(MOST_SHARDS)
            raise InputError(f"{field}: must be I/N with 1 <= I <= N <= {most}, or array, got {shown(text)}")
        return cls(number, of)

    @classmethod
    def _of_array(cls, field: str, environ: Mapping[str, str]) -> Shard:
        for names in ARRAYS.values():
            if environ.get(names[0], "").isdecimal() and environ[names[0]] != "0" * bool(names[0] == "LSB_JOBINDEX"):
                index, first, last, step = (int(environ.get(name) or 1) for name in names)
                return cls.read(f"{(index - first) // step + 1}/{(last - first) // step + 1}", field)
        raise InputError(f"{field}: must be I/N outside of an array job of {', '.join(ARRAYS)}, got 'array'")

    def take(self, things: Sequence[T]) -> list[T]:
        """Its things: every `of`-th, so that each part has some of every kind."""
        return list(things[self.number - 1 :: self.of])

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"
