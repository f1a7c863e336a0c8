"""Scoring of mathematical answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from real_runs.tasks.isolated import Isolated

LONGEST_MATH = 4000  # characters of a completion, from its end, in which an expression is looked for


class MathScorer:
    """1 if math-verify finds the completion's final expression equal to the answer, else 0."""

    def __init__(self) -> None:
        self._verify = Isolated("real_runs.tasks.mathematics:math_verifier")

    def __call__(self, completion: str, answer: str) -> float:
        mine = final_expression(completion[-LONGEST_MATH:])
        right = final_expression(answer) if "\\boxed" in answer else answer.strip().strip("$")
        if not mine or mine == right:
            return float(mine == right)  # no need to ask
        return self._verify(mine, right)


def final_expression(text: str) -> str:
    """The content of the last \\boxed{}, else of the last $...$, else the last number, else ""."""
    start = text.rfind("\\boxed{")
    if start >= 0:
        depth = 0
        for end in range(start + 6, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start + 7 : end].strip()
        return ""  # cut off before its end
    inline = re.findall(r"\$([^$]+)\$", text)
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?", text)
    return (inline or [number.rstrip(",") for number in numbers] or [""])[-1].strip()


def math_verifier() -> Callable[[str, str], float]:
    """(expression, answer) -> 0 or 1, in LaTeX; without a time limit, which is `Isolated`'s.

    Only math-verify's LaTeX grammar reads the text: its reader of plain expressions calls Python's eval.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    def read(expression: str) -> list[Any]:
        text = f"\\boxed{{{expression}}}"
        return list(parse(text, [LatexExtractionConfig()], parsing_timeout=None))

    return lambda expression, answer: float(verify(read(answer), read(expression), timeout_seconds=None))
