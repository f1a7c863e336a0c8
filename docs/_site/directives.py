"""Directives: `help`, what a command says under --help, and `registered`, the classes that the registry knows."""

import argparse
import importlib
import os
import sys
from unittest import mock

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from workbench import registry

COLUMNS = "100"


class Help(SphinxDirective):
    """`{help} file.py module [study]`: the help text of `module.parser()`, or of one of its studies."""

    required_arguments = 2
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        command, module, *study = self.arguments
        with mock.patch.dict(os.environ, COLUMNS=COLUMNS), mock.patch.object(sys, "argv", [command]):
            parser = importlib.import_module(module).parser()
            if study:
                (studies,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
                parser = studies.choices[study[0]]
            text = parser.format_help()
        return [nodes.literal_block(text, text, language="text")]


class Registered(SphinxDirective):
    """`registered:: RULES`: the docstring of each class of that registry, in its order, so that no page lists them."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        presets = getattr(registry, self.arguments[0])
        names = dict.fromkeys(type(preset).__name__ for preset in presets.values())
        return self.parse_text_to_nodes("\n\n".join(f".. autoclass:: workbench.{name}" for name in names))
