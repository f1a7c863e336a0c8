"""The learner with several skills, topics between items, the KL anchor, and the options that all laws share."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

import workbench as wb
from workbench.learners import difficulty_to_logit
from workbench.loop import train
from workbench.registry import LAWS

NEAR_P = 3e-6  # success probabilities are computed in float32
EXACT = wb.RLOO(exact=True)


def pool_of(size, **columns):
    """Items evenly spread over the difficulty scale, in no sorted order."""
    d = (np.arange(size) + 0.5) / size * 100
    return wb.Pool(difficulty=np.random.default_rng(1).permutation(d), **columns)


def learner_of(law, b, category=None, lanes=None, seed=0):
    """A learner whose items have exactly the true difficulties b (logits)."""
    pool = wb.Pool(difficulty=np.full(len(b), 50.0), category=category)
    return wb.SimLearner(law, pool, seed=seed, lanes=lanes, b=np.asarray(b))


def study(learner, items, rollouts=4):
    rewards = learner.attempt(items, rollouts=rollouts)
    learner.learn(items, rewards)
    return rewards


def silent(items, rollouts=2):
    return np.zeros((*np.shape(items), rollouts), np.float32)


def rloo(rewards):
    """Signals of groups in units of that at p = 1/2."""
    k, n = rewards.sum(axis=-1), rewards.shape[-1]
    return k * (n - k) / (n * (n - 1)) / 0.25


def z_of(learner, size):
    return logit(np.asarray(learner.success(np.arange(size)), np.float64))


# ------------------------------------------------------------------------------------------------- the KL anchor


@pytest.mark.parametrize(("beta", "fixed_point"), [(0.5, 0.613706), (1.0, -0.386294)])
def test_an_anchored_skill_comes_to_rest_one_over_beta_above_its_start(beta, fixed_point):
    start = logit(0.2)
    assert start + 1 / beta == pytest.approx(fixed_point, abs=1e-6)
    learner = learner_of(wb.ScalarIRT(theta0=start, kappa=0.2, anchor=beta, signal=EXACT), [0.0])
    for _ in range(400):
        learner.learn(np.zeros(1, np.int64), silent([0]))
    assert learner.state.theta[0] == pytest.approx(fixed_point, abs=1e-6)
    tilted = 0.2 * np.exp(1 / beta) / (0.8 + 0.2 * np.exp(1 / beta))  # the start's policy times e^(reward / beta)
    assert learner.success(np.zeros(1, np.int64))[0] == pytest.approx(tilted, abs=NEAR_P)


@pytest.mark.parametrize("a", [0.5, 2.0])
def test_the_anchor_acts_on_the_logit_of_success_whatever_the_slope(a):
    learner = learner_of(wb.ScalarIRT(theta0=-1.0, kappa=0.1, a=a, anchor=0.5, signal=EXACT), [0.0])
    for _ in range(3000):
        learner.learn(np.zeros(1, np.int64), silent([0]))
    assert a * (learner.state.theta[0] + 1.0) == pytest.approx(2.0, abs=1e-6)


def test_an_anchored_step_is_the_free_one_times_what_is_left_to_the_anchor():
    b = np.linspace(-2, 2, 20)
    learner = learner_of(wb.ScalarIRT(theta0=-1.5, kappa=0.3, anchor=0.4, forgetting=0.02), b, seed=3)
    theta = -1.5
    for _ in range(10):
        signal = rloo(study(learner, np.arange(20)))
        theta += 0.3 * signal.mean() * (1 - 0.4 * (theta + 1.5)) - 0.02 * (theta + 1.5)
        assert learner.state.theta[0] == pytest.approx(theta, abs=1e-6)
    assert theta > -1.0


def test_an_anchor_of_zero_changes_no_bit():
    free, anchored = (wb.SimLearner(wb.ScalarIRT(kappa=0.3), pool_of(30), seed=2) for _ in range(2))
    anchored.law = replace(free.law, anchor=0.0)
    for _ in range(5):
        assert np.array_equal(study(free, np.arange(30)), study(anchored, np.arange(30)))
    assert np.array_equal(free.state.theta, anchored.state.theta)


# -------------------------------------------------------------------------------------------- topics in a kernel


def topics_of(pool, topics):
    """Which items share a topic, seen through success: a kernel of one topic each, one item trained at a time."""
    law = wb.KernelTransfer(theta0=0.0, kappa=1.0, topics=topics, cross_topic=0.0, length=1e6, label_noise=0.0)
    groups = np.full(len(pool), -1)
    for i in range(len(pool)):
        if groups[i] < 0:
            learner = wb.SimLearner(law, pool)
            before = learner.success(np.arange(len(pool)))
            learner.learn(np.array([i]), np.array([[0, 1]], np.float32))
            groups[learner.success(np.arange(len(pool))) > before] = i
    return groups


def test_topics_are_the_pools_categories_in_order_of_their_names_and_around_again():
    category = np.array(["d", "a", "c", "b", "a", "c", "b", "d", "a", "b"])
    groups = topics_of(pool_of(10, category=category), 4)
    assert len(set(groups)) == 4
    assert all((groups[i] == groups[j]) == (category[i] == category[j]) for i in range(10) for j in range(10))
    groups = topics_of(pool_of(10, category=category), 2)  # a and c, b and d
    shared = np.isin(category, ["a", "c"])
    assert len(set(groups)) == 2
    assert all((groups[i] == groups[j]) == (shared[i] == shared[j]) for i in range(10) for j in range(10))


def test_without_categories_topics_are_of_equal_size_and_the_same_for_every_seed():
    groups = topics_of(pool_of(60), 4)
    assert sorted(np.unique(groups, return_counts=True)[1]) == [15, 15, 15, 15]
    assert np.array_equal(groups, topics_of(pool_of(60), 4))


def test_kernel_with_topics_is_the_dense_matrix_formula():
    size, batch, kappa = 40, 12, 0.8
    category = np.array(list("abc"))[np.random.default_rng(4).integers(0, 3, size)]
    near, all_, self_ = np.array([1.0, 0.7, 0.9, 0.8]), np.array([0.0, 0.1, 0.0, 0.3]), np.array([0.0, 0.4, 1.0, 0.1])
    length, forgetting = np.array([0.4, 1.0, 2.0, 0.7]), np.array([0.0, 0.02, 0.0, 0.01])
    cross = np.array([0.0, 0.3, -0.2, 1.0])
    law = wb.KernelTransfer(
        theta0=-1.0, kappa=kappa, label_noise=0.0, topics=3, cross_topic=cross, transfer_near=near, transfer_all=all_,
        transfer_self=self_, length=length, forgetting=forgetting,
    )  # fmt: skip
    pool = pool_of(size, category=category)
    learner = wb.SimLearner(law, pool, seed=np.arange(4))
    b = difficulty_to_logit(pool.difficulty)
    unseen = difficulty_to_logit(100 * (np.arange(320) + 0.5) / 320)
    every_b = np.concatenate([b, unseen])
    topic = np.concatenate([np.searchsorted(["a", "b", "c"], category), np.arange(320) % 3])
    z, rng = np.tile(-1.0 - every_b, (4, 1)), np.random.default_rng(3)
    for _ in range(20):
        items = rng.integers(0, size, (4, batch))
        signal = rloo(study(learner, items))
        for r in range(4):
            between = np.where(topic[:, None] == topic[:size], 1.0, cross[r])
            kernel = all_[r] + near[r] * np.exp(-np.abs(every_b[:, None] - b) / length[r]) * between
            kernel[:size] += self_[r] * np.eye(size)
            gain = kappa / batch * kernel @ np.bincount(items[r], weights=signal[r], minlength=size)
            z[r] += gain - forgetting[r] * (z[r] - (-1.0 - every_b))
    assert np.allclose(learner.success(np.tile(np.arange(size), (4, 1))), expit(z[:, :size]), atol=1e-5)
    assert np.allclose(learner.evaluate(), expit(z[:, size:]).reshape(4, 10, 32).mean(axis=2), atol=1e-5)
    assert np.all(np.abs(z - (-1.0 - every_b)).max(axis=1) > 0.3)


def test_one_topic_is_the_kernel_without_topics_bit_for_bit_whatever_lies_between_topics():
    pool = pool_of(40, category=np.array(list("abcd") * 10))
    plain = wb.KernelTransfer(kappa=0.5, transfer_self=0.2, forgetting=0.01)
    runs = []
    for law in (plain, replace(plain, cross_topic=-0.2), replace(plain, topics=3, cross_topic=1.0)):
        learner = wb.SimLearner(law, pool, seed=7)
        for t in range(10):
            study(learner, np.arange(t, t + 12))
        runs.append((learner.state.offset, learner.evaluate()))
    assert np.array_equal(runs[0][0], runs[1][0])
    assert np.array_equal(runs[0][1], runs[1][1])
    assert np.array_equal(runs[0][0], runs[2][0])  # topics that share everything are one topic


def test_training_one_topic_takes_from_the_others_where_topics_interfere():
    category = np.array(["x", "y"] * 10)
    law = wb.KernelTransfer(theta0=0.0, kappa=1.0, topics=2, cross_topic=-0.2)
    learner = learner_of(law, np.linspace(-1, 1, 20), category)
    before = learner.success(np.arange(20)).copy()
    study(learner, np.arange(0, 20, 2), rollouts=8)
    after = learner.success(np.arange(20))
    assert np.all(after[::2] > before[::2])
    assert np.all(after[1::2] < before[1::2])


@pytest.mark.parametrize(("topics", "lowest"), [(2, -0.2), (6, -0.2), (11, -0.1)])
def test_topics_interfere_no_more_than_a_kernel_can(topics, lowest):
    wb.KernelTransfer(topics=topics, cross_topic=lowest)
    between = np.full((topics, topics), lowest) + (1 - lowest) * np.eye(topics)
    assert np.linalg.eigvalsh(between).min() > -1e-12
    with pytest.raises(wb.InputError, match=r"cross_topic: must be a number in \[-0.*got -0"):
        wb.KernelTransfer(topics=topics, cross_topic=lowest - 0.01)


# ------------------------------------------------------------------------------------------------- several skills


@pytest.mark.parametrize("forgetting", [0.0, 0.05])
@pytest.mark.parametrize("signal", [wb.RLOO(), wb.MeanBaseline(), wb.GRPO()], ids=lambda s: type(s).__name__)
def test_one_skill_is_the_scalar_learner_bit_for_bit(signal, forgetting):
    shared = {"theta0": -1.25, "kappa": 0.2, "signal": signal, "forgetting": forgetting, "unlearnable": 0.1}
    pool, rng = pool_of(60), np.random.default_rng(8)
    many = wb.SimLearner(wb.MultiSkill(skills=1, **shared), pool, seed=11)
    scalar = wb.SimLearner(wb.ScalarIRT(**shared), pool, seed=11)
    for _ in range(15):
        items = rng.choice(60, 12, replace=False)
        assert np.array_equal(study(many, items), study(scalar, items))
    assert np.array_equal(many.state.theta[:, 0], scalar.state.theta)
    assert np.array_equal(many.success(np.arange(60)), scalar.success(np.arange(60)))
    assert np.array_equal(many.evaluate(), scalar.evaluate())
    assert scalar.state.theta[0] > -1.2


@pytest.mark.parametrize("signal", [wb.Critic(), wb.SuccessOnly(), EXACT], ids=lambda s: type(s).__name__)
def test_one_skill_is_the_scalar_learner_to_rounding_for_signals_that_depend_on_success(signal):
    pool, rng = pool_of(60), np.random.default_rng(8)
    many = wb.SimLearner(wb.MultiSkill(skills=1, kappa=0.2, gamma=0.7, signal=signal), pool, seed=11)
    scalar = wb.SimLearner(wb.ScalarIRT(kappa=0.2, gamma=0.7, signal=signal), pool, seed=11)
    for _ in range(15):
        items = rng.choice(60, 12, replace=False)
        study(many, items), study(scalar, items)
    assert many.state.theta[0, 0] == pytest.approx(scalar.state.theta[0], rel=1e-9)


def test_skills_with_full_transfer_move_as_one():
    """M = 1 1^T: every skill gains what any of them does."""
    b, category = np.linspace(-2, 2, 20), np.array(list("abcd") * 5)
    many = learner_of(wb.MultiSkill(kappa=0.3, transfer=1.0), b, category, seed=4)
    one = learner_of(wb.ScalarIRT(kappa=0.3), b, category, seed=4)
    for t in range(15):
        assert np.array_equal(study(many, np.arange(t % 5, 20)), study(one, np.arange(t % 5, 20)))
    assert np.allclose(many.state.theta, one.state.theta[:, None], atol=1e-6)
    assert one.state.theta[0] > -1.0


def dense_m(skills, transfer, pairs=()):
    m = np.full((skills, skills), transfer) + (1 - transfer) * np.eye(skills)
    for i, j, less in pairs:
        m[i, j] -= less
        m[j, i] -= less
    return m


def test_skills_follow_the_formula_with_transfer_gates_and_forgetting():
    size, kappa = 30, np.array([0.4, 0.6, 0.2])
    category = np.array(list("abc"))[np.random.default_rng(2).integers(0, 3, size)]
    transfer, forgetting = np.array([0.0, 0.3, 0.8]), np.array([0.0, 0.02, 0.1])
    prerequisite, tau, width = np.array([0.0, 1.0, 0.5]), np.array([0.0, -1.0, 0.3]), np.array([0.5, 0.4, 1.0])
    law = wb.MultiSkill(
        theta0=-1.0, kappa=kappa, skills=3, transfer=transfer, forgetting=forgetting, label_noise=0.0,
        prerequisite=prerequisite, tau=tau, width=width,
    )  # fmt: skip
    pool = pool_of(size, category=category)
    learner = wb.SimLearner(law, pool, seed=np.array([5, 6, 7]))
    b, skill = difficulty_to_logit(pool.difficulty), np.searchsorted(["a", "b", "c"], category)
    theta, rng = np.full((3, 3), -1.0), np.random.default_rng(3)
    for _ in range(25):
        items = rng.integers(0, size, (3, 9))
        signal = rloo(study(learner, items))
        for r in range(3):
            g = np.bincount(skill[items[r]], weights=signal[r], minlength=3) / 9
            gate = expit((theta[r, :-1] - tau[r]) / width[r])
            gate = np.concatenate([[1.0], 1 - prerequisite[r] * (1 - gate)])
            theta[r] += kappa[r] * gate * (dense_m(3, transfer[r]) @ g) - forgetting[r] * (theta[r] + 1.0)
    assert np.allclose(learner.state.theta, theta, atol=1e-6)
    everything = np.tile(np.arange(size), (3, 1))
    assert np.allclose(learner.success(everything), expit(theta[:, skill] - b), atol=NEAR_P)
    unseen = difficulty_to_logit(100 * (np.arange(320) + 0.5) / 320)  # take turns over the skills
    p = expit(theta[:, np.arange(320) % 3] - unseen).reshape(3, 10, 32).mean(axis=2)
    assert np.allclose(learner.evaluate(), p, atol=NEAR_P)
    assert np.ptp(theta, axis=1).max() > 0.3


def test_heldout_items_are_of_skills_that_the_pool_has():
    learner = wb.SimLearner(wb.MultiSkill(kappa=1.0, transfer=0.0), pool_of(20, category=["z", "a"] * 10))
    before = learner.evaluate()
    study(learner, np.arange(1, 20, 2), rollouts=8)  # skill a alone
    gained = learner.state.theta[0] + 1.5
    assert gained[0] > 0.1
    assert np.array_equal(gained[1:], np.zeros(3))
    unseen = difficulty_to_logit(100 * (np.arange(320) + 0.5) / 320)
    assert before.shape == (10,)
    exact = wb.SimLearner(replace(learner.law, label_noise=0.0), learner.pool)
    exact.state = learner.state
    p = expit(learner.state.theta[0, np.arange(320) % 2] - unseen).reshape(10, 32).mean(axis=1)
    assert np.allclose(exact.evaluate(), p, atol=NEAR_P)


def test_interference_makes_a_skill_that_is_not_trained_fall():
    b, category = np.zeros(8), np.array(["x", "y"] * 4)
    for transfer, interference, sign in ((0.0, 0.0, 0), (0.2, 0.0, 1), (0.2, 0.5, -1)):
        law = wb.MultiSkill(theta0=0.0, kappa=0.5, skills=2, transfer=transfer, interference=interference)
        learner = learner_of(law, b, category)
        learner.learn(np.arange(0, 8, 2), np.tile(np.float32([0, 1]), (4, 1)))
        trained, other = learner.state.theta[0]
        assert trained == pytest.approx(0.5 * 2)  # RLOO's k (n - k) / (n (n - 1)) / 0.25 = 2
        assert np.sign(other) == sign
        assert other == pytest.approx((transfer - interference) * trained)


def test_the_stated_share_of_the_pairs_interferes():
    m = wb.MultiSkill(skills=5, transfer=0.3, interference=0.2, interfering=np.array([0.0, 0.5, 1.0])).mixing
    off = m[:, ~np.eye(5, dtype=bool)]
    assert [(np.isclose(row, 0.1)).sum() for row in off] == [0, 10, 20]
    assert np.all(np.isclose(off, 0.1) | np.isclose(off, 0.3))
    assert np.array_equal(m, m.transpose(0, 2, 1))
    assert np.array_equal(m[:, range(5), range(5)], np.ones((3, 5)))


def test_a_matrix_of_ones_own_says_what_helps_what():
    m = ((1.0, 0.5, 0.0), (0.5, 2.0, -0.3), (0.0, -0.3, 1.0))
    learner = learner_of(wb.MultiSkill(theta0=0.0, kappa=0.1, skills=3, matrix=m), np.zeros(3), np.array(list("abc")))
    learner.learn(np.array([1]), np.float32([[0, 1]]))
    assert learner.state.theta[0] == pytest.approx(0.1 * 2 * np.array(m)[1])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_the_objective_that_a_full_batch_climbs_never_falls_in_a_small_step(seed):
    """dJ/dt = kappa g^T M g >= 0 for positive semi-definite M, J the mean success of the batch's items."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, 3))
    m = root @ root.T
    m = tuple(map(tuple, (m + m.T) / 2))
    law = wb.MultiSkill(theta0=rng.normal(), kappa=0.02, skills=3, matrix=m, signal=EXACT)
    learner = learner_of(law, rng.normal(size=12), np.array(list("abc") * 4))
    before = learner.success(np.arange(12)).mean()
    learner.learn(np.arange(12), silent(np.arange(12)))
    assert learner.success(np.arange(12)).mean() >= before - 1e-6


