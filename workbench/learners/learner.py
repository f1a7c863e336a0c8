"""The simulated learner: a law bound to a pool, with its state and its random streams."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench import kernels
from workbench.display import as_html, brief, seeds_told
from workbench.errors import MOST, InputError, as_array, as_numbers, check_count, check_kind, check_number
from workbench.lanes import (
    Floats,
    check_counts,
    check_items,
    check_rewards,
    check_state,
    distinct_rows,
    lane_seeds,
    per_lane,
    raise_bad_position,
    shape_items,
)
from workbench.learners.law import UNSOLVABLE, Gradient, Groups, ItemBank, Law
from workbench.pool import GRID, Pool
from workbench.pool.columns import numbers
from workbench.streams import Role, clock, generator, uniforms

STRATA = 10  # difficulty deciles that `evaluate` reports
HELDOUT_PER_STRATUM = 32
COUNTS = ("updates", "attempts", "probes")


def difficulty_to_logit(difficulty: ArrayLike, attempts: ArrayLike = GRID) -> Floats:
    """Difficulty in [0, 100] from m attempts -> b in logits: ln((m - k + 1/2) / (k + 1/2)), k = m (1 - d/100).

    Haldane-Anscombe: finite for items never or always solved. b = 0 where the labelling model succeeds half the time.
    """
    m, d = as_numbers("attempts", attempts), as_numbers("difficulty", difficulty)
    check_number("attempts", m.ravel(), 1)
    check_number("difficulty", d.ravel(), 0, 100)
    if m.ndim and m.shape != d.shape:
        raise InputError(f"attempts: must be one number, or one per difficulty, {d.shape}, got shape {m.shape}")
    k = m * (1.0 - d / 100.0)
    return np.asarray(np.log((m - k + 0.5) / (k + 0.5)))


def narrowness(difficulty: Floats, there: NDArray[np.bool_], spread: Floats) -> Floats:
    """(R,) how narrow batches are: max(0, 1 - sd of the difficulties (R, B) where `there` / spread (R,) of the pool).

    0 for a pool of one difficulty.
    """
    n = np.maximum(there.sum(axis=1), 1)
    centre = np.where(there, difficulty, 0.0).sum(axis=1) / n
    apart = np.where(there, difficulty - centre[:, None], 0.0)
    within = np.sqrt((apart**2).sum(axis=1) / n)
    return np.asarray(np.maximum(0.0, 1 - np.divide(within, spread, out=np.ones(len(n)), where=spread > 0)))


class SimLearner:
    """Attempts items, learns from rewards: arithmetic in place of a language model.

    law: the equations of success and learning. pool: the items. seed, lanes: as in Controller.
    b: true difficulties in logits, (I,), or (R, I) with a row per lane; by default `difficulty_to_logit` of the labels
    plus the law's label noise.
    length: (I,) tokens of one attempt at each item; by default from the law's tokens_easy and tokens_hard.
    core: how many of the pool's items, its first, are ever drawn, by default all. The others are only looked at.
    |a b| and |a theta| above 80 count as 80 (|b| > 10 logits at the largest a).
    A controller never sees b, theta or p. Random streams are keyed by (seed, role, update, attempt of this update,
    slot). They do not depend on which items a controller chose, so runs of different controllers with one seed are
    paired.
    """

    def __init__(
        self,
        law: Law,
        pool: Pool,
        seed: ArrayLike = 0,
        lanes: int | None = None,
        b: ArrayLike | None = None,
        length: ArrayLike | None = None,
        core: int | None = None,
    ) -> None:
        check_kind("law", law, Law, "a learning law such as ScalarIRT()")
        check_kind("pool", pool, Pool, "a Pool such as Pool(difficulty)")
        self.law, self.pool = law, pool
        self.seeds, self._single = lane_seeds(seed, lanes)
        count = len(self.seeds)
        core = len(pool) if core is None else check_count("core", core, 1, len(pool))
        self._bank = _item_bank(law, pool, self.seeds, b, core)
        self._curve = [per_lane(n, v, count) for n, v in zip(("a", "floor", "ceiling"), law.curve(), strict=True)]
        self._observed = _verified(law, self._curve, count)  # the same as training sees it
        self._gamma = per_lane("gamma", law.gamma, count)
        for name in ("kappa", "forgetting"):
            per_lane(name, getattr(law, name), count)
        decay = per_lane("repeat_decay", law.repeat_decay, count)
        self._repeat_decay = decay if decay.any() else None
        self.visits = np.zeros((count, len(pool) if decay.any() else 0), np.int32)  # groups learned from, per item
        self._warm_up, self._adam = per_lane("warm_up", law.warm_up, count), per_lane("adam", law.adam, count)
        self._redundancy = per_lane("redundancy", law.redundancy, count)
        self._scaled = bool(self._warm_up.any() or self._adam.any() or self._redundancy.any())
        self._spread: Floats | None = None  # (R,) sd of b in the pool
        self.signal_squares = np.zeros(count)  # sum of squares of the mean signals learned from
        self._noise = per_lane("noise", getattr(law, "noise", 0.0), count)
        self._all_admitted: object = None
        self._chance = np.empty((count, 0), np.float32)
        self._noisy, self._zeros, self._ones = bool(self._noise.any()), np.zeros(count), np.ones(count)
        self._cache: dict[str, Any] = {}
        self._tables: dict[tuple[int, bool], tuple[NDArray[np.float32], bool, Floats]] = {}
        self._strata = _strata(law, pool)
        self.state: Any = law.start(per_lane("theta0", law.theta0, count).copy(), self._bank)
        self._attempted: tuple[object, Any, NDArray[np.int64], NDArray[np.float32]] | None = None
        self._length = lengths(law, pool, length)
        if self._fused:
            self._delta, self._row = _multiplicative_difficulty(self._bank, self._curve[0])
            bits = np.ascontiguousarray(self._delta[:, : len(pool)]).view(np.uint32)
            self._packed = bits | self._length.astype(np.uint64) << np.uint64(32)  # as `kernels.attempt` wants it
        self.tokens = np.zeros(count, np.int64)  # spent per lane
        self.updates = 0
        self.attempts = self.probes = 0  # batches attempted and probed since the last update

    def __repr__(self) -> str:
        return f"SimLearner({', '.join(f'{name}: {value}' for name, value in self._told().items())})"

    def _repr_html_(self) -> str:
        return as_html("SimLearner", self._told())

    def _told(self) -> dict[str, str]:
        success = np.nanmean(self.evaluate())
        return {"law": brief(self.law), "pool": f"{self.pool.name}, {len(self.pool):,} items",
                "runs": seeds_told(self.seeds), "updates": str(self.updates),
                "mean success": f"{success:.3f}"}  # fmt: skip

    @property
    def lanes(self) -> int:
        return len(self.seeds)

    @property
    def mean_length(self) -> float:
        """Tokens of one attempt at a random item of the pool."""
        return float(self._length.mean())

    def success(self, items: ArrayLike) -> NDArray[np.float32]:
        """True success probabilities of the items, (B,) or (R, B): for tests and figures, not for controllers."""
        positions = check_items(items, len(self.pool), self.lanes, self._single)
        p = self._success(positions)
        return p[0] if self._single else p

    def attempt(self, items: ArrayLike, rollouts: int = 8, counts: ArrayLike | None = None) -> NDArray[np.float32]:
        """Rewards of attempts at each item, 0 or 1: (B, G), with lanes (R, B, G).

        rollouts: G. counts: attempts at each item, in [0, G], where they differ: (B,) or (R, B); 0 after them.
        """
        turn, self.attempts = self.attempts, self.attempts + 1
        return self._attempt(items, rollouts, counts, Role.ROLLOUT, turn)

    def extend(self, items: ArrayLike, rollouts: int, counts: ArrayLike) -> NDArray[np.float32]:
        """Further attempts at the items attempted last: (B, G), with lanes (R, B, G)."""
        return self.attempt(items, rollouts, counts)

    def probe(self, items: ArrayLike, rollouts: int) -> NDArray[np.float32]:
        """Rewards of attempts that will not be learned from: (P, G), with lanes (R, P, G)."""
        turn, self.probes = self.probes, self.probes + 1
        return self._attempt(items, rollouts, None, Role.PROBE, turn)

    def _attempt(
        self, items: ArrayLike, rollouts: int, counts: ArrayLike | None, role: Role, turn: int
    ) -> NDArray[np.float32]:
        check_count("rollouts", rollouts)
        positions = shape_items(items, self.lanes, self._single)
        check_count("rollouts", rollouts, high=MOST // positions.size)  # their rewards must fit into memory
        rewards = np.empty((*positions.shape, rollouts), np.float32)
        sizes = check_counts(counts, rewards.shape, self._single)
        if not sizes.size and role is Role.ROLLOUT:
            self.law.signal.check_rollouts(rollouts)
        if self._chance.shape != positions.shape:
            self._chance = np.empty(positions.shape, np.float32)
        self._attempted = None
        chance = self._chance  # the same memory in every step stays in the processor's cache
        stream = self.seeds, int(role), clock(self.updates, turn)
        if self._fused:
            skill = self._row, *self._skill(self._observed)
            if not kernels.attempt(positions, sizes, self._packed, *skill, *stream, chance, rewards, self.tokens):
                raise_bad_position(positions, len(self.pool))
        else:
            if not kernels.positions_valid(positions, len(self.pool)):
                raise_bad_position(positions, len(self.pool))
            self._seen_chance(positions, chance)
            kernels.draw_rewards(positions, sizes, self._length, chance, *stream, rewards, self.tokens)
        if isinstance(items, np.ndarray) and not items.flags.writeable:
            self._attempted = items, self.state, positions, chance
        return rewards[0] if self._single else rewards

    def learn(
        self,
        items: ArrayLike,
        rewards: ArrayLike,
        admitted: ArrayLike | None = None,
        counts: ArrayLike | None = None,
    ) -> None:
        """One update from groups of rewards 0 or 1; the mean is over the admitted groups (all by default).

        counts: rollouts of each group where they differ; a group too small for the signal has a signal of 0.
        """
        if self._attempted and items is self._attempted[0] and self.state is self._attempted[1]:
            _, _, positions, chance = self._attempted  # neither items nor skill have changed since the attempt
        else:
            positions = check_items(items, len(self.pool), self.lanes, self._single)
            chance = self._seen_chance(positions, np.empty(positions.shape, np.float32))
        self._attempted = None
        groups = check_rewards(rewards, positions.shape, self._single)
        sizes = check_counts(counts, groups.shape, self._single)
        mask = self._admitted(admitted, positions.shape)
        n = groups.shape[2]
        if not sizes.size:
            self.law.signal.check_rollouts(n)
        table, uses_p, power = self._table(n, bool(sizes.size))
        each = self.law.per_item or self._repeat_decay is not None
        signals = np.empty((self.lanes if each else 0, positions.shape[1]), np.float32)
        weight, mean, hits = np.empty(self.lanes), np.empty(self.lanes), np.empty(self.lanes, np.int64)
        floor, ceiling = self._observed[1:] if self.law.signal.of_rewards else (self._zeros, self._ones)
        binary = kernels.item_signals(
            groups, sizes, mask, chance, floor, ceiling, table, uses_p, power, signals, weight, mean, hits
        )
        if not binary:
            bad = groups[(groups != 0) & (groups != 1)][0]
            raise InputError(f"rewards: must be 0 or 1 for a simulated learner, got {bad}")
        fresh = np.empty((0, 0))
        if self._repeat_decay is not None:
            fresh = self._freshness(positions, mask)
            signals *= fresh.astype(np.float32)
            mean = np.asarray(weight * signals.sum(axis=1, dtype=np.float64))
        if self._scaled:
            size = self._size_of_step(positions, mask, mean)
            weight, mean = weight * size, mean * size
        behind = Groups(groups, sizes, mask, fresh, chance, self.seeds, self.updates)
        gradient = Gradient(positions, signals, weight, mean, self._optimiser_noise(), behind)
        state = self.law.advance(self.state, gradient, self._bank, self._cache)
        if self.law.signal.uses_value:
            rate = getattr(self.law.signal, "rate", 0.0)
            spent = np.maximum(sizes.sum(axis=1), 1) if sizes.size else groups[0].size
            state = state._replace(value=state.value + rate * (hits / spent - state.value))
        self.state = state
        self.updates += 1
        self.attempts = self.probes = 0

    def _size_of_step(self, positions: NDArray[np.int64], mask: NDArray[np.bool_], mean: Floats) -> Floats:
        """(R,) warm-up, optimiser and redundancy, as `Law` has them: share of kappa that this update takes."""
        warm = np.minimum(1.0, (self.updates + 1) / (self._warm_up + 1))
        self.signal_squares = self.signal_squares + mean**2
        rms = np.sqrt(self.signal_squares / (self.updates + 1))
        size = warm * np.where(rms > 0, rms, 1.0) ** -self._adam
        if self._redundancy.any():
            size *= 1 - self._redundancy * self._narrowness(positions, mask)
        return np.asarray(size)

    def _narrowness(self, positions: NDArray[np.int64], mask: NDArray[np.bool_]) -> Floats:
        """(R,) `narrowness` in b of the admitted groups on items that can be solved."""
        if self._spread is None:
            pool = self._bank.b[:, : self._bank.core].astype(np.float64)
            solvable = pool != UNSOLVABLE
            known = solvable | ~solvable.any(axis=1, keepdims=True)  # of a pool that nobody can solve: 0
            self._spread = np.nanstd(np.where(known, pool, np.nan), axis=1)[self._bank.row]
        b = self._bank.b[self._bank.row[:, None], positions].astype(np.float64)
        return narrowness(b, (b != UNSOLVABLE) & (mask if mask.size else True), self._spread)

    def _freshness(self, positions: NDArray[np.int64], mask: NDArray[np.bool_]) -> Floats:
        """(R, B) e^(-r visits), the share of a group's signal that repetition leaves; counts the visits."""
        assert self._repeat_decay is not None
        before = np.take_along_axis(self.visits, positions, axis=1)
        visits = self.visits.copy()
        kernels.add_to(visits, positions, (mask if mask.size else np.ones(positions.shape, bool)).astype(np.int32))
        self.visits = visits
        return np.asarray(np.exp(-self._repeat_decay[:, None] * before))

    def evaluate(self) -> Floats:
        """Mean success per difficulty decile, (10,) or (R, 10), exact, without learning.

        Over 32 held-out items per decile, spread evenly over it; laws without transfer: over the pool's own items,
        NaN for deciles the pool does not have.
        """
        items, starts, counts = self._strata
        result = np.empty((self.lanes, STRATA))
        kernels.slice_means(self._success(items[None]), starts, counts, result)
        return result[0] if self._single else result

    def state_dict(self) -> dict[str, Any]:
        """Plain arrays and numbers from which `load_state_dict` continues bit for bit."""
        fields = {name: np.array(value) for name, value in self.state._asdict().items()}
        counts = {name: getattr(self, name) for name in COUNTS}
        arrays = {name: getattr(self, name).copy() for name in ("tokens", "visits", "signal_squares", "seeds")}
        return fields | counts | arrays

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` of a learner with the same law, pool and seeds."""
        check_state(state, self.state_dict(), free=set())
        if not np.array_equal(state["seeds"], self.seeds):
            raise InputError(f"state.seeds: must be this learner's seeds {self.seeds}, got {state['seeds']}")
        mine = self.state._asdict()
        self.state = type(self.state)(**{name: np.array(state[name], mine[name].dtype) for name in mine})
        self._attempted = None
        for name in COUNTS:
            setattr(self, name, int(state[name]))
        self.tokens, self.visits = np.array(state["tokens"], np.int64), np.array(state["visits"], np.int32)
        self.signal_squares = np.array(state["signal_squares"], np.float64)

    def _success(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """(R, B) true success probabilities of items (R, B) or (1, B)."""
        chance = self.law.chance(self.state, positions, self._bank, self._cache)
        if chance is not None:
            return chance
        out = np.empty((self.lanes, positions.shape[1]), np.float32)
        kernels.success(positions, self._delta, self._row, *self._skill(self._curve), out)
        return out

    def _seen_chance(self, positions: NDArray[np.int64], out: NDArray[np.float32]) -> NDArray[np.float32]:
        """out (R, B) = success probabilities as training sees them, through the verifier."""
        if self._fused:
            kernels.success(positions, self._delta, self._row, *self._skill(self._observed), out)
        else:
            _, low, high = (curve[:, None].astype(np.float32) for curve in self._observed)
            out[:] = low + (high - low) * self._success(positions)
        return out

    @property
    def _fused(self) -> bool:
        """Whether the law has the common response model, which the compiled loops compute."""
        return type(self.law).chance is Law.chance

    def _skill(self, curve: list[Floats]) -> tuple[Any, Any, Any, Any, Any]:
        """Arguments of the compiled response curve: offsets and skill, and a, floor, ceiling."""
        return self.state.offset, self.state.theta, *curve

    def _table(self, n: int, mixed: bool) -> tuple[NDArray[np.float32], bool, Floats]:
        """Signal polynomials (R, 3, n + 1) in units of the reference; whether they use p; the exponent on top.

        mixed: for groups of 0 to n rollouts, (R, 3, (n + 1)^2), entry m (n + 1) + k for k successes of m.
        """
        if (n, mixed) in self._tables:
            return self._tables[n, mixed]
        signal = self.law.signal
        sizes = range(n + 1) if mixed else [n]
        if signal.exact:
            reference = signal.reference ** (1 / signal.mean_field_power)
            power = self._gamma * signal.mean_field_power
        else:
            reference, power = signal.reference, self._gamma
        table = np.zeros((self.lanes, 3, len(sizes), n + 1))
        uses_p = False
        for row, m in enumerate(sizes):
            if m < (2 if signal.needs_group and not signal.exact else 1):
                continue  # no signal
            successes = np.arange(m + 1, dtype=np.float64)
            polynomial: Any = signal.mean_field if signal.exact else signal.sampled(
                successes, m, self.state.value[:, None]
            )
            uses_p |= any(np.any(np.asarray(c) != 0) for c in polynomial[1:])
            for degree, coefficient in enumerate(polynomial):
                table[:, degree, row, : m + 1] = coefficient
        table = table.reshape(self.lanes, 3, -1) / reference
        if not uses_p:
            given = np.repeat([m > 0 for m in sizes], n + 1)
            table[:, 0] = np.where(given, table[:, 0] ** power[:, None], 0.0)
        result = table.astype(np.float32), uses_p, power
        if not signal.uses_value:
            self._tables[n, mixed] = result
        return result

    def _admitted(self, admitted: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        if admitted is None or admitted is self._all_admitted:
            return np.empty((0, 0), bool)
        mask = as_array("admitted", admitted, "booleans")
        want = shape[1:] if self._single else shape
        if mask.dtype != bool or mask.shape != want:
            raise InputError(f"admitted: must be booleans of shape {want}, got {mask.dtype} of shape {mask.shape}")
        if not mask.all():
            return np.array(mask).reshape(shape)
        if not mask.flags.writeable:
            self._all_admitted = admitted  # the controller hands out the same one every step: look once
        return np.empty((0, 0), bool)

    def _optimiser_noise(self) -> Floats:
        """(R,) standard normals of this update (Box-Muller), zeros where the law has no noise."""
        if not self._noisy:
            return self._zeros
        u = uniforms(self.seeds, Role.NOISE, self.updates, 2).astype(np.float64)
        return np.asarray(np.sqrt(-2 * np.log1p(-u[:, 0])) * np.cos(2 * np.pi * u[:, 1]))


def _item_bank(law: Law, pool: Pool, seeds: NDArray[np.uint64], b: ArrayLike | None, core: int) -> ItemBank:
    """True difficulties of the pool's items and of the held-out ones; one row per distinct draw."""
    pool.check_labels("a simulated learner")
    if b is None:
        label = difficulty_to_logit(pool.difficulty, GRID if pool.attempts is None else pool.attempts)
    else:
        label = numbers("b", b)
        check_number("b", label.ravel())
        if label.shape not in ((len(pool),), (len(seeds), len(pool))):
            domain = f"({len(pool)},), or one row per lane, ({len(seeds)}, {len(pool)})"
            raise InputError(f"b: must be one number per item, shape {domain}, got {label.shape}")
    heldout = difficulty_to_logit(_heldout_difficulty()) if law.heldout else np.empty(0)
    names = ("label_noise", "gap", "unlearnable")
    sd, gap, broken = (per_lane(name, getattr(law, name), len(seeds)) for name in names)
    varied = np.where((sd > 0) | (broken > 0), seeds, 0)  # lanes without random parts share one row
    own_label = np.arange(len(seeds)) if label.ndim == 2 else np.zeros(len(seeds), np.int64)
    drawn = [values.view(np.uint64) for values in (sd, gap, broken)]
    keys, row = distinct_rows(np.stack([varied.astype(np.uint64), own_label.astype(np.uint64), *drawn], axis=1))
    rows, labels = [], np.atleast_2d(label)
    for seed, which, *settings in keys:
        noise, hole, share = np.array(settings, np.uint64).view(np.float64)
        stream, label = generator(seed, Role.ITEM), labels[int(which)]
        own = label + stream.standard_normal(len(label)) * (noise if b is None else 0.0)
        own[own > 0] += hole
        own[stream.random(len(label)) < share] = UNSOLVABLE
        unseen = heldout + generator(seed, Role.HELDOUT).standard_normal(len(heldout)) * noise
        unseen[unseen > 0] += hole
        rows.append(np.concatenate([own, unseen]))
    return ItemBank(np.array(rows, dtype=np.float32), row, pool, core)


def _verified(law: Law, curve: list[Floats], lanes: int) -> list[Floats]:
    """The response curve a, floor, ceiling through a verifier that errs both ways."""
    a, floor, ceiling = curve
    missed, passed = (per_lane(name, getattr(law, name), lanes) for name in ("false_negative", "false_positive"))
    return [a, passed + (1 - passed - missed) * floor, passed + (1 - passed - missed) * ceiling]


def lengths(law: Law, pool: Pool, length: ArrayLike | None = None) -> NDArray[np.int64]:
    """(I,) whole tokens of one attempt at each item: as given, or as the law has it."""
    line = law.tokens_easy + (law.tokens_hard - law.tokens_easy) * pool.difficulty / 100
    tokens = line if length is None else numbers("length", length)
    check_number("length", tokens, 0, 2**31)
    if tokens.shape != (len(pool),):
        raise InputError(f"length: must be one number per item, shape ({len(pool)},), got {tokens.shape}")
    return np.rint(tokens).astype(np.int64)


def _multiplicative_difficulty(bank: ItemBank, a: Floats) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """delta = e^(a b), one row per distinct (row of the bank, a), and each lane's row."""
    pairs, row = distinct_rows(np.stack([bank.row, a], axis=1))
    logits = pairs[:, 1:] * bank.b[pairs[:, 0].astype(np.int64)]
    return np.exp(np.clip(logits, -kernels.LARGEST_LOGIT, kernels.LARGEST_LOGIT)).astype(np.float32), row


def _heldout_difficulty() -> Floats:
    return 100.0 * (np.arange(STRATA * HELDOUT_PER_STRATUM) + 0.5) / (STRATA * HELDOUT_PER_STRATUM)


def _strata(law: Law, pool: Pool) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Items to evaluate, sorted by difficulty decile; start and number of each decile's."""
    difficulty = _heldout_difficulty() if law.heldout else pool.difficulty
    decile = np.minimum(difficulty // (100 / STRATA), STRATA - 1).astype(np.int64)
    items = np.argsort(decile, kind="stable") + (len(pool) if law.heldout else 0)
    counts = np.bincount(decile, minlength=STRATA)
    return items, np.cumsum(counts) - counts, counts
