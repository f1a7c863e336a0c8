"""table1: extra steps to match AdaRFT at step 60, predicted against arXiv 2504.05520, Table 1, the 1.5B model."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import kendalltau

from sims.paper import family
from sims.paper.family import Floats
from sims.paper.published import CELLS, EXTRA, MATCH_STEP, STEPS, TABLE1
from workbench import figures
from workbench.controllers import AdaRFT, LinearSchedule, OfflineFilter, Rule, Uniform
from workbench.pool import Pool
from workbench.progress import make_bar

METHODS: dict[str, Rule] = {
    "adarft": AdaRFT(),
    "ppo": Uniform(),
    "filter": OfflineFilter(),
    "fixed": LinearSchedule(horizon=STEPS),
}
HORIZON = 200  # steps simulated; a baseline that does not reach the accuracy counts as HORIZON
TOLERANCE = 15.0  # steps: sd of the kernel that weighs draws by the cells fitted to


def predict(learners: list[str], draws: int, seed: int) -> pd.DataFrame:
    """A row per learner, cell and draw: extra_steps, with the noise of one evaluation on every record."""
    rows = []
    with make_bar(total=len(learners) * len(TABLE1) * len(METHODS), desc="table1", unit="arm") as bar:
        for pool in (Pool.synthetic(name) for name in TABLE1):
            arms = {name: (name, rule, pool) for name, rule in METHODS.items()}
            curves = family.run_all(learners, arms, HORIZON, draws, seed, bar)
            steps = np.sort(curves["step"].unique()).astype(np.float64)
            for learner, block in curves.groupby("learner", sort=False):
                paths: dict[str, Floats] = {}
                for arm, name in enumerate(METHODS):
                    path = family.wide(block[block["controller"] == name])
                    paths[name] = family.smoothed(path + family.evaluation_noise(path.shape, seed, arm))
                goal = paths["adarft"][:, np.searchsorted(steps, MATCH_STEP)]
                for name in list(METHODS)[1:]:
                    extra = family.extra_steps(steps, paths[name], goal, MATCH_STEP)
                    rows.append(pd.DataFrame({"learner": learner, "cell": f"{pool.name}/{name}",
                                              "draw": np.arange(draws), "extra_steps": extra}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def weights(block: pd.DataFrame, cells: list[str]) -> Floats:
    """(D,) weight of each draw: exp(-(predicted - published)^2 / (2 TOLERANCE^2)) over the cells fitted to."""
    wide = block.pivot(index="draw", columns="cell", values="extra_steps")
    miss = (wide[cells] - pd.Series(EXTRA)[cells]).to_numpy(dtype=np.float64)
    log = -0.5 * (miss**2).sum(axis=1) / TOLERANCE**2
    out = np.exp(log - log.max(initial=0.0 if not cells else -np.inf))
    return np.asarray(out / out.sum())


def quantiles(values: Floats, weight: Floats, levels: tuple[float, ...]) -> list[float]:
    order = np.argsort(values, kind="stable")
    at = np.cumsum(weight[order]) - weight[order] / 2
    return [float(np.interp(level, at, values[order])) for level in levels]


def compare(predicted: pd.DataFrame, fitted: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cells (a row per learner and cell) and scores (a row per learner), without and with the cells fitted to.

    signs: share of cells with the published sign; sure_signs: where at least 80 % of the draws have it. tau: Kendall's
    tau-b of medians and published numbers. coverage: share of cells whose 80 % interval has the published number.
    effective_draws: 1 / sum of squared weights; of one or two, an interval says nothing. Cells fitted to do not count
    in the scores after fitting.
    """
    cells, scores = [], []
    for learner, block in predicted.groupby("learner", sort=False):
        for used in [[], fitted] if fitted else [[]]:
            weight = weights(block, used)
            told = "; ".join(used) or "none"
            rows = []
            for cell in CELLS:
                values = block.loc[block["cell"] == cell, "extra_steps"].to_numpy()
                low, middle, high = quantiles(values, weight, (0.1, 0.5, 0.9))
                rows.append({"learner": learner, "fitted_on": told, "cell": cell, "published": EXTRA[cell],
                             "predicted": middle, "lower80": low, "upper80": high,
                             "share_positive": float(weight @ (values > 0)), "held_out": cell not in used})  # fmt: skip
            cells += rows
            scores.append({"learner": learner, "fitted_on": told} | score(pd.DataFrame(rows))
                          | {"effective_draws": float(1 / np.sum(weight**2))})  # fmt: skip
    return pd.DataFrame(cells), pd.DataFrame(scores)


