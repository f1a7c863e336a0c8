"""beta, extremes, prefetch, label-noise: findings of and about AdaRFT, and in how many draws of each learner they hold.

Each study gives a row per learner and finding (`family.finding`), and the curves behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sims.paper import family
from sims.paper.family import Floats, area, finding, wide
from sims.paper.published import JUDGE_CORRELATION, MATCH_STEP, STABLE_SHARE, STABLE_WITHIN, STEPS
from workbench.controllers import AdaRFT, Rule, Uniform
from workbench.controllers.rule import Draw, Feedback, Items
from workbench.controllers.rules.nearest import nearest
from workbench.errors import InputError
from workbench.lanes import per_lane
from workbench.learners import difficulty_to_logit
from workbench.pool import GRID, Pool
from workbench.progress import make_bar
from workbench.streams import Role, generator

Rows = list[dict[str, Any]]
Arms = dict[str, tuple[str, Rule, Pool]]


class Outcome(NamedTuple):
    findings: pd.DataFrame
    curves: pd.DataFrame


def by_learner(curves: pd.DataFrame) -> Iterator[tuple[str, Callable[[str], pd.DataFrame]]]:
    """Pairs of a learner's label and a function from a controller to its runs."""
    for learner, block in curves.groupby("learner", sort=False):
        arms = dict(list(block.groupby("controller", sort=False)))
        yield str(learner), arms.__getitem__


def late(curves: pd.DataFrame, column: str, since: float = 0.5) -> Floats:
    """(D,) mean of a series over the records after that share of the run."""
    values = wide(curves, column)
    return np.asarray(values[:, int(since * values.shape[1]) :].mean(axis=1))


def without_tabular(learners: list[str]) -> list[str]:
    left = [name for name in learners if name != "tabular"]
    if not left:
        raise InputError("--learners: must have another than tabular, which is scored on what it trains on")
    return left


def simulate(
    study: str, learners: list[str], arms: Arms, steps: int, draws: int, seed: int, **priors: tuple[float, float, str]
) -> pd.DataFrame:
    with make_bar(total=len(learners) * len(arms), desc=study, unit="arm") as bar:
        return family.run_all(learners, arms, steps, draws, seed, bar, **priors)


# ----------------------------------------------------------------------------------------------------------- beta


def beta(learners: list[str], draws: int, seed: int) -> Outcome:
    """Targets .2, .5 and .8 on the uniform pool. Source: arXiv 2504.05520, section 5.3, figure 4."""
    pool = Pool.synthetic("uniform")
    arms: Arms = {f"adarft beta={b:g}": ("adarft", AdaRFT(beta=b), pool) for b in (0.2, 0.5, 0.8)}
    curves = simulate("beta", learners, {"uniform": ("uniform", Uniform(), pool)} | arms, STEPS, draws, seed)
    rows: Rows = []
    for learner, of in by_learner(curves):
        low, mid, high = (of(name) for name in arms)
        gain = area(mid) - np.maximum(area(low), area(high))
        what = "beta .5 learns fastest (area over the better of .2, .8)"
        rows.append(finding(learner, what, ".5 best", gain > 0, gain))
        gain = area(mid) - area(of("uniform"))
        rows.append(finding(learner, "beta .5 beats uniform PPO (area)", "yes", gain > 0, gain))
        for target, runs in ((0.2, low), (0.5, mid), (0.8, high)):
            reward = late(runs, "reward")
            what = f"reward stays within .1 of beta {target:g} (second half)"
            rows.append(finding(learner, what, "yes (.8: high)", np.abs(reward - target) <= 0.1, reward))
        harder = late(low, "batch_difficulty") - late(high, "batch_difficulty")
        what = "lower beta, harder items and so longer answers (difficulty at .2 over .8)"
        order = [late(runs, "batch_difficulty") for runs in (low, mid, high)]
        rows.append(finding(learner, what, "longest at .2, shortest at .8",
                            (order[0] > order[1]) & (order[1] > order[2]), harder))  # fmt: skip
    return Outcome(pd.DataFrame(rows), curves)


