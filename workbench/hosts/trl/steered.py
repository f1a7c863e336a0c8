"""Steered: the mixin that lets a controller pick what TRL's trainers generate from, and see what came of it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer, RLOOTrainer

from workbench.controllers import Controller
from workbench.errors import InputError, check_count, check_kind, shown
from workbench.hosts.rewards import ToUnit, as_groups, check_to_unit, unit_rewards
from workbench.hosts.rows import rows_of_items
from workbench.hosts.trl.groups import Batch, joined
from workbench.hosts.trl.settings import check_settings
from workbench.hosts.trl.state import last_whole, read_block, read_curriculum, write_block, write_curriculum
from workbench.hosts.update import Update, check_steerable

_Trainer: Any = object  # the trainer it is mixed into, whose methods come next


class Steered(_Trainer):
    """Before a trainer of TRL: `class Mine(Steered, MyGRPOTrainer)`. The data set becomes a pool, and a rule picks.

    controller: with one seed, over the pool. train_dataset: the pool row for row, or, with id_column, rows that have
    the pool's ids in this column. A batch has generation_batch_size / num_generations items; the controller sees the
    rewards of one before it picks the next, whatever the loader has fetched: there is no lag.
    to_unit: what takes rewards to [0, 1] for the controller: (low, high) for (reward - low) / (high - low), or a
    function of (N,) rewards; None: they are in [0, 1]. The policy learns from rewards as they are. Completions without
    a reward (None or NaN of every function) are counted as `unscorable` and left out of their group, no failures.
    Behind gates, generations follow until enough groups are admitted; what stays short is filled with rejected groups
    of advantage 0. Evaluation is TRL's own. Log names: curriculum/target_difficulty and the other numbers of
    `Controller.metrics`, as they are when TRL logs.
    Checkpoints hold the controller, and the generation that a checkpoint lies in: to resume is exact.
    Raises InputError, before training, for settings and data that a controller cannot steer, and at
    `train(resume_from_checkpoint=...)` for a checkpoint without a controller's state or with another's.
    """

    def __init__(
        self,
        *args: Any,
        controller: Controller,
        to_unit: ToUnit = None,
        id_column: str | None = None,
        **options: Any,
    ) -> None:
        check_kind("controller", controller, Controller, "a Controller such as Controller(AdaRFT(), pool)")
        check_to_unit(to_unit)
        super().__init__(*args, **options)
        self.controller, self.to_unit = controller, to_unit
        check_settings(self.args, gated=bool(controller.gates))
        self._groups = self.args.generation_batch_size // self.num_generations
        check_steerable(controller, self._groups, self.num_generations)
        self._rows = rows_of_items(controller.pool, self.train_dataset, id_column)
        self.unscorable = 0  # completions without a reward so far
        self._buffered_inputs: Any = None
        self._heard: Any = None  # (N, F) rewards of the last generation, of all processes

    # ------------------------------------------------------------------------------------------ generations

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """In training, for items of the controller instead of `inputs`."""
        if not self.model.training:
            return dict(super()._generate_and_score_completions(inputs))
        update, parts, kept = Update(self._groups), list[Batch](), list[NDArray[np.bool_]]()
        while not parts or update.wants_more(self.controller):
            items = update.draw(self.controller, self._groups)
            parts.append(dict(super()._generate_and_score_completions(self._examples(items))))
            kept.append(update.keep(self.controller, self._observe(items), self.num_generations))
        if not self.controller.gates or kept[0].all():
            return parts[0]
        padding = self._tokenizer.pad_token_id
        return joined(parts, np.concatenate(kept), self._groups, self.num_generations, padding, self.accelerator)

    def _examples(self, items: NDArray[np.int64]) -> list[dict[str, Any]]:
        """This process's share of the rows of a batch, each `num_generations` times."""
        share = self._groups * self.num_generations // self.accelerator.num_processes
        first = self.accelerator.process_index * share
        mine = np.repeat(items, self.num_generations)[first : first + share]
        rows = {item: self.train_dataset[int(self._rows[item])] for item in np.unique(mine).tolist()}
        return [dict(rows[item]) for item in mine.tolist()]

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        """As TRL does; what comes is of all processes."""
        self._heard = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        return self._heard

    def _observe(self, items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(B,) which groups to train on, after the controller has seen the rewards of the last generation."""
        per_function, weights = (x.detach().cpu().float().numpy() for x in (self._heard, self.reward_weights))
        rewards = unit_rewards(per_function, weights, self.to_unit)
        self.unscorable += int(np.isnan(rewards).sum())
        return self.controller.observe(items, *as_groups(rewards, self._groups))

    # ------------------------------------------------------------------------------------------------- log

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL does, in training with the controller's numbers."""
        if self.model.training:
            own = {"trained": float(self.controller.trained[0]), "unscorable": float(self.unscorable),
                   "short_updates": float(self.controller.short_updates[0])}  # fmt: skip
            numbers = self.controller.metrics() | own
            logs.update({f"curriculum/{name}": value for name, value in numbers.items() if not math.isnan(value)})
        super().log(logs, start_time)

    # --------------------------------------------------------------------------------------------- resume

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As TRL does, after what its checkpoints lack: one that is complete to TRL is so for the controller."""
        run = self._get_output_dir(trial=trial)
        folder = Path(run) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        notes = self._notes()
        if self.args.should_save:
            write_curriculum(folder, self.controller.state_dict(), notes)
        if self._inside(self._step):
            write_block(folder, self.args.process_index, self._buffered_inputs, notes)
        super()._save_checkpoint(model, trial)

    def _notes(self) -> dict[str, Any]:
        return {"step": self._step, "unscorable": self.unscorable, **self._sizes()}

    def _inside(self, step: int) -> bool:
        """Whether a generation is not used up after so many micro-batches."""
        return bool(step % (self.args.steps_per_generation * self.num_iterations))

    def _sizes(self) -> dict[str, Any]:
        """What must be the same to go on."""
        to_unit = "function" if callable(self.to_unit) else self.to_unit and [float(end) for end in self.to_unit]
        return {
            "groups": self._groups, "rollouts": self.num_generations, "steps_per_generation":
            self.args.steps_per_generation, "num_iterations": self.num_iterations,
            "processes": self.accelerator.num_processes, "to_unit": to_unit,
        }  # fmt: skip

    def train(self, resume_from_checkpoint: Any = None, trial: Any = None, ignore_keys_for_eval: Any = None) -> Any:
        """As TRL does; the controller goes on from a checkpoint, too. True: from the last that was written whole."""
        if resume_from_checkpoint is True:
            last = last_whole(Path(self.args.output_dir))
            if last is None:
                raise InputError("resume_from_checkpoint: must be a checkpoint where output_dir has none, got True")
            resume_from_checkpoint = str(last)
        if resume_from_checkpoint:
            self._resume(Path(os.fspath(resume_from_checkpoint)))
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

    def _resume(self, folder: Path) -> None:
        state, notes = read_curriculum(folder)
        for name, mine in self._sizes().items():
            if name not in notes or notes[name] != mine:
                raise InputError(f"resume_from_checkpoint: must be of a run with {name} {shown(mine)}, got "
                                 f"{shown(notes.get(name))}")  # fmt: skip
        counts = {name: check_count(f"{folder.name}: {name}", notes.get(name), 0) for name in ("step", "unscorable")}
        block: Any = None
        if self._inside(counts["step"]):
            device = str(self.accelerator.device)
            block = read_block(folder, self.args.process_index, self.args.steps_per_generation, notes, device)
        self.controller.load_state_dict(state)
        self._step, self._buffered_inputs, self.unscorable = counts["step"], block, counts["unscorable"]


class SteeredGRPOTrainer(Steered, GRPOTrainer):
    """TRL's GRPOTrainer under a controller; see `Steered` for what it takes beside TRL's own arguments."""


class SteeredRLOOTrainer(Steered, RLOOTrainer):
    """TRL's RLOOTrainer under a controller; see `Steered` for what it takes beside TRL's own arguments."""
