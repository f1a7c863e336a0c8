"""Checks of what figures are made from; tables come through the door of `workbench.analysis.frame`."""

from __future__ import annotations

from workbench.errors import InputError


def _check_readable(table: str, things: str, count: int, most: int) -> None:
    if count > most:
        raise InputError(f"{table}: must have at most {most} {things} to be readable, got {count}")
