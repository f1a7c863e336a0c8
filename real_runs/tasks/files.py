"""Problems from a file of prompts and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from real_runs.tasks.measured import rows_of
from real_runs.tasks.task import STRATA, _decile, _key
from workbench.errors import InputError
from workbench.pool import Pool
from workbench.streams import Role, generator


@dataclass(frozen=True)
class PromptFile:
    """Rows with text in "prompt" and "answer". Of its different prompts the tenth with the least hash is reserved."""

    rows: Pool

    @classmethod
    def load(cls, path: str) -> PromptFile:
        """InputError unless every row has a prompt and an answer, and there are two different prompts."""
        pool = Pool.load(path)
        columns = {}
        for column, text in (("prompt", _prompt_text), ("answer", _answer_text)):
            if column not in (pool.payload or {}):
                raise InputError(f"{path}: must have a column '{column}' in its {len(pool)} rows, got none")
            columns[column] = [text(value) for value in pool.payload[column]]  # type: ignore[index]
            missing = [row for row, value in enumerate(columns[column]) if not value]
            if missing:
                raise InputError(
                    f"{path}: must have text in column '{column}' of every row, got none in {len(missing)} of "
                    f"{len(pool)} rows, the first is row {missing[0]}"
                )
        if len(set(columns["prompt"])) < 2:
            raise InputError(f"{path}: must have at least 2 different prompts, one of them to hold out, got 1")
        optional = {c: getattr(pool, c) for c in ("ids", "category", "level", "successes", "attempts")}
        return cls(Pool(pool.difficulty, **optional, payload=columns, name=pool.name))

    def _sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to train on, and one row of each reserved prompt."""
        assert self.rows.payload is not None
        prompts = self.rows.payload["prompt"]
        first = {prompt: row for row, prompt in reversed(list(enumerate(prompts)))}
        reserved = set(sorted(first, key=_key)[: max(1, len(first) // 10)])
        training = [row for row, prompt in enumerate(prompts) if prompt not in reserved]
        return np.array(training), np.array(sorted(first[prompt] for prompt in reserved))

    def training(self, size: int, seed: int) -> Pool:
        rows, _ = self._sides()
        return rows_of(self.rows, np.sort(generator(seed, Role.PROBLEM).permutation(rows)[:size]), self.rows.name)

    def reserved(self, per_stratum: int, seed: int) -> Pool:
        _, rows = self._sides()
        rows = generator(seed, Role.PROBLEM).permutation(rows)
        stratum = _decile(self.rows.difficulty[rows])
        chosen = [rows[stratum == s][:per_stratum] for s in range(STRATA)]
        return rows_of(self.rows, np.concatenate(chosen), self.rows.name)


def _prompt_text(prompt: Any) -> str:
    """The text of a prompt, also where it is a chat of one message (the released AdaRFT rows); "" if there is none."""
    if not isinstance(prompt, str) and isinstance(prompt, (list, np.ndarray)) and len(prompt) == 1:
        prompt = prompt[0].get("content") if isinstance(prompt[0], Mapping) else None
    return prompt.strip() if isinstance(prompt, str) else ""


def _answer_text(answer: Any) -> str:
    """An answer as text; "" if there is none. A whole number that a table with gaps holds as 3.0 is 3."""
    if isinstance(answer, (float, np.floating)):
        return "" if np.isnan(answer) else f"{answer:.0f}" if answer.is_integer() else repr(float(answer))
    return str(answer).strip() if isinstance(answer, (str, int, np.integer)) else ""
