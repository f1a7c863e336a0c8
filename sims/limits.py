"""Where the simulator misleads: the small simulations of docs/explanation/limits.md, one per panel of its figures.

python sims/limits.py --out docs/explanation
"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from workbench import figures
from workbench.analysis import stats
from workbench.commands import Parser, exit_status, whole_or_text
from workbench.controllers import AdaRFT, Controller, FrozenTarget, Rule, Uniform
from workbench.errors import check_count
from workbench.files import check_folder, check_writable, write_whole
from workbench.learners import GRPO, RLOO, KnowledgeTracing, Law, MultiSkill, SimLearner, TinyPolicy
from workbench.loop import Record, train
from workbench.pool import Pool
from workbench.progress import make_bar
from workbench.registry import LAWS
from workbench.study.design import space_filling_points

Floats = NDArray[np.float64]
Rows = list[dict[str, Any]]

BATCH, STEPS = 64, 100
SIZE = 2000  # items per pool
CHOICES = 64  # settings to choose from, a power of 2


def run(law: Law, rule: Rule, pool: Pool, seeds: ArrayLike, steps: int = STEPS, rollouts: int = 8) -> Record:
    """A run per seed, (R,), as lanes."""
    lane_seeds = np.asarray(seeds)
    lanes = len(lane_seeds)
    controller = Controller(rule, pool, seed=lane_seeds, lanes=lanes)
    return train(controller, SimLearner(law, pool, lane_seeds, lanes), steps, BATCH, rollouts)


def area(record: Record) -> Floats:
    """(R,) held-out success averaged over training."""
    return np.asarray(stats.area(record.steps, record.mean_success, axis=0))


def lead(law: Law, pool: Pool, seeds: ArrayLike, rule: Rule | None = None, steps: int = STEPS) -> Floats:
    """(R,) area of the rule, AdaRFT by default, less that of uniform sampling on the same seeds."""
    return area(run(law, rule or AdaRFT(), pool, seeds, steps)) - area(run(law, Uniform(), pool, seeds, steps))


def pool_of(name: str, size: int = SIZE) -> Pool:
    return Pool.synthetic(name, size)


def rows(panel: str, series: str, x: Any, values: Iterable[float]) -> Rows:
    return [{"panel": panel, "series": series, "x": x, "seed": s, "value": float(v)} for s, v in enumerate(values)]


# ------------------------------------------------------------------------------------------- what the law assumes


def circularity(seeds: ArrayLike) -> Rows:
    """1. AdaRFT's lead on every learner, and over the exponent gamma of the learning law."""
    pool, out = pool_of("skew-difficult"), []
    for name, law in LAWS.items():
        out += rows("lead by learner", "adarft", name, lead(law, pool, seeds))
    for gamma in (0.0, 0.1, 0.25, 0.5, 1.0):
        for series, signal in (("groups of 8", RLOO()), ("exact signal", RLOO(exact=True))):
            law = replace(LAWS["scalar"], gamma=gamma, signal=signal)
            out += rows("lead by gamma", series, gamma, lead(law, pool, seeds))
    return out


def coverage(seeds: ArrayLike) -> Rows:
    """2. Gain in each decile of difficulty after training on the batch nearest difficulty 50, always the same."""
    pool, out = pool_of("uniform"), []
    for name in ("scalar", "kernel", "tabular"):
        success = run(LAWS[name], FrozenTarget(), pool, seeds).success
        for decile, gain in enumerate((success[-1] - success[0]).T):
            out += rows("gain by difficulty", name, 5 + 10 * decile, gain)
    return out


def optimiser(seeds: ArrayLike) -> Rows:
    """5. AdaRFT's lead on the tiny policy with and without an adaptive optimiser, and silent groups with it."""
    out: Rows = []
    for name in ("skew-difficult", "uniform", "skew-easy"):
        pool = pool_of(name)
        for law in (TinyPolicy(), TinyPolicy(optimizer="sgd", kappa=5.0)):
            ours, plain = (run(law, rule, pool, seeds, 2 * STEPS) for rule in (AdaRFT(), Uniform()))
            out += rows("lead by optimiser", law.optimizer, name, area(ours) - area(plain))
            if law.optimizer == "adam":
                out += rows("silent groups by pool", "adarft", name, np.nanmean(ours.silent_share, axis=0))
                out += rows("silent groups by pool", "uniform", name, np.nanmean(plain.silent_share, axis=0))
    return out


