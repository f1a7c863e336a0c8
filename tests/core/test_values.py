"""Rules, gates and laws as values: which settings may be arrays, equality with arrays, and objects of a wrong kind."""

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest

import workbench as wb
from workbench import errors
from workbench.errors import InputError
from workbench.lanes import lane_fields
from workbench.registry import GATES, LAWS, RULES, per_lane_field
from workbench.testing import RULE_LAWS

OUTSIDE = """
from dataclasses import dataclass
from typing import TYPE_CHECKING
import numpy as np
import workbench as wb
from workbench import lanes
from workbench.errors import check_number
{imported}

@dataclass(frozen=True)
class Outside(wb.FrozenTarget):
    '''The target moves by a step in every update.

    Source: {source}.
    '''

    step: {annotation} = 1.0
    loud: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_number("step", self.step, 0, 10)

    def init(self, pool, lanes):
        wb.controllers.rule.per_lane("step", self.step, lanes)
        return super().init(pool, lanes)

    def update(self, state, feedback):
        moved = state.target + wb.controllers.rule.per_lane("step", self.step, len(state.target))
        return state._replace(target=np.minimum(moved, 100.0))
"""
SPELLINGS = {
    "a name": ("from workbench.lanes import Lanes", "Lanes"),
    "of its module": ("", "lanes.Lanes"),
    "another name": ("from workbench.lanes import Lanes as PerLane", "PerLane"),
    "a union": ("from numpy.typing import NDArray", "float | NDArray[np.float64]"),
}
CASES = [(future, *spelling) for future in (True, False) for spelling in SPELLINGS.values()]


