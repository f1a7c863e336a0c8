"""Settings of a TRL trainer that fit a controller."""

from __future__ import annotations

from typing import Any

from workbench.errors import InputError


def check_settings(args: Any, gated: bool) -> None:
    """InputError unless a controller can steer a trainer with these settings. gated: whether it has gates."""
    if args.max_steps < 1:
        raise InputError(f"max_steps: must be >= 1, as a controller knows no epochs, got {args.max_steps}")
    if args.auto_find_batch_size:
        raise InputError("auto_find_batch_size: must be False, as the rule is to see batches of one size, got True")
    if not gated:
        return
    whole_batch = {  # advantages that depend on groups which gates may reject
        "scale_rewards": ("batch", "'group' or 'none'"),
        "multi_objective_aggregation": ("normalize_then_sum", "'sum_then_normalize'"),
        "normalize_advantages": (True, "False"),
    }
    for name, (refused, allowed) in whole_batch.items():
        if getattr(args, name, None) == refused:
            raise InputError(f"{name}: must be {allowed} with gates, which reject groups, got {refused!r}")
