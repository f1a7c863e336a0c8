"""Curves to runs to summary: tables with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis import stats
from workbench.analysis.estimates import Question, estimates, mean, sign_patterns
from workbench.analysis.frame import (
    ARM,
    BLOCK,
    baseline_rows,
    check_numbers,
    check_table,
    described,
    ordered_curves,
    ordered_runs,
    rows_by,
)
from workbench.errors import InputError, check_count, check_number, check_text, shown
from workbench.registry import BASELINE

# What a run costs besides its steps: totals at its end. Tables of other trainers may lack some.
COSTS = ("rollouts", "trained", "probed", "tokens", "forwards", "short", "label_rollouts")
MEASURED = ("threshold", "steps_to_threshold", "reached", "rollouts_to_threshold", "auc", "final", "silent_share",
            "coverage")  # fmt: skip


@dataclass(frozen=True)
class Column:
    """What a column of the summary says. Figures, report and README take their words from here.

    label: for an axis, with {baseline} for its name; unit: of its numbers, "" for shares and probabilities; meaning:
    one sentence; head: over the column of the printed report, "" where that does not show it. centre: the value that
    means no difference to the baseline, None for a column that is not a comparison; ratio: whether it is one.
    """

    label: str
    unit: str
    meaning: str
    head: str = ""
    centre: float | None = None
    ratio: bool = False

    def axis(self, baseline: str) -> str:
        """The label with its unit, over two lines where it is long."""
        label = self.label.format(baseline=baseline)
        if not self.unit:
            return label
        return f"{label}{' ' if len(label) + len(self.unit) < 40 else chr(10)}({self.unit})"


COLUMNS = {
    "steps": Column(
        "mean steps to threshold", "updates",
        "mean updates until held-out success has made 80 % of the gain that uniform makes over the whole run; "
        "[95 % interval]", "steps to threshold",
    ),
    "censored": Column(
        "runs that never reached the threshold", "runs",
        "runs that never got there; they count with their last step, so the true mean is larger", "censored",
    ),
    "rollouts": Column("rollouts to threshold", "rollouts", "attempts spent until there", "rollouts"),
    "speedup": Column(
        "speed-up over {baseline}", "×, ratio of mean steps to threshold",
        "uniform's steps over the rule's, on the same seeds", "speed-up", centre=1.0, ratio=True,
    ),
    "auc": Column(
        "held-out success, mean over training (IQM)", "",
        "held-out success averaged over training, all difficulty deciles equally weighted; interquartile mean over "
        "seeds", "area",
    ),
    "auc_gain": Column(
        "gain over {baseline} in held-out success,\nmean over training", "",
        "difference of the interquartile means of the areas, the controller's minus uniform's", centre=0.0,
    ),
    "improvement": Column(
        "probability of improvement over {baseline}", "",
        "probability that a random run has a larger area than a random run of uniform", centre=0.5,
    ),
    "p": Column("sign-flip p-value", "", "paired sign-flip test on the mean difference in area"),
    "p_holm": Column(
        "sign-flip p-value, Holm-adjusted", "",
        "paired sign-flip test on the area, Holm-adjusted over all comparisons of the study", "against uniform",
    ),
    "final": Column("held-out success after the last step", "", "the same after the last step", "final"),
    "silent_share": Column(
        "share of groups without signal", "",
        "share of groups whose rollouts all agree, so that group-relative advantages are zero", "silent",
    ),
    "coverage": Column("share of the pool seen", "", "share of the pool drawn at least once", "covered"),
}  # fmt: skip


COST_COLUMNS = {  # of `costs_table`; all but the last are columns of the summary too
    "mean_rollouts": Column(
        "generated in a run", "rollouts", "rollouts, those of rejected groups and of probes included", "generated",
    ),
    "mean_trained": Column(
        "trained on in a run", "rollouts", "rollouts of the groups that were learned from", "trained on",
    ),
    "mean_probed": Column(
        "probes of a run", "rollouts", "rollouts that a rule asked for to measure items, not to learn from", "probes",
    ),
    "mean_tokens": Column("generated in a run", "tokens", "tokens of all rollouts"),
    "mean_forwards": Column(
        "predictions of helper models in a run", "items", "of helper models, one item each", "predictions",
    ),
    "mean_short": Column(
        "updates on fewer groups than asked for", "updates",
        "updates on fewer groups than asked for, because gates rejected too many", "short",
    ),
    "rollouts_saved": Column(
        "saved to the threshold", "rollouts", "rollouts to the threshold, uniform's minus the controller's", "saved",
    ),
    "mean_label_rollouts": Column(
        "spent on labels", "rollouts",
        "rollouts that were bought before training for the difficulty labels, if the rule reads them and the pool has "
        "counts", "labels",
    ),
    "repaid": Column(
        "labels over what a run saves", "runs", "number of runs after which the cost of the labels is recovered",
        "labels / saved",
    ),
}  # fmt: skip


def runs_table(curves: pd.DataFrame, threshold: float = 0.8, baseline: str | None = BASELINE) -> pd.DataFrame:
    """One row per run: when it reached the threshold, its area under the curve and its end.

    curves: the frame of any Record, or several of them together, in any order of rows: `pool`, `learner`, `controller`,
    `seed`, `step` and `success` at least. All runs on a pool and learner must have been recorded at the same steps.
    threshold: share of the gain of the baseline, in (0, 1]. For each pool and learner the level to reach is
    start + threshold (end - start) of the baseline's mean curve; NaN where the baseline gains nothing.
    baseline: a controller, or the one controller of a rule; None for none, and no threshold then.
    auc: mean of held-out success over the steps (`stats.area`). silent_share: mean over the run. coverage: at the end.
    What was not recorded is NaN.
    rollouts, trained, probed, tokens, forwards, short, label_rollouts: totals at the end, as in `loop.SERIES`;
    label_rollouts: attempts behind the difficulty labels, bought before training.
    Raises InputError for a table with gaps, with a run twice, or without the baseline.
    """
    check_number("threshold", threshold, 0, 1, open_low=True)
    curves = ordered_curves(curves, ["success"])
    check_numbers(curves, "curves", ["success"], finite=True)
    measured = ("rollouts", "silent_share", "coverage", *COSTS)
    check_numbers(curves, "curves", [name for name in measured if name in curves])
    keys, is_base = described(curves), baseline_rows(curves, baseline)
    rows = []
    for here in rows_by(curves, BLOCK):
        block = curves.iloc[here[0] : here[-1] + 1]
        steps = np.sort(block["step"].unique())
        if len(steps) < 2:
            raise InputError(f"curves: must have at least 2 steps of each run, got only {steps[0]}")
        base = block[is_base[block.index]].groupby("step")["success"].mean()
        gain = base.iloc[-1] - base.iloc[0] if len(base) else 0.0
        level = base.iloc[0] + threshold * gain if gain > 1e-9 else np.nan
        width = len(steps)
        success = _series(block, "success", width)
        if np.isfinite(level):
            time, reached = stats.steps_to_threshold(steps, success, level)
        else:
            time, reached = np.full(len(success), np.nan), np.zeros(len(success), bool)
        spent = zip(time, _series(block, "rollouts", width), strict=True)
        runs = block.iloc[::width][[*keys, "seed"]]
        silent = _series(block, "silent_share", width)[:, 1:]
        weights = np.diff(steps)  # the last record may be short
        rows.append(
            runs.assign(
                threshold=level,
                steps_to_threshold=time,
                reached=reached,
                rollouts_to_threshold=[np.interp(t, steps, row) for t, row in spent],
                auc=stats.area(steps, success),
                final=success[:, -1],
                silent_share=np.concatenate([_mean_over(weights, silent[arm]) for arm in rows_by(runs, ARM)]),
                coverage=_series(block, "coverage", width)[:, -1],
                **{name: _series(block, name, width)[:, -1] for name in COSTS if name in block},
            )
        )
    return pd.concat(rows, ignore_index=True)


def _series(block: pd.DataFrame, name: str, width: int) -> Any:
    """(R, E) of a block's rows, sorted by run, then step; NaN where it was not recorded."""
    values = block[name].to_numpy() if name in block else np.full(len(block), np.nan)
    return values.reshape(-1, width)


