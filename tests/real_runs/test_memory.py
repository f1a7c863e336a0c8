"""How much is held at a time: in a pass, in a call of sampling, and of logits."""

import gc
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import workbench as wb
from real_runs.rl import learner as learning
from real_runs.rl import memory, models, ppo
from real_runs.rl.generate import Rollouts
from real_runs.rl.learner import HeldOut, PPOLearner, Settings
from real_runs.rl.passes import Network

# transformers 5.23 has renamed what peft and transformers 5.0 call gradient checkpointing
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

PROMPTS = ["7=", "rev 12=", "7=", "copy a=", "3+4=", "rev 12345=", "b=", "next xy="]  # one of them twice
EVERY = np.arange(len(PROMPTS))
GROUP = 6


@pytest.fixture
def make(tiny):
    """make(...): a learner on random weights, whose completions end soon."""

    def learner(name="grpo", architecture="llama", heldout=1, load=None, score=lambda text, answer: 0.0, limit=6,
                ends=(1, *range(60, 75)), micro_tokens=0, sample_tokens=0, **config):  # fmt: skip
        policy = models.load(tiny(architecture, **config), **(load or {}))
        policy.ends = ends
        pool = wb.Pool(EVERY.astype(float), payload={"prompt": PROMPTS, "answer": ["1"] * len(PROMPTS)})
        held = HeldOut([PROMPTS[i % 8] for i in range(heldout)], ["1"] * heldout, np.zeros(heldout, np.int64))
        settings = Settings(limit=limit, micro_tokens=micro_tokens, sample_tokens=sample_tokens)
        return PPOLearner(policy, pool, score, held, ppo.ALGORITHMS[name], settings)

    return learner


def learn(learner):
    learner.learn(EVERY, np.tile(np.float32([0, 1] * (GROUP // 2)), (len(EVERY), 1)), np.ones(len(EVERY), bool))


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operator makes."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.count = max([self.count, *(x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor))])
        return out


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_logits_are_there_for_a_piece_of_the_tokens_at_a_time(make, name, lora):
    """With 5000 tokens in the vocabulary, in training and in the reference's pass."""
    vocabulary, piece = 5000, 20
    with mock.patch.object(memory, "PIECE_BYTES", 4 * vocabulary * piece):
        learner = make(name, load={"lora": lora}, ends=[1], vocab_size=vocabulary)
    learner.attempt(EVERY, GROUP)
    with Largest() as largest:
        learn(learner)
    assert learner.stats["tokens"] > 10 * piece
    assert largest.count == piece * vocabulary


@pytest.mark.parametrize("micro", [1, 40, 100, 300])
@pytest.mark.parametrize("kind", ["llama", "cohere", "checkpointing", "bfloat16"])
def test_no_pass_reads_more_than_micro_tokens(make, kind, micro):
    """Unless a single sequence has more. Prompts count once where they are read once: not with cohere, whose logits
    are scaled, and not where activations are recomputed."""
    load = {"checkpointing": {"gradient_checkpointing": True}, "bfloat16": {"dtype": "bfloat16"}}.get(kind)
    learner = make(architecture="cohere" if kind == "cohere" else "llama", load=load, micro_tokens=micro)
    learner.attempt(EVERY, GROUP)
    tokens = 6 * len(EVERY) * GROUP + GROUP * sum(len(prompt) for prompt in PROMPTS)
    passes, whole = {True: [], False: []}, Network.states

    def noted(network, rollouts, rows, pad):
        embeddings, read = network.model.get_input_embeddings(), []
        hook = embeddings.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].numel()))
        try:
            return whole(network, rollouts, rows, pad)
        finally:
            hook.remove()
            passes[torch.is_grad_enabled()].append((sum(read), len(rows)))

    with mock.patch.object(Network, "states", noted):
        learn(learner)
    for trains, mine in passes.items():
        assert sum(rows for _, rows in mine) == len(EVERY) * GROUP
        assert all(read <= micro or rows == 1 for read, rows in mine)
        once = kind in ("llama", "bfloat16") or (kind == "checkpointing" and not trains)
        if micro == 300:
            assert sum(read for read, _ in mine) < tokens * (0.65 if once else 1.2)
            assert len(mine) <= (2 if once else 3)


def test_sampling_evaluation_and_probes_are_split(make):
    """Thousands of sequences, no more than `sample_tokens` in a call, and each score where it belongs."""
    calls, whole = [], learning.generate

    def noted(model, prompts, group, limit, *rest):
        calls.append(len(prompts) * group * (max(map(len, prompts)) + limit))
        return whole(model, prompts, group, limit, *rest)

    options = {"heldout": 3000, "score": lambda text, _: len(text) / 6}
    split, at_once = make(sample_tokens=5000, **options), make(sample_tokens=10**6, **options)
    items = np.arange(1000) % 8
    with mock.patch.object(learning, "generate", noted):
        success, scores = split.evaluate(), [split.probe(items, 2), split.attempt(items, 2)]
    assert max(calls) <= 5000
    assert len(calls) > 20
    assert success == at_once.evaluate()
    for one, other in zip(scores, [at_once.probe(items, 2), at_once.attempt(items, 2)], strict=True):
        assert np.array_equal(one, other)
        assert one.std() > 0.1


ROOMY = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 4, "max_position_embeddings": 512}  # fmt: skip


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox", "gpt2"])
def test_activations_of_a_token_are_no_more_than_they_are_taken_to_be(tiny, monkeypatch, architecture, shared):
    """What autograd keeps for the backward pass, apart from weights."""
    options = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 512} if architecture == "gpt2" else ROOMY
    model = models.load(tiny(architecture, **options)).model.train()
    prompts = [[5 if shared else 5 + i] * 40 for i in range(16)]
    there = torch.ones(16, 64)
    rollouts = Rollouts(prompts, torch.full((16, 64), 7), there, there, None, there[:, 0] > 0)
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(x):
        if x.untyped_storage().data_ptr() not in weights:
            kept[x.untyped_storage().data_ptr()] = x  # it stays, so that nothing else is put in its place
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        Network.of(model).states(rollouts, torch.arange(16), 0)
    taken = sum(x.untyped_storage().nbytes() for x in kept.values()) / (16 * 64 + (1 if shared else 16) * 40)
    monkeypatch.setattr(memory, "SMALL", 0)
    assert 0.4 < taken * memory.micro_tokens(model) / memory.PASS_BYTES < 1.0


