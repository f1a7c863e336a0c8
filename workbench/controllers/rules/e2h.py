"""E2H Reasoner: the shares of the difficulty levels follow a fixed schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from workbench.controllers.arms import ORDERED, ArmRule, by_arm, softmax
from workbench.controllers.rule import Draw, Floats, Items, Lanes, Look, per_lane
from workbench.errors import LARGEST, MOST_STEPS, SMALLEST, check_choice, check_flag, check_number
from workbench.pool import Pool

SCHEDULES = ("gaussian", "cosine", "balanced", "classic")


class ShareState(NamedTuple):
    share: Floats  # (R, K) of the last batch; 0 before the first


@dataclass(frozen=True)
class E2H(ArmRule):
    """Easy-to-hard probabilities over K levels, k = 0 (easiest) to K - 1; items are uniform inside a level.

    x = min(s / horizon, 1), s = batches drawn so far, from 0
    gaussian: q_k ~ exp(-(k - mu)^2 / (2 width^2)), mu = x^beta (K - 1);  P(k) = p_min + (1 - K p_min) q_k
    cosine:   P(k) = a e_k + (1 - a) e_{K-1-k}, a = (1 + cos(pi x)) / 2, e_k = (K - k) 2 / (K (K + 1))
    balanced: P(k) = 1 / K.   classic: P(k) = 1 for k = min(floor(s K / horizon), K - 1), otherwise 0

    horizon: steps of the schedule, 1 to 1e7, set as in LinearSchedule.
    beta: 1e-6 to 1e6; below 1 easy levels fade early. width: in levels, 0.001 to 1e6.
    min_prob: whether p_min is 2 / (K (K + 1)) or 0; for "gaussian" only.
    by: "difficulty" or "level", whose arms come in order. reversion: must be 0, as nothing is estimated.
    A level with fewer items than it is asked for is filled up from the others.
    Presets: the released configuration, E2H(schedule="cosine"); the example of its README, E2H().
    Source: Parashar et al. 2025, arXiv 2506.06632; schedules and numbers of its released code.
    Differs: that code walks through shuffled items of a level, here a batch draws them at random; its cosine schedule
    has a floor of p_min, below which its probabilities never fall, so there is none here.
    """

    name = "e2h"
    look = Look("#009E73", (0, (1, 1)), "d")
    units: ClassVar[Mapping[str, str]] = {"horizon": "steps"}

    schedule: str = "gaussian"
    horizon: Lanes = 100
    beta: Lanes = 0.5
    width: Lanes = 0.5
    min_prob: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("by", self.by, ORDERED)
        check_number("reversion", self.reversion, 0, 0)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_number("horizon", self.horizon, 1, MOST_STEPS)
        check_number("beta", self.beta, SMALLEST, LARGEST)
        check_number("width", self.width, 1e-3, LARGEST)
        check_flag("min_prob", self.min_prob)

    def init(self, pool: Pool, lanes: int) -> ShareState:
        for name in ("horizon", "beta", "width", "reversion"):
            per_lane(name, getattr(self, name), lanes)
        return ShareState(np.zeros((lanes, len(self.arms(pool)))))

    def shares(self, state: ShareState, draw: Draw) -> Floats:
        lanes, levels = state.share.shape
        level = np.arange(levels)
        horizon, beta, width = (per_lane(n, getattr(self, n), lanes) for n in ("horizon", "beta", "width"))
        x = np.minimum(draw.step / horizon, 1.0)[:, None]
        if self.schedule == "gaussian":
            centre = x ** beta[:, None] * (levels - 1)
            least = 2 / (levels * (levels + 1)) if self.min_prob else 0.0
            return np.asarray(least + (1 - levels * least) * softmax(-((level - centre) ** 2), 2 * width**2))
        if self.schedule == "cosine":
            early = (levels - level) * 2 / (levels * (levels + 1))
            a = (1 + np.cos(np.pi * x)) / 2
            return np.asarray(a * early + (1 - a) * early[::-1])
        if self.schedule == "classic":
            active = np.minimum(np.floor(draw.step * levels / horizon), levels - 1)
            return np.asarray(level == active[:, None], np.float64)
        return np.full((lanes, levels), 1 / levels)

    def select(self, state: ShareState, draw: Draw, count: int) -> tuple[Items, ShareState]:
        share = self.shares(state, draw)
        return self.draw_items(share, draw, count), ShareState(share)

    def metrics(self, state: ShareState) -> dict[str, Floats]:
        return by_arm("share", state.share)
