"""Reading prompts into a cache: what all of them begin with, such as a system text or examples, is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens with which both prompts begin, but never all of one: its last token is read by itself."""
    least = min(len(one), len(other)) - 1
    return next((i for i in range(least) if one[i] != other[i]), least)


def worth_reading(start: int, count: int, worth: int) -> int:
    """Tokens to read in a pass of their own: `start`, that `count` prompts begin with, or 0 if it saves fewer than
    `worth` tokens. worth 0: never."""
    return start if 0 < worth <= (count - 1) * start else 0


def common_start(prompts: Sequence[Sequence[int]], worth: int) -> int:
    """Tokens that all prompts begin with and that are worth a pass of their own."""
    return worth_reading(min(common(prompts[0], prompt) for prompt in prompts), len(prompts), worth)


def read(
    prompts: Sequence[Sequence[int]], start: int, pad: int, store: Any, call: Callable[[Tensor, Tensor, Tensor], Any],
    device: torch.device,
) -> tuple[Any, Tensor]:  # fmt: skip
    """What a network returns for prompts (B), and which columns of its cache `store` count (B, width).

    start: tokens that all begin with, read once, 0 for none. call: (input ids, seen, positions) -> what it returns.
    Behind the start, prompts are padded on the left; positions do not count the padding.
    """
    ids, seen = (x.to(device) for x in left_padded([prompt[start:] for prompt in prompts], pad))
    if start:
        once = torch.tensor([list(prompts[0][:start])], device=device)
        call(once, torch.ones_like(once), torch.arange(start, device=device)[None])
        for layer in store.layers:
            layer.keys, layer.values = (x.expand(len(prompts), -1, -1, -1) for x in (layer.keys, layer.values))
        seen = torch.nn.functional.pad(seen, (start, 0), value=1)
    return call(ids, seen, positions_of(seen)[:, start:]), seen


def left_padded(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids (B, width) and which of them count."""
    width = max(map(len, prompts))
    ids, seen = torch.full((len(prompts), width), pad), torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        seen[row, width - len(prompt) :] = 1
    return ids, seen


def positions_of(seen: Tensor) -> Tensor:
    return (seen.cumsum(1) - 1).clamp(min=0)
