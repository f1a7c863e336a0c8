"""A command whose results are all there says so and prints what it printed; whatever is other than it was, all is made
again."""

import contextlib
import errno
import io
import json
import os
import runpy
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import damage
import numpy as np
import pandas as pd
import pytest

from sims.comparison import made
from workbench.files import only_writer

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "sims" / "sweep.py"
OPTIONS = shlex.split(
    "--pools items.csv --learners scalar --controllers adarft --seeds 2 --steps 4 --batch 8 --rollouts 4 "
    "--eval-every 2 --jobs 1 --out study"
)
NOTES = ["items: 2 of 48 rows repeat an earlier prompt", "pool 'items'", "--seeds 2: too few"]  # what it says beside


def command(folder, *options):
    """The script as `python sims/sweep.py` would run in a folder."""
    out, err, before = io.StringIO(), io.StringIO(), (sys.argv, list(sys.path))
    sys.argv = [str(SCRIPT), *OPTIONS, *options]
    try:
        with (contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
              pytest.raises(SystemExit) as ended):  # fmt: skip
            runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before
    return SimpleNamespace(code=ended.value.code or 0, out=out.getvalue(), err=err.getvalue())


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in (folder / "study").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    frame = pd.DataFrame({"prompt": [f"{i} + {i}" for i in range(48)], "difficulty": np.linspace(0, 100, 48)})
    frame.loc[[30, 40], "prompt"] = frame["prompt"][3]
    frame.to_csv(folder / "items.csv", index=False)
    result = command(folder)
    assert result.code == 0, result.err
    return SimpleNamespace(folder=folder, result=result, files=contents(folder))


@pytest.fixture
def there(first, tmp_path, monkeypatch):
    """A folder in which the command has run, as the current one."""
    folder = tmp_path / "copy"
    shutil.copytree(first.folder, folder)
    monkeypatch.chdir(folder)
    return folder


def kept(*options):
    return made.kept(made.basis([*OPTIONS, *options]))


@pytest.fixture
def same_code(monkeypatch):
    """Code, packages and commit are looked up once: what they are is not what these tests are about."""
    for name in ("code_digest", "packages_digest", "git_commit"):
        found = getattr(made, name)()
        monkeypatch.setattr(made, name, lambda found=found: found)


def test_where_no_process_can_be_started_to_draw_it_ends_in_one_line(tmp_path, monkeypatch):
    from sims.comparison import painter

    def refused(*_, **__):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(painter.subprocess, "Popen", refused)
    ended = command(tmp_path)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line == f"error: the process that draws figures cannot be started: {os.strerror(errno.EAGAIN)}"
    assert not list(tmp_path.iterdir())


def test_the_same_command_says_the_same_and_that_it_was_there_and_touches_nothing(first, there, monkeypatch):
    from sims.comparison import painter

    monkeypatch.setattr(painter, "Painter", None)  # nothing is loaded to draw, or drawn
    before = {path: path.stat().st_mtime_ns for path in there.rglob("*")}
    again = command(there)
    assert again.code == 0, again.err
    assert again.out == f"{first.result.out}{made.AGAIN}\n"
    assert made.AGAIN not in first.result.out
    for note in NOTES:
        assert [line for line in again.err.splitlines() if note in line] == [
            line for line in first.result.err.splitlines() if note in line
        ] != []
    assert before == {path: path.stat().st_mtime_ns for path in there.rglob("*")}


RESULTS = ["curves.parquet", "runs.parquet", "summary.csv", "ranking.csv", "manifest.json", "report.html",
           *(f"{name}.{kind}" for name in ("learning_curves", "target_difficulty", "speedup")
             for kind in ("pdf", "png"))]  # fmt: skip


def test_the_record_names_every_result(first):
    record = made._read(first.folder / "study" / made.RECORD)
    assert sorted(record["files"]) == sorted(RESULTS)
    assert {path.name for path in (first.folder / "study").iterdir()} == {*RESULTS, "cells", ".lock", made.RECORD}
    assert record["others"] == ["heat_map.pdf", "heat_map.png"]


