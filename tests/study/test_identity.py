"""A result is reused only where everything it was computed with is the same: also code outside the library."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import workbench as wb
from workbench.study.identity import content_of, describe, sources_of
from workbench.study.store import CellStore
from workbench.study.study import Study

ROOT = Path(__file__).parents[2]
POOL = wb.Pool.synthetic("uniform", size=100)
MINE = """
    from dataclasses import dataclass

    import numpy as np

    import workbench as wb
    from outside_helpers import place

    @dataclass(frozen=True)
    class Mine(wb.Uniform):
        def select(self, state, draw, count):
            items = place(len(draw.pool), draw.step) + np.arange(count)
            return np.tile(items % len(draw.pool), (len(draw.seeds), 1)), state

    @dataclass(frozen=True)
    class Learns(wb.ScalarIRT):
        def curve(self):
            return 1.0, 0.1, 1.0
"""
HELPERS = """
    def place(size, step):
        return step * 1
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """write(rules, helpers): the modules outside_rules and outside_helpers with that source, loaded afresh."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits in one second look the same to a .pyc file

    def write(rules=MINE, helpers=HELPERS):
        for name, text in (("outside_helpers", helpers), ("outside_rules", rules)):
            (tmp_path / f"{name}.py").write_text(dedent(text))
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("outside_rules")

    yield write
    for name in ("outside_helpers", "outside_rules"):
        sys.modules.pop(name, None)


def study(*controllers, learners=("scalar",)):
    return Study([POOL], list(learners), list(controllers), seeds=2, steps=4, batch=8, rollouts=4)


def keys(part):
    if isinstance(part, wb.Law):
        return [cell.key for cell in study("adarft", learners=[part]).cells]
    return [cell.key for cell in study(part).cells if cell.arm.controller != "uniform"]


def computed(store):
    return sum(1 for _ in store.folder.glob("*.parquet"))


def test_an_edited_rule_is_computed_again_and_an_unchanged_one_is_not(tmp_path, outside):
    store = CellStore(tmp_path / "cells")
    first = study(outside().Mine()).compute(store)
    before = computed(store)
    again = study(outside().Mine()).compute(store)  # another class object from the same source
    assert np.array_equal(first["success"], again["success"])
    assert computed(store) == before
    edited = study(outside(MINE.replace("+ np.arange", "+ 50 + np.arange")).Mine()).compute(store)
    changed = edited["controller"] == "outside_rules:Mine"
    assert not np.array_equal(first["success"][changed], edited["success"][changed])
    assert np.array_equal(first["success"][~changed], edited["success"][~changed])
    assert computed(store) == before + 1


@pytest.mark.parametrize(
    ("rules", "helpers"),
    [
        (MINE.replace("0.1, 1.0", "0.2, 1.0"), HELPERS),
        (MINE, HELPERS.replace("step * 1", "step * 2")),
        (MINE + "\n    NUMBER = 3\n", HELPERS),
    ],
    ids=["another class of its module", "a helper in another module", "a constant"],
)
def test_the_code_beside_a_class_belongs_to_its_identity(outside, rules, helpers):
    module = outside()
    before = keys(module.Mine()) + keys(module.Learns())
    assert keys(module.Mine()) + keys(module.Learns()) == before
    module = outside(rules, helpers)
    assert not set(before) & set(keys(module.Mine()) + keys(module.Learns()))


BY_VALUE = MINE.replace("import place", "import SHIFT").replace("place(len(draw.pool), draw.step)", "SHIFT")
IN_A_FUNCTION = MINE.replace("    from outside_helpers import place\n", "").replace(
    "            items = place(", "            import outside_helpers\n            items = outside_helpers.place("
)
PARTIAL = """
    from functools import partial

    def _place(shift, size, step):
        return shift

    place = partial(_place, 1)
