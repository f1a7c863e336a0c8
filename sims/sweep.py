"""Compare curricula on simulated learners: python sims/sweep.py --help"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import atexit
import gc
import os
import sys

from workbench.commands import exit_status, needs
from workbench.terminal import tell

needs("sweep")
from sims.comparison import made


def main() -> int:
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow's own zeroes 2 MB for each small column
    gc.set_threshold(1_000_000)  # imports make many objects that stay: a tenth of --tiny went into looking at them,
    atexit.register(gc.freeze)  # and as much on the way out
    made_from = made.basis(sys.argv[1:])  # before anything is read that might change meanwhile
    if (before := made.kept(made_from)) is not None:
        return exit_status(lambda: made.tell_again(before))
    from sims.comparison.painter import Painter

    try:
        painter = Painter()  # it loads what drawing takes while this process loads and runs the rest
    except OSError as error:
        tell(f"error: the process that draws figures cannot be started: {error.strerror or error}")
        return 1
    with painter:
        from sims.comparison.run import run_command

        return run_command(painter, made_from)


if __name__ == "__main__":  # a worker process imports this file too, and needs nothing of it
    sys.exit(main())
