"""Gates: which finished groups are trained on, by hand, and what they cost.

DAPO's dynamic sampling (arXiv 2503.14476), the balanced difficulty filter (2504.03380), VCRL's variance and memory
bank (2509.19803), SPEED's two phases (2506.09016).
"""

import math
import warnings
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import workbench as wb
from workbench.controllers.gate import ShortBatch
from workbench.controllers.gates.balanced import BalancedFilter
from workbench.controllers.gates.dapo import DynamicSampling
from workbench.controllers.gates.speed import SPEED
from workbench.controllers.gates.vcrl import VCRL
from workbench.errors import InputError
from workbench.testing import draw, feedback

GATES = (DynamicSampling, BalancedFilter, VCRL, SPEED)
each_gate = pytest.mark.parametrize("gate", GATES)


def right(successes, rollouts):
    """A group's rewards, the right answers first."""
    return [1.0] * successes + [0.0] * (rollouts - successes)


def pool_of(size=50):
    return wb.Pool(difficulty=np.linspace(0, 100, size))


def admitted(gate, rewards, counts=None):
    """(B,) what a fresh gate admits of one lane's groups."""
    pool = pool_of(max(len(rewards), 2))
    mask, _ = gate.admit(gate.init(pool, 1), feedback(pool, np.arange(len(rewards)), rewards, counts=counts))
    assert mask.dtype == bool
    return mask[0].tolist()


class Scripted:
    """A learner whose answers are given, (I, G) in order; it never learns, and counts what it generates."""

    def __init__(self, answers):
        self.answers = np.asarray(answers, np.float32)
        self.generated, self.learned = 0, []

    def attempt(self, items, rollouts=8, counts=None):
        self.begun = np.zeros(np.shape(items), int)
        return self.extend(items, rollouts, np.full(np.shape(items), rollouts) if counts is None else counts)

    def extend(self, items, rollouts, counts):
        counts, rewards = np.asarray(counts), np.zeros((*np.shape(items), rollouts), np.float32)
        for where in np.ndindex(np.shape(items)):
            start, n = self.begun[where], counts[where]
            rewards[where][:n] = self.answers[items[where], start : start + n]
        self.begun = self.begun + counts
        self.generated += int(counts.sum())
        return rewards

    def learn(self, items, rewards, admitted, counts=None):
        self.learned.append((np.array(items), np.array(rewards), np.array(admitted), counts))

    def evaluate(self):
        return np.zeros(1)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Coins:
    """A learner of fixed success p, with luck of its own; it never learns."""

    def __init__(self, p, seed=0, lanes=1):
        self.p, self.rng, self.lanes = p, np.random.default_rng(seed), lanes
        self.learned = []

    def attempt(self, items, rollouts=8, counts=None):
        rewards = (self.rng.random((*np.shape(items), rollouts)) < self.p).astype(np.float32)
        if counts is not None:
            rewards *= np.arange(rollouts) < np.asarray(counts)[..., None]
        return rewards

    def extend(self, items, rollouts, counts):
        return self.attempt(items, rollouts, counts)

    def learn(self, items, rewards, admitted, counts=None):
        self.learned.append((np.array(rewards), np.array(admitted), counts))

    def evaluate(self):
        return np.zeros((self.lanes, 1))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


# --- dynamic sampling


def test_dynamic_sampling_admits_the_groups_that_have_a_gradient():
    groups = [right(k, 4) for k in range(5)] + [[0.5] * 4, [0.5, 0.5, 0.5, 0.25]]
    assert admitted(DynamicSampling(), groups) == [False, True, True, True, False, False, True]


def test_dynamic_sampling_looks_only_at_the_rollouts_that_were_made():
    groups = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert admitted(DynamicSampling(), groups, counts=[2, 2, 1, 0]) == [False, True, False, False]


def test_dynamic_sampling_rejects_a_group_of_one_rollout_which_the_recipe_keeps():
    # The recipe of DAPO keeps a group if its standard deviation is above 0 or it has one rollout.
    assert admitted(DynamicSampling(), [[1, 0], [1, 0], [0, 0]], counts=[1, 2, 1]) == [False, True, False]


