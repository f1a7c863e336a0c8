"""Are the draws of a calibration right? Simulation-based calibration: python sims/sbc.py --logs 200 --jobs 2

Parameters are drawn from the prior of a learner, a log is simulated with them, the learner is fitted to it, and the
rank of each true value among draws of the posterior is noted. Ranks are uniform where the draws are right.
Source: Talts, Betancourt, Simpson, Vehtari & Gelman 2018, arXiv 1804.06788.
"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import sys

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from workbench.calibration.calibrate import LEARNERS, Task, chosen, fit_and_keep, known_fit
from workbench.calibration.log import Log
from workbench.calibration.priors import Space
from workbench.calibration.replay import SATURATED, difficulty_of
from workbench.calibration.store import computed
from workbench.commands import SAME_AGAIN, Parser, exit_status, whole
from workbench.files import check_folder, check_writable, write_whole
from workbench.lanes import Floats
from workbench.learners import SimLearner
from workbench.pool import Pool

ITEMS, UPDATES, BATCH, ATTEMPTS = 40, 12, 6, 4  # of a log: as small as parameters allow that are to be told
POOL = Pool(np.linspace(4.0, 96.0, ITEMS))
B = difficulty_of(POOL)
DRAWS = 19  # of a posterior among which the truth is ranked: 20 equally probable ranks
BINS = 10
ENOUGH = 100.0  # effective number of draws of each fit
MOST_LOGS, MOST_JOBS = 10_000, 1024


def space_of(name: str, updates: int = UPDATES) -> Space:
    return Space(chosen([name])[name], updates, ITEMS, labelled=True)


def simulated(space: Space, count: int, seed: int | list[int], attempts: int = ATTEMPTS) -> tuple[Floats, list[Log]]:
    """(count, P) points drawn from the prior, and a log of each by the law of `calibration.evidence`."""
    rng = np.random.default_rng(seed)
    points = space.points(rng.standard_normal((count, len(space.priors))))
    law = space.law_at(points)
    given = space.observation(points, law)
    learner = SimLearner(law, POOL, lanes=count, b=B)
    low, high, drift = (value[:, None] for value in (given.floor, given.ceiling, given.drift))
    u = given.spread[:, None] * rng.standard_normal((count, ITEMS))
    alpha = (1 / given.rho - 1)[:, None]
    rows = []
    for _ in range(space.updates):
        items = rng.random((count, ITEMS)).argsort(axis=1)[:, :BATCH]
        share = (learner.success(items).astype(float) - low) / (high - low)
        zeta = logit(np.clip(share, SATURATED, 1 - SATURATED))
        p = low + (high - low) * expit(zeta + np.take_along_axis(u, items, axis=1))
        k = rng.binomial(attempts, rng.beta(np.maximum(alpha * p, 1e-9), np.maximum(alpha * (1 - p), 1e-9)))
        learner.learn(items, (np.arange(attempts) < k[..., None]).astype(np.float32))
        rows.append((items, k))
        u += drift * rng.standard_normal(u.shape)
    steps = np.repeat(np.arange(space.updates), BATCH)
    names = [str(i) for i in range(ITEMS)]
    logs = [Log(steps, np.concatenate([items[r] for items, _ in rows]), np.concatenate([k[r] for _, k in rows]),
                np.full(len(steps), attempts), items=names) for r in range(count)]  # fmt: skip
    return points, logs


def task_of(name: str, space: Space, log: Log, enough: float = ENOUGH, seed: int = 0) -> Task:
    assert B is not None
    return Task(name, space, log, POOL, B, 2 * log.updates // 3, seed, enough)


def rank(truth: Floats, points: Floats) -> NDArray[np.int64]:
    """(P,) how many of DRAWS draws of each parameter are below the truth."""
    rows = np.linspace(0, len(points) - 1, DRAWS).round().astype(int)
    return np.asarray((points[rows] < truth).sum(axis=0))


def uniformity(ranks: NDArray[np.int64]) -> Floats:
    """(P,) p-values of the chi-square test that ranks (N, P) are uniform."""
    return np.array([stats.chisquare(np.bincount(of * BINS // (DRAWS + 1), minlength=BINS)).pvalue for of in ranks.T])


def table_of(name: str, ranks: NDArray[np.int64]) -> pd.DataFrame:
    """A row per parameter. ranks: (N, P)."""
    return pd.DataFrame({"learner": name, "logs": len(ranks), "parameter": list(space_of(name).priors),
                         "p_value": uniformity(ranks).round(3), "mean_rank": ranks.mean(axis=0).round(2)})  # fmt: skip


def parser() -> Parser:
    p = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--learners", metavar="A,B", default=",".join(LEARNERS), help="(default: %(default)s)")
    p.add_argument("--logs", metavar="N", default="200", help="of each learner (default: 200)")
    p.add_argument("--jobs", metavar="N", default="1", help="worker processes (default: 1)")
    p.add_argument("--out", metavar="DIR", default="results/sbc",
                   help="folder for sbc.csv, and for fits, from which a stopped call goes on (default: %(default)s)")
    return p


def run(options: argparse.Namespace) -> None:
    """Simulate, fit, rank, write and print."""
    out, jobs = check_folder("--out", options.out), whole("--jobs", options.jobs, 1, MOST_JOBS)
    count = whole("--logs", options.logs, 1, MOST_LOGS)
    names = list(chosen(options.learners.split(","), "--learners"))
    check_writable("--out", out)
    truths, tasks = [], []
    for name in names:
        space = space_of(name)
        for number in range(count):
            points, (log,) = simulated(space, 1, [7, number, len(name), *name.encode()])
            truths.append(points[0])
            tasks.append(task_of(name, space, log, seed=number))
    fits = computed(tasks, known_fit, fit_and_keep, out / "fits", jobs, ("sbc", "log"))
    ranks = [rank(truth, fit.points) for truth, fit in zip(truths, fits, strict=True)]
    parts = [table_of(name, np.array(ranks[place * count : (place + 1) * count])) for place, name in enumerate(names)]
    table = pd.concat(parts, ignore_index=True)
    write_whole(out / "sbc.csv", table.to_csv(index=False).encode())
    print(table.to_string(index=False))


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: run(options), SAME_AGAIN)


if __name__ == "__main__":
    sys.exit(main())
