"""Random bits: Philox4x32-10, and uniforms of a stream."""

from __future__ import annotations

import numpy as np
from numba import njit

f32, f64, u64, i32, i64 = np.float32, np.float64, np.uint64, np.int32, np.int64
_M0, _M1 = u64(0xD2511F53), u64(0xCD9E8D57)  # Philox multipliers
_W0, _W1 = u64(0x9E3779B9), u64(0xBB67AE85)  # Weyl key increments
LOW32, SHIFT32 = u64(0xFFFFFFFF), u64(32)
TWO_M24 = f32(2.0**-24)
TWO_M53 = f64(2.0**-53)


@njit(inline="always")
def philox(c0, c1, c2, c3, key):
    """Philox4x32-10: four 32-bit words, held in uint64 so that the products are exact and vectorise.

    Words are cut to 32 bits where they are multiplied: a vector multiplication does that without an instruction.
    """
    k0, k1 = key & LOW32, key >> SHIFT32
    for _ in range(10):
        p0, p1 = _M0 * (c0 & LOW32), _M1 * (c2 & LOW32)
        c0, c2 = (p1 >> SHIFT32) ^ c1 ^ k0, (p0 >> SHIFT32) ^ c3 ^ k1
        c1, c3 = p1, p0
        k0, k1 = k0 + _W0, k1 + _W1
    return c0 & LOW32, c1 & LOW32, c2 & LOW32, c3 & LOW32


@njit(inline="always")
def unit32(word):
    return f32(i32(word >> u64(8))) * TWO_M24


@njit(inline="always")
def other_seed(keys, r):
    """Whether lane r has another seed than the lane before it. Lanes of one seed share their luck: it is drawn once."""
    return r == 0 or keys[r] != keys[r - 1]


@njit(inline="always")
def unit_row(key, role, clock, out):
    """out (blocks, 4) = uniforms of one stream."""
    for block in range(out.shape[0]):
        a, b, c, d = philox(u64(block), u64(clock) >> SHIFT32, u64(clock), u64(role), key)
        out[block, 0], out[block, 1], out[block, 2], out[block, 3] = unit32(a), unit32(b), unit32(c), unit32(d)


@njit(nogil=True, cache=True)
def fill_uniforms(keys, role, clock, out):
    row = np.empty(((out.shape[1] + 3) // 4, 4), np.float32)
    for r in range(out.shape[0]):
        if other_seed(keys, r):
            unit_row(keys[r], role, clock, row)
        out[r] = row.reshape(row.size)[: out.shape[1]]


@njit(inline="always")
def unit53_row(key, role, clock, out):
    """out (blocks, 2) = float64 uniforms with 53 bits, two words each."""
    for block in range(out.shape[0]):
        a, b, c, d = philox(u64(block), u64(clock) >> SHIFT32, u64(clock), u64(role), key)
        out[block, 0] = f64(i64((a << u64(21)) ^ (b >> u64(11)))) * TWO_M53
        out[block, 1] = f64(i64((c << u64(21)) ^ (d >> u64(11)))) * TWO_M53


@njit(inline="always")
def unit53(high, low):
    """Two words as a float64 uniform in [0, 1)."""
    return f64(i64((high << u64(21)) ^ (low >> u64(11)))) * TWO_M53


@njit(inline="always")
def words(block, stream):
    """The four words of a block of a stream (turn, step, role, seed)."""
    turn, step, role, key = stream
    return philox(block, turn, step, role, key)


@njit(inline="always")
def unit_block(block, turn, step, role, key, out):
    a, b, c, d = philox(u64(block), u64(turn), u64(step), u64(role), key)
    out[0], out[1], out[2], out[3] = unit32(a), unit32(b), unit32(c), unit32(d)
