"""Learners fitted to the counts of a real run: likelihood, most probable parameters, and their uncertainty.

An item i has the logit z_it = u_it + x_it before its visit t. x is what the law of learning adds; it is driven by the
logged counts (teacher forcing), so the likelihood is explicit. One visit stands for one epoch over the items:

    x_j <- x_j + kappa / I sum_i K_ji S_i - forgetting x_j,     S_i = (v_i / v_ref)^gamma        (workbench.learners)
    k_it ~ BetaBinomial(n, p_it, rho),     p = floor + (ceiling - floor) sigma(z),     rho: over-dispersion
    u_i1 ~ prior (any shape on a grid),    u_i,t+1 = u_it + scatter xi                 (difficulty, and its drift)

u lives on a grid of logits, so a forward or backward pass sums it out exactly (a hidden Markov model); the drift is a
walk to neighbouring grid points with variance scatter^2. The prior comes from the items themselves by EM.
Source: Laird 1978 (prior by EM); teacher-forced likelihood of learning laws: ours.
Differs: the laws act once per epoch, as the log does not say which items shared a batch; kappa here is per visit. The
share D of a guesser's gradient that is skill counts as 1 (ScalarIRT): it would need each item's own chance.
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
from visits import VisitLog

from workbench.learners import Law
from workbench.presets import LAWS

Floats = NDArray[np.float64]

STEP = 0.25  # logits between grid points
GRID = np.arange(-10.0, 10.0 + STEP / 2, STEP)  # (U,)
FINE = 5  # parts of a grid step between which x is interpolated
ROUNDS, EM_STEPS = 3, 25


class Prior(NamedTuple):
    """A parameter's scale, and a normal prior on it: weak, centred where finetuning runs of this kind lie."""

    scale: str  # "log" or "logit"
    centre: float
    sd: float


PRIORS = {
    "kappa": Prior("log", 0.05, 1.5),  # logits per visit at p = 1/2
    "rho": Prior("logit", 0.03, 1.0),
    "scatter": Prior("log", 0.08, 1.0),  # logits per visit
    "forgetting": Prior("log", 0.01, 1.0),  # share per visit
    "gamma": Prior("logit", 0.5, 1.5),
    "length": Prior("log", 1.0, 0.7),  # logits
    "floor": Prior("logit", 0.01, 1.0),
    "ceiling": Prior("logit", 0.98, 1.0),
}
TO = {"log": np.log, "logit": logit}
FROM: dict[str, Callable[..., Any]] = {"log": np.exp, "logit": expit}

# What is free in each law besides rho and scatter; everything else is as in presets.LAWS.
FREE: dict[str, tuple[str, ...]] = {
    "scalar": ("kappa", "forgetting", "gamma"),
    "grpo": ("kappa", "forgetting"),
    "natural": ("kappa", "forgetting"),
    "guess": ("kappa", "forgetting", "floor", "ceiling"),
    "kernel": ("kappa", "forgetting", "length"),
    "tabular": ("kappa", "forgetting"),
}
LEARNERS = tuple(FREE)
# Controls with the same observation model: "still" learns nothing, "trend" gains the same number of logits every visit.
STILL, TREND = "still", "trend"
CONTROLS: dict[str, tuple[str, ...]] = {STILL: (), TREND: ("kappa",)}


