"""Learners fitted to the counts of a real run: likelihood, most probable parameters, and their uncertainty.

An item i has the logit z_it = u_it + x_it before its visit t. x is what the law of learning adds; it is driven by the
logged counts (teacher forcing), so the likelihood is explicit. One visit stands for one epoch over the items:

    x <- x + what the law gains from S_i = (v_i / v_ref)^gamma of all items, less forgetting          (laws.py)
    k_it ~ BetaBinomial(n, p_it, rho),     p = floor + (ceiling - floor) sigma(z),     rho: over-dispersion
    u_i1 ~ prior (any shape on a grid),    u_i,t+1 = u_it + scatter xi                 (difficulty, and its drift)

u lives on a grid of logits, so a forward or backward pass sums it out exactly (a hidden Markov model); the drift is a
walk to neighbouring grid points with variance scatter^2. The prior comes from the items themselves by EM.
Source: Laird 1978 (prior by EM); teacher-forced likelihood of learning laws: ours.
Differs: the laws act once per epoch, as the log does not say which items shared a batch; kappa here is per visit, but
policy's per step of Adam, one for each 128 items in batches drawn once. The share D of a guesser's gradient that is
skill counts as 1 (ScalarIRT): it would need each item's own chance. The log has
no categories, so topics are drawn (`topic_of`): skills, and the kinds and columns of chain and grid, can only lose by
them. skills and chain compare skill with a fixed scale (a gate, a step): theta0 is free there, and the items' u are
scatter around it. Lengths of chains, and levels of grid and tracing, come from difficulties estimated on the same
visits; items keep their distance in logits to the success that such a law gives all of a chain, cell or skill. So do
the levels of policy, whose items gain what additions of their level gain on average: the nearest of a few drafts of up
to 12 digits, so the hardest items get easier ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from sims.forecasting import passes
from sims.forecasting.laws import OneSkill, State, mechanism
from sims.forecasting.visits import VisitLog
from workbench.difficulty.counts import count_chances
from workbench.learners import Law
from workbench.registry import LAWS

Floats = NDArray[np.float64]
Losses = Callable[[Floats], Floats]  # of points (D, P): (D,)

STEP = 0.25  # logits between grid points
GRID = np.arange(-10.0, 10.0 + STEP / 2, STEP)  # (U,)
FINE = 5  # parts of a grid step between which x is interpolated
SLOW = 4.0  # how far below its centre kappa starts a second time, in logs
FURTHEST = 20.0  # logits: x beyond this counts as this, all chances being 0 or 1 there
ROUNDS, EM_STEPS, INNER = 12, 100, 10
SETTLED = 0.1  # nats that a round must bring, or the ascent ends


class Prior(NamedTuple):
    """A parameter's scale, and a normal prior on it: weak, centred where finetuning runs of this kind lie."""

    scale: str  # "log", "logit" or "plain"
    centre: float
    sd: float


PRIORS = {
    "kappa": Prior("log", 0.05, 1.5),  # logits per visit at p = 1/2; points per visit of an item in grid
    "rho": Prior("logit", 0.03, 1.0),
    "scatter": Prior("log", 0.08, 1.0),  # logits per visit
    "forgetting": Prior("logit", 0.01, 1.0),  # share per visit
    "gamma": Prior("logit", 0.5, 1.5),
    "length": Prior("log", 1.0, 0.7),  # logits
    "floor": Prior("logit", 0.01, 1.0),
    "ceiling": Prior("logit", 0.98, 1.0),
    "transfer": Prior("logit", 0.3, 1.5),
    "theta0": Prior("plain", 0.0, 1.5),  # logits
    "tracing kappa": Prior("log", 2.5, 1.5),  # chances to learn in a visit of all items: half-known gain 0.05 logits
    "policy kappa": Prior("log", 0.001, 1.5),  # learning rate of Adam
}
TO: dict[str, Callable[..., Any]] = {"log": np.log, "logit": logit, "plain": float}
FROM: dict[str, Callable[..., Any]] = {"log": np.exp, "logit": expit, "plain": lambda value: value}

