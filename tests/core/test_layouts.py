"""Pools from tables as people have them: known layouts, mappings, and labels that are not taken on trust."""

import json
from contextlib import nullcontext
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.pool.layouts import name_of, split_mapping, split_sources

P = [f"What is {i} + {i}?" for i in range(12)]
A = [str(2 * i) for i in range(12)]
RATE = [i / 16 for i in range(12)]
CHAT = [[{"role": "user", "content": prompt}] for prompt in P]
SYSTEM = [[{"role": "system", "content": "Be brief."}, *chat] for chat in CHAT]
TRUTH = [{"ground_truth": answer, "style": "rule"} for answer in A]
EXPECTED = 100 * (1 - np.array(RATE))

# the columns of known data sets with our own content, their prompts, and the difficulty that they mean
LAYOUTS = {
    "adarft rows": ({"prompt": CHAT, "reward_model": TRUTH, "extra_info": [{"difficulty": d, "index": i} for i, d in
                     enumerate(EXPECTED)], "data_source": ["own"] * 12}, CHAT, "extra_info.difficulty"),
    "adarft table": ({"problem": P, "ground_truth": A, "solved_percentage": [100 * r for r in RATE]}, P,
                     "solved_percentage from 100 to 0"),
    "verl, flat": ({"prompt": P, "reward_model.ground_truth": A, "extra_info.difficulty": list(EXPECTED)}, P,
                   "extra_info.difficulty"),
    "verl, system": ({"prompt": SYSTEM, "reward_model": TRUTH, "extra_info": [{"difficulty": d} for d in EXPECTED]},
                     SYSTEM, "extra_info.difficulty"),
    "big-math": ({"problem": P, "answer": A, "source": ["own"] * 12, "domain": [["Algebra"]] * 12,
                  "llama8b_solve_rate": RATE}, P, "100 (1 - llama8b_solve_rate)"),
    "polaris": ({"problem": P, "answer": A, "difficulty": [f"{i}/16" for i in range(12)]}, P, "100 (1 - difficulty)"),
    "skywork": ({"prompt": CHAT, "reward_model": TRUTH, "extra_info": [
        {"model_difficulty": {"DeepSeek-R1-Distill-Qwen-1.5B": 16 - i}} for i in range(12)]}, CHAT,
        "100 extra_info.model_difficulty.DeepSeek-R1-Distill-Qwen-1.5B / 16"),
    "messages": ({"messages": CHAT, "ground_truth": A, "dataset": ["own"] * 12, "pass_rate": RATE}, CHAT,
                 "100 (1 - pass_rate)"),
    "counts": ({"prompt": P, "answer": A, "successes": list(range(12)), "attempts": [16] * 12}, P,
               "100 (1 - successes / attempts)"),
}  # fmt: skip
NONE = {
    "dapo": {"prompt": CHAT, "reward_model": TRUTH, "data_source": ["own"] * 12, "ability": ["MATH"] * 12},
    "gsm8k": {"question": P, "answer": [f"So.\n#### {a}" for a in A]},
    "prompts": {"prompt": P, "answer": A},
}


