"""Problems of reasoning-gym's generators."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from real_runs.tasks.isolated import Isolated
from real_runs.tasks.task import LONG_LIMIT, Draw, Generated, Problem, Task
from workbench.errors import InputError, shown

# scorers that run a model's text as Python: through eval, and through sympy's parser where they imported it by name
CALLS_EVAL = (
    "algorithmic.binary_matrix", "algorithmic.spiral_matrix", "algorithmic.string_insertion", "games.n_queens",
)  # fmt: skip
CALLS_PARSER = ("games.countdown", "games.puzzle24")
FUNCTIONS = {"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "Abs", "pi"}
# scorers that do not tell right from wrong, by what real_runs/try_generators.py found in reasoning-gym 0.1.25
_NO_ANSWER = "has no answer of its own that it gives full score to"
UNSOUND = {
    "boxnet": _NO_ANSWER,
    "coin_flip": "gives full score to 0 whatever the answer",
    "game_of_life_halting": "gives full score to any text",
    "graph_color": _NO_ANSWER,
    "intermediate_integration": "gives no full score to answers of level 5, which are integrals as they stood",
    "jugs": "gives no full score to its own answer where there is no solution",
    "propositional_logic": _NO_ANSWER,
    "puzzle24": "gives full score to 24 made of any four numbers, such as 4*3*2*1",
    "rubiks_cube": _NO_ANSWER,
    "rush_hour": _NO_ANSWER,
    "tower_of_hanoi": "gives no full score to some of its own answers",
}
CHUNK = 50  # problems of one seed: some generators read whole files when they are made


def gym_task(name: str) -> Task:
    try:
        names = gym_names()
    except ImportError:
        raise InputError(f"task: must be installed with pip install reasoning-gym, got reasoning-gym:{name}") from None
    if name not in names:
        raise InputError(f"task: must be reasoning-gym:NAME with a generator of reasoning-gym, got {shown(name)}")
    spec = f"reasoning-gym:{name}"
    source = Generated(spec, len(gym_levels(name)), lambda draw, level: _gym_stream(name, draw, level))
    score = Isolated("real_runs.tasks.gym:gym_scorer", name)
    return Task(spec, LONG_LIMIT, score, source, solution=gym_solution, unsound=UNSOUND.get(name, ""))


def gym_names() -> list[str]:
    """All generators but the one that is made of others."""
    from reasoning_gym.factory import DATASETS

    return sorted(set(DATASETS) - {"composite"})


def gym_solution(answer: str) -> str:
    """The answer of an entry in words."""
    return str(json.loads(answer)["entry"]["answer"])


@cache
def gym_levels(name: str) -> list[Any]:
    """The generator's configuration at each level of its curriculum that it accepts; its default if there is none."""
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
            shown = entry["answer"]
            yield Problem(entry["question"], answer, level, name, "" if shown is None else str(shown))


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
    """The generator's own scorer, on the text of the last <answer></answer>, otherwise on the whole completion.

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
