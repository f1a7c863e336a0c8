"""The equations of policy-gradient finetuning: pure functions on tensors, without model, memory or randomness.

N sequences of up to T completion tokens, right-padded; B prompts with G rollouts each, N = B G, a group's sequences
side by side; V tokens in the vocabulary. mask (N, T) is 1 for tokens the policy produced, its end-of-sequence token
included, and 0 for the padding after it. Per-token results are 0 where the mask is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.errors import LARGEST, SMALLEST, InputError, check_choice, check_number

ADVANTAGES = ("gae", "grpo", "rloo", "reinforce++")


@dataclass(frozen=True)
class Algorithm:
    """Which advantage, where the KL penalty goes, and the coefficients of the loss.

    advantage: "gae" (PPO with a critic), "grpo", "rloo" or "reinforce++". kl_in: "reward", "loss" or "none".
    kl_kind: estimator, see `kl_estimate`. kl_coef, entropy_coef: 0 to 1e6. clip, clip_high: the ratio stays useful in
    [1 - clip, 1 + clip_high], 1e-6 to 1e6; clip_high None: as clip. value_clip: 1e-6 to 1e6, in units of return.
    gamma, lam: [0, 1]. whiten: advantages over all tokens of the batch. aggregate: "token" or "sequence", see
    `loss_weights`.
    """

    advantage: str
    kl_in: str = "none"
    kl_kind: str = "k1"
    kl_coef: float = 0.0
    entropy_coef: float = 0.0
    clip: float = 0.2
    clip_high: float | None = None
    value_clip: float = 0.2
    gamma: float = 1.0
    lam: float = 1.0
    whiten: bool = False
    aggregate: str = "token"

    def __post_init__(self) -> None:
        check_choice("advantage", self.advantage, ADVANTAGES)
        check_choice("kl_in", self.kl_in, ("reward", "loss", "none"))
        check_choice("kl_kind", self.kl_kind, ("k1", "k2", "k3"))
        check_choice("aggregate", self.aggregate, ("token", "sequence"))
        check_number("kl_coef", self.kl_coef, 0, LARGEST)
        check_number("entropy_coef", self.entropy_coef, 0, LARGEST)
        check_number("clip", self.clip, SMALLEST, LARGEST)
        if self.clip_high is not None:
            check_number("clip_high", self.clip_high, SMALLEST, LARGEST)
        check_number("value_clip", self.value_clip, SMALLEST, LARGEST)
        check_number("gamma", self.gamma, 0, 1)
        check_number("lam", self.lam, 0, 1)
        if self.advantage == "grpo" and self.kl_in == "reward":
            raise InputError("kl_in: must be loss or none for advantage grpo, got reward")

    @property
    def critic(self) -> bool:
        return self.advantage == "gae"


# KL and entropy settings of ppo, grpo and reinforce++: Table 3 of the AdaRFT paper, arXiv 2504.05520. rloo: ours.
ALGORITHMS = {
    "ppo": Algorithm("gae", kl_in="reward", kl_kind="k1", kl_coef=0.001, entropy_coef=0.001, whiten=True),
    "grpo": Algorithm("grpo", kl_in="loss", kl_kind="k3", kl_coef=0.001, entropy_coef=0.001),
    "rloo": Algorithm("rloo", kl_in="reward", kl_kind="k1", kl_coef=0.001),
    "reinforce++": Algorithm("reinforce++", kl_in="loss", kl_kind="k2", kl_coef=0.001),
}


# ------------------------------------------------------------------------------------------------- distributions


def token_logp(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """(N, T) log softmax(logits / temperature) at the tokens; logits (N, T, V), tokens (N, T)."""
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    scaled = logits / temperature
    return scaled.gather(-1, tokens[..., None])[..., 0] - scaled.logsumexp(-1)


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """(N, T) -sum p log p in nats, p = softmax(logits / temperature)."""
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    logp = torch.log_softmax(logits / temperature, -1)
    return -(logp.exp() * logp).sum(-1)


def kl_estimate(logp: Tensor, logp_ref: Tensor, kind: str) -> Tensor:
    """(N, T) estimates of KL(policy || reference) at tokens the policy produced.

    d = logp_ref - logp:   k1 = -d (unbiased),   k2 = d^2 / 2 (biased, low variance),   k3 = e^d - 1 - d (both good)
    Source: Schulman 2020, "Approximating KL divergence".
    """
    d = logp_ref - logp
    if kind == "k1":
        return -d
    if kind == "k2":
        return d.square() / 2
    check_choice("kind", kind, ("k1", "k2", "k3"))
    return torch.expm1(d) - d


# ------------------------------------------------------------------------------------------- masked statistics


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over the entries where mask is 1; 0 if there are none."""
    return _where(x, mask).sum() / mask.sum().clamp(min=1.0)


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """(x - mean) / sqrt(variance + 1e-8) over the masked entries, population variance."""
    centred = x - masked_mean(x, mask)
    return _where(centred * torch.rsqrt(masked_mean(centred.square(), mask) + 1e-8), mask)


def loss_weights(mask: Tensor, aggregate: str) -> Tensor:
    """(N, T) weights that sum to 1: a loss is (per_token * weights).sum(), also in parts.

    "token": every token counts the same. "sequence": every sequence counts the same, as in the GRPO paper.
    """
    if aggregate == "token":
        return mask / mask.sum().clamp(min=1.0)
    check_choice("aggregate", aggregate, ("token", "sequence"))
    tokens = mask.sum(1, keepdim=True)
    return mask / (tokens.clamp(min=1.0) * (tokens > 0).sum().clamp(min=1))


