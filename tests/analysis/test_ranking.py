"""Ranks, regrets, their intervals, and the seeds that would tell neighbours apart: worked by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as sp

from workbench.analysis.ranking import OVERALL, RESAMPLES, _means, ranking_lines, ranking_table
from workbench.errors import InputError
from workbench.streams import Role, generator

AREAS = {  # learner, pool, controller -> area of seeds 0, 1, 2
    ("near", "p", "a"): [0.50, 0.52, 0.54],
    ("near", "p", "b"): [0.40, 0.44, 0.42],
    ("near", "p", "c"): [0.30, 0.30, 0.30],
    ("near", "q", "a"): [0.20, 0.20, 0.20],
    ("near", "q", "b"): [0.60, 0.61, 0.62],
    ("near", "q", "c"): [0.20, 0.20, 0.20],
    ("far", "p", "a"): [0.30, 0.32, 0.34],
    ("far", "p", "b"): [0.10, 0.10, 0.10],
    ("far", "p", "c"): [0.20, 0.20, 0.20],
}


def runs(areas=AREAS):
    rows = [
        {"learner": learner, "pool": pool, "controller": controller, "seed": seed, "auc": auc}
        for (learner, pool, controller), values in areas.items()
        for seed, auc in enumerate(values)
    ]
    return pd.DataFrame(rows)


def row(table, learner, controller):
    (found,) = table[(table["learner"] == learner) & (table["controller"] == controller)].to_dict("records")
    return found


def test_ranks_and_regrets_are_those_worked_by_hand():
    table = ranking_table(runs())
    assert row(table, "near", "a")["mean_rank"] == pytest.approx((1 + 2.5) / 2)  # a and c tie on q
    assert row(table, "near", "b")["mean_rank"] == pytest.approx((2 + 1) / 2)
    assert row(table, "near", "c")["mean_rank"] == pytest.approx((3 + 2.5) / 2)
    overall = row(table, OVERALL, "a")
    assert overall["mean_rank"] == pytest.approx((1 + 2.5 + 1) / 3)
    assert overall["worst_rank"] == 2.5
    assert overall["mean_regret"] == pytest.approx((0 + 0.41 + 0) / 3)
    assert overall["worst_regret"] == pytest.approx(0.41)
    assert row(table, OVERALL, "b")["worst_rank"] == 3


def test_each_learner_and_all_of_them_are_ranked_best_first():
    table = ranking_table(runs())
    assert list(dict.fromkeys(table["learner"])) == ["near", "far", OVERALL]
    for _, block in table.groupby("learner"):
        assert block["mean_rank"].is_monotonic_increasing
        assert len(block) == 3


def test_intervals_are_percentiles_over_draws_of_seeds_shared_by_all_controllers():
    table = ranking_table(runs())
    draws = np.floor(3 * generator(0, Role.BOOTSTRAP).random((RESAMPLES, 3))).astype(int)
    regrets = []
    for draw in draws:  # the plain way, one draw at a time
        means = {key: np.mean([values[seed] for seed in draw]) for key, values in AREAS.items()}
        blocks = [("near", "p"), ("near", "q"), ("far", "p")]
        regrets.append(np.mean([max(means[(*b, c)] for c in "abc") - means[(*b, "b")] for b in blocks]))
    low, high = np.percentile(regrets, [2.5, 97.5])
    mine = row(table, OVERALL, "b")
    assert (mine["mean_regret_low"], mine["mean_regret_high"]) == pytest.approx((low, high))
    assert mine["mean_regret_low"] < mine["mean_regret"] < mine["mean_regret_high"]


def test_a_controller_with_three_of_sixteen_seeds_draws_each_of_them_equally_often():
    """Its regret on draws of seeds that gain 1, 0 and 0 has the mean 2/3, whichever of them gains."""
    luck = generator(0, Role.BOOTSTRAP).random((RESAMPLES, 16))
    for first in range(3):
        gains = np.full((1, 16), np.nan)
        gains[0, :3] = 0.0
        gains[0, first] = 1.0
        drawn = _means(gains, luck)[:, 0]
        assert set(np.round(3 * drawn).astype(int)) == {0, 1, 2, 3}
        assert drawn.mean() == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 3 / RESAMPLES))


def test_seeds_to_separate_give_the_power_they_promise():
    """The normal formula at effect d / s = 0.5; scipy's power of the t-test at that N is close to 80 %."""
    luck = np.random.default_rng(1)
    gains = luck.normal(size=40)
    gains = (gains - gains.mean()) / gains.std(ddof=1) + 0.5  # mean exactly 0.5, sd exactly 1
    table = ranking_table(runs({("l", "p", "a"): list(0.5 + gains / 100), ("l", "p", "b"): [0.5] * 40}))
    seeds = row(table, "l", "a")["seeds_to_separate"]
    assert seeds == np.ceil(((1.959964 + 0.841621) / 0.5) ** 2) == 32
    shift = 0.5 * np.sqrt(seeds)
    power = sp.nct(df=seeds - 1, nc=shift).sf(sp.t(seeds - 1).ppf(0.975))
    assert 0.75 < power < 0.85


