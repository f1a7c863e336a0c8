"""Verifiable problems: prompts with one right answer, and a scorer that never executes what a model wrote.

Families for small models have a level (1 .. levels) along which success falls smoothly. `reasoning-gym:NAME` takes any
generator of that package with its own scorer; a prompt file takes its answers through math-verify. Both packages score
in a process of their own, which is killed when an answer takes too long. One prompt in ten, fixed by a hash of its
text, is held out: no training pool of any seed or size holds it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from real_runs.tasks.isolated import Isolated
from real_runs.tasks.measured import rows_of
from workbench.errors import InputError, check_count, shown
from workbench.pool import Pool
from workbench.streams import Role, generator

LONGEST_MATH = 4000  # characters of a completion, from its end, in which an expression is looked for
STRATA = 10  # of the held-out problems: equal parts of the difficulty range
PATIENCE = 200  # draws in a row without a new problem after which a level counts as exhausted
Draw = np.random.Generator


@dataclass(frozen=True)
class Problem:
    """prompt: what the model reads. answer: what it should end with. level: 1 .. the family's levels."""

    prompt: str
    answer: str
    level: int
    category: str


@dataclass(frozen=True)
class Family:
    """A generator of problems.

    make: (draw, level) -> Problem. demonstrate: (draw, problem, slip) -> the text a demonstrator writes, who slips at
    each step with probability `slip`. final: the part of a completion that is compared with the answer.
    """

    name: str
    levels: int
    make: Callable[[Draw, int], Problem]
    demonstrate: Callable[[Draw, Problem, float], str]
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

    def score(self, completion: str, answer: str) -> float:
        return float(self.final(completion) == answer)


# -------------------------------------------------------------------------------------------- string operations

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


# ------------------------------------------------------------------------- arithmetic with visible steps


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


# ----------------------------------------------------------------------------------- several skills that share

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
    )
}
LIMITS = {"reverse": 26, "sums": 48, "skills": 18}  # tokens: the longest demonstration, an end mark, hardly more
LONG_LIMIT = 1024  # tokens, for reasoning in words


# ------------------------------------------------------------------------------------------------------- tasks


class Source(Protocol):
    """Where a task's problems come from; one prompt is never on both sides."""

    def training(self, size: int, seed: int) -> Pool: ...

    def reserved(self, per_stratum: int, seed: int) -> Pool: ...


@dataclass(frozen=True)
class Task:
    """Problems and their scorer.

    limit: tokens a completion needs. score: (completion, answer) -> [0, 1]; raises ScoringError for a completion that
    cannot be scored and ScoringTimeout for one that takes too long (`isolated`), from any thread.
    """

    name: str
    limit: int
    score: Callable[[str, str], float]
    source: Source

    def pool(self, size: int, seed: int = 0) -> Pool:
        """`size` problems to train on, or all there are where they are fewer.

        Payload "prompt" and "answer" (what `score` takes: text). Difficulty is a file's own, else nominal:
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


def make_task(spec: str) -> Task:
    """A task by name: a family, reasoning-gym:NAME, file:PATH, or a path that ends in .parquet, .jsonl or .csv."""
    kind, colon, rest = spec.partition(":")
    if spec in FAMILIES:
        family = FAMILIES[spec]
        return Task(spec, LIMITS[spec], family.score, Generated(spec, family.levels, _family_stream(family)))
    if colon and kind == "reasoning-gym":
        return _gym_task(rest)
    named = bool(colon) and kind == "file"
    if named or Path(spec).suffix in (".parquet", ".jsonl", ".csv"):
        return Task(spec, LONG_LIMIT, MathScorer(), PromptFile.load(rest if named else spec))
    choices = f"{', '.join(FAMILIES)}, reasoning-gym:NAME, or a .parquet, .jsonl or .csv file"
    raise InputError(f"task: must be {choices}, got {shown(spec)}")


def _decile(difficulty: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum(difficulty * STRATA / 100.0, STRATA - 1).astype(np.int64)


def _key(prompt: str) -> int:
    """A number in [0, 2^64) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:8], "big")


# --------------------------------------------------------------------------------------- problems from generators

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

    def _nominal(self, levels: NDArray[Any]) -> NDArray[np.float64]:
        if self.levels == 1:
            return np.full(len(levels), 50.0)
        return 100.0 * (levels - 1) / (self.levels - 1)

    def _draw(self, levels: Sequence[int], count: int, seed: int, reserved: bool) -> list[Problem]:
        """At most `count` different problems, levels in turn until each is exhausted."""
        streams = {level: self.stream(generator(seed, Role.PROBLEM, level), level) for level in levels}
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


def _family_stream(family: Family) -> Stream:
    def stream(draw: Draw, level: int) -> Iterator[Problem]:
        while True:
            yield family.make(draw, level)

    return stream


# ----------------------------------------------------------------------------------------------- problems from a file


