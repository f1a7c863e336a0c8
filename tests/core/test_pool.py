"""Pools: the released files and their synthetic twins, the loaders, and every bad input refused by name."""

import json
import pickle
import subprocess
import sys
import tempfile
import warnings
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import InputError
from workbench.files import StorageError
from workbench.pool.columns import COLUMNS

RELEASED = Path(__file__).resolve().parents[3] / "shared" / "data" / "deepscaler"

# AdaRFT's released files: rows, lowest and highest difficulty, mean, median, items per decile, at d = 0 and
# at d = 100, rows whose prompt appeared earlier.
FILES = {
    "skew-difficult": (
        9_995, 0.78, 100.0, 80.9, 93.0,
        (128, 247, 289, 369, 382, 467, 635, 803, 1215, 5460), 0, 2_647, 103,
    ),
    "skew-easy": (
        10_000, 0.0, 99.2, 28.0, 18.75,
        (3408, 1712, 1100, 917, 672, 601, 539, 462, 369, 220), 711, 0, 116,
    ),
    "uniform": (
        10_000, 0.0, 99.2, 50.1, 50.0,
        (978, 995, 1027, 950, 1011, 1028, 1016, 1004, 999, 992), 203, 0, 2_399,
    ),
    "easy-extreme": (7_790, 0.0, 14.8, 5.8, 4.7, (5910, 1880, 0, 0, 0, 0, 0, 0, 0, 0), 1_216, 0, 143),
    "hard-extreme": (9_262, 97.7, 100.0, 99.5, 100.0, (0, 0, 0, 0, 0, 0, 0, 0, 0, 9262), 0, 6_279, 190),
}  # fmt: skip
PRESETS = (*FILES, "narrow")


def deciles(difficulty):
    return np.histogram(difficulty, bins=np.arange(0, 101, 10))[0]


def released(name):
    path = RELEASED / f"{name.replace('-', '_')}.parquet"
    if not path.exists():
        pytest.skip("the released AdaRFT files are not here")
    return path


def refused(field, call):
    """The call raises a one-line InputError that names the field; the line comes back."""
    with pytest.raises(InputError) as caught:
        call()
    line = str(caught.value)
    assert field in line
    assert "\n" not in line
    return line


# --- synthetic presets


@pytest.mark.parametrize("name", FILES)
def test_a_preset_of_the_files_size_has_the_files_difficulties(name):
    rows, low, high, mean, median, counts, easiest, hardest, _ = FILES[name]
    d = wb.Pool.synthetic(name, size=rows, seed=0).difficulty
    assert len(d) == rows
    assert deciles(d).tolist() == list(counts)
    assert (d == 0).sum() == easiest
    assert (d == 100).sum() == hardest
    # Where in a decile an item lies is not published: one step of the grid is left open.
    step = 100 / 128
    assert [d.mean(), np.median(d), d.min(), d.max()] == pytest.approx([mean, median, low, high], abs=step + 0.05)


@pytest.mark.parametrize("name", FILES)
def test_a_preset_has_unsolved_or_always_solved_items_only_where_the_file_has(name):
    *_, easiest, hardest, _ = FILES[name]
    d = wb.Pool.synthetic(name, size=10_000, seed=1).difficulty
    assert (d == 0).any() == (easiest > 0)
    assert (d == 100).any() == (hardest > 0)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [1_000, 20_000])
def test_a_preset_of_another_size_keeps_the_shares_of_the_file(name, size):
    rows, *_, counts, _, _, _ = FILES[name]
    share = deciles(wb.Pool.synthetic(name, size=size, seed=3).difficulty) / size
    np.testing.assert_allclose(share, np.array(counts) / rows, atol=4 * np.sqrt(0.25 / size))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_lies_on_the_grid_of_128_attempts(name):
    pool = wb.Pool.synthetic(name, size=2_000, seed=5)
    failures = pool.difficulty / 100 * 128
    assert len(pool) == 2_000
    assert pool.difficulty.dtype == np.float64
    np.testing.assert_array_equal(failures, np.round(failures))
    assert failures.min() >= 0
    assert failures.max() <= 128
    assert len(np.unique(pool.difficulty)) <= 129


