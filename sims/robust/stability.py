"""stability: where AdaRFT's loop from reward to target settles, and where it swings.

The learner does not move (kappa = 0) and labels are exact, so that what moves is the loop alone. With s the slope of
the logit of success per unit of difficulty, e = T - T* the distance from the target at which R = beta:

    G = eta alpha s beta (1 - beta)                               loop gain: e' = (1 - G) e + noise, near T*
    G < 1 settles, 1 < G < 2 overshoots and settles, G > 2 swings for ever
    Var(T) = (eta alpha)^2 Var(R) / (G (2 - G)),   Var(R) = beta (1 - beta) / (B n),   lag-1 autocorrelation 1 - G
    for G > 2, at beta = 1/2 and without noise: T* + A, T* - A in turn, eta tanh(alpha (sigma(s A) - 1/2)) = 2 A

Source: ours, T <- T + eta tanh(alpha (R - beta)) (Algorithm 1 of arXiv 2504.05520) linearised at its fixed point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.optimize import brentq
from scipy.special import expit, stdtrit

from sims.robust.drawing import COLORS, page
from sims.robust.programs import Floats, curves_of
from workbench.controllers import AdaRFT
from workbench.learners import Critic, ScalarIRT, difficulty_to_logit
from workbench.pool import Pool
from workbench.streams import run_seeds
from workbench.study.program import Program

BETA, ALPHA, ETA = 0.5, 2.0, 50.0  # published
SLOPE = 0.04  # logits per unit of difficulty of the straight pool at a = 1: that of pass rates at d = 50
ITEMS = 50_000  # of the straight pool: a batch of 1,024 spans two units of difficulty
LANES = 128  # runs side by side in one program
LINE_ETA = 25.0  # along the line; the slope makes the gain
LEVEL = 0.95


@dataclass(frozen=True)
class Setting:
    """Grids of n x n points; steps: updates of a run, of which the first half or at most 100 do not count."""

    points: int
    seeds: int
    steps: int
    batch: int
    pools: tuple[str, ...]
    seed: int

    @property
    def settled(self) -> int:
        return min(100, self.steps // 2)


class Swings(NamedTuple):
    """How T moves once it has settled, each (N, S) over S seeds."""

    square: Floats  # mean of (T - T*)^2, units of difficulty squared
    own: Floats  # variance about its own mean: what is left where T* is out of reach
    lag1: Floats  # lag-1 autocorrelation of T


def straight_pool() -> Pool:
    return Pool(np.linspace(0.0, 100.0, ITEMS), name="straight")


def loop_gain(eta: Any, alpha: Any, slope: Any, beta: float = BETA) -> Any:
    """G, no unit; eta: units of difficulty; slope: logits per unit of difficulty."""
    return eta * alpha * slope * beta * (1 - beta)


def linear_variance(eta: Any, alpha: Any, gain: Any, batch: int, beta: float = BETA) -> Any:
    """Var(T) of the linear loop with single rollouts, units of difficulty squared; infinite from G = 2 on."""
    gain = np.asarray(gain, dtype=np.float64)
    noise = (np.asarray(eta) * alpha) ** 2 * beta * (1 - beta) / batch
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gain < 2, noise / (gain * (2 - gain)), np.inf)


def cycle_amplitude(eta: float, alpha: float, slope: float) -> float:
    """A of the swing T* - A, T* + A without noise at beta = 1/2, units of difficulty; 0 for G <= 2."""
    if loop_gain(eta, alpha, slope) <= 2:
        return 0.0
    def missing(a: float) -> float:
        return float(eta * np.tanh(alpha * (expit(slope * a) - 0.5)) - 2 * a)

    return float(brentq(missing, 1e-9, eta / 2 + 1.0))


def simulate(
    pool: Pool,
    b: Floats,
    lanes: Mapping[str, Floats],
    setting: Setting,
    at: Floats,
    folder: Path,
    jobs: int,
    what: str,
) -> Swings:
    """N points on S seeds. lanes: eta, alpha, a, theta0 (N,); at: (N,) T*, where T starts too."""
    seeds = run_seeds(setting.seed, setting.seeds)
    count = len(at)
    programs = []
    for part in np.array_split(np.arange(count), -(-count * setting.seeds // LANES)):
        eta, alpha, a, theta0 = (np.repeat(lanes[n][part], setting.seeds) for n in ("eta", "alpha", "a", "theta0"))
        law = ScalarIRT(theta0=theta0, kappa=0.0, a=a, label_noise=0.0, signal=Critic())
        rule = AdaRFT(beta=BETA, alpha=alpha, eta=eta, start=np.repeat(at[part], setting.seeds))
        programs.append(Program(pool, law, rule, (), np.tile(seeds, len(part)), setting.steps, setting.batch, 1, 1,
                                keep=("target",), b=b))  # fmt: skip
    targets = np.concatenate([of["target"] for of in curves_of(programs, folder, jobs, what)], axis=1)
    error = targets[setting.settled :] - np.repeat(at, setting.seeds)
    found = (error**2).mean(axis=0), error.var(axis=0), lag1(error)
    return Swings(*(values.reshape(count, setting.seeds) for values in found))


def lag1(error: Floats) -> Floats:
    """(N,) lag-1 autocorrelation of series (E, N) about their means; NaN for one that rests."""
    own = error - error.mean(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray((own[1:] * own[:-1]).sum(axis=0) / (own**2).sum(axis=0))


def table_of(swings: Swings, **columns: Any) -> pd.DataFrame:
    """A row per point: root mean square of T - T*, sd of T, lag-1 autocorrelation; means over seeds, t-intervals."""
    found: dict[str, Floats] = {}
    for name, values in (("rms", swings.square), ("sd", swings.own), ("lag1", swings.lag1)):
        mean, seeds = values.mean(axis=1), values.shape[1]
        half = stdtrit(seeds - 1, 0.5 + LEVEL / 2) * values.std(axis=1, ddof=1) / np.sqrt(seeds)
        found |= {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}
    roots = {name: np.sqrt(np.maximum(values, 0.0)) for name, values in found.items() if not name.startswith("lag1")}
    return pd.DataFrame(columns | found | roots)


# ---- the three parts ---------------------------------------------------------------------------------------------


def etas(points: int) -> Floats:
    """(points,) 3 to 200, the published 50 among them where points - 1 is a multiple of 3."""
    return np.asarray(ETA * 2.0 ** np.linspace(-4, 2, points))


def map_grid(setting: Setting) -> pd.DataFrame:
    """Points of two maps: eta x slope at alpha = 2, and eta x alpha at slope .04."""
    frames = []
    for name, values in (("slope", np.geomspace(0.005, 0.3, setting.points)),
                         ("alpha", np.geomspace(0.25, 16.0, setting.points))):  # fmt: skip
        eta, other = (grid.ravel() for grid in np.meshgrid(etas(setting.points), values))
        given = {"slope": np.full(eta.size, SLOPE), "alpha": np.full(eta.size, ALPHA)} | {name: other}
        frames.append(pd.DataFrame({"map": name, "eta": eta} | given))
    grid = pd.concat(frames, ignore_index=True)
    return grid.assign(gain=loop_gain(grid["eta"], grid["alpha"], grid["slope"]))


def run_straight(setting: Setting, grid: pd.DataFrame, folder: Path, jobs: int, what: str) -> pd.DataFrame:
    """Rows of eta, alpha, slope, gain on the straight pool, with what is simulated."""
    pool = straight_pool()
    b = SLOPE * (pool.difficulty - 50.0)
    lanes = {"eta": grid["eta"].to_numpy(), "alpha": grid["alpha"].to_numpy(),
             "a": grid["slope"].to_numpy() / SLOPE, "theta0": np.zeros(len(grid))}  # fmt: skip
    swings = simulate(pool, b, lanes, setting, np.full(len(grid), 50.0), folder, jobs, what)
    return table_of(swings, **{name: grid[name].to_numpy() for name in grid.columns})


def line_grid(setting: Setting) -> pd.DataFrame:
    """Points along G, at alpha = 2."""
    gain = np.linspace(0.1, 3.5, 2 * setting.points - 1)
    slope = gain / loop_gain(LINE_ETA, ALPHA, 1.0)
    return pd.DataFrame({"eta": LINE_ETA, "alpha": ALPHA, "slope": slope, "gain": gain})


def with_theory(line: pd.DataFrame, batch: int) -> pd.DataFrame:
    linear = np.sqrt(linear_variance(line["eta"], line["alpha"], line["gain"], batch))
    cycle = [cycle_amplitude(*row) for row in line[["eta", "alpha", "slope"]].itertuples(index=False)]
    return line.assign(rms_theory=np.where(line["gain"] < 2, linear, cycle), lag1_theory=1 - line["gain"])


def mean_success(pool: Pool, theta: float, batch: int, targets: Floats) -> Floats:
    """(N,) R of the batch of the items nearest each target, at skill theta."""
    p = expit(theta - difficulty_to_logit(pool.difficulty))
    nearest = (np.argpartition(np.abs(pool.difficulty - t), batch - 1)[:batch] for t in targets)
    return np.array([p[items].mean() for items in nearest])


def batch_slope(pool: Pool, theta: float, batch: int) -> tuple[float, float]:
    """T* and the slope there, logits per unit, of the reward of whole batches; NaN where R = beta is out of reach.

    -dR/dT / (beta (1 - beta)) over five units, as labels lie 0.8 apart: flatter than the slope of one item, as easier
    and harder ones are in the batch.
    """
    targets = np.arange(0.0, 100.5, 0.5)
    reward = mean_success(pool, theta, batch, targets)
    below = np.flatnonzero(reward <= BETA)
    if not below.size or below[0] == 0:
        return np.nan, np.nan
    i = below[0]
    low, high = max(i - 5, 0), min(i + 5, len(targets) - 1)
    return float(targets[i]), float((reward[low] - reward[high]) / (targets[high] - targets[low]) / (BETA * (1 - BETA)))


def run_pool(setting: Setting, name: str, folder: Path, jobs: int) -> pd.DataFrame:
    """Eta x skill on a pool of pass rates; skill as the difficulty d* = 100 q that is solved half of the time.

    gain: that of one item at d*, s = .01 / (q (1 - q)); gain_batch: that of the batches that the pool can give.
    """
    pool = Pool.synthetic(name)
    batch = min(setting.batch, len(pool))
    half = np.linspace(5.0, 95.0, setting.points)
    eta, d = (grid.ravel() for grid in np.meshgrid(etas(setting.points), half))
    q = d / 100
    found = {float(x): batch_slope(pool, float(np.log(x / (100 - x))), batch) for x in half}
    at, slope = np.array([found[float(x)] for x in d]).T
    start = np.where(np.isnan(at), d, at)
    lanes = {"eta": eta, "alpha": np.full(eta.size, ALPHA), "a": np.ones(eta.size), "theta0": np.log(q / (1 - q))}
    swings = simulate(pool, difficulty_to_logit(pool.difficulty), lanes, setting, start, folder, jobs, name)
    gains = {"gain": loop_gain(eta, ALPHA, 0.01 / (q * (1 - q))), "gain_batch": loop_gain(eta, ALPHA, slope)}
    return table_of(swings, pool=name, eta=eta, alpha=ALPHA, half=d, target=at, **gains)


class Tables(NamedTuple):
    map: pd.DataFrame
    line: pd.DataFrame
    pools: pd.DataFrame


def run(setting: Setting, folder: Path, jobs: int) -> Tables:
    maps = run_straight(setting, map_grid(setting), folder, jobs, "maps")
    often = replace(setting, seeds=4 * setting.seeds)  # one row of points: it can have narrower intervals
    line = with_theory(run_straight(often, line_grid(setting), folder, jobs, "line"), setting.batch)
    return Tables(maps, line, pd.concat([run_pool(setting, name, folder, jobs) for name in setting.pools]))


# ---- figures -----------------------------------------------------------------------------------------------------

RMS = "root mean square of T − T*\n(units of difficulty)"
SD = "standard deviation of T (units of difficulty)"
ETA_LABEL = "η (units of difficulty)"
LINES: dict[float, tuple[str, Literal["--", "-"]]] = {1.0: (COLORS[6], "--"), 2.0: (COLORS[6], "-")}


def _mesh(ax: Axes, block: pd.DataFrame, y: str, value: str, norm: Normalize, cmap: str) -> Any:
    wide = block.pivot(index=y, columns="eta", values=value)
    image = ax.pcolormesh(wide.columns, wide.index, wide.to_numpy(), norm=norm, cmap=cmap, shading="nearest",
                          rasterized=True)  # fmt: skip
    ax.set(xscale="log", xlim=(wide.columns[0], wide.columns[-1]), ylim=(wide.index[0], wide.index[-1]))
    ax.grid(visible=False)
    _plain(ax.xaxis, (5, 10, 20, 50, 100, 200))
    return image


def _plain(axis: Any, ticks: tuple[float, ...]) -> None:
    """These ticks of a log axis, as plain numbers."""
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _gains(ax: Axes, block: pd.DataFrame, y: str, gain: str = "gain", color: str | None = None) -> None:
    wide = block.pivot(index=y, columns="eta", values=gain)
    if np.isfinite(wide.to_numpy()).any():
        ax.contour(wide.columns, wide.index, np.log(wide.to_numpy()), levels=np.log(list(LINES)),
                   colors=[color or own for own, _ in LINES.values()], linestyles=[dash for _, dash in LINES.values()],
                   linewidths=1.4)  # fmt: skip


def paint_map(tables: Tables) -> Figure:
    """Two maps, each with the swing and the lag-1 autocorrelation as colour, and G = 1, 2 as lines."""
    norms = (("rms", LogNorm(*_range(tables.map["rms"])), "cividis", RMS),
             ("lag1", Normalize(-1, 1), "PuOr", "lag-1 autocorrelation of T"))  # fmt: skip
    with page(5.6) as figure:
        axes = figure.subplots(2, 2, sharex=True, sharey="row")
        for row, (y, label) in zip(axes, (("slope", "slope s (logits per unit\nof difficulty), α = 2"),
                                          ("alpha", f"α (per unit reward),\ns = {SLOPE:g}")), strict=True):  # fmt: skip
            block = tables.map[tables.map["map"] == y]
            for ax, (value, norm, cmap, name) in zip(row, norms, strict=True):
                image = _mesh(ax, block, y, value, norm, cmap)
                _gains(ax, block, y, color="white" if value == "rms" else None)
                ax.set_yscale("log")
                _plain(ax.yaxis, {"slope": (0.01, 0.03, 0.1, 0.3), "alpha": (0.5, 1, 2, 5, 10)}[y])
                ax.plot(ETA, {"slope": SLOPE, "alpha": ALPHA}[y], "*", color="#D55E00", markersize=11,
                        markeredgecolor="white")  # fmt: skip
                figure.colorbar(image, ax=ax, label=name)
            row[0].set_ylabel(label)
        for ax in axes[1]:
            ax.set_xlabel(ETA_LABEL)
        keys: list[Line2D | Patch] = [Line2D([], [], color="0.3", linestyle=dash) for _, dash in LINES.values()]
        keys.append(Line2D([], [], color="#D55E00", marker="*", linestyle="none", markersize=11))
        figure.legend(keys, ["theory: G = 1, deadbeat", "theory: G = 2, swings above", "published η, α"],
                      loc="outside upper center", ncols=3)  # fmt: skip
    return figure


def _range(values: pd.Series[float]) -> tuple[float, float]:
    positive = values[values > 0]
    return float(positive.min()), float(positive.max())


def paint_line(tables: Tables, batch: int) -> Figure:
    """The swing and the autocorrelation along G: theory as lines, simulation as points with intervals."""
    line = tables.line
    fine = pd.DataFrame({"eta": LINE_ETA, "alpha": ALPHA, "gain": np.linspace(0.05, line["gain"].max(), 400)})
    fine = with_theory(fine.assign(slope=fine["gain"] / loop_gain(LINE_ETA, ALPHA, 1.0)), batch)
    with page(2.9) as figure:
        for ax, name, label in zip(figure.subplots(1, 2), ("rms", "lag1"), (RMS, "lag-1 autocorrelation of T"),
                                   strict=True):  # fmt: skip
            parts = [("G < 2: linear loop", fine[fine["gain"] < 1.98], COLORS[0], "-")]
            if name == "rms":
                parts.append(("G > 2: swing without noise", fine[fine["gain"] > 2], COLORS[1], "--"))
            for text, part, color, dash in parts:
                ax.plot(part["gain"], part[f"{name}_theory"], dash, color=color, linewidth=1.4, label=f"theory, {text}")
            whiskers = [line[name] - line[f"{name}_low"], line[f"{name}_high"] - line[name]]
            ax.errorbar(line["gain"], line[name], yerr=whiskers, fmt="o", color="black", markersize=3, linewidth=1,
                        label="simulation, 95 % interval")  # fmt: skip
            ax.set(xlabel="loop gain G = η α s β (1 − β), no unit", ylabel=label)
        figure.axes[0].set_yscale("log")
        _plain(figure.axes[0].yaxis, (0.5, 1, 2, 5, 10))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def paint_pools(tables: Tables) -> Figure:
    """On pools of pass rates, eta x skill: the slope, and so the gain, depends on where the target is."""
    names = list(dict.fromkeys(tables.pools["pool"]))
    low, high = _range(tables.pools["sd"])
    norm = LogNorm(max(low, 0.1), high)
    with page(3.3) as figure:
        axes = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, names, strict=True):
            block = tables.pools[tables.pools["pool"] == name]
            image = _mesh(ax, block, "half", "sd", norm, "cividis")
            _gains(ax, block, "half", "gain", "white")
            _gains(ax, block, "half", "gain_batch", "#D55E00")
            ax.axvline(ETA, color="black", linestyle=":", linewidth=1)
            ax.set(title=name, xlabel=ETA_LABEL, facecolor="0.9")
        axes[0].set_ylabel("difficulty solved half of the time")
        figure.colorbar(image, ax=axes, label=SD, extend="min")
        keys: list[Line2D | Patch] = [Line2D([], [], color=color, linestyle=dash) for color in ("0.75", "#D55E00")
                for _, dash in LINES.values()]  # fmt: skip
        keys += [Line2D([], [], color="black", linestyle=":"), Patch(color="0.9")]
        words = ["G = 1, one item (white)", "G = 2, one item (white)", "G = 1, whole batch", "G = 2, whole batch",
                 "published η", "T rests at 0"]  # fmt: skip
        figure.legend(keys, words, loc="outside upper center", ncols=3)
    return figure


# ---- report ------------------------------------------------------------------------------------------------------


def report(tables: Tables, setting: Setting) -> str:
    maps, line, pools = tables
    near = line[line["gain"] < 1.8]
    ratio = (near["rms"] / near["rms_theory"]) ** 2
    apart = maps[(maps["gain"] < 0.8) | ((maps["gain"] > 1.2) & (maps["gain"] < 2))]
    signs = np.sign(apart["lag1"]) == np.sign(1 - apart["gain"])
    lines = [f"kappa = 0, exact labels, batch {setting.batch}, single rollouts, {setting.seeds} seeds, updates "
             f"{setting.settled} to {setting.steps}.",
             f"Var(T) over the linear theory's, G < 1.8: {ratio.min():.2f} to {ratio.max():.2f}; lag-1 autocorrelation "
             f"off 1 - G by at most {(near['lag1'] - near['lag1_theory']).abs().max():.2f}.",
             f"Overshoot (negative autocorrelation) on the side of G = 1 that theory says: {signs.mean():.0%} of "
             f"{len(apart)} points of the maps with G < .8 or 1.2 < G < 2.",
             "Swing over what noise alone makes (eta alpha sd(R)):"]  # fmt: skip
    noise = maps["eta"] * maps["alpha"] * np.sqrt(BETA * (1 - BETA) / setting.batch)
    bands = pd.cut(maps["gain"], [0, 0.5, 1, 1.5, 1.8, 2.2, 3, np.inf])
    over = (maps["rms"] / noise).groupby(bands, observed=True).median()
    lines.append("  " + "   ".join(f"G <= {band.right:g}: {value:.1f}" for band, value in over.items()))
    lines.append("sd of T by the difficulty that the learner solves half of the time:")
    values = np.sort(pools["eta"].unique())
    for name, block in pools.groupby("pool", sort=False):
        for eta in (ETA, ETA / 5):
            at = block[block["eta"] == values[np.abs(values - eta).argmin()]].set_index("half")["sd"]
            shown = "   ".join(f"{half:g}: {at.loc[half]:.1f}" for half in at.index[:: max(1, len(at) // 6)])
            lines.append(f"  {name}, eta = {values[np.abs(values - eta).argmin()]:.0f}:  {shown}")
    return "\n".join(lines)
