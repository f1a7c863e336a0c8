"""Response tables as people have them, through the real reader and the real command, beside a plain reading."""

import gzip
import itertools
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from workbench.difficulty import __main__ as command
from workbench.difficulty import irt
from workbench.difficulty.responses import read_responses
from workbench.errors import InputError

FIELD = Path(__file__).resolve().parents[3] / "shared" / "field" / "irt"
VOCABULARIES = [("1", "0"), ("1.0", "0.0"), ("1.", "0."), ("TRUE", "FALSE"), ("True", "False"), ("t", "F")]
VOCABULARIES += [(" 1", "0 ")]
MISSING = ["", "NA", "nan", "NaN", "null", "None", "N/A", "<NA>", "#N/A", ".", "  "]
PATTERNS = ["".join(bits) for bits in itertools.product("01", repeat=5)]
# 1000 persons each: Bock & Lieberman 1970, "Fitting a response model for n dichotomously scored items", Psychometrika
# 35, 179-197; in the order of PATTERNS
LSAT6 = [3, 6, 2, 11, 1, 1, 3, 4, 1, 8, 0, 16, 0, 3, 2, 15, 10, 29, 14, 81, 3, 28, 15, 80, 16, 56, 21, 173, 11, 61, 28]
LSAT6 += [298]
LSAT7 = [12, 19, 1, 7, 3, 19, 3, 17, 10, 5, 3, 7, 7, 23, 8, 28, 7, 39, 11, 34, 14, 51, 15, 90, 6, 25, 7, 35, 18, 136]
LSAT7 += [32, 308]


def drawn(persons, items, seed, density=0.8):
    """Answers 1, 0 and nan; every person and item has both kinds of answer."""
    luck = np.random.default_rng(seed)
    x = (luck.random((persons, items)) < expit(luck.standard_normal((persons, 1)) - luck.normal(0, 1, items))) * 1.0
    x[luck.random(x.shape) > density] = np.nan
    x[:2], x[:2, 0] = [[1], [0]], [0, 1]
    return x


def cells(x, right="1", wrong="0", missing=""):
    return [[missing if np.isnan(v) else right if v else wrong for v in row] for row in x]


def joined(rows, separator=",", end="\n"):
    return "".join(separator.join(row) + end for row in rows)


def read(tmp_path, content, weights=None, name="table.csv"):
    """The table, the names, and the notes."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with warnings.catch_warnings(record=True, action="always") as notes:
        table = read_responses(path, weights)
    x = np.where(table.attempts > 0, table.successes, np.nan)
    assert table.attempts.max() == 1
    return x, table.persons, table.items, [str(note.message) for note in notes]


def run(tmp_path, content, *options, name="table.csv"):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    code = command.main([str(tmp_path / name), "--out", str(tmp_path / "out"), *options])
    return code, sorted(path.name for path in (tmp_path / "out").glob("*"))


def fitted(tmp_path):
    text = {"item": str, "person": str}
    tables = [pd.read_csv(tmp_path / "out" / f"{name}.csv", dtype=text) for name in ("items", "persons")]
    return *tables, json.loads((tmp_path / "out" / "fit.json").read_text())


# ---- cells, separators, names -------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids="/".join)
def test_answers_are_read_however_they_are_written(tmp_path, vocabulary, missing):
    x = drawn(9, 5, 1)
    names = [f"q{k}" for k in range(5)]
    for people in ([f"m{k}" for k in range(9)], None):
        rows = cells(x, *vocabulary, missing)
        if people:
            rows = [[who, *row] for who, row in zip(people, rows, strict=True)]
        found, persons, items, notes = read(tmp_path, joined([["person"] * bool(people) + names, *rows]))
        np.testing.assert_array_equal(found, x)
        assert persons == (people or [str(k) for k in range(1, 10)])
        assert items == names
        assert notes == []


@pytest.mark.parametrize("packed", ["plain", "gzip", "bom", "quoted"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("separator", ["\t", ",", ";"], ids=["tab", "comma", "semicolon"])
@pytest.mark.parametrize("naming", ["person", "id", "", "subject_id", "short", "none", "last", "no header", "bare"])
def test_separators_names_and_packing(tmp_path, naming, separator, end, packed):
    """short: R's header, one name fewer than cells. bare: neither header nor names."""
    x = drawn(12, 4, 2)
    people, names = [f"00{k}" for k in range(12)], ["0001", "a b", "x,y" if packed == "quoted" else "é", "q"]
    rows, heads = cells(x), True
    if naming not in ("none", "bare"):
        rows = [[*row, who] if naming == "last" else [who, *row] for who, row in zip(people, rows, strict=True)]
    else:
        people = [str(k) for k in range(1, 13)]
    head = {"last": [*names, "Person"], "short": names, "none": names}.get(naming, [naming, *names])
    if naming in ("no header", "bare"):
        heads, names = False, [str(k) for k in range(1 + (naming == "no header"), 5 + (naming == "no header"))]
    rows = [head, *rows] if heads else rows
    if packed == "quoted":
        rows = [[f'"{cell}"' for cell in row] for row in rows]
    data = joined(rows, separator, end).encode("utf-8-sig" if packed == "bom" else "utf-8")
    found, persons, items, notes = read(tmp_path, gzip.compress(data) if packed == "gzip" else data)
    np.testing.assert_array_equal(found, x)
    assert (persons, items) == (people, names)
    assert sum(note.startswith("the first row is read as answers") for note in notes) == (not heads)


