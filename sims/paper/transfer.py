"""transfer: RL on one category, tested on all: what a gain in one skill is worth to another, and so the range of L2.

Every run starts from the same base model and is tested on tasks that it did not train on, of other categories and, in
runs of their own, of the trained one. With skill = category, a run on category k moves theta_j by M_jk times what it
moves theta_k by (`MultiSkill`), so M_jk is the ratio of the two gains in logits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.stats import beta as beta_distribution

from sims.forecasting.visits import make_counts, read_columns
from workbench import figures
from workbench.errors import InputError, shown
from workbench.streams import Role, generator

Floats = NDArray[np.float64]

# Uniform priors of MultiSkill with up to 4 skills that this study leaves (sims/results/README.md says how): its 80 %
# intervals over reasoning_gym_eval, with and without tasks that may have been lost by their format alone, cut where M
# would no longer be positive semi-definite.
RANGE = {"transfer": (0.0, 0.6), "interference": (0.0, 0.6), "interfering": (0.05, 0.45)}

COLUMNS = ("checkpoint", "category", "task", "item", "attempts", "full_successes")
BASE = "Qwen2.5-3B-Instruct"
CATEGORIES = ("algebra", "algorithmic", "arc", "arithmetic", "code", "cognition", "games", "geometry", "graphs",
              "induction", "logic")  # fmt: skip
LEVELS = {"80": 0.8, "95": 0.95}
ABLE = 0.05  # share of base attempts that succeed, below which a task may have been lost by its format alone


@dataclass(frozen=True)
class Task:
    """Items of one task: (N,) attempts and successes of the base model, and of every run tested on it."""

    name: str
    category: str
    base: NDArray[np.int64]  # (N, 2) successes, failures
    runs: dict[str, NDArray[np.int64]]  # the same after training, by checkpoint

    @property
    def able(self) -> bool:
        """Whether the base model succeeds often enough to know the answer format."""
        return bool(self.base[:, 0].sum() >= ABLE * self.base.sum())


class Cell(NamedTuple):
    """A run tested on one category."""

    checkpoint: str
    trained: str
    tested: str
    tasks: list[Task]


def read_log(path: Path) -> pd.DataFrame:
    """A row per checkpoint and item, numbers checked. Raises InputError for what cannot be used."""
    table = read_columns(path, COLUMNS)
    make_counts(table, COLUMNS[4:], "full_successes")
    twice = np.flatnonzero(table.duplicated(["checkpoint", "task", "item"]))
    if twice.size:
        row = table.iloc[twice[0]]
        raise InputError(f"item: must be there once per checkpoint and task, got {row['task']} {row['item']} of "
                         f"{row['checkpoint']} again at row {twice[0]}")  # fmt: skip
    return table


def trained_on(checkpoint: str) -> str:
    """The category that a checkpoint's name says it was trained on, '' if none or several."""
    found = [part for part in re.split(r"[^a-z]+", checkpoint.lower()) if part in CATEGORIES]
    return found[0] if len(set(found)) == 1 else ""


def cells_of(table: pd.DataFrame, base: str) -> tuple[list[Cell], dict[str, str]]:
    """Cells, own category first, and what was left out: name -> why. Categories of tasks are those of the base rows."""
    if base not in set(table["checkpoint"]):
        raise InputError(f"--base: must be a checkpoint of the log, got {shown(base)}")
    before = table[table["checkpoint"] == base].set_index(["task", "item"])
    category = before.reset_index().drop_duplicates("task").set_index("task")["category"]
    tasks: dict[str, Task] = {}
    by_run: dict[tuple[str, str], list[Task]] = {}
    left_out: dict[str, str] = {}
    for key, rows in table[table["checkpoint"] != base].groupby(["checkpoint", "task"], sort=False):
        checkpoint, task = map(str, key)
        if not trained_on(checkpoint):
            left_out[checkpoint] = "its name says no category"
        elif task not in category.index:
            left_out[f"{checkpoint} on {task}"] = "the base model was not tested on it"
        else:
            first = before.loc[task].reset_index()
            both = first.merge(rows, on="item", suffixes=("", "_after")).sort_values("item")
            if len(both) < max(len(first), len(rows)):
                raise InputError(f"item: must be the same items of {task} for {base} and {checkpoint}, got {len(both)} "
                                 "in common")  # fmt: skip
            one = tasks.setdefault(task, Task(task, category[task], _counts(both, ""), {}))
            one.runs[checkpoint] = _counts(both, "_after")
            by_run.setdefault((checkpoint, one.category), []).append(one)
    cells = [Cell(run, trained_on(run), tested, own) for (run, tested), own in by_run.items()]
    cells.sort(key=lambda c: (c.trained != c.tested, c.trained, c.tested))
    if len({cell.tested for cell in cells}) < 2:
        got = ", ".join(sorted({cell.tested for cell in cells})) or "none"
        raise InputError(f"--log: must have runs tested on at least two categories, got {got}")
    if not any(cell.trained == cell.tested for cell in cells):
        raise InputError("--log: must have a run tested on the category it was trained on, got none")
    if all(cell.trained == cell.tested for cell in cells):
        raise InputError("--log: must have a run tested on another category than its own, got none")
    return cells, left_out


