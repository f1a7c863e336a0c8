"""Kill the steered trainer of TRL at random times, resume it, and compare with a run that nobody disturbed. Not a test
of the suite: it takes minutes.

    python tests/hosts/killed.py FOLDER [--kills 50] [--model FOLDER] [--seed 0]

Two settings in turn: generations of four micro-batches, so that most checkpoints lie inside one, and gates with
refills. A process is killed with SIGKILL after a random share, up to .7, of the time that a whole run trains, from a
stream of the seed; the run goes on from its last whole checkpoint, or anew before the first. One that ends before its
time to die is compared, bit for bit, in parameters, controller and log of rewards and losses, and the next begins.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
STEPS = 40
SETTINGS = ("inside", "gated")


def child(folder, model, setting):
    """Train, from the last whole checkpoint where there is one; prints what it came to."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig

    sys.path.insert(0, str(Path(__file__).parent))
    import two_processes as shared

    import workbench as wb
    from workbench.hosts.trl import SteeredGRPOTrainer
    from workbench.hosts.trl.state import last_whole

    torch.set_num_threads(1)
    gates, sizes = {
        "inside": ((), {"per_device_train_batch_size": 4, "steps_per_generation": 4}),
        "gated": ((wb.DynamicSampling(max_batches=3),), {"per_device_train_batch_size": 8, "steps_per_generation": 2}),
    }[setting]
    config = GRPOConfig(
        output_dir=str(folder), num_generations=shared.G, max_completion_length=5, max_steps=STEPS, learning_rate=1e-2,
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], disable_tqdm=True, save_steps=1,
        save_strategy="steps", save_total_limit=2, gradient_accumulation_steps=1, logging_steps=1, **sizes,
    )  # fmt: skip
    policy = AutoModelForCausalLM.from_pretrained(model)
    controller = wb.Controller(wb.AdaRFT(eta=30.0), shared.POOL, gates, seed=2)
    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = SteeredGRPOTrainer(policy, [shared.reward], config, train_dataset=shared.DATA,
                                 processing_class=tokenizer, controller=controller)  # fmt: skip
    print("training", flush=True)
    trainer.train(resume_from_checkpoint=True if last_whole(folder) else None)
    flat = torch.cat([p.detach().flatten() for p in policy.parameters()])
    digest = hashlib.sha256(flat.numpy().tobytes())
    for name, value in sorted(controller.state_dict().items()):
        digest.update(name.encode() + np.asarray(value).tobytes() if not isinstance(value, str) else value.encode())
    log = [[row["step"], row.get("reward"), row["loss"]] for row in trainer.state.log_history if "loss" in row]
    logged = hashlib.sha256(json.dumps(log).encode())
    print("came to", digest.hexdigest()[:16], logged.hexdigest()[:16], len(log), flush=True)


def life(folder, model, setting, seconds=None):
    """One process: what it came to, or None where it was killed, `seconds` after it began to train."""
    words = [sys.executable, __file__, str(folder), "--child", setting, "--model", str(model)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with open(folder.parent / f"{folder.name}.err", "a") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
    assert process.stdout.readline() == "training\n", f"see {errors.name}"
    started = time.monotonic()
    death = threading.Timer(seconds or 0, process.kill)
    if seconds is not None:
        death.start()
    printed = next((line for line in process.stdout if line.startswith("came to ")), "")  # others are TRL's
    took = time.monotonic() - started
    death.cancel()
    process.communicate()
    assert printed or process.returncode == -signal.SIGKILL, f"see {errors.name}"
    return printed.split()[2:] or None, took


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--model", type=Path, default=None, help="a folder of transformers files (default: a tiny one)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", choices=SETTINGS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.folder, options.model, options.child)
        return

    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from workbench.hosts.trl.state import last_whole
    from workbench.streams import generator

    options.folder.mkdir(parents=True, exist_ok=True)
    if options.model is None:
        from conftest import make_checkpoint

        options.model = make_checkpoint(options.folder / "model", "llama", prefers="ab")
    draw, kills, runs, torn = generator(options.seed, 1), 0, 0, 0
    expected = {}
    for setting in SETTINGS:
        expected[setting], needed = life(options.folder / f"{setting}-undisturbed", options.model, setting)
        print(f"{setting}: undisturbed {' '.join(expected[setting])} in {needed:.1f} s", flush=True)
        expected[setting].append(needed)
    while kills < options.kills:
        setting = SETTINGS[runs % len(SETTINGS)]
        *wanted, needed = expected[setting]
        folder, found, mine = options.folder / f"{setting}-{runs}", None, 0
        while found is None:
            dies = float(draw.uniform(0, 0.7 * needed)) if kills < options.kills else None
            found, _ = life(folder, options.model, setting, dies)
            kills, mine = kills + (found is None), mine + (found is None)
            latest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), default=None)
            torn += found is None and latest is not None and last_whole(folder) != latest
            if found is None:
                print(f"{setting}: killed after {dies:.1f} s, {latest.name if latest else 'no checkpoint'}", flush=True)
        assert found == wanted, (setting, runs, found, wanted)
        runs += 1
        print(f"{setting}: killed {mine} times, the same; {kills} kills in all", flush=True)
        shutil.rmtree(folder)
    print(f"{kills} kills, {torn} of them in the midst of a checkpoint, {runs} runs, all equal to the undisturbed ones")


if __name__ == "__main__":
    main()
