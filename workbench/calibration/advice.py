"""What each candidate would save, with which odds, and what would change the advice."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workbench.calibration.candidates import Candidate
from workbench.calibration.discrepancy import OF_REAL_RUNS, Discrepancy, exposed
from workbench.calibration.fit import BEYOND, Fit
from workbench.calibration.futures import LEAST
from workbench.controllers import Controller
from workbench.display import Report, as_html
from workbench.errors import InputError, as_numbers, check_choice, check_kind
from workbench.extras import named_extra
from workbench.files import check_folder, write_whole
from workbench.lanes import Floats

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

INTERVAL = (0.1, 0.9)
# The chance of being no better than uniform above which the advice is to stay with it: the end of an 80 % interval.
# Real runs came out below their forecasts more often than above (`real_runs/results/forecasts`).
DOUBT = 0.1
GAIN = 0.005  # success that uniform must gain for a saving to be defined


@dataclass(frozen=True, eq=False, repr=False)
class Advice:
    """What each candidate would save, and with which odds.

    candidates: uniform first. success: (C, E, R) mean success over the pool's items at `steps` (E,) in R futures.
    rollouts: (C, E, R) spent. narrowness: (C, E, R) of the batches so far, on average (`Task.futures`). law:
    (R,) name of the law behind each future. left_out: candidates and why. labels_cost: rollouts that labels cost, for
    candidates that read them. lag: batches by which rewards came late. discrepancy: what success has lost to narrow
    batches, if anything.
    """

    fit: Fit
    candidates: tuple[Candidate, ...]
    steps: NDArray[np.int64]
    success: Floats
    rollouts: Floats
    narrowness: Floats
    law: NDArray[Any]
    left_out: dict[str, str]
    labels_cost: int = 0
    lag: int = 0
    discrepancy: Discrepancy | None = None

    def __repr__(self) -> str:
        return f"Advice({self.advised!r})"

    def _repr_html_(self) -> str:
        return as_html("Advice", {row["controller"]: f"saves {self._interval(row)}" for row in self._rows})

    @cached_property
    def gain(self) -> Floats:
        """(C, R) area under the success curve over rollouts, less uniform's, in success."""
        areas = self.areas(self.success)
        return np.asarray(areas - areas[0])

    def areas(self, series: Floats) -> Floats:
        """(C, R) area under a series (C, E, R) over rollouts, up to the fewest that a future of uniform spends.

        The mean of the series over these rollouts, so in its own unit. Raises InputError for another shape.
        """
        series = as_numbers("series", series)
        if series.shape != self.rollouts.shape:
            raise InputError(f"series: must have the shape {self.rollouts.shape} of rollouts, got {series.shape}")
        horizon = self.rollouts[0, -1].min()
        return np.array([[_area(x, y, horizon) for x, y in zip(r.T, s.T, strict=True)]
                         for r, s in zip(self.rollouts, series, strict=True)])  # fmt: skip

    def less(self, discrepancy: Discrepancy, seed: int = 0) -> Advice:
        """The same futures, of which narrow batches have lost what the discrepancy says. seed: of its draws, in
        [0, 2^32).

        Raises InputError where they have lost it already: `advise(fit, discrepancy=None)` gives futures by laws alone.
        """
        check_kind("discrepancy", discrepancy, Discrepancy, "a Discrepancy such as Discrepancy(0.4, 0.2)")
        if self.discrepancy is not None:
            raise InputError("discrepancy: must be of futures by the laws alone, advise(fit, discrepancy=None), got "
                             f"futures that have lost {self.discrepancy} already")  # fmt: skip
        lost = discrepancy.draws(len(self.law), seed) * exposed(self.success, self.narrowness)
        return replace(self, success=np.clip(self.success - lost, 0.0, 1.0), discrepancy=discrepancy)

    @cached_property
    def saved(self) -> Floats:
        """(C, R) share of uniform's rollouts that are saved to reach what uniform reaches at its end.

        Negative where a candidate ends below: 1 - its rollouts over those that uniform needs to reach that end. NaN in
        futures in which uniform gains less than GAIN.
        """
        base, *_ = spent = [list(zip(x.T, y.T, strict=True)) for x, y in zip(self.rollouts, self.success, strict=True)]
        return np.array([[saving(*b, *own) for b, own in zip(base, mine, strict=True)] for mine in spent])

    @cached_property
    def best(self) -> int:
        """The candidate with the largest mean gain in area."""
        return int(self.gain.mean(axis=1).argmax())

    @property
    def no_better(self) -> Floats:
        """(C,) share of the futures in which a candidate is no better than uniform."""
        return np.asarray((self.gain <= 0).mean(axis=1))

    @property
    def advised(self) -> str:
        """The label of the advised candidate: the best one, or uniform where the doubt is too large."""
        doubtful = self.no_better[self.best] > DOUBT
        return self.candidates[0 if doubtful else self.best].label

    @property
    def _rows(self) -> list[dict[str, Any]]:
        winner = self.gain.argmax(axis=0)
        rows = []
        for c in np.argsort(-self.gain.mean(axis=1), kind="stable"):
            low, middle, high = _quantiles(self.saved[c])
            less, area, more = _quantiles(self.gain[c])
            rows.append({
                "controller": self.candidates[c].label,
                "saved": middle, "saved_low": low, "saved_high": high,
                "gain": area, "gain_low": less, "gain_high": more,
                "best": float((winner == c).mean()), "no_better": float(self.no_better[c]) if c else np.nan,
                "final": float(self.success[c, -1].mean()), "labels": bool(self.candidates[c].rule.labels),
            })  # fmt: skip
        return rows

    @property
    def table(self) -> pd.DataFrame:
        """A row per candidate, the best first: saved, gain (medians) with 80 % intervals, best and no_better (chances),
        final (mean success at the end), labels (whether it reads labels)."""
        with named_extra():
            import pandas as pd

        return pd.DataFrame(self._rows)

    @staticmethod
    def _interval(row: dict[str, Any]) -> str:
        if np.isnan(row["saved"]):
            return "not defined: uniform gains too little"
        return "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * row[name] for name in ("saved", "saved_low", "saved_high")))

    @property
    def changes(self) -> list[str]:
        """What would change the advice, a sentence each: laws under which another candidate leads."""
        told = []
        for name, weight in self.fit.ranked:
            mine = self.law == name
            if weight < 5 * LEAST or mine.sum() < 2:
                continue
            gains = self.gain[:, mine].mean(axis=1)
            leader = self.candidates[int(gains.argmax())].label
            worth = gains.max()
            if worth < GAIN / 2:
                told.append(f"If learning is {name} (weight {weight:.2f}), nothing is worth more than uniform.")
            elif leader != self.advised:
                told.append(f"If learning is {name} (weight {weight:.2f}), {leader} leads (gain in area {worth:+.3f}).")
        return told

    def report(self) -> str:
        """The advice, its odds, what would change it and what it does not cover, as text."""
        weights = ", ".join(f"{name} {w:.2f}" for name, w in self.fit.ranked if w >= LEAST)
        return Report("\n".join([
            f"From the log: {self.fit.log.understood}.", "", *self._verdict(), "", *self._table_lines(), "",
            f"Learners by weight: {weights}.", *self.fit.unknown, *self.changes,
            *(f"{name} was left out: {why}." for name, why in self.left_out.items()),
            *self._late(), *self.doubts,
        ]))  # fmt: skip

    @property
    def doubts(self) -> list[str]:
        """What the futures leave out, a sentence each."""
        late = "group by group" if self.lag else "late"
        told = [f"{BEYOND[:-1]}, and rewards that arrive {late}."]
        if self.discrepancy is not None:
            seen = ", as in real runs of two small models (real_runs/results/forecasts)"
            told.append(f"Batches of one difficulty lose {self.discrepancy} of the gain that the learners give them"
                        f"{seen if self.discrepancy == OF_REAL_RUNS else ''}; wider ones lose less, in proportion.")
        else:
            told.append("Narrow batches gain all that the learners give them; in real runs they gained less.")
        if self.advised != self.candidates[0].label:
            told.append("A log does not show what a model unlearns of problems that it no longer meets. In real runs "
                        "that turned gains that were foretold into losses (real_runs/results/forecasts): try the "
                        "advised curriculum in a short pilot first.")  # fmt: skip
        return told

    def _late(self) -> list[str]:
        """How late rewards came in the futures, where they did."""
        if not self.lag:
            return []
        return [f"In these futures the curriculum hears of rewards {self.lag} batch{'es' * (self.lag > 1)} late."]

    def _verdict(self) -> list[str]:
        """The advice and its odds."""
        row = next(row for row in self._rows if row["controller"] == self.advised)
        if self.advised == self.candidates[0].label:
            doubt = f"{self.candidates[self.best].label}, the best of the others, is no better in "
            share = f"{doubt}{self.no_better[self.best]:.0%} of futures; a change is advised up to {DOUBT:.0%}"
            reason = share if self.best else "nothing tried is better"
            return [f"Stay with uniform: {reason}."]
        total = self.rollouts[0, -1].mean()
        lines = [
            f"Use {self.advised}: to the success that uniform has after {self.steps[-1]} updates "
            f"({total:,.0f} rollouts) it saves {self._interval(row)} of the rollouts (80 % interval).",
            f"Chance that it is the best of the {len(self.candidates)} tried: {row['best']:.2f}; that it is no better "
            f"than uniform: {row['no_better']:.2f}.",
        ]  # fmt: skip
        if self.labels_cost and row["labels"]:
            spent = row["saved"] * total
            times = f", {self.labels_cost / spent:.1f} times what it saves once" if spent > 0 else ""
            lines.append(f"Its labels cost {self.labels_cost:,} rollouts{times}.")
        return lines

    def _table_lines(self) -> list[str]:
        lines = [f"{'controller':<18}{'saved':>22}{'gain in area':>26}{'best':>7}{'no better':>11}{'final':>8}"]
        for row in self._rows:
            gain = f"{row['gain']:+.3f} [{row['gain_low']:+.3f}, {row['gain_high']:+.3f}]"
            worse = "" if np.isnan(row["no_better"]) else f"{row['no_better']:.2f}"
            told = f"{row['controller']:<18}{self._interval(row):>22}{gain:>26}{row['best']:>7.2f}{worse:>11}"
            lines.append(f"{told}{row['final']:>8.3f}")
        return lines

    def foretold(self, curves: pd.DataFrame) -> pd.DataFrame:
        """What was foretold of runs that followed, beside what they reached: the table of `figures.calibration_plot`.

        curves: `controller` (labels as in `table`), `step`, `success` and, for several runs, `seed`; success is the
        mean over the pool's items, as the advice has it. Columns: controller; predicted, mean success over futures at
        the last step, with the ends of its 80 % interval; observed, the mean over runs at their last step, with the
        ends of its 95 % interval (`stats.interval` of the mean); runs. Other controllers are left out.
        Raises InputError for missing columns, and where no candidate has run.
        """
        with named_extra():
            import pandas as pd

            from workbench.analysis.frame import check_numbers, check_table
            from workbench.analysis.stats import interval
        keys = ["controller", "step", "success"]
        curves = check_table(curves, "curves", keys)
        check_numbers(curves, "curves", ["step", "success"], finite=True)
        curves = curves if "seed" in curves else curves.assign(seed=0)
        last = curves.sort_values("step", kind="stable").groupby(["controller", "seed"], observed=True).tail(1)
        rows = []
        for c, candidate in enumerate(self.candidates):
            reached_by = last.loc[last["controller"] == candidate.label, "success"].to_numpy(np.float64)
            if not len(reached_by):
                continue
            low, _, high = _quantiles(self.success[c, -1])
            mean, less, more = interval(reached_by, np.mean)
            rows.append({"controller": candidate.label, "predicted": float(self.success[c, -1].mean()),
                         "predicted_low": low, "predicted_high": high, "observed": mean, "observed_low": less,
                         "observed_high": more, "runs": len(reached_by)})  # fmt: skip
        if not rows:
            known = ", ".join(one.label for one in self.candidates)
            raise InputError(f"curves: must have a run of a candidate ({known}), got none")
        return pd.DataFrame(rows)

    def plot(self, kind: str = "odds", **settings: Any) -> Figure:
        """A figure. kind: "odds", what each candidate saves or gains, with 80 % intervals, or "calibration", what was
        foretold of runs beside what they reached, which takes their `curves` (`foretold`). settings: of
        `workbench.figures.advice_forest` or `workbench.figures.calibration_plot`."""
        from workbench import figures

        check_choice("kind", kind, ("odds", "calibration"))
        if kind == "calibration":
            return figures.calibration_plot(self.foretold(settings.pop("curves", None)), **settings)
        return figures.advice_forest(self.table, **settings)

    def controller(self, seed: int = 0) -> Controller:
        """The advised controller on the pool, as a new run would begin it."""
        chosen = next(one for one in self.candidates if one.label == self.advised)
        return Controller(chosen.rule, self.fit.pool, chosen.gates, seed=seed)

    def report_html(self, command: str = "") -> str:
        """The report as one file of HTML that fetches nothing. command: the line of a shell that made the advice."""
        from workbench.calibration.page import advice_page

        return advice_page(self, command).html()

    def save(self, folder: str | os.PathLike[str], *, html: bool = True, command: str = "") -> Path:
        """Write advice.json, controller.json, table.csv, report.txt and report.html, each whole or not at all. Returns
        the folder. html: whether report.html is among them. command: as in `report_html`."""
        path = check_folder("folder", folder)
        chosen = next(one for one in self.candidates if one.label == self.advised)
        known = int, float, str, bool
        settings = {key: value if isinstance(value, known) else repr(value) for key, value in chosen.settings}
        steps = int(self.steps[-1])
        rows = [{key: None if value != value else value for key, value in row.items()} for row in self._rows]
        lost = None if self.discrepancy is None else {"mean": self.discrepancy.mean, "sd": self.discrepancy.sd}
        advice = {"advised": self.advised, "steps": steps, "lag": self.lag, "discrepancy": lost, "candidates": rows,
                  "weights": self.fit.weights, "unknown": self.fit.unknown, "changes": self.changes,
                  "left_out": self.left_out, "log": self.fit.log.understood}  # fmt: skip
        controller = {"controller": chosen.name, "settings": settings, "steps": steps}
        for name, content in (("advice", advice), ("controller", controller)):
            write_whole(path / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())
        write_whole(path / "table.csv", self.table.to_csv(index=False).encode())
        write_whole(path / "report.txt", (self.report() + "\n").encode())
        if html:
            write_whole(path / "report.html", self.report_html(command).encode())
        else:  # of an earlier advice
            (path / "report.html").unlink(missing_ok=True)
        return path


