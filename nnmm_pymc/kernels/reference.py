r"""Centre and precision of the Gaussian around which trajectories of a standard network turn.

Coefficients of column k have the precision :math:`P_k + \tau_k X'X` and the linear term
:math:`P_k m + \tau_k X'y`, with X and y the complete rows, :math:`P_k` and m the prior's precision
and mean, and :math:`\tau_k` one over the residual variance; of their precision the diagonal is
taken. Missing cells have the mean and precision that their prior has at this centre.
"""

from __future__ import annotations

import numpy as np

from nnmm_pymc.kernels.jit import kernel, part
from nnmm_pymc.kernels.rows import take_at

__all__ = ["reference_density"]

# Of the precision of all rows: keeps what has no data and a flat prior solvable.
LITTLE = 1e-9


@part()
def _coefficients(index, cross, linear, every, scale, prior_mean, prior_precision, centre):
    """Put the mean of coefficients, (c, column), given prior and complete rows into `centre`.

    X'X, (column, c, c), X'y and the precision that all rows bring, (c, column), are in units of the
    residual variance, 1 over `scale`.
    """
    size = index.shape[0]
    for k in range(index.shape[1] if size else 0):
        matrix, right = scale[k] * cross[k], scale[k] * linear[:, k]
        for a in range(size):
            at = index[a, k]
            prior = prior_precision[at]
            matrix[a, a] += prior + LITTLE * scale[k] * every[a, k]
            right[a] += prior * prior_mean[at]
        found = np.linalg.solve(matrix, right)
        for a in range(size):
            centre[index[a, k]] = found[a]


@part()
def _add_precision(index, every, scale, precision):
    for a in range(index.shape[0]):
        for k in range(index.shape[1]):
            precision[index[a, k]] += scale[k] * every[a, k]


@kernel()
def reference_density(priors, middle, cells, trait, whitening):
    """Centre and precision of every element of the stacked vector.

    Parameters
    ----------
    priors : tuple of two (m,) arrays
        Means and precisions.
    middle, trait : tuples
        Where the coefficients of each column stand, X'X, X'y and the diagonal of X'X of all rows,
        as `_coefficients` takes them, and one over the residual variances.
    cells : tuple
        Where the missing cells begin in the vector, where those of each omic begin and end among
        them, the row of each, the design of these rows, (c, row), and the held part of the means.
    whitening : tuple
        Elements of each trait that are multiplied by a matrix, and these matrices.

    Returns
    -------
    centre, precision : (m,) arrays
    """
    prior_mean, prior_precision = priors
    centre, precision = prior_mean.copy(), prior_precision.copy()
    index, cross, linear, every, scale = middle
    _coefficients(index, cross, linear, every, scale, prior_mean, prior_precision, centre)
    _add_precision(index, every, scale, precision)
    first, bounds, row, design, offset = cells
    for k in range(scale.shape[0]):
        own = slice(bounds[k], bounds[k + 1])
        there = slice(first + bounds[k], first + bounds[k + 1])
        centre[there] = offset[own]
        precision[there] = scale[k]
        for c in range(index.shape[0]):
            take_at(centre[there], row[own], centre[index[c, k]], design[c])
    index, cross, linear, every, scale = trait
    _coefficients(index, cross, linear, every, scale, prior_mean, prior_precision, centre)
    _add_precision(index, every, scale, precision)
    # In coordinates that whiten the regressors its precision is that of the residual.
    own, inverse = whitening
    for t in range(own.shape[0]):
        old = centre[own[t]]
        for a in range(own.shape[1]):
            centre[own[t, a]] = 0.0
            precision[own[t, a]] = scale[t]
            for b in range(own.shape[1]):
                centre[own[t, a]] += inverse[t, a, b] * old[b]
    return centre, precision
