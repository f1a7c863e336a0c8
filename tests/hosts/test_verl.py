"""The real verl on a CPU: its dataset, its loader's place, its TransferQueue, replay buffer and advantages, under a
controller. The engine that generates and the workers that train are not in it. Skipped where verl is not installed."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.hosts.verl import group_rewards, register

for limit in ("RAY_raylet_start_wait_time_s=120", "RAY_agent_register_timeout_ms=120000", "RAY_USAGE_STATS_ENABLED=0"):
    os.environ.setdefault(*limit.split("="))  # read when Ray is imported; its own are too short on a busy machine

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    verl = pytest.importorskip("verl")
    pytest.importorskip("transfer_queue")
    import datasets
    import ray
    import torch
    import transfer_queue as tq
    from hydra import compose, initialize_config_dir
    from verl.trainer.ppo.v1 import PPOTrainerSync, get_trainer_cls
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

pytestmark = pytest.mark.filterwarnings("ignore")

I, B, G = 24, 8, 4
POOL = wb.Pool(np.linspace(0, 100, I), ids=[f"q{i}" for i in range(I)], name="some")
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
CHOICES = {}  # what make_controller of the registered trainer gives


@register("steered")
def controller():
    return CHOICES["controller"]


@register("joined", to_unit=(-1.0, 1.0), id_column="id")
def joined():
    return CHOICES["controller"]


def adarft(**more):
    return wb.Controller(wb.AdaRFT(eta=30.0), POOL, seed=2, **more)


@pytest.fixture(scope="module")
def parts(tiny, tmp_path_factory):
    """A folder with train.parquet (rows in the pool's order), mixed.parquet (another), and a model's folder."""
    from transformers import AutoTokenizer

    folder, model = tmp_path_factory.mktemp("data"), tiny("llama", prefers="ab")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(model)
    rows = datasets.Dataset.from_list([
        {"prompt": [{"role": "user", "content": f"{i}="}], "data_source": "some", "id": f"q{i}",
         "reward_model": {"style": "rule", "ground_truth": str(i)}, "extra_info": {"index": i}} for i in range(I)
    ])  # fmt: skip
    rows.to_parquet(folder / "train.parquet")
    order = np.random.default_rng(0).permutation(I).tolist()
    rows.select(order).to_parquet(folder / "mixed.parquet")
    return folder, model


@pytest.fixture
def make(parts, tmp_path):
    """make(name, *overrides): verl's trainer of this name, with its own dataset and configuration, and no workers."""

    def made(name="steered", *overrides, file="train.parquet", made_by=None):
        CHOICES["controller"] = made_by if made_by is not None else adarft()
        own = [f"data.train_files={parts[0] / file}", f"data.val_files={parts[0] / 'train.parquet'}",
               f"+data.cache_dir={tmp_path / 'cache'}", f"data.train_batch_size={B}", "data.dataloader_num_workers=0",
               f"actor_rollout_ref.rollout.n={G}", "actor_rollout_ref.rollout.name=vllm",
               f"actor_rollout_ref.model.path={parts[1]}", "algorithm.adv_estimator=grpo",
               f"trainer.default_local_dir={tmp_path / 'out'}", f"trainer.v1.trainer_mode={name}"]  # fmt: skip
        with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
            config = compose("ppo_trainer", overrides=[*own, *overrides])
        trainer = get_trainer_cls(name)(config)
        trainer._init_tokenizer()
        trainer._init_dataloader()
        trainer.global_steps = 1
        return trainer

    return made


@pytest.fixture(scope="module")
def transfer_queue(tmp_path_factory):
    """verl's store of trajectories, as its TaskRunner starts it."""
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error",
             _temp_dir=str(tmp_path_factory.mktemp("ray", numbered=False)), ignore_reinit_error=True)  # fmt: skip
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        config = compose("ppo_trainer", overrides=["transfer_queue.backend.SimpleStorage.num_data_storage_units=1"])
    config.transfer_queue.enable = True
    tq.init(config.transfer_queue)
    yield
    tq.close()
    ray.shutdown()