def _counts(both: pd.DataFrame, suffix: str) -> NDArray[np.int64]:
    right = both[f"full_successes{suffix}"].to_numpy()
    return np.asarray(np.stack([right, both[f"attempts{suffix}"].to_numpy() - right], axis=1))


def gain(after: Any, before: Any) -> Any:
    """Gain in logits common to the tasks of a category, (...,), from successes and failures (..., T, 2).

    ln sum_t (s1 + 1/2)(f0 + 1/2) / n_t  -  ln sum_t (s0 + 1/2)(f1 + 1/2) / n_t,   n_t = s0 + f0 + s1 + f1 + 2

    Each task has its own difficulty, which cancels. One task: the Haldane-Anscombe log-odds ratio.
    Source: Mantel and Haenszel 1959, with the 1/2 of Haldane 1956 and Anscombe 1956 in every cell.
    """
    a, b = np.asarray(after, dtype=np.float64) + 0.5, np.asarray(before, dtype=np.float64) + 0.5
    n = (a + b).sum(axis=-1)
    up, down = (a[..., 0] * b[..., 1] / n).sum(axis=-1), (b[..., 0] * a[..., 1] / n).sum(axis=-1)
    return np.log(up) - np.log(down)


def gain_over(gains: Floats, own: Any) -> Floats:
    """Gains over the own gain; infinite where that is not positive."""
    beyond = np.copysign(np.inf, gains)
    return np.asarray(np.divide(gains, own, out=beyond, where=np.broadcast_to(own > 0, gains.shape)))


def resampled(cells: list[Cell], draws: int, seed: int) -> Floats:
    """(C, D) gains under a bootstrap in two stages: tasks of a category, then items of each task, with replacement.

    What is drawn belongs to the category: all runs tested on it, and the base model, get the same tasks and items.
    """
    out = np.empty((len(cells), draws))
    for number, category in enumerate(sorted({cell.tested for cell in cells})):
        rng = generator(seed, Role.BOOTSTRAP, number)
        here = [i for i, cell in enumerate(cells) if cell.tested == category]
        every = {task.name: task for i in here for task in cells[i].tasks}
        weights = {name: [rng.multinomial(len(task.base), np.full(len(task.base), 1 / len(task.base)), draws)
                          for _ in every] for name, task in sorted(every.items())}  # fmt: skip
        for tasks in sorted({tuple(task.name for task in cells[i].tasks) for i in here}):
            chosen = rng.integers(len(tasks), size=(draws, len(tasks)))
            for i in here:
                if tuple(task.name for task in cells[i].tasks) == tasks:
                    after, before = np.zeros((2, draws, len(tasks), 2))
                    for t, task in enumerate(cells[i].tasks):
                        for slot in range(len(tasks)):
                            mine = chosen[:, slot] == t
                            w = weights[task.name][slot][mine]
                            after[mine, slot] = w @ task.runs[cells[i].checkpoint]
                            before[mine, slot] = w @ task.base
                    out[i] = gain(after, before)
    return out


