"""The same completions in TRL and here: advantages, loss and gradient.

Compared with TRL's own code: advantages of GRPO and RLOO; the clipped loss, its k3 penalty and its entropy bonus.
Not in TRL: a critic (GAE, the clipped value loss), REINFORCE++, and the k2 estimator.
Not here: dr_grpo's division by the longest possible completion; the penalty times the ratio, which TRL has unless told
otherwise; RLOOTrainer's clipping of a whole sequence's ratio, which is 1 in an update on fresh completions: there the
two are the same.
"""

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import workbench as wb
from real_runs.rl import learner as real_learner
from real_runs.rl import models, ppo
from real_runs.rl.generate import Rollouts, forward
from real_runs.rl.learner import HeldOut, PPOLearner, Settings

# transformers 5.23 has renamed what TRL 1.16 and transformers 5.0 call gradient checkpointing
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

PROMPTS = ["7=", "rev 12345=", "copy ab="]
B, G, LIMIT, EOS = 3, 4, 7, 1
COMPLETIONS = [  # of 1 to 7 tokens; two are cut off at the limit, the others end with the end mark
    [5, 6, EOS], [7, EOS], [8, 9, 10, 11, 12, 13, 14], [EOS],
    [20, 21, 22, EOS], [20, 21, 22, 23, EOS], [30, EOS], [31, 32, EOS],
    [40, 41, 42, 43, 44, EOS], [45, EOS], [46, 47, 48, 49, 50, 51, 52], [53, 54, EOS],
]  # fmt: skip
SCORES = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.25, 1.0, 0.0, 0.5]])  # the second group is silent
LENGTHS = torch.tensor([len(c) for c in COMPLETIONS])
MASK = (torch.arange(LIMIT) < LENGTHS[:, None]).float()
TOKENS = torch.tensor([c + [0] * (LIMIT - len(c)) for c in COMPLETIONS])
ITEMS = np.arange(B)


@pytest.fixture(scope="module")
def policy(tiny):
    """policy(temperature): (ours, theirs, log-probabilities (N, T) of the reference): two policies with the same
    weights, which are not those of the checkpoint: that is the reference."""
    base = models.load(tiny("llama"))

    def pair():
        ours, theirs = copy.deepcopy(base), copy.deepcopy(base)
        noise = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for mine, other in zip(ours.trainable, theirs.trainable, strict=True):
                mine += 0.05 * torch.randn(mine.shape, generator=noise)
                other.copy_(mine)
        return ours, theirs

    pair.base = base
    return pair


def rollouts(policy, old):
    prompts = policy.encode([p for p in PROMPTS for _ in range(G)], LIMIT)
    ended = torch.tensor([c[-1] == EOS for c in COMPLETIONS])
    return Rollouts(prompts, TOKENS.clone(), MASK.clone(), old * MASK, None, ended)


@torch.no_grad()
def logp_of(policy, temperature=1.0):
    """(N, T) of the fixed completions."""
    logits, tokens, _ = forward(
        policy.model, rollouts(policy, torch.zeros_like(MASK)), torch.arange(B * G), policy.pad
    )
    return ppo.token_logp(logits, tokens, temperature) * MASK


def theirs(policy, folder, trainer=GRPOTrainer, config=GRPOConfig, **options):
    """(trainer, inputs of its loss): TRL has scored the fixed completions."""
    options = {"beta": 0.0} | options
    settings = config(
        output_dir=str(folder), per_device_train_batch_size=B * G, num_generations=G, max_completion_length=LIMIT,
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], disable_tqdm=True, save_strategy="no",
        **options,
    )  # fmt: skip
    data = Dataset.from_dict({"prompt": PROMPTS})

    def reward(completions, **_):
        return SCORES.flatten().tolist()

    made = trainer(policy.model, [reward], settings, train_dataset=data, processing_class=policy.tokenizer)
    completions = [list(c) for c in COMPLETIONS]
    made._generate_single_turn = lambda *_: (completions, None) if trainer is GRPOTrainer else completions
    made.current_gradient_accumulation_steps = 1
    made.model.train()
    inputs = made._generate_and_score_completions([{"prompt": p} for p in PROMPTS for _ in range(G)])
    assert torch.equal(inputs["completion_mask"].float(), MASK)
    return made, inputs


def gradient(policy):
    return {name: p.grad.clone() for name, p in policy.named_trainable()}


def loss_of(trainer, inputs, policy):
    """TRL's loss, its gradient left in the policy."""
    policy.model.zero_grad(set_to_none=True)
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return float(loss.detach())


def ours(policy, base, algorithm, old, monkeypatch, temperature=1.0):
    """The statistics of our update on the fixed completions; its gradient is left in the policy."""
    pool = wb.Pool(np.linspace(0, 100, B), payload={"prompt": PROMPTS, "answer": ["0"] * B})
    heldout = HeldOut(PROMPTS, ["0"] * B, np.zeros(B, np.int64))
    settings = Settings(limit=LIMIT, temperature=temperature, grad_clip=1e9, lr=1e-9, micro_tokens=40)
    made = PPOLearner(policy, pool, lambda text, answer: 0.0, heldout, algorithm, settings)
    if made.reference is not None:
        made.reference.load_state_dict(base.model.state_dict())
    monkeypatch.setattr(real_learner, "generate", lambda *_, **__: rollouts(policy, old))
    made.attempt(ITEMS, G)
    made.learn(ITEMS, SCORES.numpy(), np.ones(B, bool))
    return made.stats


