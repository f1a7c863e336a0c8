"""Late feedback and feedback group by group: against plain loops, the queue, lanes and resumed runs."""

import warnings

import numpy as np
import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.hosts import Queue
from workbench.registry import GATES, RULES
from workbench.testing import small_pool

POOL = small_pool(60)
SEEDS = np.array([3, 0, 11], np.uint64)
BATCH, ROLLOUTS, STEPS = 8, 4, 14
LAW = wb.ScalarIRT(kappa=0.1, theta0=0.0)
QUICK = {name: rule for name, rule in RULES.items() if not rule.fits_model} | {
    "cures": wb.CurES(),
    "sec by category": wb.SEC(by="category", lr=0.3),
    "mopps with decay": wb.MoPPS(decay=0.7),
}
UNPROBED = {name: rule for name, rule in QUICK.items() if type(rule).probe is wb.Rule.probe}
pytestmark = pytest.mark.filterwarnings("ignore::workbench.ShortBatch", "ignore::workbench.StepPerCall")


class Seen:
    """A learner that writes down what it learned from."""

    def __init__(self, learner):
        self.learner, self.learned = learner, []

    def __getattr__(self, name):
        return getattr(self.learner, name)

    def learn(self, *given):
        self.learned.append([np.array(part) for part in given])
        self.learner.learn(*given)


def pair(rule, gates=(), seed=SEEDS, law=LAW):
    return wb.Controller(rule, POOL, gates, seed=seed), Seen(wb.SimLearner(law, POOL, seed))


def trained(rule, gates=(), seed=SEEDS, steps=STEPS, **how):
    controller, learner = pair(rule, gates, seed)
    record = wb.train(controller, learner, steps, BATCH, ROLLOUTS, eval_every=1, **how)
    return controller, learner, record


def plainly(rule, lag):
    """What was learned from, and success after, where feedback waits `lag` updates before it is observed."""
    controller, learner = pair(rule)
    waiting = []
    for t in range(STEPS):
        if t - 1 - lag >= 0:
            controller.observe(*waiting[t - 1 - lag])
        items = controller.next_batch(BATCH)
        counts = controller.allocate(ROLLOUTS)
        rewards = learner.attempt(items, ROLLOUTS) if counts is None else learner.attempt(items, 4 * ROLLOUTS, counts)
        waiting.append((items, rewards) if counts is None else (items, rewards, counts))
        learner.learn(items, rewards, np.ones(items.shape, bool), *([] if counts is None else [counts]))
    return learner, learner.evaluate()


@pytest.mark.parametrize("lag", [0, 1, 3])
@pytest.mark.parametrize("name", UNPROBED)
def test_lag_is_feedback_that_waits_and_a_learner_that_does_not(name, lag):
    learner, success = plainly(UNPROBED[name], lag)
    _, other, record = trained(UNPROBED[name], lag=lag)
    for t, (one, two) in enumerate(zip(learner.learned, other.learned, strict=True)):
        for mine, theirs in zip(one, two, strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=f"update {t}")
    np.testing.assert_array_equal(record.success[-1], success)


def test_the_first_batches_and_no_other_are_picked_without_feedback():
    picked = {lag: [part[0] for part in trained(wb.AdaRFT(eta=20.0), lag=lag)[1].learned] for lag in (0, 2)}
    blind = wb.Controller(wb.AdaRFT(eta=20.0), POOL, seed=SEEDS)
    alike = [np.array_equal(items, blind.next_batch(BATCH)) for items in picked[2]]
    assert alike[:3] == [True] * 3
    assert not alike[3]
    assert not np.array_equal(picked[0][1], picked[2][1])


@pytest.mark.parametrize("name", [name for name in QUICK if name not in UNPROBED])
def test_a_probe_is_answered_before_its_batch_is_drawn(name):
    """Draws ahead of a learner: the probe asks the learner of that moment."""
    controller, learner = pair(QUICK[name])
    ahead, lag, learned = [], 2, []
    for _ in range(STEPS):
        while len(ahead) <= lag:
            probe = controller.next_probe()
            if probe is not None:
                controller.observe_probe(probe, learner.probe(probe.items, probe.rollouts))
            ahead.append(controller.next_batch(BATCH))
        items = ahead.pop(0)
        rewards = learner.attempt(items, ROLLOUTS)
        controller.observe(items, rewards)
        learner.learn(items, rewards, np.ones(items.shape, bool))
        learned.append(items)
    other, theirs, record = trained(QUICK[name], lag=lag)
    np.testing.assert_array_equal(learned, [part[0] for part in theirs.learned])
    np.testing.assert_array_equal(record.success[-1], learner.evaluate())
    np.testing.assert_array_equal(other.probed, controller.probed)


