"""The Hugging Face hub: asked whether it answers, before a package asks it for minutes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SECONDS = 5.0  # until an answer of any kind
NO_ANSWER = (502, 503, 504)  # of a proxy, for a hub behind it that does not answer


@contextmanager
def asked_once() -> Iterator[str]:
    """Within it packages ask the hub where it answers; otherwise they take only what they fetched before, at once.

    Gives what to say of a hub that does not answer, '' where it does. Needs huggingface_hub.
    """
    said = _silence()
    if not said:
        yield ""
        return
    from huggingface_hub import constants

    places: list[Any] = [constants]
    if "datasets.config" in sys.modules:
        places.append(sys.modules["datasets.config"])
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield said
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _silence() -> str:
    from huggingface_hub import constants

    reasons: list[str] = []
    asking = threading.Thread(target=lambda: reasons.append(_answer(constants.ENDPOINT)), daemon=True)
    asking.start()
    asking.join(SECONDS)  # looking up a name has no limit of its own
    reason = reasons[0] if reasons else f"no answer in {SECONDS:g} seconds"
    return reason and (
        f"{constants.ENDPOINT} cannot be reached: {reason}; give a folder with its files, fetched elsewhere, or the "
        "address of a mirror in HF_ENDPOINT"
    )


def _answer(address: str) -> str:
    """Why an address does not answer, '' where it does."""
    from huggingface_hub import get_session

    try:
        status = get_session().head(address, timeout=SECONDS).status_code
    except Exception as error:  # of the package that it asks with, another one in each of its releases
        return " ".join(str(error).split())[:200] or type(error).__name__
    return f"status {status}" if status in NO_ANSWER else ""
