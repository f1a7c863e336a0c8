"""Real runs as commands: their record, exact resume, budgets, bad input; measured pools; studies of several runs."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import workbench as wb
from real_runs import compare, train
from real_runs import measure as difficulty
from real_runs.rl import models, ppo
from real_runs.rl.learner import HeldOut, PPOLearner, Settings
from real_runs.runs import checkpoint, identity, watch
from real_runs.tasks import measured as pools
from real_runs.tasks import named
from workbench.errors import InputError
from workbench.files import to_parquet
from workbench.loop import LONGEST
from workbench.pool import Pool

# transformers 5.23 has renamed what peft and transformers 5.0 call gradient checkpointing
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

ROOT = Path(__file__).parents[2]
STEP_COLUMNS = {
    "step", "reward", "target_difficulty", "difficulty_min", "difficulty_mean", "difficulty_max",
    "zero_variance_share", "kl", "entropy", "policy_loss", "value_loss", "grad_norm", "rollouts", "tokens",
    "seconds_generate", "seconds_update", "seconds_controller",
}  # fmt: skip
FILES = {"steps.csv", "evals.csv", "rollouts.parquet", "samples.json", "manifest.json"}
ITEMS = 40


@pytest.fixture(scope="module")
def model(tiny):
    return tiny("llama", prefers="01")


@pytest.fixture(scope="module")
def pool_frame():
    """Answers that the tiny model writes about one time in ten."""
    answers = [("0", "1", "01")[i % 3] for i in range(ITEMS)]
    # none is among the held-out problems of the task, which are left out of a pool
    prompts = [f"rev {i}=" for i in range(10, 10 + ITEMS)]
    return pd.DataFrame({"difficulty": np.linspace(0, 100, ITEMS), "prompt": prompts, "answer": answers})


@pytest.fixture(scope="module")
def pool(pool_frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "small.parquet"
    path.write_bytes(to_parquet(pool_frame))
    return path


@pytest.fixture(scope="module")
def options(model, pool):
    """options(name=value, ...): the command line of a tiny run."""

    def of(**changes):
        settings = {
            "task": "reverse", "model": model, "pool": pool, "heldout": 2, "batch": 4, "rollouts": 4, "steps": 4,
            "eval_every": 2, "save_every": 2, "limit": 4, "threads": 1, "lr": 0.01, "warm_up": 0,
        } | changes  # fmt: skip
        return [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))]

    return of


@pytest.fixture
def run(options, tmp_path, capsys):
    """run(name=value, ...): does a run in this process and returns its folder; more: further arguments."""

    def go(*more, out="out", code=0, **changes):
        folder = tmp_path / out
        answer = train.main([*options(**changes), *map(str, more), "--out", str(folder)])
        assert answer == code, capsys.readouterr().err
        return folder

    return go


def steps_of(folder, seconds=False):
    table = pd.read_csv(folder / "steps.csv")
    return table if seconds else table.drop(columns=[c for c in table if c.startswith("seconds_")])


def assert_same_record(one, other):
    """The files are the same, apart from seconds."""
    pd.testing.assert_frame_equal(steps_of(one), steps_of(other), check_exact=True)
    for name in ("evals.csv", "rollouts.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (one, other)]
    for manifest in manifests:
        del manifest["seconds"], manifest["git_commit"], manifest["files"]["steps.csv"]
    assert manifests[0] == manifests[1]


def last_checkpoint(folder):
    return max((folder / "checkpoints").glob("step-*.safetensors"))


def assert_same_end(one, other):
    ends = [load_file(last_checkpoint(folder)) for folder in (one, other)]
    assert last_checkpoint(one).name[:11] == last_checkpoint(other).name[:11]
    assert ends[0].keys() == ends[1].keys()
    names = [name for name in ends[0] if name.startswith(("learner.", "controller."))]
    assert any(name.startswith("learner.policy.") for name in names)
    assert any(name.startswith("learner.adam.") for name in names)
    for name in names:
        assert ends[0][name].tobytes() == ends[1][name].tobytes(), name


# ------------------------------------------------------------------------------------------------- the record


@pytest.mark.parametrize("algorithm", ppo.ALGORITHMS)
def test_a_run_writes_the_record(run, algorithm):
    out = run(steps=5, algorithm=algorithm)
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == FILES | {"checkpoints"}
    steps = steps_of(out, seconds=True)
    assert set(steps) >= STEP_COLUMNS
    assert steps["step"].tolist() == [1, 2, 3, 4, 5]
    assert steps["rollouts"].tolist() == [16, 32, 48, 64, 80]
    assert (steps["tokens"].diff().dropna() >= 16).all()
    assert (steps[["seconds_generate", "seconds_update", "seconds_controller"]] > 0).all(axis=None)
    assert (steps["difficulty_min"] <= steps["difficulty_mean"]).all()
    assert (steps["difficulty_mean"] <= steps["difficulty_max"]).all()
    assert steps["zero_variance_share"].between(0, 1).all()
    assert steps["kl"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert steps["value_loss"].notna().all() == (algorithm == "ppo")
    evals = pd.read_csv(out / "evals.csv")
    assert list(evals) == ["step", "stratum", "success", "n", "readable"]
    assert (evals["success"] <= evals["readable"]).all()
    assert (evals["readable"] <= 1).all()
    assert sorted(set(evals["step"])) == [0, 2, 4, 5]
    assert evals["success"].between(0, 1).all()
    assert (evals["n"] == 2).all()
    assert (evals.groupby("step")["stratum"].apply(list).map(lambda s: s == list(range(10)))).all()
    groups = pd.read_parquet(out / "rollouts.parquet")
    assert list(groups) == ["step", "item", "successes", "attempts", "admitted"]
    assert groups["step"].tolist() == [1 + i // 4 for i in range(20)]
    assert (groups["attempts"] == 4).all()
    assert groups["admitted"].all()
    assert groups["item"].between(0, ITEMS - 1).all()
    assert np.allclose(groups.groupby("step")["successes"].sum() / 16, steps["reward"], atol=1e-6)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["events"] == []
    assert manifest["run"]["algorithm"] == algorithm
    assert (manifest["run"]["dtype"], manifest["products"]) == ("auto", "float32")


def test_the_same_seed_gives_the_same_files_and_another_seed_others(run):
    one, again, other = (run(out=out, seed=seed) for out, seed in (("one", 1), ("again", 1), ("other", 2)))
    assert_same_record(one, again)
    assert_same_end(one, again)
    assert not steps_of(one).equals(steps_of(other))
    first = [pd.read_csv(folder / "evals.csv").query("step == 0")["success"].tolist() for folder in (one, other)]
    assert first[0] == first[1]  # runs of different seeds start from the same evaluation


@pytest.mark.parametrize("more", [["--lora", "2"], ["--gradient-checkpointing"], ["--updates", "2"],
                                  ["--dtype", "bfloat16"]])  # fmt: skip
def test_options_of_training_run_to_the_end(run, capsys, more):
    out = run(*more)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["products"] == ("bfloat16" if "bfloat16" in more else "float32")
    assert f"matrix products are in {manifest['products']}" in capsys.readouterr().err
    assert steps_of(out)["grad_norm"].gt(0).any()


def test_hyper_parameters_of_the_rule_reach_it(run):
    out = run("--set", "adarft.start=40", "--set", "adarft.eta=20", steps=1, batch=1)
    steps = steps_of(out)
    assert abs(steps["difficulty_mean"][0] - 40) < 2
    assert steps["target_difficulty"][0] == pytest.approx(40 + 20 * np.tanh(2 * (steps["reward"][0] - 0.5)))


def test_settings_of_the_algorithm_reach_it(run):
    """Without a penalty there is no KL to record; the manifest has the settings."""
    free = ["--set", "grpo.kl_coef=0", "--set", "grpo.entropy_coef=0", "--set", "adarft.eta=20"]
    out = run(*free, algorithm="grpo", steps=2)
    assert steps_of(out)["kl"].isna().all()
    settings = json.loads((out / "manifest.json").read_text())["run"]["settings"]
    assert settings == {"grpo.kl_coef": 0.0, "grpo.entropy_coef": 0.0, "adarft.eta": 20.0}
    assert steps_of(run(algorithm="grpo", out="plain", steps=2))["kl"].notna().all()


def scalars_of(folder):
    """Rows of steps, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder)).Reload()
    names = read.Tags()["scalars"]
    return pd.DataFrame({name: {event.step: event.value for event in read.Scalars(name)} for name in names})