IDS = [["0001", "0010", "0100"], ["1e3", "1E4", "inf"]]
IDS += [["1.50", "2.50", "-0"], ["NA", "nan", "None"], ["é", "漢字", "a'b"]]
IDS += [["9007199254740993", "9007199254740992", "1"], ["TRUE", "FALSE", "T"], ["2024-01-02", "1/2", "5%"]]


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("form", ["wide", "long", "py-irt", "json"])
def test_names_stay_the_text_that_they_are(tmp_path, form, ids):
    x, items = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0.0]]), [f"{name}" for name in reversed(ids)]
    if form == "wide":
        text = joined([["person", *items], *([who, *row] for who, row in zip(ids, cells(x), strict=True))])
    elif form == "long":
        rows = [[ids[p], items[i], str(int(x[p, i]))] for p, i in np.ndindex(3, 3)]
        text = joined([["id", "item", "resp"], *rows])
    elif form == "json":
        rows = [{"person": who} | dict(zip(items, row, strict=True)) for who, row in zip(ids, x.tolist(), strict=True)]
        text = json.dumps(rows)
    else:
        answers = [dict(zip(items, row, strict=True)) for row in x]
        rows = [{"subject_id": who, "responses": given} for who, given in zip(ids, answers, strict=True)]
        text = "\n".join(map(json.dumps, rows))
    found, persons, named, _ = read(tmp_path, text)
    np.testing.assert_array_equal(found, x)
    assert (persons, named) == (ids, items)


@pytest.mark.parametrize(("number", "text"), [("1", "1"), ("007", None), ("9007199254740993", "9007199254740993"),
                                              ("1e-05", "1e-05"), ("1.50", "1.50"), ('"0001"', "0001")])  # fmt: skip
def test_numbers_of_json_stay_the_text_that_they_are(tmp_path, number, text):
    line = '{"subject_id": NUMBER, "responses": {"a": 1, "b": true}}\n'
    lines = line.replace("NUMBER", number) + line.replace("NUMBER", '"x"')
    if text is None:
        with pytest.raises(InputError, match="must have a JSON object in each line"):
            read(tmp_path, lines)
    else:
        assert read(tmp_path, lines)[1] == [text, "x"]


@pytest.mark.parametrize("separator", ["\t", ";"])
@pytest.mark.parametrize("named", [True, False])
def test_a_decimal_comma_is_no_separator(tmp_path, separator, named):
    x = drawn(9, 4, 11)
    rows = cells(x, "1,0", "0,0", "NA")
    rows = [[f"m{p}", *row] for p, row in enumerate(rows)] if named else rows
    found, _, items, _ = read(tmp_path, joined([["person"] * named + list("abcd"), *rows], separator))
    np.testing.assert_array_equal(found, x)
    assert items == list("abcd")


# ---- long tables, py-irt, Parquet ---------------------------------------------------------------------------


def long_rows(x, who, what, missing):
    return [[who[p], what[i], missing if np.isnan(x[p, i]) else str(int(x[p, i]))] for p, i in np.ndindex(x.shape)
            if missing is not None or not np.isnan(x[p, i])]  # fmt: skip


@pytest.mark.parametrize("separator", ["\t", ",", ";"], ids=["tab", "comma", "semicolon"])
@pytest.mark.parametrize("missing", [None, "", "NA"])
@pytest.mark.parametrize("names", [("id", "item", "resp"), ("person", "item", "resp"), ("ID", "Item", "Resp"),
                                   ("subject_id", "item_id", "response"), ("model", "problem_id", "correct"),
                                   ("user_id", "question_id", "correct")])  # fmt: skip
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_long_tables_of_answers(tmp_path, order, names, missing, separator):
    """Persons called 0 and 1 too, and items: nothing in it tells a long table but its names."""
    x = drawn(7, 4, 3)
    who, what = [str(k) for k in range(7)], [str(k) for k in range(4)]
    rows = [[row[k] for k in order] for row in [names, *long_rows(x, who, what, missing)]]
    found, persons, items, notes = read(tmp_path, joined(rows, separator))
    place = {name: k for k, name in enumerate(items)}
    np.testing.assert_array_equal(found[:, [place[name] for name in what]], x)
    assert persons == who
    assert notes == []


@pytest.mark.parametrize("more", [["rt"], ["wave", "date"], ["cov_age", "treat", "rater", "itemcov_x", "successes_"]])
@pytest.mark.parametrize("counts", [False, True])
def test_further_columns_of_a_long_table_are_named_and_not_read(tmp_path, more, counts):
    x = drawn(6, 3, 4, density=1)
    rows = long_rows(x, "abcdef", "xyz", None)
    rows = [[*row, "1"] if counts else row for row in rows]
    head = ["person", "item", *(["successes", "attempts"] if counts else ["resp"]), *more]
    found, _, _, (note,) = read(tmp_path, joined([head, *([*row, *(["7"] * len(more))] for row in rows)]))
    np.testing.assert_array_equal(found, x)
    assert note == f"not read: {len(more)} column{'s' * (len(more) > 1)}, {', '.join(map(repr, more))}"


