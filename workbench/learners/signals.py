"""Signals: the policy-gradient estimate of one item from a group of rollouts, k successes of n.

For a binary reward and a policy with logit z and success probability p, the score is 1 - p after a success and
-p after a failure, and the gradient of p is p (1 - p). Every estimator below is a polynomial of degree 2 in p whose
coefficients depend on k, n and, for a critic, its value V; written so, one compiled loop serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, as_numbers, check_count, check_flag, check_number

Floats: TypeAlias = NDArray[np.float64]
Polynomial: TypeAlias = tuple[Any, Any, Any]  # c0 + c1 p + c2 p^2


@dataclass(frozen=True)
class Signal:
    """A signal estimator. exact: use its mean over infinitely many rollouts at the true p (mean field) instead."""

    exact: bool = False

    reference: ClassVar[float] = 0.25  # expected(1/2): signals are measured in units of it
    mean_field: ClassVar[Polynomial] = (0.0, 1.0, -1.0)  # p (1 - p)
    mean_field_power: ClassVar[float] = 1.0
    needs_group: ClassVar[bool] = False  # undefined, or always 0, for a single rollout
    of_rewards: ClassVar[bool] = True  # whether it estimates a gradient of the reward

    def __post_init__(self) -> None:
        check_flag("exact", self.exact)

    @property
    def uses_value(self) -> bool:
        """Whether it depends on a critic's state."""
        return False

    def sampled(self, k: Any, n: int, value: Any) -> Polynomial:
        """The signal of a group of n rollouts with k successes, as a polynomial in p; `value` is the critic's V."""
        raise NotImplementedError

    def advantages(self, k: Floats, n: Floats, value: Any, p: Any) -> tuple[Floats, Floats]:
        """The advantage of a success and of a failure in a group of n rollouts with k successes.

        `sampled` is the mean of advantage x score over the group: k/n A_1 (1 - p) - (n - k)/n A_0 p.
        """
        raise NotImplementedError

    def group(self, k: ArrayLike, n: int, p: ArrayLike, value: ArrayLike = 0.5) -> Floats:
        """The signal of groups with k successes of n at success probability p. Shapes of k, p and value broadcast."""
        check_count("n", n, 0 if self.needs_group else 1)
        self.check_rollouts(n)
        k, p, value = (_within(name, x, high) for name, x, high in (("k", k, n), ("p", p, 1), ("value", value, 1)))
        try:
            np.broadcast_shapes(k.shape, p.shape, value.shape)
        except ValueError:
            shapes = f"{k.shape}, {p.shape} and {value.shape}"
            raise InputError(f"k, p, value: must have shapes that broadcast, got {shapes}") from None
        c0, c1, c2 = self.sampled(k, n, value)
        return np.asarray(c0 + p * (c1 + p * c2), dtype=np.float64)

    def expected(self, p: ArrayLike) -> Floats:
        """The mean-field signal: its mean for n to infinity at success probability p."""
        c0, c1, c2 = self.mean_field
        p = _within("p", p, 1)
        return np.asarray((c0 + p * (c1 + p * c2)) ** self.mean_field_power, dtype=np.float64)

    def check_rollouts(self, n: int) -> None:
        if n < 2 and self.needs_group and not self.exact:
            name = type(self).__name__
            raise InputError(f"rollouts: must be >= 2 for signal {name} (Critic takes single rollouts), got {n}")


@dataclass(frozen=True)
class RLOO(Signal):
    """Leave-one-out baseline: k (n - k) / (n (n - 1)), unbiased for p (1 - p).

    Source: Kool et al. 2019; Ahmadian et al. 2024, arXiv 2402.14740.
    """

    needs_group: ClassVar[bool] = True

    def sampled(self, k: Any, n: int, value: Any) -> Polynomial:
        return k * (n - k) / (n * (n - 1)), 0.0, 0.0

    def advantages(self, k: Floats, n: Floats, value: Any, p: Any) -> tuple[Floats, Floats]:
        others = np.maximum(n - 1.0, 1.0)
        return (n - k) / others, -k / others


