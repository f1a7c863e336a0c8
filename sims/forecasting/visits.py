"""A real run's log as counts: which item, the how-manieth visit, successes of attempts."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.errors import InputError, shown_path
from workbench.files import read_whole
from workbench.tables.cells import read_csv

COLUMNS = ("item", "visit", "successes", "attempts")
MOST = 10**9  # visits, attempts
FIRST_VISITS = 5  # whose pass rate says how difficult an item was at first
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BINS = tuple(f"{low:.1f}-{high:.1f}" for low, high in pairwise(EDGES))


@dataclass(frozen=True)
class VisitLog:
    """I items, each visited T times by groups of n attempts.

    items: (I,) names. counts: (I, T) successes. attempts: n. first: the number that the log gives to the first visit.
    """

    items: NDArray[Any]
    counts: NDArray[np.int64]
    attempts: int
    first: int

    @property
    def visits(self) -> int:
        return int(self.counts.shape[1])

    def until(self, visit: int) -> VisitLog:
        """The first `visit` visits."""
        return VisitLog(self.items, self.counts[:, :visit], self.attempts, self.first)

    def bins(self, fit_until: int) -> NDArray[np.int64]:
        """(I,) bin of the pass rate over the first five visits, of those up to `fit_until`: number in BINS."""
        rate = self.counts[:, : min(FIRST_VISITS, fit_until)].mean(axis=1) / self.attempts
        return np.asarray(np.clip(np.searchsorted(EDGES, rate, side="left") - 1, 0, len(BINS) - 1))


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A log with at least these columns, no cell of them blank. InputError in one line for what cannot be used."""
    try:
        data = read_whole(path)
        data = gzip.decompress(data) if path.suffix.lower() == ".gz" else data
        read_csv(data, "--log")  # raises where a column comes twice or rows have other lengths, which pandas takes
        table = pd.read_csv(io.BytesIO(data), low_memory=False)  # so that a column is all numbers or all words
    except (OSError, ValueError, EOFError, zlib.error, RecursionError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        got = f"{shown_path(path)} ({reason})"
        raise InputError(f"--log: must be a .csv file of {', '.join(columns)}, got {got}") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"--log: must have the columns {', '.join(columns)}, got none named {', '.join(missing)}")
    for name in columns:
        blank = np.flatnonzero(table[name].isna())
        if blank.size:
            raise InputError(f"{name}: must be given in every row, got none at row {blank[0]}")
    return table


def make_counts(table: pd.DataFrame, columns: Sequence[str], successes: str) -> None:
    """Turn the columns into int64. InputError unless all are whole, "attempts" >= 1 and `successes` at most that."""
    for name in columns:
        low = int(name == "attempts")
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~((values >= low) & (values <= MOST) & (values == np.floor(values))))
        if wrong.size:
            got = f"{str(table[name].iloc[wrong[0]])[:80]} at row {wrong[0]}"
            raise InputError(f"{name}: must be a whole number in [{low}, {MOST}], got {got}")
        table[name] = values.astype(np.int64)
    above = np.flatnonzero(table[successes] > table["attempts"])
    if above.size:
        row = table.iloc[above[0]]
        raise InputError(
            f"{successes}: must be in [0, attempts], got {row[successes]} of {row['attempts']} at row {above[0]}"
        )


def read_log(path: Path) -> VisitLog:
    """A .csv with a row per group: item, visit, successes, attempts. InputError in one line for what cannot be used."""
    table = read_columns(path, COLUMNS)
    if table.empty:
        raise InputError("--log: must have a row per group, got none")
    make_counts(table, COLUMNS[1:], "successes")
    sizes = table["attempts"].unique()
    if len(sizes) > 1 or sizes[0] < 2:
        got = ", ".join(map(str, sorted(sizes)[:5]))
        raise InputError(f"attempts: must be one number >= 2 for all groups, got {got}")
    first, last = int(table["visit"].min()), int(table["visit"].max())
    items = table["item"].nunique()
    if table.duplicated(["item", "visit"]).any() or len(table) != items * (last - first + 1):
        raise InputError(
            f"visit: must give each of {items} items one row for every visit {first} to {last}, got {len(table)} rows"
        )
    wide = table.pivot(index="item", columns="visit", values="successes").sort_index()
    counts = wide.astype(np.int64).to_numpy()  # raises at a hole, which to_numpy(dtype) would fill with -2^63
    return VisitLog(wide.index.to_numpy(), counts, int(sizes[0]), first)
