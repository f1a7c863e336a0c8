"""Where in a completion its answer is: readers, text -> text, that go before a scorer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import regex

from real_runs.tasks.expressions import last_boxes, last_number, without_thoughts
from real_runs.tasks.isolated import LONGEST
from real_runs.tasks.mathematics import MathScorer
from real_runs.tasks.task import Scorer
from workbench.errors import InputError, shown

READING_SECONDS = 1.0  # for a regular expression in one completion, which may be written to stall it
SPECIAL = set("\\[(.*+?|^$")  # a regular expression without any of these finds the same text everywhere


@dataclass(frozen=True)
class Reader:
    """What a completion gives as its answer, "" where there is none.

    form: last-line, the last line that is not blank; last-number, the last number without commas; boxed, the content
    of the last \\boxed{}; tag:NAME, what the last <NAME></NAME> holds; or a regular expression: its last match, or the
    first group of that. All but an expression leave thoughts out (`without_thoughts`). Text longer than LONGEST
    characters is read from its end; an expression that takes more than READING_SECONDS finds nothing. Raises InputError
    for a form that is none of these.
    """

    form: str
    _find: Callable[[str], str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_find", _finder(self.form))

    def __call__(self, completion: str) -> str:
        return self._find(completion[-LONGEST:]).strip()


@dataclass(frozen=True)
class ReadScorer:
    """The score of what a reader finds in a completion; 0 where it finds nothing.

    `MathScorer` looks for an expression itself in a whole line; what other readers find is the expression.
    """

    reader: Reader
    score: Scorer

    def __call__(self, completion: str, answer: str) -> float:
        found = self.reader(completion)
        if not found:
            return 0.0
        if isinstance(self.score, MathScorer) and self.reader.form != "last-line":
            return self.score.equal(found, answer)
        return self.score(found, answer)


def _finder(form: str) -> Callable[[str], str]:
    named: dict[str, Callable[[str], str]] = {
        "last-line": _last_line, "last-number": last_number, "boxed": last_boxes,
    }  # fmt: skip
    if form in named:
        return partial(_after_thoughts, named[form])
    if form.startswith("tag:"):
        name = form.removeprefix("tag:")
        if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
            raise InputError(f"--answer: must have a name of letters, digits, _ and - after tag:, got {shown(form)}")
        return partial(_after_thoughts, partial(_last_tagged, name))
    if not SPECIAL & set(form):
        raise InputError(
            f"--answer: must be {', '.join(named)}, tag:NAME or a regular expression, which has one of "
            f"{' '.join(sorted(SPECIAL))}, got {shown(form)}"
        )
    try:
        pattern = regex.compile(form)
    except regex.error as error:
        raise InputError(f"--answer: must be a regular expression that compiles, got {shown(form)} ({error})") from None
    return partial(_last_match, pattern)


def _after_thoughts(find: Callable[[str], str], text: str) -> str:
    return find(without_thoughts(text))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def _last_tagged(name: str, text: str) -> str:
    """Between the last closing tag and the last opening one before it."""
    closing = list(re.finditer(rf"</{name}>", text, re.IGNORECASE))
    end = closing[-1].start() if closing else 0
    opening = list(re.finditer(rf"<{name}>", text[:end], re.IGNORECASE))
    return text[opening[-1].end() : end] if opening else ""


def _last_match(pattern: regex.Pattern[str], text: str) -> str:
    try:
        found = [match[min(1, pattern.groups)] for match in pattern.finditer(text, timeout=READING_SECONDS)]
    except TimeoutError:
        return ""
    return (found or [""])[-1] or ""
