"""Finetune a language model with a curriculum: python real_runs/train.py --help"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import sys

from workbench.commands import Parser, exit_status, needs

needs("sweep", "real")
from real_runs.runs.execute import execute
from real_runs.runs.identity import OTHER_CODE
from real_runs.runs.run import OPTIONS, Run, add_options, read_options
from real_runs.runs.settings import read_controller, read_texts, value_of
from real_runs.runs.signal import ANYWAY, LEAST_SHARE
from workbench.errors import InputError, shown
from workbench.files import check_folder, only_writer
from workbench.registry import GATES, RULES, parts_of


def parser() -> Parser:
    names = f"Rules: {', '.join(RULES)}. Gates: {', '.join(GATES)}."
    p = Parser(description=__doc__, epilog=names, allow_abbrev=False)
    add_options(p, list(OPTIONS))
    p.add_argument("--set", metavar="NAME.PARAMETER=VALUE", action="append", default=[],
                   help="a hyper-parameter of the rule, a gate or the algorithm, such as adarft.eta=20 or "
                   "ppo.kl_coef=0; may be repeated")  # fmt: skip
    p.add_argument("--controller-file", metavar="FILE",
                   help="controller.json of sims/advise.py, in place of --controller")  # fmt: skip
    p.add_argument("--resume", action="store_true", help="continue from the last sound checkpoint in --out")
    p.add_argument(OTHER_CODE, action="store_true",
                   help="let --resume take what another version of the code computed")  # fmt: skip
    p.add_argument(ANYWAY, action="store_true",
                   help=f"start also where fewer than {100 * LEAST_SHARE:g} %% of the groups could be mixed, or where "
                   "no answer has full score from the scorer, or the scorer is known to be unsound")  # fmt: skip
    p.add_argument("--tensorboard", action="store_true", help="also write TensorBoard scalars")
    p.add_argument("--out", metavar="FOLDER", default="results/real", help="(default: %(default)s)")
    return p


def parse(arguments: list[str] | None = None) -> tuple[Run, argparse.Namespace]:
    options = parser().parse_args(arguments)
    if options.controller_file is not None:
        if options.controller != Run.controller:
            raise InputError("--controller: must not be given beside --controller-file, got "
                             f"{shown(options.controller)}")  # fmt: skip
        options.controller, given = read_controller(options.controller_file)
        options.set = [*given, *options.set]
    values = read_options(options, list(OPTIONS))
    named = Run(**values)
    owners = dict.fromkeys([*parts_of(named.controller, "--controller"), named.algorithm])
    texts = read_texts(options.set, list(owners))
    settings = {name: value_of(name, text, [named.algorithm]) for name, text in texts.items()}
    run = Run(**values, settings=tuple(settings.items()))
    run.make_controller()
    run.make_algorithm()
    return run, options


def main(arguments: list[str] | None = None) -> int:
    def work() -> None:
        run, options = parse(arguments)
        out = check_folder("--out", options.out)
        with only_writer(out):
            execute(run, out, options.resume, options.tensorboard, options.any_code, options.anyway)
        print(f"{out}: steps.csv evals.csv rollouts.parquet manifest.json")

    return exit_status(work, "--resume goes on from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
