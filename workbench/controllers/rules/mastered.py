"""Drop mastered items: epochs over the items that the policy does not yet solve almost always."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.items import deal_some, new_deck, put_back, take_best, with_counts
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Lanes, Look, Rule, per_lane
from workbench.errors import LARGEST, InputError, check_choice, check_count, check_flag, check_number
from workbench.pool import Pool

MEMORIES = ("group", "history", "stage")
SLACK = 1e-6  # rewards are float32: 0.9 comes as 0.89999998


class MasteryState(NamedTuple):
    deck: NDArray[np.int32]  # (R, I) this epoch's order
    cursor: NDArray[np.int64]  # (R,) items looked at in this epoch
    epoch: NDArray[np.int64]  # (R,) from 0; -1 before the first
    dropped: NDArray[np.int32]  # (R, I) batches drawn when the item was last found mastered; 0 if it is not
    successes: NDArray[np.float32]  # (R, I) sums of rewards, "stage": of group means; (R, 0) if the last group counts
    attempts: NDArray[np.float32]  # (R, I) rollouts, "stage": groups; likewise


@dataclass(frozen=True)
class DropMastered(Rule):
    """Epochs in random order over the items that are not mastered: success rate below the threshold.

    threshold: success rate in [0, 1]. strict: True, an item at the threshold itself is not mastered.
    memory_of: what the rate is of, "group": the item's last group; "history": all its rollouts so far, judged after
    each group; "stage": the mean of its groups' means in a stage, judged where the stage ends and then forgotten.
    stage: steps of a stage, >= 1, for "stage" only; feedback counts for the stage in which it comes.
    back: steps after which a dropped item returns, until its next feedback; 0: never. least: 1 to 1e6; where fewer than
    least x B items are left, those dropped for longest come back. With floor > 0, an item drawn by exploration, which
    may be a dropped one, counts as dealt in this epoch, and the one whose slot it took is dealt next.

    Presets: Polaris, DropMastered(0.9, memory_of="stage", strict=True) with the steps of its stages;
    open-instruct's no_resampling_pass_rate, DropMastered(0.875); ScaleRL's no-positive-resampling,
    DropMastered(0.9, memory_of="history").
    Source: An et al. 2025, Polaris; Khatri et al. 2025, ScaleRL, arXiv 2510.13786, figure 6b; open-instruct's code.
    Differs: Polaris begins a new run on what is left after a stage, here the epoch goes on without it; its script that
    drops items reads a name that it never sets, and is taken as it was meant. ScaleRL drops between epochs, here at
    once. `back` and `least` are ours: a pool that runs empty would end the run. Items dropped in the same step come
    back in random order. Where an epoch ends within a batch, the next one goes on with items that the batch does not
    hold yet.
    """

    name = "mastered"
    look = Look("#999933", (0, (2, 1)), "v")

    threshold: Lanes = 0.9
    memory_of: str = "group"
    back: int = 0
    least: Lanes = 1.0
    strict: bool = False
    stage: int = 100

    memory = "item"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, 0, 1)
        check_choice("memory_of", self.memory_of, MEMORIES)
        check_count("back", self.back, 0)
        check_number("least", self.least, 1, LARGEST)
        check_flag("strict", self.strict)
        check_count("stage", self.stage)

    def init(self, pool: Pool, lanes: int) -> MasteryState:
        for name in ("threshold", "least"):
            per_lane(name, getattr(self, name), lanes)
        dropped = np.zeros((lanes, len(pool)), np.int32)
        counts = np.zeros((2, lanes, 0 if self.memory_of == "group" else len(pool)), np.float32)
        return MasteryState(*new_deck(pool, lanes), dropped, *counts)

    def out(self, state: MasteryState, step: int) -> NDArray[np.bool_]:
        """(R, I) items that are not dealt after `step` batches."""
        out = state.dropped > 0
        return out & (step - state.dropped < self.back) if self.back else out

    def mastered(self, rate: Floats) -> NDArray[np.bool_]:
        """Which rates (R, n) are mastered."""
        threshold = per_lane("threshold", self.threshold, len(rate))[:, None]
        return rate > threshold + SLACK if self.strict else rate >= threshold - SLACK

    def judged(self, state: MasteryState, step: int) -> MasteryState:
        """The state after the end of a stage: of the items met in it, those mastered are dropped."""
        groups = state.attempts
        mastered = self.mastered(state.successes.astype(np.float64) / np.maximum(groups, 1))
        dropped = np.where(groups > 0, np.where(mastered, step, 0), state.dropped).astype(np.int32)
        return state._replace(dropped=dropped, successes=np.zeros_like(groups), attempts=np.zeros_like(groups))

    def select(self, state: MasteryState, draw: Draw, count: int) -> tuple[Items, MasteryState]:
        if self.memory_of == "stage" and draw.step and draw.step % self.stage == 0 and draw.turn == 0:
            state = self.judged(state, draw.step)
        out = self.out(state, draw.step)
        left = out.shape[1] - np.count_nonzero(out, axis=1)
        least = np.ceil(per_lane("least", self.least, len(out)) * count - 1e-9)
        wanted = least.clip(count, out.shape[1]).astype(np.int64)
        if (left < wanted).any():
            state, out = self.refilled(state, out, wanted - left, draw)
        deck = state.deck, state.cursor, state.epoch
        stays = np.tile(np.array([1, 0], np.float32), (len(out), 1))
        items, (order, cursor, epoch), _ = deal_some(deck, out.view(np.int8), 0, stays, draw, count)
        return items, state._replace(deck=order, cursor=cursor, epoch=epoch)

    def refilled(
        self, state: MasteryState, out: NDArray[np.bool_], missing: NDArray[np.int64], draw: Draw
    ) -> tuple[MasteryState, NDArray[np.bool_]]:
        """The state and who is out (R, I) after the `missing` (R,) items dropped for longest have come back."""
        dropped, out = state.dropped.copy(), out.copy()
        for r in np.flatnonzero(missing > 0):
            age = np.where(out[r : r + 1], -dropped[r : r + 1].astype(np.float32), -np.float32(np.inf))
            lane = Draw(draw.pool, draw.seeds[r : r + 1], draw.step, draw.turn)
            back = take_best(age, lane, int(missing[r]))[0]
            dropped[r, back], out[r, back] = 0, False
        return state._replace(dropped=dropped), out

    def update(self, state: MasteryState, feedback: Feedback) -> MasteryState:
        counts = state.successes, state.attempts
        there = feedback.rollouts > 0
        if self.memory_of == "stage":
            total, groups = (count.copy() for count in counts)
            kernels.add_to(total, feedback.items, np.where(there, feedback.means, 0).astype(np.float32))
            kernels.add_to(groups, feedback.items, there.astype(np.float32))
            return state._replace(successes=total, attempts=groups)
        rate = feedback.means
        if self.memory_of == "history":
            counts = with_counts(*counts, feedback)
            s, n = (np.take_along_axis(x, feedback.items, axis=1).astype(np.float64) for x in counts)
            rate = s / np.maximum(n, 1)
        mastered = self.mastered(rate)
        dropped = state.dropped.copy()
        lanes = np.broadcast_to(np.arange(len(dropped))[:, None], there.shape)
        dropped[lanes[there], feedback.items[there]] = np.where(mastered, max(feedback.step, 1), 0)[there]
        return state._replace(dropped=dropped, successes=counts[0], attempts=counts[1])

    def replaced(self, state: MasteryState, draw: Draw, selected: Items, items: Items) -> MasteryState:
        size = np.full(len(items), len(draw.pool))
        deck, cursor, epoch = put_back((state.deck, state.cursor, state.epoch), size, selected, items)
        return state._replace(deck=deck, cursor=cursor, epoch=epoch)

    def check_state(self, state: MasteryState, pool: Pool) -> None:
        sound = (np.sort(state.deck, axis=1) == np.arange(len(pool))).all()
        if not sound or not ((state.cursor >= 0) & (state.cursor <= len(pool))).all():
            raise InputError(f"state.rule: must be a deck of all positions in [0, {len(pool)}), got another")

    def metrics(self, state: MasteryState) -> dict[str, Floats]:
        return {"mastered": np.count_nonzero(state.dropped, axis=1) / state.dropped.shape[1]}
