"""What a result depends on: the code, the settings, the packages."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workbench.controllers import Rule
from workbench.learners import Law


@cache
def code_digest() -> str:
    """SHA-256 over the source of everything a cell's result depends on: results of other code are not reused."""
    root = Path(__file__).parents[1]
    sources = ["streams.py", "lanes.py", "kernels", "pool", "loop.py", "controllers", "learners"]
    digest = hashlib.sha256()
    for name in sources:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def versions_of(*parts: Rule | Law) -> dict[str, str]:
    """Versions of the packages that rules and laws compute with beside NumPy and Numba."""
    return {name: version(name) for part in parts for name in part.packages}


def describe(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as plain JSON values, with its class name."""
    values = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        values[item.name] = describe(value) if hasattr(value, "__dataclass_fields__") else value
    return {"class": type(settings).__name__} | values


def git_commit() -> str | None:
    """The commit of the code, with "+changes" if files differ from it; None outside a checkout."""
    import subprocess

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    return None
