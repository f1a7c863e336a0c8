"""Compare curricula on simulated learners: python sims/sweep.py --help"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

gc.set_threshold(1_000_000)  # imports and figures make many objects that stay: a tenth of --tiny went into looking

import pandas as pd
from tqdm import tqdm

from workbench.commands import Parser
from workbench.errors import InputError, check_choice, check_count, check_number
from workbench.pool import PRESETS, Pool
from workbench.presets import LAWS, RULES, SIGNALS, make_law, make_rule
from workbench.store import CellStore, only_writer, to_parquet, write_whole
from workbench.summary import report, runs_table, summary_table
from workbench.sweep import (
    BASELINE,
    Study,
    WorkerError,
    be_a_worker,
    describe,
    git_commit,
    grid_points,
    space_filling_points,
)

sys.path.insert(0, str(Path(__file__).parent))
from grids import DEFAULT, TINY

MOST_CONTROLLERS, MOST_LEARNERS = 20, 8  # that a reader can tell apart in one figure
PACKAGES = ("numpy", "scipy", "pandas", "matplotlib", "pyarrow", "numba")


def parser() -> argparse.ArgumentParser:
    def joined(key: str) -> str:
        return ",".join(DEFAULT[key])

    p = Parser(
        allow_abbrev=False,
        description="Compare curricula on simulated learners, on paired seeds. Finished cells are kept in --out: "
        "an interrupted sweep goes on where it stopped when the same command is run again.",
        epilog=f"controllers: {', '.join(RULES)}. learners: {', '.join(LAWS)}. pools: {', '.join(PRESETS)}. "
        f"signals: {', '.join(SIGNALS)}. The hyper-parameters of each are in its docstring.",
    )
    def add(flag: str, metavar: str, text: str, **how: Any) -> None:
        p.add_argument(flag, metavar=metavar, help=text, **how)

    add("--pools", "A,B", f"preset names or .parquet, .jsonl or .csv files (default: {joined('pools')})")
    add("--controllers", "A,B", f"rules; uniform, the baseline, always runs (default: {joined('controllers')})")
    add("--learners", "A,B", f"simulated learners (default: {joined('learners')})")
    add("--seeds", "N", f"seeds 0 .. N-1, the same for every arm (default: {DEFAULT['seeds']})")
    add("--steps", "N", f"training updates per run (default: {DEFAULT['steps']})")
    add("--batch", "N", f"items per update (default: {DEFAULT['batch']})")
    add("--rollouts", "N", f"attempts per item and update (default: {DEFAULT['rollouts']})")
    add("--eval-every", "N", "updates between records (default: %(default)s)", default="5")
    add(
        "--set",
        "NAME=VALUES",
        "a hyper-parameter of a rule or learner: values to cross, adarft.eta=5,10,20,50 or scalar.signal=rloo,grpo; "
        "with --design sobol or lhs a range, adarft.eta=5:50 or 5:50:log (repeatable; default: none)",
        action="append",
        default=[],
    )
    add("--design", "D", "how --set spreads: grid, sobol or lhs (default: %(default)s)", default="grid")
    add("--points", "N", "points of a sobol (a power of 2) or lhs design (default: %(default)s)", default="64")
    add(
        "--threshold",
        "X",
        "success to reach, as a share in (0, 1] of the gain that uniform makes over the run (default: %(default)s)",
        default="0.8",
    )
    add("--heat", "X,Y", "two swept hyper-parameters for the heat map (default: the first two)")
    add("--jobs", "N", "worker processes (default: the processors this process may use; 1 with --tiny)")
    add("--out", "DIR", "folder for tables and figures (default: %(default)s)", default="results/sweep")
    p.add_argument("--tiny", action="store_true", help="a small slice of the default study, for a first look")
    return p


def main() -> int:
    options = parser().parse_args()
    try:
        run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, WorkerError) as error:  # a disk or a process failed us
        print(f"error: {error}; what was finished is kept, run the same command again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; finished cells are kept, run the same command to go on", file=sys.stderr)
        return 130
    return 0


def run(options: argparse.Namespace) -> None:
    base = TINY if options.tiny else DEFAULT
    threshold = number("--threshold", options.threshold)
    check_number("--threshold", threshold, 0, 1, open_low=True)
    jobs = whole("--jobs", options.jobs, 1 if options.tiny else processors())  # so little is done before others start
    if not options.out:
        raise InputError("--out: must be a folder, got ''")
    study = make_study(options, base)
    heat = heat_axes(options, study)
    out = Path(options.out)
    with only_writer(out), Painter(jobs) as painter:
        store = CellStore(out / "cells")
        store.sweep_up()
        with tqdm(total=len(study.cells), unit="run", desc="sweep", smoothing=0.1) as bar:
            def warn(line: str) -> None:
                bar.write(line, file=sys.stderr)  # above the bar, on a line of its own

            curves = study.run(store, jobs, lambda done, _: bar.update(done - bar.n), warn)
        runs = runs_table(curves, threshold)
        summary = summary_table(runs, study.steps)
        write_whole(out / "curves.parquet", to_parquet(curves))
        write_whole(out / "runs.parquet", to_parquet(runs))
        write_whole(out / "summary.csv", summary.to_csv(index=False, float_format="%.6g").encode())
        write_whole(out / "manifest.json", manifest(study, threshold).encode())
        written = draw(painter, curves, summary, heat, out)
    print(report(runs, summary, study.steps))
    print(f"\n{out}: runs.parquet curves.parquet summary.csv manifest.json {' '.join(written)}")


def processors() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_study(options: argparse.Namespace, base: dict[str, Any]) -> Study:
    given = names("--pools", options.pools, base["pools"])
    if len(set(given)) < len(given):
        raise InputError(f"--pools: must be different from each other, got {', '.join(given)}")
    pools = [make_pool(name) for name in given]
    called = [pool.name for pool in pools]
    pools = [  # files of one name, or a file named as a preset: by the path as given
        replace(pool, name=text) if called.count(pool.name) > 1 else pool
        for pool, text in zip(pools, given, strict=True)
    ]
    for pool in pools:
        if pool.duplicates:
            print(
                f"{pool.name}: {pool.duplicates} of {len(pool)} rows repeat an earlier prompt, "
                f"{pool.conflicts} of them with another difficulty; all rows are kept",
                file=sys.stderr,
            )
    return Study(
        pools,
        names("--learners", options.learners, base["learners"]),
        names("--controllers", options.controllers, base["controllers"]),
        design(options),
        seeds=whole("--seeds", options.seeds, base["seeds"]),
        steps=whole("--steps", options.steps, base["steps"]),
        batch=whole("--batch", options.batch, base["batch"]),
        rollouts=whole("--rollouts", options.rollouts, base["rollouts"]),
        eval_every=whole("--eval-every", options.eval_every, 5),
    )


def make_pool(name: str) -> Pool:
    if name in PRESETS:
        return Pool.synthetic(name)
    if Path(name).suffix or os.sep in name:
        return Pool.load(name)
    raise InputError(f"--pools: must be among {', '.join(PRESETS)}, or a .parquet, .jsonl or .csv file, got '{name}'")


def design(options: argparse.Namespace) -> list[dict[str, Any]]:
    check_choice("--design", options.design, ("grid", "sobol", "lhs"))
    settings: dict[str, str] = {}
    for text in options.set:
        name, equals, values = text.partition("=")
        owner, dot, field = name.partition(".")
        if not (equals and dot and owner and field and values) or name in settings:
            raise InputError(f"--set: must be NAME.PARAMETER=VALUES, each parameter once, got '{text}'")
        check_choice("--set", owner, (*RULES, *LAWS))
        settings[name] = values
    if options.design == "grid":
        return grid_points({name: [value(name, v) for v in values.split(",")] for name, values in settings.items()})
    if not settings:
        raise InputError(f"--set: must give at least one range for --design {options.design}, got none")
    ranges = {name: value_range(name, values) for name, values in settings.items()}
    return space_filling_points(ranges, options.design, whole("--points", options.points, 64))


def value(name: str, text: str) -> Any:
    """One value of --set: a name for the parameters that take one, else a number."""
    if name.split(".")[1] in ("signal", "ties"):
        return text
    return number(f"--set {name}", text)


def value_range(name: str, text: str) -> tuple[float, float, bool]:
    low, _, rest = text.partition(":")
    high, _, scale = rest.partition(":")
    if not rest or scale not in ("", "log"):
        raise InputError(f"--set {name}: must be LOW:HIGH or LOW:HIGH:log, got '{text}'")
    return number(f"--set {name}", low), number(f"--set {name}", high), scale == "log"


def number(option: str, text: str) -> float:
    try:
        result = float(text)
    except ValueError:
        result = math.nan
    if not math.isfinite(result):
        raise InputError(f"{option}: must be a finite number, got '{text}'")
    return result


def whole(option: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return check_count(option, int(text))
    except ValueError:
        raise InputError(f"{option}: must be a whole number >= 1, got '{text}'") from None


def names(option: str, text: str | None, default: list[str]) -> list[str]:
    if text is None:
        return list(default)
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise InputError(f"{option}: must be names separated by commas, got '{text}'")
    return parts


def heat_axes(options: argparse.Namespace, study: Study) -> tuple[str, str] | None:
    swept = [name for name in study.points[0] if len({point[name] for point in study.points}) > 1]
    pairs = [pair for pair in combinations(swept, 2) if any(set(pair) <= set(arm.settings) for arm in study.arms)]
    if options.heat is None:
        return pairs[0] if pairs else None  # of parameters that some run has both of
    axes = names("--heat", options.heat, [])
    if (axes[0], axes[-1]) not in pairs + [pair[::-1] for pair in pairs] or len(axes) != 2:
        known = ", ".join(swept) or "none"
        raise InputError(f"--heat: must be two swept parameters ({known}) that some run has both, got '{options.heat}'")
    return axes[0], axes[1]


def manifest(study: Study, threshold: float) -> str:
    """Everything needed to run the study again. No times: the same study gives the same file."""
    arms = [
        {"pool": arm.pool, "learner": arm.learner, "controller": arm.controller}
        | {"law": describe(make_law(arm.law, dict(arm.law_settings)))}
        | {"rule": describe(make_rule(arm.rule, dict(arm.rule_settings), study.steps))}
        for arm in study.arms
    ]
    content = {
        "pools": [{"name": pool.name, "items": len(pool), "digest": pool.digest} for pool in study.pools],
        "seeds": study.seeds,
        "steps": study.steps,
        "batch": study.batch,
        "rollouts": study.rollouts,
        "eval_every": study.eval_every,
        "threshold": threshold,
        "points": study.points,
        "arms": arms,
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
    return json.dumps(content, indent=1) + "\n"


class Painter:
    """Draws figures, with jobs > 1 in a second process too, which loads matplotlib while the sweep computes."""

    def __init__(self, jobs: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.helper = ProcessPoolExecutor(1, spawn, be_a_worker) if jobs > 1 else None

    def __enter__(self) -> Painter:
        if self.helper:
            self.helper.submit(import_module, "workbench.figures")
        return self

    def __exit__(self, *_: object) -> None:
        if self.helper:
            self.helper.shutdown(cancel_futures=True)

    def paint(self, pictures: list[tuple[Any, ...]]) -> None:
        """Each picture: path without suffix, name of the function in `workbench.figures`, its arguments."""
        mine = 1 if self.helper else len(pictures)
        theirs = [self.helper.submit(paint, *picture) for picture in pictures[mine:]] if self.helper else []
        for picture in pictures[:mine]:
            paint(*picture)
        try:
            for future in theirs:
                future.result()
        except BrokenProcessPool:
            raise WorkerError("the process that draws figures died (out of memory?)") from None


def paint(stem: Path, function: str, *arguments: Any, **options: Any) -> None:
    from workbench import figures

    figures.save(getattr(figures, function)(*arguments, **options), stem)


def draw(
    painter: Painter, curves: pd.DataFrame, summary: pd.DataFrame, heat: tuple[str, str] | None, out: Path
) -> list[str]:
    from workbench import figures

    shown = readable(summary)
    looks = figures.controller_looks(summary)  # a controller looks the same whatever else is drawn
    drawn = curves[curves["controller"].isin(shown["controller"]) & curves["learner"].isin(shown["learner"])]
    pictures: list[tuple[Any, ...]] = [(out / "learning_curves", "learning_curves", drawn, looks)]
    if drawn["target"].notna().any():
        pictures.append((out / "target_difficulty", "target_trajectories", drawn, looks))
    if (shown["rule"] != BASELINE).any():
        pictures.append((out / "speedup", "speedup_forest", shown, looks))
    if heat:
        pictures.append((out / "heat_map", "heat_map", summary, *heat, "speedup", True))
    for name in {"target_difficulty", "speedup", "heat_map"} - {stem.name for stem, *_ in pictures}:
        for suffix in (".pdf", ".png"):  # of an earlier study in this folder
            (out / name).with_suffix(suffix).unlink(missing_ok=True)
    painter.paint(pictures)
    return [f"{stem.name}.{{pdf,png}}" for stem, *_ in pictures]


def readable(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows that curves can show: of a rule or law with too many settings only the best, by mean area."""
    area = summary.groupby(["rule", "controller"], sort=False)["auc"].mean()
    controllers, learners = list(summary["controller"].unique()), list(summary["learner"].unique())
    if len(controllers) > MOST_CONTROLLERS:
        controllers = [name for _, name in area.groupby("rule", sort=False).idxmax()]
    if len(learners) > MOST_LEARNERS:
        area = summary.groupby(["law", "learner"], sort=False)["auc"].mean()
        learners = [name for _, name in area.groupby("law", sort=False).idxmax()]
    shown = summary[summary["controller"].isin(controllers) & summary["learner"].isin(learners)]
    left_out = summary["controller"].nunique() - len(controllers), summary["learner"].nunique() - len(learners)
    if any(left_out):
        print(
            f"curves and forest show the best setting of each rule and learner; {left_out[0]} controllers and "
            f"{left_out[1]} learners are in the tables only",
            file=sys.stderr,
        )
    return shown


if __name__ == "__main__":
    sys.exit(main())
