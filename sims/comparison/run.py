"""What sweep.py does: a study run and kept, its tables and figures written, its report printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sims.comparison import made, notes
from sims.comparison.notes import note
from sims.comparison.options import (
    few_seeds_line,
    heat_axes,
    make_study,
    parser,
    read_executor,
    read_focus,
    read_jobs,
    read_shard,
    read_threshold,
    sources,
    understood,
)
from sims.comparison.painter import FIGURES, SUFFIXES, Painter, choose
from workbench.commands import SAME_AGAIN, command_again, exit_status
from workbench.errors import InputError
from workbench.files import check_folder, only_writer, write_whole
from workbench.progress import progress_bar
from workbench.study.identity import outside_classes
from workbench.study.result import REPORT, TABLES, Result
from workbench.study.shards import Shard
from workbench.study.store import CellStore
from workbench.study.study import Study

FILES = (*TABLES, REPORT, *(f"{name}{suffix}" for name in FIGURES for suffix in SUFFIXES))  # that may be there


def run_command(painter: Painter, made_from: Mapping[str, Any]) -> int:
    """Do what the command line says; the exit status. made_from: what `made.basis` found for it."""
    options = parser().parse_args(made_from["arguments"])
    return exit_status(lambda: run(options, painter, made_from), SAME_AGAIN)


def run(options: argparse.Namespace, painter: Painter, made_from: Mapping[str, Any]) -> None:
    notes.noted.clear()
    threshold, jobs = read_threshold(options), read_jobs(options)
    out = check_folder("--out", options.out)
    pools = made.pools_digests(sources(options))
    study = make_study(options)
    heat, focus = heat_axes(options, study), read_focus(options, study)
    shard, executor = read_shard(options), read_executor(options)
    for line in (*understood(study), few_seeds_line(study)):
        if line:
            note(line)
    if shard is not None:
        with only_writer(out, part=f"shard-{shard.number}-of-{shard.of}"):
            share(study, out, shard, jobs, executor)
        return
    with only_writer(out):
        store = CellStore(out / "cells")
        store.sweep_up()
        if options.collect:
            try:
                curves = study.collect(store, lambda line: print(line, file=sys.stderr))
            except InputError as error:
                raise InputError(str(error).replace("store: must have", "--collect: must find")) from None
        else:
            with progress_bar(len(study.cells), "sweep", "run") as bar:
                curves = study.compute(store, jobs, bar.at, bar.line, executor)
        result = Result(study, curves, threshold)
        made.forget(out)
        painter.start(choose(result.curves, result.summary, heat, focus), out)  # it draws while tables are written
        saved = result.save(out, html=False)
        again = command_again("sims/sweep.py", parser(), options)
        page = result.report_html(focus, again).encode() if options.report else b""
        drawn = painter.finish()
        if page:  # last, as it takes the most room on a disk
            write_whole(out / REPORT, page)
            saved.append(REPORT)
        told = result.report(focus, options.full, f"{out / 'summary.csv'}; --full prints it")
        figures = [f"{name}.{{pdf,png}}" for name in drawn]
        printed = f"{told}\n\n{out}: {' '.join([*saved, *figures])}"
        if not any(outside_classes(*arm.parts) for arm in study.arms):
            there = [*saved, *(f"{name}{suffix}" for name in drawn for suffix in SUFFIXES)]
            made.keep(out, made_from, pools, there, set(FILES) - set(there), made.Kept(notes.noted, printed))
    print(printed)


def share(study: Study, out: Path, shard: Shard, jobs: int, executor: str | None) -> None:
    """Compute one shard's runs."""
    total = len({cell.key for cell in study.cells})
    with progress_bar(len(shard.take(range(total))), f"shard {shard}", "run") as bar:
        done = study.compute_shard(CellStore(out / "cells"), shard, jobs, bar.at, bar.line, executor)
    print(f"shard {shard}: {done} of {total} runs are there; when all shards have ended, --collect in place of --shard "
          "makes the tables")  # fmt: skip