def repetition(seeds: ArrayLike) -> Rows:
    """7. Leads on a pool of 500 items when repeated items teach less."""
    pool, out = pool_of("skew-difficult", 500), []
    for decay in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3):
        law = replace(LAWS["scalar"], repeat_decay=decay)
        for name, rule in (("adarft", AdaRFT()), ("frozen", FrozenTarget())):
            out += rows("lead by repeat decay", name, decay, lead(law, pool, seeds, rule))
    return out


def scalar_law(**values: Any) -> Law:
    """The scalar learner's law with other values of its fields."""
    return replace(LAWS["scalar"], **values)


def ceiling(seeds: ArrayLike) -> Rows:
    """8. Items that are never solved, and AdaRFT's target where no item is solved half of the time."""
    pool, out = pool_of("skew-difficult"), []
    for share in (0.0, 0.1, 0.2, 0.3):
        out += rows("lead by unlearnable", "adarft", share,
                    lead(replace(LAWS["scalar"], unlearnable=share), pool, seeds))  # fmt: skip
    for best in (0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 1.0):
        record = run(scalar_law(ceiling=best), AdaRFT(), pool, seeds, 3 * STEPS)
        out += rows("target by ceiling", "adarft", best, record.target[-1])
    return out


def topic_shift(seeds: ArrayLike) -> Rows:
    """12. AdaRFT's lead on two topics that the pool has and on two others, by what these get of a gain."""
    difficulty = pool_of("uniform").difficulty
    trained = Pool(difficulty, category=np.array(["a", "b"])[np.arange(SIZE) % 2], name="two topics")
    tested = Pool(difficulty, category=np.array(list("abcd"))[np.arange(SIZE) % 4], name="four topics")
    new = np.arange(SIZE) % 4 >= 2
    lane_seeds, out = np.asarray(seeds), []
    for entry in (1.0, 0.6, 0.3, 0.0, -0.2):
        block = max(entry, 0.3)
        m = np.full((4, 4), entry)
        m[:2, :2] = m[2:, 2:] = block
        np.fill_diagonal(m, 1.0)
        law = MultiSkill(kappa=0.04, skills=4, matrix=tuple(tuple(row) for row in m.tolist()))
        success = []
        for rule in (AdaRFT(), Uniform()):
            learner = SimLearner(law, trained, lane_seeds, len(lane_seeds))
            train(Controller(rule, trained, seed=lane_seeds, lanes=len(lane_seeds)), learner, STEPS, BATCH)
            examined = SimLearner(law, tested, lane_seeds, len(lane_seeds))
            examined.load_state_dict(learner.state_dict())
            success.append(examined.success(np.tile(np.arange(SIZE), (len(lane_seeds), 1))))
        ahead = success[0] - success[1]
        out += rows("lead by topic", "topics of the pool", entry, ahead[:, ~new].mean(axis=1))
        out += rows("lead by topic", "new topics", entry, ahead[:, new].mean(axis=1))
    return out


# ---------------------------------------------------------------------------------- what is measured, and chosen by


def verifier(seeds: ArrayLike) -> Rows:
    """4. Leads under a verifier that errs at the same rate on all items."""
    pool, out = pool_of("skew-difficult"), []
    for rate in (0.0, 0.1, 0.2, 0.3, 0.4):
        for series, field in (("wrong passes", "false_positive"), ("right fails", "false_negative")):
            law = scalar_law(**{field: rate})
            out += rows("lead by verifier error", series, rate, lead(law, pool, seeds))
    return out


