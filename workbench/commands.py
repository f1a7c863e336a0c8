"""What all commands share: errors in one line, and the status that a command ends with."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from workbench.errors import InputError, WorkerError
from workbench.extras import MissingExtra, require
from workbench.stops import stopped_line


class Parser(argparse.ArgumentParser):
    """Ends with one line for a wrong command line; the usage is behind --help."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("unrecognized arguments: ", "options: must be among those that --help lists, got ")
        self.exit(2, f"error: {message}\n")


DIGITS = 100  # of a number on a command line: no count has as many, and Python reads no more than 4,300


def whole_or_text(text: str) -> int | str:
    """A whole number where a text is one, otherwise the text, for `check_count` to name."""
    return int(text) if text.isdecimal() and len(text) <= DIGITS else text


SAME_AGAIN = "what was finished is kept, run the same command to go on"


def needs(*extras: str) -> None:
    """End with one line, status 2, unless the packages of these extras are installed: before a command imports them."""
    try:
        for extra in extras:
            require(extra)
    except MissingExtra as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def exit_status(work: Callable[[], int | None], go_on: str = "") -> int:
    """Do the work. 0 or what it returns; 2 for bad input, 1 if a disk or a process fails, 130 or 128 and the
    signal's number if stopped: a line each.

    go_on: what the line says after a failure or a stop, where the work can go on from what is on disk.
    """
    after = f"; {go_on}" if go_on else ""
    try:
        return work() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, WorkerError) as error:
        print(f"error: {error}{after}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        line, status = stopped_line(error)
        print(f"{line}{after}", file=sys.stderr)
        return status
