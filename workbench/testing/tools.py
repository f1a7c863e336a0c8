"""Parts of the laws: a pool, generated rewards, runs of a controller, comparison bit for bit, a time limit."""

from __future__ import annotations

import contextlib
import io
import json
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial, wraps
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.controllers.controller import Controller
from workbench.controllers.gate import Gate
from workbench.controllers.rule import MOST_ROLLOUTS, Draw, Feedback, Floats, Items
from workbench.controllers.rules.uniform import Uniform
from workbench.errors import InputError, as_numbers, check_count, check_flag, check_kind, check_number, shown
from workbench.lanes import lane_fields
from workbench.pool import Pool
from workbench.streams import Role, generator, seed_array, uniforms

SEEDS = np.array([3, 0, 11], np.uint64)  # of the lanes that laws run
TWINS = np.array([3, 3, 11], np.uint64)  # where two of them share a random stream, as the settings of a sweep do
BATCH, ROLLOUTS, STEPS = 8, 4, 12
PATIENCE = 120.0  # seconds of computing after which a law stops and fails

# ----------------------------------------------------------------------------- arguments of a rule's methods


def draw(pool: Pool, step: int = 0, seed: ArrayLike = 0, turn: int = 0) -> Draw:
    """The `draw` argument of `select`, as a Controller makes it; one lane per seed."""
    _check_pool(pool)
    for name, value in (("step", step), ("turn", turn)):
        check_count(name, value, 0)
    return Draw(pool, seed_array(seed), step, turn)


def feedback(
    pool: Pool,
    items: ArrayLike,
    rewards: ArrayLike,
    step: int = 1,
    seed: ArrayLike = 0,
    counts: Any = None,
    probe: bool = False,
) -> Feedback:
    """The `feedback` argument of `update`, as a Controller makes it.

    items (B,) or (R, B); rewards (B, G) or (R, B, G); counts like items.
    """
    _check_pool(pool)
    check_count("step", step, 0)
    check_flag("probe", probe)
    seeds, positions = seed_array(seed), np.atleast_2d(_whole("items", items, len(pool) - 1))
    given = as_numbers("rewards", rewards)
    if given.size == 0 or given.size % positions.size or not np.isfinite(given).all():
        raise InputError(f"rewards: must be finite, as many for each item of {positions.shape}, got {shown(rewards)}")
    groups = given.astype(np.float32).reshape(*positions.shape, -1)
    sizes = np.empty((0, 0), np.int64) if counts is None else _whole("counts", counts, groups.shape[-1])
    if counts is not None and sizes.size != positions.size:
        raise InputError(f"counts: must be one for each item of {positions.shape}, got shape {sizes.shape}")
    sizes = sizes if counts is None else sizes.reshape(positions.shape)
    spent = sizes.sum(axis=1) if sizes.size else groups[0].size
    mean = groups.sum(axis=(1, 2), dtype=np.float64) / spent
    return Feedback(positions, groups, mean, pool, seeds, step, sizes, probe)


def _check_pool(pool: Pool) -> None:
    check_kind("pool", pool, Pool, "a Pool such as small_pool()")


def _whole(field: str, value: ArrayLike, high: int) -> NDArray[np.int64]:
    """`value` as whole numbers in [0, high], or InputError."""
    x = as_numbers(field, value)
    check_number(field, x.ravel(), 0, high, whole=True)
    return x.astype(np.int64)


# ------------------------------------------------------------------------------------------------------------ pools


def small_pool(size: int = 48) -> Pool:
    """A pool with every column that a rule may need; its difficulties have nine values, so every choice has ties."""
    check_count("size", size)
    rng = generator(0, Role.POOL)
    eighths = rng.permutation(size) % 9  # failures in eight
    skill = 1 - 0.25 * eighths
    weak, strong = (rng.binomial(16, 1 / (1 + np.exp(-(skill + more)))) / 16 for more in (-1.0, 1.0))
    return Pool(
        np.asarray(12.5 * eighths),
        category=np.array(["algebra", "geometry", "logic"])[rng.permutation(size) % 3],
        level=eighths // 2,
        successes=16 - 2 * eighths,
        attempts=np.full(size, 16),
        features=skill[:, None] + rng.standard_normal((size, 4)),
        weak_rate=weak,
        strong_rate=strong,
        name="small",
    )


