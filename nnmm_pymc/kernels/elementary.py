"""Exponential and logarithm, written out so that loops over them become vector instructions.

Those over the library's do not: tanh of 10,000 cells takes 15 microseconds instead of 200.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from nnmm_pymc.kernels.jit import part

__all__ = ["exp", "log"]

_LOG2_E = 1.4426950408889634
# The logarithm of 2 in two parts: multiples of the first, up to 2^11 of them, are exact.
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# Adding this leaves an integer in the lowest bits of the significand.
_SHIFT = 6755399441055744.0
# The bits of the root of 1/2.
_HALF_ROOT = 0x3FE6A09E667F3BCD


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


@part(error_model="numpy", fastmath={"contract"})
def log(x):
    """Logarithm of a positive number that is neither subnormal nor infinite.

    x = 2^k (1 + f), 1 + f between the roots of 1/2 and 2, and with s = f / (2 + f) a polynomial in
    s^2 (FreeBSD's e_log.c, Sun Microsystems 1993).
    """
    bits = _bits(x)
    k = (bits - _HALF_ROOT) >> 52
    f = _number(bits - (k << 52)) - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = 1.479819860511658591e-01
    r = r * z + 1.531383769920937332e-01
    r = r * z + 1.818357216161805012e-01
    r = r * z + 2.222219843214978396e-01
    r = r * z + 2.857142874366239149e-01
    r = r * z + 3.999999999940941908e-01
    r = r * z + 6.666666666666735130e-01
    half = 0.5 * f * f
    return k * _LN2_HIGH - ((half - (s * (half + r * z) + k * _LN2_LOW)) - f)
