"""Which further log would tell two learners apart: the log score that it is expected to put between them.

    nats(m, m') = E_{y ~ p_m(. | log)} [ ln p_m(y | log) - ln p_m'(y | log) ]
    bits        = 1/2 sum_m E_{y ~ p_m(. | log)} [ log2( p_m(y | log) / (1/2 p_m(y | log) + 1/2 p_m'(y | log)) ) ]

y are the groups of n further updates, in which a rule picks the items. p_m(y | log) is the posterior predictive
distribution of law m: the mean over draws of its parameters, with the items' difficulties integrated out
(`calibration.evidence`). nats is the Kullback-Leibler divergence between the two, the expected logarithm of the Bayes
factor; bits is what y is expected to say of which of two laws, equally probable before, is right: 0 nothing, 1 all.
Source: expected information of an experiment, Lindley 1956; for telling models apart, Cavagnaro, Myung, Pitt & Kujala
2010. Expectations are means over simulated futures; that of each has another draw than those that score it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from workbench.calibration.candidates import Candidate
from workbench.calibration.evidence import Groups, Observation, log_evidence
from workbench.calibration.fit import Fit, LawFit
from workbench.calibration.futures import open_difficulty
from workbench.calibration.log import Counts
from workbench.calibration.replay import Replay, difficulty_of, known_pool, logits
from workbench.controllers import Controller
from workbench.errors import InputError, check_choice, check_count, check_kind, shown
from workbench.lanes import Floats
from workbench.learners import Law, SimLearner
from workbench.pool import Pool
from workbench.registry import BASELINE
from workbench.streams import Role, generator, run_seeds

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]
FUTURES, DRAWS = 8, 48
PILOTS = ("adarft eta=5", "mopps")  # the second where the pool has no labels
FEWEST = 5  # updates of a future by default


@dataclass(frozen=True)
class Seen:
    """The groups of R futures of n updates: items, successes (n, R, B). attempts: of each group."""

    items: Ints
    successes: Ints
    attempts: int


@dataclass(frozen=True)
class Known:
    """A law after the log, in D draws of its parameters. run: the run that goes on."""

    fit: LawFit
    points: Floats
    replay: Replay
    run: int

    @cached_property
    def law(self) -> Law:
        return self.fit.space.law_at(self.points)

    @cached_property
    def given(self) -> Observation:
        return self.fit.space.observation(self.points, self.law)

    @cached_property
    def zeta(self) -> Floats:
        """(D, N) of the groups of the log."""
        return self.fit.space.zeta(self.points, self.replay)

    @cached_property
    def log_chance(self) -> Floats:
        """(D, I) log chance of each item's groups in the log."""
        out, groups = np.zeros((len(self.points), len(self.replay.pool))), Groups(self.replay.log)
        out[:, groups.items] = log_evidence(groups, self.zeta, self.given, self.replay.log.updates)
        return out

    @cached_property
    def home(self) -> Floats:
        """(D, I) what zeta has beside the logit of the learner: nothing where items have labels."""
        space = self.fit.space
        if space.labelled:
            return np.zeros((len(self.points), len(self.replay.pool)))
        return space.mean(self.points)[:, None] - self.replay.first(self.law, len(self.points))

    @cached_property
    def last(self) -> SimLearner:
        """The learners (D) after the run."""
        return self.replay.learner(self.law, len(self.points), self.run)

    def learner(self, times: int) -> SimLearner:
        """The learners after the run, all of them `times` times over: lanes (times, D)."""
        law = self.fit.space.law_at(np.tile(self.points, (times, 1)))
        found = SimLearner(law, self.replay.pool, seed=0, lanes=times * len(self.points), b=self.replay.b)
        state = self.last.state
        found.state = type(state)(*(np.concatenate([part] * times) for part in state))
        found.signal_squares, found.updates = np.tile(self.last.signal_squares, times), self.last.updates
        return found

    def log_score(self, seen: Seen) -> Floats:
        """(R,) log chance of the groups of each future given the log: of the mean over the draws."""
        draws, (steps, futures, batch) = len(self.points), seen.items.shape
        learner, home = self.learner(futures), np.tile(self.home, (futures, 1))
        zeta = np.empty((draws, futures, steps, batch))
        for step in range(steps):
            items, k = (np.repeat(of[step], draws, axis=0) for of in (seen.items, seen.successes))
            z = logits(learner, items) + np.take_along_axis(home, items, axis=1)
            zeta[:, :, step] = z.reshape(futures, draws, batch).transpose(1, 0, 2)
            learner.learn(items, (np.arange(seen.attempts) < k[..., None]).astype(np.float32))
        log, size = self.replay.log, len(self.replay.pool)
        last = int(log.step[log.run == self.run].max())
        past = [np.flatnonzero(np.isin(log.item, seen.items[:, r])) for r in range(futures)]
        rows, future = np.concatenate(past), np.repeat(np.arange(futures), [len(of) for of in past])
        shape = (futures, steps, batch)  # the items of each future are others
        ahead = {"run": np.full(shape, self.run), "step": np.broadcast_to(last + 1 + np.arange(steps)[:, None], shape),
                 "item": (seen.items + np.arange(futures)[:, None] * size).transpose(1, 0, 2),
                 "successes": seen.successes.transpose(1, 0, 2), "attempts": np.full(shape, seen.attempts)}  # fmt: skip
        both = {name: np.append(getattr(log, name)[rows] + (future * size if name == "item" else 0), of.ravel())
                for name, of in ahead.items()}  # fmt: skip
        groups = Groups(Counts(**both))
        whole = log_evidence(groups, np.concatenate([self.zeta[:, rows], zeta.reshape(draws, -1)], axis=1), self.given,
                             last + steps)  # fmt: skip
        gained = whole - self.log_chance[:, groups.items % size]
        of_future = np.stack([gained[:, groups.items // size == r].sum(axis=1) for r in range(futures)])
        return np.asarray(logsumexp(of_future, axis=1) - np.log(draws))

    def imagined(self, candidate: Candidate, pool: Pool, steps: int, batch: int, attempts: int, seeds: Any) -> Seen:
        """Futures, one of each draw, in which a rule picks the items. seeds: (D,)."""
        given, rng = self.given, generator(int(seeds[0]), Role.ROLLOUT)
        low, high = given.floor[:, None], given.ceiling[:, None]
        u = open_difficulty(self.fit, self.points, self.replay, len(self.replay.pool), self.run, rng) + self.home
        learner, controller = self.learner(1), Controller(candidate.rule, pool, seed=seeds)
        alpha, found = (1 / given.rho - 1)[:, None], []
        for _ in range(steps):
            items = controller.next_batch(batch)
            z = logits(learner, items) + np.take_along_axis(u, items, axis=1)
            p = np.clip(low + (high - low) * expit(z), 1e-9, 1 - 1e-9)
            k = rng.binomial(attempts, rng.beta(alpha * p, alpha * (1 - p)))
            rewards = (np.arange(attempts) < k[..., None]).astype(np.float32)
            controller.observe(items, rewards)
            learner.learn(items, rewards)
            u += given.drift[:, None] * rng.standard_normal(u.shape)
            found.append((items, k))
        items, k = (np.stack(of) for of in zip(*found, strict=True))
        return Seen(items, k, attempts)


def separation(
    fit: Fit,
    steps: int | None = None,
    rules: Sequence[str] = (BASELINE,),
    learners: Sequence[str] | None = None,
    futures: int = FUTURES,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """How far further updates are expected to tell two learners of a fit apart, by the rule that picks their items.

    steps: n further updates of the longest run, with as many groups and attempts as its median update has; by default a
    third of the log's. rules: names of controllers without gates, with settings as in "adarft eta=5". learners: two
    names, by default the two heaviest. futures: of each learner. draws: of the parameters of each, that score them.
    Columns: rule; steps; right, the learner that the futures are of; other; nats (mean over futures) with its standard
    error se; bits, of both learners together, in [0, 1] but for the error of few futures.
    Raises InputError for settings out of their domain, for a rule that has gates or that the pool does not do for, and
    where the fit has fewer than two learners.
    """
    import pandas as pd

    check_kind("fit", fit, Fit, "what calibrate(log, pool) gives")
    steps = max(FEWEST, fit.log.updates // 3) if steps is None else check_count("steps", steps, 1, 10_000)
    check_count("futures", futures, 2, 1000)
    check_count("draws", draws, 2, 4096)
    check_count("seed", seed, 0, 2**32 - 1)
    pair, tried = pair_of(fit, learners), rules_of(fit, rules, steps)
    labels, log = difficulty_of(fit.pool), fit.log
    replay = Replay(log, known_pool(fit.pool), np.zeros(len(fit.pool)) if labels is None else labels)
    run = int(log.run[np.argmax(log.step)])
    mine = log.run == run
    batch = min(round(np.median(np.unique(log.step[mine], return_counts=True)[1])), len(fit.pool))
    attempts = max(round(np.median(log.attempts[mine])), 2)
    of_law, seeds = [], run_seeds(seed, 2 * futures).reshape(2, futures)
    for number, name in enumerate(pair):
        order = generator(seed, Role.POSTERIOR, number).permutation(len(fit.laws[name].points))
        points = fit.laws[name].points[np.resize(order, futures + draws)]
        of_law.append([Known(fit.laws[name], part, replay, run) for part in np.split(points, [futures])])
    rows = []
    for candidate in tried:
        nats, bits = [], []
        for right in (0, 1):
            seen = of_law[right][0].imagined(candidate, fit.pool, steps, batch, attempts, seeds[right])
            score, other = (of_law[number][1].log_score(seen) for number in (right, 1 - right))
            nats.append(score - other)
            bits.append(np.mean(1 + (score - np.logaddexp(score, other)) / np.log(2)))
        rows += [{"rule": candidate.label, "steps": steps, "right": pair[right], "other": pair[1 - right],
                  "nats": float(nats[right].mean()), "se": float(nats[right].std(ddof=1) / np.sqrt(futures)),
                  "bits": float(np.mean(bits))} for right in (0, 1)]  # fmt: skip
    return pd.DataFrame(rows)


def told(fit: Fit, learners: Sequence[str]) -> str:
    """What further updates of uniform, and of a pilot of another rule, are expected to say of two learners."""
    rules = [BASELINE, next(name for name in PILOTS if not Candidate.of(name, 2).lacks(fit.pool))]
    table = separation(fit, rules=rules, learners=learners)
    parts = []
    for rule, of in table.groupby("rule", sort=False):
        first, second = of.to_dict("records")
        clear = any(row["nats"] > 2 * row["se"] for row in (first, second))
        parts.append(f"of {rule} by {first['nats']:.1f} nats where {first['right']} is right and {second['nats']:.1f} "
                     f"where {second['right']} is" + ", within the noise of the estimate" * (not clear))  # fmt: skip
    return f"{table['steps'][0]} more updates are expected to tell {' from '.join(learners)}: {'; '.join(parts)}."


def pair_of(fit: Fit, learners: Sequence[str] | None) -> list[str]:
    """The two learners to tell apart."""
    names = [name for name, _ in fit.ranked][:2] if learners is None else learners
    if not isinstance(names, (list, tuple)) or len(names) != 2 or len({*names}) != 2:
        raise InputError(f"learners: must be two that were fitted ({', '.join(fit.laws)}), got {shown(names)}")
    for name in names:
        check_choice("learners", name, tuple(fit.laws))
    return list(names)


def rules_of(fit: Fit, rules: Sequence[str], steps: int) -> list[Candidate]:
    if not isinstance(rules, (list, tuple)) or not rules:
        raise InputError(f"rules: must be a list of names of controllers, got {shown(rules)}")
    found = [Candidate.of(name, steps, "rules") for name in rules]
    for one in found:
        if why := "it has gates" if one.gates else one.lacks(fit.pool):
            raise InputError(f"rules: must be controllers without gates that the pool does for, got "
                             f"{shown(one.label)}: {why}")  # fmt: skip
    return found
