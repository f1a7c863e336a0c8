"""Our item response fits beside girth and py-irt, where installed: python sims/benchmark_irt.py

One simulated 2PL table, each package once, in one process: processor seconds (all threads together; shared machines
disturb them least), as a ratio to ours, and root mean square errors of a, b and the curves P(theta), theta in [-2, 2].
Scales are made equal, theta of mean 0 and sd 1, before errors are taken. Neither package is needed for anything else;
py-irt holds pandas below 3, so give it an environment of its own, with this folder in PYTHONPATH:

    python -m venv peers && peers/bin/pip install -c constraints.txt girth py-irt lazy_loader
    PYTHONPATH=. peers/bin/python sims/benchmark_irt.py
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from typing import Any

import numpy as np
from scipy.special import expit

from workbench.commands import Parser, exit_status, whole_or_text
from workbench.difficulty import irt
from workbench.errors import check_choice, check_count

MOST_EPOCHS = 10**6
MOST = 10_000  # persons, and items: a table of them takes a gigabyte


def table(persons: int, items: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers (P, I), a lognormal(0, 0.3) and b normal(0, 1.2), theta N(0, 1)."""
    rng = np.random.default_rng(seed)
    theta, a, b = rng.standard_normal((persons, 1)), np.exp(rng.normal(0, 0.3, items)), rng.normal(0, 1.2, items)
    return (rng.random((persons, items)) < expit(a * (theta - b))).astype(int), a, b


def ours(answers: np.ndarray, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    u = answers.astype(float)
    persons, items = ([str(k) for k in range(size)] for size in u.shape)
    fit = irt.fit(irt.Responses(u, np.ones_like(u), persons, items), "2pl")
    assert fit.converged
    return fit.a, fit.b


def girth(answers: np.ndarray, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    from girth import twopl_mml

    fit = twopl_mml(answers.T)
    return fit["Discrimination"], fit["Difficulty"]


def py_irt(answers: np.ndarray, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Variational, with its default priors and step size."""
    import pandas as pd
    from py_irt.config import IrtConfig
    from py_irt.dataset import Dataset
    from py_irt.training import IrtModelTrainer

    data = Dataset.from_pandas(pd.DataFrame(answers, columns=[str(k) for k in range(answers.shape[1])]))
    trainer = IrtModelTrainer(
        data_path=None, config=IrtConfig(model_type="2pl", epochs=epochs), dataset=data, verbose=False
    )
    trainer.train(device="cpu")
    found = trainer.irt_model.export()
    order = np.argsort([int(data.ix_to_item_id[k]) for k in range(answers.shape[1])])
    theta, a, b = np.array(found["ability"]), np.array(found["disc"])[order], np.array(found["diff"])[order]
    return a * theta.std(), (b - theta.mean()) / theta.std()


PACKAGES = {"workbench": ("workbench", ours), "girth": ("girth", girth), "py-irt": ("py_irt", py_irt)}


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    number: dict[str, Any] = {"metavar": "N", "type": whole_or_text}
    p.add_argument("--items", **number, default=50, help="(default: %(default)s)")
    p.add_argument("--persons", **number, default=500, help="(default: %(default)s)")
    p.add_argument("--seed", **number, default=0, help="(default: %(default)s)")
    p.add_argument("--epochs", **number, default=2000, help="steps of py-irt (default: %(default)s, its own)")
    p.add_argument("--packages", metavar="A,B", default=",".join(PACKAGES), help="(default: %(default)s)")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return exit_status(lambda: compare(options))


def compare(options: argparse.Namespace) -> None:
    persons, items = (check_count(f"--{name}", getattr(options, name), 2, MOST) for name in ("persons", "items"))
    check_count("--epochs", options.epochs, 1, MOST_EPOCHS)
    packages = options.packages.split(",")
    for name in packages:
        check_choice("--packages", name, tuple(PACKAGES))
    answers, a, b = table(persons, items, check_count("--seed", options.seed, 0, 2**64 - 1))
    grid = np.linspace(-2, 2, 21)[:, None]
    ours(table(500, 10, 0)[0], 0)  # what is imported on the first call is not counted
    first = None
    print(f"2PL, {items} items x {persons} persons")
    print(f"{'package':<10} {'cpu seconds':>12} {'/ ours':>8} {'error a':>8} {'error b':>8} {'error P':>8}")
    for name in packages:
        module, fit = PACKAGES[name]
        if importlib.util.find_spec(module) is None:
            print(f"{name:<10} not installed")
            continue
        importlib.import_module(module)
        start = time.process_time()
        found_a, found_b = fit(answers, options.epochs)
        spent = time.process_time() - start
        first = first or spent
        curve = expit(found_a * (grid - found_b)) - expit(a * (grid - b))
        errors = [float(np.sqrt(np.mean(gap**2))) for gap in (found_a - a, found_b - b, curve)]
        print(
            f"{name:<10} {spent:12.2f} {spent / first:8.1f} " + " ".join(f"{error:8.4f}" for error in errors),
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
