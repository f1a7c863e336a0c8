"""Logs from files as trainers write them, and what is said of those that cannot be read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.calibration.log import Log
from workbench.errors import InputError

ROOT = Path(__file__).parents[2]
RUN = ROOT / "real_runs/results/smollm2/runs/skew-difficult/adarft/seed-0"
MESSAGES = [{"role": "user", "content": "1 + 1?"}], [{"role": "user", "content": "2 + 2?"}]


def csv(folder, text, name="log.csv"):
    (folder / name).write_text(text)
    return folder / name


def groups(log):
    return [tuple(row) for row in log.to_frame()[["step", "item", "successes", "attempts"]].itertuples(index=False)]


def refused(*given, **settings):
    with pytest.raises(InputError) as error:
        Log.load(*given, **settings)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    return str(error.value)


def test_the_rollouts_of_a_real_run_are_read_from_the_file_and_the_folder():
    frame = pd.read_parquet(RUN / "rollouts.parquet")
    log = Log.load(RUN)
    assert log.to_frame().equals(Log.load(RUN / "rollouts.parquet").to_frame())
    assert (log.updates, log.missing, len(log.runs)) == (100, 0, 1)
    assert (log.attempts.sum(), log.successes.sum()) == (frame.attempts.sum(), frame.successes.sum())
    assert set(log.items) == set(frame.item.astype(str))


def test_several_sources_are_runs_of_their_own():
    other = RUN.with_name("seed-1")
    log = Log.load([RUN, other])
    assert log.runs == (str(RUN), str(other))
    assert len(log) == len(Log.load(RUN)) + len(Log.load(other))


def test_one_source_given_twice_is_refused():
    assert refused([RUN, str(RUN)]).startswith("log: must be different files or folders, got")


def trl_folder(folder, prompts, steps=12, **rewards):
    """As GRPOTrainer writes with log_completions: a file per logged step."""
    for step in range(1, steps + 1):
        rows = [prompts[(step + k) % len(prompts)] for k in range(2) for _ in range(4)]
        columns = {name: [reward(step, k) for k in range(8)] for name, reward in rewards.items()}
        frame = pd.DataFrame({"step": [step] * 8, "prompt": rows, "completion": ["x"] * 8, **columns,
                              "advantage": np.linspace(-1, 1, 8)})  # fmt: skip
        frame.to_parquet(folder / f"completions_{step:05d}.parquet")
    return folder


@pytest.mark.parametrize("prompts", [("1 + 1?", "2 + 2?"), MESSAGES], ids=["text", "messages"])
def test_the_completions_of_trl(prompts, tmp_path):
    log = Log.load(trl_folder(tmp_path, prompts, right=lambda step, k: float(k % 4 < step % 5)))
    assert log.updates == 12
    assert set(log.attempts.tolist()) == {4}
    assert log.successes.tolist() == [min(step % 5, 4) for step in range(1, 13) for _ in range(2)]
    pool = wb.Pool([10, 20, 30], payload={"prompt": ["?", *prompts]})
    assert set(log.on(pool).item.tolist()) == {1, 2}


def test_the_columns_are_those_that_trl_writes():
    """The trainer's own source names them."""
    source = (Path(pytest.importorskip("trl").__file__).parent / "trainer/grpo_trainer.py").read_text()
    assert all(f'"{name}": [' in source for name in ("step", "prompt", "completion"))
    assert '"advantage": ' in source
    assert "completions_{self.state.global_step:05d}.parquet" in source


def test_two_rewards_of_trl_must_be_mapped(tmp_path):
    folder = trl_folder(tmp_path, ("a", "b"), right=lambda s, k: 1.0, short=lambda s, k: 0.0)
    said = refused(folder)
    assert "reward: must be mapped, reward=COLUMN, where several columns hold rewards, got 'right', 'short'" in said
    assert Log.load(f"{folder}:reward=short").successes.sum() == 0
    assert Log.load(folder, {"reward": "right"}).silent_share == 1


@pytest.mark.parametrize("named", [True, False], ids=["with a column step", "steps by the files' names"])
def test_the_rollouts_of_verl(named, tmp_path):
    for step in range(1, 13):  # 2.jsonl is before 10.jsonl
        rows = [{"input": f"q{(step + k) % 3}", "output": "x", "gts": "1", "score": float(r < step % 5)}
                | ({"step": step} if named else {}) for k in range(2) for r in range(4)]  # fmt: skip
        (tmp_path / f"{step}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    log = Log.load(tmp_path)
    assert log.updates == 12
    wanted = sorted((s, f"q{(s + k) % 3}", min(s % 5, 4), 4) for s in range(1, 13) for k in range(2))
    assert sorted(groups(log)) == wanted


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "tsv"])
def test_single_completions_of_any_table_with_a_mapping(kind, tmp_path):
    frame = pd.DataFrame({"t": [0, 0, 0, 1, 1], "who": ["a", "a", "b", "a", "b"], "won": [1, 0, 1, 0, 1]})
    write = {"csv": lambda p: frame.to_csv(p, index=False),
             "jsonl": lambda p: frame.to_json(p, orient="records", lines=True),
             "parquet": frame.to_parquet, "tsv": lambda p: frame.to_csv(p, sep="\t", index=False)}[kind]  # fmt: skip
    path = tmp_path / f"log.{kind}"
    write(path)
    wanted = [(1, "a", 1, 2), (1, "b", 1, 1), (2, "a", 0, 1), (2, "b", 1, 1)]
    assert groups(Log.load(f"{path}:step=t,item=who,reward=won")) == wanted
    assert groups(Log.load(path, {"step": "t", "item": "who", "reward": "won"})) == wanted
    assert groups(Log.from_frame(frame, {"step": "t", "item": "who", "reward": "won"})) == wanted


