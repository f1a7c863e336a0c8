"""Estimates of all arms of a pool and learner at once: the numbers of the summary, as arrays with an entry per arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench.analysis import stats

Columns: TypeAlias = Mapping[str, NDArray[Any]]
Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """What is estimated: horizon of a run in steps, level of the intervals, comparisons that the tests adjust for."""

    horizon: float
    level: float
    comparisons: int


def sign_patterns(comparisons: int) -> int:
    """Random sign patterns of a test: enough for its p to survive Holm over so many comparisons."""
    return max(10_000, 100 * comparisons)


def estimates(runs: Columns, arms: Sequence[Rows], base: Rows, ask: Question, costs: Sequence[str]) -> dict[str, Any]:
    """Columns of the summary, (A,) each, of arms on one pool and learner.

    runs: columns of the table of runs, `seed` and those of `tables.MEASURED` and costs. arms: the rows of each, in
    order of seeds. base: the baseline's rows, none if nothing is compared.
    Beside the summary's own: mean_gain, pairs, equal: mean paired difference in area, over how many seeds, and whether
    it is 0 on each.
    Arms of the same seeds are one array program: the random numbers of bootstraps and tests are drawn once for them.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    shared = []
    for number, rows in enumerate(arms):
        own, theirs = (np.isin(runs["seed"][one], runs["seed"][other]) for one, other in ((rows, base), (base, rows)))
        shared.append((own, theirs))
        timed = bool(np.isfinite(runs["threshold"][rows[0]]))
        compared = bool(theirs.any()) and rows[0] not in base
        groups.setdefault((compared, timed, own.tobytes(), theirs.tobytes()), []).append(number)
    columns: dict[str, Any] = {}
    for (compared, timed, *_), numbers in groups.items():
        own, theirs = shared[numbers[0]]
        alike = Alike(runs, np.array([arms[number] for number in numbers]), own, base[theirs], compared, timed)
        for name, values in alike.row(ask, costs).items():
            columns.setdefault(name, np.empty(len(arms), np.asarray(values).dtype))[numbers] = values
    return columns


@dataclass(frozen=True, eq=False)
class Alike:
    """Arms (A, N) of as many seeds, which have the same seeds in common with the baseline.

    rows: (A, N) of `runs`. own: (N,) which of them are on common seeds. base: (n,) rows of the baseline on these.
    compared: whether the arms are compared with it; timed: whether there is a threshold.
    """

    runs: Columns
    rows: Rows
    own: NDArray[np.bool_]
    base: Rows
    compared: bool
    timed: bool

    def of(self, name: str) -> NDArray[Any]:
        return self.runs[name].take(self.rows)

    def paired(self, name: str) -> NDArray[Any]:
        return self.runs[name].take(self.rows[:, self.own])

    def of_base(self, name: str) -> NDArray[Any]:
        return self.runs[name].take(self.base)

    def row(self, ask: Question, costs: Sequence[str]) -> dict[str, Any]:
        """The columns, (A,) or one value for all, in the order of the summary."""
        unknown = np.full(len(self.rows), np.nan)
        steps = speedup = gain = stats.Estimates(unknown, unknown, unknown)
        if self.timed:
            steps = stats.intervals(self.of("steps_to_threshold"), np.mean, ask.level)
        if self.timed and self.compared:
            speedup = stats.speedups(self._base_crossing(), self._crossings(), ask.horizon, ask.level)
        gains, base_auc = self.paired("auc") - self.of_base("auc"), self.of_base("auc")
        if not self.compared:
            gains = unknown[:, None]
        if self.compared and self.own.all():
            auc, gain = stats.arms_with_gains(self.of("auc"), base_auc, ask.level)
        else:
            auc = stats.intervals(self.of("auc"), level=ask.level)
            if self.compared:
                gain = stats.arms_with_gains(self.paired("auc"), base_auc, ask.level)[1]
        saved = mean(self.of_base("rollouts_to_threshold")[None]) - mean(self.paired("rollouts_to_threshold"))
        return {
            "seeds": self.rows.shape[1],
            "threshold": self.of("threshold")[:, 0],
            **named("steps", steps),
            "censored": (~self.of("reached")).sum(axis=1),
            "rollouts": mean(self.of("rollouts_to_threshold")),
            "rollouts_saved": saved,
            **named("speedup", speedup),
            **named("auc", auc),
            **named("auc_gain", gain),
            "p": stats.sign_flip_tests(gains, sign_patterns(ask.comparisons)) if self.compared else unknown,
            "improvement": [stats.probability_of_improvement(one, base_auc) for one in self.paired("auc")]
            if self.compared
            else unknown,
            **named("final", stats.intervals(self.of("final"), level=ask.level)),
            "silent_share": mean(self.of("silent_share")),
            "coverage": mean(self.of("coverage")),
            **{f"mean_{name}": mean(self.of(name)) for name in costs},
            "mean_gain": gains.mean(axis=1),
            "pairs": len(self.base),
            "equal": (gains == 0).all(axis=1),
        }

    def _crossings(self) -> stats.Crossing:
        return stats.Crossing(self.paired("steps_to_threshold"), self.paired("reached"))

    def _base_crossing(self) -> stats.Crossing:
        return stats.Crossing(self.of_base("steps_to_threshold"), self.of_base("reached"))


def mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """(A,) means of (A, N) over what is not NaN; NaN where all is."""
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    total = np.where(there, values, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0))


def named(name: str, estimate: stats.Estimates) -> dict[str, Any]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
