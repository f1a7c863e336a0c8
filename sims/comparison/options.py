"""The command line of sweep.py, and the study it describes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal

from sims.comparison.grids import DEFAULT, TINY
from sims.comparison.made import OUT
from sims.comparison.notes import note
from workbench.analysis.stats import seeds_needed
from workbench.commands import Parser
from workbench.commands import whole as whole_of
from workbench.controllers import Controller, Gate, Rule
from workbench.delivery import BATCH, DELIVERIES, MOST_LAG
from workbench.errors import MOST_THREADS, InputError, check_choice, check_number, shown
from workbench.learners import Law
from workbench.pool import PRESETS, Pool
from workbench.pool.layouts import split_mapping, split_sources
from workbench.registry import (
    BASELINE,
    SIGNALS,
    find_law,
    finite_number,
    make_controller,
    owner_and_field,
    part,
    setting_value,
)
from workbench.registry import names as names_of
from workbench.study.design import grid_points, space_filling_points
from workbench.study.shards import Shard
from workbench.study.study import BUDGETS, Study
from workbench.tables.formats import SOURCES, is_source


def parser() -> argparse.ArgumentParser:
    def joined(key: Literal["pools", "controllers", "learners"]) -> str:
        return ",".join(DEFAULT[key])

    p = Parser(
        allow_abbrev=False,
        description="Compare curricula on simulated learners, on paired seeds. Finished cells are kept in --out: "
        "an interrupted sweep goes on where it stopped when the same command is run again.",
        epilog=f"rules: {', '.join(names_of(Rule))}. gates: {', '.join(names_of(Gate))}. "
        f"learners: {', '.join(names_of(Law))}. pools: {', '.join(PRESETS)}. signals: {', '.join(SIGNALS)}. "
        "Docstrings hold the hyper-parameters of each. Your own class has the name package.module:Name.",
    )
    def add(flag: str, metavar: str, text: str, **how: Any) -> None:
        p.add_argument(flag, metavar=metavar, help=text, **how)

    add(
        "--pools",
        "A,B",
        f"presets, all, or {SOURCES}; FILE:ROLE=COLUMN says what columns mean (default: {joined('pools')})",
    )
    add(
        "--controllers",
        "A,B",
        "rules, gates (uniform sampling behind them) or RULE+GATE, or all; uniform, the baseline, always runs "
        f"(default: {joined('controllers')})",
    )
    add("--learners", "A,B", f"simulated learners, or all (default: {joined('learners')})")
    add(
        "--seeds",
        "N",
        "seeds 0 .. N-1, the same for every arm; only 0 .. 2 of rules and learners that fit a model as they go "
        f"(default: {DEFAULT['seeds']})",
    )
    add("--steps", "N", f"training updates per run (default: {DEFAULT['steps']})")
    add("--batch", "N", f"items per update (default: {DEFAULT['batch']})")
    add("--rollouts", "N", f"attempts per item and update (default: {DEFAULT['rollouts']})")
    add("--eval-every", "N", "updates between records (default: %(default)s)", default="5")
    add(
        "--budget",
        "B",
        "what all runs spend alike: steps (updates), rollouts (steps x batch x rollouts, rejected and probing ones "
        "included) or tokens (what as many rollouts of random items would take) (default: %(default)s)",
        default="steps",
    )
    add(
        "--lag",
        "N",
        "batches by which rules hear of rewards late, 0,1,4 for an arm each (default: %(default)s)",
        default="0",
    )
    add(
        "--delivery",
        "D",
        "rewards by the batch, by the group, or batch,group for an arm each (default: %(default)s)",
        default=BATCH,
    )
    add(
        "--set",
        "NAME=VALUES",
        "a hyper-parameter of a rule, gate or learner: values to cross, adarft.eta=5,10,20 or scalar.signal=rloo,grpo; "
        "with --design sobol or lhs a range, adarft.eta=5:50 or 5:50:log (repeatable; default: none)",
        action="append",
        default=[],
    )
    add("--design", "D", "how --set spreads: grid, sobol or lhs (default: %(default)s)", default="grid")
    add("--points", "N", "points of a sobol (a power of 2) or lhs design (default: 64)")
    add(
        "--threshold",
        "X",
        "success to reach, as a share in (0, 1] of the gain that uniform makes over the run (default: %(default)s)",
        default="0.8",
    )
    add("--focus", "RULE", "the rule whose defeats the report lists (default: the one that leads the ranking)")
    add("--heat", "X,Y", "two swept hyper-parameters for the heat map (default: the first two)")
    add(
        "--jobs",
        "N",
        "worker processes; two are threads of this one, unless a model is fitted (default: the processors this process "
        "may use; 1 with --tiny)",
    )
    add(
        "--executor",
        "E",
        "computes in place of the worker processes: loky, ray (a new one here), ray:HOST:PORT or dask:HOST:PORT; "
        "--jobs then says how many workers it has (default: none)",
    )
    add(
        "--shard",
        "I/N",
        "compute the I-th of N parts of the runs and make no tables; several may share --out. array: the part of this "
        "job of a scheduler's array (default: all)",
    )
    p.add_argument("--collect", action="store_true", help="make the tables of what shards computed; compute nothing")
    add("--out", "DIR", "folder for tables, figures and report.html (default: %(default)s)", default=OUT)
    p.add_argument("--report", action=argparse.BooleanOptionalAction, default=True,
                   help="write report.html, one file to hand on: the answer, figures, tables, settings; it opens in a "
                   "browser without network (default: --report)")
    p.add_argument("--full", action="store_true", help="print every arm, also of more than 11 on a pool and learner")
    p.add_argument("--tiny", action="store_true", help="a small slice of the default study, for a first look")
    return p


def processors() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_jobs(options: argparse.Namespace) -> int:
    usual = 1 if options.tiny else processors()  # so little is done before others start
    return whole("--jobs", options.jobs, usual, MOST_THREADS)


def read_executor(options: argparse.Namespace) -> str | None:
    if options.executor is None:
        return None
    from workbench.study.executors import check_executor

    check_executor(options.executor, "--executor")
    return str(options.executor)


def read_shard(options: argparse.Namespace) -> Shard | None:
    """InputError where --collect or --executor stands beside it, too."""
    if options.collect and (options.shard or options.executor):
        beside = "--shard" if options.shard else "--executor"
        raise InputError(f"--collect: must not be given beside {beside}: it computes nothing")
    return None if options.shard is None else Shard.read(options.shard, "--shard")


def read_threshold(options: argparse.Namespace) -> float:
    threshold = finite_number("--threshold", options.threshold)
    check_number("--threshold", threshold, 0, 1, open_low=True)
    return threshold


def given_pools(options: argparse.Namespace) -> list[str]:
    """Presets and sources, as they were given."""
    base = TINY if options.tiny else DEFAULT
    return with_all(names("--pools", options.pools, base["pools"]), lambda: list(PRESETS))


def sources(options: argparse.Namespace) -> list[str]:
    """The files, folders and data sets that pools are read from."""
    return [split_mapping(given)[0] for given in given_pools(options) if given not in PRESETS]


def make_study(options: argparse.Namespace) -> Study:
    base = TINY if options.tiny else DEFAULT
    given = given_pools(options)
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
            note(
                f"{pool.name}: {pool.duplicates} of {len(pool)} rows repeat an earlier prompt, "
                f"{pool.conflicts} of them with another difficulty; all rows are kept"
            )
    batch = whole("--batch", options.batch, base["batch"])
    named = names("--controllers", options.controllers, base["controllers"])
    controllers = with_all(named, lambda: all_controllers(pools, batch))
    check_choice("--budget", options.budget, BUDGETS)
    return Study(
        pools,
        with_all(names("--learners", options.learners, base["learners"]), all_learners),
        controllers,
        design(options),
        seeds=whole("--seeds", options.seeds, base["seeds"]),
        steps=whole("--steps", options.steps, base["steps"]),
        batch=batch,
        rollouts=whole("--rollouts", options.rollouts, base["rollouts"]),
        eval_every=whole("--eval-every", options.eval_every, 5),
        budget=options.budget,
        **read_delivery(options),
    )


def read_delivery(options: argparse.Namespace) -> dict[str, list[Any]]:
    """The values of --lag and --delivery."""
    lags = [whole_of("--lag", text, 0, MOST_LAG) for text in names("--lag", options.lag, [])]
    kinds = names("--delivery", options.delivery, [])
    for kind in kinds:
        check_choice("--delivery", kind, DELIVERIES)
    for option, given in (("--lag", lags), ("--delivery", kinds)):
        if len(set(given)) < len(given):
            raise InputError(f"{option}: must be different from each other, got {', '.join(map(str, given))}")
    return {"lag": lags, "delivery": kinds}


def all_controllers(pools: list[Pool], batch: int) -> list[str]:
    """Every rule and gate that can run on all pools; says which are left out, and why."""
    able = []
    for name in (*names_of(Rule), *names_of(Gate)):
        try:
            for pool in pools:
                rule, gates = make_controller(name)
                Controller(rule, pool, gates).next_batch(min(batch, len(pool)))
        except InputError as error:
            note(f"{name} is left out: {error}")
        else:
            able.append(name)
    return able


def all_learners() -> list[str]:
    """Every learner whose packages are here; says which are left out, and why."""
    able = []
    for name in names_of(Law):
        try:
            find_law(name).check_packages()
        except InputError as error:
            note(f"{name} is left out: {error}")
        else:
            able.append(name)
    return able


def make_pool(name: str) -> Pool:
    if name in PRESETS:
        return Pool.synthetic(name)
    if is_source(name):
        return Pool.load(name)
    raise InputError(f"--pools: must be among {', '.join(PRESETS)}, or {SOURCES}, got {shown(name)}")


def design(options: argparse.Namespace) -> list[dict[str, Any]]:
    check_choice("--design", options.design, ("grid", "sobol", "lhs"))
    settings: dict[str, str] = {}
    for text in options.set:
        name, equals, values = text.partition("=")
        owner, field = owner_and_field(name)
        if not (equals and owner and field and values) or name in settings:
            raise InputError(f"--set: must be NAME.PARAMETER=VALUES, each parameter once, got {shown(text)}")
        part(owner, "--set")
        settings[name] = values
    if options.design == "grid":
        if options.points is not None:
            raise InputError(f"--points: must come with --design sobol or lhs, got {shown(options.points)} with a grid")
        for name, text in settings.items():
            if ":" in text:
                raise InputError(f"--set {name}: must be values to cross, V1,V2; a range LOW:HIGH needs --design sobol "
                                 f"or lhs, got {shown(text)}")  # fmt: skip
        choices = {name: [setting_value(name, text) for text in values.split(",")] for name, values in settings.items()}
        return grid_points(choices)
    if not settings:
        raise InputError(f"--set: must give at least one range for --design {options.design}, got none")
    ranges = {name: value_range(name, values) for name, values in settings.items()}
    return space_filling_points(ranges, options.design, whole("--points", options.points, 64))


def value_range(name: str, text: str) -> tuple[float, float, bool]:
    low, _, rest = text.partition(":")
    high, _, scale = rest.partition(":")
    if not rest or scale not in ("", "log"):
        raise InputError(f"--set {name}: must be LOW:HIGH or LOW:HIGH:log, got {shown(text)}")
    return finite_number(f"--set {name}", low), finite_number(f"--set {name}", high), scale == "log"


def whole(option: str, text: str | None, default: int, high: int | None = None) -> int:
    return default if text is None else whole_of(option, text, 1, high)


def names(option: str, text: str | None, default: list[str]) -> list[str]:
    if text is None:
        return list(default)
    parts = [part.strip() for part in split_sources(text)]
    if not all(parts):
        raise InputError(f"{option}: must be names separated by commas, got {shown(text)}")
    return parts


def with_all(given: list[str], every: Callable[[], list[str]]) -> list[str]:
    """The names, with every one there is in place of `all`, each once."""
    if "all" not in given:
        return given
    return list(dict.fromkeys(name for part in given for name in (every() if part == "all" else [part])))


def read_focus(options: argparse.Namespace, study: Study) -> str | None:
    """The rule of --focus, None for the leading one; InputError unless it runs in the study beside the baseline."""
    others = tuple(dict.fromkeys(arm.rule for arm in study.arms if arm.rule != BASELINE))
    if options.focus is None:
        return None
    if options.focus not in others:
        known = ", ".join(others) or "none"
        raise InputError(f"--focus: must be a rule that runs beside {BASELINE} ({known}), got {shown(options.focus)}")
    return str(options.focus)


def understood(study: Study) -> list[str]:
    """What each pool from a file was taken for, a line each."""
    return [pool.understood for pool in study.pools if isinstance(pool, Pool) and pool.understood]


def few_seeds_line(study: Study) -> str | None:
    """One line where no difference of the study could be significant with its seeds; None where one could."""
    comparisons = sum(arm.rule != BASELINE for arm in study.arms)
    needed = seeds_needed(comparisons)
    if study.seeds >= needed or not comparisons:
        return None
    take = "comparison at 5 % takes" if comparisons == 1 else "comparisons at 5 % (Holm-adjusted) take"
    return f"--seeds {study.seeds}: too few to show any difference from {BASELINE}; {comparisons} {take} {needed}"


def heat_axes(options: argparse.Namespace, study: Study) -> tuple[str, str] | None:
    swept = [name for name in study.points[0] if len({point[name] for point in study.points}) > 1]
    swept += [name for name, _ in study.deliveries[0][2]]
    pairs = [pair for pair in combinations(swept, 2) if any(set(pair) <= set(arm.settings) for arm in study.arms)]
    if options.heat is None:
        return pairs[0] if pairs else None  # of parameters that some run has both of
    axes = names("--heat", options.heat, [])
    if (axes[0], axes[-1]) not in pairs + [pair[::-1] for pair in pairs] or len(axes) != 2:
        known = ", ".join(swept) or "none"
        got = shown(options.heat)
        raise InputError(f"--heat: must be two swept parameters ({known}) that some run has both, got {got}")
    return axes[0], axes[1]