# What is free in each law besides rho and scatter; everything else is as in presets.LAWS. tracing's floor is its guess,
# its ceiling 1 - slip.
FREE: dict[str, tuple[str, ...]] = {
    "scalar": ("kappa", "forgetting", "gamma"),
    "grpo": ("kappa", "forgetting"),
    "natural": ("kappa", "forgetting"),
    "guess": ("kappa", "forgetting", "floor", "ceiling"),
    "kernel": ("kappa", "forgetting", "length"),
    "tabular": ("kappa", "forgetting"),
    "skills": ("kappa", "forgetting", "transfer", "theta0"),
    "chain": ("kappa", "forgetting", "theta0"),
    "grid": ("kappa", "forgetting"),
    "tracing": ("kappa", "forgetting", "floor", "ceiling"),
    "policy": ("kappa", "forgetting"),
}
LEARNERS = tuple(FREE)
# Controls with the same observation model: "still" learns nothing, "trend" gains the same number of logits every visit.
STILL, TREND = "still", "trend"
CONTROLS: dict[str, tuple[str, ...]] = {STILL: (), TREND: ("kappa",)}


@dataclass(frozen=True)
class Model:
    """A law by name, on items of difficulty b (I,) in logits: distance, length or level in the laws that have them."""

    name: str
    b: Floats

    @property
    def free(self) -> tuple[str, ...]:
        return ("rho", "scatter", *(FREE | CONTROLS)[self.name])

    @property
    def priors(self) -> list[Prior]:
        return [PRIORS.get(f"{self.name} {name}", PRIORS[name]) for name in self.free]

    def parameters(self, vector: Floats) -> dict[str, Any]:
        """Unconstrained (P,) or (D, P) -> named numbers or (D, 1) columns, with the law's own constants."""
        vector = np.asarray(vector)
        columns = [vector[..., i : i + 1] if vector.ndim > 1 else vector[i] for i in range(len(self.free))]
        values = {name: FROM[prior.scale](v) for name, prior, v in zip(self.free, self.priors, columns, strict=True)}
        fixed = {"kappa": 0.0, "forgetting": 0.0, "gamma": self.law.gamma, "floor": 0.0, "ceiling": 1.0}
        return fixed | values

    @property
    def law(self) -> Law:
        return LAWS["natural" if self.name in CONTROLS else self.name]

    @cached_property
    def mechanism(self) -> OneSkill:
        return mechanism(self.name, self.law, self.b)

    @property
    def centre(self) -> Floats:
        return np.array([TO[prior.scale](prior.centre) for prior in self.priors])

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Of the unconstrained parameters; the walk can take one step of the grid per visit."""
        most = {"scatter": np.log(STEP)}
        return [(c - 6, most.get(name, c + 6)) for name, c in zip(self.free, self.centre, strict=True)]

    def log_prior(self, vector: Floats) -> float:
        sd = np.array([prior.sd for prior in self.priors])
        return float(-0.5 * np.sum(((vector - self.centre) / sd) ** 2))

    def signal(self, counts: NDArray[np.int64], n: int, gamma: Any) -> Floats:
        """(D, I) S of groups with k successes of n, 1 at p = 1/2 and many rollouts; 0^0 = 1 as in the laws."""
        signal = self.law.signal
        v = signal.group(np.arange(n + 1), n, 0.5) / signal.reference
        table = np.power(v, np.reshape(gamma, (-1, 1)))  # (D or 1, n + 1)
        return np.asarray(table[np.arange(len(table))[:, None], counts])

    def states(self, log: VisitLog, p: dict[str, Any]) -> list[State]:
        """T + 1 states of the mechanism under the logged counts: before each visit and after the last."""
        states = [self.mechanism.start(p)]
        for counts in log.counts.T:
            signals = self.signal(counts[None], log.attempts, p["gamma"])
            states.append(self.mechanism.advance(states[-1], signals, p))
        return states

    def added(self, states: list[State], p: dict[str, Any]) -> Floats:
        """(D, T + 1, C): what the law has added before each visit and after the last, in the mechanism's columns."""
        return np.stack([self.mechanism.added(state, p) for state in states], axis=1)

    def home(self, added: Floats) -> Floats:
        """(D, C) where x is 0: its mean over the visits in laws whose columns are levels of difficulty, else at first.

        An item's level was estimated from all of these visits. With x = 0 at first, a law could buy likelihood by
        moving the levels apart at once, as if it had known where each item is.
        """
        return np.asarray(added[:, :-1].mean(axis=1) if self.mechanism.by_level else added[:, 0])

    def exposure(self, log: VisitLog, p: dict[str, Any]) -> Floats:
        """(D, T + 1, C): x under the logged counts."""
        added = self.added(self.states(log, p), p)
        added -= self.home(added)[:, None]
        return added


