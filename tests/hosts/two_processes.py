"""Two processes on a CPU (gloo) pick the same items, train the same parameters, and resume bit for bit. Not a test of
the suite: it takes as long to load as to run.

    python -m torch.distributed.run --standalone --nproc-per-node 2 tests/hosts/two_processes.py FOLDER MODEL
"""

import hashlib
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import distributed
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig

import workbench as wb
from workbench.hosts.trl import SteeredGRPOTrainer

I, G = 24, 4
POOL = wb.Pool(np.linspace(0, 100, I), name="some")
DATA = Dataset.from_dict({"prompt": [f"{i}=" for i in range(I)], "item": list(range(I))})
SETTINGS = {  # per device 6: a group lies on both processes
    "plain": ((), {"per_device_train_batch_size": 6, "steps_per_generation": 2}),
    "gated": ((wb.DynamicSampling(max_batches=4),), {"per_device_train_batch_size": 4, "steps_per_generation": 2}),
    "gated, a group on both": ((wb.DynamicSampling(max_batches=4),), {"per_device_train_batch_size": 6}),
}


class Watched(wb.Controller):
    """Keeps what it picked."""

    def __init__(self, gates):
        super().__init__(wb.AdaRFT(eta=30.0), POOL, gates, seed=2)
        self.picked = []

    def next_batch(self, batch, refill=False):
        items = super().next_batch(batch, refill)
        self.picked.append(items.tolist())
        return items


def reward(completions, item, **_):
    return [float(i % 2 and zlib.crc32(f"{c}{i}".encode()) % 100 > 20 + 2.5 * i)
            for c, i in zip(completions, item, strict=True)]  # fmt: skip


def run(folder, model, gates, settings, resume=None):
    """(parameters' digest, items picked) of this process."""
    config = GRPOConfig(
        output_dir=str(folder), num_generations=G, max_completion_length=5, max_steps=4, learning_rate=1e-2,
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], disable_tqdm=True, save_steps=1,
        save_strategy="steps", ddp_backend="gloo", gradient_accumulation_steps=1, **settings,
    )  # fmt: skip
    tokenizer, policy = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    controller = Watched(gates)
    trainer = SteeredGRPOTrainer(policy, [reward], config, train_dataset=DATA, processing_class=tokenizer,
                                 controller=controller)  # fmt: skip
    trainer.train(None if resume is None else str(folder / f"checkpoint-{resume}"))
    flat = torch.cat([p.detach().flatten() for p in policy.parameters()])
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()[:12], controller.picked


def of_both(found):
    """What each process found."""
    gathered = [None, None]
    distributed.all_gather_object(gathered, found)
    return gathered


def main():
    torch.set_num_threads(1)
    folder, model = Path(sys.argv[1]), sys.argv[2]
    for name, (gates, settings) in SETTINGS.items():
        out = folder / name.replace(" ", "-")
        straight = of_both(run(out, model, gates, settings))
        again = [of_both(run(out, model, gates, settings, step)) for step in (1, 2)]
        assert straight[0] == straight[1], (name, straight)
        for found in again:
            assert found[0] == found[1], (name, found)
            assert found[0][0] == straight[0][0], (name, found, straight)
            assert found[0][1] == straight[0][1][len(straight[0][1]) - len(found[0][1]) :]
        print(f"{name}: {len(straight[0][1])} batches, parameters {straight[0][0]}, resumed at 1 and 2 the same")


if __name__ == "__main__":
    main()