# ------------------------------------------------------------------------------------------------------- the queue


def by_queue(rule, gates, lag, updates):
    """The same run through `Queue`: prompts of the open batches in flight, those of the earliest update come first."""
    controller, learner = pair(rule, gates, seed=3)
    queue = Queue(controller, BATCH, ROLLOUTS, ahead=lag)
    shuffle = np.random.default_rng(1)
    while queue.updates < updates:
        begun, update, parts = queue.updates, None, []
        while queue.updates == begun:
            while queue.get() is not None:
                pass
            batch = next(one for one in queue._open if update in (None, one.update))
            update = batch.update
            rewards, decided = learner.attempt(batch.items, ROLLOUTS), {}
            keys = [queue._key(batch, slot) for slot in range(BATCH)]
            for slot in shuffle.permutation(BATCH):
                decided |= queue.answer(keys[slot], rewards[slot])
            parts.append((batch.items, rewards, np.array([decided[key] for key in keys])))
        learner.learn(*(np.concatenate([part[k] for part in parts]) for k in range(3)))
    return controller, learner


@pytest.mark.parametrize("lag", [0, 1, 3])
@pytest.mark.parametrize("gate", [None, *(name for name, gate in GATES.items() if not gate.screening)])
@pytest.mark.parametrize("name", ["adarft", "sec by category", "mopps", "plr", "mastered"])
def test_batches_ahead_in_the_queue_are_batches_of_lag(name, gate, lag):
    gates = () if gate is None else (GATES[gate],)
    queued, mine = by_queue(QUICK[name], gates, lag, STEPS)
    controller, learner, _ = trained(QUICK[name], gates, seed=3, lag=lag)
    assert len(mine.learned) == len(learner.learned)
    for one, two in zip(mine.learned, learner.learned, strict=True):
        for part, other in zip(one, two, strict=True):
            np.testing.assert_array_equal(part, other)
    np.testing.assert_array_equal(mine.evaluate(), learner.evaluate())
    for count in ("trained", "rollouts", "short_updates"):
        np.testing.assert_array_equal(getattr(queued, count), getattr(controller, count), err_msg=count)


# ------------------------------------------------------------------------------------------------------ group by group


def watched(monkeypatch):
    """The calls of `Controller.observe`: items, rewards and counts of each."""
    calls, observe = [], wb.Controller.observe

    def seen(self, items, rewards, counts=None):
        calls.append([np.array(part) for part in (items, rewards, counts) if part is not None])
        return observe(self, items, rewards, counts)

    monkeypatch.setattr(wb.Controller, "observe", seen)
    return calls


@pytest.mark.parametrize("seed", [5, SEEDS], ids=["one seed", "lanes"])
@pytest.mark.parametrize("rule", [wb.AdaRFT(), wb.CurES()], ids=["adarft", "cures"])
def test_each_group_is_observed_once_alone_and_in_an_order_that_chance_draws(monkeypatch, rule, seed):
    calls = watched(monkeypatch)
    _, learner, _ = trained(rule, seed=seed, steps=3, delivery="group")
    assert len(calls) == 3 * BATCH
    moved = 0
    for t, learned in enumerate(learner.learned):
        parts = [np.concatenate([call[k] for call in calls[t * BATCH : (t + 1) * BATCH]], axis=np.ndim(seed))
                 for k in range(len(calls[0]))]  # fmt: skip
        for lane in range(np.size(seed)):
            told = [part[lane] if np.ndim(seed) else part for part in parts]
            mine = [part[lane] if np.ndim(seed) else part for part in (learned[0], learned[1], *learned[3:])]
            order = [mine[0].tolist().index(item) for item in told[0]]
            assert sorted(order) == list(range(BATCH))
            moved += order != list(range(BATCH))
            for one, other in zip(told, mine, strict=True):
                np.testing.assert_array_equal(one, other[order])
    assert moved >= 3 * np.size(seed) - 1


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("name", ["uniform", "linear", "greso", "mopps", "prioritized", "procurl"])
def test_rules_that_count_items_do_not_see_how_groups_are_delivered(name, lag):
    _, one, record = trained(QUICK[name], lag=lag)
    _, other, again = trained(QUICK[name], lag=lag, delivery="group")
    np.testing.assert_array_equal([part[0] for part in one.learned], [part[0] for part in other.learned])
    for series in ("reward", "silent_share", "batch_difficulty", "trained", "coverage"):
        np.testing.assert_allclose(record.series[series], again.series[series], rtol=1e-12, err_msg=series)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("lag", [0, 2])