def test_a_skill_waits_for_the_one_before_it_behind_a_soft_gate():
    lanes = np.array([-30.0, -1.0, 0.0, 1.0, 30.0])  # skill before, in widths from tau
    law = wb.MultiSkill(
        theta0=0.5 + 0.4 * lanes, kappa=0.1, skills=2, transfer=0.0, prerequisite=1.0, tau=0.5, width=0.4
    )
    learner = learner_of(law, np.zeros(2), np.array(["a", "b"]), lanes=5)
    start = learner.state.theta.copy()
    both = np.tile([0, 1], (5, 1))
    learner.learn(both, np.tile(np.float32([0, 1]), (5, 2, 1)))
    gain = learner.state.theta - start
    assert gain[:, 0] == pytest.approx(np.full(5, 0.1))  # half of the batch, signal 2
    assert gain[:, 1] == pytest.approx(0.1 * expit(lanes))
    assert gain[0, 1] < 1e-13
    assert gain[2, 1] == pytest.approx(0.05)


def test_skills_in_order_come_one_after_the_other():
    law = wb.MultiSkill(kappa=0.3, skills=3, transfer=0.0, prerequisite=1.0, width=0.1, signal=EXACT)
    learner = learner_of(law, np.zeros(3), np.array(list("abc")))
    reached = np.full(3, -1)
    for t in range(400):
        learner.learn(np.arange(3), silent(np.arange(3)))
        reached = np.where((reached < 0) & (learner.state.theta[0] > 0), t, reached)
    assert 0 < reached[0] < reached[1] < reached[2]
    assert reached[1] > 1.8 * reached[0]
    assert reached[2] > 2.7 * reached[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"skills": 0}, r"skills: must be .*got 0"),
        ({"skills": 2.5}, r"skills: must be .*got 2.5"),
        ({"transfer": -0.1}, r"transfer: must be .*\[0, 1\].*got -0.1"),
        ({"interference": -1.0}, r"interference: must be .*got -1"),
        ({"interfering": 1.5}, r"interfering: must be .*got 1.5"),
        ({"prerequisite": 2.0}, r"prerequisite: must be .*got 2"),
        ({"tau": float("nan")}, r"tau: must be .*got nan"),
        ({"width": 0.0}, r"width: must be .*got 0"),
        ({"transfer": 0.0, "interference": 0.5}, r"transfer, interference: must .*positive semi-definite.*got .*-0.5"),
        ({"transfer": np.array([0.3, 0.0]), "interference": 0.5}, r"semi-definite"),
        ({"transfer": np.array([0.1, 0.2]), "interference": np.zeros(3)}, r"transfer: must be .*3 numbers"),
        ({"matrix": ((1.0, 0.0), (0.0, 1.0))}, r"matrix: must be a symmetric \(4, 4\)"),
        ({"skills": 2, "matrix": ((1.0, 0.1), (0.2, 1.0))}, r"matrix: must be a symmetric"),
        ({"skills": 2, "matrix": ((1.0, 0.1), (0.2,))}, r"matrix: must be rows"),
        ({"skills": 2, "matrix": ((1.0, 2.0), (2.0, 1.0))}, r"matrix: must .*eigenvalue of -1"),
    ],
)
def test_skills_refuse_what_makes_no_sense_and_say_what_they_want(settings, message):
    with pytest.raises(wb.InputError, match=message) as caught:
        wb.MultiSkill(**settings)
    assert "\n" not in str(caught.value)


