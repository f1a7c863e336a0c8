"""The figures of a sweep: which are drawn, and a second process that helps to draw them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sims.comparison.notes import note

if TYPE_CHECKING:  # a painter starts before pandas is imported
    import pandas as pd

FIGURES = {  # name of the file: function of `workbench.figures`
    "learning_curves": "learning_curves",
    "target_difficulty": "target_trajectories",
    "speedup": "speedup_forest",
    "heat_map": "heat_map",
}
SUFFIXES = (".pdf", ".png")
MOST_CONTROLLERS, MOST_LEARNERS = 20, 8  # that a reader can tell apart in one figure
MOST_CURVES = 12  # in one panel
MOST_ROWS = 160  # arms in one forest
MOST_PANELS_ALONE = 4  # that one process draws as soon as two do


class Picture(NamedTuple):
    """A figure: its name and the arguments of its function.

    rules: controllers and rules of the whole study, so that a controller looks the same whatever else is drawn.
    """

    name: str
    arguments: tuple[Any, ...]
    rules: pd.DataFrame | None = None


def choose(
    curves: pd.DataFrame, summary: pd.DataFrame, heat: tuple[str, str] | None, focus: str | None = None
) -> list[Picture]:
    """The figures that these tables can fill; curves of `focus` are in them whatever its place."""
    shown = readable(summary)
    rules = summary[["controller", "rule"]].drop_duplicates()
    first = leading(shown, focus)
    drawn = curves[curves["controller"].isin(first) & curves["learner"].isin(shown["learner"])]
    left_out = shown["controller"].nunique() - drawn["controller"].nunique()
    if left_out:
        note(f"figures show uniform and the best rules by area; {left_out} are in the tables only")
    pictures = [Picture("learning_curves", (drawn,), rules)]
    if drawn["target"].notna().any():
        pictures.append(Picture("target_difficulty", (drawn,), rules))
    if (shown["verdict"] != "baseline").any():
        few = shown if len(shown) <= MOST_ROWS else shown[shown["controller"].isin(first)]
        pictures.append(Picture("speedup", (few,), rules))
    if heat:
        pictures.append(Picture("heat_map", (summary, *heat, "speedup", True)))
    return pictures


def readable(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows that curves can show: of a rule or law with too many settings only the best, by mean area."""
    area = summary.groupby(["rule", "controller"], sort=False)["auc"].mean()
    controllers, learners = list(summary["controller"].unique()), list(summary["learner"].unique())
    if len(controllers) > MOST_CONTROLLERS:
        controllers = [name for _, name in area.groupby("rule", sort=False).idxmax()]
    if len(learners) > MOST_LEARNERS:
        area = summary.groupby(["law", "learner"], sort=False)["auc"].mean()
        learners = [name for _, name in area.groupby("law", sort=False).idxmax()]
    shown = summary[summary["controller"].isin(controllers) & summary["learner"].isin(learners)]
    left_out = summary["controller"].nunique() - len(controllers), summary["learner"].nunique() - len(learners)
    if any(left_out):
        note(
            f"curves and forest show the best setting of each rule and learner; {left_out[0]} controllers and "
            f"{left_out[1]} learners are in the tables only"
        )
    return shown


def leading(summary: pd.DataFrame, focus: str | None = None) -> list[str]:
    """The controllers whose curves are drawn: the baseline and, of too many, `focus` and the best by mean area."""
    controllers = list(summary["controller"].unique())
    if len(controllers) <= MOST_CURVES:
        return controllers
    baseline = summary.loc[summary["verdict"] == "baseline", "controller"].iloc[0]
    area = summary[summary["controller"] != baseline].groupby("controller")["auc"].mean()
    best = area.nlargest(MOST_CURVES - 1).index
    own = area[area.index.isin(summary.loc[summary["rule"] == focus, "controller"])]
    if focus is None or own.empty or best.isin(own.index).any():
        return [baseline, *best]
    return [baseline, *best[:-1], own.idxmax()]


def paint(picture: Picture, out: Path) -> None:
    """Draw it and write it into the folder, as PDF and PNG."""
    from workbench import figures

    looks = {} if picture.rules is None else {"looks": figures.controller_looks(picture.rules)}
    draw = getattr(figures, FIGURES[picture.name])
    figures.save(draw(*picture.arguments, **looks), out / picture.name)


# ------------------------------------------------------------------------------------------------------ process


class Painter:
    """A second process that draws figures. It imports matplotlib when it starts, and exits when this process does."""

    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, *(f"-W{option}" for option in sys.warnoptions), __file__, str(theirs.fileno())],
            stdin=subprocess.PIPE,  # open as long as this process runs
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # import the same workbench
            process_group=0,  # Ctrl-C goes to this process only
        )
        theirs.close()

    def __enter__(self) -> Painter:
        return self

    def __exit__(self, *_: object) -> None:
        with self.pipe, self.process:  # closes its input, upon which it exits, and waits
            pass

    def start(self, pictures: list[Picture], out: Path) -> None:
        """Begin to draw these into the folder; `finish` waits, and says what went wrong."""
        self.pictures, self.out = pictures, out
        # loading matplotlib here takes as long as some panels; the first figure takes as long as the others
        panels = pictures[0].arguments[0][["pool", "learner"]].drop_duplicates()
        self.own = pictures[:1] if len(panels) > MOST_PANELS_ALONE else []
        with suppress(OSError):  # it died: there will be no answer either
            self.pipe.send((pictures[len(self.own) :], out))

    def finish(self) -> list[str]:
        """Draw what is left, remove other figures of an earlier study, and return the names of those that are there.

        A figure with too much in it to be read is left out with a line on stderr; its tables are complete.
        Raises WorkerError if the other process died, and the error of a figure that failed.
        """
        results = [attempt(self.own, self.out)] if self.own else []
        try:
            results.append(self.pipe.recv())
        except (EOFError, OSError):
            from workbench.errors import WorkerError

            raise WorkerError("the process that draws figures died (out of memory?)") from None
        for _, error in results:
            if error:
                raise error
        unreadable = {name: reason for reasons, _ in results for name, reason in reasons.items()}
        for name, reason in unreadable.items():
            note(f"{name} is not drawn: {reason}")
        drawn = [picture.name for picture in self.pictures if picture.name not in unreadable]
        for name in FIGURES.keys() - set(drawn):
            for suffix in SUFFIXES:
                (self.out / name).with_suffix(suffix).unlink(missing_ok=True)
        return drawn


def attempt(pictures: list[Picture], out: Path) -> tuple[dict[str, str], Exception | None]:
    """Paint them. Returns those that cannot be read, with the reason, and the error that stopped it, if any."""
    from workbench.errors import InputError

    unreadable: dict[str, str] = {}
    try:
        for picture in pictures:
            try:
                paint(picture, out)
            except InputError as error:
                unreadable[picture.name] = str(error)
    except Exception as error:
        return unreadable, error
    return unreadable, None


def main() -> None:
    """Worker main loop: import matplotlib, then draw requests from the pipe until standard input closes."""
    gc.set_threshold(1_000_000)
    pipe = Connection(int(sys.argv[1]))
    for name in ("workbench.figures", "matplotlib.backends.backend_pdf"):
        import_module(name)
    threading.Thread(target=leave_with_them, daemon=True).start()
    with suppress(EOFError, OSError):  # the other process has ended
        while True:
            unreadable, error = attempt(*pipe.recv())
            if error:
                error.add_note("".join(traceback.format_exception(error)))  # a pickled error loses its traceback
            pipe.send((unreadable, error))


def leave_with_them() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when input closes
    os._exit(0)


if __name__ == "__main__":
    main()
