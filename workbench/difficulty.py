"""Difficulty of items from pass counts, from ratings, and from an item-response matrix.

    python -m workbench.difficulty responses.csv --model 2pl --out DIR

reads who solved what and writes items.csv, persons.csv, item_fit.csv and fit.json. One person, a language model with
many attempts per item, is enough for rasch and 1pl: b is then relative to that person's ability. See --help.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, gammaln

from workbench import irt
from workbench.commands import Parser, exit_status
from workbench.errors import InputError, check_choice, check_count, check_number, shown
from workbench.lanes import distinct_rows
from workbench.study.store import write_whole

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
LONG = ("person", "item", "successes", "attempts")
SOLVED, FAILED = ("1", "1.0"), ("0", "0.0")  # as a wide table has them
TABLES = ("items", "persons", "item_fit")
GRID, NEGLIGIBLE = 31, 14.0  # points a side of the population's grid; nats below its peak that are left out


# ----------------------------------------------------------------------------------------------------- pass counts


def from_counts(
    successes: ArrayLike, attempts: ArrayLike, level: float = 0.95, shrink: bool = False
) -> tuple[Floats, Floats, Floats]:
    """Difficulty d = 100 (1 - s / n) with an interval: (d, low, high), (I,) each in [0, 100].

    Intervals are equal-tailed, of the posterior Beta(s + 1/2, n - s + 1/2) of the pass rate (Jeffreys; Brown, Cai &
    DasGupta 2001), with their ends at 0 and 100 for items never or always solved. shrink: of Beta(s + alpha,
    n - s + beta) instead, mixed over what all items say about alpha and beta (`population`), and d from its mean: with
    few attempts, extreme counts move towards the others. The interval is of the Beta with the mixture's mean and
    variance (Morris 1983), which holds what is not known about alpha and beta: few items shrink little, and keep wide
    intervals. Raises InputError for counts out of their domain and for shrink with one item, which has no others.
    """
    s, n = _counts(successes, attempts)
    check_number("level", level, 0, 1, open_low=True, open_high=True)
    from scipy.stats import beta as beta_law

    alpha, beta = _shrunk(s, n) if shrink else (s + 0.5, n - s + 0.5)
    tail = (1 - level) / 2
    low, high = (beta_law.ppf(q, alpha, beta) for q in (tail, 1 - tail))
    if not shrink:
        low, high = np.where(s == 0, 0.0, low), np.where(s == n, 1.0, high)
    rate = alpha / (alpha + beta) if shrink else s / n
    return 100 * (1 - rate), 100 * (1 - high), 100 * (1 - low)


def _shrunk(s: NDArray[np.int64], n: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Beta (I,) with the mean and variance of each item's pass rate, a mixture of Beta(s + alpha, n - s + beta)."""
    alpha, beta, weight = population(s, n)
    pairs, of_item = distinct_rows(np.stack([s, n], axis=1))
    right, tries = pairs.T
    mean, square = np.zeros((2, len(pairs)))
    for a, b, w in zip(alpha, beta, weight, strict=True):
        total = tries + a + b
        rate = (right + a) / total
        mean += w * rate
        square += w * rate * (right + a + 1) / (total + 1)
    size = mean * (1 - mean) / (square - mean**2) - 1
    return (mean * size)[of_item], ((1 - mean) * size)[of_item]


def beta_binomial(successes: ArrayLike, attempts: ArrayLike) -> tuple[float, float]:
    """alpha, beta > 0 of the Beta from which the items' pass rates come: of the posterior means of its mean and rho.

    See `population`. With many items, nearly those of maximum likelihood, which for few may be infinite.
    """
    alpha, beta, weight = population(successes, attempts)
    mean, rho = weight @ (alpha / (alpha + beta)), weight @ (1 / (alpha + beta + 1))
    return float(mean * (1 / rho - 1)), float((1 - mean) * (1 / rho - 1))


