"""L7, a network trained on its own answers: its loss, its luck, its optimiser, and what it needs."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench as wb
from real_runs.rl import ppo
from workbench.errors import InputError
from workbench.learners.laws import policy
from workbench.learners.laws.policy import BETA1, BETA2, CONTEXTS, DIGITS, EPSILON, RIGHT, base_weights, read_policy
from workbench.learners.learner import difficulty_to_logit
from workbench.learners.signals import GRPO, RLOO, Critic, MeanBaseline, Signal, SuccessOnly, Visit
from workbench.streams import Role, clock, uniforms
from workbench.study.store import CellStore
from workbench.study.study import Study
from workbench.testing import check_learner

ROOT = Path(__file__).parents[2]
SIGNALS = [RLOO(), MeanBaseline(), GRPO(), SuccessOnly(), Critic(), Critic(perfect=True)]
POOL = wb.Pool(np.linspace(0.0, 100.0, 41), name="line")


@dataclass(frozen=True)
class Count(Signal):
    """Every rollout has advantage 1: the weights then count tokens."""

    def sampled(self, k, n, value):
        return np.ones_like(k), 0.0, 0.0

    def advantages(self, k, n, value, p):
        return np.ones_like(k), np.ones_like(k)


class Watched(wb.TinyPolicy):
    """Notes the token weights of each update."""

    seen = []  # noqa: RUF012

    def token_weights(self, *batch):
        weights, tokens = super().token_weights(*batch)
        self.seen.append(weights)
        return weights, tokens


def counted(learner, items, rewards):
    """(C, V) how often each token was given in each context, by the answers behind the rewards."""
    learner.learn(items, rewards)
    return learner.law.seen.pop()[0]


def problem(learner, item, lane=0):
    """The contexts of an item's problem."""
    problems = learner.law._problems(learner.lanes, learner._bank, learner._cache)
    u = problems.row[lane]
    return problems.steps[u, item, : problems.length[u, item]].astype(int)


def numpy_policy(weights):
    """(C, V) pi of a network with weights (P,), float64, written out."""
    hidden = (len(weights) - DIGITS) // (3 * DIGITS + 2)
    w = weights.astype(np.float64)
    a, b, carry = (np.array(part) for part in np.split(w[: 22 * hidden].reshape(-1, hidden), [10, 20]))
    out, bias = w[22 * hidden : 32 * hidden].reshape(hidden, DIGITS), w[32 * hidden :]
    h = np.tanh((a[:, None, None] + b[None, :, None] + carry[None, None]).reshape(CONTEXTS, hidden))
    logits = h @ out + bias
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True), h, out


# ---- the task


def test_contexts_are_two_digits_and_a_carry_and_the_right_token_is_their_sum():
    contexts = [(a, b, carry) for a in range(10) for b in range(10) for carry in range(2)]
    assert [sum(context) % 10 for context in contexts] == RIGHT.tolist()
    assert len(contexts) == CONTEXTS


def test_problems_are_long_additions_with_the_carries_they_have():
    learner = wb.SimLearner(wb.TinyPolicy(longest=9), wb.Pool.synthetic("uniform", 500), seed=0)
    lengths = set()
    for item in range(0, 500, 7):
        asked = problem(learner, item)
        lengths.add(len(asked))
        carry = 0
        for context in asked:
            a, b, shown = context // 20, context // 2 % 10, context % 2
            assert shown == carry
            carry = (a + b + shown) // 10
    assert min(lengths) == 1
    assert 7 <= max(lengths) <= 9


@pytest.mark.parametrize("theta0", [0.0, -1.0])
def test_success_before_training_is_what_the_label_says(theta0):
    pool = wb.Pool.synthetic("uniform", 2000)
    learner = wb.SimLearner(wb.TinyPolicy(theta0=theta0, label_noise=0.0), pool, seed=0)
    said = 1.0 / (1.0 + np.exp(difficulty_to_logit(pool.difficulty) - theta0))
    error = learner.success(np.arange(2000)) - said
    middle = said < 0.95  # no context is sure
    assert np.abs(error[middle]).mean() < 0.01
    assert abs(error[middle].mean()) < 0.005
    deciles = learner.evaluate()
    assert (np.diff(deciles) < 0).all()
    if theta0 == 0:
        assert deciles[0] > 0.9
        assert deciles[-1] < 0.1


