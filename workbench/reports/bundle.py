"""The script that draws figures in a browser: Vega-Lite with Vega-Embed, as the package vl-convert-python bundles it.

Bundling takes a second and a half. So the script is kept in the user's cache, in a file that is named by the release of
that package and by the SHA-256 of its content; one that is missing or damaged is bundled again.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from workbench.extras import MissingExtra, named_extra
from workbench.files import StorageError, write_whole

PACKAGE = "vl-convert-python"
EXPORTS = "window.vegaEmbed=vegaEmbed;"  # all that page.js uses of it


@cache
def vega() -> str:
    """The script. Raises MissingExtra where the package is not installed."""
    try:
        release = version(PACKAGE)
    except PackageNotFoundError:
        raise MissingExtra("vl_convert") from None
    folder = cache_folder()
    kept = sorted(folder.glob(f"vega-{release}-*.js")) if folder is not None else []
    for path in kept:
        with suppress(OSError, UnicodeDecodeError):
            text = path.read_text(encoding="utf-8")
            if path.stem.endswith(digest(text)):
                return text
    with named_extra():
        import vl_convert
    made: str = vl_convert.javascript_bundle(EXPORTS)
    if folder is not None:
        with suppress(StorageError):  # a cache that cannot be written costs time, no more
            write_whole(folder / f"vega-{release}-{digest(made)}.js", made.encode())
    return made


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cache_folder() -> Path | None:
    """In the user's cache; None where the user has no home."""
    given = os.environ.get("XDG_CACHE_HOME", "").strip()
    try:
        return Path(given or Path.home() / ".cache") / "rft-workbench"
    except RuntimeError:
        return None
