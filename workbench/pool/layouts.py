"""What the columns of somebody's table mean: which are labels, prompts and answers, and on which scale.

A mapping ROLE -> COLUMN says it; for roles that it does not name, the names that known data sets use are looked for. A
column of nested rows is named with dots, such as `extra_info.difficulty`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import InputError, shown
from workbench.pool.columns import COLUMNS
from workbench.tables.formats import READERS, Table

TEXTS = ("prompt", "answer")  # payload columns that keep their names in a table
PAYLOAD, JSON = "payload.", ".json"
SCALE = "scale"  # EASIEST:HARDEST of the difficulty column
SOURCES = ("pass_rate", "failures")  # further sources of difficulty: a rate in [0, 1], failed attempts
ROLES = (*COLUMNS, *TEXTS, *SOURCES, SCALE)
MAPPED = re.compile(rf"(?P<path>.*?):(?P<mapping>(?:{'|'.join(ROLES)})=.*)", re.DOTALL)

KNOWN = {  # names by role, the first that is there
    "ids": ("ids", "id"),
    "prompt": ("prompt", "problem", "question", "messages"),
    "answer": ("answer", "reward_model.ground_truth", "ground_truth", "final_answer", "solution"),
}
LABELS = ("difficulty", "extra_info.difficulty")
RATE = re.compile(r"(?:.*_)?(?:pass|solve)_?rate(?:_.*)?|accuracy")
PERCENT = ("solved_percentage", "pass_percentage", "extra_info.solved_percentage")
FAILURES = "extra_info.model_difficulty"  # Skywork: failures of 16 attempts, by model
FAILURES_OF = 16
IDS = ("ids", "id", "prompt_id", "item")  # columns whose values name the item of a row
COUNT = re.compile(r"[0-9]{1,9}")
FRACTION = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")
NUMBER = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*")
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,999})")  # 007 is text
LABEL = re.compile(r"-?(0|[1-9][0-9]{0,999})(\.[0-9]+)?(e[-+]?[0-9]+)?")  # as Python writes numbers
ENDINGS = (*READERS, ".gz")  # of files that are read
MISSING = ("", "NA", "N/A", "nan", "NaN", "NAN", "null", "None")  # cells of text without a number
MOST_NAME = 80  # characters of a column's name that are shown
FEW = 8  # labels that say nothing about their scale
FEW_RATES = 3  # different ones in [0, 1] that do not look like rates, though FEW or less
RATINGS = 10.0  # labels of up to this size look like rates or ratings


@dataclass
class Understood:
    """What a table was taken for. columns: the arguments of `Pool`. used: role -> column, in words."""

    columns: dict[str, Any]
    rows: int
    used: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    gaps: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In one line: rows, what was used for what, what was not used, and what some files of a folder lack."""
        used = ", ".join(f"{role} = {column}" for role, column in self.used.items()) or "no column used"
        ignored = f"; not used: {_few(self.ignored)}" if self.ignored else ""
        gaps = f"; {_few(self.gaps)}" if self.gaps else ""
        return f"{self.rows:,} rows; {used}{ignored}{gaps}"


def split_mapping(source: str) -> tuple[str, dict[str, str]]:
    """FILE:ROLE=COLUMN,ROLE=COLUMN as the file and the mapping; InputError for a wrong mapping."""
    match = MAPPED.fullmatch(source)
    if match is None:
        return source, {}
    mapping: dict[str, str] = {}
    for pair in match["mapping"].split(","):
        role, equals, column = pair.partition("=")
        if not equals or role in mapping:
            raise InputError(f"columns: must be ROLE=COLUMN, each role once, got '{pair}' in '{source}'")
        mapping[role] = column
    check_mapping(mapping)
    return match["path"], mapping


def name_of(source: str | os.PathLike[str]) -> str:
    """What a pool of this source is called: the file's name without its endings and the mapping."""
    name = Path(split_mapping(source)[0] if isinstance(source, str) else source).name
    while Path(name).suffix.lower() in ENDINGS:
        name = Path(name).stem
    return name


