"""Compare curricula by real runs on paired seeds: python real_runs/compare.py --help

Arms x pools x seeds run as processes of train.py, one processor each. Finished runs are kept; interrupted ones resume.
The tables and figures are made by the same code as the simulation's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from real_runs.runs.execute import make_pool
from real_runs.runs.identity import OTHER_CODE, as_now, check_code, check_same, code_of
from real_runs.runs.run import ASKING, UNSPENT, Run, add_options, command_line, read_options
from real_runs.tasks.named import make_task
from workbench.analysis import stats
from workbench.analysis.report import report
from workbench.analysis.tables import runs_table, summary_table
from workbench.commands import SAME_AGAIN, Parser, exit_status
from workbench.errors import InputError, WorkerError, check_count, check_number
from workbench.files import check_folder, only_writer, to_parquet, write_whole
from workbench.labels import label_of
from workbench.loop import record_steps
from workbench.registry import BASELINE, make_controller
from workbench.study.identity import git_commit

SHARED = (
    "task", "scorer", "model", "algorithm", "steps", "batch", "rollouts", "eval_every", "lr", "heldout", "limit",
    "sample_tokens", *ASKING,
)  # fmt: skip
TRAIN = Path(__file__).parent / "train.py"


@dataclass(frozen=True)
class Cell:
    """One run: `run.pool` and `run.controller` name its arm, `run.seed` its seed."""

    run: Run
    folder: Path

    def finished(self, code: Mapping[str, Any] | None = None) -> bool:
        """Whether the run ended here with these very settings; InputError if other ones did.

        code: what today's code is (`code_of`), and InputError if other code did; None takes any.
        """
        path = self.folder / "manifest.json"
        if not path.is_file():
            return False
        manifest = json.loads(path.read_text())
        mine = asdict(self.run) | {"settings": dict(self.run.settings)}
        there = {name: value for name, value in as_now(manifest, "run").items() if name in mine}
        check_same("--out", "hold runs of the same settings", self.folder, there, mine)
        if code is not None:
            check_code("--out", manifest, {"code": code}, str(self.folder), any_code=False)
        return True

    def command(self, any_code: bool = False) -> list[str]:
        flags = [*command_line(self.run), *([OTHER_CODE] if any_code else [])]
        return [sys.executable, str(TRAIN), *flags, "--resume", "--out", str(self.folder)]


def execute(cells: list[Cell], jobs: int, any_code: bool = False) -> None:
    """Run the cells that are not finished, `jobs` at a time. Raises WorkerError with the last line of a run that fails.

    any_code: whether runs of other versions of the code count as finished, and are resumed.
    """
    task = make_task(cells[0].run.task, cells[0].run.scorer, cells[0].run.answer)  # all runs share it

    def code(run: Run) -> dict[str, str] | None:
        if any_code:
            return None
        rule, gates = make_controller(run.controller, dict(run.settings), run.steps)
        return code_of((rule, *gates), task)

    todo = [cell for cell in cells if not cell.finished(code(cell.run))]

    def one(cell: Cell) -> None:
        done = subprocess.run(cell.command(any_code), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode == 0:
            shutil.rmtree(cell.folder / "checkpoints", ignore_errors=True)  # megabytes that nobody resumes from
        else:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise WorkerError(f"run {cell.folder} ended with status {done.returncode}: {last}")

    with tqdm(total=len(cells), initial=len(cells) - len(todo), unit="run") as bar, ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(one, cell) for cell in todo]
        try:
            for future in as_completed(running):
                future.result()
                bar.update()
        except BaseException:
            for future in running:
                future.cancel()
            raise


# ---------------------------------------------------------------------------------------------------- tables


def curves_of(cells: Iterable[Cell]) -> tuple[pd.DataFrame, list[str]]:
    """Records of all runs in the simulation's schema, and a line for each event of a run.

    step: batch x rollouts completions, so that a step costs the same in every arm. What an update cost is read from
    the record (`rollouts` of steps.csv), so rejected groups, screening and probes are charged; an evaluation
    lies at the cost of its update, and is interpolated linearly onto the common steps.
    """
    tables, events = [], []
    for cell in cells:
        run, manifest = cell.run, json.loads((cell.folder / "manifest.json").read_text())
        events += [f"{cell.folder}: {event}" for event in manifest["events"]]
        steps, evals = pd.read_csv(cell.folder / "steps.csv"), pd.read_csv(cell.folder / "evals.csv")
        success = evals.pivot(index="step", columns="stratum", values="success")
        rollouts = np.concatenate([[0], steps["rollouts"].to_numpy()])  # generated so far, by update, from 0
        cost = rollouts / (run.batch * run.rollouts)
        at = cost[success.index.to_numpy()]
        grid = record_steps(run.steps, run.eval_every)
        row: dict[str, Any] = {
            "pool": Path(run.pool).stem or "all", "learner": run.task, "controller": label(run), "law": run.task,
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
    """The runs whose pool and seed uniform has finished, too; `warn` is told in a line how many were left out.

    InputError if no run is left: every table compares with uniform on the same seeds.
    """
    base = {(cell.run.pool, cell.run.seed) for cell in cells if label(cell.run) == BASELINE}
    kept = [cell for cell in cells if (cell.run.pool, cell.run.seed) in base]
    if not kept:
        raise InputError(
            f"--out: must hold finished runs of {BASELINE}, with which the others are compared, got "
            f"{', '.join(sorted({label(cell.run) for cell in cells}))}"
        )
    if len(kept) < len(cells):
        gone = next(cell.folder for cell in cells if cell not in kept)
        warn(f"{len(cells) - len(kept)} runs left out: {BASELINE} has not finished on their seeds (first {gone})")
    return kept


def codes_of(cells: Iterable[Cell]) -> list[str]:
    """Digests of this project's code that the runs were computed with."""
    manifests = (json.loads((cell.folder / "manifest.json").read_text()) for cell in cells)
    return sorted({manifest.get("code", {}).get("project", "an earlier version") for manifest in manifests})


