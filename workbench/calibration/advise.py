"""advise(): which curriculum is worth it from the last state of a log, under all that is not known."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from workbench.calibration.advice import Advice
from workbench.calibration.candidates import CANDIDATES, Candidate
from workbench.calibration.discrepancy import OF_REAL_RUNS, Discrepancy
from workbench.calibration.fit import Fit
from workbench.calibration.futures import RECORDS, SERIES, Task, draws_of, known_futures, simulate_and_keep
from workbench.calibration.store import computed
from workbench.delivery import BATCH, check_delivery
from workbench.errors import (
    InputError,
    check_attempts,
    check_choice,
    check_count,
    check_flag,
    check_kind,
    check_number,
    shown,
)
from workbench.loop import record_steps
from workbench.pool.columns import numbers
from workbench.registry import BASELINE
from workbench.study.execute import refuse_unguarded_script

LANES = 96  # futures of each candidate


def advise(
    fit: Fit,
    steps: int = 200,
    batch: int = 64,
    rollouts: int = 8,
    candidates: Sequence[str] | None = None,
    *,
    origin: str = "end",
    probe: ArrayLike = (),
    labels_cost: int = 0,
    lag: int = 0,
    discrepancy: Discrepancy | None = OF_REAL_RUNS,
    lanes: int = LANES,
    seed: int = 0,
    jobs: int = 1,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Advice:
    """Which curriculum to use for the next updates of a logged run, and what it would save.

    fit: of `calibrate`. steps, batch, rollouts: of the run to come. candidates: names of controllers, with settings as
    in "adarft eta=5", by default CANDIDATES; uniform is always among them. origin: "end" goes
    on from the end of the longest logged run, "start" begins anew with the model as it was. probe: (H,) difficulties in
    logits of items on which success is measured; by default it is on the pool's own. labels_cost: rollouts that labels
    of the pool cost. lag: batches by which the curriculum hears of rewards late, as in `train`. discrepancy: what
    narrow batches lose of a future's gain, by default what real runs showed; None: nothing, the laws alone. lanes:
    futures of each candidate. seed, jobs, out, progress: as in `calibrate`.

    A future is a draw of the parameters of a law, as often as its weight says, with the items' difficulties drawn given
    the log. All candidates meet the same futures.
    Raises InputError for settings out of their domain and unknown candidates.
    """
    check_kind("fit", fit, Fit, "a Fit such as calibrate(log, pool)")
    check_flag("progress", progress)
    if discrepancy is not None:
        check_kind("discrepancy", discrepancy, Discrepancy, "a Discrepancy such as Discrepancy(0.4, 0.2), or None")
    tried = check_run(len(fit.pool), steps, batch, rollouts, candidates, labels_cost, lanes, seed, jobs,
                      lag)  # fmt: skip
    check_choice("origin", origin, ("end", "start"))
    probed = numbers("probe", probe) if len(np.atleast_1d(probe)) else np.empty(0)
    check_number("probe", probed if len(probed) else 0.0)
    if jobs > 1:
        refuse_unguarded_script()
    left_out = {one.label: why for one in tried if (why := one.lacks(fit.pool))}
    tried = [one for one in tried if one.label not in left_out]
    drawn = draws_of(fit, lanes, seed, origin, probed)
    looked = np.arange(len(fit.pool), len(fit.pool) + len(probed)) if len(probed) else np.arange(len(fit.pool))
    tasks = [Task(one, draws, fit.pool, looked, steps, batch, rollouts, int(lag)) for one in tried for draws in drawn]
    done = computed(tasks, known_futures, simulate_and_keep, out, jobs, ("advise", "part") if progress else None)
    found = dict(zip((task.key for task in tasks), done, strict=True))
    parts = {one.label: [found[task.key] for task in tasks if task.candidate is one] for one in tried}
    joined = {label: {name: np.concatenate([part[name] for part in of], axis=1)
                      for name in SERIES} for label, of in parts.items()}  # fmt: skip
    laws = np.concatenate([[draws.name] * len(draws.points) for draws in drawn])
    grid = record_steps(steps, max(1, steps // RECORDS))
    success, spent, narrowness = (np.stack([joined[one.label][name] for one in tried]) for name in SERIES)
    by_laws = Advice(fit, tuple(tried), grid, success, spent, narrowness, laws, left_out, labels_cost, int(lag))
    return by_laws if discrepancy is None else by_laws.less(discrepancy, seed)


def check_run(
    size: int, steps: int, batch: int, rollouts: int, candidates: Sequence[str] | None, labels_cost: int, lanes: int,
    seed: int, jobs: int, lag: int = 0,
) -> list[Candidate]:
    """The candidates of `advise`, uniform first. size: of the pool. Raises InputError for settings out of their domain
    and unknown candidates: to be asked before a log is fitted."""
    for name, value, low in (("steps", steps, 2), ("batch", batch, 1), ("rollouts", rollouts, 2), ("lanes", lanes, 8),
                             ("jobs", jobs, 1), ("labels_cost", labels_cost, 0)):  # fmt: skip
        check_count(name, value, low)
    check_delivery(lag, BATCH)
    check_count("seed", seed, 0, 2**32 - 1)
    check_attempts(batch, rollouts)
    if batch > size:
        raise InputError(f"batch: must be at most the {size} items of the pool, got {batch}")
    if candidates is not None and not isinstance(candidates, (list, tuple)):
        raise InputError(f"candidates: must be a list of names, got {shown(candidates)}")
    specs = list(CANDIDATES if candidates is None else candidates)
    tried = [Candidate.of(spec, steps) for spec in (specs if BASELINE in specs else [BASELINE, *specs])]
    tried.sort(key=lambda one: one.label != BASELINE)
    if len({one.label for one in tried}) < len(tried):
        raise InputError(f"candidates: must differ, got {', '.join(one.label for one in tried)}")
    return tried
