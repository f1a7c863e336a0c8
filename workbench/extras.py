"""Packages that core does not bring: which extra of the project brings each, and the one line that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from workbench.errors import InputError

EXTRAS = {
    "sweep": ("jinja2", "matplotlib", "pandas", "pyarrow", "scipy", "sklearn", "threadpoolctl", "tqdm", "vl_convert"),
    "real": ("math_verify", "peft", "reasoning_gym", "safetensors", "sympy", "tokenizers", "torch", "transformers"),
    "sensitivity": ("SALib",),
    "scale": ("distributed", "loky", "ray"),
}  # what is imported of each


class MissingExtra(InputError, ModuleNotFoundError):
    """A package is not installed. The line names the extra that brings it."""

    def __init__(self, package: str) -> None:
        extra = next(extra for extra, packages in EXTRAS.items() if package in packages)
        super().__init__(
            f"{package}: must be installed; the extra `{extra}` brings it: pip install 'curriculum-workbench[{extra}]'"
        )
        self.name = package


def require(extra: str) -> None:
    """Raise MissingExtra for the first package of an extra that is not installed."""
    for package in EXTRAS[extra]:
        with named_extra():
            if find_spec(package) is None:
                raise MissingExtra(package)


@contextmanager
def named_extra() -> Iterator[None]:
    """Inside, the import of a package of an extra raises MissingExtra where the package is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if isinstance(error, MissingExtra) or not any(package in packages for packages in EXTRAS.values()):
            raise
        raise MissingExtra(package) from None


__all__ = ["EXTRAS", "MissingExtra", "named_extra", "require"]
