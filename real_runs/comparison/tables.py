"""Tables, figures and the report of a study of real runs, made by the same code as the simulation's."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from real_runs.comparison.cells import Cell
from real_runs.comparison.page import comparison_page
from real_runs.runs.events import BELOW, CONSTANT, CUT, GAP, fall
from real_runs.runs.execute import make_pool
from real_runs.runs.finished import Finished
from real_runs.runs.run import UNSPENT, Run
from real_runs.tasks.named import make_task
from workbench.analysis import stats
from workbench.analysis.frame import ARM, BLOCK, RUN
from workbench.analysis.report import report
from workbench.analysis.tables import runs_table, summary_table
from workbench.errors import InputError
from workbench.files import to_parquet, write_whole
from workbench.loop import record_steps
from workbench.registry import BASELINE
from workbench.study.commit import git_commit

Floats = NDArray[np.float64]
MATCH = 0.6  # of a run
DIVERGED = "Diverged, and kept in the table"


Ran = tuple[Cell, Finished]


def records_of(cells: Iterable[Cell]) -> list[Ran]:
    """The cells with what their runs wrote. Raises InputError, in one line, for one that is not finished or damaged."""
    found = [(cell, cell.record()) for cell in cells]
    for cell, record in found:
        if record is None:
            raise InputError(f"--out: must hold a finished run, got none in '{cell.folder}'")
    return [(cell, record) for cell, record in found if record is not None]


def curves_of(found: Iterable[Ran]) -> pd.DataFrame:
    """Records of all runs in the simulation's schema.

    step: of the budget, so that a step costs the same in every arm: batch x rollouts completions, as many tokens (their
    share of --budget tokens:N), or an update. What an update cost is read from the record (`rollouts` and `tokens` of
    steps.csv), so rejected groups, screening and probes are charged; an evaluation lies at the cost of its update, and
    is interpolated linearly onto the common steps.
    """
    tables = []
    for cell, record in found:
        run, steps, evals = cell.run, record.steps, record.evals
        success = evals.pivot(index="step", columns="stratum", values="success")
        rollouts = np.concatenate([[0], steps["rollouts"].to_numpy()])  # generated so far, by update, from 0
        unit = run.budget.partition(":")[0]
        spent = steps["step"] if unit == "steps" else steps[unit]
        cost = np.concatenate([[0.0], spent]) * run.steps / run.allowed  # in steps
        at = cost[success.index.to_numpy()]
        grid = record_steps(run.steps, run.eval_every)
        row: dict[str, Any] = {
            "pool": cell.pool, "learner": cell.learner, "controller": cell.controller, "law": run.task,
            "rule": run.controller, "seed": run.seed, "step": grid,
            "rollouts": np.rint(np.interp(grid, cost, rollouts)).astype(np.int64),
        }  # fmt: skip
        row["success"] = np.interp(grid, at, success.mean(axis=1))
        for stratum in range(10):
            known = stratum in success.columns
            row[f"success_{stratum}"] = np.interp(grid, at, success[stratum]) if known else np.nan
        if "readable" in evals:  # which earlier versions did not note
            read = evals.pivot(index="step", columns="stratum", values="readable").mean(axis=1)
            row["readable"] = np.interp(grid, at, read)
        row["target"] = np.interp(grid, cost[1:], steps["target_difficulty"])
        for name, column in (("reward", "reward"), ("batch_difficulty", "difficulty_mean"),
                             ("silent_share", "zero_variance_share"), ("coverage", "coverage"),
                             ("kl", "kl"), ("entropy", "entropy")):  # fmt: skip
            row[name] = np.interp(grid, cost[1:], steps[column])
        seconds = (steps["seconds_generate"] + steps["seconds_update"]).cumsum()
        for name, so_far in (("tokens", steps["tokens"]), ("seconds", seconds)):
            row[name] = np.interp(grid, cost, np.concatenate([[0.0], so_far]))
        tables.append(pd.DataFrame(row))
    return pd.concat(tables, ignore_index=True)


def events_of(found: Iterable[Ran]) -> pd.DataFrame:
    """A row per run: what went wrong, from its manifest and evaluations. below_start: 1 where success fell, else 0."""
    rows = []
    for cell, record in found:
        fell = fall(record.evals)  # which earlier versions did not tell
        told = [event for event in record.manifest["events"] if not event.startswith(BELOW)]
        events = told + ([fell] if fell else [])
        row = dict(zip(RUN, (cell.pool, cell.learner, cell.controller, cell.run.seed), strict=True))
        rows.append(row | {"below_start": int(bool(fell)), "events": events, "folder": str(cell.folder)})
    return pd.DataFrame(rows)


def paired(cells: list[Cell], warn: Callable[[str], object]) -> list[Cell]:
    """The runs whose pool, learner and seed uniform has finished, too; `warn` is told in a line how many were left out.

    InputError if no run is left: every table compares with uniform on the same seeds.
    """
    base = {(cell.pool, cell.learner, cell.run.seed) for cell in cells if cell.controller == BASELINE}
    kept = [cell for cell in cells if (cell.pool, cell.learner, cell.run.seed) in base]
    if not kept:
        raise InputError(
            f"--out: must hold finished runs of {BASELINE}, with which the others are compared, got "
            f"{', '.join(sorted({cell.controller for cell in cells}))}"
        )
    if len(kept) < len(cells):
        gone = next(cell.folder for cell in cells if cell not in kept)
        warn(f"{len(cells) - len(kept)} runs left out: {BASELINE} has not finished on their seeds (first {gone})")
    return kept


def codes_of(found: Iterable[Ran]) -> list[str]:
    """Digests of this project's code that the runs were computed with."""
    codes = (record.manifest.get("code", {}) for _, record in found)
    return sorted({code.get("project", "an earlier version") for code in codes})


