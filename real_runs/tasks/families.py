"""Families of small problems, with levels along which success falls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from real_runs.tasks import arithmetic
from real_runs.tasks.task import Draw, Problem, Stream
from workbench.errors import InputError
from workbench.streams import Role, generator


@dataclass(frozen=True)
class Family:
    """A generator of problems.

    make: (draw, level) -> Problem. demonstrate: (draw, problem, slip) -> the text a demonstrator writes, who slips at
    each step with probability `slip`; None for a family on which no model is trained from nothing (pretrain.py). final:
    the part of a completion that is compared with the answer.
    """

    name: str
    levels: int
    make: Callable[[Draw, int], Problem]
    demonstrate: Callable[[Draw, Problem, float], str] | None = None
    final: Callable[[str], str] = str.strip

    def problems(self, count: int, seed: int, level: int | None = None) -> list[Problem]:
        """`count` different problems, levels in turn (or all of one level); InputError if there are not as many."""
        draw = generator(seed, Role.PROBLEM, 0 if level is None else level)
        seen: dict[str, Problem] = {}
        for attempt in range(200 * count):
            problem = self.make(draw, level or 1 + attempt % self.levels)
            seen.setdefault(problem.prompt, problem)
            if len(seen) == count:
                return list(seen.values())
        raise InputError(f"size: must be at most about {len(seen)} different problems of {self.name}, got {count}")

    def read(self, completion: str) -> str:
        """The answer in a completion, "" if there is none."""
        return self.final(completion)

    def score(self, completion: str, answer: str) -> float:
        return float(self.read(completion) == answer)


DIGITS, LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyz"


def _string(draw: Draw, alphabet: str, length: int) -> str:
    return "".join(alphabet[i] for i in draw.integers(len(alphabet), size=length))


def _slip(draw: Draw, text: str, alphabet: str, slip: float) -> str:
    """The text with each letter replaced by a random other one with probability `slip`."""
    wrong = draw.random(len(text)) < slip
    shift = draw.integers(1, len(alphabet), size=len(text))
    return "".join(
        alphabet[(alphabet.index(letter) + shift[i]) % len(alphabet)] if wrong[i] else letter
        for i, letter in enumerate(text)
    )


def _reverse(draw: Draw, level: int) -> Problem:
    text = _string(draw, DIGITS, level)
    return Problem(f"rev {text}=", text[::-1], level, "reverse")


def _slip_digits(draw: Draw, problem: Problem, slip: float) -> str:
    return _slip(draw, problem.answer, DIGITS, slip)


def _chain(draw: Draw, level: int) -> Problem:
    """Sum of level + 1 digits: 4+7+9= is answered 11,20 (running totals); only the last number counts."""
    terms = draw.integers(1, 10, size=level + 1)
    return Problem(f"{'+'.join(map(str, terms))}=", str(terms.sum()), level, "sum")


def _running_totals(draw: Draw, problem: Problem, slip: float) -> str:
    terms = [int(term) for term in problem.prompt.rstrip("=").split("+")]
    total, steps = terms[0], []
    for term in terms[1:]:
        total += term
        if draw.random() < slip:
            total = max(1, total + int(draw.choice([-2, -1, 1, 2])))  # a slip is carried on
        steps.append(str(total))
    return ",".join(steps)


def _last_number(completion: str) -> str:
    return completion.strip().rsplit(",", 1)[-1]


SKILLS: dict[str, Callable[[str], str]] = {
    "copy": lambda text: text,
    "flip": lambda text: text[::-1],
    "next": lambda text: "".join(LETTERS[(LETTERS.index(letter) + 1) % 26] for letter in text),
    "swap": lambda text: "".join(text[i ^ 1] if i ^ 1 < len(text) else text[i] for i in range(len(text))),
    "back": lambda text: "".join(LETTERS[(LETTERS.index(letter) + 1) % 26] for letter in text[::-1]),
}


def _skill(draw: Draw, level: int) -> Problem:
    name = list(SKILLS)[draw.integers(len(SKILLS))]
    text = _string(draw, LETTERS, level)
    return Problem(f"{name} {text}=", SKILLS[name](text), level, name)


def _slip_letters(draw: Draw, problem: Problem, slip: float) -> str:
    return _slip(draw, problem.answer, LETTERS, slip)


FAMILIES = {
    family.name: family
    for family in (
        Family("reverse", 24, _reverse, _slip_digits),
        Family("sums", 12, _chain, _running_totals, _last_number),
        Family("skills", 16, _skill, _slip_letters),
        Family("arithmetic", len(arithmetic.LEVELS), arithmetic.make, final=arithmetic.first_line),
    )
}
# tokens: the longest demonstration, an end mark, hardly more; arithmetic: a number of five digits and a line break
LIMITS = {"reverse": 26, "sums": 48, "skills": 18, "arithmetic": 8}


def family_stream(family: Family) -> Stream:
    def stream(draw: Draw, level: int) -> Iterator[Problem]:
        while True:
            yield family.make(draw, level)

    return stream