def _mean_over(weights: Any, values: Any) -> Any:
    """(N,) weighted means of (N, E) over what is not NaN; NaN where all is."""
    there = ~np.isnan(values)
    total = (weights * there).sum(axis=1)
    mean = np.divide(np.where(there, values, 0.0) @ weights, total, out=np.zeros(len(values)), where=total > 0)
    return np.where(total > 0, mean, np.nan)


def summary_table(
    runs: pd.DataFrame, horizon: int, level: float = 0.95, baseline: str | None = BASELINE
) -> pd.DataFrame:
    """One row per arm: estimates with intervals, and how the arm compares with the baseline on the seeds of both.

    runs: as `runs_table` gives them, in any order. baseline: as there; with None nothing is compared.
    steps: restricted mean steps to threshold, censored runs counting as `horizon`. speedup: the baseline's over the
    arm's. rollouts: to the threshold; rollouts_saved: the baseline's minus the arm's. auc, final: interquartile means.
    auc_gain: difference of interquartile means to the baseline, interval paired by seed. mean_rollouts, ..: means of
    the runs' totals.
    p: paired sign-flip test on the area under the curve; p_holm: adjusted over all comparisons of the study.
    verdict: better or worse than the baseline where p_holm <= 1 - level, by the sign of the mean difference in area,
    which is what the test tests: the interquartile means of auc_gain leave out the extreme seeds, and may differ in
    sign from it. The mean has an exact test (under the null, seeds' signs are exchangeable) with the fewest seeds;
    equal: the same area on every seed; otherwise no difference or, where no result could have been significant with
    that many comparisons (`stats.seeds_needed`), too few seeds; no baseline: nothing was compared.
    """
    runs = ordered_runs(runs, [*MEASURED, "rule"])
    check_number("level", level, 0, 1, open_low=True, open_high=True)
    keys, is_base = described(runs), baseline_rows(runs, baseline)
    costs = [name for name in COSTS if name in runs]
    numbers = [name for name in (*MEASURED, *costs) if name != "reached"]
    check_numbers(runs, "runs", numbers)
    columns = {name: runs[name].to_numpy(np.float64, na_value=np.nan) for name in numbers}
    columns |= {"seed": runs["seed"].to_numpy(), "reached": runs["reached"].astype(bool).to_numpy()}
    arms, blocks = rows_by(runs, ARM), rows_by(runs, BLOCK)
    ask = Question(horizon, level, comparisons=len(arms) - len(blocks))
    parts = []
    for block in blocks:
        here = [arm for arm in arms if block[0] <= arm[0] <= block[-1]]
        parts.append(pd.DataFrame(estimates(columns, here, block[is_base[block]], ask, costs)))
    first = [arm[0] for arm in arms]
    described_by = pd.DataFrame({key: list(runs[key].iloc[first]) for key in keys})
    table = pd.concat([described_by, pd.concat(parts, ignore_index=True)], axis=1)
    table["p_holm"] = stats.holm(table["p"].to_numpy())
    gain, pairs = table.pop("mean_gain").to_numpy(), table.pop("pairs").to_numpy()
    equal, sure = table.pop("equal").to_numpy(bool), (table["p_holm"] <= 1 - level).to_numpy()
    enough = np.array([enough_seeds(seeds, ask.comparisons, level) for seeds in pairs])
    if baseline is None:
        return table.assign(verdict="no baseline")
    names = set(runs.loc[is_base, ARM].itertuples(index=False, name=None))
    is_base_arm = np.array([arm in names for arm in table[ARM].itertuples(index=False, name=None)])
    return table.assign(
        verdict=np.select(
            [is_base_arm, equal, sure & (gain > 0), sure & (gain < 0), enough],
            ["baseline", "equal", "better", "worse", "no difference"],
            "too few seeds",
        )
    )


