"""Forecast the arms of a comparison from its uniform runs alone, and score it: python real_runs/forecast.py --help

It calibrates on the first updates of some seeds of the uniform arm and writes the forecast of every arm. Commit it
before any run of a new arm is looked at. --score holds it against the runs.
"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import sys
from pathlib import Path
from typing import Any

from workbench.commands import SAME_AGAIN, Parser, exit_status, needs, whole

needs("sweep", "real")
import pandas as pd

from real_runs.comparison.forecasting import BY_LAWS, COLUMNS, Arms, as_text, make, real_gains, score
from workbench.calibration.calibrate import LEARNERS, chosen
from workbench.calibration.candidates import Candidate
from workbench.errors import InputError
from workbench.files import check_folder, check_writable, write_whole
from workbench.tables.written import read_json

ARMS = "filter,linear,frozen,adarft,adarft eta=5,adarft eta=10,greso,mopps,sec,sfl,dapo"
MOST = {"--until": 10_000_000, "--lanes": 10_000, "--jobs": 1024, "--seed": 2**32 - 1}


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--runs", metavar="DIR", required=True, help="the runs of one pool of a comparison: DIR/ARM/seed-K")
    p.add_argument("--out", metavar="DIR", required=True, help="where the forecast is")
    p.add_argument("--score", action="store_true", help="hold the forecast that is there against the runs")
    p.add_argument("--beside", metavar="A,B", default="adarft,greso",
                   help="choices whose regret stands beside the advised arm's and uniform's (default: %(default)s)")
    p.add_argument("--from-seeds", metavar="A,B", default="0,1", help="of uniform, to fit (default: %(default)s)")
    p.add_argument("--until", metavar="N", help="last update calibrated on (default: a third of the run)")
    p.add_argument("--arms", metavar="A,B", default=ARMS, help="(default: %(default)s)")
    p.add_argument("--learners", metavar="A,B", default=",".join(LEARNERS), help="(default: %(default)s)")
    p.add_argument("--lanes", metavar="N", default="96", help="futures of each arm (default: %(default)s)")
    p.add_argument("--jobs", metavar="N", default="2", help="worker processes (default: %(default)s)")
    p.add_argument("--seed", metavar="N", default="0", help="(default: %(default)s)")
    return p


def run(options: argparse.Namespace) -> None:
    out, folder = check_folder("--out", options.out), check_folder("--runs", options.runs)
    if not folder.is_dir():
        raise InputError(f"--runs: must be a folder of runs, got '{options.runs}'")
    seeds = [whole("--from-seeds", text, 0, 2**63) for text in options.from_seeds.split(",")]
    arms = Arms(folder)
    if options.score:
        hold_against(arms, seeds, out, options.beside.split(","))
        return
    numbers = {name: whole(f"--{name}", getattr(options, name), low, MOST[f"--{name}"])
               for name, low in (("lanes", 8), ("jobs", 1), ("seed", 0))}  # fmt: skip
    given = whole("--until", options.until, 10, MOST["--until"]) if options.until is not None else 0
    candidates = [name.strip() for name in options.arms.split(",")]
    for name in candidates:
        Candidate.of(name, steps=100, field="--arms")
    learners = [name.strip() for name in options.learners.split(",")]
    chosen(learners, "--learners")
    until = given or max(10, arms.run("uniform", seeds[0])[0].steps // 3)
    check_writable("--out", out)
    advice, table = make(arms, seeds, until, candidates, learners, **numbers, out=out)
    write_whole(out / "forecast.csv", table.to_csv(index=False, float_format="%.5g").encode())
    write_whole(out / "forecast.txt", f"{advice.fit.report()}\n\n{advice.report()}\n".encode())
    about = {"advised": advice.advised, "from_seeds": seeds, "until": until, "weights": advice.fit.weights}
    write_whole(out / "forecast.json", as_text(about).encode())
    print(f"{advice.fit.report()}\n\n{table.to_string(index=False)}\n\nadvised: {advice.advised}")


def hold_against(arms: Arms, used: list[int], out: Path, beside: list[str]) -> None:
    """Score the forecast of a folder on the seeds that it was not made from."""
    about: dict[str, Any] = read_json(out / "forecast.json")
    forecast = pd.read_csv(out / "forecast.csv")
    if tuple(forecast.columns) not in (COLUMNS, (*COLUMNS, *BY_LAWS)):
        raise InputError(f"--out: must hold a forecast of {', '.join(COLUMNS)}, got {list(forecast.columns)}")
    left = [seed for seed in arms.seeds("uniform") if seed not in used]
    table, found = score(forecast, real_gains(arms, left), str(about.get("advised")), beside)
    write_whole(out / "score.csv", table.to_csv(index=False, float_format="%.5g").encode())
    write_whole(out / "score.json", as_text(found).encode())
    print(f"{table.to_string(index=False)}\n\n{as_text(found)}")


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: run(options), SAME_AGAIN)


if __name__ == "__main__":
    sys.exit(main())
