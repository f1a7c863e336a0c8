"""What is free in each law, and how much is known of it before a log is seen.

A parameter is normal on its own scale: its logarithm, its logit or itself. The priors are weak. Steps of a law are
measured by the log: over its updates a law at its prior's centre gains about GAIN logits where the signal is 1, because
a run that is worth advice is neither flat nor over in a few updates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from workbench.calibration.evidence import Observation
from workbench.calibration.replay import Replay
from workbench.errors import LARGEST, LOGITS, MOST, SMALLEST
from workbench.lanes import Floats
from workbench.learners import Law
from workbench.learners.law import BoundedLaw
from workbench.learners.laws import Interference, KernelTransfer, KnowledgeTracing, MultiSkill, ScalarIRT, Tabular
from workbench.registry import name_of

LEAST = 1e-6  # room between floor and ceiling, and between rho and 1
GAIN = 2.0  # logits over a log at the centre of kappa's prior
# What laws take. Draws beyond it lie so far out in the tails of a proposal that they have no weight.
TAKEN = {"theta0": (-LOGITS, LOGITS), "kappa": (0.0, MOST), "length": (SMALLEST, LARGEST), "locality": (0.0, LARGEST)}
OBSERVED = ("mean", "rho", "spread", "drift")  # parameters of what is observed, beside the law's


SHIFTED = (ScalarIRT, KernelTransfer, Interference)  # laws in which theta0 does nothing but shift logits


class Prior(NamedTuple):
    """Normal with this centre, in natural units, and this standard deviation on the scale "log", "logit" or "plain"."""

    scale: str
    centre: float
    sd: float


TO: dict[str, Callable[[Any], Any]] = {"log": np.log, "logit": logit, "plain": np.asarray}
FROM: dict[str, Callable[[Any], Any]] = {"log": np.exp, "logit": expit, "plain": np.asarray}

COMMON = ("theta0", "kappa", "forgetting")
FREE: Mapping[str, tuple[str, ...]] = {  # beside OBSERVED, COMMON, and a BoundedLaw's bounds
    "scalar": ("gamma",),
    "kernel": ("length",),
    "interference": ("locality", "length"),
    "skills": ("transfer",),
}
SHARES = {"forgetting": 0.002, "gamma": 0.5, "floor": 0.1, "ceiling": 0.95, "transfer": 0.3}  # centres in (0, 1)


@dataclass(frozen=True)
class Space:
    """The free parameters of a law on a log. law: with its other settings. updates: of the log. labelled: whether
    items have labels, so that the spread of what they leave open is small. free: names of the law's free parameters, by
    default those in FREE. warm_up: updates until the log's learning rate was reached, as `Law` has it.

    Without labels the logits of the items at the start are a population's, normal about a mean, and the law says only
    what is added to them. The mean is theta0 where that does nothing but shift logits; elsewhere it is a parameter.
    """

    law: Law
    updates: int
    items: int
    labelled: bool
    free: tuple[str, ...] | None = None
    warm_up: int = 0

    @property
    def name(self) -> str:
        return name_of(self.law)

    @property
    def priors(self) -> dict[str, Prior]:
        """By parameter: the law's, then those of what is observed."""
        bounds = ("floor", "ceiling") if isinstance(self.law, BoundedLaw) else ()
        names = (*COMMON, *FREE.get(self.name, ()), *bounds) if self.free is None else self.free
        own = {name: self._prior(name) for name in names}
        if not self.labelled and not isinstance(self.law, SHIFTED):
            own["mean"] = self._prior("theta0")
        return own | {
            "rho": Prior("logit", 0.02, 1.0),
            "spread": Prior("log", 0.7 if self.labelled else 1.5, 0.7),
            "drift": Prior("log", 0.15 / np.sqrt(self.updates), 1.0),  # logits after one update
        }

    def _prior(self, name: str) -> Prior:
        if name == "theta0":
            return Prior("plain", 0.0, 2.0)
        if name == "kappa":
            warm = np.minimum(1, (np.arange(self.updates) + 1) / (self.warm_up + 1))
            return Prior("log", GAIN / warm.sum() * self._spread_thin, 1.5)
        if name in ("length", "locality"):
            return Prior("log", 1.0, 0.7)
        return Prior("logit", SHARES[name], 1.5 if name in ("gamma", "transfer") else 1.0)

    @property
    def _spread_thin(self) -> float:
        """How many times kappa must be larger where a group teaches only some of the items."""
        if isinstance(self.law, Tabular):
            return float(self.items)
        if isinstance(self.law, KernelTransfer):
            return 1.0 if np.all(np.asarray(self.law.transfer_all) > 0) else 4.0
        if isinstance(self.law, KnowledgeTracing):  # of a half-known skill: d logit L = -2 ln(1 - learn) kappa / skills
            return float(self.law.skills / np.mean(-2 * np.log1p(-np.asarray(self.law.learn))))
        return 2.0 if isinstance(self.law, MultiSkill) else 1.0

    def points(self, normal: Floats) -> Floats:
        """(D, P) points on the parameters' scales from standard normals: draws from the prior."""
        return np.stack(
            [TO[p.scale](p.centre) + p.sd * z for p, z in zip(self.priors.values(), normal.T, strict=True)], 1
        )

    def log_prior(self, points: Floats) -> Floats:
        """(D,) log density of the prior on the parameters' scales."""
        sd = np.array([p.sd for p in self.priors.values()])
        z = (points - [TO[p.scale](p.centre) for p in self.priors.values()]) / sd
        return np.asarray(-0.5 * np.sum(z**2, axis=1) - np.sum(np.log(sd * np.sqrt(2 * np.pi))))

    def natural(self, points: Floats) -> dict[str, Floats]:
        """(D,) values of each parameter in natural units."""
        return {
            name: np.asarray(FROM[prior.scale](x))
            for (name, prior), x in zip(self.priors.items(), points.T, strict=True)
        }

    def law_at(self, points: Floats) -> Law:
        """The law whose lanes are the points."""
        values = self.natural(points)
        own: dict[str, Any] = {name: value for name, value in values.items() if name not in OBSERVED}
        own |= {name: np.clip(own[name], *ends) for name, ends in TAKEN.items() if name in own}
        if "floor" in own:  # the response curve needs floor < ceiling
            own["floor"] = np.clip(own["floor"], 0, 1 - LEAST)
            own["ceiling"] = own["floor"] + (1 - own["floor"]) * np.clip(own["ceiling"], LEAST, 1)
        known = {field.name for field in fields(self.law)}
        assert own.keys() <= known, own.keys() - known
        return replace(self.law, label_noise=0.0, warm_up=self.warm_up, **own)

    def zeta(self, points: Floats, replay: Replay) -> Floats:
        """(D, N) logit of each group's chance before its update where u of its item is 0: from the label, or from the
        mean of the population and what the law has added."""
        law, lanes = self.law_at(points), len(points)
        if self.labelled:
            return replay.zeta(law, lanes)
        return self.mean(points)[:, None] + replay.gained(law, lanes)

    def mean(self, points: Floats) -> Floats:
        """(D,) mean logit of the items at the start where they have no labels."""
        values = self.natural(points)
        return values["mean" if "mean" in values else "theta0"]

    def observation(self, points: Floats, law: Law) -> Observation:
        """The other parameters, and the response curve of the law whose lanes are the points."""
        values = self.natural(points)
        _, floor, ceiling = law.curve()
        low, high = (np.broadcast_to(np.asarray(v, np.float64), len(points)).copy() for v in (floor, ceiling))
        rho = np.minimum(values["rho"], 1 - LEAST)  # at 1 a group is one attempt, and the beta-binomial has no shape
        return Observation(rho, values["spread"], values["drift"], low, high)

