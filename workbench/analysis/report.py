"""The summary as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.tables import ARM, rivals_table

COST_HEADS = {
    "generated": "rollouts",
    "trained on": "trained",
    "probes": "probed",
    "predictions": "forwards",
    "short": "short",
}
SMALL_SPEEDUP = 1.1  # below this a real run's seed noise would hide the gain


def report(runs: pd.DataFrame, summary: pd.DataFrame, horizon: int) -> str:
    """The summary as text for a person: a block per pool and learner, then where AdaRFT does not win."""
    lines = []
    width = max(10, summary["controller"].str.len().max())
    head = (
        f"{'':2}{'controller':<{width}}  {'steps to threshold':>20}  {'censored':>8}  {'rollouts':>9}  "
        f"{'speed-up':>17}  {'area':>5}  {'final':>5}  {'silent':>6}  {'covered':>7}  against uniform"
    )
    for (pool, learner), block in summary.groupby(["pool", "learner"], sort=False):
        threshold = block["threshold"].iloc[0]
        known = np.isfinite(threshold)
        goal = f"threshold: success {threshold:.3f}" if known else "no threshold: uniform gains nothing"
        lines += ["", f"{pool} / {learner}  ({goal})", head]
        for row in rows_of(block):
            lines.append(
                f"{'':2}{row['controller']:<{width}}  {_interval(row, 'steps', '.0f'):>20}  "
                f"{row['censored']:>3}/{row['seeds']:<4}  {_number(row['rollouts'], ',.0f'):>9}  "
                f"{_interval(row, 'speedup', '.2f'):>17}  {row['auc']:.3f}  {row['final']:.3f}  "
                f"{_number(row['silent_share'], '.0%'):>6}  {row['coverage']:>7.0%}  {_verdict(row)}"
            )
    lines += ["", *_where_adarft_does_not_win(runs, summary)]
    if "mean_label_rollouts" in summary:
        lines += ["", *cost_lines(summary)]
    lines += [
        "",
        f"steps: mean, runs that never got there counting as {horizon} (censored: how many); [95 % interval]. "
        "speed-up: uniform's steps over the rule's,",
        "same seeds. area, final: interquartile mean of held-out success, all difficulty deciles equally weighted. "
        "silent: groups whose rollouts",
        "all agree. covered: share of the pool drawn. against uniform: sign-flip test on the area, Holm-adjusted "
        "over the whole table at 5 %.",
    ]
    return "\n".join(lines)


def cost_lines(summary: pd.DataFrame) -> list[str]:
    """What each controller spends in a run, and what it saves, on each pool; means over its learners."""
    lines = []
    for pool, block in summary.groupby("pool", sort=False):
        rows = []
        for controller, arm in block.groupby("controller", sort=False):
            saved = arm["rollouts_saved"].mean()
            labels = arm["mean_label_rollouts"].mean()
            spent = {head: f"{arm[f'mean_{name}'].mean():,.0f}" for head, name in COST_HEADS.items()}
            times = f"{labels / saved:,.1f}" if labels > 0 and saved > 0 else "-"
            bought = "not known" if np.isnan(labels) else f"{labels:,.0f}"
            rows.append({"controller": controller} | spent | {"saved": _number(saved, ",.0f"), "labels": bought,
                                                              "labels / saved": times})  # fmt: skip
        lines.append(f"Costs of a run on {pool}, mean over learners:")
        lines += [f"  {line}" for line in pd.DataFrame(rows).to_string(index=False).splitlines()]
    return [
        *lines,
        "generated, trained on, probes, labels: rollouts, labels those bought before training. predictions: of helper "
        "models. short: updates on fewer groups",
        "than asked for. saved: rollouts to the threshold, uniform's minus the controller's.",
    ]


def _where_adarft_does_not_win(runs: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """A line for each pool and learner in which some rule does as well as AdaRFT, or uniform nearly so."""
    rivals = rivals_table(runs)
    if rivals.empty:
        return []
    seeds = runs["seed"].nunique()
    if not rivals["enough"].any():
        return [f"Too few seeds to say where AdaRFT does not win (seeds: {seeds}, comparisons: {len(rivals)})."]
    speedups = {tuple(row[key] for key in ARM): row["speedup"] for row in rows_of(summary)}
    lines = []
    for key, block in rivals.groupby(ARM, sort=False):
        arm = tuple(map(str, key))
        sure = block["p_holm"] <= 0.05
        above, level = block[sure & (block["auc_gain"] > 0)], block[~sure & block["enough"]]
        undecided = block[~block["enough"]]
        parts = []
        if len(above):
            named = (f"{row['rival']} (+{row['auc_gain']:.2g})" for row in rows_of(above))
            parts.append(f"beaten by {', '.join(named)}")
        if len(level) and len(level) == block["enough"].sum():
            parts.append("level with every rule")
        elif len(level):
            parts.append(f"level with {', '.join(level['rival'])}")
        if not parts and speedups[arm] < SMALL_SPEEDUP:
            parts.append(f"first, but only {speedups[arm]:.2f} times as fast as uniform")
        if len(undecided):
            parts.append(f"too few seeds against {', '.join(undecided['rival'])}")
        if parts:
            tried = len(summary.query("pool == @arm[0] and learner == @arm[1] and rule == 'adarft'"))
            best = f" (best of {tried} settings on these very seeds: optimistic)" if tried > 1 else ""
            lines.append(f"  {' / '.join(arm)}{best}: {'; '.join(parts)}")
    if not lines:
        return ["AdaRFT wins everywhere here: distrust a comparison that it cannot lose."]
    return ["Where AdaRFT does not win (area under the curve, paired, Holm-adjusted at 5 %):", *lines]


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _interval(row: dict[str, Any], name: str, form: str) -> str:
    if not np.isfinite(row[name]):
        return "-"
    if not np.isfinite(row[f"{name}_low"]):
        return format(row[name], form)  # one seed has no interval
    return f"{row[name]:{form}} [{row[f'{name}_low']:{form}}, {_number(row[f'{name}_high'], form)}]"


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "-"


def _verdict(row: dict[str, Any]) -> str:
    if row["verdict"] in ("baseline", "too few seeds"):
        return str(row["verdict"])
    p = row["p_holm"]
    return f"{row['verdict']} (p {'< .001' if p < 0.001 else f'= {p:.3f}'})"
