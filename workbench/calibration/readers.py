"""Logs as people have them: tables of groups or of single completions, from our runs and from other trainers.

What is not mapped is looked for under the names of KNOWN. A table with a reward has one row per completion. TRL's
completions name the reward by its function: the one column of numbers beside those in TRL_OTHERS. Rows of held-out
evaluations are told by a column split.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.calibration.dumps import HELDOUT, TRAINING, counted_once, of_prime, prime_folder
from workbench.errors import MOST, InputError, check_choice, check_kind, check_one_number, few, shown
from workbench.pool import Pool
from workbench.pool.layouts import MISSING
from workbench.registry import BASELINE
from workbench.tables.formats import Table, kind_of, read_table
from workbench.tables.written import read_json

ROLES = ("step", "item", "successes", "attempts", "reward", "run", "admitted", "split")
GROUPS = ("step", "item", "successes", "attempts", "run", "admitted", "heldout")  # what a log is made of
KNOWN = {  # names by role, the first that is there
    "step": ("step", "global_step", "update", "training_step", "visit"),
    "item": ("item", "prompt_id", "ids", "id", "uid", "problem_id", "index", "prompt", "input", "problem", "question",
             "idx"),
    "successes": ("successes", "correct", "num_correct"),
    "attempts": ("attempts", "rollouts", "num_samples"),
    "reward": ("reward", "score", "rewards", "correct", "success", "passed"),
    "run": ("run", "seed", "run_id"),
    "admitted": ("admitted",),
    "split": ("split", "heldout", "held_out", "is_eval"),
}
TRUE_OR_FALSE = {"true": True, "1": True, "false": False, "0": False}  # in lower case
SPLITS = TRUE_OR_FALSE | {TRAINING: False, "training": False} | dict.fromkeys(
    (HELDOUT, "held_out", "held-out", "holdout", "eval", "evaluation", "test", "val", "valid", "validation", "dev"),
    True)  # fmt: skip
SPLIT_DOMAIN = "train, or eval, test, validation or heldout for rows that were not trained on (split= for no split)"
TRL_MARKS = ("step", "prompt", "completion", "advantage")
TRL_OTHERS = ("step", "prompt", "completion", "advantage", "advantages", "split")
MAPPED = re.compile(rf"(?P<path>.*?):(?P<mapping>(?:{'|'.join(ROLES)})=.*)", re.DOTALL)
ORDERS = ("", "sort", "restart")
ROLLOUTS = "rollouts.parquet"  # of a run folder of real_runs


def read_log(
    source: str | os.PathLike[str], mapping: Mapping[str, str], success: float | None, order: str
) -> dict[str, Any]:
    """The columns of GROUPS that a source gives, each (N,), `notes`, and `warm_up`, 0 where it is not known."""
    path, named = split(source, mapping)
    folder, told, warm_up = os.path.isdir(path), list[str](), 0
    if folder and os.path.isfile(os.path.join(path, ROLLOUTS)):
        told, warm_up = _of_run(Path(path))
        path, folder = os.path.join(path, ROLLOUTS), False
    if folder and order == "restart":
        raise InputError("order: must be sort for a folder, whose files are sorted by step, got 'restart'")
    prime = prime_folder(path) if folder else None
    table, notes = of_prime(prime) if prime else (read_table(path, "log"), told)
    if "step" not in named and not any(name in table.columns for name in KNOWN["step"]):
        table = _steps_of_files(path, table) if folder else table
    try:
        return understand(table, named, success, order or ("sort" if folder else ""), notes) | {"warm_up": warm_up}
    except InputError as error:
        raise InputError(f"{str(path)[:300]}: {error}") from None


def _of_run(folder: Path) -> tuple[list[str], int]:
    """What a run folder of real_runs says beside its rollouts, in a line each, and the updates of its warm-up."""
    told = ["evaluations by stratum (evals.csv) are not read"] * (folder / "evals.csv").is_file()
    if not os.path.lexists(folder / "manifest.json"):
        return told, 0
    try:
        run = read_json(folder / "manifest.json")["run"]
        controller, warm_up = run["controller"], run.get("warm_up", 0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [*told, "its manifest.json cannot be read: neither what chose its items nor its warm-up is known"], 0
    if controller != BASELINE:
        told.append(f"items were chosen by {controller}: what the log says is given these")
    if type(warm_up) is not int or not 0 <= warm_up <= MOST:  # the manifest is not ours, or was changed
        return [*told, "its warm-up cannot be read"], 0
    return [*told, f"its learning rate rose over {warm_up} updates"] if warm_up else told, warm_up


def of_frame(frame: Any, mapping: Mapping[str, str], success: float | None, order: str) -> dict[str, Any]:
    """The same from a pandas table."""
    if not hasattr(frame, "columns") or not hasattr(frame, "to_numpy"):
        raise InputError(f"frame: must be a pandas table, got {shown(frame)}")
    columns = {str(name): frame[name].to_numpy() for name in frame.columns}
    return understand(Table(columns), roles(mapping), success, order)


def split(source: str | os.PathLike[str], mapping: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The path, and the mapping behind it joined to the one given."""
    named = roles(mapping)
    match = MAPPED.fullmatch(str(source))
    path = str(source)
    if match is not None and isinstance(source, str):
        path = match["path"]
        for pair in match["mapping"].split(","):
            role, equals, column = pair.partition("=")
            if not equals:
                raise InputError(f"columns: must be ROLE=COLUMN, got {shown(pair)}")
            named[role] = column
    return path, roles(named)


