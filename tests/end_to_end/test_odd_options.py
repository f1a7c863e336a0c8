"""Every option of every command against one table of odd values: each is refused in one line, or work begins with it.

The loop is over the parsers themselves: a new option is covered by being there.
"""

import argparse
import importlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
MOST_SECONDS = 60  # of one command line, which takes milliseconds to refuse: what takes so long hangs
MOST_LETTERS = 2000  # of the line that refuses: lists of names are the longest
LONG = "x" * 5000
TABLE = "difficulty,prompt,answer\n" + "".join(f"{8 * i},What is {i} + 1?,{i + 1}\n" for i in range(12))
ANSWERS = "a,b,c\n" + "".join(f"{i % 2},{i // 2 % 2},{i // 4 % 2}\n" for i in range(16))
LOG = "item,visit,successes,attempts\n" + "".join(f"{i},{v},{i % 9},8\n" for i in range(12) for v in range(1, 21))
MODELS = ("checkpoint,category,task,item,attempts,full_successes\n"
          + "".join(f"{name},math,sums,{i},8,{i % 9}\n" for name in ("base", "math-1") for i in range(12)))

ODD = {
    "empty": "", "blank": " ", "nul": "a\0b", "digits": "9" * 5000, "1e20": "1e20", "10^20": "1" + "0" * 20,
    "10^18": "1" + "0" * 18, "10^9": "1" + "0" * 9,
    "minus one": "-1", "zero": "0", "nan": "nan", "inf": "inf",
    "minus inf": "-inf", "1e300": "1e300", "1e-300": "1e-300", "hex": "0x10", "underscore": "1_0", "half": "2.5",
    "trailing comma": "1,", "comma": ",", "two commas": "1,,2", "long path": "/".join(["x" * 200] * 25),
    "long name": "n" * 300, "long": LONG, "a folder": "folder", "a file": "table.csv", "beneath a file": "table.csv/x",
    "missing": "gone.csv", "no kind": "odd.zzz", "not text": "binary.csv", "bytes": "a\udcff\udcfeb", "colons": "a:b:c",
    "above": "../x", "home": "~", "emoji": "\U0001f600", "escapes": "\x1b[2J\x1b]0;x\x07", "lines": "a\nb",
    "bidi": "a\u202eb", "twice": "a,a", "plus": "+", "many plus": "+".join(["dapo"] * 3), "dots": "..", "equals": "=",
    "dashes": "--", "setting": "adarft.eta=", "setting nan": "adarft.eta=nan", "setting huge": "adarft.eta=1e300",
    "unknown setting": "adarft.zzz=1", "unknown owner": "zzz.eta=1", "module": "os:system", "no module": "zzz.zzz:Zzz",
    "template": "{{prompt}", "hub": "hf:", "no data set": "hf:/nowhere", "regex": "(", "device": "/dev/null",
}  # fmt: skip
# Of these, what a path may be is asked of the options that are read by opening files and packages.
DEEP = ("empty", "nul", "digits", "long path", "long name", "a folder", "beneath a file", "missing", "no kind",
        "not text", "bytes", "above", "escapes", "module", "no module", "no data set", "regex", "device")  # fmt: skip
OPENED = ("--task", "--pool", "--scorer", "--answer")
NEVER = ("empty", "nul", "digits", "10^20", "minus one", "nan", "inf", "long", "lines", "comma")  # is no number





class Began(BaseException):
    """Work begins."""


class Command(NamedTuple):
    """begins: the functions with which work begins, module:name; deep: the same after files are opened.

    words: what a line needs beside the option.
    """

    module: str
    begins: tuple[str, ...]
    words: tuple[str, ...] = ()
    deep: tuple[str, ...] = ()


