"""Training passes: prompts read once, groups skipped and logits in pieces leave the gradient as it is.

The reference is the plain pass: each completion behind a prompt of its own, all logits, one loss in a few lines.
"""

import copy
import dataclasses
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import make_checkpoint
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import workbench as wb
from real_runs.rl import memory, models, passes, ppo
from real_runs.rl.generate import Rollouts, forward
from real_runs.rl.learner import HeldOut, PPOLearner, Settings
from workbench.errors import InputError
from workbench.streams import Role, generator

# transformers 5.23 has renamed what peft and transformers 5.0 call gradient checkpointing
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]

PROMPTS = ["7=", "rev 12=", "7=", "copy a=", "3+4=", "rev 12345=", "b=", "next xy="]  # one of them twice
ENDS = [1, *range(60, 75)]  # for random models, about one token in six ends a completion
PAD = 0
LABELS, ANSWERS = np.linspace(0, 100, len(PROMPTS)), ["1"] * len(PROMPTS)
POOL = wb.Pool(LABELS, payload={"prompt": PROMPTS, "answer": ANSWERS})
LONG = wb.Pool(LABELS, payload={"prompt": ["copy abc=abc\n" + prompt for prompt in PROMPTS], "answer": ANSWERS})
BARE = {"kl_in": "none", "kl_coef": 0.0, "entropy_coef": 0.0}
CLOSE = 1e-5  # of the gradient's norm, in float32


@pytest.fixture(scope="module")
def loaded(tiny):
    """loaded(architecture, ...): a policy of its own each time."""
    found = {}

    def fresh(architecture="llama", folder=None, **options):
        key = (architecture, folder, *sorted(options.items()))
        if key not in found:
            found[key] = models.load(folder or tiny(architecture), **options)
        policy = copy.deepcopy(found[key])
        policy.ends = ENDS
        return policy

    return fresh


def learner_of(policy, algorithm, seed=0, noise=0.1, pool=POOL, **options):
    """With a policy that has left its reference, a critic that says something, and a gradient that is not clipped."""
    options = {"limit": 6, "warm_up": 0, "grad_clip": 1e9} | options
    heldout = HeldOut(["7="], ["1"], np.zeros(1, np.int64))
    made = PPOLearner(policy, pool, lambda text, answer: 0.0, heldout, algorithm, Settings(**options), seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in policy.trainable:
            p.add_(noise * torch.randn(p.shape, generator=draw))
        if made.critic is not None:
            made.critic.outer.weight.normal_(generator=draw)
    return made


def steps_of(learner):
    """What each optimiser step finds: copies of the model and the critic, and their gradient."""
    found = []

    def note(*_):
        model, critic = learner.model, learner.critic
        found.append((copy.deepcopy(model), copy.deepcopy(critic), gradient(model, critic)))

    learner.optimiser.register_step_pre_hook(note)
    return found


def gradient(*modules):
    """Of all trainable parameters, end to end."""
    parameters = [p for module in modules if module is not None for p in module.parameters() if p.requires_grad]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]).clone()


def assert_close(one, other, scale=None):
    scale = other.norm() if scale is None else scale
    assert float((one - other).norm()) <= CLOSE * float(scale) + 1e-7


# ------------------------------------------------------------------------------------------------- the plain pass


def plain_logp(model, rollouts, rows, temperature):
    """(n, T') log-probabilities of tokens, those of all tokens, and last hidden states."""
    logits, tokens, hidden = forward(model, rollouts, rows, PAD, hidden=True)
    every = torch.log_softmax(logits.float() / temperature, -1)
    return every.gather(-1, tokens[..., None])[..., 0], every, hidden


