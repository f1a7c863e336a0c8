"""How far can the simulation be believed? Many learners, many parameters, late feedback, and the loop by itself.

python sims/robustness.py STUDY --help
"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sims.comparison.options import all_controllers, all_learners, make_pool, names, processors, with_all
from sims.paper import family
from sims.robust import delivery, matrix, sensitivity, stability
from workbench import figures
from workbench.calibration.candidates import Candidate
from workbench.commands import SAME_AGAIN, Parser, exit_status, number_or_text, whole_or_text
from workbench.controllers import AdaRFT, Controller
from workbench.errors import MOST_THREADS, InputError, check_attempts, check_choice, check_count, check_number
from workbench.files import check_folder, only_writer, write_whole
from workbench.pool import PRESETS, Pool
from workbench.registry import BASELINE, make_controller
from workbench.study.study import BUDGETS
from workbench.tables.formats import SOURCES

Outcome = tuple[str, list[str]]  # the report, and the files written
Work = Callable[[Path, int], Outcome]  # (folder, jobs): what is left to do once all input is checked

# of each setting, what time and memory allow
MOST = {"draws": 100_000, "steps": 1_000_000, "batch": 100_000, "rollouts": 10_000, "seeds": 10_000, "points": 1000,
        "trajectories": 100_000, "base": 2**17}  # fmt: skip
POOLS = ["skew-difficult", "uniform", "skew-easy"]
# settings of each study, and of its first slice for --tiny
DEFAULTS: dict[str, dict[str, Any]] = {
    "matrix": {"pools": POOLS, "learners": [name for name, member in family.FAMILY.items() if member.by_default],
               "draws": 32, "steps": 100, "batch": 128, "rollouts": 8, "budget": "rollouts", "margin": matrix.MARGIN},
    "sensitivity": {"learners": ["scalar", "kernel", "skills"], "pool": "uniform", "seeds": 4, "steps": 100,
                    "batch": 64, "rollouts": 8, "trajectories": 64, "base": 2048},
    "stability": {"points": 19, "seeds": 4, "steps": 300, "batch": 1024},
    "delivery": {"pool": "skew-difficult", "learners": ["scalar", "kernel", "skills"], "draws": 8, "steps": 80,
                 "batch": 32, "rollouts": 8, "margin": delivery.MARGIN},
}  # fmt: skip
TINY: dict[str, dict[str, Any]] = {
    "matrix": {"pools": POOLS[:1], "learners": ["scalar", "kernel"], "draws": 3, "steps": 6, "batch": 16},
    "sensitivity": {"learners": ["scalar"], "seeds": 2, "steps": 6, "batch": 8, "trajectories": 3, "base": 4},
    "stability": {"points": 3, "seeds": 2, "steps": 20, "batch": 64},
    "delivery": {"learners": ["scalar"], "draws": 3, "steps": 12, "batch": 8, "rollouts": 6},
}


def parser() -> argparse.ArgumentParser:
    p = Parser(
        allow_abbrev=False,
        description="How far can the simulation be believed? Finished cells are kept in --out: a study that was "
        "stopped goes on where it was when the same command is run again.",
    )
    studies = p.add_subparsers(dest="study", metavar="STUDY", required=True, parser_class=Parser)

    def study(name: str, text: str, plan: Callable[[argparse.Namespace], Work] | None) -> Any:
        one = studies.add_parser(name, allow_abbrev=False, help=text, description=text)
        one.set_defaults(plan=plan)
        default = "results/robustness" if name == "all" else f"results/robustness/{name}"
        one.add_argument("--out", metavar="DIR", help="tables and figures (default: %(default)s)", default=default)
        one.add_argument("--jobs", metavar="N", type=whole_or_text, help="worker processes (default: all processors)")
        one.add_argument("--seed", metavar="N", type=whole_or_text, default=0, help="(default: 0)")
        one.add_argument("--tiny", action="store_true", help="a small slice, for a first look")

        def option(flag: str, metavar: str, text: str, kind: Any = whole_or_text) -> None:
            preset = DEFAULTS[name].get(flag)
            shown = ",".join(preset) if isinstance(preset, list) else preset
            one.add_argument(f"--{flag}", metavar=metavar, type=kind, help=f"{text} (default: {shown})")

        return option

    option = study("matrix", "every rule and gate x every learner, over draws of the learners' parameters", plan_matrix)
    option("pools", "A,B", f"preset names, or {SOURCES}", str)
    option("learners", "A,B", "members of the family, or all", str)
    option("draws", "N", "draws of each learner's parameters")
    option("steps", "N", "training updates per run")
    option("batch", "N", "items per update")
    option("rollouts", "N", "attempts per item and update")
    option("budget", "B", f"what all runs spend alike: {', '.join(BUDGETS)}", str)
    option("margin", "X", "area that a win must exceed", number_or_text)
    slow = ", ".join(f"{draws} draws of {name}" for name, draws in matrix.SLOW.items())
    studies.choices["matrix"].add_argument(
        "--controllers", metavar="A,B", help="rules, gates, RULE+GATE or all; uniform always runs "
        f"(default: all that the pools allow); {slow} at most, for they take long"
    )  # fmt: skip

    text = "which parameters AdaRFT's speed-up depends on: Morris screening, then Sobol indices"
    option = study("sensitivity", text, plan_sensitivity)
    option("learners", "A,B", f"among {', '.join(sensitivity.LEARNERS)}", str)
    option("pool", "A", f"preset name, or {SOURCES}", str)
    option("seeds", "N", "common seeds at every point")
    option("steps", "N", "training updates per run")
    option("batch", "N", "items per update")
    option("rollouts", "N", "attempts per item and update")
    option("trajectories", "N", "of the Morris design")
    option("base", "N", "points of the Sobol sequence, a power of two; the design has D + 2 times as many")

    option = study("stability", "where AdaRFT's loop settles or swings, theory over simulation", plan_stability)
    option("points", "N", "along each axis of a map")
    option("seeds", "N", "seeds at every point")
    option("steps", "N", "updates per run")
    option("batch", "N", "items per update")

    text = "what late feedback, and feedback group by group, cost each rule and gate"
    option = study("delivery", text, plan_delivery)
    option("pool", "A", f"preset name, or {SOURCES}", str)
    option("learners", "A,B", "members of the family, or all", str)
    option("draws", "N", "draws of each learner's parameters")
    option("steps", "N", "training updates per run")
    option("batch", "N", "items per update")
    option("rollouts", "N", "attempts per item and update")
    option("margin", "X", "area that a change must exceed to count", number_or_text)
    studies.choices["delivery"].add_argument(
        "--controllers", metavar="A,B", help="rules, gates, RULE+GATE, with settings as in 'adarft eta=5'; uniform "
        f"always runs (default: all that the pool allows but {', '.join(delivery.SLOW)}, which is slow, and "
        f"{', '.join(delivery.SETTINGS)})"
    )  # fmt: skip

    study("all", "all four with their defaults", None)
    return p


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The study's settings: as given, else of --tiny, else the defaults. Names come as lists."""
    chosen = DEFAULTS[options.study] | (TINY[options.study] if options.tiny else {})
    given = {name: getattr(options, name) for name in chosen if getattr(options, name) is not None}
    lists = {name: names(f"--{name}", value, []) for name, value in given.items() if isinstance(chosen[name], list)}
    for name, values in lists.items():
        if len(set(values)) < len(values):
            raise InputError(f"--{name}: must be different from each other, got {', '.join(values)}")
    return chosen | given | lists


