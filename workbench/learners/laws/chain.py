"""L4: problems of several steps, all of which must succeed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.errors import check_count
from workbench.kernels.arithmetic import saturated
from workbench.kernels.compiling import Array, compiled
from workbench.lanes import Floats
from workbench.learners.law import Chances, Gradient, ItemBank, Law, Presets, decay_to, level_of, topic_of


class ChainState(NamedTuple):
    eta: Floats  # (R, K) log-odds that a step of each kind succeeds
    value: Floats  # (R,) the critic's V


@dataclass(frozen=True)
class Chain(Law):
    """Items are chains of L steps; one wrong step spoils the answer.

    p_i = prod_k s_k^m_ik,   s_k = sigma(eta_k),   m_ik of the L_i steps of item i are of kind k
    eta_k <- eta_k + kappa / B sum_i S_i m_ik (1 - s_k) / (1 - p_i) - forgetting (eta_k - theta0)

    S_i stands for p (1 - p), so the update is the policy gradient dp / d eta_k = m_k (1 - s_k) p. Long chains start
    silent, for a time exponential in L; short ones teach the steps of long ones (a relay). With one kind of step, L
    steps teach most at p = (L / (L + 1))^L: 0.5 for L = 1, down to 1 / e.

    theta0: where each eta starts, logits.
    longest: steps of the hardest items, whole, 1 to 1000, 1 to 16 in use; 8 by default: at theta0 = -1.5 they succeed
    once in 800,000 times, so that only shorter ones can lead there. L = 1 + floor(longest sigma(b)), b the true
    difficulty: each number of steps has an equal share of the difficulty scale.
    kinds: kinds of steps, K, 1 to 1000, 1 to 8 in use; 1 by default: any short chain leads to any long one. An item's
    steps take turns over the kinds, from the item's topic on (`topic_of`).
    Source: ours, the policy gradient of a product; compare the relay and the plateaus of Huang et al. 2026,
    arXiv 2602.14872.
    """

    # several steps that must all succeed
    presets: ClassVar[Presets] = {"chain": {"theta0": -0.5, "kappa": 0.1, "kinds": 4}}

    longest: int = 8
    kinds: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("longest", self.longest, 1, 1000)
        check_count("kinds", self.kinds, 1, 1000)

    def start(self, theta0: Floats, bank: ItemBank) -> ChainState:
        return ChainState(np.repeat(theta0[:, None], self.kinds, axis=1), np.full(len(theta0), 0.5))

    def chance(self, state: ChainState, items: NDArray[np.int64], bank: ItemBank, cache: dict[str, Any]) -> Chances:
        if not cache:
            level, topic = level_of(bank, self.longest), topic_of(bank, self.kinds)
            cache["chain"] = np.where(level < 0, -1, topic * self.longest + level)
        p = np.empty((len(state.eta), items.shape[1]), np.float32)
        kernels.look_up(items, cache["chain"], bank.row, np.exp(self._logs(state)), p)
        return p

    def advance(self, state: ChainState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> ChainState:
        logs = self._logs(state)
        total, gain = np.empty_like(logs), np.empty_like(state.eta)
        kernels.sum_signals(gradient.items, gradient.signals, cache["chain"], bank.row, total)
        chain_gain(total, logs, state.eta, self.longest, gain)
        step = (self.kappa * gradient.weight)[:, None] * gain
        lost = decay_to(np.reshape(self.theta0, (-1, 1)), state.eta, np.reshape(self.forgetting, (-1, 1)))
        return state._replace(eta=state.eta + step - lost)

    def _logs(self, state: ChainState) -> Floats:
        """(R, K longest) log success of every chain there is."""
        logs = np.empty((len(state.eta), self.kinds * self.longest))
        chain_logs(state.eta, self.longest, logs)
        return logs


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def chain_logs(eta: Array, longest: int, out: Array) -> None:
    """out (R, K longest): log success of chains, entry c longest + L - 1 for L steps of kinds c, c + 1, ... mod K.

    eta (R, K): log-odds that a step of each kind succeeds.
    """
    kinds = eta.shape[1]
    step = np.empty(kinds)
    for r in range(eta.shape[0]):
        for k in range(kinds):
            step[k] = -np.log1p(np.exp(saturated(-eta[r, k])))
        for c in range(kinds):
            total = 0.0
            for j in range(longest):
                total += step[(c + j) % kinds]
                out[r, c * longest + j] = total


@compiled
def chain_gain(total: Array, logs: Array, eta: Array, longest: int, out: Array) -> None:
    """out (R, K) = sum over chains of their total signal (R, K longest) x m_k (1 - s_k) / (1 - p).

    m_k of a chain's steps are of kind k, s_k = sigma(eta_k), p = e^logs is the chain's success.
    """
    kinds = eta.shape[1]
    for r in range(eta.shape[0]):
        out[r, :] = 0.0
        for c in range(kinds):
            for j in range(longest):
                signal = total[r, c * longest + j]
                if signal != 0.0:
                    signal /= -np.expm1(logs[r, c * longest + j])
                    for i in range(j + 1):
                        out[r, (c + i) % kinds] += signal
        for k in range(kinds):
            out[r, k] /= 1.0 + np.exp(saturated(eta[r, k]))
