"""The report of a calibration, and of advice from it, as one file of HTML."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench.calibration.fit import BEYOND, Fit
from workbench.figures.looks import controller_looks
from workbench.reports import charts
from workbench.reports.comparison import FIRST_SHOWN, rounded, span
from workbench.reports.page import Page
from workbench.reports.parts import Arm, Cell, Figure, Head, Panel, Row, Shown, Table, interval_text, table_of
from workbench.study.commit import git_commit

if TYPE_CHECKING:
    from workbench.calibration.advice import Advice

PACKAGES = ("numpy", "scipy", "pandas", "numba")
SETTLE = "A short pilot of the advised curriculum on your own model settles more than any simulation does."


def advice_page(advice: Advice, command: str = "") -> Page:
    """What each candidate would save, with which odds, and how the learners behind it were weighed."""
    table, fit = advice.table, advice.fit
    arms = arms_of([one.label for one in advice.candidates], list(table["controller"]))
    updates = int(advice.steps[-1])
    asked = (f"Which of {len(arms)} curricula is best for the next {updates} updates of the model behind this log? "
             f"{advice.law.size} futures of each, under learners fitted to the log.")  # fmt: skip
    first, *odds = advice._verdict()
    left_out = [f"{name} was left out: {why}." for name, why in advice.left_out.items()]
    return Page(
        title=f"Advice: {advice.advised}",
        asked=[asked, f"The log: {fit.log.understood}."],
        answer=[first, *odds, *advice.changes],
        doubts=[*fit.unknown, *left_out, *advice.doubts, SETTLE],
        arms=arms,
        figures=[candidate_figure(table, arms, "saved"), candidate_figure(table, arms, "gain"),
                 futures_figure(advice, arms), law_figure(fit.table), foretold_figure(fit)],
        tables=[candidate_part(table), law_part(fit.table), parameter_part(fit)],
        settings={"updates": f"{updates}", "rollouts": f"{advice.rollouts[0, -1].mean():,.0f} in a run of uniform",
                  "futures": f"{advice.law.size}", "labels": f"{advice.labels_cost:,} rollouts",
                  "lost by batches of one difficulty": f"{advice.discrepancy or 'nothing'}"} | fit_settings(fit),
        again=[command or "fit = wb.calibrate(log, pool); wb.advise(fit, ...).save('results/advice')"],
        versions=versions(), commit=git_commit(), text=advice.report(),
    )  # fmt: skip


def fit_page(fit: Fit, command: str = "") -> Page:
    """Which learner a log speaks for, its parameters, and what the log can't tell."""
    (name, weight), *others = fit.ranked
    groups = int((fit.log.step > fit.cut).sum()) + fit.looks
    rest = f" Next: {', '.join(f'{other} {w:.2f}' for other, w in others[:3])}." if others else ""
    return Page(
        title=f"Calibration: {name}",
        asked=["Which simulated learner learns as the model behind this log does?", f"The log: {fit.log.understood}."],
        answer=[f"Most like {name}: weight {weight:.2f} of 1 in the mixture that predicts the later log best.{rest}",
                f"Weights are by the predictions of {groups:,} groups after update {fit.cut} from those before.",
                *fit.unknown],
        doubts=[*fit.unknown, BEYOND],
        figures=[law_figure(fit.table), foretold_figure(fit)], tables=[law_part(fit.table), parameter_part(fit)],
        settings=fit_settings(fit), again=[command or "fit = wb.calibrate(log, pool)"],
        versions=versions(), commit=git_commit(), text=fit.report(),
    )  # fmt: skip


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def fit_settings(fit: Fit) -> dict[str, str]:
    return {"log": fit.log.understood, "pool": f"{fit.pool.name}, {len(fit.pool):,} items, digest {fit.pool.digest}",
            "fitted": f"updates 1 to {fit.log.updates}; weighed by updates from {fit.cut + 1} on"}  # fmt: skip


def arms_of(names: Sequence[str], ranked: Sequence[str]) -> list[Arm]:
    """The candidates in the order of legends; those that rank first are on when the page opens, and the baseline."""
    looks = controller_looks(pd.DataFrame({"controller": names, "rule": [name.split()[0] for name in names]}))
    on = {names[0], *ranked[:FIRST_SHOWN]}
    return [Arm(name, look, name in on) for name, look in looks.items()]