def test_dynamic_sampling_takes_equal_rewards_for_silent_where_rounding_gives_them_a_deviation():
    assert np.std([0.1] * 3) > 0
    assert admitted(DynamicSampling(), [[0.1] * 3, [0.7] * 3, [0.1, 0.1, 0.2]]) == [False, False, True]


def silent(p, n):
    return p**n + (1 - p) ** n


def signal(k, n):
    """The unnormalised gradient of a group of n with k right, by leave-one-out (RLOO)."""
    return k * (n - k) / (n * (n - 1))


@pytest.mark.parametrize(("n", "p", "share"), [(2, 0.1, 0.82), (4, 0.1, 0.6562), (8, 0.1, 0.43047), (8, 0.5, 0.00781)])
def test_the_share_of_silent_groups_is_as_published(n, p, share):
    assert silent(p, n) == pytest.approx(share, abs=5e-5)


@pytest.mark.parametrize(("n", "p"), [(2, 0.5), (4, 0.1), (8, 0.1), (8, 0.9), (16, 0.05)])
def test_dynamic_sampling_admits_one_minus_the_silent_share(n, p):
    rewards = Coins(p, seed=n).attempt(np.arange(4_000), n)
    count = sum(admitted(DynamicSampling(), rewards))
    assert stats.binomtest(count, 4_000, 1 - silent(p, n)).pvalue > 1e-3


@pytest.mark.parametrize(("n", "p"), [(2, 0.3), (4, 0.1), (8, 0.1), (8, 0.7)])
def test_the_cost_identity_of_dynamic_sampling(n, p):
    # Per admitted group the signal grows by 1 / (1 - silent), exactly as the rollouts paid for it do.
    chance = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    mask = admitted(DynamicSampling(), [right(k, n) for k in range(n + 1)])
    of_all = sum(c * signal(k, n) for k, c in enumerate(chance))
    share = sum(c for c, mixed in zip(chance, mask, strict=True) if mixed)
    of_admitted = sum(c * signal(k, n) for k, (c, mixed) in enumerate(zip(chance, mask, strict=True)) if mixed) / share
    assert of_all == pytest.approx(p * (1 - p))
    assert share == pytest.approx(1 - silent(p, n))
    assert of_admitted == pytest.approx(of_all / (1 - silent(p, n)))
    assert of_admitted / (n / share) == pytest.approx(of_all / n)  # signal per rollout: unchanged


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=30))
def test_what_dynamic_sampling_leaves_out_had_no_signal(successes):
    mask = admitted(DynamicSampling(), [right(k, 8) for k in successes])
    assert sum(signal(k, 8) for k, mixed in zip(successes, mask, strict=True) if not mixed) == 0
    assert all(signal(k, 8) > 0 for k, mixed in zip(successes, mask, strict=True) if mixed)


def test_training_with_dynamic_sampling_generates_as_much_more_as_the_identity_says():
    # 400 updates on 32 groups of 4 at p = 0.1: batches are drawn whole, so each update makes the fewest batches
    # that hold 32 mixed groups; that number is known from the luck of the groups alone.
    n, p, batch, steps = 4, 0.1, 32, 400
    learner = Coins(p)
    controller = wb.Controller(wb.Uniform(), pool_of(200), [DynamicSampling(max_batches=50)])
    record = wb.train(controller, learner, steps, batch=batch, rollouts=n, eval_every=steps)
    luck = Coins(p)
    batches = 0
    for _ in range(steps):
        mixed = 0
        while mixed < batch:
            mixed += int((luck.attempt(np.arange(batch), n).std(axis=1) > 0).sum())
            batches += 1
    assert record.rollouts[-1, 0] == batches * batch * n
    assert record.trained[-1, 0] == steps * batch * n
    mixed = sum(int((rewards.std(axis=1) > 0).sum()) for rewards, _, _ in learner.learned)
    assert stats.binomtest(mixed, batches * batch, 1 - silent(p, n)).pvalue > 1e-3
    overshoot = mixed / (steps * batch)  # mixed groups of the last batch that no longer fitted
    assert record.rollouts[-1, 0] / record.trained[-1, 0] == pytest.approx(overshoot / (1 - silent(p, n)), rel=0.02)


