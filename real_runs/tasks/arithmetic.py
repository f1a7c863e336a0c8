"""Arithmetic for language models that others trained: short problems whose answer is a number.

Twelve levels, in the order in which SmolLM2-135M-Instruct solves them before it is trained (`LEVELS`).
"""

from __future__ import annotations

from collections.abc import Callable

from real_runs.tasks.task import Draw, Problem

NAMES = ("Ann", "Ben", "Eva", "Leo", "Mia", "Sam", "Tom", "Zoe")
THINGS = ("apples", "books", "cards", "coins", "cups", "eggs", "pens", "toys")
Range = tuple[int, int]  # both ends included


def _number(draw: Draw, bounds: Range) -> int:
    return int(draw.integers(bounds[0], bounds[1] + 1))


def _product(draw: Draw, one: Range, other: Range) -> tuple[str, int]:
    a, b = _number(draw, one), _number(draw, other)
    a, b = (a, b) if draw.random() < 0.5 else (b, a)
    return f"{a}*{b}=", a * b


def _sum_to(draw: Draw, bounds: Range) -> tuple[str, int]:
    total = _number(draw, bounds)
    a = _number(draw, (1, total - 1))
    return f"{a}+{total - a}=", total


def _sum(draw: Draw, *bounds: Range) -> tuple[str, int]:
    terms = draw.permutation([_number(draw, each) for each in bounds])
    return f"{'+'.join(map(str, terms))}=", int(terms.sum())


def _difference(draw: Draw, bounds: Range) -> tuple[str, int]:
    a = _number(draw, bounds)
    b = _number(draw, (1, a - 1))
    return f"{a}-{b}=", a - b


def _quotient(draw: Draw, divisor: Range, quotient: Range) -> tuple[str, int]:
    a, b = _number(draw, divisor), _number(draw, quotient)
    return f"{a * b}/{a}=", b


def _story(draw: Draw) -> tuple[str, int]:
    name, things = NAMES[draw.integers(len(NAMES))], THINGS[draw.integers(len(THINGS))]
    a, b = _number(draw, (5, 20)), _number(draw, (2, 9))
    if draw.random() < 0.5:
        return f"{name} has {a} {things} and gets {b} more. {things.capitalize()}: ", a + b
    return f"{name} has {a + b} {things} and loses {b}. {things.capitalize()} left: ", a


# kind, and how a problem of the level is drawn
LEVELS: tuple[tuple[str, Callable[[Draw], tuple[str, int]]], ...] = (
    ("product", lambda draw: _product(draw, (2, 5), (2, 12))),
    ("sum", lambda draw: _sum_to(draw, (3, 20))),
    ("difference", lambda draw: _difference(draw, (3, 30))),
    ("sum", lambda draw: _sum(draw, (1, 9), (1, 9), (1, 9))),
    ("product", lambda draw: _product(draw, (2, 9), (13, 30))),
    ("product", lambda draw: _product(draw, (2, 9), (31, 99))),
    ("sum", lambda draw: _sum(draw, (10, 99), (1, 9))),
    ("quotient", lambda draw: _quotient(draw, (2, 9), (2, 40))),
    ("story", _story),
    ("sum", lambda draw: _sum(draw, (10, 99), (10, 99))),
    ("sum", lambda draw: _sum(draw, (100, 999), (100, 999))),
    ("sum", lambda draw: _sum(draw, (10, 99), (10, 99), (10, 99))),
)


def arithmetic(draw: Draw, level: int) -> Problem:
    kind, make = LEVELS[level - 1]
    prompt, answer = make(draw)
    return Problem(prompt, str(answer), level, kind)


def first_line(completion: str) -> str:
    """The part of a completion that is compared with the answer: models go on with another problem."""
    return completion.strip().split("\n", 1)[0].strip()
