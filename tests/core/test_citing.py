"""Citations: every source that a docstring names has an entry, and a study cites what it used."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import workbench as wb
from workbench.citing import references_of
from workbench.errors import InputError
from workbench.references import REFERENCES
from workbench.registry import GATES, LAWS, RULES, SIGNALS

ROOT = Path(__file__).parents[2]
PARTS = {**RULES, **GATES, **LAWS, **SIGNALS}


def entries(text: str) -> dict[str, dict[str, str]]:
    """Key -> fields of each BibTeX entry; fails unless the text is such entries and blank lines."""
    found = {}
    for entry in text.strip().split("\n\n"):
        head, *rows, end = entry.split("\n")
        assert end == "}"
        key = re.fullmatch(r"@(?:article|misc|book|inproceedings)\{(\w+),", head)[1]
        assert key not in found
        found[key] = dict(re.fullmatch(r"  (\w+) = \{(.*)\},", row).groups() for row in rows)
        assert {"author", "title", "year"} <= found[key].keys()
    return found


@pytest.mark.parametrize("name", PARTS)
def test_what_a_docstring_names_as_its_source_has_a_whole_entry(name):
    for reference in references_of(type(PARTS[name])):
        assert "to be completed" not in reference.bibtex(), f"{reference.eprint}: add it to workbench/references.py"


def test_every_entry_is_whole_and_has_a_key_of_its_own():
    assert len(entries("\n\n".join(one.bibtex() for one in REFERENCES))) == len(REFERENCES)
    assert len({one.eprint for one in REFERENCES if one.eprint}) == sum(bool(one.eprint) for one in REFERENCES)
    for one in REFERENCES:
        text = one.bibtex()
        assert text.count("{") == text.count("}")
        assert not one.eprint or one.year == 2000 + int(one.eprint[:2])


def test_names_and_objects_are_cited_once_with_what_they_rest_on():
    found = entries(wb.cite("adarft", wb.AdaRFT(eta=5), "uniform+dapo", "scalar"))
    assert next(iter(found)) == "curriculum_workbench"
    assert found["shi2025adarft"]["eprint"] == "2504.05520"
    assert {"yu2025dapo", "barton1981upper", "ahmadian2024rloo", "agarwal2021precipice", "harris2020numpy",
            "lam2015numba"} <= found.keys()  # fmt: skip
    assert "jiang2020plr" not in found
    assert "pedregosa2011sklearn" not in found
    assert "pedregosa2011sklearn" in entries(wb.cite("alp-gmm"))
    assert "shao2024deepseekmath" in entries(wb.cite(wb.ScalarIRT(signal=wb.GRPO())))


def test_a_rule_of_yours_has_its_source_to_complete():
    class Mine(wb.Uniform):
        """Mine.

        Source: Nobody 2031, arXiv 3101.00001; beside Shi et al. 2025, arXiv
        2504.05520.

        Not a source: arXiv 3102.00002.
        """

    found = entries(wb.cite(Mine()))
    assert found["arxiv_3101_00001"]["title"] == "{arXiv 3101.00001, title to be completed}"
    assert "shi2025adarft" in found
    assert "3102.00002" not in str(found)


@pytest.mark.parametrize("part", ["nobody", "uniform+nobody", 5, None, ["adarft"], wb.AdaRFT])
def test_what_nothing_is_called_is_refused_in_one_line(part):
    with pytest.raises(InputError, match=r"^parts: must be names") as caught:
        wb.cite(part)
    assert "\n" not in str(caught.value)


def test_a_study_and_its_result_cite_what_they_ran():
    study = wb.Study(["uniform"], ["scalar"], ["uniform", "plr"], seeds=2, steps=2, batch=4, rollouts=2)
    assert "jiang2020plr" in entries(wb.cite(study))
    assert study.run(progress=False).cite() == wb.cite(study)


def test_the_citation_file_is_whole_and_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    cff = yaml.safe_load(text)
    assert cff["cff-version"] == "1.2.0"
    assert str(cff["version"]) == wb.__version__
    released = re.findall(r"^## (\d+\.\d+\.\d+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == (cff["version"], str(cff["date-released"])), "the newest release of the changelog"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == cff["version"]
    assert {"message", "title", "authors", "type", "license"} <= cff.keys()
    assert cff["license"] == "Apache-2.0"
    assert all("name" in one or {"family-names", "given-names"} <= one.keys() for one in cff["authors"])
    for one in cff["references"]:
        assert {"type", "title", "authors"} <= one.keys()
