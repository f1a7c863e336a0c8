"""Prompt curriculum learning (PCL): a small model predicts success, and items near one half are trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.items import random_items, take_best
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Look, Rule, per_lane, require
from workbench.errors import LARGEST, SMALLEST, InputError, check_count, check_number
from workbench.pool import Pool

MEMORY, SQUARES = 0.9, 0.999  # Adam's decay of the gradient's mean and of its square


class ValueState(NamedTuple):
    weight: Floats  # (R, F + 1) w of the standardised features, last the constant's
    mean: Floats  # (R, F + 1) Adam's mean of the gradient
    square: Floats  # (R, F + 1) and of its square
    updates: NDArray[np.int64]  # (R,) steps of Adam
    error: Floats  # (R,) root mean squared error of V on the last groups, before the update on them; NaN at first
    forwards: Floats  # (R,) predictions so far


@dataclass(frozen=True)
class PCL(Rule):
    """The B of k B random candidates whose predicted success rate V is nearest tau.

    V(x) = sigma(w . x), x = the item's features in standard deviations, and 1
    w: one step of Adam on the mean of (V(x_i) - p_i)^2 over the groups of each batch, p_i their mean reward

    tau: target success rate in [0, 1]. candidates: k, >= 1; at most the pool. lr: size of a step of Adam, 1e-6
    to 1e6.
    Before the first feedback V = 1/2 everywhere: the first batch is random.
    Source: Gao et al. 2025, arXiv 2510.01135, equation 2; tau and k as in its main experiments.
    Differs: the paper's V is a language model with a head, of the policy's size; here it is a linear model of the
    pool's features, and its step size is ours. As there, V lags one update behind the policy.
    """

    name = "pcl"
    look = Look("#44AA99", (0, (4, 1.5)), "X")

    tau: Lanes = 0.5
    candidates: int = 4
    lr: Lanes = 0.1

    needs = ("features",)
    fits_model = True
    extra = "one prediction per candidate"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("tau", self.tau, 0, 1)
        check_count("candidates", self.candidates)
        check_number("lr", self.lr, SMALLEST, LARGEST)

    def init(self, pool: Pool, lanes: int) -> ValueState:
        require(self, pool, *self.needs)
        for name in ("tau", "lr"):
            per_lane(name, getattr(self, name), lanes)
        zeros = np.zeros((lanes, pool.standard_features(slice(1)).shape[1] + 1))
        return ValueState(zeros, zeros, zeros, np.zeros(lanes, np.int64), np.full(lanes, np.nan), np.zeros(lanes))

    def values(self, state: ValueState, draw: Draw, items: Items) -> Floats:
        """(R, C) V of the items (R, C)."""
        pairs = zip(state.weight, items, strict=True)
        return np.stack([_sigma(_inputs(draw.pool, mine), weight) for weight, mine in pairs])

    def select(self, state: ValueState, draw: Draw, count: int) -> tuple[Items, ValueState]:
        candidates = random_items(draw, min(self.candidates * count, len(draw.pool)))
        tau = per_lane("tau", self.tau, len(candidates))[:, None]
        score = -np.abs(self.values(state, draw, candidates) - tau)
        chosen = take_best(score.astype(np.float32), draw, count)
        forwards = state.forwards + candidates.shape[1]
        return np.take_along_axis(candidates, chosen, axis=1), state._replace(forwards=forwards)

    def update(self, state: ValueState, feedback: Feedback) -> ValueState:
        answered, lr = feedback.rollouts > 0, per_lane("lr", self.lr, len(state.weight))
        weight, mean, square, error = (part.copy() for part in (state.weight, state.mean, state.square, state.error))
        updates = state.updates + answered.any(axis=1)
        for lane in np.flatnonzero(answered.any(axis=1)):
            there = answered[lane]
            x = _inputs(feedback.pool, feedback.items[lane, there])
            v = _sigma(x, weight[lane])
            miss = v - feedback.means[lane, there]
            gradient = ((2 * miss * v * (1 - v))[:, None] * x).mean(axis=0)
            mean[lane] = MEMORY * mean[lane] + (1 - MEMORY) * gradient
            square[lane] = SQUARES * square[lane] + (1 - SQUARES) * gradient**2
            m, s = mean[lane] / (1 - MEMORY ** updates[lane]), square[lane] / (1 - SQUARES ** updates[lane])
            weight[lane] -= lr[lane] * m / (np.sqrt(s) + 1e-8)
            error[lane] = np.sqrt((miss**2).mean())
        return ValueState(weight, mean, square, updates, error, state.forwards)

    @property
    def per_call(self) -> bool:
        return True

    def check_state(self, state: ValueState, pool: Pool) -> None:
        if not np.isfinite(state.weight).all():
            raise InputError("state.rule.weight: must be finite numbers, got others")

    def metrics(self, state: ValueState) -> dict[str, Floats]:
        """value_error: root mean squared error of V on the last groups; forwards: predictions so far."""
        return {"value_error": state.error, "forwards": state.forwards}


def _inputs(pool: Pool, items: NDArray[np.int64]) -> Floats:
    """(N, F + 1) standardised features of the items, and 1."""
    return np.concatenate([pool.standard_features(items), np.ones((len(items), 1))], axis=1)


def _sigma(x: Floats, weight: Floats) -> Floats:
    """(N,) sigma(w . x), by tanh, which cannot overflow; no matrix product, whose sums may depend on the threads."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (x * weight).sum(axis=1)))