def test_gates_judge_groups_alike_however_they_are_delivered(name, lag):
    gate = wb.SPEED(first=2) if name == "speed" else GATES[name]
    _, one, record = trained(wb.Uniform(), [gate], lag=lag)
    _, other, again = trained(wb.Uniform(), [gate], lag=lag, delivery="group")
    if name != "vcrl":  # whose bank holds items in the order in which they came
        np.testing.assert_array_equal(record.success, again.success)
    np.testing.assert_array_equal(one.learned[0][2], other.learned[0][2])
    assert (record.trained[-1] <= STEPS * BATCH * ROLLOUTS).all()


# ------------------------------------------------------------------------------------------- lanes, resume, the record


@pytest.mark.parametrize("how", [{"lag": 2}, {"delivery": "group"}, {"lag": 1, "delivery": "group"}], ids=str)
@pytest.mark.parametrize("gates", [(), (wb.DynamicSampling(max_batches=3),), (wb.SPEED(first=2),), (wb.VCRL(),)],
                         ids=["no gate", "dapo", "speed", "vcrl"])  # fmt: skip
@pytest.mark.parametrize("name", ["adarft", "sec", "cures"])
def test_lanes_are_single_runs(name, gates, how):
    if name == "cures" and gates and gates[0].screening:
        return  # refused with or without lag
    _, _, together = trained(QUICK[name], gates, **how)
    for r, seed in enumerate(SEEDS):
        _, _, alone = trained(QUICK[name], gates, seed=[seed], **how)
        np.testing.assert_array_equal(together.success[:, r], alone.success[:, 0])
        np.testing.assert_array_equal(together.rollouts[:, r], alone.rollouts[:, 0])
        for series, values in together.series.items():
            np.testing.assert_array_equal(values[:, r], alone.series[series][:, 0], err_msg=series)


def test_one_seed_without_lanes_is_a_lane():
    for how in ({"lag": 2}, {"lag": 2, "delivery": "group"}):
        _, _, one = trained(wb.SEC(), [wb.DynamicSampling()], seed=7, **how)
        _, _, lane = trained(wb.SEC(), [wb.DynamicSampling()], seed=[7], **how)
        np.testing.assert_array_equal(one.success, lane.success)


@pytest.mark.parametrize("how", [{"lag": 3}, {"lag": 2, "delivery": "group"}], ids=str)
@pytest.mark.parametrize("gates", [(), (wb.DynamicSampling(max_batches=3),)], ids=["no gate", "dapo"])
@pytest.mark.parametrize("name", ["adarft", "cures", "sfl", "mopps"])
def test_a_run_saved_at_every_update_continues_bit_for_bit(name, gates, how, tmp_path):
    rule = QUICK[name]
    _, _, whole = trained(rule, gates, **how)
    rows, kept = [], {}

    def save(step, success):
        rows.append(success)
        np.savez(tmp_path / "controller", **controller.state_dict())
        kept["learner"] = learner.learner.state_dict()

    for step in range(1, STEPS + 1):
        controller, learner = pair(rule, gates)
        if kept:
            with np.load(tmp_path / "controller.npz") as saved:
                controller.load_state_dict({name: saved[name] for name in saved.files})
            learner.learner.load_state_dict(kept["learner"])
        assert controller.updates == step - 1
        record = wb.train(controller, learner, step, BATCH, ROLLOUTS, 1, resume=True, after_step=save, **how)
    np.testing.assert_array_equal(rows, whole.success)
    np.testing.assert_array_equal(record.rollouts[-1], whole.rollouts[-1])
    np.testing.assert_array_equal(record.coverage[-1], whole.coverage[-1])


def test_what_waits_comes_first_in_a_later_call_whatever_its_lag():
    controller, learner, _ = trained(wb.AdaRFT(eta=20.0), lag=3, steps=5)
    waiting = controller.ahead.items.copy()
    assert waiting.shape == (3, 3, BATCH)
    assert (controller.updates, controller.step) == (5, 8)
    record = wb.train(controller, learner, 5, BATCH, ROLLOUTS)
    assert record.steps[-1] == 10
    np.testing.assert_array_equal([part[0] for part in learner.learned[5:8]], waiting.transpose(1, 0, 2))
    assert len(controller.ahead) == 0
    assert (controller.updates, controller.step) == (10, 10)