def chance(z: Floats, p: dict[str, Any]) -> Floats:
    return np.asarray(p["floor"] + (p["ceiling"] - p["floor"]) * expit(z))


Emissions = tuple[Floats, NDArray[np.int64], NDArray[np.int64], Floats, NDArray[np.int64]]


def emissions(model: Model, log: VisitLog, p: dict[str, Any], x: Floats) -> Emissions:
    """What the passes take to know each count's chance at each grid point: x on a fine scale, and a table over it.

    p: numbers; x: (T + 1, C) the exposure that goes with them.
    """
    x = np.clip(x[:-1], -FURTHEST, FURTHEST)
    low, parts = x.min(), np.arange(len(GRID)) * FINE
    offsets = int((x.max() - low) * FINE / STEP) + 2
    z = GRID[0] + low + np.arange(offsets + parts[-1]) * STEP / FINE
    masses = count_chances(chance(z, p), p["rho"], log.attempts)  # (z, n + 1)
    table = masses[np.arange(offsets)[:, None] + parts].transpose(0, 2, 1)  # (offsets, n + 1, U)
    place = (x - low) * FINE / STEP
    at = place.astype(np.int64)
    return np.ascontiguousarray(table), log.counts, at, place - at, model.mechanism.column


def neighbour(scatter: float) -> float:
    """Chance of a step of the walk to each neighbour: variance scatter^2."""
    return min(scatter**2 / STEP**2, 1.0) / 2


def likelihoods(model: Model, log: VisitLog, p: dict[str, Any], x: Floats) -> tuple[Floats, Floats]:
    """Backward pass: (I, U) chance of an item's counts given u at its first visit, up to a factor; log factor (I,)."""
    out, scale = np.empty((len(log.items), len(GRID))), np.empty(len(log.items))
    passes.backward(*emissions(model, log, p, x), neighbour(p["scatter"]), out, scale)
    return out, scale


def draw_last(model: Model, log: VisitLog, p: dict[str, Any], x: Floats, prior: Floats, luck: Floats) -> Floats:
    """(I,) u at the last visit, drawn given all counts by uniforms `luck` (I,)."""
    out = np.empty(len(luck), np.int64)
    passes.draw_last(*emissions(model, log, p, x), neighbour(p["scatter"]), prior, luck, out)
    return GRID[out]


def log_likelihood(model: Model, log: VisitLog, p: dict[str, Any], prior: Floats) -> float:
    table, scale = likelihoods(model, log, p, model.exposure(log, p)[0])
    return float(np.sum(np.log(table @ prior) + scale))


class Fit(NamedTuple):
    """vector: most probable unconstrained parameters (P,); covariance (P, P); prior: (U,) of u at the first visit."""

    model: Model
    vector: Floats
    covariance: Floats
    prior: Floats
    log_likelihood: float

    def table(self) -> list[dict[str, Any]]:
        """A row per parameter: estimate and 80 % interval."""
        sd = np.sqrt(np.diag(self.covariance))
        rows = []
        for name, prior, value, s in zip(self.model.free, self.model.priors, self.vector, sd, strict=True):
            back = FROM[prior.scale]
            ends = [float(back(value + sign * 1.2816 * s)) for sign in (-1, 1)]
            rows.append({"parameter": name, "estimate": float(back(value)), "lower80": ends[0], "upper80": ends[1]})
        return rows