def label(run: Run) -> str:
    return label_of(run.controller, run.settings)


def with_costs(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Tokens and seconds to the threshold beside the steps; NaN where it was not reached."""
    rows = []
    for row in runs.to_dict("records"):
        mine = curves.query("pool == @row['pool'] and controller == @row['controller'] and seed == @row['seed']")
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
    for pool, block in curves.groupby("pool", sort=False):
        ends = block[block["step"] == last].set_index(["controller", "seed"])[columns].sort_index()
        starts = block[block["step"] == first].set_index(["controller", "seed"])[columns].sort_index()
        for controller in block["controller"].unique():
            seeds = ends.loc[controller].index
            for stratum in columns:
                mine = ends.loc[controller, stratum].to_numpy()
                base = ends.loc[BASELINE, stratum].loc[seeds].to_numpy()
                change = mine - starts.loc[controller, stratum].to_numpy()
                row: dict[str, Any] = {"pool": pool, "controller": controller, "stratum": int(stratum.split("_")[1])}
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


def write_tables(cells: list[Cell], out: Path, threshold: float) -> str:
    from workbench import figures

    curves, events = curves_of(cells)
    unspent = [event for event in events if f": {UNSPENT}" in event]
    diverged = [event for event in events if event not in unspent]
    horizon = int(curves["step"].max())
    runs = with_costs(runs_table(curves, threshold), curves)
    summary = summary_table(runs, horizon)
    for name in ("tokens", "seconds"):
        means = runs.groupby(["pool", "controller"])[f"{name}_to_threshold"].mean()
        summary = summary.join(means, on=["pool", "controller"])
    strata = strata_table(curves)
    write_whole(out / "curves.parquet", to_parquet(curves))
    for name, table in (("runs", runs), ("summary", summary), ("strata", strata)):
        write_whole(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())
    looks = figures.controller_looks(summary)
    figures.save(figures.learning_curves(curves, looks), out / "learning_curves")
    if curves["target"].notna().any():
        figures.save(figures.target_trajectories(curves, looks), out / "target_difficulty")
    if (summary["rule"] != BASELINE).any():
        figures.save(figures.speedup_forest(summary, looks), out / "speedup")
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


def main(arguments: list[str] | None = None) -> int:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--pools", default="skew-difficult,uniform,skew-easy", help="as --pool of train.py, comma-separated")
    p.add_argument("--controllers", default="uniform,filter,band,linear,adarft,dapo",
                   help="as in train.py, comma-separated; uniform always runs (default: %(default)s)")  # fmt: skip
    p.add_argument("--seeds", default="6", help="paired seeds 0 .. N - 1 (default: %(default)s)")
    p.add_argument("--threshold", default="0.8", help="share of uniform's gain to reach (default: %(default)s)")
    p.add_argument("--jobs", default="2", help="runs at a time, one processor each (default: %(default)s)")
    p.add_argument("--out", default="results/compare", help="folder (default: %(default)s)")
    add_options(p, SHARED)
    p.add_argument("--tables-only", action="store_true", help="make tables and figures of the runs that are there")
    p.add_argument(OTHER_CODE, action="store_true",
                   help="take runs that another version of the code made as they are")  # fmt: skip
    options = p.parse_args(arguments)
    return exit_status(lambda: study(options), SAME_AGAIN)


def study(options: argparse.Namespace) -> None:
    """Run the cells that are missing, and make the tables."""
    out = check_folder("--out", options.out)
    cells = make_cells(options)
    try:
        threshold = float(options.threshold)
    except ValueError:
        raise InputError(f"--threshold: must be a number in (0, 1], got '{options.threshold}'") from None
    check_number("--threshold", threshold, 0, 1, open_low=True)
    with only_writer(out):
        if options.tables_only:
            cells = [cell for cell in cells if cell.finished()]
            if not cells:
                raise InputError(f"--out: must hold finished runs for --tables-only, got none in '{out}'")
            cells = paired(cells, lambda line: print(line, file=sys.stderr))
            if len(codes := codes_of(cells)) > 1:
                print(f"{out}: its runs are of different code: {', '.join(codes)}", file=sys.stderr)
        else:
            execute(cells, _whole("--jobs", options.jobs), options.any_code)
        print(write_tables(cells, out, threshold))


def make_cells(options: argparse.Namespace) -> list[Cell]:
    shared = read_options(options, SHARED) | {"threads": 1, "budget": "rollouts", "save_every": 20}
    arms = dict.fromkeys([BASELINE, *options.controllers.split(",")])
    cells = []
    pools = options.pools.split(",")
    stems = [Path(pool).stem for pool in pools]
    if len(set(stems)) < len(stems):
        raise InputError(f"--pools: must have different names, which their folders get, got {', '.join(stems)}")
    for pool in pools:
        for arm in arms:
            for seed in range(_whole("--seeds", options.seeds)):
                run = Run(pool=pool, controller=arm, seed=seed, **shared)
                cells.append(Cell(run, Path(options.out) / "runs" / (Path(pool).stem or "all") / arm / f"seed-{seed}"))
    return sorted(cells, key=lambda cell: cell.run.seed)  # seed by seed: a study that is cut off is still paired


def _whole(option: str, text: str) -> int:
    return check_count(option, int(text) if text.isdecimal() else text)


if __name__ == "__main__":
    sys.exit(main())
