"""What a study says of its runs: which part of a gain is format, and which is skill."""

import numpy as np
import pandas as pd
import pytest

from real_runs.comparison.tables import answers_told, format_and_skill


def log(arms):
    """Evaluations of each arm at steps 0, 10, 20 ..: (share with an answer, success) of each seed."""
    rows = []
    for arm, seeds in arms.items():
        for seed, evaluations in enumerate(seeds):
            for k, (readable, success) in enumerate(evaluations):
                row = {"pool": "p", "learner": "l", "controller": arm, "seed": seed, "step": 10 * k}
                rows.append(row | {"readable": readable, "success": success})
    return pd.DataFrame(rows)


def test_format_that_comes_first_is_told_from_the_skill_that_follows():
    """First the share of answers grows from .2 to 1 at .5 right among them, then the right ones to .8."""
    form, skill = format_and_skill([0.2, 1.0, 1.0], [0.1, 0.5, 0.8])
    assert form == pytest.approx(0.4)
    assert skill == pytest.approx(0.3)
    told = answers_told(log({"uniform": [[(0.2, 0.1), (1.0, 0.5), (1.0, 0.8)]]})).splitlines()
    assert told[-1] == (
        "  p / l / uniform: 0.200, 0.500; 1.000, 0.800; of the gain +0.700, +0.400 is format and +0.300 skill"
    )


def test_where_every_completion_has_an_answer_before_training_nothing_is_format():
    assert format_and_skill([1.0, 1.0, 1.0], [0.1, 0.3, 0.35]) == (0.0, pytest.approx(0.25))
    told = answers_told(log({"uniform": [[(1.0, 0.1), (1.0, 0.35)]]}))
    assert told.endswith("1.000, 0.100; 1.000, 0.350; of the gain +0.250, +0.000 is format and +0.250 skill")


def test_where_the_right_ones_among_answers_stay_everything_is_format_and_first_answers_are():
    assert format_and_skill([0.25, 0.5, 1.0], [0.1, 0.2, 0.4]) == (pytest.approx(0.3), pytest.approx(0.0))
    assert format_and_skill([0.0, 0.0, 0.5], [0.0, 0.0, 0.4]) == (pytest.approx(0.4), pytest.approx(0.0))
    assert format_and_skill([0.5, 0.0], [0.4, 0.0]) == (pytest.approx(-0.4), pytest.approx(0.0))


def test_the_parts_add_up_to_the_gain():
    draw = np.random.default_rng(0)
    for _ in range(200):
        readable = draw.random(6) * (draw.random(6) > 0.2)
        success = readable * draw.random(6)
        assert sum(format_and_skill(readable, success)) == pytest.approx(success[-1] - success[0])


def test_arms_are_told_apart_by_the_mean_of_their_seeds_and_runs_without_the_share_are_left_out():
    seeds = [[(0.5, 0.2), (1.0, 0.4)], [(0.7, 0.4), (1.0, 0.6)]]
    told = answers_told(log({"uniform": seeds, "adarft": seeds[:1], "linear": [[(np.nan, 0.2), (np.nan, 0.3)]]}))
    lines = told.splitlines()[3:]
    assert [line.split(":")[0] for line in lines] == ["  p / l / uniform", "  p / l / adarft"]
    assert lines[0].startswith("  p / l / uniform: 0.600, 0.500; 1.000, 0.500; of the gain +0.200, +0.200 is format")
    assert answers_told(log({"linear": [[(np.nan, 0.2), (np.nan, 0.3)]]})) == ""
