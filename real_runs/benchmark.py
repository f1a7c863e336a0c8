"""Seconds per step of the real loop beside its floor and a peer: python real_runs/benchmark.py [--model FOLDER]

Same model, prompts, batch, sampling limit, type of products and one optimiser step per batch, without KL penalty, in
turn in one run:
- floor: a bare decode that drops finished sequences, and one forward and backward pass over the same tokens, with this
  project's cache and with transformers'; ratios are to the faster;
- GRPO and PPO with a critic through Controller, train's steps and PPOLearner;
- TRL's GRPOTrainer, where the package is installed.
Below, where the time of a step goes, and what the machine's bandwidth and matrix rate would allow.

Limits on the tiny model: GRPO takes at most 1.2 of the floor and 0.8 of TRL's GRPO, PPO with a critic at most 1.1 of
TRL's GRPO. On SmolLM2 (--model smollm2 --batch 8 --fixed 24+12): GRPO at most 0.5 of TRL's, PPO with a critic 0.8; at
most 4 GiB of memory.
"""

from __future__ import annotations

from workbench.stops import stop_in_one_line

stop_in_one_line(__name__)

import argparse
import importlib.util
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from real_runs.rl import ppo
from real_runs.rl.models import BASE
from real_runs.rl.ways import DTYPES
from real_runs.runs.run import MOST, MOST_COMPLETIONS, flag_of
from real_runs.speed.bound import Bound, Machine
from real_runs.speed.rivals import Floor, Ours, Setting, trl_seconds
from workbench.commands import Parser, exit_status, whole
from workbench.errors import InputError, check_attempts, check_choice, shown


def setting_of(options: argparse.Namespace) -> Setting:
    fixed = None
    if options.fixed:
        parts = options.fixed.split("+")
        if len(parts) != 2:
            raise InputError(f"--fixed: must be PROMPT+COMPLETION tokens, such as 24+12, got {shown(options.fixed)}")
        fixed = whole("--fixed", parts[0], 1, MOST["limit"]), whole("--fixed", parts[1], 1, MOST["limit"])
    counts = {}
    for name, low in {"batch": 1, "rollouts": 2, "limit": 0, "micro_tokens": 0, "steps": 1}.items():
        counts[name] = whole(flag_of(name), getattr(options, name), low, MOST.get(name))
    check_attempts(counts["batch"], counts["rollouts"], MOST_COMPLETIONS)
    check_choice("--dtype", options.dtype, DTYPES)
    return Setting(options.model, options.task, dtype=options.dtype, fixed=fixed, **counts)


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--model", default=str(BASE), help="folder, hub name or smollm2 (default: %(default)s)")
    p.add_argument("--task", default="reverse", help="(default: %(default)s)")
    p.add_argument("--fixed", metavar="P+C", default="",
                   help="tokens of each prompt and completion, whatever is written (default: the task's)")  # fmt: skip
    p.add_argument("--batch", default="32", help="prompts per step (default: %(default)s)")
    p.add_argument("--rollouts", default="8", help="completions per prompt (default: %(default)s)")
    p.add_argument("--limit", default="0", help="tokens per completion (default: the task's)")
    p.add_argument("--micro-tokens", default="0", help="(default: as the model allows)")
    p.add_argument("--dtype", default="auto", help="of matrix products: auto, float32 or bfloat16 (default: auto)")
    p.add_argument("--steps", default="10", help="timed, after one to warm up (default: %(default)s)")
    p.add_argument("--processor-time", action="store_true",
                   help="instead of wall time: for one thread on a machine that others use")  # fmt: skip
    p.add_argument("--no-peer", action="store_true", help="leave TRL out")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: measure(setting_of(options), options.processor_time, not options.no_peer))