def counts(of: dict[str, Any], **lowest: int) -> None:
    """InputError for a setting below its lowest, or beyond what time and memory allow."""
    for name, low in lowest.items():
        check_count(f"--{name}", of[name], low, MOST[name])
    check_attempts(of["batch"], of.get("rollouts", 1))


def sized_pool(name: str, batch: int) -> Pool:
    """A preset with as many items per item of a batch as the paper has; a file as it is."""
    return Pool.synthetic(name, matrix.ITEMS_PER_SLOT * batch) if name in PRESETS else make_pool(name)


# ---- studies -----------------------------------------------------------------------------------------------------


def plan_matrix(options: argparse.Namespace) -> Work:
    of = settings(options)
    counts(of, draws=2, steps=1, batch=1, rollouts=1)
    check_number("--margin", of["margin"], 0, 1)
    check_choice("--budget", of["budget"], BUDGETS)
    of["learners"] = with_all(of["learners"], all_learners)
    for name in of["learners"]:
        check_choice("--learners", name, tuple(family.FAMILY))
        law = family.draw_group_law(name, 2, options.seed, of["batch"])
        law.check_packages()
        law.signal.check_rollouts(of["rollouts"])
    pools = [sized_pool(name, of["batch"]).without_payload() for name in of["pools"]]
    called = [pool.name for pool in pools]
    if len(set(called)) < len(called):
        raise InputError(f"--pools: must have different names, got {', '.join(called)}")
    study = matrix.Matrix(pools, of["learners"], read_controllers(options, pools, of["batch"]), of["draws"],
                          of["steps"], of["batch"], of["rollouts"], of["budget"], options.seed)  # fmt: skip
    for _, program in study.programs():
        for gate in program.gates:
            gate.check_rollouts(of["rollouts"])

    def work(out: Path, jobs: int) -> Outcome:
        areas = matrix.run(study, out / "cells", jobs)
        table, findings = (make(study, areas, of["margin"]) for make in (matrix.matrix_table, matrix.findings_table))
        spearman = matrix.spearman_table(study, areas, of["margin"])
        written = write(out, matrix=table, spearman=spearman, findings=findings)
        written += draw(out, matrix=matrix.paint_matrix(study, table), adarft=matrix.paint_adarft(study, areas),
                        spearman=matrix.paint_spearman(study, spearman) if len(spearman) else None)  # fmt: skip
        return matrix.report(study, spearman, findings, of["margin"]), written

    return work


