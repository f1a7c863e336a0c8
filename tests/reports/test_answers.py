"""The answer is the tables' in words: which leads, how surely, and no more than they say."""

import numpy as np
import pytest
from reports.made import curves_of, tables_of

from workbench.reports.answers import alt_of_intervals, answers, asked, defeats, listed


def answer(ends, **more):
    _, summary, ranking = tables_of(curves_of(ends, **more))
    return answers(summary, ranking), summary


def test_a_leader_that_the_test_is_sure_of_is_advised_with_its_speed_up_and_odds():
    told, summary = answer({"uniform": 0.4, "adarft": 0.6, "band": 0.5}, seeds=8)
    row = summary.set_index("controller").loc["adarft"]
    speed = f"{row['speedup']:.2f} times as fast as uniform [{row['speedup_low']:.2f}, {row['speedup_high']:.2f}]"
    assert told[0] == f"Use adarft: it leads on this pool and learner, and reaches the threshold {speed}."
    assert told[1].startswith("Against uniform, better (paired sign-flip test")
    assert told[2] == "Chance that a random run of adarft has a larger area than one of uniform: 1.00."
    assert told[3] == ("Mean rank of 3, with 95 % intervals: adarft 1.0 [1.0, 1.0], next band 2.0 [2.0, 2.0]; "
                       "the intervals do not meet.")  # fmt: skip


def test_with_too_few_seeds_a_leader_is_not_advised():
    told, _ = answer({"uniform": 0.4, "adarft": 0.6, "band": 0.5}, seeds=3)
    assert told[0].startswith("adarft leads on this pool and learner, but no difference is sure")
    assert told[1].startswith("Against uniform, too few seeds (")


def test_over_several_pools_and_learners_the_median_and_the_counts_are_told():
    told, summary = answer({"uniform": 0.4, "adarft": 0.6}, pools=("p", "q"), learners=("l", "k"), seeds=8)
    speed = summary.query("controller == 'adarft'")["speedup"]
    assert told[0].startswith("Use adarft: it leads over 4 pairs of pool and learner, and reaches the threshold ")
    assert f"in the median {speed.median():.2f} times as fast as uniform (from {speed.min():.2f} to " in told[0]
    assert "of 4 pairs of pool and learner: better on 4 (" in told[1]
    assert told[2].endswith(": 1.00 in the median of these pairs (from 1.00 to 1.00).")


def test_where_uniform_leads_nothing_is_advised():
    told, _ = answer({"uniform": 0.6, "adarft": 0.4}, seeds=8)
    assert told[0] == "Nothing tried beats uniform on this pool and learner."
    assert told[1].startswith("Against uniform, of 1 comparison: worse in 1 (")


def test_equals_share_the_first_place():
    told, _ = answer({"uniform": 0.4, "adarft": 0.5, "band": 0.5})
    assert told == ["No curriculum leads on this pool and learner: adarft, band share the first place."]


def test_where_uniform_gains_nothing_there_is_no_speed_up():
    told, summary = answer({"uniform": 0.2, "adarft": 0.5}, spread=0.0, seeds=8)
    assert summary["speedup"].isna().all()
    assert told[0] == "Use adarft: it leads on this pool and learner."


def test_tables_without_the_baseline_are_answered_without_it():
    from workbench.analysis.ranking import ranking_table
    from workbench.analysis.tables import runs_table, summary_table

    runs = runs_table(curves_of({"adarft": 0.6, "band": 0.5}), baseline=None)
    told = answers(summary_table(runs, 4, baseline=None), ranking_table(runs, baseline=None))
    assert told[0] == "adarft leads on this pool and learner."
    assert not any("uniform" in line for line in told)


def test_the_question_names_what_ran():
    assert asked(["a", "b"], ["p"], ["l", "k"], 3, "5 updates") == (
        "Which of 2 curricula (a, b) is best on 1 pool (p) for 2 learners (l, k)? 3 paired seeds; 5 updates."
    )
    assert listed([*"abcdefghijklmnop"]) == "a, b, c, d, e, f, g, h, i, j, k, l and 4 more"


def test_defeats_are_the_paragraph_of_the_printed_report():
    from workbench.analysis.report import report

    runs, summary, _ = tables_of(curves_of({"uniform": 0.4, "adarft": 0.5, "band": 0.6}, seeds=8))
    [lines] = defeats(report(runs, summary, 4, "adarft"))
    assert lines[0].startswith("Where adarft does not win")
    assert lines[1].startswith("p / l / adarft: beaten by band (+")
    assert len(lines) == 2
    assert defeats("nothing of the kind") == []


def test_alternative_text_leaves_out_what_is_not_known():
    _, summary = answer({"uniform": 0.4, "adarft": 0.6})
    told = alt_of_intervals(summary.assign(speedup=np.where(summary["controller"] == "uniform", np.nan, 2.0)),
                            "speedup", "Speed-up")  # fmt: skip
    assert told == "Speed-up, median and range over pools and learners: adarft 2."


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_study_of_one_or_two_seeds_has_an_answer_and_figures(seeds):
    from workbench.reports import Page
    from workbench.reports.comparison import parts_of_comparison

    curves = curves_of({"uniform": 0.4, "adarft": 0.6}, seeds=seeds)
    _, summary, ranking = tables_of(curves)
    arms, figures, tables = parts_of_comparison(curves, summary, ranking)
    html = Page("t", ["q"], answers(summary, ranking), arms=arms, figures=figures, tables=tables).html()
    assert ("One seed, so without intervals." in html) == (seeds == 1)
    assert "NaN" not in html.split('id="data"')[1].split("</script>")[0]
