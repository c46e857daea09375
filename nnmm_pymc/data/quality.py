"""Quality control: statistics of every marker, which markers are kept, and a report in words."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import some
from nnmm_pymc.data.scratch import taken_rows
from nnmm_pymc.errors import InputError

MISSING = np.int8(-1)
"""Code of a missing hard call in `Genotypes.dosages`."""

BLOCK = 256  # markers handled at a time, so that no float copy of a whole panel is made


@dataclass(frozen=True, eq=False)
class GenotypeReport:
    """What was read, imputed and dropped. ``print(genotypes.report)`` says it in words.

    Attributes
    ----------
    n_individuals, n_markers_read, n_markers
        Individuals, markers in the source, markers kept.
    missing_cells
        Missing calls of the markers kept; each counts as the mean dosage of its marker.
    dropped
        Reason (text) by name of the dropped marker.
    uncalled
        Positions, among those read, of individuals without a call of any marker: nothing is known
        of their genotypes, and a network takes them to be absent.
    """

    n_individuals: int
    n_markers_read: int
    n_markers: int
    missing_cells: int
    dropped: pd.Series
    uncalled: tuple[int, ...] = ()

    @property
    def missing_rate(self) -> float:
        """Share of the kept markers' calls that were missing."""
        return self.missing_cells / (self.n_individuals * self.n_markers)

    def __str__(self) -> str:
        lines = [
            f"{self.n_individuals} individuals; {self.n_markers} of {self.n_markers_read} "
            "markers kept.",
            f"Missing calls: {self.missing_cells} ({self.missing_rate:.2%}), each replaced by the "
            "mean dosage of its marker."
            if self.missing_cells
            else "No missing calls.",
        ]
        if self.uncalled:
            count = len(self.uncalled)
            lines.append(f"Individuals without any call, which a network leaves out: {count}.")
        # "missing rate 0.31 above ..." and "missing rate 0.42 above ..." are one reason.
        reasons = self.dropped.str.replace(r" \S+(?= (?:below|above) )", "", regex=True)
        lines += [
            f"Dropped, {reason}: {len(group)} ({some(group.index)})."
            for reason, group in reasons.groupby(reasons, sort=False)
        ]
        return "\n".join(lines if len(self.dropped) else [*lines, "No marker dropped."])


def quality_control(
    dosages: np.ndarray,
    markers: pd.Index,
    *,
    maf: float = 0.0,
    max_missing: float = 1.0,
    drop_constant: bool = True,
    scratch: Path | None = None,
) -> tuple[np.ndarray, pd.Index, np.ndarray, GenotypeReport]:
    """Drop markers that carry no information or too little, and say which and why.

    Parameters
    ----------
    dosages : (marker, individual)
        int8 with `MISSING`, or float32 with NaN; not changed.
    markers
        Names of the markers.
    maf
        Least minor allele frequency kept, in [0, 0.5].
    max_missing
        Largest share of missing calls kept, in [0, 1].
    drop_constant
        Drop markers without variance or without any call. False is for individuals to predict:
        nothing is dropped for that, and the fit imputes what is missing.
    scratch
        Folder for the dosages that are kept, if they are to be on disk.

    Returns
    -------
    dosages, markers, mean, report
        Of the markers kept; in real dosages NaN is replaced by the mean of the marker.

    Raises
    ------
    InputError
        A threshold is out of range, or no marker is left.
    """
    for name, value, top in (("maf", maf, 0.5), ("max_missing", max_missing, 1.0)):
        if not isinstance(value, Real):
            raise InputError(f"{name}={value!r} is not a number: give a share from 0 to {top}.")
        if not 0 <= value <= top:
            raise InputError(f"{name}={value} is outside 0..{top}: give a share, not a percentage.")
    count, mean, constant, called = _marker_statistics(dosages)
    missing = dosages.shape[1] - count
    rate = missing / dosages.shape[1]
    frequency = np.minimum(mean / 2, 1 - mean / 2)
    reasons = np.full(len(markers), "", dtype=object)
    # The last reason written is the one reported.
    for j in np.flatnonzero(frequency < maf):
        reasons[j] = f"minor allele frequency {frequency[j]:.3g} below maf={maf:g}"
    if drop_constant:
        reasons[constant] = "no variance"
    for j in np.flatnonzero(rate > max_missing):
        reasons[j] = f"missing rate {rate[j]:.3g} above max_missing={max_missing:g}"
    if drop_constant:
        reasons[count == 0] = "no call in any individual"

    keep = reasons == ""
    dropped = pd.Series(reasons[~keep], index=markers[~keep], name="reason", dtype=str)
    if not keep.any():
        why = "; ".join(f"{k} {reason}" for reason, k in dropped.value_counts()[:3].items())
        raise InputError(
            f"no marker is left of {len(markers)}: {why}; check that these are the right data and "
            "thresholds."
        )
    if not keep.all():
        dosages = taken_rows(dosages, np.flatnonzero(keep), scratch)
        markers, mean = markers[keep], mean[keep]
    mean = np.nan_to_num(mean)
    if drop_constant and dosages.dtype == np.float32 and missing[keep].any():
        dosages = np.where(np.isnan(dosages), mean[:, None].astype(np.float32), dosages)
    report = GenotypeReport(
        n_individuals=dosages.shape[1],
        n_markers_read=len(keep),
        n_markers=len(markers),
        missing_cells=int(missing[keep].sum()),
        dropped=dropped,
        uncalled=tuple(map(int, np.flatnonzero(~called))),
    )
    return dosages, markers, mean, report


def _marker_statistics(
    dosages: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Calls, mean dosage and "all calls are equal" of every marker; who has any call."""
    p, n = dosages.shape
    called = np.zeros(n, bool)
    count, total = np.empty(p, np.int64), np.empty(p)
    low, high = np.empty(p), np.empty(p)
    for start in range(0, p, BLOCK):
        rows = slice(start, start + BLOCK)
        block = dosages[rows]
        if block.dtype == np.int8:
            lacking = block == MISSING
            absent = np.count_nonzero(lacking, axis=1)
            total[rows] = block.sum(axis=1, dtype=np.int64) + absent  # each one counted as -1
            low[rows] = block.view(np.uint8).min(axis=1)  # MISSING is 255 there
            high[rows] = block.max(axis=1)
        else:
            lacking = np.isnan(block)
            absent = np.count_nonzero(lacking, axis=1)
            total[rows] = np.nansum(block, axis=1, dtype=np.float64)
            low[rows] = np.fmin.reduce(block, axis=1)
            high[rows] = np.fmax.reduce(block, axis=1)
        count[rows] = n - absent
        if not called.all():
            called |= ~lacking.all(axis=0)
    with np.errstate(invalid="ignore"):
        return count, total / count, low == high, called
