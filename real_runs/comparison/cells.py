"""What a study runs: pools x learners x arms x seeds, each a `Run` with a folder of its own."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from real_runs.runs.finished import Finished, read_finished, read_manifest
from real_runs.runs.identity import as_now, check_code, check_same
from real_runs.runs.run import OPTIONS, Run, add_options, command_line, read_options
from real_runs.runs.settings import read_texts, value_of
from workbench.commands import whole
from workbench.errors import InputError
from workbench.files import DamagedFile
from workbench.labels import Settings, label_of, read_label
from workbench.pool.layouts import name_of, split_sources
from workbench.registry import BASELINE, owner_and_field, parts_of

CROSSED = ("pool", "controller", "algorithm", "lr")  # options of a run of which a study takes several
FIXED = ("seed", "threads")  # and those that it sets itself
SHARED = tuple(name for name in OPTIONS if name not in CROSSED + FIXED)
MOST_SEEDS = 1000  # of a study: its runs take minutes each
TRAIN = Path(__file__).parents[1] / "train.py"


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    learner: its name in tables: the task, and where a study has several algorithms or learning rates, which.
    """

    run: Run
    folder: Path
    learner: str

    @property
    def pool(self) -> str:
        """Its name in tables and folders."""
        return name_of(self.run.pool) or "all"

    @property
    def controller(self) -> str:
        """Its name in tables: the controller with its settings."""
        return label_of(self.run.controller, tuple(self.run.controller_settings.items()))

    def finished(self, warn: Callable[[str], object], code: Mapping[str, Any] | None = None) -> bool:
        """Whether the run ended here with these very settings; InputError if other ones did.

        warn: told, in a line, of a damaged record, which is of no finished run.
        code: what today's code is (`code_of`), and InputError if other code did; None takes any.
        """
        try:
            found = self.record()
        except DamagedFile as error:
            warn(f"a run's record is damaged, so that it is not finished: {error}")
            return False
        if found is not None and code is not None:
            check_code("--out", found.manifest, {"code": code}, str(self.folder), any_code=False)
        return found is not None

    def record(self) -> Finished | None:
        """What the run wrote here at its end, None where it did not end.

        Raises InputError where one of other settings ended here, and DamagedFile where a file is not as it was written.
        """
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        mine = asdict(self.run) | {"settings": dict(self.run.settings)}
        there = {name: value for name, value in as_now(manifest, "run").items() if name in mine}
        check_same("--out", "hold runs of the same settings", self.folder, there, mine)
        return read_finished(self.folder, manifest, self.run)

    def command(self, *flags: str) -> list[str]:
        """The command line of train.py that begins the run or goes on with it; flags: further options."""
        return [sys.executable, str(TRAIN), *command_line(self.run), *flags, "--resume", "--out", str(self.folder)]


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what is run."""

    def add(flag: str, metavar: str, default: str, text: str) -> None:
        parser.add_argument(flag, metavar=metavar, default=default, help=f"{text} (default: %(default)s)")

    add("--pools", "A,B", "skew-difficult,uniform,skew-easy", "as --pool of train.py, comma-separated")
    add("--controllers", "A,B", "uniform,filter,band,linear,adarft,dapo",
        "as in train.py, also with settings, 'adarft eta=5', comma-separated; uniform always runs")  # fmt: skip
    add("--algorithm", "A,B", Run.algorithm, "as in train.py, comma-separated")
    add("--lr", "A,B", str(Run.lr), "largest learning rate (Adam), comma-separated")
    parser.add_argument(
        "--set", metavar="NAME.PARAMETER=A,B", action="append", default=[],
        help="a hyper-parameter of a rule, a gate or an algorithm: several values are arms of their own, arms without "
        "the part stay as they are (repeatable)",
    )  # fmt: skip
    add("--seeds", "N", "6", "how many paired seeds")
    add("--first-seed", "N", "0", "the first of them: settings are chosen on other seeds than they are reported on")
    add_options(parser, SHARED, budget="rollouts", save_every="20")


def make_cells(options: argparse.Namespace, out: Path) -> list[Cell]:
    """The cells that the options of `add_study_options` describe, seed by seed: cut off, a study is still paired.

    Every combination of pools, algorithms with their settings, learning rates, and controllers with theirs. The
    baseline, uniform without settings, always runs. A name or a folder says what differs: folders of a study of one
    algorithm and learning rate are <pool>/<controller>/seed-<seed>. InputError, in one line, for wrong options.
    """
    shared = read_options(options, SHARED) | {"threads": 1}
    first = whole("--first-seed", options.first_seed, 0, 2**63)
    seeds = range(first, first + whole("--seeds", options.seeds, 1, MOST_SEEDS))
    pools = split_sources(options.pools)
    stems = [name_of(pool) for pool in pools]
    if len(set(stems)) < len(stems):
        raise InputError(f"--pools: must have different names, which their folders get, got {', '.join(stems)}")
    controllers = list(dict.fromkeys(read_label(text, "--controllers") for text in options.controllers.split(",")))
    algorithms = list(dict.fromkeys(options.algorithm.split(",")))
    rates = [_with(options, "lr", text)["lr"] for text in options.lr.split(",")]
    parts = [part for name, _ in [(BASELINE, ()), *controllers] for part in parts_of(name)]
    choices = _choices(options.set, parts, algorithms)
    learners = [
        (algorithm, settings, rate)
        for algorithm in algorithms
        for settings in _settings(choices, [algorithm])
        for rate in dict.fromkeys(rates)
    ]
    arms = [(name, own + settings) for name, own in [(BASELINE, ()), *controllers]
            for settings in _settings(choices, parts_of(name), dict(own))]  # fmt: skip
    arms = list(dict.fromkeys([(BASELINE, ()), *arms]))
    cells = []
    for pool, learner, (controller, settings), seed in product(pools, learners, arms, seeds):
        algorithm, its_settings, rate = learner
        run = Run(
            pool=pool, controller=controller, seed=seed, algorithm=algorithm, lr=rate,
            settings=settings + its_settings, **shared,
        )  # fmt: skip
        cell = Cell(run, Path(), _what_differs(shared["task"], learner, learners))
        arm = _what_differs(cell.controller, learner, learners)
        folder = out / "runs" / cell.pool / folder_of(arm) / f"seed-{seed}"
        cells.append(replace(cell, folder=folder))
    for cell in {(cell.run.controller, cell.run.settings): cell for cell in cells}.values():
        cell.run.make_controller()
        cell.run.make_algorithm()
    return sorted(cells, key=lambda cell: cell.run.seed)


def folder_of(arm: str) -> str:
    """The name of an arm's folder: its label without blanks and the like."""
    return re.sub(r"[^\w.+:=-]", "_", arm)


