"""Tables of a comparison whose numbers are known, with names as hostile as a pool's or an arm's may be."""

import numpy as np
import pandas as pd

from workbench.analysis.ranking import ranking_table
from workbench.analysis.tables import runs_table, summary_table

HOSTILE = (
    "</script><script>document.title='owned'</script>", '"><img src=x onerror=alert(1)>', "a\x1b[2J\u202eb", "image",
    "'); alert(1); ('", "{{ 7 * 7 }}", "datum.a", "&amp; <b>",
)  # fmt: skip
STEPS = 5


def curves_of(ends, pools=("p",), learners=("l",), seeds=6, spread=0.01):
    """Curves that go from .2 to ends[controller] in a straight line, and a little apart from seed to seed."""
    rows = []
    draw = np.random.default_rng(0).normal(size=seeds)
    for pool in pools:
        for learner in learners:
            for controller, end in ends.items():
                for seed in range(seeds):
                    for step in range(STEPS):
                        success = 0.2 + (end + spread * draw[seed] - 0.2) * step / (STEPS - 1)
                        target = np.nan if controller == "uniform" else 10.0 * step
                        rows.append((pool, learner, controller, learner, controller, seed, step, success, target,
                                     step * 64))  # fmt: skip
    names = ["pool", "learner", "controller", "law", "rule", "seed", "step", "success", "target", "rollouts"]
    return pd.DataFrame(rows, columns=names)


def tables_of(curves):
    """runs, summary and ranking."""
    runs = runs_table(curves)
    return runs, summary_table(runs, STEPS - 1), ranking_table(runs)
