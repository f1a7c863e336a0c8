"""environment.yml, constraints.txt, lock.txt and the imports in the code say what pyproject.toml says."""

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())

CONDA_NAME = {"torch": "pytorch", "ray": "ray-core"}  # where conda-forge has another name than the Python index
PIP_ONLY = {"math-verify", "reasoning-gym"}  # not on conda-forge

# what benchmarks compare with where it is installed
PEERS = {"real_runs": {"trl", "datasets"}, "sims": {"girth", "py_irt"},
         "tests": {"verl", "hydra", "transfer_queue", "prime_rl", "verifiers"}}  # hosts, where they are installed
# imported when needed; one line says so where it is not there
LATE = {"workbench": {"torch", "datasets", "huggingface_hub", "safetensors", "transformers", "trl", "ray",
                      "distributed", "loky", "transfer_queue"}}

EXTRAS = ("sweep", "real", "notebooks", "docs", "sensitivity", "scale", "test")
LOCK = [line for line in (ROOT / "lock.txt").read_text().splitlines() if line and line[0] != "#"]


def bounds(lines: list[str]) -> dict[str, str]:
    """Package name -> version bound; a package named twice is an error."""
    requirements = [Requirement(line) for line in lines]
    result = {canonicalize_name(r.name): str(r.specifier) for r in requirements}
    assert len(result) == len(requirements), f"named twice: {lines}"
    return result


def declared(*extras: str) -> dict[str, str]:
    groups = [PROJECT["dependencies"]] + [PROJECT["optional-dependencies"][extra] for extra in extras]
    own = f"{PROJECT['name']}["  # an extra that takes in another
    return bounds(list(dict.fromkeys(line for group in groups for line in group if not line.startswith(own))))


def test_every_extra_is_compared():
    assert set(PROJECT["optional-dependencies"]) == set(EXTRAS)


def test_conda_environment_has_the_same_packages_and_bounds():
    conda = bounds([line for line in CONDA["dependencies"] if isinstance(line, str)])
    assert conda.pop("pip") == ""
    assert conda.pop("python") == PROJECT["requires-python"]
    wanted = declared(*EXTRAS)
    assert conda == {CONDA_NAME.get(name, name): wanted[name] for name in wanted.keys() - PIP_ONLY}


def test_conda_environment_takes_the_rest_and_the_project_itself_through_pip():
    (section,) = (line["pip"] for line in CONDA["dependencies"] if isinstance(line, dict))
    assert section.count("-e .") == 1
    wanted = declared(*EXTRAS)
    assert bounds([line for line in section if line != "-e ."]) == {name: wanted[name] for name in PIP_ONLY}


def test_constraints_pin_declared_packages_inside_their_bounds():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = bounds(lines)
    assert "torch" in pins  # without a pin, pip takes the newest release with gigabytes of CUDA packages
    for name, pin in pins.items():
        operator, version = pin[:2], pin[2:]
        assert operator == "==", f"{name}: a constraint is an exact pin, got {pin}"
        assert Requirement(name + declared(*EXTRAS)[name]).specifier.contains(version)


def test_the_lock_pins_every_declared_package_inside_its_bounds():
    pins = bounds(LOCK)
    for name, bound in declared(*EXTRAS).items():
        assert name in pins, f"{name}: run make lock"
        assert Requirement(name + bound).specifier.contains(pins[name].removeprefix("==")), name


def test_the_lock_pins_all_that_the_declared_packages_bring():
    """Dependencies of dependencies too, as far as they are asked for on this system and interpreter."""
    pins = bounds(LOCK)
    waiting, seen = [Requirement(name) for name in declared(*EXTRAS)], set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, *sorted(wanted.extras)) in seen:
            continue
        seen.add((name, *sorted(wanted.extras)))
        assert name in pins, f"{name}: run make lock"
        for line in requires(name) or []:
            part = Requirement(line)
            extras = [{"extra": extra} for extra in ("", *wanted.extras)]
            if part.marker is None or any(part.marker.evaluate(extra) for extra in extras):
                waiting.append(part)


def test_the_lock_holds_exact_releases_that_any_index_has():
    for line in LOCK:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.!]+", line), line  # no path, address, or local build


def test_the_lock_agrees_with_the_constraints():
    fixed = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert set(fixed) <= set(LOCK)


def imports(folder: Path) -> set[str]:
    """Top-level names of the third-party modules imported anywhere in the folder."""
    files = list(folder.rglob("*.py"))
    assert files, f"no code in {folder}"
    own = {path.name for path in ROOT.iterdir() if path.is_dir()} | {path.stem for path in files}
    if folder.name == "tests":  # on Python's path, so that its folders are packages at the top
        own |= {path.name for path in folder.iterdir() if path.is_dir()}
    names = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.split(".")[0])
    return names - own - set(sys.stdlib_module_names)


@pytest.fixture(scope="module")
def distributions() -> Mapping[str, list[str]]:
    """Module name -> the installed distributions that bring it."""
    return packages_distributions()


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("workbench", ("sweep",)), ("sims", ("sweep", "sensitivity")), ("real_runs", ("sweep", "real")),
     ("notebooks", ("sweep", "notebooks")), ("tests", EXTRAS)],
)
def test_code_imports_only_what_its_install_brings(folder, extras, distributions):
    allowed = declared(*extras)
    undeclared = {
        module
        for module in imports(ROOT / folder) - PEERS.get(folder, set()) - LATE.get(folder, set())
        if not any(canonicalize_name(name) in allowed for name in distributions.get(module, [module]))
    }
    assert not undeclared, f"{folder} imports what pyproject.toml does not bring there: {sorted(undeclared)}"
