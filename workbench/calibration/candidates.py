"""The curricula that advice compares: names with settings, such as "adarft eta=5"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.controllers import Controller, Gate, Rule
from workbench.errors import InputError, shown
from workbench.labels import Settings, label_of, read_label
from workbench.pool import Pool
from workbench.registry import make_controller

CANDIDATES = ("uniform", "filter", "band", "linear", "adarft eta=5", "adarft", "sec", "mopps", "plr", "greso", "sfl",
              "dapo")  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A controller by its label: its name and settings by full name, and the rule and gates that they make."""

    label: str
    name: str
    settings: Settings
    rule: Rule
    gates: tuple[Gate, ...]

    @classmethod
    def of(cls, spec: Any, steps: int, field: str = "candidates") -> Candidate:
        """From NAME or "NAME setting=value ...". Raises InputError for an unknown name or setting."""
        if not isinstance(spec, str) or not spec.strip():
            raise InputError(f"{field}: must be names of controllers, got {shown(spec)}")
        name, settings = read_label(spec, field)
        rule, gates = make_controller(name, dict(settings), horizon=steps)
        return cls(label_of(name, settings), name, settings, rule, tuple(gates))

    def lacks(self, pool: Pool) -> str:
        """Why the pool does not do for it; empty where it does."""
        try:
            Controller(self.rule, pool, self.gates)
        except InputError as error:
            return str(error)
        return ""
