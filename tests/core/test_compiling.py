"""Compiled code on disk: kept while the files it was made of stay as they are, and made anew when one changes."""

import ast
import builtins
import os
import shutil
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ("workbench.kernels", "numpy", "math")  # where a compiled loop may take a name from, beside its own file

# A loop of a rule from outside, whose file stays as it is; its helper lies in workbench/kernels/arithmetic.py.
LOOP = """
from workbench.kernels.arithmetic import saturated
from workbench.kernels.compiling import compiled


@compiled
def cut(out):
    out[0] = saturated(out[0])
"""
PROBE = """
import numpy as np
from mine import cut
from workbench.kernels.philox import fill_uniforms

logit, draws = np.array([100.0]), np.empty((1, 4), np.float32)
cut(logit)
fill_uniforms(np.zeros(1, np.uint64), 1, 0, draws)
loops = cut, fill_uniforms
print(logit[0], draws[0, 0], *(sum(sum(getattr(loop.stats, name).values()) for loop in loops)
                               for name in ("cache_hits", "cache_misses")))
"""

@pytest.fixture
def package(tmp_path):
    """A copy of the package, without compiled code, and a loop from outside."""
    (tmp_path / "mine.py").write_text(LOOP)
    shutil.copytree(ROOT / "workbench", tmp_path / "workbench", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(folder, code=PROBE, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    command = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=kept | environment, capture_output=True, text=True, check=True
    )
    return [float(word) for word in command.stdout.split()], command.stderr


def edit(path, before, after):
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize("folder", ["", "elsewhere"])
def test_an_edited_helper_is_seen_by_the_loops_that_inline_it_and_an_unchanged_one_loads(package, folder):
    """The second run loads what the first compiled; after an edit of the helper alone both compile again."""
    where = {"NUMBA_CACHE_DIR": str(package / folder)} if folder else {}
    first, warned = run(package, **where)
    assert first == [80.0, first[1], 0, 2]
    assert warned == ""
    assert run(package, **where)[0] == [80.0, first[1], 2, 0]
    edit(package / "workbench" / "kernels" / "arithmetic.py", "LARGEST_LOGIT = 80.0", "LARGEST_LOGIT = 60.0")
    assert run(package, **where)[0] == [60.0, first[1], 0, 2]


EARLIER = "import numba.core.caching as c\nc._hash_source_file = lambda path, time, size: (time, size)\n"


@pytest.mark.parametrize("numba", ["", EARLIER], ids=["this release", "an earlier one"])
def test_an_edit_that_leaves_time_and_size_of_a_file_is_seen(package, numba):
    """A clock that is set back, or a copy that keeps times: earlier releases of Numba look at these alone."""
    mine, code = package / "mine.py", numba + PROBE
    dry = {"PYTHONDONTWRITEBYTECODE": "1"}  # Python's own cache looks at them, too
    edit(mine, "= saturated(out[0])", "= 1.0 * saturated(out[0])")
    assert run(package, code, **dry)[0][0] == 80.0
    before = mine.stat()
    edit(mine, "1.0", "2.0")
    os.utime(mine, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert mine.stat().st_size == before.st_size
    assert run(package, code, **dry)[0][0] == 160.0
    os.utime(mine, (2e9, 2e9))
    values, _ = run(package, code, **dry)
    assert (values[0], *values[2:]) == (160.0, 2, 0), "what is as it was is not compiled again"


def test_a_locator_that_the_user_names_is_used_and_sees_the_edit(package):
    """NUMBA_CACHE_LOCATOR_CLASSES still says where compiled code lies."""
    theirs = "from numba.core.caching import InTreeCacheLocator\n\n\nclass Theirs(InTreeCacheLocator):\n"
    theirs += f"    def get_cache_path(self):\n        return {str(package / 'kept')!r}\n"
    (package / "theirs.py").write_text(theirs)
    named = {"NUMBA_CACHE_LOCATOR_CLASSES": "theirs.Theirs"}
    assert run(package, **named)[0][0] == 80.0
    assert len(list((package / "kept").glob("*.nbi"))) == 2
    edit(package / "workbench" / "kernels" / "arithmetic.py", "LARGEST_LOGIT = 80.0", "LARGEST_LOGIT = 60.0")
    assert run(package, **named)[0][0] == 60.0


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("from numba import config\ndel config.CACHE_LOCATOR_CLASSES\n", "no cache locators"),
        ("import numba.core.caching as c\nc.Cache.__init__ = lambda *_: None\n", "for no stamp"),
    ],
    ids=["no setting", "no stamp"],
)
def test_a_numba_without_the_hook_keeps_nothing_on_disk_and_says_so_once(package, without, said):
    """Nothing old can come back, and one warning tells why each process compiles."""
    values, warned = run(package, without + PROBE)
    assert values[0] == 80.0
    assert values[2] == 0
    assert warned.count("RuntimeWarning") == 1
    assert said in warned
    assert not list(package.rglob("*.nb?"))


def compiled_files():
    """Python files with compiled loops, and their modules."""
    for folder in ("workbench", "sims", "real_runs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "from workbench.kernels.compiling import" in path.read_text():
                yield path, import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def globals_of(code):
    """Names that a function looks up outside itself, those of nested functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from globals_of(constant)


def test_compiled_loops_take_names_from_their_own_file_and_from_kernels_only():
    """Anything else would be copied into compiled code on disk, and its edits not be seen."""
    seen = 0
    for path, module in compiled_files():
        imported = {
            name.asname or name.name: part.module
            for part in ast.walk(ast.parse(path.read_text()))
            if isinstance(part, ast.ImportFrom)
            for name in part.names
        }
        for loop in vars(module).values():
            python = getattr(loop, "py_func", None)
            if python is None or python.__module__ != module.__name__:
                continue
            seen += 1
            for name in globals_of(python.__code__):
                if name not in python.__globals__ or hasattr(builtins, name):
                    continue  # an attribute, such as `shape`
                value = python.__globals__[name]
                origin = getattr(getattr(value, "py_func", value), "__module__", None) or imported.get(name, "")
                mine = origin == module.__name__ or (name not in imported and not callable(value))
                shared = any((imported.get(name) or origin or "").startswith(room) for room in SHARED)
                assert mine or shared or isinstance(value, types.ModuleType), f"{path}: {python.__name__} takes {name}"
    assert seen > 60


def test_every_compiled_loop_of_the_tree_is_made_by_the_decorators():
    """A bare njit would keep compiled code without the stamp."""
    for folder in ("workbench", "sims", "real_runs", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "compiling.py":
                assert "njit" not in path.read_text(), path
