"""sims/reproduce.py transfer: gains of RL on one category in others, and what they leave of MultiSkill's range."""

import itertools
from math import log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import call

from sims import reproduce
from sims.paper import transfer
from workbench.learners import MultiSkill

RESULTS = Path(__file__).parents[2] / "sims" / "results" / "transfer"


def rows(checkpoint, category, task, counts, attempts=3):
    return [(checkpoint, category, task, item, attempts, right) for item, right in enumerate(counts)]


def log_of(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=transfer.COLUMNS)


def small():
    """Items of a task are all alike, so that resampling them changes nothing: 3 of 12 -> 6 of 12 and so on."""
    return log_of(
        rows("base", "games", "maze", [1] * 4),
        rows("base", "arc", "rearc", [2] * 4),
        rows("base", "graphs", "path", [1] * 4),
        rows("rl_games_1", "any name", "maze", [2] * 4),
        rows("rl_games_1", "arc", "rearc", [1] * 4),
        rows("rl_games_1", "graphs", "path", [1] * 4),
    )


# ---- estimates -------------------------------------------------------------------------------------------------


def test_the_gain_of_one_task_is_the_haldane_anscombe_log_odds_ratio():
    assert transfer.gain([[8, 4]], [[4, 8]]) == pytest.approx(2 * log(8.5 / 4.5))
    assert transfer.gain([[12, 0]], [[0, 12]]) == pytest.approx(2 * log(12.5 / 0.5)), "finite, never or always right"


def test_the_gain_of_two_tasks_is_that_of_mantel_and_haenszel():
    """Tasks of 10 + 10 and 4 + 4 attempts: n_t of 22 and 10."""
    up = 6.5 * 7.5 / 22 + 3.5 * 2.5 / 10
    down = 3.5 * 4.5 / 22 + 2.5 * 1.5 / 10
    assert transfer.gain([[6, 4], [3, 1]], [[3, 7], [2, 2]]) == pytest.approx(log(up / down))


def test_a_common_gain_is_found_whatever_the_difficulties_and_pooling_would_shrink_it():
    """p = 1/101 and 100/101 before, two logits more after: counts of 10^6 attempts."""
    before = 1e6 * np.array([[1 / 101, 100 / 101], [100 / 101, 1 / 101]])
    odds = before[:, :1] / before[:, 1:] * np.exp(2)
    after = 1e6 * np.concatenate([odds / (1 + odds), 1 / (1 + odds)], axis=1)
    assert transfer.gain(after, before) == pytest.approx(2, abs=1e-3)
    assert transfer.gain(after.sum(axis=0, keepdims=True), before.sum(axis=0, keepdims=True)) < 0.2


def test_a_small_log_by_hand():
    tables = transfer.analyse(small(), "base", 50, 0)
    table = tables.transfer.set_index(["trained", "tested"])
    assert list(table.index) == [("games", "games"), ("games", "arc"), ("games", "graphs")]
    gain = 2 * log(8.5 / 4.5)
    assert list(table["gain"]) == pytest.approx([gain, -gain, 0])
    assert list(table["ratio"].iloc[1:]) == pytest.approx([-1, 0])
    assert np.isnan(table["ratio"].iloc[0]), "an own gain has no ratio to itself"
    assert list(table["before"]) == pytest.approx([1 / 3, 2 / 3, 1 / 3])
    for end in ("lower80", "upper80", "lower95", "upper95"):
        assert list(table[f"gain_{end}"]) == pytest.approx([gain, -gain, 0]), "items alike, one task: nothing varies"
    ranges = tables.range[tables.range["tasks"] == "all"].set_index("parameter")
    assert ranges.loc["own gain, logits", "estimate"] == pytest.approx(gain)
    assert ranges.loc["transfer, in [0, 1]", "estimate"] == pytest.approx(0)  # the one pair that does not lose
    assert ranges.loc["entry of pairs that lose", "estimate"] == pytest.approx(-1)
    assert ranges.loc["interference", "estimate"] == pytest.approx(1)
    assert ranges.loc["interfering", "estimate"] == pytest.approx(0.5)
    assert ranges.loc["interfering", "lower80"] == pytest.approx(1 - ranges.loc["interfering", "upper80"])


