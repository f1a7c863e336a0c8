"""Logs whose parameters are known: drawn from the prior of a `Space`, with the law of `calibration.evidence`.

As a command it is simulation-based calibration (Talts, Betancourt, Simpson, Vehtari & Gelman 2018, arXiv 1804.06788):
a parameter that is drawn from the prior has, among draws from its posterior, a rank that is uniform.

    python tests/calibration/simulated.py LAW LOGS OUT.csv
"""

import csv
import sys
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from workbench.calibration.calibrate import Task, chosen
from workbench.calibration.log import Log
from workbench.calibration.priors import Space
from workbench.calibration.replay import SATURATED, difficulty_of
from workbench.learners import SimLearner
from workbench.pool import Pool

ITEMS, UPDATES, BATCH, ATTEMPTS = 40, 12, 6, 4
POOL = Pool(np.linspace(4.0, 96.0, ITEMS))
DRAWS = 19  # of a posterior among which the truth is ranked: 20 equally probable ranks
BINS = 10


def space_of(name, updates=UPDATES):
    return Space(chosen([name])[name], updates, ITEMS, labelled=True)


def simulated(space, count, seed, attempts=ATTEMPTS):
    """(count, P) points drawn from the prior, and a log of each."""
    rng = np.random.default_rng(seed)
    points = space.points(rng.standard_normal((count, len(space.priors))))
    law = space.law_at(points)
    given, b = space.observation(points, law), difficulty_of(POOL)
    learner = SimLearner(law, POOL, lanes=count, b=b)
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


def task_of(name, space, log, enough=100.0, seed=0):
    return Task(name, space, log, POOL, difficulty_of(POOL), 2 * log.updates // 3, seed, enough)


def rank(truth, points):
    """(P,) how many of DRAWS draws of each parameter are below the truth."""
    rows = np.linspace(0, len(points) - 1, DRAWS).round().astype(int)
    return (points[rows] < truth).sum(axis=0)


def uniformity(ranks):
    """(P,) p-values of the chi-square test that ranks (N, P) are uniform."""
    return np.array([stats.chisquare(np.bincount(of * BINS // (DRAWS + 1), minlength=BINS)).pvalue for of in ranks.T])


def study(name, count, path):
    """Ranks, a row per log, added to a file as they come."""
    space = space_of(name)
    points, logs = simulated(space, count, [7, len(name), *name.encode()])
    path = Path(path)
    rows = len(path.read_text().splitlines()) if path.exists() else 0
    with path.open("a", newline="") as file:
        if not rows:
            csv.writer(file).writerow(space.priors)
        for number in range(max(rows - 1, 0), count):
            fit = task_of(name, space, logs[number], seed=number).fit()
            csv.writer(file).writerow(rank(points[number], fit.points).tolist())
            file.flush()


if __name__ == "__main__":
    study(sys.argv[1], int(sys.argv[2]), sys.argv[3])
