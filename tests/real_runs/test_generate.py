"""Sampling: what it says of its tokens is what training finds, and a completion depends on its own luck alone."""

import copy
import functools

import numpy as np
import pytest
import torch
from conftest import make_checkpoint
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from real_runs.rl import cache, models
from real_runs.rl import generate as sampling
from real_runs.rl.generate import forward, generate
from real_runs.rl.learner import Critic
from workbench.errors import InputError
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

    @functools.cache
    def load(architecture="llama", **options):
        loaded = models.load(tiny(architecture, **options))
        loaded.model.eval()
        return loaded

    return load


def luck(rows, limit, seed=0):
    return torch.from_numpy(uniforms(seed, Role.ROLLOUT, 0, rows * limit)).view(rows, limit)


def sample(
    policy, prompts, group=4, limit=12, u=None, ends=(EOS,), temperature=1.0, critic=None, pad=PAD, decode="auto",
    dtype="float32", stop=None,
):  # fmt: skip
    u = luck(len(prompts) * group, limit) if u is None else u
    return generate(policy.model, prompts, group, limit, u, ends, pad, temperature, critic, decode, dtype, stop)


def prompts_of(policy):
    return policy.encode(TEXTS, 12)


def a_critic(policy):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        critic = Critic(policy.width())
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
def test_a_common_start_that_is_read_once_changes_no_token(policy, architecture):
    policy, critic = policy(architecture), a_critic(policy(architecture))
    prompts = [[9, 8, 7, 6, 5, *prompt] for prompt in prompts_of(policy)]
    limit, read = 12, []
    hook = policy.model.register_forward_pre_hook(
        lambda _module, _args, given: read.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    u = luck(len(prompts) * 3, limit)
    about = policy.model, prompts, 3, limit, u, ENDS, PAD, 1.0, critic, "auto", "float32", None
    saves = 5 * (len(prompts) - 1)
    saved = generate(*about, worth=saves)
    hook.remove()
    assert read[0] == (1, 5)
    assert read[1][0] == len(prompts)
    for other in (generate(*about), generate(*about, worth=saves + 1)):
        assert torch.equal(saved.tokens, other.tokens)
        assert torch.equal(saved.mask, other.mask)
        torch.testing.assert_close(saved.logp, other.logp, atol=1e-4, rtol=0)
        torch.testing.assert_close(saved.values, other.values, atol=1e-4, rtol=0)


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


# ------------------------------------------------------------------------------------------- how the decode is done


def models_calls(policy, monkeypatch):
    """Shapes of the model's inputs, call by call."""
    calls, whole = [], policy.model.forward

    def noted(*args, **inputs):
        calls.append((tuple(inputs["input_ids"].shape), tuple(inputs["attention_mask"].shape)))
        return whole(*args, **inputs)

    monkeypatch.setattr(policy.model, "forward", noted)
    return calls


def long(policy, decode, critic=None, **options):
    """40 completions of up to 24 tokens, longer than the first buffers of the cache."""
    return sample(policy, prompts_of(policy), group=8, limit=24, ends=ENDS, critic=critic, decode=decode, **options)


@pytest.fixture
def small_steps(monkeypatch):
    """Buffers that fill up soon, and a decode of fixed shapes that looks often: everything happens in 24 tokens.
    Memory that nobody has written yet holds no numbers."""
    monkeypatch.setattr(cache, "FIRST", 4)
    monkeypatch.setattr(sampling, "CHECK_EVERY", 3)
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *size: self.new_full(size, float("nan")))


