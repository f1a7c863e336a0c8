"""Ctrl-C, SIGTERM and SIGHUP end a command with one line, also while its packages load. Imports next to nothing."""

from __future__ import annotations

import atexit
import os
import signal
import sys

from workbench.terminal import make_usable

TYPE_CHECKING = False  # for type checkers: what is imported here delays the moment from which stops are taken
if TYPE_CHECKING:
    from typing import Any, NoReturn

WITH_PARENT = "END_WITH_PARENT"  # environment: set where standard input is a pipe that the starting process holds
AGAIN = 0.02  # seconds until a stop that was swallowed comes again
SIGNALS = ("SIGTERM", "SIGHUP")  # beside SIGINT

_asked: list[KeyboardInterrupt] = []  # stops so far: C code that imports may make another error of one
_begun: list[bool] = []  # filled once there is work to put down


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stopped_line(error: KeyboardInterrupt) -> tuple[str, int]:
    """What is said of a stop, and the exit status: 128 and the signal's number."""
    if isinstance(error, Stopped):
        return f"stopped by {signal.Signals(error.number).name}", 128 + error.number
    return "stopped", 128 + signal.SIGINT


def stop_in_one_line(name: str) -> None:
    """To be called first in a command, with its __name__: from here on a stop is one line on standard error.

    Does nothing where the file is imported. A signal that is ignored, as under nohup, stays so. Where the environment
    says so, the end of standard input stops the process, too: the process that started it has ended. Standard output
    and error take any text (`terminal.make_usable`).
    """
    if name != "__main__":
        return
    make_usable()
    sys.excepthook = _told
    sys.unraisablehook = _lost
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    for each in SIGNALS:
        number = getattr(signal, each, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    atexit.register(_done)  # the first that is registered is the last that is called
    if os.environ.pop(WITH_PARENT, ""):
        import threading

        threading.Thread(target=_watch, daemon=True).start()


def work_begins() -> None:
    """From here on a stop is raised, so that work is put down. Before, it ends the process at once: packages load, and
    some take an error in what they import for a package that is not there."""
    _begun.append(True)


def _stop(number: int, _frame: Any) -> NoReturn:
    error = KeyboardInterrupt() if number == signal.SIGINT else Stopped(number)
    if not _begun:
        line, status = stopped_line(error)
        os.write(2, f"{line}\n".encode())
        os._exit(status)
    _asked.append(error)
    raise error


def _done() -> None:
    """The work is done, and Python takes itself down: a stop, which can no longer be told, changes nothing any more."""
    for number in signal.valid_signals():
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_IGN)


def _watch() -> None:
    os.read(0, 1)  # returns when the other end closes
    os.kill(os.getpid(), signal.SIGTERM)


def _lost(lost: Any) -> None:
    """A stop that a callback or a finalizer swallowed comes again a little later, until it meets other code."""
    error = lost.exc_value
    if not isinstance(error, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    import threading

    number = error.number if isinstance(error, Stopped) else signal.SIGINT
    again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _told(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    stop = error if isinstance(error, KeyboardInterrupt) else _asked[0] if _asked else None
    if stop is None:
        sys.__excepthook__(kind, error, trace)
        return
    line, status = stopped_line(stop)
    print(line, file=sys.stderr, flush=True)
    os._exit(status)  # what a second signal would meet on the way out is nobody's business
