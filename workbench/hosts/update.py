"""What every host needs: whether it can do what a controller asks for, and the batches of one update."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.controllers import Controller, Draw, Rule
from workbench.errors import InputError, check_count, check_kind
from workbench.lanes import Items


def check_steerable(controller: Controller, batch: int, rollouts: int) -> None:
    """InputError unless a host of whole groups, all of `rollouts`, can do what the controller asks for.

    batch: items of an update. Such a host has one lane, no probes, no screening, and no rollouts that differ.
    """
    check_kind("controller", controller, Controller, "a Controller such as Controller(AdaRFT(), pool)")
    check_count("batch", batch)
    check_count("rollouts", rollouts)
    if not controller.single:
        raise InputError(f"controller: must have one seed and no lanes in a host, got {controller.lanes} lanes")
    size, name = len(controller.pool), type(controller.rule).__name__
    if batch > size:
        raise InputError(f"batch: must be <= {size}, the items of pool '{controller.pool.name}', got {batch}")
    if type(controller.rule).probe is not Rule.probe:
        raise InputError(f"controller: must have a rule without probes in a host, got {name}")
    for gate in controller.gates:
        gate.check_rollouts(rollouts)
        if gate.screening:
            raise InputError(f"controller: must have gates that judge whole groups in a host, got "
                             f"{type(gate).__name__}, which screens by the first {gate.screening}")  # fmt: skip
    draw = Draw(controller.pool, controller.seeds, controller.step)
    if controller.rule.allocate(controller.state, draw, np.arange(batch)[None], rollouts) is not None:
        raise InputError(f"controller: must have a rule that gives all items {rollouts} rollouts in a host, got "
                         f"{name}, which shares them out")  # fmt: skip


class Update:
    """The batches of one update: the first, and those that replace groups which gates rejected.

    missing: groups that it still needs. drawn: batches so far.
    """

    def __init__(self, missing: int, drawn: int = 0) -> None:
        self.missing, self.drawn = missing, drawn

    def draw(self, controller: Controller, batch: int) -> Items:
        """(B,) the next batch."""
        self.drawn += 1
        return controller.next_batch(batch, refill=self.drawn > 1)

    def keep(self, controller: Controller, admitted: NDArray[np.bool_], rollouts: int) -> NDArray[np.bool_]:
        """(B,) which groups of the batch to train on: the admitted ones, up to as many as are missing.

        What they spend is counted as `train` counts it; so is an update that stays short behind gates.
        """
        kept = admitted & (np.cumsum(admitted) <= self.missing)
        self.missing -= int(kept.sum())
        controller.trained += int(kept.sum()) * rollouts
        if controller.gates and self.missing and self.drawn >= controller.max_batches:
            controller.note_short(np.array([True]))
        return kept

    def wants_more(self, controller: Controller) -> bool:
        """Whether another batch is to be drawn for this update."""
        return bool(controller.gates) and self.missing > 0 and self.drawn < controller.max_batches
