"""What one real run depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench import Controller
from workbench.errors import InputError, check_choice, check_count, check_number
from workbench.loop import LONGEST
from workbench.registry import parts_of

UNSPENT = "budget not spent"  # how the event begins that says so


@dataclass(frozen=True)
class Run:
    """Everything a run depends on. Text fields are those of the command line."""

    task: str = "reverse"
    scorer: str = ""
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
    if (kind == "tokens") != bool(colon) or (colon and not (amount.isdecimal() and int(amount))):
        raise InputError(f"--budget: must be steps, rollouts or tokens:NUMBER, got '{budget}'")
    return int(amount or 0)
