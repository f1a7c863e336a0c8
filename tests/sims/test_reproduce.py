"""sims/reproduce.py: published findings held against the learner family. The real run: test_forecast.py."""

import math

import numpy as np
import pandas as pd
import pytest
from commands import call

from sims import reproduce
from sims.paper import family, table1
from sims.paper import findings as paper_findings
from sims.paper.published import EXTRA, STABLE_SHARE, TABLE1
from workbench.controllers import AdaRFT, Controller, Uniform
from workbench.pool import Pool


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table1", "--fit-cells", "uniform/ppo,uniform/fixed,skew-easy/ppo"], "at most two different cells"),
        (["table1", "--fit-cells", "uniform/grpo"], "--fit-cells: must be one of skew-difficult/ppo"),
        (["extremes", "--learners", "tabular"], "--learners: must have another than tabular"),
        (["beta", "--learners", "scalar,scalar"], "--learners: must be different from each other"),
        (["gamma"], "STUDY: must be one of"),
    ],
)
def test_bad_studies_are_one_line(tmp_path, monkeypatch, capsys, words, said):
    status, _, err = call(reproduce, monkeypatch, capsys, *words, *(["--out", tmp_path] if words[0] != "gamma" else []))
    assert status == 2
    assert said in err
    assert err.count("\n") == 1


# ---- published findings ----------------------------------------------------------------------------------------


def test_published_numbers_are_those_of_the_paper():
    """arXiv 2504.05520 v4, Table 1, Math-1.5B: accuracy, seconds per step, extra steps; extra % = steps / 60."""
    table = """
        skew-difficult adarft 40.48 122.24 0 0        skew-difficult ppo 37.41 132.95 43 71.7
        skew-difficult filter 37.22 128.20 49 81.7    skew-difficult fixed 37.22 130.91 16 26.7
        uniform adarft 41.11 121.31 0 0               uniform ppo 37.20 126.82 34 56.7
        uniform filter 37.87 126.35 52 86.7           uniform fixed 37.27 126.40 48 80.0
        skew-easy adarft 39.18 120.52 0 0             skew-easy ppo 38.46 121.15 16 26.7
        skew-easy filter 38.15 115.12 21 35.0         skew-easy fixed 38.09 121.99 35 58.3
    """
    printed = table.split()
    rows = [printed[i : i + 6] for i in range(0, len(printed), 6)]
    read = {(pool, method): (float(a), float(s), int(e)) for pool, method, a, s, e, _ in rows}
    assert read == {(pool, method): row for pool, block in TABLE1.items() for method, row in block.items()}
    for pool, method, _, _, extra, percent in rows:
        assert float(percent) == pytest.approx(100 * int(extra) / 60, abs=0.05), (pool, method)
    assert len(EXTRA) == 9
    assert STABLE_SHARE == {40: 0.8, 64: 0.9}


def test_extra_steps_are_counted_from_the_step_to_match():
    steps = np.array([0.0, 5, 10, 15])
    curves = np.array([[0.1, 0.2, 0.4, 0.5], [0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.5, 0.5]])
    extra = family.extra_steps(steps, curves, np.array([0.3, 0.3, 0.3]), 5)
    assert extra == pytest.approx([2.5, 10, -5])  # half way from 5 to 10; never; at once


def test_smoothing_keeps_three_tenths_of_the_past():
    assert family.smoothed(np.array([[1.0, 0.0, 0.0]])) == pytest.approx(np.array([[1, 0.3, 0.09]]))


def test_draws_near_the_fitted_cells_weigh_most_and_do_not_score_them():
    cells = list(EXTRA)
    rows = [{"learner": "x", "cell": cell, "draw": d, "extra_steps": EXTRA[cell] + miss}
            for cell in cells for d, miss in enumerate((0.0, 15.0, 300.0))]  # fmt: skip
    predicted = pd.DataFrame(rows)
    weight = table1.weights(predicted, cells[:2])
    assert weight == pytest.approx(np.array([1, math.exp(-1), 0]) / (1 + math.exp(-1)))
    assert table1.weights(predicted, []) == pytest.approx([1 / 3] * 3)
    table, scores = table1.compare(predicted, cells[:2])
    assert list(scores["cells"]) == [9, 7]
    assert list(scores["signs"]) == [1, 1]
    assert scores["tau"].to_numpy() == pytest.approx(1)
    assert set(table.loc[~table["held_out"], "cell"]) == set(cells[:2])


