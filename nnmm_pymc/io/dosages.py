"""From cells to dosages: hard calls as one byte each, real dosages as float32.

A wide genotype file never exists as anything larger than one byte a call, unless it holds real
dosages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnmm_pymc.data.genotypes import with_nan
from nnmm_pymc.data.names import short
from nnmm_pymc.data.numbers import as_number
from nnmm_pymc.data.quality import BLOCK, MISSING
from nnmm_pymc.errors import InputError

# Byte of a text file -> hard call. NUL, refused in files, stands in for longer missing values.
CALL = np.full(256, -128, dtype=np.int8)
CALL[0] = MISSING
CALL[[ord("0"), ord("1"), ord("2")]] = [0, 1, 2]


class BadDosage(Exception):
    """A cell of a row, at position `at`, is not a dosage."""

    def __init__(self, at: int) -> None:
        self.at = at


class NoDosage(InputError):
    """What a file holds is not genotypes, and may be another table."""


def bad_dosage(source: str, cell: object, marker: str, individual: str, line: int = 0) -> NoDosage:
    """The complaint about a cell that is not a dosage."""
    where = f"marker {short(marker)!r}, individual {short(individual)!r}"
    where += f" (line {line})" if line else ""
    fault = "outside 0..2" if np.isfinite(as_number(cell, ())) else "not a number"
    return NoDosage(
        f"{source}: genotype {short(cell)} of {where} is {fault}: give the count of one allele, "
        "and name codes of missing calls in missing_values."
    )


def hard_calls(
    body: bytes, p: int, sep: bytes, missing: Sequence[bytes], call: np.ndarray
) -> np.ndarray | None:
    """A row of 0, 1, 2 and missing values as int8; None if it holds anything else.

    `call` gives the hard call of a byte: rows of one byte a cell, the most common by far, are read
    without splitting them.
    """
    if len(body) != 2 * p - 1:
        # Overlapping matches (",NA,NA,") need the second pass.
        body = sep + body + sep
        for value in missing:
            whole = sep + value + sep
            if whole in body:
                body = body.replace(whole, sep + b"\0" + sep).replace(whole, sep + b"\0" + sep)
        body = body[1:-1]
        if len(body) != 2 * p - 1:
            return None
    # There are p - 1 separators, so if every other byte is a call they are in between.
    calls = call[np.frombuffer(body, np.uint8)[::2]]
    return calls if calls.min() >= MISSING else None


def encoded(values: np.ndarray, missing_values: Sequence[str]) -> np.ndarray:
    """Dosages with NaN as int8 if they are hard calls, else as float32."""
    for code in missing_values:
        number = as_number(code, ())
        if np.isfinite(number):
            values = np.where(values == number, np.nan, values)
    absent = np.isnan(values)
    wrong = ~absent & ~((values >= 0) & (values <= 2))
    if wrong.any():
        raise BadDosage(int(np.argmax(wrong)))
    calls = np.where(absent, MISSING, values).astype(np.int8)
    return calls if (absent | (calls == values)).all() else values.astype(np.float32)


def assembled(rows: list[np.ndarray], *, transpose: bool) -> np.ndarray:
    """Rows as one C-ordered array or its transpose; float32 if any row is. Empties `rows`."""
    dtype = np.float32 if any(row.dtype == np.float32 for row in rows) else np.int8
    shape = (len(rows), len(rows[0]))
    out = np.empty(shape[::-1] if transpose else shape, dtype)
    target = out.T if transpose else out
    for start in range(0, len(rows), BLOCK):
        block = [with_nan(row) if row.dtype != dtype else row for row in rows[:BLOCK]]
        del rows[:BLOCK]
        target[start : start + BLOCK] = block
    return out
