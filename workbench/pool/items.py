"""The pool: the items a curriculum chooses from."""

from __future__ import annotations

import hashlib
import html
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, as_array, check_choice, check_count, few, shown
from workbench.extras import MissingExtra
from workbench.pool import files
from workbench.pool.columns import COLUMNS, checked_columns, checked_payload
from workbench.pool.layouts import Understood, name_of, split_mapping, understand
from workbench.pool.synthetic import PRESETS, synthetic_columns
from workbench.tables.cells import check_once
from workbench.tables.formats import Table

if TYPE_CHECKING:
    import pandas as pd

WHOLE = 2**26  # parts of a difficulty unit in `whole_difficulty`: a batch of 10^9 items still adds up
FEW = 3  # distinct labels in [0, 1] that raise no suspicion


class Arms(NamedTuple):
    """K groups of items. Arm k holds the items order[start[k]:start[k + 1]], in order of position."""

    names: NDArray[Any]  # (K,) sorted values of the column; bin numbers from 0 for difficulty
    of_item: NDArray[np.int64]  # (I,) each item's arm
    order: NDArray[np.int64]  # (I,)
    start: NDArray[np.int64]  # (K + 1,)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Pool:
    """I items, most of them with a difficulty label.

    difficulty: (I,) in [0, 100]; 100 (1 - pass rate) of a reference model where it comes from attempts. By default it
    is 100 (1 - successes / attempts), and NaN, no label, without counts. Simulated learners need labels of all items,
    and so do rules that read them (`Rule.labels`).
    ids, category, level: (I,) text or numbers, optional. category may also be True and False.
    successes, attempts: (I,) pass counts behind the labels, optional.
    features: (I, F) numbers that describe the items, such as embeddings of prompts, optional.
    weak_rate, strong_rate: (I,) pass rates in [0, 1] of two reference models, optional.
    payload: what a real run needs, a mapping of (I,) columns such as "prompt" and "answer"; not used in simulation.

    Columns are copied, and the pool's arrays cannot be written. `pool[rows]` is `pool.take(rows)`.

    Raises InputError for an empty pool, a difficulty that is not a number in [0, 100], columns of other lengths,
    counts with successes > attempts, and numbers given as text, booleans, dates, masked arrays or objects. Warns where
    all difficulties lie in [0, 1], which are rates, and where ids repeat, as they do in the log of a run.
    """

    difficulty: NDArray[np.float64]
    ids: NDArray[Any] | None
    category: NDArray[Any] | None
    level: NDArray[Any] | None
    successes: NDArray[np.int64] | None
    attempts: NDArray[np.int64] | None
    features: NDArray[np.float64] | None
    weak_rate: NDArray[np.float64] | None
    strong_rate: NDArray[np.float64] | None
    payload: Mapping[str, Sequence[Any]] | None
    name: str

    __iter__: ClassVar[None] = None  # rows have no object of their own; `pool[rows]` alone would make a pool iterable

    def __init__(
        self,
        difficulty: ArrayLike | None = None,
        ids: ArrayLike | None = None,
        category: ArrayLike | None = None,
        level: ArrayLike | None = None,
        successes: ArrayLike | None = None,
        attempts: ArrayLike | None = None,
        features: ArrayLike | None = None,
        weak_rate: ArrayLike | None = None,
        strong_rate: ArrayLike | None = None,
        payload: Mapping[str, Sequence[Any]] | None = None,
        *,
        name: str = "pool",
    ) -> None:
        given = {
            "difficulty": difficulty, "ids": ids, "category": category, "level": level, "successes": successes,
            "attempts": attempts, "features": features, "weak_rate": weak_rate, "strong_rate": strong_rate,
        }  # fmt: skip
        if not isinstance(name, str):
            raise InputError(f"name: must be text, got {shown(name)}")
        columns = checked_columns(given | {"payload": payload if isinstance(payload, Mapping) else None})
        size = len(columns["difficulty"])
        self._fill(columns | {"payload": checked_payload(payload, size), "name": name})
        self._warn()

    def _fill(self, state: Mapping[str, Any]) -> None:
        for value in state.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self.__dict__.update(state)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._fill(state)  # an array from a pickle may be written

    def _with(self, **changes: Any) -> Pool:
        """This pool with columns that need no check."""
        pool = object.__new__(type(self))
        mine = {name: getattr(self, name) for name in (*COLUMNS, "payload", "name")}
        pool._fill(mine | {"_understood": self.understood} | changes)
        return pool

    def _warn(self) -> None:
        d = self.difficulty[~np.isnan(self.difficulty)]
        if d.size and d.max() <= 1 and len(np.unique(d)) > FEW:
            warnings.warn(
                f"difficulty: all {len(d):,} labels of pool {self.name!r} lie in [0, 1], but the scale is [0, 100]. "
                "A pass rate p has the difficulty 100 (1 - p).",
                stacklevel=3,
            )
        different = len(self) if self.ids is None else len(set(self.ids.tolist()))
        if different < len(self):
            warnings.warn(
                f"ids: the {len(self):,} rows of pool {self.name!r} name {different:,} different items. A pool has one "
                "row per item; a log of a run has more.",
                stacklevel=3,
            )

    def __len__(self) -> int:
        return len(self.difficulty)

    def __repr__(self) -> str:
        return f"Pool({self.name!r}, {len(self):,} items, {self._labels_told()})"

    def _labels_told(self) -> str:
        d = self.difficulty[~np.isnan(self.difficulty)]
        if not d.size:
            return "no difficulty"
        without = f", {len(self) - len(d):,} without" if len(d) < len(self) else ""
        return f"difficulty {d.min():g} to {d.max():g}, mean {d.mean():.1f}{without}"

    @property
    def understood(self) -> str:
        """What `load` or `from_frame` took the table for, in one line: rows, columns used and not; else ""."""
        return str(self.__dict__.get("_understood", ""))

    @cached_property
    def labelled(self) -> bool:
        """Whether every item has a difficulty."""
        return not np.isnan(self.difficulty).any()

    def check_labels(self, reader: str) -> None:
        """InputError, which names who reads the labels, unless every item has a difficulty."""
        if not self.labelled:
            gaps = np.flatnonzero(np.isnan(self.difficulty))
            raise InputError(
                f"pool: must have a difficulty for every item for {reader}, got none for {len(gaps):,} of "
                f"{len(self):,} in '{self.name}', the first is item {gaps[0]}"
            )

    def _repr_html_(self) -> str:
        """A table for Jupyter: name, number of items, quantiles of difficulty, columns."""
        known = self.difficulty[~np.isnan(self.difficulty)]
        low, lower, median, upper, high = np.quantile(known, [0, 0.25, 0.5, 0.75, 1]) if known.size else [np.nan] * 5
        columns = [name for name in COLUMNS if name != "difficulty" and getattr(self, name) is not None]
        rows = {
            "items": f"{len(self):,}",
            "difficulty": f"{low:.1f} to {high:.1f}, quartiles {lower:.1f}, {median:.1f}, {upper:.1f}"
            if known.size
            else "none",
            "without difficulty": f"{len(self) - known.size:,}",
            "columns": ", ".join(columns) or "none besides difficulty",
            "payload": ", ".join(self.payload or ()) or "none",
        }
        cells = "".join(f"<tr><th>{what}</th><td>{html.escape(text)}</td></tr>" for what, text in rows.items())
        return f"<table><caption>Pool {html.escape(self.name)}</caption><tbody>{cells}</tbody></table>"

    def __getitem__(self, rows: ArrayLike | slice) -> Pool:
        return self.take(rows)

    def take(self, rows: ArrayLike | slice, name: str | None = None) -> Pool:
        """The items of some rows, in the order of `rows`, with all their columns.

        rows: positions (K,) in [0, I), which may repeat; or (I,) True and False; or a slice. name: of the new pool, by
        default this one's. Raises InputError for other rows, and where no row is left.
        """
        if name is not None and not isinstance(name, str):
            raise InputError(f"name: must be text, got {shown(name)}")
        at = self._positions(rows)
        columns = {column: value if (value := getattr(self, column)) is None else value[at] for column in COLUMNS}
        payload = self.payload and {column: [values[row] for row in at] for column, values in self.payload.items()}
        return self._with(**columns, payload=payload, name=self.name if name is None else name)

    def _positions(self, rows: ArrayLike | slice) -> NDArray[np.int64]:
        size = len(self)
        domain = f"positions in [0, {size}), True or False for each of {size} items, or a slice"
        if isinstance(rows, slice):
            at = np.arange(size)[rows]
        else:
            given = as_array("rows", rows, domain)
            if given.dtype == bool and given.shape == (size,):
                at = np.flatnonzero(given)
            elif given.ndim == 1 and (given.dtype.kind in "iu" or given.size == 0):
                at = given.astype(np.int64)
            else:
                raise InputError(f"rows: must be {domain}, got {shown(rows)}")
        out = (at < 0) | (at >= size)
        if out.any():
            raise InputError(f"rows: must be {domain}, got {at[out][0]}")
        if at.size == 0:
            raise InputError(f"rows: must leave at least one item of pool '{self.name}', got none")
        return at

    @cached_property
    def digest(self) -> str:
        """Identity of what a curriculum or a simulation uses, all but ids and payload: SHA-256, 16 digits."""
        digest = hashlib.sha256(self.difficulty.tobytes())
        for counts in (self.successes, self.attempts):
            digest.update(b"|" if counts is None else counts.tobytes())
        for column in ("features", "weak_rate", "strong_rate"):
            if getattr(self, column) is not None:
                digest.update(column.encode() + getattr(self, column).tobytes())
        for column in ("category", "level"):
            if getattr(self, column) is not None:
                digest.update(f"{column} {getattr(self, column).tolist()}".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """(I,) positions from the easiest to the hardest item, ties by position."""
        return np.argsort(self.difficulty, kind="stable")

    @cached_property
    def sorted_difficulty(self) -> NDArray[np.float64]:
        """(I,) difficulty[order]."""
        return self.difficulty[self.order]

    @cached_property
    def index(self) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """What a search by difficulty needs, (I,) each by rank: difficulty, position, and the start and end
        (exclusive) of the run of equal difficulty that the rank lies in."""
        d = self.sorted_difficulty
        start, end = np.searchsorted(d, d, side="left"), np.searchsorted(d, d, side="right")
        return d, self.order.astype(np.int32), start.astype(np.int32), end.astype(np.int32)

    @cached_property
    def runs(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The D difficulties that occur, (D,) from easy to hard, and the rank (D + 1,) at which each one starts."""
        values, start = np.unique(self.sorted_difficulty, return_index=True)
        return values, np.append(start, len(self))

    @cached_property
    def longest_run(self) -> int:
        """The most items of one difficulty."""
        _, _, start, end = self.index
        return int((end - start).max())

    @cached_property
    def whole_difficulty(self) -> NDArray[np.int64]:
        """(I,) difficulty in units of 1 / WHOLE, for exact sums in any order; 0 without a label."""
        return np.rint(np.nan_to_num(self.difficulty) * WHOLE).astype(np.int64)

    @property
    def pass_rate(self) -> NDArray[np.float64]:
        """(I,) successes / attempts where counts are known, else 1 - difficulty / 100."""
        if self.successes is not None and self.attempts is not None:
            return np.asarray(self.successes / self.attempts)
        return 1.0 - self.difficulty / 100.0

    @cached_property
    def _feature_scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(F,) mean and standard deviation of each feature over the pool, 1 where all items agree."""
        if self.features is None:
            raise InputError(f"pool: must have the column features, but '{self.name}' has none")
        spread = self.features.std(axis=0)
        return self.features.mean(axis=0), np.where(spread > 0, spread, 1.0)

    def standard_features(self, items: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        """(..., F) features of some items, each in standard deviations from its mean over the pool."""
        mean, spread = self._feature_scale
        assert self.features is not None
        return np.asarray((self.features[items] - mean) / spread)

    def arms(self, by: str = "difficulty", bins: int = 10) -> Arms:
        """The items in groups that do not overlap, for rules that choose a group.

        by: "difficulty" (bins of equal width over [0, 100], empty ones left out), or the column "category" or "level".
        bins: whole number >= 1. Raises InputError for another `by` or `bins`, and for a column that the pool lacks.
        """
        check_choice("by", by, ("difficulty", "category", "level"))
        bins = check_count("bins", bins)
        known: dict[tuple[str, int], Arms] = self.__dict__.setdefault("_arms", {})
        if (by, bins) not in known:
            known[by, bins] = self._make_arms(by, bins)
        return known[by, bins]

    def _make_arms(self, by: str, bins: int) -> Arms:
        if by == "difficulty":
            self.check_labels("arms by difficulty")
            values: NDArray[Any] = np.minimum(self.difficulty * bins // 100, bins - 1)
        elif (column := getattr(self, by)) is None:
            raise InputError(
                f"by: must be a column of the pool, but '{self.name}' has no {by}; by=difficulty needs none"
            )
        elif by == "category":
            values = np.asarray(column, dtype=str)
        elif column.dtype.kind not in "iuf":
            raise InputError(f"level: must be numbers, got {shown(column[0])}")
        else:
            values = column
        names, of_item = np.unique(values, return_inverse=True)
        order = np.argsort(of_item, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(of_item))])
        return Arms(names, of_item.astype(np.int64), order.astype(np.int64), start.astype(np.int64))

    def with_payload(self, payload: Mapping[str, Sequence[Any]] | None) -> Pool:
        """The same items with another payload. Raises InputError unless it maps names to (I,) columns."""
        return self._with(payload=checked_payload(payload, len(self)))

    def without_payload(self) -> Pool:
        """The same items without prompts and answers: all that a simulation needs."""
        return self if self.payload is None else self._with(payload=None)

    @cached_property
    def _first_seen(self) -> NDArray[np.int64]:
        """(I,) row at which each row's prompt appears first; the row itself where there are no prompts."""
        prompts = (self.payload or {}).get("prompt")
        if prompts is None:
            return np.arange(len(self))
        first: dict[str, int] = {}
        keys = (p if isinstance(p, str) else json.dumps(p, sort_keys=True, default=str) for p in prompts)
        return np.array([first.setdefault(key, row) for row, key in enumerate(keys)])

    @property
    def duplicates(self) -> int:
        """Rows whose prompt text appears in an earlier row."""
        return int((self._first_seen != np.arange(len(self))).sum())

    @property
    def conflicts(self) -> int:
        """Rows whose prompt text first appears in an earlier row with another difficulty."""
        first = self.difficulty[self._first_seen]
        return int(((self.difficulty != first) & ~(np.isnan(self.difficulty) & np.isnan(first))).sum())

    @classmethod
    def load(cls, source: str | os.PathLike[str], columns: Mapping[str, str] | None = None) -> Pool:
        """A pool from a file, a folder of files of one kind, or a data set hf:NAME, named by the file's stem.

        Files: .parquet, .csv, .tsv, .json, .jsonl, each of the texts as .gz too. hf:NAME/CONFIG@SPLIT needs the package
        datasets. columns: ROLE -> COLUMN, also written behind the source, as in "a.jsonl:pass_rate=solved,prompt=text".
        Roles are the columns of a pool, prompt, answer, pass_rate (in [0, 1]), failures (of `attempts`, a column or a
        number) and scale, EASIEST:HARDEST of the difficulty. A column inside nested rows is named with dots. An empty
        name leaves a role out.

        What is not mapped is looked for under the names that known data sets use: the released AdaRFT rows and tables,
        verl, Big-Math, Polaris ("3/8"), Skywork, DAPO, GSM8K. Items without a label have the difficulty NaN. Columns
        called payload.X go to the payload; other columns are left out. `understood` says in one line what was used.

        Raises InputError where the source cannot be read, a mapped column is missing or a column is refused; where
        counts and difficulty disagree; where labels look like another scale (none above 10, without counts); and where
        rows repeat ids or have several values of `step`, as those of a log do.
        """
        found = files.read(source, {} if columns is None else columns)
        try:
            return cls._of(found, name_of(source))
        except MissingExtra:
            raise
        except InputError as error:
            path = split_mapping(source)[0] if isinstance(source, str) else source
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, name: str = "pool", columns: Mapping[str, str] | None = None) -> Pool:
        """A pool from a pandas table, as `load` reads a file (a Hugging Face dataset: `.to_pandas()`)."""
        if not hasattr(frame, "columns") or not hasattr(frame, "to_numpy"):
            raise InputError(f"frame: must be a pandas table, got {shown(frame)}")
        if not all(isinstance(column, str) for column in frame.columns):
            raise InputError(f"frame: must have texts as names of columns, got {few(list(frame.columns))}")
        check_once("columns", list(frame.columns), "column")
        table = Table({column: _cells(frame[column]) for column in frame.columns})
        return cls._of(understand(table, {} if columns is None else columns), name)

    @classmethod
    def _of(cls, found: Understood, name: str) -> Pool:
        pool = cls(**found.columns, name=name)
        gaps, repeated = int(np.isnan(pool.difficulty).sum()), pool.duplicates
        notes = [f"{gaps:,} without difficulty"] * (0 < gaps < len(pool)) + ["no difficulty"] * (gaps == len(pool))
        notes += [f"{repeated:,} prompts repeated"] * (repeated > 0)
        return pool._with(_understood="; ".join([f"pool '{name}': {found}", *notes]))

    def to_frame(self) -> pd.DataFrame:
        """A pandas table with one row per item, which `from_frame` reads back.

        Columns: those the pool has, `features` with one array (F,) per row, then the payload: `prompt` and `answer` by
        their names, any other column X as `payload.X`.
        """
        return files.frame_of(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a .parquet, .jsonl or .csv file, whole or not at all; `Pool.load(pool.save(path))` is the same pool.

        Not so where its difficulty alone looks like that of another table (`load`): a file does not say its scale.
        Returns the path. Raises InputError for another kind of file and for a payload not made of text, numbers, lists
        and mappings; StorageError where the disk refuses.
        """
        from workbench.files import check_path, write_whole

        path = check_path("path", path)
        write_whole(path, files.file_bytes(self, path.suffix))
        return path

    @classmethod
    def synthetic(cls, name: str, size: int = 10_000, seed: int = 0) -> Pool:
        """A pool with the difficulty distribution of one of the sets released with AdaRFT, on the k/128 grid.

        name: skew-difficult | uniform | skew-easy | easy-extreme | hard-extreme: decile counts, and counts of
        items never or always solved, as published (`PRESETS`), scaled to `size` by largest remainder; inside a
        decile all grid values are equally likely. narrow: 40 <= d <= 60, ours, where no order can matter much.
        Columns that some rules need are made up around the label b (logits): level, the difficulty decile 0 to 9;
        weak_rate and strong_rate, 16 attempts each of reference models one logit below and above the labelling one;
        features, 8 views of b with noise of one logit each, as embeddings that know something of the difficulty.
        """
        check_choice("pool", name, tuple(PRESETS))
        check_count("size", size)
        return cls(**synthetic_columns(name, size, seed), name=name)


__all__ = ["PRESETS", "WHOLE", "Arms", "Pool"]


def _cells(column: pd.Series[Any]) -> NDArray[Any]:
    """The cells of a pandas column; None where one has pandas' own missing value."""
    if column.dtype == object or not isinstance(column.dtype, np.dtype):
        return np.asarray(column.astype(object).where(column.notna(), None))
    return column.to_numpy()
