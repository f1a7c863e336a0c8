"""Arithmetic for pretrained models: twelve levels of short prompts, ordered by how often SmolLM2 solves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from real_runs.tasks.task import Draw, Problem

NUMBERS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
THINGS = ("apples", "books", "cards", "coins", "cups", "eggs", "keys", "pens", "shells", "toys")


@dataclass(frozen=True)
class Level:
    """kind: the category of its problems. draw: a prompt, after which a number follows, and that number."""

    kind: str
    draw: Callable[[Draw], tuple[str, int]]


def make(draw: Draw, level: int) -> Problem:
    """A problem of a level from 1."""
    of = LEVELS[level - 1]
    prompt, answer = of.draw(draw)
    return Problem(prompt, str(answer), level, of.kind)


def first_line(completion: str) -> str:
    """What a completion says before it goes on to another problem."""
    return completion.split("\n", 1)[0].strip()


def _between(draw: Draw, low: int, high: int) -> int:
    return int(draw.integers(low, high + 1))


def _sum(low: int, high: int) -> Callable[[Draw], tuple[str, int]]:
    """7+8=, the total from low to high."""

    def problem(draw: Draw) -> tuple[str, int]:
        total = _between(draw, low, high)
        first = _between(draw, 1, total - 1)
        return f"{first}+{total - first}=", total

    return problem


def _terms(count: int, low: int, high: int) -> Callable[[Draw], tuple[str, int]]:
    """3+5+2=, with `count` terms from low to high."""

    def problem(draw: Draw) -> tuple[str, int]:
        terms = [_between(draw, low, high) for _ in range(count)]
        return "+".join(map(str, terms)) + "=", sum(terms)

    return problem


def _difference(low: int, high: int) -> Callable[[Draw], tuple[str, int]]:
    """14-6=, from a number from low to high; never negative or 0."""

    def problem(draw: Draw) -> tuple[str, int]:
        first = _between(draw, low, high)
        second = _between(draw, 1, first - 1)
        return f"{first}-{second}=", first - second

    return problem


def _product(low: int, high: int, form: str = "{}*{}=") -> Callable[[Draw], tuple[str, int]]:
    """3*14=, a factor from 2 to 9 and one from low to high, in either order."""

    def problem(draw: Draw) -> tuple[str, int]:
        factors = [_between(draw, 2, 9), _between(draw, low, high)]
        first, second = factors[:: int(draw.choice([1, -1]))]
        return form.format(first, second), first * second

    return problem


def _quotient(draw: Draw) -> tuple[str, int]:
    """56/8=, without a remainder."""
    divisor, quotient = _between(draw, 2, 9), _between(draw, 2, 40)
    return f"{divisor * quotient}/{divisor}=", quotient


def _in_words(draw: Draw) -> tuple[str, int]:
    first, second = _between(draw, 1, 20), _between(draw, 1, 20)
    return f"{NUMBERS[first - 1]} plus {NUMBERS[second - 1]}=", first + second


def _story(draw: Draw) -> tuple[str, int]:
    """A line about things: together, taken away or in bags."""
    things = THINGS[int(draw.integers(len(THINGS)))]
    first, second = _between(draw, 3, 15), _between(draw, 2, 9)
    which = int(draw.integers(3))
    if which == 0:
        return f"{first} {things} and {second} more=", first + second
    if which == 1:
        first += second
        return f"{first} {things} less {second}=", first - second
    return f"{second} bags of {first} {things}=", first * second


LEVELS = (
    Level("words", _product(2, 14, "{} times {} is ")),
    Level("product", _product(2, 14)),
    Level("sum", _sum(4, 22)),
    Level("words", _product(15, 30, "{} times {} is ")),
    Level("difference", _difference(4, 25)),
    Level("sum", _sum(23, 33)),
    Level("product", _product(15, 35)),
    Level("sum", _terms(3, 1, 7)),
    Level("words", _in_words),
    Level("quotient", _quotient),
    Level("story", _story),
    Level("sum", _terms(2, 1000, 9999)),
)
