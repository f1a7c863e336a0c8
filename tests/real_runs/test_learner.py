"""The learner that finetunes a language model: what an update does, what it leaves alone, and what it refuses."""

import copy
import json
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch

import workbench as wb
from real_runs.rl import models, ppo
from real_runs.rl.generate import generate
from real_runs.rl.learner import HeldOut, PPOLearner, Settings
from real_runs.runs import checkpoint
from workbench.errors import InputError
from workbench.streams import Role, uniforms

# transformers 5.23 has renamed what peft and transformers 5.0 call gradient checkpointing
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

PROMPTS = ["7=", "rev 12=", "rev 1=", "copy a=", "3+4=", "rev 12345=", "b=", "next xy="]
ANSWERS = ["1", "0", "1", "01", "1", "1", "0", "1"]
PLAIN = {name: ppo.Algorithm(name) for name in ("gae", "grpo", "rloo", "reinforce++")}  # no KL, no entropy bonus
every_algorithm = pytest.mark.parametrize("name", ppo.ALGORITHMS)


@pytest.fixture(scope="module")
def problems():
    return wb.Pool(np.linspace(0, 100, len(PROMPTS)), payload={"prompt": PROMPTS, "answer": ANSWERS})


def exact(text, answer):
    return float(text == answer)


HELDOUT = HeldOut(PROMPTS[:6], ANSWERS[:6], np.array([0, 0, 0, 2, 2, 2]))


@pytest.fixture(scope="module")
def make(tiny, problems):
    """make(algorithm, ...): a learner on a fresh tiny model that writes 0, 1 and the end mark most of the time."""

    loaded = {}

    def fresh_policy(folder, options):
        if options:
            return models.load(folder, **options)
        if folder not in loaded:
            loaded[folder] = models.load(folder)
        return copy.deepcopy(loaded[folder])

    def learner(algorithm="grpo", score=exact, seed=0, model=None, sgd=0.0, heldout=HELDOUT, load=None, **settings):
        folder = model or tiny("llama", prefers="01")
        if isinstance(algorithm, str):
            algorithm = ppo.ALGORITHMS[algorithm]
        settings = {"limit": 4, "warm_up": 0} | settings
        policy = fresh_policy(folder, load)
        made = PPOLearner(policy, problems, score, heldout, algorithm, Settings(**settings), seed)
        if sgd:  # parameters then move by -sgd times the gradient, where Adam would blow up rounding errors
            made.optimiser = torch.optim.SGD(
                [{"params": group["params"], "lr": sgd} for group in made.optimiser.param_groups]
            )
            made._rates = [sgd for _ in made.optimiser.param_groups]
        return made

    return learner


def parameters(learner):
    tensors = [p for _, p in learner.policy.named_trainable()]
    if learner.critic is not None:
        tensors += list(learner.critic.parameters())
    return [t.detach().clone() for t in tensors]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def close(one, other, atol=1e-6):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=atol, rtol=1e-3)


def some_rewards(items, rollouts, seed=0):
    """0 or 1 at random, in no group all equal."""
    rewards = (np.random.default_rng(seed).random((len(items), rollouts)) < 0.5).astype(np.float32)
    rewards[:, 0], rewards[:, 1] = 0.0, 1.0
    return rewards


def one_update(learner, items=(0, 1, 2, 5), rollouts=4, rewards=None, admitted=None):
    items = np.array(items)
    learner.attempt(items, rollouts)
    rewards = some_rewards(items, rollouts) if rewards is None else np.asarray(rewards, np.float32)
    learner.learn(items, rewards, np.ones(len(items), bool) if admitted is None else np.asarray(admitted))
    return parameters(learner)


def completions(learner, items, rollouts, step=0):
    """What the learner's attempt at this step samples, from the documented luck."""
    limit = learner.settings.limit
    prompts = learner.policy.encode([PROMPTS[i] for i in items], limit)
    luck = uniforms(learner.seed, Role.ROLLOUT, step, len(items) * rollouts * limit)
    learner.model.eval()
    sampled = generate(
        learner.model, prompts, rollouts, limit, torch.from_numpy(luck).view(-1, limit), learner.policy.ends, 0
    )
    texts = [sampled.tokens[row][sampled.mask[row] > 0].tolist() for row in range(len(sampled))]
    return list(zip(sampled.prompts, texts, strict=True))


def log_probability(model, prompt, text):
    """Of a completion, with gradient: the bare model, no padding, no cache."""
    logits = model(torch.tensor([prompt + text])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1)[torch.arange(len(text)), text].sum()


