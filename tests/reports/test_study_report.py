"""The report of a study, of an advice and of a calibration: their words and numbers, and lines that run them again."""

import json
import re
import shlex

import numpy as np
import pytest
from calibration.test_advice import advice_of, fit_of
from reports.made import curves_of, tables_of

import workbench as wb
from sims import advise
from sims.comparison import options
from workbench.commands import command_again
from workbench.reports import parts
from workbench.reports.comparison import parts_of_comparison
from workbench.reports.study import python_lines

SIZES = {"seeds": 2, "steps": 6, "batch": 8, "rollouts": 4, "eval_every": 2}


@pytest.fixture(scope="module")
def result():
    pool = wb.Pool(np.linspace(5, 95, 60), name="mine </script>")
    return wb.Study(["uniform", pool], ["scalar"], ["adarft", wb.AdaRFT(eta=10)], **SIZES).run(progress=False)


def text_of(html):
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html.split('id="data"')[0]))


def test_a_saved_result_has_its_report_and_another_has_not(result, tmp_path):
    assert "report.html" in result.save(tmp_path / "with")
    html = (tmp_path / "with" / "report.html").read_text()
    assert html == result.report_html()
    assert "report.html" not in result.save(tmp_path / "with", html=False)
    assert not (tmp_path / "with" / "report.html").exists()  # no report of other tables stays behind


def test_a_report_says_what_ran_with_which_settings_and_code(result):
    told = text_of(result.report_html())
    assert "Which of 3 curricula (uniform, adarft, adarft eta=10) is best on 2 pools" in told
    assert "(uniform, mine &lt;/script&gt;)" in told
    manifest = json.loads(result.manifest())
    for pool in manifest["pools"]:
        assert pool["digest"] in told
    assert (manifest["git_commit"] or "") in told
    assert f"numpy {np.__version__}" in told
    assert "AdaRFT(floor=0.0, beta=0.5, alpha=2.0, eta=10, " in told
    assert "6 updates of 8 items × 4 rollouts on simulated learners" in told


def test_of_very_many_arms_a_report_has_the_settings_of_the_first_and_the_brief_text(result, monkeypatch):
    whole = result.report_html()
    monkeypatch.setattr(parts, "MOST_ROWS", 4)
    told = text_of(result.report_html())
    assert "further arms 2, in manifest.json" in told
    assert "2 more" in told
    assert len(result.report_html()) < len(whole)


def test_the_lines_of_python_run_the_same_study(monkeypatch, tmp_path):
    study = wb.Study(["uniform"], [wb.ScalarIRT(kappa=0.1)], ["adarft", (wb.AdaRFT(eta=10), wb.DynamicSampling())],
                     [{"adarft.beta": 0.25}], **SIZES)  # fmt: skip
    monkeypatch.chdir(tmp_path)
    lines = python_lines(study, 0.7)
    saved = []
    monkeypatch.setattr(wb.Study, "run", lambda self, **how: saved.append((self, how)) or Ran())
    exec("\n".join(lines), {})
    (again, how), = saved
    assert how == {"threshold": 0.7}
    assert [cell.key for cell in again.cells] == [cell.key for cell in study.cells]


class Ran:
    def save(self, folder):
        assert folder == "results/again"


def test_the_line_of_a_shell_is_read_back_as_the_same_options():
    words = ["--pools", "my pool.csv", "--set", "adarft.eta=5,50", "--set", "scalar.kappa=.1", "--tiny", "--jobs", "2",
             "--out", "results/a b", "--no-report", "--threshold", "0.5"]  # fmt: skip
    given = options.parser().parse_args(words)
    line = command_again("sims/sweep.py", options.parser(), given)
    program, script, *again = shlex.split(line)
    assert (program, script) == ("python", "sims/sweep.py")
    back = options.parser().parse_args(again)
    assert vars(back) | {"jobs": "2", "report": False} == vars(given)


def test_a_value_that_begins_with_a_dash_is_read_back():
    given = advise.parser().parse_args(["--log", "a.csv", "--discrepancy=-0.1,0.2", "--warm-up", "0"])
    _, _, *again = shlex.split(command_again("sims/advise.py", advise.parser(), given))
    assert vars(advise.parser().parse_args(again)) == vars(given)


