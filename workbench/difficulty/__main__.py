"""Difficulty of items from an item-response matrix: python -m workbench.difficulty --help"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workbench.commands import Parser, exit_status, needs

needs("sweep")
from workbench.difficulty import irt
from workbench.difficulty.irt.marginal import GUESSING
from workbench.difficulty.responses import read_responses
from workbench.errors import check_choice, few, shown
from workbench.files import check_folder, check_writable, write_whole

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("items", "persons", "item_fit")
LARGE = 4000  # persons and items, of which both must be many for a fit to take more than a minute
SIMPLER = {"rasch": "1pl, which takes abilities to be normal,", "1pl": "rasch", "2pl": "1pl", "3pl": "2pl"}


def tables(fit: irt.Fit, responses: irt.Responses) -> dict[str, pd.DataFrame]:
    """items (item, a, b, c, se_a, se_b, se_c), persons (person, theta_eap, se) and item_fit (item, infit, outfit)."""
    import pandas as pd

    names = ("a", "b", "c", "se_a", "se_b", "se_c")
    items = pd.DataFrame({"item": responses.items} | {name: getattr(fit, name) for name in names})
    persons = pd.DataFrame({"person": responses.persons, "theta_eap": fit.theta, "se": fit.theta_se})
    fits = pd.DataFrame({"item": responses.items} | irt.item_fit(fit, responses))
    return {"items": items, "persons": persons, "item_fit": fits}


def about(fit: irt.Fit, responses: irt.Responses) -> dict[str, Any]:
    """The content of fit.json."""
    scale: str | None = "N(0, 1)"
    likelihood = "marginal"
    if len(responses.persons) == 1:
        scale, likelihood = "0, the one person", "binomial"
    elif fit.model == "rasch":
        likelihood = "conditional"
        scale = f"N({fit.theta_mean:.4f}, {fit.theta_sd:.4f}^2), estimated; b sum to 0" if fit.converged else None
    return {
        "model": fit.model,
        "likelihood": likelihood,
        "log_likelihood": _known(fit.log_likelihood),
        "parameters": fit.parameters,
        "aic": _known(fit.aic),
        "bic": _known(fit.bic),
        "converged": fit.converged,
        "iterations": fit.iterations,
        "theta": scale,
        "link": "logistic, no constant D",
        "prior_c": f"Beta({GUESSING[0]:g}, {GUESSING[1]:g})" if fit.model == "3pl" else None,
        "persons": len(responses.persons),
        "items": len(responses.items),
        "missing": int((responses.attempts == 0).sum()),
        "extreme_items": _named(responses, fit.extreme),
        "flat_items": _named(responses, fit.flat),
        "runaway_items": _named(responses, fit.runaway),
        "overdispersion": irt.overdispersion(fit, responses) if fit.converged else None,
    }


def trouble(fit: irt.Fit, responses: irt.Responses) -> str:
    """The reason why a fit has no estimates, and a remedy."""
    if fit.flat.any() and fit.model == "1pl":
        return (
            f"the 1pl fit did not converge to difficulties: success does not vary with ability "
            f"(a = {fit.a[fit.flat][0]:.3g}, standard error {fit.se_a[fit.flat][0]:.3g}), so b = -d / a may be "
            "anything: rasch or more persons may help"
        )
    if fit.flat.any():
        return (
            f"the {fit.model} fit did not converge to a difficulty of all items: success does not vary with ability at "
            f"{flat_ones(fit, responses)}, so b = -d / a may be anything there: leaving them out, 1pl or more persons "
            "may help"
        )
    value = "" if np.isnan(fit.log_likelihood) else f" (log likelihood {fit.log_likelihood:.3f})"
    said = f"the {fit.model} fit did not converge in {fit.iterations} iterations{value}"
    away, kept = _named(responses, fit.runaway), ~fit.extreme & ~fit.runaway
    if not away:
        return f"{said}: {SIMPLER[fit.model]} or more persons may help"
    if not kept.any():
        where = f"estimates run away at all {len(away)} items"
        why = "their answers have an order with hardly an exception"
        return f"{said}: {where}, as {why}: more persons may help"
    where = f"estimates run away at {few(away)} ({len(away)} of {len(away) + kept.sum()} items)"
    if fit.model == "rasch":
        where += ", which no chain of answers, right here and wrong there, compares with the others both ways"
    return f"{said}: {where}: leaving them out, {SIMPLER[fit.model]} or more persons may help"


def flat_ones(fit: irt.Fit, responses: irt.Responses, most: int = 5) -> str:
    """The first `most` of the items that are flat, with their slopes."""
    names = [
        f"{shown(name)} (a = {a:.3g}, standard error {se:.3g})"
        for name, a, se in zip(_named(responses, fit.flat), fit.a[fit.flat], fit.se_a[fit.flat], strict=True)
    ]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _named(responses: irt.Responses, which: NDArray[np.bool_]) -> list[str]:
    return [name for name, has in zip(responses.items, which, strict=True) if has]


def _known(value: float) -> float | None:
    """The value, None where it is not finite: JSON has no infinity and no NaN."""
    return value if np.isfinite(value) else None


def parser() -> Parser:
    p = Parser(prog="python -m workbench.difficulty", description=__doc__.split("\n")[0], allow_abbrev=False)
    p.add_argument("responses", help="a table: wide (a row per person, a column per item: 0, 1, TRUE, FALSE, blank, "
                   "NA; a column person of names, or none), long (person or id, item, resp; or person, item, "
                   "successes, attempts) or py-irt's lines; apart by commas, semicolons or tabs, as JSON lines or "
                   "Parquet, gzip or not; one person is enough for rasch and 1pl")  # fmt: skip
    p.add_argument("--model", default="2pl", help="rasch (conditional), 1pl, 2pl or 3pl (default: %(default)s)")
    p.add_argument("--weights", metavar="COLUMN", help="of a wide table: how many persons gave the answers of a row; "
                   "the answers may then be one column of patterns, 01101")  # fmt: skip
    p.add_argument("--out", default="results/difficulty", help="folder for the tables (default: %(default)s)")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: estimate(options))


def estimate(options: argparse.Namespace) -> int:
    """Fit the responses, write and print the estimates. Returns the exit status, 1 if the fit did not converge."""
    check_choice("--model", options.model, irt.MODELS)
    out = check_folder("--out", options.out)
    with warnings.catch_warnings(record=True, action="always", category=UserWarning) as notes:
        responses = read_responses(options.responses, options.weights)
    for note in notes:
        print(f"note: {note.message}", file=sys.stderr)
    groups = irt.apart(responses)
    if groups and options.model != "rasch":
        print(f"note: the persons are in {groups}: b of two groups compare if these are equally able", file=sys.stderr)
    if min(responses.attempts.shape) > LARGE:
        persons, items = responses.attempts.shape
        print(f"note: this may take minutes: with {persons} persons and {items} items, each step of the fit solves for "
              f"{min(persons, items)} unknowns or more", file=sys.stderr)  # fmt: skip
    check_writable("--out", out)
    fit = irt.fit(responses, options.model)
    facts = about(fit, responses)
    made = tables(fit, responses) if fit.converged else {}
    write_whole(out / "fit.json", (json.dumps(facts, indent=1) + "\n").encode())
    if not fit.converged:
        for name in TABLES:  # of an earlier fit
            (out / f"{name}.csv").unlink(missing_ok=True)
        print(f"error: {trouble(fit, responses)}; only {out}/fit.json was written", file=sys.stderr)
        return 1
    if fit.flat.any():
        print(f"note: success does not vary with ability, as far as the data say, at {flat_ones(fit, responses)}; "
              "their b is hardly known, see se_b", file=sys.stderr)  # fmt: skip
    for name, table in made.items():
        write_whole(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())
    print(report(made, facts, irt.extremes(responses)))
    print(f"\n{options.out}: items.csv persons.csv item_fit.csv fit.json")
    return 0


def report(made: dict[str, pd.DataFrame], facts: dict[str, Any], extremes: str, most: int = 20) -> str:
    """The estimates as text, the first `most` items. extremes: `irt.extremes`."""
    items = made["items"].merge(made["item_fit"], on="item")
    lines = [
        f"{facts['model']}: {facts['items']} items, {facts['persons']} persons, log likelihood "
        f"{facts['log_likelihood']:.3f} ({facts['likelihood']}), AIC {facts['aic']:.1f}, BIC {facts['bic']:.1f}, "
        f"{facts['iterations']} iterations",
        items.head(most).to_string(index=False, float_format=lambda x: f"{x:.3f}"),
    ]
    if len(items) > most:
        lines.append(f".. and {len(items) - most} more in items.csv")
    if extremes:
        lines.append(f"not in the fit, see `irt.Fit` on their b: items {extremes}")
    if facts["overdispersion"]:
        lines.append(f"overdispersion: rho = {facts['overdispersion']:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
