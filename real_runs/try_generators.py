"""Try the scorers of reasoning-gym's generators: python real_runs/try_generators.py --help

Each scorer is asked about a few problems of every level: whether it gives full score to the problem's own answer, to
texts that answer nothing, and to wrong constants and the answers of other problems. `gym.UNSOUND` is what came out.
"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pandas as pd

from real_runs.tasks.gym import gym_names, gym_task
from real_runs.tasks.isolated import ScoringError
from real_runs.tasks.task import FULL, Generated
from workbench.commands import Parser, exit_status, whole
from workbench.errors import InputError, shown
from workbench.files import check_file, write_whole
from workbench.streams import Role, generator

JUNK = ("I do not know.", "qwertz", "?", "[]", "{}")
CONSTANTS = ("0", "1", "A", "yes", "True", "4*3*2*1")
MOST_PROBLEMS = 10_000  # of each level
SECONDS = 60  # for one generator


class _Late(BaseException):  # generators and scorers catch every Exception
    pass


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise _Late

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def tried(name: str, problems: int) -> dict[str, Any]:
    """Shares of problems: own, whose answer has full score; junk, where a text that answers nothing has it; others, of
    the wrong constants and answers of other problems that have it. faults: calls that gave no score. late: whether the
    time was over before the last level."""
    task = gym_task(name)
    assert isinstance(task.source, Generated)
    own = junk = others = wrong = faults = 0
    solutions: list[str] = []
    late = False

    def full(text: str, answer: str) -> bool:
        nonlocal faults
        try:
            return task.score(text, answer) >= FULL
        except ScoringError:
            faults += 1
            return False

    try:
        with _at_most(SECONDS):
            for level in range(1, task.source.levels + 1):
                for problem in islice(task.source.stream(generator(0, Role.PROBLEM, level), level), problems):
                    if problem is None:
                        continue
                    mine = task.solution(problem.answer)
                    found = [
                        [full(text, problem.answer) for text in texts if not _equal(text, mine)]
                        for texts in (JUNK, dict.fromkeys([*CONSTANTS, *solutions[-5:]]))
                    ]
                    own += full(mine, problem.answer)
                    solutions.append(mine)
                    junk += any(found[0])
                    others += sum(found[1])
                    wrong += len(found[1])
    except _Late:
        late = True
    n = len(solutions)
    return {
        "generator": name, "levels": task.source.levels, "problems": n, "own": round(own / max(n, 1), 3),
        "junk": round(junk / max(n, 1), 3), "others": round(others / max(wrong, 1), 3), "faults": faults, "late": late,
    }  # fmt: skip


def _equal(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one.strip().lower() == other.strip().lower()


def parser() -> Parser:
    p = Parser(description=__doc__, allow_abbrev=False)
    p.add_argument("names", metavar="NAME", nargs="*", help="generators (default: all)")
    p.add_argument("--problems", default="4", help="of each level (default: %(default)s)")
    p.add_argument("--out", metavar="FILE", default="gym_tried.csv", help="(default: %(default)s)")
    return p


def main(arguments: list[str] | None = None) -> int:
    def work() -> None:
        options: argparse.Namespace = parser().parse_args(arguments)
        problems = whole("--problems", options.problems, 1, MOST_PROBLEMS)
        out = check_file("--out", options.out)
        for name in options.names:
            if name not in gym_names():
                raise InputError(f"NAME: must be a generator of reasoning-gym, got {shown(name)}")
        rows = []
        for name in options.names or gym_names():
            rows.append(tried(name, problems))
            print(json.dumps(rows[-1]), flush=True)
            write_whole(out, pd.DataFrame(rows).to_csv(index=False).encode())

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
