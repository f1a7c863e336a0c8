"""sensitivity: which parameters of learner and rule AdaRFT's speed-up over uniform sampling depends on.

Morris screening over all parameters, then Sobol indices of those it keeps. A response is the mean over seeds, which
are the same at every point: common random numbers, so that luck does not look like an effect.
Source: Morris 1991, Technometrics 33; Saltelli et al. 2010, Computer Physics Communications 181; both as in SALib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sims.paper.transfer import RANGE
from sims.robust.drawing import COLORS, page
from sims.robust.programs import Floats, curves_of
from workbench.analysis.stats import area, steps_to_threshold
from workbench.controllers import AdaRFT, Rule, Uniform
from workbench.errors import InputError
from workbench.lanes import distinct_rows
from workbench.learners import Law
from workbench.pool import Pool
from workbench.registry import LAWS
from workbench.streams import Role, generator, run_seeds
from workbench.study.program import Program

Ranges = dict[str, tuple[float, float, str]]  # (low, high, "log" or ""), as the priors of the family

# The ranges that the laws call plausible, wider than the priors of the family; judgement. repeat_decay: at 1 an item
# teaches a third of it the second time; most of the range lies below .1, where ten visits leave a third.
COMMON: Ranges = {
    "theta0": (-4.0, 2.0, ""),
    "kappa": (0.002, 0.2, "log"),
    "gamma": (0.0, 1.0, ""),
    "label_noise": (0.0, 2.0, ""),
    "unlearnable": (0.0, 0.3, ""),
    "forgetting": (0.0001, 0.01, "log"),
    "false_negative": (0.0, 0.2, ""),
    "false_positive": (0.0, 0.2, ""),
    "repeat_decay": (0.001, 1.0, "log"),
}
LEARNERS: dict[str, Ranges] = {
    "scalar": COMMON | {"a": (0.3, 2.5, "log"), "floor": (0.0, 0.5, ""), "ceiling": (0.6, 1.0, ""),
                        "noise": (0.0, 0.02, "")},
    "kernel": COMMON | {"length": (0.3, 10.0, "log"), "transfer_all": (0.0, 1.0, "")},
    "skills": COMMON | {"prerequisite": (0.0, 1.0, "")}
              | {name: (low, high, "") for name, (low, high) in RANGE.items()},
}  # fmt: skip
RULE: Ranges = {
    "adarft.eta": (5.0, 100.0, "log"),
    "adarft.alpha": (0.5, 8.0, "log"),
    "adarft.beta": (0.2, 0.8, ""),
    "adarft.start": (0.0, 50.0, ""),
}
RESPONSES = {
    "log_speedup": "ln(steps of uniform / steps of AdaRFT)",
    "log_gain": "ln(mean gain of AdaRFT / of uniform)",
    "area_gain": "AdaRFT's area minus uniform's",
}
GOAL = 0.8  # of the gain that uniform makes over the run: what both are to reach
MOST_CENSORED = 0.05  # share of runs that may miss the goal before the log ratio of gains leads
LEAST_GAIN = 0.001  # of success, mean over the run: less counts as this much, so that two that learn nothing are level
KEEP_ABOVE = 0.1  # of the largest mu*: parameters whose mu* may lie above it go on to Sobol
KEEP_MOST = 8
LEVELS = 4  # of Morris's grid
LANES = 256  # runs side by side in one program
RESAMPLES = 500
LEVEL = 0.95  # of intervals
EVAL_EVERY = 5


@dataclass(frozen=True)
class Setting:
    """One pool, runs of so many updates; the same seeds at every point."""

    pool: Pool
    seeds: int
    steps: int
    batch: int
    rollouts: int
    seed: int


class Outcome(NamedTuple):
    """Of N points: responses (N, S) by name, over S seeds; share of AdaRFT's runs that missed the goal."""

    responses: dict[str, Floats]
    censored: float

    @property
    def leads(self) -> str:
        """Which response to read: a ratio of steps says little where many runs never got there."""
        return "log_speedup" if self.censored <= MOST_CENSORED else "log_gain"


