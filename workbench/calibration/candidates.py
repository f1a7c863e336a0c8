"""The curricula that advice compares: names with settings, such as "adarft eta=5"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.controllers import Controller, Gate, Rule
from workbench.errors import InputError, shown
from workbench.labels import label_of
from workbench.pool import Pool
from workbench.registry import make_controller, parts_of, setting_value

CANDIDATES = ("uniform", "filter", "band", "linear", "adarft eta=5", "adarft", "sec", "mopps", "plr", "greso", "sfl",
              "dapo")  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A controller by its label: its name and settings by full name, and the rule and gates that they make."""

    label: str
    name: str
    settings: tuple[tuple[str, Any], ...]
    rule: Rule
    gates: tuple[Gate, ...]

    @classmethod
    def of(cls, spec: Any, steps: int) -> Candidate:
        """From NAME or "NAME setting=value ...". Raises InputError for an unknown name or setting."""
        if not isinstance(spec, str) or not spec.strip():
            raise InputError(f"candidates: must be names of controllers, got {shown(spec)}")
        name, *given = spec.split()
        owner = parts_of(name, "candidates")[0]
        settings = []
        for pair in given:
            key, equals, text = pair.partition("=")
            if not equals:
                raise InputError(f"candidates: must be NAME setting=value, got {shown(spec)}")
            full = key if "." in key else f"{owner}.{key}"
            settings.append((full, setting_value(full, text)))
        rule, gates = make_controller(name, dict(settings), horizon=steps)
        return cls(label_of(name, tuple(settings)), name, tuple(settings), rule, tuple(gates))

    def lacks(self, pool: Pool) -> str:
        """Why the pool does not do for it; empty where it does."""
        try:
            Controller(self.rule, pool, self.gates)
        except InputError as error:
            return str(error)
        return ""
