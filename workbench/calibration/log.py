"""The log of a run: which items were tried at which update, and how many of their attempts succeeded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.calibration import readers
from workbench.display import as_html
from workbench.errors import MOST, InputError, as_array, bound, check_count, check_kind, few, shown
from workbench.lanes import distinct_rows
from workbench.pool import Pool

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]
FEW_ITEMS = 20  # of which a rank correlation says little
CLEARLY = 6.0  # standard deviations
STEERED = ("items were tried more unevenly than by uniform sampling: what the log says is given the items that a rule "
           "or a filter chose")  # fmt: skip
GAPS = 0.5  # share of the updates between the first and the last that may be missing


@dataclass(frozen=True, eq=False)
class Evaluations:
    """M groups of attempts on held-out items, of which nothing was learned, sorted by run, update and item.

    run: (M,) positions in the log's runs. step: (M,) updates after which they were made, 0 before the first. item: (M,)
    positions in `items`. successes, attempts: (M,). items: names of the H items.
    """

    run: Ints
    step: Ints
    item: Ints
    successes: Ints
    attempts: Ints
    items: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.step)

    def of(self, runs: tuple[str, ...], log: Log) -> Evaluations | None:
        """Those within the updates of the runs of a log; None where there are none. runs: names of the runs."""
        place = np.array([log.runs.index(name) if name in log.runs else -1 for name in runs])[self.run]
        rows = (place >= 0) & (self.step <= last_steps({"run": log.run, "step": log.step})[place])
        columns = {name: getattr(self, name)[rows] for name in COUNTED} | {"run": place[rows]}
        return Evaluations(**columns, items=self.items) if rows.any() else None


COUNTED = ("run", "step", "item", "successes", "attempts")


class Counts(NamedTuple):
    """Columns of groups (N,) that need not be a log: evaluations, groups to come."""

    run: Ints
    step: Ints
    item: Ints
    successes: Ints
    attempts: Ints


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Log:
    """N groups of attempts, of one run or several, sorted by run, update and item.

    step: (N,) updates, counted from 1 in each run. item: (N,) positions in `items`. successes, attempts: (N,), with
    0 <= successes <= attempts and attempts >= 1. run: (N,) positions in `runs`. admitted: (N,) whether the learner was
    trained on the group; all by default.
    items: names of the I items, text; runs: names of the K runs. evaluations: of held-out items, if there are any.
    warm_up: updates until the learning rate of the runs was reached, linearly, >= 0; 0 where it is not known.

    Rows that are marked as `heldout` are evaluations: they are no groups of training, and stand in `evaluations` only.
    Those before the first logged update or after the last one are left out, except right before the first.
    Groups of one item at one update of a run are added up. The updates of each run are counted from its first logged
    one. An update that is missing in between is taken to repeat the one before it; `missing` counts them.
    Raises InputError for columns of different lengths, for counts out of their domain, and for a run in which more than
    half of the updates between the first and the last are missing.
    """

    run: Ints
    step: Ints
    item: Ints
    successes: Ints
    attempts: Ints
    admitted: NDArray[np.bool_]
    items: tuple[str, ...]
    runs: tuple[str, ...]
    notes: tuple[str, ...]
    evaluations: Evaluations | None
    warm_up: int

    def __init__(
        self,
        step: ArrayLike,
        item: ArrayLike,
        successes: ArrayLike,
        attempts: ArrayLike,
        run: ArrayLike | None = None,
        admitted: ArrayLike | None = None,
        items: Sequence[str] | None = None,
        notes: Sequence[str] = (),
        heldout: ArrayLike | None = None,
        warm_up: int = 0,
    ) -> None:
        check_count("warm_up", warm_up, 0)
        columns: dict[str, Any] = {name: whole_numbers(name, values) for name, values in
                   (("step", step), ("successes", successes), ("attempts", attempts))}  # fmt: skip
        place, names = _places("item", item)
        if items is not None:
            place, names = _given_places(item, items)
        of_run, run_names = _places("run", np.zeros(len(place), np.int64) if run is None else run)
        mask = np.ones(len(place), bool) if admitted is None else _flags("admitted", admitted)
        looked = np.zeros(len(place), bool) if heldout is None else _flags("heldout", heldout)
        columns |= {"item": place, "run": of_run, "admitted": mask, "heldout": looked}
        sizes = {name: len(values) for name, values in columns.items()}
        if len(set(sizes.values())) > 1 or not len(place):
            got = ", ".join(f"{name}: {size}" for name, size in sizes.items())
            raise InputError(f"log: must have columns of one length, one row or more, got {got}")
        _check_counts(columns["successes"], columns["attempts"])
        if lacking := [name for r, name in enumerate(run_names) if looked[of_run == r].all()]:
            raise InputError(f"log: must have rows of training in each run, got none in run {shown(lacking[0])}")
        start = np.array([columns["step"][(of_run == r) & ~looked].min() for r in range(len(run_names))])
        found, seen = _groups(columns, ~looked, start), _groups(columns, looked, start)
        within = (seen["step"] >= 0) & (seen["step"] <= last_steps(found)[seen["run"]])
        lost = [f"{(~within).sum():,} evaluations outside of the logged updates are left out"] * bool((~within).any())
        seen = {name: values[within] for name, values in seen.items()}
        seen["item"], asked = _used(seen["item"], names)
        if items is None:
            found["item"], names = _used(found["item"], names)
        for values in (*found.values(), *seen.values()):
            values.flags.writeable = False
        evaluations = Evaluations(**{name: seen[name] for name in COUNTED}, items=asked) if asked else None
        self.__dict__.update(found | {"items": names, "runs": run_names, "notes": tuple(dict.fromkeys((*notes, *lost))),
                                      "evaluations": evaluations, "warm_up": int(warm_up)})  # fmt: skip
        self._check_gaps()

    def _check_gaps(self) -> None:
        for number, name in enumerate(self.runs):
            steps = np.unique(self.step[self.run == number])
            lost = int(steps[-1]) - len(steps)
            if lost > GAPS * steps[-1]:
                raise InputError(f"step: must name at least half of the updates between a run's first and last, got "
                                 f"{len(steps)} of {steps[-1]} in run {shown(name)}")  # fmt: skip

    def __len__(self) -> int:
        return len(self.step)

    def __repr__(self) -> str:
        return f"Log({', '.join(f'{name}: {value}' for name, value in self._told().items())})"

    def _repr_html_(self) -> str:
        return as_html("Log", self._told())

    def _told(self) -> dict[str, str]:
        return {"groups": f"{len(self):,}", "items tried": f"{len(np.unique(self.item)):,}",
                "runs": str(len(self.runs)), "updates": f"{self.updates}", "attempts per group": _range(self.attempts),
                "mean success": f"{self.successes.sum() / self.attempts.sum():.3f}",
                "silent groups": f"{self.silent_share:.0%}"}  # fmt: skip

    @property
    def understood(self) -> str:
        """What the log was taken for, in one line."""
        missing = [f"{self.missing} updates are missing and repeat the one before"] * (self.missing > 0)
        told = ", ".join(f"{name}: {value}" for name, value in self._told().items())
        looks = [STEERED] * self.steered
        if (held := self.evaluations) is not None:
            looks += [f"{len(held):,} evaluations of {len(held.items):,} held-out items, which train nothing"]
        return "; ".join([told, *self.notes, *looks, *missing])

    @property
    def updates(self) -> int:
        """Updates of the longest run."""
        return int(self.step.max())

    @cached_property
    def missing(self) -> int:
        """Updates between the first and the last of a run without a group."""
        return sum(int(s[-1]) - len(s) for s in (np.unique(self.step[self.run == r]) for r in range(len(self.runs))))

    @property
    def silent_share(self) -> float:
        """Share of the groups whose attempts all succeed or all fail: they have no policy gradient."""
        return float(((self.successes == 0) | (self.successes == self.attempts)).mean())

    @cached_property
    def steered(self) -> bool:
        """Whether groups are spread over the items more unevenly than by uniform sampling.

        sum_i (c_i - m)^2 / m has mean I - 1 and variance about I (2 + 1 / m) for Poisson counts c_i with mean m; more
        than CLEARLY standard deviations above is uneven.
        """
        count = np.bincount(self.item, minlength=len(self.items)).astype(np.float64)
        mean, items = count.mean(), len(count)
        spread = float(((count - mean) ** 2).sum() / mean)
        return spread - (items - 1) > CLEARLY * float(np.sqrt(items * (2 + 1 / mean)))

    def until(self, step: int) -> Log:
        """The groups of the first `step` updates of each run. Raises InputError where there is none."""
        check_count("step", step)
        return self._take(self.step <= step)

    def of_runs(self, names: Sequence[str]) -> Log:
        """The runs with these names. Raises InputError for a name that is no run's."""
        if not isinstance(names, (list, tuple)) or not names:
            raise InputError(f"run: must be a list of names, got {shown(names)}")
        if unknown := [name for name in names if name not in self.runs]:
            raise InputError(f"run: must be one of {few(list(self.runs))}, got {shown(unknown[0])}")
        return self._take(np.isin(self.run, [self.runs.index(name) for name in names]))

    def _take(self, rows: NDArray[np.bool_]) -> Log:
        names = np.array(self.runs, object)[self.run[rows]]
        kept = Log(self.step[rows], self.item[rows], self.successes[rows], self.attempts[rows], names,
                   self.admitted[rows], self.items, self.notes, warm_up=self.warm_up)  # fmt: skip
        if self.evaluations is not None:
            kept.__dict__["evaluations"] = self.evaluations.of(self.runs, kept)
        return kept

    def on(self, pool: Pool) -> Log:
        """The same log with `item` as positions in a pool.

        Items are found by the pool's ids, or else by its prompts; a pool with neither has items numbered from 0.
        Raises InputError, with the share and the first three, where items of the log are not in the pool.
        """
        tried = np.unique(self.item)
        kind, names, place = places_in(pool, [self.items[i] for i in tried])
        of_item = np.full(len(self.items), -1)
        of_item[tried] = place
        doubt = _doubt_of_labels(of_item[self.item], self, pool) if kind == "number" else ()
        joined = Log(self.step, of_item[self.item], self.successes, self.attempts,
                     np.array(self.runs, object)[self.run], self.admitted, names,
                     (*self.notes, f"joined to pool '{pool.name}' by {kind}", *doubt),
                     warm_up=self.warm_up)  # fmt: skip
        joined.__dict__["evaluations"] = self.evaluations and self.evaluations.of(self.runs, joined)
        return joined

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        columns: Mapping[str, str] | None = None,
        success: float | None = None,
        order: str = "",
    ) -> Log:
        """A log from a file or folder, or from several, each of which is a run of its own.

        Rows are groups (columns step, item, successes, attempts) or single completions (step, item, reward). Read as
        they are: a run folder of real_runs, whose manifest gives its warm-up, the folder of TRL's completions, verl's
        rollout dumps (a file STEP.jsonl per update), the output of a run of prime-rl, and tables in any format that
        `Pool.load` takes.
        columns: ROLE -> COLUMN, also written behind the source, as in "a.csv:item=prompt_id,reward=score". Roles:
        step, item, successes, attempts, reward, run, admitted, split. Repeated prompts stand for the item where there
        is no id. Rows whose split is eval, test, validation or heldout are evaluations.
        success: the reward from which on a completion counts as a success. Without it rewards must be 0 or 1, or true
        and false.
        Completions without a reward (empty, NaN) are left out and counted.
        order: "sort" sorts the rows of a run by step; "restart" begins a new run where step goes down. Without it, a
        step that goes down is refused; the files of a folder are always sorted.
        Raises InputError, in one line, for what cannot be read or understood, and MissingExtra.
        """
        several: list[Any] = list(source) if isinstance(source, (list, tuple)) else [source]
        if not several:
            raise InputError("log: must be a file or folder, or several, got none")
        if len({str(one) for one in several}) < len(several):
            raise InputError(f"log: must be different files or folders, got {few([str(one) for one in several])}")
        tables = [readers.read_log(one, {} if columns is None else columns, success, order) for one in several]
        if len(tables) > 1:
            tables = [
                table | {"run": readers.run_names(one, table)} for one, table in zip(several, tables, strict=True)
            ]
        joined: dict[str, Any] = {name: np.concatenate([table[name] for table in tables]) for name in readers.GROUPS}
        notes = [note for table in tables for note in table["notes"]]
        known = sorted({int(table["warm_up"]) for table in tables})
        if len(known) > 1:
            apart = f"{known[0]} to {known[-1]} updates"
            notes.append(f"runs differ in their warm-up ({apart}); {known[-1]} is taken for all")
        return cls(**joined, notes=notes, warm_up=known[-1])

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        columns: Mapping[str, str] | None = None,
        success: float | None = None,
        order: str = "",
    ) -> Log:
        """A log from a pandas table, as `load` reads a file."""
        table = readers.of_frame(frame, {} if columns is None else columns, success, order)
        return cls(**{name: table[name] for name in readers.GROUPS}, notes=table["notes"])

    def to_frame(self) -> pd.DataFrame:
        """A row per group: run, step, item, successes, attempts, admitted; `from_frame` reads it back. Evaluations, if
        there are any, follow, and a column heldout marks them."""
        import pandas as pd

        frame = self._frame(self, self.admitted)
        if self.evaluations is None:
            return frame
        looks = self._frame(self.evaluations, np.ones(len(self.evaluations), bool))
        return pd.concat([frame.assign(heldout=False), looks.assign(heldout=True)], ignore_index=True)

    def _frame(self, of: Log | Evaluations, admitted: NDArray[np.bool_]) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame({
            "run": np.array(self.runs, object)[of.run], "step": of.step, "item": np.array(of.items, object)[of.item],
            "successes": of.successes, "attempts": of.attempts, "admitted": admitted,
        })  # fmt: skip


