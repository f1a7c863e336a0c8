"""Points of a posterior, with weights: adaptive importance sampling along a path of tempered posteriors.

Round s draws points from a proposal q_s; q_0 is the prior. The weight of every point so far, under a power of the
likelihood, is

    w = prior(x) L(x)^power / (sum_s n_s q_s(x) / sum_s n_s)

The power is the largest, up to 1, at which the weights have an effective number of KEPT. The next proposal is a
Student distribution with the mean and the covariance of the points by these weights. Rounds end when the effective
number at power 1 is `enough`.
Source: adaptive multiple importance sampling with the mixture of all proposals, Cornuet, Marin, Mira & Robert 2012;
tempering as in Del Moral, Doucet & Jasra 2006. Differs: the proposal widens the covariance by WIDER.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from workbench.streams import Role, generator

Floats = NDArray[np.float64]
KEPT = 40.0  # effective number of points that choose the next proposal
FREEDOM, WIDER = 6.0, 1.3  # of the Student distributions; factor of the covariance
MOST_ROUNDS = 40
NEAR = 2**30  # place in the stream of the draws near another posterior


@dataclass(frozen=True)
class Weighted:
    """Points (D, P), and log weights (D,) that sum to 1, with the log of the evidence that they estimate."""

    points: Floats
    log_weights: Floats
    log_evidence: float

    @property
    def effective(self) -> float:
        """The effective number of points, 1 / sum w^2 (Kish 1965)."""
        return float(1 / np.exp(logsumexp(2 * self.log_weights)))

    def rows(self, count: int, uniform: float) -> NDArray[np.int64]:
        """(count,) points drawn by weight, systematically: each at least the whole part of its expected times."""
        ends = np.cumsum(np.exp(self.log_weights))
        places = (np.arange(count) + uniform) / count * ends[-1]
        return np.asarray(np.minimum(np.searchsorted(ends, places, side="right"), len(ends) - 1), np.int64)


def weighted(points: Floats, log_prior: Floats, log_likelihood: Floats, log_mixture: Floats) -> Weighted:
    log_w = log_prior + log_likelihood - log_mixture
    total = logsumexp(log_w)
    return Weighted(points, log_w - total, float(total - np.log(len(log_w))))


@dataclass(frozen=True)
class Student:
    """A Student distribution in P dimensions with FREEDOM degrees: location (P,), axes A (P, P) with scale A A^T."""

    location: Floats
    axes: Floats

    @classmethod
    def of(cls, sample: Weighted) -> Student:
        weights = np.exp(sample.log_weights)
        mean = weights @ sample.points
        apart = sample.points - mean
        values, vectors = np.linalg.eigh(WIDER * (weights[:, None] * apart).T @ apart)
        return cls(mean, vectors * np.sqrt(np.maximum(values, 1e-8)))

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        normal = rng.standard_normal((count, len(self.location)))
        chi = rng.chisquare(FREEDOM, (count, 1)) / FREEDOM
        return np.asarray(self.location + normal / np.sqrt(chi) @ self.axes.T)

    def log_density(self, points: Floats) -> Floats:
        size = len(self.location)
        z = np.linalg.solve(self.axes, (points - self.location).T)
        constant = gammaln((FREEDOM + size) / 2) - gammaln(FREEDOM / 2) - size / 2 * np.log(FREEDOM * np.pi)
        return np.asarray(constant - np.linalg.slogdet(self.axes)[1]
                          - (FREEDOM + size) / 2 * np.log1p(np.sum(z**2, axis=0) / FREEDOM))  # fmt: skip


@dataclass(frozen=True)
class Sampled:
    """All points of all rounds. parts: (D, L) log likelihood of the first 1, 2 .. L parts of the data."""

    points: Floats
    log_prior: Floats
    log_mixture: Floats
    parts: Floats

    def posterior(self, part: int = -1, power: float = 1.0) -> Weighted:
        return weighted(self.points, self.log_prior, power * self.parts[:, part], self.log_mixture)


def explore(
    log_prior: Callable[[Floats], Floats],
    prior_points: Callable[[Floats], Floats],
    log_likelihood: Callable[[Floats], Floats],
    size: int,
    count: int,
    enough: float,
    seed: int,
    tell: Callable[[int, float, float], object] = lambda number, power, effective: None,
    near: Floats | None = None,
) -> Sampled:
    """Points of P = size parameters from which the posteriors given each part of the data are read off by weight.

    log_prior: normalised density of points (D, P). prior_points: draws from it, from standard normals (D, P).
    log_likelihood: (D, L), of the first parts of the data, the last of all of them. count: points a round. enough: the
    effective number, given each part, at which rounds end. seed: of the stream. tell: called after each round.
    near: (D, P) points of a posterior that this one is near to. Their Student distribution is a proposal from the first
    round on, so that fewer rounds are needed.
    """
    points = prior_points(generator(seed, Role.CALIBRATION).standard_normal((count, size)))
    proposals = [] if near is None else [Student.of(Weighted(near, np.full(len(near), -np.log(len(near))), 0.0))]
    if near is not None:
        points = np.concatenate([points, proposals[0].draw(count, generator(seed, Role.CALIBRATION, NEAR))])
    prior, parts = log_prior(points), log_likelihood(points)
    for number in range(1, MOST_ROUNDS + 1):
        mixture = np.stack([log_prior(points), *(q.log_density(points) for q in proposals)])
        found = Sampled(points, prior, logsumexp(mixture, axis=0) - np.log(len(mixture)), parts)
        power = found_power(found)
        effective = min(found.posterior(part).effective for part in range(parts.shape[1])) if power == 1 else 0.0
        tell(number, power, effective)
        if effective >= enough or number == MOST_ROUNDS:
            break
        weakest = (
            int(np.argmin([found.posterior(part).effective for part in range(parts.shape[1])])) if power == 1 else -1
        )
        proposals.append(Student.of(found.posterior(weakest, power)))
        fresh = proposals[-1].draw(count, generator(seed, Role.CALIBRATION, number))
        points = np.concatenate([points, fresh])
        prior, parts = np.append(prior, log_prior(fresh)), np.concatenate([parts, log_likelihood(fresh)])
    return found


def found_power(found: Sampled) -> float:
    """The largest power of the whole likelihood at which the effective number is KEPT, at most 1."""
    if found.posterior().effective >= KEPT:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if found.posterior(power=middle).effective >= KEPT else (low, middle)
    return low
