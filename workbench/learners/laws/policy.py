"""L7: a small network trained on its own answers, with the loss of a real run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as once
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError, check_choice, check_count
from workbench.kernels.compiling import Array, compiled, f32, f64, i64, u64
from workbench.kernels.philox import unit_block
from workbench.lanes import Floats, Lanes, distinct_rows, per_lane, read_only
from workbench.learners.law import UNSOLVABLE, Chances, Gradient, ItemBank, Law, Presets
from workbench.learners.signals import Signal
from workbench.streams import Role, generator

DIGITS = 10  # tokens, and values of each digit
CONTEXTS = DIGITS * DIGITS * 2  # (a, b, carry), carry fastest
DRAFTS = 8  # problems looked at for each item; each of their first 1 to `longest` steps is a candidate
DRAFTED_AT_ONCE = 2**14  # items
BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-8  # Adam

# The base model: its demonstrations, and its training on them.
SLIP = 0.03  # of the demonstrations, a wrong digit
FORGOTTEN = 0.15  # of those with a carry, the carry left out
READINGS, READING_RATE = 130, 0.02

_a, _b, _carry = (part.ravel() for part in np.indices((DIGITS, DIGITS, 2)))
RIGHT: NDArray[np.int64] = (_a + _b + _carry) % DIGITS  # (C,) the right token of each context
CARRIES: NDArray[np.int64] = (_a + _b + _carry) // DIGITS

Tensor = Any  # torch is imported when it is used


class PolicyState(NamedTuple):
    weights: NDArray[np.float32]  # (R, P) of the network
    momentum: NDArray[np.float32]  # (R, P) Adam's running mean of gradients; 0 under sgd
    square: NDArray[np.float32]  # (R, P) and of their squares
    steps: NDArray[np.int64]  # (R,) optimiser steps
    value: Floats  # (R,) the critic's V


class Problems(NamedTuple):
    """An addition for each item, one row per distinct draw of difficulties."""

    steps: NDArray[np.uint8]  # (U, J, longest) contexts, from the last digit on
    length: NDArray[np.uint8]  # (U, J) how many of them the problem has
    solvable: NDArray[np.bool_]  # (U, J)
    row: NDArray[np.int64]  # (R,) each lane's


@dataclass(frozen=True)
class TinyPolicy(Law):
    """A soft-max policy that adds long numbers digit by digit, trained by policy gradient on tokens it sampled.

    In step t of an answer the network sees a context x: the two digits and the carry, 200 contexts in all. It gives one
    of 10 tokens, pi(. | x) = softmax(C tanh(A_a + B_b + E_carry) + c). An answer is right if all its tokens are.

    p_i = prod_t pi(right token | x_it)
    loss = - 1 / N sum_(tokens of admitted rollouts) A log pi(token | x),   A the rollout's advantage, N their number

    There is no skill, no difficulty and no response curve in it: items help or hinder each other through the weights
    they share. The loss is that of the real loop at ratio 1 (its clipping does not bind in the first optimiser step),
    averaged over tokens, with the advantages that `signal` names; the optimiser is Adam with the real loop's decay
    rates, 0.9 and 0.99, as language models are trained with it and its state is part of how they learn.

    The policy before training is the same for all seeds: a network that has read additions in which small digits are
    frequent, some carries forgotten and some digits wrong, for a short while. Item i is the problem, of some drawn at
    random, whose success before training is nearest to sigma(theta0 - b_i), b the true difficulty: harder items are
    longer or ask for digits that the policy knows less, and items of one difficulty differ in both.

    theta0: logits; 0 by default: the policy made the difficulty labels itself, apart from their noise.
    kappa: learning rate of the optimiser, 0 to 1e9, 0.001 to 0.01 in use with Adam and 1 to 10 with SGD; 0.003 by
    default: a run of 200 updates is then neither over at once nor hardly begun.
    forgetting: share of the way back to the weights before training that an update goes, [0, 1].
    optimizer: "adam" or "sgd" (plain gradient descent). An update without admitted groups is no step of it. The choice
    can turn the order of schedules round: Adam's steps do not shrink with the signal, SGD's do.
    width: hidden units, whole, 8 to 128 in use; 32 by default: enough to learn all 200 contexts, few enough that they
    share. longest: steps of the longest problem, whole, 1 to 100, 12 by default.
    gamma must be 1: the advantages are the signal here. signal: any but Visit, and none with exact=True.
    Tokens are counted as for the other laws, by tokens_easy and tokens_hard, so that budgets mean the same.

    Rewards come first and tokens after: a reward is drawn from the exact p_i, the answer behind it from the policy
    given that reward. The two together are distributed as if the tokens were drawn first and marked, and no transcripts
    need to be kept: feedback may come late, in parts or again, and its answers are then those of the present policy.
    Source: ours; the loss is that of Schulman et al. 2017, arXiv 1707.06347, averaged over tokens as in DAPO, Yu et al.
    2025, arXiv 2503.14476.
    Differs: no KL penalty, entropy bonus or clipping of gradients; the carry is shown, so that an error does not spread
    to later steps.
    """

    presets: ClassVar[Presets] = {"policy": {}}  # a network trained on its own answers; needs torch
    units: ClassVar[Mapping[str, str]] = {"kappa": "learning rate"}

    theta0: Lanes = 0.0
    kappa: Lanes = 0.003
    optimizer: str = "adam"
    width: int = 32
    longest: int = 12

    trains_model: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("optimizer", self.optimizer, ("adam", "sgd"))
        check_count("width", self.width, 1, 1024)
        check_count("longest", self.longest, 1, 100)
        if np.any(np.asarray(self.gamma) != 1):
            raise InputError(f"gamma: must be 1 for TinyPolicy, whose signal is the advantage itself, got {self.gamma}")
        if self.signal.exact or type(self.signal).advantages is Signal.advantages:
            raise InputError(f"signal: must give sampled rollouts an advantage, such as RLOO(), got {self.signal}")

    def start(self, theta0: Floats, bank: ItemBank) -> PolicyState:
        self.check_packages()
        lanes = len(theta0)
        weights = np.repeat(base_weights(self.width)[None], lanes, axis=0)
        none = np.zeros_like(weights)
        return PolicyState(weights, none, none.copy(), np.zeros(lanes, np.int64), np.full(lanes, 0.5))

    def chance(self, state: PolicyState, items: NDArray[np.int64], bank: ItemBank, cache: dict[str, Any]) -> Chances:
        problems, (log_prob, _) = self._problems(len(state.value), bank, cache), _policy(state.weights, cache)
        log_right = log_prob[:, np.arange(CONTEXTS), RIGHT]
        p = np.empty((len(log_right), items.shape[1]), np.float32)
        answer_success(items, *problems, log_right, p)
        return p

    def advance(self, state: PolicyState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> PolicyState:
        """One optimiser step in every lane that has an admitted group."""
        weights, tokens = self.token_weights(state, gradient, bank, cache)
        _, pull_back = _policy(state.weights, cache)
        loss_by_logp = -weights / np.maximum(tokens, 1)[:, None, None]
        slope = pull_back(loss_by_logp.astype(np.float32))
        return self.step(state, slope, tokens > 0)

    def token_weights(
        self, state: PolicyState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]
    ) -> tuple[Floats, Floats]:
        """(R, C, V) sum of advantages of each token in each context, and (R,) tokens of the admitted rollouts."""
        problems, (log_prob, _) = self._problems(len(state.value), bank, cache), _policy(state.weights, cache)
        groups = gradient.groups
        k = groups.rewards.sum(axis=2, dtype=np.float64)
        n = groups.counts.astype(np.float64) if groups.counts.size else np.full(k.shape, float(groups.rewards.shape[2]))
        counted = n >= (2 if self.signal.needs_group else 1)
        share = counted * groups.admitted if groups.admitted.size else counted.astype(np.float64)
        up, down = self.signal.advantages(k, n, state.value[:, None], groups.chance)
        if groups.fresh.size:
            up, down = up * groups.fresh, down * groups.fresh
        missed, passed = (
            per_lane(name, getattr(self, name), len(k)) for name in ("false_negative", "false_positive")
        )
        weights = np.empty(log_prob.shape)
        answer_weights(
            gradient.items, groups.rewards, groups.counts, share * up, share * down, *problems, np.exp(log_prob), RIGHT,
            missed, passed, groups.seeds, int(Role.TOKEN), groups.update, weights,
        )  # fmt: skip
        length = problems.length[problems.row[:, None], gradient.items]
        admitted = n * groups.admitted if groups.admitted.size else n
        return weights, np.asarray((admitted * length).sum(axis=1))

    def step(self, state: PolicyState, slope: NDArray[Any], steps: NDArray[np.bool_]) -> PolicyState:
        """The state after a step down the slope (R, P) in the lanes where `steps`, and forgetting in all."""
        rate = np.reshape(self.kappa, (-1, 1))
        moved = sgd(state, slope, rate) if self.optimizer == "sgd" else adam(state, slope, rate)

        def if_step(new: Any, old: Any) -> Any:
            return np.where(steps.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        state = moved if steps.all() else PolicyState(*map(if_step, moved, state))
        if not np.any(self.forgetting):
            return state
        lost = np.reshape(self.forgetting, (-1, 1)) * (state.weights - base_weights(self.width))
        return state._replace(weights=(state.weights - lost).astype(state.weights.dtype))

    def _problems(self, lanes: int, bank: ItemBank, cache: dict[str, Any]) -> Problems:
        if "problems" not in cache:
            cache["problems"] = find_problems(self, per_lane("theta0", self.theta0, lanes), bank)
        problems: Problems = cache["problems"]
        return problems


# ---------------------------------------------------------------------------------------------------- the network


def log_policy(weights: Tensor) -> Tensor:
    """(C, V) log pi(token | context) of a network with weights (P,)."""
    import torch

    hidden = (len(weights) - DIGITS) // (3 * DIGITS + 2)
    sizes = [DIGITS * hidden, DIGITS * hidden, 2 * hidden, hidden * DIGITS, DIGITS]
    a, b, carry, out, bias = torch.split(weights, sizes)
    seen = a.view(-1, 1, 1, hidden) + b.view(1, -1, 1, hidden) + carry.view(1, 1, -1, hidden)
    return torch.log_softmax(torch.tanh(seen).reshape(CONTEXTS, hidden) @ out.view(hidden, DIGITS) + bias, dim=-1)


Read = tuple[NDArray[np.float32], Callable[[NDArray[np.float32]], NDArray[np.float32]]]


def read_policy(weights: NDArray[np.float32]) -> Read:
    """(R, C, V) log pi of the networks (R, P), and the function from a loss's gradient by log pi to that by weights.

    In the precision of the weights, single in the learner.
    """
    import torch
    from torch.func import vjp, vmap

    with _one_thread():
        log_prob, pull = vjp(vmap(log_policy), torch.tensor(weights))

    def pull_back(slope: NDArray[np.float32]) -> NDArray[np.float32]:
        with _one_thread():
            (by_weights,) = pull(torch.from_numpy(slope))
        return np.asarray(by_weights.numpy())

    return log_prob.numpy(), pull_back


def _policy(weights: NDArray[np.float32], cache: dict[str, Any]) -> Read:
    """`read_policy`, once for each state."""
    if cache.get("read") is not weights:
        cache["read"], cache["policy"] = weights, read_policy(weights)
    policy: Read = cache["policy"]
    return policy


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: lanes are small, processes share the cores, and no sum is split."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def adam(state: PolicyState, slope: NDArray[np.float32], rate: Any) -> PolicyState:
    """One step down the slope (R, P). Source: Kingma & Ba 2015, arXiv 1412.6980, algorithm 1."""
    steps = state.steps + 1
    momentum = BETA1 * state.momentum + (1 - BETA1) * slope
    square = BETA2 * state.square + (1 - BETA2) * slope**2
    mean = momentum / (1 - BETA1 ** steps[:, None])
    scale = np.sqrt(square / (1 - BETA2 ** steps[:, None])) + EPSILON
    weights = (state.weights - rate * mean / scale).astype(state.weights.dtype)
    return state._replace(weights=weights, momentum=momentum, square=square, steps=steps)


def sgd(state: PolicyState, slope: NDArray[np.float32], rate: Any) -> PolicyState:
    """One step of plain gradient descent."""
    weights = (state.weights - rate * slope).astype(state.weights.dtype)
    return state._replace(weights=weights, steps=state.steps + 1)


# ------------------------------------------------------------------------------------- the base model, and problems


@once
def base_weights(width: int) -> NDArray[np.float32]:
    """(P,) the network before training: read-only, the same in every process."""
    first = generator(0, Role.WEIGHTS).standard_normal((3 * DIGITS + 2) * width + DIGITS) * 0.3
    weights = first[None].astype(np.float32)
    state = PolicyState(weights, np.zeros_like(weights), np.zeros_like(weights), np.zeros(1, np.int64), np.zeros(1))
    for _ in range(READINGS):
        _, pull_back = read_policy(state.weights)
        state = adam(state, pull_back(-demonstrations()[None]), READING_RATE)
    return read_only(state.weights[0])


def demonstrations() -> NDArray[np.float32]:
    """(C, V) shares of the base model's demonstrations: digit d in proportion to 1 / (d + 1), some with errors."""
    frequency = 1.0 / (1.0 + np.arange(DIGITS))
    context = frequency[_a] * frequency[_b]
    answers = np.full((CONTEXTS, DIGITS), SLIP / DIGITS)
    everywhere = np.arange(CONTEXTS)
    answers[everywhere, RIGHT] += 1.0 - SLIP - FORGOTTEN * _carry
    answers[everywhere, (RIGHT - _carry) % DIGITS] += FORGOTTEN * _carry
    return np.asarray(answers * (context / context.sum())[:, None], np.float32)


