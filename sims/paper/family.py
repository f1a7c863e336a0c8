"""The learner family under stated priors, and runs of the paper's settings on it.

A draw is a lane: parameters from the priors below and random numbers, both keyed by the number of the draw, the same
for all controllers and pools. One rollout per item, advantages from a critic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sims.paper.published import BATCH, EVAL_EVERY, ROLLOUTS, SMOOTHING
from sims.paper.transfer import RANGE
from workbench.analysis import stats
from workbench.controllers import Controller, Rule
from workbench.learners import Critic, Law, SimLearner
from workbench.loop import train
from workbench.pool import Pool
from workbench.registry import LAWS
from workbench.streams import Role, generator, run_seeds

Floats = NDArray[np.float64]

Priors = dict[str, tuple[float, float, str]]  # (low, high) of a uniform prior, of its logarithm where "log"


class Member(NamedTuple):
    """A learner of the family: the law of that name in `presets.LAWS` under its priors.

    structure: what kind of learner it is; a finding has to hold in several kinds. per_batch: kappa counts per item or
    cell, not per update, so it is the prior's times (batch / 1024)^per_batch with another batch than the paper's.
    by_default: whether it runs when no learner is named; not if it takes minutes or a package that the others do not
    need.
    """

    structure: str
    priors: Priors
    per_batch: int = 0
    by_default: bool = True


# Judgement, fixed before any comparison was made, within the ranges that the laws call plausible.
# theta0: skill relative to the model that made the labels, a 7B one. Counts (skills, kinds, cells) stay as in LAWS:
# they cannot differ between the lanes of one program.
COMMON: Priors = {"theta0": (-2.5, -0.5, ""), "kappa": (0.01, 0.1, "log"), "label_noise": (0.3, 1.2, "")}
FAMILY: dict[str, Member] = {
    "scalar": Member("one skill", COMMON | {"a": (0.6, 1.5, "log")}),
    "grpo": Member("one skill", COMMON | {"a": (0.6, 1.5, "log")}),
    "natural": Member("one skill", COMMON | {"a": (0.6, 1.5, "log")}),
    "adam": Member("one skill", COMMON | {"a": (0.6, 1.5, "log")}),
    "guess": Member("one skill", COMMON | {"floor": (0.0, 0.25, ""), "ceiling": (0.8, 1.0, "")}),
    "kernel": Member("item space", COMMON | {"kappa": (0.03, 0.3, "log"), "length": (0.3, 3.0, "log"),
                                             "forgetting": (0.001, 0.02, "log")}),
    # kappa: as with one skill, since the mean gain over the pool is that; locality: from half local to loss far away
    "interference": Member("item space", COMMON | {"locality": (0.5, 3.0, "log"), "length": (0.3, 3.0, "log"),
                                                   "forgetting": (0.001, 0.02, "log")}),
    "tabular": Member("item space", COMMON | {"kappa": (100.0, 3000.0, "log")}, per_batch=1),
    # between skills what RL on one category did for others; prerequisite: from unordered to a strict order
    "skills": Member("several skills", COMMON | {"kappa": (0.02, 0.2, "log"), "prerequisite": (0.0, 1.0, "")}
                     | {name: (low, high, "") for name, (low, high) in RANGE.items()}),
    # theta0: of one step; eight steps that succeed 62 % of the time each succeed 2 % of the time together
    "chain": Member("chain of steps", COMMON | {"theta0": (-1.5, 0.5, ""), "kappa": (0.03, 0.3, "log")}),
    # kappa: points per visit; theta0: 1 to 18 points of 100 in every cell
    "grid": Member("locked cells", COMMON | {"theta0": (-5.0, -1.5, ""), "kappa": (0.03, 0.5, "log"),
                                             "threshold": (50.0, 90.0, "")}, per_batch=-1),
    # kappa stays 1: only its product with `learn` shows; guess and slip within Corbett and Anderson's limits
    "tracing": Member("known or not", {"theta0": (-2.5, -0.5, ""), "label_noise": (0.3, 1.2, ""),
                                       "learn": (0.03, 0.3, "log"), "guess": (0.0, 0.3, ""), "slip": (0.0, 0.1, ""),
                                       "forgetting": (0.0001, 0.01, "log")}),
    # theta0: relative to the policy before training, which has to know a little; kappa: Adam's rate
    "policy": Member("trained network", {"theta0": (-1.5, 0.5, ""), "kappa": (0.001, 0.01, "log"),
                                         "label_noise": (0.3, 1.2, "")}, by_default=False),
}  # fmt: skip
# A learner's draws are keyed by its place here: a new one comes last.
KEYED = ("scalar", "grpo", "natural", "guess", "kernel", "tabular", "skills", "chain", "grid", "tracing", "policy",
         "adam", "interference")  # fmt: skip
# those held against the paper
LEARNERS = ("scalar", "grpo", "natural", "adam", "guess", "kernel", "interference", "tabular")
LABELS = {"grpo": "whitened"}  # a group of one has no std: whitening over the batch instead, gamma = 1/2
EVAL_NOISE = 0.01  # sd of one published evaluation: six benchmarks, the smallest of 30 and 40 problems


def label(learner: str) -> str:
    return LABELS.get(learner, learner)


def draw_values(learner: str, draws: int, seed: int, **changes: tuple[float, float, str]) -> dict[str, Floats]:
    """Parameters (D,) drawn from a learner's priors; changes: other priors."""
    rng = generator(seed, Role.DESIGN, KEYED.index(learner))
    values: dict[str, Floats] = {}
    for name, (low, high, scale) in (FAMILY[learner].priors | changes).items():
        u = rng.random(draws)
        values[name] = low * (high / low) ** u if scale == "log" else low + (high - low) * u
    return values


