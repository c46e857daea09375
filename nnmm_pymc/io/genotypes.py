"""Reading genotypes from text and PLINK files, frames and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from nnmm_pymc.data.genotypes import Genotypes
from nnmm_pymc.data.names import as_texts, clean_names, index_by_id
from nnmm_pymc.data.numbers import as_number, as_numbers, is_real
from nnmm_pymc.data.quality import BLOCK, MISSING, quality_control
from nnmm_pymc.data.scratch import scratch_folder
from nnmm_pymc.errors import InputError
from nnmm_pymc.io.dosages import (
    CALL,
    BadDosage,
    assembled,
    bad_dosage,
    encoded,
    hard_calls,
)
from nnmm_pymc.io.plink import read_bed
from nnmm_pymc.io.text import TextFile, as_path

GENOTYPE_MISSING = ("NA", "NaN", "nan", "", ".", "-9")
"""Genotypes that mean "no call", unless the caller says otherwise."""


def read_genotypes(
    source: str | Path | pd.DataFrame | np.ndarray | Genotypes,
    *,
    maf: float = 0.0,
    max_missing: float = 1.0,
    sep: str | None = None,
    missing_values: Sequence[str] = GENOTYPE_MISSING,
    transposed: bool = False,
    drop_constant: bool = True,
    scratch: str | Path | None = None,
) -> Genotypes:
    """Read marker genotypes, check them, and report what was imputed or dropped.

    Parameters
    ----------
    source
        - text file, also gzipped: header of marker names, then a line for each individual with its
          ID and dosages (0, 1, 2, or real numbers in between). A header one name shorter than the
          lines (as R writes it) has no name for the ID column; with commas it needs quotation
          marks then, as lines may be longer for their decimal commas. Where markers are called by
          numbers, the first column must be called ID (or nothing), as such a line may be data;
        - PLINK 1 ``.bed`` with ``.bim`` and ``.fam`` beside it: dosages count the A1 allele, IDs
          are the IIDs, or FID_IID if two individuals share an IID;
        - DataFrame, individuals in rows, IDs in the index or in a column "ID";
        - two-dimensional array, individuals in rows; they are called "1", "2", ... and the markers
          "m1", "m2", ...;
        - Genotypes, to apply `maf` and `max_missing` to.
    maf
        Markers with a minor allele frequency below this are dropped.
    max_missing
        Markers with a larger share of missing calls than this are dropped.
    sep
        Separator of a text file; found from its first lines if not given. A space stands for any
        white space.
    missing_values
        Texts (of numbers, also the numbers) that stand for a missing call.
    transposed
        Markers are in rows and individuals in columns (text, frame or array).
    drop_constant
        Drop markers that do not vary. Set it to False for individuals to predict: a marker that is
        constant among them is not so in the fit, whose means also impute their missing calls.
    scratch
        Folder on a disk with room for the dosages of a ``.bed`` file that does not fit in memory:
        a byte and a quarter a call, twice that while individuals or markers are chosen. A fit
        reads them once a draw, front to back, and gives the same result.

    Returns
    -------
    Genotypes
        int8 if every dosage is whole, else float32. Its `report` lists what was dropped.

    Raises
    ------
    InputError
        The source cannot be read or holds something other than dosages; the message says where.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"ID": ["a", "b", "c"], "snp1": [0, 1, 2], "snp2": [1, 1, 1]})
    >>> print(read_genotypes(frame).report)
    3 individuals; 1 of 2 markers kept.
    No missing calls.
    Dropped, no variance: 1 (snp2).
    """
    if isinstance(source, Genotypes):
        return _filtered(source, maf, max_missing)
    missing_values = as_texts(missing_values)
    info, folder = None, _scratch(source, scratch)
    if isinstance(source, np.ndarray):
        name = "array"
        frame = _array_frame(source.T if transposed else source)
        dosages, individuals, markers = _frame_dosages(frame, name, missing_values)
    elif isinstance(source, pd.DataFrame):
        name = "DataFrame"
        frame = index_by_id(source)
        dosages, individuals, markers = _frame_dosages(
            frame.T if transposed else frame, name, missing_values
        )
    else:
        path = as_path(source)
        name = path.name
        if path.suffix.lower() == ".bed":
            dosages, individuals, markers, info = read_bed(path, folder)
        else:
            dosages, individuals, markers = _read_text(path, sep, missing_values, transposed)
    return _checked(
        dosages, individuals, markers, info, name, maf, max_missing, drop_constant, folder
    )


def _scratch(source: object, scratch: str | Path | None) -> Path | None:
    if scratch is not None and not str(source).lower().endswith(".bed"):
        raise InputError(
            "scratch= keeps the dosages of a .bed file on disk; make one with 'plink --make-bed'."
        )
    return scratch_folder(scratch)


def _checked(
    dosages: np.ndarray,
    individuals: pd.Index,
    markers: pd.Index,
    info: pd.DataFrame | None,
    source: str,
    maf: float,
    max_missing: float,
    drop_constant: bool = True,
    scratch: Path | None = None,
) -> Genotypes:
    try:
        dosages, kept, mean, report = quality_control(
            dosages,
            markers,
            maf=maf,
            max_missing=max_missing,
            drop_constant=drop_constant,
            scratch=scratch,
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    info = info if info is None or len(kept) == len(markers) else info.loc[kept]
    uncalled = frozenset(individuals[list(report.uncalled)])
    return Genotypes(dosages, individuals, kept, mean, report, info, source, scratch, uncalled)


def _filtered(genotypes: Genotypes, maf: float, max_missing: float) -> Genotypes:
    """Apply thresholds to genotypes that were read before."""
    if maf == 0 and max_missing == 1:
        return genotypes
    before = genotypes.report
    if before.missing_cells and genotypes.dosages.dtype == np.float32:
        raise InputError(
            f"{genotypes.source}: the missing calls of these real dosages are already replaced: "
            "give maf and max_missing when the data are first read."
        )
    after = _checked(
        genotypes.dosages, genotypes.individuals, genotypes.markers, genotypes.info,
        genotypes.source, maf, max_missing, scratch=genotypes.scratch,
    )  # fmt: skip
    report = replace(
        after.report,
        n_markers_read=before.n_markers_read,
        dropped=pd.concat([before.dropped, after.report.dropped]),
    )
    return replace(after, report=report)


def _array_frame(array: np.ndarray) -> pd.DataFrame:
    if array.ndim != 2:
        raise InputError(
            f"array: genotypes have {array.ndim} dimensions, not two (individual, marker)."
        )
    n, p = array.shape
    return pd.DataFrame(array, [str(i + 1) for i in range(n)], [f"m{j + 1}" for j in range(p)])


def _frame_dosages(
    frame: pd.DataFrame, source: str, missing_values: Sequence[str]
) -> tuple[np.ndarray, pd.Index, pd.Index]:
    individuals = clean_names(frame.index, source)
    markers = clean_names(frame.columns, source, kind="marker name", place="column")
    if frame.size == 0:
        raise InputError(f"{source}: there are no genotypes ({len(individuals)} individuals, "
                         f"{len(markers)} markers).")  # fmt: skip
    rows: list[np.ndarray] = []
    for start in range(0, len(markers), BLOCK):
        block = frame.iloc[:, start : start + BLOCK]
        if all(map(is_real, block.dtypes)):
            values = block.to_numpy(dtype=np.float64, na_value=np.nan)
        else:  # text
            cells = block.to_numpy(dtype=object, na_value=np.nan)
            values = np.array([[as_number(c, missing_values) for c in row] for row in cells])
        for j, row in enumerate(values.T):
            try:
                rows.append(encoded(row, missing_values))
            except BadDosage as error:
                i, marker = error.at, markers[start + j]
                raise bad_dosage(source, block.iat[i, j], marker, individuals[i]) from None
    return assembled(rows, transpose=False), individuals, markers


def _read_text(
    path: Path, sep: str | None, missing_values: Sequence[str], transposed: bool
) -> tuple[np.ndarray, pd.Index, pd.Index]:
    source = path.name
    text = TextFile(path, source, sep)
    row_kind, column_kind = "individual ID", "marker name"
    if transposed:
        row_kind, column_kind = column_kind, row_kind
    if text.is_plink:
        raise InputError(
            f"{source}: the first columns are PLINK's FID and IID: give the .bed file, or a table "
            "whose first column has the IDs and whose others are markers."
        )
    columns = clean_names(text.names, source, kind=column_kind, place="column",
                          positions=text.positions)  # fmt: skip
    missing = [value.encode() for value in missing_values]
    call = CALL.copy()
    call[[ord(value) for value in missing if len(value) == 1]] = MISSING
    names, lines, rows = [], [], []
    for line, row in text.rows():
        try:
            dosages = hard_calls(row.body, len(columns), row.sep, missing, call)
            if dosages is None:
                values = as_numbers(row.body, row.sep, missing_values)
                dosages = encoded(values, missing_values)
        except BadDosage as error:
            pair = (columns[error.at], row.name)
            marker, individual = pair[::-1] if transposed else pair
            cell = row.cells[error.at].decode()
            raise bad_dosage(source, cell, marker, individual, line) from None
        names.append(row.name)
        lines.append(line)
        rows.append(dosages)
    row_names = clean_names(names, source, kind=row_kind, place="line", positions=lines)
    dosages = assembled(rows, transpose=not transposed)
    return (dosages, columns, row_names) if transposed else (dosages, row_names, columns)
