"""The types of the public API hold for a user of the installed package, editable or not, under strict checkers."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
USER = '''"""A script of somebody who uses the package."""

from typing import Any, assert_type

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import workbench as wb

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

assert_type(wb.__version__, str)
pool = wb.Pool(np.linspace(0, 100, 50), category=np.arange(50) % 3, name="mine")
assert_type(pool, wb.Pool)
assert_type(wb.Pool.synthetic("uniform", 100), wb.Pool)
assert_type(wb.Pool.load("items.csv"), wb.Pool)
assert_type(pool.difficulty, Floats)
assert_type(len(pool), int)

rule = wb.AdaRFT(eta=20.0)
rules: list[wb.Rule] = [rule, wb.Uniform(), wb.MoPPS(candidates=2), wb.SEC(by="category"), wb.Staged(horizon=5)]
controller = wb.Controller(rule, pool, gates=[wb.DynamicSampling()], seed=3)
assert_type(controller, wb.Controller)
items = controller.next_batch(8)
assert_type(items, Whole)
assert_type(controller.observe(items, np.ones((8, 4))), Flags)
assert_type(controller.metrics(), dict[str, Any])
controller.load_state_dict(controller.state_dict())

law = wb.ScalarIRT(kappa=0.1, signal=wb.GRPO())
learner = wb.SimLearner(law, pool, 3)
assert_type(learner.attempt(items, 4), NDArray[np.float32])
assert_type(learner.evaluate(), Floats)
record = wb.train(wb.Controller(rule, pool, seed=3), learner, steps=3, batch=8, rollouts=4)
assert_type(record, wb.Record)
assert_type(record.steps, Whole)
assert_type(record.mean_success, Floats)
assert_type(record.target, Floats)
assert_type(record.silent_share, Floats)
frame = record.to_frame()
print(frame["success"].mean())

study = wb.Study([pool], ["scalar"], ["uniform", "adarft"], seeds=6, steps=3, batch=8)
assert_type(study, wb.Study)
figure = wb.figures.learning_curves(frame)
assert_type(figure, Figure)
figure.savefig("curves.png")  # pyright: ignore[reportUnknownMemberType] matplotlib leaves a part of it untyped


def failing() -> None:
    """What a checker must refuse, and would let pass if it knew nothing of these types."""
    WRONG
'''
# statement: the two checkers' names of the fault
WRONG = {
    'wb.AdaRFT(ties=3)': ("arg-type", "reportArgumentType"),
    'controller.next_batch("eight")': ("arg-type", "reportArgumentType"),
    'wb.Controller(wb.ScalarIRT(), pool)': ("arg-type", "reportArgumentType"),
    'wb.train(controller, pool, steps=3)': ("arg-type", "reportArgumentType"),
    'wb.NoSuchRule()': ("attr-defined", "reportAttributeAccessIssue, reportUnknownMemberType"),
    'wb.Pool.synthetic("uniform", size="many")': ("arg-type", "reportArgumentType"),
}  # fmt: skip


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    lines = [f"{line}  # type: ignore[{mypy}]  # pyright: ignore[{pyright}]" for line, (mypy, pyright) in WRONG.items()]
    path = tmp_path_factory.mktemp("user") / "script.py"
    path.write_text(USER.replace("WRONG", "\n    ".join(lines)))
    return path


@pytest.fixture(scope="module", params=["editable", "wheel"])
def interpreter(request, tmp_path_factory):
    """A Python whose user has installed the package: ours, or one with a wheel of this tree in its site-packages."""
    if request.param == "editable":
        return sys.executable
    source, home = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("environment")
    for name in ("workbench", "sims", "real_runs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "results", "base"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    run([sys.executable, "-m", "venv", "--without-pip", home], source)
    (site,) = home.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run([*pip, "--target", site, source], source)
    assert (site / "workbench" / "py.typed").is_file()
    assert {path.relative_to(ROOT) for path in (ROOT / "workbench").rglob("*.pyi")} == {
        path.relative_to(site) for path in (site / "workbench").rglob("*.pyi")
    }
    (site / "other.pth").write_text(sysconfig.get_path("purelib"))  # NumPy and the rest; an editable install ends here
    return str(home / "bin" / "python")


def run(words, folder):
    done = subprocess.run(list(map(str, words)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_script_runs(script):
    (script.parent / "items.csv").write_text("difficulty\n10\n20\n")
    run([sys.executable, "-W", "error", script], script.parent)
    assert (script.parent / "curves.png").stat().st_size > 10_000


def test_strict_mypy_accepts_what_a_user_writes_and_refuses_what_is_wrong(script, interpreter):
    words = ["--strict", "--python-executable", interpreter, "--cache-dir", script.parent / "cache"]
    run([sys.executable, "-m", "mypy", *words, script], script.parent)  # both installs have the same NumPy in the cache


def test_strict_pyright_accepts_what_a_user_writes_and_refuses_what_is_wrong(script, interpreter):
    settings = {"typeCheckingMode": "strict", "enableTypeIgnoreComments": False, "include": [script.name]}
    settings |= {"reportUnnecessaryTypeIgnoreComment": "error"}
    (script.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    run([sys.executable, "-m", "basedpyright", "--pythonpath", interpreter], script.parent)
