"""Learning progress: draw arms whose success rate changes, up or down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.arms import ArmRule, arm_means, by_arm
from workbench.controllers.rule import SOLID, Draw, Feedback, Floats, Lanes, Look, per_lane
from workbench.errors import check_number
from workbench.pool import Pool

ROUNDING = 1e-12  # arms whose progress differs by less are alike


class ProgressState(NamedTuple):
    fast: Floats  # (R, K) success, averaged over the last steps; 0 before the first feedback
    slow: Floats  # (R, K) `fast`, averaged over the last steps
    seen: NDArray[np.bool_]  # (R, K) arms that ever had feedback


@dataclass(frozen=True)
class LearningProgress(ArmRule):
    """Arms in proportion to how fast their success rate changes, up or down, rated higher where success is rare.

    p_fast <- p_fast + ema (p - p_fast),   p_slow <- p_slow + ema (p_fast - p_slow),   both p at the first feedback
    q(p) = p (1 - theta) / (p + theta (1 - 2 p)),   LP = |q(p_fast) - q(p_slow)|
    w = sigmoid((LP - mean) / std) over the arms with any success so far, 0 for the others; 1 for all if there are none
    P(k) = (1 - uniform) w_k / sum_j w_j + uniform / K; items are uniform inside an arm

    p: mean reward of the arm's groups in this batch. ema: in [0, 1]. theta: in (0, 1); below 1/2 q stretches low p.
    uniform: share drawn from all arms alike, in [0, 1]; with 0, an arm without success is never tried again.
    Source: Kanitscheider et al. 2021, arXiv 2106.14876; weights, start and `uniform` as in the released code of OMNI
    (Zhang et al. 2023, arXiv 2306.01711) and of Syllabus.
    Differs: those evaluate every task from time to time and subtract the success of a random agent; here p is what
    training rollouts say, and an arm without feedback keeps its averages unless there is reversion.
    """

    name = "progress"
    look = Look("#0072B2", SOLID, "H")

    ema: Lanes = 0.1
    theta: Lanes = 0.1
    uniform: Lanes = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("ema", self.ema, 0, 1)
        check_number("theta", self.theta, 0, 1, open_low=True, open_high=True)
        check_number("uniform", self.uniform, 0, 1)

    def init(self, pool: Pool, lanes: int) -> ProgressState:
        for name in ("ema", "theta", "uniform", "reversion"):
            per_lane(name, getattr(self, name), lanes)
        shape = lanes, len(self.arms(pool))
        return ProgressState(np.zeros(shape), np.zeros(shape), np.zeros(shape, bool))

    def progress(self, state: ProgressState) -> Floats:
        """(R, K) LP."""
        theta = per_lane("theta", self.theta, len(state.fast))[:, None]
        fast, slow = (p * (1 - theta) / (p + theta * (1 - 2 * p)) for p in state[:2])
        return np.asarray(np.abs(fast - slow))

    def shares(self, state: ProgressState, draw: Draw) -> Floats:
        progress, solved = self.progress(state), state.fast > 0
        solved = solved | ~solved.any(axis=1, keepdims=True)
        rated = solved.sum(axis=1, keepdims=True)
        mean = np.where(solved, progress, 0.0).sum(axis=1, keepdims=True) / rated
        off = np.where(solved, progress - mean, 0.0)
        std = np.sqrt((off**2).sum(axis=1, keepdims=True) / rated)
        score = off / np.where(std > ROUNDING, std, 1.0)
        weight = np.where(solved, 1 / (1 + np.exp(-score)), 0.0)
        uniform = per_lane("uniform", self.uniform, len(weight))[:, None]
        return np.asarray((1 - uniform) * weight / weight.sum(axis=1, keepdims=True) + uniform / weight.shape[1])

    @property
    def per_call(self) -> bool:
        return True

    def update(self, state: ProgressState, feedback: Feedback) -> ProgressState:
        success, groups = arm_means(self.arms(feedback.pool), feedback, feedback.means)
        ema, back = (per_lane(n, getattr(self, n), len(success))[:, None] for n in ("ema", "reversion"))
        there, new = groups > 0, ~state.seen
        fast = np.where(new, success, state.fast + ema * (success - state.fast))
        slow = np.where(new, success, state.slow + ema * (fast - state.slow))
        unseen = (1 - back) * state.fast, (1 - back) * state.slow
        return ProgressState(np.where(there, fast, unseen[0]), np.where(there, slow, unseen[1]), state.seen | there)

    def metrics(self, state: ProgressState) -> dict[str, Floats]:
        return by_arm("progress", self.progress(state))
