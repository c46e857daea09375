"""From drawn liabilities to values as they are observed (`nnmm_pymc.families`)."""

from __future__ import annotations

import numpy as np

from nnmm_pymc.description import NodeDescription
from nnmm_pymc.merit import Batch

__all__ = ["observed_values"]

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
    if node.family == "poisson":
        return rng.poisson(np.exp(np.minimum(liability, LARGEST))).astype(float)
    if node.categories is None:
        return liability
    cuts = batch.parameters[f"{node.name}_cutpoints"]
    above = liability[..., None] > cuts[:, None, None, :]
    return np.asarray(node.categories)[above.sum(axis=-1)]
