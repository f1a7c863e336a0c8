"""The equations of real_runs/rl/ppo.py by hand, against plain loops, and as laws.

Every expected value is hand arithmetic, a textbook definition written as a loop, or an exact expectation over a
small categorical distribution; none comes from the code under test.
"""

import dataclasses
import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from real_runs.rl import ppo
from workbench.errors import InputError

laws = settings(max_examples=40, deadline=None, derandomize=True)
units = st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)


def tensor(x):
    return torch.tensor(x, dtype=torch.float64)


def close(actual, expected, tol=1e-12):
    if not isinstance(expected, torch.Tensor):
        expected = torch.tensor(np.array(expected), dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=tol, atol=tol)


def normal(seed, *shape):
    return tensor(np.random.default_rng(seed).normal(size=shape))


def mask_of(lengths, width=None):
    width = max(lengths) if width is None else width
    return tensor([[float(t < length) for t in range(width)] for length in lengths])


def gradient(loss, *inputs):
    grads = torch.autograd.grad(loss, inputs)
    return grads[0] if len(inputs) == 1 else grads


@st.composite
def batches(draw, shortest=0):
    """Lengths of the sequences, the mask, and a function that draws (N, T) normals, padding included."""
    lengths = draw(st.lists(st.integers(shortest, 6), min_size=1, max_size=4))
    width = max(*lengths, 1) + draw(st.integers(0, 2))
    rng = np.random.default_rng(draw(seeds))
    return lengths, mask_of(lengths, width), lambda: tensor(rng.normal(size=(len(lengths), width)))


# --- log probabilities and entropy


def test_token_logp_of_two_tokens_is_a_logistic_of_the_logit_gap_over_the_temperature():
    logits = tensor([[[0.0, 3.0], [3.0, 0.0], [5.0, 5.0]]])
    tokens = torch.tensor([[1, 1, 0]])
    close(ppo.token_logp(logits, tokens), [[-math.log1p(math.exp(-3)), -math.log1p(math.exp(3)), -math.log(2)]])
    close(
        ppo.token_logp(logits, tokens, 2.0), [[-math.log1p(math.exp(-1.5)), -math.log1p(math.exp(1.5)), -math.log(2)]]
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_token_logp_is_the_log_of_a_plain_softmax(temperature):
    logits, tokens = normal(0, 3, 4, 5), torch.from_numpy(np.random.default_rng(1).integers(5, size=(3, 4)))
    weight = np.exp(logits.numpy() / temperature)
    expected = [
        [math.log(weight[n, t, tokens[n, t]] / weight[n, t].sum()) for t in range(4)] for n in range(3)
    ]  # (N, T)
    close(ppo.token_logp(logits, tokens, temperature), expected)


def test_gradient_of_token_logp_is_one_hot_minus_softmax_over_the_temperature():
    logits = tensor([[[0.0, math.log(2), math.log(5)]]]).requires_grad_()  # softmax at temperature 1: 1/8, 2/8, 5/8
    close(gradient(ppo.token_logp(logits, torch.tensor([[1]])).sum(), logits), [[[-1 / 8, 6 / 8, -5 / 8]]])
    halved = (logits.detach() / 2).requires_grad_()  # the same softmax at temperature 1/2, twice the slope
    close(gradient(ppo.token_logp(halved, torch.tensor([[1]]), 0.5).sum(), halved), [[[-2 / 8, 12 / 8, -10 / 8]]])


@pytest.mark.parametrize("size", [1, 2, 7])
def test_entropy_of_equal_logits_is_the_log_of_the_vocabulary(size):
    close(ppo.entropy(torch.full((1, 2, size), 3.0, dtype=torch.float64)), [[math.log(size)] * 2])


def test_entropy_of_a_quarter_and_three_quarters_by_hand():
    # ln 4 - 3/4 ln 3 = 0.5623; at temperature 2 the odds 3:1 become sqrt(3):1.
    logits = tensor([[[math.log(3), 0.0]]])
    close(ppo.entropy(logits), [[math.log(4) - 0.75 * math.log(3)]])
    p = math.sqrt(3) / (1 + math.sqrt(3))
    close(ppo.entropy(logits, 2.0), [[-p * math.log(p) - (1 - p) * math.log(1 - p)]])
    close(ppo.entropy(logits, 1e9), [[math.log(2)]])


def test_gradient_of_entropy_is_minus_p_times_log_p_plus_entropy():
    p = np.array([0.1, 0.2, 0.7])
    h = -(p * np.log(p)).sum()
    logits = tensor(np.log(p) + 4.0).reshape(1, 1, 3).requires_grad_()
    close(gradient(ppo.entropy(logits).sum(), logits), [[-p * (np.log(p) + h)]])


def test_a_certain_token_has_no_entropy_and_no_log_probability_however_large_the_logits():
    logits = tensor([[[0.0, 1e4, -1e4]]]).requires_grad_()
    logp, h = ppo.token_logp(logits, torch.tensor([[1]])), ppo.entropy(logits)
    close(torch.cat([logp, h]), [[0.0], [0.0]])
    assert gradient((logp + h).sum(), logits).abs().max() == 0


@laws
@given(seeds, st.floats(-50, 50), st.floats(0.2, 5))
def test_logits_count_only_up_to_a_constant_and_in_units_of_the_temperature(seed, shift, temperature):
    logits, tokens = normal(seed, 2, 3, 4), torch.tensor([[0, 1, 2], [3, 0, 1]])
    moved = (logits + shift) * temperature
    close(ppo.token_logp(moved, tokens, temperature), ppo.token_logp(logits, tokens), 1e-9)
    close(ppo.entropy(moved, temperature), ppo.entropy(logits), 1e-9)


@laws
@given(seeds)
def test_entropy_is_the_expected_surprise_of_a_token(seed):
    logits = normal(seed, 1, 1, 5)
    logp = torch.cat([ppo.token_logp(logits, torch.tensor([[v]])) for v in range(5)])  # (V, 1)
    close(logp.exp().sum(), 1.0)
    close(ppo.entropy(logits), -(logp.exp() * logp).sum().reshape(1, 1))


# --- KL estimators


def test_the_three_kl_estimators_by_hand():
    # policy probability 1/2, 1/4, 1/3; reference 1/4, 1/2, 1/3: log ratios ln 2, -ln 2, 0.
    logp, ref, ln2 = tensor([[1 / 2, 1 / 4, 1 / 3]]).log(), tensor([[1 / 4, 1 / 2, 1 / 3]]).log(), math.log(2)
    close(ppo.kl_estimate(logp, ref, "k1"), [[ln2, -ln2, 0.0]])
    close(ppo.kl_estimate(logp, ref, "k2"), [[ln2**2 / 2, ln2**2 / 2, 0.0]])
    close(ppo.kl_estimate(logp, ref, "k3"), [[0.5 - 1 + ln2, 2 - 1 - ln2, 0.0]])


@laws
@given(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=1, max_size=8))
def test_k2_and_k3_are_never_negative(pairs):
    logp, ref = tensor(pairs).T[:, None]
    assert (ppo.kl_estimate(logp, ref, "k2") >= 0).all()
    assert (ppo.kl_estimate(logp, ref, "k3") >= -1e-14).all()


