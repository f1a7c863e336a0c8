"""Checkpoints: several runs in one folder, damaged and foreign files, types of arrays, and code that changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from real_runs import measure, train
from real_runs.runs import checkpoint, identity
from real_runs.runs.checkpoint import run_key
from workbench.files import to_parquet
from workbench.pool import Pool

pytestmark = pytest.mark.usefixtures("one_thread")

ONE, OTHER = run_key({"lr": 1}), run_key({"lr": 2})


def steps_in(folder, run):
    return [int(path.name.split("-")[1]) for path in checkpoint.own(folder, run)]


def refuse(line):
    raise AssertionError(line)


# ------------------------------------------------------------------------------------------------------ in a folder


def test_a_run_removes_its_own_checkpoints_only_and_reads_its_own_only(tmp_path):
    """The steps of the other run are higher: sorted by name, those of this one were removed as they were written."""
    for step in (1992, 2000):
        checkpoint.save(tmp_path, step, {"x": np.arange(3)}, {}, OTHER)
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"x": np.full(2, step)}, {"of": "one"}, ONE)
    assert steps_in(tmp_path, OTHER) == [2000, 1992]
    assert steps_in(tmp_path, ONE) == [3, 2]
    found = checkpoint.load(tmp_path, ONE, refuse)
    assert (found.step, found.state["x"].tolist(), found.notes) == (3, [3, 3], {"of": "one"})
    assert checkpoint.load(tmp_path, OTHER, refuse).step == 2000
    assert checkpoint.load(tmp_path, run_key({"lr": 3}), refuse) is None
    assert checkpoint.others(tmp_path, ONE) == checkpoint.own(tmp_path, OTHER)


def test_the_last_step_is_the_last_by_number(tmp_path):
    for step in (999_999, 1_000_000, 1_000_001):
        checkpoint.save(tmp_path, step, {}, {}, ONE)
    assert steps_in(tmp_path, ONE) == [1_000_001, 1_000_000]
    assert checkpoint.load(tmp_path, ONE, refuse).step == 1_000_001


def test_a_damaged_checkpoint_of_another_run_is_left(tmp_path):
    checkpoint.save(tmp_path, 5, {}, {}, OTHER)
    (foreign,) = checkpoint.own(tmp_path, OTHER)
    foreign.write_bytes(b"nothing")
    checkpoint.save(tmp_path, 3, {}, {}, ONE)
    assert checkpoint.load(tmp_path, ONE, refuse).step == 3
    assert foreign.read_bytes() == b"nothing"
    assert checkpoint.notes_of(foreign) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64,
                                   torch.uint8, torch.bool])  # fmt: skip
def test_tensors_of_every_type_come_back_bit_for_bit(tmp_path, dtype):
    draw = torch.Generator().manual_seed(0)
    tensors = {
        "matrix": torch.randn(3, 5, generator=draw), "transposed": torch.randn(3, 5, generator=draw).T,
        "number": torch.randn((), generator=draw), "empty": torch.zeros(0, 4),
    }  # fmt: skip
    state = {name: (tensor * 3).to(dtype) for name, tensor in tensors.items()}
    checkpoint.save(tmp_path, 1, state, {}, ONE)
    for found in (checkpoint.load(tmp_path, ONE, refuse).state, load_file(checkpoint.own(tmp_path, ONE)[0])):
        assert found.keys() == state.keys()
        for name, tensor in state.items():
            back = torch.as_tensor(found[name])
            assert back.dtype == dtype
            assert back.shape == tensor.shape
            assert torch.equal(back, tensor), name


def test_arrays_numbers_and_names_come_back(tmp_path):
    state = {
        "seeds": np.array([2**64 - 1, 0], np.uint64), "flags": np.array([True, False]),
        "order": np.arange(6).reshape(2, 3).T, "one": np.float64(0.1),
        "strided": np.arange(10.0)[::3], "count": 7, "name": "adarft", "none": None,
    }  # fmt: skip
    checkpoint.save(tmp_path, 1, state, {"run": {"lr": 0.1}}, ONE)
    found = checkpoint.load(tmp_path, ONE, refuse)
    for name in ("seeds", "flags", "order", "one", "strided"):
        assert found.state[name].dtype == np.asarray(state[name]).dtype
        assert np.array_equal(found.state[name], state[name])
    assert [found.state[name] for name in ("count", "name", "none")] == [7, "adarft", None]
    assert found.notes == {"run": {"lr": 0.1}}


# ---------------------------------------------------------------------------------------------------- in a run


@pytest.fixture
def run(tiny, tmp_path, capsys):
    """run(more, name=value, ...): a tiny run in this process; returns its folder."""
    pool = tmp_path / "pool.parquet"
    frame = pd.DataFrame({"difficulty": np.linspace(0, 100, 20), "prompt": [f"rev {i}=" for i in range(20)]})
    pool.write_bytes(to_parquet(frame.assign(answer="0")))

    def go(*more, code=0, **changes):
        settings = {
            "model": tiny("llama", prefers="01"), "pool": pool, "heldout": 1, "batch": 2, "rollouts": 2, "steps": 3,
            "eval_every": 3, "save_every": 1, "limit": 2, "threads": 1, "algorithm": "grpo", "out": tmp_path / "out",
        } | changes  # fmt: skip
        options = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        assert train.main([*options, *more]) == code
        return settings["out"]

    return go


def error_line(capsys):
    """The one line of an error, beside what a run says of its pool."""
    (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("pool '"))
    return line


def own_steps(out):
    about = json.loads((out / "manifest.json").read_text())
    return steps_in(out / "checkpoints", identity.key_of(about))


def test_a_resumed_run_keeps_its_last_checkpoints_beside_foreign_files_and_names_those(run, tmp_path, capsys):
    folder = tmp_path / "out" / "checkpoints"
    folder.mkdir(parents=True)
    foreign = folder / "step-002000-0123456789abcdef.safetensors"
    save_file({"weights": torch.zeros(2)}, foreign)
    (folder / "step-001992").mkdir()
    out = run("--resume")
    assert own_steps(out) == [3, 2]
    assert (folder / "step-001992").is_dir()
    assert foreign.is_file()
    lines = [line for line in capsys.readouterr().err.splitlines() if "are left as they are" in line]
    assert lines == [f"{folder}: 2 files are not of this run and are left as they are (first {foreign.name})"]


def rewritten(out, change):
    """The last checkpoint of a run as another version would have written it, alone in its folder."""
    folder = out / "checkpoints"
    about = json.loads((out / "manifest.json").read_text())
    (last, *_) = checkpoint.own(folder, identity.key_of(about))
    found = checkpoint.load(folder, identity.key_of(about), refuse)
    shutil.rmtree(folder)
    (out / "manifest.json").unlink()
    return change(folder, found, last.name)


def test_a_checkpoint_named_by_an_earlier_version_is_taken_with_the_option_and_else_refused_in_a_line(run, capsys):
    """Such a name has no run, and its notes neither the code nor options that are newer."""
    out = run(steps=3)
    rows = (out / "steps.csv").read_bytes()

    def older(folder, found, name):
        notes = {key: value for key, value in found.notes.items() if key != "code"}
        del notes["run"]["scorer"]
        checkpoint.save(folder, found.step, found.state, notes, ONE)
        (path,) = checkpoint.own(folder, ONE)
        path.rename(folder / path.name.replace(f"-{ONE}", ""))

    rewritten(out, older)
    (out / "steps.csv").unlink()
    capsys.readouterr()
    run("--resume", steps=3, code=2)
    line = error_line(capsys)
    assert line.startswith("error: --resume: must be of the same code, but the checkpoint of step 3 has project of an ")
    assert line.endswith("; --any-code takes it nevertheless")
    run("--resume", "--any-code", steps=3)
    assert (out / "steps.csv").read_bytes() == rows
    assert own_steps(out) == [3]


def test_a_run_of_other_code_is_refused_in_one_line_unless_it_is_accepted(run, capsys, monkeypatch):
    out = run()
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    run("--resume")  # the same code: complete
    monkeypatch.setattr(identity, "project_digest", lambda: "0123456789abcdef")
    capsys.readouterr()
    run("--resume", code=2)
    line = error_line(capsys)
    assert line.startswith(f"error: --resume: must be of the same code, but {out / 'manifest.json'} has project ")
    assert "not 0123456789abcdef" in line
    (out / "manifest.json").unlink()  # as if it had been stopped before its end
    run("--resume", code=2)
    line = error_line(capsys)
    assert line.startswith("error: --resume: must be of the same code, but the checkpoint of step 3 has project ")
    run("--resume", "--any-code")
    for name in ("steps.csv", "evals.csv", "rollouts.parquet"):
        assert (out / name).read_bytes() == before[name]


def test_the_code_of_a_run_holds_what_it_computes_with_and_nothing_that_only_prints(tmp_path, monkeypatch):
    root = tmp_path / "real_runs"
    only_source = shutil.ignore_patterns("base", "pools", "results", "__pycache__")
    shutil.copytree(Path(identity.__file__).parents[1], root, ignore=only_source)
    monkeypatch.setattr(identity, "__file__", str(root / "runs" / "identity.py"))

    def digest():
        identity.project_digest.cache_clear()
        return identity.project_digest()

    before = digest()
    try:
        (root / "compare.py").write_text("")
        assert digest() == before
        (root / "rl" / "ppo.py").write_text("")
        assert digest() != before
    finally:
        monkeypatch.undo()
        identity.project_digest.cache_clear()


def test_parts_of_a_measurement_with_another_setting_are_left_and_its_own_kept_until_the_end(
    tiny, tmp_path, capsys, monkeypatch
):
    """The one that was stopped had come further."""
    out = tmp_path / "measured.parquet"

    def go(attempts, chunk=4):
        options = {"model": tiny("llama", prefers="01"), "size": 12, "limit": 2, "attempts": attempts, "chunk": chunk}
        return measure.main([text for name, value in options.items() for text in (f"--{name}", str(value))]
                            + ["--out", str(out)])  # fmt: skip

    save, kept = checkpoint.save, []

    def stopped(folder, step, state, notes, run):
        save(folder, step, state, notes, run)
        kept.append(sorted(path.name for path in checkpoint.own(folder, run)))
        if len(kept) == 2 and notes["attempts"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", stopped)
        assert go(3) == 130
        left = kept.pop()
        assert go(2, chunk=3) == 0
    assert [len(names) for names in kept[1:]] == [1, 2, 2, 2]  # none was removed by the other's higher steps
    folder = out.with_suffix(".parts")
    assert sorted(path.name for path in folder.glob("step-*")) == left
    assert f"{folder}: 2 files are not of this measurement and are left as they are" in capsys.readouterr().err
    assert (Pool.load(out).attempts == 2).all()
    assert go(3) == 0  # goes on from what was left
    assert (Pool.load(out).attempts == 3).all()
    assert not folder.exists()


def test_a_run_does_not_go_on_with_other_held_out_answers(run, tmp_path, capsys):
    """Those of the task's file; the pool that it trains on is another file, and stays."""
    task = tmp_path / "task.jsonl"

    def write(answer):
        rows = [{"prompt": f"rev {i}=", "answer": answer, "difficulty": 5.0 * i} for i in range(20)]
        task.write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("0")
    out = run(task=task, steps=2)
    about = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").unlink()
    write("1")
    capsys.readouterr()
    run("--resume", task=task, steps=2, code=2)
    assert "error: --resume: must continue the same heldout, but " in error_line(capsys)
    write("0")
    run("--resume", task=task, steps=2)
    assert json.loads((out / "manifest.json").read_text())["heldout"] == about["heldout"]
