"""What a fit foretells of the groups after its cut, beside what happened: the table of a calibration plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from workbench.calibration.evidence import Groups, draw_last
from workbench.calibration.fit import Fit
from workbench.calibration.futures import LEAST
from workbench.calibration.replay import Replay, difficulty_of, known_pool
from workbench.errors import check_count, check_kind
from workbench.lanes import Floats
from workbench.streams import Role, generator

if TYPE_CHECKING:
    import pandas as pd

Z = 1.959964  # of a 95 % interval


def foretold(fit: Fit, bins: int = 10, draws: int = 64, seed: int = 0) -> pd.DataFrame:
    """The later groups of the log in bins of their predicted chance: predicted and observed shares of success.

    A group's chance is that before its update, of the learners in proportion to their weights: the learner has seen
    the logged rewards until then; what an item's label leaves open (`calibration.evidence`) is drawn given the item's
    groups up to `fit.cut` alone, and walks on from there. Parameters are draws given the whole log, so a few numbers
    have seen the groups that they predict.
    bins: of about as many groups each, at most; draws: of parameters, for all learners together; seed: of the streams.
    Columns: predicted, the mean chance; observed, the share of attempts that succeeded, with the ends of its 95 %
    interval observed_low and observed_high; groups. The interval takes the groups of one item as dependent:
    share +- z sqrt(sum_items e^2 J / (J - 1)) / attempts, e the item's successes less its attempts times the share
    (Cochran 1977, Sampling Techniques, 3rd ed., section 9A, a ratio over clusters); NaN where a bin has one item.
    """
    import pandas as pd

    check_kind("fit", fit, Fit, "what calibrate(log, pool) gives")
    bins, draws = check_count("bins", bins, 1, 1000), check_count("draws", draws, 1, 4096)
    check_count("seed", seed, 0, 2**32 - 1)
    log = fit.log
    later = np.flatnonzero(log.step > fit.cut)
    chance = _chances(fit, draws, seed)
    order = later[np.argsort(chance[later], kind="stable")]
    rows = []
    for part in np.array_split(order, min(bins, len(order))):
        n, k, item = log.attempts[part], log.successes[part], log.item[part]
        share = k.sum() / n.sum()
        low, high = _interval(k - n * share, item, int(n.sum()), float(share))
        rows.append({"predicted": float((chance[part] * n).sum() / n.sum()), "observed": float(share),
                     "observed_low": low, "observed_high": high, "groups": len(part)})  # fmt: skip
    return pd.DataFrame(rows)


def _interval(error: Floats, item: Any, attempts: int, share: float) -> tuple[float, float]:
    _, which = np.unique(item, return_inverse=True)
    items = int(which.max()) + 1
    if items < 2:
        return np.nan, np.nan
    spread = float((np.bincount(which, error) ** 2).sum()) * items / (items - 1)
    half = Z * float(np.sqrt(spread)) / attempts
    return max(0.0, share - half), min(1.0, share + half)


def _chances(fit: Fit, draws: int, seed: int) -> Floats:
    """(N,) mean chance of each group of the log, before its update."""
    log, pool = fit.log, fit.pool
    labels = difficulty_of(pool)
    replay = Replay(log, known_pool(pool), np.zeros(len(pool)) if labels is None else labels)
    early = log.until(fit.cut)
    groups, seen = Groups(early), log.step <= fit.cut
    total, weight = np.zeros(len(log)), 0.0
    for number, (name, share) in enumerate(fit.weights.items()):
        if share < LEAST:
            continue
        law, rng = fit.laws[name], generator(seed, Role.POSTERIOR, number)
        count = max(1, round(draws * share))
        points = law.points[np.resize(rng.permutation(len(law.points)), count)]
        settings = law.space.law_at(points)
        given = law.space.observation(points, settings)
        zeta = replay.zeta(settings, count)
        u = np.empty((count, len(log)))
        for run in range(len(log.runs)):
            rows = np.flatnonzero(log.run == run)
            of_item = given.spread[:, None] * rng.standard_normal((count, len(pool)))
            uniform = rng.random((count, len(groups.items)))
            of_item[:, groups.items] = draw_last(groups, zeta[:, seen], given, run, uniform)
            walked = np.sqrt(np.maximum(log.step[rows] - fit.cut, 0)) * given.drift[:, None]
            u[:, rows] = of_item[:, log.item[rows]] + walked * rng.standard_normal((count, len(rows)))
        low, high = given.floor[:, None], given.ceiling[:, None]
        total += share * (low + (high - low) * expit(zeta + u)).mean(axis=0)
        weight += share
    return np.asarray(total / weight)