@laws
@given(seeds)
def test_k1_and_k3_average_over_the_policy_to_the_exact_kl(seed):
    logp, ref = normal(seed, 2, 1, 6).log_softmax(-1)  # (1, V) each: every token once
    exact = float((logp.exp() * (logp - ref)).sum())
    for kind in ("k1", "k3"):
        close((logp.exp() * ppo.kl_estimate(logp, ref, kind)).sum(), exact)


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_summed_over_tokens_the_estimators_average_to_the_kl_of_whole_completions(kind):
    # Two tokens from a vocabulary of three; the second depends on the first. All nine completions are enumerated.
    tables = [(normal(s, 3).log_softmax(-1), normal(s + 1, 3, 3).log_softmax(-1)) for s in (10, 20)]
    pairs = list(product(range(3), repeat=2))
    logp, ref = (torch.stack([torch.stack([first[a], second[a, b]]) for a, b in pairs]) for first, second in tables)
    joint, joint_ref = logp.sum(1), ref.sum(1)  # (9,) log probabilities of the completions
    exact = float((joint.exp() * (joint - joint_ref)).sum())
    close((joint.exp() * ppo.kl_estimate(logp, ref, kind).sum(1)).sum(), exact)


def test_gradients_of_the_estimators_by_hand():
    # d k1 = 1, d k2 = log ratio, d k3 = 1 - reference / policy, all per unit of logp.
    logp, ref = tensor([[1 / 2, 1 / 4]]).log().requires_grad_(), tensor([[1 / 4, 1 / 2]]).log()
    close(gradient(ppo.kl_estimate(logp, ref, "k1").sum(), logp), [[1.0, 1.0]])
    close(gradient(ppo.kl_estimate(logp, ref, "k2").sum(), logp), [[math.log(2), -math.log(2)]])
    close(gradient(ppo.kl_estimate(logp, ref, "k3").sum(), logp), [[0.5, -1.0]])


def test_in_expectation_k1_pulls_nowhere_k2_down_the_kl_and_k3_down_the_kl_of_the_swapped_pair():
    # E[d k1] = E[d logp] = 0; E[d k2] = E[(logp - ref) d logp] = d KL(p||q); E[d k3] = -E_q[d logp] = d KL(q||p).
    # In logits: d KL(p||q) = p (log p/q - KL), d KL(q||p) = p - q.
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    kl = (p * np.log(p / q)).sum()
    expected = {"k1": np.zeros(3), "k2": p * (np.log(p / q) - kl), "k3": p - q}
    for kind, value in expected.items():
        logits = tensor(np.log(p)).reshape(1, 1, 3).requires_grad_()
        logp = ppo.token_logp(logits.expand(1, 3, 3), torch.tensor([[0, 1, 2]]))
        close(gradient((tensor(p) * ppo.kl_estimate(logp, tensor(np.log(q))[None], kind)).sum(), logits), [[value]])


# --- masked statistics


def test_masked_mean_counts_masked_entries_only():
    close(ppo.masked_mean(tensor([[1.0, 2.0], [6.0, 50.0]]), mask_of([2, 1])), 3.0)


def test_masked_mean_of_nothing_is_zero_with_zero_gradient():
    x = tensor([[1.0, 2.0]]).requires_grad_()
    mean = ppo.masked_mean(x, mask_of([0], 2))
    assert mean == 0
    assert gradient(mean, x).tolist() == [[0.0, 0.0]]