"""


@pytest.mark.parametrize(
    ("rules", "helpers", "edit"),
    [
        (BY_VALUE, "SHIFT = 1", ("1", "7")),
        (IN_A_FUNCTION, HELPERS, ("step * 1", "step + 7")),
        (MINE, PARTIAL, ("_place, 1", "_place, 7")),
        (MINE, "from outside_base import place", ()),
    ],
    ids=["a plain value", "imported in a function", "functools.partial", "a module behind the helper"],
)
def test_a_rule_is_computed_again_when_what_it_imports_was_edited(tmp_path, outside, monkeypatch, rules, helpers, edit):
    def write(text, base):
        (tmp_path / "outside_base.py").write_text(dedent(base))
        sys.modules.pop("outside_base", None)
        return outside(rules, text)

    store = CellStore(tmp_path / "cells")
    first = study(write(helpers, HELPERS).Mine()).compute(store)
    before = computed(store)
    study(sys.modules["outside_rules"].Mine()).compute(store)  # all of it is loaded by now
    study(write(helpers, HELPERS).Mine()).compute(store)
    assert computed(store) == before
    edited = write(helpers.replace(*edit), HELPERS) if edit else write(helpers, HELPERS.replace("* 1", "+ 7"))
    again = study(edited.Mine()).compute(store)
    changed = again["controller"] == "outside_rules:Mine"
    assert not np.array_equal(first["success"][changed], again["success"][changed])
    assert computed(store) == before + 1
    sys.modules.pop("outside_base", None)


def test_relative_imports_and_packages_are_followed_without_importing_them(tmp_path, monkeypatch):
    files = {
        "outside_pack/__init__.py": "",
        "outside_pack/rules.py": MINE.replace("    from outside_helpers import place\n", "").replace(
            "            items = place(", "            from .deep import far\n            items = far.place("
        ),
        "outside_pack/deep/__init__.py": "NUMBER = 1",
        "outside_pack/deep/far.py": "from ..near import place",
        "outside_pack/near.py": HELPERS,
        "outside_pack/apart.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    rules = importlib.import_module("outside_pack.rules")
    try:
        before = sources_of(rules.Mine())
        told = []
        for name, text in files.items():
            if name != "outside_pack/rules.py":
                (tmp_path / name).write_text(dedent(text) + "\n# edited\n")
                told.append(sources_of(rules.Mine()) != before)
                (tmp_path / name).write_text(dedent(text))
        assert told == [True, True, True, True, False]  # nothing imports the last one
        assert sources_of(rules.Mine()) == before
        assert not {"outside_pack.deep", "outside_pack.near"} & sys.modules.keys()
    finally:
        for name in [name for name in sys.modules if name.startswith("outside_pack")]:
            del sys.modules[name]


@pytest.mark.parametrize("edit", [("SHIFT = 1", "SHIFT = 2"), ("def gone(): pass", ""), ("", "\ndef more(): pass")])
def test_a_helper_that_was_edited_but_not_loaded_again_is_not_taken_for_the_new_code(tmp_path, outside, edit):
    helpers = "SHIFT = 1\ndef gone(): pass\n"
    edited = helpers.replace(*edit) if edit[0] else helpers + edit[1]
    module = outside(BY_VALUE, helpers)
    old = sources_of(module.Mine())
    (tmp_path / "outside_helpers.py").write_text(edited)
    between = sources_of(module.Mine())
    new = sources_of(outside(BY_VALUE, edited).Mine())
    assert len({*old.values(), *between.values(), *new.values()}) == 3


def test_a_file_that_was_edited_but_not_loaded_again_is_not_taken_for_the_new_code(outside, tmp_path):
    module = outside()
    old = keys(module.Mine())
    edited = dedent(MINE.replace("+ np.arange", "+ 50 + np.arange"))
    (tmp_path / "outside_rules.py").write_text(edited)
    between = keys(module.Mine())  # the old code, with the new file
    new = keys(outside(MINE.replace("+ np.arange", "+ 50 + np.arange")).Mine())
    assert len({*old, *between, *new}) == 6


def test_a_base_class_outside_the_library_belongs_to_the_identity_and_the_library_does_not(outside):
    module = outside()
    assert sources_of(module.Mine()).keys() == {"outside_rules:Mine"}
    assert sources_of(wb.AdaRFT(), wb.ScalarIRT(signal=wb.GRPO()), wb.SPEED()) == {}


def test_a_class_without_a_source_is_computed_every_time(tmp_path):
    space = {"__name__": "typed_at_a_prompt"}
    exec(dedent(MINE).replace("from outside_helpers import place", "place = lambda size, step: step"), space)
    (told,) = sources_of(space["Mine"]()).values()
    assert told.startswith("no source, so not kept: ")
    assert not set(keys(space["Mine"]())) & set(keys(space["Mine"]()))
    store = CellStore(tmp_path)
    first, again = (study(space["Mine"]()).compute(store) for _ in range(2))
    assert np.array_equal(first["success"], again["success"])
    assert computed(store) == 3  # uniform once, the rule twice


def test_outside_rules_and_laws_run_in_worker_processes(tmp_path, outside):
    module = outside()
    what = study(module.Mine(), "adarft", learners=["scalar", module.Learns()])
    one, two = what.compute(CellStore(tmp_path / "one")), what.compute(CellStore(tmp_path / "two"), jobs=3)
    assert np.array_equal(one["success"], two["success"])


def test_contents_tell_every_number_apart():
    shape = {"steps": 3}
    base = content_of(wb.ScalarIRT(), wb.AdaRFT(), (), POOL, shape)
    for law, rule, gates in (
        (wb.ScalarIRT(kappa=0.03), wb.AdaRFT(), ()),
        (wb.ScalarIRT(signal=wb.GRPO()), wb.AdaRFT(), ()),
        (wb.ScalarIRT(), wb.AdaRFT(eta=49.0), ()),
        (wb.ScalarIRT(), wb.AdaRFT(), (wb.SPEED(),)),
    ):
        assert content_of(law, rule, gates, POOL, shape) != base
    lanes = wb.AdaRFT(eta=np.array([50.0, 49.0]))
    assert content_of(wb.ScalarIRT(), lanes, (), POOL, shape, 0) == base
    assert describe(wb.AdaRFT(eta=50))["eta"] == 50


# ---- scripts


def script(folder, text, *arguments):
    path = folder / "mine.py"
    path.write_text(dedent(text))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, path, *arguments], cwd=folder, env=environment, capture_output=True,
                          text=True, timeout=120)  # fmt: skip


OF_A_SCRIPT = MINE.replace("from outside_helpers import place", "place = lambda size, step: step") + """
    def main():
        pool = wb.Pool.synthetic("uniform", 100)
        study = wb.Study([pool], ["scalar", "natural"], [Mine()], seeds=2, steps=4, batch=8, rollouts=4)
        print(len(study.run("out", jobs=3, progress=False).runs))
