r"""Relationship matrices through their eigenvectors: the "markers" of GBLUP.

With :math:`G = U D U'` genetic values :math:`g \sim N(0, G \sigma_g^2)` are :math:`U D^{1/2} b`
with independent :math:`b \sim N(0, \sigma_g^2)`: ridge regression on r <= n columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.linalg import eigh

from nnmm_pymc.data.genotypes import Genotypes
from nnmm_pymc.data.quality import MISSING, GenotypeReport
from nnmm_pymc.errors import InputError

__all__ = ["GenomicRelationship", "Relationship", "genomic_relationship", "relationship"]

# Eigenvalues below this share of the largest are rounding error.
_SMALLEST = 1e-7
_BLOCK = 512
# Largest relationships between which float32 holds the roots of the eigenvalues.
_SCALE = 1e-15, 1e15


@dataclass(frozen=True, eq=False, repr=False)
class Relationship(Genotypes):
    """Scaled eigenvectors of a relationship matrix, as dosages without missing calls."""


@dataclass(frozen=True, eq=False)
class GenomicRelationship:
    """The relationship of genotyped individuals, and the way back to their markers.

    Attributes
    ----------
    eigenvectors : Relationship
    loadings : (p, r) float32 array
        Orthonormal columns V of the singular value decomposition of the centred dosages Z.
    total_variance : float
        Sum over markers of their variances: G is ZZ' over this.
    """

    eigenvectors: Relationship
    loadings: np.ndarray
    total_variance: float

    def marker_effects(self, effects: np.ndarray, noise: np.ndarray) -> np.ndarray:
        r"""Marker effects that belong to effects b of the eigenvectors.

        .. math:: a = V b / \sqrt{s} + (I - VV') \epsilon

        with s the sum of variances and :math:`\epsilon` a draw from the prior of the marker
        effects: what the individuals say nothing about keeps its prior.

        Parameters
        ----------
        effects : (r, k) array
        noise : (p, k) array
            :math:`\epsilon`; zero gives the conditional mean.
        """
        seen = effects / np.sqrt(self.total_variance) - self.loadings.T @ noise
        return noise + self.loadings @ seen


def relationship(matrix: np.ndarray, individuals: pd.Index, source: str) -> Relationship:
    """Eigenvectors of a given relationship matrix.

    Raises
    ------
    InputError
        It is not square, finite, symmetric and positive semi-definite.
    """
    n = len(individuals)
    if matrix.shape != (n, n):
        raise InputError(
            f"{source}: a relationship matrix has as many columns as individuals, but this has "
            f"shape {matrix.shape} for {n} individuals; give the whole matrix."
        )
    if not np.all(np.isfinite(matrix)):
        row = individuals[np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0]]
        raise InputError(f"{source}: row {row!r} has a missing value; give all relationships.")
    largest = np.abs(matrix).max(initial=0.0)
    if not _SCALE[0] <= largest <= _SCALE[1]:
        raise InputError(
            f"{source}: the largest relationship is {largest:.3g}; bring the matrix to a diagonal "
            "of about 1."
        )
    gap = np.abs(matrix - matrix.T)
    if gap.max() > 1e-6 * largest:
        i, j = np.unravel_index(gap.argmax(), gap.shape)
        raise InputError(
            f"{source}: the matrix is not symmetric at {individuals[i]!r}, {individuals[j]!r} "
            f"({matrix[i, j]:.6g} and {matrix[j, i]:.6g}); check how it was made."
        )
    values, vectors = eigh(matrix)
    if values[0] < -1e-5 * values[-1]:
        raise InputError(
            f"{source}: the matrix has the negative eigenvalue {values[0]:.3g}, so it is no "
            "relationship matrix; check how it was made."
        )
    return _as_dosages(values, vectors, individuals, source)


def genomic_relationship(genotypes: Genotypes) -> GenomicRelationship:
    """Eigenvectors of the genomic relationship of all individuals of `genotypes`."""
    n, p, n_called = genotypes.n, genotypes.p, max(1, genotypes.n_called)
    gram, total = np.zeros((n, n)), 0.0
    for start in range(0, p, _BLOCK):
        block = _centred(genotypes, start)
        gram += block.T @ block
        total += float(np.einsum("ij,ij->", block, block)) / n_called
    total = max(total, 1e-12)
    values, vectors = eigh(gram / total)
    eigenvectors = _as_dosages(values, vectors, genotypes.individuals, genotypes.source)
    kept = values >= _SMALLEST * values[-1]
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    loadings = np.empty((p, len(values)), np.float32)
    for start in range(0, p, _BLOCK):
        block = _centred(genotypes, start)
        loadings[start : start + _BLOCK] = block @ vectors / np.sqrt(values * total)
    return GenomicRelationship(eigenvectors, loadings, total)


def _centred(genotypes: Genotypes, start: int) -> np.ndarray:
    raw = genotypes.dosages[start : start + _BLOCK]
    block = raw.astype(np.float64) - genotypes.mean[start : start + _BLOCK, None]
    if raw.dtype == np.int8:
        block[raw == MISSING] = 0.0
    return block


def _as_dosages(
    values: np.ndarray, vectors: np.ndarray, individuals: pd.Index, source: str
) -> Relationship:
    """Eigenvectors times roots of eigenvalues, largest first, shifted to be positive as dosages."""
    kept = values >= _SMALLEST * values[-1]
    scaled = (vectors[:, kept] * np.sqrt(values[kept])).T[::-1]
    least = scaled.min(axis=1).astype(np.float32)
    dosages = np.ascontiguousarray(scaled - least[:, None], dtype=np.float32)
    r, n = dosages.shape
    report = GenotypeReport(n, r, r, 0, pd.Series(dtype=object))
    names = pd.Index([f"eigenvector_{k}" for k in range(1, r + 1)])
    return Relationship(
        np.maximum(dosages, 0.0), individuals, names, -least.astype(float), report, None, source
    )