def test_whiten_by_hand():
    # 1, 2, 6 have mean 3 and population variance (4 + 1 + 9) / 3 = 14 / 3; the 50 is padding.
    scale = math.sqrt(14 / 3 + 1e-8)
    close(ppo.whiten(tensor([[1.0, 2.0], [6.0, 50.0]]), mask_of([2, 1])), [[-2 / scale, -1 / scale], [3 / scale, 0.0]])


@laws
@given(batches())
def test_whitened_entries_have_mean_zero_and_variance_one_where_the_mask_is_one_and_are_zero_elsewhere(batch):
    _lengths, mask, draw = batch
    x = 3 * draw() + 5
    white = ppo.whiten(x, mask)
    assert (white[mask == 0] == 0).all()
    inside = white[mask == 1].numpy()
    if inside.size > 1:
        variance = x[mask == 1].numpy().var()
        assert inside.mean() == pytest.approx(0, abs=1e-9)
        assert inside.var() == pytest.approx(variance / (variance + 1e-8), rel=1e-9)


@pytest.mark.parametrize("lengths", [[0, 0], [1, 0], [2, 3]])
def test_whiten_of_a_constant_is_zero(lengths):
    close(ppo.whiten(torch.full((2, 3), 0.3, dtype=torch.float64), mask_of(lengths, 3)), np.zeros((2, 3)))


# --- rewards per token


def test_the_score_falls_on_the_last_masked_token():
    expected = [[0.0, 0.0, 2.0], [0.0, -1.0, 0.0], [5.0, 0.0, 0.0]]
    close(ppo.token_rewards(tensor([2.0, -1.0, 5.0]), mask_of([3, 2, 1])), expected)


def test_kl_is_charged_on_every_masked_token():
    kl = tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    rewards = ppo.token_rewards(tensor([1.0, 0.0]), mask_of([3, 2]), kl, 0.1)
    close(rewards, [[-0.1, -0.2, 0.7], [-0.4, -0.5, 0.0]])
    close(ppo.token_rewards(tensor([1.0, 0.0]), mask_of([3, 2]), kl), [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])


def test_an_empty_completion_is_paid_nothing():
    kl = torch.ones(2, 2, dtype=torch.float64)
    close(ppo.token_rewards(tensor([7.0, 1.0]), mask_of([0, 1], 2), kl, 0.5), [[0.0, 0.0], [0.5, 0.0]])


@laws
@given(batches(shortest=1), st.floats(0, 2))
def test_rewards_of_a_sequence_sum_to_its_score_less_its_kl(batch, coef):
    lengths, mask, draw = batch
    kl, scores = draw(), draw()[:, 0]
    expected = [float(s - coef * row[:length].sum()) for s, row, length in zip(scores, kl, lengths, strict=True)]
    close(ppo.token_rewards(scores, mask, kl, coef).sum(1), expected)


# --- generalized advantage estimation


def gae_by_double_sum(rewards, values, lengths, gamma, lam):
    """A_t = sum_s (gamma lam)^(s-t) (r_s + gamma V_(s+1) - V_s), as Schulman et al. (2016) print it."""
    advantages = np.zeros(rewards.shape)
    for n, length in enumerate(lengths):
        for t, s in product(range(length), repeat=2):
            if s >= t:
                after = values[n, s + 1] if s + 1 < length else 0.0
                advantages[n, t] += (gamma * lam) ** (s - t) * (rewards[n, s] + gamma * after - values[n, s])
    return advantages


def test_gae_by_hand_from_score_kl_and_values():
    # KL .2, .4 and .6 at coefficient .5 and scores 1, 0: rewards -.1, .8 and -.3. gamma 1, lambda 1/2.
    # First sequence: delta -.1 + .25 - .5 = -.35 and .8 - .25 = .55, so A = -.35 + .55 / 2 = -.075 and .55.
    # Second, one token: -.3 - .1 = -.4. Returns add the values back.
    mask, kl = mask_of([2, 1]), tensor([[0.2, 0.4], [0.6, 9.0]])
    rewards = ppo.token_rewards(tensor([1.0, 0.0]), mask, kl, 0.5)
    advantages, returns = ppo.gae(rewards, tensor([[0.5, 0.25], [0.1, 9.0]]), mask, 1.0, 0.5)
    close(advantages, [[-0.075, 0.55], [-0.4, 0.0]])
    close(returns, [[0.425, 0.8], [-0.3, 0.0]])


@laws
@given(batches(), units, units)
def test_gae_is_the_double_sum(batch, gamma, lam):
    lengths, mask, draw = batch
    rewards, values = draw(), draw()
    expected = gae_by_double_sum(rewards.numpy(), values.numpy(), lengths, gamma, lam)
    advantages, returns = ppo.gae(rewards, values, mask, gamma, lam)
    close(advantages, expected, 1e-11)
    close(returns, (expected + values.numpy()) * mask.numpy(), 1e-11)


@laws
@given(batches(), units)
def test_gae_at_lambda_zero_is_the_one_step_temporal_difference(batch, gamma):
    _lengths, mask, draw = batch
    rewards, values = draw(), draw()
    after = torch.nn.functional.pad((values * mask)[:, 1:], (0, 1))
    close(ppo.gae(rewards, values, mask, gamma, 0.0)[0], (rewards + gamma * after - values) * mask)


