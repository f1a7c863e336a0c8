"""The summary as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.analysis.digest import effect_lines, is_long, level_lines, named, telling
from workbench.analysis.frame import ARM, BLOCK, check_numbers, check_table, ordered_runs, rows_by
from workbench.analysis.tables import COLUMNS, COST_COLUMNS, baseline_name, costs_table, leading_rule, rivals_table
from workbench.errors import InputError, check_count, check_flag, check_text, shown

SMALL_SPEEDUP = 1.1  # below this a real run's seed noise would hide the gain


def report(
    runs: pd.DataFrame,
    summary: pd.DataFrame,
    horizon: int,
    focus: str | None = None,
    full: bool = False,
    whole: str = "summary.csv; full=True prints it",
) -> str:
    """The summary as text for a person: a block per pool and learner, where a rule does not win, and what runs cost.

    With more than 11 arms on some pool and learner, of each block the baseline, the best and the worst by area, and
    how many are level with the best; then the effect of each swept setting (`digest.effects_table`) and `whole`, where
    the whole table lies. full: print every arm all the same.

    runs, summary: as `runs_table` and `summary_table` give them. horizon: steps of a run. focus: the rule whose
    defeats are listed, or one of its controllers (a label such as "adarft eta=10"), whose rule's other settings are
    then left out of that list; by default the leading rule, see `tables.leading_rule`. Without a baseline and
    a threshold, the steps to it are left out. Raises InputError for an unknown focus.
    """
    lines = []
    check_count("horizon", horizon)
    check_flag("full", full)
    check_text("whole", whole)
    runs = ordered_runs(runs, ["auc"])
    summary = check_table(summary, "summary", [*ARM, "verdict", "threshold", "seeds", *COLUMNS], one_row_per=ARM)
    numbers = [*COLUMNS, "threshold", "seeds"]
    check_numbers(summary, "summary", numbers)
    types = pd.api.types
    for name, kind in summary.dtypes.items():
        if types.is_extension_array_dtype(kind) and types.is_numeric_dtype(kind):  # pandas' own missing values, as NaN
            summary = summary.assign(**{str(name): summary[name].to_numpy(np.float64, na_value=np.nan)})
    baseline = baseline_name(summary)
    timed = baseline is not None or bool(np.isfinite(summary["threshold"]).any())
    if focus is not None:
        focus_rule(runs, focus)
    brief = is_long(summary) and not full
    printed = summary if not brief else telling(summary)
    level = level_lines(runs, summary) if brief else dict[tuple[Any, ...], list[str]]()
    width = max(10, printed["controller"].str.len().max())
    heads = {name: column.head for name, column in COLUMNS.items()}
    head = (
        f"{'':2}{'controller':<{width}}  "
        + (f"{heads['steps']:>20}  {heads['censored']:>8}  {heads['rollouts']:>9}  {heads['speedup']:>17}  "
           if timed else "")
        + f"{heads['auc']:>5}  {heads['final']:>5}  {heads['silent_share']:>6}  "
        f"{heads['coverage']:>7}"
    ) + (f"  against {baseline}" if baseline else "")
    for (pool, learner), block in printed.groupby(BLOCK, sort=False, observed=True):
        threshold = block["threshold"].iloc[0]
        reason = f"{baseline} gains nothing" if baseline else "no baseline"
        goal = f"threshold: success {threshold:.3f}" if np.isfinite(threshold) else f"no threshold: {reason}"
        lines += ["", f"{pool} / {learner}  ({goal})", head]
        for row in rows_of(block):
            lines.append(
                f"{'':2}{row['controller']:<{width}}  "
                + (f"{_interval(row, 'steps', '.0f'):>20}  "
                   f"{row['censored']:>3}/{row['seeds']:<4}  {_number(row['rollouts'], ',.0f'):>9}  "
                   f"{_interval(row, 'speedup', '.2f'):>17}  " if timed else "")
                + f"{row['auc']:.3f}  {row['final']:.3f}  "
                f"{_number(row['silent_share'], '.0%'):>6}  {_number(row['coverage'], '.0%'):>7}"
                + (f"  {_verdict(row)}" if baseline else "")
            )
        lines += level.get((pool, learner), [])
    if brief:
        lines += ["", *effect_lines(runs)]
        lines += [f"Of {len(summary)} arms, {len(printed)} are shown. The whole table: {whole}."]
    if baseline and (summary["verdict"] != "baseline").any():
        lines += ["", *not_won_lines(runs, summary, focus, brief)]
    if "mean_label_rollouts" in summary:
        lines += ["", *cost_lines(summary, None if not brief else list(printed["controller"]))]
    lines += [
        "",
        *([f"steps: mean; runs that never reached the threshold count as {horizon} (censored: how many). "
           "[95 % interval]."] if timed else []),
        "area, final: interquartile mean of held-out success, all difficulty deciles equally weighted. silent: groups "
        "whose rollouts all agree.",
        "covered: share of the pool drawn.",
    ]
    if baseline:
        lines[-1] += f" speed-up: steps of {baseline} over the rule's, same seeds."
        lines += [
            f"against {baseline}: sign-flip test on the mean difference in area, Holm-adjusted over the whole table "
            "at 5 %.",
        ]
    return "\n".join(lines)


def cost_lines(summary: pd.DataFrame, only: Sequence[str] | None = None) -> list[str]:
    """What each controller spends in a run, and what it saves, on each pool; means over its learners.

    only: the controllers that are printed, None for all.
    """
    lines = []
    baseline = baseline_name(summary) or "the baseline"
    for pool, block in costs_table(summary).groupby("pool", sort=False, observed=True):
        rows = []
        for row in rows_of(block if only is None else block[block["controller"].isin(only)]):
            heads = {name: column.head for name, column in COST_COLUMNS.items() if column.head}
            shown = {head: _number(row[name], ",.1f" if name == "repaid" else ",.0f") for name, head in heads.items()}
            if np.isnan(row["mean_label_rollouts"]):
                shown[heads["mean_label_rollouts"]] = "not known"
            rows.append({"controller": row["controller"]} | shown)
        lines.append(f"Costs of a run on {pool}, mean over learners:")
        lines += _table(pd.DataFrame(rows))
    return [
        *lines,
        "generated, trained on, probes, labels: rollouts; those for labels are spent before training. predictions: of "
        "helper models.",
        f"short: updates on fewer groups than asked for. saved: rollouts to the threshold, those of {baseline} minus "
        "the controller's.",
    ]


def focus_rule(runs: pd.DataFrame, focus: str) -> str:
    """The rule that `focus` names, as itself or as one of its controllers; InputError where there is none or several.

    A rule's name comes first: "adarft" is the rule, even where a controller has this label.
    """
    rules, controllers = dict.fromkeys(runs["rule"]), dict.fromkeys(runs["controller"])
    if focus in list(rules):
        return focus
    of = list(dict.fromkeys(rule for rule, name in zip(runs["rule"], runs["controller"], strict=True) if name == focus))
    if len(of) != 1:
        labels = ", ".join(map(str, dict.fromkeys([*rules, *controllers])))
        raise InputError(f"focus: must be a rule or controller of the table ({labels}), got {shown(focus)}")
    return str(of[0])


def not_won_lines(
    runs: pd.DataFrame, summary: pd.DataFrame, focus: str | None = None, brief: bool = False
) -> list[str]:
    """A line for each pool and learner in which some rule does as well as `focus`, or the baseline nearly so.

    brief: of many rivals name the first only.
    """
    joined = named if brief else ", ".join
    baseline = baseline_name(summary)
    base = summary.loc[summary["verdict"] == "baseline", "controller"].iloc[0]
    rule = leading_rule(runs, base) if focus is None else focus_rule(runs, focus)
    if focus is not None and focus != rule:
        runs, summary = (table[(table["rule"] != rule) | (table["controller"] == focus)] for table in (runs, summary))
    rivals = rivals_table(runs, rule)
    if rivals.empty:
        return []
    seeds = runs["seed"].nunique()
    if not (rivals["enough"] | rivals["equal"]).any():
        return [f"Too few seeds to say where {rule} does not win (seeds: {seeds}, comparisons: {len(rivals)})."]
    speedups = {tuple(row[key] for key in ARM): row["speedup"] for row in rows_of(summary)}
    settings = Counter(zip(summary["pool"], summary["learner"], summary["rule"], strict=True))
    gain, equal, enough = (rivals[name].to_numpy() for name in ("auc_gain", "equal", "enough"))
    sure = rivals["p_holm"].to_numpy() <= 0.05
    above, level, undecided = sure & (gain > 0), ~equal & ~sure & enough, ~equal & ~enough
    names, arms = list(rivals["rival"]), list(rivals[ARM].itertuples(index=False, name=None))
    lines = []
    for rows in rows_by(rivals, ARM):
        arm = tuple(map(str, arms[rows[0]]))

        def those(which: NDArray[np.bool_], rows: NDArray[np.int64] = rows) -> list[str]:
            return [names[row] for row in rows[which[rows]]]

        decided = (equal | enough)[rows].sum()
        parts = []
        if above[rows].any():
            parts.append(f"beaten by {joined([f'{names[row]} (+{gain[row]:.2g})' for row in rows[above[rows]]])}")
        for what, some in (("equal to", those(equal)), ("level with", those(level))):
            if some:
                parts.append(f"{what} {'every rule' if len(some) == decided else joined(some)}")
        if not parts and speedups[arm] < SMALL_SPEEDUP:
            parts.append(f"first, but only {speedups[arm]:.2f} times as fast as {baseline}")
        if undecided[rows].any():
            parts.append(f"too few seeds against {joined(those(undecided))}")
        if parts:
            tried = settings[arm[0], arm[1], rule]
            best = f" (best of {tried} settings on these very seeds: optimistic)" if tried > 1 else ""
            lines.append(f"  {' / '.join(arm)}{best}: {'; '.join(parts)}")
    if not lines:
        return [f"{rule} wins everywhere here: a study that it cannot lose says little; add rivals or learners."]
    return [f"Where {rule} does not win (area under the curve, paired, Holm-adjusted at 5 %):", *lines]


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _table(shown: pd.DataFrame) -> Sequence[str]:
    return [f"  {line}" for line in shown.to_string(index=False).splitlines()]


def _interval(row: dict[str, Any], name: str, form: str) -> str:
    if not np.isfinite(row[name]):
        return "-"
    if not np.isfinite(row[f"{name}_low"]):
        return format(row[name], form)  # one seed has no interval
    return f"{row[name]:{form}} [{row[f'{name}_low']:{form}}, {_number(row[f'{name}_high'], form)}]"


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "-"


def _verdict(row: dict[str, Any]) -> str:
    if row["verdict"] == "equal":
        return "equal on every seed"
    if row["verdict"] in ("baseline", "too few seeds"):
        return str(row["verdict"])
    p = row["p_holm"]
    return f"{row['verdict']} (p {'< .001' if p < 0.001 else f'= {p:.3f}'})"
