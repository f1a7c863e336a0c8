"""The report of a comparison of real runs, as one file of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from real_runs.comparison.cells import Cell
from real_runs.runs.execute import make_pool
from real_runs.runs.finished import Finished
from real_runs.runs.samples import shortened
from real_runs.tasks.named import make_task
from workbench.analysis.ranking import ranking_table
from workbench.reports import charts
from workbench.reports.answers import alt_of_intervals, answers, asked, defeats
from workbench.reports.comparison import parts_of_comparison, rounded, span
from workbench.reports.page import Page
from workbench.reports.parts import Arm, Figure, Head, Panel, Sample, Shown, Table, interval_text, table_of

MOST_SAMPLES = 320
MOST_PROBLEMS = 15  # of an arm
DOUBTS = (
    "Real runs of one model on one kind of problem. Another model, another verifier or a longer run may rank the "
    "curricula otherwise.",
    "Held-out problems are few, so that success moves in small jumps; intervals are over seeds, not over problems.",
    "An arm that ran with one seed has no interval and no test.",
)


def comparison_page(
    found: Sequence[tuple[Cell, Finished]], curves: pd.DataFrame, runs: pd.DataFrame, summary: pd.DataFrame,
    strata: pd.DataFrame, text: str, manifest: Mapping[str, Any],
) -> Page:  # fmt: skip
    """The report of the runs `found`, from their tables. text: the printed report. manifest: of the comparison."""
    ranking = ranking_table(runs)
    arms, figures, tables = parts_of_comparison(curves, summary, ranking)
    run = found[0][0].run
    names, pools, learners = (list(dict.fromkeys(summary[name])) for name in ("controller", "pool", "learner"))
    model = run.model or "the tiny model"
    spent = f"{run.steps} updates of {run.batch} problems × {run.rollouts} completions, {model} by {run.algorithm}"
    told = [f"{kind}: {len(lines)} of {manifest['runs']} runs" for kind, lines in manifest["events"].items()]
    few = table_of(runs, "runs", "Runs", "A row for each run.", RUN_COLUMNS, "runs.csv")
    samples = samples_of(found)
    return Page(
        title=f"Comparison of {len(names)} curricula in real runs",
        asked=[asked(names, pools, learners, int(summary["seeds"].max()), spent)],
        answer=answers(summary, ranking),
        doubts=[*defeats(text), *told, *DOUBTS],
        arms=arms, figures=[*figures, level_figure(strata, arms)],
        tables=[*tables, level_part(strata), few, problem_part(found)],
        samples=samples, samples_told=samples_told(found) if samples else "",
        settings=run_settings(found, manifest), again=[manifest["command"]],
        versions=manifest["versions"], commit=manifest["git_commit"], text=text,
    )  # fmt: skip


def samples_of(found: Sequence[tuple[Cell, Finished]]) -> list[Sample]:
    """Completions of held-out problems: of the first seed of each arm, the first of each level, evaluation and verdict,
    by level, so that arms stand beside each other."""
    taken: dict[tuple[Any, ...], Sample] = {}
    for cell, record in sorted(found, key=lambda one: one[0].run.seed):
        steps = [sample["step"] for sample in record.samples]
        for sample in record.samples:
            early = sample["step"] == min(steps)
            when = "before training" if early else "after training"
            key = sample["stratum"], not early, not sample["right"], cell.pool, cell.learner, cell.controller
            taken.setdefault(key, Sample(
                cell.controller, f"level {sample['stratum']}", when, sample["right"], sample["prompt"],
                sample["completion"], sample["answer"], {"pool": cell.pool, "learner": cell.learner},
            ))  # fmt: skip
    return [taken[key] for key in sorted(taken)][:MOST_SAMPLES]


def samples_told(found: Sequence[tuple[Cell, Finished]]) -> str:
    """What the samples are."""
    without = sum(not record.samples for _, record in found)
    rest = f" {without} of {len(found)} runs are of an earlier version, which kept none." if without else ""
    return ("Held-out problems, easy to hard, of the first seed of each curriculum: one that was solved and one that "
            f"was not, before training and after it.{rest}")  # fmt: skip


def problem_part(found: Sequence[tuple[Cell, Finished]]) -> Table:
    """Problems of the pool that were trained on both in the first and in the last quarter of the updates, with what was
    right then and there, over all seeds of an arm."""
    rows = []
    arms: dict[tuple[str, str, str], list[tuple[Cell, Finished]]] = {}
    for cell, record in found:
        arms.setdefault((cell.controller, cell.pool, cell.learner), []).append((cell, record))
    pools = {}
    for (controller, name, learner), runs in arms.items():
        run = runs[0][0].run
        if name not in pools:
            pools[name] = make_pool(run, make_task(run.task, run.scorer, run.answer))
        pool = pools[name]
        table = both_ends([record.groups for _, record in runs])
        table = table[table.index < len(pool)]
        table = table.assign(difficulty=pool.difficulty[table.index]).sort_values("difficulty", kind="stable")
        picked = np.unique(np.linspace(0, max(len(table) - 1, 0), MOST_PROBLEMS).round().astype(int))
        prompts = (pool.payload or {})["prompt"]
        arm = {"controller": controller, "pool": name, "learner": learner}
        for row in table.iloc[picked[: len(table)]].reset_index().to_dict("records"):
            rows.append(row | arm | {"problem": shortened(str(prompts[int(row["item"])]), 300)})
    columns = {
        "problem": Shown(Head("problem")), "controller": Shown(Head("controller")), "pool": Shown(Head("pool")),
        "difficulty": Shown(Head("difficulty", "Label of the pool, 0 easiest, 100 hardest."), ".0f"),
        "early": Shown(Head("right early", "Share with full reward in the first quarter of the updates."), ".2f"),
        "late": Shown(Head("right late", "The same in the last quarter."), ".2f"),
        "attempts_early": Shown(Head("attempts early"), ".0f"), "attempts_late": Shown(Head("attempts late"), ".0f"),
    }  # fmt: skip
    caption = "Problems that a curriculum drew in the first and in the last quarter of its updates, from easy to hard."
    frame = pd.DataFrame(rows, columns=[*columns, "learner"])
    return table_of(frame, "problems", "Problems early and late", caption, columns, "rollouts.parquet of the runs")


def both_ends(groups: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """By item: early, late (share of right completions in the first and last quarter of the updates) and
    attempts_early, attempts_late; items that have both."""
    parts = []
    for table in groups:
        end = table["step"].max()
        when = np.select([table["step"] <= end / 4, table["step"] > 3 * end / 4], ["early", "late"], "")
        parts.append(table.assign(when=when))
    both = pd.concat(parts)
    early, late = (both[both["when"] == end].groupby("item")[["successes", "attempts"]].sum().add_suffix(f"_{end}")
                   for end in ("early", "late"))  # fmt: skip
    ends = early.join(late, how="inner")
    shares = {end: ends[f"successes_{end}"] / ends[f"attempts_{end}"] for end in ("early", "late")}
    return ends[["attempts_early", "attempts_late"]].assign(**shares)


RUN_COLUMNS = {
    "controller": Shown(Head("controller")), "pool": Shown(Head("pool")), "learner": Shown(Head("learner")),
    "seed": Shown(Head("seed"), "d"), "steps_to_threshold": Shown(Head("steps to threshold"), ".0f"),
    "reached": Shown(Head("reached")), "auc": Shown(Head("area"), ".3f"), "final": Shown(Head("final"), ".3f"),
    "silent_share": Shown(Head("silent"), ".0%"), "tokens_to_threshold": Shown(Head("tokens to threshold"), ",.0f"),
    "seconds_to_threshold": Shown(Head("seconds to threshold"), ",.0f"),
    "below_start": Shown(Head("below start", "1 where held-out success fell below its start."), "d"),
}  # fmt: skip


def run_settings(found: Iterable[tuple[Cell, Finished]], manifest: Mapping[str, Any]) -> dict[str, str]:
    """Settings that all runs share, and those in which they differ as a list."""
    values: dict[str, list[str]] = {}
    for cell, record in found:
        for name, value in record.manifest["run"].items():
            own = values.setdefault(name, [])
            if str(value) not in own:
                own.append(str(value))
        del cell
    told = {name.replace("_", " "): ", ".join(own) for name, own in values.items() if own != [""]}
    return told | {"runs": f"{manifest['runs']}, {manifest['seconds']:,} seconds", "machine": manifest["machine"],
                   "threshold": f"{manifest['threshold']:g} of the gain that uniform makes over the run"}  # fmt: skip


def level_figure(strata: pd.DataFrame, arms: Sequence[Arm]) -> Figure:
    """Final held-out success by level of difficulty: a panel for each pool and learner, a row for each level."""
    place = {arm.name: i for i, arm in enumerate(arms)}
    table = strata[strata["controller"].isin(place)]
    levels = sorted(table["stratum"].unique())
    row = {level: i for i, level in enumerate(levels)}
    panels = []
    for (pool, learner), block in table.groupby(["pool", "learner"], sort=False):
        records = block.to_dict("records")
        rows: dict[str, Sequence[Any]] = {
            "r": [row[r["stratum"]] for r in records], "a": [place[r["controller"]] for r in records],
            "m": rounded(block["final"]), "l": rounded(block["final_low"]), "h": rounded(block["final_high"]),
            "f": [1] * len(records),
            "t": [f"level {r['stratum']}: {interval_text(r, 'final', '.3f')}, to uniform "
                  f"{interval_text(r, 'difference', '+.3f')}" for r in records],
        }  # fmt: skip
        panels.append(Panel(f"{pool} / {learner}", rows, {"pool": str(pool), "learner": str(learner)}))
    alt = alt_of_intervals(table, "final", "Final held-out success, levels together")
    caption = "Final held-out success by level of difficulty, easy to hard: mean and 95 % interval over seeds."
    names = [f"level {level}" for level in levels]
    return charts.intervals(arms, "levels", "Success by level", caption, alt, panels, names, "final held-out success",
                            span([table["final_low"], table["final_high"], table["final"]], (0, 1)))  # fmt: skip


def level_part(strata: pd.DataFrame) -> Table:
    """Final success by level, its change over training, and the difference to uniform on the same seeds."""
    columns = {
        "controller": Shown(Head("controller")), "pool": Shown(Head("pool")), "learner": Shown(Head("learner")),
        "stratum": Shown(Head("level", "Of difficulty, 0 being the easiest."), "d"),
        "final": Shown(Head("final"), ".3f", True),
        "change": Shown(Head("change", "Over training."), "+.3f", True),
        "difference": Shown(Head("difference", "To uniform, on the same seeds."), "+.3f", True),
    }  # fmt: skip
    caption = "Held-out success by level of difficulty: means with 95 % intervals over seeds."
    return table_of(strata, "levels", "Success by level", caption, columns, "strata.csv")