@laws
@given(batches(), units)
def test_gae_at_lambda_one_is_the_discounted_return_minus_the_value(batch, gamma):
    lengths, mask, draw = batch
    rewards, values = draw(), draw()
    expected = np.zeros(rewards.shape)
    for n, length in enumerate(lengths):
        for t in range(length):
            expected[n, t] = sum(gamma ** (s - t) * float(rewards[n, s]) for s in range(t, length))
    advantages, returns = ppo.gae(rewards, values, mask, gamma, 1.0)
    close(returns, expected, 1e-11)
    close(advantages, (expected - values.numpy()) * mask.numpy(), 1e-11)


def test_gae_of_a_sequence_does_not_depend_on_its_neighbours_or_its_padding():
    lengths = [1, 4, 0, 6, 3]
    rewards, values = normal(3, 5, 8), normal(4, 5, 8)
    together = ppo.gae(rewards, values, mask_of(lengths, 8), 0.9, 0.8)
    for n, length in enumerate(lengths):
        width = max(length, 1)
        alone = ppo.gae(rewards[n : n + 1, :width], values[n : n + 1, :width], mask_of([length], width), 0.9, 0.8)
        for batched, single in zip(together, alone, strict=True):
            close(batched[n : n + 1, :width], single)
            assert (batched[n, length:] == 0).all()


# --- advantages of groups


def test_grpo_advantages_by_hand():
    # One success in four: mean 1/4, population variance 3/16.
    # The scores 1 and 3: mean 2, deviation 1. eps is added to the deviation.
    std = math.sqrt(3) / 4
    expected = [[0.75 / (std + 1e-6), *[-0.25 / (std + 1e-6)] * 3]]
    close(ppo.grpo_advantages(tensor([[1.0, 0.0, 0.0, 0.0]])), expected)
    close(ppo.grpo_advantages(tensor([[1.0, 3.0]]), eps=1.0), [[-0.5, 0.5]])


def test_rloo_advantages_by_hand():
    # 1 - (2 + 6) / 2, 2 - (1 + 6) / 2, 6 - (1 + 2) / 2
    close(ppo.rloo_advantages(tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 1.0]])), [[-3.0, -1.5, 4.5], [-0.5, -0.5, 1.0]])


@laws
@given(seeds, st.integers(1, 4), st.integers(2, 9))
def test_rloo_is_the_score_less_the_mean_of_the_others(seed, prompts, rollouts):
    scores = normal(seed, prompts, rollouts)
    rows = scores.numpy()
    expected = [[row[g] - np.delete(row, g).mean() for g in range(rollouts)] for row in rows]
    close(ppo.rloo_advantages(scores), expected, 1e-11)


@pytest.mark.parametrize("advantages", [ppo.grpo_advantages, ppo.rloo_advantages])
class TestGroupAdvantages:
    @laws
    @given(seed=seeds, prompts=st.integers(1, 4), rollouts=st.integers(2, 9))
    def test_sum_to_zero_in_every_group(self, advantages, seed, prompts, rollouts):
        close(advantages(normal(seed, prompts, rollouts)).sum(1), np.zeros(prompts), 1e-10)

    @laws
    @given(seed=seeds, shift=st.floats(-5, 5))
    def test_do_not_change_when_every_score_of_a_group_rises(self, advantages, seed, shift):
        scores = normal(seed, 3, 5)
        close(advantages(scores + shift), advantages(scores), 1e-9)

    def test_groups_do_not_see_each_other(self, advantages):
        scores = normal(5, 3, 4)
        close(advantages(scores), torch.cat([advantages(row) for row in scores.split(1)]))

    @pytest.mark.parametrize("score", [0.0, 1.0, -1.0])
    def test_all_wrong_and_all_right_are_exactly_zero(self, advantages, score):
        assert (advantages(torch.full((2, 8), score)) == 0).all()

    @pytest.mark.parametrize("shape", [(3, 1), (1, 1), (2, 0)])
    def test_a_group_of_fewer_than_two_is_refused(self, advantages, shape):
        with pytest.raises(InputError, match=rf"must be .*2.*got.*{shape[1]}"):
            advantages(torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rollouts", range(2, 17))
def test_grpo_of_equal_scores_is_exactly_zero_whatever_the_score(rollouts, dtype):
    # The mean of G copies of 0.1 need not be 0.1 in floating point: divided by eps the rest would be a real advantage.
    scores = torch.tensor([0.1, 0.7, 1 / 3, 1e4 + 0.1], dtype=dtype)[:, None].expand(4, rollouts)
    assert (ppo.grpo_advantages(scores) == 0).all()


@laws
@given(seeds, st.floats(0.5, 20))
def test_grpo_advantages_have_deviation_one_in_any_unit_of_the_score(seed, unit):
    scores = normal(seed, 3, 6)
    advantages = ppo.grpo_advantages(scores * unit, eps=0.0)
    close(advantages, ppo.grpo_advantages(scores, eps=0.0), 1e-9)
    np.testing.assert_allclose(advantages.numpy().std(1), 1, rtol=1e-9)


def test_reinforce_pp_advantages_by_hand():
    # A solved completion of one token, a failed one of three; gamma 1: returns 1 and 0, 0, 0.
    # Mean 1/4, variance 3/16, so whitened sqrt(3) and -1/sqrt(3).
    advantages = ppo.reinforce_pp_advantages(tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), mask_of([1, 3]), 1.0)
    close(advantages, [[math.sqrt(3), 0.0, 0.0], [-1 / math.sqrt(3)] * 3], 1e-7)