class Tables(NamedTuple):
    transfer: pd.DataFrame
    range: pd.DataFrame
    left_out: dict[str, str]


def analyse(table: pd.DataFrame, base: str, draws: int, seed: int) -> Tables:
    """Gains and ratios of every cell, and the range they give: of all tasks, and of those that count as able."""
    cells, left_out = cells_of(table, base)
    able = [cell._replace(tasks=own) for cell in cells if (own := [task for task in cell.tasks if task.able])]
    kept = {(cell.checkpoint, cell.tested): gain(*_totals(cell)) for cell in able}
    transfer, ranges = _estimates(cells, draws, seed)
    transfer["gain_able"] = [kept.get((cell.checkpoint, cell.tested), np.nan) for cell in cells]
    ranges.insert(0, "tasks", "all")
    if {cell.trained == cell.tested for cell in able} == {True, False}:
        ranges = pd.concat([ranges, _estimates(able, draws, seed)[1].assign(tasks="able")], ignore_index=True)
    return Tables(transfer, ranges, left_out)


def _estimates(cells: list[Cell], draws: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row per cell, and the range of MultiSkill's parameters."""
    own = np.array([cell.trained == cell.tested for cell in cells])
    point = np.array([gain(*_totals(cell)) for cell in cells])
    boot = resampled(cells, draws, seed)
    rng = generator(seed, Role.BOOTSTRAP, len(CATEGORIES))
    runs = rng.integers(own.sum(), size=(own.sum(), draws))  # which own runs there might have been
    reference, own_boot = point[own].mean(), np.take_along_axis(boot[own], runs, axis=0).mean(axis=0)
    ratios, ratio = gain_over(point, reference), gain_over(boot, own_boot)
    rows = []
    for i, cell in enumerate(cells):
        after, before = _totals(cell)
        pooled = gain(after.sum(axis=0, keepdims=True), before.sum(axis=0, keepdims=True))
        rows.append({"checkpoint": cell.checkpoint, "trained": cell.trained, "tested": cell.tested,
                     "tasks": len(cell.tasks), "items": sum(len(task.base) for task in cell.tasks),
                     "before": before[:, 0].sum() / before.sum(), "after": after[:, 0].sum() / after.sum(),
                     "gain": point[i]} | _ends("gain_", boot[i])
                    | {"pooled": pooled, "ratio": np.nan if own[i] else ratios[i]}
                    | ({} if own[i] else _ends("ratio_", ratio[i])))  # fmt: skip
    return pd.DataFrame(rows), range_of(point[~own], ratio[~own], reference, own_boot, rng)


def _totals(cell: Cell) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(T, 2) successes and failures after and before."""
    after = np.stack([task.runs[cell.checkpoint].sum(axis=0) for task in cell.tasks])
    return after, np.stack([task.base.sum(axis=0) for task in cell.tasks])


def _ends(name: str, values: Floats) -> dict[str, float]:
    ends: dict[str, float] = {}
    for text, level in LEVELS.items():
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
        ends |= {f"{name}lower{text}": low, f"{name}upper{text}": high}
    return ends


def range_of(
    point: Floats, ratio: Floats, reference: float, own: Floats, rng: np.random.Generator
) -> pd.DataFrame:
    """What a pair of skills not in the log may have: a cell at random, and one of its resampled ratios.

    point: (C,) gains in other categories. ratio: (C, D) their resampled ratios to the own gain. own: (D,) that gain.
    Pairs that interfere: those with a loss. interference is transfer less their entry of M.
    interfering: Jeffreys interval of their share.
    """
    losing = point < 0
    lost, draws = int(losing.sum()), ratio.shape[1]
    gaining = ratio[~losing].ravel() if lost < len(point) else np.zeros(draws)
    entries = ratio[losing].ravel() if lost else np.zeros(draws)
    less = rng.choice(np.clip(gaining, 0, 1), draws) - rng.choice(np.clip(entries, -1, 1), draws)
    share = beta_distribution(lost + 0.5, len(point) - lost + 0.5)
    rows = [{"parameter": "own gain, logits", "estimate": reference} | _ends("", own)]
    rows += [{"parameter": name, "estimate": float(np.median(values))} | _ends("", values) for name, values in (
        ("transfer, as measured", gaining), ("transfer, in [0, 1]", np.clip(gaining, 0, 1)),
        ("entry of pairs that lose", entries), ("interference", np.clip(less, 0, 2)))]  # fmt: skip
    ends = {f"{side}{text}": float(share.ppf((1 + sign * level) / 2)) for text, level in LEVELS.items()
            for side, sign in (("lower", -1), ("upper", 1))}  # fmt: skip
    rows.append({"parameter": "interfering", "estimate": lost / len(point)} | ends)
    return pd.DataFrame(rows)


# ----------------------------------------------------------------------------------------------- figure and report


def paint(transfer: pd.DataFrame) -> Figure:
    """Gains of every run, a row per category tested: own category filled, 80 % thick, 95 % thin, able tasks a bar."""
    colors = dict(zip(CATEGORIES, (*figures.OTHER_COLORS, *figures.COLORS.values()), strict=False))
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(figures.STYLE)
        figure = Figure(figsize=(figures.PAGE_WIDTH, 1.0 + 0.22 * len(transfer)), layout="constrained")
        ax = figure.subplots()
        ax.axvline(0, color="0.4", linewidth=0.8)
        rows = transfer.iloc[::-1].to_dict("records")
        for y, row in enumerate(rows):
            color, own = colors[row["trained"]], row["trained"] == row["tested"]
            ax.plot([row["gain_lower95"], row["gain_upper95"]], [y, y], color=color, linewidth=0.9)
            ax.plot([row["gain_lower80"], row["gain_upper80"]], [y, y], color=color, linewidth=2.6, alpha=0.6)
            ax.plot(row["gain"], y, "o" if own else "D", color=color, markerfacecolor=color if own else "white",
                    markersize=5)  # fmt: skip
            ax.plot(row["gain_able"], y, "|", color="black", markersize=8, markeredgewidth=1.2)
        ax.set_yticks(range(len(rows)), [f"{row['trained']} → {row['tested']} ({row['tasks']} "
                                         f"{'task' if row['tasks'] == 1 else 'tasks'})" for row in rows])  # fmt: skip
        ax.set_xlabel("gain (logits) against the base model")
        ax.set_ylabel("trained on → tested on")
        marks = [Line2D([], [], color="0.3", marker="o", linestyle="none"),
                 Line2D([], [], color="0.3", marker="D", markerfacecolor="white", linestyle="none"),
                 Line2D([], [], color="0.3", linewidth=2.6, alpha=0.6), Line2D([], [], color="0.3", linewidth=0.9),
                 Line2D([], [], color="black", marker="|", markersize=8, markeredgewidth=1.2,
                        linestyle="none")]  # fmt: skip
        figure.legend(marks, ["own category", "another", "80 %", "95 %", f"tasks the base model solves ≥ {ABLE:.0%}"],
                      loc="outside upper center", ncols=5)  # fmt: skip
    return figure


def report(tables: Tables) -> str:
    lines = ["gain in logits over the base model, [80 %] and [95 % interval]; ratio to the mean own gain", ""]
    for row in tables.transfer.to_dict("records"):
        what = f"{row['trained']} -> {row['tested']}"
        text = f"{what:<24} {row['before']:.3f} -> {row['after']:.3f}  {row['gain']:+.2f} "
        text += _interval(row, "gain_", "+.2f")
        if row["trained"] != row["tested"]:
            text += f"  ratio {row['ratio']:+.2f} " + _interval(row, "ratio_", "+.2f")
        lines.append(text)
    lines.append("")
    for row in tables.range.to_dict("records"):
        lines.append(f"{row['tasks']:<5}{row['parameter']:<26} {row['estimate']:+.2f} " + _interval(row, "", "+.2f"))
    lines += [f"left out: {name} ({why})" for name, why in tables.left_out.items()]
    return "\n".join(lines)


def _interval(row: dict[Any, Any], name: str, form: str) -> str:
    return " ".join(f"[{row[f'{name}lower{text}']:{form}}, {row[f'{name}upper{text}']:{form}}]" for text in LEVELS)