def test_skills_refuse_another_number_of_lanes():
    with pytest.raises(wb.InputError, match=r"tau: must be one number or 3"):
        wb.SimLearner(wb.MultiSkill(tau=np.zeros(2)), pool_of(20), lanes=3)


# ----------------------------------------------------------------------------------- laws that hold in all of them

NEW = {
    "skills": wb.MultiSkill(kappa=0.5, transfer=0.1, interference=0.2, prerequisite=0.5, forgetting=0.01),
    "topics": wb.KernelTransfer(kappa=0.5, topics=3, cross_topic=-0.1, transfer_self=0.2),
    "anchored": wb.ScalarIRT(kappa=0.5, anchor=0.3),
    "chain": wb.Chain(theta0=0.5, kappa=0.5, longest=5, kinds=3),
    "grid": wb.PrerequisiteGrid(theta0=-1.0, kappa=15.0, side=4, dims=2),
    "tracing": wb.KnowledgeTracing(kappa=5.0, forgetting=0.01),
}
every_new_law = pytest.mark.parametrize("law", NEW.values(), ids=NEW.keys())


@every_new_law
def test_zero_gain_keeps_skill_where_it_is(law):
    learner = wb.SimLearner(replace(law, kappa=0.0), pool_of(30), seed=3)
    before = learner.success(np.arange(30)).copy()
    for _ in range(5):
        study(learner, np.arange(10))
    assert np.allclose(learner.success(np.arange(30)), before, atol=1e-7)


