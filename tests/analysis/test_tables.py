"""From curves to runs to summary to words: every number against a plain expression on hand-made curves."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean

from workbench.analysis import stats
from workbench.analysis.ranking import OVERALL, ranking_table
from workbench.analysis.report import report
from workbench.analysis.tables import COSTS, enough_seeds, leading_rule, rivals_table, runs_table, summary_table
from workbench.errors import InputError

STEPS = (0, 4, 8, 10)  # the last record comes early, as where steps is no multiple of eval_every
PER_STEP = 32  # rollouts
HORIZON = STEPS[-1]


def arm(controller, success, *, learner="scalar", pool="p", silent=0.25, **swept):
    """Curves of one arm: success (N seeds, E records)."""
    success = np.asarray(success, dtype=float)
    seeds, records = success.shape
    frame = pd.DataFrame({"seed": np.repeat(np.arange(seeds), records), "step": np.tile(STEPS, seeds)})
    frame = frame.assign(
        rollouts=frame["step"] * PER_STEP,
        success=success.ravel(),
        silent_share=np.broadcast_to(silent, success.shape).ravel(),
        coverage=frame["step"] / 100,
    )
    frame.loc[frame["step"] == 0, "silent_share"] = np.nan
    law, rule = learner.split()[0], controller.split()[0]
    keys = {"pool": pool, "learner": learner, "controller": controller, "law": law, "rule": rule} | swept
    return pd.concat([pd.DataFrame(keys, index=frame.index), frame], axis=1)


def table(*arms):
    return pd.concat(arms, ignore_index=True)


# Uniform climbs from 0.2 to 0.7 on average, so 80 % of its gain is success 0.6.
UNIFORM = [[0.2, 0.4, 0.5, 0.8], [0.2, 0.3, 0.4, 0.6], [0.2, 0.4, 0.5, 0.7], [0.2, 0.3, 0.6, 0.7]]
FAST = [[0.2, 0.6, 0.7, 0.9], [0.2, 0.5, 0.7, 0.8], [0.2, 0.7, 0.7, 0.8], [0.2, 0.6, 0.8, 0.9]]
STUCK = [[0.2, 0.2, 0.3, 0.4], [0.2, 0.3, 0.3, 0.3], [0.2, 0.3, 0.4, 0.5], [0.2, 0.3, 0.5, 0.7]]
CURVES = table(arm("uniform", UNIFORM), arm("filter", STUCK), arm("adarft", FAST))
RUNS = runs_table(CURVES)
SUMMARY = summary_table(RUNS, HORIZON)



def spending(curves, labels, trained=1.0, probed=0, forwards=0, short=0):
    """An arm's curves with what it cost: shares of its rollouts, and numbers per step."""
    step, rollouts = curves["step"], curves["rollouts"]
    return curves.assign(
        trained=trained * rollouts, probed=probed * step, tokens=500.0 * rollouts, forwards=forwards * step,
        short=short * step, label_rollouts=labels,
    )  # fmt: skip


COSTLY = arm("dots", FAST)
SPENT_RUNS = runs_table(table(
    spending(arm("uniform", UNIFORM), 0.0),
    spending(arm("adarft", FAST), 1000.0),
    spending(arm("filter", STUCK), np.nan),
    spending(COSTLY.assign(rollouts=2 * COSTLY["rollouts"]), 0.0, trained=0.5, probed=16, forwards=300, short=0.5),
    spending(arm("pcl", FAST[:2]), 0.0, forwards=24),
))  # fmt: skip
SPENT = summary_table(SPENT_RUNS, HORIZON)


def of(frame, controller, column):
    return frame.loc[frame["controller"] == controller, column].to_numpy()


def test_the_row_of_an_arm_is_the_same_alone_and_beside_arms_of_other_seeds():
    seeds = {"uniform": range(4), "filter": range(3), "adarft": (1, 3), "band": range(4), "late": (7, 9)}
    rows = {"uniform": UNIFORM, "filter": STUCK[:3], "adarft": FAST[:2], "band": FAST, "late": STUCK[:2]}
    runs = runs_table(table(*(arm(name, success) for name, success in rows.items())))
    for name, own in seeds.items():
        runs.loc[runs["controller"] == name, "seed"] = own
    together = summary_table(runs, HORIZON).set_index("controller").drop(columns=["p_holm", "verdict"])
    for name in rows:
        two = runs[runs["controller"].isin(["uniform", name])]
        alone = summary_table(two, HORIZON).set_index("controller").loc[[name]]
        pd.testing.assert_frame_equal(together.loc[[name]], alone[together.columns], check_exact=True)
    assert together["seeds"].tolist() == [4, 3, 2, 4, 2]
    assert np.isnan(together.loc["late", ["auc_gain", "speedup", "p", "improvement"]].astype(float)).all()


