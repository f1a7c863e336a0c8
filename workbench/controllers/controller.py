"""The Controller: a rule and gates bound to a pool, with their states, their clock and their metrics."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench import kernels
from workbench.controllers.ahead import Ahead, check_saved
from workbench.controllers.gate import Gate, ShortBatch
from workbench.controllers.rule import Draw, Feedback, Floats, Items, Probe, Rule
from workbench.display import as_html, brief, seeds_told
from workbench.errors import InputError, as_array, check_count, check_kind, shown
from workbench.lanes import (
    check_counts,
    check_items,
    check_rewards,
    check_state,
    lane_seeds,
    per_lane,
    raise_bad_reward,
    read_only,
)
from workbench.pool import WHOLE, Pool
from workbench.streams import Role

FEEDBACK_COUNTS = ("late_feedback", "repeated_feedback", "partial_feedback")
SPENT = ("batches", "rollouts", "probed", "trained", "short_updates")
LANE_ARRAYS = (*SPENT, "_active", "_seen", "_batch_difficulty",
               "_batch", "_batch_before", "_mean_reward", "_silent")  # fmt: skip


class StepPerCall(UserWarning):
    """A rule whose step belongs to a call of `observe` gets its feedback group by group."""


class Controller:
    """Picks items and sees rewards; the same object steers a simulated learner and a real trainer.

    rule: picks the items. pool: the items. gates: one gate or a sequence; a group is trained on if all admit it.
    seed: whole number, or (R,) whole numbers for R lanes.
    lanes: R independent copies as one array program; with a single seed all lanes use the same random numbers, so
    that hyper-parameters are compared on paired runs. Without lanes and with one seed, no array has a lane axis.

    Feedback acts at once: the batch after `observe` uses it. Late, repeated and partial feedback (a host that
    prefetches, retries, drops or answers out of order) is taken as it comes, and each is counted in the metrics.
    Rules with `per_call` make a whole step at each call of `observe`; where one gets a group per call, it is warned of
    once (StepPerCall).
    Raises InputError for anything out of its domain.
    """

    def __init__(
        self,
        rule: Rule,
        pool: Pool,
        gates: Gate | Sequence[Gate] = (),
        seed: ArrayLike = 0,
        lanes: int | None = None,
    ) -> None:
        check_kind("rule", rule, Rule, "a rule such as AdaRFT()")
        check_kind("pool", pool, Pool, "a Pool such as Pool(difficulty)")
        self.rule, self.pool = rule, pool
        given: Any = gates if isinstance(gates, (list, tuple)) else (gates,)
        for gate in given:
            check_kind("gates", gate, Gate, "gates such as DynamicSampling()")
        self.gates: tuple[Gate, ...] = tuple(given)
        self.seeds, self._single = lane_seeds(seed, lanes)
        count = len(self.seeds)
        floor = per_lane("floor", rule.floor, count)
        self._floor = floor if floor.any() else None
        if rule.labels:
            pool.check_labels(type(rule).__name__)
        self.state = rule.init(pool, count)
        self.gate_states = [gate.init(pool, count) for gate in self.gates]
        _check_new_state("rule", rule, self.state, count)
        for gate, state in zip(self.gates, self.gate_states, strict=True):
            _check_new_state("gates", gate, state, count)
        self.step = self.turn = 0
        self.ahead = Ahead(count)  # batches drawn that wait, where `train` has a lag
        self.late_feedback = self.repeated_feedback = self.partial_feedback = 0
        self._warned = False
        self._lone = 0  # calls of `observe` in a row that had one group of a larger batch
        self._answered = False  # whether the batch drawn last has had feedback
        self.batches = np.zeros(count, np.int64)  # drawn per lane, refills included
        self.rollouts = np.zeros(count, np.int64)  # rewards seen per lane, those of rejected groups and probes included
        self.probed = np.zeros(count, np.int64)  # of these, for probes
        self.trained = np.zeros(count, np.int64)  # of these, what updates were made of, as `train` counts them
        self.short_updates = np.zeros(count, np.int64)  # for which gates admitted fewer groups than wanted
        self._everyone = read_only(np.ones(count, bool))
        self._active = self._everyone  # lanes that the last batch was for
        self._seen = np.zeros((count, -(-len(pool) // 64)), np.uint64)
        self._batch_difficulty = np.full(count, np.nan)
        empty = np.empty((count, 0), np.int64)
        self._batch, self._batch_before, self._handed_out = empty, empty, empty
        self._admitted = np.ones((count, 0), bool)
        self._mean_reward = np.full(count, np.nan)
        self._silent = np.full(count, np.nan)

    def __repr__(self) -> str:
        return f"Controller({', '.join(f'{name}: {value}' for name, value in self._told().items())})"

    def _repr_html_(self) -> str:
        return as_html("Controller", self._told())

    def _told(self) -> dict[str, str]:
        gates = {"gates": " and ".join(brief(gate) for gate in self.gates)} if self.gates else {}
        pool = f"{self.pool.name}, {len(self.pool):,} items"
        return {"rule": brief(self.rule)} | gates | {
            "pool": pool, "runs": seeds_told(self.seeds), "batches drawn": str(self.step)
        }  # fmt: skip

    @property
    def lanes(self) -> int:
        return len(self.seeds)

    @property
    def single(self) -> bool:
        """Whether its arrays have no lane axis: one seed and no `lanes`."""
        return self._single

    @property
    def updates(self) -> int:
        """Batches drawn for updates that have begun: refills, and batches that wait in `ahead`, not counted."""
        return self.step - len(self.ahead)

    # ------------------------------------------------------------------------------------------- drawing

    def next_batch(self, batch: int, refill: bool | NDArray[np.bool_] = False) -> Items:
        """(B,) distinct positions in the pool, (R, B) with lanes.

        refill: True if this batch replaces groups that gates rejected from the previous one, for the same update. With
        lanes (R,): which of them draw; the others rest, and their previous batch is returned again.
        """
        check_count("batch", batch, 1)
        if batch > len(self.pool):
            raise InputError(f"batch: must be <= {len(self.pool)}, the items of pool '{self.pool.name}', got {batch}")
        active = self._who_draws(refill, batch)
        turn = self.turn + 1 if refill is not False else 0
        draw = Draw(self.pool, self.seeds, self.step - (turn > 0), turn)
        answer: Any = self.rule.select(self.state, draw, batch)  # which may come from outside
        if not (isinstance(answer, tuple) and len(answer) == 2 and type(answer[1]) is type(self.state)):
            raise InputError(f"{type(self.rule).__name__}.select: must return (items, state), the state a "
                             f"{type(self.state).__name__}, got {shown(answer)}")  # fmt: skip
        selected, state = answer
        want = f"int64 positions in [0, {len(self.pool)}) of shape ({self.lanes}, {batch})"
        if getattr(selected, "dtype", None) != np.int64 or selected.shape != (self.lanes, batch):
            raise InputError(f"{type(self.rule).__name__}.select: must return {want}, got {shown(selected)}")
        items, gate_states = selected, list(self.gate_states)
        if self._floor is not None and kernels.positions_valid(selected, len(self.pool)):
            items = np.array(selected)
            kernels.explore(items, self._floor, len(self.pool), *draw.stream(Role.EXPLORE))
            state = self.rule.replaced(state, draw, selected, items)
        if turn:
            for index, gate in enumerate(self.gates):
                items, gate_states[index] = gate.refill(gate_states[index], draw, items)
        everyone = self._are_all(active)
        total, seen = np.empty(self.lanes, np.int64), self._seen if everyone else self._seen.copy()
        if not kernels.watch(items, self.pool.whole_difficulty, seen, total):
            odd = items[(items < 0) | (items >= len(self.pool))][0]
            raise InputError(f"{type(self.rule).__name__}.select: must return {want}, got {odd}")
        difficulty = total / (batch * WHOLE) if self.pool.labelled else np.full(self.lanes, np.nan)
        before = self._batch
        if not everyone:  # resting lanes stay as they are
            items = np.where(active[:, None], items, self._batch)
            before = _beside(active, self._batch, self._batch_before)
            difficulty = np.where(active, difficulty, self._batch_difficulty)
            seen[~active] = self._seen[~active]
            state = _merged(active, state, self.state)
            pairs = zip(gate_states, self.gate_states, strict=True)
            gate_states = [_merged(active, new, old) for new, old in pairs]
        self.state, self.gate_states, self._seen = state, gate_states, seen
        self._batch_difficulty, self._batch_before, self._batch, self._active = difficulty, before, items, active
        self._answered = False
        self.step, self.turn = draw.step + 1, turn
        self.batches += 1 if everyone else active
        self._handed_out = read_only(items[0] if self._single else items)
        return self._handed_out

    def _who_draws(self, refill: bool | NDArray[np.bool_], batch: int) -> NDArray[np.bool_]:
        """(R,) lanes that draw."""
        if refill is False or refill is True:
            active = self._everyone
        else:
            active = np.atleast_1d(as_array("refill", refill, f"True, False or ({self.lanes},) booleans"))
            if active.dtype != bool or active.shape != (self.lanes,):
                raise InputError(f"refill: must be True, False or ({self.lanes},) booleans, got {shown(refill)}")
        if refill is not False and self._batch.shape != (self.lanes, batch):
            raise InputError(f"refill: must follow a batch of the same size, got one of {self._batch.shape[1]}")
        return active

    def _are_all(self, active: NDArray[np.bool_]) -> bool:
        return active is self._everyone or bool(active.all())

    def next_probe(self) -> Probe | None:
        """Items that the rule asks to be tried before the next batch, without training on them: (P,) or (R, P)."""
        probe = self.rule.probe(self.state, Draw(self.pool, self.seeds, self.step))
        if probe is None or not self._single:
            return probe
        return Probe(probe.items[0], probe.rollouts)

    def allocate(self, rollouts: int) -> NDArray[np.int64] | None:
        """Rollouts of each item of the batch just drawn, (B,) or (R, B), `rollouts` on average; None: all alike."""
        check_count("rollouts", rollouts)
        draw = Draw(self.pool, self.seeds, self.step - 1, self.turn)
        counts = self.rule.allocate(self.state, draw, self._batch, rollouts)
        return counts if counts is None or not self._single else counts[0]

    # ------------------------------------------------------------------------------------------ observing

    def observe(self, items: ArrayLike, rewards: ArrayLike, counts: ArrayLike | None = None) -> NDArray[np.bool_]:
        """Take the rewards of a batch; returns which groups to train on, (B,) or (R, B).

        items: as drawn. rewards: (B,) or (B, G), with lanes (R, B) or (R, B, G), in [0, 1].
        counts: rollouts of each group, (B,) or (R, B), where they differ; a group's rewards come first, 0 after them.
        """
        just_drawn = items is self._handed_out
        positions = self._batch if just_drawn else check_items(items, len(self.pool), self.lanes, self._single)
        late = not just_drawn and kernels.repeats(positions, self._batch, len(self.pool)).min() < 1.0
        active = self._everyone if late else self._active  # late: some of it is not from the batch drawn last
        feedback, silent = self._feedback(positions, rewards, counts)
        if positions.shape[1] > 1:
            self._lone = 0
        elif self._batch.shape[1] > 1:
            self._note_lone()
        if late:
            self.late_feedback += 1
        else:
            self.repeated_feedback += self._answered
            self.partial_feedback += positions.shape[1] < self._batch.shape[1]
            self._answered = True
        spent: Any = feedback.rewards[0].size
        if feedback.counts.size:
            spent = feedback.counts.sum(axis=1)
            active = active & (spent > 0)
        everyone = self._are_all(active)
        self.rollouts += spent if everyone else np.where(active, spent, 0)
        state = self._updated(feedback)
        self.state = state if everyone else _merged(active, state, self.state)
        mean = feedback.mean_reward
        self._mean_reward = mean if everyone else np.where(active, mean, self._mean_reward)
        self._silent = silent if everyone else np.where(active, silent, self._silent)
        if self.gates or feedback.counts.size:
            self._admitted = self._admit(feedback, active)
        elif self._admitted.shape != positions.shape:
            self._admitted = read_only(np.ones(positions.shape, bool))
        return self._admitted[0] if self._single else self._admitted

    def _note_lone(self) -> None:
        """Warn of the second group in a row that comes alone to a rule whose step belongs to a call."""
        self._lone += 1
        if self._lone == 2 and self.rule.per_call and not self._warned:
            self._warned = True
            warnings.warn(
                f"{type(self.rule).__name__}: each call of observe is a whole step of this rule, and groups come one "
                "by one; give it whole batches, as wb.hosts.Queue does, or a smaller step (AdaRFT has per='item')",
                StepPerCall,
                stacklevel=3,
            )

    def _updated(self, feedback: Feedback) -> Any:
        """The rule's state after feedback."""
        state = self.rule.update(self.state, feedback)
        if type(state) is not type(self.state):
            name, kind = type(self.rule).__name__, type(self.state).__name__
            raise InputError(f"{name}.update: must return the state, a {kind}, got {shown(state)}")
        return state

    def observe_probe(self, probe: Probe, rewards: ArrayLike) -> None:
        """Take the rewards of a probe, (P, G) or (R, P, G)."""
        positions = check_items(probe.items, len(self.pool), self.lanes, self._single)
        feedback, _ = self._feedback(positions, rewards, None, probe=True)
        self.rollouts += feedback.rewards[0].size
        self.probed += feedback.rewards[0].size
        self.state = self._updated(feedback)

    def screen(self, items: ArrayLike, rewards: ArrayLike) -> NDArray[np.bool_]:
        """(B,) or (R, B): which groups get the rest of their rollouts, given their first `screening` ones."""
        positions = check_items(items, len(self.pool), self.lanes, self._single)
        feedback, _ = self._feedback(positions, rewards, None)
        kept = np.logical_and.reduce([gate.screen(feedback) for gate in self.gates if gate.screening])
        kept &= self._active[:, None]
        return np.asarray(kept[0] if self._single else kept)

    def _feedback(
        self, positions: Items, rewards: ArrayLike, counts: ArrayLike | None, probe: bool = False
    ) -> tuple[Feedback, Floats]:
        """Checked feedback, and the share of silent groups (R,)."""
        groups = check_rewards(rewards, positions.shape, self._single)
        sizes = check_counts(counts, groups.shape, self._single)
        mean, silent = np.empty(self.lanes), np.empty(self.lanes)
        if not kernels.reward_stats(groups, sizes, mean, silent):
            raise_bad_reward(groups, sizes)
        return Feedback(positions, groups, mean, self.pool, self.seeds, self.step, sizes, probe,
                        self._batch.shape[1]), silent  # fmt: skip

    def _admit(self, feedback: Feedback, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
        admitted = np.repeat(active[:, None], feedback.items.shape[1], axis=1)
        if feedback.counts.size:
            admitted &= feedback.counts > 0
        for index, gate in enumerate(self.gates):
            mine, state = gate.admit(self.gate_states[index], feedback)
            admitted &= mine
            self.gate_states[index] = state if active.all() else _merged(active, state, self.gate_states[index])
        return admitted

    def note_short(self, short: NDArray[np.bool_]) -> None:
        """Count the lanes (R,) whose gates admitted fewer groups than an update wanted; warns the first time."""
        if not self.short_updates.any() and short.any():
            names = " and ".join(type(gate).__name__ for gate in self.gates)
            drawn = f"{self.max_batches} batch{'es' if self.max_batches > 1 else ''}"
            warnings.warn(
                f"{names}: {drawn} gave fewer groups than asked for at step {self.step}; such updates use what there "
                "is, or are skipped, and are counted",
                ShortBatch,
                stacklevel=3,
            )
        self.short_updates += short

    @property
    def max_batches(self) -> int:
        """Batches that may be drawn for one update until its gates have admitted enough groups."""
        return max((gate.max_batches for gate in self.gates), default=1)

    @property
    def screening(self) -> int:
        """Rollouts of each group before `screen` is asked; 0 where no gate screens."""
        return max((gate.screening for gate in self.gates), default=0)

    # ------------------------------------------------------------------------------------------- numbers

    def metrics(self) -> dict[str, Any]:
        """Numbers to log: floats, or (R,) arrays with lanes. Shares are in [0, 1], difficulties in [0, 100].

        step: batches drawn, refills not counted, those that wait ahead counted; batches: refills counted; rollouts:
        rewards seen.
        mean_reward, silent_share (groups all equal; NaN for one rollout): of the last feedback.
        batch_difficulty_mean, _min, _max; overlap (share of the last batch also in the one before); coverage (share
        of the pool drawn so far). late_feedback: feedbacks that were not for the batch drawn last; of those that
        were, repeated_feedback: to a batch already answered, partial_feedback: for fewer items than drawn. Then the
        rule's and the gates' own.
        """
        values: dict[str, Floats] = {
            "batches": self.batches.astype(np.float64),
            "rollouts": self.rollouts.astype(np.float64),
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
        for gate, state in zip(self.gates, self.gate_states, strict=True):
            values |= gate.metrics(state)
        counts = {name: float(getattr(self, name)) for name in ("step", *FEEDBACK_COUNTS)}
        if self._single:
            return counts | {name: float(value[0]) for name, value in values.items()}
        return counts | values

    def target(self) -> Floats:
        """(R,) the rule's target difficulty, NaN if it has none."""
        return self.rule.metrics(self.state).get("target_difficulty", np.full(self.lanes, np.nan))

    def forwards(self) -> Floats:
        """(R,) predictions asked of helper models so far, one item each; 0 for rules without."""
        return self.rule.metrics(self.state).get("forwards", np.zeros(self.lanes))

    def coverage(self) -> Floats:
        """(R,) share of the pool drawn so far."""
        return np.asarray(np.bitwise_count(self._seen).sum(axis=1) / len(self.pool))

    def batch_summary(self) -> tuple[Floats, Floats, Floats]:
        """(R,) each: mean reward and silent share of the last feedback, mean difficulty of the batch drawn last.

        NaN in lanes that rested, and where there is nothing to average.
        """
        summary = self._mean_reward, self._silent, self._batch_difficulty
        if self._are_all(self._active):
            return summary
        mean, silent, difficulty = (np.where(self._active, value, np.nan) for value in summary)
        return mean, silent, difficulty

    # --------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Plain arrays and numbers from which `load_state_dict` continues bit for bit."""
        own = {
            "rule": type(self.rule).__name__,
            "gates": ",".join(type(gate).__name__ for gate in self.gates),
            "pool": self.pool.digest,
            "settings": json.dumps(self._settings()),
            "step": self.step,
            "turn": self.turn,
            "answered": self._answered,
            **{name: getattr(self, name) for name in FEEDBACK_COUNTS},
            "seeds": self.seeds.copy(),
            **{name.strip("_"): getattr(self, name).copy() for name in LANE_ARRAYS},
            "ahead": self.ahead.items.copy(),
            "ahead_counts": self.ahead.counts.copy(),
        }
        for prefix, state in self._parts():
            own |= {f"{prefix}.{name}": np.array(value) for name, value in state._asdict().items()}
        return own

    def _parts(self) -> list[tuple[str, Any]]:
        """Names and states of the rule and of each gate."""
        return [("rule", self.state), *((f"gate{index}", state) for index, state in enumerate(self.gate_states))]

    def _settings(self, default: bool = False) -> dict[str, Any]:
        """The hyper-parameters of the rule and the gates, as JSON holds them. default: the defaults of those that have
        one: what a run of an earlier version, which did not have them, was made with."""
        gates = [(f"gate{index}", gate) for index, gate in enumerate(self.gates)]
        parts: list[tuple[str, Any]] = [("rule", self.rule), *gates]
        return {
            f"{prefix}.{item.name}": _plain(item.default if default else getattr(part, item.name))
            for prefix, part in parts if is_dataclass(part) for item in fields(part)
            if not (default and item.default is MISSING)
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` of a controller with the same rule, gates, hyper-parameters, pool and seeds.

        Raises InputError for any other: it would continue as a run that was never started. A state of an earlier
        version without "settings" is taken, and its hyper-parameters are not compared; one without "ahead" has none.
        """
        mine = self.state_dict()
        if isinstance(state, Mapping):
            none = np.empty((self.lanes, 0, 0), np.int64)
            state = {"settings": mine["settings"], "ahead": none, "ahead_counts": none, **state}
        check_state(state, mine, free={"batch", "batch_before", "ahead", "ahead_counts"})
        for name in ("rule", "gates", "pool"):
            if str(state[name]) != mine[name]:
                own, got = mine[name] or "none", " ".join(str(state[name]).split())[:80] or "none"
                raise InputError(f"state.{name}: must be this controller's, {own}, got {got}")
        given = self._settings(default=True) | _read_settings(state["settings"])
        for name, value in self._settings().items():
            if name not in given or given[name] != value:
                raise InputError(f"state.{name}: must be this controller's, {shown(value)}, got "
                                 f"{shown(given.get(name))}")  # fmt: skip
        if not np.array_equal(state["seeds"], self.seeds):
            raise InputError(f"state.seeds: must be this controller's, {shown(self.seeds.tolist())}, got "
                             f"{shown(np.asarray(state['seeds']).tolist())}")  # fmt: skip
        for name, low in (("batch", 0), ("batch_before", -1)):
            if not kernels.positions_valid(np.array(state[name], np.int64) - low, len(self.pool) - low):
                raise InputError(f"state.{name}: must be positions in [0, {len(self.pool)}), got {shown(state[name])}")
        restored = [
            type(part)(**{name: np.array(state[f"{prefix}.{name}"]) for name in part._fields})
            for prefix, part in self._parts()
        ]
        self.rule.check_state(restored[0], self.pool)
        for gate, part in zip(self.gates, restored[1:], strict=True):
            gate.check_state(part, self.pool)
        for name in SPENT:
            check_count(f"state.{name}", int(np.min(state[name])), 0, 2**63 - 1)
        counts = {name: check_count(f"state.{name}", int(state[name]), 0, 2**63 - 1)
                  for name in ("step", "turn", *FEEDBACK_COUNTS)}  # fmt: skip
        check_saved(state["ahead"], state["ahead_counts"], len(self.pool), counts["step"])
        self.state, self.gate_states = restored[0], restored[1:]
        self.ahead.restore(state["ahead"], state["ahead_counts"])
        self._answered = bool(state["answered"])
        for name, value in counts.items():
            setattr(self, name, value)
        self._handed_out = np.empty((self.lanes, 0), np.int64)  # an array handed out before loading is not this batch
        for name in LANE_ARRAYS:
            setattr(self, name, np.array(state[name.strip("_")], getattr(self, name).dtype))


def _check_new_state(field: str, part: Rule | Gate, state: Any, lanes: int) -> None:
    """InputError unless the first state of a rule or gate can be kept in a checkpoint and merged lane by lane."""
    name = type(part).__name__
    if not (isinstance(state, tuple) and hasattr(state, "_asdict")):
        raise InputError(
            f"{field}: must keep the state in a NamedTuple of arrays, but {name}.init returns {shown(state)}"
        )
    for entry, value in state._asdict().items():
        array = isinstance(value, np.ndarray)
        if not (array and value.shape[:1] == (lanes,) and value.dtype.kind in "biuf"):
            found = f"{value.dtype} of shape {value.shape}" if array else shown(value)
            raise InputError(
                f"{field}: must keep the state in a NamedTuple of arrays of numbers with one row per lane "
                f"({lanes}, ...), but {entry} of {name}.init is {found}"
            )


def _read_settings(text: Any) -> dict[str, Any]:
    """Hyper-parameters as a state has them; InputError for a text that is no JSON object."""
    try:
        found = json.loads(str(text))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"state.settings: must be a JSON object of hyper-parameters, got {shown(text)}")
    return found


def _plain(value: Any) -> Any:
    """A hyper-parameter as JSON gives it back."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)  # 50 and 50.0 are one setting
    return value if value is None or isinstance(value, (bool, float, str)) else repr(value)


def _beside(active: NDArray[np.bool_], new: Items, old: Items) -> Items:
    """The new batch in active lanes, the old one in the others; -1 fills up the shorter one."""
    width = max(new.shape[1], old.shape[1])
    wide = (np.pad(batch, ((0, 0), (0, width - batch.shape[1])), constant_values=-1) for batch in (new, old))
    return np.where(active[:, None], *wide)


def _merged(active: NDArray[np.bool_], new: Any, old: Any) -> Any:
    """The new state in active lanes, the old one in the others."""
    if new is old:
        return new
    pick = [np.where(active.reshape(-1, *[1] * (np.ndim(n) - 1)), n, o) for n, o in zip(new, old, strict=True)]
    return type(new)(*pick)
