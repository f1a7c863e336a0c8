"""real-run: fit each learner to the first visits of a real run, forecast the later ones, score it against baselines.

Every forecast is a set of D simulated futures: parameters from their Laplace posterior, u of every item from its
filtered distribution, then visit by visit counts drawn, the law fed with them, u drifting on. A baseline is the same
with its own chances p; so all are scored alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import passes
from fitting import (
    CONTROLS,
    GRID,
    STEP,
    TREND,
    Fit,
    Floats,
    Model,
    chance,
    difficulties,
    draw_last,
    fit,
)
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, expit, logit
from tqdm import tqdm
from visits import BINS, VisitLog

from workbench import figures
from workbench.streams import Role, generator

LEVEL = 0.8
BASELINES = ("persistence", "running mean", "logistic curve")


class Visit(NamedTuple):
    """D simulated futures of one visit: chances p (D, I), over-dispersion rho (D,), counts drawn (D, I)."""

    p: Floats
    rho: Floats
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is forecast: the visits fitted to, the last visit forecast, draws and seed."""

    past: VisitLog
    until: int
    draws: int
    seed: int

    @property
    def horizon(self) -> range:
        """The visits to forecast, counted from 1."""
        return range(self.past.visits + 1, self.until + 1)

    def draw_counts(self, visit: int, p: Floats, rho: Floats) -> NDArray[np.int64]:
        luck = generator(self.seed, Role.ROLLOUT, visit).random(p.shape)
        counts = np.empty(p.shape, np.int64)
        passes.draw_counts(p, rho, self.past.attempts, luck, counts)
        return counts


def simulate(fitted: Fit, task: Task) -> Iterator[Visit]:
    """Futures of a fitted learner, visit by visit."""
    model, n, items = fitted.model, task.past.attempts, len(task.past.items)
    law, rng = model.mechanism, generator(task.seed, Role.POSTERIOR)
    vectors = rng.multivariate_normal(fitted.vector, fitted.covariance, task.draws, method="eigh")
    own = [model.parameters(vector) for vector in vectors]
    u = np.stack([draw_last(model, task.past, p, fitted.prior, rng.random(items)) for p in own])
    p = model.parameters(vectors)
    state = law.start(p)
    for counts in task.past.counts.T:
        state = law.advance(state, model.signal(counts[None], n, p["gamma"]), p)
    half = np.minimum(p["scatter"] ** 2 / STEP**2, 1.0) / 2
    for visit in task.horizon:
        luck = generator(task.seed, Role.NOISE, visit).random(u.shape)
        u += STEP * ((luck < half).astype(np.float64) - (luck > 1 - half))
        u = np.clip(u, GRID[0], GRID[-1])
        success, rho = chance(u + law.added(state, p)[:, law.column], p), p["rho"][:, 0]
        counts = task.draw_counts(visit, success, rho)
        yield Visit(success, rho, counts)
        state = law.advance(state, model.signal(counts, n, p["gamma"]), p)


# ------------------------------------------------------------------------------------------------------ baselines


def beta_prior(successes: Floats, attempts: int) -> tuple[float, float]:
    """Most likely Beta(a, b) of the items' chances, given k of m for each."""

    def loss(v: Floats) -> float:
        a, b = np.exp(v)
        return -float(np.sum(betaln(a + successes, b + attempts - successes) - betaln(a, b)))

    a, b = np.exp(minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-6, 6)] * 2).x)
    return float(a), float(b)