def test_the_narrow_preset_spreads_less_than_the_uniform_one():
    narrow, uniform = (wb.Pool.synthetic(name).difficulty for name in ("narrow", "uniform"))
    assert len(narrow) == len(uniform) == 10_000
    assert narrow.std() < uniform.std() / 2


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_same_for_the_same_seed_and_another_for_another(name):
    one, again, other = (wb.Pool.synthetic(name, size=500, seed=seed).difficulty for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_the_position_of_an_item_in_a_preset_tells_nothing_of_its_difficulty():
    d = wb.Pool.synthetic("uniform", size=10_000).difficulty
    assert abs(np.corrcoef(np.arange(len(d)), d)[0, 1]) < 5 / np.sqrt(len(d))


def test_a_preset_carries_its_name():
    assert wb.Pool.synthetic("skew-easy", size=10).name == "skew-easy"


def test_presets_leave_the_global_numpy_state_alone():
    before = np.random.get_bit_generator().state["state"]
    wb.Pool.synthetic("uniform", size=100, seed=0)
    after = np.random.get_bit_generator().state["state"]
    assert after["pos"] == before["pos"]
    np.testing.assert_array_equal(after["key"], before["key"])


def test_an_unknown_preset_is_refused_with_the_names_that_exist():
    line = refused("pool", lambda: wb.Pool.synthetic("skew_dificult"))
    assert all(name in line for name in PRESETS)
    assert "skew_dificult" in line


@pytest.mark.parametrize("size", [0, -5])
def test_a_preset_of_no_items_is_refused(size):
    assert str(size) in refused("size", lambda: wb.Pool.synthetic("uniform", size=size))


# --- what a pool derives


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 128), min_size=1, max_size=40))
def test_order_sorts_by_difficulty_and_keeps_positions_within_a_tie(failures):
    d = np.array(failures) / 128 * 100
    pool = wb.Pool(difficulty=d)
    assert pool.order.tolist() == sorted(range(len(d)), key=lambda i: (d[i], i))


def test_pass_rate_is_one_minus_difficulty_unless_attempts_were_counted():
    d = [0.0, 25.0, 100.0]
    np.testing.assert_allclose(wb.Pool(difficulty=d).pass_rate, [1.0, 0.75, 0.0])
    counted = wb.Pool(difficulty=d, successes=[3, 2, 1], attempts=[4, 4, 8])
    np.testing.assert_allclose(counted.pass_rate, [3 / 4, 2 / 4, 1 / 8])


def test_a_pool_is_frozen_and_keeps_its_own_copy_of_what_it_was_given():
    d = np.array([10.0, 20.0])
    pool = wb.Pool(difficulty=d)
    d[0] = 90.0
    assert pool.difficulty.tolist() == [10.0, 20.0]
    with pytest.raises((AttributeError, TypeError)):
        pool.difficulty = d


def test_a_pool_of_numbers_alone_has_no_duplicates():
    pool = wb.Pool(difficulty=[50.0, 50.0, 20.0])
    assert pool.duplicates == 0
    assert pool.conflicts == 0


# --- bad inputs in memory


@pytest.mark.parametrize("bad", [np.inf, -np.inf, -0.5, 100.5])
def test_a_difficulty_that_is_no_number_in_its_range_is_refused_with_its_value(bad):
    line = refused("difficulty", lambda: wb.Pool(difficulty=[10.0, bad, 20.0]))
    assert "100" in line
    assert str(bad) in line


@pytest.mark.parametrize("bad", [[], np.zeros((0,)), np.zeros((2, 2)), 5.0, ["easy", "hard"], [None, 1.0]])
def test_a_difficulty_that_is_no_list_of_numbers_is_refused(bad):
    refused("difficulty", lambda: wb.Pool(difficulty=bad))


@pytest.mark.parametrize("field", ["ids", "category", "level", "successes", "attempts"])
def test_a_column_of_another_length_than_difficulty_is_refused(field):
    columns = {"successes": [1, 1], "attempts": [4, 4]} if field in ("successes", "attempts") else {}
    columns[field] = ["a", "b", "c"] if field in ("ids", "category") else [1, 1, 1]
    line = refused(field, lambda: wb.Pool(difficulty=[10.0, 20.0], **columns))
    assert "2" in line
    assert "3" in line


def test_a_payload_of_another_length_than_difficulty_is_refused():
    line = refused("prompt", lambda: wb.Pool(difficulty=[10.0, 20.0], payload={"prompt": ["A", "B", "C"]}))
    assert "2" in line
    assert "3" in line


