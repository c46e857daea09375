r"""Pedigrees, and the numerator relationship matrix A that they imply, never formed as a whole.

In units of the additive variance the breeding values are :math:`a = P a + m`: row i of P has a half
for each known parent, and the Mendelian sampling terms m are independent with variances D (in
`nnmm_pymc.kernels.pedigree`). So with :math:`T = (I - P)^{-1}`

.. math:: A = T D T', \qquad A^{-1} = (I - P)' D^{-1} (I - P), \qquad |A| = \prod_i D_i

(Henderson 1976, Biometrics 32:69; with inbreeding Quaas 1976, Biometrics 32:949). Products with A,
draws and densities take one pass over the pedigree or two (Colleau 2002, Genet Sel Evol 34:409).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from nnmm_pymc.data.names import clean_names, some
from nnmm_pymc.data.pedigree_report import PedigreeReport
from nnmm_pymc.data.precision import Precision
from nnmm_pymc.errors import InputError
from nnmm_pymc.kernels import pedigree as kernels

__all__ = ["Pedigree"]

# Mendelian variances below this are rounding error of 1 - F.
_SMALLEST = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class Pedigree:
    """Who descends from whom, parents before their offspring; made by `read_pedigree`.

    Unknown parents are unrelated, not inbred and of mean zero, each a different one. Selfing is an
    individual whose sire is its dam. Genetic groups, metafounders and doubled haploids cannot be
    told in it.

    Attributes
    ----------
    individuals : pandas.Index of str
    sire, dam : (n,) arrays of int32
        Positions of the parents in `individuals`; -1 if unknown.
    source : str
        File name or "DataFrame"; used in messages.
    report : PedigreeReport, optional

    Raises
    ------
    InputError
        Names occur twice, or a parent does not stand before its offspring.

    Examples
    --------
    >>> import pandas as pd
    >>> from nnmm_pymc.io.pedigrees import read_pedigree
    >>> rows = {"animal": [3, 4, 5, 6], "sire": [1, 1, 4, 5], "dam": [2, None, 3, 2]}
    >>> pedigree = read_pedigree(pd.DataFrame(rows))  # Mrode (2014), example 2.1
    >>> pedigree
    <Pedigree DataFrame: 6 individuals, 2 founders, generations 0 to 3, 2 inbred, mean F 0.0417>
    >>> pedigree.relationship(["6", "1"])
           6     1
    6  1.125  0.25
    1  0.250  1.00
    """

    individuals: pd.Index
    sire: np.ndarray
    dam: np.ndarray
    source: str = "pedigree"
    report: PedigreeReport | None = None

    def __post_init__(self) -> None:
        rows = np.arange(self.n)
        for name in ("sire", "dam"):
            parent = np.array(getattr(self, name), np.int32)
            if parent.shape != rows.shape or (parent < -1).any() or (parent >= rows).any():
                raise InputError(
                    f"{self.source}: {name} must be an earlier position, or -1, for each of "
                    f"{self.n} individuals; Pedigree.sorted puts parents first."
                )
            parent.setflags(write=False)
            object.__setattr__(self, name, parent)
        if not self.individuals.is_unique:
            twice = some(self.individuals[self.individuals.duplicated()])
            raise InputError(f"{self.source}: individual names occur twice: {twice}.")

    @classmethod
    def sorted(
        cls,
        individuals: pd.Index,
        sire: np.ndarray,
        dam: np.ndarray,
        source: str = "pedigree",
        report: PedigreeReport | None = None,
    ) -> Pedigree:
        """Pedigree of rows in any order; rows that are in order already keep theirs.

        Raises
        ------
        InputError
            An individual is its own ancestor; the message spells the cycle out.
        """
        sire, dam = np.asarray(sire, np.int32), np.asarray(dam, np.int32)
        order, cycle = kernels.parents_first(sire, dam)
        if len(cycle):
            raise InputError(f"{source}: {_spelled_out(individuals[cycle])}: correct the parents.")
        place = np.full(len(order) + 1, -1, np.int32)  # its last entry is for unknown parents
        place[order] = np.arange(len(order))
        return cls(individuals[order], place[sire[order]], place[dam[order]], source, report)

    @property
    def n(self) -> int:
        """Number of individuals."""
        return len(self.individuals)

    @property
    def founders(self) -> pd.Index:
        """Individuals without any known parent."""
        return self.individuals[(self.sire < 0) & (self.dam < 0)]

    @cached_property
    def generation(self) -> np.ndarray:
        """Longest path to a founder, by individual: 0 for founders; (n,) int32."""
        generation = kernels.generations(self.sire, self.dam)
        generation.setflags(write=False)
        return generation

    @property
    def inbreeding(self) -> np.ndarray:
        """Inbreeding coefficients F by individual: the diagonal of A less 1; (n,)."""
        return self._inbreeding_and_variance[0]

    @property
    def mendelian_variance(self) -> np.ndarray:
        """Variances D of the Mendelian sampling terms, in units of the additive variance; (n,)."""
        return self._inbreeding_and_variance[1]

    @cached_property
    def _inbreeding_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        found = kernels.inbreeding(self.sire, self.dam, self.generation)
        for values in found:
            values.setflags(write=False)
        return found

    @property
    def log_determinant(self) -> float:
        """Logarithm of the determinant of A: the sum of log D."""
        return float(np.log(self._proper_variance()).sum())

    def parent_averages(self) -> sparse.csr_array:
        """Matrix P that takes breeding values to parent averages: a half for each known parent."""
        child = np.concatenate([np.flatnonzero(self.sire >= 0), np.flatnonzero(self.dam >= 0)])
        parent = np.concatenate([self.sire[self.sire >= 0], self.dam[self.dam >= 0]])
        halves = np.full(len(child), 0.5)  # those of a selfed parent add up
        return sparse.coo_array((halves, (child, parent)), shape=(self.n, self.n)).tocsr()

    def inverse(self) -> Precision:
        """Sparse inverse of the numerator relationship matrix, inbreeding included.

        Raises
        ------
        InputError
            An individual is as good as fully inbred (40 generations of selfing), so A is singular.
        """
        deviation = sparse.eye_array(self.n, format="csr") - self.parent_averages()
        weights = sparse.diags_array(1 / self._proper_variance())
        matrix = (deviation.T @ weights @ deviation).tocsc()
        matrix.sort_indices()
        return Precision(
            matrix,
            self.individuals,
            -self.log_determinant,
            self.source,
            self._coloured,
            1.0 + self.inbreeding,
        )

    def _coloured(self, white: np.ndarray) -> np.ndarray:
        """Breeding values in units of the additive variance, of standard normal numbers."""
        return self.from_mendelian((white.T * np.sqrt(self.mendelian_variance)).T)

    def mendelian_terms(self, values: np.ndarray) -> np.ndarray:
        """Deviations (I - P) a of breeding values a from their parent averages; (n,) or (n, k)."""
        values = self._copied(values)
        padded = np.concatenate([values, np.zeros_like(values[:1])])  # an unknown parent has 0
        return values - (padded[self.sire] + padded[self.dam]) / 2

    def from_mendelian(self, terms: np.ndarray) -> np.ndarray:
        """Breeding values T m of Mendelian sampling terms m; (n,) or (n, k)."""
        values = self._copied(terms)
        kernels.descend(self.sire, self.dam, values.reshape(self.n, -1))
        return values

    def times(self, values: np.ndarray) -> np.ndarray:
        """Product A v in two passes over the pedigree; (n,) or (n, k)."""
        values = self._copied(values)
        kernels.times(self.sire, self.dam, self.mendelian_variance, values.reshape(self.n, -1))
        return values

    def draw(
        self, rng: np.random.Generator, size: int | None = None, variance: float = 1.0
    ) -> np.ndarray:
        """Draw breeding values from N(0, A variance); (n,), or (n, size)."""
        shape = (self.n,) if size is None else (self.n, size)
        return np.sqrt(variance) * self._coloured(rng.standard_normal(shape))

    def log_density(self, values: np.ndarray, variance: float = 1.0) -> float | np.ndarray:
        """Log density of N(0, A variance) at breeding values (n,), or at each column of (n, k)."""
        scaled = variance * self._proper_variance()
        squares = self.mendelian_terms(values).T ** 2 / scaled
        return -0.5 * (squares + np.log(2 * np.pi * scaled)).sum(axis=-1)

    def relationship(self, individuals: Iterable[object] | None = None) -> pd.DataFrame:
        """Relationship matrix A of some individuals (all if not given), in this order; dense.

        Raises
        ------
        InputError
            An individual is unknown or given twice.
        """
        wanted = self.individuals if individuals is None else self._names(individuals)
        close = self.prune(wanted)
        rows = close.positions(wanted)
        out = np.empty((len(wanted), len(wanted)))
        for start in range(0, len(wanted), kernels.COLUMNS):
            block = rows[start : start + kernels.COLUMNS]
            unit = np.zeros((close.n, len(block)))
            unit[block, np.arange(len(block))] = 1.0
            out[:, start : start + len(block)] = close.times(unit)[rows]
        return pd.DataFrame((out + out.T) / 2, wanted, wanted)

    def positions(self, individuals: Iterable[object]) -> np.ndarray:
        """Rows of these individuals.

        Raises
        ------
        InputError
            An individual is unknown or given twice.
        """
        names = self._names(individuals)
        rows = self.individuals.get_indexer(names)
        if (rows < 0).any():
            unknown = names[rows < 0]
            raise InputError(
                f"{self.source} has no individual {some(unknown)} ({len(unknown)} of {len(names)} "
                f"unknown); its first are {some(self.individuals)}."
            )
        return rows

    def prune(self, individuals: Iterable[object]) -> Pedigree:
        """Pedigree of these individuals and their ancestors, in the order of this one.

        Raises
        ------
        InputError
            An individual is unknown or given twice.
        """
        place = np.full(self.n + 1, -1, np.int32)
        rows = kernels.ancestors(self.sire, self.dam, self.positions(individuals), place)
        return Pedigree(
            self.individuals[rows], place[self.sire[rows]], place[self.dam[rows]], self.source
        )

    def to_frame(self) -> pd.DataFrame:
        """Individual, sire and dam by name (NaN if unknown), generation and inbreeding."""
        names = np.append(self.individuals.to_numpy(object), np.nan)
        return pd.DataFrame(
            {
                "individual": self.individuals,
                "sire": names[self.sire],
                "dam": names[self.dam],
                "generation": self.generation,
                "inbreeding": self.inbreeding,
            }
        )

    def summary(self) -> str:
        """Sizes, founders, inbreeding and generations in words, and what the report says."""
        one_known = int(((self.sire < 0) != (self.dam < 0)).sum())
        inbred = self.inbreeding > 0
        lines = [
            f"{self.n} individuals, generations 0 to {self.generation.max(initial=0)}.",
            f"Founders: {len(self.founders)}; with one known parent: {one_known}; sires: "
            f"{len(np.unique(self.sire[self.sire >= 0]))}; dams: "
            f"{len(np.unique(self.dam[self.dam >= 0]))}.",
            f"Inbred: {inbred.sum()}; mean inbreeding {self._mean_inbreeding():.4g}, largest "
            f"{self.inbreeding.max(initial=0):.4g}.",
        ]
        return "\n".join(lines if self.report is None else [*lines, str(self.report)])

    __str__ = summary

    def __repr__(self) -> str:
        return (
            f"<Pedigree {self.source}: {self.n} individuals, {len(self.founders)} founders, "
            f"generations 0 to {self.generation.max(initial=0)}, {(self.inbreeding > 0).sum()} "
            f"inbred, mean F {self._mean_inbreeding():.3g}>"
        )

    def _mean_inbreeding(self) -> float:
        return float(self.inbreeding.sum() / max(1, self.n))

    def _names(self, individuals: Iterable[object]) -> pd.Index:
        return clean_names(individuals, f"individuals taken from {self.source}")

    def _copied(self, values: np.ndarray) -> np.ndarray:
        """Values by individual as a new array, rows contiguous."""
        values = np.array(values, np.float64, order="C")
        if values.ndim not in (1, 2) or len(values) != self.n:
            raise InputError(
                f"{self.source}: values of shape {values.shape} are not one, or one row, for each "
                f"of {self.n} individuals."
            )
        return values

    def _proper_variance(self) -> np.ndarray:
        for row in np.flatnonzero(self.mendelian_variance < _SMALLEST)[:1]:
            raise InputError(
                f"{self.source}: a parent of {self.individuals[row]!r} is as good as fully inbred, "
                "so the relationship matrix has no inverse: leave out the later generations of "
                "selfing."
            )
        return self.mendelian_variance


def _spelled_out(cycle: pd.Index) -> str:
    """The cycle in words, from rows of which each is a parent of the one before."""
    if len(cycle) == 1:
        return f"{cycle[0]!r} is its own parent"
    steps = [f"{child!r} has the parent {parent!r}" for child, parent in
             zip(cycle, [*cycle[1:], cycle[0]], strict=True)]  # fmt: skip
    return f"{cycle[0]!r} is its own ancestor ({some(steps, 8)})"