def test_tensorboard_reads_the_scalars_of_each_step(run):
    pytest.importorskip("tensorboard")
    out = run("--tensorboard", steps=3)
    there, read = steps_of(out, seconds=True).set_index("step"), scalars_of(out / "tensorboard")
    there = there.dropna(axis="columns", how="all")
    assert set(read) == set(there)
    pd.testing.assert_frame_equal(read[list(there)], there.astype(float), check_names=False, rtol=1e-6)


def test_a_disk_that_fills_under_tensorboard_is_one_line_and_what_was_done_is_kept(run, full_disk, tmp_path, capsys):
    pytest.importorskip("tensorboard")
    (full_disk / "others").write_bytes(b"x" * 60 * 1024)  # 4 KiB are left
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tensorboard").symlink_to(full_disk)
    out = run("--tensorboard", steps=12, save_every=1, code=1)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    events = next(out.glob("tensorboard/events.*"))
    assert line == f"error: cannot write {events}: No space left on device; --resume goes on from the last checkpoint"
    done = len(scalars_of(out / "tensorboard"))
    assert 1 <= done < 11
    assert_same_record(run("--resume", steps=12, save_every=1), run(out="undisturbed", steps=12, save_every=1))


def test_a_scorer_that_fails_is_counted_and_the_run_goes_on(run, monkeypatch):
    make_task = named.make_task

    def hostile(spec, scorer="", answer=""):
        def score(completion, answer):
            if completion.startswith("1"):
                raise ValueError("cannot\nread this")
            return float("nan") if completion.startswith("0") else 2.0

        return replace(make_task(spec), score=score)

    monkeypatch.setattr(named, "make_task", hostile)
    steps = steps_of(run("--anyway"))
    assert steps["reward"].tolist() == [0.0] * 4
    evaluated = 2 * 10
    assert steps["faults"].tolist() == [evaluated + 16, 2 * evaluated + 32, 2 * evaluated + 48, 3 * evaluated + 64]


def test_a_run_that_comes_apart_says_so(run, monkeypatch):
    monkeypatch.setattr("real_runs.runs.run.LARGEST_RATE", 1e31)  # a rate that is taken does not do it in three steps
    manifest = json.loads((run(lr=1e30, steps=3) / "manifest.json").read_text())
    assert manifest["status"] == "diverged"
    assert "step" in manifest["events"][0]
    assert len([event for event in manifest["events"] if not event.startswith("completions cut")]) <= 2


# ------------------------------------------------------------------------------------------------- exact resume


def killed_run(arguments, folder):
    """A run that was killed with SIGKILL after some checkpoints, the same one undisturbed, and their options."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "real_runs" / "train.py"), *arguments, "--out", str(folder / "killed")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((folder / "killed" / "checkpoints").glob("step-000003-*")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "killed" / "manifest.json").exists()
    assert train.main([*arguments, "--out", str(folder / "whole")]) == 0
    return folder / "killed", folder / "whole", arguments


@pytest.fixture(scope="module")
def killed(options, tmp_path_factory):
    return killed_run(options(steps=24, save_every=1, eval_every=5), tmp_path_factory.mktemp("killed"))


def resumed(killed, tmp_path, damage=lambda folder: None):
    source, _, arguments = killed
    folder = tmp_path / "resumed"
    shutil.copytree(source, folder)
    damage(folder)
    assert train.main([*arguments, "--resume", "--out", str(folder)]) == 0
    return folder


def test_a_killed_run_resumes_to_the_end_of_an_undisturbed_one_bit_for_bit(killed, tmp_path):
    folder = resumed(killed, tmp_path)
    assert_same_record(folder, killed[1])
    assert_same_end(folder, killed[1])


def test_a_killed_run_with_adapters_in_bfloat16_does_too(options, tmp_path):
    arguments = options(steps=16, save_every=1, eval_every=5)
    killed = killed_run([*arguments, "--dtype", "bfloat16", "--lora", "2"], tmp_path)
    folder = resumed(killed, tmp_path)
    assert_same_record(folder, killed[1])
    assert_same_end(folder, killed[1])


@pytest.mark.parametrize("damage", ["cut short", "a bit flipped"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(killed, tmp_path, capsys, damage):
    named = []

    def spoil(folder):
        path = last_checkpoint(folder)
        data = bytearray(path.read_bytes())
        if damage == "a bit flipped":
            data[len(data) // 2] ^= 1
        path.write_bytes(data[: len(data) // 2] if damage == "cut short" else data)
        named.append(path)

    folder = resumed(killed, tmp_path, spoil)
    lines = [line for line in capsys.readouterr().err.splitlines() if str(named[0]) in line]
    assert len(lines) == 1
    assert "damaged" in lines[0]
    assert_same_record(folder, killed[1])
    assert_same_end(folder, killed[1])


def test_without_a_sound_checkpoint_it_starts_from_the_beginning(killed, tmp_path, capsys):
    def spoil(folder):
        for path in (folder / "checkpoints").glob("step-*"):
            path.write_bytes(b"nothing")

    folder = resumed(killed, tmp_path, spoil)
    assert capsys.readouterr().err.count("damaged checkpoint") >= 2
    assert_same_record(folder, killed[1])


@pytest.mark.parametrize("updates", [0, 2])
@pytest.mark.parametrize(
    ("controller", "algorithm", "more"),
    [("adarft", "ppo", []), ("dapo", "grpo", []), ("sorted", "rloo", ["--updates", "2"]),
     ("uniform+dapo", "reinforce++", ["--budget", "rollouts"]), ("linear", "grpo", ["--lora", "2"]),
     ("adarft", "ppo", ["--dtype", "bfloat16"]), ("adarft", "ppo", ["--dtype", "bfloat16", "--lora", "2"])],
)  # fmt: skip
def test_an_interrupted_run_resumes_bit_for_bit(run, capsys, monkeypatch, controller, algorithm, more, updates):
    """Stopped in the update after so many; the state of step 0 is a checkpoint too."""
    settings = {"controller": controller, "algorithm": algorithm, "steps": 5, "save_every": 1}
    if "--budget" in more:
        settings["steps"] = 15
    whole = run(*more, out="whole", **settings)
    drawn = [0, *steps_of(whole)["batches"]]
    stop, calls, observe = drawn[updates] + 1, [], watch.Timed.observe

    def interrupted(self, items, rewards, counts=None):
        calls.append(0)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return observe(self, items, rewards, counts)

    with monkeypatch.context() as patch:
        patch.setattr(watch.Timed, "observe", interrupted)
        folder = run(*more, code=130, **settings)
        assert "stopped; --resume goes on from the last checkpoint" in capsys.readouterr().err
    assert not (folder / "manifest.json").exists()
    run("--resume", *more, **settings)
    assert_same_record(folder, whole)
    assert_same_end(folder, whole)


def test_two_checkpoints_are_kept_and_the_last_step_is_the_last_of_them(run):
    names = sorted(path.name[:11] for path in (run(steps=7, save_every=3) / "checkpoints").iterdir())
    assert names[-1] == "step-000007"
    assert len(names) == 2


def test_resume_without_a_checkpoint_is_a_plain_run(run):
    assert_same_record(run("--resume", out="one"), run(out="other"))


def test_a_complete_run_is_left_as_it_is(run):
    out = run()
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    run("--resume")
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def error_line(capsys):
    """All that was written: one line."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    assert captured.out == ""
    return lines[0]


