"""The methods of TRL that are overridden here, most of them private."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.errors import InputError
from workbench.hosts.seam import check_methods

VERSIONS = "1.16"  # major and minor
RANGE = ">= 1.16, < 1.17"
SEAM = {  # their parameters
    "_generate_and_score_completions": ("self", "inputs"),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_save_checkpoint": ("self", "model", "trial"),
    "log": ("self", "logs", "start_time"),
    "train": ("self", "resume_from_checkpoint", "trial", "ignore_keys_for_eval"),
}


def import_trl() -> tuple[Sequence[type], str]:
    """TRL's trainers that can be steered, and its version; InputError where TRL is not installed."""
    try:
        import trl
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "trl":
            raise
        raise InputError(f"trl: must be installed, {RANGE}: pip install 'trl=={VERSIONS}.*'") from None
    return (trl.GRPOTrainer, trl.RLOOTrainer), str(trl.__version__)


def check_seam(trainers: Sequence[Any], version: str) -> None:
    """InputError unless TRL's version is in RANGE and its trainers have the methods of SEAM, parameter by parameter."""
    found = f"trl: must be {RANGE}, whose private methods are overridden here, got {version}"
    if version.split(".")[:2] != VERSIONS.split("."):
        raise InputError(found)
    for trainer in trainers:
        check_methods(found, trainer, SEAM)
