"""The sparse inverse of a relationship matrix, rows and columns known by name."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy import sparse

from nnmm_pymc.errors import InputError

__all__ = ["Precision"]


@dataclass(frozen=True, eq=False, repr=False)
class Precision:
    """Inverse of a relationship matrix: sparse where the matrix itself is dense.

    Attributes
    ----------
    matrix : (n, n) scipy.sparse.csc_array
        Symmetric; all of it is stored, with sorted indices.
    individuals : pandas.Index of str
        Names of rows and columns.
    log_determinant : float
        Of `matrix`: minus that of the relationship matrix.
    source : str
        What it was made from; used in messages.
    """

    matrix: sparse.csc_array
    individuals: pd.Index
    log_determinant: float
    source: str = "precision"

    def __post_init__(self) -> None:
        if self.matrix.shape != (self.n, self.n):
            raise InputError(
                f"{self.source}: an inverse relationship matrix has a row and a column for each of "
                f"{self.n} individuals, but this has shape {self.matrix.shape}."
            )

    @property
    def n(self) -> int:
        """Number of individuals."""
        return len(self.individuals)

    def __repr__(self) -> str:
        return (
            f"<Precision {self.source}: {self.n} individuals, {self.matrix.nnz} elements, "
            f"log determinant {self.log_determinant:.6g}>"
        )
