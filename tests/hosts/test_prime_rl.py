"""The real curriculum, source, sink and checkpoints of prime-rl under a controller; no engine and no trainer are in it.

The sampler's own arithmetic is tested with tasks that only have keys, as prime-rl is not on a package index; the rest
is skipped where prime_rl cannot be imported.
"""

import asyncio
import sys
import warnings
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.hosts.prime_rl import ControllerSampler, steered_source
from workbench.streams import generator

I, B, G = 40, 8, 4
POOL = wb.Pool(np.linspace(0, 100, I), ids=[f"key-{i}" for i in range(I)], name="some")


@dataclass(frozen=True)
class Task:
    key: str


@dataclass
class Trace:
    reward: float
    has_error: bool = False
    agent: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(trainable=True))


TASKS = [Task(f"key-{i}") for i in range(I)]


def episode(task, *traces):
    return SimpleNamespace(task=task, traces=list(traces))


def group(task, rewards):
    return [episode(task, Trace(reward)) for reward in rewards]


def rewards_of(task, times=0):
    """(G,) of a task that is tried for the so-manieth time; easy ones are solved."""
    item = int(task.key.removeprefix("key-"))
    return (generator(5, item, times).random(G) < 1.2 - item / I).astype(float).tolist()


def sampler(ahead=0, rule=None, tasks=TASKS, **more):
    return ControllerSampler(wb.Controller(rule or wb.AdaRFT(eta=20.0), POOL, seed=3), tasks, B, G, ahead, **more)


def test_one_group_in_flight_is_the_plain_controller():
    made, plain = sampler(), wb.Controller(wb.AdaRFT(eta=20.0), POOL, seed=3)
    for _ in range(10):
        tasks = []
        for _ in range(B):
            tasks.append(next(made))
            made.observe(group(tasks[-1], rewards_of(tasks[-1])))
        items = plain.next_batch(B)
        plain.observe(items, np.array([rewards_of(task) for task in tasks]))
        assert [task.key for task in tasks] == [f"key-{i}" for i in items]
    assert made.metrics()["target_difficulty"] == plain.metrics()["target_difficulty"] > 0
    assert made.metrics()["dropped_groups"] == made.metrics()["late_groups"] == 0


def test_many_in_flight_in_any_order_lose_nothing_and_a_restart_hands_them_out_again():
    order, made, flying, answered = generator(1, 1), sampler(ahead=20), [], 0
    for turn in range(400):
        if turn in (150, 300):
            state, lost = made.state_dict(), sorted(task.key for task in flying)
            made = sampler(ahead=20)
            made.load_state_dict(state)
            again = [next(made) for _ in lost]
            assert sorted(task.key for task in again) == lost
            flying = again
        while len(flying) < 2 * B:
            flying.append(next(made))
        task = flying.pop(int(order.integers(len(flying))))
        made.observe(group(task, rewards_of(task)))
        answered += 1
    numbers = made.metrics()
    assert answered == 400
    assert numbers["late_groups"] == numbers["repeated_answers"] == numbers["dropped_groups"] == 0
    assert 400 - numbers["open_batches"] * B < numbers["rollouts"] / G <= 400  # the rest waits in open batches


def test_prompts_that_never_come_back_are_given_up_oldest_first_and_what_comes_late_is_counted():
    made = sampler(ahead=1)
    first = [next(made) for _ in range(2 * B)]  # two batches: as many as may be begun
    for task in first[2 : 2 * B]:
        made.observe(group(task, rewards_of(task)))
    assert made.queue.updates == 1  # the second
    for _ in range(B):
        next(made)
    assert made.metrics()["dropped_groups"] == 0
    next(made)  # a third batch open beside the first: its two are given up
    assert made.metrics()["dropped_groups"] == 2
    assert made.queue.updates == 2
    gone = [task for task in first[:2] if task.key not in made._flying]
    for task in gone:
        made.observe(group(task, [1.0] * G))
    assert gone
    assert made.metrics()["late_groups"] == len(gone)
    assert made.metrics()["rollouts"] == (2 * B - 2) * G


def test_an_episode_is_the_mean_of_its_clean_trainable_traces_and_without_one_is_left_out():
    made, plain = sampler(rule=wb.MoPPS()), wb.Controller(wb.MoPPS(), POOL, seed=3)
    items = plain.next_batch(B)
    other = SimpleNamespace(trainable=False)
    for task in [next(made) for _ in range(B - 1)]:
        made.observe([
            episode(task, Trace(1.0), Trace(0.5), Trace(0.0, agent=other)), episode(task, Trace(0.0, has_error=True)),
            episode(task), episode(task, Trace(0.25)),
        ])  # fmt: skip
    made.observe([episode(next(made))])  # all rollouts of a group failed
    rewards = np.tile([0.75, 0.25, 0.0, 0.0], (B, 1))
    rewards[-1] = 0.0
    plain.observe(items, rewards, [2] * (B - 1) + [0])
    assert made.metrics()["rollouts"] == 2 * (B - 1) == plain.rollouts[0]
    np.testing.assert_equal(made.queue.controller.metrics(), plain.metrics())


