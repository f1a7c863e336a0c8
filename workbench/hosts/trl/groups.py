"""The groups of several generations as one batch of TRL, on one process or spread over several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.errors import InputError, few

Batch = dict[str, Any]  # of TRL, a row per completion
LEFT = ("prompt_ids", "prompt_mask")  # padded on the left
RIGHT = ("completion_ids", "completion_mask", "old_per_token_logps", "ref_per_token_logps",
         "sampling_per_token_logps", "importance_sampling_ratio", "tool_mask")  # fmt: skip
OF_ROWS = ("advantages", "old_logps")
TOTAL = "num_items_in_batch"


def joined(
    parts: Sequence[Batch], kept: NDArray[np.bool_], groups: int, rollouts: int, padding: int, accelerator: Any
) -> Batch:
    """The kept groups of several generations, `groups` of them, as this process's share of one batch.

    parts: what each generation gave this process. kept: (sum of B,) which of all processes' groups to train on. Where
    they are fewer than `groups`, rejected ones fill up with advantages of 0, as groups without contrast have in TRL.
    padding: the tokenizer's padding token.
    """
    odd = sorted({name for part in parts for name in part} - {*LEFT, *RIGHT, *OF_ROWS, TOTAL})
    if odd:
        raise InputError(f"gates: must not refill generations that have {few(odd)}, only text can be joined")
    chosen, rest = np.flatnonzero(kept), np.flatnonzero(~kept)
    order = np.concatenate([chosen, rest[: groups - len(chosen)]])
    rows = torch.from_numpy((order[:, None] * rollouts + np.arange(rollouts)).ravel())
    whole = {name: _column(name, [part[name] for part in parts], padding, accelerator)[rows.to(accelerator.device)]
             for name in parts[0] if name != TOTAL}  # fmt: skip
    whole["advantages"][len(chosen) * rollouts :] = 0.0
    share = len(rows) // accelerator.num_processes
    first = accelerator.process_index * share
    mine: Batch = {name: value[first : first + share] for name, value in whole.items()}
    if TOTAL in parts[0]:
        mask = whole["completion_mask"]
        mine[TOTAL] = (mask * whole["tool_mask"] if "tool_mask" in whole else mask).sum()
    return mine


def _column(name: str, parts: list[torch.Tensor], padding: int, accelerator: Any) -> torch.Tensor:
    """One tensor of all processes and generations, rows in the order of the groups."""
    fill = padding if name.endswith("_ids") else 1 if name == "tool_mask" else 0
    left = name in LEFT
    if accelerator.num_processes > 1:
        if name not in OF_ROWS:
            parts = [accelerator.pad_across_processes(part, dim=1, pad_index=fill, pad_first=left) for part in parts]
        parts = [accelerator.gather(part) for part in parts]
    if name not in OF_ROWS:
        width = max(part.shape[1] for part in parts)
        sides = [(width - part.shape[1], 0) if left else (0, width - part.shape[1]) for part in parts]
        parts = [torch.nn.functional.pad(part, side, value=fill) for part, side in zip(parts, sides, strict=True)]
    return torch.cat(parts)