def enough_seeds(seeds: int, comparisons: int, level: float = 0.95) -> bool:
    """Whether a sign-flip test on so many seeds can be significant at all after Holm over so many comparisons."""
    return check_count("seeds", seeds, 0) >= stats.seeds_needed(comparisons, level)


def rivals_table(runs: pd.DataFrame, rule: str | None = None, baseline: str | None = BASELINE) -> pd.DataFrame:
    """Each arm of another rule against `rule` (at its best setting) on the same pool, learner and seeds.

    rule: by default the leading one, see `leading_rule`. Seeds that only one of the two ran on do not count.
    auc_gain: mean paired difference of the areas, rival minus `rule`; NaN where they have no seed in common. p_holm:
    sign-flip test on it, adjusted over the table. enough: whether significance was attainable with this many seeds.
    equal: whether the areas are the same on every seed. Raises InputError for a rule that the table does not have.
    """
    runs = ordered_runs(runs, ["auc"])
    check_numbers(runs, "runs", ["auc"], finite=True)
    if rule is None:
        rule = leading_rule(runs, baseline)
    check_text("rule", rule)
    if rule not in set(runs["rule"]):
        raise InputError(f"rule: must be among {', '.join(dict.fromkeys(runs['rule']))}, got {shown(rule)}")
    mine = runs["rule"] == rule
    others = runs.loc[~mine, ARM].drop_duplicates()
    comparisons = len(others)
    best = {key[:2]: key[3] for key in _best_settings(runs[mine])}
    rows = [(*block, best[tuple(block)], rival) for *block, rival in others.itertuples(index=False, name=None)
            if tuple(block) in best]  # fmt: skip
    areas = runs.pivot(index=ARM, columns="seed", values="auc")  # of all blocks: NaN where a seed is of others only
    place = dict(zip(areas.index, range(len(areas)), strict=True))
    numbers = areas.to_numpy(np.float64)
    ours, theirs = ([place[pool, learner, row[end]] for pool, learner, *row in rows] for end in (0, 1))
    gains = [gain[~np.isnan(gain)] for gain in numbers[theirs] - numbers[ours]]
    table = pd.DataFrame(rows, columns=["pool", "learner", "controller", "rival"]).assign(
        auc_gain=[gain.mean() if len(gain) else np.nan for gain in gains],
        p=_sign_flips(gains, sign_patterns(comparisons)),
        enough=[enough_seeds(len(gain), comparisons) for gain in gains],
        equal=[bool(len(gain)) and bool((gain == 0).all()) for gain in gains],
    )
    return table.assign(p_holm=stats.holm(table["p"].to_numpy(np.float64)))


