"""What one real run depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench import Controller
from workbench.errors import InputError, check_choice, check_count, check_number
from workbench.registry import parts_of


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


def spent(run: Run, controller: Controller, learner: Any) -> bool:
    if run.budget == "rollouts":
        return bool(controller.rollouts[0] >= run.steps * run.batch * run.rollouts)
    return run.budget.startswith("tokens") and learner.tokens >= _tokens_allowed(run.budget)


def _tokens_allowed(budget: str) -> int:
    kind, colon, amount = budget.partition(":")
    if (kind == "tokens") != bool(colon) or (colon and not (amount.isdecimal() and int(amount))):
        raise InputError(f"--budget: must be steps, rollouts or tokens:NUMBER, got '{budget}'")
    return int(amount or 0)