"""


def test_a_class_of_a_script_with_a_main_guard_runs_in_worker_processes(tmp_path):
    done = script(tmp_path, OF_A_SCRIPT + '\n    if __name__ == "__main__":\n        main()\n')
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "8", "")


def test_a_script_without_a_main_guard_is_told_what_to_do(tmp_path):
    done = script(tmp_path, OF_A_SCRIPT + "\n    main()\n")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith(
        "WorkerError: worker processes import the script that starts them: put what it runs under "
        '`if __name__ == "__main__":`, or use jobs=1'
    )
    assert "memory" not in done.stderr


def test_a_class_typed_at_a_prompt_is_told_to_use_two_jobs(tmp_path):
    code = dedent(OF_A_SCRIPT) + "\nmain()\n"
    done = subprocess.run([sys.executable], input=code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.stderr.strip().splitlines()[-1].endswith(
        "InputError: jobs: must be <= 2 for Mine, a class defined in a notebook or at a prompt; define it in a file to "
        "use worker processes"
    )


def test_a_class_typed_at_a_prompt_runs_with_two_jobs(tmp_path):
    code = dedent(OF_A_SCRIPT.replace("jobs=3", "jobs=2")) + "\nmain()\n"
    done = subprocess.run([sys.executable], input=code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "8", "")
