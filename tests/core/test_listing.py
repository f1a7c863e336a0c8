"""The table of rules and gates says what they are, and the README holds it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import workbench as wb
from workbench import listing
from workbench import registry as presets
from workbench.errors import InputError

README = Path(__file__).parents[2] / "README.md"


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


def test_the_readme_holds_the_table_that_the_code_makes():
    text = README.read_text()
    assert text.count(listing.START) == text.count(listing.END) == 1
    held = text.partition(listing.START)[2].partition(listing.END)[0].strip()
    assert held == listing.markdown(), "run: python -m workbench.listing README.md"


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


def test_a_docstring_without_a_source_is_refused():
    @dataclass(frozen=True)
    class Nameless(wb.Rule):
        """A rule of nobody."""

    with pytest.raises(InputError, match="Nameless: must have a line 'Source:'"):
        listing.source(Nameless)
