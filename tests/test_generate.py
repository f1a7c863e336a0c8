"""Sampling: what it says of its tokens is what training finds, and a completion depends on its own luck alone."""

import copy
from functools import cache

import numpy as np
import pytest
import torch

from real_runs import models
from real_runs.generate import forward, generate
from real_runs.learner import Critic
from workbench.streams import Role, uniforms

pytestmark = pytest.mark.usefixtures("one_thread")

ARCHITECTURES = ("llama", "qwen2", "gpt_neox", "gpt2")
EOS, PAD = 1, 0
ENDS = (EOS, *range(60, 75))  # for these models, about one token in six ends a completion
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
TEXTS = ("rev 1=", "7=", "rev 123456=", "copy a=", "3+4+5+6=")


@pytest.fixture(scope="module")
def policy(tiny):
    """policy(architecture): a model in evaluation mode, the same one for all tests."""

    @cache
    def load(architecture="llama", **options):
        loaded = models.load(tiny(architecture, **options))
        loaded.model.eval()
        return loaded

    return load


def luck(rows, limit, seed=0):
    return torch.from_numpy(uniforms(seed, Role.ROLLOUT, 0, rows * limit)).view(rows, limit)


def sample(policy, prompts, group=4, limit=12, u=None, ends=(EOS,), temperature=1.0, critic=None, pad=PAD):
    u = luck(len(prompts) * group, limit) if u is None else u
    return generate(policy.model, prompts, group, limit, u, ends, pad, temperature, critic)


def prompts_of(policy):
    return policy.encode(TEXTS, 12)


def a_critic(policy):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        critic = Critic(policy.width)
        torch.nn.init.normal_(critic.outer.weight)
    return critic


