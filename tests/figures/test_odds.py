"""Figures of a calibration: what is drawn is what the tables say."""

import numpy as np
import pandas as pd
import pytest

from workbench import figures
from workbench.errors import InputError

LAWS = pd.DataFrame({"learner": ["scalar", "kernel"], "weight": [0.8, 0.2], "behind": [0.0, 3.5], "se": [0.0, 2.0]})
ADVICE = pd.DataFrame({"controller": ["adarft", "uniform"], "saved": [0.2, 0.0], "saved_low": [0.1, -0.1],
                       "saved_high": [0.3, 0.1], "gain": [0.02, 0.0], "gain_low": [0.01, 0.0],
                       "gain_high": [0.05, 0.0]})  # fmt: skip


def lines(ax):
    return [np.asarray(line.get_xydata()) for line in ax.lines]


def test_learners_stand_where_they_are_behind_with_two_errors_and_their_weight():
    (ax,) = figures.law_weights(LAWS).axes
    at = [container.lines[0].get_xydata().tolist() for container in ax.containers]
    assert at == [[[0.0, 0.0]], [[-3.5, 1.0]]]
    (bar,) = ax.containers[1].lines[2][0].get_segments()
    np.testing.assert_allclose(bar[:, 0], [-7.5, 0.5])
    assert {"0.80", "0.20", "weight"} <= {text.get_text() for text in ax.texts}
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["scalar", "kernel"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the best on top


def test_a_learner_alone_and_an_error_that_is_not_known_are_drawn():
    assert figures.law_weights(LAWS.iloc[:1].assign(se=np.nan)).axes


def test_curricula_have_medians_and_intervals_on_both_sides():
    left, right = figures.advice_forest(ADVICE).axes
    for ax, name, scale in ((left, "saved", 100), (right, "gain", 1)):
        drawn = lines(ax)
        for y, row in enumerate(ADVICE.to_dict("records")):
            interval = [[row[f"{name}_low"] * scale, y], [row[f"{name}_high"] * scale, y]]
            assert any(np.allclose(line, interval) for line in drawn if len(line) == 2)
            assert any(np.allclose(line, [[row[name] * scale, y]]) for line in drawn if len(line) == 1)


def test_where_no_share_is_defined_the_panel_says_so():
    table = ADVICE.assign(saved=np.nan, saved_low=np.nan, saved_high=np.nan)
    left, right = figures.advice_forest(table).axes
    assert [text.get_text() for text in left.texts] == ["uniform gains too little for a share to be defined"]
    assert not right.texts


@pytest.mark.parametrize(("draw", "table", "said"), [
    (figures.law_weights, LAWS.drop(columns="se"), "table: must"),
    (figures.law_weights, pd.concat([LAWS, LAWS]), "table: must"),
    (figures.advice_forest, ADVICE.drop(columns="gain_low"), "table: must"),
    (figures.advice_forest, pd.concat([ADVICE, ADVICE]), "table: must"),
    (figures.advice_forest, ADVICE.iloc[:0], "table: must"), (figures.advice_forest, 5, "table: must"),
])  # fmt: skip
def test_other_tables_are_refused_in_one_line(draw, table, said):
    with pytest.raises(InputError) as error:
        draw(table)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
