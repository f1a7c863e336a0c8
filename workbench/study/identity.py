"""What a result depends on: the code, the settings, the packages. The one definition, for every kind of study."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import json
import platform
import secrets
import sys
import sysconfig
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.machinery import ModuleSpec
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


def environment_of(*parts: Part) -> dict[str, str]:
    """Code and packages that a run of these parts is computed with: name -> version or digest."""
    outside = {f"source of {name}": digest for name, digest in sources_of(*parts).items()}
    return _environment() | versions_of(*(part for part in parts if isinstance(part, (Rule, Law)))) | outside


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
    return digest_of_files({str(file.relative_to(ROOT)): file for file in _library_files()})


def digest_of_files(files: Mapping[str, Path]) -> str:
    """SHA-256, shortened, over files and the names that they are given, in the order of the mapping."""
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


# ---- code outside the library


def sources_of(*parts: Any) -> dict[str, str]:
    """The code outside the library behind these objects: class as module:qualname -> digest.

    The digest covers what `outside_sources` covers for the modules that define the class and its bases, and the
    compiled code of the class itself. A class without a source file, such as one that was typed in a notebook, gets a
    digest that never comes twice, so its results are not reused.
    """
    return {f"{cls.__module__}:{cls.__qualname__}": _digest_of(cls) for cls in outside_classes(*parts)}


def outside_classes(*parts: Any) -> list[type]:
    """The classes behind these objects that are not the library's: own, bases, and those of dataclasses in fields."""
    found: dict[type, None] = {}
    for part in parts:
        found |= dict.fromkeys(cls for cls in type(part).__mro__ if not _is_covered(cls))
        if is_dataclass(part):
            values = (getattr(part, f.name) for f in fields(part))
            found |= dict.fromkeys(outside_classes(*(value for value in values if is_dataclass(value))))
    return list(found)


def outside_sources(modules: Iterable[str], apart: Collection[Path] = (), whole: bool = False) -> dict[str, str]:
    """Digests of the code behind loaded modules outside the library: name -> digest.

    The digest covers the source files of a module and of all that it imports, directly or not: every import statement
    anywhere in a file is followed, also to modules that are not loaded yet, and every module that a loaded one holds
    a value of. The library, Python's own modules, installed packages (unless the first module is of the same package)
    and the folders `apart` are left out; their versions or digests stand for them. whole: every source file of the
    package that a module is in is covered, too, whether it is imported or not. Where loaded functions and plain
    constants differ from the file, they are covered as well: a file that was edited but not loaded again is told apart
    from one that was.

    Not seen: imports by a name that is computed at run time (importlib.import_module, __import__) and that leave no
    value in a module, extension modules, data files, environment variables, and values other than plain constants
    that were computed from a file before it was edited.
    """
    return {name: _module_digest(name, apart, whole) for name in modules}


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
        return _no_source()
    digest = hashlib.sha256(_module_digest(cls.__module__).encode())
    for code in _codes(cls, cls.__module__):  # its module may have been loaded again since
        digest.update(_code_text(code).encode())
    return digest.hexdigest()[:16]


def _no_source() -> str:
    return f"no source, so not kept: {secrets.token_hex(8)}"


def _module_digest(name: str, apart: Collection[Path] = (), whole: bool = False) -> str:
    try:
        files = _files_behind(name, apart, _package_modules(name) if whole else ())
        differ = {of: _loaded_otherwise(sys.modules[of], file) for of, file in files.items() if of in sys.modules}
    except (SyntaxError, ValueError):  # a file that was edited since and is no Python now: it tells nothing
        return _no_source()
    if name not in files:
        return _no_source()
    digest = hashlib.sha256(digest_of_files(files).encode())
    for of, lines in differ.items():
        digest.update("".join(f"{of} {line}\n" for line in lines).encode())
    return digest.hexdigest()[:16]