def test_the_prefetched_rule_draws_each_epoch_at_the_target_it_began_with():
    pool = Pool.synthetic("uniform", 400)

    def batches(rule, steps):
        controller, out = Controller(rule, pool), []
        for _ in range(steps):
            items = controller.next_batch(32)
            out.append(tuple(sorted(items)))
            controller.observe(items, (pool.difficulty[items] < 60).astype(np.float32))
        return out

    ahead = batches(paper_findings.PrefetchedAdaRFT(ahead=5), 15)
    for epoch in range(3):
        assert len(set(ahead[5 * epoch : 5 * epoch + 5])) == 1
    assert ahead[0] != ahead[5], "the second epoch is drawn where five batches of successes drove T: at 100"
    assert ahead[0] == ahead[10], "and five of failures drove it back to 0"
    assert batches(paper_findings.PrefetchedAdaRFT(ahead=1), 15) == batches(AdaRFT(ties="first"), 15)


def test_labels_from_part_of_the_attempts_are_as_stable_as_hypergeometric_draws_are():
    pool = Pool(np.full(20_000, 50.0))  # 64 of 128 right; the sd of the rate from 64 is .0444
    sd = math.sqrt(0.25 / 64 * (128 - 64) / 127)
    z = (3.5 / 64) / sd  # counts within 3.2 of 32: up to 3, with half a count of continuity
    expected = math.erf(z / math.sqrt(2))
    assert paper_findings.stability(pool, 64, 2, 0).mean() == pytest.approx(expected, abs=0.01)


def test_ratings_correlate_with_the_solve_rate_as_published():
    b = np.random.Generator(np.random.Philox(1)).normal(0, 2, 20_000)
    rating = paper_findings.judged(b, 0)
    assert set(rating) <= set(np.arange(0, 101, 12.5))
    assert np.corrcoef(rating, 1 / (1 + np.exp(b)))[0, 1] == pytest.approx(-0.32, abs=0.03)


def test_priors_are_drawn_the_same_for_every_arm_and_stay_in_range():
    law = family.draw_law("kernel", 64, 3)
    assert np.array_equal(law.kappa, family.draw_law("kernel", 64, 3).kappa)
    for name, (low, high, _) in family.FAMILY["kernel"].priors.items():
        values = getattr(law, name)
        assert values.shape == (64,)
        assert low <= values.min() < values.max() <= high


def test_where_order_cannot_matter_no_finding_about_order_holds():
    """The natural gradient learns alike from every batch: all gains are 0, and a verdict must say no."""
    pool = Pool.synthetic("uniform")
    law = family.draw_law("natural", 3, 0)
    plain, ours = (family.run(law, rule, pool, 10, 3, 0) for rule in (Uniform(), AdaRFT()))
    row = family.finding("natural", "x", "yes", family.area(ours) > family.area(plain), family.area(ours))
    assert (row["share_of_draws"], row["verdict"]) == (0, "no")
    assert [family.verdict(share) for share in (0.0, 0.2, 0.5, 0.8, 1.0)] == ["no", "no", "open", "yes", "yes"]


def test_a_study_of_the_paper_leaves_findings_and_a_figure(tmp_path, monkeypatch, capsys):
    words = ["extremes", "--learners", "scalar", "--draws", 3, "--out", tmp_path]
    status, out, _ = call(reproduce, monkeypatch, capsys, *words)
    assert status == 0
    assert "adarft beats uniform (area)  (published: yes)" in out
    table = pd.read_csv(tmp_path / "findings.csv")
    assert set(table["verdict"]) <= {"yes", "no", "open"}
    assert (tmp_path / "extremes.pdf").exists()
    assert (tmp_path / "extremes.png").exists()


def test_table1_says_what_it_was_fitted_on(tmp_path, monkeypatch, capsys):
    words = ["table1", "--learners", "scalar", "--draws", 2, "--out", tmp_path, "--fit-cells", "uniform/ppo"]
    status, out, _ = call(reproduce, monkeypatch, capsys, *words)
    assert status == 0
    assert "skew-difficult/filter" in out
    assert list(pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)["fitted_on"]) == ["none", "uniform/ppo"]
    assert len(pd.read_csv(tmp_path / "cells.csv")) == 18
