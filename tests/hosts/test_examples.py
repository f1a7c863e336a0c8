"""examples/trl_smollm2.py on the real model, where its folder has been made. test_docs runs examples/trl_adarft.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from real_runs.rl import smollm2
from real_runs.tasks.named import make_task
from real_runs.tasks.prompting import Prompting

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder():
    if not smollm2.made(smollm2.default_folder()):
        pytest.skip("SmolLM2's folder has not been made here: python real_runs/smollm2.py")
    return smollm2.default_folder()


@pytest.mark.parametrize("more", [[], ["--lora", "2", "--bf16"]], ids=["all parameters", "adapters in bfloat16"])
def test_smollm2_is_trained_by_trl_on_the_items_of_its_own_pass_counts(folder, more):
    words = [sys.executable, str(ROOT / "examples" / "trl_smollm2.py"), "--steps", "2", "--batch", "1",
             "--rollouts", "4", *more]  # fmt: skip
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["step", "reward", "target", "difficulty", "completions"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert [row.split()[-1] for row in rows] == ["4", "8"]
    assert all(0 <= float(row.split()[1]) <= 1 for row in rows)


def test_a_line_break_as_end_mark_leaves_prompts_and_answers_as_they_are(folder):
    from transformers import AutoTokenizer

    task, tokenizer = make_task("arithmetic"), AutoTokenizer.from_pretrained(folder)
    prompting = Prompting(task.examples(4), chat=False, stop="\n")
    prompts, answers, _ = task.heldout(2)
    before = prompting.tokens(tokenizer, prompts)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(tokenizer("\n").input_ids)[0]
    assert tokenizer([prompting.plain(prompt) for prompt in prompts])["input_ids"] == before
    for answer in answers:
        ids = tokenizer(f"{answer}\n")["input_ids"]
        assert ids[-1] == tokenizer.eos_token_id
        assert task.score(tokenizer.decode(ids, skip_special_tokens=True), answer) == 1.0