def split_sources(text: str) -> list[str]:
    """Sources from a list with commas, each with its own mapping."""
    out: list[str] = []
    for part in text.split(","):
        if out and MAPPED.fullmatch(out[-1]) and part.partition("=")[0] in ROLES:
            out[-1] += f",{part}"
        else:
            out.append(part)
    return out


def check_mapping(mapping: Any) -> Mapping[str, str]:
    """InputError unless it maps roles to names of columns."""
    if not isinstance(mapping, Mapping):
        raise InputError(f"columns: must map {', '.join(ROLES)} to names of columns, got {shown(mapping)}")
    for role, column in mapping.items():
        if role not in ROLES:
            raise InputError(f"columns: must map {', '.join(ROLES)}, got {shown(role)}")
        if not isinstance(column, str):
            raise InputError(f"columns: must map {role} to the name of a column, got {shown(column)}")
    return mapping


def understand(table: Table, mapping: Mapping[str, str]) -> Understood:
    """The arguments of `Pool` that a table gives.

    mapping: ROLE -> COLUMN; an empty name leaves the role out; `attempts` may be a whole number, `scale` is
    EASIEST:HARDEST. Raises InputError where a column that the mapping names is missing, where counts and difficulty
    disagree, where difficulty looks like another scale, and where rows look like those of a log.
    """
    there = _Columns(table)
    for role, name in check_mapping(mapping).items():
        if name and role != SCALE and not there.has(name) and not (role == "attempts" and COUNT.fullmatch(name)):
            raise InputError(f"columns: must name columns that are there for {role}, got '{name}'; {there.names()}")
    out = Understood({}, table.rows, gaps=table.gaps)
    for role in (*COLUMNS, *TEXTS):
        if role != "difficulty" and (name := _name_for(role, mapping, there)):
            out.columns[role] = there.take(name, role)
            out.used[role] = name
    _difficulty(out, mapping, there)
    payload = {name: out.columns.pop(name) for name in TEXTS if name in out.columns}
    others = [name for name in table.columns if name.startswith(PAYLOAD)]
    payload |= {name.removeprefix(PAYLOAD): there.take(name, "") for name in others}
    out.columns["payload"] = {name: [plain(value) for value in values] for name, values in payload.items()} or None
    if "features" in out.columns:
        out.columns["features"] = _stacked(out.columns["features"])
    if not out.used and not payload:
        raise InputError(f"difficulty: must be in a column of a known name or a mapped one, {there.names()}")
    out.ignored = [name for name in table.columns if name not in there.taken and not name.startswith(PAYLOAD)]
    _check_items(out, mapping, there)
    return out


class _Columns:
    """The columns of a table by name, also those inside nested rows."""

    def __init__(self, table: Table) -> None:
        self.table, self.taken = table, set[str]()

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def names(self) -> str:
        return f"the columns are {_few(list(map(str, self.table.columns)), 30)}"

    def take(self, name: str, role: str) -> Any:
        """The values as the role takes them; the column counts as used."""
        values = self._find(name)
        assert values is not None
        self.taken.add(name if name in self.table.columns else name.split(".")[0])
        return _cells(values, role) if name in self.table.text else values

    def _find(self, name: str) -> Any:
        if name in self.table.columns:
            return self.table.columns[name]
        first, *path = name.split(".")
        rows: Any = self.table.columns.get(first) if path else None
        if rows is None or isinstance(rows, np.ndarray):
            return None
        for depth in range(len(path), 0, -1):  # names of models hold dots, too
            steps = [*path[: depth - 1], ".".join(path[depth - 1 :])]
            values = [_inside(row, steps) for row in rows]
            if any(value is not None for value in values):
                return values
        return None

    def inside(self, name: str) -> list[str]:
        """Names inside the nested rows of a column."""
        rows = self._find(name)
        nested = [row for row in rows or () if isinstance(row, Mapping)]
        return [f"{name}.{key}" for key in dict.fromkeys(key for row in nested for key in row if row[key] is not None)]