def roles(mapping: Mapping[str, str]) -> dict[str, str]:
    """A mapping ROLE -> COLUMN; InputError for anything else."""
    check_kind("columns", mapping, Mapping, "a mapping ROLE -> COLUMN")
    for role, column in mapping.items():
        check_choice("columns", role, ROLES)
        if not isinstance(column, str):
            raise InputError(f"columns: must map {role} to the name of a column, got {shown(column)}")
    return dict(mapping)


def _steps_of_files(folder: str, table: Table) -> Table:
    """The rows of a folder's files with the number in each file's name as their step, as verl names its dumps."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file() and path.name[0] != "." and kind_of(path))
    numbers = [re.findall(r"\d+", path.name.split(".")[0]) for path in files]
    if not all(numbers):
        return table
    sizes = [read_table(path, "log").rows for path in files]
    steps = np.repeat([int(found[-1]) for found in numbers], sizes)
    return table._replace(columns=table.columns | {"step": steps})


def run_names(source: Any, table: Mapping[str, Any]) -> NDArray[Any]:
    """(N,) names of the runs of one source of several: the source's, and behind it those inside, where it has some."""
    names = np.array([split(source, {})[0]] * len(table["step"]), object)
    return names if len(set(table["run"].tolist())) == 1 else names + ":" + table["run"].astype(str)