# ----------------------------------------------------------------------------------------------------- figures


def candidate_figure(table: pd.DataFrame, arms: Sequence[Arm], column: str) -> Figure:
    """What each candidate saves ("saved", in per cent) or gains ("gain"): medians with 80 % intervals."""
    share = column == "saved"
    place = {arm.name: i for i, arm in enumerate(arms)}
    names = [f"{column}{end}" for end in ("", "_low", "_high")]
    scaled = table.assign(**{name: table[name] * (100 if share else 1) for name in names})
    kept = scaled[np.isfinite(scaled[column].to_numpy(np.float64))]
    records = kept.to_dict("records")
    row = {name: i for i, name in enumerate(table["controller"])}
    form = ".0f" if share else "+.3f"
    unit = " %" if share else ""
    told = [f"{interval_text(r, column, form)}{unit}; best in {r['best']:.0%} of futures" for r in records]
    rows: dict[str, Sequence[Any]] = {
        "r": [row[r["controller"]] for r in records], "a": [place[r["controller"]] for r in records],
        "m": rounded(kept[column]), "l": rounded(kept[names[1]]), "h": rounded(kept[names[2]]),
        "f": [1] * len(records), "t": told,
    }  # fmt: skip
    what = "Rollouts saved to uniform's end (%)" if share else "Gain in area under success"
    alt = f"{what}: " + "; ".join(f"{r['controller']} {one}" for r, one in zip(records, told, strict=True)) + "."
    caption = "Median and 80 % interval over futures; the line marks no difference to uniform."
    caption += " Saved until the success that uniform has at its end." if share else ""
    if share and len(kept) < len(table):
        caption += " Where uniform gains too little, no share is defined."
    title = "What each curriculum saves" if share else "What each curriculum gains"
    return charts.intervals(arms, column, title, caption, alt, [Panel("", rows)], list(table["controller"]),
                            what[0].lower() + what[1:], span([kept[name] for name in names] + [np.zeros(1)]),
                            centre=0.0, offset=False)  # fmt: skip


def futures_figure(advice: Advice, arms: Sequence[Arm]) -> Figure:
    """Mean success over the pool's items in the futures, by candidate: median and 80 % interval."""
    place = {arm.name: i for i, arm in enumerate(arms)}
    labels = [one.label for one in advice.candidates]
    low, middle, high = np.quantile(advice.success, [0.1, 0.5, 0.9], axis=2)  # (C, E) each
    columns: dict[str, list[Any]] = {"s": [], "a": [], "m": [], "l": [], "h": []}
    for c, label in enumerate(labels):
        columns["s"] += advice.steps.tolist()
        columns["a"] += [place[label]] * len(advice.steps)
        for short, values in (("m", middle), ("l", low), ("h", high)):
            columns[short] += rounded(values[c])
    ends = "; ".join(f"{label} {middle[c, -1]:.3g}" for c, label in enumerate(labels))
    alt = f"Median success after {advice.steps[-1]} updates: {ends}; {middle[0, 0]:.3g} at the start."
    caption = "Median and 80 % interval over futures of the mean success over the pool's items."
    figure = charts.curves(arms, "futures", "Success in the futures", caption, alt, [Panel("", columns)], "update",
                           "success", span([low.ravel(), high.ravel()], (0, 1)), height=280)  # fmt: skip
    return figure.alone()


def law_figure(table: pd.DataFrame) -> Figure:
    """How far each learner is behind the best in predicting the later groups of the log, with two standard errors."""
    records = table.to_dict("records")
    error = 2 * np.nan_to_num(table["se"].to_numpy(np.float64))
    behind = -table["behind"].to_numpy(np.float64)
    rows: dict[str, Sequence[Any]] = {
        "r": list(range(len(records))), "a": [0] * len(records), "m": rounded(behind), "l": rounded(behind - error),
        "h": rounded(behind + error), "f": [1] * len(records),
        "t": [f"weight {r['weight']:.2f}; {r['behind']:.1f} nats behind (se {r['se']:.1f})" for r in records],
    }  # fmt: skip
    alt = "Nats behind the best learner: " + "; ".join(
        f"{r['learner']} {r['behind']:.1f}, weight {r['weight']:.2f}" for r in records) + "."  # fmt: skip
    caption = "Log score of the log's later groups, less the best learner's, with two standard errors."
    return charts.intervals([], "learners", "Which learner predicts the log", caption, alt, [Panel("", rows)],
                            list(table["learner"]), "log score less the best's (nats)",
                            span([behind - error, behind + error]), centre=0.0)  # fmt: skip


