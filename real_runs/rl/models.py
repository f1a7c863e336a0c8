"""Language models: the tiny one of this project, and any causal LM that transformers can load."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import os
import string
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from real_runs.rl import smollm2
from real_runs.rl.generate import Rollouts
from real_runs.rl.passes import SAME, Network, samples_as_it_trains
from real_runs.rl.precision import arithmetic, choose, hold_frozen
from real_runs.rl.stopping import Stop
from real_runs.rl.ways import DECODINGS
from real_runs.tasks.prompting import AS_IT_IS, Prompting
from workbench.errors import InputError, check_choice, shown_path
from workbench.files import check_folder
from workbench.hub import Hub, asked_once
from workbench.streams import Role, generator

BASE = Path(__file__).parents[1] / "base" / "tiny-llama"  # made by pretrain.py
CHARACTERS = string.digits + string.ascii_letters + string.punctuation + " \n"


def character_tokenizer() -> Any:
    """A token per printable ASCII character, <pad> and <eos>."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )


def tiny_llama(vocabulary: int) -> Any:
    """About 0.95 million parameters, random: draw them under a seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=160,
        intermediate_size=416,
        num_hidden_layers=3,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


@dataclass
class Policy:
    """A causal LM, its tokenizer, its trainable parameters, and how it samples.

    lora: whether only adapters are trained; the reference is then the model without them, and costs no copy, and with
    dtype "bfloat16" the weights under them are held in it (`precision.hold_frozen`). network: its passes.
    decoding: "auto", "eager" or "graph", see `generate`. prompting: how problems become what the model reads.
    """

    model: Any
    tokenizer: Any
    lora: bool = False
    decoding: str = "auto"
    dtype: str = "float32"
    prompting: Prompting = AS_IT_IS

    def __post_init__(self) -> None:
        check_choice("decoding", self.decoding, DECODINGS)
        self.pad: int = self.tokenizer.pad_token_id
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        listed = configured if isinstance(configured, list) else [configured]
        self.ends = sorted({end for end in [self.tokenizer.eos_token_id, *listed] if end is not None})
        text_config = self.model.config.get_text_config()
        vocabulary = self.model.get_input_embeddings().num_embeddings
        self.stop = Stop(self.tokenizer, self.prompting.stop, vocabulary) if self.prompting.stop else None
        self.context: int = getattr(text_config, "max_position_embeddings", 2**31)
        if self.lora and self.dtype == "bfloat16":
            _ = self.network  # passes are compared in float32
            hold_frozen(self.model)

    @functools.cached_property
    def network(self) -> Network:
        return Network.of(self.model)

    @torch.no_grad()
    def width(self) -> int:
        """Of the last hidden states, which a critic reads: some models project them to another width than the inner.

        InputError for a model that does not give them.
        """
        ids = torch.zeros(1, 1, dtype=torch.long, device=self.model.device)
        with self.autocast():
            out = self.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, output_hidden_states=True
            )
        if getattr(out, "hidden_states", None) is None:
            raise InputError(
                f"model: must give its last hidden states for a critic, got {type(self.model).__name__}; "
                "--algorithm grpo, rloo or reinforce++ have none"
            )
        return int(out.hidden_states[-1].shape[-1])

    @property
    def trainable(self) -> list[nn.Parameter]:
        return [parameter for _, parameter in self.named_trainable()]

    def named_trainable(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]

    def digest(self) -> str:
        """Identity of the weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:16]

    def encode(self, prompts: Sequence[str], limit: int) -> list[list[int]]:
        """Token ids of each prompt as `prompting` puts it.

        Raises InputError for a prompt that leaves no room for `limit` tokens in the model's context.
        """
        ids = self.prompting.tokens(self.tokenizer, prompts)
        for text, row in zip(prompts, ids, strict=True):
            if not row:
                raise InputError(f"prompt: must have at least one token, got {text[:40]!r}")
            if len(row) + limit > self.context:
                room = self.context - limit
                if room < 1:
                    got = f"{self.context}, the model's context, got {limit} tokens of a completion"
                    raise InputError(f"--limit: must be below {got}")
                raise InputError(
                    f"prompt: must have at most {room} tokens, the model's context of {self.context} less the "
                    f"{limit} of a completion, got {len(row)}: {text[:40]!r}"
                )
        return ids

    def decode(self, rollouts: Rollouts) -> list[str]:
        """Completions as text, without the end-of-sequence token and what ended them."""
        rows = rollouts.tokens.cpu().tolist()
        kept = [row[:length] for row, length in zip(rows, rollouts.lengths.tolist(), strict=True)]
        texts: list[str] = self.tokenizer.batch_decode(kept, skip_special_tokens=True)
        return texts if self.stop is None else [self.stop.before(text) for text in texts]

    def autocast(self, enabled: bool = True) -> contextlib.AbstractContextManager[Any]:
        """Of training; that of sampling, too."""
        return arithmetic(self.model.device, self.dtype, enabled)

    def frozen_copy(self) -> Any:
        """The policy as it is now, for KL penalties; None with adapters, which can be switched off instead."""
        if self.lora:
            return None
        return copy.deepcopy(self.model).requires_grad_(False).eval()

    @contextlib.contextmanager
    def as_reference(self, frozen: Any) -> Iterator[Any]:
        if frozen is not None:
            yield frozen
            return
        with self.model.disable_adapter():
            yield self.model


