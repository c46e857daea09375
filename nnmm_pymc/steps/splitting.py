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

from nnmm_pymc.kernels.reference import reference_density

if TYPE_CHECKING:
    from nnmm_pymc.steps.fused import FusedDensity

__all__ = ["gaussian_reference"]


def gaussian_reference(fused: FusedDensity) -> tuple[np.ndarray, np.ndarray]:
    """Centre and precision of every element, in the order of the kernels, for the draw prepared."""
    held, rows = fused.held, fused.rows
    middle = (
        fused.indices[0],
        fused.middle_cross,
        held.middle_linear,
        fused.middle_squares,
        held.middle_precision,
    )
    cells = (fused.slices[fused.network.missing].start, rows[1], rows[0], rows[5], held.cell_offset)
    trait = (fused.regression_index, *_regression(fused), held.trait_precision)
    whitening = (fused.whitening.index, fused.whitening.inverse)
    return reference_density(fused.priors, middle, cells, trait, whitening)


def _regression(fused: FusedDensity) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X'X, (trait, c, c), and X'y, (c, trait), of the complete rows, and the squares of all."""
    if len(fused.indices[2]):
        return fused.used_cross, fused.held.trait_linear * fused.used, fused.trait_squares
    # Weights with a step of their own are held.
    k = len(fused.network.weight_mask)
    fitted = np.einsum("tdk,kt->dt", fused.trait_cross[:, k:, :k], fused.held.weights)
    cross, linear = fused.trait_cross[:, k:, k:], fused.held.trait_linear[k:] - fitted
    return np.ascontiguousarray(cross), np.ascontiguousarray(linear), fused.trait_squares[k:]