def population(successes: ArrayLike, attempts: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """What the items say about the Beta(alpha, beta) of their pass rates: alpha, beta and posterior weights, (K,) each.

    The likelihood of the counts is beta-binomial (Griffiths 1973); the largest often has alpha + beta infinite, as if
    a few items of like counts were known to be all alike. So there is a prior: the mean alpha / (alpha + beta) and the
    correlation of two attempts at one item, rho = 1 / (alpha + beta + 1), are uniform on (0, 1). It is weak, as it puts
    the weight 1 - rho of the others against an item's first attempt anywhere in (0, 1), with a median of 1/2 as under
    Jeffreys' alpha + beta = 1. With 1,000 items of 8 attempts it moves d by 0.02 where rates have an sd of 0.2, by 0.2
    at an sd of 0.07. Weights are on a grid in the two logits, narrowed until it spans what is not negligible.
    """
    s, n = _counts(successes, attempts)
    if s.size < 2:
        raise InputError(f"successes: must be of at least 2 items to shrink to each other, got {s.size}")
    counts = [np.unique(of, return_counts=True) for of in (s, n - s, n)]
    box = np.array([[-20.0, 20.0], [-14.0, 14.0]])  # alpha + beta in (1e-6, 1e6)
    for _ in range(20):
        sides = np.linspace(box[:, 0], box[:, 1], GRID, axis=1)
        mean, rho = expit(sides[0])[:, None], expit(sides[1])
        size = expit(-sides[1]) / rho
        alpha, beta = mean * size, expit(-sides[0])[:, None] * size
        log_weight = np.log(mean) + np.log1p(-mean) + np.log(rho) + np.log(expit(-sides[1]))
        for sign, shape, (values, times) in zip((1, 1, -1), (alpha, beta, size), counts, strict=True):
            for value, many in zip(values, times, strict=True):
                log_weight += sign * many * (gammaln(shape + value) - gammaln(shape))
        log_weight -= log_weight.max()
        there = np.nonzero(log_weight > -NEGLIGIBLE)
        spacing = sides[:, 1] - sides[:, 0]
        narrow = np.array([[sides[k, at.min()], sides[k, at.max()]] for k, at in enumerate(there)])
        narrow += spacing[:, None] * np.array([-2, 2])
        narrow = np.clip(narrow, box[:, :1], box[:, 1:])
        if ((narrow[:, 1] - narrow[:, 0]) > 0.6 * (box[:, 1] - box[:, 0])).all():
            break
        box = narrow
    weight = np.exp(log_weight[there])
    return alpha[there], beta[there], weight / weight.sum()


def share_within(successes: ArrayLike, attempts: ArrayLike, fewer: int, margin: float = 0.05) -> float:
    """Expected share of items whose pass rate over `fewer` of their attempts is within `margin` of the one over all.

    Drawing m of n attempts without replacement, k successes are hypergeometric: exact, no resampling.
    Compare Shi et al. 2025, arXiv 2504.05520, figure 1a: of 128 attempts, over 90 % at 64 and about 80 % at 40.
    """
    from scipy.stats import hypergeom

    s, n = _counts(successes, attempts)
    check_count("fewer", fewer, 1, int(n.min()))
    low, high = np.ceil((s / n - margin) * fewer - 1e-9), np.floor((s / n + margin) * fewer + 1e-9)
    inside = hypergeom.cdf(high, n, s, fewer) - hypergeom.cdf(low - 1, n, s, fewer)
    return float(inside.mean())


def attempts_needed(successes: ArrayLike, attempts: ArrayLike, share: float, margin: float = 0.05) -> int:
    """The fewest attempts m at which, and beyond which, `share_within` is at least `share`."""
    _, n = _counts(successes, attempts)
    check_number("share", share, 0, 1)
    most = int(n.min())
    enough = [share_within(successes, attempts, m, margin) >= share for m in range(1, most + 1)]
    if not enough[-1]:
        raise InputError(f"share: must be reached by all {most} attempts, got {share}")
    return 1 + max((m + 1 for m in range(most) if not enough[m]), default=0)


def _counts(successes: ArrayLike, attempts: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    s, n = np.broadcast_arrays(np.atleast_1d(successes), np.atleast_1d(attempts))
    if s.dtype.kind not in "iuf" or n.dtype.kind not in "iuf" or s.size == 0:
        raise InputError(f"successes, attempts: must be whole numbers, got {s.dtype} and {n.dtype}")
    wrong = np.flatnonzero(~((n >= 1) & (s >= 0) & (s <= n) & (s == np.floor(s)) & (n == np.floor(n))))
    if wrong.size:
        row = wrong[0]
        got = f"{s[row]} of {n[row]} at row {row}"
        raise InputError(f"successes: must be whole numbers in [0, attempts] with attempts >= 1, got {got}")
    return s.astype(np.int64), n.astype(np.int64)


# --------------------------------------------------------------------------------------------------------- ratings


def from_ratings(ratings: ArrayLike, low: float = 1, high: float = 5) -> Floats:
    """Difficulty 100 (r - low) / (high - low) of judges' ratings r on a scale from low (easiest) to high."""
    check_number("low, high", np.array([low, high]))
    if low >= high:
        raise InputError(f"low, high: must have low < high, got {low} and {high}")
    check_number("ratings", np.ravel(ratings), low, high)
    return 100.0 * (np.asarray(ratings, dtype=np.float64) - low) / (high - low)


def matching_eta(eta: float, low: float = 1, high: float = 5) -> float:
    """AdaRFT's step on the raw scale [low, high] that moves as far, in share of the scale, as `eta` does on [0, 100].

    eta (high - low) / 100. The paper takes 2.5 on 1 to 5 where this gives 2.0 for its 50.
    """
    check_number("eta", eta, 0)
    return eta * (high - low) / 100.0


# -------------------------------------------------------------------------------------------------- response files


def read_responses(path: Path) -> irt.Responses:
    """Responses from a .csv: wide (a row per person, a column per item of 0, 1 or blank) or long.

    Wide: the first column names the persons if it is called person, has no name, or holds anything but 0, 1 and blank;
    else it is an item as well, and persons are called by their rows, from 1 on. Warns where that is a guess.
    Long: the columns person, item, successes, attempts, in any order; several rows of one person and item are refused.
    Raises InputError for anything else.
    """
    import pandas as pd

    if path.suffix != ".csv" or not path.is_file():
        raise InputError(f"responses: must be a .csv file that exists, got '{path}'")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (ValueError, OSError, csv.Error) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"responses: must be a readable .csv file, got '{path}' ({reason})") from None
    again = [name for k, name in enumerate(names) if name in names[:k]] if len(set(names)) < len(names) else []
    if again:
        raise InputError(f"columns: must come once each, got '{again[0]}' again")
    if not rows:
        raise InputError(f"responses: must have rows below the header, got none in '{path}'")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            got = f"got {len(row)} in row {number + 1}"
            raise InputError(f"responses: must have {len(names)} cells in each row, {got}")
    table = pd.DataFrame(rows, columns=names, dtype=str)
    named = set(LONG) & set(table.columns)
    if set(table.columns) == set(LONG):
        return _long(table)
    if len(named) >= 2:
        odd = sorted(set(table.columns) ^ set(LONG))
        raise InputError(f"columns: must be {', '.join(LONG)} for a long table, differs in {', '.join(map(str, odd))}")
    return _wide(table)


def _long(table: pd.DataFrame) -> irt.Responses:
    twice = table.duplicated(["person", "item"])
    if twice.any():
        row = table[twice].iloc[0]
        raise InputError(
            f"person, item: must come once each, got person '{row['person']}', item '{row['item']}' again "
            f"({int(twice.sum())} such rows)"
        )
    persons, items = list(dict.fromkeys(table["person"])), list(dict.fromkeys(table["item"]))
    at = (
        table["person"].map({name: k for k, name in enumerate(persons)}).to_numpy(),
        table["item"].map({name: k for k, name in enumerate(items)}).to_numpy(),
    )
    s, n = np.zeros((2, len(persons), len(items)))
    s[at], n[at] = _numbers(table["successes"], "successes"), _numbers(table["attempts"], "attempts")
    return irt.Responses(s, n, persons, items)


def _wide(table: pd.DataFrame) -> irt.Responses:
    cells = table.apply(lambda column: column.str.strip()).to_numpy()
    allowed = np.isin(cells, (*SOLVED, *FAILED, ""))
    items, persons = table.columns.tolist(), [str(row + 1) for row in range(len(table))]
    first, called = cells[:, 0], items[0].strip().lower() in ("", "person")
    answers = allowed[:, 0] & (first != "")
    named = called or not allowed[:, 0].all() or not answers.any()
    if not called and answers.any() and len(set(first)) == len(first):
        warnings.warn(f"the first column, {shown(items[0])}, is read as {'names of persons' if named else 'an item'}: "
                      "call it person if it has names, and have 0, 1 and blank in it if not", stacklevel=3)  # fmt: skip
    if named:
        persons, items, cells, allowed = table.iloc[:, 0].tolist(), items[1:], cells[:, 1:], allowed[:, 1:]
    if not items:
        raise InputError(f"columns: must have at least one item beside the person, got only {shown(table.columns[0])}")
    if len(set(persons)) < len(persons):
        again = next(name for k, name in enumerate(persons) if name in persons[:k])
        raise InputError(
            f"person: must come once each in the first column, unless an item is there (0, 1, blank), "
            f"got '{again}' again"
        )
    if not allowed.all():
        p, i = np.argwhere(~allowed)[0]
        where = f"person '{persons[p]}', item '{items[i]}'"
        raise InputError(f"responses: must be 0, 1 or blank, got '{cells[p, i]}' for {where}")
    return irt.Responses(np.isin(cells, SOLVED).astype(float), (cells != "").astype(float), persons, items)


def _numbers(column: pd.Series[Any], name: str) -> Floats:
    try:
        return np.array([float(text) for text in column])
    except ValueError:
        bad = next(text for text in column if not _is_number(text))
        raise InputError(f"{name}: must be whole numbers, got '{bad}'") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --------------------------------------------------------------------------------------------------------- command


def tables(fit: irt.Fit, responses: irt.Responses) -> dict[str, pd.DataFrame]:
    """items (item, a, b, c, se_a, se_b, se_c), persons (person, theta_eap, se) and item_fit (item, infit, outfit)."""
    import pandas as pd

    names = ("a", "b", "c", "se_a", "se_b", "se_c")
    items = pd.DataFrame({"item": responses.items} | {name: getattr(fit, name) for name in names})
    persons = pd.DataFrame({"person": responses.persons, "theta_eap": fit.theta, "se": fit.theta_se})
    fits = pd.DataFrame({"item": responses.items} | irt.item_fit(fit, responses))
    return {"items": items, "persons": persons, "item_fit": fits}


def about(fit: irt.Fit, responses: irt.Responses) -> dict[str, Any]:
    """What fit.json holds."""
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
        "prior_c": f"Beta({irt.GUESSING[0]:g}, {irt.GUESSING[1]:g})" if fit.model == "3pl" else None,
        "persons": len(responses.persons),
        "items": len(responses.items),
        "missing": int((responses.attempts == 0).sum()),
        "extreme_items": _named(responses, fit.extreme),
        "flat_items": _named(responses, fit.flat),
        "overdispersion": irt.overdispersion(fit, responses) if fit.converged else None,
    }