def test_a_payload_that_is_no_mapping_of_columns_is_refused():
    refused("payload", lambda: wb.Pool(difficulty=[10.0, 20.0], payload=["A", "B"]))


def test_more_successes_than_attempts_are_refused():
    line = refused("successes", lambda: wb.Pool(difficulty=[10.0, 20.0], successes=[1, 5], attempts=[4, 4]))
    assert "5" in line
    assert "4" in line


@pytest.mark.parametrize(
    ("field", "counts"),
    [
        ("successes", {"successes": [-1, 1], "attempts": [4, 4]}),
        ("attempts", {"successes": [0, 0], "attempts": [0, 4]}),
        ("successes", {"successes": [0.5, 1], "attempts": [4, 4]}),
        ("successes", {"successes": [np.nan, 1], "attempts": [4, 4]}),
        ("successes", {"successes": ["one", "two"], "attempts": [4, 4]}),
        ("attempts", {"successes": [1, 1], "attempts": [4, 4.5]}),
        ("attempts", {"successes": [1, 1]}),
        ("successes", {"attempts": [4, 4]}),
    ],
)
def test_counts_that_cannot_be_counts_are_refused(field, counts):
    refused(field, lambda: wb.Pool(difficulty=[10.0, 20.0], **counts))


# --- loaders

FAILURES = (0, 32, 64, 128)
D = [0.0, 25.0, 50.0, 100.0]


def rows_as_released():
    """The layout of AdaRFT's files: one user message, the answer, the difficulty nested in extra_info."""
    return [
        {
            "data_source": "deepscaler",
            "prompt": [{"role": "user", "content": f"question {i}"}],
            "ability": "math",
            "reward_model": {"ground_truth": str(i), "style": "rule"},
            "extra_info": {"difficulty": d, "index": i, "split": "train"},
        }
        for i, d in enumerate(D)
    ]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_a_plain_difficulty_column_loads_from_every_format(tmp_path, suffix):
    path = write(tmp_path / f"plain.{suffix}", [{"prompt": f"question {i}", "difficulty": d} for i, d in enumerate(D)])
    pool = wb.Pool.load(path)
    assert pool.difficulty.tolist() == D
    assert pool.difficulty.dtype == np.float64
    assert pool.name == "plain"
    assert pool.duplicates == 0


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_nested_difficulty_loads_as_the_released_files_have_it(tmp_path, suffix):
    pool = wb.Pool.load(str(write(tmp_path / f"nested.{suffix}", rows_as_released())))
    assert pool.difficulty.tolist() == D
    assert len(pool) == len(D)
    assert pool.duplicates == 0
    assert pool.conflicts == 0


def test_a_flattened_difficulty_loads_from_csv(tmp_path):
    rows = [{"prompt": f"question {i}", "extra_info.difficulty": d} for i, d in enumerate(D)]
    pool = wb.Pool.load(write(tmp_path / "flat.csv", rows))
    assert pool.difficulty.tolist() == D


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_counted_attempts_load_and_give_the_pass_rate(tmp_path, suffix):
    rows = [{"difficulty": d, "successes": 128 - k, "attempts": 128} for d, k in zip(D, FAILURES, strict=True)]
    pool = wb.Pool.load(write(tmp_path / f"counts.{suffix}", rows))
    np.testing.assert_allclose(pool.pass_rate, [1.0, 0.75, 0.5, 0.0])
    np.testing.assert_array_equal(pool.attempts, [128] * 4)


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_rows_that_repeat_a_prompt_are_counted_and_so_are_those_that_contradict_it(tmp_path, suffix, nested):
    # A again at 50, A at 75 against 50, B again, A again at 50: four repeats, one contradicts the first A.
    said = [("A", 50.0), ("A", 50.0), ("B", 25.0), ("A", 75.0), ("B", 25.0), ("A", 50.0), ("C", 0.0)]
    rows = [
        {"prompt": [{"role": "user", "content": text}], "extra_info": {"difficulty": d}}
        if nested
        else {"prompt": text, "difficulty": d}
        for text, d in said
    ]
    pool = wb.Pool.load(write(tmp_path / f"repeats.{suffix}", rows))
    assert len(pool) == 7
    assert pool.duplicates == 4
    assert pool.conflicts == 1


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
@pytest.mark.parametrize("bad", [-1.0, 101.0])
def test_a_bad_difficulty_in_a_file_is_refused(tmp_path, suffix, bad):
    rows = [{"difficulty": 10.0}, {"difficulty": bad}]
    refused("difficulty", lambda: wb.Pool.load(write(tmp_path / f"bad.{suffix}", rows)))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_row_without_its_nested_difficulty_has_no_label_and_is_not_taken_as_zero(tmp_path, suffix):
    rows = rows_as_released()
    rows[2]["extra_info"]["difficulty"] = None
    pool = wb.Pool.load(write(tmp_path / f"hole.{suffix}", rows))
    assert np.isnan(pool.difficulty).tolist() == [row == 2 for row in range(len(rows))]


