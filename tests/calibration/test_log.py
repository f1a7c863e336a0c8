"""Logs: what is counted, joined and refused."""

import numpy as np
import pytest

import workbench as wb
from workbench.calibration.log import Log
from workbench.errors import InputError


def small(**more):
    return Log(**({"step": [3, 3, 4, 6], "item": ["a", "b", "a", "b"], "successes": [1, 0, 8, 2],
                   "attempts": [8, 4, 8, 8]} | more))  # fmt: skip


def test_updates_are_counted_from_the_first_of_each_run():
    log = Log([5, 6, 9, 10], ["a"] * 4, [1, 0, 1, 1], [2] * 4, ["x", "x", "y", "y"])
    assert log.step.tolist() == [1, 2, 1, 2]
    assert log.runs == ("x", "y")


def test_groups_of_an_item_at_one_update_are_added_up():
    log = Log([1, 2, 1, 1], ["a", "a", "a", "b"], [1, 2, 3, 0], [4, 4, 8, 4], admitted=[False, True, True, False])
    assert log.to_frame().values.tolist() == [["0", 1, "a", 4, 12, True], ["0", 1, "b", 0, 4, False],
                                              ["0", 2, "a", 2, 4, True]]  # fmt: skip


def test_rows_in_any_order_are_the_same_log():
    rng = np.random.default_rng(0)
    step, item, n = rng.integers(1, 9, 60), rng.integers(0, 12, 60), rng.integers(1, 9, 60)
    k = rng.integers(0, n + 1)
    order = rng.permutation(60)
    names = [str(i) for i in range(12)]
    one, other = Log(step, item, k, n, items=names), Log(step[order], item[order], k[order], n[order], items=names)
    assert one.to_frame().equals(other.to_frame())


def test_numbers_name_items_in_their_order_and_texts_as_they_come():
    assert Log([1, 1, 2], [10, 2, 10], [0, 1, 1], [2, 2, 2]).items == ("2", "10")
    assert Log([1, 1, 2], ["b", "a", "b"], [0, 1, 1], [2, 2, 2]).items == ("b", "a")


def test_missing_updates_are_counted_and_said():
    log = small()
    assert (log.updates, log.missing) == (4, 1)
    assert "1 updates are missing" in log.understood


def test_a_run_with_more_than_half_of_its_updates_missing_is_refused():
    with pytest.raises(InputError, match=r"^step: must name at least half .* got 2 of 5 in run '0'$"):
        Log([1, 5], ["a", "b"], [1, 1], [2, 2])
    assert Log([1, 4], ["a", "b"], [1, 1], [2, 2]).missing == 2


def test_silent_groups_are_all_right_or_all_wrong():
    assert small().silent_share == 0.5


def test_until_and_of_runs_take_rows():
    log = Log([1, 2, 3, 1, 2], ["a", "b", "a", "b", "a"], [1, 0, 2, 1, 1], [2] * 5, ["x", "x", "x", "y", "y"])
    assert log.until(2).to_frame().equals(log.to_frame()[log.to_frame().step <= 2].reset_index(drop=True))
    assert log.of_runs(["y"]).runs == ("y",)
    assert log.of_runs(["y"]).items == log.items
    with pytest.raises(InputError, match=r"^run: must be one of 'x', 'y', got 'z'$"):
        log.of_runs(["z"])


def test_a_frame_is_read_back():
    log = small(run=["r", "r", "r", "r"], admitted=[True, False, True, True])
    again = Log.from_frame(log.to_frame())
    assert again.to_frame().equals(log.to_frame())


def test_items_join_a_pool_by_ids_then_by_prompts_then_by_number():
    ids = wb.Pool([10, 50, 90], ids=["b", "c", "a"])
    log = small().on(ids)
    assert log.item.tolist() == [0, 2, 2, 0]
    assert log.items == ("b", "c", "a")
    prompts = wb.Pool([10, 50, 90], ids=[1, 2, 3], payload={"prompt": ["b", "c", "a"]})
    assert small().on(prompts).item.tolist() == [0, 2, 2, 0]
    numbered = Log([1, 2], [2, 0], [1, 1], [2, 2]).on(wb.Pool([10, 50, 90]))
    assert numbered.item.tolist() == [2, 0]
    assert numbered.notes[-1].endswith("by number")


