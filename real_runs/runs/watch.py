"""What is written down while a run goes on."""

from __future__ import annotations

import io
import math
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

from workbench import Controller
from workbench.files import StorageError


class Timed(Controller):
    """The controller, with a clock, and with the feedback since the last step kept for the record."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._seconds, self._groups = 0.0, list[tuple[Any, ...]]()

    def next_batch(self, batch: int, refill: Any = False) -> Any:
        start = time.perf_counter()
        items = super().next_batch(batch, refill)
        self._seconds += time.perf_counter() - start
        return items

    def observe(self, items: Any, rewards: Any, counts: Any = None) -> Any:
        start = time.perf_counter()
        admitted = super().observe(items, rewards, counts)
        self._seconds += time.perf_counter() - start
        sizes = np.full(len(items), rewards.shape[1]) if counts is None else counts
        self._groups.append((items, rewards, admitted, sizes))
        return admitted

    def take(self) -> list[tuple[Any, ...]]:
        groups, self._groups, self._seconds = self._groups, [], 0.0
        return groups

    def row(self, step: int, learner: Any) -> dict[str, float]:
        """The step's row of steps.csv. reward, difficulty and zero-variance share are over all groups generated."""
        items, rewards, admitted, sizes = map(np.concatenate, zip(*self._groups, strict=True))
        labels = self.pool.difficulty[items]
        difficulty = labels[~np.isnan(labels)] if not np.isnan(labels).all() else labels
        alike = ((rewards == rewards[:, :1]) | (np.arange(rewards.shape[1]) >= sizes[:, None])).all(axis=1)
        silent = alike[sizes > 1].mean() if (sizes > 1).any() else math.nan
        row: dict[str, float] = learner.stats | {
            "step": step,
            "reward": rewards.sum() / sizes.sum(),
            "target_difficulty": float(self.target()[0]),
            "difficulty_mean": difficulty.mean(),
            "difficulty_min": difficulty.min(),
            "difficulty_max": difficulty.max(),
            "zero_variance_share": silent,
            "rollouts": int(self.rollouts[0]),
            "tokens": learner.tokens,
            "batches": int(self.batches[0]),
            "admitted": admitted.sum(),
            "faults": learner.faults,
            "coverage": float(self.coverage()[0]),
            "seconds_controller": self._seconds,
        }
        return row


class Board:
    """TensorBoard scalars of each step, in a folder. Written in this thread: a full disk is told at the step."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary, self._records = Event, Summary, RecordWriter
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / f"{name}.{secrets.token_hex(4)}"
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, step: int, row: dict[str, float]) -> None:
        values = {name: float(value) for name, value in row.items() if name != "step" and math.isfinite(value)}
        scalars = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(self._event(wall_time=time.time(), step=step, summary=self._summary(value=scalars)))

    def _write(self, event: Any) -> None:
        record = io.BytesIO()
        self._records(record).write(event.SerializeToString())
        try:
            self._path.parent.mkdir(exist_ok=True)
            with open(self._path, "ab") as file:
                file.write(record.getvalue())
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror or error}") from error