class Rollouts:
    """Writes what verl's agent loop writes of a batch: trajectories with made-up tokens. scores: (item, session) ->
    a number, or None for a session that failed."""

    def __init__(self, scores):
        self.scores, self.items = scores, []

    def generate_sequences(self, batch):
        keys, fields, tags = [], [], []
        for uid, item in zip(batch["uid"], list(batch["index"]), strict=True):
            self.items.append(item)
            for session in range(G):
                if (score := self.scores(item, session)) is None:
                    continue
                prompt, answer = torch.tensor([3, 4]), torch.tensor([5, 6, 7])
                keys.append(f"{uid}_{session}_0")
                fields.append({"uid": str(uid), "prompts": prompt, "responses": answer,
                               "response_mask": torch.ones(3, dtype=torch.int64),
                               "rm_scores": torch.tensor([0.0, 0.0, score])})  # fmt: skip
                tags.append({"status": "success", "prompt_len": 2, "response_len": 3, "seq_len": 5, "global_steps": 1})
            tq.kv_put(key=str(uid), partition_id="train", tag={"status": "finished"})
        tq.kv_batch_put(keys=keys, fields=list_of_dict_to_tensordict(fields), tags=tags, partition_id="train")


def run(trainer, steps, scores):
    """Steps of verl without weights: fetch, hand to rollouts, wait, sample, advantages. Items and metrics of each."""
    trainer.agent_loop_manager, log = Rollouts(scores), []
    for _ in range(steps):
        trainer.agent_loop_manager.items, metrics = [], {}
        trainer.prepare_step()
        batch, _ = trainer.replay_buffer.sample(trainer.global_steps, "train", B)
        trainer._compute_advantage(batch, metrics)
        tq.kv_clear(keys=batch.keys, partition_id=batch.partition_id)
        log.append((trainer.agent_loop_manager.items, metrics))
        trainer.global_steps += 1
    return log


def solved(item, session):
    return float((item * 7 + session * 5) % 23 > item)


def twin_items(twin, steps, scores=solved):
    items = []
    for _ in range(steps):
        batch = twin.next_batch(B)
        items.append(batch.tolist())
        twin.observe(batch, np.array([[scores(i, session) for session in range(G)] for i in batch.tolist()]))
    return items


def test_the_real_next_train_batch_hands_out_the_controllers_items(make):
    trainer, twin = make(), adarft()
    batch = trainer._next_train_batch()
    items = twin.next_batch(B)
    assert list(batch["index"]) == items.tolist()
    assert [prompt[0]["content"] for prompt in batch["raw_prompt"]] == [f"{i}=" for i in items]
    assert len(set(batch["uid"])) == B
    assert trainer.trainer_mode == "sync"
    rewards = np.array([[solved(i, session) for session in range(G)] for i in items.tolist()])
    twin.observe(items, rewards)
    trainer._answer({uid: row.tolist() for uid, row in zip(list(batch["uid"])[::-1], rewards[::-1], strict=True)})
    assert list(trainer._next_train_batch()["index"]) == twin.next_batch(B).tolist()


@pytest.mark.parametrize("chunk", [B, 2])
def test_steps_of_verl_pick_what_a_controller_picks_that_sees_all_rewards_first(make, transfer_queue, chunk):
    trainer, twin = make("steered", f"data.gen_batch_size={chunk}"), adarft()
    log = run(trainer, 4, solved)
    assert [items for items, _ in log] == twin_items(twin, 4)
    assert log[-1][1]["curriculum/target_difficulty"] == twin.metrics()["target_difficulty"] > 0
    own = trainer.train_dataloader.queue.controller
    assert own.late_feedback == own.partial_feedback == own.repeated_feedback == 0
    np.testing.assert_equal(own.metrics(), twin.metrics())


