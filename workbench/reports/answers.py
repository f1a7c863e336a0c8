"""The answer of a comparison in words, from its tables: which curriculum leads, how surely, and where it does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.frame import BLOCK
from workbench.analysis.ranking import OVERALL
from workbench.analysis.tables import baseline_name

VERDICTS = ("better", "worse", "equal", "no difference", "too few seeds")
TEST = "paired sign-flip test on the area under the curve, Holm-adjusted at 5 %"


def answers(summary: pd.DataFrame, ranking: pd.DataFrame) -> list[str]:
    """The answer first, then its odds: sentences.

    summary, ranking: as `summary_table` and `ranking_table` give them. The leader is the first of
    the ranking over all pools and learners, beside which its equals are named.
    """
    overall = ranking[ranking["learner"] == OVERALL]
    if overall.empty:
        return ["No curriculum ran with every learner, so none leads over all; the tables rank them by learner."]
    baseline = baseline_name(summary)
    first = overall[overall["place"] == overall["place"].min()]
    names = list(first["controller"])
    blocks = len(summary.groupby(BLOCK, observed=True))
    over = f"over {_many(blocks, 'pair')} of pool and learner" if blocks > 1 else "on this pool and learner"
    if len(names) > 1:
        return [f"No curriculum leads {over}: {listed(names)} share the first place."]
    leader = names[0]
    told = []
    if len(overall) > 1:
        mine, after = overall.iloc[0], overall.iloc[1]
        apart = mine["mean_rank_high"] < after["mean_rank_low"]
        how = "the intervals do not meet" if apart else "the intervals meet, so their order is not sure"
        told.append(f"Mean rank of {len(overall)}, with 95 % intervals: {_rank(mine)}, next {_rank(after)}; {how}.")
    if baseline is None:
        return [f"{leader} leads {over}.", *told]
    if leader == baseline:
        others = summary[summary["verdict"] != "baseline"]
        counted = counts(others["verdict"], "{name} in {count}")
        against = f"Against {baseline}, of {_many(len(others), 'comparison')}: {counted} ({TEST})."
        return [f"Nothing tried beats {baseline} {over}.", *([against] if len(others) else []), *told]
    mine = summary[summary["controller"] == leader]
    sure = (mine["verdict"] == "better").any()
    lead = f"Use {leader}: it leads {over}" if sure else f"{leader} leads {over}, but no difference is sure"
    speed = mine["speedup"][np.isfinite(mine["speedup"])]
    fast = ""
    if len(speed):
        low, high = mine.loc[speed.index, ["speedup_low", "speedup_high"]].iloc[0] if len(speed) == 1 else (None, None)
        span = f" [{low:.2f}, {high:.2f}]" if low is not None and np.isfinite(low) else ""
        spread = f" (from {speed.min():.2f} to {speed.max():.2f})" if len(speed) > 1 else span
        middle = "" if len(speed) == 1 else "in the median "
        fast = f", and reaches the threshold {middle}{speed.median():.2f} times as fast as {baseline}{spread}"
    lines = [f"{lead}{fast}."]
    verdict = mine["verdict"].iloc[0]
    if blocks > 1:
        counted = counts(mine["verdict"], "{name} on {count}")
        verdict = f"of {_many(len(mine), 'pair')} of pool and learner: {counted}"
    lines.append(f"Against {baseline}, {verdict} ({TEST}).")
    odds = mine["improvement"].dropna()
    if len(odds):
        spread = f" in the median of these pairs (from {odds.min():.2f} to {odds.max():.2f})" if len(odds) > 1 else ""
        lines.append(f"Chance that a random run of {leader} has a larger area than one of {baseline}: "
                     f"{odds.median():.2f}{spread}.")  # fmt: skip
    return [*lines, *told]


def defeats(text: str) -> list[str | list[str]]:
    """Where the leading rule, or the one in focus, does not win: the paragraph of the printed report that says so."""
    begins = re.compile(r"Where .* does not win|Too few seeds to say where|.* wins everywhere here")
    lines = [line.strip() for line in text.splitlines()]
    first = next((i for i, line in enumerate(lines) if begins.match(line)), None)
    if first is None:
        return []
    found = lines[first : lines.index("", first) if "" in lines[first:] else None]
    return [found if len(found) > 1 else found[0]]


def counts(verdicts: pd.Series[Any], form: str) -> str:
    """How often each verdict came. form: of one of them, with {name} and {count}."""
    found = verdicts.value_counts()
    return ", ".join(form.format(name=name, count=found[name]) for name in VERDICTS if name in found)


def asked(names: Sequence[str], pools: Sequence[str], learners: Sequence[str], seeds: int, run: str) -> str:
    """The question as a sentence. run: what a run is."""
    where = f"{_many(len(pools), 'pool')} ({listed(pools)}) for {_many(len(learners), 'learner')} ({listed(learners)})"
    return (f"Which of {_many(len(names), 'curriculum', 'curricula')} ({listed(names)}) is best on {where}? "
            f"{_many(seeds, 'paired seed')}; {run}.")  # fmt: skip


def alt_of_curves(curves: pd.DataFrame, column: str, what: str, along: str = "step") -> str:
    """What curves show, from their data: the mean of each arm over pools and learners at both ends."""
    steps = curves["step"].min(), curves["step"].max()
    ends = [curves[curves["step"] == step].groupby("controller", sort=False)[column].mean() for step in steps]
    told = [f"{name} from {ends[0][name]:.3g} to {ends[1][name]:.3g}" for name in ends[1].sort_values().index[::-1]]
    blocks = curves[BLOCK].drop_duplicates()
    return f"{what} from {along} {steps[0]} to {steps[1]}, mean over {_many(len(blocks), 'panel')}: {'; '.join(told)}."


def alt_of_intervals(table: pd.DataFrame, column: str, what: str) -> str:
    """What points with intervals show: the range of each arm over pools and learners."""
    parts = []
    for name, block in table[table[column].notna()].groupby("controller", sort=False, observed=True):
        values = block[column]
        parts.append(f"{name} {values.median():.3g}" + (f" ({values.min():.3g} to {values.max():.3g})"
                                                       if len(values) > 1 else ""))  # fmt: skip
    return f"{what}, median and range over pools and learners: {'; '.join(parts)}."


def listed(names: Sequence[Any], most: int = 12) -> str:
    """Names with commas between them, the last few as a number where there are many."""
    shown = [str(name) for name in names[:most]]
    rest = len(names) - len(shown)
    return f"{', '.join(shown)} and {rest} more" if rest else ", ".join(shown)


def _rank(row: pd.Series[Any]) -> str:
    return f"{row['controller']} {row['mean_rank']:.1f} [{row['mean_rank_low']:.1f}, {row['mean_rank_high']:.1f}]"


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