# ---- runs


def test_one_row_per_run_with_the_keys_in_front_and_the_columns_of_the_contract():
    keys = ["pool", "learner", "controller", "law", "rule", "seed"]
    measured = ["threshold", "steps_to_threshold", "reached", "rollouts_to_threshold", "auc", "final"]
    assert list(RUNS.columns) == [*keys, *measured, "silent_share", "coverage", "rollouts"]
    assert list(SPENT_RUNS.columns) == [*keys, *measured, "silent_share", "coverage", *COSTS]
    assert len(RUNS) == 12
    assert list(RUNS["controller"].unique()) == ["uniform", "filter", "adarft"]
    assert not RUNS.duplicated(["controller", "seed"]).any()


def test_the_threshold_is_a_share_of_what_uniform_gains_on_average():
    mean = np.mean(UNIFORM, axis=0)
    for share in (0.1, 0.8, 1.0):
        level = mean[0] + share * (mean[-1] - mean[0])
        assert runs_table(CURVES, share)["threshold"].to_numpy() == pytest.approx(level)


def test_steps_to_threshold_by_hand():
    # success 0.6, linear between records: 0.5 -> 0.8 over steps 8 to 10, and so on
    assert of(RUNS, "uniform", "steps_to_threshold") == pytest.approx([8 + 2 / 3, 10, 9, 8])
    assert of(RUNS, "adarft", "steps_to_threshold") == pytest.approx([4, 6, 3.2, 4])
    assert of(RUNS, "filter", "steps_to_threshold") == pytest.approx([10, 10, 10, 9])


def test_a_run_that_never_gets_there_is_censored_at_the_last_step():
    assert of(RUNS, "filter", "reached").tolist() == [False, False, False, True]
    assert of(RUNS, "adarft", "reached").all()


def test_a_run_that_starts_above_the_threshold_is_there_at_step_zero():
    curves = table(arm("uniform", UNIFORM), arm("adarft", np.full((4, 4), 0.65)))
    assert of(runs_table(curves), "adarft", "steps_to_threshold").tolist() == [0, 0, 0, 0]


def test_rollouts_to_threshold_are_the_steps_times_the_rollouts_of_a_step():
    assert RUNS["rollouts_to_threshold"].to_numpy() == pytest.approx(PER_STEP * RUNS["steps_to_threshold"].to_numpy())


def test_the_area_is_the_mean_height_of_trapezoids_over_unequal_steps():
    for controller, success in (("uniform", UNIFORM), ("filter", STUCK), ("adarft", FAST)):
        area = [4 * (a + b) / 2 + 4 * (b + c) / 2 + 2 * (c + d) / 2 for a, b, c, d in success]
        assert of(RUNS, controller, "auc") == pytest.approx(np.array(area) / 10)


def test_final_and_coverage_are_those_of_the_last_record():
    assert of(RUNS, "adarft", "final").tolist() == [row[-1] for row in FAST]
    assert RUNS["coverage"].tolist() == [0.1] * 12


def test_the_silent_share_of_a_run_weighs_each_record_with_the_steps_it_speaks_for():
    curves = table(arm("uniform", UNIFORM, silent=[np.nan, 0.1, 0.2, 0.8]))
    assert runs_table(curves)["silent_share"].to_numpy() == pytest.approx((4 * 0.1 + 4 * 0.2 + 2 * 0.8) / 10)


@pytest.mark.parametrize("end", [0.2, 0.1], ids=["level", "down"])
def test_where_uniform_gains_nothing_there_is_no_threshold_and_nobody_reaches_it(end):
    flat = np.tile(np.linspace(0.2, end, 4), (4, 1))
    runs = runs_table(table(arm("uniform", flat), arm("adarft", FAST)))
    assert runs[["threshold", "steps_to_threshold", "rollouts_to_threshold"]].isna().all(axis=None)
    assert not runs["reached"].any()
    assert of(runs, "adarft", "auc") == pytest.approx(of(RUNS, "adarft", "auc"))
    summary = summary_table(runs, HORIZON)
    assert summary[["threshold", "steps", "rollouts", "speedup"]].isna().all(axis=None)
    assert "no threshold: uniform gains nothing" in report(runs, summary, HORIZON)


