"""Does the simulation say what is known? Published findings and a real run, predicted and compared.

python sims/reproduce.py STUDY --help
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

from sims.comparison.options import names, with_all
from sims.forecasting import forecast
from sims.forecasting.visits import read_log
from sims.paper import family, table1, transfer
from sims.paper import findings as paper_findings
from sims.paper.published import CELLS
from workbench import figures
from workbench.calibration.calibrate import LEARNERS
from workbench.commands import Parser, exit_status, whole_or_text
from workbench.errors import InputError, check_choice, check_count
from workbench.files import check_folder, only_writer, write_whole

Work = Callable[[Path], str]  # folder -> report: what is left to do once all input is checked
Study = Callable[[argparse.Namespace], Work]
MOST_DRAWS, MOST_VISITS = 100_000, 10_000  # what memory and time allow
NUMBER: dict[str, Any] = {"metavar": "N", "type": whole_or_text}  # of an option


def parser() -> argparse.ArgumentParser:
    p = Parser(allow_abbrev=False, description="Published findings and a real run: predicted by simulation, compared.")
    studies = p.add_subparsers(dest="study", metavar="STUDY", required=True, parser_class=Parser)
    real = studies.add_parser("real-run", allow_abbrev=False, help="fit learners to a real run's log and forecast it")
    real.add_argument("--log", metavar="CSV", required=True, help="a row per group: item,visit,successes,attempts")
    real.add_argument("--fit-until", **NUMBER, default=15, help="fit to visits 1 to N (default: 15)")
    real.add_argument("--forecast-until", **NUMBER, default=53, help="last visit forecast (default: 53)")
    real.add_argument("--learners", metavar="A,B",
                      help=f"of {', '.join(LEARNERS)}, or all (default: all)")
    real.add_argument("--draws", **NUMBER, default=200, help="simulated futures (default: 200)")
    real.set_defaults(plan=plan_real, out="results/real-run")
    paper = [
        add_paper(studies, "table1", "extra steps to match AdaRFT: predicted and published", plan_table1),
    ]
    paper[0].add_argument(
        "--fit-cells",
        metavar="A,B",
        default="skew-difficult/ppo,uniform/ppo",
        help="at most two cells that weigh the draws, or none (default: %(default)s)",
    )
    paper += [add_paper(studies, name, text, plan_findings) for name, (_, text) in paper_findings.STUDIES.items()]
    spread = studies.add_parser("transfer", allow_abbrev=False, help="gains in other categories than the trained one")
    spread.add_argument("--log", metavar="CSV", required=True, help=f"a row per item: {','.join(transfer.COLUMNS)}")
    spread.add_argument("--base", metavar="NAME", default=transfer.BASE, help="before training (default: %(default)s)")
    spread.add_argument("--draws", **NUMBER, default=2000, help="bootstrap samples (default: 2000)")
    spread.set_defaults(plan=plan_transfer, out="results/transfer")
    for study in (real, *paper, spread):
        study.add_argument("--seed", **NUMBER, default=0, help="(default: 0)")
        study.add_argument("--out", metavar="DIR", help=f"tables and figure (default: {study.get_default('out')})")
    return p


def add_paper(studies: argparse._SubParsersAction[Parser], name: str, text: str, plan: Study) -> Parser:
    study = studies.add_parser(name, allow_abbrev=False, help=text)
    study.add_argument("--learners", metavar="A,B", help=f"(default: {','.join(family.LEARNERS)})")
    study.add_argument("--draws", **NUMBER, default=32, help="draws from the priors (default: 32)")
    study.set_defaults(plan=plan, out=f"results/{name}")
    return study


def read_family(options: argparse.Namespace) -> tuple[list[str], int]:
    """Learners and number of draws."""
    learners = names("--learners", options.learners, list(family.LEARNERS))
    for name in learners:
        check_choice("--learners", name, family.LEARNERS)
    if len(set(learners)) < len(learners):
        raise InputError(f"--learners: must be different from each other, got {', '.join(learners)}")
    return learners, check_count("--draws", options.draws, 2, MOST_DRAWS)


def plan_table1(options: argparse.Namespace) -> Work:
    learners, draws = read_family(options)
    fitted = [] if options.fit_cells == "none" else names("--fit-cells", options.fit_cells, [])
    if len(fitted) > 2 or len(set(fitted)) < len(fitted):
        raise InputError(f"--fit-cells: must be at most two different cells, got {', '.join(fitted)}")
    for cell in fitted:
        check_choice("--fit-cells", cell, tuple(CELLS))

    def work(out: Path) -> str:
        cells, scores = table1.compare(table1.predict(learners, draws, options.seed), fitted)
        write_tables(out, cells=cells, scores=scores)
        figures.save(table1.paint(cells), out / "table1")
        return table1.report(cells, scores)

    return work


def plan_findings(options: argparse.Namespace) -> Work:
    learners, draws = read_family(options)

    def work(out: Path) -> str:
        findings, curves = paper_findings.STUDIES[options.study][0](learners, draws, options.seed)
        write_tables(out, findings=findings)
        figures.save(figures.learning_curves(curves, over="draw"), out / options.study)
        return family.findings_text(findings)

    return work


def plan_real(options: argparse.Namespace) -> Work:
    log = read_log(Path(options.log))
    learners = with_all(names("--learners", options.learners, ["all"]), lambda: list(LEARNERS))
    for name in learners:
        check_choice("--learners", name, LEARNERS)
    if len(set(learners)) < len(learners):
        raise InputError(f"--learners: must be different from each other, got {', '.join(learners)}")
    fit_until = check_count("--fit-until", options.fit_until, 2, log.visits)
    until = check_count("--forecast-until", options.forecast_until, fit_until + 1, MOST_VISITS)
    draws = check_count("--draws", options.draws, 2, MOST_DRAWS)

    def work(out: Path) -> str:
        kept = out / "fits"
        kept.mkdir(exist_ok=True)
        tables = forecast.run(log, fit_until, until, learners, draws, options.seed, kept=kept)
        write_tables(
            out, forecast=tables.forecast, scores=tables.scores, parameters=tables.parameters, items=tables.items,
            weights=tables.weights,
        )  # fmt: skip
        figures.save(forecast.paint(tables, fit_until, learners), out / "forecast")
        return forecast.report(tables, learners, fit_until)

    return work


def plan_transfer(options: argparse.Namespace) -> Work:
    draws = check_count("--draws", options.draws, 2, MOST_DRAWS)
    log = transfer.read_log(Path(options.log))

    def work(out: Path) -> str:
        tables = transfer.analyse(log, options.base, draws, options.seed)
        write_tables(out, transfer=tables.transfer, range=tables.range)
        figures.save(transfer.paint(tables.transfer), out / "transfer")
        return transfer.report(tables)

    return work


def write_tables(out: Path, **tables: pd.DataFrame) -> None:
    for name, table in tables.items():
        write_whole(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    check_count("--seed", options.seed, 0, 2**32 - 1)
    out = check_folder("--out", options.out)
    work = options.plan(options)
    with only_writer(out):
        print(work(out))


if __name__ == "__main__":
    sys.exit(main())
