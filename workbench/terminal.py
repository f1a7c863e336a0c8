"""Standard output and error that take any text, closed or not read as they may be. Imports next to nothing."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys

LONGEST = 4000  # characters of a line that is told


def make_usable() -> None:
    """Lead closed standard streams nowhere, and escape characters that the encoding of a terminal does not have.

    A number of a stream that stayed closed would go to the next file that is opened, and what is said into that file.
    """
    opened = os.open(os.devnull, os.O_RDWR)
    while opened <= 2:
        os.set_inheritable(opened, True)
        opened = os.open(os.devnull, os.O_RDWR)
    os.close(opened)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def nobody_reads() -> bool:
    """Whether the other end of standard output is closed. After that, or another failure, it leads nowhere.

    What is printed is kept until much has come together: a failure may show here first.
    """
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # a stream within this process
        return False
    try:
        sys.stdout.flush()
    except OSError as error:
        gone = isinstance(error, BrokenPipeError)
    else:
        if not (gone := _closed(number)):
            return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
    return gone


def _closed(number: int) -> bool:
    asked = select.poll()
    asked.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in asked.poll(0))


def tell(text: str) -> None:
    """One line on standard error, if somebody can read it: control characters are escaped, a long line is cut."""
    line = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    line = line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