def test_tasks_in_another_order_are_joined_by_key_and_rewards_are_mapped():
    made, plain = sampler(tasks=TASKS[::-1], by_key=True, to_unit=(-1.0, 1.0)), sampler()
    for _ in range(3 * B):
        task = next(made)
        assert task.key == next(plain).key
        made.observe(group(task, [2 * reward - 1 for reward in rewards_of(task)]))
        plain.observe(group(task, rewards_of(task)))


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: sampler(tasks=TASKS[1:]), "tasks: must be the pool one for one, 40 items, got 39; by_key joins"),
        (lambda: sampler(tasks=iter(TASKS)), "tasks: must be a sequence with the items of the pool, got list_iterator"),
        (lambda: sampler(tasks=[TASKS[0]] * I), "tasks: must have keys that differ, got 1 keys of 40 tasks"),
        (lambda: sampler(tasks=TASKS[3:], by_key=True),
         "tasks: must have a task for each id of the pool, lack 3 of 40: 'key-0', 'key-1', 'key-2'"),
        (lambda: ControllerSampler(wb.Controller(wb.AdaRFT(), wb.Pool([1.0])), TASKS[:1], 1, G, 0, by_key=True),
         "pool: must have ids to be joined by key"),
        (lambda: ControllerSampler(wb.Controller(wb.AdaRFT(), POOL, wb.DynamicSampling()), TASKS, B, G, 0),
         "controller: must have no gates in prime-rl, got DynamicSampling"),
        (lambda: sampler(rule=wb.SFL()), "controller: must have a rule without probes in a host"),
        (lambda: sampler(ahead=-1), "ahead: must be a whole number in"),
        (lambda: sampler(to_unit=(2, 1)), r"to_unit: must be \(low, high\) with low < high"),
        (lambda: sampler().observe(group(Task("other"), [1.0] * G)),
         "group: must be of a task that is in the pool, got the key 'other'"),
        (lambda: answered([1.0] * 5), "rollouts: must be those of a group, got 4 where the host gave 5"),
        (lambda: answered([1.0, 2.0]), r"rewards: must be in \[0, 1\] for the controller, .*got 2"),
        (lambda: sampler().load_state_dict({}), "state: must be a ControllerSampler's, of late_groups and queue, got"),
        (lambda: sampler().load_state_dict(sampler(ahead=2).state_dict()), "state.open_number: must have shape|ahead"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(make, line):
    with pytest.raises(InputError, match=line) as caught:
        make()
    assert "\n" not in str(caught.value)


def answered(rewards):
    made = sampler()
    made.observe(group(next(made), rewards))


# ----------------------------------------------------------------------------------------- inside prime-rl's own


@pytest.fixture(scope="module")
def prime():
    """prime-rl's modules and verifiers'."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("prime_rl.orchestrator.train_source")
        import verifiers.v1 as vf
        from prime_rl.configs.orchestrator import AdvRangeGateConfig, CheckpointConfig, CurriculumConfig
        from prime_rl.orchestrator import ckpt, train_sink, types
        from prime_rl.orchestrator.curriculum.samplers import TaskSampler

    return SimpleNamespace(vf=vf, Gate=AdvRangeGateConfig, Checkpoints=CheckpointConfig, Curriculum=CurriculumConfig,
                           ckpt=ckpt, sink=train_sink, types=types, TaskSampler=TaskSampler)  # fmt: skip


def real_tasks(prime):
    return [prime.vf.Task(prime.vf.TaskData(idx=i, prompt=f"task {i}")) for i in range(I)]


def source(prime, ahead=3, gates=None, made=None):
    """prime-rl's TrainSource of one environment, steered."""
    curriculum = prime.Curriculum(gates=gates or {})
    config = SimpleNamespace(ratio=1.0, curriculum=curriculum, group_size=G)
    env = SimpleNamespace(name="test", tasks=iter(real_tasks(prime)), num_tasks=I, config=config,
                          algorithm=Nothing())  # fmt: skip
    make = made or (lambda tasks: ControllerSampler(
        wb.Controller(wb.AdaRFT(eta=20.0), wb.Pool(POOL.difficulty), seed=3), tasks, B, G, ahead))  # fmt: skip
    return steered_source({"test": make})([env]), env


class Nothing:
    """An algorithm of prime-rl that changes no episode."""

    async def finalize_episode(self, episode):
        pass

    async def finalize_group(self, group):
        pass


def real_group(prime, task, rewards, advantage=1.0):
    """A finished group of episodes, with one sampled token each."""
    vf, made = prime.vf, []
    for reward in rewards:
        node = vf.MessageNode(message=vf.AssistantMessage(content="a"), token_ids=[1], mask=[True], logprobs=[0.0],
                              advantages=[advantage], sampled=True)  # fmt: skip
        trace = vf.Trace(task=vf.TraceTask(type="Task", data=task.data, key=task.key, hash=task.hash),
                         agent=vf.AgentInfo(config=vf.AgentConfig()), nodes=[node],
                         rewards={"reward": vf.Reward(score=reward)}, ok=True)  # fmt: skip
        made.append(vf.Episode(env=vf.EnvInfo(id="test", name="test"), task=trace.task, group=vf.GroupInfo(id=task.key),
                               traces=[trace]))  # fmt: skip
    return made


def real_rewards(task):
    return rewards_of(Task(f"key-{task.data.idx}"))


def test_prime_rls_source_hands_out_the_controllers_tasks_and_reports_rejected_groups(prime):
    made, _ = source(prime, ahead=0, gates={"zero": prime.Gate()})
    plain = wb.Controller(wb.AdaRFT(eta=20.0), POOL, seed=3)
    assert isinstance(made.curricula["test"].sampler, prime.TaskSampler)
    for _ in range(6):
        items, tasks, decisions = plain.next_batch(B), [], []
        for index in range(B):
            tasks.append(made.next_task(step=1).task)
            silent = 0.0 if index % 2 else 1.0  # prime-rl's gate rejects every second group
            decisions.append(made.on_result(real_group(prime, tasks[-1], real_rewards(tasks[-1]), silent)))
        assert [task.data.idx for task in tasks] == items.tolist()
        assert decisions == [True, False] * (B // 2)
        plain.observe(items, np.array([real_rewards(task) for task in tasks]))
    numbers = made.metrics()
    assert numbers["curriculum/test/sampler/target_difficulty"] == plain.metrics()["target_difficulty"]
    assert numbers["curriculum/test/admission_rate"] == 0.5


def test_prime_rls_checkpoint_keeps_the_controller_and_the_prompts_in_flight(prime, tmp_path):
    made, _ = source(prime)
    flying = [made.next_task(step=1).task for _ in range(2 * B)]
    for task in flying[: B + 2]:
        made.on_result(real_group(prime, task, real_rewards(task)))
    manager = prime.ckpt.setup_ckpt_manager(tmp_path, prime.Checkpoints())
    manager.save(prime.types.Progress(), made, step=1)
    again, _ = source(prime)
    manager.load(prime.types.Progress(), again, step=1)
    for task in flying[B + 2 :]:
        assert again.next_task(step=1).task.key == task.key
    for task in flying[B + 2 :]:
        for one in (made, again):
            one.on_result(real_group(prime, task, real_rewards(task)))
    for _ in range(3 * B):
        assert made.next_task(step=1).task.key == again.next_task(step=1).task.key


@pytest.mark.filterwarnings("ignore")
def test_prime_rls_sink_tells_of_groups_and_not_of_stale_ones(prime):
    made, env = source(prime, ahead=1, gates={"zero": prime.Gate()})  # rejects all: its trainer is not in the test
    envs = SimpleNamespace(get=lambda name: env)
    sink = prime.sink.TrainSink(
        SimpleNamespace(max_off_policy_steps=8, seq_len=8), tokenizer=None, train_envs=envs,
        mm_token_type_ids_mapping=None, progress=prime.types.Progress(), batch_size=10**6, token_batch_size=None,
        on_result=made.on_result,
    )  # fmt: skip
    env.sampling_args, env.algorithm.action_loss_type = {"temperature": 1.0}, "rl"
    sampler_ = made.curricula["test"].sampler
    tasks = [made.next_task(step=1).task for _ in range(2 * B)]

    async def feed():
        for task in tasks[1:]:
            for one in real_group(prime, task, real_rewards(task), advantage=0.0):
                await sink.add(one)
        stale = {"kind": "train", "env_name": "test", "count": G, "reason": "stale"}
        await sink.cancel(prime.types.GroupCancellation(group_id=tasks[0].key, **stale))

    asyncio.run(feed())
    assert sampler_.queue.updates == 1  # the first batch lacks the stale group
    for _ in range(B + 1):
        made.next_task(step=1)
    assert sampler_.queue.updates == 2
    assert sampler_.metrics()["dropped_groups"] == 1
    assert sampler_.metrics()["rollouts"] == (2 * B - 1) * G


@pytest.mark.parametrize(("name", "made", "line"), [
    ("other", lambda tasks: None, "environment: must be one of 'test', got 'other'"),
    ("test", lambda tasks: sampler(tasks=tasks[1:]), "tasks: must be the pool one for one, 40 items, got 39"),
])  # fmt: skip
def test_an_environment_that_does_not_fit_is_one_line(prime, name, made, line):
    _, env = source(prime)
    env.tasks = iter(real_tasks(prime))
    with pytest.raises(InputError, match=line):
        steered_source({name: made})([env])
    env.tasks, env.num_tasks = iter(real_tasks(prime)), None
    with pytest.raises(InputError, match="environment 'test': must have tasks that end under a controller"):
        steered_source({"test": made})([env])


def test_without_prime_rl_the_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "prime_rl.orchestrator.curriculum.samplers", None)
    with pytest.raises(InputError, match=r"^prime_rl: must be installed, from its repository$"):
        steered_source({})