def trouble(fit: irt.Fit, responses: irt.Responses) -> str:
    """Why a fit has no estimates to show, and what may help."""
    if not fit.flat.any():
        value = "" if np.isnan(fit.log_likelihood) else f" (log likelihood {fit.log_likelihood:.3f})"
        return (
            f"the {fit.model} fit did not converge in {fit.iterations} iterations{value}: a smaller model or more "
            "persons may help"
        )
    if fit.model == "1pl":
        return (
            f"the 1pl fit did not converge to difficulties: success does not vary with ability "
            f"(a = {fit.a[fit.flat][0]:.3g}, standard error {fit.se_a[fit.flat][0]:.3g}), so b = -d / a may be "
            "anything: rasch or more persons may help"
        )
    return (
        f"the {fit.model} fit did not converge to a difficulty of all items: success does not vary with ability at "
        f"{flat_ones(fit, responses)}, so b = -d / a may be anything there: leaving them out, a smaller model or more "
        "persons may help"
    )


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
    """What JSON has a word for."""
    return value if np.isfinite(value) else None


def main(arguments: list[str] | None = None) -> int:
    p = Parser(prog="python -m workbench.difficulty", description=__doc__.split("\n")[0], allow_abbrev=False)
    p.add_argument("responses", help="a .csv: wide (a row per person, a column per item: 0, 1, blank; before them "
                   "a column person of names, or none) or long (person, item, successes, attempts); one person is "
                   "enough for rasch and 1pl")  # fmt: skip
    p.add_argument("--model", default="2pl", help="rasch (conditional), 1pl, 2pl or 3pl (default: %(default)s)")
    p.add_argument("--out", default="results/difficulty", help="folder for the tables (default: %(default)s)")
    options = p.parse_args(arguments)
    return exit_status(lambda: estimate(options))


