"""Grids of ability, and posteriors on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from workbench.difficulty.irt.responses import Floats

REACH, SPACING = 6.0, 0.2  # of the coarsest grid of abilities, in sds
WHOLE = 200  # points up to which a grid is not thinned to where persons are
NEGLIGIBLE = 1e-12  # posterior weight of a node
BLOCK = 50_000  # numbers that are worked on at a time: they stay in the processor's cache


@dataclass(frozen=True)
class _Grid:
    """Standard abilities z = spacing * place, on which a posterior is a sum: exact to exp(-2 pi^2 (sd / spacing)^2)."""

    spacing: float
    place: NDArray[np.int64]

    @property
    def nodes(self) -> Floats:
        return np.asarray(self.spacing * self.place, dtype=np.float64)

    @property
    def log_prior(self) -> Floats:
        return np.asarray(np.log(self.spacing / np.sqrt(2 * np.pi)) - self.nodes**2 / 2, dtype=np.float64)

    def refined(self, weight: Floats) -> _Grid:
        """A grid at most 8 times finer for the posteriors (P, Q); the same one where it resolves and holds them all."""
        mean, sd = _moments(weight, self.nodes)
        sharpest = max(float(sd.min()), self.spacing / 8)
        spacing = self.spacing if sharpest > 0.9 * self.spacing else sharpest
        most = int(REACH / spacing)
        every = np.arange(-most, most + 1)
        if every.size > WHOLE:
            reach = self.spacing + 10 * sd
            begin, end = (np.clip((mean + side * reach) / spacing, -most, most) for side in (-1, 1))
            edges = np.zeros(every.size + 1)
            np.add.at(edges, np.floor(begin).astype(int) + most, 1)
            np.add.at(edges, np.ceil(end).astype(int) + most + 1, -1)
            every = every[np.cumsum(edges)[:-1] > 0]
        if spacing < self.spacing:
            return _Grid(spacing, every)
        needed = np.clip(np.rint((mean + np.outer([-6, 6], sd)) / spacing), -most, most)
        return self if np.isin(needed, self.place).all() else _Grid(spacing, every)


COARSE = _Grid(SPACING, np.arange(-round(REACH / SPACING), round(REACH / SPACING) + 1))


def _moments(weight: Floats, nodes: Floats) -> tuple[Floats, Floats]:
    """Means and sds (P,) of the posteriors."""
    mean = weight @ nodes
    return mean, np.asarray(np.sqrt(np.maximum(weight @ nodes**2 - mean**2, 0.0)))


def _settled(s: Floats, n: Floats, a: Floats, d: Floats, c: Floats, grid: _Grid = COARSE) -> tuple[_Grid, Floats]:
    """A grid that resolves the posteriors of all persons, and their weights (P, Q)."""
    while True:
        _, weight = _posterior(s, n, a, d, c, grid)
        finer = grid.refined(weight)
        if finer is grid:
            return grid, weight
        grid = finer


def _posterior(s: Floats, n: Floats, a: Floats, d: Floats, c: Floats, grid: _Grid) -> tuple[Floats, Floats]:
    """Log marginal likelihood (P,) and weights (P, Q) of the nodes, with a standard normal prior."""
    guessing = c.any()
    joint = grid.log_prior + (0.0 if guessing else np.outer(s @ a, grid.nodes) + (s @ d)[:, None])
    joint = np.broadcast_to(joint, (len(s), grid.place.size)).copy()
    size = max(1, BLOCK // grid.place.size)
    for begin in range(0, len(a), size):
        some = slice(begin, begin + size)
        z = a[some, None] * grid.nodes + d[some, None]
        log_wrong = np.log1p(-c[some])[:, None] - np.maximum(z, 0) - np.log(1 + np.exp(-np.abs(z)))  # ln (1 - P)
        if guessing:
            log_right = np.log(np.clip(-np.expm1(log_wrong), 1e-300, 1.0))
            joint += s[:, some] @ log_right + (n[:, some] - s[:, some]) @ log_wrong
        else:
            joint += n[:, some] @ log_wrong
    total = logsumexp(joint, axis=1)
    return total, np.exp(joint - total[:, None])
