"""The least time of a step on this machine: bytes that must be read, and products that must be computed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

PASSES = 3  # forward, and two products of the same size backward


@dataclass(frozen=True)
class Machine:
    """rate: FLOP/s of matrix products as large as a layer's. bandwidth: bytes/s of reading weights once."""

    rate: float
    bandwidth: float

    @classmethod
    def measured(cls, config: Any, dtype: torch.dtype, device: torch.device) -> Machine:
        """The best of several tries of each."""
        hidden, inner = config.hidden_size, config.intermediate_size
        a, b = (torch.randn(shape, device=device, dtype=dtype) for shape in ((2048, hidden), (hidden, inner)))
        rate = 2 * 2048 * hidden * inner / _best(lambda: a @ b)
        weights = torch.randn(2**26, device=device).to(dtype).view(-1, 2**13)  # more than any cache holds
        vector = torch.randn(2**13, device=device, dtype=dtype)
        bandwidth = weights.nbytes / _best(lambda: weights @ vector)
        return cls(rate, bandwidth)


@dataclass(frozen=True)
class Bound:
    """Seconds of decoding and of the update, if each product ran at the machine's rate and nothing else took time.

    Decoding: each token step reads all weights once, or computes 2 FLOP per weight and sequence, whichever takes
    longer; prompts are read once per group. Update: 6 FLOP per weight of the body and distinct token (a prompt once per
    group), and per weight of the head and completion token.
    """

    decode: float
    update: float

    @classmethod
    def of(
        cls, machine: Machine, model: Any, batch: int, rollouts: int, prompt: float, completion: float, size: int
    ) -> Bound:
        """prompt, completion: mean tokens. size: bytes of a weight in the type of the products."""
        head = model.get_output_embeddings().weight.numel()
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        body = model.num_parameters() - (1 if tied else 2) * head
        sequences, weights = batch * rollouts, body + head
        token_step = max(weights * size / machine.bandwidth, 2 * weights * sequences / machine.rate)
        prefill = 2 * body * batch * prompt / machine.rate
        tokens = batch * prompt + sequences * completion
        update = 2 * PASSES * (body * tokens + head * sequences * completion) / machine.rate
        return cls(prefill + completion * token_step, update)


def _best(work: Any, tries: int = 20) -> float:
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
