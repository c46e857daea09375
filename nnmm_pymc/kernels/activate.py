"""The built-in activations and their slopes, one value at a time or a whole array."""

from __future__ import annotations

from nnmm_pymc.kernels.elementary import exp
from nnmm_pymc.kernels.jit import FAST, kernel, part

__all__ = ["ACTIVATION_CODES", "activate", "activate_all"]

ACTIVATION_CODES = {"identity": 0, "tanh": 1, "sigmoid": 2, "relu": 3, "leaky_relu": 4}


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
