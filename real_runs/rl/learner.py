"""The real learner: a causal language model under policy-gradient finetuning, in place of arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from real_runs.rl import memory, ppo, saved
from real_runs.rl.generate import Rollouts, generate
from real_runs.rl.models import Policy, seeded
from real_runs.rl.passes import Network
from real_runs.rl.precision import without_gradient
from real_runs.tasks.task import FULL
from workbench.errors import InputError, check_count, check_number, shown
from workbench.pool import Pool
from workbench.streams import Role, clock, generator, uniforms

Scorer = Callable[[str, str], float]
STATS = ("kl", "entropy", "policy_loss", "value_loss", "grad_norm", "logp_gap_mean", "logp_gap_max", "trained_share")


@dataclass(frozen=True)
class Settings:
    """How to sample and how to step.

    limit: tokens per completion. temperature: of sampling, > 0. lr: largest learning rate of the policy (Adam),
    critic_lr: of the value head. warm_up: updates until lr is reached, linearly. grad_clip: largest norm of the
    policy's gradient. updates: optimiser steps per batch, each on an equal part of its sequences (1:
    strictly on-policy). micro_tokens: prompt and completion tokens, padding included, in one forward and backward
    pass. It bounds the memory of training. sample_tokens: prompt and completion tokens, padding included, that are
    sampled at a time. It bounds the memory of sampling; at least one completion is sampled at a time. 0: as the model
    allows, see `memory`.
    """

    limit: int = 32
    temperature: float = 1.0
    lr: float = 1e-4
    critic_lr: float = 1e-3
    warm_up: int = 10
    grad_clip: float = 1.0
    updates: int = 1
    micro_tokens: int = 0
    sample_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("limit", "updates"):
            check_count(name, getattr(self, name))
        for name in ("micro_tokens", "sample_tokens"):
            check_count(name, getattr(self, name), 0)
        for name in ("temperature", "lr", "critic_lr", "grad_clip"):
            check_number(name, getattr(self, name), 0, open_low=True)
        check_number("warm_up", self.warm_up, 0)


@dataclass(frozen=True)
class HeldOut:
    """Problems that are never trained on. stratum: (E,) whole numbers from 0, by difficulty."""

    prompts: Sequence[str]
    answers: Sequence[str]
    stratum: NDArray[np.int64]

    @property
    def strata(self) -> int:
        return int(self.stratum.max()) + 1


class Critic(nn.Module):
    """V(s_t) from the policy's last hidden state at t. No gradient flows into the policy.

    Differs: the paper's PPO has a second network of the policy's size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(hidden.detach().float())))[..., 0]


@dataclass(frozen=True)
class _PerToken:
    """What the loss needs of each token, (N, T) each; returns with a critic, logp_ref with a KL penalty."""

    batch: Rollouts
    advantages: Tensor
    returns: Tensor | None
    logp_ref: Tensor | None

    def of(self, rows: Tensor, there: Tensor) -> dict[str, Tensor]:
        """The tokens (M,) of some rows that are there (n, T')."""
        found = {"logp": self.batch.logp, "advantages": self.advantages, "values": self.batch.values,
                 "returns": self.returns, "logp_ref": self.logp_ref}  # fmt: skip
        return {name: x[rows, : there.shape[1]][there] for name, x in found.items() if x is not None}


@dataclass
class _Attempt:
    """What `learn` needs of an attempt: its items, its completions, and the index in items of each completion."""

    items: NDArray[np.int64]
    rollouts: list[Rollouts]
    slots: list[NDArray[np.int64]]


