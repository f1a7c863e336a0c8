"""ALP-GMM: difficulties where success changes most, as a mixture of Gaussians."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from workbench.controllers.rule import SOLID, Draw, Feedback, Floats, Items, Lanes, Look, Rule, per_lane
from workbench.errors import MOST_WINDOW, InputError, check_count, check_number, shown
from workbench.extras import named_extra, require
from workbench.kernels.compiling import Array, compiled, f64, i64
from workbench.pool import Pool
from workbench.streams import Role, clock, generator

# As scikit-learn has them: of the mean log likelihood, turns, of a covariance, and the smallest step of a float64.
TOLERANCE, MOST_TURNS, LEAST_VARIANCE, EPSILON = 1e-3, 100, 1e-6, 2.0**-52
LOG_TWO_PI = 1.8378770664093453


class MixtureState(NamedTuple):
    task: Floats  # (R, H) difficulty / 100 of the latest episodes, the newest last; NaN in empty places
    reward: Floats  # (R, H) mean reward of the group
    alp: Floats  # (R, H) absolute learning progress
    unfitted: Items  # (R,) episodes since the last fit
    fits: Items  # (R,)
    level: Floats  # (R, K) mean ALP of each Gaussian; 0 in empty places
    centre: Floats  # (R, K) mean of its tasks
    spread: Floats  # (R, K) and their standard deviation
    gaussians: Items  # (R,) 0 before the first fit


@dataclass(frozen=True)
class ALPGMM(Rule):
    """Absolute learning progress by Gaussian mixtures: a task is an item's difficulty, an episode one group on it.

    ALP = |r - r'|, r' the reward of the nearest earlier task; 0 while `start` or fewer episodes are stored
    every N episodes: mixtures of k Gaussians are fitted to the last N pairs (task, ALP), the least AIC wins
    each slot of a batch: with probability `random` any item, else a Gaussian in proportion to its mean ALP, a task from
    it, and the item nearest to that; of equally near ones any, and no item twice

    window: N, 2 to 10000. buffer: latest episodes among which the nearest earlier task is looked for, 1 to 10000.
    random: in [0, 1]. components: least and largest k, 1 <= k <= window. start: >= 0, below buffer; 5 in its code.
    Until the first fit every slot is random.
    Source: Portelas, Colas, Hofmann, Oudeyer 2019, arXiv 1910.07224, Algorithm 1, and its code in TeachMyAgent.
    Differs: r' is of an earlier batch, the latest where several are equally near, since groups of one batch come from
    one policy, and `start` counts the episodes of earlier batches; its default, 0, is ours. The code looks through all
    earlier episodes (there, 500 is the buffer size of its k-d tree). "Random" is uniform over the items, not over the
    difficulties. Tasks are difficulty / 100, so that both axes run from 0 to 1. A fit waits for the end of its batch,
    and N are counted anew from there; the code fits at each multiple of N.
    """

    name = "alp-gmm"
    look = Look("#44AA99", SOLID, "p")

    window: int = 250
    buffer: int = 500
    random: Lanes = 0.2
    components: tuple[int, int] = (2, 10)
    start: int = 0

    needs = ("difficulty",)
    fits_model = True
    packages = ("scikit-learn",)
    extra = "fits of Gaussian mixtures"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("window", self.window, 2, MOST_WINDOW)
        check_count("buffer", self.buffer, 1, MOST_WINDOW)
        check_number("random", self.random, 0, 1)
        given: object = self.components
        if not isinstance(given, tuple) or len(given) != 2:
            raise InputError(f"components: must be a pair, the least and the largest number, got {shown(given)}")
        least = check_count("components", given[0], 1, self.window)
        check_count("components", given[1], least, self.window)
        check_count("start", self.start, 0, self.buffer - 1)

    def init(self, pool: Pool, lanes: int) -> MixtureState:
        require("sweep")  # before a run begins, not at its first fit
        per_lane("random", self.random, lanes)
        past, none = np.full((lanes, max(self.window, self.buffer)), np.nan), np.zeros(lanes, np.int64)
        mixture = np.zeros((lanes, self.components[1]))
        return MixtureState(past, past, past, none, none, mixture, mixture, mixture, none)

    def select(self, state: MixtureState, draw: Draw, count: int) -> tuple[Items, MixtureState]:
        share = per_lane("random", self.random, len(draw.seeds))
        target, uniform = np.full((2, len(share), count), np.nan)
        for lane, seed in enumerate(draw.seeds):
            rng = generator(seed, Role.ARM, clock(draw.step, draw.turn))
            anything, which, uniform[lane] = rng.random((3, count))
            if state.gaussians[lane]:
                level = state.level[lane, : state.gaussians[lane]]
                chance = level / level.sum() if level.sum() > 0 else np.full(len(level), 1 / len(level))
                k = np.minimum(np.searchsorted(np.cumsum(chance), which, side="right"), len(level) - 1)
                task = np.clip(state.centre[lane, k] + state.spread[lane, k] * rng.normal(size=count), 0, 1)
                target[lane] = np.where(anything < share[lane], np.nan, 100 * task)
        out = np.empty(target.shape, np.int64)
        nearest_each(*draw.pool.index, target, uniform, out)
        return out, state

    def update(self, state: MixtureState, feedback: Feedback) -> MixtureState:
        new = state._replace(**{name: part.copy() for name, part in state._asdict().items()})
        for lane, seed in enumerate(feedback.seeds):
            there = feedback.rollouts[lane] > 0
            task = feedback.pool.difficulty[feedback.items[lane, there]] / 100
            reward = feedback.means[lane, there]
            earlier, earned = state.task[lane, -self.buffer :], state.reward[lane, -self.buffer :]
            alp = _progress(task, reward, earlier, earned, self.start)
            for past, latest in ((new.task, task), (new.reward, reward), (new.alp, alp)):
                past[lane] = np.concatenate([past[lane], latest])[-past.shape[1] :]
            new.unfitted[lane] += len(task)
            if new.unfitted[lane] >= self.window:
                number = int(generator(seed, Role.FIT, int(new.fits[lane])).integers(2**32))
                pairs = np.stack([new.task[lane, -self.window :], new.alp[lane, -self.window :]], axis=1)
                level, centre, spread = fit_mixture(pairs, self.components, number)
                k = new.gaussians[lane] = len(level)
                new.level[lane, :k], new.centre[lane, :k], new.spread[lane, :k] = level, centre, spread
                new.fits[lane], new.unfitted[lane] = new.fits[lane] + 1, 0
        return new

    @property
    def per_call(self) -> bool:
        return True

    def check_state(self, state: MixtureState, pool: Pool) -> None:
        sound = ((state.gaussians >= 0) & (state.gaussians <= self.components[1])).all()
        if not (sound and all(np.isfinite(part).all() for part in (state.level, state.centre, state.spread))):
            raise InputError(f"state.rule: must be at most {self.components[1]} finite Gaussians, got others")

    def metrics(self, state: MixtureState) -> dict[str, Floats]:
        """gaussians: of the mixture in use, 0 before the first fit; fits: so far."""
        return {"gaussians": state.gaussians.astype(np.float64), "fits": state.fits.astype(np.float64)}


def _progress(task: Floats, reward: Floats, earlier: Floats, earned: Floats, start: int) -> Floats:
    """(N,) |reward - that of the nearest earlier task|, the latest of several; 0 where there are `start` or fewer."""
    known = ~np.isnan(earlier)
    if np.count_nonzero(known) <= start:
        return np.zeros(len(task))
    earlier, earned = earlier[known][::-1], earned[known][::-1]
    nearest = np.abs(task[:, None] - earlier).argmin(axis=1)
    return np.asarray(np.abs(reward - earned[nearest]))


def fit_mixture(pairs: Floats, components: tuple[int, int], number: int) -> tuple[Floats, Floats, Floats]:
    """Mean ALP, mean task and the task's standard deviation, (k,) each, of the mixture with the least AIC.

    pairs: (N, 2) task and ALP. number: the seed of the starting points, which are those of k-means. Results are those
    of scikit-learn's GaussianMixture(k, random_state=number), within 1e-9. On one thread, as its matrices are small.
    """
    with named_extra():
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

    pairs, fits = np.ascontiguousarray(pairs), []
    with warnings.catch_warnings(), _thread_pools().limit(limits=1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct pairs than Gaussians is no fault here
        for k in range(components[0], components[1] + 1):
            label = KMeans(k, n_init=1, random_state=number).fit(pairs).labels_
            share = (label[:, None] == np.arange(k)).astype(np.float64)
            weight, mean, covariance = np.empty(k), np.empty((k, 2)), np.empty((k, 3))
            score = fit_gaussians(pairs, share, weight, mean, covariance)
            fits.append((2 * (6 * k - 1) - 2 * len(pairs) * score, k, mean, covariance))
    _, _, mean, covariance = min(fits, key=lambda fit: fit[:2])
    return mean[:, 1], mean[:, 0], np.sqrt(covariance[:, 0])


@cache
def _thread_pools() -> Any:
    """Those of the loaded libraries, looked up once: that takes as long as a fit."""
    with named_extra():
        from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled
def nearest_each(
    sorted_d: Array, order: Array, run_start: Array, run_end: Array, target: Array, uniform: Array, out: Array
) -> None:
    """out[r, i] = the free item nearest target[r, i], one after another; with target NaN, any free item. All distinct.

    uniform (R, B) in [0, 1) picks one of equally near items. Where that of a NaN falls on an item already taken, the
    next free one by rank is taken. The free items of a run of equal difficulty are deck[start + gone[start] : end].
    """
    size, batch = len(sorted_d), out.shape[1]
    deck, gone = np.arange(size), np.zeros(size, np.int64)
    touched = np.empty(2 * batch, np.int64)
    for r in range(out.shape[0]):
        for i in range(batch):
            t, u = target[r, i], uniform[r, i]
            if np.isnan(t):
                slot = i64(u * size)
                start = i64(run_start[slot])
                while gone[start] == run_end[start] - start:
                    start = slot = i64(run_end[start]) % size
                slot = max(slot, start + gone[start])
            else:
                right = i64(np.searchsorted(sorted_d, t))  # where the nearest runs with free items start
                left = right - 1
                while left >= 0:
                    left = i64(run_start[left])
                    if gone[left] < run_end[left] - left:
                        break
                    left -= 1
                while right < size and gone[right] == run_end[right] - right:
                    right = i64(run_end[right])
                below = t - sorted_d[left] if left >= 0 else np.inf
                above = sorted_d[right] - t if right < size else np.inf
                on_left = run_end[left] - left - gone[left] if below <= above else 0
                on_right = run_end[right] - right - gone[right] if above <= below else 0
                pick = i64(u * (on_left + on_right))
                slot = left + gone[left] + pick if pick < on_left else right + gone[right] + pick - on_left
                start = i64(run_start[slot])
            first = start + gone[start]
            deck[first], deck[slot] = deck[slot], deck[first]
            touched[2 * i], touched[2 * i + 1] = first, slot
            gone[start] += 1
            out[r, i] = order[deck[first]]
        for slot in touched:
            deck[slot] = slot
            gone[run_start[slot]] = 0


@compiled(error_model="numpy")
def fit_gaussians(pairs: Array, share: Array, weight: Array, mean: Array, covariance: Array) -> Any:
    """Expectation maximisation from what Gaussians share of each pair; returns the mean log likelihood of the pairs.

    pairs (N, 2). share (N, K), overwritten. Out: weight (K,); mean (K, 2); covariance (K, 3): of the first number, of
    both, of the second. It ends where the mean log likelihood changes by less than TOLERANCE, after at most MOST_TURNS.
    """
    maximise(pairs, share, weight, mean, covariance)
    before = -np.inf
    for _ in range(MOST_TURNS):
        score = expect(pairs, weight, mean, covariance, share)
        maximise(pairs, share, weight, mean, covariance)
        if abs(score - before) < TOLERANCE:
            break
        before = score
    return f64(expect(pairs, weight, mean, covariance, share))


@compiled(cached=False, error_model="numpy")
def maximise(pairs: Array, share: Array, weight: Array, mean: Array, covariance: Array) -> None:
    """Weights, means and covariances of what Gaussians share; LEAST_VARIANCE is added to each variance."""
    size, count = share.shape
    everything = 0.0
    for k in range(count):
        n, x, y = 10 * EPSILON, 0.0, 0.0
        for i in range(size):
            n += share[i, k]
            x += share[i, k] * pairs[i, 0]
            y += share[i, k] * pairs[i, 1]
        x, y, xx, xy, yy = x / n, y / n, 0.0, 0.0, 0.0
        for i in range(size):
            dx, dy = pairs[i, 0] - x, pairs[i, 1] - y
            xx += share[i, k] * dx * dx
            xy += share[i, k] * dx * dy
            yy += share[i, k] * dy * dy
        weight[k], mean[k, 0], mean[k, 1] = n, x, y
        covariance[k, 0], covariance[k, 1], covariance[k, 2] = xx / n + LEAST_VARIANCE, xy / n, yy / n + LEAST_VARIANCE
        everything += n
    for k in range(count):
        weight[k] /= everything


@compiled(cached=False, error_model="numpy")
def expect(pairs: Array, weight: Array, mean: Array, covariance: Array, share: Array) -> Any:
    """share (N, K) = probability that a pair is of each Gaussian; returns the mean log likelihood of the pairs."""
    size, count = share.shape
    for k in range(count):
        first = np.sqrt(covariance[k, 0])  # Cholesky: covariance = L L', L = [[first, 0], [across, second]]
        across = covariance[k, 1] / first
        second = np.sqrt(covariance[k, 2] - across * across)
        level = np.log(weight[k]) - LOG_TWO_PI - np.log(first) - np.log(second)
        for i in range(size):
            u = (pairs[i, 0] - mean[k, 0]) / first
            v = (pairs[i, 1] - mean[k, 1] - across * u) / second
            share[i, k] = level - 0.5 * (u * u + v * v)
    total = 0.0
    for i in range(size):
        most, whole = -np.inf, 0.0
        for k in range(count):
            most = max(most, share[i, k])
        for k in range(count):
            share[i, k] = np.exp(share[i, k] - most)
            whole += share[i, k]
        for k in range(count):
            share[i, k] /= whole
        total += most + np.log(whole)
    return f64(total / size)
