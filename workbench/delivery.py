"""When a rule hears of rewards: batches drawn ahead of the learner, feedback batch by batch or group by group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.controller import Controller
from workbench.errors import check_choice, check_count
from workbench.lanes import Floats, Items, check_counts, check_rewards
from workbench.streams import Role, clock, uniforms

BATCH, GROUP = DELIVERIES = ("batch", "group")
MOST_LAG = 10_000

Drawn: TypeAlias = tuple[Items, NDArray[np.int64] | None]  # a batch, and rollouts of each item if they are shared out


def check_delivery(lag: Any, delivery: Any) -> None:
    check_count("lag", lag, 0, MOST_LAG)
    check_choice("delivery", delivery, DELIVERIES)


def draw(controller: Controller, batch: int, rollouts: int, refill: Any = False) -> Drawn:
    """A batch, drawn now."""
    items = controller.next_batch(batch, refill=refill)
    return items, controller.allocate(rollouts)


def draw_next(
    controller: Controller, batch: int, rollouts: int, lag: int, probe: Callable[[], object]
) -> Drawn:
    """The first batch of the next update. Then `lag` others are drawn already, and wait in `controller.ahead`.

    probe: called before each draw.
    """
    while len(controller.ahead) <= lag:
        probe()
        controller.ahead.put(*draw(controller, batch, rollouts))
    items, counts = controller.ahead.take()
    if controller.single:
        return items[0], None if counts is None else counts[0]
    return items, counts


def observe(
    controller: Controller, items: Items, rewards: Any, counts: NDArray[np.int64] | None, delivery: str
) -> NDArray[np.bool_]:
    """`controller.observe`, of the batch at once, or of one group after the other in random order; what it admits."""
    if delivery == BATCH:
        return controller.observe(items, rewards, counts)
    lanes, single = controller.lanes, controller.single
    batch = items.shape[-1]
    groups = check_rewards(rewards, (lanes, batch), single)  # (R, B, G)
    now = clock(controller.updates, controller.turn)
    order = np.argsort(uniforms(controller.seeds, Role.DELIVERY, now, batch), axis=1, kind="stable")
    told: list[NDArray[Any]] = [np.take_along_axis(np.atleast_2d(items), order, axis=1),
                                np.take_along_axis(groups, order[:, :, None], axis=1)]  # fmt: skip
    if counts is not None:
        told.append(np.take_along_axis(np.atleast_2d(counts), order, axis=1))
    admitted = np.empty((lanes, batch), bool)
    for k in range(batch):
        one = [part[0, k : k + 1] if single else part[:, k : k + 1] for part in told]
        np.put_along_axis(admitted, order[:, k : k + 1], np.atleast_2d(controller.observe(*one)), axis=1)
    return admitted[0] if single else admitted


def summary(controller: Controller, items: Items, rewards: Any, counts: NDArray[np.int64] | None) -> Floats:
    """(3, R) mean reward, silent share and mean difficulty of a batch, as `Controller.batch_summary` has them for the
    batch drawn last; NaN in lanes without rollouts."""
    positions = np.atleast_2d(items)
    groups = check_rewards(rewards, positions.shape, controller.single)
    sizes = check_counts(counts, groups.shape, controller.single)
    mean, silent = np.empty(controller.lanes), np.empty(controller.lanes)
    kernels.reward_stats(groups, sizes, mean, silent)
    found = np.stack([mean, silent, controller.pool.difficulty[positions].mean(axis=1)])
    rests = sizes.sum(axis=1) == 0 if sizes.size else np.zeros(controller.lanes, bool)
    found[:, rests] = np.nan
    return found
