"""Generators of reasoning-gym whose scorers do not tell right from wrong: what was tried, and what is refused.

gym_tried.csv is what real_runs/try_generators.py wrote: 4 problems of each level, 20 of tower_of_hanoi.
"""

from pathlib import Path

import pandas as pd
import pytest
from commands import call

from real_runs import try_generators
from real_runs.runs import scorers
from real_runs.tasks import gym, named
from workbench.errors import InputError

pytest.importorskip("reasoning_gym")
TRIED = pd.read_csv(Path(__file__).with_name("gym_tried.csv"), index_col="generator")


def test_every_generator_was_tried_and_those_that_failed_are_refused():
    assert sorted(TRIED.index) == gym.gym_names()
    failed = TRIED[(TRIED["own"] < 1) | (TRIED["junk"] > 0) | (TRIED["others"] > 0.05)]
    assert sorted(failed.index) == sorted(gym.UNSOUND)


@pytest.mark.parametrize("name", gym.UNSOUND)
def test_a_generator_whose_scorer_is_unsound_is_refused_by_name(name):
    pytest.importorskip("reasoning_gym")
    task = named.make_task(f"reasoning-gym:{name}")
    lines = []
    with pytest.raises(InputError) as refused:
        scorers.check_sound(task, lines.append)
    assert str(refused.value) == (
        f"--task: must have a scorer that tells right from wrong, got reasoning-gym:{name}, whose scorer "
        f"{gym.UNSOUND[name]}; --anyway starts nevertheless"
    )
    scorers.check_sound(task, lines.append, anyway=True)
    assert lines == [str(refused.value).removesuffix("; --anyway starts nevertheless")]


def test_a_scorer_of_your_own_makes_a_generator_sound():
    scorers.check_sound(named.make_task("reasoning-gym:coin_flip", "exact"), pytest.fail)


@pytest.mark.parametrize(
    ("name", "failed"),
    [
        ("game_of_life_halting", "junk"), ("coin_flip", "others"), ("puzzle24", "others"), ("graph_color", "own"),
        ("gcd", ""),
    ],
)
def test_a_trial_again_finds_the_same(name, failed, tmp_path, monkeypatch, capsys):
    path = tmp_path / "tried.csv"
    status, printed, _ = call(try_generators, monkeypatch, capsys, "--problems", 2, "--out", path, name)
    assert status == 0
    assert name in printed
    found = pd.read_csv(path, index_col="generator").loc[name]
    assert {"own": found["own"] < 1, "junk": found["junk"] > 0, "others": found["others"] > 0.05} == {
        of: of == failed or (of, name) == ("others", "game_of_life_halting") for of in ("own", "junk", "others")
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--problems", "x"], "--problems: must be a whole number in [1, 10000], got 'x'"),
        (["nope"], "NAME: must be a generator of reasoning-gym, got 'nope'"),
    ],
)
def test_a_trial_of_nothing_is_refused_in_a_line(words, message, monkeypatch, capsys):
    status, _, errors = call(try_generators, monkeypatch, capsys, *words)
    assert status == 2
    assert errors.splitlines()[-1] == f"error: {message}"