class LaneByLane:
    """Three lanes of groups of two: always mixed, mixed in every second batch of an update, never mixed."""

    lanes = 3

    def __init__(self):
        self.asked = []

    def attempt(self, items, rollouts=8, counts=None):
        counts = np.full(np.shape(items), rollouts) if counts is None else np.asarray(counts)
        self.turn = self.turn + 1 if counts.min() == 0 else 0  # a refill leaves the full lane out
        self.asked.append(counts.sum(axis=1).tolist())
        rewards = np.zeros((*np.shape(items), rollouts), np.float32)
        rewards[0, :, 0], rewards[1, :, 0] = 1, self.turn % 2
        return rewards * (counts[..., None] > 0)

    def learn(self, items, rewards, admitted, counts=None):
        pass

    def evaluate(self):
        return np.zeros((3, 1))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_lanes_pay_for_their_own_refills_only():
    # An update takes 1, 2 and, at its cap, 5 batches of four groups of two.
    learner = LaneByLane()
    controller = wb.Controller(wb.Uniform(), pool_of(), [DynamicSampling(max_batches=5)], seed=[1, 2, 3])
    with pytest.warns(ShortBatch):
        record = wb.train(controller, learner, 2, batch=4, rollouts=2, eval_every=1)
    assert learner.asked == [[8, 8, 8], [0, 8, 8], [0, 0, 8], [0, 0, 8], [0, 0, 8]] * 2
    assert record.rollouts.tolist() == [[0, 0, 0], [8, 16, 40], [16, 32, 80]]
    assert record.trained.tolist() == [[0, 0, 0], [8, 8, 0], [16, 16, 0]]
    assert record.short.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
    assert controller.batches.tolist() == [2, 4, 10]


def test_lanes_refill_alone_after_a_batch_of_another_size():
    controller = wb.Controller(wb.Uniform(), pool_of(), [DynamicSampling()], seed=[1, 2])
    controller.next_batch(8)
    first = controller.next_batch(4)
    second = controller.next_batch(4, refill=np.array([True, False]))
    assert set(first[0].tolist()) != set(second[0].tolist())
    assert first[1].tolist() == second[1].tolist()


@each_gate
def test_a_gate_decides_lane_by_lane(gate):
    rng, pool, seeds = np.random.default_rng(4), pool_of(), [5, 6, 7]
    items = np.array([rng.permutation(50)[:12] for _ in seeds])
    rewards = (rng.random((3, 12, 8)) < rng.random((3, 12, 1))).astype(np.float32)
    together, _ = gate().admit(gate().init(pool, 3), feedback(pool, items, rewards, seed=seeds))
    assert together.any()
    assert not together.all()
    for lane in range(3):
        alone, _ = gate().admit(gate().init(pool, 1), feedback(pool, items[lane], rewards[lane], seed=seeds[lane]))
        np.testing.assert_array_equal(together[lane], alone[0])


@each_gate
def test_gated_training_in_lanes_is_single_runs_bit_for_bit(gate):
    pool = wb.Pool.synthetic("uniform", size=300)

    def record(seed):
        controller = wb.Controller(wb.AdaRFT(), pool, [gate(max_batches=6)], seed=seed)
        learner = wb.SimLearner(wb.KernelTransfer(theta0=-1.0), pool, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShortBatch)
            return wb.train(controller, learner, 15, batch=16, rollouts=8, eval_every=3)

    together = record(np.array([3, 0, 11]))
    assert (together.rollouts[-1] != together.rollouts[-1, 0]).any()
    for lane, seed in enumerate([3, 0, 11]):
        alone = record(seed)
        np.testing.assert_array_equal(together.rollouts[:, lane], alone.rollouts[:, 0])
        np.testing.assert_array_equal(together.trained[:, lane], alone.trained[:, 0])
        np.testing.assert_array_equal(together.success[:, lane], alone.success[:, 0])


@each_gate
def test_a_silent_group_is_never_trained_on(gate):
    assert admitted(gate(), [right(0, 8), right(8, 8)]) == [False, False]


@each_gate
def test_an_even_group_is_always_trained_on(gate):
    assert admitted(gate(), [[1, 0] * 4]) == [True]


