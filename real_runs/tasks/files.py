"""Problems from a file of prompts and answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from real_runs.tasks.prompting import Turn, checked_turns, turns_of
from real_runs.tasks.task import STRATA, Task, _decile, _key
from workbench.errors import InputError, check_text
from workbench.pool import Pool
from workbench.streams import Role, generator
from workbench.tables.records import Written


def print_note(line: str) -> None:
    print(line, file=sys.stderr)


def with_texts(pool: Pool, where: str) -> Pool:
    """The pool with prompts and answers as text: the one form in which tasks, pools and scorers have them.

    A prompt may be text or a chat: one message (the released AdaRFT rows) becomes its content, several the JSON text
    that `prompting.turns_of` reads. An answer may be text or a number. Text stays as it is. `where` names the pool in
    errors. Raises InputError unless every row has both, more than blanks, as UTF-8 can hold it. No chat may end with
    an assistant's turn: where messages are kept with their solutions, that is the answer.
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
        for row, value in enumerate(texts[column]):
            check_text(f"{where}, column '{column}', row {row}", value)
    last = [(turns_of(text) or [{}])[-1] for text in texts["prompt"]]
    answered = [row for row, turn in enumerate(last) if turn.get("role") == "assistant"]
    if answered:
        raise InputError(
            f"{where}: must have prompts that end before the answer, got an assistant's turn at the end of "
            f"{len(answered)} of {len(pool)} rows, the first is row {answered[0]}; prompt=COLUMN takes another column"
        )
    return pool.with_payload({**(pool.payload or {}), **texts})


def training_pool(
    pool: Pool, task: Task, per_stratum: int, say: Callable[[str], None] = print_note,
    shots: Sequence[tuple[str, str]] = (),
) -> Pool:  # fmt: skip
    """The pool that a run of `task` may train on: prompts and answers as text, without held-out problems and examples.

    per_stratum: of the held-out problems (`Task.heldout`). shots: the examples that prompts show. say: gets one line
    for each kind of problem that was left out. Raises InputError where a row has no text, and where nothing is left.
    """
    pool = with_texts(pool, f"pool '{pool.name}'")
    held_out = task.heldout(per_stratum)[0]
    none = f"must have problems that task {task.name} does not hold out", "held out"
    pool = _without(pool, held_out, "held out for evaluation", none, say)
    return without_shots(pool, shots, say)


def without_shots(pool: Pool, shots: Sequence[tuple[str, str]], say: Callable[[str], None] = print_note) -> Pool:
    """The pool without the problems that prompts show as examples; InputError where nothing is left."""
    none = "must have problems that no prompt shows as an example", "shown"
    return _without(pool, [prompt for prompt, _ in shots], "shown as examples (--shots)", none, say)


def _without(
    pool: Pool, prompts: Collection[str], why: str, none: tuple[str, str], say: Callable[[str], None]
) -> Pool:
    """The pool without some prompts; none: what the error says where that is all of it."""
    gone = {prompt.strip() for prompt in prompts}
    free = np.array([prompt.strip() not in gone for prompt in (pool.payload or {})["prompt"]])
    if not free.any():
        raise InputError(f"pool '{pool.name}': {none[0]}, got {len(pool)} of {len(pool)} {none[1]}")
    if free.all():
        return pool
    say(f"pool '{pool.name}': {(~free).sum()} of {len(pool)} problems are {why} and are left out")
    return pool.take(free)


@dataclass(frozen=True)
class PromptFile:
    """Rows with text in "prompt" and "answer". Of its different prompts the tenth with the least hash is reserved."""

    rows: Pool

    @classmethod
    def load(cls, path: str) -> PromptFile:
        """InputError unless every row has a prompt and an answer, and there are two different prompts."""
        try:
            rows = Pool.load(path)
        except InputError as error:
            raise InputError(f"task: {str(error).removeprefix('pool: ')}") from None
        pool = with_texts(rows, path)
        if len({prompt.strip() for prompt in (pool.payload or {})["prompt"]}) < 2:
            raise InputError(f"{path}: must have at least 2 different prompts, one of them to hold out, got 1")
        return cls(pool)

    def _sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to train on, and one row of each reserved prompt."""
        assert self.rows.payload is not None
        prompts = [prompt.strip() for prompt in self.rows.payload["prompt"]]  # blanks at the ends make no other problem
        first = {prompt: row for row, prompt in reversed(list(enumerate(prompts)))}
        reserved = set(sorted(first, key=_key)[: max(1, len(first) // 10)])
        training = [row for row, prompt in enumerate(prompts) if prompt not in reserved]
        return np.array(training), np.array(sorted(first[prompt] for prompt in reserved))

    def examples(self, count: int) -> list[tuple[str, str]]:
        """The first different prompts of the training side in the order of their hash."""
        assert self.rows.payload is not None
        prompts, answers = self.rows.payload["prompt"], self.rows.payload["answer"]
        first = {prompts[row].strip(): row for row in self._sides()[0][::-1]}
        rows = [first[prompt] for prompt in sorted(first, key=_key)[:count]]
        return [(prompts[row], answers[row]) for row in rows]

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
    """The text of a prompt: of a chat of one message its content, of several `turns_of`'s; "" if there is none."""
    if isinstance(prompt, str):
        turns = turns_of(prompt)
        return prompt if turns is None else _chat_text(turns)
    if not isinstance(prompt, (list, np.ndarray)) or not len(prompt):
        return ""
    if len(prompt) == 1:
        content = prompt[0].get("content") if isinstance(prompt[0], Mapping) else None
        return content if isinstance(content, str) else ""
    return _chat_text(checked_turns(list(prompt)) or [])


def _chat_text(turns: list[Turn]) -> str:
    if all(not turn["content"].strip() for turn in turns):
        return ""
    return turns[0]["content"] if len(turns) == 1 else json.dumps(turns, ensure_ascii=False)


def _answer_text(answer: Any) -> str:
    """An answer as text, of JSON as it stands there; "" if there is none. 3.0, as tables with gaps have 3, is 3."""
    if isinstance(answer, Written):
        return answer.text
    if isinstance(answer, (float, np.floating)):
        return "" if np.isnan(answer) else f"{answer:.0f}" if answer.is_integer() else repr(float(answer))
    return str(answer) if isinstance(answer, (str, int, np.integer)) else ""
