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

Activation = str | Callable[[Any], Any]

# The mean of tanh or sigmoid of N(m, 1) is right to 1e-4, far below any posterior sd.
QUADRATURE_NODES = 15


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


def gaussian_moments(
    activation: Activation, mean: np.ndarray, sd: np.ndarray, nodes: int = QUADRATURE_NODES
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of g(z) for z ~ N(mean, sd^2).

    Closed form for identity, relu and leaky relu (Gaussian moments above zero), Gauss-Hermite
    quadrature for the others.

    Parameters
    ----------
    activation : str or callable
        Name of the activation, or an elementwise function of arrays.
    mean, sd : arrays that broadcast
    nodes : int
        Of the quadrature.

    Returns
    -------
    mean, variance : arrays
    """
    mean, sd = np.broadcast_arrays(mean, sd)
    if activation == "identity":
        return mean, sd**2
    if activation in ("relu", "leaky_relu"):
        return _leaky_moments(mean, sd, LEAK if activation == "leaky_relu" else 0.0)
    function = NUMPY_ACTIVATIONS[activation] if isinstance(activation, str) else activation
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    first, second = np.zeros(mean.shape), np.zeros(mean.shape)
    for node, weight in zip(at, weights / weights.sum(), strict=True):
        value = function(mean + sd * node)
        first += weight * value
        second += weight * value**2
    return first, np.maximum(second - first**2, 0.0)


def _leaky_moments(mean: np.ndarray, sd: np.ndarray, leak: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of max(z, 0) + leak min(z, 0)."""
    ratio = np.clip(mean / np.maximum(sd, 1e-300), -40.0, 40.0)
    above = ndtr(ratio)
    density = np.exp(-0.5 * ratio**2) / np.sqrt(2.0 * np.pi)
    first = mean * above + sd * density
    second = (mean**2 + sd**2) * above + mean * sd * density
    total = first + leak * (mean - first)
    square = second + leak**2 * (mean**2 + sd**2 - second)
    return total, np.maximum(square - total**2, 0.0)