def without_ties(pool: Pool) -> Pool:
    """The pool with numbers that all differ, in the order they have: no choice hangs on positions."""

    def share(values: NDArray[Any]) -> Floats:
        """Ranks from easy to hard, as shares in (0, 1)."""
        rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
        return np.asarray((rank + 0.5) / len(pool))

    changed: dict[str, Any] = {"difficulty": 100 * share(pool.difficulty)}
    if pool.level is not None:
        changed["level"] = np.argsort(np.argsort(pool.level, kind="stable"), kind="stable")
    changed |= {name: share(rate) for name in ("weak_rate", "strong_rate") if (rate := getattr(pool, name)) is not None}
    if pool.successes is not None:
        changed["attempts"] = np.full(len(pool), 100 * len(pool))
        changed["successes"] = np.rint((100 - changed["difficulty"]) * len(pool)).astype(np.int64)
    return replace(pool, **changed)


# ---------------------------------------------------------------------------------------------------------- rewards

Answer: TypeAlias = Callable[[NDArray[np.uint64], int, Items, int], NDArray[np.float32]]
"""Rewards (R, B, G) from the seeds (R,), the step, the items (R, B) and the rollouts G of each."""


def by_chance(chance: Floats) -> Answer:
    """Item i succeeds with probability chance[i]; the random stream is keyed by (seed, step, item)."""

    def answer(seeds: NDArray[np.uint64], step: int, items: Items, rollouts: int) -> NDArray[np.float32]:
        uniform = uniforms(seeds, Role.ROLLOUT, step, len(chance) * rollouts).reshape(len(seeds), len(chance), rollouts)
        return (np.take_along_axis(uniform, items[:, :, None], axis=1) < chance[items][:, :, None]).astype(np.float32)

    return answer


def mixed(pool: Pool) -> Answer:
    """Easy items succeed more often."""
    return by_chance(1 - pool.difficulty / 100)


def always(reward: float) -> Answer:
    return lambda seeds, step, items, rollouts: np.full((*items.shape, rollouts), reward, np.float32)


def in_quarters(pool: Pool) -> Answer:
    """Partial credit: 0, 1/4, 1/2, 3/4 or 1."""
    credit = [by_chance(np.full(len(pool), share)) for share in (0.8, 0.6, 0.4, 0.2)]  # one stream, so nested
    return lambda *asked: np.mean([answer(*asked) for answer in credit], axis=0, dtype=np.float32)


def same_numbers(answer: Answer) -> Answer:
    """The same rewards in every lane for the same item."""
    return lambda seeds, step, items, rollouts: answer(np.zeros_like(seeds), step, items, rollouts)


def cut(rewards: NDArray[np.float32], counts: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """Rewards with 0 after the first counts (R, B) of each group."""
    if counts is None:
        return rewards
    return np.where(np.arange(rewards.shape[2]) < counts[:, :, None], rewards, np.float32(0))


def histories(pool: Pool) -> dict[str, Answer]:
    return {
        "all right": always(1.0),
        "all wrong": always(0.0),
        "partial credit": in_quarters(pool),
        "mixed": mixed(pool),
    }


# ------------------------------------------------------------------------------------------------------- comparison


def ensure(condition: Any, message: str) -> None:
    """AssertionError with the message unless the condition holds; unlike `assert`, also under `python -O`."""
    if not condition:
        raise AssertionError(message)


def arrays(value: Any, name: str = "") -> dict[str, NDArray[Any]]:
    """The arrays and numbers in a nest of tuples and mappings, by where they stand."""
    if value is None or isinstance(value, (Draw, Pool)):
        return {}
    if isinstance(value, Feedback):
        value = {part: getattr(value, part) for part in ("items", "rewards", "mean_reward", "counts")}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, (tuple, list)):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        parts = [arrays(part, f"{name}.{key}" if name else str(key)) for key, part in value.items()]
        return {key: array for part in parts for key, array in part.items()}
    return {name: np.asarray(value)}


