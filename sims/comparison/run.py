"""What sweep.py does: a study run and kept, its tables and figures written, its report printed."""

from __future__ import annotations

import argparse
import sys

from sims.comparison.options import (
    few_seeds_line,
    heat_axes,
    make_study,
    parser,
    read_focus,
    read_jobs,
    read_threshold,
    understood,
)
from sims.comparison.painter import Painter, choose
from workbench.commands import SAME_AGAIN, exit_status
from workbench.files import check_folder, only_writer
from workbench.progress import progress_bar
from workbench.study.result import Result
from workbench.study.store import CellStore


def run_command(painter: Painter, arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    options = parser().parse_args(arguments)
    return exit_status(lambda: run(options, painter), SAME_AGAIN)


def run(options: argparse.Namespace, painter: Painter) -> None:
    threshold, jobs = read_threshold(options), read_jobs(options)
    out = check_folder("--out", options.out)
    study = make_study(options)
    heat, focus = heat_axes(options, study), read_focus(options, study)
    for note in (*understood(study), few_seeds_line(study)):
        if note:
            print(note, file=sys.stderr)
    with only_writer(out):
        store = CellStore(out / "cells")
        store.sweep_up()
        with progress_bar(len(study.cells), "sweep", "run") as bar:
            curves = study.compute(store, jobs, bar.at, bar.line)
        result = Result(study, curves, threshold)
        saved = result.save(out)
        written = painter.paint(choose(result.curves, result.summary, heat, focus), out)
    print(result.report(focus))
    print(f"\n{out}: {' '.join([*saved, *written])}")