@each_gate
def test_single_rollouts_are_refused(gate):
    with pytest.raises(InputError, match=r"^rollouts: must be"):
        gate().check_rollouts(1)


@each_gate
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_a_number_of_batches_that_is_no_whole_number_above_zero_is_refused(gate, value):
    with pytest.raises(InputError, match=r"^max_batches: must be"):
        gate(max_batches=value)


# --- balanced filter


def test_the_balanced_filter_keeps_its_two_ends():
    assert admitted(BalancedFilter(), [right(k, 8) for k in range(9)]) == [k in range(2, 7) for k in range(9)]


@settings(deadline=None, max_examples=60)
@given(low=st.floats(0.0, 0.5), high=st.floats(0.5, 1.0), rollouts=st.integers(2, 16), data=st.data())
def test_the_balanced_filter_keeps_what_lies_between_its_bounds(low, high, rollouts, data):
    k = data.draw(st.integers(0, rollouts))
    assert admitted(BalancedFilter(low=low, high=high), [right(k, rollouts)]) == [low <= k / rollouts <= high]


def test_the_balanced_filter_of_narrow_bounds_pays_more_than_dynamic_sampling():
    def cost(gate):
        controller = wb.Controller(wb.Uniform(), pool_of(200), [gate])
        record = wb.train(controller, Coins(0.2), 60, batch=16, rollouts=8, eval_every=60)
        return record.rollouts[-1, 0]

    free, wide, narrow = (
        cost(gate(max_batches=200))
        for gate in (
            DynamicSampling,
            lambda max_batches: BalancedFilter(low=0.25, high=0.75, max_batches=max_batches),
            lambda max_batches: BalancedFilter(low=0.5, high=0.5, max_batches=max_batches),
        )
    )
    assert free < wide < narrow


def test_the_balanced_filter_takes_partial_credit_by_its_mean():
    groups = [[0.5, 0.25, 0, 0], [0.5, 0.5, 0.5, 0.4], [1, 1, 0.9, 0.9]]
    assert admitted(BalancedFilter(), groups) == [False, True, False]


def test_the_balanced_filter_counts_only_the_rollouts_that_were_made():
    # 1 of 2 and 1 of 8 right
    assert admitted(BalancedFilter(), [right(1, 8), right(1, 8)], counts=[2, 8]) == [True, False]


@pytest.mark.parametrize(("low", "high"), [(0.8, 0.2), (-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5)])
def test_the_balanced_filter_refuses_bounds_out_of_order_or_range(low, high):
    with pytest.raises(InputError, match=r"low|high"):
        BalancedFilter(low=low, high=high)


# --- VCRL: p = s^2 / s^2_max with s^2 = k (G - k) / (G (G - 1))


def vcrl(threshold):
    """Past its warm-up, with one threshold from the start."""
    return VCRL(threshold=threshold, early=threshold)


def share_of_variance(k, rollouts):
    half = rollouts // 2
    return k * (rollouts - k) / (half * (rollouts - half))


def test_vcrl_admits_groups_whose_variance_comes_near_the_largest():
    # Of 8: 7/16, 12/16, 15/16 and 1 for k = 1 to 4.
    assert admitted(vcrl(0.8), [right(k, 8) for k in range(9)]) == [k in (3, 4, 5) for k in range(9)]
    assert admitted(vcrl(0.7), [right(k, 8) for k in range(9)]) == [k in range(2, 7) for k in range(9)]


def test_vcrl_the_largest_variance_of_an_odd_group_is_that_of_its_two_middle_counts():
    # Three rollouts can do no better than 1 of 3: p = 1 there, where G^2 / 4 would give 0.89.
    assert admitted(vcrl(0.95), [right(k, 3) for k in range(4)]) == [False, True, True, False]
    assert admitted(vcrl(0.99), [right(k, 5) for k in range(6)]) == [False, False, True, True, False, False]


@settings(deadline=None, max_examples=80)
@given(rollouts=st.integers(2, 16), threshold=st.floats(0.01, 1), data=st.data())
def test_vcrl_agrees_with_its_equation(rollouts, threshold, data):
    k = data.draw(st.integers(0, rollouts))
    share = share_of_variance(k, rollouts)
    if abs(share - threshold) > 1e-5:
        assert admitted(vcrl(threshold), [right(k, rollouts)]) == [share >= threshold]


