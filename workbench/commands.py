"""What all commands share: errors in one line, and the status that a command ends with."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from workbench.errors import InputError, WorkerError


class Parser(argparse.ArgumentParser):
    """Ends with one line for a wrong command line; the usage is behind --help."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("unrecognized arguments: ", "options: must be among those that --help lists, got ")
        self.exit(2, f"error: {message}\n")


def exit_status(work: Callable[[], int | None], *, resumes: bool = False) -> int:
    """Do the work. 0 or what it returns; 2 for bad input, 1 if a disk or a process fails, 130 if stopped: a line each.

    resumes: the same command goes on from what is on disk, and the line says so.
    """
    try:
        return work() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, WorkerError) as error:
        kept = "; what was finished is kept, run the same command again" if resumes else ""
        print(f"error: {error}{kept}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = "; finished cells are kept, run the same command to go on" if resumes else ""
        print(f"stopped{kept}", file=sys.stderr)
        return 130