# ------------------------------------------------------------------------------------------------------- extremes


def extremes(learners: list[str], draws: int, seed: int) -> Outcome:
    """Only easy or only hard items, 50 steps, the 7B model. Source: arXiv 2504.05520, section 5.4, figure 5.

    A 7B base model is taken to be about as able as the labelling one: theta0 from -1.5 to 0.5. `tabular` is left out:
    it is scored on the pool it trains on, which here differ.
    """
    learners = without_tabular(learners)
    pools = [Pool.synthetic(name) for name in ("uniform", "easy-extreme", "hard-extreme")]
    arms: Arms = {f"uniform on {pool.name}": ("uniform", Uniform(), pool) for pool in pools}
    arms["adarft on uniform"] = ("adarft", AdaRFT(), pools[0])
    curves = simulate("extremes", learners, arms, 50, draws, seed, theta0=(-1.5, 0.5, ""))
    rows: Rows = []
    for learner, of in by_learner(curves):
        plain, easy, hard = (of(name) for name in list(arms)[:3])
        ours = of("adarft on uniform")
        for what, gain in (
            ("adarft beats uniform (area)", area(ours) - area(plain)),
            ("uniform beats easy only (area)", area(plain) - area(easy)),
            ("uniform beats hard only (area)", area(plain) - area(hard)),
        ):
            rows.append(finding(learner, what, "yes", gain > 0, gain))
        reward = wide(hard, "reward")[:, 1:].mean(axis=1)
        rows.append(finding(learner, "hard only: reward below .05", "about 0", reward < 0.05, reward))
        gain = wide(hard)[:, -1] - wide(hard)[:, 0]
        share = gain / np.maximum(wide(plain)[:, -1] - wide(plain)[:, 0], 1e-9)
        rows.append(finding(learner, "hard only: flat (gain below a tenth of uniform's)", "flat", share < 0.1, share))
        reward = wide(easy, "reward")[:, 1:3].mean(axis=1)
        what = "easy only: reward .4 to .6 in the first ten steps"
        rows.append(finding(learner, what, ".4 to .6", (reward >= 0.4) & (reward <= 0.6), reward))
        reward = late(ours, "reward")
        what = "adarft: reward within .1 of .5 (second half)"
        rows.append(finding(learner, what, "near .5", np.abs(reward - 0.5) <= 0.1, reward))
        target = wide(ours, "target")
        rise = target[:, -3:].mean(axis=1) - target[:, 2:5].mean(axis=1)
        rows.append(finding(learner, "adarft: target difficulty rises", "rises steadily", rise > 0, rise))
    curves["pool"] = "extremes"  # one panel per learner
    return Outcome(pd.DataFrame(rows), curves)


# ------------------------------------------------------------------------------------------------------- prefetch


class AheadState(NamedTuple):
    target: Floats  # (R,) follows the reward at once
    drawn: Floats  # (R,) what the batches of this epoch are drawn at


@dataclass(frozen=True)
class PrefetchedAdaRFT(AdaRFT):
    """AdaRFT behind a loader that draws a whole epoch ahead: T moves every step, batches see it every `ahead` steps.

    ahead: batches per epoch, >= 1; ceil(10,000 / 1024) = 10 in the paper's setting, fewer than its loader prefetches.
    Source: behaviour of the code released with arXiv 2504.05520 since its loader has workers (2025-04-10); ties by
    position, so equal T gives equal batches.
    """

    ahead: int = 10
    ties: str = "first"

    def init(self, pool: Pool, lanes: int) -> Any:
        start = per_lane("start", self.start, lanes)
        return AheadState(start, start)

    def select(self, state: Any, draw: Draw, count: int) -> tuple[Items, Any]:
        drawn = state.target if draw.step % self.ahead == 0 else state.drawn
        return nearest(draw, drawn, count, self.ties), state._replace(drawn=drawn)

    def update(self, state: Any, feedback: Feedback) -> Any:
        return super().update(state, feedback)


