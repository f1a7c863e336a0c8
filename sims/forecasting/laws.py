"""What each law of learning adds to the logits of the items of a log, visit by visit, driven by given signals.

A mechanism keeps a state for D draws of the parameters: an array (D, S), or the PolicyState of D networks. `advance`
takes the signals (D, I) of one visit of all I items; `added` reads off x in columns (D, C), and `column` (I,) says
which of them is an item's. Parameters are numbers (D = 1) or columns (D, 1). The equations are those of
workbench.learners with a whole epoch as the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from sims.forecasting import passes
from workbench.learners import Chain, KnowledgeTracing, Law, MultiSkill, PrerequisiteGrid, TinyPolicy
from workbench.learners.law import ItemBank, level_of, topic_of
from workbench.learners.laws.grid import GridState
from workbench.learners.laws.policy import CONTEXTS, RIGHT, PolicyState, base_weights, find_problems, read_policy
from workbench.pool import Pool
from workbench.streams import Role, generator

Floats = NDArray[np.float64]
Parameters = dict[str, Any]
State = Any
HIGHEST = 0.999  # the most that a cell, a skill or an answer is read off as: its logit must be a number
PROMPTS, LEVELS = 128, 10  # of a network: items in a batch, at most, and levels of equal width in sigma(b)
EACH = np.arange(CONTEXTS)


def bank_of(b: Floats) -> ItemBank:
    """The items of a log as the laws see them: difficulties b (I,), no categories."""
    return ItemBank(b[None].astype(np.float32), np.zeros(1, np.int64), Pool(np.full(len(b), 50.0)))


class OneSkill:
    """x <- x + kappa mean(S) - forgetting x: all items gain alike."""

    by_level = False  # whether an item's column comes from its difficulty

    def __init__(self, law: Law, b: Floats) -> None:
        self.law, self.items = law, len(b)
        self.column = np.zeros(self.items, np.int64)

    @property
    def columns(self) -> int:
        return int(self.column.max()) + 1

    def start(self, p: Parameters) -> State:
        return np.zeros((np.size(p["rho"]), self.columns))

    def taught(self, signals: Floats, p: Parameters) -> Floats:
        """1 / I sum_i K_ji S_i."""
        return np.asarray(signals.mean(axis=1, keepdims=True))

    def advance(self, state: State, signals: Floats, p: Parameters) -> State:
        return np.asarray(state + p["kappa"] * self.taught(signals, p) - p["forgetting"] * state)

    def added(self, state: State, p: Parameters) -> Floats:
        return np.asarray(state)


class OwnSkill(OneSkill):
    """x_i <- x_i + kappa S_i - forgetting x_i: nothing spreads."""

    def __init__(self, law: Law, b: Floats) -> None:
        super().__init__(law, b)
        self.column = np.arange(self.items)

    def taught(self, signals: Floats, p: Parameters) -> Floats:
        return signals


class Near(OwnSkill):
    """x_j <- x_j + kappa / I sum_i exp(-|b_i - b_j| / length) S_i - forgetting x_j."""

    def __init__(self, law: Law, b: Floats) -> None:
        super().__init__(law, b)
        self.order = np.argsort(b, kind="stable")
        self.gaps = np.diff(b[self.order])

    def taught(self, signals: Floats, p: Parameters) -> Floats:
        draws = np.size(p["length"])
        decay = np.exp(-self.gaps / np.reshape(p["length"], (-1, 1)))
        out = np.empty((draws, self.items))
        passes.spread(np.broadcast_to(signals, out.shape), decay, self.order, out)
        return out


class Grouped(OneSkill):
    """Items in groups that gain alike; what a group sums up is 1 / I of the whole."""

    def sums(self, signals: Floats) -> Floats:
        """(D, C) sum of the signals of each group."""
        group = np.zeros((self.items, self.columns))
        group[np.arange(self.items), self.column] = 1.0
        return np.asarray(signals @ group)


class Skills(Grouped):
    """x <- x + kappa w * M g - forgetting x, g_k = 1 / I sum of S_i of skill k, w_k the gate at theta0 + x_(k-1)."""

    law: MultiSkill

    def __init__(self, law: Law, b: Floats) -> None:
        super().__init__(law, b)
        self.column = topic_of(bank_of(b), self.law.skills)

    @property
    def columns(self) -> int:
        return self.law.skills

    def start(self, p: Parameters) -> Floats:
        return np.zeros((np.size(p["rho"]), self.law.skills))

    def advance(self, state: Floats, signals: Floats, p: Parameters) -> Floats:
        law, g = self.law, self.sums(signals) / self.items
        mixed = (1 - p["transfer"]) * g + p["transfer"] * g.sum(axis=1, keepdims=True)
        before = (p["theta0"] + state[:, :-1] - law.tau) / law.width
        gate = np.concatenate([np.ones((len(state), 1)), 1 - law.prerequisite * expit(-before)], axis=1)
        return np.asarray(state + p["kappa"] * gate * mixed - p["forgetting"] * state)


class Steps(Grouped):
    """eta_k <- eta_k + kappa / I sum_i S_i m_ik (1 - s_k) / (1 - p_i) - forgetting (eta_k - theta0), eta = theta0 + x.

    An item's logit moves with that of its chain's success prod_k s_k^m_k.
    """

    by_level = True
    law: Chain

    def __init__(self, law: Law, b: Floats) -> None:
        super().__init__(law, b)
        bank, longest, kinds = bank_of(b), self.law.longest, self.law.kinds
        level, topic = level_of(bank, longest)[0], topic_of(bank, kinds)
        self.column = topic * longest + level
        turn = (np.arange(kinds)[:, None, None] + np.arange(longest)) % kinds  # kind of a chain's step
        own = np.arange(longest)[:, None] >= np.arange(longest)  # whether a chain of that level has the step
        self.takes = ((turn[..., None] == np.arange(kinds)) & own[None, ..., None]).sum(axis=2)
        self.takes = self.takes.reshape(kinds * longest, kinds).astype(np.float64)  # m, chains x kinds

    @property
    def columns(self) -> int:
        return self.law.kinds * self.law.longest

    def start(self, p: Parameters) -> Floats:
        return np.zeros((np.size(p["rho"]), self.law.kinds))

    def logs(self, state: Floats, p: Parameters) -> Floats:
        """(D, C) log success of every chain there is."""
        return np.asarray(-np.logaddexp(0, -p["theta0"] - state) @ self.takes.T)

    def advance(self, state: Floats, signals: Floats, p: Parameters) -> Floats:
        per_step = self.sums(signals) / -np.expm1(self.logs(state, p)) @ self.takes
        gain = per_step * expit(-p["theta0"] - state) / self.items
        return np.asarray(state + p["kappa"] * gain - p["forgetting"] * state)

    def added(self, state: Floats, p: Parameters) -> Floats:
        now, before = (log - np.log(-np.expm1(log)) for log in (self.logs(state, p), self.logs(0 * state, p)))
        return np.asarray(now - before)


class Experienced(Grouped):
    """Groups that start at the success in the middle of their level of difficulty, as the run's model is no beginner.

    first: (C,) the state of each group at the start.
    """

    by_level = True
    first: Floats

    @property
    def columns(self) -> int:
        return len(self.first)

    def start(self, p: Parameters) -> Floats:
        return np.tile(self.first, (np.size(p["rho"]), 1))


class Cells(Experienced):
    """competence_c <- min(100, competence_c + kappa n_c [c is open]) - forgetting (competence_c - its start).

    An item's logit moves with that of its cell's competence.
    """

    law: PrerequisiteGrid

    def __init__(self, law: Law, b: Floats) -> None:
        super().__init__(law, b)
        bank, side, dims = bank_of(b), self.law.side, self.law.dims
        others = side ** (dims - 1)
        self.column = level_of(bank, side)[0] * others + topic_of(bank, others)
        self.first = 100 * (1 - (np.arange(side**dims) // others + 0.5) / side)

    def advance(self, state: Floats, signals: Floats, p: Parameters) -> Floats:
        opened = self.law.open(GridState(state, np.zeros(len(state))))
        gained = np.minimum(state + p["kappa"] * self.sums(signals) * opened, 100)
        return np.asarray(gained - p["forgetting"] * (state - self.first))

    def added(self, state: Floats, p: Parameters) -> Floats:
        return np.asarray(logit(np.minimum(state / 100, HIGHEST)) - logit(self.first / 100))


class Knowledge(Experienced):
    """1 - L_k <- (1 - L_k) (1 - learn)^(kappa n_k), then forgetting (L_k - its start); n_k the share of visits.

    An item's logit of being known moves with that of its skill.
    """

    law: KnowledgeTracing

    def __init__(self, law: Law, b: Floats) -> None:
        super().__init__(law, b)
        self.column = level_of(bank_of(b), self.law.skills)[0]
        self.first = 1 - (np.arange(self.law.skills) + 0.5) / self.law.skills

    def advance(self, state: Floats, signals: Floats, p: Parameters) -> Floats:
        practice = p["kappa"] * self.sums(signals) / self.items
        learned = (1 - state) * (1 - (1 - self.law.learn) ** practice)
        return np.asarray(state + learned - p["forgetting"] * (state - self.first))

    def added(self, state: Floats, p: Parameters) -> Floats:
        return np.asarray(logit(np.minimum(state, HIGHEST)) - logit(self.first))


class Network(Grouped):
    """w <- a step of Adam down the slope of - sum_i v_i z_i / sum_i length_i, batch by batch, then forgetting.

    Item i is an addition whose success P_i is near its own at first, z_i the logit of P_i, v_i the signal. It is the
    loss of TinyPolicy with the answers behind the rewards averaged, as the log has none: given the rewards of n
    attempts, advantages A of mean 0, the mean of sum A d log pi is n v_i dz_i. An item's logit moves with the mean of
    its level. Batches are of like size and drawn once; one for each visit would be too few, as Adam remembers steps.
    """

    by_level = True
    law: TinyPolicy

    def __init__(self, law: Law, b: Floats) -> None:
        super().__init__(law, b)
        self.bank = bank_of(b)
        self.column = level_of(self.bank, LEVELS)[0]
        self.of_level = np.maximum(np.bincount(self.column, minlength=LEVELS), 1)
        problems = find_problems(self.law, np.zeros(1), self.bank)
        item, step = np.nonzero(np.arange(self.law.longest) < problems.length[0][:, None])
        self.asks = np.zeros((self.items, CONTEXTS))  # how often each context
        np.add.at(self.asks, (item, problems.steps[0][item, step]), 1.0)
        self.first = self.logits(base_weights(self.law.width)[None].astype(np.float64))
        order = generator(0, Role.SHUFFLE).permutation(self.items)
        self.batches = np.array_split(order, -(-self.items // PROMPTS))

    @property
    def columns(self) -> int:
        return LEVELS

    def start(self, p: Parameters) -> PolicyState:
        state = self.law.start(np.zeros(np.size(p["rho"])), self.bank)
        double: list[Any] = [part.astype(np.float64) for part in state]  # single digits would blur the fit's slopes
        return PolicyState(*double)

    def advance(self, state: PolicyState, signals: Floats, p: Parameters) -> PolicyState:
        lost = 1 - (1 - np.ravel(p["forgetting"])) ** (1 / len(self.batches))  # so much in a visit
        law, v = replace(self.law, kappa=np.ravel(p["kappa"]), forgetting=lost), signals * self.law.signal.reference
        for batch in self.batches:
            asks = self.asks[batch]
            log_prob, pull_back = read_double(state.weights)
            slope = np.zeros_like(log_prob)  # dz_i = d log P_i / (1 - P_i)
            slope[:, EACH, RIGHT] = v[:, batch] / np.expm1(log_success(log_prob, asks)) @ asks / asks.sum()
            state = law.step(state, pull_back(slope), np.ones(len(slope), bool))
        return state

    def added(self, state: PolicyState, p: Parameters) -> Floats:
        return self.sums(self.logits(np.asarray(state.weights, np.float64)) - self.first) / self.of_level

    def logits(self, weights: Floats) -> Floats:
        """(D, I) z of networks (D, P)."""
        log = log_success(read_double(weights)[0], self.asks)
        return np.asarray(log - np.log(-np.expm1(log)))


def read_double(weights: NDArray[Any]) -> tuple[Floats, Callable[[Floats], Floats]]:
    """`read_policy` of weights in double precision."""
    read: Any = read_policy  # typed for the single precision of the learner
    result: tuple[Floats, Callable[[Floats], Floats]] = read(weights)
    return result


def log_success(log_prob: Floats, asks: Floats) -> Floats:
    """(D, B) log P of problems that ask the contexts (B, C) so often, of policies (D, C, V)."""
    return np.asarray(np.minimum(log_prob[:, EACH, RIGHT] @ asks.T, np.log(HIGHEST)))


MECHANISMS: dict[str, type[OneSkill]] = {
    "tabular": OwnSkill,
    "kernel": Near,
    "skills": Skills,
    "chain": Steps,
    "grid": Cells,
    "tracing": Knowledge,
    "policy": Network,
}


def mechanism(name: str, law: Law, b: Floats) -> OneSkill:
    return MECHANISMS.get(name, OneSkill)(law, b)
