"""How fast the simulator is: python sims/benchmark.py [--floor path/to/limit.c]

Prints ratios measured side by side in one run, never bare times to compare with another machine's:
- a sweep of AdaRFT on scalar learners, through Study, Controller and SimLearner, against a C program that does the
  least such a sweep can do (when its source is there and a C compiler is), and against a NumPy loop over single runs;
- the same on one process and on all processors, beside the C program's; peak memory;
- where the time of that sweep's updates goes: each compiled loop, and what is left for Python, per rollout;
- sweeps of the other laws that run in lanes, 8 rollouts per item, against scalar's;
- updates of the tiny policy (where torch is there), per second of one process and of its processor time;
- import, --tiny, the default study, and one selection from 10,000 and from 1,000,000 items.
"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import cProfile
import os
import pstats
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sims.comparison.options import processors
from workbench import Controller, Pool
from workbench import registry as presets
from workbench.commands import Parser, exit_status, whole_or_text
from workbench.errors import InputError, check_count, shown_path
from workbench.learners import SimLearner, TinyPolicy, difficulty_to_logit
from workbench.loop import train
from workbench.study.design import grid_points
from workbench.study.store import CellStore
from workbench.study.study import Study

STEPS, BATCH, ITEMS = 200, 256, 10_000
LANES = ("scalar", "tabular", "skills", "kernel", "chain", "grid", "tracing")
MOST_RUNS = 1_000_000  # of a sweep: more need more memory than most machines have
ROOT = Path(__file__).parent.parent
FLOOR = str(ROOT.parent / "shared" / "bench" / "limit.c")


def make_sweep(runs: int) -> Study:
    """`runs` AdaRFT runs, one rollout per item, 50 seeds at many (eta, alpha); plus one uniform baseline per seed."""
    settings = runs // 50
    etas, alphas = np.linspace(5, 50, settings // 4), [0.5, 1.0, 2.0, 4.0]
    return Study(
        [Pool.synthetic("uniform", ITEMS)],
        ["scalar"],
        ["adarft"],
        grid_points({"adarft.eta": list(etas), "adarft.alpha": alphas, "scalar.signal": ["critic-perfect"]}),
        seeds=50,
        steps=STEPS,
        batch=BATCH,
        rollouts=1,
        eval_every=20,
    )


def make_law_sweep(law: str) -> Study:
    """1,280 AdaRFT runs on learners of one law, 8 rollouts per item: 64 seeds at 20 eta; one uniform per seed."""
    etas = grid_points({"adarft.eta": list(np.linspace(5, 50, 20))})
    pool = Pool.synthetic("uniform", ITEMS)
    return Study([pool], [law], ["adarft"], etas, seeds=64, steps=STEPS, batch=BATCH, rollouts=8, eval_every=20)


def sweep_rates(study: Study, jobs: int) -> tuple[float, float]:
    """Simulated rollouts per second of a sweep: while it runs (storage included), and from start to final table."""
    done: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = CellStore(Path(folder))
        seconds = clock(
            lambda: study.compute(store, jobs, lambda cells, _: done.append((time.perf_counter(), cells)))
        )
    per_run = study.steps * study.batch * study.rollouts
    warm = min(2 * jobs, len(done) - 2)  # from when each process has done two chunks
    (first, before), (last, after) = done[warm], done[-1]
    return (after - before) * per_run / (last - first), len(study.cells) * per_run / seconds


def numpy_rate(runs: int) -> float:
    """The plain NumPy loop a researcher would write: one run at a time, one rollout per item."""
    pool = Pool.synthetic("uniform", ITEMS)
    d, b = pool.difficulty, difficulty_to_logit(pool.difficulty)

    def one(seed: int) -> float:
        rng = np.random.default_rng(seed)
        target, theta = 0.0, -1.5
        for _ in range(STEPS):
            items = np.argpartition(np.abs(d - target), BATCH)[:BATCH]
            p = 1 / (1 + np.exp(b[items] - theta))
            reward = rng.random(BATCH) < p
            theta += 0.02 * float(np.mean((reward - p) ** 2)) / 0.25
            target = float(np.clip(target + 50 * np.tanh(2 * (reward.mean() - 0.5)), 0, 100))
        return theta

    return runs * STEPS * BATCH / clock(lambda: [one(seed) for seed in range(runs)])


def floor_rate(program: Path, runs: int, threads: int) -> float:
    arguments = [str(program), str(runs), str(STEPS), str(BATCH), str(ITEMS)]
    command = subprocess.run(
        arguments, env={"OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=True
    )
    return 1e6 * float(command.stdout.split()[2])


def compile_floor(source: Path, folder: Path) -> Path | None:
    compiler = shutil.which("cc")
    if compiler is None or not source.is_file():
        return None
    program = folder / "limit"
    flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp"]
    try:
        subprocess.run([compiler, *flags, str(source), "-lm", "-o", str(program)], check=True)
    except subprocess.CalledProcessError:
        raise InputError(f"--floor: must be a C source that compiles, got {shown_path(source)}") from None
    return program


def parts_of_update(study: Study) -> dict[str, float]:
    """Nanoseconds per rollout of an AdaRFT program of a sweep, on one processor: all, and each compiled loop's own."""
    program = study._programs({cell.key for cell in study.cells})[-1]
    rollouts = len(program.seeds) * study.steps * study.batch * study.rollouts
    shape = study.steps, study.batch, study.rollouts, study.eval_every

    def updates() -> Callable[[], object]:
        controller = Controller(program.rule, program.pool, seed=program.seeds)
        return partial(train, controller, SimLearner(program.law, program.pool, program.seeds), *shape)

    whole = min(clock(updates()) for _ in range(3))
    profile = cProfile.Profile()
    profile.runcall(updates())
    loops: dict[str, float] = {}
    for (path, _, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if Path(path).parent.name == "kernels" or name == "nearest_items":
            loops[name] = loops.get(name, 0.0) + own
    return {name: 1e9 * seconds / rollouts for name, seconds in {"all": whole, **loops}.items()}


def selection_seconds(*sizes: int) -> list[float]:
    """Median cost of AdaRFT's next_batch of 256 items at targets all over pools of each size, measured in turn."""
    controllers = [Controller(presets.make_rule("adarft"), Pool.synthetic("uniform", size)) for size in sizes]
    times: list[list[float]] = [[] for _ in sizes]
    for _ in range(10):
        for controller, mine in zip(controllers, times, strict=True):
            for target in np.linspace(0, 100, 100):
                controller.state = type(controller.state)(np.array([target]))
                mine.append(clock(partial(controller.next_batch, BATCH)))
    return [float(np.median(mine)) for mine in times]


def policy_rates(batch: int, lanes: int = 64, steps: int = 40) -> tuple[float, float]:
    """Updates per second over lanes of tiny policies under AdaRFT, 8 rollouts per item; and per processor second."""
    pool, seeds = Pool.synthetic("uniform", ITEMS), np.arange(lanes)
    controller = Controller(presets.make_rule("adarft"), pool, seed=seeds)
    learner = SimLearner(TinyPolicy(), pool, seeds)
    train(controller, learner, 5, batch)  # compile, and find the problems
    before = time.process_time()
    seconds = clock(lambda: train(controller, learner, steps, batch))
    return lanes * steps / seconds, lanes * steps / (time.process_time() - before)


def clock(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def command_seconds(*arguments: str) -> float:
    """Seconds of a Python command, best of three after one to warm up."""

    def once() -> float:
        command = [sys.executable, *arguments]
        return clock(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, check=True))

    return min([once() for _ in range(4)][1:])


def fresh_sweep_seconds(*arguments: str) -> float:
    """Seconds of sims/sweep.py into an empty folder, the second time, when the kernels are compiled."""

    def once() -> float:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(ROOT / "sims" / "sweep.py"), *arguments, "--out", folder]
            return clock(lambda: subprocess.run(command, capture_output=True, check=True))

    once()
    return once()


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--floor", metavar="FILE", default=FLOOR, help="C source of the floor (default: %(default)s)")
    p.add_argument("--runs", metavar="N", type=whole_or_text, default=10_000,
                   help="a multiple of 200, >= 5000 (default: %(default)s)")  # fmt: skip
    p.add_argument("--quick", action="store_true", help="only the sweep and the selection, not whole commands")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    runs = check_count("--runs", options.runs, 5000, MOST_RUNS)  # fewer have no stretch in which all processes run
    if runs % 200:
        raise InputError(f"--runs: must be a multiple of 200, >= 5000, got {runs}")
    if options.floor != FLOOR and not os.path.isfile(options.floor):
        raise InputError(f"--floor: must be a C source that is there, got {shown_path(options.floor)}")
    cores = processors()
    sweep_rates(make_sweep(400), 1)  # compile and warm up
    with tempfile.TemporaryDirectory() as folder:
        floor = compile_floor(Path(options.floor), Path(folder))
        rates: dict[str, list[float]] = {"all": [], "one": [], "whole": [], "floor": [], "floor, one": [], "numpy": []}
        for _ in range(3):  # in turn, so that a change of the machine's speed meets all
            running, whole = sweep_rates(make_sweep(runs), cores)
            rates["all"].append(running)
            rates["whole"].append(whole)
            rates["one"].append(sweep_rates(make_sweep(runs // 2), 1)[0])
            rates["numpy"].append(numpy_rate(10))
            if floor:
                rates["floor"].append(floor_rate(floor, runs, cores))
                rates["floor, one"].append(floor_rate(floor, runs // 2, 1))
    typical = {name: float(np.median(values)) for name, values in rates.items() if values}
    setting = f"{STEPS} steps (11 records), batch {BATCH}, one rollout, {cores} processes; medians of 3"
    print(f"{runs:,} AdaRFT x scalar runs, {setting}")
    print(f"  rollouts per second while running           {typical['all'] / 1e6:8.0f} million")
    print(f"  from start to final table                   {typical['whole'] / 1e6:8.0f} million")
    if "floor" in typical:
        share = typical["all"] / typical["floor"]
        print(f"  share of the C floor ({typical['floor'] / 1e6:,.0f} million)           {share:8.1%}")
    print(f"  times the NumPy loop over single runs       {typical['one'] / typical['numpy']:8.1f}  (one process each)")
    beside = f"  (the floor's: {typical['floor'] / typical['floor, one']:.2f})" if "floor" in typical else ""
    print(f"  scale-out over {cores} processes                  {typical['all'] / typical['one']:8.2f}{beside}")
    own, children = (resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"  peak memory, this process / largest worker  {own / 2**10:5.0f} / {children / 2**10:.0f} MiB")
    parts = parts_of_update(make_sweep(runs))
    largest = sorted((name for name in parts if name != "all"), key=lambda name: -parts[name])[:6]
    told = ", ".join(f"{name} {parts[name]:.2f}" for name in largest)
    rest = parts["all"] - sum(parts[name] for name in largest)
    least = f"; the floor takes {1e9 / typical['floor, one']:.2f}" if "floor" in typical else ""
    print(f"nanoseconds of an update per rollout, one process: {parts['all']:.2f}, of it {told}, Python and the rest "
          f"{rest:.2f}{least}")  # fmt: skip
    laws = {law: sweep_rates(make_law_sweep(law), cores)[0] for law in LANES}
    print(f"learners, batch {BATCH}, 8 rollouts, {cores} processes: million rollouts per second, share of scalar's")
    for law, rate in laws.items():
        print(f"  {law:<42}{rate / 1e6:8.0f} {rate / laws['scalar']:8.2f}")
    small, large = selection_seconds(10_000, 1_000_000)
    print(f"AdaRFT next_batch(256): 10,000 items {small * 1e6:.0f} us; 1,000,000 items {large / small:.2f} times that")
    for size in (64, BATCH) if find_spec("torch") else ():
        rate, own_rate = policy_rates(size)
        print(f"TinyPolicy, 64 lanes, batch {size}, 8 rollouts, one process: {rate:,.0f} updates per second "
              f"({own_rate:,.0f} per second of processor time)")  # fmt: skip
    if not options.quick:
        bare = command_seconds("-c", "pass")
        print(f"import workbench: {command_seconds('-c', 'import workbench') - bare:.3f} s on top of Python's start")
        everything = "import workbench as wb; wb.Controller, wb.SimLearner, wb.Pool"
        print(f"  with the simulator's classes: {command_seconds('-c', everything) - bare:.2f} s")
        print(f"sims/sweep.py --tiny: {fresh_sweep_seconds('--tiny'):.1f} s")
        print(f"sims/sweep.py (default study): {fresh_sweep_seconds():.1f} s")


if __name__ == "__main__":
    sys.exit(main())