def test_completions_without_a_reward_are_left_out_and_counted(tmp_path):
    log = Log.load(csv(tmp_path, "step,item,reward\n1,a,1\n1,a,\n1,b,nan\n2,a,0\n"))
    assert groups(log) == [(1, "a", 1, 1), (2, "a", 0, 1)]
    assert "2 completions without a reward are left out" in log.understood
    frame = pd.DataFrame({"step": [1, 1], "item": ["a", "b"], "reward": [None, 1.0]})
    assert groups(Log.from_frame(frame)) == [(1, "b", 1, 1)]


def test_rewards_that_are_not_0_or_1_need_a_threshold(tmp_path):
    path = csv(tmp_path, "step,item,reward\n1,a,1\n1,a,0.4\n2,b,-1\n")
    said = refused(path)
    assert "reward: must be 0 or 1, or say from which reward on a completion is a success" in said
    assert "got 0.4 at row 1" in said
    assert groups(Log.load(path, success=0.4)) == [(1, "a", 2, 2), (2, "b", 0, 1)]


def test_steps_that_go_down_are_sorted_or_begin_a_run_or_are_refused(tmp_path):
    path = csv(tmp_path, "step,item,reward\n1,a,\n1,a,1\n2,a,0\n1,a,0\n2,b,1\n")
    said = refused(path)
    assert "step: must not go down within a run, got 1 at row 3 after 2" in said
    assert groups(Log.load(path, order="sort")) == [(1, "a", 1, 2), (2, "a", 0, 1), (2, "b", 1, 1)]
    again = Log.load(path, order="restart")
    assert again.runs == ("0", "1")
    assert again.run.tolist() == [0, 0, 1, 1]


def test_two_runs_side_by_side_are_told_apart_by_a_column(tmp_path):
    log = Log.load(csv(tmp_path, "seed,step,item,reward\n7,1,a,1\n8,1,a,0\n7,2,a,1\n8,2,a,0\n"))
    assert log.runs == ("7", "8")
    assert log.successes.tolist() == [1, 1, 0, 0]


def test_a_folder_does_not_begin_runs_anew(tmp_path):
    csv(tmp_path, "step,item,reward\n1,a,1\n")
    assert "order: must be sort for a folder" in refused(tmp_path, order="restart")


def test_whole_numbers_written_with_a_point_name_the_same_items():
    frame = pd.DataFrame({"step": [1, 2], "item": [7.0, 12.0], "reward": [1, 0]})
    assert Log.from_frame(frame).items == ("7", "12")


@pytest.mark.parametrize(("text", "said"), [
    ("", "must"), ("step,item,reward\n", "reward: must have at least one value, got none"),
    ("item,reward\na,1\n", "step: must be a column"), ("step,reward\n1,1\n", "item: must be a column"),
    ("step,item\n1,a\n", "log: must have columns successes and attempts, or a column reward"),
    ("step,item,reward\n1,,1\n", "item: must have a value in every row, got none at row 0"),
    ("step,item,reward\nx,a,1\n", "step: must be numbers, got 'x' in column 'step' at row 0"),
    ("step,item,reward\n,a,1\n", "step: must be numbers"),
    ("step,item,reward\n1.5,a,1\n", "step: must be whole numbers"),
    ("step,item,reward\n1,a,yes\n", "reward: must be numbers, got 'yes'"),
    ("step,item,reward\n1,a,inf\n", "reward: must be numbers, got 'inf'"),
    ("step,item,successes,attempts\n1,a,9,8\n", "successes: must be whole numbers in [0, attempts]"),
    ("step,item,successes,attempts\n1,a,,8\n", "successes: must be numbers"),
    ("step,item,successes,attempts,admitted\n1,a,1,8,maybe\n", "admitted: must be true or false, got 'maybe' at row 0"),
    ("step,item,reward\n1,a,nan\n", "reward: must have at least one value, got none"),
])  # fmt: skip
def test_a_table_that_is_no_log_is_refused_in_one_line(text, said, tmp_path):
    assert said in refused(csv(tmp_path, text))


@pytest.mark.parametrize(("mapping", "said"), [
    ({"reward": "gone"}, "reward: must name a column, got 'gone', not one of 'step', 'item', 'reward'"),
    ({"itm": "item"}, "columns: must be one of step, item,"), ({"item": 5}, "columns: must map item to the name"),
    (5, "columns: must be a mapping"),
])  # fmt: skip
def test_a_wrong_mapping_is_refused(mapping, said, tmp_path):
    text = "step,item,reward\n1,a,1\n"
    assert said in refused(csv(tmp_path, text), mapping)
    with pytest.raises(InputError) as error:
        Log.from_frame(pd.read_csv(tmp_path / "log.csv"), mapping)
    assert said in str(error.value)


def test_what_is_not_there_is_refused(tmp_path):
    assert "gone.csv" in refused(tmp_path / "gone.csv")
    assert refused([]) == "log: must be a file or folder, or several, got none"
    (tmp_path / "empty").mkdir()
    assert "got none" in refused(tmp_path / "empty")
    shutil.copy(RUN / "rollouts.parquet", tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:500])
    assert "cut.parquet" in refused(tmp_path / "cut.parquet")
