"""Problems from a file of prompts and answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from real_runs.tasks.task import STRATA, Task, _decile, _key
from workbench.errors import InputError
from workbench.pool import Pool
from workbench.pool.files import Unlabelled
from workbench.streams import Role, generator

UNLABELLED = 50.0  # difficulty of rows without labels, as of a generated task of one level


def print_note(line: str) -> None:
    print(line, file=sys.stderr)


def with_texts(pool: Pool, where: str) -> Pool:
    """The pool with prompts and answers as text: the one form in which tasks, pools and scorers have them.

    A prompt may be text or a chat of one message (the released AdaRFT rows); an answer text or a number. Text stays as
    it is. `where` names the pool in errors. Raises InputError unless every row has both, and more than blanks.
    """
    texts = {}
    for column, text in (("prompt", _prompt_text), ("answer", _answer_text)):
        given = (pool.payload or {}).get(column)
        if given is None:
            raise InputError(f"{where}: must have a column '{column}' in its {len(pool)} rows, got none")
        texts[column] = [text(value) for value in given]
        missing = [row for row, value in enumerate(texts[column]) if not value.strip()]
        if missing:
            raise InputError(
                f"{where}: must have text in column '{column}' of every row, got none in {len(missing)} of "
                f"{len(pool)} rows, the first is row {missing[0]}"
            )
    return pool.with_payload({**(pool.payload or {}), **texts})


def training_pool(pool: Pool, task: Task, per_stratum: int, say: Callable[[str], None] = print_note) -> Pool:
    """The pool that a run of `task` may train on: prompts and answers as text, without the held-out problems.

    per_stratum: of the held-out problems (`Task.heldout`). say: gets one line if problems were left out. Raises
    InputError where a row has no text, and where nothing but held-out problems is there.
    """
    pool = with_texts(pool, f"pool '{pool.name}'")
    held_out = {prompt.strip() for prompt in task.heldout(per_stratum)[0]}
    free = np.array([prompt.strip() not in held_out for prompt in (pool.payload or {})["prompt"]])
    if not free.any():
        got = f"got {len(pool)} of {len(pool)} held out"
        raise InputError(f"pool '{pool.name}': must have problems that task {task.name} does not hold out, {got}")
    if free.all():
        return pool
    say(f"pool '{pool.name}': {(~free).sum()} of {len(pool)} problems are held out for evaluation and are left out")
    return pool.take(free)


def load_rows(path: str) -> tuple[Pool, bool]:
    """The rows of a pool file, and whether they have difficulty labels.

    Without labels every row has the difficulty UNLABELLED until measure.py has measured it.
    """
    try:
        return Pool.load(path), True
    except Unlabelled:
        return Pool.load(path, UNLABELLED), False


@dataclass(frozen=True)
class PromptFile:
    """Rows with text in "prompt" and "answer". Of its different prompts the tenth with the least hash is reserved.

    labelled: whether the rows have difficulty labels.
    """

    rows: Pool
    labelled: bool = True

    @classmethod
    def load(cls, path: str) -> PromptFile:
        """InputError unless every row has a prompt and an answer, and there are two different prompts."""
        pool, labelled = load_rows(path)
        pool = with_texts(pool, path)
        if len({prompt.strip() for prompt in (pool.payload or {})["prompt"]}) < 2:
            raise InputError(f"{path}: must have at least 2 different prompts, one of them to hold out, got 1")
        return cls(pool, labelled)

    def _sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to train on, and one row of each reserved prompt."""
        assert self.rows.payload is not None
        prompts = [prompt.strip() for prompt in self.rows.payload["prompt"]]  # blanks at the ends make no other problem
        first = {prompt: row for row, prompt in reversed(list(enumerate(prompts)))}
        reserved = set(sorted(first, key=_key)[: max(1, len(first) // 10)])
        training = [row for row, prompt in enumerate(prompts) if prompt not in reserved]
        return np.array(training), np.array(sorted(first[prompt] for prompt in reserved))

    def training(self, size: int, seed: int) -> Pool:
        rows, _ = self._sides()
        return self.rows.take(np.sort(generator(seed, Role.PROBLEM).permutation(rows)[:size]))

    def reserved(self, per_stratum: int, seed: int) -> Pool:
        _, rows = self._sides()
        rows = generator(seed, Role.PROBLEM).permutation(rows)
        stratum = _decile(self.rows.difficulty[rows])
        chosen = [rows[stratum == s][:per_stratum] for s in range(STRATA)]
        return self.rows.take(np.concatenate(chosen))


def _prompt_text(prompt: Any) -> str:
    """The text of a prompt, also where it is a chat of one message (the released AdaRFT rows); "" if there is none."""
    if not isinstance(prompt, str) and isinstance(prompt, (list, np.ndarray)) and len(prompt) == 1:
        prompt = prompt[0].get("content") if isinstance(prompt[0], Mapping) else None
    return prompt if isinstance(prompt, str) else ""


def _answer_text(answer: Any) -> str:
    """An answer as text; "" if there is none. A whole number that a table with gaps holds as 3.0 is 3."""
    if isinstance(answer, (float, np.floating)):
        return "" if np.isnan(answer) else f"{answer:.0f}" if answer.is_integer() else repr(float(answer))
    return str(answer) if isinstance(answer, (str, int, np.integer)) else ""