@pytest.mark.parametrize("changes", [{"lr": 0.02}, {"seed": 1}, {"steps": 6}, {"controller": "uniform"},
                                     {"algorithm": "grpo"}, {"set": "adarft.eta=20"}])  # fmt: skip
def test_resuming_with_other_settings_is_refused_by_the_one_that_differs_with_both_values(run, capsys, changes):
    out = run(steps=4, save_every=2)
    (out / "manifest.json").unlink()
    capsys.readouterr()
    notes = [checkpoint.notes_of(path)["run"] for path in (out / "checkpoints").iterdir()]
    run("--resume", code=2, **changes)
    ((name, value),) = changes.items()
    told = f"{name} {notes[0].get(name)!r}, not {value!r}" if name != "set" else "settings.adarft.eta None, not 20.0"
    line = error_line(capsys)
    assert line.startswith(f"error: --resume: must continue the same run, but {out / 'checkpoints'}{os.sep}step-00000")
    assert line.endswith(f" has {told}")


def test_resuming_with_another_pool_or_model_under_the_same_name_is_refused(run, capsys, pool_frame, tiny, tmp_path):
    pool, model = tmp_path / "p.parquet", tmp_path / "m"
    pool.write_bytes(to_parquet(pool_frame))
    shutil.copytree(tiny("llama", prefers="01"), model)
    run(pool=pool, model=model)
    pool.write_bytes(to_parquet(pool_frame.assign(difficulty=50.0)))
    capsys.readouterr()
    run("--resume", code=2, pool=pool, model=model)
    assert error_line(capsys).startswith("error: --resume: must continue the same pool, but ")
    pool.write_bytes(to_parquet(pool_frame))
    (tmp_path / "out" / "manifest.json").unlink(missing_ok=True)
    shutil.copyfile(tiny("llama", prefers="23") / "model.safetensors", model / "model.safetensors")
    run("--resume", code=2, pool=pool, model=model)
    assert error_line(capsys).startswith("error: --resume: must continue the same model")


def test_resuming_with_other_answers_to_the_same_prompts_is_refused(run, capsys, pool_frame, tmp_path):
    pool = tmp_path / "p.parquet"
    pool.write_bytes(to_parquet(pool_frame))
    run(pool=pool)
    pool.write_bytes(to_parquet(pool_frame.assign(answer="7")))
    capsys.readouterr()
    run("--resume", code=2, pool=pool)
    assert error_line(capsys).startswith("error: --resume: must continue the same pool")


def test_a_folder_with_checkpoints_is_not_written_over_without_resume(run, capsys):
    out = run()
    before = (out / "steps.csv").read_bytes()
    capsys.readouterr()
    run(code=2, seed=1)
    assert error_line(capsys).startswith("error: --out: must be a new folder unless --resume is given")
    assert (out / "steps.csv").read_bytes() == before


# --------------------------------------------------------------------------------------------- gates and budgets


@pytest.mark.parametrize("controller", ["dapo", "adarft+dapo"])
def test_a_gate_draws_more_rollouts_than_it_trains_on(run, controller):
    steps = steps_of(run(controller=controller, steps=4))
    assert len(steps) == 4
    assert steps["rollouts"].iloc[-1] > 4 * 4 * 4
    assert steps["batches"].iloc[-1] * 16 == steps["rollouts"].iloc[-1]
    assert (steps["batches"].diff().fillna(steps["batches"][0]) <= 10).all()


def test_a_gate_admits_what_differs_and_rejects_the_rest(run):
    out = run(controller="dapo")
    groups = pd.read_parquet(out / "rollouts.parquet")
    mixed = groups["successes"].between(0, groups["attempts"], inclusive="neither")
    assert np.array_equal(groups["admitted"], mixed)
    assert 0 < mixed.sum() < len(groups)
    assert len(groups) * 4 == steps_of(out)["rollouts"].iloc[-1]


def test_two_phase_screening_spends_less_on_groups_that_will_not_teach(run):
    out = run("--set", "speed.first=2", controller="speed", steps=3)
    groups = pd.read_parquet(out / "rollouts.parquet")
    assert set(groups["attempts"]) == {2, 4}
    first = groups[groups["attempts"] == 2]
    assert len(first) > 0
    assert first["successes"].isin([0, 2]).all()  # its two agree
    assert not first["admitted"].any()
    assert groups["admitted"][groups["attempts"] == 4].all()
    assert groups["attempts"].sum() == steps_of(out)["rollouts"].iloc[-1]


def test_a_rule_allocates_rollouts_to_the_items_of_a_real_batch(run):
    groups = pd.read_parquet(run(controller="cures", algorithm="rloo", steps=6) / "rollouts.parquet")
    assert (groups.groupby("step")["attempts"].sum() == 16).all()
    assert groups["attempts"].between(2, 16).all()
    assert groups["attempts"].nunique() > 1


def test_a_rule_that_probes_spends_rollouts_that_are_not_trained_on(run):
    settings = "--set", "sfl.period=2", "--set", "sfl.candidates=6", "--set", "sfl.rollouts=3"
    out = run(*settings, controller="sfl")
    assert steps_of(out)["rollouts"].tolist() == [16 + 18, 32 + 18, 48 + 36, 64 + 36]
    assert len(pd.read_parquet(out / "rollouts.parquet")) == 4 * 4  # the groups trained on


