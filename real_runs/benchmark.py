"""Seconds per step of the real loop beside its floor and a peer: python real_runs/benchmark.py [--model FOLDER]

Same model, prompts, batch, sampling limit and one optimiser step per batch, without KL penalty, in turn in one run:
- floor: a bare decode with a key-value cache and one forward and backward pass over the same tokens;
- GRPO and PPO with a critic through Controller, train's steps and PPOLearner;
- TRL's GRPOTrainer, where the package is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from real_runs import ppo
from real_runs.generate import Rollouts, forward
from real_runs.learner import HeldOut, PPOLearner, Settings
from real_runs.models import BASE, Policy, load
from real_runs.tasks import make_task
from real_runs.train import Timed
from workbench import Uniform


class Ours:
    """A step as train() does it: draw, attempt, observe, learn."""

    def __init__(self, options: argparse.Namespace, algorithm: ppo.Algorithm) -> None:
        task = make_task(options.task)
        pool = task.pool(2000, seed=0)
        self.controller, self.options = Timed(Uniform(), pool), options
        self.learner = PPOLearner(
            load(options.model), pool, task.score, HeldOut(*task.heldout(1, seed=0)), algorithm,
            Settings(limit=options.limit or task.limit, micro_tokens=options.micro_tokens, lr=1e-6),
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
    """The least that a step has to do: no scores, no advantages, no clipping, no record."""

    def __init__(self, options: argparse.Namespace, like: Ours) -> None:
        self.options, self.like, self.policy = options, like, load(options.model)
        self.optimiser = torch.optim.Adam(self.policy.trainable, lr=1e-6)
        self.draw = np.random.default_rng(0)

    def step(self) -> None:
        prompts = self.like.learner._prompts
        chosen = [prompts[i] for i in self.draw.choice(len(prompts), self.options.batch, replace=False)]
        rollouts = self._decode(self.policy, chosen)
        self.optimiser.zero_grad(set_to_none=True)
        self.policy.model.train()
        for rows in self.like.learner._micro_batches(rollouts, torch.arange(len(rollouts))):
            logits, tokens, _ = forward(self.policy.model, rollouts, rows, self.policy.pad)
            (-ppo.token_logp(logits, tokens) * rollouts.mask[rows, : tokens.shape[1]]).sum().backward()
        self.optimiser.step()

    @torch.no_grad()
    def _decode(self, policy: Policy, prompts: list[list[int]]) -> Rollouts:
        model, limit = policy.model.eval(), self.like.learner.settings.limit
        prompts = [prompt for prompt in prompts for _ in range(self.options.rollouts)]
        width = max(map(len, prompts))
        ids = torch.tensor([[policy.pad] * (width - len(p)) + p for p in prompts])
        seen = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        alive = torch.ones(len(prompts), dtype=torch.bool)
        tokens, mask, cache, ends = [], [], None, torch.tensor(policy.ends)
        for _ in range(limit):
            positions = (seen.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            out = model(input_ids=ids, attention_mask=seen, position_ids=positions, past_key_values=cache,
                        use_cache=True, logits_to_keep=1)  # fmt: skip
            cache = out.past_key_values
            ids = torch.multinomial(torch.softmax(out.logits[:, -1], -1), 1)
            tokens.append(ids[:, 0])
            mask.append(alive.float())
            alive = alive & ~torch.isin(ids[:, 0], ends)
            if not alive.any():
                break
            seen = torch.cat([seen, seen.new_ones(len(seen), 1)], 1)
        stacked = torch.stack(mask, 1)
        return Rollouts(prompts, torch.stack(tokens, 1), stacked, torch.zeros_like(stacked), None, ~alive)


def trl_seconds(options: argparse.Namespace, like: Ours, steps: int) -> tuple[list[float], float]:
    """Seconds of each step of TRL's GRPOTrainer after the first, and its mean completion length."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.begun, self.seconds = 0.0, list[float]()

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begun = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.perf_counter() - self.begun)

    payload = like.learner.pool.payload or {}
    data = Dataset.from_dict({"prompt": list(payload["prompt"]), "answer": [str(a) for a in payload["answer"]]})
    score = like.learner.score

    def reward(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [score(text, right) for text, right in zip(completions, answer, strict=True)]

    policy, clock = load(options.model), Clock()
    total = options.batch * options.rollouts
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=total, num_generations=options.rollouts, max_steps=steps + 1,
            max_completion_length=like.learner.settings.limit, beta=0.0, learning_rate=1e-6, bf16=False, use_cpu=True,
            gradient_checkpointing=False, report_to=[], disable_tqdm=True, save_strategy="no", logging_steps=1,
        )  # fmt: skip
        trainer = GRPOTrainer(
            policy.model, [reward], config, train_dataset=data, processing_class=policy.tokenizer, callbacks=[clock]
        )
        trainer.train()
    lengths = [log["completions/mean_length"] for log in trainer.state.log_history if "completions/mean_length" in log]
    return clock.seconds[1:], float(np.mean(lengths)) if lengths else float("nan")


def clock(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default=str(BASE), help="folder (default: %(default)s)")
    p.add_argument("--task", default="reverse", help="(default: %(default)s)")
    p.add_argument("--batch", type=int, default=32, help="prompts per step (default: %(default)s)")
    p.add_argument("--rollouts", type=int, default=8, help="completions per prompt (default: %(default)s)")
    p.add_argument("--limit", type=int, default=0, help="tokens per completion (default: the task's)")
    p.add_argument("--micro-tokens", type=int, default=Settings().micro_tokens, help="(default: %(default)s)")
    p.add_argument("--steps", type=int, default=10, help="timed, after one to warm up (default: %(default)s)")
    options = p.parse_args()
    warnings.simplefilter("ignore")  # of the peer
    grpo, actor_critic = Ours(options, ppo.Algorithm("grpo")), Ours(options, ppo.Algorithm("gae", whiten=True))
    rivals: dict[str, Any] = {"floor": Floor(options, grpo), "GRPO": grpo, "PPO with critic": actor_critic}
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(options.steps + 1):  # in turn, so that a change of the machine's speed meets all
        for name, rival in rivals.items():
            seconds = clock(rival.step)
            if turn:
                times[name].append(seconds)
    note = ""
    if importlib.util.find_spec("trl"):
        times["TRL GRPO"], length = trl_seconds(options, grpo, options.steps)
        mine = np.mean(grpo.tokens) / (options.batch * options.rollouts)
        note = f"; mean completion {mine:.1f} tokens, TRL's {length:.1f}"
    typical = {name: float(np.median(seconds)) for name, seconds in times.items()}
    total = options.batch * options.rollouts
    print(f"{total} completions of up to {grpo.learner.settings.limit} tokens, medians of {options.steps} steps{note}")
    for name, seconds in typical.items():
        ratios = [f"{seconds / typical['floor']:.2f} x floor"]
        ratios += [f"{seconds / typical['TRL GRPO']:.2f} x TRL"] if "TRL GRPO" in typical else []
        print(f"  {name:16s} {seconds:7.3f} s   {'   '.join(ratios)}")
    for rival, name in ((grpo, "GRPO"), (actor_critic, "PPO with critic")):
        parts = {part: float(np.median(seconds[1:])) for part, seconds in rival.parts.items()}
        whole = typical[name]
        print(f"  {name}: " + ", ".join(f"{part} {seconds / whole:.1%}" for part, seconds in parts.items()))


if __name__ == "__main__":
    main()
