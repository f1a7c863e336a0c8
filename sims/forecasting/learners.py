"""The learners of real-run: what `workbench.calibration` fits to the visits of a log, and controls beside them.

The log has no labels. The items' logits at the start are a population's (`calibration.priors.Space`); where an item
lies, as `kernel` and `mixed` need to know, is read off its counts over the fitted visits,
b_i = ln((n - k + 1/2) / (k + 1/2)). It says nothing of the item's logit in the likelihood, which would count the log
twice. For laws in which theta0 only shifts logits, b has mean 0, as theta0 is the mean of the population.
Laws whose items gain by levels of difficulty (`chain`, `grid`, `tracing`) are left out: with levels read off the log
they buy likelihood by moving the levels apart at once, as if they had known where each item is. So is `policy`, which
trains a model of its own in each lane.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sims.forecasting.visits import VisitLog, log_of
from workbench.calibration.calibrate import Task, chosen, known_fit
from workbench.calibration.fit import LawFit, arrays_of
from workbench.calibration.priors import COMMON, FREE, SHIFTED, Space
from workbench.calibration.replay import Replay
from workbench.calibration.store import keep
from workbench.lanes import Floats
from workbench.learners import Law
from workbench.learners.learner import difficulty_to_logit
from workbench.pool import Pool
from workbench.registry import name_of

# Controls with the same observation model: "still" learns nothing, "trend" gains as many logits every update.
STILL, TREND = "still", "trend"
CONTROLS: dict[str, tuple[str, ...]] = {STILL: ("theta0",), TREND: ("theta0", "kappa")}  # and what is free in them
BOUNDED = {"guess": ("floor", "ceiling")}  # the other learners keep success between 0 and 1: in that it differs
ENOUGH = 120.0  # effective number of draws at which a fit is done


def law_of(name: str) -> Law:
    """The law of a learner or control; both controls are `natural`, which gains from every group alike."""
    if name in CONTROLS:
        return replace(law_of("natural"), kappa=0.0, forgetting=0.0)
    return chosen([name])[name]


@dataclass(frozen=True)
class Past:
    """Visits to fit to. seed: of the order of items within a visit, and of the fits."""

    log: VisitLog
    seed: int = 0

    @cached_property
    def b(self) -> Floats:
        """(I,) where items lie, logits, from all their counts."""
        k, n = self.log.totals
        return difficulty_to_logit(100 * (1 - k / n), n)

    @cached_property
    def pool(self) -> Pool:
        """The items, without labels or categories."""
        return Pool(np.full(len(self.log.items), 50.0))

    def task(
        self, name: str, cut: int | None = None, enough: float = ENOUGH, near: Fitted | None = None
    ) -> Task:
        """What is fitted of a learner. cut: the visit after which groups are predicted as well; by default none is.
        near: the learner fitted to fewer visits."""
        law, log = law_of(name), log_of(self.log, self.seed)
        free = CONTROLS.get(name, (*COMMON, *FREE.get(name_of(law), ()), *BOUNDED.get(name, ())))
        space = Space(law, log.updates, len(self.pool), labelled=False, free=free)
        b = self.b - self.b.mean() if isinstance(law, SHIFTED) else self.b
        last = log.updates if cut is None else log_of(self.log.until(cut), self.seed).updates
        return Task(name, space, log, self.pool, b, last, self.seed, enough, near.fit.points if near else None)


@dataclass(frozen=True)
class Fitted:
    """A learner fitted to visits."""

    task: Task
    fit: LawFit

    @classmethod
    def of(cls, task: Task, kept: Path | None = None) -> Fitted:
        """kept: a folder that has the fit, or keeps it."""
        fit = None if kept is None else known_fit(kept, task)
        if fit is None:
            fit = task.fit()
            if kept is not None:
                keep(kept, task.key, arrays_of(fit))
        return cls(task, fit)

    @property
    def replay(self) -> Replay:
        return Replay(self.task.log, self.task.pool, self.task.b)

    def table(self) -> list[dict[str, Any]]:
        """A row per parameter: median and 80 % interval."""
        ends = {name: np.quantile(values, [0.5, 0.1, 0.9]) for name, values in self.fit.natural.items()}
        heads = ("estimate", "lower80", "upper80")
        return [{"parameter": name} | dict(zip(heads, values.tolist(), strict=True)) for name, values in ends.items()]