def test_rows_in_another_order_and_rewards_of_another_range_are_joined_and_mapped(make, transfer_queue):
    trainer, twin = make("joined", file="mixed.parquet"), adarft()
    log = run(trainer, 3, lambda item, session: 2 * solved(item, session) - 1)
    assert [items for items, _ in log] == twin_items(twin, 3)


def test_trajectories_that_failed_are_left_out_and_a_group_without_any_is_dropped(make, transfer_queue):
    gone = adarft().next_batch(B)[0]
    trainer, twin = make(), adarft()

    def scores(item, session):
        return None if item == gone or (item % 2 and session == 1) else solved(item, session)

    log = run(trainer, 1, scores)
    items = twin.next_batch(B)
    kept = items[items != gone]
    rewards, counts = np.zeros((len(kept), G)), []
    for row, item in enumerate(kept.tolist()):
        known = [solved(item, session) for session in range(G) if scores(item, session) is not None]
        rewards[row, : len(known)], counts = known, [*counts, len(known)]
    twin.observe(kept, rewards, counts)
    assert log[0][1]["curriculum/dropped_groups"] == B - len(kept) == 1
    assert log[0][1]["curriculum/target_difficulty"] == twin.metrics()["target_difficulty"]
    assert list(trainer._next_train_batch()["index"]) == twin.next_batch(B).tolist()


class Workers:
    """Stands for the group of workers that has the weights."""

    def save_checkpoint(self, path, *_, **__):
        Path(path).mkdir(parents=True)

    def load_checkpoint(self, **_):
        pass


def saved(trainer):
    trainer.actor_rollout_wg, trainer.use_critic = Workers(), False
    trainer._save_checkpoint()


def resumed(trainer):
    trainer.actor_rollout_wg, trainer.use_critic = Workers(), False
    trainer._load_checkpoint()
    return trainer


def test_a_run_goes_on_from_verls_own_checkpoint(make, transfer_queue):
    straight = run(make(), 5, solved)
    first = make()
    run(first, 2, solved)
    saved(first)
    again = resumed(make())
    assert again.global_steps == 3
    assert [items for items, _ in run(again, 3, solved)] == [items for items, _ in straight[2:]]


def test_a_checkpoint_without_the_controllers_state_or_with_anothers_is_one_line(make, tmp_path):
    assert resumed(make()).global_steps == 0  # nothing to go on from: verl starts, and so does the controller
    saved(make())
    with pytest.raises(InputError, match=r"state.rule.eta: must be this controller's, 7.0"):
        resumed(make(made_by=wb.Controller(wb.AdaRFT(eta=7.0), POOL, seed=2)))
    (tmp_path / "out" / "global_step_1" / "data.pt").unlink()
    with pytest.raises(InputError, match=r"^global_step_1: must have the controller's state in data.pt, has none$"):
        resumed(make())
    plain = make("sync")
    plain.global_steps = 2
    saved(plain)
    with pytest.raises(InputError, match=r"^state: must have the fields"):
        resumed(make())