@pytest.mark.parametrize("kind", ["int", "float", "bool", "text", "null"])
@pytest.mark.parametrize("packed", ["plain", "gzip", "list", "crlf", "keys"])
def test_py_irt_lines(tmp_path, kind, packed):
    x = drawn(8, 5, 5)
    make = {"int": int, "float": float, "bool": bool, "text": lambda v: str(int(v)), "null": int}[kind]
    rows = []
    for p, row in enumerate(x):
        answers = {f"Item {i}": None if np.isnan(v) else make(v) for i, v in enumerate(row) if kind == "null" or v == v}
        more = {"model": "x", "n": 3} if packed == "keys" else {}
        rows.append({"subject_id": f"m{p}", "responses": answers} | more)
    text = json.dumps(rows) if packed == "list" else ("\r\n" if packed == "crlf" else "\n").join(map(json.dumps, rows))
    data = gzip.compress(text.encode()) if packed == "gzip" else text.encode()
    found, persons, items, notes = read(tmp_path, data, name="any.jsonlines")
    order = [items.index(f"Item {i}") for i in range(5)]
    np.testing.assert_array_equal(found[:, order], x)
    assert persons == [f"m{p}" for p in range(8)]
    assert notes == []


@pytest.mark.parametrize("kind", ["Int64", "float64", "boolean", "str", "index", "long"])
def test_parquet(tmp_path, kind):
    x = drawn(8, 3, 6)
    table = pd.DataFrame(x, columns=["a", "b", "c"])
    if kind == "long":
        table = pd.DataFrame(long_rows(x, [f"m{p}" for p in range(8)], "abc", "NA"), columns=["id", "item", "resp"])
    elif kind == "index":
        table.index = [f"m{p}" for p in range(8)]
    else:
        table = table.map(lambda v: str(int(v)), na_action="ignore") if kind == "str" else table.astype(kind)
        table.insert(0, "person", [f"m{p}" for p in range(8)])
    table.to_parquet(tmp_path / "t.parquet")
    found, persons, items, notes = read(tmp_path, (tmp_path / "t.parquet").read_bytes())
    np.testing.assert_array_equal(found, x)
    assert (persons, items, notes) == ([f"m{p}" for p in range(8)], ["a", "b", "c"], [])


@pytest.mark.parametrize("seed", range(60))
def test_any_table_in_any_form_is_the_plain_reading(tmp_path, seed):
    """Sparse tables with empty persons and items, in a form drawn at random; the reference is the array itself."""
    luck = np.random.default_rng(seed)
    persons, items = luck.integers([5, 3], [40, 15])
    x = drawn(persons, items, seed, density=luck.choice([0.1, 0.3, 0.7, 1.0]))
    x[2:, luck.random(items) < 0.1], x[:2, 1:] = np.nan, np.nan
    x[luck.random(persons) < 0.1] = np.nan
    if np.isnan(x).all():
        x[0, 0] = 1
    who, what = [f"m{k}" for k in range(persons)], [f"q{k}" for k in range(items)]
    vocabulary, missing = VOCABULARIES[luck.integers(len(VOCABULARIES))], MISSING[luck.integers(11)]
    form = str(luck.choice(["wide", "bare names", "py-irt", "long", "json"]))
    if form == "py-irt":
        records = [{"subject_id": name, "responses": dict(zip(what, (None if v != v else v for v in row), strict=True))}
                   for name, row in zip(who, x, strict=True)]  # fmt: skip
        text = "\n".join(map(json.dumps, records))
    elif form == "json":
        text = "\n".join(json.dumps({"person": name} | dict(zip(what, row, strict=True)))
                         for name, row in zip(who, cells(x, *vocabulary, missing), strict=True))  # fmt: skip
    elif form == "long":
        written = cells(x, *vocabulary, missing)
        rows = [["id", "item", "resp"], *([who[p], what[i], written[p][i]] for p, i in np.ndindex(x.shape))]
        text = joined(rows, luck.choice(list("\t;,")))
    else:
        rows = cells(x, *vocabulary, missing)
        rows = [[name, *row] for name, row in zip(who, rows, strict=True)] if form == "wide" else rows
        text = joined([["person"] * (form == "wide") + what, *rows], luck.choice(list("\t;,")))
        who = who if form == "wide" else [str(k + 1) for k in range(persons)]
    there = ~np.isnan(x)
    rows, columns = there.any(axis=1), there.any(axis=0)
    found, people, named, notes = read(tmp_path, text)
    np.testing.assert_array_equal(found, x[rows][:, columns])
    assert people == [name for name, has in zip(who, rows, strict=True) if has]
    assert named == [name for name, has in zip(what, columns, strict=True) if has]
    left = []
    for kind, names, has in (("person", who, rows), ("item", what, columns)):
        many = f"{(~has).sum()} {kind}" + ("s" if (~has).sum() > 1 else "")
        left += [] if has.all() else [f"left out: {many} without an answer, the first is '{names[has.argmin()]}'"]
    assert [note for note in notes if note.startswith("left out")] == left
    assert all("the first column" in note for note in notes if not note.startswith("left out"))


@pytest.mark.parametrize("tail", [",\n", ",,,\n", ";\n"])
def test_what_spreadsheets_leave_beside_and_below_a_table_is_no_item_and_no_person(tmp_path, tail):
    x = drawn(5, 3, 7)
    separator, rows = tail[0], [["person", "a", "b", "c"], *([f"m{k}", *row] for k, row in enumerate(cells(x)))]
    text = "".join(separator.join(row) + tail for row in rows)
    blank = separator.join([""] * (3 + len(tail))) + "\n"
    found, persons, items, notes = read(tmp_path, text + blank * 3)
    np.testing.assert_array_equal(found, x)
    assert (persons, items, notes) == ([f"m{k}" for k in range(5)], ["a", "b", "c"], [])