@pytest.mark.parametrize("line", ["5", "[1, 2]", '"text"', "null", "{"])
def test_a_jsonl_line_that_is_no_record_is_refused(tmp_path, line):
    path = tmp_path / "odd.jsonl"
    path.write_text(f'{{"difficulty": 10}}\n{line}\n')
    refused("odd.jsonl", lambda: wb.Pool.load(path))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_a_file_that_is_no_text_and_no_table_is_refused(tmp_path, suffix):
    path = tmp_path / f"noise.{suffix}"
    path.write_bytes(bytes(range(256)) * 8)
    refused(path.name, lambda: wb.Pool.load(path))


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_file_with_words_for_difficulties_is_refused(tmp_path, suffix):
    path = write(tmp_path / f"words.{suffix}", [{"difficulty": "easy"}, {"difficulty": "hard"}])
    refused("difficulty", lambda: wb.Pool.load(path))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_a_file_without_rows_is_refused(tmp_path, suffix):
    path = tmp_path / f"empty.{suffix}"
    if suffix == "jsonl":
        path.write_text("")
    else:
        write(path, []) if suffix == "csv" else pd.DataFrame({"difficulty": []}).to_parquet(path)
    refused(path.name, lambda: wb.Pool.load(path))


def test_a_csv_with_a_header_and_no_rows_is_refused(tmp_path):
    path = tmp_path / "header.csv"
    path.write_text("difficulty\n")
    refused("difficulty", lambda: wb.Pool.load(path))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_file_that_was_cut_short_is_refused_by_name(tmp_path, suffix):
    whole = write(tmp_path / f"whole.{suffix}", rows_as_released()).read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole[: -len(whole) // 3])
    refused(cut.name, lambda: wb.Pool.load(cut))


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    refused("absent.parquet", lambda: wb.Pool.load(tmp_path / "absent.parquet"))


def test_a_file_of_another_kind_is_refused_with_the_kinds_that_load(tmp_path):
    path = tmp_path / "pool.xyz"
    path.write_text("difficulty\n10\n")
    line = refused("pool.xyz", lambda: wb.Pool.load(path))
    assert "parquet" in line
    assert "jsonl" in line
    assert "csv" in line


def test_a_folder_is_refused(tmp_path):
    folder = tmp_path / "folder.parquet"
    folder.mkdir()
    refused("folder.parquet", lambda: wb.Pool.load(folder))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_a_file_with_more_successes_than_attempts_is_refused(tmp_path, suffix):
    rows = [{"difficulty": 10.0, "successes": 9, "attempts": 8}]
    refused("successes", lambda: wb.Pool.load(write(tmp_path / f"counts.{suffix}", rows)))


# --- the released files


@pytest.mark.parametrize("name", FILES)
def test_a_released_file_has_the_published_difficulties(name):
    rows, low, high, mean, median, counts, easiest, hardest, duplicates = FILES[name]
    pool = wb.Pool.load(released(name))
    d = pool.difficulty
    assert len(pool) == rows
    assert d.min() == pytest.approx(low, abs=0.05)
    assert d.max() == pytest.approx(high, abs=0.05)
    assert d.mean() == pytest.approx(mean, abs=0.05)
    assert np.median(d) == pytest.approx(median, abs=0.05)
    assert deciles(d).tolist() == list(counts)
    assert (d == 0).sum() == easiest
    assert (d == 100).sum() == hardest
    assert pool.duplicates == duplicates
    np.testing.assert_array_equal(d * 1.28, np.round(d * 1.28))


@pytest.mark.parametrize(("name", "share"), [("skew-difficult", 44.1), ("skew-easy", 63.7), ("uniform", 80.3)])
def test_a_released_file_has_the_published_share_between_10_and_90(name, share):
    d = wb.Pool.load(released(name)).difficulty
    assert 100 * np.mean((d > 10) & (d < 90)) == pytest.approx(share, abs=0.05)


def test_a_released_file_keeps_its_prompts_and_answers():
    pool = wb.Pool.load(released("skew-difficult"))
    assert "10^{1001}+1" in str(pool.payload["prompt"][0])
    assert pool.payload["answer"][0] == "743"


def test_the_union_of_the_released_files_has_the_published_prompts_and_conflicts(tmp_path):
    columns = ["prompt", "extra_info"]
    union = pd.concat([pd.read_parquet(released(name), columns=columns) for name in FILES])
    path = tmp_path / "union.parquet"
    union.reset_index(drop=True).to_parquet(path)
    pool = wb.Pool.load(path)
    assert len(pool) - pool.duplicates == 29_724
    # Counted against the first row of the identical prompt.
    assert pool.conflicts == 653


# --- every column there and back

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBER = st.floats(0, 1, allow_subnormal=False)
NESTED = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}, optional={"name": TEXT}), max_size=2)
VALUE = st.one_of(TEXT, st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.booleans(), st.none(), NESTED)
LABEL = st.one_of(TEXT, st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False))


