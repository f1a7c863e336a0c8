"""Which rules make a step of their own at each call of `update`: found by feeding all of them group by group."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from laws.test_conformance import VARIANTS

import workbench as wb
from workbench.controllers.rule import Feedback
from workbench.errors import InputError
from workbench.registry import RULES
from workbench.testing import draw, feedback, small_pool
from workbench.testing.rules import walk
from workbench.testing.tools import SEEDS, arrays, mixed

POOL = small_pool()
BATCH = 8
TRIED = (
    RULES
    | VARIANTS
    | {
        f"{name} with reversion": replace(rule, reversion=0.2)
        for name, rule in RULES.items()
        if hasattr(rule, "reversion") and name not in ("e2h", "rlve")
    }
)


def alone(told, group):
    """The feedback of one group of a batch, as a Controller gives it."""
    one = feedback(POOL, told.items[:, group : group + 1], told.rewards[:, group : group + 1], told.step, SEEDS)
    return replace(one, batch=told.items.shape[1])


def apart(rule):
    """Names of the parts of the state that are not the same after a call per group as after one for the batch."""
    found = set()
    for moment in walk(rule, POOL, mixed(POOL)):
        state = moment.chosen
        for group in range(moment.items.shape[1]):
            state = rule.update(state, alone(moment.feedback, group))
        mine, theirs = arrays(moment.after), arrays(state)
        found |= {name for name in mine
                  if not np.allclose(mine[name], theirs[name], rtol=1e-5, atol=1e-7, equal_nan=True)}  # fmt: skip
    return found


@pytest.mark.parametrize("name", TRIED)
def test_a_rule_says_whether_a_call_is_a_step_of_its_own(name):
    rule = TRIED[name]
    if type(rule).update is wb.Rule.update:
        assert not rule.per_call
        return
    assert rule.per_call == bool(apart(rule)), apart(rule)


def test_these_presets_do():
    """The list that the documentation of hosts gives."""
    assert {name for name, rule in RULES.items() if rule.per_call} == {
        "adarft", "adarft-gaussian", "adarft-covering", "sec", "tscl", "progress", "bots", "pcl", "rlve", "alp-gmm",
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------- AdaRFT by item


@pytest.mark.parametrize("batch", [4, 64])
def test_by_item_groups_move_the_target_as_their_batch_does_to_first_order(batch):
    """For rewards beta + e r_i moves differ by O(e^3): eta/B sum tanh(alpha e r_i), eta tanh(alpha e mean r).

    With e ten times smaller, the difference is a thousand times smaller, and the move ten times.
    """
    shape = np.random.default_rng(1).uniform(-1, 1, (len(SEEDS), batch, 1)) + 0.5
    rule, items = wb.AdaRFT(per="item", start=50.0), np.tile(np.arange(batch), (len(SEEDS), 1))
    gaps, moves = [], []
    for size in (0.1, 0.01):
        told = feedback(POOL, items % len(POOL), (0.5 + size * shape / 2).repeat(4, axis=2), 1, SEEDS)
        told = exact(told, 0.5 + size * shape / 2)
        whole = rule.update(rule.init(POOL, len(SEEDS)), replace(told, batch=batch))
        assert np.array_equal(whole.target, wb.AdaRFT(start=50.0).update(rule.init(POOL, len(SEEDS)), told).target)
        state = rule.init(POOL, len(SEEDS))
        for group in range(batch):
            one = exact(alone(told, group), (0.5 + size * shape / 2)[:, group : group + 1])
            state = rule.update(state, replace(one, batch=batch))
        gaps.append(np.abs(state.target - whole.target).max())
        moves.append(np.abs(whole.target - 50.0).min())
    assert moves[0] > 0.1
    assert moves[1] == pytest.approx(moves[0] / 10, rel=0.1)
    assert gaps[1] == pytest.approx(gaps[0] / 1000, rel=0.1)
    assert gaps[1] < moves[1] / 1000


def exact(told: Feedback, rewards) -> Feedback:
    """The same with mean rewards in full precision."""
    return replace(told, mean_reward=rewards.reshape(len(rewards), -1).mean(axis=1))


def test_by_item_one_success_and_one_failure_by_hand():
    """B = 4, eta = 50, alpha = 2, beta = .5, one rollout each: a success moves T by 50/4 tanh(1) = 9.52."""
    controller = wb.Controller(wb.AdaRFT(per="item", start=40.0), POOL, seed=1)
    items = controller.next_batch(4)
    for group, reward, target in ((0, 1.0, 49.5199), (1, 0.0, 40.0), (2, 1.0, 49.5199), (3, 1.0, 59.0399)):
        controller.observe(items[group : group + 1], [reward])
        assert controller.target()[0] == pytest.approx(target, abs=1e-4)


def test_by_item_parts_of_any_size_and_groups_without_rollouts_count_as_what_they_are():
    rewards, rule = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]), wb.AdaRFT(per="item", start=40.0)
    controller = wb.Controller(rule, POOL, seed=1)
    items = controller.next_batch(4)
    controller.observe(items[:3], rewards[:3])  # mean .5: no move
    assert controller.target()[0] == 40.0
    controller.observe(items[2:], rewards[2:] * [[0], [1]], counts=[0, 2])  # the fourth: 50/4 tanh(2 (1 - .5))
    assert controller.target()[0] == pytest.approx(40 + 12.5 * np.tanh(1.0))


def test_by_item_a_whole_batch_is_the_published_rule():
    runs = []
    for per in ("batch", "item"):
        learner = wb.SimLearner(wb.ScalarIRT(), POOL, SEEDS)
        runs.append(wb.train(wb.Controller(wb.AdaRFT(per=per), POOL, seed=SEEDS), learner, 20, BATCH, 4, lag=2))
    np.testing.assert_array_equal(runs[0].success, runs[1].success)
    np.testing.assert_array_equal(runs[0].target, runs[1].target)


def test_by_item_is_what_group_by_group_takes():
    """Where a batch is narrow, AdaRFT falls to uniform's level group by group, and by item it does not."""
    pool, seeds = wb.Pool.synthetic("skew-difficult"), np.arange(4)

    def area(rule, **how):
        learner = wb.SimLearner(wb.ScalarIRT(), pool, seeds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wb.StepPerCall)
            return wb.train(wb.Controller(rule, pool, seed=seeds), learner, 60, 64, 8, **how).area().mean()

    uniform, batch = area(wb.Uniform()), area(wb.AdaRFT())
    assert batch > uniform + 0.05
    assert area(wb.AdaRFT(), delivery="group") < uniform + 0.02
    assert area(wb.AdaRFT(per="item"), delivery="group") > batch - 0.01