def load(
    source: str | Path, lora: int = 0, gradient_checkpointing: bool = False, device: str | None = None, seed: int = 0,
    decoding: str = "auto", dtype: str = "auto", prompting: Prompting = AS_IT_IS,
) -> Policy:  # fmt: skip
    """A policy from a folder of transformers files, a hub name, or smollm2; dropout is off, so that ratios start at 1.

    lora: rank of adapters, 0 for all parameters; seed: of their start. decoding: see `generate`.
    dtype: see `precision.choose`. prompting: how it is asked.

    Weights are read from safetensors only, and no code of the checkpoint is run. Raises InputError, in one line, for
    a folder that lacks something, for a tokenizer without an end-of-sequence token, for a model whose training
    passes are random although dropout is off, and for one that samples tokens as no training pass sees them.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    if source == smollm2.NAME:
        source = smollm2.default_folder()
        if not smollm2.made(source):
            raise InputError("model: must be made once with python real_runs/smollm2.py, got smollm2")
    folder = check_folder("model", source) if str(source) else Path(source)
    if not os.path.isdir(folder) and (folder.is_absolute() or str(source).startswith(".")):
        raise InputError(f"model: must be a folder that exists or a hub name, got {shown_path(source)}")
    with contextlib.nullcontext(Hub()) if os.path.isdir(folder) else asked_once() as hub:
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", trust_remote_code=False)
            model, found = AutoModelForCausalLM.from_pretrained(
                source, use_safetensors=True, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
            )
        except Exception as error:  # transformers raises many kinds, some with pages of text
            reason = hub.silence or str(error).strip().split("\n")[0][:200]
            got = f"{shown_path(source)} ({reason})"
            raise InputError(f"model: must be a complete transformers model, got {got}") from None
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])[0]
        raise InputError(f"model: must be a complete transformers model, got '{source}' without {missing}")
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        rows = model.get_input_embeddings().num_embeddings
        raise InputError(f"model: must have an embedding per token, got {rows} for {len(tokenizer)} in '{source}'")
    if tokenizer.eos_token_id is None:
        raise InputError(f"model: must have a tokenizer with an end-of-sequence token, got {shown_path(source)}")
    prompting.is_chat(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masks, not token ids, tell padding apart
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    _without_dropout(model)
    if not _is_deterministic(model):
        raise InputError(
            f"model: must give the same logits in two training passes once dropout is off, got '{source}' "
            f"({type(model).__name__}), which draws random numbers of its own"
        )
    if not samples_as_it_trains(model):
        raise InputError(
            "model: must sample tokens with the log-probabilities that they have in a training pass, got "
            f"'{source}' ({type(model).__name__})"
        )
    with warnings.catch_warnings():  # peft asks transformers by a name that these call deprecated
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
        if lora:
            from peft import LoraConfig, get_peft_model

            with seeded(seed):
                model = get_peft_model(model, LoraConfig(r=lora, lora_alpha=2 * lora, target_modules="all-linear"))
        if gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.enable_input_require_grads()
    dtype = choose(dtype, model.device, model.num_parameters())
    return Policy(model, tokenizer, bool(lora), decoding, dtype, prompting)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Parameters are drawn from the stream (seed, WEIGHTS); PyTorch's global generator is as before afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(int(generator(seed, Role.WEIGHTS).integers(2**63)))
        yield


def _without_dropout(model: Any) -> None:
    """Set every dropout rate to 0: of modules, and of the numbers that modules and configurations hold."""
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        _zero_dropout(module)
    for config in (model.config, model.config.get_text_config()):
        _zero_dropout(config)


def _zero_dropout(owner: Any) -> None:
    """Set the floats of an object that are named after dropout (hidden_dropout, attn_pdrop, layerdrop) to 0."""
    for name, value in list(vars(owner).items()):
        if isinstance(value, float) and "drop" in name:
            setattr(owner, name, 0.0)


@torch.no_grad()
def _is_deterministic(model: Any) -> bool:
    """Whether two forward passes in training mode, under different random numbers, give the same logits.

    Otherwise the ratio of policies would not start at 1 (`ppo.policy_loss`).
    """
    count = min(8, model.get_input_embeddings().num_embeddings)
    ids = torch.arange(count, device=model.device)[None]
    was_training = model.training
    model.train()
    try:
        with torch.random.fork_rng():
            passes = []
            for seed in (0, 1):
                torch.manual_seed(seed)
                passes.append(model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float())
    finally:
        model.train(was_training)
    return bool((passes[0] - passes[1]).abs().max() <= SAME * passes[0].abs().max())
