"""Which part of a text is its answer: what it boxes, tags or announces, otherwise its last mathematics or number."""

from __future__ import annotations

import re
from unicodedata import normalize

# ------------------------------------------------------------------------------------------------------- patterns

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?![\d.]*\d)|\d+)"
UNSIGNED = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
SCALES = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MINUS = r"(?<![\w.)%])[-\u2212\u2013]"  # a hyphen between two numbers is none: 3-4
_NUMBER = rf"(?:{_MINUS}|\u00b1\s?)?(?<![\d.^_])[$\u20ac\u00a3]?{UNSIGNED}"
_WRITTEN = re.compile(rf"(?:{_MINUS})?(?:(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)")
_EXPONENT = r"(?:[-\u2212]?\d+(?:\.\d+)?|\{[-\u2212]?[\w./+-]+\}|\([-\u2212]?[\w./+-]+\))"
_OPERATION = rf"(?:\s?(?:\*\*|[/^:*\u00d7\u00b7\u00f7]|\\(?:times|cdot)(?![a-z]))\s?{_EXPONENT}|\sx\s?10\^{_EXPONENT})"
_UNIT = rf"(?:\s?\\?%|\s(?:percent|{'|'.join(SCALES)})\b)"
_VALUE = rf"(?:{_NUMBER} \d+/\d+|{_NUMBER}{_OPERATION}*){_UNIT}?"
_LARGE = "hours?|minutes?|days?|weeks?|years?|feet|foot|dollars?"
_SMALL = "minutes?|seconds?|hours?|days?|months?|inch(?:es)?|cents?"
_COMPOUND = rf"{_NUMBER}\s(?:{_LARGE}),?\s(?:and\s)?{_NUMBER}\s(?:{_SMALL})\b"  # 5 hours and 30 minutes
_PLAIN = re.compile(rf"{_COMPOUND}|{_VALUE}(?:\s+or\s+(?:[a-z]\s*=\s*)?{_VALUE})*")

_GROUP = r"\{(?:[^{}]|\{[^{}]*\})*\}"
_LETTER = r"(?<![A-Za-z\\'\u2019])[A-Za-z](?![A-Za-z'\u2019\d])"
_SYMBOL = (
    rf"\\[cdt]?frac\s?(?:{_GROUP}|\d)\s?(?:{_GROUP}|\d)|\\sqrt\s?(?:\[\d+\])?(?:{_GROUP}|\d)|\\(?:pi|infty)(?![a-z])"
    rf"|(?:\u221a|(?<![A-Za-z\\])sqrt)\s?(?:\([^()\n]*\)|\w+)|(?<![A-Za-z\\])(?:sin|cos|tan|log|ln|exp)\s?\([^()\n]*\)"
    rf"|\u03c0|(?<![A-Za-z\\])pi(?![A-Za-z])|\u221e|(?<=\d)[xyz]{{2,3}}(?![A-Za-z])|{_LETTER}"
)
_POWER = rf"\s?(?:\^|\*\*)\s?(?:{_EXPONENT}|{_LETTER})"
_BRACKET = r"\((?:[^()\nA-Za-z]|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))+\)"
_FACTOR = rf"(?:{_SYMBOL}|(?<![\d.^_A-Za-z]){UNSIGNED}|{_BRACKET})(?:{_POWER})?"
_BETWEEN = r"(?:\s?(?:\*\*|[-+*/\u00d7\u00b7\u00f7\u2212])\s?|\s(?=\u03c0|pi\b|\u221a|sqrt\b|\\(?:pi|sqrt)\b))?"
_RUN = re.compile(rf"(?:{_MINUS})?{_FACTOR}(?:{_BETWEEN}{_FACTOR})*")
_MEMBER = rf"[-+\u2212]?(?:\u221e|\\infty|{_VALUE}|(?:\d+\s?)?(?:\u03c0|\u221a\d+)|{_LETTER})"
_ONE_TUPLE = rf"\\?[(\[{{]\s*{_MEMBER}(?:\s*,\s*{_MEMBER})+\s*\\?[)\]}}]"
_TUPLE = re.compile(rf"{_ONE_TUPLE}(?:\s*(?:,|and|or|\u222a|U|\\cup)\s*{_ONE_TUPLE})*")

