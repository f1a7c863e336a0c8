"""Scoring of mathematical answers: whether the answer that a completion gives equals the right one.

`expressions` says which part of a completion is its answer. Numbers are compared exactly, as fractions; words as words;
everything else by math-verify, in a process of its own and by its LaTeX grammar alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any

from real_runs.tasks.expressions import (
    SCALES,
    UNSIGNED,
    final_expression,
    lettered,
    of_tag,
    powers_and_halves,
    right_expression,
    without_thoughts,
)
from real_runs.tasks.isolated import LONGEST, Isolated

LONGEST_MATH = 4000  # characters of a completion, from its end, in which an answer is looked for
MOST_DIGITS = 400  # of a number that is compared exactly: longer ones are compared as texts


class MathScorer:
    """1 if a completion's final expression equals the answer, otherwise 0."""

    def __init__(self) -> None:
        self._verify = Isolated("real_runs.tasks.mathematics:math_verifier")

    def start(self) -> None:
        """Start math-verify's process; ScoringError where it does not come up."""
        self._verify.start()

    def __call__(self, completion: str, answer: str) -> float:
        return self._compare(self.read(completion), answer)

    def read(self, completion: str) -> str:
        """The completion's final expression, "" if there is none."""
        return final_expression(without_thoughts(completion[-LONGEST:])[-LONGEST_MATH:])

    def solution(self, answer: str) -> str:
        """A completion that gives an answer of a data set."""
        return f"\\boxed{{{right_expression(answer)}}}"

    def equal(self, expression: str, answer: str) -> float:
        """The same for an expression that was found already; signs of mathematics around it may be there."""
        return self._compare(of_tag(expression[-LONGEST_MATH:]), answer)

    def _compare(self, mine: str, answer: str) -> float:
        right = right_expression(answer)
        if not mine or not right:
            return 0.0
        mine, right = _ascii(mine), _ascii(right)
        (letter, rest), (right_letter, right_rest) = lettered(_plain(mine)), lettered(_plain(right))
        if right_letter:
            right = right_letter if letter or _choices(_plain(mine)) else right_rest
        if letter:
            mine = letter if _choices(_plain(right)) else rest
        known = compared(mine, right)
        return self._verify(mine, right) if known is None else float(known)


# ---------------------------------------------------------------------------------------------- equal or not

_ORDINAL = re.compile(  # the 7th, 7^{th}, 7^\text{th}, 7^{\text{th}}
    r"(?<=\d)(?:\^\s*)?(?:(?:st|nd|rd|th)|\{(?:st|nd|rd|th)\}|\\text\s*\{(?:st|nd|rd|th)\}|\{\\text\s*\{(?:st|nd|rd|th)\}\})$"
)
_WRAPPED = re.compile(r"\\(?:text|mathrm|mbox|textbf|operatorname)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([-\d.]+)\}|(\d))\s*(?:\{([-\d.]+)\}|(\d))")
_TIMES_TEN = re.compile(r"(.*?)\s*(?:\\times|\\cdot|\u00d7|\*)\s*10\s*\^\s*(?:\{([-+]?\d+)\}|(\d))")


def compared(mine: str, right: str) -> bool | None:
    """Whether two expressions are equal, where that can be told without algebra: as texts, words and numbers."""
    one, other = _plain(mine), _plain(right)
    if one == other:
        return True
    if _is_word(one) and _is_word(other):
        return one.lower() == other.lower()
    choices = _choices(one), _choices(other)
    if choices[0] and choices[1]:
        return choices[0] == choices[1]
    (one, unit), (other, other_unit) = _measure(one), _measure(other)
    if unit and other_unit and unit != other_unit:
        return False
    named = [re.fullmatch(r"([A-Za-z])\s*=\s*([^=]+)", text) for text in (one, other)]
    if named[0] and named[1] and named[0][1] != named[1][1] and _numbers(named[0][2]) and _numbers(named[1][2]):
        return False  # x = 2 is no y = 2
    if {_bracket(one), _bracket(other)} == {"{", "("}:
        return False  # a set is no tuple and no interval
    sides = one.split("=")
    if len(sides) > 1 and all(map(_numbers, sides)) and len({min(_numbers(side)) for side in sides}) > 1:
        return False  # 5 = 7 says nothing
    values = _value(one), _value(other)
    if values[0] and values[1]:
        return bool(values[0] & values[1])
    if len(one) > MOST_DIGITS or len(other) > MOST_DIGITS:
        return False
    lists = [_parts(text) for text in (one, other)]
    if (lists[0] is None) != (lists[1] is None) and (values[0] or values[1]):
        return False  # a list of several is no single number, and none of them is the answer
    if re.search(r"(?i)\bor\b", one) and values[1]:
        return False
    return None