def prefetch(learners: list[str], draws: int, seed: int) -> Outcome:
    """What the released loader does to AdaRFT on skew-difficult, and what that costs in steps."""
    pool = Pool.synthetic("skew-difficult")
    arms: Arms = {
        "uniform": ("uniform", Uniform(), pool),
        "adarft": ("adarft", AdaRFT(ties="first"), pool),
        "adarft prefetched": ("prefetched", PrefetchedAdaRFT(), pool),
    }
    curves = simulate("prefetch", learners, arms, 2 * STEPS, draws, seed)
    rows: Rows = []
    for learner, of in by_learner(curves):
        plain, ours, ahead = (of(name) for name in arms)
        target = wide(ahead, "target")[:, 1:]
        ends = (target >= 99).any(axis=1) & (target <= 1).any(axis=1)
        rows.append(finding(learner, "prefetched: T swings between 0 and 100 (range of T)", "0 <-> 100", ends,
                            np.ptp(target, axis=1)))  # fmt: skip
        target = wide(ours, "target")[:, 4:]
        spread = np.abs(np.diff(target, axis=1)).mean(axis=1)
        what = "zero lag: T smooth after the first steps (mean move between records below 10)"
        rows.append(finding(learner, what, "24, 47, 50, 51, ...", spread < 10, spread))
        unique = wide(ahead, "coverage")[:, 6] * len(pool)
        rows.append(finding(learner, "prefetched: distinct items in 30 steps below 2,500", "2,048 (toy reward)",
                            unique < 2500, unique))  # fmt: skip
        steps = np.sort(curves["step"].unique()).astype(np.float64)
        goal = wide(ours)[:, np.searchsorted(steps, MATCH_STEP)]
        cost = family.extra_steps(steps, wide(ahead), goal, MATCH_STEP)
        what = f"prefetching costs steps (extra steps to match AdaRFT at step {MATCH_STEP})"
        rows.append(finding(learner, what, "not measured", cost > 0, cost))
        loss = area(plain) - area(ahead)
        rows.append(finding(learner, "prefetched is worse than uniform (area)", "not measured", loss > 0, loss))
    return Outcome(pd.DataFrame(rows), curves)


# ---------------------------------------------------------------------------------------------------- label noise


def relabelled(pool: Pool, difficulty: Floats, name: str) -> Pool:
    return Pool(np.clip(difficulty, 0, 100), name=name)


def stability(pool: Pool, attempts: int, trials: int, seed: int) -> Floats:
    """(trials,) share of items whose pass rate from so many of their 128 attempts is within 0.05 of that from all."""
    rng = generator(seed, Role.PROBE, attempts)
    right = np.rint(GRID * (1 - pool.difficulty / 100)).astype(np.int64)
    rate = rng.hypergeometric(right, GRID - right, attempts, size=(trials, len(right))) / attempts
    return np.asarray((np.abs(rate - right / GRID) <= STABLE_WITHIN + 1e-12).mean(axis=1))


def judged(b: Floats, seed: int) -> Floats:
    """Ratings 1 to 5 in half points, as difficulty 0 to 100, correlated with the solve rate as published."""
    rate, noise = 1 / (1 + np.exp(b)), generator(seed, Role.DEMONSTRATION).standard_normal(len(b))
    signal = (rate - rate.mean()) / rate.std()
    latent = JUDGE_CORRELATION * signal + np.sqrt(1 - JUDGE_CORRELATION**2) * noise
    rating = np.clip(np.round(2 * (3 + latent)) / 2, 1, 5)
    return np.asarray(25 * (rating - 1))


