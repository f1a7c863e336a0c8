"""Files are written whole or not at all, damage is never read as data, and a folder has one writer."""

import contextlib
import hashlib
import random
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.files import StorageError, check_writable, only_writer, to_parquet, write_whole
from workbench.study.store import CellStore, Records


def records(*cells, rows=3):
    """`rows` records of each cell, with floats that do not end."""
    frame = pd.DataFrame({"cell": np.repeat(cells, rows), "step": np.tile(np.arange(rows), len(cells))})
    return frame.assign(success=np.sin(np.arange(len(frame))), target=np.nan)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def largest_file(size):
    """The system refuses to let a file of this process grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ---- whole or not at all


def test_a_file_appears_whole_with_its_folders_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    write_whole(path, b"first")
    assert path.read_bytes() == b"first"
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["file.bin"]


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644)])
def test_files_have_the_mode_that_the_umask_allows(tmp_path, umask, mode):
    """As `open` would give it, for new files and for files that are written again."""
    code = (
        "import os, sys; from pathlib import Path; from workbench.files import write_whole; import workbench as wb\n"
        "folder = Path(sys.argv[1]); os.umask(int(sys.argv[2]))\n"
        "write_whole(folder / 'a.bin', b'1'); write_whole(folder / 'a.bin', b'2')\n"
        "wb.Pool([10.0]).save(folder / 'b.csv'); open(folder / 'c', 'w').close()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(umask)], check=True)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == dict.fromkeys(
        ["a.bin", "b.csv", "c"], mode
    )


def test_a_file_that_does_not_fit_leaves_the_old_one_and_nothing_half_written(tmp_path):
    path = tmp_path / "file.bin"
    write_whole(path, b"old")
    with largest_file(1000), pytest.raises(StorageError) as caught:
        write_whole(path, b"x" * 5000)
    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_a_full_disk_is_named_and_keeps_what_was_there(full_disk):
    write_whole(full_disk / "old.bin", b"x" * 30_000)
    with pytest.raises(StorageError, match="No space left on device"):
        write_whole(full_disk / "new.bin", b"x" * 60_000)
    assert names(full_disk) == ["old.bin"]
    write_whole(full_disk / "small.bin", b"x" * 1000)  # the space of the failed file is free again
    assert names(full_disk) == ["old.bin", "small.bin"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=f"cannot write {tmp_path / 'file' / 'x.bin'}: "):
        write_whole(tmp_path / "file" / "x.bin", b"data")


def test_equal_tables_are_equal_bytes_and_come_back_equal(tmp_path):
    frame = records("a", "b")
    data = to_parquet(frame)
    assert to_parquet(frame.copy()) == data
    assert to_parquet(frame.set_index(frame.index + 7)) == data  # an index is not data
    (tmp_path / "t.parquet").write_bytes(data)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), frame)


# ---- cells


def test_cells_come_back_as_they_went_in(tmp_path):
    store = CellStore(tmp_path / "cells")
    store.add(records("a", "b"))
    store.add(records("c"))
    frame, damaged = store.read({"a", "b", "c"})
    assert damaged == []
    back = frame.astype({"cell": str}).sort_values(["cell", "step"], ignore_index=True)
    pd.testing.assert_frame_equal(back, pd.concat([records("a", "b"), records("c")], ignore_index=True))


def test_only_the_wanted_cells_are_read(tmp_path):
    store = CellStore(tmp_path)
    store.add(records("a", "b"))
    store.add(records("c"))
    assert set(store.read({"b", "x"})[0]["cell"]) == {"b"}


def test_a_file_of_which_some_cells_are_wanted_gives_those_and_no_others(tmp_path):
    """Whichever they are: a study that shares runs with one before reads a part of its files."""
    store = CellStore(tmp_path)
    whole = records("a", "b", "c", "d")
    store.add(whole)
    for wanted in ("a", "b", "d", "bd", "ad", "bcd"):
        frame, damaged = store.read(set(wanted))
        assert damaged == []
        assert list(frame["cell"].cat.categories) == sorted(set(wanted))
        rows = Records(frame).rows(list(wanted))
        assert rows.shape == (len(wanted), 3)
        for cell, mine in zip(wanted, rows, strict=True):
            expected = whole[whole["cell"] == cell]["success"].to_numpy()
            assert frame["success"].to_numpy()[mine].tolist() == expected.tolist()


def test_a_cell_in_two_files_is_read_once(tmp_path):
    store = CellStore(tmp_path)
    store.add(records("a", "b"))
    store.add(records("b", "c"))
    frame, _ = store.read({"a", "b", "c"})
    assert frame["cell"].value_counts().to_dict() == {"a": 3, "b": 3, "c": 3}


def test_a_folder_that_is_empty_or_not_there_holds_no_cells(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        frame, damaged = CellStore(folder).read({"a"})
        assert len(frame) == 0
        assert "cell" in frame
        assert damaged == []


def test_equal_records_are_kept_in_one_file_named_by_its_content(tmp_path):
    store = CellStore(tmp_path)
    store.add(records("a"))
    store.add(records("a"))
    (path,) = tmp_path.iterdir()
    assert path.name == f"{hashlib.sha256(path.read_bytes()).hexdigest()}.parquet"


def damage(data, kind, luck):
    at = luck.randrange(len(data))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << luck.randrange(8)]) + data[at + 1 :]
    return {"cut": data[:at], "append": data + b"\0", "empty": b"", "zeros": bytes(len(data))}[kind]


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(["flip", "cut", "append", "empty", "zeros"]), luck=st.randoms(use_true_random=False))
def test_any_damage_is_named_removed_and_never_read(tmp_path_factory, kind, luck):
    folder = tmp_path_factory.mktemp("cells")
    store = CellStore(folder)
    store.add(records("a", "b"))
    (hurt,) = folder.iterdir()
    store.add(records("c"))
    hurt.write_bytes(damage(hurt.read_bytes(), kind, luck))
    frame, damaged = store.read({"a", "b", "c"})
    assert set(frame["cell"]) == {"c"}
    (line,) = damaged
    assert str(hurt) in line
    assert not hurt.exists()
    store.add(records("a", "b"))
    assert set(store.read({"a", "b", "c"})[0]["cell"]) == {"a", "b", "c"}


def test_many_writers_at_once_lose_nothing(tmp_path):
    store = CellStore(tmp_path)
    cells = [f"cell {i}" for i in range(40)]
    random.Random(0).shuffle(cells)
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda cell: store.add(records(cell)), cells + cells[:10]))
    frame, damaged = store.read(set(cells))
    assert damaged == []
    assert frame["cell"].value_counts().to_dict() == dict.fromkeys(cells, 3)
    assert len(names(tmp_path)) == 40


def test_sweeping_up_removes_what_killed_writers_left_and_nothing_else(tmp_path):
    store = CellStore(tmp_path)
    store.add(records("a"))
    before = names(tmp_path)
    (tmp_path / ".part-x1y2.parquet").write_bytes(b"half")
    store.sweep_up()
    assert names(tmp_path) == before


def test_a_file_that_another_writer_is_still_writing_is_not_taken_for_a_damaged_one(tmp_path):
    store = CellStore(tmp_path)
    store.add(records("a"))
    draft = tmp_path / ".part-x1y2.parquet"  # the name write_whole gives it
    draft.write_bytes(b"half")
    frame, damaged = store.read({"a"})
    assert set(frame["cell"]) == {"a"}
    assert damaged == []
    assert draft.exists()


# ---- one writer


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    folder = tmp_path / "out"
    with only_writer(folder):
        (folder / "work").write_text("mine")
        with pytest.raises(InputError) as caught, only_writer(folder):
            pass
        assert str(folder) in str(caught.value)
        assert "another process" in str(caught.value)
        assert (folder / "work").read_text() == "mine"
    with only_writer(folder):
        pass


def test_a_writer_that_fails_frees_the_folder(tmp_path):
    with pytest.raises(RuntimeError), only_writer(tmp_path):
        raise RuntimeError
    with only_writer(tmp_path):
        pass


def test_a_refused_writer_does_not_touch_the_files_of_the_first(tmp_path):
    with only_writer(tmp_path):
        (tmp_path / ".part-being-written").write_text("half")
        with pytest.raises(InputError), only_writer(tmp_path):
            pass
        assert (tmp_path / ".part-being-written").exists()


def test_the_next_writer_clears_what_a_killed_one_left(tmp_path):
    (tmp_path / ".part-x").write_text("half")
    (tmp_path / "runs.parquet").write_text("whole")
    with only_writer(tmp_path):
        assert names(tmp_path) == [".lock", "runs.parquet"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_that_cannot_be_a_folder_is_refused_in_one_line(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError) as caught, only_writer(tmp_path / place):
        pass
    assert str(caught.value).startswith("--out: must be a folder that can be written, got ")
    assert str(tmp_path / place) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whether_a_folder_can_be_written_is_found_out_without_leaving_one(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("there", "there/new", "new/deep/folder"):
        check_writable("--out", tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file/new", "link", "link/new", "long" * 100):
        with pytest.raises(InputError, match=r"^--out: must be a folder that can be written, got "):
            check_writable("--out", tmp_path / name)
    with largest_file(0), pytest.raises(InputError, match=r"\(File too large\)$"):  # as a disk that is full
        check_writable("--out", tmp_path / "new")
    assert names(tmp_path) == ["file", "link", "there"]


@pytest.mark.parametrize("places", [("out", "out"), ("parent/a", "parent/b")])
def test_folders_are_checked_side_by_side(tmp_path, places):
    def check(place):
        for _ in range(300):
            check_writable("--out", tmp_path / place)

    with ThreadPoolExecutor() as threads:
        list(threads.map(check, places * 2))
    assert not names(tmp_path)
