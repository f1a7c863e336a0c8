"""Rank and regret of controllers, on one learner and over learners, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from workbench.analysis.frame import BLOCK, baseline_rows, check_numbers, ordered_runs
from workbench.errors import InputError, as_numbers, check_count, check_number, check_text
from workbench.registry import BASELINE
from workbench.streams import Role, generator

RESAMPLES = 1000
MOST_ARMS = 11  # controllers that are printed one by one; of more
ENDS = [0, 1, 2, 3, 4, -1]  # these places
OVERALL = "all learners"
Floats = NDArray[np.float64]


def ranking_table(runs: pd.DataFrame, level: float = 0.95, baseline: str | None = BASELINE) -> pd.DataFrame:
    """Rank and regret of each controller, per learner and over all learners (`OVERALL`), best first.

    runs: with `pool`, `learner`, `controller`, `seed` and `auc`, in any order.
    A controller's score on a pool and learner is its mean gain in area under the curve over the baseline on the seeds
    that it ran on; rank 1 is the best, ties share the mean of their ranks; regret is the best score minus its own.
    mean_rank, mean_regret: over the pools of the learner, or over all pools and learners; place: by mean_rank, equal
    for equals; worst_rank: the largest of these ranks. Intervals: percentile bootstrap over seeds, one draw of seeds
    for all controllers, as they are paired; a controller with fewer seeds draws as many, among its own. Where settings
    of learners and of controllers go together, as in a space-filling design, a controller is ranked with the learners
    that it ran on, and over all learners only if it ran on each.
    seeds_to_separate: seeds with which a paired t-test at 1 - level would tell this controller from the next one in
    80 of 100 studies, at the difference and spread on the seeds that both ran on with every learner (normal
    approximation, at least 3, not adjusted for other comparisons); infinite where their means are equal, NaN for the
    last and where fewer than two seeds are common.
    baseline: as in `runs_table`. A table without it is ranked by the areas, which needs the same seeds of all
    controllers of a pool and learner; otherwise InputError.
    """
    runs = ordered_runs(runs, ["auc"])
    check_numbers(runs, "runs", ["auc"], finite=True)
    check_number("level", level, 0, 1, open_low=True, open_high=True)
    controllers, seeds = list(runs["controller"].unique()), sorted(set(runs["seed"]))
    is_base = _baseline(runs, baseline)
    blocks = {}
    for key, block in runs.groupby(BLOCK, sort=False, observed=True):
        base = block["controller"][is_base[block.index]]
        blocks[key] = _gains(block, controllers, seeds, None if base.empty else base.iloc[0])
    draws = generator(0, Role.BOOTSTRAP).random((RESAMPLES, len(seeds)))
    drawn = {key: _means(gains, draws) for key, gains in blocks.items()}
    rows = []
    for learner in [*runs["learner"].unique(), OVERALL]:
        here = [key for key in blocks if learner in (key[1], OVERALL)]
        gains = np.array([blocks[key] for key in here])
        ran = ~np.isnan(gains).all(axis=2).any(axis=0)  # on each of its pools
        means = np.array([drawn[key][:, ran] for key in here])
        rows += _rows(learner, list(np.array(controllers)[ran]), gains[:, ran], means, level)
    return pd.DataFrame(rows)


def _baseline(runs: pd.DataFrame, baseline: str | None) -> NDArray[np.bool_]:
    """Rows of the baseline; none where the table lacks it and every controller has the same seeds."""
    if baseline is not None:
        check_text("baseline", baseline)
    here = baseline is not None and ((runs["controller"] == baseline) | (runs["rule"] == baseline)).any()
    if not here:
        counts = runs.groupby([*BLOCK, "seed"], observed=True)["controller"].nunique()
        if (counts == counts.groupby(BLOCK, observed=True).transform("max")).all():
            return np.zeros(len(runs), bool)
        if baseline is None:
            raise InputError("baseline: must be given where controllers ran on different seeds, got None")
    return baseline_rows(runs, baseline)


def _gains(block: pd.DataFrame, controllers: list[str], seeds: list[int], base: str | None) -> Floats:
    """(C, N) area of each controller on each seed, over the baseline's; NaN for seeds that one of them did not run on.
    """
    table = block.pivot(index="controller", columns="seed", values="auc").reindex(index=controllers, columns=seeds)
    areas = table.to_numpy(np.float64)
    return np.asarray(areas if base is None else areas - areas[controllers.index(base)])


def _rows(learner: str, controllers: list[str], gains: Floats, means: Floats, level: float) -> list[dict[str, Any]]:
    """The rows of one learner; gains (P, C, N) on its pools, means (P, D, C) of D draws of seeds."""
    ranks, regrets = _ranks_and_regrets(np.nanmean(gains, axis=2))
    drawn = _ranks_and_regrets(means)
    ends = [50 * (1 - level), 50 * (1 + level)]
    (rank_low, rank_high), (regret_low, regret_high) = (
        np.percentile(scores.mean(axis=0), ends, axis=0) for scores in drawn
    )
    order = np.lexsort((np.arange(len(controllers)), ranks.mean(axis=0)))
    places = pd.Series(np.round(ranks.mean(axis=0), 9)).rank(method="min")
    rows = []
    for i, c in enumerate(order):
        after = order[i + 1] if i + 1 < len(order) else None
        rows.append(
            {
                "learner": learner,
                "controller": controllers[c],
                "place": int(places[c]),
                "mean_rank": ranks[:, c].mean(),
                "mean_rank_low": rank_low[c],
                "mean_rank_high": rank_high[c],
                "worst_rank": ranks[:, c].max(),
                "mean_regret": regrets[:, c].mean(),
                "mean_regret_low": regret_low[c],
                "mean_regret_high": regret_high[c],
                "worst_regret": regrets[:, c].max(),
                "seeds_to_separate": np.nan if after is None else seeds_to_separate(gains, c, int(after), level),
            }
        )
    return rows


def _means(gains: Floats, draws: Floats) -> Floats:
    """(D, C) mean gain (C, N) over D draws of seeds by uniforms (D, N).

    A controller with fewer seeds, NaN for the others, draws among its own, and as many as it has; NaN for one without.
    """
    means = np.full((len(draws), len(gains)), np.nan)
    for controller, own in enumerate(gains):
        own = own[~np.isnan(own)]
        if len(own):
            drawn = own.take((draws * len(own)).astype(np.int64))
            drawn[:, len(own) :] = 0.0
            means[:, controller] = drawn.sum(axis=1) / len(own)
    return means


def _ranks_and_regrets(means: Floats) -> tuple[Floats, Floats]:
    """Ranks and regrets among the last axis."""
    ranks = pd.DataFrame(-means.reshape(-1, means.shape[-1])).rank(axis=1)
    return ranks.to_numpy().reshape(means.shape), means.max(axis=-1, keepdims=True) - means


def seeds_to_separate(gains: Floats, one: int, other: int, level: float = 0.95) -> float:
    """N = ((z_(1 - alpha / 2) + z_0.8) s / d)^2, d, s: mean, sd over seeds of the mean difference over pools.

    gains: (P, C, N). one, other: positions in C. 1 - alpha = level. Infinite where d = 0, NaN where fewer than two
    seeds are common. Source: sample size of a paired comparison, e.g. Colas et al. 2018, arXiv 1806.08295.
    """
    gains = as_numbers("gains", gains)
    if gains.ndim != 3:
        raise InputError(f"gains: must be (P, C, N), got shape {gains.shape}")
    for field, value in (("one", one), ("other", other)):
        check_count(field, value, 0, gains.shape[1] - 1)
    check_number("level", level, 0, 1, open_low=True, open_high=True)
    apart = (gains[:, one] - gains[:, other]).mean(axis=0)
    apart = apart[~np.isnan(apart)]
    if len(apart) < 2:
        return np.nan
    if apart.mean() == 0:
        return np.inf
    z = ndtri(0.5 + level / 2) + ndtri(0.8)
    return float(max(3, np.ceil((z * apart.std(ddof=1) / apart.mean()) ** 2)))


def ranking_lines(table: pd.DataFrame, full: bool = True) -> list[str]:
    """The ranking over learners as text, with each learner's best; equals are printed as equals.

    full: False prints of more than 11 controllers the first and the last only.
    """
    overall = table[table["learner"] == OVERALL]
    shared = overall["place"].duplicated(keep=False)
    left_out = 0 if full or len(overall) <= MOST_ARMS else len(overall) - len(ENDS)
    if left_out:
        overall, shared = overall.iloc[ENDS], shared.iloc[ENDS]
    shown = pd.DataFrame(
        {
            "place": [f"{place}{'=' if tie else ''}" for place, tie in zip(overall["place"], shared, strict=True)],
            "controller": overall["controller"],
            "mean rank": [_interval(row, "mean_rank", ".1f") for row in overall.to_dict("records")],
            "worst": [f"{rank:.1f}" for rank in overall["worst_rank"]],
            "mean regret": [_interval(row, "mean_regret", ".4f") for row in overall.to_dict("records")],
            "largest": [f"{regret:.3f}" for regret in overall["worst_regret"]],
            "seeds to tell from next": [_seeds(seeds) for seeds in overall["seeds_to_separate"]],
        }
    )
    lines = ["Ranking over learners and pools, by area under the curve:"]
    lines += [f"  {line}" for line in shown.to_string(index=False).splitlines()]
    if left_out:
        lines.insert(-1, f"  ... {left_out} more")
    others = table["controller"].nunique() - len(overall) - left_out
    if others:
        lines.append(f"{others} more ran with some learners only and are ranked with those.")
    lines.append("Best three by learner:")
    for learner, block in table[table["learner"] != OVERALL].groupby("learner", sort=False, observed=True):
        lines.append(f"  {learner}: {_best_and_last(block)}")
    return [
        *lines,
        "regret: area of the best minus its own. Intervals: bootstrap over seeds. =: equal mean ranks. seeds to tell "
        "from next: for that",
        "comparison alone, at 80 % power; the verdicts against the baseline are adjusted for all comparisons.",
    ]


def _best_and_last(block: pd.DataFrame) -> str:
    """The controllers of a learner as "a, b = c; last: d", or "all 7 equal"; = joins equals."""
    ties: dict[int, list[str]] = {}
    for place, controller in sorted(zip(block["place"], block["controller"], strict=True), key=lambda pair: pair[0]):
        ties.setdefault(int(place), []).append(controller)
    if len(ties) == 1 and len(block) > 1:
        return f"all {len(block)} equal"
    best = ", ".join(" = ".join(names) for place, names in ties.items() if place <= 3)
    return f"{best}; last: {' = '.join(ties[max(ties)])}"


def _interval(row: dict[Any, Any], name: str, form: str) -> str:
    return f"{row[name]:{form}} [{row[f'{name}_low']:{form}}, {row[f'{name}_high']:{form}}]"


def _seeds(number: float) -> str:
    if np.isnan(number):
        return "-"
    if np.isinf(number):
        return "equal"
    return f"{number:,.0f}" if number <= 10_000 else "> 10,000"
