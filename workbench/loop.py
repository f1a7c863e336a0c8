"""train(): the one loop, the same for simulated learners and real ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.controllers.controller import Controller
from workbench.controllers.gate import Gate
from workbench.controllers.rule import MOST_ROLLOUTS, Rule
from workbench.delivery import BATCH, check_delivery, draw, draw_next, observe, summary
from workbench.display import as_html, seeds_told
from workbench.errors import (
    MOST,
    InputError,
    as_numbers,
    check_attempts,
    check_choice,
    check_count,
    check_flag,
    check_kind,
    check_number,
    check_one_number,
    shown,
)
from workbench.extras import named_extra
from workbench.lanes import Floats, Items
from workbench.pool import Pool
from workbench.progress import make_bar

if TYPE_CHECKING:
    import pandas as pd

    from workbench.labels import LaneLabels
    from workbench.learners import Law, SimLearner


class Learner(Protocol):
    """Anything that attempts items, learns from their rewards, can be evaluated, and can be saved.

    Some rules and gates ask for more: `attempt` and `learn` with `counts`, rollouts per group where they differ;
    `extend(items, rollouts, counts)`, further attempts at the items attempted last (two-phase screening);
    `probe(items, rollouts)`, attempts that will not be learned from. `tokens`, where it is there, is recorded.
    """

    def attempt(self, items: Items, rollouts: int = 8) -> NDArray[np.float32]: ...
    def learn(self, items: Items, rewards: NDArray[np.float32], admitted: NDArray[np.bool_]) -> None: ...
    def evaluate(self) -> Floats: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


LONGEST = 8  # times the steps that a run may take to spend its budget

# Series of a record: name -> unit. reward, silent_share and batch_difficulty are means since the record before.
SERIES = {
    "target": "difficulty 0-100",
    "reward": "share",
    "batch_difficulty": "difficulty 0-100",
    "silent_share": "share of groups",
    "coverage": "share of pool",
    "trained": "rollouts trained on so far",
    "probed": "rollouts for probes so far",
    "tokens": "tokens generated so far",
    "forwards": "predictions of helper models so far",
    "short": "updates on fewer groups than asked for so far",
}


class Series:
    """A column of a record's series, declared so that editors and type checkers know it: (E, R)."""

    def __set_name__(self, owner: type[Record], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, record: None, owner: type[Record]) -> Series: ...
    @overload
    def __get__(self, record: Record, owner: type[Record]) -> Floats: ...
    def __get__(self, record: Record | None, owner: type[Record]) -> Series | Floats:
        return self if record is None else record.series[self._name]


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """What happened: E records of R lanes, S difficulty strata.

    steps: (E,) training steps so far; the first is the state before training. rollouts: (E, R) generated so far, those
    of rejected groups and probes included.
    seeds: (R,). success: (E, R, S) held-out success per stratum. series: the names in SERIES -> (E, R), also as
    attributes; NaN where there is nothing to report (a rule without target, no step yet, single rollouts).
    pool: name of the pool. rule, gates, law: what ran; law is the class of the learner where it has no law.
    """

    steps: NDArray[np.int64]
    rollouts: NDArray[np.int64]
    seeds: NDArray[np.uint64]
    success: Floats
    series: dict[str, Floats]
    pool: str
    rule: Rule
    gates: tuple[Gate, ...]
    law: Law | type

    target = Series()
    reward = Series()
    batch_difficulty = Series()
    silent_share = Series()
    coverage = Series()
    trained = Series()
    probed = Series()
    tokens = Series()
    forwards = Series()
    short = Series()

    def __repr__(self) -> str:
        return f"Record({', '.join(f'{name}: {value}' for name, value in self._told().items())})"

    def _repr_html_(self) -> str:
        return as_html("Record", self._told())

    def _told(self) -> dict[str, str]:
        first, last = self.mean_success[0].mean(), self.mean_success[-1].mean()
        names = {name: value for name, value in self.names.items() if name not in ("law", "rule")}
        return names | {
            "runs": seeds_told(self.seeds),
            "records": f"{len(self.steps)}, steps {self.steps[0]} to {self.steps[-1]}",
            "mean success": f"{first:.3f} to {last:.3f}",
        }

    @property
    def names(self) -> dict[str, str]:
        """pool, learner, controller, and law and rule, which are the last two without settings, by registered name.

        Where lanes differ in hyper-parameters, learner and controller are without those that differ.
        """
        learner, controller = self._labels
        of_lanes = {}
        for column, given in (("learner", learner), ("controller", controller)):
            of_lanes[column] = given.labels[0] if len(set(given.labels)) == 1 else given.kind
        return {"pool": self.pool} | of_lanes | {"law": learner.kind, "rule": controller.kind}

    @property
    def _labels(self) -> tuple[LaneLabels, LaneLabels]:
        """Labels of the learner and of the controller."""
        from workbench.labels import lane_labels  # the registry, which a trainer does not need

        lanes, end = len(self.seeds), int(self.steps[-1])
        return lane_labels([self.law], lanes, end), lane_labels([self.rule, *self.gates], lanes, end)

    def area(self) -> Floats:
        """(R,) area under mean held-out success over steps: trapezoids, divided by last minus first step."""
        from workbench.analysis.stats import area  # the one definition, for tables too

        return np.asarray(area(self.steps, self.mean_success, axis=0))

    @property
    def mean_success(self) -> Floats:
        """(E, R) mean over the strata that have items, all weighted equally."""
        filled = np.isfinite(self.success).any(axis=(0, 1))
        return np.asarray(self.success[:, :, filled].mean(axis=2))

    def at_cost(self, unit: str, step_cost: float, steps: NDArray[np.int64]) -> Record:
        """The same runs recorded where each had spent steps (E',) x step_cost "rollouts" or "tokens".

        Linear between records; a run that spent less stays as it ended.
        """
        check_choice("unit", unit, ("rollouts", "tokens"))
        check_one_number("step_cost", step_cost, 0, open_low=True)
        check_number("steps", as_numbers("steps", steps), 0, MOST, whole=True)
        if not np.ndim(steps):
            raise InputError(f"steps: must be (E',), got {shown(steps)}")
        spent, steps = self.rollouts if unit == "rollouts" else self.tokens, np.asarray(steps, np.int64)
        costs = steps * step_cost

        def at(values: NDArray[Any]) -> Floats:
            """(E, R) -> (E', R)."""
            return np.stack([_interpolated(costs, x, y) for x, y in zip(spent.T, values.T, strict=True)], axis=1)

        success = np.stack([at(self.success[:, :, s]) for s in range(self.success.shape[2])], axis=2)
        series = {name: at(values) for name, values in self.series.items()}
        rollouts = np.rint(at(self.rollouts)).astype(np.int64)
        return replace(self, steps=steps, rollouts=rollouts, success=success, series=series)

    def to_frame(self) -> pd.DataFrame:
        """Tidy table, a row per record and lane: names, seed, step, rollouts, success, success_0.., the series.

        Hyper-parameters that differ between lanes have a column each, such as "adarft.eta", and are in the labels
        `learner` and `controller`, so that every lane with its seed is a run of its own.
        """
        with named_extra():
            import pandas as pd

        learner, controller = self._labels
        lanes = {"learner": learner.labels, "controller": controller.labels}
        varying = controller.varying | learner.varying
        keys: dict[str, Any] = {"pool": self.pool}
        keys |= {name: np.tile(np.array(values, object), len(self.steps)) for name, values in lanes.items()}
        keys |= {"law": learner.kind, "rule": controller.kind}
        keys |= {name: np.tile(values, len(self.steps)) for name, values in varying.items()}
        return pd.DataFrame(keys | self.columns())

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of `to_frame` but for the names, each (E R,)."""
        records, lanes = self.success.shape[:2]
        columns = {
            "seed": np.tile(self.seeds, records),
            "step": np.repeat(self.steps, lanes),
            "rollouts": self.rollouts.ravel(),
            "success": self.mean_success.ravel(),
        }
        for stratum in range(self.success.shape[2]):
            columns[f"success_{stratum}"] = self.success[:, :, stratum].ravel()
        return columns | {name: self.series[name].ravel() for name in SERIES}


def record_steps(steps: int, eval_every: int) -> NDArray[np.int64]:
    """The steps that a run of `steps` updates records: 0, every `eval_every`, and the last."""
    return np.unique([*range(0, steps + 1, eval_every), steps])


def _interpolated(x: NDArray[Any], known_x: NDArray[Any], known_y: NDArray[Any]) -> Floats:
    """Linear interpolation through the known points that are numbers; NaN before the first of them."""
    there = ~np.isnan(known_y)
    if not there.any():
        return np.full(len(x), np.nan)
    return np.asarray(np.interp(x, known_x[there], known_y[there], left=np.nan))


def train(
    controller: Controller,
    learner: Learner,
    steps: int,
    batch: int = 256,
    rollouts: int = 8,
    eval_every: int = 5,
    resume: bool = False,
    after_step: Callable[[int, Floats | None], object] | None = None,
    until: Callable[[], bool] = lambda: False,
    progress: bool = False,
    lag: int = 0,
    delivery: str = BATCH,
) -> Record:
    """Train `learner` on the batches `controller` picks, and record what happens.

    steps: updates, >= 1. batch: items per step. rollouts: attempts per item. eval_every: steps between records, >= 1.
    Where gates reject groups, further batches are drawn until `batch` groups are admitted or the gates' max_batches
    are drawn; the step then trains on the first `batch` admitted ones, or on fewer, which is counted and warned of once
    (ShortBatch). With lanes, those that are full rest meanwhile.
    Controller and learner keep their state: calling again makes `steps` more updates.
    resume: whether `steps` counts from the beginning of the run instead: the controller's `updates` are done, the
    rest up to `steps` follows, and the state at the start is recorded only for a run that has not begun.
    after_step: called with the step and, where one was recorded, the success just evaluated, otherwise None; also with
    step 0. until: checked after each update; training stops when it returns True. progress: whether to show a bar.
    lag: N >= 0, batches that are drawn ahead, as in `hosts.Queue(ahead=N)`: the batch of update t is picked, and its
    rollouts are shared out, with the feedback of the updates up to t - 1 - N. Only the controller's view is late: the
    learner attempts batch t, gates judge it and the learner trains on it at update t, with the skill of that update.
    A refill is drawn with the feedback of the groups that it replaces. A probe is answered at once, before the batch
    for which it was asked is drawn. Gates that count updates count draws, the N ahead included. What waits is part of
    the controller's state; `step` and coverage count it.
    delivery: "batch": the controller observes the groups of a batch in one call; "group": one call per group, in an
    order drawn at random, as where a host answers each prompt by itself. Nothing is picked between these calls.
    Raises InputError for a setting out of its domain, for a run to resume that has no steps left, and for a learner
    with another number of lanes, another pool or other seeds than the controller.
    """
    if not all(hasattr(controller, name) for name in ("next_batch", "observe", "lanes")):  # or one that wraps it
        check_kind("controller", controller, Controller, "a Controller such as Controller(AdaRFT(), pool)")
    if not all(hasattr(learner, method) for method in ("attempt", "learn", "evaluate")):
        raise InputError(f"learner: must have attempt(), learn() and evaluate(), as a SimLearner, got {shown(learner)}")
    for name, count in (("steps", steps), ("batch", batch), ("rollouts", rollouts), ("eval_every", eval_every)):
        check_count(name, count)
    check_attempts(batch, rollouts)
    check_flag("resume", resume)
    check_flag("progress", progress)
    check_delivery(lag, delivery)
    done = controller.updates if resume else 0
    if done >= steps:
        raise InputError(f"steps: must be > {done}, the updates that the run to resume has behind it, got {steps}")
    check_pair(controller, learner)
    for gate in controller.gates:
        gate.check_rollouts(rollouts)
    controller.ahead.check(batch, rollouts)
    log = _Log(controller.lanes)
    before = 0 if resume else controller.updates  # a plain second call counts on
    tell = after_step or (lambda step, success: None)
    if done == 0:
        tell(0, log.record(before, controller, learner))
    with make_bar(total=steps, initial=done, unit="step") if progress else nullcontext() as bar:
        for step in range(done + 1, steps + 1):
            learner.learn(*_gather(controller, learner, batch, rollouts, log, lag, delivery))
            last = step == steps or until()
            due = step % eval_every == 0 or last
            success = log.record(before + step, controller, learner) if due else None
            tell(step, success)
            if bar is not None:
                if success is not None:
                    bar.set_postfix_str(f"success {np.nanmean(success):.3f}", refresh=False)
                bar.update()
            if last:
                break
    law: Any = getattr(learner, "law", type(learner))
    return log.finish(controller, law)


def check_pair(controller: Controller, learner: Any) -> None:
    """InputError unless a learner has the lanes, the pool and the seeds of the controller, as far as it has any."""
    lanes = getattr(learner, "lanes", controller.lanes)
    if lanes != controller.lanes:
        raise InputError(f"learner: must have {controller.lanes} lanes like the controller, got {lanes}")
    pool, seeds = getattr(learner, "pool", None), getattr(learner, "seeds", None)
    if isinstance(pool, Pool) and pool is not controller.pool and pool.digest != controller.pool.digest:
        wanted, got = (f"'{one.name}' ({len(one)} items, {one.digest})" for one in (controller.pool, pool))
        raise InputError(f"learner: must have the controller's pool {wanted}, got {got}")
    if isinstance(seeds, np.ndarray) and not np.array_equal(seeds, controller.seeds):
        raise InputError(f"learner: must have the controller's seeds {shown(controller.seeds.tolist())}, got "
                         f"{shown(seeds.tolist())}")  # fmt: skip


class Shape(Protocol):
    """How long a run is, what it spends and when its rule hears of rewards, as in `study.program.Program`."""

    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def rollouts(self) -> int: ...
    @property
    def eval_every(self) -> int: ...
    @property
    def budget(self) -> str: ...
    @property
    def lag(self) -> int: ...
    @property
    def delivery(self) -> str: ...


def train_within(
    run: Shape, controller: Controller, learner: SimLearner, after_step: Callable[[int, Any], object] | None = None
) -> Record:
    """All lanes until each has spent the budget; recorded at the same shares of it. after_step: as in `train`."""
    shape = run.batch, run.rollouts, run.eval_every
    how: dict[str, Any] = {"after_step": after_step, "lag": run.lag, "delivery": run.delivery}
    if run.budget == "steps":
        return train(controller, learner, run.steps, *shape, **how)
    step_cost = run.batch * run.rollouts * (learner.mean_length if run.budget == "tokens" else 1.0)

    def done() -> bool:  # asked only where all records are due, so that no lane shows in another's
        spent = controller.rollouts if run.budget == "rollouts" else learner.tokens
        return controller.updates % run.eval_every == 0 and bool((spent >= run.steps * step_cost).all())

    record = train(controller, learner, LONGEST * run.steps, *shape, until=done, **how)
    return record.at_cost(run.budget, step_cost, record_steps(run.steps, run.eval_every))


def _gather(
    controller: Controller, learner: Any, batch: int, rollouts: int, log: _Log, lag: int, delivery: str
) -> tuple[Any, ...]:
    """Items, rewards and admission of one update, and rollouts per group where they differ: what `learn` takes."""

    missing, needy = np.full(controller.lanes, batch), None  # groups that each lane still needs; None: all need some
    plain = not lag and delivery == BATCH and not len(controller.ahead)
    drawn: list[tuple[Any, ...]] = []
    for _ in range(controller.max_batches):
        if needy is not None:
            items, shared = draw(controller, batch, rollouts, refill=needy)
        elif plain:
            _probe(controller, learner)
            items, shared = draw(controller, batch, rollouts)
        else:
            items, shared = draw_next(controller, batch, rollouts, lag, partial(_probe, controller, learner))
        rewards, counts = _attempt(controller, learner, items, shared, rollouts, needy)
        if plain:
            admitted = controller.observe(items, rewards, counts)
            log.watch(np.array(controller.batch_summary()))
        else:
            admitted = observe(controller, items, rewards, counts, delivery)
            log.watch(summary(controller, items, rewards, counts))
        drawn.append((items, rewards, admitted, counts))
        if not controller.gates:
            break
        missing = missing - admitted.sum(axis=-1)
        needy = missing > 0
        if not needy.any():
            break
    else:
        controller.note_short(missing > 0)
    of_items = drawn[0][0].ndim - 1  # 0, or 1 where there is a lane axis before it
    if len(drawn) == 1:
        items, rewards, admitted, counts = drawn[0]
    else:
        items, rewards, admitted = (np.concatenate([part[k] for part in drawn], axis=of_items) for k in range(3))
        counts = None
        if any(part[3] is not None for part in drawn):
            full = np.full(drawn[0][0].shape, rollouts)
            counts = np.concatenate([full if part[3] is None else part[3] for part in drawn], axis=of_items)
        admitted = admitted & (np.cumsum(admitted, axis=of_items) <= batch)
    if controller.gates or counts is not None:
        controller.trained += np.sum(admitted * (rollouts if counts is None else counts), axis=of_items)
    else:
        controller.trained += batch * rollouts
    return (items, rewards, admitted) if counts is None else (items, rewards, admitted, counts)


def _probe(controller: Controller, learner: Any) -> None:
    """Answer the probe that the rule asks for, if any."""
    probe = controller.next_probe()
    if probe is not None:
        controller.observe_probe(probe, _able(learner, "probe")(probe.items, probe.rollouts))


def _attempt(
    controller: Controller,
    learner: Any,
    items: Items,
    shared: NDArray[np.int64] | None,
    rollouts: int,
    needy: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Rewards of a batch, and rollouts per group where they differ; lanes that rest have none.

    shared: rollouts of each item if the rule shares them out.
    """
    of_lane: Any = 1 if needy is None else needy if items.ndim == 1 else needy[:, None]
    everyone = needy is None or needy.all()
    counts, width = shared, rollouts
    if counts is not None:
        width = MOST_ROLLOUTS * rollouts
    elif not everyone:
        counts = np.full(items.shape, rollouts)
    first = controller.screening
    if not first:
        if counts is None:
            return learner.attempt(items, rollouts), None
        counts = counts * of_lane
        return learner.attempt(items, width, counts), counts
    if counts is not None and width > rollouts:
        raise InputError("gates: must not screen where a rule allocates rollouts, got both")
    begun = np.broadcast_to(first * of_lane, items.shape)
    rewards = learner.attempt(items, first) if everyone else learner.attempt(items, first, begun)
    kept = controller.screen(items, rewards)
    rest = np.where(kept, rollouts - first, 0)
    more = _able(learner, "extend")(items, rollouts - first, rest)
    return np.concatenate([rewards, more], axis=-1), begun + rest