def label_noise(seeds: ArrayLike) -> Rows:
    """6. Leads where labels differ from the true difficulty."""
    pool, out = pool_of("skew-difficult"), []
    for sd in (0.0, 0.7, 1.5, 2.2, 3.0):
        for name, rule in (("adarft", AdaRFT()), ("frozen", FrozenTarget())):
            law = replace(LAWS["scalar"], label_noise=sd)
            out += rows("lead by label noise", name, sd, lead(law, pool, seeds, rule))
    return out


def time_unit(seeds: ArrayLike) -> Rows:
    """9. Steps to success 0.4 at one fourth to four times the pace."""
    pool, out = pool_of("skew-difficult"), []
    for kappa in (0.005, 0.01, 0.02, 0.04, 0.08):
        law = replace(LAWS["scalar"], kappa=kappa)
        for name, rule in (("uniform", Uniform()), ("adarft", AdaRFT())):
            record = run(law, rule, pool, seeds, round(4 / kappa))
            reached = stats.steps_to_threshold(record.steps, record.mean_success.T, 0.4)
            out += rows("steps by kappa", name, kappa, reached.time)
    return out


def saturation(seeds: ArrayLike) -> Rows:
    """10. AdaRFT's lead in final score and in area as runs get longer; gains with and without silent groups."""
    pool, hard, out = pool_of("uniform"), pool_of("hard-extreme"), []
    for steps in (50, 100, 200, 400, 800, 1600):
        ours, plain = (run(LAWS["scalar"], rule, pool, seeds, steps) for rule in (AdaRFT(), Uniform()))
        out += rows("lead by length", "final", steps, ours.mean_success[-1] - plain.mean_success[-1])
        out += rows("lead by length", "area", steps, area(ours) - area(plain))
    for series, signal in (("groups of 4", GRPO()), ("exact signal", GRPO(exact=True))):
        record = run(replace(LAWS["grpo"], signal=signal), Uniform(), hard, seeds, 2 * STEPS, rollouts=4)
        for step, success in zip(record.steps[::4], record.mean_success[::4], strict=True):
            out += rows("silent groups", series, int(step), success - record.mean_success[0])
    return out


def choice(seeds: ArrayLike) -> Rows:
    """11. The best of 64 settings of AdaRFT on the scalar learner, by gain over the mean setting.

    Chosen by one run each, either all on one seed or each on its own; the gain as seen then, on eight fresh seeds, and
    on two other learners.
    """
    pool, trials = pool_of("uniform", 500), np.asarray(seeds)
    ranges = {"eta": (5.0, 80.0, True), "beta": (0.3, 0.7, False), "alpha": (0.5, 4.0, True)}
    points = space_filling_points({f"adarft.{name}": ends for name, ends in ranges.items()}, "sobol", CHOICES)
    settings = {name: np.array([float(point[f"adarft.{name}"]) for point in points]) for name in ranges}

    def scores(name: str, lane_seeds: NDArray[Any]) -> Floats:
        """(T, settings) area less its mean over settings, of seeds (T, settings)."""
        lanes: dict[str, Any] = {key: np.tile(values, len(lane_seeds)) for key, values in settings.items()}
        rule = AdaRFT(**lanes)
        values = area(run(LAWS[name], rule, pool, lane_seeds.ravel())).reshape(lane_seeds.shape)
        return np.asarray(values - values.mean(axis=1, keepdims=True))

    shared = np.tile(trials[:, None], CHOICES)
    own = 1000 + trials[:, None] * CHOICES + np.arange(CHOICES)
    fresh = np.tile(10**6 + np.arange(8)[:, None], CHOICES)
    truth = {name: scores(name, fresh).mean(axis=0) for name in ("scalar", "kernel", "chain")}
    out: Rows = []
    for series, lane_seeds in (("a seed each", own), ("one seed for all", shared)):
        seen = scores("scalar", lane_seeds)
        out += rows("gain of the chosen", series, "as chosen", seen.max(axis=1))
        for name, values in truth.items():
            x = "fresh seeds" if name == "scalar" else f"on {name}"
            out += rows("gain of the chosen", series, x, values[seen.argmax(axis=1)])
    for name, values in truth.items():
        x = "fresh seeds" if name == "scalar" else f"on {name}"
        out += rows("gain of the chosen", "best there is", x, np.full(len(trials), values.max()))
    return out


