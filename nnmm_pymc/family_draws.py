"""From drawn liabilities to values as they are observed (`nnmm_pymc.families`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnmm_pymc.description import NodeDescription
from nnmm_pymc.families import COUNTS

if TYPE_CHECKING:
    from nnmm_pymc.merit import Batch

__all__ = ["observed_values", "tail_variance"]

# Logarithm of the largest mean of a count that is drawn.
LARGEST = 40.0


def observed_values(
    node: NodeDescription, batch: Batch, liability: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Values of a node, (draw, individual, column): 0 or 1, categories, counts, or the liability.

    The mean over draws of a binary trait is its probability.
    """
    if node.family == "bernoulli":
        return (liability > 0).astype(float)
    if node.family in COUNTS:
        mean = np.exp(np.minimum(liability, LARGEST))
        if node.family == "negative_binomial":
            phi = batch.parameters[f"{node.name}_dispersion"].reshape(len(mean), 1, -1)
            # At a dispersion below this the gamma number is 1.
            phi = np.maximum(phi, 1e-12)
            mean = mean * rng.gamma(1.0 / phi, phi, mean.shape)
        return rng.poisson(mean).astype(float)
    if node.categories is None:
        return liability
    cuts = batch.parameters[f"{node.name}_cutpoints"]
    above = liability[..., None] > cuts[:, None, None, :]
    return np.asarray(node.categories)[above.sum(axis=-1)]


def tail_variance(
    node: NodeDescription, batch: Batch, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray | float:
    """How far the variance of each residual of a t, given its precision, is above the parameter."""
    if node.family != "student_t":
        return 0.0
    df = batch.parameters[f"{node.name}_df"].reshape(shape[0], 1, -1)
    variance = batch.parameters[node.residual_variance].reshape(shape[0], 1, -1)
    return variance * ((df - 2.0) / rng.chisquare(df, shape) - 1.0)