def places_in(pool: Pool, names: Sequence[str], field: str = "item") -> tuple[str, tuple[str, ...], Ints]:
    """By what a pool's items are named, these names, and the positions of the given ones (N,).

    Raises InputError, with the share and the first three, where some are not in the pool.
    """
    check_kind("pool", pool, Pool, "a Pool such as Pool.load(path)")
    lacking = []
    for kind, known in readers.names_of(pool):
        place = {name: number for number, name in reversed(list(enumerate(known)))}
        lost = [name for name in names if name not in place]
        if not lost:
            return kind, known, np.array([place[name] for name in names], np.int64)
        lacking.append((kind, lost))
    kind, lost = min(lacking, key=lambda pair: len(pair[1]))
    raise InputError(f"{field}: must name an item of pool '{pool.name}' by {kind}, got {len(lost):,} of "
                     f"{len(names):,} items that do not, such as {few(lost, 3)}")  # fmt: skip


def _doubt_of_labels(item: Ints, log: Log, pool: Pool) -> tuple[str, ...]:
    """A line where success does not fall with the difficulty of the items, by number: they may be another pool's."""
    import pandas as pd

    successes, attempts = (np.bincount(item, of, len(pool)) for of in (log.successes, log.attempts))
    known = (attempts > 0) & ~np.isnan(pool.difficulty)
    if known.sum() < FEW_ITEMS:
        return ()
    rate, label = pd.Series(successes[known] / attempts[known]), pd.Series(pool.difficulty[known])
    rank = float(rate.rank().corr(label.rank()))
    if not rank > -2 / np.sqrt(known.sum()):  # NaN, where all are alike, says nothing
        return ()
    return (f"is pool '{pool.name}' that of the run? success does not fall with its difficulty (rank correlation "
            f"{rank:+.2f} over {known.sum():,} items)",)  # fmt: skip


