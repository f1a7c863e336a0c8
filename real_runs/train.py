"""Finetune a language model with a curriculum: python real_runs/train.py --help"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from workbench import Controller, train
from workbench.commands import Parser, exit_status
from workbench.errors import InputError, check_choice, check_count, check_number
from workbench.pool import Pool
from workbench.registry import GATES, RULES, make_controller, parts_of, setting_value
from workbench.study.store import only_writer
from workbench.study.study import describe, git_commit

LARGEST_KL = 5.0  # nats per token between policy and start: beyond it a run has come apart
PACKAGES = ("torch", "transformers", "numpy", "safetensors")


@dataclass(frozen=True)
class Run:
    """Everything a run depends on. Text fields are those of the command line."""

    task: str = "reverse"
    model: str = ""
    pool: str = ""
    controller: str = "adarft"
    settings: tuple[tuple[str, Any], ...] = ()  # by full name, adarft.eta
    algorithm: str = "ppo"
    steps: int = 60
    batch: int = 32
    rollouts: int = 8
    seed: int = 0
    eval_every: int = 10
    save_every: int = 10
    budget: str = "steps"
    lr: float = 1e-4
    warm_up: int = 10
    limit: int = 0
    temperature: float = 1.0
    updates: int = 1
    micro_tokens: int = 1024
    heldout: int = 24
    lora: int = 0
    gradient_checkpointing: bool = False
    decoding: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rollouts", "eval_every", "save_every", "updates", "micro_tokens", "heldout"):
            check_count(f"--{name.replace('_', '-')}", getattr(self, name))
        for name in ("seed", "limit", "lora", "threads"):
            check_count(f"--{name}", getattr(self, name), 0)
        for name in ("lr", "temperature"):
            check_number(f"--{name}", getattr(self, name), 0, open_low=True)
        check_number("--warm-up", self.warm_up, 0)
        check_choice("--budget", self.budget.split(":")[0], ("steps", "rollouts", "tokens"))
        _tokens_allowed(self.budget)
        parts_of(self.controller, "--controller")
        if self.batch * self.rollouts % self.updates:
            total = self.batch * self.rollouts
            raise InputError(f"--updates: must divide batch x rollouts, {total}, got {self.updates}")


def execute(run: Run, out: Path, resume: bool = False, tensorboard: bool = False) -> None:
    """Run to the end and write the record into `out`; with `resume`, from the last sound checkpoint there."""
    import torch

    from real_runs.rl import ppo
    from real_runs.rl.generate import DECODINGS
    from real_runs.rl.learner import HeldOut, PPOLearner, Settings
    from real_runs.rl.models import BASE, load
    from real_runs.runs import checkpoint
    from real_runs.runs.record import RunRecord
    from real_runs.tasks.task import make_task

    if run.threads:
        torch.set_num_threads(run.threads)
    check_choice("--algorithm", run.algorithm, tuple(ppo.ALGORITHMS))
    check_choice("--decoding", run.decoding, DECODINGS)
    algorithm = ppo.ALGORITHMS[run.algorithm]
    if algorithm.advantage in ("grpo", "rloo") and run.rollouts < 2:
        raise InputError(f"--rollouts: must be >= 2 for --algorithm {run.algorithm}, got {run.rollouts}")
    rule, gates = make_controller(run.controller, dict(run.settings), run.steps)
    for gate in gates:
        gate.check_rollouts(run.rollouts)
    task = make_task(run.task)
    pool = make_pool(run, task)
    settings = Settings(
        limit=run.limit or task.limit, temperature=run.temperature, lr=run.lr, warm_up=run.warm_up,
        updates=run.updates, micro_tokens=run.micro_tokens,
    )  # fmt: skip
    controller = Timed(rule, pool, gates, seed=run.seed)
    policy = load(run.model or BASE, run.lora, run.gradient_checkpointing, seed=run.seed, decoding=run.decoding)
    heldout = HeldOut(*task.heldout(run.heldout, seed=0))
    learner = PPOLearner(policy, pool, task.score, heldout, algorithm, settings, run.seed)
    counts = np.bincount(heldout.stratum, minlength=heldout.strata)
    record, start = RunRecord(), 0
    about = identity(run, pool, (rule, gates), policy)
    folder = out / "checkpoints"
    if resume and finished(out, about):
        print(f"{out}: this run is complete", file=sys.stderr)
        return
    if resume:
        start = restore(folder, about, controller, learner, record)
    elif any(folder.glob("step-*")):
        raise InputError(f"--out: must be a new folder unless --resume is given, got '{out}' with checkpoints")
    clock = time.perf_counter()
    before = record.seconds
    board = Board(out) if tensorboard else None
    bar = tqdm(total=run.steps, initial=start, unit="step")

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
            record.add_evaluation(step, np.asarray(success).reshape(-1), counts)
            bar.write(f"step {step:4d}  held-out success {shown(record, step, counts)}", file=sys.stderr)
        if step:
            bar.update(step - bar.n)
            bar.set_postfix_str(f"reward {row['reward']:.2f}, target {row['target_difficulty']:.0f}", refresh=False)
        if step and (step % run.save_every == 0 or step == run.steps or spent(run, controller, learner)):
            state = {f"learner.{k}": v for k, v in learner.state_dict().items()}
            state |= {f"controller.{k}": v for k, v in controller.state_dict().items()}
            state |= {f"record.{k}": v for k, v in record.state_dict().items()}
            checkpoint.save(folder, step, state, about)

    with bar:
        if start < run.steps and not spent(run, controller, learner):
            train(
                controller, learner, run.steps, run.batch, run.rollouts, run.eval_every,
                start=start, after_step=after_step, until=lambda: spent(run, controller, learner),
            )  # fmt: skip
    events = divergence(record)
    status = {"status": "diverged" if events else "complete", "events": events, "seconds": record.seconds}
    record.write(out, about | status)


def make_pool(run: Run, task: Any) -> Pool:
    """The pool to train on: a file, a published shape cut from the shipped pass counts, or fresh from the task."""
    from real_runs.tasks.measured import MEASURED, SHAPES, cut

    if run.pool in SHAPES:
        measured = MEASURED / f"{run.task}.parquet"
        if not measured.is_file():
            raise InputError(f"--pool: must be a file, as task {run.task} has no measured pool, got '{run.pool}'")
        pool = cut(Pool.load(measured), run.pool)
    elif run.pool:
        pool = Pool.load(run.pool)
    else:
        measured = MEASURED / f"{run.task}.parquet"
        pool = Pool.load(measured) if measured.is_file() else task.pool(2000, seed=0)
    if run.batch > len(pool):
        raise InputError(f"--batch: must be <= {len(pool)}, the items of pool '{pool.name}', got {run.batch}")
    return pool


def identity(run: Run, pool: Pool, parts: tuple[Any, list[Any]], policy: Any) -> dict[str, Any]:
    """All that a run depends on, as JSON values."""
    return {
        "run": asdict(run) | {"settings": dict(run.settings)},
        "rule": describe(parts[0]),
        "gates": [describe(gate) for gate in parts[1]],
        "pool": {"name": pool.name, "items": len(pool), "digest": pool.digest, "texts": texts_digest(pool)},
        "model": {"digest": policy.digest(), "trained": sum(p.numel() for p in policy.trainable)},
        "git_commit": git_commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {policy.model.device.type}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def texts_digest(pool: Pool) -> str:
    """Identity of the prompts and answers, which `Pool.digest` leaves out."""
    payload = pool.payload or {}
    text = json.dumps({name: [str(value) for value in payload[name]] for name in sorted(payload)})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def finished(out: Path, about: dict[str, Any]) -> bool:
    """Whether `out` holds the record of this very run."""
    path = out / "manifest.json"
    if not path.is_file():
        return False
    manifest = json.loads(path.read_text())
    return all(manifest.get(name) == about[name] for name in ("run", "rule", "gates", "pool", "model"))


def restore(folder: Path, about: dict[str, Any], controller: Controller, learner: Any, record: Any) -> int:
    """Load the last sound checkpoint; returns its step, 0 if there is none."""
    from real_runs.runs import checkpoint

    found = checkpoint.load(folder, lambda line: print(line, file=sys.stderr))
    if found is None:
        return 0
    step, state, notes = found
    for name in ("run", "rule", "gates", "pool", "model"):
        if notes[name] != about[name]:
            raise InputError(f"--resume: must continue the same {name}, got {about[name]} for {notes[name]}")

    def part(of: str) -> dict[str, Any]:
        return {key.split(".", 1)[1]: value for key, value in state.items() if key.startswith(f"{of}.")}

    controller.load_state_dict(part("controller"))
    learner.load_state_dict(part("learner"))
    record.load_state_dict(part("record"))
    return step


def divergence(record: Any) -> list[str]:
    """What came apart, and when: in words, for the manifest."""
    events = []
    for row in record.steps:
        if row["admitted"] and not math.isfinite(row["grad_norm"]):
            events.append(f"gradient not finite at step {row['step']:.0f}")
        elif row["kl"] > LARGEST_KL:
            events.append(f"kl {row['kl']:.1f} nats per token at step {row['step']:.0f}")
    success = list(record.success.values())
    if record.steps and record.steps[-1]["entropy"] < 0.01 and success[-1] < success[0]:
        events.append(f"entropy collapsed to {record.steps[-1]['entropy']:.4f} nats while success fell")
    return events[:1] + ([f"{len(events) - 1} more"] if len(events) > 1 else [])


def spent(run: Run, controller: Controller, learner: Any) -> bool:
    if run.budget == "rollouts":
        return bool(controller.rollouts[0] >= run.steps * run.batch * run.rollouts)
    return run.budget.startswith("tokens") and learner.tokens >= _tokens_allowed(run.budget)


def _tokens_allowed(budget: str) -> int:
    kind, colon, amount = budget.partition(":")
    if (kind == "tokens") != bool(colon) or (colon and not (amount.isdecimal() and int(amount))):
        raise InputError(f"--budget: must be steps, rollouts or tokens:NUMBER, got '{budget}'")
    return int(amount or 0)


def shown(record: Any, step: int, counts: np.ndarray) -> str:
    of_step = {int(row["stratum"]): row["success"] for row in record.evals if row["step"] == step}
    strata = " ".join(f"{of_step[s]:.2f}" if s in of_step else " -- " for s in range(len(counts)))
    return f"{record.success[step]:.3f}  by difficulty, easy to hard: {strata}"


class Timed(Controller):
    """The controller, with a clock, and with the feedback since the last step kept for the record."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._seconds, self._groups = 0.0, list[tuple[Any, ...]]()

    def next_batch(self, batch: int, refill: Any = False) -> Any:
        start = time.perf_counter()
        items = super().next_batch(batch, refill)
        self._seconds += time.perf_counter() - start
        return items

    def observe(self, items: Any, rewards: Any, counts: Any = None) -> Any:
        start = time.perf_counter()
        admitted = super().observe(items, rewards, counts)
        self._seconds += time.perf_counter() - start
        sizes = np.full(len(items), rewards.shape[1]) if counts is None else counts
        self._groups.append((items, rewards, admitted, sizes))
        return admitted

    def take(self) -> list[tuple[Any, ...]]:
        groups, self._groups, self._seconds = self._groups, [], 0.0
        return groups

    def row(self, step: int, learner: Any) -> dict[str, float]:
        """The step's row of steps.csv. reward, difficulty and zero-variance share are over all groups generated."""
        items, rewards, admitted, sizes = map(np.concatenate, zip(*self._groups, strict=True))
        difficulty = self.pool.difficulty[items]
        alike = ((rewards == rewards[:, :1]) | (np.arange(rewards.shape[1]) >= sizes[:, None])).all(axis=1)
        silent = alike[sizes > 1].mean() if (sizes > 1).any() else math.nan
        return learner.stats | {
            "step": step,
            "reward": rewards.sum() / sizes.sum(),
            "target_difficulty": float(self.target()[0]),
            "difficulty_mean": difficulty.mean(),
            "difficulty_min": difficulty.min(),
            "difficulty_max": difficulty.max(),
            "zero_variance_share": silent,
            "rollouts": int(self.rollouts[0]),
            "tokens": learner.tokens,
            "batches": int(self.batches[0]),
            "admitted": admitted.sum(),
            "faults": learner.faults,
            "coverage": float(self.coverage()[0]),
            "seconds_controller": self._seconds,
        }


