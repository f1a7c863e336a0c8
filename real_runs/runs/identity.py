"""The identity of a real run, finished records and checkpoints of it, and the code that computed them."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import workbench
from real_runs.runs.finished import read_finished, read_manifest
from real_runs.runs.record import MANIFEST
from real_runs.runs.run import Run
from real_runs.tasks.prompting import AS_IT_IS
from real_runs.tasks.task import Task
from workbench import Controller
from workbench.errors import InputError, shown
from workbench.files import DamagedFile
from workbench.pool import Pool
from workbench.study.commit import git_commit
from workbench.study.identity import describe, digest_of_files, outside_classes, outside_sources

if TYPE_CHECKING:
    from real_runs.rl.learner import HeldOut

PACKAGES = ("torch", "transformers", "numpy", "safetensors")
DEPENDS = ("run", "rule", "gates", "pool", "model", "prompting", "heldout")  # what the same runs share; the code apart
LIBRARY = ("streams", "lanes", "kernels", "tables", "pool", "loop", "registry", "controllers")  # modules and packages
OURS = ("rl", "tasks", "runs")
SHIPPED = ("workbench", "real_runs")
OTHER_CODE = "--any-code"  # the option that takes results of other code


def identity(
    run: Run, pool: Pool, heldout: HeldOut, parts: tuple[Any, list[Any]], task: Task, policy: Any
) -> dict[str, Any]:
    """All that a run depends on, as JSON values."""
    return {
        "run": asdict(run) | {"settings": dict(run.settings)},
        "rule": describe(parts[0]),
        "gates": [describe(gate) for gate in parts[1]],
        "pool": {"name": pool.name, "items": len(pool), "digest": pool.digest, "texts": texts_digest(pool.payload)},
        "heldout": {"items": len(heldout.prompts), "texts": texts_digest(vars(heldout))},
        "model": {"digest": policy.digest(), "trained": sum(p.numel() for p in policy.trainable)},
        "prompting": policy.prompting.as_json(),
        "code": code_of((parts[0], *parts[1]), task),
        "git_commit": git_commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {policy.model.device.type}",
        "products": policy.dtype,  # which --dtype auto is asked for on each machine
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def code_of(parts: Sequence[Any], task: Task) -> dict[str, str]:
    """Digests of the source that a run depends on: this project's, and each outside module's that it names.

    parts: the rule and the gates. Outside: what neither `workbench` nor `real_runs` defines. An outside module's digest
    covers the whole package that it is in and all that is imported there (`workbench.study.identity.outside_sources`).
    """
    modules = {cls.__module__ for cls in outside_classes(*parts)} | set(task.modules)
    outside = sorted(name for name in modules if name.split(".")[0] not in SHIPPED)
    return {"project": project_digest()} | outside_sources(outside, apart=_roots(), whole=True)


def _roots() -> tuple[Path, Path]:
    """The folders of `workbench` and `real_runs`."""
    return Path(workbench.__file__).resolve().parent, Path(__file__).resolve().parents[1]


@cache
def project_digest() -> str:
    """SHA-256, shortened, over the source files of `workbench` and `real_runs` that a run depends on."""
    files = {}
    for root, names in zip(_roots(), (LIBRARY, OURS), strict=True):
        for name in names:
            package = root / name
            for file in sorted(package.rglob("*.py")) if package.is_dir() else [root / f"{name}.py"]:
                files[f"{root.name}/{file.relative_to(root)}"] = file
    return digest_of_files(files)


def texts_digest(payload: Mapping[str, Any] | None) -> str:
    """Identity of columns of prompts and answers, which `Pool.digest` leaves out."""
    columns = payload or {}
    text = json.dumps({name: [str(value) for value in columns[name]] for name in sorted(columns)})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def key_of(about: Mapping[str, Any]) -> str:
    """The key of a run's checkpoints."""
    from real_runs.runs.checkpoint import run_key

    return run_key({name: about[name] for name in DEPENDS})


