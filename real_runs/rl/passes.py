"""Training passes over completions: one prompt per group, what all prompts begin with once, and logits in pieces.

A pass ends at states (n, T, H), and `head` makes logits of them. Logits are the largest array of a training step, V
numbers per token; where a model can be cut before its head, they are there for a piece of the tokens at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from real_runs.rl import ppo
from real_runs.rl.generate import Rollouts, forward, generate, in_full
from real_runs.rl.prompts import common, common_start, read, worth_reading

SAME = 1e-4  # of the largest logit: passes that differ by more do not differ by rounding alone
WORTH, WORTH_ON_GPU = 64, 1024  # tokens saved, from which a pass over a common start pays; on a GPU a guess
LARGE = 1e3  # beyond the logits of any model: a cap shows there


@dataclass(frozen=True)
class Network:
    """A causal LM, cut before its head where that is known to be all that follows.

    body: (input ids, ...) -> last hidden states. head: states -> logits. cut: whether states are last hidden states
    (n, T, H); otherwise they are the logits (n, T, V), and head changes nothing. shares: whether completions can share
    their prompt's keys and values. worth: tokens that must be saved for prompts to share those of what all begin with;
    0: they never do.
    """

    model: Any
    body: Any
    head: Callable[[Tensor], Tensor]
    cut: bool
    shares: bool = False
    worth: int = 0

    @classmethod
    def whole(cls, model: Any) -> Network:
        """The model without a cut: each completion behind a prompt of its own."""
        return cls(model, model, _unchanged, cut=False)

    @classmethod
    def of(cls, model: Any) -> Network:
        """Try on a few tokens what this model allows: each short cut must give the logits of the plain pass."""
        whole = model.get_base_model() if hasattr(model, "get_base_model") else model
        body, head = whole.base_model, whole.get_output_embeddings()
        plain = cls.whole(model)
        if body is whole or head is None or not _comes_last(head, model):
            return plain
        cut = cls(model, body, head, cut=True)
        shares = replace(cut, shares=True) if _has_keys_and_values(model) else cut
        if shares.shares and _without_windows(model) and _agree(replace(shares, worth=1), plain):
            return replace(shares, worth=WORTH if model.device.type == "cpu" else WORTH_ON_GPU)
        return next((found for found in (shares, cut) if _agree(found, plain)), plain)

    def states(self, rollouts: Rollouts, rows: Tensor, pad: int) -> tuple[Tensor, Tensor]:
        """States (n, T', .) at the completion tokens of some rows, and last hidden states (n, T', H).

        T': tokens of the longest completion among them. A prompt, and what all begin with, is read once for its rows
        where `reads_once`.
        """
        prompts = [tuple(rollouts.prompts[row]) for row in rows.tolist()]
        place = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        start = common_start(list(place), self.worth)
        if not self.reads_once or (len(place) == len(prompts) and not start):
            return self._plain_states(rollouts, rows, pad)
        of_row = torch.tensor([place[prompt] for prompt in prompts], device=self.model.device)
        hidden = self._shared_states(rollouts, rows, list(place), start, of_row, pad)
        return hidden, hidden

    @property
    def reads_once(self) -> bool:
        """Whether a prompt is read once for all its completions.

        Not where activations are recomputed in the backward pass: there are no keys and values to share then.
        """
        recomputes = any(getattr(module, "gradient_checkpointing", False) for module in self.model.modules())
        return self.shares and not (self.model.training and recomputes)

    def micro_batches(self, rollouts: Rollouts, rows: Tensor, most: int) -> list[Tensor]:
        """Rows sorted by length and cut so that no pass holds more than `most` tokens, padding included.

        Rows of one prompt lie side by side, and their prompt counts once where it is read once, as does what all begin
        with. A row that holds more by itself is alone.
        """
        prompts = [tuple(rollouts.prompts[row]) for row in rows.tolist()]
        length = rollouts.lengths[rows].cpu().tolist()
        micro: list[list[int]] = []
        once = self.reads_once
        widest = longest = count = start = 0  # of the prompts, of the completions; prompts that are read, their start
        for i in sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i], length[i])):
            again = bool(micro) and once and prompts[i] == prompts[micro[-1][-1]]
            wide, long, read = max(widest, len(prompts[i])), max(longest, length[i]), count + (not again)
            same = start if again or not micro else min(start, common(prompts[micro[-1][0]], prompts[i]))
            apart = worth_reading(same, read, self.worth) if once else 0
            if not micro or apart + read * (wide - apart) + (len(micro[-1]) + 1) * long > most:
                micro.append([])
                wide, long, read, same = len(prompts[i]), length[i], 1, len(prompts[i]) - 1
            widest, longest, count, start = wide, long, read, same
            micro[-1].append(i)
        return [rows[part] for part in micro]

    def _plain_states(self, rollouts: Rollouts, rows: Tensor, pad: int) -> tuple[Tensor, Tensor]:
        if not self.cut:
            logits, _, hidden = forward(self.model, rollouts, rows, pad, hidden=True)
            return logits, hidden
        read, tokens = in_full(rollouts, rows, pad, self.model.device)
        hidden = self.body(**read).last_hidden_state[:, -tokens.shape[1] - 1 : -1]
        return hidden, hidden

    def _shared_states(
        self, rollouts: Rollouts, rows: Tensor, prompts: list[tuple[int, ...]], start: int, of_row: Tensor, pad: int
    ) -> Tensor:
        """What all prompts begin with once, then each prompt once, then the completions behind its keys and values.

        The state that predicts a completion's first token is its prompt's last; gradients of a prompt's completions add
        up in its keys, values and last state.
        """
        from real_runs.rl import cache  # not before: transformers loads here

        store, device = cache.for_prompts(self.model.config), self.model.device
        used, about = int(rollouts.lengths[rows].max()), {"use_cache": True, cache.keyword(self.model): store}

        def body(ids: Tensor, seen: Tensor, positions: Tensor) -> Any:
            return self.body(input_ids=ids, attention_mask=seen, position_ids=positions, **about)

        first, seen = read(prompts, start, pad, store, body, device)
        states = first.last_hidden_state[:, -1:][of_row]
        if used == 1:
            return states
        for layer in store.layers:
            layer.keys, layer.values = layer.keys[of_row], layer.values[of_row]
        there = torch.cat([seen[of_row], rollouts.mask[rows, : used - 1].long()], 1)
        positions = seen.sum(1)[of_row, None] + torch.arange(used - 1, device=device)
        rest = body(rollouts.tokens[rows, : used - 1], there, positions)
        return torch.cat([states, rest.last_hidden_state], 1)


@torch.no_grad()
def samples_as_it_trains(model: Any) -> bool:
    """Try on a few tokens whether sampled ones have the log-probabilities of a training pass.

    Not so for a model without a cache, nor for one that reads a mask of padding another way token by token.
    """
    one, *others = _tokens(model)[:4].tolist()
    was_training = model.training
    model.eval()
    try:
        rollouts = generate(model, [[one], others], 2, 4, torch.full((4, 4), 0.5), ends=[-1], pad=0)
        logits, tokens, _ = forward(model, rollouts, torch.arange(4), 0)
    except Exception:  # transformers raises many kinds
        return False
    finally:
        model.train(was_training)
    gap = (ppo.token_logp(logits, tokens) - rollouts.logp).abs().max()
    return bool(gap <= SAME * logits.abs().max())


def _unchanged(states: Tensor) -> Tensor:
    return states


def _has_keys_and_values(model: Any) -> bool:
    """Whether the model's cache holds a key and a value per token, and nothing else."""
    from transformers.cache_utils import DynamicLayer

    from real_runs.rl import cache

    layers = cache.for_prompts(model.config).layers
    return all(type(layer) is DynamicLayer for layer in layers)


