"""The queue: any order of answers, saves in between, nothing lost and nothing twice."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import InputError
from workbench.hosts import Queue
from workbench.streams import generator

I, B, G = 60, 5, 4
POOL = wb.Pool(np.linspace(0, 100, I), category=np.arange(I) % 3, name="some")
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def queue(rule=None, gates=(), ahead=0, batch=B, rollouts=G):
    return Queue(wb.Controller(rule or wb.AdaRFT(eta=20.0), POOL, gates, seed=3), batch, rollouts, ahead)


def rewards_of(number, item):
    """(G,) of one prompt: they depend on which prompt it is, not on when it is answered; easy items are solved."""
    draw = generator(7, int(number) % 1000, int(item))
    return (draw.random(G) < 1.2 - item / I).astype(float)


def reward(key):
    return rewards_of(*divmod(key, I))


def drain(made, updates, order=lambda keys: list(keys)):
    """Run for so many updates, all prompts that can be had in flight; returns items in the order they came."""
    came, kept = [], {}
    while made.updates < updates:
        flying = []
        while (got := made.get()) is not None:
            flying.append(got[0])
            came.append(got[1])
        for key in order(flying):
            kept |= made.answer(key, reward(key))
    return came, kept


def plain(rule, gates, updates):
    """The same by next_batch and observe: items in order, groups trained on, controller."""
    controller, came, kept = wb.Controller(rule, POOL, gates, seed=3), [], []
    for _ in range(updates):
        missing, refill = B, False
        for _ in range(controller.max_batches):
            items = controller.next_batch(B, refill=refill)
            values = np.stack([rewards_of(len(came) + k, item) for k, item in enumerate(items)])
            came += items.tolist()
            admitted = controller.observe(items, values)
            kept += (admitted & (np.cumsum(admitted) <= missing)).tolist()
            missing, refill = missing - admitted.sum(), True
            if not controller.gates or missing <= 0:
                break
        else:
            controller.note_short(np.array([missing > 0]))
        controller.trained += (min(B, B - missing) if controller.gates else B) * G
    return came, kept, controller


RULES = [wb.AdaRFT(eta=20.0), wb.SEC(by="category"), wb.MoPPS(), wb.PLR(), wb.Uniform(floor=0.2)]
GATES = [(), wb.DynamicSampling(max_batches=4), wb.VCRL(warmup=2, max_batches=3), wb.BalancedFilter(max_batches=2)]


@pytest.mark.parametrize("gates", GATES, ids=lambda gate: type(gate).__name__)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.filterwarnings("ignore::workbench.ShortBatch")
def test_nothing_ahead_is_the_plain_controller_bit_for_bit_in_any_order_of_answers(rule, gates):
    came, kept, controller = plain(rule, gates, 12)
    shuffle = generator(1, 2)
    made = queue(rule, gates)
    theirs = drain(made, 12, lambda keys: shuffle.permutation(keys).tolist())
    assert theirs[0] == came
    assert [theirs[1][key] for key in sorted(theirs[1])] == kept  # keys rise with the draws
    for name, value in controller.state_dict().items():
        np.testing.assert_array_equal(made.controller.state_dict()[name], value, err_msg=name)
    assert made.controller.late_feedback == made.controller.partial_feedback == 0


@quick
@given(data=st.data(), ahead=st.integers(0, 3), gated=st.booleans())
@pytest.mark.filterwarnings("ignore::workbench.ShortBatch")
def test_any_order_with_any_saves_loses_nothing_and_answers_nothing_twice(data, ahead, gated):
    gates = (wb.DynamicSampling(max_batches=2),) if gated else ()
    made, flying, answered, dropped, ignored = queue(gates=gates, ahead=ahead), [], [], [], 0
    handed = {}  # key -> item, over all lives of the queue
    for _ in range(data.draw(st.integers(1, 80))):
        step = data.draw(st.sampled_from(["get", "get", "get", "answer", "answer", "repeat", "drop", "save"]))
        if step == "get":
            got = made.get()
            assert got is not None or flying  # it says no only while something is in flight
            if got is not None:
                key, item = got
                assert handed.setdefault(key, item) == item
                assert key not in flying + answered + dropped
                flying.append(key)
        elif step in ("answer", "drop") and flying:
            key = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            (answered if step == "answer" else dropped).append(key)
            decided = made.answer(key, reward(key)) if step == "answer" else made.drop(key)
            assert decided.keys() <= set(answered + dropped)
            assert not any(decided.get(key) for key in dropped)
        elif step == "repeat" and answered:
            before = made.controller.rollouts.copy()
            assert made.answer(answered[data.draw(st.integers(0, len(answered) - 1))], np.ones(G)) == {}
            ignored += 1
            np.testing.assert_array_equal(made.controller.rollouts, before)
        elif step == "save":
            state = made.state_dict()
            made, flying = queue(gates=gates, ahead=ahead), []
            made.load_state_dict(state)
            assert made.metrics()["in_flight"] == 0
    while (got := made.get()) is not None:  # what is left comes again, and each once
        assert got[0] not in flying + answered + dropped
        handed[got[0]] = got[1]
        flying.append(got[0])
    for key in flying:
        made.answer(key, reward(key))
    answered += flying
    assert sorted(answered + dropped) == sorted(handed)
    open_now = made.metrics()["open_batches"] * B  # what refills have drawn since
    assert sorted(key // I for key in handed) == list(range(made.state_dict()["next"] - int(open_now)))
    assert made.controller.rollouts[0] == len(answered) * G
    assert made.repeated_answers == ignored
    assert made.dropped_groups == len(dropped)
    assert made.stale_answers == made.unknown_answers == 0


def test_a_run_that_is_saved_goes_on_as_if_it_had_not_been():
    straight, broken = queue(ahead=1), queue(ahead=1)
    taken = []
    for made in (straight, broken):
        keys = [made.get()[0] for _ in range(B + 2)]
        for key in keys[1:3]:
            made.answer(key, reward(key))
        if made is broken:
            again = queue(ahead=1)
            again.load_state_dict(broken.state_dict())
            made, out = again, [again.get()[0] for _ in range(B)]
            assert out == [keys[0], *keys[3:]]
        for key in (keys[0], *keys[3:]):
            made.answer(key, reward(key))
        taken.append(drain(made, 6)[0] + [made.controller.metrics()["target_difficulty"]])
    assert taken[0] == taken[1]


def test_prompts_begun_ahead_are_given_late_and_counted():
    made = queue(wb.Uniform(), ahead=2)
    keys = [made.get()[0] for _ in range(3 * B)]
    assert made.get() is None
    assert len(set(keys)) == 3 * B
    assert made.metrics()["in_flight"] == 3 * B
    for key in keys[2 * B :] + keys[:B]:  # the last batch is complete first
        made.answer(key, reward(key))
    assert made.updates == 2
    assert made.controller.late_feedback == 1
    assert made.get() is not None


def test_answers_of_a_former_life_are_told_apart():
    made = queue()
    state = made.state_dict()
    old = [made.get()[0] for _ in range(B)]
    for key in old:
        made.answer(key, np.zeros(G))
    begun = [made.get()[0] for _ in range(B)]  # of the second batch, which the state does not know
    made.load_state_dict(state)
    assert made.answer(begun[0], np.ones(G)) == {}
    assert made.stale_answers == 1
    key, item = made.get()
    assert (key, item) == (old[0], old[0] % I)  # the same draw again
    assert made.answer(old[1], np.ones(G)) == {}  # drawn again, but not handed out again yet
    assert made.stale_answers == 2
    assert made.answer(key + 1, np.ones(G)) == {}  # the same place with another item
    assert made.stale_answers == 3
    assert made.controller.rollouts[0] == 0
    assert made.answer(key, np.ones(G)) == {}
    assert made.answer(key, np.ones(G)) == {}
    assert made.repeated_answers == 1


def test_a_host_that_kept_rollouts_may_answer_them_after_a_load():
    made = queue()
    keys = [made.get()[0] for _ in range(B)]
    again = queue()
    again.load_state_dict(made.state_dict())
    for key in keys[:-1]:
        assert again.answer(key, reward(key)) == {}
    assert again.get()[0] == keys[-1]
    assert again.get() is None
    assert set(again.answer(keys[-1], reward(keys[-1])).values()) == {True}


@pytest.mark.filterwarnings("ignore::workbench.ShortBatch")
def test_gates_draw_more_for_the_same_update_and_an_update_that_stays_short_is_counted():
    made = queue(gates=wb.DynamicSampling(max_batches=2))
    mixed = [1.0, 0.0, 1.0, 1.0]
    keys = [made.get()[0] for _ in range(B)]
    for key in keys[:-1]:
        made.answer(key, np.ones(G))
    assert made.answer(keys[-1], mixed) == {key: key == keys[-1] for key in keys}
    assert made.updates == 0
    assert (made.controller.step, made.controller.turn) == (1, 1)
    keys = [made.get()[0] for _ in range(B)]
    kept = [made.answer(key, mixed) for key in keys][-1]
    assert list(kept.values()) == [True] * (B - 1) + [False]  # one more than the update wants
    assert made.updates == 1
    assert made.controller.trained[0] == B * G
    for _ in range(2 * B):
        made.answer(made.get()[0], np.zeros(G))
    assert made.updates == 2
    assert made.controller.short_updates[0] == 1


def test_a_batch_that_loses_all_its_groups_is_an_update_without_feedback():
    made = queue()
    decided = [made.drop(made.get()[0]) for _ in range(B)][-1]
    assert set(decided.values()) == {False}
    assert made.updates == made.controller.batches[0] == 1
    assert made.controller.rollouts[0] == made.controller.trained[0] == 0
    assert made.get() is not None


def test_groups_of_which_some_rewards_are_known_are_observed_with_their_counts_after_a_save_too():
    made, controller = queue(wb.MoPPS()), wb.Controller(wb.MoPPS(), POOL, seed=3)
    items, rewards = controller.next_batch(B), np.array([[1.0, 0.0, 0.0, 0.0], [0.0] * 4] + [[1.0] * 4] * (B - 2))
    keys, counts = [made.get()[0] for _ in range(B)], [2, 0] + [4] * (B - 2)
    for place in range(3):
        assert made.answer(keys[place], rewards[place], counts[place]) == {}
    again = queue(wb.MoPPS())
    again.load_state_dict(made.state_dict())
    decided = [again.answer(key, row) for key, row in zip(keys[3:], rewards[3:], strict=True)][-1]
    controller.observe(items, rewards, counts)
    np.testing.assert_equal(again.controller.metrics(), controller.metrics())
    assert list(decided.values()) == [True, False] + [True] * (B - 2)  # one without a reward is not trained on


def test_threads_share_one_queue():
    made, seen, lock = queue(ahead=3), [], threading.Lock()

    def work():
        while made.updates < 40:
            if (got := made.get()) is not None:
                with lock:
                    seen.append(got[0])
                made.answer(got[0], reward(got[0]))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(seen) == len(set(seen))
    assert made.repeated_answers == made.unknown_answers == 0
    assert made.controller.rollouts[0] == made.controller.trained[0] == made.updates * B * G


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Queue(wb.AdaRFT(), B, G), r"controller: must be a Controller such as"),
        (lambda: Queue(wb.Controller(wb.Uniform(), POOL, lanes=2), B, G),
         "controller: must have one seed and no lanes in a host, got 2 lanes"),
        (lambda: Queue(wb.Controller(wb.Uniform(), POOL, lanes=1), B, G),
         "controller: must have one seed and no lanes in a host, got 1 lanes"),
        (lambda: queue(batch=61), "batch: must be <= 60, the items of pool 'some', got 61"),
        (lambda: queue(batch=0), "batch: must be a whole number >= 1, got 0"),
        (lambda: queue(rollouts=2.5), "rollouts: must be a whole number >= 1, got 2.5"),
        (lambda: queue(ahead=-1), r"ahead: must be a whole number in \[0, 1e6\], got -1"),
        (lambda: queue(wb.SFL()), "controller: must have a rule without probes in a host, got SFL"),
        (lambda: queue(wb.CurES()), "must have a rule that gives all items 4 rollouts in a host, got CurES, which"),
        (lambda: queue(gates=wb.SPEED(first=2)), "must have gates that judge whole groups in a host, got SPEED, which"),
        (lambda: queue(gates=wb.DynamicSampling(), rollouts=1), "rollouts: must be >= 2 for gate DynamicSampling"),
    ],
)  # fmt: skip
def test_what_a_queue_cannot_do_is_one_line_before_work_begins(make, line):
    with pytest.raises(InputError, match=line) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_cures_with_equal_rollouts_is_taken():
    assert len(drain(queue(wb.CurES(adaptive=False)), 2)[0]) == 2 * B


@pytest.mark.parametrize(
    "rewards", [[1.0] * 3, [1.0] * 5, 0.5, [[1.0] * 4], [0, 0, 0, 2], [0, 0, 0, np.nan], list("abcd"), None, [None] * 4,
                [1e400, 0, 0, 0], np.ma.array([1.0] * 4, mask=[1, 0, 0, 0])]
)  # fmt: skip
def test_rewards_of_another_length_or_kind_are_refused_and_change_nothing(rewards):
    made = queue()
    key, _ = made.get()
    with pytest.raises(InputError, match=r"^rewards: must be 4 numbers in"):
        made.answer(key, rewards)
    assert made.metrics()["in_flight"] == 1
    made.answer(key, np.ones(G))
    assert made.repeated_answers == 0


@pytest.mark.parametrize(("count", "line"), [
    (5, r"^count: must be a whole number in \[0, 4\], got 5"), (-1, "^count: "), (1.5, "^count: "),
    (2, r"^rewards: must be 0 after the first 2, the count, got \[1, 0, 1, 0\]"),
])  # fmt: skip
def test_a_count_that_does_not_fit_is_refused_and_changes_nothing(count, line):
    made = queue()
    key, _ = made.get()
    with pytest.raises(InputError, match=line):
        made.answer(key, [1, 0, 1, 0], count)
    assert made.metrics()["in_flight"] == 1


@pytest.mark.parametrize("key", [-1, 10**400, 1.5, "1", None, True])
def test_a_key_that_is_none(key):
    with pytest.raises(InputError, match=r"^key: must be a whole number in"):
        queue().answer(key, np.ones(G))


def test_a_key_that_was_never_handed_out_is_refused_and_counted():
    made = queue()
    key, _ = made.get()
    for odd in (key + 1, key + I, 10 * I * B):  # another item, the next prompt of the batch, one not drawn
        with pytest.raises(InputError, match=f"^key: must be one that get\\(\\) handed out, got {odd}$"):
            made.answer(odd, np.ones(G))
        with pytest.raises(InputError, match=r"^key: "):
            made.drop(odd)
    assert made.unknown_answers == 6
    assert made.metrics()["in_flight"] == 1


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("ahead", 2, "state.ahead: must be this queue's, 1, got 2"),
        ("next", -1, "state.next: must be a whole number in"),
        ("open_number", np.array([0, 99]), "state.open_number: must be those of open batches"),
        ("open_missing", np.array([0, 0]), "state.open_missing: must be those of open batches"),
        ("open_drawn", np.array([2, 0]), "state.open_drawn: must be those of open batches"),
        ("open_items", np.full((2, B), I), "state.open_items: must be those of open batches"),
        ("open_status", np.full((2, B), 5, np.int8), "state.open_status: must be those of open batches"),
        ("open_counts", np.full((2, B), G + 1), "state.open_counts: must be those of open batches"),
        ("open_rewards", np.ones((2, B, G), np.float32), "state.open_rewards: must be those of open batches"),
        ("open_rewards", np.full((2, B, G), np.nan, np.float32), "state.open_rewards: must be those of open batches"),
        ("open_items", np.zeros((3, B), np.int64), r"state.open_items: must have shape \(2, 5\), got \(3, 5\)"),
        ("controller.rule", "Uniform", "state.rule: must be this controller's, AdaRFT, got Uniform"),
    ],
)
def test_a_foreign_state_is_refused_and_changes_nothing(name, value, line):
    made = queue(ahead=1)
    key, _ = made.get()
    with pytest.raises(InputError, match=line):
        made.load_state_dict(made.state_dict() | {name: value})
    with pytest.raises(InputError, match=r"^state: must"):
        made.load_state_dict({"next": 1})
    made.answer(key, np.ones(G))
    assert made.repeated_answers == 0


def test_the_queue_is_reached_from_the_package():
    assert wb.hosts.Queue is Queue
    assert repr(queue()) == "Queue(controller: AdaRFT, batch: 5 x 4, 0 ahead, updates: 0)"