# ---------------------------------------------------------------------------------------- points without a panel


def populations(lanes: int, steps: int, shape: float = 2.0, rate: float = 20.0) -> tuple[Floats, Floats]:
    """13. (steps + 1,) share of a population that does not know a skill yet, and (R, steps + 1) of its R parts.

    Part r learns at lambda_r, the quantiles of a Gamma(shape, rate): each forgets its ignorance exponentially, their
    mean as (1 + t / rate)^-shape.
    """
    from scipy.stats import gamma

    speeds = gamma.ppf((np.arange(lanes) + 0.5) / lanes, shape, scale=1 / rate)
    law = KnowledgeTracing(skills=1, learn=1 - np.exp(-speeds), theta0=-30.0)
    pool = Pool(np.full(4, 50.0))
    learner = SimLearner(law, pool, np.arange(lanes), lanes)
    items = np.tile(np.arange(4), (lanes, 1))
    each = [1 - learner.state.known[:, 0]]
    for _ in range(steps):
        learner.learn(items, learner.attempt(items, 2))
        each.append(1 - learner.state.known[:, 0])
    parts = np.stack(each, axis=1)
    return parts.mean(axis=0), parts


# --------------------------------------------------------------------------------------------------------- figures


@dataclass(frozen=True)
class Panel:
    point: int  # of docs/explanation/limits.md
    name: str
    title: str
    x: str
    y: str
    scale: str = "linear"


LEAD = "area less uniform's"
ASSUMPTIONS = (
    Panel(1, "lead by learner", "lead of AdaRFT", "", LEAD),
    Panel(1, "lead by gamma", "lead of AdaRFT, scalar", "signal exponent gamma", LEAD),
    Panel(2, "gain by difficulty", "trained near 50 only", "difficulty", "gain in success"),
    Panel(7, "lead by repeat decay", "500 items, scalar", "repeat decay (1 / visit)", LEAD),
    Panel(8, "lead by unlearnable", "lead of AdaRFT, scalar", "share never solved", LEAD),
    Panel(12, "lead by topic", "lead of AdaRFT, skills", "M between old and new", "final less uniform's"),
)
MEASUREMENT = (
    Panel(4, "lead by verifier error", "lead of AdaRFT, scalar", "share of wrong verdicts", LEAD),
    Panel(6, "lead by label noise", "leads, scalar", "sd of labels (logits)", LEAD),
    Panel(9, "steps by kappa", "scalar", "kappa (logits per update)", "steps to success 0.4", "log"),
    Panel(10, "lead by length", "lead of AdaRFT, scalar", "steps", "success less uniform's", "logx"),
    Panel(10, "silent groups", "hard items, grpo, uniform", "step", "gain in success"),
    Panel(11, "gain of the chosen", "best of 64 settings", "", "area over mean setting"),
)
POLICY = (
    Panel(5, "lead by optimiser", "lead of AdaRFT, policy", "", LEAD),
    Panel(5, "silent groups by pool", "policy, adam", "", "share of silent groups"),
)
OTHERS = ("#332288", "#CC6677", "#44AA99")  # series that are not rules, from figures.OTHER_COLORS
FIGURES = {"limits_assumptions": ASSUMPTIONS, "limits_measurement": MEASUREMENT, "limits_optimiser": POLICY}
STUDIES: tuple[Callable[[ArrayLike], Rows], ...] = (
    circularity, coverage, verifier, optimiser, label_noise, repetition, ceiling, time_unit, saturation, choice,
    topic_shift,
)  # fmt: skip


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds with its 95 % interval, a row per panel, series and x, in order of appearance."""
    out = []
    for (panel, series, x), block in table.groupby(["panel", "series", "x"], sort=False):
        estimate = stats.interval(block["value"].to_numpy(), np.mean)
        out.append({"panel": panel, "series": series, "x": x, "mean": estimate.value,
                    "low": estimate.low, "high": estimate.high})  # fmt: skip
    return pd.DataFrame(out)


def paint(means: pd.DataFrame, panels: Sequence[Panel]) -> Figure:
    """A panel each: means over seeds and 95 % intervals, rules in their colours."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(figures.STYLE)
        columns = min(len(panels), 3)
        lines = len(panels) // columns
        figure = Figure(figsize=(figures.PAGE_WIDTH * columns / 3, 2.45 * lines), layout="constrained")
        for ax, panel in zip(figure.subplots(lines, columns).ravel(), panels, strict=True):
            _draw(ax, means[means["panel"] == panel.name], panel)
    return figure