def plain_advantages(a, rollouts, scores, sizes, logp_ref):
    """(N, T) advantages and returns, group by group and token by token, from the equations in `ppo`."""
    mask, d = rollouts.mask, logp_ref - rollouts.logp
    penalty = {"k1": -d, "k2": d**2 / 2, "k3": d.exp() - 1 - d}[a.kl_kind] * mask * a.kl_coef * (a.kl_in == "reward")
    advantages, returns = torch.zeros_like(mask), torch.zeros_like(mask)
    if a.advantage in ("grpo", "rloo"):
        for r, out in zip((scores - penalty.sum(1)).split(sizes), advantages.split(sizes), strict=True):
            if len(r) > 1 and a.advantage == "grpo":
                out += ((r - r.mean()) / (r.std(correction=0) + 1e-6))[:, None]
            elif len(r) > 1:
                out += (r - (r.sum() - r) / (len(r) - 1))[:, None]
        return advantages * mask, None
    lam, values = (1.0, torch.zeros_like(mask)) if a.advantage == "reinforce++" else (a.lam, rollouts.values)
    for i, length in enumerate(rollouts.lengths.tolist()):
        later = 0.0
        for t in reversed(range(length)):
            last = t == length - 1
            reward = scores[i] * last - penalty[i, t]
            delta = reward + (0.0 if last else a.gamma * values[i, t + 1]) - values[i, t]
            advantages[i, t] = later = delta + a.gamma * lam * later
            returns[i, t] = later + values[i, t]
    if a.whiten or a.advantage == "reinforce++":
        there = advantages[mask > 0]
        advantages = (advantages - there.mean()) / (there.var(correction=0) + 1e-8).sqrt() * mask
    return advantages, returns


def plain_gradient(model, critic, a, temperature, rollouts, rows, advantages, returns, logp_ref):
    """Of the loss of some rows, by one pass and one backward pass; and the gap |logp - logp at sampling| of tokens."""
    model.zero_grad()
    logp, every, hidden = plain_logp(model, rollouts, rows, temperature)
    there = rollouts.mask[rows, : logp.shape[1]] > 0
    old, A, ref = (x[rows, : logp.shape[1]] for x in (rollouts.logp, advantages, logp_ref))
    ratio, high = (logp - old).exp(), a.clip if a.clip_high is None else a.clip_high
    loss = -torch.minimum(ratio * A, ratio.clamp(1 - a.clip, 1 + high) * A)
    loss = loss + a.entropy_coef * (every.exp() * every).sum(-1)
    if a.kl_in == "loss":
        d = ref - logp
        loss = loss + a.kl_coef * {"k1": -d, "k2": d**2 / 2, "k3": d.exp() - 1 - d}[a.kl_kind]
    if critic is not None:
        critic.zero_grad()
        value, before, target = critic(hidden), *(x[rows, : logp.shape[1]] for x in (rollouts.values, returns))
        clipped = before + (value - before).clamp(-a.value_clip, a.value_clip)
        loss = loss + torch.maximum((value - target) ** 2, (clipped - target) ** 2) / 2
    each = torch.where(there, loss, 0.0)
    if a.aggregate == "token":
        (each.sum() / there.sum()).backward()
    else:
        (each.sum(1) / there.sum(1)).mean().backward()
    return gradient(model, critic), (logp.detach() - old).abs()[there]


def assert_plain(learner, items, counts, admitted, scores):
    """Attempt and learn: at each optimiser step the gradient is that of the plain pass. Returns their norms."""
    a, temperature = learner.algorithm, learner.settings.temperature
    items, counts, admitted = np.asarray(items), np.asarray(counts), np.asarray(admitted)
    half = len(items) // 2
    for part in (slice(0, half), slice(half, None)):  # two attempts, with groups of different sizes in each
        if len(items[part]):
            learner.attempt(items[part], int(counts.max()), counts[part])
    sampled = Rollouts.joined([part for attempt in learner._pending for part in attempt.rollouts], PAD)
    first = np.cumsum([0, *counts])
    kept = torch.cat([torch.arange(first[i], first[i + 1]) for i in range(len(items)) if admitted[i]])
    rollouts = sampled.take(kept)
    logp_ref = torch.zeros_like(rollouts.logp)
    if a.kl_coef > 0:
        with torch.no_grad(), learner.policy.as_reference(learner.reference) as reference:
            found = plain_logp(reference, rollouts, torch.arange(len(kept)), temperature)[0]
            logp_ref[:, : found.shape[1]] = found
    rewards = np.zeros((len(items), int(counts.max())), np.float32)
    for i, count in enumerate(counts):
        rewards[i, :count] = scores[first[i] : first[i + 1]]
    steps = steps_of(learner)
    learner.learn(items, rewards, admitted, counts)

    of_kept = torch.tensor(np.asarray(scores, np.float32))[kept]
    advantages, returns = plain_advantages(a, rollouts, of_kept, counts[admitted].tolist(), logp_ref)
    updates = learner.settings.updates
    order = generator(learner.seed, Role.SHUFFLE, 0).permutation(len(kept)) if updates > 1 else np.arange(len(kept))
    parts = [torch.from_numpy(np.sort(part)) for part in np.array_split(order, updates) if len(part)]
    assert len(steps) == len(parts)
    norms = []
    for step, (rows, (model, critic, found)) in enumerate(zip(parts, steps, strict=True)):
        expected, gaps = plain_gradient(
            model, critic, a, temperature, rollouts, rows, advantages, returns, logp_ref
        )  # fmt: skip
        assert_close(found, expected)
        norms.append(float(expected.norm()))
        if step == 0 and learner.stats["trained_share"] == 1.0:
            assert float(gaps.max()) < 1e-4
            assert learner.stats["logp_gap_max"] == pytest.approx(float(gaps.max()), abs=1e-5)
            if a.aggregate == "token":
                assert learner.stats["logp_gap_mean"] == pytest.approx(float(gaps.mean()), abs=1e-5)
    return norms


