"""Rules and learners by name: what sweeps, notebooks and real runs call them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from workbench.controllers import (
    AdaRFT,
    FrozenTarget,
    LinearSchedule,
    MiddleBand,
    OfflineFilter,
    Rule,
    SortedEasyToHard,
    Uniform,
)
from workbench.errors import InputError, check_choice
from workbench.learners import (
    GRPO,
    RLOO,
    Critic,
    KernelTransfer,
    Law,
    MeanBaseline,
    ScalarIRT,
    SuccessOnly,
    Tabular,
)
from workbench.learners.signals import Signal

RULES: dict[str, Rule] = {
    "uniform": Uniform(),
    "filter": OfflineFilter(),
    "band": MiddleBand(),
    "linear": LinearSchedule(),
    "sorted": SortedEasyToHard(),
    "frozen": FrozenTarget(),
    "adarft": AdaRFT(),
}

# One family, structurally different members: a schedule is trusted for what survives all of them.
LAWS: dict[str, Law] = {
    "scalar": ScalarIRT(),  # one skill, plain policy gradient
    "grpo": ScalarIRT(signal=GRPO()),  # one skill, std-normalised advantages
    "natural": ScalarIRT(gamma=0.0),  # one skill, natural gradient: no schedule can matter
    "guess": ScalarIRT(floor=0.25, ceiling=0.9),  # four-option answers, imperfect verifier
    "kernel": KernelTransfer(kappa=0.1, length=0.5, forgetting=0.01),  # local transfer, and forgetting
    "tabular": Tabular(),  # no transfer
}

SIGNALS: dict[str, Signal] = {
    "rloo": RLOO(),
    "mean": MeanBaseline(),
    "grpo": GRPO(),
    "success": SuccessOnly(),
    "critic": Critic(),
    "critic-perfect": Critic(perfect=True),
    "rloo-exact": RLOO(exact=True),
    "grpo-exact": GRPO(exact=True),
    "success-exact": SuccessOnly(exact=True),
}


def make_rule(name: str, settings: dict[str, Any] | None = None, horizon: int | None = None) -> Rule:
    """The rule of that name with some hyper-parameters set; `horizon` fills the schedules' own unless they are set."""
    check_choice("controller", name, tuple(RULES))
    settings = dict(settings or {})
    if horizon is not None and "horizon" in (f.name for f in fields(RULES[name])):
        settings.setdefault("horizon", horizon)
    rule: Rule = _with(RULES[name], name, settings)
    return rule


def make_law(name: str, settings: dict[str, Any] | None = None) -> Law:
    """The learner law of that name with some hyper-parameters set."""
    check_choice("learner", name, tuple(LAWS))
    law: Law = _with(LAWS[name], name, dict(settings or {}))
    return law


def _with(preset: Any, name: str, settings: dict[str, Any]) -> Any:
    allowed = [f.name for f in fields(preset)]
    for field, value in settings.items():
        if field not in allowed:
            known = ", ".join(allowed) or "none"
            raise InputError(f"{name}.{field}: must be a hyper-parameter of {name} ({known}), got '{field}'")
        if field == "signal" and isinstance(value, str):
            check_choice(f"{name}.signal", value, tuple(SIGNALS))
            settings[field] = SIGNALS[value]
    try:
        return replace(preset, **settings)
    except InputError as error:
        raise InputError(f"{name}.{error}") from None