@st.composite
def pools(draw):
    """Pools of any columns: labels of one kind or mixed, text that looks like numbers, and nested prompts."""
    size = draw(st.integers(1, 5))

    def column(entry):
        return draw(st.lists(entry, min_size=size, max_size=size))

    def labels(*more):
        kind = draw(st.sampled_from([TEXT, st.sampled_from(["01", "1", "1e5", "NA", "True"]), LABEL, *more]))
        return column(kind)

    attempts = column(st.integers(1, 128))
    columns = {
        "ids": labels(), "category": labels(st.booleans()), "level": labels(),
        "features": draw(st.integers(1, 3).flatmap(lambda f: st.lists(
            st.lists(st.floats(-1e9, 1e9), min_size=f, max_size=f), min_size=size, max_size=size))),
        "weak_rate": column(NUMBER), "strong_rate": column(NUMBER),
        "payload": {
            name: column(draw(st.sampled_from([TEXT, NESTED, VALUE])))
            for name in draw(st.sets(st.sampled_from(["prompt", "answer", "difficulty", "x.json", "payload.y", "z"])))
        } or None,
    }  # fmt: skip
    columns = {name: values for name, values in columns.items() if draw(st.booleans())}
    if draw(st.booleans()):
        columns |= {"attempts": attempts, "successes": [draw(st.integers(0, n)) for n in attempts]}
    return quiet(lambda: wb.Pool(column(st.floats(0, 100) | st.just(np.nan)), **columns))


def settled(pool):
    """What says that labels, ids and counts of a table are to be taken as they are."""
    return {"scale": "0:100", "difficulty": "difficulty"} | ({} if pool.ids is None else {"ids": "ids"})


def quiet(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return call()


def contents(pool):
    """All that a pool holds, but its name: with the types of the entries, and without those of arrays."""
    columns = {f.name: getattr(pool, f.name) for f in fields(pool) if f.name not in ("name", "payload")}
    plain = {name: None if values is None else values.tolist() for name, values in columns.items()}
    return json.dumps(plain | {"payload": pool.payload}, sort_keys=True)


def test_the_list_of_columns_is_the_fields_of_a_pool():
    assert {f.name for f in fields(wb.Pool)} == {*COLUMNS, "payload", "name"}


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pool=pools())
def test_a_saved_pool_loads_with_every_column(tmp_path, suffix, pool):
    again = quiet(lambda: wb.Pool.load(pool.save(tmp_path / f"pool.{suffix}"), settled(pool)))
    assert contents(again) == contents(pool)
    assert again.digest == pool.digest


@settings(deadline=None, max_examples=30)
@given(pool=pools())
def test_a_pool_from_its_own_frame_is_the_same_pool(pool):
    frame = pool.to_frame()
    assert len(frame) == len(pool)
    again = quiet(lambda: wb.Pool.from_frame(frame, columns=settled(pool)))
    assert contents(again) == contents(pool)
    assert again.digest == pool.digest


