"""Text of other people in a page: what cannot be seen is written out, and no text ends the element that holds it."""

from __future__ import annotations

import json
import math
from typing import Any

KEPT = "\n\t"  # of what is not printable: lines of a prompt or a completion


def visible(text: str) -> str:
    """A text with control characters, marks of direction and lone surrogates written as escapes: \\x1b, \\u202e.

    Line breaks and tabs stay. A carriage return before a line break goes with it.
    """
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n")
    return "".join(
        letter if letter.isprintable() or letter in KEPT else letter.encode("unicode_escape").decode()
        for letter in lines
    )


def json_inside(value: Any) -> str:
    """JSON that can stand inside <script>: no `<`, `>` or `&`, so that nothing in it ends or begins an element.

    Texts in it are made `visible`. NaN and infinite numbers, which JSON does not have, become null.
    """
    text = json.dumps(_plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {visible(str(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
