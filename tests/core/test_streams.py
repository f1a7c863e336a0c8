"""Every random number is keyed by (seed, role, step): known answers, independence, uniformity."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workbench import streams
from workbench.errors import InputError
from workbench.streams import Role

WORD = 0xFFFFFFFF
SEEDS = st.integers(0, 2**64 - 1)


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011), one block, in plain Python integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        left, right = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (right >> 32) ^ c1 ^ k0, right & WORD, (left >> 32) ^ c3 ^ k1, left & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


def expected_uniforms(seed, role, step, count):
    """Key = the seed's two words, counter = (block, 0, step, role), the upper 24 bits of every word."""
    key = (seed & WORD, seed >> 32)
    words = [word for block in range(-(-count // 4)) for word in philox((block, 0, step, int(role)), key)]
    return np.array([(word >> 8) * 2.0**-24 for word in words[:count]], dtype=np.float32)


def row(seed, role, step, count):
    return streams.uniforms(np.array([seed], dtype=np.uint64), role, step, count)[0]


def pairs(values):
    """Neighbouring pairs: 48 bits, so two streams share one only if they overlap."""
    return set(zip(values[:-1].tolist(), values[1:].tolist(), strict=True))


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((WORD,) * 4, (WORD,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_plain_philox_of_this_file_gives_the_known_answers_of_random123(counter, key, answer):
    assert philox(counter, key) == answer


def test_uniforms_start_with_the_known_answer_of_key_and_counter_zero():
    # Only the arithmetic is asked here, so the role may be the plain 0 that makes the counter zero.
    expected = [(w >> 8) * 2.0**-24 for w in (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)]
    assert row(0, 0, 0, 4).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, role=st.sampled_from(list(Role)), step=st.integers(0, 2**32 - 1), count=st.integers(1, 23))
def test_uniforms_are_philox_words_keyed_by_seed_role_and_step(seed, role, step, count):
    np.testing.assert_array_equal(row(seed, role, step, count), expected_uniforms(seed, role, step, count))


def test_uniforms_hear_both_words_of_a_seed_taken_from_random123_key():
    seed = 0x299F31D0 << 32 | 0xA4093822
    np.testing.assert_array_equal(row(seed, Role.TIES, 7, 8), expected_uniforms(seed, Role.TIES, 7, 8))
    assert row(seed, Role.TIES, 7, 8).tolist() != row(seed & WORD, Role.TIES, 7, 8).tolist()


def test_uniforms_are_single_precision_numbers_of_24_bits_in_the_half_open_unit_interval():
    u = streams.uniforms(np.arange(8, dtype=np.uint64), Role.ROLLOUT, 3, 5_000)
    assert u.shape == (8, 5_000)
    assert u.dtype == np.float32
    assert u.min() >= 0
    assert u.max() < 1
    grid = u.astype(np.float64) * 2**24
    np.testing.assert_array_equal(grid, np.floor(grid))


def test_uniforms_fill_every_bin_equally_by_their_upper_and_by_their_lower_bits():
    u = streams.uniforms(np.arange(4, dtype=np.uint64), Role.ROLLOUT, 0, 50_000).astype(np.float64)
    upper = np.bincount((u * 256).astype(int).ravel(), minlength=256)
    lower = np.bincount((u * 2**24).astype(int).ravel() & 255, minlength=256)
    assert stats.chisquare(upper).pvalue > 1e-3
    assert stats.chisquare(lower).pvalue > 1e-3


def test_uniforms_of_neighbouring_lanes_steps_and_slots_are_uncorrelated():
    u = streams.uniforms(np.arange(40, dtype=np.uint64), Role.ROLLOUT, 0, 5_000).astype(np.float64)
    later = streams.uniforms(np.arange(40, dtype=np.uint64), Role.ROLLOUT, 1, 5_000).astype(np.float64)
    n = u.size
    for x, y in [(u[:-1], u[1:]), (u[:, :-1], u[:, 1:]), (u, later)]:
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 5 / np.sqrt(n)


def test_streams_of_other_seeds_steps_and_roles_share_no_stretch_of_values():
    rows = [row(5, Role.ROLLOUT, step, 512) for step in (0, 1, 2, 3)]
    rows += [row(seed, Role.ROLLOUT, 0, 512) for seed in (0, 4, 6, 5 << 32)]
    rows += [row(5, role, 0, 512) for role in Role if role != Role.ROLLOUT]
    seen = [pairs(values) for values in rows]
    assert len(set.union(*seen)) == sum(len(one) for one in seen)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, step=st.integers(0, 10_000), short=st.integers(1, 40), more=st.integers(0, 40))
def test_asking_for_more_uniforms_keeps_the_first_ones(seed, step, short, more):
    whole = row(seed, Role.NOISE, step, short + more)
    np.testing.assert_array_equal(row(seed, Role.NOISE, step, short), whole[:short])


@settings(deadline=None, max_examples=30)
@given(seeds=st.lists(SEEDS, min_size=1, max_size=6), step=st.integers(0, 10_000))
def test_a_lane_gets_the_same_uniforms_whatever_the_other_lanes_are(seeds, step):
    together = streams.uniforms(np.array(seeds, dtype=np.uint64), Role.ITEM, step, 11)
    alone = [row(seed, Role.ITEM, step, 11) for seed in seeds]
    np.testing.assert_array_equal(together, alone)


def test_a_generator_is_reproducible_and_is_numpys_philox():
    first, again = (streams.generator(7, Role.SHUFFLE, 3) for _ in range(2))
    assert isinstance(first, np.random.Generator)
    assert isinstance(first.bit_generator, np.random.Philox)
    np.testing.assert_array_equal(first.standard_normal(100), again.standard_normal(100))


def test_generators_of_other_seeds_steps_and_roles_share_no_value():
    # Steps advance the counter, so a step that is too short a stride would overlap its neighbour.
    keys = [(5, Role.SHUFFLE, step) for step in (0, 1, 2, 3, 100)]
    keys += [(seed, Role.SHUFFLE, 0) for seed in (0, 4, 6)]
    keys += [(5, role, 0) for role in Role if role != Role.SHUFFLE]
    values = np.concatenate([streams.generator(*key).random(4_096) for key in keys])
    assert len(np.unique(values)) == values.size


def test_a_generator_without_a_step_is_the_generator_of_step_zero():
    assert streams.generator(7, Role.POOL).random() == streams.generator(7, Role.POOL, 0).random()


def test_roles_are_distinct_integers():
    names = (
        "ROLLOUT",
        "ITEM",
        "HELDOUT",
        "TIES",
        "SHUFFLE",
        "POOL",
        "NOISE",
        "BOOTSTRAP",
        "SIGN_FLIP",
        "DESIGN",
    )
    assert len({int(Role[name]) for name in names}) == len(names)


def global_state():
    """Where NumPy's global generator stands."""
    state = np.random.get_bit_generator().state["state"]
    return state["key"].tobytes(), state["pos"]


def test_streams_leave_the_global_numpy_state_alone():
    before = global_state()
    streams.uniforms(np.arange(3, dtype=np.uint64), Role.ROLLOUT, 0, 10)
    streams.generator(1, Role.POOL).random(10)
    assert global_state() == before


@pytest.mark.parametrize("seeds", [[2**64 - 1], [3, 2**63 + 11], (0, 2**64 - 1), np.array([2**63], dtype=np.uint64)])
def test_a_list_of_seeds_may_hold_any_64_bit_integers(seeds):
    together = streams.uniforms(seeds, Role.TIES, 2, 6)
    expected = [expected_uniforms(int(seed), Role.TIES, 2, 6) for seed in seeds]
    np.testing.assert_array_equal(together, expected)


@pytest.mark.parametrize("seeds", [[-1], [1.5], ["one"], [2**64], [0, -1], [[0, 1]], [True], None])
def test_seeds_that_are_no_64_bit_integers_are_refused(seeds):
    with pytest.raises(InputError) as caught:
        streams.uniforms(seeds, Role.TIES, 0, 4)
    assert str(caught.value).startswith("seed: must be ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 1.5, "one", 2**64])
def test_a_generator_of_no_64_bit_seed_is_refused(seed):
    with pytest.raises(InputError, match="seed: must be "):
        streams.generator(seed, Role.POOL)


def test_the_runs_of_two_studies_share_no_seed():
    one, other = streams.run_seeds(0, 1000), streams.run_seeds(1, 1000)
    assert one.tolist() == list(range(1000))
    assert not set(one.tolist()) & set(other.tolist())
    assert streams.run_seeds(2**32 - 1, 2).tolist() == [2**64 - 2**32, 2**64 - 2**32 + 1]
    assert one.dtype == np.uint64