def test_success_is_the_product_of_the_chances_of_the_right_tokens():
    learner = wb.SimLearner(wb.TinyPolicy(), POOL, seed=3)
    for _ in range(3):
        learner.learn(np.arange(40), learner.attempt(np.arange(40)))
    pi = numpy_policy(learner.state.weights[0])[0]
    p = [np.prod(pi[asked, RIGHT[asked]]) for asked in (problem(learner, i) for i in range(41))]
    np.testing.assert_allclose(learner.success(np.arange(41)), p, rtol=1e-4)


def test_attempts_succeed_as_often_as_the_policy_says():
    learner = wb.SimLearner(wb.TinyPolicy(), POOL, seed=1)
    items, n = np.arange(41), 4000
    p = learner.success(items).astype(np.float64)
    share = learner.attempt(items, n).mean(axis=1)
    assert (np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / n) + 1e-9).all()


# ---- the answers behind the rewards


@pytest.mark.parametrize("flaws", [{}, {"false_negative": 0.3, "false_positive": 0.2}, {"unlearnable": 0.5}])
def test_the_tokens_behind_rewards_are_as_if_sampled_first(flaws):
    """Over rewards as `attempt` draws them, each context gets the tokens that the policy gives there."""
    law = Watched(signal=Count(), kappa=0.0, **flaws)
    learner, n = wb.SimLearner(law, POOL, seed=2), 4000
    pi = numpy_policy(learner.state.weights[0])[0]
    for item in (3, 12, 20, 28, 38):
        items = np.array([item])
        counts = counted(learner, items, learner.attempt(items, n))
        asked, times = np.unique(problem(learner, item), return_counts=True)
        assert counts.sum() == n * times.sum()
        for context, m in zip(asked, times, strict=True):
            error = np.sqrt(n * m * pi[context] * (1 - pi[context]))
            # steps of one answer are independent under the policy, so counts of m steps are binomial
            assert (np.abs(counts[context] - n * m * pi[context]) < 5 * error + 1).all()


def test_an_answer_marked_right_is_right_and_one_marked_wrong_is_not():
    learner = wb.SimLearner(Watched(signal=Count(), kappa=0.0), POOL, seed=2)
    item = next(i for i in range(41) if len(problem(learner, i)) == 1)
    (context,) = problem(learner, item)
    right = counted(learner, np.array([item]), np.ones((1, 50), np.float32))
    assert right[context, RIGHT[context]] == 50 == right.sum()
    wrong = counted(learner, np.array([item]), np.zeros((1, 50), np.float32))
    assert wrong[context, RIGHT[context]] == 0
    assert wrong[context].sum() == 50 == wrong.sum()


def test_steps_before_the_first_error_are_right_and_those_after_it_are_free():
    """In wrong answers of two steps: P(first right, second wrong), P(first wrong, second right) as by Bayes."""
    learner = wb.SimLearner(Watched(signal=Count(), kappa=0.0), POOL, seed=2)
    two = (i for i in range(41) if len(set(problem(learner, i))) == 2 == len(problem(learner, i)))
    item, n = next(two), 20_000
    one, other = problem(learner, item)
    pi = numpy_policy(learner.state.weights[0])[0]
    p, q = pi[one, RIGHT[one]], pi[other, RIGHT[other]]
    counts = counted(learner, np.array([item]), np.zeros((1, n), np.float32))
    for context, chance in ((one, p * (1 - q) / (1 - p * q)), (other, q * (1 - p) / (1 - p * q))):
        assert counts[context, RIGHT[context]] / n == pytest.approx(chance, abs=5 * 0.5 / np.sqrt(n))