@laws
@given(batches(shortest=1), units)
def test_reinforce_pp_advantages_are_whitened_returns_to_go(batch, gamma):
    lengths, mask, draw = batch
    rewards = draw().numpy()
    togo = [
        [sum(gamma ** (s - t) * rewards[n, s] for s in range(t, length)) for t in range(length)]
        for n, length in enumerate(lengths)
    ]
    flat = np.array([x for row in togo for x in row])
    expected = np.zeros(rewards.shape)
    expected[mask.numpy() == 1] = (flat - flat.mean()) / np.sqrt(flat.var() + 1e-8)
    close(ppo.reinforce_pp_advantages(tensor(rewards), mask, gamma), expected, 1e-7)


# --- the clipped policy loss


@laws
@given(batches())
def test_at_ratio_one_the_gradient_is_that_of_reinforce(batch):
    _lengths, mask, draw = batch
    logp, advantages = draw().requires_grad_(), draw()
    loss = ppo.policy_loss(logp, logp.detach(), advantages, mask, 0.2, 0.2)
    close(loss, -advantages * mask)
    close(gradient(loss.sum(), logp), -advantages * mask)  # of -A logp, per token


def test_at_ratio_one_the_gradient_reaches_the_logits_as_minus_advantage_times_the_score_function():
    tokens, advantages, mask = torch.tensor([[0, 1, 2], [3, 3, 0]]), normal(7, 2, 3), mask_of([3, 2])
    logits = normal(6, 2, 3, 4).requires_grad_()
    logp = ppo.token_logp(logits, tokens)
    clipped = gradient(ppo.policy_loss(logp, logp.detach(), advantages, mask, 0.2, 0.2).sum(), logits)
    score = torch.nn.functional.one_hot(tokens, 4) - logits.detach().softmax(-1)
    close(clipped, -(advantages * mask)[..., None] * score)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [  # clip_low 1/5, clip_high 3/10; slope = d loss / d logp = -ratio A where the plain ratio is the smaller term
        (1.0, 2.0, -2.0, -2.0),
        (1.25, 2.0, -2.5, -2.5),  # above 1 + low, still below 1 + high
        (1.4, 2.0, -2.6, 0.0),  # rewarded enough: clipped at 1.3
        (1.4, -2.0, 2.8, 2.8),  # a bad token made likelier is always corrected
        (0.9, 2.0, -1.8, -1.8),
        (0.75, 2.0, -1.5, -1.5),
        (0.5, 2.0, -1.0, -1.0),  # a good token made rarer is always corrected
        (0.9, -2.0, 1.8, 1.8),
        (0.75, -2.0, 1.6, 0.0),  # below 1 - low though above 1 - high: clipped at .8
        (0.5, -2.0, 1.6, 0.0),
        (1.4, 0.0, 0.0, 0.0),
        (0.5, 0.0, 0.0, 0.0),
    ],
)
def test_clipping_by_hand(ratio, advantage, loss, slope):
    logp = tensor([[math.log(0.3 * ratio)]]).requires_grad_()
    value = ppo.policy_loss(logp, tensor([[math.log(0.3)]]), tensor([[advantage]]), mask_of([1]), 0.2, 0.3)
    close(value, [[loss]])
    close(gradient(value.sum(), logp), [[slope]])


@laws
@given(seeds, st.floats(0.01, 0.9), st.floats(0.01, 2))
def test_the_gradient_vanishes_exactly_where_the_ratio_has_gone_far_enough_the_right_way(seed, low, high):
    logp, old, advantages = normal(seed, 3, 4, 5)
    logp.requires_grad_()
    ratio = (logp - old).detach().exp()
    slope = gradient(ppo.policy_loss(logp, old, advantages, torch.ones_like(old), low, high).sum(), logp)
    done = ((advantages > 0) & (ratio > 1 + high)) | ((advantages < 0) & (ratio < 1 - low))
    assert (slope[done] == 0).all()
    close(slope[~done], -(ratio * advantages)[~done])


@laws
@given(seeds)
def test_the_clipped_loss_is_never_below_the_plain_one(seed):
    logp, old, advantages = normal(seed, 3, 4, 5)
    plain = -(logp - old).exp() * advantages
    assert (ppo.policy_loss(logp, old, advantages, torch.ones_like(old), 0.2, 0.2) >= plain - 1e-12).all()


# --- the clipped value loss


@pytest.mark.parametrize(
    ("value", "target", "loss", "slope"),
    [  # the old value is 0 and clip 1/5
        (0.1, 2.0, 1.805, -1.9),  # inside: (1.9)^2 / 2
        (1.0, 2.0, 1.62, 0.0),  # moved far enough towards 2: (2 - .2)^2 / 2, and no more
        (1.0, 0.0, 0.5, 1.0),  # overshot: the plain error is larger
        (-1.0, 2.0, 4.5, -3.0),  # moved the wrong way
        (-1.0, -2.0, 1.62, 0.0),
    ],
)
def test_value_clipping_by_hand(value, target, loss, slope):
    values = tensor([[value]]).requires_grad_()
    per_token = ppo.value_loss(values, tensor([[0.0]]), tensor([[target]]), mask_of([1]), 0.2)
    close(per_token, [[loss]])
    close(gradient(per_token.sum(), values), [[slope]])