def _plain(text: str) -> str:
    """An expression without spacing, wrapped words, currency, degrees and a final full stop."""
    text = re.sub(r"\\[hv]?(?:phantom|space)\*?\s*\{[^{}]*\}", " ", text).replace("~", " ")
    text = text.strip().strip("$").strip().removesuffix("\\")
    text = _WRAPPED.sub(lambda match: match[1], text)
    text = re.sub(r"\\(?:\$|!|pounds(?![a-z]))", "", re.sub(r"\\[,;: ]", " ", text))
    text = text.replace("{,}", ",").replace("\\%", "%").replace("\\left", "").replace("\\right", "")
    text = re.sub(r"^(?:\\approx|\u2248)\s*|(?<=\d)\^\s*\{?o\}?$", "", re.sub(r"\s*\bpercent\b", "%", text))
    text = re.sub(r"(?:\^\s*\{?\s*\\circ\s*\}?|\u00b0)\s*$", "", text)
    text = re.sub(r"^[$\u20ac\u00a3]\s*(?=[\d.-])|(?<=\d)\s*[$\u20ac\u00a3]$", "", text)
    text = re.sub(r"\s?\b(?:dollars?|euros?|USD)$", "", text.strip())
    text = _ORDINAL.sub("", text)
    text = re.sub(r"(\.\d*?)(\d)\2{2,}(?:\.{3}|\u2026|\\[cl]?dots)$", r"\1\\overline{\2}", text)  # 0.333...
    return re.sub(r"\s+", " ", text).strip().rstrip(".").strip()


def _is_word(text: str) -> bool:
    """Whether a text is words, not a product of variables such as ab."""
    words = re.fullmatch(r"[A-Za-z][A-Za-z .'-]*", text) is not None
    return words and (len(text) > 2 or text[:1].isupper())


def _choices(text: str) -> frozenset[str]:
    """The letters of a multiple choice: A, (A), or A, C and D; none for another text."""
    letters = re.split(r"\s*(?:,\s*and|,|\band\b|&)\s*", text)
    letters = [letter.strip("() ") for letter in letters]
    return frozenset(letters) if all(re.fullmatch("[A-J]", letter) for letter in letters) else frozenset()