@every_new_law
def test_permuting_the_items_permutes_the_run(law):
    size, rng = 24, np.random.default_rng(6)
    b, category = np.linspace(-2, 2, size), np.array(list("abc") * 8)
    order = rng.permutation(size)
    one, other = learner_of(law, b, category, seed=9), learner_of(law, b[order], category[order], seed=9)
    for _ in range(10):
        items = rng.integers(0, size, 8)
        assert np.array_equal(study(one, order[items]), study(other, items))
    assert np.allclose(one.success(order), other.success(np.arange(size)), atol=NEAR_P)
    assert np.ptp(one.success(order)) > 0.1


@every_new_law
def test_forgetting_takes_its_share_of_what_was_gained(law):
    law = replace(law, forgetting=0.1)
    learner = learner_of(law, np.linspace(-2, 0, 12), np.array(list("abc") * 4), seed=1)
    start = [np.copy(x) for x in learner.state]
    for _ in range(3):
        study(learner, np.arange(12))
    gained = [now - then for now, then in zip(learner.state, start, strict=True)]
    for _ in range(4):  # nothing admitted: nothing gained
        learner.learn(np.arange(12), silent(np.arange(12)), np.zeros(12, bool))
    for name, now, then, gain in zip(learner.state._fields, learner.state, start, gained, strict=True):
        if name != "value":
            assert np.allclose(now - then, gain * 0.9**4, atol=1e-9), name
    assert max(np.abs(gain).max(initial=0.0) for gain in gained) > 0.01


