"""How commands end: one line and a status for each kind of trouble."""

import sys
import warnings

import pytest

from workbench.commands import SAME_AGAIN, exit_status
from workbench.errors import InputError, WorkerError
from workbench.files import StorageError

GO_ON = "; what was finished is kept, run the same command to go on"


def raiser(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "said", "kept"),
    [
        (InputError("--seeds: must be 1, got 2"), 2, "error: --seeds: must be 1, got 2", ""),
        (StorageError("cannot write a.csv: no space"), 1, "error: cannot write a.csv: no space", GO_ON),
        (PermissionError("not yours"), 1, "error: not yours", GO_ON),
        (WorkerError("a worker process died"), 1, "error: a worker process died", GO_ON),
        (KeyboardInterrupt(), 130, "stopped", GO_ON),
    ],
)
def test_trouble_is_one_line_and_a_status(error, status, said, kept, capsys):
    assert exit_status(raiser(error)) == status
    assert exit_status(raiser(error), SAME_AGAIN) == status
    assert capsys.readouterr() == ("", f"{said}\n{said}{kept}\n")


def test_work_that_ends_well_says_nothing_and_its_own_status_passes(capsys):
    assert exit_status(lambda: None) == exit_status(lambda: 0) == 0
    assert exit_status(lambda: 1) == 1
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 // 0)


def test_a_warning_is_one_line_without_a_place_in_the_code(capsys, monkeypatch):
    before = warnings.formatwarning

    def work():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            monkeypatch.setattr(warnings, "showwarning", shown)
            warnings.warn("ids: the 60 rows\nname 20 items", stacklevel=1)

    def shown(message, category, place, line, file=None, text=None):
        sys.stderr.write(warnings.formatwarning(message, category, place, line, text))

    assert exit_status(work) == 0
    assert capsys.readouterr().err == "note: ids: the 60 rows name 20 items\n"
    assert warnings.formatwarning is before
