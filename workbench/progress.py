"""A progress bar for terminals and notebooks."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Told(NamedTuple):
    """Where work says how far it is. at(done, total): updates the bar. line(text): a line on standard error."""

    at: Callable[[int, int], object]
    line: Callable[[str], object]


@contextmanager
def progress_bar(total: int, what: str, unit: str) -> Iterator[Told]:
    """A bar in a terminal, or a widget in a notebook that can show widgets; lines are printed above it."""
    with make_bar(total=total, desc=what, unit=unit, smoothing=0.1) as bar:
        yield Told(lambda done, _: bar.update(done - bar.n), lambda text: bar.write(text, file=sys.stderr))


def make_bar(**settings: Any) -> Any:
    """A tqdm bar that fits the place; a notebook without ipywidgets gets the plain one, without a warning.

    Its seconds are those that pass, also where the system's clock is set back or forward meanwhile.
    """
    bar = _kind()(**settings)
    if hasattr(bar, "_time"):  # a bar that shows nothing has no clock, and a later release may have another one
        bar._time = time.monotonic
        bar.start_t = bar.last_print_t = bar._time()
    return bar


def _kind() -> Any:
    if "IPython" not in sys.modules:
        # tqdm.auto loads asyncio too, a twentieth of the time of a small sweep
        from tqdm import tqdm as plain

        return plain
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