def read_controllers(options: argparse.Namespace, pools: list[Pool], batch: int) -> list[str]:
    """The baseline first. Without --controllers, what the pools allow; what is left out is said."""
    if options.controllers is None and options.tiny:
        return [BASELINE, "adarft", "frozen"]
    if options.controllers in (None, "all"):
        return all_controllers(pools, batch)
    given = names("--controllers", options.controllers, [])
    if len(set(given)) < len(given):
        raise InputError(f"--controllers: must be different from each other, got {', '.join(given)}")
    for name in given:
        for pool in pools:
            rule, gates = make_controller(name)
            Controller(rule, pool, gates).next_batch(batch)
    if given == [BASELINE]:
        raise InputError("--controllers: must name another than uniform, with which all are compared")
    return [BASELINE, *(name for name in given if name != BASELINE)]


def plan_sensitivity(options: argparse.Namespace) -> Work:
    of = settings(options)
    counts(of, seeds=2, steps=1, batch=1, rollouts=2, trajectories=2, base=2)
    if of["base"] & (of["base"] - 1):
        raise InputError(f"--base: must be a power of two, got {of['base']}")
    for name in of["learners"]:
        check_choice("--learners", name, tuple(sensitivity.LEARNERS))
    pool = sized_pool(of["pool"], of["batch"]).without_payload()
    Controller(AdaRFT(), pool).next_batch(of["batch"])
    sensitivity.check_salib()
    setting = sensitivity.Setting(pool, of["seeds"], of["steps"], of["batch"], of["rollouts"], options.seed)

    def work(out: Path, jobs: int) -> Outcome:
        tables = sensitivity.run(setting, of["learners"], of["trajectories"], of["base"], out / "cells", jobs)
        written = write(out, **tables._asdict()) + draw(out, sensitivity=sensitivity.paint(tables))
        return sensitivity.report(setting, tables), written

    return work


def plan_stability(options: argparse.Namespace) -> Work:
    of = settings(options)
    counts(of, points=3, seeds=2, steps=10, batch=1)
    check_count("--batch", of["batch"], 1, len(Pool.synthetic("uniform")))
    setting = stability.Setting(of["points"], of["seeds"], of["steps"], of["batch"], ("uniform", "skew-difficult"),
                                options.seed)  # fmt: skip

    def work(out: Path, jobs: int) -> Outcome:
        tables = stability.run(setting, out / "cells", jobs)
        written = write(out, **tables._asdict())
        written += draw(out, stability_map=stability.paint_map(tables),
                        stability_line=stability.paint_line(tables, of["batch"]),
                        stability_pools=stability.paint_pools(tables))  # fmt: skip
        return stability.report(tables, setting), written

    return work


