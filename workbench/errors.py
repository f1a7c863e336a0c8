"""Errors that a command reports in one line before it exits: for bad input the field, its domain and the value."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST = 10**9  # of anything that is counted: beyond it, time and memory end first
MOST_THREADS = 1024  # of a processor, and worker processes: more cost memory and win no time
MOST_ATTEMPTS = 2**27  # of one update, simulated: each takes several bytes, a few times over
MOST_STEPS = 10**7  # updates of one run: beyond it, time ends first
MOST_WINDOW = 10_000  # values that a rule looks back at: all of them are kept, in every lane
MOST_SKILLS = 256  # of a learner: each pair has its entry in a matrix
LARGEST = 1e6  # of a hyper-parameter that has no upper end by its meaning: beyond it, rounding eats what it is added to
SMALLEST = 1e-6  # of one that divides
LOGITS = 1000.0  # of skill and difficulty, either way: beyond 80 all is solved, or nothing


NO_ARRAY = (TypeError, ValueError, OverflowError, RuntimeError)  # what values raise of which none can be made


class InputError(ValueError):
    """Bad input, named in one line: field, allowed domain, value."""


class WorkerError(RuntimeError):
    """A worker process died; finished results are kept."""


def check_number(
    field: str,
    value: ArrayLike,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    whole: bool = False,
) -> None:
    """Raise InputError unless every entry of `value` is a finite (or whole) number in the interval from low to high."""
    domain = _interval(low, high, open_low, open_high)
    domain = domain.replace("a ", "a whole ", 1) if whole else domain
    if isinstance(value, (list, tuple)):
        raise InputError(f"{field}: must be {domain}, or a NumPy array with one per lane, got {shown(value)}")
    given = as_array(field, value, domain)
    if given.dtype.kind not in "iuf":
        raise InputError(f"{field}: must be {domain}, got {shown(value)}")
    x = given.astype(np.float64)
    above = x > low if open_low else x >= low
    below = x < high if open_high else x <= high
    bad = np.atleast_1d(~(above & below & np.isfinite(x)) | (whole & (x != np.floor(x))))
    if x.ndim > 1 or x.size == 0:
        raise InputError(f"{field}: must be {domain}, or one per lane, got shape {x.shape}")
    if bad.any():
        raise InputError(f"{field}: must be {domain}, got {np.atleast_1d(x)[bad][0]}")


def check_one_number(field: str, value: Any, low: float = -np.inf, high: float = np.inf, **how: bool) -> None:
    """`check_number` for a value that is one number, not an array of them."""
    if np.ndim(as_array(field, value, _interval(low, high, False, False))):
        raise InputError(f"{field}: must be one number, got {shown(value)}")
    check_number(field, value, low, high, **how)


def as_array(field: str, value: Any, domain: str) -> NDArray[Any]:
    """`value` as an array; InputError for masked arrays, for lists of different lengths, and for what none can hold."""
    try:
        if not holds_masked(value):
            return np.asarray(value)
    except NO_ARRAY:
        raise InputError(f"{field}: must be {domain}, got {shown(value)}") from None
    raise InputError(f"{field}: must be {domain}, got a masked array: fill it or drop what is masked")


def holds_masked(value: Any) -> bool:
    """Whether it is a masked array, or a list with one or with masked entries: NumPy makes NaN of them."""
    if not isinstance(value, (list, tuple)):
        return isinstance(value, np.ma.MaskedArray)
    kinds = set(map(type, value))
    lists = any(issubclass(kind, (list, tuple)) for kind in kinds)
    return any(issubclass(kind, np.ma.MaskedArray) for kind in kinds) or (lists and any(map(holds_masked, value)))


def as_numbers(field: str, value: Any, domain: str = "numbers") -> NDArray[np.float64]:
    """`value` as float64 of any shape; InputError for what is no real number: text, dates, complex numbers, blanks."""
    given = as_array(field, value, domain)
    if given.dtype.kind not in "biufO":
        raise InputError(f"{field}: must be {domain}, got {shown(value)}")
    odd = [entry for entry in given.flat if not isinstance(entry, (Real, Decimal))] if given.dtype.kind == "O" else []
    try:
        if not odd:
            return given.astype(np.float64)
    except NO_ARRAY:
        odd = [value]
    raise InputError(f"{field}: must be {domain}, got {shown(odd[0])}")


def check_text(field: str, value: Any) -> None:
    """Raise InputError unless `value` is text that UTF-8 can hold."""
    if not isinstance(value, str):
        raise InputError(f"{field}: must be text, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{field}: must be text that UTF-8 can hold, got {shown(value)}") from None


def check_names(field: str, value: Any, size: int) -> None:
    """Raise InputError unless `value` is a list of `size` texts."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != size:
        raise InputError(f"{field}: must be a list of {size} names, got {shown(value)}")
    for entry in value:
        check_text(field, entry)


