"""Learners without a policy gradient: the grid with prerequisites and Bayesian knowledge tracing."""

from itertools import product

import numpy as np
import pytest
from scipy.special import expit, logit

import workbench as wb

NEAR_P = 3e-6


def visit(learner, items, admitted=None):
    """An update whose rewards are all 0: these learners do not look at them."""
    learner.learn(items, np.zeros((*items.shape, 2), np.float32), admitted)


# ------------------------------------------------------------------------------------------ the grid of prerequisites


def grid_of(side=10, dims=2, lanes=None, **settings):
    """A learner with one item in each cell, item c in cell c: first coordinate by difficulty, the rest by category."""
    columns = side ** (dims - 1)
    row, column = np.divmod(np.arange(side**dims), columns)
    pool = wb.Pool(difficulty=np.full(side**dims, 50.0), category=[f"{c:04}" for c in column])
    law = wb.PrerequisiteGrid(side=side, dims=dims, **settings)
    return wb.SimLearner(law, pool, lanes=lanes, b=logit((row + 0.5) / side))


def score(learner):
    return learner.law.score(learner.state)


def test_success_is_competence_in_percent_and_starts_at_none():
    learner = grid_of()
    assert np.array_equal(learner.success(np.arange(100)), np.zeros(100))
    for _ in range(7):
        visit(learner, np.array([0]))
    assert learner.success(np.array([0, 1]))[0] == pytest.approx(0.07)
    assert learner.success(np.array([0, 1]))[1] == 0
    half = grid_of(theta0=0.0)
    assert np.allclose(half.success(np.arange(100)), 0.5)


def test_visits_to_the_origin_alone_master_the_origin_alone():
    learner = grid_of()
    for t in range(150):
        assert score(learner)[0] == (0.01 if t > 75 else 0.0)
        assert learner.state.competence[0, 0] == min(t, 100)
        visit(learner, np.array([0]))
    assert score(learner)[0] == 1 / 100
    assert learner.state.competence[0].sum() == 100


@pytest.mark.parametrize("batch", [1, 15, 25])
def test_a_neighbour_opens_after_exactly_75_visits(batch):
    learner = grid_of()
    beside = np.array([1, 10, 11])  # one along each coordinate, and along both
    for visits in range(0, 75, batch):
        assert not learner.law.open(learner.state)[0, beside].any(), visits
        visit(learner, beside)
        assert np.array_equal(learner.state.competence[0, beside], np.zeros(3))
        visit(learner, np.zeros(batch, np.int64))
    assert np.flatnonzero(learner.law.open(learner.state)[0]).tolist() == [0, 1, 10, 11]
    visit(learner, beside)
    assert np.array_equal(learner.state.competence[0, beside], np.ones(3))


def reference_open(competence, threshold):
    """The published rule, cell by cell."""
    opened = np.zeros(competence.shape, bool)
    for cell in np.ndindex(competence.shape):
        below = product(*[[x] if x == 0 else [x, x - 1] for x in cell])
        opened[cell] = not any(cell) or any(competence[b] >= threshold for b in below if b != cell)
    return opened


@pytest.mark.parametrize(("side", "dims"), [(7, 1), (4, 2), (3, 3)])
def test_a_run_is_the_published_rule_cell_by_cell(side, dims):
    learner, rng = grid_of(side, dims, threshold=5.0, kappa=2.0), np.random.default_rng(1)
    competence, in_vain = np.zeros([side] * dims), 0
    for _ in range(120):
        items = rng.integers(0, side**dims, 6)
        visit(learner, items)
        visits = np.bincount(items, minlength=side**dims).reshape(competence.shape)
        opened = reference_open(competence, 5.0)
        in_vain += visits[~opened].sum()
        competence = np.minimum(competence + 2 * visits * opened, 100)
        assert np.array_equal(learner.state.competence[0], competence.ravel())
        assert score(learner)[0] == np.mean(competence > 5)
    assert in_vain > 20
    assert np.mean(competence > 5) > 0.5


def test_rewards_do_not_matter_to_a_visit_and_admission_does():
    one, other = grid_of(), grid_of()
    items = np.zeros(4, np.int64)
    one.learn(items, np.ones((4, 2), np.float32))
    other.learn(items, np.float32([[0, 1]] * 4))
    assert one.state.competence[0, 0] == other.state.competence[0, 0] == 4
    visit(one, items, np.array([True, False, True, False]))
    assert one.state.competence[0, 0] == 6