@dataclass(frozen=True)
class PromptFile:
    """Rows with text in "prompt" and "answer". Of its different prompts the tenth with the least hash is reserved."""

    rows: Pool

    @classmethod
    def load(cls, path: str) -> PromptFile:
        """InputError unless every row has a prompt and an answer, and there are two different prompts."""
        pool = Pool.load(path)
        columns = {}
        for column, text in (("prompt", _prompt_text), ("answer", _answer_text)):
            if column not in (pool.payload or {}):
                raise InputError(f"{path}: must have a column '{column}' in its {len(pool)} rows, got none")
            columns[column] = [text(value) for value in pool.payload[column]]  # type: ignore[index]
            missing = [row for row, value in enumerate(columns[column]) if not value]
            if missing:
                raise InputError(
                    f"{path}: must have text in column '{column}' of every row, got none in {len(missing)} of "
                    f"{len(pool)} rows, the first is row {missing[0]}"
                )
        if len(set(columns["prompt"])) < 2:
            raise InputError(f"{path}: must have at least 2 different prompts, one of them to hold out, got 1")
        optional = {c: getattr(pool, c) for c in ("ids", "category", "level", "successes", "attempts")}
        return cls(Pool(pool.difficulty, **optional, payload=columns, name=pool.name))

    def _sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to train on, and one row of each reserved prompt."""
        assert self.rows.payload is not None
        prompts = self.rows.payload["prompt"]
        first = {prompt: row for row, prompt in reversed(list(enumerate(prompts)))}
        reserved = set(sorted(first, key=_key)[: max(1, len(first) // 10)])
        training = [row for row, prompt in enumerate(prompts) if prompt not in reserved]
        return np.array(training), np.array(sorted(first[prompt] for prompt in reserved))

    def training(self, size: int, seed: int) -> Pool:
        rows, _ = self._sides()
        return rows_of(self.rows, np.sort(generator(seed, Role.PROBLEM).permutation(rows)[:size]), self.rows.name)

    def reserved(self, per_stratum: int, seed: int) -> Pool:
        _, rows = self._sides()
        rows = generator(seed, Role.PROBLEM).permutation(rows)
        stratum = _decile(self.rows.difficulty[rows])
        chosen = [rows[stratum == s][:per_stratum] for s in range(STRATA)]
        return rows_of(self.rows, np.concatenate(chosen), self.rows.name)


def _prompt_text(prompt: Any) -> str:
    """The text of a prompt, also where it is a chat of one message (the released AdaRFT rows); "" if there is none."""
    if not isinstance(prompt, str) and isinstance(prompt, (list, np.ndarray)) and len(prompt) == 1:
        prompt = prompt[0].get("content") if isinstance(prompt[0], Mapping) else None
    return prompt.strip() if isinstance(prompt, str) else ""


def _answer_text(answer: Any) -> str:
    """An answer as text; "" if there is none. A whole number that a table with gaps holds as 3.0 is 3."""
    if isinstance(answer, (float, np.floating)):
        return "" if np.isnan(answer) else f"{answer:.0f}" if answer.is_integer() else repr(float(answer))
    return str(answer).strip() if isinstance(answer, (str, int, np.integer)) else ""


# ------------------------------------------------------------------------------------------------ mathematics


class MathScorer:
    """1 if math-verify finds the completion's final expression equal to the answer, else 0."""

    def __init__(self) -> None:
        self._verify = Isolated("real_runs.tasks.task:math_verifier")

    def __call__(self, completion: str, answer: str) -> float:
        mine = final_expression(completion[-LONGEST_MATH:])
        right = final_expression(answer) if "\\boxed" in answer else answer.strip().strip("$")
        if not mine or mine == right:
            return float(mine == right)  # no need to ask
        return self._verify(mine, right)


def final_expression(text: str) -> str:
    """The content of the last \\boxed{}, else of the last $...$, else the last number, else ""."""
    start = text.rfind("\\boxed{")
    if start >= 0:
        depth = 0
        for end in range(start + 6, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start + 7 : end].strip()
        return ""  # cut off before its end
    inline = re.findall(r"\$([^$]+)\$", text)
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?", text)
    return (inline or [number.rstrip(",") for number in numbers] or [""])[-1].strip()


