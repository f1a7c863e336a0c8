"""The type of a model's matrix products. What is trained, and Adam's state, are float32 in any case."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from real_runs.rl.ways import DTYPES
from workbench.errors import InputError, check_choice

WORTH = 2**24  # parameters from which bfloat16 pays on a processor: casts cost a small model more than they save


def choose(dtype: str, device: torch.device, parameters: int, processor: Mapping[str, Any] | None = None) -> str:
    """"float32" or "bfloat16": `dtype` itself, or for "auto" what is faster on this device for a model of this size.

    auto is bfloat16 on a GPU, and on a processor that is faster at it (`pays`) where the model has at least WORTH
    parameters. processor: its capabilities, by default this one's. Raises InputError for bfloat16 on a
    GPU that lacks it.
    """
    check_choice("--dtype", dtype, DTYPES)
    if device.type == "cuda":
        there = torch.cuda.is_bf16_supported()
        if dtype == "bfloat16" and not there:
            raise InputError(f"--dtype: must be float32 or auto on {torch.cuda.get_device_name(device)}, got bfloat16")
        return dtype if dtype != "auto" else "bfloat16" if there else "float32"
    if dtype == "auto":
        asked = capabilities() if processor is None else processor
        return "bfloat16" if parameters >= WORTH and pays(asked) else "float32"
    return dtype


def said(asked: str, dtype: str, device: torch.device, parameters: int) -> str:
    """What a console is told: the type of matrix products, and for "auto" what it was chosen by."""
    if asked != "auto":
        return f"matrix products are in {dtype}"
    if device.type == "cuda":
        return f"matrix products are in {dtype}, on {torch.cuda.get_device_name(device)}"
    than = "is" if pays(capabilities()) else "is not"
    return f"matrix products are in {dtype}: {parameters:,} parameters, a processor that {than} faster in bfloat16"


def capabilities() -> Mapping[str, Any]:
    """What this processor can do, by name, as PyTorch detects it; nothing with releases that do not."""
    asked: Any = getattr(torch.cpu, "get_capabilities", dict)
    found: Mapping[str, Any] = asked()
    return found


def pays(processor: Mapping[str, Any]) -> bool:
    """Whether a processor of these capabilities is faster at products of bfloat16 numbers than at those of float32.

    True with AMX, and with the instructions of AVX-512 where they are not Intel's: an AMD Zen 4 does twice as many
    products with them, an Intel Xeon whose AMX is hidden half as many (166 and 327 GFLOP/s on two cores).
    """
    intel = str(processor.get("cpu_name", "")).startswith("Intel")
    return bool(processor.get("amx_bf16") or (processor.get("avx512_bf16") and not intel))


def arithmetic(device: torch.device, dtype: str, enabled: bool = True) -> contextlib.AbstractContextManager[Any]:
    """Matrix products in `dtype`, "float32" or "bfloat16"; the rest, and the parameters, stay float32.

    In one context a trained weight is converted once; a frozen one in each pass, unless it is held in bfloat16
    (`hold_frozen`). enabled: False for what must be
    float32 inside such a context. In bfloat16 a token's log-probability in training differs from that at sampling: on
    processors by 0.03 nats on average and 0.16 at most with SmolLM2-135M, by 0.004 and 0.084 with the random models of
    the tests; in float32 by 3e-5 at most.
    """
    wanted = enabled and dtype == "bfloat16"
    context: contextlib.AbstractContextManager[Any] = torch.autocast(device.type, torch.bfloat16, enabled=wanted)
    return context


def hold_frozen(model: Any) -> None:
    """Keep in bfloat16 only what lies frozen under adapters, and a frozen head: weights and biases of matrix products.

    These are the numbers that autocast would make of them in each pass, so products are the same to the last bit. A
    head that shares its weight with the embeddings gets one of its own. All else stays float32. From then on the model
    runs inside `arithmetic` in bfloat16 only.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module.get_base_layer() for module in model.modules() if isinstance(module, BaseTunerLayer)]
    head = model.get_output_embeddings()
    for layer in layers if head is None else [*layers, head]:
        for name, parameter in layer.named_parameters(recurse=False):
            if not parameter.requires_grad:
                setattr(layer, name, nn.Parameter(parameter.detach().bfloat16(), requires_grad=False))


@contextlib.contextmanager
def without_gradient(model: Any, dtype: str) -> Iterator[None]:
    """Passes of a model in `dtype` that leave no gradient. In one context each weight is converted once.

    Autocast keeps what it has converted of weights that require a gradient only: here, the frozen ones do for a while.
    """
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    try:
        with torch.no_grad(), arithmetic(model.device, dtype):
            for parameter in frozen if dtype == "bfloat16" else []:
                parameter.requires_grad_(True)
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