def _without_windows(model: Any) -> bool:
    """Whether attention sees all that came before: a window would count the padding behind a common start."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def _tokens(model: Any) -> Tensor:
    """Twelve of them to try a model on."""
    return torch.arange(12, device=model.device) % model.get_input_embeddings().num_embeddings


@torch.no_grad()
def _comes_last(head: Any, model: Any) -> bool:
    """Whether logits are what the head gives, however large: neither scaled nor capped afterwards."""
    given: list[Tensor] = []

    def enlarge(_head: Any, _states: Any, out: Tensor) -> Tensor:
        given.append(out * (LARGE / out.abs().max()))
        return given[-1]

    hook = head.register_forward_hook(enlarge)
    try:
        ids = _tokens(model)[None]
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    finally:
        hook.remove()
    return len(given) == 1 and torch.equal(logits, given[0])


@torch.no_grad()
def _agree(network: Network, plain: Network) -> bool:
    """Whether two networks of one model give the same logits for prompts and completions of different lengths.

    The prompts begin with the same two tokens.
    """
    token = _tokens(network.model)
    prompts = [token[:5].tolist()] * 2 + [[*token[:2].tolist(), *token[6:7].tolist()]] * 2
    tokens, mask = token.view(4, 3), torch.ones(4, 3, device=token.device)
    mask[1, 2], mask[3, 1:] = 0.0, 0.0
    rollouts = Rollouts(prompts, tokens, mask, mask, None, mask[:, 0] > 0)
    was_training = network.model.training
    network.model.eval()
    try:
        one, other = (n.head(n.states(rollouts, torch.arange(4), 0)[0]).float() for n in (network, plain))
    except (TypeError, ValueError, AttributeError, RuntimeError):  # a body that takes or returns other things
        return False
    finally:
        network.model.train(was_training)
    return one.shape == other.shape and bool((one - other).abs()[mask > 0].max() <= SAME * other.abs().max())
