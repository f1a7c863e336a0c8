"""Tasks: right answers, held-out prompts that no pool holds, and scorers that hostile text cannot run, stall or end."""

import json
import re
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from real_runs.tasks.expressions import final_expression
from real_runs.tasks.families import FAMILIES
from real_runs.tasks.gym import _plain, _restored, gym_levels, is_arithmetic
from real_runs.tasks.isolated import Isolated, ScoringError, ScoringTimeout
from real_runs.tasks.mathematics import MathScorer
from real_runs.tasks.named import make_task
from real_runs.tasks.task import Generated, Problem
from workbench.errors import InputError
from workbench.streams import Role, generator
from workbench.tables.formats import SOURCES

RELEASED = Path(__file__).resolve().parents[3] / "shared" / "data" / "deepscaler"
DEMONSTRATED = [family for family in FAMILIES.values() if family.demonstrate]
GYM = ("chain_sum", "simple_integration", "string_insertion")  # the last two run a model's text as Python
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
AFTER = dict(zip(ALPHABET, ALPHABET[1:] + "a", strict=True))


# ------------------------------------------------------------------------------------------------------ families


def reference(prompt):
    """What a prompt asks for, worked out another way."""
    task, _, text = prompt.rstrip("=").partition(" ")
    if not text:
        return str(sum(map(int, task.split("+"))))
    if task == "swap":
        pairs = [text[i : i + 2] for i in range(0, len(text), 2)]
        return "".join(pair[::-1] for pair in pairs)
    if task in ("next", "back"):
        text = "".join(AFTER[letter] for letter in text)
    return "".join(reversed(text)) if task in ("rev", "flip", "back") else text


@pytest.mark.parametrize("family", DEMONSTRATED, ids=lambda family: family.name)
def test_answers_are_right_at_every_level(family):
    draw = generator(0, Role.PROBLEM)
    for level in range(1, family.levels + 1):
        for problem in (family.make(draw, level) for _ in range(40)):
            assert problem.level == level
            assert problem.answer == reference(problem.prompt)
            assert problem.prompt.endswith("=")


ENGLISH = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
WORDS = dict(zip(ENGLISH, range(1, 21), strict=True))
FORMS = (
    (r"(.+?)([+*/-])(\d+)=", lambda a, op, b: {"+": a + b, "-": a - b, "*": a * b, "/": Fraction(a, b)}[op]),
    (r"(\d+) (times) (\d+) is ", lambda a, _, b: a * b),
    (r"(\w+) (plus) (\w+)=", lambda a, _, b: a + b),
    (r"(\d+) \w+ (and|less) (\d+)(?: more)?=", lambda a, op, b: a + b if op == "and" else a - b),
    (r"(\d+) (bags of) (\d+) \w+=", lambda a, _, b: a * b),
)


def arithmetic(prompt):
    """The answer of a problem of the family arithmetic, read from its prompt."""
    if prompt.count("+") > 1:
        return str(sum(map(int, prompt.rstrip("=").split("+"))))
    ((match, value),) = ((m, value) for form, value in FORMS if (m := re.fullmatch(form, prompt)))
    one, other = (WORDS.get(text) or int(text) for text in (match[1], match[3]))
    return str(value(one, match[2], other))


def test_arithmetic_is_right_and_short_and_every_prompt_is_of_one_level():
    family, level_of, kinds = FAMILIES["arithmetic"], {}, set()
    draw = generator(0, Role.PROBLEM)
    for level in range(1, family.levels + 1):
        for problem in (family.make(draw, level) for _ in range(400)):
            assert problem.answer == arithmetic(problem.prompt)
            assert int(problem.answer) > 0
            assert len(problem.prompt) <= 26
            assert level_of.setdefault(problem.prompt, level) == problem.level == level
            kinds.add(problem.category)
            assert family.score(f" {problem.answer}\n1+1=2", problem.answer) == 1.0
            assert family.score(f"{problem.answer}0", problem.answer) == 0.0
    assert kinds == {"words", "product", "sum", "difference", "quotient", "story"}