def test_tasks_and_items_are_resampled_with_what_the_base_model_did_on_them():
    """A run that changes nothing has no gain in any sample; unequal tasks widen the interval; one seed, one result."""
    mixed = [0, 3, 1, 2, 0, 3]
    table = log_of(
        rows("base", "games", "maze", mixed), rows("base", "games", "hanoi", [0] * 6), rows("base", "arc", "a", mixed),
        rows("rl_games", "games", "maze", mixed), rows("rl_games", "games", "hanoi", [3] * 6),
        rows("rl_games", "arc", "a", mixed),
    )  # fmt: skip
    cells, _ = transfer.cells_of(table, "base")
    drawn = transfer.resampled(cells, 200, 5)
    assert (drawn[1] == 0).all(), "games -> arc"
    assert set(np.round(drawn[0], 6)) > {0.0, round(2 * log(18.5 / 0.5), 6)}, "both tasks the same one, or the other"
    assert np.array_equal(drawn, transfer.resampled(cells, 200, 5))
    assert not np.array_equal(drawn[0], transfer.resampled(cells, 200, 6)[0])


def test_without_an_own_gain_every_gain_is_more_than_any_ratio():
    """The estimate as its resampled values, without a warning: games did nothing for games, arc lost, graphs gained."""
    table = log_of(
        rows("base", "games", "maze", [1] * 4), rows("base", "arc", "rearc", [2] * 4),
        rows("base", "graphs", "path", [1] * 4), rows("rl_games", "games", "maze", [1] * 4),
        rows("rl_games", "arc", "rearc", [1] * 4), rows("rl_games", "graphs", "path", [2] * 4),
    )  # fmt: skip
    table = transfer.analyse(table, "base", 20, 0).transfer.set_index("tested")
    assert table.loc["games", "gain"] == 0
    for name in ("ratio", "ratio_lower80", "ratio_upper80"):
        assert table.loc[["arc", "graphs"], name].tolist() == [-np.inf, np.inf]


def test_tasks_that_the_base_model_never_solves_are_left_out_of_the_able_ones():
    table = log_of(
        rows("base", "games", "maze", [1] * 4), rows("base", "arc", "a", [1] * 4), rows("base", "arc", "b", [0] * 4),
        rows("rl_games", "games", "maze", [2] * 4), rows("rl_games", "arc", "a", [1] * 4),
        rows("rl_games", "arc", "b", [3] * 4),
    )  # fmt: skip
    row = transfer.analyse(table, "base", 20, 0).transfer.set_index("tested").loc["arc"]
    assert row["gain"] > 1
    assert row["gain_able"] == 0


@pytest.mark.parametrize(
    ("name", "category"),
    [("inter_algebra_qwen_3b_500", "algebra"), ("qwen3b_cognition", "cognition"), ("games_100", "games"),
     ("llama_external_maths", ""), ("games_and_logic", "")],
)  # fmt: skip
def test_a_checkpoint_is_named_after_what_it_was_trained_on(name, category):
    assert transfer.trained_on(name) == category


# ---- the range -------------------------------------------------------------------------------------------------


def test_every_learner_in_the_range_is_a_learner():
    """M is positive semi-definite at all corners, and between them, for up to 4 skills; __post_init__ would say so."""
    points = {name: np.linspace(*ends, 5) for name, ends in transfer.RANGE.items()}
    grid = np.array(list(itertools.product(*points.values()))).T
    for skills in (1, 2, 3, 4):
        MultiSkill(skills=skills, **dict(zip(points, grid, strict=True)))


def test_the_range_lies_within_what_the_committed_table_says():
    table = pd.read_csv(RESULTS / "range.csv")
    said = {"transfer": "transfer, in [0, 1]", "interference": "interference", "interfering": "interfering"}
    for name, (low, high) in transfer.RANGE.items():
        block = table[table["parameter"] == said[name]]
        assert block["lower80"].min() - 0.015 <= low < high <= block["upper80"].max() + 0.025