def refused(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(folder, columns, kind="jsonl"):
    path = folder / f"rows.{kind}"
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_known_layouts_are_taken_as_they_are(tmp_path, name, kind):
    columns, prompts, told = LAYOUTS[name]
    if kind == "csv" and any(isinstance(value, list | dict) for values in columns.values() for value in values):
        pytest.skip("a .csv file has no nested rows")
    pool = wb.Pool.load(saved(tmp_path, columns, kind))
    assert pool.difficulty == pytest.approx(EXPECTED)
    assert pool.payload["prompt"] == prompts
    assert [str(answer) for answer in pool.payload["answer"]] == A
    assert f"difficulty = {told}" in pool.understood
    assert pool.understood.startswith("pool 'rows': 12 rows; ")
    assert "\n" not in pool.understood
    if name in ("polaris", "skywork", "counts"):
        assert pool.successes.tolist() == list(range(12))
        assert set(pool.attempts.tolist()) == {16}


def test_decimals_of_more_digits_than_a_float_has_keep_them(tmp_path):
    digits = ["12345678901234567890.55", "0.10", "-3.00"]
    difficulty = ["33.333333333333333333", "0.000000000000000001", "100"]
    columns = {"prompt": P[:3], "answer": list(map(Decimal, digits)), "difficulty": list(map(Decimal, difficulty))}
    pool = wb.Pool.load(saved(tmp_path, columns, "parquet"))
    assert pool.payload["answer"] == digits
    assert pool.difficulty.tolist() == [100 / 3, 1e-18, 100.0]
    short = wb.Pool.load(saved(tmp_path, {"answer": list(map(Decimal, ["1.10", "2.00"]))}, "parquet"))
    assert short.payload["answer"] == [1.1, 2.0]


@pytest.mark.parametrize("role", ["difficulty", "pass_rate", "successes", "ids", "category", "level"])
def test_a_column_of_lists_is_no_column_of_values(tmp_path, role):
    columns = {"prompt": P[:2], "attempts": [8, 8], role: [[1.0, 2.0], [3.0, 4.0]]}
    with pytest.raises(InputError, match=rf"{role}: must be .*, got ") as error:
        wb.Pool.load(saved(tmp_path, columns, "parquet"))
    assert "\n" not in str(error.value)


def test_names_of_columns_are_cut_where_they_are_long_or_many():
    odd = {"x" * 10_000: [1.0], **{f"c{k}": [1.0] for k in range(500)}}
    with pytest.raises(InputError, match=r"the columns are x{77}\.\.\., c0, .*, c28 and 471 more$"):
        wb.Pool.from_frame(pd.DataFrame(odd))
    assert len(wb.Pool.from_frame(pd.DataFrame({"difficulty": [1.0], **odd})).understood) < 300


def test_what_was_not_used_is_said(tmp_path):
    pool = wb.Pool.load(saved(tmp_path, LAYOUTS["big-math"][0] | {"problem": [*P[:10], P[0], P[0]]}))
    assert pool.understood == (
        "pool 'rows': 12 rows; prompt = problem, answer = answer, difficulty = 100 (1 - llama8b_solve_rate); "
        "not used: source, domain; 2 prompts repeated"
    )


def test_columns_that_some_files_of_a_folder_lack_are_said(tmp_path):
    files = {"a": [{"prompt": "p", "answer": "1", "difficulty": 50}], "b": [{"prompt": "q", "split": "x"}] * 2}
    for name, rows in (files | {"c": [{"prompt": "r", "answer": "3"}]}).items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = wb.Pool.load(tmp_path)
    assert pool.payload == {"prompt": ["p", "q", "q", "r"], "answer": ["1", None, None, "3"]}
    assert np.array_equal(pool.difficulty, [50, np.nan, np.nan, np.nan], equal_nan=True)
    assert pool.understood == (
        f"pool '{tmp_path.name}': 4 rows; prompt = prompt, answer = answer, difficulty = difficulty; not used: split; "
        "no answer in 'b.jsonl', 2 rows, no difficulty in 'b.jsonl', 'c.jsonl', 3 rows, no split in 'a.jsonl', "
        "'c.jsonl', 2 rows; 3 without difficulty; 1 prompts repeated"
    )


# ------------------------------------------------------------------------------------------ items without difficulty


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", NONE)
def test_items_without_difficulty_serve_rules_that_read_none(tmp_path, name, kind):
    pool = wb.Pool.load(saved(tmp_path, NONE[name], kind))
    assert not pool.labelled
    assert np.isnan(pool.difficulty).all()
    assert pool.understood.endswith("; no difficulty")
    assert repr(pool) == "Pool('rows', 12 items, no difficulty)"
    for rule in (wb.Uniform(), wb.MoPPS(), wb.PLR(), wb.GRESO()):
        controller = wb.Controller(rule, pool, seed=1)
        for _ in range(3):
            items = controller.next_batch(4)
            controller.observe(items, np.eye(4, 8, dtype=np.float32))
        assert np.isnan(controller.metrics()["batch_difficulty_mean"])
        again = wb.Controller(rule, pool, seed=1)
        again.load_state_dict(controller.state_dict())
        assert np.array_equal(again.next_batch(4), controller.next_batch(4))


@pytest.mark.parametrize("rule", [wb.AdaRFT(), wb.OfflineFilter(), wb.ALPGMM()], ids=lambda r: type(r).__name__)
def test_rules_that_read_labels_ask_for_them(rule):
    pool = wb.Pool([10.0, np.nan, 30.0, np.nan])
    assert refused(lambda: wb.Controller(rule, pool)) == (
        f"pool: must have a difficulty for every item for {type(rule).__name__}, got none for 2 of 4 in 'pool', the "
        "first is item 1"
    )


def test_simulated_learners_and_arms_by_difficulty_ask_for_labels():
    pool = wb.Pool(payload={"prompt": P, "answer": A})
    assert "for a simulated learner, got none for 12 of 12" in refused(lambda: wb.SimLearner(wb.ScalarIRT(), pool))
    assert "for arms by difficulty" in refused(lambda: pool.arms())


def test_a_few_gaps_are_kept_counted_and_can_be_dropped(tmp_path):
    rates = [None if i % 5 == 0 else r for i, r in enumerate(RATE)]
    pool = wb.Pool.load(saved(tmp_path, {"problem": P, "answer": A, "llama8b_solve_rate": rates}))
    assert np.isnan(pool.difficulty).tolist() == [i % 5 == 0 for i in range(12)]
    assert pool.understood.endswith("; 3 without difficulty")
    rest = pool[~np.isnan(pool.difficulty)]
    assert rest.labelled
    wb.Controller(wb.AdaRFT(), rest).next_batch(4)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_a_pool_with_gaps_is_saved_and_loaded(tmp_path, kind):
    pool = wb.Pool([50.0, np.nan, 30.0], payload={"prompt": ["a", "b", "c"]})
    again = wb.Pool.load(pool.save(tmp_path / f"p.{kind}"))
    assert np.array_equal(again.difficulty, pool.difficulty, equal_nan=True)
    assert again.digest == pool.digest
    assert again.payload == pool.payload


def test_a_pool_needs_some_column():
    assert refused(wb.Pool) == (
        "difficulty: must be one number in [0, 100] per item, or another column be given, got none"
    )
    assert refused(lambda: wb.Pool(payload={"prompt": []})).startswith("payload.prompt: must have a row for each")
    uneven = {"prompt": ["a"], "answer": ["1", "2"]}
    assert refused(lambda: wb.Pool(payload=uneven)).startswith("payload.answer: must have 1 rows")


# ------------------------------------------------------------------------------------------------------------ mappings


def test_a_mapping_names_columns_in_python_and_behind_the_file(tmp_path):
    columns = {"text": P, "gold": A, "solved": RATE, "prompt": ["other"] * 12, "topic": ["a"] * 12}
    path = saved(tmp_path, columns)
    mapping = {"prompt": "text", "answer": "gold", "pass_rate": "solved", "category": "topic"}
    for pool in (
        wb.Pool.load(path, mapping),
        wb.Pool.load(f"{path}:prompt=text,answer=gold,pass_rate=solved,category=topic"),
        wb.Pool.load(f"{path}:prompt=text,answer=gold,category=topic", {"pass_rate": "solved"}),
        wb.Pool.from_frame(pd.DataFrame(columns), "rows", mapping),
    ):
        assert pool.name == "rows"
        assert pool.payload["prompt"] == P
        assert pool.payload["answer"] == A
        assert pool.difficulty == pytest.approx(EXPECTED)
        assert set(pool.category) == {"a"}


def test_counts_may_come_from_columns_or_a_number(tmp_path):
    failed = [16 - i for i in range(12)]
    path = saved(tmp_path, {"prompt": P, "passed": list(range(12)), "n": [16] * 12, "failed": failed})
    for mapping in ("successes=passed,attempts=n", "successes=passed,attempts=16", "failures=failed,attempts=16",
                    "failures=failed,attempts=n", "failures=failed"):
        pool = wb.Pool.load(f"{path}:{mapping}")
        assert pool.successes.tolist() == list(range(12)), mapping
        assert pool.difficulty == pytest.approx(EXPECTED)


def test_a_scale_turns_ratings_into_difficulty(tmp_path):
    path = saved(tmp_path, {"question": P, "difficulty": [1.0 + i % 8 for i in range(12)]})
    expected = 100 * (np.arange(12) % 8) / 9
    assert wb.Pool.load(f"{path}:scale=1:10").difficulty == pytest.approx(expected)
    assert wb.Pool.load(f"{path}:scale=10:1").difficulty == pytest.approx(100 - expected)


def test_columns_inside_nested_rows_are_named_with_dots(tmp_path):
    models = [{"model_difficulty": {"Qwen-7B": i, "Llama-3.1": 16 - i}, "split": "x"} for i in range(12)]
    path = saved(tmp_path, {"prompt": P, "extra_info": models})
    line = refused(lambda: wb.Pool.load(path))
    assert "extra_info.model_difficulty.Qwen-7B, extra_info.model_difficulty.Llama-3.1" in line
    assert line.endswith("failures=extra_info.model_difficulty.Qwen-7B chooses the first")
    pool = wb.Pool.load(f"{path}:failures=extra_info.model_difficulty.Llama-3.1,category=extra_info.split")
    assert pool.difficulty == pytest.approx(EXPECTED)
    assert set(pool.category) == {"x"}


WRONG = {
    "prompt=nope": "columns: must name columns that are there for prompt, got 'nope'; the columns are prompt, rate",
    "prompt=prompt,prompt=rate": "columns: must be ROLE=COLUMN, each role once, got 'prompt=rate'",
    "scale=5": "columns: must be scale=EASIEST:HARDEST, two different numbers, got '5'",
    "scale=1:1": "columns: must be scale=EASIEST:HARDEST, two different numbers, got '1:1'",
    "difficulty=rate,pass_rate=rate": "columns: must map one of difficulty, pass_rate, failures, got difficulty and",
    "difficulty=prompt": "prompt: must be a number in every row, got 'What is 0 + 0?' at row 0",
    "pass_rate=rate,scale=1:5": "columns: must have a column of difficulty for scale, got rate",
    "difficulty=rate,scale=0:0.5": "rate: must be numbers in [0, 0.5], got 0.5625 at row 9 (3 of 12 rows are out)",
    f"failures=rate,attempts={'9' * 5000}": "columns: must name columns that are there for attempts, got '999",
    "failures=rate,attempts=0": "rate: must be failures in [0, 0], got 0.0625 at row 1",
    "prompt": "",
}


@pytest.mark.parametrize("mapping", [mapping for mapping, line in WRONG.items() if line])
def test_wrong_mappings_are_refused(tmp_path, mapping):
    path = saved(tmp_path, {"prompt": P, "rate": RATE})
    assert WRONG[mapping] in refused(lambda: wb.Pool.load(f"{path}:{mapping}"))


@pytest.mark.parametrize("mapping", [5, "prompt=a", {"nope": "a"}, {"prompt": 5}, {5: "prompt"}])
def test_mappings_that_are_none_are_refused(tmp_path, mapping):
    path = saved(tmp_path, {"prompt": P})
    assert refused(lambda: wb.Pool.load(path, mapping)).startswith("columns: must map ")


def test_a_study_takes_a_file_with_its_mapping(tmp_path):
    path = saved(tmp_path, {"text": P, "solved": RATE})
    (pool,) = wb.Study([f"{path}:pass_rate=solved,prompt=text"], ["scalar"], ["uniform"], batch=4).pools
    assert pool.difficulty == pytest.approx(EXPECTED)


def test_sources_with_mappings_in_a_list():
    text = "uniform,a.jsonl:pass_rate=x,prompt=y,b.csv,c.csv:scale=1:10"
    assert split_sources(text) == ["uniform", "a.jsonl:pass_rate=x,prompt=y", "b.csv", "c.csv:scale=1:10"]
    assert split_mapping("a:b.csv:scale=1:10") == ("a:b.csv", {"scale": "1:10"})
    assert split_mapping("module:Name") == ("module:Name", {})
    assert name_of("x/a.jsonl.gz:pass_rate=x,prompt=y") == "a"
    assert name_of("hf:org/name") == "name"


# ------------------------------------------------------------------------------------------- labels are not trusted


def test_counts_and_difficulty_that_disagree_are_refused_with_what_settles_it(tmp_path):
    columns = {"prompt": P, "difficulty": [100 * r for r in RATE], "successes": list(range(12)), "attempts": [16] * 12}
    path = saved(tmp_path, columns)
    assert refused(lambda: wb.Pool.load(path)) == (
        f"{path}: difficulty: must agree with successes and attempts, got 0 where 0 of 16 make 100 at row 0 (11 of 12 "
        "rows differ): difficulty= takes the counts, successes=,attempts= the labels"
    )
    assert wb.Pool.load(f"{path}:difficulty=").difficulty == pytest.approx(EXPECTED)
    labels = wb.Pool.load(f"{path}:successes=,attempts=")
    assert labels.difficulty == pytest.approx(100 - EXPECTED)
    assert labels.successes is None
    rounded = saved(tmp_path, columns | {"difficulty": [round(d) for d in EXPECTED]})
    assert wb.Pool.load(rounded).difficulty == pytest.approx(np.round(EXPECTED))


OTHER_SCALES = {
    "rates": (RATE, "scale=0:1 (failure rates) or scale=1:0 (pass rates)"),
    "zero or one": ([0, 1] * 6, "scale=0:1"),
    "ratings to 5": ([1 + i % 5 for i in range(12)], "scale=1:5"),
    "halves to 9": ([3 + i / 2 for i in range(12)], "scale=1:9"),
}


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize("name", OTHER_SCALES)
def test_labels_on_another_scale_are_refused_with_the_option_that_settles_it(tmp_path, name, kind):
    labels, option = OTHER_SCALES[name]
    path = saved(tmp_path, {"prompt": P, "difficulty": labels}, kind)
    line = refused(lambda: wb.Pool.load(path))
    assert f"no label of 12 is above {max(labels):g}" in line
    assert option in line
    with pytest.warns(UserWarning, match="lie in") if name == "rates" else nullcontext():
        assert wb.Pool.load(f"{path}:scale=0:100").difficulty == pytest.approx(np.array(labels, float))


def test_labels_on_the_scale_and_few_labels_are_taken(tmp_path):
    for labels in ([0.0] * 11 + [10.5], [5.0] * 12, [i * 9.0 for i in range(12)]):
        assert wb.Pool.load(saved(tmp_path, {"difficulty": labels})).difficulty.tolist() == labels
    assert len(wb.Pool.load(saved(tmp_path, {"difficulty": [1.0, 2.0, 3.0]}))) == 3


# ------------------------------------------------------------------------------------------------ text stays as it is


def test_text_of_a_csv_file_stays_as_it_stands(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "id,category,prompt,answer,difficulty\n0001,NA,7=,9007199254740993,10\n0002,None,1e5,0.5,50\n0003,True,nan,0.00001,90\n"
    )
    pool = wb.Pool.load(path)
    assert pool.ids.tolist() == ["0001", "0002", "0003"]
    assert pool.category.tolist() == ["NA", "None", "True"]
    assert pool.payload == {"prompt": ["7=", "1e5", "nan"], "answer": ["9007199254740993", "0.5", "0.00001"]}


ODD = {
    "boolean": [True, False, *[50.0] * 10], "date": ["2026-01-01", *[50.0] * 11], "text": ["hard", *[50.0] * 11],
    "list": [[1.0, 2.0], *[50.0] * 11], "out of range": [101.0, *[50.0] * 11],
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_labels_that_are_no_numbers_are_refused_with_their_row(tmp_path, name):
    path = saved(tmp_path, {"prompt": P, "difficulty": ODD[name]})
    line = refused(lambda: wb.Pool.load(path))
    assert line.startswith(f"{path}: difficulty: must be ")
    assert "row 0" in line
