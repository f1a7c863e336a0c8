"""Imports point one way: no circle, no arrow up, and the studies and the real runs stand beside each other."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Rooms and modules of workbench from the ground up. One floor may use itself, as long as there is no circle.
FLOORS = [
    {"errors", "extras", "stops", "terminal", "references"},
    {"streams", "lanes", "files", "hub", "kernels", "commands", "progress", "display"},
    {"tables"},
    {"pool"},
    {"controllers", "learners", "difficulty"},
    {"registry"},
    {"labels", "citing"},
    {"delivery"},
    {"loop"},
    {"study"},
    {"analysis"},
    {"figures"},
    {"reports"},
    {"study.result"},
    {"calibration", "hosts"},
    {"testing", "listing"},
]


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file of every module of a package at the top; a folder has the name of its __init__."""
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


OURS = {name: path for package in ("workbench", "sims", "real_runs") for name, path in modules(package).items()}


def runs_on_import(tree: ast.AST):
    """Statements that run when the file is imported: not those of functions, nor what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (inner for other in node.orelse for inner in (other, *runs_on_import(other)))
            continue
        yield node
        yield from runs_on_import(node)


def imported(path: Path, nodes) -> set[str]:
    """Our modules that these statements import: of `from a import b` the module a.b if there is one, else a."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in OURS else base for alias in node.names}
    return names & OURS.keys()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def at_import(name: str) -> set[str]:
    """What a module imports when it is imported."""
    return imported(OURS[name], runs_on_import(tree(OURS[name])))


@cache
def ever(name: str) -> set[str]:
    """The same and what it imports inside functions."""
    return imported(OURS[name], ast.walk(tree(OURS[name])))


def floor(module: str) -> int:
    """The floor of a module of workbench: its own, or that of its room."""
    names = [module.removeprefix("workbench."), module.split(".")[1]]
    at = [number for name in names for number, rooms in enumerate(FLOORS) if name in rooms]
    assert at, f"{module}: must have its place in FLOORS"
    return at[0]


def test_the_files_are_seen():
    assert {"workbench.loop", "workbench.controllers", "sims.sweep", "real_runs.train"} <= OURS.keys()
    assert "workbench.errors" in at_import("workbench.loop")
    assert "workbench.controllers.controller" in at_import("workbench.controllers")


def test_no_import_goes_in_a_circle():
    try:
        TopologicalSorter({name: at_import(name) - {name} for name in OURS}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


# What methods load when they are called, since what comes out of a run can be looked at.
ON_DEMAND = {
    "workbench.loop": {"workbench.analysis.stats"},
    "workbench.study.study": {"workbench.study.result"},
}


@pytest.mark.parametrize("module", sorted(name for name in OURS if name.startswith("workbench.")))
def test_no_import_goes_up(module):
    """Those inside functions count too."""
    up = {used for used in ever(module) if used.startswith("workbench.") and floor(used) > floor(module)}
    assert not up & at_import(module)
    assert up <= ON_DEMAND.get(module, set())


def test_no_room_of_workbench_knows_the_studies_or_the_real_runs_and_those_not_each_other():
    allowed = {"workbench": {"workbench"}, "sims": {"workbench", "sims"}, "real_runs": {"workbench", "real_runs"}}
    for name in OURS:
        package = name.split(".")[0]
        assert {used.split(".")[0] for used in ever(name)} <= allowed[package], name