@pytest.mark.usefixtures("same_code")
@pytest.mark.parametrize("name", [*RESULTS, "cells", made.RECORD])
def test_a_result_that_is_missing_damaged_or_edited_is_not_believed(there, name):
    assert kept() is not None
    path = there / "study" / name
    path = min(path.iterdir()) if path.is_dir() else path
    data = path.read_bytes()
    for change in damage.ANY.values():
        change(path)
        assert kept() is None, change
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        assert kept() is None, "missing"
        path.write_bytes(data)
    flipped = bytearray(data)
    flipped[len(data) // 3] ^= 1  # as many bytes
    path.write_bytes(flipped)
    assert kept() is None
    path.write_bytes(data)
    assert kept() is not None


def test_a_file_that_only_another_study_leaves_is_not_left_beside_the_results(there):
    for path in (there / "study" / "heat_map.pdf", there / "study" / "cells" / f"{'0' * 64}.parquet"):
        path.write_bytes(b"of another")
        assert kept() is None
        path.unlink()
    assert kept() is not None


@pytest.mark.parametrize("part", ["basis", "pools", "files", "others", "cells", "notes", "printed"])
def test_a_record_that_was_edited_is_not_believed(there, part):
    path = there / "study" / made.RECORD
    whole = json.loads(path.read_bytes())
    content = json.loads(whole["content"])
    content[part] = type(content[part])()
    path.write_text(json.dumps(whole | {"content": json.dumps(content)}))
    assert kept() is None


@pytest.mark.parametrize(
    "options",
    ["--full", "--no-report", "--threshold 0.7", "--seeds 3", "--focus adarft", "--jobs 2", "--set adarft.eta=5",
     "--out elsewhere", "--help", "--shard 1/2"],
)  # fmt: skip
def test_another_command_line_is_another_command(there, options):
    assert kept(*shlex.split(options)) is None


def test_an_edited_pool_is_another_pool(there):
    text = (there / "items.csv").read_text()
    (there / "items.csv").write_text(text.replace("100.0", "99.0"))
    assert kept() is None
    (there / "items.csv").write_text(text)
    assert kept() is not None
    (there / "items.csv").unlink()
    assert kept() is None


@pytest.fixture
def code(first, tmp_path, monkeypatch):
    """A copy of the code, which the record is told to be of."""
    copy = tmp_path / "code"
    for name in made.CODE:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    monkeypatch.setattr(made, "ROOT", copy)
    return copy


@pytest.mark.parametrize(
    "name", ["workbench/analysis/tables.py", "workbench/figures/curves.py", "workbench/reports/page.css",
             "workbench/controllers/rules/uniform.py", "sims/comparison/painter.py", "sims/sweep.py"],
)  # fmt: skip
def test_any_change_of_the_code_of_runs_tables_figures_and_report_counts(there, code, name):
    assert kept() is not None
    text = (code / name).read_text()
    (code / name).write_text(f"{text}\n")
    assert kept() is None
    (code / name).unlink()
    assert kept() is None
    (code / name).write_text(text)
    assert kept() is not None
    (code / "workbench" / "controllers" / "rules" / "new.py").write_text("")
    assert kept() is None


def test_another_release_of_a_package_another_python_and_another_commit_count(there, tmp_path, monkeypatch):
    def found(change):
        with monkeypatch.context() as patch:
            change(patch)
            return kept()

    (tmp_path / "site" / "numpy-0.0.1.dist-info").mkdir(parents=True)
    assert found(lambda patch: None) is not None
    assert found(lambda patch: patch.syspath_prepend(tmp_path / "site")) is None
    assert found(lambda patch: patch.setattr(sys, "version", "3.0")) is None
    assert found(lambda patch: patch.setattr(made.platform, "machine", lambda: "abacus")) is None
    assert found(lambda patch: patch.setattr(made, "git_commit", lambda: "0" * 40)) is None


def test_what_changes_while_a_sweep_runs_is_not_recorded(there, code):
    record = there / "study" / made.RECORD
    data, said = made._read(record), made.Kept([], "")

    def recorded(**other):
        record.unlink(missing_ok=True)
        given = {"made_from": made.basis(OPTIONS), "pools": data["pools"]} | other
        made.keep(record.parent, **given, files=data["files"], others=data["others"], said=said)
        return record.exists()

    assert recorded()
    assert not recorded(pools=None)
    assert not recorded(pools=data["pools"] | {"items.csv": "other"})
    before = made.basis(OPTIONS)
    (code / "sims" / "sweep.py").write_text("edited")
    assert not recorded(made_from=before)


def test_a_folder_that_another_process_writes_to_is_left_to_the_command_which_refuses_it(there):
    with only_writer(there / "study"):
        assert kept() is None


def test_results_of_parts_from_elsewhere_are_always_made_again(first, there, monkeypatch):
    (there / "elsewhere.py").write_text(
        "from workbench.controllers.rules.uniform import Uniform\n\n\nclass Mine(Uniform):\n    name = 'mine'\n"
    )
    monkeypatch.syspath_prepend(there)
    options = ("--controllers", "elsewhere:Mine", "--no-report")
    result = command(there, *options)
    assert result.code == 0, result.err
    assert "elsewhere" in result.out
    assert not (there / "study" / made.RECORD).exists()
    assert kept(*options) is None


def test_after_damage_the_command_makes_the_same_files_again(first, there):
    (there / "study" / "speedup.png").unlink()
    with (there / "study" / "summary.csv").open("a") as file:
        file.write("edited\n")
    cell = min((there / "study" / "cells").iterdir())
    cell.write_bytes(cell.read_bytes()[:-100])
    again = command(there)
    assert again.code == 0, again.err
    assert again.out == first.result.out
    assert "damaged result file" in again.err
    assert contents(there) == first.files
    assert command(there).out == f"{first.result.out}{made.AGAIN}\n"


@pytest.mark.parametrize("out", ["n" * 300, "/".join(["x" * 200] * 25), "a\0b", "table.csv/x", ""])
def test_a_name_that_no_folder_can_have_has_no_results(out):
    """The command itself then refuses it in one line."""
    assert made.kept(made.basis(["--tiny", "--out", out])) is None
