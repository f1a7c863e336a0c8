"""A controller in verl's synchronous trainer, for the hook that imports a module of the user's into verl.

The module, on the path of every process, and named in VERL_USE_EXTERNAL_MODULES:

    import workbench as wb
    from workbench.hosts.verl import register

    @register("adarft")
    def controller():
        return wb.Controller(wb.AdaRFT(), wb.Pool.load("pool.parquet"), seed=0)

and verl is started with trainer.v1.trainer_mode=adarft. Nothing of verl is imported before `register` is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from workbench.controllers import Controller
from workbench.errors import InputError, check_text
from workbench.hosts.queue import Queue
from workbench.hosts.rewards import ToUnit, as_answer, check_to_unit
from workbench.hosts.rows import rows_of_items
from workbench.hosts.seam import check_methods

__all__ = ["register"]

VERSIONS = "0.9"  # major and minor
RANGE = ">= 0.9.1, < 0.10"
SYNC = "sync"  # verl's name for the mode; it asks for it in many places
SEAM = {  # methods of PPOTrainer that are overridden or relied on, and their parameters
    "__init__": ("self", "config"),
    "_init_dataloader": ("self",),
    "_fetch_one_gen_batch": ("self",),
    "_next_train_batch": ("self", "num_prompts"),
    "_compute_advantage": ("self", "batch", "metrics"),
    "_load_checkpoint": ("self",),
    "_save_checkpoint": ("self",),
}

_Trainer: Any = object  # the trainer it is mixed into, whose methods come next


def register(
    name: str, to_unit: ToUnit = None, id_column: str | None = None
) -> Callable[[Callable[[], Controller]], Callable[[], Controller]]:
    """Decorate the function that makes the controller: `trainer.v1.trainer_mode=name` is then verl's synchronous
    trainer under it.

    The controller has one seed and no gates. train_files hold the pool row for row, after verl's own filters; or, with
    id_column, rows that have the pool's ids in this column. data.train_batch_size items are a batch of the rule, and
    it sees their rewards before the next batch is picked. to_unit: as of TRL's `Steered`.
    Raises InputError for another verl, and for a name that verl has.
    """
    check_text("name", name)
    check_to_unit(to_unit)
    base, taken, add = _import_verl()
    if name in taken:
        raise InputError(f"name: must not be a trainer that verl has, {', '.join(sorted(taken))}, got {name!r}")

    def decorate(make: Callable[[], Controller]) -> Callable[[], Controller]:
        if not callable(make):
            raise InputError(f"controller: must be a function that makes one, got {type(make).__name__}")
        own = {"make": staticmethod(make), "to_unit": staticmethod(to_unit) if callable(to_unit) else to_unit,
               "id_column": id_column, "__module__": __name__}  # fmt: skip
        add(name)(type(f"Steered{base.__name__}", (Steered, base), own))
        return make

    return decorate


def _import_verl() -> tuple[Any, dict[str, Any], Any]:
    """verl's synchronous trainer, its registry and what adds to it; InputError for another verl or none."""
    try:
        import verl
    except ModuleNotFoundError as error:
        if error.name != "verl":
            raise
        raise InputError(f"verl: must be installed, {RANGE}: pip install 'verl[verl-core]==0.9.1'") from None
    version = str(verl.__version__)
    found = f"verl: must be {RANGE}, whose private methods are overridden here, got {version}"
    if version.split(".")[:2] != VERSIONS.split(".") or version == "0.9.0":
        raise InputError(found)
    from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

    check_methods(found, PPOTrainerSync, SEAM)
    return PPOTrainerSync, TRAINER_REGISTRY, register_trainer


