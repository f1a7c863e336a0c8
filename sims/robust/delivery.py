"""delivery: every rule and gate x how late its feedback is x batch by batch or group by group, on several learners.

An asynchronous host begins batches before the rewards of earlier ones are known, and may answer prompt by prompt. What
that costs a rule is the change of its area against feedback at once and by the batch, on the same draw and luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.special import stdtrit

from sims.paper import family
from sims.robust.drawing import COLORS, page
from sims.robust.programs import Floats, curves_of
from workbench.analysis import stats
from workbench.calibration.candidates import Candidate
from workbench.controllers import PLR, VCRL, AdaRFT, Gate, Rule
from workbench.delivery import BATCH, DELIVERIES, GROUP
from workbench.pool import Pool
from workbench.registry import BASELINE
from workbench.registry import names as names_of
from workbench.streams import run_seeds
from workbench.study.program import Program

LAGS = (0, 1, 2, 4, 8)  # batches
EVAL_EVERY = 5  # updates between records
ITEMS_PER_SLOT = 40  # items of a synthetic pool per item of a batch: batches narrow enough for a target to be missed
MARGIN = 0.01  # of area: what a change must exceed to count
LEVEL = 0.95  # of intervals over draws
SLOW = ("alp-gmm",)  # takes as long as all others together: runs when it is named
# settings beside the presets': smaller steps of rules whose step belongs to a call, AdaRFT behind a gate
SETTINGS = ("adarft eta=20", "adarft eta=10", "adarft eta=5", "adarft per=item", "adarft eta=5 per=item",
            "sec lr=0.05", "tscl lr=0.01", "progress ema=0.01", "pcl lr=0.01", "adarft+dapo")  # fmt: skip
ADARFT = ("adarft", *(name for name in SETTINGS if name.startswith("adarft ")))

Key = tuple[str, str, int, str]  # learner, label of the controller, lag, delivery


def default_controllers() -> list[str]:
    return [name for name in (*names_of(Rule), *names_of(Gate), *SETTINGS) if name not in SLOW]


def hears(controller: Candidate) -> bool:
    """Whether feedback has any effect on what it picks, or on which groups are trained on."""
    return type(controller.rule).update is not Rule.update or bool(controller.gates)


def counts_items(controller: Candidate) -> bool:
    """Whether a call per group leaves it as one call of the batch does.

    True of rules that count items, which tests/laws/test_per_call.py finds out, but for AdaRFT(per="item"), which moves
    alike to first order only, and for PLR and the gate VCRL, which tell ties apart by the order in which groups came.
    """
    ordered = any(isinstance(part, (AdaRFT, PLR, VCRL)) for part in (controller.rule, *controller.gates))
    return not (controller.rule.per_call or ordered)


@dataclass(frozen=True)
class Delivery:
    """learners x controllers x LAGS x DELIVERIES, D draws each; the baseline, uniform, is the first controller.

    A controller that hears nothing runs once: its runs are the same whenever rewards come. One that counts items runs
    by the batch only: by the group its runs are the same.
    """

    pool: Pool
    learners: list[str]
    controllers: list[Candidate]
    draws: int
    steps: int
    batch: int
    rollouts: int
    seed: int
    lags: tuple[int, ...] = field(default=LAGS)

    @property
    def late(self) -> list[Candidate]:
        """The controllers that run under every delivery."""
        return [one for one in self.controllers if hears(one)]

    def deliveries(self, controller: Candidate) -> Iterator[tuple[int, str]]:
        if not hears(controller):
            return iter([(0, BATCH)])
        return product(self.lags, (BATCH,) if counts_items(controller) else DELIVERIES)

    def programs(self) -> Iterator[tuple[Key, Program]]:
        """Each with its lanes. A draw has the same parameters and luck whatever the controller, lag and delivery."""
        seeds = run_seeds(self.seed, self.draws)
        shape = self.steps, self.batch, self.rollouts, EVAL_EVERY
        for learner in self.learners:
            law = family.draw_group_law(learner, self.draws, self.seed, self.batch)
            for one in self.controllers:
                for lag, kind in self.deliveries(one):
                    yield (learner, one.label, lag, kind), Program(
                        self.pool, law, one.rule, one.gates, seeds, *shape, keep=("success",), lag=lag, delivery=kind
                    )


def run(study: Delivery, folder: Path, jobs: int) -> dict[Key, Floats]:
    """(D,) area under success over the run, of each learner, controller that hears, lag and delivery."""
    keys, programs = zip(*study.programs(), strict=True)
    curves = curves_of(programs, folder, jobs, "delivery")
    areas = {key: np.asarray(stats.area(of["step"], of["success"], axis=0))
             for key, of in zip(keys, curves, strict=True)}  # fmt: skip
    for learner, one, lag in product(study.learners, study.late, study.lags):
        if counts_items(one):
            areas[learner, one.label, lag, GROUP] = areas[learner, one.label, lag, BATCH]
    return areas


# ---- tables ----------------------------------------------------------------------------------------------------


def interval(values: Floats) -> tuple[float, float, float]:
    """Mean over draws and its t-interval; without end for one draw."""
    mean, draws = float(values.mean()), len(values)
    if draws < 2:
        return mean, -np.inf, np.inf
    half = stdtrit(draws - 1, 0.5 + LEVEL / 2) * values.std(ddof=1) / np.sqrt(draws)
    return mean, mean - half, mean + half


def judge(low: float, high: float, margin: float) -> str:
    """safe: the interval of the change lies above -margin; worse: it lies below; else unclear."""
    return "safe" if low > -margin else "worse" if high < -margin else "unclear"


def delivery_table(study: Delivery, areas: Mapping[Key, Floats], margin: float) -> pd.DataFrame:
    """A row per learner, controller, lag and delivery: area, gain over uniform, change against lag 0 by the batch.

    ran: whether it ran so; False by the group where that is the run by the batch.
    """
    rows = []
    by_label = {one.label: one for one in study.controllers}
    for (learner, label, lag, kind), area in areas.items():
        gain, gain_low, gain_high = interval(area - areas[learner, BASELINE, 0, BATCH])
        change, low, high = interval(area - areas[learner, label, 0, BATCH])
        rows.append({
            "learner": learner, "controller": label, "lag": lag, "delivery": kind, "draws": len(area),
            "area": area.mean(), "gain": gain, "gain_low": gain_low, "gain_high": gain_high,
            "change": change, "change_low": low, "change_high": high, "verdict": judge(low, high, margin),
            "hears": hears(by_label[label]), "per_call": by_label[label].rule.per_call,
            "ran": kind == BATCH or not counts_items(by_label[label]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def safety_table(study: Delivery, table: pd.DataFrame) -> pd.DataFrame:
    """A row per controller that hears rewards: how late it may hear of them, and the worst change in any learner.

    safe_batch, safe_group: the largest lag up to which all lags tried are safe in every learner; NaN if none is.
    gain: over uniform at lag 0 by the batch, mean over learners; keeps_*: the same at the largest lag. worst_*: the
    change of the mean in the learner where it is least.
    """
    most, rows = study.lags[-1], []
    for one in study.late:
        mine = table[table["controller"] == one.label]
        told: dict[str, Any] = {"controller": one.label, "per_call": one.rule.per_call}
        told["gain"] = mine.loc[(mine["lag"] == 0) & (mine["delivery"] == BATCH), "gain"].mean()
        for kind in DELIVERIES:
            block = mine[mine["delivery"] == kind]
            safe = [bool((block.loc[block["lag"] == lag, "verdict"] == "safe").all()) for lag in study.lags]
            good = int(np.argmin([*safe, False]))
            told[f"safe_{kind}"] = study.lags[good - 1] if good else np.nan
            told[f"worst_{kind}_0"] = block.loc[block["lag"] == 0, "change"].min()
            told[f"worst_{kind}_{most}"] = block.loc[block["lag"] == most, "change"].min()
            told[f"keeps_{kind}"] = block.loc[block["lag"] == most, "gain"].mean()
        del told[f"worst_{BATCH}_0"]  # that is what all is compared with
        rows.append(told)
    return pd.DataFrame(rows)


# ---- figures ---------------------------------------------------------------------------------------------------


def paint_delivery(study: Delivery, table: pd.DataFrame) -> Figure | None:
    """A panel per learner, controllers x (delivery, lag): colour is the change in area, a cross where it is worse."""
    rows, columns = [one.label for one in study.late], list(product(DELIVERIES, study.lags))
    if not rows:
        return None
    limit = max(0.01, float(np.quantile(table["change"].abs(), 0.98)))
    with page(max(2.8, 1.7 + 0.165 * len(rows))) as figure:
        axes = figure.subplots(1, len(study.learners), sharey=True, squeeze=False)[0]
        for ax, learner in zip(axes, study.learners, strict=True):
            block = table[table["learner"] == learner].set_index(["controller", "delivery", "lag"])
            change = np.array([[block.at[(row, *column), "change"] for column in columns] for row in rows])
            image = ax.imshow(change, cmap="RdBu", norm=Normalize(-limit, limit), aspect="auto")
            for i, j in product(range(len(rows)), range(len(columns))):
                if block.at[(rows[i], *columns[j]), "verdict"] == "worse":
                    ax.text(j, i, "×", ha="center", va="center_baseline", fontsize=7,
                            color="white" if abs(change[i, j]) > 0.6 * limit else "black")  # fmt: skip
            ax.axvline(len(study.lags) - 0.5, color="black", linewidth=0.8)
            ax.set(title=learner, xticks=range(len(columns)), yticks=range(len(rows)))
            ax.set_xticklabels([str(lag) for _, lag in columns])
            ax.set_yticklabels(rows)
            ax.set_xlabel("lag (batches), by the\nbatch  |  by the group")
            ax.grid(visible=False)
            ax.tick_params(length=0)
        figure.suptitle(f"mean over {study.draws} draws; × worse, beyond the margin, than lag 0 by the batch")
        figure.colorbar(image, ax=axes, label="change in area\n(success, mean over the run)", extend="both", aspect=40)
    return figure


def paint_adarft(study: Delivery, table: pd.DataFrame) -> Figure | None:
    """AdaRFT's gain over uniform against lag, for its settings: a row per delivery, a column per learner."""
    labels = [one.label for one in study.late if one.label in ADARFT]
    if not labels:
        return None
    with page(4.4) as figure:
        axes = figure.subplots(2, len(study.learners), sharex=True, sharey="col", squeeze=False)
        at = np.arange(len(study.lags))
        for (row, kind), (column, learner) in product(enumerate(DELIVERIES), enumerate(study.learners)):
            ax = axes[row, column]
            ax.axhline(0, color="0.5", linewidth=0.8)
            for k, label in enumerate(labels):
                mine = (table["learner"] == learner) & (table["delivery"] == kind) & (table["controller"] == label)
                block = table[mine].set_index("lag").loc[list(study.lags)]
                whisker = np.abs(block[["gain_low", "gain_high"]].to_numpy().T - block["gain"].to_numpy())
                ax.errorbar(at + 0.08 * (k - (len(labels) - 1) / 2), block["gain"],
                            yerr=np.where(np.isfinite(whisker), whisker, 0), color=COLORS[k % len(COLORS)],
                            marker="os^Dv*X"[k % 7], markersize=3.5, linewidth=1, label=label)  # fmt: skip
            ax.set(xticks=at, title=learner if row == 0 else "")
            ax.set_xticklabels([str(lag) for lag in study.lags])
        axes[0, 0].set_ylabel("by the batch")
        axes[1, 0].set_ylabel("by the group")
        figure.supxlabel("lag (batches)")
        figure.supylabel("area over uniform's (success, mean over the run)")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=3,
                      title=f"AdaRFT, mean and {LEVEL:.0%} interval over {study.draws} draws")  # fmt: skip
    return figure


