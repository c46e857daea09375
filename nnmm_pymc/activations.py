"""Activations by name: for PyTensor and for NumPy, and their mean when the input is Gaussian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

__all__ = [
    "FUNCTIONS",
    "LEAK",
    "NUMPY_ACTIVATIONS",
    "gaussian_moments",
    "pytensor_activation",
]

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


def root_ratio(z1: Any, z2: Any) -> Any:
    """Root of the share of the first in the sum of two squares: it saturates, and is not monotone.

    References
    ----------
    Zhao, Zeng, Cheng (2022) Genetics 221:iyac034, example of a user-defined function.
    """
    return (z1**2 / (z1**2 + z2**2)) ** 0.5


#: Functions of several nodes that every formula may call.
FUNCTIONS: dict[str, Callable[..., Any]] = {"root_ratio": root_ratio}

# The logistic function as a mixture of normal distribution functions, sigma(x) = sum p Phi(s x), to
# 2e-9 (Monahan & Stefanski 1992, in Balakrishnan, Handbook of the Logistic Distribution, ch. 22).
_P = np.array(
    [
        0.003246343272134,
        0.051517477033972,
        0.195077912673858,
        0.315569823632818,
        0.274149576158423,
        0.131076880695470,
        0.027912418727972,
        0.001449567805354,
    ]
)
_S = np.array(
    [
        1.365340806296348,
        1.059523971016916,
        0.830791313765644,
        0.650732166639391,
        0.508135425366489,
        0.396313345166341,
        0.308904252267995,
        0.238212616409306,
    ]
)
# Of the quadrature for functions without a closed form: a user's own.
QUADRATURE_NODES = 40


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
    activation: Activation, mean: np.ndarray, sd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of g(z) for z ~ N(mean, sd^2).

    Closed form for the activations with a name (tanh and sigmoid through the mixture above),
    Gauss-Hermite quadrature for others.

    Parameters
    ----------
    activation : str or callable
        Name of the activation, or an elementwise function of arrays.
    mean, sd : arrays that broadcast

    Returns
    -------
    mean, variance : arrays
    """
    mean, sd = np.broadcast_arrays(mean, sd)
    if activation == "identity":
        return mean, sd**2
    if activation in ("relu", "leaky_relu"):
        return _leaky_moments(mean, sd, LEAK if activation == "leaky_relu" else 0.0)
    if activation == "sigmoid":
        first, slope = _logistic_moments(mean, sd)
        return first, np.maximum(first - slope - first**2, 0.0)
    if activation == "tanh":
        first, slope = _logistic_moments(2.0 * mean, 2.0 * sd)
        first = 2.0 * first - 1.0
        return first, np.maximum(1.0 - 4.0 * slope - first**2, 0.0)
    if isinstance(activation, str):
        raise KeyError(activation)
    at, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE_NODES)
    first, second = np.zeros(mean.shape), np.zeros(mean.shape)
    for node, weight in zip(at, weights / weights.sum(), strict=True):
        value = activation(mean + sd * node)
        first += weight * value
        second += weight * value**2
    return first, np.maximum(second - first**2, 0.0)


def _logistic_moments(mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of sigma(z) and of its slope sigma(z)(1 - sigma(z)); E s phi(s z) = t phi(t mean)."""
    first, slope = np.zeros(mean.shape), np.zeros(mean.shape)
    for p, s in zip(_P, _S, strict=True):
        t = s / np.sqrt(1.0 + (s * sd) ** 2)
        at = t * mean
        first += p * ndtr(at)
        slope += p * t * np.exp(-0.5 * np.minimum(at**2, 1400.0)) / np.sqrt(2.0 * np.pi)
    return first, slope


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
