"""Readers of answers: what they find, what they refuse, and completions that are written to stall them."""

import time

import pytest

from real_runs.tasks.answers import READING_SECONDS, Reader, ReadScorer
from real_runs.tasks.isolated import LONGEST
from real_runs.tasks.mathematics import MathScorer
from real_runs.tasks.named import make_scorer, make_task
from workbench.errors import InputError


@pytest.mark.parametrize(
    ("form", "completion", "found"),
    [
        ("last-line", "first\n second \n\n", "second"),
        ("last-line", " \n", ""),
        ("last-number", "1,234.5 at first, then -3,000.", "-3000"),
        ("last-number", "from 3-4", "4"),
        ("last-number", "it is \N{MINUS SIGN}7", "-7"),
        ("last-number", "about .5 of it", ".5"),
        ("last-number", "1, 2", "2"),
        ("last-number", "none", ""),
        ("boxed", r"\boxed{1}. No: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("boxed", r"12 and \boxed{12", ""),
        ("boxed", "12", ""),
        ("tag:answer", "<answer>1</answer> <Answer> 2 </answer> <answer>", "2"),
        ("tag:final-1", "<final-1>a\nb</final-1>", "a\nb"),
        ("tag:answer", "</answer> <answer>", ""),
        (r"A: (\d+)", "A: 1, A: 22.", "22"),
        (r"\d+", "1 22 x", "22"),
        (r"(x)?y", "xy y", ""),
        (r"\d+", "none", ""),
        ("last-number", "<think>1</think> 2 <think>3", "2"),
        ("boxed", r"<think>\boxed{1}", ""),
        ("tag:answer", "<answer>1</answer></think><answer>2</answer>", "2"),
        (r"<think>(\d)", "<think>1", "1"),
    ],
)
def test_a_reader_finds_the_last_answer_of_its_form(form, completion, found):
    assert Reader(form)(completion) == found


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("last-lin", "must be last-line, last-number, boxed, tag:NAME or a regular expression, which has one of $ ( "),
        ("tag:", "must have a name of letters, digits, _ and - after tag:, got 'tag:'"),
        ("tag:a b", "must have a name of letters, digits, _ and - after tag:, got 'tag:a b'"),
        ("(", "must be a regular expression that compiles, got '(' (missing )"),
    ],
)
def test_a_form_that_is_none_is_refused_in_one_line_before_the_task_is_made(form, expected):
    with pytest.raises(InputError) as refused:
        make_task("no such task", answer=form)
    assert str(refused.value).startswith(f"--answer: {expected}")
    assert "\n" not in str(refused.value)


def test_a_completion_that_stalls_a_regular_expression_has_no_answer():
    reader = Reader("(a|aa)+$")
    start = time.perf_counter()
    assert reader("a" * 5000 + "!") == ""
    assert READING_SECONDS / 2 < time.perf_counter() - start < 20 * READING_SECONDS
    assert reader("aaa") == "a"


@pytest.mark.parametrize("form", ["last-line", "last-number", "boxed", "tag:answer"])
@pytest.mark.parametrize("part", ["<answer>", "</answer>", "\\boxed{", "1,", "1", "1,111", "\n", "\\boxed{}"])
def test_no_other_reader_can_be_stalled(form, part):
    start = time.perf_counter()
    Reader(form)(part * LONGEST)
    assert time.perf_counter() - start < 5


def test_a_long_completion_is_read_from_its_end():
    assert Reader(r"x(\d)")("x1" + " " * LONGEST) == ""
    assert Reader(r"x(\d)")(" " * LONGEST + "x1") == "1"


def test_what_cannot_be_read_is_wrong_and_told_apart_from_what_is_wrong():
    task = make_task("sums", answer="tag:answer")
    right, wrong, unread = "I think <answer>20</answer>.", "<answer>21</answer>", "20"
    assert [task.score(text, "20") for text in (right, wrong, unread)] == [1.0, 0.0, 0.0]
    assert [bool(task.read(text)) for text in (right, wrong, unread)] == [True, True, False]
    assert [make_task("sums").read(text) for text in (" 20\n", " ")] == ["20", ""]
    assert make_task("sums").score("20", "20") == 1.0


def test_a_reader_goes_before_a_scorer_by_name():
    task = make_task("reverse", "exact", "last-line")
    assert task.score("thinking\n321\n", "321") == 1.0
    assert task.score("321\nthinking", "321") == 0.0


@pytest.mark.parametrize(
    ("form", "completion", "answer", "right"),
    [
        ("boxed", r"\boxed{\sqrt{8}}", r"2\sqrt{2}", 1),  # the expression as a whole, not its last number
        ("boxed", r"\boxed{\sqrt{8}}", "8", 0),
        ("boxed", "12", "12", 0),
        ("tag:answer", r"<answer>$\frac12$</answer>", "0.5", 1),
        ("A: (.*)", r"A: \sqrt{8}", "8", 0),
        ("last-line", "It costs $3.\nThe answer is 7.", "7", 1),
        ("last-number", r"\boxed{3}, no, 4", "4", 1),
    ],
)
def test_mathematics_is_compared_where_the_reader_found_it(form, completion, answer, right):
    score = ReadScorer(Reader(form), make_scorer("math"))
    assert isinstance(score.score, MathScorer)
    assert score(completion, answer) == right
