"""Queue: a controller for hosts that pull one prompt, work on many at once, and answer in any order."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.controllers import Controller
from workbench.display import as_html
from workbench.errors import InputError, as_array, check_count, shown
from workbench.hosts.update import Update, check_steerable
from workbench.lanes import Items, check_state

WAITING, OUT, ANSWERED, DROPPED, AGAIN = range(5)  # a prompt; AGAIN: was out when the state was saved
COUNTS = ("repeated_answers", "stale_answers", "unknown_answers", "dropped_groups")
OF_CONTROLLER = "controller."  # names of its state begin so
MOST_KEY = 2**63 - 1


@dataclass
class _Batch:
    """A batch with prompts that are not answered. number: of its first prompt. status, counts, rewards: (B,), (B,),
    (B, G)."""

    number: int
    items: Items
    status: NDArray[np.int8]
    counts: NDArray[np.int64]
    rewards: NDArray[np.float32]
    update: Update


class Queue:
    """Hands out the prompts of a controller's batches one by one, and gives it the rewards batch by batch.

    controller: with one seed; its rule must not probe or share out rollouts, its gates not screen. From here on it is
    the queue's own. batch: groups of an update, as the rule is to see them. rollouts: of each group.
    ahead: batches that may be begun while earlier ones lack answers, >= 0. 0: no prompt is picked before all rewards
    of the batch before are known, and the run is that of `next_batch` and `observe`, bit for bit, whatever the order
    of answers. n: the rule sees rewards up to n batches late, as in `train(lag=n)`; a smaller step
    (`AdaRFT(eta=...)`) is then due.

    A batch is given to the rule once each of its groups is answered or dropped. Where gates reject groups, further
    batches follow for the same update, as in `train`. All methods may be called from several threads.
    Raises InputError for a controller that asks for more than whole groups, and for a number out of its domain.
    """

    def __init__(self, controller: Controller, batch: int, rollouts: int, ahead: int = 0) -> None:
        check_steerable(controller, batch, rollouts)
        self.controller, self.batch, self.rollouts = controller, int(batch), int(rollouts)
        self.ahead = check_count("ahead", ahead, 0, 10**6)
        self.updates = 0  # whose groups are all decided
        self.repeated_answers = self.stale_answers = self.unknown_answers = self.dropped_groups = 0
        self._open: list[_Batch] = []
        self._next = self._before = 0  # number of the next prompt, also before states were loaded
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Queue({', '.join(f'{name}: {value}' for name, value in self._told().items())})"

    def _repr_html_(self) -> str:
        return as_html("Queue", self._told())

    def _told(self) -> dict[str, str]:
        shape = f"{self.batch} x {self.rollouts}, {self.ahead} ahead"
        return {"controller": type(self.controller.rule).__name__, "batch": shape, "updates": str(self.updates)}

    # ------------------------------------------------------------------------------------- prompts, answers

    def get(self) -> tuple[int, int] | None:
        """(key, item): the next prompt, a position in the pool, and the whole number that names it in `answer`.

        None where a batch must first be answered: do so, then ask again. It never waits.
        """
        with self._lock:
            for batch in self._open:
                (waiting,) = np.nonzero((batch.status == WAITING) | (batch.status == AGAIN))
                if len(waiting):
                    return self._hand_out(batch, int(waiting[0]))
            if len(self._open) > self.ahead:
                return None
            return self._hand_out(self._draw(Update(self.batch)), 0)

    def _hand_out(self, batch: _Batch, slot: int) -> tuple[int, int]:
        batch.status[slot] = OUT
        return self._key(batch, slot), int(batch.items[slot])

    def _key(self, batch: _Batch, slot: int) -> int:
        """Names the prompt and its item, so that an answer to another draw of the same number is told apart."""
        return (batch.number + slot) * len(self.controller.pool) + int(batch.items[slot])

    def _draw(self, update: Update) -> _Batch:
        items = np.array(update.draw(self.controller, self.batch))
        status, counts = np.full(self.batch, WAITING, np.int8), np.zeros(self.batch, np.int64)
        rewards = np.zeros((self.batch, self.rollouts), np.float32)
        drawn = _Batch(self._next, items, status, counts, rewards, update)
        self._open.append(drawn)
        self._next += self.batch
        return drawn

    def answer(self, key: int, rewards: ArrayLike, count: int | None = None) -> dict[int, bool]:
        """Take the rewards (G,) of a prompt, in [0, 1]; returns which groups of its batch to train on, by their keys.

        count: how many of them are known, in [0, G], where rollouts failed or had no reward; those come first, and 0
        after them. None: all.
        The answer is empty until the batch is complete. Without gates every answered group is trained on.
        An answer to a group that has one is counted (`repeated_answers`) and ignored, and so is one to a prompt that
        was handed out before an earlier state was loaded and is to be answered anew (`stale_answers`).
        Raises InputError for rewards of another number or out of [0, 1], and for a key that was never handed out,
        which is counted (`unknown_answers`).
        """
        number = self._number(key)
        values = as_array("rewards", rewards, f"{self.rollouts} numbers in [0, 1]")
        inside = values.dtype.kind in "fiub" and values.shape == (self.rollouts,)
        if not (inside and ((values >= 0) & (values <= 1)).all()):
            raise InputError(f"rewards: must be {self.rollouts} numbers in [0, 1], a group's, got {shown(rewards)}")
        known = self.rollouts if count is None else check_count("count", count, 0, self.rollouts)
        if values[known:].any():
            raise InputError(f"rewards: must be 0 after the first {known}, the count, got {shown(rewards)}")
        return self._close(number, key, ANSWERED, values, known)

    def drop(self, key: int) -> dict[int, bool]:
        """Say that a prompt will have no answer; returns what `answer` does. Its batch goes on without the group.

        Counted as `dropped_groups`. Keys are told apart as in `answer`.
        """
        return self._close(self._number(key), key, DROPPED, np.zeros(self.rollouts), 0)

    def _number(self, key: int) -> int:
        return check_count("key", key, 0, MOST_KEY) // len(self.controller.pool)

    def _close(self, number: int, key: int, status: int, rewards: NDArray[Any], known: int) -> dict[int, bool]:
        with self._lock:
            batch = next((b for b in self._open if b.number <= number < b.number + self.batch), None)
            slot = number - batch.number if batch else 0
            if batch is None or key != self._key(batch, slot) or batch.status[slot] not in (OUT, AGAIN):
                self._refuse(number, key, batch, slot)
                return {}
            batch.status[slot], batch.counts[slot], batch.rewards[slot] = status, known, rewards
            self.dropped_groups += status == DROPPED
            return self._settle(batch) if np.isin(batch.status, (ANSWERED, DROPPED)).all() else {}

    def _refuse(self, number: int, key: int, batch: _Batch | None, slot: int) -> None:
        """Count an answer that is not taken; InputError for a key that was never handed out."""
        mine = batch is None or key == self._key(batch, slot)
        if number < self._next and mine and (batch is None or batch.status[slot] != WAITING):
            self.repeated_answers += 1
        elif number < self._before:
            self.stale_answers += 1
        else:
            self.unknown_answers += 1
            raise InputError(f"key: must be one that get() handed out, got {shown(key)}")

    def _settle(self, batch: _Batch) -> dict[int, bool]:
        """Give a complete batch to the controller; draw the next of its update, where gates left groups missing."""
        self._open.remove(batch)
        admitted, heard = np.zeros(self.batch, bool), batch.status == ANSWERED
        if heard.any():
            counts = None if (batch.counts[heard] == self.rollouts).all() else batch.counts[heard]
            admitted[heard] = self.controller.observe(batch.items[heard], batch.rewards[heard], counts)
        kept = batch.update.keep(self.controller, admitted, self.rollouts)
        if batch.update.wants_more(self.controller):
            self._draw(batch.update)
        else:
            self.updates += 1
        return {self._key(batch, slot): bool(kept[slot]) for slot in range(self.batch)}

    # --------------------------------------------------------------------------------------- numbers, state

    def metrics(self) -> dict[str, Any]:
        """The controller's numbers, and: updates decided; in_flight, prompts handed out and not answered;
        open_batches; repeated_answers, stale_answers, unknown_answers and dropped_groups so far."""
        with self._lock:
            out = sum(int((batch.status == OUT).sum()) for batch in self._open)
            own = {"updates": self.updates, "in_flight": out, "open_batches": len(self._open)}
            own |= {name: getattr(self, name) for name in COUNTS}
            return self.controller.metrics() | {name: float(value) for name, value in own.items()}

    def state_dict(self) -> dict[str, Any]:
        """Plain arrays and numbers, those of the controller included, from which `load_state_dict` continues."""
        with self._lock:
            rows = self.ahead + 1
            state: dict[str, Any] = {
                "batch": self.batch, "rollouts": self.rollouts, "ahead": self.ahead, "next": self._next,
                "updates": self.updates, **{name: getattr(self, name) for name in COUNTS},
                "open_number": np.full(rows, -1), "open_missing": np.zeros(rows, np.int64),
                "open_drawn": np.zeros(rows, np.int64), "open_items": np.zeros((rows, self.batch), np.int64),
                "open_status": np.zeros((rows, self.batch), np.int8),
                "open_counts": np.zeros((rows, self.batch), np.int64),
                "open_rewards": np.zeros((rows, self.batch, self.rollouts), np.float32),
            }  # fmt: skip
            for row, batch in enumerate(self._open):
                state["open_number"][row] = batch.number
                state["open_missing"][row], state["open_drawn"][row] = batch.update.missing, batch.update.drawn
                for name in ("items", "status", "counts", "rewards"):
                    state[f"open_{name}"][row] = getattr(batch, name)
            return state | {f"{OF_CONTROLLER}{name}": value for name, value in self.controller.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` of a queue of the same sizes, whose controller this one's could continue.

        Prompts that were in flight are handed out again, with the keys they had, and before any other; a host that
        kept their rollouts may answer them without asking. No other answer from before is taken.
        Raises InputError for any other state, and then continues as before.
        """
        with self._lock:
            mine, _ = _apart(self.state_dict())
            given: Any = state
            own, theirs = _apart(given) if isinstance(given, Mapping) else (given, {})
            check_state(own, mine, free=set())
            for name in ("batch", "rollouts", "ahead"):
                if state[name] != mine[name]:
                    raise InputError(f"state.{name}: must be this queue's, {mine[name]}, got {shown(state[name])}")
            counts = {name: check_count(f"state.{name}", int(state[name]), 0, MOST_KEY)
                      for name in ("next", "updates", *COUNTS)}  # fmt: skip
            restored = self._restored(state, counts["next"])
            self.controller.load_state_dict(theirs)
            self._before, self._open = max(self._before, self._next), restored
            self._next = counts.pop("next")
            for name, value in counts.items():
                setattr(self, name, value)

    def _restored(self, state: Mapping[str, Any], after: int) -> list[_Batch]:
        """The open batches of a state; InputError for those that no queue leaves."""
        number, missing, drawn = (np.array(state[f"open_{name}"], np.int64) for name in ("number", "missing", "drawn"))
        items, status = np.array(state["open_items"], np.int64), np.array(state["open_status"], np.int64)
        counts, rewards = np.array(state["open_counts"], np.int64), np.array(state["open_rewards"], np.float32)
        rows = number >= 0
        possible = {
            "number": (number >= -1) & (number + self.batch * rows <= after),
            "missing": (missing >= rows) & (missing <= self.batch),
            "drawn": (drawn >= rows) & (drawn <= self.controller.max_batches),
            "items": (items >= 0) & (items < len(self.controller.pool)),
            "status": (status >= WAITING) & (status <= AGAIN),
            "counts": (counts >= 0) & (counts <= self.rollouts),
            "rewards": (rewards >= 0) & (rewards <= np.where(np.arange(self.rollouts) < counts[..., None], 1, 0)),
        }
        for name, good in possible.items():
            if not good.all():
                got = shown(state[f"open_{name}"])
                raise InputError(f"state.open_{name}: must be those of open batches, got {got}")
        status[status == OUT] = AGAIN
        return [
            _Batch(int(number[row]), items[row], status[row].astype(np.int8), counts[row],
                   rewards[row], Update(int(missing[row]), int(drawn[row])))
            for row in np.flatnonzero(rows)
        ]  # fmt: skip


def _apart(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The queue's own part of a state, and the controller's."""
    theirs = {name: value for name, value in state.items() if str(name).startswith(OF_CONTROLLER)}
    own = {name: value for name, value in state.items() if name not in theirs}
    return own, {name.removeprefix(OF_CONTROLLER): value for name, value in theirs.items()}