def test_groups_of_one_item_have_answers_of_their_own():
    learner = wb.SimLearner(Watched(signal=Count(), kappa=0.0), POOL, seed=2)
    once = counted(learner, np.array([30]), np.zeros((1, 8), np.float32))
    learner.updates = 0
    twice = counted(learner, np.array([30, 30]), np.zeros((2, 8), np.float32))
    assert twice.sum() == 2 * once.sum()
    assert not np.array_equal(twice, 2 * once)
    assert (twice >= once).all()  # the first of them as alone


def python_answer(rewarded, asked, pi, luck):
    """The tokens of an answer under a perfect verifier, step by step, from its uniforms."""
    right = RIGHT[asked]
    if rewarded:
        return right
    ok = pi[asked, right]
    slip = np.array([sum(pi[c, v] for v in range(DIGITS) if v != y) for c, y in zip(asked, right, strict=True)])
    first = np.cumprod(np.append(1.0, ok[:-1])) * slip  # the first error is here
    error = int(np.searchsorted(np.cumsum(first), luck[1] * first.sum(), side="right"))
    tokens = right.copy()
    for t in range(error, len(asked)):
        chance = pi[asked[t]].copy()
        order = [right[t], *(v for v in range(DIGITS) if v != right[t])]
        if t == error:
            chance[right[t]] = 0.0
        pick = np.searchsorted(np.cumsum(chance[order]), luck[2 + t] * chance.sum(), side="right")
        tokens[t] = order[int(pick)]
    return tokens


ITEMS = np.array([5, 33, 20, 33, 14, 27, 22])  # one of them twice
ADMITTED = np.array([True, True, True, True, True, True, False])
COUNTS = np.array([4, 6, 2, 5, 6, 0, 6])


@pytest.mark.parametrize("counts", [None, COUNTS], ids=["equal groups", "unequal groups"])
@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_an_update_is_the_slope_of_the_real_loops_loss_on_the_literal_tokens(signal, counts):
    """Every rollout and token one by one: real_runs' policy loss at ratio 1, torch.autograd, one SGD step."""
    rate, seed, group = 0.5, 11, 6
    law = wb.TinyPolicy(signal=signal, optimizer="sgd", kappa=rate)
    learner = wb.SimLearner(law, POOL, seed=seed)
    learner.learn(np.arange(40), learner.attempt(np.arange(40)))  # not the base policy any more, and V moved
    before, update, value = learner.state.weights[0].copy(), learner.updates, learner.state.value[0]
    p = learner.success(ITEMS).astype(np.float64)
    sizes = np.full(len(ITEMS), group) if counts is None else counts
    rewards = learner.attempt(ITEMS, group, counts)
    learner.learn(ITEMS, rewards, ADMITTED, counts)
    moved = (before - learner.state.weights[0].astype(np.float64)) / rate

    pi = np.exp(read_policy(before[None])[0][0])
    contexts, tokens, advantages, seen = [], [], [], {}
    for i, item in enumerate(ITEMS):
        asked = problem(learner, item)
        n, k = sizes[i], rewards[i].sum()
        scores = rewards[i, :n]
        if n < (2 if signal.needs_group else 1):
            each = np.zeros(n)
        else:
            each = literal_advantages(signal, scores, k, n, value, p[i])
        blocks = (law.longest + 5) // 4
        start = 4 * blocks * group * seen.get(item, 0)
        seen[item] = seen.get(item, 0) + 1
        luck = uniforms(seed, Role.TOKEN, clock(update, int(item)), 10_000)[0][start:].astype(np.float64)
        for g in range(n if ADMITTED[i] else 0):
            contexts.append(asked)
            tokens.append(python_answer(scores[g] == 1, asked, pi, luck[4 * blocks * g :]))
            advantages.append(each[g])
    longest = max(map(len, contexts))
    padded = [
        torch.tensor(np.array([np.pad(row, (0, longest - len(row))) for row in rows])) for rows in (contexts, tokens)
    ]
    mask = torch.tensor([[float(t < len(row)) for t in range(longest)] for row in contexts])
    weights = torch.tensor(before, requires_grad=True)
    logp = ppo.token_logp(policy.log_policy(weights)[padded[0]], padded[1])
    a = torch.tensor(np.array(advantages, np.float32))[:, None].expand_as(mask)
    per_token = ppo.policy_loss(logp, logp.detach(), a, mask, 0.2, 0.2)
    (per_token * ppo.loss_weights(mask, "token")).sum().backward()
    assert np.abs(moved).max() > 1e-3
    np.testing.assert_allclose(moved, weights.grad.numpy(), rtol=1e-3, atol=2e-6)


