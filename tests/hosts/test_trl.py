"""TRL's trainers under a controller: no lag, refills, exact resume; plain TRL on the other side of the seam."""

import shutil
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import workbench as wb
from workbench.errors import InputError
from workbench.hosts.trl import SteeredGRPOTrainer, SteeredRLOOTrainer
from workbench.hosts.trl.seam import check_seam, import_trl
from workbench.hosts.trl.state import last_whole, write_block

# transformers 5.23 has renamed what TRL 1.16 and transformers 5.0 call gradient checkpointing
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

I, G = 24, 4
POOL = wb.Pool(np.linspace(0, 100, I), ids=[f"q{i}" for i in range(I)], name="some")
DATA = Dataset.from_dict({"prompt": [f"{i}=" for i in range(I)], "item": list(range(I)), "id": POOL.ids.tolist()})
KINDS = {"grpo": (SteeredGRPOTrainer, GRPOTrainer, GRPOConfig), "rloo": (SteeredRLOOTrainer, RLOOTrainer, RLOOConfig)}


class Coin:
    """A reward that depends on the completion and the item: the harder, the rarer. It logs what it gives."""

    __name__ = "coin"

    def __init__(self, scale=1.0, none_for=(), never_for=()):
        self.log, self.scale, self.none_for, self.never_for = [], scale, none_for, never_for

    def __call__(self, completions, item, **_):
        given = [self.value(text, i) for text, i in zip(completions, item, strict=True)]
        self.log += list(zip(item, given, strict=True))
        return given

    def value(self, text, item):
        if item in self.none_for:
            return None
        right = zlib.crc32(f"{text}{item}".encode()) % 100 > 20 + 2.5 * item
        return self.scale * (right and item not in self.never_for)

    def batches(self, size):
        """(items (B,), rewards (B, G)) of each generation of so many groups."""
        for start in range(0, len(self.log), size * G):
            rows = self.log[start : start + size * G]
            yield np.array([item for item, _ in rows[::G]]), np.array([value for _, value in rows]).reshape(size, G)


@pytest.fixture(scope="module")
def parts(tiny):
    """The folder of a tiny model, and its tokenizer."""
    folder = tiny("llama", prefers="ab")
    return folder, AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def make(parts, tmp_path):
    """make(kind, controller, coin, data, **settings): a steered trainer; without a controller, TRL's own."""

    def made(kind="grpo", controller=None, coin=None, data=DATA, extra=None, **settings):
        steered, plain, config = KINDS[kind]
        settings = {
            "output_dir": str(tmp_path / "out"), "per_device_train_batch_size": 16, "num_generations": G,
            "max_completion_length": 5, "max_steps": 3, "learning_rate": 1e-2, "use_cpu": True, "bf16": False,
            "gradient_checkpointing": False, "report_to": [], "disable_tqdm": True, "save_strategy": "no",
            "logging_steps": 1, "seed": 5,
        } | settings  # fmt: skip
        options = {"controller": controller, **(extra or {})} if controller else (extra or {})
        model = AutoModelForCausalLM.from_pretrained(parts[0])
        return (steered if controller else plain)(
            model, [coin or Coin()], config(**settings), train_dataset=data, processing_class=parts[1], **options
        )

    return made


def adarft(gates=()):
    return wb.Controller(wb.AdaRFT(eta=30.0), POOL, gates, seed=2)


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize(
    ("kind", "settings", "generations"),
    [
        ("grpo", {}, 3),
        ("rloo", {}, 3),
        ("grpo", {"bf16": True}, 3),
        ("grpo", {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "num_iterations": 2}, 2),
        ("grpo", {"per_device_train_batch_size": 8, "steps_per_generation": 4}, 1),
        ("grpo", {"per_device_train_batch_size": 4, "steps_per_generation": 2, "gradient_accumulation_steps": 4}, 6),
        ("rloo", {"dataloader_num_workers": 1, "per_device_train_batch_size": 8}, 3),
    ],
    ids=lambda value: " ".join(f"{n[:14]}={v}" for n, v in value.items()) if isinstance(value, dict) else str(value),
)
def test_each_generation_is_of_items_picked_after_all_rewards_before_it(make, kind, settings, generations):
    """A fresh controller that is fed the logged rewards one by one picks the same items."""
    coin, controller, twin = Coin(), adarft(), adarft()
    trainer = make(kind, controller, coin, **settings)
    trainer.train()
    size = trainer.args.generation_batch_size // G
    logged = list(coin.batches(size))
    assert len(logged) == generations
    for items, rewards in logged:
        np.testing.assert_array_equal(twin.next_batch(size), items)
        twin.observe(items, rewards)
    np.testing.assert_equal(twin.metrics(), controller.metrics())
    assert controller.late_feedback == controller.partial_feedback == controller.repeated_feedback == 0
    assert generations == 1 or controller.metrics()["target_difficulty"] > 0