# ---- weights ------------------------------------------------------------------------------------------------


def frequency_tables(counts):
    """The forms in which a table of patterns and counts is found, and the option that reads it."""
    rows = list(zip(PATTERNS, map(str, counts), strict=True))
    items = [f"Item.{k}" for k in range(1, 6)]
    yield joined([[*items, "Freq"], *([*pattern, count] for pattern, count in rows)]), "Freq", items
    yield joined([["n", *items], *([count, *pattern] for pattern, count in rows)], "\t"), "n", items
    yield joined([[*pattern, count] for pattern, count in rows], ";"), "6", list("12345")
    yield joined([["pattern", "count"], *map(list, rows)]), "count", list("12345")
    yield joined([["person", *items, "w"], *([f"p{p}", *p, f"{c}.0"] for p, c in rows)]), "w", items
    yield "\n".join(json.dumps(dict(zip(items, p, strict=True)) | {"weight": int(c)}) for p, c in rows), "weight", items


@pytest.mark.parametrize("counts", [LSAT6, LSAT7], ids=["LSAT6", "LSAT7"])
@pytest.mark.parametrize("form", range(6))
def test_a_table_of_patterns_and_counts_is_the_table_of_persons(tmp_path, form, counts):
    text, weights, names = list(frequency_tables(counts))[form]
    expected = np.repeat([list(map(int, pattern)) for pattern in PATTERNS], counts, axis=0)
    found, persons, items, _ = read(tmp_path, text, weights)
    np.testing.assert_array_equal(found, expected)
    assert items == names
    assert len(set(persons)) == 1000
    assert persons[:3] == ([f"p00000.{k}" for k in (1, 2, 3)] if form == 4 else ["1.1", "1.2", "1.3"])


def test_lsat7_is_the_published_table():
    """Totals and moments that the R package mirt prints of its LSAT7: the page of `itemstats`."""
    x = np.repeat([list(map(int, pattern)) for pattern in PATTERNS], LSAT7, axis=0)
    total, spread = x.sum(axis=1), x.var(axis=0, ddof=1).sum()
    np.testing.assert_array_equal(x.sum(axis=0), [828, 658, 772, 606, 843])
    assert total.mean() == pytest.approx(3.707)
    assert total.std(ddof=1) == pytest.approx(1.199, abs=5e-4)
    with_total = [np.corrcoef(item, total)[0, 1] for item in x.T]
    np.testing.assert_allclose(with_total, [0.530, 0.600, 0.611, 0.592, 0.461], atol=6e-4)
    assert 5 / 4 * (1 - spread / total.var(ddof=1)) == pytest.approx(0.453, abs=5e-4)  # Cronbach's alpha


# What mirt (Chalmers 2012, J. Stat. Software 48(6)) prints of LSAT7, a and d = -a b. 2PL: pages of `PLCI.mirt` and
# `imputeMissing`, the test `confmirtOne`; its EM stops within .002 of the maximum. 1PL: the page of `lagrange`, where
# a is 1 and the variance of theta free, 1.022, so that here a = sqrt(1.022).
PUBLISHED = {
    "2pl": ([0.98793, 1.08088, 1.70580, 0.76519, 0.73580], [1.85606, 0.80798, 1.80422, 0.48600, 1.85451], -2658.805,
            5337.610, 5386.688),
    "1pl": ([1.022**0.5] * 5, [1.868, 0.791, 1.461, 0.521, 1.993], -2664.901, 5341.802, 5371.248),
}  # fmt: skip


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_command_reads_lsat7_by_its_counts_and_finds_the_published_fit(tmp_path, model, capsys):
    text, weights, _ = next(frequency_tables(LSAT7))
    assert run(tmp_path, text, "--weights", weights, "--model", model)[0] == 0
    items, persons, facts = fitted(tmp_path)
    a, d, log_likelihood, aic, bic = PUBLISHED[model]
    np.testing.assert_allclose(items["a"], a, atol=2e-3)
    np.testing.assert_allclose(-items["a"] * items["b"], d, atol=2e-3)
    assert facts["log_likelihood"] == pytest.approx(log_likelihood, abs=1e-3)
    assert (facts["aic"], facts["bic"]) == pytest.approx((aic, bic), abs=2e-3)
    assert len(persons) == facts["persons"] == 1000
    assert capsys.readouterr().err == ""


def best_1pl(x, weight):
    """(a, b) of the marginal likelihood of patterns (P, I) with weights, nan for missing, by a general optimiser."""
    nodes = np.linspace(-8, 8, 161)
    prior = -(nodes**2) / 2 - np.log(np.exp(-(nodes**2) / 2).sum())

    def loss(v):
        z = v[0] * (nodes - v[1:, None])  # (I, Q)
        each = -np.where(x[:, :, None] == 1, np.logaddexp(0, -z), np.logaddexp(0, z)) * ~np.isnan(x)[:, :, None]
        return -(weight @ logsumexp(each.sum(axis=1) + prior, axis=1))

    best = minimize(loss, np.r_[1.0, np.zeros(x.shape[1])], method="BFGS", options={"gtol": 1e-4})
    return best.x[0], best.x[1:], -best.fun