def check_count(field: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """`value` as int, or InputError unless it is a whole number in [low, high]; without high, in [low, MOST]."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    most = MOST if high is None else high
    if not whole or not low <= value <= most:
        open_end = high is None and not (whole and value > most)
        domain = f"a whole number >= {low}" if open_end else f"a whole number in [{low}, {bound(most)}]"
        raise InputError(f"{field}: must be {domain}, got {shown(value)}")
    return int(value)


def check_attempts(batch: int, rollouts: int, most: int = MOST_ATTEMPTS) -> None:
    """Raise InputError unless the attempts of one update, batch x rollouts, are at most `most`."""
    if batch * rollouts > most:
        got = batch * rollouts
        raise InputError(f"batch x rollouts: must be <= {bound(most)}, what memory holds of one update, got {got}")


def check_choice(field: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raise InputError unless `value` is one of the allowed names."""
    if value not in allowed:
        raise InputError(f"{field}: must be one of {', '.join(allowed)}, got {shown(value)}")


def check_flag(field: str, value: Any) -> None:
    """Raise InputError unless `value` is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{field}: must be True or False, got {shown(value)}")


def check_kind(field: str, value: Any, kind: type, example: str) -> None:
    """Raise InputError unless `value` is an object of the class `kind`; `example` says how one is written."""
    if isinstance(value, kind):
        return
    instead = f"{example}, got {shown(value)}"
    if isinstance(value, type) and issubclass(value, kind):
        instead = f"an object, {value.__name__}(), got the class {value.__name__}"
    elif isinstance(value, str):
        instead = f"{example}, got the name {shown(value)}: names are for Study and the command lines"
    raise InputError(f"{field}: must be {instead}")


def shown(value: object, most: int = 80) -> str:
    """A value as an error shows it: its repr on one line, cut after `most` characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # Python does not write out numbers of thousands of digits; an object's own repr may fail
        text = f"a {type(value).__name__} that cannot be written out"
    return text if len(text) <= most else text[: most - 3] + "..."


def shown_path(path: object) -> str:
    """A path as an error shows it, whole unless it is longer than paths are."""
    return shown(str(path), 300)


def few(names: list[str], most: int = 5) -> str:
    """The first `most` names as an error shows them, and how many more there are."""
    return ", ".join(map(shown, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def bound(value: float) -> str:
    """An end of a domain as messages and the reference write it: 0.5, 131072, 1e6."""
    text, _, exponent = f"{value:g}".partition("e")
    if float(f"{value:g}") != value:
        return f"{value}"
    return f"{text}e{int(exponent)}" if exponent else text


def _interval(low: float, high: float, open_low: bool, open_high: bool) -> str:
    if np.isinf(low) and np.isinf(high):
        return "a finite number"
    if np.isinf(high):
        return f"a number {'>' if open_low else '>='} {bound(low)}"
    if np.isinf(low):
        return f"a number {'<' if open_high else '<='} {bound(high)}"
    return f"a number in {'(' if open_low else '['}{bound(low)}, {bound(high)}{')' if open_high else ']'}"