def literal_advantages(signal, scores, k, n, value, p):
    batch = torch.tensor(scores)[None]
    if isinstance(signal, RLOO):
        return ppo.rloo_advantages(batch)[0].numpy()
    if isinstance(signal, GRPO):
        return ppo.grpo_advantages(batch)[0].numpy()
    if isinstance(signal, MeanBaseline):
        return scores - scores.mean()
    if isinstance(signal, SuccessOnly):
        return scores * (n / max(k, 1))
    return scores - (p if signal.perfect else value)


# ---- advantages


@pytest.mark.parametrize(
    ("signal", "n"), [(signal, n) for signal in SIGNALS for n in (1, 2, 5, 8) if n > 1 or not signal.needs_group]
)
def test_advantages_and_signals_are_one_estimator(signal, n):
    """Their mean over the group, times the score 1 - p or -p, is the signal of the other learners."""
    k, p, value = np.arange(n + 1.0), 0.3, 0.45
    up, down = signal.advantages(k, np.full(n + 1, float(n)), value, p)
    c0, c1, c2 = signal.sampled(k, n, value)
    np.testing.assert_allclose(k / n * up * (1 - p) - (n - k) / n * down * p, c0 + c1 * p + c2 * p**2, atol=1e-12)


@pytest.mark.parametrize(
    ("signal", "of_a_real_run"), [(RLOO(), ppo.rloo_advantages), (GRPO(), ppo.grpo_advantages)], ids=["rloo", "grpo"]
)
def test_advantages_are_those_of_a_real_run(signal, of_a_real_run):
    scores = np.array([[float(g < k) for g in range(8)] for k in range(9)], np.float32)
    up, down = signal.advantages(np.arange(9.0), np.full(9, 8.0), 0.5, 0.5)
    mine = np.where(scores == 1, up[:, None], down[:, None])
    np.testing.assert_allclose(mine, of_a_real_run(torch.tensor(scores)).numpy(), rtol=1e-5, atol=1e-6)


# ---- the network and its optimiser


def test_the_slope_is_the_written_out_one():
    """d(-sum W log pi) by back-propagation in NumPy: W - pi (sum of W), through the soft-max, tanh and embeddings."""
    rng = np.random.default_rng(0)
    weights = base_weights(16)[None]
    weight = rng.normal(size=(CONTEXTS, DIGITS))
    log_prob, pull_back = read_policy(weights)
    pi, h, out = numpy_policy(weights[0])
    np.testing.assert_allclose(np.exp(log_prob[0]), pi, rtol=1e-4, atol=1e-7)
    by_logits = -(weight - pi * weight.sum(axis=1, keepdims=True))
    by_seen = ((by_logits @ out.T) * (1 - h**2)).reshape(10, 10, 2, 16)
    parts = [by_seen.sum((1, 2)), by_seen.sum((0, 2)), by_seen.sum((0, 1)), h.T @ by_logits, by_logits.sum(0)]
    slope = pull_back(-weight[None].astype(np.float32))[0]
    np.testing.assert_allclose(slope, np.concatenate([part.ravel() for part in parts]), rtol=1e-3, atol=1e-4)


