"""PLINK 1 files: .bed genotypes with the .bim and .fam beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import clean_names, short
from nnmm_pymc.data.quality import MISSING
from nnmm_pymc.data.scratch import empty
from nnmm_pymc.errors import InputError
from nnmm_pymc.free_memory import available_bytes
from nnmm_pymc.io.text import text_lines, unreadable

BED_MAGIC = b"\x6c\x1b"
FIELDS = 6  # of a line in a .bim or .fam file
MANY = 10  # markers at which nobody has two A1 alleles throughout


def read_bed(
    path: Path, scratch: Path | None = None
) -> tuple[np.ndarray, pd.Index, pd.Index, pd.DataFrame]:
    """Dosages of the A1 allele (marker, individual), names of both, and where the markers are.

    The dosages are on disk in the folder `scratch`, if there is one.
    """
    fam_path, bim_path = path.with_suffix(".fam"), path.with_suffix(".bim")
    fam = _read_columns(fam_path, ("FID", "IID"))
    bim = _read_columns(
        bim_path, ("chromosome", "marker", "cM", "position", "effect_allele", "other_allele")
    )
    individuals = clean_names(
        plink_ids(fam["FID"], fam["IID"]), fam_path.name, place="line", positions=list(fam.index)
    )
    markers = clean_names(
        bim["marker"], bim_path.name, kind="marker name", place="line", positions=list(bim.index)
    )
    bim["position"] = _positions(bim["position"], bim_path.name)
    n, p = len(fam), len(bim)
    _check_bed(path, n, p)
    try:
        from bed_reader import open_bed
    except ImportError:
        raise InputError(
            f"{path.name}: reading .bed files needs bed-reader: install nnmm-pymc[io]."
        ) from None

    info = bim.drop(columns=["marker", "cM"]).set_index(markers)
    if scratch is None:
        _check_fits(path, n, p)
    dosages = empty((p, n), np.int8, scratch)
    with open_bed(path, iid_count=n, sid_count=p) as bed:
        step = max(1, 2**26 // n)  # 64 MB at a time
        for start in range(0, p, step):
            block = bed.read(np.s_[:, start : start + step], dtype="int8", order="F")
            dosages[start : start + step] = np.maximum(block.T, MISSING)  # -127 is missing there
    if n % 4 and p >= MANY and (dosages[:, -1] == 2).all():
        raise InputError(
            f"{fam_path.name}: individual {short(individuals[-1])!r}, in its last line, has two A1 "
            "alleles at every marker, as the padding of a .bed file reads: take the line out, or, "
            "if the individual is real, put another one last."
        )
    return dosages, individuals, markers, info


def _check_fits(path: Path, n: int, p: int) -> None:
    """Refuse a panel whose dosages, with four in a byte beside them, exceed the free memory."""
    needed, free = 5 * n * p // 4, available_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{path.name}: the dosages of {n} individuals and {p} markers take {needed / 1e9:.1f} "
            f"GB of memory and {free / 1e9:.1f} GB are free: name a folder on disk for them with "
            "read_genotypes(..., scratch=)."
        )


def plink_ids(family: pd.Series, individual: pd.Series) -> pd.Series:
    """IIDs, or FID_IID if two individuals share an IID."""
    return family + "_" + individual if individual.duplicated().any() else individual


def _read_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """First columns of a .fam or .bim file, as text; the index has the line numbers."""
    rows: dict[int, list[str]] = {}
    for line, row in text_lines(path, path.name):
        cells = [cell.decode().strip() for cell in row.split()]
        if len(cells) != FIELDS:
            raise InputError(
                f"{path.name}: line {line} has {len(cells)} fields where {FIELDS} belong: write "
                "it again with PLINK."
            )
        if not rows and {"fid", "iid", "sex"} & {cell.lower().lstrip("#") for cell in cells}:
            raise InputError(
                f"{path.name}: line {line} looks like a header, which such a file has not: take "
                "it out."
            )
        rows[line] = cells[: len(names)]
    if not rows:
        raise InputError(f"{path.name}: the file is empty: write it again with PLINK.")
    return pd.DataFrame(rows.values(), list(rows), list(names), dtype=str)


def _positions(texts: pd.Series, source: str) -> pd.Series:
    for line, text in texts.items():
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise InputError(
                f"{source}: line {line} has the position {short(text)!r}: give a whole number of "
                "base pairs, 0 if it is not known."
            )
    return texts.astype(np.int64)


def _check_bed(path: Path, n: int, p: int) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(3)
    except OSError as error:
        raise unreadable(path, error) from None
    if magic[:2] != BED_MAGIC:
        raise InputError(
            f"{path.name}: this is not a PLINK 1 .bed file (wrong first bytes): "
            "make one with 'plink --make-bed'."
        )
    if magic[2:] != b"\x01":
        raise InputError(
            f"{path.name}: this .bed file is ordered by individual: convert it with "
            "'plink --make-bed'."
        )
    size, expected = path.stat().st_size, 3 + p * ((n + 3) // 4)
    if size != expected:
        raise InputError(
            f"{path.name}: the file has {size} bytes, but {n} individuals in its .fam and {p} "
            f"markers in its .bim need {expected}: it is truncated or the three do not belong "
            "together; copy or make them again."
        )
    if n % 4:
        last = np.memmap(path, np.uint8, mode="r", offset=3).reshape(p, -1)[:, -1]
        if (last >> (2 * (n % 4))).any():
            raise InputError(
                f"{path.name}: there are calls of more individuals than the {n} of its .fam: the "
                "two do not belong together; copy or make them again."
            )
