"""Measure how often a model solves each problem, and write a pool file: python real_runs/measure.py --help

It prints success by level, and which share of groups can teach at the chosen batch and rollouts. A success is a
completion with full score. Difficulty is 100 (1 - successes / attempts); the problems need none before. Held-out
problems of a file are measured, too: training leaves them out.
"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from real_runs.runs.identity import code_of, texts_digest
from real_runs.runs.run import ASKING, MOST, MOST_COMPLETIONS, Run, add_options, read_options
from real_runs.runs.scorers import check_answers, check_sound
from real_runs.runs.signal import ANYWAY
from real_runs.runs.spectrum import table
from real_runs.tasks.task import FULL, Task
from workbench.commands import SAME_AGAIN, Parser, exit_status, whole
from workbench.errors import InputError, check_attempts, shown_path
from workbench.files import check_file, only_writer
from workbench.pool import Pool
from workbench.progress import make_bar
from workbench.streams import Role, generator

if TYPE_CHECKING:
    from real_runs.runs.checkpoint import Checkpoint

Floats = NDArray[np.float64]
# Of each number: what memory and time allow
DOMAINS = {"size": (1, 1_000_000), "attempts": (1, 100_000), "seed": (0, 2**64 - 1), "chunk": (1, 100_000),
           "rollouts": (2, 100_000), "batch": (1, 1_000_000), "limit": (0, MOST["limit"]),
           "threads": (0, MOST["threads"])}  # fmt: skip
ASKED = ("scorer", *ASKING)


def measure(
    task_name: str, source: str, model: str, size: int, attempts: int, seed: int, out: Path, chunk: int, limit: int,
    asking: Run, anyway: bool = False,
) -> tuple[Pool, NDArray[np.int64] | None, float]:  # fmt: skip
    """Pass counts of `attempts` tries at each of `size` problems, chunk by chunk; finished chunks survive a kill.

    asking: how the model is asked, and how what it writes is scored. anyway: whether a scorer is taken that is known to
    be unsound. Returns the problems with their counts, the tenth
    of the difficulty range that each had before (see `problems`), and the mean score of a try, which is more than the
    share of successes where there is partial credit.
    """
    from real_runs.rl.learner import HeldOut, PPOLearner, Settings
    from real_runs.rl.models import BASE, load
    from real_runs.rl.ppo import Algorithm
    from real_runs.rl.precision import said
    from real_runs.runs import checkpoint
    from real_runs.tasks.named import make_task

    task = make_task(task_name, asking.scorer, asking.answer)
    check_sound(task, say, anyway)
    prompting = asking.prompting(task.examples(asking.shots))
    pool, stratum = problems(task, source, size, seed, prompting.shots)
    check_answers(task, pool, say, anyway=True)
    policy = load(model or BASE, dtype=asking.dtype, prompting=prompting)
    if pool.understood:
        say(pool.understood)
    say(prompting.said(policy.tokenizer))
    say(said(asking.dtype, policy.dtype, policy.model.device, policy.model.num_parameters()))
    nobody = HeldOut(*task.heldout(1, seed=0))
    learner = PPOLearner(policy, pool, task.score, nobody, Algorithm("rloo"), Settings(limit=limit or task.limit), seed)
    about = {
        "task": task_name, "scorer": asking.scorer, "answer": asking.answer, "prompting": prompting.as_json(),
        "pool": pool.digest, "texts": texts_digest(pool.payload), "model": policy.digest(), "dtype": policy.dtype,
        "attempts": attempts, "seed": seed, "chunk": chunk, "items": len(pool), "limit": limit or task.limit,
        "code": code_of((), task),
    }  # fmt: skip
    folder, successes, scores, done = out.with_suffix(".parts"), np.zeros(len(pool), np.int64), np.zeros(len(pool)), 0
    key = checkpoint.run_key(about)
    found = checkpoint.load(folder, key, say)
    if found:
        done, successes, scores = so_far(found, len(pool), attempts, chunk)
    with make_bar(total=len(pool), initial=done, unit="problem") as bar:
        for first in range(done, len(pool), chunk):
            items = np.arange(first, min(first + chunk, len(pool)))
            learner.updates = first // chunk  # each chunk has random numbers of its own
            scored = learner.attempt(items, attempts)
            successes[items], scores[items] = (scored >= FULL).sum(1), scored.sum(1, dtype=np.float64)
            learner.forget()
            checkpoint.save(folder, int(items[-1]) + 1, {"successes": successes, "scores": scores}, about, key)
            bar.update(len(items))
    if learner.faults:
        say(f"{learner.faults} answers could not be scored and count as wrong")
    measured = replace(
        pool, difficulty=100.0 * (1.0 - successes / attempts), successes=successes,
        attempts=np.full(len(pool), attempts), name=out.stem,
    )  # fmt: skip
    measured.save(out)
    for path in checkpoint.own(folder, key):
        path.unlink()
    if others := checkpoint.others(folder, key):
        say(f"{folder}: {len(others)} files are not of this measurement and are left as they are "
            f"(first {others[0].name})")  # fmt: skip
    else:
        shutil.rmtree(folder)
    return measured, stratum, float(scores.sum() / (attempts * len(pool)))


def so_far(found: Checkpoint, size: int, attempts: int, chunk: int) -> tuple[int, NDArray[np.int64], Floats]:
    """Problems that are measured, and (I,) successes and sums of scores. InputError where they cannot be."""
    done = min(found.step, size)
    successes, scores = (np.asarray(found.state.get(name)) for name in ("successes", "scores"))
    kinds = successes.shape == scores.shape == (size,) and successes.dtype.kind == "i" and scores.dtype.kind == "f"
    last = done == found.step and (done % chunk == 0 or done == size)
    if not kinds or not last or not ((successes >= 0) & (successes <= scores) & (scores <= attempts)).all() or (
        scores[done:].any()
    ):
        raise InputError(f"--out: must go on from the counts of {size} problems, got {found.path}; once it is "
                         "removed, the one before it is used")  # fmt: skip
    return done, successes, scores


def say(line: str) -> None:
    print(line, file=sys.stderr)


def problems(
    task: Task, source: str, size: int, seed: int, shots: Sequence[tuple[str, str]] = ()
) -> tuple[Pool, NDArray[np.int64] | None]:
    """What is measured: the rows of a pool file or of a task's file, held-out ones too, or fresh problems of the task.

    shots: examples that prompts show, which are left out. Also the tenth of the difficulty range of each problem before
    it is measured; None where there are no labels.
    """
    from real_runs.tasks.files import PromptFile, with_texts, without_shots

    if source:
        pool = with_texts(Pool.load(source), source)
    elif isinstance(task.source, PromptFile):
        pool = task.source.rows
        if size < len(pool):
            pool = pool.take(np.sort(generator(seed, Role.PROBLEM).permutation(len(pool))[:size]))
    else:
        pool = task.pool(size, seed=seed)
    pool = without_shots(pool, shots)
    return pool, np.minimum(pool.difficulty // 10, 9).astype(np.int64) if pool.labelled else None


def summary(pool: Pool, score: float) -> str:
    counts = np.bincount(np.minimum(pool.difficulty // 10, 9).astype(int), minlength=10)
    never, rate = int((pool.difficulty == 100).sum()), 1 - pool.difficulty.mean() / 100
    credit = f" (mean score {score:.3f}: partial credit is no success)" if abs(score - rate) > 5e-4 else ""
    return (
        f"{len(pool)} problems, mean pass rate {rate:.3f}{credit}, {never} never solved; "
        f"per difficulty decile: {' '.join(map(str, counts))}"
    )


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--task", default="reverse", help="as in train.py (default: %(default)s)")
    p.add_argument("--pool", default="", help="measure the problems of this file, all of them, with the task's scorer")
    p.add_argument("--model", default="", help="folder or hub name (default: the tiny one of this project)")
    p.add_argument("--size", default="3000", help="problems of the task, at most (default: %(default)s)")
    p.add_argument("--attempts", default="32", help="per problem (default: %(default)s)")
    p.add_argument("--seed", default="0", help="(default: %(default)s)")
    p.add_argument("--chunk", default="8", help="problems at a time (default: %(default)s)")
    p.add_argument("--rollouts", default=str(Run.rollouts),
                   help="completions per group in the training that is planned (default: %(default)s)")  # fmt: skip
    p.add_argument("--batch", default=str(Run.batch),
                   help="groups per update in it, at most all problems (default: %(default)s)")  # fmt: skip
    p.add_argument("--limit", default="0", help="tokens per completion (default: the task's)")
    p.add_argument("--threads", default="0", help="of the processor (default: PyTorch's choice)")
    add_options(p, ASKED)
    p.add_argument(ANYWAY, action="store_true", help="measure also with a scorer that is known to be unsound")
    p.add_argument("--out", metavar="FILE", required=True, help="pool file to write, .parquet")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: measure_to(options), SAME_AGAIN)


def measure_to(options: argparse.Namespace) -> None:
    """Check the options, measure, and say what came out."""
    numbers = {}
    for name, (low, high) in DOMAINS.items():
        numbers[name] = whole(f"--{name}", getattr(options, name), low, high)
    check_attempts(numbers["chunk"], numbers["attempts"], MOST_COMPLETIONS)
    out = check_file("--out", options.out)
    if out.suffix != ".parquet":
        raise InputError(f"--out: must be a .parquet file, got {shown_path(out)}")
    asking = Run(**read_options(options, ASKED))
    if numbers["threads"]:
        import torch

        torch.set_num_threads(numbers["threads"])
    with only_writer(out.with_suffix(".parts")):
        pool, stratum, score = measure(
            options.task, options.pool, options.model, numbers["size"], numbers["attempts"], numbers["seed"],
            out, numbers["chunk"], numbers["limit"], asking, options.anyway,
        )  # fmt: skip
    print("\n".join(table(pool, stratum, numbers["rollouts"], numbers["batch"])))
    print(f"{out}: {summary(pool, score)}")


if __name__ == "__main__":
    sys.exit(main())