def assert_same_gradient(one, other, factor=1.0):
    """Each parameter's gradient is `factor` times the other's, to 1e-5 of its norm."""
    assert one.keys() == other.keys()
    assert max(g.norm() for g in one.values()) > 1e-3
    for name in one:
        assert (one[name] - factor * other[name]).norm() <= 1e-5 * one[name].norm() + 1e-9, name


# ----------------------------------------------------------------------------------------------------- advantages


@pytest.fixture(scope="module")
def advantages(policy, tmp_path_factory):
    """advantages(trainer, config, options): (B, G) as TRL computes them from the fixed scores."""

    def computed(*kind, **options):
        _, inputs = theirs(policy()[1], tmp_path_factory.mktemp("trl"), *kind, **options)
        return inputs["advantages"].view(B, G)

    return computed


def test_grpo_advantages_are_trls_up_to_the_divisor(advantages):
    """(r - mean) over a group's std: ours is the population's (n), TRL's the sample's (n - 1), and TRL adds 1e-4."""
    std = SCORES.std(1, correction=0, keepdim=True)
    mine = ppo.grpo_advantages(SCORES) * (std + 1e-6)
    torch.testing.assert_close(mine, advantages() * (SCORES.std(1, keepdim=True) + 1e-4), rtol=1e-5, atol=1e-6)
    assert not ppo.grpo_advantages(SCORES)[1].any()
    assert not advantages()[1].any()


def test_rloo_advantages_are_trls(advantages):
    mine = ppo.rloo_advantages(SCORES)
    torch.testing.assert_close(mine, advantages(RLOOTrainer, RLOOConfig), rtol=1e-5, atol=1e-6)
    assert mine.abs().max() == 1.0


def test_rloo_advantages_are_those_of_grpo_without_scaling_times_n_over_n_minus_1(advantages):
    unscaled = advantages(scale_rewards="none")
    torch.testing.assert_close(ppo.rloo_advantages(SCORES), unscaled * G / (G - 1), rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------ loss and gradient

AGGREGATE = {"grpo": "sequence", "bnpo": "token", "dapo": "token"}  # TRL's name: ours


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("kl_coef", [0.0, 0.3])
@pytest.mark.parametrize("loss_type", AGGREGATE)
def test_loss_and_gradient_of_grpo_are_trls(policy, tmp_path, monkeypatch, loss_type, kl_coef, temperature):
    mine, other = policy()
    noise = torch.randn(MASK.shape, generator=torch.Generator().manual_seed(4))
    old = logp_of(mine, temperature) + 0.5 * noise * MASK  # ratios from 0.3 to 3: most are clipped on one side
    trainer, inputs = theirs(
        other, tmp_path, loss_type=loss_type, beta=kl_coef, use_bias_correction_kl=False, epsilon=0.2,
        epsilon_high=0.28, temperature=temperature,
    )  # fmt: skip
    inputs["advantages"] = ppo.grpo_advantages(SCORES).flatten()
    inputs["old_per_token_logps"] = old
    loss = loss_of(trainer, inputs, other)
    clipped = trainer._metrics["train"]["clip_ratio/region_mean"][-1]
    assert 0.1 < clipped < 0.9

    algorithm = ppo.Algorithm(
        "grpo", kl_in="loss" if kl_coef else "none", kl_kind="k3", kl_coef=kl_coef, clip=0.2, clip_high=0.28,
        aggregate=AGGREGATE[loss_type],
    )  # fmt: skip
    stats = ours(mine, policy.base, algorithm, old, monkeypatch, temperature)
    penalty = kl_coef * stats["kl"] if kl_coef else 0.0
    assert stats["policy_loss"] + penalty == pytest.approx(loss, rel=1e-5)
    assert kl_coef == 0 or stats["kl"] > 0.01
    assert_same_gradient(gradient(mine), gradient(other))


def test_entropy_bonus_is_trls(policy, tmp_path, monkeypatch):
    mine, other = policy()
    old = logp_of(mine)
    trainer, inputs = theirs(other, tmp_path, loss_type="bnpo", entropy_coef=0.5)
    inputs["advantages"] = ppo.grpo_advantages(SCORES).flatten()
    loss = loss_of(trainer, inputs, other)
    stats = ours(mine, policy.base, ppo.Algorithm("grpo", entropy_coef=0.5), old, monkeypatch)
    assert stats["policy_loss"] - 0.5 * stats["entropy"] == pytest.approx(loss, rel=1e-5)
    assert_same_gradient(gradient(mine), gradient(other))


@pytest.mark.parametrize("kl_coef", [0.0, 0.3])
def test_an_update_on_fresh_completions_is_that_of_trls_rloo(policy, tmp_path, monkeypatch, kl_coef):
    """Everything is TRL's own, penalty in the reward included. Its loss is a mean over sequences of the sum over
    tokens, ours a mean over tokens: the gradients differ by the mean length."""
    mine, other = policy()
    trainer, inputs = theirs(other, tmp_path, RLOOTrainer, RLOOConfig, beta=kl_coef)
    loss_of(trainer, inputs, other)
    algorithm = ppo.Algorithm("rloo", kl_in="reward" if kl_coef else "none", kl_kind="k1", kl_coef=kl_coef)
    ours(mine, policy.base, algorithm, logp_of(mine), monkeypatch)
    assert_same_gradient(gradient(mine), gradient(other), factor=float(1 / LENGTHS.float().mean()))