def baseline(name: str, task: Task, bins: NDArray[np.int64]) -> Iterator[Visit]:
    """persistence: each item's chance stays what its last visit says, shrunk by a Beta prior fitted to that visit.

    running mean: the same from all visits fitted to. logistic curve: the running mean, moved in logits along a
    logistic curve of time, p = sigma(c + r visit), fitted to the mean pass rate of the item's bin.
    """
    past, n = task.past, task.past.attempts
    seen = past.counts[:, -1:] if name == "persistence" else past.counts
    successes, attempts = seen.sum(axis=1).astype(np.float64), n * seen.shape[1]
    a, b = beta_prior(successes, attempts)
    alpha, beta = a + successes, b + attempts - successes
    rng = generator(task.seed, Role.POSTERIOR)
    p = np.clip(rng.beta(alpha, beta, size=(task.draws, len(alpha))), 1e-9, 1 - 1e-9)
    slope = np.zeros((task.draws, len(BINS)))
    if name == "logistic curve":
        for k in np.unique(bins):
            rate, se = growth(past.counts[bins == k].sum(axis=0), n * int((bins == k).sum()))
            slope[:, k] = rate + se * rng.standard_normal(task.draws)
    middle = (past.visits + 1) / 2
    for visit in task.horizon:
        moved = expit(logit(p) + slope[:, bins] * (visit - middle)) if name == "logistic curve" else p
        rho = np.full(task.draws, 1e-6)
        yield Visit(moved, rho, task.draw_counts(visit, moved, rho))


def growth(successes: Floats, attempts: int) -> tuple[float, float]:
    """Slope r per visit of sigma(c + r visit) through the bin's successes, and its standard error (over-dispersed)."""
    visits = np.arange(1, len(successes) + 1.0)
    design = np.stack([np.ones_like(visits), visits - visits.mean()], axis=1)
    theta = np.array([logit(np.clip(successes.sum() / (attempts * len(visits)), 1e-4, 1 - 1e-4)), 0.0])
    for _ in range(50):  # Newton
        p = expit(design @ theta)
        weight = attempts * p * (1 - p)
        theta = theta + np.linalg.solve(design.T @ (weight[:, None] * design) + 1e-6 * np.eye(2),
                                        design.T @ (successes - attempts * p))  # fmt: skip
    p = expit(design @ theta)
    spread = float(np.sum((successes - attempts * p) ** 2 / (attempts * p * (1 - p))) / max(1, len(visits) - 2))
    cover = np.linalg.inv(design.T @ ((attempts * p * (1 - p))[:, None] * design) + 1e-6 * np.eye(2))
    return float(theta[1]), float(np.sqrt(max(1.0, spread) * cover[1, 1]))


# ------------------------------------------------------------------------------------------- forecasts and scores


@dataclass
class Result:
    rows: list[dict[str, Any]]  # of forecast.csv
    log_scores: Floats  # (I, V) of the held-out groups
    inside: Floats  # (I, V) share of each group's probability interval within the central 80 %