def test_arithmetic_holds_out_24_different_problems_of_each_stratum():
    task = make_task("arithmetic")
    prompts, answers, stratum = task.heldout(24)
    assert [len({p for p, s in zip(prompts, stratum, strict=True) if s == of}) for of in range(10)] == [24] * 10
    assert all(len(answer) + 1 < task.limit for answer in answers)


def test_a_level_is_the_length_of_the_problem():
    for name, length in (("reverse", len), ("sums", lambda text: text.count("+")), ("skills", len)):
        for problem in FAMILIES[name].problems(60, seed=1):
            text = problem.prompt.split(" ")[-1].rstrip("=")
            assert length(text) == problem.level


@pytest.mark.parametrize("family", DEMONSTRATED, ids=lambda family: family.name)
def test_a_demonstration_without_slips_is_right(family):
    draw = generator(0, Role.DEMONSTRATION)
    for problem in family.problems(200, seed=2):
        assert family.score(family.demonstrate(draw, problem, 0.0), problem.answer) == 1.0


@pytest.mark.parametrize("name", ["reverse", "skills"])
def test_letters_slip_at_the_rate_asked_for(name):
    family, draw = FAMILIES[name], generator(0, Role.DEMONSTRATION)
    right = []
    for problem in family.problems(1000, seed=3):
        assert family.score(family.demonstrate(draw, problem, 1.0), problem.answer) == 0.0  # no letter is right
        shown = family.demonstrate(draw, problem, 0.2)
        assert len(shown) == len(problem.answer)
        right += [a == b for a, b in zip(shown, problem.answer, strict=True)]
    assert np.mean(right) == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / len(right)))


def test_a_slip_in_a_sum_is_carried_on_and_can_cancel():
    family, draw = FAMILIES["sums"], generator(0, Role.DEMONSTRATION)
    for problem in family.problems(300, seed=4):
        slipped = family.demonstrate(draw, problem, 1.0).split(",")
        assert len(slipped) == problem.level
        total = int(problem.prompt.split("+")[0])
        for term, shown in zip(problem.prompt.rstrip("=").split("+")[1:], map(int, slipped), strict=True):
            assert abs(shown - total - int(term)) in (1, 2)
            total = shown
        if problem.level == 1:
            assert family.score(slipped[0], problem.answer) == 0.0


def test_only_the_last_running_total_counts():
    assert FAMILIES["sums"].score("11,20", "20") == 1.0
    assert FAMILIES["sums"].score("20,21", "20") == 0.0
    assert FAMILIES["reverse"].score(" 321\n", "321") == 1.0
    assert FAMILIES["reverse"].score("", "321") == 0.0


@pytest.mark.parametrize("name", [*FAMILIES, "reasoning-gym:chain_sum"])
def test_every_completion_needs_at_most_the_limit(name):
    task = make_task(name)
    if name in FAMILIES and FAMILIES[name].demonstrate:
        draw = generator(0, Role.DEMONSTRATION)
        problems = FAMILIES[name].problems(200, seed=0, level=FAMILIES[name].levels)
        longest = max(len(FAMILIES[name].demonstrate(draw, problem, 0.0)) for problem in problems)
        assert longest < task.limit < 2 * longest
    assert task.limit >= 1


# ------------------------------------------------------------------------------------------- pools and held-out


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pool_is_what_its_seed_says(name):
    task = make_task(name)
    pool, again, other = task.pool(300, seed=7), task.pool(300, seed=7), task.pool(300, seed=8)
    assert dict(pool.payload) == dict(again.payload)
    assert pool.payload["prompt"] != other.payload["prompt"]
    assert len(pool) == len(set(pool.payload["prompt"])) == 300
    levels = FAMILIES[name].levels
    np.testing.assert_allclose(pool.difficulty, 100 * (pool.level - 1) / (levels - 1))
    assert set(pool.level) == set(range(1, levels + 1))
    right = arithmetic if name == "arithmetic" else reference
    assert all(right(p) == a for p, a in zip(pool.payload["prompt"], pool.payload["answer"], strict=True))