def label_noise(learners: list[str], draws: int, seed: int) -> Outcome:
    """How good labels must be, on skew-difficult: attempts behind them, another scorer, an LLM's rating.

    Source: arXiv 2504.05520, figure 1a (stability) and section 5.6 (ratings). The learner's own difficulties are the
    scorer's plus noise of 0.7 logits; a wrong scorer's labels are off by more. AdaRFT's eta is 2.5 on ratings 1 to 5.
    `tabular` is left out: it is scored by deciles of the labels, which here differ.
    """
    learners = without_tabular(learners)
    exact = Pool.synthetic("skew-difficult")
    scorer = difficulty_to_logit(exact.difficulty)
    rng = generator(seed, Role.ITEM)
    b = scorer + 0.7 * rng.standard_normal(len(scorer))
    off = rng.standard_normal(len(scorer))
    arms: Arms = {"uniform": ("uniform", Uniform(), exact), "adarft": ("adarft", AdaRFT(), exact)}
    for n in (32, 64, 128):
        hits = generator(seed, Role.PROBE, n).binomial(n, 1 / (1 + np.exp(scorer)))
        arms[f"adarft attempts={n}"] = ("adarft", AdaRFT(), relabelled(exact, 100 * (1 - hits / n), exact.name))
    for sd in (1.5, 3.0):
        label = 100 / (1 + np.exp(-(scorer + sd * off)))
        arms[f"adarft scorer-off={sd:g}"] = ("adarft", AdaRFT(), relabelled(exact, label, exact.name))
    rating = relabelled(exact, judged(scorer, seed), exact.name)
    arms["adarft judged"] = ("adarft", AdaRFT(eta=2.5 * 25), rating)
    parts = []
    with make_bar(total=len(learners) * len(arms), desc="label-noise", unit="arm") as bar:
        for learner in learners:
            law = family.draw_law(learner, draws, seed)
            for name, (rule_name, rule, pool) in arms.items():
                frame = family.run(law, rule, pool, STEPS, draws, seed, b=b)
                parts.append(frame.assign(learner=family.label(learner), controller=name, rule=rule_name,
                                          pool=exact.name))  # fmt: skip
                bar.update()
    curves = pd.concat(parts, ignore_index=True)
    rows: Rows = []
    for n, share in STABLE_SHARE.items():
        for pool in (Pool.synthetic(name) for name in ("skew-difficult", "uniform", "skew-easy")):
            held = stability(pool, n, 10, seed)
            what = f"{n} of 128 attempts: share of items within .05 is within .05 of the published one"
            text = f"{share:.0%}" if n == 40 else f"> {share:.0%}"
            holds = np.abs(held - share) <= 0.05 if n == 40 else held > share
            rows.append(finding(f"({pool.name})", what, text, holds, held))
    for learner, of in by_learner(curves):
        plain, ours = area(of("uniform")), area(of("adarft"))
        gain = ours - plain
        rows.append(finding(learner, "adarft beats uniform with the scorer's own labels (area)", "yes", gain > 0, gain))
        for n in (32, 64):
            kept = area(of(f"adarft attempts={n}")) - area(of("adarft attempts=128"))
            what = f"{n} attempts serve as well as 128 (area lost below .005)"
            rows.append(finding(learner, what, "64 said to be enough", kept > -0.005, kept))
        for sd in (1.5, 3.0):
            left = area(of(f"adarft scorer-off={sd:g}")) - plain
            rows.append(finding(learner, f"scorer off by {sd:g} logits: adarft still beats uniform", "not measured",
                                left > 0, left))  # fmt: skip
        judge = area(of("adarft judged"))
        rows.append(finding(learner, "pass-rate labels beat ratings (area)", "yes", ours > judge, ours - judge))
        rows.append(finding(learner, "ratings beat uniform (area)", "yes", judge > plain, judge - plain))
    return Outcome(pd.DataFrame(rows), curves)


STUDIES: dict[str, tuple[Callable[[list[str], int, int], Outcome], str]] = {
    "beta": (beta, "target rewards .2, .5 and .8"),
    "extremes": (extremes, "only easy or only hard items"),
    "prefetch": (prefetch, "what the released code's loader does to the curriculum"),
    "label-noise": (label_noise, "fewer attempts behind the labels, another scorer, a judge"),
}
