"""The methods of a host that are used or overridden. Most are private: no host promises them, so each is looked at."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from workbench.errors import InputError


def check_methods(found: str, owner: Any, methods: Mapping[str, tuple[str, ...]]) -> None:
    """InputError unless a class has these methods, parameter by parameter. found: how the line begins."""
    for name, parameters in methods.items():
        method = getattr(owner, name, None)
        if method is None or tuple(inspect.signature(method).parameters) != parameters:
            raise InputError(f"{found}, whose {owner.__name__}.{name} is another one")
