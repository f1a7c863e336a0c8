"""How a model is asked: templates, chats, examples, and runs and pass counts that depend on all of it."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from real_runs import measure, train
from real_runs.rl import models
from real_runs.runs.identity import DEPENDS, as_now
from real_runs.runs.run import ASKING, Run, command_line, escaped, read_template, unescaped
from real_runs.tasks.files import training_pool, with_texts, without_shots
from real_runs.tasks.measured import MEASURED
from real_runs.tasks.named import make_task
from real_runs.tasks.prompting import Prompting, turns_of
from real_runs.tasks.task import Generated, Problem, Task
from workbench.errors import InputError
from workbench.pool import Pool

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

SHOTS = (("1+1=", "2"), ("2+3=", "5"))
CHAT = "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}|{% endfor %}<assistant>"
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHAT
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
         {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "1+2="}]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return models.character_tokenizer()


@pytest.fixture(scope="module")
def chatty():
    made = models.character_tokenizer()
    made.chat_template = CHAT
    return made


def read(tokenizer, prompting, prompt="4+4="):
    """What the model reads, from the tokens that it is given."""
    (ids,) = prompting.tokens(tokenizer, [prompt])
    return tokenizer.decode(ids)


# ------------------------------------------------------------------------------------------------------ the text


def test_by_default_a_prompt_is_read_as_it_is_and_as_the_users_turn_of_a_chat(tokenizer, chatty):
    assert read(tokenizer, Prompting()) == "4+4="
    assert read(chatty, Prompting()) == "<user>4+4=|<assistant>"
    assert read(chatty, Prompting(chat=False)) == "4+4="


def test_examples_come_before_a_prompt(tokenizer, chatty):
    assert read(tokenizer, Prompting(SHOTS)) == "1+1=2\n2+3=5\n4+4="
    assert read(chatty, Prompting(SHOTS)) == "<user>1+1=|<assistant>2|<user>2+3=|<assistant>5|<user>4+4=|<assistant>"


def test_a_template_says_where_examples_go_and_otherwise_makes_each_of_them(tokenizer, chatty):
    placed = Prompting(SHOTS, "Sums:\n{shots}Now {prompt}")
    assert read(tokenizer, placed) == "Sums:\n1+1=2\n2+3=5\nNow 4+4="
    of_each = Prompting(SHOTS, "Q: {prompt} A:")
    assert read(tokenizer, of_each) == "Q: 1+1= A:2\nQ: 2+3= A:5\nQ: 4+4= A:"
    assert read(chatty, Prompting(SHOTS[:1], "Q: {prompt}")) == "<user>Q: 1+1=|<assistant>2|<user>Q: 4+4=|<assistant>"
    assert read(chatty, Prompting(SHOTS[:1], "{shots}{prompt}!")) == "<user>1+1=!|<assistant>2|<user>4+4=!|<assistant>"


def test_a_template_and_what_fills_it_are_data(tokenizer):
    template = "{x.__class__} {0} {{prompt}} {prompt!r} %s {shots}{prompt}"
    assert read(tokenizer, Prompting((), template), "{shots} {prompt}") == (
        "{x.__class__} {0} {{shots} {prompt}} {prompt!r} %s {shots} {prompt}"
    )


def test_a_system_text_comes_first(tokenizer, chatty):
    asked = Prompting(SHOTS[:1], system="Add.")
    assert read(tokenizer, asked) == "Add.\n\n1+1=2\n4+4="
    assert read(chatty, asked) == "<system>Add.|<user>1+1=|<assistant>2|<user>4+4=|<assistant>"


def test_a_prompt_may_be_a_chat_of_several_turns(tokenizer, chatty):
    prompt = json.dumps(TURNS)
    assert read(tokenizer, Prompting(), prompt) == "Be brief.\n\nHi\n\nYes?\n\n1+2="
    assert read(chatty, Prompting(), prompt) == "<system>Be brief.|<user>Hi|<assistant>Yes?|<user>1+2=|<assistant>"
    asked = Prompting(SHOTS[:1], "{prompt}!", "Other.")  # its own system's turn stays, and its last turn is the problem
    assert read(chatty, asked, prompt) == (
        "<system>Be brief.|<user>1+1=!|<assistant>2|<user>Hi|<assistant>Yes?|<user>1+2=!|<assistant>"
    )


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", "[1]", "[1, 2] + [3]", '[{"role": "user"}]', '{"role": "user"}', '[{"role": "user", "content": 3}]',
     '[{"role": "user", "content": "a"}, "b"]', "[" * 100_000],
)  # fmt: skip
def test_other_text_is_no_chat(text):
    assert turns_of(text) is None


def test_the_console_is_told_what_is_done(tokenizer, chatty):
    assert Prompting().said(tokenizer) == "prompts are plain text: the tokenizer has no chat template"
    assert Prompting(SHOTS, stop="\n").said(chatty) == (
        r"prompts are turns of a chat: the tokenizer has a template; 2 examples before each; a completion ends at '\n'"
    )
    assert Prompting(SHOTS[:1], chat=False).said(chatty) == "prompts are plain text: --plain; 1 example before each"
    assert Prompting(chat=True).said(chatty) == "prompts are turns of a chat: --chat"


def test_a_policy_reads_what_its_prompting_makes_within_its_context(tiny):
    policy = models.load(tiny("llama"), prompting=Prompting(SHOTS, stop="\n"))
    assert policy.tokenizer.decode(policy.encode(["4+4="], 4)[0]) == "1+1=2\n2+3=5\n4+4="
    assert policy.stop.text == "\n"
    with pytest.raises(InputError, match="prompt: must have at most 32 tokens, the model's context of 48"):
        models.load(tiny("llama"), prompting=Prompting(SHOTS * 4)).encode(["4+4="], 16)


# ------------------------------------------------------------------------------------------------------ bad input


def test_a_template_without_the_prompt_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^--template: must have \{prompt\} where the problem goes, got '\{shots\}'$"):
        Prompting(template="{shots}")
    with pytest.raises(InputError, match=r"^--template: must be text with \{prompt\}, or a file of such text, got 'x'"):
        read_template("x")
    (tmp_path / "template.txt").write_text("Q: {shots}\n")
    with pytest.raises(InputError, match=r"^--template: must be a file of text with \{prompt\}, got '.* without$"):
        read_template(str(tmp_path / "template.txt"))
    for letters, domain in ((10**6, "a file of text with {prompt}"), (10**6 + 1, "a file of <= 1e6 letters")):
        (tmp_path / "template.txt").write_text("ä" * letters)
        with pytest.raises(InputError, match=rf"^--template: must be {re.escape(domain)}, got "):
            read_template(str(tmp_path / "template.txt"))


def test_turns_that_a_chat_template_refuses_are_one_line(chatty):
    strict = models.character_tokenizer()
    strict.chat_template = STRICT
    assert read(strict, Prompting()) == "<user>4+4=|<assistant>"
    with pytest.raises(InputError) as refused:
        Prompting(system="Add.").tokens(strict, ["4+4="])
    assert str(refused.value) == (
        "prompt: must have turns that the chat template takes, got '4+4=' ('no system turn')"
    )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--template", "{shots}"], "--template: must be text with {prompt}, or a file of such text, got '{shots}'"),
        (["--chat", "--plain"], "--chat: must be given without --plain, got both"),
        (["--chat"], "--chat: must be with a tokenizer that has a chat template, got that of '"),
        (["--shots", "-1"], "--shots: must be a whole number in [0, 1000], got -1"),
        (["--shots", "many"], "--shots: must be a whole number in [0, 1000], got 'many'"),
        (["--answer", "last"], "--answer: must be last-line, last-number, boxed, tag:NAME or a regular expression, "),
        (["--dtype", "float16"], "--dtype: must be one of auto, float32, bfloat16, got 'float16'"),
        (["--scorer", "nowhere:score"], "scorer: must name a module that can be imported, got 'nowhere:score' ("),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", [train, measure], ids=["train", "measure"])
def test_bad_input_is_one_line_before_work_begins(command, more, expected, tiny, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    assert command.main(["--model", str(tiny("llama")), "--out", str(out), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {expected}")


# -------------------------------------------------------------------------------------------- the command line


def test_a_template_is_text_or_a_file_of_it(tmp_path):
    path = tmp_path / "template.txt"
    for line_break in ("\r\n", "\r", "\n"):
        path.write_text("Q: {prompt}\nA: \n", newline=line_break)
        assert read_template(str(path)) == "Q: {prompt}\nA: "
    assert read_template("Q: {prompt}") == "Q: {prompt}"
    run, _ = train.parse(["--template", str(path), "--stop", r"\n\\n", "--answer=-?\\d+"])
    assert (run.template, run.stop, run.answer) == ("Q: {prompt}\nA: ", "\n\\n", "-?\\d+")


@given(st.text())
def test_a_stop_text_survives_the_command_line(text):
    assert unescaped(escaped(text)) == text


@pytest.mark.parametrize(
    "run",
    [
        Run(shots=3, template="{prompt} -", system="-- be\nbrief", chat=True, stop="\n\\n\t", answer="-?\\d"),
        Run(plain=True, dtype="bfloat16", template="--{prompt}"),
    ],
)
def test_a_run_survives_its_command_line(run):
    assert train.parse(command_line(run))[0] == run


# ------------------------------------------------------------------------------------------------------ examples


@pytest.mark.parametrize("name", ["reverse", "sums", "skills", "reasoning-gym:chain_sum"])
def test_examples_are_of_levels_in_turn_and_never_held_out(name):
    task = make_task(name)
    shots = task.examples(4)
    assert task.examples(4) == shots
    assert task.examples(2) == shots[:2]
    assert len({prompt for prompt, _ in shots}) == 4
    for seed in range(3):
        assert not {prompt for prompt, _ in shots} & set(task.heldout(30, seed)[0])
    if name == "reverse":
        assert [len(answer) for _, answer in shots] == [1, 2, 3, 4]
        assert all(prompt == f"rev {answer[::-1]}=" for prompt, answer in shots)
    if name == "reasoning-gym:chain_sum":
        assert all(str(eval(prompt.split(": ")[-1].rstrip("= ?"))) == answer for prompt, answer in shots)


def test_examples_of_a_file_are_rows_of_its_training_side(tmp_path):
    rows = [{"prompt": f"half of {2 * i}", "answer": i, "difficulty": i} for i in range(40)] * 2
    path = tmp_path / "halves.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = make_task(str(path))
    shots = task.examples(5)
    assert len({prompt for prompt, _ in shots}) == 5
    assert all(prompt == f"half of {2 * int(answer)}" for prompt, answer in shots)
    assert not {prompt for prompt, _ in shots} & set(task.heldout(100)[0])
    path.write_text("\n".join(map(json.dumps, rows[::-1])))
    assert make_task(str(path)).examples(5) == shots  # whatever the order of the rows
    assert len(task.examples(36)) == 36
    with pytest.raises(InputError, match=rf"^--shots: must be <= 36, the examples of task {path}, got 37$"):
        task.examples(37)


def test_too_many_examples_are_refused_in_one_line():
    def stream(draw, level):
        while True:
            yield Problem(str(draw.integers(20)), "a", level, "c", "" if level == 2 else None)

    task = Task("few", 4, lambda completion, answer: 1.0, Generated("few", 1, stream))
    count = len(task.pool(100))
    with pytest.raises(InputError, match=rf"^--shots: must be <= {count}, the examples of task few, got 21$"):
        task.examples(21)
    with pytest.raises(InputError, match=r"^--shots: must be 0 for task few, whose answers cannot be shown, got 2$"):
        Task("few", 4, task.score, Generated("few", 2, stream)).examples(2)

    class Bare:
        training, reserved = task.source.training, task.source.reserved

    with pytest.raises(InputError, match=r"^--shots: must be 0 for task bare, whose source has no examples, got 1$"):
        Task("bare", 4, task.score, Bare()).examples(1)
    assert Task("bare", 4, task.score, Bare()).examples(0) == ()


def test_what_prompts_show_is_left_out_of_the_pool_and_counted():
    task, said = make_task("reverse"), []
    shots = task.examples(3)
    prompts = [f" {shots[1][0]}\n", "rev free=", task.heldout(2)[0][0]]
    pool = Pool([10.0, 20.0, 30.0], payload={"prompt": prompts, "answer": ["a", "eerf", "b"]})
    assert training_pool(pool, task, 2, said.append, shots).payload["prompt"] == ["rev free="]
    assert said == ["pool 'pool': 1 of 3 problems are held out for evaluation and are left out",
                    "pool 'pool': 1 of 2 problems are shown as examples (--shots) and are left out"]  # fmt: skip
    with pytest.raises(InputError, match=r"^pool 'pool': must have problems that no prompt shows as an example"):
        without_shots(pool[:1], shots, said.append)


# ------------------------------------------------------------------------------------------------- chats in files


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_rows_whose_prompt_is_a_chat_come_to_one_text(suffix, tmp_path):
    lone = [{"role": "user", "content": "a"}]
    prompts = [lone, TURNS, [{**turn, "name": "x"} for turn in TURNS[2:]]]
    path = Pool([1.0, 2.0, 3.0], payload={"prompt": prompts, "answer": ["1", "2", "3"]}).save(tmp_path / f"p.{suffix}")
    found = with_texts(Pool.load(path), "here").payload["prompt"]
    assert found[0] == "a"
    assert [turns_of(text) for text in found] == [None, TURNS, TURNS[2:]]
    again = with_texts(Pool([1.0, 2.0, 3.0], payload={"prompt": found, "answer": ["1", "2", "3"]}), "here")
    assert list(again.payload["prompt"]) == list(found)


def test_messages_that_end_with_the_solution_are_no_prompt():
    asked = {"role": "user", "content": "2 + 2"}
    solved = [asked, {"role": "assistant", "content": "4"}]
    with_texts(Pool([1.0], payload={"prompt": [[*solved, asked]], "answer": ["4"]}), "here")
    refused = (
        "here: must have prompts that end before the answer, got an assistant's turn at the end of 1 of 2 rows, the "
        "first is row 1; prompt=COLUMN takes another column"
    )
    with pytest.raises(InputError, match=f"^{re.escape(refused)}$"):
        with_texts(Pool([1.0, 2.0], payload={"prompt": ["1", solved], "answer": ["1", "4"]}), "here")


@pytest.mark.parametrize("column", ["prompt", "answer"])
def test_text_that_no_tokenizer_reads_is_refused(column):
    payload = {"prompt": ["a", "b"], "answer": ["1", "2"]}
    payload[column] = ["a", "x\ud800"]
    with pytest.raises(InputError, match=rf"^here, column '{column}', row 1: must be text that UTF-8 can hold, got "):
        with_texts(Pool([1.0, 2.0], payload=payload), "here")


@pytest.mark.parametrize(
    "prompt",
    [[{"role": "user", "content": " "}] * 2, [TURNS[0], {"role": "user"}], [TURNS[0], "b"]],
)
def test_a_chat_without_text_is_refused_in_one_line(prompt):
    pool = Pool([1.0, 2.0], payload={"prompt": ["a", prompt], "answer": ["1", "2"]})
    with pytest.raises(InputError, match=r"^here: must have text in column 'prompt' of every row, got none in 1 "):
        with_texts(pool, "here")


# --------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def roomy(tiny):
    return tiny("llama", prefers="01", max_position_embeddings=256)


@pytest.fixture(scope="module")
def with_chat(roomy, tmp_path_factory):
    """The same checkpoint with a chat template."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(roomy, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def run(roomy, tmp_path, capsys):
    def go(*more, code=0, **changes):
        settings = {
            "task": "reverse", "model": roomy, "heldout": 2, "batch": 4, "rollouts": 4, "steps": 2, "limit": 4,
            "eval_every": 2, "save_every": 1, "threads": 1, "out": tmp_path / "out",
        } | changes  # fmt: skip
        arguments = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        arguments += ["--anyway", *map(str, more)]  # the tiny model solves next to nothing of the task
        assert train.main(arguments) == code, capsys.readouterr().err
        return capsys.readouterr().err

    return go


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


