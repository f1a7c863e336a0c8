"""Labels: the name of a rule, gate or law, and the settings that tell it from others of that name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench.controllers import Gate, Rule
from workbench.errors import InputError, shown
from workbench.learners import Law
from workbench.registry import SIGNALS, find, name_of, owner_and_field, parts_of, setting_value

Settings: TypeAlias = tuple[tuple[str, Any], ...]  # (full name, value)


def preset_of(part: Rule | Gate | Law, name: str, horizon: int | None = None) -> Any:
    """The preset of a name, a schedule with that horizon; None if the name does not give the part's own class."""
    kind: Any = next(kind for kind in (Rule, Gate, Law) if isinstance(part, kind))
    try:
        preset = find(kind, name, "name")
    except InputError:  # a class from a notebook or inside a function has no name to load it by
        return None
    if type(preset) is not type(part):
        return None
    schedule: Any = preset
    return replace(schedule, horizon=horizon) if horizon is not None and hasattr(preset, "horizon") else preset


def settings_beside(preset: Any, part: Any, name: str) -> Settings:
    """The settings of a part that differ from its preset's, or from its class's defaults where there is none."""
    beside = []
    for item in fields(part):
        value = getattr(part, item.name)
        if preset is not None:
            default = getattr(preset, item.name)
        elif item.default_factory is not MISSING:
            default = item.default_factory()
        else:
            default = item.default
        if not (default is value or np.array_equal(np.asarray(default, object), np.asarray(value, object))):
            beside.append((f"{name}.{item.name}", value))
    return tuple(beside)


class LaneLabels(NamedTuple):
    """Labels of the lanes of one run. kind: the name without settings. labels: (R,) with the settings that differ from
    the preset's or between lanes. varying: the settings that differ between lanes, full name -> (R,) values."""

    kind: str
    labels: list[str]
    varying: dict[str, NDArray[Any]]


def lane_labels(parts: Sequence[Any], lanes: int, horizon: int) -> LaneLabels:
    """Labels of a law, or of a rule and gates, whose hyper-parameters are numbers or (R,) arrays.

    What is neither, such as the class of a learner of another kind, is called by the name of its class.
    """
    known = all(isinstance(part, (Rule, Gate, Law)) and is_dataclass(part) for part in parts)
    if not known:
        kind = "+".join((part if isinstance(part, type) else type(part)).__name__ for part in parts)
        return LaneLabels(kind, [kind] * lanes, {})
    names = [_name_of_lanes(part, lanes) for part in parts]
    kind = "+".join(names)
    shown: list[tuple[str, list[Any]]] = []
    varying = {}
    for part, name in zip(parts, names, strict=True):
        preset = preset_of(part, name, horizon)
        for full, value in settings_beside(preset, part, name):
            if not (isinstance(value, np.ndarray) and value.shape == (lanes,)):
                shown.append((full, [value] * lanes))
            elif (value != value[0]).any():
                varying[full] = value
                shown.append((full, list(value)))
            elif preset is None or value[0] != getattr(preset, owner_and_field(full)[1]):
                shown.append((full, list(value)))
    labels = [label_of(kind, tuple((full, values[lane]) for full, values in shown)) for lane in range(lanes)]
    return LaneLabels(kind, labels, varying)


def _name_of_lanes(part: Any, lanes: int) -> str:
    """The name of a part whose hyper-parameters may be arrays; of a law's presets the first where lanes disagree."""
    arrays = {item.name: value for item in fields(part)
              if isinstance(value := getattr(part, item.name), np.ndarray) and value.shape == (lanes,)}  # fmt: skip
    if not arrays:
        return name_of(part)
    alone = (replace(part, **{name: value[lane] for name, value in arrays.items()}) for lane in range(lanes))
    names = list(dict.fromkeys(map(name_of, alone)))
    return names[0] if len(names) == 1 else next(iter(type(part).presets))


def label_of(name: str, settings: Settings) -> str:
    """Name and settings; a number in short form only where that is exact, so that labels differ where arms do."""

    def short(value: Any) -> str:
        value = value.item() if isinstance(value, np.generic) else value
        known = [signal for signal, preset in SIGNALS.items() if preset == value] if not np.ndim(value) else []
        if known:
            return known[0]
        return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else f"{value}"

    alone = "+" not in name
    return " ".join([name, *(f"{owner_and_field(key)[1] if alone else key}={short(value)}" for key, value in settings)])


def read_label(text: str, field: str) -> tuple[str, Settings]:
    """Name and settings of a controller from its label, such as "adarft eta=5" or "adarft+dapo dapo.max_batches=4".

    A setting without an owner is the rule's. Raises InputError for an unknown name, and for what is no setting=value.
    """
    name, *given = text.split() or [""]
    rule = parts_of(name, field)[0]
    settings: dict[str, Any] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        full = key if "." in key else f"{rule}.{key}"
        if not equals or full in settings:
            raise InputError(f"{field}: must be NAME setting=value, each setting once, got {shown(text)}")
        settings[full] = setting_value(full, value)
    return name, tuple(settings.items())
