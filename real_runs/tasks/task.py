"""A task: verifiable problems with held-out ones that are never trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError, check_count
from workbench.pool import Pool
from workbench.streams import Role, generator

STRATA = 10  # of the held-out problems: equal parts of the difficulty range
FULL = 1 - 1e-9  # a score from here on is full, and a success: partial credit is none
PATIENCE = 200  # draws in a row without a new problem after which a level counts as exhausted
Draw = np.random.Generator


@dataclass(frozen=True)
class Problem:
    """prompt: what the model is asked. answer: what `score` takes. level: 1 .. the family's levels.

    shown: the answer as an example gives it, where that is not `answer`; "" if it cannot be an example.
    """

    prompt: str
    answer: str
    level: int
    category: str
    shown: str | None = None

    @property
    def example(self) -> tuple[str, str]:
        """Prompt and answer as an example shows them."""
        return self.prompt, self.answer if self.shown is None else self.shown


LONG_LIMIT = 1024  # tokens, for reasoning in words
Scorer = Callable[[str, str], float]  # (completion, answer) -> [0, 1]


class Source(Protocol):
    """Where a task's problems come from; one prompt is never on both sides."""

    def training(self, size: int, seed: int) -> Pool: ...

    def reserved(self, per_stratum: int, seed: int) -> Pool: ...


@runtime_checkable
class Exemplary(Protocol):
    """A source that also has examples."""

    def examples(self, count: int) -> list[tuple[str, str]]:
        """Prompts and answers of at most `count` problems of the training side."""
        ...


@dataclass(frozen=True)
class Task:
    """Problems and their scorer.

    limit: tokens a completion needs. score: (completion, answer) -> [0, 1]; raises ScoringError for a completion that
    cannot be scored and ScoringTimeout for one that takes too long (`isolated`), from any thread. modules: modules of
    other people that the problems or the scorer come from; a run depends on their source. solution: the completion that
    an answer stands for, where it is not the answer itself. reader: what finds the answer in a completion before it is
    scored, "" if there is none; None where the scorer reads the completion itself. unsound: what is known to be wrong
    with the scorer, "" for nothing.
    """

    name: str
    limit: int
    score: Scorer
    source: Source
    modules: tuple[str, ...] = ()
    solution: Callable[[str], str] = str
    reader: Callable[[str], str] | None = None
    unsound: str = ""

    @property
    def read(self) -> Callable[[str], str] | None:
        """What finds the answer in a completion, right or wrong, "" if there is none: the reader, or the scorer's own.

        None where a scorer of other people does not say.
        """
        owner = getattr(self.score, "__self__", self.score)  # of a family's score, the family
        found: Callable[[str], str] | None = self.reader or getattr(owner, "read", None)
        return found

    def examples(self, count: int) -> tuple[tuple[str, str], ...]:
        """Prompts and answers of `count` problems that a prompt shows; always the same ones, none of them held out.

        InputError if there are not as many.
        """
        check_count("--shots", count, 0)
        if count == 0:
            return ()
        if not isinstance(self.source, Exemplary):
            raise InputError(f"--shots: must be 0 for task {self.name}, whose source has no examples, got {count}")
        found = self.source.examples(count)
        if not all(answer.strip() for _, answer in found):
            raise InputError(f"--shots: must be 0 for task {self.name}, whose answers cannot be shown, got {count}")
        if len(found) < count:
            raise InputError(f"--shots: must be <= {len(found)}, the examples of task {self.name}, got {count}")
        return tuple(found)

    def pool(self, size: int, seed: int = 0) -> Pool:
        """`size` problems to train on, or all there are where they are fewer.

        Payload "prompt" and "answer" (what `score` takes: text). Difficulty is a file's own, otherwise nominal:
        100 (level - 1) / (levels - 1), and 50 where there is one level only.
        """
        return self.source.training(check_count("size", size), seed)

    def heldout(self, per_stratum: int, seed: int = 0) -> tuple[list[str], list[str], NDArray[np.int64]]:
        """Prompts, answers and stratum (E,): problems that no `pool` of this task holds.

        Strata: the tenths of the difficulty range that hold problems, numbered from 0 without gaps. A generated
        stratum whose reserved prompts are fewer than `per_stratum` repeats them (1-digit reversals have 10 prompts in
        all); a file gives what it has.
        """
        pool = self.source.reserved(check_count("per_stratum", per_stratum), seed)
        _, stratum = np.unique(_decile(pool.difficulty), return_inverse=True)
        assert pool.payload is not None
        return list(pool.payload["prompt"]), list(pool.payload["answer"]), stratum.astype(np.int64)


def _decile(difficulty: NDArray[np.float64]) -> NDArray[np.int64]:
    """The tenth of the difficulty range; without a label the middle one, as of a generated task of one level."""
    return np.minimum(np.nan_to_num(difficulty, nan=50.0) * STRATA / 100.0, STRATA - 1).astype(np.int64)


def _key(prompt: str) -> int:
    """A number in [0, 2^64) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:8], "big")


Stream = Callable[[Draw, int], Iterator[Problem | None]]  # endless; None where a draw gave no problem


@dataclass(frozen=True)
class Generated:
    """Problems drawn level by level. Every tenth prompt, by its hash, is reserved for held-out problems."""

    name: str
    levels: int
    stream: Stream

    def training(self, size: int, seed: int) -> Pool:
        return self._pool(self._draw(range(1, self.levels + 1), size, seed, reserved=False))

    def reserved(self, per_stratum: int, seed: int) -> Pool:
        levels = np.arange(1, self.levels + 1)
        stratum = _decile(self._nominal(levels))
        chosen: list[Problem] = []
        for s in np.unique(stratum):
            found = self._draw(levels[stratum == s].tolist(), per_stratum, seed, reserved=True)
            chosen += [found[i % len(found)] for i in range(per_stratum) if found]
        return self._pool(chosen)

    def examples(self, count: int) -> list[tuple[str, str]]:
        """Of levels 1, 2, 3 .. in turn."""
        drawn = self._draw(range(1, self.levels + 1), count, 0, reserved=False, role=Role.EXAMPLE)
        return [problem.example for problem in drawn]

    def _nominal(self, levels: NDArray[Any]) -> NDArray[np.float64]:
        if self.levels == 1:
            return np.full(len(levels), 50.0)
        return 100.0 * (levels - 1) / (self.levels - 1)

    def _draw(
        self, levels: Sequence[int], count: int, seed: int, reserved: bool, role: Role = Role.PROBLEM
    ) -> list[Problem]:
        """At most `count` different problems, levels in turn until each is exhausted."""
        streams = {level: self.stream(generator(seed, role, level), level) for level in levels}
        found: dict[str, Problem] = {}
        while streams:
            for level, stream in list(streams.items()):
                if len(found) == count:
                    return list(found.values())
                problem = next((p for p in islice(stream, PATIENCE) if p and self._fits(p, found, reserved)), None)
                if problem is None:
                    del streams[level]
                else:
                    found[problem.prompt] = problem
        return list(found.values())

    def _fits(self, problem: Problem, found: Mapping[str, Problem], reserved: bool) -> bool:
        return (_key(problem.prompt) % 10 == 0) == reserved and problem.prompt not in found

    def _pool(self, problems: list[Problem]) -> Pool:
        if not problems:
            raise InputError(f"task: must have enough different problems to hold a tenth out, got {self.name}")
        level = np.array([problem.level for problem in problems])
        payload = {"prompt": [p.prompt for p in problems], "answer": [p.answer for p in problems]}
        category = np.array([problem.category for problem in problems])
        return Pool(self._nominal(level), category=category, level=level, payload=payload, name=self.name)
