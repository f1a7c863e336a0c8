"""Tables, figures and the report of a study of real runs, made by the same code as the simulation's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from real_runs.comparison.cells import Cell
from real_runs.runs.execute import make_pool
from real_runs.runs.run import UNSPENT, Run
from real_runs.tasks.named import make_task
from workbench.analysis import stats
from workbench.analysis.frame import ARM, BLOCK
from workbench.analysis.report import report
from workbench.analysis.tables import runs_table, summary_table
from workbench.errors import InputError
from workbench.files import to_parquet, write_whole
from workbench.loop import record_steps
from workbench.registry import BASELINE
from workbench.study.identity import git_commit


def curves_of(cells: Iterable[Cell]) -> tuple[pd.DataFrame, list[str]]:
    """Records of all runs in the simulation's schema, and a line for each event of a run.

    step: of the budget, so that a step costs the same in every arm: batch x rollouts completions, as many tokens (their
    share of --budget tokens:N), or an update. What an update cost is read from the record (`rollouts` and `tokens` of
    steps.csv), so rejected groups, screening and probes are charged; an evaluation lies at the cost of its update, and
    is interpolated linearly onto the common steps.
    """
    tables, events = [], []
    for cell in cells:
        run, manifest = cell.run, json.loads((cell.folder / "manifest.json").read_text())
        events += [f"{cell.folder}: {event}" for event in manifest["events"]]
        steps, evals = pd.read_csv(cell.folder / "steps.csv"), pd.read_csv(cell.folder / "evals.csv")
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
        row["target"] = np.interp(grid, cost[1:], steps["target_difficulty"])
        for name, column in (("reward", "reward"), ("batch_difficulty", "difficulty_mean"),
                             ("silent_share", "zero_variance_share"), ("coverage", "coverage"),
                             ("kl", "kl"), ("entropy", "entropy")):  # fmt: skip
            row[name] = np.interp(grid, cost[1:], steps[column])
        for name, spent in (
            ("tokens", steps["tokens"]),
            ("seconds", (steps["seconds_generate"] + steps["seconds_update"]).cumsum()),
        ):
            row[name] = np.interp(grid, cost, np.concatenate([[0.0], spent]))
        tables.append(pd.DataFrame(row))
    return pd.concat(tables, ignore_index=True), events


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


def codes_of(cells: Iterable[Cell]) -> list[str]:
    """Digests of this project's code that the runs were computed with."""
    manifests = (json.loads((cell.folder / "manifest.json").read_text()) for cell in cells)
    return sorted({manifest.get("code", {}).get("project", "an earlier version") for manifest in manifests})


def with_costs(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Tokens and seconds to the threshold beside the steps; NaN where it was not reached."""
    rows, of_run = [], dict(list(curves.groupby([*ARM, "seed"])))
    for row in runs.to_dict("records"):
        mine = of_run[tuple(row[key] for key in (*ARM, "seed"))]
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
        pool = make_pool(run, make_task(run.task, run.scorer))
        if pool.attempts is not None:
            spent, training = int(pool.attempts.sum()), run.steps * run.batch * run.rollouts
            lines.append(
                f"  {pool.name}: {spent:,} completions for the labels of {len(pool):,} problems, "
                f"{training:,} in a training run ({spent / training:.1f} times)"
            )
    return lines


def write_tables(cells: list[Cell], out: Path, threshold: float) -> str:
    from workbench import figures

    curves, events = curves_of(cells)
    unspent = [event for event in events if f": {UNSPENT}" in event]
    diverged = [event for event in events if event not in unspent]
    horizon = int(curves["step"].max())
    runs = with_costs(runs_table(curves, threshold), curves)
    summary = summary_table(runs, horizon)
    for name in ("tokens", "seconds"):
        summary = summary.join(runs.groupby(ARM)[f"{name}_to_threshold"].mean(), on=ARM)
    strata = strata_table(curves)
    write_whole(out / "curves.parquet", to_parquet(curves))
    for name, table in (("runs", runs), ("summary", summary), ("strata", strata)):
        write_whole(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())
    looks = figures.controller_looks(summary)
    drawn = {"learning_curves": lambda: figures.learning_curves(curves, looks)}
    if curves["target"].notna().any():
        drawn["target_difficulty"] = lambda: figures.target_trajectories(curves, looks)
    if (summary["controller"] != BASELINE).any():
        drawn["speedup"] = lambda: figures.speedup_forest(summary, looks)
    for name, draw in drawn.items():
        try:
            figures.save(draw(), out / name)
        except InputError as error:  # more than a page can show: the tables have it
            print(f"{name}: not drawn ({error})", file=sys.stderr)
    about = json.loads((cells[0].folder / "manifest.json").read_text())
    seconds = sum(json.loads((cell.folder / "manifest.json").read_text())["seconds"] for cell in cells)
    manifest = {
        "command": " ".join(["python", "real_runs/compare.py", *sys.argv[1:]]),
        "git_commit": git_commit(), "runs": len(cells), "seconds": round(seconds), "machine": about["machine"],
        "versions": about["versions"], "model": about["model"], "threshold": threshold, "diverged": diverged,
        "unspent": unspent, "code": codes_of(cells),
    }  # fmt: skip
    write_whole(out / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    text = report(runs, summary, horizon)
    costs = label_costs(cell.run for cell in cells)
    text += "\n\nCost of the difficulty labels:\n" + "\n".join(costs) if costs else ""
    text += "\n\nDiverged, and kept in the table:\n  " + "\n  ".join(diverged) if diverged else "\n\nNo run diverged."
    text += "\n\nBudget not spent:\n  " + "\n  ".join(unspent) if unspent else ""
    write_whole(out / "report.txt", (text + "\n").encode())
    return text
