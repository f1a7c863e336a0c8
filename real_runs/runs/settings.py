"""Hyper-parameters of the rule, the gates and the algorithm, as `--set` gives them: NAME.PARAMETER=VALUE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, check_choice, shown, shown_path
from workbench.files import DamagedFile, check_path
from workbench.registry import finite_number, owner_and_field, setting_value
from workbench.tables.written import read_json

if TYPE_CHECKING:
    from real_runs.rl.ppo import Algorithm


def read_texts(given: Iterable[str], owners: Sequence[str], form: str = "NAME.PARAMETER=VALUE") -> dict[str, str]:
    """The text of each value by its full name, such as "adarft.eta" or "grpo.kl_coef".

    owners: names of rules, gates and algorithms. InputError unless each is of that form, once, of one of them.
    """
    texts: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        owner, parameter = owner_and_field(name)
        if not equals or owner not in owners or not parameter or name in texts:
            raise InputError(f"--set: must be {form}, each once, NAME among {', '.join(owners)}, got {shown(text)}")
        texts[name] = value
    return texts


def read_controller(path: str) -> tuple[str, list[str]]:
    """The controller of a controller.json, as sims/advise.py writes it, and its settings as `--set` gives them.

    InputError, in one line, for anything else.
    """
    file = check_path("--controller-file", path)
    domain = "must be a controller.json as advice writes it"
    try:
        found = read_json(file)
    except DamagedFile as error:
        reason = str(error).removeprefix(f"{shown_path(file)}: ")
        raise InputError(f"--controller-file: {domain}, got {shown_path(file)} ({reason})") from None
    name, settings = found.get("controller"), found.get("settings", {})
    values: list[Any] = [*settings.values()] if isinstance(settings, dict) else [None]
    if not isinstance(name, str) or not all(isinstance(value, (int, float, str)) for value in values):
        raise InputError(f"--controller-file: {domain}, with the name of a controller and its settings, got "
                         f"{shown(found)}")  # fmt: skip
    written = {key: str(value).lower() if isinstance(value, bool) else value for key, value in settings.items()}
    return name, [f"{key}={value}" for key, value in written.items()]


def value_of(name: str, text: str, algorithms: Sequence[str]) -> Any:
    """The value that a text says for a hyper-parameter, by its full name.

    A name or true / false for those that take one, otherwise a finite number; InputError for anything else.
    """
    owner, parameter = owner_and_field(name)
    if owner not in algorithms:
        return setting_value(name, text)
    default = getattr(make_algorithm(owner), parameter, 0.0)
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        check_choice(f"--set {name}", text, ("true", "false"))
        return text == "true"
    return finite_number(f"--set {name}", text)


def make_algorithm(name: str, settings: Mapping[str, Any] | None = None) -> Algorithm:
    """The algorithm of a name with some fields set, by full name: {"grpo.kl_coef": 0.0}.

    InputError, in one line, for an unknown algorithm or field, and for a value out of the field's domain.
    """
    from real_runs.rl import ppo

    check_choice("--algorithm", name, tuple(ppo.ALGORITHMS))
    preset = ppo.ALGORITHMS[name]
    allowed = [field.name for field in fields(preset)]
    own = {owner_and_field(full)[1]: value for full, value in (settings or {}).items()}
    for parameter in own:
        if parameter not in allowed:
            known = ", ".join(allowed)
            raise InputError(f"{name}.{parameter}: must be a setting of {name} ({known}), got {shown(parameter)}")
    try:
        return replace(preset, **own)
    except InputError as error:
        raise InputError(f"{name}.{error}") from None