def copied(value: Any) -> dict[str, NDArray[Any]]:
    return {name: np.array(array) for name, array in arrays(value).items()}


def ensure_same(one: Any, other: Any, message: str) -> None:
    """AssertionError unless two nests hold the same numbers bit for bit (NaN is itself): message, and where."""
    mine, others = arrays(one), arrays(other)
    odd = sorted(mine.keys() ^ others.keys())
    ensure(not odd, f"{message}: only one has {', '.join(odd)}")
    for name, array in mine.items():
        theirs = others[name]
        alike = array.dtype == theirs.dtype and array.shape == theirs.shape
        if not (alike and np.array_equal(array, theirs, equal_nan=array.dtype.kind == "f")):
            raise AssertionError(f"{message}: {name} is {_short(array)} and {_short(theirs)}")


def _short(array: NDArray[Any]) -> str:
    text = " ".join(np.array2string(array, threshold=20, edgeitems=4, max_line_width=1000).split())
    return f"{text} ({array.dtype}, shape {array.shape})"


def ensure_batch(items: Any, lanes: int, count: int, size: int, who: str = "select") -> None:
    """AssertionError unless items are `count` distinct positions in [0, size) for each lane, as int64 (R, count)."""
    ensure(isinstance(items, np.ndarray), f"{who} gave a {type(items).__name__}, not an array")
    ensure(items.dtype == np.int64, f"{who} gave {items.dtype}, not int64")
    ensure(items.shape == (lanes, count), f"{who} gave shape {items.shape}, not {(lanes, count)}")
    ensure(((items >= 0) & (items < size)).all(), f"{who} gave positions outside [0, {size}): {_short(items)}")
    distinct = (np.diff(np.sort(items, axis=1), axis=1) > 0).all()
    ensure(distinct, f"{who} gave an item twice, asked for {count} of {size}: {_short(items)}")


def refusal(call: Callable[[], Any]) -> str | None:
    """The one line with which a call is refused, None if it is not; AssertionError if the refusal has more lines."""
    try:
        call()
    except InputError as error:
        ensure("\n" not in str(error), f"a refusal must be one line, got {str(error)!r}")
        return str(error)
    return None


class Twice:
    """A rule or gate whose methods are each called twice: they must change no argument and return the same."""

    METHODS = ("probe", "select", "replaced", "allocate", "update", "metrics", "shares", "weights", "scores", "admit",
               "refill", "screen")  # fmt: skip

    def __init__(self, subject: Any) -> None:
        self.subject = subject

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.subject, name)
        if name not in self.METHODS:
            return method

        @wraps(method)
        def call(*given: Any) -> Any:
            kept = copied(given)
            answer = method(*given)
            first = copied(answer)
            ensure_same(kept, given, f"{name} changes its arguments")
            ensure_same(first, method(*given), f"{name}, called again, returns another value")
            ensure_same(first, answer, f"{name}, called again, changes its earlier value")
            return answer

        return call


# ----------------------------------------------------------------------------------------------------- runs and files


