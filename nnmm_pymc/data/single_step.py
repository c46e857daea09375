r"""Single-step: one relationship matrix H for genotyped and ungenotyped individuals together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.linalg import LinAlgError, cho_solve, cholesky

from nnmm_pymc.data.genotypes import Genotypes
from nnmm_pymc.data.names import clean_names, some
from nnmm_pymc.data.pedigree import Pedigree
from nnmm_pymc.data.precision import Precision
from nnmm_pymc.data.quality import BLOCK, MISSING
from nnmm_pymc.data.relationship import Relationship
from nnmm_pymc.errors import InputError

__all__ = ["genomic_matrix", "single_step"]

# Smallest diagonal element of a Cholesky factor over the largest: below, rounding error.
_SINGULAR = 1e-6


def single_step(
    pedigree: Pedigree,
    genomic: Genotypes | pd.DataFrame,
    blending: float = 0.05,
    scaling: bool = True,
) -> Precision:
    r"""Inverse of the relationship matrix H of everybody, whether genotyped (2) or not (1).

    .. math::
        H^{-1} = A^{-1} + \begin{bmatrix} 0 & 0 \\ 0 & G_w^{-1} - A_{22}^{-1} \end{bmatrix}

    (H of Legarra et al. 2009, J Dairy Sci 92:4656; its inverse by Aguilar et al. 2010, J Dairy Sci
    93:743, and Christensen & Lund 2010, Genet Sel Evol 42:2): genotyped individuals have the
    covariance :math:`G_w`, the others the regression on them that the pedigree says. With w the
    share `blending` of variance that the markers leave to the pedigree (Christensen & Lund),

    .. math:: G_w = (1 - w) (\beta G + \alpha 11') + w A_{22}

    and :math:`\alpha, \beta` such that the mean of the diagonal and the mean of all elements of
    :math:`\beta G + \alpha 11'` are those of :math:`A_{22}` (Christensen et al. 2012, Animal
    6:1565); :math:`\alpha` says that the genotyped are related and selected (Vitezica et al. 2011,
    Genet Res 93:357). The scaling is done before the blending.

    Parameters
    ----------
    pedigree
        Of everybody; every genotyped individual is in it.
    genomic
        Genotypes, which give G = ZZ' / sum 2pq with their own mean dosages (VanRaden 2008, J Dairy
        Sci 91:4414, method 1), or G itself: a Relationship, or a DataFrame with the individuals in
        index and columns.
    blending
        w, from 0 to less than 1.
    scaling
        False leaves G as it is: :math:`\alpha = 0, \beta = 1`.

    Returns
    -------
    Precision
        In the order of the pedigree; a dense block for the genotyped, 12 bytes for each of their
        pairs.

    Raises
    ------
    InputError
        A genotyped individual is not in the pedigree, or G_w is singular.
    """
    if not isinstance(pedigree, Pedigree):
        raise InputError(
            f"single_step: the pedigree is of type {type(pedigree).__name__}; give "
            "read_pedigree(table)."
        )
    if not 0 <= blending < 1:
        raise InputError(f"blending={blending} is not a share from 0 to less than 1.")
    g, names, source = genomic_matrix(genomic)
    absent = names[~names.isin(pedigree.individuals)]
    if len(absent):
        raise InputError(
            f"{source}: {len(absent)} of {len(names)} genotyped individuals are not in the "
            f"pedigree {pedigree.source} ({some(absent)}): add them, with 0 for unknown parents."
        )
    a22 = pedigree.relationship(names).to_numpy()
    if scaling:
        g = _scaled(g, a22, source)
    mixed_inverse, mixed_log = _inverse(
        (1 - blending) * g + blending * a22,
        f"{source}: the genomic relationship matrix is singular with blending={blending:g}; give a "
        "larger share, such as 0.05.",
    )
    a22_inverse, a22_log = _inverse(
        a22, f"{pedigree.source}: the relationships of the genotyped individuals are singular."
    )
    rows = pedigree.positions(names)
    block = sparse.coo_array(
        (
            (mixed_inverse - a22_inverse).ravel(),
            (np.repeat(rows, len(rows)), np.tile(rows, len(rows))),
        ),
        shape=(pedigree.n, pedigree.n),
    )
    base = pedigree.inverse()
    matrix = (base.matrix + block.tocsc()).tocsc()
    matrix.sort_indices()
    log_determinant = base.log_determinant - mixed_log + a22_log
    return Precision(
        matrix, pedigree.individuals, log_determinant, f"{pedigree.source} with {source}"
    )


def genomic_matrix(genomic: Genotypes | pd.DataFrame) -> tuple[np.ndarray, pd.Index, str]:
    """Genomic relationship matrix, its individuals, and what messages call it.

    Raises
    ------
    InputError
        A DataFrame is not square, complete and symmetric, or its columns are not its rows.
    """
    if isinstance(genomic, Relationship):
        z = genomic.centred()
        return z @ z.T, genomic.individuals, genomic.source
    if isinstance(genomic, Genotypes):
        genomic.check_called()
        return _vanraden(genomic), genomic.individuals, genomic.source
    if not isinstance(genomic, pd.DataFrame):
        raise InputError(
            f"genomic relationships of type {type(genomic).__name__} cannot be used: give "
            "genotypes (read_genotypes), a relationship (read_relationship) or a DataFrame."
        )
    source = "genomic relationships"
    names = clean_names(genomic.index, source)
    columns = clean_names(genomic.columns, source, place="column")
    if not names.isin(columns).any():
        raise InputError(
            f"{source}: rows and columns name nobody in common, as in a table of genotypes; "
            "give genotypes as read_genotypes(table)."
        )
    if set(names) != set(columns):
        odd = sorted(set(names) ^ set(columns))[0]
        raise InputError(f"{source}: {odd!r} is in the rows or in the columns, but not in both.")
    matrix = genomic.set_axis(columns, axis=1)[list(names)].to_numpy(np.float64)
    if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-6):
        raise InputError(f"{source}: the matrix is not symmetric, or has missing values.")
    return (matrix + matrix.T) / 2, names, source


def _vanraden(genotypes: Genotypes) -> np.ndarray:
    out = np.zeros((genotypes.n, genotypes.n))
    for start in range(0, genotypes.p, BLOCK):
        raw = genotypes.dosages[start : start + BLOCK]
        z = raw - genotypes.mean[start : start + BLOCK, None]
        if raw.dtype == np.int8:
            z[raw == MISSING] = 0.0
        out += z.T @ z
    return out / genotypes.sum2pq


def _scaled(g: np.ndarray, a22: np.ndarray, source: str) -> np.ndarray:
    spread = np.diag(g).mean() - g.mean()
    if spread <= 1e-8 * abs(np.diag(g).mean()):
        raise InputError(
            f"{source}: all genomic relationships are the same, so that they cannot be scaled to "
            "those of the pedigree: give at least two different individuals, or scaling=False."
        )
    beta = (np.diag(a22).mean() - a22.mean()) / spread
    return beta * g + (a22.mean() - beta * g.mean())


def _inverse(matrix: np.ndarray, complaint: str) -> tuple[np.ndarray, float]:
    """Inverse of a covariance matrix, and the logarithm of its determinant."""
    try:
        factor = cholesky(matrix, lower=True)
    except LinAlgError:
        raise InputError(complaint) from None
    diagonal = np.diag(factor)
    if diagonal.min() < _SINGULAR * diagonal.max():
        raise InputError(complaint)
    inverse = cho_solve((factor, True), np.eye(len(matrix)))
    return (inverse + inverse.T) / 2, 2 * float(np.log(diagonal).sum())
