"""README and docs/ say what is so: commands run, programs print what is shown, paths exist, tables are the code's."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

from workbench import figures, listing
from workbench.analysis.report import report
from workbench.analysis.tables import COLUMNS, COST_COLUMNS, rivals_table, runs_table, summary_table
from workbench.pool import Pool
from workbench.registry import GATES, LAWS, RULES
from workbench.study.store import CellStore
from workbench.study.study import Study

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "real_runs/README.md", *PAGES)
LONGEST_README = 120  # lines

# Put at the end of a sweep, where it counts: of an option given twice, the last is taken.
SMALL = ["--tiny", "--seeds", "2", "--steps", "4", "--batch", "16", "--jobs", "1"]
SMALL_DESIGN = ["--points", "2"]  # of a sweep whose design has points
SMALL_STUDY = ["--learners", "scalar", "--draws", "2"]  # the same for sims/reproduce.py
SMALL_LIMITS = ["--seeds", "2"]  # and for sims/limits.py
SMALL_ADVICE = ["--tiny", "--learners", "scalar", "--steps", "4", "--batch", "8", "--lanes", "8", "--jobs", "1"]
SMALL_ROBUSTNESS = ["--tiny", "--jobs", "1"]  # and for sims/robustness.py
# and for real_runs/compare.py
SMALL_RUN = ["--steps", "1", "--batch", "2", "--rollouts", "2", "--heldout", "1", "--limit", "8"]
SMALL_COMPARISON = [*SMALL_RUN, "--algorithm", "grpo", "--lr", "1e-4,1e-3", "--seeds", "1", "--anyway"]
SMALL_MEASUREMENT = ["--size", "24", "--attempts", "4"]  # and for real_runs/measure.py
PLACEHOLDERS = {"<name>": "frozen"}  # what a reader is to fill in
OUR_PYTHON = ("python", ".venv/bin/python")


class Block(NamedTuple):
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Fenced blocks, and indented ones, which are shell here. The language of a directive is its name in braces."""
    fenced = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    found = [Block(*match.groups()) for match in fenced.finditer(text)]
    indented = re.findall(r"(?<=\n\n)(?: {4}\S.*\n)+", fenced.sub("", text))
    return found + [Block("sh", re.sub("^ {4}", "", block, flags=re.MULTILINE)) for block in indented]


def commands(text: str) -> list[str]:
    """Every shell command: lines of shell blocks, and what stands in the text like `make test`."""
    lines = [line for block in blocks(text) if block.language == "sh" for line in block.text.splitlines()]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"`((?:make|source|python|\.venv/bin/\w+) [^`]+)`", prose)
    for placeholder, value in PLACEHOLDERS.items():
        lines = [line.replace(placeholder, value) for line in lines]
    return [line for line in (re.sub(r"\s#.*", "", line).strip() for line in lines) if line]


