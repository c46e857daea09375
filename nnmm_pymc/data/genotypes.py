"""Marker dosages of named individuals, as they are kept in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import clean_names, some
from nnmm_pymc.data.quality import MISSING, GenotypeReport
from nnmm_pymc.data.scratch import empty, taken_columns, taken_rows
from nnmm_pymc.errors import InputError
from nnmm_pymc.kernels.packed import NOT_PACKED, Packed, pack, packing_pays


@dataclass(frozen=True, eq=False, repr=False)
class Genotypes:
    """Marker dosages of named individuals, kept small and marker by marker.

    Attributes
    ----------
    dosages : array of shape (marker, individual), C-contiguous
        int8 hard calls 0, 1, 2 or `MISSING`, or float32 real dosages in [0, 2] whose missing
        calls are already replaced by the mean of the marker.
    individuals, markers : pandas.Index of str
    mean : float64 array of shape (marker,)
        Mean dosage over the individuals with a call when the data were read. A missing call
        counts as this value, and centring subtracts it; `take` keeps it.
    report : GenotypeReport
    info : pandas.DataFrame, optional
        Chromosome, position, effect_allele and other_allele by marker (PLINK files only).
    source : str
        File name, "DataFrame" or "array"; used in messages.
    scratch : Path, optional
        Folder in which the dosages lie, instead of in memory.
    uncalled : frozenset of str
        Individuals without a call of any marker when the data were read.

    Examples
    --------
    >>> import numpy as np
    >>> from nnmm_pymc.io import read_genotypes
    >>> genotypes = read_genotypes(np.array([[0, 2], [1, 1], [np.nan, 0]]))
    >>> genotypes
    <Genotypes array: 3 individuals x 2 markers, 0.0 MB int8, 16.67% missing, 0 markers dropped>
    >>> genotypes.mean
    array([0.5, 1. ])
    """

    dosages: np.ndarray
    individuals: pd.Index
    markers: pd.Index
    mean: np.ndarray
    report: GenotypeReport
    info: pd.DataFrame | None = None
    source: str = "genotypes"
    scratch: Path | None = None
    uncalled: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        shape = (len(self.markers), len(self.individuals))
        if self.dosages.shape != shape or self.mean.shape != shape[:1]:
            raise InputError(
                f"{self.source}: dosages have shape {self.dosages.shape} and means "
                f"{self.mean.shape}, but there are {shape[0]} markers and {shape[1]} individuals."
            )
        if self.dosages.dtype not in (np.int8, np.float32) or not self.dosages.flags.c_contiguous:
            raise InputError(f"{self.source}: dosages must be C-contiguous int8 or float32.")
        for kind, names in (("individual", self.individuals), ("marker", self.markers)):
            if not names.is_unique:
                twice = some(names[names.duplicated()])
                raise InputError(f"{self.source}: {kind} names occur twice: {twice}.")

    @property
    def n(self) -> int:
        """Number of individuals."""
        return len(self.individuals)

    @property
    def n_called(self) -> int:
        """Number of individuals with a call of any marker."""
        return int(self.has_calls(self.individuals).sum())

    @property
    def p(self) -> int:
        """Number of markers."""
        return len(self.markers)

    @cached_property
    def packed(self) -> Packed:
        """Dosages with four in a byte, for the sweep; `NOT_PACKED` where bytes are faster.

        Raises
        ------
        InputError
            int8 dosages are not 0, 1, 2 or `MISSING`.
        """
        if self.dosages.dtype == np.int8:
            self._check_calls()
        if not packing_pays():
            return NOT_PACKED
        return pack(self.dosages, partial(empty, scratch=self.scratch))

    def _check_calls(self) -> None:
        lowest, highest = self.dosages.min(initial=0), self.dosages.max(initial=0)
        if lowest < MISSING or highest > 2:
            raise InputError(
                f"{self.source}: int8 dosages are 0, 1, 2, or {MISSING} for a missing call, and "
                f"these lie between {lowest} and {highest}; give other dosages as float32."
            )

    def has_calls(self, individuals: pd.Index) -> np.ndarray:
        """Whether each of these individuals has a call of any marker; (individual,) bool."""
        return individuals.isin(self.individuals) & ~individuals.isin(self.uncalled)

    def check_called(self) -> None:
        """Refuse individuals without a call of any marker.

        Raises
        ------
        InputError
            There are some.
        """
        if self.uncalled:
            names = self.individuals[~self.has_calls(self.individuals)]
            raise InputError(
                f"{self.source}: no marker is called in {len(names)} individuals ({some(names)}), "
                "so that nothing is known of their genotypes; leave them out."
            )

    @property
    def nbytes(self) -> int:
        """Bytes that the dosages take."""
        return self.dosages.nbytes

    @property
    def allele_frequency(self) -> np.ndarray:
        """Frequency of the counted allele, mean / 2; (marker,).

        Markers coded 0/1 (inbred or haploid lines) get half the frequency of their "1".
        """
        return self.mean / 2

    @property
    def sum2pq(self) -> float:
        """Sum over markers of 2 p (1 - p), with p the `allele_frequency`, for any coding."""
        frequency = self.allele_frequency
        return float(np.sum(2 * frequency * (1 - frequency)))

    def take(self, individuals: Iterable[object]) -> Genotypes:
        """These individuals, in this order, with the means and markers of the whole.

        Raises
        ------
        InputError
            An ID is unknown or given twice.
        """
        wanted = clean_names(individuals, f"individuals taken from {self.source}")
        if wanted.equals(self.individuals):
            return self
        where = _positions(self.individuals, wanted, "individual", self.source)
        dosages = taken_columns(self.dosages, where, self.scratch)
        return replace(self, dosages=dosages, individuals=self.individuals[where])

    def reindexed(self, individuals: pd.Index) -> Genotypes:
        """These individuals, in this order; those that are not there have no calls."""
        lacking = individuals[~individuals.isin(self.individuals)]
        if not len(lacking):
            return self.take(individuals)
        blank = np.empty((self.p, len(lacking)), self.dosages.dtype)
        blank[:] = MISSING if self.dosages.dtype == np.int8 else self.mean[:, None]
        there = self.take(individuals[individuals.isin(self.individuals)])
        order = pd.Index([*there.individuals, *lacking]).get_indexer(individuals)
        dosages = np.ascontiguousarray(np.hstack([there.dosages, blank])[:, order])
        uncalled = self.uncalled | set(lacking)
        return replace(self, dosages=dosages, individuals=individuals, uncalled=uncalled)

    def take_markers(self, markers: Iterable[object]) -> Genotypes:
        """These markers, in this order.

        Raises
        ------
        InputError
            A marker is unknown or given twice.
        """
        wanted = clean_names(markers, f"markers taken from {self.source}", kind="marker name")
        where = _positions(self.markers, wanted, "marker", self.source)
        return replace(
            self,
            dosages=taken_rows(self.dosages, where, self.scratch),
            markers=self.markers[where],
            mean=self.mean[where],
            info=None if self.info is None else self.info.iloc[where],
        )

    def centred(
        self, individuals: Iterable[object] | None = None, dtype: np.typing.DTypeLike = np.float64
    ) -> np.ndarray:
        """Dosage minus mean, missing calls 0; (individual, marker). For small problems only."""
        chosen = self if individuals is None else self.take(individuals)
        centred = (chosen.dosages - chosen.mean[:, None]).astype(dtype, copy=False)
        if chosen.dosages.dtype == np.int8:
            centred[chosen.dosages == MISSING] = 0
        return centred.T

    def to_frame(self) -> pd.DataFrame:
        """Dosages as a frame, individuals in rows; a missing hard call is NaN."""
        values = self.dosages
        if values.dtype == np.int8 and (values == MISSING).any():
            values = with_nan(values)
        return pd.DataFrame(values.T, index=self.individuals, columns=self.markers)

    def __repr__(self) -> str:
        return (
            f"<Genotypes {self.source}: {self.n} individuals x {self.p} markers, "
            f"{self.nbytes / 1e6:.1f} MB {self.dosages.dtype}"
            f"{'' if self.scratch is None else ' on disk'}, "
            f"{self.report.missing_rate:.2%} missing, {len(self.report.dropped)} markers dropped>"
        )


def with_nan(hard_calls: np.ndarray) -> np.ndarray:
    """Hard calls as float32 with NaN for `MISSING`."""
    values = hard_calls.astype(np.float32)
    values[hard_calls == MISSING] = np.nan
    return values


def _positions(index: pd.Index, wanted: pd.Index, kind: str, source: str) -> np.ndarray:
    where = index.get_indexer(wanted)
    if (where < 0).any():
        unknown = wanted[where < 0]
        raise InputError(
            f"{source} has no {kind} {some(unknown)} ({len(unknown)} of {len(wanted)} unknown); "
            f"its first are {some(index)}."
        )
    return where
