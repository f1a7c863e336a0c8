"""The lists of slow and of long tests name tests that there are."""

import ast
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
SLOW, LONG = (
    [line for line in (TESTS / file).read_text().splitlines() if line and line[0] != "#"]
    for file in ("slow.txt", "long.txt")
)


@cache
def names() -> list[str]:
    """folder/file.py::test of every test."""
    return [
        f"{path.relative_to(TESTS)}::{node.name}"
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_every_line_of_a_list_names_a_test():
    all_names = names()
    nothing = [line for line in SLOW + LONG if not any(name.startswith(line) for name in all_names)]
    assert not nothing


def test_no_line_says_again_what_another_says():
    for listed in (SLOW, LONG):
        assert len(set(listed)) == len(listed)
        assert not [line for line in listed for other in listed if line != other and line.startswith(other)]


def test_each_test_has_a_mark_by_its_list_alone(request):
    """This file is quick; a line of the list stands for all tests that begin like it."""
    assert request.node.get_closest_marker("slow") is None
    assert request.node.get_closest_marker("long") is None
    slow = [name for name in names() if name.startswith(tuple(SLOW))]
    long = [name for name in names() if name.startswith(tuple(LONG))]
    assert 0 < len(long) < len(slow) < len(names()) / 2