def _package_modules(name: str) -> list[str]:
    """Every module of the package that a module is in; none where it is in no package."""
    top = name.partition(".")[0]
    found = []
    for folder in map(Path, _folders_of(top) or ()):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            found.append(".".join((top, *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return found


def _files_behind(first: str, apart: Collection[Path], beside: Sequence[str]) -> dict[str, Path]:
    """Source files of modules and of those they import, directly or not, as far as they are outside; name -> file."""
    own = first.partition(".")[0]
    found: dict[str, Path] = {}
    seen, waiting = {first, *beside}, list({first, *beside})
    while waiting:
        name = waiting.pop()
        file = _source_of(name)
        if file is None or not (name == first or _is_outside(file, name.partition(".")[0] == own, apart)):
            continue
        found[name] = file
        module = sys.modules.get(name)
        behind = _imports(file.read_bytes(), _package_of(name, file, module))
        for of in (*behind, *_held(module)):
            parents = [of[:dot] for dot, letter in enumerate(of) if letter == "."]  # a parent is imported first
            waiting += [each for each in (*parents, of) if each not in seen]
            seen |= {*parents, of}
    return {name: found[name] for name in sorted(found)}


def _held(module: types.ModuleType | None) -> Iterator[str]:
    """Names of the modules that a loaded module holds, or holds a value of."""
    for value in list(vars(module).values()) if module is not None else ():
        name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        if isinstance(name, str):
            yield name


def _is_outside(file: Path, own: bool, apart: Collection[Path]) -> bool:
    """Whether a file is neither the library's, nor Python's, nor of an installed package other than the first's own."""
    if any(file.is_relative_to(folder) for folder in (ROOT, *apart)):
        return False
    installed = bool({"site-packages", "dist-packages"} & set(file.parts))
    return own or not (installed or any(file.is_relative_to(folder) for folder in _PYTHONS))


_PYTHONS = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]


def _source_of(name: str) -> Path | None:
    """The source file of a module, loaded or not; None if it has none. Nothing is imported."""
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
    else:
        spec = _spec_of(name)
        file = spec.origin if spec is not None and spec.has_location else None
    path = Path(file).resolve() if isinstance(file, str) and file.endswith(".py") else None
    return path if path is not None and path.is_file() else None


def _spec_of(name: str) -> ModuleSpec | None:
    """Where Python would find a module that is not loaded; None if nowhere. Its packages are not imported for that."""
    above = name.rpartition(".")[0]
    where = _folders_of(above) if above else None
    if above and where is None:
        return None
    finds = (finder.find_spec(name, where) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in finds if spec is not None), None)


def _folders_of(package: str) -> Sequence[str] | None:
    """Where the modules of a package are, loaded or not; None for what is no package."""
    if package in sys.modules:
        return getattr(sys.modules[package], "__path__", None)
    spec = _spec_of(package)
    return spec.submodule_search_locations if spec is not None else None


def _package_of(name: str, file: Path, module: types.ModuleType | None) -> str:
    """The package that relative imports in a module's file start from."""
    if module is not None and isinstance(module.__package__, str):
        return module.__package__
    return name if file.name == "__init__.py" else name.rpartition(".")[0]


@cache
def _imports(source: bytes, package: str) -> tuple[str, ...]:
    """What the import statements anywhere in a source name: modules, and values that may be modules."""
    found: dict[str, None] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(part for part in (*above, node.module or "") if part)
            found |= dict.fromkeys([base, *(f"{base}.{alias.name}" for alias in node.names)] if base else [])
    return tuple(found)


def _loaded_otherwise(module: types.ModuleType, file: Path) -> list[str]:
    """How the functions and plain constants of a loaded module differ from those in its file, one text each."""
    source = file.read_bytes()
    there, constants = _defined(source)
    loaded = {f"{code.co_qualname} {_code_text(code)}"
              for value in list(vars(module).values()) for code in _codes(value, module.__name__)
              if code.co_filename != "<string>"}  # fmt: skip  # such as the methods that dataclass writes
    differ = sorted({f"loaded {text}" for text in loaded - there} | {f"in the file {text}" for text in there - loaded})
    for name, value in constants:
        owner: Any = module
        for part in name.split("."):
            owner = getattr(owner, part, None)
        if isinstance(owner, _PLAIN) and (repr(owner), type(owner)) != (repr(value), type(value)):
            differ.append(f"loaded {name} = {owner!r}")
    return differ


_PLAIN = (bool, int, float, complex, str, bytes, tuple, type(None))


@cache
def _defined(source: bytes) -> tuple[frozenset[str], tuple[tuple[str, Any], ...]]:
    """Functions and methods of a source as compiled, and the last plain constant under each name: (name, value)."""
    functions: set[str] = set()

    def collect(code: types.CodeType) -> None:
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                if inner.co_flags & inspect.CO_OPTIMIZED:
                    functions.add(f"{inner.co_qualname} {_code_text(inner)}")
                else:  # the body of a class
                    collect(inner)

    constants: dict[str, Any] = {}

    def literals(body: Sequence[ast.stmt], owner: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                literals(node.body, f"{owner}{node.name}.")
            elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                with contextlib.suppress(ValueError, TypeError):
                    value = ast.literal_eval(node.value)
                    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                        if isinstance(target, ast.Name) and isinstance(value, _PLAIN):
                            constants[owner + target.id] = value

    collect(compile(source, "source", "exec", dont_inherit=True))
    literals(ast.parse(source).body, "")
    return frozenset(functions), tuple(constants.items())


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