def test_adam_is_torchs_adam():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(2, 30)).astype(np.float32)
    rates = np.array([[0.01], [0.002]])
    state = policy.PolicyState(weights, np.zeros_like(weights), np.zeros_like(weights), np.zeros(2, int), np.zeros(2))
    theirs = [torch.tensor(row, requires_grad=True) for row in weights]
    peers = [
        torch.optim.Adam([row], lr=float(rate), betas=(BETA1, BETA2), eps=EPSILON)
        for row, rate in zip(theirs, rates[:, 0], strict=True)
    ]
    for _ in range(20):
        slope = rng.normal(size=weights.shape).astype(np.float32)
        state = policy.adam(state, slope, rates)
        for row, peer, mine in zip(theirs, peers, slope, strict=True):
            row.grad = torch.tensor(mine)
            peer.step()
    np.testing.assert_allclose(state.weights, [row.detach().numpy() for row in theirs], rtol=1e-5, atol=1e-6)
    assert np.abs(state.weights - weights).min() > 1e-5


def test_without_a_signal_the_weights_stay():
    learner = wb.SimLearner(wb.TinyPolicy(optimizer="sgd", kappa=5.0), POOL, seed=0)
    before = learner.state.weights.copy()
    rewards = np.repeat([[1.0], [0.0]], 8, axis=1).astype(np.float32)
    for _ in range(5):
        learner.learn(np.array([4, 30]), rewards)  # all right, and all wrong
    np.testing.assert_array_equal(before, learner.state.weights)
    learner.learn(np.array([4, 30]), learner.attempt(np.array([20, 30]), 8))
    assert not np.array_equal(before, learner.state.weights)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_lane_without_admitted_groups_takes_no_step_whatever_its_momentum(optimizer):
    learner = wb.SimLearner(wb.TinyPolicy(optimizer=optimizer), POOL, seed=np.array([1, 2]))
    items = np.arange(40)[None].repeat(2, axis=0)
    learner.learn(items, learner.attempt(items))
    before = learner.state
    admitted = np.ones(items.shape, bool)
    admitted[1] = False
    learner.learn(items, learner.attempt(items), admitted)
    for name, old in before._asdict().items():
        new = getattr(learner.state, name)
        np.testing.assert_array_equal(new[1], old[1], err_msg=name)
    assert not np.array_equal(learner.state.weights[0], before.weights[0])
    assert learner.state.steps.tolist() == [2, 1]


def test_forgetting_leads_back_to_the_weights_before_training():
    learner = wb.SimLearner(wb.TinyPolicy(kappa=0.0, forgetting=0.25), POOL, seed=0)
    away = np.linspace(-1, 1, learner.state.weights.size, dtype=np.float32)[None]
    learner.state = learner.state._replace(weights=base_weights(32)[None] + away)
    for t in range(1, 4):
        learner.learn(np.arange(8), learner.attempt(np.arange(8)))
        np.testing.assert_allclose(learner.state.weights - base_weights(32), 0.75**t * away, atol=1e-6)


def test_repetition_weakens_what_an_item_teaches():
    """The second visit counts e^-1; nothing else in the batch."""
    def slopes(decay):
        law = wb.TinyPolicy(optimizer="sgd", kappa=1e-3, repeat_decay=decay)
        learner = wb.SimLearner(law, POOL, seed=0)
        first = learner.state.weights
        items, rewards = np.array([20]), np.array([[1, 0, 1, 0]], np.float32)
        learner.learn(items, rewards)
        second = learner.state.weights
        learner.state = learner.state._replace(weights=first)  # the same policy again
        learner.learn(items, rewards)
        return second - first, learner.state.weights - first

    (fresh, again), (tired_first, tired) = slopes(0.0), slopes(1.0)
    np.testing.assert_array_equal(fresh, tired_first)
    scale = np.abs(again).max()
    np.testing.assert_allclose(tired / scale, np.exp(-1) * again / scale, atol=2e-3)


# ---- runs


