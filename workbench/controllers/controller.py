"""The Controller: a rule bound to a pool, with its state, its clock and its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench import kernels
from workbench.controllers.gates import Gate
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Rule
from workbench.errors import InputError, check_count, shown
from workbench.lanes import check_items, check_rewards, check_state, lane_seeds, raise_bad_reward, read_only
from workbench.pool import WHOLE, Pool

FEEDBACK_COUNTS = ("late_feedback", "repeated_feedback", "partial_feedback")


class Controller:
    """Picks items and sees rewards; the same object steers a simulated learner and a real trainer.

    rule: what to pick. pool: what to pick from. gates: which finished groups to train on; all must admit a group.
    seed: whole number, or (R,) whole numbers for R lanes.
    lanes: R independent copies as one array program; with a single seed all lanes share their luck, which is what
    a comparison of hyper-parameters wants. Without lanes and with one seed, no array has a lane axis.

    Feedback acts at once: the batch after `observe` uses it. Late, repeated and partial feedback (a host that
    prefetches, retries, drops or answers out of order) is taken as it comes, and each is counted in the metrics.
    Raises InputError for anything out of its domain.
    """

    def __init__(
        self, rule: Rule, pool: Pool, gates: Sequence[Gate] = (), seed: ArrayLike = 0, lanes: int | None = None
    ) -> None:
        odd = [gate for gate in gates if not hasattr(gate, "admit")]
        if odd:
            raise InputError(f"gates: must be gates such as DynamicSampling(), got {shown(odd[0])}")
        self.rule, self.pool, self.gates = rule, pool, tuple(gates)
        self.seeds, self._single = lane_seeds(seed, lanes)
        count = len(self.seeds)
        self.state = rule.init(pool, count)
        self.step = 0
        self.late_feedback = self.repeated_feedback = self.partial_feedback = 0
        self.rollouts = 0  # rewards seen per lane
        self._answered = False  # whether the batch drawn last has had feedback
        self._seen = np.zeros((count, -(-len(pool) // 64)), np.uint64)
        self._batch_difficulty = np.full(count, np.nan)
        empty = np.empty((count, 0), np.int64)
        self._batch, self._batch_before, self._handed_out = empty, empty, empty
        self._admitted = np.ones((count, 0), bool)
        self._mean_reward = np.full(count, np.nan)
        self._silent = np.full(count, np.nan)

    @property
    def lanes(self) -> int:
        return len(self.seeds)

    def next_batch(self, batch: int) -> Items:
        """(B,) distinct positions in the pool, (R, B) with lanes."""
        check_count("batch", batch, 1)
        if batch > len(self.pool):
            raise InputError(f"batch: must be <= {len(self.pool)}, the items of pool '{self.pool.name}', got {batch}")
        items, self.state = self.rule.select(self.state, Draw(self.pool, self.seeds, self.step), batch)
        total = np.empty(self.lanes, np.int64)
        want = f"int64 positions in [0, {len(self.pool)}) of shape ({self.lanes}, {batch})"
        if getattr(items, "dtype", None) != np.int64 or items.shape != (self.lanes, batch):
            raise InputError(f"{type(self.rule).__name__}.select: must return {want}, got {shown(items)}")
        if not kernels.watch(items, self.pool.whole_difficulty, self._seen, total):
            odd = items[(items < 0) | (items >= len(self.pool))][0]
            raise InputError(f"{type(self.rule).__name__}.select: must return {want}, got {odd}")
        self._batch_difficulty = total / (batch * WHOLE)
        self._batch_before, self._batch = self._batch, items
        self._answered = False
        self.step += 1
        self._handed_out = read_only(items[0] if self._single else items)
        return self._handed_out

    def observe(self, items: ArrayLike, rewards: ArrayLike) -> NDArray[np.bool_]:
        """Take the rewards of a batch; returns which groups to train on, (B,) or (R, B).

        items: as drawn. rewards: (B,) or (B, G), with lanes (R, B) or (R, B, G), in [0, 1].
        """
        just_drawn = items is self._handed_out
        positions = self._batch if just_drawn else check_items(items, len(self.pool), self.lanes, self._single)
        groups = check_rewards(rewards, positions.shape, self._single)
        mean, silent = np.empty(self.lanes), np.empty(self.lanes)
        if not kernels.reward_stats(groups, mean, silent):
            raise_bad_reward(groups)
        if not just_drawn and kernels.repeats(positions, self._batch, len(self.pool)).min() < 1.0:
            self.late_feedback += 1  # some of it is not from the batch drawn last
        else:
            self.repeated_feedback += self._answered
            self.partial_feedback += positions.shape[1] < self._batch.shape[1]
            self._answered = True
        self.rollouts += groups[0].size
        self.state = self.rule.update(self.state, Feedback(positions, groups, mean))
        self._mean_reward = mean
        self._silent = silent
        if self.gates:
            self._admitted = np.logical_and.reduce([gate.admit(groups) for gate in self.gates])
        elif self._admitted.shape != positions.shape:
            self._admitted = read_only(np.ones(positions.shape, bool))
        return self._admitted[0] if self._single else self._admitted

    @property
    def max_batches(self) -> int:
        """Batches that may be drawn for one update until its gates have admitted enough groups."""
        return max((gate.max_batches for gate in self.gates), default=1)

    def metrics(self) -> dict[str, Any]:
        """Numbers to log: floats, or (R,) arrays with lanes. Shares are in [0, 1], difficulties in [0, 100].

        step: batches drawn. mean_reward, silent_share (groups all equal; NaN for one rollout): of the last feedback.
        batch_difficulty_mean, _min, _max; overlap (share of the last batch also in the one before); coverage (share
        of the pool drawn so far). late_feedback: feedbacks that were not for the batch drawn last; of those that
        were, repeated_feedback: to a batch already answered, partial_feedback: for fewer items than drawn. Then the
        rule's own.
        """
        values: dict[str, Floats] = {
            "mean_reward": self._mean_reward,
            "silent_share": self._silent,
            "coverage": self.coverage(),
            "overlap": kernels.repeats(self._batch, self._batch_before, len(self.pool))
            if self.step
            else np.full(self.lanes, np.nan),
        }
        difficulty = self.pool.difficulty[self._batch]
        for name, statistic in (("mean", np.mean), ("min", np.min), ("max", np.max)):
            values[f"batch_difficulty_{name}"] = (
                statistic(difficulty, axis=1) if self.step else np.full(self.lanes, np.nan)
            )
        values |= self.rule.metrics(self.state)
        counts = {name: float(getattr(self, name)) for name in ("step", *FEEDBACK_COUNTS)}
        if self._single:
            return counts | {name: float(value[0]) for name, value in values.items()}
        return counts | values

    def target(self) -> Floats:
        """(R,) the rule's target difficulty, NaN if it has none."""
        return self.rule.metrics(self.state).get("target_difficulty", np.full(self.lanes, np.nan))

    def coverage(self) -> Floats:
        """(R,) share of the pool drawn so far."""
        return np.asarray(np.bitwise_count(self._seen).sum(axis=1) / len(self.pool))

    def batch_summary(self) -> tuple[Floats, Floats, Floats]:
        """(R,) each: mean reward and silent share of the last feedback, mean difficulty of the batch drawn last."""
        return self._mean_reward, self._silent, self._batch_difficulty

    def state_dict(self) -> dict[str, Any]:
        """Plain arrays and numbers from which `load_state_dict` continues bit for bit."""
        own = {
            "rule": type(self.rule).__name__,
            "pool": self.pool.digest,
            "step": self.step,
            "rollouts": self.rollouts,
            "answered": self._answered,
            **{name: getattr(self, name) for name in FEEDBACK_COUNTS},
            "seeds": self.seeds.copy(),
            "seen": self._seen.copy(),
            "batch_difficulty": self._batch_difficulty.copy(),
            "batch": self._batch.copy(),
            "batch_before": self._batch_before.copy(),
            "mean_reward": self._mean_reward.copy(),
            "silent": self._silent.copy(),
        }
        return own | {f"rule.{name}": np.array(value) for name, value in self.state._asdict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` of a controller with the same rule, pool and number of lanes."""
        mine = self.state_dict()
        check_state(state, mine, free={"batch", "batch_before"})
        for name in ("rule", "pool"):
            if str(state[name]) != mine[name]:
                raise InputError(f"state.{name}: must be this controller's, {mine[name]}, got {state[name]}")
        for name in ("batch", "batch_before"):
            if not kernels.positions_valid(np.array(state[name], np.int64), len(self.pool)):
                raise InputError(f"state.{name}: must be positions in [0, {len(self.pool)}), got {shown(state[name])}")
        restored = type(self.state)(**{name: np.array(state[f"rule.{name}"]) for name in self.state._fields})
        self.rule.check_state(restored, self.pool)
        self.state = restored
        self.step, self.rollouts = int(state["step"]), int(state["rollouts"])
        self._answered = bool(state["answered"])
        for name in FEEDBACK_COUNTS:
            setattr(self, name, int(state[name]))
        self._handed_out = np.empty((self.lanes, 0), np.int64)  # what was handed out before is not this batch
        self.seeds = np.array(state["seeds"], np.uint64)
        self._seen = np.array(state["seen"], np.uint64)
        self._batch_difficulty = np.array(state["batch_difficulty"], np.float64)
        self._batch = np.array(state["batch"], np.int64)
        self._batch_before = np.array(state["batch_before"], np.int64)
        self._mean_reward, self._silent = np.array(state["mean_reward"]), np.array(state["silent"])
