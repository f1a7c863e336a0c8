"""Random bits: Philox4x32-10, and uniforms of a stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.kernels.compiling import Array, Stream, compiled, f32, f64, i32, i64, inlined, u64

_M0, _M1 = u64(0xD2511F53), u64(0xCD9E8D57)  # Philox multipliers
_W0, _W1 = u64(0x9E3779B9), u64(0xBB67AE85)  # Weyl key increments
LOW32, SHIFT32 = u64(0xFFFFFFFF), u64(32)
TWO_M24 = f32(2.0**-24)
TWO_M53 = f64(2.0**-53)


@inlined
def philox(c0: Any, c1: Any, c2: Any, c3: Any, key: Any) -> tuple[Any, Any, Any, Any]:
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


@inlined
def unit32(word: Any) -> Any:
    return f32(i32(word >> u64(8))) * TWO_M24


@inlined
def other_seed(keys: Array, r: int) -> bool:
    """Whether lane r has another seed than the lane before it. Numbers of lanes of one seed are drawn once."""
    return r == 0 or keys[r] != keys[r - 1]


@inlined
def unit_row(key: Any, role: int, clock: int, out: Array) -> None:
    """out (blocks, 4) = uniforms of one stream."""
    for block in range(out.shape[0]):
        a, b, c, d = philox(u64(block), u64(clock) >> SHIFT32, u64(clock), u64(role), key)
        out[block, 0], out[block, 1], out[block, 2], out[block, 3] = unit32(a), unit32(b), unit32(c), unit32(d)


@compiled
def fill_uniforms(keys: Array, role: int, clock: int, out: Array) -> None:
    row = np.empty(((out.shape[1] + 3) // 4, 4), np.float32)
    for r in range(out.shape[0]):
        if other_seed(keys, r):
            unit_row(keys[r], role, clock, row)
        out[r] = row.reshape(row.size)[: out.shape[1]]


@inlined
def unit53_row(key: Any, role: int, clock: int, out: Array) -> None:
    """out (blocks, 2) = float64 uniforms with 53 bits, two words each."""
    for block in range(out.shape[0]):
        a, b, c, d = philox(u64(block), u64(clock) >> SHIFT32, u64(clock), u64(role), key)
        out[block, 0] = f64(i64((a << u64(21)) ^ (b >> u64(11)))) * TWO_M53
        out[block, 1] = f64(i64((c << u64(21)) ^ (d >> u64(11)))) * TWO_M53


@inlined
def unit53(high: Any, low: Any) -> Any:
    """Two words as a float64 uniform in [0, 1)."""
    return f64(i64((high << u64(21)) ^ (low >> u64(11)))) * TWO_M53


@inlined
def words(block: Any, stream: Stream) -> tuple[Any, Any, Any, Any]:
    """The four words of a block of a stream (turn, step, role, seed)."""
    turn, step, role, key = stream
    return philox(block, turn, step, role, key)


@inlined
def unit_block(block: Any, turn: Any, step: int, role: int, key: Any, out: Array) -> None:
    a, b, c, d = philox(u64(block), u64(turn), u64(step), u64(role), key)
    out[0], out[1], out[2], out[3] = unit32(a), unit32(b), unit32(c), unit32(d)
