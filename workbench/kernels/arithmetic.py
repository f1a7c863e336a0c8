"""Arithmetic of the compiled loops: fast exponentials, and limits of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from workbench.kernels.compiling import f32, f64, i32, i64, inlined

LARGEST_LOGIT = 80.0
FASTEST = -22.9  # below log(-log(u)) for every u that inside gives


@inlined
def inside(word: Any) -> Any:
    """A word as a uniform in (0, 1)."""
    return (f64(i64(word)) + 0.5) * 2.0**-32


@intrinsic  # type: ignore[untyped-decorator]
def bits_to_float(_context: Any, _word: Any) -> Any:
    """Reinterpret the bits of an int32 as float32."""

    def codegen(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), codegen


@inlined
def saturated(logit: float) -> float:
    """A logit cut so that its exponential, and the exponential's inverse, are normal float32 numbers."""
    return min(max(logit, -LARGEST_LOGIT), LARGEST_LOGIT)


@inlined
def exp32(x: Any) -> Any:
    """e^x in float32, relative error below 2e-7: 2^k by its exponent bits times a degree-6 polynomial (Cephes)."""
    x = x if x < f32(80) else f32(80)
    x = x if x > f32(-80) else f32(-80)
    k = np.floor(x * f32(1.44269504) + f32(0.5))
    r = x - k * f32(0.693359375) - k * f32(-2.12194440e-4)  # x - k ln 2, ln 2 in two parts
    y = f32(1.9875691500e-4)
    y = y * r + f32(1.3981999507e-3)
    y = y * r + f32(8.3334519073e-3)
    y = y * r + f32(4.1665795894e-2)
    y = y * r + f32(1.6666665459e-1)
    y = y * r + f32(5.0000001201e-1)
    y = y * r * r + r + f32(1)
    return y * bits_to_float((i32(k) + i32(127)) << i32(23))
