"""Completions that a run keeps: which are chosen, and that a file which is not as it was written is not believed."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from real_runs.comparison.page import both_ends
from real_runs.runs.record import RunRecord
from real_runs.runs.samples import LONGEST, OF_LEVEL, SAMPLES, check_samples, chosen, joined, read_samples, shortened
from workbench.errors import InputError
from workbench.files import DamagedFile

STRATUM = np.array([1, 0, 0, 0, 0, 1, 0])
RIGHT = np.array([True, True, False, True, True, False, False])
PROMPTS = [f"p{i}" for i in range(7)]


def sample(step=0):
    return chosen(step, STRATUM, RIGHT, PROMPTS, [f"c{i}" for i in range(7)], [f"a{i}" for i in range(7)])


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


def test_of_each_level_the_first_right_and_the_first_wrong_ones_are_kept():
    kept = [(one["stratum"], one["prompt"], one["completion"], one["answer"], one["right"]) for one in sample()]
    assert kept == [
        (0, "p1", "c1", "a1", True), (0, "p2", "c2", "a2", False), (0, "p3", "c3", "a3", True),
        (0, "p6", "c6", "a6", False), (1, "p0", "c0", "a0", True), (1, "p5", "c5", "a5", False),
    ]  # fmt: skip
    assert OF_LEVEL == 2


def test_the_first_evaluation_and_the_last_one_are_kept():
    held = []
    for step in (0, 10, 20):
        held = joined(held, sample(step))
    assert [one["step"] for one in held] == [0] * 6 + [20] * 6


def test_long_texts_lose_their_middle_and_odd_ones_can_be_written():
    text = "a" * LONGEST + "b" * LONGEST
    assert shortened(text) == "a" * (LONGEST // 2) + f"\n[{LONGEST} characters]\n" + "b" * (LONGEST // 2)
    assert shortened("a" * LONGEST) == "a" * LONGEST
    assert shortened("x\udcff") == "x\\udcff"


def test_samples_go_through_a_checkpoint_and_a_record_of_an_earlier_version_has_none():
    record, back = RunRecord(), RunRecord()
    record.samples = sample()
    state = record.state_dict()
    back.load_state_dict(state | {"samples": json.loads(json.dumps(state["samples"]))})
    assert back.samples == record.samples
    back.load_state_dict({name: value for name, value in state.items() if name != "samples"})
    assert back.samples == []


@pytest.mark.parametrize("odd", [
    5, {}, [5], [{}], [{"step": 0}], [sample()[0] | {"step": "0"}], [sample()[0] | {"right": 1}],
    [sample()[0] | {"more": 1}], [sample()[0]] * 1000,
])  # fmt: skip
def test_what_is_no_list_of_samples_is_refused(odd):
    with pytest.raises(InputError, match=r"^record.samples: must be samples of completions, got "):
        check_samples("record.samples", odd)


def test_a_file_is_believed_only_as_the_manifest_has_it(tmp_path):
    data = json.dumps(sample()).encode()
    (tmp_path / SAMPLES).write_bytes(data)
    assert read_samples(tmp_path, {"samples": digest_of(data)}, digest_of) == sample()
    assert read_samples(tmp_path, {}, digest_of) == []  # of an earlier version
    with pytest.raises(DamagedFile, match=r"samples.json: must be the file that the manifest has the digest of"):
        read_samples(tmp_path, {"samples": digest_of(b"other")}, digest_of)
    (tmp_path / SAMPLES).write_bytes(b"[5]")
    with pytest.raises(DamagedFile, match="samples of completions"):
        read_samples(tmp_path, {"samples": digest_of(b"[5]")}, digest_of)
    (tmp_path / SAMPLES).unlink()
    with pytest.raises(DamagedFile):
        read_samples(tmp_path, {"samples": digest_of(data)}, digest_of)


def test_what_is_right_early_and_late_is_over_the_quarters_at_the_ends():
    rows = [(1, 7, 2.0, 8), (1, 7, 4.0, 8), (4, 7, 8.0, 8), (2, 7, 0.0, 8), (4, 8, 1.0, 8), (1, 9, 1.0, 8)]
    table = pd.DataFrame(rows, columns=["step", "item", "successes", "attempts"])
    found = both_ends([table, table])
    assert found.index.tolist() == [7]  # 8 was drawn late only, 9 early only
    assert found.loc[7].to_dict() == {"early": 0.375, "late": 1.0, "attempts_early": 32, "attempts_late": 16}
