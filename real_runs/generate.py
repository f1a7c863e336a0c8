"""Sampling completions: one prefill per prompt, then a decode with a key-value cache that drops what has finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from real_runs import ppo


@dataclass
class Rollouts:
    """N completions of up to T tokens, right-padded; a group's completions lie side by side.

    prompts: N lists of token ids. tokens: (N, T). mask: (N, T), 1 for tokens the policy produced, the end-of-sequence
    token included. logp: (N, T) log-probabilities under the policy that sampled. values: (N, T) of the critic, if any.
    finished: (N,) whether the end came before the limit.
    """

    prompts: list[list[int]]
    tokens: Tensor
    mask: Tensor
    logp: Tensor
    values: Tensor | None
    finished: Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> Tensor:
        return self.mask.sum(1).long()


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    group: int,
    limit: int,
    uniforms: Tensor,
    ends: Sequence[int],
    pad: int,
    temperature: float = 1.0,
    critic: Any = None,
) -> Rollouts:
    """`group` completions for each of B prompts.

    uniforms: (B group, limit) in [0, 1), one per token: token = first v with cdf(v) > u. The luck of a completion is
    its row, whatever else is in the batch. ends: token ids that end a completion. temperature: 0 is greedy.
    """
    device = model.device
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    width, total = int(lengths.max()), len(prompts) * group
    ids = torch.full((len(prompts), width), pad)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
    seen = (torch.arange(width) >= width - lengths[:, None]).long().to(device)
    out = model(
        input_ids=ids.to(device), attention_mask=seen, position_ids=_positions(seen), use_cache=True,
        output_hidden_states=critic is not None, logits_to_keep=1,
    )  # fmt: skip
    cache = out.past_key_values
    cache.batch_repeat_interleave(group)
    seen = seen.repeat_interleave(group, 0)
    logits = out.logits[:, -1].repeat_interleave(group, 0)
    hidden = out.hidden_states[-1][:, -1].repeat_interleave(group, 0) if critic is not None else None
    tokens = torch.full((total, limit), pad, device=device)
    mask = torch.zeros(total, limit, device=device)
    logp = torch.zeros(total, limit, device=device)
    values = torch.zeros(total, limit, device=device) if critic is not None else None
    finished = torch.zeros(total, dtype=torch.bool, device=device)
    rows = torch.arange(total, device=device)  # row of each sequence that is still in the decode
    uniforms, stop = uniforms.to(device), torch.tensor(list(ends), device=device)
    for t in range(limit):
        token = _sample(logits, uniforms[rows, t], temperature)
        tokens[rows, t], mask[rows, t] = token, 1.0
        logp[rows, t] = ppo.token_logp(logits, token, temperature or 1.0)
        if values is not None:
            values[rows, t] = critic(hidden).float()
        ended = torch.isin(token, stop)
        finished[rows[ended]] = True
        if t + 1 == limit or bool(ended.all()):
            break
        if bool(ended.any()):
            keep = (~ended).nonzero()[:, 0]
            cache.batch_select_indices(keep)
            rows, seen, token = rows[keep], seen[keep], token[keep]
        seen = torch.cat([seen, seen.new_ones(len(rows), 1)], 1)
        out = model(
            input_ids=token[:, None], attention_mask=seen, position_ids=seen.sum(1, keepdim=True) - 1,
            past_key_values=cache, use_cache=True, output_hidden_states=critic is not None,
        )  # fmt: skip
        logits, cache = out.logits[:, -1], out.past_key_values
        hidden = out.hidden_states[-1][:, -1] if critic is not None else None
    used = int(mask.sum(1).max())
    groups = [list(prompt) for prompt in prompts for _ in range(group)]
    cut = None if values is None else values[:, :used]
    return Rollouts(groups, tokens[:, :used], mask[:, :used], logp[:, :used], cut, finished)


def _positions(seen: Tensor) -> Tensor:
    return (seen.cumsum(1) - 1).clamp(min=0)


def _sample(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Inverse transform: the first token whose cumulative probability exceeds u; greedy for temperature 0."""
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = torch.softmax(logits.float() / temperature, -1).cumsum(-1)
    return (cumulative <= (uniforms * cumulative[:, -1])[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)


def forward(model: Any, rollouts: Rollouts, rows: Tensor, pad: int, hidden: bool = False) -> tuple[Tensor, Tensor, Any]:
    """Logits (n, T', V) at the completion tokens of some rows, the tokens (n, T'), and last hidden states (n, T', H).

    Prompts are padded on the left and completions on the right, both only as far as these rows need.
    """
    device = model.device
    prompts = [rollouts.prompts[row] for row in rows.tolist()]
    width, used = max(map(len, prompts)), int(rollouts.lengths[rows].max())
    tokens = rollouts.tokens[rows, :used]
    left = torch.full((len(prompts), width), pad)
    known = torch.zeros(len(prompts), width, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        left[i, width - len(prompt) :] = torch.tensor(prompt)
        known[i, width - len(prompt) :] = 1
    ids = torch.cat([left.to(device), tokens], 1)
    seen = torch.cat([known.to(device), rollouts.mask[rows, :used].long()], 1)
    out = model(
        input_ids=ids, attention_mask=seen, position_ids=_positions(seen), use_cache=False,
        output_hidden_states=hidden, logits_to_keep=used + 1,
    )  # fmt: skip
    last = out.hidden_states[-1][:, -used - 1 : -1] if hidden else None
    return out.logits[:, :-1], tokens, last
