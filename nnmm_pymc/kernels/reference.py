r"""Centre and precision of the Gaussian around which trajectories of a standard network turn.

Coefficients of column k have the precision :math:`P_k + \tau_k X'X` and the linear term
:math:`P_k m + \tau_k X'y`, with X and y the complete rows, :math:`P_k` and m the prior's precision
and mean, and :math:`\tau_k` one over the residual variance; of their precision the diagonal is
taken. Missing cells have the mean and precision that their prior has at this centre.
"""

from __future__ import annotations

import numpy as np

from nnmm_pymc.kernels.jit import FAST, kernel, section
from nnmm_pymc.kernels.rows import take_at

__all__ = ["reference_density"]

# Of the precision of all rows: keeps what has no data and a flat prior solvable.
LITTLE = 1e-9


@section
def _solve(matrix, right):
    """Put the solution of a positive definite system into its right side; the matrix is used up.

    By elimination: numba's way to LAPACK takes four seconds to compile.
    """
    size = right.shape[0]
    for a in range(size):
        for b in range(a + 1, size):
            ratio = matrix[b, a] / matrix[a, a]
            right[b] -= ratio * right[a]
            for c in range(a + 1, size):
                matrix[b, c] -= ratio * matrix[a, c]
    for a in range(size - 1, -1, -1):
        for b in range(a + 1, size):
            right[a] -= matrix[a, b] * right[b]
        right[a] /= matrix[a, a]


@section
def _coefficients(side, prior_mean, prior_precision, centre, precision):
    """Put the mean of coefficients, (c, column), given prior and complete rows into `centre`.

    X'X, (column, c, c), X'y and the precision that all rows bring, (c, column), are in units of the
    residual variance, 1 over `scale`. That precision is added to the prior's.
    """
    index, cross, linear, every, scale = side
    size = index.shape[0]
    matrix, right = np.empty((size, size)), np.empty(size)
    for k in range(index.shape[1] if size else 0):
        for a in range(size):
            at = index[a, k]
            prior = prior_precision[at]
            for b in range(size):
                matrix[a, b] = scale[k] * cross[k, a, b]
            matrix[a, a] += prior + LITTLE * scale[k] * every[a, k]
            right[a] = scale[k] * linear[a, k] + prior * prior_mean[at]
        _solve(matrix, right)
        for a in range(size):
            centre[index[a, k]] = right[a]
            precision[index[a, k]] += scale[k] * every[a, k]


@kernel(fastmath=FAST, error_model="numpy")
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
    for side in (trait, middle):
        _coefficients(side, prior_mean, prior_precision, centre, precision)
    index, scale = middle[0], middle[4]
    first, bounds, row, design, offset = cells
    for k in range(scale.shape[0]):
        own = slice(bounds[k], bounds[k + 1])
        there = slice(first + bounds[k], first + bounds[k + 1])
        for c in range(bounds[k], bounds[k + 1]):
            centre[first + c], precision[first + c] = offset[c], scale[k]
        for c in range(index.shape[0]):
            take_at(centre[there], row[own], centre[index[c, k]], design[c])
    # In coordinates that whiten the regressors its precision is that of the residual.
    own, inverse = whitening
    old = np.empty(own.shape[1])
    for t in range(own.shape[0]):
        for a in range(own.shape[1]):
            old[a] = centre[own[t, a]]
        for a in range(own.shape[1]):
            centre[own[t, a]] = 0.0
            precision[own[t, a]] = trait[4][t]
            for b in range(own.shape[1]):
                centre[own[t, a]] += inverse[t, a, b] * old[b]
    return centre, precision