def _with(options: argparse.Namespace, name: str, text: str) -> dict[str, Any]:
    """One field's value from one of the texts that its option lists."""
    return read_options(argparse.Namespace(**{name: text}), [name])


def _choices(given: Sequence[str], parts: Sequence[str], algorithms: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each setting that `--set` lists, by full name."""
    owners = list(dict.fromkeys([*parts, *algorithms]))
    texts = read_texts(given, owners, "NAME.PARAMETER=VALUE[,VALUE]")
    return {
        name: list(dict.fromkeys(value_of(name, value, algorithms) for value in text.split(",")))
        for name, text in texts.items()
    }


def _settings(choices: Mapping[str, list[Any]], owners: Sequence[str], but: Container[str] = ()) -> Iterator[Settings]:
    """Every combination of the values of the settings that some owners have; one without any where they have none.

    but: settings that are left out, as an arm has them itself.
    """
    own = {name: values for name, values in choices.items() if owner_and_field(name)[0] in owners and name not in but}
    for values in product(*own.values()):
        yield tuple(zip(own, values, strict=True))


def _what_differs(name: str, learner: tuple[str, Settings, float], learners: Sequence[tuple[Any, ...]]) -> str:
    """A name with the algorithm, its settings and the learning rate, as far as they differ between learners."""
    algorithm, settings, rate = learner
    if len({(other, theirs) for other, theirs, _ in learners}) > 1:
        name += " " + label_of(algorithm, settings)
    return label_of(name, (("lr", rate),) if len({other for *_, other in learners}) > 1 else ())
