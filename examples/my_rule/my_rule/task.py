"""A task with its own scorer: reverse a word of digits; the first two digits of the answer decide."""

from __future__ import annotations

from collections.abc import Iterator

from real_runs.tasks.task import Draw, Generated, Problem, Task


def score(completion: str, answer: str) -> float:
    """1 if the completion starts as the answer does, otherwise 0."""
    return float(completion.strip()[:2] == answer[:2])


def problems(draw: Draw, level: int) -> Iterator[Problem]:
    """Words of level + 1 digits."""
    while True:
        word = "".join(map(str, draw.integers(0, 10, size=level + 1)))
        yield Problem(f"rev {word}=", word[::-1], level, "reverse")


def first_two() -> Task:
    return Task("first-two", limit=16, score=score, source=Generated("first-two", 12, problems))