class Board:
    """TensorBoard scalars of each step."""

    def __init__(self, out: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "tensorboard"))

    def add(self, step: int, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name != "step" and math.isfinite(value):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()


# ------------------------------------------------------------------------------------------------ command line


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    default = Run()

    def add(flag: str, metavar: str, text: str) -> None:
        field = flag.lstrip("-").replace("-", "_")
        value = getattr(default, field)
        shown = f" (default: {value})" if value not in ("", 0) or field == "seed" else ""
        p.add_argument(flag, metavar=metavar, default=str(value), help=text + shown)

    add("--task", "NAME", "reverse, sums, skills, reasoning-gym:GENERATOR or a file of prompts and answers")
    add("--model", "MODEL", "folder or hub name of a causal LM (default: the tiny one of this project)")
    add("--pool", "POOL", "skew-difficult, uniform or skew-easy, cut from the task's measured pass counts; or a pool "
        "file with prompts and answers (default: all measured items of the task)")  # fmt: skip
    add("--controller", "NAME", "a rule, a gate (uniform sampling behind it) or RULE+GATE. "
        f"Rules: {', '.join(RULES)}. Gates: {', '.join(GATES)}")  # fmt: skip
    p.add_argument("--set", metavar="NAME.PARAMETER=VALUE", action="append", default=[],
                   help="a hyper-parameter of the rule or gate, such as adarft.eta=20; may be repeated")  # fmt: skip
    add("--algorithm", "NAME", "ppo, grpo, rloo or reinforce++")
    add("--steps", "N", "updates")
    add("--batch", "N", "problems per update")
    add("--rollouts", "N", "completions per problem")
    add("--seed", "N", "of everything random")
    add("--eval-every", "N", "updates between evaluations on held-out problems")
    add("--save-every", "N", "updates between checkpoints")
    add("--budget", "WHAT", "what ends the run: steps; rollouts (steps x batch x rollouts of them, which a gate uses "
        "up faster); or tokens:N sampled tokens")  # fmt: skip
    add("--lr", "RATE", "largest learning rate (Adam)")
    add("--warm-up", "N", "updates until then")
    add("--limit", "N", "tokens per completion (default: the task's)")
    add("--temperature", "T", "of sampling")
    add("--updates", "N", "optimiser steps per batch")
    add("--micro-tokens", "N", "tokens in one forward and backward pass: bounds memory")
    add("--heldout", "N", "held-out problems per difficulty stratum")
    add("--lora", "RANK", "train adapters of this rank only (default: all parameters)")
    p.add_argument("--gradient-checkpointing", action="store_true", help="less memory, more time")
    add("--decoding", "HOW", "eager, graph (fixed shapes, on a GPU captured and replayed) or auto (graph for long "
        "completions on a GPU)")  # fmt: skip
    add("--threads", "N", "of the processor (default: PyTorch's choice)")
    p.add_argument("--resume", action="store_true", help="continue from the last sound checkpoint in --out")
    p.add_argument("--tensorboard", action="store_true", help="also write TensorBoard scalars")
    p.add_argument("--out", metavar="FOLDER", default="results/real", help="(default: %(default)s)")
    return p


def parse(arguments: list[str] | None = None) -> tuple[Run, argparse.Namespace]:
    options = parser().parse_args(arguments)
    values: dict[str, Any] = {"gradient_checkpointing": options.gradient_checkpointing}
    for field in fields(Run):
        if field.name in ("settings", "gradient_checkpointing"):
            continue
        text, kind = getattr(options, field.name), type(getattr(Run(), field.name))
        try:
            values[field.name] = kind(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise InputError(f"--{field.name.replace('_', '-')}: must be {wanted}, got '{text}'") from None
    run = Run(**values)
    settings: dict[str, Any] = {}
    parts = parts_of(run.controller)
    for text in options.set:
        name, equals, value = text.partition("=")
        owner, _, parameter = name.partition(".")
        if not equals or owner not in parts or not parameter or name in settings:
            raise InputError(
                f"--set: must be NAME.PARAMETER=VALUE, each once, NAME among {', '.join(parts)}, got '{text}'"
            )
        settings[name] = setting_value(name, value)
    make_controller(run.controller, settings, run.steps)
    return replace(run, settings=tuple(settings.items())), options


def main(arguments: list[str] | None = None) -> int:
    def work() -> None:
        run, options = parse(arguments)
        out = Path(options.out)
        with only_writer(out):
            execute(run, out, options.resume, tensorboard=options.tensorboard)
        print(f"{out}: steps.csv evals.csv rollouts.parquet manifest.json")

    return exit_status(work, "--resume goes on from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
