"""GRESO: skip items whose last groups were all silent, before rollouts are spent on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.items import deal_some, new_deck, put_back
from workbench.controllers.rule import SOLID, Draw, Feedback, Floats, Items, Lanes, Look, Rule, per_lane
from workbench.errors import InputError, check_number
from workbench.kernels.compiling import Array, compiled, i64
from workbench.pool import Pool

LOW, HIGH = 0.05, 0.95  # bounds of p_e and p_h
LONGEST = 127  # rows of silent groups are counted up to here


class SkipState(NamedTuple):
    deck: NDArray[np.int32]  # (R, I) this epoch's order
    cursor: NDArray[np.int64]  # (R,) items looked at in this epoch
    epoch: NDArray[np.int64]  # (R,) from 0; -1 before the first
    streak: NDArray[np.int8]  # (R, I) last groups in a row that were silent: z if solved, -z if failed, 0 if none
    easy: Floats  # (R,) p_e
    hard: Floats  # (R,) p_h
    groups: NDArray[np.int64]  # (R, 3) since p_e and p_h moved: silent and solved, silent and failed, all
    skipped: Floats  # (R,) share skipped of the items looked at for the last batch


@dataclass(frozen=True)
class GRESO(Rule):
    """GRPO with efficient selective rollout: epochs in random order, in which some items are skipped.

    an item whose last z groups were silent is skipped with probability 1 - max(p^z, least), p = p_e if they were all
    solved, p_h if all failed. Once per step, from the second epoch on:
    p_e <- clip(p_e - step, 0.05, 0.95) if the share of silent solved groups since the step before is at least
    target / 3, else p_e + step;   p_h alike with silent failed groups and 2 target / 3

    Silent: all rewards equal; solved if their mean is above 1/2, else failed. Groups of one rollout are ignored.
    easy, hard: p_e and p_h at the start, in [0, 1]. target: share of silent groups in [0, 1]. step: in [0, 1].
    least: smallest chance that an item is tried, in [0.001, 1].
    With floor > 0, an item drawn by exploration counts as looked at in this epoch, and the one whose slot it took is
    looked at again next.

    Source: Zheng et al. 2025, arXiv 2506.02177, its probabilistic filtering with self-adjusted exploration; defaults,
    bounds and least of its code.
    Differs: the code finds silent groups by a mean reward >= 0.98 or <= 0.11. Where an epoch ends within a batch, the
    next one goes on with items that the batch does not hold yet. z counts up to 127. It also sizes each refill by the
    share of silent groups; that is left to the loop, and a gate such as DynamicSampling leaves silent groups out.
    """

    name = "greso"
    look = Look("#999933", SOLID, "P")

    easy: Lanes = 0.5
    hard: Lanes = 0.5
    target: Lanes = 0.25
    step: Lanes = 0.01
    least: Lanes = 0.01

    memory = "item"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("easy", "hard", "target"):
            check_number(name, getattr(self, name), 0, 1)
        check_number("step", self.step, 0, 1)
        check_number("least", self.least, 0.001, 1)

    def init(self, pool: Pool, lanes: int) -> SkipState:
        for name in ("target", "step", "least"):
            per_lane(name, getattr(self, name), lanes)
        easy, hard = per_lane("easy", self.easy, lanes), per_lane("hard", self.hard, lanes)
        streak, groups = np.zeros((lanes, len(pool)), np.int8), np.zeros((lanes, 3), np.int64)
        return SkipState(*new_deck(pool, lanes), streak, easy, hard, groups, np.zeros(lanes))

    def keeps(self, state: SkipState) -> NDArray[np.float32]:
        """(R, 255) chance that an item with the streak -127 .. 127 is tried: max(p^z, least)."""
        z = np.arange(-LONGEST, LONGEST + 1)
        base = np.where(z > 0, state.easy[:, None], state.hard[:, None])
        least = per_lane("least", self.least, len(base))[:, None]
        return np.asarray(np.maximum(base ** np.abs(z), least), np.float32)

    def select(self, state: SkipState, draw: Draw, count: int) -> tuple[Items, SkipState]:
        if draw.turn == 0:
            state = self.moved(state)
        deck = state.deck, state.cursor, state.epoch
        items, deck, looked = deal_some(deck, state.streak, LONGEST, self.keeps(state), draw, count)
        order, cursor, epoch = deck
        return items, state._replace(deck=order, cursor=cursor, epoch=epoch, skipped=1 - count / looked)

    def moved(self, state: SkipState) -> SkipState:
        """The state after p_e and p_h have moved, by the groups seen since they last did."""
        lanes = len(state.easy)
        target, step = per_lane("target", self.target, lanes), per_lane("step", self.step, lanes)
        shares = state.groups[:, :2] / np.maximum(state.groups[:, 2:], 1)
        moves = (state.epoch > 0) & (state.groups[:, 2] > 0)
        bases = []
        for base, share, goal in zip((state.easy, state.hard), shares.T, (target / 3, 2 * target / 3), strict=True):
            new = np.clip(np.where(share >= goal, base - step, base + step), LOW, HIGH)
            bases.append(np.where(moves, new, base))
        return state._replace(easy=bases[0], hard=bases[1], groups=np.zeros_like(state.groups))

    def update(self, state: SkipState, feedback: Feedback) -> SkipState:
        streak, there = state.streak.copy(), feedback.rollouts > 1
        count_silent(streak, feedback.items, feedback.means, feedback.stds, feedback.rollouts)
        silent, solved = there & (feedback.stds == 0), feedback.means > 0.5
        new = np.stack([(silent & solved).sum(axis=1), (silent & ~solved).sum(axis=1), there.sum(axis=1)], axis=1)
        return state._replace(streak=streak, groups=state.groups + new)

    def replaced(self, state: SkipState, draw: Draw, selected: Items, items: Items) -> SkipState:
        size = np.full(len(items), len(draw.pool))
        deck, cursor, epoch = put_back((state.deck, state.cursor, state.epoch), size, selected, items)
        return state._replace(deck=deck, cursor=cursor, epoch=epoch)

    def check_state(self, state: SkipState, pool: Pool) -> None:
        deck, cursor = state.deck, state.cursor
        sound = (np.sort(deck, axis=1) == np.arange(len(pool))).all()
        if not sound or not ((cursor >= 0) & (cursor <= len(pool))).all() or (state.streak < -LONGEST).any():
            raise InputError(f"state.rule: must be a deck of all positions in [0, {len(pool)}), got another")

    def metrics(self, state: SkipState) -> dict[str, Floats]:
        return {"p_easy": state.easy, "p_hard": state.hard, "skipped": state.skipped}


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def count_silent(streak: Array, items: Array, means: Array, stds: Array, counts: Array) -> None:
    """How many of an item's last groups in a row were silent, streak (R, I) int8, in place: z if solved, -z if failed.

    Silent: std 0; solved if its mean is above 1/2, else failed. Any other group ends the row. At most 127.
    means, stds, counts (R, B): groups of fewer than 2 rollouts change nothing.
    """
    for r in range(items.shape[0]):
        for i in range(items.shape[1]):
            if counts[r, i] > 1:
                before, after = i64(streak[r, items[r, i]]), i64(0)
                if stds[r, i] == 0.0:
                    after = min(max(before, 0) + 1, 127) if means[r, i] > 0.5 else max(min(before, 0) - 1, -127)
                streak[r, items[r, i]] = after