ROBUSTNESS = Command("sims.robustness", ("sims.robustness:only_writer",), ("--tiny",))
PAPER = Command("sims.reproduce", ("sims.reproduce:only_writer",))
WRITES = ("write_whole", "markdown", "exports")
COMMANDS = {
    "sweep": Command("sims.comparison.options", ("sims.comparison.run:only_writer",),
                     ("--tiny", "--controllers", "uniform")),
    **{f"robustness {name}": ROBUSTNESS for name in ("matrix", "sensitivity", "stability", "delivery", "all")},
    "reproduce real-run": Command("sims.reproduce", ("sims.reproduce:only_writer",), ("--log", "log.csv")),
    **{f"reproduce {name}": PAPER for name in ("table1", "beta", "extremes", "prefetch", "label-noise")},
    "reproduce transfer": Command("sims.reproduce", ("sims.reproduce:only_writer",), ("--log", "models.csv")),
    "advise": Command("sims.advise", ("sims.advise:calibrate",),
                      ("--log", "log.csv", "--order", "sort", "--batch", "4")),
    "sbc": Command("sims.sbc", ("sims.sbc:simulated",)),
    "limits": Command("sims.limits", ("sims.limits:make_bar",)),
    "benchmark": Command("sims.benchmark", ("sims.benchmark:processors",)),
    "benchmark_irt": Command("sims.benchmark_irt", ("sims.benchmark_irt:table",)),
    "benchmark_rules": Command("sims.benchmark_rules", ("sims.benchmark_rules:processors",)),
    "difficulty": Command("workbench.difficulty.__main__", ("workbench.difficulty.irt:fit",), ("answers.csv",)),
    "listing": Command("workbench.listing", tuple(f"workbench.listing:{name}" for name in WRITES)),
    "train": Command("real_runs.train", ("real_runs.train:execute",), deep=("real_runs.rl.models:load",)),
    "compare": Command("real_runs.compare", ("real_runs.compare:execute",),
                       ("--seeds", "1", "--pools", "uniform", "--controllers", "uniform"),
                       ("real_runs.compare:make_bar",)),
    "measure": Command("real_runs.measure", ("real_runs.measure:measure",), ("--out", "pool.parquet"),
                       ("real_runs.rl.models:load",)),
    "forecast": Command("real_runs.forecast", ("real_runs.comparison.forecasting:read_manifest",),
                        ("--runs", "folder", "--out", "x")),
    "pretrain": Command("real_runs.pretrain", ("real_runs.pretrain:train",)),
    "smollm2": Command("real_runs.smollm2", ("real_runs.rl.smollm2:made",)),
    "real benchmark": Command("real_runs.benchmark", ("real_runs.benchmark:measure",)),
    "try_generators": Command("real_runs.try_generators", ("real_runs.try_generators:tried",)),
    "measured": Command("real_runs.tasks.measured", ("real_runs.tasks.measured:cut",)),
}  # fmt: skip


def _parser(name):
    return importlib.import_module(COMMANDS[name].module).parser()


def options_of(name):
    """The command's function of a command line, the words that name its study, and its options."""
    module, parser, study = importlib.import_module(COMMANDS[name].module), _parser(name), []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            study = name.split()[1:]
            parser = action.choices[study[0]]
    if name == "sweep":
        run = importlib.import_module("sims.comparison.run").run_command
        basis = importlib.import_module("sims.comparison.made").basis
        return lambda words: run(None, basis(words)), study, parser
    return module.main, study, parser


def folder_of_files(folder):
    (folder / "folder").mkdir()
    for name, text in {"table.csv": TABLE, "answers.csv": ANSWERS, "log.csv": LOG, "models.csv": MODELS}.items():
        (folder / name).write_text(text)
    (folder / "odd.zzz").write_text("x")
    (folder / "binary.csv").write_bytes(bytes(range(128, 256)))


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """prepared(places): a folder with files, where what begins at these places raises Began."""
    (tmp_path / "in").mkdir()
    folder_of_files(tmp_path / "in")
    monkeypatch.chdir(tmp_path / "in")

    def began(*_, **__):
        raise Began

    def prepare(places):
        for place in places:
            module, _, name = place.partition(":")
            monkeypatch.setattr(importlib.import_module(module), name, began)

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    yield prepare
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def asked_of(place):
    """A third of the table, another one for the next option of a command, and what no option may take."""
    return [kind for number, kind in enumerate(ODD) if kind in NEVER or (number + place) % 3 == 0]


def words_of(action, value):
    if not action.option_strings:
        return ["--", value] if value.startswith("-") else [value]
    return [f"{action.option_strings[-1]}={value}"]