def test_each_pool_and_learner_has_a_threshold_of_its_own():
    slower = np.array(UNIFORM) / 2
    curves = table(
        *(arm("uniform", y, pool=p, learner=lr) for y, p, lr in [(UNIFORM, "p", "scalar"), (slower, "q", "scalar")]),
        arm("uniform", slower, pool="p", learner="scalar kappa=0.01"),
    )
    levels = runs_table(curves).groupby(["pool", "learner"])["threshold"].unique()
    assert levels["p", "scalar"] == pytest.approx([0.6])
    assert levels["q", "scalar"] == pytest.approx([0.3])
    assert levels["p", "scalar kappa=0.01"] == pytest.approx([0.3])


def test_swept_parameters_stay_beside_the_keys():
    curves = table(arm("uniform", UNIFORM, **{"adarft.eta": np.nan}), arm("adarft eta=5", FAST, **{"adarft.eta": 5.0}))
    runs = runs_table(curves)
    summary = summary_table(runs, HORIZON)
    assert list(summary.columns[:6]) == ["pool", "learner", "controller", "law", "rule", "adarft.eta"]
    assert of(runs, "adarft eta=5", "adarft.eta").tolist() == [5.0] * 4
    assert np.isnan(of(summary, "uniform", "adarft.eta")).all()


@settings(max_examples=10, deadline=None)
@given(shift=st.floats(-0.2, 0.1), share=st.floats(0.05, 1))
def test_lifting_every_curve_lifts_areas_and_moves_no_crossing(shift, share):
    runs = runs_table(CURVES, share)
    lifted = runs_table(CURVES.assign(success=CURVES["success"] + shift), share)
    for column in ("auc", "final", "threshold"):
        assert lifted[column].to_numpy() == pytest.approx(runs[column].to_numpy() + shift)
    # away from a tie: at share 1 a run may end exactly on the level, where rounding decides
    clear = runs["reached"] & lifted["reached"]
    assert lifted["steps_to_threshold"][clear].to_numpy() == pytest.approx(runs["steps_to_threshold"][clear].to_numpy())


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, np.nan])
def test_a_threshold_outside_its_domain_is_refused(share):
    with pytest.raises(InputError, match=r"threshold: must be a number in \(0, 1\]"):
        runs_table(CURVES, share)


# ---- summary


def test_the_summary_has_the_columns_of_the_contract():
    estimates = ["steps", "speedup", "auc", "auc_gain", "final"]
    wanted = {"pool", "learner", "controller", "law", "rule", "seeds", "threshold", "censored", "rollouts"}
    wanted |= {"p", "p_holm", "improvement", "silent_share", "coverage", "verdict"}
    wanted |= {name + end for name in estimates for end in ("", "_low", "_high")}
    wanted |= {"rollouts_saved", "mean_rollouts"}
    assert set(SUMMARY.columns) == wanted
    assert set(SPENT.columns) == wanted | {f"mean_{name}" for name in COSTS}
    assert SUMMARY["controller"].tolist() == ["uniform", "filter", "adarft"]
    assert SUMMARY["seeds"].tolist() == [4, 4, 4]


def test_summary_values_are_the_plain_expressions():
    row = SUMMARY.set_index("controller")
    for name in ("uniform", "filter", "adarft"):
        steps, auc, final = (of(RUNS, name, c) for c in ("steps_to_threshold", "auc", "final"))
        assert row.at[name, "steps"] == pytest.approx(steps.mean())  # censored runs count as the horizon
        assert row.at[name, "rollouts"] == pytest.approx(PER_STEP * steps.mean())
        assert row.at[name, "auc"] == pytest.approx(trim_mean(auc, 0.25))
        assert row.at[name, "final"] == pytest.approx(trim_mean(final, 0.25))
        assert row.at[name, "silent_share"] == pytest.approx(0.25)
        assert row.at[name, "coverage"] == pytest.approx(0.1)
    assert row["censored"].tolist() == [0, 3, 0]


def test_costs_are_the_totals_of_the_runs_and_their_means():
    row = SPENT.set_index("controller")
    spent = ["mean_rollouts", "mean_trained", "mean_probed", "mean_tokens", "mean_forwards", "mean_short"]
    assert row.loc["uniform", spent].tolist() == [320, 320, 0, 160_000, 0, 0]
    assert row.loc["dots", spent].tolist() == [640, 320, 160, 320_000, 3000, 5]
    assert row["mean_label_rollouts"].tolist() == pytest.approx([0, 1000, np.nan, 0, 0], nan_ok=True)
    assert of(SPENT_RUNS, "dots", "forwards").tolist() == [3000] * 4