@pytest.mark.parametrize(("settings", "unit"), [
    ({"steps_per_generation": 4, "gradient_accumulation_steps": 2}, 2), ({"num_iterations": 2}, 2), ({}, 1),
])  # fmt: skip
def test_a_log_of_completions_has_each_generation_once(make, tmp_path, settings, unit):
    """`Log.load` against what the reward function was asked, generation by generation."""
    coin = Coin()
    trainer = make("grpo", None, coin, log_completions=True, per_device_train_batch_size=8, max_steps=6, **settings)
    trainer.train()
    size = trainer.args.generation_batch_size // G
    log = wb.Log.load(tmp_path / "out" / "completions")
    wanted = [{(f"{item}=", int(of.sum())) for item, of in zip(*batch, strict=True)} for batch in coin.batches(size)]
    frame = log.to_frame()
    found = [set(zip(of["item"], of["successes"], strict=True)) for _, of in frame.groupby("step")]
    assert found == wanted
    assert (log.updates, log.missing, set(log.attempts.tolist())) == (6 // unit, 0, {G})
    told = f"{6 - 6 // unit} of 6 logged steps repeat the generation before and are left out; an update is a generation"
    assert (f"{told} of {unit} steps" in log.understood) == (unit > 1)


def test_evaluations_that_replaced_completions_in_the_log_are_no_groups_of_training(make, tmp_path):
    """TRL writes both to the same file of a step; the training of step 10, the last, is in no file."""
    coin, data = Coin(), {"eval_dataset": DATA.select(range(2))}
    trainer = make("grpo", None, coin, extra=data, log_completions=True, per_device_train_batch_size=8, max_steps=10,
                   eval_strategy="steps", eval_steps=4, per_device_eval_batch_size=8)  # fmt: skip
    trainer.train()
    log = wb.Log.load(tmp_path / "out" / "completions")
    assert np.unique(log.step).tolist() == [1, 2, 3, 5, 6, 7, 9]
    assert log.evaluations.items == ("0=", "1=")
    assert log.evaluations.step.tolist() == [4, 4, 8, 8]
    assert "at 3 steps an evaluation replaced the completions" in log.understood
    assert "4 evaluations of 2 held-out items, which train nothing" in log.understood


def dapo(max_batches=6):
    return wb.DynamicSampling(max_batches=max_batches)


def test_behind_gates_an_update_has_the_first_admitted_groups_of_all_generations(make, parts):
    coin, controller = Coin(never_for=range(0, I, 2)), adarft(dapo())
    trainer = make("grpo", controller, coin, per_device_train_batch_size=24, max_steps=1, loss_type="dapo")
    trainer.train()
    (batch,) = trainer._buffered_inputs
    logged = list(coin.batches(6))
    assert len(logged) == controller.batches[0] > 1
    mixed = [(item, group) for items, rewards in logged for item, group in zip(items, rewards, strict=True)
             if 0 < group.mean() < 1][:6]  # fmt: skip
    prompts = parts[1].batch_decode(batch["prompt_ids"], skip_special_tokens=True)
    rows = {}
    for text, mask, advantage in zip(prompts, batch["prompt_mask"], batch["advantages"], strict=True):
        assert mask.sum() == len(text)
        rows.setdefault(int(text.rstrip("=")), []).append(float(advantage))
    assert len(mixed) == 6
    assert sorted(rows) == sorted({item for item, _ in mixed})
    for item in rows:
        groups = [group for name, group in mixed if name == item]
        expected = np.concatenate([(g - g.mean()) / (g.std(ddof=1) + 1e-4) for g in groups])
        np.testing.assert_allclose(sorted(rows[item]), sorted(expected), rtol=1e-4)
    assert batch["num_items_in_batch"] == batch["completion_mask"].sum()
    assert batch["completion_ids"].shape == batch["completion_mask"].shape
    assert controller.trained[0] == 24
    assert controller.short_updates[0] == 0
    assert controller.rollouts[0] == len(coin.log)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_that_no_gate_admits_move_nothing_and_are_counted(make, kind):
    controller = adarft(dapo(2))
    trainer = make(kind, controller, Coin(scale=0.0), max_steps=2)
    before = weights(trainer)
    with pytest.warns(wb.ShortBatch, match="DynamicSampling: 2 batches gave fewer groups"):
        trainer.train()
    assert torch.equal(weights(trainer), before)
    assert controller.short_updates[0] == 2
    assert controller.rollouts[0] == 2 * 2 * 16
    assert controller.trained[0] == 0
    assert trainer.state.log_history[-2]["curriculum/short_updates"] == 2


def test_completions_without_a_reward_are_counted_and_are_neither_success_nor_failure(make):
    coin = Coin(none_for=range(0, I, 2))
    controller = wb.Controller(wb.MoPPS(), POOL, seed=2)
    trainer = make("grpo", controller, coin)
    trainer.train()
    twin, unknown = wb.Controller(wb.MoPPS(), POOL, seed=2), 0
    for items, rewards in coin.batches(4):
        np.testing.assert_array_equal(twin.next_batch(4), items)
        known = np.array([[value is not None for value in group] for group in rewards])
        unknown += int((~known).sum())
        twin.observe(items, np.where(known, rewards, 0).astype(float), known.sum(axis=1))
    assert trainer.unscorable == unknown > 0
    assert controller.rollouts[0] == len(coin.log) - unknown
    assert trainer.state.log_history[-1]["curriculum/unscorable"] == unknown
    np.testing.assert_equal(twin.metrics(), controller.metrics())


@pytest.mark.parametrize("to_unit", [(-2.0, 10.0), lambda rewards: (rewards + 2) / 12])
def test_rewards_reach_the_controller_through_the_map_that_is_given(make, to_unit):
    coin, controller, twin = Coin(scale=10.0), adarft(), adarft()
    make("grpo", controller, coin, extra={"to_unit": to_unit}).train()
    for items, rewards in coin.batches(4):
        np.testing.assert_array_equal(twin.next_batch(4), items)
        twin.observe(items, (rewards.astype(float) + 2) / 12)
    np.testing.assert_equal(twin.metrics(), controller.metrics())


def test_rewards_out_of_the_unit_interval_are_refused_in_one_line(make):
    with pytest.raises(InputError, match=r"^rewards: must be in \[0, 1\] for the controller, or to_unit") as caught:
        make("grpo", adarft(), Coin(scale=10.0)).train()
    assert "got 10 with to_unit=None" in str(caught.value)
    short, words = (lambda rewards: rewards[:2]), (lambda rewards: ["a"] * len(rewards))
    for to_unit, line in ((short, "must give a number per reward"), (words, "must be a function to numbers")):
        with pytest.raises(InputError, match=line):
            make("grpo", adarft(), Coin(), extra={"to_unit": to_unit}).train()


def test_evaluation_is_of_its_own_data_and_the_controller_does_not_hear_of_it(make):
    coin, controller = Coin(), adarft()
    trainer = make("grpo", controller, coin, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=8,
                   extra={"eval_dataset": DATA.select([20, 21])})  # fmt: skip
    trainer.train()
    assert controller.step == 3
    assert controller.rollouts[0] == 3 * 16
    seen = [item for item, _ in coin.log]
    assert sorted(seen[16:24]) == [20] * G + [21] * G
    assert len(seen) == 3 * (16 + 8)
    evaluated = [row for row in trainer.state.log_history if "eval_reward" in row]
    assert len(evaluated) == 3
    assert not any("curriculum" in name for row in evaluated for name in row)


def test_what_is_logged_are_the_controllers_numbers(make):
    controller = adarft()
    trainer = make("grpo", controller, Coin())
    trainer.train()
    steps = [row for row in trainer.state.log_history if "loss" in row]
    targets = [row["curriculum/target_difficulty"] for row in steps]
    assert len(set(targets)) > 1
    assert targets[-1] == controller.metrics()["target_difficulty"]
    assert [row["curriculum/rollouts"] for row in steps] == [16, 32, 48]
    assert all(row["curriculum/late_feedback"] == 0 for row in steps)
    assert steps[-1]["curriculum/mean_reward"] == pytest.approx(steps[-1]["reward"])


def test_rows_in_another_order_are_joined_by_id(make):
    plain, joined = Coin(), Coin()
    make("grpo", adarft(), plain).train()
    order = np.random.default_rng(0).permutation(I).tolist()
    data = DATA.select([*order]).add_column("more", [0] * I)
    make("grpo", adarft(), joined, data=data, extra={"id_column": "id"}).train()
    assert plain.log == joined.log


# ------------------------------------------------------------------------------------------------------ resume


def lora():
    from peft import LoraConfig

    return {"peft_config": LoraConfig(r=2, target_modules=["q_proj", "v_proj"])}


INSIDE = {"per_device_train_batch_size": 4, "steps_per_generation": 4, "gradient_accumulation_steps": 1}
RESUMED = {
    "inside a generation": ("grpo", {**INSIDE, "max_steps": 5}, dict, ()),
    "twice over a generation": ("grpo", {"per_device_train_batch_size": 8, "steps_per_generation": 2,
                                         "num_iterations": 2, "gradient_accumulation_steps": 2}, lora, ()),
    "adapters in bfloat16": ("grpo", {"per_device_train_batch_size": 8, "steps_per_generation": 2, "bf16": True}, lora,
                             ()),
    "behind a gate": ("rloo", {"per_device_train_batch_size": 8, "steps_per_generation": 2}, dict, dapo()),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "extra", "gates"), RESUMED.values(), ids=RESUMED)