ASKED = ("--shots", 3, "--stop", "1", "--template", "Reverse.\n{shots}{prompt}", "--answer", r"(\d+)$")


def test_a_run_is_asked_as_its_options_say_and_says_so(run, tmp_path):
    said = run(*ASKED)
    assert "prompts are plain text: the tokenizer has no chat template; 3 examples before each; a comp" in said
    about = manifest(tmp_path / "out")
    shots = make_task("reverse").examples(3)
    assert about["prompting"] == {
        "shots": [list(shot) for shot in shots], "template": "Reverse.\n{shots}{prompt}", "system": "", "chat": None,
        "stop": "1",
    }  # fmt: skip
    assert (about["run"]["shots"], about["run"]["stop"], about["run"]["answer"]) == (3, "1", r"(\d+)$")
    measured = Pool.load(MEASURED / "reverse.parquet")
    shown = sum(prompt in dict(shots) for prompt in measured.payload["prompt"])
    assert shown >= 1
    assert f"{shown} of {len(measured)} problems are shown as examples (--shots) and are left out" in said
    assert about["pool"]["items"] == len(measured) - shown


def test_a_run_in_turns_of_a_chat_is_another_run_than_one_in_plain_text(run, with_chat, tmp_path):
    assert "prompts are turns of a chat: the tokenizer has a template" in run(model=with_chat, out=tmp_path / "auto")
    assert "prompts are turns of a chat: --chat" in run("--chat", model=with_chat, out=tmp_path / "chat")
    assert "prompts are plain text: --plain" in run("--plain", model=with_chat, out=tmp_path / "plain")
    run(out=tmp_path / "without")
    ends = [pd.read_parquet(tmp_path / name / "rollouts.parquet") for name in ("auto", "chat", "plain", "without")]
    pd.testing.assert_frame_equal(ends[0], ends[1])
    pd.testing.assert_frame_equal(ends[2], ends[3])
    steps = [pd.read_csv(tmp_path / name / "steps.csv")["entropy"].tolist() for name in ("auto", "plain")]
    assert steps[0] != steps[1]