# ---------------------------------------------------------------------------------------------- the gradient


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox", "gpt2"])
def test_an_update_follows_the_hand_made_gradient(make, tiny, architecture):
    """RLOO of two completions, one rewarded: advantages +1 and -1, the loss is the mean over all tokens."""
    learner = make(PLAIN["rloo"], model=tiny(architecture), sgd=1.0, grad_clip=1e9, limit=6)
    items, rewards = [1, 0, 5], np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    twin = copy.deepcopy(learner.model)
    loss, tokens = torch.zeros(()), 0
    for (prompt, text), advantage in zip(completions(learner, items, 2), [1, -1, -1, 1, 0, 0], strict=True):
        loss = loss - advantage * log_probability(twin, prompt, text)
        tokens += len(text)
    (loss / tokens).backward()
    expected = [p.detach() - (0 if p.grad is None else p.grad) for p in twin.parameters() if p.requires_grad]
    before = parameters(learner)
    after = one_update(learner, items, 2, rewards)
    close(after, expected, atol=2e-6)
    norm = torch.cat([(a - b).flatten() for a, b in zip(after, before, strict=True)]).norm()
    assert float(norm) > 0.01
    assert learner.stats["grad_norm"] == pytest.approx(float(norm), rel=1e-3)


@every_algorithm
def test_a_rewarded_completion_becomes_likelier_than_its_neighbour(make, name):
    learner = make(name, lr=1e-3)
    (one, other) = completions(learner, [1], 2)
    assert one[1] != other[1]
    gap = []
    for rewards in (None, [[1, 0]]):
        if rewards:
            one_update(learner, [1], 2, rewards)
        with torch.no_grad():
            gap.append(float(log_probability(learner.model, *one) - log_probability(learner.model, *other)))
    assert gap[1] > gap[0] + 0.01


@pytest.mark.parametrize("name", ["grpo", "rloo"])
@pytest.mark.parametrize(("reward", "rollouts"), [(0.0, 2), (1.0, 3), (0.7, 7)])
def test_groups_of_equal_rewards_move_nothing(make, name, reward, rollouts):
    learner = make(PLAIN[name])
    before = parameters(learner)
    after = one_update(learner, [0, 1], rollouts, np.full((2, rollouts), reward))
    assert same(before, after)
    assert learner.stats["grad_norm"] == 0.0


def test_the_gradient_is_clipped_to_its_largest_norm(make):
    learner = make(PLAIN["rloo"], sgd=1.0, grad_clip=1e-3)
    before = parameters(learner)
    after = one_update(learner)
    norm = torch.cat([(a - b).flatten() for a, b in zip(after, before, strict=True)]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=0.01)
    assert learner.stats["grad_norm"] > 1e-2  # what the record shows is the norm before


def test_the_learning_rate_warms_up_linearly(make):
    learner = make(PLAIN["rloo"], lr=0.02, warm_up=4)
    rates = []
    for _ in range(6):
        one_update(learner)
        rates.append(learner.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.004, 0.008, 0.012, 0.016, 0.02, 0.02])


@every_algorithm
def test_it_learns(make, name):
    """Every answer is 1, which the start writes in one completion of eight."""
    learner = make(name, score=lambda text, _: float(text == "1"), lr=0.03, seed=3)
    reward = []
    for _ in range(20):
        items = np.arange(8)
        rewards = learner.attempt(items, 8)
        learner.learn(items, rewards, np.ones(8, bool))
        reward.append(rewards.mean())
    assert reward[0] < 0.25
    assert reward[-1] > 0.75


# --------------------------------------------------------------------------------- what must not change the update


@pytest.mark.parametrize("name", PLAIN)
def test_rejected_groups_are_as_if_they_had_not_been_there(make, name):
    with_more, without = make(PLAIN[name], sgd=0.1), make(PLAIN[name], sgd=0.1)
    items = np.array([0, 1, 5])
    rewards = some_rewards(items, 4)
    for learner in (with_more, without):
        learner.attempt(items, 4)
    with_more.attempt(np.array([7, 3]), 4)
    more = np.concatenate([rewards, some_rewards([7, 3], 4, seed=1)])
    with_more.learn(np.array([0, 1, 5, 7, 3]), more, np.array([True, True, True, False, False]))
    without.learn(items, rewards, np.ones(3, bool))
    assert not same(parameters(without), parameters(make(PLAIN[name])))
    close(parameters(with_more), parameters(without))
    for statistic in ("policy_loss", "entropy", "grad_norm"):
        assert with_more.stats[statistic] == pytest.approx(without.stats[statistic], abs=1e-5)


@every_algorithm
def test_the_rewards_of_rejected_groups_do_not_matter(make, name):
    results = []
    for odd in (0.0, 1.0):
        rewards = some_rewards(range(4), 4)
        rewards[1], rewards[3, :2] = odd, odd
        results.append(one_update(make(name), rewards=rewards, admitted=[True, False, True, False]))
    assert same(*results)


