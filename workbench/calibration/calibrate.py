"""calibrate(): fit every learner to a log, and weigh the learners by what they predict."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from workbench.calibration.evidence import Groups, log_evidence
from workbench.calibration.fit import Fit, LawFit, arrays_of, from_arrays
from workbench.calibration.heldout import Looks, looks_of
from workbench.calibration.log import COUNTED, Counts, Log
from workbench.calibration.priors import Space
from workbench.calibration.replay import Replay, difficulty_of, known_pool
from workbench.calibration.sampler import explore
from workbench.calibration.store import computed, digest, keep, kept, key_of, own_digest
from workbench.errors import InputError, check_count, check_flag, check_kind, check_one_number, shown
from workbench.lanes import Floats
from workbench.learners import Law
from workbench.learners.laws import Interference, KernelTransfer
from workbench.pool import Pool
from workbench.registry import find_law, name_of
from workbench.streams import Role, generator
from workbench.study.execute import refuse_unguarded_script
from workbench.study.identity import array_digest, code_digest, describe, sources_of

LEARNERS = ("scalar", "grpo", "natural", "adam", "guess", "kernel", "interference", "mixed", "tabular", "skills")
FEWEST = 10  # updates of a log
ROUND, ENOUGH = 128, 250.0  # points drawn at once; effective number at which a fit is done
DRAWS = 512  # equally weighted draws that are kept


@dataclass(frozen=True)
class Task:
    """One law to fit. b: (I,) difficulties that the law sees. cut: the update after which groups are predicted; the
    last one where none are. near: (D, P) draws of a fit that this one is near to, which saves time. looks: evaluations
    that count as evidence.
    """

    name: str
    space: Space
    log: Log
    pool: Pool
    b: Floats
    cut: int
    seed: int
    enough: float
    near: Floats | None = None
    looks: Looks | None = None

    @cached_property
    def key(self) -> str:
        """SHA-256, shortened, of all that the fit depends on, the code included."""
        looks = None if self.looks is None else [
            self.looks.pool.digest, *(array_digest(of) for of in (*self.looks.counts, self.looks.b))]  # fmt: skip
        content = {"law": describe(self.space.law), "sources": sources_of(self.space.law), "code": code_digest(),
                   "looks": looks, "own": own_digest(), "cut": self.cut, "seed": self.seed, "pool": self.pool.digest,
                   "log": digest(self.log), "numbers": [ROUND, self.enough, DRAWS],
                   "b": hashlib.sha256(self.b.tobytes()).hexdigest(), "labelled": self.space.labelled,
                   "free": self.space.free, "warm_up": self.space.warm_up,
                   "near": None if self.near is None else array_digest(self.near)}  # fmt: skip
        return key_of(content)

    def fit(self, tell: Callable[[int, float, float], object] = lambda number, power, effective: None) -> LawFit:
        """Draws given the whole log, and how well the later groups are predicted from the earlier ones."""
        space, replay = self.space, Replay(self.log, self.pool, self.b)
        counts = Counts(*(getattr(self.log, name) for name in COUNTED))
        if self.looks is not None:
            counts = Counts(*(np.append(own, more) for own, more in zip(counts, self.looks.counts, strict=True)))
            replay = Replay(self.log, self.looks.pool, self.looks.b, self.looks.counts, len(self.pool))
        groups = Groups(counts)
        later: list[Floats] = []  # (D, J) of each call: log chance of each item's later groups given its earlier ones

        def log_likelihood(points: Floats) -> Floats:
            law = space.law_at(points)
            zeta, given = space.zeta(points, replay), space.observation(points, law)
            whole = log_evidence(groups, zeta, given, int(counts.step.max()))
            first = whole if self.cut == self.log.updates else log_evidence(groups, zeta, given, self.cut)
            later.append((whole - first).astype(np.float32))
            return np.stack([first.sum(axis=1), whole.sum(axis=1)], axis=1)

        found = explore(
            space.log_prior, space.points, log_likelihood, len(space.priors), ROUND, self.enough, self.seed, tell,
            self.near,
        )  # fmt: skip
        early, whole = found.posterior(0), found.posterior(1)
        rows = whole.rows(DRAWS, float(generator(self.seed, Role.CALIBRATION, 2**31).random()))
        predictive = logsumexp(np.concatenate(later).astype(np.float64) + early.log_weights[:, None], axis=0)
        has_later = np.isin(groups.items, counts.item[counts.step > self.cut])
        return LawFit(space, whole.points[rows], np.where(has_later, predictive, np.nan), whole.log_evidence,
                      min(early.effective, whole.effective))  # fmt: skip


def calibrate(
    log: Log | str | os.PathLike[str],
    pool: Pool | None = None,
    learners: Sequence[str | Law] | None = None,
    *,
    heldout: Pool | None = None,
    warm_up: int | None = None,
    seed: int = 0,
    enough: float = ENOUGH,
    jobs: int = 1,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Fit:
    """Learners fitted to the log of a run, with weights between them.

    log: a Log, or what `Log.load` takes. pool: the items; its labels are where the items' difficulties lie, up to a
    spread that is fitted. Without a pool, or labels, difficulties are latent around one population, and laws that need
    to know where an item lies are left out.
    learners: names or laws, by default LEARNERS. A law's step, start and forgetting are free, its floor and ceiling
    where it has them, and what `priors.FREE` names; its other settings stay.
    heldout: the items of the log's evaluations, with labels. Then evaluations count as evidence: a law's chances of
    these items, of which it learns nothing, explain them, too. Without it they are kept out.
    warm_up: updates until the learning rate of the logged run was reached, linearly, >= 0; by default what the log says
    (a run folder of real_runs), or 0. Laws fitted without it take slow first updates for a law of their own.
    enough: effective number of draws at which a fit is done, >= 20. seed: of the random streams. jobs: worker
    processes. out: a folder that keeps each fitted law, so that a killed call goes on; a temporary one by default.
    progress: whether to show a bar.

    The likelihood is that of `calibration.evidence`, with the law driven by the logged rewards (`calibration.replay`).
    Where a rule chose the items, it is the likelihood given that choice. Weights are by stacking
    (`calibration.stacking`): each law predicts the last third of the updates from the first two thirds.

    Raises InputError where nothing can be known: all groups silent, fewer than 10 updates, a single item; for items
    that are not in the pool; for a learner named twice or unknown.
    """
    if not isinstance(log, Log):
        log = Log.load(log)
    check_flag("progress", progress)
    check_count("jobs", jobs)
    check_one_number("enough", enough, 20, 10_000)
    check_count("seed", seed, 0, 2**32 - 1)
    rising = log.warm_up if warm_up is None else check_count("warm_up", warm_up, 0)
    if jobs > 1:
        refuse_unguarded_script()
    log, pool = placed(log, pool)
    check_log(log)
    b = difficulty_of(pool)
    laws = chosen(LEARNERS if learners is None else learners)
    reasons = {name: reason for name, law in laws.items() if (reason := left_out(law, b is not None))}
    cut = 2 * log.updates // 3
    seen = known_pool(pool)
    looks, told = looks_of(log, pool, heldout)
    tasks = [Task(name, Space(law, log.updates, len(pool), b is not None, warm_up=rising), log, seen,
                  np.zeros(len(pool)) if b is None else b, cut, seed, enough, looks=looks)
             for name, law in laws.items() if name not in reasons]  # fmt: skip
    if not tasks:
        raise InputError(
            f"learners: must have one that can be fitted, got {'; '.join(f'{n}: {r}' for n, r in reasons.items())}"
        )
    fitted = computed(tasks, known_fit, fit_and_keep, out, jobs, ("calibrate", "learner") if progress else None)
    later = 0 if looks is None else int((looks.counts.step > cut).sum())
    return Fit(log, pool, cut, dict(zip((task.name for task in tasks), fitted, strict=True)), reasons, later, told)


def placed(log: Log, pool: Pool | None) -> tuple[Log, Pool]:
    """The log on its pool; a pool of the log's items, without difficulties, where none is given."""
    if pool is None:
        none = np.full(len(log.items), np.nan)
        pool = Pool(none, ids=np.array(log.items, dtype=str), name="items of the log")
    check_kind("pool", pool, Pool, "a Pool such as Pool.load(path)")
    return log.on(pool), pool


