"""A real run's log as counts: which item, the how-manieth visit, successes of attempts."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.calibration.log import Log
from workbench.errors import InputError, bound, shown_path
from workbench.files import read_whole
from workbench.streams import Role, generator
from workbench.tables.cells import read_csv

Ints = NDArray[np.int64]
COLUMNS = ("item", "visit", "successes", "attempts")
MOST = 10**9  # visits, attempts
BATCH = 128  # items of an update, at most
FIRST_VISITS = 5  # of an item, whose pass rate says how difficult it was at first
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BINS = tuple(f"{low:.1f}-{high:.1f}" for low, high in pairwise(EDGES))


class Groups(NamedTuple):
    """The groups of one visit, (G,) each: positions of their items, successes and attempts."""

    item: Ints
    successes: Ints
    attempts: Ints


@dataclass(frozen=True)
class VisitLog:
    """N groups of attempts at I items, sorted by visit and item; an item has a group at some of the visits, or at all.

    items: (I,) names. item: (N,) positions in `items`. visit: (N,), counted from 1. successes, attempts: (N,). first:
    the number that the log gives to the first visit.
    """

    items: NDArray[Any]
    item: Ints
    visit: Ints
    successes: Ints
    attempts: Ints
    first: int

    @property
    def visits(self) -> int:
        """The last visit."""
        return int(self.visit[-1])

    def until(self, visit: int) -> VisitLog:
        """The groups of the first visits."""
        return self._take(self.visit <= visit)

    def _take(self, rows: NDArray[np.bool_]) -> VisitLog:
        item, visit, successes, attempts = (of[rows] for of in (self.item, self.visit, self.successes, self.attempts))
        return VisitLog(self.items, item, visit, successes, attempts, self.first)

    def tried_until(self, visit: int) -> VisitLog:
        """All groups of the items that have one at the first visits."""
        tried = np.unique(self.item[self.visit <= visit])
        kept = self._take(np.isin(self.item, tried))
        return VisitLog(self.items[tried], np.searchsorted(tried, kept.item), kept.visit, kept.successes,
                        kept.attempts, self.first)  # fmt: skip

    def at(self, visit: int) -> Groups:
        """The groups of a visit."""
        rows = slice(*np.searchsorted(self.visit, [visit, visit + 1]))
        return Groups(self.item[rows], self.successes[rows], self.attempts[rows])

    @cached_property
    def totals(self) -> tuple[Ints, Ints]:
        """(I,) successes and attempts of each item."""
        k, n = (np.bincount(self.item, of, len(self.items)).astype(np.int64) for of in (self.successes, self.attempts))
        return k, n

    @property
    def last(self) -> Groups:
        """The last group of each item."""
        rows = np.empty(len(self.items), np.int64)
        rows[self.item] = np.arange(len(self.item))
        return Groups(self.item[rows], self.successes[rows], self.attempts[rows])

    def plan(self, visit: int) -> Groups:
        """Which items a visit tries, and how often: as logged, or, after the log, all of them, as often as most groups
        are. Without successes."""
        if visit <= self.visits:
            groups = self.at(visit)
            return groups._replace(successes=np.zeros_like(groups.successes))
        everyone = np.arange(len(self.items))
        return Groups(everyone, 0 * everyone, np.full(len(everyone), np.bincount(self.attempts).argmax()))

    def bins(self, fit_until: int) -> Ints:
        """(I,) bin of the pass rate over the item's first five visits, of those up to `fit_until`: number in BINS."""
        order = np.argsort(self.item[self.visit <= fit_until], kind="stable")
        start = np.searchsorted(self.item[order], np.arange(len(self.items) + 1))
        early = order[np.arange(len(order)) - start[self.item[order]] < FIRST_VISITS]
        k, n = (np.bincount(self.item[early], of[early], len(self.items)) for of in (self.successes, self.attempts))
        return np.asarray(np.clip(np.searchsorted(EDGES, k / n, side="left") - 1, 0, len(BINS) - 1))


def batches(groups: int, visit: int, seed: int) -> list[Ints]:
    """The groups of one visit in updates: in a random order, in as few parts of like size as hold BATCH at most.

    A log of visits does not say which items shared a batch. Uniform sampling shuffles the items once per visit.
    """
    order = generator(seed, Role.SHUFFLE, visit).permutation(groups)
    return np.array_split(order, -(-groups // BATCH))


def log_of(log: VisitLog, seed: int) -> Log:
    """The log by updates, as `workbench.calibration` takes it."""
    step, before = np.empty(len(log.item), np.int64), 0
    for visit in range(1, log.visits + 1):
        begin, end = np.searchsorted(log.visit, [visit, visit + 1])
        for part in batches(int(end - begin), visit, seed):
            step[begin + part], before = before, before + 1
    names = [str(number) for number in range(len(log.items))]
    return Log(step, log.item, log.successes, log.attempts, items=names)


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
            raise InputError(f"{name}: must be a whole number in [{low}, {bound(MOST)}], got {got}")
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
    small = np.flatnonzero(table["attempts"] < 2)
    if small.size:
        raise InputError(f"attempts: must be >= 2 for all groups, got {table['attempts'].iloc[small[0]]} "
                         f"at row {small[0]}")  # fmt: skip
    twice = np.flatnonzero(table.duplicated(["item", "visit"]))
    if twice.size:
        row = table.iloc[twice[0]]
        raise InputError(f"visit: must give an item one row for each visit, got visit {row['visit']} of item "
                         f"{str(row['item'])[:80]} again at row {twice[0]}")  # fmt: skip
    seen = np.unique(table["visit"])
    if len(seen) < seen[-1] - seen[0] + 1:
        lacking = seen[:-1][np.diff(seen) > 1][0] + 1
        raise InputError(f"visit: must have a row for every visit {seen[0]} to {seen[-1]}, got none for {lacking}")
    items, item = np.unique(table["item"].to_numpy(), return_inverse=True)
    order = np.lexsort((item, table["visit"]))
    visit, k, n = (table[name].to_numpy()[order] for name in COLUMNS[1:])
    return VisitLog(items, item[order].astype(np.int64), visit - seen[0] + 1, k, n, int(seen[0]))
