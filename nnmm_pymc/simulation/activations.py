"""The functions g through which omics act on traits, and their expectation given the genotypes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnmm_pymc.errors import InputError

Array = NDArray[np.float64]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "tanh": np.tanh,
    "sigmoid": lambda z: 0.5 * (1.0 + np.tanh(0.5 * z)),
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
}
SLOPES_BELOW_ZERO = {"identity": 1.0, "relu": 0.0, "leaky_relu": 0.01}  # above zero it is 1
QUADRATURE_NODES = 40


def resolve_activation(activation: Any) -> tuple[Callable[[Array], Array], str]:
    """The elementwise function and its name; a user's own is checked at every call."""
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation], activation
    if not callable(activation):
        raise InputError(
            f"activation is {activation!r}; give {', '.join(ACTIVATIONS)} or a function."
        )
    name = getattr(activation, "__name__", type(activation).__name__)

    def checked(z: Array) -> Array:
        values = np.asarray(activation(z), dtype=np.float64)
        if values.shape != z.shape or not np.isfinite(values).all():
            raise InputError(
                f"activation {name} does not return one finite number for each element of its "
                "array; write it with NumPy functions that act elementwise."
            )
        return values

    return checked, name


def expected_activation(g: Callable[[Array], Array], mean: Array, sd: Array) -> Array:
    """E[g(mean + sd * normal)]: in closed form if g is two straight lines, else by quadrature."""
    for name, slope in SLOPES_BELOW_ZERO.items():
        if g is not ACTIVATIONS[name]:  # by identity: a user's function may bear the same name
            continue
        ratio = mean / np.maximum(sd, 1e-100)  # without a residual the limit is g(mean)
        below = np.vectorize(math.erfc, otypes=[float])(ratio / math.sqrt(2)) / 2
        density = np.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
        return slope * mean + (1 - slope) * (mean * (1 - below) + sd * density)
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(QUADRATURE_NODES)
    node_weights = node_weights / node_weights.sum()
    expected = np.zeros_like(mean)
    for node, weight in zip(nodes, node_weights, strict=True):
        expected += weight * g(mean + sd * node)
    return expected
