"""The Hugging Face hub: asked whether it answers before a package asks for minutes, no more where it falls silent."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SECONDS = 5.0  # until an answer of any kind
NO_ANSWER = (502, 503, 504)  # of a proxy, for a hub behind it that does not answer
TRIES = 3  # times HF_HUB_DOWNLOAD_TIMEOUT, 10 seconds by default: so long may a hub that answered be silent
XET = {"HF_XET_CLIENT_READ_TIMEOUT": "10s", "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": str(TRIES)}  # of the hub's large files
PROGRESS = 10 * 2**20  # bytes of an answer that is not whole: packages keep no less of a try that ends in silence


@dataclass
class Hub:
    """silence: what to say of a hub that does not answer, or no longer does; '' of one that does."""

    silence: str = ""


@contextmanager
def asked_once() -> Iterator[Hub]:
    """Within it packages ask the hub where it answers; otherwise they take only what they fetched before, at once.

    They ask no more of a hub that falls silent for half a minute (TRIES); its store of large files, hf_xet, has two
    minutes. Needs huggingface_hub.
    """
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils import _http
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    places: list[Any] = [constants]
    if "datasets.config" in sys.modules:
        places.append(sys.modules["datasets.config"])
    before = [place.HF_HUB_OFFLINE for place in places]
    wait = constants.HF_HUB_DOWNLOAD_TIMEOUT
    hub = Hub()
    waiting = math.inf  # since when: the first question after the hub last answered
    received = -math.inf  # when an answer last came whole, a large part of one or a refusal

    def silent(reason: str) -> None:
        hub.silence = (
            f"{constants.ENDPOINT} cannot be reached: {reason}; give a folder with its files, fetched elsewhere, or "
            "the address of a mirror in HF_ENDPOINT"
        )
        for place in places:
            place.HF_HUB_OFFLINE = True

    def asked(request: Any) -> None:
        nonlocal waiting
        now, since = time.monotonic(), waiting  # read once: another thread may change it
        if now - since > TRIES * wait:
            silent(f"it fell silent for {now - since:.0f} seconds")
        if since == math.inf:
            waiting = now
        limits = request.extensions.get("timeout", {})  # some questions of packages have none
        request.extensions["timeout"] = {name: wait if limit is None else limit for name, limit in limits.items()}

    def answered(response: Any) -> None:
        nonlocal waiting, received
        since, waiting = waiting, math.inf
        pieces = response.iter_raw

        def read(*size: Any, **named: Any) -> Iterator[bytes]:
            nonlocal waiting, received
            count = 0
            try:
                for piece in pieces(*size, **named):
                    count += len(piece)
                    if count >= PROGRESS:
                        received = time.monotonic()
                    yield piece
                received = time.monotonic()
            except Exception:  # it stopped: no answer, unless another one came meanwhile
                waiting = min(waiting, max(since, received))
                raise

        if response.status_code >= 400:  # what refuses is an answer, read or not
            received = time.monotonic()
        else:
            response.iter_raw = read

    if reason := _silence():
        silent(reason)
    make, level = _http._GLOBAL_CLIENT_FACTORY, get_verbosity()

    def client() -> Any:
        made = make()
        hooks = made.event_hooks
        made.event_hooks = {"request": [asked, *hooks["request"]], "response": [*hooks["response"], answered]}
        return made

    set_client_factory(client)  # a client that cannot connect is replaced by a new one
    set_verbosity(logging.ERROR)  # without its lines on each try
    added = XET.keys() - os.environ.keys()
    os.environ.update({name: XET[name] for name in added})
    try:
        yield hub
    finally:
        for name in added:
            del os.environ[name]
        set_client_factory(make)
        set_verbosity(level)
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _silence() -> str:
    """Why the hub does not answer, '' where it does."""
    from huggingface_hub import constants

    reasons: list[str] = []
    asking = threading.Thread(target=lambda: reasons.append(_answer(constants.ENDPOINT)), daemon=True)
    asking.start()
    asking.join(SECONDS)  # looking up a name has no limit of its own
    return reasons[0] if reasons else f"no answer in {SECONDS:g} seconds"


def _answer(address: str) -> str:
    """Why an address does not answer, '' where it does."""
    from huggingface_hub import get_session

    try:
        status = get_session().head(address, timeout=SECONDS).status_code
    except Exception as error:  # of the package that it asks with, another one in each of its releases
        return " ".join(str(error).split())[:200] or type(error).__name__
    return f"status {status}" if status in NO_ANSWER else ""
