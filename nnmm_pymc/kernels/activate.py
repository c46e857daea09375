"""The built-in activations and their slopes."""

from __future__ import annotations

from nnmm_pymc.kernels.elementary import exp
from nnmm_pymc.kernels.jit import FAST, part

__all__ = ["ACTIVATION_CODES", "activate_all"]

ACTIVATION_CODES = {"identity": 0, "tanh": 1, "sigmoid": 2, "relu": 3, "leaky_relu": 4}


@part(error_model="numpy", fastmath=FAST)
def activate_all(code, leak, z, centre, scale, value, slope):
    """Fill `value` and `slope` with the activation of ``(z - centre) / scale``, slopes in z.

    With s the sigmoid, tanh(x) = 2 s(2 x) - 1.
    """
    inverse = 1.0 / scale
    if code == 1 or code == 2:
        twice = 2.0 if code == 1 else 1.0
        for i in range(z.shape[0]):
            s = 1.0 / (1.0 + exp(twice * inverse * (centre - z[i])))
            value[i] = twice * s - (twice - 1.0)
            slope[i] = twice * twice * inverse * s * (1.0 - s)
    else:
        below = 1.0 if code == 0 else leak
        for i in range(z.shape[0]):
            v = (z[i] - centre) * inverse
            rate = 1.0 if v > 0.0 else below
            value[i], slope[i] = rate * v, rate * inverse
