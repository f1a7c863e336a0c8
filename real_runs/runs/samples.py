"""Completions of held-out problems that a run keeps for people to read: of its first evaluation and of its last.

They are text of a model: shown, never executed. A run without the file is as good as one with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from workbench.errors import InputError, shown
from workbench.files import DamagedFile, read_whole
from workbench.tables.written import damaged

SAMPLES = "samples.json"
OF_LEVEL = 2  # right ones of a level and evaluation, and as many wrong ones
LONGEST = 2000  # characters of a text; of longer ones the beginning and the end
KINDS = {"step": int, "stratum": int, "right": bool, "prompt": str, "completion": str, "answer": str}
MOST = 400  # samples of a run


def chosen(
    step: int, stratum: ArrayLike, right: ArrayLike, prompts: Sequence[str], completions: Sequence[str],
    answers: Sequence[str],
) -> list[dict[str, Any]]:
    """Of each stratum the first OF_LEVEL problems that were solved in the evaluation after `step`, and as many that
    were not. All sequences have a value per held-out problem."""
    kept: list[dict[str, Any]] = []
    taken: dict[tuple[int, bool], int] = {}
    levels, solved = np.asarray(stratum), np.asarray(right)
    for row in np.argsort(levels, kind="stable"):
        place = int(levels[row]), bool(solved[row])
        taken[place] = taken.get(place, 0) + 1
        if taken[place] <= OF_LEVEL:
            texts = {"prompt": prompts[row], "completion": completions[row], "answer": answers[row]}
            kept.append({"step": step, "stratum": place[0], "right": place[1]}
                        | {name: shortened(str(text)) for name, text in texts.items()})  # fmt: skip
    return kept[:MOST]


def joined(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples of the first evaluation, and those of the one now."""
    first = min((sample["step"] for sample in before), default=None)
    return [sample for sample in before if sample["step"] == first] + now


def shortened(text: str, most: int = LONGEST) -> str:
    """A text that UTF-8 can hold, the middle left out where it has more than `most` characters."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    half = most // 2
    return whole if len(whole) <= most else f"{whole[:half]}\n[{len(whole) - 2 * half} characters]\n{whole[-half:]}"


def sound(value: Any) -> bool:
    """Whether this is a list of samples as `chosen` gives them."""
    return isinstance(value, list) and len(value) <= 2 * MOST and all(
        isinstance(one, dict) and one.keys() == KINDS.keys() and all(type(one[k]) is kind for k, kind in KINDS.items())
        for one in value
    )  # fmt: skip


def check_samples(field: str, value: Any) -> list[dict[str, Any]]:
    """`value`, or InputError unless it is a list of samples."""
    if not sound(value):
        raise InputError(f"{field}: must be samples of completions, got {shown(value)}")
    return list(value)


def as_bytes(samples: list[dict[str, Any]]) -> bytes:
    return (json.dumps(samples, indent=0) + "\n").encode()


def read_samples(folder: Path, manifest: Mapping[str, Any], digest_of: Any) -> list[dict[str, Any]]:
    """The samples of a run that ended in `folder`; none where an earlier version ran it. Raises DamagedFile for a file
    that is not as the manifest says."""
    path, digest = folder / SAMPLES, manifest.get("samples")
    if "samples" not in manifest:
        return []
    data = read_whole(path)
    if digest_of(data) != digest:
        raise DamagedFile(f"{path}: must be the file that the manifest has the digest of, got another")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise damaged(path, f"samples of completions, got {shortened(data.decode(errors='replace'))}") from None
    if not sound(found):
        raise damaged(path, f"samples of completions, got {shown(found)}")
    return list(found)
