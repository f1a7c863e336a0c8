"""What a log says of each learner: draws of its parameters, weights between learners, and what the log can't tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workbench.calibration.log import Log
from workbench.calibration.priors import Space
from workbench.calibration.stacking import bagged, behind
from workbench.display import Report, as_html
from workbench.errors import InputError, check_choice, shown
from workbench.extras import named_extra
from workbench.files import check_path, write_whole
from workbench.lanes import Floats
from workbench.pool import Pool
from workbench.registry import BASELINE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

AS_BEFORE = 0.8  # a posterior whose deviation is this share of the prior's, or more, says hardly more than the prior
NEGLIGIBLE = 0.01  # weight below which a law is not spoken of
BEYOND = ("Not covered: learning of the answer's format, longer answers, changes of the optimiser, problems outside "
          "the pool.")  # fmt: skip
FEW = 100.0  # effective number of points below which the posterior is called rough


@dataclass(frozen=True, eq=False)
class LawFit:
    """One law. points: (D, P) draws of its free parameters on their scales, all equally probable given the whole log.
    predictive: (J,) log density of each item's later groups given the earlier ones of all items; NaN for an item
    without later groups. effective: the effective number of points behind the draws."""

    space: Space
    points: Floats
    predictive: Floats
    log_evidence: float
    effective: float

    @property
    def natural(self) -> dict[str, Floats]:
        """(D,) draws by parameter, in natural units."""
        law, values = self.space.law_at(self.points), self.space.natural(self.points)
        return {name: np.asarray(getattr(law, name)) if hasattr(law, name) else value for name, value in values.items()}

    @property
    def narrowing(self) -> dict[str, float]:
        """By parameter: the posterior's standard deviation over the prior's, on the parameter's scale."""
        priors = self.space.priors
        return {name: float(x.std() / priors[name].sd) for name, x in zip(priors, self.points.T, strict=True)}


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """Learners fitted to a log.

    log: with `item` as positions in `pool`. cut: the update after which groups were predicted, not fitted, to weigh the
    laws. laws: by name. reasons: learners that were left out, and why. looks: evaluations after `cut` that were
    predicted, too. kept_out: what is said of evaluations that are not used.
    """

    log: Log
    pool: Pool
    cut: int
    laws: dict[str, LawFit]
    reasons: dict[str, str]
    looks: int = 0
    kept_out: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"Fit({', '.join(f'{name} {weight:.2f}' for name, weight in self.ranked)})"

    def _repr_html_(self) -> str:
        return as_html("Fit", {name: f"weight {weight:.2f}" for name, weight in self.ranked})

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Learners and their weights, the heaviest first."""
        return sorted(self.weights.items(), key=lambda pair: -pair[1])

    @cached_property
    def _later(self) -> Floats:
        """(J, L) log densities of the items that have later groups, held-out ones behind."""
        both = np.stack([law.predictive for law in self.laws.values()], axis=1)
        return np.asarray(both[np.isfinite(both).all(axis=1)])

    @cached_property
    def weights(self) -> dict[str, float]:
        """By law: its weight in the mixture that best predicts the groups after `cut` (`stacking.bagged`)."""
        return dict(zip(self.laws, bagged(self._later).tolist(), strict=True))

    def draws(self, learner: str) -> pd.DataFrame:
        """A row per draw from the posterior of a learner, a column per parameter, in natural units."""
        check_choice("learner", learner, tuple(self.laws))
        with named_extra():
            import pandas as pd

        return pd.DataFrame(self.laws[learner].natural)

    @property
    def table(self) -> pd.DataFrame:
        """A row per learner, the best first: weight, log score per later group, how far it is behind the best with a
        standard error, and median and 80 % interval of each parameter as text."""
        with named_extra():
            import pandas as pd

        less, error = behind(self._later)
        groups = int((self.log.step > self.cut).sum()) + self.looks
        rows = []
        for place, (name, law) in enumerate(self.laws.items()):
            told = {key: "{1:.3g} [{0:.3g}, {2:.3g}]".format(*np.quantile(values, [0.1, 0.5, 0.9]))
                    for key, values in law.natural.items()}  # fmt: skip
            rows.append({"learner": name, "weight": self.weights[name],
                         "log_score": self._later[:, place].sum() / groups, "behind": less[place],
                         "se": error[place], "parameters": ", ".join(f"{k} {v}" for k, v in told.items())})  # fmt: skip
        return pd.DataFrame(rows).sort_values("weight", ascending=False, kind="stable").reset_index(drop=True)

    @cached_property
    def unknown(self) -> list[str]:
        """What the log can't tell, and which further log would tell leading learners apart, a sentence each."""
        told = []
        less, error = behind(self._later)
        names = list(self.laws)
        best = names[int(less.argmin())]
        level = [name for name, a, s in zip(names, less, error, strict=True) if name != best and a < 2 * s]
        if level:
            with named_extra():
                from workbench.calibration import separation
            told.append(f"The log cannot tell {best} from {', '.join(level)}: their predictions of later groups "
                        "differ by less than two standard errors.")  # fmt: skip
            told.append(separation.told(self, [best, max(level, key=lambda name: self.weights[name])]))
        for name, weight in self.ranked:
            law = self.laws[name]
            same = [key for key, share in law.narrowing.items() if share >= AS_BEFORE]
            if weight >= NEGLIGIBLE and same:
                told.append(f"{name}: the log says hardly more than the prior of {', '.join(same)}.")
            if weight >= NEGLIGIBLE and law.effective < FEW:
                told.append(f"{name}: its draws are rough, with an effective number of {law.effective:.0f}.")
        return [*told, *(f"{name} was left out: {reason}." for name, reason in self.reasons.items()), *self.kept_out]

    def report(self) -> str:
        """What was fitted, the weights, the parameters, and what the log can't tell, as text."""
        lines = [self.log.understood, f"Learners fitted to updates 1 to {self.log.updates}; weights by their "
                 f"predictions of updates {self.cut + 1} to {self.log.updates} from those before.", ""]  # fmt: skip
        for row in self.table.to_dict("records"):
            gap = "best" if row["behind"] == 0 else f"{row['behind']:.1f} nats behind (se {row['se']:.1f})"
            lines.append(f"{row['learner']:<10} weight {row['weight']:.2f}   {row['log_score']:.4f} per group, {gap}")
            lines.append(f"           {row['parameters']}")
        return Report("\n".join([*lines, "", *self.unknown]))

    def foretold(self, bins: int = 10, draws: int = 64, seed: int = 0) -> pd.DataFrame:
        """A row per bin of the groups after `cut`, by their predicted chance: predicted and observed share of success,
        the latter with its 95 % interval. See `workbench.calibration.foretold.foretold`, which computes it."""
        with named_extra():
            from workbench.calibration.foretold import foretold

            return foretold(self, bins, draws, seed)

    def separation(
        self,
        steps: int | None = None,
        rules: Sequence[str] = (BASELINE,),
        learners: Sequence[str] | None = None,
        **settings: int,
    ) -> pd.DataFrame:
        """How far further updates are expected to tell two learners apart, by the rule that picks their items: a row
        per rule and learner. settings: futures, draws and seed. See `workbench.calibration.separation.separation`,
        which computes it."""
        with named_extra():
            from workbench.calibration.separation import separation

            return separation(self, steps, rules, learners, **settings)

    def plot(self, kind: str = "weights", **settings: Any) -> Figure:
        """A figure. kind: "weights", how far each learner's predictions of later groups are behind the best, with two
        standard errors, and its weight; or "calibration", predicted against observed success of those groups.
        settings: of `workbench.figures.law_weights` or `workbench.figures.calibration_plot`."""
        from workbench import figures

        check_choice("kind", kind, ("weights", "calibration"))
        if kind == "calibration":
            return figures.calibration_plot(self.foretold(), **settings)
        return figures.law_weights(self.table, **settings)

    def report_html(self, command: str = "") -> str:
        """The report as one file of HTML that fetches nothing. command: the line of a shell that made the fit."""
        from workbench.calibration.page import fit_page

        return fit_page(self, command).html()

    def save(self, path: str | Path) -> Path:
        """Write table, weights and draws as one JSON file, whole or not at all. Raises StorageError where the disk
        refuses."""
        path = check_path("path", path)
        if path.suffix != ".json":
            raise InputError(f"path: must end in .json, got {shown(str(path))}")
        laws = {name: {"weight": self.weights[name], "log_evidence": law.log_evidence, "effective": law.effective,
                       "draws": {key: values.tolist() for key, values in law.natural.items()}}
                for name, law in self.laws.items()}  # fmt: skip
        content = {"log": self.log.understood, "pool": self.pool.name, "pool_digest": self.pool.digest, "cut": self.cut,
                   "laws": laws, "unknown": self.unknown}  # fmt: skip
        write_whole(path, json.dumps(content, indent=1).encode())
        return path


def arrays_of(fit: LawFit) -> dict[str, NDArray[Any]]:
    """The numbers of one law, for a store."""
    return {"points": fit.points, "predictive": fit.predictive,
            "numbers": np.array([fit.log_evidence, fit.effective])}  # fmt: skip


def from_arrays(space: Space, arrays: dict[str, NDArray[Any]]) -> LawFit:
    """A LawFit from a store. Raises ValueError where the arrays are not those of this space."""
    points, predictive, numbers = (np.asarray(arrays[name], np.float64) for name in ("points", "predictive", "numbers"))
    if points.ndim != 2 or points.shape[1] != len(space.priors) or predictive.ndim != 1 or numbers.shape != (2,):
        raise ValueError("shapes")
    return LawFit(space, points, predictive, float(numbers[0]), float(numbers[1]))
