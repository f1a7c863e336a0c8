"""What tests of commands do: call one, and keep what it says."""

import sys


def call(command, monkeypatch, capsys, *words):
    """Exit status, what is printed and errors of a command's module with these words on its line."""
    monkeypatch.setattr(sys, "argv", [command.__file__, *map(str, words)])
    try:
        status = command.main()
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err
