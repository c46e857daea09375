"""Activations by name: for PyTensor and for NumPy, and their mean when the input is Gaussian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

__all__ = ["LEAK", "NUMPY_ACTIVATIONS", "gaussian_moments", "pytensor_activation"]

#: Slope of the leaky relu left of zero.
LEAK = 0.01

NUMPY_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda z: z,
    "tanh": np.tanh,
    "sigmoid": expit,
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z: np.where(z > 0.0, z, LEAK * z),
}

# 15 nodes: the mean of tanh or sigmoid of N(m, 1) is right to 1e-4, far below its posterior sd.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def pytensor_activation(name: str) -> Callable[[Any], Any]:
    """The activation as a function of PyTensor variables."""
    import pytensor.tensor as pt

    return {
        "identity": lambda z: z,
        "tanh": pt.tanh,
        "sigmoid": pt.sigmoid,
        "relu": lambda z: pt.maximum(z, 0.0),
        "leaky_relu": lambda z: pt.where(z > 0.0, z, LEAK * z),
    }[name]


def gaussian_moments(name: str, mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of g(z) for z ~ N(mean, sd^2).

    Closed form for identity, relu and leaky relu (Gaussian moments above zero), Gauss-Hermite
    quadrature for the others.

    Parameters
    ----------
    name : str
        Name of the activation.
    mean, sd : arrays that broadcast

    Returns
    -------
    mean, variance : arrays
    """
    mean, sd = np.broadcast_arrays(mean, sd)
    if name == "identity":
        return mean, sd**2
    if name in ("relu", "leaky_relu"):
        leak = LEAK if name == "leaky_relu" else 0.0
        ratio = mean / np.maximum(sd, 1e-300)
        above = ndtr(ratio)
        density = np.exp(-0.5 * ratio**2) / np.sqrt(2.0 * np.pi)
        first = mean * above + sd * density
        second = (mean**2 + sd**2) * above + mean * sd * density
        total = first + leak * (mean - first)
        square = second + leak**2 * (mean**2 + sd**2 - second)
        return total, np.maximum(square - total**2, 0.0)
    function = NUMPY_ACTIVATIONS[name]
    first = np.zeros(mean.shape)
    second = np.zeros(mean.shape)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        value = function(mean + sd * node)
        first += weight * value
        second += weight * value**2
    return first, np.maximum(second - first**2, 0.0)
