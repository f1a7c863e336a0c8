"""real-run: fit each learner to the first visits of a real run, forecast the later ones, score it against baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sims.forecasting import passes
from sims.forecasting.discrepancy import GRID, Discrepancy, Errors, knots, origins
from sims.forecasting.futures import BASELINES, Task, Visit, futures, together
from sims.forecasting.learners import CONTROLS, ENOUGH, STILL, TREND, Fitted, Past
from sims.forecasting.visits import BINS, VisitLog
from workbench import figures
from workbench.calibration.stacking import bagged
from workbench.lanes import Floats
from workbench.progress import make_bar
from workbench.streams import run_seeds

LEVEL = 0.8
SCORES = ("learner", "log_score", *(f"over_{name.replace(' ', '_')}" for name in (*BASELINES, TREND)), "se_over_best",
          "se_over_trend", "coverage_groups", "coverage_bins", "coverage_all", "rmse_bins", "rmse_all",
          "beats_all")  # columns
JUDGING_DRAWS, JUDGING_ENOUGH = 100, 50.0  # futures and fits of forecasts from within the fitted visits
STACKED = "stacked"  # the mixture of the learners


# ------------------------------------------------------------------------------------------- forecasts and scores


@dataclass
class Result:
    rows: list[dict[str, Any]]  # of forecast.csv
    item: NDArray[np.int64]  # (N,) of the held-out groups
    log_scores: Floats  # (N,)
    inside: Floats  # (N,) share of each group's probability interval within the central 80 %


def by_bin(bins: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Names and masks: all groups, then the bins that have any. bins: (G,)."""
    yield "all", np.ones(len(bins), bool)
    for number in np.unique(bins):
        yield BINS[number], bins == number


def assess(name: str, futures: Iterator[Visit], task: Task, bins: NDArray[np.int64]) -> Result:
    """Summaries of the futures for every visit and bin, and scores where the log goes on. bins: (I,)."""
    rows: list[dict[str, Any]] = []
    items, scores, inside = [np.empty(0, np.int64)], [np.empty(0)], [np.empty(0)]
    for visit, future in zip(task.horizon, futures, strict=True):
        k, n = future.counts, future.groups.attempts
        for label, mask in by_bin(bins[future.groups.item]):
            rate = (k[:, mask] / n[mask]).mean(axis=1)
            low, high = np.quantile(rate, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            wrong, right = float((k[:, mask] == 0).mean()), float((k[:, mask] == n[mask]).mean())
            rows.append(
                {"learner": name, "visit": visit, "bin": label, "mean_pass_rate": rate.mean(), "lower80": low,
                 "upper80": high, "zero_variance_share": wrong + right, "all_wrong_share": wrong,
                 "all_right_share": right}
            )  # fmt: skip
        if visit <= task.log.visits:
            pmf = np.empty((len(n), int(n.max()) + 1))
            passes.mean_masses(future.p, future.rho, n, pmf)
            observed = task.log.at(visit).successes[:, None]
            upper = np.take_along_axis(pmf.cumsum(axis=1), observed, axis=1)[:, 0]
            own = np.take_along_axis(pmf, observed, axis=1)[:, 0]
            ends = np.clip([upper - own, upper], (1 - LEVEL) / 2, (1 + LEVEL) / 2)
            items.append(future.groups.item)
            scores.append(np.log(own))
            inside.append((ends[1] - ends[0]) / own)
    return Result(rows, np.concatenate(items), np.concatenate(scores), np.concatenate(inside))


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
        se, se_trend = (
            standard_error(result.item, result.log_scores - results[other].log_scores) for other in (best, TREND)
        )
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


def standard_error(item: NDArray[np.int64], differences: Floats) -> float:
    """Of the mean of differences (N,) of groups, items being independent: the root of the sum over items of the
    squared sum of what their groups are off the mean, over N."""
    sums = np.bincount(item, differences - differences.mean())[np.unique(item)]
    count = len(sums)
    return float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(item)) if count > 1 else np.nan


