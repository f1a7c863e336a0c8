"""Does the simulation say what is known? Published findings and a real run, predicted and compared.

python sims/reproduce.py STUDY --help
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import forecast
from fitting import LEARNERS
from options import names
from visits import read_log

from workbench import figures
from workbench.commands import Parser
from workbench.errors import InputError, check_choice, check_count
from workbench.store import only_writer, write_whole


def parser() -> argparse.ArgumentParser:
    p = Parser(allow_abbrev=False, description="Published findings and a real run: predicted by simulation, compared.")
    studies = p.add_subparsers(dest="study", metavar="STUDY", required=True, parser_class=Parser)
    real = studies.add_parser("real-run", allow_abbrev=False, help="fit learners to a real run's log and forecast it")
    real.add_argument("--log", metavar="CSV", required=True, help="a row per group: item,visit,successes,attempts")
    real.add_argument("--fit-until", metavar="N", type=int, default=15, help="fit to visits 1 to N (default: 15)")
    real.add_argument("--forecast-until", metavar="N", type=int, default=53, help="last visit forecast (default: 53)")
    real.add_argument("--learners", metavar="A,B", help=f"(default: {','.join(LEARNERS)})")
    real.add_argument("--draws", metavar="N", type=int, default=200, help="simulated futures (default: 200)")
    real.set_defaults(run=run_real, out="results/real-run")
    for study in (real,):
        study.add_argument("--seed", metavar="N", type=int, default=0, help="(default: 0)")
        study.add_argument("--out", metavar="DIR", help=f"tables and figure (default: {study.get_default('out')})")
    return p


def run_real(options: argparse.Namespace, out: Path) -> str:
    log = read_log(Path(options.log))
    learners = names("--learners", options.learners, list(LEARNERS))
    for name in learners:
        check_choice("--learners", name, LEARNERS)
    if len(set(learners)) < len(learners):
        raise InputError(f"--learners: must be different from each other, got {', '.join(learners)}")
    fit_until = check_count("--fit-until", options.fit_until, 2, log.visits)
    until = check_count("--forecast-until", options.forecast_until, fit_until + 1)
    tables = forecast.run(log, fit_until, until, learners, check_count("--draws", options.draws, 2), options.seed)
    write_tables(
        out, forecast=tables.forecast, scores=tables.scores, parameters=tables.parameters, items=tables.items
    )
    figures.save(forecast.paint(tables, fit_until, learners), out / "forecast")
    return forecast.report(tables, learners, fit_until)


def write_tables(out: Path, **tables: object) -> None:
    for name, table in tables.items():
        write_whole(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())  # type: ignore[attr-defined]


def main() -> int:
    options = parser().parse_args()
    try:
        check_count("--seed", options.seed, 0)
        if not options.out:
            raise InputError("--out: must be a folder, got ''")
        with only_writer(Path(options.out)):
            print(options.run(options, Path(options.out)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # the disk failed us
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