@pytest.mark.parametrize(
    ("changes", "named"),
    [(("--shots", 2), "shots 3, not 2"), (("--stop", "0"), "stop '1', not '0'"), (("--plain",), "plain False, not "),
     (("--template", "{prompt}"), "template"), (("--system", "x"), "system '', not 'x'"),
     (("--answer", r"\d+"), "answer"), (("--dtype", "float32"), "dtype 'auto', not 'float32'")],
)  # fmt: skip
def test_a_run_that_is_asked_otherwise_is_not_continued(run, changes, named):
    run(*ASKED, steps=1)
    err = run(*ASKED, *changes, "--resume", steps=1, code=2)
    line = err.splitlines()[-1]
    assert line.startswith("error: --resume: must continue the same run, but ")
    assert named in line
    assert "this run is complete" in run(*ASKED, "--resume", steps=1)


def test_a_file_that_shows_other_examples_is_another_run(run, tmp_path):
    path = tmp_path / "task.jsonl"
    rows = [{"prompt": f"say {i}=", "answer": str(i), "difficulty": i} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)))
    payload = {"prompt": list("abcdefgh"), "answer": ["0"] * 8}
    pool = Pool(np.linspace(0, 100, 8), payload=payload).save(tmp_path / "p.csv")
    run("--shots", 2, task=path, pool=pool)
    path.write_text("\n".join(json.dumps(row | {"answer": "7"}) for row in rows))
    line = run("--shots", 2, "--resume", task=path, pool=pool, code=2).splitlines()[-1]
    assert line.startswith("error: --resume: must continue the same prompting, but ")