def test_a_budget_of_rollouts_ends_a_gated_run_with_the_update_that_uses_it_up(run):
    out = run("--budget", "rollouts", controller="dapo", steps=12)
    steps = steps_of(out)
    assert len(steps) < 12
    assert steps["rollouts"].iloc[-1] >= 12 * 16
    assert steps["rollouts"].iloc[-2] < 12 * 16
    assert pd.read_csv(out / "evals.csv")["step"].max() == len(steps)


def test_a_budget_of_rollouts_does_not_cut_a_run_without_gate(run):
    assert len(steps_of(run("--budget", "rollouts", controller="uniform"))) == 4


def test_a_budget_of_tokens_ends_with_the_update_that_uses_it_up(run):
    out = run("--budget", "tokens:150", steps=50, eval_every=20)
    steps = steps_of(out)
    assert len(steps) < 10
    assert steps["tokens"].iloc[-1] >= 150
    assert steps["tokens"].iloc[-2] < 150
    assert sorted(set(pd.read_csv(out / "evals.csv")["step"])) == [0, len(steps)]


def test_a_run_with_a_budget_goes_on_to_several_times_its_steps_and_says_what_it_left_unspent(run, capsys):
    """As the simulation does: `--steps` alone is no longer what ends such a run."""
    out = run("--budget", "tokens:100000000", steps=1)
    steps = steps_of(out)
    assert len(steps) == LONGEST
    left = 100_000_000 - steps["tokens"].iloc[-1]
    event = f"budget not spent: {left:,} of 100,000,000 tokens were left after {LONGEST} updates ({LONGEST} x --steps)"
    assert sum(event in line for line in capsys.readouterr().err.splitlines()) == 1
    manifest = json.loads((out / "manifest.json").read_text())
    assert [line.startswith(event) for line in manifest["events"]] == [True]
    assert manifest["status"] == "complete"


def test_a_budget_that_is_spent_is_no_event(run, capsys):
    for budget in ("rollouts", "tokens:60"):
        out = run("--budget", budget, out=budget[:3], controller="uniform")
        assert json.loads((out / "manifest.json").read_text())["events"] == []
    assert "budget not spent" not in capsys.readouterr().err


def test_a_rule_that_spends_less_than_a_full_batch_goes_on_until_the_budget_is_spent(run):
    out = run("--budget", "rollouts", "--set", "speed.first=2", controller="speed", steps=3)
    steps = steps_of(out)
    assert steps["rollouts"].iloc[-1] >= 3 * 16


# ----------------------------------------------------------------------------------------------------- bad input

