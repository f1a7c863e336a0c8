"""examples/my_rule as its user has it: installed beside the workbench, its names swept, trained with and drawn."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "my_rule"
SMALL = "--tiny --pools uniform --seeds 2 --steps 10 --batch 16 --rollouts 4 --jobs 2"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """python(*words) in a new environment that has our packages and the example; gives what it printed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "beside.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    copy = folder / "source"
    subprocess.run(["cp", "-r", EXAMPLE, copy], check=True)  # the build leaves files beside the source
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet",
               "--no-deps", "--no-build-isolation", "--no-index", str(copy)]  # fmt: skip
    subprocess.run(install, check=True, capture_output=True, text=True)

    def run(*words, path=ROOT):
        done = subprocess.run([folder / "bin" / "python", *map(str, words)], cwd=folder,
                              env=os.environ | {"PYTHONPATH": f"{path}:{ROOT}"},
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_its_own_tests_pass(python):
    said = python("-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", EXAMPLE, "-p", "no:cacheprovider",
                  EXAMPLE / "tests")  # fmt: skip
    assert "passed" in said


def test_it_is_swept_and_drawn_by_its_names_in_worker_processes(python, tmp_path):
    python(ROOT / "sims" / "sweep.py", *SMALL.split(), "--controllers", "near-half,near-half+dapo,adarft",
           "--learners", "saturating,scalar", "--set", "near-half.middle=0.3,0.7", "--out", tmp_path)  # fmt: skip
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert set(summary["learner"]) == {"saturating", "scalar"}
    assert {"near-half middle=0.3", "near-half middle=0.7", "adarft", "uniform"} <= set(summary["controller"])
    assert (tmp_path / "learning_curves.pdf").stat().st_size > 1000
    arms = json.loads((tmp_path / "manifest.json").read_text())["arms"]
    assert any(arm["rule"]["class"].endswith("NearHalf") for arm in arms)


def test_a_class_that_is_not_installed_has_module_and_name(python, tmp_path):
    """As `PYTHONPATH=. python sims/sweep.py --controllers mine:Mine`."""
    (tmp_path / "mine.py").write_text("from my_rule.rule import NearHalf\n\n\nclass Mine(NearHalf):\n    pass\n")
    python(ROOT / "sims" / "sweep.py", *SMALL.split(), "--controllers", "mine:Mine", "--learners", "scalar", "--out",
           tmp_path / "out", path=tmp_path)  # fmt: skip
    assert "mine:Mine" in set(pd.read_csv(tmp_path / "out" / "summary.csv")["controller"])


def test_it_trains_the_tiny_model_with_its_task_and_scorer(python, tmp_path):
    python(ROOT / "real_runs" / "train.py", "--task", "first-two", "--controller", "near-half", "--steps", 2,
           "--batch", 4, "--rollouts", 4, "--heldout", 2, "--threads", 1, "--out", tmp_path)  # fmt: skip
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["run"]["task"] == "first-two"
    assert manifest["rule"]["class"].endswith("NearHalf")
    assert len(pd.read_csv(tmp_path / "steps.csv")) == 2