def test_larger_models_and_longer_completions_leave_room_for_fewer(tiny, monkeypatch):
    small, large = (models.load(tiny("llama", **options)).model for options in ({}, ROOMY))
    assert memory.micro_tokens(small) == memory.micro_tokens(large) == memory.SMALL_PASS  # within a processor's cache
    monkeypatch.setattr(memory, "SMALL", 0)
    assert memory.micro_tokens(small) > memory.micro_tokens(large) >= 256
    assert memory.sample_tokens(small, 100) > memory.sample_tokens(large, 100)
    monkeypatch.setattr(memory, "PASS_BYTES", 1)
    assert memory.micro_tokens(large) == 256
    assert memory.sample_tokens(large, 100) == 200  # a completion and as much of its prompt
    monkeypatch.setattr(memory, "PIECE_BYTES", 1)
    assert memory.piece_tokens(large) == 16


def anonymous_bytes():
    """Memory of this process that no file backs, as Linux counts it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:")]
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is counted as Linux does")
@pytest.mark.parametrize("load", [{}, {"dtype": "bfloat16", "lora": 2}], ids=["all", "adapters"])
def test_sixty_updates_leave_no_memory_behind(make, load):
    """Of attempts, updates, evaluations and states: after twenty of them what is kept does not grow."""
    learner, few, rewards = make("ppo", limit=4, load=load), EVERY[:3], np.tile(np.float32([0, 1]), (3, 1))

    def go_on(updates):
        for k in range(updates):
            learner.attempt(few, 2)
            learner.learn(few, rewards, np.ones(3, bool))
            if k % 10 == 0:
                learner.evaluate()
                learner.state_dict()
        gc.collect()
        kept = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
        return len(kept), sum(x.nbytes for x in kept), anonymous_bytes()

    tensors, held, resident = go_on(20)
    later = go_on(40)
    assert later[0] <= tensors + 2
    assert later[1] <= held + 2**16
    assert later[2] < resident + 4 * 2**20