def test_verifier_errors_do_not_change_what_a_visit_teaches():
    learner = grid_of(false_positive=0.2, false_negative=0.1)
    visit(learner, np.zeros(3, np.int64))
    assert learner.state.competence[0, 0] == 3


def test_items_that_are_never_solved_have_no_cell():
    pool = wb.Pool(difficulty=np.full(50, 2.0), category=["x"] * 50)
    learner = wb.SimLearner(wb.PrerequisiteGrid(theta0=0.0, unlearnable=0.4, label_noise=0.0), pool, seed=1)
    broken = np.flatnonzero(learner.success(np.arange(50)) == 0)
    assert 5 < len(broken) < 35
    before = learner.state.competence.copy()
    visit(learner, broken)
    assert np.array_equal(learner.state.competence, before)


def test_evaluate_is_competence_by_decile():
    learner = grid_of(side=10, dims=1, label_noise=0.0)
    for _ in range(80):
        visit(learner, np.array([0, 0, 1]))
    # 32 held-out items per decile of the label, whose logit is that of 128 attempts: the edges fall within a decile
    middle = 100 * (np.arange(320) + 0.5) / 320
    q = (1.28 * middle + 0.5) / 129
    expected = learner.state.competence[0][(10 * q).astype(int)].reshape(10, 32).mean(axis=1) / 100
    assert np.allclose(learner.evaluate(), expected, atol=NEAR_P)
    assert learner.evaluate()[0] > 0.9


@pytest.mark.parametrize(
    ("field", "bad"), [("side", 0), ("dims", 0), ("threshold", 0.0), ("threshold", 101.0), ("side", 2.5)]
)
def test_a_grid_refuses_sizes_that_make_none(field, bad):
    with pytest.raises(wb.InputError, match=rf"{field}: must be .*got {bad}"):
        wb.PrerequisiteGrid(**{field: bad})
    with pytest.raises(wb.InputError, match=r"side\^dims: must be .*got 10000000"):
        wb.PrerequisiteGrid(dims=7)
    with pytest.raises(wb.InputError, match=r"threshold: must be one number or 3"):
        grid_of(lanes=3, threshold=np.array([70.0, 75.0]))


# ---------------------------------------------------------------------------------------------------- knowledge tracing


def tracing_of(skills=3, per_skill=2, lanes=None, **settings):
    """A learner with some items of each skill: item i is of skill i % skills."""
    skill = np.arange(skills * per_skill) % skills
    pool = wb.Pool(difficulty=np.full(len(skill), 50.0))
    law = wb.KnowledgeTracing(skills=skills, **settings)
    return wb.SimLearner(law, pool, lanes=lanes, b=logit((skill + 0.5) / skills))


@pytest.mark.parametrize(("learn", "kappa"), [(0.1, 1.0), (0.3, 2.0), (1.0, 1.0), (0.0, 1.0)])
def test_what_is_known_follows_the_closed_form(learn, kappa):
    """L_t = 1 - (1 - L_0) (1 - T)^t, t the sum over updates of kappa times the share of the batch."""
    learner = tracing_of(learn=learn, kappa=kappa)
    start = learner.state.known[0].copy()
    batches = [np.array([0, 0, 1, 5]), np.array([0, 3, 3, 0]), np.array([4])]
    t = np.zeros(3)
    for step in range(30):
        items = batches[step % 3]
        visit(learner, items)
        t += kappa * np.bincount(items % 3, minlength=3) / len(items)
        assert learner.state.known[0] == pytest.approx(1 - (1 - start) * (1 - learn) ** t, rel=1e-9)


def test_the_closed_form_is_the_mean_of_members_who_know_or_do_not():
    """All-or-none members, each with the chance T to learn at every practice: the share that knows follows L_t."""
    rng, members, learn, start, steps = np.random.default_rng(0), 200_000, 0.15, expit(-1.5), 12
    learner = tracing_of(skills=1, learn=learn)
    knows = rng.random(members) < start
    for _ in range(steps):
        knows |= rng.random(members) < learn
        visit(learner, np.array([0]))
    error = np.sqrt(0.25 / members)
    assert learner.state.known[0, 0] == pytest.approx(knows.mean(), abs=5 * error)
    assert learner.state.known[0, 0] == pytest.approx(1 - (1 - start) * 0.85**12)


