"""Parts of a study: every run in one part, whoever tells which, and tables equal to those of the whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.files import only_writer
from workbench.study.shards import Shard
from workbench.study.store import CellStore

TAKEN = r"^--out: must be free, but another process"
ROOT = Path(__file__).parents[2]


def study():
    return wb.Study(["uniform"], ["scalar", "natural"], ["adarft", "linear"], seeds=4, steps=6, batch=16, eval_every=3)


@pytest.mark.parametrize("of", [1, 2, 3, 7, 30])
def test_every_thing_is_in_one_part_and_parts_are_of_nearly_one_size(of):
    parts = [Shard(number + 1, of).take(range(23)) for number in range(of)]
    assert sorted(thing for part in parts for thing in part) == list(range(23))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("environ", "said"), [
    ({"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_MAX": "7"}, "2/4"),
    ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "9"}, "1/10"),
    ({"SLURM_ARRAY_TASK_ID": "10", "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_MAX": "14",
      "SLURM_ARRAY_TASK_STEP": "4"}, "3/4"),
    ({"SGE_TASK_ID": "3", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "8", "SGE_TASK_STEPSIZE": "1"}, "3/8"),
    ({"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "2", "LSB_JOBINDEX_END": "3"}, "2/3"),
])  # fmt: skip
def test_an_array_job_knows_its_part(environ, said):
    assert str(Shard.read("array", environ=environ)) == said


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1/0", "-1/3", "1", "1/2/3", "1.5/3", "a/b", "1/99999999", None, 5])
def test_what_is_no_part_is_refused_in_one_line(text):
    with pytest.raises(InputError, match=r"^--shard: must be I/N with 1 <= I <= N <= 100000, or array, got "):
        Shard.read(text, "--shard")
    with pytest.raises(InputError, match=r"^--shard: must be I/N outside of an array job of Slurm, Grid Engine, LSF"):
        Shard.read("array", "--shard", {"LSB_JOBINDEX": "0", "SLURM_ARRAY_TASK_ID": ""})


def test_shards_make_what_the_whole_makes(tmp_path):
    whole = study().compute(CellStore(tmp_path / "whole"))
    store = CellStore(tmp_path / "shards")
    done = [study().compute_shard(store, Shard(number, 3)) for number in (3, 1)]
    with pytest.raises(InputError, match=r"^store: must have all 24 runs, got 8 that are missing: run the shards"):
        study().collect(store)
    done.append(study().compute_shard(store, Shard(2, 3)))
    assert done == [8, 8, 8]
    assert study().collect(store).equals(whole)
    with pytest.raises(InputError, match="got 24 that are missing"):
        study().collect(CellStore(tmp_path / "nothing"))


@pytest.mark.parametrize("etas", [[5, 10], [10, 20], [20, 5], [30]])
def test_a_study_that_shares_runs_with_those_before_it_has_its_own_table(etas, tmp_path):
    store = CellStore(tmp_path)

    def swept(values):
        points = [{"adarft.eta": float(value)} for value in values]
        return wb.Study(["uniform"], ["scalar"], ["adarft"], points, seeds=2, steps=4, batch=8, eval_every=2)

    swept([1, 5, 20, 40]).compute(store)
    assert swept(etas).compute(store).equals(swept(etas).compute(CellStore(tmp_path / "alone")))


def test_parts_of_a_folder_are_held_side_by_side_and_the_whole_by_nobody_else(tmp_path):
    with only_writer(tmp_path, part="a"):
        with only_writer(tmp_path, part="b"):
            pass
        for part in ("a", ""):
            with pytest.raises(InputError, match=TAKEN), only_writer(tmp_path, part=part):
                pass
    with only_writer(tmp_path), pytest.raises(InputError, match=TAKEN), only_writer(tmp_path, part="a"):
        pass


def sweep(out, *words):
    command = [sys.executable, "sims/sweep.py", "--pools", "uniform,narrow", "--learners", "scalar", "--seeds", "6",
               "--controllers", "adarft,linear,mopps", "--steps", "40", "--batch", "64", "--jobs", "1"]  # fmt: skip
    return subprocess.Popen([*command, "--out", str(out), *words], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def test_writers_of_one_folder_that_are_killed_lose_nothing(tmp_path):
    """Three shards at once, each killed once it has kept something or begun to, then run again."""
    killed = [sweep(tmp_path / "out", "--shard", f"{number}/3") for number in (1, 2, 3)]
    kept = 0
    while kept == 0 and any(one.poll() is None for one in killed):
        kept = len(list((tmp_path / "out" / "cells").glob("[!.]*.parquet")))
        time.sleep(0.01)
    for one in killed:
        one.send_signal(signal.SIGKILL)
        one.communicate()
    assert kept
    again = [sweep(tmp_path / "out", "--shard", f"{number}/3") for number in (1, 2, 3)]
    for one in again:
        said = one.communicate()
        assert one.returncode == 0, said
    for out, words in ((tmp_path / "out", ["--collect"]), (tmp_path / "whole", [])):
        one = sweep(out, *words)
        said = one.communicate()
        assert one.returncode == 0, said
    for name in ("curves.parquet", "runs.parquet", "summary.csv", "ranking.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not [path for path in os.listdir(tmp_path / "out" / "cells") if path.startswith(".part-")]


def test_the_command_names_its_option_where_runs_are_missing(tmp_path):
    one = sweep(tmp_path / "out", "--collect")
    _, said = one.communicate()
    assert one.returncode == 2
    assert "error: --collect: must find all 48 runs, got 48 that are missing: run the shards again" in said
