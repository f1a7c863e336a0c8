"""Responses of persons to items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError, as_numbers, check_count, check_kind, check_names, few

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Responses:
    """Successes and attempts of P persons at I items.

    successes, attempts: (P, I) whole numbers, 0 <= successes <= attempts; 0 attempts are a missing cell. persons,
    items: their P and I names. Raises InputError for other tables, and for a person or an item without a response.
    """

    successes: Floats
    attempts: Floats
    persons: list[str]
    items: list[str]

    def __post_init__(self) -> None:
        s, n = (as_numbers(name, getattr(self, name)) for name in ("successes", "attempts"))
        object.__setattr__(self, "successes", s)
        object.__setattr__(self, "attempts", n)
        if s.ndim != 2 or s.shape != n.shape:
            raise InputError(f"responses: must be persons x items, got {s.shape} and {n.shape}")
        for name, size in zip(("persons", "items"), s.shape, strict=True):
            check_names(name, getattr(self, name), size)
        if s.size == 0:
            raise InputError(f"persons, items: must be at least 1 each, got {s.shape[0]} and {s.shape[1]}")
        wrong = np.argwhere(~((s >= 0) & (s <= n) & (n < np.inf) & (s == np.floor(s)) & (n == np.floor(n))))
        if wrong.size:
            p, i = wrong[0]
            raise InputError(
                f"successes: must be whole numbers in [0, attempts], got {s[p, i]:g} of {n[p, i]:g} for person "
                f"'{self.persons[p]}', item '{self.items[i]}'"
            )
        for what, names, empty in (("items", self.items, n.sum(axis=0) == 0), ("persons", self.persons, n.sum(1) == 0)):
            if empty.any():
                nobody = names[int(empty.argmax())]
                raise InputError(f"{what}: must have at least one response each, got none for '{nobody}'")

    @property
    def extreme(self) -> NDArray[np.bool_]:
        """(I,) items that nobody or everybody solved: their likelihood is largest at infinite b."""
        total = self.successes.sum(axis=0)
        return np.asarray((total == 0) | (total == self.attempts.sum(axis=0)))


def check_responses(responses: Responses) -> None:
    """Raise InputError unless it is a table of responses."""
    check_kind("responses", responses, Responses, "a Responses such as difficulty.read_responses(path) gives")


def extremes(responses: Responses) -> str:
    """The items that nobody or everybody solved, by name; empty where there are none."""
    check_responses(responses)
    right = responses.successes.any(axis=0)
    kinds = (("solved by nobody", ~right), ("solved by everybody", responses.extreme & right))
    named = [(words, [responses.items[k] for k in np.flatnonzero(which)]) for words, which in kinds]
    return "; ".join(f"{words}: {few(names)}" for words, names in named if names)


def apart(responses: Responses, most: int = 3) -> str:
    """The groups of persons that share no item, in words, the first `most`; empty where all are connected.

    Items that nobody or everybody solved are left out, as no fit has them. Difficulties of two groups are comparable
    only as far as the abilities of their persons are.
    """
    check_responses(responses)
    check_count("most", most)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    items, persons = np.flatnonzero(~responses.extreme), len(responses.persons)
    who, what = np.nonzero(responses.attempts[:, items])
    size = persons + len(items)
    graph = coo_array((np.ones(len(who), bool), (who, persons + what)), shape=(size, size))
    of = connected_components(graph, directed=False)[1]
    groups = list(dict.fromkeys(of[persons:].tolist()))
    if len(groups) < 2:
        return ""
    words = [
        f"items {few([responses.items[k] for k in items[of[persons:] == group]])} with persons "
        f"{few([responses.persons[k] for k in np.flatnonzero(of[:persons] == group)])}"
        for group in groups[:most]
    ]
    more = f"; and {len(groups) - most} more" if len(groups) > most else ""
    return f"{len(groups)} groups that share no item ({'; '.join(words)}{more})"
