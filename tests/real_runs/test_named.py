"""Tasks, scorers and controllers of other people: by entry point or package.module:Name, in a real run."""

import json
import sys

import pandas as pd
import pytest

from real_runs import measure, train
from real_runs.tasks.isolated import Isolated, ScoringError, ScoringTimeout
from real_runs.tasks.named import make_scorer, make_task
from workbench.errors import InputError
from workbench.pool import Pool

pytestmark = pytest.mark.usefixtures("one_thread")

TASKS = '''
from real_runs.tasks.families import Family
from real_runs.tasks.isolated import Isolated
from real_runs.tasks.task import Generated, Problem, Task


def _letters(draw, level):
    text = "".join("abc"[i] for i in draw.integers(3, size=level))
    return Problem(f"first {text}=", text[0], level, "letters")


Letters = Family("letters", 4, _letters, lambda draw, problem, slip: problem.answer)


def _stream(draw, level):
    while True:
        yield _letters(draw, level)


class Own(Task):
    """With a scorer of its own, which runs apart."""

    def __init__(self):
        scorer = Isolated("real_runs.tasks.isolated:function_of", f"{__name__.partition('.')[0]}.scoring:partial")
        super().__init__("own", 4, scorer, Generated("own", 4, _stream))


def own_process(completion, answer):
    import os

    return float(os.getpid() == int(answer))


def plain():
    return Task("plain", 4, own_process, Generated("plain", 4, _stream))


def broken():
    raise RuntimeError("no data")


NUMBER = 3
'''

SCORING = '''
import os, time


def partial(completion, answer):
    """Half for the start mark that the tiny model likes."""
    return 0.5 if completion.startswith("0") else 0.0


def process(completion, answer):
    return 1.0 if os.getpid() == int(answer) else 0.0


def endless(completion, answer):
    time.sleep(60)


def raising(completion, answer):
    raise KeyError("no")


def text(completion, answer):
    return "0.5"


def nothing(completion, answer):
    pass


def five(completion, answer):
    return 5


SIX = 6
'''

RULES = """
from dataclasses import dataclass
from typing import ClassVar

from workbench.controllers.rules.nearest import FrozenTarget


@dataclass(frozen=True)
class Mine(FrozenTarget):
    '''Source: this test.'''
    name: ClassVar[str] = "mine"
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of other people with an entry point, where Python finds it; named anew for each test."""
    place = tmp_path / "place"
    name = f"own_{abs(hash(str(tmp_path))):x}"
    folder = place / name
    folder.mkdir(parents=True)
    broken = {"loud": "raise RuntimeError('no\\nway')", "quitting": "raise SystemExit(0)"}
    for module, text in ({"__init__": "", "tasks": TASKS, "scoring": SCORING, "rules": RULES} | broken).items():
        (folder / f"{module}.py").write_text(text)
    about = place / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[workbench.tasks]\n{name}-letters = {name}.tasks:Letters\n")
    monkeypatch.syspath_prepend(str(place))
    yield folder
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        del sys.modules[module]


# ------------------------------------------------------------------------------------------------------- by name


def test_a_task_is_an_entry_point_a_family_or_what_returns_a_task(package):
    for spec in (f"{package.name}-letters", f"{package.name}.tasks:Letters", f"{package.name}.tasks:Own"):
        task = make_task(spec)
        assert task.name == spec
        assert task.modules == (f"{package.name}.tasks",)
        pool = task.pool(20)
        assert all(prompt[6] == answer for prompt, answer in zip(*pool.payload.values(), strict=True))
        assert not set(task.heldout(2)[0]) & set(pool.payload["prompt"])


@pytest.mark.parametrize(
    ("task", "expected"),
    [("{0}.tasks:broken", "task: must return a Task when called, got {0}.tasks:broken ('RuntimeError: no data')"),
     ("{0}.tasks:NUMBER", "task: must be a Task (real_runs.tasks.task) or a Family (real_runs.tasks.families), got "
                          "{0}.tasks:NUMBER, a int"),
     ("{0}.tasks:Nope", "task: must name what {0}.tasks has, got '{0}.tasks:Nope'"),
     ("{0}.nope:Nope", "task: must name a module that can be imported, got '{0}.nope:Nope' (Module"),
     ("nope", "task: must be reverse, sums, skills, arithmetic, {0}-letters, reasoning-gym:NAME, package.module:Na")],
)  # fmt: skip
def test_a_task_that_is_none_is_refused_in_one_line(package, task, expected):
    with pytest.raises(InputError) as refused:
        make_task(task.format(package.name))
    assert str(refused.value).startswith(expected.format(package.name))
    assert "\n" not in str(refused.value)


def test_a_scorer_of_your_own_runs_in_a_process_of_its_own_with_limits(package):
    import os

    score = make_scorer(f"{package.name}.scoring:process")
    assert score("", str(os.getpid())) == 0.0
    assert make_scorer(f"{package.name}.scoring:partial")("01", "x") == 0.5
    with pytest.raises(ScoringError, match="raised KeyError"):
        make_scorer(f"{package.name}.scoring:raising")("", "")
    hasty = Isolated("real_runs.tasks.isolated:function_of", f"{package.name}.scoring:endless", seconds=0.5)
    with pytest.raises(ScoringTimeout):
        hasty("", "")


def test_the_function_that_scores_a_task_of_your_own_runs_in_a_process_of_its_own(package):
    import os

    assert make_task(f"{package.name}.tasks:plain").score("", str(os.getpid())) == 0.0


