"""PLINK 1 files: .bed genotypes with the .bim and .fam beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import clean_names
from nnmm_pymc.data.quality import MISSING
from nnmm_pymc.errors import InputError
from nnmm_pymc.io.text import text_lines, unreadable

BED_MAGIC = b"\x6c\x1b"
FIELDS = 6  # of a line in a .bim or .fam file


def read_bed(path: Path) -> tuple[np.ndarray, pd.Index, pd.Index, pd.DataFrame]:
    """Dosages of the A1 allele (marker, individual), names of both, and where the markers are."""
    fam = _read_columns(path.with_suffix(".fam"), ("FID", "IID"))
    bim = _read_columns(
        path.with_suffix(".bim"),
        ("chromosome", "marker", "cM", "position", "effect_allele", "other_allele"),
    )
    n, p = len(fam), len(bim)
    _check_bed(path, n, p)
    try:
        from bed_reader import open_bed
    except ImportError:
        raise InputError(
            f"{path.name}: reading .bed files needs bed-reader: install nnmm-pymc[io]."
        ) from None

    individuals = clean_names(
        plink_ids(fam["FID"], fam["IID"]), path.with_suffix(".fam").name, place="line"
    )
    markers = clean_names(
        bim["marker"], path.with_suffix(".bim").name, kind="marker name", place="line"
    )
    info = bim.drop(columns=["marker", "cM"]).set_index(markers)
    info["position"] = pd.to_numeric(info["position"], errors="coerce")

    dosages = np.empty((p, n), np.int8)
    with open_bed(path, iid_count=n, sid_count=p) as bed:
        step = max(1, 2**26 // n)  # 64 MB at a time
        for start in range(0, p, step):
            block = bed.read(np.s_[:, start : start + step], dtype="int8", order="F")
            dosages[start : start + step] = np.maximum(block.T, MISSING)  # -127 is missing there
    return dosages, individuals, markers, info


def plink_ids(family: pd.Series, individual: pd.Series) -> pd.Series:
    """IIDs, or FID_IID if two individuals share an IID."""
    return family + "_" + individual if individual.duplicated().any() else individual


def _read_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """First columns of a .fam or .bim file, as text."""
    rows = []
    for line, row in text_lines(path, path.name):
        cells = row.decode().split()
        if len(cells) != FIELDS:
            raise InputError(
                f"{path.name}: line {line} has {len(cells)} fields where {FIELDS} belong."
            )
        rows.append(cells[: len(names)])
    if not rows:
        raise InputError(f"{path.name}: the file is empty.")
    return pd.DataFrame(rows, columns=list(names), dtype=str)


def _check_bed(path: Path, n: int, p: int) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(3)
    except OSError as error:
        raise unreadable(path, error) from None
    if magic[:2] != BED_MAGIC:
        raise InputError(f"{path.name}: this is not a PLINK 1 .bed file (wrong first bytes).")
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
            "together."
        )