def best_rasch(x, weight):
    """b, summing to 0, of the conditional likelihood by enumeration of the patterns of each score."""

    def loss(free):
        b, total = np.append(free, -free.sum()), 0.0
        for row, many in zip(x, weight, strict=True):
            have = ~np.isnan(row)
            k, u = b[have], row[have]
            others = [list(chosen) for chosen in itertools.combinations(range(len(k)), int(u.sum()))]
            total += many * (u @ k + logsumexp([-k[chosen].sum() for chosen in others]))
        return total

    best = minimize(loss, np.zeros(x.shape[1] - 1), method="BFGS", options={"gtol": 1e-5})
    return np.append(best.x, -best.x.sum()), -best.fun


def reference_cases():
    for seed in range(6):
        luck = np.random.default_rng(seed)
        x = drawn(30, 5, 100 + seed, density=0.5 + 0.1 * (seed % 3))
        x[2 + seed % 3 :: 9] = np.nan  # persons left out
        weight = luck.integers(0, 4, 30) if seed % 2 else np.ones(30, int)
        weight[:2] = 1
        yield x, weight


@pytest.mark.parametrize("model", ["rasch", "1pl"])
@pytest.mark.parametrize("case", range(6))
def test_sparse_and_expanded_tables_fit_as_an_independent_reference(tmp_path, case, model):
    x, weight = list(reference_cases())[case]
    rows = [[*row, str(many)] for row, many in zip(cells(x, missing="NA"), weight, strict=True)]
    text = joined([["q1", "q2", "q3", "q4", "q5", "Freq"], *rows])
    assert run(tmp_path, text, "--weights", "Freq", "--model", model)[0] == 0
    items, _, facts = fitted(tmp_path)
    seen = ~np.isnan(x).all(axis=1)
    if model == "rasch":
        b, value = best_rasch(x[seen], weight[seen])
    else:
        a, b, value = best_1pl(x[seen], weight[seen])
        np.testing.assert_allclose(items["a"], a, atol=2e-3)
    np.testing.assert_allclose(items["b"], b, atol=5e-3)
    assert facts["log_likelihood"] == pytest.approx(value, abs=1e-3)
    assert facts["persons"] == weight[seen].sum()


# ---- what is told -------------------------------------------------------------------------------------------


def blocks(sizes, seed=0, persons=12):
    """Answers of groups that share no item, `sizes` items each."""
    parts = [drawn(persons, size, seed + k, density=1) for k, size in enumerate(sizes)]
    x = np.full((persons * len(sizes), sum(sizes)), np.nan)
    for k, part in enumerate(parts):
        x[k * persons : (k + 1) * persons, sum(sizes[:k]) : sum(sizes[: k + 1])] = part
    return x


