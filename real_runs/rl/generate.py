"""Sampling completions: one prefill per prompt, then a decode with a key-value cache that drops finished sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from real_runs.rl import ppo
from real_runs.rl.precision import without_gradient
from real_runs.rl.prompts import common_start, left_padded, positions_of, read
from real_runs.rl.stopping import Stop
from real_runs.rl.ways import DECODINGS
from workbench.errors import InputError, check_choice

GRAPH_FROM = 128  # tokens of a completion: for fewer, captures take longer than they save (a guess, without a GPU)
CHECK_EVERY = 8  # steps between checks for finished sequences, in a decode of fixed shapes: the host waits for each


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

    def take(self, rows: Tensor) -> Rollouts:
        """Some rows, in this order."""
        values = None if self.values is None else self.values[rows]
        prompts = [self.prompts[row] for row in rows.tolist()]
        return Rollouts(prompts, self.tokens[rows], self.mask[rows], self.logp[rows], values, self.finished[rows])

    @classmethod
    def joined(cls, parts: Sequence[Rollouts], pad: int) -> Rollouts:
        """Several as one, padded to the longest completion."""
        if len(parts) == 1:
            return parts[0]
        width = max(part.tokens.shape[1] for part in parts)

        def stack(name: str, fill: float) -> Tensor:
            tensors = [getattr(part, name) for part in parts]
            return torch.cat([torch.nn.functional.pad(x, (0, width - x.shape[1]), value=fill) for x in tensors])

        values = None if parts[0].values is None else stack("values", 0.0)
        prompts = [prompt for part in parts for prompt in part.prompts]
        finished = torch.cat([part.finished for part in parts])
        return cls(prompts, stack("tokens", pad), stack("mask", 0.0), stack("logp", 0.0), values, finished)


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
    decoding: str = "auto",
    dtype: str = "float32",
    stop: Stop | None = None,
    worth: int = 0,
) -> Rollouts:
    """`group` completions for each of B prompts.

    uniforms: (B group, limit) in [0, 1), one per token: token = first v with cdf(v) > u. A completion uses its own row,
    whatever else is in the batch. ends: token ids that end a completion; stop: a text that does, whose
    last token is the completion's last. temperature: 0 is greedy. dtype: see `without_gradient`. worth: tokens that
    must be saved for what all prompts begin with to be read once; 0: it never is.

    decoding: "eager": finished sequences are dropped before the next token. "graph": steps of fixed shapes, captured as
    CUDA graphs and replayed on a GPU; finished sequences are dropped when they are half of the batch. "auto": eager on
    a CPU and for less than GRAPH_FROM tokens; otherwise graph, without capture where the step can't be captured.
    CUDA-graph capture is untested; the captured step is tested on CPU.
    Raises InputError for "graph" and a model whose step can't be captured (with transformers 5.0, most).
    """
    check_choice("decoding", decoding, DECODINGS)
    wanted = decoding == "graph" or (decoding == "auto" and model.device.type == "cuda" and limit >= GRAPH_FROM)
    with without_gradient(model, dtype):
        state = _Decode(model, prompts, group, limit, uniforms, ends, pad, temperature, critic, wanted, stop, worth)
        fixed = state.cache.fixed
        if decoding == "graph" and not fixed:
            raise InputError("decoding: must be eager for a model that keeps more than keys and values, got graph")
        step: Callable[[], None] = _Captured(state, must=decoding == "graph") if fixed else state.step
        for t in range(1, limit):
            if (not fixed or t % CHECK_EVERY == 0) and not state.drop_finished():
                break
            state.cache.open_column()
            step()
        state.cut_at_stop()
    used = int(state.mask.sum(1).max())
    groups = [list(prompt) for prompt in prompts for _ in range(group)]
    values = None if state.values is None else state.values[:, :used]
    return Rollouts(groups, state.tokens[:, :used], state.mask[:, :used], state.logp[:, :used], values, state.finished)


class _Decode:
    """A decode in progress, one completion per slot of the cache.

    `step` asks for no value, makes no shape from one and writes in place: captured once, it can be replayed.
    tokens, mask, logp, values (N, limit) and finished (N,) lie by row, the rest (n, ...) by slot; rows (n,): whose.
    """

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], group: int, limit: int, uniforms: Tensor,
        ends: Sequence[int], pad: int, temperature: float, critic: Any, fixed: bool, stop: Stop | None = None,
        worth: int = 0,
    ) -> None:  # fmt: skip
        from real_runs.rl import cache  # not before: transformers loads here

        device, total = model.device, len(prompts) * group
        self.model, self.critic, self.temperature, self.pad = model, critic, temperature, pad
        self.uniforms, self.ends = uniforms.to(device), torch.tensor(list(ends), device=device)
        self.stop, self.read = stop, 0  # tokens of each completion in which `stop` was looked for
        self.tokens = torch.full((total, limit), pad, device=device)
        self.mask, self.logp = (torch.zeros(total, limit, device=device) for _ in range(2))
        self.values = torch.zeros(total, limit, device=device) if critic is not None else None
        self.finished = torch.zeros(total, dtype=torch.bool, device=device)

        self.keyword = cache.keyword(model)
        self.cache: Any = cache.for_prompts(model.config)
        start = common_start(prompts, worth)
        (logits, hidden), seen = read(prompts, start, pad, self.cache, self._forward, device)
        count, width = seen.shape
        self.cache = cache.for_decode(self.cache, count, width, group, limit, fixed)
        self.seen = torch.nn.functional.pad(seen, (0, limit), value=1).repeat_interleave(group, 0)
        self.rows = torch.arange(total, device=device)
        self.token = torch.zeros_like(self.rows)  # the last one sampled
        self.position = seen.sum(1).repeat_interleave(group) - 1  # of the last one that the model has read
        self.t = torch.zeros(1, dtype=torch.long, device=device)  # how many were sampled before the last one
        logits, hidden = (x if x is None else x.repeat_interleave(group, 0) for x in (logits, hidden))
        self._choose(logits, hidden)

    def step(self) -> None:
        """The next token of every slot."""
        self.t += 1
        self.position += 1
        self.cache.advance()
        self._choose(*self._forward(self.token[:, None], self.seen[:, : self.cache.shown], self.position[:, None]))

    def _forward(self, ids: Tensor, seen: Tensor, positions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (n, V) after the last token; last hidden states (n, H) where there is a critic."""
        out = self.model(
            input_ids=ids, attention_mask=seen, position_ids=positions, use_cache=True,
            output_hidden_states=self.critic is not None, logits_to_keep=1, **{self.keyword: self.cache},
        )  # fmt: skip
        return out.logits[:, -1], out.hidden_states[-1][:, -1] if self.critic is not None else None

    def _choose(self, logits: Tensor, hidden: Tensor | None) -> None:
        rows, t = self.rows, self.t
        going = ~self.finished[rows]
        token = _sample(logits, self.uniforms[rows, t], self.temperature)
        self.tokens[rows, t] = torch.where(going, token, self.pad)
        self.mask[rows, t] = going.float()
        self.logp[rows, t] = torch.where(going, ppo.token_logp(logits, token, self.temperature or 1.0), 0.0)
        if self.values is not None:
            with torch.autocast(logits.device.type, enabled=False):  # a critic is trained in float32
                self.values[rows, t] = torch.where(going, self.critic(hidden).float(), 0.0)
        self.finished[rows] |= (token[:, None] == self.ends).any(1)
        self.token.copy_(token)

    def cut_at_stop(self) -> None:
        """End completions at the token with which their text holds `stop`; what was sampled after it is dropped."""
        if self.stop is None:
            return
        first, self.read = self.read, int(self.t) + 1
        new = slice(first, self.read)
        may = self.stop.may_end.to(self.tokens.device)[self.tokens[:, new]] & (self.mask[:, new] > 0)
        for row in may.any(1).nonzero()[:, 0].tolist():
            tokens = self.tokens[row, : self.read].tolist()
            ended = (first + int(t) + 1 for t in may[row].nonzero()[:, 0])
            end = next((end for end in ended if self.stop.ends(tokens[:end])), None)
            if end is not None:
                self.finished[row] = True
                self.tokens[row, end:] = self.pad
                for x in (self.mask, self.logp, self.values):
                    if x is not None:
                        x[row, end:] = 0.0

    def drop_finished(self) -> bool:
        """Drop finished sequences from the batch; whether any sequence goes on.

        With fixed shapes they are dropped when they are at least half of the batch.
        """
        self.cut_at_stop()
        going = ~self.finished[self.rows]
        left = int(going.sum())
        if left in (0, len(going)) or (self.cache.fixed and 2 * left > len(going)):
            return left > 0
        from real_runs.rl.cache import closed_up

        order = closed_up(going)
        self.cache.keep(order)
        self.rows, self.seen, self.token, self.position = (
            x[order] for x in (self.rows, self.seen, self.token, self.position)
        )
        return True