def parameters(learner: str) -> Ranges:
    return LEARNERS[learner] | RULE


def scaled(ranges: Ranges, names: Sequence[str], unit: Floats) -> dict[str, Floats]:
    """Columns of a design on the unit cube (N, D) -> values (N,) by name."""
    values = {}
    for name, u in zip(names, unit.T, strict=True):
        low, high, scale = ranges[name]
        values[name] = low * (high / low) ** u if scale == "log" else low + (high - low) * u
    return values


def simulate(
    setting: Setting, learner: str, points: Mapping[str, Floats], folder: Path, jobs: int, what: str
) -> Outcome:
    """Both rules at every point, each point on every seed. Parameters that are not given are at their defaults."""
    law_names = [name for name in points if name not in RULE]
    law_points = np.stack([points[name] for name in law_names], axis=1) if law_names else np.zeros((1, 0))
    distinct, which = distinct_rows(law_points)  # uniform sees the learner only
    plain = _programs(setting, learner, dict(zip(law_names, distinct.T, strict=True)), len(distinct), Uniform())
    count = len(next(iter(points.values())))
    ours = _programs(setting, learner, points, count, AdaRFT())
    curves = curves_of([*plain, *ours], folder, jobs, what)
    steps = curves[0]["step"]
    of_plain, of_ours = (
        np.concatenate([of["success"] for of in part], axis=1).T.reshape(-1, setting.seeds, len(steps))
        for part in (curves[: len(plain)], curves[len(plain) :])
    )
    return compare(steps, of_plain[which if law_names else np.zeros(count, int)], of_ours)


def compare(steps: Floats, plain: Floats, ours: Floats) -> Outcome:
    """Responses of curves (N, S, E) on the same seeds. A run that never gets to the goal counts with its last step.

    log_gain compares success over its start, mean over the run: the ratio of speeds while both are slow, and never
    censored. area_gain is their difference, which grows with how much is learned at all.
    """
    start, end = plain[:, :, :1], plain[:, :, -1:]
    gain = np.where(end > start, end - start, np.inf)  # nothing gained: neither gets anywhere, and they are level
    there = [steps_to_threshold(steps, (curve - start) / gain, GOAL) for curve in (plain, ours)]
    times = [np.maximum(crossing.time, 1.0) for crossing in there]
    areas = [area(steps, curve) for curve in (plain, ours)]
    gains = [np.maximum(mean - start[:, :, 0], LEAST_GAIN) for mean in areas]
    responses = {"log_speedup": np.log(times[0] / times[1]), "log_gain": np.log(gains[1] / gains[0]),
                 "area_gain": areas[1] - areas[0]}  # fmt: skip
    return Outcome(responses, float(1 - there[1].reached.mean()))