def draw_law(learner: str, draws: int, seed: int, **changes: tuple[float, float, str]) -> Law:
    """The law with (D,) parameters in the paper's setting: single rollouts, so a critic. changes: other priors."""
    values: dict[str, Any] = draw_values(learner, draws, seed, **changes)
    gamma = {"grpo": 0.5, "natural": 0.0}.get(learner, 1.0)
    return replace(LAWS[learner], signal=Critic(), gamma=gamma, **values)


def draw_group_law(learner: str, draws: int, seed: int, batch: int) -> Law:
    """The law with (D,) parameters and its own signal, for batches of groups."""
    values: dict[str, Any] = draw_values(learner, draws, seed)
    if "kappa" in values:
        values["kappa"] *= (batch / BATCH) ** FAMILY[learner].per_batch
    return replace(LAWS[learner], **values)


def first_draws(law: Law, draws: int) -> Law:
    """The law with the first of its (D,) parameters."""
    values = {item.name: getattr(law, item.name) for item in fields(law)}
    cut: dict[str, Any] = {name: v[:draws] for name, v in values.items() if isinstance(v, np.ndarray)}
    return replace(law, **cut)


def run(
    law: Law, rule: Rule, pool: Pool, steps: int, draws: int, seed: int, b: ArrayLike | None = None
) -> pd.DataFrame:
    """Records of D runs, as Record.to_frame gives them; b: true difficulties where the pool's labels are not them."""
    seeds = run_seeds(seed, draws)
    learner = SimLearner(law, pool, seeds, draws, b=b)
    controller = Controller(rule, pool, seed=seeds, lanes=draws)
    return train(controller, learner, steps, BATCH, ROLLOUTS, EVAL_EVERY).to_frame()


def run_all(
    learners: Iterable[str],
    arms: Mapping[str, tuple[str, Rule, Pool]],
    steps: int,
    draws: int,
    seed: int,
    bar: Any,
    **changes: tuple[float, float, str],
) -> pd.DataFrame:
    """Curves of every learner and arm: label -> (rule name, rule, pool)."""
    parts = []
    for learner in learners:
        law = draw_law(learner, draws, seed, **changes)
        for name, (rule_name, rule, pool) in arms.items():
            frame = run(law, rule, pool, steps, draws, seed)
            parts.append(frame.assign(learner=label(learner), controller=name, rule=rule_name, pool=pool.name))
            bar.update()
    return pd.concat(parts, ignore_index=True)


def wide(curves: pd.DataFrame, column: str = "success") -> Floats:
    """(D, E): a row per draw, a column per record."""
    return curves.pivot(index="seed", columns="step", values=column).to_numpy(dtype=np.float64)


def area(curves: pd.DataFrame) -> Floats:
    """(D,) mean success over the steps."""
    steps = np.sort(curves["step"].unique())
    return np.asarray(stats.area(steps, wide(curves)))


def smoothed(curves: Floats, weight: float = SMOOTHING) -> Floats:
    """Exponential smoothing along the records: s_t = weight s_(t-1) + (1 - weight) x_t, as plotting tools have it."""
    out = curves.copy()
    for t in range(1, curves.shape[1]):
        out[:, t] = weight * out[:, t - 1] + (1 - weight) * curves[:, t]
    return out


def extra_steps(steps: Floats, curves: Floats, goal: Floats, match: float) -> Floats:
    """(D,) steps beyond `match` until a curve (D, E) first reaches goal (D,), linear between records.

    A curve that does not reach it counts with the last step.
    """
    return np.asarray(stats.steps_to_threshold(steps, curves, goal).time - match)


def evaluation_noise(shape: tuple[int, ...], seed: int, arm: int) -> Floats:
    return EVAL_NOISE * generator(seed, Role.EVALUATION, arm).standard_normal(shape)


def verdict(share: float) -> str:
    """Of a finding that holds in this share of the draws."""
    return "yes" if share >= 0.8 else "no" if share <= 0.2 else "open"


def finding(
    learner: str, what: str, published: str, holds: ArrayLike, value: ArrayLike
) -> dict[str, Any]:
    """A row: the share of draws in which a finding holds, and the predicted number behind it, median and 80 %.

    learner: its label.
    """
    share = float(np.mean(np.asarray(holds, dtype=np.float64)))
    low, middle, high = np.quantile(np.asarray(value, dtype=np.float64), [0.1, 0.5, 0.9])
    return {"learner": learner, "finding": what, "published": published, "predicted": middle, "lower80": low,
            "upper80": high, "share_of_draws": share, "verdict": verdict(share)}  # fmt: skip


def findings_text(table: pd.DataFrame) -> str:
    lines = []
    for what, block in table.groupby("finding", sort=False):
        lines.append(f"{what}  (published: {block['published'].iloc[0]})")
        for row in block.to_dict("records"):
            number = f"{row['predicted']:9.3f} [{row['lower80']:.3f}, {row['upper80']:.3f}]"
            share = f"in {row['share_of_draws']:4.0%} of draws"
            lines.append(f"  {row['learner']:<10} {row['verdict']:<5} {share} {number}")
    lines.append("holds in >= 80 % of the draws: yes, in <= 20 %: no, else open. Median and [80 % interval].")
    return "\n".join(lines)