def _quantiles(values: Floats) -> tuple[float, float, float]:
    known = values[np.isfinite(values)]
    if len(known) < len(values) / 2:
        return np.nan, np.nan, np.nan
    low, middle, high = np.quantile(known, [INTERVAL[0], 0.5, INTERVAL[1]])
    return float(low), float(middle), float(high)


def _area(x: Floats, y: Floats, horizon: float) -> float:
    """Mean of y over x from 0 to the horizon, linear between records and level after the last."""
    xs = np.append(x[x < horizon], horizon)
    ys = np.interp(xs, x, y)
    return float(np.sum(np.diff(xs) * (ys[1:] + ys[:-1]) / 2) / horizon)


def reached(x: Floats, y: Floats, level: float) -> float:
    """The first x at which y reaches a level, linear between records; infinite where it does not."""
    above = np.flatnonzero(y >= level)
    if not above.size:
        return np.inf
    k = above[0]
    if k == 0:
        return float(x[0])
    return float(x[k - 1] + (x[k] - x[k - 1]) * (level - y[k - 1]) / (y[k] - y[k - 1]))


def saving(base_x: Floats, base_y: Floats, x: Floats, y: Floats) -> float:
    """Share of the baseline's x that is saved to reach its end; see `Advice.saved`."""
    if base_y[-1] - base_y[0] < GAIN:
        return np.nan
    here, total = reached(x, y, base_y[-1]), base_x[-1]
    if np.isfinite(here):
        return float(1 - here / total)
    at = reached(base_x, base_y, y[-1])
    return float(max(1 - x[-1] / at, -9.0)) if at > 0 else -9.0
