"""Pools on their way into real runs: cut, measured, from files of prompts; never with a held-out problem."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from real_runs import measure, train
from real_runs.tasks.files import training_pool, with_texts
from real_runs.tasks.measured import MEASURED, SHAPES, cut
from real_runs.tasks.measured import main as cut_all
from real_runs.tasks.named import make_task
from workbench.errors import InputError
from workbench.pool.columns import COLUMNS

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

ITEMS = 30


@pytest.fixture(scope="module")
def full():
    """A pool with every column there is, and chats of one message for prompts, as the released rows have them."""
    counts = np.arange(ITEMS) % 9
    return wb.Pool(
        100 * (1 - counts / 8), ids=[f"q{i}" for i in range(ITEMS)], category=["a", "b", "c"] * 10,
        level=np.arange(ITEMS) % 4, successes=counts, attempts=np.full(ITEMS, 8),
        features=np.random.default_rng(0).standard_normal((ITEMS, 3)), weak_rate=counts / 10,
        strong_rate=(counts + 1) / 10, name="full",
        payload={
            "prompt": [[{"role": "user", "content": f"add {i}="}] for i in range(ITEMS)],
            "answer": [str(i % 2) for i in range(ITEMS)],
            "source": [{"book": i} for i in range(ITEMS)],
        },
    )  # fmt: skip


def same_rows(some, whole):
    """The rows of `some`, joined by ids, are rows of `whole` in every column."""
    at = [whole.ids.tolist().index(name) for name in some.ids]
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[at], err_msg=name)
    assert some.payload["source"] == [whole.payload["source"][row] for row in at]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_synthetic_pool_can_be_cut_to_every_shape(shape):
    pool = wb.Pool.synthetic("uniform", size=3000)
    part = cut(pool, shape)
    assert part.name == shape
    assert part.features.shape == (len(part), 8)
    for rule in (wb.PCL(), wb.DOTS(), wb.BOTS()):
        wb.train(wb.Controller(rule, part), wb.SimLearner(wb.ScalarIRT(), part), steps=2, batch=8)


def test_a_cut_pool_joins_back_to_the_pool_it_came_from():
    pool = wb.Pool.synthetic("uniform", size=3000)
    payload = {"source": [{"book": i} for i in range(3000)]}
    whole = wb.Pool(
        **{name: getattr(pool, name) for name in COLUMNS if name not in ("ids", "category")},
        ids=np.arange(3000) + 7, category=["x", "y"] * 1500, payload=payload,
    )  # fmt: skip
    same_rows(cut(whole, "skew-easy", size=200), whole)


def test_the_shipped_pools_are_cut_as_a_command(tmp_path, capsys):
    assert cut_all(["--task", "skills", "--out", str(tmp_path)]) == 0
    whole = wb.Pool.load(MEASURED / "skills.parquet")
    for shape in SHAPES:
        part = wb.Pool.load(tmp_path / f"skills-{shape}.parquet")
        assert part.digest == cut(whole, shape).digest
        assert set(part.payload["prompt"]) <= set(whole.payload["prompt"])
        assert f"skills-{shape}.parquet: {len(part)} problems" in capsys.readouterr().out or shape != SHAPES[0]


def test_measuring_a_pool_keeps_what_it_had(full, tiny, tmp_path):
    path, out = full.save(tmp_path / "full.parquet"), tmp_path / "measured.parquet"
    options = {"pool": path, "model": tiny("llama", prefers="01"), "attempts": 3, "chunk": 8, "limit": 3, "out": out}
    assert measure.main([text for name, value in options.items() for text in (f"--{name}", str(value))]) == 0
    measured = wb.Pool.load(out)
    assert (measured.attempts == 3).all()
    assert measured.payload["prompt"] == [f"add {i}=" for i in range(ITEMS)]
    counted = dict.fromkeys(("difficulty", "successes", "attempts"))
    again = wb.Pool(**{name: getattr(measured if name in counted else full, name) for name in COLUMNS})
    assert again.digest == measured.digest
    assert measured.ids.tolist() == full.ids.tolist()
    assert measured.payload["source"] == full.payload["source"]
    np.testing.assert_allclose(measured.difficulty, 100 * (1 - measured.successes / 3))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_a_file_of_prompts_is_a_task_with_all_columns_of_its_file(full, tmp_path, suffix):
    task = make_task(str(full.save(tmp_path / f"full.{suffix}")))
    pool = task.pool(10**6)
    assert len(pool) == ITEMS - 3
    same_rows(pool, full)
    assert all(prompt.startswith("add ") for prompt in pool.payload["prompt"])
    for rule in (wb.PCL(), wb.DOTS(), wb.BOTS()):
        controller = wb.Controller(rule, pool)
        items = controller.next_batch(8)
        controller.observe(items, np.ones((8, 4)))
        assert len(controller.next_batch(8)) == 8


# ------------------------------------------------------------------------------------------ the training pool


@pytest.fixture
def run(tiny, tmp_path, capsys):
    def go(code=0, **changes):
        settings = {
            "model": tiny("llama", prefers="01"), "heldout": 2, "batch": 4, "rollouts": 4, "steps": 2, "limit": 4,
            "threads": 1, "out": tmp_path / "out",
        } | changes  # fmt: skip
        arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        assert train.main(arguments) == code
        return capsys.readouterr().err

    return go


@pytest.mark.parametrize("controller", ["adarft", "pcl", "dots", "bots"])
@pytest.mark.parametrize("way", ["task", "pool"])
def test_rows_as_released_with_chats_for_prompts_train(full, run, tmp_path, controller, way):
    path = full.save(tmp_path / "full.parquet")
    run(task=path, controller=controller, **({} if way == "task" else {"pool": path}))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["pool"]["items"] == ITEMS - (3 if way == "task" else len(make_task(str(path)).heldout(2)[0]))


def test_the_layout_of_the_released_rows_trains_as_a_pool(run, tmp_path):
    rows = [
        {
            "data_source": "deepscaler", "prompt": [{"role": "user", "content": f"add {i}="}], "ability": "math",
            "reward_model": {"ground_truth": str(i), "style": "rule"}, "extra_info": {"difficulty": i, "index": i},
        }
        for i in range(20)
    ]  # fmt: skip
    for suffix in ("jsonl", "parquet"):
        path = tmp_path / f"rows.{suffix}"
        if suffix == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pd.DataFrame(rows).to_parquet(path)
        run(task="reverse", pool=path, out=tmp_path / suffix)
        assert json.loads((tmp_path / suffix / "manifest.json").read_text())["pool"]["items"] == 20


def test_problems_held_out_are_left_out_of_every_pool_and_counted(full, run, tmp_path):
    path = full.save(tmp_path / "full.parquet")
    held_out = make_task(str(path)).heldout(2)[0]
    err = run(task=path, pool=path, steps=6)
    assert f"pool 'full': {len(held_out)} of 30 problems are held out for evaluation and are left out" in err
    prompts = [f"add {i}=" for i in range(ITEMS)]
    left = [prompt for prompt in prompts if prompt not in held_out]
    trained = pd.read_parquet(tmp_path / "out" / "rollouts.parquet")["item"]
    assert not {left[item] for item in trained} & set(held_out)


def test_a_pool_of_held_out_problems_only_is_refused_in_one_line(run, tmp_path):
    prompts, answers, _ = make_task("reverse").heldout(4)
    pool = wb.Pool([50.0] * len(prompts), payload={"prompt": prompts, "answer": answers})
    err = run(code=2, task="reverse", heldout=4, pool=pool.save(tmp_path / "held.jsonl"))
    got = f"got {len(prompts)} of {len(prompts)} held out"
    assert err == f"error: pool 'held': must have problems that task reverse does not hold out, {got}\n"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"prompt": [[{"role": "user", "content": " "}], "b"], "answer": ["1", "2"]}, "column 'prompt' of every row"),
        ({"prompt": ["a", "b"], "answer": ["1", None]}, "column 'answer' of every row"),
        ({"prompt": ["a", "b"]}, "a column 'answer' in its 2 rows"),
        (None, "a column 'prompt' in its 2 rows"),
    ],
)
def test_a_pool_without_texts_is_refused_in_one_line(run, tmp_path, payload, message):
    path = wb.Pool([10.0, 20.0], payload=payload).save(tmp_path / "gaps.parquet")
    err = run(code=2, task="reverse", pool=path)
    assert err.startswith("error: pool 'gaps': must have ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("task", ["reverse", "skills"])
def test_the_shipped_pools_hold_no_held_out_problem(task):
    pool, said = wb.Pool.load(MEASURED / f"{task}.parquet"), []
    assert training_pool(pool, make_task(task), 50, said.append).payload == pool.payload
    assert not said


def test_whitespace_and_chats_do_not_hide_a_held_out_problem():
    task = make_task("reverse")
    prompts, answers, _ = task.heldout(2)
    hidden = [f" {prompts[0]}\n", [{"role": "user", "content": prompts[1]}], "rev free="]
    pool, said = wb.Pool([10.0, 20.0, 30.0], payload={"prompt": hidden, "answer": [*answers[:2], "eerf"]}), []
    assert training_pool(pool, task, 2, said.append).payload["prompt"] == ["rev free="]
    assert said == ["pool 'pool': 2 of 3 problems are held out for evaluation and are left out"]
    with pytest.raises(InputError, match="2 of 2 held out"):
        training_pool(pool[:2], task, 2)


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_numbers_of_json_are_answers_as_they_stand_there(tmp_path, suffix):
    """Python writes 0.00001 as 1e-05, and keeps 16 digits of pi."""
    texts = ["0.00001", "1e400", "1.50", "3.14159265358979323846", "0.5", "9007199254740993", "3.0"]
    path = tmp_path / f"numbers.{suffix}"
    rows = [f'{{"prompt": "p{row}", "answer": {text}, "difficulty": {row + 1}9.50}}' for row, text in enumerate(texts)]
    path.write_text("\n".join(rows) if suffix == "jsonl" else f"[{', '.join(rows)}]")
    pool = with_texts(wb.Pool.load(path), "pool")
    assert pool.payload["answer"] == [*texts[:-1], "3"]
    assert pool.difficulty.tolist() == [row * 10 + 19.5 for row in range(7)]
    assert pickle.loads(pickle.dumps(wb.Pool.load(path))).payload == wb.Pool.load(path).payload