class Prompts:
    """Stands where verl has its loader: batches of rows, `chunk` each, for the items that a queue hands out.

    keys: of the prompts without an answer, by the uid that verl gave them.
    """

    def __init__(self, queue: Queue, rows: Any, data: Any, chunk: int, collate: Callable[[list[Any]], Any]) -> None:
        self.queue, self.loaded, self.keys = queue, False, dict[str, int]()
        self._rows, self._data, self._chunk, self._collate = rows, data, chunk, collate
        self._unnamed = list[int]()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        prompts = [prompt for _ in range(self._chunk) if (prompt := self.queue.get())]
        if len(prompts) < self._chunk:
            raise InputError(f"trainer: must report a batch of {self.queue.batch} before it asks for the next; verl "
                             f"asked for {self._chunk} prompts more")  # fmt: skip
        self._unnamed = [key for key, _ in prompts]
        return self._collate([self._data[int(self._rows[item])] for _, item in prompts])

    def name(self, uids: list[str]) -> None:
        """Say what verl calls the prompts of the last batch."""
        self.keys.update(zip(uids, self._unnamed, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return self.queue.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.queue.load_state_dict(state)
        self.loaded = True


class Steered(_Trainer):
    """What `register` puts before verl's synchronous trainer.

    Items are picked when verl fetches a batch, after all rewards of the batch before. A trajectory that failed, or
    whose reward is NaN, is left out of its group; a group with none is dropped and counted (`dropped_groups`). The
    state is in verl's data.pt. Log names: curriculum/target_difficulty and the other numbers of `Queue.metrics`.
    Raises InputError for settings and data that a controller cannot steer, and for a checkpoint without its state.
    """

    make: Callable[[], Controller]
    train_dataloader: Any
    to_unit: ToUnit
    id_column: str | None

    def __init__(self, config: Any) -> None:
        config.trainer.v1.trainer_mode = SYNC
        super().__init__(config)
        filters, sampler = config.algorithm.get("filter_groups") or {}, config.trainer.v1.sampler
        refused = {
            "algorithm.filter_groups.enable": bool(filters.get("enable")),
            "trainer.v1.sampler.sync_refill_failed_groups": bool(sampler.get("sync_refill_failed_groups")),
        }
        for name, is_set in refused.items():
            if is_set:
                raise InputError(f"{name}: must be False under a controller, which would not hear of these groups")
        if self.parameter_sync_step != 1:
            raise InputError("trainer.v1.sync.parameter_sync_step: must be 1 under a controller, as a batch is an "
                             f"update, got {self.parameter_sync_step}")  # fmt: skip

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        controller, loader = self.make(), self.train_dataloader
        queue = Queue(controller, int(self.config.data.train_batch_size), int(self.config.actor_rollout_ref.rollout.n))
        if controller.gates:
            raise InputError(f"controller: must have no gates in verl, got {type(controller.gates[0]).__name__}")
        rows = rows_of_items(controller.pool, getattr(self.train_dataset, "dataframe", None), self.id_column)
        self.train_dataloader = Prompts(queue, rows, self.train_dataset, loader.batch_size, loader.collate_fn)

    def _fetch_one_gen_batch(self) -> Any:
        batch = super()._fetch_one_gen_batch()
        self.train_dataloader.name([str(uid) for uid in batch["uid"]])
        return batch

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        from transfer_queue import kv_batch_get

        scores = kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["rm_scores"])
        self._answer(group_rewards(batch.keys, batch.tags, [float(row.sum()) for row in scores["rm_scores"].unbind()]))
        numbers = self.train_dataloader.queue.metrics()
        metrics.update({f"curriculum/{name}": value for name, value in numbers.items() if not math.isnan(value)})
        return super()._compute_advantage(batch, metrics)

    def _answer(self, rewards: dict[str, list[float]]) -> None:
        """Give the queue a whole batch's rewards, by verl's uids."""
        prompts = self.train_dataloader
        odd = sorted(rewards.keys() - prompts.keys.keys())
        if odd:
            raise InputError(f"uid: must be of a prompt that was handed out and has no answer, got {odd[0]!r}")
        for uid, key in prompts.keys.items():
            if uid in rewards:
                prompts.queue.answer(key, *as_answer(rewards[uid], prompts.queue.rollouts, self.to_unit))
            else:
                prompts.queue.drop(key)
        prompts.keys.clear()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if self.global_steps and not self.train_dataloader.loaded:
            raise InputError(f"global_step_{self.global_steps}: must have the controller's state in data.pt, has none")


def group_rewards(keys: list[str], tags: list[dict[str, Any]], scores: list[float]) -> dict[str, list[float]]:
    """Rewards of each prompt's trajectories, by its uid: those of the last output of each session.

    keys: UID_SESSION_INDEX, as verl names trajectories. tags: what verl notes of each; rows of padding are left out.
    """
    last: dict[tuple[str, str], tuple[int, float]] = {}
    for key, tag, score in zip(keys, tags, scores, strict=True):
        uid, session, index = key.rsplit("_", 2)
        if not tag.get("is_padding") and last.get((uid, session), (-1, 0.0))[0] < int(index):
            last[uid, session] = int(index), score
    rewards: dict[str, list[float]] = {}
    for (uid, _), (_, score) in sorted(last.items()):
        rewards.setdefault(uid, []).append(score)
    return rewards