def observed_table(log: VisitLog, bins: NDArray[np.int64]) -> pd.DataFrame:
    """What the log says: visit, bin, observed mean pass rate over the groups of the visit."""
    rows = []
    for visit in range(1, log.visits + 1):
        groups = log.at(visit)
        rows += [{"visit": visit, "bin": label, "observed": (groups.successes / groups.attempts)[mask].mean()}
                 for label, mask in by_bin(bins[groups.item])]  # fmt: skip
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Origin:
    """Visits to forecast from: all that are fitted to, or fewer for a forecast of the rest of them.

    log: the items that have a group until `visit`, with all that is known of them. past: what is fitted to. bins: (I,)
    numbers in BINS, from `past` only.
    """

    log: VisitLog
    visit: int
    past: Past
    bins: NDArray[np.int64]

    @classmethod
    def after(cls, log: VisitLog, visit: int, seed: int) -> Origin:
        tried = log.tried_until(visit)
        past = tried.until(visit)
        return cls(tried, visit, Past(past, seed), past.bins(visit))

    def fit(
        self, name: str, near: Fitted | None = None, cut: int | None = None, enough: float = ENOUGH,
        kept: Path | None = None,
    ) -> Fitted | None:  # fmt: skip
        """Of a learner or a control; nothing is fitted for a baseline."""
        return None if name in BASELINES else Fitted.of(self.past.task(name, cut, enough, near), kept)

    def errors(self, name: str, fitted: Fitted | None) -> Errors:
        """Of the forecast of the rest of the log, in the mean pass rates of the bins."""
        task = Task(self.log, self.visit, self.log.visits, JUDGING_DRAWS, self.past.seed)
        near = knots(self.past.b)
        error, rates, moved = [], [], []
        for visit, future in zip(task.horizon, futures(name, fitted, task, self.bins), strict=True):
            groups, n, own = future.groups, future.groups.attempts, self.bins[future.groups.item]
            member = (own == np.unique(own)[:, None]) / np.bincount(own)[np.unique(own), None]  # (bins, G)
            place = (near[groups.item, None] == np.arange(len(GRID))).astype(np.float64)  # (G, U)
            rates.append(future.counts / n @ member.T)
            error.append(member @ (self.log.at(visit).successes / n) - rates[-1].mean(axis=0))
            slope = (future.p * (1 - future.p)).mean(axis=0)
            moved.append(np.log(visit / self.visit) * (member * slope) @ place)
        return Errors(np.concatenate(error), np.concatenate(rates, axis=1), np.concatenate(moved))


@dataclass(frozen=True)
class Forecast:
    """What is fitted of a learner, and what items share beside it as judged from earlier origins."""

    name: str
    origin: Origin
    fitted: Fitted | None
    error: Discrepancy

    @classmethod
    def of(
        cls, name: str, whole: Origin, earlier: list[Origin], cut: int | None = None, enough: float = ENOUGH,
        kept: Path | None = None,
    ) -> Forecast:  # fmt: skip
        """Each fit begins near that to fewer visits."""
        errors, near = [], None
        for one in earlier:
            near = one.fit(name, near, enough=min(JUDGING_ENOUGH, enough), kept=kept)
            errors.append(one.errors(name, near))
        return cls(name, whole, whole.fit(name, near, cut, enough, kept), Discrepancy.judged(errors))

    def futures(self, task: Task) -> Iterator[Visit]:
        """With both."""
        shared = self.error.draw(self.origin.past.b, task.draws, task.seed)
        return futures(self.name, self.fitted, replace(task, shared=shared), self.origin.bins)

    def table(self) -> list[dict[str, Any]]:
        """A row per parameter."""
        evidence = self.fitted.fit.log_evidence if self.fitted else np.nan
        rows = [*(self.fitted.table() if self.fitted else ()), self.error.row()]
        return [{"learner": self.name, "log_evidence": evidence} | row for row in rows]


