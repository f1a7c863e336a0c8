"""Responses of persons to items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError

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
        s, n = self.successes, self.attempts
        if s.shape != n.shape or s.shape != (len(self.persons), len(self.items)):
            raise InputError(f"responses: must be persons x items, got {s.shape} and {n.shape}")
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