def test_vcrl_measures_each_group_by_its_own_size():
    # 1 of 2: p = 1. 1 of 8: p = 7/16.
    assert admitted(vcrl(0.8), [right(1, 8), right(1, 8)], counts=[2, 8]) == [True, False]


def test_vcrl_takes_partial_credit_by_its_variance():
    # 0, 1/2, 1, 1/2: s^2 = 1/6, half of the largest, 1/3.
    group = [[0, 0.5, 1, 0.5]]
    assert admitted(vcrl(0.45), group) == [True]
    assert admitted(vcrl(0.55), group) == [False]


def test_vcrl_asks_for_less_in_its_first_twenty_updates():
    # 1 of 8 right is 7/16 of the largest variance, 2 of 8 is 12/16.
    gate, pool, groups = VCRL(), pool_of(), [right(k, 8) for k in (0, 1, 2, 3, 4)]
    for step in (1, 20, 21, 500):
        mask, _ = gate.admit(gate.init(pool, 1), feedback(pool, np.arange(5), groups, step))
        assert mask[0].tolist() == [False, step <= 20, step <= 20, True, True]


def filled(gate, pool, items, rewards=None):
    """The state of a gate that has admitted these items, in an update before."""
    groups = [right(4, 8)] * len(items) if rewards is None else rewards
    mask, state = gate.admit(gate.init(pool, 1), feedback(pool, items, groups, step=1))
    return mask, state


def refilled(gate, state, pool, proposal, step=2, turn=1):
    items, state = gate.refill(state, draw(pool, step, turn=turn), np.array([proposal]))
    assert items.shape == (1, len(proposal))
    assert items.dtype == np.int64
    assert len(set(items[0].tolist())) == len(proposal)
    return items[0].tolist(), state


def test_vcrl_an_empty_bank_leaves_the_proposal():
    pool, gate = pool_of(), VCRL()
    assert sorted(refilled(gate, gate.init(pool, 1), pool, [3, 1, 4, 15])[0]) == [1, 3, 4, 15]


def test_vcrl_refills_from_its_bank_first():
    pool, gate = pool_of(), VCRL()
    mask, state = filled(gate, pool, [10, 20, 30])
    assert mask.all()
    items, _ = refilled(gate, state, pool, [0, 1, 2, 3, 4])
    assert {10, 20, 30} <= set(items)
    assert len(set(items) - {10, 20, 30}) == 2
    assert set(items) - {10, 20, 30} <= {0, 1, 2, 3, 4}


def test_vcrl_what_it_rejected_is_not_in_its_bank():
    pool, gate = pool_of(), vcrl(0.8)
    _, state = filled(gate, pool, [10, 20, 30], [right(4, 8), right(1, 8), right(8, 8)])
    items, _ = refilled(gate, state, pool, [0, 1, 2])
    assert 10 in items
    assert not {20, 30} & set(items)


def test_vcrl_an_item_in_the_proposal_and_in_the_bank_comes_once():
    pool, gate = pool_of(), VCRL()
    _, state = filled(gate, pool, [10, 20])
    items, _ = refilled(gate, state, pool, [20, 1, 2, 3])
    assert {10, 20} <= set(items)


def one_from_the_bank(gate, laid_up, at):
    """The item that an update short of one group gets from the bank. laid_up: (step, item, right of 8)."""
    pool, state = pool_of(), None
    for step, item, k in laid_up:
        state = gate.init(pool, 1) if state is None else state
        _, state = gate.admit(state, feedback(pool, [item], [right(k, 8)], step))
    _, state = gate.admit(state, feedback(pool, [1, 2], [[1, 0] * 4, right(8, 8)], at))
    items, _ = gate.refill(state, draw(pool, at - 1, turn=1), np.array([[3, 4]]))
    (replayed,) = set(items[0].tolist()) - {3, 4}
    return replayed


def test_vcrl_with_full_momentum_replays_the_item_of_the_largest_variance():
    for first, second in [(3, 4), (4, 3)]:
        laid_up = [(1, 10, first), (1, 20, second), (2, 30, 3)]
        assert one_from_the_bank(VCRL(momentum=1.0), laid_up, 9) == (20 if second == 4 else 10)


