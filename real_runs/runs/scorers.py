"""Whether a task's scorer works: it starts, and gives full score to the answers themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from real_runs.runs.signal import ANYWAY, FULL
from real_runs.tasks.answers import ReadScorer
from real_runs.tasks.isolated import ScoringError
from real_runs.tasks.task import Scorer, Task
from workbench.errors import InputError, shown
from workbench.pool import Pool

TRIED = 16  # answers, evenly over the pool


def check_answers(task: Task, pool: Pool, say: Callable[[str], object], anyway: bool = False) -> None:
    """Start the scorer, and score TRIED answers against themselves (`Task.solution`).

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
    rows = np.unique(np.linspace(0, len(pool) - 1, TRIED).astype(int))
    got = {row: _own_score(score, task.solution, str(payload["answer"][row])) for row in rows}
    missed = [row for row in rows if got[row] != "full"]
    if missed:
        row = missed[0]
        line = (
            f"--scorer: must give full score to an answer itself, got less for {len(missed)} of {len(rows)} answers, "
            f"the first is {shown(payload['answer'][row])} in row {row} of the pool: {got[row]}"
        )
        _tell(line, say, len(missed) == len(rows) and not anyway)


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