def outside(folder, imported, annotation, future, source="a test"):
    """The rule of a module outside the tree, imported from its file."""
    text = OUTSIDE.format(imported=imported, annotation=annotation, source=source)
    path = folder / f"outside_{len(list(folder.iterdir()))}.py"
    path.write_text("from __future__ import annotations\n" * future + text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module.Outside


# --- which settings may be arrays


@pytest.mark.parametrize(("future", "imported", "annotation"), CASES)
def test_a_setting_of_an_outside_rule_is_known_to_take_lanes(tmp_path, future, imported, annotation):
    """In every spelling, where annotations are text and where they are objects."""
    rule = outside(tmp_path, imported, annotation, future)()
    assert lane_fields(type(rule)) == ("floor", "target", "step")
    assert per_lane_field(rule, "step")
    assert not per_lane_field(rule, "loud")


@pytest.mark.parametrize("future", [True, False])
def test_an_outside_rule_with_lanes_of_settings_does_as_single_runs(tmp_path, future):
    """The laws of workbench.testing put its settings side by side, which needs to know that they take arrays."""
    kind = outside(tmp_path, "", "lanes.Lanes", future)
    for law in ("lanes_are_single_runs", "refuses_bad_settings"):
        RULE_LAWS[law](kind())
    pool = wb.Pool(np.linspace(0, 100, 101))
    together = wb.Controller(kind(step=np.array([0.0, 5.0])), pool, lanes=2)
    together.observe(together.next_batch(3), np.zeros((2, 3)))
    np.testing.assert_array_equal(together.state.target, [50.0, 55.0])


def test_names_for_type_checkers_only_do_not_hide_a_setting(tmp_path):
    imported = "if TYPE_CHECKING:\n    from workbench.lanes import Lanes"
    assert lane_fields(outside(tmp_path, imported, "Lanes", True)) == ("floor", "target", "step")
    assert lane_fields(outside(tmp_path, "", "Unknown", True)) == ("floor", "target")


@pytest.mark.parametrize("subject", [*RULES.values(), *GATES.values(), *LAWS.values()], ids=lambda x: type(x).__name__)
def test_shipped_settings_that_take_lanes_hold_a_number(subject):
    for name in lane_fields(type(subject)):
        assert isinstance(getattr(subject, name), (int, float))


# --- equality


def test_rules_gates_and_laws_with_arrays_are_equal_by_value():
    for one, other in (
        (wb.AdaRFT(eta=np.array([1.0, 2.0])), wb.AdaRFT(eta=np.array([1.0, 3.0]))),
        (wb.BalancedFilter(low=np.array([0.1, 0.2])), wb.BalancedFilter(low=0.1)),
        (wb.ScalarIRT(kappa=np.array([0.1, 0.2])), wb.ScalarIRT(kappa=np.array([0.2, 0.4]))),
    ):
        again = replace(one)
        assert one == again
        assert hash(one) == hash(again)
        assert one != other
        assert len({one, again, other}) == 2


def test_equal_settings_of_another_class_or_type_are_not_equal():
    assert wb.AdaRFT() == wb.AdaRFT(eta=50)
    assert wb.AdaRFT() != wb.AdaRFTCovering()
    assert wb.AdaRFT() != "adarft"
    assert wb.ScalarIRT() != wb.ScalarIRT(signal=wb.GRPO())
    assert wb.MultiSkill(skills=2, matrix=((1.0, 0.1), (0.1, 1.0))) == wb.MultiSkill(
        skills=2, matrix=((1.0, 0.1), (0.1, 1.0))
    )


def test_an_outside_rule_gets_equality_and_keeps_its_own(tmp_path):
    kind = outside(tmp_path, "", "lanes.Lanes", True)
    assert kind(step=np.array([1.0])) == kind(step=np.array([1.0]))
    assert kind(step=np.array([1.0])) != kind(step=np.array([2.0]))

    class Own(wb.AdaRFT):
        def __eq__(self, other):
            return "own"

        def __hash__(self):
            return 7

    assert (Own() == Own()) == "own"
    assert hash(Own()) == 7


# --- objects of a wrong kind


def pool():
    return wb.Pool(np.linspace(0, 100, 20))


def bound():
    return wb.Controller(wb.Uniform(), pool())


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: wb.Controller("adarft", pool()), "rule: must be a rule such as AdaRFT(), got the name 'adarft'"),
        (lambda: wb.Controller(wb.AdaRFT, pool()), "rule: must be an object, AdaRFT(), got the class AdaRFT"),
        (lambda: wb.Controller(pool(), wb.AdaRFT()), "rule: must be a rule such as AdaRFT(), got "),
        (lambda: wb.Controller(wb.AdaRFT(), [1.0, 2.0]), "pool: must be a Pool such as Pool(difficulty)"),
        (lambda: wb.Controller(wb.AdaRFT(), "uniform"), "pool: must be a Pool such as Pool(difficulty), got the name"),
        (lambda: wb.Controller(wb.AdaRFT(), pool(), "dapo"), "gates: must be gates such as DynamicSampling(), got the"),
        (lambda: wb.Controller(wb.AdaRFT(), pool(), wb.SPEED), "gates: must be an object, SPEED(), got the class"),
        (lambda: wb.Controller(wb.AdaRFT(), pool(), [wb.AdaRFT()]), "gates: must be gates such as DynamicSampling()"),
        (lambda: wb.Controller(wb.AdaRFT(), pool(), None), "gates: must be gates such as DynamicSampling(), got None"),
        (lambda: wb.SimLearner("scalar", pool()), "law: must be a learning law such as ScalarIRT(), got the name"),
        (lambda: wb.SimLearner(wb.Chain, pool()), "law: must be an object, Chain(), got the class Chain"),
        (lambda: wb.SimLearner(wb.Chain(), None), "pool: must be a Pool such as Pool(difficulty), got None"),
        (lambda: wb.train(wb.AdaRFT(), wb.SimLearner(wb.ScalarIRT(), pool()), 3), "controller: must be a Controller"),
        (lambda: wb.train("adarft", None, 3), "controller: must be a Controller such as Controller(AdaRFT(), pool)"),
        (lambda: wb.train(bound(), wb.ScalarIRT(), 3), "learner: must have attempt(), learn() and evaluate()"),
        (lambda: wb.train(bound(), None, 3), "learner: must have attempt(), learn() and evaluate(), as a SimLearner"),
    ],
)
def test_a_wrong_kind_of_object_is_refused_in_one_line_that_says_what_to_write(call, line):
    with pytest.raises(InputError) as refused:
        call()
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_one_gate_needs_no_list():
    """And acts as a list of it."""
    gate = wb.DynamicSampling()
    alone, listed = (wb.Controller(wb.Uniform(), pool(), gates) for gates in (gate, [gate]))
    assert alone.gates == listed.gates
    items = alone.next_batch(4)
    rewards = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], float)
    np.testing.assert_array_equal(alone.observe(items, rewards), [False, True, False, True])
    np.testing.assert_array_equal(listed.observe(listed.next_batch(4), rewards), [False, True, False, True])


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (0.5, "0.5"), (131072, "131072"), (10**6, "1e6"), (1e-6, "1e-6"), (2**27, "134217728"), (2.5e9, "2.5e9"),
    (100000.5, "100000.5"), (0.1234567, "0.1234567"),
])  # fmt: skip
def test_an_end_of_a_domain_is_written_in_one_way_and_is_exact(value, text):
    assert errors.bound(value) == text
    assert float(text) == value
