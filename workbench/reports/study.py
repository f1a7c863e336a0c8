"""The report of a simulated study."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import pandas as pd

from workbench.pool import PRESETS, Pool
from workbench.reports import parts
from workbench.reports.answers import answers, asked, defeats
from workbench.reports.comparison import parts_of_comparison
from workbench.reports.page import Page
from workbench.study.identity import describe
from workbench.study.study import Study

DOUBTS = (
    "These are simulated learners. What they say of a real model depends on how far its learning follows one of them: "
    "calibrate them to a log of your own runs before you rely on a number (sims/advise.py).",
    "Not simulated: learning of the answer's format, longer answers, a learning rate that changes, problems outside "
    "the pool, and verifiers that are gamed.",
    "Pools and learners count alike in the ranking, however likely each is for your own model. Look at the learner "
    "that is nearest to it.",
    "Difficulty labels are those of the pool. Where they are noisy or of another model, curricula that read them lose "
    "part of their lead.",
)  # fmt: skip


def study_page(
    study: Study, curves: pd.DataFrame, summary: pd.DataFrame, ranking: pd.DataFrame, threshold: float,
    *, text: str = "", command: str = "", versions: Mapping[str, str] | None = None,
    commit: str | None = None,
) -> Page:  # fmt: skip
    """The report of a study from its tables.

    text: the printed report. command: the line of a shell that ran it, by default the lines of Python that do.
    """
    pools, learners = list(dict.fromkeys(summary["pool"])), list(dict.fromkeys(summary["learner"]))
    names = list(dict.fromkeys(summary["controller"]))
    arms, figures, tables = parts_of_comparison(curves, summary, ranking)
    run = f"{study.steps} updates of {study.batch} items × {study.rollouts} rollouts on simulated learners"
    return Page(
        title=f"Comparison of {len(names)} curricula" if len(names) > 1 else f"Curriculum {names[0]}",
        asked=[asked(names, pools, learners, int(summary["seeds"].max()), run)],
        answer=answers(summary, ranking),
        doubts=[*defeats(text), *DOUBTS],
        arms=arms, figures=figures, tables=tables,
        settings=study_settings(study, threshold),
        again=[command] if command else python_lines(study, threshold),
        versions={"python": platform.python_version()} | dict(versions or {}),
        commit=commit, text=text,
    )  # fmt: skip


def study_settings(study: Study, threshold: float) -> dict[str, str]:
    """Settings by name, those of rules and learners by label."""
    told = {
        "pools": ", ".join(f"{pool.name} ({len(pool):,} items, digest {pool.digest})" for pool in _pools(study)),
        "seeds": f"0 to {study.seeds - 1}", "updates": f"{study.steps:,}",
        "batch": f"{study.batch:,} items × {study.rollouts} rollouts", "records": f"every {study.eval_every} updates",
        "budget": study.budget,
        "threshold": f"{threshold:g} of the gain that uniform makes over the run",
    }  # fmt: skip
    for arm in study.arms[: parts.MOST_ROWS]:
        told.setdefault(f"learner {arm.learner}", _settings(describe(arm.made_law)))
        gates = "".join(f"; {_settings(describe(gate))}" for gate in arm.made_gates)
        told.setdefault(f"controller {arm.controller}", _settings(describe(arm.made_rule)) + gates)
    if (more := len(study.arms) - parts.MOST_ROWS) > 0:
        told["further arms"] = f"{more:,}, in manifest.json"
    return told


def _settings(described: Mapping[str, Any]) -> str:
    own = {key: value for key, value in described.items() if key != "class"}
    inner = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in own.items())
    return f"{described['class']}({inner})"


def _pools(study: Study) -> Sequence[Pool]:
    return [pool for pool in study.pools if isinstance(pool, Pool)]


def classes_in(value: Any) -> list[type]:
    """The classes of the objects in a list, and of the objects in their settings, each once."""
    found: dict[type, None] = {}
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if is_dataclass(one) and not isinstance(one, type):
            inner = classes_in([getattr(one, item.name) for item in fields(one)])
            found |= dict.fromkeys([type(one), *inner])
        elif isinstance(one, (list, tuple)):
            found |= dict.fromkeys(classes_in(one))
    return list(found)


def python_lines(study: Study, threshold: float) -> list[str]:
    """Lines of Python that run the study again; a pool of one's own is loaded from a file first."""
    pools, before = [], []
    for place, pool in enumerate(_pools(study)):
        if pool.name in PRESETS and pool.digest == Pool.synthetic(pool.name).digest:
            pools.append(repr(pool.name))
        else:
            pools.append(f"pool_{place}")
            before.append(f"pool_{place} = wb.Pool.load(...)  # {pool.name!r}, {len(pool)} items, digest {pool.digest}")
    sizes = {name: getattr(study, name) for name in ("seeds", "steps", "batch", "rollouts", "eval_every", "budget")}
    points = f", points={study.points!r}" if study.points != [{}] else ""
    given = classes_in([*study.learners, *study.controllers])
    return [
        "import workbench as wb", *(f"from {one.__module__} import {one.__qualname__}" for one in given), *before,
        f"study = wb.Study([{', '.join(pools)}], {list(study.learners)!r}, {list(study.controllers)!r}{points},",
        f"                 {', '.join(f'{name}={value!r}' for name, value in sizes.items())})",
        f"study.run(threshold={threshold!r}).save('results/again')",
    ]  # fmt: skip