# ----------------------------------------------------------------------------------------------------------- warnings


def one_by_one(rule, batches=2, size=BATCH):
    controller = wb.Controller(rule, POOL, seed=1)
    for _ in range(batches):
        for item in controller.next_batch(size):
            controller.observe([item], [[1.0, 0.0]])
    return controller


@pytest.mark.parametrize("rule", [wb.AdaRFT(), wb.SEC(), wb.PCL(), wb.Prioritized(reversion=0.1)],
                         ids=lambda rule: type(rule).__name__)  # fmt: skip
def test_group_by_group_is_warned_of_once(rule):
    with pytest.warns(wb.StepPerCall, match=f"^{type(rule).__name__}: each call of observe is a whole step") as told:
        one_by_one(rule)
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    assert told[0].filename == __file__


@pytest.mark.parametrize("rule", [wb.AdaRFT(per="item"), wb.MoPPS(), wb.Prioritized(), wb.Uniform()],
                         ids=lambda rule: type(rule).__name__)  # fmt: skip
def test_rules_that_count_items_are_not_warned_of(rule):
    one_by_one(rule)


def test_batches_of_one_and_a_group_that_comes_alone_once_are_not_warned_of():
    one_by_one(wb.AdaRFT(), size=1)
    controller = wb.Controller(wb.AdaRFT(), POOL, seed=1)
    for _ in range(4):
        items = controller.next_batch(BATCH)
        controller.observe(items[:-1], np.ones((BATCH - 1, 2)))
        controller.observe(items[-1:], np.ones((1, 2)))


def test_train_warns_where_groups_come_one_by_one():
    learner = wb.SimLearner(wb.ScalarIRT(), POOL, 1)
    with pytest.warns(wb.StepPerCall):
        wb.train(wb.Controller(wb.AdaRFT(), POOL, seed=1), learner, 2, BATCH, 4, delivery="group")


def test_a_draw_is_not_changed_by_per():
    rule = wb.AdaRFT(start=30.0)
    state = rule.init(POOL, len(SEEDS))
    other = replace(rule, per="item")
    one, two = (r.select(state, draw(POOL, 3, SEEDS), BATCH)[0] for r in (rule, other))
    np.testing.assert_array_equal(one, two)


def test_a_state_saved_before_per_was_there_is_that_of_a_batch():
    controller = wb.Controller(wb.AdaRFT(), POOL, seed=1)
    state = controller.state_dict()
    assert '"rule.per": "batch"' in state["settings"]
    older = state | {"settings": state["settings"].replace(', "rule.per": "batch"', "")}
    assert "per" not in older["settings"]
    wb.Controller(wb.AdaRFT(), POOL, seed=1).load_state_dict(older)
    with pytest.raises(InputError, match=r"state\.rule\.per"):
        wb.Controller(wb.AdaRFT(per="item"), POOL, seed=1).load_state_dict(older)
