"""Teacher-student curriculum learning: draw arms whose learning curve is steepest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.arms import ArmRule, arm_means, by_arm, softmax
from workbench.controllers.rule import Draw, Feedback, Floats, Lanes, Look, per_lane
from workbench.errors import (
    LARGEST,
    MOST_WINDOW,
    SMALLEST,
    InputError,
    check_choice,
    check_count,
    check_flag,
    check_number,
)
from workbench.pool import Pool
from workbench.streams import Role, uniforms

ESTIMATORS = ("online", "naive", "window", "sampling", "mean")
POLICIES = ("egreedy", "boltzmann")


class TeacherState(NamedTuple):
    value: Floats  # (R, K) estimate of each arm's slope
    last: Floats  # (R, K) the arm's latest score, 0 before the first
    history: Floats  # (R, K, W) its latest scores, or changes of score
    times: Floats  # (R, K, W) the updates of these entries
    entries: NDArray[np.int64]  # (R, K) number of entries so far
    updates: NDArray[np.int64]  # (R,)


@dataclass(frozen=True)
class TSCL(ArmRule):
    """Teacher-student curriculum learning: a bandit over arms, rewarded by the change of their scores.

    x_k: score, the mean reward of the arm's groups in this batch;  D_k: its change since the arm's last score
    estimator: how the slope of the learning curve is estimated,
      "online":   Q_k <- Q_k + lr (D_k - Q_k)
      "naive":    every `period` updates Q_k <- Q_k + lr (b_k - Q_k), b_k: least-squares slope of the arm's scores in
                  this period over their number 0, 1, ..
      "window":   Q_k = least-squares slope of the arm's last `window` scores over the updates they came from
      "sampling": Q_k = one of the arm's last `window` changes D_k, drawn anew for every batch (Thompson sampling)
      "mean":     Q_k = the mean of the arm's last `window` changes D_k
    policy: "egreedy", P(k) = (1 - epsilon) [k has the largest Q] + epsilon / K, the first part shared among ties; or
    "boltzmann", P(k) = exp(Q_k / tau) / sum_j exp(Q_j / tau). Items are uniform inside an arm.

    absolute: use |Q| instead, so that arms that are being forgotten are practised again.
    lr: in [0, 1]. epsilon: in [0, 1]. tau: in units of reward, 1e-6 to 1e6. window, period: 2 to 10000.
    Q before there is a slope: 0 for "online" and "naive"; 1, so that every arm is tried, for the others.
    Source: Matiisen, Oliver, Cohen, Schulman 2017, arXiv 1707.00183, its four algorithms in their batch form; numbers
    of its released code.
    Differs: the released code's default is Thompson sampling, TSCL(estimator="sampling") here; the default here is the
    paper's first algorithm, "online". "mean" is of that code alone, its teacher "sampling" with the policies egreedy
    and boltzmann. There scores come from a validation set, here from the groups trained on. An arm without feedback
    keeps its Q unless there is reversion, and its next change counts from its last score; the released code, online,
    takes the change of such arms as 0, and their next one too. "naive" leaves an arm with fewer than two scores in
    a period as it is, where that code assumes a slope of 1. Ties share where that code draws one.
    """

    name = "tscl"
    look = Look("#332288", (0, (8, 2)), "^")

    estimator: str = "online"
    absolute: bool = False
    policy: str = "egreedy"
    lr: Lanes = 0.1
    window: int = 10
    epsilon: Lanes = 0.1
    tau: Lanes = 4e-4
    period: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("estimator", self.estimator, ESTIMATORS)
        check_flag("absolute", self.absolute)
        check_choice("policy", self.policy, POLICIES)
        check_number("lr", self.lr, 0, 1)
        check_count("window", self.window, 2, MOST_WINDOW)
        check_number("epsilon", self.epsilon, 0, 1)
        check_number("tau", self.tau, SMALLEST, LARGEST)
        check_count("period", self.period, 2, MOST_WINDOW)

    @property
    def first(self) -> float:
        """Q before there is a slope."""
        return 0.0 if self.estimator in ("online", "naive") else 1.0

    def init(self, pool: Pool, lanes: int) -> TeacherState:
        for name in ("lr", "epsilon", "tau", "reversion"):
            per_lane(name, getattr(self, name), lanes)
        shape = lanes, len(self.arms(pool))
        width = {"online": 0, "naive": self.period}.get(self.estimator, self.window)
        history, times = np.zeros((2, *shape, width))
        entries, updates = np.zeros(shape, np.int64), np.zeros(lanes, np.int64)
        return TeacherState(np.full(shape, self.first), np.zeros(shape), history, times, entries, updates)

    def shares(self, state: TeacherState, draw: Draw) -> Floats:
        lanes, arms = state.value.shape
        value = self._sampled(state, draw) if self.estimator == "sampling" else state.value
        value = np.abs(value) if self.absolute else value
        if self.policy == "boltzmann":
            return softmax(value, per_lane("tau", self.tau, lanes))
        best = value == value.max(axis=1, keepdims=True)
        epsilon = per_lane("epsilon", self.epsilon, lanes)[:, None]
        return np.asarray((1 - epsilon) * best / best.sum(axis=1, keepdims=True) + epsilon / arms)

    def _sampled(self, state: TeacherState, draw: Draw) -> Floats:
        """(R, K) one of each arm's changes of score."""
        seeds, role, clock = draw.stream(Role.POSTERIOR)
        uniform = uniforms(seeds, Role(role), clock, state.value.shape[1])
        filled = np.minimum(state.entries, self.window)
        pick = (uniform * filled).astype(np.int64)
        drawn = np.take_along_axis(state.history, pick[:, :, None], axis=2)[:, :, 0]
        return np.where(filled > 0, drawn, self.first)

    def update(self, state: TeacherState, feedback: Feedback) -> TeacherState:
        score, groups = arm_means(self.arms(feedback.pool), feedback, feedback.means)
        there = groups > 0
        lr, back = (per_lane(name, getattr(self, name), len(score))[:, None] for name in ("lr", "reversion"))
        change, updates = score - state.last, state.updates + 1
        value = np.where(there, state.value, state.value + back * (self.first - state.value))
        history, times, count = state.history, state.times, state.entries
        if self.estimator == "online":
            value = np.where(there, value + lr * (change - value), value)
        else:
            entry = change if self.estimator in ("sampling", "mean") else score
            when = count if self.estimator == "naive" else np.broadcast_to(updates[:, None], count.shape)
            slot = np.arange(history.shape[2]) == (count % history.shape[2])[:, :, None]
            slot = slot & there[:, :, None]
            history, times = np.where(slot, entry[:, :, None], history), np.where(slot, when[:, :, None], times)
            count = count + there
        if self.estimator == "naive":
            slope, known = _slopes(history, times, count)
            due = (updates % self.period == 0)[:, None]
            value = np.where(due & known, value + lr * (slope - value), value)
            count = np.where(due, 0, count)
        elif self.estimator == "window":
            slope, known = _slopes(history, times, count)
            value = np.where(there & known, slope, value)
        elif self.estimator in ("sampling", "mean"):
            fade = np.where(there, 0.0, back)[:, :, None]
            history = history + fade * (self.first - history)
            filled = np.minimum(count, self.window)
            inside = np.arange(self.window) < filled[:, :, None]
            mean = np.where(inside, history, 0.0).sum(axis=2) / np.maximum(filled, 1)
            value = np.where(filled > 0, mean, value)
        return TeacherState(value, np.where(there, score, state.last), history, times, count, updates)

    @property
    def per_call(self) -> bool:
        return True

    def check_state(self, state: TeacherState, pool: Pool) -> None:
        if state.entries.min() < 0:
            raise InputError(f"state.rule.entries: must be >= 0, got {state.entries.min()}")

    def metrics(self, state: TeacherState) -> dict[str, Floats]:
        return by_arm("value", state.value)


def _slopes(history: Floats, times: Floats, count: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """(R, K) least-squares slopes of entries over times, and whether there are two entries or more."""
    width = history.shape[2]
    inside = np.arange(width) < np.minimum(count, width)[:, :, None]
    known = count >= 2
    middle = np.where(inside, times, 0.0).sum(axis=2) / np.maximum(inside.sum(axis=2), 1)
    centred = np.where(inside, times - middle[:, :, None], 0.0)
    spread = (centred**2).sum(axis=2)
    return (centred * history).sum(axis=2) / np.where(known, spread, 1.0), known
