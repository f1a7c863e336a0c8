"""Evaluations of held-out items as evidence: what they say of a law, which learns nothing from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.calibration.log import Counts, Log, places_in
from workbench.calibration.replay import difficulty_of, known_pool
from workbench.errors import InputError, check_kind, few
from workbench.lanes import Floats
from workbench.pool import Pool
from workbench.streams import Role, generator

Ints = NDArray[np.int64]


class Looks(NamedTuple):
    """Evaluations that a fit uses. counts: their rows, with `item` from the pool's size on, and `step` one after the
    update that they follow, which is the update before which they were made. pool, b: the pool with the held-out items
    behind its own, and the difficulties (I + H,) of all, logits."""

    counts: Counts
    pool: Pool
    b: Floats


def looks_of(log: Log, pool: Pool, heldout: Pool | None) -> tuple[Looks | None, list[str]]:
    """The evaluations of a log that can be used, and what is said of those that cannot, a sentence each.

    log: on the pool. heldout: the held-out items with their difficulties. Items that were trained on, too, are left
    out, because what is open of their difficulty is the same in both.
    Raises InputError for held-out items that are not in their pool, and where these lack a label or a category.
    """
    held = log.evaluations
    if heldout is None:
        return None, [] if held is None else [
            f"The log's {len(held):,} evaluations say nothing here: the difficulties of the held-out items are not "
            "known (heldout=, --heldout)."]  # fmt: skip
    check_kind("heldout", heldout, Pool, "a Pool such as Pool.load(path)")
    labels = difficulty_of(pool)
    if held is None:
        raise InputError("heldout: must be given with a log that has evaluations, got a log without")
    if labels is None:
        raise InputError("heldout: must be given with a pool that has labels, got one without")
    _, _, place = places_in(heldout, held.items, "heldout")
    b = difficulty_of(heldout)
    if b is None or np.isnan(heldout.difficulty[place]).any():
        lacking = [name for name, at in zip(held.items, place, strict=True) if np.isnan(heldout.difficulty[at])]
        raise InputError(f"heldout: must have a label of each item, got none of {few(lacking, 3)}")
    trained = {log.items[i] for i in np.unique(log.item)}
    fresh = np.array([name not in trained for name in held.items])[held.item]
    told = [f"{(~fresh).sum():,} evaluations of items that were trained on, too, are not used."] * bool((~fresh).any())
    if not fresh.any():
        return None, told
    counts = Counts(held.run[fresh], held.step[fresh] + 1, len(pool) + held.item[fresh], held.successes[fresh],
                    held.attempts[fresh])  # fmt: skip
    return Looks(counts, _longer(known_pool(pool), heldout, place), np.append(labels, b[place])), told


def _longer(pool: Pool, heldout: Pool, place: Ints) -> Pool:
    """A pool with the held-out items behind its own. The topics of the pool's items stay (`learners.law.topic_of`)."""
    size, more = len(pool), len(place)
    if pool.category is None:  # as `topic_of` draws them; the others take turns
        own, further = generator(0, Role.TOPIC).permutation(size), np.arange(size, size + more)
    else:
        if heldout.category is None:
            raise InputError("heldout: must have a category of each item, as the pool has, got none")
        names = [str(name) for name in np.asarray(pool.category, str)]
        known = {name: number for number, name in enumerate(sorted(set(names)))}
        own = np.array([known[name] for name in names])
        others = np.asarray(heldout.category, str)[place].tolist()
        further = np.array([known.setdefault(name, len(known)) for name in others])
    category = [f"{number:09d}" for number in (*own.tolist(), *further.tolist())]
    return Pool(np.append(pool.difficulty, heldout.difficulty[place]), category=category, name=pool.name)
