"""Rules, gates, learners and signals by name: what sweeps, notebooks and real runs call them.

A name is one of those shipped, an entry point of an installed package (groups workbench.rules, workbench.gates,
workbench.learners, workbench.tasks), or package.module:Name. A class of ours is registered by its own metadata: a rule
or gate by `name`, a law by `presets`.
"""

from __future__ import annotations

import math
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

from workbench.controllers import Gate, Rule, gates, rules
from workbench.errors import InputError, check_choice, shown
from workbench.lanes import lane_fields
from workbench.learners import GRPO, RLOO, Critic, Law, MeanBaseline, Signal, SuccessOnly, Visit, laws

Parts: TypeAlias = tuple[Rule, list[Gate]]
Preset = TypeVar("Preset", Rule, Gate, Law)

BASELINE = "uniform"

# The order of tables and legends. What is registered and not named here comes after, by name.
ORDER = (
    *("uniform", "filter", "band", "linear", "sorted", "frozen"),
    *("adarft", "adarft-gaussian", "adarft-covering", "staged", "e2h", "rlve"),
    *("sec", "dump", "tscl", "progress"),
    *("prioritized", "mopps", "bots", "sfl", "procurl", "plr", "greso", "cures", "mastered"),
    *("alp-gmm", "dots", "pcl"),
    *("dapo", "balanced", "vcrl", "speed"),
    *("scalar", "grpo", "natural", "guess", "kernel", "tabular", "skills", "chain", "grid", "tracing", "adam",
      "interference", "policy"),
)


