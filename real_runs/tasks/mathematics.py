"""Scoring of mathematical answers: which part of a completion is its answer, and whether that equals the right one.

The last answer that a completion marks is read (`final_expression`). Numbers are compared exactly, as fractions; words
as words; everything else by math-verify, in a process of its own and by its LaTeX grammar alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any

from real_runs.tasks.isolated import Isolated

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
        return self._compare(final_expression(completion[-LONGEST_MATH:]), answer)

    def equal(self, expression: str, answer: str) -> float:
        """The same for an expression that was found already; signs of mathematics around it may be there."""
        return self._compare(_of_tag(expression[-LONGEST_MATH:]), answer)

    def _compare(self, mine: str, answer: str) -> float:
        right = right_expression(answer)
        if not mine or not right:
            return 0.0
        mine, right = _ascii(mine), _ascii(right)
        known = compared(mine, right)
        return self._verify(mine, right) if known is None else float(known)


# ------------------------------------------------------------------------------------------- which expression

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?![\d.]*\d)|\d+)"
_UNSIGNED = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_MINUS = r"(?<![\w.)%])[-\u2212]"  # a hyphen between two numbers is none: 3-4
_NUMBER = rf"(?:{_MINUS})?(?<![\d.])\$?{_UNSIGNED}"
_WRITTEN = re.compile(rf"(?:{_MINUS})?(?:(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)")
_VALUE = rf"(?:{_NUMBER} \d+/\d+|{_NUMBER}(?:\s?[/^:]\s?[-\u2212]?\d+(?:\.\d+)?)*)(?:\s?\\?%)?"
_TUPLE = rf"[(\[]\s*{_VALUE}(?:\s*,\s*{_VALUE})+\s*[)\]]"
_PLAIN = re.compile(rf"{_TUPLE}|{_VALUE}(?:\s+or\s+(?:[a-z]\s*=\s*)?{_VALUE})*")
_MATH = re.compile(
    r"\$\$(?P<a>[^$]+)\$\$"
    r"|\\\[(?P<b>(?:[^\\]|\\[^\[\]])+)\\\]"
    r"|\\\((?P<c>(?:[^\\]|\\[^()])+)\\\)"
    r"|(?<!\\)\$(?P<d>(?![\s\d,.]*\s)[^$\n]*?[^$\s\\])\$(?!\d)",
    re.DOTALL,
)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_ANNOUNCED = re.compile(r"(?:\banswer(?:\s+is)?\s*[:=]|\banswer\s+is\b|####)\**\s*(?P<rest>[^\n]+)", re.IGNORECASE)
_WORDS = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")


def final_expression(text: str) -> str:
    """What a text gives as its answer, "" if nothing.

    The first of these that there is, and of it the last: \\boxed{}, several of them joined by "and" together; what
    stands in <answer></answer>, after "answer is", "answer:" or "####"; mathematics between $ $, \\( \\) or \\[ \\] in
    the last sentence that has a number or mathematics; a number, fraction, power, tuple or "a or b". Dollar signs of
    amounts are no mathematics: $5 and $7. What stands before </think> is left out.
    """
    text = text.rsplit("</think>", 1)[-1]
    boxes = _boxes(text)
    if boxes is not None:
        return boxes
    marked = [(match.start(), match[1], True) for match in _TAGGED.finditer(text)]
    marked += [(match.start(), match["rest"], False) for match in _ANNOUNCED.finditer(text)]
    if marked:
        _, found, whole = max(marked)
        return _of_tag(found) if whole else _of_announcement(found)
    math = [match for match in _MATH.finditer(text) if _is_math(match)]
    plain = [match for match in _PLAIN.finditer(text) if not any(_overlap(match, other) for other in math)]
    if math and (not plain or not re.search(r"[.!?]\s", text[math[-1].end() : plain[-1].start()])):
        return _content(math[-1])
    return plain[-1][0].strip() if plain else ""


def right_expression(answer: str) -> str:
    """The answer of a data set as an expression: without a worked solution, a box, a sentence or dollar signs."""
    if "####" in answer:
        answer = answer.rsplit("####", 1)[-1]
    if "\\boxed" in answer:
        return _boxes(answer) or ""
    announced = list(_ANNOUNCED.finditer(answer))
    if announced:
        return _of_announcement(announced[-1]["rest"])
    match = _MATH.fullmatch(answer.strip())
    return (_content(match) if match else answer).strip().strip("$").strip()


def last_boxes(text: str) -> str:
    """The content of the last box, as `final_expression` reads it; "" without any."""
    return _boxes(text) or ""


def last_number(text: str) -> str:
    """The last number of a text as it is written, without commas and with a plain minus sign; "" without any."""
    numbers = list(_WRITTEN.finditer(text))
    return numbers[-1][0].replace(",", "").replace("\N{MINUS SIGN}", "-") if numbers else ""


def _boxes(text: str) -> str | None:
    """The content of the last box, "" if it is empty or cut off; of several joined by "and", ", "; None without any."""
    found: list[tuple[int, int, str]] = []
    for match in re.finditer(r"\\(?:boxed|fbox)\s*", text):
        if found and match.start() < found[-1][1]:
            continue  # in the one before
        start = match.end()
        if text[start : start + 1] != "{":
            short = re.match(r"[-\w.]+", text[start:])
            found.append((match.start(), start + (short.end() if short else 0), short[0] if short else ""))
            continue
        end = _closing(text, start)
        if end is None:
            found.append((match.start(), len(text), ""))
            break
        found.append((match.start(), end + 1, text[start + 1 : end].strip()))
    if not found:
        return None
    joined = [found[-1][2]]
    for one, other in zip(found[-2::-1], found[:0:-1], strict=False):
        if not re.fullmatch(r"[\s$]*(?:,|and|or|,\s*and)[\s$]*", text[one[1] : other[0]]):
            break
        joined.insert(0, one[2])
    return ", ".join(joined) if all(joined) else ""


def _closing(text: str, start: int) -> int | None:
    """Where the brace that opens at `start` closes."""
    depth = 0
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return end
    return None


def _is_math(match: re.Match[str]) -> bool:
    """Whether what stands between two signs is mathematics, not the text between two amounts of money."""
    if match["d"] is None:
        return True
    bare = re.sub(r"\\(?:text|mathrm|mbox|textbf)\s*\{[^{}]*\}", "", match["d"])
    return not (_WORDS.search(bare) and re.search(r"\s", bare))


def _content(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None).strip()


def _overlap(one: re.Match[str], other: re.Match[str]) -> bool:
    return one.start() < other.end() and other.start() < one.end()


def _of_tag(text: str) -> str:
    text = text.strip()
    match = _MATH.fullmatch(text)
    return _content(match) if match else text


def _of_announcement(rest: str) -> str:
    """The answer in the rest of the line after "answer is": its mathematics, its first value, or its first words."""
    rest = rest.strip().strip("*").strip()
    math = [match for match in _MATH.finditer(rest) if _is_math(match)]
    if math:
        return _content(math[0])
    sentence = re.split(r"[.!?](?:\s|$)", rest)[0].strip()
    if "\\" in sentence:
        return sentence
    values = list(_PLAIN.finditer(sentence))
    if values:
        after_equals = sentence.rfind("=")
        return next((value[0] for value in values if value.start() > after_equals), values[0][0]).strip()
    return sentence.rstrip(".,;")


# ---------------------------------------------------------------------------------------------- equal or not

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
    units = [re.fullmatch(rf"(?P<value>-?{_UNSIGNED})\s?(?P<unit>[A-Za-z]+)", text) for text in (one, other)]
    if units[0] and units[1] and units[0]["unit"].lower() != units[1]["unit"].lower():
        return False
    sides = one.split("=")
    if len(sides) > 1 and all(map(_numbers, sides)) and len({min(_numbers(side)) for side in sides}) > 1:
        return False  # 5 = 7 says nothing
    values = _numbers(one), _numbers(other)
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
    text = text.strip().strip("$").strip()
    text = _WRAPPED.sub(lambda match: match[1], text)
    text = text.replace("\\$", "").replace("\\!", "").replace("\\,", " ").replace("\\;", " ").replace("\\ ", " ")
    text = text.replace("{,}", ",").replace("\\%", "%").replace("\\left", "").replace("\\right", "")
    text = re.sub(r"(?:\^\s*\{?\s*\\circ\s*\}?|\u00b0)\s*$", "", text)
    text = re.sub(r"^[$\u20ac\u00a3]\s*(?=[\d.-])|(?<=\d)\s*[$\u20ac\u00a3]$", "", text)
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
    "\N{MINUS SIGN}": "-", "\N{FRACTION SLASH}": "/", "\N{MULTIPLICATION SIGN}": "\\times ",
    "\N{MIDDLE DOT}": "\\cdot ", "\N{INFINITY}": "\\infty ", "\N{GREEK SMALL LETTER PI}": "\\pi ",
    "\N{PLUS-MINUS SIGN}": "\\pm ",
    "\N{LESS-THAN OR EQUAL TO}": "\\le ", "\N{GREATER-THAN OR EQUAL TO}": "\\ge ", "\N{UNION}": "\\cup ",
    "\N{SUPERSCRIPT TWO}": "^2", "\N{SUPERSCRIPT THREE}": "^3", "\N{EMPTY SET}": "\\emptyset ",
    "\\varnothing": "\\emptyset ",
}  # fmt: skip
_HALVES = re.compile(r"(\d?)([\N{VULGAR FRACTION ONE QUARTER}-\N{VULGAR FRACTION THREE QUARTERS}\u2150-\u215e])")
_ROOT = re.compile(r"\N{SQUARE ROOT}\s*(?:\(([^()]*)\)|(\w+))")


def _ascii(text: str) -> str:
    """Signs beyond ASCII by their names in LaTeX: a root, pi, a half."""
    text = _HALVES.sub(lambda match: f"{match[1]} {unicodedata.normalize('NFKC', match[2])}", text)
    text = _ROOT.sub(lambda match: f"\\sqrt{{{match[1] or match[2]}}}", text)
    for sign, name in _SIGNS.items():
        text = text.replace(sign, name)
    return text.strip()


def _numbers(text: str) -> set[Fraction]:
    """The values that a text can have as one number: none if it is no number, two if it ends in a percent sign."""
    text = re.sub(r"^[A-Za-z]\w*\s*=\s*", "", text)  # x = 5
    percent = text.endswith("%")
    value = _number(text.rstrip("%").strip())
    if value is None:
        return set()
    return {value, value / 100} if percent else {value}


def _number(text: str) -> Fraction | None:
    """The exact value of a number as people write it: 1,234 .5 6.02e23 3\\times10^{5} 3/4 \\frac{3}{4} 2 1/2."""
    if not text or len(text) > MOST_DIGITS:
        return None
    sign = -1 if text.startswith("-") else 1
    text = text[1:].strip() if sign < 0 else text.removeprefix("+")
    if match := _FRACTION.fullmatch(text):
        return _divided(match[1] or match[2], match[3] or match[4], sign)
    if match := _TIMES_TEN.fullmatch(text):
        value, exponent = _number(match[1]), int(match[2] or match[3])
        return None if value is None or abs(exponent) > MOST_DIGITS else sign * value * Fraction(10) ** exponent
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
    if re.fullmatch(_UNSIGNED, text) or re.fullmatch(r"\d+\.", text):
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
        if all(isinstance(value, Expr) and value.is_number for value in values):
            return float(_same_number(*values))
        return float(verify(other, one, allow_set_relation_comp=True, timeout_seconds=None))

    return score


def _same_number(one: Any, other: Any) -> bool:
    """Whether two constants of sympy are equal: exactly if both are fractions, otherwise to 1e-12 of their size."""
    one, other = one.doit(), other.doit()  # math-verify leaves sums such as 10^{30} + 1 as they are written
    if (one.is_Rational and other.is_Rational) or not (one.is_finite and other.is_finite):
        return bool(one == other)
    size = max(abs(one.evalf(30)), abs(other.evalf(30)))
    return bool(abs((one - other).evalf(30)) <= size * 1e-12)
