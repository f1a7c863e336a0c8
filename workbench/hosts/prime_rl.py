"""A controller as the task sampler of prime-rl's curriculum, for its orchestrator.

prime-rl's configuration has no place for a sampler of one's own, so a script stands for the command `orchestrator`:

    from prime_rl.entrypoints.orchestrator import main
    from prime_rl.orchestrator import orchestrator
    from workbench.hosts.prime_rl import ControllerSampler, steered_source

    def sampler(tasks):
        controller = wb.Controller(wb.AdaRFT(eta=5.0), wb.Pool.load("pool.parquet"), seed=0)
        return ControllerSampler(controller, tasks, batch=64, rollouts=8, ahead=4)

    orchestrator.TrainSource = steered_source({"my-env": sampler})
    main()

Nothing of prime-rl is imported before `steered_source` is called.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from workbench.controllers import Controller
from workbench.errors import InputError, check_count, few, shown
from workbench.hosts.queue import Queue
from workbench.hosts.rewards import ToUnit, as_answer, check_to_unit
from workbench.hosts.seam import check_methods

__all__ = ["ControllerSampler", "steered_source"]

SEAM = {  # of prime-rl's TaskSampler
    "__next__": ("self",),
    "observe": ("self", "group"),
    "state_dict": ("self",),
    "load_state_dict": ("self", "state_dict"),
    "metrics": ("self",),
}


class ControllerSampler(Iterator[Any]):
    """What prime-rl asks for the next task, and tells of finished groups, by `workbench.hosts.Queue`.

    tasks: of the environment, as many as the pool has items and in its order; or, with by_key, tasks whose keys are
    the pool's ids. batch, rollouts, ahead: as of `Queue`; rollouts is the environment's group_size. prime-rl always has
    many groups in flight and tells nothing of those that it drops as stale: where more than `ahead` batches would have
    to wait, the oldest prompts are given up (`dropped_groups`), and so is what comes of them later (`late_groups`).
    Let ahead x batch exceed the groups in flight. to_unit: as of TRL's `Steered`.
    An episode counts with the mean reward of its trainable traces without an error; one that has none is left out.
    The controller has no gates: prime-rl's own judge groups, and rejected ones are observed, too.
    Raises InputError for what does not fit.
    """

    def __init__(
        self,
        controller: Controller,
        tasks: Sequence[Any],
        batch: int,
        rollouts: int,
        ahead: int,
        to_unit: ToUnit = None,
        by_key: bool = False,
    ) -> None:
        check_to_unit(to_unit)
        self.queue, self.to_unit, self.late_groups = Queue(controller, batch, rollouts, ahead), to_unit, 0
        if controller.gates:
            raise InputError(f"controller: must have no gates in prime-rl, got {type(controller.gates[0]).__name__}")
        self._tasks = _tasks_of_items(controller, tasks, by_key)
        self._keys = {task.key for task in self._tasks}
        self._flying: dict[str, deque[int]] = {}  # keys of the queue, by the task's

    def __next__(self) -> Any:
        while (prompt := self.queue.get()) is None:
            name = min((keys[0], name) for name, keys in self._flying.items())[1]
            self.queue.drop(self._landed(name))
        key, item = prompt
        task = self._tasks[item]
        self._flying.setdefault(task.key, deque()).append(key)
        return task

    def _landed(self, name: str) -> int:
        """The oldest prompt in flight of a task, which is so no longer."""
        key = self._flying[name].popleft()
        if not self._flying[name]:
            del self._flying[name]
        return key

    def observe(self, group: list[Any]) -> None:
        """Take a finished group of episodes."""
        name = group[0].task.key
        if name not in self._keys:
            raise InputError(f"group: must be of a task that is in the pool, got the key {shown(name)}")
        if name not in self._flying:
            self.late_groups += 1
            return
        answer = as_answer([_reward(episode) for episode in group], self.queue.rollouts, self.to_unit)
        self.queue.answer(self._landed(name), *answer)

    def state_dict(self) -> dict[str, Any]:
        return {"late_groups": self.late_groups, "queue": self.queue.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state: tasks that were in flight come again, before any other."""
        state: Any = state_dict
        if not isinstance(state, Mapping) or state.keys() != {"late_groups", "queue"}:
            raise InputError(f"state: must be a ControllerSampler's, of late_groups and queue, got {shown(state)}")
        late = check_count("state.late_groups", state["late_groups"], 0)
        self.queue.load_state_dict(state["queue"])
        self.late_groups, self._flying = late, {}

    def metrics(self) -> dict[str, float]:
        """The numbers of `Queue.metrics` that are known, and late_groups."""
        numbers = self.queue.metrics() | {"late_groups": float(self.late_groups)}
        return {name: value for name, value in numbers.items() if not math.isnan(value)}


def _tasks_of_items(controller: Controller, tasks: Any, by_key: bool) -> list[Any]:
    """The task of each item; InputError where there are not as many, or ids that are no keys."""
    pool = controller.pool
    if not isinstance(tasks, Sequence):
        raise InputError(f"tasks: must be a sequence with the items of the pool, got {type(tasks).__name__}")
    named = {task.key: task for task in tasks}
    if len(named) < len(tasks):
        raise InputError(f"tasks: must have keys that differ, got {len(named)} keys of {len(tasks)} tasks")
    if not by_key:
        if len(tasks) != len(pool):
            raise InputError(f"tasks: must be the pool one for one, {len(pool)} items, got {len(tasks)}; by_key joins "
                             "others by the pool's ids")  # fmt: skip
        return list(tasks)
    if pool.ids is None:
        raise InputError(f"pool: must have ids to be joined by key, but '{pool.name}' has none")
    lacking = [str(name) for name in pool.ids.tolist() if name not in named]
    if lacking:
        raise InputError(f"tasks: must have a task for each id of the pool, lack {len(lacking)} of {len(pool)}: "
                         f"{few(lacking, 3)}")  # fmt: skip
    return [named[name] for name in pool.ids.tolist()]


def _reward(episode: Any) -> float:
    """Mean reward of an episode's trainable traces without an error; NaN where there is none."""
    rewards = [trace.reward for trace in episode.traces if not trace.has_error and trace.agent.trainable]
    return sum(rewards) / len(rewards) if rewards else math.nan


def steered_source(samplers: Mapping[str, Callable[[Sequence[Any]], Any]]) -> Any:
    """prime-rl's TrainSource with these samplers: for each environment's name, a function of its tasks.

    Raises InputError where prime-rl is not installed or has another protocol, and, when the orchestrator makes the
    source, for an environment that it does not have or whose tasks have no end.
    """
    try:
        from prime_rl.orchestrator.curriculum.samplers import TaskSampler
        from prime_rl.orchestrator.train_source import TrainSource
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prime_rl":
            raise
        raise InputError("prime_rl: must be installed, from its repository") from None
    check_methods("prime_rl: must be as of commit 559b44772", TaskSampler, SEAM)
    TaskSampler.register(ControllerSampler)

    class SteeredSource(TrainSource):
        def __init__(self, train_envs: Any) -> None:
            super().__init__(train_envs)
            for name, make in samplers.items():
                if name not in self.curricula:
                    raise InputError(f"environment: must be one of {few(list(self.curricula))}, got {shown(name)}")
                tasks = getattr(self.curricula[name].sampler, "tasks", None)
                if tasks is None:
                    raise InputError(f"environment {shown(name)}: must have tasks that end under a controller")
                self.curricula[name].sampler = make(tasks)

    return SteeredSource