def _inside(row: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        row = row.get(step) if isinstance(row, Mapping) else None
    return row


def _name_for(role: str, mapping: Mapping[str, str], there: _Columns) -> str:
    if role in mapping:
        number = role == "attempts" and COUNT.fullmatch(mapping[role]) and not there.has(mapping[role])
        return "" if number else mapping[role]
    return next((name for name in KNOWN.get(role, (role,)) if there.has(name)), "")


# -------------------------------------------------------------------------------------------------------- difficulty


def _difficulty(out: Understood, mapping: Mapping[str, str], there: _Columns) -> None:
    """Difficulty, successes and attempts, from whatever says them; none of them where nothing does."""
    if COUNT.fullmatch(mapping.get("attempts", "")) and "attempts" not in out.columns:
        out.columns["attempts"] = [int(mapping["attempts"])] * out.rows
        out.used["attempts"] = mapping["attempts"]
    role, name = _source(mapping, there)
    scale = _scale(mapping)
    if SCALE in mapping and role != "difficulty":
        raise InputError(f"columns: must have a column of difficulty for scale, got {name or 'none'}")
    if role == "failures":
        _from_failures(out, there.take(name, role), name)
    elif role == "fraction":
        _from_fractions(out, there.take(name, "prompt"), name)
    elif role:
        easy, hard = {"pass_rate": (1.0, 0.0), "percent": (100.0, 0.0)}.get(role, scale)
        labels = _numbers(name, there.take(name, "difficulty"))
        low, high = min(easy, hard), max(easy, hard)
        bad = ~(np.isnan(labels) | ((labels >= low) & (labels <= high)))
        if bad.any():
            raise InputError(
                f"{name}: must be numbers in [{low:g}, {high:g}], got {labels[bad][0]:g} at row {np.argmax(bad)} "
                f"({bad.sum()} of {len(bad)} rows are out)"
            )
        if role == "difficulty" and SCALE not in mapping and "attempts" not in out.columns:
            _check_scale(name, labels)
        same, told = (easy, hard) == (0.0, 100.0), f"{name} from {easy:g} to {hard:g}"
        out.columns["difficulty"] = labels if same else 100.0 * (labels - easy) / (hard - easy) + 0.0  # no -0
        out.used["difficulty"] = name if same else f"100 (1 - {name})" if role == "pass_rate" else told
    counted = {"successes", "attempts"} <= out.columns.keys()
    if counted and "difficulty" in out.columns:
        _check_agreement(out, name, mapping)
    elif counted:
        out.used.setdefault("difficulty", "100 (1 - successes / attempts)")
    else:
        if mapping.get("successes"):
            raise InputError(f"columns: must map attempts, a column or a number, with successes, {there.names()}")
        for column in ("successes", "attempts"):
            if column in out.columns:
                there.taken.discard(out.used[column].split(".")[0])
                del out.columns[column], out.used[column]


def _source(mapping: Mapping[str, str], there: _Columns) -> tuple[str, str]:
    """What says the difficulty, and in which column: difficulty, fraction, pass_rate, percent, failures, or nothing."""
    given = [role for role in ("difficulty", *SOURCES) if mapping.get(role)]
    if len(given) > 1:
        raise InputError(f"columns: must map one of difficulty, {', '.join(SOURCES)}, got {' and '.join(given)}")
    if given:
        name = mapping[given[0]]
        return ("fraction" if given[0] == "difficulty" and _are_fractions(there, name) else given[0]), name
    if "difficulty" in mapping:  # left out
        return "", ""
    for name in LABELS:
        if there.has(name):
            return "fraction" if _are_fractions(there, name) else "difficulty", name
    if {"successes", "attempts"} <= {role for role in COLUMNS if _name_for(role, mapping, there)}:
        return "", ""
    found = [("pass_rate", name) for name in there.table.columns if RATE.fullmatch(name)]
    found += [("percent", name) for name in PERCENT if there.has(name)]
    found += [("failures", name) for name in there.inside(FAILURES)]
    if len(found) > 1:
        raise InputError(
            f"difficulty: must come from one column, got {_few([name for _, name in found])}; "
            f"{'failures' if found[0][0] == 'failures' else 'pass_rate'}={found[0][1]} chooses the first"
        )
    return found[0] if found else ("", "")


def _are_fractions(there: _Columns, name: str) -> bool:
    values = there._find(name)
    if not all(value is None or isinstance(value, str) for value in values):
        return False
    said = [value for value in values if value]
    return bool(said) and all(FRACTION.fullmatch(value) for value in said)


def _from_fractions(out: Understood, values: Sequence[Any], name: str) -> None:
    """Polaris: "3/8" for 3 of 8 solved."""
    pairs = [FRACTION.fullmatch(value) if value else None for value in values]
    if all(pairs):
        out.columns["successes"] = [int(pair[1]) for pair in pairs if pair]
        out.columns["attempts"] = [int(pair[2]) for pair in pairs if pair]
    else:
        rates = [int(pair[1]) / max(1, int(pair[2])) if pair else np.nan for pair in pairs]
        out.columns["difficulty"] = 100.0 * (1.0 - np.array(rates))
    out.used["difficulty"] = f"100 (1 - {name})"


def _from_failures(out: Understood, values: Any, name: str) -> None:
    """Skywork: failures of 16 attempts, or of as many as `attempts` says."""
    failures = _numbers(name, values)
    attempts = np.asarray(out.columns.get("attempts", np.full(out.rows, FAILURES_OF)), np.float64)
    bad = ~(np.isnan(failures) | ((failures >= 0) & (failures <= attempts)))
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"{name}: must be failures in [0, {attempts[row]:g}], got {failures[row]:g} at row {row}")
    out.used["difficulty"] = f"100 {name} / {attempts[0]:g}" if len(set(attempts)) == 1 else f"100 {name} / attempts"
    if np.isnan(failures).any():
        out.columns["difficulty"] = 100.0 * failures / attempts
        out.columns.pop("attempts", None)
    else:
        out.columns["successes"], out.columns["attempts"] = attempts - failures, attempts


