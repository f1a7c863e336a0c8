"""What the site adds to Sphinx: docstrings as reStructuredText, MathML, the help of a command, the home's contents."""

from typing import Any

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

from . import docstrings
from .directives import Help, Registered

log = getLogger(__name__)

# Contents of pages that are read in the repository too, where a table of contents would be noise.
CONTENTS = {
    "README": {
        "Tutorials": ["/docs/tutorials"],
        "How-to": ["/docs/how-to/index"],
        "Explanation": ["/docs/explanation/index"],
        "Reference": ["/docs/gallery", "/docs/reference/index"],
        "Results": ["In simulation </sims/results/README>", "On real models </real_runs/results/README>"],
        "The project": ["/CONTRIBUTING", "/CHANGELOG"],
    },
    "real_runs/results/README": {"": ["/real_runs/results/forecasts/README", "/real_runs/results/smollm2/plan"]},
}


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Append what lies beneath a page to it."""
    for caption, pages in CONTENTS.get(name, {}).items():
        lines = [":::{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *pages, ":::"]
        source[0] += "\n" + "\n".join(lines) + "\n"


def mathml(node: Any, display: str) -> str:
    """The formula of `node` in MathML; one that cannot be read is a warning that names its page and line."""
    try:
        return convert(node.astext(), display=display)
    except Exception as fault:  # the converter raises what it likes
        log.warning("cannot read the formula %r: %s", node.astext(), type(fault).__name__, location=node)
        return ""


def visit_math(translator: Any, node: Any) -> None:
    """A formula in a line."""
    translator.body.append(mathml(node, "inline"))
    raise SkipNode


def visit_displayed(translator: Any, node: Any) -> None:
    """A formula on lines of its own."""
    translator.body.append(f'<div class="math">{mathml(node, "block")}</div>\n')
    raise SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    for name in ("tree", "csv"):
        app.add_lexer(name, TextLexer)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displayed, None))
    app.add_directive("help", Help)
    app.add_directive("registered", Registered)
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", docstrings.process)
    app.connect("autodoc-process-signature", docstrings.process_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
