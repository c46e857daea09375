r"""The Gaussian around which trajectories of a standard network turn.

Missing cells have a normal prior given their parents, and the complete rows make weights and
coefficients nearly normal. The part :math:`N(c, P^{-1})`, P diagonal, of the density a trajectory
follows exactly; only the rest, most of it what the traits of the incomplete rows say, is taken in
steps (Shahbaba, Lan, Johnson & Neal 2014, Stat Comput 24:339). Any c and P leave the density as it
is, if they come from what the trajectory does not move: variances, genetic values and data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nnmm_pymc.steps.fused import FusedDensity

__all__ = ["gaussian_reference"]

# Of the precision of all rows: keeps what has no data and a flat prior solvable.
LITTLE = 1e-9


def gaussian_reference(fused: FusedDensity) -> tuple[np.ndarray, np.ndarray]:
    """Centre and precision of every element, in the order of the kernels, for the draw prepared."""
    net, held = fused.network, fused.held
    centre, precision = fused.prior_mean.copy(), fused.prior_precision.copy()
    middle, trait, weights = fused.indices
    mean = held.cell_offset
    if len(middle):
        every = fused.middle_squares * held.middle_precision
        complete = (fused.middle_cross, held.middle_linear, held.middle_precision)
        centre[middle] = _mean(fused, middle, *complete, every)
        precision[middle] += every
        mean = mean + (fused.middle_rows @ centre[middle]).ravel().take(fused.cell_places)
    cells = fused.slices[net.missing]
    centre[cells] = mean
    precision[cells] = np.repeat(held.middle_precision, fused.cell_counts)
    own = np.vstack([weights, trait])
    if len(own):
        cross, linear, squares = _regression(fused)
        every = squares * held.trait_precision
        centre[own] = _mean(fused, own, cross, linear, held.trait_precision, every)
        precision[own] += every
        # In coordinates that whiten the regressors its precision is that of the residual.
        for t, index in enumerate(fused.whitening.index):
            precision[index] = held.trait_precision[t]
        centre = fused.whitening.inward(centre)
    return centre, precision


def _regression(fused: FusedDensity) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X'X, (trait, c, c), and X'y, (c, trait), of the complete rows, and the squares of all."""
    if len(fused.indices[2]):
        return fused.used_cross, fused.held.trait_linear * fused.used, fused.trait_squares
    # Weights with a step of their own are held.
    k = len(fused.network.weight_mask)
    fitted = np.einsum("tdk,kt->dt", fused.trait_cross[:, k:, :k], fused.held.weights)
    linear = fused.held.trait_linear[k:] - fitted
    return fused.trait_cross[:, k:, k:], linear, fused.trait_squares[k:]


def _mean(
    fused: FusedDensity,
    index: np.ndarray,
    cross: np.ndarray,
    linear: np.ndarray,
    scale: np.ndarray,
    every: np.ndarray,
) -> np.ndarray:
    """Mean of coefficients, (c, column), given their prior and the complete rows.

    X'X and X'y are in units of the residual variance, 1 over `scale`; `every` is the precision, of
    this order, that all rows bring.
    """
    prior = fused.prior_precision[index]
    total = cross * scale[:, None, None]
    diagonal = np.arange(len(index))
    total[:, diagonal, diagonal] += (prior + LITTLE * every).T
    right = linear * scale + prior * fused.prior_mean[index]
    return np.linalg.solve(total, right.T[..., None])[..., 0].T