_NEXT = r"\s*(?:,\s*(?:and|or)\b|,|\band\b|\bor\b)\s*"
_SOLUTIONS = re.compile(  # x = 5 and x = -3, x_1 = 5, x_2 = -3, x = 2, 3 and 5
    rf"(?P<x>{_LETTER})(?:_\{{?\d\}}?)?\s?=\s?{_VALUE}"
    rf"(?:{_NEXT}(?:(?P=x)(?:_\{{?\d\}}?)?\s?=\s?{_VALUE}|{_VALUE}(?!\s*(?!and\b|or\b)[\w=+*/^\\-])))+"
)

_SIGN = r"\s?(?:[<>]=?|[\u2264\u2265\u2260])\s?"
_RELATION = re.compile(rf"(?:{_VALUE}{_SIGN})?{_LETTER}{_SIGN}{_VALUE}")  # 1 < x < 2

MATH = re.compile(
    r"\$\$(?P<a>[^$]+)\$\$"
    r"|\\\[(?P<b>(?:[^\\]|\\[^\[\]])+)\\\]"
    r"|\\\((?P<c>(?:[^\\]|\\[^()])+)\\\)"
    r"|(?<!\\)\$(?P<d>(?![\s\d,.]*\s(?!\\[A-Za-z]|[-+*/^=<>]))[^$\n]*?[^$\s\\])\$(?!\d)",
    re.DOTALL,
)
_THOUGHT = re.compile(r"<(/?)(?:think|thinking|thought)>", re.IGNORECASE)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_ANNOUNCED = re.compile(
    r"(?:\banswers?(?:\s+(?:to|of|for)\b[^.!?:\n]{0,80}?)?\s*(?:(?:\b(?:is|are|would\s+be|must\s+be|should\s+be))?\s*[:=]"
    r"|\b(?:is|are|would\s+be|must\s+be|should\s+be)\b|(?P<denied>\bisn['\u2019]t\b|\b(?:cannot|can['\u2019]t)\s+be\b))"
    r"|\bit(?:['\u2019]s|\s+is)\s+(?=\(?[A-J]\)?[.\s]*$)|\b(?:solutions|roots|zeros)\s+are\b\s*:?"
    r"|\b(?:correct|right|best)\s+(?:option|choice)\s*(?:\bis\b|:)"
    r"|\b(?:option|choice)\s+(?=\(?[A-J]\)?(?:[.\s]*$|\.\s|\s+is\s+(?:correct|right|true)\b))|####)\**\s*(?=(?P<rest>[^\n]+))",
    re.IGNORECASE,
)
_WORDS = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
_CHANGED = re.compile(  # words before a number after which the answer is another one
    r"(?i)\b(?:not|half|third|quarter|twice|double|triple|more|less|fewer|greater|larger|smaller|higher|lower|over|under"
    r"|above|below|between|least|most|minus|root|square|cube|sum|product|difference|multiple|factor)\b|n't\b"
)
_LABEL = re.compile(  # words right before a number that is not the answer
    r"(?i)\b(?:steps?|parts?|cases?|examples?|equations?|problem|question|method)\s*[#(]?$"
    r"|\bmod(?:ulo)?\s*$|\bwhen\s+divided\s+by\s*$|\b(?:rather\s+than|instead\s+of)\s*$"
)
_LETTERS = re.compile(
    r"\(?[A-J]\)?(?:\s*(?:,\s*and\b|,|\band\b|&)\s*\(?[A-J]\)?(?![A-Za-z]))*(?=[,.;:]|\s*$|\s+(?:as|because|since|is)\b)"
)
_LETTERED = re.compile(r"\(?(?P<letter>[A-J])[).:]\s*(?P<rest>\S.*)")
_DENIED = re.compile(  # not 8 but 7
    r"(?i)^not\b(?:[^.!?]|(?<=\d)\.(?=\d))*?(?:\bbut\b|[,;]\s*(?:rather\b|it(?:['\u2019]s|\s+is)\b))\s*"
)
_SEAL = re.compile(r"\s*\\(?:blacksquare|square|Box|qed|checkmark)\s*")  # what proofs end with
_NAME = re.compile(r"(?!Therefore|Thus|Hence|Then|So\b)[A-Z][a-z]+(?=,\s)")