@pytest.mark.parametrize(
    ("scorer", "expected"),
    [("{0}.scoring:SIX", "scorer: must be a function of a completion and an answer, got {0}.scoring:SIX, a int"),
     ("{0}.scoring:nope", "scorer: must name what {0}.scoring has, "),
     ("nope", "scorer: must be one of math, exact, "),
     ("{0}.nope:score", "scorer: must name a module that can be imported, got '{0}.nope:score' (Module"),
     ("{0}.loud:score", "scorer: must name a module that can be imported, got '{0}.loud:score' (RuntimeError: no way)"),
     ("{0}.quitting:score", "scorer: must name a module that can be imported, got '{0}.quitting:score' (SystemExit"),
     ("{0}.scoring:text", "scorer: must return a number in [0, 1], got '0.5' from {0}.scoring:text"),
     ("{0}.scoring:nothing", "scorer: must return a number in [0, 1], got None from {0}.scoring:nothing"),
     ("{0}.scoring:five", "scorer: must return a number in [0, 1], got 5 from {0}.scoring:five")],
)  # fmt: skip
def test_a_scorer_that_is_none_is_refused_in_one_line(package, scorer, expected):
    with pytest.raises(InputError) as refused:
        make_task("reverse", scorer.format(package.name))
    assert str(refused.value).startswith(expected.format(package.name))
    assert "\n" not in str(refused.value)


def test_a_scorer_that_raises_is_none_to_refuse_for_it_may_score_another_answer(package):
    with pytest.raises(ScoringError, match="raised KeyError"):
        make_task("reverse", f"{package.name}.scoring:raising").score("", "")


def test_shipped_scorers_have_names():
    assert make_scorer("exact")(" 12 ", "12") == 1.0
    assert make_scorer("exact")("12.0", "12") == 0.0
    assert make_scorer("math")("It is 12.0.", "12") == 1.0


# ------------------------------------------------------------------------------------------------------ in a run


@pytest.fixture
def options(package, tiny, tmp_path):
    settings = {
        "task": f"{package.name}.tasks:Own", "scorer": f"{package.name}.scoring:partial", "controller":
        f"{package.name}.rules:Mine", "model": tiny("llama", prefers="01"), "heldout": 1, "batch": 2, "rollouts": 2,
        "steps": 3, "eval_every": 3, "save_every": 1, "limit": 2, "threads": 1, "algorithm": "grpo",
        "out": tmp_path / "out",
    }  # fmt: skip
    words = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return [*words, "--anyway"]  # the scorer gives an answer itself no full score


def test_a_run_with_a_task_a_scorer_and_a_rule_of_your_own_depends_on_their_source(package, options, tmp_path, capsys):
    owner = f"{package.name}.rules:Mine"
    options += ["--set", f"{owner}.target=20"]
    assert train.main(options) == 0, capsys.readouterr().err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["rule"]["class"] == "Mine"
    assert manifest["run"]["settings"] == {f"{owner}.target": 20.0}
    assert manifest["run"]["scorer"] == f"{package.name}.scoring:partial"
    modules = {f"{package.name}.{module}" for module in ("rules", "scoring", "tasks")}
    assert set(manifest["code"]) == {"project"} | modules
    steps = pd.read_csv(tmp_path / "out" / "steps.csv")
    assert (steps["faults"] == 0).all()
    assert set(steps["reward"]) <= {0.0, 0.125, 0.25, 0.375, 0.5}
    assert steps["reward"].max() > 0

    capsys.readouterr()
    assert train.main([*options, "--resume"]) == 0  # complete
    assert "this run is complete" in capsys.readouterr().err
    (package / "scoring.py").write_text(SCORING.replace("0.5 if", "1.0 if"))
    assert train.main([*options, "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --resume: must be of the same code, but ")
    assert f"has {package.name}." in line


def test_a_rule_of_one_file_depends_on_the_source_of_the_helpers_that_it_imports(options, tmp_path, capsys):
    (tmp_path / "place" / "beside_settings.py").write_text("TARGET = 20.0")
    (tmp_path / "place" / "beside_rules.py").write_text("from beside_settings import TARGET\n" + RULES)
    options[options.index("--controller") + 1] = "beside_rules:Mine"
    try:
        assert train.main(options) == 0, capsys.readouterr().err
        assert "beside_rules" in json.loads((tmp_path / "out" / "manifest.json").read_text())["code"]
        capsys.readouterr()
        assert train.main([*options, "--resume"]) == 0
        assert "this run is complete" in capsys.readouterr().err
        (tmp_path / "place" / "beside_settings.py").write_text("TARGET = 80.0")
        assert train.main([*options, "--resume"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: --resume: must be of the same code, but ")
        assert "has beside_rules " in line
    finally:
        for name in ("beside_rules", "beside_settings"):
            sys.modules.pop(name, None)


def test_pass_counts_are_of_the_scorer_that_was_asked_for(package, tiny, tmp_path):
    out = tmp_path / "measured.parquet"
    options = {"task": f"{package.name}-letters", "scorer": "exact", "model": tiny("llama", prefers="a"), "size": 12,
               "attempts": 8, "limit": 2}  # fmt: skip
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    assert measure.main([*arguments, "--out", str(out)]) == 0
    pool = Pool.load(out)
    first = [answer == "a" for answer in pool.payload["answer"]]
    assert pool.successes[first].sum() > 0
    assert pool.successes[[not a for a in first]].sum() < pool.successes[first].sum()