class PPOLearner:
    """Attempts items by sampling completions, and learns from their rewards by one of `ppo.ALGORITHMS`.

    policy: model and tokenizer. pool: items with payload "prompt" and "answer". score: (completion, answer) -> [0, 1].
    read: the answer in a completion, right or wrong, "" if there is none; `evaluate` notes the share that have one.
    Random numbers are keyed by (seed, role, update, attempt of this update, row), as in `workbench.SimLearner`, so runs
    of different controllers are paired. `learn` takes the items of all attempts since the last `learn`, in order.
    """

    def __init__(
        self,
        policy: Policy,
        pool: Pool,
        score: Scorer,
        heldout: HeldOut,
        algorithm: ppo.Algorithm,
        settings: Settings,
        seed: int = 0,
        read: Callable[[str], str] | None = None,
    ) -> None:
        payload = pool.payload or {}
        for column in ("prompt", "answer"):
            if column not in payload:
                got = ", ".join(payload) or "none"
                raise InputError(f"pool: must have the payload columns prompt and answer, got {got}")
            gaps = [row for row, value in enumerate(payload[column]) if not _there(value)]
            if gaps:
                raise InputError(f"pool: must have a {column} in every row, got none in {len(gaps)}, first {gaps[0]}")
        self.policy, self.pool, self.score, self.heldout = policy, pool, score, heldout
        self.algorithm, self.settings, self.seed, self._read = algorithm, settings, seed, read
        self.readable: NDArray[np.float64] | None = None  # (S,) share of the last evaluation's completions
        self.written: tuple[list[str], NDArray[np.bool_]] | None = None  # the last evaluation's, and which are right
        self._prompts = policy.encode(payload["prompt"], settings.limit)
        self._answers = [str(answer) for answer in payload["answer"]]
        self._heldout_answers = list(heldout.answers)
        self._heldout_prompts = policy.encode(heldout.prompts, settings.limit)
        self.model = policy.model
        self.network = policy.network
        self._micro_tokens = settings.micro_tokens or memory.micro_tokens(policy.model)
        self._sample_tokens = settings.sample_tokens or memory.sample_tokens(policy.model, settings.limit)
        self._piece = memory.piece_tokens(policy.model)
        self._penalised = algorithm.kl_in != "none" and algorithm.kl_coef > 0
        self.reference = policy.frozen_copy() if self._penalised else None
        self._reference_network = self.network if self.reference is None else Network.of(self.reference)
        with seeded(seed):
            self.critic = Critic(policy.width()).to(self.model.device) if algorithm.critic else None
        groups = [{"params": policy.trainable, "lr": settings.lr}]
        if self.critic is not None:
            groups.append({"params": list(self.critic.parameters()), "lr": settings.critic_lr})
        self.optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        self._pending: list[_Attempt] = []
        self.updates = 0  # batches learned from
        self.steps = 0  # of the optimiser: none where a gradient was not finite, or gates rejected the batch
        self.turn = 0  # batches sampled since
        self.faults = 0  # answers that could not be scored
        self.tokens = 0  # sampled, in training
        self.stats: dict[str, float] = {}  # of the last `learn`; seconds and tokens add up over its attempts
        self._clock = {"seconds_generate": 0.0, "tokens": 0.0}
        self._cut = np.zeros(2, np.int64)  # completions since the last `learn`: cut at the limit, all

    # ------------------------------------------------------------------------------------------- attempts

    def attempt(
        self, items: NDArray[np.int64], rollouts: int = 8, counts: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Rewards of `rollouts` completions for each item: (B, G). counts: (B,) of them where they differ; then 0."""
        self._pending.append(_Attempt(np.array(items), [], []))
        return self._attempt(self._pending[-1], rollouts, counts, Role.ROLLOUT)

    def extend(self, items: NDArray[np.int64], rollouts: int, counts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Further completions, counts (B,), for the items attempted last: (B, G), 0 after the counts."""
        if not self._pending or not np.array_equal(self._pending[-1].items, items):
            raise InputError("items: must be those of the last attempt")
        return self._attempt(self._pending[-1], rollouts, counts, Role.ROLLOUT)

    def probe(self, items: NDArray[np.int64], rollouts: int) -> NDArray[np.float32]:
        """Rewards of completions that will not be learned from: (P, G)."""
        return self._attempt(_Attempt(np.array(items), [], []), rollouts, None, Role.PROBE)

    def _attempt(
        self, of: _Attempt, rollouts: int, counts: NDArray[np.int64] | None, role: Role
    ) -> NDArray[np.float32]:
        check_count("rollouts", rollouts)
        start = time.perf_counter()
        if counts is None:
            rows, group = of.items, rollouts
        else:
            rows, group = np.repeat(of.items, counts), 1
        slots = np.repeat(np.arange(len(of.items)), rollouts if counts is None else counts)
        rewards = np.zeros((len(of.items), rollouts), np.float32)
        if len(slots):
            sampled = self._sample([self._prompts[i] for i in rows], group, role, clock(self.updates, self.turn))
            scores = self._score(sampled, [self._answers[of.items[slot]] for slot in slots])
            first = np.searchsorted(slots, np.arange(len(of.items)))
            rewards[slots, np.arange(len(slots)) - first[slots]] = scores
            of.rollouts.append(sampled)
            of.slots.append(slots)
            tokens = int(sampled.mask.sum())
            self.tokens += tokens
            self._clock["tokens"] += float(tokens)
            self._cut += [int((~sampled.finished).sum()), len(sampled)]
        self.turn += 1
        self._clock["seconds_generate"] += time.perf_counter() - start
        return rewards

    def show(self, items: NDArray[np.int64], rollouts: int, turn: int) -> tuple[NDArray[np.float32], list[str]]:
        """Rewards (B, G) and texts (B G) of completions that are no part of the run: no count of the learner moves.

        Their random numbers have a role of their own; turn: tells several calls apart.
        """
        faults = self.faults
        sampled = self._sample([self._prompts[item] for item in items], rollouts, Role.SIGNAL, turn)
        scores = self._score(sampled, [self._answers[item] for item in items for _ in range(rollouts)])
        self.faults = faults
        return scores.reshape(len(items), rollouts), self.policy.decode(sampled)

    def forget(self) -> None:
        """Drop the attempts since the last update; they will not be learned from."""
        self._pending.clear()
        self.turn = 0

    def evaluate(self) -> NDArray[np.float64]:
        """(S,) share of the held-out problems of each stratum that are solved, with full score; with the same random
        numbers whenever it is called and whatever the seed."""
        sampled = self._sample(self._heldout_prompts, 1, Role.EVALUATION, 0, seed=0)
        scores = self._score(sampled, self._heldout_answers)
        texts = self.policy.decode(sampled)
        self.written = texts, scores >= FULL
        stratum, strata = self.heldout.stratum, self.heldout.strata
        counts = np.bincount(stratum, minlength=strata)
        with np.errstate(invalid="ignore"):
            if self._read is not None:
                found = [bool(self._read(text)) for text in texts]
                self.readable = np.bincount(stratum, found, strata) / counts
            return np.bincount(stratum, scores >= FULL, strata) / counts

    def _sample(self, prompts: list[list[int]], group: int, role: Role, step: int, seed: int | None = None) -> Rollouts:
        """`group` completions of each prompt, no more than `sample_tokens` at a time.

        A completion's random numbers are keyed by its row, so its tokens are the same however many are sampled at a
        time; log-probabilities are equal up to rounding.
        """
        limit, key = self.settings.limit, self.seed if seed is None else seed
        drawn = torch.from_numpy(uniforms(key, role, step, len(prompts) * group * limit)).view(-1, limit)
        self.model.eval()
        parts = [
            generate(
                self.model, [prompts[i] for i in chosen], size, limit, drawn[rows], self.policy.ends, self.policy.pad,
                self.settings.temperature, self.critic if role is Role.ROLLOUT else None, self.policy.decoding,
                self.policy.dtype, self.policy.stop, self.network.worth,
            )
            for chosen, size, rows in self._calls(prompts, group)
        ]  # fmt: skip
        return Rollouts.joined(parts, self.policy.pad)

    def _calls(self, prompts: list[list[int]], group: int) -> Iterator[tuple[range, int, slice]]:
        """Which prompts each call of `generate` takes, how many completions of each, and which rows these are."""
        most = max(1, self._sample_tokens // (max(map(len, prompts)) + self.settings.limit))
        if most >= group:  # whole groups
            for first in range(0, len(prompts), most // group):
                chosen = range(first, min(first + most // group, len(prompts)))
                yield chosen, group, slice(chosen.start * group, chosen.stop * group)
        else:  # parts of one group
            for i in range(len(prompts)):
                for first in range(0, group, most):
                    size = min(most, group - first)
                    yield range(i, i + 1), size, slice(i * group + first, i * group + first + size)

    def _score(self, sampled: Rollouts, answers: Sequence[str]) -> NDArray[np.float32]:
        """Scores in [0, 1]; an answer whose scorer fails is counted and scored 0."""
        scores = np.zeros(len(sampled), np.float32)
        for row, text in enumerate(self.policy.decode(sampled)):
            try:
                value = float(self.score(text, answers[row]))
            except Exception:  # a scorer is somebody else's code, and the text is hostile
                value = float("nan")
            if 0.0 <= value <= 1.0:
                scores[row] = value
            else:
                self.faults += 1
        return scores

    # ------------------------------------------------------------------------------------------- learning

    def learn(
        self,
        items: NDArray[np.int64],
        rewards: NDArray[np.float32],
        admitted: NDArray[np.bool_],
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        """One batch of updates on the admitted groups; counts: rollouts of each group where they differ."""
        start = time.perf_counter()
        attempts, self._pending = self._pending, []
        if not attempts or not np.array_equal(np.concatenate([a.items for a in attempts]), items):
            raise InputError("items: must be those of the attempts since the last update, in their order")
        scores = np.asarray(rewards, np.float32).reshape(len(items), -1)
        sizes = np.full(len(items), scores.shape[1]) if counts is None else np.asarray(counts)
        offsets = np.cumsum([0, *(len(attempt.items) for attempt in attempts)])
        groups = np.concatenate(  # of each sampled row
            [slots + offset for attempt, offset in zip(attempts, offsets, strict=False) for slots in attempt.slots]
            or [np.empty(0, np.int64)]
        )
        if not np.array_equal(np.bincount(groups, minlength=len(items)), sizes):
            raise InputError(f"counts: must be those of the attempts since the last update, got {shown(sizes)}")
        rows = np.argsort(groups, kind="stable")  # group by group, as the rewards are
        kept = torch.from_numpy(rows[np.asarray(admitted)[groups[rows]]])
        self.stats = dict.fromkeys(STATS, np.nan)
        if len(kept):
            sampled = Rollouts.joined([part for attempt in attempts for part in attempt.rollouts], self.policy.pad)
            there = np.arange(scores.shape[1]) < sizes[:, None]
            of_kept = torch.from_numpy(scores[there & np.asarray(admitted)[:, None]]).to(self.model.device)
            self._update(sampled.take(kept), of_kept, sizes[admitted])
        self.updates += 1
        self.turn = 0
        self.stats |= self._clock | {"seconds_update": time.perf_counter() - start}
        self.stats["cut_share"] = float(self._cut[0] / max(1, self._cut[1]))
        self._clock, self._cut = dict.fromkeys(self._clock, 0.0), np.zeros(2, np.int64)

    def _update(self, batch: Rollouts, scores: Tensor, sizes: NDArray[np.int64]) -> None:
        """batch and scores (N,): rows group by group, sizes of them each."""
        algorithm = self.algorithm
        logp_ref = self._reference_logp(batch) if self._penalised else None
        advantages, returns = self._advantages(batch, scores, sizes, logp_ref)
        taught = ppo.has_gradient(algorithm, advantages).cpu()
        per_token = _PerToken(batch, advantages, returns, logp_ref)
        totals: list[dict[str, float]] = []
        self.model.train()
        for part in self._parts(len(batch)):
            weights = torch.zeros_like(batch.mask)
            weights[part] = ppo.loss_weights(batch.mask[part], algorithm.aggregate)
            self.optimiser.zero_grad(set_to_none=False)  # gradients keep their memory
            sums = dict.fromkeys((*STATS, "weight"), 0.0)
            with self.policy.autocast():  # one context: weights are converted once
                for rows in self.network.micro_batches(batch, part[taught[part]], self._micro_tokens):
                    self._accumulate(per_token, rows, weights, sums)
            self._step(sums)
            for name in ("kl", "entropy", "logp_gap_mean"):  # of the tokens that had a gradient
                sums[name] /= sums["weight"] or 1.0
            totals.append(sums)
        self.stats = {name: float(np.mean([sums[name] for sums in totals])) for name in STATS}
        trained = [sums for sums in totals if sums["weight"]]
        for name in ("kl", "entropy"):
            self.stats[name] = float(np.mean([sums[name] for sums in trained])) if trained else np.nan
        for name in ("logp_gap_mean", "logp_gap_max"):  # later parts were sampled by another policy than they meet
            self.stats[name] = totals[0][name] if totals[0]["weight"] else np.nan
        self.stats["trained_share"] = float(taught.float().mean())
        absent = (["kl"] if logp_ref is None else []) + (["value_loss"] if self.critic is None else [])
        self.stats |= dict.fromkeys(absent, np.nan)

    def _step(self, sums: dict[str, float]) -> None:
        """One step of the optimiser with the gradient that is there, which is 0 where no pass has left one."""
        trainable = self.policy.trainable
        for parameter in trainable:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        sums["grad_norm"] = float(nn.utils.clip_grad_norm_(trainable, self.settings.grad_clip))
        if np.isfinite(sums["grad_norm"]):  # otherwise the parameters stay, and the record shows it
            warm = min(1.0, (self.updates + 1) / (self.settings.warm_up + 1))
            for options, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
                options["lr"] = rate * warm
            self.optimiser.step()
            self.steps += 1

    def _advantages(
        self, batch: Rollouts, scores: Tensor, sizes: NDArray[np.int64], logp_ref: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Per-token advantages, and returns where there is a critic."""
        a, mask = self.algorithm, batch.mask
        in_reward = a.kl_in == "reward" and logp_ref is not None
        penalty = ppo.kl_estimate(batch.logp, logp_ref, a.kl_kind) if in_reward else None
        returns = None
        if a.advantage in ("grpo", "rloo"):
            if penalty is not None:
                scores = scores - a.kl_coef * (penalty * mask).sum(1)
            of_group = ppo.grpo_advantages if a.advantage == "grpo" else ppo.rloo_advantages
            advantages = ppo.group_by_group(of_group, scores, sizes)[:, None] * mask
        else:
            rewards = ppo.token_rewards(scores, mask, penalty, a.kl_coef)
            if a.advantage == "reinforce++":
                return ppo.reinforce_pp_advantages(rewards, mask, a.gamma), None
            assert batch.values is not None
            advantages, returns = ppo.gae(rewards, batch.values, mask, a.gamma, a.lam)
        return (ppo.whiten(advantages, mask) if a.whiten else advantages), returns

    def _accumulate(self, all_of: _PerToken, rows: Tensor, weights: Tensor, sums: dict[str, float]) -> None:
        """Add the gradient of some rows' share of the loss, and their share of the statistics.

        The loss is a sum over tokens: the gradient with respect to the states is found a piece of the tokens at a
        time, and then goes through the model in one pass.
        """
        states, hidden = self.network.states(all_of.batch, rows, self.policy.pad)
        there = all_of.batch.mask[rows, : states.shape[1]] > 0
        reached, hidden = states[there], hidden[there]
        leaf = reached.detach().requires_grad_()
        tokens, weight = all_of.batch.tokens[rows, : states.shape[1]][there], weights[rows, : states.shape[1]][there]
        of = all_of.of(rows, there)
        for first in range(0, len(leaf), self._piece):
            piece = slice(first, first + self._piece)
            loss = self._loss(
                self.network.head(leaf[piece]), hidden[piece], tokens[piece], weight[piece],
                {name: x[piece] for name, x in of.items()}, sums,
            )  # fmt: skip
            with self.policy.autocast(enabled=False):
                loss.backward()
        with self.policy.autocast(enabled=False):
            reached.backward(leaf.grad)

    def _loss(
        self, logits: Tensor, hidden: Tensor, tokens: Tensor, weight: Tensor, of: dict[str, Tensor],
        sums: dict[str, float],
    ) -> Tensor:  # fmt: skip
        """The share of the loss of M tokens: logits (M, V), hidden (M, H), the rest (M,)."""
        a, all_count = self.algorithm, torch.ones_like(weight)
        logp = ppo.token_logp(logits, tokens, self.settings.temperature)
        clip_high = a.clip if a.clip_high is None else a.clip_high
        policy_loss = (ppo.policy_loss(logp, of["logp"], of["advantages"], all_count, a.clip, clip_high) * weight).sum()
        with torch.set_grad_enabled(a.entropy_coef > 0):
            entropy = (ppo.entropy(logits, self.settings.temperature) * weight).sum()
        loss = policy_loss - a.entropy_coef * entropy
        if "logp_ref" in of:
            with torch.set_grad_enabled(a.kl_in == "loss"):
                kl = (ppo.kl_estimate(logp, of["logp_ref"], a.kl_kind) * weight).sum()
            loss = loss + (a.kl_coef * kl if a.kl_in == "loss" else 0.0)
            sums["kl"] += float(kl.detach())
        if self.critic is not None and "returns" in of:
            with self.policy.autocast(enabled=False):
                values = self.critic(hidden)
            missed = ppo.value_loss(values, of["values"], of["returns"], all_count, a.value_clip)
            value_loss = (missed * weight).sum()
            loss = loss + value_loss  # the critic's parameters are its own: no coefficient is needed
            sums["value_loss"] += float(value_loss.detach())
        sums["policy_loss"] += float(policy_loss.detach())
        sums["entropy"] += float(entropy.detach())
        sums["weight"] += float(weight.sum())
        gap = (logp.detach() - of["logp"]).abs()
        sums["logp_gap_mean"] += float((gap * weight).sum())
        sums["logp_gap_max"] = max(sums["logp_gap_max"], float(gap.max()))
        return loss

    def _reference_logp(self, batch: Rollouts) -> Tensor:
        out = torch.zeros_like(batch.logp)
        network = self._reference_network
        with self.policy.as_reference(self.reference) as reference, without_gradient(reference, self.policy.dtype):
            for rows in network.micro_batches(batch, torch.arange(len(batch)), self._micro_tokens):
                states, _ = network.states(batch, rows, self.policy.pad)
                there = batch.mask[rows, : states.shape[1]] > 0
                found = torch.zeros_like(there, dtype=out.dtype)
                tokens = batch.tokens[rows, : states.shape[1]]
                found[there] = torch.cat([
                    ppo.token_logp(network.head(s), t, self.settings.temperature)
                    for s, t in zip(states[there].split(self._piece), tokens[there].split(self._piece), strict=True)
                ])  # fmt: skip
                out[rows, : states.shape[1]] = found
        return out

    def _parts(self, count: int) -> list[Tensor]:
        """Rows of each optimiser step: all, or `updates` shuffled parts."""
        if self.settings.updates == 1:
            return [torch.arange(count)]
        order = generator(self.seed, Role.SHUFFLE, self.updates).permutation(count)
        return [torch.from_numpy(np.sort(part)) for part in np.array_split(order, self.settings.updates) if len(part)]

    # ---------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Copies in main memory from which `load_state_dict` continues bit for bit; between `learn` and `attempt`."""
        if self._pending:
            raise InputError("state_dict: must be asked for after learn, but attempts wait for their update")
        kept: dict[str, Any] = {f"policy.{name}": saved.on_host(p) for name, p in self.policy.named_trainable()}
        if self.critic is not None:
            kept |= {f"critic.{name}": saved.on_host(tensor) for name, tensor in self.critic.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            kept |= {f"adam.{index}.{name}": saved.on_host(value) for name, value in moments.items()}
        return kept | {name: getattr(self, name) for name in saved.COUNTERS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` of a learner with the same model, algorithm and settings.

        Raises InputError for any other, and then changes nothing: names, shapes and kinds of numbers must be those of
        this learner.
        """
        read = {name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in state.items()}
        policy = saved.named("policy", self.policy.named_trainable(), read)
        critic = {} if self.critic is None else saved.named("critic", self.critic.state_dict().items(), read)
        counts = saved.counters(read, self.settings.updates)
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        moments = saved.moments(read, parameters, counts["steps"])
        with torch.no_grad():
            for name, parameter in self.policy.named_trainable():
                parameter.copy_(policy[name])
        if self.critic is not None:
            self.critic.load_state_dict(critic)
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})
        for name, count in counts.items():
            setattr(self, name, count)
        self._pending = []


def _there(value: Any) -> bool:
    """Whether a cell of a table holds something: not None, NaN or empty text."""
    return value is not None and value == value and str(value).strip() != ""
