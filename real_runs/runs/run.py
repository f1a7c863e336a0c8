"""What one real run depends on: its options, each with its type, default and help text, in one place."""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from real_runs.rl.ways import DECODINGS, DTYPES
from real_runs.runs.settings import make_algorithm
from real_runs.tasks.prompting import TEMPLATE, Prompting
from workbench import Controller
from workbench.commands import number_or_text, whole_or_text
from workbench.errors import (
    MOST_STEPS,
    MOST_THREADS,
    InputError,
    bound,
    check_attempts,
    check_choice,
    check_count,
    check_number,
    shown,
    shown_path,
)
from workbench.files import open_regular
from workbench.loop import LONGEST
from workbench.registry import Parts, make_controller, owner_and_field, parts_of
from workbench.tables.formats import SOURCES

if TYPE_CHECKING:
    from real_runs.rl.ppo import Algorithm

# What memory and time allow of each count
MOST = {"steps": MOST_STEPS, "heldout": 10_000, "seed": 2**64 - 1, "limit": 2**20, "lora": 4096,
        "threads": MOST_THREADS, "shots": 1000}  # fmt: skip
MOST_COMPLETIONS = 2**20  # of one update
LARGEST_RATE = 10.0  # Adam changes each parameter by as much in one step
TEMPERATURES = (0.01, 100.0)  # below, all samples are alike; above, all tokens are as likely
LONGEST_TEMPLATE = 10**6  # letters of a file
UNSPENT = "budget not spent"  # how the event begins that says so


def _option(default: Any, metavar: str, text: str) -> Any:
    """A field of `Run` that is also an option of a command line."""
    return field(default=default, metadata={"metavar": metavar, "help": text})


