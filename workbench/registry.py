"""Rules, gates and learners by name: what sweeps, notebooks and real runs call them."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, TypeAlias

from workbench.controllers import (
    ALPGMM,
    BOTS,
    DOTS,
    DUMP,
    E2H,
    GRESO,
    PCL,
    PLR,
    RLVE,
    SEC,
    SFL,
    SPEED,
    TSCL,
    VCRL,
    AdaRFT,
    AdaRFTCovering,
    AdaRFTGaussian,
    BalancedFilter,
    CurES,
    DropMastered,
    DynamicSampling,
    FrozenTarget,
    Gate,
    LearningProgress,
    LinearSchedule,
    MiddleBand,
    MoPPS,
    OfflineFilter,
    Prioritized,
    ProCuRL,
    Rule,
    SortedEasyToHard,
    Staged,
    Uniform,
)
from workbench.errors import InputError, check_choice, shown
from workbench.learners import (
    GRPO,
    RLOO,
    Chain,
    Critic,
    KernelTransfer,
    KnowledgeTracing,
    Law,
    MeanBaseline,
    MultiSkill,
    PrerequisiteGrid,
    ScalarIRT,
    SuccessOnly,
    Tabular,
    TinyPolicy,
    Visit,
)
from workbench.learners.signals import Signal

Parts: TypeAlias = tuple[Rule, list[Gate]]

BASELINE = "uniform"

RULES: dict[str, Rule] = {
    "uniform": Uniform(),
    "filter": OfflineFilter(),
    "band": MiddleBand(),
    "linear": LinearSchedule(),
    "sorted": SortedEasyToHard(),
    "frozen": FrozenTarget(),
    "adarft": AdaRFT(),
    "adarft-gaussian": AdaRFTGaussian(),
    "adarft-covering": AdaRFTCovering(),
    "staged": Staged(),
    "e2h": E2H(),
    "rlve": RLVE(),
    "sec": SEC(),
    "dump": DUMP(),
    "tscl": TSCL(),
    "progress": LearningProgress(),
    "prioritized": Prioritized(),
    "mopps": MoPPS(),
    "bots": BOTS(),
    "sfl": SFL(),
    "procurl": ProCuRL(),
    "plr": PLR(),
    "greso": GRESO(),
    "cures": CurES(),
    "mastered": DropMastered(),
    "alp-gmm": ALPGMM(),
    "dots": DOTS(),
    "pcl": PCL(),
}

# A gate's name alone is uniform sampling behind it; RULE+GATE is any rule behind it.
GATES: dict[str, Gate] = {
    "dapo": DynamicSampling(),
    "balanced": BalancedFilter(),
    "vcrl": VCRL(),
    "speed": SPEED(),
}

# One family, structurally different members: a schedule is trusted for what survives all of them.
LAWS: dict[str, Law] = {
    "scalar": ScalarIRT(),  # one skill, plain policy gradient
    "grpo": ScalarIRT(signal=GRPO()),  # one skill, std-normalised advantages
    "natural": ScalarIRT(gamma=0.0),  # one skill, natural gradient: no schedule can matter
    "guess": ScalarIRT(floor=0.25, ceiling=0.9),  # four-option answers, imperfect verifier
    "kernel": KernelTransfer(kappa=0.1, length=0.5, forgetting=0.01),  # local transfer, and forgetting
    "tabular": Tabular(),  # no transfer
    "skills": MultiSkill(kappa=0.08, prerequisite=1.0),  # four skills, each waits for the one before it
    "chain": Chain(theta0=-0.5, kappa=0.1, kinds=4),  # several steps that must all succeed
    "grid": PrerequisiteGrid(theta0=-3.0),  # locked cells; no policy gradient
    "tracing": KnowledgeTracing(),  # known or not known; no policy gradient
    "policy": TinyPolicy(),  # a network trained on its own answers; needs torch
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
    "visit": Visit(),
}


def parts_of(controller: str, field: str = "controllers") -> tuple[str, ...]:
    """Names of the rule and of the gates behind RULE, GATE, RULE+GATE, RULE+GATE+GATE; InputError if unknown."""
    names = controller.split("+")
    rule = names.pop(0) if names[0] in RULES else BASELINE
    if not (names or controller in RULES) or any(name not in GATES for name in names) or len(set(names)) < len(names):
        raise InputError(
            f"{field}: must be a rule ({', '.join(RULES)}), a gate ({', '.join(GATES)}) or RULE+GATE, "
            f"got {shown(controller)}"
        )
    return (rule, *names)


def make_controller(name: str, settings: dict[str, Any] | None = None, horizon: int | None = None) -> Parts:
    """The rule and the gates of a controller's name, with some hyper-parameters set.

    settings: by full name, {"adarft.eta": 20.0, "dapo.max_batches": 3}. horizon: fills the schedules' own unless set.
    """
    rule, *gates = parts_of(name)
    own: dict[str, dict[str, Any]] = {part: {} for part in (rule, *gates)}
    for full, value in (settings or {}).items():
        owner, _, field = full.partition(".")
        if owner not in own:
            raise InputError(f"{full}: must belong to a part of {name} ({', '.join(own)})")
        own[owner][field] = value
    return make_rule(rule, own[rule], horizon), [_with(GATES[gate], gate, own[gate]) for gate in gates]


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


def setting_value(name: str, text: str) -> Any:
    """The value of a hyper-parameter, by its full name, that `--set` gives as text.

    A name or true / false for those that take one, else a finite number; InputError for anything else.
    """
    owner, _, field = name.partition(".")
    presets: dict[str, Any] = {**RULES, **GATES, **LAWS}
    default = getattr(presets[owner], field, 0.0)
    if isinstance(default, (str, Signal)):
        return text
    if isinstance(default, bool):
        check_choice(f"--set {name}", text, ("true", "false"))
        return text == "true"
    return finite_number(f"--set {name}", text)


def finite_number(field: str, text: str) -> float:
    """The finite number that a text says; InputError for anything else."""
    with suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise InputError(f"{field}: must be a finite number, got '{text}'")


def per_lane_field(preset: Any, field: str) -> bool:
    """Whether a hyper-parameter may differ from lane to lane of one array program."""
    return any(f.name == field and f.type == "Lanes" for f in fields(preset))


def _with(preset: Any, name: str, settings: dict[str, Any]) -> Any:
    allowed = [f.name for f in fields(preset)]
    for field, value in settings.items():
        if field not in allowed:
            known = ", ".join(allowed) or "none"
            raise InputError(f"{name}.{field}: must be a hyper-parameter of {name} ({known}), got '{field}'")
        if field == "signal" and isinstance(value, str):
            check_choice(f"{name}.signal", value, tuple(SIGNALS))
            settings[field] = SIGNALS[value]
        elif not per_lane_field(preset, field) and isinstance(value, float) and value.is_integer():
            settings[field] = int(value)  # counts and switches come as numbers from a command line
    try:
        return replace(preset, **settings)
    except InputError as error:
        raise InputError(f"{name}.{error}") from None
