"""What a measured pool says: success by level, and which share of groups can teach, as text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from real_runs.runs.signal import Spectrum, all_silent_chance, mixed_chance
from workbench.analysis.stats import Estimate
from workbench.pool import Pool


def table(pool: Pool, stratum: NDArray[np.int64] | None, rollouts: int, batch: int) -> list[str]:
    """Lines: success and silent groups by level, or by stratum where the pool has no levels, and over all problems.

    pool: with counts. stratum: (I,) tenths of the difficulty before the measurement; None where there was none.
    rollouts: completions per group; a group is silent where all fail or all succeed. batch: groups per update.
    """
    s, n = pool.successes, pool.attempts
    assert s is not None
    assert n is not None
    kinds: dict[str, NDArray[np.bool_]] = {}
    if pool.level is not None:
        kinds = {f"level {level}": pool.level == level for level in np.unique(pool.level)}
    elif stratum is not None:
        kinds = {f"difficulty {10 * k}-{10 * k + 10}": stratum == k for k in np.unique(stratum)}
    kinds["all"] = np.ones(len(pool), bool)
    width = max(9, *map(len, kinds))
    lines = [f"{'':{width}}  problems  success                 silent groups of {rollouts}"]
    for name, rows in kinds.items():
        found = Spectrum.of(s[rows], n[rows], rollouts)
        lines.append(f"{name:{width}}  {found.items:8,}  {_shown(found.success):22}  {_shown(found.silent)}")
    whole = Spectrum.of(s, n, rollouts).silent
    size = min(batch, len(pool))
    none = all_silent_chance(mixed_chance(s, n, rollouts), size)
    lines.append(
        f"groups that can teach: {size * (1 - whole.value):.1f} [{size * (1 - whole.high):.1f}, "
        f"{size * (1 - whole.low):.1f}] of the {size} of a batch of problems drawn uniformly; a whole batch is silent "
        f"with a chance of {none:.2g}"
    )
    if (rollouts > n).any():
        lines.append(f"--rollouts {rollouts} is more than --attempts {n.min()}: the silent share leans on a prior")
    return lines


def _shown(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
