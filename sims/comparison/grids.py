"""The research questions as data: what a sweep runs when nothing is said."""

from __future__ import annotations

from typing import TypedDict

# Does adapting the target beat what it costs nothing to do? On the three data distributions of arXiv 2504.05520,
# and on a pool so narrow that order cannot matter.
POOLS = ["skew-difficult", "uniform", "skew-easy", "narrow"]
CONTROLLERS = ["uniform", "filter", "band", "linear", "sorted", "frozen", "adarft"]
# From "easy items teach everything" (scalar) to "only neighbours, and it fades" (kernel) to "nothing" (tabular);
# natural is the learner for which no schedule can matter.
LEARNERS = ["scalar", "grpo", "natural", "guess", "kernel", "tabular"]



class Grid(TypedDict):
    """Names of what is crossed, and the sizes of a run."""

    pools: list[str]
    controllers: list[str]
    learners: list[str]
    seeds: int
    steps: int
    batch: int
    rollouts: int


DEFAULT: Grid = {
    "pools": POOLS,
    "controllers": CONTROLLERS,
    "learners": LEARNERS,
    "seeds": 16,
    "steps": 200,
    "batch": 256,
    "rollouts": 8,
}

# The smoke test is the first slice of the same study.
TINY: Grid = DEFAULT | {"pools": POOLS[:1], "learners": LEARNERS[:1], "seeds": 4, "steps": 60, "batch": 128}