BAD = {
    "unknown task": ({"task": "nope"}, "task: must be "),
    "unknown generator": ({"task": "reasoning-gym:nope"}, "task: must be "),
    "missing task file": ({"task": "/nowhere/rows.parquet"}, "nowhere"),
    "unknown controller": ({"controller": "nope"}, "--controller: must be a rule (uniform, "),
    "unknown algorithm": ({"algorithm": "nope"}, "--algorithm: must be one of "),
    "unknown option": ({"nope": "1"}, "options: must be among those that --help lists, got '--nope 1'"),
    "batch larger than the pool": ({"batch": ITEMS + 1}, f"--batch: must be <= {ITEMS}"),
    "one rollout, grpo": ({"rollouts": 1, "algorithm": "grpo"}, "--rollouts: must be >= 2 for --algorithm grpo"),
    "one rollout, rloo": ({"rollouts": 1, "algorithm": "rloo"}, "--rollouts: must be >= 2 for --algorithm rloo"),
    "updates that do not divide": ({"updates": 3}, "--updates: must divide batch x rollouts, 16, got 3"),
    "model that is missing": ({"model": "/nowhere/model"}, "model: must be a folder that exists"),
    "pool that is missing": ({"pool": "/nowhere/pool.parquet"}, "pool: must be a file that exists"),
    "pool of another kind": ({"pool": "pool.txt"}, "pool: must be a file (.parquet, "),
    "prompt longer than the context": ({"limit": 40}, "prompt: must have at most 8 tokens"),
    "limit beyond the context": ({"limit": 4000}, "--limit: must be below 48, the model's context, got 4000 tokens"),
    "steps": ({"steps": 0}, "--steps: must be a whole number in [1, 1e7], got 0"),
    "steps in words": ({"steps": "many"}, "--steps: must be a whole number in [1, 1e7], got 'many'"),
    "half a step": ({"steps": 1.5}, "--steps: must be a whole number in [1, 1e7], got '1.5'"),
    "learning rate": ({"lr": "nan"}, "--lr: must be a number in (0, 10]"),
    "learning rate 0": ({"lr": 0}, "--lr: must be a number in (0, 10]"),
    "temperature": ({"temperature": 0}, "--temperature: must be a number in [0.01, 100]"),
    "seed": ({"seed": -1}, "--seed: must be a whole number in [0, 18446744073709551615], got -1"),
    "seed of 65 bits": ({"seed": 2**64}, "--seed: must be a whole number in [0, 18446744073709551615], got 18446"),
    "held-out": ({"heldout": 0}, "--heldout: must be a whole number in [1, 10000]"),
} | {
    f"budget {text}": ({"budget": text}, "--budget: must be ")
    for text in ("nonsense", "tokens", "tokens:", "tokens:0", "tokens:x", "tokens:²", "tokens:-5", "steps:3", "")
} | {
    f"set {text}": ({"set": text}, expected)
    for text, expected in {
        "eta=5": "--set: must be NAME.PARAMETER=VALUE, each once, NAME among adarft, ppo, got ",
        "adarft.eta": "--set: must be NAME.PARAMETER=VALUE, each once, NAME among adarft, ppo, got ",
        "adarft.=1": "--set: must be NAME.PARAMETER=VALUE, each once, NAME among adarft, ppo, got ",
        "uniform.eta=1": "--set: must be NAME.PARAMETER=VALUE, each once, NAME among adarft, ppo, got ",
        "adarft.eta=fast": "--set adarft.eta: must be a finite number, got 'fast'",
        "adarft.speed=1": "adarft.speed: must be a hyper-parameter of adarft",
        "adarft.eta=-1": "adarft.eta: must be ",
        "adarft.ties=nope": "adarft.ties: must be ",
        "ppo.speed=1": "ppo.speed: must be a setting of ppo (advantage, kl_in, ",
        "ppo.clip=0": "ppo.clip: must be a number in [1e-6, 1e6], got 0.0",
        "ppo.whiten=yes": "--set ppo.whiten: must be one of true, false, got 'yes'",
        "ppo.kl_coef=low": "--set ppo.kl_coef: must be a finite number, got 'low'",
        "ppo.kl_kind=k4": "ppo.kl_kind: must be one of k1, k2, k3, got 'k4'",
        "grpo.kl_coef=0": "--set: must be NAME.PARAMETER=VALUE, each once, NAME among adarft, ppo, got ",
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_line(run, capsys, name):
    changes, expected = BAD[name]
    if name == "unknown option":
        with pytest.raises(SystemExit) as ended:
            run(**changes)
        assert ended.value.code == 2
    else:
        out = run(code=2, **changes)
        assert not any((out / file).exists() for file in FILES)
    assert error_line(capsys).startswith(f"error: {expected}") or expected == "nowhere"


def test_bad_input_ends_the_command_with_status_2(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "real_runs" / "train.py"), "--controller", "nope", "--out", str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: --controller: must be a rule (uniform, ")
    assert done.stderr.count("\n") == 1


def test_a_hyper_parameter_given_twice_is_refused(run, capsys):
    run("--set", "adarft.eta=1", "--set", "adarft.eta=2", code=2)
    expected = "error: --set: must be NAME.PARAMETER=VALUE, each once, NAME among adarft, ppo, got "
    assert error_line(capsys).startswith(expected)


def test_an_out_that_is_a_file_is_refused(run, capsys, tmp_path):
    (tmp_path / "taken").write_text("")
    run(out="taken", code=2)
    assert error_line(capsys).startswith("error: --out: must be a folder")


@pytest.mark.parametrize("command", [train, compare])
def test_an_empty_out_is_refused_and_nothing_is_written(command, options, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main([*(options() if command is train else []), "--out", ""]) == 2
    assert error_line(capsys) == "error: --out: must be a folder, got ''"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("column", ["prompt", "answer"])
@pytest.mark.parametrize("how", ["column missing", "one missing"])
def test_a_pool_with_missing_prompts_or_answers_is_refused(run, capsys, pool_frame, tmp_path, column, how):
    frame = pool_frame.drop(columns=column) if how == "column missing" else pool_frame.copy()
    if how == "one missing":
        frame.loc[3, column] = None
    path = tmp_path / "gaps.parquet"
    path.write_bytes(to_parquet(frame))
    run(pool=path, code=2)
    assert column in error_line(capsys)


@pytest.mark.skipif(not (pools.MEASURED / "reverse.parquet").is_file(), reason="pass counts not measured yet")
def test_a_batch_larger_than_a_cut_pool_is_refused_at_the_start(run, capsys):
    run(pool="skew-easy", batch=100_000, code=2)
    assert error_line(capsys).startswith("error: --batch: must be <= ")


# ------------------------------------------------------------------------------------------- the same Controller


@pytest.mark.parametrize("rule", [wb.AdaRFT(eta=10.0), wb.Uniform(), wb.SortedEasyToHard(horizon=20)])
def test_a_controllers_state_goes_from_simulation_to_a_real_run_and_back(model, pool, rule):
    pool = Pool.load(pool)
    simulated = wb.Controller(rule, pool, seed=3)
    wb.train(simulated, wb.SimLearner(wb.ScalarIRT(), pool, seed=3), 5, batch=4, rollouts=4)
    real = wb.Controller(rule, pool, seed=3)
    real.load_state_dict(simulated.state_dict())
    heldout = HeldOut(["rev 1="], ["1"], np.array([0]))
    learner = PPOLearner(
        models.load(model), pool, lambda text, answer: float(text == answer), heldout, ppo.ALGORITHMS["grpo"],
        Settings(limit=4), seed=3,
    )  # fmt: skip
    assert np.array_equal(real.target(), simulated.target(), equal_nan=True)
    record = wb.train(real, learner, 4, batch=4, rollouts=4, eval_every=2)
    assert record.steps.tolist() == [5, 7, 9]
    assert record.success.shape == (3, 1, 1)
    assert real.step == 9
    back = wb.Controller(rule, pool, seed=3)
    back.load_state_dict(real.state_dict())
    assert np.array_equal(back.next_batch(4), real.next_batch(4))
    wb.train(back, wb.SimLearner(wb.ScalarIRT(), pool, seed=3), 2, batch=4, rollouts=4)


def test_the_state_of_a_run_from_its_checkpoint_loads_into_a_simulation(run, pool):
    out = run()
    about = json.loads((out / "manifest.json").read_text())
    state = checkpoint.load(out / "checkpoints", identity.key_of(about), pytest.fail).state
    saved = {name.removeprefix("controller."): value for name, value in state.items() if name.startswith("controller.")}
    pool = Pool.load(pool)
    controller = wb.Controller(wb.AdaRFT(), pool)
    controller.load_state_dict(saved)
    assert controller.rollouts.tolist() == [4 * 16]
    assert float(controller.target()[0]) == pytest.approx(steps_of(out)["target_difficulty"].iloc[-1], rel=1e-6)
    wb.train(controller, wb.SimLearner(wb.ScalarIRT(), pool), 2, batch=4)


# --------------------------------------------------------------------------------------------- measured difficulty


@pytest.fixture
def measure(model, tmp_path):
    def go(out="measured.parquet", code=0, **changes):
        settings = {"task": "reverse", "model": model, "size": 18, "attempts": 6, "chunk": 4, "limit": 3, "seed": 1}
        settings |= changes
        arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        assert difficulty.main([*arguments, "--out", str(tmp_path / out)]) == code
        return tmp_path / out

    return go


def test_difficulty_writes_a_pool_with_pass_counts(measure, capsys, pool):
    measured = Pool.load(measure(pool=pool, attempts=20))
    assert len(measured) == ITEMS
    assert (measured.attempts == 20).all()
    assert 0 < measured.successes.sum() < 20 * ITEMS / 2
    assert np.allclose(measured.difficulty, 100 * (1 - measured.successes / 20))
    assert list(measured.payload["prompt"]) == [f"rev {i}=" for i in range(10, 10 + ITEMS)]
    said = re.search(rf"{ITEMS} problems, mean pass rate (\d\.\d+)", capsys.readouterr().out)
    assert float(said[1]) == pytest.approx(measured.successes.mean() / 20, abs=1e-3)
    by_answer = [measured.successes[i::3].mean() for i in range(3)]
    assert min(by_answer[:2]) > by_answer[2]  # two characters right are rarer than one


def test_a_measured_pool_can_be_trained_on(measure, run, pool):
    assert len(steps_of(run(pool=measure(pool=pool)))) == 4


@pytest.mark.parametrize("finished", [1, 3])
def test_a_killed_measurement_goes_on_to_the_same_file(measure, monkeypatch, finished):
    whole = measure(out="whole.parquet")
    save, calls, attempts = checkpoint.save, [], []

    def killed(*arguments):
        if len(calls) == finished:
            raise RuntimeError("killed")
        calls.append(save(*arguments))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(RuntimeError):
            measure()
    attempt = PPOLearner.attempt
    monkeypatch.setattr(PPOLearner, "attempt", lambda *a: attempts.append(len(a[1])) or attempt(*a))
    assert measure().read_bytes() == whole.read_bytes()
    assert sum(attempts) == 18 - 4 * finished  # what was done is not done again
    assert not whole.with_suffix(".parts").exists()


@pytest.mark.parametrize("changes", [{"limit": 1}, {"seed": 2}, {"attempts": 5}, {"model": "another"}])
def test_what_a_killed_measurement_left_is_not_mixed_with_other_settings(
    measure, monkeypatch, tmp_path, changes, tiny, pool
):
    """A model folder may hold another model than before."""
    place = tmp_path / "place"
    shutil.copytree(tiny("llama", prefers="01"), place)
    save, calls = checkpoint.save, []

    def killed(*arguments):
        if len(calls) == 2:
            raise RuntimeError("killed")
        calls.append(save(*arguments))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(RuntimeError):
            measure(model=place, pool=pool)
    if "model" in changes:
        changes = {}
        shutil.copyfile(tiny("llama", prefers="23") / "model.safetensors", place / "model.safetensors")
    changes = {"model": place, "pool": pool} | changes
    after, fresh = measure(**changes), measure(out="fresh.parquet", **changes)
    for column in ("successes", "attempts"):
        assert np.array_equal(getattr(Pool.load(after), column), getattr(Pool.load(fresh), column))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"out": "pool.csv"}, "--out: must be a .parquet file"), ({"size": 0}, "--size: must be "),
     ({"attempts": "many"}, "--attempts: must be "), ({"chunk": "²"}, "--chunk: must be "),
     ({"seed": -1}, "--seed: must be "), ({"model": "/nowhere/model"}, "model: must be "),
     ({"task": "nope"}, "task: must be "), ({"pool": "/nowhere/p.csv"}, "pool: must be ")],
)  # fmt: skip
def test_bad_input_to_difficulty_gets_one_line(measure, capsys, changes, expected):
    measure(code=2, **changes)
    assert error_line(capsys).startswith(f"error: {expected}")