def section(heading: str) -> str:
    """The README from a second-level heading to the next."""
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the first table under a heading of a page, without its head, backticks gone."""
    text = (ROOT / "docs" / page).read_text()
    _, found, below = text.partition(f"\n## {heading}\n") if heading else ("", "yes", text)
    assert found, heading
    rows = re.search(r"^\|.*?(?=^[^|]|^$|\Z)", below, re.MULTILINE | re.DOTALL)[0].splitlines()
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows[2:]]


def tree() -> list[str]:
    """Paths of the tree in the reference."""
    page = (ROOT / "docs" / "reference" / "files.md").read_text()
    (block,) = (block for block in blocks(page) if block.language == "tree")
    paths, folders = [], []
    for line in block.text.splitlines():
        indent, name, purpose = re.fullmatch(r"((?: {2})*)(\S+) +(\S.*)", line).groups()
        assert purpose
        folders[len(indent) // 2 :] = [name]
        paths.append("".join(folders))
    return paths


# ---- commands ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment():
    """Ours without what a `make` around this test passes down; `workbench` is the one of this folder."""
    passed_on = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return passed_on | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}


def run(words, folder, environment):
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """We are in a folder with what a reader has who follows the documents: the code, the items file in full, a log."""
    for name in ("sims", "workbench", "notebooks", "real_runs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    page = (ROOT / "docs" / "how-to" / "own_items.md").read_text()
    (items,) = (block.text for block in blocks(page) if block.language == "csv")
    head, *rows = items.splitlines()
    more = [f"again{k}-{row}" for k in range(99) for row in rows]  # "with a few hundred rows more"
    (tmp_path / "items.csv").write_text("\n".join([head, *rows, *more]))
    groups = [f"q{i},{visit},{(i + visit) // 3 % 9},8" for i in range(30) for visit in range(20)]
    (tmp_path / "visits.csv").write_text("\n".join(["item,visit,successes,attempts", *groups]))
    rows = [f"{step},q{(7 * step + 11 * k) % 30},{(step + k) % 9},8" for step in range(1, 13) for k in range(8)]
    (tmp_path / "steps.csv").write_text("\n".join(["step,item,successes,attempts", *rows]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return monkeypatch


def check_make(command, environment):
    """Every target has a recipe, whether or not .venv is there already."""
    words = [*shlex.split(command), f"PYTHON={sys.executable}"]  # the last one counts: a reader's may not be here
    printed = run([*words, "--dry-run", "--always-make"], ROOT, environment)
    assert printed.strip(), command
    assert "Nothing to be done" not in printed, command


def check_python(command, reader, environment, capsys):
    """Run it; sweeps small, and in this process, where a warning is an error."""
    words = shlex.split(command)[1:]
    if words[:2] == ["-m", "pytest"]:
        run([sys.executable, *words, "--collect-only", "--quiet"], ROOT, environment)
    elif words[:2] == ["-m", "workbench.listing"]:  # --write is for the page beside the package
        assert words[2:] == ["--write"]
        held = (ROOT / listing.PAGE).read_text()
        listing.PAGE.write_text(held)
        run([sys.executable, *words[:2], str(listing.PAGE)], Path.cwd(), environment)
        assert listing.PAGE.read_text() == held, "the table of rules and gates"
    elif words[0] == "-m":
        run([sys.executable, *words], Path.cwd(), environment)
    elif words[0] == "-c":
        exec(words[1], {})
    elif words[0].startswith("examples/"):
        if words[0] != "examples/trl_smollm2.py":  # tests/hosts/test_examples.py runs it where the model is
            run([sys.executable, *words, "--steps", "2"], ROOT, environment)
    else:
        small = {"sims/sweep.py": SMALL, "sims/reproduce.py": SMALL_STUDY, "sims/limits.py": SMALL_LIMITS,
                 "sims/advise.py": SMALL_ADVICE,
                 "sims/robustness.py": SMALL_ROBUSTNESS, "real_runs/compare.py": SMALL_COMPARISON,
                 "real_runs/measure.py": SMALL_MEASUREMENT}  # fmt: skip
        points = SMALL_DESIGN if words[0] == "sims/sweep.py" and "--design" in words else []
        reader.setattr(sys, "argv", [*words, *small.get(words[0], []), *points])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(words[0], run_name="__main__")
        printed = capsys.readouterr()
        assert end.value.code == 0, f"{command}\n{printed.err}"
        if words[0] == "sims/advise.py":
            (head,) = (line for line in printed.out.splitlines() if line.startswith("controller  "))
            assert head in section("Ask the log of a run").splitlines(), "the columns of an advice"
        if words[0] == "sims/sweep.py" and "--shard" not in words:
            files = printed.out.splitlines()[-1].split(": ")[1].split()
            told = " ".join(row[0] for row in table("how-to/read_tables.md", "Files"))
            told = set(re.split(r"[`, ]+", told))
            assert {name.removesuffix(".{pdf,png}") for name in files} <= told, "the files that a sweep leaves"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_does_something(document, reader, environment, capsys):
    found = commands((ROOT / document).read_text())
    assert any(command.startswith("make ") for command in found) or document.startswith("docs/")
    for command in found:
        first = command.split()[0]
        if first == "make":
            check_make(command, environment)
        elif first in OUR_PYTHON:
            check_python(command, reader, environment, capsys)
        elif first == "source":
            assert command == "source .venv/bin/activate"
            assert "VENV := .venv\n" in (ROOT / "Makefile").read_text()
        else:
            assert first == "git", f"{document}: this test does not know how to check '{command}'"


def test_the_readme_is_a_door_and_not_a_manual():
    assert len(README.splitlines()) <= LONGEST_README
    assert {"make sweep", "make real", "make real-lm", "make docs"} <= set(commands(README))
    assert f"compares {len(RULES) + len(GATES)} curricula" in README
    assert (ROOT / "CITATION.cff").is_file()
    assert "CITATION.cff" in section("Citation")


def test_most_pages_have_something_to_run():
    """A block whose fence this test no longer understands would not be run, and nobody would notice."""
    with_commands = [name for name in DOCUMENTS if commands((ROOT / name).read_text())]
    assert len(with_commands) >= 12
    assert sum(len(programs(name)) for name in DOCUMENTS) >= 8


class Program(NamedTuple):
    code: str
    shown: str | None  # what the page says that it prints


SMALL_PROGRAM = {  # of the gallery, whose cells are one program
    "seeds=6, steps=120, batch=128": "seeds=2, steps=10, batch=16",
    'learners=["scalar", "natural", "tabular"], enough=60': 'learners=["natural"], enough=20',
    'runs / "skew-difficult/uniform/seed-0"': 'Path("steps.csv")',
    'candidates=["greso", "mopps", "plr"], lanes=24': 'candidates=["greso"], lanes=8',
    "steps=100, batch=8": "steps=4, batch=8",
}


def programs(document: str) -> list[Program]:
    """The Python of a page: each block with the output below it, or all cells of a page that is a notebook."""
    text = (ROOT / document).read_text()
    cells = "\n".join(block.text for block in blocks(text) if block.language == "{code-cell}")
    if cells:
        for large, small in SMALL_PROGRAM.items():
            assert cells.count(large) == 1, large
            cells = cells.replace(large, small)
        return [Program(cells, None)]
    pattern = r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?"
    return [Program(*found) for found in re.findall(pattern, text, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if programs(name)])
def test_every_program_runs_and_prints_what_is_shown(document, reader, tmp_path, capsys):
    for n, program in enumerate(programs(document)):
        path = tmp_path / f"program_{n}.py"
        path.write_text(program.code)
        runpy.run_path(str(path), run_name="__main__")
        printed = capsys.readouterr().out
        if program.shown:
            assert printed == program.shown


def test_columns_are_told_as_the_report_prints_them(tmp_path):
    study = Study([Pool.synthetic("narrow", 100)], ["natural"], ["adarft"], seeds=6, steps=4, batch=16)
    runs = runs_table(study.compute(CellStore(tmp_path)))
    printed = report(runs, summary_table(runs, study.steps), study.steps)
    head = next(line for line in printed.splitlines() if line.split()[:1] == ["controller"])
    assert head in section("Compare curricula").splitlines()
    assert head in (ROOT / "docs" / "how-to" / "read_tables.md").read_text().splitlines()
    told = table("reference/columns.md", "For each pool and learner")
    assert ["controller", *(row[0] for row in told)] == re.split(" {2,}", head.strip()), "all, in this order"
    assert dict(told) == {c.head: c.meaning for c in COLUMNS.values() if c.head}, "word for word"
    (where,) = (line for line in printed.splitlines() if line.startswith("Where adarft does not win"))
    assert where in README.splitlines()
    at = next(n for n, line in enumerate(printed.splitlines()) if line.startswith("Costs of a run on narrow"))
    costs = table("reference/columns.md", "Costs")
    assert dict(costs) == {c.head: c.meaning for c in COST_COLUMNS.values() if c.head}, "word for word"
    named = " ".join(["controller", *(row[0] for row in costs)])
    assert printed.splitlines()[at + 1].split() == named.split(), "in this order"


def default_runs(pool, learner, controllers, folder):
    """Runs of a part of the default study, which are those of the whole, and its settings."""
    default = runpy.run_path(str(ROOT / "sims" / "comparison" / "grids.py"))["DEFAULT"]
    sizes = {name: default[name] for name in ("seeds", "steps", "batch", "rollouts")}
    study = Study([Pool.synthetic(pool)], [learner], controllers, eval_every=5, **sizes)
    return runs_table(study.compute(CellStore(folder))), default


def test_the_rows_that_the_readme_shows_are_those_of_the_default_study(tmp_path):
    """Digit by digit; a p-value is the smallest that the seeds allow, times the comparisons of the whole study."""
    title, _, *rows = section("Compare curricula").split("```text\n")[1].split("\n  …")[0].splitlines()
    pool, learner = title.split("  ")[0].split(" / ")
    runs, default = default_runs(pool, learner, [row.split()[0] for row in rows], tmp_path)
    comparisons = len(default["pools"]) * len(default["learners"]) * (len(default["controllers"]) - 1)
    smallest = f"(p = {comparisons * 2.0 ** (1 - default['seeds']):.3f})"
    printed = report(runs, summary_table(runs, default["steps"]), default["steps"]).splitlines()
    assert len(rows) >= 4
    assert title in printed
    for row in rows:
        assert row in [re.sub(r"\(p .+\)$", smallest, line) for line in printed]


@pytest.mark.parametrize(("pool", "learner"), [("uniform", "kernel"), ("narrow", "tabular")])
def test_by_how_much_the_readme_says_that_adarft_is_beaten(pool, learner, tmp_path):
    said = section("Compare curricula").splitlines()
    (line,) = (line for line in said if line.startswith(f"  {pool} / {learner} / "))
    shown = dict(re.findall(r"(\w+) \((\+[\d.]+)\)", line))
    runs, _ = default_runs(pool, learner, [*shown, "adarft"], tmp_path)
    rivals = rivals_table(runs, "adarft").set_index("rival")["auc_gain"]
    assert shown == {name: f"+{rivals[name]:.2g}" for name in shown}


# ---- the figure --------------------------------------------------------------------------------------------


def test_the_figure_is_there_small_and_the_gallery_says_how_it_is_made():
    (image,) = re.findall(r"^!\[.+\]\((.+)\)$", README, re.MULTILINE)
    picture = (ROOT / image).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 250_000
    assert "](docs/gallery.md#learning-curves)" in README
    made, drawn = commands((ROOT / "docs" / "gallery.md").read_text())
    assert made.startswith("python sims/sweep.py ")
    out = re.search(r"--out (\S+)", made)[1]
    assert f"{out}/curves.parquet" in drawn
    assert f"savefig('{image}')" in drawn


def test_the_gallery_has_every_figure():
    code = "\n".join(program.code for program in programs("docs/gallery.md"))
    drawn = {"fit.plot()": "law_weights", "advice.plot()": "advice_forest"}
    shown = {drawn[call] for call in drawn if call in code} | set(re.findall(r"wb\.figures\.(\w+)\(", code))
    functions = {name for name in figures.__all__ if get_type_hints_of(name).get("return") == "Figure"}
    assert shown == functions


def get_type_hints_of(name):
    return getattr(getattr(figures, name), "__annotations__", {})


# ---- tables and tree ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "heading", "presets"),
    [("reference/catalog.md", "", RULES | GATES), ("explanation/learners.md", "", LAWS)],
)
def test_tables_name_exactly_the_presets(page, heading, presets):
    rows = table(page, heading)
    shown = [(row[0], row[1].removesuffix("` (gate)")) for row in rows]
    assert shown == [(name, type(preset).__name__) for name, preset in presets.items()]
    for row in rows:
        assert all(row), f"an empty cell: {row}"


def test_the_rules_of_the_default_study_are_told_one_by_one():
    rows = table("explanation/rules.md", "Rules of the default study")
    assert [row[0] for row in rows] == runpy.run_path(str(ROOT / "sims" / "comparison" / "grids.py"))["CONTROLLERS"]
    assert all(len(row[1]) > 20 for row in rows)


def test_families_of_rules_are_of_rules_that_there_are():
    cells = [re.findall(r"`([\w-]+)`", f"`{row[1]}`") for row in table("explanation/rules.md", "What rules go by")]
    named = [name for row in cells for name in row]
    assert set(named) <= set(RULES)
    assert len(set(named)) == len(named) > 20


def test_every_path_in_the_tree_exists():
    paths = tree()
    assert len(set(paths)) == len(paths)
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing
    for path in paths:
        assert (ROOT / path).is_dir() == path.endswith("/"), f"a folder, and only a folder, ends with /: {path}"


def test_the_tree_has_everything_at_the_top_and_every_module():
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line and line[0] != "#"]
    top = [path.name for path in ROOT.iterdir() if not any(fnmatch(path.name, name) for name in [".git", *ignored])]
    in_tree = tree()
    assert set(top) == {path.split("/")[0] for path in in_tree}
    modules = [path for folder in ("workbench", "sims", "notebooks") for path in (ROOT / folder).glob("*.py")]
    modules = {str(path.relative_to(ROOT)) for path in modules if path.name != "__init__.py"}
    folders = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "workbench").rglob("*/__init__.py")}
    assert modules | folders <= set(in_tree), f"not in the tree: {sorted((modules | folders) - set(in_tree))}"
