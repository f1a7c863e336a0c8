"""Curves to runs to summary: tables with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis import stats
from workbench.errors import check_number
from workbench.registry import BASELINE

ARM = ["pool", "learner", "controller"]
# What a run costs besides its steps: totals at its end. Tables of other trainers may lack some.
COSTS = ("rollouts", "trained", "probed", "tokens", "forwards", "short", "label_rollouts")


def runs_table(curves: pd.DataFrame, threshold: float = 0.8) -> pd.DataFrame:
    """One row per run: when it reached the threshold, its area under the curve and its end.

    threshold: share of the gain of the uniform baseline, in (0, 1]. For each pool and learner the level to reach is
    start + threshold (end - start) of uniform's mean curve; NaN where uniform gains nothing.
    auc: mean of held-out success over the steps (trapezoids). silent_share: mean over the run.
    rollouts, trained, probed, tokens, forwards, short, label_rollouts: totals at the end, as in `loop.SERIES`;
    label_rollouts: attempts behind the difficulty labels, bought before training.
    """
    check_number("threshold", threshold, 0, 1, open_low=True)
    keys = list(curves.columns[: curves.columns.get_loc("seed")])
    rows = []
    for (_, _), block in curves.groupby(["pool", "learner"], sort=False):
        steps = np.sort(block["step"].unique())
        base = block[block["rule"] == BASELINE].groupby("step")["success"].mean()
        gain = base.iloc[-1] - base.iloc[0]
        level = base.iloc[0] + threshold * gain if gain > 1e-9 else np.nan
        for _, arm in block.groupby("controller", sort=False):
            width = len(steps)
            success = arm["success"].to_numpy().reshape(-1, width)  # (N, E): rows are sorted by seed, then step
            first = arm.iloc[::width]
            rollouts = arm["rollouts"].to_numpy().reshape(-1, width)
            if np.isfinite(level):
                time, reached = stats.steps_to_threshold(steps, success, level)
            else:
                time, reached = np.full(len(success), np.nan), np.zeros(len(success), bool)
            silent = arm["silent_share"].to_numpy().reshape(-1, width)[:, 1:]
            rows.append(
                first[[*keys, "seed"]].assign(
                    threshold=level,
                    steps_to_threshold=time,
                    reached=reached,
                    rollouts_to_threshold=[np.interp(t, steps, row) for t, row in zip(time, rollouts, strict=True)],
                    auc=np.trapezoid(success, steps, axis=1) / (steps[-1] - steps[0]),
                    final=success[:, -1],
                    silent_share=_mean_over(np.diff(steps), silent),  # the last record may be short
                    coverage=arm["coverage"].to_numpy()[width - 1 :: width],
                    **{name: arm[name].to_numpy()[width - 1 :: width] for name in COSTS if name in arm},
                )
            )
    return pd.concat(rows, ignore_index=True)


def _mean_over(weights: Any, values: Any) -> Any:
    """(N,) weighted means of (N, E) over what is not NaN; NaN where all is."""
    there = ~np.isnan(values)
    total = (weights * there).sum(axis=1)
    mean = np.divide(np.where(there, values, 0.0) @ weights, total, out=np.zeros(len(values)), where=total > 0)
    return np.where(total > 0, mean, np.nan)


def summary_table(runs: pd.DataFrame, horizon: int, level: float = 0.95) -> pd.DataFrame:
    """One row per arm: estimates with intervals, and how the arm compares with uniform on the same seeds.

    steps: restricted mean steps to threshold, censored runs counting as `horizon`. speedup: uniform's over the
    arm's. rollouts: to the threshold; rollouts_saved: uniform's minus the arm's. auc, final: interquartile means.
    auc_gain: paired difference of interquartile means to uniform. mean_rollouts, ..: means of the runs' totals.
    p: paired sign-flip test on the area under the curve; p_holm: adjusted over all comparisons of the study.
    verdict: better or worse than uniform where p_holm <= 1 - level; else no difference, or, where no result could
    have been significant with that many comparisons, too few seeds.
    """
    keys = list(runs.columns[: runs.columns.get_loc("seed")])
    comparisons = len(runs.groupby(ARM)) - len(runs.groupby(["pool", "learner"]))
    rows = []
    for _, block in runs.groupby(["pool", "learner"], sort=False):
        base = block[block["rule"] == BASELINE]
        for _, arm in block.groupby("controller", sort=False):
            rows.append({key: arm[key].iloc[0] for key in keys} | _arm_row(arm, base, horizon, level, comparisons))
    table = pd.DataFrame(rows)
    table["p_holm"] = stats.holm(table["p"].to_numpy())
    better, sure = table["auc_gain"] > 0, table["p_holm"] <= 1 - level
    enough = np.array([enough_seeds(seeds, comparisons, level) for seeds in table["seeds"]])
    undecided = np.where(enough, "no difference", "too few seeds")
    table["verdict"] = np.select(
        [table["rule"] == BASELINE, sure & better, sure & ~better], ["baseline", "better", "worse"], undecided
    )
    return table


def enough_seeds(seeds: int, comparisons: int, level: float = 0.95) -> bool:
    """Whether a sign-flip test on so many seeds can be significant at all after Holm: 2^(1 - N) M <= 1 - level."""
    return 2.0 ** (1 - seeds) * comparisons <= 1 - level


def _sign_flip(differences: Any, comparisons: int) -> float:
    """Sign-flip p with enough resamples to survive Holm over so many comparisons."""
    return stats.sign_flip_test(differences, resamples=max(10_000, 100 * comparisons))


def _arm_row(
    arm: pd.DataFrame, base: pd.DataFrame, horizon: int, level: float, comparisons: int
) -> dict[str, Any]:
    """Estimates of one arm against its baseline on the same seeds; both have one row per seed, in the same order."""
    base = base[base["seed"].isin(arm["seed"])]
    is_base = arm["rule"].iloc[0] == BASELINE
    row: dict[str, Any] = {"seeds": len(arm), "threshold": arm["threshold"].iloc[0]}
    none = stats.Estimate(np.nan, np.nan, np.nan)
    steps = speedup = none
    if np.isfinite(row["threshold"]):
        steps = stats.interval(arm["steps_to_threshold"].to_numpy(), np.mean, level)
        if not is_base:
            speedup = stats.speedup(_crossing(base), _crossing(arm), horizon, level)
    row |= _named("steps", steps) | {"censored": int((~arm["reached"]).sum())}
    row["rollouts"] = arm["rollouts_to_threshold"].mean()
    row["rollouts_saved"] = base["rollouts_to_threshold"].mean() - row["rollouts"]
    row |= _named("speedup", speedup)
    auc, base_auc = arm["auc"].to_numpy(), base["auc"].to_numpy()
    row |= _named("auc", stats.interval(auc, level=level))
    row |= _named("auc_gain", none if is_base else stats.paired_interval(auc, base_auc, _iqm_difference, level))
    row["p"] = np.nan if is_base else _sign_flip(auc - base_auc, comparisons)
    row["improvement"] = np.nan if is_base else stats.probability_of_improvement(auc, base_auc)
    row |= _named("final", stats.interval(arm["final"].to_numpy(), level=level))
    row["silent_share"], row["coverage"] = arm["silent_share"].mean(), arm["coverage"].mean()
    row |= {f"mean_{name}": arm[name].mean() for name in COSTS if name in arm}
    return row


def _iqm_difference(x: Any, y: Any, axis: int) -> Any:
    return stats.iqm(x, axis) - stats.iqm(y, axis)


def _crossing(runs: pd.DataFrame) -> stats.Crossing:
    return stats.Crossing(runs["steps_to_threshold"].to_numpy(), runs["reached"].to_numpy())


def _named(name: str, estimate: stats.Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def rivals_table(runs: pd.DataFrame, rule: str = "adarft") -> pd.DataFrame:
    """Each arm of another rule against `rule` (at its best setting) on the same pool, learner and seeds.

    auc_gain: mean paired difference of the areas, rival minus `rule`. p_holm: sign-flip test, adjusted over the table.
    enough: whether so few seeds could have shown anything.
    """
    rows = []
    comparisons = len(runs[runs["rule"] != rule].groupby(ARM))
    for (pool, learner), block in runs.groupby(["pool", "learner"], sort=False):
        mine = block[block["rule"] == rule]
        if mine.empty:
            continue
        best = mine.groupby("controller")["auc"].mean().idxmax()
        own = mine[mine["controller"] == best].set_index("seed")["auc"]
        for rival, arm in block[block["rule"] != rule].groupby("controller", sort=False):
            gain = arm["auc"].to_numpy() - own[arm["seed"]].to_numpy()
            enough = enough_seeds(len(gain), comparisons)
            rows.append((pool, learner, best, rival, gain.mean(), _sign_flip(gain, comparisons), enough))
    table = pd.DataFrame(rows, columns=["pool", "learner", "controller", "rival", "auc_gain", "p", "enough"])
    return table.assign(p_holm=stats.holm(table["p"].to_numpy()))
