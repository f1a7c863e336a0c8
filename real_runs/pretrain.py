"""Train the tiny base model from nothing on noisy demonstrations: python real_runs/pretrain.py

A demonstrator who slips at each step gives a model that holds the skill but samples noisily, as real base models do:
that is what reinforcement finetuning sharpens. Two phases: first the skills, from a demonstrator who slips equally
everywhere; then its noise, from one who slips the more the longer a problem is, so that success falls smoothly
from nearly always to nearly never. About 30 minutes on one processor; a phase that is done is not repeated. On one
thread and the same kind of processor it makes base/tiny-llama again byte for byte: --out elsewhere, and compare.
"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import itertools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from real_runs.rl.models import BASE, character_tokenizer, load, tiny_llama
from real_runs.tasks.families import FAMILIES
from workbench.commands import SAME_AGAIN, Parser, exit_status, whole_or_text
from workbench.errors import MOST_THREADS, check_count
from workbench.files import check_folder
from workbench.progress import make_bar
from workbench.streams import Role, generator

LARGEST_BATCH = 100_000  # demonstrations, of which a quarter is in memory at a time
CONSTANT = {"reverse": 0.2, "sums": 0.15, "skills": 0.2}  # probability that the demonstrator slips at a step
GROWING = {"reverse": 0.01, "sums": 0.02, "skills": 0.012}  # the same, per level


@dataclass(frozen=True)
class Phase:
    """steps: updates. lr: largest learning rate. slip: (family, level) -> probability of a slip at a step."""

    name: str
    steps: int
    lr: float
    slip: Callable[[str, int], float]


PHASES = (
    Phase("skills", 1200, 2e-3, lambda family, level: CONSTANT[family]),
    Phase("noise", 400, 5e-4, lambda family, level: GROWING[family] * level),
)


def demonstrations(phase: Phase, step: int, count: int, seed: int) -> list[tuple[str, str]]:
    """`count` pairs of prompt and demonstrated completion, families in turn, levels at random."""
    before = sum(other.steps for other in PHASES[: PHASES.index(phase)])
    draw = generator(seed, Role.DEMONSTRATION, before + step)
    families = [FAMILIES[name] for name in CONSTANT]
    pairs = []
    for i in range(count):
        family = families[i % len(families)]
        level = int(draw.integers(1, family.levels + 1))
        problem = family.make(draw, level)
        assert family.demonstrate is not None
        pairs.append((problem.prompt, family.demonstrate(draw, problem, phase.slip(family.name, level))))
    return pairs


def batch_of(pairs: list[tuple[str, str]], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (N, T), right-padded, and labels: -100 where there is nothing to learn (prompt, padding)."""
    prompts = tokenizer([prompt for prompt, _ in pairs], add_special_tokens=False)["input_ids"]
    texts = tokenizer([text for _, text in pairs], add_special_tokens=False)["input_ids"]
    width = max(len(p) + len(t) + 1 for p, t in zip(prompts, texts, strict=True))
    ids = torch.full((len(pairs), width), tokenizer.pad_token_id)
    labels = torch.full((len(pairs), width), -100)
    for row, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        whole = [*prompt, *text, tokenizer.eos_token_id]
        ids[row, : len(whole)] = torch.tensor(whole)
        labels[row, len(prompt) : len(whole)] = torch.tensor(whole[len(prompt) :])
    return ids, labels


def learn_from(pairs: list[tuple[str, str]], model: Any, tokenizer: Any, parts: int = 4) -> float:
    """Add the gradient of the mean loss per token; returns the loss. In parts of similar length: little padding."""
    pairs = sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1]))
    batches = [batch_of(pairs[part], tokenizer) for part in _slices(len(pairs), parts)]
    total = sum(int((labels != -100).sum()) for _, labels in batches)
    whole = 0.0
    for ids, labels in batches:
        logits = model(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long()).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
        (loss / total).backward()
        whole += loss.item() / total
    return whole


def _slices(count: int, parts: int) -> list[slice]:
    edges = [round(count * part / parts) for part in range(parts + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if a < b]


def run(phase: Phase, model: Any, tokenizer: Any, batch: int, seed: int) -> None:
    """AdamW from scratch, warm-up of 100 steps, then a cosine down to a fiftieth."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=phase.lr, betas=(0.9, 0.98), weight_decay=0.01)

    def rate(step: int) -> float:
        return min((step + 1) / 100, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / phase.steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    bar = make_bar(iterable=range(phase.steps), desc=phase.name, unit="step")
    for step in bar:
        optimiser.zero_grad(set_to_none=True)
        loss = learn_from(demonstrations(phase, step, batch, seed), model, tokenizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss:.3f}")


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    number: dict[str, Any] = {"metavar": "N", "type": whole_or_text}
    p.add_argument("--batch", **number, default=192, help="demonstrations per update (default: %(default)s)")
    p.add_argument("--seed", **number, default=0, help="of everything random (default: %(default)s)")
    p.add_argument("--threads", **number, default=1, help="of the processor (default: %(default)s)")
    p.add_argument("--work", metavar="FOLDER", default="results/pretrain", help="phases go here (default: %(default)s)")
    p.add_argument("--out", metavar="FOLDER", default=str(BASE), help="folder of the result (default: %(default)s)")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)

    def work() -> None:
        batch = check_count("--batch", options.batch, 1, LARGEST_BATCH)
        seed = check_count("--seed", options.seed, 0, 2**64 - 1)
        threads = check_count("--threads", options.threads, 1, MOST_THREADS)
        train(check_folder("--work", options.work), check_folder("--out", options.out), batch, seed, threads)

    return exit_status(work, SAME_AGAIN)


def train(work: Path, out: Path, batch: int, seed: int, threads: int) -> None:
    """Both phases, each into a folder of `work`, and the result into `out`."""
    torch.set_num_threads(threads)
    torch.manual_seed(int(generator(seed, Role.WEIGHTS).integers(2**63)))
    tokenizer = character_tokenizer()
    model = tiny_llama(len(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    for phase in PHASES:
        folder = work / phase.name
        if (folder / "tokenizer.json").is_file():  # written last
            model = load(folder, device="cpu").model.train()
            continue
        run(phase, model, tokenizer, batch, seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    sys.exit(main())
