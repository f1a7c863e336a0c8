"""TRL's trainers under a controller: no lag, refills, exact resume; plain TRL on the other side of the seam."""

import json
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import workbench as wb
from workbench.errors import InputError
from workbench.hosts.trl import SteeredGRPOTrainer, SteeredRLOOTrainer

# transformers 5.23 has renamed what TRL 1.16 and transformers 5.0 call gradient checkpointing
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

I, G = 24, 4
POOL = wb.Pool(np.linspace(0, 100, I), ids=[f"q{i}" for i in range(I)], name="some")
DATA = Dataset.from_dict({"prompt": [f"{i}=" for i in range(I)], "item": list(range(I)), "id": POOL.ids.tolist()})
KINDS = {"grpo": (SteeredGRPOTrainer, GRPOTrainer, GRPOConfig), "rloo": (SteeredRLOOTrainer, RLOOTrainer, RLOOConfig)}


class Coin:
    """A reward that depends on the completion and the item: the harder, the rarer. It logs what it gives."""

    __name__ = "coin"

    def __init__(self, scale=1.0, none_for=()):
        self.log, self.scale, self.none_for = [], scale, none_for

    def __call__(self, completions, item, **_):
        values = [float(zlib.crc32(f"{c}{i}".encode()) % 100 > 20 + 2.5 * i) for c, i in zip(completions, item)]
        given = [None if i in self.none_for else self.scale * v for v, i in zip(values, item)]
        self.log += list(zip(item, given))
        return given

    def batches(self, size):
        """(items (B,), rewards (B, G)) of each generation of so many groups."""
        for start in range(0, len(self.log), size * G):
            rows = self.log[start : start + size * G]
            yield np.array([item for item, _ in rows[::G]]), np.array([value for _, value in rows]).reshape(size, G)


@pytest.fixture(scope="module")
def parts(tiny):
    """The folder of a tiny model, and its tokenizer."""
    folder = tiny("llama", prefers="ab")
    return folder, AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def make(parts, tmp_path):
    """make(kind, controller, coin, data, **settings): a steered trainer; without a controller, TRL's own."""

    def made(kind="grpo", controller=None, coin=None, data=DATA, extra=None, **settings):
        steered, plain, config = KINDS[kind]
        settings = {
            "output_dir": str(tmp_path / "out"), "per_device_train_batch_size": 16, "num_generations": G,
            "max_completion_length": 5, "max_steps": 3, "learning_rate": 1e-2, "use_cpu": True, "bf16": False,
            "gradient_checkpointing": False, "report_to": [], "disable_tqdm": True, "save_strategy": "no",
            "logging_steps": 1, "seed": 5,
        } | settings  # fmt: skip
        options = {"controller": controller, **(extra or {})} if controller else (extra or {})
        model = AutoModelForCausalLM.from_pretrained(parts[0])
        return (steered if controller else plain)(
            model, [coin or Coin()], config(**settings), train_dataset=data, processing_class=parts[1], **options
        )

    return made


def adarft(gates=()):
    return wb.Controller(wb.AdaRFT(eta=30.0), POOL, gates, seed=2)


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize(
    ("kind", "settings", "generations"),
    [
        ("grpo", {}, 3),
        ("rloo", {}, 3),
        ("grpo", {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "num_iterations": 2}, 2),
        ("grpo", {"per_device_train_batch_size": 8, "steps_per_generation": 4}, 1),
        ("grpo", {"per_device_train_batch_size": 4, "steps_per_generation": 2, "gradient_accumulation_steps": 4}, 6),
        ("rloo", {"dataloader_num_workers": 1, "per_device_train_batch_size": 8}, 3),
    ],
    ids=lambda value: " ".join(f"{n[:14]}={v}" for n, v in value.items()) if isinstance(value, dict) else str(value),
)
def test_each_generation_is_of_items_picked_after_all_rewards_before_it(make, kind, settings, generations):
    """A fresh controller that is fed the logged rewards one by one picks the same items."""
    coin, controller, twin = Coin(), adarft(), adarft()
    trainer = make(kind, controller, coin, **settings)
    trainer.train()
    size = trainer.args.generation_batch_size // G
    logged = list(coin.batches(size))
    assert len(logged) == generations
    for items, rewards in logged:
        np.testing.assert_array_equal(twin.next_batch(size), items)
        twin.observe(items, rewards)
    assert twin.metrics() == controller.metrics() or generations == 1
    assert controller.late_feedback == controller.partial_feedback == controller.repeated_feedback == 0
    assert generations == 1 or controller.metrics()["target_difficulty"] > 0
