"""Which curriculum for the model and data of a logged run: python sims/advise.py --log LOG --help"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import sys
from pathlib import Path
from typing import Any

from workbench.commands import (
    SAME_AGAIN,
    Parser,
    command_again,
    exit_status,
    needs,
    number_or_text,
    whole,
    whole_or_text,
)

needs("sweep")
from workbench import figures
from workbench.calibration.advise import LANES, advise, check_run
from workbench.calibration.calibrate import ENOUGH, LEARNERS, calibrate, chosen
from workbench.calibration.candidates import CANDIDATES, Candidate
from workbench.calibration.discrepancy import OF_REAL_RUNS, Discrepancy
from workbench.calibration.log import Log
from workbench.delivery import MOST_LAG
from workbench.errors import InputError, check_choice, shown
from workbench.files import check_folder, check_writable, write_whole
from workbench.pool import Pool

NUMBER: dict[str, Any] = {"metavar": "N", "type": whole_or_text}
TINY: dict[str, Any] = {"learners": ("scalar", "natural", "tabular"), "enough": 60.0, "lanes": 24,
                        "candidates": ("uniform", "filter", "adarft", "mopps")}  # fmt: skip
FULL: dict[str, Any] = {"learners": LEARNERS, "enough": ENOUGH, "lanes": LANES, "candidates": CANDIDATES}
MOST_JOBS, MOST_LANES, MOST_STEPS = 1024, 10_000, 100_000


def parser() -> Parser:
    p = Parser(description=__doc__, allow_abbrev=False)
    p.add_argument("--log", metavar="LOG", action="append", required=True,
                   help="a file or folder, FILE:item=prompt_id,reward=score where columns need it; again for each run")
    p.add_argument("--pool", metavar="FILE", help="the items with their difficulty (default: those of the log)")
    p.add_argument("--heldout", metavar="FILE", help="the items of the log's evaluations with their difficulty")
    p.add_argument("--success", metavar="X", help="the reward from which on a completion succeeds")
    p.add_argument("--order", default="", help="of the log's rows where steps go down: sort or restart")
    p.add_argument("--warm-up", **NUMBER,
                   help="updates until the learning rate of the logged run was reached, linearly (default: as the run "
                        "folder says, or 0)")  # fmt: skip
    p.add_argument("--steps", **NUMBER, default=200, help="updates of the run to come (default: 200)")
    p.add_argument("--batch", **NUMBER, default=64, help="items per update (default: 64)")
    p.add_argument("--rollouts", **NUMBER, default=8, help="attempts per item (default: 8)")
    p.add_argument("--candidates", metavar="A,B",
                   help=f'such as "adarft eta=5,greso" (default: {",".join(CANDIDATES)})')
    p.add_argument("--learners", metavar="A,B", help=f"(default: {','.join(LEARNERS)})")
    p.add_argument("--origin", default="end", help="of the run to come: the log's end, or its start (default: end)")
    p.add_argument("--labels-cost", **NUMBER, default=0, help="rollouts that difficulty labels of the pool cost")
    p.add_argument("--lag", **NUMBER, default=0, help="batches by which rewards come late (default: 0)")
    p.add_argument("--discrepancy", metavar="MEAN,SD", default=f"{OF_REAL_RUNS.mean},{OF_REAL_RUNS.sd}",
                   help="share of their gain that batches of one difficulty lose, with its standard deviation, or none "
                        "(default: %(default)s, from real runs)")  # fmt: skip
    p.add_argument("--lanes", **NUMBER, help=f"futures of each candidate (default: {LANES})")
    p.add_argument("--seed", **NUMBER, default=0, help="(default: 0)")
    p.add_argument("--jobs", default="2", help="worker processes (default: 2)")
    p.add_argument("--tiny", action="store_true", help="a first look: fewer learners, candidates and futures")
    p.add_argument("--report", action=argparse.BooleanOptionalAction, default=True,
                   help="write report.html, one file to hand on that opens in a browser (default: --report)")
    p.add_argument("--out", metavar="DIR", default="results/advice",
                   help="folder for the advice, the controller file, figures and report.html (default: %(default)s)")
    return p


def split(option: str, text: str | None, default: tuple[str, ...]) -> list[str]:
    """The parts of a list with commas; InputError for an empty one."""
    if text is None:
        return list(default)
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise InputError(f"{option}: must be names with commas between them, got {text!r}")
    return parts


def discrepancy_of(text: str) -> Discrepancy | None:
    """What --discrepancy says."""
    if text == "none":
        return None
    try:
        mean, sd = (float(part) for part in text.split(","))
        return Discrepancy(mean, sd)
    except (ValueError, InputError):
        allowed = "none or MEAN,SD, numbers in [-2, 2] and [0, 2]"
        raise InputError(f"--discrepancy: must be {allowed}, got {shown(text)}") from None


def loaded(option: str, path: str | None) -> Pool | None:
    """The pool of an option; InputError that names the option."""
    try:
        return None if path is None else Pool.load(path)
    except InputError as error:
        raise InputError(f"{option}: {error}") from None


def run(options: argparse.Namespace) -> None:
    """Calibrate, advise, write and print."""
    out, jobs = check_folder("--out", options.out), whole("--jobs", options.jobs, 1, MOST_JOBS)
    check_choice("--order", options.order, ("", "sort", "restart"))
    discrepancy = discrepancy_of(options.discrepancy)
    defaults = TINY if options.tiny else FULL
    learners = split("--learners", options.learners, defaults["learners"])
    candidates = split("--candidates", options.candidates, defaults["candidates"])
    lanes = defaults["lanes"] if options.lanes is None else options.lanes
    rising = 0 if options.warm_up is None else options.warm_up
    for name, value, low, high in (("--steps", options.steps, 2, MOST_STEPS), ("--lanes", lanes, 8, MOST_LANES),
                                   ("--lag", options.lag, 0, MOST_LAG),
                                   ("--warm-up", rising, 0, MOST_STEPS)):  # fmt: skip
        whole(name, str(value), low, high)
    chosen(learners, "--learners")
    for name in candidates:
        Candidate.of(name, options.steps, "--candidates")
    source = options.log if len(options.log) > 1 else options.log[0]
    success: Any = None if options.success is None else number_or_text(options.success)
    log = Log.load(source, success=success, order=options.order)
    pool, heldout = (loaded(f"--{name}", getattr(options, name)) for name in ("pool", "heldout"))
    for told in (log.understood, *(of.understood for of in (pool, heldout) if of is not None)):
        if told:
            print(told, file=sys.stderr)
    size = len(log.items) if pool is None else len(pool)
    check_run(size, options.steps, options.batch, options.rollouts, candidates, options.labels_cost, lanes,
              options.seed, jobs, options.lag)  # fmt: skip
    check_writable("--out", out)
    parts = out / "parts"
    fit = calibrate(log, pool, learners, heldout=heldout, warm_up=options.warm_up, seed=options.seed,
                    enough=defaults["enough"], jobs=jobs, out=parts / "fits")  # fmt: skip
    advice = advise(fit, options.steps, options.batch, options.rollouts, candidates, origin=options.origin,
                    labels_cost=options.labels_cost, lag=options.lag, discrepancy=discrepancy, lanes=lanes,
                    seed=options.seed, jobs=jobs, out=parts / "futures")  # fmt: skip
    advice.save(out, html=options.report, command=command_again("sims/advise.py", parser(), options))
    write_whole(out / "fit.txt", (fit.report() + "\n").encode())
    fit.save(out / "fit.json")
    drawn = [path for name, figure in (("advice", advice.plot()), ("learners", fit.plot()))
             for path in figures.save(figure, out / name)]  # fmt: skip
    print(advice.report())
    files = ["advice.json", "controller.json", "table.csv", "report.txt", "fit.txt", "fit.json"]
    files += ["report.html"] if options.report else []
    print(f"\n{out}: {' '.join([*files, *(Path(path).name for path in drawn)])}")


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: run(options), SAME_AGAIN)


if __name__ == "__main__":
    sys.exit(main())
