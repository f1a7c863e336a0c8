"""Difficulty of items from pass counts, from ratings, and from an item-response matrix."""

from workbench.difficulty.counts import attempts_needed, beta_binomial, from_counts, population, share_within
from workbench.difficulty.ratings import from_ratings, matching_eta

__all__ = [
    "attempts_needed",
    "beta_binomial",
    "from_counts",
    "from_ratings",
    "matching_eta",
    "population",
    "share_within",
]
