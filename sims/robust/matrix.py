"""matrix: every rule and gate x every learner of the family, over draws of the learners' parameters.

What one learner says about a curriculum may be its own opinion: a finding counts if it holds in most draws of several
kinds of learners. Source: the robust evaluation matrix, Doroudi, Aleven and Brunskill 2017, L@S, "Robust evaluation
matrix: towards a more principled offline exploration of instructional policies".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.stats import rankdata

from sims.paper import family
from sims.robust.drawing import page
from sims.robust.programs import Floats, curves_of
from workbench import figures
from workbench.analysis import stats
from workbench.pool import Pool
from workbench.registry import BASELINE, make_controller
from workbench.streams import Role, generator, run_seeds
from workbench.study.program import Program

EVAL_EVERY = 5  # updates between records
KEPT = ("success", "rollouts")
MARGIN = 0.002  # of area: success averaged over the run and all deciles
OFTEN = 0.8  # share of draws
RIVALS = ("frozen", "filter", "linear")  # that AdaRFT is held against beside uniform
ITEMS_PER_SLOT = 10  # items of a synthetic pool per item of a batch, as 10,000 to 1,024 in the paper
SLOW = {"alp-gmm": 3}  # draws where one takes a quarter of a minute: it refits its mixtures after every few groups
ALL_POOLS = "all pools"
RESAMPLES = 1000
LEVEL = 0.95  # of the intervals of rank correlations


@dataclass(frozen=True)
class Matrix:
    """pools x learners x controllers, D draws each, those in SLOW fewer; the baseline, uniform, is the first one."""

    pools: list[Pool]
    learners: list[str]
    controllers: list[str]
    draws: int
    steps: int
    batch: int
    rollouts: int
    budget: str
    seed: int

    def draws_of(self, controller: str) -> int:
        return min(self.draws, SLOW.get(controller, self.draws))

    @property
    def ranked(self) -> list[str]:
        """Those with all draws."""
        return [name for name in self.controllers if self.draws_of(name) == self.draws]

    @property
    def told_draws(self) -> str:
        fewer = ", ".join(f"{self.draws_of(name)} for {name}" for name in self.controllers
                          if self.draws_of(name) < self.draws)
        return f"{self.draws} draws" + (f" ({fewer})" if fewer else "")

    def programs(self) -> Iterator[tuple[tuple[str, str, str], Program]]:
        """(pool, learner, controller) and its lanes. A draw has the same luck whatever the controller and the pool."""
        seeds = run_seeds(self.seed, self.draws)
        laws = {name: family.draw_group_law(name, self.draws, self.seed, self.batch) for name in self.learners}
        for pool, learner, controller in product(self.pools, self.learners, self.controllers):
            rule, gates = make_controller(controller, horizon=self.steps)
            shape = self.steps, self.batch, self.rollouts, EVAL_EVERY, self.budget
            some = self.draws_of(controller)
            law = family.first_draws(laws[learner], some)
            yield (pool.name, learner, controller), Program(pool, law, rule, tuple(gates), seeds[:some], *shape,
                                                                  keep=KEPT)


@dataclass(frozen=True)
class Areas:
    """area, rollouts: (pool, learner, controller) -> (D,) mean success over the run, and attempts spent by its end.

    A controller of fewer draws has the first ones.
    """

    area: Mapping[tuple[str, str, str], Floats]
    rollouts: Mapping[tuple[str, str, str], Floats]

    def gain(self, pool: str, learner: str, controller: str, over: str = BASELINE) -> Floats:
        """(D,) area over that of another controller, on the same draw and luck, where both have it."""
        mine, other = self.area[pool, learner, controller], self.area[pool, learner, over]
        some = min(len(mine), len(other))
        return mine[:some] - other[:some]


def run(matrix: Matrix, folder: Path, jobs: int) -> Areas:
    keys, programs = zip(*matrix.programs(), strict=True)
    curves = curves_of(programs, folder, jobs, "matrix")
    area = {
        key: np.asarray(stats.area(of["step"], of["success"], axis=0))
        for key, of in zip(keys, curves, strict=True)
    }
    return Areas(area, {key: of["rollouts"][-1].astype(np.float64) for key, of in zip(keys, curves, strict=True)})


# ---- tables ----------------------------------------------------------------------------------------------------


def matrix_table(matrix: Matrix, areas: Areas, margin: float) -> pd.DataFrame:
    """A row per pool, learner and controller: median area and difference to uniform, 80 % interval over draws."""
    rows = []
    for pool, learner, controller in areas.area:
        gain = areas.gain(pool, learner, controller)
        low, middle, high = np.quantile(gain, [0.1, 0.5, 0.9])
        spent = areas.rollouts[pool, learner, controller].mean() / areas.rollouts[pool, learner, BASELINE].mean()
        rows.append({"pool": pool, "learner": learner, "structure": family.FAMILY[learner].structure,
                     "controller": controller, "draws": len(gain),
                     "area": np.median(areas.area[pool, learner, controller]), "difference": middle,
                     "lower80": low, "upper80": high, "share_better": float(np.mean(gain > margin)),
                     "share_worse": float(np.mean(gain < -margin)), "rollouts": spent})  # fmt: skip
    return pd.DataFrame(rows)


def spearman_table(matrix: Matrix, areas: Areas, margin: float) -> pd.DataFrame:
    """A row per pool and pair of learners: rank correlation of the controllers' mean areas over uniform's.

    These are rounded to whole margins, so that what nobody could notice ranks nothing; NaN where all are level then.
    Intervals: percentile bootstrap over the draws of each learner. Controllers of fewer draws are left out: a mean over
    other draws than those of the rest would rank the draws.
    """
    names, ranked = [pool.name for pool in matrix.pools], matrix.ranked
    resampled = {}
    for place, learner in enumerate(matrix.learners):
        luck = generator(matrix.seed, Role.BOOTSTRAP, place).integers(matrix.draws, size=(RESAMPLES, matrix.draws))
        draws = np.concatenate([np.arange(matrix.draws)[None], luck])  # the first are the draws as they are
        means = np.array([[areas.gain(pool, learner, controller)[draws].mean(axis=1)
                           for controller in ranked] for pool in names])  # fmt: skip
        means = np.array([*means, means.mean(axis=0)])  # (pools + 1, C, 1 + N)
        means = np.round(means / margin) if margin else means
        resampled[learner] = dict(zip([*names, ALL_POOLS], means, strict=True))
    rows = []
    for pool in [*names, ALL_POOLS] if len(names) > 1 else names:
        for one, other in combinations(matrix.learners, 2):
            rho = rank_correlation(resampled[one][pool].T, resampled[other][pool].T)
            low, high = interval(rho[1:])
            rows.append((pool, one, other, rho[0], low, high, len(ranked)))
    return pd.DataFrame(rows, columns=["pool", "learner", "other", "rho", "low", "high", "controllers"])


def rank_correlation(x: Floats, y: Floats) -> Floats:
    """(N,) Spearman's rho between rows of (N, C); ties share ranks, NaN where all are tied.

    Numbers that agree to nine decimals are ties: nothing else separates rules that a learner cannot tell apart.
    """
    one, other = (rankdata(np.round(values, 9), axis=1) for values in (x, y))
    one, other = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, other))
    with np.errstate(invalid="ignore"):
        return np.asarray((one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1)))


def interval(values: Floats) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not known.size:
        return np.nan, np.nan
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def findings_table(matrix: Matrix, areas: Areas, margin: float) -> pd.DataFrame:
    """A row per claim "controller beats / loses to another on a pool": verdict, and share of draws per learner."""
    pairs = [(controller, BASELINE) for controller in matrix.controllers if controller != BASELINE]
    if "adarft" in matrix.controllers:
        pairs += [("adarft", rival) for rival in RIVALS if rival in matrix.controllers]
    rows = []
    for pool, (controller, other) in product([pool.name for pool in matrix.pools], pairs):
        gains = {learner: areas.gain(pool, learner, controller, other) for learner in matrix.learners}
        better = {learner: float(np.mean(gain > margin)) for learner, gain in gains.items()}
        worse = {learner: float(np.mean(gain < -margin)) for learner, gain in gains.items()}
        for claim, holds, reverse in (("beats", better, worse), ("loses to", worse, better)):
            told = {"pool": pool, "controller": controller, "claim": claim, "against": other}
            rows.append(told | judge(holds, reverse) | {f"share_{name}": share for name, share in holds.items()})
    return pd.DataFrame(rows)


def judge(holds: Mapping[str, float], reverse: Mapping[str, float]) -> dict[str, str]:
    """The verdict on a claim from the share of draws in which it, and its reverse, hold in each learner.

    A kind of learner supports it if one of its learners does, in >= 80 % of the draws; a learner contradicts it if the
    reverse holds in as many. Supported and contradicted: contested. Otherwise, supported by two kinds or more:
    survives; by one: artefact of one learner; by none: not found.
    """
    structure = {name: family.FAMILY[name].structure for name in holds}
    supported = list(dict.fromkeys(structure[name] for name, share in holds.items() if share >= OFTEN))
    contradicted = [name for name, share in reverse.items() if share >= OFTEN]
    if not supported:
        verdict = "not found"
    elif contradicted:
        verdict = "contested"
    else:
        verdict = "survives" if len(supported) > 1 else "artefact of one learner"
    return {"verdict": verdict, "supported_by": "; ".join(supported), "contradicted_by": "; ".join(contradicted)}


# ---- figures ---------------------------------------------------------------------------------------------------


def paint_matrix(matrix: Matrix, table: pd.DataFrame) -> Figure:
    """A panel per pool, controllers x learners: colour is the difference to uniform, marks are >= 80 % of draws."""
    rows = [name for name in matrix.controllers if name != BASELINE]
    limit = max(0.01, float(np.quantile(table["difference"].abs(), 0.98)))
    with page(1.6 + 0.155 * len(rows)) as figure:
        axes = figure.subplots(1, len(matrix.pools), sharey=True, squeeze=False)[0]
        for ax, pool in zip(axes, matrix.pools, strict=True):
            block = table[table["pool"] == pool.name].pivot(index="controller", columns="learner")
            at = {name: block[name].loc[rows, matrix.learners].to_numpy()
                  for name in ("difference", "share_better", "share_worse")}  # fmt: skip
            image = ax.imshow(at["difference"], cmap="RdBu", norm=Normalize(-limit, limit), aspect="auto")
            for sign, share in (("+", at["share_better"]), ("−", at["share_worse"])):
                for i, j in zip(*np.nonzero(share >= OFTEN), strict=True):
                    strong = abs(at["difference"][i, j]) > 0.6 * limit
                    ax.text(j, i, sign, ha="center", va="center", color="white" if strong else "black")
            ax.set(title=pool.name, xticks=range(len(matrix.learners)), yticks=range(len(rows)))
            ax.set_xticklabels(matrix.learners, rotation=90)
            ax.set_yticklabels(rows)
            ax.grid(visible=False)
            ax.tick_params(length=0)
            kinds = [family.FAMILY[name].structure for name in matrix.learners]
            for j in range(1, len(kinds)):
                if kinds[j] != kinds[j - 1]:  # a line between kinds of learners
                    ax.axvline(j - 0.5, color="black", linewidth=0.6)
        figure.suptitle(f"+ better, − worse than uniform in at least {OFTEN:.0%} of {matrix.told_draws}; "
                        "lines part kinds of learners")  # fmt: skip
        figure.supxlabel("learner")
        figure.colorbar(image, ax=axes, label="area over uniform's, median over draws\n(success, mean over the run)",
                        extend="both", aspect=40)  # fmt: skip
    return figure


def paint_spearman(matrix: Matrix, table: pd.DataFrame) -> Figure:
    """Learners x learners, over all pools: above the diagonal rho as colour and number, below it the interval."""
    block = table[table["pool"] == table["pool"].iloc[-1]]
    n = len(matrix.learners)
    rho, text = np.full((n, n), np.nan), np.full((n, n), "", dtype=object)
    for row in block.to_dict("records"):
        i, j = matrix.learners.index(row["learner"]), matrix.learners.index(row["other"])
        rho[i, j] = row["rho"]
        known = not np.isnan(row["rho"])
        text[i, j] = f"{row['rho']:.2f}" if known else "n/a"
        text[j, i] = f"{row['low']:.2f}\nto {row['high']:.2f}" if known else ""
    with page(1.0 + 0.42 * n) as figure:
        ax = figure.subplots()
        image = ax.imshow(rho, cmap="RdBu", norm=Normalize(-1, 1), aspect="auto")
        for i, j in product(range(n), repeat=2):
            dark = abs(np.nan_to_num(rho[i, j])) > 0.6
            ax.text(j, i, text[i, j], ha="center", va="center", color="white" if dark else "black")
        ax.set(xticks=range(n), yticks=range(n), xlabel="learner", ylabel="learner",
               title=f"{block['pool'].iloc[0]}, {len(matrix.ranked)} controllers; below the diagonal "
                     f"{LEVEL:.0%} intervals over draws")  # fmt: skip
        ax.set_xticklabels(matrix.learners)
        ax.set_yticklabels(matrix.learners)
        ax.grid(visible=False)
        figure.colorbar(image, ax=ax, label="Spearman's ρ of mean areas")
    return figure


def paint_adarft(matrix: Matrix, areas: Areas) -> Figure | None:
    """AdaRFT's area over that of uniform and its rivals, median and 80 % interval over draws, per learner and pool."""
    others = [name for name in (BASELINE, *RIVALS) if name in matrix.controllers]
    if "adarft" not in matrix.controllers:
        return None
    with page(1.2 + 0.32 * len(matrix.learners)) as figure:
        axes = figure.subplots(1, len(matrix.pools), sharex=True, sharey=True, squeeze=False)[0]
        for ax, pool in zip(axes, matrix.pools, strict=True):
            ax.axvline(0, color="0.5", linewidth=0.8)
            for k, other in enumerate(others):
                at = np.arange(len(matrix.learners)) + 0.2 * (k - (len(others) - 1) / 2)
                gains = [areas.gain(pool.name, learner, "adarft", other) for learner in matrix.learners]
                low, middle, high = np.quantile(gains, [0.1, 0.5, 0.9], axis=1)
                look = figures.LOOKS[other]
                ax.errorbar(middle, at, xerr=[middle - low, high - middle], fmt=look.marker, color=look.color,
                            markersize=3, linewidth=1, label=other)  # fmt: skip
            ax.set(title=pool.name, yticks=range(len(matrix.learners)))
            ax.set_yticklabels(matrix.learners)
        axes[0].invert_yaxis()
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(others),
                      title=f"AdaRFT against (median and 80 % interval over {matrix.draws} draws)")  # fmt: skip
        figure.supxlabel("AdaRFT's area minus the other's (success, mean over the run)")
    return figure