def test_what_is_saved_is_counted_on_the_seeds_that_both_ran_on():
    row = SPENT.set_index("controller")
    slow, fast = (of(SPENT_RUNS, name, "rollouts_to_threshold") for name in ("uniform", "adarft"))
    assert row.at["adarft", "rollouts_saved"] == pytest.approx((slow - fast).mean())
    assert row.at["pcl", "rollouts_saved"] == pytest.approx((slow - fast)[:2].mean())
    assert row.at["uniform", "rollouts_saved"] == 0


def test_comparisons_with_uniform_are_the_plain_expressions():
    row = SUMMARY.set_index("controller")
    base_steps, base = of(RUNS, "uniform", "steps_to_threshold"), of(RUNS, "uniform", "auc")
    for name in ("filter", "adarft"):
        steps, auc = of(RUNS, name, "steps_to_threshold"), of(RUNS, name, "auc")
        assert row.at[name, "speedup"] == pytest.approx(base_steps.mean() / steps.mean())
        assert row.at[name, "auc_gain"] == pytest.approx(trim_mean(auc, 0.25) - trim_mean(base, 0.25))
        wins = [(a > b) + (a == b) / 2 for a, b in itertools.product(auc, base)]
        assert row.at[name, "improvement"] == pytest.approx(np.mean(wins))
        d = auc - base
        flips = [abs(np.dot(s, d)) for s in itertools.product((-1, 1), repeat=4)]
        assert row.at[name, "p"] == pytest.approx(np.mean([f >= abs(d.sum()) - 1e-12 for f in flips]))
    small, large = sorted(row.loc[["filter", "adarft"], "p"])
    assert sorted(row.loc[["filter", "adarft"], "p_holm"]) == pytest.approx([2 * small, max(2 * small, large)])


def test_the_baseline_is_not_compared_with_itself():
    row = SUMMARY.set_index("controller").loc["uniform"]
    assert row["verdict"] == "baseline"
    assert row[["speedup", "auc_gain", "p", "p_holm", "improvement"]].isna().all()


def test_intervals_are_those_of_the_statistics_module():
    row = SUMMARY.set_index("controller").loc["adarft"]
    auc = stats.interval(of(RUNS, "adarft", "auc"))
    assert (row["auc"], row["auc_low"], row["auc_high"]) == auc
    crossings = (
        stats.Crossing(of(RUNS, c, "steps_to_threshold"), of(RUNS, c, "reached")) for c in ("uniform", "adarft")
    )
    assert (row["speedup"], row["speedup_low"], row["speedup_high"]) == stats.speedup(*crossings, HORIZON)


def test_intervals_widen_with_the_level():
    wide = summary_table(RUNS, HORIZON, level=0.99).set_index("controller").loc["adarft"]
    narrow = summary_table(RUNS, HORIZON, level=0.5).set_index("controller").loc["adarft"]
    assert wide["auc_low"] < narrow["auc_low"] <= narrow["auc"] <= narrow["auc_high"] < wide["auc_high"]


def heights(seeds, gain):
    """Success of `seeds` runs, after the start everywhere about `gain` above those of gain 0."""
    luck = 0.01 * np.sin(np.arange(seeds))[:, None]
    return np.linspace(0.2, 0.6, 4) + luck + gain * (1 + 10 * luck) * np.array([0, 1, 1, 1])


def many(seeds, gain, controller="adarft", **keys):
    return arm(controller, heights(seeds, gain), **keys)


def noisy(seeds, gain, controller, **keys):
    """As `many`, but on every seed a little above or below it in turn: level, and not equal."""
    shift = np.where(np.arange(seeds) % 2, 0.001, -0.001)[:, None] * np.array([0, 1, 1, 1])
    return arm(controller, heights(seeds, gain) + shift, **keys)


def judge(*arms):
    runs = runs_table(table(*arms))
    return runs, summary_table(runs, HORIZON)


def test_a_verdict_needs_both_a_direction_and_a_small_adjusted_p():
    _, summary = judge(many(8, 0, "uniform"), many(8, 0.05), many(8, -0.05, "filter"), many(8, 0, "band"))
    row = summary.set_index("controller")
    assert row["verdict"].to_dict() == {
        "uniform": "baseline", "adarft": "better", "filter": "worse", "band": "equal",
    }  # fmt: skip
    assert row.at["adarft", "p"] == pytest.approx(2 / 2**8)  # all differences have one sign
    assert row.at["adarft", "p_holm"] == pytest.approx(3 * 2 / 2**8)
    assert row.at["band", "p_holm"] == 1