@dataclass(frozen=True)
class Run:
    """Everything a run depends on. Text fields are those of the command line. Raises InputError, named by option."""

    task: str = _option(
        "reverse", "NAME", "reverse, sums, skills, arithmetic, reasoning-gym:GENERATOR, a file of prompts and answers, "
        "an entry point of the group workbench.tasks, or package.module:Name",
    )  # fmt: skip
    scorer: str = _option(
        "", "NAME", "math, exact, or package.module:function of a completion and an answer, which runs in a process of "
        "its own (default: the task's)",
    )  # fmt: skip
    model: str = _option("", "MODEL", "folder or hub name of a causal LM (default: the tiny one of this project)")
    pool: str = _option(
        "", "POOL", "skew-difficult, uniform or skew-easy, cut from the task's measured pass counts; or prompts and "
        f"answers from {SOURCES}; FILE:ROLE=COLUMN says what columns mean (default: all measured items of the task)",
    )  # fmt: skip
    controller: str = _option(
        "adarft", "NAME", "a rule, a gate (uniform sampling behind it) or RULE+GATE; shipped, an entry point or "
        "package.module:Name",
    )  # fmt: skip
    settings: tuple[tuple[str, Any], ...] = ()  # by full name, adarft.eta or ppo.kl_coef
    algorithm: str = _option("ppo", "NAME", "ppo, grpo, rloo or reinforce++")
    steps: int = _option(60, "N", f"updates; with another --budget, at most {LONGEST} times as many")
    batch: int = _option(32, "N", "problems per update")
    rollouts: int = _option(8, "N", "completions per problem")
    seed: int = _option(0, "N", "of everything random")
    eval_every: int = _option(10, "N", "updates between evaluations on held-out problems")
    save_every: int = _option(10, "N", "updates between checkpoints")
    budget: str = _option(
        "steps", "WHAT", "what ends the run: steps; rollouts (steps x batch x rollouts of them, those of rejected "
        "groups and of probes included); or tokens:N sampled tokens",
    )  # fmt: skip
    lr: float = _option(1e-4, "RATE", "largest learning rate (Adam)")
    warm_up: int = _option(10, "N", "updates until then")
    limit: int = _option(0, "N", "tokens per completion (default: the task's)")
    temperature: float = _option(1.0, "T", "of sampling")
    updates: int = _option(1, "N", "optimiser steps per batch")
    micro_tokens: int = _option(
        0, "N", "tokens in one forward and backward pass: bounds the memory of training (default: as the model allows)",
    )  # fmt: skip
    sample_tokens: int = _option(
        0, "N", "prompt and completion tokens that are sampled at a time: bounds the memory of sampling, and "
        "changes no sample (default: as the model allows)",
    )  # fmt: skip
    heldout: int = _option(24, "N", "held-out problems per difficulty stratum")
    lora: int = _option(0, "RANK", "train adapters of this rank only (default: all parameters)")
    gradient_checkpointing: bool = _option(False, "", "less memory, more time")
    shots: int = _option(
        0, "N", "solved problems before each prompt as examples, of levels 1, 2, 3 .. in turn; none is trained on or "
        "held out",
    )  # fmt: skip
    template: str = _option(
        "", "TEXT|FILE", "what the model reads of a problem: text with {prompt}, and {shots} where the examples go, or "
        "a file of such text (default: the examples, then the prompt)",
    )  # fmt: skip
    system: str = _option("", "TEXT", "a system's turn before it all; without a chat, a first paragraph")
    chat: bool = _option(False, "", "ask in turns of a chat (default: where the tokenizer has a template for it)")
    plain: bool = _option(False, "", "ask in plain text")
    stop: str = _option(
        "", "TEXT", "text at which a completion ends, with \\n, \\t and \\\\ for a line break, a tab and a "
        "backslash (default: none, only the model's end mark)",
    )  # fmt: skip
    answer: str = _option(
        "", "WHERE", "where a completion has its answer: last-line, last-number, boxed, tag:NAME, or a regular "
        "expression, of whose last match it is the first group (default: what the scorer reads)",
    )  # fmt: skip
    dtype: str = _option("auto", "TYPE", "of matrix products: float32, bfloat16 or auto, what is faster here")
    decoding: str = _option(
        "auto", "HOW", "eager, graph (fixed shapes, on a GPU captured and replayed) or auto (graph for long "
        "completions on a GPU)",
    )  # fmt: skip
    threads: int = _option(0, "N", "of the processor (default: PyTorch's choice)")

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rollouts", "eval_every", "save_every", "updates", "heldout"):
            check_count(flag_of(name), getattr(self, name), 1, MOST.get(name))
        for name in ("seed", "limit", "lora", "threads", "micro_tokens", "sample_tokens", "shots", "warm_up"):
            check_count(flag_of(name), getattr(self, name), 0, MOST.get(name))
        check_number("--lr", self.lr, 0, LARGEST_RATE, open_low=True)
        check_number("--temperature", self.temperature, *TEMPERATURES)
        check_choice("--dtype", self.dtype, DTYPES)
        check_choice("--decoding", self.decoding, DECODINGS)
        check_choice("--budget", self.budget.split(":")[0], ("steps", "rollouts", "tokens"))
        _tokens_allowed(self.budget)
        if self.chat and self.plain:
            raise InputError("--chat: must be given without --plain, got both")
        self.prompting()
        parts_of(self.controller, "--controller")
        if self.batch * self.rollouts % self.updates:
            total = self.batch * self.rollouts
            raise InputError(f"--updates: must divide batch x rollouts, {total}, got {self.updates}")
        check_attempts(self.batch, self.rollouts, MOST_COMPLETIONS)

    def prompting(self, shots: Sequence[tuple[str, str]] = ()) -> Prompting:
        """How the model is asked; shots: the examples, prompt and answer of each."""
        chat = True if self.chat else False if self.plain else None
        return Prompting(tuple(shots), self.template or TEMPLATE, self.system, chat, self.stop)

    @property
    def controller_settings(self) -> dict[str, Any]:
        """The settings of the rule and the gates, by full name."""
        return {name: value for name, value in self.settings if owner_and_field(name)[0] != self.algorithm}

    @property
    def algorithm_settings(self) -> dict[str, Any]:
        """The settings of the algorithm, by full name."""
        return {name: value for name, value in self.settings if owner_and_field(name)[0] == self.algorithm}

    def make_controller(self) -> Parts:
        """The rule and the gates; InputError for a setting that they do not have or take."""
        return make_controller(self.controller, self.controller_settings, self.steps)

    def make_algorithm(self) -> Algorithm:
        """The algorithm; InputError if it is unknown, and for a setting that it does not have or take."""
        return make_algorithm(self.algorithm, self.algorithm_settings)

    @property
    def most_updates(self) -> int:
        """Updates after which the run ends, spent or not: `steps`, and LONGEST times as many with another budget."""
        return self.steps if self.budget == "steps" else LONGEST * self.steps

    @property
    def allowed(self) -> int:
        """What the run may spend, in the unit of its budget: updates, rollouts or tokens."""
        if self.budget == "rollouts":
            return self.steps * self.batch * self.rollouts
        return _tokens_allowed(self.budget) or self.steps


# ------------------------------------------------------------------------------------------- as a command line