# ----------------------------------------------------------------------------------------------- published shapes

# items per decile of the released sets (arXiv 2504.05520, section 4.2; the page of the task lists them)
PUBLISHED = {
    "skew-difficult": [128, 247, 289, 369, 382, 467, 635, 803, 1215, 5460],
    "uniform": [978, 995, 1027, 950, 1011, 1028, 1016, 1004, 999, 992],
    "skew-easy": [3408, 1712, 1100, 917, 672, 601, 539, 462, 369, 220],
}


def even_pool(size=2000):
    difficulty = np.linspace(0, 100, size)
    attempts = np.full(size, 100)
    payload = {"prompt": [f"p{i}" for i in range(size)], "answer": [f"a{i}" for i in range(size)]}
    successes = np.rint(100 - difficulty).astype(int)
    return Pool(difficulty, successes=successes, attempts=attempts, payload=payload, name="even")


def deciles(pool):
    return np.bincount(np.minimum(pool.difficulty // 10, 9).astype(int), minlength=10)


@pytest.mark.parametrize("shape", PUBLISHED)
@pytest.mark.parametrize("size", [None, 250, 97])
def test_a_cut_has_the_published_shape(shape, size):
    published = np.array(PUBLISHED[shape])
    whole = even_pool()
    cut = pools.cut(whole, shape, size)
    assert cut.name == shape
    if size is None:
        size = int((deciles(whole) / published).min() * published.sum())
        assert abs(len(cut) - size) <= 1
    else:
        assert len(cut) == size
    assert np.abs(deciles(cut) - len(cut) * published / published.sum()).max() < 1
    prompts = list(cut.payload["prompt"])
    assert len(set(prompts)) == len(cut)
    for row, prompt in enumerate(prompts):
        item = int(prompt[1:])
        assert cut.payload["answer"][row] == f"a{item}"
        assert cut.difficulty[row] == whole.difficulty[item]
        assert cut.successes[row] == whole.successes[item]


def test_a_cut_depends_on_its_seed_alone():
    whole = even_pool()
    one, again, other = (pools.cut(whole, "uniform", 200, seed=seed) for seed in (0, 0, 1))
    assert one.payload["prompt"] == again.payload["prompt"] != other.payload["prompt"]


def test_a_cut_from_too_few_items_is_refused():
    whole = even_pool()
    largest = len(pools.cut(whole, "skew-easy"))
    with pytest.raises(InputError, match=rf"^size: must be <= {largest} to cut shape skew-easy from 'even', .* got "):
        pools.cut(whole, "skew-easy", largest + 20)
    hard = Pool(np.linspace(50, 100, 100), name="hard")
    with pytest.raises(InputError, match=r"skew-easy.*'hard'"):
        pools.cut(hard, "skew-easy")
    with pytest.raises(InputError, match=r"^shape: must be one of "):
        pools.cut(whole, "round")


# ---------------------------------------------------------------------------------------------- studies of runs


@pytest.fixture
def study(model, pool, tmp_path, monkeypatch, capsys):
    """study(...): compare.py with its runs in this process; study.commands: those it has run."""
    commands = []

    def run_here(command, _started):
        assert command[0] == sys.executable
        assert Path(command[1]).samefile(ROOT / "real_runs" / "train.py")
        commands.append(command)
        with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
            code = train.main(command[2:])
        return code, errors.getvalue()

    def go(*more, code=0, here=True, **changes):
        settings = {
            "task": "reverse", "model": model, "pools": pool, "controllers": "uniform,dapo", "seeds": 2, "jobs": 1,
            "steps": 4, "batch": 4, "rollouts": 4, "eval-every": 2, "heldout": 1, "limit": 4, "lr": 0.01,
            "out": tmp_path / "study",
        } | changes  # fmt: skip
        arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        with monkeypatch.context() as patch:
            if here:
                patch.setattr(compare, "run_beneath", run_here)
            answer = compare.main([*arguments, *more])
        assert answer == code, capsys.readouterr().err
        return settings["out"]

    go.commands = commands
    return go


def test_a_study_runs_every_cell_once_and_writes_tables_and_figures(study, capsys):
    out = study()
    assert len(study.commands) == 4
    names = {path.name for path in out.iterdir()}
    assert names >= {"report.txt", "runs.csv", "summary.csv", "strata.csv", "curves.parquet", "manifest.json"}
    assert {path.stem for path in out.iterdir() if path.suffix in (".png", ".svg", ".pdf")} >= {
        "learning_curves", "speedup",
    }  # fmt: skip
    runs = pd.read_csv(out / "runs.csv")
    assert sorted(zip(runs["controller"], runs["seed"], strict=True)) == [
        ("dapo", 0), ("dapo", 1), ("uniform", 0), ("uniform", 1),
    ]  # fmt: skip
    assert {"steps_to_threshold", "tokens_to_threshold", "seconds_to_threshold"} <= set(runs)
    strata = pd.read_csv(out / "strata.csv")
    assert sorted(set(strata["stratum"])) == list(range(10))
    assert (strata.query("controller == 'uniform'")["difference"] == 0).all()
    curves = pd.read_parquet(out / "curves.parquet")
    assert sorted(set(curves["step"])) == [0, 2, 4]
    assert (curves["rollouts"] == curves["step"] * 16).all()
    assert (curves.groupby(["controller", "seed"])["tokens"].diff().dropna() > 0).all()
    starts = curves.query("step == 0").filter(like="success")
    assert (starts.nunique() <= 1).all()  # paired: every run starts from the same evaluation
    for (controller, seed), curve in curves.groupby(["controller", "seed"]):
        folder = next((out / "runs").glob(f"*/{controller}/seed-{seed}"))
        evals = pd.read_csv(folder / "evals.csv").groupby("step")["success"].mean()
        assert curve["success"].iloc[0] == pytest.approx(evals[0])
        if controller == "uniform":
            assert curve["success"].tolist() == pytest.approx(evals.tolist())
    assert "uniform" in (out / "report.txt").read_text()
    page = (out / "report.html").read_text()
    assert page.count('<article class="sample') > 10
    kept = json.loads(next((out / "runs").glob("*/uniform/seed-0/samples.json")).read_text())
    assert {one["step"] for one in kept} == {0, 4}
    assert "before training: wrong" in page
    assert "after training: wrong" in page
    printed = capsys.readouterr().out
    assert printed.strip() == (out / "report.txt").read_text().strip()

    before = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".csv", ".parquet", ".txt")}
    study()  # a second call runs nothing, and its tables are the same
    assert len(study.commands) == 4
    for name, data in before.items():
        assert (out / name).read_bytes() == data, name

    capsys.readouterr()
    study(code=2, steps=6)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: --out: must hold runs of the same settings, but ")
    assert error.endswith(" has steps 4, not 6")
    assert len(study.commands) == 4
    for name, data in before.items():
        assert (out / name).read_bytes() == data, name

    study(controllers="uniform,dapo,adarft")  # an arm more: only its runs are new
    assert len(study.commands) == 6
    assert set(pd.read_csv(out / "runs.csv")["controller"]) == {"uniform", "dapo", "adarft"}