def _sign_flips(differences: list[Any], patterns: int) -> Any:
    """p of each, those of as many seeds in one go; NaN for one without a pair."""
    p, counts = np.full(len(differences), np.nan), np.array([len(one) for one in differences], np.int64)
    for count in set(counts[counts > 0].tolist()):
        of = np.flatnonzero(counts == count)
        p[of] = stats.sign_flip_tests(np.array([differences[one] for one in of]), patterns)
    return p


def _best_settings(runs: pd.DataFrame) -> list[tuple[Any, ...]]:
    """(pool, learner, rule, controller) with the largest mean area, of each rule on each pool and learner."""
    keys = [*BLOCK, "rule"]
    means = runs.groupby([*keys, "controller"], sort=False, observed=True)["auc"].mean()
    return list(means.groupby(level=keys, sort=False, observed=True).idxmax())


def leading_rule(runs: pd.DataFrame, baseline: str | None = BASELINE) -> str:
    """The rule that ranks highest by area over pools and learners, the baseline left out.

    Where every rule has one setting this is the first of `ranking_table` beside the baseline. A rule with several
    counts with its best one on each pool and learner. Ranks are those of the mean gain in area over the baseline on
    the seeds of both, among the rules that ran there, averaged over all pools and learners; of equals the first.
    Raises InputError where the baseline is the only rule.
    """
    runs = ordered_runs(runs, ["auc"])
    check_numbers(runs, "runs", ["auc"], finite=True)
    is_base = baseline_rows(runs, baseline)
    others = runs[~is_base]
    gain = others["auc"].to_numpy(np.float64)
    if is_base.any():
        pairs = [*BLOCK, "seed"]
        base = runs[is_base].set_index(pairs)["auc"]
        gain = gain - base.reindex(pd.MultiIndex.from_frame(others[pairs])).to_numpy(np.float64)
    rows = others.groupby([*BLOCK, "rule", "controller"], sort=False, observed=True).indices
    gains: dict[tuple[Any, ...], dict[str, float]] = {}  # of the rules on each pool and learner
    for key in _best_settings(others):
        gains.setdefault(key[:2], {})[key[2]] = float(mean(gain[rows[key]][None])[0])
    if not any(np.isfinite(one) for some in gains.values() for one in some.values()):
        raise InputError(f"runs: must have a rule beside the baseline, got {', '.join(dict.fromkeys(runs['rule']))}")
    ranks = [pd.Series(some, dtype=np.float64).rank(ascending=False) for some in gains.values()]
    return str(pd.concat(ranks, axis=1).mean(axis=1).idxmin())


def baseline_name(summary: pd.DataFrame) -> str | None:
    """The controller that the others of a summary are compared with, "the baseline" where it has several names."""
    check_table(summary, "summary", [])
    if "verdict" not in summary:
        return None
    check_table(summary, "summary", ["controller"])
    names = list(dict.fromkeys(summary["controller"][summary["verdict"] == "baseline"]))
    return None if not names else str(names[0]) if len(names) == 1 else "the baseline"


def costs_table(summary: pd.DataFrame) -> pd.DataFrame:
    """What each controller spends in a run and what it saves, per pool: means over its learners.

    Columns: pool, controller; the `mean_` columns of the summary; rollouts_saved; repaid: number of runs after which
    the cost of the labels is recovered, labels over what one run saves, NaN where nothing is bought or saved.
    """
    summary = check_table(summary, "summary", ["pool", "controller", "rollouts_saved"])
    spent = [column for column in summary.columns if str(column).startswith("mean_")]
    check_numbers(summary, "summary", [*spent, "rollouts_saved"])
    keys = ["pool", "controller"]
    table = summary.groupby(keys, sort=False, observed=True)[[*spent, "rollouts_saved"]].mean().reset_index()
    if "mean_label_rollouts" in table:
        labels, saved = table["mean_label_rollouts"], table["rollouts_saved"]
        table["repaid"] = (labels / saved.where(saved > 0)).where(labels > 0)
    return table