def test_the_module_hook_of_verl_brings_the_trainer_in(tmp_path):
    (tmp_path / "curriculum.py").write_text(
        "import workbench as wb\nfrom workbench.hosts.verl import register\n\n"
        "@register('adarft')\ndef controller():\n    return wb.Controller(wb.AdaRFT(), wb.Pool([1.0]))\n"
    )
    code = "from verl.trainer.ppo.v1 import get_trainer_cls as get; print([c.__name__ for c in get('adarft').__mro__])"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    env = os.environ | {"VERL_USE_EXTERNAL_MODULES": "curriculum", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True)
    assert "['SteeredPPOTrainerSync', 'Steered', 'PPOTrainerSync', 'PPOTrainer'" in done.stdout, done.stderr[-2000:]


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "overrides", "options", "line"),
    [
        ("steered", (), {"made_by": wb.Controller(wb.AdaRFT(), wb.Pool([1.0] * 25))},
         "train_dataset: must be the pool row for row, 25 items, got 24 rows"),
        ("joined", (), {"made_by": wb.Controller(wb.AdaRFT(), wb.Pool([1.0] * 9, ids=list("abcdefghi")))},
         "train_dataset: must have a row for each id of the pool, lacks 9 of 9"),
        ("steered", (), {"made_by": wb.AdaRFT()}, "controller: must be a Controller such as"),
        ("steered", (), {"made_by": adarft(gates=wb.DynamicSampling())}, "must have no gates in verl, got DynamicS"),
        ("steered", (), {"made_by": wb.Controller(wb.SFL(), POOL)}, "must have a rule without probes in a host"),
        ("steered", (f"data.train_batch_size={I + 1}",), {}, "batch: must be <= 24, the items of pool 'some', got 25"),
        ("steered", ("algorithm.filter_groups.enable=True", "algorithm.filter_groups.metric=reward"), {},
         "algorithm.filter_groups.enable: must be False under a controller"),
        ("steered", ("trainer.v1.sampler.sync_refill_failed_groups=True",), {},
         "trainer.v1.sampler.sync_refill_failed_groups: must be False under a controller"),
        ("steered", ("+trainer.v1.sync.parameter_sync_step=2",), {},
         "trainer.v1.sync.parameter_sync_step: must be 1 under a controller, as a batch is an update, got 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_steered_is_one_line_before_training(make, name, overrides, options, line):
    with pytest.raises(InputError, match=line) as caught:
        make(name, *overrides, **options)
    assert "\n" not in str(caught.value)


def test_rewards_out_of_range_of_other_prompts_or_of_too_many_rollouts_are_one_line(make):
    trainer = make()
    uids = list(trainer._next_train_batch()["uid"])
    with pytest.raises(InputError, match=r"^rewards: must be in \[0, 1\] for the controller, or to_unit.* got 5"):
        trainer._answer({uid: [5.0] * G for uid in uids})
    with pytest.raises(InputError, match=r"^uid: must be of a prompt that was handed out and has no answer, got 'x'$"):
        trainer._answer({"x": [1.0] * G})
    with pytest.raises(InputError, match=r"^rollouts: must be those of a group, got 4 where the host gave 5$"):
        trainer._answer({uid: [1.0] * 5 for uid in uids})
    with pytest.raises(InputError, match=r"^trainer: must report a batch of 8 before it asks for the next"):
        trainer._next_train_batch()


def test_a_batch_that_the_fetches_do_not_divide_is_verls_own_line(make):
    trainer = make("steered", "data.gen_batch_size=3")
    with pytest.raises(ValueError, match=r"num_prompts \(8\) must be a positive multiple of gen_batch_size \(3\)"):
        trainer._next_train_batch()


def test_names_that_are_taken_and_what_makes_no_controller_are_one_line():
    with pytest.raises(InputError, match=r"^name: must not be a trainer that verl has, .*sync, .*got 'sync'$"):
        register("sync")
    with pytest.raises(InputError, match=r"^name: must be text, got 1"):
        register(1)
    with pytest.raises(InputError, match=r"^to_unit: must be \(low, high\) with low < high"):
        register("other", to_unit=(1, 0))
    with pytest.raises(InputError, match=r"^controller: must be a function that makes one, got Controller$"):
        register("other")(adarft())
    assert issubclass(get_trainer_cls("steered"), PPOTrainerSync)


def test_the_last_output_of_a_session_counts_and_padding_does_not():
    keys = ["u_0_0", "u_0_1", "u_1_0", "v_0_0", "pad1_0_0"]
    tags = [{}] * 4 + [{"is_padding": True}]
    assert group_rewards(keys, tags, [0.1, 0.2, 0.3, 0.4, 0.5]) == {"u": [0.2, 0.3], "v": [0.4]}