def test_arms_of_several_learning_rates_and_settings_are_compared_with_uniform_under_their_own(study, capsys):
    """One study of two learning rates has the curves of two studies of one each."""
    arms = {"controllers": "adarft", "seeds": 2, "first-seed": 3, "steps": 2}
    out = study("--set", "adarft.eta=5,20", lr="0.01,0.001", **arms)
    assert len(study.commands) == 2 * 3 * 2
    folders = {str(path.parent.relative_to(out / "runs" / "small")) for path in (out / "runs").rglob("manifest.json")}
    controllers = ["uniform", "adarft_eta=5", "adarft_eta=20"]
    assert folders == {f"{name}_lr={lr}/seed-{k}" for name in controllers for lr in ("0.01", "0.001") for k in (3, 4)}
    curves, summary = pd.read_parquet(out / "curves.parquet"), pd.read_csv(out / "summary.csv")
    assert set(curves["learner"]) == {"reverse lr=0.01", "reverse lr=0.001"}
    assert set(curves["controller"]) == {"uniform", "adarft eta=5", "adarft eta=20"}
    assert (summary["verdict"] == "baseline").sum() == 2
    strata = pd.read_csv(out / "strata.csv").set_index(["learner", "controller", "stratum"])
    ends = curves[curves["step"] == 2].set_index(["learner", "controller", "seed"])["success_0"].sort_index()
    for learner in ("reverse lr=0.01", "reverse lr=0.001"):
        expected = (ends[learner, "adarft eta=5"] - ends[learner, "uniform"]).mean()
        assert strata.loc[(learner, "adarft eta=5", 0), "difference"] == pytest.approx(expected, abs=1e-6)
    report = (out / "report.txt").read_text()
    settings = report[report.index("Settings under uniform on small, success ") :].splitlines()[1:3]
    uniform = summary[summary["controller"] == "uniform"].sort_values("auc", ascending=False)
    assert [line.split(":")[0].strip() for line in settings] == uniform["learner"].tolist()
    alone = study("--set", "adarft.eta=5,20", lr="0.001", out=out.parent / "alone", **arms)
    assert {path.name for path in (alone / "runs" / "small").iterdir()} == set(controllers)
    mine = curves[curves["learner"] == "reverse lr=0.001"].drop(columns=["learner", "seconds"]).reset_index(drop=True)
    other = pd.read_parquet(alone / "curves.parquet").drop(columns=["learner", "seconds"])
    keys = ["controller", "seed", "step"]
    pd.testing.assert_frame_equal(*(table.sort_values(keys, ignore_index=True) for table in (mine, other)))


@pytest.mark.parametrize("budget", ["steps", "rollouts", "tokens:200"])
def test_a_step_of_a_study_is_a_share_of_its_budget(study, budget):
    out = study(controllers="dapo", budget=budget, seeds=1)
    curves = pd.read_parquet(out / "curves.parquet").set_index("controller")
    for name in ("uniform", "dapo"):
        curve, steps = curves.loc[name], pd.read_csv(out / "runs" / "small" / name / "seed-0" / "steps.csv")
        assert curve["step"].tolist() == [0, 2, 4]
        if budget == "steps":
            assert curve["rollouts"].tolist() == [0, *steps["rollouts"].iloc[[1, 3]]]
        elif budget == "rollouts":
            assert curve["rollouts"].tolist() == [0, 32, 64]
        else:
            assert curve["tokens"].tolist() == pytest.approx([0, 100, 200])


def test_a_run_that_ends_below_its_start_is_marked_in_the_tables_of_a_study(study):
    """Runs of earlier versions, which did not say so, are marked, too."""
    out = study(controllers="filter", seeds=2)
    folder = out / "runs" / "small" / "filter" / "seed-1"
    evals = pd.read_csv(folder / "evals.csv")
    evals["success"] = np.where(evals["step"] == 0, 0.9, np.where(evals["step"] == 4, 0.1, 0.5))
    evals.assign(n=50).to_csv(folder / "evals.csv", index=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]  # earlier versions wrote no digests
    (folder / "manifest.json").write_text(json.dumps(manifest))
    study("--tables-only", controllers="filter", seeds=2)
    runs = pd.read_csv(out / "runs.csv").set_index(["controller", "seed"])["below_start"]
    assert runs.to_dict() == {("uniform", 0): 0, ("uniform", 1): 0, ("filter", 0): 0, ("filter", 1): 1}
    summary = pd.read_csv(out / "summary.csv").set_index("controller")["below_start"]
    assert summary.to_dict() == {"uniform": 0.0, "filter": 0.5}
    lines = (out / "report.txt").read_text().splitlines()
    told = lines[lines.index("Below their start:") + 1]
    assert told.startswith(f"  {folder}: held-out success fell from 0.900 to 0.100, more than noise (0.")
    assert json.loads((out / "manifest.json").read_text())["events"]["Below their start"] == [told.strip()]


