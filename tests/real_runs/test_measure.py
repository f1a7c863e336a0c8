"""measure.py: what it prints about success and signal, and pools from problems without difficulty."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from real_runs import measure, train
from real_runs.rl.learner import PPOLearner
from real_runs.runs import signal, spectrum
from real_runs.tasks.named import make_task
from workbench.files import to_parquet
from workbench.pool import Pool

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]


@pytest.fixture
def go(tiny, tmp_path, capsys):
    """go(command, *words, **options): its output and errors; the model writes 0 and 1."""

    def of(command, *words, code=0, **options):
        settings = {"model": tiny("llama", prefers="01"), "limit": 3, "threads": 1} | options
        arguments = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
        assert command.main([*arguments, *map(str, words)]) == code
        return capsys.readouterr()

    return of


@pytest.fixture
def prompts(tmp_path):
    """A file of 40 prompts and answers, without difficulty."""
    path = tmp_path / "prompts.csv"
    pd.DataFrame({"prompt": [f"p{i}=" for i in range(40)], "answer": ["0", "1"] * 20}).to_csv(path, index=False)
    return path


def test_success_and_silent_groups_are_printed_by_level_with_intervals(go, tmp_path):
    out = tmp_path / "m.parquet"
    printed = go(measure, "--out", out, task="reverse", size=48, attempts=8, rollouts=4, batch=16).out
    pool = Pool.load(out)
    lines = printed.splitlines()
    assert lines[0].split() == ["problems", "success", "silent", "groups", "of", "4"]
    assert [line.split()[1] for line in lines[1:25]] == [str(level) for level in range(1, 25)]
    for line, level in zip(lines[1:25], range(1, 25), strict=True):
        rows = pool.level == level
        numbers = [float(text) for text in re.findall(r"\d\.\d+", line)]
        assert numbers[0] == pytest.approx(pool.successes[rows].mean() / 8, abs=1e-3)
        assert numbers[1] <= numbers[0] <= numbers[2]
        silent = 1 - signal.mixed_chance(pool.successes[rows], 8, 4).mean()
        assert numbers[3] == pytest.approx(silent, abs=1e-3)
    mixed = signal.mixed_chance(pool.successes, pool.attempts, 4)
    teach = next(line for line in lines if line.startswith("groups that can teach: "))
    assert float(teach.split()[4]) == pytest.approx(16 * mixed.mean(), abs=0.06)
    assert "of the 16 of a batch of problems drawn uniformly" in teach
    chance = float(teach.split()[-1])
    assert chance == pytest.approx(signal.all_silent_chance(mixed, 16), rel=0.05)
    assert lines[-1].startswith(f"{out}: 48 problems, mean pass rate ")


def test_the_measured_chance_is_what_groups_of_the_same_model_do(go, tmp_path, tiny):
    """Groups drawn from the same problems are mixed as often as the counts say."""
    out = tmp_path / "m.parquet"
    go(measure, "--out", out, task="reverse", size=24, attempts=48, rollouts=4)
    pool = Pool.load(out)
    expected = signal.mixed_chance(pool.successes, pool.attempts, 4)
    go(measure, "--out", tmp_path / "n.parquet", task="reverse", size=24, attempts=4, seed=0, chunk=24)
    again = Pool.load(tmp_path / "n.parquet")
    assert again.payload["prompt"] == pool.payload["prompt"]
    seen = ((again.successes > 0) & (again.successes < 4)).sum()
    sd = np.sqrt((expected * (1 - expected)).sum())
    assert abs(seen - expected.sum()) < 4 * sd + 1


def test_more_rollouts_than_attempts_are_said_to_lean_on_a_prior(go, tmp_path):
    out = tmp_path / "m.parquet"
    printed = go(measure, "--out", out, task="reverse", size=24, attempts=4, rollouts=16).out
    assert "--rollouts 16 is more than --attempts 4: the silent share leans on a prior" in printed.splitlines()


@pytest.mark.parametrize("how", ["pool", "task"])
def test_prompts_without_difficulty_are_measured_and_then_trained_on(go, prompts, tmp_path, how):
    out = tmp_path / "m.parquet"
    printed = go(measure, "--out", out, "--scorer", "exact", attempts=8, **{how: prompts})
    measured = Pool.load(out)
    assert len(measured) == 40  # held-out ones, too
    assert np.allclose(measured.difficulty, 100 * (1 - measured.successes / 8))
    assert 0 < measured.successes.sum() < 8 * 40
    assert [line.split()[0] for line in printed.out.splitlines()[1:2]] == ["all"]  # there is nothing to tell apart by
    run = go(train, "--out", tmp_path / "run", "--scorer", "exact", task=prompts, pool=out, batch=4, rollouts=4,
             steps=1)  # fmt: skip
    assert "4 of 40 problems are held out for evaluation and are left out" in run.err
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["pool"]["items"] == 36


def test_prompts_without_difficulty_are_trained_on_by_rules_that_read_none(go, prompts, tmp_path):
    shape = {"batch": 4, "rollouts": 4, "steps": 1, "scorer": "exact"}
    for how in ({"task": prompts}, {"pool": prompts}):
        refused = go(train, "--out", tmp_path / "no", code=2, controller="adarft", **how, **shape)
        (error,) = refused.err.splitlines()
        option = f"--{next(iter(how))}"
        assert error.startswith(
            f"error: {option}: must have difficulty labels, which --controller adarft reads, got "
        )
        assert error.endswith(" problems without; measure.py makes them")
        told = go(train, "--out", tmp_path / f"yes{option}", controller="uniform", **how, **shape).err
        assert "pool 'prompts': 40 rows; prompt = prompt, answer = answer; no difficulty\n" in told


def test_labels_of_a_file_tell_problems_apart_before_they_are_measured(go, prompts, tmp_path):
    path, out = tmp_path / "labelled.parquet", tmp_path / "m.parquet"
    frame = pd.read_csv(prompts, dtype=str).assign(difficulty=[5.0] * 10 + [45.0] * 30)
    path.write_bytes(to_parquet(frame))
    lines = go(measure, "--out", out, "--scorer", "exact", pool=path, attempts=4).out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:3]] == ["difficulty 0-10", "difficulty 40-50"]
    assert [line.split()[2] for line in lines[1:3]] == ["10", "30"]


def test_partial_credit_is_no_success_and_the_mean_score_is_said(go, prompts, tmp_path, monkeypatch):
    attempt = PPOLearner.attempt
    monkeypatch.setattr(PPOLearner, "attempt", lambda *a: 0.05 + 0.95 * attempt(*a))
    out = tmp_path / "m.parquet"
    line = go(measure, "--out", out, "--scorer", "exact", pool=prompts, attempts=8).out.splitlines()[-1]
    pool = Pool.load(out)
    rate = pool.successes.mean() / 8
    assert 0 < rate < 0.5
    assert np.allclose(pool.difficulty, 100 * (1 - pool.successes / 8))
    said = re.search(r"mean pass rate (\d\.\d+) \(mean score (\d\.\d+): partial credit is no success\)", line)
    assert float(said[1]) == pytest.approx(rate, abs=1e-3)
    assert float(said[2]) == pytest.approx(0.05 + 0.95 * rate, abs=1e-3)


def test_a_size_cuts_a_file_of_problems(go, prompts, tmp_path):
    out = tmp_path / "m.parquet"
    go(measure, "--out", out, "--scorer", "exact", task=prompts, size=7, attempts=2)
    measured = Pool.load(out)
    assert len(measured) == 7
    rows = make_task(str(prompts)).source.rows.payload["prompt"]
    at = [rows.index(prompt) for prompt in measured.payload["prompt"]]
    assert at == sorted(set(at))


def test_the_table_of_a_pool_without_a_single_success(tmp_path):
    pool = Pool(successes=np.zeros(20, int), attempts=np.full(20, 8), level=[1, 2] * 10, name="none")
    lines = spectrum.table(pool, None, 8, 4)
    assert lines[1].split()[:4] == ["level", "1", "10", "0.000"]
    assert lines[1].split()[4] == "[0.000,"
    assert "a whole batch is silent with a chance of 1" in lines[-1]
