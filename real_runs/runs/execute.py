"""One real run, from the first update to the record."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from real_runs.runs.events import divergence, early_warnings, warnings
from real_runs.runs.identity import finished, identity, key_of, restore
from real_runs.runs.run import Run, spending, unspent
from real_runs.runs.scorers import check_answers, check_sound
from real_runs.runs.signal import check_signal, look
from real_runs.runs.watch import Board, Timed
from workbench import train
from workbench.errors import InputError, shown_path
from workbench.files import check_writable, remove_drafts
from workbench.pool import Pool
from workbench.progress import make_bar


def execute(
    run: Run, out: Path, resume: bool = False, tensorboard: bool = False, any_code: bool = False, anyway: bool = False
) -> None:
    """Run to the end and write the record into `out`; with `resume`, from the last sound checkpoint there.

    any_code: whether `resume` takes what other versions of the code computed. anyway: whether a run begins where next
    to no group can teach, no answer has full score, or the scorer is known to be unsound.
    """
    import torch

    from real_runs.rl.learner import HeldOut, PPOLearner, Settings
    from real_runs.rl.models import BASE, load
    from real_runs.rl.precision import said
    from real_runs.runs import checkpoint
    from real_runs.runs.record import RunRecord
    from real_runs.tasks.files import PromptFile
    from real_runs.tasks.measured import SHAPES
    from real_runs.tasks.named import make_task

    if run.threads:
        torch.set_num_threads(run.threads)
    algorithm = run.make_algorithm()
    if algorithm.advantage in ("grpo", "rloo") and run.rollouts < 2:
        raise InputError(f"--rollouts: must be >= 2 for --algorithm {run.algorithm}, got {run.rollouts}")
    rule, gates = run.make_controller()
    for gate in gates:
        gate.check_rollouts(run.rollouts)
    task = make_task(run.task, run.scorer, run.answer)
    check_sound(task, say, anyway)
    prompting = run.prompting(task.examples(run.shots))
    pool = make_pool(run, task)
    settings = Settings(
        limit=run.limit or task.limit, temperature=run.temperature, lr=run.lr, warm_up=run.warm_up,
        updates=run.updates, micro_tokens=run.micro_tokens, sample_tokens=run.sample_tokens,
    )  # fmt: skip
    controller = Timed(rule, pool, gates, seed=run.seed)
    policy = load(
        run.model or BASE, run.lora, run.gradient_checkpointing, seed=run.seed, decoding=run.decoding,
        dtype=run.dtype, prompting=prompting,
    )  # fmt: skip
    heldout = HeldOut(*task.heldout(run.heldout, seed=0))
    learner = PPOLearner(policy, pool, task.score, heldout, algorithm, settings, run.seed, task.read)
    counts = np.bincount(heldout.stratum, minlength=heldout.strata)
    record, start = RunRecord(), 0
    about = identity(run, pool, heldout, (rule, gates), task, policy)
    folder, key = out / "checkpoints", key_of(about)
    if resume and finished(out, run, about, say, any_code):
        say(f"{out}: this run is complete")
        return
    if resume:
        start = restore(folder, about, controller, learner, record, say, any_code)
    elif any(folder.glob("step-*")):
        where = shown_path(out)
        raise InputError(f"--out: must be a new folder unless --resume is given, got {where} with checkpoints")
    if run.pool not in ("", *SHAPES) or isinstance(task.source, PromptFile):
        say(pool.understood)
    say(prompting.said(policy.tokenizer))
    say(said(run.dtype, policy.dtype, policy.model.device, policy.model.num_parameters()))
    if not start:
        check_answers(task, pool, say, anyway)
        if run.rollouts > 1:  # a group of one is never mixed
            signal = look(learner, run.batch, run.rollouts, say)
            check_signal(signal, say, anyway)
            record.signal = asdict(signal)
    scalars = out / "tensorboard" if tensorboard else None
    for place in filter(None, (folder, scalars)):
        check_writable("--out", place)  # told now, not where the first checkpoint is due
    remove_drafts(folder)
    clock = time.perf_counter()
    before = record.seconds
    board = Board(scalars) if scalars else None
    most = run.most_updates
    bar = make_bar(total=run.allowed, initial=spending(run, controller, learner), unit=run.budget.partition(":")[0])

    def spent() -> bool:
        return spending(run, controller, learner) >= run.allowed

    def after_step(step: int, success: Any) -> None:
        record.seconds = before + time.perf_counter() - clock
        if step:
            row = controller.row(step, learner)
            record.add_step(row)
            for group in controller.take():
                record.add_groups(step, *group)
            if board:
                board.add(step, row)
        if success is not None:
            record.add_evaluation(step, np.asarray(success).reshape(-1), counts, learner.readable)
            assert learner.written is not None
            record.add_samples(step, heldout, *learner.written)
            bar.write(f"step {step:4d}  held-out success {shown(record, step, counts)}", file=sys.stderr)
        if step:
            for event in early_warnings(record):
                bar.write(event, file=sys.stderr)
            bar.update(min(spending(run, controller, learner), run.allowed) - bar.n)
            bar.set_postfix_str(f"reward {row['reward']:.2f}, target {row['target_difficulty']:.0f}", refresh=False)
        if step and (step % run.save_every == 0 or step == most or spent()):
            state = {f"learner.{k}": v for k, v in learner.state_dict().items()}
            state |= {f"controller.{k}": v for k, v in controller.state_dict().items()}
            state |= {f"record.{k}": v for k, v in record.state_dict().items()}
            checkpoint.save(folder, step, state, about, key)

    with bar:
        if start < most and not spent():
            train(
                controller, learner, most, run.batch, run.rollouts, run.eval_every,
                resume=True, after_step=after_step, until=spent,
            )  # fmt: skip
    diverged = divergence(record)
    events = [*diverged, *warnings(record, policy.dtype), *unspent(run, controller, learner)]
    for event in events:
        say(f"{out}: {event}")
    status = {"status": "diverged" if diverged else "complete", "events": events, "signal": record.signal}
    record.write(out, about | status | {"seconds": record.seconds})


def make_pool(run: Run, task: Any) -> Pool:
    """The pool to train on: a file, a published shape cut from the shipped pass counts, or fresh from the task.

    Held-out problems of the task and those that prompts show are left out, and a line says how many. InputError where
    problems have no difficulty labels and the rule reads them.
    """
    from real_runs.tasks.files import training_pool
    from real_runs.tasks.measured import MEASURED, SHAPES, cut

    if run.pool in SHAPES:
        measured = MEASURED / f"{run.task}.parquet"
        if not measured.is_file():
            got = shown_path(run.pool)
            raise InputError(f"--pool: must be a file, as task {run.task} has no measured pool, got {got}")
        pool = cut(Pool.load(measured), run.pool)
    elif run.pool:
        pool = Pool.load(run.pool)
    else:
        measured = MEASURED / f"{run.task}.parquet"
        pool = Pool.load(measured) if measured.is_file() else task.pool(2000, seed=0)
    if not pool.labelled and run.make_controller()[0].labels:
        raise InputError(
            f"{'--pool' if run.pool else '--task'}: must have difficulty labels, which --controller {run.controller} "
            f"reads, got {np.isnan(pool.difficulty).sum()} of {len(pool)} problems without; measure.py makes them"
        )
    pool = training_pool(pool, task, run.heldout, shots=task.examples(run.shots))
    if run.batch > len(pool):
        raise InputError(f"--batch: must be <= {len(pool)}, the items of pool '{pool.name}', got {run.batch}")
    return pool


def say(line: str) -> None:
    print(line, file=sys.stderr)


def shown(record: Any, step: int, counts: np.ndarray) -> str:
    of_step = {int(row["stratum"]): row["success"] for row in record.evals if row["step"] == step}
    strata = " ".join(f"{of_step[s]:.2f}" if s in of_step else " -- " for s in range(len(counts)))
    return f"{record.success[step]:.3f}  by difficulty, easy to hard: {strata}"