def with_costs(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Tokens and seconds to the threshold beside the steps; NaN where it was not reached."""
    rows, of_run = [], dict(list(curves.groupby(RUN)))
    for row in runs.to_dict("records"):
        mine = of_run[tuple(row[key] for key in RUN)]
        spent = {
            f"{name}_to_threshold": np.interp(row["steps_to_threshold"], mine["step"], mine[name])
            if row["reached"] else np.nan
            for name in ("tokens", "seconds")
        }  # fmt: skip
        rows.append(row | spent)
    return pd.DataFrame(rows)


def strata_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Final success of each arm by stratum, its change over training, and the paired difference to uniform.

    Every seed of an arm must be there for uniform, too (`paired`).
    """
    last, first = curves["step"].max(), curves["step"].min()
    columns = [f"success_{s}" for s in range(10) if curves[f"success_{s}"].notna().any()]
    rows = []
    for (pool, learner), block in curves.groupby(BLOCK, sort=False):
        ends = block[block["step"] == last].set_index(["controller", "seed"])[columns].sort_index()
        starts = block[block["step"] == first].set_index(["controller", "seed"])[columns].sort_index()
        for controller in block["controller"].unique():
            seeds = ends.loc[controller].index
            for stratum in columns:
                mine = ends.loc[controller, stratum].to_numpy()
                base = ends.loc[BASELINE, stratum].loc[seeds].to_numpy()
                change = mine - starts.loc[controller, stratum].to_numpy()
                row: dict[str, Any] = {"pool": pool, "learner": learner, "controller": controller}
                row["stratum"] = int(stratum.split("_")[1])
                for name, values in (("final", mine), ("change", change), ("difference", mine - base)):
                    estimate = stats.interval(values, np.mean)
                    row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
                rows.append(row)
    return pd.DataFrame(rows)


def label_costs(runs: Iterable[Run]) -> list[str]:
    """What the difficulty labels cost before training, beside what training costs, per pool."""
    lines = []
    for run in {run.pool: run for run in runs}.values():
        pool = make_pool(run, make_task(run.task, run.scorer, run.answer))
        if pool.attempts is not None:
            spent, training = int(pool.attempts.sum()), run.steps * run.batch * run.rollouts
            lines.append(
                f"  {pool.name}: {spent:,} completions for the labels of {len(pool):,} problems, "
                f"{training:,} in a training run ({spent / training:.1f} times)"
            )
    return lines


def settings_told(summary: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Algorithms and learning rates under uniform, the largest area first; "" where a study has one."""
    if summary["learner"].nunique() == 1:
        return ""
    lines = []
    for pool, block in summary[summary["controller"] == BASELINE].groupby("pool", sort=False):
        start = curves[(curves["pool"] == pool) & (curves["step"] == 0)]["success"].mean()
        lines.append(f"\n\nSettings under {BASELINE} on {pool}, success {start:.3f} at the start, largest area first:")
        for row in block.sort_values("auc", ascending=False, kind="stable").to_dict("records"):
            interval = f" [{row['auc_low']:.3f}, {row['auc_high']:.3f}]" if row["seeds"] > 1 else ""
            lines.append(
                f"\n  {row['learner']}: area {row['auc']:.3f}{interval}, final {row['final']:.3f}, "
                f"{row['below_start']:.0%} of {row['seeds']} runs end below their start"
            )
    return "".join(lines)


def format_and_skill(readable: Floats, success: Floats) -> tuple[float, float]:
    """What of a gain in success is format and what is skill; they add up to the gain.

    readable, success: (E,) of successive evaluations, the share of completions with an answer, right or wrong, r, and
    of those that are right, p = r q. From one evaluation to the next

        p' - p = (r' - r) (q + q') / 2 + (q' - q) (r + r') / 2,

    of which the first is format and the second skill. Where there is no answer q is unknown, and taken as it is at the
    other evaluation: the first answers are format.
    """
    r, p = np.asarray(readable, np.float64), np.asarray(success, np.float64)
    q = np.divide(p, r, out=np.full(len(r), np.nan), where=r > 0)
    before, after = np.where(np.isnan(q[:-1]), q[1:], q[:-1]), np.where(np.isnan(q[1:]), q[:-1], q[1:])
    parts = np.diff(r) * (before + after) / 2, (after - before) * (r[:-1] + r[1:]) / 2
    form, skill = (float(np.nansum(part)) for part in parts)  # without answers at both there is no gain
    return form, skill


def answers_told(curves: pd.DataFrame) -> str:
    """Of each arm the share of held-out completions with an answer, right or wrong, and the share of those that are
    right, before and after training, and what of the gain is format; "" where no run noted it."""
    if "readable" not in curves or curves["readable"].isna().all():
        return ""
    lines = ["\n\nHeld-out completions with an answer, and right ones among them, before and after training:"]
    for arm, block in curves[curves["readable"].notna()].groupby(ARM, sort=False):
        ends = block.groupby("step")[["readable", "success"]].mean()
        read, success = ends["readable"].to_numpy(), ends["success"].to_numpy()
        first, last = (f"{read[i]:.3f}, {success[i] / read[i] if read[i] else np.nan:.3f}" for i in (0, -1))
        form, skill = format_and_skill(read, success)
        lines.append(
            f"  {' / '.join(map(str, arm))}: {first}; {last}; of the gain {form + skill:+.3f}, {form:+.3f} is format "
            f"and {skill:+.3f} skill"
        )
    return "\n".join(lines)


def extra_steps_told(curves: pd.DataFrame) -> str:
    """Steps that uniform needs beyond `MATCH` of the run to reach each arm's success there, on the same seeds.

    The metric of Shi et al. 2025, arXiv 2504.05520, Table 1, which takes step 60 of 100. A curve that does not reach it
    counts with the last step.
    """
    steps = np.sort(curves["step"].unique()).astype(np.float64)
    match = MATCH * steps[-1]
    lines = [f"\n\nSteps that {BASELINE} needs beyond step {match:g} to reach each arm's success there (mean, 95 %):"]
    for (pool, learner), block in curves.groupby(BLOCK, sort=False):
        success = block.pivot(index="controller", columns=["seed", "step"], values="success")
        for controller in block["controller"].unique():
            if controller == BASELINE:
                continue
            seeds = list(block.loc[block["controller"] == controller, "seed"].unique())
            goal = np.array([np.interp(match, steps, success.loc[controller, seed]) for seed in seeds])
            base = np.array([success.loc[BASELINE, seed] for seed in seeds], np.float64)
            extra = stats.interval(stats.steps_to_threshold(steps, base, goal).time - match, np.mean)
            between = f" [{extra.low:.0f}, {extra.high:.0f}]" if len(seeds) > 1 else ""
            lines.append(f"  {pool} / {learner} / {controller}: {extra.value:.0f}{between}")
    return "\n".join(lines) if len(lines) > 1 else ""


def told_by_kind(events: pd.DataFrame) -> dict[str, list[str]]:
    """The events of all runs, a line each, by kind; what no kind begins is of runs that came apart."""
    kinds = {BELOW: "Below their start", CONSTANT: "Without signal", CUT: "Cut at the limit", GAP: "Sampled otherwise "
             "than trained", UNSPENT: "Budget not spent"}  # fmt: skip
    told: dict[str, list[str]] = {}
    for folder, found in zip(events["folder"], events["events"], strict=True):
        for event in found:
            kind = next((name for start, name in kinds.items() if event.startswith(start)), DIVERGED)
            told.setdefault(kind, []).append(f"{folder}: {event}")
    return told


def write_tables(found: list[Ran], out: Path, threshold: float, html: bool = True) -> str:
    """Write tables, figures and, unless `html` is False, report.html; the printed report."""
    from workbench import figures

    curves, events = curves_of(found), events_of(found)
    horizon = int(curves["step"].max())
    runs = with_costs(runs_table(curves, threshold), curves)
    runs = runs.merge(events[[*RUN, "below_start"]], on=RUN)
    summary = summary_table(runs, horizon)
    for name in ("tokens_to_threshold", "seconds_to_threshold", "below_start"):
        summary = summary.join(runs.groupby(ARM)[name].mean(), on=ARM)
    strata = strata_table(curves)
    write_whole(out / "curves.parquet", to_parquet(curves))
    for name, table in (("runs", runs), ("summary", summary), ("strata", strata)):
        write_whole(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())
    looks = figures.controller_looks(summary)
    drawn: dict[str, tuple[Callable[..., Any], pd.DataFrame]] = {"learning_curves": (figures.learning_curves, curves)}
    if curves["target"].notna().any():
        drawn["target_difficulty"] = figures.target_trajectories, curves
    if (summary["controller"] != BASELINE).any():
        drawn["speedup"] = figures.speedup_forest, summary
    for name, (draw, table) in drawn.items():
        try:
            figures.save(draw(table, looks), out / name)
        except InputError as error:  # more than a page can show: the tables have it
            print(f"{name}: not drawn ({error})", file=sys.stderr)
    told = told_by_kind(events)
    about = found[0][1].manifest
    seconds = sum(record.manifest["seconds"] for _, record in found)
    manifest = {
        "command": shlex.join(["python", "real_runs/compare.py", *sys.argv[1:]]),
        "git_commit": git_commit(), "runs": len(found), "seconds": round(seconds), "machine": about["machine"],
        "versions": about["versions"], "model": about["model"], "threshold": threshold, "code": codes_of(found),
        "events": told,
    }  # fmt: skip
    write_whole(out / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    text = report(runs, summary, horizon) + settings_told(summary, curves) + answers_told(curves)
    text += extra_steps_told(curves)
    costs = label_costs(cell.run for cell, _ in found)
    text += "\n\nCost of the difficulty labels:\n" + "\n".join(costs) if costs else ""
    if DIVERGED not in told:
        text += "\n\nNo run diverged."
    for kind, lines in told.items():
        text += f"\n\n{kind}:\n  " + "\n  ".join(lines)
    write_whole(out / "report.txt", (text + "\n").encode())
    if html:
        page = comparison_page(found, curves, runs, summary, strata, text, manifest)
        write_whole(out / "report.html", page.html().encode())
    else:  # of an earlier comparison
        (out / "report.html").unlink(missing_ok=True)
    return text
