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
    new_run = _changes(table, RUN)
    if not (new_run | _changes(table, ["step"])).all():  # rows of one run and step stand together
        check_table(table, "curves", (), one_row_per=[*RUN, "step"])
    starts = np.flatnonzero(new_run)
    lengths = np.diff(np.append(starts, len(table)))
    group = _numbered(table, together)
    due = table["step"].groupby(group).nunique().to_numpy()[group[starts]]
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

    table: sorted by arms. Further columns before `seed` count if they have one value in each arm. Raises InputError for
    a kind or a setting with several values in an arm.
    """
    known = [*ARM, *KINDS]
    before = list(table.columns[: list(table.columns).index("seed")])
    own = [c for c in table.columns if c in known or "." in str(c) or (c in before and c not in (*RUN, "step"))]
    same_arm = ~_changes(table, ARM)
    differs = {column: same_arm & _changes(table, [column]) for column in own if column not in ARM}
    several = [column for column, rows in differs.items() if rows.any()]
    for column in several:
        if column in known or "." in str(column):
            got = _where(table.iloc[int(differs[column].argmax())], ARM)
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
    order = [_numbered(table, BLOCK), _numbered(table, ARM)]
    order += [table[column].to_numpy() for column in ("seed", *last)]
    if _in_order(order):
        return table.reset_index(drop=True)
    return table.iloc[np.lexsort(order[::-1])].reset_index(drop=True)


def _in_order(keys: Sequence[NDArray[Any]]) -> bool:
    """Whether rows stand in the order of these keys (rows,), the first key first."""
    sorted_by_the_rest: Any = True
    for key in reversed(keys):
        before, after = key[:-1], key[1:]
        sorted_by_the_rest = (before < after) | ((before == after) & sorted_by_the_rest)
    return bool(np.all(sorted_by_the_rest))


def rows_by(table: pd.DataFrame, keys: Sequence[str]) -> list[NDArray[np.int64]]:
    """The rows of each value of the keys, which stand together, in the table's order: of each arm, for one."""
    return np.split(np.arange(len(table)), np.flatnonzero(_changes(table, keys))[1:])


def _changes(table: pd.DataFrame, keys: Sequence[str]) -> NDArray[np.bool_]:
    """(rows,) whether a row differs from the one before it in a key; the first does. A blank equals a blank."""
    changes = np.ones(len(table), bool)
    changes[1:] = False
    for key in keys:
        values, blank = table[key].array, table[key].isna().to_numpy()
        differs: Any = values[1:] != values[:-1]
        if not isinstance(differs, np.ndarray):  # of pandas' own types, where what is compared with a blank is blank
            differs = differs.to_numpy(dtype=bool, na_value=True)
        changes[1:] |= differs & ~(blank[1:] & blank[:-1])
    return changes


def _numbered(table: pd.DataFrame, keys: Sequence[str]) -> NDArray[np.int64]:
    """(rows,) number of what a row has in the keys, counted as they first appear.

    Rows of one name mostly stand together, so names are compared with the row before, and looked up where one changes.
    """
    starts = np.flatnonzero(_changes(table, keys))
    few = table[list(keys)].iloc[starts].groupby(list(keys), sort=False, observed=True).ngroup().to_numpy()
    return np.repeat(few, np.diff(np.append(starts, len(table))))


def _where(row: pd.Series[Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={row[key]}" for key in keys if key in row.index)


def _pair(block: tuple[Any, ...]) -> str:
    return " / ".join(map(str, block))


def _listed(columns: pd.Index[Any]) -> str:
    """The columns as an error shows them, at most a line."""
    text = ", ".join(map(str, columns))
    return text if len(text) <= 300 else text[:297] + "..."