# ---- report ----------------------------------------------------------------------------------------------------

SIGNS = {"survives": "survives", "contested": "contested", "artefact of one learner": "artefact", "not found": "-"}


def report(matrix: Matrix, spearman: pd.DataFrame, findings: pd.DataFrame, margin: float) -> str:
    kinds = dict.fromkeys(family.FAMILY[name].structure for name in matrix.learners)
    members = {kind: [n for n in matrix.learners if family.FAMILY[n].structure == kind] for kind in kinds}
    alike = "updates" if matrix.budget == "steps" else matrix.budget
    lines = [f"{matrix.told_draws} of each learner, {matrix.steps} updates of {matrix.batch} x {matrix.rollouts}, "
             f"equal {alike} for all.",
             f"A win is an area more than {margin:g} larger. Kinds of learners: "
             + "; ".join(f"{kind} ({', '.join(names)})" for kind, names in members.items()) + "."]  # fmt: skip
    if len(kinds) < 2:
        lines.append("One kind of learner only: nothing can survive.")
    for claim in ("beats", "loses to"):
        block = findings[(findings["claim"] == claim) & (findings["against"] == BASELINE)]
        lines += ["", f"{claim} uniform:", *verdict_lines(block, "controller")]
    block = findings[(findings["controller"] == "adarft") & (findings["against"] != BASELINE)]
    if len(block):
        lines += ["", "AdaRFT:", *verdict_lines(block.assign(what=block["claim"] + " " + block["against"]), "what")]
    pool = spearman[spearman["pool"] == spearman["pool"].iloc[-1]].dropna() if len(spearman) else spearman
    if len(pool):
        low, high = pool.iloc[int(pool["rho"].argmin())], pool.iloc[int(pool["rho"].argmax())]
        lines += ["", f"Rankings of controllers ({pool['pool'].iloc[0]}) agree least between {told(low)}, "
                      f"most between {told(high)}; median {pool['rho'].median():.2f}."]  # fmt: skip
    lines.append("survives (k): in >= 80 % of draws of k kinds of learners, reversed in none; artefact: of one kind; "
                 "contested: reversed in >= 80 % of draws of some.")  # fmt: skip
    return "\n".join(lines)


def verdict_lines(block: pd.DataFrame, of: str) -> list[str]:
    """Rows x pools: verdict, with the kinds that support and the learners that contradict it."""
    shown = block.apply(_shown, axis=1)
    table = block.assign(shown=shown).pivot(index=of, columns="pool", values="shown")
    table = table.loc[list(dict.fromkeys(block[of])), list(dict.fromkeys(block["pool"]))]
    table = table[(table != "-").any(axis=1)]
    if table.empty:
        return ["  nothing"]
    return [f"  {line}" for line in table.rename_axis(None).rename_axis(None, axis=1).to_string().splitlines()]


def _shown(row: pd.Series[Any]) -> str:
    kinds = row["supported_by"].split("; ")
    extra = {"survives": f" ({len(kinds)})", "contested": f" (not {row['contradicted_by']})",
             "artefact of one learner": f" ({kinds[0]})", "not found": ""}[row["verdict"]]  # fmt: skip
    return SIGNS[row["verdict"]] + extra


def told(row: pd.Series[Any]) -> str:
    return f"{row['learner']} and {row['other']} ({row['rho']:.2f} [{row['low']:.2f}, {row['high']:.2f}])"