def plain_logits(model, ids):
    """Next-token logits after `ids`, without cache, padding or company."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1]


def text_of(rollouts, row):
    """Tokens of a row that count."""
    return rollouts.tokens[row][rollouts.mask[row] > 0].tolist()


# ------------------------------------------------------------------------------------ sampling and training agree


@every_architecture
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_and_values_of_sampling_are_those_of_the_training_layout(policy, architecture, temperature):
    policy = policy(architecture)
    critic = a_critic(policy)
    rollouts = sample(policy, prompts_of(policy), temperature=temperature, critic=critic, ends=ENDS)
    assert len({len(prompt) for prompt in rollouts.prompts}) == 5
    assert len(set(rollouts.lengths.tolist())) > 2
    for rows in (torch.arange(len(rollouts)), torch.tensor([6]), torch.tensor([19, 2, 7])):
        with torch.no_grad():
            logits, tokens, hidden = forward(policy.model, rollouts, rows, PAD, hidden=True)
            values = critic(hidden)
        used = int(rollouts.lengths[rows].max())
        mask = rollouts.mask[rows, :used] > 0
        logp = torch.log_softmax(logits / temperature, -1).gather(-1, tokens[..., None])[..., 0]
        assert torch.equal(tokens, rollouts.tokens[rows, :used])
        torch.testing.assert_close(logp[mask], rollouts.logp[rows, :used][mask], atol=1e-4, rtol=0)
        torch.testing.assert_close(values[mask], rollouts.values[rows, :used][mask], atol=1e-4, rtol=0)
    assert rollouts.values[rollouts.mask > 0].std() > 0.1


@every_architecture
def test_log_probabilities_are_those_of_the_bare_model_token_by_token(policy, architecture):
    """No padding and no cache: what the model says of prompt and completion by themselves."""
    policy = policy(architecture)
    rollouts = sample(policy, prompts_of(policy), group=1)
    for row, prompt in enumerate(rollouts.prompts):
        ids = list(prompt)
        for t, token in enumerate(text_of(rollouts, row)):
            expected = torch.log_softmax(plain_logits(policy.model, ids), -1)[token]
            assert float(rollouts.logp[row, t]) == pytest.approx(float(expected), abs=1e-4)
            ids.append(token)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_which_token_pads_is_of_no_account(policy, architecture):
    policy = policy(architecture)
    one, other = (sample(policy, prompts_of(policy), pad=pad) for pad in (PAD, 40))
    assert [text_of(one, row) for row in range(20)] == [text_of(other, row) for row in range(20)]
    rows = torch.arange(20)
    with torch.no_grad():
        logits = [forward(policy.model, r, rows, pad)[0] for r, pad in ((one, PAD), (other, 40))]
    mask = one.mask > 0
    torch.testing.assert_close(logits[0][mask], logits[1][mask], atol=1e-5, rtol=0)


def test_without_a_critic_there_are_no_values(policy):
    assert sample(policy(), [[5, 6]]).values is None


# --------------------------------------------------------------------------------------------- luck of its own


@every_architecture
def test_a_completion_does_not_depend_on_its_company(policy, architecture):
    policy = policy(architecture)
    prompts, u = prompts_of(policy), luck(20, 12)
    together = sample(policy, prompts, u=u)
    for b, prompt in enumerate(prompts):
        alone = sample(policy, [prompt], u=u[4 * b : 4 * b + 4])
        for g in range(4):
            assert text_of(alone, g) == text_of(together, 4 * b + g)
    single = sample(policy, [prompts[2]], group=1, u=u[9:10])
    assert text_of(single, 0) == text_of(together, 9)


def test_batches_in_chunks_or_in_another_order_give_the_same_completions(policy):
    policy = policy()
    prompts, u = prompts_of(policy), luck(20, 12)
    whole = sample(policy, prompts, u=u)
    first, second = sample(policy, prompts[:2], u=u[:8]), sample(policy, prompts[2:], u=u[8:])
    backwards = sample(policy, prompts[::-1], u=u.view(5, 4, 12).flip(0).reshape(20, 12))
    for row in range(20):
        text = text_of(whole, row)
        assert text == (text_of(first, row) if row < 8 else text_of(second, row - 8))
        assert text == text_of(backwards, 4 * (4 - row // 4) + row % 4)


def test_a_groups_completions_lie_side_by_side_and_differ(policy):
    policy = policy()
    prompts = prompts_of(policy)
    rollouts = sample(policy, prompts)
    assert rollouts.prompts == [prompt for prompt in prompts for _ in range(4)]
    assert len({tuple(text_of(rollouts, row)) for row in range(20)}) > 15


# --------------------------------------------------------------------------------------- the inverse transform


def distribution(policy, prompt, temperature=1.0):
    return torch.softmax(plain_logits(policy.model, prompt).double() / temperature, -1).numpy()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_a_token_is_the_first_whose_cumulative_probability_exceeds_its_luck(policy, temperature):
    policy = policy()
    prompt, u = prompts_of(policy)[0], luck(500, 1)
    rollouts = sample(policy, [prompt], group=500, limit=1, u=u, temperature=temperature)
    cumulative = np.cumsum(distribution(policy, prompt, temperature))
    expected = np.searchsorted(cumulative, u[:, 0].double().numpy(), side="right")
    distance = np.abs(cumulative[:, None] - u[:, 0].double().numpy()).min(0)
    clear = distance > 1e-6  # luck that no rounding carries over a step
    assert clear.mean() > 0.99
    assert np.array_equal(rollouts.tokens[clear, 0].numpy(), expected[clear])


def test_evenly_spread_luck_gives_the_models_own_frequencies(policy):
    policy = policy()
    prompt, count = prompts_of(policy)[1], 4000
    u = ((torch.arange(count) + 0.5) / count)[:, None]
    rollouts = sample(policy, [prompt], group=count, limit=1, u=u)
    seen = np.bincount(rollouts.tokens[:, 0].numpy(), minlength=len(policy.tokenizer))
    assert np.abs(seen - count * distribution(policy, prompt)).max() <= 1.01


@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-24])
def test_the_ends_of_the_unit_interval_give_tokens_that_can_occur(policy, extreme):
    policy = copy.deepcopy(policy())
    prompt = prompts_of(policy)[0]
    never = [0, 1, 2, -2, -1]  # at both ends of the vocabulary
    with torch.no_grad():
        last = policy.model(torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][0, -1]
        policy.model.get_output_embeddings().weight[never] = -1e4 * last
    allowed = distribution(policy, prompt) > 0
    assert not allowed[never].any()
    rollouts = sample(policy, [prompt], group=1, limit=1, u=torch.full((1, 1), extreme))
    assert allowed[int(rollouts.tokens[0, 0])]


@every_architecture
def test_temperature_zero_takes_the_likeliest_token_every_time(policy, architecture):
    policy = policy(architecture)
    prompts = prompts_of(policy)
    rollouts = sample(policy, prompts, group=2, temperature=0)
    for row, prompt in enumerate(rollouts.prompts):
        ids = list(prompt)
        for token in text_of(rollouts, row):
            assert token == int(plain_logits(policy.model, ids).argmax())
            ids.append(token)
        assert text_of(rollouts, row) == text_of(rollouts, row - row % 2)


# ----------------------------------------------------------------------------------------- where a completion ends


@pytest.mark.parametrize(
    ("architecture", "limit"), [("llama", 1), ("llama", 3), *((name, 12) for name in ARCHITECTURES)]
)
def test_the_mask_ends_with_the_end_token_or_the_limit_and_nothing_follows(policy, architecture, limit):
    policy = policy(architecture)
    rollouts = sample(policy, prompts_of(policy), group=8, limit=limit, ends=ENDS)
    assert rollouts.tokens.shape == rollouts.mask.shape == rollouts.logp.shape
    assert rollouts.tokens.shape[1] == int(rollouts.lengths.max()) <= limit
    for row in range(len(rollouts)):
        length, tokens = int(rollouts.lengths[row]), rollouts.tokens[row].tolist()
        assert length >= 1
        assert rollouts.mask[row].tolist() == [1.0] * length + [0.0] * (len(tokens) - length)
        assert not any(token in ENDS for token in tokens[: length - 1])
        assert bool(rollouts.finished[row]) == (tokens[length - 1] in ENDS)
        assert bool(rollouts.finished[row]) or length == limit
        assert tokens[length:] == [PAD] * (len(tokens) - length)
        assert not rollouts.logp[row, length:].any()
    if limit == 12:
        assert 0 < int((~rollouts.finished).sum()) < len(rollouts)


def test_an_end_at_the_limit_is_an_end(policy):
    policy = policy()
    ids = prompts_of(policy)[0]
    free = sample(policy, [ids], group=1, limit=3, ends=(-1,))
    last = int(free.tokens[0, 2])
    assert last not in free.tokens[0, :2].tolist()
    cut = sample(policy, [ids], group=1, limit=3, ends=(last,), u=luck(1, 3))
    assert cut.finished.tolist() == [True]
    assert int(cut.lengths[0]) == 3


def test_a_batch_that_is_finished_stops_before_the_limit(policy):
    policy = policy()
    everything = range(len(policy.tokenizer))
    rollouts = sample(policy, prompts_of(policy), ends=everything)
    assert rollouts.tokens.shape == (20, 1)
    assert rollouts.finished.all()


@every_architecture
def test_dropping_finished_sequences_changes_nothing_in_the_others(policy, architecture):
    policy = policy(architecture)
    critic = a_critic(policy)
    dropped = sample(policy, prompts_of(policy), group=8, ends=ENDS, critic=critic)
    whole = sample(policy, prompts_of(policy), group=8, ends=(-1,), critic=critic)  # nothing ends, nothing is dropped
    assert int(dropped.finished.sum()) > 10
    assert whole.mask.all()
    used = dropped.tokens.shape[1]
    mask = dropped.mask > 0
    assert torch.equal(dropped.tokens[mask], whole.tokens[:, :used][mask])
    torch.testing.assert_close(dropped.logp[mask], whole.logp[:, :used][mask], atol=1e-5, rtol=0)
    torch.testing.assert_close(dropped.values[mask], whole.values[:, :used][mask], atol=1e-5, rtol=0)


def test_sampling_leaves_the_global_generators_and_the_model_alone(policy):
    policy = policy("gpt2", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    before, weights = torch.get_rng_state(), [p.clone() for p in policy.model.parameters()]
    sample(policy, prompts_of(policy))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(policy.model.parameters(), weights, strict=True))
    assert not any(p.requires_grad and p.grad is not None for p in policy.model.parameters())