def through_files(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict as it comes back from an .npz of its arrays and a .json of the rest."""
    is_array = {name: isinstance(value, np.ndarray) for name, value in state.items()}
    plain: dict[str, Any] = json.loads(json.dumps({name: value for name, value in state.items() if not is_array[name]}))
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{name: value for name, value in state.items() if is_array[name]})
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        return plain | {name: archive[name] for name in archive.files}


def run(
    controller: Controller,
    answer: Answer,
    steps: int = STEPS,
    between: Callable[[Controller], Controller] = lambda controller: controller,
) -> list[dict[str, Any]]:
    """A controller's run of `steps` batches, with lanes: items, rollouts of each, and metrics of every batch.

    between: called before every batch and before its rewards; returns the controller that continues.
    """
    seen = []
    for _ in range(steps):
        controller = between(controller)
        probe = controller.next_probe()
        if probe is not None:
            controller.observe_probe(probe, answer(controller.seeds, controller.step, *probe))
        items = np.array(controller.next_batch(BATCH))
        controller = between(controller)
        counts = controller.allocate(ROLLOUTS)
        width = ROLLOUTS if counts is None else MOST_ROLLOUTS * ROLLOUTS
        rewards = cut(answer(controller.seeds, controller.step, items, width), counts)
        controller.observe(items, rewards, counts)
        given = np.full(items.shape, ROLLOUTS) if counts is None else counts
        seen.append({"items": items, "rollouts of each": given, **controller.metrics()})
    return seen


def lane(seen: Sequence[Mapping[str, Any]], r: int) -> list[dict[str, Any]]:
    """One lane of the result of `run`, with its lane axis."""
    return [{name: value[r : r + 1] if np.ndim(value) else value for name, value in step.items()} for step in seen]


def global_random_state() -> Any:
    return np.random.get_state(legacy=False)["state"], random.getstate()[1]  # noqa: NPY002


# ------------------------------------------------------------------------------------------------------------ states

BYTES_PER_ITEM = 64  # of the pool, that the state of a lane may take


def bytes_per_item(subject: Any, pool: Pool) -> float:
    """Bytes that the state of a lane grows by with each item of the pool, where there are many."""
    sizes = [len(pool) * times for times in (-(-8192 // len(pool)), -(-16384 // len(pool)))]
    states = [subject.init(pool.take(np.arange(size) % len(pool)), len(SEEDS)) for size in sizes]
    small, large = (sum(leaf.nbytes for leaf in arrays(state).values()) for state in states)
    return (large - small) / len(SEEDS) / (sizes[1] - sizes[0])


def ensure_arrays(state: Any, lanes: int) -> None:
    ensure(isinstance(state, tuple) and hasattr(state, "_asdict"), f"the state must be a NamedTuple, got {type(state)}")
    for name, leaf in state._asdict().items():
        ensure(isinstance(leaf, np.ndarray), f"{name} of the state must be an array, got a {type(leaf).__name__}")
        ensure(leaf.dtype.kind in "biuf", f"{name} of the state must be numbers or booleans, got {leaf.dtype}")
        ensure(leaf.shape[:1] == (lanes,), f"{name} of the state must be ({lanes}, ..), got shape {leaf.shape}")


def shapes(state: Any) -> dict[str, tuple[Any, ...]]:
    return {name: (leaf.shape, leaf.dtype) for name, leaf in arrays(state).items()}


# -------------------------------------------------------------------------------------------------- hyper-parameters


def per_lane_fields(subject: Any) -> list[str]:
    """Hyper-parameters that may be an array over lanes, and are a number here."""
    return [name for name in lane_fields(type(subject)) if _is_number(getattr(subject, name))]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


NUDGES: tuple[tuple[Callable[[float], float], ...], ...] = (
    (lambda x: x, lambda x: x),
    (lambda x: 0.5 * x + 0.05, lambda x: 0.8 * x),
    (lambda x: 1.5 * x + 0.1, lambda x: 0.75 * x + 0.02),
)


def neighbours(subject: Any, pool: Pool) -> list[Any]:
    """A rule or gate, and two more with other hyper-parameters where a value nearby is allowed as well."""
    found = []
    for nudges in NUDGES:
        other = subject
        for name in per_lane_fields(subject):
            for nudge in nudges:
                with contextlib.suppress(InputError):
                    changed = replace(other, **{name: nudge(float(getattr(subject, name)))})
                    _bound(changed, pool, lanes=1).next_batch(BATCH)
                    other = changed
                    break
        found.append(other)
    return found


def side_by_side(subjects: Sequence[Any]) -> Any:
    """One rule or gate with the hyper-parameters of several, one per lane."""
    first = subjects[0]
    names = per_lane_fields(first)
    return replace(first, **{name: np.array([float(getattr(s, name)) for s in subjects]) for name in names})


def ensure_refuses_bad_settings(subject: Any, pool: Pool, lanes: int = 3) -> None:
    """AssertionError unless NaN, unknown names and arrays of another length than the lanes are refused."""
    bad: list[tuple[str, Any]] = []
    for field in fields(subject):
        value = getattr(subject, field.name)
        if _is_number(value):
            bad.append((field.name, np.nan))
        if isinstance(value, str):
            bad.append((field.name, "no such name"))
    bad += [(name, np.full(lanes - 1, getattr(subject, name))) for name in per_lane_fields(subject)]
    for name, value in bad:
        line = refusal(partial(_bound_with, name, value, subject, pool, lanes))
        ensure(line is not None, f"{name}={value!r} must be refused when it is made or bound to {lanes} lanes")
        ensure(name in (line or ""), f"the refusal of {name}={value!r} must name the field, got '{line}'")


def _bound_with(name: str, value: Any, subject: Any, pool: Pool, lanes: int) -> Controller:
    return _bound(replace(subject, **{name: value}), pool, lanes)


def _bound(subject: Any, pool: Pool, lanes: int) -> Controller:
    """A controller with a rule, or with uniform sampling behind a gate."""
    is_gate = isinstance(subject, Gate)
    return Controller(Uniform() if is_gate else subject, pool, [subject] if is_gate else [], lanes=lanes)


def ensure_one_source(subject: Any, others: Sequence[Any]) -> None:
    """AssertionError unless the docstring has one `Source:` line, and no other class the same."""
    mine = _sources(type(subject))
    ensure(len(mine) == 1, f"the docstring of {type(subject).__name__} must have one 'Source:' line, has {len(mine)}")
    for kind in {type(other) for other in others} - {type(subject)}:
        ensure(mine != _sources(kind), f"{kind.__name__} has the same source: '{mine[0]}'")


def _sources(kind: type) -> list[str]:
    """What follows each `Source:` in the docstring of a class, up to its `Differs:` or an empty line."""
    _, *rest = (kind.__doc__ or "").split("Source:")
    return [" ".join(text.split("Differs:")[0].split("\n\n")[0].split()) for text in rest]


# ------------------------------------------------------------------------------------------------------------- laws

Check: TypeAlias = Callable[..., None]
"""law(subject, pool=small_pool()): AssertionError unless the rule, the gate or what makes a learner keeps it."""


def law_of(laws: dict[str, Check]) -> Callable[[Check], Check]:
    """Adds a function to the laws under its name. Its failure names the law and quotes its docstring."""

    def register(check: Check) -> Check:
        @wraps(check)
        def law(subject: Any, pool: Pool | None = None) -> None:
            pool = small_pool() if pool is None else pool
            if len(pool) < 2 * BATCH:
                raise InputError(f"pool: must have >= {2 * BATCH} items, got {len(pool)}")
            try:
                with _limit(PATIENCE), warnings.catch_warnings():
                    warnings.simplefilter("error", RuntimeWarning)  # 0 / 0 is the start of a NaN
                    check(subject, pool)
            except (Exception, Endless) as error:
                who = getattr(subject, "__name__", type(subject).__name__)
                raise AssertionError(f"{who} breaks {check.__name__} ({check.__doc__}) {_said(error)}") from error

        laws[check.__name__] = law
        return law

    return register


def check_all(laws: dict[str, Check], subject: Any, pool: Pool | None) -> None:
    """AssertionError with a line for each law that is broken."""
    broken: list[AssertionError] = []
    for law in laws.values():
        try:
            law(subject, pool)
        except AssertionError as error:
            broken.append(error)
            if isinstance(error.__cause__, Endless):
                break  # the next law would wait as long
    if broken:
        raise AssertionError("\n".join(map(str, broken))) from broken[0]


@contextlib.contextmanager
def during(what: str) -> Iterator[None]:
    """Names, in every exception inside, the situation in which it was raised."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{what}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"


class Endless(BaseException):
    """A law has taken more than PATIENCE."""


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Endless after so many seconds of computing, which other processes do not use up.

    No limit outside the main thread, where Python takes no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise Endless(f"no end after {seconds:g} seconds")

    handler = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, handler)
