"""Which commit of this project runs."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """The commit of the code, with "+changes" if files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    return None