def fit(model: Model, log: VisitLog, start: Fit | None = None) -> Fit:
    """Most probable parameters and, in turn, the prior of u by EM, until neither helps; then the curvature (Laplace).

    Starts at the priors' centres, or, where the first round likes that better, from hardly any learning. start: a fit
    to begin at instead, which saves time.
    """
    prior = np.full(len(GRID), 1 / len(GRID))
    starts = [(model.centre, prior)] if start is None else [(start.vector, start.prior)]
    if start is None and "kappa" in model.free:
        starts.append((model.centre - SLOW * np.array([name == "kappa" for name in model.free]), prior))
    loss, vector, prior = min((_round(model, log, *one) for one in starts), key=lambda done: done[0])
    for _ in range(ROUNDS):
        before = loss
        loss, vector, prior = _round(model, log, vector, prior)
        if before - loss < SETTLED:
            break
    precision = curvature(lambda points: _losses(model, log, points, prior), vector)
    values, axes = np.linalg.eigh(precision)
    sd0 = max(prior.sd for prior in model.priors)
    covariance = (axes / np.maximum(values, sd0**-2)) @ axes.T  # never wider than the widest prior
    return Fit(model, vector, covariance, prior, log_likelihood(model, log, model.parameters(vector), prior))


def likelier(prior: Floats, table: Floats, steps: int) -> Floats:
    """The prior of u after some steps of EM, given the items' chances `table` (I, U)."""
    for _ in range(steps):
        prior = prior * ((1 / (table @ prior)) @ table) / len(table)
    return prior


def _losses(model: Model, log: VisitLog, vectors: Floats, prior: Floats) -> Floats:
    """(D,) of parameters (D, P), each with a prior of u that goes some way to meet it."""
    exposures = model.exposure(log, model.parameters(vectors))  # side by side: networks are slow one by one
    losses = []
    for vector, x in zip(vectors, exposures, strict=True):
        table, scale = likelihoods(model, log, model.parameters(vector), x)
        fit = np.sum(np.log(table @ likelier(prior, table, INNER)) + scale)
        losses.append(-fit - model.log_prior(vector))
    return np.array(losses)


def _round(model: Model, log: VisitLog, vector: Floats, prior: Floats) -> tuple[float, Floats, Floats]:
    """Loss, parameters and prior after some steps of both."""
    p = model.parameters(vector)
    table, _ = likelihoods(model, log, p, model.exposure(log, p)[0])
    prior = likelier(prior, table, EM_STEPS)
    top = np.array([high for _, high in model.bounds])
    best = minimize(lambda v: slope(lambda points: _losses(model, log, points, prior), v, top), vector, jac=True,
                    method="L-BFGS-B", bounds=model.bounds, options={"maxiter": 10, "ftol": 1e-9})  # fmt: skip
    return float(best.fun), best.x, prior


def slope(losses: Losses, at: Floats, top: Floats, step: float = 1e-4) -> tuple[float, Floats]:
    """The loss, and its first derivatives (P,) by differences, forward or, next to the bounds `top`, backward."""
    steps = np.where(at + step > top, -step, step)
    first, *moved = losses(np.stack([at, *(at + np.diag(steps))]))
    return float(first), (np.array(moved) - first) / steps


def curvature(losses: Losses, at: Floats, step: float = 0.05) -> Floats:
    """Second derivatives by central differences, (P, P)."""
    size = len(at)
    unit = step * np.eye(size)
    pairs = [(i, j) for i in range(size) for j in range(i)]
    moves = np.array([*unit, *(unit[i] + unit[j] for i, j in pairs)])
    middle, *moved = losses(np.stack([at, *(at + moves), *(at - moves)]))
    both = np.sum(np.split(np.array(moved), 2), axis=0) - 2 * middle  # of each move, there and back
    out = np.diag(both[:size]) / step**2
    for (i, j), two in zip(pairs, both[size:], strict=True):
        out[i, j] = out[j, i] = (two - both[i] - both[j]) / (2 * step**2)
    return out


def difficulties(log: VisitLog) -> Floats:
    """(I,) logits: minus the posterior mean of u at the first visit, shrunk, for a learner that is still."""
    result = fit(Model(STILL, np.zeros(len(log.items))), log)
    p = result.model.parameters(result.vector)
    table, _ = likelihoods(result.model, log, p, result.model.exposure(log, p)[0])
    share = table * result.prior
    return np.asarray(-(share @ GRID) / share.sum(axis=1))
