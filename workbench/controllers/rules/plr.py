"""PLR: replay items by the rank of their learning signal, and by how long they have not been seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.arms import absolute_advantage
from workbench.controllers.items import Weights
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Rule, per_lane
from workbench.errors import InputError, check_choice, check_number
from workbench.pool import Pool
from workbench.streams import Role

SCORES = ("l1",)


class ReplayState(NamedTuple):
    score: NDArray[np.float32]  # (R, I) S of items seen, 0 of others
    last: NDArray[np.int32]  # (R, I) batches drawn when the item's latest feedback came; -1 before the first
    order: NDArray[np.int32]  # (R, I) items by falling score, then those not seen yet
    seen: NDArray[np.int64]  # (R,) items with feedback


@dataclass(frozen=True)
class PLR(Rule):
    """Prioritized level replay.

    each slot:  with probability `fresh` a random item not seen yet, as long as there are some; else one of those seen:
    P(i) = (1 - staleness) P_S(i) + staleness P_C(i)
    P_S(i) proportional to rank(S_i)^(-1 / beta), rank 1 = the largest score;   P_C(i) proportional to c - C_i

    S_i: score of the item's latest group, "l1": mean |r - mean r|, here for the value loss |GAE| of the paper, since
    the group's mean plays the critic. c: batches drawn; C_i: those drawn when i was last seen.
    beta: temperature > 0. staleness: the paper's rho in [0, 1]. fresh: nu in [0, 1].
    Source: Jiang, Grefenstette, Rocktaeschel 2021, arXiv 2010.03934, its prioritization by rank and by staleness; beta
    and staleness as in its Procgen runs, fresh as in its code.
    Differs: a batch holds no item twice. Each slot chooses between new, score and staleness as above; then score slots
    are filled, each from the items left, then staleness slots, then new ones. Equal scores, of which groups of few
    rollouts have many, share their ranks at random. Items are seen when their feedback comes.
    """

    score: str = "l1"
    beta: Lanes = 0.1
    staleness: Lanes = 0.1
    fresh: Lanes = 0.5

    memory = "item"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("score", self.score, SCORES)
        check_number("beta", self.beta, 0, open_low=True)
        check_number("staleness", self.staleness, 0, 1)
        check_number("fresh", self.fresh, 0, 1)

    def init(self, pool: Pool, lanes: int) -> ReplayState:
        for name in ("beta", "staleness", "fresh"):
            per_lane(name, getattr(self, name), lanes)
        shape = lanes, len(pool)
        order = np.array(np.broadcast_to(np.arange(len(pool), dtype=np.int32), shape))
        return ReplayState(np.zeros(shape, np.float32), np.full(shape, -1, np.int32), order, np.zeros(lanes, np.int64))

    def weights(self, state: ReplayState, draw: Draw) -> Weights:
        """(R, I) P(i) among the items seen, equal scores sharing the weight of their ranks; 0 for the others."""
        lanes = len(state.seen)
        power = 1 / per_lane("beta", self.beta, lanes)
        share = per_lane("staleness", self.staleness, lanes)
        out = np.zeros(state.score.shape, np.float32)
        for r, known in enumerate(state.seen):
            if known:
                items = state.order[r, :known]
                by_rank = np.arange(1, known + 1) ** -power[r]
                _, run, length = np.unique(-state.score[r, items], return_inverse=True, return_counts=True)
                by_score = (np.bincount(run, by_rank) / length)[run] / by_rank.sum()
                wait = np.maximum(draw.step - state.last[r, items], 0)
                mixed = (1 - share[r]) * by_score + share[r] * wait / wait.sum() if wait.any() else by_score
                out[r, items] = mixed
        return out

    def select(self, state: ReplayState, draw: Draw, count: int) -> tuple[Items, ReplayState]:
        lanes = len(state.seen)
        fresh, stale, beta = (per_lane(name, getattr(self, name), lanes) for name in ("fresh", "staleness", "beta"))
        out = np.empty((lanes, count), np.int64)
        known = state.order, state.seen, state.score, state.last
        kernels.replay(*known, draw.step, fresh, stale, 1 / beta, *draw.luck(Role.SCORE), out)
        return out, state

    def update(self, state: ReplayState, feedback: Feedback) -> ReplayState:
        score, last = state.score.copy(), state.last.copy()
        order, seen = np.empty_like(state.order), np.empty_like(state.seen)
        values = absolute_advantage(feedback, "mean").astype(np.float32)
        groups = feedback.items, values, feedback.rollouts
        kernels.rerank(state.order, state.seen, state.score, score, last, *groups, feedback.step, order, seen)
        return ReplayState(score, last, order, seen)

    def check_state(self, state: ReplayState, pool: Pool) -> None:
        known = np.take_along_axis(state.last, state.order.clip(0, len(pool) - 1), axis=1) >= 0
        sound = (np.sort(state.order, axis=1) == np.arange(len(pool))).all()
        sound &= (known == (np.arange(len(pool)) < state.seen[:, None])).all()
        if not sound:
            raise InputError("state.rule: must order all positions of the pool, those seen first, got another order")

    def metrics(self, state: ReplayState) -> dict[str, Floats]:
        total = state.score.sum(axis=1).astype(np.float64)
        mean = np.divide(total, state.seen, out=np.full(len(total), np.nan), where=state.seen > 0)
        return {"seen": state.seen / state.score.shape[1], "mean_score": mean}
