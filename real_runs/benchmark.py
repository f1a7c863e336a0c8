"""Seconds per step of the real loop beside its floor and a peer: python real_runs/benchmark.py [--model FOLDER]

Same model, prompts, batch, sampling limit and one optimiser step per batch, without KL penalty, in turn in one run:
- floor: a bare decode that drops finished sequences, and one forward and backward pass over the same tokens, with this
  project's cache and with transformers'; ratios are to the faster;
- GRPO and PPO with a critic through Controller, train's steps and PPOLearner;
- TRL's GRPOTrainer, where the package is installed.

Limits: GRPO takes at most 1.2 of the floor and 0.8 of TRL's GRPO, PPO with a critic at most 1.1 of TRL's GRPO.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from real_runs.rl import cache, ppo
from real_runs.rl.generate import Rollouts, forward
from real_runs.rl.learner import HeldOut, PPOLearner, Settings
from real_runs.rl.models import BASE, load
from real_runs.runs.watch import Timed
from real_runs.tasks.named import make_task
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
    """The least that a step has to do: no scores, no advantages, no clipping, no record, no keyed random numbers."""

    def __init__(self, options: argparse.Namespace, like: Ours, in_place: bool) -> None:
        self.options, self.like, self.policy, self.in_place = options, like, load(options.model), in_place
        self.optimiser = torch.optim.Adam(self.policy.trainable, lr=1e-6)
        self.draw = np.random.default_rng(0)

    def step(self) -> None:
        prompts = self.like.learner._prompts
        chosen = [prompts[i] for i in self.draw.choice(len(prompts), self.options.batch, replace=False)]
        rollouts = self._decode(chosen)
        self.optimiser.zero_grad(set_to_none=True)
        self.policy.model.train()
        for rows in self.like.learner._micro_batches(rollouts, torch.arange(len(rollouts))):
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
        rows, ends = torch.arange(total), torch.tensor(self.policy.ends)
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


def trl_seconds(options: argparse.Namespace, like: Ours, now: Callable[[], float]) -> tuple[list[float], float]:
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

    policy, clock = load(options.model), Clock()
    total = options.batch * options.rollouts
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=total, num_generations=options.rollouts,
            max_steps=options.steps + 1, max_completion_length=like.learner.settings.limit, beta=0.0,
            learning_rate=1e-6, bf16=False, use_cpu=True, gradient_checkpointing=False, report_to=[],
            disable_tqdm=True, save_strategy="no", logging_steps=1,
        )  # fmt: skip
        trainer = GRPOTrainer(
            policy.model, [reward], config, train_dataset=data, processing_class=policy.tokenizer, callbacks=[clock]
        )
        trainer.train()
    lengths = [log["completions/mean_length"] for log in trainer.state.log_history if "completions/mean_length" in log]
    return clock.seconds[1:], float(np.mean(lengths)) if lengths else float("nan")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default=str(BASE), help="folder (default: %(default)s)")
    p.add_argument("--task", default="reverse", help="(default: %(default)s)")
    p.add_argument("--batch", type=int, default=32, help="prompts per step (default: %(default)s)")
    p.add_argument("--rollouts", type=int, default=8, help="completions per prompt (default: %(default)s)")
    p.add_argument("--limit", type=int, default=0, help="tokens per completion (default: the task's)")
    p.add_argument("--micro-tokens", type=int, default=Settings().micro_tokens, help="(default: %(default)s)")
    p.add_argument("--steps", type=int, default=10, help="timed, after one to warm up (default: %(default)s)")
    p.add_argument("--processor-time", action="store_true",
                   help="instead of wall time: for one thread on a machine that others use")  # fmt: skip
    options = p.parse_args()
    warnings.simplefilter("ignore")  # of the peer
    grpo, actor_critic = Ours(options, ppo.Algorithm("grpo")), Ours(options, ppo.Algorithm("gae", whiten=True))
    rivals: dict[str, Any] = {"floor": Floor(options, grpo, True), "floor, transformers": Floor(options, grpo, False)}
    rivals |= {"GRPO": grpo, "PPO with critic": actor_critic}
    times: dict[str, list[float]] = {name: [] for name in rivals}
    now = time.process_time if options.processor_time else time.perf_counter
    for turn in range(options.steps + 1):  # in turn, so that a change of the machine's speed meets all
        for name, rival in rivals.items():
            start = now()
            rival.step()
            if turn:
                times[name].append(now() - start)
    note = ""
    if importlib.util.find_spec("trl"):
        times["TRL GRPO"], length = trl_seconds(options, grpo, now)
        mine = np.mean(grpo.tokens) / (options.batch * options.rollouts)
        note = f"; mean completion {mine:.1f} tokens, TRL's {length:.1f}"
    typical = {name: float(np.median(seconds)) for name, seconds in times.items()}
    floor = min(typical["floor"], typical["floor, transformers"])
    total = options.batch * options.rollouts
    print(f"{total} completions of up to {grpo.learner.settings.limit} tokens, {torch.get_num_threads()} threads, "
          f"medians of {options.steps} steps{note}")  # fmt: skip
    for name, seconds in typical.items():
        ratios = [f"{seconds / floor:.2f} x floor"]
        ratios += [f"{seconds / typical['TRL GRPO']:.2f} x TRL"] if "TRL GRPO" in typical else []
        print(f"  {name:19s} {seconds:7.3f} s   {'   '.join(ratios)}")
    for rival, name in ((grpo, "GRPO"), (actor_critic, "PPO with critic")):
        parts = {part: float(np.median(seconds[1:])) for part, seconds in rival.parts.items()}
        whole = sum(parts.values())
        print(f"  {name}: " + ", ".join(f"{part} {seconds / whole:.1%}" for part, seconds in parts.items()))
        print("    operators: " + ", ".join(f"{name} {share:.0%}" for name, share in operators(rival)))


def operators(rival: Ours, count: int = 6) -> list[tuple[str, float]]:
    """The operators of a step that take the most of the processor's time, and their shares."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        rival.step()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    return [(event.key.removeprefix("aten::"), event.self_cpu_time_total / whole) for event in events[:count]]


if __name__ == "__main__":
    main()