@dataclass(frozen=True)
class Tables:
    forecast: pd.DataFrame
    scores: pd.DataFrame  # no rows where the log ends with the visits fitted to
    parameters: pd.DataFrame
    items: pd.DataFrame
    weights: pd.DataFrame  # of the learners in the mixture
    observed: pd.DataFrame
    left_out: int  # items that no fitted visit tried


def run(
    log: VisitLog,
    fit_until: int,
    until: int,
    learners: list[str],
    draws: int = 200,
    seed: int = 0,
    enough: float = ENOUGH,
    kept: Path | None = None,
) -> Tables:
    """Fit, forecast and score; progress on standard error. enough: effective number of draws at which a fit is done.
    kept: a folder of fits, from which a killed run goes on."""
    results: dict[str, Result] = {}
    parts: dict[str, Forecast] = {}
    everyone = (*learners, *CONTROLS, *BASELINES)
    every = len(log.items)
    log = log.tried_until(fit_until)
    seen = log.until(fit_until)
    task = Task(log, fit_until, until, draws, seed)
    # the matrices are small: a second thread of the linear algebra would only wait
    with threadpool_limits(1), make_bar(total=len(everyone) + 1, desc="real-run", unit="learner") as bar:
        whole = Origin.after(seen, fit_until, seed)
        earlier = [Origin.after(seen, visit, seed) for visit in origins(fit_until)]
        cut = max(2 * fit_until // 3, 1)
        for name in everyone:
            parts[name] = Forecast.of(name, whole, earlier, cut if name in learners else None, enough, kept)
            results[name] = assess(name, parts[name].futures(task), task, whole.bins)
            bar.update()
        weights = mixture(parts, learners)
        results[STACKED] = assess(STACKED, stacked(parts, weights, task), task, whole.bins)
        bar.update()
    forecast = pd.DataFrame([row for result in results.values() for row in result.rows])
    observed = observed_table(log, whole.bins)
    held_out = observed[observed["visit"] > fit_until]
    scores = pd.DataFrame(columns=SCORES)
    if len(held_out):
        scores = score_table(results, forecast, held_out)
    items = pd.DataFrame({"item": log.items, "bin": np.array(BINS)[whole.bins], "difficulty": whole.past.b})
    parameters = pd.DataFrame([row for part in parts.values() for row in part.table()])
    mixed = pd.DataFrame({"learner": learners, "weight": weights})
    return Tables(forecast, scores, parameters, items, mixed, observed, every - len(log.items))


def mixture(parts: dict[str, Forecast], learners: list[str]) -> Floats:
    """(L,) weights of the learners by their predictions of the last third of the fitted visits from those before."""
    fits = [fitted.fit for name in learners if (fitted := parts[name].fitted)]
    both = np.stack([fit.predictive for fit in fits], axis=1)
    return bagged(both[np.isfinite(both).all(axis=1)])


def stacked(parts: dict[str, Forecast], weights: Floats, task: Task) -> Iterator[Visit]:
    """Futures of the mixture: of each learner as many as its weight says, from streams of its own."""
    counts = np.floor(np.cumsum(weights) * task.draws + 0.5).astype(int)
    shares = zip(parts.values(), np.diff(counts, prepend=0), run_seeds(task.seed, len(weights)), strict=False)
    return together([part.futures(replace(task, draws=int(share), seed=int(seed))) for part, share, seed in shares
                     if share])  # fmt: skip


# ----------------------------------------------------------------------------------------------- figure and report


def paint(tables: Tables, fit_until: int, learners: list[str]) -> Figure:
    """Observed and forecast mean pass rate, a panel per bin; 80 % bands of the best learner and the best baseline."""
    best, rival = learners[0], BASELINES[-1]
    if len(tables.scores):
        ranked = tables.scores.sort_values("log_score", ascending=False)["learner"]
        best, rival = (next(name for name in ranked if name in group) for group in (learners, BASELINES))
    panels = [label for label in ("all", *BINS) if (tables.observed["bin"] == label).any()]
    strokes: list[tuple[str, Any]] = [*zip(figures.OTHER_COLORS, repeat("-")),
                                      *zip(figures.COLORS.values(), repeat((0, (5, 1.5))))]  # fmt: skip
    looks: dict[str, tuple[str, Any]] = dict(zip(learners, strokes, strict=False))
    looks |= dict.fromkeys((rival,), ("0.3", "--")) | {STILL: ("0.5", ":"), TREND: ("0.5", "-.")}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(figures.STYLE)
        rows = -(-len(panels) // 3)
        figure = Figure(figsize=(figures.PAGE_WIDTH, 0.9 + 2.1 * rows), layout="constrained")
        axes = figure.subplots(rows, 3, sharex=True, squeeze=False).ravel()
        for ax, label in zip(axes, panels, strict=False):
            for name, (color, dashes) in looks.items():
                own = tables.forecast.query("learner == @name and bin == @label")
                if name in (best, rival):
                    ax.fill_between(own["visit"], own["lower80"], own["upper80"], color=color, alpha=0.15, linewidth=0)
                ax.plot(own["visit"], own["mean_pass_rate"], color=color, linestyle=dashes, linewidth=1)
            seen = tables.observed[tables.observed["bin"] == label]
            for part, face in ((seen["visit"] <= fit_until, "black"), (seen["visit"] > fit_until, "white")):
                ax.plot(seen["visit"][part], seen["observed"][part], "o", color="black", markerfacecolor=face,
                        markersize=2.5, markeredgewidth=0.6)  # fmt: skip
            share = (tables.items["bin"] == label).sum() if label != "all" else len(tables.items)
            ax.set_title(f"{'all' if label == 'all' else f'first pass rate {label}'} ({share} items)")
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        keys = [Line2D([], [], color=color, linestyle=dashes) for color, dashes in looks.values()]
        keys += [Line2D([], [], color="black", marker="o", linestyle="none", markersize=3),
                 Line2D([], [], color="black", marker="o", linestyle="none", markersize=3, markerfacecolor="white")]
        names = [*looks, "observed, fitted to", "observed, held out"]
        title = f"forecast mean, and 80 % band of {best} and {rival}"
        figure.legend(keys, names, loc="outside upper center", ncols=5, title=title)
        figure.supxlabel("visit")
        figure.supylabel("mean pass rate")
    return figure


def report(tables: Tables, learners: list[str], fit_until: int) -> str:
    few = tables.left_out
    lost = [f"{few} item{'s' * (few > 1)} that no visit up to {fit_until} tried {'are' if few > 1 else 'is'} left out."]
    weights = tables.weights.sort_values("weight", ascending=False, kind="stable").to_dict("records")
    told = ", ".join(f"{row['learner']} {row['weight']:.2f}" for row in weights if row["weight"] >= 0.005)
    told = f"{STACKED} is the mixture of the learners by what they predicted of the fitted visits: {told}."
    lines = [*lost * (few > 0), told]
    if tables.scores.empty:
        return "\n".join([*lines, f"The log has no visit after {fit_until}: forecast without scores."])
    shown = tables.scores.sort_values("log_score", ascending=False)
    won = [name for name in learners if tables.scores.set_index("learner").loc[name, "beats_all"] != "no"]
    behind = [name for name in learners if name not in won]
    return "\n".join([
        shown.to_string(index=False, float_format=lambda v: f"{v:.4f}"),
        "",
        *lines,
        f"beats all three baselines: {', '.join(won) or 'none'}. Does not: {', '.join(behind) or 'none'}.",
        "log_score: mean over held-out groups, higher is better. over_...: log score minus that baseline's. coverage: "
        "share in the 80 % interval.",
        "still, trend: the learners' observation model with no learning, or with the same gain in logits every update; "
        "what a learner is above",
        "them is what its law adds.",
    ])  # fmt: skip