@pytest.mark.parametrize("name", [*FAMILIES, "reasoning-gym:chain_sum"])
def test_heldout_prompts_are_in_no_pool_of_any_seed(name):
    task = make_task(name)
    prompts, answers, stratum = task.heldout(20, seed=0)
    assert np.bincount(stratum).tolist() == [20] * len(np.unique(stratum))
    assert len(prompts) == len(answers) == len(stratum)
    assert task.heldout(20, seed=0)[0] == prompts != task.heldout(20, seed=1)[0]
    for seed in range(4):
        assert not set(prompts) & set(task.pool(1500, seed).payload["prompt"])


def test_strata_go_from_easy_to_hard():
    prompts, _, stratum = make_task("reverse").heldout(24)
    length = np.array([len(prompt) for prompt in prompts])
    assert set(stratum) == set(range(10))
    assert all(length[stratum == s].max() < length[stratum == s + 1].min() for s in range(9))
    assert len(set(prompts)) == len(prompts)


def test_a_short_space_gives_all_it_has_to_the_pool_and_repeats_what_it_holds_out():
    def stream(draw, level):
        while True:
            number = int(draw.integers(40))
            yield Problem(f"{number}", "a", level, "c")

    source = Generated("forty", 1, stream)
    pool, heldout = source.training(1000, seed=0), source.reserved(50, seed=0)
    held = set(heldout.payload["prompt"])
    assert len(heldout) == 50
    assert len(held) + len(pool) == 40
    assert not held & set(pool.payload["prompt"])


# ------------------------------------------------------------------------------------------------ reasoning-gym


@pytest.fixture(scope="module", params=GYM)
def gym(request):
    task = make_task(f"reasoning-gym:{request.param}")
    return task, task.pool(30, seed=5)


def test_gym_problems_are_what_their_seed_says(gym):
    task, pool = gym
    again, other = task.pool(30, seed=5), task.pool(30, seed=6)
    assert dict(pool.payload) == dict(again.payload)
    assert not set(pool.payload["prompt"]) & set(other.payload["prompt"])
    assert pool.difficulty.min() == 0
    assert pool.difficulty.max() == 100
    assert len(set(pool.payload["prompt"])) == 30


def test_gym_answers_are_judged_by_the_generators_own_scorer(gym):
    task, pool = gym
    for text in pool.payload["answer"][:10]:
        right = json.loads(text)["entry"]["answer"]
        assert task.score(right, text) == 1.0
        assert task.score(f"I think <answer>{right}</answer>", text) == 1.0
        assert task.score("no idea", text) < 0.1


def test_the_scorer_takes_other_right_answers_and_runs_no_code(gym, tmp_path):
    task, pool = gym
    text, witness = pool.payload["answer"][0], tmp_path / "witness"
    if task.name.endswith("simple_integration"):  # its scorer gives a model's text to sympy's parser, which evaluates
        answer = json.loads(text)["entry"]["answer"]
        assert task.score(f"3/2 - (-({answer}))", text) == 1.0
    for code in (f"__import__('pathlib').Path('{witness}').touch()", f"open('{witness}', 'w')", "exec(chr(49))"):
        assert task.score(code, text) < 0.1
    assert not witness.exists()


def test_countdown_takes_any_sum_of_its_numbers():
    task = make_task("reasoning-gym:countdown")
    text = task.pool(1).payload["answer"][0]
    assert task.score(f"(({json.loads(text)['entry']['answer']}))", text) == 1.0
    assert task.score("exec(chr(49))", text) < 0.1


def test_gym_levels_are_those_that_the_generator_accepts():
    assert len(gym_levels("caesar_cipher")) == 2  # of 4: its curriculum asks for 50 letters of 25
    assert len(gym_levels("gsm_symbolic")) == 1  # it has no curriculum
    lone = make_task("reasoning-gym:gsm_symbolic").pool(3)
    assert lone.difficulty.tolist() == [50.0] * 3