def _classes(package: ModuleType, base: type[Preset]) -> Iterator[type[Preset]]:
    """The classes that the modules of a package define, of those that inherit `base`."""
    for found in pkgutil.iter_modules(package.__path__):
        module = import_module(f"{package.__name__}.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__:
                yield value


def _ordered(presets: Mapping[str, Preset]) -> dict[str, Preset]:
    def place(name: str) -> tuple[int, str]:
        return ORDER.index(name) if name in ORDER else len(ORDER), name

    return {name: presets[name] for name in sorted(presets, key=place)}


def _by_name(found: Iterable[tuple[str, Preset]]) -> dict[str, Preset]:
    presets: dict[str, Preset] = {}
    for name, preset in found:
        if name in presets:
            raise InputError(f"name: must belong to one class, got '{name}' of {presets[name]!r} and {preset!r}")
        presets[name] = preset
    return _ordered(presets)


RULES: dict[str, Rule] = _by_name((of.name, of()) for of in _classes(rules, Rule) if of.__dict__.get("name"))

# A gate's name alone is uniform sampling behind it; RULE+GATE is any rule behind it.
GATES: dict[str, Gate] = _by_name((of.name, of()) for of in _classes(gates, Gate) if of.__dict__.get("name"))

# One family, structurally different members: a schedule is trusted for what survives all of them.
LAWS: dict[str, Law] = _by_name(
    (name, of(**settings))
    for of in _classes(laws, Law)
    for name, settings in of.__dict__.get("presets", {}).items()
)

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

# ------------------------------------------------------------------------------------------ names from outside


def load_object(field: str, spec: str) -> Any:
    """What package.module:Name names. It imports the module: only for names that the user typed.

    Raises InputError if the module can't be imported or has no such name.
    """
    module, _, name = spec.partition(":")
    if not (module and all(part.isidentifier() for part in name.split("."))):
        raise InputError(f"{field}: must be package.module:Name, got {shown(spec)}")
    try:
        found = import_module(module)
    except (Exception, SystemExit) as error:  # its code runs now, so anything may be raised
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{field}: must name a module that can be imported, got {shown(spec)} ({reason})") from error
    try:
        return attrgetter(name)(found)
    except AttributeError:
        raise InputError(f"{field}: must name what {module} has, got {shown(spec)}") from None


def entry_names(group: str) -> dict[str, EntryPoint]:
    """The entry points of installed packages in a group, by name; none is imported."""
    return _entries(entry_points, group, tuple(sys.path))


@cache
def _entries(read: Callable[..., Iterable[EntryPoint]], group: str, _path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Read once for each search path: it takes milliseconds, and names are looked up for every arm of a study."""
    return {entry.name: entry for entry in read(group=group)}


def load_entry(field: str, group: str, name: str) -> Any:
    """What an entry point names; InputError if it can't be imported."""
    entry = entry_names(group)[name]
    return load_object(f"{field} (entry point '{name}' of {group})", entry.value)


def names(base: type[Rule] | type[Gate] | type[Law]) -> list[str]:
    """Every name of a kind: those shipped, then the entry points."""
    shipped, group = _KINDS[base]
    return [*shipped, *(name for name in sorted(entry_names(group)) if name not in shipped)]


def find(base: type[Preset], spec: str, field: str) -> Preset | None:
    """The rule, gate or law of a name; None if no entry has the name, or if package.module:Name is of another kind.

    A class stands for its instance with default hyper-parameters.
    Raises InputError if what is named can't be imported or made.
    """
    if not isinstance(spec, str):
        raise InputError(f"{field}: must be a name, got {shown(spec)}")
    shipped, group = _KINDS[base]
    if spec in shipped:
        preset: Preset = shipped[spec]
        return preset
    outside: Preset | None = _outside(group, spec, field)
    return outside


def _outside(group: str, spec: str, field: str) -> Any:
    """What an outside name stands for now, also after its module was loaded again; None if it is of another kind."""
    base = next(kind for kind, (_, of) in _KINDS.items() if of == group)
    entry = spec in entry_names(group)
    if entry:
        found = load_entry(field, group, spec)
    elif ":" in spec:
        found = load_object(field, spec)
    else:
        return None
    if isinstance(found, type) and issubclass(found, base):
        try:
            found = _made(found)
        except TypeError as error:
            raise InputError(f"{field}: must have defaults for all hyper-parameters, got {spec} ({error})") from None
    if isinstance(found, base):
        if not is_dataclass(found):
            raise InputError(f"{field}: must be a frozen dataclass, got {spec}, a {type(found).__name__}")
        return found
    if entry:
        raise InputError(f"{field}: must be a {base.__name__}, got {spec}, which is {shown(found)}")
    return None


@cache
def _made(kind: type) -> Any:
    """The instance of a class with default hyper-parameters, one for each class."""
    return kind()


def find_rule(spec: str, field: str = "controllers") -> Rule:
    """The rule of a name; InputError if there is none."""
    return _found(Rule, spec, field)


def find_gate(spec: str, field: str = "controllers") -> Gate:
    """The gate of a name; InputError if there is none."""
    return _found(Gate, spec, field)


def find_law(spec: str, field: str = "learners") -> Law:
    """The learner law of a name; InputError if there is none."""
    return _found(Law, spec, field)


def _found(base: type[Preset], spec: str, field: str) -> Preset:
    preset = find(base, spec, field)
    if preset is None:
        known = ", ".join(names(base))
        raise InputError(f"{field}: must be a {base.__name__} ({known}) or package.module:Name, got {shown(spec)}")
    return preset


_KINDS: dict[Any, tuple[Any, str]] = {
    Rule: (RULES, "workbench.rules"),
    Gate: (GATES, "workbench.gates"),
    Law: (LAWS, "workbench.learners"),
}


def name_of(preset: Rule | Gate | Law) -> str:
    """The name under which the class of a rule or gate, or a law with these settings, is known; else module:Name.

    The settings of a rule or gate do not count. A law has the first of its presets whose settings it has, otherwise
    the first of its presets.
    """
    own = type(preset)
    if isinstance(preset, Law):
        shared = own.__dict__.get("presets", {})
        same = (name for name in shared if name in LAWS and LAWS[name] == preset)
        known = next(same, next(iter(shared), None))
    else:
        known = own.__dict__.get("name") or None
    base: Any = next(kind for kind in _KINDS if isinstance(preset, kind))
    shipped, group = _KINDS[base]
    if known in shipped and type(shipped[known]) is own:
        return str(known)
    spec = f"{own.__module__}:{own.__qualname__}"
    return next((name for name, entry in entry_names(group).items() if entry.value == spec), spec)


def owner_and_field(full: str) -> tuple[str, str]:
    """ "adarft.eta" -> ("adarft", "eta"); the owner may be package.module:Name. ("", ..) where there is no dot."""
    owner, _, field = full.rpartition(".")
    return owner, field


# ------------------------------------------------------------------------------------------ controllers and laws


def parts_of(controller: str, field: str = "controllers") -> tuple[str, ...]:
    """Names of the rule and of the gates behind RULE, GATE, RULE+GATE, RULE+GATE+GATE; InputError if unknown."""
    if not isinstance(controller, str):
        raise InputError(f"{field}: must be a name, got {shown(controller)}")
    given = controller.split("+")
    rule = given.pop(0) if find(Rule, given[0], field) is not None else BASELINE
    known = all(find(Gate, name, field) is not None for name in given)
    if not known or len(set(given)) < len(given):
        raise InputError(
            f"{field}: must be a rule ({', '.join(names(Rule))}), a gate ({', '.join(names(Gate))}), RULE+GATE, or "
            f"package.module:Name, got {shown(controller)}"
        )
    return (rule, *given)


def make_controller(name: str, settings: dict[str, Any] | None = None, horizon: int | None = None) -> Parts:
    """The rule and the gates of a controller's name, with some hyper-parameters set.

    settings: by full name, {"adarft.eta": 20.0, "dapo.max_batches": 3}. horizon: fills the schedules' own unless set.
    """
    rule, *behind = parts_of(name)
    own: dict[str, dict[str, Any]] = {part: {} for part in (rule, *behind)}
    for full, value in (settings or {}).items():
        owner, parameter = owner_and_field(full)
        if owner not in own:
            raise InputError(f"{full}: must belong to a part of {name} ({', '.join(own)})")
        own[owner][parameter] = value
    return make_rule(rule, own[rule], horizon), [_with(find_gate(gate), gate, own[gate]) for gate in behind]


def make_rule(name: str, settings: dict[str, Any] | None = None, horizon: int | None = None) -> Rule:
    """The rule of that name with some hyper-parameters set; `horizon` fills the schedules' own unless they are set."""
    preset = find_rule(name, "controller")
    settings = dict(settings or {})
    if horizon is not None and "horizon" in (f.name for f in fields(preset)):
        settings.setdefault("horizon", horizon)
    rule: Rule = _with(preset, name, settings)
    return rule


def make_law(name: str, settings: dict[str, Any] | None = None) -> Law:
    """The learner law of that name with some hyper-parameters set."""
    law: Law = _with(find_law(name, "learner"), name, dict(settings or {}))
    return law


def setting_value(name: str, text: str) -> Any:
    """The value of a hyper-parameter, by its full name, that `--set` gives as text.

    A name or true / false for those that take one, otherwise a finite number; InputError for anything else.
    """
    owner, field = owner_and_field(name)
    default = getattr(part(owner, f"--set {name}"), field, 0.0)
    if isinstance(default, (str, Signal)):
        return text
    if isinstance(default, bool):
        check_choice(f"--set {name}", text, ("true", "false"))
        return text == "true"
    return finite_number(f"--set {name}", text)


def part(name: str, field: str = "set") -> Rule | Gate | Law:
    """The rule, gate or law of a name; InputError if there is none."""
    found = find(Rule, name, field) or find(Gate, name, field) or find(Law, name, field)
    if found is not None:
        return found
    known = ", ".join([*names(Rule), *names(Gate), *names(Law)])
    raise InputError(f"{field}: must belong to one of {known} or package.module:Name, got {shown(name)}")


def unit_of(full: str) -> str | None:
    """The unit of a hyper-parameter by its full name, adarft.eta; None where it has none or nobody has the name.

    It is that of the nearest class, from the rule's own upwards, that names one.
    """
    owner, field = owner_and_field(full)
    try:
        kinds = type(part(owner)).__mro__ if owner else ()
    except InputError:
        return None
    named = (vars(kind).get("units", {}) for kind in kinds)
    return next((units[field] for units in named if field in units), None)


def finite_number(field: str, text: str) -> float:
    """The finite number that a text says; InputError for anything else."""
    with suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise InputError(f"{field}: must be a finite number, got {shown(text)}")


def per_lane_field(preset: Any, field: str) -> bool:
    """Whether a hyper-parameter may differ from lane to lane of one array program."""
    return field in lane_fields(type(preset))


def _with(preset: Any, name: str, settings: dict[str, Any]) -> Any:
    allowed = [f.name for f in fields(preset)]
    for field, value in settings.items():
        if field not in allowed:
            known = ", ".join(allowed) or "none"
            raise InputError(f"{name}.{field}: must be a hyper-parameter of {name} ({known}), got {shown(field)}")
        if field == "signal" and isinstance(value, str):
            check_choice(f"{name}.signal", value, tuple(SIGNALS))
            settings[field] = SIGNALS[value]
        elif not per_lane_field(preset, field) and isinstance(value, float) and value.is_integer():
            settings[field] = int(value)  # counts and switches come as numbers from a command line
    try:
        return replace(preset, **settings)
    except InputError as error:
        raise InputError(f"{name}.{error}") from None