@dataclass(frozen=True)
class Model:
    """A law by name, on items of difficulty b (I,) in logits (what the kernel measures distance by)."""

    name: str
    b: Floats

    @property
    def free(self) -> tuple[str, ...]:
        return ("rho", "scatter", *(FREE | CONTROLS)[self.name])

    def parameters(self, vector: Floats) -> dict[str, Any]:
        """Unconstrained (P,) or (D, P) -> named numbers or (D, 1) columns, with the law's own constants."""
        vector = np.asarray(vector)
        columns = {name: vector[..., i : i + 1] if vector.ndim > 1 else vector[i] for i, name in enumerate(self.free)}
        values: dict[str, Any] = {name: FROM[PRIORS[name].scale](column) for name, column in columns.items()}
        fixed = {"kappa": 0.0, "forgetting": 0.0, "gamma": self.law.gamma, "floor": 0.0, "ceiling": 1.0}
        return fixed | values

    @property
    def law(self) -> Law:
        return LAWS["natural" if self.name in CONTROLS else self.name]

    @property
    def centre(self) -> Floats:
        return np.array([TO[PRIORS[name].scale](PRIORS[name].centre) for name in self.free])

    def log_prior(self, vector: Floats) -> float:
        sd = np.array([PRIORS[name].sd for name in self.free])
        return float(-0.5 * np.sum(((vector - self.centre) / sd) ** 2))

    def signal(self, counts: NDArray[np.int64], n: int, gamma: Any) -> Floats:
        """S of groups with k successes of n, 1 at p = 1/2 and many rollouts; 0^0 = 1 as in the laws."""
        signal = self.law.signal
        v = signal.group(np.arange(n + 1), n, 0.5) / signal.reference
        gamma = np.asarray(gamma, dtype=np.float64)
        table = np.power(v, gamma[..., None] if gamma.ndim == 0 else gamma)  # (n + 1,) or (D, n + 1)
        if table.ndim == 1:
            return np.asarray(table[counts])
        return np.asarray(np.take_along_axis(table, counts, axis=1))

    def teach(self, signals: Floats, length: Any = None) -> Floats:
        """1 / I sum_i K_ji S_i for signals (..., I); one column where all items gain alike."""
        if self.name == "tabular":
            return signals
        if self.name == "kernel":
            return self._near(signals, np.asarray(length, dtype=np.float64))
        return signals.mean(axis=-1, keepdims=True)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], Floats]:
        order = np.argsort(self.b, kind="stable")
        return order, np.diff(self.b[order])

    def _near(self, signals: Floats, length: Floats) -> Floats:
        """K_ij = exp(-|b_i - b_j| / length): one pass up and one down the sorted items."""
        order, gaps = self._sorted
        s = np.ascontiguousarray(np.moveaxis(signals[..., order], -1, 0))
        decay = np.exp(-gaps.reshape(-1, *[1] * (s.ndim - 1)) / (length[..., 0] if length.ndim else length))
        up, down = np.zeros_like(s), np.zeros_like(s)
        for i in range(1, len(s)):
            up[i] = decay[i - 1] * (up[i - 1] + s[i - 1])
            down[-i - 1] = decay[-i] * (down[-i] + s[-i])
        out = np.empty_like(s)
        out[order] = (up + down + s) / len(s)
        return np.moveaxis(out, 0, -1)

    def advance(self, x: Floats, counts: NDArray[np.int64], n: int, p: dict[str, Any]) -> Floats:
        """x after a visit in which the items had these counts (..., I)."""
        gain = p["kappa"] * self.teach(self.signal(counts, n, p["gamma"]), p.get("length"))
        return np.asarray(x + gain - p["forgetting"] * x)

    def exposure(self, log: VisitLog, p: dict[str, Any]) -> Floats:
        """(T + 1, I) or (T + 1, 1): x before each visit and after the last, from the logged counts."""
        x = [np.zeros(len(self.b) if self.name in ("tabular", "kernel") else 1)]
        taught = self.teach(self.signal(log.counts.T, log.attempts, p["gamma"]), p.get("length"))  # (T, I or 1)
        for gain in taught:
            x.append(x[-1] + p["kappa"] * gain - p["forgetting"] * x[-1])
        return np.stack(x)


def chance(z: Floats, p: dict[str, Any]) -> Floats:
    return np.asarray(p["floor"] + (p["ceiling"] - p["floor"]) * expit(z))


def beta_binomial(p: Floats, rho: Any, n: int) -> Floats:
    """(..., n + 1): chances of k = 0..n successes of n, mean p, intra-class correlation rho."""
    phi = np.asarray(rho) / (1 - np.asarray(rho))
    p = np.clip(p, 1e-9, 1 - 1e-9)
    out = np.empty((*p.shape, n + 1))
    out[..., 0] = np.prod([(1 - p + j * phi) / (1 + j * phi) for j in range(n)], axis=0)
    for k in range(n):
        out[..., k + 1] = out[..., k] * (n - k) / (k + 1) * (p + k * phi) / (1 - p + (n - k - 1) * phi)
    return out


def emissions(log: VisitLog, x: Floats, p: dict[str, Any]) -> Callable[[int], Floats]:
    """t -> (I, U): chance of the count of visit t at each grid point u."""
    low = x.min()
    offsets = int((x.max() - low) * FINE / STEP) + 2
    z = GRID + low + np.arange(offsets)[:, None] * STEP / FINE
    table = np.moveaxis(beta_binomial(chance(z, p), p["rho"], log.attempts), -1, 0).copy()  # (n + 1, offsets, U)
    place = (x - low) * FINE / STEP
    at = place.astype(np.int64)
    part = (place - at)[..., None]

    def of(t: int) -> Floats:
        k = log.counts[:, t]
        if x.shape[1] == 1:
            return ((1 - part[t]) * table[:, at[t, 0]] + part[t] * table[:, at[t, 0] + 1])[k]
        return np.asarray((1 - part[t]) * table[k, at[t]] + part[t] * table[k, at[t] + 1])

    return of


