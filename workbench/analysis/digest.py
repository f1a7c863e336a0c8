"""A table of many arms in a few lines: the best, the worst, what is level with the best, and what settings do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.analysis import stats
from workbench.analysis.frame import ARM, BLOCK, check_numbers, ordered_runs
from workbench.analysis.tables import rivals_table
from workbench.errors import check_number

MOST_ARMS = 11  # on a pool and learner, of which each is printed
MOST_NAMED = 5  # arms in a line
MOST_VALUES = 5  # of a setting, of which each is printed; more are grouped


def is_long(table: pd.DataFrame) -> bool:
    """Whether some pool and learner has more arms than a reader takes in row by row."""
    return bool(table.groupby(BLOCK, observed=True)["controller"].nunique().max() > MOST_ARMS)


def extremes(block: pd.DataFrame) -> tuple[str, str]:
    """The controllers with the largest and the smallest area in the rows of a summary on one pool and learner."""
    area = block.set_index("controller")["auc"]
    return str(area.idxmax()), str(area.idxmin())


def telling(summary: pd.DataFrame) -> pd.DataFrame:
    """Of each pool and learner the baseline's row, the best and the worst; all rows where there are few."""
    kept = []
    for _, block in summary.groupby(BLOCK, sort=False, observed=True):
        few = len(block) <= MOST_ARMS
        best, worst = extremes(block)
        base = block[block["verdict"] == "baseline"]
        own = [block[block["controller"] == name] for name in dict.fromkeys([best, worst])]
        kept += [block] if few else [base, *(row for row in own if (row["verdict"] != "baseline").all())]
    return pd.concat(kept)


def level_lines(runs: pd.DataFrame, summary: pd.DataFrame) -> dict[tuple[Any, ...], list[str]]:
    """For each pool and learner: which arm is the best by area, which the worst, and which are level with the best.

    Level: the paired sign-flip test against the best, Holm-adjusted over all such comparisons, does not tell them apart
    at 5 %. The best was chosen on the same seeds, so that fewer are level than there would be on others.
    """
    ends = {key: extremes(block) for key, block in summary.groupby(BLOCK, sort=False, observed=True)}
    blocks = runs[BLOCK].drop_duplicates().itertuples(index=False, name=None)  # as they first appear, like the numbers
    best = np.array([ends[key][0] for key in blocks])[runs.groupby(BLOCK, sort=False, observed=True).ngroup()]
    marked = runs.assign(rule=np.where(runs["controller"] == best, "best", "other"))
    rivals = rivals_table(marked, "best")
    lines = {}
    for key, (first, last) in ends.items():
        block = rivals[(rivals["pool"] == key[0]) & (rivals["learner"] == key[1])]
        arms = len(block) + 1
        lines[key] = [f"  best of {arms} by area: {first}; worst: {last}"]
        level = block[block["equal"] | (block["enough"] & (block["p_holm"] > 0.05))]
        unsure = block[~block["equal"] & ~block["enough"]]
        if len(unsure):
            lines[key].append(f"  too few seeds to tell {len(unsure)} others from the best")
        if len(level):
            nearest = level.sort_values("auc_gain", ascending=False, kind="stable")["rival"]
            lines[key].append(f"  level with the best: {len(level)} of {arms - 1}: {named(list(nearest))}")
        elif not len(unsure):
            lines[key].append(f"  level with the best: none of {arms - 1}")
    return lines


def named(names: list[str]) -> str:
    """The first of these names, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def effects_table(runs: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """What each swept setting does by itself: a row per setting and value, or group of values where there are many.

        effect(v) = mean over seeds of m_v(seed) - m(seed),

    m(seed): mean area over all arms that have the setting, on every pool and learner; m_v(seed): over those of them
    with the value v (or in its group), so that what goes with a seed cancels. In a grid, where each value meets the
    same other settings, this is the main effect; in a space-filling design, nearly so.
    Columns: setting; values: one value, or "LOW to HIGH"; arms: how many have it; area: mean over seeds of m_v; effect,
    effect_low, effect_high, with the interval of `stats.interval` for the mean over seeds that all these arms have.
    runs: as `runs_table` gives them. Numbers of a setting are in their order, in at most 5 groups of as many values;
    names are taken one by one.
    """
    runs = ordered_runs(runs, ["auc"])
    check_numbers(runs, "runs", ["auc"], finite=True)
    check_number("level", level, 0, 1, open_low=True, open_high=True)
    rows: list[dict[str, Any]] = []
    for setting in [column for column in runs.columns if "." in str(column) and runs[column].nunique() > 1]:
        own = runs[runs[setting].notna()]
        areas = own.pivot(index=ARM, columns="seed", values="auc").dropna(axis=1)
        values = own.groupby(ARM, observed=True, sort=True)[setting].first().reindex(areas.index)
        if areas.empty:
            continue
        mean = areas.to_numpy().mean(axis=0)
        for name, members in grouped(values, list(dict.fromkeys(own[setting]))):
            part = areas.to_numpy()[members].mean(axis=0)
            effect = stats.interval(part - mean, np.mean, level)
            rows.append({"setting": setting, "values": name, "arms": int(members.sum()), "area": part.mean(),
                         "effect": effect.value, "effect_low": effect.low, "effect_high": effect.high})  # fmt: skip
    return pd.DataFrame(rows, columns=["setting", "values", "arms", "area", "effect", "effect_low", "effect_high"])


def grouped(values: pd.Series[Any], different: list[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Names of the different values, or of groups of them, and which rows have them."""
    numbers = pd.api.types.is_numeric_dtype(values)
    if len(different) <= MOST_VALUES or not numbers:
        different = sorted(different) if numbers else different
        return [(f"{value:.6g}" if isinstance(value, float) else str(value), (values == value).to_numpy())
                for value in different]  # fmt: skip
    parts = np.array_split(np.array(sorted(different)), MOST_VALUES)
    return [(f"{part[0]:.4g} to {part[-1]:.4g}", values.isin(part).to_numpy()) for part in parts]


def effect_lines(runs: pd.DataFrame) -> list[str]:
    """The effects of swept settings as text, none where nothing was swept."""
    table = effects_table(runs)
    if table.empty:
        return []
    lines = ["Effect of each swept setting on the area, mean over the others (against their mean, [95 % interval]):"]
    for setting, block in table.groupby("setting", sort=False, observed=True):
        lines.append(f"  {setting}")
        width = block["values"].str.len().max()
        for row in block.to_dict("records"):
            ends = f" [{row['effect_low']:+.4f}, {row['effect_high']:+.4f}]" if np.isfinite(row["effect_low"]) else ""
            lines.append(f"    {row['values']:>{width}}  area {row['area']:.3f}  {row['effect']:+.4f}{ends}")
    return lines