# ------------------------------------------------------------------------------------------------ what it gives


def final_expression(text: str) -> str:
    """What a text gives as its answer, "" if nothing.

    The first of these that there is, and of it the last: \\boxed{}, several of them joined by "and" together; what
    stands in <answer></answer>, after "answer is", "answer:" or "####"; mathematics between $ $, \\( \\) or \\[ \\] in
    the last sentence that has a number or mathematics; a number, fraction, power, term, tuple or "a or b"; a line of
    words alone. Dollar signs of amounts are no mathematics: $5 and $7. Thoughts are left out (`without_thoughts`).
    """
    text = without_thoughts(text)
    boxes = _boxes(text)
    if boxes is not None:
        sentence = _ANNOUNCED.search(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", boxes))
        return _of_announcement(sentence["rest"]) if sentence else boxes
    text = _spelt(text)
    marked = [(match.start(), match[1], True) for match in _TAGGED.finditer(text)]
    for match in _ANNOUNCED.finditer(text):
        displayed = MATH.match(text, match.start("rest"))
        rest = displayed[0] if displayed and "\n" in displayed[0] else match["rest"]
        marked.append((match.start(), f"not {rest}" if match["denied"] else rest, False))
    if marked:
        _, found, whole = max(marked)
        return of_tag(found) if whole else _of_announcement(found)
    letter, after = lettered(text.strip())
    return f"{letter}) {_last(after)}" if letter else _last(text)


def right_expression(answer: str) -> str:
    """The answer of a data set as an expression: without a worked solution, a box, a sentence or dollar signs."""
    if "####" in answer:
        answer = answer.rsplit("####", 1)[-1]
    if "\\boxed" in answer:
        return _boxes(answer) or ""
    announced = list(_ANNOUNCED.finditer(answer))
    if announced:
        return _of_announcement(announced[-1]["rest"])
    match = MATH.fullmatch(answer.strip())
    return (_content(match) if match else answer).strip().strip("$").strip()


def without_thoughts(text: str) -> str:
    """A text without what stands in <think></think>: from the start if it is only closed, to the end if only opened."""
    kept: list[str] = []
    start, thinking = 0, False
    for tag in _THOUGHT.finditer(text):
        if tag[1] and not thinking:
            kept.clear()
        elif not thinking:
            kept.append(text[start : tag.start()])
        start, thinking = tag.end(), not tag[1]
    return " ".join(kept if thinking else [*kept, text[start:]])


def last_boxes(text: str) -> str:
    """The content of the last box, as `final_expression` reads it; "" without any."""
    return _boxes(text) or ""


def last_number(text: str) -> str:
    """The last number of a text as it is written, without commas and with a plain minus sign; "" without any."""
    numbers = list(_WRITTEN.finditer(text))
    return re.sub("[\u2212\u2013]", "-", numbers[-1][0].replace(",", "")) if numbers else ""


def of_tag(text: str) -> str:
    """The expression in a text that is known to be an answer: its mathematics, a sentence's value, or all of it."""
    text = text.strip()
    match = MATH.fullmatch(text)
    if match:
        return _content(match)
    words = [word for word in _WORDS.findall(text) if word.lower() not in ("or", "and")]
    if "\\" in text or not words or not re.search(r"\d", text):
        return text
    return final_expression(text) if len(words) > 1 else text


def lettered(text: str) -> tuple[str, str]:
    """The letter of a choice and what follows it: B) 12; "" and the text where there is none."""
    match = _LETTERED.fullmatch(text)
    return (match["letter"], match["rest"]) if match else ("", text)


# ----------------------------------------------------------------------------------------------------- in parts


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


def _spelt(text: str) -> str:
    """A text with its superscripts, halves and words of sign as they are read further: 10^2, 2 1/2, -7."""
    text = re.sub(r"__([^_\n]+)__", r"\1", powers_and_halves(text))
    return re.sub(r"(?i)(?<![\w)] )\b(?:negative|minus)\s+(?=[\d.$])|\bnegative\s+(?=[\d.$])", "-", text)


_HALVES = re.compile(r"(\d?)([\u00bc-\u00be\u2150-\u215e])([\u03c0\u221a]?)")
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
_RAISED = re.compile(rf"(?<=[\w)\]}}])(\u207b?)([{_SUPERSCRIPTS}]+)")


def powers_and_halves(text: str) -> str:
    text = _HALVES.sub(_halved, text).replace("\u2044", "/")
    return _RAISED.sub(_raised, text)


def _halved(match: re.Match[str]) -> str:
    """2\u00bd as 2 1/2, and \u00bd\u03c0 as (1/2)\u03c0."""
    whole, half, factor = match[1], normalize("NFKC", match[2]), match[3]
    return f"({f'{whole}+' if whole else ''}{half}){factor}" if factor else f"{whole} {half}"


def _raised(match: re.Match[str]) -> str:
    digits = ("-" if match[1] else "") + "".join(str(_SUPERSCRIPTS.index(sign)) for sign in match[2])
    return f"^{digits}" if len(digits) == 1 else f"^{{{digits}}}"


def _values(text: str, announced: bool = False) -> list[re.Match[str]]:
    """Tuples, inequalities, terms with letters and numbers, in their order; `announced`: sums of numbers, too."""
    found: list[re.Match[str]] = []
    for pattern in (_SOLUTIONS, _TUPLE, _RELATION, _RUN, _PLAIN):
        wanted = [match for match in pattern.finditer(text) if pattern is not _RUN or _is_term(match, announced)]
        found += _apart(wanted, found, text)
    return sorted(found, key=lambda match: match.start())


def _is_term(match: re.Match[str], announced: bool) -> bool:
    """Whether a run of numbers, letters and signs is a term: not a number alone, a unit after one, or letters."""
    run = re.sub(r"(?<=\d)[eE](?=[-+\d])|(?<=\d) x (?=10\^)", "", match[0])
    if announced and re.search(r"\d\s?\+\s?[\d.]|\d\s[-\u2212]\s[\d.]", run):
        return True
    if not re.search(r"[A-Za-z\u03c0\u221a\u221e]", run) or not re.search(r"[\d\u03c0\u221a\u221e\\]|pi", run):
        return False
    if re.fullmatch(rf"[-\u2212]?{UNSIGNED}\s?[mgshLl](?:/[a-z](?:\^2)?|\^[23])?", run):
        return False  # 3m, 5m/s
    return re.search(r"[\d%]\s$", match.string[max(0, match.start() - 2) : match.start()]) is None


def _is_math(match: re.Match[str]) -> bool:
    """Whether what stands between two signs is mathematics, not the text between two amounts of money."""
    if _SEAL.fullmatch(_content(match)):
        return False
    if match["d"] is None:
        return True
    bare = re.sub(r"\\(?:text|mathrm|mbox|textbf)\s*\{[^{}]*\}", "", match["d"])
    return not (_WORDS.search(bare) and re.search(r"\s", bare))


def _content(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None).strip()


def _apart(matches: list[re.Match[str]], others: list[re.Match[str]], text: str) -> list[re.Match[str]]:
    """The matches in a text that overlap none of the others."""
    taken = bytearray(len(text))
    for other in others:
        taken[other.start() : other.end()] = b"\1" * (other.end() - other.start())
    return [match for match in matches if not any(taken[match.start() : match.end()])]


def _last(text: str) -> str:
    """The last mathematics or value of a text without any mark."""
    math = [match for match in MATH.finditer(text) if _is_math(match)]
    plain = _apart(_values(text), math, text)
    plain = [match for match in plain if not _LABEL.search(text[max(0, match.start() - 20) : match.start()])]
    if math and (not plain or not re.search(r"[.!?]\s", text[math[-1].end() : plain[-1].start()])):
        return ", ".join(map(_content, _solutions(text, math)))
    if plain:
        return "" if re.fullmatch(r"\s*=[\s?]*", text[plain[-1].end() :]) else plain[-1][0].strip()
    alone = text.strip().strip("*").rstrip(".").strip()
    return "" if "\n" in alone or re.search(r"\d", alone) else alone


def _solutions(text: str, math: list[re.Match[str]]) -> list[re.Match[str]]:
    """The last of the mathematics, and what is before it as another solution: joined by "or", or of the same letter."""
    found = math[-1:]
    for match in math[-2::-1]:
        between = re.fullmatch(_NEXT, text[match.end() : found[0].start()])
        letters = [re.match(r"([A-Za-z])(?:_\{?\d\}?)?\s*=", _content(one)) for one in (match, found[0])]
        same = letters[0] and letters[1] and letters[0][1] == letters[1][1]
        if not between or not (same or "or" in text[match.end() : found[-1].start()]):
            break
        found.insert(0, match)
    return found


def _of_announcement(rest: str) -> str:
    """The answer in the rest of the line after "answer is", a choice with its text as B) 12."""
    rest = _DENIED.sub("", rest.strip().strip("*").strip('"\u201c\u201d '))
    rest = re.sub(r"(?i)^(?:option|choice)\s+", "", re.sub(r"^[-\u2212\u2013]\s+(?=[\d.])", "-", _spelt(rest)))
    letters = _LETTERS.match(rest)
    if letters and not _LETTERED.match(rest):
        return letters[0]
    letter, after = lettered(rest)
    return f"{letter}) {_of_sentence(after)}" if letter else _of_sentence(rest)


def _of_sentence(rest: str) -> str:
    """The mathematics, first values, or first words of what is announced."""
    math = [match for match in MATH.finditer(rest) if _is_math(match)]
    if math:
        _, end = _joined(rest, math)[0]
        return ", ".join(_content(match) for match in math if match.end() <= end)
    sentence = re.split(r"[.!?](?:\s|$)", rest)[0].strip()
    if "\\" in sentence:
        return re.split(r"\s+(?=(?!or\b|and\b)[A-Za-z]{2,}(?:\s|$))", sentence)[0]
    name = _NAME.match(sentence)
    if name:
        return name[0]
    groups = _joined(sentence, _values(sentence, announced=True))
    if groups:
        equals = sentence.rfind("=")
        start, end = next((group for group in groups if group[1] > equals), groups[0])
        before = sentence[max(0, equals if equals < start else 0) : start]
        if not _CHANGED.search(before):
            return sentence[start:end].strip()
    return sentence.rstrip(".,;")


def _joined(text: str, values: list[re.Match[str]]) -> list[tuple[int, int]]:
    """Where values stand; those that a comma, "and" or "or" joins are one: 2 and 5, x = 2 or x = 5."""
    groups: list[tuple[int, int]] = []
    for value in values:
        between = text[groups[-1][1] : value.start()] if groups else ""
        if groups and re.fullmatch(r"\s*(?:,\s*(?:and|or)\b|,|\band\b|\bor\b)\s*(?:[A-Za-z]\w*\s*=\s*)?", between):
            groups[-1] = (groups[-1][0], value.end())
        else:
            groups.append((value.start(), value.end()))
    return groups