def test_the_last_has_no_next_and_equals_cannot_be_told_apart():
    table = ranking_table(runs({("l", "p", "a"): [0.5, 0.6], ("l", "p", "b"): [0.6, 0.5]}))
    assert np.isinf(row(table, "l", "a")["seeds_to_separate"])
    assert np.isnan(row(table, "l", "b")["seeds_to_separate"])


def test_a_controller_with_fewer_seeds_is_ranked_by_its_gain_on_those_it_has():
    few = runs({("l", "p", "a"): [0.5, 0.6, 0.7, 0.8], ("l", "p", "b"): [0.9, 0.7], ("l", "p", "c"): [0.5, 0.6]})
    table = ranking_table(few, baseline="a")
    assert row(table, "l", "b")["mean_rank"] == 1
    assert row(table, "l", "a")["mean_regret"] == pytest.approx((0.9 - 0.5 + 0.7 - 0.6) / 2)
    assert row(table, "l", "a")["mean_rank"] == row(table, "l", "c")["mean_rank"] == 2.5  # equal where both ran
    assert np.isfinite(table.drop(columns=["learner", "controller", "seeds_to_separate"]).to_numpy()).all()


def test_a_learner_with_fewer_seeds_is_ranked_on_those_it_has_and_counts_overall():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"learner": learner, "pool": "p", "controller": name, "seed": seed, "auc": level + 0.01 * rng.standard_normal()}
        for learner, seeds in (("many", 20), ("few", 3))
        for name, level in (("uniform", 0.3), ("good", 0.5), ("best", 0.6))
        for seed in range(seeds)
    )
    few = table[table["learner"] == "few"]
    both = ranking_table(table)
    assert list(both["learner"]) == ["many"] * 3 + ["few"] * 3 + [OVERALL] * 3
    alone = ranking_table(few).query("learner == 'few'").set_index("controller")
    mine = both.query("learner == 'few'").set_index("controller")
    assert mine["mean_regret"].to_numpy() == pytest.approx(alone["mean_regret"].to_numpy())
    area = few.pivot(index="seed", columns="controller", values="auc")
    ends = np.sort((area["best"] - area["good"]).to_numpy())[[0, -1]]
    wide = mine.loc["good", ["mean_regret_low", "mean_regret_high"]].astype(float).to_numpy()
    assert wide == pytest.approx(ends), "three seeds drawn three at a time: now and then all the same one"


def test_a_controller_is_ranked_with_the_learners_that_it_ran_on_and_overall_only_if_it_ran_on_each():
    scattered = {
        ("one", "p", "uniform"): [0.5, 0.6], ("one", "p", "adarft eta=5"): [0.6, 0.8], ("one", "p", "band"): [0.4, 0.5],
        ("two", "p", "uniform"): [0.4, 0.5], ("two", "p", "adarft eta=7"): [0.3, 0.5], ("two", "p", "band"): [0.6, 0.7],
    }  # fmt: skip
    table = ranking_table(runs(scattered))
    ranked = {learner: block["controller"].tolist() for learner, block in table.groupby("learner")}
    assert ranked == {
        "one": ["adarft eta=5", "uniform", "band"], "two": ["band", "uniform", "adarft eta=7"],
        OVERALL: ["uniform", "band"],  # level: each was first once
    }  # fmt: skip
    overall = row(table, OVERALL, "band")
    assert overall["mean_rank"] == pytest.approx((2 + 1) / 2)
    assert overall["mean_regret"] == pytest.approx((0.1 + 0) / 2)  # behind uniform once, and first
    text = ranking_lines(table)
    assert "2 more ran with some learners only and are ranked with those." in text
    assert "  two: band, uniform, adarft eta=7; last: adarft eta=7" in text
    assert np.isfinite(table.drop(columns=["learner", "controller", "seeds_to_separate"]).to_numpy()).all()


