"""What all commands share: one-line errors with exit status 2."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Ends with one line for a wrong command line; the usage is behind --help."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("unrecognized arguments: ", "options: must be among those that --help lists, got ")
        self.exit(2, f"error: {message}\n")
