"""AdaRFT in TRL's GRPOTrainer: the tiny model of this project learns to reverse strings, in under a minute on a CPU.

    python examples/trl_adarft.py [--steps 20] [--out FOLDER] [--resume]

With --out, every fifth step is a checkpoint, and --resume goes on from the last, bit for bit.
"""

import argparse
import tempfile

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOConfig

import workbench as wb
from real_runs.rl.models import BASE, load
from real_runs.tasks.named import make_task
from workbench.hosts.trl import SteeredGRPOTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description="AdaRFT in TRL's GRPOTrainer")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", default="")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()

    torch.set_num_threads(1)  # the model is small
    task, policy = make_task("reverse"), load(BASE)
    pool = task.pool(2000, seed=0)  # prompts, answers and difficulties
    payload = pool.payload or {}
    data = Dataset.from_dict({"prompt": list(payload["prompt"]), "answer": list(payload["answer"])})  # row for row

    def reward(completions: list[str], answer: list[str], **_: object) -> list[float]:
        return [task.score(text, right) for text, right in zip(completions, answer, strict=True)]

    controller = wb.Controller(wb.AdaRFT(), pool, gates=wb.DynamicSampling(max_batches=4), seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        config = GRPOConfig(
            output_dir=options.out or scratch, max_steps=options.steps, per_device_train_batch_size=64,
            num_generations=8, max_completion_length=task.limit, learning_rate=3e-4, beta=0.0, bf16=False,
            use_cpu=True, gradient_checkpointing=False, logging_steps=1, report_to=[], disable_tqdm=True,
            save_strategy="steps" if options.out else "no", save_steps=5,
        )  # fmt: skip
        trainer = SteeredGRPOTrainer(
            policy.model, reward, config, train_dataset=data, processing_class=policy.tokenizer, controller=controller
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=True if options.resume else None)
    print("step  reward  target difficulty  batches drawn")
    for row in trainer.state.log_history[:-1]:
        numbers = row["reward"], row["curriculum/target_difficulty"], row["curriculum/batches"]
        print("{:4d}  {:6.2f}  {:17.1f}  {:13.0f}".format(row["step"], *numbers))


if __name__ == "__main__":
    main()