def same_run(there: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether the notes of a checkpoint or a manifest are of this run, whatever code computed it."""
    return all(as_now(there, name, about) == about[name] for name in DEPENDS)


def as_now(there: Mapping[str, Any], name: str, about: Mapping[str, Any] | None = None) -> Any:
    """An entry of older notes; options that are newer had their defaults, and prompts were as they are.

    about: of this run, whose held-out problems older notes, which do not name them, are taken to have had.
    """
    if name == "heldout" and name not in there and about is not None:
        return about[name]
    if name == "prompting" and name not in there:
        return AS_IT_IS.as_json()
    value = there.get(name)
    return asdict(Run()) | {"settings": {}} | dict(value) if name == "run" and isinstance(value, Mapping) else value


def check_same(field: str, must: str, where: object, there: Any, mine: Any) -> None:
    """InputError that names the first setting in which what is `there` differs from `mine`, and both values."""
    if (found := _difference("", there, json.loads(json.dumps(mine)))) is not None:
        name, had, have = found
        told = f"{name} {shown(had)}" if name else shown(had)
        raise InputError(f"{field}: must {must}, but {where} has {told}, not {shown(have)}")


def _difference(name: str, had: Any, have: Any) -> tuple[str, Any, Any] | None:
    """Name and values of the first entry, at any depth, in which two JSON values differ; None if they are equal."""
    if not (isinstance(had, Mapping) and isinstance(have, Mapping)):
        return None if had == have else (name, had, have)
    for key in dict.fromkeys([*have, *had]):
        full = f"{name}.{key}" if name else key
        if (key in had) != (key in have):
            return full, had.get(key), have.get(key)
        if (found := _difference(full, had[key], have[key])) is not None:
            return found
    return None


def check_code(field: str, there: Mapping[str, Any], about: Mapping[str, Any], what: str, any_code: bool) -> None:
    """InputError if something was computed by other code than today's, unless `any_code`."""
    had, have = there.get("code"), about["code"]
    had = had if isinstance(had, Mapping) else {}
    differ = [name for name in have if had.get(name) != have[name]]
    if differ and not any_code:
        name = differ[0]
        told = " ".join(str(had.get(name, "of an earlier version")).split())[:80]
        raise InputError(
            f"{field}: must be of the same code, but {what} has {name} {told}, not "
            f"{have[name]}; {OTHER_CODE} takes it nevertheless"
        )


def finished(
    out: Path, run: Run, about: dict[str, Any], warn: Callable[[str], object], any_code: bool = False
) -> bool:
    """Whether `out` holds the record of this very run, whole. InputError if other code made it, unless `any_code`.

    warn: told, in a line, of a damaged record, which is then written again.
    """
    try:
        manifest = read_manifest(out)
        if manifest is None or not same_run(manifest, about):
            return False
        check_code("--resume", manifest, about, str(out / MANIFEST), any_code)
        read_finished(out, manifest, run)
    except DamagedFile as error:
        warn(f"the record of the run is damaged and will be written again: {error}")
        return False
    return True


def restore(
    folder: Path, about: dict[str, Any], controller: Controller, learner: Any, record: Any,
    warn: Callable[[str], object], any_code: bool = False,
) -> int:  # fmt: skip
    """Load the last sound checkpoint of this run; returns its step, 0 if there is none.

    warn: told, in a line, of damaged checkpoints and of those of other runs, which are left. Raises InputError, in one
    line, where the folder holds those of another run only, where other code made this run's, unless `any_code`, and
    where the state of one is not a run's.
    """
    from real_runs.runs import checkpoint

    run = key_of(about)
    checkpoint.adopt(folder, run, lambda notes: same_run(notes, about))
    found = checkpoint.load(folder, run, warn)
    others = checkpoint.others(folder, run)
    if found is None:
        for path in others:
            if notes := checkpoint.notes_of(path):
                for name in DEPENDS:
                    check_same("--resume", f"continue the same {name}", path, as_now(notes, name, about), about[name])
                raise InputError(f"--resume: must find the checkpoints of this run by their names, got {path}")
    if others:
        warn(f"{folder}: {len(others)} files are not of this run and are left as they are (first {others[0].name})")
    if found is None:
        return 0
    check_code("--resume", found.notes, about, f"the checkpoint of step {found.step}", any_code)

    def part(of: str) -> dict[str, Any]:
        return {key.split(".", 1)[1]: value for key, value in found.state.items() if key.startswith(f"{of}.")}

    try:
        for name, taker in (("controller", controller), ("learner", learner), ("record", record)):
            taker.load_state_dict(part(name))
        if not controller.step == learner.updates == len(record.steps) == found.step:
            raise InputError(f"step: must be {controller.step}, as the controller's, got {found.step}")
    except InputError as error:
        raise InputError(f"--resume: must continue from a run's state, got {found.path} ({error}); once it is "
                         "removed, the one before it is used") from None  # fmt: skip
    return found.step
