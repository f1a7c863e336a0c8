"""Logs from files as trainers write them, and what is said of those that cannot be read."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import workbench as wb
from workbench.calibration.log import Log
from workbench.errors import InputError

ROOT = Path(__file__).parents[2]
EPISODE = json.loads(Path(__file__).with_name("prime_rl_episode.json").read_text())  # by verifiers 0.4.0
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


def test_a_real_run_says_which_rule_chose_its_items_and_what_is_not_read(tmp_path):
    said = "items were chosen by adarft: what the log says is given these"
    assert said in Log.load(RUN).understood
    assert "evaluations by stratum (evals.csv) are not read" in Log.load(RUN).understood
    assert "items were chosen" not in Log.load(RUN.parents[1] / "uniform" / "seed-0").understood
    shutil.copy(RUN / "rollouts.parquet", tmp_path)
    assert "manifest" not in Log.load(tmp_path).understood
    for damaged in ("[]", "[" * 100_000):
        (tmp_path / "manifest.json").write_text(damaged)
        assert "its manifest.json cannot be read" in Log.load(tmp_path).understood
    manifest = json.loads((RUN / "manifest.json").read_text())
    del manifest["run"]["warm_up"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert said in Log.load(tmp_path).understood
    assert Log.load(tmp_path).warm_up == 0


def test_rewards_that_are_decimals_of_many_digits_are_numbers(tmp_path):
    from decimal import Decimal

    rewards = [Decimal("0.333333333333333333"), Decimal("0.5"), Decimal(1), Decimal(0)]
    table = {"step": [1, 1, 2, 2], "item": list("abab"), "reward": pa.array(rewards, pa.decimal128(30, 18))}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    assert Log.load(tmp_path / "log.parquet", success=0.4).successes.tolist() == [0, 1, 1, 0]


def test_the_warm_up_of_a_run_folder_goes_with_its_log_into_the_fit(tmp_path):
    log = Log.load(RUN)
    assert log.warm_up == log.until(30).warm_up == log.of_runs(["0"]).warm_up == 10
    assert "its learning rate rose over 10 updates" in log.understood
    assert Log.load(RUN / "rollouts.parquet").warm_up == 0
    pool = wb.Pool(np.linspace(1, 99, 700))
    placed = log.until(12).on(pool)
    for given, expected in (({}, 10), ({"warm_up": 0}, 0)):
        fit = wb.calibrate(placed, pool, ["scalar"], enough=20, progress=False, **given)
        assert fit.laws["scalar"].space.warm_up == expected
    manifest = json.loads((RUN / "manifest.json").read_text())
    for name, value in (("other", 0), ("odd", -3), ("text", "10"), ("flag", True)):
        (tmp_path / name).mkdir()
        shutil.copy(RUN / "rollouts.parquet", tmp_path / name)
        changed = manifest | {"run": manifest["run"] | {"warm_up": value}}
        (tmp_path / name / "manifest.json").write_text(json.dumps(changed))
    both = Log.load([tmp_path / "other", RUN])
    assert both.warm_up == 10
    assert "runs differ in their warm-up (0 to 10 updates); 10 is taken for all" in both.understood
    for name in ("odd", "text", "flag"):
        assert Log.load(tmp_path / name).warm_up == 0
        assert "its warm-up cannot be read" in Log.load(tmp_path / name).understood


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


def episode(group, item, reward, ok=True, traces=True, prompt=None, env="sums"):
    """As `Episode.to_record` of verifiers writes it: EPISODE with other values."""
    record = copy.deepcopy(EPISODE)
    (trace,) = record["traces"]
    for data in (record["task"]["data"], trace["task"]["data"]):
        data |= {"idx": item, "prompt": prompt if prompt is not None else f"{item} + {item}?"}
    scores = {"correct": {"score": reward, "weight": 1.0}, "style": {"score": 0.5, "weight": 0.0}}
    trace |= {"ok": ok, "rewards": scores}
    return record | {"group": {"id": group}, "traces": [trace] * traces, "ok": ok, "env": {"id": env, "name": env}}


def prime_file(folder, step, kind, subset, episodes, more=""):
    """As FileMonitor of prime-rl writes it."""
    path = folder / "rollouts" / f"step_{step}" / kind / subset / "traces.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in episodes) + more)


def prime_run(folder, steps=12):
    """Two groups of 4 a step, one of them silent in every third step, which is not in `effective`."""
    for step in range(1, steps + 1):
        groups = [[episode(f"{step}-{k}", (step + k) % 5, float(r < (step + k) % 3 * 2)) for r in range(4)]
                  for k in range(2)]  # fmt: skip
        prime_file(folder, step, "train", "all", [one for group in groups for one in group])
        mixed = [one for k, group in enumerate(groups) for one in group if (step + k) % 3 == 1]
        prime_file(folder, step, "train", "effective", mixed)
    return folder


def test_the_rollouts_of_prime_rl(tmp_path):
    log = Log.load(prime_run(tmp_path))
    wanted = sorted((s, f"{(s + k) % 5} + {(s + k) % 5}?", (s + k) % 3 * 2, 4) for s in range(1, 13) for k in range(2))
    assert sorted(groups(log)) == wanted  # the silent ones, too
    assert log.admitted.all()
    assert sorted(groups(Log.load(tmp_path / "rollouts"))) == wanted
    assert set(Log.load(f"{tmp_path}:item=idx").items) == set("01234")
    assert Log.load(f"{tmp_path}:reward=correct,item=idx").successes.sum() == log.successes.sum()
    assert "episodes of prime-rl" in log.understood


def test_a_group_of_prime_rl_has_the_step_that_trained_on_it(tmp_path):
    prime_run(tmp_path)
    late = [episode("late", 7, float(r < 2)) for r in range(4)]  # arrives in steps 3 and 4, is trained on in 5
    rejected = [episode("rejected", 8, float(r < 2)) for r in range(4)]
    for step, more in ((3, late[:1]), (4, late[1:]), (6, rejected)):
        prime_file(tmp_path, step, "train", "all", more)
    prime_file(tmp_path, 5, "train", "effective", late)
    log = Log.load(f"{tmp_path}:item=idx")
    rows = log.to_frame().set_index("item")
    assert rows.loc["7", ["step", "successes", "attempts", "admitted"]].tolist() == [5, 2, 4, True]
    assert rows.loc["8", ["step", "successes", "attempts", "admitted"]].tolist() == [6, 2, 4, False]


def test_what_prime_rl_could_not_score_is_left_out_and_counted(tmp_path):
    prime_run(tmp_path)
    whole = Log.load(tmp_path)
    failed = [episode("f", 3, 0.0, ok=False)] * 3 + [episode("g", 3, 0.0, traces=False)] * 2
    prime_file(tmp_path, 13, "train", "all", failed, more='{"id": "cut of')
    log = Log.load(tmp_path)
    assert groups(log) == groups(whole)
    assert "3 traces with an error, or of an agent that is not trained, are left out" in log.understood
    assert "2 episodes without a trace" in log.understood


def test_evaluations_of_prime_rl_are_no_groups_of_training(tmp_path):
    prime_run(tmp_path)
    whole = Log.load(tmp_path)
    for step in (4, 8):
        prime_file(tmp_path, step, "eval", "all", [episode(f"e{step}", 2, 1.0, prompt="9 + 9?", env="held")] * 3)
    log = Log.load(tmp_path)
    assert groups(log)[: len(log)] == groups(whole)
    assert (log.evaluations.step.tolist(), log.evaluations.successes.tolist()) == ([4, 8], [3, 3])
    assert log.evaluations.items == ("9 + 9?",)
    assert log.items == whole.items


@pytest.mark.parametrize(("change", "said"), [
    (lambda folder: shutil.rmtree(folder / "rollouts" / "step_2" / "train"), ""),  # a step less: repeated, counted
    (lambda folder: [shutil.rmtree(p / "train") or (p / "eval" / "all").mkdir(parents=True)
                     for p in (folder / "rollouts").iterdir()], "must have traces in step_N/train/all/traces.jsonl"),
    (lambda folder: prime_file(folder, 2, "train", "all", [], "no JSON\n{}\n"),
     "must have an episode of prime-rl in each line, got 'no JSON' in line 1 of"),
    (lambda folder: prime_file(folder, 2, "train", "all", [], "[" * 100_000 + "\n{}\n"),
     "must have an episode of prime-rl in each line, got '[[["),
    (lambda folder: prime_file(folder, 2, "train", "all", [episode("x", 1, 0.3)]), "reward: must be 0 or 1"),
])  # fmt: skip
def test_a_run_of_prime_rl_that_cannot_be_read(change, said, tmp_path):
    change(prime_run(tmp_path))
    if said:
        assert said in refused(tmp_path)
    else:
        assert Log.load(tmp_path).missing == 1


# ---- what TRL logs twice -----------------------------------------------------------------------------------


def repeated(folder, unit, generations=8, evaluations=()):
    """As TRL logs generations that last `unit` steps: the last one, after every step."""
    rng = np.random.default_rng(0)
    for step in range(1, unit * generations + 1):
        if step % unit == 1 or unit == 1:
            prompts = np.repeat([f"q{i}" for i in rng.choice(40, 3, replace=False)], 4)
            texts, rewards = [f"{x:.6f}" for x in rng.random(12)], rng.integers(0, 2, 12).astype(float)
        rows = {"step": step, "prompt": prompts, "completion": texts, "right": rewards, "advantage": rewards - 0.5}
        if step in evaluations:
            rows |= {"prompt": np.repeat(["h1", "h2", "h3"], 4), "completion": [f"{x:.6f}" for x in rng.random(12)]}
        pd.DataFrame(rows).to_parquet(folder / f"completions_{step:05d}.parquet")
    return folder


@pytest.mark.parametrize("unit", [1, 2, 3])
def test_a_generation_that_trl_logs_again_is_counted_once(unit, tmp_path):
    (tmp_path / "once").mkdir(), (tmp_path / "again").mkdir()
    once, log = Log.load(repeated(tmp_path / "once", 1)), Log.load(repeated(tmp_path / "again", unit))
    assert groups(log) == groups(once)
    told = f"{8 * (unit - 1)} of {8 * unit} logged steps repeat the generation before and are left out"
    assert (told in log.understood) == (unit > 1)
    assert "repeat the generation" not in once.understood


def test_evaluations_in_place_of_completions_are_told_by_their_prompts(tmp_path):
    log = Log.load(repeated(tmp_path, 2, evaluations=(4, 8, 12)))
    assert log.evaluations.items == ("h1", "h2", "h3")
    assert np.unique(log.evaluations.step).tolist() == [2, 4, 6]  # in generations
    assert not {"h1", "h2", "h3"} & set(log.items)
    assert (log.updates, log.missing) == (8, 0)


def test_batches_that_come_again_in_a_second_epoch_are_no_evaluations(tmp_path):
    rng = np.random.default_rng(1)
    for step in range(1, 15):  # 13 batches an epoch, in the order of the data: the first comes again
        prompts = np.repeat([f"q{3 * ((step - 1) % 13) + k}" for k in range(3)], 4)
        rewards = rng.integers(0, 2, 12).astype(float)
        pd.DataFrame({"step": step, "prompt": prompts, "completion": [f"{x:.6f}" for x in rng.random(12)],
                      "right": rewards, "advantage": rewards}).to_parquet(tmp_path / f"completions_{step:05d}.parquet")
    log = Log.load(tmp_path)
    assert log.evaluations is None
    assert (log.updates, len(log)) == (14, 42)


# ---- rewards and splits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet"])
def test_true_and_false_are_rewards_of_1_and_0(kind, tmp_path):
    frame = pd.DataFrame({"step": [1, 1, 2, 2], "item": ["a", "a", "b", "a"], "correct": [True, False, True, True]})
    path = tmp_path / f"log.{kind}"
    {"csv": lambda: frame.to_csv(path, index=False), "json": lambda: frame.to_json(path, orient="records"),
     "jsonl": lambda: frame.to_json(path, orient="records", lines=True), "parquet": lambda: frame.to_parquet(path),
     }[kind]()  # fmt: skip
    assert groups(Log.load(path)) == [(1, "a", 1, 2), (2, "a", 1, 1), (2, "b", 1, 1)]
    assert groups(Log.load(f"{path}:reward=correct")) == groups(Log.from_frame(frame))


def test_a_reward_of_trl_may_be_true_or_false(tmp_path):
    assert Log.load(trl_folder(tmp_path, ("a", "b"), right=lambda s, k: k % 4 < s % 5)).successes.sum() > 0


def test_rows_of_evaluation_are_no_groups_of_training(tmp_path):
    text = ("step,item,reward,split\n0,h,0,eval\n1,a,1,train\n1,b,0,train\n2,a,0,train\n1,h,1,Eval\n3,b,1,train\n"
            "9,h,1,eval\n")  # fmt: skip
    log = Log.load(csv(tmp_path, text))
    assert groups(log)[: len(log)] == [(1, "a", 1, 1), (1, "b", 0, 1), (2, "a", 0, 1), (3, "b", 1, 1)]
    assert log.items == ("a", "b")
    looks = log.evaluations
    assert (looks.step.tolist(), looks.successes.tolist(), looks.items) == ([0, 1], [0, 1], ("h",))
    assert "1 evaluations outside of the logged updates are left out" in log.understood
    assert "2 evaluations of 1 held-out items, which train nothing" in log.understood
    again = Log.from_frame(log.to_frame())
    assert again.to_frame().equals(log.to_frame())
    assert log.until(2).evaluations.step.tolist() == [0, 1]
    assert set(Log.load(csv(tmp_path, text), {"split": ""}, order="sort").items) == {"h", "a", "b"}


@pytest.mark.parametrize(("text", "said"), [
    ("step,item,reward,split\n1,a,1,algebra\n",
     "split: must be train, or eval, test, validation or heldout for rows that were not trained on (split= for no "
     "split), got 'algebra' at row 0"),
    ("step,item,reward,split\n1,a,1,test\n", "split: must have rows of training, got only held-out ones"),
    ("run,step,item,reward,split\nx,1,a,1,train\ny,1,a,1,test\n",
     "log: must have rows of training in each run, got none in run 'y'"),
    ("step,item,correct\n1,a,perhaps\n", "reward: must be numbers, or true and false, got 'perhaps'"),
    ("step,item,correct\n1,a,2\n", "correct: must be 0 or 1"),
    ("step,item,correct\n1,a,0.5\n", "correct: must be 0 or 1"),
])  # fmt: skip
def test_a_split_or_a_reward_that_is_none_is_one_line(text, said, tmp_path):
    assert said in refused(csv(tmp_path, text))


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


def test_two_runs_without_a_column_of_runs_are_refused_or_doubted(tmp_path):
    one = "".join(f"{step},{item},{k},4\n" for step in range(1, 4) for item, k in (("a", 1), ("b", 3)))
    path = csv(tmp_path, "step,item,successes,attempts\n" + one + one)
    assert "order=restart begins a new run there, run=COLUMN names the runs" in refused(path)
    told = Log.load(path, order="sort").understood
    assert "steps begin anew 1 times: if these are runs, order=restart tells them apart" in told
    assert "6 rows name an item again in its step and are added up: two runs need a column run" in told
    apart = Log.load(path, order="restart")
    assert apart.runs == ("0", "1")
    assert "again" not in apart.understood
    mixed = "".join(line * 2 for line in one.splitlines(keepends=True))  # sorted by step
    assert "6 rows name an item again" in Log.load(csv(tmp_path, "step,item,successes,attempts\n" + mixed)).understood


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
    ("step,item,reward\n1,a,yes\n", "reward: must be numbers, or true and false, got 'yes'"),
    ("step,item,reward\n1,a,inf\n", "reward: must be numbers, or true and false, got 'inf'"),
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