def test_a_batch_of_rejected_groups_only_is_passed_over(make):
    learner = make("grpo")
    before = parameters(learner)
    assert same(before, one_update(learner, admitted=[False] * 4))
    assert learner.updates == 1
    assert np.isnan([learner.stats[s] for s in ("kl", "entropy", "policy_loss", "grad_norm")]).all()
    assert not same(before, one_update(learner))


@every_algorithm
def test_the_size_of_micro_batches_does_not_change_the_update(make, name):
    whole = make(name, sgd=0.1, micro_tokens=100_000)
    expected = one_update(whole)
    for tokens in (1, 40):
        small = make(name, sgd=0.1, micro_tokens=tokens)
        close(one_update(small), expected)
        for statistic, value in whole.stats.items():
            if not statistic.startswith("seconds"):
                assert small.stats[statistic] == pytest.approx(value, rel=1e-3, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_gradient_checkpointing_gives_the_same_update(make, tiny, architecture):
    learners = [
        make("ppo", model=tiny(architecture), sgd=0.1, load={"gradient_checkpointing": on}) for on in (False, True)
    ]
    start = parameters(learners[0])
    plain, frugal = (one_update(learner) for learner in learners)
    assert not same(plain, start)
    close(frugal, plain)


def test_in_several_updates_every_sequence_is_used_once(make):
    """One-token completions and hardly a step: two means over halves add up to twice the mean over the whole."""
    moves = []
    for updates in (1, 2, 4):
        learner = make(PLAIN["rloo"], sgd=1e-3, updates=updates, limit=1, grad_clip=1e9)
        start = parameters(learner)
        moves.append([(a - b) / updates for a, b in zip(one_update(learner), start, strict=True)])
    scale = max(float(move.abs().max()) for move in moves[0])
    for move in moves[1:]:
        for a, b in zip(move, moves[0], strict=True):
            torch.testing.assert_close(a, b, atol=0.03 * scale, rtol=0)


@every_algorithm
def test_several_updates_step_as_often_and_are_finite(make, name):
    learner = make(name, updates=3)
    assert all(torch.isfinite(p).all() for p in one_update(learner))
    assert {float(state["step"]) for state in learner.optimiser.state.values()} == {3.0}
    assert all(np.isfinite(learner.stats[s]) for s in ("kl", "policy_loss", "grad_norm", "entropy"))


@every_algorithm
def test_how_often_it_is_evaluated_does_not_change_a_run(make, name):
    one, other = make(name), make(name)
    for _ in range(2):
        one.evaluate()
        one_update(one)
        one_update(other)
    one.evaluate()
    assert same(parameters(one), parameters(other))


# ------------------------------------------------------------------------------------- algorithms and the record


@every_algorithm
def test_only_ppo_has_a_critic_and_kl_starts_at_zero(make, name):
    learner = make(name)
    assert (learner.critic is not None) == (name == "ppo")
    one_update(learner)
    assert learner.stats["kl"] == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(learner.stats["value_loss"]) == (name == "ppo")
    assert 0.5 < learner.stats["entropy"] < np.log(len(learner.policy.tokenizer))
    one_update(learner)
    assert learner.stats["kl"] != 0.0


def test_the_critic_learns_the_reward_and_leaves_the_policy_alone(make):
    """Equal rewards of 1: nothing to reinforce after whitening, but a value to learn."""
    learner = make(ppo.Algorithm("gae", value_clip=10.0), critic_lr=1e-2, lr=1e-9)
    losses = []
    for _ in range(40):
        one_update(learner, rewards=np.ones((4, 4)))
        losses.append(learner.stats["value_loss"])
    assert losses[0] == pytest.approx(0.5)  # V = 0, R = 1
    assert losses[-1] < 0.05


def test_values_are_sampled_in_training_only_where_there_is_a_critic(make):
    for name, expected in (("ppo", True), ("grpo", False)):
        learner = make(name)
        learner.attempt(np.array([0, 1]), 2)
        assert (learner._pending[0].rollouts[0].values is not None) == expected


@every_algorithm
def test_a_model_with_dropout_is_trained_on_the_policy_that_sampled(make, tiny, name):
    """GPT-2 checkpoints come with dropout 0.1: it would add noise to every ratio, from the global generator."""
    folder = tiny("gpt2", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    first, second = (make(name, model=folder) for _ in range(2))
    before = torch.get_rng_state()
    one, other = one_update(first), one_update(second)
    assert first.stats["kl"] == pytest.approx(0.0, abs=1e-6)
    assert same(one, other)
    assert torch.equal(torch.get_rng_state(), before)


RANDOM_CONFIGS = {
    "bloom": {"n_head": 2, "n_layer": 2, "hidden_dropout": 0.3, "attention_dropout": 0.2},
    "opt": {"num_attention_heads": 2, "num_hidden_layers": 2, "ffn_dim": 32, "word_embed_proj_dim": 16, "dropout": 0.3,
            "layerdrop": 0.5, "activation_dropout": 0.2},
    "gpt2": {"resid_pdrop": 0.3, "embd_pdrop": 0.2, "attn_pdrop": 0.2},
}  # fmt: skip


@pytest.mark.parametrize("architecture", RANDOM_CONFIGS)
def test_every_dropout_of_an_architecture_is_off(tiny, architecture):
    """Bloom hands a number of its own to a function; OPT skips layers at random."""
    folder = tiny(architecture, **RANDOM_CONFIGS[architecture])
    policy = models.load(folder)
    policy.model.train()
    ids = torch.arange(6)[None]
    with torch.random.fork_rng():
        passes = [policy.model(input_ids=ids, use_cache=False).logits for _ in range(3)]
    assert torch.equal(passes[0], passes[1])
    assert torch.equal(passes[0], passes[2])
    policy.model.eval()
    torch.testing.assert_close(policy.model(input_ids=ids, use_cache=False).logits, passes[0])


def test_a_model_whose_training_passes_stay_random_is_refused_in_one_line(tiny, monkeypatch):
    folder = tiny("bloom", **RANDOM_CONFIGS["bloom"])
    monkeypatch.setattr(models, "_without_dropout", lambda model: None)
    state = torch.get_rng_state()
    with pytest.raises(InputError, match=r"^model: must give the same logits .*BloomForCausalLM"):
        models.load(folder)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_global_generator_stays_untouched(make):
    before = torch.get_rng_state()
    one_update(make("ppo"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("most", [1, 40, 200])
def test_how_much_is_sampled_at_a_time_changes_no_sample(make, tiny, architecture, most):
    """One completion at a time, parts of a group, and several groups. Tokens and rewards are equal to the bit;
    log-probabilities up to rounding, as matrix products of another shape round differently."""

    def sampled(**settings):
        learner = make("ppo", model=tiny(architecture), limit=6, **settings)
        items = np.arange(len(PROMPTS))
        rewards = [learner.attempt(items, 5), learner.extend(items, 5, np.arange(8) % 6), learner.probe(items, 3)]
        (pending,) = learner._pending
        return pending.rollouts, [*rewards, learner.evaluate()], learner

    whole, part = sampled(), sampled(sample_tokens=most)
    calls = len(list(part[2]._calls(part[2]._prompts, 5)))
    assert calls == {1: 40, 40: 24, 200: 4}[most]
    assert len(list(whole[2]._calls(whole[2]._prompts, 5))) == 1
    for one, other in zip(whole[0], part[0], strict=True):
        assert one.prompts == other.prompts
        for name in ("tokens", "mask", "finished"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        for name in ("logp", "values"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-6)
    for one, other in zip(whole[1], part[1], strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    assert whole[2].tokens == part[2].tokens


def test_evaluation_is_by_stratum_and_the_same_whatever_the_seed(make):
    one, other = make("ppo", seed=0), make("grpo", seed=9)
    success = one.evaluate()
    assert success.shape == (3,)
    assert np.isnan(success[1])  # a stratum without problems
    assert np.array_equal(success, other.evaluate(), equal_nan=True)
    assert np.array_equal(success, one.evaluate(), equal_nan=True)
    everything = make("grpo", score=lambda text, answer: float(answer == "1")).evaluate()
    assert everything[[0, 2]].tolist() == pytest.approx([2 / 3, 2 / 3])


def test_a_seed_has_its_own_luck_and_each_step_too(make):
    one, again, other = make(seed=1), make(seed=1), make(seed=2)
    for learner in (one, again, other):
        for _ in range(2):
            learner.attempt(np.arange(8), 4)
    texts = [[part.rollouts[0].tokens.tolist() for part in learner._pending] for learner in (one, again, other)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert texts[0][0] != texts[0][1]


# ---------------------------------------------------------------------------------------------------- its state


def through_a_file(state, folder):
    run = checkpoint.run_key({"of": "this test"})
    checkpoint.save(folder, 3, state, {}, run)
    return checkpoint.load(folder, run, pytest.fail).state


@pytest.mark.parametrize(("stop", "load"), [(0, {}), (2, {}), (2, {"dtype": "bfloat16"}),
                                            (1, {"dtype": "bfloat16", "lora": 2})])  # fmt: skip
@every_algorithm
def test_a_state_continues_bit_for_bit(make, tmp_path, name, stop, load):
    whole, fresh = make(name, updates=2, seed=5, load=load), make(name, updates=2, seed=5, load=load)
    for _ in range(stop):
        one_update(whole)
    fresh.load_state_dict(through_a_file(whole.state_dict(), tmp_path))
    for learner in (whole, fresh):
        for _ in range(2):
            one_update(learner)
    ends = whole.state_dict(), fresh.state_dict()
    assert ends[0].keys() == ends[1].keys()
    for key, value in ends[0].items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(ends[1][key])), key
    assert np.array_equal(whole.evaluate(), fresh.evaluate(), equal_nan=True)
    del whole.stats["seconds_generate"], whole.stats["seconds_update"]
    assert {key: fresh.stats[key] for key in whole.stats} == pytest.approx(whole.stats, nan_ok=True, abs=0, rel=0)


def test_a_state_continues_bit_for_bit_where_a_batch_or_a_parameter_has_no_gradient(make, tmp_path):
    """A silent batch after the stop, and a parameter that no pass reaches."""
    rewards = [None, np.ones((4, 4)), None]
    whole, fresh = make(PLAIN["grpo"], lr=0.01), make(PLAIN["grpo"], lr=0.01)
    for learner in (whole, fresh):
        learner.model.register_parameter("idle", torch.nn.Parameter(torch.ones(2)))
        learner.optimiser.add_param_group({"params": [learner.model.idle]})
        learner._rates.append(0.01)
    one_update(whole, rewards=rewards[0])
    fresh.load_state_dict(through_a_file(whole.state_dict(), tmp_path))
    for learner in (whole, fresh):
        for scores in rewards[1:]:
            one_update(learner, rewards=scores)
    ends = whole.state_dict(), fresh.state_dict()
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(torch.as_tensor(value), torch.as_tensor(ends[1][key])) for key, value in ends[0].items())
    assert whole.model.idle.tolist() == [1.0, 1.0]


def test_a_state_before_the_optimisers_first_step_has_no_moments_and_a_later_one_all(make):
    """After a batch that gates rejected there is nothing to go on with; after a step, nothing may lack."""
    learner, fresh = make("grpo"), make("grpo")
    fresh.load_state_dict({key: x for key, x in learner.state_dict().items() if key != "steps"})
    one_update(learner, admitted=[False] * 4)
    rejected = learner.state_dict()
    fresh.load_state_dict(rejected)
    one_update(learner)
    one_update(fresh)
    state = fresh.state_dict()
    assert all(torch.equal(torch.as_tensor(state[key]), torch.as_tensor(x)) for key, x in learner.state_dict().items())
    moments = {key for key in state if key.startswith("adam.")}
    none, early = {key: x for key, x in state.items() if key not in moments}, {key: state[key] for key in moments}
    earlier = {key: x for key, x in state.items() if key != "steps"}  # as earlier versions wrote it
    fresh.load_state_dict(earlier)
    assert fresh.steps == 1
    nothing = {key: x for key, x in earlier.items() if key not in moments}
    uncounted = {key: x for key, x in rejected.items() if key != "steps"}
    for odd in (none, nothing, uncounted, rejected | early, state | {"steps": 0}, state | {"steps": 2}):
        with pytest.raises(InputError, match=r"^state\.(adam|steps): must "):
            make("grpo").load_state_dict(odd)


def test_a_state_in_hand_stays_as_it_was(make):
    """Going on with the learner that gave it, or with one that took it, changes neither it nor the other one."""
    learner = make("ppo")
    one_update(learner)
    state = learner.state_dict()
    kept = {key: copy.deepcopy(value) for key, value in state.items()}

    def changed():
        return [key for key in kept if not torch.equal(torch.as_tensor(state[key]), torch.as_tensor(kept[key]))]

    one_update(learner)
    assert changed() == []
    fresh = make("ppo")
    fresh.load_state_dict(state)
    one_update(fresh)
    assert changed() == []


def test_a_state_is_not_given_while_attempts_wait_for_their_update(make):
    learner = make()
    learner.attempt(np.array([0]), 2)
    with pytest.raises(InputError, match=r"^state_dict: must be asked for after learn"):
        learner.state_dict()
    learner.forget()
    learner.state_dict()


def test_a_state_of_another_model_or_algorithm_is_refused(make, tiny):
    learner, wider = make("ppo"), make("ppo", model=tiny("llama", hidden_size=32, prefers="01"))
    with pytest.raises(InputError, match=r"^state\.policy\..*: must have shape \(.*16\), got \(.*32\)$"):
        learner.load_state_dict(wider.state_dict())
    with pytest.raises(InputError, match=r"^state\.policy\..*: must have shape .*, got nothing$"):
        learner.load_state_dict(make("ppo", model=tiny("gpt2")).state_dict())
    with pytest.raises(InputError, match=r"^state\.critic\..*: must have shape .*, got nothing$"):
        learner.load_state_dict(make("grpo").state_dict())


@pytest.mark.parametrize("name", ["critic.", "adam.0.exp_avg", "steps"])
def test_a_state_that_is_refused_changes_nothing(make, name):
    """Whatever the fault, and though the parameters of the policy in it are sound."""
    learner, other = make("ppo"), make("ppo")
    one_update(learner)
    one_update(other)
    one_update(other)
    before, given = learner.state_dict(), other.state_dict()
    damaged = next(key for key in given if key.startswith(name))
    given[damaged] = -1 if name == "steps" else given[damaged] * np.nan
    with pytest.raises(InputError, match=rf"^state\.{damaged}: must be "):
        learner.load_state_dict(given)
    after = learner.state_dict()
    assert all(np.array_equal(after[key], before[key]) for key in before)


# ------------------------------------------------------------------------------------------- faults during a run


def raises(text, answer):
    raise RuntimeError("hostile\ntext")


@pytest.mark.parametrize(
    "scorer",
    [raises, *(lambda text, answer, value=value: value for value in (np.nan, 2.0, -0.5, np.inf, None, "no", [1, 2]))],
    ids=["raises", "nan", "2.0", "-0.5", "inf", "None", "text", "list"],
)
def test_an_answer_that_cannot_be_scored_is_counted_scored_0_and_the_run_goes_on(make, scorer):
    learner = make("ppo", score=lambda text, answer: scorer(text, answer) if text.startswith("1") else 1.0)
    items = np.arange(8)
    rewards = learner.attempt(items, 4)
    text_is_1 = np.array([text[0] == 4 for _, text in completions(make("ppo"), items, 4)]).reshape(8, 4)
    assert 0 < text_is_1.sum() < 32
    assert np.array_equal(rewards, np.where(text_is_1, 0.0, 1.0))
    assert learner.faults == text_is_1.sum()
    learner.learn(items, rewards, np.ones(8, bool))
    assert learner.evaluate()[0] <= 1.0


def test_scores_between_0_and_1_are_taken_as_they_are(make):
    learner = make(score=lambda text, answer: 0.25)
    assert np.array_equal(learner.attempt(np.arange(3), 2), np.full((3, 2), 0.25))
    assert learner.faults == 0


def test_the_scorer_sees_the_text_without_end_mark_and_the_items_own_answer(make):
    seen = []
    learner = make(score=lambda text, answer: bool(seen.append((text, answer))))
    learner.attempt(np.array([3, 1]), 3)
    assert [answer for _, answer in seen] == ["01"] * 3 + ["0"] * 3
    tokenizer = learner.policy.tokenizer
    expected = [tokenizer.decode([t for t in text if t != 1]) for _, text in completions(learner, [3, 1], 3)]
    assert [text for text, _ in seen] == expected
    assert all("<" not in text for text in expected)


@pytest.mark.parametrize("items", [[0, 2, 1], [0, 1], [0, 1, 2, 3], [0, 1, 3]])
def test_items_that_are_not_those_of_the_attempts_are_refused(make, items):
    learner = make()
    learner.attempt(np.array([0, 1, 2]), 2)
    before = parameters(learner)
    with pytest.raises(InputError, match=r"^items: must be those of the attempts"):
        learner.learn(np.array(items), some_rewards(items, 2), np.ones(len(items), bool))
    assert same(before, parameters(learner))


def test_learning_without_an_attempt_is_refused(make):
    with pytest.raises(InputError, match=r"^items: must be those of the attempts"):
        make().learn(np.array([0]), np.ones((1, 2), np.float32), np.ones(1, bool))


@every_algorithm
def test_a_gradient_that_is_not_a_number_leaves_the_parameters_and_shows_in_the_record(make, name):
    learner = make(name)
    one_update(learner)
    before, moments = parameters(learner), copy.deepcopy(learner.optimiser.state_dict()["state"])
    rewards = some_rewards(range(4), 4)
    rewards[0, 0] = np.nan
    assert same(before, one_update(learner, rewards=rewards))
    assert not np.isfinite(learner.stats["grad_norm"])
    for index, state in learner.optimiser.state_dict()["state"].items():
        assert all(torch.equal(state[key], moments[index][key]) for key in state)
    assert not same(before, one_update(learner))
    assert np.isfinite(learner.stats["grad_norm"])


# ------------------------------------------------------------------------------------------------------- adapters


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
@every_algorithm
def test_with_adapters_only_they_are_trained_and_the_reference_is_the_model_without(make, tiny, architecture, name):
    learner = make(name, model=tiny(architecture), load={"lora": 2})
    assert learner.reference is None
    assert all("lora_" in key for key, _ in learner.policy.named_trainable())
    frozen = {key: p.detach().clone() for key, p in learner.model.named_parameters() if not p.requires_grad}
    before = parameters(learner)
    after = one_update(learner)
    assert learner.stats["kl"] == pytest.approx(0.0, abs=1e-6)
    assert not same(before, after)
    one_update(learner)
    assert learner.stats["kl"] != 0.0
    assert all(torch.equal(p, frozen[key]) for key, p in learner.model.named_parameters() if key in frozen)


def test_a_checkpoint_of_adapters_is_small_and_continues(make, tmp_path):
    learner, fresh = make("grpo", load={"lora": 1}), make("grpo", load={"lora": 1})
    one_update(learner)
    state = through_a_file(learner.state_dict(), tmp_path / "lora")
    through_a_file(make("grpo").state_dict(), tmp_path / "all")
    assert all("lora_" in key for key in state if key.startswith("policy."))
    adapters = sum(value.nbytes for key, value in state.items() if key.startswith("policy."))
    assert adapters < 0.25 * sum(p.nbytes for p in learner.model.parameters())
    fresh.load_state_dict(state)
    assert same(one_update(learner), one_update(fresh))


def test_adapters_start_the_same_whatever_was_drawn_before(tiny):
    """Or a resumed run would not be the one that was stopped, and its checkpoint would be refused."""
    before = torch.get_rng_state()
    one, other = (models.load(tiny("llama"), lora=2) for _ in range(2))
    assert same(one.trainable, other.trainable)
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------------------------------------- any tokenizer


@pytest.fixture
def variant(tiny, tmp_path):
    """variant(change): a copy of the tiny checkpoint after change(folder), or with a tokenizer so changed."""

    def make(change=None, tokenizer=None, architecture="llama"):
        folder = tmp_path / "variant"
        shutil.copytree(tiny(architecture, prefers="01") if architecture == "llama" else tiny(architecture), folder)
        if tokenizer:
            changed = models.character_tokenizer()
            tokenizer(changed)
            changed.save_pretrained(folder)
        if change:
            change(folder)
        return folder

    return make


TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
)


def test_a_prompt_is_the_users_turn_where_the_tokenizer_has_a_chat_template(variant, make):
    folder = variant(tokenizer=lambda t: setattr(t, "chat_template", TEMPLATE))
    policy = models.load(folder)
    assert policy.tokenizer.decode(policy.encode(["rev 12="], 4)[0]) == "[user]rev 12=[a]"
    learner = make("ppo", model=folder)
    one_update(learner)
    assert np.isfinite(learner.stats["grad_norm"])


def test_without_a_chat_template_a_prompt_is_the_plain_text(tiny):
    policy = models.load(tiny("llama"))
    assert policy.tokenizer.decode(policy.encode(["rev 12="], 4)[0]) == "rev 12="


@every_algorithm
def test_a_tokenizer_without_pad_token_gives_the_same_run(variant, make, name):
    def no_pad(tokenizer):
        tokenizer.pad_token = None

    learner, usual = make(name, model=variant(tokenizer=no_pad)), make(name)
    assert learner.policy.pad == learner.policy.tokenizer.eos_token_id == 1
    assert usual.policy.pad == 0
    for _ in range(2):
        close(one_update(learner), one_update(usual), atol=1e-5)


def refused(folder, **options):
    """The one line with which loading is refused."""
    with pytest.raises(InputError) as caught:
        models.load(folder, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 500
    assert line.startswith("model: must ")
    assert str(folder) in line
    return line


def test_a_tokenizer_without_end_of_sequence_token_is_refused(variant):
    def no_end(tokenizer):
        tokenizer.eos_token = None

    assert "end-of-sequence" in refused(variant(tokenizer=no_end))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(variant):
    refused(variant(tokenizer=lambda t: t.add_tokens([f"<extra {i}>" for i in range(40)])))


@pytest.mark.parametrize("where", ["pool", "heldout"])
def test_a_prompt_longer_than_the_context_is_refused_in_one_line(make, problems, tiny, where):
    long = "rev " + "1" * 41 + "="  # 46 tokens and 4 of a completion in a context of 48
    fits = "rev " + "1" * 39 + "="
    policy = models.load(tiny("llama"))
    for text in (fits, long):
        pool = wb.Pool([1.0], payload={"prompt": [text if where == "pool" else "1="], "answer": ["1"]})
        heldout = HeldOut([text if where == "heldout" else "1="], ["1"], np.array([0]))
        arguments = (policy, pool, exact, heldout, ppo.ALGORITHMS["grpo"], Settings(limit=4))
        if text == fits:
            learner = PPOLearner(*arguments)
            learner.attempt(np.array([0]), 2)
        else:
            with pytest.raises(InputError, match=r"^prompt: must have at most 44 tokens, .* got 46: 'rev 1+'$"):
                PPOLearner(*arguments)


@pytest.mark.parametrize("more", [{"lora": 2}, {"gradient_checkpointing": True}])
def test_loading_a_model_warns_of_nothing_that_its_user_could_change(tiny, more):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a filter of this file hides what transformers says of peft
        models.load(tiny("llama"), **more)


def test_an_empty_prompt_is_refused(tiny):
    with pytest.raises(InputError, match=r"^prompt: must have at least one token, got ''$"):
        models.load(tiny("llama")).encode(["1=", ""], 4)


@pytest.mark.parametrize("column", ["prompt", "answer"])
def test_a_pool_without_prompts_or_answers_is_refused(tiny, column):
    payload = {"prompt": ["1="], "answer": ["1"]}
    del payload[column]
    pool = wb.Pool([1.0], payload=payload)
    with pytest.raises(InputError, match=r"^pool: must have the payload columns prompt and answer, got \w+$"):
        PPOLearner(models.load(tiny("llama")), pool, exact, HELDOUT, ppo.ALGORITHMS["grpo"], Settings(limit=4))


@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("column", ["prompt", "answer"])
def test_a_pool_in_which_a_prompt_or_an_answer_is_missing_is_refused(tiny, column, missing):
    payload = {"prompt": ["1=", "2="], "answer": ["1", "2"]}
    payload[column][1] = missing
    pool = wb.Pool([1.0, 2.0], payload=payload)
    with pytest.raises(InputError, match=column):
        PPOLearner(models.load(tiny("llama")), pool, exact, HELDOUT, ppo.ALGORITHMS["grpo"], Settings(limit=4))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("limit", 0), ("updates", 0), ("micro_tokens", 1.5), ("temperature", 0), ("lr", 0), ("lr", np.nan),
     ("critic_lr", -1), ("grad_clip", 0), ("warm_up", -1)],
)  # fmt: skip
def test_a_setting_out_of_its_domain_is_refused(setting, value):
    with pytest.raises(InputError, match=rf"^{setting}: must be "):
        Settings(**{setting: value})


# ----------------------------------------------------------------------------------------------- model folders


def without(name):
    return lambda folder: (folder / name).unlink()


def cut_short(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-500])


def not_json(folder):
    (folder / "config.json").write_text("{")


def a_tensor_short(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    "change",
    [without("config.json"), without("model.safetensors"), without("tokenizer.json"), cut_short, not_json,
     a_tensor_short],
    ids=["config", "weights", "tokenizer", "weights-cut-short", "config-not-json", "a-tensor-short"],
)  # fmt: skip
def test_an_incomplete_model_folder_is_refused_in_one_line(variant, change):
    refused(variant(change))


def test_a_missing_model_folder_is_refused_in_one_line(tmp_path):
    assert "folder that exists" in refused(tmp_path / "nowhere")


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_only_safetensors_are_read_and_pickled_code_never_runs(variant, tmp_path):
    def only_a_pickle(folder):
        (folder / "model.safetensors").unlink()
        with open(folder / "pytorch_model.bin", "wb") as file:
            pickle.dump({"model.norm.weight": Trap(tmp_path / "sprung")}, file)

    refused(variant(only_a_pickle))
    assert not (tmp_path / "sprung").exists()


def test_a_sound_pickle_of_weights_is_refused_too(variant):
    def as_pickle(folder):
        from safetensors.torch import load_file

        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()

    refused(variant(as_pickle))


def test_code_in_a_model_folder_never_runs_whatever_is_answered(variant, tmp_path, monkeypatch):
    def own_code(folder):
        config = json.loads((folder / "config.json").read_text())
        config["model_type"] = "sprung"
        config["auto_map"] = {"AutoConfig": "code.Sprung", "AutoModelForCausalLM": "code.SprungModel"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "code.py").write_text(
            f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n"
            "from transformers import LlamaConfig, LlamaForCausalLM\n"
            "class Sprung(LlamaConfig):\n    model_type = 'sprung'\n"
            "class SprungModel(LlamaForCausalLM):\n    config_class = Sprung\n"
        )

    asked = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = variant(own_code)
    try:
        refused(folder)
    finally:
        assert not (tmp_path / "sprung").exists()
        assert not asked


def test_a_checkpoint_that_is_a_pickle_is_named_and_not_opened(tmp_path):
    import hashlib

    data = pickle.dumps(Trap(tmp_path / "sprung"))
    run = checkpoint.run_key({"of": "this test"})
    name = f"step-000001-{run}-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"
    (tmp_path / name).write_bytes(data)
    lines = []
    assert checkpoint.load(tmp_path, run, lines.append) is None
    assert checkpoint.notes_of(tmp_path / name) is None
    assert name in lines[0]
    assert "\n" not in lines[0]
    assert not (tmp_path / "sprung").exists()
