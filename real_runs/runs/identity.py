"""What a real run depends on, and what was left of it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from real_runs.runs.run import Run
from workbench import Controller
from workbench.errors import InputError
from workbench.pool import Pool
from workbench.study.identity import describe, git_commit

PACKAGES = ("torch", "transformers", "numpy", "safetensors")


def identity(run: Run, pool: Pool, parts: tuple[Any, list[Any]], policy: Any) -> dict[str, Any]:
    """All that a run depends on, as JSON values."""
    return {
        "run": asdict(run) | {"settings": dict(run.settings)},
        "rule": describe(parts[0]),
        "gates": [describe(gate) for gate in parts[1]],
        "pool": {"name": pool.name, "items": len(pool), "digest": pool.digest, "texts": texts_digest(pool)},
        "model": {"digest": policy.digest(), "trained": sum(p.numel() for p in policy.trainable)},
        "git_commit": git_commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {policy.model.device.type}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def texts_digest(pool: Pool) -> str:
    """Identity of the prompts and answers, which `Pool.digest` leaves out."""
    payload = pool.payload or {}
    text = json.dumps({name: [str(value) for value in payload[name]] for name in sorted(payload)})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def finished(out: Path, about: dict[str, Any]) -> bool:
    """Whether `out` holds the record of this very run."""
    path = out / "manifest.json"
    if not path.is_file():
        return False
    manifest = json.loads(path.read_text())
    return all(manifest.get(name) == about[name] for name in ("run", "rule", "gates", "pool", "model"))


def restore(folder: Path, about: dict[str, Any], controller: Controller, learner: Any, record: Any) -> int:
    """Load the last sound checkpoint; returns its step, 0 if there is none."""
    from real_runs.runs import checkpoint

    found = checkpoint.load(folder, lambda line: print(line, file=sys.stderr))
    if found is None:
        return 0
    step, state, notes = found
    for name in ("run", "rule", "gates", "pool", "model"):
        if notes[name] != about[name]:
            raise InputError(f"--resume: must continue the same {name}, got {about[name]} for {notes[name]}")

    def part(of: str) -> dict[str, Any]:
        return {key.split(".", 1)[1]: value for key, value in state.items() if key.startswith(f"{of}.")}

    controller.load_state_dict(part("controller"))
    learner.load_state_dict(part("learner"))
    record.load_state_dict(part("record"))
    return step
