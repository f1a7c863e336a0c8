"""The table of rules and gates says what they are, and the page of the catalog holds it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import workbench as wb
from workbench import listing
from workbench import registry as presets
from workbench.errors import InputError

ROOT = Path(__file__).parents[2]
NEWEST = '''
"""The newest rule."""

from dataclasses import dataclass

from workbench.controllers.rule import SOLID, Look
from workbench.controllers.rules.uniform import Uniform


@dataclass(frozen=True)
class Newest(Uniform):
    """Uniform under another name.

    Source: of this test.
    """

    name = "newest"
    look = Look("#000000", SOLID, "s")
'''


def test_every_rule_and_gate_has_a_row_with_a_source_of_its_own():
    table = wb.catalog()
    assert table["name"].tolist() == [*presets.RULES, *presets.GATES]
    assert table["source"].is_unique
    assert (table["source"].str.len() > 20).all()
    assert set(table["memory"]) <= {"none", "arm", "item"}


def test_adarft_s_row():
    (row,) = wb.catalog().query("name == 'adarft'").to_dict("records")
    assert (row["class"], row["labels"], row["needs"], row["memory"]) == ("AdaRFT", "yes", "-", "none")
    assert "arXiv 2504.05520, Algorithm 1" in row["source"]


def test_the_page_holds_the_table_that_the_code_makes():
    text = (ROOT / listing.PAGE).read_text()
    assert text.count(listing.START) == text.count(listing.END) == 1
    held = text.partition(listing.START)[2].partition(listing.END)[0].strip()
    assert held == listing.markdown(), "run: python -m workbench.listing --write"


def test_the_command_puts_the_table_between_its_marks(tmp_path, capsys):
    path = tmp_path / "page.md"
    path.write_text(f"above\n{listing.START}\nold\n{listing.END}\nbelow\n")
    assert listing.main([str(path)]) == 0
    assert path.read_text() == f"above\n{listing.START}\n{listing.markdown()}\n{listing.END}\nbelow\n"
    path.write_text("no marks")
    assert listing.main([str(path)]) == 2
    assert path.read_text() == "no marks"
    assert listing.START in capsys.readouterr().err
    assert listing.main([]) == 0
    assert capsys.readouterr().out.strip() == listing.markdown()


def test_the_command_explains_itself_and_refuses_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        listing.main(["--help"])
    assert ended.value.code == 0
    assert "--write" in capsys.readouterr().out
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for words, said in (
        ([str(tmp_path / "no.md")], "error: file: must be a text file that can be read, got "),
        ([str(tmp_path)], "error: file: must be a text file that can be read, got "),
        ([str(tmp_path / "binary")], "error: file: must be a text file that can be read, got "),
        (["README.md", "--write"], "error: file: must not be given with --write"),
    ):
        assert listing.main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith(said)
        assert error.count("\n") == 1


def test_a_docstring_without_a_source_is_refused():
    @dataclass(frozen=True)
    class Nameless(wb.Rule):
        """A rule of nobody."""

    with pytest.raises(InputError, match="Nameless: must have a line 'Source:'"):
        listing.source(Nameless)


def test_the_package_exports_what_its_classes_register():
    here = Path(listing.__file__).parent
    for path, text in listing.exports().items():
        assert (here / path).read_text() == text, f"{path}: run python -m workbench.listing --write"
    for preset in (*presets.RULES.values(), *presets.GATES.values(), *presets.LAWS.values()):
        assert getattr(wb, type(preset).__name__) is type(preset)


def test_a_new_rule_takes_its_own_file_and_one_command(tmp_path):
    """A copy of the library with one more file: the command exports it, and a sweep knows its name, look and source."""
    root = tmp_path / "copy"
    for name in ("workbench", "docs/reference/catalog.md"):
        source = ROOT / name
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
    (root / "workbench" / "controllers" / "rules" / "newest.py").write_text(NEWEST)
    environment = os.environ | {"PYTHONPATH": str(root)}

    def python(*words):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-m", "workbench.listing", "--write")
    assert "| `newest` | `Newest` | no | - | item | none | of this test |" in (root / listing.PAGE).read_text()
    assert "from .controllers.rules import Newest as Newest" in (root / "workbench" / "__init__.pyi").read_text()
    said = python("-c", "import workbench as wb; from workbench import registry, figures;"
                  "print(wb.Newest(), list(registry.RULES)[-1], figures.rule_look('newest').marker)")  # fmt: skip
    assert said.startswith("Newest(")
    assert said.split()[-2:] == ["newest", "s"]