def measure(setting: Setting, processor_time: bool, peer: bool) -> None:
    warnings.simplefilter("ignore")  # of the peer
    now = time.process_time if processor_time else time.perf_counter
    grpo = Ours(setting, ppo.Algorithm("grpo"))
    grpo.step()  # alone at first: the peak is its own
    grpo.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    actor_critic = Ours(setting, ppo.Algorithm("gae", whiten=True))
    rivals: dict[str, Any] = {"floor": Floor(setting, grpo, True), "floor, transformers": Floor(setting, grpo, False),
                              "GRPO": grpo, "PPO with critic": actor_critic}  # fmt: skip
    typical = _seconds(setting, rivals, now)
    note = ""
    if peer and importlib.util.find_spec("trl"):
        of_steps, length = trl_seconds(setting, grpo, now)
        typical["TRL GRPO"] = float(np.median(of_steps))
        note = f"; mean completion {_mean_tokens(grpo):.1f} tokens, TRL's {length:.1f}"
    floor = min(typical["floor"], typical["floor, transformers"])
    limit, dtype = grpo.learner.settings.limit, grpo.learner.policy.dtype
    print(f"{setting.batch * setting.rollouts} completions of up to {limit} tokens, {dtype}, {torch.get_num_threads()} "
          f"threads, medians of {setting.steps} steps{note}")  # fmt: skip
    for name, seconds in typical.items():
        ratios = [f"{seconds / floor:.2f} x floor"]
        ratios += [f"{seconds / typical['TRL GRPO']:.2f} x TRL"] if "TRL GRPO" in typical else []
        print(f"  {name:19s} {seconds:7.3f} s   {'   '.join(ratios)}")
    print(f"  peak memory of the process with the GRPO learner alone: {peak:.2f} GiB")
    for rival, name in ((grpo, "GRPO"), (actor_critic, "PPO with critic")):
        parts = {part: float(np.median(seconds[1:])) for part, seconds in rival.parts.items()}
        whole = sum(parts.values())
        print(f"  {name}: " + ", ".join(f"{part} {seconds / whole:.1%}" for part, seconds in parts.items()))
        print("    operators: " + ", ".join(f"{name} {share:.0%}" for name, share in operators(rival)))
    print(allowed(setting, grpo))


def _seconds(setting: Setting, rivals: dict[str, Any], now: Callable[[], float]) -> dict[str, float]:
    """Median seconds of a step of each, in turn, so that a change of the machine's speed meets all."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(setting.steps + 1):
        for name, rival in rivals.items():
            start = now()
            rival.step()
            if turn:
                times[name].append(now() - start)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def _mean_tokens(rival: Ours) -> float:
    return float(np.mean(rival.tokens)) / (rival.options.batch * rival.options.rollouts)


def allowed(setting: Setting, rival: Ours) -> str:
    """What the machine would allow, and the share of it that this project reaches."""
    policy = rival.learner.policy
    dtype = torch.bfloat16 if policy.dtype == "bfloat16" else torch.float32
    machine = Machine.measured(policy.model.config.get_text_config(), dtype, policy.model.device)
    prompt = float(np.mean([len(ids) for ids in rival.learner._prompts]))
    tokens = prompt, _mean_tokens(rival)
    bound = Bound.of(machine, policy.model, setting.batch, setting.rollouts, *tokens, dtype.itemsize)
    decode, update = (float(np.median(rival.parts[name][1:])) for name in ("generate", "update"))
    return (
        f"  the machine: {machine.rate / 1e9:.0f} GFLOP/s of products, {machine.bandwidth / 1e9:.1f} GB/s of weights; "
        f"decode at least {bound.decode:.3f} s ({bound.decode / decode:.0%} of ours), "
        f"update at least {bound.update:.3f} s ({bound.update / update:.0%} of ours)"
    )


def operators(rival: Ours, count: int = 6) -> list[tuple[str, float]]:
    """The operators of a step that take the most of the processor's time, and their shares."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        rival.step()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    return [(event.key.removeprefix("aten::"), event.self_cpu_time_total / whole) for event in events[:count]]


if __name__ == "__main__":
    sys.exit(main())