def test_an_advice_tells_its_verdict_first_then_the_odds_and_shows_each_candidate():
    advice = advice_of(0.4, np.array([0.6] * 9 + [0.35]), 0.45, left_out={"dapo <b>": "no reason"})
    html = advice.report_html("python sims/advise.py --log 'a b.csv'")
    told = text_of(html)
    first, second = advice.report().splitlines()[2:4]
    assert first.startswith("Use adarft eta=5")
    assert told.index(first) < told.index(second) < told.index("What each curriculum saves")
    assert "dapo &lt;b&gt; was left out: no reason." in told
    data = json.loads(html.split('id="data">')[1].split("</script>")[0])
    assert data["arms"] == ["uniform", "filter", "adarft eta=5"]
    (panel,) = data["figures"]["saved"]["panels"]
    place = panel["rows"]["a"].index(2)
    assert panel["rows"]["m"][place] == pytest.approx(50)
    ends = data["figures"]["futures"]["panels"][0]["rows"]
    assert [m for s, a, m in zip(ends["s"], ends["a"], ends["m"], strict=True) if (s, a) == (20, 1)] == [0.45]


def test_an_advice_in_whose_futures_nothing_is_gained_is_shown_too():
    html = advice_of(0.2, 0.4).report_html()
    assert "Where uniform gains too little, no share is defined." in html


def test_a_calibration_tells_the_learner_its_weight_and_what_the_log_leaves_open():
    fit = fit_of()
    told = text_of(fit.report_html())
    name, weight = fit.ranked[0]
    assert f"Most like {name}: weight {weight:.2f} of 1" in told
    assert all(line in told for line in fit.unknown)
    assert "theta0" in told


def figure_of(html, name):
    return json.loads(html.split('id="data">')[1].split("</script>")[0])["figures"][name]


def test_a_report_shows_success_by_level_at_the_end_and_what_success_costs(result):
    html = result.report_html()
    curves, summary = result.curves, result.summary
    panel = figure_of(html, "levels")["panels"][0]["rows"]
    last = curves[(curves["step"] == 6) & (curves["pool"] == "uniform") & (curves["controller"] == "uniform")]
    means = [m for a, m in zip(panel["a"], panel["m"], strict=True) if a == 0]
    assert means == pytest.approx([last[f"success_{level}"].mean() for level in range(10)], rel=1e-3)
    assert sorted(set(panel["s"])) == list(range(10))
    rows = figure_of(html, "costs")["panels"][0]["rows"]
    block = summary[summary["pool"] == "uniform"]
    assert rows["x"] == pytest.approx((block["mean_rollouts"] + block["mean_label_rollouts"]).tolist(), rel=1e-5)
    assert rows["m"] == pytest.approx(block["final"].tolist(), rel=1e-3)
    assert rows["f"][0] == 1  # the cheapest, uniform, is dominated by none
    for x, m, f in zip(rows["x"], rows["m"], rows["f"], strict=True):
        beaten = any(a <= x and b >= m and (a, b) != (x, m) for a, b in zip(rows["x"], rows["m"], strict=True))
        assert f == (not beaten)


def test_a_table_without_levels_or_costs_has_no_such_figure():
    curves = curves_of({"uniform": 0.4, "adarft": 0.5})
    _, summary, ranking = tables_of(curves)

    def names(summary):
        return {figure.name for figure in parts_of_comparison(curves, summary, ranking)[1]}

    assert "levels" not in names(summary)
    assert "costs" not in names(summary), "all cost the same"
    dearer = summary.assign(mean_rollouts=summary["mean_rollouts"] * (1 + summary.index))
    assert "costs" in names(dearer)
    assert "costs" not in names(dearer.drop(columns="mean_rollouts"))


@pytest.mark.parametrize("page", [lambda fit: fit, lambda fit: advice_of(0.4, 0.6)])
def test_calibrations_and_advice_show_whether_predictions_were_right(page):
    made = page(fit_of())
    fit = getattr(made, "fit", made)
    rows = figure_of(made.report_html(), "foretold")["panels"][0]["rows"]
    table = fit.foretold()
    assert rows["x"] == pytest.approx(table["predicted"].tolist(), rel=1e-3)
    assert rows["m"] == pytest.approx(table["observed"].tolist(), rel=1e-3)
