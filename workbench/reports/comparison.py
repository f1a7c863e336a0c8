"""The report of a comparison of curricula, simulated or real: figures and tables from the tables of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.frame import ARM, BLOCK
from workbench.analysis.ranking import OVERALL
from workbench.analysis.tables import COLUMNS, COST_COLUMNS, Column, baseline_name
from workbench.figures.curves import mean_and_band
from workbench.figures.frontier import SPREAD, cost_of, undominated
from workbench.figures.levels import levels_of
from workbench.figures.looks import controller_looks
from workbench.reports import charts
from workbench.reports.answers import alt_of_curves, alt_of_intervals
from workbench.reports.parts import (
    Arm,
    Figure,
    Head,
    Panel,
    Shown,
    Table,
    interval_text,
    table_of,
)

MOST_ARMS = 24  # in the figures of a page; tables have all
FIRST_SHOWN = 8  # that are on when the page opens
MOST_POINTS = 24_000  # of all curves of a figure
MOST_PANELS = 60


def arms_of(summary: pd.DataFrame) -> list[Arm]:
    """The arms of the figures in the order of their legends: the baseline and those with the largest mean areas.

    The first FIRST_SHOWN by area are on when the page opens.
    """
    looks = controller_looks(summary)
    base = baseline_name(summary)
    area = summary.groupby("controller", sort=False)["auc"].mean().sort_values(ascending=False, kind="stable")
    best = [str(name) for name in area.index if name != base]
    kept = [*([base] if base in looks else []), *best][:MOST_ARMS]
    on = kept[:FIRST_SHOWN]
    return [Arm(name, look, name in on) for name, look in looks.items() if name in kept]


def left_out(summary: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """A sentence where some arms are in the tables only, "" where none is."""
    rest = summary["controller"].nunique() - len(arms)
    return f" {rest} more curricula, with smaller areas, are in the tables only." if rest else ""


# ----------------------------------------------------------------------------------------------------- figures


def curve_figure(
    curves: pd.DataFrame, arms: Sequence[Arm], column: str, name: str, title: str, y_title: str,
    limits: tuple[float, float] | None = None, form: str = ".3f", note: str = "", x_title: str = "step",
) -> Figure:  # fmt: skip
    """A column of the curves over steps: a panel for each pool and learner, a line for each arm.

    x_title: what a step is. limits: between which the axis stays whatever the bands say, None for none.
    """
    place = {arm.name: i for i, arm in enumerate(arms)}
    drawn = curves[curves["controller"].isin(place)]
    drawn = drawn[np.isfinite(drawn[column].to_numpy(np.float64))]
    blocks = drawn[BLOCK].drop_duplicates().astype(str)
    few = thinned(drawn, MOST_POINTS // max(1, min(len(blocks), MOST_PANELS) * len(arms)))
    band = mean_and_band(few, column)
    panels = []
    bands = dict(list(band.groupby(BLOCK, sort=False, observed=True)))
    for pool, learner in list(blocks.itertuples(index=False, name=None))[:MOST_PANELS]:
        block = bands[pool, learner].sort_values(["step", "mean"], ascending=[True, False], kind="stable")
        numbers = {short: rounded(block[long]) for short, long in (("m", "mean"), ("l", "low"), ("h", "high"))}
        places = [place[name] for name in block["controller"]]
        rows: dict[str, Sequence[Any]] = {"s": block["step"].tolist(), "a": places, **numbers}
        panels.append(Panel(f"{pool} / {learner}", rows, {"pool": pool, "learner": learner}))
    seeds = sorted(set(band["seeds"]))
    over = f"{seeds[0]} seeds" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    caption = f"Mean and 95 % interval (t) over {over}." if seeds[-1] > 1 else "One seed, so without intervals."
    gone = len(blocks) - len(panels)
    caption += f" {gone} more pairs of pool and learner are in the tables only." if gone > 0 else ""
    alt = alt_of_curves(drawn, column, title, x_title)
    low, high = span([band["low"], band["high"], band["mean"]], limits)
    figure = charts.curves(arms, name, title, f"{caption}{note}", alt, panels, x_title, y_title, (low, high), form,
                           height=280 if len(panels) == 1 else 170)  # fmt: skip
    return figure.alone() if len(panels) == 1 else figure


def thinned(curves: pd.DataFrame, most: int) -> pd.DataFrame:
    """The curves at no more than `most` steps, the first and the last among them."""
    steps = np.sort(curves["step"].unique())
    if len(steps) <= max(most, 2):
        return curves
    kept = steps[np.unique(np.linspace(0, len(steps) - 1, max(most, 2)).round().astype(int))]
    return curves[curves["step"].isin(kept)]


def rounded(values: Any, digits: int = 4) -> list[float | None]:
    """Numbers with so many significant digits, None for those that are not known."""
    return [float(f"{x:.{digits}g}") if np.isfinite(x) else None for x in np.asarray(values, np.float64)]


def span(parts: Sequence[Any], limits: tuple[float, float] | None = None) -> tuple[float, float]:
    """An axis that holds these numbers, with a margin, between limits where there are some."""
    values = np.concatenate([np.asarray(part, np.float64) for part in parts])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.05
    low, high = low - margin, high + margin
    return (low, high) if limits is None else (max(low, limits[0]), min(high, limits[1]))


def level_figure(curves: pd.DataFrame, arms: Sequence[Arm], note: str = "") -> Figure | None:
    """Success of each difficulty level at the end of the runs; None where the curves have it at fewer than 2 levels."""
    levels = levels_of(curves)
    if len(levels) < 2:
        return None
    last = curves.sort_values("step", kind="stable").groupby([*ARM, "seed"], sort=False, observed=True).tail(1)
    long = last[[*ARM, "seed", *levels]].melt([*ARM, "seed"], None, "step", "success")
    long["step"] = long["step"].str.removeprefix("success_").astype(int)
    return curve_figure(long, arms, "success", "levels", "Success by level at the end", "success", (0, 1),
                        note=f" Level 0 is the easiest.{note}", x_title="level")  # fmt: skip


def frontier_figure(summary: pd.DataFrame, arms: Sequence[Arm], note: str = "") -> Figure | None:
    """Success at the end over the rollouts of a run and its labels; hollow marks are dominated. None where costs are
    not known, or all alike."""
    place = {arm.name: i for i, arm in enumerate(arms)}
    if "mean_rollouts" not in summary:
        return None
    table = summary.assign(x=cost_of(summary))
    table = table[table["controller"].isin(place) & np.isfinite(table["x"]) & np.isfinite(table["final"])]
    low, high = float(table["x"].min()), float(table["x"].max())
    if table.empty or high < 1.01 * low:
        return None
    log = high > SPREAD * low > 0
    domain = (low / 1.3, high * 1.3) if log else span([table["x"]])
    panels, told = [], []
    for (pool, learner), block in list(table.groupby(BLOCK, sort=False, observed=True))[:MOST_PANELS]:
        free = undominated(block["x"].to_numpy(), block["final"].to_numpy(np.float64))
        records = block.to_dict("records")
        rows: dict[str, Sequence[Any]] = {
            "x": rounded(block["x"], 6), "a": [place[r["controller"]] for r in records], "m": rounded(block["final"]),
            "l": rounded(block["final_low"]), "h": rounded(block["final_high"]), "f": [int(one) for one in free],
            "t": [f"success {interval_text(r, 'final', '.3f')} for {r['x']:,.0f} rollouts" for r in records],
        }  # fmt: skip
        panels.append(Panel(f"{pool} / {learner}", rows, {"pool": str(pool), "learner": str(learner)}))
        told += [r["controller"] for r, one in zip(records, free, strict=True) if one]
    often = ", ".join(f"{name} in {count}" for name, count in pd.Series(told).value_counts(sort=True).items())
    alt = f"Success at the end over rollouts, labels included. Not dominated, and in how many panels: {often}."
    caption = ("Success at the end with its 95 % interval over the rollouts of a run, those for labels included. "
               "Hollow: another has at least the success for at most the rollouts.")  # fmt: skip
    return charts.points(arms, "costs", "Cost and success", f"{caption}{note}", alt, panels, "rollouts of a run",
                         "success at the end", domain, span([table[f"final{end}"] for end in ("", "_low", "_high")],
                                                            (0, 1)), log=log)  # fmt: skip


def gain_figure(summary: pd.DataFrame, arms: Sequence[Arm], column: str, title: str, note: str) -> Figure | None:
    """A comparison with the baseline: points with intervals, a panel for each pool, a row for each learner.

    column: "speedup", an axis in powers of 2, or "auc_gain". None where no arm has one.
    """
    place = {arm.name: i for i, arm in enumerate(arms)}
    base = baseline_name(summary) or "the baseline"
    censored = {(row["pool"], row["learner"]): row["censored"] > 0
                for row in summary[summary["verdict"] == "baseline"].to_dict("records")}  # fmt: skip
    table = summary[summary["controller"].isin(place) & (summary["verdict"] != "baseline")]
    table = table[np.isfinite(table[column].to_numpy(np.float64))]
    ratio = column == "speedup"
    table = table[table[column] > 0] if ratio else table
    if table.empty:
        return None
    learners = list(dict.fromkeys(summary["learner"]))
    row = {name: i for i, name in enumerate(learners)}
    low, high = _limits(table, column, ratio)
    ends = [np.clip(table[f"{column}_{end}"].to_numpy(np.float64), low, high) for end in ("low", "high")]
    table = table.assign(l=ends[0], h=ends[1])
    panels = []
    for pool, block in list(table.groupby("pool", sort=False, observed=True))[:MOST_PANELS]:
        records = block.to_dict("records")
        cut = [ratio and (r["censored"] > 0 or censored.get((r["pool"], r["learner"]), False)) for r in records]
        rows: dict[str, Sequence[Any]] = {
            "r": [row[r["learner"]] for r in records], "a": [place[r["controller"]] for r in records],
            "m": rounded(block[column]), "l": rounded(block["l"]), "h": rounded(block["h"]),
            "f": [0 if one else 1 for one in cut],
            "t": [_told(r, column, one, base) for r, one in zip(records, cut, strict=True)],
        }  # fmt: skip
        panels.append(Panel(str(pool), rows, {"pool": str(pool)}))
    about = COLUMNS[column]
    label = " ".join(about.label.format(baseline=base).split())
    caption = f"{label[0].upper()}{label[1:]}: point and 95 % bootstrap interval; the line marks no difference.{note}"
    alt = alt_of_intervals(table, column, label)
    short = f"{title.lower()} over {base}" if ratio else f"{title.lower()}"
    return charts.intervals(arms, column, title, caption, alt, panels, learners, short, (low, high),
                            centre=about.centre, log=ratio)  # fmt: skip


def _limits(table: pd.DataFrame, column: str, ratio: bool) -> tuple[float, float]:
    values = table[[column, f"{column}_low", f"{column}_high"]].to_numpy(np.float64).ravel()
    values = values[np.isfinite(values) & (values > 0 if ratio else True)]
    if not ratio:
        low, high = span([values, np.zeros(1)])
        return low, high
    return min(float(values.min()) / 1.08, 0.9), max(float(values.max()) * 1.08, 1.1)


def _told(record: Mapping[Any, Any], column: str, cut: bool, base: str) -> str:
    """What is said of a point under the pointer."""
    form = ".2f" if column == "speedup" else "+.3f"
    told = f"{record['pool']} / {record['learner']}: {interval_text(record, column, form)}, {record['verdict']}"
    short = f"{record['censored']} of {record['seeds']} runs never reached the threshold" if record["censored"] else ""
    return f"{told}\n{short or f'runs of {base} never reached the threshold'}" if cut else told


def rank_figure(ranking: pd.DataFrame, arms: Sequence[Arm]) -> Figure | None:
    """Mean ranks over pools with their intervals: a row for each learner and one for all."""
    place = {arm.name: i for i, arm in enumerate(arms)}
    table = ranking[ranking["controller"].isin(place)]
    names = list(dict.fromkeys(table["learner"]))
    if table["controller"].nunique() < 2:
        return None
    if len(names) == 2:  # one learner and all of them are the same
        table, names = table[table["learner"] == OVERALL], [OVERALL]
    names = [OVERALL, *(name for name in names if name != OVERALL)] if OVERALL in names else names
    row = {name: i for i, name in enumerate(names)}
    records = table.to_dict("records")
    rows: dict[str, Sequence[Any]] = {
        "r": [row[r["learner"]] for r in records], "a": [place[r["controller"]] for r in records],
        "m": rounded(table["mean_rank"]), "l": rounded(table["mean_rank_low"]), "h": rounded(table["mean_rank_high"]),
        "f": [1] * len(records),
        "t": [f"{r['learner']}: mean rank {interval_text(r, 'mean_rank', '.2f')}, place {r['place']}" for r in records],
    }  # fmt: skip
    most = float(ranking.groupby("learner")["mean_rank_high"].max().max())
    alt = alt_of_intervals(table[table["learner"] == names[0]], "mean_rank", "Mean rank over all")
    caption = "Mean rank over pools by area under the curve, 1 being the best; 95 % intervals (bootstrap over seeds)."
    return charts.intervals(arms, "ranks", "Ranking", caption, alt, [Panel("", rows)], names, "mean rank",
                            (0.8, most + 0.2))  # fmt: skip


# ------------------------------------------------------------------------------------------------------ tables


def _shown(name: str, column: Column, baseline: str) -> Head:
    return Head(column.head or name.replace("_", " "), " ".join(column.meaning.split()))


def summary_part(summary: pd.DataFrame, file: str = "summary.csv") -> Table:
    """The summary: a row for each arm."""
    base = baseline_name(summary) or "the baseline"
    forms = {"steps": ".0f", "censored": ".0f", "rollouts": ",.0f", "speedup": ".2f", "auc": ".3f",
             "auc_gain": "+.3f", "improvement": ".2f", "p_holm": ".3g", "final": ".3f", "silent_share": ".0%",
             "coverage": ".0%"}  # fmt: skip
    heads = {"speedup": "speed-up", "auc_gain": "gain in area", "improvement": "chance to improve",
             "p_holm": "p (Holm)"}  # fmt: skip
    verdict = Head(f"against {base}", "What the test says after Holm's adjustment over the table, at 5 %.")
    columns = {"controller": Shown(Head("controller")), "pool": Shown(Head("pool")), "learner": Shown(Head("learner")),
               "seeds": Shown(Head("seeds"), "d"), "verdict": Shown(verdict)}  # fmt: skip
    for name, form in forms.items():
        head = _shown(name, COLUMNS[name], base)
        head = head._replace(text=heads.get(name, head.text))
        columns[name] = Shown(head, form, interval=f"{name}_low" in summary)
    caption = "A row for each curriculum on each pool and learner; [95 % interval]."
    return table_of(summary, "summary", "Estimates and tests", caption, columns, file)


def ranking_part(ranking: pd.DataFrame, file: str = "ranking.csv") -> Table:
    """The ranking: a row for each controller and learner, and for all learners."""
    rank = Head("mean rank", "By area under the curve, over pools; 1 is the best.")
    seeds = Head("seeds to tell from next", "With which this comparison alone shows a difference in 80 of 100 studies.")
    columns = {
        "controller": Shown(Head("controller")), "learner": Shown(Head("learner")), "place": Shown(Head("place"), "d"),
        "mean_rank": Shown(rank, ".2f", interval=True),
        "worst_rank": Shown(Head("worst rank"), ".1f"),
        "mean_regret": Shown(Head("mean regret", "Area of the best minus its own."), ".4f", interval=True),
        "worst_regret": Shown(Head("worst regret"), ".4f"),
        "seeds_to_separate": Shown(seeds, ",.0f"),
    }  # fmt: skip
    caption = "Ranks over pools, for each learner and over all; 95 % intervals by bootstrap over seeds."
    return table_of(ranking, "ranking", "Ranking", caption, columns, file, everywhere=OVERALL)


def cost_part(summary: pd.DataFrame, file: str = "summary.csv") -> Table | None:
    """What a run of each arm spends; None where the summary does not say."""
    columns = {"controller": Shown(Head("controller")), "pool": Shown(Head("pool")), "learner": Shown(Head("learner"))}
    for name, column in COST_COLUMNS.items():
        if name in summary:
            columns[name] = Shown(_shown(name.removeprefix("mean_"), column, ""), ",.0f")
    if len(columns) == len(ARM):
        return None
    return table_of(summary, "costs", "Costs of a run", "Means over seeds, of whole runs.", columns, file)


def parts_of_comparison(
    curves: pd.DataFrame, summary: pd.DataFrame, ranking: pd.DataFrame, y_title: str = "held-out success"
) -> tuple[list[Arm], list[Figure], list[Table]]:
    """Arms, figures and tables that these tables can fill."""
    arms = arms_of(summary)
    curves = curves[curves["controller"].isin({arm.name for arm in arms})]
    note = left_out(summary, arms)
    figures: list[Figure | None] = [
        curve_figure(curves, arms, "success", "success", "Success over training", y_title, (0, 1), note=note),
        rank_figure(ranking, arms),
    ]
    if (summary["verdict"] != "baseline").any() and (summary["verdict"] == "baseline").any():
        hollow = " Hollow marks: some runs never reached the threshold, and count with their last step."
        figures += [gain_figure(summary, arms, "auc_gain", "Gain in area", ""),
                    gain_figure(summary, arms, "speedup", "Speed-up", hollow)]  # fmt: skip
    if "target" in curves and np.isfinite(curves["target"].to_numpy(np.float64)).any():
        figures.append(curve_figure(curves, arms, "target", "targets", "Target difficulty over training",
                                    "target difficulty", (0, 100), ".1f",
                                    note=" Only curricula that have a target."))  # fmt: skip
    figures += [level_figure(curves, arms, note), frontier_figure(summary, arms, note)]
    tables = [summary_part(summary), ranking_part(ranking), cost_part(summary)]
    return arms, [one for one in figures if one], [one for one in tables if one]