def test_the_text_shows_every_controller_and_the_best_of_each_learner():
    text = "\n".join(ranking_lines(ranking_table(runs())))
    for line in ("near: b, a, c; last: c", "far: a, c, b; last: b"):
        assert line in text
    assert "1.5 [1.5, 1.5]" in text
    assert text.count("\n") == 9


def test_equals_are_printed_as_equals():
    """All the same on one learner; on the other two share the second place, and the order says nothing of them."""
    same, best, worst = [0.4, 0.5], [0.6, 0.7], [0.1, 0.2]
    areas = {("flat", "p", name): same for name in "abcd"}
    areas |= {("steep", "p", name): values for name, values in zip("abcd", (same, best, same, worst), strict=True)}
    table = ranking_table(runs(areas))
    assert table[table["learner"] == "flat"]["place"].tolist() == [1, 1, 1, 1]
    assert table[table["learner"] == "steep"]["place"].tolist() == [1, 2, 2, 4]
    text = ranking_lines(table)
    assert "  flat: all 4 equal" in text
    assert "  steep: b, a = c; last: d" in text
    shown = {line.split()[1]: (line.split()[0], line.split()[-1]) for line in text[2:6]}
    assert {name: place for name, (place, _) in shown.items()} == {"a": "2=", "b": "1", "c": "2=", "d": "4"}
    assert shown["a"][1] == "equal", "no number of seeds tells it from the next"


def test_missing_seeds_are_known_by_their_labels_wherever_they_are():
    """A controller without seed 0 is ranked as one without the last seed whose runs are otherwise the same."""
    rng = np.random.default_rng(3)
    base, good, few = rng.normal(0.5, 0.05, 6), rng.normal(0.6, 0.05, 6), rng.normal(0.55, 0.05, 6)
    columns = ["mean_regret", "mean_regret_low", "mean_regret_high", "mean_rank_low", "mean_rank_high"]
    found = []
    for seeds in (range(6), [5, 0, 1, 2, 3, 4]):  # the third run of `few` is missing: of seed 5, then of seed 0
        rows = [
            {"learner": "l", "pool": "p", "controller": name, "seed": seed, "auc": values[i]}
            for name, values in (("uniform", base), ("good", good), ("few", few))
            for i, seed in enumerate(seeds)
            if (name, i) != ("few", 5 if seeds == range(6) else 0)
        ]
        found.append(ranking_table(pd.DataFrame(rows)).query("learner == 'l'").set_index("controller"))
    for table, own in zip(found, (np.arange(5), np.arange(1, 6)), strict=True):
        gain = (few - base)[own].mean()
        assert table.at["few", "mean_regret"] == pytest.approx((good - base).mean() - gain)
        assert np.isfinite(table[columns].to_numpy(np.float64)).all()


def test_seeds_that_a_controller_lacks_in_the_middle_do_not_make_its_interval():
    gains = np.array([[0.0, 0.0, 0.0, 0.0], [0.3, np.nan, 0.1, np.nan]])
    draws = generator(0, Role.BOOTSTRAP).random((RESAMPLES, 4))
    drawn = _means(gains, draws)[:, 1]
    assert set(np.round(drawn, 9)) == {0.1, 0.2, 0.3}
    assert drawn.mean() == pytest.approx(0.2, abs=0.02)


def test_a_table_without_the_baseline_is_ranked_where_seeds_are_the_same_and_refused_otherwise():
    areas = {("l", "p", "a"): [0.5, 0.6], ("l", "p", "b"): [0.7, 0.9]}
    assert row(ranking_table(runs(areas)), "l", "a")["mean_regret"] == pytest.approx(0.25)
    uneven = runs(areas | {("l", "p", "c"): [0.5]})
    for name in ("uniform", "z"):
        with pytest.raises(InputError, match=rf"^baseline: must be .* \(a, b, c\), or None for none, got '{name}'$"):
            ranking_table(uneven, baseline=name)
    with pytest.raises(InputError, match=r"^baseline: must be given where .* different seeds, got None$"):
        ranking_table(uneven, baseline=None)
    ranked = ranking_table(uneven, baseline="a")
    assert row(ranked, "l", "b")["mean_rank"] == 1


def test_one_seed_tells_nothing_of_how_many_it_takes():
    table = ranking_table(runs({("l", "p", "a"): [0.5], ("l", "p", "b"): [0.6]}))
    assert np.isnan(row(table, "l", "b")["seeds_to_separate"])
