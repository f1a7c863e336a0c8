"""The laws of the workbench, and what the rule, the law and the task say of themselves."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from my_rule.law import Saturating
from my_rule.rule import NearHalf
from my_rule.task import first_two

import workbench as wb
from workbench.learners.law import LearnerState
from workbench.testing import check_learner, check_rule


def test_the_rule_obeys_the_laws_of_rules():
    check_rule(NearHalf())


def test_the_law_obeys_the_laws_of_learners():
    check_learner(partial(wb.SimLearner, Saturating()))


def test_items_nearest_to_the_middle_are_chosen():
    pool = wb.Pool(np.array([10.0, 50.0, 90.0]))
    controller = wb.Controller(NearHalf(), pool)
    controller.observe(controller.next_batch(3), np.array([[1, 1, 1, 1]] * 3, np.float32))
    controller.observe(np.array([1]), np.array([[1, 0, 0, 0, 0, 0, 0, 0]], np.float32)[:, :4])
    assert controller.next_batch(1).tolist() == [1]


def test_gains_shrink_by_e_over_the_room():
    law = Saturating(theta0=0.0, kappa=0.1, room=2.0)
    before = LearnerState(np.array([0.0, 2.0]), np.zeros(2), np.empty((2, 0)))
    gradient = SimpleNamespace(mean=np.ones(2))
    gain = law.advance(before, gradient, bank=None, cache={}).theta - before.theta
    np.testing.assert_allclose(gain, [0.1, 0.1 / np.e])


@pytest.mark.parametrize(("completion", "right"), [("12", 1.0), (" 129", 1.0), ("13", 0.0), ("", 0.0)])
def test_the_first_two_digits_decide(completion, right):
    assert first_two().score(completion, "123") == right


def test_held_out_problems_are_never_trained_on():
    task = first_two()
    prompts, _, _ = task.heldout(8)
    assert not set(prompts) & set(task.pool(200).payload["prompt"])
