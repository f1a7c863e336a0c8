"""Decorators and types of the compiled loops, and when compiled code on disk is out of date.

Numba keeps compiled code on disk, and compiles a function again when the file that defines it changes. Compiled code
also holds copies of helpers and constants from other files, whose changes Numba does not see. A loop of this project
takes them from its own file or from workbench/kernels only (tests/core/test_compiling.py checks this), and a digest of
all files of workbench/kernels is part of the stamp that Numba compares: after an edit there every loop is compiled
again. Loops of other packages that use helpers of workbench/kernels should be decorated with `compiled` too.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
from numba import config, njit
from numba.core import caching
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]  # shapes and types of numbers stand in the docstrings
Stream: TypeAlias = tuple[Any, Any, Any, Any]  # turn, step, role and seed: see `workbench.kernels.philox.words`
f32: Any = np.float32  # Any: mypy does not know the rules by which Numba finds the types of numbers
f64: Any = np.float64
i32: Any = np.int32
i64: Any = np.int64
u32: Any = np.uint32
u64: Any = np.uint64

Loop = TypeVar("Loop", bound=Callable[..., Any])

# Numba's classes that find the folder of a function's compiled code, in its order.
LOCATORS = (
    "UserProvidedCacheLocator",
    "InTreeCacheLocator",
    "UserWideCacheLocator",
    "IPythonCacheLocator",
    "ZipCacheLocator",
)
_one_at_a_time = Lock()  # Numba's configuration is shared by all threads


def inlined(loop: Loop) -> Loop:
    """A helper that is copied into the loops that call it."""
    decorated: Loop = njit(inline="always")(loop)
    return decorated


@overload
def compiled(loop: Loop) -> Loop: ...
@overload
def compiled(
    *, cached: bool = ..., error_model: str = ..., fastmath: set[str] | bool = ...
) -> Callable[[Loop], Loop]: ...
def compiled(
    loop: Loop | None = None,
    *,
    cached: bool = True,
    error_model: str = "python",
    fastmath: set[str] | bool = False,
) -> Loop | Callable[[Loop], Loop]:
    """Compile a loop with Numba, without Python's lock; its compiled code is kept on disk.

    cached: False for a helper that is called, not inlined: its code is kept with that of its caller.
    error_model, fastmath: as in `numba.njit`. Where Numba lacks what the stamp needs (`stamped_locators`), or no folder
    can be written to, nothing is kept on disk, and a RuntimeWarning says so once.
    """

    def decorate(loop: Loop) -> Loop:
        def dispatcher(keep: bool) -> Loop:
            made: Loop = njit(nogil=True, cache=keep, error_model=error_model, fastmath=fastmath)(loop)
            return made

        if not cached or config.DISABLE_JIT:
            return dispatcher(False)
        return _with_stamp(lambda: dispatcher(True)) or dispatcher(False)

    return decorate if loop is None else decorate(loop)


def _with_stamp(make: Callable[[], Loop]) -> Loop | None:
    """What `make` gives while Numba's stamps hold the digest; None, and a warning, unless one was taken."""
    names = stamped_locators()
    if names is None:
        return _uncached("this version of Numba has no cache locators")
    with _one_at_a_time:
        before, config.CACHE_LOCATOR_CLASSES = config.CACHE_LOCATOR_CLASSES, names
        Stamped.taken = 0
        try:
            made = make()
        except RuntimeError as error:  # no folder can be written to
            return _uncached(str(error))
        finally:
            config.CACHE_LOCATOR_CLASSES = before
        return made if Stamped.taken else _uncached("this version of Numba asks its cache locators for no stamp")


@cache
def _uncached(why: str) -> None:
    warnings.warn(
        f"compiled loops are not kept on disk, and each process compiles its own: {why}", RuntimeWarning, stacklevel=5
    )


class Stamped:
    """Mixed into a cache locator of Numba: the stamp of a function holds the digests of its file and workbench/kernels.

    Older releases of Numba compare the time and the size of the file, which an edit may leave as they were.
    """

    taken = 0  # stamps since the last decoration began

    def get_source_stamp(self) -> Any:
        Stamped.taken += 1
        try:
            content = Path(self._py_file).read_bytes()  # type: ignore[attr-defined]
        except (AttributeError, OSError):  # of a notebook or an archive
            return super().get_source_stamp(), digest()  # type: ignore[misc]
        return hashlib.sha256(content).hexdigest(), digest()


@cache
def digest() -> str:
    """SHA-256 of the names and contents of all files of workbench/kernels."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content = path.read_bytes()
        found.update(f"{path.name} {len(content)}\n".encode() + content)
    return found.hexdigest()


@cache
def stamped_locators() -> str | None:
    """`NUMBA_CACHE_LOCATOR_CLASSES` with `Stamped` mixed into each class; None where Numba lacks that setting.

    Classes that the user has set there, under that name, are kept, in their order.
    """
    if not hasattr(config, "CACHE_LOCATOR_CLASSES") or not list(Path(__file__).parent.glob("*.py")):
        return None
    wanted = [name.strip() for name in config.CACHE_LOCATOR_CLASSES.split(",") if name.strip()]
    names = []
    for name in wanted or [name for name in LOCATORS if hasattr(caching, name)]:
        module, _, kind = name.rpartition(".")
        found = getattr(import_module(module) if module else caching, kind)
        alias = name.replace(".", "_")
        globals()[alias] = type(alias, (Stamped, found), {})
        names.append(f"{__name__}.{alias}")
    return ",".join(names) or None
