"""Slow and long tests, drawn examples, and random language models of a few thousand parameters, as folders."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# One thread for matrix products, here and in the commands that tests start: pytest's workers fill the processors, and
# threads that wait for each other on a busy processor take three times as long. Before NumPy or PyTorch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
TESTS = Path(__file__).parent


# A shell's background jobs ignore these, and so would every command of the tests, which are stopped by them.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def names_in(file):
    """Starts of names of tests that a file lists."""
    return [line for line in (TESTS / file).read_text().splitlines() if line and line[0] != "#"]


# `make check` leaves out the slow tests, `make test` the long ones. To find more: --durations=30.
LONG = names_in("long.txt")
SLOW = [*names_in("slow.txt"), *LONG]
LEFT_OUT = {"not slow": SLOW, "not long": LONG}
SLOW_FIXTURES = {"undisturbed", "tormented", "sweep", "tiny"}  # whole sweeps, and models that are trained
QUICK = {"nobody_paints"}  # with it a sweep only refuses bad input
FIRST = ("end_to_end", "sims", "real_runs", "study", "laws")  # folders with long files: no worker starts one last

# The same drawn examples on every machine; --hypothesis-profile=search draws new ones, to find what nobody thought of.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("same")


def pytest_ignore_collect(collection_path, config):
    """Files of tests that are all left out are not imported: torch and trainers take seconds."""
    left_out = LEFT_OUT.get(config.option.markexpr)
    if not left_out or not collection_path.is_relative_to(TESTS):
        return None
    return True if collection_path.relative_to(TESTS).as_posix() in left_out else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        name, fixtures = item.nodeid.removeprefix("tests/"), set(item.fixturenames)
        if name.startswith(tuple(SLOW)) or (fixtures & SLOW_FIXTURES and not fixtures & QUICK):
            item.add_marker("slow")
        if name.startswith(tuple(LONG)):
            item.add_marker("long")
        if name.startswith("real_runs/") or "tiny" in fixtures or "torch" in vars(item.module):
            item.add_marker("torch")
    folders = [item.path.parent.name for item in items]
    place = {folder: FIRST.index(folder) if folder in FIRST else len(FIRST) for folder in folders}
    items.sort(key=lambda item: place[item.path.parent.name])  # stable: files stay together


ARCHITECTURES = ("llama", "qwen2", "gpt_neox", "gpt2")
CONTEXT = 48


def make_checkpoint(folder, architecture="llama", prefers="", **overrides):
    """Save a model of width 16 with the character tokenizer. prefers: characters that it writes most of the time, and
    as often the end mark, whatever the prompt says: a skill that there is something to learn from."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    from real_runs.rl.models import character_tokenizer

    logging.disable_progress_bar()
    tokenizer = character_tokenizer()
    names = {"n_positions": CONTEXT, "n_embd": 16, "n_layer": 2, "n_head": 2}
    names |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    if architecture != "gpt2":
        names = {"max_position_embeddings": CONTEXT, "hidden_size": 16, "intermediate_size": 32}
        names |= {"num_hidden_layers": 1 if prefers else 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    names |= {"vocab_size": len(tokenizer), "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    names |= {"tie_word_embeddings": False, "initializer_range": 0.3} | overrides
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **names))
    if prefers:  # the first channel is 1 everywhere, and the head reads it
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(0.1)[:, 0] = 10.0
            model.get_output_embeddings().weight.mul_(0.1)
            for token in (1, *tokenizer(prefers)["input_ids"]):
                model.get_output_embeddings().weight[token, 0] = 2.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch on one thread: exact repetition, and tests side by side do not wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """tiny(architecture, **options): the folder of such a checkpoint."""
    made = {}

    def folder(architecture="llama", **options):
        key = (architecture, *sorted(options.items()))
        if key not in made:
            made[key] = make_checkpoint(tmp_path_factory.mktemp(architecture), architecture, **options)
        return made[key]

    return folder


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 64 KiB."""
    if os.geteuid():
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
