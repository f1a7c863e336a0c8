"""What a run says went wrong: on the console, in its manifest, and in the tables of a study."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from real_runs import train
from real_runs.runs import checkpoint, events, execute, identity
from real_runs.runs.record import STEP_COLUMNS, RunRecord
from real_runs.runs.signal import Signal
from workbench.files import to_parquet

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]


def record_of(rewards=(), success=(), n=24, **columns):
    """A record of so many steps; success: (evaluations, strata)."""
    record = RunRecord()
    for k, reward in enumerate(rewards):
        spent = dict.fromkeys(("rollouts", "tokens", "batches", "faults", "admitted"), 0)
        row = dict.fromkeys(STEP_COLUMNS, math.nan) | spent | {"step": k + 1, "reward": reward}
        record.add_step(row | {name: values[k] for name, values in columns.items()})
    for step, of_strata in enumerate(success):
        record.add_evaluation(step, np.array(of_strata), np.full(len(of_strata), n))
    return record


# ------------------------------------------------------------------------------------------------------- the room


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_rewards_that_are_all_alike_are_told_from_the_fifth_update_on(value):
    told = events.constant_rewards
    assert told(record_of([value] * 4)) == ""
    assert told(record_of([value] * 5)) == f"every reward so far is {value:.0f} (5 updates): nothing to learn from"
    assert told(record_of([value] * 6 + [0.5])).startswith(f"every reward at first is {value:.0f} (6 updates)")
    assert told(record_of([0.5] + [value] * 9)) == ""
    assert told(record_of([0.0, 1.0] * 5)) == ""
    assert [len(events.early_warnings(record_of([value] * k))) for k in (4, 5, 6)] == [0, 1, 0]


def test_a_fall_of_success_beyond_noise_is_told_with_both_values():
    """PPO at 1e-4 on sums takes the tiny model from .41 down to .26 in ten strata of 24 problems."""
    start, end = np.full(10, 0.41), np.full(10, 0.26)
    noise = 1.959964 * math.sqrt(
        sum(((24 * p + 0.5) / 25) * (1 - (24 * p + 0.5) / 25) / 24 / 10 for p in (0.41, 0.26))
    )
    (event,) = events.warnings(record_of(success=[start, start, end]), "float32")
    assert event == f"held-out success fell from 0.410 to 0.260, more than noise ({noise:.3f})"
    assert events.warnings(record_of(success=[start, end, start]), "float32") == []
    assert events.warnings(record_of(success=[start, start - noise + 0.02]), "float32") == []
    assert events.warnings(record_of(success=[[1.0] * 2, [0.5] * 2], n=1), "float32") == []  # one problem each
    assert events.warnings(record_of(success=[start]), "float32") == []


def test_a_fall_by_chance_alone_is_told_in_few_runs():
    draw = np.random.Generator(np.random.Philox(1))
    p = np.array([0.9, 0.5, 0.2, 0.0])
    evaluations = draw.binomial(24, p, (400, 2, 4)) / 24
    fallen = [bool(events.warnings(record_of(success=pair), "float32")) for pair in evaluations]
    assert np.mean(fallen) < 0.05


def test_completions_that_are_cut_and_log_probabilities_that_differ_are_told():
    cut = record_of([0.2] * 3, cut_share=[0.9, math.nan, 0.5])
    (event,) = events.warnings(record_of([0.2] * 3, success=[[0.5]], cut_share=[0.9, math.nan, 0.5]), "float32")
    assert event.startswith("completions cut at --limit: 70% of them")
    assert events.cut(record_of([0.2] * 2, cut_share=[0.4, 0.6])) == ""
    assert events.cut(cut) == event
    gaps = record_of([0.2] * 3, logp_gap_max=[1e-5, 0.01, 0.002])
    assert events.gap(gaps, "float32") == (
        "log-probabilities differ between sampling and training by up to 0.01 nats (step 2), the bound is 0.001 for "
        "float32"
    )
    assert events.gap(gaps, "bfloat16") == ""


def test_a_checkpoint_of_an_earlier_version_has_no_value_for_newer_columns():
    old = record_of([0.1, 0.2], success=[[0.5]], kl=[0.3, 0.4])
    state = old.state_dict()
    assert "signal.groups" not in state
    state["steps"] = state["steps"][:, : STEP_COLUMNS.index("logp_gap_mean")]
    record = RunRecord()
    record.load_state_dict(state)
    assert [row["kl"] for row in record.steps] == [0.3, 0.4]
    assert [list(row) for row in record.steps] == [list(STEP_COLUMNS)] * 2
    assert all(math.isnan(row["trained_share"]) for row in record.steps)
    assert record.signal is None


# ------------------------------------------------------------------------------------------------------------ runs


@pytest.fixture
def run(tiny, tmp_path, capsys):
    """run(answers, *words, code, out): a run of the tiny model that writes 0 and 1; its folder and standard error."""

    def go(answers, *words, code=0, out="out", **changes):
        frame = pd.DataFrame({"prompt": [f"rev {i}=" for i in range(10, 10 + len(answers))], "answer": answers})
        path = tmp_path / "p.parquet"
        path.write_bytes(to_parquet(frame.assign(difficulty=50.0)))
        settings = {
            "model": tiny("llama", prefers="01"), "pool": path, "heldout": 2, "batch": 4, "rollouts": 4, "steps": 6,
            "limit": 4, "threads": 1, "lr": 0.01, "controller": "uniform", "save-every": 2,
        } | changes  # fmt: skip
        arguments = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
        assert train.main([*arguments, *words, "--out", str(tmp_path / out)]) == code
        return tmp_path / out, capsys.readouterr().err

    return go


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_a_run_says_before_its_first_update_which_groups_can_teach(run):
    out, said = run(["0", "1"] * 4)
    found = manifest_of(out)["signal"]
    assert found["mixed"] >= 3
    lines = said.splitlines()
    told = lines.index(f"groups that can teach: {found['mixed']} of {found['groups']} of 4 completions mixed")
    assert all(line.startswith("step    0  reward ") for line in lines[told - 3 : told])
    assert any("held-out success" in line for line in lines[told:])
    assert not any("held-out success" in line for line in lines[:told])


def test_the_record_of_a_run_is_the_same_without_the_look_before_it(run, monkeypatch):
    with_look, _ = run(["0", "1"] * 4)
    with monkeypatch.context() as patch:
        patch.setattr(execute, "look", lambda *arguments: Signal(1, 3, 4, 0.5))
        without, _ = run(["0", "1"] * 4, out="without")
    for name in ("evals.csv", "rollouts.parquet"):
        assert (with_look / name).read_bytes() == (without / name).read_bytes()
    steps = [pd.read_csv(folder / "steps.csv") for folder in (with_look, without)]
    same = [table.drop(columns=[c for c in table if c.startswith("seconds")]) for table in steps]
    pd.testing.assert_frame_equal(*same, check_exact=True)


def test_a_run_without_signal_is_refused_with_status_2_and_begins_anyway(run):
    out, said = run(["2"] * 8, code=2)
    assert not (out / "steps.csv").exists()
    (error,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert error.startswith("error: --pool: must have problems of which at least 2 % give mixed groups")
    assert "got 0 of 150 groups of 4 completions (mean reward 0.000)" in error
    out, said = run(["2"] * 8, "--anyway")
    manifest = manifest_of(out)
    assert manifest["signal"] == {"groups": 150, "mixed": 0, "rollouts": 4, "reward": 0.0}
    assert manifest["events"][0] == "every reward so far is 0 (6 updates): nothing to learn from"
    told = [line for line in said.splitlines() if "every reward so far is 0" in line]
    assert [line.split("(")[1][0] for line in told] == ["5", "6"]  # at the fifth update, and at the end
    assert pd.read_csv(out / "steps.csv")["trained_share"].notna().all()


def test_a_group_of_one_completion_is_not_looked_at(run):
    out, said = run(["2"] * 8, rollouts=1, steps=1)
    assert manifest_of(out)["signal"] is None
    assert "groups that can teach" not in said


def test_a_resumed_run_keeps_what_was_found_and_does_not_look_again(run, monkeypatch):
    out, _ = run(["0", "1"] * 4)
    whole = manifest_of(out)
    (out / "manifest.json").unlink()
    key = identity.key_of(whole)
    last, _ = checkpoint.own(out / "checkpoints", key)
    last.unlink()  # the run was killed after its fourth update
    monkeypatch.setattr(execute, "look", pytest.fail)
    monkeypatch.setattr(execute, "check_answers", pytest.fail)
    _, said = run(["0", "1"] * 4, "--resume")
    assert "groups that can teach" not in said
    assert manifest_of(out)["signal"] == whole["signal"]


def test_answers_that_no_completion_can_have_are_refused_before_the_first_update(run):
    out, said = run(["#### 2"] * 8, "--scorer", "os.path:commonprefix", code=2)
    assert not (out / "steps.csv").exists()
    error = said.splitlines()[-1]
    assert error.startswith("error: --scorer: must give full score to an answer itself, got less for 8 of 8 answers, ")