def drift(f: Floats, scatter: float) -> Floats:
    """One step of the walk: to each neighbour with chance scatter^2 / (2 STEP^2); the ends reflect. Symmetric."""
    half = min(scatter**2 / STEP**2, 1.0) / 2
    out = (1 - 2 * half) * f
    out[:, 1:] += half * f[:, :-1]
    out[:, :-1] += half * f[:, 1:]
    out[:, 0] += half * f[:, 0]
    out[:, -1] += half * f[:, -1]
    return out


def likelihoods(model: Model, log: VisitLog, p: dict[str, Any]) -> tuple[Floats, Floats]:
    """Backward pass: (I, U) chance of an item's counts given u at its first visit, up to a factor; log factor (I,)."""
    emit = emissions(log, model.exposure(log, p)[:-1], p)
    out, scale = np.ones((len(log.items), len(GRID))), np.zeros(len(log.items))
    for t in reversed(range(log.visits)):
        if t < log.visits - 1:
            out = drift(out, p["scatter"])
        out *= emit(t)
        top = out.max(axis=1)
        out /= top[:, None]
        scale += np.log(top)
    return out, scale


def filtered(model: Model, log: VisitLog, p: dict[str, Any], prior: Floats) -> tuple[Floats, Floats]:
    """Forward pass: (I, U) distribution of u after the last visit given all counts; and x (1 or I,) after it."""
    x = model.exposure(log, p)
    emit = emissions(log, x[:-1], p)
    f = np.broadcast_to(prior, (len(log.items), len(GRID))).copy()
    for t in range(log.visits):
        f = drift(f, p["scatter"]) if t else f
        f *= emit(t)
        f /= f.sum(axis=1, keepdims=True)
    return f, x[-1]


def log_likelihood(model: Model, log: VisitLog, p: dict[str, Any], prior: Floats) -> float:
    table, scale = likelihoods(model, log, p)
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
        for name, value, s in zip(self.model.free, self.vector, sd, strict=True):
            back = FROM[PRIORS[name].scale]
            ends = [float(back(value + sign * 1.2816 * s)) for sign in (-1, 1)]
            rows.append({"parameter": name, "estimate": float(back(value)), "lower80": ends[0], "upper80": ends[1]})
        return rows


def fit(model: Model, log: VisitLog) -> Fit:
    """Most probable parameters and, in turn, the prior of u by EM; then the curvature (Laplace)."""
    vector, prior = model.centre, np.full(len(GRID), 1 / len(GRID))

    def loss(v: Floats) -> float:
        return -log_likelihood(model, log, model.parameters(v), prior) - model.log_prior(v)

    for _ in range(ROUNDS):
        table, _ = likelihoods(model, log, model.parameters(vector))
        for _ in range(EM_STEPS):
            share = table * prior
            prior = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
        vector = minimize(loss, vector, method="L-BFGS-B", options={"maxiter": 12, "eps": 1e-4, "ftol": 1e-9},
                          bounds=[(c - 6, c + 6) for c in model.centre]).x  # fmt: skip
    precision = curvature(loss, vector)
    values, axes = np.linalg.eigh(precision)
    sd0 = np.array([PRIORS[name].sd for name in model.free]).max()
    covariance = (axes / np.maximum(values, sd0**-2)) @ axes.T  # never wider than the widest prior
    return Fit(model, vector, covariance, prior, log_likelihood(model, log, model.parameters(vector), prior))


def curvature(loss: Callable[[Floats], float], at: Floats, step: float = 0.05) -> Floats:
    """Second derivatives by central differences, (P, P)."""
    size = len(at)
    unit = step * np.eye(size)
    middle, out = loss(at), np.empty((size, size))
    plus, minus = np.array([loss(at + e) for e in unit]), np.array([loss(at - e) for e in unit])
    for i in range(size):
        out[i, i] = (plus[i] - 2 * middle + minus[i]) / step**2
        for j in range(i):
            both = loss(at + unit[i] + unit[j]) + loss(at - unit[i] - unit[j])
            out[i, j] = out[j, i] = (both - plus[i] - plus[j] - minus[i] - minus[j] + 2 * middle) / (2 * step**2)
    return out


def difficulties(log: VisitLog) -> Floats:
    """(I,) logits: minus the posterior mean of u at the first visit, shrunk, for a learner that is still."""
    result = fit(Model(STILL, np.zeros(len(log.items))), log)
    table, _ = likelihoods(result.model, log, result.model.parameters(result.vector))
    share = table * result.prior
    return np.asarray(-(share @ GRID) / share.sum(axis=1))
