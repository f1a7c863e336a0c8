"""Random streams: counter-based, keyed by (seed, role, step). All random numbers come from here.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a 128-bit
counter and a 64-bit key to four 32-bit words. In `uniforms` and the compiled loops key = seed and counter =
(block, turn, step, role), so two streams that differ in seed, role, step or turn never share a block, no state has to
be saved, and what one part of a run draws does not shift the random numbers of another: runs of one seed are paired.
Step and turn come as one number, the `clock`. `generator` does the same with NumPy's Philox4x64: key = (seed, role),
counter = (0, 0, clock, 0).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench import kernels
from workbench.errors import InputError, as_array, check_count, shown


class Role(IntEnum):
    """What a stream is used for. The numbers are part of every result: append, never renumber."""

    ROLLOUT = 1  # which attempts succeed
    ITEM = 2  # true item difficulties around their labels
    HELDOUT = 3  # the same for held-out items
    TIES = 4  # which of equally near items enter a batch
    SHUFFLE = 5  # order of an epoch
    POOL = 6  # synthetic pools
    NOISE = 7  # optimiser noise
    BOOTSTRAP = 8
    SIGN_FLIP = 9
    DESIGN = 10  # points of a space-filling sweep design
    PROBLEM = 11  # problems of a task
    EVALUATION = 12  # attempts at held-out problems
    WEIGHTS = 13  # parameters before training
    DEMONSTRATION = 14  # demonstrations that a base model is trained on
    EXPLORE = 15  # which slots of a batch are drawn uniformly, and their items
    ARM = 16  # which arms and which of their items
    SCORE = 17  # draws by weight, and ties between scores
    CANDIDATE = 18  # which items are candidates
    POSTERIOR = 19  # draws from posteriors of items or arms
    SKIP = 20  # which items are passed over
    FIT = 21  # starting points of models that are fitted during a run
    PROBE = 22  # attempts that are not learned from
    TOPIC = 23  # topics of simulated items
    TOKEN = 24  # which wrong answers a policy gives
    SIGNAL = 25  # groups that are looked at before a run begins
    EXAMPLE = 26  # problems that prompts show as examples
    CALIBRATION = 27  # points of a posterior, and how they move
    DELIVERY = 28  # in which order the groups of a batch are answered
    DISCREPANCY = 29  # what real runs fall short of their futures


def clock(step: int, turn: int = 0) -> int:
    """The time of a draw as one number: the step of training, and the turn where a step has several."""
    for name, value in (("step", step), ("turn", turn)):
        check_count(name, value, 0, 2**32 - 1)
    return step | turn << 32


def generator(seed: int, role: Role, step: int = 0) -> np.random.Generator:
    """A NumPy generator for the stream (seed, role, step), for draws outside the compiled loops; step: or a clock."""
    seeds = seed_array(seed)
    if len(seeds) != 1:
        raise InputError(f"seed: must be one whole number in [0, {2**64 - 1}], got {shown(seed)}")
    _check_time(role, step)
    key = np.array([seeds[0], role], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, step, 0], np.uint64)))


def run_seeds(study: int, runs: int) -> NDArray[np.uint64]:
    """(runs,) seeds of the runs of a study, itself a seed below 2^32: the words (study, run) side by side, which no
    other study's runs share."""
    check_count("study", study, 0, 2**32 - 1)
    check_count("runs", runs, 0)
    return (np.uint64(study) << np.uint64(32)) + np.arange(runs, dtype=np.uint64)


def uniforms(seeds: ArrayLike, role: Role, step: int, count: int) -> NDArray[np.float32]:
    """(R, count) float32 uniforms in [0, 1), row r from the stream (seeds[r], role, step); step: or a clock.

    Entry e is word e % 4 of block e // 4, its upper 24 bits times 2^-24: every value is exact in float32.
    """
    keys = seed_array(seeds)
    check_count("count", count, 0)
    _check_time(role, step)
    out = np.empty((len(keys), count), np.float32)
    kernels.fill_uniforms(keys, int(role), int(step), out)
    return out


def _check_time(role: Role, step: int) -> None:
    for name, value in (("role", role), ("step", step)):
        check_count(name, value, 0, 2**64 - 1)


def seed_array(seeds: ArrayLike) -> NDArray[np.uint64]:
    """Seeds as (R,) uint64; InputError unless whole numbers in [0, 18446744073709551615]."""
    domain = f"whole numbers in [0, {2**64 - 1}]"
    given = as_array("seed", seeds, domain)
    values = np.atleast_1d(given if isinstance(seeds, np.ndarray) else np.asarray(seeds, dtype=object))
    whole = values.ndim == 1 and all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values)
    if not whole or values.dtype.kind == "m" or any(not 0 <= v < 2**64 for v in values):
        raise InputError(f"seed: must be {domain}, got {shown(seeds)}")
    return values.astype(np.uint64)
