"""Checks of what figures are made from; tables come through the door of `workbench.analysis.frame`."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.analysis.frame import BLOCK, check_table
from workbench.errors import InputError


def _check_readable(table: str, things: str, count: int, most: int) -> None:
    if count > most:
        raise InputError(f"{table}: must have at most {most} {things} to be readable, got {count}")


def _own_curves(curves: Any, column: str) -> pd.DataFrame:
    """Curves of any origin, as those of a Record: a table may lack pool and learner, and seed where it has one run per
    controller."""
    table: pd.DataFrame = check_table(curves, "curves", ["controller", "step", column])
    table = table.assign(**{key: "" for key in BLOCK if key not in table})
    if "seed" in table:
        return table
    several = table.duplicated([*BLOCK, "controller", "step"])
    if several.any():
        row = table[several].iloc[0]
        got = f"several rows of controller={row['controller']} at step={row['step']}"
        raise InputError(f"curves: must have the column 'seed' where a controller has several runs, got {got}")
    return table.assign(seed=0)