@pytest.mark.parametrize(("guess", "slip"), [(0.0, 0.0), (0.2, 0.1), (0.5, 0.3)])
def test_success_is_knowing_without_slip_or_guessing(guess, slip):
    learner = tracing_of(guess=guess, slip=slip)
    for _ in range(5):
        known = learner.state.known[0, np.arange(6) % 3]
        p = known * (1 - slip) + (1 - known) * guess
        assert learner.success(np.arange(6)) == pytest.approx(p, abs=NEAR_P)
        visit(learner, np.array([0, 1, 1]))


def test_skills_start_by_their_difficulty_and_learn_nothing_from_each_other():
    learner = tracing_of(theta0=-0.5)
    start = learner.state.known[0].copy()
    assert start == pytest.approx(expit(-0.5 - logit((np.arange(3) + 0.5) / 3)))
    for _ in range(10):
        visit(learner, np.array([1, 4]))
    assert np.array_equal(learner.state.known[0, [0, 2]], start[[0, 2]])
    assert learner.state.known[0, 1] > start[1]


def test_everyone_learns_in_the_end_and_nobody_unlearns():
    learner = tracing_of(learn=0.3, guess=0.2, slip=0.1)
    for _ in range(200):
        before = learner.state.known.copy()
        visit(learner, np.arange(6))
        assert np.all(learner.state.known >= before)
    assert learner.success(np.arange(6)) == pytest.approx(np.full(6, 0.9), abs=1e-4)


def test_practice_teaches_whatever_its_rewards_but_not_where_it_is_not_admitted():
    right, wrong, none = tracing_of(), tracing_of(), tracing_of()
    items, start = np.arange(6), none.state.known.copy()
    right.learn(items, np.ones((6, 1), np.float32))
    wrong.learn(items, np.zeros((6, 1), np.float32))
    none.learn(items, np.ones((6, 1), np.float32), np.zeros(6, bool))
    assert np.array_equal(right.state.known, wrong.state.known)
    assert np.all(right.state.known > start)
    assert np.array_equal(none.state.known, start)
    some = tracing_of()
    some.learn(items, np.ones((6, 1), np.float32), np.arange(6) % 3 == 2)
    assert np.array_equal(some.state.known[0, :2], start[0, :2])
    assert some.state.known[0, 2] == pytest.approx(1 - (1 - start[0, 2]) * 0.9)


def test_rewards_are_those_of_members_asked_at_random():
    learner = tracing_of(theta0=0.3, guess=0.25, slip=0.05)
    rewards = learner.attempt(np.zeros(5000, np.int64), rollouts=8)
    p = float(learner.success(np.array([0]))[0])
    assert rewards.mean() == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / rewards.size))
    assert rewards.sum(axis=1).var() == pytest.approx(8 * p * (1 - p), rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"skills": 0}, r"skills: must be .*got 0"),
        ({"learn": 1.1}, r"learn: must be .*\[0, 1\].*got 1.1"),
        ({"guess": -0.1}, r"guess: must be .*got -0.1"),
        ({"slip": 1.0}, r"slip: must be .*got 1"),
        ({"guess": 0.6, "slip": 0.4}, r"guess, slip: must have guess < 1 - slip, got 0.6 and 0.4"),
    ],
)
def test_tracing_refuses_chances_that_are_none(settings, message):
    with pytest.raises(wb.InputError, match=message):
        wb.KnowledgeTracing(**settings)


def test_tracing_refuses_another_number_of_lanes():
    with pytest.raises(wb.InputError, match=r"learn: must be one number or 3"):
        tracing_of(lanes=3, learn=np.array([0.1, 0.2]))


# --------------------------------------------------------------------------------------------------------- the signal


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_a_visit_counts_one_whatever_the_rewards(gamma):
    law = wb.ScalarIRT(theta0=0.0, kappa=0.1, gamma=gamma, floor=0.25, signal=wb.Visit())
    learner = wb.SimLearner(law, wb.Pool(difficulty=[10.0, 50.0, 90.0]))
    for rewards in ([[0, 0], [0, 1], [1, 1]], [[1, 1], [1, 1], [1, 1]]):
        before = learner.state.theta[0]
        learner.learn(np.arange(3), np.float32(rewards))
        assert learner.state.theta[0] - before == pytest.approx(0.1)
    learner.learn(np.arange(3), np.zeros((3, 2), np.float32), counts=np.array([2, 1, 0]))
    assert learner.state.theta[0] == pytest.approx(0.2 + 0.1 * 2 / 3)  # no rollouts, no visit
