"""Work in worker processes: an error or a stop ends the workers, and nothing that is not theirs."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.errors import WorkerError
from workbench.study.execute import execute

ROOT = Path(__file__).parents[2]


@pytest.fixture
def child():
    """A process of the user's own, started with multiprocessing."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    yield process
    process.kill()
    process.join()


def others(child):
    return [process for process in multiprocessing.active_children() if process.pid != child.pid]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_stop_ends_the_workers_and_leaves_a_process_of_the_users_own(child):
    work = execute(time.sleep, [0.01, 0.01, 60, 60, 60, 60], 2)
    next(work)
    assert len(others(child)) == 2
    with pytest.raises(KeyboardInterrupt):
        work.throw(KeyboardInterrupt())
    assert others(child) == []
    assert child.is_alive()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_abandoned_study_ends_its_workers_only(child):
    work = execute(time.sleep, [0.01, 0.01, 60, 60, 60, 60], 2)
    next(work)
    work.close()
    assert others(child) == []
    assert child.is_alive()


def test_an_error_of_the_work_comes_through():
    with pytest.raises(ValueError, match="invalid literal"):
        list(execute(int, ["1", "2", "x", "3"], 2))


def test_a_worker_that_dies_is_one_line():
    with pytest.raises(WorkerError, match=r"^a worker process died \(out of memory\?\)$"):
        list(execute(os._exit, [9, 9, 9], 2))


def test_a_script_that_is_no_file_is_told_before_workers_fail_to_import_it():
    script = "from workbench.study.execute import execute\nprint(*execute(print, [1, 2, 3], {}))\n"
    for jobs, status in ((1, 0), (2, 1)):
        ran = subprocess.run(
            [sys.executable], input=script.format(jobs), text=True, capture_output=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert ran.returncode == status
    assert ran.stderr.splitlines()[-1].endswith(
        "worker processes import the script that starts them, got '<stdin>': put it into a file, or use jobs=1"
    )