# ---- report ----------------------------------------------------------------------------------------------------


def report(study: Delivery, table: pd.DataFrame, safety: pd.DataFrame, margin: float) -> str:
    most = study.lags[-1]
    deaf = [one.label for one in study.controllers if not hears(one)]
    counted = [one.label for one in study.late if counts_items(one)]
    lines = [
        f"{study.draws} draws of each learner ({', '.join(study.learners)}), {study.steps} updates of {study.batch} x "
        f"{study.rollouts}, pool {study.pool.name} of {len(study.pool)} items.",
        f"safe up to: the largest lag of {', '.join(map(str, study.lags))} up to which the {LEVEL:.0%} interval of the "
        f"change in area lies above -{margin:g} in every learner.",
        "worst: the mean change in the learner where it is least. per call: a call of observe is a step of the rule.",
        f"Hear nothing, and so do not change: {', '.join(deaf)}.",
        *([f"Count items, and so are by the group what they are by the batch: {', '.join(counted)}."] * bool(counted)),
        "",
    ]
    wide = max([10, *(len(one.label) for one in study.late)])
    lines.append(f"{'':{wide}} {'per':>5} {'gain over':>10} {'safe up to lag':>16} {'worst change by the':>34}")
    lines.append(f"{'controller':{wide}} {'call':>5} {'uniform':>10} {'batch':>8}{'group':>8} "
                 f"{f'batch, {most}':>12}{'group, 0':>11}{f'group, {most}':>11}")  # fmt: skip
    for row in safety.to_dict("records"):
        lag = ["none" if np.isnan(row[f"safe_{kind}"]) else f"{row[f'safe_{kind}']:g}" for kind in DELIVERIES]
        worst = row[f"worst_{BATCH}_{most}"], row[f"worst_{GROUP}_0"], row[f"worst_{GROUP}_{most}"]
        lines.append(f"{row['controller']:{wide}} {'yes' if row['per_call'] else '':>5} {row['gain']:>+10.3f} "
                     f"{lag[0]:>8}{lag[1]:>8} {worst[0]:>+12.3f}{worst[1]:>+11.3f}{worst[2]:>+11.3f}")  # fmt: skip
    return "\n".join(lines)
