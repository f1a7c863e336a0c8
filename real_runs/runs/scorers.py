"""Whether a task's scorer works: it starts, and gives full score to the answers themselves."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from real_runs.runs.signal import ANYWAY
from real_runs.tasks.answers import ReadScorer
from real_runs.tasks.isolated import ScoringError
from real_runs.tasks.mathematics import MathScorer
from real_runs.tasks.task import FULL, Scorer, Task
from workbench.errors import InputError, shown
from workbench.pool import Pool

TRIED = 16  # answers, evenly over the pool, before the others
TRYING_SECONDS = 20.0  # after which no further answer is tried


def check_sound(task: Task, say: Callable[[str], object], anyway: bool = False) -> None:
    """InputError for a task whose scorer is known to be wrong; with `anyway` a line."""
    if task.unsound:
        line = f"--task: must have a scorer that tells right from wrong, got {task.name}, whose scorer {task.unsound}"
        _tell(line, say, not anyway)


def check_answers(task: Task, pool: Pool, say: Callable[[str], object], anyway: bool = False) -> None:
    """Start the scorer, and score every answer against itself (`Task.solution`), or as many as TRYING_SECONDS allow.

    say: gets a line where some of them do not have full score. InputError where none has, and where the scorer does not
    start; with `anyway` a line, too.
    """
    score = task.score.score if isinstance(task.score, ReadScorer) else task.score  # which reads an answer alone
    try:
        getattr(score, "start", lambda: None)()
    except ScoringError as error:
        _tell(f"--scorer: must start, got {_one_line(error)}", say, not anyway)
        return
    payload = pool.payload or {}
    solution = score.solution if isinstance(score, MathScorer) else task.solution
    first = np.unique(np.linspace(0, len(pool) - 1, TRIED).astype(int))
    got: dict[int, str] = {}
    until = time.monotonic() + TRYING_SECONDS
    for row in [*first.tolist(), *np.setdiff1d(np.arange(len(pool)), first).tolist()]:
        if len(got) >= len(first) and time.monotonic() > until:
            break
        got[row] = _own_score(score, solution, str(payload["answer"][row]))
    missed = sorted(row for row in got if got[row] != "full")
    if missed:
        row = missed[0]
        line = (
            f"--scorer: must give full score to an answer itself, got less for {len(missed)} of {len(got)} answers, "
            f"the first is {shown(payload['answer'][row])} in row {row} of the pool: {got[row]}"
        )
        _tell(line, say, len(missed) == len(got) and not anyway)


def _own_score(score: Scorer, solution: Callable[[str], str], answer: str) -> str:
    """What an answer has as a completion: "full", a score, or why there is none."""
    try:
        found = float(score(solution(answer), answer))
    except Exception as error:  # a scorer is somebody else's code
        return _one_line(error)
    return "full" if found >= FULL else f"{found:g}"


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200]


def _tell(line: str, say: Callable[[str], object], refused: bool) -> None:
    if refused:
        raise InputError(f"{line}; {ANYWAY} starts nevertheless")
    say(line)
