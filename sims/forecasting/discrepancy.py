"""What a forecast does not know and items of like difficulty share: its size, from forecasts within the fitted visits.

    z_it -> z_it + omega(b_i) ln(t / T)     t > T, the last visit fitted to
    omega ~ Gaussian process, mean 0, covariance size^2 exp(-|b - b'| / LENGTH)

Learning curves run in the logarithm of training (a success rate of logit B ln(C / C_mid), Khatri et al. 2025,
arXiv 2510.13786): omega is the error of a forecast in B, by difficulty. It widens bands and moves no mean: the law
says the mean. What items share is a part of the drift that was fitted to each: as much is taken from it, so that the
forecast of a single group stays as wide as it was.

The size is judged as the forecast itself would be, at earlier origins: fit visits 1 to k, forecast k + 1 to T, and
weigh sizes by the likelihood of these errors, given also what the simulated futures spread by themselves. On the log
of one_shot_rlvr, such errors within visits 1 to 15 were likelier under ln(t / T) than under a slope per visit or a
walk, and had no shock common to all items of a visit; that chose the form, LENGTH among 1, 3 and 9 too.
Source: model discrepancy as a Gaussian process, Kennedy and O'Hagan 2001; ours in logits and log time.
Differs: forecasts from different origins meet the same visits, so their log-likelihoods are averaged, not summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm
from sklearn.covariance import ledoit_wolf

from workbench.lanes import Floats
from workbench.streams import Role, generator

STEP = 0.25  # logits between grid points
GRID = np.arange(-10.0, 10.0 + STEP / 2, STEP)  # (U,) difficulties
LENGTH = 3.0  # logits over which errors are alike
CENTRE, SD = 0.2, 1.0  # weak prior of the size: log-normal, logits per factor e of training
SIZES = np.geomspace(0.005, 2.0, 31)
KERNEL = np.exp(-np.abs(GRID[:, None] - GRID) / LENGTH)


def origins(fit_until: int) -> list[int]:
    """Visits to forecast from within those fitted to: after a third, half and two thirds of them, at least 2."""
    return sorted({k for k in (fit_until // 3, fit_until // 2, 2 * fit_until // 3) if 2 <= k < fit_until})


def knots(b: Floats) -> NDArray[np.int64]:
    """(I,) the grid point next to each difficulty."""
    return np.asarray(np.clip(np.rint((b - GRID[0]) / STEP), 0, len(GRID) - 1).astype(np.int64))


@dataclass(frozen=True)
class Errors:
    """Of one forecast within the fitted visits, of the mean pass rates of M visits x bins.

    error: (M,) observed less forecast. rates: (D, M) of D simulated futures. moved: (M, U) what a logit at each grid
    point of difficulty moves them by, times ln(t / k).
    """

    error: Floats
    rates: Floats
    moved: Floats

    def log_likelihoods(self) -> Floats:
        """Of each of SIZES."""
        spread, _ = ledoit_wolf(self.rates)
        shared, none = self.moved @ KERNEL @ self.moved.T, np.zeros(len(self.error))
        return np.array(
            [multivariate_normal.logpdf(self.error, none, spread + s**2 * shared, allow_singular=True) for s in SIZES]
        )


class Shared(NamedTuple):
    """omega (D, I) of each future and item, and its size (D, 1)."""

    omega: Floats
    size: Floats


@dataclass(frozen=True)
class Discrepancy:
    """Sizes and how probable they are."""

    weights: Floats  # of SIZES

    @classmethod
    def judged(cls, errors: list[Errors]) -> Discrepancy:
        """From forecasts within the fitted visits; from the prior alone where there are none."""
        log = norm.logpdf(np.log(SIZES), np.log(CENTRE), SD)
        if errors:
            log = log + np.mean([one.log_likelihoods() for one in errors], axis=0)
        weights = np.exp(log - log.max())
        return cls(weights / weights.sum())

    def row(self) -> dict[str, object]:
        """Median and 80 % interval of the size, as a row of parameters.csv."""
        ends = np.exp(np.interp((0.5, 0.1, 0.9), self.weights.cumsum() - self.weights / 2, np.log(SIZES)))
        return {"parameter": "discrepancy"} | dict(zip(("estimate", "lower80", "upper80"), ends.tolist(), strict=True))

    def draw(self, b: Floats, draws: int, seed: int) -> Shared:
        """For D futures of items of difficulty b."""
        rng = generator(seed, Role.POSTERIOR, 1)
        size = rng.choice(SIZES, draws, p=self.weights)
        omega = rng.standard_normal((draws, len(GRID))) @ np.linalg.cholesky(KERNEL).T
        size[1::2], omega[1::2] = size[: draws // 2 * 2 : 2], -omega[: draws // 2 * 2 : 2]  # pairs: no mean moves
        return Shared((size[:, None] * omega)[:, knots(b)], size[:, None])
