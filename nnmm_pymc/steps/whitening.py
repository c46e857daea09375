"""Coordinates in which the weights of a standard network are nearly uncorrelated.

Activations of one sign (sigmoid) make weights and intercept of a trait so strongly correlated that
a trajectory with a diagonal mass matrix takes ten times as many steps. With A the cross-products of
the regressors, b = L u and L' A L = I, the likelihood of u is close to spherical; A holds constants
only, so that this is a change of coordinates, the same at every draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular

from nnmm_pymc.activations import NUMPY_ACTIVATIONS

if TYPE_CHECKING:
    from nnmm_pymc.steps.fused import FusedDensity

__all__ = ["NONE", "Whitening", "find_whitening"]


@dataclass(frozen=True, eq=False)
class Whitening:
    """A linear map of some elements of a vector.

    Attributes
    ----------
    index : (T, c) array of int
        Elements that belong to each trait.
    factor, inverse : (T, c, c) arrays
        L of the module's formula and its inverse.
    """

    index: np.ndarray
    factor: np.ndarray
    inverse: np.ndarray

    def inward(self, q: np.ndarray) -> np.ndarray:
        """u, given b."""
        q = q.copy()
        for own, inverse in zip(self.index, self.inverse, strict=True):
            q[own] = inverse @ q[own]
        return q

    def outward(self, q: np.ndarray) -> np.ndarray:
        """b, given u."""
        q = q.copy()
        for own, factor in zip(self.index, self.factor, strict=True):
            q[own] = factor @ q[own]
        return q


NONE = Whitening(np.zeros((0, 0), np.int64), *np.zeros((2, 0, 0, 0)))


def find_whitening(fused: FusedDensity) -> Whitening:
    """Coordinates for the weights and coefficients of each trait.

    Cells that are missing are taken to have the mean activation of their omic, or that of its
    centre where none is observed.
    """
    net = fused.network
    _, trait, weights = fused.indices
    index = np.vstack([weights, trait]).T
    if index.shape[1] < 2:
        return NONE
    activate = NUMPY_ACTIVATIONS[net.activation]
    columns = []
    if len(weights):
        z = (net.middle.observed - net.centre) / net.scale
        seen = ~np.isnan(z)
        count = np.maximum(1, seen.sum(axis=0))
        value = activate(np.where(seen, z, 0.0))
        mean = np.where(seen.any(axis=0), (value * seen).sum(axis=0) / count, activate(np.zeros(1)))
        columns.append(np.where(seen, value, mean))
    design = np.hstack([*columns, fused.trait_design])
    y = net.terminal.observed
    factors, inverses = [], []
    for t, own in enumerate(index):
        counted = ~np.isnan(y[:, t])
        used = np.ones(index.shape[1])
        used[: len(weights)] = net.weight_mask[:, t] if len(weights) else 0.0
        rows = design[counted] * used
        ridge = fused.prior_precision[own] * max(float(np.var(y[counted, t])), 1e-300)
        # An omic without variation, or without a cell, has nothing but its prior.
        floor = 1e-6 * np.maximum(np.einsum("ij,ij->j", rows, rows), len(rows))
        lower = np.linalg.cholesky(rows.T @ rows + np.diag(ridge + floor))
        factors.append(solve_triangular(lower, np.eye(len(own)), lower=True).T)
        inverses.append(lower.T)
    return Whitening(np.ascontiguousarray(index), np.array(factors), np.array(inverses))
