"""DOTS: reference items are tried, and the success rates of similar items are predicted from theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.controllers.items import exchanged, random_items, take_best
from workbench.controllers.rule import (
    MOST_PROBED,
    Draw,
    Feedback,
    Floats,
    Items,
    Lanes,
    Look,
    Probe,
    Rule,
    per_lane,
    require,
)
from workbench.errors import LARGEST, SMALLEST, InputError, check_count, check_number
from workbench.kernels.arithmetic import exp32
from workbench.kernels.compiling import Array, compiled, f32, f64
from workbench.pool import Pool
from workbench.streams import Role, clock, uniforms

WIDTHS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # tried where the width is learned
CHUNK = 65_536  # items predicted at once


class GuessState(NamedTuple):
    guess: NDArray[np.float32]  # (R, I) p, the predicted success rate; 1/2 before the first probe
    dealt: NDArray[np.bool_]  # (R, I) drawn since the last probe
    width: Floats  # (R,) of the attention at the last probe; NaN before
    error: Floats  # (R,) root mean squared error of each reference's guess from the others; NaN before
    forwards: Floats  # (R,) predictions so far


@dataclass(frozen=True)
class DOTS(Rule):
    """Difficulty-targeted online selection: P(i) proportional to exp(-|p_i - alpha| / tau), without replacement.

    Every `every` steps, K random reference items are tried `rollouts` times; with their rates y_k and features x,
    u_i = sum_k w_ik y_k,   w_ik = softmax over k of -|x_i - x_k|^2 / (2 F width^2)
    p_i = a + b u_i, cut to [0, 1]: a, of any sign, and b >= 0 by least squares of y_k on its guess u_k from the other
    references

    reference: K, >= 2; at most the pool. rollouts: 1 to 10000. every: steps from probe to probe, >= 1. Items drawn
    since the last probe are left out, unless fewer than a batch would be left. alpha: target rate in [0, 1]. tau: 1e-6
    to 1e6.
    width: in standard deviations of a feature, up to 1e6; 0: learned at every probe, the one of `WIDTHS` with the
    least squared error u_k - y_k, each left out of its own guess. Before the first probe the draw is uniform.
    Source: Sun et al. 2025, arXiv 2506.05316; settings of its released script.
    Differs: the paper's attention has projections, and its calibration a small network, both trained beforehand on the
    difficulty of other models' training runs; here the attention is a kernel of one width, learned as the run goes, and
    the calibration linear, as the release applies on top. The release fits its line to guesses that include the
    reference's own rate, does not bound the slope, and does not cut p_i. Its rollout replay, a share of each batch out
    of a buffer of earlier rollouts, is the trainer's and not part of a rule.
    """

    name = "dots"
    look = Look("#44AA99", (0, (1, 1)), "s")

    reference: int = 256
    rollouts: int = 8
    every: int = 2
    alpha: Lanes = 0.5
    tau: Lanes = 1e-3
    width: Lanes = 0.0

    needs = ("features",)
    fits_model = True
    memory = "item"
    extra = "probe rollouts, one prediction per item and probe"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("reference", self.reference, 2)
        check_count("rollouts", self.rollouts, 1, MOST_PROBED)
        check_count("every", self.every)
        check_number("alpha", self.alpha, 0, 1)
        check_number("tau", self.tau, SMALLEST, LARGEST)
        check_number("width", self.width, 0, LARGEST)

    def init(self, pool: Pool, lanes: int) -> GuessState:
        require(self, pool, *self.needs)
        for name in ("alpha", "tau", "width"):
            per_lane(name, getattr(self, name), lanes)
        size, nothing = (lanes, len(pool)), np.full(lanes, np.nan)
        return GuessState(np.full(size, 0.5, np.float32), np.zeros(size, bool), nothing, nothing, np.zeros(lanes))

    def probe(self, state: GuessState, draw: Draw) -> Probe | None:
        if draw.step % self.every or len(draw.pool) < 2:
            return None
        return Probe(random_items(draw, min(self.reference, len(draw.pool))), self.rollouts)

    def log_weights(self, state: GuessState, draw: Draw) -> NDArray[np.float32]:
        """(R, I) -|p_i - alpha| / tau; minus infinity for items drawn since the last probe."""
        alpha, tau = (per_lane(name, getattr(self, name), len(state.guess))[:, None] for name in ("alpha", "tau"))
        weight = -np.abs(state.guess - alpha.astype(np.float32)) / tau.astype(np.float32)
        return np.where(state.dealt, np.float32(-np.inf), weight)

    def select(self, state: GuessState, draw: Draw, count: int) -> tuple[Items, GuessState]:
        enough = (~state.dealt).sum(axis=1) >= count
        state = state._replace(dealt=state.dealt & enough[:, None])
        u = uniforms(draw.seeds, Role.SCORE, clock(draw.step, draw.turn), len(draw.pool)).astype(np.float64)
        gumbel = -np.log(-np.log(u + 2.0**-25)).astype(np.float32)  # the largest sums are a draw by weight
        items = take_best(self.log_weights(state, draw) + gumbel, draw, count)
        dealt = state.dealt.copy()
        np.put_along_axis(dealt, items, True, axis=1)
        return items, state._replace(dealt=dealt)

    def replaced(self, state: GuessState, draw: Draw, selected: Items, items: Items) -> GuessState:
        return state._replace(dealt=exchanged(state.dealt, selected, items))

    def update(self, state: GuessState, feedback: Feedback) -> GuessState:
        if not feedback.probe:
            return state
        given = per_lane("width", self.width, len(state.guess))
        guess, width, error = state.guess.copy(), state.width.copy(), state.error.copy()
        for lane, items in enumerate(feedback.items):
            there = feedback.rollouts[lane] > 0
            if there.sum() > 1:
                widths = WIDTHS if given[lane] == 0 else (given[lane],)
                fit = _fit(feedback.pool, items[there], feedback.means[lane, there], widths)
                guess[lane], width[lane], error[lane] = fit
        return GuessState(guess, np.zeros_like(state.dealt), width, error, state.forwards + guess.shape[1])

    def check_state(self, state: GuessState, pool: Pool) -> None:
        if not ((state.guess >= 0) & (state.guess <= 1)).all():
            raise InputError("state.rule.guess: must be success rates in [0, 1], got others")

    def metrics(self, state: GuessState) -> dict[str, Floats]:
        """width, guess_error: of the last probe, see `GuessState`; forwards: predictions so far."""
        return {"width": state.width, "guess_error": state.error, "forwards": state.forwards}


def _fit(
    pool: Pool, items: NDArray[np.int64], rates: Floats, widths: tuple[float, ...]
) -> tuple[NDArray[np.float32], float, float]:
    """(I,) predicted rates of all items from those of the references, the width taken, and its error."""
    known = pool.standard_features(items).astype(np.float32)
    points = np.ascontiguousarray(known.T)
    tries = []
    for width in widths:
        others = np.empty(len(items))
        attend(known, points, rates, 1 / (known.shape[1] * width**2), True, others)
        tries.append((np.sqrt(((others - rates) ** 2).mean()), width, others))
    error, width, others = min(tries, key=lambda one: one[0])
    slope, offset = _line(others, rates)
    out = np.empty(len(pool))
    for start in range(0, len(pool), CHUNK):
        part = slice(start, start + CHUNK)
        x = pool.standard_features(part).astype(np.float32)
        attend(x, points, rates, 1 / (known.shape[1] * width**2), False, out[part])
    return np.clip(offset + slope * out, 0, 1).astype(np.float32), width, error


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope >= 0 and offset of the least-squares line of y on x."""
    spread = ((x - x.mean()) ** 2).sum()
    slope = max(((x - x.mean()) * (y - y.mean())).sum() / spread, 0.0) if spread > 0 else 0.0
    return slope, y.mean() - slope * x.mean()