def _programs(
    setting: Setting, learner: str, points: Mapping[str, Floats], count: int, rule: Rule
) -> list[Program]:
    """count points x S seeds as lanes, seed by seed within a point."""
    seeds = run_seeds(setting.seed, setting.seeds)
    programs = []
    for part in np.array_split(np.arange(count), -(-count * setting.seeds // LANES)):
        lanes = {name: np.repeat(values[part], setting.seeds) for name, values in points.items()}
        own = {name.split(".")[1]: values for name, values in lanes.items() if name in RULE}
        of_law: dict[str, Any] = {name: values for name, values in lanes.items() if name not in RULE}
        law: Law = replace(LAWS[learner], **of_law)
        shape = setting.steps, setting.batch, setting.rollouts, EVAL_EVERY
        programs.append(Program(setting.pool, law, replace(rule, **own), (), np.tile(seeds, len(part)), *shape,
                                keep=("success",)))  # fmt: skip
    return programs


# ---- designs and indices -----------------------------------------------------------------------------------------


def check_salib() -> None:
    try:
        import SALib.analyze.morris
        import SALib.analyze.sobol
        import SALib.sample.morris
        import SALib.sample.sobol  # noqa: F401
    except ImportError:
        raise InputError("SALib: must be installed for this study (pip install '.[sensitivity]'), got none") from None


def _problem(names: Sequence[str]) -> dict[str, Any]:
    return {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)}


def salib_seed(seed: int, use: int) -> int:
    """A seed for SALib's own generators, never 0, which it takes for none."""
    return int(generator(seed, Role.DESIGN, 1000 + use).integers(1, 2**31))


def morris_design(names: Sequence[str], trajectories: int, seed: int) -> Floats:
    """(trajectories (D + 1), D) points of the unit cube."""
    from SALib.sample.morris import sample

    return np.asarray(sample(_problem(names), trajectories, num_levels=LEVELS, seed=salib_seed(seed, 0)))


def morris_indices(names: Sequence[str], unit: Floats, response: Floats, seed: int) -> pd.DataFrame:
    """mu*: mean absolute effect of a step across the range, in units of the response; sigma: how it varies."""
    from SALib.analyze.morris import analyze

    found = analyze(_problem(names), unit, response, num_levels=LEVELS, num_resamples=RESAMPLES, conf_level=LEVEL,
                    seed=salib_seed(seed, 1))  # fmt: skip
    half = np.asarray(found["mu_star_conf"])
    mu_star = np.asarray(found["mu_star"])
    return pd.DataFrame({"parameter": list(names), "mu_star": mu_star, "mu_star_low": np.maximum(mu_star - half, 0),
                         "mu_star_high": mu_star + half, "mu": np.asarray(found["mu"]),
                         "sigma": np.asarray(found["sigma"])})  # fmt: skip


def sobol_design(names: Sequence[str], base: int, seed: int) -> Floats:
    """(base (D + 2), D) points: Saltelli's scheme on a scrambled Sobol sequence; base: a power of two."""
    from SALib.sample.sobol import sample

    rng = np.random.default_rng(salib_seed(seed, 2))
    return np.asarray(sample(_problem(names), base, calc_second_order=False, seed=rng))


def sobol_indices(names: Sequence[str], response: Floats, seed: int) -> pd.DataFrame:
    """S1: share of the response's variance that a parameter explains alone; ST: with all that it takes part in."""
    from SALib.analyze.sobol import analyze

    table = pd.DataFrame({"parameter": list(names)})
    if np.ptp(response) == 0:  # nothing varies, so there is nothing to share out
        return table.assign(**{f"{name}{end}": np.nan for name in ("S1", "ST") for end in ("", "_low", "_high")})
    found = analyze(_problem(names), response, calc_second_order=False, num_resamples=RESAMPLES, conf_level=LEVEL,
                    seed=salib_seed(seed, 3))  # fmt: skip
    for name in ("S1", "ST"):
        value, half = np.asarray(found[name]), np.asarray(found[f"{name}_conf"])
        table[name], table[f"{name}_low"], table[f"{name}_high"] = value, value - half, value + half
    return table


def kept(table: pd.DataFrame) -> list[str]:
    """Parameters of a Morris table that go on, in their order: mu* may exceed a tenth of the largest; at most eight."""
    able = table[table["mu_star_high"] >= KEEP_ABOVE * table["mu_star"].max()]
    strong = set(able.nlargest(KEEP_MOST, "mu_star")["parameter"])
    return [name for name in table["parameter"] if name in strong]


def variance(outcome: Outcome, design: str) -> list[dict[str, Any]]:
    """Between points and between seeds. noise_share: of the variance of the responses (means over seeds), what is luck
    of the seeds; censored: share of AdaRFT's runs short of the goal."""
    rows = []
    for name, values in outcome.responses.items():
        means, within = values.mean(axis=1), values.var(axis=1, ddof=1).mean()
        total = means.var(ddof=1)
        rows.append({"design": design, "response": name, "leads": name == outcome.leads, "points": len(values),
                     "seeds": values.shape[1], "mean": means.mean(), "share_positive": float((means > 0).mean()),
                     "variance_points": total, "variance_seeds": within,
                     "noise_share": within / values.shape[1] / total if total > 0 else np.nan,
                     "censored": outcome.censored})  # fmt: skip
    return rows


def quarters(ranges: Ranges, names: Sequence[str], unit: Floats, response: Floats) -> pd.DataFrame:
    """Which way a parameter works, as variances do not say: mean response and share above 0 by quarter of its range."""
    rows = []
    for name, u in zip(names, unit.T, strict=True):
        edges = scaled(ranges, [name], np.linspace(0, 1, 5)[:, None])[name]
        for q in range(4):
            inside = response[np.minimum((4 * u).astype(int), 3) == q]
            rows.append({"parameter": name, "low": edges[q], "high": edges[q + 1], "points": len(inside),
                         "mean": inside.mean() if len(inside) else np.nan,
                         "share_positive": (inside > 0).mean() if len(inside) else np.nan})  # fmt: skip
    return pd.DataFrame(rows)


class Tables(NamedTuple):
    morris: pd.DataFrame
    sobol: pd.DataFrame
    quarters: pd.DataFrame
    variance: pd.DataFrame


def run(setting: Setting, learners: Sequence[str], trajectories: int, base: int, folder: Path, jobs: int) -> Tables:
    screened, shares, ways, spread = [], [], [], []
    for learner in learners:
        ranges, names, seed = parameters(learner), list(parameters(learner)), setting.seed
        unit = morris_design(names, trajectories, seed)
        outcome = simulate(setting, learner, scaled(ranges, names, unit), folder, jobs, f"{learner} Morris")
        leads = outcome.leads
        tables = {response: morris_indices(names, unit, values.mean(axis=1), seed)
                  for response, values in outcome.responses.items()}  # fmt: skip
        strong = kept(tables[leads])
        for response, table in tables.items():
            bounds: dict[str, Any] = {"low": [ranges[n][0] for n in names], "high": [ranges[n][1] for n in names],
                      "scale": [ranges[n][2] or "linear" for n in names]}  # fmt: skip
            screened.append(table.assign(learner=learner, response=response, leads=response == leads,
                                         kept=table["parameter"].isin(strong), **bounds))  # fmt: skip
        spread += [{"learner": learner} | row for row in variance(outcome, "morris")]
        unit = sobol_design(strong, base, seed)
        outcome = simulate(setting, learner, scaled(ranges, strong, unit), folder, jobs, f"{learner} Sobol")
        lead = outcome.responses[outcome.leads].mean(axis=1)
        ways.append(quarters(ranges, strong, unit, lead).assign(learner=learner, response=outcome.leads))
        for response, values in outcome.responses.items():
            table = sobol_indices(strong, values.mean(axis=1), seed)
            shares.append(table.assign(learner=learner, response=response, leads=response == outcome.leads))
        spread += [{"learner": learner} | row for row in variance(outcome, "sobol")]
    first = ["learner", "response", "leads", "parameter"]
    both = [pd.concat(parts, ignore_index=True) for parts in (screened, shares)]
    morris, sobol = (table[[*first, *(c for c in table.columns if c not in first)]] for table in both)
    way = pd.concat(ways, ignore_index=True)[["learner", "response", "parameter", "low", "high", "points", "mean",
                                              "share_positive"]]  # fmt: skip
    return Tables(morris, sobol, way, pd.DataFrame(spread))


# ---- figure and report -------------------------------------------------------------------------------------------


def paint(tables: Tables) -> Figure:
    """A row per learner: Morris's mu* of every parameter, and Sobol indices of those that were kept."""
    learners = list(dict.fromkeys(tables.morris["learner"]))
    most = max(len(parameters(learner)) for learner in learners)
    with page(0.8 + (0.6 + 0.15 * most) * len(learners)) as figure:
        grid = figure.subplots(len(learners), 2, squeeze=False)
        for (left, right), learner in zip(grid, learners, strict=True):
            block = tables.morris.query("learner == @learner and leads").sort_values("mu_star")
            at = np.arange(len(block))
            whiskers = [block["mu_star"] - block["mu_star_low"], block["mu_star_high"] - block["mu_star"]]
            left.errorbar(block["mu_star"], at, xerr=whiskers, fmt="o", color=COLORS[0], markersize=3.5, linewidth=1,
                          label="µ*, 95 % interval")  # fmt: skip
            left.plot(block["sigma"], at, "x", color=COLORS[1], markersize=4, label="σ")
            left.set(yticks=at, title=f"{learner}: Morris")
            left.set_yticklabels([f"{name} *" if keep else name
                                  for name, keep in zip(block["parameter"], block["kept"], strict=True)])  # fmt: skip
            left.set_xlabel(f"effect of crossing a parameter's range on\n{RESPONSES[block['response'].iloc[0]]}")
            left.legend(loc="lower right")
            block = tables.sobol.query("learner == @learner and leads").sort_values("ST")
            at = np.arange(len(block))
            for name, shift, fmt, color in (("S1", 0.12, "o", COLORS[0]), ("ST", -0.12, "s", COLORS[1])):
                whiskers = [block[name] - block[f"{name}_low"], block[f"{name}_high"] - block[name]]
                what = {"S1": "first order", "ST": "total"}[name]
                right.errorbar(block[name], at + shift, xerr=whiskers, fmt=fmt, color=color, markersize=3.5,
                               linewidth=1, label=f"{what}, 95 % interval")  # fmt: skip
            right.axvline(0, color="0.5", linewidth=0.8)
            right.set(yticks=at, title=f"{learner}: Sobol")
            right.set_yticklabels(block["parameter"])
            right.set_xlabel(f"share of the variance of\n{RESPONSES[block['response'].iloc[0]]}")
            right.legend(loc="lower right")
        figure.suptitle("* kept for the Sobol indices; the others stay at their defaults there")
    return figure


def report(setting: Setting, tables: Tables) -> str:
    lines = [f"AdaRFT against uniform on {setting.pool.name}, {setting.steps} updates of {setting.batch} x "
             f"{setting.rollouts}, mean over {setting.seeds} common seeds."]  # fmt: skip
    for learner in dict.fromkeys(tables.morris["learner"]):
        for design in ("morris", "sobol"):
            row = tables.variance.query("learner == @learner and design == @design and leads").iloc[0]
            lines += ["", f"{learner}, {design}: {row['points']} points, response {RESPONSES[row['response']]}, mean "
                          f"{row['mean']:.3f}, positive at {row['share_positive']:.0%}; luck of the seeds is "
                          f"{row['noise_share']:.1%} of its variance; {row['censored']:.0%} of AdaRFT's runs "
                          "miss the goal."]  # fmt: skip
            table = getattr(tables, design).query("learner == @learner and leads")
            columns = {"morris": ("mu_star",), "sobol": ("S1", "ST")}[design]
            shown = pd.DataFrame({"parameter": table["parameter"]})
            for name in columns:
                shown[name] = [_told(row, name) for row in table.to_dict("records")]
            if design == "morris":
                shown["mu"], shown["sigma"] = table["mu"].map("{:+.3f}".format), table["sigma"].map("{:.3f}".format)
                shown["kept"] = table["kept"].map({True: "yes", False: ""})
            shown = shown.loc[table[columns[-1]].sort_values(ascending=False).index]
            lines += [f"  {line}" for line in shown.to_string(index=False).splitlines()]
        lines.append("  AdaRFT ahead, in the four quarters of a parameter's range:")
        for parameter, block in tables.quarters.query("learner == @learner").groupby("parameter", sort=False):
            told = ", ".join(f"{row['share_positive']:.0%} ({row['low']:.3g} to {row['high']:.3g})"
                             for row in block.to_dict("records"))  # fmt: skip
            lines.append(f"    {parameter}: {told}")
    lines += ["", f"The goal is {GOAL:.0%} of uniform's gain on the same seed. The log ratio of steps leads unless "
                  f"more than {MOST_CENSORED:.0%} of AdaRFT's runs miss it, then that of gains does. All are tabled.",
              "mu*: mean absolute effect of crossing the range; mu: with its sign. S1: share of variance explained "
              "alone, ST: with interactions. [95 % interval]"]  # fmt: skip
    return "\n".join(lines)


def _told(row: Mapping[Any, Any], name: str) -> str:
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