LANE_FIELDS = {
    "anchored": {"anchor": [0.0, 0.1, 0.5], "a": [0.5, 1.0, 2.0]},
    "topics": {"cross_topic": [-0.2, 0.3, 1.0], "length": [0.1, 1.0, 30.0], "transfer_near": [0.0, 0.5, 1.0]},
    "skills": {
        "transfer": [0.1, 0.5, 0.9],
        "interference": [0.0, 0.1, 0.3],
        "interfering": [0.0, 0.5, 1.0],
        "prerequisite": [0.0, 0.5, 1.0],
        "tau": [-2.0, 0.0, 1.0],
        "width": [0.1, 0.5, 2.0],
        "theta0": [-1.0, 0.0, 0.5],
        "kappa": [0.0, 0.5, 1.0],
        "forgetting": [0.0, 0.01, 0.2],
    },
    "chain": {"theta0": [-1.0, 0.0, 1.5], "kappa": [0.0, 0.5, 1.0], "forgetting": [0.0, 0.01, 0.2]},
    "grid": {
        "theta0": [-2.0, -1.0, 0.5],
        "kappa": [0.0, 5.0, 20.0],
        "threshold": [30.0, 75.0, 90.0],
        "forgetting": [0.0, 0.01, 0.2],
    },
    "tracing": {
        "learn": [0.0, 0.1, 1.0],
        "guess": [0.0, 0.2, 0.5],
        "slip": [0.0, 0.1, 0.3],
        "theta0": [-2.0, -1.0, 0.5],
        "kappa": [0.0, 1.0, 5.0],
        "forgetting": [0.0, 0.01, 0.2],
    },
}