def test_an_entry_survives_as_json():
    entry = {"grid": ((1, 2), [3, (4,)]), "by": {1: "a", (2, 3): None}, "x": {"y": 1.5}}
    assert _restored(json.loads(json.dumps(_plain(entry)))) == entry


@pytest.mark.parametrize("text", ["2*(3+4)-5/6", "exp(2*x) + C", "sqrt(x)**3", "-1.5^2", ""])
def test_arithmetic_may_reach_sympy(text):
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    ["().__class__", "x.y", "exec(1)", "a=1", "'a'", "[1]", "lambda: 1", "_", "1 .real", "ｅｘｅｃ(1)", "f\\x", "x@y"],
)
def test_python_may_not(text):
    assert not is_arithmetic(text)


# ------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def prompt_file(tmp_path):
    rows = [{"prompt": f"What is half of {2 * i}?", "answer": i, "difficulty": i} for i in range(100)]
    rows += rows[:40]  # duplicates
    path = tmp_path / "halves.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_a_file_is_split_by_prompt(prompt_file, prefix):
    task = make_task(f"{prefix}{prompt_file}")
    prompts, answers, stratum = task.heldout(100)
    assert len(prompts) == len(set(prompts)) == 10
    assert all(prompt == f"What is half of {2 * int(a)}?" for prompt, a in zip(prompts, answers, strict=True))
    everything = task.pool(10_000, seed=3).payload["prompt"]
    assert set(prompts) | set(everything) == {f"What is half of {2 * i}?" for i in range(100)}
    assert not set(prompts) & set(everything)
    assert set(stratum) == set(range(stratum.max() + 1))
    part = task.pool(20, seed=1)
    assert part.payload["prompt"] == task.pool(20, seed=1).payload["prompt"] != task.pool(20, seed=2).payload["prompt"]
    assert [float(a) for a in part.payload["answer"]] == part.difficulty.tolist()


def test_pass_counts_of_a_file_stay_with_their_rows(tmp_path):
    path = tmp_path / "counts.csv"
    frame = pd.DataFrame({"prompt": [f"p{i}" for i in range(30)], "answer": range(30)})
    frame.assign(successes=range(30), attempts=30).to_csv(path, index=False)
    pool = make_task(str(path)).pool(10)
    assert [int(a) for a in pool.payload["answer"]] == pool.successes.tolist()


@pytest.mark.skipif(not RELEASED.is_dir(), reason="the released AdaRFT files are not here")
def test_released_rows_are_a_task():
    task = make_task(str(RELEASED / "uniform.parquet"))
    prompts, answers, stratum = task.heldout(12)
    pool = task.pool(10**6)
    assert np.bincount(stratum).tolist() == [12] * 10
    assert not set(prompts) & set(pool.payload["prompt"])
    assert len(pool) > 8500
    assert all("\\boxed{}" in prompt for prompt in prompts)
    for answer in answers[:30]:
        assert task.score(f"So it is $\\boxed{{{answer}}}$.", answer) == 1.0
        assert task.score("\\boxed{123454321}", answer) == 0.0
        assert task.score("I do not know", answer) == 0.0


# ----------------------------------------------------------------------------------------------------- scorers


@pytest.fixture(scope="module")
def score():
    return MathScorer()


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        (r"\boxed{\frac12}", "0.5", 1),
        (r"\boxed{1/2}", r"\frac{1}{2}", 1),
        (r"\boxed{2}", r"\frac{1}{2}", 0),
        (r"First \boxed{3}, no: \boxed{4}", "4", 1),
        (r"First \boxed{4}, no: \boxed{3}", "4", 0),
        (r"\boxed{x=3}", "$3$", 1),
        (r"\boxed{\sqrt{8}}", r"2\sqrt{2}", 1),
        (r"\boxed{(1, 2)}", "(1,2)", 1),
        (r"\boxed{\text{Tuesday}}", r"\boxed{\text{Tuesday}}", 1),
        (r"It costs $\frac{3}{4}$ euros", "0.75", 1),
        ("The answer is 1,234.", "1234", 1),
        (r"\boxed{12", "12", 0),
        ("", "0", 0),
        ("\x00\ud800 no number", "0", 0),
    ],
)
def test_mathematics(score, completion, answer, right):
    assert score(completion, answer) == right


