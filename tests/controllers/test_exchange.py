"""A rule's memory of its draws, where exploration changed the batch."""

import numpy as np
import pytest

import workbench as wb
from workbench import kernels

LANES, ITEMS, BATCH = 3, 60, 6


def pool_of(size):
    rng = np.random.default_rng(0)
    return wb.Pool(rng.integers(0, 101, size).astype(float), features=rng.normal(size=(size, 2)), name="some")


def batches(controller, count):
    for _ in range(count):
        yield np.array(controller.next_batch(BATCH))


@pytest.mark.parametrize("floor", [0.0, 0.5, 1.0])
def test_left_in_round_counts_the_items_that_were_not_drawn_in_it(floor):
    """Before the first round ends, what is left and what is covered add up to the pool."""
    controller = wb.Controller(wb.AdaRFTCovering(floor=floor), pool_of(ITEMS), seed=np.arange(LANES))
    for _ in batches(controller, ITEMS // BATCH):
        metrics = controller.metrics()
        np.testing.assert_array_equal(metrics["left_in_round"], ITEMS - np.rint(ITEMS * metrics["coverage"]))
    assert (metrics["left_in_round"] > 0).all() == (floor > 0)  # some came twice


def test_a_round_with_exploration_ends_once_every_item_was_drawn():
    """As without: nothing is left out of a round, it only takes more batches."""
    controller = wb.Controller(wb.AdaRFTCovering(floor=0.5), pool_of(ITEMS))
    drawn, left = set(), ITEMS
    for items in batches(controller, 200):
        before, left = left, controller.metrics()["left_in_round"]
        if left > before or before < BATCH:  # a new round has begun within this batch
            break
        drawn |= set(items.tolist())
        assert left == ITEMS - len(drawn)
    assert len(drawn | set(items.tolist())) >= ITEMS - BATCH  # explored slots of the last batch stay for the next round


@pytest.mark.parametrize(
    "rule",
    [wb.Uniform(floor=0.4), wb.OfflineFilter(floor=0.4), wb.GRESO(floor=0.4), wb.DropMastered(floor=0.4)],
    ids=lambda rule: type(rule).__name__,
)
def test_an_epoch_with_exploration_deals_every_item_that_was_not_drawn_in_it(rule):
    """The dealt part of the deck holds the items drawn in this epoch and no others."""
    controller = wb.Controller(rule, pool_of(ITEMS), seed=np.arange(LANES))
    drawn, epoch = [set() for _ in range(LANES)], np.full(LANES, -1)
    for items in batches(controller, 40):
        state = controller.state
        for r in range(LANES):
            fresh = state.epoch[r] != epoch[r]
            drawn[r] = set(items[r].tolist()) if fresh else drawn[r] | set(items[r].tolist())
            mine = set(state.deck[r, : getattr(state, "size", np.full(LANES, ITEMS))[r]].tolist())
            dealt = set(state.deck[r, : state.cursor[r]].tolist())
            carried = fresh and epoch[r] >= 0 and not hasattr(state, "size")  # part of the batch ended the old epoch
            assert dealt <= drawn[r] & mine if carried else dealt == drawn[r] & mine
            drawn[r] = dealt
        epoch = state.epoch.copy()
        assert (np.sort(state.deck, axis=1) == np.arange(ITEMS)).all()


def test_what_left_a_batch_is_dealt_first_in_the_next():
    """By hand: 4 and 9 entered for 1 and 2; 9 lies outside the kept part of the deck."""
    deck, cursor = np.array([[0, 1, 2, 3, 4, 5, 9, 6, 7, 8]], np.int32), np.array([3])
    kernels.put_back(deck, cursor, np.array([6]), np.array([[0, 1, 2]]), np.array([[9, 0, 4]]))
    assert cursor == [2]
    assert set(deck[0, :2]) == {0, 4}
    assert set(deck[0, 2:4]) == {1, 2}
    assert set(deck[0, 4:6]) == {3, 5}
    assert list(deck[0, 6:]) == [9, 6, 7, 8]


def test_dots_leaves_out_what_was_drawn_since_the_probe_and_nothing_else():
    """Explored items are not drawn again before the next probe, those whose slots they took may be."""
    controller = wb.Controller(wb.DOTS(floor=0.5, every=100), pool_of(ITEMS), seed=np.arange(LANES))
    drawn = np.zeros((LANES, ITEMS), bool)
    for items in batches(controller, 5):
        np.put_along_axis(drawn, items, True, axis=1)
        np.testing.assert_array_equal(controller.state.dealt, drawn)


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_a_rule_counts_what_it_proposed_where_a_bank_takes_slots(floor):
    """VCRL's bank fills up batches of AdaRFTCovering, whose rounds go on as without it; resting lanes keep theirs."""
    rule = wb.AdaRFTCovering(floor=floor, eta=0.0)
    bare, gated = (wb.Controller(rule, pool_of(ITEMS), gates, seed=np.arange(2)) for gates in ((), wb.VCRL()))
    rewards = np.tile([1.0, 0.0, 1.0, 0.0], (2, BATCH, 1))
    rewards[:, ::2] = 0.0  # half of the groups are silent: the bank holds the others
    differs = False
    for step in range(4):
        for turn in (False, np.array([True, step % 2 == 0])):
            drawn = [np.array(controller.next_batch(BATCH, refill=turn)) for controller in (bare, gated)]
            for controller, items in zip((bare, gated), drawn, strict=True):
                controller.observe(items, rewards)
            differs |= not np.array_equal(*drawn)
            np.testing.assert_array_equal(bare.state.used, gated.state.used)
    assert differs
