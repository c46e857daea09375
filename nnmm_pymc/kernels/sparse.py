r"""Draws and solutions of sparse symmetric systems :math:`P u = b`.

A factor :math:`P = F F'` solves exactly and colours noise: :math:`F z` has the covariance P. Where
it would fill in, conjugate gradients solve :math:`(\mathrm{diag}(d) + s Q) u = b` to a residual
that rounding hides (Hestenes & Stiefel 1952, J Res Natl Bur Stand 49:409; scaled by the diagonal).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from nnmm_pymc.kernels.jit import kernel, part

__all__ = ["SparseFactor", "conjugate_gradients", "symmetric_product"]


class SparseFactor:
    """Factor F of a sparse symmetric positive definite matrix P = FF'.

    Parameters
    ----------
    matrix : (n, n) sparse array

    Raises
    ------
    numpy.linalg.LinAlgError
        The matrix is not positive definite.
    """

    def __init__(self, matrix):
        try:
            lu = splu(
                sparse.csc_array(matrix),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
        except RuntimeError as error:  # exactly singular
            raise np.linalg.LinAlgError(str(error)) from None
        pivots = lu.U.diagonal()
        # Without pivoting LU of a symmetric matrix is LDL'.
        if not np.array_equal(lu.perm_r, lu.perm_c) or not np.all(pivots > 0):
            raise np.linalg.LinAlgError("the matrix is not positive definite")
        self._lu, self._order = lu, lu.perm_r
        self._lower, self._root = lu.L, np.sqrt(pivots)
        self.log_determinant = float(np.log(pivots).sum())
        self.nnz = int(self._lower.nnz)

    def solve(self, right: np.ndarray) -> np.ndarray:
        """P^-1 b; (n,) or (n, k)."""
        return self._lu.solve(right)

    def times(self, white: np.ndarray) -> np.ndarray:
        """F z; (n,) or (n, k)."""
        scaled = (white.T * self._root).T
        return (self._lower @ scaled)[self._order]


@part(fastmath={"reassoc", "contract"})
def symmetric_product(indptr, indices, data, values, out):
    """Q v into `out`, of a symmetric matrix by its columns (or rows)."""
    for i in range(len(out)):
        total = 0.0
        for at in range(indptr[i], indptr[i + 1]):
            total += data[at] * values[indices[at]]
        out[i] = total


@kernel(fastmath={"reassoc", "contract"})
def conjugate_gradients(indptr, indices, data, scale, diagonal, right, start, tolerance, limit):
    """Solve (diag(d) + s Q) u = b by conjugate gradients, in place of `start`.

    Parameters
    ----------
    indptr, indices, data
        Q by columns, symmetric.
    scale : float
        s.
    diagonal, right, start : (n,) arrays
        d, b, and where to start.
    tolerance : float
        Of the residual's norm over that of b, both scaled by the roots of the diagonal.
    limit : int
        Most iterations.

    Returns
    -------
    int
        Iterations; -1 if the limit was reached.
    """
    n = len(right)
    inverse, product = np.empty(n), np.empty(n)
    residual, direction = np.empty(n), np.empty(n)
    for i in range(n):
        own = diagonal[i]
        for at in range(indptr[i], indptr[i + 1]):
            if indices[at] == i:
                own += scale * data[at]
        inverse[i] = 1.0 / own
    symmetric_product(indptr, indices, data, start, product)
    size = 0.0
    rho = 0.0
    for i in range(n):
        residual[i] = right[i] - diagonal[i] * start[i] - scale * product[i]
        direction[i] = inverse[i] * residual[i]
        rho += residual[i] * direction[i]
        size += right[i] * right[i] * inverse[i]
    goal = tolerance * tolerance * size
    for iteration in range(limit):
        if rho <= goal:
            return iteration
        symmetric_product(indptr, indices, data, direction, product)
        curvature = 0.0
        for i in range(n):
            product[i] = diagonal[i] * direction[i] + scale * product[i]
            curvature += direction[i] * product[i]
        step = rho / curvature
        new = 0.0
        for i in range(n):
            start[i] += step * direction[i]
            residual[i] -= step * product[i]
            new += residual[i] * residual[i] * inverse[i]
        ratio = new / rho
        rho = new
        for i in range(n):
            direction[i] = inverse[i] * residual[i] + ratio * direction[i]
    return -1