COMPLETIONS = [
    # amounts of money
    ("She sells 9 eggs at $2 each, so she makes $18 every day.", "18", 1),
    ("She sells 9 eggs at $2 each, so she makes $18 every day.", "2", 0),
    ("Tickets are $5 and $7, so the total is 12", "12", 1),
    ("He pays $1,250.50 in all.", "1250.5", 1),
    ("He pays $1,250.50 in all.", "50", 0),
    ("It costs $3.", "3", 1),
    ("From $20 he gets $20 - $13 = $7 back.", "7", 1),
    ("They owe -$40.", "40", 0),
    (r"The profit is \$64.", "64", 1),
    ("He earns 12 dollars an hour for 8 hours: 96 dollars.", "96", 1),
    # numbers
    ("The probability is .5", "0.5", 1),
    ("The probability is .5", "5", 0),
    ("There are 6.02e23 of them", "6.02e23", 1),
    ("There are 6.02e23 of them", "23", 0),
    ("It weighs 1e3 grams", "1000", 1),
    ("It weighs 1e-3 grams", "0.001", 1),
    ("The sum is -3.", "-3", 1),
    ("The sum is -3.", "3", 0),
    ("The score was 2-1", "1", 1),
    ("That makes 12,345,678 people.", "12345678", 1),
    ("That makes 12,345,678 people.", "678", 0),
    ("It grew by 50%.", "50", 1),
    ("It grew by 50%.", "0.5", 1),
    ("It grew by 50%.", "5", 0),
    ("He ate 3/4 of it.", "0.75", 1),
    ("He ate 3/4 of it.", "4", 0),
    ("It takes 2 1/2 hours.", "2.5", 1),
    ("So it is 7.0", "7", 1),
    ("0.3333333", "1/3", 0),
    ("1000000000000000001", "1000000000000000000", 0),
    # tuples and several solutions
    ("The point is (1, 2)", "2", 0),
    ("The point is (1, 2)", "(1,2)", 1),
    ("The point is (1, 2)", "(2,1)", 0),
    ("x = 2 or x = -5", "-5", 0),
    ("x = 2 or x = -5", "2, -5", 1),
    (r"\boxed{3, -1}", "-1, 3", 1),
    (r"The roots are $\boxed{3}$ and $\boxed{4}$.", "3, 4", 1),
    (r"At first $\boxed{3}$. No, on second thoughts $\boxed{4}$.", "4", 1),
    # announced and tagged answers
    ("Adding 3 and 4, the answer is 7. I am sure of 100 of them.", "7", 1),
    ("**Answer:** 42", "42", 1),
    ("Final answer: 2 + 3 = 5", "5", 1),
    ("5 * 9 = 45\n#### 45", "45", 1),
    ("The answer is $\\frac{1}{2}$, as 3 of 6 are red.", "0.5", 1),
    ("The answer is Tuesday.", r"\text{Tuesday}", 1),
    ("The answer is Tuesday.", "Monday", 0),
    ("The answer is (B).", "B", 1),
    ("The answer is (B).", "C", 0),
    ("2 of them? <answer>17</answer> checked 3 times", "17", 1),
    ("<think>Perhaps \\boxed{9}.</think> It is \\boxed{8}.", "8", 1),
    ("<think>Perhaps \\boxed{9}.", "9", 0),
    # mathematics in the text
    (r"The area is $12\pi$ cm in all.", r"12\pi", 1),
    (r"The area is $12\pi$ cm in all.", "12", 0),
    (r"Hence \(x = \frac{7}{3}\).", "7/3", 1),
    (r"Therefore \[ n = 2^{10} \]", "1024", 1),
    ("The sum is 2^10", "1024", 1),
    ("The sum is 2^10", "10", 0),
    (r"$$\sqrt{12}$$", r"2\sqrt{3}", 1),
    (r"Let $n$ be the count of apples. We get 4 + 5 = 9 apples.", "9", 1),
    (r"So $\theta = 60^\circ$.", "60", 1),
    (r"\boxed{x^2 - 1}", "(x-1)(x+1)", 1),
    (r"\boxed{x^2 - 1}", "x^2 + 1", 0),
    (r"\boxed{\dfrac{3}{4}}", "3/4", 1),
    (r"\boxed{12\text{ apples}}", "12", 1),
    (r"\boxed{1{,}000}", "1000", 1),
    (r"\boxed{}", "0", 0),
    ("I do not know.", "0", 0),
]