@pytest.mark.parametrize(
    ("name", "field", "values"), [(name, f, v) for name, fields in LANE_FIELDS.items() for f, v in fields.items()]
)
def test_a_hyper_parameter_may_differ_between_lanes(name, field, values):
    pool, rng = pool_of(30, category=np.array(list("abc") * 10)), np.random.default_rng(12)
    lanes = wb.SimLearner(replace(NEW[name], **{field: np.array(values)}), pool, seed=5, lanes=3)
    batches = [rng.integers(0, 30, (3, 9)) for _ in range(4)]
    rewards = [study(lanes, items).copy() for items in batches]
    for r, value in enumerate(values):
        single = wb.SimLearner(replace(NEW[name], **{field: value}), pool, seed=5)
        assert all(np.array_equal(study(single, items[r]), rewards[t][r]) for t, items in enumerate(batches))
        for part in single.state._fields:
            assert np.array_equal(getattr(single.state, part)[0], getattr(lanes.state, part)[r]), part
    assert len({lanes.evaluate()[r].tobytes() for r in range(3)}) > 1


# --------------------------------------------------------------------------------------- options that laws share


@pytest.mark.parametrize("name", ["scalar", "kernel", "skills", "chain", "grid", "tracing"])
def test_training_sees_success_through_the_verifier_and_evaluate_the_true_one(name):
    wrong, missed = 0.1, 0.25
    law = replace(LAWS[name], theta0=-0.5)
    clear = wb.SimLearner(law, pool_of(10), seed=2)
    noisy = wb.SimLearner(replace(law, false_positive=wrong, false_negative=missed), pool_of(10), seed=2)
    p = np.float64(clear.success(np.arange(10)))
    assert np.array_equal(noisy.success(np.arange(10)), clear.success(np.arange(10)))
    assert np.array_equal(noisy.evaluate(), clear.evaluate())
    seen = noisy.attempt(np.repeat(np.arange(10), 500), rollouts=16).reshape(10, -1).mean(axis=1)
    expected = wrong + (1 - wrong - missed) * p
    assert np.all(np.abs(seen - expected) < 5 * np.sqrt(expected * (1 - expected) / 8000))
    assert np.abs(expected - p).max() > 0.03


