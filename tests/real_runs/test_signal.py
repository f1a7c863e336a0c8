"""Which groups can teach: the equations, and what a run says and refuses before its first update."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from real_runs.rl import models, ppo
from real_runs.rl.learner import HeldOut, PPOLearner, Settings
from real_runs.runs import scorers, signal
from real_runs.runs.record import RunRecord
from real_runs.tasks import named
from real_runs.tasks.isolated import Isolated
from workbench.errors import InputError
from workbench.pool import Pool

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]


# --------------------------------------------------------------------------------------------------- equations


@pytest.mark.parametrize("rollouts", [1, 2, 3, 6])
def test_the_chance_of_a_mixed_group_is_the_share_of_subsets_of_the_attempts_that_are_mixed(rollouts):
    for successes in range(7):
        attempts = [1] * successes + [0] * (6 - successes)
        subsets = list(itertools.combinations(attempts, rollouts))
        share = np.mean([0 < sum(group) < rollouts for group in subsets])
        assert signal.mixed_chance([successes], [6], rollouts) == pytest.approx([share], abs=1e-12)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_the_chance_of_a_mixed_group_is_unbiased(p):
    n, rollouts = 12, 5
    s = np.arange(n + 1)
    chances = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in s]
    mean = np.dot(chances, signal.mixed_chance(s, n, rollouts))
    assert mean == pytest.approx(1 - p**rollouts - (1 - p) ** rollouts, abs=1e-12)


def test_more_rollouts_than_attempts_take_the_mean_over_the_posterior():
    from scipy.integrate import quad
    from scipy.stats import beta

    expected = [
        quad(lambda p, k=k: (1 - p**16 - (1 - p) ** 16) * beta.pdf(p, k + 0.5, 4 - k + 0.5), 0, 1, limit=200)[0]
        for k in range(5)
    ]
    assert signal.mixed_chance(np.arange(5), 4, 16) == pytest.approx(expected, abs=1e-6)
    mixed = signal.mixed_chance([2, 2], [4, 32], 16)  # each item by its own attempts
    assert mixed[0] == pytest.approx(expected[2], abs=1e-6)
    assert mixed[1] == pytest.approx(1 - math.comb(30, 16) / math.comb(32, 16))


def test_the_chance_of_a_batch_without_signal_is_the_mean_over_its_subsets():
    mixed = np.array([0.0, 0.1, 0.5, 0.9, 1.0, 0.3])
    for batch in range(1, 7):
        subsets = itertools.combinations(1 - mixed, batch)
        expected = np.mean([np.prod(subset) for subset in subsets])
        assert signal.all_silent_chance(mixed, batch) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(InputError, match=r"^batch: must be a whole number in \[1, 6\], got 7$"):
        signal.all_silent_chance(mixed, 7)


def test_intervals_hold_the_truth_for_few_items_and_for_rare_successes():
    """Coverage over repeated draws of 24 items from a Beta law."""
    draw = np.random.Generator(np.random.Philox(3))
    alpha, beta = 0.4, 7.6
    silent = 1 - signal._mixed_of_beta(np.array(alpha), np.array(beta), 8)
    hits = np.zeros(2)
    for _ in range(60):
        found = signal.Spectrum.of(draw.binomial(8, draw.beta(alpha, beta, 24)), np.full(24, 8), 8)
        hits += [found.success.low <= 0.05 <= found.success.high, found.silent.low <= silent <= found.silent.high]
    assert (hits >= 52).all()


def test_items_that_are_never_solved_have_an_interval_from_0():
    none = signal.Spectrum.of(np.zeros(30, np.int64), np.full(30, 8), 8)
    assert (none.success.value, none.success.low) == (0.0, 0.0)
    assert 0.01 < none.success.high < 0.12
    assert (none.silent.value, none.silent.high) == (1.0, 1.0)
    assert 0.7 < none.silent.low < 0.99
    one = signal.Spectrum.of(np.array([0]), np.array([8]), 8)
    assert (one.items, one.success.low) == (1, 0.0)
    assert 0.2 < one.success.high < 0.4
    assert math.isnan(one.silent.low)


# ------------------------------------------------------------------------------------------------ before a run


@pytest.fixture
def learner(tiny):
    """learner(answers, score): of the tiny model that writes 0 and 1."""

    def of(answers, score=lambda text, answer: float(text == answer), seed=0):
        payload = {"prompt": [f"rev {i}=" for i in range(len(answers))], "answer": answers}
        pool = Pool(np.linspace(0, 100, len(answers)), payload=payload, name="p")
        heldout = HeldOut(["rev 1="], ["1"], np.array([0]))
        policy = models.load(tiny("llama", prefers="01"))
        return PPOLearner(policy, pool, score, heldout, ppo.ALGORITHMS["grpo"], Settings(limit=3), seed)

    return of


def test_groups_are_drawn_until_three_are_mixed(learner):
    lines = []
    found = signal.look(learner(["0", "1", "01", "2"]), 2, 4, lines.append)
    assert found.mixed >= signal.ENOUGH
    assert found.groups % 2 == 0
    assert found.groups < signal.MOST_GROUPS
    assert lines[-1] == f"groups that can teach: {found.mixed} of {found.groups} of 4 completions mixed"
    assert len(lines) == 4
    assert all(line.startswith("step    0  reward ") for line in lines[:3])
    signal.check_signal(found, pytest.fail, anyway=False)
    again, other = [], []
    assert signal.look(learner(["0", "1", "01", "2"]), 2, 4, again.append) == found
    signal.look(learner(["0", "1", "01", "2"], seed=5), 2, 4, other.append)
    assert lines == again
    assert lines[:3] != other[:3]


@pytest.mark.parametrize(("score", "other"), [(0.0, "easier"), (1.0, "harder"), (0.25, "easier")])
def test_a_pool_of_which_nothing_can_be_learned_is_refused_after_150_groups(learner, score, other):
    mine = learner(["0"] * 5, score=lambda text, answer: score)
    found = signal.look(mine, 40, 2, [].append)
    assert found == signal.Signal(150, 0, 2, score)
    with pytest.raises(InputError) as refused:
        signal.check_signal(found, pytest.fail, anyway=False)
    assert str(refused.value) == (
        "--pool: must have problems of which at least 2 % give mixed groups, as others teach nothing, got 0 of 150 "
        f"groups of 2 completions (mean reward {score:.3f}); measure.py shows success by level: take {other} problems, "
        "examples in the prompt (--shots) or another place for the answer (--answer), or start with --anyway"
    )
    lines = []
    signal.check_signal(found, lines.append, anyway=True)
    assert len(lines) == 1


def test_the_run_after_a_look_is_the_run_without_one(learner):
    """Faults of the scorer, too, are counted in the run alone."""

    def score(text, answer):
        if text.startswith("0"):
            raise ValueError
        return float(text == answer)

    looked, plain = (learner(["0", "1", "01", "1"], score) for _ in range(2))
    signal.look(looked, 4, 4, [].append)
    items = np.arange(4)
    for mine in (looked, plain):
        rewards = mine.attempt(items, 4)
        mine.learn(items, rewards, np.ones(4, bool))
    states = [mine.state_dict() for mine in (looked, plain)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert np.array_equal(np.asarray(value), np.asarray(states[1][name])), name
    seconds = [{k: v for k, v in mine.stats.items() if not k.startswith("seconds")} for mine in (looked, plain)]
    np.testing.assert_equal(*seconds)


def test_what_a_model_wrote_is_shown_escaped(learner, monkeypatch):
    """A completion that would clear the terminal, turn text around or write a line of its own."""
    mine = learner(["0", "1", "01"])
    hostile = "\x1b[2J\n\u202eerror: all is well\r"
    monkeypatch.setattr(mine.policy, "decode", lambda sampled: [hostile] * len(sampled))
    lines = []
    signal.look(mine, 3, 2, lines.append)
    assert lines[0].endswith(r" -> '\x1b[2J\n\u202eerror: all is well\r'")
    assert all(line.isprintable() for line in lines)


# ----------------------------------------------------------------------------------------------------- scorers


def pool_of(answers):
    return Pool(np.zeros(len(answers)), payload={"prompt": list("abcdefgh")[: len(answers)], "answer": answers})


@pytest.mark.parametrize("spec", ["reverse", "sums", "skills"])
def test_answers_of_the_families_have_full_score(spec):
    task = named.make_task(spec)
    scorers.check_answers(task, task.pool(40), pytest.fail)


def test_an_answer_of_reasoning_gym_is_that_of_its_entry():
    pytest.importorskip("reasoning_gym")
    task = named.make_task("reasoning-gym:basic_arithmetic")
    scorers.check_answers(task, task.pool(5), pytest.fail)


def test_answers_that_cannot_be_met_are_named_with_their_share():
    task = named.make_task("reverse")
    strict = replace(task, score=lambda completion, answer: float(completion == answer.lower()))
    lines = []
    scorers.check_answers(strict, pool_of(["a", "B", "c", "D"]), lines.append)
    assert lines == [
        "--scorer: must give full score to an answer itself, got less for 2 of 4 answers, the first is 'B' in row 1 of "
        "the pool: 0"
    ]
    with pytest.raises(InputError, match=r"got less for 2 of 2 answers, .* row 0 of the pool: 0; --anyway starts nev"):
        scorers.check_answers(strict, pool_of(["A", "B"]), pytest.fail)
    scorers.check_answers(strict, pool_of(["A", "B"]), lines.append, anyway=True)
    assert len(lines) == 2


def test_a_scorer_that_does_not_start_is_refused_although_answers_equal_each_other():
    """math compares equal numbers itself; a completion in LaTeX would find its process gone."""
    task = named.make_task("reverse", "math")
    task.score._verify = Isolated("real_runs.nowhere:scorer")
    with pytest.raises(InputError, match=r"^--scorer: must start, got .*ModuleNotFoundError.*; --anyway starts nev"):
        scorers.check_answers(task, pool_of(["1", "2"]), pytest.fail)


def test_a_scorer_that_raises_is_refused_with_what_it_raised():
    broken = replace(named.make_task("reverse"), score=lambda completion, answer: json.loads("{"))
    with pytest.raises(InputError, match=r"got less for 2 of 2 answers, the first is '1' in row 0 .*Expecting prop"):
        scorers.check_answers(broken, pool_of(["1", "2"]), pytest.fail)


def test_every_answer_is_tried_and_the_first_that_is_not_met_is_said():
    task = replace(named.make_task("reverse"), score=lambda completion, answer: float(completion != "3"))
    answers, lines = [str(number) for number in range(200)], []
    pool = Pool(np.zeros(200), payload={"prompt": answers, "answer": answers})
    scorers.check_answers(task, pool, lines.append)
    assert lines == [
        "--scorer: must give full score to an answer itself, got less for 1 of 200 answers, the first is '3' in row 3 "
        "of the pool: 0"
    ]


def test_answers_are_tried_as_long_as_there_is_time(monkeypatch):
    monkeypatch.setattr(scorers, "TRYING_SECONDS", 0.0)
    tried = []
    task = replace(named.make_task("reverse"), score=lambda completion, answer: float(tried.append(answer) is None))
    answers = [str(number) for number in range(200)]
    scorers.check_answers(task, Pool(np.zeros(200), payload={"prompt": answers, "answer": answers}), pytest.fail)
    assert len(tried) == scorers.TRIED
    assert {tried[0], tried[-1]} == {"0", "199"}


@pytest.mark.parametrize("answer", [r"\frac{3}{4}", r"\text{Tuesday}", "x^2 + 1", "It is 7.\n#### 7", "B) 12", "$5$"])
def test_an_answer_for_the_math_scorer_is_met_by_itself(answer):
    scorers.check_answers(named.make_task("reverse", "math"), pool_of([answer]), pytest.fail)


def test_partial_credit_is_no_success_in_a_run(learner):
    half = learner(["0", "1"], lambda text, answer: 0.5)
    assert half.evaluate().max() == 0.0
    full = learner(["0", "1"], lambda text, answer: 1.0)
    assert full.evaluate().min() == 1.0
    record = RunRecord()
    record.add_groups(1, np.array([3]), np.array([[1.0, 0.5, 0.0, 1.0]], np.float32), np.ones(1, bool), np.array([4]))
    assert record.groups[0].tolist() == [[1.0, 3.0, 2.0, 4.0, 1.0]]
