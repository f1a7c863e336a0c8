"""L2: several skills that help, hinder and wait for each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench import kernels
from workbench.errors import LARGEST, LOGITS, MOST_SKILLS, SMALLEST, InputError, check_count, check_number, shown
from workbench.kernels.arithmetic import saturated
from workbench.kernels.compiling import Array, compiled, f32, u64
from workbench.lanes import Floats, Lanes, per_lane
from workbench.learners.law import Chances, Gradient, ItemBank, Law, Presets, decay_to, sigma, topic_of
from workbench.streams import Role, generator


class SkillState(NamedTuple):
    theta: Floats  # (R, K) skills, logits
    value: Floats  # (R,) the critic's V


@dataclass(frozen=True)
class MultiSkill(Law):
    """K skills; each item takes one, and gains in one change the others through a matrix M.

    p_i = sigma(theta_k - b_i),   k the skill of item i                          (a = 1)
    theta <- theta + kappa w * M g - forgetting (theta - theta0),   g_k = 1 / B sum of S_i over the items i of skill k
    M = 1 on the diagonal, transfer - interference (between pairs that interfere) beside it
    w_k = 1 - prerequisite sigma((tau - theta_(k-1)) / width),   w_1 = 1

    With prerequisite = 1, w_k is the gate sigma((theta_(k-1) - tau) / width): skill k waits for the one before it.
    A skill with 1 / K of the batch gains 1 / K as much as one that has all of it.

    skills: K, 1 to 256, 1 to 8 in use; 4 by default, enough for an order and for conflicts. Items get theirs as in
    `topic_of`, held-out items too.
    transfer: a skill's share of another's gain, in [0, 1]: 0 separate skills, 1 one skill; range 0 to 0.6,
    0.3 by default.
    interference: taken from transfer between pairs that interfere, in [0, 2], range 0 to 0.6; 0 by default: nothing is
    unlearned.
    interfering: share of the pairs that do, [0, 1], the same for every seed, range 0.05 to 0.45; all by default.
    The three ranges come from a 3B model after RL on one category, tested on tasks of others (`sims/reproduce.py
    transfer`): gain in logits over the gain in the own category. 2 of 9 pairs lose; the others gain .2 to more than 1
    of the own gain, or from 0 without tasks that the base model may have failed by their format alone. Above 0.6, M
    has no room for pairs that lose, and one skill is near.
    prerequisite: how much a skill waits for the one before it, [0, 1]; 0 by default: skills are unordered.
    tau: skill at which the gate is half open, logits, -1000 to 1000; 0 by default, where an item of b = 0 is solved
    half of the time.
    width: how soft the gate is, logits, 1e-6 to 1e6; 0.5 by default: from 12 % to 88 % open within two logits.
    matrix: (K, K) rows of M as nested tuples, in place of what transfer and interference make of it.
    M must be symmetric and positive semi-definite: otherwise an update could lower the success it climbs.
    One skill is ScalarIRT with a = 1, to the bit for signals of a few values (RLOO, MeanBaseline, GRPO), whose sums
    are exact; to rounding for the others, which are summed in another order.
    Source: compensatory multidimensional IRT (Reckase 2009) with one skill per item; the gate is ours, a soft form of
    the one in TeachMyAgent's toy student (Romac et al. 2021, arXiv 2103.09815).
    """

    # each of four skills waits for the one before it
    presets: ClassVar[Presets] = {"skills": {"kappa": 0.08, "prerequisite": 1.0}}

    skills: int = 4
    transfer: Lanes = 0.3
    interference: Lanes = 0.0
    interfering: Lanes = 1.0
    prerequisite: Lanes = 0.0
    tau: Lanes = 0.0
    width: Lanes = 0.5
    matrix: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("skills", self.skills, 1, MOST_SKILLS)
        check_number("transfer", self.transfer, 0, 1)
        check_number("interference", self.interference, 0, 2)
        check_number("interfering", self.interfering, 0, 1)
        check_number("prerequisite", self.prerequisite, 0, 1)
        check_number("tau", self.tau, -LOGITS, LOGITS)
        check_number("width", self.width, SMALLEST, LARGEST)
        name = "transfer, interference" if self.matrix is None else "matrix"
        m, k = self.mixing, self.skills
        if m.shape[1:] != (k, k) or not np.isfinite(m).all() or (m != m.transpose(0, 2, 1)).any():
            raise InputError(f"{name}: must be a symmetric ({k}, {k}) matrix of numbers, got {shown(self.matrix)}")
        if (lowest := np.linalg.eigvalsh(m).min()) < -1e-9:
            raise InputError(f"{name}: must make a positive semi-definite matrix, got an eigenvalue of {lowest:.3g}")

    @cached_property
    def mixing(self) -> Floats:
        """M, (R, K, K), or (1, K, K) where all lanes share it."""
        if self.matrix is not None:
            try:
                return np.array(self.matrix, dtype=np.float64)[None]
            except (TypeError, ValueError, OverflowError):
                raise InputError(f"matrix: must be rows of numbers of equal length, got {shown(self.matrix)}") from None
        names = ("transfer", "interference", "interfering")
        lanes = max(np.size(getattr(self, name)) for name in names)
        transfer, less, share = (per_lane(name, getattr(self, name), lanes) for name in names)
        pairs = list(combinations(range(self.skills), 2))
        m = np.tile(np.eye(self.skills), (lanes, 1, 1))
        for place, pair in enumerate(generator(0, Role.TOPIC, self.skills).permutation(len(pairs))):
            i, j = pairs[pair]
            m[:, i, j] = m[:, j, i] = transfer - np.where(place < np.rint(share * len(pairs)), less, 0.0)
        return m

    def start(self, theta0: Floats, bank: ItemBank) -> SkillState:
        for name in ("transfer", "interference", "interfering", "prerequisite", "tau", "width"):
            per_lane(name, getattr(self, name), len(theta0))
        return SkillState(np.repeat(theta0[:, None], self.skills, axis=1), np.full(len(theta0), 0.5))

    def chance(self, state: SkillState, items: NDArray[np.int64], bank: ItemBank, cache: dict[str, Any]) -> Chances:
        if not cache:
            limit = kernels.LARGEST_LOGIT
            cache["delta"] = np.exp(np.clip(bank.b.astype(np.float64), -limit, limit)).astype(np.float32)
            cache["skill"] = topic_of(bank, self.skills)
        p = np.empty((len(state.theta), items.shape[1]), np.float32)
        skill_success(items, cache["delta"], bank.row, cache["skill"], state.theta, p)
        return p

    def advance(self, state: SkillState, gradient: Gradient, bank: ItemBank, cache: dict[str, Any]) -> SkillState:
        total = np.empty_like(state.theta)
        one_row = np.zeros_like(bank.row)
        kernels.sum_signals(gradient.items, gradient.signals, cache["skill"][None], one_row, total)
        g = gradient.weight[:, None] * total
        gain = sum(self.mixing[:, :, k] * g[:, k, None] for k in range(self.skills))
        kappa, forgetting, theta0 = (_column(x) for x in (self.kappa, self.forgetting, self.theta0))
        lost = decay_to(theta0, state.theta, forgetting)
        return state._replace(theta=state.theta + kappa * self.open(state) * gain - lost)

    def open(self, state: SkillState) -> Floats:
        """(R, K) w: how much of its gain each skill takes, 1 = all."""
        before = (_column(self.tau) - state.theta[:, :-1]) / _column(self.width)
        return np.pad(1.0 - _column(self.prerequisite) * sigma(before), ((0, 0), (1, 0)), constant_values=1.0)


def _column(value: Lanes) -> Any:
    """A hyper-parameter against arrays (R, K)."""
    return np.reshape(value, (-1, 1))


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled(error_model="numpy", fastmath={"contract"})
def skill_success(items: Array, delta: Array, row: Array, skill: Array, theta: Array, out: Array) -> None:
    """out (R, B) = sigma(theta_k - b_i), k = skill[i], in the multiplicative form of `_respond` and to its bits.

    items (R, B), or the same (1, B) in every lane; delta = e^b (U, J); skill (J,); theta (R, K).
    """
    xi = np.empty(theta.shape[1], np.float32)
    for r in range(out.shape[0]):
        mine, d, p = items[r % items.shape[0]], delta[row[r]], out[r]
        for k in range(xi.size):
            xi[k] = f32(np.exp(saturated(-theta[r, k])))
        for i in range(p.size):
            j = u64(mine[i])
            p[i] = xi[u64(skill[j])] * d[j]
        for i in range(p.size):
            p[i] = f32(1) / (f32(1) + p[i])
