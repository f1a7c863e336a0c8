"""Files of every kind as columns: the same table from each, and what cannot be read in one line."""

import gzip
import json

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.files import parquet_bytes
from workbench.tables.formats import SOURCES, is_source, is_table, kind_of, read_table

ROWS = [
    {"prompt": "2 + 2, please", "answer": "4", "id": "0001"},
    {"prompt": 'say "yes"\nor no', "answer": "9007199254740993", "id": "0002"},
    {"prompt": "été; tab\there", "answer": "", "id": "10"},
]
KINDS = ["csv", "tsv", "json", "jsonl", "ndjson", "parquet", "csv.gz", "tsv.gz", "json.gz", "jsonl.gz", "CSV"]


def written(path, rows):
    """A file of this name with the rows, made by other code than the reader's."""
    import csv
    import io

    import pyarrow as pa

    kind = path.name.split(".", 1)[1].lower().removesuffix(".gz")
    if kind == "parquet":
        data = parquet_bytes(pa.Table.from_pylist(rows))
    elif kind == "json":
        data = json.dumps(rows, indent=1).encode()
    elif kind in ("jsonl", "ndjson"):
        data = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if kind == "tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def refused(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_text(tmp_path, kind):
    table = read_table(written(tmp_path / f"rows.{kind}", ROWS))
    assert {name: list(values) for name, values in table.columns.items()} == {
        name: [row[name] for row in ROWS] for name in ROWS[0]
    }
    assert table.rows == 3
    assert table.text == (set(table.columns) if "sv" in kind.lower() else set())


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "csv.gz"])
def test_a_folder_of_shards_is_their_rows_by_name(tmp_path, kind):
    for number, row in enumerate(ROWS):
        written(tmp_path / f"part-{number}.{kind}", [row])
    (tmp_path / "README.md").write_text("no table")
    (tmp_path / f".hidden.{kind}").write_text("no table")
    table = read_table(tmp_path)
    assert list(table.columns["id"]) == ["0001", "0002", "10"]
    assert read_table(f"{tmp_path}/").rows == 3


def test_shards_of_two_kinds_or_that_share_no_column_are_refused(tmp_path):
    written(tmp_path / "a.csv", ROWS)
    written(tmp_path / "b.jsonl", ROWS)
    assert "got .csv, .jsonl in" in refused(lambda: read_table(tmp_path))
    (tmp_path / "b.jsonl").unlink()
    written(tmp_path / "b.csv", [{"step": "1", "reward": "a"}])
    written(tmp_path / "c.csv", ROWS)
    assert refused(lambda: read_table(tmp_path)) == (
        f"file: must be files that share columns, got only 'step', 'reward' in '{tmp_path / 'b.csv'}'"
    )
    (tmp_path / "empty").mkdir()
    assert "got none in" in refused(lambda: read_table(tmp_path / "empty"))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_column_that_some_shards_lack_has_no_value_there_and_that_is_said(tmp_path, kind):
    """As a name that some lines of a .jsonl file lack."""
    written(tmp_path / f"a.{kind}", [{"prompt": "p", "difficulty": "50"}, {"prompt": "q", "difficulty": "5"}])
    written(tmp_path / f"b.{kind}", [{"prompt": "r", "note": "x"}])
    table = read_table(tmp_path)
    none = "" if kind == "csv" else None
    assert {name: list(values) for name, values in table.columns.items()} == {
        "prompt": ["p", "q", "r"], "difficulty": ["50", "5", none], "note": [none, none, "x"]
    }  # fmt: skip
    assert table.gaps == (f"no difficulty in 'b.{kind}', 1 rows", f"no note in 'a.{kind}', 2 rows")


def test_numbers_of_shards_are_joined_with_gaps(tmp_path):
    import pyarrow as pa

    for name, columns in {"a": {"n": [1.5], "i": [2**60]}, "b": {"n": [2.5]}, "c": {"i": [3], "n": [None]}}.items():
        (tmp_path / f"{name}.parquet").write_bytes(parquet_bytes(pa.table(columns)))
    columns = read_table(tmp_path).columns
    assert columns["i"] == [2**60, None, 3]
    assert [value == value and value for value in columns["n"]] == [1.5, 2.5, None]