def whole_numbers(name: str, values: Any) -> Ints:
    """(N,) whole numbers; InputError for anything else."""
    domain = f"whole numbers in [0, {bound(MOST)}], one per row"
    given = as_array(name, values, domain)
    if given.ndim != 1 or (given.dtype.kind not in "iuf" and given.size):
        raise InputError(f"{name}: must be {domain}, got {shown(values)}")
    odd = np.flatnonzero(~((given >= 0) & (given <= MOST) & (given == np.floor(given))))
    if odd.size:
        raise InputError(f"{name}: must be {domain}, got {given[odd[0]]} at row {odd[0]}")
    return given.astype(np.int64)


def _check_counts(successes: Ints, attempts: Ints) -> None:
    wrong = np.flatnonzero((attempts < 1) | (successes > attempts))
    if wrong.size:
        got = f"{successes[wrong[0]]} of {attempts[wrong[0]]} at row {wrong[0]}"
        raise InputError(f"successes: must be whole numbers in [0, attempts] with attempts >= 1, got {got}")


def _flags(name: str, values: Any) -> NDArray[np.bool_]:
    given = as_array(name, values, "True or False, one per row")
    if given.dtype != bool or given.ndim != 1:
        raise InputError(f"{name}: must be True or False, one per row, got {shown(values)}")
    return given.copy()


