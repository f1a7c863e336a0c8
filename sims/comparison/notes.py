"""What a sweep says beside its report: a line each on standard error, remembered so that it can be said again."""

from __future__ import annotations

import sys

noted: list[str] = []  # of the sweep that runs, in order


def note(line: str) -> None:
    """Say a line, and remember it."""
    noted.append(line)
    print(line, file=sys.stderr)
