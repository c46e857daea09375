"""The sparse inverse of a relationship matrix, rows and columns known by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from nnmm_pymc.data.names import clean_names
from nnmm_pymc.errors import InputError
from nnmm_pymc.kernels.sparse import SparseFactor

__all__ = ["Precision"]

# Columns of the inverse that are made at a time.
_BLOCK = 256


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
    colour : callable, optional
        Takes independent standard normal numbers, (n, k), to effects with this precision, where
        that can be done without a factor of the matrix.
    relationship_diagonal : (n,) array, optional
        Diagonal of the relationship matrix, where it is known: 1 + F.
    """

    matrix: sparse.csc_array
    individuals: pd.Index
    log_determinant: float
    source: str = "precision"
    colour: Callable[[np.ndarray], np.ndarray] | None = None
    relationship_diagonal: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.matrix.shape != (self.n, self.n):
            raise InputError(
                f"{self.source}: an inverse relationship matrix has a row and a column for each of "
                f"{self.n} individuals, but this has shape {self.matrix.shape}."
            )

    @classmethod
    def of(
        cls, matrix: Any, individuals: Iterable[object] | None = None, source: str = "precision"
    ) -> Precision:
        """A precision matrix of your own.

        Parameters
        ----------
        matrix : (n, n) DataFrame, array or sparse array
            Symmetric and positive definite; of a DataFrame the index has the names.
        individuals : iterable, optional
            Names of rows and columns, of an array.
        source : str
            What messages call it.

        Raises
        ------
        InputError
            It is not square, symmetric, finite and positive definite, or has no names.

        Examples
        --------
        >>> import pandas as pd
        >>> Precision.of(pd.DataFrame([[2.0, -1.0], [-1.0, 2.0]], index=["a", "b"]))
        <Precision precision: 2 individuals, 4 elements, log determinant 1.09861>
        """
        if isinstance(matrix, pd.DataFrame):
            individuals = matrix.index if individuals is None else individuals
            matrix = matrix.to_numpy(np.float64)
        if individuals is None:
            raise InputError(f"{source}: give the names of its rows as individuals=.")
        names = clean_names(individuals, source)
        given = sparse.csc_array(matrix, dtype=np.float64)
        whole = cls(given, names, 0.0, source)
        gap = abs(given - given.T)
        if not np.isfinite(given.data).all() or gap.max() > 1e-8 * abs(given).max():
            raise InputError(f"{source}: the matrix is not symmetric and finite.")
        given.sort_indices()
        return cls(given, names, whole.factor.log_determinant, source)

    @property
    def n(self) -> int:
        """Number of individuals."""
        return len(self.individuals)

    @cached_property
    def factor(self) -> SparseFactor:
        """Factor of the matrix, made when it is first asked for.

        Raises
        ------
        InputError
            The matrix is not positive definite.
        """
        try:
            return SparseFactor(self.matrix)
        except np.linalg.LinAlgError:
            raise InputError(
                f"{self.source}: the matrix is not positive definite, so it is the inverse of no "
                "relationship matrix; check how it was made."
            ) from None

    def coloured(self, white: np.ndarray) -> np.ndarray:
        """Effects with this precision of independent standard normal numbers; (n, k)."""
        if self.colour is not None:
            return self.colour(white)
        # F z has the covariance P, so P^-1 F z has P^-1.
        return self.factor.solve(self.factor.times(white))

    def diagonal(self) -> np.ndarray:
        """Diagonal of the relationship matrix: prior variances of effects over their own; (n,)."""
        if self.relationship_diagonal is not None:
            return self.relationship_diagonal
        out = np.empty(self.n)
        for start in range(0, self.n, _BLOCK):
            rows = np.arange(start, min(self.n, start + _BLOCK))
            unit = np.zeros((self.n, len(rows)))
            unit[rows, np.arange(len(rows))] = 1.0
            out[rows] = self.factor.solve(unit)[rows, np.arange(len(rows))]
        return out

    def __repr__(self) -> str:
        return (
            f"<Precision {self.source}: {self.n} individuals, {self.matrix.nnz} elements, "
            f"log determinant {self.log_determinant:.6g}>"
        )