def test_a_verdict_takes_its_sign_from_the_difference_that_is_tested():
    """The arm loses by .1 on its three worst and three best seeds and gains .005 on the others: worse in the mean,
    which the sign-flip test tests, ahead in interquartile means, which leave out those seeds."""
    base = np.array([0.10, 0.11, 0.12, 0.50, 0.51, 0.52, 0.53, 0.54, 0.55, 0.80, 0.81, 0.82])
    shift = np.array([-0.1] * 3 + [0.005] * 6 + [-0.1] * 3)

    def curves(height, name):
        return arm(name, np.column_stack([np.zeros(12), *[height] * 3]))

    _, summary = judge(curves(base, "uniform"), curves(base + shift, "adarft"))
    row = summary.set_index("controller").loc["adarft"]
    assert row["auc_gain"] > 0
    assert row["p_holm"] == pytest.approx(2 * 2**6 / 2**12)  # the six losses of one sign, whatever the rest
    assert row["verdict"] == "worse"


def test_an_arm_that_ran_on_other_seeds_is_compared_on_those_of_both():
    mine = many(8, 0.05).query("seed >= 3").assign(seed=lambda t: t["seed"] + 2)  # 5 to 9; uniform has 0 to 7
    runs, summary = judge(many(8, 0, "uniform"), mine)
    d = of(runs, "adarft", "auc")[:3] - of(runs, "uniform", "auc")[5:]
    row = summary.set_index("controller").loc["adarft"]
    assert row["seeds"] == 5
    assert row["p"] == stats.sign_flip_test(d) == 0.25
    assert row["auc"] == pytest.approx(trim_mean(of(runs, "adarft", "auc"), 0.25))
    apart = mine.assign(seed=mine["seed"] + 100)
    row = judge(many(8, 0, "uniform"), apart)[1].set_index("controller").loc["adarft"]
    assert row[["p", "speedup", "auc_gain"]].isna().all()
    assert row["verdict"] == "too few seeds"


@pytest.mark.parametrize(("seeds", "comparisons", "enough"), [(5, 1, False), (6, 1, True), (8, 6, True), (8, 7, False)])
def test_seeds_are_enough_where_the_smallest_p_there_can_be_survives_holm(seeds, comparisons, enough):
    smallest = stats.sign_flip_test(np.ones(seeds))
    assert (stats.holm([smallest] * comparisons)[0] <= 0.05) == enough
    assert enough_seeds(seeds, comparisons) == enough


def test_too_few_seeds_prove_nothing_and_the_verdict_says_so():
    runs, summary = judge(many(4, 0, "uniform"), many(4, 0.2))
    assert summary.set_index("controller").at["adarft", "verdict"] == "too few seeds"  # p = 1/8 at best
    text = report(runs, summary, HORIZON)
    assert "Too few seeds to say where adarft does not win (seeds: 4" in text
    assert not_won(text) == {}


def test_holm_counts_every_comparison_of_the_study():
    alone = judge(many(8, 0, "uniform"), many(8, 0.05))[1]
    block = [[many(8, 0, "uniform", pool=p), many(8, 0.05, pool=p)] for p in "pqrstuv"]
    among = judge(*itertools.chain(*block))[1]
    assert alone["p_holm"].min() == alone["p"].min() == among["p"].min()
    assert among["p_holm"].min() == pytest.approx(7 * alone["p"].min())
    assert set(alone["verdict"]) == {"baseline", "better"}
    assert set(among["verdict"]) == {"baseline", "too few seeds"}  # 7 * 2 / 2^8 > 0.05


def test_one_seed_gives_values_without_intervals_or_verdicts():
    _, summary = judge(many(1, 0, "uniform"), many(1, 0.05))
    row = summary.set_index("controller").loc["adarft"]
    assert np.isfinite([row["auc"], row["steps"], row["speedup"]]).all()
    assert np.isnan([row["auc_low"], row["auc_high"], row["speedup_low"]]).all()
    assert row["verdict"] == "too few seeds"


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_report_shows_no_nan_where_seeds_are_too_few_for_an_interval(seeds):
    runs, summary = judge(many(seeds, 0, "uniform"), many(seeds, 0.05))
    assert "nan" not in report(runs, summary, HORIZON)


# ---- rivals