def assess(name: str, futures: Iterator[Visit], task: Task, log: VisitLog, bins: NDArray[np.int64]) -> Result:
    """Summaries of the futures for every visit and bin, and scores where the log goes on."""
    n, groups = task.past.attempts, {"all": np.ones(len(bins), bool)}
    groups |= {label: bins == k for k, label in enumerate(BINS) if (bins == k).any()}
    rows, scores, inside = [], [], []
    for visit, future in zip(task.horizon, futures, strict=True):
        k = future.counts
        for label, mask in groups.items():
            rate = k[:, mask].mean(axis=1) / n
            low, high = np.quantile(rate, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            wrong, right = float((k[:, mask] == 0).mean()), float((k[:, mask] == n).mean())
            rows.append(
                {"learner": name, "visit": visit, "bin": label, "mean_pass_rate": rate.mean(), "lower80": low,
                 "upper80": high, "zero_variance_share": wrong + right, "all_wrong_share": wrong,
                 "all_right_share": right}
            )  # fmt: skip
        if visit <= log.visits:
            pmf = np.empty((len(bins), n + 1))
            passes.mean_masses(future.p, future.rho, n, pmf)
            observed = log.counts[:, visit - 1, None]
            upper = np.take_along_axis(pmf.cumsum(axis=1), observed, axis=1)[:, 0]
            own = np.take_along_axis(pmf, observed, axis=1)[:, 0]
            scores.append(np.log(own))
            ends = np.clip([upper - own, upper], (1 - LEVEL) / 2, (1 + LEVEL) / 2)
            inside.append((ends[1] - ends[0]) / own)
    return Result(rows, np.array(scores).T, np.array(inside).T)


def score_table(results: dict[str, Result], forecast: pd.DataFrame, observed: pd.DataFrame) -> pd.DataFrame:
    """One row per learner and baseline.

    log_score: mean over held-out groups. over_...: log score minus that baseline's, or minus that of the control
    "trend"; se_...: standard errors over items of the differences to the best baseline and to trend. coverage_groups:
    share of groups in their central 80 % (non-randomised probability integral transform, Czado et al. 2009).
    coverage_bins: share of visits x bins whose observed mean pass rate lies in the interval. beats_all: above all three
    baselines, "clearly" by more than two standard errors.
    """
    joined = forecast.merge(observed, on=["visit", "bin"], validate="many_to_one")
    joined["inside"] = joined["observed"].between(joined["lower80"], joined["upper80"])
    joined["squared"] = (joined["observed"] - joined["mean_pass_rate"]) ** 2
    best = max(BASELINES, key=lambda name: float(results[name].log_scores.mean()))
    rows = []
    for name, result in results.items():
        own = joined[joined["learner"] == name]
        over = {other: float((result.log_scores - results[other].log_scores).mean()) for other in BASELINES}
        over["trend"] = float((result.log_scores - results[TREND].log_scores).mean())
        se, se_trend = (standard_error(result.log_scores - results[other].log_scores) for other in (best, TREND))
        verdict = "baseline" if name in BASELINES else "no"
        if verdict == "no" and min(over[other] for other in BASELINES) > 0:
            verdict = "clearly" if over[best] > 2 * se else "yes"
        rows.append(
            {"learner": name, "log_score": result.log_scores.mean()}
            | {f"over_{other.replace(' ', '_')}": value for other, value in over.items()}
            | {"se_over_best": se, "se_over_trend": se_trend, "coverage_groups": result.inside.mean(),
               "coverage_bins": own.loc[own["bin"] != "all", "inside"].mean(),
               "coverage_all": own.loc[own["bin"] == "all", "inside"].mean(),
               "rmse_bins": np.sqrt(own.loc[own["bin"] != "all", "squared"].mean()),
               "rmse_all": np.sqrt(own.loc[own["bin"] == "all", "squared"].mean()), "beats_all": verdict}
        )  # fmt: skip
    return pd.DataFrame(rows)


def standard_error(differences: Floats) -> float:
    """Of the mean of (I, V) differences, items being independent."""
    by_item = differences.mean(axis=1)
    return float(by_item.std(ddof=1) / np.sqrt(len(by_item))) if len(by_item) > 1 else np.nan


def observed_table(log: VisitLog, bins: NDArray[np.int64]) -> pd.DataFrame:
    """What the log says: visit, bin, observed mean pass rate."""
    rate = log.counts / log.attempts
    groups = {"all": np.ones(len(bins), bool)} | {b: bins == k for k, b in enumerate(BINS) if (bins == k).any()}
    return pd.DataFrame(
        [{"visit": t + 1, "bin": label, "observed": rate[mask, t].mean()}
         for t in range(log.visits) for label, mask in groups.items()]
    )  # fmt: skip


@dataclass(frozen=True)
class Tables:
    forecast: pd.DataFrame
    scores: pd.DataFrame  # no rows where the log ends with the visits fitted to
    parameters: pd.DataFrame
    items: pd.DataFrame
    observed: pd.DataFrame


def run(log: VisitLog, fit_until: int, until: int, learners: list[str], draws: int = 200, seed: int = 0) -> Tables:
    """Fit, forecast and score; progress on standard error."""
    past, bins = log.until(fit_until), log.bins(fit_until)
    task = Task(past, until, draws, seed)
    with tqdm(total=len(learners) + len(CONTROLS) + 1, desc="real-run", unit="learner") as bar:
        b = difficulties(past)
        bar.update()
        results: dict[str, Result] = {}
        parameters = []
        for name in (*learners, *CONTROLS):
            fitted = fit(Model(name, b), past)
            shared = {"learner": name, "log_likelihood": fitted.log_likelihood}
            parameters += [shared | row for row in fitted.table()]
            results[name] = assess(name, simulate(fitted, task), task, log, bins)
            bar.update()
    for name in BASELINES:
        results[name] = assess(name, baseline(name, task, bins), task, log, bins)
    forecast = pd.DataFrame([row for result in results.values() for row in result.rows])
    forecast["log_visit"] = forecast["visit"] - 1 + log.first
    observed = observed_table(log, bins)
    held_out = observed[observed["visit"] > fit_until]
    scores = score_table(results, forecast, held_out) if len(held_out) and until > fit_until else pd.DataFrame()
    items = pd.DataFrame({"item": log.items, "bin": np.array(BINS)[bins], "difficulty": b})
    return Tables(forecast, scores, pd.DataFrame(parameters), items, observed)


# ----------------------------------------------------------------------------------------------- figure and report


def paint(tables: Tables, fit_until: int, learners: list[str]) -> Figure:
    """Observed and forecast mean pass rate: a panel per bin, the 80 % band of every learner; best baseline dashed."""
    best = BASELINES[-1]
    if len(tables.scores):
        baselines = tables.scores[tables.scores["beats_all"] == "baseline"]
        best = str(baselines.loc[baselines["log_score"].idxmax(), "learner"])
    panels = [label for label in ("all", *BINS) if (tables.observed["bin"] == label).any()]
    colors = dict(zip((*learners, *CONTROLS), (*figures.OTHER_COLORS, *figures.COLORS.values()), strict=False))
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(figures.STYLE)
        rows = -(-len(panels) // 3)
        figure = Figure(figsize=(figures.PAGE_WIDTH, 0.9 + 2.1 * rows), layout="constrained")
        axes = figure.subplots(rows, 3, sharex=True, squeeze=False).ravel()
        for ax, label in zip(axes, panels, strict=False):
            for name, color in [*colors.items(), (best, "0.3")]:
                own = tables.forecast.query("learner == @name and bin == @label")
                dashes = "--" if name == best else "-"
                ax.fill_between(own["visit"], own["lower80"], own["upper80"], color=color, alpha=0.1, linewidth=0)
                ax.plot(own["visit"], own["mean_pass_rate"], color=color, linestyle=dashes, linewidth=1)
            seen = tables.observed[tables.observed["bin"] == label]
            for part, face in ((seen["visit"] <= fit_until, "black"), (seen["visit"] > fit_until, "white")):
                ax.plot(seen["visit"][part], seen["observed"][part], "o", color="black", markerfacecolor=face,
                        markersize=2.5, markeredgewidth=0.6)  # fmt: skip
            share = (tables.items["bin"] == label).sum() if label != "all" else len(tables.items)
            ax.set_title(f"{'all' if label == 'all' else f'first pass rate {label}'} ({share} items)")
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        keys = [Line2D([], [], color=color) for color in colors.values()]
        keys += [Line2D([], [], color="0.3", linestyle="--"),
                 Line2D([], [], color="black", marker="o", linestyle="none", markersize=3),
                 Line2D([], [], color="black", marker="o", linestyle="none", markersize=3, markerfacecolor="white")]
        names = [*colors, best, "observed, fitted to", "observed, held out"]
        figure.legend(keys, names, loc="outside upper center", ncols=5, title="forecast mean and 80 % band")
        figure.supxlabel("visit")
        figure.supylabel("mean pass rate")
    return figure


def report(tables: Tables, learners: list[str], fit_until: int) -> str:
    if tables.scores.empty:
        return f"The log has no visit after {fit_until}: forecast without scores."
    shown = tables.scores.sort_values("log_score", ascending=False)
    won = [name for name in learners if tables.scores.set_index("learner").loc[name, "beats_all"] != "no"]
    lost = [name for name in learners if name not in won]
    return "\n".join([
        shown.to_string(index=False, float_format=lambda v: f"{v:.4f}"),
        "",
        f"beats all three baselines: {', '.join(won) or 'none'}. Does not: {', '.join(lost) or 'none'}.",
        "log_score: mean over held-out groups, higher is better. over_...: log score minus that baseline's. coverage: "
        "share in the 80 % interval.",
        "still, trend: the learners' observation model with no learning, or with the same gain in logits every visit; "
        "what a learner is above",
        "them is what its law adds.",
    ])  # fmt: skip