@laws
@given(seeds)
def test_a_value_that_has_not_moved_has_the_gradient_of_the_squared_error(seed):
    values, returns = normal(seed, 2, 3, 4)
    values.requires_grad_()
    loss = ppo.value_loss(values, values.detach(), returns, mask_of([4, 2, 1]), 0.2)
    close(loss, 0.5 * (values - returns).detach() ** 2 * mask_of([4, 2, 1]))
    close(gradient(loss.sum(), values), (values - returns).detach() * mask_of([4, 2, 1]))


@laws
@given(seeds)
def test_the_clipped_value_loss_is_never_below_the_squared_error(seed):
    values, old, returns = normal(seed, 3, 4, 5)
    assert (ppo.value_loss(values, old, returns, torch.ones_like(old), 0.2) >= 0.5 * (values - returns) ** 2).all()


# --- weights of the loss


def test_token_weights_are_equal_over_tokens_and_sequence_weights_over_sequences():
    mask = mask_of([3, 1, 0])
    close(ppo.loss_weights(mask, "token"), [[1 / 4] * 3, [1 / 4, 0, 0], [0, 0, 0]])
    close(ppo.loss_weights(mask, "sequence"), [[1 / 6] * 3, [1 / 2, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("aggregate", ["token", "sequence"])
class TestWeights:
    @laws
    @given(batch=batches())
    def test_sum_to_one_and_stay_inside_the_mask(self, aggregate, batch):
        lengths, mask, _ = batch
        weights = ppo.loss_weights(mask, aggregate)
        close(weights.sum(), float(any(lengths)))
        assert (weights >= 0).all()
        assert (weights[mask == 0] == 0).all()

    def test_of_nothing_are_zero(self, aggregate):
        assert ppo.loss_weights(mask_of([0, 0], 3), aggregate).tolist() == [[0.0] * 3] * 2

    def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch(self, aggregate):
        # One table of logits shared by all sequences, so every micro-batch pulls on the same parameters.
        lengths, vocabulary = [5, 1, 0, 3, 4], 3
        tokens = torch.from_numpy(np.random.default_rng(8).integers(vocabulary, size=(5, 5)))
        old, advantages, mask = normal(9, 5, 5) * 0.1 - math.log(vocabulary), normal(10, 5, 5), mask_of(lengths)
        table = (normal(11, 5, vocabulary) * 0.1).requires_grad_()
        weights = ppo.loss_weights(mask, aggregate)

        def loss(rows):
            logp = ppo.token_logp(table.expand(5, 5, vocabulary)[rows], tokens[rows])
            return (ppo.policy_loss(logp, old[rows], advantages[rows], mask[rows], 0.2, 0.2) * weights[rows]).sum()

        parts = [gradient(loss(rows), table) for rows in (slice(0, 1), slice(1, 3), slice(3, 5))]
        close(sum(parts), gradient(loss(slice(None)), table))

        logp = ppo.token_logp(table.expand(5, 5, vocabulary), tokens)
        per_token = ppo.policy_loss(logp, old, advantages, mask, 0.2, 0.2)
        if aggregate == "token":
            textbook = sum(row.sum() for row in per_token) / 13
        else:
            textbook = sum(row.sum() / length for row, length in zip(per_token, lengths, strict=True) if length) / 4
        close(sum(parts), gradient(textbook, table))


# --- padding: what stands after the end-of-sequence token touches nothing

MASKED = {  # number of (N, T) inputs, and the function of them and the mask
    "masked_mean": (1, ppo.masked_mean),
    "whiten": (1, ppo.whiten),
    "token_rewards": (1, lambda kl, mask: ppo.token_rewards(torch.arange(3.0), mask, kl, 0.5)),
    "gae": (2, lambda rewards, values, mask: torch.stack(ppo.gae(rewards, values, mask, 0.9, 0.8))),
    "reinforce_pp_advantages": (1, lambda rewards, mask: ppo.reinforce_pp_advantages(rewards, mask, 0.9)),
    "policy_loss": (3, lambda logp, old, a, mask: ppo.policy_loss(logp, old, a, mask, 0.2, 0.3)),
    "value_loss": (3, lambda values, old, returns, mask: ppo.value_loss(values, old, returns, mask, 0.2)),
}


@pytest.mark.parametrize("garbage", [7.5, -60.0, 1e30, -1e30])
@pytest.mark.parametrize("name", MASKED)
def test_padding_neither_counts_nor_carries_gradient(name, garbage):
    # Single precision, where the square of 1e30 and the exponential of 120 are infinite.
    inputs, function = MASKED[name]
    mask = mask_of([2, 4, 1], 5).float()
    clean = [normal(20 + i, 3, 5).float() * mask for i in range(inputs)]
    dirty = [torch.where(mask == 1, x, garbage * (-1) ** i).requires_grad_() for i, x in enumerate(clean)]
    expected, actual = function(*clean, mask), function(*dirty, mask)
    torch.testing.assert_close(actual.detach(), expected)
    if actual.ndim > 1:
        assert (actual.detach().reshape(-1, 3, 5)[:, mask == 0] == 0).all()
    if not actual.requires_grad:  # advantages may be computed without a graph
        assert name not in {"masked_mean", "whiten", "policy_loss", "value_loss"}
        return
    pull = torch.autograd.grad((actual * normal(30, 3, 5).float()).sum(), dirty, allow_unused=True)
    for slope in (g for g in pull if g is not None):
        assert torch.isfinite(slope).all()
        assert (slope[mask == 0] == 0).all()


def test_logits_and_tokens_after_the_end_do_not_reach_the_whole_loss():
    mask = mask_of([2, 4, 1], 4)
    tokens = torch.from_numpy(np.random.default_rng(40).integers(3, size=(3, 4)))
    other = torch.where(mask == 1, tokens, (tokens + 1) % 3)
    logits, old, ref = normal(41, 3, 4, 3), normal(42, 3, 4) * 0.2 - 1, normal(43, 3, 4) * 0.2 - 1
    results = []
    for t, pad in ((tokens, 0.0), (other, tensor([30.0, -30.0, 5.0]))):
        x = torch.where(mask[..., None] == 1, logits, pad).requires_grad_()
        logp = ppo.token_logp(x, t)
        per_token = ppo.policy_loss(logp, old, normal(44, 3, 4), mask, 0.2, 0.2)
        per_token = per_token + 0.1 * ppo.kl_estimate(logp, ref, "k3") - 0.1 * ppo.entropy(x)
        loss = (per_token * ppo.loss_weights(mask, "sequence")).sum()
        slope = gradient(loss, x)
        assert (slope[mask == 0] == 0).all()
        results.append((loss.detach(), slope))
    for first, second in zip(*results, strict=True):
        close(first, second)


def test_no_function_writes_to_its_inputs():
    mask, scores = mask_of([2, 4, 1], 5), normal(50, 3, 4)
    for inputs, function in MASKED.values():
        given_ = [normal(60 + i, 3, 5) for i in range(inputs)]
        copies = [x.clone() for x in (*given_, mask)]
        function(*given_, mask)
        for x, copy in zip((*given_, mask), copies, strict=True):
            assert torch.equal(x, copy)
    copy = scores.clone()
    ppo.grpo_advantages(scores)
    ppo.rloo_advantages(scores)
    assert torch.equal(scores, copy)


# --- derivatives against finite differences


def gradcheck(function, *shape, seed=70):
    assert torch.autograd.gradcheck(function, (normal(seed, *shape).requires_grad_(),))


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_derivatives_of_token_logp_and_entropy(temperature):
    tokens = torch.tensor([[0, 3, 1], [2, 2, 0]])
    gradcheck(lambda logits: ppo.token_logp(logits, tokens, temperature), 2, 3, 4)
    gradcheck(lambda logits: ppo.entropy(logits, temperature), 2, 3, 4)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_derivatives_of_the_kl_estimators(kind):
    gradcheck(lambda logp: ppo.kl_estimate(logp, normal(71, 2, 3), kind), 2, 3)


def test_derivatives_of_the_losses():
    mask, old, target = mask_of([5, 2, 4]), normal(72, 3, 5), normal(73, 3, 5)
    gradcheck(lambda logp: ppo.policy_loss(logp, old, target, mask, 0.2, 0.3), 3, 5)
    gradcheck(lambda values: ppo.value_loss(values, old, target, mask, 0.2), 3, 5)


# --- one whole update


@pytest.mark.parametrize(("aggregate", "weight"), [("token", (1 / 3,) * 3), ("sequence", (1 / 4, 1 / 4, 1 / 2))])
def test_one_step_of_grpo_worked_by_hand(aggregate, weight):
    # Two rollouts of one prompt, scores 1 and 0, so A = +1 and -1 (eps 0). The first has two tokens, the second one.
    # Vocabulary 2; the token drawn is number 0; p, old, ref are its probabilities. Clip .2, KL .3 (k3), entropy .1.
    #
    #   token   p    old  ref  ratio  policy loss            k3                  entropy
    #   a      1/2   1/2  1/4   1     -1                     -1/2 + ln 2         ln 2
    #   b      3/4   1/2  3/4   3/2   -6/5 (clipped)          0                  ln 4 - 3/4 ln 3
    #   c      3/4   1/2  1/2   3/2   +3/2 (A < 0: plain)    -1/3 + ln(3/2)      ln 4 - 3/4 ln 3
    #
    # Slopes along the drawn logit (the other logit has the opposite): d logp = 1 - p, so
    #   policy -A ratio (1 - p), or 0 if clipped;  k3 (1 - ref/p)(1 - p);  entropy -p (1 - p) ln(p / (1 - p)):
    #   a      -1/2    1/4     0
    #   b       0      0      -3/16 ln 3
    #   c      +3/8    1/12   -3/16 ln 3
    ln2, ln3 = math.log(2), math.log(3)
    policy, k3, h = (-1, -6 / 5, 3 / 2), (-1 / 2 + ln2, 0, -1 / 3 + ln3 - ln2), (ln2, *[2 * ln2 - 3 / 4 * ln3] * 2)
    total = sum(w * (x + 0.3 * k - 0.1 * e) for w, x, k, e in zip(weight, policy, k3, h, strict=True))
    rate = 2.0
    a = -rate * weight[0] * (-1 / 2 + 0.3 * 1 / 4)
    b = -rate * weight[1] * (0.1 * 3 / 16 * ln3)
    c = -rate * weight[2] * (3 / 8 + 0.3 / 12 + 0.1 * 3 / 16 * ln3)

    start = tensor([[[0.0, 0.0], [ln3, 0.0]], [[ln3, 0.0], [5.0, -5.0]]])  # the last position is padding
    logits = start.clone().requires_grad_()
    mask, tokens = mask_of([2, 1]), torch.zeros(2, 2, dtype=torch.long)
    old, ref = tensor([[1 / 2, 1 / 2], [1 / 2, 1e-3]]).log(), tensor([[1 / 4, 3 / 4], [1 / 2, 1e-3]]).log()
    advantages = ppo.grpo_advantages(tensor([[1.0, 0.0]]), eps=0.0).reshape(2, 1).expand(2, 2)
    optimizer = torch.optim.SGD([logits], lr=rate)
    logp = ppo.token_logp(logits, tokens)
    per_token = ppo.policy_loss(logp, old, advantages, mask, 0.2, 0.2)
    per_token = per_token + 0.3 * ppo.kl_estimate(logp, ref, "k3") - 0.1 * ppo.entropy(logits)
    loss = (per_token * ppo.loss_weights(mask, aggregate)).sum()
    loss.backward()
    optimizer.step()
    close(loss.detach(), total)
    close(logits.detach() - start, [[[a, -a], [b, -b]], [[c, -c], [0.0, 0.0]]])


# --- presets and their domain


@pytest.mark.parametrize(
    ("name", "advantage", "kl_in", "kl_kind", "entropy_coef"),
    [  # AdaRFT (arXiv 2504.05520), Table 3: in-reward KL is k1, "low-variance" k3, "MSE" k2; the rloo line is ours
        ("ppo", "gae", "reward", "k1", 0.001),
        ("grpo", "grpo", "loss", "k3", 0.001),
        ("reinforce++", "reinforce++", "loss", "k2", 0.0),
        ("rloo", "rloo", "reward", "k1", 0.0),
    ],
)
def test_presets_are_table_3(name, advantage, kl_in, kl_kind, entropy_coef):
    preset = ppo.ALGORITHMS[name]
    assert (preset.advantage, preset.kl_in, preset.kl_kind) == (advantage, kl_in, kl_kind)
    assert (preset.kl_coef, preset.entropy_coef) == (0.001, entropy_coef)
    assert (preset.clip, preset.clip_high or preset.clip, preset.gamma, preset.lam) == (0.2, 0.2, 1.0, 1.0)
    assert preset.critic is (name == "ppo")


def test_there_are_four_presets_and_none_can_be_changed_in_place():
    assert set(ppo.ALGORITHMS) == {"ppo", "grpo", "rloo", "reinforce++"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        ppo.ALGORITHMS["ppo"].clip = 0.3


@pytest.mark.parametrize(
    ("field", "value", "domain"),
    [
        ("advantage", "a2c", "gae.*grpo.*rloo.*reinforce"),
        ("kl_in", "both", "reward.*loss.*none"),
        ("kl_kind", "k4", "k1.*k2.*k3"),
        ("aggregate", "batch", "token.*sequence"),
        ("clip", 0.0, "1e-6"),
        ("clip", -0.25, "1e-6"),
        ("clip", math.nan, "1e-6"),
        ("clip_high", 0.0, "1e-6"),
        ("value_clip", 0.0, "1e-6"),
        ("kl_coef", -0.5, "0"),
        ("kl_coef", math.nan, "0"),
        ("entropy_coef", -0.5, "0"),
        ("entropy_coef", math.nan, "0"),
        ("gamma", -0.5, "0.*1"),
        ("gamma", 1.5, "0.*1"),
        ("gamma", math.nan, "0.*1"),
        ("lam", -0.5, "0.*1"),
        ("lam", 1.5, "0.*1"),
    ],
)
def test_a_field_out_of_its_domain_is_refused_by_name_domain_and_value(field, value, domain):
    with pytest.raises(InputError, match=rf"^{field}: must be .*{domain}.*, got .*{value}"):
        dataclasses.replace(ppo.ALGORITHMS["ppo"], **{field: value})


def test_grpo_has_one_reward_per_sequence_so_its_kl_cannot_go_into_the_reward():
    with pytest.raises(InputError, match=r"^kl_in: must be loss or none.*, got reward"):
        dataclasses.replace(ppo.ALGORITHMS["grpo"], kl_in="reward")


@pytest.mark.parametrize(
    "fields",
    [{"gamma": 0.0}, {"lam": 0.0}, {"kl_coef": 0.0, "entropy_coef": 0.0}, {"kl_in": "none"}, {"clip_high": 0.28}],
)
def test_the_edges_of_the_domains_are_allowed(fields):
    algorithm = dataclasses.replace(ppo.ALGORITHMS["ppo"], **fields)
    assert all(getattr(algorithm, field) == value for field, value in fields.items())