@pytest.mark.parametrize(("completion", "answer", "right"), COMPLETIONS)
def test_completions_as_models_write_them(score, completion, answer, right):
    assert len(COMPLETIONS) >= 50
    assert score(completion, answer) == right


@pytest.mark.parametrize(
    ("text", "final"),
    [
        (r"\boxed{a{b}c} 7", "a{b}c"),
        (r"\boxed{1} \boxed{2", ""),
        ("$x$ and $y$ 3", "y"),
        ("Let $x$ be the price. Then it is 3.", "3"),
        ("from -1 to 2,500.5,", "2,500.5"),
        ("Tuesday.", "Tuesday"),
        ("words\nin lines", ""),
    ],
)
def test_the_final_expression(text, final):
    assert final_expression(text) == final


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch {witness}')",
        r"\text{{__import__('os').system('touch {witness}')}}",
        "open('{witness}','w')",
    ],
)
def test_code_in_a_completion_does_not_run(score, text, tmp_path):
    code = text.format(witness=tmp_path / "witness")
    for completion in (rf"\boxed{{{code}}}", f"${code}$", code):
        assert score(completion, r"\frac{\pi}{7}") == 0.0
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize(
    "text",
    ["1" * 10**6, "(" * 10**5 + ")" * 10**5, r"\frac{" * 600 + "}{2}" * 600, r"\boxed{" * 10**5],
    ids=["digits", "brackets", "fractions", "boxes"],
)
def test_a_huge_or_deeply_nested_completion_is_wrong(score, text):
    for completion in (text, rf"\boxed{{{text}}}"):
        assert score(completion, r"\frac{\pi}{7}") == 0.0


def test_a_tower_of_powers_is_given_up(score):
    hasty = Isolated("real_runs.tasks.mathematics:math_verifier", seconds=2)
    with pytest.raises(ScoringTimeout, match=r"^score: must take at most 2 seconds, got none from .*math_verifier$"):
        hasty("10^{10^{10^{10}}}", r"\frac{\pi}{7}")
    assert hasty("2^{10}", "1024") == 1.0


def scorer(source, seconds=0.5):
    return Isolated("builtins:eval", f"lambda completion, answer: {source}", seconds=seconds)


@pytest.mark.parametrize("hang", ["__import__('time').sleep(60)", "sum(1 for _ in iter(int, 1))", "9 ** 9 ** 9"])
def test_a_scorer_that_hangs_is_stopped_and_the_next_call_works(hang):
    isolated = scorer(f"1.0 if completion == 'fine' else {hang}")
    assert isolated("fine", "") == 1.0
    start = time.monotonic()
    with pytest.raises(ScoringTimeout):
        isolated("hang", "")
    assert time.monotonic() - start < 10
    assert isolated("fine", "") == 1.0