def foretold_figure(fit: Fit) -> Figure:
    """Predicted and observed success of the log's later groups."""
    table = fit.foretold()
    records = table.to_dict("records")
    told = [f"{interval_text(r, 'observed', '.2f')} where {r['predicted']:.2f} was predicted" for r in records]
    rows: dict[str, Sequence[Any]] = {
        "x": rounded(table["predicted"]), "a": [0] * len(records), "m": rounded(table["observed"]),
        "l": rounded(table["observed_low"]), "h": rounded(table["observed_high"]), "f": [1] * len(records),
        "t": [f"{one}, {r['groups']:,} groups" for r, one in zip(records, told, strict=True)],
    }  # fmt: skip
    inside = int(table["predicted"].between(table["observed_low"], table["observed_high"]).sum())
    caption = (f"Groups after update {fit.cut} in bins of their predicted chance, with 95 % intervals of the observed "
               f"share. The line marks agreement: {inside} of {len(table)} intervals hold the prediction.")  # fmt: skip
    return charts.points([], "foretold", "Are its predictions right?", caption, f"Observed: {'; '.join(told)}.",
                         [Panel("", rows)], "predicted success", "observed success", (0.0, 1.0), (0.0, 1.0),
                         diagonal=True, height=300)  # fmt: skip


# ------------------------------------------------------------------------------------------------------ tables


def candidate_part(table: pd.DataFrame) -> Table:
    """A row for each candidate."""
    heads = {
        "controller": Shown(Head("controller")),
        "saved": Shown(Head("saved", "Share of uniform's rollouts that is saved to reach what uniform reaches."),
                       ".0%", True),
        "gain": Shown(Head("gain in area", "Area under success over rollouts, less uniform's."), "+.3f", True),
        "best": Shown(Head("best", "Chance that it is the best of those tried."), ".2f"),
        "no_better": Shown(Head("no better", "Chance that it is no better than uniform."), ".2f"),
        "final": Shown(Head("final", "Mean success at the end."), ".3f"),
        "labels": Shown(Head("labels", "Whether it reads difficulty labels.")),
    }  # fmt: skip
    caption = "Candidates, the best first: medians with 80 % intervals over futures."
    return table_of(table, "candidates", "Candidates", caption, heads, "table.csv")


def law_part(table: pd.DataFrame) -> Table:
    """A row for each learner."""
    columns = {
        "learner": Shown(Head("learner")), "weight": Shown(Head("weight", "In the mixture that predicts best."), ".2f"),
        "log_score": Shown(Head("log score", "Per later group."), ".4f"),
        "behind": Shown(Head("behind", "Nats behind the best learner."), ".1f"),
        "se": Shown(Head("se", "Standard error of that difference."), ".1f"),
    }  # fmt: skip
    return table_of(table, "learners", "Learners", "Learners, the heaviest first.", columns, "fit.json", arm=None)


def parameter_part(fit: Fit) -> Table:
    """A row for each parameter of each learner: median and 80 % interval, and how much the log narrowed it."""
    rows = []
    for name, _ in fit.ranked:
        law = fit.laws[name]
        for key, values in law.natural.items():
            low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
            width = law.narrowing.get(key, np.nan)
            rows.append(Row([Cell(key, key), Cell(name, name),
                             Cell(f"{middle:.3g} [{low:.3g}, {high:.3g}]", float(middle)),
                             Cell("" if np.isnan(width) else f"{width:.2f}", float(width))]))  # fmt: skip
    heads = [Head("parameter"), Head("learner"), Head("median [80 % interval]", numeric=True),
             Head("posterior / prior", "Standard deviation of the posterior over the prior's: near 1, the log says "
                  "nothing of it.", numeric=True)]  # fmt: skip
    return Table("parameters", "Parameters", "Of each learner, in natural units.", heads, rows, file="fit.json")