def test_rivals_are_compared_with_a_rule_at_its_best_setting():
    runs, _ = judge(
        many(8, 0, "uniform"), many(8, 0.02, "adarft eta=5"), many(8, 0.05, "adarft eta=50"), many(8, 0.08, "band")
    )
    rivals = rivals_table(runs, "adarft")
    assert rivals["controller"].unique().tolist() == ["adarft eta=50"]
    assert rivals["rival"].tolist() == ["uniform", "band"]
    for rival, gain, p in rivals[["rival", "auc_gain", "p"]].itertuples(index=False):
        d = of(runs, rival, "auc") - of(runs, "adarft eta=50", "auc")
        assert gain == pytest.approx(d.mean())
        assert p == pytest.approx(2 / 2**8)
    assert rivals["p_holm"].to_numpy() == pytest.approx(2 * rivals["p"].to_numpy())


def test_by_default_rivals_are_compared_with_the_rule_that_leads():
    runs, _ = judge(many(8, 0, "uniform"), many(8, 0.05), many(8, 0.02, "band"))
    assert leading_rule(runs) == "adarft"
    assert rivals_table(runs)["controller"].unique().tolist() == ["adarft"]
    rivals = rivals_table(runs, rule="band").set_index("rival")
    assert rivals.index.tolist() == ["uniform", "adarft"]
    assert rivals.at["uniform", "auc_gain"] < 0 < rivals.at["adarft", "auc_gain"]


def test_the_leading_rule_is_the_first_of_the_ranking_beside_the_baseline():
    rng = np.random.default_rng(5)
    for _ in range(6):
        rules = ["adarft", "band", "filter", "sec"]
        arms = [
            many(4, float(gain), name, pool=pool, learner=learner)
            for pool, learner in itertools.product("pq", ("scalar", "kernel"))
            for name, gain in zip(["uniform", *rules], [0.0, *rng.normal(0.0, 0.1, 4)], strict=True)
        ]
        runs = runs_table(table(*arms))
        ranking = ranking_table(runs)
        others = ranking[(ranking["learner"] == OVERALL) & (ranking["controller"] != "uniform")]
        assert leading_rule(runs) == others["controller"].iloc[0]


def test_a_rule_leads_with_its_best_setting_on_each_learner_where_settings_are_scattered():
    runs = runs_table(table(
        *(many(8, 0, "uniform", learner=name) for name in ("scalar kappa=1", "scalar kappa=2")),
        many(8, 0.08, "adarft eta=5", learner="scalar kappa=1"), many(8, 0.02, "band", learner="scalar kappa=1"),
        many(8, 0.09, "adarft eta=7", learner="scalar kappa=2"), many(8, 0.02, "band", learner="scalar kappa=2"),
    ))  # fmt: skip
    assert leading_rule(runs) == "adarft"


def test_the_baseline_alone_leads_nothing():
    runs, summary = judge(many(8, 0, "uniform"))
    with pytest.raises(InputError, match="runs: must have a rule beside the baseline, got uniform"):
        leading_rule(runs)
    assert "does not win" not in report(runs, summary, HORIZON)
    with pytest.raises(InputError, match="rule: must be among uniform, got 'adarft'"):
        rivals_table(runs, "adarft")


def test_rivals_with_more_or_other_seeds_are_compared_on_the_seeds_of_both():
    """A rule that fits a model has three seeds where its rivals have eight."""
    few = many(8, 0.05, "alp-gmm")
    few = few[few["seed"].isin([0, 2, 5])]
    runs, _ = judge(many(8, 0, "uniform"), few, many(8, 0.02, "band"))
    rivals = rivals_table(runs, "alp-gmm").set_index("rival")
    for rival in ("uniform", "band"):
        d = of(runs, rival, "auc")[[0, 2, 5]] - of(runs, "alp-gmm", "auc")
        assert rivals.at[rival, "auc_gain"] == pytest.approx(d.mean())
        assert rivals.at[rival, "p"] == pytest.approx(2 / 2**3)
    assert not rivals["enough"].any()
    other = rivals_table(runs[~((runs["controller"] == "band") & runs["seed"].isin([0, 2, 5]))], "alp-gmm")
    row = other.set_index("rival").loc["band"]
    assert np.isnan(row[["auc_gain", "p", "p_holm"]].to_numpy(float)).all(), "no seed in common: nothing is known"
    assert not row["enough"]


# ---- words


def words(*arms, focus="adarft"):
    runs, summary = judge(*arms)
    return report(runs, summary, HORIZON, focus)


