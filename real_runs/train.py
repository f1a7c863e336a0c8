"""Finetune a language model with a curriculum: python real_runs/train.py --help"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from real_runs.runs.execute import execute
from real_runs.runs.identity import OTHER_CODE
from real_runs.runs.run import Run
from workbench.commands import Parser, exit_status
from workbench.errors import InputError
from workbench.files import only_writer
from workbench.loop import LONGEST
from workbench.registry import GATES, RULES, make_controller, parts_of, setting_value


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    default = Run()

    def add(flag: str, metavar: str, text: str) -> None:
        field = flag.lstrip("-").replace("-", "_")
        value = getattr(default, field)
        shown = f" (default: {value})" if value not in ("", 0) or field == "seed" else ""
        p.add_argument(flag, metavar=metavar, default=str(value), help=text + shown)

    add("--task", "NAME", "reverse, sums, skills, reasoning-gym:GENERATOR, a file of prompts and answers, an entry point "
        "of the group workbench.tasks, or package.module:Name")  # fmt: skip
    add("--scorer", "NAME", "math, exact, or package.module:function of a completion and an answer, which runs in a "
        "process of its own (default: the task's)")  # fmt: skip
    add("--model", "MODEL", "folder or hub name of a causal LM (default: the tiny one of this project)")
    add("--pool", "POOL", "skew-difficult, uniform or skew-easy, cut from the task's measured pass counts; or a pool "
        "file with prompts and answers (default: all measured items of the task)")  # fmt: skip
    add("--controller", "NAME", "a rule, a gate (uniform sampling behind it) or RULE+GATE. "
        f"Rules: {', '.join(RULES)}. Gates: {', '.join(GATES)}")  # fmt: skip
    p.add_argument("--set", metavar="NAME.PARAMETER=VALUE", action="append", default=[],
                   help="a hyper-parameter of the rule or gate, such as adarft.eta=20; may be repeated")  # fmt: skip
    add("--algorithm", "NAME", "ppo, grpo, rloo or reinforce++")
    add("--steps", "N", f"updates; with another --budget, at most {LONGEST} times as many")
    add("--batch", "N", "problems per update")
    add("--rollouts", "N", "completions per problem")
    add("--seed", "N", "of everything random")
    add("--eval-every", "N", "updates between evaluations on held-out problems")
    add("--save-every", "N", "updates between checkpoints")
    add("--budget", "WHAT", "what ends the run: steps; rollouts (steps x batch x rollouts of them, those of rejected "
        "groups and of probes included); or tokens:N sampled tokens")  # fmt: skip
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
    p.add_argument(OTHER_CODE, action="store_true",
                   help="let --resume take what another version of the code computed")  # fmt: skip
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
            execute(run, out, options.resume, options.tensorboard, options.any_code)
        print(f"{out}: steps.csv evals.csv rollouts.parquet manifest.json")

    return exit_status(work, "--resume goes on from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
