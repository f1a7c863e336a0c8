"""Tables for a paper: numbers are the summary's, bold is what the test says, text is escaped."""

import numpy as np
import pandas as pd
import pytest

from workbench.analysis.printed import latex_table, markdown_table, short_table
from workbench.errors import InputError

ROW = {"pool": "p", "learner": "l", "seeds": 8, "speedup": 1.5, "speedup_low": 1.2, "speedup_high": 1.8, "auc": 0.345,
       "p_holm": 0.012}  # fmt: skip
GAINS = {"auc_gain": -0.02, "auc_gain_low": -0.03, "auc_gain_high": -0.01}
SUMMARY = pd.DataFrame([
    ROW | {"controller": "uniform", "verdict": "baseline"} | dict.fromkeys((*GAINS, "speedup", "speedup_low",
                                                                            "speedup_high", "p_holm"), np.nan),
    ROW | {"controller": "a_b", "verdict": "better"} | {name: -gain for name, gain in GAINS.items()},
    ROW | {"controller": "sec", "verdict": "worse"} | GAINS,
    ROW | {"controller": "[x]|y", "verdict": "no difference", "p_holm": 3e-5} | GAINS,
])  # fmt: skip
SUMMARY.loc[1, ["auc_gain_low", "auc_gain_high"]] = 0.01, 0.03


def rows(text: str) -> list[list[str]]:
    return [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if line.endswith(r"\\")]


def test_bold_is_the_gain_of_what_the_test_calls_better_and_nothing_else():
    head, *body = rows(latex_table(SUMMARY))
    assert head == ["pool", "learner", "controller", "seeds", "speed-up", "area", "gain in area", "p (Holm)",
                    "against uniform"]  # fmt: skip
    assert [row[6] for row in body] == [
        "", r"\textbf{+0.020 [+0.010, +0.030]}",
        *[r"\ensuremath{-}0.020 [\ensuremath{-}0.030, \ensuremath{-}0.010]"] * 2]  # fmt: skip
    assert latex_table(SUMMARY).count("textbf") == 1
    assert body[1][2] == r"a\_b"
    assert body[1][4] == "1.50 [1.20, 1.80]"
    marked = markdown_table(SUMMARY).splitlines()
    assert [line.count("**") for line in marked] == [0, 0, 0, 2, 0, 0]
    assert "**+0.020 [+0.010, +0.030]**" in marked[3]


def test_siunitx_columns_hold_bare_numbers_with_a_format_that_fits_them():
    text = latex_table(SUMMARY, siunitx=True)
    setting, form = text.splitlines()[:2]
    assert "text-series-to-math = true" in setting
    assert form == (r"\begin{tabular}{lllS[table-format=1]S[table-format=1.2]lS[table-format=1.3]S[table-format=+1.3]l"
                    r"S[table-format=1.3e-2]l}")  # fmt: skip
    head, *body = rows(text)
    assert {len(row) for row in (head, *body)} == {form.count("S[") + 6}
    for row in body:
        for cell in (row[3], row[4], row[6], row[7], row[9]):
            number = cell.removeprefix(r"\bfseries ")
            assert number == "{}" or np.isfinite(float(number))
    assert [row[7] for row in body] == ["{}", r"\bfseries +0.020", "-0.020", "-0.020"]
    assert body[1][8] == r"\textbf{[+0.010, +0.030]}"
    assert "% needs \\usepackage{booktabs, siunitx}" in text


def test_a_row_never_begins_with_a_bracket_that_would_belong_to_the_line_before():
    table = SUMMARY.assign(pool="[2em]")
    assert all(row[0] == "{}[2em]" for row in rows(latex_table(table))[1:])


@pytest.mark.parametrize("siunitx", [False, True])
def test_chosen_columns_are_those_of_the_whole_table_in_the_order_wanted(siunitx):
    whole, some = (rows(latex_table(SUMMARY, siunitx=siunitx, columns=columns)) for columns in (
        None, ["controller", "gain in area", "verdict"]))  # fmt: skip
    places = [2, 7, 8, 10] if siunitx else [2, 6, 8]
    begun = [[cell.removeprefix("{}[x]") for cell in row] for row in some]  # a row that begins with a bracket
    assert begun == [[row[place].removeprefix("[x]") for place in places] for row in whole]
    form = latex_table(SUMMARY, siunitx=siunitx, columns=["area", "pool"]).splitlines()[siunitx]
    assert form == r"\begin{tabular}{" + ("S[table-format=1.3]l}" if siunitx else "rl}")
    assert "% bold" not in latex_table(SUMMARY, columns=["area", "pool"])
    head, _, *body = markdown_table(SUMMARY, columns=["gain in area", "controller"]).splitlines()
    assert head == "| gain in area | controller |"
    assert body[1] == "| **+0.020 [+0.010, +0.030]** | a_b |"


def test_labels_stand_for_names_and_others_are_escaped():
    text = latex_table(SUMMARY, {"a_b": r"\textsc{Mine}", "p": "Pool"})
    assert [row[2] for row in rows(text)[1:]] == ["uniform", r"\textsc{Mine}", "sec", r"[x]\textbar{}y"]
    assert {row[0] for row in rows(text)[1:]} == {"Pool"}
    assert r"| [x]\|y |" in markdown_table(SUMMARY)
    assert "| Mine |" in markdown_table(SUMMARY, {"a_b": "Mine"})


def test_tables_need_no_further_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setitem(sys.modules, "tabulate", None)
    assert latex_table(SUMMARY)
    assert markdown_table(SUMMARY)
    assert list(short_table(SUMMARY)["controller"]) == list(SUMMARY["controller"])


@pytest.mark.parametrize(("call", "said"), [
    (lambda: latex_table(SUMMARY, siunitx="yes"), "siunitx: must be True or False, got 'yes'"),
    (lambda: latex_table(SUMMARY, {"a_b": 5}), "labels: must be text, got 5"),
    (lambda: markdown_table(SUMMARY, ["a_b"]), r"labels: must map names of the table to the names shown, got"),
    (lambda: latex_table(SUMMARY.drop(columns="auc_gain_low")), "summary: must have the column 'auc_gain_low'"),
    (lambda: markdown_table(pd.concat([SUMMARY, SUMMARY])), "summary: must have one row per"),
    (lambda: latex_table(SUMMARY, columns=["gain"]), "columns: must be one of pool, learner, .*, verdict, got 'gain'"),
    (lambda: latex_table(SUMMARY, columns="area"), "columns: must be a list of some of pool, .*, got 'area'"),
    (lambda: markdown_table(SUMMARY, columns=[]), r"columns: must be a list of some of pool, .*, got \[\]"),
    (lambda: markdown_table(SUMMARY, columns=["area", "area"]), "columns: must name each once, got area more than"),
    (lambda: short_table(5), "summary: must be a pandas table"),
])  # fmt: skip
def test_other_tables_and_labels_are_refused_in_one_line(call, said):
    with pytest.raises(InputError, match=f"^{said}"):
        call()