class _Captured:
    """A step that is captured once per shape and replayed, on a GPU.

    obstacles: operators of the step that a graph can't hold. must: whether an obstacle is an error; otherwise the steps
    run without capture.
    """

    def __init__(self, state: _Decode, must: bool) -> None:
        self.state, self.must = state, must
        self.obstacles: list[str] | None = None
        self.shape: tuple[int, int] | None = None
        self.replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        shape = (len(self.state.rows), self.state.cache.shown)
        if self.obstacles is None:
            with _Watch() as watch:
                self.state.step()
            self.obstacles = watch.obstacles
            if self.must and self.obstacles:
                raise InputError(f"decoding: must be eager for a model whose step has {self.obstacles[0]}, got graph")
        elif self.obstacles or not _can_capture(self.state.rows.device):
            self.state.step()
        elif shape == self.shape and self.replay is not None:
            self.replay()
        else:
            self.replay = None  # free its memory before the next capture
            self.replay, self.shape = _run_and_capture(self.state.step), shape


def _can_capture(device: torch.device) -> bool:
    return str(device.type) == "cuda"


def _run_and_capture(step: Callable[[], None]) -> Callable[[], None]:
    """Run a step, capture another as a CUDA graph, without running it, and return what runs it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # tensors that are made once, such as weights in bfloat16, stay outside the graph
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay


class _Watch(TorchDispatchMode):
    """Notes operators that no graph can hold: those that need a value on the host, and copies between devices."""

    def __init__(self) -> None:
        super().__init__()
        self.obstacles: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in _INDEXING:  # by numbers its shape is known, by a mask it depends on the values
            waits = any(isinstance(x, Tensor) and x.dtype == torch.bool for x in args[1])
        else:
            waits = torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
        if func.overloadpacket in _COPIES:
            waits = len({x.device for x in (out, *args) if isinstance(x, Tensor)}) > 1
        if waits:
            self.obstacles.append(str(func))
        return out


_INDEXING = {torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_}
_COPIES = {torch.ops.aten.copy_, torch.ops.aten._to_copy}


def _sample(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Inverse transform: the first token whose cumulative probability exceeds u; greedy for temperature 0."""
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = torch.softmax(logits.float() / temperature, -1).cumsum(-1)
    return (cumulative <= (uniforms * cumulative[:, -1])[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)


def forward(model: Any, rollouts: Rollouts, rows: Tensor, pad: int, hidden: bool = False) -> tuple[Tensor, Tensor, Any]:
    """Logits (n, T', V) at the completion tokens of some rows, the tokens (n, T'), and last hidden states (n, T', H).

    The plain pass: each completion behind a prompt of its own.
    """
    read, tokens = in_full(rollouts, rows, pad, model.device)
    used = tokens.shape[1]
    out = model(**read, output_hidden_states=hidden, logits_to_keep=used + 1)
    last = out.hidden_states[-1][:, -used - 1 : -1] if hidden else None
    return out.logits[:, :-1], tokens, last


def in_full(rollouts: Rollouts, rows: Tensor, pad: int, device: torch.device) -> tuple[dict[str, Any], Tensor]:
    """What a model reads for some rows, each completion behind a prompt of its own, and their tokens (n, T').

    Prompts are padded on the left and completions on the right, both only as far as these rows need.
    """
    left, known = left_padded([rollouts.prompts[row] for row in rows.tolist()], pad)
    used = int(rollouts.lengths[rows].max())
    tokens = rollouts.tokens[rows, :used]
    seen = torch.cat([known.to(device), rollouts.mask[rows, :used].long()], 1)
    ids = torch.cat([left.to(device), tokens], 1)
    return {"input_ids": ids, "attention_mask": seen, "position_ids": positions_of(seen), "use_cache": False}, tokens
