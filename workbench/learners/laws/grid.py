"""L5: a grid of tasks, each locked until one beside it is mastered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.errors import check_count, check_number
from workbench.lanes import Floats, Lanes, per_lane
from workbench.learners.law import Chances, Gradient, ItemBank, Law, Presets, decay_to, level_of, sigma, topic_of
from workbench.learners.signals import Signal, Visit


class GridState(NamedTuple):
    competence: Floats  # (R, side^dims) points in [0, 100]
    value: Floats  # (R,) the critic's V


@dataclass(frozen=True)
class PrerequisiteGrid(Law):
    """A grid of cells; visits to a cell help as soon as a cell below it is mastered.

    competence_c <- min(100, competence_c + kappa n_c [c is open]) - forgetting (competence_c - its start)
    p_i = competence of the item's cell / 100

    n_c: visits of the batch to cell c, whatever their rewards. Open: the cell with all coordinates 0, and every cell
    with `threshold` points in a cell one lower in some of the coordinates and equal in the others (2^dims - 1 cells),
    before the batch. Dynamics without a policy gradient: the order of visits decides, and success near one half matters
    little.

    theta0: every cell starts with 100 sigma(theta0) points, rounded; -10 by default, no points at all, as published.
    kappa: points per visit; 1 by default, as published. So a larger batch teaches more.
    side: cells along each coordinate, >= 1. dims: coordinates, >= 1; together at most 1e6 cells; 10 and 2 by default,
    as published. The first coordinate is floor(side sigma(b)), b the true difficulty; the others are the item's topic
    among side^(dims - 1) (`topic_of`), which labels of difficulty do not tell.
    threshold: points in (0, 100] that open the cells above; 75 by default, as published.
    Items that are never solved have no cell. gamma has no effect on visits; other signals scale them.
    Source: the toy student of TeachMyAgent (Romac et al. 2021, arXiv 2103.09815; first in Portelas et al. 2019,
    arXiv 1910.07224), which has no forgetting.
    Differs: all visits of a batch count at once; a cell that they open counts from the next batch on.
    """

    presets: ClassVar[Presets] = {"grid": {"theta0": -3.0}}  # locked cells; no policy gradient
    units: ClassVar[Mapping[str, str]] = {"kappa": "points per visit"}

    theta0: Lanes = -10.0
    kappa: Lanes = 1.0
    side: int = 10
    dims: int = 2
    threshold: Lanes = 75.0
    signal: Signal = field(default_factory=Visit)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("side", self.side, 1, 10**6)
        check_count("dims", self.dims, 1, 20)
        check_count("side^dims", self.side**self.dims, 1, 10**6)
        check_number("threshold", self.threshold, 0, 100, open_low=True)

    def start(self, theta0: Floats, bank: ItemBank) -> GridState:
        per_lane("threshold", self.threshold, len(theta0))
        cells = np.repeat(_points(theta0), self.side**self.dims, axis=1)
        return GridState(cells, np.full(len(theta0), 0.5))

    def chance(self, state: GridState, items: NDArray[np.int64], bank: ItemBank, cache: dict[str, Any]) -> Chances:
        if not cache:
            columns = self.side ** (self.dims - 1)
            level = level_of(bank, self.side)
            cache["cell"] = np.where(level < 0, -1, level * columns + topic_of(bank, columns))
        p = np.empty((len(state.competence), items.shape[1]), np.float32)
        kernels.look_up(items, cache["cell"], bank.row, state.competence / 100.0, p)
        return p

    def advance(self, state: GridState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> GridState:
        visits = np.empty_like(state.competence)
        kernels.sum_signals(gradient.items, gradient.signals, cache["cell"], bank.row, visits)
        gained = state.competence + np.reshape(self.kappa, (-1, 1)) * visits * self.open(state)
        lost = decay_to(_points(self.theta0), state.competence, np.reshape(self.forgetting, (-1, 1)))
        return state._replace(competence=np.minimum(gained, 100.0) - lost)

    def open(self, state: GridState) -> NDArray[np.bool_]:
        """(R, cells) which cells visits help in."""
        shape = (len(state.competence), *[self.side] * self.dims)
        mastered = (state.competence >= np.reshape(self.threshold, (-1, 1))).reshape(shape)
        below = np.pad(mastered, [(0, 0), *[(1, 0)] * self.dims])  # [1:] is the cell itself, [:-1] the one below
        opened = np.zeros(shape, bool)
        for down in product((False, True), repeat=self.dims):
            if any(down):
                opened |= below[(slice(None), *(slice(None, -1) if one else slice(1, None) for one in down))]
        opened = opened.reshape(len(opened), -1)
        opened[:, 0] = True
        return opened

    def score(self, state: GridState) -> Floats:
        """(R,) share of the cells with more than `threshold` points: the published student's score."""
        return np.asarray((state.competence > np.reshape(self.threshold, (-1, 1))).mean(axis=1))


def _points(theta0: Lanes) -> Floats:
    """(R, 1) or (1, 1) competence before training."""
    return np.rint(100.0 * sigma(np.reshape(theta0, (-1, 1))))