def _able(learner: Any, method: str) -> Callable[..., NDArray[np.float32]]:
    """A method that only some learners have; InputError if this one does not."""
    if not hasattr(learner, method):
        raise InputError(f"learner: must have {method}() for this rule or gate, got {type(learner).__name__} without")
    found: Callable[..., NDArray[np.float32]] = getattr(learner, method)
    return found


class _Log:
    """Means between records, and the records."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._clear()
        self._rows: list[tuple[int, NDArray[np.int64], Floats, Floats]] = []

    def _clear(self) -> None:
        self._sums = np.zeros((3, self._lanes))  # of what `batch_summary` gives
        self._counts = np.zeros((3, self._lanes))

    def watch(self, summary: Floats) -> None:
        """summary: (3, R)."""
        kernels.add_known(self._sums, self._counts, summary)

    def record(self, step: int, controller: Controller, learner: Learner) -> Floats:
        with np.errstate(invalid="ignore"):  # before the first step there is nothing to average: 0 / 0
            reward, silent, difficulty = self._sums / self._counts
        tokens = np.broadcast_to(np.asarray(getattr(learner, "tokens", np.nan), np.float64), self._lanes)
        values = {
            "target": controller.target(),
            "reward": reward,
            "batch_difficulty": difficulty,
            "silent_share": silent,
            "coverage": controller.coverage(),
            "trained": controller.trained,
            "probed": controller.probed,
            "tokens": tokens,
            "forwards": controller.forwards(),
            "short": controller.short_updates,
        }
        series = np.stack([np.asarray(values[name], np.float64) for name in SERIES])
        success = np.asarray(learner.evaluate(), dtype=np.float64).reshape(self._lanes, -1)
        self._rows.append((step, controller.rollouts.copy(), success, series))
        self._clear()
        return success

    def finish(self, controller: Controller, law: Law | type) -> Record:
        steps, rollouts, success, series = zip(*self._rows, strict=True)
        table = np.stack(series, axis=1)  # (series, E, R)
        curves = dict(zip(SERIES, table, strict=True))
        parts = controller.pool.name, controller.rule, controller.gates, law
        return Record(np.array(steps), np.stack(rollouts), controller.seeds.copy(), np.stack(success), curves, *parts)