def not_won(text):
    """What the report says on adarft, by arm."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ") and " / adarft" in line]
    return dict(line.split(": ", 1) for line in lines)


def test_the_report_names_the_rules_that_beat_adarft_and_by_how_much():
    text = words(many(8, 0, "uniform"), many(8, 0.02), many(8, 0.08, "band"))
    runs, _ = judge(many(8, 0, "uniform"), many(8, 0.02), many(8, 0.08, "band"))
    gain = (of(runs, "band", "auc") - of(runs, "adarft", "auc")).mean()
    assert "Where adarft does not win" in text
    assert not_won(text) == {"p / scalar / adarft": f"beaten by band (+{gain:.3f})"}


def test_without_a_focus_the_report_is_about_the_rule_that_leads():
    arms = many(8, 0, "uniform"), many(8, 0.02), many(8, 0.08, "band"), many(8, 0.08, "sec")
    text = words(*arms, focus=None)
    assert "Where band does not win" in text
    assert "  p / scalar / band: equal to sec" in text.splitlines()
    assert "AdaRFT" not in text
    assert "adarft does not win" not in text
    with pytest.raises(InputError, match=r"^focus: must be .* \(uniform, adarft, band, sec\), got 'frozen'$"):
        words(*arms, focus="frozen")


def test_the_report_names_the_rules_that_adarft_is_level_with():
    text = words(many(8, 0, "uniform"), many(8, 0.05), noisy(8, 0.05, "frozen"))
    assert not_won(text) == {"p / scalar / adarft": "level with frozen"}


def test_the_report_says_when_no_schedule_matters():
    text = words(noisy(8, 0, "uniform"), many(8, 0), noisy(8, 0, "frozen"))
    assert not_won(text) == {"p / scalar / adarft": "level with every rule"}


def test_the_report_tells_an_exact_tie_from_a_difference_that_was_not_shown():
    """The same area on every seed, with however few seeds, is no question of seeds."""
    text = words(many(8, 0, "uniform"), many(8, 0), many(8, 0, "frozen"))
    assert not_won(text) == {"p / scalar / adarft": "equal to every rule"}
    text = words(many(2, 0, "uniform"), many(2, 0), many(2, 0, "frozen"))
    assert not_won(text) == {"p / scalar / adarft": "equal to every rule"}
    text = words(many(8, 0, "uniform"), many(8, 0.05), noisy(8, 0.05, "frozen"), many(8, 0.05, "band"))
    assert not_won(text) == {"p / scalar / adarft": "equal to band; level with frozen"}
    assert text.count("equal on every seed") == 0
    assert words(many(2, 0, "uniform"), many(2, 0)).count("equal on every seed") == 1


def test_the_report_says_when_adarft_comes_first_but_hardly_saves_steps():
    runs, summary = judge(many(8, 0, "uniform"), many(8, 0.004))
    ratio = summary.set_index("controller").at["adarft", "speedup"]
    assert 1 < ratio < 1.1
    said = f"first, but only {ratio:.2f} times as fast as uniform"
    assert not_won(report(runs, summary, HORIZON)) == {"p / scalar / adarft": said}


def test_the_report_distrusts_a_comparison_that_adarft_cannot_lose():
    text = words(many(8, 0, "uniform"), many(8, 0.2), many(8, 0.05, "band"))
    assert "adarft wins everywhere here: a study that it cannot lose says little" in text
    assert not_won(text) == {}


def test_the_report_has_a_block_per_pool_and_learner_and_a_line_per_controller():
    text = words(
        many(8, 0, "uniform"), many(8, 0.05),
        many(8, 0, "uniform", pool="q", learner="kernel"), many(8, 0.05, pool="q", learner="kernel"),
    )  # fmt: skip
    lines = text.splitlines()
    heads = [line for line in lines if line.startswith(("p / scalar", "q / kernel"))]
    assert [head.split("  ")[0] for head in heads] == ["p / scalar", "q / kernel"]
    assert all("threshold: success 0.5" in head for head in heads)
    for name in ("uniform", "adarft"):
        assert sum(line.startswith(f"  {name} ") for line in lines) == 2
    for word in ("steps to threshold", "censored", "rollouts", "speed-up", "area", "final", "silent", "covered"):
        assert text.count(word) >= 2


def test_a_line_of_the_report_prints_the_numbers_of_the_summary():
    text = report(RUNS, SUMMARY, HORIZON)
    line = next(line for line in text.splitlines() if line.startswith("  filter"))
    row = SUMMARY.set_index("controller").loc["filter"]
    for part in (
        f"{row['steps']:.0f} [{row['steps_low']:.0f}, {row['steps_high']:.0f}]",
        "3/4",
        f"{row['rollouts']:,.0f}",
        f"{row['speedup']:.2f} [{row['speedup_low']:.2f}, {row['speedup_high']:.2f}]",
        f"{row['auc']:.3f}",
        f"{row['final']:.3f}",
        "25%",
        "10%",
    ):
        assert part in line
    assert line.endswith("too few seeds")
    base = next(line for line in text.splitlines() if line.startswith("  uniform"))
    assert base.endswith("baseline")
    assert f"count as {HORIZON}" in text


def cost_table(text):
    """Controller -> column -> what the report prints, of the first pool."""
    lines = text.split("Costs of a run on p, mean over learners:\n")[1].split("\ngenerated, trained on")[0].splitlines()
    head, *rows = (re.split(r" {2,}|(?<=\S) (?=\d|-|not)", line.strip()) for line in lines)
    names = "controller|generated|trained on|probes|predictions|short|saved|labels / saved|labels"
    head = re.findall(names, lines[0])
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def test_the_report_says_what_each_controller_spends_and_saves():
    costs = cost_table(report(SPENT_RUNS, SPENT, HORIZON))
    saved = SPENT.set_index("controller")["rollouts_saved"]
    assert costs["uniform"] == {
        "generated": "320", "trained on": "320", "probes": "0", "predictions": "0", "short": "0", "saved": "0",
        "labels": "0", "labels / saved": "-",
    }  # fmt: skip
    assert costs["dots"] == {
        "generated": "640", "trained on": "320", "probes": "160", "predictions": "3,000", "short": "5",
        "saved": f"{saved['dots']:,.0f}", "labels": "0", "labels / saved": "-",
    }  # fmt: skip
    assert costs["adarft"]["labels"] == "1,000"
    assert costs["adarft"]["labels / saved"] == f"{1000 / saved['adarft']:,.1f}"
    assert costs["filter"]["labels"] == "not known"
    assert costs["filter"]["labels / saved"] == "-"
    assert "Costs" not in report(RUNS, SUMMARY, HORIZON)  # a table that does not know


@pytest.mark.parametrize("end", [0.2, 0.1], ids=["level", "down"])
def test_costs_are_told_without_a_threshold_too(end):
    flat = spending(arm("uniform", np.tile(np.linspace(0.2, end, 4), (4, 1))), 0.0)
    runs = runs_table(table(flat, spending(arm("adarft", FAST), 1000.0)))
    costs = cost_table(report(runs, summary_table(runs, HORIZON), HORIZON))
    assert [costs[name]["saved"] for name in ("uniform", "adarft")] == ["-", "-"]
    assert costs["adarft"]["labels / saved"] == "-"
    assert costs["adarft"]["generated"] == "320"


def test_rules_on_too_few_seeds_are_not_called_level_with_adarft():
    few = noisy(3, 0.05, "dots")
    text = words(many(8, 0, "uniform"), many(8, 0.05), noisy(8, 0.05, "frozen"), few)
    assert not_won(text) == {"p / scalar / adarft": "level with frozen; too few seeds against dots"}
    text = words(many(8, 0, "uniform"), many(8, 0.05), few)
    assert not_won(text) == {"p / scalar / adarft": "too few seeds against dots"}


def test_an_end_of_an_interval_that_is_not_known_is_a_dash():
    text = report(RUNS, SUMMARY.assign(speedup_high=np.nan), HORIZON)
    assert "nan" not in text
    assert re.search(r"\d\.\d\d \[\d\.\d\d, -\]", text)


def test_a_verdict_is_printed_with_its_p():
    text = words(many(12, 0, "uniform"), many(12, 0.05), noisy(12, 0, "band"))
    rows = [line for line in text.splitlines() if line.startswith("  ") and "%  " in line]
    end = {row.split()[0]: row.split("%  ")[-1] for row in rows}
    assert end == {"uniform": "baseline", "adarft": "better (p < .001)", "band": "no difference (p = 1.000)"}


def test_columns_of_the_report_line_up_whatever_the_length_of_a_label():
    text = words(many(8, 0, "uniform"), many(8, 0.05, "adarft eta=12.5 beta=0.625 ties=first"))
    head, base, other = text.splitlines()[2:5]
    assert head.index("against uniform") == base.index("baseline") == other.index("better")