@settings(deadline=None, max_examples=30)
@given(pool=pools(), data=st.data())
def test_taken_rows_are_those_rows_of_every_column(pool, data):
    rows = data.draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=7))
    taken = pool.take(rows, name="mine")
    assert taken.name == "mine"
    for name in COLUMNS:
        values = getattr(pool, name)
        if values is None:
            assert getattr(taken, name) is None
        else:
            expected = [values.tolist()[row] for row in rows]
            assert json.dumps(getattr(taken, name).tolist()) == json.dumps(expected)  # NaN is NaN
    assert taken.payload == (pool.payload and {n: [v[row] for row in rows] for n, v in pool.payload.items()})
    assert taken.digest == quiet(lambda: replace(taken)).digest  # the checks of a new pool change nothing


def test_rows_are_taken_by_position_mask_and_slice():
    pool = wb.Pool([10.0, 20.0, 30.0], ids=["a", "b", "c"])
    assert pool[[2, 0]].ids.tolist() == ["c", "a"]
    assert pool[np.array([True, False, True])].ids.tolist() == ["a", "c"]
    assert pool[pool.difficulty > 15].ids.tolist() == ["b", "c"]
    assert pool[1:].ids.tolist() == ["b", "c"]
    assert pool[::-1].name == "pool"
    with pytest.raises(TypeError):
        iter(pool)


@pytest.mark.parametrize(
    "rows", [[3], [-1], [0.5], ["a"], [True, False], 1, [], [[0]], slice(3, None), [[0], [1, 2]], None, [False] * 3]
)
def test_rows_that_are_no_rows_are_refused(rows):
    refused("rows", lambda: wb.Pool([10.0, 20.0, 30.0]).take(rows))