# ------------------------------------------------------------------------------------------------- advantages


def token_rewards(scores: Tensor, mask: Tensor, kl: Tensor | None = None, kl_coef: float = 0.0) -> Tensor:
    """(N, T) the score (N,) on the last token, minus kl_coef * kl on every token."""
    last = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1) < mask
    rewards = scores[:, None] * last
    return rewards if kl is None else rewards - kl_coef * _where(kl, mask)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns, (N, T) each: generalised advantage estimation.

    delta_t = r_t + gamma V_(t+1) - V_t,   A_t = delta_t + gamma lam A_(t+1),   return_t = A_t + V_t
    V and A are 0 after the last token. Source: Schulman et al. 2016, arXiv 1506.02438, equations 11-16.
    """
    rewards, values = _where(rewards, mask), _where(values, mask)
    advantages = torch.zeros_like(values)
    later_value = later_advantage = torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * later_value - values[:, t]
        later_advantage = (delta + gamma * lam * later_advantage) * mask[:, t]
        later_value = values[:, t]
        advantages[:, t] = later_advantage
    return advantages, advantages + values


def grpo_advantages(scores: Tensor, eps: float = 1e-6) -> Tensor:
    """(B, G) (r - mean) / (std + eps) in each group; exactly 0 in a group of equal scores.

    Source: Shao et al. 2024, arXiv 2402.03300, section 4.1.2.
    Differs: the population's std, as the simulated learners have it; TRL and verl divide by n - 1 in it.
    """
    _check_group(scores)
    centred = scores - scores.mean(1, keepdim=True)
    silent = (scores == scores[:, :1]).all(1, keepdim=True)
    return torch.where(silent, 0.0, centred / (centred.square().mean(1, keepdim=True).sqrt() + eps))


def rloo_advantages(scores: Tensor) -> Tensor:
    """(B, G) the score minus the mean score of the group's others. Source: Ahmadian et al. 2024, arXiv 2402.14740."""
    _check_group(scores)
    group = scores.shape[1]
    silent = (scores == scores[:, :1]).all(1, keepdim=True)
    return torch.where(silent, 0.0, (scores - scores.mean(1, keepdim=True)) * (group / (group - 1)))


def group_by_group(advantages: Callable[[Tensor], Tensor], scores: Tensor, sizes: NDArray[np.int64]) -> Tensor:
    """(N,) advantages of scores (N,) in groups of these sizes, side by side; 0 in a group of one.

    advantages: of groups of one size, (B, G) -> (B, G).
    """
    of_row = torch.from_numpy(np.repeat(sizes, sizes)).to(scores.device)
    out = torch.zeros_like(scores)
    for size in np.unique(sizes):
        if size > 1:
            mine = of_row == int(size)
            out[mine] = advantages(scores[mine].view(-1, int(size))).reshape(-1)
    return out


def reinforce_pp_advantages(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """(N, T) returns sum_(s >= t) gamma^(s - t) r_s, whitened over the whole batch.

    Source: Hu et al. 2025, REINFORCE++, arXiv 2501.03262.
    """
    _, returns = gae(rewards, torch.zeros_like(rewards), mask, gamma, 1.0)
    return whiten(returns, mask)


# ----------------------------------------------------------------------------------------------------- losses


def has_gradient(algorithm: Algorithm, advantages: Tensor) -> Tensor:
    """(N,) bool: False where a sequence's share of the loss has a gradient of exactly zero.

    So it is where all its advantages are 0 and nothing else is in the loss: no critic, no entropy, no KL penalty.
    """
    other = algorithm.critic or algorithm.entropy_coef > 0 or (algorithm.kl_in == "loss" and algorithm.kl_coef > 0)
    return (advantages != 0).any(1) | other


def policy_loss(
    logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """(N, T) -min(ratio A, clamp(ratio, 1 - clip_low, 1 + clip_high) A), ratio = exp(logp - old_logp).

    Source: Schulman et al. 2017, arXiv 1707.06347, equation 7.
    """
    ratio = (_where(logp, mask) - _where(old_logp, mask)).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    advantages = _where(advantages, mask)
    return -torch.minimum(ratio * advantages, clipped * advantages) * mask


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """(N, T) max((V - R)^2, (clamp(V, V_old - clip, V_old + clip) - R)^2) / 2.

    Source: the PPO release of Schulman et al. 2017 (not in the paper).
    """
    values, old_values, returns = _where(values, mask), _where(old_values, mask), _where(returns, mask)
    clipped = torch.maximum(torch.minimum(values, old_values + clip), old_values - clip)
    return torch.maximum((values - returns).square(), (clipped - returns).square()) / 2


def _where(x: Tensor, mask: Tensor) -> Tensor:
    """x, and 0 where the mask is 0, whatever x is there."""
    return torch.where(mask > 0, x, torch.zeros((), dtype=x.dtype, device=x.device))


def _check_group(scores: Tensor) -> None:
    if scores.shape[1] < 2:
        raise InputError(f"rollouts: must be >= 2 for a group's advantages, got {scores.shape[1]}")
