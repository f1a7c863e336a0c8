"""What sweep.py does: a study run and kept, its tables and figures written, its report printed."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from sims.comparison.options import (
    few_seeds_line,
    heat_axes,
    make_study,
    parser,
    read_focus,
    read_jobs,
    read_threshold,
)
from sims.comparison.painter import Painter, choose
from workbench.analysis.ranking import ranking_lines, ranking_table
from workbench.analysis.report import report
from workbench.analysis.tables import runs_table, summary_table
from workbench.commands import SAME_AGAIN, exit_status
from workbench.errors import InputError
from workbench.files import only_writer, to_parquet, write_whole
from workbench.registry import RULES, parts_of
from workbench.study.identity import describe, git_commit
from workbench.study.store import CellStore
from workbench.study.study import Study

PACKAGES = ("numpy", "scipy", "pandas", "matplotlib", "pyarrow", "numba")


def run_command(painter: Painter) -> int:
    """Do what the command line says; the exit status."""
    options = parser().parse_args()
    return exit_status(lambda: run(options, painter), SAME_AGAIN)


def run(options: argparse.Namespace, painter: Painter) -> None:
    threshold, jobs = read_threshold(options), read_jobs(options)
    if not options.out:
        raise InputError("--out: must be a folder, got ''")
    study = make_study(options)
    heat, focus = heat_axes(options, study), read_focus(options, study)
    if too_few := few_seeds_line(study):
        print(too_few, file=sys.stderr)
    out = Path(options.out)
    with only_writer(out):
        store = CellStore(out / "cells")
        store.sweep_up()
        with tqdm(total=len(study.cells), unit="run", desc="sweep", smoothing=0.1) as bar:
            def warn(line: str) -> None:
                bar.write(line, file=sys.stderr)  # above the bar, on a line of its own

            curves = study.run(store, jobs, lambda done, _: bar.update(done - bar.n), warn)
        runs = runs_table(curves, threshold)
        summary, ranking = summary_table(runs, study.steps), ranking_table(runs)
        write_whole(out / "curves.parquet", to_parquet(curves))
        write_whole(out / "runs.parquet", to_parquet(runs))
        for name, table in (("summary", summary), ("ranking", ranking)):
            write_whole(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())
        write_whole(out / "manifest.json", manifest(study, threshold).encode())
        written = painter.paint(choose(curves, summary, heat, focus), out)
    print(report(runs, summary, study.steps, focus))
    print("\n" + "\n".join(ranking_lines(ranking)))
    if study.budget == "steps" and runs["rollouts"].nunique() > 1:
        print("Updates were held equal, rollouts were not: see the costs, or --budget rollouts.")
    loose = loose_schedules(study)
    if loose:
        print(f"Spread over {study.steps} updates, whenever the budget is spent: the schedules of {', '.join(loose)}; "
              "set their horizon to fit.")  # fmt: skip
    print(f"\n{out}: runs.parquet curves.parquet summary.csv ranking.csv manifest.json {' '.join(written)}")


def loose_schedules(study: Study) -> list[str]:
    """Controllers whose schedule ends after the study's steps, while their runs end with what they spend."""
    fixed = {name for point in study.points for name in point}
    loose = []
    for name in study.controllers:
        rule, *gates = parts_of(name)
        scheduled = hasattr(RULES[rule], "horizon") and f"{rule}.horizon" not in fixed
        if scheduled and (study.budget == "tokens" or (study.budget == "rollouts" and gates)):
            loose.append(name)
    return loose


def manifest(study: Study, threshold: float) -> str:
    """Everything needed to run the study again. No times: the same study gives the same file."""
    arms = [
        {"pool": arm.pool, "learner": arm.learner, "controller": arm.controller}
        | {"law": describe(arm.make_law()), "rule": describe(rule), "gates": [describe(gate) for gate in gates]}
        for arm, (rule, gates) in ((arm, arm.make_controller(study.steps)) for arm in study.arms)
    ]
    content = {
        "pools": [{"name": pool.name, "items": len(pool), "digest": pool.digest} for pool in study.pools],
        "seeds": study.seeds,
        "steps": study.steps,
        "batch": study.batch,
        "rollouts": study.rollouts,
        "eval_every": study.eval_every,
        "budget": study.budget,
        "threshold": threshold,
        "points": study.points,
        "arms": arms,
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES} | study.packages,
    }
    return json.dumps(content, indent=1) + "\n"