def test_a_run_resumed_at_any_step_is_the_run_bit_for_bit(make, kind, settings, extra, gates):
    settings = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, **settings}
    coin, controller = Coin(), adarft(gates)
    straight = make(kind, controller, coin, extra=extra(), **settings)
    straight.train()
    straight = weights(straight), controller.state_dict(), coin.log
    for step in range(1, settings["max_steps"]):
        coin, controller = Coin(), adarft(gates)
        trainer = make(kind, controller, coin, extra=extra(), **settings)
        trainer.train(f"{trainer.args.output_dir}/checkpoint-{step}")
        assert torch.equal(weights(trainer), straight[0]), step
        assert coin.log == straight[2][len(straight[2]) - len(coin.log) :]
        for name, value in controller.state_dict().items():
            np.testing.assert_array_equal(value, straight[1][name], err_msg=f"{step} {name}")


def test_plain_trl_generates_anew_inside_a_generation(make):
    """As docs/how-to/hosts.md says of it."""
    settings = {**INSIDE, "max_steps": 3, "save_strategy": "steps", "save_steps": 1}
    straight, resumed = Coin(), Coin()
    make("grpo", None, straight, **settings).train()
    trainer = make("grpo", None, resumed, **settings)
    trainer.train(f"{trainer.args.output_dir}/checkpoint-1")
    assert len(straight.log) == 16
    assert len(resumed.log) == 16  # of a generation that the straight run does not have


