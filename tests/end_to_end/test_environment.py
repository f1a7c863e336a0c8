"""environment.yml, constraints.txt and the imports in the code say what pyproject.toml says."""

import ast
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())

CONDA_NAME = {"torch": "pytorch"}  # where conda-forge has another name than the Python index
PIP_ONLY = {"math-verify", "reasoning-gym"}  # not on conda-forge

# what benchmarks compare with where it is installed
PEERS = {"real_runs": {"trl", "datasets"}, "sims": {"girth", "py_irt"}}
LATE = {"workbench": {"torch"}}  # imported when a learner needs it, which says in one line where it is not there

EXTRAS = ("real", "notebooks", "sensitivity", "test")


def bounds(lines: list[str]) -> dict[str, str]:
    """Package name -> version bound; a package named twice is an error."""
    requirements = [Requirement(line) for line in lines]
    result = {canonicalize_name(r.name): str(r.specifier) for r in requirements}
    assert len(result) == len(requirements), f"named twice: {lines}"
    return result


def declared(*extras: str) -> dict[str, str]:
    groups = [PROJECT["dependencies"]] + [PROJECT["optional-dependencies"][extra] for extra in extras]
    return bounds([line for group in groups for line in group])


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


def imports(folder: Path) -> set[str]:
    """Top-level names of the third-party modules imported anywhere in the folder."""
    files = list(folder.rglob("*.py"))
    assert files, f"no code in {folder}"
    own = {path.name for path in ROOT.iterdir() if path.is_dir()} | {path.stem for path in files}
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
    [("workbench", ()), ("sims", ("sensitivity",)), ("real_runs", ("real",)), ("notebooks", ("notebooks",)),
     ("tests", EXTRAS)],
)
def test_code_imports_only_what_its_install_brings(folder, extras, distributions):
    allowed = declared(*extras)
    undeclared = {
        module
        for module in imports(ROOT / folder) - PEERS.get(folder, set()) - LATE.get(folder, set())
        if not any(canonicalize_name(name) in allowed for name in distributions.get(module, [module]))
    }
    assert not undeclared, f"{folder} imports what pyproject.toml does not bring there: {sorted(undeclared)}"
