"""The built-in activations and their slopes, one value at a time or a whole array.

The exponential is written out, so that loops over it become vector instructions, as those over the
library's do not: tanh of 10,000 cells takes 15 microseconds instead of 200.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from nnmm_pymc.kernels.jit import FAST, kernel, part

__all__ = ["ACTIVATION_CODES", "activate", "activate_all", "exp"]

ACTIVATION_CODES = {"identity": 0, "tanh": 1, "sigmoid": 2, "relu": 3, "leaky_relu": 4}

_LOG2_E = 1.4426950408889634
# The logarithm of 2 in two parts: multiples of the first, up to 2^11 of them, are exact.
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# Adding this leaves an integer in the lowest bits of the significand.
_SHIFT = 6755399441055744.0


def _bitcast(source, target, kind):
    @intrinsic
    def cast(typingctx, value):
        def codegen(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], kind)

        return target(source), codegen

    return cast


_bits = _bitcast(types.float64, types.int64, ir.IntType(64))
_number = _bitcast(types.int64, types.float64, ir.DoubleType())


@part(error_model="numpy", fastmath={"contract"})
def exp(x):
    """Exponential of an argument held between -700 and 700.

    Compiled by itself: callers let sums be reordered, which would undo the reduction
    x = k log 2 + r, r at most log(2)/2: a polynomial in r, and k added to the exponent.
    """
    x = min(max(x, -700.0), 700.0)
    shifted = x * _LOG2_E + _SHIFT
    k = shifted - _SHIFT
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    value = 1.0 / 479001600.0
    value = value * r + 1.0 / 39916800.0
    value = value * r + 1.0 / 3628800.0
    value = value * r + 1.0 / 362880.0
    value = value * r + 1.0 / 40320.0
    value = value * r + 1.0 / 5040.0
    value = value * r + 1.0 / 720.0
    value = value * r + 1.0 / 120.0
    value = value * r + 1.0 / 24.0
    value = value * r + 1.0 / 6.0
    value = value * r + 0.5
    value = value * r + 1.0
    value = value * r + 1.0
    return value * _number((_bits(shifted) << 52) + (1023 << 52))


@part(error_model="numpy", fastmath=FAST)
def _sigmoid(z):
    return 1.0 / (1.0 + exp(-z))


@kernel(error_model="numpy", fastmath=FAST)
def activate(code, leak, z):
    """Value and slope of the activation."""
    if code == 0:
        return z, 1.0
    if code == 1:
        value = 2.0 * _sigmoid(2.0 * z) - 1.0
        return value, 1.0 - value * value
    if code == 2:
        value = _sigmoid(z)
        return value, value * (1.0 - value)
    if z > 0.0:
        return z, 1.0
    return leak * z, leak


@part(error_model="numpy", fastmath=FAST)
def activate_all(code, leak, z, centre, scale, value, slope):
    """Fill `value` and `slope` with the activation of ``(z - centre) / scale``, slopes in z."""
    inverse = 1.0 / scale
    if code == 0:
        for i in range(z.shape[0]):
            value[i], slope[i] = (z[i] - centre) * inverse, inverse
    elif code == 1:
        for i in range(z.shape[0]):
            v = 2.0 * _sigmoid(2.0 * inverse * (z[i] - centre)) - 1.0
            value[i], slope[i] = v, inverse * (1.0 - v * v)
    elif code == 2:
        for i in range(z.shape[0]):
            v = _sigmoid(inverse * (z[i] - centre))
            value[i], slope[i] = v, inverse * v * (1.0 - v)
    else:
        for i in range(z.shape[0]):
            v = (z[i] - centre) * inverse
            rate = 1.0 if v > 0.0 else leak
            value[i], slope[i] = rate * v, rate * inverse