@dataclass(frozen=True)
class MeanBaseline(Signal):
    """Group mean as baseline, no division by the std: k (n - k) / n^2, mean p (1 - p) (1 - 1/n).

    Source: Dr. GRPO, Liu et al. 2025, arXiv 2503.20783.
    """

    needs_group: ClassVar[bool] = True

    def sampled(self, k: Any, n: int, value: Any) -> Polynomial:
        return k * (n - k) / n**2, 0.0, 0.0

    def advantages(self, k: Floats, n: Floats, value: Any, p: Any) -> tuple[Floats, Floats]:
        mean = k / np.maximum(n, 1.0)
        return 1.0 - mean, -mean


@dataclass(frozen=True)
class GRPO(Signal):
    """Group mean as baseline, divided by the group's population std: sqrt(k (n - k)) / n, the group std itself.

    Source: Shao et al. 2024, arXiv 2402.03300; the identity in Bay & Yearick, arXiv 2607.00152.
    """

    reference: ClassVar[float] = 0.5
    mean_field_power: ClassVar[float] = 0.5  # sqrt(p (1 - p))
    needs_group: ClassVar[bool] = True

    def sampled(self, k: Any, n: int, value: Any) -> Polynomial:
        return np.sqrt(k * (n - k)) / n, 0.0, 0.0

    def advantages(self, k: Floats, n: Floats, value: Any, p: Any) -> tuple[Floats, Floats]:
        silent = (k == 0) | (k == n)  # no std to divide by
        odds = np.where(silent, 1.0, k) / np.where(silent, 1.0, n - k)
        return np.where(silent, 0.0, odds**-0.5), np.where(silent, 0.0, -(odds**0.5))


@dataclass(frozen=True)
class SuccessOnly(Signal):
    """Imitate the successes of a group (rejection sampling): mean score over successes, (1 - p) [k > 0].

    Mean field 1 - p, the gradient of log p. Source: Davis & Recht 2025, arXiv 2510.13651.
    """

    reference: ClassVar[float] = 0.5
    mean_field: ClassVar[Polynomial] = (1.0, -1.0, 0.0)

    def sampled(self, k: Any, n: int, value: Any) -> Polynomial:
        any_success = np.asarray(k > 0, dtype=np.float64)
        return any_success, -any_success, 0.0

    def advantages(self, k: Floats, n: Floats, value: Any, p: Any) -> tuple[Floats, Floats]:
        return n / np.maximum(k, 1.0), np.zeros_like(k)


@dataclass(frozen=True)
class Critic(Signal):
    """PPO's critic form, for any n: mean_j (r_j - V)(r_j - p) = (k/n) (1 - V)(1 - p) + (1 - k/n) V p.

    Mean p (1 - p) for every V. perfect: V = p. Otherwise V is the learner's running mean of batch rewards,
    V <- V + rate (R - V), rate in [0, 1], started at 1/2: one value for all items, as a critic has early in training.
    Source: actor-critic policy gradient as in PPO (Schulman et al. 2017, arXiv 1707.06347) at ratio 1.
    """

    rate: float = 0.1
    perfect: bool = False

    @property
    def uses_value(self) -> bool:
        return not (self.perfect or self.exact)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("rate", self.rate, 0, 1)
        check_flag("perfect", self.perfect)

    def sampled(self, k: Any, n: int, value: Any) -> Polynomial:
        right = k / n
        if self.perfect:
            return right, -2 * right, np.ones_like(right)
        up, down = right * (1 - value), (1 - right) * value
        return up, down - up, 0.0

    def advantages(self, k: Floats, n: Floats, value: Any, p: Any) -> tuple[Floats, Floats]:
        baseline = p if self.perfect else value
        return np.broadcast_to(1.0 - baseline, k.shape), np.broadcast_to(-baseline, k.shape)


@dataclass(frozen=True)
class Visit(Signal):
    """Every group counts 1, whatever its rewards: for learners that learn from practice as such.

    Source: ours, the visits of the laws that use it.
    """

    reference: ClassVar[float] = 1.0
    mean_field: ClassVar[Polynomial] = (1.0, 0.0, 0.0)
    of_rewards: ClassVar[bool] = False

    def sampled(self, k: Any, n: int, value: Any) -> Polynomial:
        return np.ones_like(k), 0.0, 0.0


def _within(field: str, value: ArrayLike, high: float) -> Floats:
    """`value` as numbers, or InputError unless each is in [0, high]."""
    x = as_numbers(field, value)
    check_number(field, x.ravel(), 0, high)
    return x