def test_the_time_limit_holds_in_other_threads():
    isolated, seen = scorer("float(completion) if completion else __import__('time').sleep(60)"), {}

    def call(text):
        try:
            seen[text] = isolated(text, "")
        except ScoringError as error:
            seen[text] = type(error)

    threads = [threading.Thread(target=call, args=(text,)) for text in ("0.25", "", "1.0")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == {"0.25": 0.25, "": ScoringTimeout, "1.0": 1.0}


def test_a_scorer_that_fails_says_so_and_goes_on():
    isolated = scorer("float(completion) if completion != 'end' else __import__('os')._exit(1)", seconds=5)
    for text, message in (
        ("five", "raised ValueError: could not convert"),
        ("nan", "got nan"),
        ("1.5", "got 1.5"),
        ("-inf", "got -inf"),
        ("end", "ended"),
    ):
        with pytest.raises(ScoringError, match=message) as caught:
            isolated(text, "")
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, ScoringTimeout)
    assert isolated("0.5", "") == 0.5


def test_a_scorer_that_prints_or_reads_does_not_disturb():
    isolated = scorer("[print('1'), __import__('sys').stdin.read()] and 0.5", seconds=5)
    assert [isolated("", "") for _ in range(3)] == [0.5] * 3


def test_memory_is_bounded():
    with pytest.raises(ScoringError, match="MemoryError"):
        scorer("float(len(bytes(2**33)))", seconds=5)("", "")


def test_a_scorers_process_ends_with_its_owner():
    isolated = scorer("1.0")
    isolated("", "")
    process = isolated._stop.peek()[2][0]
    assert process.poll() is None
    del isolated
    assert process.poll() is not None


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("spec", ["revers", "", "reasoning-gym", "pool.txt", "file"])
def test_an_unknown_task_is_refused(spec):
    with pytest.raises(InputError) as caught:
        make_task(spec)
    files = f"or {SOURCES}"
    choices = f"{', '.join(FAMILIES)}, reasoning-gym:NAME, package.module:Name, {files}"
    assert str(caught.value) == f"task: must be {choices}, got '{spec}'"


@pytest.mark.parametrize("name", ["", "chain_summ", "composite"])
def test_an_unknown_generator_is_refused(name):
    with pytest.raises(InputError, match=rf"^task: must be reasoning-gym:NAME with a generator .*, got '{name}'$"):
        make_task(f"reasoning-gym:{name}")


def written(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "a"}, {"prompt": "b"}], "must have a column 'answer' in its 2 rows, got none"),
        ([{"answer": "a"}, {"answer": "b"}], "must have a column 'prompt' in its 2 rows, got none"),
        (
            [{"prompt": "a", "answer": "1"}, {"prompt": "b", "answer": None}, {"prompt": "c", "answer": " "}],
            "must have text in column 'answer' of every row, got none in 2 of 3 rows, the first is row 1",
        ),
        (
            [{"prompt": [{"role": "user", "text": "a"}] * 2, "answer": "1"}, {"prompt": "b", "answer": "1"}],
            "must have text in column 'prompt' of every row, got none in 1 of 2 rows, the first is row 0",
        ),
        (
            [{"prompt": "a", "answer": "1"}] * 3,
            "must have at least 2 different prompts, one of them to hold out, got 1",
        ),
    ],
)
def test_a_file_with_gaps_is_refused(tmp_path, rows, message):
    path = written(tmp_path, [row | {"difficulty": 50} for row in rows])
    with pytest.raises(InputError) as caught:
        make_task(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^task: must be a file that exists, got"):
        make_task(f"file:{tmp_path}/none.csv")


@pytest.mark.parametrize(("call", "field"), [("pool", "size"), ("heldout", "per_stratum")])
@pytest.mark.parametrize("count", [0, -1, 1.5, "3"])
def test_counts_are_checked(call, field, count):
    with pytest.raises(InputError, match=rf"^{field}: must be a whole number >= 1, got"):
        getattr(make_task("reverse"), call)(count)


def test_a_seed_is_checked():
    with pytest.raises(InputError, match=r"^seed: must be whole numbers in"):
        make_task("reverse").pool(3, seed=-1)