def _places(name: str, values: Any) -> tuple[Ints, tuple[str, ...]]:
    """(N,) positions of each row's name among the distinct ones, numbers in their order and text as it comes."""
    given = as_array(name, values, "names or numbers, one per row")
    if given.ndim != 1 or given.dtype.kind not in "iuUO":
        raise InputError(f"{name}: must be names or whole numbers, one per row, got {shown(values)}")
    if given.dtype.kind in "iu":
        distinct, place = np.unique(given, return_inverse=True)
        return place.astype(np.int64), tuple(map(str, distinct.tolist()))
    known: dict[str, int] = {}
    place = np.array([known.setdefault(str(value), len(known)) for value in given.tolist()], np.int64)
    return place, tuple(known)


def _given_places(item: Any, items: Sequence[str]) -> tuple[Ints, tuple[str, ...]]:
    place = whole_numbers("item", item)
    if not isinstance(items, (list, tuple)):
        raise InputError(f"items: must be a list of names, got {shown(items)}")
    if place.size and place.max() >= len(items):
        raise InputError(f"item: must be positions in [0, {len(items)}), got {place.max()}")
    return place, tuple(map(str, items))


def _groups(columns: Mapping[str, Any], rows: NDArray[np.bool_], start: Ints) -> dict[str, Any]:
    """The columns of the groups of some rows, sorted by run, update and item. start: (K,) first step of each run."""
    mine = {name: values[rows] for name, values in columns.items()}
    number, firsts = _merged(mine["run"], mine["step"], mine["item"])
    k, n = (np.bincount(number, mine[name], len(firsts)).astype(np.int64) for name in ("successes", "attempts"))
    admitted = np.zeros(len(k), bool)
    np.logical_or.at(admitted, number, mine["admitted"])
    run = mine["run"][firsts]
    return {"run": run, "step": mine["step"][firsts] - start[run] + 1, "item": mine["item"][firsts], "successes": k,
            "attempts": n, "admitted": admitted}  # fmt: skip


def _used(place: Ints, names: tuple[str, ...]) -> tuple[Ints, tuple[str, ...]]:
    """The names that are used, in their order, and positions among them."""
    used, which = np.unique(place, return_inverse=True)
    return which.astype(np.int64), tuple(names[i] for i in used)


def last_steps(groups: Mapping[str, Any]) -> Ints:
    """(K,) the last update of each run."""
    last = np.zeros(int(groups["run"].max()) + 1, np.int64)
    np.maximum.at(last, groups["run"], groups["step"])
    return last


def _merged(run: Ints, step: Ints, item: Ints) -> tuple[Ints, Ints]:
    """(N,) number of each row's group, sorted by run, step and item; and a row of each group."""
    _, rows = distinct_rows(np.stack([run, step, item], axis=1))
    return rows, np.unique(rows, return_index=True)[1].astype(np.int64)


def _range(values: Ints) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"