def test_the_docstring_of_the_learner_states_the_range():
    text = " ".join(MultiSkill.__doc__.split())
    for name, (low, high) in transfer.RANGE.items():
        own = text.split(f" {name}: ")[1]
        assert own[own.index("range") :].startswith(f"range {low:g} to {high:g}"), name


# ---- the command -----------------------------------------------------------------------------------------------


def test_the_command_leaves_tables_and_a_figure_and_says_what_it_left_out(tmp_path, monkeypatch, capsys):
    log_file = tmp_path / "log.csv"
    extra = log_of(rows("llama_maths", "x", "maze", [1] * 4), rows("rl_games_1", "games", "new", [1] * 4))
    pd.concat([small(), extra]).to_csv(log_file, index=False)
    words = ["transfer", "--log", log_file, "--base", "base", "--draws", 20, "--out", tmp_path / "out"]
    status, out, _ = call(reproduce, monkeypatch, capsys, *words)
    assert status == 0
    assert "games -> arc" in out
    assert "left out: llama_maths (its name says no category)" in out
    assert "left out: rl_games_1 on new (the base model was not tested on it)" in out
    names = {path.name for path in (tmp_path / "out").iterdir() if path.suffix}
    assert names == {"range.csv", "transfer.csv", "transfer.pdf", "transfer.png"}
    first = (tmp_path / "out" / "transfer.csv").read_bytes()
    call(reproduce, monkeypatch, capsys, *words)
    assert (tmp_path / "out" / "transfer.csv").read_bytes() == first


def changed(**columns):
    table = small()
    for name, (row, value) in columns.items():
        table[name] = table[name].astype(object)
        table.loc[row, name] = value
    return table


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (small().rename(columns={"task": "tusk"}), "--log: must have the columns"),
        (changed(full_successes=(2, 4)), "full_successes: must be in [0, attempts], got 4 of 3 at row 2"),
        (changed(full_successes=(1, 0.5)), "full_successes: must be a whole number in [0, 1e9], got 0.5"),
        (changed(full_successes=(1, -1)), "full_successes: must be a whole number in [0, 1e9], got -1 at row 1"),
        (changed(full_successes=(1, None)), "full_successes: must be given in every row, got none at row 1"),
        (changed(attempts=(3, "many")), "attempts: must be a whole number in [1, 1e9], got many at row 3"),
        (changed(attempts=(3, -1)), "attempts: must be a whole number in [1, 1e9], got -1 at row 3"),
        (changed(attempts=(3, 0), full_successes=(3, 0)), "attempts: must be a whole number in [1, 1e9], got 0"),
        (changed(attempts=(3, None)), "attempts: must be given in every row, got none at row 3"),
        (small().assign(attempts=0, full_successes=0), "attempts: must be a whole number in [1, 1e9], got 0"),
        (changed(task=(5, None)), "task: must be given in every row, got none at row 5"),
        (changed(item=(1, 0)), "item: must be there once per checkpoint and task, got maze 0 of base again at row 1"),
        (changed(item=(13, 9)), "item: must be the same items of maze for base and rl_games_1, got 3 in common"),
        (small()[:0], "--base: must be a checkpoint of the log, got 'base'"),
        (small().query("task == 'maze'"), "--log: must have runs tested on at least two categories, got games"),
        (small()[:12], "--log: must have runs tested on at least two categories, got none"),
        (small().query("checkpoint == 'base' or task != 'maze'"), "tested on the category it was trained on, got none"),
    ],
)
def test_bad_logs_are_one_line(table, said, tmp_path, monkeypatch, capsys):
    table.to_csv(tmp_path / "log.csv", index=False)
    words = ["transfer", "--log", tmp_path / "log.csv", "--base", "base", "--out", tmp_path / "out"]
    status, out, err = call(reproduce, monkeypatch, capsys, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_log_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    words = ["transfer", "--log", tmp_path / "no.csv", "--out", tmp_path / "o"]
    status, _, err = call(reproduce, monkeypatch, capsys, *words)
    assert status == 2
    assert err.startswith("error: --log: must be a .csv file of checkpoint, category")