@pytest.mark.parametrize(("wrong", "missed"), [(0.1, 0.0), (0.0, 0.3), (0.2, 0.1)])
@pytest.mark.parametrize("kind", [wb.ScalarIRT, wb.MultiSkill, wb.Chain])
def test_verifier_errors_scale_the_unnormalised_gain_by_what_they_leave(kind, wrong, missed):
    law = kind(theta0=-0.8, kappa=1.0, label_noise=0.0, signal=EXACT)
    gains = []
    for errors in ({}, {"false_positive": wrong, "false_negative": missed}):
        learner = wb.SimLearner(replace(law, **errors), pool_of(20))
        learner.learn(np.arange(20), silent(np.arange(20)))
        gains.append(np.sum(learner.state[0]) - np.size(learner.state[0]) * -0.8)
    assert gains[1] == pytest.approx(gains[0] * (1 - wrong - missed), rel=1e-4)
    assert gains[0] > 0.1


def test_sampled_gain_under_verifier_errors_has_the_scaled_mean():
    groups, p = 40_000, 0.3
    law = wb.ScalarIRT(theta0=logit(p), kappa=1.0, false_positive=0.1, false_negative=0.2)
    learner = learner_of(law, [0.0], seed=7)
    study(learner, np.zeros(groups, np.int64), rollouts=8)
    assert learner.state.theta[0] - logit(p) == pytest.approx(0.7 * p * (1 - p) / 0.25, rel=0.02)


def broken_of(learner, size):
    """Items that are never solved, seen from outside."""
    return np.flatnonzero(learner.success(np.arange(size)) < 1e-30)


@pytest.mark.parametrize("name", ["scalar", "skills", "kernel", "chain", "grid"])
def test_unlearnable_items_are_never_solved_and_never_learned(name):
    law = replace(LAWS[name], theta0=1.0, unlearnable=0.3)
    learner = wb.SimLearner(law, pool_of(200), seed=4)
    broken = broken_of(learner, 200)
    assert 30 < len(broken) < 90
    sound = np.setdiff1d(np.arange(200), broken)
    before = learner.success(np.arange(200)).copy()
    assert before[sound].min() > 1e-4 if name != "chain" else before[sound].min() > 0
    for _ in range(20):
        assert study(learner, broken, rollouts=8).sum() == 0
    assert np.array_equal(learner.success(np.arange(200)), before)
    study(learner, np.arange(200), rollouts=8)
    assert np.array_equal(broken_of(learner, 200), broken)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_the_share_of_unlearnable_items_is_exact_in_expectation_and_differs_between_seeds(share):
    size, seeds = 500, 64
    law = wb.ScalarIRT(theta0=1.0, unlearnable=share)
    learner = wb.SimLearner(law, pool_of(size), seed=np.arange(seeds))
    broken = learner.success(np.tile(np.arange(size), (seeds, 1))) < 1e-30
    error = np.sqrt(share * (1 - share) / (size * seeds))
    assert broken.mean() == pytest.approx(share, abs=5 * error)
    assert broken.sum(axis=1).var() == pytest.approx(size * share * (1 - share), rel=0.8)
    assert len({row.tobytes() for row in broken}) == (1 if share == 0 else seeds)


def test_heldout_items_are_all_learnable():
    clear, some = (wb.SimLearner(wb.ScalarIRT(unlearnable=f), pool_of(50), seed=3) for f in (0.0, 0.5))
    assert np.array_equal(clear.evaluate(), some.evaluate())


def test_adarft_gets_stuck_among_unlearnable_items_at_the_hard_end():
    """Once the learner is good, the target rises to where only broken items fail, and stays there."""
    pool = wb.Pool.synthetic("uniform", 2000)
    law = wb.ScalarIRT(theta0=2.0, kappa=0.5, unlearnable=0.3)
    controller, learner = wb.Controller(wb.AdaRFT(), pool, seed=1), wb.SimLearner(law, pool, seed=1)
    record = train(controller, learner, 400, batch=64, rollouts=8, eval_every=10)
    assert record.target[-10:].min() > 90
    items = controller.next_batch(64)
    broken = learner.success(items) < 1e-30
    assert broken.mean() > 0.15  # rollouts that teach nothing, for good
    rewards = learner.attempt(items, rollouts=8)
    assert np.all(rewards[broken] == 0)
    assert rewards[~broken].mean() > 0.9  # the reward stays above the goal without any item of middling success