OPTIONS = {option.name: option for option in fields(Run) if option.metadata}
ASKING = ("shots", "template", "system", "chat", "plain", "stop", "answer", "dtype")  # what pass counts depend on, too


def flag_of(name: str) -> str:
    """The option of a field: eval_every is --eval-every."""
    return f"--{name.replace('_', '-')}"


def add_options(parser: argparse.ArgumentParser, names: Sequence[str], **defaults: str) -> None:
    """Give a command the options of some fields, with their help and defaults, or other defaults by name."""
    for name in names:
        option, default = OPTIONS[name], defaults.get(name, str(OPTIONS[name].default))
        if option.type == "bool":
            parser.add_argument(flag_of(name), action="store_true", help=option.metadata["help"])
            continue
        said = "(default" in option.metadata["help"] or option.default == ""
        text = option.metadata["help"] + ("" if said else f" (default: {default})")
        parser.add_argument(flag_of(name), metavar=option.metadata["metavar"], default=default, help=text)


def read_options(given: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The values of these fields, each of its field's type; text that is none stays, for `Run` to name."""
    values: dict[str, Any] = {}
    for name in names:
        value = getattr(given, name)
        if name in READ:
            values[name] = READ[name](value)
            continue
        values[name] = OF_KIND[type(OPTIONS[name].default)](value)
    return values


OF_KIND: dict[type, Callable[[Any], Any]] = {str: str, int: whole_or_text, float: number_or_text, bool: bool}


def command_line(run: Run) -> list[str]:
    """The options that `read_options` and `--set` turn into this run."""
    words: list[str] = []
    for name in OPTIONS:
        value = getattr(run, name)
        if isinstance(value, bool):
            words += [flag_of(name)] if value else []
        else:
            words.append(f"{flag_of(name)}={escaped(value) if name == 'stop' else value}")  # a value may begin with -
    return words + [word for name, value in run.settings for word in ("--set", f"{name}={value}")]


ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}


def unescaped(text: str) -> str:
    """A text of a command line with a line break, a tab and a backslash for \\n, \\t and \\\\."""
    return re.sub(r"\\[nt\\]", lambda found: ESCAPES[found[0]], text)


def escaped(text: str) -> str:
    """What `unescaped` turns into `text`."""
    names = {meant: written for written, meant in ESCAPES.items()}
    return "".join(names.get(letter, letter) for letter in text)


def read_template(given: str) -> str:
    """The template that is given, or that the file of this name holds, without the line break at its end.

    Raises InputError unless it has {prompt}.
    """
    if not given or "{prompt}" in given:
        return given
    try:
        with io.TextIOWrapper(open_regular(Path(given)), encoding="utf-8") as file:  # any system's line breaks
            text = file.read(LONGEST_TEMPLATE + 1)
    except (OSError, ValueError):
        raise InputError(
            f"--template: must be text with {{prompt}}, or a file of such text, got {shown(given)}"
        ) from None
    if len(text) > LONGEST_TEMPLATE:
        raise InputError(f"--template: must be a file of <= {bound(LONGEST_TEMPLATE)} letters, got {shown_path(given)}")
    if "{prompt}" not in text:
        raise InputError(f"--template: must be a file of text with {{prompt}}, got {shown(given)} without")
    return text.removesuffix("\n")


READ: dict[str, Callable[[str], str]] = {"stop": unescaped, "template": read_template}


# ------------------------------------------------------------------------------------------------------ budgets


def spending(run: Run, controller: Controller, learner: Any) -> int:
    """What the run has spent so far, in the unit of its budget."""
    if run.budget == "steps":
        return int(controller.step)
    return int(controller.rollouts[0]) if run.budget == "rollouts" else int(learner.tokens)


def unspent(run: Run, controller: Controller, learner: Any) -> list[str]:
    """The event of a run that ended by its number of updates before its budget was spent; none otherwise."""
    left = run.allowed - spending(run, controller, learner)
    if left <= 0:
        return []
    unit = run.budget.partition(":")[0]
    return [
        f"{UNSPENT}: {left:,} of {run.allowed:,} {unit} were left after {controller.step} updates "
        f"({LONGEST} x --steps), the most of a run"
    ]


def _tokens_allowed(budget: str) -> int:
    kind, colon, amount = budget.partition(":")
    number = whole_or_text(amount)
    if (kind == "tokens") != bool(colon) or (colon and not (isinstance(number, int) and number > 0)):
        raise InputError(f"--budget: must be steps, rollouts or tokens:NUMBER, got {shown(budget)}")
    return int(amount or 0)
