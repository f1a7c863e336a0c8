"""Cut measured pools to the shapes of the published training sets; as a command, write them as files for a sweep."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from workbench.commands import Parser, exit_status
from workbench.errors import InputError, check_choice, check_count
from workbench.files import check_folder
from workbench.pool import GRID, PRESETS, Pool
from workbench.streams import Role, generator

MEASURED = Path(__file__).parents[1] / "pools"  # pass counts of the shipped base model, made by measure.py
SHAPES = ("skew-difficult", "uniform", "skew-easy")


def decile_shares(shape: str) -> np.ndarray:
    """(10,) share of items per difficulty decile in a published set (arXiv 2504.05520, section 4.2)."""
    check_choice("shape", shape, SHAPES)
    shares = np.zeros(10)
    for levels, count in PRESETS[shape]:
        np.add.at(shares, np.minimum(10 * levels // GRID, 9), count / len(levels))
    return np.asarray(shares / shares.sum())


def cut(pool: Pool, shape: str, size: int | None = None, seed: int = 0) -> Pool:
    """Items of `pool`, drawn at random within each decile, in a published shape; with all their columns.

    size: items, by default as many as the rarest decile allows. Raises InputError if there are not enough.
    """
    shares = decile_shares(shape)
    decile = np.minimum(pool.difficulty // 10, 9).astype(int)
    have = np.bincount(decile, minlength=10)
    largest = int(np.floor((have / shares).min()))
    if largest == 0:
        d = int(np.argmin(have / shares))
        raise InputError(f"pool: must have items in [{10 * d}, {10 * d + 10}) to cut shape {shape}, got '{pool.name}'")
    size = largest if size is None else check_count("size", size)
    wanted = np.floor(shares * size).astype(int)
    wanted[np.argsort(wanted - shares * size, kind="stable")[: size - wanted.sum()]] += 1
    short = np.flatnonzero(wanted > have)
    if short.size:
        d = short[0]
        raise InputError(
            f"size: must be <= {largest} to cut shape {shape} from '{pool.name}', which has {have[d]} items in "
            f"[{10 * d}, {10 * d + 10}), got {size}"
        )
    draw = generator(seed, Role.POOL)
    chosen = np.concatenate([draw.permutation(np.flatnonzero(decile == d))[: wanted[d]] for d in range(10)])
    return pool.take(np.sort(chosen), name=shape)


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--task", default="reverse", help="whose measured pool to cut (default: %(default)s)")
    p.add_argument("--out", default="results/pools", help="folder (default: %(default)s)")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: cut_all(options.task, options.out))


def cut_all(task: str, folder: str) -> None:
    """Write the measured pool of a task in every published shape."""
    out = check_folder("--out", folder)
    check_choice("--task", task, tuple(sorted(path.stem for path in MEASURED.glob("*.parquet"))))
    measured = Pool.load(MEASURED / f"{task}.parquet")
    for shape in SHAPES:
        pool = cut(measured, shape)
        path = pool.save(out / f"{task}-{shape}.parquet")
        print(f"{path}: {len(pool)} problems")


if __name__ == "__main__":
    sys.exit(main())