def score(rows: pd.DataFrame) -> dict[str, Any]:
    own = rows[rows["held_out"]]
    tau = kendalltau(own["predicted"], own["published"]).statistic if own["predicted"].nunique() > 1 else np.nan
    return {
        "cells": len(own),
        "signs": float((np.sign(own["predicted"].round()) == np.sign(own["published"])).mean()),
        "sure_signs": float((own["share_positive"] >= 0.8).mean()),
        "tau": float(tau),
        "coverage": float(own["published"].between(own["lower80"], own["upper80"]).mean()),
        "mean_error": float((own["predicted"] - own["published"]).mean()),
    }


def paint(cells: pd.DataFrame) -> Figure:
    """A panel per learner: published extra steps against predicted ones with 80 % intervals, nothing fitted."""
    learners = list(cells["learner"].unique())
    colors = dict(zip(TABLE1, ("#D55E00", "#0072B2", "#009E73"), strict=True))
    markers = {"ppo": "o", "filter": "s", "fixed": "v"}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(figures.STYLE)
        rows = -(-len(learners) // 3)
        figure = Figure(figsize=(figures.PAGE_WIDTH, 0.8 + 2.2 * rows), layout="constrained")
        axes = figure.subplots(rows, 3, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, learner in zip(axes, learners, strict=False):
            ax.set_title(learner)
            ax.axline((0, 0), slope=1, color="0.6", linewidth=0.8)
            for row in cells.query("learner == @learner and fitted_on == 'none'").to_dict("records"):
                pool, method = row["cell"].split("/")
                ax.plot([row["published"]] * 2, [row["lower80"], row["upper80"]], color=colors[pool], linewidth=1)
                ax.plot(row["published"], row["predicted"], markers[method], color=colors[pool], markersize=4)
        for ax in axes[len(learners) :]:
            ax.set_axis_off()
        keys = [Line2D([], [], color=color) for color in colors.values()]
        keys += [Line2D([], [], color="0.3", marker=marker, linestyle="none") for marker in markers.values()]
        figure.legend(keys, [*colors, *markers], loc="outside upper center", ncols=6, title="median and 80 % interval")
        figure.supxlabel("published extra steps")
        figure.supylabel("predicted extra steps")
    return figure


def report(cells: pd.DataFrame, scores: pd.DataFrame) -> str:
    free = cells[cells["fitted_on"] == "none"]
    text = free.apply(lambda r: f"{r['predicted']:.0f} [{r['lower80']:.0f}, {r['upper80']:.0f}]", axis=1)
    table = free.assign(text=text).pivot(index="cell", columns="learner", values="text").loc[CELLS]
    table = table[list(free["learner"].unique())]
    table.insert(0, "published", [EXTRA[cell] for cell in CELLS])
    return "\n".join([
        table.to_string(), "", scores.to_string(index=False, float_format=lambda v: f"{v:.2f}"), "",
        f"Extra steps to AdaRFT's accuracy at step {MATCH_STEP}: median and 80 % interval over draws from the priors, "
        f"nothing fitted; {HORIZON - MATCH_STEP}: not reached.",
        "fitted_on: cells that weighed the draws; they do not count in that row. signs: share with the published sign, "
        "sure_signs: in 80 % of the draws. "
        "tau: Kendall's.",
        "coverage: share of published numbers in the 80 % interval.",
    ])  # fmt: skip