# ---------------------------------------------------------------------------------------------------- the gradient


@st.composite
def algorithms(draw):
    """One of the four, as it comes or with other KL, entropy, clip, aggregation and discount."""
    a = ppo.ALGORITHMS[draw(st.sampled_from(list(ppo.ALGORITHMS)))]
    changed = draw(st.sampled_from([{}, BARE, {"kl_coef": 0.3}, {"entropy_coef": 0.1, "kl_kind": "k2"}]))
    more = {"aggregate": draw(st.sampled_from(["token", "sequence"])), "clip": draw(st.sampled_from([0.05, 0.2]))}
    if a.advantage in ("gae", "reinforce++"):
        more |= {"gamma": draw(st.sampled_from([1.0, 0.9])), "lam": draw(st.sampled_from([1.0, 0.8]))}
    return dataclasses.replace(a, **changed, **more)


@st.composite
def batches(draw):
    """Items, how many completions each has, which are admitted, and a score per completion. Some groups are silent."""
    items = draw(st.lists(st.integers(0, len(PROMPTS) - 1), min_size=1, max_size=5))
    counts = [draw(st.integers(1, 5)) for _ in items]
    admitted = [draw(st.booleans()) for _ in items[1:]]
    scores = [draw(st.sampled_from([0.0, 0.25, 1.0])) if kind else 1.0
              for count in counts for kind in [draw(st.integers(0, 2))] for _ in range(count)]  # fmt: skip
    return items, counts, [True, *admitted], scores


@settings(max_examples=20, phases=[Phase.generate], deadline=None, derandomize=True, database=None)
@given(
    architecture=st.sampled_from(["llama", "qwen2", "gpt_neox", "gpt2"]),
    algorithm=algorithms(),
    batch=batches(),
    seed=st.integers(1, 10**6),
    lora=st.sampled_from([0, 2]),
    temperature=st.sampled_from([1.0, 0.7, 1.5]),
    updates=st.sampled_from([1, 1, 2, 3]),
    micro=st.sampled_from([0, 1, 40, 120]),
    limit=st.sampled_from([1, 3, 8]),
    piece=st.sampled_from([1, 3, 16, 10_000]),
    lr=st.sampled_from([1e-4, 0.02]),
    pool=st.sampled_from([POOL, LONG]),
    worth=st.sampled_from([0, 1, 20]),
)
def test_gradients_are_those_of_the_plain_pass(
    loaded, architecture, algorithm, batch, seed, lora, temperature, updates, micro, limit, piece, lr, pool, worth
):
    with mock.patch.object(memory, "piece_tokens", return_value=piece), mock.patch.object(passes, "WORTH", worth):
        learner = learner_of(
            loaded(architecture, lora=lora), algorithm, seed=seed, temperature=temperature, updates=updates,
            micro_tokens=micro, limit=limit, lr=lr, pool=pool,
        )  # fmt: skip
    assert (learner.network.cut, learner.network.shares, learner.network.worth) == (True, True, worth)
    assert_plain(learner, *batch)