@pytest.mark.parametrize("sizes", [(3, 3), (2, 5), (4, 2, 3), (2, 2, 2, 2), (7, 2)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_groups_that_share_no_item_are_named(tmp_path, sizes, seed, capsys):
    x = blocks(sizes, 10 * seed)
    names = [f"q{k}" for k in range(x.shape[1])]
    order = np.random.default_rng(seed).permutation(len(x))
    text = joined([["person", *names], *([f"m{k}", *row] for k, row in zip(order, cells(x[order]), strict=True))])
    assert run(tmp_path, text, "--model", "rasch") == (2, [])
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: persons: must share items")
    assert f"got {len(sizes)} groups that share no item (items " in error
    group = [list(range(sum(sizes[:k]), sum(sizes[: k + 1]))) for k in range(len(sizes))]
    for items in group[:3]:
        assert "items " + ", ".join(f"'q{k}'" for k in items[:5]) in error
    assert ("; and 1 more)" in error) == (len(sizes) == 4)
    code, _ = run(tmp_path, text, "--model", "1pl")
    notes = capsys.readouterr().err.splitlines()
    assert notes[0].startswith(f"note: the persons are in {len(sizes)} groups that share no item")
    assert code in (0, 1)
    share = x.copy()
    share[0, [items[0] for items in group]], share[1, [items[0] for items in group]] = 1, 0
    text = joined([["person", *names], *([f"m{k}", *row] for k, row in enumerate(cells(share)))])
    run(tmp_path, text, "--model", "rasch")
    assert "share no item" not in capsys.readouterr().err


@pytest.mark.parametrize("model", irt.MODELS)
@pytest.mark.parametrize(("right", "wrong"), [((0,), ()), ((), (3,)), ((1, 2), (5,)), ((0, 1), (6, 7))])
def test_items_all_right_or_all_wrong_are_named(tmp_path, right, wrong, model, capsys):
    x = drawn(400, 8, 8, density=0.9)
    for at, value in ((right, 1), (wrong, 0)):
        x[:, list(at)] = np.where(np.isnan(x[:, list(at)]), np.nan, value)
    assert run(tmp_path, joined([[f"q{k}" for k in range(8)], *cells(x)]), "--model", model)[0] == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not in the fit")]
    kinds = [("solved by nobody", wrong), ("solved by everybody", right)]
    named = "; ".join(f"{words}: " + ", ".join(f"'q{k}'" for k in at) for words, at in kinds if at)
    assert said == [f"not in the fit, see `irt.Fit` on their b: items {named}"]
    assert fitted(tmp_path)[2]["extreme_items"] == [f"q{k}" for k in sorted(right + wrong)]


@pytest.mark.parametrize("easy", [(0,), (2,), (1, 4), (0, 3, 5)])
@pytest.mark.parametrize("others", [4, 6])
def test_items_that_no_answer_compares_run_away_under_rasch_and_are_named(tmp_path, easy, others, capsys):
    """All who failed an easy item failed all: of the others they know nothing."""
    x = np.insert(drawn(40, others, 9, density=1), np.minimum(easy, others), 1.0, axis=1)
    places = [k + shift for shift, k in enumerate(np.minimum(easy, others))]
    x = np.vstack([x, np.zeros((1, x.shape[1]))])
    names = [f"q{k}" for k in range(x.shape[1])]
    assert run(tmp_path, joined([names, *cells(x)]), "--model", "rasch") == (1, ["fit.json"])
    (error,) = capsys.readouterr().err.splitlines()
    away = json.loads((tmp_path / "out" / "fit.json").read_text())["runaway_items"]
    assert away == [f"q{k}" for k in places]
    assert f"estimates run away at {', '.join(map(repr, away))} ({len(away)} of {len(names)} items)" in error
    assert "leaving them out, 1pl, which takes abilities to be normal, or more persons may help" in error
    assert "smaller model" not in error
    kept = [k for k in range(len(names)) if k not in places]
    assert run(tmp_path, joined([[names[k] for k in kept], *cells(x[:, kept])]), "--model", "rasch")[0] == 0


@pytest.mark.parametrize(("model", "remedy"), [("1pl", "more persons"), ("2pl", "1pl or more persons"),
                                               ("3pl", "2pl or more persons"), ("rasch", "more persons")])  # fmt: skip
@pytest.mark.parametrize("steps", [5, 6, 9])
def test_the_remedy_is_one_of_the_model_at_hand(tmp_path, model, remedy, steps, capsys):
    """Perfectly ordered answers."""
    rows = cells(np.tril(np.ones((steps + 1, steps)), -1))
    assert run(tmp_path, joined([[f"q{k}" for k in range(steps)], *rows]), "--model", model) == (1, ["fit.json"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"the {model} fit did not converge" in error
    assert f"{remedy} may help" in error or ("all" in error and "more persons may help" in error)
    assert "smaller model" not in error
    away = json.loads((tmp_path / "out" / "fit.json").read_text())["runaway_items"]
    assert all(f"'{name}'" in error for name in away[:5]) or f"at all {len(away)} items" in error


def test_an_item_that_runs_away_under_2pl_is_named(tmp_path, capsys):
    """Right for those who solve more than half of the others, and for nobody else."""
    x = drawn(200, 7, 12, density=1)
    x[:, 3] = np.delete(x, 3, axis=1).sum(axis=1) > 3
    code, _ = run(tmp_path, joined([[f"q{k}" for k in range(7)], *cells(x)]), "--model", "2pl")
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 1
    assert "estimates run away at 'q3' (1 of 7 items): leaving them out, 1pl or more persons may help" in error


# ---- refused, in one line, before work begins ---------------------------------------------------------------

OK = "m0,1,0\nm1,0,1\nm2,1,1\n"
WIDE, IRW, COUNTS = "person,a,b\n", "id,item,resp\n", "person,item,successes,attempts\n"
ANSWERS = "must be 0, 1, TRUE, FALSE or missing (blank, NA, nan)"
LONG = "a long table has the columns person, item and resp, or person, item, successes and attempts"
REFUSED = [
    *((f"{WIDE}{OK}m3,1,{bad}\n", f"responses: {ANSWERS}, got '{bad}' in row 4, column 'b'")
      for bad in ("2", "-1", "0.5", "1e0", "01", "00", "yes", "A", "-9", "99", "1 0", "?", "-", "∞")),
    *((f"{IRW}p,a,1\nq,a,{bad}\n", f"resp: {ANSWERS}, got '{bad}' in row 2, column 'resp'")
      for bad in ("2", "-1", "0.5", "right", "3/8", "1e0")),
    *((f"{COUNTS}p,a,1,2\nq,a,{bad}\n", "successes: must be whole numbers in [0, attempts], got ")
      for bad in ("3,2", "-1,2", "x,2", "1,x", "1,", ",2", "NA,2", "1,inf", "1.5,2", "1e2,1e3", "+1,2", "1 ,1.5")),
    (f"{COUNTS}p,a,1,2\nq,a,1.5,2\n", "got '1.5' of '2' in row 2, column 'successes'"),
    ("user,question,answer\nu1,q1,1\nu1,q2,0\nu2,q1,1\n", "person: must come once each, got 'u1' again in row"),
    ("user,question,answer\nu1,q1,1\nu1,q2,0\nu2,q1,1\n", LONG),
    ("who,what,right\nu1,q1,1\nu2,q2,0\n", f"responses: {ANSWERS}, got 'q1' in row 1, column 'what': {LONG}"),
    ("u1,q1,1\nu2,q2,0\nu3,q1,1\n", LONG),  # long without a header
    ("1,1,1\n1,2,0\n2,1,1\n2,2,0\n", LONG),
    ("id,item\np,a\n", "columns: must be person, item and resp, or person, item, successes and attempts"),
    ("id,item\np,a\n", "got no resp among 'id', 'item'"),
    ("item,resp\na,1\n", "got no person among 'item', 'resp'"),
    ("item,successes,attempts\na,1,2\n", "got no person among"),
    ("id,successes,attempts\na,1,2\n", "got no item among"),
    ("step,prompt_id,successes,attempts\n1,a,3,8\n", "got no person and no item among"),
    ("id,item,attempts\np,a,1\n", "got no successes among"),
    (f"{IRW}p,a,1\np,a,1\n", "person, item: must come once each, got person 'p', item 'a' again in row 2 (fir"),
    (f"{IRW}p,a,1\nq,a,1\np,a,0\n", "again in row 3 (first in row 1): several attempts are one row with successes"),
    (f"{IRW},a,1\nq,a,1\n", "person: must have a name, got '' in row 1, column 'id'"),
    (f"{IRW}p,a,1\nq, ,1\n", "item: must have a name, got ' ' in row 2, column 'item'"),
    (f"{WIDE},1,0\n{OK}", "person: must have a name, got '' in row 1, column 'person'"),
    (f"{WIDE}{OK}m1,1,0\n", "person: must come once each, got 'm1' again in row 4, column 'person'"),
    ("item,m1,m2\nq1,1,0\nq2,0,1\nq3,1,1\n", "got 'item' with a row per item: exchange rows and columns; a long table"),
    ("problem_id,m1,m2\n7,1,0\n8,0,1\n", "columns: must be persons or items of answers in a wide table, got 'problem"),
    ("student,item,points\ns1,q1,1\ns2,q1,0\n", LONG),
    ("0,1\n1,0\n1,1\n", "must have a first row that can be told from answers, got '0', '1': put a row of names above"),
    ("1,0,NA\n1,0,1\n1,1,0\n", "must have a first row that can be told from answers, got '1', '0', 'NA'"),
    ("m0,1,0\nm1,0,1\nm2,1,1\n", "must have a first row that can be told from answers, got 'm0', '1', '0'"),
    ("a b c\n1 0 1\n0 1 1\n", "columns: must have at least one item beside the person, got only 'a b c': cells"),
    ("a|b|c\n1|0|1\n0|1|1\n", "cells are apart by commas, semicolons or tabs"),
    (f"{WIDE}m0,1\nm1,0,1\nm2,1,1\n", "responses: must have 3 cells in each row, got 2 in row 1"),
    (f"{WIDE}{OK}m3,1,0,1\n", "responses: must have 3 cells in each row, got 4 in row 4"),
    ("person;a;b\nm0;1;0\nm1;0\n", "responses: must have 3 cells in each row, got 2 in row 2"),
    ("person,a,a\nm0,1,0\nm1,0,1\n", "columns: must come once each, got 'a' again in column 3"),
    ("a,b,Freq\n1,0,3\n0,1,2\n", "columns: must be items or persons, got 'Freq': if it says how many persons"),
    ("a,b,count\n1,0,1\n0,1,0\n", "--weights count reads it so; if it is an item, give it another name"),
    ("model,question,ok\nm,1,1\nm,2,0\n", "'m' again in row 2, column 'model': a long table has the columns person"),
    ("person,a\nm,1\nn,0\n", "items: must be at least 2 that some and not all attempts solve, got 1 of 1"),
    ("person,a,b\n", "responses: must have rows below the header, got none"),
    (IRW, "responses: must have rows below the header, got none"),
    ("", "responses: must have rows below the header, got none"),
    ("\n\n  \n", "responses: must have rows below the header, got none"),
    ("[]", "responses: must have rows below the header, got none"),
    ("a,b\nNA,NA\n,\n", "responses: must have at least one that is not missing, got none for 'a', 'b'"),
    (f"{IRW}p,a,NA\nq,b,\n", "responses: must have at least one that is not missing, got none for 'a', 'b'"),
    ("a,b,c\n1,0,1\n1,0,0\n1,0,1\n", "got 1 of 3 (solved by nobody: 'b'; solved by everybody: 'a')"),
    ('{"subject_id": "m", "responses": {"a": 2}}', f"responses: {ANSWERS}, got '2' in row 1, column 'a'"),
    ('{"subject_id": "m", "responses": {"a": 0.5}}', "got '0.5' in row 1, column 'a'"),
    ('{"subject_id": "m", "responses": {"a": [1]}}', "got \"['1']\" in row 1, column 'a'"),
    ('{"subject_id": "m", "responses": {"a": 1}}\n{"subject_id": "n"}', "in each row, got {'subject_id': 'n'} in row"),
    ('{"subject_id": "m", "responses": [1, 0]}', 'must be {"subject_id": .., "responses": {item: answer, ..}} in each'),
    ('{"responses": {"a": 1}}', 'must be {"subject_id": .., "responses": {item: answer, ..}} in each row'),
    ('{"subject_id": "m", "responses": {"a": 1, "a": 0}}', "columns: must come once each, got 'a' again in key 2 of"),
    ('{"subject_id": "m", "responses": {"a": 1}}\n' * 2, "person: must come once each, got 'm' again in row 2"),
    ('{"subject_id": "m", "responses": {"a": 1}}\n{oops', "must have a JSON object in each line, got '{oops' in line"),
    ('{"a": 1}\n[1, 0]', "responses: must be a JSON object in each row, got ['1', '0'] in row 2"),
    ("[1, 0]", "responses: must be a JSON object in each row, got '1' in row 1"),
    ('{"subject_id": null, "responses": {"a": 1}}', "person: must have a name, got '' in row 1"),
    (b"PK\x03\x04\x00\x00\xff", "responses: must be UTF-8 text (csv, tsv, jsonl) or Parquet, gzip or not, got "),
    ("a,b\n1,0\n0,1\n".encode("utf-16"), "responses: must be UTF-8 text"),
    ("person,é\nm,1\n".encode("latin-1"), "responses: must be UTF-8 text"),
    (b"a,b\n1,\x00\n", "(a zero byte)"),
    (gzip.compress(b"a,b\n1,0\n0,1\n" * 99)[:-12], "responses: must be UTF-8 text"),
    (b"\x1f\x8bnonsense", "responses: must be UTF-8 text"),
    (b"PAR1 is not all", "responses: must be UTF-8 text"),
    ('a,b\n1,"0\n' + "x" * 200_000, "responses: must be UTF-8 text"),
    ("[" * 200_000, "responses: must be UTF-8 text"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=range(len(REFUSED)))
def test_a_table_that_cannot_be_read_or_fitted_is_one_line_and_leaves_nothing(tmp_path, content, message, capsys):
    assert run(tmp_path, content) == (2, [])
    assert not (tmp_path / "out").exists()
    *notes, error = capsys.readouterr().err.splitlines()
    assert message in error
    assert "()" not in error
    assert error.startswith("error: ")
    assert all(note.startswith("note: ") for note in notes)


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_file_is_a_table_or_one_line(tmp_path, seed):
    """Bytes of a good file are changed, cut, doubled or moved."""
    luck = np.random.default_rng(seed)
    x = drawn(6, 4, seed)
    rows = [["person", *"abcd"], *([f"m{p}", *row] for p, row in enumerate(cells(x)))]
    wide = joined(rows, luck.choice(list("\t;,")))
    long = joined([["id", "item", "resp"], *long_rows(x, "uvwxyz", "abcd", "NA")])
    records = [{"subject_id": p, "responses": dict(zip("abcd", row, strict=True))} for p, row in enumerate(cells(x))]
    data = bytearray([wide, long, "\n".join(map(json.dumps, records))][seed % 3].encode())
    data = bytearray(gzip.compress(data)) if seed % 5 == 4 else data
    for _ in range(luck.integers(1, 4)):
        begin, end = sorted(luck.integers(0, len(data), 2))
        match luck.integers(4):
            case 0:
                data[begin] = luck.choice(list(b'\x00\xff\r\n",;\t{}[]01 xN'))
            case 1:
                del data[begin : begin + luck.integers(1, 9)]
            case 2:
                data[begin:begin] = data[begin:end]
            case 3:
                data = data[end:] + data[begin:end]
        data = data or bytearray(b"x")
    try:
        found, persons, items, _ = read(tmp_path, bytes(data))
    except InputError as error:
        said = str(error)
    else:
        assert found.shape == (len(persons), len(items))
        assert not np.isnan(found).all(axis=0).any()
        assert not np.isnan(found).all(axis=1).any()
        return
    assert "\n" not in said
    assert said.split(":")[0] in ("responses", "columns", "person", "item", "resp", "person, item", "successes")


PATTERN = "pattern,n\n00,3\n01,2\n11,4\n"


@pytest.mark.parametrize(
    ("text", "weights", "message"),
    [
        *((f"a,b,n\n1,0,3\n0,1,{bad}\n", "n",
           f"weights: must be whole numbers >= 0 of at most 15 digits, got '{bad}' in row 2, column 'n'")
          for bad in ("-1", "1.5", "", "NA", "x", "inf", "1e3", "TRUE")),
        ("a,b,n\n1,0,3\n", "m", "weights: must be a column of the table, got 'm', not among 'a', 'b', 'n'"),
        ("a,b,n\n1,0,3\n", "N", "weights: must be a column of the table, got 'N'"),
        ("a,b,n\n1,0,0\n0,1,0\n", "n", "weights: must have one >= 1, got 0 in all rows of column 'n'"),
        ("a,b,n\n1,0,99999999\n0,1,1\n", "n", "persons, items: must be at most 1e8 cells, persons times"),
        ("a,b,n\n1,2,3\n0,1,1\n", "n", f"responses: {ANSWERS}, got '2' in row 1, column 'b'"),
        (f"{IRW}p,a,1\n", "resp", "weights: must be a column of a wide table, got 'resp' for a long one"),
        ("pattern,n\n00,3\n1,2\n", "n", "responses: must be patterns of one length, 2 as in row 1, got '1' in row 2"),
        ("n\n3\n", "n", "columns: must have at least one item"),
        (PATTERN.replace("01", "0x"), "n", "columns: must have at least one item"),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_used_are_one_line_of_status_2(tmp_path, text, weights, message, capsys):
    assert run(tmp_path, text, "--weights", weights, "--model", "1pl") == (2, [])
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {message}")


def test_a_table_too_large_for_memory_is_refused_before_it_is_made(tmp_path, capsys):
    rows = [f"p{k},i{k},1" for k in range(10_001)]
    assert run(tmp_path, IRW + "\n".join(rows)) == (2, [])
    assert capsys.readouterr().err == (
        "error: persons, items: must be at most 1e8 cells, persons times items, got 10001 x 10001\n"
    )


# ---- the files people sent ----------------------------------------------------------------------------------


@pytest.mark.skipif(not FIELD.is_dir(), reason="the files of the field are not here")
@pytest.mark.parametrize(("name", "notes"), [("empty_item.csv", 1), ("irw_long.csv", 0), ("na_R.csv", 0),
                                             ("no_header.csv", 1), ("py_irt.jsonlines", 0), ("true_false.csv", 0),
                                             ("two_blocks.csv", 1)])  # fmt: skip
def test_the_files_of_the_field_are_read_and_fitted(tmp_path, name, notes, capsys):
    assert command.main([str(FIELD / name), "--model", "1pl", "--out", str(tmp_path / "out")]) == 0
    assert len(capsys.readouterr().err.splitlines()) == notes
    items, persons, _ = fitted(tmp_path)
    assert len(persons) == 200
    assert len(items) == (10 if name == "two_blocks.csv" else 5)