def test_a_study_charges_each_arm_for_the_rollouts_of_its_record(study):
    """sfl probes before it trains, speed screens with a few rollouts: theirs do not cost a full batch."""
    out = study(controllers="uniform,sfl,speed", rollouts=8, steps=6)
    curves, runs = pd.read_parquet(out / "curves.parquet"), pd.read_csv(out / "runs.csv")
    seen = set()
    for (controller, seed), curve in curves.groupby(["controller", "seed"]):
        folder = next((out / "runs").glob(f"*/{controller}/seed-{seed}"))
        steps = pd.read_csv(folder / "steps.csv", index_col="step")
        evals = pd.read_csv(folder / "evals.csv").groupby("step")["success"].mean()
        spent = steps["rollouts"].reindex(evals.index, fill_value=0)  # at each evaluation, nothing before training
        seen.add((controller, bool((steps["rollouts"] == 32 * steps["batches"]).all())))
        on_record = dict(zip(curve["rollouts"], curve["success"], strict=True))
        assert list(on_record) == [0, 64, 128, 192]
        for rollouts, success in on_record.items():
            assert success == pytest.approx(np.interp(rollouts, spent, evals))
        (row,) = runs.query("controller == @controller and seed == @seed").to_dict("records")
        if row["reached"]:
            assert row["rollouts_to_threshold"] == pytest.approx(
                np.interp(row["steps_to_threshold"], curve["step"], curve["rollouts"])
            )
        if controller == "sfl":  # a probe of the whole pool comes before the first update
            assert steps["rollouts"].iloc[0] > 32 + ITEMS
            first = np.interp(64, [0, steps["rollouts"].iloc[0]], [0, steps["tokens"].iloc[0]])
            assert curve["tokens"].iloc[1] == pytest.approx(first)
    assert seen >= {("uniform", True), ("sfl", False), ("speed", False)}


def said(capsys):
    """Lines on standard error, without the one about the pool's held-out problems."""
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith("pool '")]


def unfinished(folder):
    (folder / "manifest.json").unlink()


def test_tables_of_a_study_that_was_cut_off_pair_what_is_there_by_seed(study, capsys):
    shape = {"controllers": "uniform,filter", "seeds": 3, "steps": 2, "eval-every": 1}
    out = study(**shape)
    runs = out / "runs" / "small"
    unfinished(runs / "filter" / "seed-0")
    capsys.readouterr()
    study("--tables-only", **shape)
    assert said(capsys) == []
    curves = pd.read_parquet(out / "curves.parquet")
    last = curves[curves["step"] == 2].set_index(["controller", "seed"])
    strata = pd.read_csv(out / "strata.csv").set_index(["controller", "stratum"])["difference"]
    for stratum in range(10):
        column = last[f"success_{stratum}"]
        paired = column["filter"] - column["uniform"].loc[[1, 2]]
        assert strata["filter", stratum] == pytest.approx(paired.mean(), abs=1e-6)
    summary = pd.read_csv(out / "summary.csv").set_index("controller")
    assert summary["seeds"].to_dict() == {"uniform": 3, "filter": 2}

    unfinished(runs / "uniform" / "seed-2")
    study("--tables-only", **shape)
    (line,) = said(capsys)
    assert line.startswith("1 runs left out: uniform has not finished on their seeds (first ")
    summary = pd.read_csv(out / "summary.csv").set_index("controller")
    assert summary["seeds"].to_dict() == {"uniform": 2, "filter": 1}
    assert set(pd.read_parquet(out / "curves.parquet").query("controller == 'filter'")["seed"]) == {1}


def test_runs_of_other_code_are_refused_in_one_line_unless_they_are_accepted(study, capsys, monkeypatch):
    shape = {"controllers": "uniform", "seeds": 1, "steps": 1, "eval-every": 1}
    out = study(**shape)
    before = (out / "runs.csv").read_bytes()
    mine = identity.project_digest()
    assert json.loads((out / "manifest.json").read_text())["code"] == [mine]
    with monkeypatch.context() as patch:
        patch.setattr(identity, "project_digest", lambda: "0123456789abcdef")
        capsys.readouterr()
        study(code=2, **shape)
        assert error_line(capsys) == (
            f"error: --out: must be of the same code, but {out / 'runs' / 'small' / 'uniform' / 'seed-0'} has project "
            f"{mine}, not 0123456789abcdef; --any-code takes it nevertheless"
        )
        study("--any-code", **shape)
        assert len(study.commands) == 1
        study("--any-code", **shape | {"seeds": 2})  # the other seed, by the code of today
        assert len(study.commands) == 2
    assert (out / "runs.csv").read_bytes().startswith(before[:200])
    capsys.readouterr()
    study("--tables-only", **shape | {"seeds": 2})
    (line,) = said(capsys)
    assert line == f"{out}: its runs are of different code: {', '.join(sorted([mine, '0123456789abcdef']))}"


def test_tables_without_a_run_of_uniform_are_refused_in_one_line(study, capsys):
    out = study(controllers="uniform,filter", seeds=1)
    unfinished(out / "runs" / "small" / "uniform" / "seed-0")
    capsys.readouterr()
    study("--tables-only", code=2, controllers="uniform,filter", seeds=1)
    assert error_line(capsys) == (
        "error: --out: must hold finished runs of uniform, with which the others are compared, got filter"
    )


def test_a_failing_run_is_reported_with_its_last_line(study, capsys):
    """As processes, in earnest."""
    study(code=1, here=False, controllers="uniform", seeds=1, limit=10_000)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: run ")
    assert "ended with status 2: error: " in error


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"controllers": "nope"}, "--controllers: must be a rule (uniform, "), ({"seeds": 0}, "--seeds: must be "),
     ({"steps": "x"}, "--steps: must be a whole number in [1, 1e7], got 'x'"),
     ({"threshold": "2"}, "--threshold: must be "),
     ({"threshold": "x"}, "--threshold: must be "), ({"seeds": "²"}, "--seeds: must be "),
     ({"lr": "0.01,"}, "--lr: must be a number in (0, 10], got ''"),
     ({"lr": "0.01,-1"}, "--lr: must be a number in (0, 10], got -1.0"),
     ({"algorithm": "ppo,nope"}, "--algorithm: must be one of ppo, grpo, rloo, reinforce++, got 'nope'"),
     ({"first-seed": -1}, "--first-seed: must be a whole number in [0, 9223372036854775808], got "),
     ({"set": "eta=1"}, "--set: must be NAME.PARAMETER=VALUE[,VALUE], each once, NAME among uniform, dapo, ppo, got "),
     ({"set": "adarft.eta=5,10"}, "--set: must be NAME.PARAMETER=VALUE[,VALUE], each once, NAME among uniform, dapo, "),
     ({"set": "ppo.kl_coef=0,x"}, "--set ppo.kl_coef: must be a finite number, got 'x'"),
     ({"set": "ppo.kl_coef=0,-1"}, "ppo.kl_coef: must be a number in [0, 1e6], got -1.0"),
     ({"set": "dapo.nope=1"}, "dapo.nope: must be a hyper-parameter of dapo (")],
)  # fmt: skip
def test_bad_input_to_a_study_gets_one_line(study, capsys, changes, expected):
    study(code=2, **changes)
    assert error_line(capsys).startswith(f"error: {expected}")
    assert study.commands == []


def test_tables_of_a_study_without_runs_are_refused_in_one_line(study, capsys):
    study("--tables-only", code=2)
    error_line(capsys)


def test_pools_of_one_name_are_refused_because_they_would_share_a_folder(tmp_path, capsys):
    assert compare.main(["--pools", "a/x.parquet,b/x.parquet", "--out", str(tmp_path / "study")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: --pools: must have different names, which their folders get, got x, x"
