"""What futures leave out: on real runs narrow batches gain less than the laws say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from workbench.errors import InputError, check_count, check_number, check_one_number, shown
from workbench.extras import named_extra
from workbench.lanes import Floats
from workbench.streams import Role, generator

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("setting", "arm", "forecast", "forecast_sd", "exposed", "real", "real_se")
ERRORS = ("forecast_sd", "real_se")
LEAST = 1e-6  # what is smaller is no error, and exposes nothing


@dataclass(frozen=True)
class Discrepancy:
    """The share of a future's gain that narrow batches lose.

    s'(t) = s(t) - c nu(t) max(0, s(t) - s(0)),   c ~ N(mean, sd^2), one draw per future

    s: success over the updates t of a future, as a law has it. nu: mean over the batches until then of max(0, 1 - sd of
    the difficulties in the batch / sd in the pool), labels in logits: 0 for batches as spread as the pool, 1 for those
    of one difficulty. All candidates of a future have the same c. mean: [-2, 2], sd: [0, 2], shares without unit. s' is
    kept in [0, 1].
    Source: ours. A discrepancy between a simulator and what it speaks for, estimated where both are known (Kennedy and
    O'Hagan 2001, Bayesian calibration of computer models, J. R. Stat. Soc. B 63). A uniform log cannot tell it.
    """

    mean: float
    sd: float

    def __post_init__(self) -> None:
        for name, low in (("mean", -2), ("sd", 0)):
            check_one_number(name, getattr(self, name), low, 2)
            object.__setattr__(self, name, float(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.mean:.2f} +- {self.sd:.2f}"

    def draws(self, count: int, seed: int) -> Floats:
        """(count,) draws of c. count: >= 0. seed: one whole number in [0, 2^32)."""
        check_count("count", count, 0)
        check_count("seed", seed, 0, 2**32 - 1)
        return self.mean + self.sd * generator(seed, Role.DISCREPANCY).standard_normal(count)

    @classmethod
    def of(cls, table: pd.DataFrame) -> Discrepancy:
        """From forecasts that were held against real runs: what is to be expected of c in a further setting.

        table: a row per arm with setting, arm, forecast and forecast_sd of its gain over futures without discrepancy,
        exposed, by how much a discrepancy of 1 would lower that gain, and real and real_se, its mean gain over real
        runs. Gains and exposed in success, [-1, 1]; forecast_sd and real_se in [0, 1], at least one of them above 0.
        forecast - real = c_i exposed + N(0, forecast_sd^2 + real_se^2) in setting i, least squares; c_i are a sample of
        settings, whose variance is Paule and Mandel's (1982, J. Res. Natl. Bur. Stand. 87). sd holds that variance and
        the error of the mean. Arms of a setting are taken as independent. Raises InputError for values out of these
        ranges, for an arm that comes twice, for under two settings, and for one in which no batch was narrow.
        """
        with named_extra():
            from workbench.analysis.frame import check_numbers, check_table
        table = check_table(table, "table", list(COLUMNS), ["setting", "arm"])
        check_numbers(table, "table", list(COLUMNS[2:]), finite=True)
        if table["setting"].isna().any():
            raise InputError("table: must have a setting in every row, got one without")
        for name in COLUMNS[2:]:
            check_number(f"table: {name}", table[name].to_numpy(np.float64), 0 if name in ERRORS else -1, 1)
        found, errors = [], []
        for setting, rows in table.groupby("setting", observed=True):
            forecast, forecast_sd, x, real, real_se = (rows[name].to_numpy(np.float64) for name in COLUMNS[2:])
            v = forecast_sd**2 + real_se**2
            if not v.min() > LEAST**2:
                raise InputError(f"table: must have forecast_sd or real_se above 0, got neither in {shown(setting)}")
            if not np.abs(x).max() > LEAST:
                raise InputError(f"table: must have a narrow arm in every setting, got none in {shown(setting)}")
            known = float((x**2 / v).sum())
            found.append(float((x * (forecast - real) / v).sum()) / known)
            errors.append(1 / known)
        if len(found) < 2:
            raise InputError(f"table: must have at least two settings, got {len(found)}")
        mean, between, error = random_effects(np.array(found), np.array(errors))
        return cls(mean, float(np.sqrt(between + error)))


def exposed(success: Floats, narrowness: Floats) -> Floats:
    """nu(t) max(0, s(t) - s(0)), what a discrepancy of c = 1 takes away. All (..., E, R)."""
    return np.asarray(narrowness * np.maximum(0.0, success - success[..., :1, :]))


def random_effects(found: Floats, variance: Floats) -> tuple[float, float, float]:
    """Mean of estimates (K,) with their variances (K,), variance between, squared error of the mean: Paule and Mandel.

    The variance between is where sum_i (x_i - mean)^2 / (v_i + between) is K - 1, or 0 where it is less even so.
    """

    def excess(between: float) -> float:
        w = 1 / (variance + between)
        mean = (w * found).sum() / w.sum()
        return float((w * (found - mean) ** 2).sum() - (len(found) - 1))

    most = float(np.ptp(found) ** 2 * len(found))
    between = float(brentq(excess, 0.0, most)) if excess(0.0) > 0 else 0.0
    w = 1 / (variance + between)
    return float((w * found).sum() / w.sum()), between, float(1 / w.sum())


OF_REAL_RUNS = Discrepancy(0.34, 0.12)  # of real_runs/results/forecasts/discrepancy.csv
