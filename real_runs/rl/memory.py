"""How many tokens a pass may hold: bounds of memory that a model picks for itself."""

from __future__ import annotations

from typing import Any

import torch

PASS_BYTES = 2**30  # of activations in one training pass, and of keys, values and logits in one call of sampling
PIECE_BYTES = 2**26  # of logits in float32, of which a few copies are there at a time
SMALL = 2**24  # parameters below which the weights stay in a processor's cache
SMALL_PASS = 1024  # tokens: of a small model, activations that stay in the cache are twice as fast


def micro_tokens(model: Any) -> int:
    """Prompt and completion tokens in one training pass.

    A token's activations are taken as 16 vectors of the hidden width and 6 of the inner width per layer, in float32.
    """
    config = model.config.get_text_config()
    if model.device.type == "cpu" and model.num_parameters() < SMALL:
        return SMALL_PASS
    hidden, layers = config.hidden_size, config.num_hidden_layers
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden
    return max(SMALL_PASS // 4, _bytes(model) // int(4 * layers * (16 * hidden + 6 * inner)))


def sample_tokens(model: Any, limit: int) -> int:
    """Prompt and completion tokens that are sampled at a time, `limit` of them in a completion.

    A token's keys and values are taken in float32 and as wide as the hidden states; a sequence has 4 rows of logits.
    """
    config = model.config.get_text_config()
    per_token = 4 * 2 * config.hidden_size * config.num_hidden_layers
    logits = 4 * 4 * model.get_input_embeddings().num_embeddings
    return max(2 * limit, int(_bytes(model) / (per_token + logits / limit)))


def piece_tokens(model: Any) -> int:
    """Completion tokens whose logits are there at a time."""
    return max(16, PIECE_BYTES // (4 * int(model.get_input_embeddings().num_embeddings)))


def _bytes(model: Any) -> int:
    """PASS_BYTES, or on a GPU a quarter of the memory that is free there."""
    if model.device.type != "cuda":
        return PASS_BYTES
    return max(PASS_BYTES, int(torch.cuda.mem_get_info(model.device)[0]) // 4)