def _scale(mapping: Mapping[str, str]) -> tuple[float, float]:
    text = mapping.get(SCALE, "0:100")
    easy, colon, hard = text.partition(":")
    if not colon or not NUMBER.fullmatch(easy) or not NUMBER.fullmatch(hard) or float(easy) == float(hard):
        raise InputError(f"columns: must be scale=EASIEST:HARDEST, two different numbers, got '{text}'")
    return float(easy), float(hard)


def _check_scale(name: str, labels: Any) -> None:
    """InputError where labels without counts hardly are on a scale from 0 to 100."""
    known = labels[~np.isnan(labels)]
    few = known.size < FEW and (known.size == 0 or known.max() > 1 or len(set(known.tolist())) <= FEW_RATES)
    if few or known.min() == known.max() or known.max() > RATINGS:
        return
    raise InputError(
        f"{name}: must be on the scale of difficulty, 0 to 100, and no label of {known.size} is above "
        f"{known.max():g}{_settle(labels)}"
    )


def _settle(labels: Any) -> str:
    high = np.nanmax(labels) if not np.isnan(labels).all() else 0.0
    guess = "scale=0:1 (failure rates) or scale=1:0 (pass rates)" if high <= 1 else f"scale=1:{max(5, np.ceil(high)):g}"
    return f": {SCALE}=EASIEST:HARDEST says what it is, such as {guess}; scale=0:100 takes it as it is"


def _check_agreement(out: Understood, name: str, mapping: Mapping[str, str]) -> None:
    """InputError where pass counts and difficulty differ by more than rounding."""
    if "difficulty" in mapping:
        return
    try:
        successes, attempts = (np.asarray(out.columns[c], np.float64) for c in ("successes", "attempts"))
        with np.errstate(divide="ignore", invalid="ignore"):
            counted = 100.0 * (1.0 - successes / attempts)
    except (TypeError, ValueError):
        return  # `Pool` says what is wrong with the counts
    labels = np.asarray(out.columns["difficulty"], np.float64)
    if counted.shape != labels.shape:
        return
    bad = np.abs(labels - counted) > 0.5
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{name}: must agree with successes and attempts, got {labels[row]:g} where {successes[row]:g} of "
            f"{attempts[row]:g} make {counted[row]:g} at row {row} ({bad.sum()} of {len(bad)} rows differ): "
            "difficulty= takes the counts, successes=,attempts= the labels"
        )