def plan_delivery(options: argparse.Namespace) -> Work:
    of = settings(options)
    counts(of, draws=2, steps=1, batch=1, rollouts=1)
    check_number("--margin", of["margin"], 0, 1)
    of["learners"] = with_all(of["learners"], all_learners)
    for name in of["learners"]:
        check_choice("--learners", name, tuple(family.FAMILY))
        law = family.draw_group_law(name, 2, options.seed, of["batch"])
        law.check_packages()
        law.signal.check_rollouts(of["rollouts"])
    preset = of["pool"] in PRESETS
    pool = Pool.synthetic(of["pool"], delivery.ITEMS_PER_SLOT * of["batch"]) if preset else make_pool(of["pool"])
    study = delivery.Delivery(pool.without_payload(), of["learners"], read_candidates(options, pool, of),
                              of["draws"], of["steps"], of["batch"], of["rollouts"], options.seed)  # fmt: skip

    def work(out: Path, jobs: int) -> Outcome:
        areas = delivery.run(study, out / "cells", jobs)
        table = delivery.delivery_table(study, areas, of["margin"])
        safety = delivery.safety_table(study, table)
        written = write(out, delivery=table, safety=safety)
        written += draw(out, delivery=delivery.paint_delivery(study, table),
                        adarft=delivery.paint_adarft(study, table))  # fmt: skip
        return delivery.report(study, table, safety, of["margin"]), written

    return work


def read_candidates(options: argparse.Namespace, pool: Pool, of: dict[str, Any]) -> list[Candidate]:
    """The baseline first. Without --controllers, what the pool allows; what is left out is said."""
    default = ["adarft", "adarft per=item", "mopps", "dapo"] if options.tiny else delivery.default_controllers()
    given = names("--controllers", options.controllers, default)
    found = {BASELINE: Candidate.of(BASELINE, of["steps"], "--controllers")}
    for name in given:
        one = Candidate.of(name, of["steps"], "--controllers")
        if one.label in found and (one.label != BASELINE or given.count(name) > 1):
            raise InputError(f"--controllers: must be different from each other, got {', '.join(given)}")
        try:
            Controller(one.rule, pool, one.gates).next_batch(of["batch"])
            for gate in one.gates:
                gate.check_rollouts(of["rollouts"])
        except InputError as error:
            if options.controllers is not None:
                raise
            print(f"{name} is left out: {error}", file=sys.stderr)
        else:
            found[one.label] = one
    if not any(delivery.hears(one) for one in found.values()):
        raise InputError(f"--controllers: must name one that hears of rewards, got {', '.join(given)}")
    return list(found.values())


def write(out: Path, **tables: pd.DataFrame) -> list[str]:
    """The files: one .csv per table."""
    for name, table in tables.items():
        write_whole(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())
    return [f"{name}.csv" for name in tables]


def draw(out: Path, **pictures: Figure | None) -> list[str]:
    """The files: .pdf and .png of each figure. Those of a figure that there is none of this time are removed."""
    files = {name: [f"{name}.pdf", f"{name}.png"] for name in pictures}
    for name, picture in pictures.items():
        if picture is not None:
            figures.save(picture, out / name)
        else:
            for file in files.pop(name):
                (out / file).unlink(missing_ok=True)
    return [file for pair in files.values() for file in pair]


def each_study(options: argparse.Namespace) -> list[argparse.Namespace]:
    """The options of the study, or of each one for `all`."""
    if options.study != "all":
        return [options]
    shared = ["--seed", str(options.seed), *(["--tiny"] if options.tiny else [])]
    return [parser().parse_args([name, *shared, "--out", str(Path(options.out) / name)]) for name in DEFAULTS]


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: run(options), SAME_AGAIN)


def run(options: argparse.Namespace) -> None:
    check_count("--seed", options.seed, 0, 2**32 - 1)
    jobs = check_count("--jobs", processors() if options.jobs is None else options.jobs, 1, MOST_THREADS)
    check_folder("--out", options.out)
    studies = each_study(options)
    works = [one.plan(one) for one in studies]  # all input is checked before any work begins
    for one, work in zip(studies, works, strict=True):
        with only_writer(Path(one.out)):
            report, written = work(Path(one.out), jobs)
        print(f"{report}\n\n{one.out}: {' '.join(sorted(written))}")


if __name__ == "__main__":
    sys.exit(main())