def fault(main, words, action, capsys):
    """What is wrong with how a command takes a line: "" where it is refused well, None where work begins."""
    here = set(os.listdir())
    start = time.monotonic()
    signal.alarm(MOST_SECONDS)
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    except Began:
        return None
    except TimeoutError:
        return "it takes too long"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.alarm(0)
        said = capsys.readouterr().err
        new = set(os.listdir()) - here
        for path in new:
            shutil.rmtree(path)
    if status not in (1, 2):
        return f"status {status}"
    *_, last = said.splitlines() or [""]
    named = (action.option_strings or [action.dest])[-1].lstrip("-").split("-")[0].rstrip("s")
    own = any(part in last for part in (named, "adarft.zzz", action.dest, f"{action.metavar}:"))
    found = {
        "no line": not last.startswith("error: "), "several lines": said.count("error:") > 1,
        "no name of the option": not own, "no domain": "must" not in last, "no value": "got" not in last,
        f"{len(last)} letters": len(last) > MOST_LETTERS, "control characters": not last.isprintable(),
        f"it leaves {sorted(new)}": new, "it is slow": time.monotonic() - start > MOST_SECONDS / 2,
    }  # fmt: skip
    wrong = ", ".join(what for what, so in found.items() if so)
    return wrong and f"{wrong} in {last[:200]!r}"


def test_the_table_is_asked_of_every_command_there_is():
    found = {
        path for folder in ("sims", "real_runs", "workbench") for path in (ROOT / folder).rglob("*.py")
        if "\ndef parser() -> " in path.read_text() and path.name != "commands.py"
    }
    for name in ("robustness all", "reproduce table1"):
        (studies,) = (a.choices for a in _parser(name)._actions if isinstance(a, argparse._SubParsersAction))
        assert {f"{name.split()[0]} {study}" for study in studies} <= COMMANDS.keys()
    asked = {ROOT / (command.module.replace(".", "/") + ".py") for command in COMMANDS.values()}
    assert found == asked


@pytest.mark.parametrize("name", COMMANDS)
def test_an_odd_value_of_any_option_is_refused_in_one_line_or_taken(name, prepared, capsys):
    command = COMMANDS[name]
    main, study, parser = options_of(name)
    faults, cases = [], 0
    for deep in (False, True) if command.deep else (False,):
        prepared(command.deep if deep else command.begins)
        for place, action in enumerate(parser._actions):
            flag = (action.option_strings or [action.dest])[-1]
            if isinstance(action, argparse._HelpAction) or (deep and flag not in OPENED):
                continue
            kinds = DEEP if deep else asked_of(place)
            lines = {kind: words_of(action, ODD[kind]) for kind in kinds}
            if action.nargs == 0:
                lines = {"with a value": [f"{flag}=x"]}
            elif action.option_strings:
                lines["no value"] = [flag]
            for kind, words in lines.items():
                cases += 1
                before = () if flag == "responses" else command.words
                found = fault(main, [*study, *before, *words], action, capsys)
                if found:
                    faults.append(f"{flag} {kind}: {found}")
                numeric = action.metavar == "N" or action.type is not None
                if found is None and numeric and kind in NEVER:
                    faults.append(f"{flag} {kind}: taken")
                if found is None and flag == "--out" and kind in ("empty", "blank", "nul", "long", "long name"):
                    faults.append(f"{flag} {kind}: taken")
    assert cases
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", ["limits", "sbc", "advise", "difficulty"])
def test_a_folder_that_cannot_be_written_is_told_before_work_begins(name, prepared, capsys):
    command = COMMANDS[name]
    main, study, parser = options_of(name)
    (out,) = (action for action in parser._actions if "--out" in action.option_strings)
    prepared(command.begins)
    assert fault(main, [*study, *command.words, "--out", "/proc/nowhere/results"], out, capsys) == ""
    assert fault(main, [*study, *command.words, "--out", "results"], out, capsys) is None, "work does not begin at all"


def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(prepared, tmp_path):
    from real_runs.runs.run import read_template
    from workbench.calibration.readers import _of_run
    from workbench.errors import InputError
    from workbench.files import check_file
    from workbench.hosts.trl.state import last_whole

    prepared(())
    (tmp_path / "checkpoint-1").mkdir()
    for path in ("manifest.json", "checkpoint-1/trainer_state.json"):
        os.mkfifo(tmp_path / path)
    signal.alarm(MOST_SECONDS)
    with pytest.raises(InputError, match=r"^--template: must be text with \{prompt\}, or a file of such text, got "):
        read_template(str(tmp_path / "manifest.json"))
    for path in (tmp_path / "manifest.json", "/dev/null"):
        with pytest.raises(InputError, match=r"^--out: must be a file, got .*, which is a pipe or a device"):
            check_file("--out", path)
    (told,), warm_up = _of_run(tmp_path)
    assert (told.split(":")[0], warm_up) == ("its manifest.json cannot be read", 0)
    assert last_whole(tmp_path) is None