class Tape(TorchDispatchMode):
    """What a CUDA graph does, on the processor: note every operator with the memory that it reads and writes, then
    run them again on that memory, without any Python of the step."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.notes.append((func, args, kwargs or {}, out))
        return out

    def replay(self):
        for func, args, kwargs, out in self.notes:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def taped(step):
    """Stands in for the capture: a step for real, a step on tape that leaves no trace, and the replay."""
    step()
    state = step.__self__
    buffers = [x for layer in state.cache.layers for x in (layer.keys, layer.values)]
    buffers += [x for x in (*vars(state).values(), *vars(state.cache).values()) if isinstance(x, torch.Tensor)]
    before = [x.clone() for x in buffers]
    with Tape() as tape:
        step()
    for x, old in zip(buffers, before, strict=True):
        x.copy_(old)
    replays.append(tape)
    return tape.replay


replays = []


@pytest.mark.usefixtures("small_steps")
@every_architecture
@pytest.mark.parametrize("capture", [False, True])
def test_steps_of_fixed_shapes_give_the_same_completions(policy, monkeypatch, architecture, capture):
    """Uncaptured, and replayed operator by operator without the step's Python, as a graph would be."""
    policy = policy(architecture)
    critic = a_critic(policy)
    eager = long(policy, "eager", critic)
    assert int(eager.lengths.max()) > 12
    if capture:
        replays.clear()
        monkeypatch.setattr(sampling, "_can_capture", lambda device: True)
        monkeypatch.setattr(sampling, "_run_and_capture", taped)
    calls = models_calls(policy, monkeypatch)
    graph = long(policy, "graph", critic)
    shapes = set(calls[1:])
    assert 3 <= len(shapes) <= 8  # fewer rows when half have ended, more columns when all are filled
    if capture:
        assert len(replays) >= 2
        assert len(calls) - 1 < int(graph.lengths.max()) - 1 + len(replays)  # some steps were replayed
    assert torch.equal(graph.tokens, eager.tokens)
    assert torch.equal(graph.mask, eager.mask)
    assert torch.equal(graph.finished, eager.finished)
    torch.testing.assert_close(graph.logp, eager.logp, atol=1e-5, rtol=0)
    torch.testing.assert_close(graph.values, eager.values, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("small_steps")
@every_architecture
def test_an_eager_decode_computes_no_token_of_what_has_ended(policy, monkeypatch, architecture):
    policy = policy(architecture)
    calls = models_calls(policy, monkeypatch)
    rollouts = long(policy, "eager")
    assert calls[0][0] == (5, max(len(prompt) for prompt in rollouts.prompts))  # each prompt is read once
    assert sum(rows for (rows, _), _ in calls[1:]) == int((rollouts.lengths - 1).sum())
    assert {width for (_, width), _ in calls[1:]} == {1}


@pytest.mark.usefixtures("small_steps")
def test_a_token_copies_nothing_of_the_cache(policy):
    """Its buffers stay where they are until they are full, whoever ends."""
    policy = policy()
    state = sampling._Decode(
        policy.model, prompts_of(policy), 8, 24, luck(40, 24), ENDS, PAD, 1.0, None, fixed=False
    )  # fmt: skip
    places, sizes = set(), set()
    with torch.no_grad():
        for _ in range(23):
            assert state.drop_finished()
            state.cache.open_column()
            state.step()
            places.add(state.cache.layers[0].keys.data_ptr())
            sizes.add(state.cache.capacity)
            if len(state.rows) < 10:
                break
    assert len(state.rows) < 10
    assert len(places) == len(sizes) <= 3


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("decode", ["eager", "graph"])
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("mistral", {"sliding_window": 5, "head_dim": 8}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    ],
)
def test_a_sliding_window_is_kept_to(policy, architecture, options, decode):
    policy = policy(architecture, **options)
    rollouts = long(policy, decode)
    assert int(rollouts.lengths.max()) > 12
    assert_as_in_training(policy, rollouts)


def assert_as_in_training(policy, rollouts, atol=1e-4):
    with torch.no_grad():
        logits, tokens, _ = forward(policy.model, rollouts, torch.arange(len(rollouts)), PAD)
    logp = torch.log_softmax(logits.float(), -1).gather(-1, tokens[..., None])[..., 0]
    mask = rollouts.mask > 0
    torch.testing.assert_close(logp[mask], rollouts.logp[mask], atol=atol, rtol=0)


def test_a_model_with_recurrent_layers_keeps_transformers_own_cache(tmp_path):
    """Convolutions over the last tokens: their state is neither keys nor values."""
    options = {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
    policy = models.load(make_checkpoint(tmp_path, "lfm2", **options))
    rollouts = long(policy, "eager")
    assert_as_in_training(policy, rollouts)
    assert torch.equal(rollouts.tokens, long(policy, "auto").tokens)
    with pytest.raises(InputError, match="decoding: must be eager for a model that keeps more than keys and values"):
        long(policy, "graph")


def test_a_step_that_looks_at_a_value_cannot_be_captured(tmp_path):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    policy = models.load(make_checkpoint(tmp_path, rope_parameters=rope))
    assert long(policy, "eager").finished.any()
    with pytest.raises(InputError, match=r"decoding: must be eager for a model whose step has aten\._local_scalar"):
        long(policy, "graph")


@pytest.mark.parametrize("decode", ["eager", "graph"])
def test_in_bfloat16_log_probabilities_are_those_of_training_to_its_precision(policy, decode):
    """As on a GPU: float32 parameters, bfloat16 arithmetic; keys and values are kept in bfloat16."""
    policy = policy()
    rollouts = long(policy, decode, a_critic(policy), dtype="bfloat16")
    assert rollouts.logp.dtype == rollouts.values.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert_as_in_training(policy, rollouts, atol=0.1)
    with pytest.raises(AssertionError):
        assert_as_in_training(policy, rollouts, atol=1e-4)


def test_an_unknown_decode_is_refused(policy):
    with pytest.raises(InputError, match="decoding: must be one of auto, eager, graph, got 'fast'"):
        long(policy(), "fast")
