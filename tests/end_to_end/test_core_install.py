"""What works with NumPy and Numba alone, and the one line that names the extra for the rest."""

import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import workbench as wb
from workbench.extras import EXTRAS, MissingExtra, named_extra, require

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# In front of everything: the packages of every extra cannot be imported, as where only core is installed.
WITHOUT = f"""
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(package for packages in EXTRAS.values() for package in packages)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""
STEER = """
import numpy as np
import workbench as wb

pool = wb.Pool(np.linspace(0, 100, 200), category=np.arange(200) % 3, level=np.arange(200) // 40)
for rule in (wb.AdaRFT(), wb.Uniform(), wb.SEC(by="category"), wb.MoPPS(), wb.CurES()):
    controller = wb.Controller(rule, pool, gates=[wb.DynamicSampling()])
    for step in range(3):
        items = controller.next_batch(16)
        admitted = controller.observe(items, (np.arange(16 * 8).reshape(16, 8) + step) % 3 == 0)
        assert admitted.any()
    again = wb.Controller(rule, pool, gates=[wb.DynamicSampling()])
    again.load_state_dict(controller.state_dict())
    assert (again.next_batch(16) == controller.next_batch(16)).all()
assert "workbench.hosts" not in sys.modules
queue = wb.hosts.Queue(wb.Controller(wb.AdaRFT(), pool), 2, 4)
assert [queue.answer(queue.get()[0], [0, 1, 0, 1]) for _ in range(2)][1].keys() == {0, 201}
record = wb.train(wb.Controller(wb.AdaRFT(), pool), wb.SimLearner(wb.ScalarIRT(), pool), steps=4, batch=16, rollouts=8)
assert record.mean_success[-1, 0] > record.mean_success[0, 0]
"""
NEEDS = {  # what needs an extra: the package that is missed first
    "wb.Study": "pandas",
    "wb.figures.learning_curves": "pandas",
    "wb.stats.holm": "scipy",
    "wb.Pool.load('items.parquet')": "pyarrow",
    "record.to_frame()": "pandas",
    "wb.Controller(wb.ALPGMM(), pool)": "jinja2",
}


def run(code, folder, *words):
    words = words or ("-c", code)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def test_a_controller_works_where_only_numpy_and_numba_are_installed(tmp_path):
    done = run(WITHOUT + STEER, tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_is_missing_is_said_in_one_line_that_names_the_extra(tmp_path):
    (tmp_path / "items.csv").write_text("difficulty\n1\n")
    (tmp_path / "items.parquet").write_bytes(b"")
    lines = [WITHOUT, STEER]
    for code in NEEDS:
        lines += ["try:", f"    {code}", "except wb.InputError as error:", "    print(error)"]
    done = run("\n".join(lines), tmp_path)
    assert done.returncode == 0, done.stderr
    line = "{}: must be installed; the extra `sweep` brings it: pip install 'curriculum-workbench[sweep]'"
    assert done.stdout.splitlines() == [line.format(package) for package in NEEDS.values()]


@pytest.mark.parametrize(
    ("command", "blocked"),
    [("sims/sweep.py", WITHOUT), ("real_runs/train.py", WITHOUT), ("workbench/difficulty/__main__.py", WITHOUT)],
)
def test_a_command_ends_with_that_line(command, blocked, tmp_path):
    start = f"{blocked}\nimport runpy\nrunpy.run_path({str(ROOT / command)!r}, run_name='__main__')"
    done = run(start, tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: jinja2: must be installed; the extra `sweep` brings it: pip install 'curriculum-workbench[sweep]'"
    ]


def test_an_import_that_fails_for_another_reason_stays_as_it_is():
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as caught, named_extra():
        import_module("no_such_package")
    assert not isinstance(caught.value, MissingExtra)
    require("sweep")  # all installed here


def test_each_package_is_in_the_extra_that_is_named():
    brings = packages_distributions()
    for extra, packages in EXTRAS.items():
        declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"][extra]}
        for package in packages:
            assert declared & {canonicalize_name(name) for name in brings[package]}, package


def test_the_version_is_the_one_of_the_package():
    assert wb.__version__ == PROJECT["version"]