@pytest.fixture(scope="module")
def saved(parts, tmp_path_factory):
    """A folder with checkpoints inside a generation and after one, and the trainer's other arguments."""
    folder = tmp_path_factory.mktemp("saved")
    config = GRPOConfig(
        output_dir=str(folder), num_generations=G, max_completion_length=5, max_steps=4, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to=[], disable_tqdm=True, save_steps=1, save_strategy="steps", **INSIDE
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(parts[0])
    SteeredGRPOTrainer(
        model, [Coin()], config, train_dataset=DATA, processing_class=parts[1], controller=adarft()
    ).train()
    return folder


def test_a_checkpoint_has_the_generation_only_where_it_lies_inside_one(saved):
    files = {step: sorted(path.name for path in (saved / f"checkpoint-{step}").glob("[cg]*-*0.safetensors"))
             for step in (1, 4)}  # fmt: skip
    assert files == {1: ["generation-0.safetensors"], 4: []}
    assert all((saved / f"checkpoint-{step}" / "curriculum.safetensors").is_file() for step in (1, 4))


def spoil(folder, name, data):
    (folder / name).write_bytes(data) if data is not None else (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda f: spoil(f, "curriculum.safetensors", None), "must be a file that can be read"),
        (lambda f: spoil(f, "curriculum.safetensors", b"junk"), "must be as a steered trainer wrote it"),
        (lambda f: spoil(f, "curriculum.safetensors", (f / "generation-0.safetensors").read_bytes()),
         "must be as a steered trainer wrote it, with plain in its header"),
        (lambda f: spoil(f, "generation-0.safetensors", None), "must be a file that can be read"),
        (lambda f: spoil(f, "generation-0.safetensors", b"junk"), "must be as a steered trainer wrote it"),
        (lambda f: shutil.copy(f.parent / "checkpoint-2" / "generation-0.safetensors", f), "of the same checkpoint as"),
        (lambda f: write_block(f, 0, [{"a": torch.zeros(1)}] * 5, {}), "must hold 4 micro-batches"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_lacks_a_part_or_has_anothers_is_one_line_never_a_fresh_start(
    make, saved, tmp_path, change, line
):
    folder = tmp_path / "run" / "checkpoint-1"
    shutil.copytree(saved / "checkpoint-1", folder)
    shutil.copytree(saved / "checkpoint-2", folder.parent / "checkpoint-2")
    change(folder)
    coin = Coin()
    with pytest.raises(InputError, match=line) as caught:
        make("grpo", adarft(), coin, **INSIDE).train(str(folder))
    assert "\n" not in str(caught.value)
    assert not coin.log


def test_a_checkpoint_whose_writing_was_cut_short_is_passed_over(make, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "out")
    coin = Coin()
    whole = make("grpo", adarft(), coin, **INSIDE, max_steps=4, save_strategy="steps", save_steps=1)
    for step, cut in ((4, "{"), (3, None)):
        state = tmp_path / "out" / f"checkpoint-{step}" / "trainer_state.json"
        state.write_text(cut) if cut else state.unlink()
    (tmp_path / "out" / "checkpoint-x").mkdir()
    assert last_whole(tmp_path / "out").name == "checkpoint-2"
    whole.train(resume_from_checkpoint=True)
    assert whole.state.global_step == 4
    assert coin.log == []  # the checkpoint lies inside the only generation, whose completions it holds


@pytest.mark.parametrize(
    ("controller", "settings", "extra", "line"),
    [
        (wb.Controller(wb.AdaRFT(eta=7.0), POOL, seed=2), INSIDE, {}, "state.rule.eta: must be this controller's, 7.0"),
        (wb.Controller(wb.Uniform(), POOL, seed=2), INSIDE, {}, "state: must have the fields"),
        (adarft(), INSIDE | {"per_device_train_batch_size": 8}, {}, "must be of a run with groups 8, got 4"),
        (adarft(), INSIDE | {"num_iterations": 2}, {}, "must be of a run with num_iterations 2, got 1"),
        (adarft(), INSIDE, {"to_unit": (0, 2)}, r"must be of a run with to_unit \[0.0, 2.0\], got None"),
    ],
)
def test_a_checkpoint_of_another_run_is_one_line(make, saved, controller, settings, extra, line):
    trainer = make("grpo", controller, Coin(), extra=extra, **settings)
    with pytest.raises(InputError, match=line):
        trainer.train(saved / "checkpoint-1")
    assert controller.step == trainer._step == 0


def test_a_checkpoint_of_plain_trl_is_one_line_and_so_is_none_at_all(make):
    trainer = make("grpo", adarft(), Coin())
    with pytest.raises(InputError, match="resume_from_checkpoint: must be a checkpoint where output_dir has none"):
        trainer.train(resume_from_checkpoint=True)
    make("grpo", None, Coin(), max_steps=1, save_strategy="steps", save_steps=1).train()
    with pytest.raises(InputError, match=r"curriculum.safetensors.*must be a file that can be read"):
        trainer.train(resume_from_checkpoint=True)


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("controller", "options", "line"),
    [
        (wb.AdaRFT(), {}, "controller: must be a Controller such as"),
        (adarft(), {"data": DATA.select(range(I - 1))},
         "train_dataset: must be the pool row for row, 24 items, got 23 rows; id_column joins others by id"),
        (adarft(), {"data": DATA.to_iterable_dataset()}, "train_dataset: must be a Dataset with the items of the pool"),
        (adarft(), {"data": DATA.add_column("image", [0] * I)}, "train_dataset: must have no images"),
        (adarft(), {"extra": {"id_column": "name"}}, "id_column: must be one of 'prompt', 'item', 'id', got 'name'"),
        (adarft(), {"extra": {"id_column": "item"}},
         r"must have a row for each id of the pool, lacks 24 of 24: 'q0'.*\(str in the pool, int here\)"),
        (adarft(), {"data": DATA.select([0, *range(I)]), "extra": {"id_column": "id"}},
         "train_dataset: must have an id once in id, got 'q0' twice"),
        (wb.Controller(wb.AdaRFT(), wb.Pool(POOL.difficulty)), {"extra": {"id_column": "id"}},
         "pool: must have ids to be joined by 'id'"),
        (adarft(), {"max_steps": -1}, "max_steps: must be >= 1"),
        (adarft(), {"per_device_train_batch_size": 100}, "batch: must be <= 24, the items of pool 'some', got 25"),
        (adarft(), {"extra": {"to_unit": (1, 0)}}, r"to_unit: must be \(low, high\) with low < high"),
        (adarft(), {"extra": {"to_unit": "half"}}, r"to_unit: must be \(low, high\), a function of rewards, or None"),
        (adarft(dapo()), {"scale_rewards": "batch"}, "scale_rewards: must be 'group' or 'none' with gates"),
        (wb.Controller(wb.SFL(), POOL), {}, "controller: must have a rule without probes in a host, got SFL"),
        (wb.Controller(wb.CurES(), POOL), {}, "controller: must have a rule that gives all items 4 rollouts"),
        (adarft(wb.SPEED(first=2)), {}, "controller: must have gates that judge whole groups in a host, got SPEED"),
        (wb.Controller(wb.Uniform(), POOL, lanes=2), {}, "controller: must have one seed and no lanes in a host"),
    ],
)  # fmt: skip
def test_what_cannot_be_steered_is_one_line_before_training(make, controller, options, line):
    with pytest.raises(InputError, match=line) as caught:
        make("grpo", controller, **options)
    assert "\n" not in str(caught.value)


def test_sizes_that_do_not_divide_and_rewards_of_another_number_are_trls_own_lines(make):
    with pytest.raises(ValueError, match=r"generation_batch_size \(15\) must be divisible by num_generations \(4\)"):
        make("grpo", adarft(), per_device_train_batch_size=15)

    def short(completions, **_):
        return [1.0]

    with pytest.raises(ValueError, match="returned 1 rewards, but 16 were expected"):
        make("grpo", adarft(), short).train()


def test_another_trl_is_one_line_that_says_which_is_taken():
    here = [GRPOTrainer, RLOOTrainer]
    check_seam(here, "1.16.3")
    for version in ("1.15.0", "1.17.0", "2.0", "unknown"):
        with pytest.raises(InputError, match=f"^trl: must be >= 1.16, < 1.17, whose .* got {version}$"):
            check_seam(here, version)
    changed = SimpleNamespace(**{name: getattr(GRPOTrainer, name) for name in ("log", "train", "_save_checkpoint")},
                              _generate_and_score_completions=lambda self, batch: batch, __name__="Other")  # fmt: skip
    with pytest.raises(InputError, match=r"got 1\.16\.0, whose Other._generate_and_score_completions is another one$"):
        check_seam([changed], "1.16.0")


def test_without_trl_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(InputError, match=r"^trl: must be installed, >= 1\.16, < 1\.17: pip install 'trl==1\.16\.\*'$"):
        import_trl()
