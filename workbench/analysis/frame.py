"""The door of analysis and figures: tables are checked and sorted here, so that a Record's frame is taken as it comes.

A table of curves has a row per run and step: `pool`, `learner`, `controller`, `seed`, `step`, and what was measured.
A table of runs has a row per run. An arm is a controller on a pool and a learner, a run one seed of an arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.errors import InputError, check_text, shown

BLOCK = ["pool", "learner"]
ARM = [*BLOCK, "controller"]
RUN = [*ARM, "seed"]
KINDS = {"law": "learner", "rule": "controller"}  # what a name without its settings is, where a table does not say


def check_table(
    table: Any, name: str, columns: Sequence[str], one_row_per: Sequence[str] | None = None
) -> pd.DataFrame:
    """`table`, or InputError unless it is a pandas table with rows and these columns, and no two rows of one key.

    Its index has no names, which might be those of columns.
    """
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"{name}: must be a pandas table, such as Record.to_frame() gives, got {shown(table)}")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        what = f"the column {shown(missing[0])}" if len(missing) == 1 else f"the columns {', '.join(missing)}"
        raise InputError(f"{name}: must have {what}, got {_listed(table.columns)}")
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise InputError(f"{name}: must have each column once, got {twice!r} twice")
    if table.empty:
        raise InputError(f"{name}: must have rows, got none")
    for column in table.columns[[kind == "object" for kind in table.dtypes]]:
        nested = [value for value in table[column] if isinstance(value, (list, dict, set, np.ndarray))]
        if nested:
            raise InputError(f"{name}: must have one value per cell, got {shown(nested[0])} in {shown(column)}")
    plain: pd.DataFrame = table.set_axis(table.index.set_names([None] * table.index.nlevels))
    if one_row_per and (repeated := plain.duplicated(list(one_row_per))).any():
        got = _where(plain[repeated].iloc[0], one_row_per)
        raise InputError(f"{name}: must have one row per {', '.join(one_row_per)}, got several with {got}")
    return plain


def check_numbers(table: pd.DataFrame, name: str, columns: Sequence[str], finite: bool = False) -> None:
    """Raise InputError unless these columns hold numbers; with `finite`, unless none of them is NaN or infinite."""
    for column in columns:
        types = pd.api.types
        if not types.is_numeric_dtype(table[column]) or types.is_complex_dtype(table[column]):
            raise InputError(f"{name}: must have numbers in {column!r}, got {shown(table[column].iloc[0])}")
        values = table[column].to_numpy(np.float64, na_value=np.nan)
        if finite and not np.isfinite(values).all():
            at = int((~np.isfinite(values)).argmax())
            got = f"{values[at]} at {_where(table.iloc[at], [key for key in [*RUN, 'step'] if key != column])}"
            raise InputError(f"{name}: must have finite numbers in {column!r}, got {got}")


def ordered_curves(curves: Any, columns: Sequence[str] = (), together: Sequence[str] = BLOCK) -> pd.DataFrame:
    """Curves with these columns, sorted by pool and learner, controller, seed and step; names as they first appear.

    The rows may come in any order. `law` and `rule` are added where they are missing: the learner and the controller.
    together: the keys whose runs must have been recorded at the same steps; by default all runs on a pool and learner.
    Raises InputError for missing columns, blanks in a key, two rows of one run and step, and a run with a gap.
    """
    curves = check_table(curves, "curves", [*RUN, "step", *columns])
    check_numbers(curves, "curves", ["seed", "step"], finite=True)
    check_numbers(curves, "curves", columns)
    table = _sorted(curves, "curves", "step")
    check_table(table, "curves", (), one_row_per=[*RUN, "step"])
    starts = np.flatnonzero(_changes(table, RUN))
    lengths = np.diff(np.append(starts, len(table)))
    due = table.groupby(list(together), sort=False, observed=True)["step"].transform("nunique").to_numpy()[starts]
    if (lengths < due).any():
        start = starts[(lengths < due).argmax()]
        run = table.iloc[start]
        same = (table[list(together)] == run[list(together)]).all(axis=1)
        own = (table[RUN] == run[RUN]).all(axis=1)
        gap = sorted(set(table["step"][same]) - set(table["step"][own]))[0]
        raise InputError(
            f"curves: must have a row for each step of a run, the same for all runs of one {', '.join(together)}, "
            f"got none at step {gap} of {_where(run, RUN)}"
        )
    return table


def ordered_runs(runs: Any, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Runs with these columns, sorted by pool and learner, controller and seed; names as they first appear.

    Raises InputError for missing columns, blanks in a key, and two rows of one run.
    """
    runs = check_table(runs, "runs", [*RUN, *columns], one_row_per=RUN)
    check_numbers(runs, "runs", ["seed"], finite=True)
    return _sorted(runs, "runs")


