"""Text that LaTeX reads as it stands."""

from __future__ import annotations

from typing import Any

MARKS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "…": r"\ldots{}", "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}", "±": r"\ensuremath{\pm}", "∞": r"\ensuremath{\infty}", "·": r"\ensuremath{\cdot}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}  # fmt: skip


def latex_escaped(cell: Any) -> str:
    """A text with the characters that LaTeX reads as commands escaped, and signs that its fonts lack as commands."""
    return "".join(MARKS.get(letter, letter) for letter in str(cell))