def find_problems(law: TinyPolicy, theta0: Floats, bank: ItemBank) -> Problems:
    """For each item the drafted problem whose success before training is nearest to sigma(theta0 - b), in logits."""
    pairs, row = distinct_rows(np.stack([bank.row, theta0], axis=1))
    log_right = read_policy(base_weights(law.width)[None])[0][0, np.arange(CONTEXTS), RIGHT].astype(np.float64)
    size = bank.b.shape[1]
    steps = np.empty((len(pairs), size, law.longest), np.uint8)
    length = np.empty((len(pairs), size), np.uint8)
    stream = generator(0, Role.PROBLEM)
    for start in range(0, size, DRAFTED_AT_ONCE):
        part = slice(start, min(start + DRAFTED_AT_ONCE, size))
        drafts = _draft(stream, part.stop - part.start, law.longest)
        logp = np.cumsum(log_right[drafts], axis=2).reshape(len(drafts), -1)
        logit = logp - np.log(-np.expm1(logp))
        for u, (of_bank, skill) in enumerate(pairs):
            nearest = np.abs(logit - (skill - bank.b[int(of_bank), part])[:, None]).argmin(axis=1)
            steps[u, part] = drafts[np.arange(len(drafts)), nearest // law.longest]
            length[u, part] = nearest % law.longest + 1
    return Problems(steps, length, bank.b[pairs[:, 0].astype(np.int64)] != UNSOLVABLE, row)


def _draft(stream: np.random.Generator, items: int, longest: int) -> NDArray[np.uint8]:
    """(items, DRAFTS, longest) contexts of additions of random digits, last digits first."""
    digits = stream.integers(DIGITS, size=(items, DRAFTS, longest, 2))
    contexts = np.empty(digits.shape[:3], np.uint8)
    carry = np.zeros(digits.shape[:2], np.int64)
    for t in range(longest):
        contexts[:, :, t] = asked = (digits[:, :, t, 0] * DIGITS + digits[:, :, t, 1]) * 2 + carry
        carry = CARRIES[asked]
    return contexts


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def answer_success(
    items: Array, steps: Array, length: Array, solvable: Array, row: Array, log_right: Array, out: Array
) -> None:
    """out (R, B) = e^(sum of log_right (R, C) over the contexts of the item's steps), 0 for items not solvable.

    steps (U, J, L) contexts, length (U, J) how many of them count, solvable (U, J).
    """
    for r in range(out.shape[0]):
        mine, u = items[r % items.shape[0]], row[r]
        for i in range(out.shape[1]):
            j = u64(mine[i])
            total = 0.0
            for t in range(length[u, j]):
                total += log_right[r, steps[u, j, t]]
            out[r, i] = f32(np.exp(total)) if solvable[u, j] else f32(0)


@compiled
def answer_weights(
    items: Array, rewards: Array, counts: Array, up: Array, down: Array, steps: Array, length: Array, solvable: Array,
    row: Array, prob: Array, right: Array, missed: Array, passed: Array, keys: Array, role: int, update: int,
    out: Array,
) -> None:
    """out (R, C, V) = sum of advantages over the tokens of the answers behind the rewards (R, B, G), by context.

    Given its reward an answer is right with its posterior probability, 1 or 0 if the verifier makes no errors; then its
    tokens are the right ones. The tokens of a wrong one are drawn from prob (R, C, V): where the first error is, which
    it is, and freely from there on. up, down (R, B): advantages of a success and of a failure; where both are 0,
    nothing is drawn. right (C,): the right tokens. missed, passed (R,): verifier errors. counts (R, B): rollouts of
    each group, (0, 0) if all have G.
    Uniforms: of the stream (seed, role, (update, item)), so that the order of items does not matter; entry 0: right or
    not, 1: where the first error is, 2 + t: the token of step t; groups of one item follow each other.
    """
    lanes, batch, group = rewards.shape
    tokens, longest = prob.shape[2], steps.shape[2]
    blocks = (longest + 5) // 4  # of four uniforms, for each rollout
    wrong, slip, stay = np.empty(longest + 1), np.empty(longest), np.empty(longest)
    errs = np.empty(prob.shape[1])
    before = np.empty(longest + 1)  # advantages of answers that are right up to there
    u = np.empty((blocks, 4), np.float32)
    uniform = u.reshape(4 * blocks)
    earlier = np.zeros(steps.shape[1], np.int32)  # groups of each item so far
    out[:] = 0.0
    for r in range(lanes):
        chances, sums = prob[r], out[r]
        for c in range(errs.size):  # what is left to the wrong tokens; 1 - prob would lose digits
            errs[c] = 0.0
            for v in range(tokens):
                errs[c] += f64(chances[c, v]) if v != right[c] else 0.0
        imperfect = missed[r] > 0.0 or passed[r] > 0.0
        for i in range(batch):
            j = u64(items[r, i])
            first = u64(earlier[j]) * u64(group * blocks)
            earlier[j] += 1
            if up[r, i] == 0.0 and down[r, i] == 0.0:
                continue
            asked, many = steps[row[r], j], i64(length[row[r], j])
            can = solvable[row[r], j]
            wrong[many], before[many] = 0.0, 0.0
            for t in range(many - 1, -1, -1):  # wrong[t]: chance that not all tokens from t on are right
                c = u64(asked[t])
                stay[t], slip[t] = f64(chances[c, u64(right[c])]), errs[c]
                wrong[t] = slip[t] + stay[t] * wrong[t + 1]
                before[t] = 0.0
            for g in range(counts[r, i] if counts.size else group):
                rewarded = rewards[r, i, g] > 0
                advantage = up[r, i] if rewarded else down[r, i]
                if advantage == 0.0:
                    continue
                if rewarded and can and not imperfect:
                    before[many] += advantage
                    continue
                start = first + u64(g * blocks)
                unit_block(start, j, update, role, keys[r], u[0])
                if imperfect or not can:
                    hit, false = (1.0 - missed[r], passed[r]) if rewarded else (missed[r], 1.0 - passed[r])
                    hit = (hit if can else false) * (1.0 - wrong[0])
                    if uniform[0] * (hit + false * wrong[0]) < hit:
                        before[many] += advantage
                        continue
                error, left, reach = 0, uniform[1] * wrong[0], 1.0
                for t in range(many):
                    if reach * slip[t] > 0.0:
                        error = t
                        left -= reach * slip[t]
                        if left < 0.0:
                            break
                    reach *= stay[t]
                before[error] += advantage
                for block in range(max((error + 2) // 4, 1), (many + 5) // 4):
                    unit_block(start + u64(block), j, update, role, keys[r], u[block])
                for t in range(error, many):
                    c = u64(asked[t])
                    mine, y, given = chances[c], right[c], sums[c]
                    left = f64(uniform[t + 2]) * (slip[t] if t == error else 1.0)
                    if t > error and left < f64(mine[u64(y)]):  # the likeliest
                        given[u64(y)] += advantage
                        continue
                    left -= f64(mine[u64(y)]) if t > error else 0.0
                    token = y
                    for v in range(tokens):
                        if v != y and mine[u64(v)] > 0:
                            token = v
                            left -= f64(mine[u64(v)])
                            if left < 0.0:
                                break
                    given[u64(token)] += advantage
            total = 0.0
            for t in range(many - 1, -1, -1):
                total += before[t + 1]
                if total != 0.0:
                    sums[asked[t], right[asked[t]]] += total
        for i in range(batch):
            earlier[u64(items[r, i])] = 0
