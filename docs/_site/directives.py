"""Directives: `help`, what a command says under --help, and `registered`, the classes that the registry knows."""

import argparse
import importlib
import os

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from workbench import registry

COLUMNS = "100"


class Help(SphinxDirective):
    """`{help} module [study]`: the help text of `module.parser()`, or of one of its studies."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        parser = importlib.import_module(self.arguments[0]).parser()
        if len(self.arguments) > 1:
            (studies,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
            parser = studies.choices[self.arguments[1]]
        before = os.environ.get("COLUMNS")
        os.environ["COLUMNS"] = COLUMNS
        try:
            text = parser.format_help()
        finally:
            if before is None:
                del os.environ["COLUMNS"]
            else:
                os.environ["COLUMNS"] = before
        return [nodes.literal_block(text, text, language="text")]


class Registered(SphinxDirective):
    """`registered:: RULES`: the docstring of each class of that registry, in its order, so that no page lists them."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        presets = getattr(registry, self.arguments[0])
        names = dict.fromkeys(type(preset).__name__ for preset in presets.values())
        return self.parse_text_to_nodes("\n\n".join(f".. autoclass:: workbench.{name}" for name in names))
