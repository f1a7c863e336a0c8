"""The pool: the items a curriculum chooses from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError, check_choice, check_count, shown
from workbench.extras import MissingExtra, named_extra
from workbench.streams import Role, generator

if TYPE_CHECKING:
    import pandas as pd

WHOLE = 2**26  # parts of a difficulty unit in `whole_difficulty`: a batch of 10^9 items still adds up
GRID = 128  # attempts per item behind the released difficulties: d = 100 (1 - successes / 128)


class Arms(NamedTuple):
    """K groups of items. Arm k holds the items order[start[k]:start[k + 1]], in order of position."""

    names: NDArray[Any]  # (K,) sorted values of the column; bin numbers from 0 for difficulty
    of_item: NDArray[np.int64]  # (I,) each item's arm
    order: NDArray[np.int64]  # (I,)
    start: NDArray[np.int64]  # (K + 1,)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Pool:
    """I items with a known difficulty label.

    difficulty: (I,) in [0, 100]; 100 (1 - pass rate) of a reference model where it comes from attempts.
    ids, category, level: (I,) each, optional. successes, attempts: (I,) pass counts behind the labels, optional.
    features: (I, F) numbers that describe the items, such as embeddings of prompts, optional.
    weak_rate, strong_rate: (I,) pass rates in [0, 1] of two reference models, optional.
    payload: what a real run needs, a mapping of (I,) columns such as "prompt" and "answer"; not used in simulation.

    Raises InputError for an empty pool, a difficulty that is not a number in [0, 100], columns of other lengths,
    and counts with successes > attempts.
    """

    difficulty: NDArray[np.float64]
    ids: NDArray[Any] | None = None
    category: NDArray[Any] | None = None
    level: NDArray[Any] | None = None
    successes: NDArray[np.int64] | None = None
    attempts: NDArray[np.int64] | None = None
    features: NDArray[np.float64] | None = None
    weak_rate: NDArray[np.float64] | None = None
    strong_rate: NDArray[np.float64] | None = None
    payload: Mapping[str, Sequence[Any]] | None = None
    name: str = field(default="pool", kw_only=True)

    def __post_init__(self) -> None:
        d = _numbers("difficulty", self.difficulty)
        if d.ndim != 1 or d.size == 0:
            raise InputError(f"difficulty: must be one number per item for >= 1 items, got shape {d.shape}")
        bad = np.flatnonzero(~((d >= 0) & (d <= 100)))
        if bad.size:
            raise InputError(
                f"difficulty: must be a number in [0, 100], got {d[bad[0]]} at row {bad[0]} "
                f"({bad.size} of {d.size} rows are out)"
            )
        d.flags.writeable = False
        object.__setattr__(self, "difficulty", d)
        for column in ("ids", "category", "level", "successes", "attempts"):
            value = getattr(self, column)
            if value is not None:
                self._check_length(column, value)
                object.__setattr__(self, column, np.asarray(value))
        for column, low, high in (("features", -np.inf, np.inf), ("weak_rate", 0, 1), ("strong_rate", 0, 1)):
            value = getattr(self, column)
            if value is not None:
                self._check_length(column, value)
                object.__setattr__(self, column, _matrix(column, value, low, high, 2 if column == "features" else 1))
        if self.payload is not None and not isinstance(self.payload, Mapping):
            raise InputError(f"payload: must map column names to columns, got a {type(self.payload).__name__}")
        for column, values in (self.payload or {}).items():
            self._check_length(f"payload.{column}", values)
        if (self.successes is None) != (self.attempts is None):
            raise InputError("successes, attempts: must be given together, got only one of them")
        if self.successes is not None and self.attempts is not None:
            s, n = _counts("successes", self.successes), _counts("attempts", self.attempts)
            object.__setattr__(self, "successes", s)
            object.__setattr__(self, "attempts", n)
            wrong = np.flatnonzero(~((n >= 1) & (s >= 0) & (s <= n)))
            if wrong.size:
                row = wrong[0]
                raise InputError(
                    f"successes: must be in [0, attempts] with attempts >= 1, got {s[row]} of {n[row]} at row {row}"
                )

    def _check_length(self, column: str, values: Any) -> None:
        if len(values) != len(self.difficulty):
            raise InputError(f"{column}: must have {len(self.difficulty)} rows like difficulty, got {len(values)}")

    def __len__(self) -> int:
        return len(self.difficulty)

    def __repr__(self) -> str:
        d = self.difficulty
        return f"Pool({self.name!r}, {len(self):,} items, difficulty {d.min():g} to {d.max():g}, mean {d.mean():.1f})"

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
        """(I,) difficulty in units of 1 / WHOLE, for exact sums in any order."""
        return np.rint(self.difficulty * WHOLE).astype(np.int64)

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
        """
        known: dict[tuple[str, int], Arms] = self.__dict__.setdefault("_arms", {})
        if (by, bins) not in known:
            known[by, bins] = self._make_arms(by, bins)
        return known[by, bins]

    def _make_arms(self, by: str, bins: int) -> Arms:
        check_choice("by", by, ("difficulty", "category", "level"))
        if by == "difficulty":
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

    def without_payload(self) -> Pool:
        """The same items without prompts and answers: all that a simulation needs."""
        return self if self.payload is None else replace(self, payload=None)

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
        return int((self.difficulty != self.difficulty[self._first_seen]).sum())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Pool:
        """A pool from a .parquet, .jsonl or .csv file.

        Difficulty is the column `difficulty` or `extra_info.difficulty` (the released AdaRFT rows), else it is
        100 (1 - successes / attempts). Known columns (ids or id, category, level, successes, attempts, features,
        weak_rate, strong_rate) fill the fields of the same name; `prompt` and `answer` (or reward_model.ground_truth)
        go to the payload.
        """
        path = Path(path)
        readers = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".csv": _read_csv}
        if path.suffix not in readers:
            raise InputError(f"pool file: must end in .parquet, .jsonl or .csv, got '{path}'")
        if not path.is_file():
            raise InputError(f"pool file: must be a file that exists, got '{path}'")
        try:
            with named_extra():
                frame = readers[path.suffix](path)
        except MissingExtra:
            raise
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"pool file: must be a readable {path.suffix} file, got '{path}' ({reason})") from None
        try:
            return cls.from_frame(frame, name=path.stem)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, name: str = "pool") -> Pool:
        """A pool from a pandas table with the columns described in `load` (a Hugging Face dataset: `.to_pandas()`)."""
        columns = {c: frame[c].to_numpy() for c in frame.columns}
        for parent in ("extra_info", "reward_model"):  # nested rows, as in the released files
            for child in ("difficulty", "ground_truth"):
                if parent in columns and all(isinstance(row, Mapping) for row in columns[parent]):
                    values = [row.get(child) for row in columns[parent]]
                    if any(v is not None for v in values):
                        columns[f"{parent}.{child}"] = np.array(values, dtype=object)
        optional = ("category", "level", "successes", "attempts", "features", "weak_rate", "strong_rate")
        known = {c: columns[c] for c in optional if c in columns}
        ids = next((columns[c] for c in ("ids", "id") if c in columns), None)
        difficulty = next((columns[c] for c in ("difficulty", "extra_info.difficulty") if c in columns), None)
        if difficulty is None and {"successes", "attempts"} <= known.keys():
            counts = cls(np.zeros(len(frame)), successes=known["successes"], attempts=known["attempts"])
            difficulty = 100.0 * (1.0 - counts.pass_rate)
        if difficulty is None:
            raise InputError(
                "difficulty: must be a column 'difficulty' or 'extra_info.difficulty', or 'successes' and 'attempts'; "
                f"the columns are {', '.join(map(str, frame.columns))}"
            )
        payload: dict[str, list[Any]] = {c: list(columns[c]) for c in ("prompt", "answer") if c in columns}
        if "answer" not in payload and "reward_model.ground_truth" in columns:
            payload["answer"] = list(columns["reward_model.ground_truth"])
        return cls(difficulty, ids=ids, payload=payload or None, name=name, **known)

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
        bins = PRESETS[name]
        rng = generator(seed, Role.POOL)
        shares = np.array([count for _, count in bins], dtype=np.float64)
        failures = [
            rng.choice(levels, n) for (levels, _), n in zip(bins, _apportion(shares, size), strict=True)
        ]
        k = rng.permutation(np.concatenate(failures))  # position says nothing about difficulty
        b = np.log((k + 0.5) / (GRID - k + 0.5))
        weak, strong = (rng.binomial(16, 1 / (1 + np.exp(b - skill))) / 16 for skill in (-1.0, 1.0))
        return cls(
            100.0 * k / GRID, successes=GRID - k, attempts=np.full(size, GRID), level=np.minimum(10 * k // GRID, 9),
            features=b[:, None] + rng.standard_normal((size, 8)), weak_rate=weak, strong_rate=strong, name=name,
        )  # fmt: skip


def _bins(deciles: Sequence[int], never_failed: int = 0, always_failed: int = 0) -> list[tuple[NDArray[np.int64], int]]:
    """(grid levels, count) of the ten deciles, with the items at d = 0 and d = 100 counted apart."""
    k = np.arange(GRID + 1)  # failures of 128
    decile = np.minimum(10 * k // GRID, 9)
    bins = [(k[:1], never_failed), (k[-1:], always_failed)]
    for index, count in enumerate(deciles):
        inside = k[(decile == index) & (k > 0) & (k < GRID)]
        bins.append((inside, count - never_failed * (index == 0) - always_failed * (index == 9)))
    return [(levels, count) for levels, count in bins if count > 0]


# Counts per decile of the released files (arXiv 2504.05520, section 4.2, and its public data files).
PRESETS: dict[str, list[tuple[NDArray[np.int64], int]]] = {
    # the last decile of skew-difficult is split so that the median is the published 93.0 (k = 119)
    "skew-difficult": [
        *_bins([128, 247, 289, 369, 382, 467, 635, 803, 1215, 2647], 0, 2647),
        (np.arange(116, 119), 462),
        (np.arange(119, 128), 5460 - 2647 - 462),
    ],
    "uniform": _bins([978, 995, 1027, 950, 1011, 1028, 1016, 1004, 999, 992], 203, 0),
    "skew-easy": _bins([3408, 1712, 1100, 917, 672, 601, 539, 462, 369, 220], 711, 0),
    # the files end at d = 14.8 (k = 19) and start at d = 97.7 (k = 125)
    "easy-extreme": [(np.array([0]), 1216), (np.arange(1, 13), 5910 - 1216), (np.arange(13, 20), 1880)],
    "hard-extreme": [(np.array([128]), 6279), (np.arange(125, 128), 9262 - 6279)],
    "narrow": [(np.arange(52, 77), 1)],
}


def _numbers(column: str, values: Any) -> NDArray[np.float64]:
    """A column as float64, a copy; InputError with the first entry that is no number."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        for row, value in enumerate(np.ravel(np.asarray(values, dtype=object))):
            try:
                float(value)
            except (TypeError, ValueError):
                raise InputError(f"{column}: must be numbers in [0, 100], got {shown(value)} at row {row}") from None
        raise InputError(f"{column}: must be numbers in [0, 100], got {shown(values)}") from None


def _matrix(column: str, values: Any, low: float, high: float, axes: int) -> NDArray[np.float64]:
    """A numeric column, (I,) or (I, F), as float64, a copy; InputError with the first entry out of [low, high]."""
    try:
        array = np.array(values if isinstance(values, np.ndarray) else list(values))
        array = np.array(array.tolist() if array.dtype == object else array, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{column}: must be numbers, as many in each row, got {shown(values)}") from None
    domain = "finite numbers" if np.isinf(high) else f"numbers in [{low:g}, {high:g}]"
    if array.ndim != axes or array.size == 0:
        raise InputError(f"{column}: must be {domain} of shape (I{', F' * (axes - 1)}), got shape {array.shape}")
    bad = array[~(np.isfinite(array) & (array >= low) & (array <= high))]
    if bad.size:
        raise InputError(f"{column}: must be {domain}, got {bad[0]}")
    array.flags.writeable = False
    return array


def _counts(column: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Counts as int64; InputError unless whole numbers (as floats too: tables with gaps hold floats)."""
    if values.dtype.kind not in "iuf" or not np.all(np.isfinite(values)) or np.any(values != np.floor(values)):
        raise InputError(f"{column}: must be whole numbers >= 0, got {shown(values)}")
    return values.astype(np.int64)


def _apportion(shares: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Whole numbers that sum to `size` in the proportions of `shares` (largest remainder)."""
    exact = shares * size / shares.sum()
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: size - counts.sum()]] += 1
    return counts


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    wanted = {"difficulty", "extra_info", "reward_model", "id", "ids", "category", "level"}
    wanted |= {"successes", "attempts", "prompt", "answer", "features", "weak_rate", "strong_rate"}
    with pq.ParquetFile(path) as file:
        columns = [c for c in file.schema_arrow.names if c in wanted or c.startswith("extra_info.")]
        table = file.read(columns=columns) if columns else file.read()
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _read_jsonl(path: Path) -> pd.DataFrame:
    import pandas as pd

    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    odd = [row for row in rows if not isinstance(row, dict)]
    if odd or not rows:
        raise ValueError(f"every line must be a JSON object, got {odd[0]!r}" if odd else "it has no lines")
    return pd.DataFrame(rows)


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(path)


__all__ = ["PRESETS", "Arms", "Pool"]