def test_a_gap_moves_every_item_harder_than_even_by_its_width():
    pool = pool_of(40)
    b = difficulty_to_logit(pool.difficulty)
    learner = wb.SimLearner(wb.ScalarIRT(theta0=0.0, label_noise=0.0, gap=2.0), pool)
    moved = -z_of(learner, 40)
    assert moved == pytest.approx(np.where(b > 0, b + 2.0, b), abs=1e-3)
    inside = (moved > 0.0) & (moved < 2.0)
    assert not inside.any()
    unseen = difficulty_to_logit(100 * (np.arange(320) + 0.5) / 320)
    expected = expit(-np.where(unseen > 0, unseen + 2.0, unseen)).reshape(10, 32).mean(axis=1)
    assert np.allclose(learner.evaluate(), expected, atol=NEAR_P)


@pytest.mark.parametrize("rate", [0.0, 0.3, 2.0])
def test_a_repeated_prompt_teaches_less_by_e_to_the_minus_rate_per_visit(rate):
    learner = learner_of(wb.ScalarIRT(theta0=0.0, kappa=0.1, repeat_decay=rate), [0.0, 0.0])
    rewards = np.float32([[0, 1]])  # signal 2 whatever the skill
    skill = []
    for item in (0, 0, 0, 1, 1, 0):
        before = learner.state.theta[0]
        learner.learn(np.array([item]), rewards)
        skill.append(learner.state.theta[0] - before)
    assert skill == pytest.approx(0.2 * np.exp(-rate * np.array([0, 1, 2, 0, 1, 3])), rel=1e-6)


def test_repeats_inside_a_batch_count_from_the_next_one_and_rejected_groups_do_not():
    learner = learner_of(wb.Tabular(theta0=0.0, kappa=0.1, repeat_decay=log(2)), [0.0, 0.0])
    rewards = np.tile(np.float32([0, 1]), (4, 1))
    learner.learn(np.array([0, 0, 1, 1]), rewards, np.array([True, True, True, False]))
    assert np.array_equal(learner.visits, [[2, 1]])
    before = z_of(learner, 2)
    learner.learn(np.array([0, 1]), rewards[:2])
    assert z_of(learner, 2) - before == pytest.approx(0.1 / 2 * 2 * np.array([1 / 4, 1 / 2]), abs=1e-6)


@pytest.mark.parametrize("law", [wb.MultiSkill(kappa=0.3), wb.PrerequisiteGrid(kappa=20.0), wb.KnowledgeTracing()])
def test_repeats_teach_less_in_every_law(law):
    gains = []
    for rate in (0.0, 1.0):
        learner = learner_of(replace(law, theta0=0.0, repeat_decay=rate), np.full(6, -3.0))
        before = learner.success(np.arange(6)).sum()
        for _ in range(3):
            learner.learn(np.arange(6), np.tile(np.float32([0, 1]), (6, 1)))
        gains.append(learner.success(np.arange(6)).sum() - before)
    assert 0 < gains[1] < 0.95 * gains[0]


def test_tokens_of_an_attempt_rise_in_a_line_from_easy_to_hard():
    pool = wb.Pool(difficulty=[0.0, 25.0, 100.0])
    learner = wb.SimLearner(wb.ScalarIRT(tokens_easy=100, tokens_hard=500), pool)
    for item, tokens in enumerate((100, 200, 500)):
        before = learner.tokens[0]
        learner.attempt(np.array([item]), rollouts=3)
        assert learner.tokens[0] - before == 3 * tokens
    assert learner.mean_length == pytest.approx(800 / 3)
    assert wb.SimLearner(LAWS["chain"], pool).mean_length == pytest.approx((200 + 650 + 2000) / 3)


@pytest.mark.parametrize(
    ("field", "bad"),
    [("gap", -1.0), ("unlearnable", 1.0), ("false_negative", 0.6), ("false_positive", -0.1), ("repeat_decay", -1.0),
     ("tokens_easy", -1.0), ("tokens_hard", float("inf")), ("anchor", -0.1)],
)  # fmt: skip
def test_shared_options_out_of_range_are_refused(field, bad):
    with pytest.raises(wb.InputError, match=rf"{field}: must be .*got {bad}"):
        wb.ScalarIRT(**{field: bad})


def test_items_that_are_only_looked_at_do_not_change_the_skills_of_the_pool():
    difficulty = np.linspace(0, 100, 40)
    law = wb.MultiSkill(label_noise=0.0)
    alone = wb.SimLearner(law, wb.Pool(difficulty))
    beside = wb.SimLearner(law, wb.Pool(np.append(difficulty, np.full(13, 50.0))), core=40)
    items, rewards = np.arange(8), np.array([[1, 1, 1, 1, 0, 0, 0, 0]] * 8, np.float32)
    for learner in (alone, beside):
        learner.learn(items, rewards)
    np.testing.assert_array_equal(beside.success(np.arange(40)), alone.success(np.arange(40)))