# ------------------------------------------------------------------------------------------------------------- items


def _check_items(out: Understood, mapping: Mapping[str, str], there: _Columns) -> None:
    """InputError where rows look like those of a log: several rows of an item, or a step."""
    name = next((name for name in IDS if there.has(name)), "")
    if "ids" in mapping:
        return
    log = f"A pool has one row per item, a log of a run has more; ids={name or 'COLUMN'} takes rows as items"
    values = [str(value) for value in there._find(name)] if name else []
    different = len(set(values))
    if different < len(values):
        step = " and a column step" if there.has("step") else ""
        raise InputError(
            f"{name}: must name each item once, got {len(values):,} rows of {different:,} items{step}. {log}"
        )
    steps = len({str(value) for value in there._find("step")}) if there.has("step") else 0
    if steps > 1:
        raise InputError(f"step: must be no column of a pool, got {out.rows:,} rows of {steps:,} steps. {log}")


def understood_cells(table: Table, name: str) -> Any:
    """A column under the role of its own name."""
    return _Columns(table).take(name, name)


def _cells(values: Sequence[str], role: str) -> Any:
    """Cells of text as a role takes them: numbers, labels, or text as it stands. An empty cell has no value."""
    if role not in COLUMNS and role not in SOURCES:
        return values
    labels = role in COLUMNS and COLUMNS[role].what == "labels"
    if all(cell in ("True", "False") for cell in values):
        return [cell == "True" for cell in values]
    if all(WHOLE_NUMBER.fullmatch(cell) for cell in values):
        return [int(cell) for cell in values]
    none = ("",) if labels else MISSING
    if all(cell in none or (LABEL if labels else NUMBER).fullmatch(cell) for cell in values):
        return [None if cell in none else float(cell) for cell in values]
    return [cell or None for cell in values]


def _numbers(name: str, values: Any) -> Any:
    """Labels (I,) as float64, NaN where a row has none."""
    from workbench.pool.columns import numbers

    if isinstance(values, np.ndarray):
        return numbers(name, values, "numbers")
    kinds = int, float, np.integer, np.floating, Decimal
    odd = [row for row, value in enumerate(values)
           if value is not None and (isinstance(value, bool) or not isinstance(value, kinds))]  # fmt: skip
    if odd:  # among texts, the first that says no number
        words = (row for row in odd if not (isinstance(values[row], str) and NUMBER.fullmatch(values[row])))
        row = next(words, odd[0])
        raise InputError(f"{name}: must be a number in every row, got {shown(values[row])} at row {row}")
    return np.array([np.nan if value is None else float(value) for value in values])


def plain(value: Any) -> Any:
    """A payload value in types that JSON has: arrays are lists, decimals their digits as text."""
    if isinstance(value, np.ndarray):
        return [plain(entry) for entry in value]
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value


def decoded(table: Table) -> Table:
    """The table with the columns X.json of files that cannot nest values read, each cell a JSON text."""
    if table.kind not in (".parquet", ".csv", ".tsv"):
        return table
    columns = {}
    for name, values in table.columns.items():
        try:
            columns[name.removesuffix(JSON)] = [json.loads(text) for text in values] if name.endswith(JSON) else values
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{name}: must be a JSON text in every row, got one that is none ({error})") from None
    return table._replace(columns=columns, text=table.text & columns.keys())


def _stacked(features: Any) -> Any:
    """Features as lists where each cell of a column is an array."""
    return list(features) if isinstance(features, np.ndarray) and features.dtype == object else features


def _few(names: Sequence[str], most: int = 6) -> str:
    cut = (name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 3]}..." for name in names[:most])
    return ", ".join(cut) + (f" and {len(names) - most} more" if len(names) > most else "")
