"""Verdicts on final answers, with ordinary mathematics as the judge: all are right but for those that are known.

verdicts.csv: id, completion, answer, right, kind; written before the grader was asked. math_pairs.csv: 108 pairs of an
earlier survey.
"""

from pathlib import Path

import pandas as pd
import pytest

from real_runs.tasks.isolated import ScoringError
from real_runs.tasks.mathematics import MathScorer

HERE = Path(__file__).parent
KNOWN = {  # rows that are judged wrong, and why
    "multiple-boxes-05": "boxes that words part are not one answer: the last box is read",
    "fresh-021": "a chance of 5 in 9 is read as its last number",
    "fresh-023": "a year after the answer is read as the last number",
    "third-070": "fractions in words are not read",
}


@pytest.fixture(scope="module")
def score():
    return MathScorer()


def misjudged(score, rows):
    """Ids of the rows on which scorer and judge differ; what cannot be scored is wrong."""

    def judged(row):
        try:
            return score(row.completion, row.answer)
        except ScoringError:
            return 0.0

    return [row.id for row in rows.itertuples() if judged(row) != row.right]


def test_all_verdicts_are_right_but_for_those_that_are_known(score):
    rows = pd.read_csv(HERE / "verdicts.csv", keep_default_na=False, dtype={"completion": str, "answer": str})
    assert rows["id"].is_unique
    assert len(rows) >= 300
    assert 0.4 < rows["right"].mean() < 0.6
    assert misjudged(score, rows) == list(KNOWN)
    assert len(KNOWN) <= 0.01 * len(rows)


def test_all_pairs_of_an_earlier_survey_are_judged_right(score):
    rows = pd.read_csv(HERE / "math_pairs.csv", keep_default_na=False, dtype={"completion": str, "answer": str})
    assert len(rows) == 108
    assert misjudged(score, rows.assign(id=rows.index)) == []


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        ("The answer is not 8 but 7.", "7", 1),
        ("The answer is not 8.5 but 7.", "7", 1),
        ("The answer isn't 8, it's 7.", "7", 1),
        ("The answer is not 8.", "8", 0),
        ("It is 7 rather than 8.", "7", 1),
        ("So the remainder is 7 when divided by 13.", "7", 1),
        ("So n \u2261 7 (mod 13).", "7", 1),
        ("Hence $n=7$ is the only solution. $\\blacksquare$", "7", 1),
        ("Hence n = 7. \\[\\qed\\]", "7", 1),
        (r"\boxed{7^{\text{th}}}", "7", 1),
        (r"\boxed{7th}", "7", 1),
        (r"\boxed{0.333...}", "1/3", 1),
        (r"\boxed{0.1666\ldots}", "1/6", 1),
        (r"\boxed{0.333}", "1/3", 0),
        (r"\boxed{0.334...}", "1/3", 0),
        ("The answer is 3\u20444", "0.75", 1),
        ("The answer is \u00bd\u03c0", "\\pi/2", 1),
        ("The answer is 2\u00bd\u03c0", "5\\pi/2", 1),
        ("The answer is 2\u00bd", "2.5", 1),
    ],
)
def test_corrections_remainders_ordinals_ends_of_proofs_and_periods(score, completion, answer, right):
    assert score(completion, answer) == right


@pytest.mark.parametrize(
    "part", ["A) ", "option A) ", "<answer>", "1/", "x<", "(1,", "answer is ", "1 or ", "__1", "$1"]
)
def test_no_completion_stalls_or_breaks_the_reading(score, part):
    assert score(part * 100_000, "no such answer") == 0.0


def test_a_thought_that_began_long_before_its_end_does_not_count(score):
    assert score("<think>" + "so " * 5000 + r"\boxed{5}", "5") == 0.0
    assert score("<think>" + "so " * 5000 + r"\boxed{5}</think> 6", "6") == 1.0


@pytest.mark.parametrize(
    ("completion", "right"), [("B", 1), ("12", 1), ("B) 12", 1), ("C", 0), ("C) 12", 0), ("13", 0)]
)
def test_a_choice_with_its_text_is_met_by_either(score, completion, right):
    assert score(rf"\boxed{{{completion}}}", "B) 12") == right


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        (r"so it is $6.02 \times 10^{23}$", "6.02e23", 1),
        (r"so it is $ 3 \times 10^8 $.", "300000000", 1),
        (r"so it is 1.6 \times 10^{-19}", "1.6e-19", 1),
        (r"so it is $6.02 \times 10^{23}$", "23", 0),
        (r"so it is $5 \sqrt{2}$", r"\sqrt{50}", 1),
        (r"so it is $5 \sqrt{2}$", "2", 0),
        ("I paid $5 and got $7 back, so the total is 12", "12", 1),
        ("$x=5$ and $x=-3$", "5,-3", 1),
        ("$x=5$ or $x=-3$", "-3,5", 1),
        ("$5$ or $-3$", "-3,5", 1),
        ("$x_1=5$, $x_2=-3$", "5,-3", 1),
        ("x_1 = 5, x_2 = -3", "5,-3", 1),
        ("x = 5 and x = -3", "5,-3", 1),
        ("So x = 2, 3, and 5.", "2,3,5", 1),
        ("x = 2, 3 and 5.", "2,3,5", 1),
        ("x = 2, 3 and 5.", "5", 0),
        ("$x=5$ and $x=-3$", "-3", 0),
        ("where $a=3$ and $b=4$", "4", 1),
        ("The sum of $5$ and $3$ is $8$.", "8", 1),
        ("When x = 5, 3x = 15", "15", 1),
        ("If n = 10, 2 + 3 = 5", "5", 1),
        ("x = 2, y = 3", "3", 1),
    ],
)
def test_powers_of_ten_and_several_solutions_without_a_box(score, completion, answer, right):
    assert score(completion, answer) == right