def names_of(pool: Pool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What a log may call the items of a pool, the surest first, and the kind of name."""
    prompts = (pool.payload or {}).get("prompt")
    if pool.ids is not None:
        yield "ids", tuple(map(str, pool.ids.tolist()))
    if prompts is not None:
        yield "prompts", tuple(map(as_name, prompts))
    if pool.ids is None:
        yield "number", tuple(map(str, range(len(pool))))


def as_name(value: Any) -> str:
    """The name of an item: its text, or the JSON of messages and other nested values; 7.0 is 7."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (list, dict)):
        return json.dumps(value, sort_keys=True, default=str)
    return str(value)


def understand(
    table: Table, mapping: Mapping[str, str], success: float | None, order: str, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The columns of GROUPS from a table of groups or of completions, and notes on what was left out, after those
    given."""
    check_choice("order", order, ORDERS)
    if success is not None:
        check_one_number("success", success)
    every, notes = table.rows, list(notes)
    if table.columns.keys() >= {*TRL_MARKS} and mapping.get("step", "step") == "step":
        _numbers(table, "step", "step")
        table, more = counted_once(table)
        notes += more
    found = {role: column for role in ROLES if (column := _column(table, role, mapping))}
    if "reward" not in found and "successes" not in found:
        found |= _trl_reward(table)
    for role in ("step", "item"):
        if role not in found:
            raise InputError(f"{role}: must be a column ({', '.join(KNOWN[role])}) or mapped, {role}=COLUMN, got the "
                             f"columns {few(list(table.columns), 12)}")  # fmt: skip
    counted = "successes" in found and "attempts" in found
    for role in ("reward",) if counted else ("successes", "attempts"):
        found.pop(role, None)
    if not counted and "reward" not in found:
        raise InputError("log: must have columns successes and attempts, or a column reward, or map them, got the "
                         f"columns {few(list(table.columns), 12)}")  # fmt: skip
    rows = table.rows
    step = _numbers(table, found["step"], "step")
    item = np.array([as_name(value) for value in _cells(table, found["item"])], object)
    run = (
        np.array([as_name(value) for value in _cells(table, found["run"])], object)
        if "run" in found
        else np.full(rows, "", object)
    )
    admitted, heldout = np.ones(rows, bool), np.zeros(rows, bool)
    if "admitted" in found:
        admitted = _flags(table, found["admitted"], "admitted", "true or false")
    if "split" in found:
        heldout = _flags(table, found["split"], "split", SPLIT_DOMAIN, SPLITS)
    if counted:
        successes, attempts = (_numbers(table, found[name], name) for name in ("successes", "attempts"))
        keep = np.ones(rows, bool)
    else:
        rewards = _numbers(table, found["reward"], "reward", gaps=True)
        successes, keep, more = _of_rewards(rewards, success, found["reward"])
        notes += more
        attempts = np.ones(rows)
    columns = {
        "step": step,
        "item": item,
        "successes": successes,
        "attempts": attempts,
        "run": run,
        "admitted": admitted,
        "heldout": heldout,
    }
    if not keep.any():
        raise InputError(f"{found.get('reward', 'log')}: must have at least one value, got none")
    if heldout[keep].all():
        raise InputError(f"{found['split']}: must have rows of training, got only held-out ones")
    columns = {name: values[keep] for name, values in _in_order(columns, order, found).items()}
    notes += _mixed_runs(columns, order) if "run" not in found else []
    columns["run"] = np.where(columns["run"] == "", "0", columns["run"])  # as `Log` names the only run
    used = ", ".join(f"{role} = {column}" for role, column in found.items())
    return columns | {"notes": [f"{every:,} rows; {used}", *notes]}


def _column(table: Table, role: str, mapping: Mapping[str, str]) -> str | None:
    if role in mapping:
        name = mapping[role]
        if name and name not in table.columns:
            raise InputError(
                f"{role}: must name a column, got {shown(name)}, not one of {few(list(table.columns), 12)}"
            )
        return name or None
    return next((name for name in KNOWN[role] if name in table.columns), None)


def _trl_reward(table: Table) -> dict[str, str]:
    """The reward of TRL's completions: the one column of numbers that is nothing else."""
    if not {"prompt", "completion"} <= table.columns.keys():
        return {}
    rest = [name for name in table.columns if name not in TRL_OTHERS and _is_numeric(table.columns[name])]
    if len(rest) > 1:
        raise InputError(f"reward: must be mapped, reward=COLUMN, where several columns hold rewards, got {few(rest)}")
    return {"reward": rest[0]} if rest else {}


def _is_numeric(values: Any) -> bool:
    return all(value is None or isinstance(value, (int, float, np.number, Decimal))
               for value in (values.tolist() if isinstance(values, np.ndarray) else values))  # fmt: skip


def _cells(table: Table, name: str) -> Sequence[Any]:
    values = table.columns[name]
    cells: Sequence[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    gap = next((row for row, value in enumerate(cells) if value is None or value == ""), None)
    if gap is not None:
        raise InputError(f"{name}: must have a value in every row, got none at row {gap}")
    return cells


def _numbers(table: Table, name: str, role: str, gaps: bool = False) -> NDArray[np.float64]:
    """(N,) numbers of a column; NaN for cells without a value where there may be gaps."""
    values = table.columns[name]
    out = np.empty(table.rows)
    for row, value in enumerate(values.tolist() if isinstance(values, np.ndarray) else values):
        number = _number(value) if role != "reward" else _reward(value)
        if number is None or not (np.isfinite(number) or (gaps and np.isnan(number))):
            domain = "numbers, or true and false" if role == "reward" else "numbers"
            raise InputError(f"{role}: must be {domain}, got {shown(value)} in column {shown(name)} at row {row}")
        out[row] = number
    return out


def _reward(value: Any) -> float | None:
    """A cell as a number; true is 1 and false is 0."""
    if isinstance(value, (bool, np.bool_)):
        return float(value)
    named = str(value).strip().lower() if isinstance(value, str) else ""
    return float(named == "true") if named in ("true", "false") else _number(value)


def _number(value: Any) -> float | None:
    """A cell as a number, NaN for one without a value; None for what is neither."""
    if value is None or (isinstance(value, str) and value.strip() in MISSING):
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number, Decimal, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _flags(
    table: Table, name: str, role: str, domain: str, known: Mapping[str, bool] = TRUE_OR_FALSE
) -> NDArray[np.bool_]:
    """(N,) True or False by the words in a column."""
    cells = [str(value).strip().lower() for value in table.columns[name]]
    odd = next((row for row, value in enumerate(cells) if value not in known), None)
    if odd is not None:
        raise InputError(f"{role}: must be {domain}, got {shown(cells[odd])} at row {odd}")
    return np.array([known[value] for value in cells])


def _of_rewards(
    reward: NDArray[np.float64], success: float | None, name: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Successes 0 or 1 of completions, which of them have a reward, and notes."""
    keep = ~np.isnan(reward)
    notes = [f"{(~keep).sum():,} completions without a reward are left out"] * bool((~keep).any())
    if success is None:
        odd = np.flatnonzero(keep & (reward != 0) & (reward != 1))
        if odd.size:
            raise InputError(f"{name}: must be 0 or 1, or say from which reward on a completion is a success "
                             f"(success=NUMBER), got {reward[odd[0]]:g} at row {odd[0]}")  # fmt: skip
        success = 1.0
    else:
        notes.append(f"rewards from {success:g} on are successes")
    return (reward >= success).astype(np.float64), keep, notes


def _mixed_runs(columns: Mapping[str, Any], order: str) -> list[str]:
    """Signs that a table without a column of runs has several, in a line each."""
    step, told = columns["step"][~columns["heldout"]], list[str]()
    anew = int((np.diff(step) < 0).sum()) if order == "sort" and len(step) else 0
    if anew and step.min() >= step[np.flatnonzero(np.diff(step) < 0) + 1].max():
        told.append(f"steps begin anew {anew:,} times: if these are runs, order=restart tells them apart")
    if columns["attempts"].max() > 1:
        names = ("run", "step", "item", "heldout")
        if again := len(columns["step"]) - len(set(zip(*(columns[name].tolist() for name in names), strict=True))):
            told.append(f"{again:,} rows name an item again in its step and are added up: two runs need a column run")
    return told


def _in_order(columns: dict[str, Any], order: str, found: Mapping[str, str]) -> dict[str, Any]:
    """Rows whose step never goes down within a run."""
    step, run = columns["step"], columns["run"]
    starts = np.zeros(len(step), np.int64)
    watched = np.ones(len(step), bool) if order == "restart" else ~columns["heldout"]
    for name in dict.fromkeys(run.tolist()):
        rows = np.flatnonzero((run == name) & watched)
        down = np.diff(step[rows], prepend=-np.inf) < 0
        if down.any() and not order:
            at = rows[np.flatnonzero(down)[0]]
            raise InputError(f"{found['step']}: must not go down within a run, got {step[at]:g} at row {at} after "
                             f"{step[rows[np.flatnonzero(down)[0] - 1]]:g}; order=sort sorts the rows, order=restart "
                             "begins a new run there, run=COLUMN names the runs")  # fmt: skip
        starts[rows] = np.cumsum(down)
    if order == "restart" and starts.any():
        pairs = zip(run.tolist(), starts.tolist(), strict=True)
        columns["run"] = np.array([f"{name}:{number}" if name else f"{number}" for name, number in pairs], object)
    return columns