@pytest.mark.parametrize("text", [
    '[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]', '{"a": [1, 2], "b": ["x", "y"]}',
    '{"a": {"0": 1, "1": 2}, "b": {"0": "x", "1": "y"}}', '{"data": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}',
    '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n',
])  # fmt: skip
def test_json_of_rows_of_columns_and_of_lines(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text)
    assert read_table(path).columns == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize("text", [
    "a,b\n1,x\n", "a;b\n1;x\n", "a\tb\n1\tx\n", "a,b\r1,x\r", "a,b,,\r\n1,x,,\r\n\r\n",
])  # fmt: skip
def test_the_first_rows_say_what_separates_cells(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    assert read_table(path).columns == {"a": ["1"], "b": ["x"]}


@pytest.mark.parametrize(("text", "columns"), [
    ("prompt\nSay it; slowly\nNow, again\n", None),  # one column, whose second cell has a comma
    ("prompt\nSay it; slowly\nNow\tagain\n", {"prompt": ["Say it; slowly", "Now\tagain"]}),
    ("id\tname, first\n1\tx\n2\ty\n", {"id": ["1", "2"], "name, first": ["x", "y"]}),
    ("id;price\n1;0,5\n2;1,5\n", {"id": ["1", "2"], "price": ["0,5", "1,5"]}),
])  # fmt: skip
def test_other_separators_are_text(tmp_path, text, columns):
    path = tmp_path / "t.csv"
    path.write_text(text)
    if columns is None:
        assert "must have 1 cells in each row, got 2 in row 2, line 3" in refused(lambda: read_table(path))
    else:
        assert read_table(path).columns == columns


# What both doors take: a pool and a table of responses
BOTH = {
    "csv": b"person,a\nm0,1\nm1,0\n", "tsv": b"person\ta\nm0\t1\nm1\t0\n", "csv.gz": None,
    "json": b'[{"person": "m0", "a": 1},\n {"person": "m1", "a": 0}]', "jsonl.gz": None, "parquet": None,
    "jsonl": b'{"person": "m0", "a": 1}\n{"person": "m1", "a": 0}\n',
}  # fmt: skip


@pytest.mark.parametrize("kind", BOTH)
def test_a_table_of_responses_is_read_as_a_pool_is(tmp_path, kind):
    from workbench.difficulty import read_responses

    path = tmp_path / f"t.{kind}"
    rows = [{"person": "m0", "a": 1}, {"person": "m1", "a": 0}]
    if BOTH[kind] is None:
        written(path, rows)
    else:
        path.write_bytes(BOTH[kind])
    responses, columns = read_responses(path), read_table(path).columns
    assert responses.persons == list(columns["person"])
    assert responses.items == [name for name in columns if name != "person"]
    assert responses.successes[:, 0].tolist() == [float(value) for value in columns["a"]]


def test_whole_numbers_beside_gaps_stay_whole(tmp_path):
    import pyarrow as pa

    path = tmp_path / "t.parquet"
    path.write_bytes(parquet_bytes(pa.table({"n": pa.array([9007199254740993, None]), "x": pa.array([0.5, None])})))
    columns = read_table(path).columns
    assert columns["n"] == [9007199254740993, None]
    assert np.array_equal(columns["x"], [0.5, np.nan], equal_nan=True)


WRONG_ROWS = {
    "longer row": ("t.csv", "a,b\n1,2\n1,2,3\n", "pool: must have 2 cells in each row, got 3 in row 2, line 3"),
    "shorter row": ("t.csv", "a,b\n1\n", "pool: must have 2 cells in each row, got 1 in row 1, line 2"),
    "after a cell of two lines": ("t.csv", 'a,b\n"1\n1",2\n\n1\n', "got 1 in row 2, line 5"),
    "column twice": ("t.csv", "a,b,a\n1,2,3\n", "columns: must come once each, got 'a' again in column 3"),
    "name twice": ("t.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', "columns: must come once each, got 'a' again in key 2 of "
                   "an object in line 2"),
    "no object": ("t.jsonl", '{"a": 1}\n\n5\n', "pool: must be a JSON object in each row, got 5 in row 2"),
    "no JSON": ("t.jsonl", '{"a": 1}\n{"a"\n', "pool: must have a JSON object in each line, got '{\"a\"' in line 2 ("),
    "no JSON in a list": ("t.json", '[{"a": 1},\n {"a" 2}]\n', "got ' {\"a\" 2}]' in line 2 ("),
    "other lengths": ("t.json", '{"a": [1, 2], "b": [1]}', "columns: must have as many rows each, got a: 2, b: 1"),
    "a number": ("t.json", "5", "pool: must be a JSON object in each row, got 5 in row 1"),
    "a list of numbers": ("t.json", '[{"a": 1}, 5]', "pool: must be a JSON object in each row, got 5 in row 2"),
    "empty": ("t.csv", "", "pool: must have rows below the header, got none"),
    "no rows": ("t.json", "[]", "pool: must have rows below the header, got none"),
}  # fmt: skip
NO_FILES = {
    "open quote": ("t.csv", 'a,b\n"1,2\n'),
    "quote in its middle": ("t.csv", 'a,b\n"1"2,2\n'),
    "zero byte": ("t.csv", "a,b\n1,\0\n"),
    "not gzip": ("t.csv.gz", "a,b\n1,2\n"),
    "not parquet": ("t.parquet", "a,b\n"),
    "other encoding": ("t.csv", "a\n\xe9\n".encode("latin-1")),
    "nested too deep": ("t.json", "[" * 100_000),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_said_in_one_line_with_its_place(tmp_path, case):
    name, content, said = WRONG_ROWS[case]
    (tmp_path / name).write_text(content)
    line = refused(lambda: read_table(tmp_path / name, "pool"))
    assert said in line
    assert line.endswith(f", in '{tmp_path / name}'")
    assert line.split(":")[0] in ("pool", "columns")


@pytest.mark.parametrize("case", NO_FILES)
def test_what_is_no_file_of_its_kind_is_said_in_one_line(tmp_path, case):
    name, content = NO_FILES[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused(lambda: read_table(path, "pool"))
    assert line.startswith(f"pool: must be a readable {kind_of(path)} file, got '{path}' (")


@pytest.mark.parametrize("name", ["t.txt", "t", "t.parquet.gz", ".gz", "t.zip"])
def test_another_kind_is_refused_with_those_that_are_read(tmp_path, name):
    (tmp_path / name).write_text("a\n1\n")
    assert refused(lambda: read_table(tmp_path / name, "pool")) == f"pool: must be {SOURCES}, got '{tmp_path / name}'"


@pytest.mark.parametrize("name", ["gone.csv", "gone/t.csv", "a" * 5000 + ".csv", "nul\0.csv"])
def test_what_is_not_there_is_refused(tmp_path, name):
    assert refused(lambda: read_table(str(tmp_path / name), "pool")).startswith("pool: must be a file")


def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.mkdir()  # a folder under a file's name: shards, of which there are none
    assert "must be a folder with files of one kind" in refused(lambda: read_table(path))


def test_names_of_tables():
    for name in ("a.csv", "x/y.JSONL.gz", "hf:org/name"):
        assert is_table(name)
    for name in ("uniform", "package.module:Name", "a.txt"):
        assert not is_table(name)
    assert is_source("a.txt")
    assert not is_source("uniform")


def test_a_data_set_is_loaded_by_the_package_of_that_name(tmp_path):
    pytest.importorskip("datasets")
    written(tmp_path / "train.jsonl", ROWS)
    written(tmp_path / "test.jsonl", ROWS[:1])
    assert list(read_table(f"hf:{tmp_path}").columns["id"]) == ["0001", "0002", "10"]
    assert read_table(f"hf:{tmp_path}@test").rows == 1
    line = refused(lambda: read_table(f"hf:{tmp_path}@nope", "pool"))
    assert line.startswith(f"pool: must be a data set that can be loaded, got 'hf:{tmp_path}' (")
