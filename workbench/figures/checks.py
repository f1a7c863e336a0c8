"""Checks of the tables that figures are made from."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from workbench.errors import InputError


def _require(table: pd.DataFrame, name: str, columns: Sequence[str], one_row_per: Sequence[str] | None = None) -> None:
    for column in columns:
        if column not in table.columns:
            got = ", ".join(map(str, table.columns))
            raise InputError(f"{name}: must have the column {column!r}, got {got}")
    if table.empty:
        raise InputError(f"{name}: must have rows, got none")
    if one_row_per and table.duplicated(list(one_row_per)).any():
        twice = table[table.duplicated(list(one_row_per))].iloc[0]
        got = ", ".join(f"{c}={twice[c]}" for c in one_row_per)
        raise InputError(f"{name}: must have one row per {', '.join(one_row_per)}, got several with {got}")


def _check_readable(table: str, things: str, count: int, most: int) -> None:
    if count > most:
        raise InputError(f"{table}: must have at most {most} {things} to be readable, got {count}")