def described(table: pd.DataFrame) -> list[str]:
    """The columns that describe an arm, in the table's order: names, kinds, and swept settings such as `adarft.eta`.

    Further columns before `seed` count if they have one value in each arm. Raises InputError for a kind or a setting
    with several values in an arm.
    """
    known = [*ARM, *KINDS]
    before = list(table.columns[: list(table.columns).index("seed")])
    own = [c for c in table.columns if c in known or "." in str(c) or (c in before and c not in (*RUN, "step"))]
    values = table.groupby(ARM, sort=False, observed=True)[[c for c in own if c not in ARM]].nunique(dropna=False)
    several = [column for column in values.columns if (values[column] > 1).any()]
    for column in several:
        if column in known or "." in str(column):
            arm = values.index[(values[column] > 1).to_numpy()][0]
            got = ", ".join(f"{key}={value}" for key, value in zip(ARM, arm, strict=True))
            raise InputError(f"{column}: must be one value per arm, so that its runs are alike, got several in {got}")
    return [column for column in own if column not in several]


def baseline_rows(table: pd.DataFrame, baseline: str | None) -> NDArray[np.bool_]:
    """Which rows are of the baseline: a controller, or the one controller of a rule; None: none are.

    Raises InputError unless just one controller on every pool and learner is of that name.
    """
    if baseline is None:
        return np.zeros(len(table), bool)
    check_text("baseline", baseline)
    of_name = table["controller"] == baseline
    found = (of_name if of_name.any() else table["rule"] == baseline).to_numpy()
    arms = table.loc[found, ARM].drop_duplicates()
    if not found.any():
        rules = ", ".join(map(str, dict.fromkeys(table["rule"])))
        raise InputError(
            f"baseline: must be a controller or rule of the table ({rules}), or None for none, got {shown(baseline)}"
        )
    if (several := arms.duplicated(BLOCK)).any():
        got = ", ".join(arms["controller"][(arms[BLOCK] == arms[several].iloc[0][BLOCK]).all(axis=1)])
        raise InputError(f"baseline: must be one controller on each pool and learner, got {got}")
    blocks = table[BLOCK].drop_duplicates()
    if len(blocks) > len(arms):
        have = set(arms[BLOCK].itertuples(index=False, name=None))
        lacking = next(block for block in blocks.itertuples(index=False, name=None) if block not in have)
        raise InputError(f"baseline: must have run on every pool and learner, got no {baseline} on {_pair(lacking)}")
    return np.asarray(found)


def _sorted(table: pd.DataFrame, name: str, *last: str) -> pd.DataFrame:
    """Rows by block and controller as they first appear, then seed and what else; kinds filled in."""
    for key in ARM:
        blank = table[key].isna()
        if blank.any():
            raise InputError(f"{name}: must have a name in every row of {key!r}, got a blank in row {blank.argmax()}")
    for kind, of in KINDS.items():
        if kind not in table.columns:
            table = table.assign(**{kind: table[of]})
    block, arm = (table.groupby(keys, sort=False, observed=True).ngroup().to_numpy() for keys in (BLOCK, ARM))
    order = np.lexsort([*(table[column].to_numpy() for column in reversed(last)), table["seed"].to_numpy(), arm, block])
    if (np.diff(order) == 1).all():
        return table.reset_index(drop=True)
    return table.iloc[order].reset_index(drop=True)


def _changes(table: pd.DataFrame, keys: Sequence[str]) -> NDArray[np.bool_]:
    """(rows,) whether a row differs from the one before it in a key; the first does."""
    codes = table.groupby(list(keys), sort=False, observed=True).ngroup().to_numpy()
    return np.append(True, codes[1:] != codes[:-1])


def _where(row: pd.Series[Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={row[key]}" for key in keys if key in row.index)


def _pair(block: tuple[Any, ...]) -> str:
    return " / ".join(map(str, block))


def _listed(columns: pd.Index[Any]) -> str:
    """The columns as an error shows them, at most a line."""
    text = ", ".join(map(str, columns))
    return text if len(text) <= 300 else text[:297] + "..."
