"""What every rule and gate costs: python sims/benchmark_rules.py [--controllers A,B]

In lanes: simulated rollouts per second through Controller, train() and a scalar learner, on all processors at once;
10,000 items, batch 256, 8 rollouts. Alone, one lane as in a real run: milliseconds to draw and to take in one batch,
and bytes of state per item. Targets: 100 million where the difficulties of the pool are fixed or the arms few, else 5
million; 1 ms at 10,000 and 20 ms at 1,000,000 items; 64 bytes. Rules that fit a model as they go are exempt.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import numpy as np
import pandas as pd

from sims.comparison.options import processors
from workbench import Controller, Pool, ScalarIRT, ShortBatch, SimLearner, train
from workbench.commands import Parser, exit_status
from workbench.registry import GATES, RULES, make_controller, parts_of
from workbench.study.study import ROLLOUTS_IN_CACHE

BATCH, ROLLOUTS, SMALL, LARGE = 256, 8, 10_000, 1_000_000
LANES = ROLLOUTS_IN_CACHE // (BATCH * ROLLOUTS)


@cache
def pool_of(size: int) -> Pool:
    return Pool.synthetic("uniform", size)


def lanes_rate(name: str, seconds: float = 1.0) -> float:
    """Simulated rollouts per second of one process, over at least `seconds`."""
    rule, gates = make_controller(name, horizon=200)
    lanes = 4 if rule.fits_model else LANES
    seeds = np.arange(lanes)
    controller = Controller(rule, pool_of(SMALL), gates, seed=seeds)
    learner = SimLearner(ScalarIRT(), pool_of(SMALL), seeds)
    warnings.simplefilter("ignore", ShortBatch)
    steps = 4
    train(controller, learner, steps, BATCH, ROLLOUTS, eval_every=steps)
    before, start = controller.rollouts.sum(), time.perf_counter()
    while time.perf_counter() - start < seconds:
        train(controller, learner, steps, BATCH, ROLLOUTS, eval_every=steps)
        steps = min(2 * steps, 64)
    return float((controller.rollouts.sum() - before) / (time.perf_counter() - start))


def alone(name: str, size: int) -> tuple[float, float]:
    """Milliseconds of one batch drawn and taken in (mean over 20 after 3), and bytes of state per item."""
    rule, gates = make_controller(name, horizon=200)
    controller, rng = Controller(rule, pool_of(size), gates), np.random.default_rng(0)
    spent = 0.0
    for step in range(23):
        start = time.perf_counter()
        items = controller.next_batch(BATCH)
        drawn = time.perf_counter() - start
        chance = rng.random((BATCH, 1)).astype(np.float32)
        rewards = (rng.random((BATCH, ROLLOUTS)) < chance).astype(np.float32)
        start = time.perf_counter()
        controller.observe(items, rewards)
        spent += drawn + time.perf_counter() - start if step >= 3 else 0.0
    leaves = [leaf for state in (controller.state, *controller.gate_states) for leaf in state]
    return 1e3 * spent / 20, sum(leaf.nbytes for leaf in leaves) / size


def target(name: str) -> str:
    rule, *gates = parts_of(name)
    if RULES[rule].fits_model:
        return "-"
    return "5" if RULES[rule].memory == "item" or gates else "100"


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--controllers", metavar="A,B", default=",".join([*RULES, *GATES]), help="(default: all)")
    return p


def main(arguments: list[str] | None = None) -> int:
    names = parser().parse_args(arguments).controllers.split(",")
    return exit_status(lambda: measure(names))


def measure(names: list[str]) -> None:
    for name in names:
        parts_of(name, "--controllers")
    jobs, rows = processors(), []
    with ProcessPoolExecutor(jobs, get_context("spawn")) as workers:
        for name in names:
            rate = sum(workers.map(lanes_rate, [name] * jobs))
            (small, _), (large, state) = alone(name, SMALL), alone(name, LARGE)
            rows.append((name, rate / 1e6, target(name), small, large, state))
            print(f"{name}: {rate / 1e6:.1f} million/s", file=sys.stderr)
    heads = ["controller", "million rollouts/s", "target", "ms at 10,000", "ms at 1,000,000", "bytes/item"]
    print(f"{jobs} processes")
    print(pd.DataFrame(rows, columns=heads).to_string(index=False, float_format=lambda x: f"{x:.2f}"))


if __name__ == "__main__":
    sys.exit(main())