def test_notes_of_a_time_without_these_options_are_of_the_same_run(run, tmp_path):
    run()
    now = manifest(tmp_path / "out")
    older = {name: value for name, value in now.items() if name != "prompting"}
    older["run"] = {name: value for name, value in now["run"].items() if name not in ASKING}
    assert all(as_now(older, name) == now[name] for name in DEPENDS)
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(older))
    assert "this run is complete" in run("--resume")


# -------------------------------------------------------------------------------------------------- pass counts


@pytest.fixture
def counted(roomy, tmp_path, capsys):
    def go(*more, out="measured.parquet", **changes):
        settings = {"task": "reverse", "model": roomy, "size": 24, "attempts": 4, "limit": 3} | changes
        arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        assert measure.main([*arguments, *map(str, more), "--out", str(tmp_path / out)]) == 0
        return tmp_path / out, capsys.readouterr().err

    return go


def test_pass_counts_are_of_the_prompts_that_a_run_asks_and_hold_none_that_it_shows(counted, run, tmp_path):
    asked = ("--shots", 4, "--stop", "0", "--answer", r"\d+")
    path, said = counted(*asked, size=80)
    assert "4 examples before each; a completion ends at '0'" in said
    shots = dict(make_task("reverse").examples(4))
    pool = Pool.load(path)
    assert not set(shots) & set(pool.payload["prompt"])
    assert len(pool) < 80
    assert "are shown as examples (--shots) and are left out" in said
    err = run(*asked, pool=path)
    assert "are shown as examples" not in err
    assert manifest(tmp_path / "out")["pool"]["items"] == len(pool)
    with_stop = np.array(["0" in answer for answer in pool.payload["answer"]])
    assert pool.successes[with_stop].sum() == 0  # a completion ends before it


def test_pass_counts_asked_otherwise_are_not_those(counted, tmp_path):
    payload = {"prompt": [f"say {i}=" for i in range(24)], "answer": ["0", "1"] * 12}
    pool = Pool(np.linspace(0, 100, 24), payload=payload).save(tmp_path / "say.jsonl")
    plain = Pool.load(counted(out="a.parquet", pool=pool, attempts=32)[0])
    again = Pool.load(counted(out="b.parquet", pool=pool, attempts=32)[0])
    asked = Pool.load(counted("--template", "{prompt}\n\n", out="c.parquet", pool=pool, attempts=32)[0])
    assert plain.successes.sum() > 0
    assert np.array_equal(plain.successes, again.successes)
    assert not np.array_equal(plain.successes, asked.successes)