def test_vcrl_without_momentum_replays_the_item_that_has_waited_longest():
    assert one_from_the_bank(VCRL(momentum=0.0), [(1, 10, 3), (3, 20, 4), (5, 30, 4)], 9) == 10
    assert one_from_the_bank(VCRL(momentum=0.0), [(1, 10, 4), (3, 20, 3), (5, 10, 4)], 9) == 20


def test_vcrl_an_update_does_not_replay_what_it_has_just_admitted():
    pool, gate = pool_of(), VCRL()
    _, state = gate.admit(gate.init(pool, 1), feedback(pool, [10, 20], [[1, 0] * 4, right(8, 8)], 1))
    items, _ = refilled(gate, state, pool, [3, 4], step=0)
    assert set(items) == {3, 4}


def test_vcrl_an_item_that_has_lost_its_variance_leaves_the_bank():
    pool, gate = pool_of(), VCRL()
    _, state = filled(gate, pool, [10, 20])
    items, state = refilled(gate, state, pool, [0, 1], step=1)
    assert set(items) == {10, 20}
    _, state = gate.admit(state, feedback(pool, [10, 20], [right(8, 8), [1, 0] * 4], 2))
    items, _ = refilled(gate, state, pool, [0, 1], step=2)
    assert 20 in items
    assert 10 not in items


def test_vcrl_the_bank_may_hold_more_than_a_batch():
    pool, gate = pool_of(), VCRL()
    _, state = filled(gate, pool, list(range(10, 30)))
    items, _ = refilled(gate, state, pool, [0, 1, 2])
    assert set(items) <= set(range(10, 30))


def test_vcrl_lanes_have_banks_of_their_own():
    pool, gate = pool_of(), VCRL()
    groups = np.tile(right(4, 8), (2, 2, 1))
    _, state = gate.admit(gate.init(pool, 2), feedback(pool, [[10, 11], [20, 21]], groups, seed=[0, 1]))
    items, _ = gate.refill(state, draw(pool, 2, [0, 1], 1), np.array([[1, 2], [1, 2]]))
    assert [set(lane.tolist()) for lane in items] == [{10, 11}, {20, 21}]


def test_vcrl_admitting_and_refilling_leave_the_state_they_were_given_unchanged():
    pool, gate = pool_of(), VCRL()
    _, state = filled(gate, pool, [10, 20])
    before = [np.copy(part) for part in state]
    gate.refill(state, draw(pool, 2, turn=1), np.array([[1, 2, 3]]))
    gate.admit(state, feedback(pool, [10, 5], [right(0, 8), right(4, 8)], step=3))
    for part, old in zip(state, before, strict=True):
        np.testing.assert_array_equal(part, old)


def test_vcrl_the_first_batch_of_an_update_is_the_rules_own():
    pool = pool_of()
    plain, gated = wb.Controller(wb.Uniform(), pool), wb.Controller(wb.Uniform(), pool, [VCRL()])
    for _ in range(4):
        one, two = plain.next_batch(8), gated.next_batch(8)
        np.testing.assert_array_equal(one, two)
        plain.observe(one, np.tile(right(4, 8), (8, 1)))
        gated.observe(two, np.tile(right(4, 8), (8, 1)))


def test_vcrl_a_run_with_its_bank_resumes_bit_for_bit():
    pool = wb.Pool.synthetic("uniform", size=100)
    one, two = (wb.Controller(wb.Uniform(), pool, [VCRL()]) for _ in range(2))
    luck = Coins(0.5)
    for _ in range(3):
        items = one.next_batch(10)
        one.observe(items, luck.attempt(items))
    two.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one.next_batch(10, refill=True), two.next_batch(10, refill=True))


def test_vcrl_its_bank_finds_admissible_groups_faster_than_the_pool_does():
    # One item in ten is of use and stays so: with a bank that remembers which, fewer groups have to be tried.
    answers = np.array([right(4, 8) if i % 10 == 0 else right(8, 8) for i in range(100)])

    def cost(gate):
        controller = wb.Controller(wb.Uniform(), pool_of(100), [gate])
        return wb.train(controller, Scripted(answers), 20, batch=8, rollouts=8, eval_every=20).rollouts[-1, 0]

    assert cost(VCRL(max_batches=60)) < 0.6 * cost(DynamicSampling(max_batches=60))