# -------------------------------------------------------------------------------------------------- compiled loops


@compiled(error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def attend(x: Array, references: Array, values: Array, sharpness: float, others: bool, out: Array) -> None:
    """out[i] = sum_k w_k values[k], w the softmax over k of -sharpness |x_i - y_k|^2 / 2: values at known points.

    x (N, F) float32, out (N,). references (F, K) float32: the points y, one per column. others: whether the points are
    x themselves and x_i is to be guessed from the others.
    """
    features, known = references.shape
    half, score = np.zeros(known, np.float32), np.empty(known, np.float32)
    for f in range(features):
        for k in range(known):
            half[k] += f32(0.5) * references[f, k] * references[f, k]
    for i in range(x.shape[0]):
        for k in range(known):
            score[k] = -half[k]  # |x_i|^2 is the same for all k
        for f in range(features):
            mine = x[i, f]
            for k in range(known):
                score[k] += mine * references[f, k]
        if others:
            score[i] = f32(-np.inf)
        most = f32(-np.inf)
        for k in range(known):
            most = max(most, score[k])
        for k in range(known):
            score[k] = exp32(f32(sharpness) * (score[k] - most))
        if others:
            score[i] = f32(0)
        total, weight = f64(0), f64(0)
        for k in range(known):
            total += score[k] * values[k]
            weight += score[k]
        out[i] = total / weight
