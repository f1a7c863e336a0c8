"""A neutral workbench for curricula in reinforcement finetuning: sweep in simulation, check in a real loop."""

from __future__ import annotations

TYPE_CHECKING = False  # for type checkers; commands import next to nothing until they take stops (`stops`)
if TYPE_CHECKING:
    from typing import Any

_attached: list[Any] = []


def _lazily() -> list[Any]:
    """How names are loaded and listed. They and their modules stand in __init__.pyi; each loads when first used."""
    if not _attached:
        import lazy_loader as lazy

        _attached[:] = lazy.attach_stub(__name__, __file__)
    return _attached


def __dir__() -> list[str]:
    names: list[str] = _lazily()[1]()
    return names


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return _lazily()[2]
    from workbench.extras import named_extra

    if name == "__version__":
        from importlib.metadata import version

        return version("curriculum-workbench")
    with named_extra():
        return _lazily()[0](name)