_SIGNS = {
    "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{FRACTION SLASH}": "/", "\N{MULTIPLICATION SIGN}": "\\times ",
    "\N{MIDDLE DOT}": "\\cdot ", "\N{DIVISION SIGN}": "\\div ", "\N{INFINITY}": "\\infty ",
    "\N{GREEK SMALL LETTER PI}": "\\pi ", "\N{PLUS-MINUS SIGN}": "\\pm ", "\N{LESS-THAN OR EQUAL TO}": "\\le ",
    "\N{GREATER-THAN OR EQUAL TO}": "\\ge ", "\N{NOT EQUAL TO}": "\\ne ", "\N{UNION}": "\\cup ",
    "\N{ELEMENT OF}": "\\in ", "\N{EMPTY SET}": "\\emptyset ", "\\varnothing": "\\emptyset ", "**": "^",
}  # fmt: skip
_ROOT = re.compile(r"(?:\N{SQUARE ROOT}|(?<![A-Za-z\\])sqrt)\s*(?:\(([^()]*)\)|(\w+))")
_TYPED: tuple[tuple[re.Pattern[str], str], ...] = (  # what is typed without a backslash
    (re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![A-Za-z\\])(sin|cos|tan|cot|sec|csc|log|ln|exp)(?=\s*\(|\s*\d|\s+[a-z](?![a-z]))"), r"\\\1"),
    (re.compile(r"(?<![A-Za-z\\])(?:infinity|inf)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"(?<=[)\]])\s*U\s*(?=[(\[])"), r"\\cup "),
    (re.compile(r"^\{([^{}\\]*,[^{}]*)\}$"), r"\\{\1\\}"),
    (re.compile(r"(?<=\d)\s?x\s?(?=10\s?\^)"), r"\\times "),
    (re.compile(r"\^(-\d+|\d{2,})"), r"^{\1}"),
    (re.compile(r"^\\\{\s*[a-z]\s*(?:\\mid|:|\|)(.+)\\\}$"), r"\1"),  # {x | x > 2}
    (re.compile(r"\\langle"), "("),
    (re.compile(r"\\rangle"), ")"),
    (re.compile(r"\{,\}|\\!"), ""),
)


def _ascii(text: str) -> str:
    """Signs beyond ASCII and typed names by their names in LaTeX: a root, pi, a half."""
    text = powers_and_halves(text.strip())
    text = _ROOT.sub(lambda match: f"\\sqrt{{{match[1] or match[2]}}}", text)
    for sign, name in _SIGNS.items():
        text = text.replace(sign, name)
    for typed, name in _TYPED:
        text = typed.sub(name, text)
    return text.strip()


_UNITS = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "m": "meter metre", "km": "kilometer kilometre",
    "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile", "g": "gram", "kg": "kilogram", "lb": "pound",
    "s": "sec second", "min": "minute", "h": "hr hour", "l": "L liter litre", "ml": "mL milliliter millilitre",
    "mi/h": "mph", "km/h": "kph kmh", "": "degree",
}  # fmt: skip
_UNIT_OF = {name: unit for unit, names in _UNITS.items() for name in [unit, *names.split()]}
_MEASURE = re.compile(
    rf"(?P<value>-?{UNSIGNED})(?P<space>\s?)(?P<unit>[A-Za-z]+(?:\s?/\s?|\s|\^)?(?:[A-Za-z]+|[23])?(?:\^[23])?"
    r"|[A-Za-z]+ [A-Za-z]+ [A-Za-z]+)"
)


def _measure(text: str) -> tuple[str, str]:
    """A number and its unit, by one name: 10 square meters is 10, m^2; the text itself and "" where there is none."""
    match = _MEASURE.fullmatch(re.sub(r"\^\{([23])\}", r"^\1", text))
    if not match:
        return text, ""
    unit = re.sub(r"\s?(?:/|\bper\b)\s?", "/", match["unit"])
    unit = re.sub(r"^(square|sq|cubic|cu) (.+)", lambda m: f"{m[2]}^{2 if m[1].startswith('s') else 3}", unit)
    words = re.findall(r"[A-Za-z]+", unit)
    if not all(len(word) > 2 or word in _UNIT_OF for word in words) or words[0] in SCALES:
        return text, ""
    if len(match["unit"]) == 1 and not match["space"]:
        return text, ""  # 5m may be a product
    return match["value"], re.sub(r"[A-Za-z]+", lambda word: _unit_name(word[0]), unit)


def _unit_name(word: str) -> str:
    lone = word.lower().removesuffix("s")
    return _UNIT_OF.get(word, _UNIT_OF.get(lone, lone))


def _bracket(text: str) -> str:
    """How a list is enclosed: { for a set, ( for a tuple or an interval, "" for anything else."""
    if re.fullmatch(r"\\\{[^{}]*,[^{}]*\\\}", text):
        return "{"
    return "(" if re.fullmatch(r"[(\[][^()\[\]]*,[^()\[\]]*[)\]]", text) else ""


def _value(text: str) -> set[Fraction]:
    """The values that a text can have as one number; those of its members where a list says the same one again."""
    return _numbers(text) or set.intersection(*map(_numbers, re.split(r"\s*(?:,|\bor\b|\band\b)\s*", text)))


def _numbers(text: str) -> set[Fraction]:
    """The values that a text can have as one number: none if it is no number, two if it ends in a percent sign."""
    text = re.sub(r"^[A-Za-z]\w*\s*=\s*|\s*=\s*[A-Za-z]\w*$", "", text)  # x = 5
    percent = text.endswith("%")
    value = _number(text.rstrip("%").strip())
    if value is None:
        return set()
    return {value, value / 100} if percent else {value}


_COUNTED = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip


def _number(text: str) -> Fraction | None:
    """The exact value of a number as people write it: 1,234 .5 6.02e23 3\\times10^{5} 3/4 \\frac{3}{4} 2 1/2."""
    if not text or len(text) > MOST_DIGITS:
        return None
    if text.lower() in _COUNTED:
        return Fraction(_COUNTED.index(text.lower()))
    if match := re.fullmatch(rf"(.+) ({'|'.join(SCALES)})", text):  # 5 million
        times = _number(match[1])
        return None if times is None else times * SCALES[match[2]]
    sign = -1 if text.startswith("-") else 1
    text = text[1:].strip() if sign < 0 else text.removeprefix("+")
    if match := _FRACTION.fullmatch(text):
        return _divided(match[1] or match[2], match[3] or match[4], sign)
    if match := _TIMES_TEN.fullmatch(text):
        value, exponent = _number(match[1]), int(match[2] or match[3])
        return None if value is None or abs(exponent) > MOST_DIGITS else sign * value * Fraction(10) ** exponent
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s?\^\s?(?:\{([-+]?\d{1,3})\}|(\d))", text):
        base, exponent = Fraction(match[1]), int(match[2] or match[3])
        known = len(match[1]) * abs(exponent) <= MOST_DIGITS and (base or exponent > 0)
        return sign * base**exponent if known else None
    if match := re.fullmatch(r"(\d*)\.(\d*)\\overline\s*\{?(\d+)\}?", text):  # 1.2\overline{3}
        steady, period = Fraction(f"{match[1] or 0}.{match[2]}0"), len(match[3])
        return sign * (steady + Fraction(int(match[3]), (10**period - 1) * 10 ** len(match[2])))
    if match := re.fullmatch(r"(\w+)_\{?(\d{1,2})\}?", text):  # a number in another base
        with suppress(ValueError):
            return sign * Fraction(int(match[1], int(match[2])))
        return None
    if match := re.fullmatch(r"(\d+) (\d+)/(\d+)", text):
        part = _divided(match[2], match[3], 1)
        return None if part is None else sign * (int(match[1]) + part)
    if match := re.fullmatch(r"([\d.]+)\s*/\s*([\d.]+)", text):
        return _divided(match[1], match[2], sign)
    if re.fullmatch(UNSIGNED, text) or re.fullmatch(r"\d+\.", text):
        return _decimal(text.replace(",", "").replace(" ", ""), sign)
    return None


def _decimal(text: str, sign: int) -> Fraction | None:
    digits, _, exponent = text.lower().partition("e")
    if exponent and abs(int(exponent)) > MOST_DIGITS:
        return None
    try:
        return sign * Fraction(digits) * Fraction(10) ** int(exponent or 0)
    except ValueError:
        return None


def _divided(above: str, below: str, sign: int) -> Fraction | None:
    try:
        return sign * Fraction(above) / Fraction(below)
    except (ValueError, ZeroDivisionError):
        return None


def _parts(text: str) -> list[str] | None:
    """The members of a list such as 1, 2 or (1, 2) or x=5 or x=7; None if it is no list."""
    depth, parts = 0, [""]
    inner = text[1:-1] if re.fullmatch(r"[(\[{].*[)\]}]", text) else text
    for letter in inner:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts] if len(parts) > 1 else None


def math_verifier() -> Callable[[str, str], float]:
    """(expression, answer) -> 0 or 1, in LaTeX; without a time limit, which is `Isolated`'s.

    Only math-verify's LaTeX grammar reads the text: its reader of plain expressions calls Python's eval.
    """
    from math_verify import LatexExtractionConfig, parse, verify
    from sympy import Expr

    def read(expression: str) -> list[Any]:
        text = f"\\boxed{{{expression}}}"
        return list(parse(text, [LatexExtractionConfig()], parsing_timeout=None))

    def score(expression: str, answer: str) -> float:
        one, other = read(expression), read(answer)
        values = [next((value for value in read_as if not isinstance(value, str)), None) for read_as in (one, other)]
        values = [_with_unit(value) if isinstance(value, Expr) else value for value in values]
        if all(isinstance(value, Expr) and value.is_number for value in values):
            return float(_same_number(*values))
        return float(verify(other, one, allow_set_relation_comp=True, timeout_seconds=None))

    return score


def _with_unit(value: Any) -> Any:
    """An expression whose letter i is the imaginary unit."""
    from sympy import I

    return value.subs({letter: I for letter in value.free_symbols if letter.name == "i"})


def _same_number(one: Any, other: Any) -> bool:
    """Whether two constants of sympy are equal: exactly if both are fractions, otherwise to 1e-12 of their size."""
    one, other = one.doit(), other.doit()  # math-verify leaves sums such as 10^{30} + 1 as they are written
    if (one.is_Rational and other.is_Rational) or not (one.is_finite and other.is_finite):
        return bool(one == other)
    size = max(abs(one.evalf(30)), abs(other.evalf(30)))
    return bool(abs((one - other).evalf(30)) <= size * 1e-12)
