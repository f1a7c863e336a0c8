"""What LaTeX makes of tables, citations and figures, where it is installed."""

import re
import shutil
import subprocess

import pytest
from analysis.test_printed import SUMMARY
from figures.test_page import FIGURES, TWELVE
from matplotlib.text import Text

from workbench import figures
from workbench.analysis.printed import latex_table
from workbench.references import REFERENCES

PROGRAMS = ("pdflatex", "bibtex", "kpsewhich", "pdftotext", "latex", "dvipng")
LACKING = [program for program in PROGRAMS if shutil.which(program) is None]
PACKAGES = ("booktabs.sty", "siunitx.sty", "type1cm.sty", "underscore.sty")
if not LACKING:
    LACKING = [name for name in PACKAGES if not subprocess.run(["kpsewhich", name], capture_output=True).stdout]
pytestmark = pytest.mark.skipif(
    bool(LACKING),
    reason=f"lacks {', '.join(LACKING)} (Debian: texlive-latex-extra texlive-science dvipng cm-super poppler-utils)",
)


def typeset(body: str, packages: str, folder) -> str:
    """The page that pdflatex makes of a text, as text; fails at an error, and at a warning of a package."""
    lines = [r"\documentclass{article}", r"\usepackage[T1]{fontenc}", r"\usepackage[landscape, margin=1cm]{geometry}",
             packages, r"\begin{document}", body, r"\end{document}"]  # fmt: skip
    (folder / "page.tex").write_text("\n".join(lines), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert not re.search(r"^(Package|Overfull|Missing)", done.stdout, re.MULTILINE), done.stdout
    return subprocess.run(["pdftotext", "-layout", "page.pdf", "-"], cwd=folder, capture_output=True, text=True).stdout


@pytest.mark.parametrize("siunitx", [False, True])
def test_a_table_is_set_with_its_signs_names_and_numbers(siunitx, tmp_path):
    packages = r"\usepackage{booktabs, siunitx}" if siunitx else r"\usepackage{booktabs}"
    page = typeset(latex_table(SUMMARY, {"sec": r"\textsc{Mine}"}, siunitx), packages, tmp_path)
    uniform, a_b, mine, odd = (line for line in page.splitlines() if line.split()[:2] == ["p", "l"])
    assert uniform.split() == ["p", "l", "uniform", "8", "0.345", "baseline"]
    assert "a_b" in a_b
    assert a_b.split()[4:8] == ["1.50", "[1.20,", "1.80]", "0.345"]
    assert "+0.020" in a_b
    assert "[+0.010, +0.030]" in a_b
    assert "−0.020" in mine
    assert "[−0.030, −0.010]" in mine
    assert "0.012" in mine
    assert "[x]|y" in odd


def test_bibtex_takes_every_reference(tmp_path):
    (tmp_path / "refs.bib").write_text("\n\n".join(entry.bibtex() for entry in REFERENCES), encoding="utf-8")
    body = r"\nocite{*}\bibliographystyle{plain}\bibliography{refs}"
    typeset(body, "", tmp_path)
    done = subprocess.run(["bibtex", "page"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout, done.stdout
    page = typeset(body, "", tmp_path)
    assert "Efficient Reinforcement Finetuning via Adaptive Curriculum Learning" in page.replace("\n", " ")


@pytest.mark.parametrize("kind", [kind for kind in FIGURES if not kind.endswith(("pools", "learners", "numbers"))])
def test_latex_sets_all_text_of_every_figure(kind, tmp_path):
    """A bare % would leave out the rest of a text without a word."""
    with figures.style("serif", 7, usetex=True):
        figure = FIGURES[kind](TWELVE[:4], width="column")
        figure.savefig(tmp_path / "figure.pdf")
    said = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
    assert any(said)
    assert not [text for text in said if re.search(r"(?<!\\)[%&#_]", re.sub(r"\$[^$]*\$", "", text))]