def test_uniform_teaches_it_within_200_updates_in_every_seed():
    pool, seeds = wb.Pool.synthetic("uniform", 1000), np.arange(3)
    controller = wb.Controller(wb.Uniform(), pool, seed=seeds)
    record = wb.train(controller, wb.SimLearner(wb.TinyPolicy(), pool, seeds), 200, batch=64, eval_every=50)
    gain = record.mean_success - record.mean_success[0]
    assert (np.diff(record.mean_success, axis=0) > 0.02).all()
    assert (gain[-1] > 0.25).all()
    assert (record.success[-1] > record.success[0]).all()  # in every stratum


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_many_lanes_are_single_runs(optimizer):
    """More lanes than a batched product may treat alike, each with its own rate, start and forgetting."""
    lanes, seeds = 21, np.arange(21) % 5
    each = {
        "kappa": np.linspace(0.001, 0.02, lanes), "theta0": np.linspace(-2, 1, lanes) // 1,
        "forgetting": np.linspace(0, 0.1, lanes), "false_negative": np.linspace(0, 0.3, lanes),
        "repeat_decay": np.linspace(0, 1, lanes), "unlearnable": np.linspace(0, 0.3, lanes),
    }  # fmt: skip
    law = wb.TinyPolicy(optimizer=optimizer, **each)
    together = wb.train(
        wb.Controller(wb.Uniform(), POOL, seed=seeds), wb.SimLearner(law, POOL, seeds), 12, batch=16, eval_every=3
    )
    for r in (0, 1, 7, 13, 20):
        alone_law = replace(law, **{name: values[r] for name, values in each.items()})
        alone = wb.train(
            wb.Controller(wb.Uniform(), POOL, seed=int(seeds[r])), wb.SimLearner(alone_law, POOL, int(seeds[r])),
            12, batch=16, eval_every=3,
        )  # fmt: skip
        np.testing.assert_array_equal(together.success[:, r], alone.success[:, 0])


@pytest.mark.parametrize("rule", [wb.AdaRFT(), wb.SFL(period=3, candidates=16, keep=10)], ids=["adarft", "sfl"])
def test_a_run_goes_on_bit_for_bit_from_plain_arrays(rule):
    seeds = np.array([3, 8])

    def pair():
        gates = [wb.DynamicSampling()]
        return wb.Controller(rule, POOL, gates, seed=seeds), wb.SimLearner(wb.TinyPolicy(), POOL, seeds)

    whole, (controller, learner) = pair(), pair()
    wb.train(*whole, 12, batch=8)
    wb.train(controller, learner, 5, batch=8)
    kept = learner.state_dict()
    assert all(isinstance(value, (np.ndarray, int)) for value in kept.values())
    resumed = wb.SimLearner(wb.TinyPolicy(), POOL, seeds)
    resumed.load_state_dict(kept)
    wb.train(controller, resumed, 7, batch=8)
    for name, value in whole[1].state_dict().items():
        np.testing.assert_array_equal(value, resumed.state_dict()[name], err_msg=name)


def test_late_partial_and_repeated_feedback_teaches_too():
    learner = wb.SimLearner(wb.TinyPolicy(), POOL, seed=0)
    items = np.arange(10, 30)
    old = learner.attempt(items)
    learner.learn(np.arange(20), learner.attempt(np.arange(20)))
    states = [learner.state.weights]
    for part, rewards in ((items, old), (items[:3], old[:3]), (items, old)):
        learner.learn(part, rewards)
        states.append(learner.state.weights)
        assert np.isfinite(states[-1]).all()
    for one, other in pairwise(states):
        assert not np.array_equal(one, other)


def test_luck_of_a_slot_does_not_hang_on_the_item():
    """Equally hard items in a slot have the same attempts: controllers are paired."""
    learner = wb.SimLearner(wb.TinyPolicy(label_noise=0.0), wb.Pool(np.repeat(50.0, 8)), seed=4)
    p = learner.success(np.arange(8))
    one, other = learner.attempt(np.arange(8), 64), None
    learner.attempts = 0
    other = learner.attempt(np.arange(8)[::-1], 64)
    assert (one == other).mean() > 1 - 2 * np.ptp(p) - 0.05