def check_log(log: Log) -> None:
    """InputError where nothing can be known."""
    if log.silent_share == 1:
        raise InputError("log: must have a group with successes and failures, got none: a policy gradient learns "
                         "nothing from groups that are all right or all wrong")  # fmt: skip
    if log.updates < FEWEST:
        raise InputError(f"log: must have at least {FEWEST} updates, got {log.updates}")
    if len(np.unique(log.item)) < 2:
        raise InputError("log: must have at least two items, got one")


def chosen(learners: Sequence[str | Law], field: str = "learners") -> dict[str, Law]:
    """Laws by name. Raises InputError for an unknown name, and for one that comes twice."""
    if not isinstance(learners, (list, tuple)) or not learners:
        raise InputError(f"{field}: must be a list of names or laws, got {shown(learners)}")
    found: dict[str, Law] = {}
    for one in learners:
        law = MIXED if one == "mixed" else one if isinstance(one, Law) else find_law(one, field)
        name = one if isinstance(one, str) else name_of(one)
        if name in found:
            raise InputError(f"{field}: must name each learner once, got '{name}' twice")
        found[name] = law
    return found


MIXED = KernelTransfer(transfer_all=0.3, kappa=0.1, length=0.5, forgetting=0.01)  # local transfer with a common part


def left_out(law: Law, labelled: bool) -> str:
    """Why a law cannot be fitted; empty where it can."""
    local = isinstance(law, Interference) or (
        isinstance(law, KernelTransfer) and np.any(np.asarray(law.transfer_near) > 0)
    )
    if local and not labelled:
        return "it needs to know where items lie, and no item has a difficulty"
    if law.trains_model:
        return "it trains a model of its own in each lane"
    return ""


def fit_and_keep(folder: Path, task: Task) -> None:
    keep(folder, task.key, arrays_of(task.fit()))


def known_fit(folder: Path, task: Task) -> LawFit | None:
    """The fit of a task from the folder; None where it is not there or damaged."""
    arrays = kept(folder, task.key, ("points", "predictive", "numbers"))
    try:
        return None if arrays is None else from_arrays(task.space, arrays)
    except ValueError:
        return None