def math_verifier() -> Callable[[str, str], float]:
    """(expression, answer) -> 0 or 1, in LaTeX; without a time limit, which is `Isolated`'s.

    Only math-verify's LaTeX grammar reads the text: its reader of plain expressions calls Python's eval.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    def read(expression: str) -> list[Any]:
        text = f"\\boxed{{{expression}}}"
        return list(parse(text, [LatexExtractionConfig()], parsing_timeout=None))

    return lambda expression, answer: float(verify(read(answer), read(expression), timeout_seconds=None))


# ------------------------------------------------------------------------------------------------- reasoning-gym

# scorers that run a model's text as Python: through eval, and through sympy's parser where they imported it by name
CALLS_EVAL = (
    "algorithmic.binary_matrix", "algorithmic.spiral_matrix", "algorithmic.string_insertion", "games.n_queens",
)  # fmt: skip
CALLS_PARSER = ("games.countdown", "games.puzzle24")
FUNCTIONS = {"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "Abs", "pi"}
CHUNK = 50  # problems of one seed: some generators read whole files when they are made


def _gym_task(name: str) -> Task:
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise InputError(f"task: must be installed with pip install reasoning-gym, got reasoning-gym:{name}") from None
    if name not in DATASETS or name == "composite":  # which is made of others
        raise InputError(f"task: must be reasoning-gym:NAME with a generator of reasoning-gym, got {shown(name)}")
    spec = f"reasoning-gym:{name}"
    source = Generated(spec, len(gym_levels(name)), lambda draw, level: _gym_stream(name, draw, level))
    return Task(spec, LONG_LIMIT, Isolated("real_runs.tasks.task:gym_scorer", name), source)


@cache
def gym_levels(name: str) -> list[Any]:
    """The generator's configuration at each level of its curriculum that it accepts itself; else its default."""
    from reasoning_gym.factory import CURRICULA, DATASETS, create_curriculum

    accepted = []
    if name in CURRICULA:
        curriculum = create_curriculum(name)
        for level in range(max((len(a.levels) for a in curriculum.attributes.values()), default=0)):
            curriculum.set_global_level(level)
            try:
                config = curriculum.generate_configuration({"seed": 0, "size": CHUNK})
                getattr(config, "validate", lambda: None)()
            except (AssertionError, ValueError):
                continue
            accepted.append(config)
    return accepted or [DATASETS[name][1](seed=0, size=CHUNK)]


def _gym_dataset(name: str, level: int, seed: int = 0) -> Any:
    from dataclasses import replace

    from reasoning_gym.factory import DATASETS

    return DATASETS[name][0](replace(gym_levels(name)[level - 1], seed=seed))


def _gym_stream(name: str, draw: Draw, level: int) -> Iterator[Problem | None]:
    while True:
        dataset = _gym_dataset(name, level, int(draw.integers(2**31)))
        for index in range(CHUNK):
            try:
                entry = dataset[index]
            except Exception:  # some generators give up on a seed
                yield None
                continue
            answer = json.dumps({"level": level, "entry": _plain(entry)})
            yield Problem(entry["question"], answer, level, name)


def _plain(value: Any) -> Any:
    """A generator's entry as JSON values that `_restored` turns back: scorers tell tuples from lists."""
    if isinstance(value, tuple):
        return {"<tuple>": [_plain(v) for v in value]}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _plain(v) for key, v in value.items()}
        return {"<dict>": [[_plain(key), _plain(v)] for key, v in value.items()]}
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(v) for v in value]
    if isinstance(value, dict):
        if value.keys() == {"<tuple>"}:
            return tuple(_restored(v) for v in value["<tuple>"])
        if value.keys() == {"<dict>"}:
            return {_restored(key): _restored(v) for key, v in value["<dict>"]}
        return {key: _restored(v) for key, v in value.items()}
    return value


def gym_scorer(name: str) -> Callable[[str, str], float]:
    """The generator's own scorer on what stands in the last <answer></answer>, else on the whole completion.

    For a process of its own: it takes Python's eval from the scorers that call it on a model's text.
    """
    from reasoning_gym.utils import extract_answer

    _disarm()
    datasets: dict[int, Any] = {}

    def score(completion: str, answer: str) -> float:
        problem = json.loads(answer)
        level = problem["level"]
        if level not in datasets:
            datasets[level] = _gym_dataset(name, level)
        final = extract_answer(completion) or completion.strip()
        return float(datasets[level].score_answer(final, _restored(problem["entry"])))

    return score


def _disarm() -> None:
    """Let scorers read Python literals where they call eval, and arithmetic alone where they call parse_expr."""
    import sympy

    for module in CALLS_EVAL:
        import_module(f"reasoning_gym.{module}").eval = ast.literal_eval  # type: ignore[attr-defined]
    parse = sympy.parse_expr

    def parse_arithmetic(text: str, **options: Any) -> Any:
        if not is_arithmetic(text):
            raise ValueError("not arithmetic")
        return parse(text, **options)

    sympy.parse_expr = parse_arithmetic
    for module in CALLS_PARSER:
        import_module(f"reasoning_gym.{module}").parse_expr = parse_arithmetic  # type: ignore[attr-defined]


def is_arithmetic(text: str) -> bool:
    """Whether sympy's parser, which evaluates Python, can read a text without harm: numbers, + - * / ^ ( ) and
    commas, one-letter names and FUNCTIONS; no attributes, strings, brackets or assignments."""
    names = re.findall(r"[A-Za-z_]\w*", text)
    return (
        re.fullmatch(r"[0-9A-Za-z+\-*/^(),.\s]*", text) is not None
        and re.search(r"\.\s*[A-Za-z]", text) is None
        and all(len(name) == 1 or name in FUNCTIONS for name in names)
    )