def estimate(options: argparse.Namespace) -> int:
    """Fit, write and print what the command line asks for; the exit status, 1 if the fit did not converge."""
    check_choice("--model", options.model, irt.MODELS)
    with warnings.catch_warnings(record=True, action="always", category=UserWarning) as notes:
        responses = read_responses(Path(options.responses))
    for note in notes:
        print(f"note: {note.message}", file=sys.stderr)
    fit = irt.fit(responses, options.model)
    out, facts = Path(options.out), about(fit, responses)
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
    print(report(made, facts))
    print(f"\n{options.out}: items.csv persons.csv item_fit.csv fit.json")
    return 0


def report(made: dict[str, pd.DataFrame], facts: dict[str, Any], most: int = 20) -> str:
    """The estimates as text, the first `most` items."""
    items = made["items"].merge(made["item_fit"], on="item")
    lines = [
        f"{facts['model']}: {facts['items']} items, {facts['persons']} persons, log likelihood "
        f"{facts['log_likelihood']:.3f} ({facts['likelihood']}), AIC {facts['aic']:.1f}, BIC {facts['bic']:.1f}, "
        f"{facts['iterations']} iterations",
        items.head(most).to_string(index=False, float_format=lambda x: f"{x:.3f}"),
    ]
    if len(items) > most:
        lines.append(f".. and {len(items) - most} more in items.csv")
    if facts["extreme_items"]:
        lines.append(f"{len(facts['extreme_items'])} items solved by nobody or everybody: see `irt.Fit` on their b")
    if facts["overdispersion"]:
        lines.append(f"overdispersion: rho = {facts['overdispersion']:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
