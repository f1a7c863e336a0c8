"""A study on executors of other packages: the serial tables to the last bit, lost workers, refusals in one line."""

import importlib
import multiprocessing
import socket
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import workbench as wb
from workbench.errors import InputError, WorkerError
from workbench.extras import MissingExtra
from workbench.study import executors
from workbench.study.executors import check_executor, run_there
from workbench.study.identity import environment_of
from workbench.study.store import CellStore

# A rule outside the library whose first process in all is killed in the middle of a run.
DYING = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
import workbench as wb

@dataclass(frozen=True)
class Dying(wb.Uniform):
    def update(self, state, feedback):
        for flag in ({flags}):
            if not Path(flag).exists():
                Path(flag).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().update(state, feedback)
"""


def study(*controllers):
    return wb.Study(["uniform", "narrow"], ["scalar", "natural"], controllers or ("adarft", "linear"), seeds=3, steps=6,
                    batch=16, eval_every=3)  # fmt: skip


@contextmanager
def executor_named(name):
    """A name or an object to give to `run`."""
    spawn = multiprocessing.get_context("spawn")
    if name == "threads":
        with ThreadPoolExecutor(1) as executor:
            yield executor
    elif name == "processes":
        with ProcessPoolExecutor(2, spawn) as executor:
            yield executor
    elif name.startswith("dask"):
        from distributed import LocalCluster

        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
            yield f"dask:{cluster.scheduler_address.removeprefix('tcp://')}"
    else:
        yield name


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    return study().compute(CellStore(tmp_path_factory.mktemp("serial")))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # of the packages
@pytest.mark.parametrize("name", ["threads", "processes", "loky", "dask", "ray"])
def test_results_are_the_serial_ones_to_the_last_bit(name, serial, tmp_path):
    counted = []
    with executor_named(name) as executor:
        result = study().run(tmp_path, jobs=2, executor=executor, progress=lambda done, total: counted.append(done))
    assert result.curves.equals(serial)
    assert (counted[0], counted[-1]) == (0, len(study().cells))
    assert counted == sorted(counted)


@pytest.fixture
def dying(tmp_path, monkeypatch):
    """dying(n): a rule whose process is killed in each of the first n runs that it takes part in."""

    def make(times):
        flags = "".join(f"{str(tmp_path / f'flag-{number}')!r}, " for number in range(times))
        (tmp_path / "dying_rule.py").write_text(DYING.format(flags=flags))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "dying_rule", raising=False)
        return importlib.import_module("dying_rule").Dying()

    yield make
    sys.modules.pop("dying_rule", None)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")  # of loky, on workers that died
def test_what_a_lost_worker_had_is_sent_again_and_counted(dying, tmp_path, capsys):
    rule = dying(2)
    said = []
    curves = study(rule).compute(CellStore(tmp_path / "cells"), 2, warn=said.append, executor="loky")
    assert [line.split(" ", 1)[1] for line in said] == ["chunks of runs were sent again, as their workers were lost"]
    assert int(said[0].split()[0]) >= 2
    assert curves.equals(study(rule).compute(CellStore(tmp_path / "serial")))  # no flag is missing now


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
def test_a_program_that_kills_every_worker_ends_the_study_in_one_line(dying, tmp_path):
    with pytest.raises(WorkerError, match=r"^workers died with the same \d+ runs 4 times \(out of memory\?\)$"):
        study(dying(100)).compute(CellStore(tmp_path / "cells"), 1, warn=lambda line: None, executor="loky")


def test_an_executor_of_the_callers_that_breaks_is_one_line(dying, tmp_path):
    with (ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor,
          pytest.raises(WorkerError, match=r"^the executor lost a worker and takes no more work \(out of mem")):
        study(dying(1)).compute(CellStore(tmp_path / "cells"), executor=executor, warn=lambda line: None)


def test_a_stop_starts_no_more_work_and_leaves_the_callers_executor_open(tmp_path):
    begun = []

    def stop(done, total):
        begun.append(done)
        if done:
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            study().compute(CellStore(tmp_path), executor=executor, progress=stop)
        assert executor.submit(int, "7").result() == 7
    kept = study().compute(CellStore(tmp_path), progress=lambda done, total: begun.append(done))
    assert begun[2] >= begun[1] > 0  # what was finished is kept
    assert kept.equals(study().compute(CellStore(tmp_path)))


def test_a_worker_of_other_code_is_named(monkeypatch, tmp_path):
    mine = environment_of()

    def other(*parts):
        return {**environment_of(*parts), "numpy": "1.0"}

    monkeypatch.setattr(executors, "environment_of", other)  # here, and not in the worker
    with (ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor,
          pytest.raises(WorkerError) as refused):  # fmt: skip
        study().compute(CellStore(tmp_path), executor=executor)
    assert str(refused.value) == ("workers must have the code and packages of the process that sends them work: "
                                  f"numpy is {mine['numpy']} there, 1.0 here")  # fmt: skip


def test_a_pool_is_asked_for_once(monkeypatch):
    import pickle

    monkeypatch.setattr(executors, "_pools", {})
    (program, *_) = study()._programs({cell.key for cell in study().cells})
    expected, packed = environment_of(program.law, program.rule), pickle.dumps(program)
    assert len(packed) < 20_000 < program.pool.difficulty.nbytes
    assert run_there(expected, program.pool.digest, packed) is None
    first = run_there(expected, program.pool, packed)
    again = run_there(expected, program.pool.digest, packed)
    assert first.keys() == again.keys()
    assert (first["success"] == again["success"]).all()


@pytest.mark.parametrize("given", ["", "zzz", "dask", "loky:1", "slurm", 5, "rayon:x:1"])
def test_an_unknown_executor_is_refused_in_one_line(given):
    with pytest.raises(InputError, match=r"^executor: must be loky, ray, ray:HOST:PORT, dask:HOST:PORT or a "):
        check_executor(given)
    with pytest.raises(InputError, match=r"^executor: must be loky"):
        study().run(executor=given)


def test_an_address_that_does_not_answer_is_refused_in_one_line():
    with socket.socket() as free:  # bound, and nobody listens
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        for given in (f"dask:127.0.0.1:{port}", f"ray:127.0.0.1:{port}", "dask:127.0.0.1", "dask:127.0.0.1:99999",
                      "dask:[::1:1", "ray:nowhere.invalid:1"):  # fmt: skip
            with pytest.raises(InputError, match=r"^--executor: must be an address, HOST:PORT, that answers "):
                check_executor(given, "--executor")


@pytest.mark.parametrize(("given", "package"), [("loky", "loky"), ("ray", "ray"), ("dask:127.0.0.1:1", "distributed")])
def test_a_package_that_is_not_installed_is_named_with_its_extra(given, package, monkeypatch):
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=rf"^{package}: must be installed; the extra `scale` brings it"):
        check_executor(given)
