"""Stop texts: a completion ends at the token with which its text holds the stop, whatever tokens that is made of."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_checkpoint

import workbench as wb
from real_runs.rl import cache, models, ppo
from real_runs.rl import generate as sampling
from real_runs.rl.generate import generate
from real_runs.rl.learner import Critic, HeldOut, PPOLearner, Settings
from real_runs.tasks.prompting import Prompting

pytestmark = pytest.mark.usefixtures("one_thread")

PAD, EOS, LIMIT, GROUP = 0, 1, 20, 6
PROMPTS = [[3, 4], [5, 6, 7, 8], [9], [10, 11, 12]]
SPECIAL = ["<pad>", "<eos>", "<unk>"]
WORDS = {
    # As GPT-2 writes bytes: \n is Ċ, a space is Ġ, é is Ã©, 日 is æĹ¥.
    "bytes": [*SPECIAL, "a", "b", "Ċ", "ĊĊ", "aĊ", "Ċb", "Ġa", "Ã", "©", "æ", "Ĺ", "¥", "Ĺ¥", "©a"],
    # As SentencePiece writes text: ▁ is a space, and characters without a token are bytes.
    "pieces": [*SPECIAL, "▁a", "▁b", "a", "b", "▁", "ab", "<0x0A>", "<0xE6>", "<0x97>", "<0xA5>", "▁ab", "。", "ba",
               "b。"],
}
STOPS = {  # and tokens that hold them
    ("bytes", "\n"): ["Ċ", "ĊĊ", "aĊ", "Ċb"],
    ("bytes", "a\n"): ["a Ċ", "aĊ", "Ġa ĊĊ", "©a Ċb"],
    ("bytes", "\n\n\n"): ["ĊĊ Ċ", "Ċ ĊĊ", "aĊ ĊĊ", "Ċ Ċ Ċb"],
    ("bytes", "\nb"): ["Ċb", "Ċ b", "ĊĊ b"],
    ("bytes", " "): ["Ġa"],
    ("bytes", "é"): ["Ã ©", "Ã ©a"],
    ("bytes", "日"): ["æ Ĺ ¥", "æ Ĺ¥"],
    ("bytes", "é日"): ["Ã © æ Ĺ ¥", "Ã © æ Ĺ¥"],
    ("bytes", "aéa"): ["a Ã ©a", "Ġa Ã © a"],
    ("bytes", "never"): [],
    ("pieces", "\n"): ["<0x0A>"],
    ("pieces", "a"): ["a", "▁a", "ab", "ba", "▁ab"],
    ("pieces", " "): ["▁", "▁a", "▁b", "▁ab"],
    ("pieces", "a "): ["a ▁b", "ba ▁", "▁a ▁ab"],
    ("pieces", "ab a"): ["ab ▁a", "▁ab ▁ a", "a b ▁ab"],
    ("pieces", "日"): ["<0xE6> <0x97> <0xA5>"],
    ("pieces", "日\n"): ["<0xE6> <0x97> <0xA5> <0x0A>"],
    ("pieces", "b。"): ["b。", "b 。", "▁b 。"],
    ("pieces", "never"): [],
}
every_case = pytest.mark.parametrize(("kind", "stop"), STOPS)


def tokenizer_of(kind):
    from tokenizers import Tokenizer, decoders
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(kinds.WordLevel({word: i for i, word in enumerate(WORDS[kind])}, unk_token="<unk>"))
    tokenizer.decoder = decoders.ByteLevel() if kind == "bytes" else decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """policy(kind, stop): a model of 110 tokens, of which the tokenizer knows the first 17."""
    made = {}

    def load(kind, stop=""):
        if kind not in made:
            made[kind] = make_checkpoint(tmp_path_factory.mktemp(kind), vocab_size=110)
            tokenizer_of(kind).save_pretrained(made[kind])
        loaded = models.load(made[kind], prompting=Prompting(stop=stop))
        loaded.model.eval()
        return loaded

    return load


def written(kind, stop):
    """(24, LIMIT) tokens that a completion shall have if nothing stops it: the stop at the start, in the middle and at
    the end, in every spelling; ends of sequence among the other tokens."""
    draw, rows = np.random.default_rng(0), []
    for row in range(len(PROMPTS) * GROUP):
        tokens = draw.choice([EOS, *range(3, 17)], LIMIT, p=[0.02] + [0.07] * 14)
        if spellings := STOPS[kind, stop]:
            spelled = [WORDS[kind].index(word) for word in spellings[row % len(spellings)].split()]
            at = (0, 1, 4, 9, LIMIT - len(spelled))[row % 5]
            tokens[:at][tokens[:at] == EOS] = 3
            tokens[at : at + len(spelled)] = spelled
        rows.append(tokens.tolist())
    return rows


def luck_for(model, rows):
    """Random numbers in the middle of each token's share of its distribution: with them the rows are sampled."""
    luck = torch.zeros(len(rows), LIMIT)
    for row, tokens in enumerate(rows):
        prompt = PROMPTS[row // GROUP]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        cumulative = torch.softmax(logits, -1).cumsum(-1)
        above = cumulative.gather(1, torch.tensor(tokens)[:, None])[:, 0]
        below = cumulative.gather(1, torch.tensor(tokens)[:, None] - 1)[:, 0]
        luck[row] = (above + below) / 2
    return luck


def sample(policy, luck, stop, prompts=PROMPTS, group=GROUP, decode="eager"):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        critic = Critic(policy.width())
        torch.nn.init.normal_(critic.outer.weight)
    return generate(policy.model, prompts, group, LIMIT, luck, policy.ends, PAD, 1.0, critic, decode, "float32", stop)


def up_to_the_stop(tokens, tokenizer, stop):
    """What is left of the tokens of a completion, and whether it is finished."""
    for end in range(1, LIMIT + 1):
        if tokens[end - 1] == EOS or stop in tokenizer.decode(tokens[:end], skip_special_tokens=True):
            return tokens[:end], True
    return tokens, False


@pytest.fixture
def small_steps(monkeypatch):
    """A decode of fixed shapes that looks often enough to drop some before others end."""
    monkeypatch.setattr(cache, "FIRST", 4)
    monkeypatch.setattr(sampling, "CHECK_EVERY", 3)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("decode", ["eager", "graph"])
@every_case
def test_a_completion_ends_with_the_token_that_completes_the_stop(policy, kind, stop, decode):
    loaded = policy(kind, stop)
    rows = written(kind, stop)
    luck = luck_for(loaded.model, rows)
    free, stopped = sample(loaded, luck, None), sample(loaded, luck, loaded.stop, decode=decode)
    expected = [up_to_the_stop(tokens, loaded.tokenizer, stop) for tokens in rows]
    assert sum(finished and tokens[-1] != EOS for tokens, finished in expected) >= (0 if stop == "never" else 16)
    width = max(len(tokens) for tokens, _ in expected)
    assert stopped.tokens.shape == stopped.mask.shape == stopped.logp.shape == stopped.values.shape == (24, width)
    for row, (tokens, finished) in enumerate(expected):
        length = len(tokens)
        assert stopped.tokens[row].tolist() == tokens + [PAD] * (width - length)
        assert stopped.mask[row].tolist() == [1.0] * length + [0.0] * (width - length)
        assert bool(stopped.finished[row]) == finished
        for found, whole in ((stopped.logp, free.logp), (stopped.values, free.values)):
            torch.testing.assert_close(found[row, :length], whole[row, :length], atol=1e-5, rtol=0)
            assert not found[row, length:].any()
    assert stopped.values.std() > 0.1


@every_case
def test_the_text_of_a_completion_is_without_the_stop_and_what_follows_it(policy, kind, stop):
    loaded = policy(kind, stop)
    rows = written(kind, stop)
    texts = loaded.decode(sample(loaded, luck_for(loaded.model, rows), loaded.stop))
    for tokens, text in zip(rows, texts, strict=True):
        kept, _ = up_to_the_stop(tokens, loaded.tokenizer, stop)
        assert text == loaded.tokenizer.decode(kept, skip_special_tokens=True).partition(stop)[0]
        assert stop not in text
        assert "<" not in text


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("decode", ["eager", "graph"])
@pytest.mark.parametrize(("kind", "stop"), [("bytes", "é"), ("pieces", "a ")])
def test_a_completion_does_not_depend_on_its_company(policy, kind, stop, decode):
    loaded = policy(kind, stop)
    luck = luck_for(loaded.model, written(kind, stop))
    together = sample(loaded, luck, loaded.stop, decode=decode)
    for row in (0, 3, 8, 15):
        for how in ("eager", "graph"):
            alone = sample(loaded, luck[row : row + 1], loaded.stop, [PROMPTS[row // GROUP]], 1, how)
            assert alone.tokens[0].tolist() == together.tokens[row, : together.lengths[row]].tolist()
            assert alone.finished[0] == together.finished[row]


def test_an_eager_decode_computes_no_token_after_the_stop(policy):
    loaded = policy("bytes", "\n")
    luck = luck_for(loaded.model, written("bytes", "\n"))
    rows = []
    loaded.model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    stopped = sample(loaded, luck, loaded.stop)
    assert sum(rows[2:]) == int((stopped.lengths - 1).sum())  # after the look for the width, and the prompts


def test_tokens_that_may_end_a_stop_are_few_where_that_is_known(policy):
    """Others are not decoded, step after step."""
    may_end = policy("bytes", "b").stop.may_end
    assert len(may_end) == 110
    found = {WORDS["bytes"][token] for token in may_end.nonzero()[:, 0].tolist()}
    assert found == {"b", "Ċb", "Ã", "©", "æ", "Ĺ", "¥", "Ĺ¥", "©a"}


@pytest.fixture
def learner(policy):
    def make(stop, score=lambda text, answer: 0.0, name="ppo"):
        loaded = policy("bytes", stop)
        pool = wb.Pool([1.0, 2.0], payload={"prompt": ["a", "b"], "answer": ["a", "b"]})
        heldout = HeldOut(["a"] * 30, ["a"] * 30, np.zeros(30, np.int64))
        algorithm = dataclasses.replace(ppo.ALGORITHMS[name], kl_coef=0.1)
        return PPOLearner(loaded, pool, score, heldout, algorithm, Settings(limit=LIMIT, warm_up=0))

    return make


def test_a_stop_that_never_comes_leaves_completions_cut_at_the_limit(learner):
    trained = learner("never")
    trained.policy.ends = [-1]
    rewards = trained.attempt(np.array([0, 1]), 4)
    trained.learn(np.array([0, 1]), rewards, np.ones(2, bool))
    assert trained.stats["cut_share"] == 1.0
    assert trained.stats["tokens"] == 8 * LIMIT


def test_scores_evaluation_and_training_see_a_completion_up_to_its_stop(learner):
    texts = []
    trained = learner("a\n", lambda text, answer: bool(texts.append(text)))
    trained.policy.ends = [-1]
    rewards = trained.attempt(np.array([0, 1]), 8)
    sampled = trained._pending[0].rollouts[0]
    trained.evaluate()
    assert len(texts) == 16 + 30
    assert all("a\n" not in text for text in texts)
    assert len(set(texts)) > 20
    assert 0 < float(sampled.finished.float().mean()) < 1
    trained.learn(np.array([0, 1]), rewards + np.float32(np.arange(8) % 2), np.ones(2, bool))
    assert trained.stats["tokens"] == float(sampled.mask.sum())
    assert trained.stats["logp_gap_max"] < 1e-4
    assert trained.stats["cut_share"] == float(1 - sampled.finished.float().mean())
