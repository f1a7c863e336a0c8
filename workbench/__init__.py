"""A neutral workbench for curricula in reinforcement finetuning: sweep in simulation, check in a real loop."""

from typing import Any

import lazy_loader as lazy

# Names and their modules are listed once, in __init__.pyi; each loads when first used.
_load, __dir__, __all__ = lazy.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    from workbench.extras import named_extra

    if name == "__version__":
        from importlib.metadata import version

        return version("curriculum-workbench")
    with named_extra():
        return _load(name)