def test_the_record_is_of_what_was_trained_on_not_of_what_was_drawn():
    """Uniform draws do not hang on feedback: nothing but coverage, which counts draws, differs."""
    _, _, now = trained(wb.Uniform())
    _, _, late = trained(wb.Uniform(), lag=4)
    np.testing.assert_array_equal(now.success, late.success)
    np.testing.assert_array_equal(now.rollouts, late.rollouts)
    for name, values in now.series.items():
        if name != "coverage":
            np.testing.assert_allclose(values, late.series[name], rtol=1e-12, err_msg=name)
    np.testing.assert_array_equal(late.coverage[1:-4], now.coverage[5:])


def test_feedback_of_batches_ahead_is_counted_as_late():
    controller, _, _ = trained(wb.AdaRFT(), lag=2)
    assert controller.metrics()["late_feedback"] == STEPS
    controller, _, _ = trained(wb.AdaRFT())
    assert controller.metrics()["late_feedback"] == 0


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(("given", "line"), [
    ({"lag": -1}, "lag: must be a whole number in [0, 10000], got -1"),
    ({"lag": 1.5}, "lag: must be a whole number in [0, 10000], got 1.5"),
    ({"lag": True}, "lag: must be a whole number in [0, 10000], got True"),
    ({"delivery": "groups"}, "delivery: must be one of batch, group, got 'groups'"),
    ({"delivery": None}, "delivery: must be one of batch, group, got None"),
])  # fmt: skip
def test_odd_settings_are_refused(given, line):
    controller, learner = pair(wb.AdaRFT())
    with pytest.raises(InputError) as caught:
        wb.train(controller, learner, 3, BATCH, ROLLOUTS, **given)
    assert str(caught.value) == line
    assert controller.step == 0


def test_what_waits_fixes_the_sizes_of_updates():
    controller, learner, _ = trained(wb.CurES(), lag=1)
    assert controller.ahead.counts.max() > 4
    with pytest.raises(InputError, match=r"^batch: must be 8, as in the batches drawn ahead, got 4$"):
        wb.train(controller, learner, 3, 4, ROLLOUTS)
    with pytest.raises(InputError, match=r"^rollouts: must be those for which batches were drawn ahead, got 1$"):
        wb.train(controller, learner, 3, BATCH, 1)
    assert controller.updates == STEPS


def test_odd_states_are_refused_and_older_ones_taken():
    controller, _, _ = trained(wb.AdaRFT(), lag=2, steps=3)
    state = controller.state_dict()
    for name, value, words in (
        ("ahead", state["ahead"] + 60, "positions in"),
        ("ahead", np.repeat(state["ahead"], 3, axis=1), "up to 5 batches"),
        ("ahead_counts", state["ahead_counts"][:, :1], "rollouts of each item"),
        ("ahead_counts", state["ahead_counts"] - 1, "rollouts of each item"),
        ("ahead_counts", state["ahead_counts"][:, :0].astype(complex), "type int64, got complex128"),
        ("ahead", state["ahead"][:2], "shape"),
        ("ahead", state["ahead"][:, 0], "shape"),
    ):
        fresh = wb.Controller(wb.AdaRFT(), POOL, seed=SEEDS)
        with pytest.raises(InputError, match=words):
            fresh.load_state_dict(state | {name: value})
        assert fresh.step == 0
    old = wb.Controller(wb.AdaRFT(), POOL, seed=SEEDS)
    old.next_batch(BATCH)
    before = {name: value for name, value in old.state_dict().items() if not name.startswith("ahead")}
    controller.load_state_dict(before)
    assert (controller.updates, len(controller.ahead)) == (1, 0)


def test_malformed_rewards_are_refused_group_by_group_as_by_batch():
    class Wrong(Seen):
        def attempt(self, items, rollouts=8):
            return np.zeros((3, BATCH - 1, rollouts), np.float32)

    for delivery in ("batch", "group"):
        controller, learner = wb.Controller(wb.AdaRFT(), POOL, seed=SEEDS), Wrong(wb.SimLearner(LAW, POOL, SEEDS))
        with pytest.raises(InputError, match=r"^rewards: must have shape"):
            wb.train(controller, learner, 3, BATCH, ROLLOUTS, delivery=delivery)


def test_no_warning_where_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(wb.MoPPS(), lag=2, delivery="group")
