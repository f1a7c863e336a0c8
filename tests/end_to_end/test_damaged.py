"""Files of this project's own, damaged, forged, of another run or of odd values, wherever they are read again: named in
one line, computed again or left out; never believed, never a traceback, never waited for."""

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import damage
import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import workbench as wb
from real_runs import compare, measure, train
from real_runs.comparison.cells import add_study_options, make_cells
from real_runs.rl import smollm2
from real_runs.rl.models import load
from real_runs.runs import checkpoint
from real_runs.runs.finished import read_finished, read_manifest
from real_runs.runs.identity import check_code, same_run
from real_runs.runs.run import Run
from sims.forecasting.visits import read_log
from workbench.errors import InputError
from workbench.files import DamagedFile, only_writer, to_parquet
from workbench.study.store import CellStore

pytestmark = pytest.mark.usefixtures("one_thread")
ITEMS = 40
PATIENCE = 20  # seconds, after which a reader counts as one that waits for ever


@pytest.fixture(autouse=True)
def never_waits():
    def late(*_):
        raise AssertionError(f"waited for {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE * 3)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(data):
    return lambda path: damage.put(path, data)


def texts(cases):
    return {name: put(text.encode()) for name, text in cases.items()}


def copied(source, place):
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(source, place, symlinks=True)
    return place


def one_line(error):
    text = str(error)
    assert "\n" not in text, text
    assert len(text) < 1000, text
    return text


# ----------------------------------------------------------------------------------------------- cells of a sweep


def small_study():
    pool = wb.Pool(np.linspace(0, 100, 20), name="small")
    return wb.Study([pool], ["scalar"], ["adarft"], seeds=2, steps=4, batch=4, rollouts=2, eval_every=2)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder of two files of cells, and the curves."""
    folder = tmp_path_factory.mktemp("swept")
    return folder, small_study().run(folder, progress=False).curves


def renamed_to_its_content(path):
    """A file of a store, with the name that is its content's."""
    path.rename(path.with_name(f"{hashlib.sha256(path.read_bytes()).hexdigest()}.parquet"))


def test_a_damaged_or_forged_file_of_cells_is_named_and_the_others_are_read(swept, tmp_path):
    cells = swept[0] / "cells"
    hurt, sound = sorted(cells.iterdir())
    whole = {cell for path in (hurt, sound) for cell in pd.read_parquet(path)["cell"]}
    kept = set(pd.read_parquet(sound)["cell"])
    names = ("cell", "step", "success")
    harmless = {"shuffled", *(f"{name} {kind}" for name in names for kind in ("nan", "all nan", *damage.ODD_CELLS))}
    tables = {name: data for name, data in damage.in_parquet(hurt.read_bytes(), names).items() if name not in harmless}
    for name, change in (damage.ANY | {name: put(data) for name, data in tables.items()}).items():
        store = CellStore(copied(cells, tmp_path / "cells"))
        path = store.folder / hurt.name
        change(path)
        if name in tables:
            renamed_to_its_content(path)
        frame, lines = store.read(whole)
        assert set(frame["cell"]) == kept, name
        assert len(lines) == 1, name
        assert "damaged result file" in one_line(lines[0])
        assert [path.name for path in store.folder.glob("[!.]*")] == [sound.name], name
        assert (store.folder / sound.name).read_bytes() == sound.read_bytes()


@pytest.mark.parametrize("name", ["fifo", "full folder", "noise"])
def test_a_study_computes_damaged_cells_again_to_the_same_curves(swept, tmp_path, capsys, name):
    folder, curves = swept
    out = copied(folder, tmp_path / "out")
    path = min((out / "cells").iterdir())
    damage.ANY[name](path)
    again = small_study().run(out, progress=False).curves
    pd.testing.assert_frame_equal(again, curves)
    assert str(path) in capsys.readouterr().err
    assert path.is_file()
    if name == "full folder":  # what somebody put there is kept
        assert [kept.read_text() for kept in (out / "cells").glob(".damaged-*/kept.txt")] == ["somebody's"]


def test_drafts_and_locks_of_any_kind_hold_nobody_up(tmp_path):
    for number, name in enumerate(("folder", "full folder", "fifo", "dangling link", "loop")):
        for place in (".lock", ".part-dead.parquet"):
            folder = tmp_path / f"{number}{place}"
            folder.mkdir()
            (folder / place).write_bytes(b"x")
            damage.ANY[name](folder / place)
            with contextlib.suppress(InputError), only_writer(folder):
                pass


# --------------------------------------------------------------------------------------------------- real runs


@pytest.fixture(scope="module")
def settings(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "small.parquet"
    frame = pd.DataFrame({
        "difficulty": np.linspace(0, 100, ITEMS), "prompt": [f"rev {i}=" for i in range(10, 10 + ITEMS)],
        "answer": [("0", "1", "01")[i % 3] for i in range(ITEMS)],
    })  # fmt: skip
    path.write_bytes(to_parquet(frame))
    return {
        "model": tiny("llama", prefers="01"), "pool": path, "heldout": 1, "batch": 2, "rollouts": 4, "steps": 3,
        "eval-every": 3, "save-every": 1, "limit": 2, "lr": 0.01, "algorithm": "grpo",
    }  # fmt: skip


def words(settings, *more):
    return [*(text for name, value in settings.items() for text in (f"--{name}", str(value))), *more]


def trained(settings, out, *more):
    """Exit status and errors of train.py in this process."""
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        status = train.main(words(settings | {"out": out}, *more))
    return status, errors.getvalue()


@pytest.fixture(scope="module")
def ran(settings, tmp_path_factory):
    """The folders of two finished runs of different seeds and numbers of steps."""
    folders = [tmp_path_factory.mktemp("ran") / f"seed-{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        assert trained(settings | {"seed": seed, "threads": 1, "steps": 3 - 2 * seed}, folder)[0] == 0
    return folders


def record_of(folder):
    """Its files, without seconds."""
    steps = pd.read_csv(folder / "steps.csv")
    tables = [(folder / name).read_bytes() for name in ("evals.csv", "rollouts.parquet")]
    return steps[[name for name in steps if not name.startswith("seconds")]].to_csv(), *tables


ODD_IN = {"steps.csv": ("step", "rollouts", "tokens", "admitted"), "evals.csv": ("step", "stratum", "success", "n")}


def cases_of(path, other):
    """Name -> change of a file of a record: damaged, of another run, another table, or other values."""
    data = path.read_bytes()
    kinds = {".json": lambda: texts(damage.in_json(data.decode(), ("files", "code"))),
             ".csv": lambda: {name: put(table) for name, table in damage.in_csv(data, ODD_IN[path.name]).items()
                              if table != data},
             ".parquet": lambda: {name: put(table) for name, table in damage.in_parquet(data).items()}}  # fmt: skip
    theirs = (other / path.name).read_bytes()
    foreign = {"of another run": put(theirs)} if theirs != data else {}  # which may succeed as often
    return damage.ANY | foreign | kinds[path.suffix]()


@pytest.mark.parametrize("name", ["steps.csv", "evals.csv", "rollouts.parquet"])
def test_a_record_whose_tables_are_not_those_that_were_written_is_of_no_finished_run(ran, tmp_path, name):
    folder, other = ran
    cases = cases_of(folder / name, other) | {"gone": Path.unlink}
    assert len(cases) > 40
    for case, change in cases.items():
        place = copied(folder, tmp_path / "run")
        change(place / name)
        with pytest.raises(DamagedFile) as caught:
            read_again(place)
        assert str(place / name) in one_line(caught.value), case


OLDER = {
    "steps.csv": ("no rows", "without last row", "without first row", "rows twice", "last row twice", "shuffled",
                  "renamed", "another column", "without rollouts", "rollouts text", "rollouts nan", "rollouts -1",
                  "tokens long", "step half", "admitted inf", "column twice", "long rows", "short row", "open quote",
                  "zero byte", "gone"),
    "evals.csv": ("no rows", "without last row", "without first row", "rows twice", "shuffled", "without n",
                  "success text", "success nan", "success huge", "n all nan", "stratum half", "step true", "words",
                  "no header", "gone"),
    "rollouts.parquet": ("no rows", "without last row", "rows twice", "without admitted", "step all text", "item true",
                         "another column", "no columns", "csv", "gone"),
}  # fmt: skip


@pytest.mark.parametrize("name", OLDER)
def test_a_record_without_digests_is_taken_where_it_is_that_of_a_whole_run(ran, tmp_path, name):
    """Earlier versions wrote none."""
    folder, other = ran
    plain = copied(folder, tmp_path / "plain")
    manifest = read_manifest(plain)
    del manifest["files"]
    (plain / "manifest.json").write_text(json.dumps(manifest))
    assert len(read_again(plain).steps) == 3
    cases = cases_of(plain / name, other) | {"gone": Path.unlink}
    for case in (*OLDER[name], *damage.ANY):
        if case in ("flip", "cut by 1"):  # another digit is told by a digest only, and a missing line break is no harm
            continue
        place = copied(plain, tmp_path / "run")
        cases[case](place / name)
        with pytest.raises(DamagedFile) as caught:
            read_again(place)
        assert str(place / name) in one_line(caught.value), case


TOLD = {  # and not compared
    "versions", "git_commit", "machine", "events", "signal", "products", "seconds", "status", "files",
}  # fmt: skip


def test_a_manifest_of_odd_values_is_damaged_of_another_run_or_of_other_code(ran, tmp_path):
    folder, other = ran
    mine = read_manifest(folder)
    counts = Counter()
    for case, change in cases_of(folder / "manifest.json", other).items():
        place = copied(folder, tmp_path / "run")
        change(place / "manifest.json")
        try:
            found = read_manifest(place)
            if not same_run(found, mine):
                counts["another run"] += 1
                continue
            check_code("--resume", found, mine, "it", any_code=False)
            read_finished(place, found, run_of(mine))
        except InputError as caught:
            error = caught
        else:
            counts["taken"] += 1
            odd = {key for key in found.keys() | mine.keys() if repr(found.get(key)) != repr(mine.get(key))}
            assert odd <= TOLD | {"heldout", "prompting", "samples"} - found.keys(), (case, odd)
            continue
        counts[type(error).__name__] += 1
        assert isinstance(error, DamagedFile) == (str(place) in one_line(error)), case
    assert counts["DamagedFile"] > 100
    assert counts["another run"] > 20
    assert counts["InputError"] >= 5


def run_of(manifest):
    return Run(**manifest["run"] | {"settings": tuple(manifest["run"]["settings"].items())})


def read_again(folder):
    manifest = read_manifest(folder)
    return read_finished(folder, manifest, run_of(manifest))


@pytest.mark.parametrize(
    ("name", "case"), [("manifest.json", "cut at 100"), ("steps.csv", "fifo"), ("evals.csv", "flip")]
)
def test_a_run_that_says_it_is_complete_is_checked_and_written_again(ran, settings, tmp_path, name, case):
    out = copied(ran[0], tmp_path / "out")
    before = record_of(out)
    damage.ANY[case](out / name)
    status, said = trained(settings | {"threads": 1}, out, "--resume")
    assert status == 0, said
    (line,) = [line for line in said.splitlines() if str(out / name) in line]
    assert line.startswith("the record of the run is damaged and will be written again: ")
    assert record_of(out) == before
    assert f"{out}: this run is complete" in trained(settings | {"threads": 1}, out, "--resume")[1].splitlines()


# ---------------------------------------------------------------------------------------------------- checkpoints


def hashed(path, data):
    """A checkpoint of this content, with the name that tells so."""
    path.unlink()
    path.with_name(f"{path.stem.rpartition('-')[0]}-{hashlib.sha256(data).hexdigest()[:16]}.safetensors").write_bytes(data)


def parts_of(path):
    """Header and data of a safetensors file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(header, data):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("case", damage.ANY)
def test_the_checkpoint_before_a_damaged_one_is_read(tmp_path, case):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"x": np.full(40, step)}, {"n": 1}, "0" * 12)
    path = checkpoint.own(tmp_path, "0" * 12)[0]
    damage.ANY[case](path)
    told = []
    assert checkpoint.load(tmp_path, "0" * 12, told.append).step == 1
    assert told == [f"damaged checkpoint {path}: the one before it is used"]
    assert [path.name[:11] for path in tmp_path.glob("[!.]*")] == ["step-000001"]


def test_a_checkpoint_of_a_forged_header_is_told_and_the_one_before_it_is_read(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path / "all", step, {"x": np.full(40, step), "name": "a"}, {"n": 1}, "0" * 12)
    last = checkpoint.own(tmp_path / "all", "0" * 12)[0]
    header, data = parts_of(last)
    notes = header.pop("__metadata__")
    heads = [header] + [header | {"__metadata__": {other: notes[other]}} for other in notes]
    odd = [text for text in damage.ODD.values() if text[0] != "{"]
    heads += [header | {"__metadata__": notes | {key: text}} for key in notes for text in odd]
    forged = [joined(head, data) for head in heads] + [joined(header, data[:9])]
    for content in (*forged, b"", b"x" * 99, (2**62).to_bytes(8, "little")):
        folder = copied(tmp_path / "all", tmp_path / "some")
        hashed(folder / last.name, content)
        told = []
        assert checkpoint.load(folder, "0" * 12, told.append).step == 1
        assert len(told) == 1
        assert "is of another kind: the one before it is used" in one_line(told[0])


@pytest.mark.parametrize("case", ["another step", "no weights", "text", "record"])
def test_a_run_does_not_go_on_from_a_state_that_is_none(ran, settings, tmp_path, case):
    out = copied(ran[0], tmp_path / "out")
    before = record_of(out)
    (out / "manifest.json").unlink()
    last = max((out / "checkpoints").glob("step-*"))
    header, data = parts_of(last)
    plain = json.loads(header["__metadata__"]["plain"])
    if case == "another step":
        last.rename(last.with_name(last.name.replace("000003", "000777")))
    elif case == "text":
        header["__metadata__"]["plain"] = json.dumps(plain | {"learner.updates": "x"})
    elif case == "record":
        header["__metadata__"]["plain"] = json.dumps(plain | {"record.groups": [[1, 2]]})
        header["x"] = header.pop("record.groups")
    else:
        name = next(name for name in header if name.startswith("learner.policy"))
        header["x"] = header.pop(name)
    if case != "another step":
        hashed(last, joined(header, data))
    status, said = trained(settings | {"threads": 1}, out, "--resume")
    assert status == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: --resume: must continue from a run's state, got ")
    max((out / "checkpoints").glob("step-*")).unlink()  # as the line says
    assert trained(settings | {"threads": 1}, out, "--resume")[0] == 0
    assert record_of(out) == before


def by_moment(part, change):
    """Arrays of a checkpoint with another one of the optimiser's first parameter."""
    name = f"learner.adam.0.{part}"
    return lambda arrays: arrays | {name: change(arrays[name]).contiguous()}


OTHER_MOMENTS = {
    "other shape": by_moment("exp_avg", lambda x: x.T), "flat": by_moment("exp_avg_sq", lambda x: x.flatten()),
    "other precision": by_moment("exp_avg", lambda x: x.half()),
    "whole numbers": by_moment("exp_avg", lambda x: x.int()), "no numbers": by_moment("exp_avg", lambda x: x * np.nan),
    "squares below 0": by_moment("exp_avg_sq", lambda x: x - 1),
    "step 0": by_moment("step", lambda x: x * 0), "half a step": by_moment("step", lambda x: x - 0.5),
    "steps ahead": by_moment("step", lambda x: x + 1e6), "steps of two lengths": by_moment("step", lambda x: x - 1),
    "foreign": lambda arrays: arrays | {"learner.adam.0.max_exp_avg_sq": arrays["learner.adam.0.exp_avg_sq"].clone()},
    "of another parameter": lambda arrays: arrays | {"learner.adam.999.step": arrays["learner.adam.0.step"].clone()},
    "some gone": lambda arrays: {name: x for name, x in arrays.items() if not name.endswith("exp_avg")},
    "a parameter's gone": lambda arrays: {name: x for name, x in arrays.items() if ".adam.0." not in name},
    "all gone": lambda arrays: {name: x for name, x in arrays.items() if ".adam." not in name},
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_MOMENTS)
def test_a_run_does_not_go_on_from_an_optimisers_state_that_is_not_its_own(ran, settings, tmp_path, case):
    out = copied(ran[0], tmp_path / "out")
    (out / "manifest.json").unlink()
    last = max((out / "checkpoints").glob("step-*"))
    texts = parts_of(last)[0]["__metadata__"]
    save_file(OTHER_MOMENTS[case](load_file(last)), tmp_path / "forged", texts)
    hashed(last, (tmp_path / "forged").read_bytes())
    status, said = trained(settings | {"threads": 1}, out, "--resume")
    assert status == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: --resume: must continue from a run's state, got ")
    assert "(state.adam" in line.replace("state.'adam", "state.adam")


PLACES = {
    "file": lambda path: path.write_bytes(b"x"), "fifo": os.mkfifo, "loop": lambda path: path.symlink_to(path),
    "dangling link": lambda path: path.symlink_to(path.with_name("nowhere")),
    "link to a file": lambda path: path.symlink_to("/dev/null"),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("name", "option"), [("checkpoints", "--resume"), ("tensorboard", "--tensorboard")])
def test_a_folder_that_is_none_is_told_before_the_first_step(settings, tmp_path, name, option, place):
    PLACES[place](tmp_path / name)
    status, said = trained(settings | {"threads": 1}, tmp_path, option)
    assert status == 2, said
    told = f"error: --out: must be a folder that can be written, got '{tmp_path / name}'"
    assert said.splitlines()[-1].startswith(told)
    assert "held-out success" not in said


def test_what_a_killed_writer_of_checkpoints_left_is_removed_by_the_next(ran, settings, tmp_path):
    out = copied(ran[0], tmp_path / "out")
    (out / "manifest.json").unlink()
    (out / "checkpoints" / ".part-0123456789abcdef.safetensors").write_bytes(b"half")
    assert trained(settings | {"threads": 1}, out, "--resume")[0] == 0
    assert not list(out.rglob(".part-*"))


# ------------------------------------------------------------------------------------- studies and measurements


def by(command):
    """Exit status of a command line of train.py in this process."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return train.main(command[2:])


def test_tables_leave_a_damaged_run_out_and_the_study_runs_it_again(settings, tmp_path, capsys):
    study = {name: value for name, value in settings.items() if name != "pool"} | {"pools": settings["pool"]}
    study |= {"controllers": "filter", "seeds": 1, "steps": 1}
    parser = argparse.ArgumentParser()
    add_study_options(parser)
    cells = make_cells(parser.parse_args(words(study)), tmp_path / "study")
    assert [by(cell.command()) for cell in cells] == [0, 0]
    (cell,) = (cell for cell in cells if cell.controller == "filter")
    before, path = record_of(cell.folder), cell.folder / "evals.csv"
    damage.ANY["fifo"](path)
    assert compare.main(words(study | {"out": tmp_path / "study"}, "--tables-only")) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if str(path) in line] == [
        f"a run's record is damaged, so that it is not finished: '{path}': must be a regular file, got a folder, a "
        "pipe or a device"
    ]
    assert set(pd.read_csv(tmp_path / "study" / "runs.csv")["controller"]) == {"uniform"}
    assert not cell.finished(print)
    assert by(cell.command()) == 0
    assert cell.finished(pytest.fail)
    assert record_of(cell.folder) == before


COUNTS = {"successes": np.array([2, 4, 0, 0]), "scores": np.array([2.0, 4.0, 0.0, 0.0])}


@pytest.mark.parametrize("change", [
    {"successes": None}, {"scores": "x"}, {"scores": COUNTS["scores"][:3]}, {"successes": COUNTS["scores"]},
    {"scores": COUNTS["scores"] * np.nan}, {"successes": COUNTS["successes"] + 5}, {"successes": -COUNTS["successes"]},
    {"scores": COUNTS["scores"][None]}, {"scores": np.full(4, 1.0)}, {"step": 1}, {"step": 8}, {"step": -1},
], ids=str)  # fmt: skip
def test_a_measurement_does_not_go_on_from_counts_that_are_none(change):
    def found(**other):
        of = {"step": 2} | COUNTS | other
        return checkpoint.Checkpoint(of.pop("step"), of, {}, Path("step-2"))

    done, successes, scores = measure.so_far(found(), 4, 4, 2)
    assert (done, successes.sum(), scores.sum()) == (2, 6, 6.0)
    with pytest.raises(InputError, match=r"^--out: must go on from the counts of 4 problems, got step-2; once it is "):
        measure.so_far(found(**change), 4, 4, 2)


# ------------------------------------------------------------------------------------------- models, logs, states


def test_a_model_that_is_not_as_it_was_made_is_refused(tiny, tmp_path):
    made = copied(tiny("llama", prefers="01"), tmp_path / "made")
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.iterdir()}
    (made / smollm2.MADE).write_text(json.dumps({"package": "p", "sha256": digests}))
    assert smollm2.made(made)
    odd = {name: text for name, text in damage.in_json((made / smollm2.MADE).read_text(), ("sha256",)).items()
           if not name.startswith(("package", "without package"))}  # fmt: skip
    spare = {f"without sha256.{name}" for name in digests if name not in smollm2.NEEDED}
    odd = {name: text for name, text in odd.items() if name not in spare}
    places = {smollm2.MADE: damage.ANY | texts(odd), "model.safetensors": damage.ANY, "config.json": damage.ANY}
    for name, changes in places.items():
        for case, change in changes.items():
            folder = copied(made, tmp_path / "changed")
            change(folder / name)
            with pytest.raises(InputError, match=r"--model: must be as it was made, got ") as caught:
                smollm2.made(folder)
            assert "remove it and run python real_runs/smollm2.py" in one_line(caught.value), case


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_model_is_refused_in_one_line(tiny, tmp_path, name):
    for case in ("folder", "fifo", "loop", "empty", "cut at 100", "noise", "no utf-8"):
        folder = copied(tiny("llama", prefers="01"), tmp_path / "model")
        damage.ANY[case](folder / name)
        with pytest.raises(InputError, match=r"^model: must be a complete transformers model, got ") as caught:
            load(folder)
        one_line(caught.value)


def test_a_damaged_log_or_pool_is_refused_in_one_line_or_means_the_same(tmp_path):
    rows = [(item, visit, (item + visit) % 5, 8) for item in range(6) for visit in range(1, 5)]
    log = damage.as_csv(pd.DataFrame(rows, columns=["item", "visit", "successes", "attempts"]))
    pool = tmp_path / "pool.csv"
    wb.Pool(successes=np.arange(10), attempts=np.full(10, 10), level=np.arange(1, 11), name="p").save(pool)
    for reader, data in ((read_log, log), (wb.Pool.load, pool.read_bytes())):
        for case, change in (damage.ANY | {name: put(cut) for name, cut in damage.in_csv(data).items()}).items():
            path = tmp_path / "file.csv"
            damage.emptied(path)
            path.write_bytes(data)
            change(path)
            try:
                reader(path)
            except InputError as error:
                one_line(error)
            else:
                assert path.is_file(), case
                assert case not in ("empty", "noise", "zeros", "no header", "long rows", "column twice"), case


ODD_VALUES = {
    "none": None, "text": "x", "nan": np.nan, "list": [1, "x"], "object": {"a": 1}, "huge": 10**400, "negative": -1,
    "half": 0.5, "any": object(), "ragged": [[1], [2, 3]], "texts": np.array(["x"]), "complex": 1j,
    "deep": damage.DEEP, "long": damage.LONG, "null": "null", "[]": "[]", "masked": np.ma.masked_all(3),
}  # fmt: skip


@pytest.mark.parametrize("rule", [wb.AdaRFT(), wb.Uniform()], ids=["adarft", "uniform"])
def test_a_controllers_state_of_odd_values_is_refused_in_one_line_and_changes_nothing(rule):
    pool = wb.Pool(np.linspace(0, 100, 30))

    def controller():
        return wb.Controller(rule, pool, (wb.DynamicSampling(),), seed=1)

    of = controller()
    wb.train(of, wb.SimLearner(wb.ScalarIRT(), pool, seed=1), 2, batch=4, rollouts=4)
    state = of.state_dict()
    fresh = controller()
    before = repr(fresh.state_dict())
    for odd in (None, 3, "x", [], {}):
        with pytest.raises(InputError):
            fresh.load_state_dict(odd)
    for name in state:
        cases = {case: odd for case, odd in ODD_VALUES.items() if name == "settings" or case != "deep"}
        if isinstance(state[name], np.ndarray):
            cases["shape"] = np.zeros((2, 2, 2))
            if state[name].size:
                cases["objects"] = np.full(state[name].shape, None, object)
                cases["words"] = np.full(state[name].shape, "x")
        for odd in cases.values():
            with pytest.raises(InputError) as caught:
                fresh.load_state_dict(state | {name: odd})
            one_line(caught.value)
        assert repr(fresh.state_dict()) == before, name
    fresh.load_state_dict(state)
    assert fresh.step == of.step