def _draw(ax: Any, block: pd.DataFrame, panel: Panel) -> None:
    names = list(dict.fromkeys(block["series"]))
    labels = list(dict.fromkeys(block["x"]))
    words = isinstance(labels[0], str)
    if panel.scale != "log":
        ax.axhline(0, color="0.4", linewidth=0.8)
    for i, name in enumerate(names):
        own = block[block["series"] == name]
        look = figures.LOOKS.get(name)
        color = look.color if look else OTHERS[i]
        marker = look.marker if look else figures.OTHER_MARKERS[i]
        dashes = look.dashes if look else figures.OTHER_DASHES[i]
        aside = 0.1 * (i - (len(names) - 1) / 2)  # marks side by side, so that none hides another
        x = [labels.index(label) + aside for label in own["x"]] if words else own["x"].astype(float)
        error = [own["mean"] - own["low"], own["high"] - own["mean"]]
        ax.errorbar(x, own["mean"], yerr=error, color=color, marker=marker, markersize=3.5, linewidth=1,
                    linestyle="none" if words else dashes, elinewidth=0.9, label=name)  # fmt: skip
    if words:
        ax.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 5 else 20,
                      ha="center" if len(labels) > 5 else "right")  # fmt: skip
        ax.margins(x=0.1)
    if panel.scale != "linear":
        ax.set_xscale("log")
        ax.set_xticks(labels, [f"{label:g}" for label in labels], rotation=45)
        ax.minorticks_off()
    if panel.scale == "log":
        ax.set_yscale("log")
        ax.set_yticks([10, 30, 100, 300, 1000], ["10", "30", "100", "300", "1000"])
        ax.minorticks_off()
    if len(names) > 1:
        ax.margins(y=0.1 + 0.08 * len(names))  # room for the legend
        ax.legend(handlelength=2, fontsize=7)
    ax.set_title(f"{panel.point}. {panel.title}", loc="left")
    ax.set_xlabel(panel.x)
    ax.set_ylabel(panel.y)


def png(figure: Figure) -> bytes:
    """PNG, small enough for the repository; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(figures.STYLE):
        figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None}, pil_kwargs={"compress_level": 9})
    return buffer.getvalue()


def parser() -> Parser:
    p = Parser(allow_abbrev=False, description="The figures of docs/explanation/limits.md.")
    p.add_argument("--seeds", metavar="N", type=whole_or_text, default=16, help="paired runs per point (default: 16)")
    p.add_argument("--out", metavar="DIR", default="results/limits", help="figures, table (default: %(default)s)")
    return p


MOST_SEEDS = 10_000  # of each point: they run side by side in memory


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: draw(options))


def draw(options: argparse.Namespace) -> None:
    seeds = np.arange(check_count("--seeds", options.seeds, 2, MOST_SEEDS))
    out = check_folder("--out", options.out)
    for law in LAWS.values():
        law.check_packages()
    check_writable("--out", out)
    found: Rows = []
    for study in make_bar(iterable=STUDIES, desc="limits", unit="point"):
        found += study(seeds)
    means = summary(pd.DataFrame(found))
    write_whole(out / "limits.csv", means.to_csv(index=False, float_format="%.4g").encode())
    for name, panels in FIGURES.items():
        write_whole(out / f"{name}.png", png(paint(means, panels)))
    print(means.to_string(index=False, float_format=lambda v: f"{v:.4f}"))


if __name__ == "__main__":
    sys.exit(main())
