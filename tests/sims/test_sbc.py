"""sims/sbc.py: ranks of true values in a table; a second call finds its fits."""

import pandas as pd
import pytest
from commands import call

from sims import sbc
from workbench.calibration.calibrate import Task

QUICK = ("--learners", "natural", "--logs", 3)


def test_ranks_come_in_a_table_and_a_second_call_fits_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sbc, "ENOUGH", 20.0)
    status, printed, _ = call(sbc, monkeypatch, capsys, *QUICK, "--out", tmp_path)
    assert status == 0
    table = pd.read_csv(tmp_path / "sbc.csv")
    assert table["parameter"].tolist() == list(sbc.space_of("natural").priors)
    assert (table["logs"] == 3).all()
    assert table["mean_rank"].between(0, sbc.DRAWS).all()
    assert "natural" in printed
    written = (tmp_path / "sbc.csv").read_bytes()
    monkeypatch.setattr(Task, "fit", None)
    assert call(sbc, monkeypatch, capsys, *QUICK, "--out", tmp_path)[0] == 0
    assert (tmp_path / "sbc.csv").read_bytes() == written


@pytest.mark.parametrize(("more", "said"), [
    (("--logs", 0), "--logs: must be"), (("--jobs", "x"), "--jobs: must be"), (("--learners", "zzz"), "--learners: "),
    (("--learners", "natural,natural"), "--learners: must name each learner once"),
])  # fmt: skip
def test_bad_input_is_one_line(more, said, tmp_path, monkeypatch, capsys):
    status, printed, error = call(sbc, monkeypatch, capsys, *QUICK, *more, "--out", tmp_path / "out")
    assert (status, printed) == (2, "")
    assert said in error.splitlines()[-1]
