"""Compare curricula by real runs on paired seeds: python real_runs/compare.py --help

Arms x pools x seeds run as processes of train.py, one processor each. Finished runs are kept; interrupted ones resume.
The tables and figures are made by the same code as the simulation's.
"""

from __future__ import annotations

from workbench.stops import WITH_PARENT, stop_in_one_line

stop_in_one_line(__name__)

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from real_runs.comparison.cells import Cell, add_study_options, make_cells
from real_runs.comparison.tables import codes_of, paired, records_of, write_tables
from real_runs.runs.execute import make_pool
from real_runs.runs.identity import OTHER_CODE, code_of
from real_runs.runs.run import Run
from real_runs.runs.signal import ANYWAY
from real_runs.tasks.named import make_task
from workbench.commands import SAME_AGAIN, Parser, exit_status, number_or_text, whole
from workbench.errors import MOST_THREADS, InputError, WorkerError, check_number, shown_path
from workbench.files import check_folder, only_writer
from workbench.progress import make_bar
from workbench.study.shards import Shard


def run_beneath(command: list[str], started: list[subprocess.Popen[str]]) -> tuple[int, str]:
    """Run a command that ends when this process does; its status and what it wrote on standard error.

    started: gets the process. Its standard input is a pipe that closes with this process.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | {WITH_PARENT: "1"},
    ) as run:  # fmt: skip
        started.append(run)
        assert run.stderr is not None
        said = run.stderr.read()
    return run.returncode, said


def execute(cells: list[Cell], jobs: int, any_code: bool = False, anyway: bool = False) -> None:
    """Run the cells that are not finished, `jobs` at a time. Raises WorkerError with the last line of a run that fails.

    any_code: whether runs of other versions of the code count as finished, and are resumed. anyway: as in train.py.
    """
    flags = [flag for flag, given in ((OTHER_CODE, any_code), (ANYWAY, anyway)) if given]
    task = make_task(cells[0].run.task, cells[0].run.scorer, cells[0].run.answer)  # all runs share it

    def code(run: Run) -> dict[str, str] | None:
        if any_code:
            return None
        rule, gates = run.make_controller()
        return code_of((rule, *gates), task)

    for one_of_pool in {cell.run.pool: cell.run for cell in cells}.values():
        make_pool(one_of_pool, task)  # what no run can train on says so now
    todo = [cell for cell in cells if not cell.finished(say, code(cell.run))]

    started: list[subprocess.Popen[str]] = []

    def one(cell: Cell) -> None:
        status, said = run_beneath(cell.command(*flags), started)
        if status == 0:
            shutil.rmtree(cell.folder / "checkpoints", ignore_errors=True)  # megabytes that nobody resumes from
        else:
            last = (said.strip().splitlines() or ["no message"])[-1]
            raise WorkerError(f"run {cell.folder} ended with status {status}: {last}")

    bar = make_bar(total=len(cells), initial=len(cells) - len(todo), unit="run")
    with bar, ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(one, cell) for cell in todo]
        try:
            for future in as_completed(running):
                future.result()
                bar.update()
        except BaseException:
            for future in running:
                future.cancel()
            for run in started:
                run.terminate()
            raise


def say(line: str) -> None:
    print(line, file=sys.stderr)


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    add_study_options(p)
    p.add_argument("--threshold", default="0.8", help="share of uniform's gain to reach (default: %(default)s)")
    p.add_argument("--jobs", default="2", help="runs at a time, one processor each (default: %(default)s)")
    p.add_argument("--shard", metavar="I/N", help="do the I-th of N parts of the runs and make no tables; several may "
                   "share --out. array: the part of this job of a scheduler's array (default: all)")  # fmt: skip
    p.add_argument("--out", default="results/compare",
                   help="folder for runs, tables, figures and report.html (default: %(default)s)")
    p.add_argument("--report", action=argparse.BooleanOptionalAction, default=True,
                   help="write report.html, one file to hand on: the answer, figures, tables, samples of completions; "
                   "it opens in a browser without network (default: --report)")
    p.add_argument("--tables-only", action="store_true", help="make tables and figures of the runs that are there")
    p.add_argument(OTHER_CODE, action="store_true",
                   help="take runs that another version of the code made as they are")  # fmt: skip
    p.add_argument(ANYWAY, action="store_true", help="as in train.py: start where next to no group can teach, too")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: study(options), SAME_AGAIN)


def study(options: argparse.Namespace) -> None:
    """Run the cells that are missing, and make the tables."""
    out = check_folder("--out", options.out)
    cells = make_cells(options, out)
    threshold: Any = number_or_text(options.threshold)
    check_number("--threshold", threshold, 0, 1, open_low=True)
    jobs = whole("--jobs", options.jobs, 1, MOST_THREADS)
    shard = None if options.shard is None else Shard.read(options.shard, "--shard")
    if shard is not None:
        if options.tables_only:
            raise InputError("--shard: must not be given beside --tables-only: a part of the runs makes no tables")
        with only_writer(out, part=f"shard-{shard.number}-of-{shard.of}"):
            execute(shard.take(cells), jobs, options.any_code, options.anyway)
        mine = len(shard.take(cells))
        print(f"shard {shard}: its {mine} of {len(cells)} runs are there; when all shards have ended, "
              "run the command without --shard for the tables")  # fmt: skip
        return
    with only_writer(out):
        if options.tables_only:
            cells = [cell for cell in cells if cell.finished(say)]
            if not cells:
                raise InputError(f"--out: must hold finished runs for --tables-only, got none in {shown_path(out)}")
            cells = paired(cells, say)
        else:
            execute(cells, jobs, options.any_code, options.anyway)
        found = records_of(cells)
        if options.tables_only and len(codes := codes_of(found)) > 1:
            say(f"{out}: its runs are of different code: {', '.join(codes)}")
        print(write_tables(found, out, threshold, options.report))


if __name__ == "__main__":
    sys.exit(main())