def test_a_pool_joined_by_number_whose_difficulty_success_does_not_follow_is_doubted():
    rng = np.random.default_rng(0)
    label = rng.uniform(0, 100, 60)
    successes = rng.binomial(16, 1 - label / 100)
    log = Log(np.repeat([1, 2, 3], 20), np.arange(60), successes, np.full(60, 16))
    assert log.on(wb.Pool(label)).notes[-1].endswith("by number")
    for other in (label[::-1], 100 - label):
        assert log.on(wb.Pool(other)).notes[-1].startswith("is pool 'pool' that of the run? success does not fall")
    assert log.on(wb.Pool(np.full(60, 50.0))).notes[-1].endswith("by number")  # labels that are all alike say nothing
    assert log.on(wb.Pool(100 - label, ids=range(60))).notes[-1].endswith("by ids")  # names are trusted


def test_items_that_do_not_join_are_counted_by_the_nearest_kind_of_name():
    names = [f"q{i}" for i in range(20)]
    log = Log([1] * 20 + [2] * 20, names * 2, [1] * 40, [2] * 40)
    pool = wb.Pool(np.full(16, 50.0), ids=names[4:], payload={"prompt": ["?"] * 16})
    with pytest.raises(InputError) as error:
        log.on(pool)
    assert "by ids, got 4 of 20 items that do not" in str(error.value)
    assert all(name in str(error.value) for name in ("q0", "q1", "q2"))
    assert "q3" not in str(error.value)


@pytest.mark.parametrize(("given", "said"), [
    ({"successes": [9, 0, 8, 2]},
     "successes: must be whole numbers in [0, attempts] with attempts >= 1, got 9 of 8 at row 0"),
    ({"attempts": [8, 0, 8, 8]}, "got 0 of 0 at row 1"),
    ({"successes": [-1, 0, 8, 2]}, "successes: must be whole numbers in [0,"),
    ({"successes": [0.5, 0, 8, 2]}, "got 0.5 at row 0"),
    ({"successes": [np.nan, 0, 8, 2]}, "got nan at row 0"),
    ({"step": [1, 2, 3]}, "log: must have columns of one length, one row or more, got step: 3"),
    ({"step": [], "item": [], "successes": [], "attempts": []}, "one per row, got []"),
    ({"step": [], "item": np.empty(0, int), "successes": [], "attempts": []}, "one row or more"),
    ({"step": ["a", "b", "c", "d"]}, "step: must be whole numbers"),
    ({"admitted": [1, 0, 1, 1]}, "admitted: must be True or False"),
    ({"item": [0, 1, 2, 3], "items": ["a", "b"]}, "item: must be positions in [0, 2), got 3"),
    ({"item": [0, 1, 0, 1], "items": 5}, "items: must be a list of names, got 5"),
    ({"item": [0.5, 1, 2, 3]}, "item: must be names or whole numbers"),
])  # fmt: skip
def test_what_is_no_log_is_refused_in_one_line(given, said):
    with pytest.raises(InputError) as error:
        small(**given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def chosen(weights, updates=40, batch=8):
    """Items of each update without replacement, by weight."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.choice(len(weights), batch, False, weights / weights.sum()) for _ in range(updates)])


def counted(item, items=60):
    names = [str(i) for i in range(items)]
    return Log(np.repeat(np.arange(40), 8), item, [1] * len(item), [2] * len(item), items=names)


def test_items_that_a_rule_chose_are_told_from_uniform_ones():
    uniform, hard = chosen(np.ones(60)), chosen(np.linspace(0, 1, 60) ** 4)
    epochs = np.concatenate([np.random.default_rng(k).permutation(60) for k in range(6)])[:320]
    assert [counted(item).steered for item in (uniform, epochs, hard)] == [False, False, True]
    assert counted(uniform, items=600).steered  # of a pool of which a tenth was tried
    assert "what the log says is given the items that a rule or a filter chose" in counted(hard).understood
    assert "more unevenly" not in counted(uniform).understood
