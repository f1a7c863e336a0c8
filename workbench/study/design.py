"""Designs of experiments: grids and space-filling points of settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError, bound, check_choice, check_count, check_one_number, shown
from workbench.streams import Role, generator

MOST_POINTS = 2**20  # of a design: each is an arm of its own
Point = dict[str, Any]  # swept parameter, e.g. "adarft.eta" -> its value


def plain(name: str, value: Any) -> Any:
    """A setting as a plain number or name: what fits in a label, a table and a manifest."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (bool, int, float, str)):
        raise InputError(f"points: must set {name} to a number or a name, got {shown(value)}")
    return value


def grid_points(choices: dict[str, list[Any]]) -> list[Point]:
    """Every combination of the values of each parameter.

    choices: lists of values by the full name of each parameter, {"adarft.eta": [5, 10, 20]}.
    Raises InputError for anything else.
    """
    if not isinstance(choices, Mapping):
        raise InputError(f'choices: must be a dict of lists such as {{"adarft.eta": [5, 10]}}, got {shown(choices)}')
    for name, values in choices.items():
        if not isinstance(name, str):
            raise InputError(f"choices: must name parameters as owner.parameter, got {shown(name)}")
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
            raise InputError(f"choices: must have a list of values for {name}, got {shown(values)}")
    listed = {name: list(values) for name, values in choices.items()}
    if (points := prod(map(len, listed.values()))) > MOST_POINTS:
        raise InputError(f"choices: must give <= {bound(MOST_POINTS)} combinations, got {points}")
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*listed.values())]


def space_filling_points(ranges: dict[str, tuple[float, float, bool]], design: str, points: int) -> list[Point]:
    """`points` settings spread over ranges (low, high, logarithmic): scrambled Sobol or Latin hypercube.

    Sobol needs a power of two to keep its balance. Source: Owen 1998, by scipy.stats.qmc; McKay, Beckman & Conover
    1979.
    """
    check_count("points", points, 1, MOST_POINTS)
    check_choice("design", design, ("sobol", "lhs"))
    given: Any = ranges
    if not isinstance(given, Mapping) or not all(isinstance(r, tuple) and len(r) == 3 for r in given.values()):
        raise InputError(f"ranges: must map names to (low, high, logarithmic), got {shown(ranges)}")
    if design == "sobol" and points & (points - 1):
        raise InputError(f"points: must be a power of two for a sobol design, got {points}")
    for name, (low, high, logarithmic) in ranges.items():
        check_one_number(f"set {name}", low)
        check_one_number(f"set {name}", high)
        if low >= high or (logarithmic and low <= 0):
            raise InputError(f"set {name}: must be low:high with low < high, low > 0 for log, got {low:g}:{high:g}")
    seed = int(generator(0, Role.DESIGN).integers(2**63))  # scipy wants a generator that it can split
    unit = (_sobol if design == "sobol" else _latin_hypercube)(points, len(ranges), np.random.default_rng(seed))
    columns = {}
    for column, (name, (low, high, logarithmic)) in zip(unit.T, ranges.items(), strict=True):
        values = low * (high / low) ** column if logarithmic else low + (high - low) * column
        columns[name] = [float(f"{value:.6g}") for value in values]  # short labels, still distinct
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _sobol(points: int, dimensions: int, rng: np.random.Generator) -> NDArray[np.float64]:
    from scipy.stats import qmc  # takes half a second, of which a Latin hypercube needs nothing

    return np.asarray(qmc.Sobol(dimensions, rng=rng).random(points))


def _latin_hypercube(points: int, dimensions: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(points, dimensions) in [0, 1): in each dimension one uniform point in each of `points` equal cells, shuffled."""
    rng = rng.spawn(1)[0]  # as SciPy does: the same design
    within = rng.uniform(size=(points, dimensions))
    cells = [rng.permutation(np.arange(1, points + 1)) for _ in range(dimensions)]
    return (np.transpose(cells) - within) / points
