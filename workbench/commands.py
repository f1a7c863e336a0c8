"""What all commands share: errors in one line, and the status that a command ends with."""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from workbench.errors import InputError, WorkerError, check_count, shown
from workbench.extras import MissingExtra, require
from workbench.stops import stopped_line, work_begins
from workbench.terminal import nobody_reads, tell

# What argparse says of a command line, and how this project says it: the option, its domain, the value.
SAID: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"unrecognized arguments: (.*)",
     lambda said: f"options: must be among those that --help lists, got {shown(said[1])}"),
    (r"the following arguments are required: (.*)", lambda said: f"{said[1]}: must be given, got none"),
    (r"argument (\S+): expected .*",
     lambda said: f"{said[1]}: must have a value, {said[1]}=VALUE where it begins with -, got none"),
    (r"argument (\S+): ignored explicit argument (.*)",
     lambda said: f"{said[1].split('/')[-1]}: must be given without a value, got {_cut(said[2])}"),
    (r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)",
     lambda said: f"{said[1]}: must be one of {said[3]}, got {_cut(said[2])}"),
)  # fmt: skip


class Parser(argparse.ArgumentParser):
    """Ends with one line for a wrong command line; the usage is behind --help."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        for word in given:
            if re.fullmatch("--[^=]+=--", word):  # some releases of argparse make an empty list of it
                tell(f"error: {word[:-3]}: must have a value, got '--'")
                self.exit(2)
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        for form, ours in SAID:
            if said := re.fullmatch(form, message, re.DOTALL):
                message = ours(said)
                break
        tell(f"error: {message}")
        self.exit(2)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if nobody_reads():
            status = UNREAD
        super().exit(status, message)


UNREAD = 128 + signal.SIGPIPE  # exit status where nobody reads what is printed, as shells have it
DIGITS = 100  # of a number on a command line: no count has as many, and Python reads no more than 4,300


def _cut(written: str, most: int = 80) -> str:
    """A value that is written out already, not longer than `shown` has it."""
    return written if len(written) <= most else written[: most - 3] + "..."


def whole_or_text(text: str) -> int | str:
    """A whole number where a text is one, otherwise the text, for `check_count` to name."""
    return int(text) if text.removeprefix("-").isdecimal() and len(text) <= DIGITS else text


def number_or_text(text: str) -> float | str:
    """A number where a text is one, otherwise the text, for `check_number` to name."""
    try:
        return float(text)
    except ValueError:
        return text


def whole(option: str, text: str, low: int = 1, high: int | None = None) -> int:
    """The whole number that the text of an option says; InputError unless it is one in [low, high]."""
    return check_count(option, whole_or_text(text), low, high)


HOW = ("jobs", "executor", "shard", "collect", "report", "full")


def command_again(program: str, parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """The line of a shell that does the same: the program with the options that are not as by default.

    Options that do not change what is computed are left out: who computes it, and whether a report is written.
    """
    words = ["python", program]
    for action in parser._actions:
        value = getattr(options, action.dest, None)
        if value in (None, action.default) or action.dest in HOW:
            continue
        values = value if isinstance(value, list) else [value]
        flag = action.option_strings[-1]
        words += [flag] if value is True else [word for one in values for word in _given(flag, str(one))]
    return shlex.join(words)


def _given(flag: str, value: str) -> tuple[str, ...]:
    """The words that give an option a value, which may begin with a dash."""
    return (f"{flag}={value}",) if value.startswith("-") else (flag, value)


SAME_AGAIN = "what was finished is kept, run the same command to go on"


def needs(*extras: str) -> None:
    """End with one line, status 2, unless the packages of these extras are installed: before a command imports them."""
    try:
        for extra in extras:
            require(extra)
    except MissingExtra as error:
        tell(f"error: {error}")
        sys.exit(2)


def _note(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
    """A warning as a command tells it: one line, without the line of ours that it comes from."""
    if not issubclass(category, UserWarning):
        return _formatted(message, category, *place, **more)
    return f"note: {' '.join(str(message).split())}\n"


_formatted: Callable[..., str] = warnings.formatwarning


def exit_status(work: Callable[[], int | None], go_on: str = "") -> int:
    """Do the work. 0 or what it returns; 2 for bad input, 1 if a disk, a process or the memory fails, 130 or 128 and
    the signal's number if stopped: a line each. UNREAD, without a line, if nobody reads what is printed. A warning
    meanwhile is a line, too.

    go_on: what the line says after a failure or a stop, where the work can go on from what is on disk.
    """
    after = f"; {go_on}" if go_on else ""
    warnings.formatwarning = _note
    work_begins()
    try:
        status = work() or 0
        sys.stdout.flush()
        return status
    except InputError as error:
        tell(f"error: {error}")
        return 2
    except (OSError, WorkerError) as error:
        if nobody_reads():
            return UNREAD
        tell(f"error: {error}{after}")
        return 1
    except MemoryError as error:
        tell(f"error: memory: must be enough for the work, got too little ({str(error) or 'no size is known'}){after}")
        return 1
    except KeyboardInterrupt as error:
        line, status = stopped_line(error)
        tell(f"{line}{after}")
        return status
    finally:
        warnings.formatwarning = _formatted