@pytest.mark.parametrize(
    ("field", "value"),
    [("threshold", -0.1), ("threshold", 1.1), ("early", math.nan), ("momentum", -0.1), ("momentum", 1.1), ("bank", 0)],
)
def test_vcrl_a_hyper_parameter_out_of_its_range_is_refused_with_its_domain_and_value(field, value):
    with pytest.raises(InputError) as caught:
        VCRL(**{field: value})
    assert str(caught.value).startswith(f"{field}: must be ")
    assert str(value) in str(caught.value)


# --- SPEED: n0 rollouts for all, the other n1 only where the first were neither all right nor all wrong


def screened(first, rewards):
    pool = pool_of(max(len(rewards), 2))
    return SPEED(first=first).screen(feedback(pool, np.arange(len(rewards)), rewards))[0].tolist()


def test_speed_goes_on_only_with_groups_that_are_mixed_after_the_first_phase():
    assert SPEED().screening == 4
    assert SPEED(first=2).screening == 2
    assert screened(4, [right(k, 4) for k in range(5)]) == [False, True, True, True, False]


def test_speed_takes_partial_credit_that_is_all_alike_as_no_signal():
    assert screened(4, [[0.5] * 4, [0.5, 0.5, 0.5, 0.75]]) == [False, True]


def speed_run(answers, first, rollouts, batch, steps=1, max_batches=20):
    learner = Scripted(answers)
    controller = wb.Controller(wb.Uniform(), pool_of(len(answers)), [SPEED(first=first, max_batches=max_batches)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortBatch)
        record = wb.train(controller, learner, steps, batch=batch, rollouts=rollouts, eval_every=steps)
    return record, learner


def test_speed_costs_n0_per_rejected_group_and_n0_plus_n1_per_kept_one():
    # The whole pool in one batch: 4 + 6 rollouts for the mixed ones, 4 for the others.
    answers = [[1, 0, 0, 0, *right(3, 6)]] * 3 + [[0] * 4 + right(6, 6)] * 5 + [[1] * 10] * 4
    record, learner = speed_run(answers, first=4, rollouts=10, batch=12, max_batches=1)
    assert record.rollouts[-1, 0] == learner.generated == 3 * 10 + 9 * 4
    assert record.trained[-1, 0] == 3 * 10
    items, rewards, mask, counts = learner.learned[0]
    assert set(items[mask].tolist()) == {0, 1, 2}
    assert rewards.shape == (12, 10)
    assert counts[mask].tolist() == [10] * 3
    assert counts[~mask].tolist() == [4] * 9
    np.testing.assert_array_equal(rewards[mask], np.float32([answers[0]] * 3))  # n0 and n1, in this order


def test_speed_trains_on_a_group_whose_second_phase_is_all_alike():
    # 1 of 4, then 6 of 6: it was mixed when it was screened and is so as a whole.
    record, learner = speed_run([[1, 0, 0, 0] + [1] * 6] * 4, first=4, rollouts=10, batch=4)
    assert record.trained[-1, 0] == 40
    assert learner.learned[0][2].all()


def test_speed_does_not_train_on_a_group_that_was_silent_in_its_first_phase():
    record, learner = speed_run([[1] * 4 + [0] * 6] * 4, first=4, rollouts=10, batch=4, max_batches=2)
    assert record.trained[-1, 0] == 0
    assert record.rollouts[-1, 0] == 2 * 4 * 4
    assert not learner.learned[0][2].any()


def test_speed_does_not_train_on_a_group_that_has_only_its_first_phase():
    assert admitted(SPEED(first=2), [[1, 0, 0, 0], [1, 0, 0, 0]], counts=[2, 4]) == [False, True]


def test_speed_fills_its_batch_and_pays_for_every_screening():
    # Half of the pool is mixed. Every group tried costs 4, every mixed one 4 more.
    answers = [right(1, 4) + right(2, 4), right(4, 4) + right(2, 4)] * 20
    record, learner = speed_run(answers, first=4, rollouts=8, batch=10, steps=12)
    tried = sum(len(items) for items, *_ in learner.learned)
    mixed = sum(int((items % 2 == 0).sum()) for items, *_ in learner.learned)
    assert [int(mask.sum()) for _, _, mask, _ in learner.learned] == [10] * 12
    assert record.trained[-1, 0] == 12 * 10 * 8
    assert record.rollouts[-1, 0] == learner.generated == 4 * tried + 4 * mixed


@pytest.mark.parametrize(("p", "first", "rest"), [(0.5, 4, 4), (0.1, 4, 12), (0.9, 2, 6)])
def test_speed_the_expected_cost_of_a_group_is_n0_plus_n1_times_the_chance_of_a_mixed_first_phase(p, first, rest):
    groups, learner = 5_000, Coins(p, seed=first)
    controller = wb.Controller(wb.Uniform(), pool_of(groups), [SPEED(first=first, max_batches=1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortBatch)
        record = wb.train(controller, learner, 1, batch=groups, rollouts=first + rest, eval_every=1)
    kept, surplus = divmod(int(record.rollouts[-1, 0]) - groups * first, rest)
    assert surplus == 0
    assert record.trained[-1, 0] == kept * (first + rest)
    assert stats.binomtest(kept, groups, 1 - silent(p, first)).pvalue > 1e-3


def test_speed_rejects_hopeless_groups_at_a_part_of_the_price_of_dynamic_sampling():
    # One item in four is mixed, the others never: 4 * 4 + 20 rollouts for a group to train on, against 4 * 24.
    answers = np.array([[1, 0] * 12 if i % 4 == 0 else [0] * 24 for i in range(200)])

    def cost(gate):
        controller = wb.Controller(wb.Uniform(), pool_of(200), [gate])
        return wb.train(controller, Scripted(answers), 25, batch=16, rollouts=24, eval_every=25).rollouts[-1, 0]

    assert cost(SPEED(max_batches=60)) / cost(DynamicSampling(max_batches=60)) == pytest.approx(36 / 96, abs=0.02)


def test_speed_screens_lane_by_lane():
    pool = pool_of()
    rewards = np.array([[right(1, 4), right(0, 4)], [right(4, 4), right(2, 4)]])
    mask = SPEED().screen(feedback(pool, [[0, 1], [0, 1]], rewards, seed=[0, 1]))
    assert mask.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("rollouts", [1, 3, 4])
def test_speed_refuses_groups_that_leave_nothing_for_its_second_phase(rollouts):
    with pytest.raises(InputError, match=r"^rollouts: must be"):
        SPEED(first=4).check_rollouts(rollouts)
    SPEED(first=4).check_rollouts(24)


@pytest.mark.parametrize("value", [0, 1, -4, 2.5])
def test_speed_refuses_a_first_phase_that_can_tell_nothing(value):
    with pytest.raises(InputError) as caught:
        SPEED(first=value)
    assert str(caught.value).startswith("first: must be ")
    assert str(value) in str(caught.value)


# --- several gates


def test_all_gates_must_admit_a_group():
    pool = pool_of()
    controller = wb.Controller(wb.Uniform(), pool, [DynamicSampling(), BalancedFilter(low=0.0, high=0.5)])
    groups = [right(0, 4), right(1, 4), right(2, 4), right(3, 4), [0.25] * 4]
    mask = controller.observe(controller.next_batch(5), np.array(groups))
    assert mask.tolist() == [False, True, True, False, False]


def test_speed_and_a_balanced_filter_work_together():
    answers = [[1, 0, 0, 0, 0, 0, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0], [1] * 8]
    learner = Scripted(answers)
    controller = wb.Controller(wb.Uniform(), pool_of(3), [SPEED(first=2, max_batches=1), BalancedFilter(max_batches=1)])
    with pytest.warns(ShortBatch):
        record = wb.train(controller, learner, 1, batch=3, rollouts=8, eval_every=1)
    items, _, mask, _ = learner.learned[0]
    assert items[mask].tolist() == [1]  # item 0 got all its rollouts and has 1 of 8
    assert record.rollouts[-1, 0] == 8 + 8 + 2
    assert record.trained[-1, 0] == 8
