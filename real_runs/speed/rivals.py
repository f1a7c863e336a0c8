"""What is timed beside each other: this project's step, a bare loop over the same model, and TRL's GRPOTrainer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from real_runs.rl import cache, memory, ppo
from real_runs.rl.generate import Rollouts, forward
from real_runs.rl.learner import HeldOut, PPOLearner, Settings
from real_runs.rl.models import Policy, load
from real_runs.rl.passes import Network
from real_runs.runs.watch import Timed
from real_runs.tasks.named import make_task
from real_runs.tasks.prompting import Prompting
from workbench import Uniform
from workbench.pool import Pool
from workbench.streams import Role, generator

WORDS = " one two three four five six seven eight nine ten"  # a token each for most tokenizers


@dataclass(frozen=True)
class Setting:
    """What all rivals do. fixed: tokens of each prompt and each completion, None: those of the task."""

    model: str
    task: str
    batch: int
    rollouts: int
    limit: int
    micro_tokens: int
    dtype: str
    steps: int
    fixed: tuple[int, int] | None = None

    def policy(self) -> Policy:
        """The model in float32 parameters, asked in plain text; where lengths are fixed, no token ends a completion."""
        policy = load(self.model, dtype=self.dtype, prompting=Prompting(chat=False))
        if self.fixed:
            policy.ends = []
        return policy

    def problems(self) -> tuple[Pool, Callable[[str, str], float], int]:
        """Pool, scorer, and tokens of a completion. Where lengths are fixed, rewards are those of a coin."""
        task = make_task(self.task)
        if self.fixed is None:
            return task.pool(2000, seed=0), task.score, self.limit or task.limit
        draw, words = generator(0, Role.PROBLEM), WORDS.split(" ")[1:]
        prompts = ["".join(f" {words[i]}" for i in draw.integers(len(words), size=self.fixed[0])) for _ in range(2000)]
        pool = Pool(np.linspace(0, 100, len(prompts)), payload={"prompt": prompts, "answer": ["1"] * len(prompts)})
        return pool, lambda completion, _: float(len(completion) % 2), self.fixed[1]


class Ours:
    """A step as train() does it: draw, attempt, observe, learn."""

    def __init__(self, setting: Setting, algorithm: ppo.Algorithm) -> None:
        pool, score, limit = setting.problems()
        self.controller, self.options = Timed(Uniform(), pool), setting
        nobody = HeldOut(["1"], ["1"], np.zeros(1, np.int64))
        self.learner = PPOLearner(
            setting.policy(), pool, score, nobody, algorithm,
            Settings(limit=limit, micro_tokens=setting.micro_tokens, lr=1e-6),
        )  # fmt: skip
        self.parts: dict[str, list[float]] = {"generate": [], "update": [], "controller": []}
        self.tokens: list[float] = []

    def step(self) -> None:
        items = self.controller.next_batch(self.options.batch)
        rewards = self.learner.attempt(items, self.options.rollouts)
        self.learner.learn(items, rewards, self.controller.observe(items, rewards))
        row = self.controller.row(1, self.learner)
        self.controller.take()
        for name, seconds in self.parts.items():
            seconds.append(row[f"seconds_{name}"])
        self.tokens.append(self.learner.stats["tokens"])


class Floor:
    """A bare step: no scores, no advantages, no clipping, no record, no keyed random numbers; each completion behind a
    prompt of its own."""

    def __init__(self, options: Setting, like: Ours, in_place: bool) -> None:
        self.options, self.like, self.policy, self.in_place = options, like, options.policy(), in_place
        self.optimiser = torch.optim.Adam(self.policy.trainable, lr=1e-6)
        self.draw = np.random.default_rng(0)

    def step(self) -> None:
        prompts = self.like.learner._prompts
        chosen = [prompts[i] for i in self.draw.choice(len(prompts), self.options.batch, replace=False)]
        with self.policy.autocast():
            rollouts = self._decode(chosen)
        self.optimiser.zero_grad(set_to_none=True)
        self.policy.model.train()
        plain = Network.whole(self.policy.model)
        most = self.options.micro_tokens or memory.micro_tokens(self.policy.model)
        for rows in plain.micro_batches(rollouts, torch.arange(len(rollouts)), most):
            with self.policy.autocast():
                logits, tokens, _ = forward(self.policy.model, rollouts, rows, self.policy.pad)
            (-ppo.token_logp(logits, tokens) * rollouts.mask[rows, : tokens.shape[1]]).sum().backward()
        self.optimiser.step()

    @torch.no_grad()
    def _decode(self, prompts: list[list[int]]) -> Rollouts:
        model, group, limit = self.policy.model.eval(), self.options.rollouts, self.like.learner.settings.limit
        width, total = max(map(len, prompts)), len(prompts) * group
        ids = torch.tensor([[self.policy.pad] * (width - len(p)) + p for p in prompts])
        seen = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        of_prompts = cache.for_prompts(model.config)
        positions = (seen.cumsum(1) - 1).clamp(min=0)
        name = cache.keyword(model)
        out = model(input_ids=ids, attention_mask=seen, position_ids=positions, use_cache=True, logits_to_keep=1,
                    **{name: of_prompts})  # fmt: skip
        store: Any = (
            cache.for_decode(of_prompts, len(prompts), width, group, limit, fixed=False) if self.in_place
            else cache.Grown(of_prompts, len(prompts), width, group)
        )  # fmt: skip
        logits, seen = out.logits[:, -1].repeat_interleave(group, 0), seen.repeat_interleave(group, 0)
        rows, ends = torch.arange(total), torch.tensor(self.policy.ends, dtype=torch.long)
        tokens, mask = torch.full((total, limit), self.policy.pad), torch.zeros(total, limit)
        for t in range(limit):
            token = torch.multinomial(torch.softmax(logits, -1), 1)[:, 0]
            tokens[rows, t], mask[rows, t] = token, 1.0
            going = ~torch.isin(token, ends)
            if t + 1 == limit or not going.any():
                break
            if not going.all():
                order = cache.closed_up(going)
                store.keep(order)
                rows, token, seen = rows[order], token[order], seen[order]
            seen = torch.cat([seen, seen.new_ones(len(seen), 1)], 1)
            store.open_column()
            store.advance()
            logits = model(input_ids=token[:, None], attention_mask=seen, position_ids=seen.sum(1, keepdim=True) - 1,
                           use_cache=True, **{name: store}).logits[:, -1]  # fmt: skip
        used = int(mask.sum(1).max())
        doubled = [prompt for prompt in prompts for _ in range(group)]
        return Rollouts(doubled, tokens[:, :used], mask[:, :used], mask[:, :used], None, mask[:, 0] > 0)


def trl_seconds(options: Setting, like: Ours, now: Callable[[], float]) -> tuple[list[float], float]:
    """Seconds of each step of TRL's GRPOTrainer after the first, and its mean completion length."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.begun, self.seconds = 0.0, list[float]()

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begun = now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(now() - self.begun)

    payload = like.learner.pool.payload or {}
    data = Dataset.from_dict({"prompt": list(payload["prompt"]), "answer": [str(a) for a in payload["answer"]]})
    score = like.learner.score

    def reward(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [score(text, right) for text, right in zip(completions, answer, strict=True)]

    policy, clock = options.policy(), Clock()
    ends = None if options.fixed is None else {"suppress_tokens": replace(policy).ends}
    total = options.batch * options.rollouts
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=total, num_generations=options.rollouts,
            max_steps=options.steps + 1, max_completion_length=like.learner.settings.limit, beta=0.0,
            learning_rate=1e-6, bf16=policy.dtype == "bfloat16",
            use_cpu=policy.model.device.type == "cpu", gradient_checkpointing=False, report_to=[],
            disable_tqdm=True, save_strategy="no", logging_steps=1, generation_kwargs=ends,
        )  # fmt: skip
        trainer = GRPOTrainer(
            policy.model, [reward], config, train_dataset=data, processing_class=policy.tokenizer, callbacks=[clock]
        )
        trainer.train()
    lengths = [log["completions/mean_length"] for log in trainer.state.log_history if "completions/mean_length" in log]
    return clock.seconds[1:], float(np.mean(lengths)) if lengths else float("nan")
