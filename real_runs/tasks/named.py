"""Tasks and scorers by name: the one place where the text of a command line becomes a `Task`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import FunctionType
from typing import Any

from real_runs.tasks.answers import Reader, ReadScorer
from real_runs.tasks.families import FAMILIES, LIMITS, Family, family_stream
from real_runs.tasks.files import PromptFile
from real_runs.tasks.gym import gym_task
from real_runs.tasks.isolated import Isolated, NoScore, ScoringError
from real_runs.tasks.mathematics import MathScorer
from real_runs.tasks.task import LONG_LIMIT, Generated, Scorer, Task
from workbench.errors import InputError, check_choice, shown
from workbench.pool.layouts import split_mapping
from workbench.registry import entry_names, load_entry, load_object
from workbench.tables.formats import SOURCES, is_table

GROUP = "workbench.tasks"  # of entry points
SCORERS: dict[str, Callable[[], Scorer]] = {
    "math": MathScorer,
    "exact": lambda: lambda completion, answer: float(completion.strip() == answer.strip()),
}


def make_task(spec: str, scorer: str = "", answer: str = "") -> Task:
    """The task of a name, with a scorer of your own instead of the task's where `scorer` names one.

    spec: a family (reverse, sums, skills, arithmetic), reasoning-gym:NAME, file:PATH or a path that ends in .parquet,
    .jsonl or .csv, an entry point of the group workbench.tasks, or package.module:Name. The last two name a `Task`, a
    `Family`, or a class or function that returns one when it is called without arguments; a `Task` whose score is a
    function of a module is scored in a process of its own, too.
    scorer: math, exact, or package.module:function, a function (completion, answer) -> [0, 1], which runs in a process
    of its own with limits on time and memory.
    answer: where a completion has its answer (`answers.Reader`); "" where the scorer reads it.
    Raises InputError, in one line, for a name that is not known or not of that kind, and for a scorer that returns no
    number in [0, 1] for an answer of the task.
    """
    reader = Reader(answer) if answer else None
    task = _task(spec)
    if scorer:
        modules = (*task.modules, scorer.partition(":")[0]) if ":" in scorer else task.modules
        task = Task(task.name, task.limit, make_scorer(scorer), task.source, modules, task.solution)
        _check_scorer(scorer, task)
    if reader:
        task = replace(task, score=ReadScorer(reader, task.score), reader=reader)
    return task


def _check_scorer(spec: str, task: Task) -> None:
    """InputError for a scorer that returns no score for a right answer; what it raises is counted when it happens."""
    (right, *_) = task.heldout(1)[1]
    try:
        task.score(right, right)
    except NoScore as error:
        raise InputError(f"scorer: must return a number in [0, 1], got {error.returned} from {spec}") from None
    except ScoringError:
        pass


def make_scorer(spec: str) -> Scorer:
    """The scorer of a name: math, exact or package.module:function."""
    if ":" not in spec:
        check_choice("scorer", spec, (*SCORERS, "package.module:function"))
        return SCORERS[spec]()
    found = load_object("scorer", spec)
    if not callable(found):
        raise InputError(f"scorer: must be a function of a completion and an answer, got {spec}, a {_kind(found)}")
    return Isolated("real_runs.tasks.isolated:function_of", spec)


def _task(spec: str) -> Task:
    kind, colon, rest = spec.partition(":")
    if spec in FAMILIES:
        return _of_family(spec, LIMITS[spec], FAMILIES[spec])
    if kind == "reasoning-gym" and colon:
        return gym_task(rest)
    if kind == "file" and colon:
        return Task(spec, LONG_LIMIT, MathScorer(), PromptFile.load(rest))
    if is_table(split_mapping(spec)[0]):
        return Task(spec, LONG_LIMIT, MathScorer(), PromptFile.load(spec))
    if spec in entry_names(GROUP):
        return _outside(spec, load_entry("task", GROUP, spec), entry_names(GROUP)[spec].module)
    if kind and rest:
        return _outside(spec, load_object("task", spec), kind)
    known = ", ".join([*FAMILIES, *sorted(entry_names(GROUP))])
    raise InputError(
        f"task: must be {known}, reasoning-gym:NAME, package.module:Name, or {SOURCES}, "
        f"got {shown(spec)}"
    )


def _outside(spec: str, found: Any, module: str) -> Task:
    """The task that an object of other people is or returns."""
    if callable(found) and not isinstance(found, (Task, Family)):
        try:
            found = found()
        except InputError:
            raise
        except Exception as error:  # somebody else's code
            reason = shown(f"{type(error).__name__}: {error}")
            raise InputError(f"task: must return a Task when called, got {spec} ({reason})") from error
    if isinstance(found, Family):
        found = _of_family(spec, LONG_LIMIT, found)
    if not isinstance(found, Task):
        raise InputError("task: must be a Task (real_runs.tasks.task) or a Family (real_runs.tasks.families), got "
                         f"{spec}, a {_kind(found)}")  # fmt: skip
    modules = tuple(dict.fromkeys((*found.modules, module)))
    return Task(spec, found.limit, _apart(found.score), found.source, modules, found.solution)


def _apart(score: Scorer) -> Scorer:
    """A scorer in a process of its own where it can be named there: a function of a module. Others stay in ours."""
    spec = f"{getattr(score, '__module__', '')}:{getattr(score, '__qualname__', '')}"
    if not isinstance(score, FunctionType) or "<" in spec or spec.startswith("__main__"):
        return score
    return Isolated("real_runs.tasks.isolated:function_of", spec)


def _of_family(name: str, limit: int, family: Family) -> Task:
    return Task(name, limit, family.score, Generated(name, family.levels, family_stream(family)))


def _kind(found: Any) -> str:
    return type(found).__name__