@pytest.mark.parametrize(
    "law",
    [
        wb.TinyPolicy(
            optimizer="sgd", kappa=2.0, forgetting=0.01, repeat_decay=0.2, false_negative=0.1, false_positive=0.05,
            unlearnable=0.2, signal=wb.Critic(),
        ),
        wb.TinyPolicy(signal=wb.GRPO(), width=8, longest=3, theta0=-1.0),
        wb.TinyPolicy(signal=wb.SuccessOnly(), gap=1.0),
    ],
    ids=["flaws", "grpo", "successes"],
)  # fmt: skip
def test_variants_keep_the_laws_of_learners(law):
    check_learner(partial(wb.SimLearner, law))


# ---- in a sweep


def test_it_runs_on_three_seeds_of_a_sweep_and_is_paired_with_uniform_there(tmp_path):
    study = Study([POOL], ["scalar", "policy"], ["adarft"], seeds=5, steps=4, batch=8)
    table = study.compute(CellStore(tmp_path))
    seeds = table.groupby(["learner", "controller"])["seed"].unique().map(list).to_dict()
    assert seeds == {
        (learner, rule): list(range(3 if learner == "policy" else 5))
        for learner in ("scalar", "policy") for rule in ("uniform", "adarft")
    }  # fmt: skip


def test_cells_know_the_release_of_torch(monkeypatch):
    def keys(learner):
        return {cell.key for cell in Study([POOL], [learner], ["adarft"], seeds=2, steps=4, batch=8).cells}

    before = {learner: keys(learner) for learner in ("scalar", "policy")}
    monkeypatch.setattr("workbench.study.identity.version", lambda name: "0.0.0")
    assert keys("scalar") == before["scalar"]
    assert not keys("policy") & before["policy"]


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)


SMALL = "--pools narrow --seeds 2 --steps 4 --batch 8 --jobs 1"


def test_without_it_nothing_imports_torch(tmp_path):
    script = (
        "import sys; import workbench as wb; wb.TinyPolicy(), wb.SimLearner, wb.figures, wb.testing.check_learner;"
        "import runpy;"
        f"sys.argv = ['sims/sweep.py', *'{SMALL} --controllers adarft --out {tmp_path}'.split()]\n"
        "try: runpy.run_path('sims/sweep.py', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert "torch" not in json.loads((tmp_path / "manifest.json").read_text())["versions"]


def test_with_it_the_manifest_names_the_release_of_torch(tmp_path):
    done = python("sims/sweep.py", *SMALL.split(), "--learners", "policy", "--controllers", "adarft",
                  "--set", "policy.optimizer=adam,sgd", "--out", str(tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "policy optimizer=sgd" in done.stdout
    assert json.loads((tmp_path / "manifest.json").read_text())["versions"]["torch"] == torch.__version__


def test_without_torch_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    text = r"^TinyPolicy: must have torch, which is not installed; the extra `real` brings it: pip install .*\[real\]'$"
    with pytest.raises(InputError, match=text):
        wb.SimLearner(wb.TinyPolicy(), POOL)
    with pytest.raises(InputError, match=text):
        Study([POOL], ["scalar", "policy"], ["adarft"], batch=8)
    wb.SimLearner(wb.ScalarIRT(), POOL)  # others do not mind
    Study([POOL], ["scalar"], ["adarft"], batch=8)


# ---- bad input


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"gamma": 0.5}, "gamma: must be 1 for TinyPolicy"),
        ({"kappa": -1.0}, "kappa: must be a number in [0, 1e9], got -1.0"),
        ({"optimizer": "lion"}, "optimizer: must be one of adam, sgd, got 'lion'"),
        ({"width": 0}, "width: must be a whole number in [1, 1024], got 0"),
        ({"longest": 101}, "longest: must be a whole number in [1, 100], got 101"),
        ({"signal": RLOO(exact=True)}, "signal: must give sampled rollouts an advantage, such as RLOO(), got RLOO("),
        ({"signal": Visit()}, "signal: must give sampled rollouts an advantage, such as RLOO(), got Visit("),
    ],
)
def test_bad_settings_are_named_in_one_line(settings, text):
    with pytest.raises(InputError) as caught:
        wb.TinyPolicy(**settings)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)