def test_a_file_is_saved_whole_and_its_kind_is_checked(tmp_path):
    pool = wb.Pool([10.0, 20.0])
    assert pool.save(str(tmp_path / "a" / "b.csv")) == tmp_path / "a" / "b.csv"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.csv"]
    assert (tmp_path / "a" / "b.csv").read_text() == "difficulty\n10.0\n20.0\n"
    refused("xyz", lambda: pool.save(tmp_path / "c.xyz"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        pool.save(tmp_path / "file" / "c.csv")


@pytest.mark.parametrize("value", [b"bytes", {1: "a"}, {"when": np.datetime64("2026-01-01")}, object()])
def test_a_payload_that_no_file_can_hold_is_refused_with_its_row(tmp_path, value):
    pool = wb.Pool([10.0, 20.0], payload={"extra": ["text", value]})
    for suffix in ("parquet", "jsonl", "csv"):
        assert "row 1" in refused("payload.extra", lambda suffix=suffix: pool.save(tmp_path / f"pool.{suffix}"))
    assert not list(tmp_path.iterdir())


def test_a_synthetic_pool_keeps_what_rules_need_through_a_file(tmp_path):
    pool = wb.Pool.synthetic("skew-easy", size=300)
    again = wb.Pool.load(pool.save(tmp_path / "pool.parquet"))
    assert again.digest == pool.digest
    for rule in (wb.PCL(), wb.DOTS(), wb.BOTS()):
        one, other = (wb.Controller(rule, of, seed=3) for of in (pool, again))
        assert one.next_batch(16).tolist() == other.next_batch(16).tolist()


def test_a_long_prompt_and_many_features_fit_into_a_csv_cell(tmp_path):
    pool = wb.Pool([50.0], features=[np.arange(30_000) / 7], payload={"prompt": ["x" * 200_000]})
    assert contents(wb.Pool.load(pool.save(tmp_path / "wide.csv"))) == contents(pool)


# --- what a pool owns


def test_every_column_is_a_copy_that_cannot_be_written():
    given = {
        "ids": np.array(["a", "b"]), "category": np.array(["x", "y"]), "level": np.array([1, 2]),
        "successes": np.array([1, 2]), "attempts": np.array([4, 4]), "features": np.ones((2, 3)),
        "weak_rate": np.array([0.1, 0.2]), "strong_rate": np.array([0.3, 0.4]), "difficulty": np.array([75.0, 50.0]),
    }  # fmt: skip
    assert given.keys() == COLUMNS.keys()
    pool = wb.Pool(**given)
    before = wb.Pool(**given).digest
    for values in given.values():
        values[:] = values[::-1].copy() if values.ndim == 1 else 0
    assert pool.digest == before == replace(pool).digest
    for of in (pool, pickle.loads(pickle.dumps(pool)), pool[[0]], pool.without_payload()):
        for name in COLUMNS:
            with pytest.raises(ValueError, match="read-only"):
                getattr(of, name)[0] = getattr(of, name)[0]


def test_a_payload_is_a_copy():
    prompts = ["A", "B"]
    pool = wb.Pool([10.0, 20.0], payload={"prompt": prompts})
    prompts[0] = "C"
    assert pool.payload == {"prompt": ["A", "B"]}


NO_NUMBERS = {
    "masked": np.ma.array([10.0, 20.0], mask=[False, True]), "object": np.array([10.0, 20.0], dtype=object),
    "complex": np.array([10.0, 20.0 + 0j]), "boolean": np.array([True, False]), "boolean in a list": [10.0, True],
    "date": np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]"), "text": ["10", "20"], "none": [10.0, None],
    "duration": np.array([1, 2], dtype="timedelta64[s]"),
}  # fmt: skip


@pytest.mark.parametrize("column", ["difficulty", "successes", "attempts", "features", "weak_rate", "strong_rate"])
@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_number_is_refused_with_its_column(column, kind):
    good = {"difficulty": [10.0, 20.0], "successes": [1, 1], "attempts": [4, 4]}
    bad = NO_NUMBERS[kind]
    if column == "features":
        bad = [[v] for v in bad] if isinstance(bad, list) else bad[:, None]
    line = refused(column, lambda: wb.Pool(**(good | {column: bad})))
    assert line.startswith(f"{column}: must be ")


@pytest.mark.parametrize("column", ["ids", "category", "level"])
@pytest.mark.parametrize("kind", ["masked", "complex", "date", "none", "duration"])
def test_labels_are_text_or_numbers(column, kind):
    line = refused(column, lambda: wb.Pool([10.0, 20.0], **{column: NO_NUMBERS[kind]}))
    assert line.startswith(f"{column}: must be ")


def test_a_gap_in_labels_is_refused_with_its_row():
    for gap in (None, np.nan):
        assert "row 1" in refused("category", lambda gap=gap: wb.Pool([10.0, 20.0], category=["a", gap]))
        assert "row 1" in refused("level", lambda gap=gap: wb.Pool([10.0, 20.0], level=[1.0, gap]))


@pytest.mark.parametrize("given", ["x", 5, None, {"a": 1}, {1.0, 2.0}, np.float64(3), np.array(3.0), object()])
def test_what_is_no_column_is_refused(given):
    refused("difficulty", lambda: wb.Pool(given))


def test_two_dimensions_of_counts_or_labels_are_refused():
    two = [[1, 2], [1, 2]]
    refused("successes", lambda: wb.Pool([10.0, 20.0], successes=two, attempts=[4, 4]))
    refused("attempts", lambda: wb.Pool([10.0, 20.0], successes=[4, 4], attempts=two))
    refused("ids", lambda: wb.Pool([10.0, 20.0], ids=two))
    refused("attempts", lambda: wb.Pool([10.0, 20.0], successes=[1, 2], attempts=[4, np.inf]))


def test_difficulty_comes_from_counts_where_it_is_not_given():
    assert wb.Pool(successes=[3, 0], attempts=[4, 8]).difficulty.tolist() == [25.0, 100.0]
    refused("successes", lambda: wb.Pool(successes=[3, 0, 1], attempts=[4, 8]))
    refused("successes", lambda: wb.Pool(successes=[9], attempts=[8]))


@pytest.mark.parametrize("bins", [0, -1, 2.5, "10", True])
def test_arms_need_a_whole_number_of_bins(bins):
    refused("bins", lambda: wb.Pool([10.0, 20.0]).arms(bins=bins))
    refused("by", lambda: wb.Pool([10.0, 20.0]).arms(by=["difficulty"]))


def test_mixed_labels_keep_their_types():
    assert wb.Pool([10.0, 20.0], ids=["1", 1]).ids.tolist() == ["1", 1]


# --- what looks wrong


def test_rates_given_for_difficulties_are_warned_of_once():
    with pytest.warns(UserWarning, match=r"^difficulty: all 6 labels of pool 'pool' lie in \[0, 1\]") as caught:
        pool = wb.Pool(np.linspace(0, 1, 6))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert len(pool[1:]) == 5  # rows taken from it, and pools of other difficulties, say nothing
    wb.Pool([0.0, 1.0, 0.5] * 5)
    wb.Pool(np.linspace(0, 1.1, 6))


@pytest.mark.parametrize("column", ["ids", "id", "prompt_id", "item"])
@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_the_log_of_a_run_is_no_pool_unless_its_rows_are_said_to_be_items(tmp_path, column, suffix):
    rows = [{"step": i // 4, column: f"p{i % 3}", "successes": 1 + i % 7, "attempts": 8} for i in range(12)]
    path = write(tmp_path / f"log.{suffix}", rows)
    line = refused(column, lambda: wb.Pool.load(path))
    assert "12 rows of 3 items and a column step" in line
    with pytest.warns(UserWarning, match="^ids: the 12 rows of pool 'log' name 3"):
        assert len(wb.Pool.load(path, {"ids": column})) == 12
    assert len(wb.Pool.load(path, {"ids": ""})) == 12
    assert len(wb.Pool.load(write(tmp_path / f"one.{suffix}", rows[:3]))) == 3


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_rows_of_several_steps_are_a_log_also_where_no_column_names_items(tmp_path, suffix):
    rows = [{"step": i // 2, "prompt": f"p{i % 5}", "successes": 1 + i % 7, "attempts": 8} for i in range(12)]
    path = write(tmp_path / f"log.{suffix}", rows)
    assert "got 12 rows of 6 steps" in refused("step: must be no column of a pool", lambda: wb.Pool.load(path))
    assert len(wb.Pool.load(path, {"ids": ""})) == 12
    once = write(tmp_path / f"once.{suffix}", [row | {"id": i} for i, row in enumerate(rows)])
    assert "ids=id takes rows as items" in refused("step: ", lambda: wb.Pool.load(once))
    assert len(wb.Pool.load(once, {"ids": "id"})) == 12


def test_counts_of_which_one_half_is_missing_are_told(tmp_path):
    path = write(tmp_path / "half.csv", [{"prompt": f"p{i}", "successes": i} for i in range(4)])
    assert "not used: successes; no difficulty" in wb.Pool.load(path).understood
    refused("columns: must map attempts", lambda: wb.Pool.load(path, {"successes": "successes"}))
    assert wb.Pool.load(path, {"successes": "successes", "attempts": "4"}).difficulty.tolist() == [100, 75, 50, 25]


@pytest.mark.parametrize("rates", [[0.1, 0.5, 0.9, 1.0, 0.0], [0.25, 0.5, 0.75, 1.0]])
def test_a_few_rates_in_a_file_are_refused_as_many_are(tmp_path, rates):
    path = write(tmp_path / "few.csv", [{"prompt": f"p{i}", "difficulty": rate} for i, rate in enumerate(rates)])
    assert "scale=0:1 (failure rates) or scale=1:0" in refused("difficulty", lambda: wb.Pool.load(path))
    assert wb.Pool.load(path, {"scale": "1:0"}).difficulty.tolist() == [100 * (1 - rate) for rate in rates]


# --- how a pool is shown


def test_a_notebook_shows_name_size_quantiles_and_columns():
    text = wb.Pool.synthetic("uniform", size=1_000)._repr_html_()
    for part in ("Pool uniform", "1,000", "0.0 to 99.2", "level, successes, attempts, features, weak_rate"):
        assert part in text


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "</table>", '"&amp;\'', "<b>"])
def test_hostile_names_stay_text(hostile):
    class Read(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.text = [], ""

        def handle_starttag(self, tag, attrs):
            self.tags.append((tag, attrs))

        def handle_data(self, data):
            self.text += data

    seen, plain = Read(), Read()
    seen.feed(wb.Pool([10.0], payload={hostile: ["A"]}, name=hostile)._repr_html_())
    plain.feed(wb.Pool([10.0], payload={"p": ["A"]}, name="n")._repr_html_())
    assert seen.tags == plain.tags
    assert seen.text == plain.text.replace("Pool n", f"Pool {hostile}").replace("payloadp", f"payload{hostile}")


def test_a_pool_needs_no_package_of_tables():
    code = (
        "import sys; sys.modules |= dict.fromkeys(['pandas', 'pyarrow', 'scipy', 'matplotlib'])\n"
        "import workbench.files, workbench.pool as p\n"
        "pool = p.Pool.synthetic('uniform', size=50); pool.arms(); pool[[1]]\n"
        "print(p.Pool.load(pool.save(sys.argv[1])).digest == pool.digest)"
    )
    for suffix in ("csv", "jsonl"):
        with tempfile.TemporaryDirectory() as folder:
            call = [sys.executable, "-c", code, f"{folder}/pool.{suffix}"]
            assert subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip() == "True"
