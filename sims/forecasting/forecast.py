"""real-run: fit each learner to the first visits of a real run, forecast the later ones, score it against baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from sims.forecasting import passes
from sims.forecasting.discrepancy import Discrepancy, Errors, knots, origins
from sims.forecasting.fitting import CONTROLS, GRID, STILL, TREND, Fit, Floats, Model, difficulties, fit
from sims.forecasting.futures import BASELINES, Task, Visit, futures
from sims.forecasting.visits import BINS, VisitLog
from workbench import figures

LEVEL = 0.8
SCORES = ("learner", "log_score", *(f"over_{name.replace(' ', '_')}" for name in (*BASELINES, TREND)), "se_over_best",
          "se_over_trend", "coverage_groups", "coverage_bins", "coverage_all", "rmse_bins", "rmse_all",
          "beats_all")  # columns
JUDGING_DRAWS = 100  # simulated futures per forecast from within the fitted visits


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
class Origin:
    """Visits to forecast from: all that are fitted to, or fewer for a forecast of the rest of them.

    b: (I,) difficulties, bins: (I,) numbers in BINS, both from these visits only.
    """

    past: VisitLog
    bins: NDArray[np.int64]
    b: Floats

    @classmethod
    def after(cls, log: VisitLog, visit: int) -> Origin:
        past = log.until(visit)
        return cls(past, past.bins(visit), difficulties(past))

    def fit(self, name: str, start: Fit | None = None) -> Fit | None:
        """Of a learner or a control; nothing is fitted for a baseline."""
        return None if name in BASELINES else fit(Model(name, self.b), self.past, start)

    def errors(self, name: str, fitted: Fit | None, log: VisitLog, seed: int) -> Errors:
        """Of the forecast of the rest of a log, in the mean pass rates of the bins."""
        task = Task(self.past, log.visits, JUDGING_DRAWS, seed)
        held = np.unique(self.bins)
        member = (self.bins == held[:, None]) / np.bincount(self.bins)[held, None]  # (bins, I)
        place = (knots(self.b)[:, None] == np.arange(len(GRID))).astype(np.float64)  # (I, U)
        error, rates, moved = [], [], []
        for visit, future in zip(task.horizon, futures(name, fitted, task, self.bins), strict=True):
            rates.append(future.counts / log.attempts @ member.T)
            error.append(member @ log.counts[:, visit - 1] / log.attempts - rates[-1].mean(axis=0))
            slope = (future.p * (1 - future.p)).mean(axis=0)
            moved.append(np.log(visit / self.past.visits) * (member * slope) @ place)
        return Errors(np.concatenate(error), np.concatenate(rates, axis=1), np.concatenate(moved))


def predict(
    name: str, whole: Origin, earlier: list[Origin], task: Task
) -> tuple[Fit | None, Discrepancy, Iterator[Visit]]:
    """What is fitted, what items share beside it as judged from earlier origins, and the futures with both."""
    fitted = whole.fit(name)
    error = Discrepancy.judged([one.errors(name, one.fit(name, fitted), whole.past, task.seed) for one in earlier])
    widened = replace(task, shared=error.draw(whole.b, task.draws, task.seed))
    return fitted, error, futures(name, fitted, widened, whole.bins)


@dataclass(frozen=True)
class Tables:
    forecast: pd.DataFrame
    scores: pd.DataFrame  # no rows where the log ends with the visits fitted to
    parameters: pd.DataFrame
    items: pd.DataFrame
    observed: pd.DataFrame


def run(log: VisitLog, fit_until: int, until: int, learners: list[str], draws: int = 200, seed: int = 0) -> Tables:
    """Fit, forecast and score; progress on standard error."""
    seen = log.until(fit_until)
    everyone = (*learners, *CONTROLS, *BASELINES)
    results: dict[str, Result] = {}
    parameters: list[dict[str, Any]] = []
    # the matrices are small: a second thread of the linear algebra would only wait
    with threadpool_limits(1), tqdm(total=len(everyone) + 1, desc="real-run", unit="learner") as bar:
        whole, *earlier = (Origin.after(seen, visit) for visit in (fit_until, *origins(fit_until)))
        task = Task(seen, until, draws, seed)
        bar.update()
        for name in everyone:
            fitted, error, future = predict(name, whole, earlier, task)
            shared = {"learner": name, "log_likelihood": fitted.log_likelihood if fitted else np.nan}
            parameters += [shared | row for row in (*(fitted.table() if fitted else ()), error.row())]
            results[name] = assess(name, future, task, log, whole.bins)
            bar.update()
    forecast = pd.DataFrame([row for result in results.values() for row in result.rows])
    observed = observed_table(log, whole.bins)
    held_out = observed[observed["visit"] > fit_until]
    scores = pd.DataFrame(columns=SCORES)
    if len(held_out) and until > fit_until:
        scores = score_table(results, forecast, held_out)
    items = pd.DataFrame({"item": log.items, "bin": np.array(BINS)[whole.bins], "difficulty": whole.b})
    return Tables(forecast, scores, pd.DataFrame(parameters), items, observed)


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
