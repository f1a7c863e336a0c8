"""AdaRFT in TRL's GRPOTrainer on SmolLM2-135M-Instruct and the task arithmetic, on a CPU or a GPU.

    python real_runs/smollm2.py          # once: makes the model's folder in the user's cache
    python examples/trl_smollm2.py [--steps 5] [--lora 8] [--bf16] [--rule uniform] [--out FOLDER] [--resume]
    python examples/trl_smollm2.py --steps 100 --batch 8 --rollouts 8       # in earnest

Prompts, examples, scores and difficulties are those of `real_runs/train.py --model smollm2 --task arithmetic --plain
--shots 4 --stop '\\n'`. With --out, every fifth step is a checkpoint, and --resume goes on from the last, bit for bit.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback
from trl import GRPOConfig

import real_runs
import workbench as wb
from real_runs.rl.models import load
from real_runs.tasks.named import make_task
from real_runs.tasks.prompting import Prompting
from workbench.hosts.trl import SteeredGRPOTrainer

POOL = Path(real_runs.__file__).parent / "pools" / "arithmetic.parquet"
RULES = {"adarft": wb.AdaRFT(eta=5.0), "uniform": wb.Uniform()}


def main() -> None:
    parser = argparse.ArgumentParser(description="AdaRFT in TRL's GRPOTrainer on SmolLM2")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4, help="problems of a step")
    parser.add_argument("--rollouts", type=int, default=4, help="completions of a problem")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--rule", choices=RULES, default="adarft")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="train adapters only")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--out", default="")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()

    task, pool = make_task("arithmetic"), wb.Pool.load(POOL)  # problems, answers, and difficulties of this very model
    prompting = Prompting(task.examples(4), chat=False, stop="\n")
    policy = load("smollm2", prompting=prompting)
    tokenizer, payload = policy.tokenizer, pool.payload or {}
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(tokenizer("\n").input_ids)[0]  # a completion is a line
    prompts = [prompting.plain(prompt) for prompt in payload["prompt"]]
    data = Dataset.from_dict({"prompt": prompts, "answer": list(payload["answer"])})  # row for row

    def reward(completions: list[str], answer: list[str], **_: object) -> list[float]:
        return [task.score(text, right) for text, right in zip(completions, answer, strict=True)]

    controller = wb.Controller(RULES[options.rule], pool, seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        config = GRPOConfig(
            output_dir=options.out or scratch, max_steps=options.steps, num_generations=options.rollouts,
            per_device_train_batch_size=options.batch * options.rollouts, max_completion_length=task.limit,
            learning_rate=options.lr, beta=0.0, bf16=options.bf16, use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False, logging_steps=1, report_to=[], disable_tqdm=True,
            save_strategy="steps" if options.out else "no", save_steps=5,
        )  # fmt: skip
        trainer = SteeredGRPOTrainer(
            policy.model, reward, config, train_dataset=data, processing_class=tokenizer, controller=controller,
            peft_config=LoraConfig(r=options.lora, target_modules="all-linear") if options.lora else None,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=True if options.resume else None)
    print("step  reward  target difficulty  completions")
    for row in trainer.state.log_history[:-1]:
        target = row.get("curriculum/target_difficulty", float("nan"))  # of rules that have one
        numbers = row["reward"], target, row["curriculum/rollouts"]
        print("{:4d}  {:6.2f}  {:17.1f}  {:11.0f}".format(row["step"], *numbers))


if __name__ == "__main__":
    main()
