"""What a result depends on: the code, the settings, the packages. The one definition, for every kind of study."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import platform
import secrets
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import numpy as np

from workbench.controllers import Gate, Rule
from workbench.learners import Law
from workbench.pool import Pool
from workbench.registry import per_lane_field

ROOT = Path(__file__).parents[1]
# Everything in the library that a result is computed with.
SOURCES = ("streams.py", "lanes.py", "kernels", "pool", "loop.py", "controllers", "learners", "study/program.py")

Part = Rule | Gate | Law


def content_of(
    law: Law, rule: Rule, gates: Sequence[Gate], pool: Pool, shape: Mapping[str, Any], lane: int | None = None
) -> dict[str, Any]:
    """All that the result of one run depends on, apart from its seed, as plain JSON values.

    shape: everything else that decides the numbers, by name: steps, batch, budget and so on. lane: which entry of
    per-lane hyper-parameters is the run's. Two runs with equal content and seed have equal results.
    """

    def number(value: Any) -> Any:
        return float(value if np.ndim(value) == 0 else value[lane])

    parts = (law, rule, *gates)
    return dict(shape) | _environment() | versions_of(law, rule) | {
        "sources": sources_of(*parts),
        "pool": pool.digest,
        "law": describe(law, number),
        "rule": describe(rule, number),
        "gates": [describe(gate, number) for gate in gates],
    }


def as_text(content: Mapping[str, Any]) -> str:
    """The canonical text of a content."""
    return json.dumps(content, sort_keys=True)


def cell_key(text: str, seed: int) -> str:
    """SHA-256, shortened, of the text of a content and a seed: the key of one run's records."""
    return hashlib.sha256(f"{text} seed {seed}".encode()).hexdigest()[:32]


@cache
def _environment() -> dict[str, str]:
    return {"code": code_digest(), "numpy": np.__version__, "numba": numba.__version__, "machine": platform.machine()}


def array_digest(array: Any) -> list[Any]:
    """Type, shape and SHA-256 of an array's numbers."""
    array = np.ascontiguousarray(array)
    return [array.dtype.str, list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]


@cache
def _library_files() -> dict[Path, None]:
    """The files of SOURCES, in a fixed order."""
    found: dict[Path, None] = {}
    for name in SOURCES:
        path = ROOT / name
        found |= dict.fromkeys(sorted(path.rglob("*.py")) if path.is_dir() else [path])
    return found


@cache
def code_digest() -> str:
    """SHA-256 over the library's part of the code behind a result: results of other code are not reused."""
    digest = hashlib.sha256()
    for file in _library_files():
        digest.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


# ---- code outside the library


def sources_of(*parts: Any) -> dict[str, str]:
    """The code outside the library behind these objects: class as module:qualname -> digest.

    The digest covers the source files of the modules that define the class and its bases, of the modules that these
    import (as far as they are not installed packages), and the compiled code that is loaded: a file that was edited
    but not loaded again is told apart from one that was. A class without a source file, such as one that was typed in
    a notebook, gets a digest that never comes twice, so its results are not reused.
    """
    found: dict[str, str] = {}
    for part in parts:
        for cls in type(part).__mro__:
            if not _is_covered(cls):
                found[f"{cls.__module__}:{cls.__qualname__}"] = _digest_of(cls)
        if is_dataclass(part):
            found |= sources_of(*(value for value in (getattr(part, f.name) for f in fields(part))
                                  if is_dataclass(value)))  # fmt: skip
    return found


@cache
def _is_covered(cls: type) -> bool:
    """Whether a class is Python's own or in the library's digest."""
    if cls.__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        return True
    file = source_file(cls)
    return file is not None and file in _library_files()


def source_file(cls: type) -> Path | None:
    """The file that defines a class; None for one that was typed in a notebook or at a prompt."""
    name = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return None if name is None or not Path(name).is_file() else Path(name).resolve()


def _digest_of(cls: type) -> str:
    if source_file(cls) is None:
        return f"no source, so not kept: {secrets.token_hex(8)}"
    digest = hashlib.sha256()
    for code in _codes(cls, cls.__module__):  # its module may have been loaded again since
        digest.update(_code_text(code).encode())
    for module in _modules_behind(sys.modules[cls.__module__]):
        assert module.__file__ is not None
        digest.update(f"{module.__name__}\n".encode() + Path(module.__file__).read_bytes())
        for name, value in sorted(vars(module).items()):
            for code in _codes(value, module.__name__):
                digest.update(f"{name} {_code_text(code)}".encode())
    return digest.hexdigest()[:16]


def _modules_behind(first: types.ModuleType) -> list[types.ModuleType]:
    """A module and those it imports, directly or not, as far as they are neither the library nor installed."""
    found, waiting = {first.__name__: first}, [first]
    while waiting:
        for value in vars(waiting.pop()).values():
            name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            module = sys.modules.get(name) if isinstance(name, str) else None
            file = getattr(module, "__file__", None)
            if module is None or file is None or name in found or not str(file).endswith(".py"):
                continue
            path = Path(file).resolve()
            top = module.__name__.partition(".")[0]
            own = top == first.__name__.partition(".")[0]
            outside = top in sys.stdlib_module_names or {"site-packages", "dist-packages"} & set(path.parts)
            if path.is_relative_to(ROOT) or (outside and not own):
                continue
            found[module.__name__] = module
            waiting.append(module)
    return [found[name] for name in sorted(found)]


def _codes(value: Any, module: str) -> Iterator[types.CodeType]:
    """The compiled code of a function, or of the methods of a class, that a module defines."""
    value = inspect.unwrap(getattr(value, "py_func", value)) if callable(value) else value
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    elif hasattr(value, "func") and isinstance(value.func, types.FunctionType):  # functools.cached_property
        value = value.func
    if getattr(value, "__module__", None) != module:
        return
    if isinstance(value, types.FunctionType):
        yield value.__code__
    elif isinstance(value, type):
        for _, method in sorted(vars(value).items()):
            if not isinstance(method, type):
                yield from _codes(method, module)


def _code_text(code: types.CodeType) -> str:
    """What a compiled function does, without where it stands; the same in every process."""

    def text(constant: Any) -> str:
        if isinstance(constant, types.CodeType):
            return _code_text(constant)
        if isinstance(constant, frozenset):  # its order differs between processes
            return str(sorted(map(repr, constant)))
        return repr(constant)

    return f"{code.co_code.hex()} {code.co_names} {[text(constant) for constant in code.co_consts]}"


def versions_of(*parts: Rule | Law) -> dict[str, str]:
    """Versions of the packages that rules and laws compute with beside NumPy and Numba."""
    return {name: version(name) for part in parts for name in part.packages}


def describe(settings: Any, number: Callable[[Any], Any] = lambda value: value) -> dict[str, Any]:
    """A dataclass of settings as plain JSON values, with its class name.

    number: what to put for a hyper-parameter that may differ between lanes.
    """
    values: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if is_dataclass(value):
            values[item.name] = describe(value, number)
        elif value is not None and per_lane_field(settings, item.name):
            values[item.name] = _plain(number(value))
        else:
            values[item.name] = _plain(value)
    return {"class": type(settings).__name__} | values


def _plain(value: Any) -> Any:
    """A setting as JSON holds it. What JSON cannot hold gets a text that never comes twice."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"{type(value).__name__}, not kept: {secrets.token_hex(8)}"


def git_commit() -> str | None:
    """The commit of the code, with "+changes" if files differ from it; None outside a checkout."""
    import subprocess

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    return None
