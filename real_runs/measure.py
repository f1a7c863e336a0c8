"""Measure how often a model solves each problem, and write a pool file: python real_runs/measure.py --help"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from real_runs.runs.identity import code_of, texts_digest
from real_runs.runs.run import ASKING, Run, add_options, read_options
from workbench.commands import SAME_AGAIN, Parser, exit_status
from workbench.errors import InputError, check_count
from workbench.files import only_writer
from workbench.pool import Pool

ASKED = ("scorer", *ASKING)


def measure(
    task_name: str, source: str, model: str, size: int, attempts: int, seed: int, out: Path, chunk: int, limit: int,
    asking: Run,
) -> Pool:  # fmt: skip
    """Pass counts of `attempts` tries at each of `size` problems, chunk by chunk; finished chunks survive a kill.

    asking: how the model is asked, and how what it writes is scored.
    """
    from real_runs.rl.learner import HeldOut, PPOLearner, Settings
    from real_runs.rl.models import BASE, load
    from real_runs.rl.ppo import Algorithm
    from real_runs.runs import checkpoint
    from real_runs.tasks.files import with_texts, without_shots
    from real_runs.tasks.named import make_task

    task = make_task(task_name, asking.scorer, asking.answer)
    prompting = asking.prompting(task.examples(asking.shots))
    pool = with_texts(Pool.load(source), source) if source else task.pool(size, seed=seed)
    pool = without_shots(pool, prompting.shots)
    policy = load(model or BASE, dtype=asking.dtype, prompting=prompting)
    print(prompting.said(policy.tokenizer), file=sys.stderr)
    nobody = HeldOut(*task.heldout(1, seed=0))
    learner = PPOLearner(policy, pool, task.score, nobody, Algorithm("rloo"), Settings(limit=limit or task.limit), seed)
    about = {
        "task": task_name, "scorer": asking.scorer, "answer": asking.answer, "prompting": prompting.as_json(),
        "pool": pool.digest, "texts": texts_digest(pool), "model": policy.digest(), "dtype": policy.dtype,
        "attempts": attempts, "seed": seed, "chunk": chunk, "items": len(pool), "limit": limit or task.limit,
        "code": code_of((), task),
    }  # fmt: skip
    folder, successes, done = out.with_suffix(".parts"), np.zeros(len(pool), np.int64), 0
    key = checkpoint.run_key(about)
    found = checkpoint.load(folder, key, lambda line: print(line, file=sys.stderr))
    if found:
        done, successes = found.step, found.state["successes"]
    with tqdm(total=len(pool), initial=done, unit="problem") as bar:
        for first in range(done, len(pool), chunk):
            items = np.arange(first, min(first + chunk, len(pool)))
            learner.updates = first // chunk  # each chunk has random numbers of its own
            successes[items] = np.rint(learner.attempt(items, attempts).sum(1)).astype(np.int64)
            learner.forget()
            checkpoint.save(folder, int(items[-1]) + 1, {"successes": successes}, about, key)
            bar.update(len(items))
    if learner.faults:
        print(f"{learner.faults} answers could not be scored and count as wrong", file=sys.stderr)
    measured = replace(
        pool, difficulty=100.0 * (1.0 - successes / attempts), successes=successes,
        attempts=np.full(len(pool), attempts), name=out.stem,
    )  # fmt: skip
    measured.save(out)
    for path in checkpoint.own(folder, key):
        path.unlink()
    if others := checkpoint.others(folder, key):
        print(f"{folder}: {len(others)} files are not of this measurement and are left as they are "
              f"(first {others[0].name})", file=sys.stderr)  # fmt: skip
    else:
        shutil.rmtree(folder)
    return measured


def summary(pool: Pool) -> str:
    counts = np.bincount(np.minimum(pool.difficulty // 10, 9).astype(int), minlength=10)
    never = int((pool.difficulty == 100).sum())
    return (
        f"{len(pool)} problems, mean pass rate {1 - pool.difficulty.mean() / 100:.3f}, {never} never solved; "
        f"per difficulty decile: {' '.join(map(str, counts))}"
    )


def main(arguments: list[str] | None = None) -> int:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--task", default="reverse", help="as in train.py (default: %(default)s)")
    p.add_argument("--pool", default="", help="measure the problems of this file, not fresh ones of the task")
    p.add_argument("--model", default="", help="folder or hub name (default: the tiny one of this project)")
    p.add_argument("--size", default="3000", help="fresh problems (default: %(default)s)")
    p.add_argument("--attempts", default="32", help="per problem (default: %(default)s)")
    p.add_argument("--seed", default="0", help="(default: %(default)s)")
    p.add_argument("--chunk", default="8", help="problems at a time (default: %(default)s)")
    p.add_argument("--limit", default="0", help="tokens per completion (default: the task's)")
    p.add_argument("--threads", default="0", help="of the processor (default: PyTorch's choice)")
    add_options(p, ASKED)
    p.add_argument("--out", required=True, type=Path, help="pool file to write, .parquet")
    options = p.parse_args(arguments)
    return exit_status(lambda: measure_to(options), SAME_AGAIN)


def measure_to(options: argparse.Namespace) -> None:
    """Check the options, measure, and say what came out."""
    numbers = {}
    for name, low in {"size": 1, "attempts": 1, "seed": 0, "chunk": 1, "limit": 0, "threads": 0}.items():
        text = getattr(options, name)
        numbers[name] = check_count(f"--{name}", int(text) if text.isdecimal() else text, low)
    if options.out.suffix != ".parquet":
        raise InputError(f"--out: must be a .parquet file, got '{options.out}'")
    asking = Run(**read_options(options, ASKED))
    if numbers["threads"]:
        import torch

        torch.set_num_threads(numbers["threads"])
    with only_writer(options.out.with_suffix(".parts")):
        pool = measure(
            options.task, options.pool, options.model, numbers["size"], numbers["attempts"], numbers["seed"],
            options.out, numbers["chunk"], numbers["limit"], asking,
        )  # fmt: skip
    print(f"{options.out}: {summary(pool)}")


if __name__ == "__main__":
    sys.exit(main())