ITEMS, COUNTS, ADMITTED = [1, 0, 2, 5, 4, 7], [4, 1, 3, 5, 2, 3], [True, True, True, False, True, True]
SCORES = [0, 1, 1, 0, *[1], *[1, 1, 1], *[0, 0, 1, 0, 1], *[0.25, 1], *[0, 0, 0]]  # the second, third, last: silent


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("changed", [{}, BARE], ids=["usual", "bare"])
@pytest.mark.parametrize("name", ppo.ALGORITHMS)
def test_groups_of_different_sizes_silent_and_rejected_ones(loaded, name, changed, lora):
    algorithm = dataclasses.replace(ppo.ALGORITHMS[name], **changed)
    learner = learner_of(loaded(lora=lora), algorithm, micro_tokens=60, updates=2, lr=0.01, seed=3)
    assert min(assert_plain(learner, ITEMS, COUNTS, ADMITTED, SCORES)) > 0.1
    skipped = {("grpo", "bare"): 7, ("rloo", "bare"): 7, ("rloo", "usual"): 1}  # a group of one has no advantage
    expected = 1 - skipped.get((name, "bare" if changed else "usual"), 0) / 13
    assert learner.stats["trained_share"] == pytest.approx(expected)


@pytest.mark.parametrize("micro", [1, 60, 10_000])
def test_what_all_prompts_begin_with_is_read_once(loaded, micro):
    """By a pass over it alone, wherever prompts differ, in sampling, training and the reference's pass."""
    with mock.patch.object(passes, "WORTH", 1):
        learner = learner_of(loaded(), ppo.ALGORITHMS["grpo"], pool=LONG, micro_tokens=micro)
    prompts = learner._prompts
    start = len("copy abc=abc\n")
    assert prompts[0][:start] == prompts[1][:start]
    assert prompts[0][start] != prompts[1][start]
    read = []
    learner.network.body.register_forward_pre_hook(
        lambda _module, _args, given: read.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    assert min(assert_plain(learner, ITEMS, COUNTS, ADMITTED, SCORES)) > 0.1
    alone = [shape for shape in read if shape == (1, start)]
    assert len(alone) >= (2 if micro == 1 else 3)  # sampling twice; training where a micro-batch holds several prompts
    if micro == 10_000:
        assert len(alone) == 3


@pytest.mark.parametrize("most", [30, 60, 120])
def test_a_pass_with_a_common_start_reads_no_more_than_its_bound(loaded, most):
    with mock.patch.object(passes, "WORTH", 1):
        learner = learner_of(loaded(), ppo.ALGORITHMS["grpo"], pool=LONG)
    learner.attempt(np.arange(8), 3)
    (rollouts,) = learner._pending[0].rollouts
    micro = learner.network.micro_batches(rollouts, torch.arange(24), most)
    assert sorted(torch.cat(micro).tolist()) == list(range(24))
    read = []
    hook = learner.model.get_input_embeddings().register_forward_pre_hook(lambda _, ids: read.append(ids[0].numel()))
    counts = []
    for rows in micro:
        read.clear()
        learner.network.states(rollouts, rows, PAD)
        counts.append(sum(read))
        assert sum(read) <= most or len(rows) == 1
    hook.remove()
    alone = sum(len(rollouts.prompts[row]) + int(rollouts.lengths[row]) for row in range(24))
    assert most < 120 or sum(counts) < 0.4 * alone


def test_a_start_that_is_all_of_a_prompt_leaves_its_last_token(loaded):
    pool = wb.Pool([0, 50, 100], payload={"prompt": ["12=", "12=34", "12=3"], "answer": ["1"] * 3})
    with mock.patch.object(passes, "WORTH", 1):
        learner = learner_of(loaded(), ppo.ALGORITHMS["rloo"], pool=pool)
    assert assert_plain(learner, [0, 1, 2], [2, 2, 2], [True] * 3, [0, 1, 1, 0, 0, 1])[0] > 0.1


# model: options, whether its head is cut off, whether prompts are shared
OTHERS = {
    "gemma2": ({"head_dim": 8, "sliding_window": 5}, False, False),  # logits are capped
    "gemma2, small weights": ({"head_dim": 8, "initializer_range": 0.02}, False, False),  # a cap far away
    "cohere": ({}, False, False),  # logits are scaled
    "granite": ({"logits_scaling": 8.0}, False, False),
    "mistral": ({"head_dim": 8, "sliding_window": 5}, True, True),
    "gemma3_text": ({"head_dim": 8, "sliding_window": 5}, True, True),
    "lfm2": ({"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}, True, False),
    "mamba2": ({"state_size": 4, "num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 8}, True, False),
    "bloom": ({"n_head": 2, "n_layer": 2}, True, True),
    "mpt": ({"n_heads": 2, "n_layers": 2, "d_model": 32}, True, True),  # distances in columns: no common start
    "opt": ({"ffn_dim": 32, "word_embed_proj_dim": 16}, True, True),
    "opt, words narrower than the layers": (
        {"ffn_dim": 32, "word_embed_proj_dim": 8, "do_layer_norm_before": False}, True, True,
    ),
    "mixtral": ({"num_local_experts": 3}, True, True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_are_cut_and_shared_where_that_changes_nothing(loaded, tmp_path, name):
    options, cut, shares = OTHERS[name]
    policy = loaded(folder=make_checkpoint(tmp_path, name.split(",")[0], **options))
    algorithm = dataclasses.replace(ppo.ALGORITHMS["ppo"], kl_in="loss", kl_coef=0.1)
    with mock.patch.object(passes, "WORTH", 1):
        learner = learner_of(policy, algorithm, micro_tokens=80, limit=8, pool=LONG)
    assert (learner.network.cut, learner.network.shares) == (cut, shares)
    assert learner.network.worth == (shares and name.split(",")[0] in ("bloom", "opt", "mixtral"))
    before = [p.detach().clone() for p in policy.trainable]
    assert assert_plain(learner, ITEMS, COUNTS, ADMITTED, SCORES)[0] > 0.1
    assert any(not torch.equal(p, q) for p, q in zip(before, policy.trainable, strict=True))


def test_a_model_that_hides_its_states_is_refused_with_a_critic_only(loaded):
    policy = loaded()

    def hide(_model, _given, out):
        out.hidden_states = None
        return out

    policy.model.register_forward_hook(hide)
    learner_of(policy, ppo.ALGORITHMS["grpo"])
    with pytest.raises(InputError, match=r"^model: must give its last hidden states for a critic, got Llama"):
        learner_of(policy, ppo.ALGORITHMS["ppo"])


REFUSED = {
    "mamba": {"state_size": 4}, "falcon_mamba": {"state_size": 4},
    "openai-gpt": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "recurrent_gemma": {"lru_width": 16, "attention_window_size": 5, "block_types": ["recurrent", "attention"]},
    "rwkv": {"attention_hidden_size": 16, "context_length": 48},
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_does_not_train_on_what_it_samples_is_refused_in_one_line(tmp_path, name):
    folder = make_checkpoint(tmp_path, name, **REFUSED[name])
    with pytest.raises(InputError, match=r"^model: must .*sampl.*, got '.*' \(\w+\).*$") as caught:
        models.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_gradient_checkpointing_gives_the_same_gradient(loaded, architecture, lora):
    policy = loaded(architecture, lora=lora, gradient_checkpointing=True)
    learner = learner_of(policy, ppo.ALGORITHMS["ppo"], micro_tokens=60)
    assert assert_plain(learner, ITEMS, COUNTS, ADMITTED, SCORES)[0] > 0.1


# ------------------------------------------------------------------------------------------------ what is skipped


@pytest.mark.parametrize("changed", [{}, BARE, BARE | {"entropy_coef": 0.01}], ids=["usual", "bare", "entropy"])
@pytest.mark.parametrize("name", ppo.ALGORITHMS)
def test_what_is_skipped_has_a_gradient_of_exactly_zero(loaded, name, changed):
    """By autograd through the plain pass, sequence by sequence; and what is not skipped has one."""
    algorithm = dataclasses.replace(ppo.ALGORITHMS[name], **changed)
    learner = learner_of(loaded(), algorithm)
    items, counts = np.array([0, 1, 3]), np.array([3, 3, 1])
    learner.attempt(items, 3, counts)
    (rollouts,) = learner._pending[0].rollouts
    noise = torch.rand(rollouts.logp.shape, generator=torch.Generator().manual_seed(0))
    ref = rollouts.logp + 0.1 * noise
    for scores, scale in (([1, 1, 1, 0, 1, 0, 1], 1.0), ([1] * 7, 1.0), ([1] * 7, 0.0)):
        tensor = torch.tensor(scores, dtype=torch.float32)
        advantages, returns = learner._advantages(rollouts, tensor, counts, ref if learner._penalised else None)
        advantages = scale * advantages
        has = ppo.has_gradient(algorithm, advantages).tolist()
        if name in ("grpo", "rloo") and changed == BARE:
            assert has == [False] * 3 + [scores[4] != scores[3]] * 3 + [False]
        if algorithm.critic or algorithm.entropy_coef > 0 or (name == "grpo" and not changed):
            assert all(has)
        if name == "reinforce++" and changed == BARE:
            assert has == [scores[4] != scores[3]] * 7
        for row in range(7):
            norm = plain_gradient(
                learner.model, learner.critic, algorithm, 1.0, rollouts, torch.tensor([row]), advantages, returns, ref
            )[0].norm()
            assert (float(norm) > 0.0) if has[row] else (float(norm) == 0.0)


def test_a_silent_batch_takes_the_step_of_a_gradient_of_zeros(loaded):
    """Adam's momentum goes on; the record says that nothing was trained on."""
    one, other = (learner_of(loaded(), ppo.Algorithm("grpo"), seed=2, lr=0.01) for _ in range(2))
    items, admitted = np.array([0, 1, 3]), np.ones(3, bool)
    for learner in (one, other):
        learner.attempt(items, 4)
        learner.learn(items, np.tile(np.float32([0, 1, 1, 0]), (3, 1)), admitted)
        assert learner.stats["trained_share"] == 1.0
    before = [p.detach().clone() for p in one.policy.trainable]
    one.attempt(items, 4)
    one.learn(items, np.ones((3, 4), np.float32), admitted)
    for p in other.policy.trainable:
        p.grad = torch.zeros_like(p)
    other.optimiser.step()
    assert all(torch.equal(p, q) for p, q in zip(one.policy.trainable, other.policy.trainable, strict=True))
    assert any(not torch.equal(p, q) for p, q in zip(one.policy.trainable, before, strict=True))
    for p, q in zip(one.policy.trainable, other.policy.trainable, strict=True):
        mine, its = one.optimiser.state[p], other.optimiser.state[q]
        assert all(torch.equal(mine[key], its[key]) for key in its)
    assert one.stats["grad_norm"] == one.stats["trained_share"] == one.stats["policy_loss"] == 0.0
    assert np.isnan([one.stats[name] for name in ("entropy", "logp_gap_mean", "logp_gap_max", "kl")]).all()


def test_an_optimiser_step_without_gradient_does_not_dilute_the_record(loaded):
    """Three steps of one sequence each, of which one is a group by itself: entropy and gap are those of the others."""
    found = []
    for seed in range(6):  # the silent sequence comes first in some
        learner = learner_of(loaded(), ppo.Algorithm("grpo"), seed=seed, updates=3, lr=1e-6, limit=1)
        items, counts = np.array([1, 0]), np.array([2, 1])
        learner.attempt(items, 2, counts)
        (rollouts,) = learner._pending[0].rollouts
        with torch.no_grad():
            _, every, _ = plain_logp(learner.model, rollouts, torch.arange(2), 1.0)
        learner.learn(items, np.float32([[0, 1], [1, 0]]), np.ones(2, bool), counts)
        assert learner.stats["trained_share"] == pytest.approx(2 / 3)
        expected = float(-(every.exp() * every).sum(-1)[:, 0].mean())
        assert learner.stats["entropy"] == pytest.approx(expected, abs=1e-3)
        found.append(np.isnan([learner.stats["logp_gap_mean"], learner.stats["logp_gap_max"]]).tolist())
    first = [generator(seed, Role.SHUFFLE, 0).permutation(3)[0] == 2 for seed in range(6)]
    assert 0 < sum(first) < 6
    assert found == [[silent, silent] for silent in first]
